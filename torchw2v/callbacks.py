"""What callbacks can do beyond gensim's: stop a training run, and write its course to TensorBoard."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from gensim.models.callbacks import CallbackAny2Vec
from gensim.models.word2vec import Word2Vec


class StopTraining(Exception):
    """Raise it in a callback to end train() there. The model stays usable, and train() returns as usual.

    Example
    -------
    >>> class Patience(CallbackAny2Vec):
    ...     def on_epoch_end(self, model):
    ...         losses = [epoch["mean_loss"] for epoch in model.training_history]
    ...         if len(losses) > 1 and losses[-1] > 0.99 * losses[-2]:
    ...             raise StopTraining
    """


class TensorBoardWriter(CallbackAny2Vec):
    """Writes loss, learning rate, speed and vector norms of each epoch for TensorBoard.

    Needs the package tensorboard: pip install 'torchw2v[tensorboard]'.

    Parameters
    ----------
    log_dir : path
        As in torch.utils.tensorboard.SummaryWriter; one folder for each run.

    Raises
    ------
    ImportError
        The package tensorboard is missing.
    """

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("TensorBoardWriter needs tensorboard: pip install 'torchw2v[tensorboard]'") from error
        self._writer: Any = SummaryWriter(os.fspath(log_dir))

    def on_epoch_end(self, model: Word2Vec) -> None:
        """Write the epoch's scalars; the step is the number of epochs trained so far."""
        history = model.training_history
        entry, step = history[-1], len(history)
        scalars = {"alpha": entry["alpha"], "words_per_second": entry["words_per_second"]}
        if "mean_loss" in entry:
            scalars["mean_loss"] = entry["mean_loss"]
        norms = np.linalg.norm(model.wv.vectors, axis=1)
        scalars |= {"mean_norm": float(norms.mean()), "largest_norm": float(norms.max())}
        for name, value in scalars.items():
            self._writer.add_scalar(f"word2vec/{name}", value, step)
        self._writer.flush()

    def on_train_end(self, model: Word2Vec) -> None:
        """Close the file; a later train() call goes on in a new one in the same folder."""
        self._writer.close()


class SinceEpoch(CallbackAny2Vec):
    """A callback that hears nothing of the epochs that a resumed run has behind it.

    Parameters
    ----------
    callback : CallbackAny2Vec
    first_epoch : int
        The first epoch of train()'s loop that is trained in this process.
    """

    def __init__(self, callback: Any, first_epoch: int) -> None:
        self._callback, self._first, self._begun, self._ended = callback, first_epoch, 0, 0

    def on_train_begin(self, model: Word2Vec) -> None:
        """Passed on."""
        self._callback.on_train_begin(model)

    def on_epoch_begin(self, model: Word2Vec) -> None:
        """Passed on from the first epoch."""
        if self._begun >= self._first:
            self._callback.on_epoch_begin(model)
        self._begun += 1

    def on_epoch_end(self, model: Word2Vec) -> None:
        """Passed on from the first epoch."""
        if self._ended >= self._first:
            self._callback.on_epoch_end(model)
        self._ended += 1

    def on_train_end(self, model: Word2Vec) -> None:
        """Passed on."""
        self._callback.on_train_end(model)
