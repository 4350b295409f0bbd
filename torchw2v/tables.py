"""The vocabulary's tables as arrays: keep thresholds, noise distribution, Huffman paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from torchw2v.constants import DENSE_NODES, UINT32_SPAN
from torchw2v.ops.contract import HuffmanPaths


def keep_all(vocabulary: int) -> np.ndarray:
    """Thresholds that no draw exceeds: subsampling switched off. uint32 array [V]."""
    return np.full(vocabulary, UINT32_SPAN - 1, dtype=np.uint32)


def cumulative_table(counts: np.ndarray, ns_exponent: float, domain: int) -> np.ndarray:
    """Running noise distribution, so that a uniform integer finds its word by binary search.

    Source: Mikolov et al. 2013b (arXiv:1310.4546), section 2.2. Bit-equal to gensim's Word2Vec.make_cum_table: powers
    come from the C library one by one, and are added in order.

    Example: counts [3, 1], exponent 1, domain 2**31 - 1 -> [1610612735, 2147483647]

    Parameters
    ----------
    counts : int64 array [V]
        In vocabulary order, each > 0.
    ns_exponent : float
        1 follows frequency, 0 is uniform, below 0 favours rare words.
    domain : int
        The last entry.

    Returns
    -------
    uint32 array [V]
    """
    kinds, which = np.unique(counts, return_inverse=True)
    powers = np.array([count**ns_exponent for count in kinds.tolist()], np.float64)
    running = np.cumsum(powers[which])
    return np.rint(running / running[-1:] * domain).astype(np.uint32)


def pack_paths(codes: Sequence[Sequence[int]], points: Sequence[Sequence[int]]) -> HuffmanPaths:
    """Lay the Huffman paths of all words end to end.

    Parameters
    ----------
    codes : V sequences of 0 and 1
        gensim's `code` attribute, root first.
    points : V sequences of int
        gensim's `point` attribute: inner nodes, root first.

    Example: codes [[0], [1, 0]], points [[0], [0, 1]] -> points [0, 0, 1], labels [1, 0, 1], offsets [0, 1, 3]
    """
    lengths = np.fromiter(map(len, points), dtype=np.int64, count=len(points))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat_points = np.concatenate([np.zeros(0, np.uint8), *points]).astype(np.int32)
    flat_codes = np.concatenate([np.zeros(0, np.uint8), *codes]).astype(np.float32)
    return HuffmanPaths(flat_points, np.float32(1) - flat_codes, offsets)


def noise_probabilities(cumulative: np.ndarray) -> np.ndarray:
    """Chance of each word to be drawn as a negative, from the cumulative table: float64 array [V]."""
    table = cumulative.astype(np.float64)
    return np.diff(table, prepend=0.0) / table[-1]


@dataclass(frozen=True)
class AliasTable:
    """A discrete distribution that is drawn from in constant time (Walker 1977; Vose 1991).

    A draw u in [0, 2**32) picks the column u * V >> 32; the low 32 bits of u * V, uniform again, choose between the
    column's own word and its alias. Binary search in gensim's cum_table takes five times as long on a CPU.

    Attributes
    ----------
    accept : int64 array [V]
        Column w gives the word w where the low bits are smaller than accept[w], at most 2**32.
    alias : int64 array [V]
        The word that column w gives otherwise.
    """

    accept: np.ndarray
    alias: np.ndarray


def alias_table(probabilities: np.ndarray) -> AliasTable:
    """Cut a distribution into V columns of equal weight, two words in each at most.

    Columns of rare words are filled up by frequent words, in order; a frequent word whose surplus ends inside a
    column is filled up by the next one. Where each surplus ends is one search in running sums, not a loop.

    Parameters
    ----------
    probabilities : float64 array [V]
        Sums to 1.
    """
    heights = probabilities * len(probabilities)  # 1 on average
    rare, frequent = np.flatnonzero(heights < 1), np.flatnonzero(heights >= 1)
    missing = np.cumsum(1 - heights[rare])
    surplus = np.cumsum(heights[frequent] - 1)
    accept, alias = heights.copy(), np.arange(len(heights))
    if len(rare) and len(frequent):
        # A rare word is filled up by the frequent word whose surplus covers the place where its gap begins.
        source = np.searchsorted(surplus, missing - (1 - heights[rare]), side="right").clip(max=len(frequent) - 1)
        alias[rare] = frequent[source]
        # What is left of a frequent word after the last gap that it began to fill; the next one fills its own.
        last = np.searchsorted(source, np.arange(len(frequent)), side="right")
        filled = np.concatenate([[0.0], missing])[last]
        accept[frequent] = (1 + surplus - np.maximum(filled, np.concatenate([[0.0], surplus[:-1]]))).clip(0, 1)
        alias[frequent[:-1]] = frequent[1:]
    return AliasTable(np.rint(accept.clip(0, 1) * UINT32_SPAN).astype(np.int64), alias)


def positive_share(cumulative: np.ndarray, negative: int) -> np.ndarray:
    """Weight of a center's own sigmoid, 1 - K * noise probability: float64 array [V].

    gensim skips a negative that is the center itself. Shared negatives are not compared with every center; what they
    add to a center's row is taken back from its positive example instead, in expectation.

    Example: two words of noise probability 0.1 and 0.9, K = 5 -> [0.5, -3.5]
    """
    return 1 - negative * noise_probabilities(cumulative)


def busiest_nodes(node_pairs: np.ndarray) -> np.ndarray:
    """The inner nodes that most paths cross, DENSE_NODES of them or fewer: int64 array, ascending.

    node_pairs [V] has one entry more than there are inner nodes; the last is never used.
    """
    frequent = node_pairs.argsort(kind="stable")[::-1]
    return np.sort(frequent[: min(DENSE_NODES, len(node_pairs) - 1)])


def node_probabilities(paths: HuffmanPaths, probabilities: np.ndarray) -> np.ndarray:
    """Chance that a center's path crosses each inner node: float64 array [V], from word probabilities [V]."""
    per_entry = np.repeat(probabilities, np.diff(paths.offsets))
    return np.bincount(paths.points, weights=per_entry, minlength=len(probabilities))
