"""node2vec: the README's example, on a smaller graph."""

import networkx as nx
import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec
from node2vec import Node2Vec
from node2vec.edges import AverageEmbedder, HadamardEmbedder, WeightedL1Embedder, WeightedL2Embedder


@pytest.fixture(scope="module")
def model():
    graph = nx.fast_gnp_random_graph(n=30, p=0.5, seed=1)
    node2vec = Node2Vec(graph, dimensions=16, walk_length=10, num_walks=20, workers=1, quiet=True)
    return node2vec.fit(window=10, min_count=1, batch_words=4)


def test_nodes_are_found_by_similarity(model):
    assert len(model.wv.most_similar("2")) == 10


def test_vectors_and_model_are_saved_and_loaded(model, tmp_path):
    model.wv.save_word2vec_format(str(tmp_path / "embeddings"))
    model.save(str(tmp_path / "model"))
    vectors = KeyedVectors.load_word2vec_format(str(tmp_path / "embeddings"))
    assert np.allclose(vectors["2"], model.wv["2"], atol=1e-6)
    assert np.array_equal(Word2Vec.load(str(tmp_path / "model")).wv["2"], model.wv["2"])


@pytest.mark.parametrize("kind", [HadamardEmbedder, AverageEmbedder, WeightedL1Embedder, WeightedL2Embedder])
def test_edges_are_embedded(kind, model, tmp_path):
    edges = kind(keyed_vectors=model.wv, quiet=True)
    assert edges[("1", "2")].shape == (16,)
    vectors = edges.as_keyed_vectors()
    assert len(vectors.most_similar(str(("1", "2")))) == 10
    vectors.save_word2vec_format(str(tmp_path / "edges"))


def test_members_of_a_community_are_neighbours():
    graph = nx.planted_partition_graph(2, 15, 0.8, 0.02, seed=3)
    model = Node2Vec(graph, dimensions=16, walk_length=20, num_walks=60, workers=1, quiet=True, seed=1).fit(
        window=4, min_count=1, epochs=5, seed=1
    )
    near = [int(word) for word, _ in model.wv.most_similar("3", topn=10)]
    assert sum(node < 15 for node in near) >= 9
