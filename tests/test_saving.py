"""Saving, loading and copying: both ways with gensim, in the middle of training, and without loss."""

import copy
import os
import pickle

import numpy as np
import pytest
from gensim.models import KeyedVectors
from gensim.models.word2vec import LineSentence
from small_models import (
    MODES,
    SMALL,
    TOPICS,
    WORDS,
    assert_same_weights,
    each_mode,
    gensims,
    ours,
    train,
)  # fmt: skip
from training import AtEpochEnd

from torchw2v import TorchWord2Vec

TEXT_ATOL = 1e-6  # the text format is written with float32's shortest digits; a parser may round the last bit
SCORE_RTOL = 1e-6  # the same routine on the same weights
PROBABILITY_RTOL = 1e-5  # float32 sums


def saved_and_loaded(model, path, **how):
    model.save(str(path), **how)
    return TorchWord2Vec.load(str(path))


def pickled(model, path):
    return pickle.loads(pickle.dumps(model))


def deep_copied(model, path):
    return copy.deepcopy(model)


WAYS = {
    "save-load": saved_and_loaded,
    "save-load-separately": lambda model, path: saved_and_loaded(model, path, separately=["syn1neg"], sep_limit=0),
    "save-load-sep-limit-0": lambda model, path: saved_and_loaded(model, path, sep_limit=0),
    "pickle": pickled,
    "deepcopy": deep_copied,
}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


# ---- there and back ----------------------------------------------------------------------------------------------


@each_way
@each_mode
def test_model_comes_back_whole(way, mode, tmp_path):
    model = ours(TOPICS, **mode, deterministic=True, compute_loss=True, comment="kept")
    back = way(model, tmp_path / "m.model")
    assert type(back) is TorchWord2Vec
    assert_same_weights(back, model)
    assert back.wv.most_similar("x0") == model.wv.most_similar("x0")
    assert back.training_history == model.training_history
    kept = ("device", "engine", "deterministic", "progress_bar", "train_count", "corpus_count", "alpha", "comment")
    assert [getattr(back, name) for name in kept] == [getattr(model, name) for name in kept]
    assert back.running_on == model.running_on


@each_way
@each_mode
def test_training_goes_on_as_if_nothing_had_been_saved(way, mode, tmp_path):
    straight, model = ours(TOPICS, **mode), ours(TOPICS, **mode)
    train(straight)
    back = way(model, tmp_path / "m.model")
    train(back)
    assert_same_weights(back, straight)
    assert not np.array_equal(back.wv.vectors, model.wv.vectors)  # the original has not moved
    assert len(back.training_history) == 4


@each_way
def test_vocabulary_can_grow_after_loading(way, tmp_path):
    back = way(ours(TOPICS), tmp_path / "m.model")
    more = [["x1", "new", "x2"]] * 20
    back.build_vocab(more, update=True)
    start = back.wv["new"].copy()
    train(back, more)
    assert not np.array_equal(back.wv["new"], start)


@pytest.mark.parametrize(
    "how", [{}, {"separately": ["syn1neg"]}, {"sep_limit": 0}], ids=["plain", "separately", "limit"]
)
def test_model_loaded_with_mmap_trains(how, tmp_path):
    model, path = ours(TOPICS), str(tmp_path / "m.model")
    model.save(path, **how)
    if "sep_limit" in how:
        assert os.path.exists(path + ".syn1neg.npy")
    files = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    back = TorchWord2Vec.load(path, mmap="r")
    assert_same_weights(back, model)
    train(back)
    train(model)
    assert_same_weights(back, model)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == files  # never written through


@each_mode
def test_model_that_gensim_saved_trains(mode, tmp_path, trained):
    plain, path = gensims(TOPICS, **mode), str(tmp_path / "gensim.model")
    plain.save(path)
    model = TorchWord2Vec.load(path, device="cpu")
    assert type(model) is TorchWord2Vec
    assert_same_weights(model, plain)
    assert model.training_history == []
    _, raw = train(model)
    assert raw == 2 * WORDS
    assert trained.steps
    assert not np.array_equal(model.wv.vectors, plain.wv.vectors)
    assert [entry["train_call"] for entry in model.training_history] == [1, 1]
    model.save(path)
    assert_same_weights(TorchWord2Vec.load(path), model)


def test_pretrained_gensim_model_trains_as_the_same_model_of_ours(tmp_path):
    plain, path = gensims(), str(tmp_path / "gensim.model")
    plain.build_vocab(TOPICS)
    plain.save(path)
    loaded, made = TorchWord2Vec.load(path, device="cpu"), ours()
    made.build_vocab(TOPICS)
    train(loaded)
    train(made)
    assert_same_weights(loaded, made)


def test_load_replaces_device_and_engine_only_when_given(tmp_path):
    path = str(tmp_path / "m.model")
    ours(TOPICS, engine="torch").save(path)
    kept = TorchWord2Vec.load(path)
    assert (kept.device, kept.engine) == ("cpu", "torch")
    moved = TorchWord2Vec.load(path, device="auto", engine="reference")
    assert (moved.device, moved.engine) == ("auto", "reference")
    assert moved.running_on.engine == "reference"
    _, raw = train(moved, TOPICS[:5], epochs=1)
    assert raw == 50


def test_load_of_a_subclass_gives_the_subclass(tmp_path):
    path = str(tmp_path / "m.model")
    Named(TOPICS, **SMALL, device="cpu").save(path)
    assert type(Named.load(path)) is Named
    assert type(TorchWord2Vec.load(path)) is Named


class Named(TorchWord2Vec):
    """A subclass that pickle can find."""


def test_loading_a_missing_file_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.model"):
        TorchWord2Vec.load(str(tmp_path / "gone.model"))


# ---- vectors alone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_word2vec_format_comes_back(binary, tmp_path):
    model, path = ours(TOPICS), str(tmp_path / "vectors")
    model.wv.save_word2vec_format(path, binary=binary)
    back = KeyedVectors.load_word2vec_format(path, binary=binary)
    assert back.index_to_key == model.wv.index_to_key
    assert np.allclose(back.vectors, model.wv.vectors, atol=0 if binary else TEXT_ATOL, rtol=0)


@pytest.mark.parametrize("mmap", [None, "r"])
def test_keyed_vectors_come_back(mmap, tmp_path):
    model, path = ours(TOPICS), str(tmp_path / "kv")
    model.wv.save(path, sep_limit=0)
    back = KeyedVectors.load(path, mmap=mmap)
    assert np.array_equal(back.vectors, model.wv.vectors)
    assert back.most_similar("x0") == model.wv.most_similar("x0")
    assert back.get_vecattr("x0", "count") == model.wv.get_vecattr("x0", "count")


# ---- in the middle of training -----------------------------------------------------------------------------------


@each_way
@pytest.mark.parametrize("deterministic", [False, True], ids=["free", "deterministic"])
def test_copy_taken_inside_a_callback_is_current_and_changes_nothing(way, deterministic, tmp_path):
    taken = []

    def take(model):
        copied = way(model, tmp_path / f"{len(taken)}.model")
        assert_same_weights(copied, model)
        taken.append(copied)

    settings = {"deterministic": deterministic, "epochs": 3}
    model = ours(TOPICS, callbacks=[AtEpochEnd(take)], **settings)
    assert_same_weights(model, ours(TOPICS, **settings))
    assert_same_weights(taken[-1], model)
    assert not np.array_equal(taken[0].wv.vectors, taken[1].wv.vectors)
    _, raw = train(taken[0])
    assert raw == 2 * WORDS


# ---- what is not saved -------------------------------------------------------------------------------------------


def test_pickle_does_not_grow_with_the_corpus(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("\n".join(map(" ".join, TOPICS * 20)))
    few, many = ours(TOPICS), ours(LineSentence(str(path)))
    assert many.corpus_total_words == 20 * few.corpus_total_words
    by_hand = ours()
    by_hand.build_vocab(TOPICS * 20)
    bytes_an_id = 4
    for model in (many, by_hand):  # the encoded file is kept for the next call; the list has not been trained on yet
        assert len(pickle.dumps(model)) < len(pickle.dumps(few)) + bytes_an_id * WORDS


def test_pickle_holds_only_gensims_names_and_our_settings():
    model, plain = ours(TOPICS), gensims(TOPICS)
    added = set(model.__getstate__()) - set(vars(plain))
    assert added == {
        "device",
        "engine",
        "objective",
        "cbow_gradient",
        "optimizer",
        "deterministic",
        "progress_bar",
        "training_history",
        "_loss_asked",
    }


def test_pickle_inside_a_callback_holds_no_engine():
    states = []
    ours(TOPICS, callbacks=[AtEpochEnd(lambda model: states.append(pickle.dumps(model)))])
    for state in states:
        assert b"torch_engine" not in state
        assert b"EncodedCorpus" not in state


# ---- gensim's other methods --------------------------------------------------------------------------------------


def twins(**settings):
    """Our trained model and a gensim model with its very weights."""
    model, plain = ours(TOPICS, **settings), gensims(**settings)
    plain.build_vocab(TOPICS)
    plain.wv.vectors[:] = model.wv.vectors
    for name in ("syn1neg", "syn1"):
        if hasattr(model, name):
            getattr(plain, name)[:] = getattr(model, name)
    return model, plain


@pytest.mark.parametrize("sg", [0, 1], ids=["cbow", "sg"])
def test_score_is_gensims(sg):
    model, plain = twins(sg=sg, hs=1, negative=0)
    scores = model.score(TOPICS[:9], total_sentences=9)
    assert np.allclose(scores, plain.score(TOPICS[:9], total_sentences=9), rtol=SCORE_RTOL)
    assert (scores < 0).all()


def test_score_without_hierarchical_softmax_is_refused():
    with pytest.raises(RuntimeError, match="hierarchical softmax"):
        ours(TOPICS).score(TOPICS[:2])


@pytest.mark.parametrize("mode", [MODES["sg-ns"], MODES["cbow-ns"]], ids=["sg-ns", "cbow-ns"])
def test_predict_output_word_is_gensims(mode):
    model, plain = twins(**mode)
    predicted, expected = (m.predict_output_word(["x1", "x2", "x3"], topn=14) for m in (model, plain))
    assert [word for word, _ in predicted] == [word for word, _ in expected]
    assert np.allclose([p for _, p in predicted], [p for _, p in expected], rtol=PROBABILITY_RTOL)


def test_reset_from_borrows_the_vocabulary_and_starts_as_gensims(tmp_path):
    other = ours(TOPICS)
    model, plain = ours(seed=9), gensims(seed=9)
    model.reset_from(other)
    plain.reset_from(other)
    assert model.wv.index_to_key is other.wv.index_to_key
    assert_same_weights(model, plain)
    assert_same_weights(saved_and_loaded(model, tmp_path / "m.model"), model)


@pytest.mark.parametrize("lock", ["given", "absent"])
def test_model_reset_from_another_trains_without_touching_it(lock):
    other = ours(TOPICS)
    model = ours(seed=9)
    model.reset_from(other)
    if lock == "given":  # gensim's reset_from leaves the lock factors out, and its train() then hangs
        model.wv.vectors_lockf = np.ones(1, dtype=np.float32)
    before, start = other.wv.vectors.copy(), model.wv.vectors.copy()
    _, raw = train(model)
    assert raw == 2 * WORDS
    assert np.isfinite(model.wv.vectors).all()
    assert not np.array_equal(model.wv.vectors, start)
    assert np.array_equal(other.wv.vectors, before)
