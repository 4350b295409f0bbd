"""`most_similar_batch` beside a loop over gensim's `most_similar`, alternating in one process.

    python -m compat.querybench --sizes 1000000x100 --csv rows.csv

Vectors are random, so that any size can be measured; neither side's work depends on their values. Each round times both
sides on the same keys and compares their answers. The memory is the peak of what was resident above what was there
before, in the first call, which computes the norms (Linux). gensim's queries may be fewer, because its time grows with
each; speeds are queries/s. For true peaks run one size a process: freed memory of a size before may be used again.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gensim.models import KeyedVectors

from compat.bench import append_rows, environment
from compat.measure import measured
from torchw2v import most_similar_batch

ATOL = 2e-6  # sums of D products of unit vectors in float32, in another order
TOPN = 10


def random_vectors(rows: int, dim: int, seed: int = 1) -> KeyedVectors:
    """Normally distributed vectors under the keys "w0", "w1", ..., without a second copy."""
    wv = KeyedVectors(dim)
    wv.index_to_key = [f"w{row}" for row in range(rows)]
    wv.key_to_index = {key: row for row, key in enumerate(wv.index_to_key)}
    wv.vectors = np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32)
    return wv


def compare(ours: list[Any], theirs: list[Any]) -> int:
    """Raise unless the scores agree; returns at how many places equal scores stand in another order."""
    swapped = 0
    for mine, gensims in zip(ours, theirs, strict=True):
        scores = [np.array([score for _, score in answers]) for answers in (mine, gensims)]
        if scores[0].shape != scores[1].shape or not np.allclose(*scores, rtol=0, atol=ATOL):
            raise AssertionError(f"answers differ: {mine} and gensim's {gensims}")
        swapped += sum(one[0] != other[0] for one, other in zip(mine, gensims, strict=True))
    return swapped


def one_by_one(wv: KeyedVectors, keys: list[str]) -> list[Any]:
    """What people write today."""
    return [wv.most_similar(key, topn=TOPN) for key in keys]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m compat.querybench", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="70000x100,1000000x100", help="rows x dimensions, comma-separated")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--gensim-queries", type=int, default=100, help="the first so many of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    args = parser.parse_args()
    facts, rows = environment() | {"threads": torch.get_num_threads()}, []
    print(facts)
    print(
        "| vectors | side | queries | queries/s | ratio | CPU s a query | memory of the first call |\n"
        + "|---" * 7
        + "|"
    )
    for size in args.sizes.split(","):
        count, dim = map(int, size.split("x"))
        wv = random_vectors(count, dim)
        keys = [f"w{row}" for row in np.random.default_rng(2).integers(count, size=args.queries)]
        some = keys[: args.gensim_queries]
        first = {}
        for side, call in (("torchw2v", partial(most_similar_batch, wv, keys, TOPN, device=args.device)),
                           ("gensim", partial(one_by_one, wv, some))):  # fmt: skip
            wv.norms = None  # the first call fills them
            first[side] = measured(call)[1]["peak_bytes"]
        for number in range(args.rounds):
            theirs, gensims = measured(partial(one_by_one, wv, some))
            answers, mine = measured(partial(most_similar_batch, wv, keys, TOPN, device=args.device))
            swapped = compare(answers[: len(some)], theirs)
            for side, asked, cost in (("gensim", len(some), gensims), ("torchw2v", len(keys), mine)):
                rows.append({"rows": count, "dim": dim, "side": side, "round": number, "queries": asked, **cost,
                             "queries_per_s": asked / cost["seconds"], "swapped": swapped, "device": args.device,
                             "first_call_peak_bytes": first[side], **facts})  # fmt: skip
        table(rows, count, dim)
    if args.csv:
        append_rows(args.csv, rows)


def table(rows: list[dict[str, Any]], count: int, dim: int) -> None:
    """Print the medians of a size."""
    sides = {
        side: [row for row in rows if (row["rows"], row["dim"], row["side"]) == (count, dim, side)]
        for side in ("gensim", "torchw2v")
    }
    pairs = zip(sides["torchw2v"], sides["gensim"], strict=True)
    ratio = statistics.median(mine["queries_per_s"] / theirs["queries_per_s"] for mine, theirs in pairs)
    for side, runs in sides.items():
        speed = statistics.median(row["queries_per_s"] for row in runs)
        cpu = statistics.median(row["cpu_seconds"] / row["queries"] for row in runs)
        peak = f"{max(row['first_call_peak_bytes'] for row in runs) / 2**20:,.0f} MiB"
        shown = f"{ratio:.1f}" if side == "torchw2v" else ""
        print(
            f"| {count:,} x {dim} | {side} | {runs[0]['queries']:,} | {speed:,.1f} | {shown} | {cpu:.5f} | {peak} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
