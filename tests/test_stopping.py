"""Callbacks stop a run, see current vectors and norms, and write to TensorBoard; the course of training as a figure."""

import math
import sys
from itertools import pairwise

import numpy as np
import pytest
from gensim.models.callbacks import CallbackAny2Vec
from small_models import TOPICS, WORDS, assert_same_weights, each_mode, ours, train
from support import in_time
from training import AtEpochEnd

from torchw2v import StopTraining, TensorBoardWriter, TorchWord2Vec
from torchw2v.errors import NothingToPlotError


class Stop(CallbackAny2Vec):
    """Stops at an event of an epoch, and counts what it hears."""

    def __init__(self, event, epoch):
        self.event, self.epoch, self.heard = event, epoch, []

    def hear(self, event):
        self.heard.append(event)
        if event == self.event and self.heard.count(event) == self.epoch:
            raise StopTraining

    def on_train_begin(self, model):
        self.hear("train_begin")

    def on_epoch_begin(self, model):
        self.hear("epoch_begin")

    def on_epoch_end(self, model):
        self.hear("epoch_end")

    def on_train_end(self, model):
        self.hear("train_end")


# ---- stopping ----------------------------------------------------------------------------------------------------


@each_mode
def test_stopped_model_is_that_of_the_epochs_trained_and_trains_on(mode):
    seen = []
    full = ours(TOPICS, **mode, epochs=5, callbacks=[AtEpochEnd(lambda m: seen.append(m.wv.vectors.copy()))])
    stop = Stop("epoch_end", 2)
    model = ours(TOPICS, **mode, epochs=5, callbacks=[stop])
    assert stop.heard == ["train_begin", *["epoch_begin", "epoch_end"] * 2, "train_end"]
    assert np.array_equal(model.wv.vectors, seen[1])
    assert not np.array_equal(model.wv.vectors, full.wv.vectors)
    assert model.train_count == 1
    assert model.wv.norms is None
    assert len(model.training_history) == 2
    assert model.wv.most_similar("x0")
    assert train(model)[1] == 2 * WORDS
    assert model.train_count == 2


@pytest.mark.parametrize(
    ("event", "epoch", "trained"),
    [("train_begin", 1, 0), ("epoch_begin", 1, 0), ("epoch_begin", 3, 2), ("epoch_end", 1, 1), ("train_end", 1, 4)],
)
def test_train_returns_the_words_that_were_trained(event, epoch, trained, caplog):
    model = ours(sample=0)
    model.build_vocab(TOPICS)
    with caplog.at_level("INFO", logger="gensim"):
        words = train(model, epochs=4, callbacks=[Stop(event, epoch)])
    assert words == (trained * WORDS, trained * WORDS)
    assert model.train_count == 1
    assert caplog.text.count(f"training on {trained * WORDS} raw words ({trained * WORDS} effective words) took") >= 1


def test_words_of_an_earlier_call_are_not_counted_again():
    model = ours(TOPICS, sample=0)
    assert train(model, epochs=4, callbacks=[Stop("epoch_end", 1)]) == (WORDS, WORDS)


def test_gensims_job_loop_can_be_stopped():
    class ByJobs(TorchWord2Vec):
        def _do_train_job(self, sentences, alpha, inits):
            return super()._do_train_job(sentences, alpha, inits)

    model = ByJobs(min_count=1, vector_size=8, workers=2, device="cpu")
    model.build_vocab(TOPICS)
    in_time(lambda: train(model, epochs=9, callbacks=[Stop("epoch_end", 3)]))
    assert len(model.training_history) == 3


def test_corpus_can_stop_the_run_in_the_middle_of_an_epoch():
    class Ending:
        passes = 0

        def __iter__(self):
            self.passes += 1
            yield from TOPICS[:40]
            if self.passes == 3:  # the first pass counts the words
                raise StopTraining
            yield from TOPICS[40:]

    model = in_time(lambda: ours(Ending(), epochs=5))
    assert len(model.training_history) == 1
    assert np.isfinite(model.wv.vectors).all()
    assert train(model)[1] == 2 * WORDS


def test_early_stopping_by_the_loss():
    class Patience(CallbackAny2Vec):
        def on_epoch_end(self, model):
            losses = [epoch["mean_loss"] for epoch in model.training_history]
            if len(losses) > 1 and losses[-1] > 0.9 * losses[-2]:
                raise StopTraining

    model = ours(TOPICS, epochs=50, compute_loss=True, alpha=0.1, callbacks=[Patience()])
    losses = [epoch["mean_loss"] for epoch in model.training_history]
    assert 2 <= len(losses) < 50
    assert losses[-1] > 0.9 * losses[-2]
    assert all(later <= 0.9 * earlier for earlier, later in pairwise(losses[:-1]))


# ---- what callbacks see ------------------------------------------------------------------------------------------


def test_callbacks_see_current_vectors_and_norms():
    seen = []

    def look(model):
        similar = model.wv.most_similar("x0", topn=3)
        normed = model.wv.vectors / np.linalg.norm(model.wv.vectors, axis=1, keepdims=True)
        scores = normed @ normed[model.wv.key_to_index["x0"]]
        assert np.allclose([score for _, score in similar], np.sort(scores)[::-1][1:4], atol=1e-6)
        assert np.allclose(model.wv.norms, np.linalg.norm(model.wv.vectors, axis=1))
        seen.append(model.wv.vectors.copy())

    ours(TOPICS, epochs=3, alpha=0.2, callbacks=[AtEpochEnd(look)])
    assert len(seen) == 3
    assert not np.array_equal(seen[0], seen[1])


def test_history_tells_words_a_second():
    for entry in ours(TOPICS, epochs=3, sample=0).training_history:
        assert entry["words_per_second"] == pytest.approx(entry["effective_words"] / entry["seconds"])
        assert 0 < entry["words_per_second"] < math.inf


# ---- TensorBoard -------------------------------------------------------------------------------------------------


def test_tensorboard_file_holds_every_epochs_scalars(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer, largest = TensorBoardWriter(tmp_path), []
    look = AtEpochEnd(lambda m: largest.append(np.linalg.norm(m.wv.vectors, axis=1).max()))
    model = ours(TOPICS, epochs=3, compute_loss=True, callbacks=[writer, look])
    train(model, compute_loss=True, callbacks=[writer, look])  # goes on in the same folder
    read = accumulator.EventAccumulator(str(tmp_path))
    read.Reload()
    for name in ("alpha", "words_per_second", "mean_loss"):
        events = read.Scalars(f"word2vec/{name}")
        assert [event.step for event in events] == [1, 2, 3, 4, 5]
        assert np.allclose([event.value for event in events], [epoch[name] for epoch in model.training_history])
    assert np.allclose([event.value for event in read.Scalars("word2vec/largest_norm")], largest)


def test_tensorboard_without_a_loss_writes_the_rest(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    ours(TOPICS, callbacks=[TensorBoardWriter(tmp_path)])
    read = accumulator.EventAccumulator(str(tmp_path))
    read.Reload()
    assert "word2vec/alpha" in read.Tags()["scalars"]
    assert "word2vec/mean_loss" not in read.Tags()["scalars"]


# ---- the figure --------------------------------------------------------------------------------------------------


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def drawn(axis):
    return [np.asarray(line.get_ydata()) for line in axis.lines if line.get_marker() == "o"]


def test_figure_shows_loss_alpha_and_speed_of_each_train_call(pyplot, tmp_path):
    model = ours(TOPICS, epochs=3, compute_loss=True)
    train(model, compute_loss=True)
    figure = model.plot_training()
    assert [axis.get_ylabel().split()[0] for axis in figure.axes] == ["loss", "learning", "effective"]
    for axis, name in zip(figure.axes, ("mean_loss", "alpha", "words_per_second"), strict=True):
        first, second = drawn(axis)
        assert np.array_equal([*first, *second], [epoch[name] for epoch in model.training_history])
        assert (len(first), len(second)) == (3, 2)
    figure.savefig(tmp_path / "course.png")
    assert (tmp_path / "course.png").stat().st_size > 5000


def test_figure_without_a_loss_has_two_panels(pyplot):
    figure = ours(TOPICS).plot_training()
    assert len(figure.axes) == 2
    assert "dotted" not in figure.axes[-1].get_xlabel()


def test_figure_of_an_untrained_model_is_refused(pyplot):
    with pytest.raises(NothingToPlotError, match="train the model first"):
        ours().plot_training()


@pytest.mark.parametrize(
    ("package", "call", "extra"),
    [
        ("matplotlib", lambda path: ours(TOPICS).plot_training(), "plot"),
        ("tensorboard", TensorBoardWriter, "tensorboard"),
    ],
)
def test_missing_package_is_named_with_the_extra(package, call, extra, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.split(".")[0] == package or name == "torch.utils.tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install 'torchw2v\[{extra}\]'"):
        call(tmp_path)


# ---- the bar -----------------------------------------------------------------------------------------------------


def test_bar_is_the_one_that_tqdm_finds_right_for_the_place(monkeypatch):
    auto, bars = pytest.importorskip("tqdm.auto"), []

    class Bar(auto.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            bars.append(self)

    monkeypatch.setattr(auto, "tqdm", Bar)  # in a notebook: tqdm.notebook's
    with_bar = ours(TOPICS, epochs=3, progress_bar=True)
    assert [bar.n for bar in bars] == [WORDS] * 3
    assert_same_weights(with_bar, ours(TOPICS, epochs=3))
    bars.clear()
    train(with_bar)
    assert [bar.desc.strip(": ") for bar in bars] == ["epoch 1/2", "epoch 2/2"]
