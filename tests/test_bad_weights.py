"""Weights that cannot be trained, or that training has destroyed, are an error that says where and names the cure."""

import numpy as np
import pytest
from support import in_time

import torchw2v.ops.torch_engine
from torchw2v import TorchWord2Vec
from torchw2v.errors import TrainingDivergedError, WeightsError

SENTENCES = [["a", "b", "c"], ["a", "c", "b"]] * 10


def built(**settings):
    model = TorchWord2Vec(**{"vector_size": 8, "min_count": 1, "workers": 1, "device": "cpu", **settings})
    model.build_vocab(SENTENCES)
    return model


def train(model, sentences=SENTENCES, epochs=1):
    return model.train(sentences, total_examples=len(sentences), epochs=epochs)


# ---- weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("matrix", ["wv.vectors", "syn1neg", "syn1"])
def test_weights_that_are_not_finite_are_refused_before_training(matrix, value):
    model = built(hs=int(matrix == "syn1"))
    (model.wv.vectors if matrix == "wv.vectors" else getattr(model, matrix))[1, 3] = value
    with pytest.raises(WeightsError, match=f"{matrix} holds NaN or infinity in 1 rows before training; replace"):
        in_time(lambda: train(model))


def test_infinities_of_both_signs_do_not_cancel():
    model = built()
    model.wv.vectors[0, 0], model.wv.vectors[1, 0] = np.inf, -np.inf
    with pytest.raises(WeightsError, match="in 2 rows"):
        train(model)


@pytest.mark.parametrize("shape", [(2, 8), (4, 8), (3, 9), (24,), (3, 8, 1)], ids=str)
def test_vectors_of_a_wrong_shape_are_refused(shape):
    model = built()
    model.wv.vectors = np.zeros(shape, dtype=np.float32)
    expected = rf"wv.vectors has shape \({', '.join(map(str, shape))},?\), expected \(3, 8\)"
    with pytest.raises(WeightsError, match=expected):
        in_time(lambda: train(model))


def test_output_weights_of_a_wrong_shape_are_refused():
    model = built()
    model.syn1neg = model.syn1neg[:2]
    with pytest.raises(WeightsError, match=r"syn1neg has shape \(2, 8\), expected \(3, 8\)"):
        in_time(lambda: train(model))


def test_missing_output_weights_name_the_cure():
    model = built()
    model.hs = 1
    with pytest.raises(WeightsError, match=r"syn1 is missing; call init_weights\(\)"):
        in_time(lambda: train(model))


def test_vectors_without_counts_name_the_cure():
    model = built()
    model.wv.expandos = {}
    with pytest.raises(WeightsError, match=r"3 words but 0 values of .*build_vocab\(\)"):
        in_time(lambda: train(model))


def test_empty_lock_is_refused():
    model = built()
    model.wv.vectors_lockf = np.empty(0, dtype=np.float32)
    with pytest.raises(WeightsError, match="vectors_lockf is empty; give one factor"):
        in_time(lambda: train(model))


# ---- divergence --------------------------------------------------------------------------------------------------


@pytest.fixture
def without_brakes(monkeypatch):
    """Neither few tokens in flight nor row caps: a large alpha then really destroys the weights."""
    for name in (
        "MAX_IN_FLIGHT",
        "MAX_IN_FLIGHT_TREE",
        "MAX_IN_FLIGHT_TREE_CBOW",
        "MAX_HOT_OCCURRENCES",
        "MAX_CORPUS_SHARE",
    ):
        monkeypatch.setattr(f"torchw2v.schedule.{name}", 1e9)
    monkeypatch.setattr("torchw2v.ops.frames.MAX_STALE_PULL", 1e30)


@pytest.mark.parametrize("deterministic", [False, True], ids=["free", "lockstep"])
@pytest.mark.parametrize("hs", [0, 1], ids=["ns", "hs"])
@pytest.mark.parametrize("sg", [0, 1], ids=["cbow", "sg"])
def test_training_that_diverges_raises(without_brakes, sg, hs, deterministic):
    settings = {"sg": sg, "hs": hs, "negative": 0 if hs else 5, "alpha": 1e6, "min_alpha": 1e6, "sample": 0}
    model = built(**settings, deterministic=deterministic, engine="torch")  # numba's leaves large scores alone
    with pytest.raises(TrainingDivergedError, match=r"NaN or infin.*Lower alpha.*sample") as caught:
        in_time(lambda: train(model, SENTENCES * 50, epochs=20))
    assert isinstance(caught.value, FloatingPointError)
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.__class__.__module__ == "torchw2v.errors"


def test_divergence_that_the_engine_misses_is_found_at_the_end_of_the_epoch(monkeypatch):
    model = built(engine="torch")

    def spoil(self, weights, chunk, step):
        tally = original(self, weights, chunk, step)
        weights.inputs[1, 2] = float("nan")
        return tally

    original = torchw2v.ops.torch_engine.TorchEngine.train_chunk
    monkeypatch.setattr("torchw2v.ops.torch_engine.TorchEngine.train_chunk", spoil)
    with pytest.raises(TrainingDivergedError, match=r"wv\.vectors holds NaN or infinity in 1 rows after epoch 0"):
        in_time(lambda: train(model))
