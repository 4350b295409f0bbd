"""What several test files need."""

import threading

import pytest

from torchw2v.compiling import numba_missing

needs_numba = pytest.mark.skipif(numba_missing() is not None, reason="numba is not installed")
# The two ways from text to ids, as values of "compiled".
ROADS = [pytest.param(False, id="numpy"), pytest.param(True, id="compiled", marks=needs_numba)]

PATIENCE = 20  # seconds after which a call counts as hung


def in_time(call):
    """Call in a thread, so that a call which never returns fails the test instead of stopping all tests."""
    outcome = []

    def run():
        try:
            outcome.append((call(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert outcome, f"no answer after {PATIENCE} s"
    result, error = outcome[0]
    if error is not None:
        raise error
    return result
