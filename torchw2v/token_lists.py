"""Lists of token lists to ids.

Tokens that are plain words are joined to text again and looked up as text is, most of it outside Python's lock: where
numba is and the lists are long, or else with several threads. A dictionary does the rest: few threads or short lists
without numba, and other tokens (numbers, tuples, words with spaces).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from operator import countOf
from typing import Any

import numpy as np

from torchw2v.compiling import numba_missing
from torchw2v.corpus import UNKNOWN
from torchw2v.text import Lookup, Piece, add_unknown, find_words, in_order, look_up
from torchw2v.word_table import WordTable

_BATCH_SENTENCES = 2_000
_BATCH_TOKENS = 100_000  # at most, unless a sentence is longer: a few blocks of text (text.BLOCK_BYTES)
_SENTENCES_OF_ONE_THREAD = 10_000  # fewer are not worth starting threads for
_TOKENS_TO_COMPILE_FOR = 1 << 20  # as text._BYTES_TO_COMPILE_FOR


@dataclass(frozen=True)
class _Batch:
    """Token lists, one after the other, and how many tokens stand before each sentence end."""

    runs: Sequence[Sequence[Any]]
    lengths: np.ndarray
    ends: np.ndarray

    @property
    def tokens(self) -> int:
        return int(self.lengths.sum())


def _batch(runs: Sequence[Sequence[Any]]) -> _Batch:
    lengths = np.fromiter(map(len, runs), np.int64, count=len(runs))
    return _Batch(runs, lengths, np.cumsum(lengths))


def _batches(sentences: Sequence[Sequence[Any]]) -> Iterator[_Batch]:
    for start in range(0, len(sentences), _BATCH_SENTENCES):
        batch = _batch(sentences[start : start + _BATCH_SENTENCES])
        yield from [batch] if batch.tokens <= _BATCH_TOKENS else _cut(batch)


def _cut(batch: _Batch) -> Iterator[_Batch]:
    """The same tokens in smaller batches: a sentence each, or a part of one that ends in a later batch."""
    nowhere = np.zeros(0, np.int64)
    for sentence in batch.runs:
        last = max(len(sentence) - 1, 0) // _BATCH_TOKENS * _BATCH_TOKENS
        for start in range(0, last, _BATCH_TOKENS):
            part = _batch([sentence[start : start + _BATCH_TOKENS]])
            yield _Batch(part.runs, part.lengths, nowhere)
        yield _batch([sentence[last:]])


def are_token_lists(sentences: Any) -> bool:
    """Whether this is a list or tuple of nothing but lists and tuples (subclasses may do anything)."""
    return type(sentences) in (list, tuple) and set(map(type, sentences)) <= {list, tuple}


def _as_text(batch: _Batch) -> bytes | None:
    """The tokens of a batch, a sentence a line; None if some are not strings."""
    if countOf(map(type, chain.from_iterable(batch.runs)), str) < batch.tokens:
        return None  # also subclasses of str, which may have an equality of their own
    try:
        return "".join([" ".join(run) + "\n" for run in batch.runs if run]).encode()
    except UnicodeEncodeError:  # lone surrogates
        return None


def _are_words(batch: _Batch, text: bytes, words: int, letters: int) -> bool:
    """Whether each token became one word: white space that is not ours, or an empty token, changes one of the sums."""
    return words == batch.tokens and letters + batch.tokens == len(text)


class TokenListEncoder:
    """Ids of tokens by order of first appearance, or by a vocabulary.

    Parameters
    ----------
    key_to_index : mapping, optional
        Row of each word; unknown tokens get UNKNOWN. Without it, every token is new once and gets the next id.
    """

    def __init__(self, key_to_index: Mapping[Any, int] | None = None) -> None:
        self._key_to_index = key_to_index
        self._table, self._rows = WordTable(), None
        self._vocabulary: Mapping[Any, int] | None = None  # takes the table's place where tokens are not plain words
        if key_to_index is not None:
            known = seeded(key_to_index)
            if known is None:
                self._vocabulary = key_to_index
            else:
                self._table, self._rows = known

    def words(self) -> list[Any]:
        """Every token type, in order of first appearance."""
        return self._table.words() if self._vocabulary is None else list(self._vocabulary)

    def pieces(self, sentences: Sequence[Sequence[Any]], workers: int) -> Iterator[Piece]:
        """Encode sentences; each piece holds sentence ends, as positions in the corpus, in place of line ends.

        Raises
        ------
        TypeError
            A token is not hashable.
        """
        done = 0
        compiled = numba_missing() is None and sum(map(len, sentences)) >= _TOKENS_TO_COMPILE_FOR
        for batch, ids in self._batches_encoded(sentences, workers, compiled):
            yield Piece(ids, batch.ends + done)
            done += len(ids)

    def _batches_encoded(
        self, sentences: Sequence[Sequence[Any]], workers: int, compiled: bool
    ) -> Iterator[tuple[_Batch, np.ndarray]]:
        if len(sentences) < _SENTENCES_OF_ONE_THREAD:
            workers = 1
        if workers == 1 and not compiled:
            for batch in _batches(sentences):
                yield batch, self._by_dictionary(batch)
            return
        look_up = partial(self._look_up, compiled=compiled)
        for batch, found in in_order(look_up, _batches(sentences), workers):
            if found is None or self._vocabulary is not None:
                ids = self._by_dictionary(batch)
            elif self._rows is not None:
                ids = self._rows[found.piece.ids]
            else:
                add_unknown(found, self._table, compiled=compiled)
                ids = found.piece.ids
                ids -= 1
            yield batch, ids

    def _look_up(self, batch: _Batch, *, compiled: bool) -> tuple[_Batch, Lookup | None]:
        """A batch, and its tokens in the table if they are plain words."""
        text = None if self._vocabulary is not None else _as_text(batch)
        if text is None:
            return batch, None
        found = look_up(text, self._table, compiled=compiled)
        return batch, found if _are_words(batch, text, len(found.piece.ids), found.letters) else None

    def _by_dictionary(self, batch: _Batch) -> np.ndarray:
        tokens = chain.from_iterable(batch.runs)
        if self._key_to_index is not None:
            return np.fromiter(map(self._key_to_index.get, tokens, repeat(UNKNOWN)), np.int32, count=batch.tokens)
        if self._vocabulary is None:
            known = self._table.words()
            vocabulary: defaultdict[Any, int] = defaultdict(None, zip(known, range(len(known)), strict=True))
            vocabulary.default_factory = vocabulary.__len__
            self._vocabulary = vocabulary
        return np.fromiter(map(self._vocabulary.__getitem__, tokens), np.int32, count=batch.tokens)


def seeded(key_to_index: Mapping[Any, int]) -> tuple[WordTable, np.ndarray] | None:
    """A table of a vocabulary's words, and the row of each id: int32 array; id 0 is UNKNOWN.

    None where keys are not all `str` itself: a key of another type may equal a word in its own way.
    """
    if not set(map(type, key_to_index)) <= {str}:
        return None
    table, rows = WordTable(), [UNKNOWN]
    plain = [word for word in key_to_index if _is_plain(word)]  # text holds no others
    words, _ = find_words(" ".join([*plain, ""]).encode())
    if plain:
        table.add(words)
        rows.extend(map(key_to_index.__getitem__, plain))
    return table, np.array(rows, np.int32)


def _is_plain(word: str) -> bool:
    return word.split() == [word] and (word.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in word))
