"""spec2vec: the README's two examples (train on spectra, score pairs with the saved model), on made-up spectra."""

import json

import gensim
import numpy as np
import pytest
from matchms import Spectrum, calculate_scores
from spec2vec import Spec2Vec, SpectrumDocument
from spec2vec.model_building import train_new_word2vec_model
from spec2vec.serialization import export_model


def spectra(count=60, families=3):
    """Spectra of three families of compounds, each with its own peaks."""
    rng = np.random.default_rng(1)
    peaks = [np.sort(rng.choice(np.arange(100, 900), 30, replace=False)) + 0.25 for _ in range(families)]
    for n in range(count):
        mz = np.sort(rng.choice(peaks[n % families], 15, replace=False))
        yield Spectrum(
            mz=mz.astype(float), intensities=rng.uniform(0.1, 1, 15), metadata={"compound_name": str(n % families)}
        )


@pytest.fixture(scope="module")
def documents():
    return [SpectrumDocument(spectrum, n_decimals=2) for spectrum in spectra()]


@pytest.fixture(scope="module")
def model_file(documents, tmp_path_factory):
    path = tmp_path_factory.mktemp("spec2vec") / "references.model"
    train_new_word2vec_model(
        documents, iterations=[10, 20, 30], filename=str(path), workers=1, progress_logger=True, vector_size=30
    )
    return path


def test_model_is_saved_after_the_iterations_asked_for(model_file):
    names = sorted(path.name for path in model_file.parent.glob("*.model"))
    assert names == ["references.model", "references_iter_10.model", "references_iter_20.model"]


@pytest.mark.parametrize("sg", [0, 1])
def test_best_matches_are_of_the_same_family(sg, documents):
    model = train_new_word2vec_model(
        documents, iterations=40, workers=1, progress_logger=False, vector_size=30, sg=sg, seed=1
    )
    similarity = Spec2Vec(model=model, intensity_weighting_power=0.5, allowed_missing_percentage=5.0)
    scores = np.asarray(similarity.matrix([d._obj for d in documents], [d._obj for d in documents]))
    scores = scores["score"] if scores.dtype.names else scores
    family = np.arange(len(documents)) % 3
    same = family[:, None] == family[None, :]
    assert scores[same].mean() - scores[~same].mean() > 0.2


def test_saved_model_scores_queries(model_file, documents):
    model = gensim.models.Word2Vec.load(str(model_file))
    similarity = Spec2Vec(model=model, intensity_weighting_power=0.5, allowed_missing_percentage=5.0)
    found = list(spectra())
    assert calculate_scores(found[:10], found[10:20], similarity) is not None


def test_model_is_exported_without_pickle(model_file, tmp_path):
    model = gensim.models.Word2Vec.load(str(model_file))
    vectors, words = model.wv.vectors.copy(), list(model.wv.index_to_key)
    export_model(model, str(tmp_path / "model.json"), str(tmp_path / "weights.npy"))
    assert np.array_equal(np.load(tmp_path / "weights.npy"), vectors)
    assert json.loads((tmp_path / "model.json").read_text())["index_to_key"] == words
