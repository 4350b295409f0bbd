"""Sentences that would train nothing, or letters, are refused by name, and the cure is said."""

from __future__ import annotations

import logging
from types import GeneratorType
from typing import Any

import torch

from torchw2v.errors import CorpusTypeError
from torchw2v.source import reads_once

logger = logging.getLogger(__name__)

_ANEW = "Use a list, or an object whose __iter__ starts anew."


def refuse_text(sentences: Any) -> None:
    """A plain string: its letters would be the sentences."""
    if isinstance(sentences, str | bytes):
        raise CorpusTypeError(
            f"sentences must be an iterable of lists of words, got the {type(sentences).__name__} "
            f"{sentences[:40]!r}. For a file use corpus_file=...; for one sentence use [sentence.split()]."
        )


def refuse_tensors(*things: Any) -> None:
    """Elements of a tensor are tensors, none equal to any other as a key: each would be a word of its own."""
    for thing in things:
        if isinstance(thing, torch.Tensor):
            raise CorpusTypeError(
                f"sentences must be lists of words, got a torch.Tensor of shape {list(thing.shape)}, whose elements "
                "are no keys. Give tensor.tolist() or tensor.numpy()."
            )


def check_single_pass(sentences: Any, passes: int, *, counted_first: bool, checkpoint: Any) -> None:
    """Refuse an iterator that could train nothing; where its one pass trains an epoch, say so, as that is all.

    Parameters
    ----------
    sentences : iterable
    passes : int
        How often it is to be read.
    counted_first : bool
        The first pass counts words, so that nothing is left to train on.
    checkpoint : path or None
        The folder of a run that could be gone on with, which needs to read what has been read.

    Raises
    ------
    CorpusTypeError (a TypeError, as gensim raises for generators)
    """
    if passes <= 1 or not reads_once(sentences):
        return
    kind = type(sentences).__name__
    if counted_first or isinstance(sentences, GeneratorType):  # which gensim refuses in train(), too
        raise CorpusTypeError(
            f"Using a {kind} as sentences can't support {passes} passes: it is empty after the first. {_ANEW}"
        )
    if checkpoint is not None:
        raise CorpusTypeError(
            f"Using a {kind} as sentences is not possible with checkpoint={checkpoint!r}: what has been read of it "
            f"cannot be read again after a crash. {_ANEW}"
        )
    logger.warning(
        "a %s can be read once: the first of %d epochs trains on it, the others find nothing. %s", kind, passes, _ANEW
    )


def refuse_used_up(sentences: Any, epochs: int) -> None:
    """Several epochs on nothing are no training; gensim warns of an empty iterator, and goes on."""
    if epochs > 1 and reads_once(sentences):
        raise CorpusTypeError(
            f"the {type(sentences).__name__} given as sentences was used up before train() came to it, by "
            f"build_vocab() or another reader: it can be read once. {_ANEW}"
        )
