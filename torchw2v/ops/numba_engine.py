"""The sequential engine for CPU cores: gensim's order of updates, compiled by numba."""

from __future__ import annotations

import math

import numpy as np
import torch

from torchw2v.constants import COMPILED_SIZES, MAX_SEQUENTIAL_BLOCK, MOST_USES, NODE_PULL, TOP_NODES
from torchw2v.errors import TrainingDivergedError
from torchw2v.ops.contract import Chunk, Job, Step, Tally, Weights
from torchw2v.ops.numba_draws import Pace, Rule, Text, Vocabulary
from torchw2v.ops.numba_groups import Scratch
from torchw2v.ops.numba_kernels import SLOTS, Matrices, train_chunk
from torchw2v.ops.numba_rows import GROUP, WHOLE
from torchw2v.tables import alias_table, noise_probabilities


class NumbaEngine:
    """Trains chunks center by center; threads may train chunks of their own at the same time (Hogwild, as gensim's).

    Parameters
    ----------
    job : Job
        Its plan is not used: no update is computed from rows older than the block at hand.
    threads : int
        Threads that will train chunks at the same time. In CBOW several of them train copies of the TOP_NODES Huffman
        nodes next to the root (not with AdaGrad, whose sums of squares are shared).
    """

    name = "numba"

    def __init__(self, job: Job, *, threads: int = 1) -> None:
        self.job, self._others = job, threads - 1
        tables, objective = job.tables, job.objective
        none = np.zeros(0, np.int64)
        packed = np.zeros(0, np.uint64)
        if tables.cumulative is not None:
            noise = alias_table(noise_probabilities(tables.cumulative))
            packed = noise.accept.astype(np.uint64) << np.uint64(31) | noise.alias.astype(np.uint64)
        points, labels, offsets = np.zeros(0, np.int32), np.zeros(0, np.float32), none
        if tables.paths is not None:
            points, labels, offsets = tables.paths.points, tables.paths.labels, tables.paths.offsets
        self._vocabulary = Vocabulary(tables.keep_thresholds, packed, points, labels, offsets)
        self._rule = Rule(
            objective.skip_gram,
            objective.negative if tables.cumulative is not None else 0,
            tables.paths is not None,
            objective.window,
            objective.shrink_windows,
            objective.cbow_mean,
            objective.shares_error,
        )
        longest_path = int(np.diff(offsets).max()) if len(offsets) > 1 else 0
        copied = self._others > 0 and not objective.skip_gram and tables.paths is not None and not job.adagrad
        self.copies = min(TOP_NODES, len(offsets) - 2) if copied else 0
        self._targets = -(-(1 + self._rule.negative + longest_path) // GROUP) * GROUP

    def _scratch(self, width: int, contexts: int) -> Scratch:
        most, targets = MAX_SEQUENTIAL_BLOCK if self._rule.skip_gram else 1, self._targets

        def zeros(*shape: int) -> np.ndarray:
            return np.zeros(shape, np.float32)

        return Scratch(
            pattern=np.zeros(1, [("row", np.float32, (width,))]) if width in COMPILED_SIZES else zeros(1, width),
            hidden=_lines(most + 2, width),
            error=_lines(most, width),
            target=_lines(targets if most > 1 else 0, width),
            before=_lines(targets if most > 1 else 0, width),
            spare=_lines(1, width),
            factor=zeros(1, most),
            place=np.arange(most),
            product=zeros(most),
            score=zeros(2, targets),
            pull=zeros(2, targets),
            row=np.zeros(targets + GROUP, np.int64),
            label=zeros(targets + GROUP),
            ahead=np.zeros((SLOTS, self._rule.negative), np.int64),
            ahead_of=np.full(SLOTS, -1),
            context=np.zeros(contexts, np.int64),
            bag=zeros(1, contexts),
            adagrad=np.zeros(0, np.float32 if self.job.adagrad else np.bool_),
            miss=zeros(2, targets),
            hidden_square=zeros(most),
            target_square=zeros(targets),
            error_square=zeros(most),
            top=zeros(self.copies, width),
            top_before=zeros(self.copies, width),
            top_uses=np.zeros(self.copies, np.int64),
        )

    def uses_of_a_copy(self, alpha: float) -> int:
        """Centers that may use a copy: what all other threads do to the node meanwhile is NODE_PULL at most."""
        pull = alpha * self._others  # of one center each
        return MOST_USES if pull * MOST_USES <= NODE_PULL else max(1, int(NODE_PULL / pull))

    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """Change the weights in place.

        Raises
        ------
        TrainingDivergedError
            A score of the chunk is NaN or infinite.
        """
        if chunk.start >= chunk.stop:
            return Tally()
        width = weights.inputs.shape[1]
        matrices = Matrices(
            _rows(weights.inputs, width),
            _rows(weights.outputs, width),
            _rows(weights.nodes, width),
            _values(weights.input_lock),
            _values(weights.input_squares),
            _values(weights.output_squares),
            _values(weights.node_squares),
        )
        text = Text(chunk.token_ids, chunk.sentence_offsets, chunk.start, chunk.stop, chunk.first_position)
        pace = Pace(
            step.alpha, step.draw_key.first, step.draw_key.second, step.compute_loss, self.uses_of_a_copy(step.alpha)
        )
        scratch = self._scratch(width, min(2 * self._rule.window, _longest_sentence(chunk)))
        words, pairs, loss, scores = train_chunk(matrices, self._vocabulary, text, self._rule, pace, scratch)
        if not math.isfinite(scores):
            raise TrainingDivergedError(
                f"a score became NaN or infinite before token {chunk.first_position + chunk.stop} of the epoch, at "
                f"alpha={step.alpha:g}. Lower alpha, or subsample frequent words more (a smaller `sample`)."
            )
        return Tally(words, pairs, loss)


def _lines(rows: int, width: int) -> np.ndarray:
    """Zeros [rows, W], W the width in whole cache lines, each row at the beginning of one."""
    whole = -(-width // WHOLE) * WHOLE
    numbers = np.zeros(rows * whole + WHOLE, np.float32)
    skipped = -(numbers.ctypes.data // numbers.itemsize) % WHOLE
    return numbers[skipped : skipped + rows * whole].reshape(rows, whole)


def _longest_sentence(chunk: Chunk) -> int:
    """Tokens in the longest of the sentences that a chunk touches."""
    first = np.searchsorted(chunk.sentence_offsets, chunk.start, side="right") - 1
    last = np.searchsorted(chunk.sentence_offsets, chunk.stop, side="left")
    return int(np.diff(chunk.sentence_offsets[first : last + 1]).max())


def _rows(matrix: torch.Tensor | None, width: int) -> np.ndarray:
    """A view that shares memory with the tensor."""
    return np.zeros((0, width), np.float32) if matrix is None else matrix.numpy()


def _values(of_rows: torch.Tensor | None) -> np.ndarray:
    """The same for one number a row; none where there are none."""
    return np.zeros(0, np.float32) if of_rows is None else of_rows.numpy()
