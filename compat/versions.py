"""The supported gensim releases, from versions.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gensim
import yaml

FILE = Path(__file__).parent / "versions.yaml"


@dataclass(frozen=True)
class Supported:
    """A gensim release and the snapshot of its signatures."""

    version: str
    signatures: Path


def supported() -> list[Supported]:
    """All supported releases, oldest first."""
    return [
        Supported(str(entry["version"]), FILE.parent / entry["signatures"])
        for entry in yaml.safe_load(FILE.read_text())["gensim"]
    ]


def installed() -> Supported:
    """The entry of the gensim that is installed.

    Raises
    ------
    LookupError
        It is not a supported release.
    """
    for entry in supported():
        if entry.version == gensim.__version__:
            return entry
    names = ", ".join(entry.version for entry in supported())
    raise LookupError(f"gensim {gensim.__version__} is installed, {FILE.name} lists {names}")
