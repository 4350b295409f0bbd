"""Callbacks, counts, log lines and the progress bar."""

import logging
import re
from itertools import pairwise

import numpy as np
import pytest
from gensim.models.callbacks import CallbackAny2Vec
from training import TOPICS, WORDS, AtEpochEnd, built, gensims, ours, train

NORM_RTOL = 1e-6  # float32

# ---- callbacks ------------------------------------------------------------------------------------------------------


class Recorder(CallbackAny2Vec):
    """Writes down each event, with what can be asked of the model then."""

    def __init__(self, events, name):
        self.events, self.name = events, name

    def note(self, event, model):
        self.events.append((self.name, event, model.train_count, len(model.wv), model.epochs))

    def on_train_begin(self, model):
        self.note("train begins", model)

    def on_epoch_begin(self, model):
        self.note("epoch begins", model)

    def on_epoch_end(self, model):
        self.note("epoch ends", model)

    def on_train_end(self, model):
        self.note("train ends", model)


def test_callback_events_come_in_gensims_order(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(map(" ".join, TOPICS)))
    order = {}
    for make in (gensims, ours):
        events = order[make] = []
        callbacks = [Recorder(events, "first"), Recorder(events, "second")]
        model = make(TOPICS, callbacks=callbacks)
        train(model, epochs=2, callbacks=callbacks)
        model.train(corpus_file=str(path), total_words=WORDS, epochs=1, callbacks=callbacks[:1])
        train(model, epochs=1)
    assert order[ours] == order[gensims]
    assert len(order[ours]) == 2 * (2 + 2 * 3) + 2 * (2 + 2 * 2) + (2 + 2)


@pytest.mark.parametrize("deterministic", [False, True], ids=["free", "deterministic"])
def test_norms_at_an_epochs_end_are_those_of_the_current_vectors(deterministic):
    seen = []

    def look(model):
        model.wv.most_similar("x0")
        model.wv.fill_norms()
        assert np.allclose(model.wv.norms, np.linalg.norm(model.wv.vectors, axis=1), rtol=NORM_RTOL)
        seen.append(model.wv.vectors.copy())

    model = ours(TOPICS, callbacks=[AtEpochEnd(look)], deterministic=deterministic, epochs=4)
    assert len(seen) == 4
    for earlier, later in pairwise(seen):
        assert not np.array_equal(earlier, later)
    assert np.array_equal(seen[-1], model.wv.vectors)
    model.wv.fill_norms()
    assert np.allclose(model.wv.norms, np.linalg.norm(model.wv.vectors, axis=1), rtol=NORM_RTOL)


def test_callbacks_that_only_look_do_not_change_training():
    looked = ours(TOPICS, callbacks=[AtEpochEnd(lambda model: model.wv.most_similar("x0"))])
    assert np.array_equal(looked.wv.vectors, ours(TOPICS).wv.vectors)


def test_vectors_changed_by_a_callback_are_trained_on():
    def reset(model):
        model.wv.vectors = np.zeros((len(model.wv), 12), dtype=np.float64)

    model = ours(TOPICS, callbacks=[AtEpochEnd(reset)])
    assert not model.wv.vectors.any()
    assert train(model, epochs=1) == (WORDS, WORDS)
    assert model.wv.vectors.any()


# ---- counts, log lines, progress bar --------------------------------------------------------------------------------


def test_train_returns_gensims_word_counts():
    counts = {}
    for make in (gensims, ours):
        model = built(make, min_count=80)  # some words fall out of the vocabulary
        unknown = [["never", "seen"], ["x0", "never", "x1"], []]
        counts[make] = [train(model), train(model, unknown, epochs=2), train(model, [[]], epochs=1)]
        counts[make] += [len(model.wv), model.train_count, model.corpus_count, model.corpus_total_words]
    assert counts[ours] == counts[gensims]
    assert counts[ours][0][0] < counts[ours][0][1] == 3 * WORDS


def test_subsampling_drops_about_as_many_words_as_gensims():
    settings = {"sample": 0.01, "epochs": 10}
    expected, _ = train(built(gensims, **settings), epochs=10)
    effective, raw = train(built(ours, **settings), epochs=10)
    deviation = np.sqrt(raw)  # at most sqrt(raw) / 2 for each of two sums of independent draws
    assert raw == 10 * WORDS
    assert effective == pytest.approx(expected, abs=4 * deviation)
    assert effective < 0.9 * raw


def test_train_counts_time_and_calls():
    model = built()
    train(model)
    train(model)
    assert model.train_count == 2
    assert model.total_train_time > 0


def test_log_has_gensims_epoch_lines(caplog):
    lines = {}
    for make in (gensims, ours):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            train(built(make), TOPICS + TOPICS[:1])
        messages = [record.getMessage() for record in caplog.records]
        kept = [m for m in messages if m.startswith("EPOCH") and "PROGRESS" not in m]
        lines[make] = [re.sub(r"took .*", "took", message) for message in kept]
    assert f"EPOCH 0: training on {WORDS + 10} raw words ({WORDS + 10} effective words) took" in lines[ours]
    assert "EPOCH 0: supplied example count (121) did not equal expected count (120)" in lines[ours]
    assert lines[ours] == lines[gensims]


def test_log_names_device_and_engine(caplog):
    with caplog.at_level(logging.INFO, logger="torchw2v"):
        ours(TOPICS)
        ours(TOPICS, engine="torch")
    assert "training on cpu with engine 'numba'" in caplog.text
    assert "training on cpu with engine 'torch'" in caplog.text


def test_progress_bar_prints_and_changes_nothing(capfd):
    plain = ours(TOPICS)
    assert "epoch" not in capfd.readouterr().err
    with_bar = ours(TOPICS, progress_bar=True)
    printed = capfd.readouterr().err
    for epoch in (1, 2, 3):
        assert f"epoch {epoch}/3" in printed
    assert "words" in printed
    assert np.array_equal(with_bar.wv.vectors, plain.wv.vectors)
