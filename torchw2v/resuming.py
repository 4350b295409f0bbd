"""Runs that can be interrupted: checkpoints while train() runs, resume() afterwards, and an early end on request."""

from __future__ import annotations

import logging
import os
from typing import Any

from torchw2v.checkpoint import CheckpointFolder, Position, RunKeeper
from torchw2v.epochs import EpochTraining
from torchw2v.errors import SettingError
from torchw2v.ops.select import DeviceLike
from torchw2v.portable import unpack_model
from torchw2v.saving import Saving

logger = logging.getLogger(__name__)


class Resuming(EpochTraining, Saving):
    """The methods that keep a run on disk and go on with it."""

    checkpoint: str | os.PathLike[str] | None = None
    checkpoint_seconds: float | None = 600.0
    checkpoint_words: int | None = None
    _resumed: dict[str, Any] | None = None  # a checkpoint's document, from resume() to train()

    def _check_checkpoints(self) -> None:
        intervals = {"checkpoint_seconds": self.checkpoint_seconds, "checkpoint_words": self.checkpoint_words}
        if self.checkpoint is not None and set(intervals.values()) == {None}:
            raise SettingError(f"checkpoint={self.checkpoint!r} needs checkpoint_seconds or checkpoint_words")
        for name, value in intervals.items():
            if value is not None and not (isinstance(value, int | float) and value >= 0):
                raise SettingError(f"{name}={value!r} is no interval; give a number >= 0, or None")

    def _new_keeper(self, **call: Any) -> RunKeeper | None:
        """Writes the checkpoints of this train() call; None where none are wanted."""
        resumed, self._resumed = self._resumed, None
        if self.checkpoint is None:
            return None
        folder, intervals = CheckpointFolder(self.checkpoint), (self.checkpoint_seconds, self.checkpoint_words)
        if resumed is not None:
            position = Position.from_document(resumed["position"])
            return RunKeeper(self, folder, *intervals, call, position, resumed["epochs_done"])
        folder.refuse_unfinished()
        return RunKeeper(self, folder, *intervals, call)

    @classmethod
    def resume(
        cls, checkpoint: str | os.PathLike[str], sentences=None, corpus_file=None, *,
        callbacks=(), device: DeviceLike = None, engine: str | None = None, workers: int | None = None,
    ) -> Any:  # fmt: skip
        """Go on with a run that was interrupted, from its newest checkpoint, to its end.

        With deterministic=True on a CPU, and with workers=1, the vectors are bit-equal to those of the run that was
        never interrupted.

        Parameters
        ----------
        checkpoint : path
            The folder given as `checkpoint` to the run; checkpoints go on being written there.
        sentences, corpus_file
            The corpus that was being trained on. A corpus that torchw2v reads once (a list, a file, gensim's readers)
            is compared with the run's by a fingerprint. Any other iterable is not: its checkpoints lie between epochs.
        callbacks : iterable of CallbackAny2Vec
            Called for the epochs that are still to come; `on_train_begin`, and `on_epoch_begin` of the epoch under
            way, are called again.
        device, engine, workers : optional
            Replace the run's settings.

        Returns
        -------
        TorchWord2Vec
            The trained model. Where train() had come to its end before, the model as it was then.

        Raises
        ------
        CheckpointMissingError (a FileNotFoundError)
            There is no checkpoint in the folder.
        CheckpointError (a RuntimeError)
            None of the checkpoints can be read.
        CheckpointMismatchError (a ValueError)
            The corpus is another one.
        """
        arrays, document = CheckpointFolder(checkpoint).newest()
        model = unpack_model(arrays, document["model"], cls._empty)
        for name, value in (("device", device), ("engine", engine), ("workers", workers)):
            if value is not None:
                setattr(model, name, value)
        interval = document["interval"]
        model.checkpoint, model.checkpoint_seconds, model.checkpoint_words = (
            checkpoint, interval["seconds"], interval["words"],
        )  # fmt: skip
        if document["position"] is None:
            logger.info("the run in %s had come to its end; nothing is left to train", checkpoint)
            return model
        model._resumed = document
        model.train(corpus_iterable=sentences, corpus_file=corpus_file, callbacks=callbacks, **document["call"])
        return model

    def _end_early(self, calls: int, trained: list[dict[str, Any]], callbacks: Any) -> tuple[int, int]:
        """What gensim's train() does at its end, after a callback has stopped it."""
        effective, raw = (sum(epoch[name] for epoch in trained) for name in ("effective_words", "raw_words"))
        if self.train_count == calls:  # else it was stopped by on_train_end
            self._log_train_end(raw, effective, max(sum(epoch["seconds"] for epoch in trained), 1e-9), len(trained))
            self.train_count += 1
            self._clear_post_train()
            for callback in callbacks:
                callback.on_train_end(self)
        return effective, raw
