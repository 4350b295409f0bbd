"""`torchw2v similar`, `analogy` and `evaluate`: gensim's answers, one line each, and a shell's manners."""

import io
import subprocess
import sys

import pytest
from gensim.models.word2vec import LineSentence
from gensim.test.utils import datapath

from tests.commands.shell import torchw2v
from torchw2v import TorchWord2Vec, cli
from torchw2v.commands.analogy import parse

ATOL = 6e-5  # four decimals are printed


@pytest.fixture(scope="module")
def wv():
    corpus = LineSentence(datapath("lee_background.cor"))
    return TorchWord2Vec(corpus, vector_size=20, min_count=2, sg=1, epochs=2, device="cpu").wv


@pytest.fixture(scope="module")
def path(wv, tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "vectors.bin"
    wv.save_word2vec_format(str(path), binary=True)
    return str(path)


def said(capsys, *arguments, code=0):
    assert cli.main([*map(str, arguments)]) == code
    return capsys.readouterr()


def assert_neighbours(lines, expected):
    assert [line[-2] for line in lines] == [word for word, _ in expected]
    for line, (_, score) in zip(lines, expected, strict=True):
        assert float(line[-1]) == pytest.approx(score, abs=ATOL)


def rows(text):
    return [line.split("\t") for line in text.splitlines()]


# ---- similar ---------------------------------------------------------------------------------------------------------


def test_similar_prints_gensims_neighbours(capsys, path, wv):
    lines = rows(said(capsys, "similar", path, "Sydney", "police", "--topn", 3).out)
    assert [line[0] for line in lines] == ["Sydney"] * 3 + ["police"] * 3
    assert_neighbours(lines[:3], wv.most_similar("Sydney", topn=3))
    assert_neighbours(lines[3:], wv.most_similar("police", topn=3))


def test_similar_averages_words_in_quotes(capsys, path, wv):
    lines = rows(said(capsys, "similar", path, "New South Wales").out)
    assert {line[0] for line in lines} == {"New South Wales"}
    assert_neighbours(lines, wv.most_similar(["New", "South", "Wales"]))


def test_similar_restricts_the_vocabulary(capsys, path, wv):
    lines = rows(said(capsys, "similar", path, "Sydney", "--restrict-vocab", 50, "--topn", 99).out)
    assert_neighbours(lines, wv.most_similar("Sydney", topn=99, restrict_vocab=50))
    assert len(lines) in (49, 50)


def test_similar_reads_queries_from_standard_input(capsys, path, wv, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Sydney\n\npolice force\n"))
    monkeypatch.setattr("torchw2v.commands.similar.QUERIES_AT_ONCE", 1)
    lines = rows(said(capsys, "similar", path, "-", "the", "--topn", 2).out)
    assert [line[0] for line in lines[::2]] == ["Sydney", "police force", "the"]


def test_similar_names_unknown_words_and_answers_the_others(capsys, path):
    out, err = said(capsys, "similar", path, "sydney", "police", "police nobody", "--topn", 1, code=1)
    assert [line[0] for line in rows(out)] == ["police"]
    assert "'sydney' is not among" in err and "it has 'Sydney'" in err and "'nobody' is not among" in err


def test_similar_opens_a_saved_model(capsys, wv, tmp_path):
    wv.save(str(tmp_path / "saved"))
    lines = rows(said(capsys, "similar", tmp_path / "saved", "Sydney").out)
    assert_neighbours(lines, wv.most_similar("Sydney"))


def test_reader_that_has_enough_ends_it_quietly(path, tmp_path):
    (tmp_path / "queries").write_text("police\n" * 20_000)  # whose answers are far more than a pipe holds
    command = [sys.executable, "-m", "torchw2v", "similar", path, "-"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with (tmp_path / "queries").open() as file, subprocess.Popen(command, text=True, stdin=file, **pipes) as process:
        assert process.stdout.readline().startswith("police\t")
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 128 + 13


# ---- analogy ---------------------------------------------------------------------------------------------------------

ANALOGIES = {
    "king - man + woman": (["king", "woman"], ["man"]),
    "man king woman": (["king", "woman"], ["man"]),
    "king": (["king"], []),
    "king + queen": (["king", "queen"], []),
    "- man + king - boy": (["king"], ["man", "boy"]),
}


@pytest.mark.parametrize("expression", ANALOGIES)
def test_analogies_are_parsed(expression):
    assert parse(expression.split()) == ANALOGIES[expression]


@pytest.mark.parametrize("expression", ["king man", "a b c d", "king -", "king + - man", "king man + woman", "+"])
def test_expressions_that_are_no_analogies_are_wrong_usage(expression, path, capsys):
    with pytest.raises(ValueError, match="is no analogy"):
        parse(expression.split())
    with pytest.raises(SystemExit, match="2"):
        cli.main(["analogy", path, *expression.split()])
    assert "king - man + woman" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["Sydney", "-", "police", "+", "Israel"], ["Sydney - police + Israel"],
                                   ["police", "Sydney", "Israel"]], ids=" ".join)  # fmt: skip
def test_analogy_prints_gensims_answers(words, capsys, path, wv):
    lines = rows(said(capsys, "analogy", path, *words, "--topn", 4).out)
    assert_neighbours(lines, wv.most_similar(["Sydney", "Israel"], ["police"], topn=4))


def test_analogy_names_unknown_words(capsys, path):
    out, err = said(capsys, "analogy", path, "nobody", "-", "police", "+", "noone", code=1)
    assert out == "" and "'nobody'" in err and "'noone'" in err


# ---- evaluate --------------------------------------------------------------------------------------------------------


def test_evaluate_prints_gensims_scores(path, wv):
    code, out, err = torchw2v("evaluate", path)
    assert (code, err) == (0, "")
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines] == ["wordsim353.tsv", "simlex999.txt", "questions-words.txt"]
    for line in lines[:2]:
        pearson, spearman, unknown = wv.evaluate_word_pairs(datapath(line[0]))
        assert line[1:5] == ["Spearman", f"{spearman[0]:.4f}", "Pearson", f"{pearson[0]:.4f}"]
        assert line[5] == f"({unknown:.1f}"
    assert lines[2][1] == f"{wv.evaluate_word_analogies(datapath(lines[2][0]))[0]:.2%}"


def test_evaluate_takes_files_of_its_user(capsys, path, wv, tmp_path):
    (tmp_path / "pairs").write_text("Sydney\tpolice\t3\nthe\tof\t5\nin\tof\t4\nnobody\tof\t1\n")
    (tmp_path / "questions").write_text(": some\nthe of in on\nnobody of in on\n: more\nNOBODY b c d\n")
    pearson, spearman, _ = wv.evaluate_word_pairs(str(tmp_path / "pairs"))
    arguments = ["--pairs", tmp_path / "pairs", "--analogies", tmp_path / "questions", "--sections"]
    lines = [line.split() for line in said(capsys, "evaluate", path, *arguments).out.splitlines()]
    assert lines[0][:5] == ["pairs", "Spearman", f"{spearman[0]:.4f}", "Pearson", f"{pearson[0]:.4f}"]
    assert lines[0][5] == "(25.0"
    assert [line[0] for line in lines[1:]] == ["questions", "some", "more"]
    assert lines[1][3:7] == ["(0", "of", "1;", "2"] and lines[3][1:3] == ["not", "asked"]
    assert len(said(capsys, "evaluate", path, "--pairs", tmp_path / "pairs").out.splitlines()) == 1


@pytest.mark.parametrize(("flag", "data"), [("--pairs", "nobody\tnoone\t1\n"), ("--analogies", ": x\na b c nobody\n"),
                                            ("--analogies", "no section\n")])  # fmt: skip
def test_evaluate_without_a_known_word_is_an_error(flag, data, capsys, path, tmp_path):
    (tmp_path / "file").write_text(data)
    out, err = said(capsys, "evaluate", path, flag, tmp_path / "file", code=1)
    assert out == "" and str(tmp_path / "file") in err


# ---- errors of all three ---------------------------------------------------------------------------------------------

COMMANDS = {"similar": ["the"], "analogy": ["the"], "evaluate": []}


@pytest.mark.parametrize("command", COMMANDS)
def test_files_that_are_no_vectors_are_named(command, capsys, tmp_path):
    (tmp_path / "prose").write_text("It was a dark and stormy night.\n")
    for name, message in (("prose", "no vectors"), ("none", "No such file"), ("", "Is a directory")):
        out, err = said(capsys, command, tmp_path / name, *COMMANDS[command], code=1)
        assert out == "" and message in err and str(tmp_path / name) in err


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage_ends_with_2(command, capsys, path):
    for arguments in ([], [path, *COMMANDS[command], "--limit", "0"], [path, *COMMANDS[command], "--no-such-flag"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main([command, *arguments])
        assert capsys.readouterr().err.startswith(f"usage: torchw2v {command}")


@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_device_is_named(command, capsys, path):
    assert "abacus" in said(capsys, command, path, *COMMANDS[command], "--device", "abacus", code=1).err


def test_limit_reads_the_first_words(capsys, path, wv):
    lines = rows(said(capsys, "similar", path, "the", "--limit", 5, "--topn", 9).out)
    assert {line[1] for line in lines} == set(wv.index_to_key[:5]) - {"the"}


def test_no_command_is_wrong_usage(capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main([])
    assert "COMMAND" in capsys.readouterr().err
