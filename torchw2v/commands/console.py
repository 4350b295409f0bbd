"""What a command says: results to standard output, everything else to standard error. The only place that prints."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable


def say(text: str) -> None:
    """Write a result, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Write a message."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def complain(text: str) -> None:
    """Write an error."""
    tell(f"torchw2v: {text}")


def require_file(path: str | None) -> None:
    """Refuse a path that is no file; None and remote paths pass.

    Raises
    ------
    OSError
        Also for pipes: every file is read more than once.
    """
    if path is None or "://" in path or os.path.isfile(path):
        return
    if os.path.isdir(path) or not os.path.exists(path):
        code = errno.EISDIR if os.path.isdir(path) else errno.ENOENT
        raise OSError(code, os.strerror(code), path)
    raise OSError(errno.ESPIPE, "not a regular file, which can be read more than once; save it to one first", path)


def require_writable(path: str | None) -> None:
    """Refuse a destination before the work that it is for; None and remote paths pass.

    Raises
    ------
    OSError
        A folder, a file in a folder that does not exist, or one that may not be written.
    """
    if path is None or "://" in path:
        return
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        code = errno.EISDIR
    elif not os.path.isdir(folder):
        code = errno.ENOENT
    elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
        code = errno.EACCES
    else:
        return
    raise OSError(code, os.strerror(code), path)


def whole(least: int) -> Callable[[str], int]:
    """A type of argument: a whole number not below `least`."""

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is too small; give {least} or more")
        return value

    return number


def decimal(least: float, *, above: bool = False) -> Callable[[str], float]:
    """A type of argument: a number not below `least`, or above it."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        if not (value > least if above else value >= least) or value == float("inf"):
            raise argparse.ArgumentTypeError(
                f"{value} is out of range; give {'more than' if above else 'at least'} {least}"
            )
        return value

    return number
