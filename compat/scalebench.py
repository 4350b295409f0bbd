"""What a word costs as corpora grow: `python -m compat.scalebench --sizes 1e6,1e7,1e8,3e8 --csv rows.csv`.

Synthetic Zipf corpora, each in a process of its own; the vocabulary grows with the square root of their length (Heaps'
law). One epoch on token ids, so that only training is timed; memory is the peak of the epoch above what was held before
(ids and matrices), the state of the machine's caches is whatever the size makes of it.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

from compat.bench import MODES, append_rows, environment
from compat.ids import IdSentences, IdWord2Vec
from compat.measure import measured
from compat.zipf import prefix, zipf_corpus

TYPES_PER_ROOT = 20  # V = 20 sqrt(words): 20,000 at a million words, 346,410 at 300 million
WARM_WORDS = 20_000


def measure(words: int, mode: str, vector_size: int, workers: int) -> dict[str, Any]:
    """Train one epoch on a corpus of so many words; to be called once in a fresh process."""
    vocabulary = round(TYPES_PER_ROOT * math.sqrt(words))
    corpus, counts = zipf_corpus(words, vocabulary)
    model = IdWord2Vec(
        **MODES[mode], vector_size=vector_size, workers=workers, epochs=1, min_count=1, seed=1, device="cpu"
    )
    names = {str(rank): count for rank, count in enumerate(counts.tolist())}
    sentences = IdSentences.of(corpus)
    model.build_vocab_from_freq(names, corpus_count=len(sentences))
    warm = IdSentences.of(prefix(corpus, WARM_WORDS))
    model.train(warm, total_examples=len(warm), epochs=1)
    (_, raw), cost = measured(lambda: model.train(sentences, total_examples=len(sentences), epochs=1))
    assert raw == words
    return {
        "words": words, "vocabulary": vocabulary, "mode": mode, "vector_size": vector_size, "workers": workers,
        "engine": model.running_on.engine, **cost, "raw_words_per_s": words / cost["seconds"],
        "cpu_ns_per_word": 1e9 * cost["cpu_seconds"] / words,
    }  # fmt: skip


def main() -> None:
    """Measure each size in turn and print a line for it."""
    parser = argparse.ArgumentParser(prog="python -m compat.scalebench", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1e6,1e7,1e8,3e8", help="words, comma-separated")
    parser.add_argument("--mode", default="sg-ns", choices=MODES)
    parser.add_argument("--vector-size", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)  # the process that main() starts for a size
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measure(args.measure, args.mode, args.vector_size, args.workers)))
        return
    rows, facts = [], environment()
    print("| words | vocabulary | raw words/s | CPU ns a word | bytes a word |\n|---|---|---|---|---|")
    for size in args.sizes.split(","):
        command = [sys.executable, "-m", "compat.scalebench", "--measure", str(round(float(size)))]
        command += ["--mode", args.mode, "--vector-size", str(args.vector_size), "--workers", str(args.workers)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append({**row, **facts})
        print(
            f"| {row['words']:,} | {row['vocabulary']:,} | {row['raw_words_per_s']:,.0f} | "
            f"{row['cpu_ns_per_word']:,.0f} | {row['peak_bytes'] / row['words']:.2f} |",
            flush=True,
        )
    if args.csv:
        append_rows(args.csv, rows)


if __name__ == "__main__":
    main()
