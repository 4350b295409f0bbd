"""From text or token lists to token ids. Strings stop here.

    sentences, file  --scan-->  ScannedCorpus (every word, ids in order of appearance) + counts
    ScannedCorpus    --keep(vocabulary)-->  EncodedCorpus (only words of the vocabulary, its indices)
    EncodedCorpus    --chunks-->  pieces for the engines

Counting and encoding are one pass. A corpus that cannot change (a file, a list within one call) is encoded once;
any other iterable is read anew each epoch by `stream_chunks`, because it may yield something new (random walks).
"""

from __future__ import annotations

import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from gensim.models.word2vec import BrownCorpus, LineSentence, PathLineSentences, Text8Corpus

from torchw2v.ops.contract import Chunk

Token = Hashable
Sentences = Iterable[Iterable[Token]]

_UNKNOWN = -1  # a token outside the vocabulary, before it is dropped


@dataclass(frozen=True)
class CorpusChunk:
    """A chunk for an engine, and what it is worth in gensim's counts.

    Attributes
    ----------
    chunk : Chunk
    examples_before, raw_words_before : float
        Sentences and raw words of the epoch ahead of this chunk (a fraction inside a long sentence).
    examples, raw_words : int
        Sentences that end in this chunk, and their raw words, unknown ones included.
    """

    chunk: Chunk
    examples_before: float
    raw_words_before: float
    examples: int
    raw_words: int


@dataclass(frozen=True)
class EncodedCorpus:
    """Sentences as indices into a vocabulary; words outside it are gone, their counts are not.

    Attributes
    ----------
    token_ids : int32 array
    sentence_offsets : int64 array [S + 1]
        Starts of sentences in token_ids.
    raw_offsets : int64 array [S + 1]
        The same before unknown words were dropped.
    """

    token_ids: np.ndarray
    sentence_offsets: np.ndarray
    raw_offsets: np.ndarray

    def neighbors(self) -> float:
        """Other tokens in the sentence of a token, on average over tokens."""
        lengths = np.diff(self.sentence_offsets).astype(np.float64)
        return float((lengths * (lengths - 1)).sum() / max(lengths.sum(), 1.0))

    def chunks(self, size: int, first_position: int = 0) -> Generator[CorpusChunk, None, None]:
        """Consecutive chunks of about `size` tokens that end on a sentence end where the sentence is not longer.

        Sentences without a known word still count as examples: they ride on the chunk before them.
        """
        offsets, raw = self.sentence_offsets, self.raw_offsets
        sentences, start, done = len(offsets) - 1, 0, 0
        while done < sentences:
            ended = int(np.searchsorted(offsets, start + size, side="right")) - 1  # last sentence end within reach
            if ended > done:
                stop = int(offsets[ended])
            else:  # the sentence alone is longer than a chunk: cut it, the engine looks across the cut
                stop, ended = start + size, done
            length = int(offsets[done + 1] - offsets[done])
            inside = (start - int(offsets[done])) / length if length else 0.0
            raw_done, raw_length = int(raw[done]), int(raw[done + 1] - raw[done])
            yield CorpusChunk(
                chunk=Chunk(self.token_ids, offsets, start, stop, first_position),
                examples_before=done + inside,
                raw_words_before=raw_done + inside * raw_length,
                examples=ended - done,
                raw_words=int(raw[ended]) - raw_done,
            )
            start, done = stop, ended


def _drop_unknown(ids: np.ndarray, raw_offsets: np.ndarray) -> EncodedCorpus:
    """Remove the _UNKNOWN entries of ids and move the sentence starts accordingly."""
    known = ids != _UNKNOWN
    if known.all():
        return EncodedCorpus(ids, raw_offsets, raw_offsets)
    before = np.concatenate([[0], np.cumsum(known, dtype=np.int64)])
    return EncodedCorpus(ids[known], before[raw_offsets], raw_offsets)


@dataclass(frozen=True)
class ScannedCorpus:
    """A corpus encoded by order of first appearance, before a vocabulary is chosen.

    Attributes
    ----------
    words : list
        Every word type, in order of first appearance.
    ids : int32 array
        Index into words of each raw word.
    raw_offsets : int64 array [S + 1]
    """

    words: list[Token]
    ids: np.ndarray
    raw_offsets: np.ndarray

    def counts(self) -> dict[Token, int]:
        """Occurrences of each word type, as gensim's raw_vocab: a defaultdict in order of first appearance."""
        tally = np.bincount(self.ids, minlength=len(self.words)).tolist()
        return defaultdict(int, zip(self.words, tally, strict=True))

    def keep(self, key_to_index: Mapping[Token, int]) -> EncodedCorpus:
        """Encode by a vocabulary; words outside it are dropped."""
        if not self.words:
            return EncodedCorpus(self.ids, self.raw_offsets, self.raw_offsets)
        new = np.fromiter(map(key_to_index.get, self.words, repeat(_UNKNOWN)), np.int32, count=len(self.words))
        return _drop_unknown(new[self.ids], self.raw_offsets)


def name_place(error: UnicodeDecodeError, sentence: int) -> UnicodeDecodeError:
    """The same error with the place in the corpus and the cure in its reason."""
    line = bytes(error.object[max(0, error.start - 20) : error.end + 20])
    reason = (
        f"{error.reason}, after {sentence} sentences, near {line!r}. The corpus must be UTF-8: convert it, or pass an "
        "iterable that decodes it, e.g. smart_open.open(path, encoding='latin-1')"
    )
    return UnicodeDecodeError(error.encoding, error.object, error.start, error.end, reason)


def scan(sentences: Sentences, progress: Callable[[int, int, int, Iterable[Token]], None]) -> ScannedCorpus:
    """Count and encode in one pass.

    Parameters
    ----------
    sentences : iterable of iterables of hashable tokens
    progress : callable
        Called before each sentence with (sentences so far, raw words so far, word types so far, the sentence).

    Raises
    ------
    TypeError
        A sentence is not iterable or a token is not hashable.
    UnicodeDecodeError
        A file holds bytes that are not UTF-8.
    """
    vocabulary: dict[Token, int] = defaultdict()
    vocabulary.default_factory = vocabulary.__len__  # type: ignore[attr-defined] # an unseen word gets the next id
    ids, offsets = array("i"), array("q", [0])
    lookup = vocabulary.__getitem__
    try:
        for sentence in sentences:
            progress(len(offsets) - 1, len(ids), len(vocabulary), sentence)
            ids.extend(map(lookup, sentence))
            offsets.append(len(ids))
    except UnicodeDecodeError as error:
        raise name_place(error, len(offsets) - 1) from error
    return ScannedCorpus(list(vocabulary), np.frombuffer(ids, np.int32), np.frombuffer(offsets, np.int64))


def encode(sentences: Sentences, key_to_index: Mapping[Token, int]) -> EncodedCorpus:
    """Encode by a vocabulary that exists already; words outside it are dropped."""
    ids, offsets = array("i"), array("q", [0])
    _extend(ids, offsets, sentences, key_to_index, limit=None)
    return _drop_unknown(np.frombuffer(ids, np.int32), np.frombuffer(offsets, np.int64))


def _extend(
    ids: array, offsets: array, sentences: Sentences, key_to_index: Mapping[Token, int], limit: int | None
) -> bool:
    """Append sentences until `limit` raw words are held. False when the sentences have come to an end."""
    lookup = key_to_index.get
    try:
        for sentence in sentences:
            ids.extend(map(lookup, sentence, repeat(_UNKNOWN)))
            offsets.append(len(ids))
            if limit is not None and len(ids) >= limit:
                return True
    except UnicodeDecodeError as error:
        raise name_place(error, len(offsets) - 1) from error
    return False


def stream_chunks(sentences: Sentences, key_to_index: Mapping[Token, int], size: int) -> Iterator[CorpusChunk]:
    """Chunks of an iterable that is read as they are asked for; nothing of it is kept."""
    iterator, more = iter(sentences), True
    position, examples, raw_words = 0, 0, 0
    while more:
        ids, offsets = array("i"), array("q", [0])
        more = _extend(ids, offsets, iterator, key_to_index, limit=size)
        part = _drop_unknown(np.frombuffer(ids, np.int32), np.frombuffer(offsets, np.int64))
        for piece in part.chunks(size, first_position=position):
            yield CorpusChunk(
                chunk=piece.chunk,
                examples_before=examples + piece.examples_before,
                raw_words_before=raw_words + piece.raw_words_before,
                examples=piece.examples,
                raw_words=piece.raw_words,
            )
        position += len(part.token_ids)
        examples += len(part.sentence_offsets) - 1
        raw_words += int(part.raw_offsets[-1])


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
        Lists and tuples, and gensim's own readers, repeat themselves. Everything else is taken to be able to change.
    """
    paths = _paths_of(sentences)
    if paths is not None:
        settings = (type(sentences), getattr(sentences, "max_sentence_length", None), getattr(sentences, "limit", None))
        states = tuple(_file_state(path) for path in paths)
        lasting = all(state is not None for state in states)
        return Source(sentences, repeats=True, lasting=lasting, fingerprint=(settings, states))
    if type(sentences) in (list, tuple):
        # Cheap, and sees sentences that are shuffled, replaced, added or cut between epochs.
        shape = (len(sentences), hash(tuple(map(id, sentences))), hash(tuple(map(_length, sentences))))
        return Source(sentences, repeats=True, fingerprint=shape)
    return Source(sentences, repeats=False)


def _length(sentence: Any) -> int:
    return len(sentence) if hasattr(sentence, "__len__") else -1
