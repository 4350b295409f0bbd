"""Prefetching passes on items, errors and ends, and leaves no thread behind."""

import threading
import time

import pytest

from torchw2v.trainer import prefetched


def prefetch_threads():
    return [t for t in threading.enumerate() if t.name == "torchw2v-prefetch"]


def test_prefetched_gives_the_same_items_in_order():
    assert list(prefetched(iter(range(100)), depth=3)) == list(range(100))
    assert prefetch_threads() == []


def test_prefetched_works_ahead_but_no_further_than_its_depth():
    taken = []
    source = (taken.append(n) or n for n in range(100))
    items = prefetched(source, depth=3)
    assert next(items) == 0
    time.sleep(0.3)
    assert 3 <= len(taken) <= 6
    items.close()
    assert prefetch_threads() == []


def test_prefetched_raises_the_sources_error_in_its_place():
    def source():
        yield 1
        raise LookupError("lost page")

    items = prefetched(source(), depth=5)
    assert next(items) == 1
    with pytest.raises(LookupError, match="lost page"):
        next(items)
    assert prefetch_threads() == []
