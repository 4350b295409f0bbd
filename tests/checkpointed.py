"""Runs that are kept on disk, and how they are interrupted and compared."""

import functools
import queue
import random
import threading

import numpy as np
import pytest

from torchw2v import TorchWord2Vec


def corpus(sentences=480, seed=7):
    """Sentences of uneven length, Zipf-like, with words that min_count drops."""
    draw = random.Random(seed)
    return [
        [f"{topic}{min(draw.randrange(90), draw.randrange(90))}" for _ in range(draw.randrange(0, 30))]
        for topic in "wxyz"
        for _ in range(sentences // 4)
    ]


CORPUS = corpus()
WORDS = sum(map(len, CORPUS))
SETTINGS = {
    "vector_size": 16, "min_count": 2, "sample": 1e-3, "window": 3, "epochs": 3, "seed": 5, "device": "cpu",
    "compute_loss": True,
}  # fmt: skip
LOCKSTEP = {"deterministic": True, "workers": 2, "engine": "torch"}  # checkpoints lie inside chunks, too
# The settings that promise bit-equality, over all four modes.
EXACT = {
    "lockstep-sg-ns": {**LOCKSTEP, "sg": 1},
    "lockstep-cbow-hs": {**LOCKSTEP, "workers": 3, "hs": 1, "negative": 0},
    "one-thread-sg-both": {"deterministic": True, "workers": 3, "sg": 1, "hs": 1},
    "one-worker-sg-hs": {"workers": 1, "sg": 1, "hs": 1, "negative": 0},
    "one-worker-cbow-ns": {"workers": 1},
    "softmax-sg": {"objective": "softmax", "negative": 0, "workers": 2, "sg": 1},
    "softmax-cbow": {"objective": "softmax", "workers": 3},
    "reference": {"engine": "reference", "sg": 1},
    "lockstep-adagrad-sg": {**LOCKSTEP, "sg": 1, "optimizer": "adagrad"},
    "one-worker-adagrad-both": {"workers": 1, "hs": 1, "optimizer": "adagrad", "cbow_gradient": "corrected"},
}
each_exact = pytest.mark.parametrize("exact", EXACT.values(), ids=EXACT)
TIMES = ("seconds", "words_per_second")


def run(sentences=CORPUS, **settings):
    return TorchWord2Vec(sentences, **{**SETTINGS, **settings})


def assert_same_run(one, other):
    """Weights, progress, loss, history and random state; not times."""
    assert one.wv.index_to_key == other.wv.index_to_key
    for name in ("syn1neg", "syn1", "vectors_squares", "syn1neg_squares", "syn1_squares"):
        assert hasattr(one, name) == hasattr(other, name)
        if hasattr(one, name):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.array_equal(one.wv.vectors, other.wv.vectors)
    for name in ("train_count", "min_alpha_yet_reached", "running_training_loss", "alpha", "min_alpha", "epochs"):
        assert getattr(one, name) == getattr(other, name), name
    histories = [[{k: v for k, v in e.items() if k not in TIMES} for e in m.training_history] for m in (one, other)]
    assert histories[0] == histories[1]


class Attended(queue.Queue):
    """A queue whose writers go on when its reader has looked at what they wrote and asks for more.

    A free thread may else have trained a whole small epoch before its caller sees the first chunk and wants a
    checkpoint: how many there are would depend on the machine. Writers wait a second at most: a reader that has met an
    error does not come back.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._asking, self._written, self._asked = threading.Condition(), 0, 0

    def put(self, item, *arguments, **settings):
        with self._asking:
            self._written += 1
            mine = self._written
            super().put(item, *arguments, **settings)
            if isinstance(item, tuple):  # a trained chunk; None and an error are a thread's last word
                self._asking.wait_for(lambda: self._asked > mine, timeout=1)

    def get(self, *arguments, **settings):
        with self._asking:
            self._asked += 1
            self._asking.notify_all()
        try:
            return super().get(*arguments, **settings)
        except queue.Empty:
            with self._asking:
                self._asked -= 1
            raise


class Crash(Exception):
    """Stands for the end of the process."""


@functools.cache
def uninterrupted(name):
    """The model that EXACT's settings of this name give."""
    return run(**EXACT[name])


def interrupted(folder, crash_after, number, sentences=CORPUS, **settings):
    crash_after(number)
    with pytest.raises(Crash):
        run(sentences, checkpoint=folder, **{"checkpoint_seconds": 0, **settings})
