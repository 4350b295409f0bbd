"""Where the time of training on a GPU goes, kernel by kernel."""

from __future__ import annotations

import time
from typing import Any

from torch.profiler import ProfilerActivity, profile

from compat.gpu_runs import Acceptance, Clock, Text, warm_up
from compat.ids import IdSentences, IdWord2Vec
from compat.report import OURS, say, settler

LINES = 12  # kernels that are shown


def kernels_of(events: Any, *, on_gpu: bool) -> list[tuple[str, int, float]]:
    """Name, calls and seconds of kernels and copies on the device, or of operations on a CPU, the longest first."""
    spent = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    found = [(event.key, event.count, getattr(event, spent) / 1e6) for event in events]
    return sorted((entry for entry in found if entry[2] > 0), key=lambda entry: -entry[2])


def profile_modes(job: Acceptance, corpus: Text, clock: Clock) -> None:
    """One epoch of each mode at the first dimension: what the device did, and how long it had nothing to do."""
    counts, dim = corpus.scanned.counts(), job.args.dims[0]
    for mode in job.args.modes:
        what = f"profile {corpus.name} {mode} D={dim}"
        if job.fits(None, clock, what):
            job.attempt(what, _profile, job, corpus, counts, mode, dim)


def _profile(job: Acceptance, corpus: Text, counts: dict[Any, int], mode: str, dim: int) -> None:
    model = IdWord2Vec(**{**job.settings(mode, dim, OURS, seed=1), "epochs": 1})
    model.build_vocab_from_freq(counts, corpus_count=len(corpus.sentences))
    ids = IdSentences.of(corpus.scanned.keep(model.wv.key_to_index))
    warm_up(model, ids)
    wait = settler(job.device)
    on_gpu = job.device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
        wait()
        began = time.perf_counter()
        model.train(ids, total_examples=len(ids), epochs=1)
        wait()
        seconds = time.perf_counter() - began
    kernels = kernels_of(seen.key_averages(), on_gpu=on_gpu)
    busy = sum(spent for *_, spent in kernels)
    say(f"profile of {mode} D={dim}: {seconds * 1e3:.1f} ms, {model.loop_seconds * 1e3:.1f} ms of them in the loop")
    say(f"  {'ms':>9} {'share':>6} {'calls':>7}  (the device was busy for {busy * 1e3:.1f} ms)")
    for name, calls, spent in kernels[:LINES]:
        say(f"  {spent * 1e3:>9.2f} {spent / busy:>6.1%} {calls:>7}  {name[:80]}")
