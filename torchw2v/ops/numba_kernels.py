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
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from torchw2v.constants import MAX_SCORE, MAX_SEQUENTIAL_BLOCK
from torchw2v.ops.draws import LANE_KEEP, LANE_NEGATIVES, LANE_WINDOW

logger = logging.getLogger(__name__)

# Sums may be reordered and contracted (that is what makes vectors of them); NaN and infinity keep their meaning.
# Without numba's runtime (_nrt) arrays are not counted by reference: the counters would be atomic, one for each array
# of every tuple that is looked into, and shared by all threads. One core, cbow-ns: 780 ns a token, without them 450.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "error_model": "numpy",
}
_UNCOUNTED: dict[str, Any] = {"_nrt": False}
_inlined = njit(**_OPTIONS, **_UNCOUNTED, forceinline=True)


def _kept(**options: Any) -> Callable[[Callable], Any]:
    """numba.njit with the machine code kept on disk, or compiled by each process where no folder can be written."""

    def compile_later(function: Callable) -> Any:
        try:
            return njit(**_OPTIONS, **options, cache=True)(function)
        except RuntimeError as error:  # numba's "no locator available"
            logger.info("compiled anew in every process (set NUMBA_CACHE_DIR to keep it): %s", error)
            return njit(**_OPTIONS, **options)(function)

    return compile_later


_compiled = _kept(**_UNCOUNTED)
_allocating = _kept()
_LOW_WORD = np.uint64(0xFFFFFFFF)
_ONE = np.float32(1)


class Matrices(NamedTuple):
    """What is trained: float32 [V, D], changed in place; of no rows where the objective has none of them."""

    inputs: np.ndarray
    outputs: np.ndarray
    nodes: np.ndarray
    input_lock: np.ndarray  # [V], or empty: 1 everywhere


class Vocabulary(NamedTuple):
    """Tables of draws and paths, as in contract.Tables and tables.AliasTable; empty where not used."""

    keep_thresholds: np.ndarray
    accept: np.ndarray
    alias: np.ndarray
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

    hidden: np.ndarray  # [M, D]
    error: np.ndarray  # [1, D]: of a CBOW center's hidden row
    error_row: np.ndarray  # [M] int64: where the hidden rows' errors are added, rows of the error or of the inputs
    factor: np.ndarray  # [M]: what they are multiplied by
    target: np.ndarray  # [N, D]
    product: np.ndarray  # [M, M]: P
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
    product = draw(pace, position, lane) * np.uint64(len(vocabulary.accept))
    column = np.int64(product >> np.uint64(32))
    if np.int64(product & _LOW_WORD) < vocabulary.accept[column]:
        return column
    return vocabulary.alias[column]


# ---- rows -------------------------------------------------------------------------------------------------------


@_inlined
def _products(out, left, rows, right, columns):
    """out[a, b] = left[a] . right[b], a < rows, b < columns: four at a time, so that left[a] is read once for them."""
    width = left.shape[1]
    for a in range(rows):
        b = 0
        while b + 4 <= columns:
            s0 = s1 = s2 = s3 = np.float32(0)
            for d in range(width):
                x = left[a, d]
                s0 += x * right[b, d]
                s1 += x * right[b + 1, d]
                s2 += x * right[b + 2, d]
                s3 += x * right[b + 3, d]
            out[a, b], out[a, b + 1], out[a, b + 2], out[a, b + 3] = s0, s1, s2, s3
            b += 4
        while b < columns:
            s0 = np.float32(0)
            for d in range(width):
                s0 += left[a, d] * right[b, d]
            out[a, b] = s0
            b += 1


@_inlined
def _add(rows, r, factors, k, block, count):
    """rows[r] += sum over c < count of factors[k, c] * block[c]: four at a time, so that rows[r] is written once."""
    width = rows.shape[1]
    c = 0
    while c + 4 <= count:
        f0, f1, f2, f3 = factors[k, c], factors[k, c + 1], factors[k, c + 2], factors[k, c + 3]
        for d in range(width):
            rows[r, d] += f0 * block[c, d] + f1 * block[c + 1, d] + f2 * block[c + 2, d] + f3 * block[c + 3, d]
        c += 4
    while c < count:
        f0 = factors[k, c]
        for d in range(width):
            rows[r, d] += f0 * block[c, d]
        c += 1


@_inlined
def _copy(out, k, rows, r):
    for d in range(rows.shape[1]):
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
        factor = scratch.product[b, c]
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
def _add_error(errors, c, targets, scratch):
    """Add the error of hidden row c: what the targets pull it by, where the hidden rows before it have moved them."""
    row, factor = scratch.error_row[c], scratch.factor[c]
    for t in range(targets):
        scratch.scaled[0, t] = factor * scratch.pull[c, t]
    _add(errors, row, scratch.scaled, 0, scratch.target, targets)
    for b in range(c):
        both = np.float32(0)
        for t in range(targets):
            both += scratch.scaled[0, t] * scratch.pull[b, t]
        scratch.both[0, b] = both
    _add(errors, row, scratch.both, 0, scratch.hidden, c)


@_compiled
def _meet(matrix, errors, first, stop, hidden_rows, pace, scratch):
    """Train targets first..stop, different rows of a matrix, against the hidden rows: (loss, sum of scores)."""
    targets = stop - first
    loss, total = 0.0, np.float32(0)
    for t in range(targets):
        _copy(scratch.target, t, matrix, scratch.row[first + t])
    _products(scratch.score, scratch.hidden, hidden_rows, scratch.target, targets)
    for c in range(hidden_rows):
        part = _pull(c, first, targets, pace, scratch)
        loss, total = loss + part[0], total + part[1]
        _add_error(errors, c, targets, scratch)
    for t in range(targets):
        for c in range(hidden_rows):
            scratch.both[0, c] = scratch.pull[c, t]
        _add(matrix, scratch.row[first + t], scratch.both, 0, scratch.hidden, hidden_rows)
    return loss, total


@_compiled
def _train_block(matrices, errors, vocabulary, rule, pace, scratch, word, position, number, hidden_rows):
    """Train a center's block: its `hidden_rows` hidden rows stand in the scratch, their errors go to `errors`."""
    _products(scratch.product, scratch.hidden, hidden_rows, scratch.hidden, hidden_rows)
    loss, total = 0.0, np.float32(0)
    if rule.negative:
        scratch.row[0], scratch.label[0] = word, _ONE
        count = 1
        for k in range(rule.negative):
            noise = _noise_word(vocabulary, pace, position, LANE_NEGATIVES + number * rule.negative + k)
            if noise != word:
                scratch.row[count], scratch.label[count] = noise, np.float32(0)
                count += 1
        first = 0
        while first < count:
            stop = _different(scratch.row, first, count)
            part = _meet(matrices.outputs, errors, first, stop, hidden_rows, pace, scratch)
            loss, total, first = loss + part[0], total + part[1], stop
    if rule.hierarchical:
        begin = vocabulary.path_offsets[word]
        count = vocabulary.path_offsets[word + 1] - begin
        for k in range(count):
            scratch.row[k], scratch.label[k] = vocabulary.points[begin + k], vocabulary.labels[begin + k]
        part = _meet(matrices.nodes, errors, 0, count, hidden_rows, pace, scratch)
        loss, total = loss + part[0], total + part[1]
    return loss, total


@_inlined
def _lock(matrices, word):
    return matrices.input_lock[word] if len(matrices.input_lock) else _ONE


@_inlined
def _train_skip_gram(matrices, vocabulary, rule, pace, scratch, word, position, contexts):
    """Every context is a hidden row; blocks of different words, MAX_SEQUENTIAL_BLOCK at most, share negatives."""
    loss, total = 0.0, np.float32(0)
    number = first = 0
    while first < contexts:
        stop = _different(scratch.context, first, min(contexts, first + MAX_SEQUENTIAL_BLOCK))
        for c in range(stop - first):
            context = scratch.context[first + c]
            scratch.error_row[c], scratch.factor[c] = context, _lock(matrices, context)
            _copy(scratch.hidden, c, matrices.inputs, context)
        part = _train_block(
            matrices, matrices.inputs, vocabulary, rule, pace, scratch, word, position, number, stop - first
        )
        loss, total, first, number = loss + part[0], total + part[1], stop, number + 1
    return loss, total


@_inlined
def _train_cbow(matrices, vocabulary, rule, pace, scratch, word, position, contexts):
    """One hidden row, the mean or sum of all contexts."""
    share = _ONE / np.float32(contexts)
    width = matrices.inputs.shape[1]
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
    part = _train_block(matrices, scratch.error, vocabulary, rule, pace, scratch, word, position, 0, 1)
    for c in range(contexts):
        context = scratch.context[c]
        factor = _lock(matrices, context)
        for d in range(width):
            matrices.inputs[context, d] += factor * scratch.error[0, d]
    return part


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


@_allocating
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
            contexts = 0
            for j in range(max(begin, i - reach), min(kept, i + reach + 1)):
                if j != i:
                    scratch.context[contexts] = words[j]
                    contexts += 1
            if contexts == 0:
                continue
            if rule.skip_gram:
                part = _train_skip_gram(matrices, vocabulary, rule, pace, scratch, words[i], position, contexts)
                pairs += contexts
            else:
                part = _train_cbow(matrices, vocabulary, rule, pace, scratch, words[i], position, contexts)
                pairs += 1
            loss, total = loss + part[0], total + part[1]
        sentence += 1
    return effective, pairs, loss, total
