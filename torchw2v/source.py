"""What is known of an iterable before reading it: whether it repeats itself, and by what a change is seen."""

from __future__ import annotations

import io
import os
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gensim.models.word2vec import BrownCorpus, LineSentence, PathLineSentences, Text8Corpus

from torchw2v.corpus import Sentences
from torchw2v.token_file import TokenFile

_PART = 4096  # sentences
# Where Python's own iterators are defined: map, zip, list iterators, chain, csv.reader, codecs.open, ...
_HOMES_OF_ITERATORS = ("builtins", "itertools", "_csv", "codecs", "fileinput")


@dataclass(frozen=True)
class Source:
    """What is known of an iterable before reading it.

    Attributes
    ----------
    sentences : iterable
    repeats : bool
        Every pass within one call yields the same sentences.
    lasting : bool
        The fingerprint proves that also between calls (files; the words inside a list may change unseen).
    fingerprint : hashable or None
        Changes when the sentences change.
    """

    sentences: Sentences
    repeats: bool
    lasting: bool = False
    fingerprint: Hashable = None


def reads_once(sentences: Any) -> bool:
    """Whether this is an iterator that cannot start anew: Python's own, and files.

    An iterator of any other class may well start anew in its `__iter__`, so it is given the benefit of the doubt.
    """
    if isinstance(sentences, io.IOBase):
        return True
    return isinstance(sentences, Iterator) and type(sentences).__module__ in _HOMES_OF_ITERATORS


def _file_state(path: Any) -> Hashable:
    """Identity and modification of a local file; None where there is none (remote or opened files)."""
    if not isinstance(path, str | Path) or not os.path.isfile(path):
        return None
    state = os.stat(path)
    return (os.path.abspath(path), state.st_ino, state.st_size, state.st_mtime_ns)


def _paths_of(corpus: Any) -> Sequence[Any] | None:
    """The files behind one of gensim's corpus readers, or None for anything else (subclasses may do anything)."""
    if type(corpus) is LineSentence:
        return [corpus.source]
    if type(corpus) is Text8Corpus:
        return [corpus.fname]
    if type(corpus) is PathLineSentences:
        return list(corpus.input_files)
    if type(corpus) is BrownCorpus:
        names = [os.path.join(corpus.dirname, name) for name in os.listdir(corpus.dirname)]
        return [name for name in names if os.path.isfile(name)]
    return None


def describe(sentences: Any) -> Source:
    """Find out whether an iterable can be encoded once.

    Parameters
    ----------
    sentences : iterable
        Lists and tuples, gensim's own readers and encoded corpora repeat themselves. Everything else is taken to be
        able to change.
    """
    if isinstance(sentences, TokenFile):
        return Source(sentences, repeats=True, lasting=True, fingerprint=sentences.state)
    paths = _paths_of(sentences)
    if paths is not None:
        settings = (type(sentences), getattr(sentences, "max_sentence_length", None), getattr(sentences, "limit", None))
        states = tuple(_file_state(path) for path in paths)
        lasting = all(state is not None for state in states)
        return Source(sentences, repeats=True, lasting=lasting, fingerprint=(settings, states))
    if type(sentences) in (list, tuple):
        # Cheap, and sees sentences that are shuffled, replaced, added or cut between epochs.
        # Part by part: what `id` has brought into the cache `len` finds there.
        parts = (sentences[start : start + _PART] for start in range(0, len(sentences), _PART))
        shape = tuple((hash(tuple(map(id, part))), hash(_lengths(part))) for part in parts)
        return Source(sentences, repeats=True, fingerprint=(len(sentences), shape))
    return Source(sentences, repeats=False)


def _lengths(sentences: Sequence[Any]) -> tuple[int, ...]:
    """Length of each sentence, -1 where it has none."""
    try:
        return tuple(map(len, sentences))
    except TypeError:  # asking each for it first takes three times as long
        return tuple(len(sentence) if hasattr(sentence, "__len__") else -1 for sentence in sentences)
