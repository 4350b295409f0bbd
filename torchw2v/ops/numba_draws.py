"""What numba's loops know of a chunk: its records, the draws of draws.py bit by bit, the tokens that are kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from torchw2v.compiling import INNER
from torchw2v.ops.draws import LANE_KEEP, LANE_WINDOW
from torchw2v.ops.numba_rows import FIRST, OPTIONS, inlined

_LOW_WORD = np.uint64(0xFFFFFFFF)
_ALIAS_BITS, _ALIAS_MASK = np.uint64(31), np.uint64(2**31 - 1)


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


@inlined
def _mix(h):
    h = h ^ (h >> np.uint64(16))
    h = (h * np.uint64(0x85EBCA6B)) & _LOW_WORD
    h = h ^ (h >> np.uint64(13))
    h = (h * np.uint64(0xC2B2AE35)) & _LOW_WORD
    return h ^ (h >> np.uint64(16))


@inlined
def draw(pace, position, lane):
    """draws.draws_numpy of one position and lane: uint64."""
    at = np.uint64(position)
    h = _mix((at + np.uint64(pace.first_key)) & _LOW_WORD)
    h = h ^ (((at >> np.uint64(32)) * np.uint64(0x27D4EB2F)) & _LOW_WORD)
    offset = np.uint64(lane) * np.uint64(0x9E3779B9) + np.uint64(pace.second_key)
    return _mix((h + offset) & _LOW_WORD)


@inlined
def reach_of(rule, pace, position):
    """The window of a center."""
    if not rule.shrink_windows:
        return rule.window
    return 1 + np.int64((draw(pace, position, LANE_WINDOW) * np.uint64(rule.window)) >> np.uint64(32))


@inlined
def noise_word(vocabulary, pace, position, lane):
    """A negative, from the alias table."""
    product = draw(pace, position, lane) * np.uint64(len(vocabulary.noise))
    column = np.int64(product >> np.uint64(32))
    entry = vocabulary.noise[column]
    return column if (product & _LOW_WORD) < (entry >> _ALIAS_BITS) else np.int64(entry & _ALIAS_MASK)


@inlined
def _is_kept(vocabulary, text, pace, index):
    threshold = np.uint64(vocabulary.keep_thresholds[text.token_ids[index]])
    return draw(pace, text.first_position + index, LANE_KEEP) <= threshold


@inlined
def _begun(offsets, position):
    """How many sentences begin at this token or before it: np.searchsorted, which takes a seventh of all to compile."""
    low, high = FIRST, len(offsets)
    while low < high:
        middle = (low + high) >> 1
        if offsets[middle] <= position:
            low = middle + 1
        else:
            high = middle
    return low


@inlined
def with_halo(vocabulary, text, rule, pace):
    """Widen [start, stop) until `window` kept tokens or a sentence's end lie on each side."""
    offsets = text.sentence_offsets
    low, high = text.start, text.stop
    floor, ceiling = offsets[_begun(offsets, low) - 1], offsets[_begun(offsets, high - 1)]
    found = 0
    while low > floor and found < rule.window:
        low -= 1
        found += _is_kept(vocabulary, text, pace, low)
    found = 0
    while high < ceiling and found < rule.window:
        found += _is_kept(vocabulary, text, pace, high)
        high += 1
    return low, high


@njit(**OPTIONS, **INNER)
def effective_tokens(vocabulary, text, pace, low, high):
    """Tokens [low, high) that subsampling keeps: (words, their places, where each sentence ends among them)."""
    offsets = text.sentence_offsets
    first, last = _begun(offsets, low) - 1, _begun(offsets, high - 1)
    words, index = np.empty(high - low, np.int32), np.empty(high - low, np.int64)
    ends = np.empty(last - first, np.int64)
    at, kept = low, 0
    for sentence in range(first, last):
        while at < min(high, offsets[sentence + 1]):
            if _is_kept(vocabulary, text, pace, at):
                words[kept], index[kept] = text.token_ids[at], at
                kept += 1
            at += 1
        ends[sentence - first] = kept
    return words[:kept], index[:kept], ends
