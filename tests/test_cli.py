"""The demo does what it says."""

import re
import subprocess
import sys
import time
from itertools import pairwise

import pytest
from gensim.models import KeyedVectors

import torchw2v
from torchw2v import cli

DEMO_SECONDS = 60  # on two cores


def test_demo_trains_shows_neighbours_and_writes_vectors(tmp_path):
    output = tmp_path / "vectors.txt"
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "torchw2v", "demo", "--output", str(output), "--device", "cpu"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert time.perf_counter() - started < DEMO_SECONDS
    assert "raw words/s" in done.stdout and str(output) in done.stdout
    losses = [float(x) for x in re.search(r"by epoch: (.*)", done.stdout)[1].split(", ")]
    assert len(losses) == 20
    assert all(after < before * 1.005 for before, after in pairwise(losses)) and losses[-1] < 0.75 * losses[0]
    neighbours = dict(re.findall(r"^ +(\w+): (.*)$", done.stdout, re.M))
    assert set(neighbours) == {"apollo", "atom", "greek", "film", "music"}
    sensible = {"valenc", "nuclei", "nucleu", "electron", "spectromet", "antimatt", "proton", "ion", "isotop"}
    assert sum(word in neighbours["atom"] for word in sensible) >= 2
    vectors = KeyedVectors.load_word2vec_format(str(output))
    assert vectors.vectors.shape == (7978, 100)


def test_unknown_device_is_an_error_message_and_exit_code_1(capsys):
    assert cli.main(["demo", "--device", "abacus"]) == 1
    assert "abacus" in capsys.readouterr().err


def test_unwritable_output_is_an_error_message_and_exit_code_1(tmp_path, capsys):
    text = tmp_path / "text.txt"
    text.write_text("one line\n")
    output = str(tmp_path / "no" / "such" / "folder.txt")
    for command in (["demo"], ["encode", str(text)]):
        assert cli.main([*command, "--output", output]) == 1
        said = capsys.readouterr()
        assert said.err == f"torchw2v: {output}: No such file or directory\n"
        assert not said.out  # before the work, not after it


def test_version_is_printed(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert torchw2v.__version__ in capsys.readouterr().out
