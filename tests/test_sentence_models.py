"""Texts encoded by sentence-transformers and model2vec from our vectors; against the real packages, where they are."""

import sys

import numpy as np
import pytest
from gensim.models import KeyedVectors
from small_models import TOPICS, ours

from torchw2v import to_model2vec, to_static_embedding
from torchw2v.errors import SettingError

TEXTS = ["x0 x1", "  x0\tx1 x1 ", "y3 unheard-of y4", "unheard-of", "", "X0 x1"]


@pytest.fixture(scope="module")
def model():
    return ours(TOPICS, sg=1)


def known(model, text):
    return [word for word in text.split() if word in model.wv]


def means(model, texts=TEXTS):
    width = model.vector_size
    return np.array([model.wv[known(model, text)].mean(0) if known(model, text) else np.zeros(width) for text in texts])


def units(rows):
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def test_sentence_transformer_gives_means_of_words(model, tmp_path):
    library = pytest.importorskip("sentence_transformers")
    module = to_static_embedding(model.wv)
    sentences = library.SentenceTransformer(modules=[module], device="cpu")
    assert sentences.get_embedding_dimension() == model.vector_size
    all_known = ["x0 x1", "  x0\tx1 x1 ", "y3 y4"]
    assert np.allclose(sentences.encode(all_known), means(model, all_known), atol=1e-6)
    assert np.allclose(units(sentences.encode(TEXTS)), units(means(model)), atol=1e-5)  # unknown words do not turn it
    sentences.save(str(tmp_path / "saved"))
    again = library.SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert np.allclose(again.encode(TEXTS), sentences.encode(TEXTS), atol=1e-6)


def test_sentence_transformer_can_be_trained_on(model):
    torch = pytest.importorskip("torch")
    pytest.importorskip("sentence_transformers")
    module, before = to_static_embedding(model.wv), model.wv.vectors.copy()
    features = module.preprocess(["x0 x1", "y3 y4"])
    module(features)["sentence_embedding"].sum().backward()
    gradient = module.embedding.weight.grad
    touched = torch.nonzero(gradient.abs().sum(1)).squeeze(1).tolist()
    assert touched == sorted(1 + model.wv.key_to_index[word] for word in ("x0", "x1", "y3", "y4"))
    with torch.no_grad():
        module.embedding.weight += 1
    assert np.array_equal(model.wv.vectors, before)


def test_model2vec_gives_means_of_known_words_and_a_folder(model, tmp_path):
    library = pytest.importorskip("model2vec")
    static = to_model2vec(model.wv, config={"language": "none"})
    assert np.allclose(static.encode(TEXTS), means(model), atol=1e-6)
    assert np.allclose(to_model2vec(model.wv, normalize=True).encode(TEXTS), units(means(model)), atol=1e-5)
    static.save_pretrained(tmp_path / "folder")
    names = {path.name for path in (tmp_path / "folder").iterdir()}
    assert {"model.safetensors", "tokenizer.json", "config.json"} <= names
    again = library.StaticModel.from_pretrained(tmp_path / "folder")
    assert np.allclose(again.encode(TEXTS), means(model), atol=1e-6)
    assert again.config["language"] == "none"


def test_folder_of_model2vec_is_read_by_sentence_transformers(model, tmp_path):
    pytest.importorskip("model2vec")
    library = pytest.importorskip("sentence_transformers")
    to_model2vec(model.wv).save_pretrained(tmp_path / "folder")
    module = library.sentence_transformer.modules.StaticEmbedding.from_model2vec(str(tmp_path / "folder"))
    found = library.SentenceTransformer(modules=[module], device="cpu").encode(["x0 x1"])
    assert np.allclose(found, means(model, ["x0 x1"]), atol=1e-6)


def test_text_is_cut_as_asked(model):
    pytest.importorskip("model2vec")
    from tokenizers import normalizers, pre_tokenizers

    asked = to_model2vec(model.wv, normalizer=normalizers.Lowercase(), pre_tokenizer=pre_tokenizers.Whitespace())
    assert np.allclose(asked.encode(["X0, x1!"]), means(model, ["x0 x1"]), atol=1e-6)


@pytest.mark.parametrize("make", [to_static_embedding, to_model2vec])
def test_vectors_without_words_of_a_text_are_refused(make):
    pytest.importorskip("model2vec")
    pytest.importorskip("sentence_transformers")
    numbers, taken = KeyedVectors(2), KeyedVectors(2)
    numbers.add_vectors([3], np.ones((1, 2)))
    taken.add_vectors(["[UNK]"], np.ones((1, 2)))
    for vectors, message in ((KeyedVectors(2), "no vectors"), (numbers, "has 3"), (taken, "unknown words")):
        with pytest.raises(SettingError, match=message):
            make(vectors)


@pytest.mark.parametrize(
    ("make", "package", "cure"),
    [
        (to_static_embedding, "sentence_transformers", "pip install 'sentence-transformers>=6'"),
        (to_model2vec, "model2vec", "pip install 'model2vec>=0.10'"),
    ],
)
def test_missing_package_is_named(make, package, cure, model, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=cure):
        make(model.wv)
