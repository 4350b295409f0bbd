"""Counts to a vocabulary, in arrays: what gensim's `prepare_vocab` does word by word, with the same results."""

from __future__ import annotations

import logging
from collections import defaultdict
from itertools import compress
from typing import Any

import numpy as np
from gensim.models.word2vec import Word2Vec

from torchw2v.constants import GENSIMS_LOGGER, UINT32_SPAN

logger = logging.getLogger(GENSIMS_LOGGER)
_EXACT = 2**53  # whole numbers below it are exact in float64


def counts_if_plain(raw_vocab: dict[Any, Any]) -> np.ndarray | None:
    """The counts as int64 array; None where they are not all positive ints whose sum float64 holds exactly."""
    if not raw_vocab or not set(map(type, raw_vocab.values())) <= {int}:
        return None
    if not 0 < sum(raw_vocab.values()) < _EXACT or min(raw_vocab.values()) < 1:
        return None
    return np.fromiter(raw_vocab.values(), np.int64, count=len(raw_vocab))


def keep_probabilities(counts: np.ndarray, sample: float) -> np.ndarray:
    """Chance of each word to be kept by subsampling: float64 array, gensim's formula in gensim's order of operations.

    Parameters
    ----------
    counts : int64 array
    sample : float
        0: all are kept. Below 1: threshold as a share of all words. Else words more frequent than `sample` are thinned.
    """
    total = int(counts.sum())
    threshold = sample * total if sample < 1.0 else int(sample * (3 + np.sqrt(5)) / 2)
    threshold = threshold if sample else total
    return np.minimum((np.sqrt(counts / threshold) + 1) * (threshold / counts), 1.0)


def fill_vocabulary(
    model: Word2Vec, counts: np.ndarray, min_count: int, sample: float, keep_raw_vocab: bool
) -> dict[str, int]:
    """Give a model the words that occur `min_count` times, their counts and keep thresholds.

    Parameters
    ----------
    model : Word2Vec
        With `raw_vocab`; without max_final_vocab.
    counts : int64 array
        Of the words in raw_vocab, in its order; at least one reaches min_count.
    min_count, sample, keep_raw_vocab
        As in gensim's `prepare_vocab`.

    Returns
    -------
    dict
        What gensim's `prepare_vocab` returns.
    """
    logger.info("Creating a fresh vocabulary")
    kept = counts >= min_count
    words, retained = list(compress(model.raw_vocab, kept.tolist())), counts[kept]
    wv = model.wv
    model.min_count, model.sample, model.effective_min_count = min_count, sample, min_count
    wv.index_to_key, wv.key_to_index = words, dict(zip(words, range(len(words)), strict=True))
    unique, size = len(counts), len(words)  # a null word will come on top
    total, retain_total = int(counts.sum()), int(retained.sum())
    say = f"effective_min_count={min_count}"
    model.add_lifecycle_event(
        "prepare_vocab",
        msg=f"{say} retains {size} unique words ({size * 100 / unique:.2f}% of original {unique}, "
        f"drops {unique - size})",
    )
    model.add_lifecycle_event(
        "prepare_vocab",
        msg=f"{say} leaves {retain_total} word corpus ({retain_total * 100 / total:.2f}% of original {total}, "
        f"drops {total - retain_total})",
    )
    probabilities = keep_probabilities(retained, sample)
    thinned = int((probabilities < 1.0).sum())
    left = float(np.cumsum(probabilities * retained)[-1])  # one after another, as gensim adds
    wv.expandos["count"] = retained
    wv.expandos["sample_int"] = (probabilities * (UINT32_SPAN - 1)).astype(np.uint32)
    if not keep_raw_vocab:
        logger.info("deleting the raw counts dictionary of %i items", unique)
        model.raw_vocab = defaultdict(int)
    logger.info("sample=%g downsamples %i most-common words", sample, thinned)
    model.add_lifecycle_event(
        "prepare_vocab",
        msg=f"downsampling leaves estimated {left if thinned else retain_total} word corpus "
        f"({left * 100.0 / max(retain_total, 1):.1f}%% of prior {retain_total})",
    )
    if model.null_word:
        model.add_null_word()
    if model.sorted_vocab:
        wv.sort_by_descending_frequency()
    if model.hs:
        model.create_binary_tree()
    if model.negative:
        model.make_cum_table()
    return {
        "drop_unique": unique - size, "retain_total": retain_total, "downsample_unique": thinned,
        "downsample_total": int(left), "num_retained_words": size,
    }  # fmt: skip
