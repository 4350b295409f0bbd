"""Vectors from a file of any format that gensim or word2vec writes; the format is read off the file's first bytes.

Nothing is unpickled unless the file starts as a pickle does. A pickle can run code: open only saved models of your own.
"""

from __future__ import annotations

import os
import re
import sys
import zlib
from typing import Any

from gensim import utils
from gensim.models import KeyedVectors

from torchw2v.atomic import finish_write
from torchw2v.errors import VectorsFileError

PICKLE = re.compile(rb"\x80[\x02-\x05]")  # the opcode PROTO and the protocols that gensim has ever saved with
HEADER = re.compile(rb"\s*(\d+)[ \t]+(\d+)\s*")
MAX_DIMENSIONS = 1_000_000  # above it a header is taken for a mistake
NUMBER_BYTES = 64  # no number of a text file is longer
_DIGITS = frozenset(b"0123456789+-.eE \t\r\n")
_CONTROL = frozenset(range(32)) - frozenset(b"\t\n\v\f\r")


def load_vectors(path: str, *, limit: int | None = None, unicode_errors: str = "strict") -> KeyedVectors:
    """Open vectors, or the vectors of a model.

    Parameters
    ----------
    path : str
        A file in word2vec's text or binary format, text without the header line (GloVe), or what `save()` of gensim's
        KeyedVectors or of any model with `wv` wrote. May be compressed (.gz, .bz2, ...) or remote.
    limit : int, optional
        Read only so many words, the first ones. Saved models are always read whole.
    unicode_errors : str
        "strict", "ignore" or "replace": what to do with words that are not UTF-8, in word2vec's formats.

    Raises
    ------
    VectorsFileError (a ValueError)
        The file has none of these formats, or is damaged.
    OSError
        The file cannot be read.
    """
    if "://" not in path:
        finish_write(path)
    try:
        with utils.open(path, "rb") as file:
            first = file.readline(4096)
            header = HEADER.fullmatch(first)
            rows = file.read(_longest_row(int(header[2]))) if header else b""
    except (EOFError, zlib.error) as error:
        raise VectorsFileError(f"{path} is damaged: {error}") from error
    if PICKLE.match(first):
        return _saved(path)
    if not header:
        if not _is_text_row(first, None):
            raise VectorsFileError(
                f"{path} holds no vectors that can be read: it starts with {first[:30]!r}, which is neither word2vec's "
                "header (number of words, dimensions), nor a word and its numbers, nor a model that gensim saved"
            )
        return _word2vec_format(path, binary=False, no_header=True, limit=limit, unicode_errors=unicode_errors)
    words, dimensions = int(header[1]), int(header[2])
    binary = not _is_text_row(rows.partition(b"\n")[0], dimensions)
    _check(path, words, dimensions, rows, binary)
    return _word2vec_format(path, binary=binary, limit=limit, unicode_errors=unicode_errors)


def _longest_row(dimensions: int) -> int:
    return 4096 + NUMBER_BYTES * min(dimensions, MAX_DIMENSIONS)


def _is_text_row(row: bytes, dimensions: int | None) -> bool:
    """Whether a line is a word and its numbers. Four random bytes a number do not read as decimals by chance."""
    numbers = row.rstrip().split(b" ")[1:]
    if len(numbers) != dimensions if dimensions is not None else len(numbers) < 2:
        return False
    try:
        [float(number) for number in numbers]
    except ValueError:
        return False
    return True


def _is_text(data: bytes) -> bool:
    """Whether there are no control characters, in whatever encoding: any number of a binary file may have one."""
    return not _CONTROL.intersection(data)


def _check(path: str, words: int, dimensions: int, rows: bytes, binary: bool) -> None:
    """Refuse what would be read as noise, or would ask for more memory than such a file can fill.

    A vector of a binary file may have a line feed anywhere, so a first line with too few numbers is that of a damaged
    text only where what follows is text as well.
    """
    if not words or not 0 < dimensions <= MAX_DIMENSIONS:
        raise VectorsFileError(f"{path} holds no vectors: its header promises {words} words of {dimensions} dimensions")
    row = rows.partition(b"\n")[0]
    if binary and set(row.partition(b" ")[2]) <= _DIGITS and _is_text(rows):
        raise VectorsFileError(f"{path} is damaged: its first vector should have {dimensions} numbers: {row[:60]!r}")
    stored_as_is = os.path.isfile(path) and os.path.splitext(path)[1] not in (".gz", ".bz2", ".xz", ".zst")
    least = words * ((4 if binary else 2) * dimensions + 2)  # a number takes 4 bytes, or a digit and a space
    if stored_as_is and os.path.getsize(path) < least:
        raise VectorsFileError(
            f"{path} is cut short: its header promises {words} words of {dimensions} dimensions, at least {least} "
            f"bytes, and it has {os.path.getsize(path)}"
        )


def _word2vec_format(path: str, *, limit: int | None, **options: Any) -> KeyedVectors:
    try:
        return KeyedVectors.load_word2vec_format(path, limit=limit or sys.maxsize, **options)
    except UnicodeDecodeError as error:
        raise VectorsFileError(
            f"{path} has words that are not UTF-8 ({error}); ignore or replace such letters (--unicode-errors on the "
            "command line, unicode_errors= of gensim's load_word2vec_format)"
        ) from error
    except (EOFError, ValueError, IndexError, zlib.error) as error:
        raise VectorsFileError(f"{path} is damaged: {error}") from error


def _saved(path: str) -> KeyedVectors:
    """The vectors of an object that gensim's `save()` wrote."""
    try:
        model = utils.SaveLoad.load(path)
    except Exception as error:  # a damaged pickle, or one of other versions, may raise anything
        raise VectorsFileError(
            f"{path} starts like a saved model but cannot be opened: {type(error).__name__}: {error}"
        ) from error
    vectors = model if isinstance(model, KeyedVectors) else getattr(model, "wv", None)
    if not isinstance(vectors, KeyedVectors):
        raise VectorsFileError(f"{path} holds a {type(model).__name__}, which has no word vectors")
    if not len(vectors):
        raise VectorsFileError(f"{path} holds no vectors: its vocabulary is empty")
    return vectors
