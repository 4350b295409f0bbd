"""Fused Triton kernels: one program takes a group or tile of tokens from rows to updated rows.

Nothing between the gather and the update is written to memory, Huffman pulls and the hidden rows of wide bags and of
CBOW's paths excepted (scratch of each program).
Names: p_ pointer, b_ loaded block, o_ offsets, m_ mask. Indices are int64 before they meet a stride: vocabulary times
dimensions passes 2^31.

The mathematics is that of torch_engine.py (Mikolov et al. 2013b, arXiv:1310.4546, eqs. 3 and 4; docs/kernels.md). Rows
are walked BD dimensions at a time, twice: once for the scores, once for the updates, when they come from the cache.
So registers do not grow with the dimension, and dimensions past D are masked: they cost no memory traffic.

Windows and negatives are drawn in registers (triton_sampling.py), from kept tokens whose number only the device knows.

`p_inputs` and its like are read, `p_inputs_to` and its like are added to. In training they are the same matrix, shared
without locks (Hogwild, Niu et al. 2011, arXiv:1106.5730); the tests give a snapshot to read, and get the reference's
arithmetic exactly. Additions are relaxed atomics without a result: one `red.global.add` of up to 16 bytes each.

Sizes that change from launch to launch are not specialized: one compiled variant serves them all.

CBOW needs a tile's whole bag, of any size: triton_bags.py.

The grid is persistent: its programs are the tokens in flight (schedule.py), each takes every P-th piece of work of the
steps `first_step` to `last_step`; of those that there are.
"""

import triton
import triton.language as tl

from torchw2v.ops.triton_bags import add_errors, bags, hidden_rows, input_rates, made_rows, scatter_bags, tile_rows
from torchw2v.ops.triton_rows import (
    add_loss,
    add_rows,
    add_squares,
    ask,
    kept_pulls,
    measured,
    met_rows,
    part_ahead,
    rest_of_nodes,
    rows_of,
    softplus,
)
from torchw2v.ops.triton_sampling import (
    OF_NODES,
    counted,
    groups_of,
    input_scale,
    line_start,
    output_scale,
    path_ends,
    path_entries,
    row_scale,
    step_noise,
    tile_window,
    tiles_of,
    wide,
    words_at,
)

# What changes from launch to launch.
_SIZES = [
    "room", "line", "first_step", "last_step", "START", "lane", "window", "key_1", "key_2", "base_low", "base_high",
    "vocabulary", "path", "B", "C",
]  # fmt: skip


@triton.jit(do_not_specialize=_SIZES)
def skip_gram_negative(
    p_kept, p_sizes, p_counters, p_examples, p_pairs, p_alias, p_share, p_input_pairs, p_output_pairs, p_lock,
    p_inputs, p_outputs, p_inputs_to, p_outputs_to,
    p_input_squares, p_output_squares, p_input_squares_to, p_output_squares_to, p_loss,
    room, line, first_step, last_step, START, lane, window, key_1, key_2, base_low, base_high, vocabulary,
    B, C, alpha, k_over_n,
    D: tl.constexpr, STRIDE: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, SB: tl.constexpr,
    WIDTH: tl.constexpr, ADAGRAD: tl.constexpr,
    G: tl.constexpr, N: tl.constexpr, NB: tl.constexpr, MAX_PULL: tl.constexpr,
    SHRINK: tl.constexpr, LOCK: tl.constexpr, PARTS: tl.constexpr, LOSS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Skip-gram with negative sampling: item (step, group) trains some tiles of centers and a group of negatives.

    Centers, tile by tile: scores = Z X', g = A - share * A * sigmoid(scores), dX = g' Z, dZ = g X.
    Negatives: the slots g, g + groups, ... of the step's line against N shared rows,
    g = -weight * sigmoid(scores), weight = K/N * the slot's pairs.
    """
    o_hidden, o_negative, o_block = tl.arange(0, G), tl.arange(0, NB), tl.arange(0, BD)
    tiles, S = tiles_of(p_sizes, START, T, SB)
    steps, whole = (tiles + B - 1) // B, groups_of(B, S, T, G, True)
    items = (steps - 1) * whole + groups_of(tiles - (steps - 1) * B, S, T, G, True)  # the last step may be smaller
    items = tl.where(tiles > 0, tl.minimum(last_step * whole, items), 0)
    total = tl.zeros((), dtype=tl.float64)
    for item in range(first_step * whole + tl.program_id(0), items, tl.num_programs(0)):
        step = tl.minimum(item // whole, steps - 1)
        group = item - step * whole
        in_step = tl.minimum(B, tiles - step * B)
        groups = groups_of(in_step, S, T, G, True)
        loss = 0.0
        share_of_tiles = (in_step + groups - 1) // groups
        for number in range(group * share_of_tiles, tl.minimum((group + 1) * share_of_tiles, in_step)):
            b_word, b_center, b_a = tile_window(
                p_kept, p_sizes, room, step * B + number, START, S, window, key_1, key_2, base_low, base_high,
                T, SB, SHRINK,
            )  # fmt: skip
            b_m = tl.sum(b_a, 1)
            m_slot, m_center = tl.sum(b_a, 0) > 0, b_m > 0
            b_share = tl.load(p_share + b_center)
            b_ahead = part_ahead(b_m) * tl.maximum(b_share, 0.0)  # where most negatives are the center, they undo it
            b_score = tl.zeros((T, SB), dtype=tl.float32)
            b_xx, b_zz = tl.zeros((SB,), dtype=tl.float32), tl.zeros((T,), dtype=tl.float32)
            for d in range(0, D, BD):
                b_x = rows_of(p_inputs, b_word, d + o_block, m_slot, D, STRIDE)
                b_z = rows_of(p_outputs, b_center, d + o_block, m_center, D, STRIDE)
                b_score = tl.dot(b_z, tl.trans(b_x), b_score, input_precision=PRECISION)
                b_xx = measured(b_xx, b_x, WIDTH, ADAGRAD)
                b_zz = measured(b_zz, b_z, WIDTH, ADAGRAD)
            if LOSS:
                loss += tl.sum(b_a * (b_share[:, None] * softplus(b_score) - b_score))
            b_g = b_a * (1.0 - b_share[:, None] * tl.sigmoid(b_score))
            add_squares(p_input_squares_to, b_word, tl.sum(b_g * b_g * b_zz[:, None], 0), m_slot, ADAGRAD)
            add_squares(p_output_squares_to, b_center, tl.sum(b_g * b_g * b_xx[None, :], 1), m_center, ADAGRAD)
            once = tl.load(p_pairs + step).to(tl.float32) / (groups * N)
            b_scale = input_scale(
                p_counters, p_input_pairs, p_input_squares, p_lock, step, b_word, alpha, C,
                MAX_PULL, ADAGRAD, LOCK, PARTS,
            )  # fmt: skip
            b_center_scale = output_scale(
                p_counters, p_output_pairs, p_output_squares, step, b_center, once, alpha, C, MAX_PULL, ADAGRAD
            )  # fmt: skip
            for d in range(0, D, BD):
                b_x = rows_of(p_inputs, b_word, d + o_block, m_slot, D, STRIDE)
                b_z = rows_of(p_outputs, b_center, d + o_block, m_center, D, STRIDE)
                b_dz = tl.dot(b_g, b_x, input_precision=PRECISION) * b_center_scale[:, None]
                b_dx = tl.dot(tl.trans(b_g), b_z + b_ahead[:, None] * b_dz, input_precision=PRECISION)
                b_dx *= b_scale[:, None]
                add_rows(p_inputs_to, b_word, d + o_block, b_dx, m_slot, D, STRIDE)
                add_rows(p_outputs_to, b_center, d + o_block, b_dz, m_center, D, STRIDE)

        o_place = o_hidden * groups + group
        b_examples = tl.load(p_examples + wide(step) * line + o_place, mask=o_place < line, other=0)
        m_hidden, m_negative = b_examples > 0, o_negative < N
        b_word = words_at(p_kept, p_sizes, line_start(p_sizes, step * B, START, T) + o_place)
        b_noise = step_noise(
            p_kept, p_sizes, p_alias, room, step, group, lane, key_1, key_2, base_low, base_high, vocabulary,
            B, T, N, NB,
        )  # fmt: skip
        b_score = tl.zeros((NB, G), dtype=tl.float32)
        b_hh, b_nn = tl.zeros((G,), dtype=tl.float32), tl.zeros((NB,), dtype=tl.float32)
        for d in range(0, D, BD):
            b_x = rows_of(p_inputs, b_word, d + o_block, m_hidden, D, STRIDE)
            b_z = rows_of(p_outputs, b_noise, d + o_block, m_negative, D, STRIDE)
            b_score = tl.dot(b_z, tl.trans(b_x), b_score, input_precision=PRECISION)
            b_hh = measured(b_hh, b_x, WIDTH, ADAGRAD)
            b_nn = measured(b_nn, b_z, WIDTH, ADAGRAD)
        b_q = tl.where(m_negative[:, None], b_examples.to(tl.float32)[None, :] * k_over_n, 0.0)
        if LOSS:
            total += (loss + tl.sum(b_q * softplus(b_score))).to(tl.float64)
        b_g = -b_q * tl.sigmoid(b_score)
        b_terms = -b_g * tl.sigmoid(b_score)
        add_squares(p_input_squares_to, b_word, tl.sum(b_terms * b_nn[:, None], 0), m_hidden, ADAGRAD)
        add_squares(p_output_squares_to, b_noise, tl.sum(b_terms * b_hh[None, :], 1), m_negative, ADAGRAD)
        once = tl.load(p_pairs + step).to(tl.float32) / (groups * N)
        b_scale = input_scale(
            p_counters, p_input_pairs, p_input_squares, p_lock, step, b_word, alpha, C,
            MAX_PULL, ADAGRAD, LOCK, PARTS,
        )  # fmt: skip
        b_noise_scale = output_scale(
            p_counters, p_output_pairs, p_output_squares, step, b_noise, once, alpha, C, MAX_PULL, ADAGRAD
        )  # fmt: skip
        for d in range(0, D, BD):
            b_x = rows_of(p_inputs, b_word, d + o_block, m_hidden, D, STRIDE)
            b_z = rows_of(p_outputs, b_noise, d + o_block, m_negative, D, STRIDE)
            b_dx = tl.dot(tl.trans(b_g), b_z, input_precision=PRECISION) * b_scale[:, None]
            b_dz = tl.dot(b_g, b_x, input_precision=PRECISION) * b_noise_scale[:, None]
            add_rows(p_inputs_to, b_word, d + o_block, b_dx, m_hidden, D, STRIDE)
            add_rows(p_outputs_to, b_noise, d + o_block, b_dz, m_negative, D, STRIDE)
    if LOSS:
        add_loss(p_loss, total)


@triton.jit(do_not_specialize=_SIZES)
def cbow_negative(
    p_kept, p_sizes, p_counters, p_pairs, p_alias, p_share, p_input_pairs, p_output_pairs, p_lock,
    p_inputs, p_outputs, p_inputs_to, p_outputs_to,
    p_input_squares, p_output_squares, p_input_squares_to, p_output_squares_to, p_bags, p_loss,
    room, first_step, last_step, START, lane, window, key_1, key_2, base_low, base_high, vocabulary,
    B, C, alpha, k_over_n,
    D: tl.constexpr, STRIDE: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, SB: tl.constexpr,
    WIDTH: tl.constexpr, ADAGRAD: tl.constexpr,
    N: tl.constexpr, NB: tl.constexpr, MAX_PULL: tl.constexpr, SHRINK: tl.constexpr, PARTS: tl.constexpr,
    LOCK: tl.constexpr, MEAN: tl.constexpr, SHARED: tl.constexpr, LOSS: tl.constexpr, PRECISION: tl.constexpr,
    WALKED: tl.constexpr,
):  # fmt: skip
    """CBOW with negative sampling: item = tile, trains T hidden rows H = gather X against centers and N negatives.

    Centers: g = 1 - share * sigmoid(h . z), row by row; negatives: g = -K/N * sigmoid(Z H'); dX = spread' dH.
    p_bags: scratch of a program for WALKED bags, H and dH.
    """
    o_negative, o_block = tl.arange(0, NB), tl.arange(0, BD)
    m_negative = o_negative < N
    tiles, S = tiles_of(p_sizes, START, T, SB)
    p_hidden = p_bags + wide(tl.program_id(0)) * (2 * T * STRIDE)
    p_error = p_hidden + T * STRIDE
    total = tl.zeros((), dtype=tl.float64)
    for item in range(first_step * B + tl.program_id(0), tl.minimum(last_step * B, tiles), tl.num_programs(0)):
        step = item // B
        p_rows, b_word, b_center, b_a, b_number, b_first, b_last = tile_rows(
            p_inputs, p_hidden, p_kept, p_sizes, room, item, START, S, window, key_1, key_2, base_low, base_high,
            D, STRIDE, BD, T, SB, SHRINK, MEAN, PRECISION, WALKED,
        )  # fmt: skip
        b_noise = step_noise(
            p_kept, p_sizes, p_alias, room, step, item % B, lane, key_1, key_2, base_low, base_high, vocabulary,
            B, T, N, NB,
        )  # fmt: skip
        b_share = tl.load(p_share + b_center)
        m_slot, m_center = tl.sum(b_a, 0) > 0, tl.sum(b_a, 1) > 0
        b_trained = m_center.to(tl.float32)  # centers with a context
        b_gather, b_spread = bags(b_a, MEAN, SHARED)
        b_own, b_hh = tl.zeros((T,), dtype=tl.float32), tl.zeros((T,), dtype=tl.float32)
        b_cc, b_nn = tl.zeros((T,), dtype=tl.float32), tl.zeros((NB,), dtype=tl.float32)
        b_score = tl.zeros((NB, T), dtype=tl.float32)
        for d in range(0, D, BD):
            b_h = hidden_rows(p_rows, b_word, d + o_block, b_gather, m_slot, D, STRIDE, WALKED, PRECISION)
            b_c = rows_of(p_outputs, b_center, d + o_block, m_center, D, STRIDE)
            b_own += tl.sum(b_h * b_c, 1)
            b_z = rows_of(p_outputs, b_noise, d + o_block, m_negative, D, STRIDE)
            b_score = tl.dot(b_z, tl.trans(b_h), b_score, input_precision=PRECISION)
            b_hh = measured(b_hh, b_h, WIDTH, ADAGRAD)
            b_cc = measured(b_cc, b_c, WIDTH, ADAGRAD)
            b_nn = measured(b_nn, b_z, WIDTH, ADAGRAD)
        b_q = tl.where(m_negative[:, None], b_trained[None, :] * k_over_n, 0.0)
        if LOSS:
            own = tl.sum(b_trained * (b_share * softplus(b_own) - b_own))
            total += (own + tl.sum(b_q * softplus(b_score))).to(tl.float64)
        b_own_g = b_trained * (1.0 - b_share * tl.sigmoid(b_own))
        b_g = -b_q * tl.sigmoid(b_score)
        b_terms = -b_g * tl.sigmoid(b_score)
        b_asked = b_own_g * b_own_g * b_cc + tl.sum(b_terms * b_nn[:, None], 0)
        add_squares(p_output_squares_to, b_center, b_own_g * b_own_g * b_hh, m_center, ADAGRAD)
        add_squares(p_output_squares_to, b_noise, tl.sum(b_terms * b_hh[None, :], 1), m_negative, ADAGRAD)
        once = tl.load(p_pairs + step).to(tl.float32) / (tl.minimum(B, tiles - step * B) * N)
        b_scale = input_rates(
            p_counters, p_input_pairs, p_input_squares, p_input_squares_to, p_lock, step, b_word, alpha, C,
            b_spread, b_asked, m_slot, MAX_PULL, ADAGRAD, LOCK, PARTS, False, WALKED,
        )  # fmt: skip
        b_center_scale = output_scale(
            p_counters, p_output_pairs, p_output_squares, step, b_center, once, alpha, C, MAX_PULL, ADAGRAD
        )  # fmt: skip
        b_noise_scale = output_scale(
            p_counters, p_output_pairs, p_output_squares, step, b_noise, once, alpha, C, MAX_PULL, ADAGRAD
        )  # fmt: skip
        for d in range(0, D, BD):
            b_h = hidden_rows(p_rows, b_word, d + o_block, b_gather, m_slot, D, STRIDE, WALKED, PRECISION)
            b_z = rows_of(p_outputs, b_noise, d + o_block, m_negative, D, STRIDE)
            b_dh = tl.dot(tl.trans(b_g), b_z, input_precision=PRECISION)
            b_dh += b_own_g[:, None] * rows_of(p_outputs, b_center, d + o_block, m_center, D, STRIDE)
            b_dz = tl.dot(b_g, b_h, input_precision=PRECISION) * b_noise_scale[:, None]
            b_dc = (b_own_g * b_center_scale)[:, None] * b_h
            add_errors(
                p_inputs_to, p_error, b_word, d + o_block, b_dh, b_spread, b_scale, m_slot,
                T, D, STRIDE, False, WALKED, PRECISION,
            )  # fmt: skip
            add_rows(p_outputs_to, b_center, d + o_block, b_dc, m_center, D, STRIDE)
            add_rows(p_outputs_to, b_noise, d + o_block, b_dz, m_negative, D, STRIDE)
        if WALKED:
            scatter_bags(
                p_inputs_to, p_input_squares, p_input_squares_to, p_error,
                p_kept, p_counters, p_input_pairs, p_lock,
                step, alpha, C, b_number, b_first, b_last, b_asked,
                D, STRIDE, BD, T, SB, MAX_PULL, ADAGRAD, LOCK, PARTS, SHARED, PRECISION,
            )  # fmt: skip
    if LOSS:
        add_loss(p_loss, total)


@triton.jit
def _met(b_of_center, b_a, SKIP_GRAM: tl.constexpr):
    """How often nodes meet hidden rows, from their centers' [U, T]: all contexts, or CBOW's one row a center."""
    if SKIP_GRAM:
        b_q = tl.dot(b_of_center, b_a, input_precision="tf32")  # small whole numbers are exact
    else:
        b_q = b_of_center * (tl.sum(b_a, 1) > 0).to(tl.float32)[None, :]
    return b_q


@triton.jit(do_not_specialize=_SIZES)
def hierarchical(
    p_kept, p_sizes, p_counters, p_top_counters, p_top, p_top_signs, p_starts, p_paths,
    p_input_pairs, p_node_pairs, p_lock,
    p_inputs, p_nodes, p_inputs_to, p_nodes_to,
    p_input_squares, p_node_squares, p_input_squares_to, p_node_squares_to, p_scratch, p_scratch_node, p_bags, p_loss,
    room, first_step, last_step, START, window, key_1, key_2, base_low, base_high, path, B, C, alpha,
    D: tl.constexpr, STRIDE: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, SB: tl.constexpr,
    WIDTH: tl.constexpr, ADAGRAD: tl.constexpr,
    UB: tl.constexpr, M: tl.constexpr, TOP: tl.constexpr,
    MAX_PULL: tl.constexpr, NODE_PULL: tl.constexpr, SHRINK: tl.constexpr, LOCK: tl.constexpr, PARTS: tl.constexpr,
    SKIP_GRAM: tl.constexpr, MEAN: tl.constexpr, SHARED: tl.constexpr, LOSS: tl.constexpr, PRECISION: tl.constexpr,
    WALKED: tl.constexpr, AHEAD: tl.constexpr,
):  # fmt: skip
    """Hierarchical softmax: item = tile, trains the nodes on the paths of T centers.

    The TOP busiest nodes are on nearly every path: each is one entry, which meets all hidden rows of the tile, so that
    what the tile asks of it is summed by a product and added once. With P and N, positive and all examples of node and
    row: g = P - N sigmoid(z . h).

    The rest of the paths is taken UB entries at a time: entry u, a node of center o(u), meets the hidden rows r of that
    center: g = Q (label - sigmoid(z . h)). Pulls go through a scratch block of `path` entries, the top's first, so that
    hidden rows are added to once a tile and not once a block of entries. p_bags: CBOW's scratch of a program, H and dH.

    AHEAD: nodes meet a slot's row as the slot's centers in this tile have moved it by then, on average (met_rows).
    """
    R: tl.constexpr = SB if SKIP_GRAM else T
    o_hidden, o_block, o_entry = tl.arange(0, R), tl.arange(0, BD), tl.arange(0, UB)
    o_top = tl.arange(0, M)
    p_mine = p_scratch + wide(tl.program_id(0)) * path * (R + 2)  # pulls, then scales and parts ahead
    p_scales = p_mine + path * R
    p_my_nodes = p_scratch_node + wide(tl.program_id(0)) * path
    p_rest, p_rest_scales, p_rest_nodes = p_mine + M * R, p_scales + 2 * M, p_my_nodes + M
    p_hidden = p_bags + wide(tl.program_id(0)) * (2 * T * STRIDE)
    p_error = p_hidden + T * STRIDE
    b_top = tl.load(p_top + o_top)
    tiles, S = tiles_of(p_sizes, START, T, SB)
    total = tl.zeros((), dtype=tl.float64)
    for item in range(first_step * B + tl.program_id(0), tl.minimum(last_step * B, tiles), tl.num_programs(0)):
        step = item // B
        p_rows, b_word, b_center, b_a, b_number, b_first, b_last = tile_rows(
            p_inputs, p_hidden, p_kept, p_sizes, room, item, START, S, window, key_1, key_2, base_low, base_high,
            D, STRIDE, BD, T, SB, SHRINK, MEAN, PRECISION, WALKED,
        )  # fmt: skip
        b_gather, b_spread = bags(b_a, MEAN, SHARED)
        b_m = tl.sum(b_a, 1)
        m_slot = tl.sum(b_a, 0) > 0
        p_made, b_row, m_row = made_rows(
            p_rows, p_hidden, b_word, b_gather, b_m, m_slot, D, STRIDE, BD, T, SKIP_GRAM or WALKED, PRECISION
        )
        b_from, b_end = path_ends(p_starts, b_center, b_m)
        entries = tl.max(b_end, 0)
        loss = 0.0

        b_top_score = tl.zeros((M, R), dtype=tl.float32)
        b_hh, b_top_zz = tl.zeros((R,), dtype=tl.float32), tl.zeros((M,), dtype=tl.float32)
        for d in range(0, D, BD):
            b_h = rows_of(p_made, b_row, d + o_block, m_row, D, STRIDE)
            b_top_z = rows_of(p_nodes, b_top, d + o_block, o_top < TOP, D, STRIDE)
            b_top_score = tl.dot(b_top_z, tl.trans(b_h), b_top_score, input_precision=PRECISION)
            b_hh = measured(b_hh, b_h, WIDTH, ADAGRAD)
            b_top_zz = measured(b_top_zz, b_top_z, WIDTH, ADAGRAD)
        b_sign = tl.load(p_top_signs + o_top[:, None] + b_center.to(tl.int64)[None, :] * M).to(tl.float32)  # [M, T]
        b_positive, b_all = _met((b_sign > 0).to(tl.float32), b_a, SKIP_GRAM), _met(tl.abs(b_sign), b_a, SKIP_GRAM)
        if LOSS:
            loss += tl.sum(b_all * softplus(b_top_score) - b_positive * b_top_score)
        b_top_counted = tl.load(p_top_counters + wide(step) * M + o_top).to(tl.float32) / NODE_PULL
        b_top_scale = row_scale(p_node_pairs, p_node_squares, b_top, b_top_counted, alpha, MAX_PULL, ADAGRAD)
        b_chance = tl.sigmoid(b_top_score)
        b_asked = tl.zeros((R,), dtype=tl.float32)
        # of b_all decisions b_positive have label 1
        b_of_top = b_positive * (1.0 - 2.0 * b_chance) + b_all * b_chance * b_chance
        b_asked = ask(b_asked, b_of_top, b_top_zz, ADAGRAD)
        add_squares(p_node_squares_to, b_top, tl.sum(b_of_top * b_hh[None, :], 1), o_top < TOP, ADAGRAD)
        tl.store(p_mine + o_top[:, None] * R + o_hidden[None, :], b_positive - b_all * b_chance)
        tl.store(p_my_nodes + o_top, b_top)
        tl.store(p_scales + 2 * o_top, tl.where(tl.sum(b_all, 1) > 0, b_top_scale, 0.0))
        tl.store(p_scales + 2 * o_top + 1, tl.zeros((M,), dtype=tl.float32))

        for u in range(0, entries, UB):
            m_entry = u + o_entry < entries
            b_node, b_label, b_one = path_entries(p_paths, b_from, b_end, u, UB, T)
            b_q = _met(b_one, b_a, SKIP_GRAM)
            b_score = tl.zeros((UB, R), dtype=tl.float32)
            b_zz = tl.zeros((UB,), dtype=tl.float32)
            for d in range(0, D, BD):
                b_h = rows_of(p_made, b_row, d + o_block, m_row, D, STRIDE)
                b_z = rows_of(p_nodes, b_node, d + o_block, m_entry, D, STRIDE)
                b_score = tl.dot(b_z, tl.trans(b_h), b_score, input_precision=PRECISION)
                b_zz = measured(b_zz, b_z, WIDTH, ADAGRAD)
            if LOSS:
                loss += tl.sum(b_q * (softplus(b_score) - b_label[:, None] * b_score))
            b_g = b_q * (b_label[:, None] - tl.sigmoid(b_score))
            b_of_entries = b_g * (b_label[:, None] - tl.sigmoid(b_score))
            b_asked = ask(b_asked, b_of_entries, b_zz, ADAGRAD)
            add_squares(p_node_squares_to, b_node, tl.sum(b_of_entries * b_hh[None, :], 1), m_entry, ADAGRAD)
            tl.store(p_rest + (u + o_entry)[:, None] * R + o_hidden[None, :], b_g, mask=m_entry[:, None])
            b_counted = counted(p_counters, step, b_node, C, OF_NODES) / NODE_PULL
            b_scale = row_scale(p_node_pairs, p_node_squares, b_node, b_counted, alpha, MAX_PULL, ADAGRAD)
            tl.store(p_rest_nodes + u + o_entry, b_node, mask=m_entry)
            tl.store(p_rest_scales + 2 * (u + o_entry), b_scale, mask=m_entry)
            b_ahead = part_ahead(tl.sum(b_q, 1) if SKIP_GRAM else tl.zeros((UB,), dtype=tl.float32))
            tl.store(p_rest_scales + 2 * (u + o_entry) + 1, b_ahead, mask=m_entry)
        if LOSS:
            total += loss
        b_scale = input_rates(
            p_counters, p_input_pairs, p_input_squares, p_input_squares_to, p_lock, step, b_word, alpha, C,
            b_spread, b_asked, m_slot, MAX_PULL, ADAGRAD, LOCK, PARTS, SKIP_GRAM, WALKED,
        )  # fmt: skip
        tl.debug_barrier()  # the scratch is read in another layout than it was written in
        for d in range(0, D, BD):
            b_h = rows_of(p_made, b_row, d + o_block, m_row, D, STRIDE)
            b_h, b_dh = met_rows(
                b_h, b_a, b_scale, p_nodes, p_mine, p_my_nodes, d + o_block, M + entries,
                D, STRIDE, UB, R, PRECISION, AHEAD,
            )  # fmt: skip
            for u in range(0, M + entries, UB):
                b_g, b_node, m_entry = kept_pulls(p_mine, p_my_nodes, u, M + entries, UB, R)
                b_node_scale = tl.load(p_scales + 2 * (u + o_entry), mask=m_entry, other=0.0)
                b_ahead = tl.load(p_scales + 2 * (u + o_entry) + 1, mask=m_entry, other=0.0)
                b_dz = tl.dot(b_g, b_h, input_precision=PRECISION) * b_node_scale[:, None]
                b_z = rest_of_nodes(b_dz, b_ahead, p_nodes, b_node, m_entry, d + o_block, D, STRIDE, AHEAD)
                b_dh = tl.dot(tl.trans(b_g), b_z, b_dh, input_precision=PRECISION)
                add_rows(p_nodes_to, b_node, d + o_block, b_dz, b_node_scale > 0, D, STRIDE)
            add_errors(
                p_inputs_to, p_error, b_word, d + o_block, b_dh, b_spread, b_scale, m_slot,
                T, D, STRIDE, SKIP_GRAM, WALKED, PRECISION,
            )  # fmt: skip
        if WALKED:
            scatter_bags(
                p_inputs_to, p_input_squares, p_input_squares_to, p_error,
                p_kept, p_counters, p_input_pairs, p_lock,
                step, alpha, C, b_number, b_first, b_last, b_asked,
                D, STRIDE, BD, T, SB, MAX_PULL, ADAGRAD, LOCK, PARTS, SHARED, PRECISION,
            )  # fmt: skip
        tl.debug_barrier()  # before the scratch is written again
    if LOSS:
        add_loss(p_loss, total)
