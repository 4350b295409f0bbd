"""The folder of checkpoints: what lies in it, and what is done about damage and full disks."""

import os
import signal
import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from checkpointed import (
    CORPUS,
    LOCKSTEP,
    SETTINGS,
    WORDS,
    Crash,
    assert_same_run,
    interrupted,
    run,
)
from gensim.models.callbacks import CallbackAny2Vec
from processes import empty_disk, fill_disk_at, start_process
from small_models import ours as small
from small_models import train

from torchw2v import TorchWord2Vec
from torchw2v.checkpoint import CheckpointFolder, RunKeeper
from torchw2v.errors import (
    CheckpointError,
    CheckpointMissingError,
    CheckpointWarning,
    FileFormatError,
    SettingError,
)

pytestmark = pytest.mark.usefixtures("attended")

# ---- the folder --------------------------------------------------------------------------------------------------


def test_first_checkpoint_is_there_before_the_first_word(tmp_path, crash_after):
    crash_after(1)
    with pytest.raises(Crash):
        run(workers=1, checkpoint=tmp_path / "new" / "folder", checkpoint_seconds=3600)
    document = CheckpointFolder(tmp_path / "new" / "folder").newest()[1]
    assert document["position"]["state"]["report"]["raw_words"] == 0
    assert_same_run(TorchWord2Vec.resume(tmp_path / "new" / "folder", CORPUS), run(workers=1))


def test_two_checkpoints_are_kept_and_interval_in_words_is_followed(tmp_path, monkeypatch):
    positions, original = [], RunKeeper._write

    def write(self, document):
        original(self, document)
        positions.append(document["position"])
        assert len(os.listdir(tmp_path)) <= 2

    monkeypatch.setattr(RunKeeper, "_write", write)
    # In lockstep the caller looks after every round; a free thread may be a chunk or more ahead of it.
    run(**LOCKSTEP, checkpoint=tmp_path, checkpoint_seconds=None, checkpoint_words=WORDS // 2)
    words = [p["epoch"] * WORDS + p["state"]["report"]["raw_words"] for p in positions[:-1]]
    assert words[0] == 0
    assert all(WORDS // 2 <= later - earlier < WORDS for earlier, later in pairwise(words))
    assert 4 <= len(positions) <= 8
    assert positions[-1] is None  # the run has come to its end
    assert len(os.listdir(tmp_path)) == 2


def test_finished_run_comes_back_without_training_and_gives_its_folder_up(tmp_path, monkeypatch):
    settings = LOCKSTEP
    finished = run(**settings, checkpoint=tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(TorchWord2Vec, "_train_epoch", None)
        assert_same_run(TorchWord2Vec.resume(tmp_path, None), finished)
    run(**{**settings, "seed": 8}, checkpoint=tmp_path)
    assert TorchWord2Vec.resume(tmp_path).seed == 8


def test_unfinished_run_is_not_overwritten(tmp_path, crash_after):
    interrupted(tmp_path, crash_after, 3, **LOCKSTEP)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    with pytest.raises(CheckpointError, match=r"unfinished run \(in epoch 1\).*resume"):
        run(iter(()), checkpoint=tmp_path)  # before the corpus is looked at
    model = TorchWord2Vec(**SETTINGS, workers=1)
    model.build_vocab(CORPUS)
    model.checkpoint = tmp_path
    with pytest.raises(CheckpointError, match="unfinished"):
        train(model, CORPUS)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_nothing_to_resume_is_said(tmp_path):
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(CheckpointMissingError, match="no checkpoint"):
            TorchWord2Vec.resume(folder, CORPUS)


def test_checkpoint_settings_are_not_saved_with_the_model(tmp_path):
    model = run(workers=1, checkpoint=tmp_path / "run")
    model.save(str(tmp_path / "m.model"))
    assert TorchWord2Vec.load(str(tmp_path / "m.model")).checkpoint is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"checkpoint_seconds": None}, "needs checkpoint_seconds or checkpoint_words"),
        ({"checkpoint_seconds": -1}, "checkpoint_seconds=-1"),
        ({"checkpoint_words": "many"}, "checkpoint_words='many'"),
        ({"checkpoint_seconds": float("nan")}, "checkpoint_seconds=nan"),
    ],
)
def test_bad_interval_is_refused(settings, message, tmp_path):
    with pytest.raises(SettingError, match=message):
        run(checkpoint=tmp_path, **settings)


def test_leftovers_of_a_killed_write_are_cleared_away(tmp_path, crash_after):
    interrupted(tmp_path, crash_after, 3, workers=1)
    half = tmp_path / ".checkpoint-00000004.npz.saving-abc"
    half.mkdir()
    (half / "checkpoint-00000004.npz").write_bytes(b"half")
    TorchWord2Vec.resume(tmp_path, CORPUS)
    assert not half.exists()


# ---- damage ------------------------------------------------------------------------------------------------------


def newest_file(folder):
    names = CheckpointFolder(folder)
    return Path(names.file(names.numbers()[-1]))


def cut(path, content):
    path.write_bytes(content[: int(0.6 * len(content))])


def cut_in_the_header(path, content):
    path.write_bytes(content[:10])


def empty(path, content):
    path.write_bytes(b"")


def flip(path, content):
    broken = bytearray(content)
    broken[len(broken) // 2] ^= 0xFF
    path.write_bytes(broken)


def pickled(path, content):
    path.write_bytes(b"\x80\x04cos\nsystem\n.")


DAMAGES = {f.__name__: f for f in (cut, cut_in_the_header, empty, flip, pickled)}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_checkpoint_leaves_the_one_before_it(damage, tmp_path, crash_after, caplog):
    interrupted(tmp_path, crash_after, 8, **LOCKSTEP)
    file = newest_file(tmp_path)
    damage(file, file.read_bytes())
    resumed = TorchWord2Vec.resume(tmp_path, CORPUS)
    assert file.name in caplog.text
    assert "trying the one before" in caplog.text
    assert_same_run(resumed, run(**LOCKSTEP))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_without_a_whole_checkpoint_each_is_named_with_its_fault(damage, tmp_path, crash_after):
    interrupted(tmp_path, crash_after, 8, **LOCKSTEP)
    names = CheckpointFolder(tmp_path)
    for number in names.numbers():
        damage(Path(names.file(number)), Path(names.file(number)).read_bytes())
    with pytest.raises(CheckpointError) as caught:
        TorchWord2Vec.resume(tmp_path, CORPUS)
    assert all(names.file(number) in str(caught.value) for number in names.numbers())
    with pytest.raises(CheckpointError):
        run(checkpoint=tmp_path)


def test_checkpoint_of_another_version_is_refused(tmp_path, crash_after):
    interrupted(tmp_path, crash_after, 2, workers=1)
    for file in tmp_path.iterdir():
        with np.load(file) as stored:
            arrays = dict(stored)
        text = arrays.pop("document").tobytes().replace(b'"version": 1', b'"version": 9')
        np.savez(file, document=np.frombuffer(text, np.uint8), **arrays)
    with pytest.raises(CheckpointError, match="version 9; this torchw2v reads 1"):
        TorchWord2Vec.resume(tmp_path, CORPUS)


def test_checkpoint_that_lacks_a_part_is_refused(tmp_path, crash_after):
    interrupted(tmp_path, crash_after, 1, workers=1)
    arrays, document = CheckpointFolder(tmp_path).newest()
    del document["call"]
    for _ in range(2):
        CheckpointFolder(tmp_path).write(arrays, document)
    with pytest.raises(CheckpointError, match=r"it lacks \['call'\]"):
        TorchWord2Vec.resume(tmp_path, CORPUS)


def test_checkpoint_with_a_false_position_is_refused(tmp_path, crash_after):
    interrupted(tmp_path, crash_after, 2, workers=1)
    arrays, document = CheckpointFolder(tmp_path).newest()
    document["position"]["state"]["report"]["surprise"] = 1
    CheckpointFolder(tmp_path).write(arrays, document)
    with pytest.raises(FileFormatError, match="position"):
        TorchWord2Vec.resume(tmp_path, CORPUS)


def test_checkpoint_holds_no_pickle(tmp_path):
    run(workers=1, checkpoint=tmp_path)
    with zipfile.ZipFile(newest_file(tmp_path)) as file:
        for name in file.namelist():
            assert b"|O" not in file.read(name)[:128], name


# ---- a full disk -------------------------------------------------------------------------------------------------


def full_disk_from_the_second_epoch(folder, answer):
    class Fill(CallbackAny2Vec):
        epoch = 0

        def on_epoch_begin(self, model):
            self.epoch += 1
            if self.epoch == 2:
                fill_disk_at(4096)

        def on_train_end(self, model):
            empty_disk()

    with pytest.warns(CheckpointWarning, match="training goes on") as warned:
        model = run(workers=1, checkpoint=folder, checkpoint_seconds=0, callbacks=[Fill()])
    assert len(warned) > 1
    model.save(answer)


def test_run_goes_on_while_the_disk_is_full_and_says_so(tmp_path):
    process = start_process(full_disk_from_the_second_epoch, str(tmp_path / "run"), str(tmp_path / "m.model"))
    process.join()
    assert process.exitcode == 0
    assert_same_run(TorchWord2Vec.load(str(tmp_path / "m.model")), run(workers=1))
    assert len(os.listdir(tmp_path / "run")) == 2
    assert_same_run(TorchWord2Vec.resume(tmp_path / "run"), run(workers=1))  # there was room again at its end


def full_disk_from_the_second_epoch_then_killed(folder):
    class Fill(CallbackAny2Vec):
        epoch = 0

        def on_epoch_begin(self, model):
            self.epoch += 1
            if self.epoch == 2:
                fill_disk_at(4096)
            if self.epoch == 3:
                os.kill(os.getpid(), signal.SIGKILL)

    run(workers=1, checkpoint=folder, checkpoint_seconds=0, callbacks=[Fill()])


def test_last_checkpoint_before_the_disk_was_full_serves(tmp_path):
    process = start_process(full_disk_from_the_second_epoch_then_killed, str(tmp_path))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert CheckpointFolder(tmp_path).newest()[1]["position"]["epoch"] == 0
    assert_same_run(TorchWord2Vec.resume(tmp_path, CORPUS), run(workers=1))


def test_folder_that_cannot_be_written_stops_the_run_at_its_start(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CheckpointError, match="no checkpoint can be written into"):
        run(checkpoint=tmp_path / "file")
    with pytest.raises(FileFormatError, match="JSON has no set"):
        run(checkpoint=tmp_path / "run", comment={1})


def test_small_corpora_can_be_resumed(tmp_path, crash_after):
    crash_after(3)
    with pytest.raises(Crash):
        small([["a", "b"]] * 3, checkpoint=tmp_path, checkpoint_seconds=0)
    assert np.array_equal(
        TorchWord2Vec.resume(tmp_path, [["a", "b"]] * 3).wv.vectors, small([["a", "b"]] * 3).wv.vectors
    )
