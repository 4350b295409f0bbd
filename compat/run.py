"""Run gensim's own tests, unchanged, as installed with it: with its class, and with ours on each of our CPU engines.

    python -m compat.run                                    # all test files that touch Word2Vec, all sides
    python -m compat.run --side numba test_word2vec.py      # one side, one file
    python -m compat.run --side torch test_word2vec.py -- -k locking -x

Needs `pip install torchw2v[test]`; with POT installed, fewer tests are skipped. Expected failures stand in
xfail.yaml with their reasons, and are strict: one that passes, or names no test, is an error. The exit code is 0 only
if no test of ours failed that passes with gensim, and the counts prove who trained: the engine that the side is named
after, and no other. A test that fails with gensim, too (without a network, say) is named.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gensim.test
import yaml

from compat.versions import installed
from compat.witness import SIDES, Counts

ROOT = Path(__file__).parent.parent
TESTS = Path(gensim.test.__file__).parent
# FastText's and Doc2Vec's tests are here because these must go on as before.
TOUCHES = re.compile(r"\bWord2Vec\b|\bword2vec\.|KeyedVectors|FastText|Doc2Vec")
OUTCOMES = ("passed", "xfailed", "failed", "skipped")
XFAIL = Path(__file__).parent / "xfail.yaml"
SIDE, REPORT, EXPECTED = "COMPAT_SIDE", "COMPAT_REPORT", "COMPAT_XFAIL"  # environment variables for gensim_plugin


@dataclass(frozen=True)
class Outcome:
    """What one side's run gave.

    Attributes
    ----------
    tests : dict
        How many passed, xfailed, failed, were skipped.
    failures : list of str
        `test_file.py::Class::test`.
    counts : Counts
        Who trained.
    complete : bool
        pytest came to its end without an error of its own.
    """

    tests: dict[str, int]
    failures: list[str]
    counts: Counts
    complete: bool


def test_files() -> list[Path]:
    """Installed test files of gensim that touch Word2Vec or what is built on it."""
    return sorted(path for path in TESTS.glob("test_*.py") if TOUCHES.search(path.read_text(encoding="utf-8")))


def expected_failures(text: str) -> list[dict[str, str]]:
    """The entries of xfail.yaml: a list of {test, reason}, both required, no test twice.

    Raises
    ------
    ValueError
        An entry is incomplete or double.
    """
    entries: list[dict[str, Any]] = yaml.safe_load(text) or []
    for entry in entries:
        if set(entry) != {"test", "reason"} or not str(entry["reason"]).strip():
            raise ValueError(f"each entry of xfail.yaml needs a test and a reason, got {entry}")
    double = [test for test, times in Counter(entry["test"] for entry in entries).items() if times > 1]
    if double:
        raise ValueError(f"xfail.yaml names {', '.join(double)} twice")
    return entries


def run_side(side: str, files: Sequence[Path], options: Sequence[str] = (), expected: Path = XFAIL) -> Outcome:
    """Run pytest in a process of its own, in an empty folder (gensim's tests write into the current one).

    Parameters
    ----------
    side : str
        "gensim", or the engine of ours that trains.
    files : sequence of Path
    options : sequence of str
        More arguments for pytest.
    expected : Path
        The expected failures of our side.
    """
    with tempfile.TemporaryDirectory(prefix="compat-") as folder:
        report = Path(folder) / "report.json"
        paths = [str(ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(paths), SIDE: side, REPORT: str(report),
            EXPECTED: str(expected),
        }  # fmt: skip
        command = [
            sys.executable, "-m", "pytest", "-p", "compat.gensim_plugin", "-p", "no:cacheprovider", "-c", os.devnull,
            "--rootdir", str(files[0].parent), "-q", "-W", "ignore", "--show-capture=no", "--tb=short", *options,
            *map(str, files),
        ]  # fmt: skip
        done = subprocess.run(command, cwd=folder, env=environment, check=False)
        if not report.exists():
            return Outcome(dict.fromkeys(OUTCOMES, 0), [], Counts(), complete=False)
        record = json.loads(report.read_text())
    tests = {outcome: record["outcomes"].get(outcome, 0) for outcome in OUTCOMES}
    return Outcome(tests, record["failures"], Counts(**record["counts"]), complete=done.returncode in (0, 1))


def verdict(sides: dict[str, Outcome]) -> list[str]:
    """What is wrong, one line each; nothing if the proof holds."""
    wrong = [f"{side}: pytest did not finish" for side, outcome in sides.items() if not outcome.complete]
    theirs = sides.get("gensim")
    also = set(theirs.failures) if theirs is not None else set()
    for engine, ours in ((side, outcome) for side, outcome in sides.items() if side != "gensim"):
        wrong += [f"failed with our class on {engine}: {test}" for test in ours.failures if test not in also]
        if not ours.counts.proves_ours(engine):
            wrong.append(f"no proof that our class trained on {engine}: {ours.counts}")
    if theirs is not None and not theirs.counts.proves_gensim():
        wrong.append(f"the control failed, gensim's training was not seen: {theirs.counts}")
    return wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sides and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m compat.run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="*", help="names of gensim's test files; all that touch Word2Vec by default")
    parser.add_argument("--side", choices=SIDES, action="append", help="this side only; may be repeated")
    argv = list(sys.argv[1:] if argv is None else argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    args, options = parser.parse_args(argv[:cut]), argv[cut + 1 :]
    version = installed().version
    files = [TESTS / name for name in args.files] or test_files()
    if absent := [file.name for file in files if not file.is_file()]:
        parser.error(f"gensim {version} has no test file {', '.join(absent)} in {TESTS}")
    sides = {side: run_side(side, files, options) for side in args.side or SIDES}

    print(f"\ngensim {version}, {len(files)} test files: {' '.join(file.name for file in files)}")
    for side, outcome in sides.items():
        numbers = ", ".join(f"{count} {name}" for name, count in outcome.tests.items())
        print(f"{side:>6}: {numbers}\n        {outcome.counts}")
    if "gensim" in sides and len(sides) > 1:
        for test in sides["gensim"].failures:
            print(f"fails with gensim: {test}")
    wrong = verdict(sides)
    print(*(f"ERROR {line}" for line in wrong), sep="\n", end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
