"""Sequential word2vec on a CPU core, compiled by numba. Nothing here but loops; numba_engine.py checks and calls.

The hidden rows of a center (skip-gram: its contexts; CBOW: their mean or sum) meet its targets (the center and its
negatives; the nodes of its Huffman path) one after another, each target as the hidden row before has left it:

    g_ct = alpha (label_t - sigmoid(z_t h_c))      z_t += g_ct h_c      and, after a hidden row's last target,
                                                   h_c += sum_t g_ct z_t (of the targets as c has met them)

gensim passes three times over the rows of every such pair. Here up to GROUP targets are one group, with copies that
stay in the first-level cache, and one pass over them does for all of them what hidden row c asks (the error of h_c, the
move of z_t) and what c + 1 needs first, its scores: every number of a target is read and written once for each hidden
row. The copies' moves are added to the matrix at the end. It holds where all targets of a group are different rows, and
all hidden rows; `_different` sees to it.
As in gensim, a pair whose |score| has reached 6 is left alone, which keeps tiny vocabularies from exploding.
With AdaGrad alpha is each row's own: that of z_t changes from context to context, that of h_c after the block.
Source of the objective: Mikolov et al. 2013b (arXiv:1310.4546), eqs. 3 and 4. The same in plain steps: sequential.py.

All of it stands in one file because numba keeps machine code until the file of the entry, `train_chunk`, changes: a
function that it calls from another file could change unseen. So could the constants imported below, until torchw2v is
installed anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import llvmlite.binding
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
GROUP = 8  # targets that are trained together, and pulls that are computed at once
WHOLE = 16  # rows of the scratch have a multiple of so many numbers: a cache line
LANES = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8  # of a vector
SHORTER_LANES = tuple(lanes for lanes in (8, 4) if lanes < LANES)  # for the ends of rows
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
    """A block's rows and what they ask of each other: M hidden rows and N targets at most, N a multiple of GROUP.

    Rows have W numbers, D and zeros up to whole vectors, and begin where cache lines do.
    """

    pattern: np.ndarray  # [1, D], or [1] records whose one field, "row", has D numbers: see _width_of
    hidden: np.ndarray  # [M + 2, W]; what is behind the hidden rows is read and not used
    error: np.ndarray  # [M, W]: of the hidden rows
    target: np.ndarray  # [N, W]: copies of targets
    before: np.ndarray  # [N, W]: the same, as they were when they were copied
    spare: np.ndarray  # [1, W]: zeros, a target that fills up a group
    factor: np.ndarray  # [1, M]: what the errors are multiplied by
    place: np.ndarray  # [M] int64: 0, 1, 2, ...: the places of the hidden rows
    product: np.ndarray  # [M]: h_(c - 1) h_c
    score: np.ndarray  # [2, N]: z_t h_c, of even and of odd c: of the hidden row at hand and of the next
    pull: np.ndarray  # [2, N]: g_ct
    row: np.ndarray  # [N + GROUP] int64: rows of the targets; what is behind them is read and not used
    label: np.ndarray  # [N + GROUP]: the same
    ahead: np.ndarray  # [2, negative] int64: negatives of a center, before it is there
    ahead_of: np.ndarray  # [2] int64: its position; -1 for none
    context: np.ndarray  # [C] int64: words of the contexts
    bag: np.ndarray  # [1, C]: factors of the contexts
    adagrad: np.ndarray  # [0]: of float32 with AdaGrad, else of bool: see _adapts
    miss: np.ndarray  # [2, N]: label - sigmoid; this and what follows is AdaGrad's
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
    """LLVM code that works on rows of float32 matrices, LANES numbers at a time.

    LLVM makes vectors of plain loops, too, but asks before each whether arrays overlap, and has odd ends after it: with
    rows of 100 numbers that takes half of the time.
    """

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
        """body(place, lanes) from a row's first number to its last: vectors, smaller ones, single numbers."""
        builder, integer = self.builder, self.integer
        done = builder.and_(width, integer(-LANES))
        with cgutils.for_range_slice(builder, integer(0), done, integer(LANES), integer) as (place, _):
            body(place, LANES)
        for lanes in SHORTER_LANES:
            part = builder.and_(width, integer(lanes))
            with builder.if_then(builder.icmp_unsigned("!=", part, integer(0))):
                body(done, lanes)
            done = builder.add(done, part)
        with cgutils.for_range_slice(builder, done, width, integer(1), integer) as (place, _):
            body(place, 1)

    def each_whole(self, width: Any, body: Callable[[Any], None]) -> None:
        """body(place) for whole vectors, of rows with zeros behind their numbers."""
        integer = self.integer
        with cgutils.for_range_slice(self.builder, integer(0), width, integer(LANES), integer) as (place, _):
            body(place)

    def totals(self, count: int, lanes: tuple[int, ...]) -> dict[int, list[Any]]:
        """Places for vectors of sums, all zeros: so many of each of these lengths."""
        places = {n: [cgutils.alloca_once(self.builder, self.all_of(0, n).type) for _ in range(count)] for n in lanes}
        for n, each in places.items():
            for place in each:
                self.builder.store(self.all_of(0, n), place)
        return places

    def add_to(self, total: Any, first: Any, second: Any) -> None:
        """Add first * second to a total."""
        self.builder.store(self.fused(first, second, self.builder.load(total)), total)

    def collected(self, totals: dict[int, list[Any]]) -> Any:
        """The sums of GROUP rows of totals, zeros for those that there are not, as a vector."""
        builder, count, fours = self.builder, len(totals[LANES]), []
        for i in range(count):
            total = builder.load(totals[LANES][i])
            for lanes in SHORTER_LANES:
                total = self.halved(total)
                if lanes in totals:
                    total = self.add(total, builder.load(totals[lanes][i]))
            fours.append(total)
        fours += [self.all_of(0, 4)] * (GROUP - count)
        halves = [self.sums(fours[k : k + 4]) for k in range(0, GROUP, 4)]
        sums = self.shuffle(*halves, list(range(GROUP)))
        for i, single in enumerate(totals.get(1, ())):
            place = self.place(i)
            total = self.add(builder.extract_element(sums, place), builder.load(single))
            sums = builder.insert_element(sums, total, place)
        return sums

    def halved(self, numbers: Any) -> Any:
        """The first half of a vector plus its second."""
        half = numbers.type.count // 2
        first, second = list(range(half)), list(range(half, 2 * half))
        return self.add(self.shuffle(numbers, numbers, first), self.shuffle(numbers, numbers, second))

    def sums(self, vectors: list[Any]) -> Any:
        """The sum of each of four vectors of four numbers, as a vector."""
        one, two = (
            self.add(self.shuffle(v, w, [0, 4, 1, 5]), self.shuffle(v, w, [2, 6, 3, 7]))
            for v, w in (vectors[:2], vectors[2:])
        )
        return self.add(self.shuffle(one, two, [0, 1, 4, 5]), self.shuffle(one, two, [2, 3, 6, 7]))


class _ScratchEmitter(_Emitter):
    """The same, which knows the scratch, and D: rows lie at distances that are constants where D is one."""

    def __init__(self, context: Any, builder: Any, kind: Any, scratch: Any, width: Any) -> None:
        super().__init__(context, builder)
        self._kind, self._scratch, self.width = kind, scratch, width
        self.padded = builder.and_(builder.add(width, self.integer(WHOLE - 1)), self.integer(-WHOLE))

    def field(self, name: str) -> tuple[Any, Any]:
        """An array of the scratch: its type and itself."""
        place = self._kind.fields.index(name)
        return self._kind.types[place], self.builder.extract_value(self._scratch, place)

    def line(self, name: str, index: Any) -> Any:
        """Pointer to the first element of a row of the scratch, of W numbers."""
        return self.cell(*self.field(name), self.builder.mul(index, self.padded))

    def matrix_row(self, kind: Any, matrix: Any, index: Any) -> Any:
        """The same of a matrix, of D numbers."""
        return self.cell(kind, matrix, self.builder.mul(index, self.width))


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


@intrinsic
def _hold(typing, width, scratch, c, rows, r):
    """hidden[c] = rows[r] and product[c] = hidden[c - 1] . hidden[c], or hidden[0] . hidden[0]."""

    def generate(context, builder, signature, arguments):
        width, scratch, c, rows, r = arguments
        emit = _ScratchEmitter(context, builder, signature.args[1], scratch, width)
        row, held = emit.matrix_row(signature.args[3], rows, r), emit.line("hidden", c)
        last = builder.select(builder.icmp_signed(">", c, emit.integer(0)), builder.sub(c, emit.integer(1)), c)
        last_held, totals = emit.line("hidden", last), emit.totals(1, (LANES, *SHORTER_LANES, 1))

        def body(place: Any, lanes: int) -> None:
            numbers = emit.load(row, place, lanes)
            emit.store(numbers, held, place, lanes)
            emit.add_to(totals[lanes][0], numbers, emit.load(last_held, place, lanes))

        emit.each(width, body)
        product = builder.extract_element(emit.collected(totals), emit.place(0))
        builder.store(product, emit.cell(*emit.field("product"), c))
        return context.get_dummy_value()

    return types.none(width, scratch, c, rows, r), generate


_outer_1, _outer_2, _outer_3, _outer_4 = map(_outer_of, (1, 2, 3, 4))
_additions_1, _additions_2, _additions_3, _additions_4 = map(_additions_of, (1, 2, 3, 4))


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


# ---- groups of targets ------------------------------------------------------------------------------------------


class _Group(_ScratchEmitter):
    """Passes over the rows of `count` targets; one of them may be none, and is the spare row then.

    Its arguments are those of the functions below: D, the targets' matrix, the scratch, the place of a block's first
    target among all, of this group's first target in the block, how many targets are left, and of the hidden row.
    """

    def __init__(self, count: int, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        width, matrix, scratch, first, self.slot, left, self.c = arguments
        _, matrix_kind, scratch_kind, *_ = signature.args
        super().__init__(context, builder, scratch_kind, scratch, width)
        self.count = count
        self.parity = builder.and_(self.c, self.integer(1))
        rows = self.several(*self.field("row"), builder.add(first, self.slot), count)
        self.targets = [self.matrix_row(matrix_kind, matrix, row) for row in rows]
        filled = builder.icmp_signed(">=", left, self.integer(count))
        nothing = self.line("spare", self.integer(0))
        self.targets[-1] = builder.select(filled, self.targets[-1], nothing)
        self.error = self.line("error", self.c)
        begins = builder.icmp_signed("==", builder.add(first, self.slot), self.integer(0))
        self.error_before = builder.select(begins, nothing, self.error)

    def rows_of(self, name: str) -> list[Any]:
        """Rows of the scratch that belong to the targets."""
        return [self.line(name, self.builder.add(self.slot, self.integer(t))) for t in range(self.count)]

    def factors(self, name: str) -> list[Any]:
        """A number for each target and hidden row c."""
        kind, array = self.field(name)
        numbers = self.cell(kind, array, self.parity, self.slot)
        return [self.builder.load(self.builder.gep(numbers, [self.integer(t)])) for t in range(self.count)]

    def asked(self) -> list[Any]:
        """What each target's row is multiplied by in the error: the pull, or with AdaGrad what it is made of."""
        adapts = isinstance(self.field("adagrad")[0].dtype, types.Float)
        return self.factors("miss" if adapts else "pull")

    def keep_scores(self, totals: dict[int, list[Any]], parity: Any) -> None:
        """Write sums of products as the scores of the group, of an even or odd hidden row."""
        self.store(self.collected(totals), self.cell(*self.field("score"), parity, self.slot), _NONE, GROUP)

    def weighted(self, numbers: Any, factors: list[Any], others: list[Any], lanes: int) -> Any:
        """Numbers, and the sum of factor * other."""
        for factor, other in zip(factors, others, strict=True):
            numbers = self.fused(self.spread(factor, lanes), other, numbers)
        return numbers

    def add_errors(self, asked: list[Any], targets: list[Any], place: Any, lanes: int) -> None:
        """What the targets ask of hidden row c: to that of groups before, or the first of it."""
        before = self.load(self.error_before, place, lanes)
        self.store(self.weighted(before, asked, targets, lanes), self.error, place, lanes)

    def meet(self, hidden_rows: int) -> None:
        """Scores of the first one or two hidden rows; for two the targets are copied into the scratch."""
        hidden = [self.line("hidden", self.integer(c)) for c in range(hidden_rows)]
        totals = [self.totals(self.count, (LANES, *SHORTER_LANES, 1)) for _ in hidden]
        copies = [*zip(self.rows_of("target"), self.rows_of("before"), strict=True)] if hidden_rows > 1 else []

        def body(place: Any, lanes: int) -> None:
            targets = [self.load(target, place, lanes) for target in self.targets]
            for row, each in zip(hidden, totals, strict=True):
                numbers = self.load(row, place, lanes)
                for target, total in zip(targets, each[lanes], strict=True):
                    self.add_to(total, numbers, target)
            for target, places in zip(targets, copies, strict=bool(copies)):
                for each in places:
                    self.store(target, each, place, lanes)

        self.each(self.width, body)
        for c, each in enumerate(totals):
            self.keep_scores(each, self.integer(c))

    def turn(self) -> None:
        """In the copies: the pulls of hidden row c, its error, and what the scores of c + 2 are but for c + 1."""
        pulls, asked, copies = self.factors("pull"), self.asked(), self.rows_of("target")
        hidden = self.line("hidden", self.c)
        later = self.line("hidden", self.builder.add(self.c, self.integer(2)))
        totals = self.totals(self.count, (LANES,))

        def body(place: Any) -> None:
            targets = [self.load(copy, place, LANES) for copy in copies]
            self.add_errors(asked, targets, place, LANES)
            numbers, others = self.load(hidden, place, LANES), self.load(later, place, LANES)
            moved = [self.weighted(z, [pull], [numbers], LANES) for z, pull in zip(targets, pulls, strict=True)]
            for target, copy, total in zip(moved, copies, totals[LANES], strict=True):
                self.store(target, copy, place, LANES)
                self.add_to(total, target, others)

        self.each_whole(self.padded, body)
        self.keep_scores(totals, self.parity)

    def part(self) -> None:
        """The pulls and the error of the last hidden row; what has moved the copies is added to the matrix."""
        pulls, asked = self.factors("pull"), self.asked()
        hidden = self.line("hidden", self.c)
        copies, before = self.rows_of("target"), self.rows_of("before")

        def body(place: Any, lanes: int) -> None:
            targets = [self.load(copy, place, lanes) for copy in copies]
            self.add_errors(asked, targets, place, lanes)
            numbers = self.load(hidden, place, lanes)
            moves = [
                self.builder.fsub(self.weighted(z, [pull], [numbers], lanes), self.load(old, place, lanes))
                for z, pull, old in zip(targets, pulls, before, strict=True)
            ]
            for target, move in zip(self.targets, moves, strict=True):
                self.store(self.add(self.load(target, place, lanes), move), target, place, lanes)

        self.each(self.width, body)

    def meet_once(self) -> None:
        """The pulls and the error of the only hidden row, in the matrix."""
        pulls, asked = self.factors("pull"), self.asked()
        hidden = self.line("hidden", self.c)

        def body(place: Any, lanes: int) -> None:
            targets = [self.load(target, place, lanes) for target in self.targets]
            self.add_errors(asked, targets, place, lanes)
            numbers = self.load(hidden, place, lanes)
            moved = [self.weighted(z, [pull], [numbers], lanes) for z, pull in zip(targets, pulls, strict=True)]
            for target, numbers in zip(self.targets, moved, strict=True):
                self.store(numbers, target, place, lanes)

        self.each(self.width, body)


def _pass(work: Callable[[_Group], None]) -> Any:
    """A pass over groups, compiled for 2, 4, 6 and 8 targets."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        left = arguments[5]
        for count in range(2, GROUP + 1, 2):
            fits = builder.icmp_signed(">", left, ir.Constant(left.type, count - 2))
            if count < GROUP:
                fits = builder.and_(fits, builder.icmp_signed("<=", left, ir.Constant(left.type, count)))
            with builder.if_then(fits):
                work(_Group(count, context, builder, signature, arguments))
        return context.get_dummy_value()

    @intrinsic
    def group(typing, width, matrix, scratch, first, slot, left, c):
        return types.none(width, matrix, scratch, first, slot, left, c), generate

    return group


_score = _pass(lambda group: group.meet(1))
_score_copies = _pass(lambda group: group.meet(2))
_turn, _part, _once = _pass(_Group.turn), _pass(_Group.part), _pass(_Group.meet_once)


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
def _prefetch(typing, width, rows, r):
    """Ask for the cache lines of rows[r], of D numbers, by LLVM's prefetch."""

    def generate(context, builder, signature, arguments):
        width, rows, r = arguments
        emit, word, byte = _Emitter(context, builder), ir.IntType(32), ir.IntType(8).as_pointer()
        row = emit.cell(signature.args[1], rows, builder.mul(r, width))
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        )
        with cgutils.for_range_slice(builder, _NONE, width, emit.integer(WHOLE), emit.integer) as (place, _):
            line = builder.bitcast(builder.gep(row, [place]), byte)
            builder.call(prefetch, [line, word(1), word(3), word(1)])  # to be written, soon, data
        return context.get_dummy_value()

    return types.none(types.int64, rows, types.int64), generate


@_inlined
def _look_ahead(matrices, vocabulary, rule, pace, scratch, word, position, slot):
    """Ask for the output rows of a center that comes next: they lie anywhere in memory. Keep its first negatives."""
    width = _width(scratch)
    if rule.negative:
        _prefetch(width, matrices.outputs, word)
        scratch.ahead_of[slot] = position
        for k in range(rule.negative):
            noise = _noise_word(vocabulary, pace, position, LANE_NEGATIVES + k)
            scratch.ahead[slot, k] = noise
            _prefetch(width, matrices.outputs, noise)
    if rule.hierarchical:
        for k in range(vocabulary.path_offsets[word], vocabulary.path_offsets[word + 1]):
            _prefetch(width, matrices.nodes, vocabulary.points[k])


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
def pull_lanes(typing, alpha, c, product, slot, first, targets, score, moved, label, pull):
    """pull[c, t] = alpha (label[first + t] - sigmoid(score[c, t])) of GROUP targets from `slot` on: sum of the scores.

    c counts hidden rows by twos, and to the scores, which are to be, product * moved[c - 1, t] is added before.
    0 where |score| >= MAX_SCORE, and from `targets` on. sigmoid(x) = (1 + tanh(x / 2)) / 2, tanh of half the argument
    by Lambert's continued fraction, cut after 13: to float32's rounding, without branches or calls.
    """

    def generate(context, builder, signature, arguments):
        alpha, c, product, slot, first, targets, score, moved, label, pull = arguments
        *_, score_kind, moved_kind, label_kind, pull_kind = signature.args
        emit, lanes = _Emitter(context, builder), GROUP
        nothing = emit.all_of(0, lanes)
        own = builder.and_(c, emit.integer(1))
        left = emit.spread(builder.trunc(builder.sub(targets, slot), emit.place), lanes)
        inside = builder.icmp_signed("<", ir.Constant(left.type, list(range(lanes))), left)
        place = emit.cell(score_kind, score, own, slot)
        before = emit.load(emit.cell(moved_kind, moved, builder.xor(own, emit.integer(1)), slot), _NONE, lanes)
        scores = emit.fused(emit.spread(product, lanes), before, emit.load(place, _NONE, lanes))
        scores = builder.select(inside, scores, nothing)
        emit.store(scores, place, _NONE, lanes)
        below = builder.fcmp_ordered("<", scores, emit.all_of(MAX_SCORE, lanes))
        above = builder.fcmp_ordered(">", scores, emit.all_of(-MAX_SCORE, lanes))
        y = emit.times(scores, emit.all_of(0.25, lanes))
        square = emit.times(y, y)
        odd = emit.times(y, emit.series(square, 1, 378, 17325, 135135))
        even = emit.series(square, 28, 3150, 62370, 135135)
        half = builder.fdiv(
            emit.times(odd, even), emit.fused(even, even, emit.times(odd, odd)), flags=emit.flags
        )  # tanh(x / 2) / 2
        labels = emit.load(emit.cell(label_kind, label, builder.add(first, slot)), _NONE, lanes)
        error = builder.fsub(labels, emit.add(half, emit.all_of(0.5, lanes)), flags=emit.flags)
        trained = builder.and_(inside, builder.and_(below, above))
        pulls = builder.select(trained, emit.times(emit.spread(alpha, lanes), error), nothing)
        emit.store(pulls, emit.cell(pull_kind, pull, own, slot), _NONE, lanes)
        return builder.extract_element(emit.sums([emit.halved(scores)] * 4), emit.place(0))

    return types.float32(alpha, c, product, slot, first, targets, score, moved, label, pull), generate


@_inlined
def _softplus(x):
    return max(x, np.float32(0)) + np.log1p(math.exp(-abs(x)))


@_inlined
def _adapt(c, first, slot, targets, squares, pace, scratch):
    """AdaGrad: from what hidden row c misses, pulls at each target's own rate, and what is added to sums of squares.

    Squares of targets are those that the hidden row meets: |z + p h|^2 = |z|^2 + 2 p z.h + p^2 |h|^2.
    """
    part, alpha, own = _ONE / np.float32(_width(scratch)), np.float32(pace.alpha), c & 1
    hidden_square, asked = scratch.hidden_square[c], np.float32(0)
    for t in range(slot, min(slot + GROUP, targets)):
        miss, row, square = scratch.miss[own, t], scratch.row[first + t], scratch.target_square[t]
        pull = min(alpha / np.sqrt(squares[row]), _MOST) * miss
        scratch.pull[own, t] = pull
        asked += miss * miss * square
        squares[row] += miss * miss * hidden_square * part
        scratch.target_square[t] = square + pull * (np.float32(2) * scratch.score[own, t] + pull * hidden_square)
    for t in range(targets, slot + GROUP):
        scratch.pull[own, t] = 0
    scratch.error_square[c] += asked * part


@_inlined
def _pull(c, product, first, slot, targets, squares, pace, scratch):
    """From hidden row c's scores of a group, its pulls: (loss, sum of scores). 0 on places behind the targets."""
    alpha, asked, loss = np.float32(pace.alpha), scratch.pull, 0.0
    if _adapts(scratch.adagrad):  # type: ignore[call-arg] # numba gives the first one
        alpha, asked = _ONE, scratch.miss
    score, pull, label = scratch.score, scratch.pull, scratch.label
    total = pull_lanes(alpha, c, product, slot, first, targets, score, pull, label, asked)
    if _adapts(scratch.adagrad):  # type: ignore[call-arg]
        _adapt(c, first, slot, targets, squares, pace, scratch)
    if pace.compute_loss:
        for t in range(slot, min(slot + GROUP, targets)):
            loss += _softplus(score[c & 1, t] if label[first + t] == 0 else -score[c & 1, t])
    return loss, total


@_inlined
def _measure_targets(matrix, first, targets, scratch):
    """AdaGrad: squares of the targets' rows as they are."""
    if _adapts(scratch.adagrad):  # type: ignore[call-arg]
        for t in range(targets):
            scratch.target_square[t] = _square(_width(scratch), matrix, scratch.row[first + t])


@_inlined
def _meet_many(matrix, squares, first, targets, hidden_rows, pace, scratch):
    """Train targets, different rows of a matrix, against the hidden rows one after another: (loss, sum of scores).

    A core that waited for c's pulls before it works on the rows, and for the rows before it can have the pulls of c + 1,
    would do nothing half of the time. So the scores of c + 1 are there before c's pulls are,
        z_t h_(c + 1) + g_ct h_c h_(c + 1),    z_t as c finds it,
    and the pulls of c + 1 are made beside the work for c.
    """
    width = _width(scratch)
    loss, total = 0.0, np.float32(0)
    _measure_targets(matrix, first, targets, scratch)
    for slot in range(_FIRST, targets, GROUP):
        _score_copies(width, matrix, scratch, first, slot, targets - slot, _FIRST)
    for c in range(-_SINGLE, hidden_rows):
        for slot in range(_FIRST, targets, GROUP):
            if c + 1 < hidden_rows:
                product = np.float32(0) if c < 0 else scratch.product[c + 1]
                part = _pull(c + 1, product, first, slot, targets, squares, pace, scratch)
                loss, total = loss + part[0], total + part[1]
                if c >= 0:
                    _turn(width, matrix, scratch, first, slot, targets - slot, c)
            else:
                _part(width, matrix, scratch, first, slot, targets - slot, c)
    return loss, total


@_inlined
def _meet_one(matrix, squares, first, targets, pace, scratch):
    """The same for one hidden row, which needs no copies."""
    width = _width(scratch)
    loss, total = 0.0, np.float32(0)
    _measure_targets(matrix, first, targets, scratch)
    for slot in range(_FIRST, targets, GROUP):
        _score(width, matrix, scratch, first, slot, targets - slot, _FIRST)
        part = _pull(_FIRST, np.float32(0), first, slot, targets, squares, pace, scratch)
        loss, total = loss + part[0], total + part[1]
        _once(width, matrix, scratch, first, slot, targets - slot, _FIRST)
    return loss, total


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
def _hold_contexts(matrices, scratch, first, stop):
    """Skip-gram: every context is a hidden row."""
    for c in range(stop - first):
        _hold(_width(scratch), scratch, c, matrices.inputs, scratch.context[first + c])
        _measure_hidden(scratch, c)


@_inlined
def _hold_bag(matrices, rule, scratch, contexts):
    """CBOW: one hidden row, the mean or sum of all contexts."""
    share, width = _ONE / np.float32(contexts), _width(scratch)
    for d in range(width):
        scratch.hidden[0, d] = 0
    for c in range(contexts):
        scratch.bag[0, c] = share if rule.cbow_mean else _ONE
    _add(width, scratch.hidden, _FIRST, scratch.bag, _FIRST, matrices.inputs, scratch.context, _FIRST, contexts)
    _measure_hidden(scratch, _FIRST)


@_inlined
def _add_errors(matrices, pace, scratch, first, stop):
    """Skip-gram: each context, all of them different words, gets its error."""
    for c in range(stop - first):
        context = scratch.context[first + c]
        scratch.factor[0, c] = _rate(matrices, pace, scratch, context)
        _additions_1(
            _width(scratch), matrices.inputs, context, scratch.factor, _FIRST, c, scratch.error, scratch.place, _FIRST
        )
        if _adapts(scratch.adagrad):  # type: ignore[call-arg]
            matrices.input_squares[context] += scratch.error_square[c]


@_inlined
def _spread_error(matrices, rule, pace, scratch, contexts):
    """CBOW: the error of the bag goes to all contexts."""
    # As word2vec.c, or by the chain rule (docs/parity.md, "CBOW's gradient").
    share = _ONE / np.float32(contexts) if rule.shares_error else _ONE
    for c in range(contexts):
        context = scratch.context[c]
        scratch.bag[0, c] = share * _rate(matrices, pace, scratch, context)
        if _adapts(scratch.adagrad):  # type: ignore[call-arg]
            matrices.input_squares[context] += share * share * scratch.error_square[0]
    _add_to_each(_width(scratch), matrices.inputs, scratch.context, _FIRST, contexts, scratch.bag, scratch.error)


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
            hidden_rows = stop - first
            _hold_contexts(matrices, scratch, first, stop)
        else:
            stop, hidden_rows = contexts, _SINGLE
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
                part = _meet_many(matrix, squares, begin, end - begin, hidden_rows, pace, scratch)
            else:
                part = _meet_one(matrix, squares, begin, end - begin, pace, scratch)
            loss, total, begin = loss + part[0], total + part[1], end
        if rule.skip_gram:
            _add_errors(matrices, pace, scratch, first, stop)
        else:
            _spread_error(matrices, rule, pace, scratch, contexts)
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
                    _prefetch(_width(scratch), matrices.inputs, words[i + 1 + rule.window])
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
