"""The Triton kernels are the reference, step by step; on a CUDA device, or in Triton's interpreter."""

from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="triton is not made for this platform")

from torchw2v.errors import TrainingDivergedError
from torchw2v.ops import triton_chunks
from torchw2v.ops.contract import Chunk, Step, Weights
from torchw2v.ops.draws import draw_key
from torchw2v.ops.torch_engine import TorchEngine
from torchw2v.ops.triton_engine import TritonEngine

from .engine_cases import CBOW, MODES, TOKENS, assert_engine_agrees, case, matrices, squares

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
pytestmark = [pytest.mark.gpu] if DEVICE == "cuda" else []  # else in the ordinary suite
# float32 against float64 as in engine_cases.STEP32_ATOL; products of up to 300 dimensions in blocks of 64.
STEP32_ATOL = 2e-5


def padded(matrix):
    """A matrix whose rows begin every 16 bytes, as the models' own are on a device."""
    rows, width = matrix.shape
    full = torch.zeros(rows, -(-width // 4) * 4, dtype=matrix.dtype, device=DEVICE)
    full[:, :width] = matrix
    return full[:, :width]


def on_device(make):
    def weights():
        made = make()
        lock = None if made.input_lock is None else made.input_lock.to(DEVICE)
        sums = (made.input_squares, made.output_squares, made.node_squares)
        return Weights(
            *(None if m is None else padded(m) for m in (made.inputs, made.outputs, made.nodes)),
            lock,
            *(None if s is None else s.clone().to(DEVICE) for s in sums),
        )

    return weights


class OnDevice:
    """The Triton engine, judged by its results on the CPU."""

    def __init__(self, job):
        self.engine = TritonEngine(job, DEVICE, precision="ieee", snapshot=True)

    def train_chunk(self, weights, chunk, step):
        there = on_device(lambda: weights)()
        tally = self.engine.train_chunk(there, chunk, step)
        tally += self.engine.collect(there)
        for here, trained in zip(matrices(weights), matrices(there), strict=True):
            assert not trained.as_strided((len(trained), trained.stride(0)), (trained.stride(0), 1))[
                :, trained.shape[1] :
            ].any()  # the padding of rows stays zero
            here.copy_(trained)
        for here, trained in zip(squares(weights), squares(there), strict=True):
            here.copy_(trained)
        return tally


def assert_triton_agrees(case_, **options):
    assert_engine_agrees(OnDevice, *case_, **{"atol": STEP32_ATOL, "clear": 20, **options})


def case32(skip_gram, outputs, mean, *, window=5, shrink=True, size=20, **options):
    job, *rest = case(skip_gram, outputs, window, shrink, mean, size, dtype=torch.float32, **options)
    if job.plan.inputs_ahead == "step":  # as make_plan(fused=True)
        job = replace(job, plan=replace(job.plan, inputs_ahead="tile"))
    return job, *rest


def test_engines_refuse_the_others_plan():
    """Contexts are ahead by what others ask of them in a tile, or in a step."""
    job = case32(True, "hs", True)[0]
    with pytest.raises(ValueError, match="fused=False"):
        TorchEngine(job)
    with pytest.raises(ValueError, match="fused=True"):
        TritonEngine(replace(job, plan=replace(job.plan, inputs_ahead="step")), DEVICE)


def test_kernel_equals_reference_where_contexts_are_not_ahead():
    job, *rest = case32(True, "hs", True)
    assert_triton_agrees((replace(job, plan=replace(job.plan, inputs_ahead="none")), *rest))


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_kernel_equals_reference(skip_gram, outputs, mean):
    assert_triton_agrees(case32(skip_gram, outputs, mean))


@pytest.mark.parametrize("size", [1, 63, 130])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_kernel_equals_reference_at_any_vector_size(skip_gram, outputs, mean, size):
    assert_triton_agrees(case32(skip_gram, outputs, mean, size=size, step_tiles=4))


@pytest.mark.parametrize("window", [1, 35, 1000])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_kernel_equals_reference_at_any_window(skip_gram, outputs, mean, window):
    # The error of a sum of 150 contexts is shared by all of them: it moves each by little.
    assert_triton_agrees(case32(skip_gram, outputs, mean, window=window, shrink=False, size=8), clear=2)


@pytest.mark.parametrize(("start", "stop"), [(1, 2), (71, 73), (100, 150)])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_kernel_equals_reference_where_a_chunk_cuts_sentences(skip_gram, outputs, mean, start, stop):
    assert_triton_agrees(case32(skip_gram, outputs, mean, size=8, sample=0), start=start, stop=stop)


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_kernel_equals_reference_with_capped_rows(skip_gram, outputs, mean):
    assert_triton_agrees(case32(skip_gram, outputs, mean, size=8, step_tiles=1, lock=False), alpha=0.5, atol=2e-4)


@pytest.mark.parametrize("alpha", [0.025, 0.5], ids=["below-the-caps", "capped"])
@pytest.mark.parametrize(("outputs", "mean"), CBOW)
def test_kernel_with_cbows_true_gradient_equals_reference(outputs, mean, alpha):
    atol = STEP32_ATOL * (10 if alpha > 0.1 else 1)  # as above: ten times the pull, of scores ten times as far
    assert_triton_agrees(case32(False, outputs, mean, corrected=True, lock=False), alpha=alpha, atol=atol)


@pytest.mark.parametrize("size", [20, 63])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_kernel_with_adagrad_equals_reference(skip_gram, outputs, mean, size):
    assert_triton_agrees(case32(skip_gram, outputs, mean, size=size, adagrad=True))


@pytest.mark.parametrize(("outputs", "mean"), CBOW)
def test_kernel_with_adagrad_and_cbows_true_gradient_equals_reference(outputs, mean):
    assert_triton_agrees(case32(False, outputs, mean, adagrad=True, corrected=True, lock=False))


@pytest.fixture
def walked(monkeypatch):
    """CBOW's bags are walked 16 slots at a time, the least that a product takes; slots of the tiles that were."""
    slots, count = [], triton_chunks.Chunks.count

    def spy(self, kept, reach, block):
        counted = count(self, kept, reach, block)
        assert counted.walked and counted.slots == 16
        slots.append(self.job.plan.tile + 2 * reach)
        return counted

    monkeypatch.setattr(triton_chunks, "BAG_SLOTS", 16)
    monkeypatch.setattr(triton_chunks.Chunks, "count", spy)
    return slots


@pytest.mark.parametrize(("window", "shrink", "size"), [(1, False, 1), (12, True, 130)])
@pytest.mark.parametrize(("outputs", "mean"), CBOW)
def test_kernel_that_walks_bags_equals_reference(outputs, mean, window, shrink, size, walked):
    assert_triton_agrees(case32(False, outputs, mean, window=window, shrink=shrink, size=size), start=60, stop=130)
    assert walked == [16 + 2 * window]


@pytest.mark.parametrize(
    ("alpha", "options"),
    [
        pytest.param(0.025, {"adagrad": True}, id="adagrad"),
        pytest.param(0.025, {"corrected": True, "lock": False}, id="corrected"),
        pytest.param(0.5, {"corrected": True, "adagrad": True}, id="corrected-adagrad-capped"),
    ],
)
@pytest.mark.parametrize(("outputs", "mean"), CBOW)
def test_kernel_that_walks_bags_equals_reference_with_options(outputs, mean, alpha, options, walked):
    atol = STEP32_ATOL * (10 if alpha > 0.1 else 1)  # as above
    made = case32(False, outputs, mean, window=9, **options)
    assert_triton_agrees(made, start=71, stop=150, alpha=alpha, atol=atol)
    assert walked == [34]


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_training_without_snapshots_moves_the_weights_as_far(skip_gram, outputs, mean):
    """As models are trained: many steps a launch, programs that read what others have just written."""
    job, ids, offsets, weights = case32(skip_gram, outputs, mean, size=32)
    chunk, step = Chunk(ids, offsets, 0, TOKENS, 0), Step(0.025, draw_key(3), compute_loss=True)
    moves = []
    for snapshot in (False, True):
        trained, before = on_device(weights)(), on_device(weights)()
        engine = TritonEngine(job, DEVICE, snapshot=snapshot)
        engine.train_chunk(trained, chunk, step)
        assert engine.collect(trained).loss > 0
        moves.append([(a - b).norm().item() for a, b in zip(matrices(trained), matrices(before), strict=True)])
    # The second of three steps reads what the first wrote: a few percent of the update.
    assert moves[0] == pytest.approx(moves[1], rel=0.1)


def test_a_chunk_without_pairs_counts_its_words():
    job, *_, weights = case32(True, "ns", True, sample=0)
    ids, offsets = np.arange(5, dtype=np.int32), np.arange(6)
    ours, before = on_device(weights)(), on_device(weights)()
    engine = TritonEngine(job, DEVICE)
    engine.train_chunk(ours, Chunk(ids, offsets, 0, 5, 0), Step(0.025, draw_key(1)))
    tally = engine.collect(ours)
    assert (tally.effective_words, tally.pairs) == (5, 0)
    assert torch.equal(ours.inputs, before.inputs)


def test_an_infinite_vector_is_an_error():
    job, ids, offsets, weights = case32(True, "ns", True)
    broken = on_device(weights)()
    broken.inputs[:] = float("inf")
    engine = TritonEngine(job, DEVICE)
    with np.errstate(all="ignore"):
        engine.train_chunk(broken, Chunk(ids, offsets, 0, TOKENS, 0), Step(0.025, draw_key(5)))
    with pytest.raises(TrainingDivergedError, match=r"before token 150 .* alpha=0\.025"):
        engine.collect(broken)
