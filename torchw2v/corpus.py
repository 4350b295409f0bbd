"""A corpus as token ids, and how it is cut into chunks for the engines. Strings have stopped before this.

    ScannedCorpus (every word, ids in order of appearance) + counts  --keep(vocabulary)-->  EncodedCorpus
    EncodedCorpus (only words of the vocabulary, its indices)        --chunks-->            pieces for the engines

A corpus that cannot change (a file, a list within one call) is encoded once; any other iterable is read anew each epoch
by `scan.stream_chunks`, because it may yield something new (random walks).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np

from torchw2v.ops.contract import Chunk

Token = Hashable
Sentences = Iterable[Iterable[Token]]

UNKNOWN = -1  # a token outside the vocabulary, before it is dropped
_PART = 1 << 16  # tokens that are worked on at once, so that temporary arrays stay small and in a core's cache


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

    def behind(self, examples: int, raw_words: int) -> CorpusChunk:
        """The same chunk with so many sentences and raw words more ahead of it."""
        return replace(
            self, examples_before=self.examples_before + examples, raw_words_before=self.raw_words_before + raw_words
        )


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

    @property
    def known_words(self) -> int:
        """Words that are in the vocabulary."""
        return len(self.token_ids)

    @property
    def raw_words(self) -> int:
        """Words, unknown ones included."""
        return int(self.raw_offsets[-1])

    def neighbors(self) -> float:
        """Other tokens in the sentence of a token, on average over tokens."""
        pairs, offsets = 0.0, self.sentence_offsets
        for start in range(0, len(offsets) - 1, _PART):
            lengths = np.diff(offsets[start : start + _PART + 1]).astype(np.float64)
            pairs += float((lengths * (lengths - 1)).sum())
        return pairs / max(int(offsets[-1] - offsets[0]), 1)

    def chunks(
        self, size: int, first_position: int = 0, start: int = 0, *, final: bool = True
    ) -> Generator[CorpusChunk, None, None]:
        """Consecutive chunks of about `size` tokens that end on a sentence end where the sentence is not longer.

        Sentences without a known word still count as examples: they ride on the chunk before them.

        Parameters
        ----------
        size : int
        first_position : int
            Position in the corpus of the first token.
        start : int
            Tokens of the first sentence that have been in chunks already.
        final : bool
            False: more sentences will follow; stop where they could belong to the next chunk.
        """
        offsets, raw = self.sentence_offsets, self.raw_offsets
        sentences, done = len(offsets) - 1, 0
        while done < sentences and (final or int(offsets[-1]) > start + size):
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

    def after(self, sentences: int) -> EncodedCorpus:
        """What follows the first so many sentences."""
        offsets, raw = self.sentence_offsets[sentences:], self.raw_offsets[sentences:]
        return EncodedCorpus(self.token_ids[offsets[0] :], offsets - offsets[0], raw - raw[0])

    def followed_by(self, other: EncodedCorpus) -> EncodedCorpus:
        """Both as one."""
        pairs = ((self.sentence_offsets, other.sentence_offsets), (self.raw_offsets, other.raw_offsets))
        offsets = (np.concatenate([mine, mine[-1] + theirs[1:]]) for mine, theirs in pairs)
        return EncodedCorpus(np.concatenate([self.token_ids, other.token_ids]), *offsets)


def chunks_of_parts(parts: Iterable[EncodedCorpus], size: int) -> Generator[CorpusChunk, None, None]:
    """The chunks of a corpus that comes in parts of whole sentences: those that it has in one piece.

    No more is held than two parts, or a part and the longest sentence.
    """
    nothing = np.zeros(1, np.int64)
    held = EncodedCorpus(np.zeros(0, np.int32), nothing, nothing)
    position, start, examples, raw_words = 0, 0, 0, 0

    def cut(final: bool) -> Iterator[CorpusChunk]:
        nonlocal start
        for piece in held.chunks(size, position, start, final=final):
            start = piece.chunk.stop
            yield piece.behind(examples, raw_words)

    for part in parts:
        held, done = held.followed_by(part), 0
        for piece in cut(final=False):
            done += piece.examples
            yield piece
        used = int(held.sentence_offsets[done])
        position, start, examples = position + used, start - used, examples + done
        raw_words += int(held.raw_offsets[done])
        held = held.after(done)
    yield from cut(final=True)


def drop_unknown(ids: np.ndarray, raw_offsets: np.ndarray, rows: np.ndarray | None = None) -> EncodedCorpus:
    """Remove the UNKNOWN entries of ids, in the memory of ids, and move the sentence starts accordingly.

    Parameters
    ----------
    ids : int32 array
        Overwritten.
    raw_offsets : int64 array [S + 1]
    rows : int32 array, optional
        What to put in place of each id first.
    """
    kept, offsets = 0, np.empty_like(raw_offsets)
    for start in range(0, len(ids), _PART):
        part = ids[start : start + _PART] if rows is None else rows[ids[start : start + _PART]]
        known = part != UNKNOWN
        first, last = np.searchsorted(raw_offsets, [start, start + len(part)])  # sentences that begin in this part
        before = np.cumsum(known, dtype=np.int64)
        before -= known
        offsets[first:last] = kept + before[raw_offsets[first:last] - start]
        left = part[known]
        ids[kept : kept + len(left)] = left
        kept += len(left)
    offsets[np.searchsorted(raw_offsets, len(ids)) :] = kept
    if kept == len(ids):
        return EncodedCorpus(ids, raw_offsets, raw_offsets)
    return EncodedCorpus(ids[:kept], offsets, raw_offsets)


def count_ids(ids: np.ndarray, types: int) -> np.ndarray:
    """How often each id occurs: int64 array [types]. In parts: bincount makes int64 copies."""
    counts, part = np.zeros(types, np.int64), max(_PART, types)
    for start in range(0, len(ids), part):
        counts += np.bincount(ids[start : start + part], minlength=types)
    return counts


@dataclass(frozen=True)
class ScannedCorpus:
    """A corpus encoded by order of first appearance, before a vocabulary is chosen.

    Attributes
    ----------
    words : sequence
        Every word type, in order of first appearance.
    ids : int32 array
        Index into words of each raw word.
    raw_offsets : int64 array [S + 1]
    """

    words: Sequence[Token]
    ids: np.ndarray
    raw_offsets: np.ndarray

    def counts(self) -> dict[Token, int]:
        """Occurrences of each word type, as gensim's raw_vocab: a defaultdict in order of first appearance."""
        return defaultdict(int, zip(self.words, count_ids(self.ids, len(self.words)).tolist(), strict=True))

    def keep(self, key_to_index: Mapping[Token, int], *, in_place: bool = False) -> EncodedCorpus:
        """Encode by a vocabulary; words outside it are dropped.

        Parameters
        ----------
        key_to_index : mapping
        in_place : bool
            Overwrite the ids of this corpus, which is of no more use then.
        """
        ids = self.ids if in_place else self.ids.copy()
        return drop_unknown(ids, self.raw_offsets, rows_of(self.words, key_to_index))


def rows_of(words: Sequence[Token], key_to_index: Mapping[Token, int]) -> np.ndarray:
    """The row of each word in a vocabulary, UNKNOWN for none: int32 array."""
    return np.fromiter(map(key_to_index.get, words, repeat(UNKNOWN)), np.int32, count=len(words))
