"""Acceptance on a GPU in one command: tests, speed, quality, memory and bandwidth, in less than ten minutes.

    python -m compat.gpu --corpus enwiki.txt.xz --csv rows.csv --plot roofline.png
    python -m compat.gpu --smoke        # everything tiny, on a CPU: does the command itself work?

What is timed is `train()` alone, with the device idle before and after: raw words/s (words read, before subsampling)
and effective ones (after it). Our side trains on token ids, gensim on token lists, since that is what each has after
its vocabulary is built; what encoding costs is in the part "end-to-end", from text file to saved vectors. Each part has
a share of the time budget; what does not fit is named at the end as SKIPPED.

The table is made with `--engine`, and its first dimension once more with `--compare-engine`: products in TF32 and in
float32, speed and quality side by side.
"""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gensim
import torch
from gensim.models.word2vec import LineSentence

from compat.analogies import analogies
from compat.bench import MODES, append_rows, read_corpus, similarities, timed_train
from compat.gpu_arguments import arguments
from compat.ids import IdSentences, IdWord2Vec
from compat.report import COLUMNS, OURS, SIDES, end_to_end_table, facts_of, picture, say, settler, speed_table
from compat.zipf import prefix, zipf_corpus
from torchw2v import TorchWord2Vec
from torchw2v.corpus import ScannedCorpus
from torchw2v.scan import scan

# Shares of the time left when a part begins; what a part leaves is there for the next ones.
TEST_SHARE, TABLE_SHARE, COMPARE_SHARE, PTB_SHARE, ZIPF_SHARE = 0.3, 0.6, 0.3, 0.3, 0.7
MAX_TEST_PROCESSES = 8
WARM_EPOCHS = 2  # the first compiles kernels, the second tells how long a run will take
WARM_WORDS = 2_000_000  # of a corpus in a warm-up; a hundredth of it still holds more tokens than may be in flight
# A guess for the first gensim run, before one is measured: half of its slowest mode at 100 dimensions in
# docs/benchmarks.md, where two workers share two cores.
GENSIM_WORDS_PER_WORKER = 125_000


# ---- one acceptance --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Clock:
    """A deadline, `ends`, on the clock of time.perf_counter."""

    ends: float

    @classmethod
    def of(cls, seconds: float) -> Clock:
        """A deadline so many seconds from now."""
        return cls(time.perf_counter() + seconds)

    def left(self) -> float:
        """Seconds."""
        return self.ends - time.perf_counter()

    def share(self, fraction: float) -> Clock:
        """A nearer deadline, after this fraction of the time that is left."""
        return Clock.of(self.left() * fraction)


@dataclass(frozen=True)
class Text:
    """A corpus that both sides train on.

    Attributes
    ----------
    name : str
    sentences : list of lists of str
    scanned : ScannedCorpus
    """

    name: str
    sentences: list[list[str]]
    scanned: ScannedCorpus

    @classmethod
    def read(cls, path: Path, words: int | None) -> Text:
        """Whole sentences of a file, up to a number of words."""
        sentences = read_corpus(path, words)
        return cls(path.name, sentences, scan(sentences, lambda *_: None))


@dataclass
class Acceptance:
    """What was asked for, where it runs, and what has been found so far.

    Attributes
    ----------
    args : argparse.Namespace
    facts : dict
        Columns that are the same in every row: hardware, versions, commit, date.
    rows : list of dict
        One for each timed run.
    skipped : list of str
        What was left out, and why.
    tests : str
        Counts of the GPU tests.
    tests_failed : bool
    """

    args: argparse.Namespace
    facts: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    tests: str = "not run (--no-tests)"
    tests_failed: bool = False

    @property
    def device(self) -> torch.device:
        """Where our side trains."""
        return torch.device(self.args.device)

    @property
    def machine(self) -> str:
        """The name of the GPU, or "cpu"."""
        return self.facts["gpu"] if self.device.type == "cuda" else self.args.device

    def settings(self, mode: str, dim: int, side: str, seed: int, engine: str | None = None) -> dict[str, Any]:
        """Arguments of a model; ours with `--engine` if no other is given."""
        same = {**MODES[mode], "vector_size": dim, "epochs": self.args.epochs, "workers": self.args.gensim_workers}
        ours = {"device": self.args.device, "engine": engine or self.args.engine} if side == OURS else {}
        return {**same, **ours, "seed": seed}

    def add(self, part: str, corpus: str, mode: str, side: str, model: Any, **cells: Any) -> None:
        """Keep a row, with the settings of its model, and show it."""
        row = {
            "part": part, "corpus": corpus, "mode": mode, "side": side, "seed": model.seed,
            "engine": model.engine if side == OURS else "gensim",
            "device": self.args.device if side == OURS else "cpu",
            "vector_size": model.vector_size, "window": model.window, "negative": model.negative,
            "sample": model.sample, "epochs": model.epochs, "workers": model.workers, "vocabulary": len(model.wv),
            **cells, **self.facts,
        }  # fmt: skip
        self.rows.append({name: row.pop(name, "") for name in COLUMNS})
        assert not row, f"no column for {sorted(row)}"
        speed, seconds = cells["raw_words_per_s"], cells["seconds"]
        who = f"{side} ({model.engine})" if side == OURS else side
        say(f"  {part} {corpus} {mode} D={model.vector_size} {who}: {speed:,.0f} raw words/s, {seconds:.2f} s")

    def skip(self, what: str, why: str) -> None:
        """Keep what was left out, and show it."""
        self.skipped.append(f"{what}: {why}")
        say(f"  SKIPPED {self.skipped[-1]}")

    def fits(self, seconds: float | None, clock: Clock, what: str) -> bool:
        """Whether something still fits into the time of its part; noted as skipped if not. None: nobody knows."""
        left = max(clock.left(), 0.0)
        if left and (seconds is None or seconds <= left):
            return True
        need = "" if seconds is None else f", {seconds:.0f} s expected"
        self.skip(what, f"no time left (budget {self.args.budget:.0f} s; {left:.0f} s left for this part{need})")
        return False

    def expected_rate(self, side: str, mode: str, dim: int) -> float | None:
        """Raw words/s to expect, from the last run of the same mode; the work grows with the dimensions."""
        engine = self.args.engine if side == OURS else "gensim"
        known = [row for row in self.rows if (row["side"], row["mode"], row["engine"]) == (side, mode, engine)]
        if known:
            return float(known[-1]["raw_words_per_s"] * min(1.0, known[-1]["vector_size"] / dim))
        return None if side == OURS else GENSIM_WORDS_PER_WORKER * self.args.gensim_workers * min(1.0, 100 / dim)


# ---- our side --------------------------------------------------------------------------------------------------------


def measured(job: Acceptance, model: IdWord2Vec, ids: IdSentences) -> dict[str, Any]:
    """Train our model: speed, peak memory on the device, bandwidth."""
    on_gpu, wait = job.device.type == "cuda", settler(job.device)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(job.device)
    timing = timed_train(model, ids, total_examples=len(ids), settle=wait)
    moved = model.traffic()
    rate = moved * timing["effective_words_per_s"]
    return {
        **timing,
        "words": int(ids.raw_offsets[-1]),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(job.device) if on_gpu else "",
        "bytes_per_token": moved,
        "bandwidth_bytes_per_s": rate,
        "roofline_fraction": rate / job.facts["copy_bytes_per_s"],
    }


def warm_up(model: IdWord2Vec, ids: IdSentences) -> float:
    """Train on the start of a corpus, which compiles what training needs; returns the raw words/s to expect."""
    start = IdSentences.of(prefix(ids, WARM_WORDS))
    epochs, model.epochs = model.epochs, WARM_EPOCHS
    model.train(start, total_examples=len(start), epochs=WARM_EPOCHS)
    model.epochs = epochs
    return float(model.training_history[-1]["raw_words"] / model.training_history[-1]["seconds"])


def scores(job: Acceptance, wv: Any) -> dict[str, float]:
    """The quality of vectors."""
    return {**similarities(wv), "analogies": analogies(wv, job.device)}


# ---- the parts -------------------------------------------------------------------------------------------------------


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
    """All parts, one after the other."""
    args = job.args
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
    measure_zipf(job, clock.share(ZIPF_SHARE))
    measure_end_to_end(job, args.corpus, clock)


def measure_text(job: Acceptance, corpus: Text, clock: Clock) -> None:
    """All modes at all dimensions on one corpus, ours and gensim's, speed and quality."""
    say(f"{corpus.name}: {len(corpus.scanned.ids):,} words, {len(corpus.sentences):,} sentences")
    counts = corpus.scanned.counts()
    for dim in job.args.dims:
        for mode in job.args.modes:
            measure_ours(job, corpus, counts, mode, dim, clock)
            measure_gensim(job, corpus, counts, mode, dim, clock)


def compare_engines(job: Acceptance, corpus: Text, clock: Clock) -> None:
    """All modes at the first dimension once more, with the other engine."""
    counts = corpus.scanned.counts()
    for mode in job.args.modes:
        measure_ours(job, corpus, counts, mode, job.args.dims[0], clock, job.args.compare_engine)


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
    mode, dim = "sg-ns", job.args.dims[0]
    for side in SIDES:
        what = f"end to end {path.name} {side}"
        if not job.fits(None, clock, what):
            continue
        make = gensim.models.Word2Vec if side == "gensim" else TorchWord2Vec
        began = time.perf_counter()
        model = make(**job.settings(mode, dim, side, seed=1))
        lines = LineSentence(str(path))
        model.build_vocab(lines)
        read_seconds = time.perf_counter() - began
        rate = job.expected_rate(side, mode, dim)
        whole = model.corpus_total_words * model.epochs / rate if rate else None
        if not job.fits(whole, clock, what):
            continue
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
    say(f"GPU tests: {job.tests}\n\n{speed_table(rows)}\n\n{end_to_end_table(rows)}\n")
    if args.csv and rows:
        append_rows(args.csv, rows)
        say(f"{len(rows)} rows written to {args.csv}")
    if args.plot:
        missing = picture(rows, f"torchw2v, engine {args.engine!r} on {job.machine}", args.plot)
        say(f"{args.plot}: {missing or 'written'}")
    for line in job.skipped:
        say(f"SKIPPED {line}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the acceptance. Returns the exit code: 1 if GPU tests failed, else 0."""
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
    return int(job.tests_failed)


if __name__ == "__main__":
    sys.exit(main())
