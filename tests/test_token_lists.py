"""Lists of token lists: the same ids through compiled loops as through a dictionary."""

import sys
from collections import defaultdict
from enum import Enum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROADS

from torchw2v import TorchWord2Vec, token_lists
from torchw2v.scan import encode, scan


class Tag(str, Enum):
    A = "a"
    B = "b"


class Shout(str):
    """Equal to no plain word."""

    def __eq__(self, other):
        return type(other) is Shout and str.__eq__(self, other)

    def __hash__(self):
        return 7


@pytest.fixture(autouse=True, params=ROADS)
def small_batches(request, monkeypatch):
    monkeypatch.setattr(token_lists, "_TOKENS_TO_COMPILE_FOR", 0 if request.param else sys.maxsize)
    monkeypatch.setattr(token_lists, "_BATCH_TOKENS", 5)
    monkeypatch.setattr(token_lists, "_BATCH_BYTES", 12)


def assert_encoded_as_by_a_dictionary(sentences, workers):
    ids = defaultdict()
    ids.default_factory = ids.__len__
    expected = [[ids[token] for token in sentence] for sentence in sentences]
    scanned = scan(sentences, lambda *_: None, workers=workers)
    assert list(scanned.words) == list(ids)
    assert list(map(type, scanned.words)) == list(map(type, ids))
    assert scanned.ids.tolist() == [i for sentence in expected for i in sentence]
    assert np.diff(scanned.raw_offsets).tolist() == list(map(len, sentences))
    rows = {token: row for row, token in enumerate(list(ids)[::2])}
    encoded = encode(sentences, rows, workers)
    assert encoded.token_ids.tolist() == [rows[t] for sentence in sentences for t in sentence if t in rows]
    assert np.diff(encoded.raw_offsets).tolist() == list(map(len, sentences))


PLAIN = [["b", "a"], [], ("a", "c", "d"), ["b"] * 23, [], ["e" * 2000, "日本語", "a"], ["f"]]
ODD = {
    "plain words": [],
    "numbers": [[1, 2, 1.0, True]],
    "tuples": [[("a", "b"), ("a", "b")]],
    "bytes": [[b"a", "a"]],
    "empty words": [["", "a", ""]],
    "words with spaces": [["new york", "a", "new", "york"]],
    "an empty word beside one with a space": [["", "x y", "a"]],
    "only white space": [[" ", "\n", "\u3000"]],
    "no-break space": [["a\xa0b", "a"]],
    "lone surrogates": [["\ud800", "a"]],
    "NUL": [["\x00", "a\x00", "a"]],
    "letters of one, two and four bytes": [["é" * n + letter for n in range(9) for letter in "eéж日😀"]],
    "words of 1 to 80 letters": [["x" * n for n in range(80)], ["x" * n + "é" for n in range(80)]],
    "members of an Enum": [[Tag.A, Tag.B]],
    "words of another equality": [[Shout("q"), "q", Shout("q")]],
    "numpy strings": [[np.str_("a"), np.str_("z")]],
}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("where", [0, 1, 4, len(PLAIN)])
def test_tokens_of_any_kind(kind, where, workers):
    assert_encoded_as_by_a_dictionary(PLAIN[:where] + ODD[kind] * 2 + PLAIN[where:], workers)


tokens = st.one_of(
    st.text("ab \n\x00é\u3000", max_size=3),
    st.text(st.characters(), max_size=4),  # all that Unicode has, lone surrogates too
    st.text("xyz", min_size=1, max_size=20),
    st.text("xyzéж日😀", min_size=60, max_size=70),
    st.integers(0, 3),
)


@settings(max_examples=200, deadline=None)
@given(sentences=st.lists(st.lists(tokens, max_size=12), max_size=20), workers=st.sampled_from([1, 2]))
def test_any_tokens(sentences, workers):
    assert_encoded_as_by_a_dictionary(sentences, workers)


@pytest.mark.parametrize("workers", [1, 2])
def test_sentences_of_any_kind_after_lists(workers):
    for sentence in ("ab", np.array(["a", "b"]), {"a": 1, "b": 2}.keys()):
        scanned = scan([*PLAIN, sentence, ["b"]], lambda *_: None, workers=workers)
        assert list(map(scanned.words.__getitem__, scanned.ids))[-3:] == ["a", "b", "b"]
        encoded = encode([*PLAIN, sentence, ["b"]], {"a": 5, "b": 4}, workers=workers)
        assert encoded.token_ids[-3:].tolist() == [5, 4, 4]


def test_a_list_that_changes_while_it_is_read_is_read_as_it_is_then():
    sentences = [["a"] * 4 for _ in range(50)]
    scanned = scan(sentences, lambda *_: sentences.pop(), every=5)
    assert scanned.ids.tolist() == [0] * int(scanned.raw_offsets[-1])
    assert len(scanned.raw_offsets) - 1 < 50


@pytest.mark.parametrize("workers", [1, 2])
def test_unhashable_token_is_an_error(workers):
    with pytest.raises(TypeError, match="unhashable"):
        scan([*PLAIN, ["a", ["b"]]], lambda *_: None, workers=workers)


def test_sentences_that_are_strings_are_read_letter_by_letter():
    scanned = scan(["ab a", ["c"]], lambda *_: None, workers=2)
    assert scanned.words == ["a", "b", " ", "c"]


@pytest.mark.parametrize("workers", [1, 3])
def test_vectors_do_not_depend_on_the_way_of_encoding(workers):
    made = [
        TorchWord2Vec(corpus, vector_size=4, min_count=1, workers=workers, epochs=2, device="cpu", deterministic=True)
        for corpus in (PLAIN * 40, tuple(PLAIN * 40))
    ]
    alone = TorchWord2Vec(PLAIN * 40, vector_size=4, min_count=1, workers=1, epochs=2, device="cpu", deterministic=True)
    assert all(np.array_equal(model.wv.vectors, alone.wv.vectors) for model in made)
