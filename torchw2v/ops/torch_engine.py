"""The portable engine: tiles as batched matrix products in plain torch operations, on any torch device.

One step trains b tiles from one snapshot of the weights. In a tile, R input rows X (skip-gram: the context rows
around T centers; CBOW: one hidden row a center) meet U output rows Z. With A[i, r] = 1 where center i is trained
with input r, P[u, r] the sum of labels and Q[u, r] the number of examples in which output u meets input r:

    L = Z X'          scores                              [b, U, R]
    G = P - Q s(L)    the pull of every example at once   [b, U, R]
    dX = G' Z         dZ = G X                            added to the weights, scaled by alpha and the row caps

Negative sampling: U = T centers, P = Q = A, and N shared negatives, P = 0, Q[n, r] = K/N * (centers of r that are
not word n). Hierarchical softmax: U = Huffman nodes, P = label * A, Q = A of the center on whose path u lies.
Source of the objective: Mikolov et al. 2013b (arXiv:1310.4546), eqs. 3 and 4. The tile is derived in docs/kernels.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import embedding, softplus

from torchw2v.constants import MAX_STALE_PULL
from torchw2v.ops.contract import Chunk, HuffmanPaths, Job, Step, Tally, Weights
from torchw2v.ops.sampling import Sampler, Tiles

# Rows of one gathered operand at most: bounds the memory of a step when windows are wide (64 Ki rows of 100
# float32 are 26 MB).
_MAX_GATHERED_ROWS = 65_536
# Huffman nodes nearest the root, which nearly every path crosses, are trained as one dense product per tile.
_DENSE_NODES = 32


@dataclass
class RowUpdate:
    """Rows to add to one weight matrix: values [..., D] at rows [...]."""

    matrix: torch.Tensor
    rows: torch.Tensor
    values: torch.Tensor

    def apply(self, columns: slice = slice(None)) -> None:
        """Add the values in place; rows may repeat. `columns` restricts it to a part of the dimensions."""
        values = self.values.flatten(0, -2)[:, columns]
        # An index that is expanded, not stored, takes torch's sorted path: 4 times faster than index_add_ here.
        index = self.rows.reshape(-1, 1).expand(-1, values.shape[1])
        self.matrix[:, columns].scatter_add_(0, index, values)


@dataclass
class Unit:
    """Work computed from one snapshot: some tiles, and some of their slots."""

    tiles: Tiles
    slots: torch.Tensor  # [t, S] all slots of all tiles
    part: slice  # these tiles
    block: tuple[int, int, int]  # these slots
    step: Step


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
        plan, tables = job.plan, job.tables
        self._input_pairs = self._tensor(plan.input_pairs)
        self._output_pairs = self._tensor(plan.output_pairs)
        self._node_pairs = self._tensor(plan.node_pairs)
        self._tree = _Tree(tables.paths, plan.node_pairs, self.device) if tables.paths is not None else None

    def _tensor(self, array: np.ndarray | None) -> torch.Tensor | None:
        return None if array is None else torch.from_numpy(array).to(self.device)

    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """Train the chunk's centers, step after step, each from the weights that the last one left."""
        tally = Tally()
        for unit in self.units(chunk, step, tally):
            for update in self.updates(weights, unit, tally):
                update.apply()
        return tally

    def units(self, chunk: Chunk, step: Step, tally: Tally) -> Iterator[Unit]:
        """Sample the chunk and cut it into units of work, in order; the effective words go to the tally."""
        tiles = self.sampler.tiles(chunk, step.draw_key) if chunk.start < chunk.stop else None
        if tiles is None:
            return
        tally.effective_words += tiles.count
        if not len(tiles.centers):
            return
        plan = self.job.plan
        slots = tiles.slots(plan.tile)
        rows = max(stop - start for _, start, stop in self.sampler.blocks(tiles.reach))
        size = max(1, min(plan.step_tiles, _MAX_GATHERED_ROWS // rows))
        for begin in range(0, len(tiles.centers), size):
            for block in self.sampler.blocks(tiles.reach):
                yield Unit(tiles, slots, slice(begin, begin + size), block, step)

    def updates(self, weights: Weights, unit: Unit, tally: Tally) -> list[RowUpdate]:
        """Read the weights and compute what to add to them; nothing is written yet."""
        objective, step = self.job.objective, unit.step
        number, start, stop = unit.block
        words = unit.slots[unit.part, start:stop]  # [b, S]
        context = embedding(words, weights.inputs)  # [b, S, D]
        window = self._window(unit, context.dtype)  # [b, T, S]

        if objective.skip_gram:
            hidden, relation = context, window
            tally.pairs += int(window.sum())
        else:
            contexts = window.sum(2, keepdim=True)  # [b, T, 1]
            share = window / contexts.clamp(min=1) if objective.cbow_mean else window
            hidden = torch.bmm(share, context)  # [b, T, D]
            relation = torch.diag_embed((contexts.squeeze(2) > 0).to(context.dtype))  # [b, T, T]
            tally.pairs += int((contexts > 0).sum())

        pull = torch.zeros_like(hidden)  # what the outputs ask of the hidden rows
        centers = unit.tiles.centers[unit.part]  # [b, T]
        updates = []
        if objective.negative:
            negatives = self.sampler.negatives(step.draw_key, unit.tiles.positions[unit.part], number)
            updates.append(self._negative_sampling(weights, hidden, relation, centers, negatives, pull, step, tally))
        if objective.hierarchical and self._tree is not None:
            updates += self._hierarchical(weights, hidden, relation, centers, pull, step, tally)

        if not objective.skip_gram:
            # gensim hands the whole error to every context row when the hidden row was their mean, and an equal
            # share of it when it was their sum: the opposite of the gradient (docs/parity.md, "CBOW's gradient").
            share = window if objective.cbow_mean else window / contexts.clamp(min=1)
            pull = torch.bmm(share.transpose(1, 2), pull)  # [b, S, D]
        scale = self._scale(self._input_pairs, words, step.alpha, hidden.dtype)
        if weights.input_lock is not None:
            scale = scale * weights.input_lock[words]
        updates.append(RowUpdate(weights.inputs, words, pull.mul_(scale.unsqueeze(2))))
        return updates

    def _window(self, unit: Unit, dtype: torch.dtype) -> torch.Tensor:
        """1 where a slot is a context of a center: [b, T, S]."""
        _, start, stop = unit.block
        slot = torch.arange(start, stop, dtype=torch.int32, device=self.device)  # [S]
        own = torch.arange(self.job.plan.tile, dtype=torch.int32, device=self.device) + unit.tiles.reach
        first, last = unit.tiles.first[unit.part].unsqueeze(2), unit.tiles.last[unit.part].unsqueeze(2)
        inside = (slot >= first).logical_and_(slot <= last).logical_and_(slot != own.unsqueeze(1))
        return inside.to(dtype)

    @staticmethod
    def _scale(pairs: torch.Tensor | None, rows: torch.Tensor, alpha: float, dtype: torch.dtype) -> torch.Tensor:
        """Alpha times the row caps, in the shape of rows: no row is pulled further than MAX_STALE_PULL at once."""
        assert pairs is not None
        return (MAX_STALE_PULL / pairs[rows].to(dtype)).clamp_(max=alpha)

    def _negative_sampling(
        self,
        weights: Weights,
        hidden: torch.Tensor,  # [b, R, D]
        relation: torch.Tensor,  # [b, T, R]
        centers: torch.Tensor,  # [b, T]
        negatives: torch.Tensor,  # [b, N]
        pull: torch.Tensor,  # [b, R, D], added to
        step: Step,
        tally: Tally,
    ) -> RowUpdate:
        assert weights.outputs is not None
        tile, negative = self.job.plan.tile, self.job.objective.negative
        rows = torch.cat([centers, negatives], 1)  # [b, T + N]
        output = embedding(rows, weights.outputs)  # [b, T + N, D]
        grip = torch.bmm(output, hidden.transpose(1, 2))  # [b, T + N, R]: scores, then their pull
        # -Q of the negatives: each stands for K / N of them, but not for centers that are the very same word.
        same = (negatives.unsqueeze(2) == centers.unsqueeze(1)).to(hidden.dtype)  # [b, N, T]
        share = negative / negatives.shape[1]
        weight = torch.baddbmm(relation.sum(1, keepdim=True), same, relation, beta=-share, alpha=share)  # [b, N, R]
        if step.compute_loss:
            loss = (softplus(-grip[:, :tile]) * relation).sum() - (softplus(grip[:, tile:]) * weight).sum()
            tally.loss += float(loss)
        grip.sigmoid_()
        grip[:, :tile].sub_(1).mul_(-relation)
        grip[:, tile:].mul_(weight)
        pull.baddbmm_(grip.transpose(1, 2), output)
        scale = self._scale(self._output_pairs, rows, step.alpha, hidden.dtype).unsqueeze(2)
        return RowUpdate(weights.outputs, rows, torch.bmm(grip.mul_(scale), hidden))

    def _hierarchical(
        self,
        weights: Weights,
        hidden: torch.Tensor,
        relation: torch.Tensor,
        centers: torch.Tensor,
        pull: torch.Tensor,
        step: Step,
        tally: Tally,
    ) -> list[RowUpdate]:
        """Two parts: the dense top of the tree, the same rows for every tile; then each center's own packed path."""
        assert self._tree is not None and weights.nodes is not None
        tree, updates = self._tree, []
        if len(tree.top):
            top = weights.nodes[tree.top]  # [M, D]
            signs = tree.top_signs[centers]  # [b, T, M]: 1 or -1 on the path by label, 0 off it
            crossed = signs.abs().to(hidden.dtype).transpose(1, 2) @ relation  # [b, M, R] = Q
            labels = (signs > 0).to(hidden.dtype).transpose(1, 2) @ relation  # [b, M, R] = P
            score = top @ hidden.transpose(1, 2)  # [b, M, R]
            grip = self._grip(score, labels, crossed, step, tally)
            pull += grip.transpose(1, 2) @ top
            values = torch.tensordot(grip, hidden, dims=([0, 2], [0, 1]))  # [M, D]
            scale = self._scale(self._node_pairs, tree.top, step.alpha, hidden.dtype)
            updates.append(RowUpdate(weights.nodes, tree.top, values.mul_(scale.unsqueeze(1))))
        rows, owner, label = tree.packed_paths(centers)  # [b, U] each
        if rows.shape[1]:
            output = embedding(rows, weights.nodes)  # [b, U, D]
            crossed = relation.gather(1, owner.unsqueeze(2).expand(-1, -1, relation.shape[2]))  # [b, U, R]
            crossed.mul_((label >= 0).unsqueeze(2))  # padding belongs to no center
            labels = crossed * label.clamp(min=0).unsqueeze(2)
            grip = self._grip(torch.bmm(output, hidden.transpose(1, 2)), labels, crossed, step, tally)
            pull.baddbmm_(grip.transpose(1, 2), output)
            scale = self._scale(self._node_pairs, rows, step.alpha, hidden.dtype).unsqueeze(2)
            updates.append(RowUpdate(weights.nodes, rows, torch.bmm(grip.mul_(scale), hidden)))
        return updates

    @staticmethod
    def _grip(
        score: torch.Tensor, labels: torch.Tensor, crossed: torch.Tensor, step: Step, tally: Tally
    ) -> torch.Tensor:
        """P - Q sigmoid(L), and the loss of the same scores."""
        if step.compute_loss:
            tally.loss += float((softplus(score) * crossed - score * labels).sum())
        return labels - crossed * score.sigmoid_()


class _Tree:
    """Huffman paths split into a dense top (few nodes, on nearly every path) and packed rest."""

    def __init__(self, paths: HuffmanPaths, node_pairs: np.ndarray | None, device: torch.device) -> None:
        assert node_pairs is not None
        vocabulary = len(paths.offsets) - 1
        dense = np.sort(np.argsort(-node_pairs, kind="stable")[: min(_DENSE_NODES, max(vocabulary - 1, 0))])
        owner = np.repeat(np.arange(vocabulary), np.diff(paths.offsets))  # [P] word of each path entry
        place = np.full(max(vocabulary, 1), -1, dtype=np.int64)
        place[dense] = np.arange(len(dense))
        slot = place[paths.points]
        on_top = slot >= 0
        signs = np.zeros((vocabulary, len(dense)), dtype=np.int8)
        signs[owner[on_top], slot[on_top]] = np.where(paths.labels[on_top] > 0, 1, -1)

        self.device = device
        self.top = torch.from_numpy(dense).to(device)  # [M]
        self.top_signs = torch.from_numpy(signs).to(device)  # [V, M]
        self._points = torch.from_numpy(paths.points[~on_top].astype(np.int64)).to(device)
        self._labels = torch.from_numpy(paths.labels[~on_top]).to(device)
        lengths = np.bincount(owner[~on_top], minlength=vocabulary)
        self._lengths = torch.from_numpy(lengths).to(device)
        self._starts = torch.from_numpy(np.cumsum(lengths) - lengths).to(device)

    def packed_paths(self, centers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The nodes below the top of all centers of each tile, side by side.

        Parameters
        ----------
        centers : int64 tensor [b, T]

        Returns
        -------
        rows : int64 tensor [b, U]
            Node of each entry; U is the longest tile's number of entries.
        owner : int64 tensor [b, U]
            Which of the T centers the entry belongs to.
        label : float32 tensor [b, U]
            1 - code; -1 marks padding.
        """
        tiles, tile = centers.shape
        lengths = self._lengths[centers]  # [b, T]
        flat = lengths.flatten()
        per_tile = lengths.sum(1)
        width = int(per_tile.max())
        total = int(per_tile.sum())
        center = torch.arange(tiles * tile, device=self.device).repeat_interleave(flat, output_size=total)
        ends = flat.cumsum(0)
        within = torch.arange(total, device=self.device) - (ends - flat)[center]  # place on the center's own path
        tile_starts = per_tile.cumsum(0) - per_tile
        number = center // tile
        target = number * width + torch.arange(total, device=self.device) - tile_starts[number]
        source = self._starts[centers].flatten()[center] + within
        rows = torch.zeros(tiles * width, dtype=torch.int64, device=self.device)
        owner, label = torch.zeros_like(rows), torch.full(rows.shape, -1.0, device=self.device)
        rows[target], owner[target], label[target] = self._points[source], center % tile, self._labels[source]
        return rows.view(tiles, width), owner.view(tiles, width), label.view(tiles, width)

