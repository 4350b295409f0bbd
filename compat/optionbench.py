r"""What a setting of torchw2v does to quality and speed: each with each seed, one after another, on the same words.

    python -m compat.optionbench --corpus enwiki.txt --words 2000000 --mode cbow-ns --seeds 3 \
        default cbow_gradient=corrected cbow_gradient=corrected,alpha=0.075

A variant is "default", or settings with commas between them. Quality is that of compat.bench.
"""

from __future__ import annotations

import argparse
import ast
import logging
import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gensim.test.utils import datapath

from compat.analogies import analogies
from compat.bench import MODES, QUALITIES, append_rows, environment, read_corpus, similarities, timed_train
from torchw2v import TorchWord2Vec

DEFAULT = "default"


def settings_of(variant: str) -> dict[str, Any]:
    """The constructor's arguments in a variant; numbers and names of Python's are read as such.

    Raises
    ------
    ValueError
        A part has no name and value.
    """
    settings: dict[str, Any] = {}
    for part in [] if variant == DEFAULT else variant.split(","):
        name, equals, value = part.partition("=")
        if not (name.isidentifier() and equals and value):
            raise ValueError(f"{part!r} in the variant {variant!r} is no setting: give name=value, or {DEFAULT!r}")
        try:
            settings[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):  # a name, such as corrected
            settings[name] = value
    return settings


def run_once(sentences: list[list[str]], settings: dict[str, Any]) -> dict[str, Any]:
    """Train one model; speed and quality. A few sentences first, so that what is compiled is compiled by then."""
    TorchWord2Vec(sentences[:100], **{**settings, "epochs": 1, "min_count": 1})
    model = TorchWord2Vec(**settings)
    model.build_vocab(sentences)
    timing = timed_train(model, sentences)
    return {"engine": model.running_on.engine, **timing, **similarities(model.wv), "analogies": analogies(model.wv)}


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Means and standard deviations over the seeds, one line a mode and variant."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["mode"], row["variant"]), []).append(row)
    lines = ["| mode | settings | CPU s | WordSim-353 | SimLex-999 | analogies |", "|---|---|---|---|---|---|"]
    for (mode, variant), runs in groups.items():
        cells = [f"{statistics.median(r['cpu_seconds'] for r in runs):.1f}"]
        for name in QUALITIES:
            values = [r[name] for r in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            cells.append(f"{statistics.mean(values):.3f} ± {spread:.3f}")
        lines.append(f"| {mode} | {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m compat.optionbench", description=__doc__.splitlines()[0])
    parser.add_argument("variants", nargs="+", help=f"{DEFAULT!r}, or name=value,name=value")
    corpus = Path(datapath("lee_background.cor"))
    parser.add_argument("--corpus", type=Path, default=corpus, help="text, a sentence a line")
    parser.add_argument("--words", type=int, help="use only the first so many words")
    parser.add_argument("--mode", default="cbow-ns", choices=MODES)
    parser.add_argument("--seeds", type=int, default=1, help="runs of each variant, with seeds 1..n")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--vector-size", type=int, default=100)
    parser.add_argument("--min-count", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--csv", type=Path, help="append the rows to this file")
    return parser.parse_args()


def main() -> None:
    """Train all variants and print the table."""
    args = arguments()
    variants = {variant: settings_of(variant) for variant in args.variants}
    logging.getLogger("gensim.models.keyedvectors").setLevel(logging.ERROR)
    sentences = read_corpus(args.corpus, args.words)
    total, facts, rows = sum(map(len, sentences)), environment(), []
    print(f"{args.corpus.name}: {total:,} words, {len(sentences):,} sentences; {facts}")
    common = {
        "vector_size": args.vector_size, "epochs": args.epochs, "workers": args.workers, "min_count": args.min_count,
    }  # fmt: skip
    for seed in range(1, args.seeds + 1):
        for variant, settings in variants.items():
            results = run_once(sentences, {"device": "cpu", **MODES[args.mode], **common, "seed": seed, **settings})
            row = {"mode": args.mode, "variant": variant, "seed": seed, "corpus": args.corpus.name, "words": total,
                   **common, **results, **facts}  # fmt: skip
            rows.append(row)
            if args.csv:
                append_rows(args.csv, rows[-1:])
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items() if k not in facts}, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
