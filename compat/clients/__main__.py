"""Run programs from PyPI with the class swapped, nothing else changed.

    python -m compat.clients                              # all of clients.yaml; environments in a temporary folder
    python -m compat.clients --folder ~/envs fastnode2vec node2vec   # keep the environments, and use them again

Each program gets an environment of its own. Its examples (`*_examples.py` beside this file, written from its
documentation) run under pytest with gensim as it is, and with gensim patched as `python -m torchw2v run` does, once on
each CPU engine of ours. A run counts only if our class was constructed and trained by that engine and gensim's training
routines were not called; the run with gensim is the control. Prints the table of docs/parity.md; the exit code is 0
only if every program proved itself.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from compat.witness import ENGINES, SIDES, Counts

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
CONSTRAINTS = HERE.parent / "constraints.txt"
EVERYWHERE = ["torch", "gensim", "numba", "pytest"]  # of the versions in constraints.txt


@dataclass(frozen=True)
class Client:
    """An entry of clients.yaml."""

    name: str
    version: str
    touches: str
    install: list[str]
    override: list[str] = field(default_factory=list)

    @property
    def examples(self) -> Path:
        """The file of its examples."""
        return HERE / f"{self.name}_examples.py"


@dataclass(frozen=True)
class Trial:
    """One side's run of a program's examples."""

    passed: int
    failed: int
    counts: Counts


def clients() -> list[Client]:
    """All entries of clients.yaml."""
    return [Client(**entry) for entry in yaml.safe_load((HERE.parent / "clients.yaml").read_text())]


def python_of(client: Client, folder: Path) -> Path:
    """The interpreter of the program's environment, which is made if it is not there.

    Raises
    ------
    subprocess.CalledProcessError
        pip failed; what was installed until then stays, unmarked, and is completed the next time.
    """
    home = folder / f"{client.name}-{client.version}"
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = home / "ready"
    if ready.exists():
        return python
    print(f"making the environment of {client.name} in {home}", flush=True)
    venv.create(home, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "-q"]
    for arguments in (EVERYWHERE, *(line.split() for line in client.install)):
        subprocess.run([*pip, "-c", str(CONSTRAINTS), *arguments], check=True)
    if client.override:
        subprocess.run([*pip, "--no-deps", *client.override], check=True)
    ready.touch()
    return python


def try_out(client: Client, side: str, python: Path) -> Trial:
    """Run the examples in the program's environment, in an empty folder.

    Parameters
    ----------
    client : Client
    side : str
        "gensim", or the engine of ours that trains.
    python : Path
    """
    with tempfile.TemporaryDirectory(prefix="compat-") as folder:
        report, results = Path(folder) / "report.json", Path(folder) / "results.xml"
        subprocess.run(
            [
                str(python), "-m", "compat.witness", str(report), side, "-m", "pytest", "-q", "-W", "ignore",
                "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(HERE), "--junit-xml", str(results),
                "--tb=short", str(client.examples),
            ],
            cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
        )  # fmt: skip
        if not (report.exists() and results.exists()):
            return Trial(0, 1, Counts())
        suite = ET.parse(results).getroot()[0].attrib
        counts = Counts(**json.loads(report.read_text()))
    failed = int(suite["failures"]) + int(suite["errors"])
    return Trial(int(suite["tests"]) - failed - int(suite["skipped"]), failed, counts)


def wrong(trials: dict[str, Trial]) -> list[str]:
    """Why a program's runs prove nothing, or that ours fails; empty if all is well."""
    found, theirs = [], trials["gensim"]
    if not theirs.counts.proves_gensim():
        found.append(f"the control failed, gensim's training was not seen: {theirs.counts}")
    for engine in ENGINES:
        ours = trials[engine]
        if not ours.counts.proves_ours(engine):
            found.append(f"no proof that our class trained on {engine}: {ours.counts}")
        if ours.failed or ours.passed < theirs.passed or not ours.passed:
            found.append(
                f"{ours.passed} passed and {ours.failed} failed with ours on {engine}, {theirs.passed} with gensim"
            )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the programs and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m compat.clients", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = {client.name: client for client in clients()}
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of {', '.join(known)}; all by default")
    parser.add_argument("--folder", type=Path, help="where the environments are kept; a temporary folder by default")
    args = parser.parse_args(argv)
    if unknown := set(args.names) - set(known):
        parser.error(f"clients.yaml has no {', '.join(sorted(unknown))}; it has {', '.join(known)}")
    rows, errors = [], []
    with tempfile.TemporaryDirectory(prefix="compat-clients-") as temporary:
        folder = args.folder or Path(temporary)
        for client in [known[name] for name in args.names] or known.values():
            python = python_of(client, folder)
            trials = {side: try_out(client, side, python) for side in SIDES}
            errors += [f"{client.name}: {line}" for line in wrong(trials)]
            ours = [trials[engine] for engine in ENGINES]
            numbers = (
                [trial.passed for trial in ours],
                [trial.counts.constructed for trial in ours],
                [trial.counts.epochs for trial in ours],
            )
            cells = [client.name, client.version, client.touches, str(trials["gensim"].passed)]
            cells += [" / ".join(map(str, row)) for row in numbers]
            rows.append(f"| {' | '.join(cells)} |")
    print(f"\nof ours: {' / '.join(ENGINES)}")
    print("\n| program | version | touches | passed with gensim | passed with ours | models of ours | epochs of ours |")
    print("|---|---|---|---|---|---|---|", *rows, sep="\n")
    print(*(f"ERROR {line}" for line in errors), sep="\n", end="\n" if errors else "")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
