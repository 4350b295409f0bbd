"""`init_from`: words start from another model's vectors, all others where they always start; and it is reported."""

import logging

import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec
from small_models import SMALL, TOPICS, each_mode, gensims, ours, train

from torchw2v import TorchWord2Vec, save_vectors_safetensors
from torchw2v.errors import SettingError, SettingTypeError, VectorsFileError

WIDTH = SMALL["vector_size"]
KNOWN = ["x0", "x5", "y3", "elsewhere"]


def pretrained(keys=KNOWN, width=WIDTH, dtype=np.float32):
    vectors = KeyedVectors(width, dtype=dtype)
    vectors.add_vectors(keys, np.random.default_rng(1).normal(size=(len(keys), width)).astype(dtype))
    return vectors


def built(corpus=TOPICS, **settings):
    model = ours(**settings)
    model.build_vocab(corpus)
    return model


@each_mode
def test_known_words_start_from_the_vectors_and_others_at_random(mode):
    vectors, plain = pretrained(), built(**mode)
    model = built(**mode, init_from=vectors)
    assert model.wv.index_to_key == plain.wv.index_to_key
    for row, word in enumerate(model.wv.index_to_key):
        expected = vectors[word] if word in KNOWN else plain.wv.vectors[row]
        assert np.array_equal(model.wv.vectors[row], expected)
    assert "elsewhere" not in model.wv
    assert np.array_equal(np.random.RandomState(5).get_state()[1], model.random.get_state()[1])


def test_report_names_what_was_found_and_what_is_new(caplog):
    with caplog.at_level(logging.INFO, logger="torchw2v"):
        model = built(init_from=pretrained())
    report = model.init_report
    assert set(report.found) == {"x0", "x5", "y3"}
    assert report.found == [word for word in model.wv.index_to_key if word in KNOWN]
    assert report.new == [word for word in model.wv.index_to_key if word not in KNOWN]
    assert report.unused == 1
    words = [word for sentence in TOPICS for word in sentence]
    share = 100 * sum(word in KNOWN for word in words) / len(words)
    assert f"3 of 14 words ({share:.1f} % of their text) start from its vectors, 11 are new" in caplog.text
    assert "1 vectors are not used" in caplog.text
    assert repr(report.new[0]) in caplog.text and repr(report.new[5]) not in caplog.text


def test_no_overlap_is_warned_of(caplog):
    with caplog.at_level(logging.WARNING, logger="torchw2v"):
        assert built(init_from=pretrained(["other"])).init_report.found == []
    assert "0 of 14 words" in caplog.text


def test_without_init_from_there_is_no_report():
    assert built().init_report is None


def _as_text(vectors, path):
    vectors.save_word2vec_format(path, binary=False)


def _as_binary(vectors, path):
    vectors.save_word2vec_format(path, binary=True)


WRITERS = {
    "vectors.txt": _as_text,
    "vectors.bin": _as_binary,
    "vectors.txt.gz": _as_text,
    "vectors.kv": lambda vectors, path: vectors.save(path),
    "vectors.safetensors": save_vectors_safetensors,
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_of_all_formats_are_read(name, tmp_path):
    path, vectors = tmp_path / name, pretrained()
    WRITERS[name](vectors, str(path))
    model = built(init_from=path)  # a Path
    for word in ("x0", "x5", "y3"):
        assert np.allclose(model.wv[word], vectors[word], atol=1e-6)
    assert model.init_report.source == str(path)
    assert np.array_equal(built(init_from=str(path)).wv.vectors, model.wv.vectors)


def test_saved_model_of_gensims_is_read(tmp_path):
    path = str(tmp_path / "model")
    other = gensims(TOPICS)
    other.save(path)
    model = built(init_from=path)
    assert model.init_report.new == []
    for word in model.wv.index_to_key:
        assert np.array_equal(model.wv[word], other.wv[word])


def test_vectors_of_another_type_are_converted():
    vectors = pretrained(dtype=np.float64)
    model = built(init_from=vectors)
    assert model.wv.vectors.dtype == np.float32
    assert np.array_equal(model.wv["x0"], vectors["x0"].astype(np.float32))


def test_pretrained_vectors_stay_as_they_are():
    vectors = pretrained()
    before = vectors.vectors.copy()
    ours(TOPICS, init_from=vectors, alpha=0.2)
    assert np.array_equal(vectors.vectors, before)


# ---- the same as gensim's old way --------------------------------------------------------------------------------


@each_mode
def test_same_vectors_as_intersect_word2vec_format(mode, tmp_path):
    """gensim's way: load into the built model, and let the words be trained (lockf=1)."""
    path = str(tmp_path / "vectors.txt")
    pretrained().save_word2vec_format(path)
    by_gensim = built(**mode)
    by_gensim.wv.vectors_lockf = np.ones(len(by_gensim.wv), np.float32)  # as gensim's release notes ask
    by_gensim.wv.intersect_word2vec_format(path, lockf=1.0)
    model = built(**mode, init_from=path)
    assert np.array_equal(model.wv.vectors, by_gensim.wv.vectors)
    for one in (model, by_gensim):
        train(one)
    assert np.allclose(model.wv.vectors, by_gensim.wv.vectors, atol=1e-6)


def test_locked_words_stay_at_their_pretrained_vectors():
    vectors, model = pretrained(), built(init_from=pretrained())
    model.wv.vectors_lockf = np.ones(len(model.wv), np.float32)
    model.wv.vectors_lockf[[model.wv.key_to_index[word] for word in model.init_report.found]] = 0
    train(model)
    for word in model.wv.index_to_key:
        same = np.array_equal(model.wv[word], vectors[word]) if word in KNOWN else False
        assert same == (word in KNOWN)


def test_training_goes_on_from_where_the_vectors_were():
    """A model that starts where another one ended has that one's loss, not a beginner's."""
    settings = {"sg": 1, "sample": 0, "epochs": 30, "compute_loss": True, "alpha": 0.05}
    teacher = ours(TOPICS, **settings)
    beginner, pupil = (ours(TOPICS, **{**settings, "epochs": 2}, init_from=start) for start in (None, teacher.wv))
    assert pupil.training_history[-1]["mean_loss"] < beginner.training_history[-1]["mean_loss"] - 0.1


# ---- more words later --------------------------------------------------------------------------------------------

MORE = [["x0", "late", "later"] * 4, ["late", "y3", "later"] * 4]


@pytest.mark.parametrize("from_file", [False, True])
def test_words_added_later_start_from_the_vectors_too(from_file, tmp_path):
    vectors, path = pretrained(["x0", "late"]), tmp_path / "vectors.bin"
    if from_file:
        vectors.save_word2vec_format(str(path), binary=True)
    model = ours(TOPICS, init_from=path if from_file else vectors)
    trained = model.wv.vectors.copy()
    assert model.init_report.found == ["x0"]
    model.build_vocab(MORE, update=True)
    assert np.array_equal(model.wv.vectors[: len(trained)], trained)  # x0 keeps what it has learned
    assert np.array_equal(model.wv["late"], vectors["late"])
    assert (model.init_report.found, model.init_report.new) == (["late"], ["later"])
    train(model, MORE)
    assert np.isfinite(model.wv.vectors).all()


def test_vocabulary_from_counts_starts_from_the_vectors():
    model, vectors = ours(init_from=pretrained()), pretrained()
    model.build_vocab_from_freq({"x0": 5, "other": 3})
    assert np.array_equal(model.wv["x0"], vectors["x0"])
    assert (model.init_report.found, model.init_report.new) == (["x0"], ["other"])


# ---- what travels, and what is refused ---------------------------------------------------------------------------


def test_vectors_and_report_are_not_saved(tmp_path):
    model = ours(TOPICS, init_from=pretrained())
    model.save(str(tmp_path / "model"))
    assert "_pretrained" not in vars(Word2Vec.load(str(tmp_path / "model")))
    again = TorchWord2Vec.load(str(tmp_path / "model"))
    assert again.init_report is None
    again.build_vocab(MORE, update=True)
    assert np.array_equal(again.wv["x0"], model.wv["x0"])


@pytest.mark.parametrize("from_file", [False, True])
def test_another_size_is_refused_before_the_corpus_is_read(from_file, tmp_path):
    class Unreadable:
        def __iter__(self):
            raise AssertionError("read")

    vectors, path = pretrained(width=7), str(tmp_path / "vectors.txt")
    vectors.save_word2vec_format(path)
    with pytest.raises(SettingError, match=rf"have 7 dimensions, and vector_size={WIDTH}; give vector_size=7"):
        ours(Unreadable(), init_from=path if from_file else vectors)


def test_what_is_no_vectors_is_refused(tmp_path):
    with pytest.raises(SettingTypeError, match=r"give init_from=model\.wv"):
        ours(init_from=built())
    with pytest.raises(SettingTypeError, match="KeyedVectors or a path, got a dict"):
        ours(init_from={"x0": np.ones(WIDTH)})
    with pytest.raises(FileNotFoundError):
        ours(init_from=tmp_path / "nothing.bin")
    (tmp_path / "text").write_text("no vectors at all")
    with pytest.raises(VectorsFileError, match="no vectors"):
        ours(init_from=tmp_path / "text")
