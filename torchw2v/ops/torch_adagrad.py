"""AdaGrad by rows in torch operations: a step's rates, and what it adds to the sums of squares.

A row's rate is alpha / sqrt(squares) as the step finds it, or what its cap allows, if that is less. The step then adds
the mean square, over dimensions, of each of its gradients: of every decision of a hidden row against an output row,
as often as it stands for one that gensim would draw. Such sums do not depend on how decisions are cut into steps.

Sources: Duchi et al. 2011 (JMLR 12); one number a row as in PyTorch-BigGraph (Lerer et al. 2019, arXiv:1903.12287).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch.nn.functional import embedding, pad

from torchw2v.ops.contract import Weights
from torchw2v.ops.frames import add_tiles, tiles_of
from torchw2v.ops.row_sums import RowSums, RowUpdate
from torchw2v.ops.torch_nodes import Nodes, PathBags


def mean_squares(rows: torch.Tensor) -> torch.Tensor:
    """Mean square of each row: [*, 1] of [*, D]."""
    return rows.square().mean(-1, keepdim=True)


def rates(squares: torch.Tensor, rows: torch.Tensor, caps: torch.Tensor, alpha: float) -> torch.Tensor:
    """Learning rate of each row, in the shape of the caps, which have as many elements as there are rows."""
    own = squares.index_select(0, rows.flatten()).rsqrt_().mul_(alpha)
    return torch.minimum(own.view_as(caps), caps)


def with_rates(sums: RowSums, squares: torch.Tensor, alpha: float, lock: torch.Tensor | None = None) -> RowSums:
    """Sums whose weights are caps, with rates in their place; rows have to come in the order of the weights."""
    assert sums.weights is not None and sums.sources is None
    scale = rates(squares, sums.rows, sums.weights, alpha)
    return replace(sums, weights=scale if lock is None else scale * lock)


def nodes_with_rates(nodes: Nodes, squares: torch.Tensor, alpha: float) -> Nodes:
    """Huffman nodes whose scales are caps, with rates in their place."""
    return replace(nodes, scale=rates(squares, nodes.rows, nodes.scale, alpha))


@dataclass
class Squares:
    """What one step adds to the sums of squares. `terms` are the squares of pulls, as often as they are drawn.

    Attributes
    ----------
    weights : Weights
    hidden : tensor [R, 1]
        Mean squares of the hidden rows.
    ordered : bool
        As in `row_sums.add_rows`.
    asked : tensor [R, 1]
        What output rows have asked of the hidden rows so far.
    updates : list of RowUpdate
        Of output rows' sums.
    """

    weights: Weights
    hidden: torch.Tensor
    ordered: bool
    asked: torch.Tensor = field(init=False)
    updates: list[RowUpdate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.asked = torch.zeros_like(self.hidden)

    def of_negatives(
        self, terms: torch.Tensor, output: torch.Tensor, grouped: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Terms [g, N, G] and rows [g, N, D] of groups of hidden rows: what is added for the rows, [g * N, 1]."""
        groups, _, group = terms.shape
        met = pad(self.hidden, (0, 0, 0, groups * group - len(self.hidden)))
        asked = torch.empty_like(met)
        grouped(asked).copy_(torch.bmm(terms.transpose(1, 2), mean_squares(output)))
        self.asked += asked[: len(self.asked)]
        return torch.bmm(terms, grouped(met)).flatten(0, 1)

    def of_centers(self, terms: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """Terms [b, T, S] of tiles, or [b * T, 1] of CBOW's hidden rows, and centers [b * T, D]: added, [b * T, 1]."""
        met = mean_squares(output)
        if terms.dim() == 2:
            self.asked += terms * met
            return terms * self.hidden
        tiles, tile, slots = terms.shape
        add_tiles(self.asked, torch.bmm(terms.transpose(1, 2), met.view(tiles, tile, 1)), tile)
        return torch.bmm(terms, tiles_of(self.hidden, (tiles, tile, slots))).view(-1, 1)

    def of_words(self, rows: torch.Tensor, values: list[torch.Tensor]) -> None:
        """What is added for the centers' and negatives' rows."""
        assert self.weights.output_squares is not None
        self.updates.append(_added(self.weights.output_squares, rows, torch.cat(values), self.ordered))

    def of_nodes(self, nodes: Nodes, output: torch.Tensor, scores: torch.Tensor) -> None:
        """Huffman nodes, from what `nodes.meet` gave; the scores are left as they are."""
        assert self.weights.node_squares is not None
        chance = scores.sigmoid()
        # A share `label` of the decisions has label 1: share (1 - p)^2 + (1 - share) p^2.
        terms = (chance - 2 * nodes.label).mul_(chance).add_(nodes.label).mul_(nodes.minus_q).neg_()
        if isinstance(nodes, PathBags):  # whose output is the whole matrix
            met = output.new_zeros((len(output), 1))
            met[nodes.rows] = mean_squares(embedding(nodes.rows, output))
        else:
            met = mean_squares(output)
        self.asked += nodes.pull(met, terms)
        plain = replace(nodes, scale=torch.ones_like(nodes.scale))
        self.updates.append(plain.move(self.weights.node_squares.unsqueeze(1), met, terms, self.hidden)[0])

    def of_inputs(self, line: torch.Tensor, asked: torch.Tensor) -> list[RowUpdate]:
        """What has been asked of the slots [L, 1] goes to their words [L]; all updates."""
        assert self.weights.input_squares is not None
        return [*self.updates, _added(self.weights.input_squares, line, asked, self.ordered)]


def _added(squares: torch.Tensor, rows: torch.Tensor, values: torch.Tensor, ordered: bool) -> RowUpdate:
    return RowUpdate(squares.unsqueeze(1), rows, values, ordered)
