"""Processes that tests may kill, and disks that they may fill (POSIX)."""

import multiprocessing
import resource
import signal

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(
    ["torchw2v", "torchw2v.ops.numba_engine", "pytest"]
)  # a process then starts in milliseconds, not in seconds


def start_process(target, *arguments):
    """Run a module-level function in a process of its own that may be killed."""
    process = _PROCESSES.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def fill_disk_at(size):
    """From now on no file of this process may grow beyond `size` bytes: writing fails as on a full disk."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def empty_disk():
    """Files may grow again."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
