"""Side by side with gensim: speed and quality of the same runs, alternating A B A B.

    python -m compat.bench --corpus corpus.txt --modes sg-ns,cbow-ns,sg-hs,cbow-hs --seeds 3 --csv rows.csv

All sides get the same token lists and the same settings. Speed is raw words/s of `train()` alone (words read, before
subsampling; fastText's, which `--against gensim,fasttext` adds where it is installed, with the counting of words), wall
and CPU seconds; memory is the peak above what the process held before. Quality is Spearman's rho on WordSim-353 and
SimLex-999 and the accuracy on Google's analogies, from the evaluation files that gensim carries. Each side trains a few
sentences before the clock starts, so that what is compiled once a machine is compiled by then.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import logging
import math
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gensim
from gensim.models.word2vec import LineSentence
from gensim.test.utils import datapath

from compat import fasttext_side
from compat.analogies import analogies
from compat.measure import forget_peak, resident
from torchw2v import TorchWord2Vec
from torchw2v.plot import benchmark_bars

MODES = {
    "sg-ns": {"sg": 1, "hs": 0, "negative": 5},
    "cbow-ns": {"sg": 0, "hs": 0, "negative": 5},
    "sg-hs": {"sg": 1, "hs": 1, "negative": 0},
    "cbow-hs": {"sg": 0, "hs": 1, "negative": 0},
}
SIDES = ("gensim", "fasttext", "torchw2v")
QUALITIES = ("wordsim353", "simlex999", "analogies")


def similarities(wv: Any) -> dict[str, float]:
    """Spearman's rho on WordSim-353 and SimLex-999."""
    files = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
    return {name: float(wv.evaluate_word_pairs(datapath(file))[1].statistic) for name, file in files.items()}


def quality(wv: Any) -> dict[str, float]:
    """Spearman's rho (WordSim-353, SimLex-999) and share of analogies solved."""
    return {**similarities(wv), "analogies": analogies(wv)}


def timed_train(
    model: Any, sentences: Any, *, total_examples: int | None = None, settle: Callable[[], None] | None = None
) -> dict[str, float]:
    """Train a model whose vocabulary is built, and report the speed of `train()` alone.

    Parameters
    ----------
    model : gensim.models.Word2Vec
    sentences : iterable
    total_examples : int, optional
        Sentences in it, where they are not those that the vocabulary was built from.
    settle : callable, optional
        Waits until the device is idle; called before the clock is read.
    """
    wait = settle or (lambda: None)
    wait()
    started, cpu = time.perf_counter(), time.process_time()
    effective, raw = model.train(sentences, total_examples=total_examples or model.corpus_count, epochs=model.epochs)
    wait()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "raw_words_per_s": raw / seconds,
        "effective_words_per_s": effective / seconds,
    }


def run_once(side: str, sentences: list[list[str]], settings: dict[str, Any]) -> dict[str, Any]:
    """Train one model and report its speed, memory and quality."""
    if side == "fasttext":
        wv, cost = fasttext_side.run(sentences, settings)
        words = settings["epochs"] * sum(map(len, sentences))
        speed = {"raw_words_per_s": words / cost["seconds"], "effective_words_per_s": math.nan}
        return {"engine": side, "vocab_seconds": 0.0, **cost, **speed, "vocabulary": len(wv), **quality(wv)}
    make = gensim.models.Word2Vec if side == "gensim" else TorchWord2Vec
    make(sentences[:100], **{**settings, "epochs": 1, "min_count": 1})
    before, started = forget_peak(), time.perf_counter()
    model = make(**settings)
    model.build_vocab(sentences)
    vocab_seconds = time.perf_counter() - started
    timing = timed_train(model, sentences)
    return {
        "engine": side if side == "gensim" else model.running_on.engine,
        "vocab_seconds": vocab_seconds, **timing, "peak_bytes": resident("VmHWM") - before,
        "vocabulary": len(model.wv), **quality(model.wv),
    }  # fmt: skip


def commit() -> str:
    """The short name of the checkout's commit; "unknown" outside a checkout."""
    git = shutil.which("git")
    if git is None:
        return "unknown"
    here = str(Path(__file__).parent)
    answer = subprocess.run([git, "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return answer.stdout.strip() or "unknown"


def environment() -> dict[str, str]:
    """Hardware, versions and commit, for every row."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        cpu = f"{len(names)} x {names[0]}" if names else cpu
    return {
        "cpu": cpu,
        "python": platform.python_version(),
        "torch": version("torch"),
        "gensim": version("gensim"),
        "numpy": version("numpy"),
        "commit": commit(),
    }


def read_corpus(path: Path, words: int | None) -> list[list[str]]:
    """Whole sentences of a text file, up to a number of words."""
    sentences, total = [], 0
    for sentence in LineSentence(str(path)):
        sentences.append([sys.intern(word) for word in sentence])
        total += len(sentence)
        if words and total >= words:
            break
    return sentences


def append_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Append rows of the same columns to a CSV file; a new file gets a header."""
    new = not path.exists()
    with path.open("a", newline="") as out:
        writer = csv.DictWriter(out, rows[0].keys(), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerows(rows)


def table(rows: Iterable[dict[str, Any]], modes: list[str]) -> str:
    """The medians and means that people compare, one line for each mode and side; ratios are to gensim."""
    rows = list(rows)
    lines = ["| mode | side | raw words/s | ratio | CPU s | memory | WordSim-353 | SimLex-999 | analogies |",
             "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for mode in modes:
        mine = {s: [r for r in rows if r["mode"] == mode and r["side"] == s] for s in SIDES}
        speed = {s: [r["raw_words_per_s"] for r in rs] for s, rs in mine.items()}
        for side, runs in mine.items():
            if not runs:
                continue
            ratio = ""
            if side != "gensim" and speed["gensim"]:
                pairs = zip(speed[side], speed["gensim"], strict=False)
                ratio = f"{statistics.median(a / b for a, b in pairs):.2f}"
            cells = [f"{statistics.median(r['peak_bytes'] for r in runs) / 1e6:,.0f} MB"]
            for name in QUALITIES:
                values = [r[name] for r in runs]
                spread = statistics.stdev(values) if len(values) > 1 else 0.0
                cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
            cpu = statistics.median(r["cpu_seconds"] for r in runs)
            median = statistics.median(speed[side])
            lines.append(f"| {mode} | {side} | {median:,.0f} | {ratio} | {cpu:.1f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """So many other programs that compute without end, each bound to a core of its own where the system can do that."""
    program = "import os\nif hasattr(os, 'sched_setaffinity'): os.sched_setaffinity(0, {%d})\nwhile True: pass"
    with ExitStack() as stack:
        for core in range(count):
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", program % core]))
            stack.callback(process.kill)
        yield


def sides_of(against: str) -> list[str]:
    """The sides of --against, and ours last; ValueError for a name that is none, or not installed."""
    names = [name for name in against.split(",") if name not in ("", "none")]
    if unknown := set(names) - {"gensim", "fasttext"}:
        raise ValueError(
            f"--against {against}: {', '.join(sorted(unknown))} is unknown; choose gensim, fasttext or none"
        )
    if "fasttext" in names and not fasttext_side.installed():
        raise ValueError("--against fasttext: it is not installed (pip install fasttext-wheel)")
    return [*names, "torchw2v"]


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m compat.bench", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--corpus", type=Path, default=Path(datapath("lee_background.cor")), help="text, a sentence a line"
    )
    parser.add_argument("--words", type=int, help="use only the first so many words")
    parser.add_argument("--modes", default="sg-ns", help=f"comma-separated, of {', '.join(MODES)}")
    parser.add_argument("--against", default="gensim", help="gensim, fasttext, both with a comma, or none")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each side and mode, with seeds 1..n")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--vector-size", type=int, default=100)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--busy", type=int, default=0, help="cores that another program keeps busy meanwhile")
    parser.add_argument("--engine", default="auto", help="torchw2v's engine (numba, torch)")
    parser.add_argument("--deterministic", action="store_true", help="torchw2v with deterministic=True")
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    parser.add_argument("--plot", type=Path, help="draw speed and quality as bars into this PNG file (matplotlib)")
    return parser.parse_args()


def main() -> None:
    """Run the comparison and print the table."""
    args = arguments()
    sides = sides_of(args.against)
    logging.getLogger("gensim.models.keyedvectors").setLevel(logging.ERROR)

    sentences = read_corpus(args.corpus, args.words)
    total = sum(map(len, sentences))
    print(f"{args.corpus.name}: {total:,} words, {len(sentences):,} sentences")
    if total < 1_000_000:
        print("warning: too small a corpus for a verdict on speed or quality; give --corpus FILE")
    modes, rows, facts = args.modes.split(","), [], environment()
    print(facts)
    for mode, seed, side in itertools.product(modes, range(1, args.seeds + 1), sides):
        settings = {
            **MODES[mode], "vector_size": args.vector_size, "epochs": args.epochs, "workers": args.workers,
            "min_count": args.min_count, "seed": seed,
        }  # fmt: skip
        if side == "torchw2v":
            settings |= {"device": "cpu", "engine": args.engine, "deterministic": args.deterministic}
        with busy_cores(args.busy):
            results = run_once(side, sentences, settings)
        row = {"mode": mode, "side": side, "seed": seed, "corpus": args.corpus.name, "words": total,
               "vector_size": args.vector_size, "epochs": args.epochs, "workers": args.workers,
               "min_count": args.min_count, "busy": args.busy,
               "deterministic": args.deterministic and side == "torchw2v", **results, **facts}  # fmt: skip
        rows.append(row)
        if args.csv:  # at once: a run of hours may be stopped
            append_rows(args.csv, [row])
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items() if k not in facts}, flush=True)
    print(table(rows, modes))
    if args.plot:
        benchmark_bars(rows, ("raw_words_per_s", *QUALITIES)).savefig(args.plot, dpi=150)


if __name__ == "__main__":
    main()
