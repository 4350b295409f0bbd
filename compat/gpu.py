"""Acceptance on a GPU in one command: tests, speed, quality, memory and bandwidth, in less than ten minutes.

    python -m compat.gpu --corpus enwiki.txt.xz --csv rows.csv --plot roofline.png
    python -m compat.gpu --corpus enwiki.txt.xz --csv rows.csv --sweep
    python -m compat.gpu --smoke        # everything tiny, on a CPU: does the command itself work?

What is timed is `train()` alone, with the device idle before and after: raw words/s (words read, before subsampling)
and effective ones (after it). Our side trains on token ids, gensim on token lists, since that is what each has after
its vocabulary is built; what encoding costs is in the part "end-to-end", from text file to saved vectors. Each part has
a share of the time budget; what does not fit is named at the end as SKIPPED. gensim, which takes most of the time,
comes last, the cells of the first dimension before the others: it never takes the time of our side.

The table is made with `--engine`, and its first dimension once more with `--compare-engine`: products in TF32 and in
float32, speed and quality side by side. `--parts` chooses parts; `--sweep` tries other settings of the kernels instead
(compat/gpu_sweep.py). A part that fails is named at the end, and the exit code is 1; the others are done all the same.
Rows are written when they are measured.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gensim
import smart_open
import torch
from gensim.models.word2vec import LineSentence

from compat.bench import timed_train
from compat.gpu_arguments import arguments
from compat.gpu_profile import profile_modes
from compat.gpu_runs import Acceptance, Clock, Text, measured, scores, start_anew, warm_up
from compat.gpu_sweep import sweep, sweep_table
from compat.ids import IdSentences, IdWord2Vec
from compat.report import OURS, end_to_end_table, facts_of, picture, say, settler, speed_table
from compat.zipf import zipf_corpus
from torchw2v import TorchWord2Vec

# Shares of the time left when a part begins; what a part leaves is there for the next ones.
TEST_SHARE, PROFILE_SHARE, TABLE_SHARE, COMPARE_SHARE, PTB_SHARE, ZIPF_SHARE = 0.3, 0.1, 0.6, 0.3, 0.3, 0.7
MAX_TEST_PROCESSES = 8
SHOWN = 12_000  # characters of what pytest says of failures
WARM_LINES = 2000  # of a text from which a model is made before the clock of "end-to-end" starts


# ---- the parts -------------------------------------------------------------------------------------------------------


def run_gpu_tests(root: Path, seconds: float) -> tuple[bool, str]:
    """Run the tests that need a GPU, slow ones left out, in processes of their own.

    Returns
    -------
    (bool, str)
        Whether all of them passed (and there were any), and the counts.
    """
    # Other tests may need packages that a machine with a GPU has not: their files are not even looked at.
    files = [str(path) for path in sorted((root / "tests").rglob("test_*.py")) if "mark.gpu" in path.read_text("utf-8")]
    if not files:
        return False, f"no test in {root / 'tests'} is marked `gpu`"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu and not slow", "--tb=short", f"--junitxml={report}"]
        several = min((os.cpu_count() or 1) // 2, MAX_TEST_PROCESSES)
        if several > 1 and importlib.util.find_spec("xdist") is not None:  # most of the time kernels are compiled
            command += ["-n", str(several)]
        code, said = run_for([*command, *files], root, seconds)
        suite = ET.parse(report).getroot().find("testsuite") if report.exists() else None
    if code is None:
        return False, f"stopped after {seconds:.0f} s, the tests' share of the budget:\n{said[-SHOWN:]}"
    if suite is None:
        return False, f"pytest wrote no report (exit code {code}):\n{said[-SHOWN:]}"
    total, failed, errors, skipped = (int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped"))
    passed = total - failed - errors - skipped
    line = f"{passed} passed, {failed} failed, {errors} errors, {skipped} skipped"
    ok = code == 0 and passed > 0
    return ok, line if ok else f"{line} (exit code {code}):\n{said[-SHOWN:]}"


def run_for(command: list[str], folder: Path, seconds: float) -> tuple[int | None, str]:
    """Exit code and output of a program; no exit code where it was stopped, with all its processes, after so long."""
    own = {"start_new_session": True} if os.name == "posix" else {}
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **own
    ) as program:
        try:
            said, _ = program.communicate(timeout=seconds)
            return program.returncode, said
        except subprocess.TimeoutExpired:
            if own:  # workers that hang in a kernel would keep the device busy
                os.killpg(program.pid, signal.SIGKILL)
            else:
                program.kill()
            said, _ = program.communicate()
            return None, said


def measure(job: Acceptance, clock: Clock) -> None:
    """All parts that were asked for, one after the other; an error in one does not keep the next from being done."""
    args, parts = job.args, job.args.parts
    if "tests" in parts:
        say("GPU tests ...")
        passed, job.tests = run_gpu_tests(Path(__file__).parent.parent, clock.left() * TEST_SHARE)
        job.tests_failed = not passed
        say(job.tests)
    with tempfile.TemporaryDirectory() as folder:
        corpus = unpacked(args.corpus, Path(folder))
        text = Text.read(corpus, args.words)
        texts = [text]
        if "sweep" in parts:
            sweep(job, text, clock)
        if "profile" in parts:
            profile_modes(job, text, clock.share(PROFILE_SHARE))
        if "table" in parts:
            measure_text(job, text, clock.share(TABLE_SHARE))
        if "compare" in parts and args.compare_engine != args.engine:
            compare_engines(job, text, clock.share(COMPARE_SHARE))
        if "ptb" in parts and args.ptb:
            texts.append(Text.read(args.ptb, None))
            measure_text(job, texts[-1], clock.share(PTB_SHARE))
        if "zipf" in parts:
            job.attempt(f"zipf {args.zipf_words:,} words", measure_zipf, job, clock.share(ZIPF_SHARE))
        if "end-to-end" in parts:
            job.attempt(f"end to end {corpus.name} {OURS}", measure_end_to_end, job, corpus, OURS, clock)
        if "gensim" in parts:
            measure_theirs(job, texts, corpus, clock)


def unpacked(path: Path, folder: Path) -> Path:
    """A text file; where it was compressed, a copy that is not. Unpacking is no side's work."""
    if path.suffix not in (".xz", ".gz", ".bz2", ".zst"):
        return path
    plain = folder / path.stem
    with smart_open.open(str(path), "rb") as packed, plain.open("wb") as out:
        shutil.copyfileobj(packed, out, 2**20)
    return plain


def measure_text(job: Acceptance, corpus: Text, clock: Clock) -> None:
    """All modes at all dimensions on one corpus, our side: speed and quality."""
    say(f"{corpus.name}: {len(corpus.scanned.ids):,} words, {len(corpus.sentences):,} sentences")
    counts = corpus.scanned.counts()
    for dim in job.args.dims:
        for mode in job.args.modes:
            what = f"{corpus.name} {mode} D={dim} {OURS}"
            job.attempt(what, measure_ours, job, corpus, counts, mode, dim, clock)


def measure_theirs(job: Acceptance, texts: list[Text], path: Path, clock: Clock) -> None:
    """The same cells by gensim, those of the first dimension first; after these, from text file to vectors."""
    args = job.args
    for dim in args.dims:
        for text, mode in itertools.product(texts, args.modes):
            what = f"{text.name} {mode} D={dim} gensim"
            job.attempt(what, measure_gensim, job, text, text.scanned.counts(), mode, dim, clock, on_device=False)
        if dim == args.dims[0] and "end-to-end" in args.parts:
            what = f"end to end {path.name} gensim"
            job.attempt(what, measure_end_to_end, job, path, "gensim", clock, on_device=False)


def compare_engines(job: Acceptance, corpus: Text, clock: Clock) -> None:
    """All modes at the first dimension once more, with the other engine."""
    counts = corpus.scanned.counts()
    dim, engine = job.args.dims[0], job.args.compare_engine
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
        start_anew(model)
        cells = measured(job, model, IdSentences.of(corpus, ends=clock.ends))
        seconds, words = cells["seconds"], round(cells["raw_words_per_s"] * cells["seconds"])
        note = "" if words == args.zipf_words else f"cut to {words:,} of {args.zipf_words:,} words"
        if note:
            job.skip(f"{what}, the rest of run {run}", f"{note}: the time of this part was used up")
        if words:
            cells |= {"words": words, "note": note}
            job.add("zipf", f"zipf-{args.zipf_vocabulary}", "sg-ns", OURS, model, **cells)


def measure_end_to_end(job: Acceptance, path: Path, side: str, clock: Clock) -> None:
    """From a text file to saved vectors, skip-gram with negative sampling: read and encode, train, save.

    Our side keeps what it encoded; gensim reads the file again each epoch, and that is in its time to train.
    """
    mode, dim, what = "sg-ns", job.args.dims[0], f"end to end {path.name} {side}"
    if not job.fits(None, clock, what):
        return
    make = gensim.models.Word2Vec if side == "gensim" else TorchWord2Vec
    with tempfile.TemporaryDirectory() as folder:
        few = Path(folder) / "few.txt"  # what is compiled once a machine is compiled by then
        few.write_text("".join(" ".join(line) + "\n" for line in itertools.islice(LineSentence(str(path)), WARM_LINES)))
        make(LineSentence(str(few)), **{**job.settings(mode, dim, side, seed=1), "epochs": 1})
        began = time.perf_counter()
        model = make(**job.settings(mode, dim, side, seed=1))
        lines = LineSentence(str(path))
        model.build_vocab(lines)
        read_seconds = time.perf_counter() - began
        rate = job.expected_rate(side, mode, dim)
        whole = model.corpus_total_words * model.epochs / rate if rate else None
        if not job.fits(whole, clock, what):
            return
        timing = timed_train(model, lines, settle=settler(job.device) if side == OURS else None)
        trained = time.perf_counter()
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
    say(f"GPU tests: {job.tests}\n\n{speed_table(rows)}\n\n{end_to_end_table(rows)}\n\n{sweep_table(rows)}\n")
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
    """Run the acceptance. Returns the exit code: 1 if a GPU test or a part failed, else 0."""
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
