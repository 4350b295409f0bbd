"""What `window=None` costs: baskets of 2 to 5,000 items, side by side with gensim's huge window.

    python -m compat.basketbench --csv rows.csv

A basket of n items has n (n - 1) pairs in skip-gram, and n bags of n - 1 items in CBOW; `sample` is 0. One thread.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import Any

from gensim.models import Word2Vec

from compat.bench import append_rows, environment, timed_train
from torchw2v import TorchWord2Vec

ITEMS = 20_000  # different ones
GENSIMS_WINDOW = {"window": 10_000, "shrink_windows": False}  # a text of gensim's has at most 10,000 items


def baskets(size: int, tokens: int) -> list[list[str]]:
    """Baskets of popular and rare items: `tokens` in all, but one basket at least."""
    draw = random.Random(1)
    return [[f"item{int(ITEMS * draw.random() ** 2)}" for _ in range(size)] for _ in range(max(1, tokens // size))]


def measured(corpus: list[list[str]], side: str, sg: int, engine: str | None) -> dict[str, Any]:
    """Speed of an epoch."""
    settings: dict[str, Any] = {"vector_size": 100, "min_count": 1, "sample": 0, "workers": 1, "sg": sg, "epochs": 1}
    if side == "gensim":
        model: Any = Word2Vec(**settings, **GENSIMS_WINDOW)
    else:
        model = TorchWord2Vec(**settings, window=None, engine=engine)
    model.build_vocab(corpus)
    if side != "gensim":
        model.train(corpus[:1], total_examples=1, epochs=1)  # numba compiles or loads what it has compiled
    return timed_train(model, corpus, total_examples=len(corpus))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m compat.basketbench", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="2,50,1000,5000", help="items in a basket")
    parser.add_argument("--tokens", type=int, default=5000, help="items in all baskets together, at least one basket")
    parser.add_argument("--engine", help="of ours; chosen by itself if not given")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    args = parser.parse_args()
    rows, facts = [], environment()
    for size in map(int, args.sizes.split(",")):
        corpus = baskets(size, args.tokens)
        pairs = len(corpus) * size * (size - 1)
        for mode, sg in (("sg-ns", 1), ("cbow-ns", 0)):
            for side in ("gensim", "torchw2v"):
                row = {"mode": mode, "side": side, "size": size, "baskets": len(corpus), "pairs": pairs}
                row |= measured(corpus, side, sg, args.engine)
                rows.append(row | facts)
                print(
                    f"{mode:8}{side:9} {len(corpus):7,} baskets of {size:5,}: {row['seconds']:8.2f} s "
                    f"({row['cpu_seconds']:.2f} s CPU), {pairs / row['seconds'] / 1e6:.2f} M pairs/s",
                    flush=True,
                )
    if args.csv:
        append_rows(args.csv, rows)


if __name__ == "__main__":
    main()
