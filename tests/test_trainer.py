"""Prefetching passes on items, errors and ends, and leaves no thread behind."""

import math
import threading
import time

import numpy as np
import pytest
import torch
from gensim.models import Word2Vec
from gensim.test.utils import common_texts

from torchw2v import TorchWord2Vec, epochs, trainer
from torchw2v.corpus import EncodedCorpus
from torchw2v.ops.contract import Step, Tally, Weights
from torchw2v.ops.draws import DrawKey
from torchw2v.trainer import EpochReport, EpochState, prefetched, prefetched_after, train_at_once, train_epoch


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


def test_prefetched_after_a_few_starts_no_thread_for_a_few():
    items = prefetched_after(3, iter(range(3)), depth=2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    assert prefetch_threads() == []
    assert list(items) == []
    assert list(prefetched_after(3, iter(range(100)), depth=2)) == list(range(100))
    assert prefetch_threads() == []


def test_prefetched_after_a_few_reads_none_before_it_is_asked_for():
    taken = []
    items = prefetched_after(3, (taken.append(n) or n for n in range(100)), depth=2)
    for n in range(3):
        assert next(items) == n
        assert len(taken) == n + 1
    assert next(items) == 3
    time.sleep(0.3)
    assert len(taken) > 4 and len(prefetch_threads()) == 1
    items.close()
    assert prefetch_threads() == []


# ---- coming to rest ----------------------------------------------------------------------------------------------

TOKENS = 400
CORPUS = EncodedCorpus(np.arange(TOKENS, dtype=np.int32), *[np.arange(0, TOKENS + 1, 10, dtype=np.int64)] * 2)


class Recorder:
    """An engine that writes down the tokens it is given."""

    name = "recorder"

    def __init__(self):
        self.tokens, self.under_way, self.lock = [], 0, threading.Lock()
        self.permits = threading.Semaphore(4)  # chunks ahead of the caller, who may be late on a busy machine

    def train_chunk(self, weights, chunk, step):
        with self.lock:
            self.under_way += 1
        self.permits.acquire()
        with self.lock:
            self.tokens.extend(chunk.token_ids[chunk.start : chunk.stop].tolist())
            self.under_way -= 1
        return Tally(effective_words=chunk.stop - chunk.start, pairs=1, loss=0.5)


class EveryThird:
    """Asks for a rest after three more chunks; can stop the epoch there."""

    def __init__(self, engine, end_at=None):
        self.engine, self.end_at, self.last, self.states = engine, end_at, 0, []

    def due(self, report):
        return report.chunks - self.last >= 3

    def at_rest(self, state):
        assert self.engine.under_way == 0
        assert sorted(self.engine.tokens)[-1] + 1 == len(self.engine.tokens) == state.report.effective_words
        self.last = state.report.chunks
        self.states.append(EpochState(EpochReport(**vars(state.report))))
        if len(self.states) == self.end_at:
            raise InterruptedError


def epoch(engine, device, threads, chunks, **how):
    # On the meta device nothing is computed: it stands for an accelerator, fed by the caller's thread alone.
    weights = Weights(torch.zeros(1, 1, device=device), None, None)
    return train_epoch(
        engine, weights, chunks, lambda part: Step(0.1, DrawKey(1, 2)), threads=threads, lockstep=False,
        progress=lambda report: engine.permits.release(), **how,
    )  # fmt: skip


each_way = pytest.mark.parametrize(("device", "threads"), [("cpu", 1), ("cpu", 3), ("meta", 1)])


@each_way
def test_epoch_rests_between_chunks_while_nothing_is_under_way(device, threads):
    engine = Recorder()
    rests = EveryThird(engine)
    report = epoch(engine, device, threads, CORPUS.chunks(10), rests=rests)
    assert sorted(engine.tokens) == list(range(TOKENS))
    assert (report.chunks, report.raw_words, report.examples, report.pairs, report.loss) == (40, 400, 40, 40, 20.0)
    assert len(rests.states) >= 5  # three chunks, and up to four that were ahead


@each_way
def test_epoch_goes_on_where_it_rested(device, threads):
    engine = Recorder()
    rests = EveryThird(engine, end_at=4)
    with pytest.raises(InterruptedError):
        epoch(engine, device, threads, CORPUS.chunks(10), rests=rests)
    state, chunks = rests.states[-1], CORPUS.chunks(10)
    for _ in range(state.report.chunks):
        next(chunks)
    report = epoch(engine, device, threads, chunks, start=state)
    assert sorted(engine.tokens) == list(range(TOKENS))
    assert (report.chunks, report.effective_words, report.loss) == (40, TOKENS, 20.0)


# ---- few words ---------------------------------------------------------------------------------------------------


class WhereTrained(Recorder):
    """Writes down the thread that trains each chunk, too."""

    def __init__(self):
        super().__init__()
        self.threads = []

    def train_chunk(self, weights, chunk, step):
        self.threads.append(threading.current_thread())
        return super().train_chunk(weights, chunk, step)


@pytest.mark.parametrize(("few", "here"), [(0, 0), (9, 0), (10, 1), (95, 9), (TOKENS, 40)])
def test_few_words_are_trained_before_threads_are_started(few, here, monkeypatch):
    monkeypatch.setattr(trainer, "FEW_TOKENS", few)
    engine, before = WhereTrained(), torch.get_num_threads()
    report = epoch(engine, "cpu", 3, CORPUS.chunks(10))
    mine = [thread is threading.current_thread() for thread in engine.threads]
    assert mine == [True] * here + [False] * (40 - here)
    assert sorted(engine.tokens) == list(range(TOKENS))
    assert (report.chunks, report.raw_words, report.examples, report.pairs, report.loss) == (40, 400, 40, 40, 20.0)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("few", [40, 120, TOKENS])
def test_epoch_rests_among_few_words_and_goes_on(few, monkeypatch):
    monkeypatch.setattr(trainer, "FEW_TOKENS", few)
    engine = Recorder()
    rests = EveryThird(engine, end_at=3)
    with pytest.raises(InterruptedError):
        epoch(engine, "cpu", 3, CORPUS.chunks(10), rests=rests)
    assert rests.states[0].report.chunks == 3
    state, chunks = rests.states[-1], CORPUS.chunks(10)
    for _ in range(state.report.chunks):
        next(chunks)
    report = epoch(engine, "cpu", 3, chunks, start=state)
    assert sorted(engine.tokens) == list(range(TOKENS))
    assert (report.chunks, report.effective_words, report.loss) == (40, TOKENS, 20.0)


def test_few_words_give_the_vectors_that_threads_give(monkeypatch):
    from training import TOPICS, Stream, ours

    def vectors(corpus):
        return ours(corpus, workers=1).wv.vectors.copy()

    in_threads = vectors(TOPICS)
    for module in (epochs, trainer):
        monkeypatch.setattr(module, "FEW_TOKENS", 1500)  # of 3,600
    assert np.array_equal(vectors(TOPICS), in_threads)
    assert np.array_equal(vectors(Stream(lambda number: TOPICS)), in_threads)


def test_many_epochs_of_few_words_take_less_than_gensims(monkeypatch):
    """CPU seconds, best of three: with threads started for each epoch they took more (docs/parity.md, "Few words")."""
    for module in (epochs, trainer):
        monkeypatch.setattr(module, "FEW_TOKENS", 1000)
    seconds = {}
    for make in (Word2Vec, TorchWord2Vec):
        model = make(common_texts, vector_size=50, min_count=1, workers=3)
        best = math.inf
        for _ in range(3):
            began = time.process_time()
            model.train(common_texts, total_examples=model.corpus_count, epochs=100)
            best = min(best, time.process_time() - began)
        seconds[make] = best
    assert seconds[TorchWord2Vec] < 0.9 * seconds[Word2Vec]


# ---- engines that defer ------------------------------------------------------------------------------------------


class Deferring(Recorder):
    """An engine that says what its chunks amounted to only when it is asked."""

    def __init__(self):
        super().__init__()
        self.waiting, self.collected = Tally(), []

    def hold(self, ids, offsets):
        raise AssertionError("that is for the model to ask")

    def train_chunk(self, weights, chunk, step):
        self.waiting += super().train_chunk(weights, chunk, step)
        return Tally()

    def collect(self, weights):
        self.collected.append(len(self.tokens))
        told, self.waiting = self.waiting, Tally()
        return told


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_an_engine_that_defers_is_asked_at_the_end(device, monkeypatch):
    monkeypatch.setattr(trainer, "_COLLECT_SECONDS", 60.0)
    engine = Deferring()
    report = epoch(engine, device, 1, CORPUS.chunks(10))
    assert engine.collected == [TOKENS]
    assert (report.chunks, report.effective_words, report.pairs, report.loss) == (40, TOKENS, 40, 20.0)


def test_an_engine_that_defers_is_asked_as_often_as_progress_is_shown(monkeypatch):
    monkeypatch.setattr(trainer, "_COLLECT_SECONDS", 0.0)
    engine = Deferring()
    report = epoch(engine, "meta", 1, CORPUS.chunks(10))
    assert engine.collected == [*range(10, TOKENS + 10, 10), TOKENS]
    assert (report.effective_words, report.loss) == (TOKENS, 20.0)


def test_an_engine_that_defers_is_asked_before_it_rests(monkeypatch):
    monkeypatch.setattr(trainer, "_COLLECT_SECONDS", 60.0)
    engine = Deferring()
    rests = EveryThird(engine)  # compares the words reported with those trained
    epoch(engine, "meta", 1, CORPUS.chunks(10), rests=rests)
    assert len(rests.states) == 13 and engine.collected == [*range(30, TOKENS, 30), TOKENS]


def test_chunks_of_gensims_jobs_are_told_at_once():
    chunk = next(CORPUS.chunks(10)).chunk
    for engine in (Recorder(), Deferring()):
        tally = train_at_once(engine, None, chunk, Step(0.1, DrawKey(1, 2)), threading.Lock())
        assert (tally.effective_words, tally.pairs) == (10, 1)
