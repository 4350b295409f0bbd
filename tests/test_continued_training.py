"""The learning rate, and training that goes on: more calls, new words, locked and replaced vectors."""

import logging

import numpy as np
import pytest
from support import in_time
from training import (
    TOPICS,
    WORDS,
    both_libraries,
    built,
    each_mode,
    flat,
    gensims,
    ids_of,
    of_mode,
    ours,
    train,
)

PROGRESS_ATOL = 1e-6  # examples / total and words / total are the same ratio, rounded once more


@each_mode
def test_alpha_zero_leaves_the_weights_unchanged(sg, hs):
    model = ours(TOPICS, **of_mode(sg, hs))
    before = model.wv.vectors.copy()
    hidden = (model.syn1 if hs else model.syn1neg).copy()
    assert train(model, start_alpha=0.0, end_alpha=0.0) == (3 * WORDS, 3 * WORDS)
    assert (model.alpha, model.min_alpha) == (0.0, 0.0)
    assert np.array_equal(model.wv.vectors, before)
    assert np.array_equal(model.syn1 if hs else model.syn1neg, hidden)


def test_explicit_end_alpha_of_zero_is_reached():
    model = built()
    train(model, start_alpha=0.02, end_alpha=0.0)
    assert (model.alpha, model.min_alpha) == (0.02, 0.0)
    assert 0.0 <= model.min_alpha_yet_reached < 0.02 / 3  # in the last of three epochs


def test_alphas_of_several_train_calls_are_kept_as_gensims():
    kept = {}
    for make in (gensims, ours):
        model = built(make, alpha=0.03, min_alpha=0.01)
        kept[make] = []
        for arguments in ({}, {"start_alpha": 0.02}, {"end_alpha": 0.005}, {"start_alpha": 0.01, "end_alpha": 0.001}):
            train(model, **arguments)
            kept[make].append((model.alpha, model.min_alpha, model.epochs))
    assert kept[ours] == kept[gensims]


def test_min_alpha_yet_reached_is_gensims():
    jobs = 8  # gensim's jobs an epoch, set by batch_words; we cut an epoch into about as many chunks
    settings = {"alpha": 0.05, "min_alpha": 0.01, "batch_words": WORDS // jobs}
    model, expected = built(ours, **settings), built(gensims, **settings)
    for arguments in ({}, {"start_alpha": 0.03}):
        train(model, **arguments)
        train(expected, **arguments)
        one_job = (model.alpha - model.min_alpha) / 3 / jobs
        assert model.min_alpha_yet_reached == pytest.approx(expected.min_alpha_yet_reached, abs=1.01 * one_job)


@both_libraries
def test_higher_alpha_than_before_warns(make, caplog):
    model = built(make)
    train(model)
    with caplog.at_level(logging.WARNING):
        train(model, start_alpha=0.05)
    assert "Effective 'alpha' higher than previous training cycles" in caplog.text


def test_alpha_falls_in_line_over_all_epochs(trained):
    train(built(), start_alpha=0.03, end_alpha=0.006)
    steps = [step.alpha for step in trained.steps]
    assert steps[0] == 0.03
    assert steps == sorted(steps, reverse=True)
    per_epoch = len(steps) // 3
    assert steps[per_epoch] == pytest.approx(0.022)
    assert steps[2 * per_epoch] == pytest.approx(0.014)


def test_epochs_of_train_replace_those_of_the_constructor():
    model = built(epochs=7)
    assert train(model, epochs=2) == (2 * WORDS, 2 * WORDS)
    assert model.epochs == 2
    assert len(model.training_history) == 2


def test_progress_by_words_equals_progress_by_examples():
    by_examples, by_words = built(), built()
    train(by_examples)
    by_words.train(TOPICS, total_words=WORDS, epochs=3)
    assert by_words.min_alpha_yet_reached == pytest.approx(by_examples.min_alpha_yet_reached)
    assert np.allclose(by_words.wv.vectors, by_examples.wv.vectors, atol=PROGRESS_ATOL, rtol=0)


@pytest.mark.parametrize("workers", [1, 3])
@each_mode
def test_new_words_are_trained_and_old_rows_kept_as_start(sg, hs, workers):
    model = ours(TOPICS, **of_mode(sg, hs), workers=workers)
    old = model.wv.vectors.copy()
    more = [[f"new{n % 5}", "x1", f"new{(n + 2) % 5}", "x2", "x3"] for n in range(40)]
    model.build_vocab(more, update=True)
    assert len(model.wv) == len(old) + 5
    assert np.array_equal(model.wv.vectors[: len(old)], old)
    start = model.wv.vectors.copy()
    assert in_time(lambda: train(model, more, epochs=5)) == (5 * 200, 5 * 200)
    moved = np.abs(model.wv.vectors - start).max(axis=1)
    assert (moved[len(old) :] > 0).all()
    assert moved[model.wv.key_to_index["x1"]] > 0
    assert np.isfinite(model.wv.vectors).all()
    in_time(lambda: train(model, TOPICS + more, epochs=1))


def test_corpus_is_encoded_anew_after_the_vocabulary_has_grown(trained_tokens):
    corpus = [["x0", "x1", "later", "x2"]] * 10
    model = built()
    train(model, corpus, epochs=1)
    assert len(flat(trained_tokens)) == 30
    trained_tokens.clear()
    model.build_vocab([["later"]], update=True)
    train(model, corpus, epochs=1)
    assert flat(trained_tokens) == ids_of(model, corpus)
    assert len(flat(trained_tokens)) == 40


@pytest.mark.parametrize("deterministic", [False, True], ids=["free", "deterministic"])
@each_mode
def test_locked_rows_stay_exactly_and_others_move(sg, hs, deterministic):
    model = built(**of_mode(sg, hs), deterministic=deterministic)
    before = model.wv.vectors.copy()
    model.wv.vectors_lockf = np.ones(len(model.wv), dtype=np.float32)
    model.wv.vectors_lockf[[1, 4, 5]] = 0
    train(model)
    same = (model.wv.vectors == before).all(axis=1)
    assert np.flatnonzero(same).tolist() == [1, 4, 5]


def test_single_lock_of_zero_freezes_every_row():
    model = built()
    before = model.wv.vectors.copy()
    model.wv.vectors_lockf = np.zeros(1, dtype=np.float32)
    train(model)
    assert np.array_equal(model.wv.vectors, before)
    assert model.syn1neg.any()


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


REPLACEMENTS = {
    "float64": lambda array: array.astype(np.float64),
    "float16-exact": lambda array: array.astype(np.float16),
    "fortran": np.asfortranarray,
    "read-only": read_only,
    "strided": lambda array: np.repeat(array, 2, axis=0)[::2],
}


@pytest.mark.parametrize("kind", REPLACEMENTS)
def test_vectors_that_the_user_replaced_are_trained(kind):
    start = built().wv.vectors.astype(np.float16).astype(np.float32)
    trained = []
    for replace in (np.copy, REPLACEMENTS[kind]):
        model = built()
        model.wv.vectors = replace(start)
        train(model)
        assert model.wv.vectors.dtype == np.float32
        trained.append(model.wv.vectors)
    assert np.array_equal(*trained)
    assert (trained[0] != start).any(axis=1).all()
