"""What an acceptance run says: the facts of a machine, and the rows as tables, CSV columns and a picture."""

from __future__ import annotations

import importlib.util
import statistics
import subprocess
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from compat.bench import QUALITIES, environment
from compat.roofline import copy_bandwidth, datasheet_bandwidth, draw

OURS = "torchw2v"
COLUMNS = (
    "part", "corpus", "mode", "side", "seed", "engine", "device", "vector_size", "window", "negative", "sample",
    "epochs", "workers", "words", "vocabulary", "seconds", "cpu_seconds", "raw_words_per_s", "effective_words_per_s",
    "loop_raw_words_per_s", "read_seconds", "save_seconds", "wall_seconds", "peak_memory_bytes", "bytes_per_token",
    "bandwidth_bytes_per_s", "roofline_fraction", *QUALITIES, "copy_bytes_per_s", "datasheet_bytes_per_s", "gpu",
    "driver", "cpu", "python", "torch", "triton", "gensim", "numpy", "commit", "date", "note",
)  # fmt: skip


def say(line: str) -> None:
    """Print at once: whoever waits ten minutes wants to see how far it is."""
    print(line, flush=True)


def settler(device: torch.device) -> Callable[[], None]:
    """A function that waits until the device is idle."""
    return partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None


def package(name: str) -> str:
    """The version of an installed package, or "not installed"."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def driver() -> str:
    """The version of NVIDIA's driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0].strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown ({type(error).__name__})"


def facts_of(device: torch.device, commit: str | None = None) -> dict[str, Any]:
    """Hardware, versions, commit and date, for every row.

    Parameters
    ----------
    device : torch.device
    commit : str, optional
        Its name, where the source is no checkout.
    """
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else "none"
    facts: dict[str, Any] = {
        **environment(),
        "triton": package("triton"),
        "gpu": name,
        "driver": driver() if on_gpu else "none",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "copy_bytes_per_s": copy_bandwidth(device, settler(device), megabytes=2048 if on_gpu else 64),
        "datasheet_bytes_per_s": datasheet_bandwidth(name) or "",
    }
    return facts | ({"commit": commit} if commit else {})


def medians(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The runs of each cell and side as one row: medians of what was measured, means of quality."""
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        key = tuple(row[name] for name in ("part", "corpus", "mode", "vector_size", "side", "engine"))
        cells.setdefault(key, []).append(row)

    def middle(runs: list[dict[str, Any]], name: str) -> Any:
        values = [run[name] for run in runs]
        if not all(isinstance(value, int | float) for value in values):
            return values[0]
        return statistics.mean(values) if name in QUALITIES else statistics.median(values)

    return {key: {name: middle(runs, name) for name in COLUMNS} | {"runs": len(runs)} for key, runs in cells.items()}


def speed_table(rows: list[dict[str, Any]]) -> str:
    """The parts "table" and "zipf", a line a cell, gensim's quality in brackets behind ours."""
    cells = medians([row for row in rows if row["part"] not in ("end-to-end", "sweep")])
    head = (
        f"{'corpus':<20} {'mode':<8} {'D':>4} {'engine':<11} {'runs':>4} {'raw words/s':>13} {'in the loop':>13}"
        f" {'effective':>13}"
        f" {'gensim':>12} {'ratio':>6} {'GB/s':>7} {'roof':>6} {'peak MB':>8}"
    ) + "".join(f"  {name + ' (g.)':>16}" for name in QUALITIES)
    lines = [head]
    gensims = [(*key[:4], OURS, "") for key in cells if not any(key[:4] == k[:4] and k[4] == OURS for k in cells)]
    for key in [*(key for key in cells if key[4] == OURS), *gensims]:
        ours, theirs = cells.get(key, {}), cells.get((*key[:4], "gensim", "gensim"), {})
        _, corpus, mode, dim, _, engine = key
        speeds = [side.get("raw_words_per_s") for side in (ours, theirs)]
        ratio = f"{speeds[0] / speeds[1]:.2f}" if speeds[0] and speeds[1] else ""
        quality = "".join(
            f"  {number(ours.get(name), '.3f'):>8} ({number(theirs.get(name), '.3f'):>5})" for name in QUALITIES
        )
        lines.append(
            f"{corpus:<20} {mode:<8} {dim:>4} {engine:<11} {ours.get('runs', 0):>4} {number(speeds[0], ',.0f'):>13}"
            f" {number(ours.get('loop_raw_words_per_s'), ',.0f'):>13}"
            f" {number(ours.get('effective_words_per_s'), ',.0f'):>13} {number(speeds[1], ',.0f'):>12} {ratio:>6}"
            f" {number(ours.get('bandwidth_bytes_per_s'), ',.1f', 1e9):>7}"
            f" {number(ours.get('roofline_fraction'), '.2%'):>6}"
            f" {number(ours.get('peak_memory_bytes'), ',.0f', 1e6):>8}{quality}"
        )
    return "\n".join(line.rstrip() for line in lines)


def number(value: Any, form: str, unit: float = 1.0) -> str:
    """A measured value in print, "-" for none."""
    return format(value / unit, form) if isinstance(value, int | float) else "-"


def end_to_end_table(rows: list[dict[str, Any]]) -> str:
    """From text file to vectors, in seconds."""
    lines = [f"{'from text to vectors':<28} {'words':>12} {'read':>8} {'train':>8} {'save':>8} {'all':>8}"]
    for row in rows:
        if row["part"] == "end-to-end":
            names = ("read_seconds", "seconds", "save_seconds", "wall_seconds")
            times = " ".join(f"{row[name]:>8.2f}" for name in names)
            lines.append(f"{row['corpus'] + ' ' + row['side']:<28} {row['words']:>12,} {times}")
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]], title: str, path: Path) -> str:
    """Write the roofline picture. Returns why there is none, "" if there is one."""
    if importlib.util.find_spec("matplotlib") is None:
        return "no picture, because matplotlib is not installed"
    cells = medians([row for row in rows if row["bytes_per_token"] and row["part"] != "sweep"]).values()
    if not cells:
        return "no picture, because nothing was measured"
    points = [{**cell, "label": f"{cell['corpus']} {cell['mode']} {cell['engine']}"} for cell in cells]
    draw(points, rows[0]["copy_bytes_per_s"], title, path)
    return ""
