"""Subclasses of Word2Vec in the wild: overrides of gensim's job hooks are called, and train with our engine."""

import random
import threading
import types
from itertools import pairwise

import gensim.models.word2vec
import numpy as np
import pytest
import torch
from gensim.models import Word2Vec
from gensim.models.callbacks import CallbackAny2Vec
from support import in_time

from torchw2v import TorchWord2Vec

RING = {node: [(node - 1) % 12, (node + 1) % 12, (node + 2) % 12] for node in range(12)}
WALK = 15  # nodes in a walk
STARTS = [[node] for node in RING] * 20
SENTENCES = [[f"w{(n * k) % 9}" for n in range(10)] for k in range(1, 80)]
WORDS = sum(map(len, SENTENCES))
SMALL = {"vector_size": 10, "min_count": 1, "sample": 0, "window": 3, "device": "cpu", "batch_words": 40}

each_worker_count = pytest.mark.parametrize("workers", [1, 3], ids=["one-worker", "three-workers"])


class Walker(TorchWord2Vec):
    """Trains on random walks that are drawn inside the job: the corpus holds their first nodes only."""

    jobs = 0
    fail_at = None

    def _do_train_job(self, sentences, alpha, inits):
        self.jobs += 1
        if self.fail_at is not None and self.jobs >= self.fail_at:
            raise Wrong("in the job")
        return super()._do_train_job([walk(node) for (node,) in sentences], alpha, inits)


class Wrong(Exception):
    """Ours to raise."""


def walk(node):
    path = [node]
    while len(path) < WALK:
        path.append(random.choice(RING[path[-1]]))
    return path


def walker(**settings):
    model = Walker(**{**SMALL, **settings})
    model.build_vocab(STARTS)
    return model


def train(model, corpus, **arguments):
    return in_time(lambda: model.train(corpus, **{"total_examples": len(corpus), "epochs": 2, **arguments}))


@pytest.fixture
def engine_calls(monkeypatch, trained_tokens):
    """Token ids of each chunk our engine trained; gensim's own routines raise."""
    for name in ("train_batch_sg", "train_batch_cbow", "train_epoch_sg", "train_epoch_cbow"):
        monkeypatch.setattr(gensim.models.word2vec, name, refuse(name))
    return trained_tokens


def refuse(name):
    def refused(*args, **kwargs):
        raise AssertionError(f"gensim's {name} was called")

    return refused


@pytest.fixture
def no_thread_left():
    """No thread may outlive the test, and torch keeps its number of threads."""
    before, torch_threads = set(threading.enumerate()), torch.get_num_threads()
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), f"{thread.name} is still running"
    assert torch.get_num_threads() == torch_threads


# ---- overrides are called ----------------------------------------------------------------------------------------


@each_worker_count
@pytest.mark.parametrize(
    "mode",
    [{"sg": 1}, {"sg": 0}, {"sg": 1, "hs": 1, "negative": 0}, {"sg": 0, "hs": 1, "negative": 0}],
    ids=["sg-ns", "cbow-ns", "sg-hs", "cbow-hs"],
)
def test_random_walks_drawn_in_do_train_job_are_trained(mode, workers, engine_calls, no_thread_left):
    model = walker(**mode, workers=workers)
    start = model.wv.vectors.copy()
    effective, raw = train(model, STARTS)
    assert effective == raw == 2 * len(STARTS) * WALK  # the walks count, not the starts
    assert sum(map(len, engine_calls)) == effective
    assert model.jobs == len(engine_calls) == 2 * len(STARTS) // 40
    nodes = [model.wv.index_to_key[index] for index in engine_calls[0]]
    assert all(after in RING[before] for before, after in pairwise(nodes[:WALK]))
    assert (model.wv.vectors != start).any(axis=1).all()
    assert np.isfinite(model.wv.vectors).all()


def test_random_walks_in_the_constructor_are_trained(engine_calls):
    model = in_time(lambda: Walker(STARTS, **SMALL, workers=2, epochs=3))
    assert sum(map(len, engine_calls)) == 3 * len(STARTS) * WALK
    assert len(model.training_history) == 3


def test_random_walks_learn_who_is_near_on_the_ring():
    random.seed(1)
    model = walker(workers=1, sg=1, alpha=0.1)
    train(model, STARTS, epochs=10)
    near = np.mean([model.wv.similarity(node, (node + 1) % 12) for node in RING])
    far = np.mean([model.wv.similarity(node, (node + 6) % 12) for node in RING])
    assert near > far + 0.1


def test_job_counts_equal_those_of_a_gensim_subclass():
    class Plain(Word2Vec):
        def _do_train_job(self, sentences, alpha, inits):
            return super()._do_train_job([walk(node) for (node,) in sentences], alpha, inits)

    settings = {name: value for name, value in SMALL.items() if name != "device"}
    plain = Plain(**settings, workers=1)
    plain.build_vocab(STARTS)
    assert train(walker(workers=1), STARTS) == train(plain, STARTS)


def test_jobs_alpha_is_gensims():
    seen = {}
    for base, more in ((Word2Vec, {}), (TorchWord2Vec, {"device": "cpu"})):
        alphas = seen[base] = []

        class Listener(base):
            def _do_train_job(self, sentences, alpha, inits, alphas=alphas):
                alphas.append((len(sentences), alpha))
                return super()._do_train_job(sentences, alpha, inits)

        settings = {name: value for name, value in SMALL.items() if name != "device"}
        model = Listener(**settings, workers=1, **more)
        model.build_vocab(SENTENCES)
        train(model, SENTENCES)
        assert model.min_alpha_yet_reached == alphas[-1][1]
    assert len(seen[Word2Vec]) == 2 * 20
    assert seen[TorchWord2Vec] == seen[Word2Vec]


def test_override_that_does_not_call_super_trains_nothing_of_ours(engine_calls):
    class Silent(TorchWord2Vec):
        def _do_train_job(self, sentences, alpha, inits):
            return len(sentences), 2 * len(sentences)

    model = Silent(**SMALL, workers=2)
    model.build_vocab(SENTENCES)
    start = model.wv.vectors.copy()
    assert train(model, SENTENCES) == (2 * len(SENTENCES), 4 * len(SENTENCES))
    assert engine_calls == []
    assert np.array_equal(model.wv.vectors, start)


@each_worker_count
def test_overridden_raw_word_count_is_used(workers, engine_calls, no_thread_left):
    class Counter(TorchWord2Vec):
        def _raw_word_count(self, job):
            return 7 * len(job)

    model = Counter(**{**SMALL, "batch_words": 70}, workers=workers)
    model.build_vocab(SENTENCES)
    assert train(model, SENTENCES) == (2 * WORDS, 2 * 7 * len(SENTENCES))
    assert len(engine_calls) == 2 * 8  # ten sentences a job
    assert sum(map(len, engine_calls)) == 2 * WORDS


@each_worker_count
def test_overridden_working_memory_reaches_the_job(workers, engine_calls, no_thread_left):
    class Keeper(TorchWord2Vec):
        made, received = 0, None

        def _get_thread_working_mem(self):
            self.made += 1
            return ("mine", self.made)

        def _do_train_job(self, sentences, alpha, inits):
            self.received = inits
            return super()._do_train_job(sentences, alpha, inits)

    model = Keeper(**SMALL, workers=workers)
    model.build_vocab(SENTENCES)
    assert train(model, SENTENCES) == (2 * WORDS, 2 * WORDS)
    assert model.made == 2 * workers
    assert model.received[0] == "mine"
    assert sum(map(len, engine_calls)) == 2 * WORDS


def test_only_the_working_memory_overridden_is_enough_to_be_called(engine_calls):
    class Keeper(TorchWord2Vec):
        made = 0

        def _get_thread_working_mem(self):
            self.made += 1

    model = Keeper(**SMALL, workers=2)
    model.build_vocab(SENTENCES)
    assert train(model, SENTENCES) == (2 * WORDS, 2 * WORDS)
    assert model.made == 4
    assert sum(map(len, engine_calls)) == 2 * WORDS


def test_overridden_job_producer_is_called(engine_calls):
    class Doubler(TorchWord2Vec):
        def _job_producer(self, data_iterator, job_queue, **kwargs):
            super()._job_producer([*data_iterator, *data_iterator], job_queue, **kwargs)

    model = Doubler(**SMALL, workers=2)
    model.build_vocab(SENTENCES)
    assert train(model, SENTENCES) == (4 * WORDS, 4 * WORDS)
    assert sum(map(len, engine_calls)) == 4 * WORDS


def test_override_on_an_instance_is_called(engine_calls):
    model = TorchWord2Vec(**SMALL, workers=2)
    model.build_vocab(SENTENCES)
    jobs = []

    def job(self, sentences, alpha, inits):
        jobs.append(len(sentences))
        return TorchWord2Vec._do_train_job(self, [sentence[:4] for sentence in sentences], alpha, inits)

    model._do_train_job = types.MethodType(job, model)
    assert train(model, SENTENCES) == (2 * 4 * len(SENTENCES), 2 * 4 * len(SENTENCES))
    assert sum(jobs) == 2 * len(SENTENCES)
    assert sum(map(len, engine_calls)) == 2 * 4 * len(SENTENCES)


def test_job_called_by_hand_trains(engine_calls):
    model = TorchWord2Vec(**SMALL, workers=1)
    model.build_vocab(SENTENCES)
    start = model.wv.vectors.copy()
    assert model._do_train_job(SENTENCES[:5], 0.05, model._get_thread_working_mem()) == (50, 50)
    assert not np.array_equal(model.wv.vectors, start)


def test_epoch_end_of_the_job_loop_is_seen_by_callbacks_and_history():
    seen = []

    class Look(CallbackAny2Vec):
        def on_epoch_end(self, model):
            model.wv.fill_norms()
            assert np.allclose(model.wv.norms, np.linalg.norm(model.wv.vectors, axis=1))
            seen.append((model.wv.vectors.copy(), model.get_latest_training_loss()))

    model = walker(workers=2)
    train(model, STARTS, epochs=3, compute_loss=True, callbacks=[Look()])
    assert not np.array_equal(seen[0][0], seen[1][0])
    losses = [loss for _, loss in seen]
    assert 0 < losses[0] < losses[1] < losses[2]
    assert [entry["raw_words"] for entry in model.training_history] == [len(STARTS) * WALK] * 3
    assert np.allclose(np.cumsum([entry["loss"] for entry in model.training_history]), losses)


# ---- errors ------------------------------------------------------------------------------------------------------


@each_worker_count
@pytest.mark.parametrize("at", [1, 4], ids=["first-job", "later-job"])
def test_error_in_a_job_reaches_the_caller(at, workers, no_thread_left):
    model = walker(workers=workers)
    model.fail_at = at
    with pytest.raises(Wrong, match="in the job"):
        train(model, STARTS)
    assert np.isfinite(model.wv.vectors).all()
    model.fail_at = None
    assert train(model, STARTS, epochs=1) == (len(STARTS) * WALK, len(STARTS) * WALK)


class Failing:
    """Readable once without an error; later passes fail in the middle."""

    def __init__(self, error):
        self.error, self.passes = error, 0

    def __len__(self):
        return len(STARTS)

    def __iter__(self):
        self.passes += 1
        yield from STARTS[:130]
        if self.passes > 1:
            raise self.error
        yield from STARTS[130:]


@each_worker_count
@pytest.mark.parametrize("error", [Wrong("in the corpus"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_error_in_the_corpus_of_a_job_loop_reaches_the_caller(error, workers, no_thread_left):
    model = walker(workers=workers)
    with pytest.raises(type(error)):
        train(model, Failing(error))
    assert train(model, STARTS, epochs=1) == (len(STARTS) * WALK, len(STARTS) * WALK)


@each_worker_count
def test_error_in_the_working_memory_reaches_the_caller(workers, no_thread_left):
    class NoMemory(TorchWord2Vec):
        def _get_thread_working_mem(self):
            raise Wrong("no memory")

    model = NoMemory(**SMALL, workers=workers)
    model.build_vocab(SENTENCES)
    with pytest.raises(Wrong, match="no memory"):
        train(model, SENTENCES)


@each_worker_count
def test_error_in_the_raw_word_count_reaches_the_caller(workers, no_thread_left):
    class NoCount(TorchWord2Vec):
        def _raw_word_count(self, job):
            raise Wrong("no count")

    model = NoCount(**SMALL, workers=workers)
    model.build_vocab(SENTENCES)
    with pytest.raises(Wrong, match="no count"):
        train(model, SENTENCES)


@each_worker_count
def test_error_in_a_callback_of_a_job_loop_reaches_the_caller(workers, no_thread_left):
    class Fail(CallbackAny2Vec):
        def on_epoch_end(self, model):
            raise Wrong("in the callback")

    with pytest.raises(Wrong, match="in the callback"):
        train(walker(workers=workers), STARTS, callbacks=[Fail()])


# ---- without overrides -------------------------------------------------------------------------------------------


@each_worker_count
def test_subclass_without_overrides_runs_our_own_loop(workers, engine_calls, monkeypatch):
    class Named(TorchWord2Vec):
        """A name of its own and a helper; no hook is touched."""

        def neighbours(self, word):
            return self.wv.most_similar(word, topn=1)

    for name in ("_job_producer", "_worker_loop", "_log_epoch_progress", "_do_train_job"):
        monkeypatch.setattr(Word2Vec, name, refuse(name))
    model = in_time(lambda: Named(SENTENCES, **SMALL, workers=workers, epochs=2))
    assert sum(map(len, engine_calls)) == 2 * WORDS
    assert len(model.neighbours("w1")) == 1


def test_subclass_that_overrides_train_and_calls_super_works(engine_calls):
    class Announcing(TorchWord2Vec):
        calls = 0

        def train(self, *args, **kwargs):
            self.calls += 1
            return super().train(*args, **kwargs)

    model = Announcing(SENTENCES, **SMALL, workers=1, epochs=2)
    assert model.calls == 1
    assert sum(map(len, engine_calls)) == 2 * WORDS
