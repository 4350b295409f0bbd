"""Runs at the start of every Python process below `torchw2v run`, which puts this folder first on PYTHONPATH.

Without it, workers started by multiprocessing's "spawn" (the default on macOS and Windows) and programs started by the
program would train with gensim, silently. torchw2v is imported, and so patches gensim, only where gensim's models are.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parent


class _AfterGensimsModels:
    """A finder that lets gensim.models be imported as ever, and torchw2v right after it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "gensim.models":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_patch(module: ModuleType) -> None:
                execute(module)
                importlib.import_module("torchw2v")

            spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


def _run_the_hidden_sitecustomize() -> None:
    """Run the sitecustomize of this Python, which the one here hides."""
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != FOLDER]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _AfterGensimsModels())
_run_the_hidden_sitecustomize()
