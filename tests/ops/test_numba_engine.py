"""The compiled sequential engine is its definition, step by step, and that is gensim's order of updates."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import njit

import torchw2v
from torchw2v.compiling import _say_when_compiling
from torchw2v.errors import TrainingDivergedError
from torchw2v.ops import numba_engine, sequential
from torchw2v.ops.contract import Chunk, Step
from torchw2v.ops.draws import draw_key, draws_numpy
from torchw2v.ops.numba_draws import Pace, draw
from torchw2v.ops.numba_engine import NumbaEngine
from torchw2v.ops.numba_groups import pull_lanes
from torchw2v.ops.sequential import SequentialReference

from .engine_cases import CBOW, MODES, TOKENS, VOCABULARY, assert_engine_agrees, case, matrices

# float32 against float64 over a chunk of 150 tokens, each update read by the next: some hundred updates a row, each off
# by at most 1e-7 of values of size 1.
ATOL = 1e-5
agrees = partial(assert_engine_agrees, NumbaEngine, atol=ATOL, clear=100, make_definition=SequentialReference)


def float32(*arguments, **settings):
    return case(*arguments, **settings, dtype=torch.float32)


@pytest.mark.parametrize("shrink", [True, False], ids=["shrunk", "fixed"])
@pytest.mark.parametrize("window", [1, 5, 35, 1000])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_compiled_chunk_equals_definition(skip_gram, outputs, mean, window, shrink):
    agrees(*float32(skip_gram, outputs, window, shrink, mean, size=7))


@pytest.mark.parametrize("size", [1, 63, 100, 300, 1024])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_compiled_chunk_equals_definition_at_any_vector_size(skip_gram, outputs, mean, size):
    # Sums of ten rows of 300 make scores of 50: there the definition in float32 is itself off by 8e-5.
    agrees(*float32(skip_gram, outputs, 5, True, mean, size=size), atol=1e-4 if size == 300 and not mean else ATOL)


@pytest.mark.parametrize("size", [7, 100])
@pytest.mark.parametrize(("outputs", "mean"), CBOW)
def test_compiled_chunk_with_cbows_true_gradient_equals_definition(outputs, mean, size):
    agrees(*float32(False, outputs, 5, True, mean, size=size, corrected=True))


@pytest.mark.parametrize(("window", "size"), [(1, 7), (5, 7), (1000, 7), (5, 100)])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_compiled_chunk_with_adagrad_equals_definition(skip_gram, outputs, mean, window, size):
    agrees(*float32(skip_gram, outputs, window, True, mean, size=size, adagrad=True))


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_compiled_chunk_with_adagrad_equals_definition_over_the_cap(skip_gram, outputs, mean):
    """At alpha 0.5 rates are 0.5 to 5, the cap 0.6; what a row rounds, the next scores multiply."""
    agrees(*float32(skip_gram, outputs, 5, True, mean, size=7, adagrad=True), alpha=0.5, stop=30, atol=1e-4)


@pytest.mark.parametrize(("outputs", "mean"), CBOW)
def test_compiled_chunk_with_adagrad_and_cbows_true_gradient_equals_definition(outputs, mean):
    agrees(*float32(False, outputs, 5, True, mean, size=7, adagrad=True, corrected=True, lock=False))


@pytest.mark.parametrize(("nodes", "uses"), [(1, 1), (5, 7), (10**6, 64)])
@pytest.mark.parametrize(("outputs", "mean"), [case for case in CBOW if "hs" in case.values[0]])
def test_copies_of_the_busiest_nodes_change_nothing_where_one_thread_trains(outputs, mean, nodes, uses, monkeypatch):
    monkeypatch.setattr(numba_engine, "TOP_NODES", nodes)
    monkeypatch.setattr(numba_engine, "MOST_USES", uses)
    made = []

    def make(job):
        made.append(NumbaEngine(job, threads=3))
        return made[-1]

    assert_engine_agrees(
        make, *float32(False, outputs, 5, True, mean, size=7), atol=ATOL, clear=100, make_definition=SequentialReference
    )
    assert [engine.copies for engine in made] == [min(nodes, VOCABULARY - 1)]


def test_copies_are_kept_where_several_threads_write_the_busiest_nodes():
    def copies(skip_gram, outputs, threads, **settings):
        return NumbaEngine(float32(skip_gram, outputs, 5, True, True, size=7, **settings)[0], threads=threads).copies

    assert copies(False, "hs", 2) == min(numba_engine.TOP_NODES, VOCABULARY - 1)
    assert copies(False, "hs", 1) == copies(True, "hs", 2) == copies(False, "ns", 2) == 0
    assert copies(False, "hs", 2, adagrad=True) == 0


@pytest.mark.parametrize(
    ("alpha", "threads", "uses"), [(0.025, 2, 64), (0.025, 16, 10), (0.5, 3, 4), (9.0, 2, 1), (0, 2, 64)]
)
def test_copies_are_used_until_others_pull_a_node_too_far(alpha, threads, uses):
    engine = NumbaEngine(float32(False, "hs", 5, True, True, size=7)[0], threads=threads)
    assert engine.uses_of_a_copy(alpha) == uses


@pytest.mark.parametrize(("start", "stop"), [(10, 60), (1, 2), (71, 73), (100, 150), (3, 3)])
@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_a_chunk_may_cut_sentences(skip_gram, outputs, mean, start, stop):
    if start == stop:
        job, ids, offsets, weights = float32(skip_gram, outputs, 5, True, mean, size=7, sample=0)
        ours = weights()
        tally = NumbaEngine(job).train_chunk(ours, Chunk(ids, offsets, start, stop, 0), Step(0.1, draw_key(1)))
        assert tally.effective_words == 0 and torch.equal(ours.inputs, weights().inputs)
    else:
        agrees(*float32(skip_gram, outputs, 5, True, mean, size=7, sample=0), start=start, stop=stop)


@pytest.mark.parametrize(("skip_gram", "outputs", "mean"), MODES)
def test_subsampling_reaches_across_a_cut(skip_gram, outputs, mean):
    agrees(*float32(skip_gram, outputs, 3, True, mean, size=7, sample=0.001), start=20, stop=60)


def test_blocks_hold_different_contexts(monkeypatch):
    monkeypatch.setattr(sequential, "MAX_SEQUENTIAL_BLOCK", 2)
    assert list(sequential._different([3, 3, 5, 6, 3])) == [[3], [3, 5], [6, 3]]


@njit
def drawn(pace, position, lane):
    return draw(pace, position, lane)


def test_draws_are_those_of_every_engine():
    key = draw_key(3, 4)
    pace = Pace(0.1, key.first, key.second, compute_loss=False, uses=1)
    for position in (0, 1, 2**31, 2**32 - 1, 2**32, 5_000_000_000):
        for lane in (0, 1, 2, 70_000):
            assert drawn(pace, position, lane) == draws_numpy(key, np.array([position]), lane)[0]


@njit
def pulls(alpha, c, product, first, targets, score, moved, label, pull):
    return [
        pull_lanes(alpha, c, product, slot, first, targets, score, moved, label, pull) for slot in range(0, targets, 8)
    ]


@pytest.mark.parametrize("c", [0, 1, 4, 5])
@pytest.mark.parametrize("targets", [1, 6, 7, 8, 9, 16, 100_000])
def test_pulls_are_exact_to_float32(targets, c):
    size, product = -(-targets // 8) * 8, 0.25
    score = np.full((2, size), np.nan, np.float32)
    score[c % 2] = np.linspace(-7, 7, size, dtype=np.float32)
    moved = np.full_like(score, np.nan)
    moved[1 - c % 2] = np.linspace(-1, 2, size, dtype=np.float32)
    label = np.arange(3 + size, dtype=np.float32) % 2
    pull = np.full_like(score, 5)
    exact = score[c % 2].astype(np.float64) + product * moved[1 - c % 2]
    totals = pulls(np.float32(0.5), c, np.float32(product), 3, targets, score, moved, label, pull)
    wanted = 0.5 * (label[3:] - 1 / (1 + np.exp(-exact)))
    inside = np.arange(size) < targets
    wanted[(np.abs(score[c % 2]) >= 6) | ~inside] = 0
    assert np.abs(pull[c % 2] - wanted).max() < 2e-7 and (pull[1 - c % 2] == 5).all()
    exact[~inside] = 0
    assert np.allclose(score[c % 2], exact, atol=1e-6)
    assert np.allclose(totals, exact.reshape(-1, 8).sum(1), atol=1e-5)


def test_an_infinite_update_is_an_error():
    job, ids, offsets, weights = float32(True, "ns", 5, True, True, size=7)
    broken = weights()
    broken.inputs[:] = float("inf")
    with pytest.raises(TrainingDivergedError, match=r"alpha=0\.025"):
        NumbaEngine(job).train_chunk(broken, Chunk(ids, offsets, 0, TOKENS, 0), Step(0.025, draw_key(5)))


@pytest.mark.parametrize("chunk_type", ["plain", "read-only"])
def test_mapped_corpora_are_read_only(chunk_type):
    job, ids, offsets, weights = float32(True, "ns+hs", 5, True, True, size=7)
    ids.flags.writeable = chunk_type == "plain"
    ours = weights()
    tally = NumbaEngine(job).train_chunk(ours, Chunk(ids, offsets, 0, TOKENS, 0), Step(0.025, draw_key(5)))
    assert tally.pairs > VOCABULARY
    assert all(torch.isfinite(matrix).all() for matrix in matrices(ours))


def test_a_huge_window_takes_no_more_memory_than_the_sentences():
    job, ids, offsets, weights = float32(True, "ns", 10**12, False, True, size=7, sample=0)
    tally = NumbaEngine(job).train_chunk(weights(), Chunk(ids, offsets, 0, TOKENS, 0), Step(0.1, draw_key(1)))
    lengths = np.diff(offsets)
    assert tally.pairs == (lengths * (lengths - 1)).sum()


def test_machine_code_is_not_kept_where_no_folder_can_be_written(tmp_path):
    package = tmp_path / "torchw2v"
    shutil.copytree(Path(torchw2v.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "ops" / "__pycache__").write_text("a file where the folder of machine code would be")
    nowhere = str(package / "__init__.py" / "home")
    program = "import torchw2v, torchw2v.ops.numba_kernels; print(torchw2v.__file__)"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path), "HOME": nowhere, "XDG_CACHE_HOME": nowhere}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0 and str(package) in done.stdout, done.stderr
    assert "NUMBA_CACHE_DIR" in done.stderr


def test_machine_code_is_kept_under_the_source_of_all_that_is_compiled_in(tmp_path):
    """What an entry calls from another file may change while the entry's own file does not."""
    (tmp_path / "inner.py").write_text("from numba import njit\n@njit\ndef inner(): return 1\n")
    (tmp_path / "entry.py").write_text(
        "import inner\nfrom torchw2v.compiling import code_of, kept\n"
        "def compiled(code):\n    @kept()\n    def entry():\n        code\n        return inner.inner()\n"
        "    return entry\n"
        "entry = compiled(code_of(inner))\n"
        "print(entry(), sum(entry.stats.cache_hits.values()))\n"
    )

    def run():
        command = [sys.executable, "entry.py"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()

    assert [run(), run()] == [["1", "0"], ["1", "1"]]
    (tmp_path / "inner.py").write_text("from numba import njit\n@njit\ndef inner(): return 2\n")
    assert run() == ["2", "0"]


def test_what_is_compiled_of_ours_is_said_before_and_after(caplog):
    def inner(number):
        return number + 1

    def outer(number):
        return called(number) * 2

    _say_when_compiling()
    outer.__module__ = inner.__module__ = "torchw2v.made_up"
    called = njit(inner)
    with caplog.at_level("INFO", logger="torchw2v.compiling"):
        njit(lambda number: number)(1)
        assert not caplog.records  # somebody else's
        assert njit(outer)(1) == 4
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" ", 1)[0] for line in said] == ["compiling", "compiled"]
    assert said[0].startswith("compiling torchw2v.made_up.outer: the first use")
