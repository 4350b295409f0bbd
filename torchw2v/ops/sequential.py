"""The definition of sequential training, slow and short: what numba_kernels.py computes, in plain steps.

gensim's order: a center at a time, each update from the rows that the one before it left; no tiles and no row caps.
Unlike in gensim's skip-gram, up to MAX_SEQUENTIAL_BLOCK different contexts of a center share its negatives, as in Ji
et al. 2016 (arXiv:1604.04661), and sigmoids are exact. The rest is gensim's, pairs that it leaves alone included.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from torchw2v.constants import MAX_SCORE, MAX_SEQUENTIAL_BLOCK, MAX_STALE_PULL, UINT32_SPAN
from torchw2v.ops.contract import Chunk, Step, Tally, Weights
from torchw2v.ops.draws import LANE_NEGATIVES, draws_numpy
from torchw2v.ops.reference import Reading, ReferenceEngine, sigmoid, squares_of

Target = tuple[str, int, float]  # matrix name, row, label


class SequentialReference(ReferenceEngine):
    """Trains the pairs of a chunk one after another.

    Parameters
    ----------
    job : Job
        Of its plan nothing is used.
    """

    name = "sequential"

    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """Change the weights in place."""
        objective, live, tally = self.job.objective, Reading.live(weights), Tally()
        lock = np.ones(len(live.inputs)) if weights.input_lock is None else weights.input_lock.numpy()
        squares = squares_of(weights) if self.job.adagrad else {}
        tokens = self._effective(chunk, step)
        for i, (word, sentence, position, owned) in enumerate(tokens):
            if not owned:
                continue
            tally.effective_words += 1
            reach = self._reach(position, step)
            near = range(max(0, i - reach), min(len(tokens), i + reach + 1))
            contexts = [tokens[j][0] for j in near if j != i and tokens[j][1] == sentence]
            if not contexts:
                continue
            if objective.skip_gram:
                tally.pairs += len(contexts)
                for number, block in enumerate(_different(contexts)):
                    targets = self._targets(word, position, number, step)
                    errors, error_squares, loss = self._meet(live, live.inputs[block], targets, step, squares)
                    rates = [lock[row] * _rate(squares, "inputs", row, step) for row in block]
                    live.inputs[block] += np.array(rates)[:, None] * errors
                    if squares:
                        squares["inputs"][block] += error_squares
                    tally.loss += loss
            else:
                tally.pairs += 1
                hidden = live.inputs[contexts].sum(0)
                if objective.cbow_mean:
                    hidden = hidden / len(contexts)
                targets = self._targets(word, position, 0, step)
                errors, error_squares, loss = self._meet(live, hidden[None], targets, step, squares)
                part = 1 / len(contexts) if objective.shares_error else 1.0  # docs/parity.md, "CBOW's gradient"
                for context in contexts:
                    rate = _rate(squares, "inputs", context, step)
                    live.inputs[context] += lock[context] * rate * part * errors[0]
                    if squares:
                        squares["inputs"][context] += part**2 * error_squares[0]
                tally.loss += loss
        return tally

    @staticmethod
    def _meet(
        live: Reading, hidden: np.ndarray, targets: list[Target], step: Step, squares: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Train each target against each hidden row [M, D], in order.

        Returns
        -------
        (errors of the hidden rows [M, D], mean squares of what makes them [M], loss)
        """
        errors, error_squares, loss = np.zeros_like(hidden), np.zeros(len(hidden)), 0.0
        for matrix, row, label in targets:
            target = getattr(live, matrix)[row]  # a view: each hidden row meets it as the last one left it
            for place, row_of_context in enumerate(hidden):
                score = target @ row_of_context
                miss = label - sigmoid(score) if abs(score) < MAX_SCORE else 0.0
                errors[place] += miss * target
                error_squares[place] += miss**2 * (target**2).mean()
                target += _rate(squares, matrix, row, step) * miss * row_of_context
                if squares:
                    squares[matrix][row] += miss**2 * (row_of_context**2).mean()
                loss += float(np.logaddexp(0, -score if label else score)) if step.compute_loss else 0.0
        return errors, error_squares, loss

    def _targets(self, word: int, position: int, number: int, step: Step) -> list[Target]:
        """The center and its negatives, which differ from block to block, and the nodes of its path."""
        objective, targets = self.job.objective, []
        if objective.negative:
            targets = [("outputs", word, 1.0)]
            lanes = LANE_NEGATIVES + number * objective.negative + np.arange(objective.negative)
            for draw in draws_numpy(step.draw_key, np.full(len(lanes), position), lanes).tolist():
                column, part = divmod(draw * len(self._noise.accept), UINT32_SPAN)
                noise = column if part < self._noise.accept[column] else int(self._noise.alias[column])
                if noise != word:
                    targets.append(("outputs", noise, 0.0))
        paths = self.job.tables.paths
        if paths is not None:
            path = slice(int(paths.offsets[word]), int(paths.offsets[word + 1]))
            nodes = zip(paths.points[path].tolist(), paths.labels[path].tolist(), strict=True)
            targets += [("nodes", row, label) for row, label in nodes]
        return targets


def _rate(squares: dict[str, np.ndarray], matrix: str, row: int, step: Step) -> float:
    """The learning rate of a row: alpha, or what AdaGrad's sums have made of it, within the cap of a single pair."""
    return min(step.alpha / float(np.sqrt(squares[matrix][row])), MAX_STALE_PULL) if squares else step.alpha


def _different(contexts: list[int]) -> Iterator[list[int]]:
    """Cut contexts into blocks of different words, MAX_SEQUENTIAL_BLOCK at most."""
    block: list[int] = []
    for word in contexts:
        if word in block or len(block) == MAX_SEQUENTIAL_BLOCK:
            yield block
            block = []
        block.append(word)
    yield block
