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
Source of the objective: Mikolov et al. 2013b (arXiv:1310.4546), eqs. 3 and 4. The same in plain steps: sequential.py.

All of it stands in one file because numba keeps machine code until the file of the entry, `train_chunk`, changes: a
function that it calls from another file could change unseen. So could the constants imported below, until torchw2v is
installed anew.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from torchw2v.compiling import kept
from torchw2v.constants import MAX_SCORE, MAX_SEQUENTIAL_BLOCK
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
_LOW_WORD = np.uint64(0xFFFFFFFF)
_ONE = np.float32(1)
_ALIAS_BITS, _ALIAS_MASK = np.uint64(31), np.uint64(2**31 - 1)
_FIRST, _SINGLE = np.int64(0), np.int64(1)  # written as 0 and 1, they would each be a type, with code of its own


class Matrices(NamedTuple):
    """What is trained: float32 [V, D], changed in place; of no rows where the objective has none of them."""

    inputs: np.ndarray
    outputs: np.ndarray
    nodes: np.ndarray
    input_lock: np.ndarray  # [V], or empty: 1 everywhere


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


class Pace(NamedTuple):
    """contract.Step."""

    alpha: float
    first_key: int
    second_key: int
    compute_loss: bool


class Scratch(NamedTuple):
    """A block's rows and products. M hidden rows and N targets at most."""

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
    label: np.ndarray  # [N]
    context: np.ndarray  # [C] int64: words of the contexts


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

    One core, D = 100, CPU time against the same loops with D read at run time: skip-gram 0.86 with negative sampling,
    0.81 with hierarchical softmax (`python -m compat.bench --workers 1`, with COMPILED_SIZES as it is and empty).
    """
    record = pattern.dtype

    def generate(context, builder, signature, arguments):
        if isinstance(record, types.Record):
            return context.get_constant(types.int64, record.typeof("row").shape[0])  # type: ignore[attr-defined] # a nested array
        array = context.make_array(pattern)(context, builder, arguments[0])
        return builder.extract_value(array.shape, 1)

    return types.int64(pattern), generate


@_inlined
def _width(scratch):
    return _width_of(scratch.pattern)  # type: ignore[call-arg] # numba gives the first one


@_inlined
def _products(width, out, a, left, right, index, first, count):
    """out[a, k] = left[a] . right[index[first + k]], k < count: four at a time, left[a] read once for all."""
    k = 0
    while k + 4 <= count:
        r0, r1, r2, r3 = index[first + k], index[first + k + 1], index[first + k + 2], index[first + k + 3]
        s0 = s1 = s2 = s3 = np.float32(0)
        for d in range(width):
            x = left[a, d]
            s0 += x * right[r0, d]
            s1 += x * right[r1, d]
            s2 += x * right[r2, d]
            s3 += x * right[r3, d]
        out[a, k], out[a, k + 1], out[a, k + 2], out[a, k + 3] = s0, s1, s2, s3
        k += 4
    while k < count:
        r0, s0 = index[first + k], np.float32(0)
        for d in range(width):
            s0 += left[a, d] * right[r0, d]
        out[a, k] = s0
        k += 1


@_inlined
def _add(width, rows, r, factors, a, block, index, first, count):
    """rows[r] += sum over k < count of factors[a, k] * block[index[first + k]]: rows[r] is written once for four."""
    k = 0
    while k + 4 <= count:
        r0, r1, r2, r3 = index[first + k], index[first + k + 1], index[first + k + 2], index[first + k + 3]
        f0, f1, f2, f3 = factors[a, k], factors[a, k + 1], factors[a, k + 2], factors[a, k + 3]
        for d in range(width):
            rows[r, d] += f0 * block[r0, d] + f1 * block[r1, d] + f2 * block[r2, d] + f3 * block[r3, d]
        k += 4
    while k < count:
        r0, f0 = index[first + k], factors[a, k]
        for d in range(width):
            rows[r, d] += f0 * block[r0, d]
        k += 1


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
def _prefetch_center(matrices, vocabulary, rule, pace, word, position):
    """Ask for the output rows of a center that comes next: they lie anywhere in memory."""
    if rule.negative:
        _prefetch(matrices.outputs, word)
        for k in range(rule.negative):
            _prefetch(matrices.outputs, _noise_word(vocabulary, pace, position, LANE_NEGATIVES + k))
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


# ---- a block ----------------------------------------------------------------------------------------------------


@_inlined
def _sigmoid(x):
    """1 / (1 + exp(-x)) to float32's rounding, without branches or calls, so that loops of it become vectors.

    sigmoid(x) = (1 + tanh(x / 2)) / 2, tanh of half the argument by Lambert's continued fraction, cut after 13.
    """
    y = min(max(x, np.float32(-18)), np.float32(18)) * np.float32(0.25)
    q = y * y
    above = y * (np.float32(135135) + q * (np.float32(17325) + q * (np.float32(378) + q)))
    below = np.float32(135135) + q * (np.float32(62370) + q * (np.float32(3150) + q * np.float32(28)))
    return np.float32(0.5) + above * below / (below * below + above * above)


@_inlined
def _softplus(x):
    return max(x, np.float32(0)) + np.log1p(math.exp(-abs(x)))


@_inlined
def _pull(c, first, targets, pace, scratch):
    """Score and pull of hidden row c on targets that the hidden rows before it have moved: (loss, sum of scores)."""
    alpha = np.float32(pace.alpha)
    loss, total = 0.0, np.float32(0)
    for b in range(c):
        factor = scratch.product[c, b]
        for t in range(targets):
            scratch.score[c, t] += factor * scratch.pull[b, t]
    for t in range(targets):
        score, label = scratch.score[c, t], scratch.label[first + t]
        trained = _ONE if abs(score) < MAX_SCORE else np.float32(0)
        scratch.pull[c, t] = trained * alpha * (label - _sigmoid(score))
        total += score
    if pace.compute_loss:
        for t in range(targets):
            score = scratch.score[c, t]
            loss += _softplus(score if scratch.label[first + t] == 0 else -score)
    return loss, total


@_inlined
def _meet_many(matrix, errors, first, targets, hidden_rows, pace, scratch):
    """Train targets, different rows of a matrix, against the hidden rows one after another: (loss, sum of scores)."""
    width = _width(scratch)
    loss, total = 0.0, np.float32(0)
    for c in range(hidden_rows):
        _products(width, scratch.product, c, scratch.hidden, scratch.hidden, scratch.place, 0, c)
        _products(width, scratch.score, c, scratch.hidden, matrix, scratch.row, first, targets)
        part = _pull(c, first, targets, pace, scratch)
        loss, total = loss + part[0], total + part[1]
        # The error: what the targets pull it by, where the hidden rows before it have moved them.
        row, factor = scratch.error_row[c], scratch.factor[c]
        for t in range(targets):
            scratch.scaled[0, t] = factor * scratch.pull[c, t]
        _add(width, errors, row, scratch.scaled, 0, matrix, scratch.row, first, targets)
        for b in range(c):
            both = np.float32(0)
            for t in range(targets):
                both += scratch.scaled[0, t] * scratch.pull[b, t]
            scratch.both[0, b] = both
        _add(width, errors, row, scratch.both, 0, scratch.hidden, scratch.place, 0, c)
    for t in range(targets):
        for c in range(hidden_rows):
            scratch.both[0, c] = scratch.pull[c, t]
        _add(width, matrix, scratch.row[first + t], scratch.both, 0, scratch.hidden, scratch.place, 0, hidden_rows)
    return loss, total


@_inlined
def _meet_one(matrix, errors, first, targets, pace, scratch):
    """The same for one hidden row, which needs no products of hidden rows: error and target in one pass."""
    width = _width(scratch)
    _products(width, scratch.score, 0, scratch.hidden, matrix, scratch.row, first, targets)
    sums = _pull(0, first, targets, pace, scratch)
    error_row, factor = scratch.error_row[0], scratch.factor[0]
    for t in range(targets):
        row, pull = scratch.row[first + t], scratch.pull[0, t]
        scaled = factor * pull
        for d in range(width):
            target = matrix[row, d]
            errors[error_row, d] += scaled * target
            matrix[row, d] = target + pull * scratch.hidden[0, d]
    return sums


@_inlined
def _set_targets(vocabulary, rule, pace, scratch, word, position, number):
    """The center and its negatives, rows of the outputs, then its path's nodes: (how many outputs, how many in all)."""
    outputs = _FIRST
    if rule.negative:
        scratch.row[0], scratch.label[0] = word, _ONE
        outputs = _SINGLE
        for k in range(rule.negative):
            noise = _noise_word(vocabulary, pace, position, LANE_NEGATIVES + number * rule.negative + k)
            if noise != word:
                scratch.row[outputs], scratch.label[outputs] = noise, np.float32(0)
                outputs += 1
    targets = outputs
    if rule.hierarchical:
        for k in range(vocabulary.path_offsets[word], vocabulary.path_offsets[word + 1]):
            scratch.row[targets], scratch.label[targets] = vocabulary.points[k], vocabulary.labels[k]
            targets += 1
    return outputs, targets


@_inlined
def _hold_contexts(matrices, scratch, first, stop):
    """Skip-gram: every context is a hidden row."""
    for c in range(stop - first):
        context = scratch.context[first + c]
        scratch.error_row[c], scratch.factor[c] = context, _lock(matrices, context)
        _copy(_width(scratch), scratch.hidden, c, matrices.inputs, context)


@_inlined
def _hold_bag(matrices, rule, scratch, contexts):
    """CBOW: one hidden row, the mean or sum of all contexts."""
    share = _ONE / np.float32(contexts)
    width = _width(scratch)
    for d in range(width):
        scratch.hidden[0, d] = scratch.error[0, d] = 0
    for c in range(contexts):
        context = scratch.context[c]  # read once: what a loop may overwrite is not kept in a register
        for d in range(width):
            scratch.hidden[0, d] += matrices.inputs[context, d]
    if rule.cbow_mean:
        for d in range(width):
            scratch.hidden[0, d] *= share
    # gensim divides the error of a sum, not of a mean: the gradient's opposite (docs/parity.md, "CBOW's gradient").
    scratch.error_row[0], scratch.factor[0] = 0, _ONE if rule.cbow_mean else share


@_inlined
def _spread_error(matrices, scratch, contexts):
    """CBOW: the error of the bag goes to all contexts."""
    for c in range(contexts):
        context = scratch.context[c]
        factor = _lock(matrices, context)
        for d in range(_width(scratch)):
            matrices.inputs[context, d] += factor * scratch.error[0, d]


@_inlined
def _lock(matrices, word):
    return matrices.input_lock[word] if len(matrices.input_lock) else _ONE


@_inlined
def _train_center(matrices, vocabulary, rule, pace, scratch, word, position, contexts):
    """Train a center with the contexts in the scratch: (loss, sum of scores).

    Skip-gram's contexts come in blocks of different words, MAX_SEQUENTIAL_BLOCK at most, which share negatives.
    """
    loss, total = 0.0, np.float32(0)
    number = first = _FIRST
    while first < contexts:
        if rule.skip_gram:
            stop = _different(scratch.context, first, min(contexts, first + MAX_SEQUENTIAL_BLOCK))
            hidden_rows, errors = stop - first, matrices.inputs
            _hold_contexts(matrices, scratch, first, stop)
        else:
            stop, hidden_rows, errors = contexts, _SINGLE, scratch.error
            _hold_bag(matrices, rule, scratch, contexts)
        outputs, targets = _set_targets(vocabulary, rule, pace, scratch, word, position, number)
        begin = _FIRST
        while begin < targets:  # one place for every call: whatever is called is compiled once more for each
            if begin < outputs:
                matrix, end = matrices.outputs, _different(scratch.row, begin, outputs)
            else:
                matrix, end = matrices.nodes, targets
            if hidden_rows > 1:
                part = _meet_many(matrix, errors, begin, end - begin, hidden_rows, pace, scratch)
            else:
                part = _meet_one(matrix, errors, begin, end - begin, pace, scratch)
            loss, total, begin = loss + part[0], total + part[1], end
        if not rule.skip_gram:
            _spread_error(matrices, scratch, contexts)
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
                _prefetch_center(matrices, vocabulary, rule, pace, words[i + 1], following)
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
            part = _train_center(matrices, vocabulary, rule, pace, scratch, words[i], position, contexts)
            pairs += contexts if rule.skip_gram else 1
            loss, total = loss + part[0], total + part[1]
        sentence += 1
    return effective, pairs, loss, total
