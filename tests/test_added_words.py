"""Words that a program puts into `wv` by hand, and vectors of other types: training goes on, as with gensim."""

import numpy as np
import pytest
from gensim.models import Word2Vec
from training import TOPICS, both_libraries, gensims, ours, train

from torchw2v.errors import WeightsError

SETTINGS = ({"sg": 0}, {"sg": 1}, {"sg": 0, "sample": 1e-3}, {"optimizer": "adagrad"})
CASES = [{"engine": engine, **settings} for engine in ("numba", "torch", "reference") for settings in SETTINGS]
CASES += [{"objective": "softmax"}, {"objective": "softmax", "negative": 0}]
WITH_NEW = [[*sentence, "new"] for sentence in TOPICS]


def add(model, word="new"):
    model.wv[word] = np.full(model.vector_size, 0.1, dtype=np.float32)
    return len(model.wv) - 1


@both_libraries
def test_a_text_without_the_added_word_trains_all_others(make):
    model = make(TOPICS)
    row = add(model)
    before = model.wv.vectors.copy()
    train(model)
    moved = (model.wv.vectors != before).any(axis=1)
    assert moved[:row].all()
    assert not moved[row]


@pytest.mark.parametrize("settings", CASES, ids=str)
def test_a_text_with_the_added_word_trains_it(settings):
    model = ours(TOPICS, **settings)
    row = add(model)
    before = model.wv.vectors.copy()
    model.train(WITH_NEW, total_examples=len(WITH_NEW), epochs=1)
    assert (model.wv.vectors[row] != before[row]).any()
    assert model.syn1neg.shape == model.wv.vectors.shape
    assert model.syn1neg[row].any()
    assert model.wv.get_vecattr("new", "count") == 0
    assert np.isfinite(model.wv.vectors).all()


def test_added_words_are_never_drawn_as_negatives():
    model = ours(TOPICS)
    row = add(model)
    train(model)
    assert not model.syn1neg[row].any()
    assert model.cum_table[row] == model.cum_table[row - 1]


@pytest.mark.parametrize("hs", [0, 1])
def test_build_vocab_update_counts_the_added_word(hs):
    model = ours(TOPICS, hs=hs, negative=0 if hs else 5)
    row = add(model)
    model.build_vocab(WITH_NEW, update=True)
    assert model.wv.get_vecattr("new", "count") == len(WITH_NEW)
    before = model.wv.vectors.copy()
    model.train(WITH_NEW, total_examples=len(WITH_NEW), epochs=1)
    assert (model.wv.vectors[row] != before[row]).any()


@pytest.mark.parametrize("settings", [{"hs": 1, "negative": 0}, {"ns_exponent": -0.5}])
def test_where_a_count_is_needed_the_error_names_the_cure(settings):
    model = ours(TOPICS, **settings)
    add(model)
    with pytest.raises(WeightsError, match=r"'new'.*build_vocab\(sentences, update=True\)"):
        train(model)


def test_a_model_with_an_added_word_goes_on_in_plain_gensim(tmp_path):
    model = ours(TOPICS)
    add(model)
    train(model)
    model.save(str(tmp_path / "model"))
    plain = Word2Vec.load(str(tmp_path / "model"))
    plain.train(WITH_NEW, total_examples=len(WITH_NEW), epochs=1)
    assert np.isfinite(plain.wv.vectors).all()


def test_vectors_assigned_as_float64_are_trained_as_numbers():
    model, expected = (ours(TOPICS, deterministic=True) for _ in range(2))
    model.wv.vectors = model.wv.vectors.astype(np.float64)
    model.syn1neg = model.syn1neg.astype(np.float64)
    for each in (model, expected):
        train(each)
    assert model.wv.vectors.dtype == np.float32
    assert np.array_equal(model.wv.vectors, expected.wv.vectors)


def test_a_model_whose_arrays_are_mapped_read_only_is_trained_on(tmp_path):
    model = ours(TOPICS)
    path = str(tmp_path / "model")
    model.save(path, sep_limit=10)
    mapped = type(model).load(path, mmap="r")
    assert not mapped.wv.vectors.flags.writeable
    before = mapped.wv.vectors.copy()
    train(mapped)
    assert (mapped.wv.vectors != before).any()
    assert np.array_equal(type(model).load(path).wv.vectors, before)  # the file is as it was


def add_one(model, word="new"):
    with pytest.warns(UserWarning, match="grows by one"):
        return model.wv.add_vector(word, np.full(model.vector_size, 0.1, dtype=np.float32))


@pytest.mark.parametrize("adding", [add, add_one])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_words_added_either_way_are_trained(settings, adding):
    model = ours(TOPICS, **settings)
    row = adding(model)
    before = model.wv.vectors.copy()
    assert model.train(WITH_NEW, total_examples=len(WITH_NEW), epochs=1)[0] > 20
    assert (model.wv.vectors[row] != before[row]).any()
    assert model.syn1neg.shape == model.wv.vectors.shape


@pytest.mark.parametrize("adding", [add, add_one])
def test_an_added_word_is_found_after_queries_have_made_norms(adding):
    """gensim keeps the norms of before: IndexError."""
    model = ours(TOPICS)
    model.wv.most_similar("x1")
    adding(model)
    assert model.wv.most_similar("new", topn=1)
    model.wv["x1"] = 2 * model.wv["x2"]
    assert model.wv.most_similar("x1", topn=1) == [("x2", pytest.approx(1.0, abs=1e-6))]


@pytest.mark.parametrize("settings", [{}, {"hs": 1, "negative": 0}, {"sample": 1e-3}], ids=str)
def test_a_model_saved_with_an_added_word_is_loaded(settings, tmp_path):
    """gensim's cannot be loaded again: its counts end before its words do."""
    theirs = gensims(TOPICS)
    add(theirs)
    theirs.save(str(tmp_path / "theirs"))
    with pytest.raises(IndexError):
        Word2Vec.load(str(tmp_path / "theirs"))
    model = ours(TOPICS, **settings)
    add(model)
    model.save(str(tmp_path / "model"))
    for kind in (Word2Vec, type(model)):
        loaded = kind.load(str(tmp_path / "model"))
        assert np.array_equal(loaded.wv["new"], model.wv["new"])
        assert loaded.wv.most_similar("new", topn=1) == model.wv.most_similar("new", topn=1)


@pytest.mark.parametrize("hs", [0, 1])
def test_the_null_word_was_not_put_there_by_hand(hs, caplog):
    with caplog.at_level("INFO", logger="torchw2v"):
        train(ours(TOPICS, null_word=1, hs=hs, negative=0 if hs else 5))
    assert "put into wv by hand" not in caplog.text


def test_an_added_word_that_was_given_a_count_is_trained():
    model = ours(TOPICS, sample=1e-3)
    row = add(model)
    model.wv.set_vecattr("new", "count", 3)
    before = model.wv.vectors.copy()
    model.train(WITH_NEW, total_examples=len(WITH_NEW), epochs=1)
    assert (model.wv.vectors[row] != before[row]).any() and model.wv.get_vecattr("new", "count") == 3
