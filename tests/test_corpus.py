"""Encoding and cutting lose nothing."""

import numpy as np
import pytest

from torchw2v import corpus as corpus_module
from torchw2v.corpus import EncodedCorpus
from torchw2v.scan import encode, scan, stream_chunks

SENTENCES = [["b", "a", "x"], [], ["x"], ["a", "b", "a", "y"], []]


def random_corpus(rng):
    sentences = rng.integers(0, 12)
    lengths = rng.choice([0, 0, 1, 3, 10, 50], sentences)
    raw = lengths + rng.integers(0, 3, sentences)
    offsets, raw_offsets = (np.concatenate([[0], np.cumsum(x)]).astype(np.int64) for x in (lengths, raw))
    return EncodedCorpus(np.arange(offsets[-1], dtype=np.int32), offsets, raw_offsets)


@pytest.mark.parametrize("part", [1, 3, 100])
def test_neighbors_are_the_other_tokens_of_a_sentence(part, monkeypatch):
    monkeypatch.setattr(corpus_module, "_PART", part)
    assert encode(SENTENCES, {"a": 0, "b": 1, "x": 2, "y": 3}).neighbors() == (3 * 2 + 0 + 4 * 3) / 8
    assert encode([], {"a": 0}).neighbors() == 0.0


@pytest.mark.parametrize("seed", range(30))
def test_chunks_cover_every_token_sentence_and_raw_word_once(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        corpus, size = random_corpus(rng), int(rng.integers(1, 30))
        chunks, position = list(corpus.chunks(size)), 0
        for part in chunks:
            assert part.chunk.start == position and part.chunk.stop - position <= size
            position = part.chunk.stop
        assert position == len(corpus.token_ids)
        assert sum(part.examples for part in chunks) == len(corpus.sentence_offsets) - 1
        assert sum(part.raw_words for part in chunks) == corpus.raw_offsets[-1]
        progress = [part.examples_before for part in chunks]
        assert progress == sorted(progress)


def test_chunks_end_on_sentence_ends_unless_a_sentence_is_longer():
    corpus = EncodedCorpus(np.arange(30, dtype=np.int32), np.array([0, 5, 9, 29, 30]), np.array([0, 5, 9, 29, 30]))
    assert [(p.chunk.start, p.chunk.stop) for p in corpus.chunks(10)] == [(0, 9), (9, 19), (19, 29), (29, 30)]


@pytest.mark.parametrize("part", [1, 2, 3, 100])
def test_scan_then_keep_equals_encode(part, monkeypatch):
    monkeypatch.setattr(corpus_module, "_PART", part)
    vocabulary = {"a": 0, "b": 1}
    scanned = scan(SENTENCES, lambda *_: None)
    assert dict(scanned.counts()) == {"b": 2, "a": 3, "x": 2, "y": 1}
    kept, encoded = scanned.keep(vocabulary), encode(SENTENCES, vocabulary)
    for corpus in (kept, encoded):
        assert corpus.token_ids.tolist() == [1, 0, 0, 1, 0]
        assert corpus.sentence_offsets.tolist() == [0, 2, 2, 2, 5, 5]
        assert corpus.raw_offsets.tolist() == [0, 3, 3, 4, 8, 8]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_stream_gives_the_tokens_and_counts_of_the_whole(size):
    vocabulary = {"a": 0, "b": 1}
    parts = list(stream_chunks(iter(SENTENCES), vocabulary, size))
    ids = [p.chunk.token_ids[p.chunk.start : p.chunk.stop] for p in parts]
    assert np.concatenate(ids).tolist() == encode(SENTENCES, vocabulary).token_ids.tolist()
    assert sum(p.examples for p in parts) == len(SENTENCES) and sum(p.raw_words for p in parts) == 8
    positions = [p.chunk.first_position + p.chunk.start for p in parts]
    assert positions == sorted(positions)


def test_an_empty_corpus_has_no_chunks():
    assert list(encode([], {"a": 0}).chunks(5)) == []
    assert scan([], lambda *_: None).counts() == {}
