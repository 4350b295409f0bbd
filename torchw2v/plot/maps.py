"""Chosen words on a plane: near there is near in the model, as far as two dimensions can say."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np
from gensim.models import KeyedVectors

from torchw2v.errors import NothingToPlotError, SettingError
from torchw2v.keys import rows_of
from torchw2v.plot.canvas import COLORS, panel
from torchw2v.plot.labels import write

_RADIUS = 2.5  # of a marker, in typographic points


def principal_plane(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows on the two axes along which they vary most.

    Parameters
    ----------
    vectors : float array [n, D]

    Returns
    -------
    (float64 array [n, 2], float64 array [2])
        Coordinates, and the share of the variance that each axis has. An axis points to where its farthest row is, so
        that the picture does not depend on the sign that the decomposition happens to give.
    """
    centered = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    rows, strengths, _ = np.linalg.svd(centered, full_matrices=False)
    found = min(2, len(strengths))
    plane, share = np.zeros((len(vectors), 2)), np.zeros(2)
    plane[:, :found] = rows[:, :found] * strengths[:found]
    share[:found] = strengths[:found] ** 2 / max(float((strengths**2).sum()), 1e-30)
    farthest = plane[np.abs(plane).argmax(0), [0, 1]]
    return plane * np.where(farthest < 0, -1, 1), share


def word_map(
    vectors: KeyedVectors,
    words: Iterable[Hashable],
    *,
    groups: Mapping[Hashable, Any] | None = None,
    coordinates: np.ndarray | None = None,
    label: bool = True,
    font: str | None = None,
    figsize: tuple[float, float] = (8.0, 6.0),
    axis: Any = None,
) -> Any:
    """Draw words at the principal plane of their directions, with labels that do not overlap.

    Parameters
    ----------
    vectors : gensim.models.KeyedVectors
        Lengths are set to 1, since similarity is an angle.
    words : iterable of keys
        Earlier ones get the better places for their labels.
    groups : mapping, optional
        A group for each word, shown as color and in a legend.
    coordinates : float array [n, 2], optional
        The words' places by another method (t-SNE, UMAP), in place of the principal plane.
    label : bool
        Write the words; without it points only.
    font : str, optional
        A font family that has the words' letters, such as "Noto Sans CJK SC": matplotlib's own has no Chinese.
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
        There are no words.
    UnknownKeyError (a KeyError)
        A word has no vector.
    SettingError (a ValueError)
        Coordinates do not fit the words, or a word has no group.
    """
    words = list(words)
    if not words:
        raise NothingToPlotError("there are no words to draw; give some, e.g. model.wv.index_to_key[:50]")
    rows = rows_of(vectors, words)
    ungrouped = [word for word in words if groups is not None and word not in groups]
    if ungrouped:
        raise SettingError(f"groups names no group of {len(ungrouped)} words (first: {ungrouped[:5]})")
    axes_names = ["", ""]
    if coordinates is None:
        chosen = vectors.vectors[rows]
        lengths = np.linalg.norm(chosen, axis=1, keepdims=True)
        points, share = principal_plane(chosen / np.where(lengths > 0, lengths, 1))
        axes_names = [f"principal axis {number} ({part:.0%})" for number, part in enumerate(share, 1)]
    else:
        points = np.asarray(coordinates, dtype=np.float64)
        if points.shape != (len(words), 2):
            raise SettingError(f"coordinates have shape {points.shape}, expected {(len(words), 2)}")

    figure, axis = panel(figsize, axis)
    _scatter(axis, points, words, groups)
    axis.set_xlabel(axes_names[0])
    axis.set_ylabel(axes_names[1])
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_color("#DDDDDD")
    axis.margins(0.08)
    if label:
        text = {"fontsize": 9 if len(words) <= 60 else 7.5} | ({"fontfamily": font} if font else {})
        write(axis, points, [str(word) for word in words], radius=_RADIUS, **text)
    return figure


def _scatter(axis: Any, points: np.ndarray, words: list[Hashable], groups: Mapping[Hashable, Any] | None) -> None:
    """The points, group by group in order of appearance."""
    area = (2 * _RADIUS) ** 2
    if groups is None:
        axis.scatter(*points.T, s=area, color=COLORS[0], linewidths=0)
        return
    members: dict[Any, list[int]] = {}
    for number, word in enumerate(words):
        members.setdefault(groups[word], []).append(number)
    shapes = "os^Dv"
    for number, (group, rows) in enumerate(members.items()):
        shape = shapes[number // len(COLORS) % len(shapes)]
        color = COLORS[number % len(COLORS)]
        axis.scatter(*points[rows].T, s=area, color=color, marker=shape, linewidths=0, label=str(group))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False, fontsize=9)
