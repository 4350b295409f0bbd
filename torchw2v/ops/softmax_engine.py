"""The full-softmax engine: every example is a choice among all words of the vocabulary. Any torch device.

One step trains b tiles of T centers, 16 * b consecutive effective tokens, from one snapshot of the weights: plain
gradient descent on the sum over its examples of the cross-entropy

    loss(h, c) = log sum_w exp(z_w.h) - z_c.h

that torch.nn.functional.cross_entropy computes, h being a hidden row (skip-gram: a context's row; CBOW: the mean or sum
of all of them) and c the center. The center's part is that of torch_engine.py: tiles against centers. The other part
depends on the hidden row alone, not on its center, so it is computed once for each *different* hidden row, which in
skip-gram is once for each different word of the step, weighted by the examples q[r] that it is in:

    S  = H Z'                      scores, a block of the vocabulary at a time
    n  = log sum_w exp(S[., w])    first pass over the blocks
    P  = q exp(S - n)              second pass: the examples that the model expects each word to be the center of
    dH = -P Z    dZ = -P' H

so that memory grows with the block, not with the vocabulary. A block is computed by one thread and blocks are summed in
their order: vectors do not depend on the number of threads.

Rows are capped as in the other engines (docs/kernels.md, "Staleness"): a row that a step sums more than
MAX_STALE_PULL / alpha examples into moves as if they were that many. An output row's examples are those that it is the
center of or, if that is more, those that the model expects it to be the center of, its column of P.

Sources: Bengio et al. 2003 (JMLR 3, a softmax over all words); Mikolov et al. 2013a (arXiv:1301.3781, the two models).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

import torch
from torch.nn.functional import embedding

from torchw2v.constants import MAX_STALE_PULL
from torchw2v.errors import TrainingDivergedError
from torchw2v.ops.contract import Chunk, Job, Step, Tally, Weights
from torchw2v.ops.frames import MAX_STEP_ROWS, Frames, Part, add_tiles
from torchw2v.ops.sampling import Tiles
from torchw2v.ops.softmax_adagrad import Squares
from torchw2v.ops.softmax_bags import Bags, Hidden

Item = TypeVar("Item")
Each = Callable[[Callable[[slice], Item], list[slice]], Iterator[Item]]  # applies a function to blocks, in their order

# Words of a vocabulary block on a CPU. A step of 330 hidden rows with 8,410 words of 64 dimensions took 23.5 ms of one
# core in blocks of 512, 25.4 of 256, 26.6 of 4,096 and 35.9 in one (best of five).
_BLOCK = 512
_DEVICE_BLOCK = 16_384  # on an accelerator: 4,096 hidden rows and it make 268 MB
_IN_FLIGHT = 16  # blocks whose results are held before they are summed


class SoftmaxEngine:
    """Trains chunks on the full softmax by torch operations.

    Parameters
    ----------
    job : Job
        Of its plan the size of a step is used.
    device : torch.device
    threads : int
        CPU threads that share the vocabulary's blocks. Vectors do not depend on it.
    block : int, optional
        Words in a block; chosen by device and vocabulary if not given.
    """

    name = "softmax"

    def __init__(
        self, job: Job, device: torch.device | str = "cpu", *, threads: int = 1, block: int | None = None
    ) -> None:
        self.job = job
        self.device = torch.device(device)
        self.frames = Frames(job, self.device)
        self._threads = threads if self.device.type == "cpu" else 1
        vocabulary = len(job.tables.keep_thresholds)
        block = block or (_BLOCK if self.device.type == "cpu" else _DEVICE_BLOCK)
        self._blocks = [slice(start, min(start + block, vocabulary)) for start in range(0, vocabulary, block)]
        self._turn = threading.Lock()  # gensim's job loop calls from several threads; a step writes to every output row

    @torch.inference_mode()
    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """Train the chunk's centers, step after step, each from the weights that the last one left.

        Raises
        ------
        TrainingDivergedError
            A score of the chunk is NaN or infinite.
        """
        tally = Tally()
        tiles = self.frames.sampler.tiles(chunk, step.draw_key) if chunk.start < chunk.stop else None
        if tiles is None:
            return tally
        tally.effective_words = tiles.count
        with self._turn, _sharing(self._threads) as each:
            for part in self._parts(tiles):
                normalizers = self._train_step(weights, self._bags(part, weights), step, tally, each)
                if not math.isfinite(normalizers):
                    last = chunk.first_position + chunk.stop
                    raise TrainingDivergedError(
                        f"a score became NaN or infinite before token {last} of the epoch, at alpha={step.alpha:g}. "
                        "Lower alpha, or subsample frequent words more (a smaller `sample`)."
                    )
        return tally

    # ---- what is trained, whatever the weights -----------------------------------------------------------------

    def _parts(self, tiles: Tiles) -> Iterator[Part]:
        """Cut a chunk's tiles into steps; the last one may be smaller. Wide windows are not cut."""
        plan, count = self.job.plan, len(tiles.centers)
        slots = plan.tile + 2 * tiles.reach
        size = max(1, min(plan.step_tiles, MAX_STEP_ROWS // slots))
        for start in range(0, count, size):
            stop = min(start + size, count)
            yield Part(tiles, slice(start, stop), stop - start, 0, 0, slots)

    def _bags(self, part: Part, weights: Weights) -> Bags:
        """The examples of a step."""
        tile = self.job.plan.tile
        length = (part.size - 1) * tile + part.slots
        line = part.tiles.line(part.span.start * tile, 1, 1, length)[0]
        mask = self.frames.windows(part, weights.inputs.dtype)
        per_slot = mask.new_zeros((length, 1))
        add_tiles(per_slot, mask.sum(1).unsqueeze(2), tile)
        used = per_slot.squeeze(1).nonzero().squeeze(1)
        words, place = line.index_select(0, used).unique(return_inverse=True)
        pairs = mask.new_zeros((len(words), 1)).index_add_(0, place, per_slot.index_select(0, used))
        centers = part.tiles.centers[part.span].flatten()
        return Bags(line, mask, mask.sum(2).view(-1, 1), centers, used, words, place, pairs)

    # ---- one step ----------------------------------------------------------------------------------------------

    def _train_step(self, weights: Weights, bags: Bags, step: Step, tally: Tally, each: Each) -> float:
        """Change the weights by one step; returns the sum of all log-normalizers."""
        outputs, skip_gram = weights.outputs, self.job.objective.skip_gram
        assert outputs is not None
        if not len(bags.words):
            return 0.0
        slots = bags.slots(embedding(bags.line, weights.inputs))  # [b, S, D]
        centers = embedding(bags.centers, outputs)  # [b * T, D]: a copy, as this step finds them
        share = self._share(bags)
        own = torch.bmm(share, slots).flatten(0, 1)  # [b * T, D] what each center's row gets
        if skip_gram:
            asked = bags.by_word(torch.bmm(share.transpose(1, 2), centers.view(*share.shape[:2], -1)))
            hidden = Hidden(embedding(bags.words, weights.inputs), bags.pairs, asked)
            of_center = bags.contexts
        else:
            of_center = bags.contexts.clamp(max=1)
            hidden = Hidden(own, of_center, centers * of_center)
        normalizers = self._log_normalizers(hidden, outputs, each)
        squares = Squares(weights, bags, hidden, normalizers, skip_gram=skip_gram) if self.job.adagrad else None
        if squares is not None:
            squares.of_centers(centers, slots if skip_gram else own)
        tally.pairs += int(hidden.examples.sum())
        if step.compute_loss:
            tally.loss += float((hidden.examples.squeeze(1) * normalizers).sum()) - float((own * centers).sum())
        self._train_outputs(outputs, bags.centers, of_center, own, hidden, normalizers, step.alpha, each, squares)
        pull, rates = hidden.pull, torch.tensor(step.alpha, dtype=own.dtype, device=own.device)
        if squares is not None:
            rates = squares.input_rates(step.alpha)
            squares.add(hidden.pull, share)
        if not skip_gram:
            pull = bags.by_word(torch.bmm(share.transpose(1, 2), pull.view(*share.shape[:2], -1)))
        scale = _capped(bags.pairs, rates)
        if weights.input_lock is not None:
            scale.mul_(weights.input_lock.index_select(0, bags.words).unsqueeze(1))
        weights.inputs.index_add_(0, bags.words, pull.mul_(scale))
        return float(normalizers.sum())

    def _share(self, bags: Bags) -> torch.Tensor:
        """How much of each context is in a center's hidden row, and of the row's error comes back: [b, T, S]."""
        if self.job.objective.skip_gram or not self.job.objective.cbow_mean:
            return bags.mask
        return bags.mask / bags.contexts.clamp(min=1).view(*bags.mask.shape[:2], 1)

    def _log_normalizers(self, hidden: Hidden, outputs: torch.Tensor, each: Each) -> torch.Tensor:
        """Log sum_w exp(z_w.h) of each hidden row: [R]."""

        def of_block(block: slice) -> torch.Tensor:
            return torch.mm(hidden.rows, outputs[block].t()).logsumexp(1)

        return torch.stack(list(each(of_block, self._blocks))).logsumexp(0)

    def _train_outputs(
        self,
        outputs: torch.Tensor,
        centers: torch.Tensor,
        of_center: torch.Tensor,
        own: torch.Tensor,
        hidden: Hidden,
        normalizers: torch.Tensor,
        alpha: float,
        each: Each,
        squares: Squares | None,
    ) -> None:
        """Move all output rows; what they ask of the hidden rows is taken from `hidden.pull`."""
        counted = own.new_zeros((len(outputs), 1)).index_add_(0, centers, of_center)  # examples of each center
        scale = torch.empty_like(counted)
        # exp(S - shift) is P; a row without examples has an infinite shift, so that it expects none.
        shift = (normalizers - hidden.examples.squeeze(1).log()).neg_().unsqueeze(1)

        def of_block(block: slice) -> torch.Tensor:
            rows = outputs[block]
            expected = torch.addmm(shift, hidden.rows, rows.t()).exp_()  # [R, B]
            rates = torch.tensor(alpha, dtype=rows.dtype, device=rows.device)
            if squares is not None:
                rates = squares.output_rates(block, alpha)
                squares.of_block(block, expected)
            scale[block] = _capped(torch.maximum(counted[block], expected.sum(0).unsqueeze(1)), rates)
            asked = torch.mm(expected, rows)  # before the rows move
            rows.sub_(torch.mm(expected.t(), hidden.rows).mul_(scale[block]))
            return asked

        for asked in each(of_block, self._blocks):
            hidden.pull.sub_(asked)
        outputs.index_add_(0, centers, own * scale.index_select(0, centers))


def _capped(examples: torch.Tensor, rates: torch.Tensor) -> torch.Tensor:
    """A rate for all or for each row, or MAX_STALE_PULL / examples if less: no snapshot pulls a row further."""
    return torch.minimum(examples.reciprocal().mul_(MAX_STALE_PULL), rates)


@contextmanager
def _sharing(threads: int) -> Iterator[Each]:
    """A function that applies another to blocks, in several threads, and gives the results in the blocks' order."""
    if threads == 1:
        yield map
        return

    def initialize() -> None:
        torch.set_num_threads(1)

    with ThreadPoolExecutor(threads, "torchw2v-softmax", initializer=initialize) as pool:

        def each(function: Callable[[slice], Item], blocks: list[slice]) -> Iterator[Item]:
            def inside(block: slice) -> Item:
                with torch.inference_mode():
                    return function(block)

            rest = iter(blocks)
            while group := list(islice(rest, _IN_FLIGHT)):
                yield from pool.map(inside, group)

        yield each
