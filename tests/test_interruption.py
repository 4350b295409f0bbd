"""Errors and Ctrl-C reach the caller and leave a model that can be used."""

import signal
import threading
import time

import pytest
import torch
from support import in_time
from training import TOPICS, AtEpochEnd, Stream, assert_usable, built, ours, train


class Wrong(Exception):
    """Ours to raise."""


class Bomb(str):
    """A token whose hash fails when the fuse is lit."""

    lit = False

    def __hash__(self):
        if Bomb.lit:
            raise Wrong("no hash")
        return super().__hash__()


def failing_corpus(error, at_pass=2):
    """Passes 0 and 1 are whole; in the middle of a later one, the error."""

    def sentences(number):
        yield from TOPICS[:60]
        if number >= at_pass:
            raise error
        yield from TOPICS[60:]

    return Stream(sentences)


how_it_runs = pytest.mark.parametrize(
    "settings",
    [
        {"engine": "numba"},
        {"engine": "numba", "workers": 3},
        {"engine": "torch", "workers": 3},
        {"engine": "torch", "deterministic": True, "workers": 2},
        {"engine": "reference"},
    ],
    ids=["numba-one-worker", "numba-three-workers", "torch-three-workers", "lockstep", "reference"],
)


@how_it_runs
def test_error_in_a_callback_reaches_the_caller(settings):
    def fail(model):
        raise Wrong("in the callback")

    model = built(**settings)
    with pytest.raises(Wrong, match="in the callback"):
        in_time(lambda: train(model, callbacks=[AtEpochEnd(fail)]))
    assert_usable(model)


@how_it_runs
def test_error_in_the_middle_of_the_corpus_reaches_the_caller(settings):
    corpus = failing_corpus(Wrong("in the corpus"))
    model = built(corpus=corpus, **settings)
    threads = torch.get_num_threads()
    with pytest.raises(Wrong, match="in the corpus"):
        in_time(lambda: train(model, corpus))
    assert corpus.passes == 3
    assert torch.get_num_threads() == threads
    assert_usable(model)


@how_it_runs
def test_error_in_a_tokens_hash_reaches_the_caller(settings, monkeypatch):
    corpus = Stream(lambda number: [[Bomb(word) for word in sentence] for sentence in TOPICS])
    model = built(corpus=corpus, **settings)
    monkeypatch.setattr(Bomb, "lit", True)
    with pytest.raises(Wrong, match="no hash"):
        in_time(lambda: train(model, corpus))
    monkeypatch.setattr(Bomb, "lit", False)
    assert_usable(model)


def test_error_while_counting_words_reaches_the_caller():
    with pytest.raises(Wrong, match="in the corpus"):
        in_time(lambda: built(corpus=failing_corpus(Wrong("in the corpus"), at_pass=0)))


@how_it_runs
def test_keyboard_interrupt_in_the_corpus_reaches_the_caller(settings):
    corpus = failing_corpus(KeyboardInterrupt())
    model = built(corpus=corpus, **settings)
    with pytest.raises(KeyboardInterrupt):
        in_time(lambda: train(model, corpus))
    assert_usable(model)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_ctrl_c_stops_training_at_once(engine, workers):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are delivered to the main thread, which does not run this test")

    def endless(number):
        yield from TOPICS
        while number == 1:
            if time.perf_counter() - began > 0.5 and not pressed:
                pressed.append(time.perf_counter())
                signal.raise_signal(signal.SIGINT)
            yield TOPICS[0]

    pressed, began = [], time.perf_counter()
    corpus = Stream(endless)
    model = built(corpus=corpus, workers=workers, engine=engine)
    with pytest.raises(KeyboardInterrupt):
        train(model, corpus)
    assert time.perf_counter() - pressed[0] < 5  # seconds; the waiting caller looks twice a second
    assert_usable(model)


@how_it_runs
def test_torch_threads_are_the_same_after_training(settings):
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            ours(TOPICS, **settings)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
