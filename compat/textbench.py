"""From text to ids, side by side with gensim: `python -m compat.textbench --corpus FILE`.

Parts, each run in turns (gensim, torchw2v, gensim, ...):

* file: `build_vocab(corpus_file=...)`; ours ends with the encoded corpus, in the vocabulary's indices.
* scan: the pass over the file alone (`scan_vocab`), without what both do with the counts afterwards.
* lists: `build_vocab(sentences)` of a list of token lists, ours again with the encoded corpus.
* memory: the peak of a fresh process that builds the vocabulary and trains an epoch, above what it held before and the
  two matrices; from text, from the list, and from an encoded corpus (bounded: its parts are mapped one by one).

The raw words of the corpus are the unit; gensim's vocabulary and ours are compared before anything is reported.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import gensim
from gensim.models.word2vec import LineSentence

from compat.bench import append_rows, environment
from compat.measure import forget_peak, measured, resident
from torchw2v import TorchWord2Vec
from torchw2v.encoding import encode_file

SETTINGS = {"min_count": 5, "vector_size": 100}
MEMORY_KINDS = ("file", "lists", "tok")


def build(side: str, part: str, corpus: Any, workers: int) -> Any:
    """One run: a model with its vocabulary, and on our side its encoded corpus."""
    make = gensim.models.Word2Vec if side == "gensim" else TorchWord2Vec
    model = make(**SETTINGS, workers=workers)
    given = {"corpus_iterable": corpus} if part == "lists" else {"corpus_file": corpus}
    if part == "scan":
        model.scan_vocab(**given)
        return model
    model._scope = object()  # as in the constructor: what is counted is also trained on
    model.build_vocab(**given)
    if side != "gensim":
        encoded = model._corpus(corpus if part == "lists" else model._cache_of_corpora().lines(corpus))
        assert encoded.raw_words == model.corpus_total_words
    return model


def speed_rows(part: str, corpus: Any, words: int, runs: int, workers: list[int]) -> list[dict[str, Any]]:
    """The sides in turns: gensim, ours with each number of threads, gensim, ..."""
    rows, turns = [], [("gensim", 1), *(("torchw2v", count) for count in workers)]
    for run in range(runs):
        words_of_gensim: list[str] = []
        for side, threads in turns:
            model, cost = measured(lambda: build(side, part, corpus, threads))  # noqa: B023 - called at once
            if part != "scan" and side == "gensim":
                words_of_gensim = model.wv.index_to_key
            elif part != "scan":
                assert model.wv.index_to_key == words_of_gensim
            rows.append(
                {"part": part, "side": side, "workers": threads, "run": run, "words": words,
                 "seconds": cost["seconds"], "cpu_seconds": cost["cpu_seconds"],
                 "words_per_s": words / cost["seconds"]}
            )  # fmt: skip
            speed, cpu = words / cost["seconds"], cost["cpu_seconds"]
            print(f"{part:6} {side:9} {threads} threads: {speed:>12,.0f} words/s, {cpu:6.2f} CPU s", flush=True)
    return rows


def measure_memory(kind: str, corpus: str, workers: int) -> dict[str, Any]:
    """Build the vocabulary and train an epoch; to be called once in a fresh process."""
    TorchWord2Vec([["a", "b"] * 500], min_count=1, vector_size=SETTINGS["vector_size"], device="cpu", workers=workers)
    sentences = list(LineSentence(corpus)) if kind == "lists" else None
    before = forget_peak()
    given = {"sentences": sentences} if kind == "lists" else {"corpus_file": corpus}
    model = TorchWord2Vec(**given, **SETTINGS, workers=workers, epochs=1, sg=0, device="cpu")
    matrices = model.wv.vectors.nbytes + model.syn1neg.nbytes
    return {
        "words": model.corpus_total_words,
        "vocabulary": len(model.wv),
        "peak_bytes": resident("VmHWM") - before - matrices,
    }


def memory_row(kind: str, corpus: Path, workers: int) -> dict[str, Any]:
    """`measure_memory` in a process of its own."""
    command = [sys.executable, "-m", "compat.textbench", "--measure", kind, "--corpus", str(corpus)]
    command += ["--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    row["bytes_per_word"] = row["peak_bytes"] / row["words"]
    print(
        f"memory {kind:6} {row['words']:>12,} words: {row['peak_bytes'] / 1e6:,.0f} MB above the matrices, "
        f"{row['bytes_per_word']:.2f} bytes a word",
        flush=True,
    )
    return {"part": "memory", "side": f"torchw2v-{kind}", "workers": workers, "run": 0, **row}


def table(rows: list[dict[str, Any]]) -> str:
    """Medians, and the medians of the ratios of neighboring runs."""
    lines = ["| part | side | threads | words/s | ratio | CPU s | CPU ratio |", "|---|---|---|---|---|---|---|"]
    for part, side, threads in dict.fromkeys((r["part"], r["side"], r["workers"]) for r in rows):
        mine = [r for r in rows if (r["part"], r["side"], r["workers"]) == (part, side, threads)]
        theirs = [r for r in rows if r["part"] == part and r["side"] == "gensim"]
        ratios = [
            statistics.median(g[name] / m[name] for g, m in zip(theirs, mine, strict=True))
            for name in ("seconds", "cpu_seconds")
        ]
        speed, cpu = (statistics.median(r[name] for r in mine) for name in ("words_per_s", "cpu_seconds"))
        cells = ["", ""] if side == "gensim" else [f"{ratio:.2f}" for ratio in ratios]
        lines.append(f"| {part} | {side} | {threads} | {speed:,.0f} | {cells[0]} | {cpu:.2f} | {cells[1]} |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m compat.textbench", description=__doc__.splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help="text, a sentence a line")
    parser.add_argument("--parts", default="file,scan,lists,memory", help="comma-separated")
    parser.add_argument("--runs", type=int, default=5, help="runs of each side")
    parser.add_argument("--workers", default="1,2", help="comma-separated numbers of threads on our side")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    parser.add_argument("--measure", choices=MEMORY_KINDS, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Run the comparison and print the table."""
    args = arguments()
    workers = [int(count) for count in args.workers.split(",")]
    if args.measure:
        print(json.dumps(measure_memory(args.measure, str(args.corpus), workers[0])))
        return
    parts, facts = args.parts.split(","), environment()
    print(facts)
    sentences = list(LineSentence(str(args.corpus))) if "lists" in parts else []
    words = sum(map(len, sentences)) if sentences else sum(map(len, LineSentence(str(args.corpus))))
    speeds = []
    for part in ("file", "scan", "lists"):
        if part in parts:
            corpus = sentences if part == "lists" else str(args.corpus)
            speeds += speed_rows(part, corpus, words, args.runs, workers)
    memory = []
    if "memory" in parts:
        with tempfile.TemporaryDirectory() as folder:
            tokens = Path(folder) / "corpus.tok"
            encode_file(str(args.corpus), tokens, workers=max(workers))
            memory = [memory_row(k, tokens if k == "tok" else args.corpus, max(workers)) for k in MEMORY_KINDS]
    if speeds:
        print(table(speeds))
    if args.csv:
        columns = list(dict.fromkeys(name for row in (*speeds, *memory) for name in row))
        append_rows(
            args.csv, [{name: row.get(name, "") for name in columns} | {"corpus": args.corpus.name} | facts
                       for row in (*speeds, *memory)],
        )  # fmt: skip


if __name__ == "__main__":
    main()
