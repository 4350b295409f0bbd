"""Reading text files: the same sentences, words and order as gensim's readers, whatever the bytes and threads are."""

import gzip
import sys
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import smart_open
from gensim.models import Word2Vec
from gensim.models.word2vec import LineSentence, PathLineSentences
from gensim.test.utils import datapath
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import ROADS, needs_numba

from torchw2v import TorchWord2Vec, text, word_table
from torchw2v.scan import encode, scan
from torchw2v.text import _AFTER_NEWLINE, _WIDE_SPACES, encode_blocks, find_words, look_up, read_blocks
from torchw2v.word_table import GIANT, Words, WordTable

SPACES = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
NO_SPACES = ["\x00", "\x1b", "\u180e", "\u200b", "\u200c", "\u2060", "\ufeff", "\x84", "\x86", "\x9f", "\xa1"]

NASTY = {
    "empty": b"",
    "one newline": b"\n",
    "only white space": b" \t\r\n\x0b\x0c\n \n",
    "no final newline": b"a b\nc d",
    "final spaces": b"a b \n c d  \n\n\n e",
    "CRLF": b"a b\r\nc d\r\n\r\n",
    "lone CR": b"a b\rc d\re\n",
    "line separators inside lines": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\x1fj\n".encode(),
    "no-break and wide spaces": "a\xa0b\u3000c\u2003d\u202fe\u205ff\u1680g\n".encode(),
    "no white space": "".join(f"a{letter}b\n" for letter in NO_SPACES).encode(),
    "NUL": b"a\x00 a a\x00\x00 \x00 \x00\x00 \x00a\n\x00\n",
    "byte order mark": b"\xef\xbb\xbfa b\na b\n",
    "words of 1 to 40 letters": b" ".join(b"x" * n for n in (*range(1, 41), *range(40, 0, -1))) + b"\n",
    "words that differ in one letter": b" ".join(
        b"a" * i + b"b" + b"a" * (n - i) for n in range(24) for i in range(n + 1)
    ),
    "giant words": b" ".join(
        b"y" * n + end for n in (62, 63, 64, 65, 200, *range(GIANT - 1, GIANT + 2), 5000) for end in (b"", b"z") * 2
    ),
    "four-byte letters": "😀 😁 😀😁 😀\u00a0😁 𐌰𐌱𐌲 𐌰𐌱𐌲𐌳\n😁 😀\n".encode(),
}


LEE = Path(datapath("lee_background.cor")).read_bytes()


def write(path, data):
    path.write_bytes(data)
    return str(path)


@contextmanager
def road(compiled):
    """Texts of any length are read by the compiled loop, or none are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text, "_BYTES_TO_COMPILE_FOR", 0 if compiled else sys.maxsize)
        yield


@pytest.fixture(params=ROADS)
def compiled(request):
    with road(request.param):
        yield request.param


def assert_read_as_gensim_reads(sentences, workers=1):
    """Sentences, words, their order and their counts are those that iterating over a reader of gensim's gives."""
    scanned = scan(sentences, lambda *_: None, workers=workers)
    expected = list(sentences)
    counts = defaultdict(int)
    for sentence in expected:
        for word in sentence:
            counts[word] += 1
    assert scanned.words == list(counts)
    assert list(scanned.counts().items()) == list(counts.items())
    offsets = scanned.raw_offsets.tolist()
    assert np.diff(offsets).tolist() == list(map(len, expected))
    assert [scanned.words[i] for i in scanned.ids.tolist()] == [word for sentence in expected for word in sentence]

    known = {word: row for row, word in enumerate(sorted(counts)[::2])}
    kept, encoded = scanned.keep(known), encode(sentences, known, workers)
    for name in ("token_ids", "sentence_offsets", "raw_offsets"):
        assert np.array_equal(getattr(kept, name), getattr(encoded, name)), name
    assert encoded.token_ids.tolist() == [known[w] for sentence in expected for w in sentence if w in known]


@needs_numba
def test_compiled_white_space_is_that_of_str_split(tmp_path):
    """Every character there is, between two letters and between two of itself."""
    letters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000 and chr(code) != "\n"]
    content = "".join(f"a{letter}b {letter}{letter}\n" for letter in letters)
    path = write(tmp_path / "t.txt", content.encode())
    with road(True):
        scanned = scan(LineSentence(path), lambda *_: None)
    assert [scanned.words[i] for i in scanned.ids.tolist()] == content.split()


def test_white_space_is_that_of_str_split():
    ours = set(_WIDE_SPACES) | set(_AFTER_NEWLINE) | {b"\n"}
    assert ours == {space.encode() for space in SPACES}
    assert all(f"a{space}b".split() == ["a", "b"] for space in SPACES)


@pytest.fixture(params=[1, 7, 64, text.BLOCK_BYTES], ids=lambda size: f"blocks-of-{size}")
def block_bytes(request, monkeypatch):
    monkeypatch.setattr(text, "BLOCK_BYTES", request.param)
    monkeypatch.setattr(read_blocks, "__defaults__", (request.param,))
    monkeypatch.setattr(text, "_BYTES_OF_A_THREAD", 1)
    return request.param


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("data", NASTY.values(), ids=NASTY)
@pytest.mark.parametrize("longest", [1, 2, 10_000, sys.maxsize])
def test_file_is_read_as_gensim_reads_it(data, longest, workers, block_bytes, compiled, tmp_path):
    path = write(tmp_path / "t.txt", data)
    assert_read_as_gensim_reads(LineSentence(path, max_sentence_length=longest), workers)


letters = st.sampled_from([*"abcABC012_-", *"éßжя日本語กึ", "😀", *NO_SPACES])
spaces = st.sampled_from([*SPACES, *" \n\n"])
texts = st.lists(st.one_of(st.text(letters, max_size=20), spaces, st.just("word")), max_size=60).map("".join)


@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("compiled", ROADS)
@given(content=texts, size=st.integers(1, 40), workers=st.sampled_from([1, 2]))
@example(content="", size=1, workers=1)
def test_any_text_is_read_as_gensim_reads_it(content, size, workers, compiled, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "t.txt"
    path.write_bytes(content.encode())
    table = WordTable()
    pieces = list(encode_blocks(read_blocks([path], size), table, grow=True, workers=workers, compiled=compiled))
    expected = list(LineSentence(str(path)))
    words = table.words()
    assert words == list(dict.fromkeys(word for sentence in expected for word in sentence))
    read = [words[i - 1] for piece in pieces for i in piece.ids.tolist()]
    assert read == [word for sentence in expected for word in sentence]
    with road(compiled):
        assert_read_as_gensim_reads(LineSentence(str(path)), workers)


@needs_numba
def test_compiled_loop_gives_what_numpy_gives():
    content = b"".join(NASTY.values()) + LEE
    table = WordTable()
    for block in (LEE[: len(LEE) // 2], content):  # some words known, some not
        plain, compiled = (look_up(block, table, compiled=which) for which in (False, True))
        for name in ("ids", "line_ends"):
            assert np.array_equal(getattr(compiled.piece, name), getattr(plain.piece, name)), name
        assert np.array_equal(compiled.unknown, plain.unknown)
        for i in range(len(plain.words)):
            assert compiled.words.bytes_at(i) == plain.words.bytes_at(i)
        table.add(plain.words)


@settings(max_examples=200, deadline=None)
@given(
    words=st.lists(st.binary(max_size=80), max_size=80),
    cuts=st.lists(st.integers(0, 80), max_size=4),
    multiplier=st.sampled_from([0, 1, 2**63, int(word_table.MULTIPLIER)]),
)
def test_table_numbers_words_by_first_appearance_also_where_hashes_collide(words, cuts, multiplier):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_table, "MULTIPLIER", np.uint64(multiplier))
        patch.setattr(word_table, "hash", lambda word: 5, raising=False)
        table, order = WordTable(), {}
        for start, stop in zip([0, *sorted(cuts)], [*sorted(cuts), 80], strict=True):
            part = words[start:stop]
            for word in part:
                order.setdefault(word, len(order) + 1)
            ends = np.cumsum([len(word) + 1 for word in part], dtype=np.int64) - 1
            starts = ends - np.array(list(map(len, part)), np.int64)
            buffer = np.frombuffer(b"".join(word + b" " for word in part) + bytes(8), np.uint8)
            where = Words(buffer, starts, ends)
            assert table.add(where).tolist() == [order[word] for word in part]
            assert table.find(where).tolist() == [order[word] for word in part]
        assert len(table) == len(order)


@pytest.mark.parametrize("compiled", ROADS)
def test_ids_are_the_same_for_every_number_of_threads_and_size_of_blocks(compiled, tmp_path):
    with smart_open.open(datapath("head500.noblanks.cor.bz2"), "rb") as file:  # 331,339 words
        path = write(tmp_path / "t.txt", file.read())
    expected = None
    for workers, size in [(1, 1 << 18), (1, 1 << 12), (2, 1 << 15), (8, 5_000)]:
        table = WordTable()
        pieces = list(encode_blocks(read_blocks([path], size), table, grow=True, workers=workers, compiled=compiled))
        result = (table.words(), np.concatenate([piece.ids for piece in pieces]).tolist())
        expected = expected or result
        assert result == expected


def test_lines_and_letters_across_block_ends(compiled, tmp_path):
    path = tmp_path / "t.txt"
    rng = np.random.default_rng(1)
    words = [("ж" * int(n)) + "日本" * (int(n) % 3) for n in rng.integers(1, 30, 4000)]
    lines = np.split(np.array(words), np.sort(rng.integers(0, 4000, 40)))
    path.write_text("\n".join(map(" ".join, lines)), encoding="utf-8")
    for size in (100, 1_000, 4_096):
        blocks = list(read_blocks([path], size))
        assert b"".join(blocks) == path.read_bytes() + b"\n"
        assert len(blocks) > 10
    assert_read_as_gensim_reads(LineSentence(path), workers=2)


@pytest.mark.parametrize("line", ["a b c d", "a\tb\tc", "a\x1cb\rc"], ids=["spaces", "tabs", "separators"])
def test_a_single_long_line_is_read_in_blocks(line, compiled, tmp_path):
    path = write(tmp_path / "t.txt", line.encode() * 1000)
    assert max(map(len, read_blocks([path], 50))) <= 100
    assert_read_as_gensim_reads(LineSentence(path, max_sentence_length=700))


def test_folder_of_plain_and_compressed_files(compiled, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a b\nc")  # no final newline: the line ends with the file
    (tmp_path / "b.txt").write_bytes(b"")
    with gzip.open(tmp_path / "c.txt.gz", "wb") as file:
        file.write(b"d e a\n\nf\n")
    for longest in (2, 10_000):
        assert_read_as_gensim_reads(PathLineSentences(str(tmp_path), max_sentence_length=longest), workers=2)


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_limit_counts_lines(limit, tmp_path):
    path = write(tmp_path / "t.txt", b"a b\n\nc d\ne\n")
    assert_read_as_gensim_reads(LineSentence(path, limit=limit))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("mode", [{}, {"min_count": 3}, {"max_final_vocab": 40, "min_count": 1}], ids=str)
def test_vocabulary_equals_gensims(mode, workers, tmp_path):
    content = b"".join(NASTY.values()) * 2 + LEE
    path = write(tmp_path / "t.txt", content)
    models = [
        make(corpus_file=path, vector_size=4, epochs=1, workers=workers, **{"min_count": 1, **mode})
        for make in (Word2Vec, TorchWord2Vec)
    ]
    theirs, ours = models
    assert ours.wv.index_to_key == theirs.wv.index_to_key  # ties in the order of first appearance
    for name in ("count", "sample_int"):
        assert np.array_equal(ours.wv.expandos[name], theirs.wv.expandos[name])
    assert np.array_equal(ours.cum_table, theirs.cum_table)
    assert (ours.corpus_total_words, ours.corpus_count) == (theirs.corpus_total_words, theirs.corpus_count)


PLACES = {  # bytes, sentences before, what the error shows of the place
    "first line": (b"a \xff b\n", 0, b"a \xff b"),
    "after empty lines": (b"\n\na b\n\n\nc\nd \xe9t\xe9 e\nf\n", 2, b"d \xe9t\xe9 e"),
    "cut letter at a line end": ("ж\n".encode() * 5 + "a ж".encode()[:-1] + b"\nb\n", 5, b"a \xd0"),
    "cut letter at the file end": ("ж\n".encode() * 5 + "a ж".encode()[:-1], 5, b"a \xd0"),
    "surrogate": (b"x\n" * 30 + b"\xed\xa0\x80\n", 30, b"\xed\xa0"),
    "far into a long file": (b"a b c\n" * 100_000 + b"\xff", 100_000, b"\xff"),
}


@pytest.mark.parametrize(("data", "sentences", "near"), PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("workers", [1, 2])
def test_invalid_utf8_is_named_with_its_place(data, sentences, near, workers, compiled, tmp_path):
    corpus = LineSentence(write(tmp_path / "t.txt", data))
    with pytest.raises(UnicodeDecodeError) as gensims:
        list(corpus)
    for read in (lambda: scan(corpus, lambda *_: None, workers=workers), lambda: encode(corpus, {"a": 0}, workers)):
        with pytest.raises(UnicodeDecodeError, match="must be UTF-8") as ours:
            read()
        assert f"after {sentences} sentences, near " in ours.value.reason
        assert repr(near)[2:-1] in ours.value.reason
        assert (ours.value.start, ours.value.end) == (gensims.value.start, gensims.value.end)


def test_missing_file_is_the_error_that_opening_it_gives(tmp_path):
    with pytest.raises(FileNotFoundError, match="gone"):
        scan(LineSentence(str(tmp_path / "gone")), lambda *_: None, workers=2)


@pytest.mark.parametrize("every", [1, 7, 100])
def test_progress_is_reported_as_by_one_sentence_after_another(every, compiled, tmp_path):
    path = write(tmp_path / "t.txt", LEE + b"\n\nx y z\n" * 50)

    class Plain:  # not one of gensim's readers: read sentence by sentence
        def __iter__(self):
            return iter(LineSentence(path))

    reports = []
    for corpus in (Plain(), LineSentence(path), list(LineSentence(path))):
        reports.append([])
        scan(corpus, lambda *now, to=reports[-1]: to.append(now[:3]), every)
    assert reports[0] == reports[1] == reports[2]
    assert len(reports[0]) == -(-350 // every)


def test_words_and_line_ends_of_a_block():
    words, line_ends = find_words(b"to be\nor not\n")
    assert [words.bytes_at(i) for i in range(len(words))] == [b"to", b"be", b"or", b"not"]
    assert line_ends.tolist() == [2, 4]
