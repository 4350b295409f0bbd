"""pyRDF2Vec: the README's example on a local knowledge graph; online training; save and load."""

import numpy as np
import pytest
from pyrdf2vec import RDF2VecTransformer
from pyrdf2vec.embedders import Word2Vec
from pyrdf2vec.graphs import KG, Vertex
from pyrdf2vec.walkers import RandomWalker

URL = "http://example.org#"
PEOPLE = [f"{URL}{side}{n}" for side in ("left", "right") for n in range(6)]


@pytest.fixture(scope="module")
def graph():
    """Two groups of people who know one another, each with its town."""
    kg = KG()
    links = [(a, "knows", b) for a in PEOPLE for b in PEOPLE if a != b and a[:-1] == b[:-1]]
    links += [(a, "livesIn", f"{URL}town-{a[len(URL) : -1]}") for a in PEOPLE]
    for subject, predicate, thing in links:
        subj, obj = Vertex(subject), Vertex(thing)
        kg.add_walk(subj, Vertex(f"{URL}{predicate}", predicate=True, vprev=subj, vnext=obj), obj)
    return kg


def transformer(**settings):
    walkers = [RandomWalker(4, 20, with_reverse=False, n_jobs=1, random_state=22)]
    return RDF2VecTransformer(Word2Vec(workers=1, seed=1, **settings), walkers=walkers)


def similar(a, b):
    return float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("sg", [0, 1])
def test_entities_are_embedded_near_their_group(sg, graph):
    vectors, literals = transformer(epochs=100, vector_size=20, sg=sg).fit_transform(graph, PEOPLE)
    assert len(vectors) == 12 and len(literals) == 0
    within = np.mean([similar(vectors[0], vectors[n]) for n in range(1, 6)])
    across = np.mean([similar(vectors[0], vectors[n]) for n in range(6, 12)])
    assert within - across > 0.5


def test_training_goes_on_with_new_entities(graph):
    model = transformer(epochs=5, vector_size=20)
    first, _ = model.fit_transform(graph, PEOPLE[:6])
    both, _ = model.fit_transform(graph, PEOPLE[6:], is_update=True)
    assert len(first) == len(both) == 6
    assert all(person in model.embedder._model.wv for person in PEOPLE)


def test_transformer_is_saved_and_loaded(graph, tmp_path):
    model = transformer(epochs=5, vector_size=20)
    vectors, _ = model.fit_transform(graph, PEOPLE)
    model.save(str(tmp_path / "transformer"))
    again, _ = RDF2VecTransformer.load(str(tmp_path / "transformer")).transform(graph, PEOPLE)
    assert np.array_equal(vectors, again)


def test_unknown_entity_is_refused(graph):
    model = transformer(epochs=1)
    model.fit(model.get_walks(graph, PEOPLE[:6]))
    with pytest.raises(ValueError, match=r"fit\(\)"):
        model.transform(graph, [f"{URL}nobody"])
