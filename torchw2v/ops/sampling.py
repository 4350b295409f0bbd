"""From a chunk of token ids to tiles: subsample, windows, negatives. The only file that says center and context.

    raw tokens   a b b c a | d b ...        one draw each: keep?
    effective    a   b c a | d b ...        one draw each: reach of the window
    tiles        [a b c a d b ... ]         T consecutive centers + `window` tokens of halo on each side

Everything is a pure function of the chunk and the draw key; reference.py says the same in plain loops.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from torchw2v.constants import MAX_BLOCK_ROWS, MAX_GROUPS, UINT32_SPAN
from torchw2v.ops.contract import Chunk, Job
from torchw2v.ops.draws import LANE_KEEP, LANE_NEGATIVES, LANE_WINDOW, DrawKey, draws_torch
from torchw2v.tables import alias_table, noise_probabilities

MAX_RESIDENT_BYTES = 2**33  # tokens kept on an accelerator: 2 G of them; more are copied chunk by chunk


@dataclass(frozen=True)
class Tiles:
    """The effective tokens of a chunk, cut into tiles. n centers, t = ceil(n / T) tiles, W the longest real reach.

    Attributes
    ----------
    words : int64 tensor [m]
        Effective tokens with padding: center i of the chunk stands at words[i + lead].
    first, last : int32 tensor [t, T]
        First and last context of each center, counted from the tile's first halo slot; empty where last < first.
    centers : int64 tensor [t, T]
        Words of the centers; padding repeats word 0 with an empty window.
    positions : int64 tensor [t]
        Corpus position of each tile's first center; part of the key of its negatives.
    reach : int
        W: slots of halo on each side of a tile.
    lead : int
        Padding and halo before the first center.
    count : int
        n, the effective words.
    """

    words: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor
    centers: torch.Tensor
    positions: torch.Tensor
    reach: int
    lead: int
    count: int

    def slots(self, tile: int) -> torch.Tensor:
        """Words at the T + 2W slots of every tile: an overlapping view [t, T + 2W]."""
        return self.line(0, len(self.centers), tile, tile + 2 * self.reach)

    def line(self, start: int, count: int, stride: int, length: int) -> torch.Tensor:
        """Words at `count` lines of slots, `stride` apart, the first from slot `start` on: a view [count, length]."""
        return self.words[self.lead - self.reach + start :].unfold(0, length, stride)[:count]


class Sampler:
    """Draws for one job on one device.

    Parameters
    ----------
    job : Job
    device : torch.device
    """

    def __init__(self, job: Job, device: torch.device) -> None:
        self.job = job
        self.device = device
        self._resident: tuple[np.ndarray, torch.Tensor] | None = None  # a buffer of tokens, and its copy on the device
        thresholds = job.tables.keep_thresholds
        self._keep = torch.from_numpy(thresholds.astype(np.int64)).to(device)
        self._keeps_all = bool((thresholds == UINT32_SPAN - 1).all())
        if job.tables.cumulative is not None:
            noise = alias_table(noise_probabilities(job.tables.cumulative))
            self._accept, self._alias = (torch.from_numpy(x).to(device) for x in (noise.accept, noise.alias))

    def _ids(self, chunk: Chunk, start: int, stop: int) -> torch.Tensor:
        """Token ids [start, stop) of a chunk's buffer. On an accelerator the whole buffer is copied there once."""
        if self.device.type == "cpu" or chunk.token_ids.nbytes > MAX_RESIDENT_BYTES:
            return torch.from_numpy(chunk.token_ids[start:stop]).to(self.device)
        if self._resident is None or self._resident[0] is not chunk.token_ids:
            self._resident = chunk.token_ids, torch.from_numpy(chunk.token_ids).to(self.device)
        return self._resident[1][start:stop]

    def _kept(self, chunk: Chunk, start: int, stop: int, key: DrawKey) -> torch.Tensor:
        """Which tokens of [start, stop) survive subsampling: bool tensor [stop - start]."""
        ids = self._ids(chunk, start, stop)
        if self._keeps_all:
            return torch.ones(len(ids), dtype=torch.bool, device=self.device)
        positions = torch.arange(start, stop, device=self.device) + chunk.first_position
        return draws_torch(key, positions, LANE_KEEP) <= self._keep[ids]

    def _with_halo(self, chunk: Chunk, key: DrawKey) -> tuple[int, int]:
        """Widen [start, stop) until `window` kept tokens or a sentence end lie on each side.

        A chunk cuts a sentence only where the sentence alone is longer than a chunk.
        """
        offsets, window = chunk.sentence_offsets, self.job.objective.window
        floor = int(offsets[np.searchsorted(offsets, chunk.start, side="right") - 1])
        ceiling = int(offsets[np.searchsorted(offsets, chunk.stop, side="left")])
        low, high, width = chunk.start, chunk.stop, window
        while low > floor and int(self._kept(chunk, low, chunk.start, key).sum()) < window:
            low, width = max(floor, chunk.start - width), width * 2
        width = window
        while high < ceiling and int(self._kept(chunk, chunk.stop, high, key).sum()) < window:
            high, width = min(ceiling, chunk.stop + width), width * 2
        return low, high

    def tiles(self, chunk: Chunk, key: DrawKey) -> Tiles | None:
        """Subsample a chunk, draw its windows and cut it into tiles. None when no center has a context."""
        tile, window = self.job.plan.tile, self.job.objective.window
        low, high = self._with_halo(chunk, key)
        offsets = chunk.sentence_offsets
        cut = slice(int(np.searchsorted(offsets, low, side="right")), int(np.searchsorted(offsets, high, side="left")))
        edges = torch.from_numpy(np.concatenate([[low], offsets[cut], [high]]) - low).to(self.device)  # sentence edges

        kept = self._kept(chunk, low, high, key)
        where = kept.nonzero().squeeze(1)  # [m]
        words = self._ids(chunk, low, high)[where].to(torch.int64)
        edges = torch.searchsorted(where, edges)  # now in effective tokens
        halo = int(torch.searchsorted(where, chunk.start - low))
        count = int(torch.searchsorted(where, chunk.stop - low)) - halo
        lengths = edges.diff()
        reach = min(window, int(lengths.max()) - 1) if len(lengths) else 0
        if count == 0 or reach < 1:
            return None if count == 0 else self._without_pairs(count)

        owned = slice(halo, halo + count)
        index = torch.arange(len(where), device=self.device)[owned]
        sentence_first = edges[:-1].repeat_interleave(lengths)[owned]
        sentence_last = (edges[1:] - 1).repeat_interleave(lengths)[owned]
        positions = where[owned] + (chunk.first_position + low)
        if self.job.objective.shrink_windows:
            own_reach = (draws_torch(key, positions, LANE_WINDOW) * window >> 32) + 1  # uniform in 1..window
        else:
            own_reach = torch.full_like(index, window)
        # Count contexts from the first halo slot of the center's tile.
        origin = index - (index - halo) % tile - reach
        first = torch.maximum(index - own_reach, sentence_first) - origin
        last = torch.minimum(index + own_reach, sentence_last) - origin

        tiles = -(-count // tile)
        tail = tiles * tile - count
        pad = torch.nn.functional.pad
        lead = reach + halo
        # A step reads whole groups: at most group - 1 slots past its last tile.
        padded = pad(words, (reach, reach + tail + tile + self.job.plan.group))
        return Tiles(
            words=padded,
            first=pad(first, (0, tail), value=1).to(torch.int32).view(tiles, tile),
            last=pad(last, (0, tail), value=0).to(torch.int32).view(tiles, tile),
            centers=padded[lead : lead + tiles * tile].view(tiles, tile),
            positions=positions[::tile],
            reach=reach,
            lead=lead,
            count=count,
        )

    def _without_pairs(self, count: int) -> Tiles:
        """Tiles of a chunk in which no sentence has two effective words: counted, not trained."""
        empty = torch.zeros(0, dtype=torch.int64, device=self.device)
        none = torch.zeros((0, self.job.plan.tile), dtype=torch.int32, device=self.device)
        return Tiles(empty, none, none, none.to(torch.int64), empty, 0, 0, count)

    def blocks(self, reach: int) -> Iterator[tuple[int, int, int]]:
        """Cut a tile's slots into ranges trained one after another: (number, first slot, past the last slot).

        CBOW needs all contexts at once: one block. In skip-gram each block is a product of its own, so that a
        wide window neither takes unbounded memory nor sums hundreds of stale pairs into one row.
        """
        slots = self.job.plan.tile + 2 * reach
        size = MAX_BLOCK_ROWS if self.job.objective.skip_gram else slots
        for number, start in enumerate(range(0, slots, size)):
            yield number, start, min(start + size, slots)

    def negatives(self, key: DrawKey, positions: torch.Tensor, block: int, groups: int) -> torch.Tensor:
        """Noise words of each step's groups in one block: int64 tensor [k, groups, N].

        Parameters
        ----------
        key : DrawKey
        positions : int64 tensor [k]
            Corpus position of each step's first center.
        block, groups : int
        """
        shared = self.job.plan.shared_negatives
        first = LANE_NEGATIVES + block * MAX_GROUPS * shared
        draws = draws_torch(key, positions, range(first, first + groups * shared)).flatten()
        draws.mul_(len(self._accept))
        column, part = draws >> 32, draws.bitwise_and_(UINT32_SPAN - 1)
        own = part < self._accept.index_select(0, column)
        return torch.where(own, column, self._alias.index_select(0, column)).view(-1, groups, shared)
