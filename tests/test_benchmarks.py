"""The benchmarks that the documentation names do what it says, on corpora too small for a verdict."""

import csv
import subprocess
import sys
from pathlib import Path

import gensim
import pytest
from gensim.test.utils import datapath

from compat import fasttext_side, oddtexts
from compat.bench import MODES, busy_cores, quality, read_corpus, sides_of, table
from compat.measure import measured
from compat.optionbench import settings_of

ROOT = Path(__file__).parent.parent


def run(module, *arguments):
    command = [sys.executable, "-m", f"compat.{module}", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(path):
    with path.open() as lines:
        return list(csv.DictReader(lines))


def test_bench_warns_of_a_small_corpus_and_writes_a_row_for_each_run(tmp_path):
    rows, bars = tmp_path / "rows.csv", tmp_path / "bars.png"
    settings = ("--epochs", 1, "--vector-size", 8, "--seeds", 2, "--csv", rows, "--plot", bars)
    printed = run("bench", "--modes", "sg-ns,cbow-hs", *settings)
    assert "too small a corpus for a verdict" in printed
    assert bars.read_bytes().startswith(b"\x89PNG")
    written = rows_of(rows)
    assert [(row["mode"], row["side"], row["seed"]) for row in written] == [
        (mode, side, seed) for mode in ("sg-ns", "cbow-hs") for seed in "12" for side in ("gensim", "torchw2v")
    ]
    for row in written:
        assert float(row["raw_words_per_s"]) > 0 and int(row["vocabulary"]) > 100
        assert row["engine"] == ("numba" if row["side"] == "torchw2v" else "gensim")
    assert "| cbow-hs | torchw2v |" in printed


def test_ratios_are_medians_of_neighboring_runs():
    cells = {"cpu_seconds": 1.0, "peak_bytes": 2e6, "wordsim353": 0.5, "simlex999": 0.25, "analogies": 0.125}
    speeds = {"gensim": (100, 100, 50), "torchw2v": (200, 400, 300)}
    rows = [{"mode": "sg-ns", "side": s, "raw_words_per_s": v, **cells} for s in speeds for v in speeds[s]]
    gensims, ours = table(rows, ["sg-ns"]).splitlines()[2:]
    assert gensims == "| sg-ns | gensim | 100 |  | 1.0 | 2 MB | 0.500 ± 0.000 | 0.250 ± 0.000 | 0.125 ± 0.000 |"
    assert ours.startswith("| sg-ns | torchw2v | 300 | 4.00 |")


def test_options_are_measured_side_by_side(tmp_path):
    rows = tmp_path / "rows.csv"
    variants = ("default", "cbow_gradient=corrected,alpha=0.05")
    settings = ("--epochs", 1, "--vector-size", 8, "--seeds", 2, "--workers", 1, "--csv", rows)
    printed = run("optionbench", "--mode", "cbow-ns", *settings, *variants)
    written = rows_of(rows)
    assert [(row["variant"], row["seed"]) for row in written] == [(v, seed) for seed in "12" for v in variants]
    assert all(float(row["cpu_seconds"]) > 0 for row in written)
    assert len({row["wordsim353"] for row in written}) == 4  # each was trained in its own way
    assert [line.split(" | ")[1] for line in printed.splitlines()[-2:]] == list(variants)


def test_variants_are_settings():
    assert settings_of("default") == {}
    assert settings_of("optimizer=adagrad,alpha=0.1,window=None") == {
        "optimizer": "adagrad", "alpha": 0.1, "window": None,
    }  # fmt: skip
    for wrong in ("alpha", "alpha=", "=1", "optimizer=adagrad,,"):
        with pytest.raises(ValueError, match="give name=value"):
            settings_of(wrong)


def test_sides():
    assert sides_of("gensim") == ["gensim", "torchw2v"]
    assert sides_of("none") == ["torchw2v"]
    with pytest.raises(ValueError, match="word2vec is unknown; choose gensim, fasttext or none"):
        sides_of("gensim,word2vec")


def test_fasttext_must_be_installed(monkeypatch):
    monkeypatch.setattr(fasttext_side, "installed", lambda: False)
    with pytest.raises(ValueError, match="not installed"):
        sides_of("gensim,fasttext")


@pytest.mark.skipif(not fasttext_side.installed(), reason="needs fasttext")
@pytest.mark.parametrize("mode", MODES)
def test_fasttext_trains_the_same_words(mode):
    sentences = read_corpus(Path(datapath("lee_background.cor")), 20_000)
    settings = {**MODES[mode], "vector_size": 8, "epochs": 1, "workers": 1, "min_count": 5, "seed": 1}
    wv, cost = fasttext_side.run(sentences, settings)
    counts = {}
    for word in (word for sentence in sentences for word in sentence):
        counts[word] = counts.get(word, 0) + 1
    assert set(wv.key_to_index) - {"</s>"} == {word for word, count in counts.items() if count >= 5}
    assert wv.vectors.shape == (len(wv), 8) and cost["seconds"] > 0
    assert None not in wv.index_to_key and quality(wv)  # the benchmark asks for it


def test_busy_cores_are_freed():
    with busy_cores(1):
        pass
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "os.sched_setaffinity(0, {0})" not in done.stdout


def test_peak_memory_is_that_of_the_call():
    _, cost = measured(lambda: bytearray(50_000_000))
    assert 45_000_000 < cost["peak_bytes"] < 80_000_000


def test_cost_of_a_word_is_measured_in_growing_corpora(tmp_path):
    rows = tmp_path / "rows.csv"
    run("scalebench", "--sizes", "3e4,6e4", "--vector-size", 8, "--workers", 1, "--csv", rows)
    small, large = rows_of(rows)
    assert (int(small["words"]), int(large["words"])) == (30_000, 60_000)
    assert int(small["vocabulary"]) == 3464 and int(large["vocabulary"]) == 4899
    assert float(large["cpu_ns_per_word"]) > 0


def test_unusual_corpora_are_counted_as_gensim_counts_them(capsys):
    oddtexts.main(["--words", "20000"])
    rows = [line.split(" | ")[:2] for line in capsys.readouterr().out.splitlines()[3:]]
    assert len(rows) == 20 and {kind for _, kind in rows} == {"text", "lists"}


def test_a_corpus_that_is_counted_otherwise_is_named(monkeypatch, capsys):
    def lacking_a_word(self, *args, **kwargs):
        total, sentences = gensim.models.Word2Vec.scan_vocab(self, *args, **kwargs)
        self.raw_vocab.popitem()
        return total, sentences

    monkeypatch.setattr(oddtexts.TorchWord2Vec, "scan_vocab", lacking_a_word)
    with pytest.raises(RuntimeError, match="one line, as text"):
        oddtexts.main(["--words", "100"])
