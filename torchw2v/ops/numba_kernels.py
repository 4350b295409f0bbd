"""Sequential word2vec on a CPU core, compiled by numba. Nothing here but loops; numba_engine.py checks and calls.

The hidden rows of a center (skip-gram: its contexts; CBOW: their mean or sum) meet its targets (the center and its
negatives; the nodes of its Huffman path) one after another, each target as the hidden row before has left it:

    g_ct = alpha (label_t - sigmoid(z_t h_c))      z_t += g_ct h_c      and, after a hidden row's last target,
                                                   h_c += sum_t g_ct z_t (of the targets as c has met them)

gensim passes three times over the rows of every such pair. Here up to GROUP targets are one group, with copies that
stay in the first-level cache, and one pass over the copies does all that hidden row c is about: its error, the move of
the targets, and the products with the hidden row after next (numba_groups.py). So every number of a target is read and
written once a hidden row, and once in its matrix. All targets of a group have to be different rows, and all hidden
rows; `_different` sees to it.
As in gensim, a pair whose |score| has reached 6 is left alone, which keeps tiny vocabularies from exploding.
With AdaGrad alpha is each row's own: that of z_t changes from context to context, that of h_c after the block.
Source of the objective: Mikolov et al. 2013b (arXiv:1310.4546), eqs. 3 and 4. The same in plain steps: sequential.py.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from torchw2v import constants
from torchw2v.compiling import INNER, code_of, kept
from torchw2v.constants import MAX_SEQUENTIAL_BLOCK, MAX_STALE_PULL
from torchw2v.ops import draws, numba_draws, numba_groups, numba_rows
from torchw2v.ops.draws import LANE_NEGATIVES
from torchw2v.ops.numba_draws import effective_tokens, noise_word, reach_of, with_halo
from torchw2v.ops.numba_groups import (
    adapts,
    finish,
    hold,
    meet_once,
    pull_lanes,
    score_copies,
    score_first,
    turn,
    width_in,
)
from torchw2v.ops.numba_rows import (
    FIRST,
    GROUP,
    OPTIONS,
    SINGLE,
    add,
    add_to_each,
    additions_1,
    copy,
    inlined,
    prefetch,
    square_of,
)

_ONE = np.float32(1)
_MOST = np.float32(MAX_STALE_PULL)  # AdaGrad's rates at most: what a row cap leaves to a single pair
AHEAD = 2  # centers whose rows are asked for before it is their turn
SLOTS = 4  # for their negatives; a power of two above AHEAD


class Matrices(NamedTuple):
    """What is trained: float32 [V, D], changed in place; of no rows where the objective has none of them."""

    inputs: np.ndarray
    outputs: np.ndarray
    nodes: np.ndarray
    input_lock: np.ndarray  # [V], or empty: 1 everywhere
    input_squares: np.ndarray  # AdaGrad's sums, [V] each; empty without it
    output_squares: np.ndarray
    node_squares: np.ndarray


# ---- words --------------------------------------------------------------------------------------------------------


@inlined
def _look_ahead(matrices, vocabulary, rule, pace, scratch, word, position, slot):
    """Ask for the output rows of a center that comes soon: they lie anywhere in memory. Keep its first negatives."""
    width = width_in(scratch)
    if rule.negative:
        prefetch(width, matrices.outputs, word)
        scratch.ahead_of[slot] = position
        for k in range(rule.negative):
            noise = noise_word(vocabulary, pace, position, LANE_NEGATIVES + k)
            scratch.ahead[slot, k] = noise
            prefetch(width, matrices.outputs, noise)
    if rule.hierarchical:
        for k in range(vocabulary.path_offsets[word], vocabulary.path_offsets[word + 1]):
            prefetch(width, matrices.nodes, vocabulary.points[k])


@inlined
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


@inlined
def _first_top(matrices, scratch):
    """The nodes with copies: gensim's Huffman tree numbers them from the leaves to the root, V - 2."""
    return np.int64(len(matrices.nodes) - 1 - len(scratch.top))


@inlined
def _bring_together(matrices, scratch, k):
    """Add the changes of copy k to the shared row, and take the sum as the copy."""
    row = _first_top(matrices, scratch) + k
    for d in range(width_in(scratch)):
        own = matrices.nodes[row, d] + (scratch.top[k, d] - scratch.top_before[k, d])
        matrices.nodes[row, d] = scratch.top[k, d] = scratch.top_before[k, d] = own
    scratch.top_uses[k] = 0


@inlined
def _copy_top(matrices, scratch):
    """Read the shared rows, at the begin of a chunk."""
    for k in range(len(scratch.top)):
        copy(width_in(scratch), scratch.top, k, matrices.nodes, _first_top(matrices, scratch) + k)
        copy(width_in(scratch), scratch.top_before, k, scratch.top, k)


# ---- a block ----------------------------------------------------------------------------------------------------


@inlined
def _softplus(x):
    return max(x, np.float32(0)) + np.log1p(math.exp(-abs(x)))


@inlined
def _adapt(c, first, slot, targets, squares, pace, scratch):
    """AdaGrad: from what hidden row c misses, pulls at each target's own rate, and what is added to sums of squares.

    Squares of targets are those that the hidden row meets: |z + p h|^2 = |z|^2 + 2 p z.h + p^2 |h|^2.
    """
    part, alpha, own = _ONE / np.float32(width_in(scratch)), np.float32(pace.alpha), c & 1
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


@inlined
def _pull(c, product, first, slot, targets, squares, pace, scratch):
    """From hidden row c's scores of a group, its pulls: (loss, sum of scores). 0 on places behind the targets."""
    alpha, asked, loss = np.float32(pace.alpha), scratch.pull, 0.0
    if adapts(scratch.adagrad):
        alpha, asked = _ONE, scratch.miss
    score, pull, label = scratch.score, scratch.pull, scratch.label
    total = pull_lanes(alpha, c, product, slot, first, targets, score, pull, label, asked)
    if adapts(scratch.adagrad):
        _adapt(c, first, slot, targets, squares, pace, scratch)
    if pace.compute_loss:
        for t in range(slot, min(slot + GROUP, targets)):
            loss += _softplus(score[c & 1, t] if label[first + t] == 0 else -score[c & 1, t])
    return loss, total


@inlined
def _measure_targets(matrix, first, targets, scratch):
    """AdaGrad: squares of the targets' rows as they are."""
    if adapts(scratch.adagrad):
        for t in range(targets):
            scratch.target_square[t] = square_of(width_in(scratch), matrix, scratch.row[first + t])


@inlined
def _meet_many(matrix, squares, first, targets, hidden_rows, pace, scratch):
    """Train targets, different rows of a matrix, against the hidden rows one after another: (loss, sum of scores).

    A core that waited for c's pulls before it works on the rows, and for the rows before it can have the pulls of
    c + 1, would do nothing half of the time. So what the scores of c + 1 consist of is there before c's pulls are,
        z_t h_(c + 1) + g_ct h_c h_(c + 1),    z_t as c finds it,
    and the pulls of c + 1 are made beside the work for c.
    """
    width = width_in(scratch)
    loss, total = 0.0, np.float32(0)
    _measure_targets(matrix, first, targets, scratch)
    for slot in range(FIRST, targets, GROUP):
        score_copies(width, matrix, scratch, first, slot, targets - slot, FIRST)
    for c in range(-SINGLE, hidden_rows):
        for slot in range(FIRST, targets, GROUP):
            if c + 1 < hidden_rows:
                product = np.float32(0) if c < 0 else scratch.product[c + 1]
                part = _pull(c + 1, product, first, slot, targets, squares, pace, scratch)
                loss, total = loss + part[0], total + part[1]
                if c >= 0:
                    turn(width, matrix, scratch, first, slot, targets - slot, c)
            else:
                finish(width, matrix, scratch, first, slot, targets - slot, c)
    return loss, total


@inlined
def _meet_one(matrix, squares, first, targets, pace, scratch):
    """The same for one hidden row, which needs no copies."""
    width = width_in(scratch)
    loss, total = 0.0, np.float32(0)
    _measure_targets(matrix, first, targets, scratch)
    for slot in range(FIRST, targets, GROUP):
        score_first(width, matrix, scratch, first, slot, targets - slot, FIRST)
        part = _pull(FIRST, np.float32(0), first, slot, targets, squares, pace, scratch)
        loss, total = loss + part[0], total + part[1]
        meet_once(width, matrix, scratch, first, slot, targets - slot, FIRST)
    return loss, total


@inlined
def _set_targets(matrices, vocabulary, rule, pace, scratch, word, position, slot, number):
    """The center and its negatives, rows of the outputs, then its path's nodes, first those that we have copies of.

    Returns
    -------
    (how many outputs, up to where there are copies, how many targets in all)
    """
    outputs = FIRST
    if rule.negative:
        scratch.row[0], scratch.label[0] = word, _ONE
        outputs = SINGLE
        if number > 0 or scratch.ahead_of[slot] != position:
            scratch.ahead_of[slot] = -1
            for k in range(rule.negative):
                lane = LANE_NEGATIVES + number * rule.negative + k
                scratch.ahead[slot, k] = noise_word(vocabulary, pace, position, lane)
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


@inlined
def _hold_contexts(matrices, scratch, first, stop):
    """Skip-gram: every context is a hidden row."""
    for c in range(stop - first):
        hold(width_in(scratch), scratch, c, matrices.inputs, scratch.context[first + c])
        _measure_hidden(scratch, c)


@inlined
def _hold_bag(matrices, rule, scratch, contexts):
    """CBOW: one hidden row, the mean or sum of all contexts."""
    share, width = _ONE / np.float32(contexts), width_in(scratch)
    for d in range(width):
        scratch.hidden[0, d] = 0
    for c in range(contexts):
        scratch.bag[0, c] = share if rule.cbow_mean else _ONE
    add(width, scratch.hidden, FIRST, scratch.bag, FIRST, matrices.inputs, scratch.context, FIRST, contexts)
    _measure_hidden(scratch, FIRST)


@inlined
def _add_errors(matrices, pace, scratch, first, stop):
    """Skip-gram: each context, all of them different words, gets its error."""
    for c in range(stop - first):
        context = scratch.context[first + c]
        scratch.factor[0, c] = _rate(matrices, pace, scratch, context)
        additions_1(
            width_in(scratch), matrices.inputs, context, scratch.factor, FIRST, c, scratch.error, scratch.place, FIRST
        )
        if adapts(scratch.adagrad):
            matrices.input_squares[context] += scratch.error_square[c]


@inlined
def _spread_error(matrices, rule, pace, scratch, contexts):
    """CBOW: the error of the bag goes to all contexts."""
    # As word2vec.c, or by the chain rule (docs/parity.md, "CBOW's gradient").
    share = _ONE / np.float32(contexts) if rule.shares_error else _ONE
    for c in range(contexts):
        context = scratch.context[c]
        scratch.bag[0, c] = share * _rate(matrices, pace, scratch, context)
        if adapts(scratch.adagrad):
            matrices.input_squares[context] += share * share * scratch.error_square[0]
    add_to_each(width_in(scratch), matrices.inputs, scratch.context, FIRST, contexts, scratch.bag, scratch.error)


@inlined
def _measure_hidden(scratch, c):
    """AdaGrad: a hidden row's square; nothing has been asked of it yet."""
    if adapts(scratch.adagrad):
        scratch.hidden_square[c], scratch.error_square[c] = square_of(width_in(scratch), scratch.hidden, c), 0


@inlined
def _rate(matrices, pace, scratch, word):
    """What the error of an input row is multiplied by: its lock, and with AdaGrad its learning rate."""
    if adapts(scratch.adagrad):
        return _lock(matrices, word) * min(np.float32(pace.alpha) / np.sqrt(matrices.input_squares[word]), _MOST)
    return _lock(matrices, word)


@inlined
def _lock(matrices, word):
    return matrices.input_lock[word] if len(matrices.input_lock) else _ONE


@inlined
def _train_center(matrices, vocabulary, rule, pace, scratch, word, position, slot, contexts):
    """Train a center with the contexts in the scratch: (loss, sum of scores).

    Skip-gram's contexts come in blocks of different words, MAX_SEQUENTIAL_BLOCK at most, which share negatives.
    """
    loss, total = 0.0, np.float32(0)
    number = first = FIRST
    while first < contexts:
        if rule.skip_gram:
            stop = _different(scratch.context, first, min(contexts, first + MAX_SEQUENTIAL_BLOCK))
            hidden_rows = stop - first
            _hold_contexts(matrices, scratch, first, stop)
        else:
            stop, hidden_rows = contexts, SINGLE
            _hold_bag(matrices, rule, scratch, contexts)
        outputs, copies, targets = _set_targets(matrices, vocabulary, rule, pace, scratch, word, position, slot, number)
        begin = FIRST
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


@njit(**OPTIONS, **INNER)
def _train_chunk(matrices, vocabulary, text, rule, pace, scratch):
    """Train the centers of a chunk, one after another.

    Returns
    -------
    (effective words, pairs, loss, sum of all scores: NaN or infinite if any of them was)
    """
    low, high = with_halo(vocabulary, text, rule, pace)
    words, index, ends = effective_tokens(vocabulary, text, pace, low, high)
    kept, begin, looked = len(words), FIRST, FIRST
    effective = pairs = 0
    loss, total = 0.0, 0.0
    _copy_top(matrices, scratch)
    for end in ends:
        for i in range(begin, end):
            if not text.start <= index[i] < text.stop:
                continue
            effective += 1
            # Into the next sentence, too: the first centers of a short one would be late else.
            for k in range(max(i, looked), min(i + 1 + AHEAD, kept)):
                _look_ahead(
                    matrices, vocabulary, rule, pace, scratch, words[k], text.first_position + index[k], k % SLOTS
                )
                looked = k + 1
            if i + AHEAD + rule.window < kept:
                prefetch(width_in(scratch), matrices.inputs, words[i + AHEAD + rule.window])
            position = text.first_position + index[i]
            reach = reach_of(rule, pace, position)
            contexts = FIRST
            for j in range(max(begin, i - reach), min(end, i + reach + 1)):
                if j != i:
                    scratch.context[contexts] = words[j]
                    contexts += 1
            if contexts == 0:
                continue
            part = _train_center(matrices, vocabulary, rule, pace, scratch, words[i], position, i % SLOTS, contexts)
            pairs += contexts if rule.skip_gram else 1
            loss, total = loss + part[0], total + part[1]
        begin = end
    for k in range(len(scratch.top)):
        _bring_together(matrices, scratch, k)
    return effective, pairs, loss, total


def _compiled(code: int) -> Any:
    @kept(**OPTIONS)
    def train_chunk(matrices, vocabulary, text, rule, pace, scratch):
        code  # noqa: B018 - numba keeps machine code under the entry's file and what it is a closure of
        return _train_chunk(matrices, vocabulary, text, rule, pace, scratch)

    return train_chunk


train_chunk = _compiled(code_of(constants, draws, numba_draws, numba_rows, numba_groups))
