"""AdaGrad by rows under the full softmax: what the examples of a step add to the sums of squares.

A round is one example here, a hidden row h whose center c is chosen among all words with chances p. Its gradients are
(p_w - [w = c]) h for output row w and E - z_c for h, with E = sum_w p_w z_w. A step has each different hidden row once,
with q examples, so the squares of the examples follow from sums over them:

    outputs: sum over the hidden rows of q p_w^2 |h|^2, and of (1 - 2 p_w) |h|^2 over those that w is the center of
    inputs:  |q E|^2 / q - 2 (q E).(sum z_c) / q + sum |z_c|^2, sums over the centers of h
"""

from __future__ import annotations

import torch

from torchw2v.ops.contract import Weights
from torchw2v.ops.softmax_bags import Bags, Hidden
from torchw2v.ops.torch_adagrad import mean_squares


class Squares:
    """Rates of a step's rows, and what the step adds to their sums of squares.

    Parameters
    ----------
    weights : Weights
    bags : Bags
    hidden : Hidden
        Its pull still is the sum of the centers' rows.
    normalizers : tensor [R]
    skip_gram : bool
    """

    def __init__(
        self, weights: Weights, bags: Bags, hidden: Hidden, normalizers: torch.Tensor, *, skip_gram: bool
    ) -> None:
        assert weights.input_squares is not None and weights.output_squares is not None
        self._inputs, self._outputs = weights.input_squares, weights.output_squares
        self._bags, self._skip_gram = bags, skip_gram
        self._normalizers, self._examples = normalizers, hidden.examples.clamp(min=1)  # [R], [R, 1]
        self._hidden = mean_squares(hidden.rows)  # [R, 1]
        self._centers, self._center_squares = hidden.pull.clone(), torch.zeros_like(self._hidden)
        self._new = torch.zeros_like(self._outputs).unsqueeze(1)  # [V, 1] for the outputs

    def of_centers(self, centers: torch.Tensor, hidden: torch.Tensor) -> None:
        """Centers' rows [b * T, D] against their hidden rows: skip-gram's slots [b, S, D], CBOW's own [b * T, D]."""
        bags = self._bags
        if self._skip_gram:
            shape = bags.mask.shape
            line = self._normalizers.new_full((len(bags.line), 1), torch.inf)  # no chance where no example is
            line[bags.used] = self._normalizers[bags.place].unsqueeze(1)
            met = self._hidden.new_zeros((len(bags.line), 1))
            met[bags.used] = self._hidden[bags.place]
            scores = torch.bmm(centers.view(*shape[:2], -1), hidden.transpose(1, 2))
            chances = scores.sub_(bags.slots(line).transpose(1, 2)).exp_()
            added = torch.bmm(bags.mask * (1 - 2 * chances), bags.slots(met)).view(-1, 1)
            of_tiles = mean_squares(centers).view(*shape[:2], 1)
            self._center_squares = bags.by_word(torch.bmm(bags.mask.transpose(1, 2), of_tiles))
        else:
            some = bags.contexts.clamp(max=1)
            chances = (hidden * centers).sum(1, keepdim=True).sub_(self._normalizers.unsqueeze(1)).exp_()
            added = some * (1 - 2 * chances) * self._hidden
            self._center_squares = some * mean_squares(centers)
        self._new.index_add_(0, bags.centers, added)

    def of_block(self, block: slice, expected: torch.Tensor) -> None:
        """A block of output rows, each as the center of nothing; `expected` is q p, [R, B]."""
        self._new[block] += torch.mm((expected.square() / self._examples).t(), self._hidden)

    def output_rates(self, block: slice, alpha: float) -> torch.Tensor:
        """Learning rates of a block of output rows: [B, 1]."""
        return self._outputs[block].rsqrt().mul_(alpha).unsqueeze(1)

    def input_rates(self, alpha: float) -> torch.Tensor:
        """Learning rates of the words' rows: [U, 1]."""
        return self._inputs[self._bags.words].rsqrt_().mul_(alpha).unsqueeze(1)

    def add(self, pull: torch.Tensor, share: torch.Tensor) -> None:
        """Add all of it to the sums. `pull` is sum z_c - q E, [R, D]; `share` [b, T, S] as the error comes back."""
        asked = self._centers - pull
        squares = (asked.square() - 2 * asked * self._centers).mean(1, keepdim=True)
        squares = squares.div_(self._examples).add_(self._center_squares).clamp_(min=0)
        if not self._skip_gram:
            squares = self._bags.by_word(torch.bmm(share.square().transpose(1, 2), squares.view(*share.shape[:2], 1)))
        self._inputs.index_add_(0, self._bags.words, squares.squeeze(1))
        self._outputs.add_(self._new.squeeze(1).clamp_(min=0))
