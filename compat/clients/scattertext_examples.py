"""Scattertext: models of its parsed corpora, which it trains on an iterator that can be read once."""

import numpy as np
import pandas as pd
import pytest
from gensim.models import word2vec
from gensim.test.utils import lee_corpus_list
from scattertext import CorpusFromParsedDocuments, whitespace_nlp_with_sentences
from scattertext.representations import Word2VecFromParsedCorpus, Word2VecFromParsedCorpusBigrams
from scattertext.representations.CategoryEmbeddings import CategoryEmbeddingsResolver
from scattertext.representations.EmbeddingsResolver import EmbeddingsResolver
from sklearn.decomposition import PCA


@pytest.fixture
def corpus():
    texts = [". ".join(" ".join(words[n : n + 12]) for n in range(0, 60, 12)) + "." for words in lee_corpus_list[:40]]
    documents = pd.DataFrame(
        {"category": ["first", "second"] * 20, "parsed": map(whitespace_nlp_with_sentences, texts)}
    )
    return CorpusFromParsedDocuments(documents, "category", "parsed").build()


def small(**settings):
    return word2vec.Word2Vec(vector_size=20, min_count=2, workers=1, seed=1, **settings)


def test_default_model_trains_the_first_epoch_of_each_repetition(corpus):
    trained = Word2VecFromParsedCorpus(corpus).train(epochs=20, super_epochs=3)
    assert (trained.train_count, trained.epochs, trained.wv.vector_size) == (3, 20, 100)
    before = word2vec.Word2Vec(vector_size=100, sample=0, seed=1, workers=1, sg=1, hs=1, negative=0)
    before.build_vocab([[str(word) for word in sentence] for sentence in sentences(corpus)])
    assert before.wv.index_to_key == trained.wv.index_to_key
    assert np.abs(before.wv.vectors - trained.wv.vectors).max() > 0.01


def sentences(corpus):
    return [[t.lower_ for t in s if not t.is_punct] for d in corpus.get_parsed_docs() for s in d.sents]


def test_model_of_the_users_own(corpus):
    mine = small(sg=1, negative=5)
    assert Word2VecFromParsedCorpus(corpus, mine).train(epochs=10) is mine
    assert mine.wv.most_similar("the", topn=3)


def test_bigrams(corpus):
    trained = Word2VecFromParsedCorpusBigrams(corpus, small()).train(epochs=5)
    assert len(trained.wv) > 100


def test_embeddings_are_projected(corpus):
    resolver = EmbeddingsResolver(corpus).set_embeddings_model(small())  # 5 times 2,000 epochs, scattertext's default
    projected, axes = resolver.project_embeddings(PCA(2))
    assert len(axes) == projected.get_num_terms() > 20 and np.isfinite(axes[["x", "y"]].to_numpy()).all()


def test_embeddings_of_a_category(corpus):
    resolver = CategoryEmbeddingsResolver(corpus).embed_category("first", small())
    assert isinstance(resolver.category_word2vec_model_["first"], word2vec.Word2Vec)
    assert {vector.shape for vector in resolver.category_embeddings_["first"].values()} == {(20,)}
