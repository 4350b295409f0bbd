"""What the device makes of a chunk by itself: draws, kept tokens, halo; and that nobody waits for it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("triton", reason="triton is not made for this platform")

import triton
import triton.language as tl

from torchw2v.ops import triton_chunks
from torchw2v.ops.contract import Chunk, Step
from torchw2v.ops.draws import draw_key, draws_numpy, signed
from torchw2v.ops.torch_engine import TorchEngine
from torchw2v.ops.triton_chunks import Chunks
from torchw2v.ops.triton_engine import TritonEngine
from torchw2v.ops.triton_sampling import corpus_position, draw, noise_words
from torchw2v.tables import alias_table, noise_probabilities

from .engine_cases import CBOW, MODES, TOKENS, case, matrices
from .test_triton_engine import DEVICE, case32, on_device

pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []  # else in the ordinary suite
KEY = draw_key(4, 5, 6)
# torch operations whose result the host has to wait for, on an accelerator.
WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique2", "unique_dim", "unique_consecutive",
    "repeat_interleave", "bincount", "equal", "is_nonzero", "item",
}  # fmt: skip


class Asked(TorchDispatchMode):
    """Counts torch operations by name."""

    def __init__(self):
        super().__init__()
        self.names = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]
        )
        self.names["masked_select" if by_mask else name] += 1
        return func(*args, **(kwargs or {}))


@triton.jit(do_not_specialize=["key_1", "key_2", "base_low", "base_high", "lane", "vocabulary"])
def draw_kernel(p_out, p_noise, p_alias, key_1, key_2, base_low, base_high, lane, vocabulary, N: tl.constexpr):
    o = tl.arange(0, N)
    b_position, b_lane = corpus_position(o, base_low, base_high), (lane + o % 3).to(tl.uint32)
    tl.store(p_out + o, draw(b_position, b_lane, key_1, key_2).to(tl.int64))
    tl.store(p_noise + o, noise_words(p_alias, b_position, b_lane, key_1, key_2, vocabulary))


@pytest.mark.parametrize("base", [0, 2**31 - 100, 2**32 - 100, 5_000_000_000, 2**40 + 3])
def test_draws_and_negatives_of_kernels_are_numpys_bit_for_bit(base):
    job, *_ = case(True, "ns", 5, True, True, 4)
    tables, count = Chunks(job, torch.device(DEVICE)).tables, 4096
    out = torch.zeros(count, dtype=torch.int64, device=DEVICE)
    noise = torch.zeros(count, dtype=torch.int32, device=DEVICE)
    draw_kernel[(1,)](
        out, noise, tables.alias, signed(KEY.first), signed(KEY.second), signed(base), base >> 32, 7,
        len(tables.keep), N=count,
    )  # fmt: skip
    draws = draws_numpy(KEY, base + np.arange(count), 7 + np.arange(count) % 3).astype(np.int64)
    assert np.array_equal(out.cpu().numpy(), draws)
    alias = alias_table(noise_probabilities(job.tables.cumulative))
    column, part = np.divmod(draws * len(alias.accept), 2**32)
    assert np.array_equal(noise.cpu().numpy(), np.where(part < alias.accept[column], column, alias.alias[column]))


def test_every_column_of_the_alias_table_that_never_gives_its_alias_has_none():
    job, *_ = case(True, "ns", 5, True, True, 4)
    uniform = np.arange(1, 41, dtype=np.uint32) * 50_000_000  # every column is its own word's, to the last draw
    tables = Chunks(replace(job, tables=replace(job.tables, cumulative=uniform)), torch.device(DEVICE)).tables
    always = alias_table(noise_probabilities(uniform)).accept == 2**32
    assert always.any()
    assert np.array_equal(tables.alias.cpu().numpy()[always, 1], np.flatnonzero(always))


@pytest.mark.parametrize("block", [16, 1024])
@pytest.mark.parametrize("sample", [0, 0.05])
@pytest.mark.parametrize(("start", "stop"), [(0, TOKENS), (71, 73), (72, 130)])
def test_kept_tokens_are_those_of_the_draws(block, sample, start, stop, monkeypatch):
    monkeypatch.setattr(triton_chunks, "_BLOCK", block)
    job, ids, offsets, _ = case(True, "ns", 5, True, True, 4, sample=sample)
    chunks, first = Chunks(job, torch.device(DEVICE)), 5_000_000_000
    kept = chunks.keep(Chunk(ids, offsets, start, stop, first), KEY)
    low, high = chunks.range_of(Chunk(ids, offsets, start, stop, first))
    assert low <= start < stop <= high and {low, high} <= set(offsets.tolist())
    places = np.arange(low, high)
    places = places[draws_numpy(KEY, places + first, 0) <= job.tables.keep_thresholds[ids[low:high]]]
    sentences = np.searchsorted(offsets, places, side="right")
    halo, count, total, reach = kept.sizes.tolist()
    words, where, numbers = kept.tokens[:, :total].cpu().numpy()
    assert total == len(places) and np.array_equal(where, places - low) and np.array_equal(words, ids[places])
    assert (halo, count) == ((places < start).sum(), ((places >= start) & (places < stop)).sum())
    assert np.array_equal(numbers[:, None] == numbers, sentences[:, None] == sentences)
    assert reach == min(5, np.bincount(sentences).max() - 1)


def test_a_cut_sentence_is_looked_at_as_far_as_its_windows_need():
    job, *_ = case(True, "ns", 5, True, True, 4, sample=0.001)
    chunks = Chunks(job, torch.device(DEVICE))
    ids, offsets = np.zeros(10**7, np.int32), np.array([0, 10**7])
    chunk = Chunk(ids, offsets, 4_000_000, 5_000_000, 0)
    low, high = chunks.range_of(chunk)
    assert 4_000_000 - low == high - 5_000_000 > 1024
    least = job.tables.keep_thresholds.min() / 2**32
    assert (4_000_000 - low) * least > 8 * 5  # kept words, were all of them the most frequent word


@pytest.mark.parametrize("corrected", [False, True], ids=["word2vec", "corrected"])
def test_a_bag_that_is_walked_has_the_pairs_of_one_that_is_not(corrected, monkeypatch):
    job, ids, offsets, _ = case(False, "ns+hs", 20, True, True, 4, corrected=corrected)
    chunks = Chunks(job, torch.device(DEVICE))
    kept = chunks.keep(Chunk(ids, offsets, 71, 140, 0), KEY)
    whole = chunks.count(kept, 20, 0)
    assert (whole.slots, whole.walked) == (64, False)
    monkeypatch.setattr(triton_chunks, "BAG_SLOTS", 16)
    walked = chunks.count(kept, 20, 0)
    assert (walked.slots, walked.walked) == (16, True)
    assert whole.counters.sum() > 0 and torch.equal(walked.counters, whole.counters)
    assert torch.equal(walked.top, whole.top) and torch.equal(walked.pairs, whole.pairs)


def assert_nobody_waits(job, ids, offsets, weights):
    engine, there = TritonEngine(job, DEVICE), on_device(weights)()
    chunk, step = Chunk(ids, offsets, 0, TOKENS, 0), Step(0.025, KEY, compute_loss=True)
    asked, control = Asked(), Asked()
    with asked:
        engine.train_chunk(there, chunk, step)
    assert asked.names and not WAITING & set(asked.names), asked.names
    job = replace(job, plan=replace(job.plan, inputs_ahead="none"))
    with control:  # nearly the same by torch operations: the test sees what it looks for
        TorchEngine(job, DEVICE, bags=False).train_chunk(there, chunk, step)
    assert WAITING & set(control.names)


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_a_chunk_is_trained_without_waiting_for_the_device(skip_gram, outputs, mean):
    assert_nobody_waits(*case32(skip_gram, outputs, mean))


@pytest.mark.parametrize(("outputs", "mean"), CBOW)
def test_a_chunk_of_bags_of_any_size_is_trained_without_waiting_for_the_device(outputs, mean):
    assert_nobody_waits(*case32(False, outputs, mean, window=1000, shrink=False))


@pytest.mark.skipif(DEVICE == "cpu", reason="only a CUDA device can be waited for")
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
@pytest.mark.parametrize("window", [5, 1000], ids=["narrow", "wide"])
@pytest.mark.parametrize("held", [True, False], ids=["resident", "streamed"])
def test_cuda_sees_no_host_waiting(skip_gram, outputs, mean, held, window):
    job, ids, offsets, weights = case32(skip_gram, outputs, mean, window=window)
    engine, there = TritonEngine(job, DEVICE), on_device(weights)()
    chunk, step = Chunk(ids, offsets, 0, TOKENS, 0), Step(0.025, KEY, compute_loss=True)
    if held:
        engine.hold(ids, offsets)
    for _ in range(3):  # kernels are compiled, buffers of both stages made
        engine.train_chunk(there, chunk, step)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(20):
            engine.train_chunk(there, chunk, step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert engine.collect(there).pairs > 0


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_streamed_chunks_are_trained_as_resident_ones(skip_gram, outputs, mean):
    job, ids, offsets, weights = case32(skip_gram, outputs, mean, size=8)
    trained = []
    for held in (True, False):
        engine, there = TritonEngine(job, DEVICE, snapshot=DEVICE == "cuda"), on_device(weights)()
        if held:
            engine.hold(ids, offsets)
        for start, stop in ((0, 72), (72, 73), (73, 73), (73, 115), (115, TOKENS)):
            engine.train_chunk(there, Chunk(ids, offsets, start, stop, 0), Step(0.025, KEY))
        trained.append((engine.collect(there), [m.cpu() for m in matrices(there)]))
    (tally, resident), (other, streamed) = trained
    assert (tally.effective_words, tally.pairs) == (other.effective_words, other.pairs) and tally.pairs > 0
    for mine, theirs in zip(resident, streamed, strict=True):
        # In the interpreter one program runs after another; on a device the order of additions varies.
        assert torch.equal(mine, theirs) if DEVICE == "cpu" else torch.allclose(mine, theirs, atol=2e-5)


def test_collect_counts_each_chunk_once():
    job, ids, offsets, weights = case32(True, "ns+hs", True, size=8)
    engine, there = TritonEngine(job, DEVICE), on_device(weights)()
    chunk, step = Chunk(ids, offsets, 0, TOKENS, 0), Step(0.0, KEY, compute_loss=True)  # alpha 0: all chunks are alike
    tallies = []
    for times in (1, 2, 0):
        for _ in range(times):
            engine.train_chunk(there, chunk, step)
        tallies.append(engine.collect(there))
    once, twice, none = tallies
    assert (twice.effective_words, twice.pairs) == (2 * once.effective_words, 2 * once.pairs) and once.pairs > 0
    assert twice.loss == pytest.approx(2 * once.loss) and once.loss > 0
    assert (none.effective_words, none.pairs, none.loss) == (0, 0, 0.0)
