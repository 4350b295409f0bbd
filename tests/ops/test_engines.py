"""The torch engine is the reference, step by step: same chunk, same draws, all modes and options, odd sizes."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from gensim.models import Word2Vec

from torchw2v.constants import MAX_BLOCK_ROWS
from torchw2v.errors import TrainingDivergedError
from torchw2v.ops.contract import Chunk, Job, Objective, Step, Tables, Weights
from torchw2v.ops.draws import draw_key
from torchw2v.ops.reference import ReferenceEngine
from torchw2v.ops.torch_engine import TorchEngine
from torchw2v.schedule import make_plan
from torchw2v.tables import pack_paths

# float64: both engines sum the same ~100 terms of size 0.1 in another order; rounding is 1e-16 each, and three steps
# multiply it by less than 100.
STEP64_ATOL = 1e-11
# float32 engine against the float64 definition, one step: a score of 50 products of size 0.25 is off by about
# 50 * 0.25 * 6e-8 = 8e-7, its pull by a quarter of that; a row sums up to 24 (0.6 / 0.025) pulls of rows of size 1.
# (Against a float32 definition it would be more: that one rounds a hot row thousands of times.)
STEP32_ATOL = 1e-5
MOVED = 1e-3  # training changed the weights by more than this, so an engine that does nothing cannot pass

VOCABULARY, TOKENS = 40, 150
LENGTHS = (0, 1, 70, 2, 0, 40, 1, 36)  # empty sentences, single words, one longer than a tile
OUTPUTS = {"ns": (5, False), "hs": (0, True), "ns+hs": (3, True)}


def case(skip_gram, outputs, window, shrink, mean, size, dtype=torch.float64, step_tiles=2, sample=0.05, lock=True):
    """A job on a Zipf-like vocabulary, a chunk's buffer, and a maker of equal random weights."""
    negative, hierarchical = OUTPUTS[outputs]
    model = Word2Vec(vector_size=1, negative=negative, hs=int(hierarchical), sample=sample, min_count=1)
    model.build_vocab_from_freq({str(rank): 1000 // (rank + 1) + 1 for rank in range(VOCABULARY)})
    counts = model.wv.expandos["count"]
    tables = Tables(
        keep_thresholds=model.wv.expandos["sample_int"],
        cumulative=model.cum_table if negative else None,
        paths=pack_paths(model.wv.expandos["code"], model.wv.expandos["point"]) if hierarchical else None,
    )
    objective = Objective(skip_gram, negative, hierarchical, window, shrink, mean)
    plan = replace(make_plan(objective, tables, counts, threads=1, epoch_tokens=1e5), step_tiles=step_tiles)
    rng = np.random.default_rng(7)
    ids = rng.choice(VOCABULARY, TOKENS, p=counts / counts.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    assert offsets[-1] == TOKENS

    def weights():
        generator = torch.Generator().manual_seed(1)

        def matrix():
            return torch.randn(VOCABULARY, size, generator=generator, dtype=dtype) * 0.5

        return Weights(
            inputs=matrix(),
            outputs=matrix() if negative else None,
            nodes=matrix() if hierarchical else None,
            input_lock=torch.rand(VOCABULARY, generator=generator, dtype=dtype) if lock else None,
        )

    return Job(objective, tables, plan), ids, offsets, weights


def matrices(weights):
    return [m for m in (weights.inputs, weights.outputs, weights.nodes) if m is not None]


def in_float64(weights):
    return Weights(*(None if m is None else m.double() for m in vars(weights).values()))


def assert_engines_agree(job, ids, offsets, weights, *, start=0, stop=TOKENS, alpha=0.025, atol=STEP64_ATOL):
    ours, definition, before = weights(), in_float64(weights()), in_float64(weights())
    # A position beyond 2**32 puts the upper half of the counter to use.
    chunk = Chunk(ids, offsets, start, stop, first_position=5_000_000_000)
    step = Step(alpha, draw_key(1, 2, 3), compute_loss=True)
    tally, expected = (
        TorchEngine(job).train_chunk(ours, chunk, step),
        ReferenceEngine(job).train_chunk(definition, chunk, step),
    )
    assert (tally.effective_words, tally.pairs) == (expected.effective_words, expected.pairs)
    assert tally.loss == pytest.approx(expected.loss, rel=1e-4)
    moved = []
    for mine, reference, start_value in zip(matrices(ours), matrices(definition), matrices(before), strict=True):
        assert (mine - reference).abs().max().item() <= atol
        moved.append((reference - start_value).abs().max().item())
    assert max(moved) > MOVED and min(moved) > 1000 * atol


MODES = [
    pytest.param(sg, outputs, mean, id=f"{'sg' if sg else 'cbow-mean' if mean else 'cbow-sum'}-{outputs}")
    for sg, mean, outputs in product((True, False), (True, False), OUTPUTS)
    if not (sg and not mean)
]


@pytest.mark.parametrize("shrink", [True, False], ids=["shrunk", "fixed"])
@pytest.mark.parametrize("window", [1, 5, 35, 1000])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_equals_reference(skip_gram, outputs, mean, window, shrink):
    assert_engines_agree(*case(skip_gram, outputs, window, shrink, mean, size=7))


@pytest.mark.parametrize("size", [1, 63, 300, 1024])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_equals_reference_at_any_vector_size(skip_gram, outputs, mean, size):
    assert_engines_agree(*case(skip_gram, outputs, 5, True, mean, size=size), atol=10 * STEP64_ATOL)


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_equals_reference_in_float32(skip_gram, outputs, mean):
    assert_engines_agree(
        *case(skip_gram, outputs, 5, True, mean, size=50, dtype=torch.float32, step_tiles=100), atol=STEP32_ATOL
    )


@pytest.mark.parametrize(("start", "stop"), [(10, 60), (1, 2), (71, 73), (100, 150)])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_torch_step_equals_reference_where_a_chunk_cuts_sentences(skip_gram, outputs, mean, start, stop):
    job, ids, offsets, weights = case(skip_gram, outputs, 5, True, mean, size=7, sample=0)
    assert_engines_agree(job, ids, offsets, weights, start=start, stop=stop)


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
        assert_engines_agree(job, ids, offsets, weights, alpha=alpha)


def test_wide_windows_are_trained_in_several_blocks():
    job, *_ = case(True, "ns", 1000, False, True, size=7)
    blocks = list(TorchEngine(job).sampler.blocks(reach=69))
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
