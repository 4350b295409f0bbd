"""Encoded corpora: what is trained from one is what is trained from its text; a bad one is refused."""

import bz2
import gzip
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from gensim.models.word2vec import LineSentence
from gensim.test.utils import datapath
from gensim.utils import RULE_DEFAULT, RULE_DISCARD

from torchw2v import TorchWord2Vec, atomic, cli, token_file
from torchw2v.corpus import EncodedCorpus, chunks_of_parts
from torchw2v.encoding import encode_file
from torchw2v.errors import SettingError, TokenFileError
from torchw2v.token_file import PREFIX, SECTIONS, TokenFile

LEE = Path(datapath("lee_background.cor"))
EXTRA = "a\u2028b\xa0c\r\n\n\n \n日本語 a\x00 \x00\n" + "long " * 3000 + "\nend"
SMALL = {
    "vector_size": 12,
    "min_count": 2,
    "epochs": 2,
    "seed": 5,
    "workers": 2,
    "device": "cpu",
    "deterministic": True,
}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(LEE.read_bytes() + EXTRA.encode())
    return path


@pytest.fixture
def encoded(text, tmp_path):
    output = tmp_path / "corpus.tok"
    encode_file(str(text), output)
    return output


@pytest.fixture(params=[3_000, token_file.PART_TOKENS], ids=lambda size: f"parts-of-{size}")
def part_tokens(request, monkeypatch):
    monkeypatch.setattr(token_file, "PART_TOKENS", request.param)


def discard_the(word, count, min_count):
    return RULE_DISCARD if word == "the" else RULE_DEFAULT


OPTIONS = {
    "cbow": {},
    "sg": {"sg": 1},
    "sg-hs": {"sg": 1, "hs": 1, "negative": 0},
    "min_count 1": {"min_count": 1},
    "min_count 40": {"min_count": 40},
    "max_final_vocab": {"max_final_vocab": 300},
    "max_vocab_size": {"max_vocab_size": 2_000},
    "no subsampling": {"sample": 0},
    "strong subsampling": {"sample": 1e-5},
    "unsorted": {"sorted_vocab": 0},
    "trim_rule": {"trim_rule": discard_the},
    "wide windows": {"window": 50, "shrink_windows": False},
}


@pytest.mark.parametrize("settings", OPTIONS.values(), ids=OPTIONS)
def test_vectors_are_those_of_the_text(settings, text, encoded, part_tokens):
    of_text, of_tokens = (TorchWord2Vec(corpus_file=str(file), **{**SMALL, **settings}) for file in (text, encoded))
    assert of_tokens.wv.index_to_key == of_text.wv.index_to_key
    assert np.array_equal(of_tokens.wv.vectors, of_text.wv.vectors)
    assert np.isfinite(of_text.wv.vectors).all()
    for name in ("corpus_count", "corpus_total_words", "min_alpha_yet_reached"):
        assert getattr(of_tokens, name) == getattr(of_text, name)
    counts = ("raw_words", "effective_words", "alpha")
    for ours, theirs in zip(of_tokens.training_history, of_text.training_history, strict=True):
        assert [ours[name] for name in counts] == [theirs[name] for name in counts]


def test_vocabulary_and_training_in_separate_calls(text, encoded):
    models = []
    for file in (text, encoded):
        model = TorchWord2Vec(**SMALL)
        model.build_vocab(corpus_file=file)
        words = model.corpus_total_words
        result = model.train(corpus_file=file, total_words=words, epochs=1)
        result += model.train(corpus_file=str(file), total_words=words, epochs=1)
        models.append((model.wv.vectors, result))
    assert np.array_equal(models[0][0], models[1][0])
    assert models[0][1] == models[1][1]


def test_a_vocabulary_from_elsewhere_and_its_update(text, encoded):
    vectors = []
    for file in (text, encoded):
        model = TorchWord2Vec([["the", "of", "unseen"] * 3], **SMALL)
        model.train(corpus_file=str(file), total_words=50_000, epochs=1)
        model.build_vocab(corpus_file=str(file), update=True)
        model.train(corpus_file=str(file), total_words=model.corpus_total_words, epochs=1)
        vectors.append(model.wv.vectors)
    assert len(vectors[0]) > 1000
    assert np.array_equal(*vectors)


def test_sentences_of_the_file_are_those_of_the_text(text, encoded, part_tokens):
    assert list(TokenFile.open(encoded)) == list(LineSentence(text, max_sentence_length=sys.maxsize))


@pytest.mark.parametrize("seed", range(10))
def test_parts_give_the_chunks_of_the_whole(seed):
    rng = np.random.default_rng(seed)
    for _ in range(20):
        lengths = rng.choice([0, 0, 1, 3, 10, 50], int(rng.integers(1, 14)))
        raw = lengths + rng.integers(0, 3, len(lengths))
        ids = rng.integers(0, 9, lengths.sum()).astype(np.int32)
        offsets, raw_offsets = (np.concatenate([[0], np.cumsum(x)]) for x in (lengths, raw))
        whole = EncodedCorpus(ids, offsets, raw_offsets)
        cuts = [0, *np.sort(rng.integers(0, len(lengths) + 1, 3)).tolist(), len(lengths)]
        parts = [
            EncodedCorpus(
                ids[offsets[a] : offsets[b]], offsets[a : b + 1] - offsets[a], raw_offsets[a : b + 1] - raw_offsets[a]
            )
            for a, b in pairwise(cuts)
        ]
        size = int(rng.integers(1, 30))

        def facts(piece):
            chunk = piece.chunk
            sentence = int(np.searchsorted(chunk.sentence_offsets, chunk.start, side="right")) - 1
            reach = slice(int(chunk.sentence_offsets[sentence]), chunk.start)  # contexts before a cut
            return (
                chunk.token_ids[chunk.start : chunk.stop].tolist(), chunk.token_ids[reach].tolist(),
                chunk.first_position + chunk.start, piece.examples, piece.raw_words,
                round(piece.examples_before, 9), round(piece.raw_words_before, 9),
            )  # fmt: skip

        assert list(map(facts, chunks_of_parts(parts, size))) == list(map(facts, whole.chunks(size)))


@pytest.mark.parametrize("opener", [gzip.open, bz2.open], ids=["gz", "bz2"])
def test_compressed_text(opener, text, encoded, tmp_path):
    packed = tmp_path / f"corpus.txt.{opener.__module__.replace('gzip', 'gz')}"
    with opener(packed, "wb") as file:
        file.write(text.read_bytes())
    encode_file(str(packed), tmp_path / "packed.tok", workers=2)
    plain, unpacked = TokenFile.open(encoded), TokenFile.open(tmp_path / "packed.tok")
    for name in SECTIONS:
        assert np.array_equal(plain.section(name), unpacked.section(name))


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a"], ids=["empty", "empty lines", "one word"])
def test_small_files(content, tmp_path):
    (tmp_path / "t.txt").write_bytes(content)
    encode_file(str(tmp_path / "t.txt"), tmp_path / "t.tok")
    assert list(TokenFile.open(tmp_path / "t.tok")) == [[word] for word in content.decode().split()]


def test_long_lines_are_cut_on_request(tmp_path):
    (tmp_path / "t.txt").write_text("a b c d e f g\nh\n")
    encode_file(str(tmp_path / "t.txt"), tmp_path / "t.tok", longest=3)
    assert list(TokenFile.open(tmp_path / "t.tok")) == [["a", "b", "c"], ["d", "e", "f"], ["g"], ["h"]]


# ---- refusing ----------------------------------------------------------------------------------------------------


def rewrite_header(path, change):
    data = path.read_bytes()
    magic, version, size, _ = PREFIX.unpack(data[: PREFIX.size])
    header = json.loads(data[PREFIX.size : size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (size - PREFIX.size - len(text))
    path.write_bytes(PREFIX.pack(magic, version, size, zlib.crc32(text)) + text + data[size:])


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def in_section(name):
    return lambda path: flip(path, TokenFile.open(path).header["sections"][name]["offset"] + 5)


DAMAGE = {
    "cut short": (lambda path: os.truncate(path, path.stat().st_size - 1), "cut short or has grown"),
    "cut in the header": (lambda path: os.truncate(path, 100), "checksum of its header"),
    "cut in the prefix": (lambda path: os.truncate(path, 12), "not an encoded corpus"),
    "grown": (lambda path: path.write_bytes(path.read_bytes() + b"\0"), "cut short or has grown"),
    "header": (lambda path: flip(path, PREFIX.size + 3), "checksum of its header"),
    "ids": (in_section("ids"), "checksum of its ids"),
    "offsets": (in_section("offsets"), "checksum of its offsets"),
    "counts": (in_section("counts"), "checksum of its counts"),
    "words": (in_section("words"), "checksum of its words"),
    "version": (lambda path: flip(path, struct.calcsize("<8s")), "version 0 .* reads version 1"),
    "vocabulary": (
        lambda path: rewrite_header(path, lambda header: header.update(vocabulary_sha256="0" * 64)),
        "another vocabulary",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGE.values(), ids=DAMAGE)
def test_damaged_file_is_refused(damage, message, encoded):
    damage(encoded)
    with pytest.raises(TokenFileError, match=message):
        TorchWord2Vec(corpus_file=str(encoded), **SMALL)


def test_text_is_not_taken_for_an_encoded_corpus(text):
    with pytest.raises(TokenFileError, match="torchw2v encode"):
        TokenFile.open(text)


def test_file_replaced_between_calls_is_read_anew(encoded, tmp_path):
    model = TorchWord2Vec(corpus_file=str(encoded), **SMALL)
    (tmp_path / "other.txt").write_text("the of the\n")
    encode_file(str(tmp_path / "other.txt"), encoded)
    assert model.train(corpus_file=str(encoded), total_words=3, epochs=1)[1] == 3


def test_file_replaced_while_training_is_an_error(encoded, tmp_path):
    opened = TokenFile.open(encoded)
    (tmp_path / "other.txt").write_text("the of the\n")
    encode_file(str(tmp_path / "other.txt"), encoded)
    with pytest.raises(TokenFileError, match="changed since it was opened"):
        list(opened.parts())


def test_gensims_own_routines_are_not_given_an_encoded_corpus(encoded):
    class Own(TorchWord2Vec):
        def _do_train_epoch(self, *args, **kwargs):
            return super()._do_train_epoch(*args, **kwargs)

    with pytest.raises(TokenFileError, match="give the text"):
        Own(corpus_file=str(encoded), **SMALL)


# ---- writing -----------------------------------------------------------------------------------------------------


def test_failed_encoding_leaves_the_old_file_and_nothing_else(encoded, tmp_path):
    before, bad = encoded.read_bytes(), tmp_path / "bad.txt"
    bad.write_bytes(b"a b\n" * 200_000 + b"\xff\n")
    names = sorted(os.listdir(tmp_path))
    with pytest.raises(UnicodeDecodeError, match="after 200000 sentences"):
        encode_file(str(bad), encoded)
    assert encoded.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == names


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills a process")
def test_killed_encoding_leaves_the_old_file(encoded, tmp_path):
    before, long = encoded.read_bytes(), tmp_path / "long.txt"
    long.write_bytes(LEE.read_bytes() * 400)
    command = [sys.executable, "-m", "torchw2v", "encode", str(long), "-o", str(encoded), "--workers", "1"]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 60
        while not any(part.stat().st_size > 10_000 for part in tmp_path.glob(".corpus.tok.saving-*/corpus.tok")):
            assert process.poll() is None and time.monotonic() < deadline, "ended before it could be killed"
            time.sleep(0.005)
    finally:
        process.kill()
        process.wait()
    assert encoded.read_bytes() == before
    assert TokenFile.open(encoded).tokens > 50_000


def test_failure_to_put_the_file_in_place(encoded, text, monkeypatch):
    before = encoded.read_bytes()

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(atomic.os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        encode_file(str(text), encoded)
    assert encoded.read_bytes() == before


def test_output_that_is_the_corpus_is_refused(text):
    before = text.read_bytes()
    with pytest.raises(SettingError, match="is the corpus itself"):
        encode_file(str(text), text)
    assert text.read_bytes() == before


# ---- the command -------------------------------------------------------------------------------------------------


def test_command_encodes_once_and_again_after_a_change(text, tmp_path, capsys):
    output = tmp_path / "out.tok"

    def run(*more):
        assert cli.main(["encode", str(text), "-o", str(output), *more]) == 0
        return capsys.readouterr().out

    assert "words/s" in run()
    first = output.stat().st_mtime_ns
    assert "is up to date" in run()
    assert output.stat().st_mtime_ns == first
    assert "words/s" in run("--max-sentence-length", "10")
    assert "words/s" in run()
    assert "words/s" in run("--force")
    os.utime(text, ns=(1, 1))
    assert "words/s" in run()
    flip(output, output.stat().st_size - 1)
    assert "words/s" in run()
    model = TorchWord2Vec(corpus_file=str(output), **SMALL)
    assert model.corpus_total_words == sum(map(len, LineSentence(text, max_sentence_length=sys.maxsize)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.txt", "-o", "out.tok"], "gone.txt"),
        (["corpus.txt", "-o", "no/such/folder/out.tok"], "folder"),
    ],
    ids=["no corpus", "no folder"],
)
def test_command_reports_errors(arguments, message, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["encode", *arguments]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.tok").exists()


def test_command_refuses_sentences_of_no_words(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["encode", "corpus.txt", "-o", "out.tok", "--max-sentence-length", "0"])
    assert "--max-sentence-length: 0 is too small" in capsys.readouterr().err
    assert not (tmp_path / "out.tok").exists()
