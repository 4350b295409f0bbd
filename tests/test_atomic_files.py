"""What is written beside models, vectors and what commands and figures write, is whole or as before, too."""

import copy
import importlib.util
import os
import pickle
import resource
import shutil
import signal
import sys

import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec
from processes import fill_disk_at, start_process
from small_models import TOPICS, ours

import torchw2v
from torchw2v import TorchWord2Vec, cli
from torchw2v.model_vectors import ModelVectors

# ---- vectors alone -----------------------------------------------------------------------------------------------

FORMATS = {
    "text": lambda wv, path: wv.save_word2vec_format(path),
    "binary": lambda wv, path: wv.save_word2vec_format(path, binary=True),
    "save": lambda wv, path: wv.save(path),
    "save-side-files": lambda wv, path: wv.save(path, sep_limit=0),
    "vocabulary": lambda wv, path: wv.save_word2vec_format(os.devnull, fvocab=path),
}
each_format = pytest.mark.parametrize("format", FORMATS)


def files_in(folder):
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


def wide_model(seed):
    """Vectors and their words take several of the blocks in which files are written."""
    model = TorchWord2Vec(min_count=1, vector_size=100, seed=seed)
    model.build_vocab([[f"word{n}" for n in range(300)]])
    return model


def write_and_die(path, format, size):
    """Write over a file; a write beyond `size` bytes kills the process."""
    model = wide_model(seed=2)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    FORMATS[format](model.wv, path)


@each_format
def test_vectors_killed_half_way_leave_the_old_file(format, tmp_path):
    old, path = wide_model(seed=1), tmp_path / "vectors"
    FORMATS[format](old.wv, str(path))
    before = files_in(tmp_path)
    process = start_process(write_and_die, str(path), format, len(before["vectors"]) // 2)
    process.join()
    assert process.exitcode == -signal.SIGXFSZ
    after = files_in_place(tmp_path)
    assert after == before
    FORMATS[format](old.wv, str(path))  # what the killed process left behind is in nobody's way
    assert files_in_place(tmp_path).keys() == before.keys()  # a pickle has the time in it


def files_in_place(folder):
    for leftover in folder.glob(".*"):
        shutil.rmtree(leftover)
    return files_in(folder)


def write_on_a_full_disk(path, format, size, answer):
    model = wide_model(seed=2)
    fill_disk_at(size)
    try:
        FORMATS[format](model.wv, path)
    except OSError as error:
        os.write(os.open(answer, os.O_CREAT | os.O_WRONLY), str(error).encode())


@each_format
def test_vectors_on_a_full_disk_leave_the_old_file(format, tmp_path):
    folder, answer = tmp_path / "vectors", tmp_path / "answer"
    folder.mkdir()
    FORMATS[format](wide_model(seed=1).wv, str(folder / "v"))
    before = files_in(folder)
    process = start_process(write_on_a_full_disk, str(folder / "v"), format, len(before["v"]) // 2, str(answer))
    process.join()
    assert process.exitcode == 0
    message = answer.read_text()
    assert str(folder / "v") in message
    assert "too large" in message or "requested and" in message  # which is what numpy says of an array
    assert files_in(folder) == before


@each_format
def test_vectors_in_place_of_old_ones_are_those_that_gensim_writes(format, tmp_path):
    model, path, expected = wide_model(seed=1), tmp_path / "ours" / "v", tmp_path / "gensims" / "v"
    for place, wv in ((path, model.wv), (expected, model.to_gensim().wv)):
        place.parent.mkdir()
        place.write_bytes(b"something old")
        FORMATS[format](wv, str(place))
    if format.startswith("save"):  # pickles: equal, but for the log of what happened to them
        first, second = (KeyedVectors.load(str(place)) for place in (path, expected))
        assert type(first) is KeyedVectors and np.array_equal(first.vectors, second.vectors)
        assert sorted(os.listdir(path.parent)) == sorted(os.listdir(expected.parent))
    else:
        assert files_in(path.parent) == files_in(expected.parent)


def test_words_written_behind_others_stay_in_the_same_file(tmp_path):
    model, path = wide_model(seed=1), tmp_path / "v"
    path.write_bytes(b"")
    node = path.stat().st_ino
    model.wv.save_word2vec_format(path, append=True, total_vec=600)
    model.wv.save_word2vec_format(path, append=True, write_header=False, prefix="again-")
    assert path.stat().st_ino == node
    assert len(KeyedVectors.load_word2vec_format(str(path))) == 600


def test_a_models_vectors_are_gensims_wherever_they_go(tmp_path):
    model = ours(TOPICS)
    model.wv.save(tmp_path / "v")
    going = [pickle.loads(pickle.dumps(model.wv)), copy.deepcopy(model.wv), copy.copy(model.wv), model.to_gensim().wv,
             KeyedVectors.load(str(tmp_path / "v"))]  # fmt: skip
    for vectors in going:
        assert type(vectors) is KeyedVectors
        assert np.array_equal(vectors.vectors, model.wv.vectors) and vectors.index_to_key == model.wv.index_to_key


def test_vectors_are_written_atomically_however_the_model_came_by_them(tmp_path):
    model = ours(TOPICS)
    model.save(tmp_path / "m")
    Word2Vec.load(str(tmp_path / "m")).save(str(tmp_path / "plain"))
    given, borrowing = ours(TOPICS), ours()
    given.wv = KeyedVectors(12)
    borrowing.reset_from(model)
    came = [model, given, borrowing, pickle.loads(pickle.dumps(model)), copy.deepcopy(model),
            TorchWord2Vec.load(str(tmp_path / "m")), TorchWord2Vec.load(str(tmp_path / "plain")),
            TorchWord2Vec.from_gensim(model.to_gensim())]  # fmt: skip
    if importlib.util.find_spec("safetensors"):
        model.save_safetensors(tmp_path / "s")
        came.append(TorchWord2Vec.load_safetensors(tmp_path / "s"))
    assert [type(one.wv) for one in came] == [ModelVectors] * len(came)


# ---- what the command line and the figures write -----------------------------------------------------------------


def command_on_a_full_disk(arguments, size, answer):
    fill_disk_at(size)
    with open(os.open(answer, os.O_CREAT | os.O_WRONLY), "w", buffering=1) as sys.stderr:
        sys.stderr.write(f"{cli.main(arguments)}\n")


COMMANDS = {
    "text": "train -train {text} -output {out} -iter 1 -min-count 1 -debug 0",
    "binary": "train -train {text} -output {out} -iter 1 -min-count 1 -debug 0 -binary 1",
    "vocabulary": "train -train {text} -save-vocab {out} -min-count 1 -debug 0",
    "model": "train -train {text} --save-model {out} -iter 1 -min-count 1 -debug 0",
    "encode": "encode {text} -o {out} --force",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_command_on_a_full_disk_says_so_and_leaves_the_old_file(command, tmp_path):
    folder, answer, text = tmp_path / "out", tmp_path / "answer", tmp_path / "text"
    folder.mkdir()
    text.write_text("".join(f"word{n} word{n + 1}\n" for n in range(3000)))
    arguments = COMMANDS[command].format(text=text, out=folder / "v").split()
    assert cli.main(arguments) == 0
    before = files_in(folder)
    process = start_process(command_on_a_full_disk, arguments, len(before["v"]) // 2, str(answer))
    process.join()
    assert process.exitcode == 0
    lines = answer.read_text().splitlines()
    assert lines[-1] == "1" and "File too large" in lines[-2]
    assert lines[-2].startswith(f"torchw2v: {folder / 'v'}: ")
    assert files_in(folder) == before


def export_on_a_full_disk(folder, size, answer):
    model = wide_model(seed=2)
    fill_disk_at(size)
    try:
        torchw2v.export_projector(model.wv, folder)
    except OSError:
        open(answer, "w").close()


def test_projector_on_a_full_disk_leaves_the_old_files(tmp_path):
    pytest.importorskip("tensorboard")
    folder, answer = tmp_path / "out", tmp_path / "answer"
    torchw2v.export_projector(wide_model(seed=1).wv, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    size = max(map(len, before.values())) // 2
    process = start_process(export_on_a_full_disk, str(folder), size, str(answer))
    process.join()
    assert process.exitcode == 0
    assert answer.exists(), "no OSError was raised"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
