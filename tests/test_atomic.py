"""A crash, a full disk or an error while writing leaves what was there before."""

import os
import random
import signal
import stat
import time

import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec
from processes import fill_disk_at, start_process
from small_models import TOPICS, assert_same_weights, ours

from torchw2v import TorchWord2Vec, atomic_write

EVERY_MATRIX_IN_A_FILE = {"sep_limit": 0}


def two_models():
    return [ours(TOPICS, seed=seed, vector_size=40) for seed in (1, 2)]


def assert_is_one_of(loaded, models):
    """All matrices are those of the same model."""
    matches = [
        [np.array_equal(a, b) for a, b in ((loaded.wv.vectors, m.wv.vectors), (loaded.syn1neg, m.syn1neg))]
        for m in models
    ]
    assert [True, True] in matches, matches


def leftovers(folder):
    return [name for name in os.listdir(folder) if name.startswith(".")]


# ---- killed ------------------------------------------------------------------------------------------------------


def save_for_ever(path, how, ready):
    models = two_models()
    for n in range(10**9):
        models[n % 2].save(path, **how)
        if n == 1:
            open(ready, "w").close()


@pytest.mark.parametrize("how", [{}, EVERY_MATRIX_IN_A_FILE], ids=["one-file", "side-files"])
def test_model_is_whole_after_a_kill_at_any_moment(how, tmp_path):
    models, path, ready = two_models(), str(tmp_path / "m.model"), str(tmp_path / "ready")
    draw = random.Random(3)
    for _ in range(8):
        process = start_process(save_for_ever, path, how, ready)
        while not os.path.exists(ready):
            assert process.is_alive()
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        os.remove(ready)
        if not how:
            assert_is_one_of(Word2Vec.load(path), models)  # plain gensim, too, sees a whole model
        assert_is_one_of(TorchWord2Vec.load(path), models)
    models[0].save(path, **how)
    assert_same_weights(TorchWord2Vec.load(path), models[0])


def save_and_die(path, operation, at):
    """Save, and be killed just before the `at`-th call of a function of os; exit code 0 if there are fewer calls."""
    new = two_models()[1]
    original, calls = getattr(os, operation), []

    def deadly(*args, **kwargs):
        calls.append(args)
        if len(calls) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(os, operation, deadly)
    new.save(path, **EVERY_MATRIX_IN_A_FILE)


@pytest.mark.parametrize("operation", ["replace", "rename", "remove", "rmdir", "fsync"])
def test_model_with_side_files_is_never_a_mixture(operation, tmp_path):
    old, new = two_models()
    killed, states = 0, []
    for at in range(1, 20):
        path = str(tmp_path / f"{at}.model")
        old.save(path, **EVERY_MATRIX_IN_A_FILE)
        process = start_process(save_and_die, path, operation, at)
        process.join()
        if process.exitcode == 0:
            break
        killed += 1
        assert process.exitcode == -signal.SIGKILL
        try:  # plain gensim sees a whole model, or clearly none until the write is completed
            assert_is_one_of(Word2Vec.load(path), [old, new])
        except FileNotFoundError:
            states.append("none for gensim")
        loaded = TorchWord2Vec.load(path)
        assert_is_one_of(loaded, [old, new])
        states.append("new" if np.array_equal(loaded.wv.vectors, new.wv.vectors) else "old")
        assert_is_one_of(Word2Vec.load(path), [old, new])  # completed by our load
    else:
        pytest.fail("it never came to its end")
    assert killed >= 1
    expected = {"replace": "new", "rename": "old", "remove": "new", "rmdir": "new"}
    if operation in expected:
        assert set(states) - {"none for gensim"} == {expected[operation]}


# ---- full disks and errors ---------------------------------------------------------------------------------------


def save_on_a_full_disk(path, how, answer):
    model = ours(TOPICS, vector_size=2000)
    fill_disk_at(50_000)
    try:
        model.save(path, **how)
    except OSError:
        open(answer, "w").close()


@pytest.mark.parametrize("how", [{}, EVERY_MATRIX_IN_A_FILE], ids=["one-file", "side-files"])
def test_full_disk_raises_and_leaves_the_old_model(how, tmp_path):
    old, path, answer = ours(TOPICS), str(tmp_path / "m.model"), str(tmp_path / "answer")
    old.save(path, **how)
    process = start_process(save_on_a_full_disk, path, how, answer)
    process.join()
    assert process.exitcode == 0
    assert os.path.exists(answer), "no OSError was raised"
    assert_same_weights(TorchWord2Vec.load(path), old)
    assert leftovers(tmp_path) == []


def test_error_while_pickling_leaves_the_old_model(tmp_path):
    model, path = ours(TOPICS), str(tmp_path / "m.model")
    model.save(path, **EVERY_MATRIX_IN_A_FILE)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    model.wv.vectors += 1
    model.unpicklable = lambda: None
    with pytest.raises(Exception, match="pickle"):
        model.save(path, **EVERY_MATRIX_IN_A_FILE)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


def test_model_that_maps_its_own_files_can_be_saved_over_them(tmp_path):
    model, path = ours(TOPICS), str(tmp_path / "m.model")
    model.save(path, **EVERY_MATRIX_IN_A_FILE)
    mapped = TorchWord2Vec.load(path, mmap="r")
    mapped.save(path, **EVERY_MATRIX_IN_A_FILE)
    assert_same_weights(mapped, model)
    assert_same_weights(TorchWord2Vec.load(path), model)


# ---- where it writes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_word2vec_format_written_atomically(binary, tmp_path):
    model, path = ours(TOPICS), tmp_path / "vectors.gz"
    path.write_text("old")
    with atomic_write(path) as temporary:
        model.wv.save_word2vec_format(temporary, binary=binary)
        assert path.read_text() == "old"
    back = KeyedVectors.load_word2vec_format(str(path), binary=binary)
    assert np.allclose(back.vectors, model.wv.vectors, atol=1e-6)
    assert os.listdir(tmp_path) == ["vectors.gz"]


def test_error_in_the_block_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(KeyError), atomic_write(path) as temporary:
        with open(temporary, "w") as file:
            file.write("half")
        raise KeyError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_block_that_writes_nothing_is_an_error(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(FileNotFoundError, match="nothing was written"), atomic_write(path):
        pass
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["f"]


def test_permissions_of_a_replaced_file_are_kept_and_new_ones_are_usual(tmp_path):
    path, model = tmp_path / "m.model", ours(TOPICS)
    model.save(str(path))
    usual = tmp_path / "usual"
    usual.touch()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    path.chmod(0o640)
    model.save(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_link_goes_on_pointing_to_the_file_it_pointed_to(tmp_path):
    real, link = tmp_path / "real.model", tmp_path / "link.model"
    model, other = two_models()
    model.save(str(real))
    link.symlink_to(real)
    other.save(str(link))
    assert link.is_symlink()
    assert_same_weights(TorchWord2Vec.load(str(real)), other)


def test_what_is_no_file_is_written_directly(tmp_path):
    pipe, model = tmp_path / "pipe", ours(TOPICS)
    os.mkfifo(pipe)
    process = start_process(copy_pipe, str(pipe), str(tmp_path / "copy"))
    model.save(str(pipe))
    process.join()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert np.array_equal(TorchWord2Vec.load(str(tmp_path / "copy")).wv.vectors, model.wv.vectors)
    with pytest.raises(OSError, match="No space left"):
        model.save("/dev/full")


def copy_pipe(pipe, target):
    with open(pipe, "rb") as source, open(target, "wb") as copy:
        copy.write(source.read())


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere"):
        ours(TOPICS).save(str(tmp_path / "nowhere" / "m.model"))
