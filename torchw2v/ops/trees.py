"""Huffman paths as tensors: what nearly every path crosses is split from the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from torchw2v.ops.contract import HuffmanPaths


@dataclass(frozen=True)
class SplitPaths:
    """Huffman paths in two parts: a dense top, and the rest, packed.

    Attributes
    ----------
    signs : int8 array [V, M]
        1 where the top's node is on a word's path with label 1, -1 with label 0, 0 off the path.
    points : int32 array [P]
        Nodes of the rest, one word's path after the other.
    labels : float32 array [P]
    lengths : int64 array [V]
        Entries of each word's rest.
    """

    signs: np.ndarray
    points: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray


def split_paths(paths: HuffmanPaths, dense: np.ndarray) -> SplitPaths:
    """Take the nodes `dense` (int64 array [M]) out of all paths."""
    vocabulary = len(paths.offsets) - 1
    owner = np.repeat(np.arange(vocabulary), np.diff(paths.offsets))  # [P] word of each path entry
    place = np.full(vocabulary, -1, dtype=np.int64)
    place[dense] = np.arange(len(dense))
    slot = place[paths.points]
    on_top = slot >= 0
    signs = np.zeros((vocabulary, len(dense)), dtype=np.int8)
    signs[owner[on_top], slot[on_top]] = np.where(paths.labels[on_top] > 0, 1, -1)
    lengths = np.bincount(owner[~on_top], minlength=vocabulary)
    return SplitPaths(signs, paths.points[~on_top], paths.labels[~on_top], lengths)


class Tree:
    """Huffman paths split into a dense top (few nodes, on nearly every path) and a packed rest.

    Parameters
    ----------
    paths : HuffmanPaths
    busiest : int64 array
        The nodes that most paths cross.
    dense_top : bool
        Take them out of the packed paths.
    device : torch.device

    Attributes
    ----------
    top : int64 tensor [M]
        Nodes of the top; empty without one.
    top_signs : int8 tensor [V, M]
        1 where the top's node is on a word's path with label 1, -1 with label 0, 0 off the path.
    shared : bool tensor [V]
        The node is one of the busiest, so that many centers move it at once.
    """

    def __init__(self, paths: HuffmanPaths, busiest: np.ndarray, dense_top: bool, device: torch.device) -> None:
        vocabulary = len(paths.offsets) - 1
        dense = busiest if dense_top else busiest[:0]
        split = split_paths(paths, dense)
        self.device = device
        self.top = torch.from_numpy(dense).to(device)
        self.top_signs = torch.from_numpy(split.signs).to(device)
        self.shared = torch.from_numpy(np.isin(np.arange(vocabulary), busiest)).to(device)
        self._points = torch.from_numpy(split.points.astype(np.int64)).to(device)
        self._labels = torch.from_numpy(split.labels).to(device)
        self._lengths = torch.from_numpy(split.lengths).to(device)
        self._starts = torch.from_numpy(np.cumsum(split.lengths) - split.lengths).to(device)

    def lengths(self, centers: torch.Tensor) -> torch.Tensor:
        """Entries of each center's packed path, in the shape of `centers`."""
        return self._lengths[centers]

    def packed_paths(self, centers: torch.Tensor, multiple: int = 1) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The nodes below the top of all centers of a tile or step, side by side.

        Parameters
        ----------
        centers : int64 tensor [t, T]
        multiple : int
            Entries are padded to a multiple of this.

        Returns
        -------
        rows : int64 tensor [t, U]
            Node of each entry; U is the longest tile's number of entries.
        owner : int64 tensor [t, U]
            Which of the T centers the entry belongs to; of padding, the last one.
        label : float32 tensor [t, U]
            1 - code; -1 marks padding.
        """
        tiles, tile = centers.shape
        lengths = self._lengths[centers]  # [t, T]
        flat, per_tile = lengths.flatten(), lengths.sum(1)
        width, total = -(-int(per_tile.max()) // multiple) * multiple, int(per_tile.sum())
        center = torch.arange(tiles * tile, device=self.device).repeat_interleave(flat, output_size=total)
        before = flat.cumsum(0).sub_(flat)  # entries of the centers before
        entry = torch.arange(total, device=self.device)
        source = entry + (self._starts[centers].flatten() - before).index_select(0, center)
        if tiles == 1 and width == total:
            rows, label = self._points.index_select(0, source), self._labels.index_select(0, source)
            return rows.unsqueeze(0), center.unsqueeze(0), label.unsqueeze(0)
        number = torch.arange(tiles, device=self.device).repeat_interleave(per_tile, output_size=total)
        shift = torch.arange(tiles, device=self.device).mul_(width).sub_(per_tile.cumsum(0).sub_(per_tile))
        target = entry.add_(shift.index_select(0, number))
        rows = torch.zeros(tiles * width, dtype=torch.int64, device=self.device)
        owner = torch.full_like(rows, tile - 1)
        label = torch.full(rows.shape, -1.0, device=self.device)
        rows.index_copy_(0, target, self._points.index_select(0, source))
        owner.index_copy_(0, target, center.sub_(number.mul_(tile)))
        label.index_copy_(0, target, self._labels.index_select(0, source))
        return rows.view(tiles, width), owner.view(tiles, width), label.view(tiles, width)
