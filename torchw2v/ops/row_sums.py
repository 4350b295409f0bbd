"""Adding many rows to few: rows of a step that go to the same place are summed first, each place is written once.

On a CPU the sum is torch's embedding_bag, which reads each row once and writes nothing in between; the order of rows
that it needs is prepared for many steps at once, by sorting. Elsewhere rows are added with atomics, unsorted; or, where
the same sums are wanted bit for bit (`ordered`), by torch's own sort and one sum after another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import embedding_bag, pad


def add_rows(matrix: torch.Tensor, rows: torch.Tensor, values: torch.Tensor, *, ordered: bool) -> None:
    """Add values [U, D] to rows [U] of a matrix, in place; rows may repeat.

    Parameters
    ----------
    matrix, rows, values : tensors
    ordered : bool
        In the same order every time, on an accelerator, too: index_put_ sorts the rows there, and is slower for it.
    """
    if ordered:
        matrix.index_put_((rows,), values, accumulate=True)
    else:
        # An index that is expanded, not stored, takes torch's sorted path: 4 times faster than index_add_ on a CPU.
        matrix.scatter_add_(0, rows.unsqueeze(1).expand(-1, values.shape[1]), values)


@dataclass
class RowUpdate:
    """Rows to add to one weight matrix: values [U, D] at rows [U]. `ordered` as in `add_rows`."""

    matrix: torch.Tensor
    rows: torch.Tensor
    values: torch.Tensor
    ordered: bool = False

    def apply(self, columns: slice | None = None) -> None:
        """Add the values in place; rows may repeat. `columns` restricts it to a part of the dimensions."""
        matrix, values = self.matrix, self.values
        if columns is not None:
            matrix, values = matrix[:, columns], values[:, columns]
        add_rows(matrix, self.rows, values, ordered=self.ordered)


@dataclass
class RowSums:
    """Where the M values of a step go, and with which weights.

    Attributes
    ----------
    rows : int64 tensor [U]
        Rows that receive a sum; each once where `starts` is given, else one for each value.
    sources : int64 tensor [M] or None
        Which row of the values each term of the sums is, the terms of rows[0] first; None: in order.
    starts : int64 tensor [U] or None
        First term of each row; None: values are not summed before they are added.
    weights : tensor [M] or None
        Factor of each term, in the order of the terms; None means 1.
    order : int64 tensor [M] or None
        The values' own places, in the order of the terms: for weights that are known only later.
    ordered : bool
        As in `add_rows`.
    """

    rows: torch.Tensor
    sources: torch.Tensor | None = None
    starts: torch.Tensor | None = None
    weights: torch.Tensor | None = None
    order: torch.Tensor | None = None
    ordered: bool = False

    def sums(self, values: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Values [*, D] weighted and summed: [U, D]. `weights` [M], in the values' order, replace those prepared.

        Values that are not summed are weighted in place.
        """
        if weights is None:
            weights = self.weights
        elif self.order is not None:
            weights = weights.index_select(0, self.order)
        if self.starts is not None and self.sources is not None:
            return embedding_bag(self.sources, values, self.starts, mode="sum", per_sample_weights=weights)
        # Values past the last row are of padding.
        values = values[: len(self.rows)] if self.sources is None else values.index_select(0, self.sources)
        return values if weights is None else values.mul_(weights.unsqueeze(1))

    def update(self, matrix: torch.Tensor, values: torch.Tensor, weights: torch.Tensor | None = None) -> RowUpdate:
        """The sums, to be added to a matrix."""
        return RowUpdate(matrix, self.rows, self.sums(values, weights), self.ordered)


def rows_as_they_come(rows: torch.Tensor, weights: torch.Tensor, *, ordered: bool) -> list[RowSums]:
    """Prepare k steps without sums: for rows most of which a step has once, which sorting would not pay for.

    Parameters
    ----------
    rows : int64 tensor [k, M]
    weights : tensor [k, M]
    ordered : bool
        As in `add_rows`.
    """
    return [RowSums(of_step, weights=factor, ordered=ordered) for of_step, factor in zip(rows, weights, strict=True)]


def row_sums(
    rows: torch.Tensor,
    weights: torch.Tensor | None = None,
    sources: torch.Tensor | None = None,
    lengths: list[int] | None = None,
    *,
    ordered: bool = False,
) -> list[RowSums]:
    """Prepare the sums of k steps.

    Parameters
    ----------
    rows : int64 tensor [k, M]
        Where each value goes.
    weights : tensor [k, M], optional
    sources : int64 tensor [k, M], optional
        Which row of the values each entry stands for; entry m is value m if not given.
    lengths : k ints, optional
        Entries of each step that count, from the left; all if not given.
    ordered : bool
        As in `add_rows`; on a CPU they always are.
    """
    ends = lengths or [rows.shape[1]] * len(rows)
    if rows.device.type != "cpu":
        return [
            RowSums(
                rows[k, :n],
                None if sources is None else sources[k, :n],
                weights=None if weights is None else weights[k, :n],
                ordered=ordered,
            )
            for k, n in enumerate(ends)
        ]
    order, target = _sorted(rows, lengths)
    begins = pad(target[:, 1:] != target[:, :-1], (1, 0), value=True)
    if lengths is not None:
        begins.logical_and_(torch.arange(begins.shape[1]) < torch.tensor(lengths).unsqueeze(1))
    first = begins.flatten().nonzero().squeeze(1)  # of each row of each step
    unique = begins.sum(1)
    starts = first - torch.arange(0, target.numel(), target.shape[1]).repeat_interleave(unique)
    parts = unique.tolist()
    of_step = zip(
        target.flatten().index_select(0, first).split(parts),
        order if sources is None else sources.gather(1, order),
        starts.split(parts),
        [None] * len(rows) if weights is None else weights.gather(1, order),
        order,
        ends,
        strict=True,
    )
    return [RowSums(r, s[:n], b, None if w is None else w[:n], o[:n]) for r, s, b, w, o, n in of_step]


@dataclass
class LineSums:
    """Where the M values of a step go on a line of rows.

    Attributes
    ----------
    length : int
    places : int64 tensor [M]
    order : int64 tensor [M] or None
        The values, those of place 0 first; None: they are added as they come.
    starts : int64 tensor [length] or None
        First of each place's values in `order`.
    ordered : bool
        As in `add_rows`.
    """

    length: int
    places: torch.Tensor
    order: torch.Tensor | None = None
    starts: torch.Tensor | None = None
    ordered: bool = False

    def sums(self, values: torch.Tensor) -> torch.Tensor:
        """Sums [length, D] of the values [M, D]; zero where no value goes."""
        if self.order is not None:
            return embedding_bag(self.order, values, self.starts, mode="sum")
        sums = values.new_zeros((self.length, values.shape[1]))
        add_rows(sums, self.places, values, ordered=self.ordered)
        return sums


def line_sums(places: torch.Tensor, length: int, *, ordered: bool = False) -> list[LineSums]:
    """Prepare k steps' sums onto a line.

    Parameters
    ----------
    places : int64 tensor [k, M]
        Where each value goes, in [0, length).
    length : int
    ordered : bool
        As in `add_rows`; on a CPU they always are.
    """
    if places.device.type != "cpu":
        return [LineSums(length, of_step, ordered=ordered) for of_step in places]
    order, _ = _sorted(places)
    counts = torch.zeros((len(places), length), dtype=torch.int64).scatter_add_(1, places, torch.ones_like(places))
    starts = counts.cumsum(1).sub_(counts)
    return [LineSums(length, *of_step) for of_step in zip(places, order, starts, strict=True)]


def _sorted(rows: torch.Tensor, lengths: list[int] | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Places and rows of each step in the order of the rows, int64 [k, M] both; entries past `lengths` come last.

    One sort of (row, place) packed into one number: numpy's is vectorized, six times as fast as torch.sort here.
    """
    count = rows.shape[1]
    bits = max(1, (count - 1).bit_length())
    keys = (rows << bits).bitwise_or_(torch.arange(count)).numpy()
    if lengths is not None:
        keys[np.arange(count) >= np.asarray(lengths)[:, None]] |= 1 << 62  # larger than any row
    keys.sort(axis=1)
    ordered = torch.from_numpy(keys)
    return ordered & ((1 << bits) - 1), ordered >> bits
