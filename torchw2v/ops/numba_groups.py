"""A group of targets, rows of a matrix that hidden rows meet one after another: LLVM code, a pass for a hidden row.

numba_kernels.py has the mathematics, and the loop that calls these passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from torchw2v.constants import MAX_SCORE
from torchw2v.ops.numba_rows import GROUP, LANES, NONE, SHORTER_LANES, WHOLE, Emitter, inlined, intrinsic, width_of


class Scratch(NamedTuple):
    """A block's rows and what they ask of each other: M hidden rows and N targets at most, N a multiple of GROUP.

    Rows have W numbers, D and zeros up to whole vectors, and begin where cache lines do.
    """

    pattern: np.ndarray  # [1, D], or [1] records whose one field, "row", has D numbers: see width_of
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
    ahead: np.ndarray  # [SLOTS, negative] int64: negatives of centers, before they are there
    ahead_of: np.ndarray  # [SLOTS] int64: their positions; -1 for none
    context: np.ndarray  # [C] int64: words of the contexts
    bag: np.ndarray  # [1, C]: factors of the contexts
    adagrad: np.ndarray  # [0]: of float32 with AdaGrad, else of bool: see adapts
    miss: np.ndarray  # [2, N]: label - sigmoid; this and what follows is AdaGrad's
    hidden_square: np.ndarray  # [M]: h_c h_c
    target_square: np.ndarray  # [N]: z_t z_t, as the next hidden row meets it
    error_square: np.ndarray  # [M]: squares of what the targets ask of the hidden rows
    top: np.ndarray  # [T, D]: own copies of the Huffman nodes next to the root, which are on nearly every path
    top_before: np.ndarray  # [T, D]: as they were when they were brought together last
    top_uses: np.ndarray  # [T] int64: centers since then


@intrinsic
def adapts(typing, adagrad):
    """Whether rows have rates of their own (AdaGrad): a constant, so that without them no loop asks for it."""
    adapts = isinstance(adagrad.dtype, types.Float)

    def generate(context, builder, signature, arguments):
        return context.get_constant(types.boolean, adapts)

    return types.boolean(adagrad), generate


@inlined
def width_in(scratch):
    """D of the scratch, a constant for the COMPILED_SIZES."""
    return width_of(scratch.pattern)


class ScratchEmitter(Emitter):
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


@intrinsic
def hold(typing, width, scratch, c, rows, r):
    """hidden[c] = rows[r] and product[c] = hidden[c - 1] . hidden[c], or hidden[0] . hidden[0]."""

    def generate(context, builder, signature, arguments):
        width, scratch, c, rows, r = arguments
        emit = ScratchEmitter(context, builder, signature.args[1], scratch, width)
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


class _Group(ScratchEmitter):
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
        self.store(self.collected(totals), self.cell(*self.field("score"), parity, self.slot), NONE, GROUP)

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


score_first = _pass(lambda group: group.meet(1))
score_copies = _pass(lambda group: group.meet(2))
turn, finish, meet_once = _pass(_Group.turn), _pass(_Group.part), _pass(_Group.meet_once)


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
        emit, lanes = Emitter(context, builder), GROUP
        nothing = emit.all_of(0, lanes)
        own = builder.and_(c, emit.integer(1))
        left = emit.spread(builder.trunc(builder.sub(targets, slot), emit.place), lanes)
        inside = builder.icmp_signed("<", ir.Constant(left.type, list(range(lanes))), left)
        place = emit.cell(score_kind, score, own, slot)
        before = emit.load(emit.cell(moved_kind, moved, builder.xor(own, emit.integer(1)), slot), NONE, lanes)
        scores = emit.fused(emit.spread(product, lanes), before, emit.load(place, NONE, lanes))
        scores = builder.select(inside, scores, nothing)
        emit.store(scores, place, NONE, lanes)
        below = builder.fcmp_ordered("<", scores, emit.all_of(MAX_SCORE, lanes))
        above = builder.fcmp_ordered(">", scores, emit.all_of(-MAX_SCORE, lanes))
        y = emit.times(scores, emit.all_of(0.25, lanes))
        square = emit.times(y, y)
        odd = emit.times(y, emit.series(square, 1, 378, 17325, 135135))
        even = emit.series(square, 28, 3150, 62370, 135135)
        half = builder.fdiv(
            emit.times(odd, even), emit.fused(even, even, emit.times(odd, odd)), flags=emit.flags
        )  # tanh(x / 2) / 2
        labels = emit.load(emit.cell(label_kind, label, builder.add(first, slot)), NONE, lanes)
        error = builder.fsub(labels, emit.add(half, emit.all_of(0.5, lanes)), flags=emit.flags)
        trained = builder.and_(inside, builder.and_(below, above))
        pulls = builder.select(trained, emit.times(emit.spread(alpha, lanes), error), nothing)
        emit.store(pulls, emit.cell(pull_kind, pull, own, slot), NONE, lanes)
        return builder.extract_element(emit.sums([emit.halved(scores)] * 4), emit.place(0))

    return types.float32(alpha, c, product, slot, first, targets, score, moved, label, pull), generate
