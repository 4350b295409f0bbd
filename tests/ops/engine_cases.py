"""Small jobs on which every engine is compared with the reference."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from gensim.models import Word2Vec

from torchw2v.ops.contract import Chunk, Job, Objective, Step, Tables, Weights
from torchw2v.ops.draws import draw_key
from torchw2v.ops.reference import ReferenceEngine
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


def case(
    skip_gram, outputs, window, shrink, mean, size, dtype=torch.float64, step_tiles=2, sample=0.05, lock=True,
    corrected=False, adagrad=False,
):  # fmt: skip
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
    objective = Objective(skip_gram, negative, hierarchical, window, shrink, mean, corrected=corrected)
    plan = replace(make_plan(objective, tables, counts, threads=1, epoch_tokens=1e5), step_tiles=step_tiles)
    rng = np.random.default_rng(7)
    ids = rng.choice(VOCABULARY, TOKENS, p=counts / counts.sum()).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    assert offsets[-1] == TOKENS

    def weights():
        generator = torch.Generator().manual_seed(1)

        def matrix():
            return torch.randn(VOCABULARY, size, generator=generator, dtype=dtype) * 0.5

        def squares():
            return torch.rand(VOCABULARY, generator=generator, dtype=dtype) + 0.01

        return Weights(
            inputs=matrix(),
            outputs=matrix() if negative else None,
            nodes=matrix() if hierarchical else None,
            input_lock=torch.rand(VOCABULARY, generator=generator, dtype=dtype) if lock else None,
            input_squares=squares() if adagrad else None,
            output_squares=squares() if adagrad and negative else None,
            node_squares=squares() if adagrad and hierarchical else None,
        )

    return Job(objective, tables, plan, adagrad), ids, offsets, weights


def matrices(weights):
    return [m for m in (weights.inputs, weights.outputs, weights.nodes) if m is not None]


def squares(weights):
    return [s for s in (weights.input_squares, weights.output_squares, weights.node_squares) if s is not None]


def in_float64(weights):
    return Weights(*(None if m is None else m.double() for m in vars(weights).values()))


def assert_engine_agrees(
    make_engine,
    job,
    ids,
    offsets,
    weights,
    *,
    start=0,
    stop=TOKENS,
    alpha=0.025,
    atol=STEP64_ATOL,
    clear=1000,
    make_definition=ReferenceEngine,
):
    """The engine changes the weights as its definition does in float64, and counts the same words, pairs and loss.

    Every matrix has to move by `clear` times the tolerance at least: an engine that does nothing cannot pass.
    """
    ours, definition, before = weights(), in_float64(weights()), in_float64(weights())
    # A position beyond 2**32 puts the upper half of the counter to use.
    chunk = Chunk(ids, offsets, start, stop, first_position=5_000_000_000)
    step = Step(alpha, draw_key(1, 2, 3), compute_loss=True)
    tally, expected = (
        make_engine(job).train_chunk(ours, chunk, step),
        make_definition(job).train_chunk(definition, chunk, step),
    )
    assert (tally.effective_words, tally.pairs) == (expected.effective_words, expected.pairs)
    assert tally.loss == pytest.approx(expected.loss, rel=1e-4)
    for mine, reference, start_value in zip(*map(squares, (ours, definition, before)), strict=True):
        # Tolerances are those of rows of size 1; sums come to hundreds of squares.
        assert (mine - reference).abs().max().item() <= atol * max(1.0, reference.max().item())
        assert (reference - start_value).abs().max().item() > MOVED
    moved = []
    for mine, reference, start_value in zip(matrices(ours), matrices(definition), matrices(before), strict=True):
        assert (mine - reference).abs().max().item() <= atol
        moved.append((reference - start_value).abs().max().item())
    assert max(moved) > MOVED and min(moved) > clear * atol


CBOW = [
    pytest.param(outputs, mean, id=f"{outputs}-{'mean' if mean else 'sum'}")
    for outputs, mean in product(OUTPUTS, (True, False))
]
MODES = [
    pytest.param(sg, outputs, mean, id=f"{'sg' if sg else 'cbow-mean' if mean else 'cbow-sum'}-{outputs}")
    for sg, mean, outputs in product((True, False), (True, False), OUTPUTS)
    if not (sg and not mean)
]
