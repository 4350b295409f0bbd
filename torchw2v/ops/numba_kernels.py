"""Sequential word2vec on a CPU core, compiled by numba. Nothing here but loops; numba_engine.py checks and calls.

The hidden rows of a center (skip-gram: its contexts; CBOW: their mean or sum) meet its targets (the center and its
negatives; the nodes of its Huffman path) in blocks of M hidden rows h_c and N target rows z_t. gensim trains the pairs
of such a block one after another, each from the rows that the one before it left:

    g_ct = alpha (label_t - sigmoid(z_t h_c))      z_t += g_ct h_c      and, after a context's last target,
                                                   h_c += sum_t g_ct z_t

Target t has moved by sum_{b < c} g_bt h_b when context c meets it. So all of its scores follow from the products of the
rows as they were, with no row read twice (P = the h_b h_c):

    z_t h_c = z0_t h_c + sum_{b < c} g_bt P_bc
    dz_t = sum_c g_ct h_c
    dh_c = sum_t g_ct z0_t + sum_{b < c} (sum_t g_bt g_ct) h_b

which is the same arithmetic in another order: small matrix products from rows that stay in the first-level cache, in
place of three passes over memory a pair. It holds where all rows of a block are different; `_different` sees to it.
As in gensim, a pair whose |score| has reached 6 is left alone, which keeps tiny vocabularies from exploding.
With AdaGrad alpha is each row's own: that of z_t changes from context to context (g_bt is then of the rate that
context b met), that of h_c after the block.
Source of the objective: Mikolov et al. 2013b (arXiv:1310.4546), eqs. 3 and 4. The same in plain steps: sequential.py.

All of it stands in one file because numba keeps machine code until the file of the entry, `train_chunk`, changes: a
function that it calls from another file could change unseen. So could the constants imported below, until torchw2v is
installed anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from torchw2v.compiling import kept
from torchw2v.constants import MAX_SCORE, MAX_SEQUENTIAL_BLOCK, MAX_STALE_PULL
from torchw2v.ops.draws import LANE_KEEP, LANE_NEGATIVES, LANE_WINDOW

# Sums may be reordered and contracted (that is what makes vectors of them); NaN and infinity keep their meaning.
# Without numba's runtime (_nrt) arrays are not counted by reference: the counters would be atomic, one for each array
# of every tuple that is looked into, and shared by all threads. One core, cbow-ns: 780 ns a token, without them 450.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "error_model": "numpy",
}
_INLINED: dict[str, Any] = {**_OPTIONS, "_nrt": False, "forceinline": True}
_inlined = njit(**_INLINED)
_NONE = ir.IntType(64)(0)
_LOW_WORD = np.uint64(0xFFFFFFFF)
_ONE = np.float32(1)
_MOST = np.float32(MAX_STALE_PULL)  # AdaGrad's rates at most: what a row cap leaves to a single pair
TARGET_LANES = 8  # targets whose pulls are computed at once
_ALIAS_BITS, _ALIAS_MASK = np.uint64(31), np.uint64(2**31 - 1)
_FIRST, _SINGLE = np.int64(0), np.int64(1)  # written as 0 and 1, they would each be a type, with code of its own


class Matrices(NamedTuple):
    """What is trained: float32 [V, D], changed in place; of no rows where the objective has none of them."""

    inputs: np.ndarray
    outputs: np.ndarray
    nodes: np.ndarray
    input_lock: np.ndarray  # [V], or empty: 1 everywhere
    input_squares: np.ndarray  # AdaGrad's sums, [V] each; empty without it
    output_squares: np.ndarray
    node_squares: np.ndarray


class Vocabulary(NamedTuple):
    """Tables of draws and paths, as in contract.Tables and tables.AliasTable; empty where not used."""

    keep_thresholds: np.ndarray
    noise: np.ndarray  # [V] uint64: AliasTable's accept, up to 2^32, and alias in the lowest 31 bits
    points: np.ndarray
    labels: np.ndarray
    path_offsets: np.ndarray


class Text(NamedTuple):
    """contract.Chunk."""

    token_ids: np.ndarray
    sentence_offsets: np.ndarray
    start: int
    stop: int
    first_position: int


class Rule(NamedTuple):
    """contract.Objective."""

    skip_gram: bool
    negative: int
    hierarchical: bool
    window: int
    shrink_windows: bool
    cbow_mean: bool
    shares_error: bool


class Pace(NamedTuple):
    """contract.Step."""

    alpha: float
    first_key: int
    second_key: int
    compute_loss: bool
    uses: int  # of an own copy of a node before it is brought together with what other threads have made of it


class Scratch(NamedTuple):
    """A block's rows and products. M hidden rows and N targets at most; N is a multiple of TARGET_LANES."""

    pattern: np.ndarray  # [1, D], or [1] records whose one field, "row", has D numbers: see _width_of
    hidden: np.ndarray  # [M, D]
    error: np.ndarray  # [1, D]: of a CBOW center's hidden row
    error_row: np.ndarray  # [M] int64: where the hidden rows' errors are added, rows of the error or of the inputs
    factor: np.ndarray  # [M]: what they are multiplied by
    place: np.ndarray  # [M] int64: 0, 1, 2, ...: the places of the hidden rows
    product: np.ndarray  # [M, M]: P, below its diagonal
    score: np.ndarray  # [M, N]: z_t h_c
    pull: np.ndarray  # [M, N]: g_ct
    both: np.ndarray  # [1, M]: factors of hidden rows
    scaled: np.ndarray  # [1, N]: factors of targets
    row: np.ndarray  # [N] int64: rows of the targets
    label: np.ndarray  # [2 N]: what is behind the targets' is read and not used
    ahead: np.ndarray  # [2, negative] int64: negatives of a center, before it is there
    ahead_of: np.ndarray  # [2] int64: its position; -1 for none
    context: np.ndarray  # [C] int64: words of the contexts
    bag: np.ndarray  # [1, C]: factors of the contexts
    adagrad: np.ndarray  # [0]: of float32 with AdaGrad, else of bool: see _adapts
    miss: np.ndarray  # [M, N]: label - sigmoid; this and what follows is AdaGrad's
    hidden_square: np.ndarray  # [M]: h_c h_c
    target_square: np.ndarray  # [N]: z_t z_t, as the next hidden row meets it
    error_square: np.ndarray  # [M]: squares of what the targets ask of the hidden rows
    top: np.ndarray  # [T, D]: own copies of the Huffman nodes next to the root, which are on nearly every path
    top_before: np.ndarray  # [T, D]: as they were when they were brought together last
    top_uses: np.ndarray  # [T] int64: centers since then


# ---- draws.py, bit by bit ---------------------------------------------------------------------------------------


@_inlined
def _mix(h):
    h = h ^ (h >> np.uint64(16))
    h = (h * np.uint64(0x85EBCA6B)) & _LOW_WORD
    h = h ^ (h >> np.uint64(13))
    h = (h * np.uint64(0xC2B2AE35)) & _LOW_WORD
    return h ^ (h >> np.uint64(16))


@_inlined
def draw(pace, position, lane):
    """draws.draws_numpy of one position and lane: uint64."""
    at = np.uint64(position)
    h = _mix((at + np.uint64(pace.first_key)) & _LOW_WORD)
    h = h ^ (((at >> np.uint64(32)) * np.uint64(0x27D4EB2F)) & _LOW_WORD)
    offset = np.uint64(lane) * np.uint64(0x9E3779B9) + np.uint64(pace.second_key)
    return _mix((h + offset) & _LOW_WORD)


@_inlined
def _reach(rule, pace, position):
    if not rule.shrink_windows:
        return rule.window
    return 1 + np.int64((draw(pace, position, LANE_WINDOW) * np.uint64(rule.window)) >> np.uint64(32))


@_inlined
def _noise_word(vocabulary, pace, position, lane):
    product = draw(pace, position, lane) * np.uint64(len(vocabulary.noise))
    column = np.int64(product >> np.uint64(32))
    entry = vocabulary.noise[column]
    return column if (product & _LOW_WORD) < (entry >> _ALIAS_BITS) else np.int64(entry & _ALIAS_MASK)


# ---- rows -------------------------------------------------------------------------------------------------------


@intrinsic
def _width_of(typing, pattern):
    """D, a constant where the pattern is a record: then loops over rows are compiled without odd ends to look for.

    One core, D = 100, CPU time against the same loops with D read at run time: skip-gram 0.89 with negative sampling,
    0.88 with hierarchical softmax (`python -m compat.bench --workers 1`, with COMPILED_SIZES as it is and empty).
    """
    record = pattern.dtype

    def generate(context, builder, signature, arguments):
        if isinstance(record, types.Record):
            return context.get_constant(types.int64, record.typeof("row").shape[0])  # type: ignore[attr-defined] # a nested array
        array = context.make_array(pattern)(context, builder, arguments[0])
        return builder.extract_value(array.shape, 1)

    return types.int64(pattern), generate


@intrinsic
def _adapts(typing, adagrad):
    """Whether rows have rates of their own (AdaGrad): a constant, so that without them no loop asks for it."""
    adapts = isinstance(adagrad.dtype, types.Float)

    def generate(context, builder, signature, arguments):
        return context.get_constant(types.boolean, adapts)

    return types.boolean(adagrad), generate


@_inlined
def _width(scratch):
    return _width_of(scratch.pattern)  # type: ignore[call-arg] # numba gives the first one


class _Emitter:
    """LLVM code that works on rows of float32 matrices, eight numbers at a time.

    LLVM makes vectors of plain loops, too, but asks before each whether arrays overlap, and has odd ends after it: with
    rows of 100 numbers that takes half of the time.
    """

    lanes = 8  # sixteen were no faster (AMD EPYC with AVX-512)
    flags = ("reassoc", "contract", "nsz")
    number, integer, place = ir.FloatType(), ir.IntType(64), ir.IntType(32)

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder

    def cell(self, kind: Any, array: Any, *place: Any) -> Any:
        """Pointer to an element of an array of one or two dimensions, in C order."""
        made = self.context.make_array(kind)(self.context, self.builder, array)
        offset = place[-1]
        if len(place) > 1:
            row = self.builder.mul(place[0], self.builder.extract_value(made.shape, 1))
            offset = self.builder.add(row, offset)
        return self.builder.gep(made.data, [offset])

    def row(self, kind: Any, matrix: Any, index: Any) -> Any:
        """Pointer to the first element of a row."""
        return self.cell(kind, matrix, index, self.integer(0))

    def several(self, kind: Any, array: Any, place: Any, count: int) -> list[Any]:
        """So many elements of an array of one dimension."""
        places = [self.builder.add(place, self.integer(k)) for k in range(count)]
        return [self.builder.load(self.cell(kind, array, each)) for each in places]

    def vector(self, pointer: Any, place: Any, lanes: int) -> Any:
        """Pointer to so many numbers of a row."""
        kind = ir.VectorType(self.number, lanes) if lanes > 1 else self.number
        return self.builder.bitcast(self.builder.gep(pointer, [place]), kind.as_pointer())

    def load(self, pointer: Any, place: Any, lanes: int) -> Any:
        """So many numbers of a row."""
        return self.builder.load(self.vector(pointer, place, lanes), align=4)

    def store(self, numbers: Any, pointer: Any, place: Any, lanes: int) -> None:
        """Write them."""
        self.builder.store(numbers, self.vector(pointer, place, lanes), align=4)

    def shuffle(self, first: Any, second: Any, places: list[int]) -> Any:
        """A vector of elements of two vectors."""
        mask = ir.Constant(ir.VectorType(self.place, len(places)), places)
        return self.builder.shuffle_vector(first, second, mask)

    def all_of(self, number: float, lanes: int) -> Any:
        """A constant vector of one number."""
        kind = ir.VectorType(self.number, lanes) if lanes > 1 else self.number
        return ir.Constant(kind, [float(number)] * lanes if lanes > 1 else float(number))

    def spread(self, number: Any, lanes: int) -> Any:
        """A vector of one number."""
        if lanes == 1:
            return number
        nothing = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
        single = self.builder.insert_element(nothing, number, self.place(0))
        return self.shuffle(single, nothing, [0] * lanes)

    def times(self, first: Any, second: Any) -> Any:
        """Product."""
        return self.builder.fmul(first, second, flags=self.flags)

    def add(self, first: Any, second: Any) -> Any:
        """Sum."""
        return self.builder.fadd(first, second, flags=self.flags)

    def fused(self, first: Any, second: Any, third: Any) -> Any:
        """Product and sum."""
        return self.add(self.times(first, second), third)

    def series(self, x: Any, *factors: float) -> Any:
        """A polynomial of a vector, highest power first."""
        total = self.all_of(factors[0], x.type.count)
        for factor in factors[1:]:
            total = self.fused(total, x, self.all_of(factor, x.type.count))
        return total

    def each(self, width: Any, body: Callable[[Any, int], None]) -> None:
        """body(place, lanes) from a row's first number to its last: vectors, perhaps half a vector, single numbers."""
        builder, integer = self.builder, self.integer
        whole = builder.and_(width, integer(-self.lanes))
        with cgutils.for_range_slice(builder, integer(0), whole, integer(self.lanes), integer) as (place, _):
            body(place, self.lanes)
        half = builder.and_(width, integer(self.lanes // 2))
        with builder.if_then(builder.icmp_unsigned("!=", half, integer(0))):
            body(whole, self.lanes // 2)
        with cgutils.for_range_slice(builder, builder.add(whole, half), width, integer(1), integer) as (place, _):
            body(place, 1)

    def halved(self, eight: Any) -> Any:
        """The sums of the first and the last four of eight numbers."""
        return self.add(self.shuffle(eight, eight, [0, 1, 2, 3]), self.shuffle(eight, eight, [4, 5, 6, 7]))

    def sums(self, vectors: list[Any]) -> Any:
        """The sum of each of four vectors of four numbers, as a vector."""
        one, two = (
            self.add(self.shuffle(v, w, [0, 4, 1, 5]), self.shuffle(v, w, [2, 6, 3, 7]))
            for v, w in (vectors[:2], vectors[2:])
        )
        return self.add(self.shuffle(one, two, [0, 1, 4, 5]), self.shuffle(one, two, [2, 3, 6, 7]))


def _products_of(count: int) -> Any:
    """out[a, k + i] = left[a] . right[index[first + k + i]] for i < count, at most 4."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        width, out, a, k, left, right, index, first = arguments
        _, out_kind, _, _, left_kind, right_kind, index_kind, _ = signature.args
        emit = _Emitter(context, builder)
        mine = emit.row(left_kind, left, a)
        rows = [emit.row(right_kind, right, r) for r in emit.several(index_kind, index, builder.add(first, k), count)]
        totals: dict[int, list[Any]] = {}
        for lanes in (8, 4, 1):
            totals[lanes] = [cgutils.alloca_once(builder, emit.all_of(0, lanes).type) for _ in rows]
            for total in totals[lanes]:
                builder.store(emit.all_of(0, lanes), total)

        def add(place: Any, lanes: int) -> None:
            numbers = emit.load(mine, place, lanes)
            for row, total in zip(rows, totals[lanes], strict=True):
                builder.store(emit.fused(numbers, emit.load(row, place, lanes), builder.load(total)), total)

        emit.each(width, add)
        fours = [emit.all_of(0, 4)] * 4
        for i in range(count):
            fours[i] = emit.add(emit.halved(builder.load(totals[8][i])), builder.load(totals[4][i]))
        sums = emit.sums(fours)
        for i in range(count):
            total = emit.add(builder.extract_element(sums, emit.place(i)), builder.load(totals[1][i]))
            builder.store(total, emit.cell(out_kind, out, a, builder.add(k, emit.integer(i))))
        return context.get_dummy_value()

    @intrinsic
    def products(typing, width, out, a, k, left, right, index, first):
        return types.none(width, out, a, k, left, right, index, first), generate

    return products


def _additions_of(count: int) -> Any:
    """rows[r] += sum over i < count, at most 4, of factors[a, k + i] * block[index[first + k + i]]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        width, rows, r, factors, a, k, block, index, first = arguments
        _, rows_kind, _, factors_kind, _, _, block_kind, index_kind, _ = signature.args
        emit = _Emitter(context, builder)
        mine = emit.row(rows_kind, rows, r)
        others = [emit.row(block_kind, block, i) for i in emit.several(index_kind, index, builder.add(first, k), count)]
        places = [builder.add(k, emit.integer(i)) for i in range(count)]
        scales = [builder.load(emit.cell(factors_kind, factors, a, place)) for place in places]

        def add(place: Any, lanes: int) -> None:
            total = emit.load(mine, place, lanes)
            for scale, other in zip(scales, others, strict=True):
                total = emit.fused(emit.spread(scale, lanes), emit.load(other, place, lanes), total)
            emit.store(total, mine, place, lanes)

        emit.each(width, add)
        return context.get_dummy_value()

    @intrinsic
    def additions(typing, width, rows, r, factors, a, k, block, index, first):
        return types.none(width, rows, r, factors, a, k, block, index, first), generate

    return additions


def _outer_of(count: int) -> Any:
    """rows[index[first + k + i]] += factors[0, k + i] * block[0] for i < count, at most 4, one after another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        width, rows, index, first, factors, k, block = arguments
        _, rows_kind, index_kind, _, factors_kind, _, block_kind = signature.args
        emit = _Emitter(context, builder)
        mine = emit.row(block_kind, block, emit.integer(0))
        others = [emit.row(rows_kind, rows, i) for i in emit.several(index_kind, index, builder.add(first, k), count)]
        places = [builder.add(k, emit.integer(i)) for i in range(count)]
        scales = [builder.load(emit.cell(factors_kind, factors, emit.integer(0), place)) for place in places]

        def add(place: Any, lanes: int) -> None:
            numbers = emit.load(mine, place, lanes)
            for scale, other in zip(scales, others, strict=True):
                total = emit.fused(emit.spread(scale, lanes), numbers, emit.load(other, place, lanes))
                emit.store(total, other, place, lanes)

        emit.each(width, add)
        return context.get_dummy_value()

    @intrinsic
    def outer(typing, width, rows, index, first, factors, k, block):
        return types.none(width, rows, index, first, factors, k, block), generate

    return outer


_outer_1, _outer_2, _outer_3, _outer_4 = map(_outer_of, (1, 2, 3, 4))
_products_1, _products_2, _products_3, _products_4 = map(_products_of, (1, 2, 3, 4))
_additions_1, _additions_2, _additions_3, _additions_4 = map(_additions_of, (1, 2, 3, 4))


@_inlined
def _products(width, out, a, left, right, index, first, count):
    """out[a, k] = left[a] . right[index[first + k]], k < count: four at a time, left[a] read once for all."""
    k = _FIRST
    while k + 4 <= count:
        _products_4(width, out, a, k, left, right, index, first)
        k += 4
    rest = count - k
    if rest == 3:
        _products_3(width, out, a, k, left, right, index, first)
    elif rest == 2:
        _products_2(width, out, a, k, left, right, index, first)
    elif rest == 1:
        _products_1(width, out, a, k, left, right, index, first)


@_inlined
def _add(width, rows, r, factors, a, block, index, first, count):
    """rows[r] += sum over k < count of factors[a, k] * block[index[first + k]]: rows[r] is written once for four."""
    k = _FIRST
    while k + 4 <= count:
        _additions_4(width, rows, r, factors, a, k, block, index, first)
        k += 4
    rest = count - k
    if rest == 3:
        _additions_3(width, rows, r, factors, a, k, block, index, first)
    elif rest == 2:
        _additions_2(width, rows, r, factors, a, k, block, index, first)
    elif rest == 1:
        _additions_1(width, rows, r, factors, a, k, block, index, first)


@_inlined
def _add_to_each(width, rows, index, first, count, factors, block):
    """rows[index[first + k]] += factors[0, k] * block[0], k < count; rows may repeat."""
    k = _FIRST
    while k + 4 <= count:
        _outer_4(width, rows, index, first, factors, k, block)
        k += 4
    rest = count - k
    if rest == 3:
        _outer_3(width, rows, index, first, factors, k, block)
    elif rest == 2:
        _outer_2(width, rows, index, first, factors, k, block)
    elif rest == 1:
        _outer_1(width, rows, index, first, factors, k, block)


@_inlined
def _square(width, rows, r):
    square = np.float32(0)
    for d in range(width):
        square += rows[r, d] * rows[r, d]
    return square


@_inlined
def _copy(width, out, k, rows, r):
    for d in range(width):
        out[k, d] = rows[r, d]


@intrinsic
def _prefetch_line(typing, rows, r, d):
    """Ask for the cache line of rows[r, d], by LLVM's prefetch."""

    def generate(context, builder, signature, arguments):
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        width = builder.extract_value(array.shape, 1)
        offset = builder.add(builder.mul(arguments[1], width), arguments[2])
        address = builder.bitcast(builder.gep(array.data, [offset]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        fn_type = ir.FunctionType(ir.VoidType(), [address.type, word, word, word])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [address.type], fn_type)
        builder.call(prefetch, [address, word(1), word(3), word(1)])
        return context.get_dummy_value()

    return types.none(rows, types.int64, types.int64), generate


@_inlined
def _prefetch(rows, r):
    for d in range(0, rows.shape[1], 16):
        _prefetch_line(rows, np.int64(r), d)  # type: ignore[call-arg] # numba gives the first one


@_inlined
def _look_ahead(matrices, vocabulary, rule, pace, scratch, word, position, slot):
    """Ask for the output rows of a center that comes next: they lie anywhere in memory. Keep its first negatives."""
    if rule.negative:
        _prefetch(matrices.outputs, word)
        scratch.ahead_of[slot] = position
        for k in range(rule.negative):
            noise = _noise_word(vocabulary, pace, position, LANE_NEGATIVES + k)
            scratch.ahead[slot, k] = noise
            _prefetch(matrices.outputs, noise)
    if rule.hierarchical:
        for k in range(vocabulary.path_offsets[word], vocabulary.path_offsets[word + 1]):
            _prefetch(matrices.nodes, vocabulary.points[k])


@_inlined
def _different(rows, start, stop):
    """The first place of rows[start:stop] that repeats an earlier one; stop if there is none."""
    for k in range(start + 1, stop):
        for earlier in range(start, k):
            if rows[earlier] == rows[k]:
                return k
    return stop


# ---- nodes next to the root -------------------------------------------------------------------------------------
#
# CBOW writes these rows at every center, in every thread: each core would wait for the others' cache lines. So a thread
# trains copies, and now and then adds what it has changed to the shared row and reads what others have. (Skip-gram
# writes them once for a block of contexts; there copies gain nothing.)


@_inlined
def _first_top(matrices, scratch):
    """The nodes with copies: gensim's Huffman tree numbers them from the leaves to the root, V - 2."""
    return np.int64(len(matrices.nodes) - 1 - len(scratch.top))


@_inlined
def _bring_together(matrices, scratch, k):
    """Add the changes of copy k to the shared row, and take the sum as the copy."""
    row = _first_top(matrices, scratch) + k
    for d in range(_width(scratch)):
        own = matrices.nodes[row, d] + (scratch.top[k, d] - scratch.top_before[k, d])
        matrices.nodes[row, d] = scratch.top[k, d] = scratch.top_before[k, d] = own
    scratch.top_uses[k] = 0


@_inlined
def _copy_top(matrices, scratch):
    """Read the shared rows, at the begin of a chunk."""
    for k in range(len(scratch.top)):
        _copy(_width(scratch), scratch.top, k, matrices.nodes, _first_top(matrices, scratch) + k)
        _copy(_width(scratch), scratch.top_before, k, scratch.top, k)


# ---- a block ----------------------------------------------------------------------------------------------------


@intrinsic
def pull_lanes(typing, alpha, c, begin, first, targets, score, label, pull):
    """pull[c, t] = alpha (label[first + t] - sigmoid(score[c, t])) of eight targets from `begin` on: sum of the scores.

    0 where |score| >= MAX_SCORE, and from `targets` on. sigmoid(x) = (1 + tanh(x / 2)) / 2, tanh of half the argument
    by Lambert's continued fraction, cut after 13: to float32's rounding, without branches or calls.
    """

    def generate(context, builder, signature, arguments):
        alpha, c, begin, first, targets, score, label, pull = arguments
        *_, score_kind, label_kind, pull_kind = signature.args
        emit, lanes = _Emitter(context, builder), TARGET_LANES
        nothing = emit.all_of(0, lanes)
        left = emit.spread(builder.trunc(builder.sub(targets, begin), emit.place), lanes)
        inside = builder.icmp_signed("<", ir.Constant(left.type, list(range(lanes))), left)
        scores = builder.select(inside, emit.load(emit.cell(score_kind, score, c, begin), _NONE, lanes), nothing)
        below = builder.fcmp_ordered("<", scores, emit.all_of(MAX_SCORE, lanes))
        above = builder.fcmp_ordered(">", scores, emit.all_of(-MAX_SCORE, lanes))
        y = emit.times(scores, emit.all_of(0.25, lanes))
        square = emit.times(y, y)
        odd = emit.times(y, emit.series(square, 1, 378, 17325, 135135))
        even = emit.series(square, 28, 3150, 62370, 135135)
        half = builder.fdiv(
            emit.times(odd, even), emit.fused(even, even, emit.times(odd, odd)), flags=emit.flags
        )  # tanh(x / 2) / 2
        labels = emit.load(emit.cell(label_kind, label, builder.add(first, begin)), _NONE, lanes)
        error = builder.fsub(labels, emit.add(half, emit.all_of(0.5, lanes)), flags=emit.flags)
        trained = builder.and_(inside, builder.and_(below, above))
        pulls = builder.select(trained, emit.times(emit.spread(alpha, lanes), error), nothing)
        emit.store(pulls, emit.cell(pull_kind, pull, c, begin), _NONE, lanes)
        return builder.extract_element(emit.sums([emit.halved(scores)] * 4), emit.place(0))

    return types.float32(alpha, c, begin, first, targets, score, label, pull), generate


@_inlined
def _softplus(x):
    return max(x, np.float32(0)) + np.log1p(math.exp(-abs(x)))


@_inlined
def _padded(targets):
    """Targets and empty places behind them, up to whole vectors."""
    return (targets + TARGET_LANES - 1) & -TARGET_LANES


@_inlined
def _adapt(c, first, targets, squares, pace, scratch):
    """AdaGrad: from what hidden row c misses, pulls at each target's own rate, and what is added to sums of squares.

    Squares of targets are those that the hidden row meets: |z + p h|^2 = |z|^2 + 2 p z.h + p^2 |h|^2.
    """
    part, alpha = _ONE / np.float32(_width(scratch)), np.float32(pace.alpha)
    hidden_square, asked = scratch.hidden_square[c], np.float32(0)
    for t in range(targets):
        miss, row, square = scratch.miss[c, t], scratch.row[first + t], scratch.target_square[t]
        pull = min(alpha / np.sqrt(squares[row]), _MOST) * miss
        scratch.pull[c, t] = pull
        asked += miss * miss * square
        squares[row] += miss * miss * hidden_square * part
        scratch.target_square[t] = square + pull * (np.float32(2) * scratch.score[c, t] + pull * hidden_square)
    for t in range(targets, _padded(targets)):
        scratch.pull[c, t] = 0
    scratch.error_square[c] += asked * part


@_inlined
def _pull(c, first, targets, squares, pace, scratch):
    """Score and pull of hidden row c on targets that the hidden rows before it have moved: (loss, sum of scores).

    The pull on the empty places behind the targets is 0.
    """
    alpha, loss, total = np.float32(pace.alpha), 0.0, np.float32(0)
    padded = _padded(targets)
    _add(padded, scratch.score, c, scratch.product, c, scratch.pull, scratch.place, _FIRST, c)
    if _adapts(scratch.adagrad):  # type: ignore[call-arg] # numba gives the first one
        for begin in range(0, padded, TARGET_LANES):
            total += pull_lanes(_ONE, c, begin, first, targets, scratch.score, scratch.label, scratch.miss)
        _adapt(c, first, targets, squares, pace, scratch)
    else:
        for begin in range(0, padded, TARGET_LANES):
            total += pull_lanes(alpha, c, begin, first, targets, scratch.score, scratch.label, scratch.pull)
    if pace.compute_loss:
        for t in range(targets):
            score = scratch.score[c, t]
            loss += _softplus(score if scratch.label[first + t] == 0 else -score)
    return loss, total


@_inlined
def _scale(padded, scratch, factor, c):
    """What the targets' rows are multiplied by before they are added to a hidden row's error."""
    asked = scratch.pull
    if _adapts(scratch.adagrad):  # type: ignore[call-arg]
        asked = scratch.miss
    for begin in range(0, padded, TARGET_LANES):
        for lane in range(TARGET_LANES):
            scratch.scaled[0, begin + lane] = factor * asked[c, begin + lane]


@_inlined
def _measure_targets(matrix, first, targets, scratch):
    """AdaGrad: squares of the targets' rows as they are."""
    if _adapts(scratch.adagrad):  # type: ignore[call-arg]
        for t in range(targets):
            scratch.target_square[t] = _square(_width(scratch), matrix, scratch.row[first + t])


@_inlined
def _meet_many(matrix, squares, errors, first, targets, hidden_rows, pace, scratch):
    """Train targets, different rows of a matrix, against the hidden rows one after another: (loss, sum of scores)."""
    width, padded = _width(scratch), _padded(targets)
    loss, total = 0.0, np.float32(0)
    _measure_targets(matrix, first, targets, scratch)
    # All products before the first pull: a core waits where it reads as a vector what it has just written in parts.
    for c in range(hidden_rows):
        _products(width, scratch.product, c, scratch.hidden, scratch.hidden, scratch.place, _FIRST, c)
        _products(width, scratch.score, c, scratch.hidden, matrix, scratch.row, first, targets)
    for c in range(hidden_rows):
        part = _pull(c, first, targets, squares, pace, scratch)
        loss, total = loss + part[0], total + part[1]
    # The errors: what the targets pull by, where the hidden rows before have moved them.
    for c in range(hidden_rows):
        row = scratch.error_row[c]
        _scale(padded, scratch, scratch.factor[c], c)
        _add(width, errors, row, scratch.scaled, _FIRST, matrix, scratch.row, first, targets)
        _products(padded, scratch.both, _FIRST, scratch.scaled, scratch.pull, scratch.place, _FIRST, c)
        _add(width, errors, row, scratch.both, _FIRST, scratch.hidden, scratch.place, _FIRST, c)
    for t in range(targets):
        for c in range(hidden_rows):
            scratch.both[0, c] = scratch.pull[c, t]
        row = scratch.row[first + t]
        _add(width, matrix, row, scratch.both, _FIRST, scratch.hidden, scratch.place, _FIRST, hidden_rows)
    return loss, total


@_inlined
def _meet_one(matrix, squares, errors, first, targets, pace, scratch):
    """The same for one hidden row, which needs no products of hidden rows."""
    width = _width(scratch)
    _measure_targets(matrix, first, targets, scratch)
    _products(width, scratch.score, _FIRST, scratch.hidden, matrix, scratch.row, first, targets)
    sums = _pull(_FIRST, first, targets, squares, pace, scratch)
    _scale(_padded(targets), scratch, scratch.factor[0], _FIRST)
    _add(width, errors, scratch.error_row[0], scratch.scaled, _FIRST, matrix, scratch.row, first, targets)
    _add_to_each(width, matrix, scratch.row, first, targets, scratch.pull, scratch.hidden)
    return sums


@_inlined
def _set_targets(matrices, vocabulary, rule, pace, scratch, word, position, slot, number):
    """The center and its negatives, rows of the outputs, then its path's nodes, first those that we have copies of.

    Returns
    -------
    (how many outputs, up to where there are copies, how many targets in all)
    """
    outputs = _FIRST
    if rule.negative:
        scratch.row[0], scratch.label[0] = word, _ONE
        outputs = _SINGLE
        if number > 0 or scratch.ahead_of[slot] != position:
            scratch.ahead_of[slot] = -1
            for k in range(rule.negative):
                lane = LANE_NEGATIVES + number * rule.negative + k
                scratch.ahead[slot, k] = _noise_word(vocabulary, pace, position, lane)
        for k in range(rule.negative):
            noise = scratch.ahead[slot, k]
            if noise != word:
                scratch.row[outputs], scratch.label[outputs] = noise, np.float32(0)
                outputs += 1
    copies = targets = outputs
    if rule.hierarchical:
        first_top = _first_top(matrices, scratch)
        for k in range(vocabulary.path_offsets[word], vocabulary.path_offsets[word + 1]):
            node = np.int64(vocabulary.points[k])
            scratch.row[targets], scratch.label[targets] = node, vocabulary.labels[k]
            if node >= first_top and copies == targets:
                scratch.row[targets] = node - first_top
                if scratch.top_uses[node - first_top] == pace.uses:
                    _bring_together(matrices, scratch, node - first_top)
                scratch.top_uses[node - first_top] += 1
                copies += 1
            targets += 1
    return outputs, copies, targets


@_inlined
def _hold_contexts(matrices, pace, scratch, first, stop):
    """Skip-gram: every context is a hidden row."""
    for c in range(stop - first):
        context = scratch.context[first + c]
        scratch.error_row[c], scratch.factor[c] = context, _rate(matrices, pace, scratch, context)
        _copy(_width(scratch), scratch.hidden, c, matrices.inputs, context)
        _measure_hidden(scratch, c)


@_inlined
def _hold_bag(matrices, rule, scratch, contexts):
    """CBOW: one hidden row, the mean or sum of all contexts."""
    share, width = _ONE / np.float32(contexts), _width(scratch)
    for d in range(width):
        scratch.hidden[0, d] = scratch.error[0, d] = 0
    for c in range(contexts):
        scratch.bag[0, c] = share if rule.cbow_mean else _ONE
    _add(width, scratch.hidden, _FIRST, scratch.bag, _FIRST, matrices.inputs, scratch.context, _FIRST, contexts)
    # As word2vec.c, or by the chain rule (docs/parity.md, "CBOW's gradient").
    scratch.error_row[0], scratch.factor[0] = 0, share if rule.shares_error else _ONE
    _measure_hidden(scratch, _FIRST)


@_inlined
def _spread_error(matrices, pace, scratch, contexts):
    """CBOW: the error of the bag goes to all contexts."""
    for c in range(contexts):
        context = scratch.context[c]
        scratch.bag[0, c] = _rate(matrices, pace, scratch, context)
        if _adapts(scratch.adagrad):  # type: ignore[call-arg]
            matrices.input_squares[context] += scratch.factor[0] * scratch.factor[0] * scratch.error_square[0]
    _add_to_each(_width(scratch), matrices.inputs, scratch.context, _FIRST, contexts, scratch.bag, scratch.error)


@_inlined
def _keep_squares(matrices, scratch, first, stop):
    """Skip-gram with AdaGrad: what a block has asked of its contexts, which are different words."""
    if _adapts(scratch.adagrad):  # type: ignore[call-arg]
        for c in range(stop - first):
            matrices.input_squares[scratch.context[first + c]] += scratch.error_square[c]


@_inlined
def _measure_hidden(scratch, c):
    """AdaGrad: a hidden row's square; nothing has been asked of it yet."""
    if _adapts(scratch.adagrad):  # type: ignore[call-arg]
        scratch.hidden_square[c], scratch.error_square[c] = _square(_width(scratch), scratch.hidden, c), 0


@_inlined
def _rate(matrices, pace, scratch, word):
    """What the error of an input row is multiplied by: its lock, and with AdaGrad its learning rate."""
    if _adapts(scratch.adagrad):  # type: ignore[call-arg]
        return _lock(matrices, word) * min(np.float32(pace.alpha) / np.sqrt(matrices.input_squares[word]), _MOST)
    return _lock(matrices, word)


@_inlined
def _lock(matrices, word):
    return matrices.input_lock[word] if len(matrices.input_lock) else _ONE


@_inlined
def _train_center(matrices, vocabulary, rule, pace, scratch, word, position, slot, contexts):
    """Train a center with the contexts in the scratch: (loss, sum of scores).

    Skip-gram's contexts come in blocks of different words, MAX_SEQUENTIAL_BLOCK at most, which share negatives.
    """
    loss, total = 0.0, np.float32(0)
    number = first = _FIRST
    while first < contexts:
        if rule.skip_gram:
            stop = _different(scratch.context, first, min(contexts, first + MAX_SEQUENTIAL_BLOCK))
            hidden_rows, errors = stop - first, matrices.inputs
            _hold_contexts(matrices, pace, scratch, first, stop)
        else:
            stop, hidden_rows, errors = contexts, _SINGLE, scratch.error
            _hold_bag(matrices, rule, scratch, contexts)
        outputs, copies, targets = _set_targets(matrices, vocabulary, rule, pace, scratch, word, position, slot, number)
        begin = _FIRST
        while begin < targets:  # one place for every call: whatever is called is compiled once more for each
            if begin < outputs:
                matrix, squares = matrices.outputs, matrices.output_squares
                end = _different(scratch.row, begin, outputs)
            elif begin < copies:
                matrix, squares, end = scratch.top, matrices.node_squares, copies
            else:
                matrix, squares, end = matrices.nodes, matrices.node_squares, targets
            if hidden_rows > 1:
                part = _meet_many(matrix, squares, errors, begin, end - begin, hidden_rows, pace, scratch)
            else:
                part = _meet_one(matrix, squares, errors, begin, end - begin, pace, scratch)
            loss, total, begin = loss + part[0], total + part[1], end
        if rule.skip_gram:
            _keep_squares(matrices, scratch, first, stop)
        else:
            _spread_error(matrices, pace, scratch, contexts)
        first, number = stop, number + 1
    return loss, total


# ---- a chunk ----------------------------------------------------------------------------------------------------


@_inlined
def _is_kept(vocabulary, text, pace, index):
    threshold = np.uint64(vocabulary.keep_thresholds[text.token_ids[index]])
    return draw(pace, text.first_position + index, LANE_KEEP) <= threshold


@_inlined
def _with_halo(vocabulary, text, rule, pace):
    """Widen [start, stop) until `window` kept tokens or a sentence's end lie on each side."""
    offsets = text.sentence_offsets
    low, high = text.start, text.stop
    floor = offsets[np.searchsorted(offsets, low, side="right") - 1]
    ceiling = offsets[np.searchsorted(offsets, high, side="left")]
    found = 0
    while low > floor and found < rule.window:
        low -= 1
        found += _is_kept(vocabulary, text, pace, low)
    found = 0
    while high < ceiling and found < rule.window:
        found += _is_kept(vocabulary, text, pace, high)
        high += 1
    return low, high


@kept(**_OPTIONS)
def train_chunk(matrices, vocabulary, text, rule, pace, scratch):
    """Train the centers of a chunk, one after another.

    Returns
    -------
    (effective words, pairs, loss, sum of all scores: NaN or infinite if any of them was)
    """
    low, high = _with_halo(vocabulary, text, rule, pace)
    words = np.empty(high - low, np.int32)
    index = np.empty(high - low, np.int64)
    kept = begin = 0  # effective tokens so far, and the first of the sentence
    effective = pairs = 0
    loss, total = 0.0, 0.0
    sentence = np.searchsorted(text.sentence_offsets, low, side="right") - 1
    at = low
    _copy_top(matrices, scratch)
    while at < high:
        end_of_sentence = min(high, text.sentence_offsets[sentence + 1])
        begin = kept
        while at < end_of_sentence:
            if _is_kept(vocabulary, text, pace, at):
                words[kept], index[kept] = text.token_ids[at], at
                kept += 1
            at += 1
        for i in range(begin, kept):
            if not text.start <= index[i] < text.stop:
                continue
            effective += 1
            if i + 1 < kept:
                following = text.first_position + index[i + 1]
                _look_ahead(matrices, vocabulary, rule, pace, scratch, words[i + 1], following, (i + 1) & 1)
                if i + 1 + rule.window < kept:
                    _prefetch(matrices.inputs, words[i + 1 + rule.window])
            position = text.first_position + index[i]
            reach = _reach(rule, pace, position)
            contexts = _FIRST
            for j in range(max(begin, i - reach), min(kept, i + reach + 1)):
                if j != i:
                    scratch.context[contexts] = words[j]
                    contexts += 1
            if contexts == 0:
                continue
            part = _train_center(matrices, vocabulary, rule, pace, scratch, words[i], position, i & 1, contexts)
            pairs += contexts if rule.skip_gram else 1
            loss, total = loss + part[0], total + part[1]
        sentence += 1
    for k in range(len(scratch.top)):
        _bring_together(matrices, scratch, k)
    return effective, pairs, loss, total
