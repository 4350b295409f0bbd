"""The portable engine: tiles as batched matrix products in plain torch operations, on any torch device.

One step trains b tiles from one snapshot of the weights. Its inputs are one line of L token slots, each gathered once.
Hidden rows H (skip-gram: the slots themselves; CBOW: one row a center, made of its contexts) meet output rows Z:

    L = Z H'                    scores
    G = Q (label - s(L))        the pull of every example at once
    dH = G' Z    dZ = G H       added to the weights, scaled by alpha and the row caps

* Centers, label 1, tile by tile: T centers against the S slots around them, Q = A, the window's mask.
* Negatives, label 0: each group of hidden rows shares N of them; row r is in q[r] examples, so Q[n, r] = K/N * q[r].
  In skip-gram the rows of a group are spread evenly over the step, far from each other in the text: a negative pushed
  away by 32 neighbors at once, all of one topic, learns that topic (docs/kernels.md, "Negatives").
* Huffman nodes on the centers' paths, label 1 - code, tile by tile, Q = A of the path's center.

Source of the objective: Mikolov et al. 2013b (arXiv:1310.4546), eqs. 3 and 4; the tile is derived in docs/kernels.md.

What does not depend on the weights (windows, Q, labels, caps) is prepared for many steps at once, so that a step is
few, large operations: threads wait for Python's lock only between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.functional import embedding, pad, softplus

from torchw2v.constants import MAX_STALE_PULL, NODE_PULL
from torchw2v.errors import TrainingDivergedError
from torchw2v.ops.contract import Chunk, HuffmanPaths, Job, Step, Tally, Weights
from torchw2v.ops.sampling import Sampler, Tiles
from torchw2v.tables import busiest_nodes, positive_share

# Gathered rows of one step at most, and elements of A prepared at once: both bound memory when windows are wide.
_MAX_STEP_ROWS = 65_536  # 26 MB at 100 dimensions
_MAX_PREPARED = 2**20  # 4 MB for A, a few times that for everything made from it
_MAX_PREPARED_STEPS = 64  # each with _COUNTERS counters: 4 MB
_COUNTERS = 2**13  # of the pairs summed into a row in one step


@dataclass
class RowUpdate:
    """Rows to add to one weight matrix: values [..., D] at rows [...]."""

    matrix: torch.Tensor
    rows: torch.Tensor
    values: torch.Tensor

    def apply(self, columns: slice | None = None) -> None:
        """Add the values in place; rows may repeat. `columns` restricts it to a part of the dimensions."""
        matrix, values = self.matrix, self.values.flatten(0, -2)
        if columns is not None:
            matrix, values = matrix[:, columns], values[:, columns]
        # An index that is expanded, not stored, takes torch's sorted path: 4 times faster than index_add_ here.
        matrix.scatter_add_(0, self.rows.reshape(-1, 1).expand(-1, values.shape[1]), values)


@dataclass
class Frame:
    """What k steps of b tiles read and count, before the kind of outputs matters.

    Attributes
    ----------
    line : int64 tensor [k, L]
        Words of the token slots.
    scale : tensor [k, L]
        Alpha times row caps and locks of the slots.
    centers : int64 tensor [k, b * T]
    contexts : int64 tensor [k, b * T]
        Contexts of each center.
    examples : int64 tensor [k, R]
        Examples that each hidden row is in.
    rows : int64 tensor [k, b * T + g * N]
        Centers, tile by tile, then negatives, group by group; empty without negative sampling.
    row_scale : tensor [k, b * T + g * N]
        Alpha times the row caps of `rows`.
    """

    line: torch.Tensor
    scale: torch.Tensor
    centers: torch.Tensor
    contexts: torch.Tensor
    examples: torch.Tensor
    rows: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    row_scale: torch.Tensor = field(default_factory=lambda: torch.empty(0))


@dataclass
class Words:
    """Centers and negatives of one step, prepared.

    Attributes
    ----------
    rows : int64 tensor [b * T + g * N]
        Centers, tile by tile, then negatives, group by group.
    label : tensor [b, T, S]; CBOW [b * T, 1]
        Q of the centers.
    minus_q : tensor, same shape
        -Q of the centers less what negatives equal to the center are expected to add (`_positive_share`).
    weight : tensor [g, 1, G]
        -Q of the negatives.
    scale : tensor [b * T + g * N, 1]
        Alpha times the row caps.
    ahead : tensor [b * T, 1]
        Part of its own update that a center's row is ahead when it pulls its contexts (`TorchEngine._ahead`).
    """

    rows: torch.Tensor
    label: torch.Tensor
    minus_q: torch.Tensor
    weight: torch.Tensor
    scale: torch.Tensor
    ahead: torch.Tensor


@dataclass
class Nodes:
    """Huffman nodes of one step, prepared.

    Attributes
    ----------
    rows : int64 tensor [b, U]
    label : tensor that broadcasts to [b, U, R]
    minus_q : tensor [b, U, R]
        -Q.
    scale : tensor [b, U, 1]
        Alpha times the row caps.
    ahead : tensor [b, U, 1] or None
        As in Words; None where it is 0: in CBOW, which has one hidden row a center, and in a dense product.
    dense : bool
        The same U rows for all tiles: then b is 1, and R counts the hidden rows of all tiles.
    """

    rows: torch.Tensor
    label: torch.Tensor
    minus_q: torch.Tensor
    scale: torch.Tensor
    ahead: torch.Tensor | None = None
    dense: bool = False


@dataclass
class Unit:
    """One step, prepared: all it takes besides the weights.

    Attributes
    ----------
    line : int64 tensor [L]
        Words of the token slots.
    scale : tensor [L, 1]
        Alpha times row caps and locks of the slots.
    tiles : tuple (b, T, S)
        Tile j has the slots j * T to j * T + S of the line.
    gather, spread : tensors [b, T, S] or None
        CBOW: how contexts make a hidden row, and how its error goes back to them.
    words : Words or None
    nodes : list of Nodes
    compute_loss : bool
    """

    line: torch.Tensor
    scale: torch.Tensor
    tiles: tuple[int, int, int]
    gather: torch.Tensor | None
    spread: torch.Tensor | None
    words: Words | None
    nodes: list[Nodes]
    compute_loss: bool


def _ahead(contexts: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Part of a center's own update that its rows are ahead when they pull its m contexts: (m - 1) / 2m.

    gensim trains the contexts of a center one after another: the second meets an output row that the first has moved.
    In the mean over all orders a context meets that part of the sum of all moves. Leaving it out costs quality, most of
    all in hierarchical softmax (docs/kernels.md, "One after another").
    """
    m = contexts.clamp(min=1).to(dtype)
    return (m - 1) / (2 * m)


def _tiles_of(line: torch.Tensor, tiles: tuple[int, int, int]) -> torch.Tensor:
    """The overlapping tiles of a line of rows: a view [b, S, D] of [L, D]."""
    count, tile, slots = tiles
    width = line.shape[1]
    return line.as_strided((count, slots, width), (tile * width, width, 1))


def _add_tiles(line: torch.Tensor, values: torch.Tensor, tile: int) -> None:
    """Add values [b, S, D] of overlapping tiles to the line [L, D], in place: T slots of all tiles at a time."""
    for start in range(0, values.shape[1], tile):
        part = values[:, start : start + tile]
        _tiles_of(line[start:], (len(part), tile, part.shape[1])).add_(part)


class TorchEngine:
    """Trains chunks by batched torch operations.

    Parameters
    ----------
    job : Job
    device : torch.device
    """

    name = "torch"
    dense_top = True  # the busiest Huffman nodes are one product for all tiles

    def __init__(self, job: Job, device: torch.device | str = "cpu") -> None:
        self.job = job
        self.device = torch.device(device)
        self.sampler = Sampler(job, self.device)
        plan, paths = job.plan, job.tables.paths
        self._pairs = {
            name: torch.from_numpy(pairs).to(self.device)
            for name, pairs in (
                ("inputs", plan.input_pairs),
                ("outputs", plan.output_pairs),
                ("nodes", plan.node_pairs),
            )
            if pairs is not None
        }
        self._tree: _Tree | None = None
        if paths is not None:
            assert plan.node_pairs is not None
            self._tree = _Tree(paths, busiest_nodes(plan.node_pairs), self.dense_top, self.device)
        if job.tables.cumulative is not None:
            share = positive_share(job.tables.cumulative, job.objective.negative)
            self._positive_share = torch.from_numpy(share).to(self.device)

    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """Train the chunk's centers, step after step, each from the weights that the last one left.

        Raises
        ------
        TrainingDivergedError
            The last update of the chunk holds NaN or infinity.
        """
        tally, updates = Tally(), []
        for unit in self.units(weights, chunk, step, tally):
            updates = self.updates(weights, unit, tally)
            for update in updates:
                update.apply()
        if updates and not math.isfinite(float(updates[-1].values.sum())):
            last = chunk.first_position + chunk.stop
            raise TrainingDivergedError(
                f"an update became NaN or infinite before token {last} of the epoch, at alpha={step.alpha:g}. "
                "Lower alpha, or subsample frequent words more (a smaller `sample`)."
            )
        return tally

    # ---- preparing steps: everything that does not depend on the weights ---------------------------------------

    def units(self, weights: Weights, chunk: Chunk, step: Step, tally: Tally) -> Iterator[Unit]:
        """Sample the chunk and prepare its steps, in order. Words and pairs go to the tally."""
        tiles = self.sampler.tiles(chunk, step.draw_key) if chunk.start < chunk.stop else None
        if tiles is None:
            return
        tally.effective_words += tiles.count
        plan, count = self.job.plan, len(tiles.centers)
        blocks = list(self.sampler.blocks(tiles.reach))
        slots = max(stop - start for _, start, stop in blocks)
        size = max(1, min(plan.step_tiles, _MAX_STEP_ROWS // slots))  # tiles in a step
        steps = min(max(1, _MAX_PREPARED // (size * plan.tile * slots)), _MAX_PREPARED_STEPS) if len(blocks) == 1 else 1
        whole = count - count % size
        parts = [(begin, min(begin + size * steps, whole), size) for begin in range(0, whole, size * steps)]
        if whole < count:
            parts.append((whole, count, count - whole))  # the last step is a smaller one
        for begin, end, tiles_in_step in parts:
            for block in blocks:
                yield from self._prepare(weights, tiles, slice(begin, end), tiles_in_step, block, step, tally)

    def _prepare(
        self,
        weights: Weights,
        tiles: Tiles,
        part: slice,
        size: int,
        block: tuple[int, int, int],
        step: Step,
        tally: Tally,
    ) -> Iterator[Unit]:
        """Steps of `size` tiles, k of them, for some tiles of a chunk and one block of their slots."""
        objective, tile, dtype = self.job.objective, self.job.plan.tile, weights.inputs.dtype
        _, start, stop = block
        frame = self._frame(weights, tiles, part, size, block, step, tally)
        window = self._window(tiles, part, start, stop, dtype)  # [t, T, S]
        gather = spread = None
        if objective.skip_gram:
            relation = window
        else:
            relation = torch.diag_embed(frame.examples.to(dtype).view(-1, tile))  # [t, T, T]
            shared = window / frame.contexts.clamp(min=1).view(-1, tile, 1)
            # gensim hands the whole error to every context when the hidden row was their mean, and an equal share
            # of it when it was their sum: the opposite of the gradient (docs/parity.md, "CBOW's gradient").
            gather, spread = (shared, window) if objective.cbow_mean else (window, shared)

        shape = (size, tile, stop - start)
        words: list[Words] = []
        if objective.negative:
            label = window.view(-1, *shape) if objective.skip_gram else frame.examples.to(dtype).unsqueeze(2)
            words = self._prepare_words(frame, label)
        nodes = []
        if self._tree is not None:
            nodes = self._prepare_nodes(self._tree, frame, relation, step.alpha, size)

        for k in range(len(frame.line)):
            bounds = slice(k * size, (k + 1) * size)
            yield Unit(
                frame.line[k],
                frame.scale[k].unsqueeze(1),
                shape,
                None if gather is None else gather[bounds],
                None if spread is None else spread[bounds],
                words[k] if words else None,
                [kind[k] for kind in nodes],
                step.compute_loss,
            )

    def _frame(
        self,
        weights: Weights,
        tiles: Tiles,
        part: slice,
        size: int,
        block: tuple[int, int, int],
        step: Step,
        tally: Tally,
    ) -> Frame:
        """What all kinds of outputs need: slots, counts, caps, negatives. Pairs go to the tally."""
        objective, plan, dtype = self.job.objective, self.job.plan, weights.inputs.dtype
        number, start, stop = block
        centers = tiles.centers[part].view(-1, size * plan.tile)  # [k, b * T]
        slots = (size - 1) * plan.tile + stop - start
        hidden = slots if objective.skip_gram else centers.shape[1]
        groups = -(-hidden // plan.group) if objective.negative else 0
        length = max(slots, groups * plan.group) if objective.skip_gram else slots

        line = tiles.line(part.start * plan.tile + start, len(centers), size * plan.tile, length)  # [k, L]
        contexts, pairs_of_slot = self._pairs_of(tiles, part, size, start, stop, length)
        scale = self._scale("inputs", line, pairs_of_slot.to(dtype), step.alpha)  # [k, L]
        if weights.input_lock is not None:
            scale = scale * weights.input_lock[line]
        pairs = contexts if objective.skip_gram else contexts.clamp(max=1)  # one example a center in CBOW
        tally.pairs += int(pairs.sum())
        frame = Frame(line, scale, centers, contexts, pairs_of_slot if objective.skip_gram else pairs)
        if objective.negative:
            key_positions = tiles.positions[part][::size]
            negatives = self.sampler.negatives(step.draw_key, key_positions, number, groups)  # [k, g, N]
            frame.rows = torch.cat([centers, negatives.flatten(1)], 1)
            # A negative's pull is weaker than a center's: its pairs count once, not K times (as in schedule.py).
            count = groups * plan.shared_negatives
            once = frame.examples.sum(1, keepdim=True, dtype=dtype).div_(count).expand(-1, count)
            frame.row_scale = self._scale("outputs", frame.rows, torch.cat([pairs.to(dtype), once], 1), step.alpha)
        return frame

    def _pairs_of(
        self, tiles: Tiles, part: slice, size: int, start: int, stop: int, length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs of each center and of each slot of the line, in one block: int64 [k, b * T] and [k, L]."""
        tile = self.job.plan.tile
        first = tiles.first[part].clamp(min=start)  # [t, T]
        last = tiles.last[part].clamp(max=stop - 1)
        own = torch.arange(tile, device=self.device) + tiles.reach
        real = last >= first
        itself = real & (own >= start) & (own < stop)
        counts = (last - first + 1).mul_(real).sub_(itself.to(torch.int32)).to(torch.int64)
        # A center adds 1 to the slots first..last, itself left out: differences of a running sum.
        origin = (torch.arange(size, device=self.device) * tile - start).view(1, -1, 1)

        def to_line(slots: torch.Tensor) -> torch.Tensor:  # [t, T] slots of tiles to places of lines, [k, b * T]
            return (slots.reshape(-1, size, tile) + origin).view(-1, size * tile)

        changes = torch.zeros((len(first) // size, length + 1), dtype=torch.int64, device=self.device)
        ones = real.view(-1, size * tile).to(torch.int64)
        changes.scatter_add_(1, to_line(first.clamp(max=stop - 1)), ones)
        changes.scatter_add_(1, to_line(last.clamp(min=start - 1) + 1), -ones)
        of_slot = changes.cumsum(1)[:, :length]
        own_place = to_line(own.clamp(start, stop - 1).expand_as(first))
        of_slot.scatter_add_(1, own_place, itself.view(-1, size * tile).to(torch.int64).neg_())
        return counts.view(-1, size * tile), of_slot

    def _window(self, tiles: Tiles, part: slice, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """A of skip-gram: 1 where a slot is a context of a center. [t, T, S]"""
        slot = torch.arange(start, stop, dtype=torch.int32, device=self.device)  # [S]
        own = torch.arange(self.job.plan.tile, dtype=torch.int32, device=self.device) + tiles.reach
        first, last = tiles.first[part].unsqueeze(2), tiles.last[part].unsqueeze(2)
        inside = (slot >= first).logical_and_(slot <= last).logical_and_(slot != own.unsqueeze(1))
        return inside.to(dtype)

    def _scale(self, matrix: str, rows: torch.Tensor, pairs: torch.Tensor, alpha: float) -> torch.Tensor:
        """Alpha times the row caps: no row is pulled further than MAX_STALE_PULL by one snapshot.

        Parameters
        ----------
        matrix : str
        rows : int64 tensor [k, M]
            Rows of k steps.
        pairs : tensor [k, M]
            Pairs that each entry sums into its row. Text is bursty: a word of an article's title may come up fifty
            times more often in this step than in the corpus, so what is there is counted, not only what is expected.
        alpha : float

        Returns
        -------
        tensor [k, M]
        """
        # Counters of each step. Rows whose indices agree modulo _COUNTERS share one: the cap errs to the safe side.
        counter = rows % _COUNTERS
        counts = torch.zeros((len(rows), _COUNTERS), dtype=pairs.dtype, device=self.device)
        counted = counts.scatter_add_(1, counter, pairs).gather(1, counter)
        return self._cap(matrix, rows, counted, alpha)

    def _cap(self, matrix: str, rows: torch.Tensor, counted: torch.Tensor, alpha: float) -> torch.Tensor:
        """Alpha times min(1, MAX_STALE_PULL / (alpha * pairs)), pairs being those counted or expected."""
        expected = self._pairs[matrix].index_select(0, rows.reshape(-1)).view(rows.shape).to(counted.dtype)
        return torch.maximum(expected, counted).reciprocal_().mul_(MAX_STALE_PULL).clamp_(max=alpha)

    def _prepare_words(self, frame: Frame, label: torch.Tensor) -> list[Words]:
        """Centers and negatives of k steps. `label` is Q of the centers, [k, b, T, S] or (CBOW) [k, b * T, 1]."""
        plan, dtype = self.job.plan, label.dtype
        steps, hidden = frame.examples.shape
        groups = -(-hidden // plan.group)
        weight = pad(frame.examples.to(dtype), (0, groups * plan.group - hidden))
        weight = weight.mul_(-self.job.objective.negative / plan.shared_negatives)
        if plan.spread:
            weight = weight.view(steps, plan.group, groups, 1).permute(0, 2, 3, 1)
        minus_q = self._positive_share[frame.centers].to(dtype).neg_().view(*label.shape[:-1], 1) * label
        weight = weight.view(steps, groups, 1, plan.group)
        # Where most negatives are the center itself, they undo the moves: tiny vocabularies.
        steady = self._positive_share[frame.centers].clamp(min=0).to(dtype)
        ahead = _ahead(frame.contexts, dtype).mul_(steady).unsqueeze(2)
        parts = zip(frame.rows, label, minus_q, weight, frame.row_scale.unsqueeze(2), ahead, strict=True)
        return [Words(*part) for part in parts]

    def _prepare_nodes(
        self, tree: _Tree, frame: Frame, relation: torch.Tensor, alpha: float, size: int
    ) -> list[list[Nodes]]:
        """Huffman nodes: the dense top, the same rows for every tile, and each tile's packed rest."""
        dtype, (count, tile, hidden) = relation.dtype, relation.shape
        centers, steps = frame.centers.view(count, tile), count // size
        kinds = []
        if len(tree.top):
            signs = tree.top_signs[centers].transpose(1, 2)  # [t, M, T]: 1 or -1 on the path by label, 0 off it
            minus_q = torch.bmm(signs.abs().to(dtype).neg_(), relation)  # [t, M, R]
            labels = torch.bmm((signs > 0).to(dtype), relation).div_(-minus_q.clamp(max=-1))  # share with label 1
            flat = [x.transpose(0, 1).reshape(1, -1, count * hidden).split(size * hidden, 2) for x in (labels, minus_q)]
            rows, top = tree.top.unsqueeze(0), []
            for lab, q in zip(*flat, strict=True):
                scale = self._cap("nodes", rows, q.sum(2).div_(-NODE_PULL), alpha).unsqueeze(2)
                top.append(Nodes(rows, lab, q, scale, dense=True))
            kinds.append(top)
        rows, owner, label = tree.packed_paths(centers)  # [t, U] each
        if rows.shape[1]:
            minus_q = relation.gather(1, owner.unsqueeze(2).expand(-1, -1, hidden))  # [t, U, R]
            minus_q.mul_((label >= 0).unsqueeze(2)).neg_()  # padding, label -1, belongs to no center
            pairs = minus_q.sum(2).div_(-NODE_PULL)
            scale = self._scale("nodes", rows.view(steps, -1), pairs.view(steps, -1), alpha).view(*rows.shape, 1)
            label = label.clamp(min=0).to(dtype).unsqueeze(2)
            ahead: tuple[torch.Tensor | None, ...] = (None,) * steps
            if self.job.objective.skip_gram:
                ahead = _ahead(frame.contexts.view(count, tile), dtype).gather(1, owner).unsqueeze(2).split(size)
            parts = zip(*(x.split(size) for x in (rows, label, minus_q, scale)), ahead, strict=True)
            kinds.append([Nodes(*part) for part in parts])
        return kinds

    # ---- one step ------------------------------------------------------------------------------------------------

    def updates(self, weights: Weights, unit: Unit, tally: Tally) -> list[RowUpdate]:
        """Read the weights and compute what to add to them; nothing is written yet."""
        tile = unit.tiles[1]
        line = embedding(unit.line, weights.inputs)  # [L, D]
        slots = _tiles_of(line, unit.tiles)  # [b, S, D]
        hidden = slots if unit.gather is None else torch.bmm(unit.gather, slots)  # [b, R, D]
        rows = line if unit.gather is None else hidden.flatten(0, 1)  # hidden rows side by side
        # What the outputs ask of the hidden rows; negatives come first and fill it all.
        pull = torch.zeros_like(rows) if unit.words is None else torch.empty_like(rows)
        updates = []
        if unit.words is not None:
            assert weights.outputs is not None
            updates.append(self._train_words(weights.outputs, unit, rows, hidden, pull, tally))
        for nodes in unit.nodes:
            assert weights.nodes is not None
            update, added = self._train_nodes(weights.nodes, nodes, hidden, tally, unit.compute_loss)
            updates.append(update)
            if unit.gather is None:
                _add_tiles(pull, added, tile)
            else:
                pull += added.flatten(0, 1)
        if unit.spread is not None:
            back = torch.bmm(unit.spread.transpose(1, 2), pull.view_as(hidden))  # [b, S, D]
            pull = torch.zeros_like(line)
            _add_tiles(pull, back, tile)
        updates.append(RowUpdate(weights.inputs, unit.line, pull.mul_(unit.scale)))
        return updates

    def _train_words(
        self,
        matrix: torch.Tensor,
        unit: Unit,
        rows: torch.Tensor,
        hidden: torch.Tensor,
        pull: torch.Tensor,
        tally: Tally,
    ) -> RowUpdate:
        """Centers and negatives: the update of their rows; `pull` is filled in place."""
        words = unit.words
        assert words is not None
        tiles, tile, _ = unit.tiles
        groups, _, group = words.weight.shape
        count, width = tiles * tile, matrix.shape[1]
        output = embedding(words.rows, matrix)  # [b * T + g * N, D]
        values = torch.empty_like(output)
        centers, negatives = output[:count], output[count:].view(groups, -1, width)

        def grouped(line: torch.Tensor) -> torch.Tensor:  # [g, G, D]
            if self.job.plan.spread:
                return line.view(group, groups, width).transpose(0, 1)
            return line.view(groups, group, width)

        padded = rows if len(rows) == groups * group else pad(rows, (0, 0, 0, groups * group - len(rows)))
        pushed = pull if padded is rows else torch.empty_like(padded)
        apart = grouped(padded)
        grip = torch.bmm(negatives, apart.transpose(1, 2))  # [g, N, G]: scores, then their pull
        if unit.compute_loss:
            tally.loss -= float((softplus(grip) * words.weight).sum())
        grip.sigmoid_().mul_(words.weight)
        torch.bmm(grip.transpose(1, 2), negatives, out=grouped(pushed))
        if pushed is not pull:
            pull.copy_(pushed[: len(pull)])
        torch.bmm(grip, apart, out=values[count:].view(groups, -1, width))

        if unit.gather is None:
            centers = centers.view(tiles, tile, width)
            grip = torch.bmm(centers, hidden.transpose(1, 2))  # [b, T, S]
        else:
            grip = (centers * rows).sum(1, keepdim=True)  # [b * T, 1]
        if unit.compute_loss:
            tally.loss -= float((softplus(grip) * words.minus_q + grip * words.label).sum())
        grip = torch.addcmul(words.label, grip.sigmoid_(), words.minus_q)
        own = values[:count]
        if unit.gather is None:
            torch.bmm(grip, hidden, out=own.view_as(centers))
            values.mul_(words.scale)
            centers = torch.addcmul(centers, own.view_as(centers), words.ahead.view(tiles, tile, 1))
            _add_tiles(pull, torch.bmm(grip.transpose(1, 2), centers), tile)
        else:
            pull.addcmul_(grip, centers)
            torch.mul(grip, rows, out=own)
            values.mul_(words.scale)
        return RowUpdate(matrix, words.rows, values)

    def _train_nodes(
        self, matrix: torch.Tensor, nodes: Nodes, hidden: torch.Tensor, tally: Tally, compute_loss: bool
    ) -> tuple[RowUpdate, torch.Tensor]:
        """Huffman nodes: the update of their rows, and what they ask of the hidden rows [b, R, D]."""
        rows = hidden.flatten(0, 1).unsqueeze(0) if nodes.dense else hidden
        output = embedding(nodes.rows, matrix)  # [b, U, D]
        grip = torch.bmm(output, rows.transpose(1, 2))  # [b, U, R]: scores, then their pull
        if compute_loss:
            tally.loss -= float(((softplus(grip) - nodes.label * grip) * nodes.minus_q).sum())
        grip.sigmoid_().sub_(nodes.label).mul_(nodes.minus_q)
        values = torch.bmm(grip * nodes.scale, rows)
        if nodes.ahead is not None:
            output = torch.addcmul(output, values, nodes.ahead)
        added = torch.bmm(grip.transpose(1, 2), output).view_as(hidden)
        return RowUpdate(matrix, nodes.rows, values), added


class _Tree:
    """Huffman paths split into a dense top (few nodes, on nearly every path) and a packed rest."""

    def __init__(self, paths: HuffmanPaths, busiest: np.ndarray, dense_top: bool, device: torch.device) -> None:
        vocabulary = len(paths.offsets) - 1
        dense = busiest if dense_top else busiest[:0]
        owner = np.repeat(np.arange(vocabulary), np.diff(paths.offsets))  # [P] word of each path entry
        place = np.full(vocabulary, -1, dtype=np.int64)
        place[dense] = np.arange(len(dense))
        slot = place[paths.points]
        on_top = slot >= 0
        signs = np.zeros((vocabulary, len(dense)), dtype=np.int8)
        signs[owner[on_top], slot[on_top]] = np.where(paths.labels[on_top] > 0, 1, -1)
        lengths = np.bincount(owner[~on_top], minlength=vocabulary)

        self.device = device
        self.top = torch.from_numpy(dense).to(device)  # [M]
        self.top_signs = torch.from_numpy(signs).to(device)  # [V, M]
        self.shared = torch.from_numpy(np.isin(np.arange(vocabulary), busiest)).to(device)  # [V] many centers' at once
        self._points = torch.from_numpy(paths.points[~on_top].astype(np.int64)).to(device)
        self._labels = torch.from_numpy(paths.labels[~on_top]).to(device)
        self._lengths = torch.from_numpy(lengths).to(device)
        self._starts = torch.from_numpy(np.cumsum(lengths) - lengths).to(device)

    def packed_paths(self, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The nodes below the top of all centers of each tile, side by side.

        Parameters
        ----------
        centers : int64 tensor [t, T]

        Returns
        -------
        rows : int64 tensor [t, U]
            Node of each entry; U is the longest tile's number of entries.
        owner : int64 tensor [t, U]
            Which of the T centers the entry belongs to.
        label : float32 tensor [t, U]
            1 - code; -1 marks padding.
        """
        tiles, tile = centers.shape
        lengths = self._lengths[centers]  # [t, T]
        flat, per_tile = lengths.flatten(), lengths.sum(1)
        width, total = int(per_tile.max()), int(per_tile.sum())
        entry = torch.arange(total, device=self.device)
        center = torch.arange(tiles * tile, device=self.device).repeat_interleave(flat, output_size=total)
        within = entry - (flat.cumsum(0) - flat)[center]  # place on the center's own path
        number = center // tile
        target = number * width + entry - (per_tile.cumsum(0) - per_tile)[number]
        source = self._starts[centers].flatten()[center] + within
        rows = torch.zeros(tiles * width, dtype=torch.int64, device=self.device)
        owner, label = torch.zeros_like(rows), torch.full(rows.shape, -1.0, device=self.device)
        rows[target], owner[target], label[target] = self._points[source], center % tile, self._labels[source]
        return rows.view(tiles, width), owner.view(tiles, width), label.view(tiles, width)
