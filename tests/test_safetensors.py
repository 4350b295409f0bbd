"""safetensors files: the whole model comes back and trains on, and a file that is not what it should be is refused."""

import json
import struct
import sys

import numpy as np
import pytest
from gensim.models import FastText, KeyedVectors, Word2Vec
from small_models import SMALL, TOPICS, assert_same_weights, each_mode, ours, train

import torchw2v
from torchw2v import TorchWord2Vec, load_vectors_safetensors, save_vectors_safetensors
from torchw2v.errors import FileFormatError

safetensors_numpy = pytest.importorskip("safetensors.numpy")
safetensors = pytest.importorskip("safetensors")

NUMBERS = [[int(word[1:]) + (10 if word[0] == "y" else 0) for word in sentence] for sentence in TOPICS]
ODD_WORDS = [["a b", "naïve", "\udcff", "line\nbreak", "", "雪"]] * 20


def there_and_back(model, tmp_path, loader=TorchWord2Vec):
    path = tmp_path / "m.safetensors"
    model.save_safetensors(path)
    return loader.load_safetensors(path)


# ---- models ------------------------------------------------------------------------------------------------------


@each_mode
def test_training_goes_on_as_if_nothing_had_been_saved(mode, tmp_path):
    settings = {**mode, "deterministic": True, "compute_loss": True, "alpha": 0.04, "comment": {"kept": [1, None]}}
    straight, model = ours(TOPICS, **settings), ours(TOPICS, **settings)
    back = there_and_back(model, tmp_path)
    assert type(back) is TorchWord2Vec
    assert_same_weights(back, model)
    kept = (
        "device", "engine", "deterministic", "progress_bar", "train_count", "corpus_count", "corpus_total_words",
        "alpha", "min_alpha_yet_reached", "comment", "training_history", "running_training_loss", "seed", "sg", "hs",
    )  # fmt: skip
    assert [getattr(back, name) for name in kept] == [getattr(model, name) for name in kept]
    assert back.wv.expandos.keys() == model.wv.expandos.keys()
    assert np.array_equal(back.cum_table, model.cum_table)
    train(straight)
    train(back)
    assert_same_weights(back, straight)
    assert not np.array_equal(back.wv.vectors, model.wv.vectors)


def test_random_state_comes_back(tmp_path):
    model = ours(TOPICS, seed=None)
    back = there_and_back(model, tmp_path)
    train(model)
    train(back)
    assert_same_weights(back, model)


def test_vocabulary_can_grow_after_loading(tmp_path):
    back = there_and_back(ours(TOPICS, hs=1), tmp_path)
    back.build_vocab([["x1", "new", "x2"]] * 20, update=True)
    start = back.wv["new"].copy()
    train(back, [["x1", "new", "x2"]] * 20)
    assert not np.array_equal(back.wv["new"], start)


@pytest.mark.parametrize("corpus", [NUMBERS, ODD_WORDS], ids=["whole-numbers", "odd-words"])
def test_words_come_back_whatever_they_are(corpus, tmp_path):
    model = ours(corpus)
    back = there_and_back(model, tmp_path)
    assert back.wv.index_to_key == model.wv.index_to_key
    assert [type(key) for key in back.wv.index_to_key] == [type(key) for key in model.wv.index_to_key]


def test_model_without_a_vocabulary_comes_back(tmp_path):
    back = there_and_back(ours(), tmp_path)
    back.build_vocab(TOPICS)
    train(back)
    assert_same_weights(back, trained_by_hand())


def trained_by_hand():
    model = ours()
    model.build_vocab(TOPICS)
    train(model)
    return model


class Named(TorchWord2Vec):
    def __init__(self, name, **settings):
        super().__init__(**settings)
        self.name = name


def test_load_makes_the_class_it_is_called_on_and_takes_a_device(tmp_path):
    path = tmp_path / "m.safetensors"
    ours(TOPICS, engine="torch").save_safetensors(path)
    assert type(Named.load_safetensors(path)) is Named
    moved = TorchWord2Vec.load_safetensors(path, device="auto", engine="reference")
    assert (moved.device, moved.engine) == ("auto", "reference")


def test_file_is_of_the_documented_layout_and_holds_no_pickle(tmp_path):
    path, model = tmp_path / "m.safetensors", ours(TOPICS, hs=1)
    model.save_safetensors(path)
    with safetensors.safe_open(path, framework="np") as file:
        metadata = file.metadata()
        assert (metadata["format"], metadata["version"]) == ("torchw2v model", "1")
        assert np.array_equal(file.get_tensor("vectors"), model.wv.vectors)
        assert {"syn1", "syn1neg", "keys", "vecattr.count", "huffman.codes", "cum_table"} <= set(file.keys())
    assert json.loads(metadata["json"])["settings"]["vector_size"] == SMALL["vector_size"]
    assert b"gensim.models" not in path.read_bytes()


# ---- vectors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_vectors_come_back_with_counts_and_attributes(dtype, tmp_path):
    wv, path = KeyedVectors(5, dtype=dtype), tmp_path / "v.safetensors"
    wv.add_vectors(["a", "b c", "d"], np.random.default_rng(1).normal(size=(3, 5)).astype(dtype))
    for key, count in (("a", 7), ("b c", 4), ("d", 2)):
        wv.set_vecattr(key, "count", count)
        wv.set_vecattr(key, "weight", count / 3)
    save_vectors_safetensors(wv, path)
    back = load_vectors_safetensors(path)
    assert back.vectors.dtype == dtype
    assert np.array_equal(back.vectors, wv.vectors)
    assert back.index_to_key == wv.index_to_key
    assert [back.get_vecattr("b c", name) for name in ("count", "weight")] == [4, 4 / 3]
    assert back.most_similar("a") == wv.most_similar("a")
    back.add_vector("new", np.ones(5))
    assert back.key_to_index["new"] == 3


def test_vectors_of_a_models_file_can_be_loaded_alone(tmp_path):
    path, model = tmp_path / "m.safetensors", ours(TOPICS, hs=1)
    model.save_safetensors(path)
    back = load_vectors_safetensors(path)
    assert type(back) is KeyedVectors
    assert back.most_similar("x0") == model.wv.most_similar("x0")


def test_file_of_vectors_is_no_model(tmp_path):
    path = tmp_path / "v.safetensors"
    save_vectors_safetensors(ours(TOPICS).wv, path)
    with pytest.raises(FileFormatError, match=r"v\.safetensors.*'torchw2v vectors', not a torchw2v model"):
        TorchWord2Vec.load_safetensors(path)


# ---- what cannot be written --------------------------------------------------------------------------------------


def with_attribute(model):
    model.wv.set_vecattr("x0", "object", {"a": 1})


def with_comment(model):
    model.comment = {1, 2}


def with_wrong_dtype(model):
    model.wv.vectors = model.wv.vectors.astype(np.float64)


CANNOT = {
    "objects-as-attributes": (with_attribute, "'object' holds Python objects"),
    "comment": (with_comment, "JSON has no set"),
    "float64-vectors": (with_wrong_dtype, "vectors is not float32"),
}


@pytest.mark.parametrize(("spoil", "message"), CANNOT.values(), ids=CANNOT)
def test_what_needs_pickle_is_refused_and_the_old_file_stays(spoil, message, tmp_path):
    model, path = ours(TOPICS), tmp_path / "m.safetensors"
    path.write_bytes(b"old")
    spoil(model)
    with pytest.raises(FileFormatError, match=message):
        model.save_safetensors(path)
    assert path.read_bytes() == b"old"


def test_words_that_are_neither_strings_nor_numbers_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r"there is a \('[xy]', [12]\)"):
        ours([[("x", 1), ("y", 2)]] * 9).save_safetensors(tmp_path / "m")
    with pytest.raises(FileFormatError, match="FastTextKeyedVectors"):
        save_vectors_safetensors(FastText(TOPICS, vector_size=4, min_count=1, bucket=9).wv, tmp_path / "m")


def test_missing_package_is_named_with_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for call in (
        lambda: ours(TOPICS).save_safetensors(tmp_path / "m"),
        lambda: TorchWord2Vec.load_safetensors(tmp_path / "m"),
        lambda: load_vectors_safetensors(tmp_path / "m"),
    ):
        with pytest.raises(ImportError, match=r"pip install 'torchw2v\[safetensors\]'"):
            call()


def test_missing_file_and_missing_folder_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.safetensors"):
        TorchWord2Vec.load_safetensors(tmp_path / "gone.safetensors")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ours(TOPICS).save_safetensors(tmp_path / "nowhere" / "m")


# ---- what is refused ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A file of a model with both kinds of outputs."""
    path = tmp_path_factory.mktemp("good") / "m.safetensors"
    ours(TOPICS, hs=1).save_safetensors(path)
    return path


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.3, 0.9, -1])
def test_file_cut_short_is_refused(kept, good, tmp_path):
    content, path = good.read_bytes(), tmp_path / "cut.safetensors"
    end = kept if isinstance(kept, int) else int(kept * len(content))
    path.write_bytes(content[:end])
    for load in (TorchWord2Vec.load_safetensors, load_vectors_safetensors):
        with pytest.raises(FileFormatError, match=r"cut\.safetensors cannot be read"):
            load(path)


@pytest.mark.parametrize("content", [b"\x80\x04cos\nsystem\n.", b"PK\x03\x04" + b"x" * 99, struct.pack("<Q", 2**62)])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match="cannot be read"):
        TorchWord2Vec.load_safetensors(path)


def test_another_programs_safetensors_file_is_refused(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors_numpy.save_file({"vectors": np.zeros((3, 4), np.float32)}, path)
    with pytest.raises(FileFormatError, match="'something else', not a torchw2v vectors or torchw2v model"):
        load_vectors_safetensors(path)


def rewritten(path, target, change):
    """A copy of a good file, with `change(arrays, document, metadata)` applied."""
    with safetensors.safe_open(path, framework="np") as file:
        arrays, metadata = {name: file.get_tensor(name).copy() for name in file.keys()}, file.metadata()  # noqa: SIM118
    document = json.loads(metadata["json"])
    change(arrays, document, metadata)
    if not metadata.pop("keep_json", False):
        metadata["json"] = json.dumps(document)
    safetensors_numpy.save_file(arrays, target, metadata=metadata)
    return target


def array(name, make):
    def change(arrays, document, metadata):
        arrays[name] = make(arrays.get(name))
        document["arrays"] = sorted(arrays)

    return change


def without(name):
    def change(arrays, document, metadata):
        del arrays[name]

    return change


def part(section, name, value):
    def change(arrays, document, metadata):
        document[section][name] = value

    return change


def whole(name, value):
    def change(arrays, document, metadata):
        document[name] = value

    return change


def meta(**values):
    def change(arrays, document, metadata):
        metadata.update(values)

    return change


def poke(position, value):
    def make(old):
        old[position] = value
        return old

    return make


BAD = {
    "version": (meta(version="2"), "version '2'"),
    "format": (meta(format="other"), "'other'"),
    "no-json": (meta(json="", keep_json="yes"), "not valid JSON"),
    "json-list": (meta(json="[]", keep_json="yes"), "no JSON object"),
    "json-deep": (meta(json="[" * 10**5, keep_json="yes"), "not valid JSON"),
    "vectors-missing": (without("vectors"), "missing: .'vectors'"),
    "outputs-missing": (without("syn1neg"), "missing: .'syn1neg'"),
    "array-not-listed": (lambda a, d, m: a.update(more=np.zeros(1)), "do not belong here: .'more'"),
    "vectors-float64": (array("vectors", lambda v: v.astype(np.float64)), "'vectors' holds float64"),
    "vectors-flat": (array("vectors", lambda v: v.ravel()), "'vectors' has shape"),
    "vectors-narrow": (array("vectors", lambda v: v[:, :3].copy()), "'vectors' has shape"),
    "fewer-vectors-than-words": (array("vectors", lambda v: v[:-1].copy()), "does not cut|has shape"),
    "outputs-int": (array("syn1neg", lambda v: v.astype(np.int32)), "'syn1neg' holds int32"),
    "outputs-short": (array("syn1neg", lambda v: v[:2].copy()), "'syn1neg' has shape"),
    "nodes-wide": (array("syn1", lambda v: np.hstack([v, v])), "'syn1' has shape"),
    "counts-short": (array("vecattr.count", lambda v: v[:2].copy()), "'vecattr.count' has shape"),
    "counts-float": (array("vecattr.count", lambda v: v.astype(float)), "'vecattr.count' holds float64"),
    "counts-negative": (array("vecattr.count", poke(0, -1)), "count is negative"),
    "thresholds-int64": (array("vecattr.sample_int", lambda v: v.astype(np.int64)), "'vecattr.sample_int' holds int64"),
    "lock-float64": (array("vectors_lockf", lambda v: v.astype(float)), "'vectors_lockf' holds float64"),
    "noise-falls": (array("cum_table", poke(0, 2**31)), "no cumulative distribution"),
    "noise-zero": (array("cum_table", lambda v: v * 0), "no cumulative distribution"),
    "words-int": (array("keys", lambda v: v.astype(np.int32)), "'keys' holds int32"),
    "words-not-utf8": (array("keys", lambda v: v * 0 + 0xFF), "not UTF-8"),
    "words-repeat": (array("keys", lambda v: np.tile(v[:2], len(v) // 2)), "occurs twice"),
    "word-ends-fall": (array("key_offsets", poke(1, 99)), "does not cut"),
    "word-ends-short": (array("key_offsets", lambda v: v[:-1].copy()), "'key_offsets' has shape"),
    "word-kind": (whole("keys", "pickle"), "unknown kind of words 'pickle'"),
    "codes-two": (array("huffman.codes", poke(0, 2)), "Huffman"),
    "points-outside": (array("huffman.points", poke(0, 10**6)), "Huffman"),
    "points-short": (array("huffman.points", lambda v: v[:-1].copy()), "'huffman.points' has shape"),
    "paths-cut": (array("huffman.offsets", poke(-1, 3)), "does not cut"),
    "no-settings": (whole("settings", None), "settings are missing"),
    "setting-unknown": (part("settings", "hashfxn", "os.system"), r"missing or unknown: \['hashfxn'\]"),
    "setting-text": (part("settings", "negative", "5"), "negative='5' is of the wrong type"),
    "setting-size": (part("settings", "vector_size", 13), "'vectors' has shape"),
    "setting-range": (part("settings", "window", 0), "window=0 is out of range"),
    "state-unknown": (part("state", "__class__", "x"), "missing or unknown: .*__class__"),
    "state-text": (part("state", "train_count", None), "train_count=None is of the wrong type"),
    "random-unknown": (part("random", "bit_generator", "os"), "unknown random generator 'os'"),
    "random-broken": (part("random", "state", {"key": [1], "pos": 0}), "random state is not whole"),
    "random-outside": (part("random", "state", {"key": [1] * 624, "pos": 10**6}), "random state is not whole"),
    "random-large": (part("random", "state", {"key": [2**40] * 624, "pos": 0}), "random state is not one"),
    "random-text": (part("random", "state", "x"), "random state is not one"),
    "random-missing": (whole("random", []), "random state is missing"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_file_that_contradicts_itself_is_refused(change, message, good, tmp_path):
    path = rewritten(good, tmp_path / "bad.safetensors", change)
    with pytest.raises(FileFormatError, match=message):
        TorchWord2Vec.load_safetensors(path)


def test_rewriting_without_a_change_gives_a_good_file(good, tmp_path):
    path = rewritten(good, tmp_path / "same.safetensors", lambda arrays, document, metadata: None)
    assert_same_weights(TorchWord2Vec.load_safetensors(path), TorchWord2Vec.load_safetensors(good))


def test_random_bytes_in_the_file_never_do_more_than_raise(good, tmp_path):
    content, draw, refused = good.read_bytes(), np.random.default_rng(5), 0
    for _ in range(150):
        broken = bytearray(content)
        header = struct.unpack("<Q", content[:8])[0]
        for position in draw.integers(0, 8 + header, 3):
            broken[position] = draw.integers(256)
        path = tmp_path / "broken.safetensors"
        path.write_bytes(broken)
        try:
            model = TorchWord2Vec.load_safetensors(path)
        except FileFormatError:
            refused += 1
        else:
            assert isinstance(model, Word2Vec)
    assert refused > 100


def test_functions_are_public():
    assert {"save_vectors_safetensors", "load_vectors_safetensors"} <= set(torchw2v.__all__)
