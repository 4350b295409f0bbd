"""Fused Triton kernels: one program takes a group or tile of tokens from rows to updated rows.

Nothing between the gather and the update is written to memory, Huffman pulls excepted (one scratch block a program).
Names: p_ pointer, b_ loaded block, o_ offsets, m_ mask. Indices are int64 before they meet a stride: vocabulary times
dimensions passes 2^31.

The mathematics is that of torch_engine.py (Mikolov et al. 2013b, arXiv:1310.4546, eqs. 3 and 4; docs/kernels.md). Rows
are walked BD dimensions at a time, twice: once for the scores, once for the updates, when they come from the cache.
So registers do not grow with the dimension, and dimensions past D are masked: they cost no memory traffic.

`p_inputs` and its like are read, `p_inputs_to` and its like are added to. In training they are the same matrix, shared
without locks (Hogwild, Niu et al. 2011, arXiv:1106.5730); the tests give a snapshot to read, and get the reference's
arithmetic exactly. Additions are relaxed atomics without a result: one `red.global.add` of up to 16 bytes each.

Sizes that change from launch to launch are not specialized: one compiled variant serves them all.

The grid is persistent: its programs are the tokens in flight (schedule.py), each takes every P-th piece of work.
"""

import triton
import triton.language as tl


@triton.jit
def _wide(n):
    """An index as int64, a loop's own (an int in Triton's interpreter) too."""
    return tl.zeros((), dtype=tl.int64) + n


@triton.jit
def _softplus(x):
    """log(1 + exp(x)), without overflow."""
    return tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def _rows(p_matrix, b_index, o_d, m, D: tl.constexpr, STRIDE: tl.constexpr):
    """Rows of a matrix at dimensions o_d: [rows, BD], zero outside the mask."""
    offsets = b_index.to(tl.int64)[:, None] * STRIDE + o_d[None, :]
    return tl.load(p_matrix + offsets, mask=m[:, None] & (o_d[None, :] < D), other=0.0)


@triton.jit
def _add_rows(p_matrix, b_index, o_d, b_values, m, D: tl.constexpr, STRIDE: tl.constexpr):
    """Add values [rows, BD] to rows of a matrix; other programs may add to the same rows at the same time."""
    offsets = b_index.to(tl.int64)[:, None] * STRIDE + o_d[None, :]
    tl.atomic_add(p_matrix + offsets, b_values, mask=m[:, None] & (o_d[None, :] < D), sem="relaxed")


@triton.jit
def _window(p_first, p_last, o_tile, o_slot, m_slot, OWN, START, T: tl.constexpr):
    """A of a tile: 1.0 where a slot is a context of a center, [T, S]."""
    o_center = tl.arange(0, T)
    b_first = tl.load(p_first + o_tile * T + o_center) - START
    b_last = tl.load(p_last + o_tile * T + o_center) - START
    inside = (o_slot[None, :] >= b_first[:, None]) & (o_slot[None, :] <= b_last[:, None]) & m_slot[None, :]
    return (inside & (o_slot[None, :] != o_center[:, None] + OWN)).to(tl.float32)


@triton.jit(do_not_specialize=["items", "groups", "tiles", "length", "OWN", "START", "S"])
def skip_gram_negative(
    p_line, p_scale, p_weight, p_rows, p_row_scale, p_share, p_first, p_last,
    p_inputs, p_outputs, p_inputs_to, p_outputs_to, p_loss,
    items, groups, tiles, length, OWN, START, S,
    D: tl.constexpr, STRIDE: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, SB: tl.constexpr,
    G: tl.constexpr, N: tl.constexpr, NB: tl.constexpr, TILES: tl.constexpr,
    LOSS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Skip-gram with negative sampling: item (step, group) trains TILES tiles of centers and a group of negatives.

    Centers, tile by tile: scores = Z X', g = A - share * A * sigmoid(scores), dX = g' Z, dZ = g X.
    Negatives: the slots g, g + groups, ... of the step's line against N shared rows,
    g = -weight * sigmoid(scores), weight = K/N * the slot's pairs.
    """
    o_slot, o_center = tl.arange(0, SB), tl.arange(0, T)
    o_hidden, o_negative, o_block = tl.arange(0, G), tl.arange(0, NB), tl.arange(0, BD)
    m_slot, m_center, m_hidden, m_negative = o_slot < S, o_center < T, o_hidden < G, o_negative < N
    for item in range(tl.program_id(0), items, tl.num_programs(0)):
        step, group = item // groups, item % groups
        o_line, o_row = _wide(step) * length, _wide(step) * (tiles * T + groups * N)
        loss = 0.0
        for n in range(TILES):
            tile = group * TILES + n
            if tile < tiles:
                b_word = tl.load(p_line + o_line + tile * T + o_slot, mask=m_slot, other=0)
                b_scale = tl.load(p_scale + o_line + tile * T + o_slot, mask=m_slot, other=0.0)
                b_center = tl.load(p_rows + o_row + tile * T + o_center)
                b_center_scale = tl.load(p_row_scale + o_row + tile * T + o_center)
                b_share = tl.load(p_share + b_center)
                b_a = _window(p_first, p_last, _wide(step) * tiles + tile, o_slot, m_slot, OWN, START, T)
                b_m = tl.sum(b_a, 1)
                b_ahead = tl.maximum(b_m - 1.0, 0.0) / (2.0 * tl.maximum(b_m, 1.0))
                b_ahead *= tl.maximum(b_share, 0.0)  # torch_engine._ahead, _prepare_words
                b_score = tl.zeros((T, SB), dtype=tl.float32)
                for d in range(0, D, BD):
                    b_x = _rows(p_inputs, b_word, d + o_block, m_slot, D, STRIDE)
                    b_z = _rows(p_outputs, b_center, d + o_block, m_center, D, STRIDE)
                    b_score = tl.dot(b_z, tl.trans(b_x), b_score, input_precision=PRECISION)
                if LOSS:
                    loss += tl.sum(b_a * (b_share[:, None] * _softplus(b_score) - b_score))
                b_g = b_a * (1.0 - b_share[:, None] * tl.sigmoid(b_score))
                for d in range(0, D, BD):
                    b_x = _rows(p_inputs, b_word, d + o_block, m_slot, D, STRIDE)
                    b_z = _rows(p_outputs, b_center, d + o_block, m_center, D, STRIDE)
                    b_dz = tl.dot(b_g, b_x, input_precision=PRECISION) * b_center_scale[:, None]
                    b_dx = tl.dot(tl.trans(b_g), b_z + b_ahead[:, None] * b_dz, input_precision=PRECISION)
                    b_dx *= b_scale[:, None]
                    _add_rows(p_inputs_to, b_word, d + o_block, b_dx, m_slot, D, STRIDE)
                    _add_rows(p_outputs_to, b_center, d + o_block, b_dz, m_center, D, STRIDE)

        o_place = o_line + o_hidden * groups + group
        b_word, b_scale = tl.load(p_line + o_place), tl.load(p_scale + o_place)
        b_weight = tl.load(p_weight + o_place)
        o_noise = o_row + tiles * T + group * N + o_negative
        b_noise = tl.load(p_rows + o_noise, mask=m_negative, other=0)
        b_noise_scale = tl.load(p_row_scale + o_noise, mask=m_negative, other=0.0)
        b_score = tl.zeros((NB, G), dtype=tl.float32)
        for d in range(0, D, BD):
            b_x = _rows(p_inputs, b_word, d + o_block, m_hidden, D, STRIDE)
            b_z = _rows(p_outputs, b_noise, d + o_block, m_negative, D, STRIDE)
            b_score = tl.dot(b_z, tl.trans(b_x), b_score, input_precision=PRECISION)
        b_q = tl.where(m_negative[:, None], b_weight[None, :], 0.0)
        if LOSS:
            loss += tl.sum(b_q * _softplus(b_score))
            tl.store(p_loss + item, loss)
        b_g = -b_q * tl.sigmoid(b_score)
        for d in range(0, D, BD):
            b_x = _rows(p_inputs, b_word, d + o_block, m_hidden, D, STRIDE)
            b_z = _rows(p_outputs, b_noise, d + o_block, m_negative, D, STRIDE)
            b_dx = tl.dot(tl.trans(b_g), b_z, input_precision=PRECISION) * b_scale[:, None]
            b_dz = tl.dot(b_g, b_x, input_precision=PRECISION) * b_noise_scale[:, None]
            _add_rows(p_inputs_to, b_word, d + o_block, b_dx, m_hidden, D, STRIDE)
            _add_rows(p_outputs_to, b_noise, d + o_block, b_dz, m_negative, D, STRIDE)


@triton.jit
def _bags(b_a, MEAN: tl.constexpr):
    """CBOW: gather and spread [T, S], how contexts make a hidden row and how its error goes back to them.

    gensim hands the whole error to every context when the hidden row was their mean, and an equal share of it when it
    was their sum (docs/parity.md, "CBOW's gradient").
    """
    b_shared = b_a / tl.maximum(tl.sum(b_a, 1), 1.0)[:, None]
    if MEAN:
        return b_shared, b_a
    return b_a, b_shared


@triton.jit(do_not_specialize=["items", "tiles", "length", "OWN", "START", "S"])
def cbow_negative(
    p_line, p_scale, p_rows, p_row_scale, p_share, p_first, p_last,
    p_inputs, p_outputs, p_inputs_to, p_outputs_to, p_loss,
    items, tiles, length, OWN, START, S, k_over_n,
    D: tl.constexpr, STRIDE: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, SB: tl.constexpr,
    N: tl.constexpr, NB: tl.constexpr, MEAN: tl.constexpr, LOSS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """CBOW with negative sampling: item (step, tile) trains T hidden rows H = gather X against centers and N negatives.

    Centers: g = 1 - share * sigmoid(h . z), row by row; negatives: g = -K/N * sigmoid(Z H'); dX = spread' dH.
    """
    o_slot, o_center = tl.arange(0, SB), tl.arange(0, T)
    o_negative, o_block = tl.arange(0, NB), tl.arange(0, BD)
    m_slot, m_center, m_negative = o_slot < S, o_center < T, o_negative < N
    for item in range(tl.program_id(0), items, tl.num_programs(0)):
        step, tile = item // tiles, item % tiles
        o_line, o_row = _wide(step) * length, _wide(step) * (tiles * T + tiles * N)
        b_word = tl.load(p_line + o_line + tile * T + o_slot, mask=m_slot, other=0)
        b_scale = tl.load(p_scale + o_line + tile * T + o_slot, mask=m_slot, other=0.0)
        b_center = tl.load(p_rows + o_row + tile * T + o_center)
        b_center_scale = tl.load(p_row_scale + o_row + tile * T + o_center)
        b_share = tl.load(p_share + b_center)
        o_noise = o_row + tiles * T + tile * N + o_negative
        b_noise = tl.load(p_rows + o_noise, mask=m_negative, other=0)
        b_noise_scale = tl.load(p_row_scale + o_noise, mask=m_negative, other=0.0)
        b_a = _window(p_first, p_last, item, o_slot, m_slot, OWN, START, T)
        b_trained = (tl.sum(b_a, 1) > 0).to(tl.float32)  # centers with a context
        b_gather, b_spread = _bags(b_a, MEAN)
        b_own = tl.zeros((T,), dtype=tl.float32)
        b_score = tl.zeros((NB, T), dtype=tl.float32)
        for d in range(0, D, BD):
            b_x = _rows(p_inputs, b_word, d + o_block, m_slot, D, STRIDE)
            b_h = tl.dot(b_gather, b_x, input_precision=PRECISION)
            b_own += tl.sum(b_h * _rows(p_outputs, b_center, d + o_block, m_center, D, STRIDE), 1)
            b_z = _rows(p_outputs, b_noise, d + o_block, m_negative, D, STRIDE)
            b_score = tl.dot(b_z, tl.trans(b_h), b_score, input_precision=PRECISION)
        b_q = tl.where(m_negative[:, None], b_trained[None, :] * k_over_n, 0.0)
        if LOSS:
            own = tl.sum(b_trained * (b_share * _softplus(b_own) - b_own))
            tl.store(p_loss + item, own + tl.sum(b_q * _softplus(b_score)))
        b_own_g = b_trained * (1.0 - b_share * tl.sigmoid(b_own))
        b_g = -b_q * tl.sigmoid(b_score)
        for d in range(0, D, BD):
            b_x = _rows(p_inputs, b_word, d + o_block, m_slot, D, STRIDE)
            b_h = tl.dot(b_gather, b_x, input_precision=PRECISION)
            b_z = _rows(p_outputs, b_noise, d + o_block, m_negative, D, STRIDE)
            b_dh = tl.dot(tl.trans(b_g), b_z, input_precision=PRECISION)
            b_dh += b_own_g[:, None] * _rows(p_outputs, b_center, d + o_block, m_center, D, STRIDE)
            b_dx = tl.dot(tl.trans(b_spread), b_dh, input_precision=PRECISION) * b_scale[:, None]
            b_dz = tl.dot(b_g, b_h, input_precision=PRECISION) * b_noise_scale[:, None]
            b_dc = (b_own_g * b_center_scale)[:, None] * b_h
            _add_rows(p_inputs_to, b_word, d + o_block, b_dx, m_slot, D, STRIDE)
            _add_rows(p_outputs_to, b_center, d + o_block, b_dc, m_center, D, STRIDE)
            _add_rows(p_outputs_to, b_noise, d + o_block, b_dz, m_negative, D, STRIDE)


@triton.jit(do_not_specialize=["items", "tiles", "length", "path", "OWN", "START", "S"])
def hierarchical(
    p_line, p_scale, p_node, p_owner, p_label, p_node_scale, p_ahead, p_first, p_last,
    p_inputs, p_nodes, p_inputs_to, p_nodes_to, p_scratch, p_loss,
    items, tiles, length, path, OWN, START, S,
    D: tl.constexpr, STRIDE: tl.constexpr, BD: tl.constexpr, T: tl.constexpr, SB: tl.constexpr, UB: tl.constexpr,
    SKIP_GRAM: tl.constexpr, MEAN: tl.constexpr, LOSS: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Hierarchical softmax: item (step, tile) trains the nodes on the paths of T centers, `path` entries.

    Entry u, a node of center o(u), meets the hidden rows r of that center: g = Q (label - sigmoid(z . h)). Pulls go
    through a scratch block, so that hidden rows are added to once a tile and not once a block of entries.
    """
    R: tl.constexpr = SB if SKIP_GRAM else T
    o_slot, o_hidden, o_block, o_entry = tl.arange(0, SB), tl.arange(0, R), tl.arange(0, BD), tl.arange(0, UB)
    m_slot = o_slot < S
    p_mine = p_scratch + _wide(tl.program_id(0)) * path * R
    for item in range(tl.program_id(0), items, tl.num_programs(0)):
        step, tile = item // tiles, item % tiles
        o_line, o_path = _wide(step) * length, _wide(item) * path
        b_word = tl.load(p_line + o_line + tile * T + o_slot, mask=m_slot, other=0)
        b_scale = tl.load(p_scale + o_line + tile * T + o_slot, mask=m_slot, other=0.0)
        b_a = _window(p_first, p_last, item, o_slot, m_slot, OWN, START, T)
        b_gather, b_spread = _bags(b_a, MEAN)
        b_trained = (tl.sum(b_a, 1) > 0).to(tl.float32)
        loss = 0.0
        for u in range(0, path, UB):
            m_entry = u + o_entry < path
            b_node = tl.load(p_node + o_path + u + o_entry, mask=m_entry, other=0)
            b_owner = tl.load(p_owner + o_path + u + o_entry, mask=m_entry, other=0)
            b_label = tl.load(p_label + o_path + u + o_entry, mask=m_entry, other=-1.0)  # -1 is padding
            # Q[u, r] = A[o(u), r] in skip-gram; CBOW: 1 where r is o(u) and has a context. A one-hot product reads it.
            b_one = ((b_owner[:, None] == tl.arange(0, T)[None, :]) & (b_label >= 0)[:, None]).to(tl.float32)
            if SKIP_GRAM:
                b_q = tl.dot(b_one, b_a, input_precision="tf32")  # zeros and ones are exact
            else:
                b_q = b_one * b_trained[None, :]
            b_score = tl.zeros((UB, R), dtype=tl.float32)
            for d in range(0, D, BD):
                b_h = _rows(p_inputs, b_word, d + o_block, m_slot, D, STRIDE)
                if not SKIP_GRAM:
                    b_h = tl.dot(b_gather, b_h, input_precision=PRECISION)
                b_z = _rows(p_nodes, b_node, d + o_block, m_entry, D, STRIDE)
                b_score = tl.dot(b_z, tl.trans(b_h), b_score, input_precision=PRECISION)
            if LOSS:
                loss += tl.sum(b_q * (_softplus(b_score) - b_label[:, None] * b_score))
            b_g = b_q * (b_label[:, None] - tl.sigmoid(b_score))
            tl.store(p_mine + (u + o_entry)[:, None] * R + o_hidden[None, :], b_g, mask=m_entry[:, None])
        if LOSS:
            tl.store(p_loss + item, loss)
        tl.debug_barrier()  # the scratch is read in another layout than it was written in
        for d in range(0, D, BD):
            b_h = _rows(p_inputs, b_word, d + o_block, m_slot, D, STRIDE)
            if not SKIP_GRAM:
                b_h = tl.dot(b_gather, b_h, input_precision=PRECISION)
            b_dh = tl.zeros((R, BD), dtype=tl.float32)
            for u in range(0, path, UB):
                m_entry = u + o_entry < path
                b_node = tl.load(p_node + o_path + u + o_entry, mask=m_entry, other=0)
                b_node_scale = tl.load(p_node_scale + o_path + u + o_entry, mask=m_entry, other=0.0)
                b_g = tl.load(p_mine + (u + o_entry)[:, None] * R + o_hidden[None, :], mask=m_entry[:, None], other=0.0)
                b_z = _rows(p_nodes, b_node, d + o_block, m_entry, D, STRIDE)
                b_ahead = tl.load(p_ahead + o_path + u + o_entry, mask=m_entry, other=0.0)
                b_dz = tl.dot(b_g, b_h, input_precision=PRECISION) * b_node_scale[:, None]
                b_dh = tl.dot(tl.trans(b_g), b_z + b_ahead[:, None] * b_dz, b_dh, input_precision=PRECISION)
                _add_rows(p_nodes_to, b_node, d + o_block, b_dz, m_entry & (b_node_scale > 0), D, STRIDE)
            if not SKIP_GRAM:
                b_dh = tl.dot(tl.trans(b_spread), b_dh, input_precision=PRECISION)
            _add_rows(p_inputs_to, b_word, d + o_block, b_dh * b_scale[:, None], m_slot, D, STRIDE)
        tl.debug_barrier()  # before the scratch is written again
