"""The portable engine: tiles as batched matrix products in plain torch operations, on any torch device.

One step trains b tiles from one snapshot of the weights. In a tile, R hidden rows H (skip-gram: the context rows
around T centers; CBOW: one row a center, made of its contexts) meet U output rows Z:

    L = Z H'                    scores                                                  [b, U, R]
    G = Q (label - s(L))        the pull of every example at once                       [b, U, R]
    dH = G' Z    dZ = G H       added to the weights, scaled by alpha and the row caps

Q[u, r] is the number of examples in which output u meets hidden row r, from A[i, r] = 1 where center i is trained
with hidden row r. Negative sampling: the T centers, label 1, Q = A; and N shared negatives, label 0,
Q[n, r] = K/N * (centers of r that are not word n). Hierarchical softmax: the Huffman nodes on the centers' paths,
label 1 - code, Q = A of the path's center. Source of the objective: Mikolov et al. 2013b (arXiv:1310.4546), eqs. 3
and 4; the tile is derived in docs/kernels.md.

What does not depend on the weights (A, Q, labels, caps) is prepared for many steps at once, so that a step is few,
large operations: threads wait for Python's lock only between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import embedding, softplus

from torchw2v.constants import MAX_STALE_PULL, NODE_PULL
from torchw2v.errors import TrainingDivergedError
from torchw2v.ops.contract import Chunk, HuffmanPaths, Job, Step, Tally, Weights
from torchw2v.ops.sampling import Sampler, Tiles

# Gathered rows of one step at most, and elements of A prepared at once: both bound memory when windows are wide.
_MAX_STEP_ROWS = 65_536  # 26 MB at 100 dimensions
_MAX_PREPARED = 2**20  # 4 MB for A, a few times that for everything made from it
_MAX_PREPARED_STEPS = 64  # each with _COUNTERS counters: 4 MB
# Huffman nodes nearest the root, which nearly every path crosses, are trained as one dense product a step.
_DENSE_NODES = 32
_COUNTERS = 2**14  # of the pairs summed into a row in one step


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
class Outputs:
    """Output rows that hidden rows are trained against, prepared for one step.

    Attributes
    ----------
    matrix : str
        "outputs" (words) or "nodes" (Huffman).
    rows : int64 tensor [b, U]
    label : tensor that broadcasts to [b, U, R]
    minus_q : tensor [b, U, R]
        -Q.
    scale : tensor [b, U, 1]
        Alpha times the row caps.
    dense : bool
        The same U rows for all tiles: then b is 1, and R counts the hidden rows of all tiles.
    """

    matrix: str
    rows: torch.Tensor
    label: torch.Tensor
    minus_q: torch.Tensor
    scale: torch.Tensor
    dense: bool = False


@dataclass
class Unit:
    """One step, prepared: all it takes besides the weights.

    Attributes
    ----------
    words : int64 tensor [b, S]
        Context slots.
    scale : tensor [b, 1, S]
        Alpha times row caps and locks of the slots.
    gather, spread : tensors [b, T, S] or None
        CBOW: how contexts make a hidden row, and how its error goes back to them.
    outputs : list of Outputs
    compute_loss : bool
    """

    words: torch.Tensor
    scale: torch.Tensor
    gather: torch.Tensor | None
    spread: torch.Tensor | None
    outputs: list[Outputs]
    compute_loss: bool


class TorchEngine:
    """Trains chunks by batched torch operations.

    Parameters
    ----------
    job : Job
    device : torch.device
    """

    name = "torch"

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
        self._tree = _Tree(paths, self._pairs["nodes"]) if paths is not None else None

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
        rows = max(stop - start for _, start, stop in blocks)
        size = max(1, min(plan.step_tiles, _MAX_STEP_ROWS // rows))  # tiles in a step
        steps = min(max(1, _MAX_PREPARED // (size * plan.tile * rows)), _MAX_PREPARED_STEPS) if len(blocks) == 1 else 1
        for begin in range(0, count, size * steps):
            for block in blocks:
                yield from self._prepare(weights, tiles, slice(begin, begin + size * steps), size, block, step, tally)

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
        """Steps of `size` tiles for some tiles of a chunk and one block of their slots."""
        objective, dtype = self.job.objective, weights.inputs.dtype
        number, start, stop = block
        words = tiles.slots(self.job.plan.tile)[part, start:stop]  # [t, S]
        window = self._window(tiles, part, start, stop, dtype)  # [t, T, S]
        scale = self._scale("inputs", words, window.sum(1), step.alpha, size)  # [t, S]
        if weights.input_lock is not None:
            scale = scale * weights.input_lock[words]
        scale = scale.unsqueeze(1)  # [t, 1, S]

        if objective.skip_gram:
            relation = window
            tally.pairs += int(window.sum())
        else:
            contexts = window.sum(2, keepdim=True)  # [t, T, 1]
            shared = window / contexts.clamp(min=1)
            relation = torch.diag_embed((contexts.squeeze(2) > 0).to(dtype))  # [t, T, T]
            tally.pairs += int((contexts > 0).sum())
            # gensim hands the whole error to every context when the hidden row was their mean, and an equal share
            # of it when it was their sum: the opposite of the gradient (docs/parity.md, "CBOW's gradient").
            gather, spread = (shared, window) if objective.cbow_mean else (window, shared)
            spread = spread * scale

        centers = tiles.centers[part]
        kinds = []
        if objective.negative:
            negatives = self.sampler.negatives(step.draw_key, tiles.positions[part], number)
            kinds.append(self._prepare_negatives(centers, negatives, relation, step.alpha, size))
        if self._tree is not None:
            kinds += self._prepare_nodes(self._tree, centers, relation, step.alpha, size)

        words_of, scale_of = words.split(size), scale.split(size)
        for k in range(len(words_of)):
            bounds = slice(k * size, (k + 1) * size)
            yield Unit(
                words_of[k],
                scale_of[k],
                None if objective.skip_gram else gather[bounds],
                None if objective.skip_gram else spread[bounds],
                [outputs[k] for outputs in kinds],
                step.compute_loss,
            )

    def _window(self, tiles: Tiles, part: slice, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """A of skip-gram: 1 where a slot is a context of a center. [t, T, S]"""
        slot = torch.arange(start, stop, dtype=torch.int32, device=self.device)  # [S]
        own = torch.arange(self.job.plan.tile, dtype=torch.int32, device=self.device) + tiles.reach
        first, last = tiles.first[part].unsqueeze(2), tiles.last[part].unsqueeze(2)
        inside = (slot >= first).logical_and_(slot <= last).logical_and_(slot != own.unsqueeze(1))
        return inside.to(dtype)

    def _scale(self, matrix: str, rows: torch.Tensor, pairs: torch.Tensor, alpha: float, size: int) -> torch.Tensor:
        """Alpha times the row caps: no row is pulled further than MAX_STALE_PULL by one snapshot.

        Parameters
        ----------
        matrix : str
        rows : int64 tensor [t, U]
        pairs : tensor [t, U]
            Pairs that each entry sums into its row. Text is bursty: a word of an article's title may come up fifty
            times more often in this step than in the corpus, so what is there is counted, not only what is expected.
        alpha : float
        size : int
            Tiles in a step.

        Returns
        -------
        tensor [t, U]
        """
        # Counters of each step. Rows whose indices agree modulo _COUNTERS share one: the cap errs to the safe side.
        step = torch.arange(len(rows), device=self.device).div_(size, rounding_mode="floor")
        counter = (rows % _COUNTERS).add_(step.mul_(_COUNTERS).unsqueeze(1)).flatten()
        counts = torch.zeros(-(-len(rows) // size) * _COUNTERS, dtype=pairs.dtype, device=self.device)
        counted = counts.scatter_add_(0, counter, pairs.flatten()).index_select(0, counter).view(rows.shape)
        return self._cap(matrix, rows, counted, alpha)

    def _cap(self, matrix: str, rows: torch.Tensor, counted: torch.Tensor, alpha: float) -> torch.Tensor:
        """Alpha times min(1, MAX_STALE_PULL / (alpha * pairs)), pairs being those counted or expected."""
        expected = self._pairs[matrix].index_select(0, rows.reshape(-1)).view(rows.shape).to(counted.dtype)
        return torch.maximum(expected, counted).reciprocal_().mul_(MAX_STALE_PULL).clamp_(max=alpha)

    def _prepare_negatives(
        self, centers: torch.Tensor, negatives: torch.Tensor, relation: torch.Tensor, alpha: float, size: int
    ) -> list[Outputs]:
        """Centers [t, T], label 1, and shared negatives [t, N], label 0; one Outputs a step."""
        dtype, tile, shared = relation.dtype, centers.shape[1], negatives.shape[1]
        rows = torch.cat([centers, negatives], 1)  # [t, T + N]
        # A negative stands for K / N of them, but not against centers that are the very same word.
        same = (negatives.unsqueeze(2) == centers.unsqueeze(1)).to(dtype)  # [t, N, T]
        against = same.sub_(1).mul_(self.job.objective.negative / shared)
        own = torch.eye(tile, dtype=dtype, device=self.device).neg_().expand(len(rows), tile, tile)
        minus_q = torch.bmm(torch.cat([own, against], 1), relation)  # [t, T + N, R]
        label = torch.zeros(tile + shared, 1, dtype=dtype, device=self.device)
        label[:tile] = 1
        # A negative's pull is weaker than a center's: its pairs count once, not K times (schedule.py expects the same).
        own_pairs = relation.sum(2)  # [t, T]
        pairs = torch.cat([own_pairs, own_pairs.mean(1, keepdim=True).expand(-1, shared)], 1)
        scale = self._scale("outputs", rows, pairs, alpha, size).unsqueeze(2)
        parts = zip(rows.split(size), minus_q.split(size), scale.split(size), strict=True)
        return [Outputs("outputs", some_rows, label, q, caps) for some_rows, q, caps in parts]

    def _prepare_nodes(
        self, tree: _Tree, centers: torch.Tensor, relation: torch.Tensor, alpha: float, size: int
    ) -> list[list[Outputs]]:
        """Huffman nodes: the dense top, the same rows for every tile, and each tile's packed rest."""
        dtype, (count, _, hidden) = relation.dtype, relation.shape
        kinds = []
        if len(tree.top):
            signs = tree.top_signs[centers].transpose(1, 2)  # [t, M, T]: 1 or -1 on the path by label, 0 off it
            minus_q = torch.bmm(signs.abs().to(dtype).neg_(), relation)  # [t, M, R]
            labels = torch.bmm((signs > 0).to(dtype), relation).div_(-minus_q.clamp(max=-1))  # share with label 1
            flat = [x.transpose(0, 1).reshape(1, -1, count * hidden).split(size * hidden, 2) for x in (labels, minus_q)]
            rows, top = tree.top.unsqueeze(0), []
            for lab, q in zip(*flat, strict=True):
                scale = self._cap("nodes", rows, q.sum(2).div_(-NODE_PULL), alpha).unsqueeze(2)
                top.append(Outputs("nodes", rows, lab, q, scale, dense=True))
            kinds.append(top)
        rows, owner, label = tree.packed_paths(centers)  # [t, U] each
        if rows.shape[1]:
            minus_q = relation.gather(1, owner.unsqueeze(2).expand(-1, -1, hidden))  # [t, U, R]
            minus_q.mul_((label >= 0).unsqueeze(2)).neg_()  # padding, label -1, belongs to no center
            scale = self._scale("nodes", rows, minus_q.sum(2).div_(-NODE_PULL), alpha, size).unsqueeze(2)
            label = label.clamp(min=0).to(dtype).unsqueeze(2)
            parts = zip(*(x.split(size) for x in (rows, label, minus_q, scale)), strict=True)
            kinds.append([Outputs("nodes", some_rows, lab, q, caps) for some_rows, lab, q, caps in parts])
        return kinds

    # ---- one step ------------------------------------------------------------------------------------------------

    def updates(self, weights: Weights, unit: Unit, tally: Tally) -> list[RowUpdate]:
        """Read the weights and compute what to add to them; nothing is written yet."""
        context = embedding(unit.words, weights.inputs)  # [b, S, D]
        hidden = context if unit.gather is None else torch.bmm(unit.gather, context)  # [b, R, D]
        hidden_scale = unit.scale if unit.spread is None else None  # CBOW scales when it spreads
        pull: torch.Tensor | None = None  # what the outputs ask of the hidden rows, [b, R, D]
        updates = []
        for outputs in unit.outputs:
            matrix = weights.outputs if outputs.matrix == "outputs" else weights.nodes
            assert matrix is not None
            rows = hidden.flatten(0, 1).unsqueeze(0) if outputs.dense else hidden
            output = embedding(outputs.rows, matrix)  # [b, U, D]
            grip = torch.bmm(output, rows.transpose(1, 2))  # [b, U, R]: scores, then their pull
            if unit.compute_loss:
                tally.loss -= float(((softplus(grip) - outputs.label * grip) * outputs.minus_q).sum())
            grip.sigmoid_().sub_(outputs.label).mul_(outputs.minus_q)
            if hidden_scale is None:
                eased = grip
            else:
                eased = grip * (hidden_scale.reshape(1, 1, -1) if outputs.dense else hidden_scale)
            added = torch.bmm(eased.transpose(1, 2), output).view_as(hidden)
            pull = added if pull is None else pull.add_(added)
            values = torch.bmm(grip * outputs.scale if eased is grip else grip.mul_(outputs.scale), rows)
            updates.append(RowUpdate(matrix, outputs.rows, values))
        if pull is not None:
            if unit.spread is not None:
                pull = torch.bmm(unit.spread.transpose(1, 2), pull)  # [b, S, D]
            updates.append(RowUpdate(weights.inputs, unit.words, pull))
        return updates


class _Tree:
    """Huffman paths split into a dense top (few nodes, on nearly every path) and a packed rest."""

    def __init__(self, paths: HuffmanPaths, node_pairs: torch.Tensor) -> None:
        vocabulary, device = len(paths.offsets) - 1, node_pairs.device
        frequent = node_pairs.cpu().numpy().argsort(kind="stable")[::-1]
        dense = np.sort(frequent[: min(_DENSE_NODES, vocabulary - 1)])
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
