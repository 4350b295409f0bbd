"""Vectors of another model as the starting vectors of this one."""

from __future__ import annotations

import logging
import os
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from gensim.models import KeyedVectors
from gensim.models.word2vec import Word2Vec

from torchw2v.errors import SettingError, SettingTypeError
from torchw2v.safetensors_files import load_vectors_safetensors
from torchw2v.vectors_file import load_vectors

logger = logging.getLogger(__name__)

Source: TypeAlias = KeyedVectors | str | os.PathLike[str]
_SHOWN = 5  # new words that the log names


@dataclass(frozen=True)
class InitReport:
    """What `init_from` gave to the words of a vocabulary, or to those that build_vocab(update=True) added.

    Attributes
    ----------
    source : str
        The path, or a description of the vectors.
    found : list
        Words that start from the pretrained vectors, in the vocabulary's order.
    new : list
        Words that are not among them and start at random.
    unused : int
        Pretrained vectors of no word here.
    """

    source: str
    found: list[Hashable]
    new: list[Hashable]
    unused: int


class Pretrained:
    """Vectors that words start from. Those of a file are held only until a vocabulary has taken them.

    Parameters
    ----------
    source : KeyedVectors or path
        A path as in `vectors_file.load_vectors`, or of a .safetensors file.
    vector_size : int
        Of the model.

    Raises
    ------
    SettingError (a ValueError)
        The vectors have another size.
    SettingTypeError (a TypeError)
        It is neither vectors nor a path.
    VectorsFileError, FileFormatError (ValueErrors), OSError
        The file cannot be read.
    """

    def __init__(self, source: Source, vector_size: int) -> None:
        if isinstance(source, Word2Vec):
            raise SettingTypeError(f"init_from takes vectors, not a model: give init_from=model.wv ({source})")
        if not isinstance(source, KeyedVectors | str | os.PathLike):
            raise SettingTypeError(f"init_from takes KeyedVectors or a path, got a {type(source).__name__}")
        self._path = None if isinstance(source, KeyedVectors) else os.fspath(source)
        self._vectors: KeyedVectors | None = source if isinstance(source, KeyedVectors) else None
        found = self._open()
        if found.vector_size != vector_size:
            raise SettingError(
                f"the vectors of init_from={self._path or str(found)!r} have {found.vector_size} dimensions, and "
                f"vector_size={vector_size}; give vector_size={found.vector_size}, or other vectors"
            )

    def _open(self) -> KeyedVectors:
        if self._vectors is None:
            assert self._path is not None
            is_ours = self._path.endswith(".safetensors")
            self._vectors = load_vectors_safetensors(self._path) if is_ours else load_vectors(self._path)
        return self._vectors

    def start(self, wv: KeyedVectors, first_row: int) -> InitReport:
        """Copy the pretrained vectors of the words from `first_row` on into `wv.vectors`, and say which had one."""
        pretrained, words = self._open(), wv.index_to_key[first_row:]
        rows = np.array([pretrained.key_to_index.get(word, -1) for word in words], dtype=np.int64)
        have = np.flatnonzero(rows >= 0)
        wv.vectors[first_row + have] = pretrained.vectors[rows[have]]
        report = InitReport(
            self._path or str(pretrained),
            [words[place] for place in have.tolist()],
            [words[place] for place in np.flatnonzero(rows < 0).tolist()],
            len(pretrained) - len(have),
        )
        self._log(report, wv, first_row + have)
        if self._path is not None:
            self._vectors = None
        return report

    def _log(self, report: InitReport, wv: KeyedVectors, rows: np.ndarray) -> None:
        size = len(report.found) + len(report.new)
        counts = wv.expandos["count"]
        known, text = int(counts[rows].sum()), max(int(counts[len(wv) - size :].sum()), 1)
        logger.log(
            logging.INFO if report.found or not size else logging.WARNING,
            "init_from %s: %i of %i words (%.1f %% of their text) start from its vectors, %i are new%s; %i vectors "
            "are not used",
            report.source, len(report.found), size, 100 * known / text, len(report.new),
            f" ({', '.join(map(repr, report.new[:_SHOWN]))}{', ...' if len(report.new) > _SHOWN else ''})"
            if report.new else "",
            report.unused,
        )  # fmt: skip
