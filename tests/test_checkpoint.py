"""A run that is killed and resumed ends with the very vectors of the run that was not."""

import os
import random
import shutil
import signal
import sys
import time

import numpy as np
import pytest
from checkpointed import (
    CORPUS,
    EXACT,
    LOCKSTEP,
    SETTINGS,
    WORDS,
    Crash,
    assert_same_run,
    each_exact,
    interrupted,
    run,
    uninterrupted,
)
from gensim.models.callbacks import CallbackAny2Vec
from gensim.models.word2vec import LineSentence
from processes import start_process
from small_models import train

from torchw2v import StopTraining, TorchWord2Vec
from torchw2v.checkpoint import CheckpointFolder
from torchw2v.errors import (
    CheckpointMismatchError,
    CheckpointMissingError,
    SettingError,
)

pytestmark = pytest.mark.usefixtures("attended")

# ---- exact -------------------------------------------------------------------------------------------------------


@each_exact
def test_checkpoints_change_nothing(exact, tmp_path):
    sentences = CORPUS[:60] if exact.get("engine") == "reference" else CORPUS
    with_them = run(sentences, **exact, checkpoint=tmp_path, checkpoint_seconds=0)
    assert CheckpointFolder(tmp_path).numbers()[-1] >= 6  # two an epoch, however fast its chunks are trained
    assert_same_run(with_them, run(sentences, **exact))


@each_exact
@pytest.mark.parametrize("number", [2, 4, 6])
def test_run_resumed_from_any_checkpoint_ends_as_if_never_interrupted(number, exact, tmp_path, crash_after):
    sentences = CORPUS[:60] if exact.get("engine") == "reference" else CORPUS
    interrupted(tmp_path, crash_after, number, sentences, **exact)
    resumed = TorchWord2Vec.resume(tmp_path, sentences)
    straight = run(sentences, **exact)
    assert_same_run(resumed, straight)
    train(resumed, sentences)
    train(straight, sentences)
    assert_same_run(resumed, straight)  # and trains on as the other


def test_checkpoints_lie_inside_chunks_too(tmp_path, crash_after):
    units = []
    for number in range(2, 12):
        folder = tmp_path / str(number)
        interrupted(folder, crash_after, number, **LOCKSTEP)
        state = CheckpointFolder(folder).newest()[1]["position"]["state"]
        units.append(state["units"])
        assert state["report"]["chunks"] >= 0
    assert max(units) > 0


def test_run_interrupted_again_and_again_ends_the_same(tmp_path, crash_after):
    settings = {**LOCKSTEP, "seed": None}
    rounds = 0
    interrupted(tmp_path, crash_after, 6, **settings)
    while True:
        crash_after(9)
        try:
            resumed = TorchWord2Vec.resume(tmp_path, CORPUS)
        except Crash:
            rounds += 1
        else:
            break
    assert rounds > 3
    assert resumed.train_count == 1
    assert len(resumed.training_history) == 3
    assert sum(entry["raw_words"] for entry in resumed.training_history) == 3 * WORDS


def test_with_workers_changed_a_deterministic_run_ends_the_same(tmp_path, crash_after):
    interrupted(tmp_path, crash_after, 6, **LOCKSTEP)
    resumed = TorchWord2Vec.resume(tmp_path, CORPUS, workers=4)
    assert resumed.workers == 4
    assert np.array_equal(resumed.wv.vectors, run(**LOCKSTEP).wv.vectors)


def test_free_threads_resume_without_loss_of_words(tmp_path, crash_after):
    interrupted(tmp_path, crash_after, 4, workers=3)
    resumed = TorchWord2Vec.resume(tmp_path, CORPUS)
    assert [entry["raw_words"] for entry in resumed.training_history] == [WORDS] * 3
    effective = [entry["effective_words"] for entry in resumed.training_history]
    assert effective == [entry["effective_words"] for entry in run(workers=3).training_history]


def test_files_are_resumed_by_path_or_as_lines(tmp_path, crash_after):
    text = tmp_path / "corpus.txt"
    text.write_text("\n".join(map(" ".join, CORPUS)))
    settings = LOCKSTEP
    for number, (made, resumed_with) in enumerate(
        [({"corpus_file": str(text)}, {"corpus_file": str(text)}), ({"sentences": LineSentence(str(text))},) * 2]
    ):
        folder = tmp_path / str(number)
        crash_after(7)
        with pytest.raises(Crash):
            TorchWord2Vec(**made, **SETTINGS, **settings, checkpoint=folder, checkpoint_seconds=0)
        resumed = TorchWord2Vec.resume(folder, **resumed_with)
        assert_same_run(resumed, TorchWord2Vec(**made, **SETTINGS, **settings))


def test_run_by_build_vocab_and_train_is_resumed_with_its_arguments(tmp_path, crash_after):
    def by_hand(**settings):
        model = TorchWord2Vec(**{**SETTINGS, "epochs": 9}, workers=1, **settings)
        model.build_vocab(CORPUS)
        model.train(CORPUS, total_words=WORDS, epochs=2, start_alpha=0.05, end_alpha=0.01, compute_loss=True)
        return model

    crash_after(5)
    with pytest.raises(Crash):
        by_hand(checkpoint=tmp_path, checkpoint_seconds=0)
    assert_same_run(TorchWord2Vec.resume(tmp_path, CORPUS), by_hand())


def test_return_value_and_log_of_a_resumed_run_are_those_of_the_whole(tmp_path, crash_after, monkeypatch, caplog):
    interrupted(tmp_path, crash_after, 12, **LOCKSTEP)
    returned, original = [], TorchWord2Vec.train

    def train_and_tell(self, *args, **kwargs):
        returned.append(original(self, *args, **kwargs))
        return returned[-1]

    monkeypatch.setattr(TorchWord2Vec, "train", train_and_tell)
    with caplog.at_level("INFO", logger="gensim"):
        resumed = TorchWord2Vec.resume(tmp_path, CORPUS)
    run(**LOCKSTEP)
    assert returned[0] == returned[1]
    assert f"training on {3 * WORDS} raw words" in caplog.text
    assert resumed.training_history[0]["epoch"] == 0


# ---- killed ------------------------------------------------------------------------------------------------------


def run_or_resume(folder, result, settings):
    try:
        model = TorchWord2Vec.resume(folder, CORPUS)
    except CheckpointMissingError:
        model = run(**settings, checkpoint=folder, checkpoint_seconds=0)
    model.save(result)


def killed_runs(name, runs, tmp_path):
    """Kill a run at random moments until it ends; each must end as if never killed. Returns the kills.

    As many runs as asked for, and more where a fast machine ends them before they are killed once each.
    """
    straight, draw, kills = uninterrupted(name), random.Random(11), 0
    for number in range(20 * runs):
        if number >= runs and kills >= runs:
            break
        folder, result = str(tmp_path / f"run{number}"), str(tmp_path / f"{number}.model")
        lives = 0
        while not os.path.exists(result):
            lives += 1
            before = CheckpointFolder(folder).numbers()
            process = start_process(run_or_resume, folder, result, EXACT[name])
            while process.is_alive() and CheckpointFolder(folder).numbers() == before:
                time.sleep(0.002)  # on a busy machine it may take its time to begin
            process.join(draw.uniform(0, 0.05 * lives))  # longer and longer, or a busy machine would never get on
            if process.is_alive():
                process.kill()
                process.join()
                kills += 1
            assert process.exitcode in (0, -signal.SIGKILL)
        assert_same_run(TorchWord2Vec.load(result), straight)
        shutil.rmtree(folder)
    return kills


each_killed = pytest.mark.parametrize("name", ["lockstep-sg-ns", "one-worker-cbow-ns"])


@each_killed
def test_run_killed_at_random_moments_loses_nothing(name, tmp_path):
    assert killed_runs(name, 2, tmp_path) >= 2


@pytest.mark.slow
@each_killed
def test_many_runs_killed_at_random_moments_lose_nothing(name, tmp_path):
    runs = 10
    kills = killed_runs(name, runs, tmp_path)
    sys.stdout.write(f"{name}: {runs} runs, {kills} kills, {runs} recovered, difference 0\n")  # shown by pytest -rP
    assert kills >= runs


# ---- another corpus ----------------------------------------------------------------------------------------------

OTHERS = {
    "a-word-changed": [*CORPUS[:-3], ["w1"], *CORPUS[-2:]],
    "two-sentences-swapped": [CORPUS[1], CORPUS[0], *CORPUS[2:]],
    "shorter": CORPUS[:-1],
    "one-sentence-cut-in-two": [CORPUS[0][:1], CORPUS[0][1:], *CORPUS[1:]],
    "an-unknown-word-more": [[*CORPUS[0], "never seen"], *CORPUS[1:]],
    "a-generator-class": type("Stream", (), {"__iter__": lambda self: iter(CORPUS)})(),
}


@pytest.mark.parametrize("number", [1, 5], ids=["at-the-start", "inside"])
@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_another_corpus_is_refused(other, number, tmp_path, crash_after):
    interrupted(tmp_path, crash_after, number, **LOCKSTEP)
    with pytest.raises(CheckpointMismatchError, match="not the one"):
        TorchWord2Vec.resume(tmp_path, other)
    assert_same_run(TorchWord2Vec.resume(tmp_path, CORPUS), run(**LOCKSTEP))


def test_another_engine_inside_a_chunk_is_refused(tmp_path, crash_after):
    for number in range(2, 12):
        shutil.rmtree(tmp_path)
        interrupted(tmp_path, crash_after, number, **LOCKSTEP)
        if CheckpointFolder(tmp_path).newest()[1]["position"]["state"]["units"]:
            break
    with pytest.raises(CheckpointMismatchError, match=r"inside a chunk.*'reference'"):
        TorchWord2Vec.resume(tmp_path, CORPUS, engine="reference")


# ---- corpora that are read anew, and gensim's job loop -----------------------------------------------------------


class Stream:
    """An iterable that torchw2v cannot know to repeat itself."""

    def __iter__(self):
        return iter(CORPUS)


def test_stream_has_its_checkpoints_between_epochs(tmp_path, crash_after):
    settings = LOCKSTEP
    interrupted(tmp_path, crash_after, 3, Stream(), **settings)  # the start, the ends of two epochs
    position = CheckpointFolder(tmp_path).newest()[1]["position"]
    assert (position["epoch"], position["complete"], position["corpus"]) == (1, True, None)
    assert_same_run(TorchWord2Vec.resume(tmp_path, Stream()), run(Stream(), **settings))


class ByJobs(TorchWord2Vec):
    """Trained through gensim's job loop."""

    jobs = 0

    def _do_train_job(self, sentences, alpha, inits):
        self.jobs += 1
        return super()._do_train_job(sentences, alpha, inits)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_job_loop_has_its_checkpoints_between_epochs(number, tmp_path, crash_after):
    settings = {**SETTINGS, "workers": 1, "batch_words": 500}
    crash_after(number)
    with pytest.raises(Crash):
        ByJobs(CORPUS, **settings, checkpoint=tmp_path, checkpoint_seconds=0)
    resumed, straight = ByJobs.resume(tmp_path, CORPUS), ByJobs(CORPUS, **settings)
    assert type(resumed) is ByJobs
    assert 0 < resumed.jobs <= straight.jobs
    assert_same_run(resumed, straight)


def test_gensims_own_routines_have_no_checkpoints(tmp_path):
    class ByFile(TorchWord2Vec):
        def _do_train_epoch(self, *args):
            return super()._do_train_epoch(*args)

    text = tmp_path / "corpus.txt"
    text.write_text("\n".join(map(" ".join, CORPUS)))
    with pytest.raises(SettingError, match="LineSentence"):
        ByFile(corpus_file=str(text), **SETTINGS, checkpoint=tmp_path / "run")


# ---- callbacks ---------------------------------------------------------------------------------------------------


class Told(CallbackAny2Vec):
    def __init__(self):
        self.events = []

    def on_train_begin(self, model):
        self.events.append("train")

    def on_epoch_begin(self, model):
        self.events.append(f"begin {len(model.training_history)}")

    def on_epoch_end(self, model):
        self.events.append(f"end {len(model.training_history)}")

    def on_train_end(self, model):
        self.events.append("trained")


def test_callbacks_hear_of_the_epochs_that_are_left(tmp_path, crash_after):
    crash_after(2)
    with pytest.raises(Crash):
        run(Stream(), workers=1, checkpoint=tmp_path, checkpoint_seconds=0)  # after the first epoch's words
    told = Told()
    TorchWord2Vec.resume(tmp_path, Stream(), callbacks=[told])
    assert told.events == ["train", "begin 0", "end 1", "begin 1", "end 2", "begin 2", "end 3", "trained"]
    shutil.rmtree(tmp_path)
    crash_after(3)
    with pytest.raises(Crash):
        run(Stream(), workers=1, checkpoint=tmp_path, checkpoint_seconds=0)
    told = Told()
    TorchWord2Vec.resume(tmp_path, Stream(), callbacks=[told])
    assert told.events == ["train", "begin 1", "end 2", "begin 2", "end 3", "trained"]


class Shrink(CallbackAny2Vec):
    def on_epoch_end(self, model):
        model.wv.vectors *= np.float32(0.5)
        model.alpha *= 0.9


@pytest.mark.parametrize("number", [2, 4, 6])
def test_callbacks_that_change_the_model_are_resumed_exactly(number, tmp_path, crash_after):
    interrupted(tmp_path, crash_after, number, workers=1, callbacks=[Shrink()])
    resumed = TorchWord2Vec.resume(tmp_path, CORPUS, callbacks=[Shrink()])
    assert_same_run(resumed, run(workers=1, callbacks=[Shrink()]))


class StopAfter(CallbackAny2Vec):
    def __init__(self, epochs):
        self.epochs = epochs

    def on_epoch_end(self, model):
        if len(model.training_history) == self.epochs:
            raise StopTraining


def test_run_that_a_callback_stopped_is_finished(tmp_path):
    stopped = run(workers=1, checkpoint=tmp_path, checkpoint_seconds=0, callbacks=[StopAfter(2)])
    resumed = TorchWord2Vec.resume(tmp_path)
    assert len(resumed.training_history) == 2
    assert_same_run(resumed, stopped)


def test_resumed_run_can_be_stopped_too(tmp_path, crash_after):
    interrupted(tmp_path, crash_after, 6, Stream(), workers=1, epochs=9)
    resumed = TorchWord2Vec.resume(tmp_path, Stream(), callbacks=[StopAfter(7)])
    assert len(resumed.training_history) == 7
    assert resumed.train_count == 1
