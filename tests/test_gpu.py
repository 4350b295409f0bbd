"""Whole models on a CUDA device (marker `gpu`), and, through Triton's interpreter, the same path without one."""

import gensim
import numpy as np
import pytest
import torch
from gensim.test.utils import common_texts, datapath

from torchw2v import TorchWord2Vec
from torchw2v.errors import DeviceMemoryError, EngineUnavailableError
from torchw2v.gensim_state import weights_of
from torchw2v.ops import select

ON_GPU = torch.cuda.is_available()
MODES = {"sg-ns": (1, 0, 5), "cbow-ns": (0, 0, 5), "sg-hs": (1, 1, 0), "cbow-hs": (0, 1, 0)}


def trained(mode="sg-ns", **options):
    sg, hs, negative = MODES[mode]
    settings = {"vector_size": 50, "min_count": 5, "epochs": 10, "seed": 1, "compute_loss": True, **options}
    return TorchWord2Vec(corpus_file=datapath("lee_background.cor"), sg=sg, hs=hs, negative=negative, **settings)


# ---- without a GPU ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(ON_GPU, reason="the kernels run on the device itself")
@pytest.mark.parametrize("mode", MODES)
def test_a_model_trains_through_the_interpreted_kernels(mode, monkeypatch):
    """Every stop from the constructor to the kernels; the device alone is missing."""
    pytest.importorskip("triton", reason="triton is not made for this platform")
    monkeypatch.setattr(select, "_triton_missing", lambda device: None)
    sg, hs, negative = MODES[mode]
    settings = {"sg": sg, "hs": hs, "negative": negative, "vector_size": 20, "min_count": 1, "epochs": 4, "sample": 0}
    model = TorchWord2Vec(common_texts, engine="triton", device="cpu", compute_loss=True, alpha=0.2, **settings)
    assert model.running_on.engine == "triton"
    before = TorchWord2Vec(**settings)
    before.build_vocab(common_texts)
    assert np.isfinite(model.wv.vectors).all() and np.abs(model.wv.vectors - before.wv.vectors).max() > 1e-5
    losses = [epoch["mean_loss"] for epoch in model.training_history]
    assert losses[-1] < losses[0]


@pytest.mark.skipif(ON_GPU, reason="there is a device")
@pytest.mark.parametrize("engine", ["triton", "triton-ieee"])
def test_triton_is_refused_where_it_cannot_run(engine):
    with pytest.raises(EngineUnavailableError, match=f"engine='{engine}' was asked for, but .* not on cpu.*'torch'"):
        TorchWord2Vec(engine=engine)


def test_weights_that_do_not_fit_are_refused_before_they_are_copied(monkeypatch):
    """The message has the sizes and the cure."""
    model = TorchWord2Vec(vector_size=300, min_count=1)
    model.build_vocab(common_texts)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 2**34))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    with pytest.raises(DeviceMemoryError, match=r"2 matrices of 12 words by 300.*17\.2 GB.*min_count.*vector_size"):
        weights_of(model, torch.device("cuda"))


# ---- on a GPU --------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_loss_falls_as_on_the_cpu(mode):
    on_gpu, on_cpu = trained(mode), trained(mode, device="cpu", engine="torch", workers=1)
    assert on_gpu.running_on.device.type == "cuda" and on_gpu.running_on.engine == "triton"
    ours, theirs = ([epoch["mean_loss"] for epoch in model.training_history] for model in (on_gpu, on_cpu))
    assert ours[-1] < 0.95 * ours[0]
    assert ours[-1] == pytest.approx(theirs[-1], rel=0.1)  # other steps, another order


@pytest.mark.gpu
@pytest.mark.parametrize("engine", ["triton", "triton-ieee", "torch"])
@pytest.mark.parametrize("size", [1, 63, 300])
def test_any_engine_and_vector_size_gives_finite_vectors(engine, size):
    model = trained(engine=engine, vector_size=size, epochs=2)
    assert np.isfinite(model.wv.vectors).all() and model.wv.vectors.shape[1] == size
    assert model.training_history[-1]["mean_loss"] < model.training_history[0]["mean_loss"]


@pytest.mark.gpu
def test_two_models_train_in_one_process_and_continue_after_a_load(tmp_path):
    first, second = trained(epochs=2), trained("cbow-hs", epochs=2, vector_size=100)
    first.save(str(tmp_path / "model"))
    loaded = TorchWord2Vec.load(str(tmp_path / "model"))
    before = loaded.wv.vectors.copy()
    loaded.train(corpus_file=datapath("lee_background.cor"), total_words=loaded.corpus_total_words, epochs=1)
    assert np.abs(loaded.wv.vectors - before).max() > 1e-3
    assert np.isfinite(second.wv.vectors).all()


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_toy_corpora_stay_finite(mode):
    sg, hs, negative = MODES[mode]
    model = TorchWord2Vec([["a", "b", "c", "d", "e"] * 40] * 50, sg=sg, hs=hs, negative=negative, sample=0, alpha=0.5,
                          min_count=1, epochs=5)  # fmt: skip
    assert np.isfinite(model.wv.vectors).all() and np.linalg.norm(model.wv.vectors, axis=1).max() < 100


@pytest.mark.gpu
def test_wide_windows_and_large_baskets_train():
    baskets = [[str(n % 300) for n in range(start, start + 500)] for start in range(40)]
    for sg in (0, 1):
        model = TorchWord2Vec(baskets, sg=sg, window=1000, shrink_windows=False, min_count=1, vector_size=32, epochs=1)
        assert np.isfinite(model.wv.vectors).all()


@pytest.mark.gpu
def test_too_large_a_model_is_refused_with_the_cure():
    words = torch.cuda.get_device_properties(0).total_memory // (2 * 4 * 1024) + 1_000_000
    model = TorchWord2Vec(vector_size=4, min_count=1)
    model.build_vocab(common_texts)
    model.vector_size = 1024 * words // len(model.wv)
    with pytest.raises(DeviceMemoryError, match="lower vector_size"):
        from torchw2v.gensim_state import _check_memory

        _check_memory(model, torch.device("cuda"))


@pytest.mark.gpu
def test_vectors_are_gensims_own_type():
    assert isinstance(trained(epochs=1), gensim.models.Word2Vec)


@pytest.mark.gpu
@pytest.mark.parametrize("sg", [0, 1])
def test_full_softmax_trains_as_on_the_cpu(sg):
    settings = {"sg": sg, "vector_size": 50, "epochs": 10, "seed": 1, "compute_loss": True, "objective": "softmax"}
    on_gpu, on_cpu = (
        TorchWord2Vec(corpus_file=datapath("lee_background.cor"), device=d, **settings) for d in (None, "cpu")
    )
    assert on_gpu.running_on.device.type == "cuda" and on_gpu.running_on.engine == "softmax"
    ours, theirs = (model.training_history[-1]["mean_loss"] for model in (on_gpu, on_cpu))
    assert ours < 0.95 * on_gpu.training_history[0]["mean_loss"]
    assert ours == pytest.approx(theirs, rel=0.1)  # larger steps
