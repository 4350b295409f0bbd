"""`torchw2v train`: the files that gensim's word2vec_standalone writes for the same flags, and a shell's manners."""

import fcntl
import gzip
import logging
import os
import pty
import shutil
import signal
import struct
import subprocess
import sys
import termios

import numpy as np
import pytest
from gensim.models import KeyedVectors, Word2Vec
from gensim.models.word2vec import LineSentence
from gensim.test.utils import datapath

from tests.commands.shell import torchw2v
from torchw2v import TorchWord2Vec, cli

LEE = datapath("lee_background.cor")
QUESTIONS = datapath("questions-words.txt")
FAST = ("-size", "8", "-iter", "1", "-debug", "0", "--device", "cpu")


def gensims(*arguments, **options):
    command = [sys.executable, "-m", "gensim.scripts.word2vec_standalone", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, timeout=300, **options)


def words_of(path, binary):
    """Header and words of a vectors file, in their order in the file."""
    with open(path, "rb") as file:
        header = file.readline()
        wv = KeyedVectors.load_word2vec_format(path, binary=binary)
        assert wv.vectors.shape == tuple(map(int, header.split()))
        return header, wv


# ---- the same files --------------------------------------------------------------------------------------------------

FLAGS = {
    "defaults": "",
    "binary skip-gram": "-binary 1 -cbow 0 -size 20 -window 3 -negative 3 -sample 1e-4 -iter 2 -threads 2",
    "hierarchical softmax": "-hs 1 -negative 0 -min_count 20 -alpha 0.03 -size 12 -iter 1",
}


@pytest.mark.parametrize("flags", FLAGS.values(), ids=FLAGS)
def test_files_are_those_of_gensims_script(flags, tmp_path):
    binary = "-binary 1" in flags
    gensims("-train", LEE, "-output", tmp_path / "theirs", *flags.split())
    code, out, _ = torchw2v("train", "-train", LEE, "-output", tmp_path / "ours", *flags.split())
    assert (code, out) == (0, "")
    (header, wv), (expected, theirs) = (words_of(tmp_path / name, binary) for name in ("ours", "theirs"))
    assert header == expected
    assert wv.index_to_key == theirs.index_to_key
    assert np.isfinite(wv.vectors).all() and (wv.vectors.std(axis=0) > 0).all()
    if binary:
        assert (tmp_path / "ours").stat().st_size == (tmp_path / "theirs").stat().st_size


@pytest.mark.parametrize("binary", [0, 1])
def test_without_output_files_are_named_as_gensims_script_names_them(binary, tmp_path):
    for side in ("ours", "theirs"):
        (tmp_path / side).mkdir()
        shutil.copy(LEE, tmp_path / side / "text.v1.cor")
    flags = ("-train", "text.v1.cor", "-size", 8, "-iter", 1, "-binary", binary)
    gensims(*flags, cwd=tmp_path / "theirs")
    assert torchw2v("train", *flags, cwd=tmp_path / "ours")[0] == 0
    names = sorted(os.listdir(tmp_path / "theirs"))
    assert sorted(os.listdir(tmp_path / "ours")) == names and len(names) == 3
    load = {"ours": TorchWord2Vec.load, "theirs": Word2Vec.load}
    ours, theirs = (load[side](str(tmp_path / side / "text.model")) for side in ("ours", "theirs"))
    assert type(ours) is TorchWord2Vec
    same = ("vector_size", "window", "min_count", "sample", "sg", "hs", "negative", "ns_exponent", "cbow_mean",
            "alpha", "min_alpha", "epochs", "workers", "seed", "corpus_count", "corpus_total_words",
            "shrink_windows")  # fmt: skip
    assert {name: getattr(ours, name) for name in same} == {name: getattr(theirs, name) for name in same}


def test_default_alpha_follows_the_kind_of_model(tmp_path):
    for flag, alpha in (("--sg", 0.025), ("--cbow", 0.05)):
        assert cli.main(["train", "-train", LEE, "--save-model", str(tmp_path / "m"), flag, *FAST]) == 0
        assert TorchWord2Vec.load(str(tmp_path / "m")).alpha == alpha
    assert os.listdir(tmp_path) == ["m"]


def test_long_flags_are_the_short_ones(tmp_path):
    short = (
        "-size 9 -window 3 -sample 1e-4 -hs 1 -negative 2 -threads 1 -iter 2 -min-count 9 -alpha 0.04 -cbow 0 -binary 1"
    )
    long = (
        "--vector-size 9 --window 3 --sample 1e-4 --hs --negative 2 --workers 1 --epochs 2 --min-count 9 --alpha 0.04 "
        "--sg --binary --seed 1 --engine numba --device cpu --quiet"
    )
    one, other = tmp_path / "short.bin", tmp_path / "long.bin"
    assert cli.main(["train", "-train", LEE, "-output", str(one), "-debug", "0", *short.split()]) == 0
    assert cli.main(["train", "--corpus", LEE, "--output", str(other), *long.split()]) == 0
    assert one.read_bytes() == other.read_bytes()


def test_compressed_text_and_vectors(tmp_path):
    with open(LEE, "rb") as plain, gzip.open(tmp_path / "text.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    for text, name in ((LEE, "a.txt"), (tmp_path / "text.gz", "b.txt.gz")):
        assert cli.main(["train", "-train", str(text), "-output", str(tmp_path / name), "-threads", "1", *FAST]) == 0
    assert gzip.decompress((tmp_path / "b.txt.gz").read_bytes()) == (tmp_path / "a.txt").read_bytes()


def test_a_line_of_any_length_is_one_sentence(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("a b c d " * 5_000 + "\n")
    assert cli.main(["train", "-train", str(text), "--save-model", str(tmp_path / "m"), *FAST]) == 0
    model = TorchWord2Vec.load(str(tmp_path / "m"))
    assert (model.corpus_count, model.training_history[0]["raw_words"]) == (1, 20_000)


# ---- vocabulary files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vocabulary.txt", "vocabulary.gz"])
def test_vocabulary_file_is_gensims_byte_for_byte(name, tmp_path):
    assert torchw2v("train", "-train", LEE, "-save-vocab", tmp_path / name, "-min-count", 2)[0] == 0
    assert os.listdir(tmp_path) == [name]  # without -output nothing is trained, as in word2vec.c
    model = Word2Vec(LineSentence(LEE), min_count=2, epochs=1)
    model.wv.save_word2vec_format(str(tmp_path / "v"), fvocab=str(tmp_path / "expected"))
    read = gzip.open if name.endswith("gz") else open
    with read(tmp_path / name, "rb") as file:
        assert file.read() == (tmp_path / "expected").read_bytes()


def train_with(tmp_path, name, *flags):
    path = tmp_path / name
    arguments = ["train", "-train", LEE, "-output", str(path), "-threads", "1", *FAST, *map(str, flags)]
    assert cli.main(arguments) == 0
    return path.read_bytes()


def test_vocabulary_that_was_saved_trains_the_same_vectors(tmp_path):
    vocabulary = tmp_path / "vocabulary"
    expected = train_with(tmp_path, "a", "-save-vocab", vocabulary)
    assert train_with(tmp_path, "b", "-read-vocab", vocabulary) == expected
    vocabulary.write_bytes(b"</s> 300\n" + vocabulary.read_bytes())  # as word2vec.c writes it
    assert train_with(tmp_path, "c", "-read-vocab", vocabulary) == expected


def test_vocabulary_file_decides_which_words_are_trained(tmp_path):
    (tmp_path / "vocabulary").write_text("the 10\nnobody 7\nof 6\nand 4\n\n")
    train_with(tmp_path, "v", "-read-vocab", tmp_path / "vocabulary", "-save-vocab", tmp_path / "again")
    assert KeyedVectors.load_word2vec_format(str(tmp_path / "v")).index_to_key == ["the", "nobody", "of"]
    assert (tmp_path / "again").read_text() == "the 10\nnobody 7\nof 6\n"


def test_sentence_end_that_is_a_word_of_the_text_stays(tmp_path):
    (tmp_path / "text").write_text("a b </s> a b </s>\n" * 9)
    (tmp_path / "vocabulary").write_text("</s> 18\nb 18\na 18\n")
    arguments = ["-train", tmp_path / "text", "-read-vocab", tmp_path / "vocabulary", "-output", tmp_path / "v"]
    assert cli.main(["train", *map(str, arguments), *FAST]) == 0
    assert KeyedVectors.load_word2vec_format(str(tmp_path / "v")).index_to_key == ["</s>", "b", "a"]


# ---- what is said ----------------------------------------------------------------------------------------------------


def test_debug_decides_what_is_said(tmp_path):
    said = {}
    for debug in (0, 1, 2):
        flags = ("-size", 8, "-iter", 2, "-debug", debug, "--loss")
        code, out, said[debug] = torchw2v("train", "-train", LEE, "-output", tmp_path / "v", *flags)
        assert (code, out) == (0, "")
    assert said[0] == ""
    summary = said[1].splitlines()
    assert [line.split()[0] for line in summary] == ["Vocabulary:", "Trained", "Mean", "Wrote"]
    assert "1,762 words" in summary[0] and "59,890 words in 300 lines" in summary[0]
    assert all(f"EPOCH {epoch}" in said[2] for epoch in (0, 1)) and "EPOCH" not in said[1]
    assert said[2].splitlines()[-4:-3] == summary[:1]


def test_terminal_gets_a_bar(tmp_path):
    reading, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    command = [sys.executable, "-m", "torchw2v", "train", "-train", LEE, "-output", tmp_path / "v", "-size", "8"]
    with subprocess.Popen(command, stderr=terminal, stdout=subprocess.PIPE) as process:
        os.close(terminal)
        said = b""
        while part := read_terminal(reading):
            said += part
        assert process.wait(60) == 0
    os.close(reading)
    assert b"epoch 1/5" in said and b"epoch 5/5" in said and b"EPOCH" not in said


def read_terminal(descriptor):
    try:
        return os.read(descriptor, 4096)
    except OSError:  # Linux's way of saying that the other end has closed
        return b""


def test_accuracy_is_gensims_score(tmp_path, capsys):
    path = tmp_path / "v"
    arguments = ["train", "-train", LEE, "-output", str(path), "-accuracy", QUESTIONS, "-min-count", "1", *FAST]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    wv = KeyedVectors.load_word2vec_format(str(path))
    score, sections = wv.evaluate_word_analogies(QUESTIONS)
    asked = len(sections[-1]["correct"] + sections[-1]["incorrect"])
    assert lines[0].split()[:3] == ["questions-words.txt", f"{score:.2%}", "solved"] and f" of {asked:,};" in lines[0]
    assert [line.split("  ")[1] for line in lines[1:]] == [section["section"] for section in sections[:-1]]


def test_text_in_a_bin_file_is_warned_of(tmp_path, capsys):
    assert cli.main(["train", "-train", LEE, "-output", str(tmp_path / "v.bin"), *FAST]) == 0
    assert "give -binary 1" in capsys.readouterr().err


def test_log_settings_are_left_as_they_were(tmp_path):
    before = [(name, logging.getLogger(name).level) for name in ("gensim.models.word2vec", "torchw2v")]
    assert cli.main(["train", "-train", LEE, "-output", str(tmp_path / "v"), *FAST, "-debug", "3"]) == 0
    assert [(name, logging.getLogger(name).level) for name, _ in before] == before


# ---- errors ----------------------------------------------------------------------------------------------------------


def text(data):
    return lambda folder: (folder / "given").write_bytes(data)


MISTAKES = {  # flags, exit code, what the message names, what lies in the file "given"
    "nothing": ("", 2, "-train/--corpus", None),
    "unknown flag": ("-train {lee} -sizes 3", 2, "-sizes", None),
    "size zero": ("-train {lee} -size 0", 2, "-size/--vector-size: 0 is too small", None),
    "size no number": ("-train {lee} -size many", 2, "'many' is not a whole number", None),
    "alpha zero": ("-train {lee} -alpha 0", 2, "more than 0", None),
    "sample nan": ("-train {lee} -sample nan", 2, "out of range", None),
    "hs two": ("-train {lee} -hs 2", 2, "-hs", None),
    "nothing to train": ("-train {lee} -hs 0 -negative 0", 2, "nothing to train", None),
    "classes": ("-train {lee} -classes 500", 2, "scikit-learn", None),
    "both kinds": ("-train {lee} -cbow 1 --sg", 2, "not allowed with", None),
    "unknown engine": ("-train {lee} --engine steam", 2, "steam", None),
    "output is the text": ("-train {given} -output {given}", 2, "is the text itself", text(b"a b\n" * 9)),
    "vocabulary over itself": ("-train {lee} -read-vocab {given} -save-vocab {given}", 2, "are both", text(b"a 9\n")),
    "no such text": ("-train {folder}/none -output {folder}/v", 1, "none: No such file", None),
    "text a folder": ("-train {folder} -output {folder}/v", 1, "Is a directory", None),
    "text a device": ("-train /dev/null -output {folder}/v", 1, "not a regular file", None),
    "text empty": ("-train {given} -output {folder}/v", 1, "no word occurs", text(b"")),
    "text too small": ("-train {given} -output {folder}/v", 1, "-min-count 5", text(b"a b c\n")),
    "text not UTF-8": ("-train {given} -output {folder}/v", 1, "utf-8", text(b"caf\xe9 a\n" * 9)),
    "output in no folder": ("-train {lee} -output {folder}/no/v", 1, "no/v: No such file", None),
    "output a folder": ("-train {lee} -output {folder}", 1, "Is a directory", None),
    "model in no folder": ("-train {lee} -output {folder}/v --save-model {folder}/no/m", 1, "no/m: No such file", None),
    "no such vocabulary": ("-train {lee} -output {folder}/v -read-vocab {folder}/none", 1, "none: No such", None),
    "vocabulary no counts": ("-train {lee} -output {folder}/v -read-vocab {given}", 1, "line 2", text(b"a 9\nb c\n")),
    "vocabulary twice": ("-train {lee} -output {folder}/v -read-vocab {given}", 1, "'a' stands", text(b"a 9\na 7\n")),
    "vocabulary not UTF-8": ("-train {lee} -output {folder}/v -read-vocab {given}", 1, "line 1", text(b"\xe9 9\n")),
    "vocabulary too rare": ("-train {lee} -output {folder}/v -read-vocab {given}", 1, "given: no word", text(b"a 2\n")),
    "no such questions": ("-train {lee} -output {folder}/v -accuracy {folder}/none", 1, "none: No such", None),
    "unknown device": ("-train {lee} -output {folder}/v --device abacus", 1, "abacus", None),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named_and_nothing_is_written(case, tmp_path, capsys):
    flags, code, message, prepare = MISTAKES[case]
    if prepare:
        prepare(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    places = {"lee": LEE, "folder": tmp_path, "given": tmp_path / "given"}
    if "-output" not in flags:  # else a test that fails would write beside the text
        flags += " -output {folder}/v"
    arguments = ["train", *(flag.format(**places) for flag in flags.split())]
    try:
        assert cli.main([*arguments, "-debug", "0"]) == code == 1
    except SystemExit as leaving:
        assert leaving.code == code == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err
    assert err.splitlines()[-1].startswith("torchw2v: " if code == 1 else "torchw2v train: error: ")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_ctrl_c_ends_with_130_and_writes_nothing(tmp_path):
    command = [sys.executable, "-m", "torchw2v", "train", "-train", LEE, "-output", tmp_path / "v", "-iter", "100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            if "EPOCH 0" in line:
                break
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        assert process.wait(60) == 130
    assert "Traceback" not in rest and rest.endswith("torchw2v: interrupted\n")
    assert not os.listdir(tmp_path)
