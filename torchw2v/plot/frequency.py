"""How long vectors are, by how frequent their words are: what training has done to rare and to common words."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

import numpy as np
from gensim.models import KeyedVectors

from torchw2v.errors import NothingToPlotError
from torchw2v.keys import rows_of
from torchw2v.plot.canvas import COLORS, panel, plain
from torchw2v.plot.labels import write

_MANY = 2000  # words from which on a density is drawn, not points
_BINS = 24  # of the median, over the whole range of counts
_IN_A_BIN = 5  # words that a median needs
_RADIUS = 2.0


def frequency_and_norm(
    vectors: KeyedVectors,
    *,
    words: Iterable[Hashable] = (),
    figsize: tuple[float, float] = (7.0, 4.5),
    axis: Any = None,
) -> Any:
    """Draw the length of each vector over the count of its word, and the median.

    Parameters
    ----------
    vectors : gensim.models.KeyedVectors
        With counts (`expandos["count"]`), as a trained model's have.
    words : iterable of keys
        Words to be marked by name.
    figsize : (float, float)
        In inches.
    axis : matplotlib Axes, optional
        Where to draw; a new figure if not given.

    Returns
    -------
    matplotlib.figure.Figure
        For `figure.savefig(path)`; a notebook shows it.

    Raises
    ------
    ImportError
        The package matplotlib is missing.
    NothingToPlotError (a ValueError)
        There are no vectors, or no counts.
    UnknownKeyError (a KeyError)
        A word has no vector.
    """
    if not len(vectors) or "count" not in vectors.expandos:
        raise NothingToPlotError("frequency_and_norm() needs vectors with counts, as model.wv has after training")
    chosen = list(words)
    rows = rows_of(vectors, chosen)
    counts = np.maximum(np.asarray(vectors.expandos["count"], dtype=np.float64), 1)
    norms = np.linalg.norm(vectors.vectors, axis=1)

    figure, axis = panel(figsize, axis)
    axis.set_xscale("log")
    if len(counts) > _MANY:
        cells = axis.hexbin(
            counts, norms, xscale="log", bins="log", gridsize=45, mincnt=1, cmap="Blues", linewidths=0.2
        )
        figure.colorbar(cells, ax=axis, label="words", pad=0.01)
    else:
        axis.scatter(counts, norms, s=(2 * _RADIUS) ** 2, color=COLORS[5], alpha=0.6, linewidths=0, label="a word")
    middle = medians(counts, norms)
    if len(middle) > 1:
        axis.plot(*middle.T, color=COLORS[1], linewidth=2, label="median")
        axis.legend(frameon=False)
    axis.set_xlabel("occurrences in the corpus")
    axis.set_ylabel("length of the vector")
    axis.set_ylim(bottom=0)
    plain(axis)
    if chosen:
        points = np.stack([counts[rows], norms[rows]], 1)
        axis.scatter(*points.T, s=(2 * _RADIUS) ** 2, color="black", linewidths=0, zorder=3)
        write(axis, points, [str(word) for word in chosen], radius=_RADIUS, fontsize=9)
    return figure


def medians(counts: np.ndarray, norms: np.ndarray) -> np.ndarray:
    """Median length of the words of similar counts: float64 array [bins, 2] of (count, length), few words left out."""
    edges = np.geomspace(counts.min(), counts.max() * (1 + 1e-9), _BINS + 1)
    bins = np.clip(np.searchsorted(edges, counts, side="right") - 1, 0, _BINS - 1)
    members = [np.flatnonzero(bins == number) for number in range(_BINS)]
    found = [(np.median(counts[rows]), np.median(norms[rows])) for rows in members if len(rows) >= _IN_A_BIN]
    return np.array(found, dtype=np.float64).reshape(-1, 2)
