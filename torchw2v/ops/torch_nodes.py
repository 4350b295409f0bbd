"""Hierarchical softmax in torch operations: hidden rows meet the Huffman nodes on their centers' paths.

Three forms of one arithmetic, chosen by what is cheap where:

* TopNodes: the few nodes that nearly every path crosses, all of them against all hidden rows: one plain product.
* PathBlocks: the rest of the paths, center after center, in blocks of 32 entries; each block against the stretch of
  hidden rows that its centers' windows span. Skip-gram; and CBOW on an accelerator.
* PathBags: whole paths as sparse rows, in CBOW on a CPU, where a center has one hidden row and a product of blocks
  would waste most of itself.

Each is trained in three moves: `meet` (scores, and the pull of every example), `pull` (what the nodes ask of the hidden
rows) and `move` (what is added to the nodes).

Source of the objective: Mikolov et al. 2013a (arXiv:1301.3781); gensim's w2v_fast_sentence_sg_hs and _cbow_hs.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch.nn.functional import embedding, embedding_bag, pad

from torchw2v.constants import NODE_PULL
from torchw2v.ops.frames import Frame, Frames, ahead_of
from torchw2v.ops.losses import logistic_loss
from torchw2v.ops.row_sums import LineSums, RowSums, RowUpdate, line_sums, row_sums
from torchw2v.ops.trees import Tree

_ENTRIES = 32  # path entries of a block: about five centers, whose windows of 5 span about 18 slots


@dataclass
class TopNodes:
    """The top of the tree in one step.

    Attributes
    ----------
    rows : int64 tensor [M]
    label : tensor [R, M]
        Share of a hidden row's examples at a node that have label 1.
    minus_q : tensor [R, M]
        Minus the examples of a hidden row at a node.
    scale : tensor [M, 1]
        Alpha times the row caps.
    """

    rows: torch.Tensor
    label: torch.Tensor
    minus_q: torch.Tensor
    scale: torch.Tensor

    def meet(self, matrix: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The nodes' rows [M, D] and their scores [R, M] with the hidden rows [R, D]."""
        output = embedding(self.rows, matrix)
        return output, torch.mm(hidden, output.t())

    def pull(self, output: torch.Tensor, grip: torch.Tensor) -> torch.Tensor:
        """What the nodes ask of the hidden rows: [R, D]."""
        return torch.mm(grip, output)

    def move(
        self, matrix: torch.Tensor, output: torch.Tensor, grip: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[RowUpdate, torch.Tensor]:
        """The nodes' update, and their rows as the hidden rows meet them."""
        return RowUpdate(matrix, self.rows, torch.mm(grip.t(), hidden).mul_(self.scale)), output


@dataclass
class PathBlocks:
    """Path entries of one step in B blocks of E, each with the S hidden rows that it may meet.

    Attributes
    ----------
    rows : int64 tensor [B, E]
    places : int64 tensor [B, S]
        Hidden rows of a block.
    label : tensor [B, E, 1]
    minus_q : tensor [B, E, S]
        -1 where the hidden row is an example of the entry's center.
    scale : tensor [B, E, 1]
        Alpha times the row caps.
    ahead : tensor [B, E, 1]
        `ahead_of` the center's contexts.
    sums : RowSums
        Of the entries, by node.
    fold : LineSums
        Of the blocks' hidden rows, by place.
    """

    rows: torch.Tensor
    places: torch.Tensor
    label: torch.Tensor
    minus_q: torch.Tensor
    scale: torch.Tensor
    ahead: torch.Tensor
    sums: RowSums
    fold: LineSums

    def meet(self, matrix: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The nodes' rows [B, E, D] and their scores [B, E, S]."""
        output = embedding(self.rows, matrix)
        return output, torch.bmm(output, embedding(self.places, hidden).transpose(1, 2))

    def pull(self, output: torch.Tensor, grip: torch.Tensor) -> torch.Tensor:
        """What the nodes ask of the hidden rows: [R, D]."""
        return self.fold.sums(torch.bmm(grip.transpose(1, 2), output).flatten(0, 1))

    def move(
        self, matrix: torch.Tensor, output: torch.Tensor, grip: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[RowUpdate, torch.Tensor]:
        """The nodes' update, and their rows as the hidden rows meet them, ahead by a part of their own update."""
        values = torch.bmm(grip, embedding(self.places, hidden)).mul_(self.scale)  # [B, E, D]
        return self.sums.update(matrix, values.flatten(0, 1)), torch.addcmul(output, values, self.ahead)


@dataclass
class PathBags:
    """Whole paths of one step as a sparse matrix: hidden rows by nodes.

    Attributes
    ----------
    crow : int64 tensor [R + 1]
        First entry of each hidden row's path.
    rows : int64 tensor [P]
    label, minus_q : tensors [P]
    scale : tensor [P]
        Alpha times the row caps.
    sums : RowSums
        Of the hidden rows, by node.
    """

    crow: torch.Tensor
    rows: torch.Tensor
    label: torch.Tensor
    minus_q: torch.Tensor
    scale: torch.Tensor
    sums: RowSums

    def meet(self, matrix: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The nodes' matrix itself, and the scores of all entries [P]."""
        shape = (len(hidden), len(matrix))
        entries = torch.sparse_csr_tensor(
            self.crow, self.rows, torch.zeros_like(self.label), shape, check_invariants=False
        )
        return matrix, torch.sparse.sampled_addmm(entries, hidden, matrix.t(), beta=0.0).values()

    def pull(self, output: torch.Tensor, grip: torch.Tensor) -> torch.Tensor:
        """What the nodes ask of the hidden rows: [R, D]."""
        return embedding_bag(
            self.rows, output, self.crow, mode="sum", per_sample_weights=grip, include_last_offset=True
        )

    def move(
        self, matrix: torch.Tensor, output: torch.Tensor, grip: torch.Tensor, hidden: torch.Tensor
    ) -> tuple[RowUpdate, torch.Tensor]:
        """The nodes' update, and their matrix."""
        return self.sums.update(matrix, hidden, grip * self.scale), output


Nodes = TopNodes | PathBlocks | PathBags


def pull_of(nodes: Nodes, scores: torch.Tensor) -> torch.Tensor:
    """Q * (label - sigmoid(score)) of every example, in place of the scores."""
    return scores.sigmoid_().sub_(nodes.label).mul_(nodes.minus_q)


def loss_of(nodes: Nodes, scores: torch.Tensor) -> float:
    """Sum of -log sigmoid(+-score) over all examples."""
    weight = -nodes.minus_q
    return float(logistic_loss(scores, weight, nodes.label * weight).sum())


class NodesOf:
    """Prepares the nodes of many steps for one job.

    Parameters
    ----------
    frames : Frames
    tree : Tree
    bags : bool
        Whole paths as PathBags; else a dense top and PathBlocks.
    """

    def __init__(self, frames: Frames, tree: Tree, *, bags: bool) -> None:
        self._frames = frames
        self._tree = tree
        self._bags = bags
        self._skip_gram = frames.job.objective.skip_gram
        if bags:
            with warnings.catch_warnings():  # torch says once in a process that sparse CSR is in beta
                warnings.simplefilter("ignore", UserWarning)
                torch.sparse_csr_tensor([0, 0], [], [], (1, 1), dtype=torch.float32, check_invariants=False)

    def prepare(self, frame: Frame, window: torch.Tensor, alpha: float) -> list[list[Nodes]]:
        """Nodes of each of k steps. `window` is A of skip-gram, [t, T, S]."""
        dtype = window.dtype
        if self._bags:
            return self._path_bags(frame, dtype, alpha)
        kinds: list[list[Nodes]] = [[] for _ in frame.line]
        if len(self._tree.top):
            for kind, top in zip(kinds, self._top(frame, window, alpha), strict=True):
                kind.append(top)
        for kind, blocks in zip(kinds, self._path_blocks(frame, dtype, alpha), strict=True):
            kind.extend(blocks)
        return kinds

    def _top(self, frame: Frame, window: torch.Tensor, alpha: float) -> list[TopNodes]:
        signs = self._tree.top_signs[frame.centers]  # [k, b * T, M]: 1 or -1 on the path by label, 0 off it
        both = torch.cat([signs.abs(), signs > 0], 2).to(window.dtype)
        if self._skip_gram:
            both = self._onto_line(torch.bmm(window.transpose(1, 2), both.view(*window.shape[:2], -1)), frame)
        else:
            both.mul_(frame.examples.unsqueeze(2))
        on_path, positive = both.chunk(2, 2)  # [k, R, M]
        rows = self._tree.top.expand(len(signs), -1)
        scale = self._frames.cap("nodes", rows, on_path.sum(1).div_(NODE_PULL), alpha).unsqueeze(2)
        label = positive / on_path.clamp(min=1)
        parts = zip(rows, label, on_path.neg(), scale, strict=True)
        return [TopNodes(*part) for part in parts]

    def _onto_line(self, of_slots: torch.Tensor, frame: Frame) -> torch.Tensor:
        """Sum what belongs to the slots of tiles, [t, S, C], onto the lines of k steps: [k, L, C]."""
        (steps, length), tile = frame.line.shape, self._frames.job.plan.tile
        _, slots, width = of_slots.shape
        of_slots = of_slots.view(steps, -1, slots, width)
        lines = of_slots.new_zeros((steps, length, width))
        for start in range(0, slots, tile):
            part = of_slots[:, :, start : start + tile]
            stride = (length * width, tile * width, width, 1)
            lines.as_strided(part.shape, stride, start * width).add_(part)
        return lines

    def _path_blocks(self, frame: Frame, dtype: torch.dtype, alpha: float) -> list[list[PathBlocks]]:
        rows, owner, label = self._tree.packed_paths(frame.centers, _ENTRIES)  # [k, U] each
        steps, entries = rows.shape
        if not entries:
            return [[] for _ in range(steps)]
        if self._skip_gram:
            low, high, own = (x.gather(1, owner) for x in (frame.low, frame.high, frame.own))
            hidden = frame.line.shape[1]
        else:
            low = high = owner
            own, hidden = torch.full_like(owner, -1), frame.centers.shape[1]
        contexts = frame.contexts.gather(1, owner).mul_(label >= 0)  # none for padding, whose label is -1
        idle = contexts == 0
        base = low.masked_fill(idle, hidden).view(steps, -1, _ENTRIES).amin(2, keepdim=True)  # [k, B, 1]
        end = high.masked_fill(idle, -1).view(steps, -1, _ENTRIES).amax(2, keepdim=True)
        span = max(1, int((end - base).max()) + 1)
        base = base.clamp(max=hidden - span)
        slot = torch.arange(span, device=rows.device)

        def from_base(place: torch.Tensor) -> torch.Tensor:  # [k, B, E, 1]
            return (place.view(steps, -1, _ENTRIES) - base).to(torch.int32).unsqueeze(3)

        of_block = slot.to(torch.int32)
        inside = (of_block >= from_base(low)).logical_and_(of_block <= from_base(high.masked_fill(idle, -1)))
        minus_q = inside.logical_and_(of_block != from_base(own)).to(dtype).neg_()  # [k, B, E, S]
        places = base + slot  # [k, B, S]

        pairs = contexts if self._skip_gram else contexts.clamp(max=1)
        scale = self._frames.scale("nodes", rows, pairs.to(dtype).div_(NODE_PULL), alpha)
        ahead = ahead_of(contexts, dtype) if self._skip_gram else torch.zeros_like(scale)
        lengths = (label >= 0).sum(1).tolist()
        shape = (steps, -1, _ENTRIES)
        parts = zip(
            rows.view(shape),
            places,
            label.to(dtype).view(*shape, 1),
            minus_q,
            scale.view(*shape, 1),
            ahead.view(*shape, 1),
            row_sums(rows, lengths=lengths, ordered=self._frames.ordered),
            line_sums(places.flatten(1), hidden, ordered=self._frames.ordered),
            strict=True,
        )
        return [[PathBlocks(*part)] for part in parts]

    def _path_bags(self, frame: Frame, dtype: torch.dtype, alpha: float) -> list[list[Nodes]]:
        rows, owner, label = self._tree.packed_paths(frame.centers)  # [k, P] each
        if not rows.shape[1]:  # a vocabulary of one word has no tree
            return [[] for _ in rows]
        crow = pad(self._tree.lengths(frame.centers).cumsum(1), (1, 0))
        examples = frame.examples.gather(1, owner).to(dtype).mul_(label >= 0)
        scale = self._frames.scale("nodes", rows, examples / NODE_PULL, alpha)
        lengths = crow[:, -1].tolist()
        sums = row_sums(rows, sources=owner, lengths=lengths, ordered=self._frames.ordered)
        minus_q, label = examples.neg_(), label.to(dtype)
        return [
            [PathBags(crow[k], rows[k, :n], label[k, :n], minus_q[k, :n], scale[k, :n], sums[k])] if n else []
            for k, n in enumerate(lengths)
        ]
