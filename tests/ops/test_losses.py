"""The reported loss is the masked binary cross-entropy of Dive into Deep Learning, section 15.4, to its digits."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from torchw2v.ops.contract import Chunk, DeferringEngine, HuffmanPaths, Job, Objective, Step, Tables, Weights
from torchw2v.ops.draws import draw_key
from torchw2v.ops.losses import logistic_loss
from torchw2v.ops.numba_engine import NumbaEngine
from torchw2v.ops.reference import ReferenceEngine
from torchw2v.ops.sequential import SequentialReference
from torchw2v.ops.torch_engine import TorchEngine
from torchw2v.schedule import make_plan
from torchw2v.tables import keep_all

SCORES = [1.1, -2.2, 3.3, -4.4]
LABELS = [[1, 0, 0, 0], [0, 1, 0, 0]]
MASK = [[1, 1, 1, 1], [1, 1, 0, 0]]
BOOK = [0.9352, 1.8462]  # the book's figures: of each row, the mean over what its mask leaves


def test_masked_loss_is_the_textbooks():
    scores, labels, mask = torch.tensor([SCORES] * 2), torch.tensor(LABELS).float(), torch.tensor(MASK).float()
    loss = logistic_loss(scores, mask, labels * mask)
    assert torch.allclose(loss, binary_cross_entropy_with_logits(scores, labels, mask, reduction="none"), atol=1e-6)
    assert [round(value, 4) for value in (loss.sum(1) / mask.sum(1)).tolist()] == BOOK


def test_weights_count_examples():
    """A score that stands for five examples, two of them with label 1."""
    score = torch.tensor(0.7, dtype=torch.float64)
    each = [binary_cross_entropy_with_logits(score, torch.tensor(y, dtype=score.dtype)) for y in (1, 1, 0, 0, 0)]
    assert logistic_loss(score, torch.tensor(5.0), torch.tensor(2.0)).item() == pytest.approx(sum(each).item())
    assert logistic_loss(score, torch.tensor(3.0)).item() == pytest.approx(sum(each[2:]).item())


def test_large_scores_neither_overflow_nor_vanish():
    loss = logistic_loss(torch.tensor([1000.0, -1000.0, -1000.0]), torch.ones(3), torch.tensor([1.0, 1.0, 0.0]))
    assert loss.tolist() == [0.0, 1000.0, 0.0]


# The same numbers as a training step: word 0 is the context, of row [1]; the paths of words 1 and 2 are the two rows
# above what the mask leaves of them, through nodes whose rows are the scores. The other words have no path.
PATHS = HuffmanPaths(
    points=np.array([0, 1, 2, 3, 0, 1], np.int32),
    labels=np.array([1, 0, 0, 0, 0, 1], np.float32),
    offsets=np.array([0, 0, 4, 6, 6, 6]),
)


def reported(engine, row, skip_gram, fused=False):
    """Mean loss of a step over what the mask leaves."""
    objective = Objective(skip_gram, negative=0, hierarchical=True, window=1)
    tables = Tables(keep_all(5), None, PATHS)
    plan = make_plan(objective, tables, np.full(5, 100), threads=1, epoch_tokens=1e5, on_device=fused, fused=fused)
    nodes = torch.tensor([*SCORES, 0.0]).unsqueeze(1)
    weights = Weights(torch.tensor([[1.0], [0.0], [0.0], [0.0], [0.0]]), None, nodes)
    chunk = Chunk(np.array([0, 1 + row], np.int32), np.array([0, 2]), 0, 2, 0)
    made = engine(Job(objective, tables, plan))
    tally = made.train_chunk(weights, chunk, Step(1e-6, draw_key(1), True))
    if isinstance(made, DeferringEngine):
        tally = made.collect(weights)
    assert tally.pairs == 2  # word 0 has no path, so that its own example costs nothing
    return tally.loss / sum(MASK[row])


@pytest.mark.parametrize("engine", [ReferenceEngine, TorchEngine, SequentialReference, NumbaEngine])
@pytest.mark.parametrize("skip_gram", [True, False], ids=["sg", "cbow"])
@pytest.mark.parametrize("row", [0, 1])
def test_engines_report_the_textbooks_loss(engine, row, skip_gram):
    assert round(reported(engine, row, skip_gram), 4) == BOOK[row]


@pytest.mark.skipif(torch.cuda.is_available(), reason="the kernels run on the device itself")
@pytest.mark.parametrize("skip_gram", [True, False], ids=["sg", "cbow"])
@pytest.mark.parametrize("row", [0, 1])
def test_interpreted_kernels_report_the_textbooks_loss(row, skip_gram):
    pytest.importorskip("triton", reason="triton is not made for this platform")
    from torchw2v.ops.triton_engine import TritonEngine

    def engine(job):
        return TritonEngine(job, "cpu", precision="ieee")

    assert round(reported(engine, row, skip_gram, fused=True), 4) == BOOK[row]
