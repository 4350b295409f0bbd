"""From a chunk of token ids to kept tokens and counters on the device: launches of triton_sampling.py.

The host asks for work and never for a result: sizes are bounded by what it knows (raw tokens, the longest sentence),
and how much of that is there only the device knows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import triton

from torchw2v.constants import MAX_BLOCK_ROWS, MAX_GROUPS, PAIR_PARTS, UINT32_SPAN
from torchw2v.ops.contract import Chunk, Job, Objective
from torchw2v.ops.device_tokens import DeviceTokens
from torchw2v.ops.draws import LANE_NEGATIVES, DrawKey, signed
from torchw2v.ops.trees import split_paths
from torchw2v.ops.triton_sampling import COUNT, KINDS, compact, count_kept, count_pairs, measure_reach
from torchw2v.tables import alias_table, busiest_nodes, noise_probabilities, positive_share

_BLOCK = 1024  # tokens of one program of subsampling
ENTRIES = 32  # Huffman path entries of one product
BAG_SLOTS = 64  # of a CBOW tile in one product; wider bags are walked so many at a time
_MIN_COUNTERS, _MAX_COUNTERS = 2**10, 2**13  # of a step and kind of row; powers of two
_HALO_SHARE, _HALO_TOKENS, _MAX_HALO = 8, 1024, 2**22  # see `Chunks.range_of`


def power_of_two(n: int) -> int:
    """The least block size that Triton's products take and that holds n: a power of two, at least 16."""
    return max(16, triton.next_power_of_2(n))


def pair_parts(objective: Objective) -> int:
    """Parts of a pair in which an input row's are counted."""
    return PAIR_PARTS if objective.counts_shares else 1


class DeviceTables:
    """The vocabulary's tables and the plan's expected pairs on a device, as small as the kernels can read them.

    Parameters
    ----------
    job : Job
    device : torch.device

    Attributes
    ----------
    keep : int32 tensor [V]
        Keep thresholds, uint32 bit patterns.
    keeps_all : bool
    least_kept : float
        Chance of the word that subsampling keeps least often.
    alias : int32 tensor [V, 2]
        Alias table: acceptance (uint32 bit patterns) and alias. A column that always gives its own word has itself as
        alias, so that 2^32 need not be told from 2^32 - 1.
    share : float32 tensor [V]
        `positive_share`.
    top : int32 tensor [M]; top_count : int
        The busiest Huffman nodes, and how many there are.
    top_signs : int8 tensor [V, M]
        1 where the node is on the word's path with label 1, -1 with label 0.
    starts : int64 tensor [V + 1]; paths : int32 tensor [P]
        The rest of all paths, packed: 2 * node + label.
    path : int
        Entries of the longest such path.
    pairs : dict of float32 tensors
        Expected pairs by matrix name (Plan).
    """

    def __init__(self, job: Job, device: torch.device) -> None:
        def there(array: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(array).to(device)

        tables, plan = job.tables, job.plan
        self.keep = there(tables.keep_thresholds.view(np.int32).copy())
        self.keeps_all = bool((tables.keep_thresholds == UINT32_SPAN - 1).all())
        self.least_kept = (float(tables.keep_thresholds.min()) + 1) / UINT32_SPAN
        expected = {"inputs": plan.input_pairs, "outputs": plan.output_pairs, "nodes": plan.node_pairs}
        self.pairs = {name: there(pairs) for name, pairs in expected.items() if pairs is not None}
        nothing = torch.zeros(1, dtype=torch.int32, device=device)
        self.alias = self.share = self.top = self.top_signs = self.starts = self.paths = nothing
        self.path = self.top_count = 0
        if tables.cumulative is not None:
            noise = alias_table(noise_probabilities(tables.cumulative))
            always = noise.accept >= UINT32_SPAN
            accept = np.minimum(noise.accept, UINT32_SPAN - 1).astype(np.uint32).view(np.int32)
            alias = np.where(always, np.arange(len(accept)), noise.alias).astype(np.int32)
            self.alias = there(np.stack([accept, alias], 1))
            self.share = there(positive_share(tables.cumulative, job.objective.negative).astype(np.float32))
        if tables.paths is not None and plan.node_pairs is not None:
            busiest = busiest_nodes(plan.node_pairs)
            split = split_paths(tables.paths, busiest)
            width = power_of_two(len(busiest)) - len(busiest)
            self.top, self.top_count = there(np.pad(busiest, (0, width)).astype(np.int32)), len(busiest)
            self.top_signs = there(np.pad(split.signs, ((0, 0), (0, width))))
            self.starts = there(np.concatenate([[0], np.cumsum(split.lengths)]))
            self.paths = there(np.append(2 * split.points + (split.labels > 0), 0).astype(np.int32))
            self.path = int(split.lengths.max(initial=0))

    @property
    def has_nodes(self) -> bool:
        """Whether there is a tree; a vocabulary of one word has none."""
        return self.top_count > 0


@dataclass
class Kept:
    """A chunk after subsampling, on the device.

    Attributes
    ----------
    tokens : int32 tensor [3, room]
        Words, places in the range that was looked at, numbers of their sentences.
    sizes : int32 tensor [4]
        triton_sampling.HALO, COUNT, TOTAL, REACH.
    draws : dict
        Arguments of all draws: key, window, position in the corpus of the range.
    tiles : int
        Tiles at most.
    """

    tokens: torch.Tensor
    sizes: torch.Tensor
    draws: dict[str, int]
    tiles: int

    @property
    def effective_words(self) -> torch.Tensor:
        """Centers: int32 tensor []."""
        return self.sizes[COUNT.value]


@dataclass
class Counted:
    """What the rows of each step get in one block of its tiles' slots.

    Attributes
    ----------
    kept : Kept
    start, lane : int
        First slot of the block; first lane of its negatives.
    slots : int
        SB, slots of a tile in one product at most, as a block size.
    walked : bool
        CBOW: a tile may have more, and is walked SB at a time.
    counters : int32 tensor [steps, KINDS, C]
    top : int32 tensor [steps, M]
    examples : int32 tensor [steps, line]
        Examples at each place of a step's line.
    pairs : int32 tensor [steps]
    """

    kept: Kept
    start: int
    lane: int
    slots: int
    walked: bool
    counters: torch.Tensor
    top: torch.Tensor
    examples: torch.Tensor
    pairs: torch.Tensor


class Chunks:
    """Prepares chunks of one job on one device.

    Parameters
    ----------
    job : Job
    device : torch.device
    """

    def __init__(self, job: Job, device: torch.device) -> None:
        self.job, self.device = job, device
        self.tables = DeviceTables(job, device)
        self.tokens = DeviceTokens(device)
        step_rows = triton.next_power_of_2(2 * job.plan.tile * job.plan.step_tiles)
        self.counters = int(min(max(step_rows, _MIN_COUNTERS), _MAX_COUNTERS))
        halo = _HALO_SHARE * job.objective.window / self.tables.least_kept + _HALO_TOKENS
        self._halo = int(min(halo, _MAX_HALO))
        self._measured: tuple[np.ndarray, int] | None = None  # sentence offsets, and the longest sentence

    def reach(self, chunk: Chunk) -> int:
        """The longest window that can be, from what the host knows: the buffer's longest sentence."""
        offsets = chunk.sentence_offsets
        if self._measured is None or self._measured[0] is not offsets:
            self._measured = offsets, int(np.diff(offsets).max(initial=0))
        return min(self.job.objective.window, max(self._measured[1] - 1, 0))

    def range_of(self, chunk: Chunk) -> tuple[int, int]:
        """Where contexts are looked for: the chunk, and its cut sentences as far as `window` kept words need.

        A chunk cuts a sentence only where the sentence alone is longer than a chunk. How many tokens hold `window`
        kept ones only the device knows. What is taken is eight times as many as hold them if all were the word that
        subsampling keeps least often, and 1,024 more: enough in any text, up to 4 M tokens.
        """
        offsets = chunk.sentence_offsets
        floor = int(offsets[np.searchsorted(offsets, chunk.start, side="right") - 1])
        ceiling = int(offsets[np.searchsorted(offsets, chunk.stop, side="left")])
        return max(floor, chunk.start - self._halo), min(ceiling, chunk.stop + self._halo)

    def keep(self, chunk: Chunk, key: DrawKey) -> Kept:
        """Subsample a chunk."""
        tables, objective = self.tables, self.job.objective
        low, high = self.range_of(chunk)
        tagged, count = self.tokens.tagged(chunk, low, high), high - low
        position = chunk.first_position + low
        draws = {
            "key_1": signed(key.first), "key_2": signed(key.second),
            "base_low": signed(position), "base_high": position >> 32,
        }  # fmt: skip
        blocks = (triton.cdiv(count, _BLOCK),)
        sizes = torch.zeros(4, dtype=torch.int32, device=self.device)
        of_blocks = torch.empty((*blocks, 2), dtype=torch.int32, device=self.device)
        options = {"KEEPS_ALL": tables.keeps_all, "BLOCK": _BLOCK}
        count_kept[blocks](
            tagged, tables.keep, of_blocks, sizes, tokens=count, start=chunk.start - low, stop=chunk.stop - low,
            **draws, **options,
        )  # fmt: skip
        before = of_blocks.cumsum(0, dtype=torch.int32).sub_(of_blocks)
        tokens = torch.empty((3, count), dtype=torch.int32, device=self.device)
        compact[blocks](tagged, tables.keep, before, tokens, tokens=count, room=count, **draws, **options)
        self.tokens.release()
        bits = objective.window.bit_length()
        measure_reach[blocks](tokens, sizes, room=count, window=objective.window, BITS=bits, BLOCK=_BLOCK)
        tiles = triton.cdiv(chunk.stop - chunk.start, self.job.plan.tile)
        return Kept(tokens, sizes, {**draws, "window": objective.window}, tiles)

    def blocks(self, reach: int) -> int:
        """Blocks into which a tile's slots are cut (Sampler.blocks)."""
        return triton.cdiv(self.job.plan.tile + 2 * reach, MAX_BLOCK_ROWS) if self.job.objective.skip_gram else 1

    def count(self, kept: Kept, reach: int, block: int) -> Counted:
        """Count the pairs of each step in a block of its tiles' slots."""
        plan, objective, tables = self.job.plan, self.job.objective, self.tables
        slots = plan.tile + 2 * reach
        width = power_of_two(min(slots, MAX_BLOCK_ROWS if objective.skip_gram else BAG_SLOTS))
        walked = not objective.skip_gram and slots > width
        steps = triton.cdiv(kept.tiles, plan.step_tiles)
        line = (plan.step_tiles - 1) * plan.tile + width

        def zeros(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.int32, device=self.device)

        counted = Counted(
            kept=kept,
            start=block * MAX_BLOCK_ROWS,
            lane=LANE_NEGATIVES + block * MAX_GROUPS * plan.shared_negatives,
            slots=width,
            walked=walked,
            counters=zeros(steps, KINDS.value, self.counters),
            top=zeros(steps, len(tables.top)),
            examples=zeros(steps, line) if objective.skip_gram and objective.negative else zeros(1, 1),
            pairs=zeros(steps),
        )
        count_pairs[(kept.tiles,)](
            kept.tokens, kept.sizes, tables.alias, tables.top_signs, tables.starts, tables.paths,
            counted.counters, counted.top, counted.examples, counted.pairs,
            room=kept.tokens.shape[1], line=line, START=counted.start, lane=counted.lane, **kept.draws,
            vocabulary=len(tables.keep), T=plan.tile, SB=width, B=plan.step_tiles, G=plan.group,
            N=plan.shared_negatives, NB=power_of_two(plan.shared_negatives), UB=ENTRIES, M=len(tables.top),
            C=self.counters, SKIP_GRAM=objective.skip_gram, NEGATIVE=bool(objective.negative),
            TREE=tables.has_nodes, SHRINK=objective.shrink_windows, PARTS=pair_parts(objective), WALKED=walked,
        )  # fmt: skip
        return counted
