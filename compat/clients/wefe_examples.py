"""WEFE: the documented use, a fairness query on the vectors of a Word2Vec trained here."""

import numpy as np
import pytest
from gensim.models import Word2Vec
from gensim.test.utils import common_texts, lee_corpus_list
from wefe.debias.hard_debias import HardDebias
from wefe.metrics import RNSB, WEAT
from wefe.query import Query
from wefe.word_embedding_model import WordEmbeddingModel

DEFINING = [["he", "she"], ["man", "woman"], ["his", "her"]]


@pytest.fixture(scope="module")
def model():
    trained = Word2Vec(lee_corpus_list, vector_size=30, min_count=1, workers=1, sg=1, seed=1, epochs=5)
    return WordEmbeddingModel(trained.wv, "lee")


def query():
    return Query(
        [["he", "man", "his"], ["she", "woman", "her"]], [["work", "money", "office"], ["family", "home", "children"]],
        ["male", "female"], ["career", "family"],
    )  # fmt: skip


def test_documented_wrapper():
    model = WordEmbeddingModel(
        Word2Vec(common_texts, window=5, min_count=1, workers=1).wv, "Dummy model dim=10", vocab_prefix="/en/"
    )
    assert (model.name, model.vocab_prefix, len(model.vocab)) == ("Dummy model dim=10", "/en/", 12)


@pytest.mark.parametrize("metric", [WEAT, RNSB])
def test_query_gives_a_number(metric, model):
    few = query() if metric is WEAT else Query(query().target_sets, query().attribute_sets)
    assert np.isfinite(metric().run_query(few, model)["result"])


def test_debiased_word_has_no_part_in_the_bias_direction(model):
    debias = HardDebias(pca_args={"n_components": 3}, verbose=False).fit(
        model, definitional_pairs=DEFINING, equalize_pairs=DEFINING
    )
    before, after = model["work"], debias.transform(model, copy=True)["work"]
    direction = debias.bias_direction_ / np.linalg.norm(debias.bias_direction_)
    assert abs(float(after @ direction)) < 1e-5 < abs(float(before @ direction))
