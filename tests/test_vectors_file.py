"""Vectors from files of every format, told apart by what is in them; damaged files are refused."""

import gzip
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from gensim import utils
from gensim.corpora import Dictionary
from gensim.models import FastText, KeyedVectors, Word2Vec
from gensim.test.utils import common_texts, datapath

from torchw2v import TorchWord2Vec
from torchw2v.errors import VectorsFileError
from torchw2v.vectors_file import load_vectors

ATOL = 1e-7  # the text format has float32's shortest digits


@pytest.fixture(scope="module")
def model():
    return TorchWord2Vec(common_texts, vector_size=7, min_count=1, epochs=1, device="cpu")


def as_c_writes_binary(wv, path):
    """word2vec.c ends each vector with a line feed, gensim does not."""
    with open(path, "wb") as file:
        file.write(b"%d %d\n" % wv.vectors.shape)
        for key in wv.index_to_key:
            file.write(key.encode() + b" " + wv[key].tobytes() + b"\n")


def as_c_writes_text(wv, path):
    """word2vec.c ends each line with a space."""
    with open(path, "w") as file:
        file.write("{} {}\n".format(*wv.vectors.shape))
        for key in wv.index_to_key:
            file.write(f"{key} " + "".join(f"{number:.9f} " for number in wv[key]) + "\n")


FORMATS = {
    "text": lambda model, path: model.wv.save_word2vec_format(path),
    "binary": lambda model, path: model.wv.save_word2vec_format(path, binary=True),
    "text.gz": lambda model, path: model.wv.save_word2vec_format(path),
    "binary.gz": lambda model, path: model.wv.save_word2vec_format(path, binary=True),
    "binary.bz2": lambda model, path: model.wv.save_word2vec_format(path, binary=True),
    "C's text": lambda model, path: as_c_writes_text(model.wv, path),
    "C's binary": lambda model, path: as_c_writes_binary(model.wv, path),
    "text without a header": lambda model, path: model.wv.save_word2vec_format(path, write_header=False),
    "saved vectors": lambda model, path: model.wv.save(path),
    "saved vectors in several files": lambda model, path: model.wv.save(path, sep_limit=0),
    "saved model": lambda model, path: model.save(path),
    "saved model.gz": lambda model, path: model.save(path),
}


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_recognised(form, model, tmp_path):
    path = str(tmp_path / form)
    FORMATS[form](model, path)
    wv = load_vectors(path)
    assert wv.index_to_key == model.wv.index_to_key
    assert np.allclose(wv.vectors, model.wv.vectors, rtol=0, atol=ATOL)


def test_models_of_other_classes_have_vectors(tmp_path):
    for make in (Word2Vec, FastText):
        saved = make(common_texts, vector_size=6, min_count=1, epochs=1)
        saved.save(str(tmp_path / "model"))
        wv = load_vectors(str(tmp_path / "model"))
        assert wv.most_similar("computer") == saved.wv.most_similar("computer")


@pytest.mark.parametrize(
    "name",
    ["word2vec_3.3", "model-from-gensim-3.8.0.w2v", "old_w2v_models/w2v_1.0.0.mdl", "old_w2v_models/w2v_3.4.0.mdl"],
)
def test_models_that_old_versions_of_gensim_saved(name):
    wv, expected = load_vectors(datapath(name)), Word2Vec.load(datapath(name)).wv
    assert len(wv) > 0 and np.array_equal(wv.vectors, expected.vectors)


@pytest.mark.parametrize(
    "name", ["euclidean_vectors.bin", "crime-and-punishment.vec", "word2vec_pre_kv_c", "lee_fasttext.vec"]
)
def test_files_that_gensim_carries(name):
    wv, binary = load_vectors(datapath(name)), name.endswith(".bin")
    assert np.array_equal(wv.vectors, KeyedVectors.load_word2vec_format(datapath(name), binary=binary).vectors)


def test_limit_reads_the_first_words(model, tmp_path):
    for binary in (False, True):
        path = str(tmp_path / "vectors")
        model.wv.save_word2vec_format(path, binary=binary)
        assert load_vectors(path, limit=3).index_to_key == model.wv.index_to_key[:3]


def test_one_dimension_is_read_as_what_it_is(tmp_path):
    wv = KeyedVectors(1)
    wv.add_vectors(["a", "b"], np.array([[0.5], [-0.25]], dtype=np.float32))
    for binary in (False, True):
        wv.save_word2vec_format(str(tmp_path / "vectors"), binary=binary)
        assert np.array_equal(load_vectors(str(tmp_path / "vectors")).vectors, wv.vectors)


@pytest.mark.parametrize("start", [b"\n", b"1\n", b"1 2\n", b"\r\n", b" \n"], ids=repr)
@pytest.mark.parametrize("compressed", [False, True])
def test_a_line_feed_in_a_binary_number_is_no_end_of_a_line(start, compressed, tmp_path):
    """One number in 256 begins with it."""
    vectors = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    vectors[0] = np.frombuffer(start.ljust(16, b"\x3d"), dtype=np.float32)
    wv, path = KeyedVectors(4), str(tmp_path / f"vectors.bin{'.gz' if compressed else ''}")
    wv.add_vectors(["a", "b", "c"], vectors)
    wv.save_word2vec_format(path, binary=True)
    assert np.array_equal(load_vectors(path).vectors, vectors)


def test_words_that_are_not_utf8_are_named_or_dropped_on_request(tmp_path):
    path = tmp_path / "vectors"
    path.write_bytes(b"2 3\ncaf\xe9 1 2 3\nb 4 5 6\n")
    with pytest.raises(VectorsFileError, match="not UTF-8"):
        load_vectors(str(path))
    assert load_vectors(str(path), unicode_errors="ignore").index_to_key == ["caf", "b"]


# ---- damaged and foreign files ---------------------------------------------------------------------------------------


def truncated(write, share):
    def make(model, path):
        write(model, path)
        data = Path(path).read_bytes()
        with open(path, "wb") as file:
            file.write(data[: int(len(data) * share)])

    return make


def holding(data):
    def make(model, path):
        with open(path, "wb") as file:
            file.write(data)

    return make


def gzipped(data):
    return holding(gzip.compress(data))


DAMAGED = {
    "empty": (holding(b""), "starts with b''"),
    "prose": (holding(b"It was a dark and stormy night.\n"), "It was a dark"),
    "no words": (holding(b"0 100\n"), "0 words of 100"),
    "no dimensions": (holding(b"3 0\na\n"), "3 words of 0"),
    "absurd dimensions": (holding(b"3 999999999999\na 1\n"), "999999999999 dimensions"),
    "promise of memory": (holding(b"99999999999 300\na " + b"\x01\xfe\x33" * 400), "cut short"),
    "promise of memory in text": (holding(b"99999999999 2\na 1 2\n"), "cut short"),
    "a number short": (holding(b"2 3\na 1 2\nb 1 2 3\n"), "should have 3 numbers"),
    "a number short, words in Latin-1": (holding(b"2 3\ncaf\xe9 1 2\ncaf\xe9s 1 2 3\n"), "should have 3 numbers"),
    "a number short later": (holding(b"2 3\naaa 1 2 3\nbbbbbbb 1 2\n"), "damaged"),
    "a word for a number": (holding(b"2 3\naaa 1 2 3\nb 1 2 x\n"), "damaged"),
    "binary cut short": (truncated(FORMATS["binary"], 0.9), "cut short"),
    "text cut short": (truncated(FORMATS["text"], 0.9), "damaged"),
    "text.gz": (truncated(FORMATS["text.gz"], 0.6), "damaged"),
    "binary.gz": (truncated(FORMATS["binary.gz"], 0.6), "damaged"),
    "text in gz, a number short.gz": (gzipped(b"2 3\na 1 2\nb 1 2 3\n"), "should have 3 numbers"),
    "saved model cut short": (truncated(FORMATS["saved model"], 0.5), "cannot be opened"),
    "a dictionary": (lambda model, path: Dictionary(common_texts).save(path), "Dictionary, which has no word vectors"),
    "a pickled list": (holding(pickle.dumps([1, 2])), "cannot be opened"),
    "a model of an old version that gensim does not open": (
        lambda model, path: shutil.copy(datapath("word2vec_pre_kv_py3_4"), path),
        "cannot be opened",
    ),
    "no vocabulary": (lambda model, path: KeyedVectors(5).save(path), "vocabulary is empty"),
    "fastText's own format": (lambda model, path: shutil.copy(datapath("lee_fasttext.bin"), path), "no vectors"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_and_foreign_files_are_refused(case, model, tmp_path):
    make, message = DAMAGED[case]
    path = str(tmp_path / case)
    make(model, path)
    with pytest.raises(VectorsFileError, match=message) as error:
        load_vectors(path)
    assert path in str(error.value)


def test_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_vectors(str(tmp_path / "none"))


def test_nothing_is_unpickled_that_does_not_start_as_a_pickle(tmp_path, monkeypatch):
    monkeypatch.setattr(utils.SaveLoad, "load", lambda *_: pytest.fail("unpickled"))
    path = tmp_path / "vectors"
    path.write_bytes(b"c" + pickle.dumps(common_texts, protocol=0))
    with pytest.raises(VectorsFileError):
        load_vectors(str(path))
