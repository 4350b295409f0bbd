"""What was freed back to the system: glibc keeps it for later, which the peak of a long training then has on top."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Return the pages that hold nothing any more. Elsewhere than on glibc the allocator is left to itself."""
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
