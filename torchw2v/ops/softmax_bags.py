"""The examples of one step of the full softmax, before and after the weights are looked at."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from torchw2v.ops.frames import add_tiles, tiles_of


@dataclass
class Bags:
    """Examples of one step, without regard to the weights. b tiles of T centers and S slots on a line of L slots.

    Attributes
    ----------
    line : int64 tensor [L]
        Words of the slots.
    mask : tensor [b, T, S]
        1 where a slot is a context of a center.
    contexts : tensor [b * T, 1]
        Contexts of each center.
    centers : int64 tensor [b * T]
    used : int64 tensor [n]
        Slots that are a context of some center.
    words : int64 tensor [U]
        Their different words, ascending.
    place : int64 tensor [n]
        Place in `words` of each used slot's word.
    pairs : tensor [U, 1]
        (context, center) pairs of each word.
    """

    line: torch.Tensor
    mask: torch.Tensor
    contexts: torch.Tensor
    centers: torch.Tensor
    used: torch.Tensor
    words: torch.Tensor
    place: torch.Tensor
    pairs: torch.Tensor

    @property
    def tile(self) -> int:
        """T."""
        return self.mask.shape[1]

    def slots(self, rows: torch.Tensor) -> torch.Tensor:
        """The tiles [b, S, D] of a line of rows [L, D], as a view."""
        return tiles_of(rows, (len(self.mask), self.tile, self.mask.shape[2]))

    def by_word(self, values: torch.Tensor) -> torch.Tensor:
        """Sum what belongs to the slots of tiles, [b, S, D], by word: [U, D]."""
        line = values.new_zeros((len(self.line), values.shape[2]))
        add_tiles(line, values, self.tile)
        sums = values.new_zeros((len(self.words), values.shape[2]))
        return sums.index_add_(0, self.place, line.index_select(0, self.used))


@dataclass
class Hidden:
    """The hidden rows of a step and what their centers ask of them.

    Attributes
    ----------
    rows : tensor [R, D]
        Skip-gram: the row of each different context word; CBOW: one row a center.
    examples : tensor [R, 1]
        Examples that each row is in.
    pull : tensor [R, D]
        Sum of the centers' output rows over a row's examples.
    """

    rows: torch.Tensor
    examples: torch.Tensor
    pull: torch.Tensor
