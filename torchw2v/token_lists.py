"""Lists of token lists to ids, as far as they hold nothing but strings.

    lists --token_kernels.gather--> words, sentence ends --word_kernels.find_words--> ids

Strings are gathered under Python's lock and looked up without it, on several threads. What comes first that is not a
str ends it: the rest is for scan.py's loop through a dictionary, which takes any hashable token.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, islice
from typing import Any

import numpy as np

from torchw2v.compiling import numba_missing
from torchw2v.corpus import UNKNOWN
from torchw2v.text import Lookup, Piece, add_unknown, in_order
from torchw2v.word_table import Words, WordTable

_BATCH_TOKENS = 1 << 15  # with these two a batch is worth its calls, and its arrays stay in a core's cache
_BATCH_BYTES = 1 << 18
_PART = 1 << 12  # sentences
_TOKENS_TO_COMPILE_FOR = 1 << 20  # as text._BYTES_TO_COMPILE_FOR


def worth_gathering(sentences: Any) -> bool:
    """Whether this is a list or tuple of so many tokens that compiled loops pay, and they can be had."""
    if type(sentences) not in (list, tuple):  # subclasses may do anything
        return False
    try:
        parts = (sentences[start : start + _PART] for start in range(0, len(sentences), _PART))
        lengths = accumulate((sum(map(len, part)) for part in parts), initial=0)
        many = any(tokens >= _TOKENS_TO_COMPILE_FOR for tokens in lengths)
    except TypeError:  # sentences that have no length are for the dictionary
        return False
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()  # without a lock, lists may change while they are read
    return many and locked and numba_missing() is None


@dataclass(frozen=True)
class _Batch:
    """Tokens, and how many of them stand before each sentence end."""

    words: Words
    ends: np.ndarray


class TokenReader:
    """Batches of the tokens of a list of token lists, up to the first that is not a plain str.

    Parameters
    ----------
    sentences : list or tuple

    Attributes
    ----------
    sentence, token : int
        The next to be read.
    """

    def __init__(self, sentences: Sequence[Any]) -> None:
        self._sentences = sentences
        self.sentence = self.token = 0

    def _batches(self) -> Iterator[_Batch]:
        from torchw2v.token_kernels import gather  # only here: importing it takes a second

        size, full = _BATCH_BYTES, True
        while full:
            words, ends, place, full = gather(self._sentences, self.sentence, self.token, _BATCH_TOKENS, size)
            size = _BATCH_BYTES if len(words) or len(ends) else 2 * size  # for a giant word
            self.sentence, self.token = place
            if len(words) or len(ends):
                yield _Batch(words, ends)
        if self.token and self.at_end:  # somebody took the sentence away that was being read
            yield _Batch(words[:0], np.zeros(1, np.int64))

    def pieces(self, table: WordTable, *, grow: bool, workers: int) -> Iterator[Piece]:
        """Token ids; each piece holds sentence ends, as positions in the corpus, in place of line ends.

        Parameters
        ----------
        table : WordTable
        grow : bool
            Add unknown words to the table; their ids follow the order of first appearance. Else their id is 0.
        workers : int
            Threads.
        """
        from torchw2v.word_kernels import find_words

        def look_up(batch: _Batch) -> Lookup:
            ids, unknown, words = find_words(batch.words, table)
            return Lookup(Piece(ids, batch.ends), unknown, words)

        done = 0
        for found in in_order(look_up, self._batches(), workers):
            if grow:
                add_unknown(found, table, compiled=True)
            yield Piece(found.piece.ids, found.piece.line_ends + done)
            done += len(found.piece.ids)

    @property
    def at_end(self) -> bool:
        """Whether all was read."""
        return self.sentence >= len(self._sentences)

    def rest(self) -> Iterator[Iterable[Any]]:
        """What has not been read: the rest of a sentence, and all that follow."""
        if not self.token:
            return islice(self._sentences, self.sentence, None)
        begun = islice(self._sentences[self.sentence], self.token, None)
        return chain([begun], islice(self._sentences, self.sentence + 1, None))


def seeded(key_to_index: Mapping[Any, int]) -> tuple[WordTable, np.ndarray] | None:
    """A table of a vocabulary's words, and the row of each id: int32 array; id 0 is UNKNOWN.

    None where keys are not all `str` itself: a key of another type may equal a word in its own way.
    """
    if not set(map(type, key_to_index)) <= {str}:
        return None
    words = [word.encode(errors="surrogatepass") for word in key_to_index]  # lone surrogates: no token is found there
    lengths = np.fromiter(map(len, words), np.int64, count=len(words))
    ends = 8 + np.cumsum(lengths)
    table = WordTable()
    table.add(Words(np.frombuffer(b"".join([bytes(8), *words, bytes(8)]), np.uint8), ends - lengths, ends))
    return table, np.fromiter(chain([UNKNOWN], key_to_index.values()), np.int32, count=1 + len(words))
