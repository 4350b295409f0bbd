"""What was freed goes back to the system."""

import ctypes
import sys

import pytest

from compat.measure import resident
from torchw2v.freed_memory import give_back


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="another allocator than glibc's"
)
def test_freed_memory_is_given_back():
    blocks = [b"x" * 100_000 for _ in range(1_000)]
    last = blocks.pop()  # the allocator's end, which it would give back by itself, is in use
    blocks.clear()
    held = resident("VmRSS")
    give_back()
    assert last
    assert held - resident("VmRSS") > 50_000_000
