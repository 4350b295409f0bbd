"""Triton functions that make draws, windows, negatives and row caps on the device, without asking the host.

    tagged ids   a'b b c a d'b ...         one draw each: keep?          count_kept, then compact
    kept         a b c a d b ...           words, places, sentences; how many there are stays on the device
    windows      one draw each             tile_window, in registers, wherever a tile is looked at
    negatives    one draw each             noise_words, in registers
    row caps     pairs of a row in a step  count_pairs counts them, row_scale reads them

Everything is the same pure function of chunk and draw key as in reference.py. Names as in triton_kernels.py. A tagged
id has its sign bit set where a sentence begins. Kept tokens are numbered from the first one of the range that was
looked at, halo included; the chunk's centers are `halo` to `halo + count`.
"""

import triton
import triton.language as tl

from torchw2v.ops.draws import LANE_KEEP, LANE_WINDOW

KEEP_LANE, WINDOW_LANE = tl.constexpr(LANE_KEEP), tl.constexpr(LANE_WINDOW)
# What the host never reads: numbers of kept tokens, by place in `p_sizes`.
HALO = tl.constexpr(0)  # before the chunk's first center
COUNT = tl.constexpr(1)  # centers
TOTAL = tl.constexpr(2)  # with the halo on both sides
REACH = tl.constexpr(3)  # of the longest window
# Counters of a step, by place in `p_counters`.
OF_INPUTS = tl.constexpr(0)
OF_OUTPUTS = tl.constexpr(1)
OF_NOISE = tl.constexpr(2)
OF_NODES = tl.constexpr(3)
KINDS = tl.constexpr(4)


@triton.jit
def wide(n):
    """An index as int64, a loop's own (an int in Triton's interpreter) too."""
    return tl.zeros((), dtype=tl.int64) + n


# ---- draws -----------------------------------------------------------------------------------------------------------


@triton.jit
def _mix(h):
    """The 32-bit finalizer of MurmurHash3 (draws.py)."""
    h = h ^ (h >> 16)
    h = h * 0x85EBCA6B
    h = h ^ (h >> 13)
    h = h * 0xC2B2AE35
    return h ^ (h >> 16)


@triton.jit
def draw(b_position, b_lane, key_1, key_2):
    """Uniform draws of int64 positions and uint32 lanes, bit-equal to draws.py: uint32."""
    low, high = b_position.to(tl.uint32), (b_position >> 32).to(tl.uint32)
    h = _mix(low + key_1.to(tl.uint32)) ^ (high * 0x27D4EB2F)
    return _mix(h + (b_lane * 0x9E3779B9 + key_2.to(tl.uint32)))


@triton.jit
def corpus_position(b_place, base_low, base_high):
    """Position in the corpus of places of a range that begins at base_low + 2**32 * base_high (both int32): int64."""
    base = (base_high.to(tl.int64) << 32) | base_low.to(tl.uint32).to(tl.int64)
    return b_place.to(tl.int64) + base


@triton.jit
def noise_words(p_alias, b_position, b_lane, key_1, key_2, vocabulary):
    """Negatives from the alias table [V, 2] (tables.alias_table): int32."""
    scaled = draw(b_position, b_lane, key_1, key_2).to(tl.uint64) * vocabulary.to(tl.uint64)
    column, part = (scaled >> 32).to(tl.int64), scaled.to(tl.uint32)
    accept = tl.load(p_alias + 2 * column).to(tl.uint32)
    return tl.where(part < accept, column.to(tl.int32), tl.load(p_alias + 2 * column + 1))


# ---- subsampling and compaction --------------------------------------------------------------------------------------


@triton.jit
def _kept(p_tagged, p_keep, o, tokens, key_1, key_2, base_low, base_high, KEEPS_ALL: tl.constexpr):
    """Words of a block of tokens, which of them survive subsampling, and which begin a sentence."""
    b_tagged = tl.load(p_tagged + o, mask=o < tokens, other=0)
    b_word, b_kept = b_tagged & 0x7FFFFFFF, o < tokens
    if not KEEPS_ALL:
        b_draw = draw(corpus_position(o, base_low, base_high), KEEP_LANE, key_1, key_2)
        b_kept = b_kept & (b_draw <= tl.load(p_keep + b_word, mask=b_kept, other=0).to(tl.uint32))
    return b_word, b_kept, b_tagged < 0


# A chunk of a corpus on the device may begin anywhere: without `do_not_specialize_on_alignment` each of two variants
# would be compiled when the first such chunk comes.
@triton.jit(
    do_not_specialize=["tokens", "start", "stop", "key_1", "key_2", "base_low", "base_high"],
    do_not_specialize_on_alignment=["p_tagged"],
)
def count_kept(
    p_tagged, p_keep, p_blocks, p_sizes, tokens, start, stop, key_1, key_2, base_low, base_high,
    KEEPS_ALL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """How many tokens of each block are kept and begin a sentence: [blocks, 2]; centers and halo of the chunk."""
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    _, b_kept, b_begins = _kept(p_tagged, p_keep, o, tokens, key_1, key_2, base_low, base_high, KEEPS_ALL)
    p_mine = p_blocks + 2 * tl.program_id(0)
    kept = tl.sum(b_kept.to(tl.int32), 0)
    tl.store(p_mine, kept)
    tl.store(p_mine + 1, tl.sum(b_begins.to(tl.int32), 0))
    tl.atomic_add(p_sizes + HALO, tl.sum((b_kept & (o < start)).to(tl.int32), 0), sem="relaxed")
    tl.atomic_add(p_sizes + COUNT, tl.sum((b_kept & (o >= start) & (o < stop)).to(tl.int32), 0), sem="relaxed")
    tl.atomic_add(p_sizes + TOTAL, kept, sem="relaxed")


@triton.jit(
    do_not_specialize=["tokens", "key_1", "key_2", "base_low", "base_high", "room"],
    do_not_specialize_on_alignment=["p_tagged"],
)
def compact(
    p_tagged, p_keep, p_before, p_kept, tokens, key_1, key_2, base_low, base_high, room,
    KEEPS_ALL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Kept tokens side by side: words, places in the range and numbers of their sentences, int32 [3, room].

    `p_before` [blocks, 2] says how many are kept and how many sentences begin in the blocks before.
    """
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b_word, b_kept, b_begins = _kept(p_tagged, p_keep, o, tokens, key_1, key_2, base_low, base_high, KEEPS_ALL)
    p_mine = p_before + 2 * tl.program_id(0)
    b_to = tl.load(p_mine) + tl.cumsum(b_kept.to(tl.int32), 0) - 1
    tl.store(p_kept + b_to, b_word, mask=b_kept)
    tl.store(p_kept + room + b_to, o, mask=b_kept)
    tl.store(p_kept + 2 * room + b_to, tl.load(p_mine + 1) + tl.cumsum(b_begins.to(tl.int32), 0), mask=b_kept)


@triton.jit(do_not_specialize=["room", "window"])
def measure_reach(p_kept, p_sizes, room, window, BITS: tl.constexpr, BLOCK: tl.constexpr):
    """The longest window that has a word at its end: no more than `window`, less where all sentences are shorter.

    A token's distance to the first one of its sentence, found bit by bit: sentences lie together.
    """
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    total = tl.load(p_sizes + TOTAL)
    p_sentence = p_kept + 2 * room
    b_sentence = tl.load(p_sentence + o, mask=o < total, other=-1)
    b_reach = tl.zeros((BLOCK,), dtype=tl.int32)
    for bit in tl.static_range(BITS):
        b_longer = b_reach + (1 << (BITS - 1 - bit))
        m = (o < total) & (b_longer <= o) & (b_longer <= window)
        b_there = tl.load(p_sentence + o - b_longer, mask=m, other=-2)
        b_reach = tl.where(m & (b_there == b_sentence), b_longer, b_reach)
    tl.atomic_max(p_sizes + REACH, tl.max(b_reach, 0), sem="relaxed")


# ---- tiles -----------------------------------------------------------------------------------------------------------


@triton.jit
def tiles_of(p_sizes, START, T: tl.constexpr, SB: tl.constexpr):
    """(tiles of the chunk, slots of a tile from START on): none where no sentence has two kept words."""
    reach = tl.load(p_sizes + REACH)
    S = tl.minimum(T + 2 * reach - START, SB)
    tiles = (tl.load(p_sizes + COUNT) + T - 1) // T
    return tl.where((reach > 0) & (S > 0), tiles, 0), tl.maximum(S, 0)


@triton.jit
def line_start(p_sizes, tile, START, T: tl.constexpr):
    """Number of the kept token at slot START of a tile."""
    return tl.load(p_sizes + HALO) + tile * T - tl.load(p_sizes + REACH) + START


@triton.jit
def words_at(p_kept, p_sizes, b_index):
    """Words of kept tokens, 0 outside."""
    inside = (b_index >= 0) & (b_index < tl.load(p_sizes + TOTAL))
    return tl.load(p_kept + b_index, mask=inside, other=0)


@triton.jit
def tile_centers(
    p_kept, p_sizes, room, tile, window, key_1, key_2, base_low, base_high, T: tl.constexpr, SHRINK: tl.constexpr
):
    """Words of a tile's centers, their numbers among kept tokens, their sentences (past the last: none): all [T]."""
    halo, count = tl.load(p_sizes + HALO), tl.load(p_sizes + COUNT)
    o_center = tl.arange(0, T)
    b_number = halo + tile * T + o_center
    m_center = tile * T + o_center < count
    b_center = tl.load(p_kept + b_number, mask=m_center, other=0)
    b_mine = tl.load(p_kept + 2 * room + b_number, mask=m_center, other=-2)
    b_reach = tl.zeros((T,), dtype=tl.int64) + window
    if SHRINK:  # uniform in 1..window
        b_place = tl.load(p_kept + room + b_number, mask=m_center, other=0)
        b_draw = draw(corpus_position(b_place, base_low, base_high), WINDOW_LANE, key_1, key_2)
        b_reach = (b_draw.to(tl.int64) * b_reach >> 32) + 1
    return b_center, b_number, b_mine, b_reach


@triton.jit
def tile_window(
    p_kept, p_sizes, room, tile, START, S, window, key_1, key_2, base_low, base_high,
    T: tl.constexpr, SB: tl.constexpr, SHRINK: tl.constexpr,
):  # fmt: skip
    """Words of a tile's slots [SB] and centers [T], and A [T, SB]: 1.0 where a slot is a context of a center."""
    b_center, b_number, b_mine, b_reach = tile_centers(
        p_kept, p_sizes, room, tile, window, key_1, key_2, base_low, base_high, T, SHRINK
    )
    o_slot = tl.arange(0, SB)
    b_at = line_start(p_sizes, tile, START, T) + o_slot
    m_slot = (o_slot < S) & (b_at >= 0) & (b_at < tl.load(p_sizes + TOTAL))
    b_word = tl.load(p_kept + b_at, mask=m_slot, other=0)
    b_sentence = tl.load(p_kept + 2 * room + b_at, mask=m_slot, other=-1)
    b_apart = b_at[None, :] - b_number[:, None]
    b_near = (b_apart != 0) & (tl.abs(b_apart) <= b_reach[:, None]) & (b_sentence[None, :] == b_mine[:, None])
    return b_word, b_center, b_near.to(tl.float32)


@triton.jit
def tile_bags(
    p_kept, p_sizes, room, tile, window, key_1, key_2, base_low, base_high, T: tl.constexpr, SHRINK: tl.constexpr
):
    """Words of a tile's centers, their numbers among kept tokens, those of the first and last token of their bags: [T].

    The ends are found bit by bit, as in `measure_reach`. A bag holds its own center; past the last center it is empty.
    """
    b_center, b_number, b_mine, b_reach = tile_centers(
        p_kept, p_sizes, room, tile, window, key_1, key_2, base_low, base_high, T, SHRINK
    )
    total = tl.load(p_sizes + TOTAL)
    p_sentence = p_kept + 2 * room
    b_before, b_after = tl.zeros((T,), dtype=tl.int32), tl.zeros((T,), dtype=tl.int32)
    for bit in range(31):  # of a kept token's number
        one = 1 << (30 - bit)
        b_first, b_last = b_number - b_before - one, b_number + b_after + one
        m_first = (b_before + one <= b_reach) & (b_first >= 0)
        m_last = (b_after + one <= b_reach) & (b_last < total)
        m_first = m_first & (tl.load(p_sentence + b_first, mask=m_first, other=-1) == b_mine)
        m_last = m_last & (tl.load(p_sentence + b_last, mask=m_last, other=-1) == b_mine)
        b_before += tl.where(m_first, one, 0)
        b_after += tl.where(m_last, one, 0)
    m_center = b_mine >= 0
    b_first, b_last = b_number - b_before, b_number + b_after
    return b_center, b_number, tl.where(m_center, b_first, total), tl.where(m_center, b_last, -1)


@triton.jit
def bag_sizes(b_first, b_last):
    """Contexts of centers whose bags begin and end there: int32 [T]."""
    return tl.maximum(b_last - b_first, 0)


@triton.jit
def bag_slots(b_first, b_last):
    """(first, count) of the kept tokens that the bags of a tile span."""
    first = tl.min(b_first, 0)
    return first, tl.max(b_last, 0) + 1 - first


@triton.jit
def bag_block(p_kept, start, b_number, b_first, b_last, SB: tl.constexpr):
    """Words of the kept tokens from `start` on [SB], and A [T, SB]: 1.0 where one is a context of a center."""
    b_at = start + tl.arange(0, SB)
    b_word = tl.load(p_kept + b_at, mask=b_at <= tl.max(b_last, 0), other=0)
    b_in = (b_at[None, :] >= b_first[:, None]) & (b_at[None, :] <= b_last[:, None])
    return b_word, (b_in & (b_at[None, :] != b_number[:, None])).to(tl.float32)


@triton.jit
def groups_of(tiles, S, T: tl.constexpr, G: tl.constexpr, SKIP_GRAM: tl.constexpr):
    """Groups of negatives in a step of so many tiles."""
    return ((tiles - 1) * T + S + G - 1) // G if SKIP_GRAM else tiles


@triton.jit
def step_noise(
    p_kept, p_sizes, p_alias, room, step, group, lane, key_1, key_2, base_low, base_high, vocabulary, B,
    T: tl.constexpr, N: tl.constexpr, NB: tl.constexpr,
):  # fmt: skip
    """The N noise words of a group: drawn at the position of the step's first center. [NB], those past N are noise."""
    first = tl.load(p_sizes + HALO) + step * B * T + tl.zeros((NB,), dtype=tl.int32)
    b_position = corpus_position(tl.load(p_kept + room + first), base_low, base_high)
    b_lane = (lane + group * N + tl.arange(0, NB)).to(tl.uint32)
    return noise_words(p_alias, b_position, b_lane, key_1, key_2, vocabulary)


# ---- Huffman paths ---------------------------------------------------------------------------------------------------


@triton.jit
def path_ends(p_starts, b_center, b_m):
    """Where each center's path below the top starts in memory and ends in its tile: [T] both; none without contexts."""
    b_start = tl.load(p_starts + b_center)
    b_length = tl.where(b_m > 0, tl.load(p_starts + b_center + 1) - b_start, 0).to(tl.int32)
    b_end = tl.cumsum(b_length, 0)
    return b_start - (b_end - b_length), b_end


@triton.jit
def path_entries(p_paths, b_from, b_end, u, UB: tl.constexpr, T: tl.constexpr):
    """Entries u to u + UB of a tile's paths: node, label (0, 1; -1: past the last), and 1.0 at its center [UB, T]."""
    o_entry = u + tl.arange(0, UB)
    b_owner = tl.sum((o_entry[:, None] >= b_end[None, :]).to(tl.int32), 1)
    b_one = b_owner[:, None] == tl.arange(0, T)[None, :]
    m = b_owner < T
    b_code = tl.load(p_paths + tl.sum(tl.where(b_one, b_from[None, :], 0), 1) + o_entry, mask=m, other=0)
    return b_code >> 1, tl.where(m, (b_code & 1).to(tl.float32), -1.0), b_one.to(tl.float32)


# ---- row caps --------------------------------------------------------------------------------------------------------


@triton.jit
def _count_inputs(p_counters, b_word, b_a, b_m, C, PARTS: tl.constexpr):
    """Add the pairs of a tile's slots to the counters of their words. How many pairs each slot has: int32 [SB]."""
    b_of_slot = tl.sum(b_a, 0).to(tl.int32)
    b_pulled = b_of_slot
    if PARTS > 1:
        b_pulled = tl.sum(b_a.to(tl.int32) * (PARTS // tl.maximum(b_m, 1))[:, None], 0)
    tl.atomic_add(p_counters + (b_word & (C - 1)), b_pulled, mask=b_of_slot > 0, sem="relaxed")
    return b_of_slot


@triton.jit(do_not_specialize=[
    "room", "line", "START", "lane", "window", "key_1", "key_2", "base_low", "base_high", "vocabulary", "B", "C",
])  # fmt: skip
def count_pairs(
    p_kept, p_sizes, p_alias, p_top_signs, p_starts, p_paths,
    p_counters, p_top, p_examples, p_pairs,
    room, line, START, lane, window, key_1, key_2, base_low, base_high, vocabulary, B, C,
    T: tl.constexpr, SB: tl.constexpr, G: tl.constexpr, N: tl.constexpr, NB: tl.constexpr,
    UB: tl.constexpr, M: tl.constexpr,
    SKIP_GRAM: tl.constexpr, NEGATIVE: tl.constexpr, TREE: tl.constexpr, SHRINK: tl.constexpr, PARTS: tl.constexpr,
    WALKED: tl.constexpr,
):  # fmt: skip
    """Count the pairs that each row gets in each step, one program a tile.

    p_counters [steps, KINDS, C]: rows whose low bits agree share a counter: the cap errs to the safe side.
    p_top [steps, M]: of the top of the tree. p_examples [steps, line]: of each place on a step's line.
    p_pairs [steps]: of the whole step. With PARTS > 1 (CBOW) an input's pair with a bag of m counts PARTS // m.
    WALKED (CBOW): the tile may have more slots than SB.
    """
    tile = tl.program_id(0)
    tiles, S = tiles_of(p_sizes, START, T, SB)
    if tile < tiles:
        step, number = tile // B, tile % B
        in_step = tl.minimum(B, tiles - step * B)
        p_step = p_counters + wide(step) * (KINDS * C)
        if WALKED:
            b_center, b_number, b_first, b_last = tile_bags(
                p_kept, p_sizes, room, tile, window, key_1, key_2, base_low, base_high, T, SHRINK
            )
            b_m = bag_sizes(b_first, b_last)
            first, slots = bag_slots(b_first, b_last)
            for start in range(0, slots, SB):
                b_word, b_a = bag_block(p_kept, first + start, b_number, b_first, b_last, SB)
                _count_inputs(p_step + OF_INPUTS * C, b_word, b_a, b_m, C, PARTS)
        else:
            b_word, b_center, b_a = tile_window(
                p_kept, p_sizes, room, tile, START, S, window, key_1, key_2, base_low, base_high, T, SB, SHRINK
            )
            b_m = tl.sum(b_a, 1).to(tl.int32)
            b_of_slot = _count_inputs(p_step + OF_INPUTS * C, b_word, b_a, b_m, C, PARTS)
        b_pairs = b_m if SKIP_GRAM else tl.minimum(b_m, 1)
        tl.atomic_add(p_pairs + step, tl.sum(b_pairs, 0), sem="relaxed")
        if NEGATIVE:
            if SKIP_GRAM:
                o_place = wide(step) * line + number * T + tl.arange(0, SB)
                tl.atomic_add(p_examples + o_place, b_of_slot, mask=b_of_slot > 0, sem="relaxed")
            tl.atomic_add(p_step + OF_OUTPUTS * C + (b_center & (C - 1)), b_pairs, mask=b_pairs > 0, sem="relaxed")
            for group in range(number, groups_of(in_step, S, T, G, SKIP_GRAM), in_step):
                b_noise = step_noise(
                    p_kept, p_sizes, p_alias, room, step, group, lane, key_1, key_2, base_low, base_high, vocabulary,
                    B, T, N, NB,
                )  # fmt: skip
                b_one = tl.full((NB,), 1, dtype=tl.int32)
                p_noise = p_step + OF_NOISE * C + (b_noise & (C - 1))
                tl.atomic_add(p_noise, b_one, mask=tl.arange(0, NB) < N, sem="relaxed")
        if TREE:
            o_top = tl.arange(0, M)
            b_sign = tl.load(p_top_signs + b_center.to(tl.int64)[:, None] * M + o_top[None, :]).to(tl.int32)
            b_on = tl.sum(tl.abs(b_sign) * b_pairs[:, None], 0)
            tl.atomic_add(p_top + wide(step) * M + o_top, b_on, mask=b_on > 0, sem="relaxed")
            b_from, b_end = path_ends(p_starts, b_center, b_m)
            for u in range(0, tl.max(b_end, 0), UB):
                b_node, b_label, b_one = path_entries(p_paths, b_from, b_end, u, UB, T)
                b_of_entry = tl.sum(b_one * b_pairs.to(tl.float32)[None, :], 1).to(tl.int32)
                p_node = p_step + OF_NODES * C + (b_node & (C - 1))
                tl.atomic_add(p_node, b_of_entry, mask=b_label >= 0, sem="relaxed")


@triton.jit
def row_scale(p_expected, p_squares, b_row, b_counted, alpha, MAX_PULL: tl.constexpr, ADAGRAD: tl.constexpr):
    """Alpha times the row caps: no row is pulled further than MAX_PULL by what is in flight (Frames.scale).

    AdaGrad: alpha / sqrt(squares) in alpha's place.
    """
    b_pairs = tl.maximum(tl.load(p_expected + b_row), b_counted)
    if ADAGRAD:
        b_square = tl.load(p_squares + b_row, cache_modifier=".cg")  # as others leave it (triton_rows.rows_of)
        return tl.minimum(MAX_PULL / b_pairs, alpha * tl.rsqrt(b_square))
    return tl.minimum(MAX_PULL / b_pairs, alpha)


@triton.jit
def counted(p_counters, step, b_row, C, KIND: tl.constexpr):
    """Pairs that a step's counters hold for rows."""
    return tl.load(p_counters + wide(step) * (KINDS * C) + KIND * C + (b_row & (C - 1))).to(tl.float32)


@triton.jit
def input_scale(
    p_counters, p_expected, p_squares, p_lock, step, b_row, alpha, C,
    MAX_PULL: tl.constexpr, ADAGRAD: tl.constexpr, LOCK: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Alpha times the caps and locks of input rows; their pairs are counted in so many parts."""
    b_counted = counted(p_counters, step, b_row, C, OF_INPUTS)
    if PARTS > 1:
        b_counted /= PARTS
    b_scale = row_scale(p_expected, p_squares, b_row, b_counted, alpha, MAX_PULL, ADAGRAD)
    if LOCK:
        b_scale *= tl.load(p_lock + b_row)
    return b_scale


@triton.jit
def output_scale(
    p_counters, p_expected, p_squares, step, b_row, once, alpha, C, MAX_PULL: tl.constexpr, ADAGRAD: tl.constexpr
):
    """Alpha times the caps of words as outputs. `once`: pairs of a negative, counted once and not K times.

    A negative's pull is weaker than a center's (as in schedule.py).
    """
    b_pairs = counted(p_counters, step, b_row, C, OF_OUTPUTS) + once * counted(p_counters, step, b_row, C, OF_NOISE)
    return row_scale(p_expected, p_squares, b_row, b_pairs, alpha, MAX_PULL, ADAGRAD)
