"""CBOW's bags in Triton: the hidden rows of a tile, and how their errors go back to the contexts that made them.

A tile's bags of more slots than a block holds (WALKED) are walked block by block: once to sum hidden rows, which go to
scratch rows of the program, and once more to hand their errors back. Names as in triton_kernels.py.
"""

import triton
import triton.language as tl

from torchw2v.ops.triton_rows import add_rows, add_squares, handed_back, keep_rows, rows_of
from torchw2v.ops.triton_sampling import bag_block, bag_sizes, bag_slots, input_scale, tile_bags, tile_window


@triton.jit
def bags(b_a, MEAN: tl.constexpr, SHARED: tl.constexpr):
    """CBOW: gather and spread [T, S], how contexts make a hidden row and how its error goes back to them.

    word2vec.c hands the whole error to every context when the hidden row was their mean, and an equal share of it when
    it was their sum; the chain rule has it the other way round (docs/parity.md, "CBOW's gradient").
    """
    b_shared = b_a / tl.maximum(tl.sum(b_a, 1), 1.0)[:, None]
    b_gather, b_spread = b_a, b_a
    if MEAN:
        b_gather = b_shared
    if SHARED:
        b_spread = b_shared
    return b_gather, b_spread


@triton.jit
def hidden_rows(
    p_rows, b_row, o_d, b_gather, m_row, D: tl.constexpr, STRIDE: tl.constexpr, MADE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Hidden rows of bags at dimensions o_d, [T, BD]: those that are made already, or gather X."""
    b_h = rows_of(p_rows, b_row, o_d, m_row, D, STRIDE)
    if not MADE:
        b_h = tl.dot(b_gather, b_h, input_precision=PRECISION)
    return b_h


@triton.jit
def made_rows(
    p_rows, p_hidden, b_word, b_gather, b_m, m_slot,
    D: tl.constexpr, STRIDE: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, MADE: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Where hidden rows lie, their numbers and which there are; bags' are made here, unless they are already.

    Every block of a path meets them: they are read as they lie, not gathered anew each time.
    """
    if not MADE:
        o_block = tl.arange(0, BD)
        for d in range(0, D, BD):
            b_h = hidden_rows(p_rows, b_word, d + o_block, b_gather, m_slot, D, STRIDE, False, PRECISION)
            keep_rows(p_hidden, d + o_block, b_h, T, D, STRIDE)
        tl.debug_barrier()  # the rows are read in another layout than they were written in
        p_rows, b_word, m_slot = p_hidden, tl.arange(0, T), b_m > 0
    return p_rows, b_word, m_slot


@triton.jit
def _gather_bags(
    p_inputs, p_hidden, p_kept, p_sizes, room, tile, window, key_1, key_2, base_low, base_high,
    D: tl.constexpr, STRIDE: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, SB: tl.constexpr, SHRINK: tl.constexpr,
    MEAN: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The hidden rows of a tile, H = gather X, to p_hidden [T, D], its bags walked SB tokens at a time.

    From then on the tile is like one whose slots are these rows. Returns their numbers, the centers and A, [T, T]: the
    identity, where a center has a context; and the centers' numbers and their bags' ends (tile_bags).
    """
    o_center, o_block = tl.arange(0, T), tl.arange(0, BD)
    b_center, b_number, b_first, b_last = tile_bags(
        p_kept, p_sizes, room, tile, window, key_1, key_2, base_low, base_high, T, SHRINK
    )
    b_m = bag_sizes(b_first, b_last)
    first, slots = bag_slots(b_first, b_last)
    for d in range(0, D, BD):
        b_h = tl.zeros((T, BD), dtype=tl.float32)
        for start in range(0, slots, SB):
            b_word, b_a = bag_block(p_kept, first + start, b_number, b_first, b_last, SB)
            b_x = rows_of(p_inputs, b_word, d + o_block, tl.sum(b_a, 0) > 0, D, STRIDE)
            b_h = tl.dot(b_a, b_x, b_h, input_precision=PRECISION)
        if MEAN:
            b_h /= tl.maximum(b_m, 1)[:, None]
        keep_rows(p_hidden, d + o_block, b_h, T, D, STRIDE)
    tl.debug_barrier()  # the rows are read in another layout than they were written in
    b_a = (o_center[:, None] == o_center[None, :]) & (b_m > 0)[:, None]
    return o_center, b_center, b_a.to(tl.float32), b_number, b_first, b_last


@triton.jit
def tile_rows(
    p_inputs, p_hidden, p_kept, p_sizes, room, tile, START, S, window, key_1, key_2, base_low, base_high,
    D: tl.constexpr, STRIDE: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, SB: tl.constexpr, SHRINK: tl.constexpr,
    MEAN: tl.constexpr, PRECISION: tl.constexpr, WALKED: tl.constexpr,
):  # fmt: skip
    """The rows that a tile's slots read (matrix and numbers), its centers and A; what `_scatter_bags` wants to know."""
    if WALKED:
        p_rows = p_hidden
        b_word, b_center, b_a, b_number, b_first, b_last = _gather_bags(
            p_inputs, p_hidden, p_kept, p_sizes, room, tile, window, key_1, key_2, base_low, base_high,
            D, STRIDE, BD, T, SB, SHRINK, MEAN, PRECISION,
        )  # fmt: skip
    else:
        p_rows = p_inputs
        b_word, b_center, b_a = tile_window(
            p_kept, p_sizes, room, tile, START, S, window, key_1, key_2, base_low, base_high, T, SB, SHRINK
        )
        b_number, b_first, b_last = b_center, b_center, b_center
    return p_rows, b_word, b_center, b_a, b_number, b_first, b_last


@triton.jit
def input_rates(
    p_counters, p_input_pairs, p_input_squares, p_input_squares_to, p_lock, step, b_word, alpha, C,
    b_spread, b_asked, m_slot,
    MAX_PULL: tl.constexpr, ADAGRAD: tl.constexpr, LOCK: tl.constexpr, PARTS: tl.constexpr, SKIP_GRAM: tl.constexpr,
    WALKED: tl.constexpr,
):  # fmt: skip
    """Scales of the slots' rows, to which squares asked of hidden rows are added; of walked bags: _scatter_bags."""
    b_scale = tl.zeros_like(b_asked)
    if not WALKED:
        b_back = handed_back(b_spread, b_asked, SKIP_GRAM)
        add_squares(p_input_squares_to, b_word, b_back, m_slot, ADAGRAD)
        b_scale = input_scale(
            p_counters, p_input_pairs, p_input_squares, p_lock, step, b_word, alpha, C,
            MAX_PULL, ADAGRAD, LOCK, PARTS,
        )  # fmt: skip
    return b_scale


@triton.jit
def add_errors(
    p_inputs_to, p_error, b_word, o_d, b_dh, b_spread, b_scale, m_slot,
    T: tl.constexpr, D: tl.constexpr, STRIDE: tl.constexpr, SKIP_GRAM: tl.constexpr, WALKED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Add the errors of hidden rows to the slots' rows; those of walked bags to scratch, for _scatter_bags."""
    if WALKED:
        keep_rows(p_error, o_d, b_dh, T, D, STRIDE)
    else:
        if not SKIP_GRAM:
            b_dh = tl.dot(tl.trans(b_spread), b_dh, input_precision=PRECISION)
        add_rows(p_inputs_to, b_word, o_d, b_dh * b_scale[:, None], m_slot, D, STRIDE)


@triton.jit
def scatter_bags(
    p_inputs_to, p_input_squares, p_input_squares_to, p_error, p_kept, p_counters, p_input_pairs, p_lock,
    step, alpha, C, b_number, b_first, b_last, b_asked,
    D: tl.constexpr, STRIDE: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, SB: tl.constexpr,
    MAX_PULL: tl.constexpr, ADAGRAD: tl.constexpr, LOCK: tl.constexpr, PARTS: tl.constexpr, SHARED: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Hand the errors of a tile's hidden rows, p_error [T, D], back to their bags, SB tokens at a time.

    b_asked: squares asked of hidden rows.
    """
    tl.debug_barrier()  # the rows are read in another layout than they were written in
    o_center, o_block = tl.arange(0, T), tl.arange(0, BD)
    b_m = bag_sizes(b_first, b_last)
    b_part = tl.full((T,), 1.0, dtype=tl.float32)
    if SHARED:
        b_part /= tl.maximum(b_m, 1)
    first, slots = bag_slots(b_first, b_last)
    for start in range(0, slots, SB):
        b_word, b_a = bag_block(p_kept, first + start, b_number, b_first, b_last, SB)
        m_slot = tl.sum(b_a, 0) > 0
        b_back = tl.sum(b_a * (b_part * b_part * b_asked)[:, None], 0)
        add_squares(p_input_squares_to, b_word, b_back, m_slot, ADAGRAD)
        b_scale = input_scale(
            p_counters, p_input_pairs, p_input_squares, p_lock, step, b_word, alpha, C,
            MAX_PULL, ADAGRAD, LOCK, PARTS,
        )  # fmt: skip
        for d in range(0, D, BD):
            b_dh = rows_of(p_error, o_center, d + o_block, b_m > 0, D, STRIDE) * b_part[:, None]
            b_dx = tl.dot(tl.trans(b_a), b_dh, input_precision=PRECISION) * b_scale[:, None]
            add_rows(p_inputs_to, b_word, d + o_block, b_dx, m_slot, D, STRIDE)
