"""Rows of float32 matrices, as vectors: LLVM code that numba's loops (numba_kernels.py) are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba.extending
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

from torchw2v.compiling import INNER

# Sums may be reordered and contracted (that is what makes vectors of them); NaN and infinity keep their meaning.
# Without numba's runtime (_nrt) arrays are not counted by reference: the counters would be atomic, one for each array
# of every tuple that is looked into, and shared by all threads. One core, cbow-ns: 780 ns a token, without them 450.
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "error_model": "numpy",
}
INLINED: dict[str, Any] = {**OPTIONS, "_nrt": False, "forceinline": True, **INNER}
inlined = njit(**INLINED)
intrinsic: Any = numba.extending.intrinsic  # numba itself gives the first argument, `typing`

GROUP = 8  # targets that are trained together, and pulls that are computed at once
WHOLE = 16  # rows of the scratch have a multiple of so many numbers: a cache line
LANES = 16 if llvmlite.binding.get_host_cpu_features().get("avx512f") else 8  # of a vector
SHORTER_LANES = tuple(lanes for lanes in (8, 4) if lanes < LANES)  # for the ends of rows
NONE = ir.IntType(64)(0)
FIRST, SINGLE = np.int64(0), np.int64(1)  # written as 0 and 1, they would each be a type, with code of its own


@intrinsic
def width_of(typing, pattern):
    """D, a constant where the pattern is a record: then loops over rows are compiled without odd ends to look for.

    One core, D = 100, CPU time against the same loops with D read at run time: skip-gram 0.80 with negative sampling,
    0.73 with hierarchical softmax, CBOW 0.94 (`python -m compat.bench --workers 1`, COMPILED_SIZES as it is and empty).
    """
    record = pattern.dtype

    def generate(context, builder, signature, arguments):
        if isinstance(record, types.Record):
            return context.get_constant(types.int64, record.typeof("row").shape[0])  # type: ignore[attr-defined] # a nested array
        array = context.make_array(pattern)(context, builder, arguments[0])
        return builder.extract_value(array.shape, 1)

    return types.int64(pattern), generate


class Emitter:
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
        for k in range(3):  # not a loop: LLVM would make vectors of it, and ask before whether arrays overlap
            place = builder.add(done, integer(k))
            with builder.if_then(builder.icmp_signed("<", place, width)):
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
        sums = self.shuffle(self.sums(fours[:4]), self.sums(fours[4:]), list(range(GROUP)))
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


def _additions_of(count: int) -> Any:
    """rows[r] += sum over i < count, at most 4, of factors[a, k + i] * block[index[first + k + i]]."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        width, rows, r, factors, a, k, block, index, first = arguments
        _, rows_kind, _, factors_kind, _, _, block_kind, index_kind, _ = signature.args
        emit = Emitter(context, builder)
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
        emit = Emitter(context, builder)
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
additions_1, _additions_2, _additions_3, _additions_4 = map(_additions_of, (1, 2, 3, 4))


@inlined
def add(width, rows, r, factors, a, block, index, first, count):
    """rows[r] += sum over k < count of factors[a, k] * block[index[first + k]]: rows[r] is written once for four."""
    k = FIRST
    while k + 4 <= count:
        _additions_4(width, rows, r, factors, a, k, block, index, first)
        k += 4
    rest = count - k
    if rest == 3:
        _additions_3(width, rows, r, factors, a, k, block, index, first)
    elif rest == 2:
        _additions_2(width, rows, r, factors, a, k, block, index, first)
    elif rest == 1:
        additions_1(width, rows, r, factors, a, k, block, index, first)


@inlined
def add_to_each(width, rows, index, first, count, factors, block):
    """rows[index[first + k]] += factors[0, k] * block[0], k < count; rows may repeat."""
    k = FIRST
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


@inlined
def square_of(width, rows, r):
    """|rows[r]|^2, of D numbers."""
    square = np.float32(0)
    for d in range(width):
        square += rows[r, d] * rows[r, d]
    return square


@inlined
def copy(width, out, k, rows, r):
    """out[k] = rows[r], of D numbers."""
    for d in range(width):
        out[k, d] = rows[r, d]


@intrinsic
def prefetch(typing, width, rows, r):
    """Ask for the cache lines of rows[r], of D numbers, by LLVM's prefetch."""

    def generate(context, builder, signature, arguments):
        width, rows, r = arguments
        emit, word, byte = Emitter(context, builder), ir.IntType(32), ir.IntType(8).as_pointer()
        row = emit.cell(signature.args[1], rows, builder.mul(r, width))
        prefetch = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        )
        with cgutils.for_range_slice(builder, NONE, width, emit.integer(WHOLE), emit.integer) as (place, _):
            line = builder.bitcast(builder.gep(row, [place]), byte)
            builder.call(prefetch, [line, word(1), word(3), word(1)])  # to be written, soon, data
        return context.get_dummy_value()

    return types.none(types.int64, rows, types.int64), generate
