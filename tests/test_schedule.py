"""Tokens in flight and row caps follow the corpus."""

import numpy as np
import pytest

from torchw2v.ops.contract import Objective, Tables
from torchw2v.schedule import (
    CHUNK_TOKENS,
    CHUNK_WORK,
    MAX_CORPUS_SHARE,
    MAX_FUSED_SHARE,
    MAX_HOT_OCCURRENCES,
    MAX_IN_FLIGHT,
    MAX_IN_FLIGHT_FUSED,
    MAX_IN_FLIGHT_TREE,
    MAX_IN_FLIGHT_TREE_DEVICE,
    MAX_STEP_TOKENS,
    MIN_IN_FLIGHT_FUSED,
    MIN_STEP_FUSED,
    chunk_tokens,
    make_plan,
    shared_negatives,
    token_work,
)
from torchw2v.tables import keep_all, pack_paths

SKIP_GRAM = Objective(skip_gram=True, negative=5, hierarchical=False, window=5)


def plan(counts, objective=SKIP_GRAM, threads=2, epoch_tokens=1e8, **more):
    counts = np.asarray(counts)
    cumulative = (np.cumsum(counts) / counts.sum() * (2**31 - 1)).astype(np.uint32) if objective.negative else None
    paths = pack_paths([[0]] * len(counts), [[0]] * len(counts)) if objective.hierarchical else None
    tables = Tables(keep_all(len(counts)), cumulative, paths)
    return make_plan(objective, tables, counts, threads=threads, epoch_tokens=epoch_tokens, **more)


def in_flight(made, threads):
    return made.step_tiles * made.tile * threads


EVEN = [100] * 10_000


@pytest.mark.parametrize("threads", [1, 2, 4, 16])
def test_tokens_in_flight_stay_within_their_bound_for_any_number_of_threads(threads):
    made = plan(EVEN, threads=threads)
    assert made.step_tiles * made.tile <= MAX_STEP_TOKENS
    assert in_flight(made, threads) <= max(MAX_IN_FLIGHT, made.tile * threads)


def test_a_hot_word_and_a_small_corpus_lower_the_tokens_in_flight():
    free = in_flight(plan(EVEN), 2)
    assert in_flight(plan([1000] + [1] * 1000), 2) <= MAX_HOT_OCCURRENCES * 2 < free
    assert in_flight(plan(EVEN, epoch_tokens=50_000), 2) <= 50_000 * MAX_CORPUS_SHARE < free
    tree = Objective(skip_gram=True, negative=0, hierarchical=True, window=5)
    assert in_flight(plan(EVEN, tree), 2) <= MAX_IN_FLIGHT_TREE < free


@pytest.mark.parametrize("negative", [0, 5])
@pytest.mark.parametrize("skip_gram", [True, False])
def test_fused_kernels_have_more_in_flight_where_the_corpus_is_large(skip_gram, negative):
    """CBOW in a step, skip-gram in steps beside each other. Torch operations on an accelerator read a snapshot."""
    objective = Objective(skip_gram=skip_gram, negative=negative, hierarchical=not negative, window=5)

    def tokens(counts=EVEN, **more):
        made = plan(counts, objective, 1, on_device=True, **more)
        return in_flight(made, 1), made.overlap

    large, small = {"epoch_tokens": 1e9}, {"epoch_tokens": 0.9 * MAX_IN_FLIGHT / MAX_FUSED_SHARE}
    assert tokens(**large) == (MAX_IN_FLIGHT if negative else MAX_IN_FLIGHT_TREE_DEVICE, 1)
    most = MAX_IN_FLIGHT_FUSED // MAX_IN_FLIGHT
    assert tokens(fused=True, **large) == ((MAX_IN_FLIGHT, most) if skip_gram else (MAX_IN_FLIGHT_FUSED, 1))
    # The same share of smaller ones, and of the smallest a hundredth where that is less.
    for epoch_tokens, expected, apart in (
        (small["epoch_tokens"], 0.9 * MAX_IN_FLIGHT, 0.1 if skip_gram else 0.01),  # whole steps
        (3 * MIN_IN_FLIGHT_FUSED / MAX_CORPUS_SHARE, MIN_IN_FLIGHT_FUSED, 0),
        (MIN_IN_FLIGHT_FUSED / MAX_CORPUS_SHARE, MIN_IN_FLIGHT_FUSED, 0.02),
        (0.5 * MIN_IN_FLIGHT_FUSED / MAX_CORPUS_SHARE, 0.5 * MIN_IN_FLIGHT_FUSED, 0.02),
    ):
        in_step, overlap = tokens(fused=True, epoch_tokens=epoch_tokens)
        assert in_step * overlap == pytest.approx(expected, rel=apart)
        assert MIN_STEP_FUSED <= in_step < MAX_IN_FLIGHT / 3 if skip_gram else overlap == 1
    in_step, overlap = tokens([1000] + [1] * 9000, fused=True, **large)  # a hot word
    assert overlap == 1 and in_step <= MAX_HOT_OCCURRENCES * 10 * (1 if skip_gram else most) < MAX_IN_FLIGHT


@pytest.mark.parametrize("negative", [0, 5])
def test_contexts_are_ahead_by_what_their_step_asks_or_the_tile_of_a_fused_kernel(negative):
    def ahead(skip_gram, hierarchical, **more):
        return plan(EVEN, Objective(skip_gram, negative, hierarchical, 5), **more).inputs_ahead

    paths = [ahead(True, True, **more) for more in ({}, {"on_device": True}, {"on_device": True, "fused": True})]
    assert paths == ["step", "step", "tile"]
    assert ahead(False, True, fused=True, on_device=True) == "none"
    assert not negative or ahead(True, False) == "none"


def test_expected_pairs_grow_with_frequency_and_never_fall_below_one_occurrence():
    made = plan([100_000] + [1] * 1000, epoch_tokens=1e8)
    tokens = in_flight(made, 2)
    assert made.input_pairs[0] == pytest.approx(6 * tokens * 100_000 / 101_000, rel=1e-3)
    assert (made.input_pairs[1:] == 6).all()


@pytest.mark.parametrize(
    ("negative", "window", "expected"), [(0, 5, 0), (5, 5, 32), (20, 5, 128), (1, 5, 8), (5, 10, 64)]
)
def test_shared_negatives_grow_with_what_gensim_would_draw(negative, window, expected):
    assert shared_negatives(Objective(True, negative, False, window)) == expected


@pytest.mark.parametrize("skip_gram", [True, False])
def test_window_wider_than_the_sentences_expects_no_more_pairs_than_they_have(skip_gram):
    def expected(window, **more):
        objective = Objective(skip_gram=skip_gram, negative=5, hierarchical=False, window=window)
        return plan(range(200, 0, -1), objective, epoch_tokens=1e4, **more).input_pairs

    assert np.allclose(expected(500, neighbors=9.0), expected(8))  # a window of 8, shrunk, has 9 pairs
    assert np.array_equal(expected(5, neighbors=100.0), expected(5))
    assert (expected(500, neighbors=0.0) >= 1).all()


@pytest.mark.parametrize(
    ("objective", "neighbors", "expected"),
    [
        (SKIP_GRAM, np.inf, 6 * 6 * 100),  # a window of 5, shrunk, has 6 contexts; the center and 5 negatives
        (SKIP_GRAM, 3.0, 3 * 6 * 100),
        (SKIP_GRAM, 0.0, 6 * 100),
        (Objective(False, 5, False, 5), np.inf, 6 * 100),
        (Objective(True, 0, True, 5), np.inf, 6 * 3 * 100),  # paths of three nodes
        (Objective(True, 5, True, 1000), np.inf, 1001 * 9 * 100),
        (Objective(True, 0, False, 5, softmax=True), np.inf, 4 * 100),
    ],
)
def test_work_of_a_token_counts_its_scores(objective, neighbors, expected):
    cumulative = np.arange(1, 5, dtype=np.uint32) if objective.negative else None
    paths = pack_paths([[0, 1, 0]] * 4, [[0, 1, 2]] * 4) if objective.hierarchical else None
    assert token_work(objective, Tables(keep_all(4), cumulative, paths), 4, 100, neighbors) == expected


def test_chunks_of_wide_windows_end_within_seconds_and_usual_ones_are_as_long_as_ever():
    made = plan(EVEN)
    assert chunk_tokens(made, 2, 1e8, work=6 * 6 * 300) == chunk_tokens(made, 2, 1e8) == CHUNK_TOKENS
    wide = chunk_tokens(made, 2, 1e8, work=1000 * 6 * 300)
    assert CHUNK_WORK / 2 < wide * 1000 * 6 * 300 <= CHUNK_WORK
