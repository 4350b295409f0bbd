"""From tiles to frames: what k steps read, count and scale, before the kind of outputs matters.

Nothing here depends on the weights' values, so a frame is made for many steps at once, by few and large operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from torchw2v.constants import MAX_STALE_PULL, PAIR_PARTS
from torchw2v.ops.contract import Job, Step, Tally, Weights
from torchw2v.ops.sampling import Sampler, Tiles

MAX_STEP_ROWS = 65_536  # gathered rows of one step at most: 26 MB at 100 dimensions, however wide the windows
_COUNTERS = 2**13  # a power of two: of the pairs summed into a row in one step


@dataclass(frozen=True)
class Part:
    """Tiles that are prepared together: k steps of `size` tiles, in one block of their slots.

    Attributes
    ----------
    tiles : Tiles
    span : slice
        Which of the chunk's tiles; k * size of them.
    size : int
        Tiles in a step, b.
    block, start, stop : int
        Number, first slot and end of the block of slots (`Sampler.blocks`).
    """

    tiles: Tiles
    span: slice
    size: int
    block: int
    start: int
    stop: int

    @property
    def slots(self) -> int:
        """S, the slots of a tile in this block."""
        return self.stop - self.start


@dataclass
class Frame:
    """What k steps of b tiles read and count.

    Attributes
    ----------
    line : int64 tensor [k, L]
        Words of the token slots.
    scale : tensor [k, L]
        Alpha times row caps and locks of the slots.
    centers : int64 tensor [k, b * T]
    low, high, own : int64 tensors [k, b * T]
        First and last context of each center and its own place, on the line; empty where high < low.
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
    low: torch.Tensor
    high: torch.Tensor
    own: torch.Tensor
    contexts: torch.Tensor
    examples: torch.Tensor
    rows: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    row_scale: torch.Tensor = field(default_factory=lambda: torch.empty(0))


def ahead_of(contexts: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Part of its own update that a row is ahead when it meets one of its m partners in a step: (m - 1) / 2m.

    gensim trains pairs one after another: the second context of a center meets an output row that the first has moved,
    and a context's second center meets an input row that the first has moved. In the mean over all orders a partner
    meets that part of the sum of all moves. Leaving it out costs quality, most of all in hierarchical softmax
    (docs/kernels.md, "One after another").
    """
    m = contexts.clamp(min=1).to(dtype)
    return (m - 1) / (2 * m)


def tiles_of(line: torch.Tensor, tiles: tuple[int, int, int]) -> torch.Tensor:
    """The overlapping tiles of a line of rows: a view [b, S, D] of [L, D]."""
    count, tile, slots = tiles
    width = line.shape[1]
    return line.as_strided((count, slots, width), (tile * width, width, 1))


def add_tiles(line: torch.Tensor, values: torch.Tensor, tile: int) -> None:
    """Add values [b, S, D] of overlapping tiles to the line [L, D], in place: T slots of all tiles at a time."""
    for start in range(0, values.shape[1], tile):
        part = values[:, start : start + tile]
        tiles_of(line[start:], (len(part), tile, part.shape[1])).add_(part)


class Frames:
    """Makes frames for one job on one device.

    Parameters
    ----------
    job : Job
    device : torch.device
    ordered : bool
        As in `row_sums.add_rows`.
    """

    def __init__(self, job: Job, device: torch.device, *, ordered: bool = False) -> None:
        self.job, self.device, self.ordered = job, device, ordered
        self.sampler = Sampler(job, device)
        plan = job.plan
        self._pairs = {
            name: torch.from_numpy(pairs).to(device)
            for name, pairs in (
                ("inputs", plan.input_pairs),
                ("outputs", plan.output_pairs),
                ("nodes", plan.node_pairs),
            )
            if pairs is not None
        }

    def parts(self, tiles: Tiles, elements: int) -> Iterator[Part]:
        """Cut a chunk's tiles into parts, in order; windows of one part have about `elements` elements at most."""
        plan, count = self.job.plan, len(tiles.centers)
        blocks = list(self.sampler.blocks(tiles.reach))
        slots = max(stop - start for _, start, stop in blocks)
        size = max(1, min(plan.step_tiles, MAX_STEP_ROWS // slots))
        # Blocks of slots are trained one after another, step by step.
        steps = max(1, elements // (size * plan.tile * slots)) if len(blocks) == 1 else 1
        whole = count - count % size
        spans = [(slice(begin, min(begin + size * steps, whole)), size) for begin in range(0, whole, size * steps)]
        if whole < count:
            spans.append((slice(whole, count), count - whole))  # the last step is a smaller one
        low, high = self._reaches(tiles) if len(blocks) > 1 else ([0] * count, [slots] * count)
        for span, in_step in spans:
            first, last = min(low[span]), max(high[span])
            for block in blocks:
                if block[1] <= last and first < block[2]:  # in a basket of 10,000 half of the blocks hold no pair
                    yield Part(tiles, span, in_step, *block)

    @staticmethod
    def _reaches(tiles: Tiles) -> tuple[list[int], list[int]]:
        """First and last slot of each tile that is a context of one of its centers."""
        none = tiles.last < tiles.first
        first, last = tiles.first.masked_fill(none, tiles.words.numel()), tiles.last.masked_fill(none, -1)
        return first.amin(1).tolist(), last.amax(1).tolist()

    def make(self, weights: Weights, part: Part, step: Step, tally: Tally, *, locked: bool = True) -> Frame:
        """What all kinds of outputs need: slots, counts, caps, negatives. Pairs go to the tally.

        `locked`: `scale` has the locks in it.
        """
        objective, plan, dtype = self.job.objective, self.job.plan, weights.inputs.dtype
        tiles, size, tile = part.tiles, part.size, plan.tile
        centers = tiles.centers[part.span].view(-1, size * tile)  # [k, b * T]
        slots = (size - 1) * tile + part.slots
        hidden = slots if objective.skip_gram else centers.shape[1]
        groups = -(-hidden // plan.group) if objective.negative else 0
        length = max(slots, groups * plan.group) if objective.skip_gram else slots

        line = tiles.line(part.span.start * tile + part.start, len(centers), size * tile, length)  # [k, L]
        low, high, own = self._windows_on_line(part)
        contexts, pairs_of_slot = self._pairs_of(low, high, own, length)
        pulled = pairs_of_slot.to(dtype)
        if objective.counts_shares:
            pulled.div_(PAIR_PARTS)
        scale = self.scale("inputs", line, pulled, step.alpha)  # [k, L]
        if locked and weights.input_lock is not None:
            scale = scale * weights.input_lock[line]
        pairs = contexts if objective.skip_gram else contexts.clamp(max=1)  # one example a center in CBOW
        tally.pairs += int(pairs.sum())
        examples = pairs_of_slot if objective.skip_gram else pairs
        frame = Frame(line, scale, centers, low, high, own, contexts, examples)
        if objective.negative:
            key_positions = tiles.positions[part.span][::size]
            negatives = self.sampler.negatives(step.draw_key, key_positions, part.block, groups)  # [k, g, N]
            frame.rows = torch.cat([centers, negatives.flatten(1)], 1)
            # A negative's pull is weaker than a center's: its pairs count once, not K times (as in schedule.py).
            count = groups * plan.shared_negatives
            once = frame.examples.sum(1, keepdim=True, dtype=dtype).div_(count).expand(-1, count)
            frame.row_scale = self.scale("outputs", frame.rows, torch.cat([pairs.to(dtype), once], 1), step.alpha)
        return frame

    def _windows_on_line(self, part: Part) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """First and last context and own place of each center, on the line of its step: int64 [k, b * T] each."""
        size, tile = part.size, self.job.plan.tile
        origin = (torch.arange(size, device=self.device) * tile - part.start).view(1, size, 1)

        def on_line(slots: torch.Tensor) -> torch.Tensor:  # slots of tiles [t, T] to places of lines
            return (slots.reshape(-1, size, tile) + origin).view(-1, size * tile)

        first = part.tiles.first[part.span].clamp(min=part.start)
        last = part.tiles.last[part.span].clamp(max=part.stop - 1)
        own = (torch.arange(tile, device=self.device) + part.tiles.reach).expand_as(first)
        return on_line(first), on_line(last), on_line(own)

    def _pairs_of(
        self, low: torch.Tensor, high: torch.Tensor, own: torch.Tensor, length: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Pairs of each center and of each slot of the line: int64 [k, b * T] and [k, L].

        Where contexts share an error, a slot's are counted in parts of a pair.
        """
        itself = (own >= low).logical_and_(own <= high).to(torch.int64)
        ones = (high >= low).to(torch.int64)
        contexts = (high - low + 1).mul_(ones).sub_(itself)
        if self.job.objective.counts_shares:
            ones, itself = (of_center * (PAIR_PARTS // contexts.clamp(min=1)) for of_center in (ones, itself))
        # A center adds 1 to the slots low..high, itself left out: differences of a running sum.
        changes = torch.zeros((len(low), length + 1), dtype=torch.int64, device=self.device)
        changes.scatter_add_(1, low.clamp(0, length), ones)
        changes.scatter_add_(1, (high + 1).clamp(0, length), -ones)
        of_slot = changes.cumsum(1)[:, :length]
        return contexts, of_slot.scatter_add_(1, own.clamp(0, length - 1), -itself)

    def windows(self, part: Part, dtype: torch.dtype) -> torch.Tensor:
        """A of skip-gram: 1 where a slot is a context of a center. [t, T, S]"""
        tiles = part.tiles
        slot = torch.arange(part.start, part.stop, dtype=torch.int32, device=self.device)  # [S]
        own = torch.arange(self.job.plan.tile, dtype=torch.int32, device=self.device) + tiles.reach
        first, last = tiles.first[part.span].unsqueeze(2), tiles.last[part.span].unsqueeze(2)
        inside = (slot >= first).logical_and_(slot <= last).logical_and_(slot != own.unsqueeze(1))
        return inside.to(dtype)

    def scale(self, matrix: str, rows: torch.Tensor, pairs: torch.Tensor, alpha: float) -> torch.Tensor:
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
        # Counters of each step. Rows whose low bits agree share one: the cap errs to the safe side.
        counter = rows & (_COUNTERS - 1)
        counts = torch.zeros((len(rows), _COUNTERS), dtype=pairs.dtype, device=self.device)
        if self.ordered:  # pairs of negatives are fractions: their sum depends on its order
            step = torch.arange(len(rows), device=self.device).unsqueeze(1).expand_as(counter)
            counts.index_put_((step, counter), pairs, accumulate=True)
        else:
            counts.scatter_add_(1, counter, pairs)
        counted = counts.gather(1, counter)
        return self.cap(matrix, rows, counted, alpha)

    def cap(self, matrix: str, rows: torch.Tensor, counted: torch.Tensor, alpha: float) -> torch.Tensor:
        """Alpha times min(1, MAX_STALE_PULL / (alpha * pairs)), pairs being those counted or expected."""
        expected = self._pairs[matrix].index_select(0, rows.reshape(-1)).view(rows.shape).to(counted.dtype)
        return torch.maximum(expected, counted).reciprocal_().mul_(MAX_STALE_PULL).clamp_(max=alpha)
