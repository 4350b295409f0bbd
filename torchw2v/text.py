"""Text files to token ids, a block of bytes at a time, on several cores.

    files --read_blocks--> bytes --find_words--> words, line ends --WordTable--> ids
                           bytes --word_kernels.find_in----------------------> ids    long texts, where numba is

A line is a sentence and its words are what `str.split()` makes of it, as in gensim's LineSentence. Threads look for
words and find those that are known; one thread adds new words, block after block, so that ids follow the order of first
appearance whatever the number of threads is.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import smart_open

from torchw2v.compiling import numba_missing
from torchw2v.word_table import Words, WordTable

Item = TypeVar("Item")
Result = TypeVar("Result")

BLOCK_BYTES = 1 << 18  # arrays of a block stay in a core's cache: fastest of 64 kB to 4 MB
_BLOCKS_AHEAD = 2  # for each thread
_BYTES_OF_A_THREAD = 8 * BLOCK_BYTES  # less is not worth starting one for
# Loading the compiled loop takes a second where nothing else has needed numba, compiling it two, once a machine.
_BYTES_TO_COMPILE_FOR = 1 << 23
_AFTER_NEWLINE = (b" ", b"\t", b"\r", b"\x0b", b"\x0c", b"\x1c", b"\x1d", b"\x1e", b"\x1f")
# What str.split() splits at besides: every other character of which str.isspace() is true.
_WIDE_SPACES = tuple(
    chr(code).encode() for code in (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
)


@dataclass(frozen=True)
class Piece:
    """Consecutive words of a text, and where its lines end.

    Attributes
    ----------
    ids : int32 array [n]
    line_ends : int64 array
        Words of the piece before each line end, empty lines included. A line may go on in the next piece.
    """

    ids: np.ndarray
    line_ends: np.ndarray


def read_blocks(paths: Iterable[Any], size: int = BLOCK_BYTES) -> Iterator[bytes]:
    """Blocks of about `size` bytes that end behind white space. The last line of a file ends, too.

    Parameters
    ----------
    paths : iterable
        Anything smart_open opens; compressed files are decompressed.
    size : int
        A block is longer where there is no white space.
    """
    for path in paths:
        with smart_open.open(path, "rb") as file:
            parts: list[bytes] = []
            while data := file.read(size):
                stop = data.rfind(b"\n") + 1 or max(map(data.rfind, _AFTER_NEWLINE)) + 1
                if stop:
                    yield b"".join([*parts, data[:stop]])
                    parts = []
                parts.append(data[stop:])
            yield b"".join([*parts, b"\n"])


def find_words(block: bytes) -> tuple[Words, np.ndarray]:
    """The words of a block, and how many stand before each line end.

    Raises
    ------
    UnicodeDecodeError
        The block is not UTF-8; the error holds the whole block.
    """
    if not block.isascii():
        block.decode()
        for space in _WIDE_SPACES:
            block = block.replace(space, b" ")
    buffer = np.empty(len(block) + 16, np.uint8)
    buffer[:8] = buffer[-8:] = ord(" ")
    buffer[8:-8] = np.frombuffer(block, np.uint8)
    text = buffer[7:-7]  # with a space on both sides
    white = text - np.uint8(9) <= 4  # \t \n \v \f \r
    white |= text - np.uint8(28) <= 4  # \x1c to \x1f, space
    edges = np.flatnonzero(white[1:] != white[:-1])
    edges += 8
    words = Words(buffer, np.ascontiguousarray(edges[0::2]), np.ascontiguousarray(edges[1::2]))
    newline = text == ord("\n")
    line_ends = np.flatnonzero(newline[words.ends - 7]) + 1
    if len(line_ends) < np.count_nonzero(newline):  # some stand behind other white space
        line_ends = np.searchsorted(words.starts, np.flatnonzero(newline) + 7)
    return words, line_ends


@dataclass(frozen=True)
class Lookup:
    """The words of a block in a table.

    Attributes
    ----------
    piece : Piece
        Id 0 stands for an unknown word.
    unknown : int64 array
        Places of the unknown words.
    words : Words
        Those words.
    """

    piece: Piece
    unknown: np.ndarray
    words: Words


def look_up(block: bytes, table: WordTable, *, compiled: bool) -> Lookup:
    """Split a block into words and find them in a table.

    Parameters
    ----------
    block : bytes
    table : WordTable
        Another thread may add words to it meanwhile.
    compiled : bool
        By a loop that numba compiles, with the same results. The first call of all takes a second or two.

    Raises
    ------
    UnicodeDecodeError
        The block is not UTF-8; the error holds the whole block.
    """
    if compiled:
        from torchw2v.word_kernels import find_in  # only here: importing it takes a second

        _check(block)
        ids, line_ends, unknown, rest = find_in(block, table)
        return Lookup(Piece(ids, line_ends), unknown, rest)
    words, line_ends = find_words(block)
    ids = table.find(words)
    unknown = np.flatnonzero(ids == 0)
    return Lookup(Piece(ids, line_ends), unknown, words[unknown])


def _check(block: bytes) -> None:
    if not block.isascii():
        block.decode()


def encode_blocks(
    blocks: Iterable[bytes], table: WordTable, *, grow: bool, workers: int, compiled: bool
) -> Iterator[Piece]:
    """Token ids of blocks, in their order.

    Parameters
    ----------
    blocks : iterable of bytes
        Each ends behind white space.
    table : WordTable
    grow : bool
        Add unknown words to the table; their ids follow the order of first appearance. Else their id is 0.
    workers : int
        Threads.
    compiled : bool
        As in `look_up`.

    Raises
    ------
    UnicodeDecodeError
        At the first block that is not UTF-8, after the pieces before it.
    """
    for found in in_order(lambda block: look_up(block, table, compiled=compiled), blocks, workers):
        if grow:
            add_unknown(found, table, compiled=compiled)
        yield found.piece


def add_unknown(found: Lookup, table: WordTable, *, compiled: bool) -> None:
    """Add what `look_up` did not find to the table, and write its ids in place of zeros. One thread at a time."""
    if not len(found.unknown):
        return
    if compiled:
        from torchw2v.word_kernels import add_to

        found.piece.ids[found.unknown] = add_to(table, found.words)
    else:
        found.piece.ids[found.unknown] = table.add(found.words)


def in_order(call: Callable[[Item], Result], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """`map` on threads, with few items in flight."""
    if workers == 1:
        yield from map(call, items)
        return
    with ThreadPoolExecutor(workers, "torchw2v-text") as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for item in items:
                pending.append(pool.submit(call, item))
                if len(pending) >= workers * _BLOCKS_AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def worth_starting(paths: Iterable[Any], workers: int) -> int:
    """Threads for files: at most `workers`, one for small files."""
    size = _local_bytes(paths)
    return workers if size is None else max(1, min(workers, size // _BYTES_OF_A_THREAD))


def worth_compiling(paths: Iterable[Any]) -> bool:
    """Whether files are long enough for compiled loops, and numba is there."""
    size = _local_bytes(paths)
    return (size is None or size >= _BYTES_TO_COMPILE_FOR) and numba_missing() is None


def _local_bytes(paths: Iterable[Any]) -> int | None:
    """Bytes of all files on disk, as they lie there; None where there are none."""
    local = [path for path in paths if isinstance(path, str | Path) and os.path.isfile(path)]
    return sum(map(os.path.getsize, local)) if local else None
