"""PecanPy: the documented modes and the command line, on Zachary's karate club."""

import sys

import networkx as nx
import numpy as np
import pytest
from gensim.models import KeyedVectors
from pecanpy import cli, pecanpy


@pytest.fixture
def karate(tmp_path):
    path = tmp_path / "karate.edg"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in nx.karate_club_graph().edges()))
    return path


def split(vectors, nodes):
    """How much nearer members of the same faction are than members of two."""
    graph = nx.karate_club_graph()
    club = np.array([graph.nodes[int(node)]["club"] for node in nodes])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    same = club[:, None] == club[None, :]
    similar = unit @ unit.T
    return similar[same].mean() - similar[~same].mean()


@pytest.mark.parametrize("mode", ["PreComp", "SparseOTF", "DenseOTF", "PreCompFirstOrder", "FirstOrderUnweighted"])
def test_embedding_tells_the_factions_apart(mode, karate):
    graph = getattr(pecanpy, mode)(p=1, q=1, workers=1, verbose=False, random_state=1)
    graph.read_edg(str(karate), weighted=False, directed=False)
    vectors = graph.embed(dim=16, num_walks=20, walk_length=40, window_size=5, epochs=5)
    assert vectors.shape == (34, 16)
    assert split(vectors, graph.nodes) > 0.1


@pytest.mark.parametrize("more", [[], ["--extend"]], ids=["node2vec", "node2vec+"])
def test_command_line_writes_vectors(more, karate, tmp_path, monkeypatch):
    output = tmp_path / "karate.emb"
    monkeypatch.setattr(sys, "argv", [
        "pecanpy", "--input", str(karate), "--output", str(output), "--mode", "SparseOTF", "--dimensions", "16",
        "--num-walks", "20", "--walk-length", "40", "--window-size", "5", "--epochs", "5", "--workers", "1", *more,
    ])  # fmt: skip
    cli.main()
    vectors = KeyedVectors.load_word2vec_format(str(output))
    assert vectors.vectors.shape == (34, 16)
    assert split(vectors.vectors, vectors.index_to_key) > 0.1
