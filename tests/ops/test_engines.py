"""The torch engine is the reference, step by step: same chunk, same draws, all modes and options, odd sizes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from torchw2v.constants import MAX_BLOCK_ROWS
from torchw2v.errors import TrainingDivergedError
from torchw2v.ops.contract import Chunk, Step
from torchw2v.ops.draws import draw_key
from torchw2v.ops.reference import ReferenceEngine
from torchw2v.ops.row_sums import LineSums, RowSums, add_rows
from torchw2v.ops.torch_engine import TorchEngine

from .engine_cases import (
    CBOW,
    MODES,
    STEP32_ATOL,
    STEP64_ATOL,
    TOKENS,
    VOCABULARY,
    assert_engine_agrees,
    case,
    matrices,
)


@pytest.mark.parametrize("shrink", [True, False], ids=["shrunk", "fixed"])
@pytest.mark.parametrize("window", [1, 5, 35, 1000])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_equals_reference(skip_gram, outputs, mean, window, shrink):
    assert_engine_agrees(TorchEngine, *case(skip_gram, outputs, window, shrink, mean, size=7))


@pytest.mark.parametrize("window", [1, 5, 1000])
@pytest.mark.parametrize("outputs", ["hs", "ns+hs"])
@pytest.mark.parametrize("mean", [True, False], ids=["mean", "sum"])
def test_cbow_paths_in_blocks_equal_reference(mean, outputs, window):
    """As an accelerator trains them; on a CPU they are bags."""
    assert_engine_agrees(partial(TorchEngine, bags=False), *case(False, outputs, window, True, mean, size=7))


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_in_a_fixed_order_equals_reference(skip_gram, outputs, mean):
    """As deterministic training on a CUDA device adds."""
    engine = partial(TorchEngine, bags=False, ordered=True)
    assert_engine_agrees(engine, *case(skip_gram, outputs, 5, True, mean, size=7))


@pytest.mark.parametrize("options", [{}, {"bags": False, "ordered": True}], ids=["bags", "blocks-ordered"])
@pytest.mark.parametrize("window", [1, 5, 1000])
@pytest.mark.parametrize(("outputs", "mean"), CBOW)
def test_torch_step_with_cbows_true_gradient_equals_reference(outputs, mean, window, options):
    engine = partial(TorchEngine, **options)
    assert_engine_agrees(engine, *case(False, outputs, window, True, mean, size=7, corrected=True))


@pytest.mark.parametrize(("outputs", "mean"), CBOW)
def test_cbows_true_gradient_is_capped_by_the_pull_of_its_pairs(outputs, mean):
    """At alpha 2 all rows are over their caps, which count a mean's pairs as 1/m: the expected ones are set to 0.1."""
    job, *rest = case(False, outputs, 5, True, mean, size=7, corrected=True, lock=False)
    job = replace(job, plan=replace(job.plan, input_pairs=job.plan.input_pairs * 0 + np.float32(0.1)))
    assert_engine_agrees(TorchEngine, job, *rest, alpha=2.0)


@pytest.mark.parametrize("options", [{}, {"bags": False, "ordered": True}], ids=["bags", "blocks-ordered"])
@pytest.mark.parametrize("window", [1, 5, 35, 1000])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_with_adagrad_equals_reference(skip_gram, outputs, mean, window, options):
    engine = partial(TorchEngine, **options)
    assert_engine_agrees(engine, *case(skip_gram, outputs, window, True, mean, size=7, adagrad=True))


@pytest.mark.parametrize("lock", [True, False], ids=["locked", "free"])
@pytest.mark.parametrize(("outputs", "mean"), CBOW)
def test_torch_step_with_adagrad_and_cbows_true_gradient_equals_reference(outputs, mean, lock):
    cases = case(False, outputs, 5, True, mean, size=7, adagrad=True, corrected=True, lock=lock)
    assert_engine_agrees(TorchEngine, *cases)


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_with_adagrad_equals_reference_over_the_caps(skip_gram, outputs, mean):
    """At alpha 0.5 rates are 0.5 to 5, and rows with two pairs over their caps."""
    assert_engine_agrees(TorchEngine, *case(skip_gram, outputs, 5, True, mean, size=7, adagrad=True), alpha=0.5)


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_with_adagrad_equals_reference_in_float32(skip_gram, outputs, mean):
    cases = case(skip_gram, outputs, 5, True, mean, size=50, dtype=torch.float32, step_tiles=100, adagrad=True)
    assert_engine_agrees(TorchEngine, *cases, atol=STEP32_ATOL, clear=100)


@pytest.mark.parametrize("ordered", [True, False])
def test_rows_that_repeat_are_all_added(ordered):
    values, rows = torch.randn(500, 3, dtype=torch.float64), torch.arange(500) % 7
    sums, onto = torch.ones(10, 3, dtype=torch.float64), torch.ones(10, 3, dtype=torch.float64)
    add_rows(sums, rows, values, ordered=ordered)
    for row, value in zip(rows, values, strict=True):
        onto[row] += value
    assert torch.allclose(sums, onto, atol=1e-12)
    line = LineSums(7, rows, ordered=ordered).sums(values)  # as on a device: no order was prepared
    assert torch.allclose(line, onto[:7] - 1, atol=1e-12)


@pytest.mark.parametrize("ordered", [True, False])
def test_values_of_padding_are_added_nowhere(ordered):
    """As blocks of paths come on a device, where their rows are not sorted."""
    sums = torch.zeros(4, 2, dtype=torch.float64)
    values = torch.ones(32, 2, dtype=torch.float64)
    RowSums(torch.tensor([1, 3, 1]), ordered=ordered).update(sums, values).apply()
    assert sums.tolist() == [[0, 0], [2, 2], [0, 0], [1, 1]]


@pytest.mark.parametrize("size", [1, 63, 300, 1024])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_equals_reference_at_any_vector_size(skip_gram, outputs, mean, size):
    assert_engine_agrees(TorchEngine, *case(skip_gram, outputs, 5, True, mean, size=size), atol=10 * STEP64_ATOL)


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_equals_reference_in_float32(skip_gram, outputs, mean):
    assert_engine_agrees(
        TorchEngine,
        *case(skip_gram, outputs, 5, True, mean, size=50, dtype=torch.float32, step_tiles=100),
        atol=STEP32_ATOL,
    )


@pytest.mark.parametrize(("start", "stop"), [(10, 60), (1, 2), (71, 73), (100, 150)])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_equals_reference_where_a_chunk_cuts_sentences(skip_gram, outputs, mean, start, stop):
    job, ids, offsets, weights = case(skip_gram, outputs, 5, True, mean, size=7, sample=0)
    assert_engine_agrees(TorchEngine, job, ids, offsets, weights, start=start, stop=stop)


@pytest.mark.parametrize("step_tiles", [1, 3, 100])
@pytest.mark.parametrize("alpha", [0.0001, 0.5], ids=["small-alpha", "capped-alpha"])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_equals_reference_for_any_step_size(skip_gram, outputs, mean, alpha, step_tiles):
    job, ids, offsets, weights = case(skip_gram, outputs, 5, True, mean, size=7, step_tiles=step_tiles, lock=False)
    if alpha < 0.001:  # the updates themselves are below MOVED: compare them scaled up
        job = replace(job, plan=replace(job.plan, input_pairs=job.plan.input_pairs * 0 + 1))
        ours, definition = weights(), weights()
        chunk, step = Chunk(ids, offsets, 0, TOKENS, 0), Step(alpha, draw_key(1, 2, 3))
        TorchEngine(job).train_chunk(ours, chunk, step)
        ReferenceEngine(job).train_chunk(definition, chunk, step)
        for mine, reference in zip(matrices(ours), matrices(definition), strict=True):
            assert (mine - reference).abs().max().item() <= STEP64_ATOL
        assert not torch.equal(ours.inputs, weights().inputs)
    else:
        assert_engine_agrees(TorchEngine, job, ids, offsets, weights, alpha=alpha)


def test_wide_windows_are_trained_in_several_blocks():
    job, *_ = case(True, "ns", 1000, False, True, size=7)
    blocks = list(TorchEngine(job).frames.sampler.blocks(reach=69))
    assert len(blocks) == -(-(job.plan.tile + 2 * 69) // MAX_BLOCK_ROWS) == 3


def test_a_bursty_word_is_capped_by_its_count_in_the_step():
    """A word expected once but present all over the step moves no further than one that is expected that often."""
    job, _, _, weights = case(True, "ns", 5, False, True, size=7, step_tiles=7, sample=0, lock=False)
    rare = VOCABULARY - 1
    ids = np.full(100, rare, dtype=np.int32)
    ids[::2] = np.arange(50) % (VOCABULARY - 1)
    offsets = np.array([0, 100])
    bursty, before = weights(), weights()
    TorchEngine(job).train_chunk(bursty, Chunk(ids, offsets, 0, 100, 0), Step(0.025, draw_key(1)))
    expected = replace(job, plan=replace(job.plan, input_pairs=job.plan.input_pairs * 0 + 5000))
    capped = weights()
    TorchEngine(expected).train_chunk(capped, Chunk(ids, offsets, 0, 100, 0), Step(0.025, draw_key(1)))
    moved = (bursty.inputs - before.inputs)[rare].norm().item()
    # 50 occurrences with 10 pairs each: capped at 500 pairs, so ten times what 5,000 pairs would allow.
    assert moved == pytest.approx(10 * (capped.inputs - before.inputs)[rare].norm().item(), rel=0.1)


def test_a_chunk_without_pairs_counts_its_words():
    job, *_, weights = case(True, "ns", 5, True, True, size=7, sample=0)
    ids, offsets = np.arange(5, dtype=np.int32), np.arange(6)
    ours, before = weights(), weights()
    tally = TorchEngine(job).train_chunk(ours, Chunk(ids, offsets, 0, 5, 0), Step(0.025, draw_key(1)))
    assert (tally.effective_words, tally.pairs) == (5, 0)
    assert torch.equal(ours.inputs, before.inputs)


def test_two_chunks_train_what_one_chunk_trains():
    """Tile borders and negatives differ, the pairs do not: with one negative row locked to zero weight, sums agree."""
    job, ids, offsets, weights = case(True, "ns", 5, True, True, size=7)
    whole = TorchEngine(job).train_chunk(weights(), Chunk(ids, offsets, 0, TOKENS, 0), Step(0.025, draw_key(5)))
    parts = [
        TorchEngine(job).train_chunk(weights(), Chunk(ids, offsets, a, b, 0), Step(0.025, draw_key(5)))
        for a, b in ((0, 33), (33, 34), (34, TOKENS))
    ]
    assert sum(part.pairs for part in parts) == whole.pairs
    assert sum(part.effective_words for part in parts) == whole.effective_words


def test_an_infinite_update_is_an_error():
    job, ids, offsets, weights = case(True, "ns", 5, True, True, size=7)
    broken = weights()
    broken.inputs[:] = float("inf")
    with pytest.raises(TrainingDivergedError, match=r"alpha=0\.025"):
        TorchEngine(job).train_chunk(broken, Chunk(ids, offsets, 0, TOKENS, 0), Step(0.025, draw_key(5)))
