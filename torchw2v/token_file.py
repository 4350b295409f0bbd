"""Encoded corpora on disk: `torchw2v encode corpus.txt -o corpus.tok`, then `corpus_file="corpus.tok"`.

The format is described in docs/corpus_format.md. A file holds every word of the text, so any vocabulary may be made
from it; it is read through memory maps of one part after the other, and never held in memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from torchw2v.corpus import CorpusChunk, EncodedCorpus, Token, chunks_of_parts, drop_unknown, rows_of
from torchw2v.errors import TokenFileError

MAGIC = b"\x89W2VTOK\n"  # no UTF-8 text begins like this
VERSION = 1
PREFIX = struct.Struct("<8sIII")  # magic, version, bytes of the header, CRC-32 of its text
SECTIONS: dict[str, np.dtype[Any]] = {
    "ids": np.dtype("<i4"), "offsets": np.dtype("<i8"), "counts": np.dtype("<i8"), "words": np.dtype("u1")
}  # fmt: skip
PART_TOKENS = 1 << 20  # read at once
_READ_BYTES = 1 << 22


def is_token_file(path: Any) -> bool:
    """Whether a local file begins like an encoded corpus."""
    if not isinstance(path, str | Path) or not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def vocabulary_hash(words: bytes, counts: bytes) -> str:
    """SHA-256 of the sections `words` and `counts`, one behind the other."""
    return hashlib.sha256(words + counts).hexdigest()


def checksum(file: BinaryIO, offset: int, size: int) -> int:
    """CRC-32 of a part of a file, or of what there is of it."""
    value = 0
    file.seek(offset)
    while size and (data := file.read(min(size, _READ_BYTES))):
        value, size = zlib.crc32(data, value), size - len(data)
    return value


def _state(file: BinaryIO) -> tuple[int, ...]:
    state = os.fstat(file.fileno())
    return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


@dataclass(frozen=True)
class TokenFile:
    """An encoded corpus. Iterating over it yields its sentences as lists of words.

    Attributes
    ----------
    path : str
    header : dict
        As in docs/corpus_format.md.
    state : tuple
        Device, inode, size and modification time of the file; changes when it is replaced.
    """

    path: str
    header: Mapping[str, Any]
    state: tuple[int, ...]

    @classmethod
    def open(cls, path: Any, *, whole: bool = True) -> TokenFile:
        """Check a file and read its header.

        Parameters
        ----------
        path : str or Path
        whole : bool
            Compare the checksums of all that it holds, too: reads the file once.

        Raises
        ------
        TokenFileError
            It is not an encoded corpus, damaged, cut short, or of another version or vocabulary.
        """
        with open(path, "rb") as file:
            token_file = cls(os.fspath(path), _header(file, path), _state(file))
            token_file._check_size()
            if whole:
                token_file._check_contents(file)
        return token_file

    @property
    def sentences(self) -> int:
        """Number of sentences."""
        return int(self.header["sentences"])

    @property
    def tokens(self) -> int:
        """Number of words of the text."""
        return int(self.header["tokens"])

    def _check_size(self) -> None:
        end = max(section["offset"] + section["bytes"] for section in self.header["sections"].values())
        if self.state[2] != end:
            raise TokenFileError(
                f"{self.path} is cut short or has grown: {self.state[2]} bytes, {end} by its header. Encode it again."
            )

    def _check_contents(self, file: BinaryIO) -> None:
        for name, section in self.header["sections"].items():
            if checksum(file, section["offset"], section["bytes"]) != section["crc32"]:
                raise TokenFileError(f"{self.path} is damaged: the checksum of its {name} differs. Encode it again.")
        words, counts = (self.section(name).tobytes() for name in ("words", "counts"))
        if vocabulary_hash(words, counts) != self.header["vocabulary_sha256"]:
            raise TokenFileError(
                f"{self.path} holds another vocabulary than the one that its header names. Encode it again."
            )

    def section(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Entries [start, stop) of a section, mapped from the file."""
        section, kind = self.header["sections"][name], SECTIONS[name]
        stop = section["bytes"] // kind.itemsize if stop is None else stop
        if stop <= start:
            return np.zeros(0, kind)
        with open(self.path, "rb") as file:
            if _state(file) != self.state:
                raise TokenFileError(f"{self.path} has been changed since it was opened; build the vocabulary again")
            offset = section["offset"] + start * kind.itemsize
            return np.memmap(file, kind, mode="r", offset=offset, shape=(stop - start,))

    def words(self) -> list[str]:
        """Every word type, in order of first appearance."""
        return self.section("words").tobytes().decode().split()

    def counts(self) -> dict[str, int]:
        """Occurrences of each word type, as gensim's raw_vocab: a defaultdict in order of first appearance."""
        return defaultdict(int, zip(self.words(), self.section("counts").tolist(), strict=True))

    def parts(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Whole sentences, about PART_TOKENS words at a time: raw ids, and sentence offsets in them."""
        offsets, sentence = self.section("offsets"), 0
        while sentence < self.sentences:
            first = int(offsets[sentence])
            last = max(int(np.searchsorted(offsets, first + PART_TOKENS, side="right")) - 1, sentence + 1)
            part = np.asarray(self.section("offsets", sentence, last + 1)) - first
            yield self.section("ids", first, first + int(part[-1])), part
            sentence = last

    def __iter__(self) -> Iterator[list[str]]:
        words = np.array(self.words(), object)
        for ids, offsets in self.parts():
            tokens = words[ids].tolist()
            yield from (tokens[start:stop] for start, stop in pairwise(offsets.tolist()))


def _header(file: BinaryIO, path: Any) -> Mapping[str, Any]:
    prefix = file.read(PREFIX.size)
    if len(prefix) < PREFIX.size or not prefix.startswith(MAGIC):
        raise TokenFileError(
            f"{path} is not an encoded corpus; make one with: torchw2v encode corpus.txt -o corpus.tok"
        )
    _, version, size, crc = PREFIX.unpack(prefix)
    if version != VERSION:
        raise TokenFileError(
            f"{path} has version {version} of the format, this torchw2v reads version {VERSION}. Encode it again."
        )
    text = file.read(max(size - PREFIX.size, 0))
    if zlib.crc32(text) != crc:
        raise TokenFileError(f"{path} is damaged: the checksum of its header differs. Encode it again.")
    return json.loads(text)


@dataclass(frozen=True)
class MappedCorpus:
    """A token file as indices into a vocabulary, looked up part by part; has what EncodedCorpus has for training.

    Attributes
    ----------
    file : TokenFile
    rows : int32 array [word types of the file]
        Row of each raw id, UNKNOWN for words outside the vocabulary.
    known_words, raw_words : int
        Words in the vocabulary; words.
    """

    file: TokenFile
    rows: np.ndarray
    known_words: int
    raw_words: int

    @classmethod
    def of(cls, file: TokenFile, key_to_index: Mapping[Token, int]) -> MappedCorpus:
        """By a vocabulary; words outside it will be dropped."""
        rows = rows_of(file.words(), key_to_index)
        return cls(file, rows, int(file.section("counts")[rows >= 0].sum()), file.tokens)

    def chunks(self, size: int) -> Generator[CorpusChunk, None, None]:
        """As EncodedCorpus.chunks."""
        return chunks_of_parts(self._parts(), size)

    def neighbors(self) -> float:
        """As EncodedCorpus.neighbors; reads the file once."""
        of_parts = [(part.neighbors() * part.known_words, part.known_words) for part in self._parts()]
        return sum(total for total, _ in of_parts) / max(sum(words for _, words in of_parts), 1)

    def _parts(self) -> Iterator[EncodedCorpus]:
        for ids, offsets in self.file.parts():
            yield drop_unknown(np.array(ids), offsets, self.rows)
