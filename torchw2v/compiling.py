"""numba: whether it can be used here, and how its machine code is kept. It is imported only when used."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import inspect
import logging
import time
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

logger = logging.getLogger(__name__)


# Options of functions that only compiled code calls. numba would also make an entry from Python and one from C for
# each, and look for array expressions in them: a third of the time that compiling takes.
INNER: dict[str, Any] = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True, "no_rewrites": True}


def numba_missing() -> str | None:
    """Why nothing can be compiled by numba here, or None where it can be."""
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed (pip install numba)"
    try:
        import numba  # noqa: F401 - it refuses to be imported beside a numpy that is too new for it
    except ImportError as error:
        return f"numba cannot be imported ({error})"
    return None


def kept(**options: Any) -> Callable[[Callable], Any]:
    """numba.njit with the machine code kept on disk, or compiled by each process where no folder can be written."""
    from numba import njit

    _say_when_compiling()

    def compiled(function: Callable) -> Any:
        try:
            return njit(**options, cache=True)(function)
        except RuntimeError as error:  # numba's "no locator available"
            warnings.warn(f"compiled anew in every process; set NUMBA_CACHE_DIR to keep it: {error}", stacklevel=2)
            return njit(**options)(function)

    return compiled


def code_of(*modules: ModuleType) -> int:
    """A number that changes with the source of modules.

    numba keeps machine code until the file of the function that was compiled changes; what it calls from other files
    could change unseen. So an entry is a closure of this number, which numba keeps its code under.
    """
    sources = b"".join(inspect.getsource(module).encode() for module in modules)
    return int.from_bytes(hashlib.sha256(sources).digest()[:7], "big")


@functools.cache
def _say_when_compiling() -> None:
    """Log what numba compiles of ours: it takes some ten seconds, in which nothing else can be seen to happen."""
    from numba.core import event

    class Announcement(event.Listener):
        """What is compiled on the way, for the code that calls it, is not announced again."""

        def __init__(self) -> None:
            self.under_way: list[tuple[Any, float]] = []

        def on_start(self, event: event.Event) -> None:
            function = event.data["dispatcher"].py_func
            ours = function.__module__.partition(".")[0] == __name__.partition(".")[0]
            if ours and not self.under_way:
                logger.info(
                    "compiling %s.%s: the first use of such settings on this machine",
                    function.__module__, function.__name__,
                )  # fmt: skip
            if ours or self.under_way:
                self.under_way.append((event.data["dispatcher"], time.monotonic()))

        def on_end(self, event: event.Event) -> None:
            if self.under_way and self.under_way[-1][0] is event.data["dispatcher"]:
                _, start = self.under_way.pop()
                if not self.under_way:
                    logger.info("compiled in %.1f s", time.monotonic() - start)

    event.register("numba:compile", Announcement())
