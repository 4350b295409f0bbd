"""What all figures share: matplotlib, asked for when the first one is drawn, and the colors."""

from __future__ import annotations

from typing import Any

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F", "#A6761D")  # Okabe and Ito 2008
FAINT = "#B8B8B8"


def pyplot() -> Any:
    """matplotlib.pyplot.

    Raises
    ------
    ImportError
        The package matplotlib is missing.
    """
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'torchw2v[plot]'") from error
    return pyplot


def panel(size: tuple[float, float], axis: Any) -> tuple[Any, Any]:
    """A figure and an axis to draw on: the one given, or a new one of this size in inches."""
    if axis is not None:
        return axis.figure, axis
    return pyplot().subplots(figsize=size, layout="constrained")


def plain(axis: Any) -> None:
    """Take away what an axis does not need."""
    axis.spines[["top", "right"]].set_visible(False)
