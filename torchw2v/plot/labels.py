"""Words beside their points so that no two of them overlap: greedy, in the order given, without a random number.

Each label takes the nearest free place around its point, on rings that grow; a label that ends far from its point, or
about as near to another one, is tied to it by a thin line. Places that cover another label or leave the panel are not
free; those that cover another point are taken only where no other is left.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

logger = logging.getLogger(__name__)

GAP = 3.0  # points between a marker's edge and its label
BETWEEN = 4.0  # points between labels side by side, so that two words are not read as one
_ASIDE = np.array([-BETWEEN, 0, BETWEEN, 0])  # what that adds to a box
_DIRECTIONS = 16
_RING = 5.0  # points from one ring of places to the next
_RINGS = 40
_TIED = 12.0  # points from the marker from which on a line ties the label to it
_CLEARLY = 0.8  # of the way to another point: from there on a line says whose label it is


def place(points: np.ndarray, sizes: np.ndarray, panel: np.ndarray, radius: float) -> np.ndarray:
    """Places for labels.

    Parameters
    ----------
    points : float array [n, 2]
        What the labels belong to, in typographic points from the lower left.
    sizes : float array [n, 2]
        Widths and heights of the labels; (0, 0): a point without a label.
    panel : float array [4]
        Left, bottom, right and top of where labels may stand.
    radius : float
        Of the points' markers.

    Returns
    -------
    float array [n, 2]
        The labels' lower left corners; nan where there is no room, or no label.
    """
    corners = np.full((len(points), 2), np.nan)
    markers = _box(points - radius, np.full_like(points, 2 * radius))
    taken = np.zeros((0, 4))
    for number in np.flatnonzero(sizes.any(1)):
        places = _places(points[number], sizes[number], radius)
        boxes = _box(places, sizes[number])
        inside = (boxes[:, :2] >= panel[:2]).all(1) & (boxes[:, 2:] <= panel[2:]).all(1)
        free = inside & ~_overlap(boxes + _ASIDE, taken).any(1)
        clear = free & ~_overlap(boxes, markers).any(1)
        found = np.flatnonzero(clear if clear.any() else free)
        if len(found):
            corners[number] = places[found[0]]
            taken = np.concatenate([taken, boxes[found[:1]]])
    return corners


def _places(point: np.ndarray, size: np.ndarray, radius: float) -> np.ndarray:
    """Lower left corners around a point, the nearest first: [rings * directions, 2]."""
    angle = np.arange(_DIRECTIONS) * (2 * np.pi / _DIRECTIONS)  # the right side comes first
    way = np.stack([np.cos(angle), np.sin(angle)], 1)  # [directions, 2]
    # The label's middle lies where the label touches the marker from that side, then ring by ring further out.
    touch = way * (radius + GAP) + np.clip(way * 1.5, -1, 1) * size / 2
    rings = np.arange(_RINGS).reshape(-1, 1, 1) * _RING
    return (point + touch + rings * way - size / 2).reshape(-1, 2)


def _box(corner: np.ndarray, size: np.ndarray) -> np.ndarray:
    return np.concatenate([corner, corner + size], -1)


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which boxes [m, 4] overlap which others [k, 4]: bool [m, k]."""
    one, other = boxes[:, None], others[None]
    both: np.ndarray = (one[..., :2] < other[..., 2:]) & (other[..., :2] < one[..., 2:])
    return np.all(both, axis=-1)


def write(axis: Any, points: np.ndarray, words: Sequence[str | None], *, radius: float, **text: Any) -> list[Any]:
    """Write words beside their points; the axis' limits and the figure's layout must be final, and are fixed here.

    Parameters
    ----------
    axis : matplotlib Axes
    points : float array [n, 2]
        In data coordinates.
    words : sequence of str or None
        None: a point without a label, which others avoid to cover.
    radius : float
        Of the markers, in typographic points.
    **text
        fontsize, fontfamily, ...

    Returns
    -------
    list of matplotlib Annotation
        In the words' order; words without room are left out, and the log names them.
    """
    figure = axis.figure
    figure.draw_without_rendering()  # the layout comes to rest
    figure.set_layout_engine("none")
    scale = 72 / figure.dpi
    renderer = figure.canvas.get_renderer()
    sizes = np.zeros((len(points), 2))
    for number, word in enumerate(words):
        if word is not None:
            probe = axis.text(0, 0, word, va="bottom", **text)
            sizes[number] = np.array(probe.get_window_extent(renderer).size) * scale
            probe.remove()
    places = axis.transData.transform(points) * scale
    corners = place(places, sizes, np.array(axis.bbox.extents) * scale, radius)
    line = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.7, "shrinkA": 0, "shrinkB": radius}
    written, lost = [], []
    for number, word in enumerate(words):
        if word is None:
            continue
        if np.isnan(corners[number, 0]):
            lost.append(word)
            continue
        outside = np.abs(places - corners[number] - sizes[number] / 2) - sizes[number] / 2
        away = np.hypot(*outside.clip(0).T)  # from the label to every point
        others = np.delete(away, number).min(initial=np.inf)
        tied = away[number] > min(radius + _TIED, _CLEARLY * others)
        offset = corners[number] - places[number]
        written.append(
            axis.annotate(
                word,
                points[number],
                offset,
                textcoords="offset points",
                ha="left",
                va="bottom",
                arrowprops=line if tied else None,
                **text,
            )
        )
    if lost:
        logger.warning("no room for %i labels: %s; give fewer words or a larger figsize", len(lost), lost)
    return written
