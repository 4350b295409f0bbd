"""Output vectors and averages: the right rows under the right words, as a view or a copy, exported like `wv`."""

import numpy as np
import pytest
from gensim.models import KeyedVectors
from small_models import TOPICS, ours, train

from torchw2v.errors import NoOutputVectorsError, WeightsError


@pytest.fixture(scope="module")
def model():
    return ours(TOPICS, sg=1, vector_size=10)


def test_words_order_and_counts_are_those_of_wv(model):
    for vectors in (model.output_vectors, model.averaged_vectors()):
        assert type(vectors) is KeyedVectors
        assert vectors.index_to_key == model.wv.index_to_key
        assert vectors.key_to_index == model.wv.key_to_index
        assert vectors.vector_size == 10 and vectors.vectors.dtype == np.float32
        for word in model.wv.index_to_key:
            assert vectors.get_vecattr(word, "count") == model.wv.get_vecattr(word, "count")


def test_output_vectors_are_the_rows_of_syn1neg(model):
    for row, word in enumerate(model.wv.index_to_key):
        assert np.array_equal(model.output_vectors[word], model.syn1neg[row])
    assert not np.array_equal(model.output_vectors.vectors, model.wv.vectors)


def test_averaged_vectors_are_the_mean_of_both_rows(model):
    before = model.wv.vectors.copy(), model.syn1neg.copy()
    averaged = model.averaged_vectors()
    for row, word in enumerate(model.wv.index_to_key):
        assert np.allclose(averaged[word], (before[0][row] + before[1][row]) / 2, atol=1e-7)
    averaged.vectors[:] = 0  # a copy
    assert np.array_equal(model.wv.vectors, before[0]) and np.array_equal(model.syn1neg, before[1])


def test_output_vectors_are_a_view_that_training_moves():
    model = ours(TOPICS, sg=1)
    vectors, before = model.output_vectors, model.syn1neg.copy()
    assert np.shares_memory(vectors.vectors, model.syn1neg)
    train(model)
    assert not np.array_equal(vectors.vectors, before)
    assert np.array_equal(vectors.vectors, model.syn1neg)
    vectors.vectors[0] = 3
    assert (model.syn1neg[0] == 3).all()


def test_words_added_to_them_leave_the_model_alone(model):
    vectors, size = model.output_vectors, len(model.wv)
    vectors.add_vector("another", np.ones(10))
    assert "another" in vectors and "another" not in model.wv
    assert len(model.wv) == len(model.wv.key_to_index) == len(model.syn1neg) == size


@pytest.mark.parametrize("binary", [True, False])
def test_exports_are_those_of_wv(model, binary, tmp_path):
    for name, vectors in (("out", model.output_vectors), ("mean", model.averaged_vectors())):
        path = str(tmp_path / name)
        vectors.save_word2vec_format(path, binary=binary)
        read = KeyedVectors.load_word2vec_format(path, binary=binary)
        assert read.index_to_key == model.wv.index_to_key
        assert np.allclose(read.vectors, vectors.vectors, atol=1e-6)
        vectors.save(path + ".kv")
        assert np.array_equal(KeyedVectors.load(path + ".kv").vectors, vectors.vectors)


def test_words_that_occur_together_are_near_in_the_other_matrix():
    """Left and right of a pair occur together and never in each other's place."""
    pairs = [[f"left{i}", f"right{i}"] for i in range(20)] * 60
    model = ours(pairs, sg=1, vector_size=16, window=1, epochs=20, sample=0, alpha=0.05)
    hits = sum(
        model.output_vectors.similar_by_vector(model.wv[f"left{i}"], topn=1)[0][0] == f"right{i}" for i in range(20)
    )
    assert hits >= 18


def test_model_without_output_rows_is_refused_by_name():
    model = ours(TOPICS, hs=1, negative=0)
    with pytest.raises(NoOutputVectorsError, match=r"negative=0, hs=1.*negative > 0"):
        _ = model.output_vectors
    with pytest.raises(NoOutputVectorsError, match="hierarchical softmax"):
        model.averaged_vectors()
    assert not hasattr(model, "output_vectors")
    with pytest.raises(NoOutputVectorsError, match=r"no vocabulary yet: call build_vocab\(\)"):
        _ = ours().output_vectors


def test_both_objectives_together_have_output_vectors():
    model = ours(TOPICS, hs=1, negative=5)
    assert model.output_vectors.vectors is model.syn1neg


def test_rows_that_do_not_fit_the_words_are_refused():
    model = ours(TOPICS)
    model.syn1neg = model.syn1neg[:-1]
    with pytest.raises(WeightsError, match="syn1neg has shape"):
        model.averaged_vectors()
