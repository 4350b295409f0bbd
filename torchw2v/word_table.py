"""Words to ids, thousands at once: an open-addressing hash table that is made of numpy arrays.

    bytes --find_words--> Words (where each word stands) --WordTable.find--> ids, 0 where unknown --WordTable.add--> ids

Equal ids mean equal bytes, always: words of up to 14 bytes are compared through two numbers that hold all of them,
longer ones byte by byte. numpy lets other threads run while it works, so several threads may `find` while one adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd: Knuth's multiplicative hashing
_SHORT = 7  # bytes of a word that its first key holds, beside a number
_EXACT = 14  # bytes of a word that its two keys hold
_TAG = np.uint64(0xFF)  # lowest byte of a key: a number, not text
EMPTY = np.uint64(9)  # first key of the word without bytes: no other has such a lowest byte
# Bytes beyond which a word is hashed and compared by itself, not with all others of its block. Web addresses are
# shorter: 300,000 words of 100 letters took 0.65 s at 64, ten times as long as gensim.
GIANT = 1024
_LOAD = 4  # slots for each word at least
_TOGETHER = 2**16  # words that are given their slots at once in a table that has grown


@dataclass(frozen=True)
class Words:
    """Words inside a buffer of bytes.

    Attributes
    ----------
    buffer : uint8 array
        At least 8 bytes follow the start of every word.
    starts, ends : int64 array [n]
        Word i is buffer[starts[i]:ends[i]].
    """

    buffer: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def __getitem__(self, which: np.ndarray | slice) -> Words:
        return Words(self.buffer, self.starts[which], self.ends[which])

    def __len__(self) -> int:
        return len(self.starts)

    def bytes_at(self, index: int | np.integer) -> bytes:
        """One word."""
        return self.buffer[self.starts[index] : self.ends[index]].tobytes()


def eights_of(buffer: np.ndarray) -> np.ndarray:
    """The 8 bytes from each byte of a buffer on, as a number: a view."""
    return np.ndarray((max(len(buffer) - 7, 0),), np.dtype("<u8"), buffer, strides=(1,))


@dataclass(frozen=True)
class _Keys:
    """What words are recognized by. Equal words have equal keys; of words of up to 14 bytes only equal ones have."""

    first: np.ndarray  # uint64 [n], never 0: the first 7 bytes and the length, 8 for more
    second: np.ndarray  # uint64 [n]: the last 7 bytes and the length, a hash for more than 14, 0 for less than 8

    def at(self, which: np.ndarray) -> _Keys:
        """Some of them."""
        return _Keys(self.first[which], self.second[which])

    def mixed(self) -> np.ndarray:
        """Both in one, not unique: uint64 array [n]."""
        mixed = self.second * MULTIPLIER
        mixed ^= mixed >> np.uint64(32)
        mixed ^= self.first
        return mixed


def _keys(words: Words) -> _Keys:
    lengths, eights = words.ends - words.starts, eights_of(words.buffer)
    first = eights[words.starts]
    first <<= (64 - 8 * np.minimum(lengths, _SHORT)).view(np.uint64)
    first |= np.minimum(lengths, _SHORT + 1).view(np.uint64)
    first[lengths == 0] = EMPTY
    second = np.zeros_like(first)
    long = np.flatnonzero(lengths > _SHORT)
    last = eights[words.ends[long] - 8]
    last &= ~_TAG
    last |= np.minimum(lengths[long], _EXACT + 1).view(np.uint64)
    hashed = np.flatnonzero(lengths[long] > _EXACT)
    last[hashed] = _hashes(words[long[hashed]]) | _TAG
    second[long] = last
    return _Keys(first, second)


def _hashes(words: Words) -> np.ndarray:
    """A 64-bit hash of each word of at least 8 bytes."""
    eights, starts, ends = eights_of(words.buffer), words.starts, words.ends
    hashes = eights[ends - 8] + (ends - starts).view(np.uint64)
    at, more = 0, np.arange(len(words))
    while len(more) and at < GIANT:
        mixed = (hashes[more] ^ eights[starts[more] + at]) * MULTIPLIER
        hashes[more] = mixed ^ (mixed >> np.uint64(32))
        at += 8
        more = more[starts[more] + at < ends[more] - 8]  # the last 8 bytes are in already
    for giant in np.flatnonzero(ends - starts > GIANT):
        hashes[giant] ^= np.uint64(hash(words.bytes_at(giant)) % 2**64)
    return hashes


def _same_bytes(some: Words, others: Words) -> np.ndarray:
    """Whether words of more than 14 bytes are equal, one by one: bool array [n]."""
    lengths = some.ends - some.starts
    same = lengths == others.ends - others.starts
    for giant in np.flatnonzero(same & (lengths > GIANT)):
        same[giant] = some.bytes_at(giant) == others.bytes_at(giant)
    ours, theirs = eights_of(some.buffer), eights_of(others.buffer)
    left = np.flatnonzero(same & (lengths <= GIANT))
    at = lengths[left] - 8  # from the last 8 bytes to the first
    while len(left):
        equal = ours[some.starts[left] + at] == theirs[others.starts[left] + at]
        same[left] = equal
        going = equal & (at > 0)
        left, at = left[going], np.maximum(at[going] - 8, 0)
    return same


class TableArrays(NamedTuple):
    """One state of a table; row 0 stands for "no word". Those that replace it have all of its words."""

    slots: np.ndarray  # int32 [2**bits]: the word in a slot, 0 for none
    shift: np.uint64  # 64 - bits
    keys: _Keys  # [capacity]
    words: Words  # [capacity], in a buffer of the table's own, each followed by a space

    def slots_of(self, mixed: np.ndarray) -> np.ndarray:
        """Where the search for a key begins; it goes on to the following slots."""
        return ((mixed * MULTIPLIER) >> self.shift).view(np.int64)


class WordTable:
    """Ids of words: 1, 2, 3, ... in the order in which they were added.

    Attributes
    ----------
    arrays : TableArrays
        The present state. Others may read it while words are added.
    """

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._count = 0
        self._used = 0  # bytes of the buffer
        self.arrays = self._empty(bits=12, capacity=1 << 10, size=1 << 14)

    @staticmethod
    def _empty(bits: int, capacity: int, size: int) -> TableArrays:
        starts, ends = np.zeros((2, capacity), np.int64)
        keys = _Keys(*np.zeros((2, capacity), np.uint64))
        words = Words(np.zeros(size, np.uint8), starts, ends)
        return TableArrays(np.zeros(1 << bits, np.int32), np.uint64(64 - bits), keys, words)

    def __len__(self) -> int:
        return self._count

    def words(self) -> list[str]:
        """All words in the order of their ids; they must be UTF-8."""
        return self._decoded(self.arrays.words, self._count, self._used)

    def take_words(self) -> list[str]:
        """The same, and the table is empty then: what words are looked up by is let go before strings are made."""
        words, count, used = self.arrays.words, self._count, self._used
        self._clear()
        return self._decoded(words, count, used)

    @staticmethod
    def _decoded(places: Words, count: int, used: int) -> list[str]:
        written = places.buffer[:used].tobytes()
        text = written.decode()
        words = text.split()
        if len(words) == count and sum(map(len, words)) + count == len(text):
            return words
        # Some are empty or hold white space.
        ids = slice(1, count + 1)
        starts, ends = (each[ids].tolist() for each in (places.starts, places.ends))
        return [written[start:end].decode() for start, end in zip(starts, ends, strict=True)]

    def find(self, words: Words) -> np.ndarray:
        """Ids of words.

        May run while another thread adds words: those may then be found or not.

        Returns
        -------
        int32 array [n]
            0 where a word is not in the table.
        """
        return self._find(words, _keys(words))

    def _find(self, words: Words, keys: _Keys) -> np.ndarray:
        arrays = self.arrays  # one state, also when another thread puts a larger one in its place
        slots = arrays.slots_of(keys.mixed())
        ids = arrays.slots[slots]
        same = arrays.keys.first[ids] == keys.first
        long = np.flatnonzero(keys.second)
        same[long] &= arrays.keys.second[ids[long]] == keys.second[long]
        rest = self._others(arrays, words, keys, np.arange(len(words)), ids, same)
        while len(rest := rest[ids[rest] != 0]):  # another word is in the slot: look into the next one
            slots[rest] = (slots[rest] + 1) & (len(arrays.slots) - 1)
            ids[rest] = found = arrays.slots[slots[rest]]
            same = (arrays.keys.first[found] == keys.first[rest]) & (arrays.keys.second[found] == keys.second[rest])
            rest = self._others(arrays, words, keys, rest, found, same)
        return ids

    @staticmethod
    def _others(
        arrays: TableArrays, words: Words, keys: _Keys, which: np.ndarray, ids: np.ndarray, same: np.ndarray
    ) -> np.ndarray:
        """Those of `which` that are not the word `ids`, given whether their keys are the same."""
        hashed = np.flatnonzero(same & ((keys.second[which] & _TAG) == _TAG))
        if len(hashed):
            same[hashed] = _same_bytes(words[which[hashed]], arrays.words[ids[hashed]])
        return which[~same]

    def add(self, words: Words) -> np.ndarray:
        """Ids of words, of which those that are not in the table are added in order. One thread at a time.

        Returns
        -------
        int32 array [n]
        """
        keys = _keys(words)
        ids = self._find(words, keys)
        while len(new := np.flatnonzero(ids == 0)):
            fresh, own = words[new], keys.at(new)
            _, first, which = np.unique(own.mixed(), return_index=True, return_inverse=True)
            twin = first[which]
            alike = (own.first == own.first[twin]) & (own.second == own.second[twin])
            hashed = np.flatnonzero(alike & ((own.second & _TAG) == _TAG))
            alike[hashed] = _same_bytes(fresh[hashed], fresh[twin[hashed]])
            if not alike.all():  # two words in one: go no further than the second, to keep the order
                first = first[first < np.argmin(alike)]
            first.sort()
            self._append(fresh[first], own.at(first))
            ids[new] = self._find(fresh, own)
        return ids

    @contextmanager
    def room_for(self, words: Words) -> Iterator[tuple[TableArrays, np.ndarray]]:
        """Arrays that have room for so many words more, and counters for what is put there by somebody else.

        The counters are an int64 array: words, bytes of the buffer.
        """
        self._make_room(self._count + len(words) + 1, self._used + int((words.ends - words.starts + 1).sum()) + 8)
        counters = np.array([self._count, self._used], np.int64)
        yield self.arrays, counters
        self._count, self._used = counters.tolist()

    def _append(self, words: Words, keys: _Keys) -> None:
        """Put distinct words that are not in the table behind the others."""
        lengths = words.ends - words.starts
        ends = self._used + np.cumsum(lengths + 1) - 1
        ids = np.arange(self._count + 1, self._count + 1 + len(words), dtype=np.int32)
        self._make_room(int(ids[-1]) + 1, int(ends[-1]) + 9)
        arrays = self.arrays
        shift = np.repeat(words.starts - (ends - lengths), lengths + 1)
        places = np.arange(self._used, ends[-1] + 1)
        arrays.words.buffer[self._used : ends[-1] + 1] = words.buffer[places + shift]
        arrays.words.buffer[ends] = ord(" ")
        arrays.words.starts[ids], arrays.words.ends[ids] = ends - lengths, ends
        arrays.keys.first[ids], arrays.keys.second[ids] = keys.first, keys.second
        self._count, self._used = int(ids[-1]), int(ends[-1]) + 1
        self._place(arrays, ids)  # last: what stands in a slot can be compared

    @staticmethod
    def _place(arrays: TableArrays, ids: np.ndarray) -> None:
        """Give each of several words a slot."""
        slots = arrays.slots_of(arrays.keys.at(ids).mixed())
        while len(ids):
            free = arrays.slots[slots] == 0
            arrays.slots[slots[free]] = ids[free]  # of those that want the same slot one gets it
            left = arrays.slots[slots] != ids
            ids, slots = ids[left], (slots[left] + 1) & (len(arrays.slots) - 1)

    def _make_room(self, rows: int, size: int) -> None:
        """Put larger arrays in place of those that are too small for so many rows and bytes."""
        old = self.arrays
        if rows <= len(old.keys.first) and size <= len(old.words.buffer):
            return
        capacity, room = (
            max(have, 2 * have if want > have else 0, want)
            for have, want in ((len(old.keys.first), rows), (len(old.words.buffer), size))
        )
        grown = self._empty((_LOAD * capacity - 1).bit_length(), capacity, room)
        rows = self._count + 1
        for new, had, used in (
            (grown.keys.first, old.keys.first, rows),
            (grown.keys.second, old.keys.second, rows),
            (grown.words.starts, old.words.starts, rows),
            (grown.words.ends, old.words.ends, rows),
            (grown.words.buffer, old.words.buffer, self._used),
        ):
            new[:used] = had[:used]  # no more: the rest takes no memory before it is written to
        for first in range(1, rows, _TOGETHER):  # what placing takes beside the table stays small
            self._place(grown, np.arange(first, min(first + _TOGETHER, rows), dtype=np.int32))
        self.arrays = grown
