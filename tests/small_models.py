"""Small models on two topics, ours and gensim's, and how they are compared."""

import numpy as np
import pytest
from gensim.models import Word2Vec
from training import topics

from torchw2v import TorchWord2Vec

TOPICS = topics(80)
WORDS = sum(map(len, TOPICS))
SMALL = {"vector_size": 12, "min_count": 1, "workers": 1, "sample": 0.01, "window": 3, "epochs": 2, "seed": 5}

MODES = {
    "sg-ns": {"sg": 1},
    "cbow-ns": {"sg": 0},
    "sg-hs": {"sg": 1, "hs": 1, "negative": 0},
    "cbow-hs": {"sg": 0, "hs": 1, "negative": 0},
}
each_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def ours(*corpus, **settings):
    return TorchWord2Vec(*corpus, **{**SMALL, "device": "cpu", **settings})


def gensims(*corpus, **settings):
    return Word2Vec(*corpus, **{**SMALL, **settings})


def train(model, corpus=TOPICS, epochs=2, **arguments):
    return model.train(corpus, total_examples=len(corpus), epochs=epochs, **arguments)


def weights_of(model):
    names = ["syn1neg"] * bool(model.negative) + ["syn1"] * bool(model.hs)
    return [np.asarray(model.wv.vectors)] + [np.asarray(getattr(model, name)) for name in names]


def assert_same_weights(one, other):
    pairs = list(zip(weights_of(one), weights_of(other), strict=True))
    assert len(pairs) >= 2
    for left, right in pairs:
        assert np.array_equal(left, right)
    assert one.wv.index_to_key == other.wv.index_to_key
