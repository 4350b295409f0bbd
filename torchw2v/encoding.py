"""Writing encoded corpora (.tok): in bounded memory, and so that an interruption leaves an older file whole."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from torchw2v._version import __version__
from torchw2v.atomic import atomic_write
from torchw2v.corpus import count_ids
from torchw2v.errors import SettingError, TokenFileError
from torchw2v.scan import scan_text
from torchw2v.token_file import MAGIC, PREFIX, SECTIONS, VERSION, TokenFile, checksum, is_token_file, vocabulary_hash
from torchw2v.word_table import WordTable

_PAGE = 4096
_EVERY = 100_000  # sentences from one report to the next


def source_of(corpus: str) -> dict[str, Any]:
    """What is known of a text: its place, and size and modification time of a local file."""
    if not os.path.isfile(corpus):
        return {"path": corpus}
    state = os.stat(corpus)
    return {"path": os.path.abspath(corpus), "size": state.st_size, "mtime_ns": state.st_mtime_ns}


def up_to_date(corpus: str, output: Path, longest: int | None) -> TokenFile | None:
    """The encoded corpus that is there already, if it was made from this local file, unchanged since, in this way."""
    if not is_token_file(output) or not os.path.isfile(corpus):
        return None
    try:
        found = TokenFile.open(output)
    except TokenFileError:  # encoding again is the cure
        return None
    same = found.header["source"] == source_of(corpus) and found.header["max_sentence_length"] == longest
    return found if same else None


def encode_file(
    corpus: str, output: Path, *, workers: int = 1, longest: int | None = None,
    progress: Callable[[int, int, int], None] = lambda *_: None,
) -> TokenFile:  # fmt: skip
    """Encode a text, a sentence a line, into a file that models can be trained from.

    Parameters
    ----------
    corpus : str
        A text file, also compressed or remote (anything smart_open opens).
    output : Path
        Where the encoded corpus goes. What is there stays until all of the new one is written.
    workers : int
        Threads.
    longest : int, optional
        Cut lines of more words.
    progress : callable
        Called with (sentences, words, word types) so far.

    Raises
    ------
    SettingError
        `longest` is not positive, or `output` is the corpus itself.
    OSError
        The corpus cannot be read or the output not be written.
    UnicodeDecodeError
        The corpus is not UTF-8.
    """
    if longest is not None and longest < 1:
        raise SettingError(f"max_sentence_length={longest} is out of range; give at least 1")
    if os.path.exists(corpus) and output.exists() and os.path.samefile(corpus, output):
        raise SettingError(f"the output {output} is the corpus itself; give another name")
    source = source_of(corpus)
    with (
        atomic_write(output) as temporary,
        open(temporary, "x+b") as file,
        tempfile.TemporaryFile(dir=output.parent) as offsets,
    ):
        writer = _Writer(file, _PAGE * (2 + len(json.dumps(source)) // _PAGE))
        table = WordTable()
        numbers = {"tokens": 0, "sentences": 0}
        offsets.write(np.zeros(1, "<i8").tobytes())
        pieces = scan_text(
            [corpus], table, longest=longest or sys.maxsize, workers=workers,
            progress=lambda sentences, words, types, _: progress(sentences, words, types), every=_EVERY,
        )  # fmt: skip
        with writer.section("ids"):
            for piece in pieces:
                file.write(piece.ids.astype(SECTIONS["ids"], copy=False).data)
                offsets.write(piece.line_ends.astype(SECTIONS["offsets"]).data)
                numbers["tokens"] += len(piece.ids)
                numbers["sentences"] += len(piece.line_ends)
        with writer.section("offsets"):
            offsets.seek(0)
            shutil.copyfileobj(offsets, file, 1 << 20)
        words = "\n".join(table.words()).encode()
        counts = writer.counts(numbers["tokens"], len(table)).astype(SECTIONS["counts"]).tobytes()
        with writer.section("counts"):
            file.write(counts)
        with writer.section("words"):
            file.write(words)
        writer.finish(
            {
                **numbers, "types": len(table), "max_sentence_length": longest, "source": source,
                "vocabulary_sha256": vocabulary_hash(words, counts), "writer": f"torchw2v {__version__}",
            }
        )  # fmt: skip
    return TokenFile.open(output, whole=False)


class _Writer:
    """Sections one behind the other, and the header in front of them once all is known."""

    def __init__(self, file: BinaryIO, header_bytes: int) -> None:
        self._file, self._header_bytes = file, header_bytes
        self._sections: dict[str, dict[str, int]] = {}
        file.write(bytes(header_bytes))

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """What is written inside becomes a section that begins at a multiple of 8 bytes."""
        self._file.write(bytes(-self._file.tell() % 8))
        offset = self._file.tell()
        yield
        size = self._file.tell() - offset
        self._file.flush()
        self._sections[name] = {"offset": offset, "bytes": size, "crc32": checksum(self._file, offset, size)}
        self._file.seek(0, os.SEEK_END)

    def counts(self, tokens: int, types: int) -> np.ndarray:
        """How often each id was written."""
        if not tokens:
            return np.zeros(types, np.int64)
        offset = self._sections["ids"]["offset"]
        return count_ids(np.memmap(self._file, SECTIONS["ids"], mode="r", offset=offset, shape=(tokens,)), types)

    def finish(self, facts: dict[str, Any]) -> None:
        """Write the header."""
        types = {name: kind.str for name, kind in SECTIONS.items()}
        text = json.dumps({**facts, "dtypes": types, "sections": self._sections}).encode()
        text += b" " * (self._header_bytes - PREFIX.size - len(text))
        self._file.seek(0)
        self._file.write(PREFIX.pack(MAGIC, VERSION, self._header_bytes, zlib.crc32(text)) + text)
