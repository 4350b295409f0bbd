"""The course of training as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from torchw2v.errors import NothingToPlotError
from torchw2v.plot.canvas import COLORS, plain, pyplot

_PANELS = {
    "mean_loss": "loss per pair",
    "alpha": "learning rate\nat epoch's end",
    "words_per_second": "effective words/s",
}


def training_curve(history: Sequence[Mapping[str, Any]]) -> Any:
    """Draw loss, learning rate and speed by epoch, one below the other.

    Parameters
    ----------
    history : sequence of dict
        A model's training_history. The loss is left out where no epoch has one (compute_loss=False).

    Returns
    -------
    matplotlib.figure.Figure
        For `figure.savefig(path)`; a notebook shows it.

    Raises
    ------
    ImportError
        The package matplotlib is missing.
    NothingToPlotError (a ValueError)
        No epoch has been trained.
    """
    plots = pyplot()
    from matplotlib.ticker import EngFormatter, MaxNLocator

    if not history:
        raise NothingToPlotError("training_history is empty: train the model first")
    panels = {key: label for key, label in _PANELS.items() if any(key in epoch for epoch in history)}
    figure, axes = plots.subplots(
        len(panels), sharex=True, squeeze=False, figsize=(6.4, 1.9 * len(panels) + 0.6), layout="constrained"
    )
    calls = [list(epochs) for _, epochs in groupby(enumerate(history, 1), lambda item: item[1]["train_call"])]
    for axis, (key, label) in zip(axes[:, 0], panels.items(), strict=True):
        for epochs in calls:
            values = [epoch.get(key, float("nan")) for _, epoch in epochs]
            axis.plot([number for number, _ in epochs], values, COLORS[0], marker="o", markersize=4)
        for epochs in calls[1:]:
            axis.axvline(epochs[0][0] - 0.5, color="gray", linestyle=":")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
        plain(axis)
        if key != "mean_loss":
            axis.set_ylim(bottom=0)
    lowest = axes[-1, 0]
    lowest.set_xlabel("epoch" + (" (dotted: another train() call)" if len(calls) > 1 else ""))
    lowest.set_xlim(0.5, len(history) + 0.5)
    lowest.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    lowest.yaxis.set_major_formatter(EngFormatter())
    figure.align_ylabels()
    return figure


plot_history = training_curve  # its name before there were other figures
