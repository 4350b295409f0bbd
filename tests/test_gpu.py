"""Whole models on a CUDA device (marker `gpu`), and, through Triton's interpreter, the same path without one."""

import logging
import os
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import gensim
import numpy as np
import pytest
import torch
from gensim.models.word2vec import LineSentence
from gensim.test.utils import common_texts, datapath
from test_quality import CHIP, PENN, SEEDS, WIKIPEDIA, WORDS

from compat.bench import MODES as BENCH_MODES
from compat.bench import QUALITIES, quality, read_corpus, run_once
from torchw2v import TorchWord2Vec
from torchw2v.device_memory import MemoryEstimate
from torchw2v.errors import DeviceMemoryError, EngineUnavailableError, WeightsError
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


@pytest.fixture
def device_with(monkeypatch):
    """Make every CUDA device seem to have so many bytes, free ones and all, and 4 GB of them in torch's own cache."""

    def having(free, total):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free - 4 * 10**9, total))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 9 * 10**9)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 5 * 10**9)

    return having


CUDA = torch.device("cuda")
GOOGLE_NEWS = MemoryEstimate(words=3_000_000, width=300, matrices=2, hierarchical=False)
BOTH_LOSSES = MemoryEstimate(words=3_000_000, width=300, matrices=3, hierarchical=True)


def test_three_million_words_of_300_dimensions_fit_into_80_gb(device_with):
    assert GOOGLE_NEWS.weights == 2 * 3_000_000 * 300 * 4
    assert 7.2e9 < GOOGLE_NEWS.needed < 9e9 and 10.8e9 < BOTH_LOSSES.needed < 13e9
    device_with(79 * 10**9, 80 * 10**9)
    for weights in (GOOGLE_NEWS, BOTH_LOSSES):
        assert replace(weights, tokens=15 * 10**9).corpus_fits(CUDA)  # 60 GB
        assert not replace(weights, tokens=20 * 10**9).corpus_fits(CUDA)  # 80 GB: copied in chunks


def test_rows_are_counted_with_their_padding():
    assert MemoryEstimate(10, 99, 2, False).weights == MemoryEstimate(10, 100, 2, False).weights == 8000
    assert MemoryEstimate(10, 101, 2, False).weights == 8 * 10 * 104


def test_weights_that_do_not_fit_are_refused_before_anything_is_copied(device_with, monkeypatch):
    """The message has the sizes and the cure."""
    device_with(5 * 10**9, 16 * 10**9)
    said = r"8\.4 GB on cuda: 7\.2 GB for 2 matrices of 3,000,000 words by 300 dimensions.* 5\.0 of its 16\.0 GB"
    with pytest.raises(DeviceMemoryError, match=f"{said} are free.*min_count.*vector_size.*device='cpu'"):
        GOOGLE_NEWS.corpus_fits(CUDA)

    model = TorchWord2Vec(vector_size=300, min_count=1)
    model.build_vocab(common_texts)
    device_with(10**6, 16 * 10**9)
    monkeypatch.setattr(TorchWord2Vec, "running_on", select.Choice(CUDA, "triton", "the test says so"))
    with pytest.raises(DeviceMemoryError, match=r"2 matrices of 12 words by 300"):
        model.train(common_texts, total_examples=9, epochs=1)


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
def test_two_models_train_at_the_same_time():
    """Each in a thread of its own, on the same device."""
    modes = ("sg-ns", "cbow-hs")
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(trained, modes))
    for mode, model in zip(modes, together, strict=True):
        alone, ours = (m.training_history[-1]["mean_loss"] for m in (trained(mode), model))
        assert ours == pytest.approx(alone, rel=0.05)


@pytest.mark.gpu
@pytest.mark.parametrize("mode", MODES)
def test_deterministic_training_gives_the_same_bits(mode):
    first, second = (trained(mode, deterministic=True, device="cuda", epochs=3) for _ in range(2))
    assert first.running_on.engine == "torch" and first.running_on.device.type == "cuda"
    assert np.array_equal(first.wv.vectors, second.wv.vectors)
    other_seed = trained(mode, deterministic=True, device="cuda", epochs=3, seed=2)
    assert not np.array_equal(first.wv.vectors, other_seed.wv.vectors)


@pytest.mark.gpu
def test_a_corpus_that_does_not_fit_is_trained_in_chunks(monkeypatch, caplog):
    resident = trained()
    monkeypatch.setattr(MemoryEstimate, "corpus_fits", lambda self, device: False)
    with caplog.at_level(logging.INFO):
        streamed = trained()
    assert "does not fit on the device beside the weights" in caplog.text
    losses = [model.training_history[-1]["mean_loss"] for model in (resident, streamed)]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.gpu
def test_memory_that_others_hold_is_not_counted_as_free():
    """24 GB are left to other tests that may run on the device at the same time."""
    free, _ = torch.cuda.mem_get_info()
    taken = torch.empty(max(free - 24 * 10**9, 0), dtype=torch.uint8, device="cuda")
    try:
        with pytest.raises(DeviceMemoryError, match=r"GB are free.*device='cpu'"):
            MemoryEstimate(20_000_000, 300, 2, False).corpus_fits(CUDA)
        assert np.isfinite(trained(epochs=1).wv.vectors).all()
    finally:
        del taken
        torch.cuda.empty_cache()


@pytest.mark.gpu
@pytest.mark.skipif(not PENN.exists(), reason="needs ptb.train.txt in TORCHW2V_DATA")
@pytest.mark.parametrize("engine", ["triton", "triton-ieee"])
def test_chip_has_the_neighbours_that_a_reader_of_penn_treebank_expects(engine):
    """A small corpus is the hard one: few steps, so tokens in flight cost most. 20 epochs: as in test_quality.py."""
    settings = {"vector_size": 100, "window": 5, "min_count": 10, "negative": 5, "sg": 1, "sample": 1e-4, "epochs": 20}
    model = TorchWord2Vec(LineSentence(str(PENN)), engine=engine, seed=1, **settings)
    found = CHIP & {word for word, _ in model.wv.most_similar("chip", topn=10)}
    assert len(found) >= 2, model.wv.most_similar("chip", topn=10)


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.skipif(not WIKIPEDIA.exists(), reason="needs enwiki.txt.xz in TORCHW2V_DATA")
@pytest.mark.parametrize("engine", ["triton", "triton-ieee"])
@pytest.mark.parametrize("mode", MODES)
def test_mean_quality_is_not_below_gensims_mean_minus_its_spread(mode, engine):
    sentences = read_corpus(WIKIPEDIA, WORDS)
    settings = {**BENCH_MODES[mode], "vector_size": 100, "epochs": 5, "workers": os.cpu_count()}
    theirs = [run_once("gensim", sentences, {**settings, "seed": seed}) for seed in SEEDS]
    ours = []
    for seed in SEEDS:
        model = TorchWord2Vec(sentences, engine=engine, **settings, seed=seed)
        ours.append(quality(model.wv))
    for name in QUALITIES:
        scores, mean = [run[name] for run in theirs], statistics.mean(run[name] for run in ours)
        assert mean >= statistics.mean(scores) - statistics.stdev(scores), f"{name}: {mean:.3f}, gensim {scores}"


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memcheck", "racecheck"])
@pytest.mark.parametrize("mode", MODES)
def test_compute_sanitizer_finds_nothing(mode, tool):
    """Kernels that read or write where they should not; racecheck looks at shared memory only."""
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        pytest.skip("compute-sanitizer (of NVIDIA's CUDA toolkit) is not on the PATH")
    sg, hs, negative = MODES[mode]
    code = (
        "from gensim.test.utils import common_texts; from torchw2v import TorchWord2Vec; "
        f"TorchWord2Vec(common_texts, min_count=1, vector_size=30, sg={sg}, hs={hs}, negative={negative}, epochs=2, "
        "device='cuda', engine='triton', compute_loss=True)"
    )
    # torch's allocator would hide a kernel that leaves its tensor but not the allocator's block.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    command = [sanitizer, "--tool", tool, "--error-exitcode", "1", sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    if "Device not supported" in done.stdout:
        pytest.skip("compute-sanitizer does not support this device or virtual machine")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


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
    with pytest.raises(DeviceMemoryError, match="lower vector_size"):
        MemoryEstimate(words, 1024, 2, False).corpus_fits(CUDA)


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


@pytest.mark.gpu
def test_weights_that_are_not_numbers_are_refused_on_the_device():
    model = TorchWord2Vec(min_count=1)
    model.build_vocab(common_texts)
    model.syn1neg[3, 0] = np.nan
    with pytest.raises(WeightsError, match="syn1neg holds NaN or infinity in 1 rows"):
        model.train(common_texts, total_examples=9, epochs=1)
