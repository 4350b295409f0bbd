"""Checkpoints: a training run kept on disk, so that it survives the process.

A checkpoint is one .npz file of arrays and JSON (no pickle): the model (portable.py), where the run stands (Position)
and how train() was called. Each is written atomically, and two are kept. zip's checksums tell a damaged one.

What makes going on exact: draws are a function of (seed, train call, epoch, token position), the learning rate of the
progress through the corpus. So the matrices, the position and the corpus are all there is to a run's future.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import shutil
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from gensim.models.word2vec import Word2Vec

from torchw2v._version import __version__
from torchw2v.atomic import atomic_write
from torchw2v.corpus import EncodedCorpus
from torchw2v.errors import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointMissingError,
    CheckpointWarning,
    FileFormatError,
)
from torchw2v.ops.contract import Tally
from torchw2v.portable import Arrays, from_json, pack_model, require, to_json
from torchw2v.token_file import MappedCorpus
from torchw2v.trainer import EpochReport, EpochState

logger = logging.getLogger(__name__)

VERSION = 1
KEPT = 2  # a checkpoint that turns out to be damaged leaves the one before it
_FORMAT = "torchw2v checkpoint"
_NAME = re.compile(r"checkpoint-(\d{8})\.npz")
_PARTS = {"call", "interval", "epochs_done", "position", "model"}
# What numpy, zipfile and zlib raise for files that are cut short, overwritten or packed in an unknown way.
_UNREADABLE = (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass
class Position:
    """Where a run stands, and what the epoch under way was begun with.

    Attributes
    ----------
    epoch : int
    draw_key : tuple of two ints
        Of the epoch (ops.draws.DrawKey).
    chunk_tokens : int
        Size of the epoch's chunks.
    plan_tokens : float
        Tokens that the run's plan was made for.
    loss_before : float
        The model's running_training_loss when the epoch began.
    seconds : float
        That the epoch has taken so far.
    corpus : str or None
        Fingerprint of the encoded corpus; None where it is read anew each epoch.
    state : EpochState
    complete : bool
        All of the epoch's words are trained; its end has not been announced to callbacks yet.
    """

    epoch: int
    draw_key: tuple[int, int]
    chunk_tokens: int
    plan_tokens: float
    loss_before: float
    seconds: float = 0.0
    corpus: str | None = None
    state: EpochState = field(default_factory=EpochState)
    complete: bool = False

    @classmethod
    def from_document(cls, stored: Any) -> Position:
        """Read what `dataclasses.asdict` made."""
        try:
            values = dict(stored)
            state = dict(values.pop("state"))
            report, pending = EpochReport(**state.pop("report")), Tally(**state.pop("pending"))
            first, second = values.pop("draw_key")
            return cls(draw_key=(first, second), state=EpochState(report, pending=pending, **state), **values)
        except (TypeError, ValueError, KeyError) as error:
            raise FileFormatError(f"the position is not one of a run ({error})") from error


def fingerprint(corpus: EncodedCorpus | MappedCorpus) -> str:
    """A digest of token ids and sentence ends, unknown words' places included."""
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(corpus, MappedCorpus):  # its header holds checksums of all that it holds
        digest.update(to_json(dict(corpus.file.header)).encode())
        digest.update(corpus.rows.data)
        return digest.hexdigest()
    for array in (corpus.token_ids, corpus.sentence_offsets, corpus.raw_offsets):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class CheckpointFolder:
    """The checkpoints of one run, numbered in order.

    Parameters
    ----------
    path : path
        Made when the first one is written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)

    def numbers(self) -> list[int]:
        """Of the checkpoints that are there, ascending."""
        names = os.listdir(self.path) if os.path.isdir(self.path) else []
        return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))

    def file(self, number: int) -> str:
        """Path of a checkpoint."""
        return os.path.join(self.path, f"checkpoint-{number:08d}.npz")

    def write(self, arrays: Arrays, document: dict[str, Any]) -> str:
        """Add a checkpoint, and drop those that it makes superfluous. Returns its path."""
        os.makedirs(self.path, exist_ok=True)
        numbers = self.numbers()
        file = self.file(numbers[-1] + 1 if numbers else 1)
        text = np.frombuffer(to_json(document).encode(), np.uint8)
        with atomic_write(file) as temporary:
            np.savez(temporary, document=text, **arrays)  # type: ignore[arg-type]
        for number in self.numbers()[:-KEPT]:
            os.remove(self.file(number))
        return file

    def clear_leftovers(self) -> None:
        """Remove what a killed process had not finished writing."""
        for name in os.listdir(self.path) if os.path.isdir(self.path) else []:
            if name.startswith(".checkpoint-"):
                shutil.rmtree(os.path.join(self.path, name))

    def newest(self, *, document_only: bool = False) -> tuple[Arrays, dict[str, Any]]:
        """The newest checkpoint that is whole.

        Raises
        ------
        CheckpointMissingError
            There is none.
        CheckpointError
            None of them can be read; each is named with its fault.
        """
        numbers, faults = self.numbers(), []
        for number in reversed(numbers):
            try:
                return self._read(self.file(number), document_only)
            except FileFormatError as error:
                faults.append(str(error))
                logger.warning("%s; trying the one before it", error)
        if not numbers:
            raise CheckpointMissingError(f"there is no checkpoint in {self.path!r}; start the run from its beginning")
        raise CheckpointError(f"no checkpoint in {self.path!r} can be read: {'; '.join(faults)}")

    def refuse_unfinished(self) -> None:
        """Raise CheckpointError where the folder holds a run that has not come to its end."""
        if self.numbers():
            position = self.newest(document_only=True)[1]["position"]
            if position is not None:
                raise CheckpointError(
                    f"{self.path!r} holds an unfinished run (in epoch {position['epoch'] + 1}). Go on with it by "
                    f"TorchWord2Vec.resume({self.path!r}, sentences), or remove the folder, or give another one"
                )

    def _read(self, file: str, document_only: bool) -> tuple[Arrays, dict[str, Any]]:
        try:
            require(zipfile.is_zipfile(file), "it is cut short or no checkpoint")
            with np.load(file, allow_pickle=False) as stored:
                names = [name for name in stored.files if name != "document"]
                document = from_json(stored["document"].tobytes())
                require(document.get("format") == _FORMAT, "it is no checkpoint of a torchw2v run")
                version = document.get("version")
                require(version == VERSION, f"it is of version {version!r}; this torchw2v reads {VERSION}")
                require(set(document) >= _PARTS, f"it lacks {sorted(_PARTS - set(document))}")
                return {} if document_only else {name: stored[name] for name in names}, document
        except _UNREADABLE as error:
            raise FileFormatError(f"{file} cannot be used ({error})") from error


class RunKeeper:
    """Writes the checkpoints of one train() call; asked by the trainer when, told when the weights rest.

    Parameters
    ----------
    model : Word2Vec
    folder : CheckpointFolder
    seconds, words : float or None, int or None
        A checkpoint is due when one of them has passed since the last (raw words).
    call : dict
        Arguments of train(), JSON only.
    resumed : Position, optional
        Where to go on from.
    epochs_done : list of [int, int, int]
        What the epochs before that gave: effective words, raw words, chunks.
    """

    def __init__(
        self,
        model: Word2Vec,
        folder: CheckpointFolder,
        seconds: float | None,
        words: int | None,
        call: dict[str, Any],
        resumed: Position | None = None,
        epochs_done: list[list[int]] | None = None,
    ) -> None:
        self.model, self.folder, self.call = model, folder, call
        self.seconds, self.words = seconds, words
        self.epochs_done = epochs_done or []
        self._resumed, self._written = resumed, resumed is not None
        self._position: Position | None = None
        self._settle: Callable[[], None] = lambda: None
        self._last_time, self._last_words = time.monotonic(), self._words(resumed.state.report) if resumed else 0
        self._epoch_began = 0.0
        self._fingerprinted: tuple[EncodedCorpus | MappedCorpus, str] | None = None
        folder.clear_leftovers()

    # ---- going on ------------------------------------------------------------------------------------------------

    @property
    def first_epoch(self) -> int:
        """The first epoch of train()'s loop that is not behind the run."""
        return len(self.epochs_done)

    def take_up(self, epoch: int, corpus: EncodedCorpus | MappedCorpus | None) -> Position | None:
        """Where to go on inside this epoch; None where it begins at its beginning.

        Raises
        ------
        CheckpointMismatchError
            The corpus is not the one that the run was trained on.
        """
        if self._resumed is None or self._resumed.epoch != epoch:
            return None
        position, self._resumed = self._resumed, None
        now = None if corpus is None else self._fingerprint(corpus)
        if now != position.corpus:
            raise CheckpointMismatchError(
                f"the corpus is not the one that the run in {self.folder.path!r} was trained on: its words, their "
                "order, or the kind of corpus (what torchw2v can read once, or an iterable of your own) differ. "
                "Resume with the same corpus, or start a new run in another folder."
            )
        return position

    def _fingerprint(self, corpus: EncodedCorpus | MappedCorpus) -> str:
        if self._fingerprinted is None or self._fingerprinted[0] is not corpus:
            self._fingerprinted = (corpus, fingerprint(corpus))
        return self._fingerprinted[1]

    # ---- what the epochs tell ------------------------------------------------------------------------------------

    def begin_epoch(
        self, position: Position, corpus: EncodedCorpus | MappedCorpus | None, settle: Callable[[], None]
    ) -> None:
        """An epoch begins or goes on at this position; `settle` brings the weights into the model's arrays."""
        position.corpus = None if corpus is None else self._fingerprint(corpus)
        self._position, self._settle = position, settle
        self._epoch_began = time.perf_counter() - position.seconds
        if not self._written:  # the run can be resumed from now on; and a folder that cannot be written shows at once
            self._write(self._document())

    def end_epoch(self, report: EpochReport) -> None:
        """All words of the epoch are trained."""
        assert self._position is not None
        self._position.complete = True
        if self.due(report):
            self.at_rest(EpochState(report))
        self.epochs_done.append([report.effective_words, report.raw_words, report.chunks])

    def due(self, report: EpochReport) -> bool:
        """Whether a checkpoint should be written as soon as the weights rest."""
        late = self.seconds is not None and time.monotonic() - self._last_time >= self.seconds
        return late or (self.words is not None and self._words(report) - self._last_words >= self.words)

    def _words(self, report: EpochReport) -> int:
        return sum(raw for _, raw, _ in self.epochs_done) + report.raw_words

    def at_rest(self, state: EpochState) -> None:
        """Write a checkpoint. When the disk is full the run goes on, with a warning, and the last one stays."""
        assert self._position is not None
        self._position.state = state
        self._position.seconds = time.perf_counter() - self._epoch_began
        self._settle()
        self._try_to_write(self._document())
        self._last_time, self._last_words = time.monotonic(), self._words(state.report)

    def finish(self) -> None:
        """The run has come to its end: keep the trained model until another run takes the folder."""
        self._position = None
        self._try_to_write(self._document())

    # ---- writing -------------------------------------------------------------------------------------------------

    def _document(self) -> dict[str, Any]:
        return {
            "format": _FORMAT, "version": VERSION, "written_by": __version__, "call": self.call,
            "interval": {"seconds": self.seconds, "words": self.words}, "epochs_done": self.epochs_done,
            "position": None if self._position is None else asdict(self._position),
        }  # fmt: skip

    def _write(self, document: dict[str, Any]) -> None:
        try:
            arrays, model = pack_model(self.model)
            file = self.folder.write(arrays, {**document, "model": model})
        except OSError as error:
            raise CheckpointError(f"no checkpoint can be written into {self.folder.path!r}: {error}") from error
        self._written = True
        logger.info("checkpoint: %s", file)

    def _try_to_write(self, document: dict[str, Any]) -> None:
        try:
            self._write(document)
        except CheckpointError as error:
            logger.error("%s", error)
            warnings.warn(f"{error}; training goes on, the last checkpoint stays", CheckpointWarning, stacklevel=2)
