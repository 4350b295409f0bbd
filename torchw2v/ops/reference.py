"""The definition: word2vec in plain sequential numpy, slow and short. Every other engine is tested against it.

All four modes share one arithmetic: a hidden row (one context row, or the mean or sum of a bag of them) meets
output rows (the center and negatives, or Huffman nodes), each with a label, and both sides move along the
gradient of the log-likelihood of a logistic regression (Mikolov et al. 2013b, arXiv:1310.4546, eqs. 3 and 4).

`ReferenceEngine` draws, tiles and caps as every engine does. `Arithmetic` can also follow gensim 4.4's compiled
routines quirk by quirk, which is how the parity tests tie this file to gensim itself.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from torchw2v.constants import (
    MAX_BLOCK_ROWS,
    MAX_GROUPS,
    MAX_SCORE,
    MAX_STALE_PULL,
    NODE_PULL,
    PAIR_PARTS,
    UINT32_SPAN,
)
from torchw2v.ops.contract import Chunk, Job, Step, Tally, Weights
from torchw2v.ops.draws import LANE_KEEP, LANE_NEGATIVES, LANE_WINDOW, draws_numpy, scaled
from torchw2v.tables import alias_table, busiest_nodes, noise_probabilities, positive_share

_GENSIM_TABLE = 1000  # EXP_TABLE_SIZE
_GENSIM_SCALE = _GENSIM_TABLE // MAX_SCORE // 2  # 83: C integer division; the true scale is 83.33


def sigmoid(scores: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-score)), without overflow."""
    return np.exp(-np.logaddexp(0, -scores)).astype(scores.dtype)


def gensim_sigmoid(scores: np.ndarray) -> np.ndarray:
    """Look up gensim's table of 1,000 float32 entries, index scale 83 included: up to 0.0092 off. |score| < 6."""
    grid = np.exp((np.arange(_GENSIM_TABLE, dtype=np.float32) / np.float32(_GENSIM_TABLE) * 2 - 1) * MAX_SCORE)
    table = (grid / (grid + 1)).astype(np.float32)
    index = ((scores.astype(np.float32) + MAX_SCORE) * np.float32(_GENSIM_SCALE)).astype(np.int64)
    return table[index]


@dataclass(frozen=True)
class Arithmetic:
    """How one logistic update is computed.

    Attributes
    ----------
    link : callable
        Score to probability.
    skip_saturated : bool
        gensim: an output whose |score| >= 6 is left alone.
    one_row_at_a_time : bool
        gensim: each output row is read after the one before it has moved (a repeated negative meets itself).
    """

    link: Callable[[np.ndarray], np.ndarray] = sigmoid
    skip_saturated: bool = False
    one_row_at_a_time: bool = False

    def pull(self, hidden: np.ndarray, rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return label - sigmoid(score) of each output row: [K] from hidden [D], rows [K, D], labels [K]."""
        scores = rows @ hidden
        trained = np.abs(scores) < MAX_SCORE if self.skip_saturated else np.ones(len(scores), dtype=bool)
        pull = np.zeros_like(scores)
        pull[trained] = labels[trained] - self.link(scores[trained])
        return pull


GENSIM_ARITHMETIC = Arithmetic(link=gensim_sigmoid, skip_saturated=True, one_row_at_a_time=True)


@dataclass
class Example:
    """One hidden row and what it is trained against.

    Attributes
    ----------
    bag : list of int
        Input rows that make the hidden row: one in skip-gram, all contexts in CBOW.
    center : int
        The word that they are to predict.
    slot : int
        Place of the hidden row in its step: in skip-gram the context's place on the step's line.
    rows : list of (matrix name, row)
        Output rows, "outputs" (words) or "nodes" (Huffman).
    labels : list of float
    multiplicity : list of float
        How many drawn examples the row stands for: 1, or K / N for a shared negative.
    own : list of bool
        The row belongs to the center alone, so the center's other contexts move it too.
    """

    bag: list[int]
    center: int
    slot: int = 0
    rows: list[tuple[str, int]] = field(default_factory=list)
    labels: list[float] = field(default_factory=list)
    multiplicity: list[float] = field(default_factory=list)
    own: list[bool] = field(default_factory=list)

    def add(self, matrix: str, row: int, label: float, multiplicity: float = 1.0, *, own: bool = False) -> None:
        """Train the hidden row against one more output row; `own` as in `ReferenceEngine._ahead`."""
        self.own.append(own)
        self.rows.append((matrix, row))
        self.labels.append(label)
        self.multiplicity.append(multiplicity)

    def squares(self, places: list[int], miss: np.ndarray) -> np.ndarray:
        """What AdaGrad's sums count of some entries: the square of (label - sigmoid), as often as it is drawn: [K].

        Where entries take something back from an own row, it is pulled once, by their sum.
        """
        multiplicity, own = np.array(self.multiplicity)[places], np.array(self.own)[places]
        rows, pull = np.array([self.rows[place][1] for place in places]), miss * multiplicity
        together = (rows[:, None] == rows) & own
        return np.where(own, pull * (together @ pull), miss * pull)

    def groups(self, *, one_row_at_a_time: bool) -> Iterator[tuple[str, list[int]]]:
        """Entries whose rows are read together: (matrix name, their places), in order."""
        if one_row_at_a_time:
            for place, (matrix, _) in enumerate(self.rows):
                yield matrix, [place]
            return
        for matrix in ("outputs", "nodes"):
            places = [place for place, (name, _) in enumerate(self.rows) if name == matrix]
            if places:
                yield matrix, places


@dataclass
class Reading:
    """The matrices as numpy arrays, by name; a snapshot or the live ones."""

    inputs: np.ndarray
    outputs: np.ndarray | None
    nodes: np.ndarray | None

    @classmethod
    def live(cls, weights: Weights) -> Reading:
        """Views that share memory with the weights."""
        return cls(*(None if m is None else m.numpy() for m in (weights.inputs, weights.outputs, weights.nodes)))  # type: ignore[arg-type]

    def snapshot(self) -> Reading:
        """A copy that later updates do not change."""
        return Reading(*(None if m is None else m.copy() for m in (self.inputs, self.outputs, self.nodes)))  # type: ignore[arg-type]


def squares_of(weights: Weights) -> dict[str, np.ndarray]:
    """AdaGrad's sums by matrix name, sharing memory with the weights."""
    found = {"inputs": weights.input_squares, "outputs": weights.output_squares, "nodes": weights.node_squares}
    return {name: squares.numpy() for name, squares in found.items() if squares is not None}


def train_example(
    read: Reading,
    write: Reading,
    example: Example,
    alpha: float,
    *,
    cbow_mean: bool = True,
    corrected: bool = False,
    skip_gram: bool = True,
    arithmetic: Arithmetic = Arithmetic(),
    lock: np.ndarray | None = None,
    caps: dict[str, np.ndarray] | None = None,
    ahead: Mapping[tuple[str, int], np.ndarray] | None = None,
    met_by_nodes: np.ndarray | None = None,
    squares: dict[str, np.ndarray] | None = None,
) -> float:
    """Read one example's rows from `read`, add its update to `write`, return its loss.

    With read is write, this is gensim's sequential step.

    Parameters
    ----------
    read, write : Reading
    example : Example
    alpha : float
    cbow_mean, corrected, skip_gram : bool
        As in Objective.
    arithmetic : Arithmetic
    lock : array [V] or None
        Factor of each input row.
    caps : dict of arrays or None
        Factor of each row's update, by matrix name; None caps nothing.
    ahead : mapping or None
        By (matrix, row): how far an own row is ahead of `read` when it pulls the hidden row.
    squares : dict of arrays or None
        AdaGrad's sums by matrix name, which the example's are added to.
    """
    bag = example.bag
    hidden = read.inputs[bag].sum(0)  # [D]
    if not skip_gram and cbow_mean:
        hidden = hidden * hidden.dtype.type(1 / len(bag))
    labels = np.asarray(example.labels, dtype=hidden.dtype)
    multiplicity = np.asarray(example.multiplicity, dtype=hidden.dtype)
    error, loss, error_square = np.zeros_like(hidden), 0.0, 0.0
    for matrix, places in example.groups(one_row_at_a_time=arithmetic.one_row_at_a_time):
        index = np.array([example.rows[place][1] for place in places])
        rows = getattr(read, matrix)[index]  # [K, D]
        signs = 2 * labels[places] - 1
        loss += float((np.logaddexp(0, -signs * (rows @ hidden)) * multiplicity[places]).sum())
        miss = arithmetic.pull(hidden, rows, labels[places])  # [K]
        pull = miss * multiplicity[places] * hidden.dtype.type(alpha)
        if squares is not None:
            terms = example.squares(places, miss)
            error_square += terms @ (rows**2).mean(1)
            np.add.at(squares[matrix], index, terms * (hidden**2).mean())
        if ahead is not None:
            keys = [(matrix, row) if example.own[place] else None for place, row in zip(places, index, strict=True)]
            rows = np.stack([row if key is None else row + ahead[key] for key, row in zip(keys, rows, strict=True)])
        error += pull @ rows
        eased = pull if caps is None else pull * caps[matrix][index]
        met = hidden if matrix != "nodes" or met_by_nodes is None else met_by_nodes
        np.add.at(getattr(write, matrix), index, np.outer(eased, met).astype(hidden.dtype))  # rows may repeat
    part = 1.0
    if not skip_gram and cbow_mean == corrected:
        # gensim divides the error of a sum, not of a mean: the gradient's opposite (docs/parity.md, "CBOW's gradient").
        part = 1 / len(bag)
        error = error * hidden.dtype.type(part)
    factor = np.ones(len(bag)) if caps is None else caps["inputs"][bag]
    factor = factor if lock is None else factor * lock[bag]
    np.add.at(write.inputs, bag, np.outer(factor, error).astype(hidden.dtype))
    if squares is not None:
        np.add.at(squares["inputs"], bag, part**2 * error_square)
    return loss


class ReferenceEngine:
    """Trains chunks pair by pair, with the draws, tiles, shared negatives and row caps that all engines share.

    Parameters
    ----------
    job : Job
    """

    name = "reference"

    def __init__(self, job: Job) -> None:
        self.job = job
        plan = job.plan
        expected = {"inputs": plan.input_pairs, "outputs": plan.output_pairs, "nodes": plan.node_pairs}
        self._expected_pairs = {name: pairs for name, pairs in expected.items() if pairs is not None}
        self._busiest = set() if plan.node_pairs is None else set(busiest_nodes(plan.node_pairs).tolist())
        self._positive_share = np.ones(len(plan.input_pairs))
        if job.tables.cumulative is not None:
            self._noise = alias_table(noise_probabilities(job.tables.cumulative))
            self._positive_share = positive_share(job.tables.cumulative, job.objective.negative)

    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """Change the weights in place. Inside a step all reads are from the weights at its start."""
        live = Reading.live(weights)
        lock = None if weights.input_lock is None else weights.input_lock.numpy()
        squares, tally = squares_of(weights) if self.job.adagrad else None, Tally()
        for examples, held in self._steps(chunk, step, tally):
            read = live.snapshot()
            caps = self._caps(held, step.alpha, squares)
            for of_center, slots in self._met(read, examples, step.alpha, caps, lock):
                ahead = self._ahead(read, of_center, step.alpha, caps, slots) if self.job.objective.skip_gram else None
                for example in of_center:
                    tally.pairs += 1
                    loss = train_example(
                        read, live, example, step.alpha,
                        cbow_mean=self.job.objective.cbow_mean, corrected=self.job.objective.corrected,
                        skip_gram=self.job.objective.skip_gram,
                        lock=lock, caps=caps, ahead=ahead, met_by_nodes=slots.get(example.slot), squares=squares,
                    )  # fmt: skip
                    tally.loss += loss if step.compute_loss else 0.0
        return tally

    def _met(
        self,
        read: Reading,
        by_center: list[list[Example]],
        alpha: float,
        caps: dict[str, np.ndarray],
        lock: np.ndarray | None,
    ) -> Iterator[tuple[list[Example], dict[int, np.ndarray]]]:
        """Each center's examples, and the slots' input rows as its nodes meet them, where that is not as they are."""
        plan = self.job.plan
        together = plan.tile if plan.inputs_ahead == "tile" else len(by_center)
        for start in range(0, len(by_center), max(1, together)):
            centers = by_center[start : start + together]
            slots = {} if plan.inputs_ahead == "none" else self._slots_ahead(read, centers, alpha, caps, lock)
            yield from ((of_center, slots) for of_center in centers)

    @staticmethod
    def _slots_ahead(
        read: Reading,
        by_center: list[list[Example]],
        alpha: float,
        caps: dict[str, np.ndarray],
        lock: np.ndarray | None,
    ) -> dict[int, np.ndarray]:
        """Each slot's input row as its m centers' nodes meet it: ahead by (m - 1) / 2m of what they all pull it by."""
        pulls: dict[int, np.ndarray] = {}
        examples: dict[int, list[Example]] = {}
        for example in itertools.chain.from_iterable(by_center):
            examples.setdefault(example.slot, []).append(example)
        assert read.nodes is not None
        for slot, of_slot in examples.items():
            row = of_slot[0].bag[0]
            hidden, pull = read.inputs[row], np.zeros_like(read.inputs[row])
            for example in of_slot:
                for (matrix, node), label in zip(example.rows, example.labels, strict=True):
                    if matrix == "nodes":
                        pull += (label - sigmoid(read.nodes[node] @ hidden)) * read.nodes[node]
            factor = alpha * caps["inputs"][row] * (1.0 if lock is None else lock[row])
            pulls[slot] = hidden + (len(of_slot) - 1) / (2 * len(of_slot)) * factor * pull
        return pulls

    def _ahead(
        self,
        read: Reading,
        examples: list[Example],
        alpha: float,
        caps: dict[str, np.ndarray],
        slots: dict[int, np.ndarray],
    ) -> dict[tuple[str, int], np.ndarray]:
        """How far a center's own output rows move, on average over its m contexts, before they pull a context's row.

        gensim trains the contexts one after another: the second one meets rows that the first has moved. In the mean
        over all orders a context meets (m - 1) / 2 of the m moves, here (m - 1) / 2m of their sum.
        """
        ahead: dict[tuple[str, int], np.ndarray] = {}
        for example in examples:
            hidden = read.inputs[example.bag].sum(0)
            for (matrix, row), label, multiplicity, own in zip(
                example.rows, example.labels, example.multiplicity, example.own, strict=True
            ):
                if own:
                    pull = label - sigmoid(getattr(read, matrix)[row] @ hidden)
                    met = slots.get(example.slot, hidden) if matrix == "nodes" else hidden
                    move = alpha * caps[matrix][row] * multiplicity * pull * met
                    ahead[matrix, row] = ahead.get((matrix, row), 0) + move
        part = (len(examples) - 1) / (2 * max(1, len(examples)))
        # Where most negatives are the center itself, they undo the moves: tiny vocabularies.
        steady = {"outputs": max(0.0, self._positive_share[examples[0].center]) if examples else 1.0, "nodes": 1.0}
        return {key: part * steady[key[0]] * move for key, move in ahead.items()}

    def _caps(
        self, held: Counter[tuple[str, int]], alpha: float, squares: dict[str, np.ndarray] | None
    ) -> dict[str, np.ndarray]:
        """Factor of each row: 1 (AdaGrad: 1 / sqrt(squares)), or less where that would pull the row too far.

        It would where so many pairs are expected or held.
        """
        caps = {}
        for matrix, expected in self._expected_pairs.items():
            pairs = expected.astype(np.float64)
            for (name, row), count in held.items():
                if name == matrix:
                    pairs[row] = max(pairs[row], count)
            free = 1.0 if squares is None else 1 / np.sqrt(squares[matrix])
            caps[matrix] = np.minimum(free, MAX_STALE_PULL / (alpha * pairs))
        return caps

    def _effective(self, chunk: Chunk, step: Step) -> list[tuple[int, int, int, bool]]:
        """Kept tokens as (word, sentence, corpus position, owned by the chunk), whole sentences at the chunk's ends."""
        offsets = chunk.sentence_offsets
        tokens = []
        for sentence in range(len(offsets) - 1):
            begin, end = int(offsets[sentence]), int(offsets[sentence + 1])
            if end <= chunk.start or begin >= chunk.stop:
                continue
            for index in range(begin, end):
                word, position = int(chunk.token_ids[index]), chunk.first_position + index
                draw = int(draws_numpy(step.draw_key, np.array([position]), LANE_KEEP)[0])
                if draw <= int(self.job.tables.keep_thresholds[word]):
                    tokens.append((word, sentence, position, chunk.start <= index < chunk.stop))
        return tokens

    def _reach(self, position: int, step: Step) -> int:
        window = self.job.objective.window
        if not self.job.objective.shrink_windows:
            return window
        return 1 + int(scaled(draws_numpy(step.draw_key, np.array([position]), LANE_WINDOW), window)[0])

    def _steps(
        self, chunk: Chunk, step: Step, tally: Tally
    ) -> Iterator[tuple[list[list[Example]], Counter[tuple[str, int]]]]:
        """The examples of each step's centers (step_tiles tiles, in skip-gram one block of their slots), and its pairs.

        Pairs are counted for each (matrix, row) that they are summed into.
        """
        plan, objective = self.job.plan, self.job.objective
        tokens = self._effective(chunk, step)
        owned = [i for i, token in enumerate(tokens) if token[3]]
        tally.effective_words += len(owned)
        sentences = [token[1] for token in tokens]
        longest = max((sentences.count(s) for s in set(sentences)), default=0)
        reach = min(objective.window, longest - 1)
        if not owned or reach < 1:
            return
        tiles = [owned[k : k + plan.tile] for k in range(0, len(owned), plan.tile)]
        slots = plan.tile + 2 * reach
        size = MAX_BLOCK_ROWS if objective.skip_gram else slots
        for first in range(0, len(tiles), plan.step_tiles):
            in_step = tiles[first : first + plan.step_tiles]
            for number, start in enumerate(range(0, slots, size)):
                # The line of slots that the step reads: its first one is the first tile's slot `start`.
                begin, width = in_step[0][0] - reach + start, min(size, slots - start)
                slots_in_step = (len(in_step) - 1) * plan.tile + width
                centers_in_step = len(in_step) * plan.tile
                negatives = self._negatives(
                    tokens[in_step[0][0]][2], number, slots_in_step if objective.skip_gram else centers_in_step, step
                )
                by_center: list[list[Example]] = []
                for n, tile in enumerate(in_step):
                    inside = range(begin + n * plan.tile, begin + n * plan.tile + width)
                    for i in tile:
                        of_center = self._examples(tokens, i, inside, begin, i - in_step[0][0], negatives, step)
                        by_center.append(list(of_center))
                examples = list(itertools.chain.from_iterable(by_center))
                held: Counter[tuple[str, int]] = Counter()
                for row in itertools.chain.from_iterable(negatives):
                    held["outputs", row] += len(examples) / (len(negatives) * plan.shared_negatives)  # type: ignore[assignment] # a Counter of floats
                for example in examples:
                    part = PAIR_PARTS // len(example.bag) / PAIR_PARTS if objective.counts_shares else 1
                    for row in example.bag:
                        held["inputs", row] += part  # type: ignore[assignment]
                    held["outputs", example.center] += 1
                    for matrix, row in example.rows:
                        if matrix == "nodes":
                            held[matrix, row] += 1 / NODE_PULL  # type: ignore[assignment]
                yield by_center, held

    def _examples(
        self,
        tokens: list[tuple[int, int, int, bool]],
        i: int,
        inside: range,
        begin: int,
        number: int,
        negatives: list[list[int]],
        step: Step,
    ) -> Iterator[Example]:
        """The examples of center i, the step's `number`-th, whose contexts lie inside a range of token indices."""
        word, sentence, position, _ = tokens[i]
        reach = self._reach(position, step)
        contexts = [
            j
            for j in range(max(0, i - reach), min(len(tokens), i + reach + 1))
            if j != i and j in inside and tokens[j][1] == sentence
        ]
        if self.job.objective.skip_gram:
            hidden = [(j - begin, [tokens[j][0]]) for j in contexts]
        else:
            hidden = [(number, [tokens[j][0] for j in contexts])] if contexts else []
        for place, bag in hidden:
            example = Example(bag, word, place)
            group = place % max(1, len(negatives)) if self.job.plan.spread else place // self.job.plan.group
            self._add_outputs(example, negatives[group] if negatives else [])
            yield example

    def _add_outputs(self, example: Example, negatives: list[int]) -> None:
        word = example.center
        if self.job.objective.negative:
            example.add("outputs", word, 1.0, own=True)
            # Negatives that are the center itself are not skipped one by one but taken back in expectation.
            example.add("outputs", word, 0.0, self._positive_share[word] - 1, own=True)
            for negative in negatives:
                example.add("outputs", negative, 0.0, self.job.objective.negative / len(negatives))
        if self.job.objective.hierarchical:
            paths = self.job.tables.paths
            assert paths is not None
            for k in range(int(paths.offsets[word]), int(paths.offsets[word + 1])):
                node = int(paths.points[k])
                example.add("nodes", node, float(paths.labels[k]), own=node not in self._busiest)

    def _negatives(self, position: int, block: int, hidden: int, step: Step) -> list[list[int]]:
        """Noise words of each group of a step with `hidden` hidden rows, whose first center is at `position`."""
        plan = self.job.plan
        if self.job.tables.cumulative is None:
            return []
        count = -(-hidden // plan.group) * plan.shared_negatives
        lanes = LANE_NEGATIVES + block * MAX_GROUPS * plan.shared_negatives + np.arange(count)
        words = []
        for draw in draws_numpy(step.draw_key, np.full(count, position), lanes).tolist():
            column, part = divmod(draw * len(self._noise.accept), UINT32_SPAN)
            words.append(column if part < self._noise.accept[column] else int(self._noise.alias[column]))
        return [words[k : k + plan.shared_negatives] for k in range(0, count, plan.shared_negatives)]
