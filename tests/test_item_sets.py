"""window=None: every item of a basket with every other, whatever the basket's length."""

import math
import random

import numpy as np
import pytest
from gensim.models import Word2Vec
from small_models import assert_same_weights, each_mode, ours, train
from training import Stream

from torchw2v import TorchWord2Vec
from torchw2v.constants import WHOLE_SENTENCE


def baskets(lengths, items=40, seed=2):
    draw = random.Random(seed)
    return [[f"item{draw.randrange(items)}" for _ in range(length)] for length in lengths]


MIXED = baskets([2, 3, 5, 1, 24, 8, 2, 40] * 2)
PAIRS = sum(len(basket) * (len(basket) - 1) for basket in MIXED)
UNTRAINED = 6 * math.log(2)  # loss of a pair and five negatives at scores of 0
EXACT = {"sample": 0, "epochs": 1, "compute_loss": True}
ENGINES = ["torch", "numba", "reference"]
each_engine = pytest.mark.parametrize("engine", ENGINES)


def trained(window, engine, corpus=MIXED, **settings):
    if engine == "numba":
        pytest.importorskip("numba")
    return ours(corpus, engine=engine, window=window, **{"sample": 0, **settings})


# ---- pairs -------------------------------------------------------------------------------------------------------


@each_engine
def test_every_item_meets_every_other(engine):
    model = trained(None, engine, sg=1, **EXACT)
    assert model.training_history[0]["pairs"] == PAIRS
    by_bags = trained(None, engine, sg=0, **EXACT)
    assert by_bags.training_history[0]["pairs"] == sum(len(basket) for basket in MIXED if len(basket) > 1)


@each_engine
@each_mode
def test_vectors_are_those_of_a_huge_window_that_does_not_shrink(engine, mode):
    """gensim's trick: a window as long as the longest basket, shrink_windows=False."""
    assert_same_weights(trained(None, engine, **mode), trained(10_000, engine, shrink_windows=False, **mode))


@pytest.mark.parametrize("engine", ["torch", "numba"])
@pytest.mark.parametrize("sg", [0, 1])
def test_subsampling_and_negatives_work_as_usual(engine, sg):
    model = trained(None, engine, sg=sg, sample=0.01, epochs=3, compute_loss=True)
    epoch = model.training_history[0]
    assert 0 < epoch["effective_words"] < epoch["raw_words"]
    assert 0 < epoch["pairs"] < PAIRS
    assert math.isfinite(epoch["mean_loss"])


# ---- settings ----------------------------------------------------------------------------------------------------


def test_attributes_are_numbers_that_gensim_understands(tmp_path):
    model = ours(MIXED, window=None)
    assert (model.window, model.shrink_windows) == (WHOLE_SENTENCE, False)
    model.save(str(tmp_path / "model"))
    plain = Word2Vec.load(str(tmp_path / "model"))
    assert (plain.window, plain.shrink_windows) == (WHOLE_SENTENCE, False)
    before = plain.wv.vectors.copy()
    plain.train(MIXED, total_examples=len(MIXED), epochs=1)
    assert np.isfinite(plain.wv.vectors).all() and not np.array_equal(plain.wv.vectors, before)
    again = TorchWord2Vec.load(str(tmp_path / "model"))
    train(again, MIXED)
    assert again.window == WHOLE_SENTENCE


def test_plain_gensim_trains_the_same_pairs_with_the_saved_window():
    """Its routines add the window to positions in 32 bits."""
    losses = []
    for window in (WHOLE_SENTENCE, 100):
        model = Word2Vec(
            MIXED, vector_size=8, min_count=1, workers=1, seed=1, sg=1, sample=0, window=window, shrink_windows=False,
            compute_loss=True,
        )  # fmt: skip
        losses.append((model.get_latest_training_loss(), model.wv.vectors.copy()))
    assert losses[0][0] == losses[1][0] and np.array_equal(losses[0][1], losses[1][1])


def test_window_may_be_set_to_none_before_training():
    model = ours(window=3, sg=1, sample=0, compute_loss=True)
    model.build_vocab(MIXED)
    model.window = None
    train(model, MIXED, epochs=1)
    assert model.training_history[0]["pairs"] == PAIRS


# ---- lengths -----------------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("sg", [0, 1])
def test_one_long_basket_among_pairs(engine, sg):
    """A basket longer than a chunk, too."""
    size = 40 if engine == "reference" else 700
    corpus = [["a", "b"], *baskets([size], items=60), ["b", "c"]] * 2
    model = trained(None, engine, corpus, sg=sg, **EXACT)
    tokens, pairs = 2 * (size + 4), 2 * (size * (size - 1) + 4)
    assert model.training_history[0]["pairs"] == (pairs if sg else tokens)
    assert np.isfinite(model.wv.vectors).all()


@pytest.mark.parametrize("engine", ["torch", "numba"])
@pytest.mark.parametrize("mode", [{"sg": 1}, {"sg": 0}], ids=["sg", "cbow"])
def test_stream_of_baskets_learns_like_a_list(engine, mode):
    """The lengths of a stream's baskets are not known; a window of 2**30 must not be taken for its pairs."""
    corpus = [
        [f"{topic}{draw.randrange(7)}" for _ in range(6)]
        for topic in "xy"
        for draw in [random.Random(1)]
        for _ in range(150)
    ]
    settings = {**mode, "epochs": 5, "compute_loss": True, "alpha": 0.05}
    by_list = trained(None, engine, corpus, **settings)
    by_stream = trained(None, engine, Stream(lambda number: corpus), **settings)
    losses = [model.training_history[-1]["mean_loss"] for model in (by_list, by_stream)]
    assert losses[0] < 0.8 * UNTRAINED
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_two_groups_of_items_are_learned_whatever_the_order():
    """Ten items apart in a basket are as near as neighbors."""
    draw = random.Random(3)
    corpus = [
        draw.sample([f"{group}{n}" for n in range(30)], draw.choice([2, 6, 20])) for group in "xy" for _ in range(150)
    ]
    model = ours(corpus, window=None, sg=1, sample=0, epochs=8, vector_size=16)
    for item in ("x0", "x17", "y5"):
        assert all(other[0] == item[0] for other, _ in model.wv.most_similar(item, topn=15))
