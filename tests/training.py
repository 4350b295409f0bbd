"""Small corpora and models that the tests of training share."""

import random
import threading

import numpy as np
import pytest
from gensim.models import Word2Vec
from gensim.models.callbacks import CallbackAny2Vec
from support import in_time

from torchw2v import TorchWord2Vec

STEP_ATOL = 1e-5  # float32 sums in another order; the vectors move by 0.01 to 0.3 here

MODES = {"sg-ns": (1, 0), "sg-hs": (1, 1), "cbow-ns": (0, 0), "cbow-hs": (0, 1)}
each_mode = pytest.mark.parametrize(("sg", "hs"), MODES.values(), ids=MODES)


def topics(sentences=120, length=10, seed=4):
    """Sentences of one of two topics, seven words each: which words go together can be learned."""
    draw = random.Random(seed)
    return [[f"{topic}{draw.randrange(7)}" for _ in range(length)] for topic in "xy" for _ in range(sentences // 2)]


TOPICS = topics()
WORDS = sum(map(len, TOPICS))
SMALL = {"vector_size": 12, "min_count": 1, "workers": 1, "sample": 0, "window": 3, "epochs": 3, "seed": 5}


def gensims(*corpus, **settings):
    return Word2Vec(*corpus, **{**SMALL, **settings})


def ours(*corpus, **settings):
    return TorchWord2Vec(*corpus, **{**SMALL, "device": "cpu", **settings})


both_libraries = pytest.mark.parametrize("make", [gensims, ours], ids=["gensim", "torchw2v"])


def of_mode(sg, hs):
    return {"sg": sg, "hs": hs, "negative": 0 if hs else 5}


def built(make=ours, corpus=TOPICS, **settings):
    model = make(**settings)
    model.build_vocab(corpus)
    return model


def train(model, corpus=TOPICS, **arguments):
    return model.train(corpus, **{"total_examples": model.corpus_count, "epochs": 3, **arguments})


def our_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("torchw2v")]


def assert_usable(model, corpus=TOPICS):
    """The model is whole after an interruption: finite, can be asked, and can be trained on."""
    assert our_threads() == []
    assert np.isfinite(model.wv.vectors).all()
    assert len(model.wv.most_similar(model.wv.index_to_key[0])) > 0
    before = model.wv.vectors.copy()
    effective, raw = in_time(lambda: train(model, corpus, epochs=1))
    assert effective == raw == sum(map(len, corpus))
    assert not np.array_equal(model.wv.vectors, before)


class Stream:
    """A corpus that can be read again but is not a list: `make(pass_number)` yields the sentences of a pass."""

    def __init__(self, make):
        self.make, self.passes = make, 0

    def __iter__(self):
        self.passes += 1
        yield from self.make(self.passes - 1)


def ids_of(model, corpus):
    return [model.wv.key_to_index[word] for sentence in corpus for word in sentence if word in model.wv]


def flat(lists):
    return [item for part in lists for item in part]


class AtEpochEnd(CallbackAny2Vec):
    def __init__(self, do):
        self.do = do

    def on_epoch_end(self, model):
        self.do(model)
