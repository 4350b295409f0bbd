"""Benchmark rows (`python -m compat.bench --csv rows.csv`) as bars, gensim's beside ours."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np

from torchw2v.errors import NothingToPlotError, SettingError
from torchw2v.plot.canvas import COLORS, FAINT, plain, pyplot

NAMES = {
    "raw_words_per_s": "raw words/s",
    "effective_words_per_s": "effective words/s",
    "words_per_s": "words/s",
    "queries_per_s": "queries/s",
    "wordsim353": "WordSim-353",
    "simlex999": "SimLex-999",
    "analogies": "analogies solved",
    "seconds": "seconds",
    "sg-ns": "skip-gram,\nnegative\nsampling",
    "cbow-ns": "CBOW,\nnegative\nsampling",
    "sg-hs": "skip-gram,\nhierarchical\nsoftmax",
    "cbow-hs": "CBOW,\nhierarchical\nsoftmax",
}
Rows = str | os.PathLike[str] | Iterable[Mapping[str, Any]]


def benchmark_bars(
    rows: Rows,
    values: Sequence[str] = ("raw_words_per_s",),
    *,
    category: str = "mode",
    side: str = "side",
    baseline: str = "gensim",
    figsize: tuple[float, float] | None = None,
) -> Any:
    """Draw a panel of bars for each value: the median of the rows of a category and side, a dot for each row.

    Parameters
    ----------
    rows : path of a CSV file, or iterable of mappings
        As `compat.bench`, `compat.textbench` and `compat.querybench` write them.
    values : sequence of str
        Columns of numbers, a panel each.
    category, side : str
        Columns whose values are the groups of bars and the bars of a group.
    baseline : str
        The side that the others are compared with: how many times its median each has is written above the bars.
    figsize : (float, float), optional
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
        For `figure.savefig(path)`; a notebook shows it.

    Raises
    ------
    ImportError
        The package matplotlib is missing.
    NothingToPlotError (a ValueError)
        There are no rows.
    SettingError (a ValueError)
        A column is missing, or holds no number.
    OSError
        The file cannot be read.
    """
    table = _table(rows)
    if not table:
        raise NothingToPlotError("there are no benchmark rows; python -m compat.bench --csv rows.csv makes some")
    missing = [name for name in (category, side, *values) if any(name not in row for row in table)]
    if missing or not values:
        raise SettingError(f"no column {missing}; the rows have {sorted(table[0])}")
    categories, sides = (list(dict.fromkeys(str(row[name]) for row in table)) for name in (category, side))
    sides.sort(key=lambda name: name != baseline)
    size = figsize or (max(4.5, 1.2 + 0.55 * len(categories) * len(sides)), 0.5 + 2.6 * len(values))
    figure, axes = pyplot().subplots(len(values), squeeze=False, figsize=size, layout="constrained")
    for axis, value in zip(axes[:, 0], values, strict=True):
        found: dict[tuple[str, str], list[float]] = {(kind, name): [] for kind in categories for name in sides}
        for row in table:
            found[str(row[category]), str(row[side])].append(_number(row, value))
        _panel(axis, found, categories, sides, baseline)
        axis.set_ylabel(NAMES.get(value, value))
    names = [NAMES.get(kind, kind) for kind in categories]
    for axis in axes[:, 0]:
        axis.set_xticks(range(len(categories)), names if axis is axes[-1, 0] else [""] * len(categories))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=len(sides), frameon=False)
    figure.align_ylabels()
    return figure


def _table(rows: Rows) -> list[Mapping[str, Any]]:
    if isinstance(rows, str | os.PathLike):
        with open(rows, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    return list(rows)


def _number(row: Mapping[str, Any], column: str) -> float:
    try:
        return float(row[column])
    except (TypeError, ValueError) as error:
        raise SettingError(f"column {column!r} holds {row[column]!r}, which is no number") from error


def _panel(
    axis: Any, found: Mapping[tuple[str, str], list[float]], categories: list[str], sides: list[str], baseline: str
) -> None:
    """Bars, dots and factors of one value."""
    from matplotlib.ticker import EngFormatter

    width = 0.8 / len(sides)
    largest = max(max(numbers) for numbers in found.values() if numbers)
    colors = dict(zip([name for name in sides if name != baseline], cycle(COLORS), strict=False)) | {baseline: FAINT}
    for number, name in enumerate(sides):
        places = [place + (number - (len(sides) - 1) / 2) * width for place in range(len(categories))]
        shown = [(place, kind) for place, kind in zip(places, categories, strict=True) if found[kind, name]]
        heights = [float(np.median(found[kind, name])) for _, kind in shown]
        axis.bar([place for place, _ in shown], heights, 0.92 * width, color=colors[name], label=name)
        for (place, kind), height in zip(shown, heights, strict=True):
            numbers, others = found[kind, name], found.get((kind, baseline), [])
            axis.plot([place] * len(numbers), numbers, "k.", markersize=3)
            if name != baseline and others and np.median(others):
                factor = f"{height / np.median(others):.2f}\N{MULTIPLICATION SIGN}"
                axis.annotate(
                    factor, (place, max(numbers)), (0, 3), textcoords="offset points", ha="center", fontsize=8
                )
    axis.set_ylim(0, 1.12 * largest)
    if largest >= 1000:
        axis.yaxis.set_major_formatter(EngFormatter(sep=" "))
    axis.tick_params(axis="x", length=0)
    axis.grid(axis="y", alpha=0.3)
    axis.set_axisbelow(True)
    plain(axis)
