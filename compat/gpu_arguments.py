"""The command line of `python -m compat.gpu`: every wish is checked before anything runs."""

from __future__ import annotations

import argparse
import csv
import importlib.util
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import torch
from gensim.test.utils import datapath

from compat.bench import MODES
from compat.report import COLUMNS
from torchw2v.errors import EngineUnavailableError
from torchw2v.ops.select import choose

PARTS = ("tests", "profile", "table", "compare", "ptb", "zipf", "end-to-end", "gensim")
SMOKE = {
    "corpus": Path(datapath("lee_background.cor")), "zipf_words": 200_000, "zipf_vocabulary": 1000, "zipf_dim": 16,
    "dims": [16], "epochs": 2, "runs": 1, "gensim_workers": 2, "device": "cpu", "engine": "torch",
    "compare_engine": "numba" if importlib.util.find_spec("numba") else "torch", "no_tests": True, "budget": 300,
}  # fmt: skip


def count(text: str) -> int:
    """The type of an argument: a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _counts(text: str) -> list[int]:
    return [count(part) for part in text.split(",")]


def names(kind: str, known: Collection[str]) -> Callable[[str], list[str]]:
    """The type of an argument: names with commas between them, each of them known."""

    def read(text: str) -> list[str]:
        given = text.split(",")
        unknown = [name for name in given if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown {kind} {unknown[0]!r}; choose from {', '.join(known)}")
        return given

    return read


def file(text: str) -> Path:
    """The type of an argument: a file that is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"no such file: {text}")
    return path


def _output(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"no such folder: {path.parent}")
    return path


def _rows_file(text: str) -> Path:
    path = _output(text)
    if path.exists():
        with path.open(newline="") as lines:
            if tuple(next(csv.reader(lines), ())) != COLUMNS:
                raise argparse.ArgumentTypeError(f"{text} holds other columns; give a new file")
    return path


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m compat.gpu",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--corpus", type=file, help="text, a sentence a line; may be compressed")
    add("--words", type=count, default=6_000_000, help="first words of it for the table (default 6000000)")
    add("--ptb", type=file, help="a second corpus for the table, read whole: Penn Treebank")
    add("--zipf-words", type=count, default=1_000_000_000, help="tokens of the synthetic corpus (default 10**9)")
    add("--zipf-vocabulary", type=count, default=1_000_000, help="its word types (default 10**6)")
    add("--zipf-dim", type=count, default=128, help="dimensions there (default 128)")
    modes, parts = names("mode", MODES), names("part", PARTS)
    add("--modes", type=modes, default=list(MODES), help=f"comma-separated, of {', '.join(MODES)} (default: all)")
    add("--dims", type=_counts, default=[100, 128, 300], help="comma-separated (default 100,128,300)")
    add("--epochs", type=count, default=5, help="of the text corpora (default 5)")
    add("--runs", type=count, default=3, help="timed runs of ours, where time allows (default 3)")
    add("--gensim-workers", type=count, default=16, help="threads of gensim (default 16)")
    add("--budget", type=count, default=540, help="seconds for everything (default 540)")
    add("--device", default="cuda", help="of ours (default cuda)")
    add("--engine", default="triton", help="of ours (default triton)")
    add("--compare-engine", default="triton-ieee", help="to compare it with (default triton-ieee); the same: none")
    add("--parts", type=parts, default=list(PARTS), help=f"comma-separated, of {', '.join(PARTS)} (default: all)")
    add("--no-tests", action="store_true", help="leave out the part tests, `pytest -m 'gpu and not slow'`")
    add("--sweep", action="store_true", help="try other settings of the kernels, and nothing else")
    add("--commit", help="what the rows name as commit, where the source is no checkout")
    add("--csv", type=_rows_file, help="append the rows to this file")
    add("--plot", type=_output, help="write the roofline picture (PNG) to this file; needs matplotlib")
    add("--smoke", action="store_true", help="tiny sizes on a CPU; sizes given as well still count")
    return parser


def arguments(argv: Sequence[str] | None, description: str = "") -> argparse.Namespace:
    """Parse and check the command line; what is wrong with it is said before anything runs, with exit code 2."""
    parser = _parser(description)
    args = parser.parse_args(argv)
    if args.smoke:
        parser.set_defaults(**SMOKE)
        args = parser.parse_args(argv)
    elif args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.exit(
            2, "python -m compat.gpu: torch sees no CUDA device here; --smoke tries the command itself on a CPU.\n"
        )
    if args.corpus is None:
        parser.error("give --corpus FILE (text, a sentence a line), or --smoke")
    try:
        choice, other = (choose(args.device, engine) for engine in (args.engine, args.compare_engine))
    except EngineUnavailableError as error:
        parser.error(str(error))
    args.parts = ["sweep"] if args.sweep else [part for part in args.parts if part != "tests" or not args.no_tests]
    # What "auto" stands for.
    args.device, args.engine, args.compare_engine = str(choice.device), choice.engine, other.engine
    return args
