"""The folder for TensorBoard's projector holds the vectors, and the words in the same order."""

import sys

import numpy as np
import pytest
from gensim.models import KeyedVectors
from small_models import TOPICS, ours

import torchw2v
from torchw2v import export_projector
from torchw2v.errors import NothingToPlotError, SettingError, UnknownKeyError


@pytest.fixture(scope="module")
def model():
    return ours(TOPICS)


def read(folder):
    """What the projector would: rows of numbers, and the lines of the words' table."""
    projector = pytest.importorskip("tensorboard.plugins.projector.projector_config_pb2")
    from google.protobuf import text_format

    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), projector.ProjectorConfig())
    assert len(config.embeddings) == 1
    info = config.embeddings[0]
    rows = np.loadtxt(folder / info.tensor_path, delimiter="\t", ndmin=2)
    lines = (folder / info.metadata_path).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return rows, [line.split("\t") for line in lines]


def test_words_and_counts_stand_beside_their_vectors(model, tmp_path):
    pytest.importorskip("tensorboard")
    export_projector(model.wv, tmp_path)
    rows, table = read(tmp_path)
    assert table[0] == ["word", "count"]
    assert [line[0] for line in table[1:]] == model.wv.index_to_key
    assert [int(line[1]) for line in table[1:]] == model.wv.expandos["count"].tolist()
    assert np.allclose(rows, model.wv.vectors, atol=1e-6)


def test_chosen_words_without_attributes(model, tmp_path):
    pytest.importorskip("tensorboard")
    export_projector(model.wv, str(tmp_path), words=["y3", "x0"], attributes=())
    rows, table = read(tmp_path)
    assert table == [["y3"], ["x0"]]
    assert np.allclose(rows, model.wv[["y3", "x0"]], atol=1e-6)


def test_words_of_any_letters(tmp_path):
    pytest.importorskip("tensorboard")
    vectors = KeyedVectors(2)
    vectors.add_vectors(["観音", "two words", "ñ"], np.eye(3, 2))
    export_projector(vectors, tmp_path)  # no counts: words alone
    assert read(tmp_path)[1] == [["観音"], ["two words"], ["ñ"]]


@pytest.mark.parametrize("word", ["a\tb", "a\nb", "a\rb", "ends\n"])
def test_words_that_the_table_cannot_have_are_refused(word, tmp_path):
    pytest.importorskip("tensorboard")
    vectors = KeyedVectors(2)
    vectors.add_vectors(["good", word], np.eye(2))
    with pytest.raises(SettingError, match="tabs or line breaks"):
        export_projector(vectors, tmp_path)


def test_words_that_are_not_there_are_refused(model, tmp_path):
    pytest.importorskip("tensorboard")
    with pytest.raises(UnknownKeyError, match="nowhere"):
        export_projector(model.wv, tmp_path, words=["x0", "nowhere"])
    with pytest.raises(NothingToPlotError, match="no words"):
        export_projector(KeyedVectors(2), tmp_path)


def test_missing_package_is_named_with_the_extra(model, monkeypatch, tmp_path):
    for name in [
        name for name in sys.modules if name.split(".")[0] == "tensorboard" or name == "torch.utils.tensorboard"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install 'torchw2v\[tensorboard\]'"):
        torchw2v.export_projector(model.wv, tmp_path)
