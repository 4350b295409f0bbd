"""A synthetic corpus of any size as token ids: words by Zipf's law, sentences of about 20 words.

No strings, and no more memory than the ids take: 4 bytes a token, and 8 for each sentence.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from torchw2v.corpus import EncodedCorpus

CELLS_PER_WORD = 32  # of the quantile table; by them even the rarest of 10 M words gets a cell of its own
CHUNK = 2**22  # tokens that a thread draws at once
SHORTEST, LONGEST = 10, 30  # words in a sentence, uniform between them


def quantiles(vocabulary: int) -> np.ndarray:
    """The inverse of Zipf's law as a table: a uniform random cell holds word w with a chance proportional to 1/(w + 1).

    Looking a cell up costs one read where a binary search costs twenty. Word 0 has the most cells.

    Parameters
    ----------
    vocabulary : int
        V.

    Returns
    -------
    int32 array
        Words, in order. Its length is a power of two, at least 32 V.
    """
    cells = 2 ** math.ceil(math.log2(CELLS_PER_WORD * vocabulary))
    running = np.cumsum(1.0 / np.arange(1, vocabulary + 1))
    bounds = np.round(running / running[-1] * cells).astype(np.int64)
    share = np.sort(np.diff(bounds, prepend=0))[::-1]  # rounding may give a word a cell more than the one before it
    return np.repeat(np.arange(vocabulary, dtype=np.int32), share)


def expected_counts(table: np.ndarray, words: int) -> np.ndarray:
    """Occurrences of each word to expect among `words` draws, at least 1: int64 array [V], never increasing."""
    share = np.bincount(table) / len(table)
    return np.maximum(1, np.round(share * words)).astype(np.int64)


def sentence_offsets(words: int, rng: np.random.Generator) -> np.ndarray:
    """Starts of sentences of 10 to 30 words, and the end: int64 array [S + 1]."""
    # The mean number of sentences falls short half of the time; the square root is 15 standard deviations more.
    count = 2 * words // (SHORTEST + LONGEST) + math.isqrt(words) + 2
    ends = np.cumsum(rng.integers(SHORTEST, LONGEST + 1, size=count), dtype=np.int64)
    return np.concatenate([[0], ends[: np.searchsorted(ends, words)], [words]]).astype(np.int64)


def zipf_corpus(words: int, vocabulary: int, seed: int = 1) -> tuple[EncodedCorpus, np.ndarray]:
    """Draw a corpus, with all cores.

    Parameters
    ----------
    words, vocabulary : int
    seed : int
        The same seed gives the same corpus on any number of cores.

    Returns
    -------
    (EncodedCorpus, int64 array [V])
        The corpus, and the counts to build its vocabulary from.
    """
    table = quantiles(vocabulary)
    ids = np.empty(words, dtype=np.int32)
    starts = range(0, words, CHUNK)
    seeds = np.random.SeedSequence(seed).spawn(len(starts) + 1)

    def draw(start: int, own: np.random.SeedSequence) -> None:
        part = ids[start : start + CHUNK]
        cells = np.random.default_rng(own).integers(0, len(table), size=len(part), dtype=np.uint32)
        np.take(table, cells, out=part, mode="clip")  # "clip" writes to `out` without a buffer of its own

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(draw, starts, seeds))
    offsets = sentence_offsets(words, np.random.default_rng(seeds[-1]))
    return EncodedCorpus(ids, offsets, offsets), expected_counts(table, words)


def prefix(corpus: EncodedCorpus, words: int) -> EncodedCorpus:
    """The first sentences of a corpus, about `words` raw words of them; at least one sentence. A view."""
    last = max(1, int(np.searchsorted(corpus.raw_offsets, words, side="right")) - 1)
    offsets = corpus.sentence_offsets[: last + 1]
    return EncodedCorpus(corpus.token_ids[: offsets[-1]], offsets, corpus.raw_offsets[: last + 1])
