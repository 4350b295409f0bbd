"""What memory bandwidth allows, and how near to it training comes."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from torchw2v.ops.contract import Objective, Plan, Tables

FLOAT_BYTES = 4
# HBM bandwidth in bytes/s, from NVIDIA's data sheets. The first pattern that matches counts.
DATASHEET = {r"\bH200\b": 4.8e12, r"\bH100 PCIe\b": 2.0e12, r"\bH100\b": 3.35e12, r"\bA100\b": 2.0e12}
_COPIES = 20


def datasheet_bandwidth(name: str) -> float | None:
    """Bytes/s that the data sheet promises for a device of this name; None for a name that is not in the table."""
    return next((rate for pattern, rate in DATASHEET.items() if re.search(pattern, name)), None)


def copy_bandwidth(device: torch.device, settle: Callable[[], None], megabytes: int) -> float:
    """Bytes/s of a large copy on the device, read and written bytes both counted: the median of 20 copies.

    Parameters
    ----------
    device : torch.device
    settle : callable
        Waits until the device is idle.
    megabytes : int
        Size of the copied buffer; must be many times the cache.
    """
    source = torch.rand(megabytes * 2**20 // FLOAT_BYTES, device=device)  # random: zeros may copy faster
    target = torch.empty_like(source)
    seconds = []
    for _ in range(_COPIES + 1):
        settle()
        started = time.perf_counter()
        target.copy_(source)
        settle()
        seconds.append(time.perf_counter() - started)
    return 2 * source.numel() * FLOAT_BYTES / statistics.median(seconds[1:])  # the first one warms up


def path_nodes(tables: Tables, counts: np.ndarray) -> float:
    """Mean length of the Huffman path of an effective token; 0 without hierarchical softmax."""
    if tables.paths is None:
        return 0.0
    kept = counts * tables.keep_thresholds.astype(np.float64)
    return float((kept * np.diff(tables.paths.offsets)).sum() / kept.sum())


def rows_per_token(objective: Objective, plan: Plan, nodes: float = 0.0) -> float:
    """Rows of the weights that an effective token touches, each row of a tile or group taken once.

    With T = plan.tile, W = objective.window, G = plan.group, N = plan.shared_negatives:

    * inputs: a tile of T tokens touches T + 2 W rows, all modes;
    * centers, negative sampling: T rows a tile, that is 1 a token;
    * negatives: a group of G hidden rows, one a token, shares N rows. In skip-gram the hidden rows are rows of the
      weights too, read apart from their tiles: G + N rows a group. In CBOW they are sums that need not go through
      memory: N rows a group;
    * hierarchical softmax: every node on the token's path.

    Skip-gram with negative sampling: (T + 2 W + T) / T + (G + N) / G.

    Parameters
    ----------
    objective : Objective
    plan : Plan
    nodes : float
        Mean path length of an effective token.
    """
    rows = (plan.tile + 2 * objective.window) / plan.tile
    if objective.negative:
        hidden = plan.group if objective.skip_gram else 0
        rows += 1 + (hidden + plan.shared_negatives) / plan.group
    return rows + (nodes if objective.hierarchical else 0.0)


def bytes_per_token(rows: float, vector_size: int) -> float:
    """Bytes between memory and the processors for an effective token: rows * D * 4 * 2.

    Each row is D floats of 4 bytes, read once and added to once. Rows that stay in a cache cost less, so a small
    vocabulary may beat this bound; token ids and draws cost a few bytes a token and are left out.
    """
    return rows * vector_size * FLOAT_BYTES * 2


def draw(points: list[dict[str, Any]], bandwidth: float, title: str, path: Path) -> None:
    """Write the picture: effective tokens/s over bytes per token, below the line that the bandwidth draws.

    Memory is the only roof drawn. Skip-gram with negative sampling does 6 D (T + 2 W + N) operations a token, about 9 a
    byte at T = 16, W = 5, N = 32, where an H100 starts to be bound by float32 arithmetic at about 20.

    Parameters
    ----------
    points : list of dict
        label, bytes_per_token, effective_words_per_s.
    bandwidth : float
        Bytes/s.
    title : str
    path : Path

    Raises
    ------
    ModuleNotFoundError
        matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # here, because only the picture needs it

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    sizes = [point["bytes_per_token"] for point in points]
    ends = np.array([min(sizes) / 2, max(sizes) * 2])
    axes.loglog(ends, bandwidth / ends, color="black", label=f"memory: {bandwidth / 1e12:.2f} TB/s, measured copy")
    for label in sorted({point["label"] for point in points}):
        mine = [point for point in points if point["label"] == label]
        speeds = [point["effective_words_per_s"] for point in mine]
        axes.plot([point["bytes_per_token"] for point in mine], speeds, "o", label=label)
    axes.set_xlabel("bytes per effective token")
    axes.set_ylabel("effective tokens/s")
    axes.set_title(title)
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
