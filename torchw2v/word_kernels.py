"""text.find_words and WordTable.find in one compiled loop over the bytes, and WordTable.find and add. Needs numba.

A word is looked up while its bytes are in a register: no array of words is made. The keys are those of word_table.py,
bit by bit, and so are the ids. One core, 18.9 M words of Wikipedia: see docs/benchmarks.md, "From text to ids".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from torchw2v import word_table
from torchw2v.compiling import INNER, code_of, kept
from torchw2v.word_table import EMPTY, GIANT, MULTIPLIER, TableArrays, Words, WordTable, eights_of

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
_INLINED: dict[str, Any] = {**_OPTIONS, "_nrt": False, "forceinline": True, **INNER}
_inlined = njit(**_INLINED)

_PADDING = 8  # bytes around a block: eight may be read from each byte of it on
_SPACE, _NEWLINE = np.uint8(32), np.uint8(10)
_EACH = np.uint64(0x0101010101010101)  # times a byte: that byte eight times
_ABOVE_SPACE, _HIGH_BITS = _EACH * np.uint64(33), _EACH * np.uint64(0x80)
_BITS, _ONE, _TAG = np.uint64(8), np.uint64(1), np.uint64(0xFF)
_WORD = np.uint64(64)
_TOGETHER = 64  # words whose places in the table are asked for before the first of them is looked at


class Known(NamedTuple):
    """A state of a WordTable, as arrays."""

    slots: np.ndarray
    shift: np.uint64
    first: np.ndarray
    second: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    eights: np.ndarray


class Found(NamedTuple):
    """What `find` fills. Arrays are longer than what is used of them."""

    ids: np.ndarray  # int32: of each word, 0 where unknown
    line_ends: np.ndarray  # int64: words before each line end
    unknown: np.ndarray  # int64: places of unknown words
    starts: np.ndarray  # int64: where they stand in the text
    ends: np.ndarray


class Ahead(NamedTuple):
    """Words that have been read and not yet looked up: arrays [_TOGETHER].

    What the table has of a word lies anywhere in memory. Asked for one word after another, each would be waited for:
    one core, 5.1 M words of Wikipedia, 160,000 different: 48 ns a word, with 64 words ahead 25 (compat.textbench).
    """

    starts: np.ndarray  # int64
    ends: np.ndarray
    first: np.ndarray  # uint64: keys
    second: np.ndarray
    slots: np.ndarray  # int64


@intrinsic
def _prefetch(typing, array, place):
    """Ask for the cache line of array[place], by LLVM's prefetch."""

    def generate(context, builder, signature, arguments):
        made = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(made.data, [arguments[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, word, word, word])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        builder.call(prefetch, [address, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.none(array, types.int64), generate


@intrinsic
def _zeros_below(typing, number):
    """Zero bits below the lowest one of a number, by LLVM's cttz."""

    def generate(context, builder, signature, arguments):
        return builder.cttz(arguments[0], ir.IntType(1)(1))

    return types.uint64(types.uint64), generate


@_inlined
def _is_white(byte):
    r"""ASCII that str.split() splits at: \t \n \v \f \r, \x1c to \x1f, space."""
    return np.uint8(byte - np.uint8(9)) <= 4 or np.uint8(byte - np.uint8(28)) <= 4


@_inlined
def _wide_space(text, at):
    """Bytes of the white space beyond ASCII that stands here, 0 if there is none: text._WIDE_SPACES."""
    lead, second, third = text[at], text[at + 1], text[at + 2]
    if lead == 0xC2:
        return 2 if second in (0x85, 0xA0) else 0
    if lead == 0xE1:
        return 3 if second == 0x9A and third == 0x80 else 0
    if lead == 0xE2:
        general = second == 0x80 and (third <= 0x8A or third in (0xA8, 0xA9, 0xAF))
        return 3 if general or (second == 0x81 and third == 0x9F) else 0
    return 3 if lead == 0xE3 and second == 0x80 and third == 0x80 else 0


@_inlined
def _word_end(text, eights, begin):
    """The end of the word that begins here, eight bytes at a time."""
    at, high = begin, np.uint64(0)
    while True:
        eight = eights[at]
        small = (eight - _ABOVE_SPACE) & ~eight & _HIGH_BITS  # its lowest bit marks the first byte up to a space
        if small == 0:
            high |= eight & _HIGH_BITS
            at += 8
            continue
        high |= eight & _HIGH_BITS & ((small & (~small + _ONE)) - _ONE)
        at += np.int64(_zeros_below(small) >> np.uint64(3))  # type: ignore[call-arg] # numba gives the first one
        if _is_white(text[at]):
            break
        at += 1  # another control character: a letter to str.split()
    if high:
        for inside in range(begin, at):
            if text[inside] >= 0xC2 and _wide_space(text, inside):
                return inside
    return at


@_inlined
def _hash(eights, start, end):
    """word_table._hashes of a word of 9 to GIANT bytes."""
    hashed = eights[end - 8] + np.uint64(end - start)
    at = start
    while True:
        mixed = (hashed ^ eights[at]) * MULTIPLIER
        hashed = mixed ^ (mixed >> np.uint64(32))
        at += 8
        if at >= end - 8:
            return hashed


@_inlined
def _same(eights, start, end, known, word):
    """Whether a word of more than 14 bytes is that of the table."""
    other = known.starts[word]
    if known.ends[word] - other != end - start:
        return False
    for at in range(0, end - start - 8, 8):
        if eights[start + at] != known.eights[other + at]:
            return False
    return eights[end - 8] == known.eights[known.ends[word] - 8]


@_inlined
def _keys(eights, start, end):
    """word_table._keys of a word of up to GIANT bytes: (first, second, mixed)."""
    length = end - start
    if length == 0:
        return EMPTY, np.uint64(0), EMPTY
    first = eights[start]
    if length <= 7:
        first = first << (_WORD - _BITS * np.uint64(length)) | np.uint64(length)
        return first, np.uint64(0), first
    first = first << _BITS | _BITS
    second = (eights[end - 8] & ~_TAG) | np.uint64(length)
    if length > 14:
        second = _hash(eights, start, end) | _TAG
    last = second * MULTIPLIER
    return first, second, first ^ last ^ (last >> np.uint64(32))


@_inlined
def _put_ahead(eights, start, end, known, ahead, count):
    """Remember a word of up to GIANT bytes, and ask for its place in the table."""
    first, second, mixed = _keys(eights, start, end)
    slot = np.int64((mixed * MULTIPLIER) >> known.shift)
    ahead.first[count], ahead.second[count], ahead.slots[count] = first, second, slot
    _prefetch(known.slots, slot)  # type: ignore[call-arg] # numba gives the first one


@_inlined
def _ask_for(known, ahead, count):
    """Ask for the keys that stand in the places of the words ahead."""
    for k in range(count):
        word = np.int64(known.slots[ahead.slots[k]])
        _prefetch(known.first, word)  # type: ignore[call-arg]
        _prefetch(known.second, word)


@_inlined
def _look_up(eights, start, end, known, ahead, k):
    """WordTable.find of a word ahead: (its id, 0 if it is unknown; the slot where the search ended)."""
    first, second, slot = ahead.first[k], ahead.second[k], ahead.slots[k]
    while True:
        word = known.slots[slot]
        if word == 0:
            return word, slot
        if known.first[word] == first and known.second[word] == second:  # noqa: SIM102 - the rare test comes last
            if end - start <= 14 or _same(eights, start, end, known, word):
                return word, slot
        slot = (slot + 1) & (len(known.slots) - 1)


@_inlined
def _look_up_all(eights, known, ahead, count, found, words, unknown):
    """Find the words ahead, which are those from `words` on: unknown words so far."""
    _ask_for(known, ahead, count)
    for k in range(count):
        start, end, word = ahead.starts[k], ahead.ends[k], np.int32(0)
        if end - start <= GIANT:
            word, _ = _look_up(eights, start, end, known, ahead, k)
        found.ids[words + k] = word
        if word == 0:
            found.unknown[unknown], found.starts[unknown], found.ends[unknown] = words + k, start, end
            unknown += 1
    return unknown


@njit(**_OPTIONS, **INNER)
def _find(text, eights, stop, known, ahead, found):
    """Split and look up text[_PADDING:stop]: (words, lines, unknown words)."""
    words = lines = unknown = count = 0
    at = _PADDING
    while at < stop:
        byte = text[at]
        if _is_white(byte):
            if byte == _NEWLINE:
                found.line_ends[lines] = words + count
                lines += 1
            at += 1
            continue
        if byte >= 0xC2:
            wide = _wide_space(text, at)
            if wide:
                at += wide
                continue
        end = _word_end(text, eights, at)
        ahead.starts[count], ahead.ends[count], ahead.slots[count] = at, end, 0
        if end - at <= GIANT:
            _put_ahead(eights, at, end, known, ahead, count)
        at = end
        count += 1
        if count == _TOGETHER:
            unknown = _look_up_all(eights, known, ahead, count, found, words, unknown)
            words, count = words + count, 0
    unknown = _look_up_all(eights, known, ahead, count, found, words, unknown)
    return words + count, lines, unknown


@njit(**_OPTIONS, **INNER)
def _find_words(eights, starts, ends, known, ahead, found):
    """Look words up: how many are unknown."""
    unknown = 0
    for begin in range(0, len(starts), _TOGETHER):
        together = min(_TOGETHER, len(starts) - begin)
        for k in range(together):
            start, end = starts[begin + k], ends[begin + k]
            ahead.starts[k], ahead.ends[k], ahead.slots[k] = start, end, 0
            if end - start <= GIANT:
                _put_ahead(eights, start, end, known, ahead, k)
        unknown = _look_up_all(eights, known, ahead, together, found, begin, unknown)
    return unknown


@njit(**_OPTIONS, **INNER)
def _add(text, eights, starts, ends, known, ahead, buffer, counters, ids):
    """WordTable.add of words of up to GIANT bytes, to arrays with room for all of them."""
    count, used = counters
    for begin in range(0, len(starts), _TOGETHER):
        together = min(_TOGETHER, len(starts) - begin)
        for k in range(together):
            _put_ahead(eights, starts[begin + k], ends[begin + k], known, ahead, k)
        _ask_for(known, ahead, together)
        for k in range(together):
            start, end = starts[begin + k], ends[begin + k]
            word, slot = _look_up(eights, start, end, known, ahead, k)
            if word == 0:
                count += 1
                word = np.int32(count)
                known.first[word], known.second[word] = ahead.first[k], ahead.second[k]
                known.starts[word], known.ends[word] = used, used + end - start
                for at in range(start, end):
                    buffer[used] = text[at]
                    used += 1
                buffer[used] = _SPACE
                used += 1
                known.slots[slot] = word  # last: what stands in a slot can be compared
            ids[begin + k] = word
    counters[0], counters[1] = count, used


def _compiled(code: int) -> tuple[Any, Any, Any]:
    # numba keeps machine code under the entry's file and what it is a closure of.
    @kept(**_OPTIONS)
    def find(text, eights, stop, known, ahead, found):
        code  # noqa: B018
        return _find(text, eights, stop, known, ahead, found)

    @kept(**_OPTIONS)
    def find_words(eights, starts, ends, known, ahead, found):
        code  # noqa: B018
        return _find_words(eights, starts, ends, known, ahead, found)

    @kept(**_OPTIONS)
    def add(text, eights, starts, ends, known, ahead, buffer, counters, ids):
        code  # noqa: B018
        _add(text, eights, starts, ends, known, ahead, buffer, counters, ids)

    return find, find_words, add


_find_kept, _find_words_kept, _add_kept = _compiled(code_of(word_table))


def _known(state: TableArrays) -> Known:
    words = state.words
    eights = eights_of(words.buffer)
    return Known(state.slots, state.shift, state.keys.first, state.keys.second, words.starts, words.ends, eights)


def _ahead() -> Ahead:
    places, keys = np.empty((3, _TOGETHER), np.int64), np.empty((2, _TOGETHER), np.uint64)
    return Ahead(places[0], places[1], keys[0], keys[1], places[2])


def find_in(block: bytes, table: WordTable) -> tuple[np.ndarray, np.ndarray, np.ndarray, Words]:
    """The words of a block of UTF-8 in a table.

    Returns
    -------
    ids : int32 array [n]
        0 where a word is not in the table.
    line_ends : int64 array
        Words before each line end.
    unknown : int64 array
        Places of the zeros in ids.
    words : Words
        Those words.
    """
    text = np.full(len(block) + 2 * _PADDING, _SPACE)
    text[_PADDING:-_PADDING] = np.frombuffer(block, np.uint8)
    most = len(block) // 2 + 1
    unknown, starts, ends = np.empty((3, most), np.int64)
    found = Found(np.empty(most, np.int32), np.empty(block.count(b"\n"), np.int64), unknown, starts, ends)
    eights, state = eights_of(text), _known(table.arrays)
    words, _, missing = _find_kept(text, eights, len(text) - _PADDING, state, _ahead(), found)
    return found.ids[:words], found.line_ends, *_without_giants(found, Words(text, starts, ends), missing, table)


def find_words(words: Words, table: WordTable) -> tuple[np.ndarray, np.ndarray, Words]:
    """`table.find(words)`: (ids, places of the unknown words, the unknown words)."""
    unknown, starts, ends = np.empty((3, len(words)), np.int64)
    found = Found(np.empty(len(words), np.int32), np.zeros(0, np.int64), unknown, starts, ends)
    state = _known(table.arrays)
    missing = _find_words_kept(eights_of(words.buffer), words.starts, words.ends, state, _ahead(), found)
    return found.ids, *_without_giants(found, Words(words.buffer, starts, ends), missing, table)


def _without_giants(found: Found, words: Words, missing: int, table: WordTable) -> tuple[np.ndarray, Words]:
    """Places of the unknown words, and those words, of what a loop did not find: giant words it leaves to the table."""
    unknown, rest = found.unknown[:missing], Words(words.buffer, words.starts[:missing], words.ends[:missing])
    giant = np.flatnonzero(rest.ends - rest.starts > GIANT)
    if not len(giant):
        return unknown, rest
    found.ids[unknown[giant]] = table.find(rest[giant])
    still = np.flatnonzero(found.ids[unknown] == 0)
    return unknown[still], rest[still]


def add_to(table: WordTable, words: Words) -> np.ndarray:
    """`table.add(words)`. One thread at a time."""
    if len(words) and int((words.ends - words.starts).max()) > GIANT:
        return table.add(words)
    ids, text = np.empty(len(words), np.int32), words.buffer
    with table.room_for(words) as (state, counters):
        buffer = state.words.buffer
        _add_kept(text, eights_of(text), words.starts, words.ends, _known(state), _ahead(), buffer, counters, ids)
    return ids
