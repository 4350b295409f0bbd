"""What a call costs: wall seconds, CPU seconds of all threads, and memory at its peak."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchw2v.freed_memory import give_back

_RESET = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


def resident(field: str) -> int:
    """A field of this process's memory in bytes: "VmRSS" now, "VmHWM" at its peak; 0 where there is no /proc."""
    lines = _STATUS.read_text().splitlines() if _STATUS.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


def forget_peak() -> int:
    """Let the peak begin from here; returns what is resident now, in bytes.

    Linux only: getrusage's figure cannot be set back, and begins with that of the parent process. What was freed before
    is given back first, or what comes next would seem to need no memory.
    """
    gc.collect()
    give_back()
    if _RESET.exists():
        _RESET.write_text("5")
    return resident("VmRSS")


def measured(call: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What a call returns, and its "seconds", "cpu_seconds" and "peak_bytes" above what was resident before."""
    before, started, cpu = forget_peak(), time.perf_counter(), time.process_time()
    result = call()
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    return result, {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_bytes": resident("VmHWM") - before}
