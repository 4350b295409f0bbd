"""One acceptance: what was asked for, the time that is left, what has been found; and a run of our side in it."""

from __future__ import annotations

import argparse
import gc
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from compat.analogies import analogies
from compat.bench import MODES, append_rows, read_corpus, similarities, timed_train
from compat.ids import IdSentences, IdWord2Vec
from compat.report import COLUMNS, OURS, say, settler
from compat.zipf import prefix
from torchw2v.corpus import ScannedCorpus
from torchw2v.scan import scan

WARM_EPOCHS = 2  # the first compiles kernels, the second tells how long a run will take
WARM_WORDS = 2_000_000  # of a corpus in a warm-up; a hundredth of it still holds more tokens than may be in flight
# A guess for the first gensim run, before one is measured: half of its slowest mode at 100 dimensions in
# docs/benchmarks.md, where two workers share two cores.
GENSIM_WORDS_PER_WORKER = 125_000


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
    failures : list of str
        What ended in an error.
    lost : str
        After which of them the device no longer answered; "" while it does.
    """

    args: argparse.Namespace
    facts: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    tests: str = "not run (--no-tests)"
    tests_failed: bool = False
    failures: list[str] = field(default_factory=list)
    lost: str = ""

    @property
    def failed(self) -> bool:
        """Whether anything did."""
        return self.tests_failed or bool(self.failures)

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
        """Keep a row, with the settings of its model, and show it; written at once, so that a kill loses no other."""
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
        if self.args.csv:
            append_rows(self.args.csv, self.rows[-1:])
        speed, seconds = cells["raw_words_per_s"], cells["seconds"]
        who = f"{side} ({model.engine})" if side == OURS else side
        say(f"  {part} {corpus} {mode} D={model.vector_size} {who}: {speed:,.0f} raw words/s, {seconds:.2f} s")

    def skip(self, what: str, why: str) -> None:
        """Keep what was left out, and show it."""
        self.skipped.append(f"{what}: {why}")
        say(f"  SKIPPED {self.skipped[-1]}")

    def attempt(self, what: str, call: Callable[..., None], *args: Any, on_device: bool = True) -> None:
        """Do a part; an error is shown and kept, and the next part comes all the same.

        An error inside a kernel takes the device away from the whole process: then what needs it is skipped.
        """
        if on_device and self.lost:
            self.skip(what, f"the device does not answer since {self.lost}")
            return
        try:
            call(*args)
        except Exception as error:
            self.failures.append(f"{what}: {type(error).__name__}: {error}")
            say(f"{traceback.format_exc()}  FAILED {self.failures[-1]}")
        else:
            return
        gc.collect()  # what the error's frames held
        if self.device.type == "cuda" and not answers(self.device):
            self.lost = what

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


def answers(device: torch.device) -> bool:
    """Whether a CUDA device still works for this process."""
    try:
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()
    except RuntimeError as error:
        say(f"  {device}: {error}; CUDA_LAUNCH_BLOCKING=1 names the kernel")
        return False
    return True


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
        "loop_raw_words_per_s": timing["raw_words_per_s"] * timing["seconds"] / model.loop_seconds,
        "words": int(ids.raw_offsets[-1]),
        "peak_memory_bytes": torch.cuda.max_memory_allocated(job.device) if on_gpu else "",
        "bytes_per_token": moved,
        "bandwidth_bytes_per_s": rate,
        "roofline_fraction": rate / job.facts["copy_bytes_per_s"],
    }


def start_anew(model: IdWord2Vec) -> None:
    """First vectors, as the model's seed has them: gensim's init_weights() keeps those of words that have some."""
    model.wv.vectors = np.zeros((0, 0), dtype=np.float32)
    model.init_weights()


def warm_up(model: IdWord2Vec, ids: IdSentences) -> float:
    """Train on the start of a corpus, which compiles what training needs; returns the raw words/s to expect."""
    start = IdSentences.of(prefix(ids, WARM_WORDS))
    epochs, model.epochs = model.epochs, WARM_EPOCHS
    model.train(start, total_examples=len(start), epochs=WARM_EPOCHS)
    model.epochs = epochs
    return float(model.training_history[-1]["raw_words"] / model.training_history[-1]["seconds"])


def scores(job: Acceptance, wv: Any) -> dict[str, float]:
    """The quality of vectors."""
    return {**similarities(wv), "analogies": analogies(wv, torch.device("cpu") if job.lost else job.device)}
