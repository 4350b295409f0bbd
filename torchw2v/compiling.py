"""numba, an optional extra: whether it can be used, and how its machine code is kept. It is imported only when used."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any


def numba_missing() -> str | None:
    """Why nothing can be compiled by numba here, or None where it can be."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed (pip install 'torchw2v[numba]')"
    try:
        import numba  # noqa: F401 - it refuses to be imported beside a numpy that is too new for it
    except ImportError as error:
        return f"numba cannot be imported ({error})"
    return None


def kept(**options: Any) -> Callable[[Callable], Any]:
    """numba.njit with the machine code kept on disk, or compiled by each process where no folder can be written."""
    from numba import njit

    def compiled(function: Callable) -> Any:
        try:
            return njit(**options, cache=True)(function)
        except RuntimeError as error:  # numba's "no locator available"
            warnings.warn(f"compiled anew in every process; set NUMBA_CACHE_DIR to keep it: {error}", stacklevel=2)
            return njit(**options)(function)

    return compiled
