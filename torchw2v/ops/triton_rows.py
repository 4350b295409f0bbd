"""Rows of matrices in Triton: read, added to, kept in scratch; AdaGrad's sums. Names as in triton_kernels.py."""

import triton
import triton.language as tl


@triton.jit
def softplus(x):
    """log(1 + exp(x)), without overflow."""
    return tl.maximum(x, 0.0) + tl.log(1.0 + tl.exp(-tl.abs(x)))


@triton.jit
def rows_of(p_matrix, b_index, o_d, m, D: tl.constexpr, STRIDE: tl.constexpr):
    """Rows of a matrix at dimensions o_d: [rows, BD], zero outside the mask.

    Past the multiprocessor's own cache, which additions made by others do not reach: a frequent word's row would stay
    in it, as it was, for as long as the program runs.
    """
    offsets = b_index.to(tl.int64)[:, None] * STRIDE + o_d[None, :]
    return tl.load(p_matrix + offsets, mask=m[:, None] & (o_d[None, :] < D), other=0.0, cache_modifier=".cg")


@triton.jit
def add_rows(p_matrix, b_index, o_d, b_values, m, D: tl.constexpr, STRIDE: tl.constexpr):
    """Add values [rows, BD] to rows of a matrix; other programs may add to the same rows at the same time."""
    offsets = b_index.to(tl.int64)[:, None] * STRIDE + o_d[None, :]
    tl.atomic_add(p_matrix + offsets, b_values, mask=m[:, None] & (o_d[None, :] < D), sem="relaxed")


@triton.jit
def keep_rows(p_rows, o_d, b_values, T: tl.constexpr, D: tl.constexpr, STRIDE: tl.constexpr):
    """Put values [T, BD] into the program's own T rows, at dimensions o_d."""
    offsets = tl.arange(0, T)[:, None] * STRIDE + o_d[None, :]
    tl.store(p_rows + offsets, b_values, mask=o_d[None, :] < D)


@triton.jit
def kept_pulls(p_pulls, p_nodes, first, entries, UB: tl.constexpr, R: tl.constexpr):
    """UB of the program's own entries from `first` on: pulls [UB, R], nodes, and which there are."""
    o_entry = first + tl.arange(0, UB)
    m_entry = o_entry < entries
    b_pull = tl.load(p_pulls + o_entry[:, None] * R + tl.arange(0, R)[None, :], mask=m_entry[:, None], other=0.0)
    return b_pull, tl.load(p_nodes + o_entry, mask=m_entry, other=0), m_entry


@triton.jit
def measured(b_square, b_rows, WIDTH: tl.constexpr, ADAGRAD: tl.constexpr):
    """Mean squares of rows of WIDTH dimensions, a block of them added; only AdaGrad asks for them."""
    if ADAGRAD:
        b_square += tl.sum(b_rows * b_rows, 1) / WIDTH
    return b_square


@triton.jit
def add_squares(p_squares, b_row, b_squares, m, ADAGRAD: tl.constexpr):
    """Add to rows' sums of squares. Without AdaGrad nothing is made of what leads here."""
    if ADAGRAD:
        tl.atomic_add(p_squares + b_row, b_squares, mask=m, sem="relaxed")


@triton.jit
def ask(b_asked, b_terms, b_square, ADAGRAD: tl.constexpr):
    """Squares asked of hidden rows, those of output rows added: of pulls [outputs, hidden] by rows' mean squares."""
    if ADAGRAD:
        b_asked += tl.sum(b_terms * b_square[:, None], 0)
    return b_asked


@triton.jit
def handed_back(b_spread, b_asked, SKIP_GRAM: tl.constexpr):
    """Squares asked of hidden rows, for the slots that made them."""
    if not SKIP_GRAM:
        b_asked = tl.sum(b_spread * b_spread * b_asked[:, None], 0)
    return b_asked


@triton.jit
def add_loss(p_loss, loss):
    """Add to the program's own sum, float64."""
    tl.store(p_loss + tl.program_id(0), tl.load(p_loss + tl.program_id(0)) + loss)


@triton.jit
def part_ahead(b_m):
    """(m - 1) / 2m of m contexts (frames.ahead_of)."""
    return tl.maximum(b_m - 1.0, 0.0) / (2.0 * tl.maximum(b_m, 1.0))


@triton.jit
def met_rows(
    b_h, b_a, b_scale, p_nodes, p_pulls, p_my_nodes, o_d, entries,
    D: tl.constexpr, STRIDE: tl.constexpr, UB: tl.constexpr, R: tl.constexpr, PRECISION: tl.constexpr,
    AHEAD: tl.constexpr,
):  # fmt: skip
    """The rows of a tile's slots as its nodes meet them, H + (m - 1) / 2m scale dH, and dH = G' Z; [R, BD] each.

    A slot's m centers in the tile pull it one after another in gensim; all of their entries' pulls G are the program's.
    Without AHEAD H as it is, and zeros.
    """
    b_dh = tl.zeros_like(b_h)
    if AHEAD:
        for u in range(0, entries, UB):
            b_g, b_node, m_entry = kept_pulls(p_pulls, p_my_nodes, u, entries, UB, R)
            b_z = rows_of(p_nodes, b_node, o_d, m_entry, D, STRIDE)
            b_dh = tl.dot(tl.trans(b_g), b_z, b_dh, input_precision=PRECISION)
        b_h += (part_ahead(tl.sum(b_a, 0)) * b_scale)[:, None] * b_dh
    return b_h, b_dh


@triton.jit
def rest_of_nodes(
    b_moves, b_ahead, p_nodes, b_node, m_entry, o_d, D: tl.constexpr, STRIDE: tl.constexpr, AHEAD: tl.constexpr
):
    """What nodes have to pull with at dimensions o_d, [UB, BD]: Z + ahead dZ, or what met_rows left of it."""
    b_z = b_ahead[:, None] * b_moves
    if not AHEAD:
        b_z += rows_of(p_nodes, b_node, o_d, m_entry, D, STRIDE)
    return b_z
