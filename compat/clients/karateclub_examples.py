"""karateclub: the documented calls of every model that trains a Word2Vec, and of two that train a Doc2Vec."""

import networkx as nx
import numpy as np
import pytest
from karateclub import SINE, DeepWalk, Diff2Vec, Graph2Vec, Node2Vec, Role2Vec, Walklets
from scipy.sparse import coo_matrix

GRAPH = nx.newman_watts_strogatz_graph(50, 5, 0.05, seed=1)


@pytest.mark.parametrize(
    ("kind", "settings", "width"),
    [
        (DeepWalk, {"dimensions": 16, "walk_number": 3, "walk_length": 20}, 16),
        (Node2Vec, {"dimensions": 16, "walk_number": 3, "walk_length": 20, "p": 2.0, "q": 0.5}, 16),
        (Walklets, {"dimensions": 8, "walk_number": 3, "walk_length": 20}, 32),
        (Diff2Vec, {"dimensions": 16, "diffusion_number": 3, "diffusion_cover": 20}, 16),
        (Role2Vec, {"dimensions": 16, "walk_number": 3, "walk_length": 20}, 16),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_nodes_are_embedded(kind, settings, width):
    model = kind(**settings)
    model.fit(GRAPH)
    embedding = model.get_embedding()
    assert embedding.shape == (50, width) and np.isfinite(embedding).all()
    assert len(np.unique(embedding, axis=0)) == 50


def test_nodes_with_features_are_embedded():
    features = coo_matrix(np.random.default_rng(1).random((50, 20)) < 0.3)
    model = SINE(dimensions=16, walk_number=3, walk_length=20)
    model.fit(GRAPH, features)
    assert model.get_embedding().shape == (50, 16)


def test_whole_graphs_are_embedded():
    graphs = [nx.newman_watts_strogatz_graph(20, 5, 0.3, seed=seed) for seed in range(10)]
    model = Graph2Vec(dimensions=8)
    model.fit(graphs)
    assert model.get_embedding().shape == (10, 8)


def test_communities_are_told_apart():
    model = DeepWalk(dimensions=16, walk_number=20, walk_length=20, window_size=4, epochs=5, workers=1)
    model.fit(nx.planted_partition_graph(2, 20, 0.6, 0.02, seed=2))
    unit = model.get_embedding()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    similar = unit @ unit.T
    assert similar[:20, :20].mean() - similar[:20, 20:].mean() > 0.2
