"""fastnode2vec: the README's example. `Node2Vec` subclasses Word2Vec and draws its walks in `_do_train_job`."""

import numpy as np
import pytest
from fastnode2vec import Graph, Node2Vec
from gensim.models import KeyedVectors

EDGES = [("a", "b"), ("b", "c"), ("c", "a"), ("a", "d")]
WEIGHTED = [("a", "b", 1), ("b", "c", 2), ("c", "a", 3), ("a", "d", 4)]


@pytest.mark.parametrize(("edges", "weighted"), [(EDGES, False), (WEIGHTED, True)], ids=["plain", "weighted"])
def test_readme_example(edges, weighted):
    graph = Graph(edges, directed=False, weighted=weighted)
    n2v = Node2Vec(graph, dim=10, walk_length=100, window=10, p=2.0, q=0.5, workers=2)
    start = n2v.wv.vectors.copy()
    n2v.train(epochs=100)
    assert n2v.wv["a"].shape == (10,) and np.isfinite(n2v.wv.vectors).all()
    assert (n2v.wv.vectors != start).all(axis=1).all()


@pytest.mark.parametrize("use_skipgram", [True, False])
def test_two_cliques_are_told_apart(use_skipgram):
    cliques = [[f"{side}{n}" for n in range(8)] for side in "ab"]
    edges = [(x, y) for clique in cliques for x in clique for y in clique if x < y] + [("a0", "b0")]
    graph = Graph(edges, directed=False, weighted=False)
    n2v = Node2Vec(graph, dim=16, walk_length=20, window=3, workers=1, seed=1, use_skipgram=use_skipgram, alpha=0.05)
    n2v.train(epochs=150, verbose=False)
    near = [word for word, _ in n2v.wv.most_similar("a3", topn=7)]
    assert sum(word[0] == "a" for word in near) >= 6


def test_vectors_are_saved_and_loaded(tmp_path):
    n2v = Node2Vec(Graph(EDGES, directed=False, weighted=False), dim=4, walk_length=10, window=2, seed=1)
    n2v.train(epochs=3, verbose=False)
    n2v.wv.save(str(tmp_path / "wv"))
    assert np.array_equal(KeyedVectors.load(str(tmp_path / "wv"), mmap="r")["d"], n2v.wv["d"])
