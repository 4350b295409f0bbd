"""Which settings are fastest on this GPU, and what they do to quality: `python -m compat.gpu --sweep`.

Each variation is one or two changes of what the engine has now (schedule.py, triton_engine.TUNING). All are trained on
the same text, whose vectors are scored, and on the same synthetic corpus, whose rows do not fit into a cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from compat.bench import QUALITIES
from compat.gpu_runs import Acceptance, Clock, Text, measured, scores, start_anew, warm_up
from compat.ids import IdSentences, IdWord2Vec
from compat.report import OURS, number
from compat.zipf import zipf_corpus
from torchw2v import schedule

TEXT_SHARE = 0.7  # of the time; the rest is for the synthetic corpus
ZIPF_WORDS = 100_000_000  # at most


@dataclass(frozen=True)
class Variation:
    """Settings in place of those of the engine; None leaves one as it is.

    Attributes
    ----------
    in_flight : int
        Tokens in flight at most, whatever the mode, in one step. The most frequent word may come as much more often.
    chunk : int
        Raw tokens of a chunk.
    overlap : int
        Steps in flight at once; of CBOW, tokens in a step as many times as usual.
    warps, stages, block : int
        As in triton_engine.Tuning; `stages` of all modes.
    """

    in_flight: int | None = None
    overlap: int | None = None
    chunk: int | None = None
    warps: int | None = None
    stages: int | None = None
    block: int | None = None

    def __str__(self) -> str:
        given = [f"{name}={value}" for name, value in vars(self).items() if value is not None]
        return " ".join(given) or "as it is"


VARIATIONS = (
    Variation(),
    Variation(overlap=1),
    Variation(overlap=2),
    Variation(overlap=8),
    Variation(warps=4, block=64),
    Variation(warps=2, block=32),
    Variation(warps=1, block=32),
    Variation(warps=8, block=64),
    Variation(in_flight=8192),
    Variation(in_flight=2048, overlap=8),
    Variation(in_flight=1024),
    Variation(stages=2),
    Variation(stages=4),
    Variation(chunk=2**22),
    Variation(),  # the same again: what differs from the first is noise
)


LEAST = ("MIN_STEP_FUSED", "MIN_IN_FLIGHT_FUSED")  # what small corpora have all the same: as many as asked for


@contextmanager
def applied(variation: Variation, engine: str) -> Iterator[None]:
    """Train with these settings inside the block."""
    given: dict[str, float] = {} if variation.chunk is None else {"DEVICE_CHUNK_TOKENS": variation.chunk}
    if variation.in_flight is not None:
        given |= dict.fromkeys(("MAX_IN_FLIGHT", "MAX_IN_FLIGHT_FUSED", *LEAST), variation.in_flight)
        given["MAX_HOT_OCCURRENCES"] = max(schedule.MAX_HOT_OCCURRENCES, variation.in_flight // 64)
    if variation.overlap is not None:
        in_flight = given.get("MAX_IN_FLIGHT", schedule.MAX_IN_FLIGHT)
        given |= {"MAX_IN_FLIGHT_FUSED": in_flight * variation.overlap, "MAX_FUSED_SHARE": schedule.MAX_CORPUS_SHARE}
        given |= dict.fromkeys(LEAST, in_flight)
    was = {name: getattr(schedule, name) for name in given}
    for name, value in given.items():
        setattr(schedule, name, value)
    try:
        with _tuned(variation, engine):
            yield
    finally:
        for name, value in was.items():
            setattr(schedule, name, value)


@contextmanager
def _tuned(variation: Variation, engine: str) -> Iterator[None]:
    if not engine.startswith("triton"):
        yield
        return
    from torchw2v.ops import triton_engine  # only here: triton is not everywhere

    given = {name: value for name in ("warps", "stages", "block") if (value := getattr(variation, name)) is not None}
    if variation.stages is not None:
        given["tree_stages"] = variation.stages
    usual = dict(triton_engine.TUNING)
    triton_engine.TUNING.update({which: replace(tuning, **given) for which, tuning in usual.items()})
    try:
        yield
    finally:
        triton_engine.TUNING.update(usual)


def sweep(job: Acceptance, corpus: Text, clock: Clock) -> None:
    """All variations of all modes at the first dimension on a text, and of the first mode on a synthetic corpus."""
    args, dim = job.args, job.args.dims[0]
    counts, on_text = corpus.scanned.counts(), clock.share(TEXT_SHARE)
    for mode in args.modes:
        model = IdWord2Vec(**job.settings(mode, dim, OURS, seed=1))
        model.build_vocab_from_freq(counts, corpus_count=len(corpus.sentences))
        ids = IdSentences.of(corpus.scanned.keep(model.wv.key_to_index))
        _try_all(job, corpus.name, mode, model, ids, on_text, scored=True)
    zipf, expected = zipf_corpus(min(args.zipf_words, ZIPF_WORDS), args.zipf_vocabulary)
    model = IdWord2Vec(**{**job.settings(args.modes[0], args.zipf_dim, OURS, seed=1), "epochs": 1, "min_count": 1})
    names = {str(rank): count for rank, count in enumerate(expected.tolist())}
    model.build_vocab_from_freq(names, corpus_count=len(zipf.raw_offsets) - 1)
    _try_all(job, f"zipf-{args.zipf_vocabulary}", args.modes[0], model, IdSentences.of(zipf), clock, scored=False)


def _try_all(
    job: Acceptance, name: str, mode: str, model: IdWord2Vec, ids: IdSentences, clock: Clock, *, scored: bool
) -> None:
    """A row for each variation, from the same first vectors."""

    def run(variation: Variation) -> None:
        with applied(variation, job.args.engine):
            warm_up(model, ids)
            start_anew(model)
            cells = measured(job, model, ids)
        cells |= scores(job, model.wv) if scored else {}
        job.add("sweep", name, mode, OURS, model, **cells, note=str(variation))

    for variation in VARIATIONS:
        what = f"sweep {name} {mode}: {variation}"
        if job.fits(None, clock, what):
            job.attempt(what, run, variation)


def sweep_table(rows: list[dict[str, Any]]) -> str:
    """The sweep, a line a variation, the fastest of each corpus and mode first."""
    tried = [row for row in rows if row["part"] == "sweep"]
    tried.sort(key=lambda row: (row["corpus"], row["mode"], -row["loop_raw_words_per_s"]))
    lines = [f"{'corpus':<20} {'mode':<8} {'in the loop':>13}  {', '.join(QUALITIES)}; variation"]
    for row in tried:
        quality = " ".join(f"{number(row[name], '.3f'):>6}" for name in QUALITIES)
        lines.append(
            f"{row['corpus']:<20} {row['mode']:<8} {row['loop_raw_words_per_s']:>13,.0f}  {quality}  {row['note']}"
        )
    return "\n".join(lines) if tried else ""
