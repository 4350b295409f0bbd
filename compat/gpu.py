"""Acceptance on a GPU in one command: tests, speed, quality, memory and bandwidth, in less than ten minutes.

    python -m compat.gpu --corpus enwiki.txt.xz --csv rows.csv --plot roofline.png
    python -m compat.gpu --smoke        # everything tiny, on a CPU: does the command itself work?
    python -m compat.gpu --corpus enwiki.txt.xz --sweep     # instead: which settings are fastest, and how good
    python -m compat.gpu --corpus enwiki.txt.xz --profile   # instead: where the time goes, kernel by kernel

What is timed is `train()` alone, with the device idle before and after: raw words/s (words read, before subsampling)
and effective ones (after it). Our side trains on token ids, gensim on token lists, since that is what each has after
its vocabulary is built; what encoding costs is in the part "end-to-end", from text file to saved vectors. Each part has
a share of the time budget; what does not fit is named at the end as SKIPPED. A part that ends in an error is named as
FAILED, the next one comes all the same, and rows are written as they come; the exit code is 1 then.

The table is made with `--engine`, and its first dimension once more with `--compare-engine`: products in TF32 and in
float32, speed and quality side by side.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gensim
import torch
from gensim.models.word2vec import LineSentence

from compat.bench import timed_train
from compat.gpu_arguments import arguments
from compat.gpu_profile import profile_modes
from compat.gpu_runs import Acceptance, Clock, Text, measured, scores, warm_up
from compat.gpu_sweep import sweep, sweep_table
from compat.ids import IdSentences, IdWord2Vec
from compat.report import OURS, SIDES, end_to_end_table, facts_of, picture, say, settler, speed_table
from compat.zipf import zipf_corpus
from torchw2v import TorchWord2Vec

# Shares of the time left when a part begins; what a part leaves is there for the next ones.
TEST_SHARE, TABLE_SHARE, COMPARE_SHARE, PTB_SHARE, ZIPF_SHARE = 0.3, 0.6, 0.3, 0.3, 0.7
MAX_TEST_PROCESSES = 8


def run_gpu_tests(root: Path, seconds: float) -> tuple[bool, str]:
    """Run the tests that need a GPU, slow ones left out, in processes of their own.

    Returns
    -------
    (bool, str)
        Whether all of them passed (and there were any), and the counts.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu and not slow", f"--junitxml={report}"]
        several = min((os.cpu_count() or 1) // 2, MAX_TEST_PROCESSES)
        if several > 1 and importlib.util.find_spec("xdist") is not None:  # most of the time kernels are compiled
            command += ["-n", str(several)]
        try:
            done = subprocess.run(command, cwd=root, timeout=seconds, capture_output=True, text=True)
        except subprocess.TimeoutExpired:
            return False, f"stopped after {seconds:.0f} s, the tests' share of the budget"
        suite = ET.parse(report).getroot().find("testsuite") if report.exists() else None
    if suite is None:
        return False, f"pytest wrote no report (exit code {done.returncode}):\n{done.stdout}{done.stderr}"
    total, failed, errors, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped"))
    passed = total - failed - errors - skipped
    line = f"{passed} passed, {failed} failed, {errors} errors, {skipped} skipped"
    ok = done.returncode == 0 and passed > 0
    return ok, line if ok else f"{line} (exit code {done.returncode}):\n{done.stdout}"


def measure(job: Acceptance, clock: Clock) -> None:
    """All parts, one after the other; or the sweep or the profile in their place."""
    args = job.args
    if args.sweep or args.profile:
        part = sweep if args.sweep else profile_modes
        part(job, Text.read(args.corpus, args.words), clock)
        return
    if not args.no_tests:
        say("GPU tests ...")
        passed, job.tests = run_gpu_tests(Path(__file__).parent.parent, clock.left() * TEST_SHARE)
        job.tests_failed = not passed
        say(job.tests)
    text = Text.read(args.corpus, args.words)
    measure_text(job, text, clock.share(TABLE_SHARE))
    if args.compare_engine != args.engine:
        compare_engines(job, text, clock.share(COMPARE_SHARE))
    if args.ptb:
        measure_text(job, Text.read(args.ptb, None), clock.share(PTB_SHARE))
    job.attempt("zipf", measure_zipf, job, clock.share(ZIPF_SHARE))
    measure_end_to_end(job, args.corpus, clock)


def measure_text(job: Acceptance, corpus: Text, clock: Clock) -> None:
    """All modes at all dimensions on one corpus, ours and gensim's, speed and quality."""
    say(f"{corpus.name}: {len(corpus.scanned.ids):,} words, {len(corpus.sentences):,} sentences")
    counts = corpus.scanned.counts()
    for dim in job.args.dims:
        for mode in job.args.modes:
            cell = f"{corpus.name} {mode} D={dim}"
            job.attempt(f"{cell} {OURS}", measure_ours, job, corpus, counts, mode, dim, clock)
            job.attempt(f"{cell} gensim", measure_gensim, job, corpus, counts, mode, dim, clock, on_device=False)


def compare_engines(job: Acceptance, corpus: Text, clock: Clock) -> None:
    """All modes at the first dimension once more, with the other engine."""
    counts, dim, engine = corpus.scanned.counts(), job.args.dims[0], job.args.compare_engine
    for mode in job.args.modes:
        what = f"{corpus.name} {mode} D={dim} {OURS} ({engine})"
        job.attempt(what, measure_ours, job, corpus, counts, mode, dim, clock, engine)


def measure_ours(
    job: Acceptance,
    corpus: Text,
    counts: dict[Any, int],
    mode: str,
    dim: int,
    clock: Clock,
    engine: str | None = None,
) -> None:
    """A warm-up and the timed runs of one cell of the table, each from a fresh model."""
    what = f"{corpus.name} {mode} D={dim} {OURS}" + (f" ({engine})" if engine else "")
    if not job.fits(None, clock, what):
        return

    def build(seed: int) -> tuple[IdWord2Vec, IdSentences]:
        model = IdWord2Vec(**job.settings(mode, dim, OURS, seed, engine))
        model.build_vocab_from_freq(counts, corpus_count=len(corpus.sentences))
        return model, IdSentences.of(corpus.scanned.keep(model.wv.key_to_index))

    began = time.perf_counter()
    model, ids = build(seed=0)
    building = time.perf_counter() - began
    whole = building + len(corpus.scanned.ids) * job.args.epochs / warm_up(model, ids)
    for seed in range(1, job.args.runs + 1):
        if not job.fits(whole, clock, f"{what}, run {seed} of {job.args.runs}"):
            return
        began = time.perf_counter()
        model, ids = build(seed)
        cells = measured(job, model, ids)
        job.add("table", corpus.name, mode, OURS, model, **cells, **scores(job, model.wv))
        whole = time.perf_counter() - began


def measure_gensim(job: Acceptance, corpus: Text, counts: dict[Any, int], mode: str, dim: int, clock: Clock) -> None:
    """The run of gensim in one cell of the table."""
    words = len(corpus.scanned.ids)
    rate = job.expected_rate("gensim", mode, dim)
    assert rate is not None
    if not job.fits(words * job.args.epochs / rate, clock, f"{corpus.name} {mode} D={dim} gensim"):
        return
    model = gensim.models.Word2Vec(**job.settings(mode, dim, "gensim", seed=1))
    model.build_vocab_from_freq(counts, corpus_count=len(corpus.sentences))
    timing = timed_train(model, corpus.sentences)
    job.add("table", corpus.name, mode, "gensim", model, words=words, **timing, **scores(job, model.wv))


def measure_zipf(job: Acceptance, clock: Clock) -> None:
    """Skip-gram with negative sampling on a large synthetic corpus, one epoch a run; cut where time ends."""
    args = job.args
    what = f"zipf {args.zipf_words:,} words"
    if not job.fits(None, clock, what):
        return
    began = time.perf_counter()
    corpus, counts = zipf_corpus(args.zipf_words, args.zipf_vocabulary)
    drawn = time.perf_counter()
    model = IdWord2Vec(**{**job.settings("sg-ns", args.zipf_dim, OURS, seed=1), "epochs": 1, "min_count": 1})
    # gensim wants names; any will do, the most frequent word first, since rows are numbered by frequency.
    names = {str(rank): count for rank, count in enumerate(counts.tolist())}
    model.build_vocab_from_freq(names, corpus_count=len(corpus.raw_offsets) - 1)
    built = time.perf_counter()
    say(f"zipf: {args.zipf_words:,} words drawn in {drawn - began:.1f} s, vocabulary built in {built - drawn:.1f} s")

    warm_up(model, IdSentences.of(corpus))
    seconds = None
    for run in range(1, args.runs + 1):
        if not job.fits(seconds, clock, f"{what}, run {run} of {args.runs}"):
            return
        model.init_weights()
        cells = measured(job, model, IdSentences.of(corpus, ends=clock.ends))
        seconds, words = cells["seconds"], round(cells["raw_words_per_s"] * cells["seconds"])
        note = "" if words == args.zipf_words else f"cut to {words:,} of {args.zipf_words:,} words"
        if note:
            job.skip(f"{what}, the rest of run {run}", f"{note}: the time of this part was used up")
        if words:
            cells |= {"words": words, "note": note}
            job.add("zipf", f"zipf-{args.zipf_vocabulary}", "sg-ns", OURS, model, **cells)


def measure_end_to_end(job: Acceptance, path: Path, clock: Clock) -> None:
    """From a text file to saved vectors, skip-gram with negative sampling: read and encode, train, save.

    Our side keeps what it encoded; gensim reads the file again each epoch, and that is in its time to train.
    """
    for side in SIDES:
        what = f"end to end {path.name} {side}"
        job.attempt(what, _end_to_end, job, path, side, clock, what, on_device=side == OURS)


def _end_to_end(job: Acceptance, path: Path, side: str, clock: Clock, what: str) -> None:
    mode, dim = "sg-ns", job.args.dims[0]
    if not job.fits(None, clock, what):
        return
    make = gensim.models.Word2Vec if side == "gensim" else TorchWord2Vec
    began = time.perf_counter()
    model = make(**job.settings(mode, dim, side, seed=1))
    lines = LineSentence(str(path))
    model.build_vocab(lines)
    read_seconds = time.perf_counter() - began
    rate = job.expected_rate(side, mode, dim)
    whole = model.corpus_total_words * model.epochs / rate if rate else None
    if not job.fits(whole, clock, what):
        return
    timing = timed_train(model, lines, settle=settler(job.device))
    trained = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model.wv.save_word2vec_format(str(Path(folder) / "vectors.bin"), binary=True)
    saved = time.perf_counter()
    job.add(
        "end-to-end", path.name, mode, side, model, words=model.corpus_total_words, read_seconds=read_seconds,
        save_seconds=saved - trained, wall_seconds=saved - began, **timing,
    )  # fmt: skip


def write_report(job: Acceptance) -> None:
    """Print what was found and write the files that were asked for."""
    args, rows, sheet = job.args, job.rows, job.facts["datasheet_bytes_per_s"]
    say("\n" + ", ".join(f"{name} {value}" for name, value in job.facts.items() if "bytes" not in name))
    promised = f" (data sheet {sheet / 1e9:,.0f})" if sheet else ""
    say(f"memory bandwidth: {job.facts['copy_bytes_per_s'] / 1e9:,.0f} GB/s in a copy{promised}")
    if args.sweep:
        say(sweep_table(rows))
    elif not args.profile:
        say(f"GPU tests: {job.tests}\n\n{speed_table(rows)}\n\n{end_to_end_table(rows)}\n")
    if args.csv and rows:
        say(f"{len(rows)} rows written to {args.csv}")
    if args.plot:
        missing = picture(rows, f"torchw2v, engine {args.engine!r} on {job.machine}", args.plot)
        say(f"{args.plot}: {missing or 'written'}")
    for line in job.skipped:
        say(f"SKIPPED {line}")
    for line in job.failures:
        say(f"FAILED {line}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the acceptance. Returns the exit code: 1 if GPU tests or a part failed, else 0."""
    args = arguments(argv, __doc__ or "")
    log = logging.getLogger("gensim")
    level = log.level
    log.setLevel(logging.ERROR)  # small corpora, and training again, are meant here
    clock = Clock.of(args.budget)
    job = Acceptance(args, facts_of(torch.device(args.device), args.commit))
    try:
        measure(job, clock)
    finally:  # what was measured before an error is not lost
        write_report(job)
        log.setLevel(level)
    return int(job.failed)


if __name__ == "__main__":
    sys.exit(main())
