"""Signatures of gensim's Word2Vec, and whether ours go on where they end.

python -m compat.signatures --write     # snapshot of the installed gensim, after a look at what changed
python -m compat.signatures             # compare; exit code 1 and a list where something differs
"""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from typing import Any

from gensim.models.word2vec import Word2Vec

from compat.versions import installed
from torchw2v import TorchWord2Vec


def signatures(kind: type) -> dict[str, str]:
    """Each method's signature as text, private ones too: they are the seams that TorchWord2Vec is sewn to."""
    functions = {name: getattr(kind, name) for name in dir(kind) if name == "__init__" or not name.startswith("__")}
    return {name: str(inspect.signature(f)) for name, f in sorted(functions.items()) if inspect.isroutine(f)}


def differences(snapshot: dict[str, str], now: dict[str, str]) -> list[str]:
    """What changed between a snapshot and an installed gensim, one line each."""
    return [
        f"{name}: {snapshot.get(name, 'absent')} in the snapshot, {now.get(name, 'absent')} installed"
        for name in sorted(snapshot.keys() | now.keys())
        if snapshot.get(name) != now.get(name)
    ]


def misfits() -> list[str]:
    """Methods of ours that a call written for gensim's would not fit, one line each.

    Ours must begin with gensim's parameters, of the same names, kinds and defaults; what follows must be keyword-only
    and optional.
    """
    found = []
    for name in signatures(Word2Vec):
        theirs = list(inspect.signature(getattr(Word2Vec, name)).parameters.values())
        ours = list(inspect.signature(getattr(TorchWord2Vec, name)).parameters.values())
        if not _fits(theirs, ours):
            found.append(f"{name}: gensim's {_text(theirs)}, ours {_text(ours)}")
    return found


def _fits(theirs: list[inspect.Parameter], ours: list[inspect.Parameter]) -> bool:
    bare = [_bare(parameter) for parameter in ours]
    wanted = [_bare(parameter) for parameter in theirs]
    more = [parameter for parameter in ours if _bare(parameter) not in wanted]
    optional = all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in more)
    return optional and [parameter for parameter in bare if parameter in wanted] == wanted


def _bare(parameter: inspect.Parameter) -> tuple[str, Any, Any]:
    return parameter.name, parameter.kind, parameter.default  # without annotation, which gensim has none of


def _text(parameters: list[inspect.Parameter]) -> str:
    return "(" + ", ".join(str(parameter) for parameter in parameters) + ")"


def main() -> int:
    """Compare with the snapshot, or write it."""
    parser = argparse.ArgumentParser(prog="python -m compat.signatures", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the snapshot of the installed gensim")
    args = parser.parse_args()
    entry = installed()
    now = signatures(Word2Vec)
    if args.write:
        entry.signatures.parent.mkdir(exist_ok=True)
        entry.signatures.write_text(json.dumps(now, indent=1) + "\n")
    found = differences(json.loads(entry.signatures.read_text()), now) + misfits()
    print(f"gensim {entry.version}: {len(now)} methods, {len(found)} differences", *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
