"""The softmax engine's steps are torch's cross_entropy and autograd on the pairs of plain loops; memory is bounded."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, pad

from torchw2v.constants import MAX_STALE_PULL
from torchw2v.errors import TrainingDivergedError
from torchw2v.ops import softmax_engine
from torchw2v.ops.contract import Chunk, Job, Step, Tally, Weights
from torchw2v.ops.draws import draw_key
from torchw2v.ops.reference import ReferenceEngine
from torchw2v.ops.softmax_engine import SoftmaxEngine

from .engine_cases import STEP32_ATOL, STEP64_ATOL, TOKENS, VOCABULARY, assert_engine_agrees, case

MODES = [
    pytest.param(True, True, id="sg"),
    pytest.param(False, True, id="cbow-mean"),
    pytest.param(False, False, id="cbow-sum"),
]


def softmax_case(skip_gram, mean, *, window=5, shrink=True, size=7, **options):
    job, *rest = case(skip_gram, "ns", window, shrink, mean, size, **options)
    objective, tables = replace(job.objective, negative=0, softmax=True), replace(job.tables, cumulative=None)
    return Job(objective, tables, job.plan, job.adagrad), *rest


class Autograd:
    """Gradient descent on the summed cross-entropy of each step's examples, which plain loops draw."""

    def __init__(self, job):
        self.job = job

    def train_chunk(self, weights, chunk, step):
        reading, tally = ReferenceEngine(self.job), Tally()
        tokens = reading._effective(chunk, step)
        owned = [i for i, token in enumerate(tokens) if token[3]]
        tally.effective_words = len(owned)
        in_step = self.job.plan.step_tiles * self.job.plan.tile
        for first in range(0, len(owned), in_step):
            centers = owned[first : first + in_step]
            examples = [example for i in centers for example in self.of(reading, tokens, i, step)]
            if examples:
                tally.pairs += len(examples)
                tally.loss += self.descend(weights, *zip(*examples, strict=True), step.alpha)
        return tally

    def of(self, reading, tokens, i, step):
        word, sentence, position, _ = tokens[i]
        reach = reading._reach(position, step)
        near = range(max(0, i - reach), min(len(tokens), i + reach + 1))
        bag = [tokens[j][0] for j in near if j != i and tokens[j][1] == sentence]
        if self.job.objective.skip_gram:
            return [([context], word) for context in bag]
        return [(bag, word)] if bag else []

    def descend(self, weights, bags, centers, alpha):
        inputs, outputs = (matrix.clone().requires_grad_() for matrix in (weights.inputs, weights.outputs))
        combine = torch.mean if self.job.objective.cbow_mean else torch.sum
        scores = torch.stack([combine(inputs[bag], 0) for bag in bags]) @ outputs.t()
        loss = cross_entropy(scores, torch.tensor(centers), reduction="sum")
        loss.backward()
        words = torch.tensor([word for bag in bags for word in bag])
        of_input = torch.bincount(words, minlength=VOCABULARY)
        expected = scores.detach().softmax(1).sum(0)
        of_output = torch.maximum(torch.bincount(torch.tensor(centers), minlength=VOCABULARY), expected)
        lock = 1 if weights.input_lock is None else weights.input_lock.unsqueeze(1)
        free = [torch.ones(1, dtype=torch.float64)] * 2
        if self.job.adagrad:
            sums = (weights.input_squares, weights.output_squares)
            free = [squares.rsqrt().unsqueeze(1) for squares in sums]
            self.add_squares(weights, bags, centers)
        weights.inputs -= lock * alpha * self.cap(of_input, alpha, free[0]) * inputs.grad
        weights.outputs -= alpha * self.cap(of_output, alpha, free[1]) * outputs.grad
        return loss.item()

    def add_squares(self, weights, bags, centers):
        """The mean squares of each example's own gradients, from the weights before the step."""
        inputs, outputs = weights.inputs.clone(), weights.outputs.clone()
        combine = torch.mean if self.job.objective.cbow_mean else torch.sum
        for bag, center in zip(bags, centers, strict=True):
            rows = inputs[bag].requires_grad_()  # a row for each place in the bag
            matrix = outputs.clone().requires_grad_()
            cross_entropy(matrix @ combine(rows, 0), torch.tensor(center)).backward()
            weights.input_squares.index_add_(0, torch.tensor(bag), rows.grad.square().mean(1))
            weights.output_squares += matrix.grad.square().mean(1)

    @staticmethod
    def cap(examples, alpha, free):
        caps = (MAX_STALE_PULL / (alpha * examples.double())).unsqueeze(1)
        return torch.minimum(caps, free)


def blocks_of(block, threads=1):
    return lambda job: SoftmaxEngine(job, block=block, threads=threads)


def agrees(make_engine, skip_gram, mean, *, atol=STEP64_ATOL, alpha=0.025, start=0, stop=TOKENS, **options):
    case = softmax_case(skip_gram, mean, **options)
    assert_engine_agrees(make_engine, *case, start=start, stop=stop, alpha=alpha, atol=atol, make_definition=Autograd)


@pytest.mark.parametrize("shrink", [True, False], ids=["shrunk", "fixed"])
@pytest.mark.parametrize("window", [1, 5, 35, 1000])
@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_step_is_cross_entropys_gradient(skip_gram, mean, window, shrink):
    agrees(SoftmaxEngine, skip_gram, mean, window=window, shrink=shrink)


@pytest.mark.parametrize("block", [1, 7, 39, 40, 41])
@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_blocks_of_any_size_make_the_same_step(skip_gram, mean, block):
    assert VOCABULARY % 7 and VOCABULARY == 40
    agrees(blocks_of(block), skip_gram, mean)


@pytest.mark.parametrize("size", [1, 63, 300])
@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_step_is_cross_entropys_gradient_at_any_vector_size(skip_gram, mean, size):
    agrees(blocks_of(16), skip_gram, mean, size=size, atol=10 * STEP64_ATOL)


@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_step_is_cross_entropys_gradient_in_float32(skip_gram, mean):
    agrees(blocks_of(16), skip_gram, mean, size=50, dtype=torch.float32, step_tiles=100, atol=STEP32_ATOL)


@pytest.mark.parametrize(("start", "stop"), [(10, 60), (1, 2), (71, 73), (100, 150)])
@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_chunk_may_cut_sentences(skip_gram, mean, start, stop):
    agrees(blocks_of(16), skip_gram, mean, start=start, stop=stop, sample=0)


@pytest.mark.parametrize("alpha", [0.025, 0.5], ids=["below-the-caps", "capped"])
@pytest.mark.parametrize("window", [1, 5])
@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_step_with_adagrad_adds_the_squares_of_each_examples_gradient(skip_gram, mean, window, alpha):
    agrees(blocks_of(16), skip_gram, mean, window=window, alpha=alpha, adagrad=True)


@pytest.mark.parametrize("step_tiles", [1, 3, 100])
@pytest.mark.parametrize("alpha", [0.004, 0.5], ids=["below-the-caps", "capped"])
@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_rows_are_capped_by_what_a_step_sums_into_them(skip_gram, mean, alpha, step_tiles):
    agrees(blocks_of(16), skip_gram, mean, alpha=alpha, step_tiles=step_tiles, lock=False)


@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_below_the_caps_a_step_is_plain_gradient_descent(skip_gram, mean, monkeypatch):
    """150 tokens with 10 contexts at most: at alpha 0.0003 no row is in more than 0.6 / alpha = 2,000 examples."""
    monkeypatch.setattr(Autograd, "cap", staticmethod(lambda examples, alpha, free: 1))
    agrees(blocks_of(16), skip_gram, mean, alpha=0.0003, step_tiles=100, size=7)


@pytest.mark.parametrize("threads", [2, 3, 8])
@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_threads_do_not_change_a_bit(skip_gram, mean, threads):
    job, ids, offsets, weights = softmax_case(skip_gram, mean, size=50, dtype=torch.float32)
    chunk, step = Chunk(ids, offsets, 0, TOKENS, 0), Step(0.1, draw_key(5), compute_loss=True)
    alone, shared = weights(), weights()
    tallies = [
        blocks_of(3, n)(job).train_chunk(matrices, chunk, step) for n, matrices in ((1, alone), (threads, shared))
    ]
    assert tallies[0] == tallies[1] and tallies[0].pairs > 100
    assert torch.equal(alone.inputs, shared.inputs) and torch.equal(alone.outputs, shared.outputs)
    assert not torch.equal(alone.inputs, weights().inputs)


@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_wide_windows_make_smaller_steps(skip_gram, mean, monkeypatch):
    monkeypatch.setattr(softmax_engine, "MAX_STEP_ROWS", 60)  # tiles have 16 + 2 * 5 slots: two of them
    case = softmax_case(skip_gram, mean, step_tiles=100)
    two = replace(case[0], plan=replace(case[0].plan, step_tiles=2))
    assert_engine_agrees(SoftmaxEngine, *case, make_definition=lambda job: Autograd(two))


@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_rows_may_lie_apart_as_on_an_accelerator(skip_gram, mean):
    job, ids, offsets, weights = softmax_case(skip_gram, mean, size=50, dtype=torch.float32)
    chunk, step = Chunk(ids, offsets, 0, TOKENS, 0), Step(0.1, draw_key(5))
    together, apart = weights(), weights()
    apart.inputs, apart.outputs = (pad(matrix, (0, 2))[:, :-2] for matrix in (apart.inputs, apart.outputs))
    for matrices in (together, apart):
        blocks_of(16)(job).train_chunk(matrices, chunk, step)
    assert torch.equal(together.inputs, apart.inputs) and torch.equal(together.outputs, apart.outputs)


@pytest.mark.gpu
@pytest.mark.parametrize(("skip_gram", "mean"), MODES)
def test_device_makes_the_step_of_the_cpu(skip_gram, mean):
    job, ids, offsets, weights = softmax_case(skip_gram, mean, size=50)
    chunk, step = Chunk(ids, offsets, 0, TOKENS, 0), Step(0.025, draw_key(5), compute_loss=True)
    here, there = weights(), Weights(*(None if m is None else m.cuda() for m in vars(weights()).values()))
    tallies = (
        SoftmaxEngine(job).train_chunk(here, chunk, step),
        SoftmaxEngine(job, "cuda").train_chunk(there, chunk, step),
    )
    assert tallies[0].loss == pytest.approx(tallies[1].loss, rel=1e-12)
    for ours, theirs in ((here.inputs, there.inputs), (here.outputs, there.outputs)):
        assert (ours - theirs.cpu()).abs().max().item() <= STEP64_ATOL
    assert (here.inputs - weights().inputs).abs().max().item() > 1e-3


def test_scores_far_from_zero_do_not_overflow():
    job, ids, offsets, weights = softmax_case(True, True, dtype=torch.float32)
    ours = weights()
    ours.inputs.mul_(100)
    ours.outputs.mul_(100)  # scores up to 1e5; exp overflows at 89
    tally = blocks_of(16)(job).train_chunk(ours, Chunk(ids, offsets, 0, TOKENS, 0), Step(1e-6, draw_key(5), True))
    assert math.isfinite(tally.loss) and tally.loss / tally.pairs > 100
    assert torch.isfinite(ours.inputs).all() and torch.isfinite(ours.outputs).all()


def test_loss_at_zero_is_the_logarithm_of_the_vocabulary():
    job, ids, offsets, weights = softmax_case(True, True)
    blank = weights()
    blank.outputs.zero_()
    job = replace(job, plan=replace(job.plan, step_tiles=100))
    tally = SoftmaxEngine(job).train_chunk(blank, Chunk(ids, offsets, 0, TOKENS, 0), Step(0.1, draw_key(5), True))
    assert tally.loss / tally.pairs == pytest.approx(math.log(VOCABULARY), rel=1e-12)


def test_words_without_a_neighbor_are_counted_not_trained():
    job, _, _, weights = softmax_case(True, True, sample=0)
    ours, before = weights(), weights()
    chunk = Chunk(np.arange(5, dtype=np.int32), np.arange(6), 0, 5, 0)
    tally = SoftmaxEngine(job).train_chunk(ours, chunk, Step(0.1, draw_key(1), True))
    assert tally == Tally(effective_words=5)
    assert torch.equal(ours.inputs, before.inputs) and torch.equal(ours.outputs, before.outputs)


def test_an_infinite_weight_is_an_error():
    job, ids, offsets, weights = softmax_case(True, True)
    broken = weights()
    broken.inputs[:] = float("inf")
    with pytest.raises(TrainingDivergedError, match=r"alpha=0\.025"):
        SoftmaxEngine(job).train_chunk(broken, Chunk(ids, offsets, 0, TOKENS, 0), Step(0.025, draw_key(5)))
