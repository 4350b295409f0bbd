"""The one epoch loop: chunks go to threads, threads drive the engine, reports come back to the caller.

Two ways of running it on a CPU:

* free (default): each thread trains its own chunks as fast as it can; all share the weights without locks
  (Hogwild, Niu et al. 2011, arXiv:1106.5730), as gensim's threads do.
* lockstep (`deterministic=True` with engine "torch"; sequential engines take one free thread): a fixed number of
  lanes compute their updates from the same weights, then the updates are added in a fixed order. The result does not
  depend on the number of threads or their timing.

Either way an epoch can come to rest between two updates, for a checkpoint, and be gone on with from there.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, islice, pairwise
from typing import Protocol, TypeVar

import torch

from torchw2v.corpus import CorpusChunk
from torchw2v.ops.contract import Chunk, DeferringEngine, Engine, Step, Tally, Weights
from torchw2v.ops.row_sums import RowUpdate
from torchw2v.ops.torch_engine import TorchEngine, Unit

Item = TypeVar("Item")
Result = tuple[CorpusChunk, Tally] | BaseException | None  # of a worker: a trained chunk, an error, its end

# Trained in the caller's thread before others are started, which takes longer: for an epoch of few words none is.
FEW_TOKENS = 1000
LANES = 4  # units that a lockstep round computes from the same weights, whatever the number of threads
_POLL_SECONDS = 0.5  # how often a waiting caller looks for Ctrl-C
_COLLECT_SECONDS = 1.0  # how often words and loss are read from a device; gensim's progress line comes no more often


@dataclass
class EpochReport:
    """What has been trained so far in an epoch, in gensim's counts and ours."""

    examples: int = 0
    raw_words: int = 0
    effective_words: int = 0
    chunks: int = 0
    pairs: int = 0
    loss: float = 0.0

    def add(self, part: CorpusChunk, tally: Tally) -> None:
        """Count one trained chunk."""
        self.examples += part.examples
        self.raw_words += part.raw_words
        self.chunks += 1
        self.count(tally)

    def count(self, tally: Tally) -> None:
        """Count what was trained in chunks that have been added."""
        self.effective_words += tally.effective_words
        self.pairs += tally.pairs
        self.loss += tally.loss


@dataclass
class EpochState:
    """Where an epoch stands while no update is under way.

    Attributes
    ----------
    report : EpochReport
        Of the chunks trained whole.
    units : int
        Units of the next chunk that are trained already (lockstep; free threads rest between chunks).
    pending : Tally
        What these units were.
    """

    report: EpochReport = field(default_factory=EpochReport)
    units: int = 0
    pending: Tally = field(default_factory=Tally)


class Rests(Protocol):
    """Asks an epoch to come to rest, and is told when it has."""

    def due(self, report: EpochReport) -> bool:
        """Whether to rest as soon as possible; asked in the caller's thread after each trained chunk or round."""
        ...

    def at_rest(self, state: EpochState) -> None:
        """Called in the caller's thread while no thread changes the weights. The state is valid until it returns."""
        ...


class NeverRests:
    """An epoch without a break."""

    def due(self, report: EpochReport) -> bool:
        """No."""
        return False

    def at_rest(self, state: EpochState) -> None:
        """Nothing to do."""


@contextmanager
def one_intra_op_thread() -> Iterator[None]:
    """Each worker thread runs its operations alone: a barrier in every small operation would cost more than it saves.

    torch.set_num_threads is seen by the whole process through MKL, so the caller's setting is put back.
    """
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train_epoch(
    engine: Engine,
    weights: Weights,
    chunks: Iterator[CorpusChunk],
    step_of: Callable[[CorpusChunk], Step],
    *,
    threads: int,
    lockstep: bool,
    progress: Callable[[EpochReport], None],
    start: EpochState | None = None,
    rests: Rests | None = None,
) -> EpochReport:
    """Train all chunks once.

    Parameters
    ----------
    engine : Engine
    weights : Weights
        Changed in place.
    chunks : iterator
        Read from one thread at a time.
    step_of : callable
        Learning rate and draw key of a chunk; called in the order of the chunks.
    threads : int
    lockstep : bool
        Same vectors for every number of threads; needs TorchEngine.
    progress : callable
        Called in the caller's thread after each trained chunk.
    start : EpochState, optional
        Where to go on from; `chunks` then begins after the start's trained chunks.
    rests : Rests, optional
        When to come to rest, and what to do then.

    Raises
    ------
    Exception
        Whatever the corpus, the engine or `progress` raised, at once; the other threads are stopped first.
    """
    on_cpu, start, rests = weights.inputs.device.type == "cpu", start or EpochState(), rests or NeverRests()
    if lockstep:
        assert isinstance(engine, TorchEngine) and on_cpu
        with one_intra_op_thread():
            return _train_lockstep(engine, weights, chunks, step_of, threads, progress, start, rests)
    if not on_cpu or isinstance(engine, DeferringEngine):
        return _train_here(engine, weights, chunks, step_of, progress, start, rests)
    with one_intra_op_thread():
        return _train_free(engine, weights, chunks, step_of, threads, progress, start, rests)


def _train_here(
    engine: Engine,
    weights: Weights,
    chunks: Iterator[CorpusChunk],
    step_of: Callable[[CorpusChunk], Step],
    progress: Callable[[EpochReport], None],
    start: EpochState,
    rests: Rests,
) -> EpochReport:
    """One stream of work on an accelerator, fed from the caller's thread.

    An engine that defers is asked for words and loss once a second, when a rest is due and at the end: in between
    nobody waits for the device.
    """
    report, collected_at = replace(start.report), time.monotonic()
    for part in chunks:
        with torch.inference_mode():
            tally = engine.train_chunk(weights, part.chunk, step_of(part))
        report.add(part, tally)
        due = rests.due(report)
        if due or time.monotonic() >= collected_at + _COLLECT_SECONDS:
            report.count(_collected_from(engine, weights))
            collected_at = time.monotonic()
        progress(report)
        if due:
            rests.at_rest(EpochState(report))
    report.count(_collected_from(engine, weights))
    progress(report)
    return report


def _collected_from(engine: Engine, weights: Weights) -> Tally:
    """What an engine that defers has trained since it was last asked; nothing of another, which tells at once."""
    with torch.inference_mode():
        return engine.collect(weights) if isinstance(engine, DeferringEngine) else Tally()


def train_at_once(engine: Engine, weights: Weights, chunk: Chunk, step: Step, turn: threading.Lock) -> Tally:
    """Train a chunk and wait for what it amounted to; engines that defer are lent to one thread at a time."""
    with torch.inference_mode():
        if not isinstance(engine, DeferringEngine):
            return engine.train_chunk(weights, chunk, step)
        with turn:
            tally = engine.train_chunk(weights, chunk, step)
            tally += engine.collect(weights)
            return tally


def _train_free(
    engine: Engine,
    weights: Weights,
    chunks: Iterator[CorpusChunk],
    step_of: Callable[[CorpusChunk], Step],
    threads: int,
    progress: Callable[[EpochReport], None],
    start: EpochState,
    rests: Rests,
) -> EpochReport:
    report, few = replace(start.report), FEW_TOKENS
    for part in chunks:
        few -= part.chunk.stop - part.chunk.start
        if few < 0:
            chunks = chain([part], chunks)
            break
        torch.set_num_threads(1)
        with torch.inference_mode():
            tally = engine.train_chunk(weights, part.chunk, step_of(part))
        report.add(part, tally)
        progress(report)
        if rests.due(report):
            rests.at_rest(EpochState(report))
    else:
        return report
    while not _train_until_due(engine, weights, chunks, step_of, threads, progress, report, rests):
        rests.at_rest(EpochState(report))
    return report


def _train_until_due(
    engine: Engine,
    weights: Weights,
    chunks: Iterator[CorpusChunk],
    step_of: Callable[[CorpusChunk], Step],
    threads: int,
    progress: Callable[[EpochReport], None],
    report: EpochReport,
    rests: Rests,
) -> bool:
    """Train until the chunks have come to an end (True) or a rest is due (False); no thread is left running."""
    turn, stop, ended = threading.Lock(), threading.Event(), threading.Event()
    results: queue.Queue[Result] = queue.Queue()

    def next_part() -> tuple[CorpusChunk, Step] | None:
        with turn:
            if not stop.is_set():
                for part in chunks:
                    return part, step_of(part)
                ended.set()
            return None

    def work() -> None:
        try:
            torch.set_num_threads(1)
            with torch.inference_mode():
                while (item := next_part()) is not None:
                    part, step = item
                    results.put((part, engine.train_chunk(weights, part.chunk, step)))
            results.put(None)
        except BaseException as error:  # handed to the caller, who raises it
            stop.set()
            results.put(error)

    workers = [threading.Thread(target=work, name=f"torchw2v-{n}", daemon=True) for n in range(threads)]
    try:  # from here on: Ctrl-C while threads start would leave some running into the interpreter's end
        for worker in workers:
            worker.start()
        for part, tally in _collected(results, threads):
            report.add(part, tally)
            progress(report)
            if rests.due(report):
                stop.set()
    finally:
        stop.set()
        for worker in workers:
            if worker.ident is not None:  # it was started
                worker.join()
    return ended.is_set()


def _collected(results: queue.Queue[Result], workers: int) -> Iterator[tuple[CorpusChunk, Tally]]:
    """What the workers put into the queue until all have ended; their errors are raised."""
    while workers:
        try:
            result = results.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        if isinstance(result, BaseException):
            raise result
        if result is None:
            workers -= 1
        else:
            yield result


def _train_lockstep(
    engine: TorchEngine,
    weights: Weights,
    chunks: Iterator[CorpusChunk],
    step_of: Callable[[CorpusChunk], Step],
    threads: int,
    progress: Callable[[EpochReport], None],
    start: EpochState,
    rests: Rests,
) -> EpochReport:
    report = replace(start.report)
    width = weights.inputs.shape[1]
    edges = [width * n // threads for n in range(threads + 1)]
    columns = [slice(a, b) for a, b in pairwise(edges) if b > a]

    def compute(unit: Unit) -> tuple[list[RowUpdate], Tally]:
        with torch.inference_mode():
            tally = Tally()
            return engine.updates(weights, unit, tally), tally

    def apply(job: tuple[slice, list[RowUpdate]]) -> None:
        with torch.inference_mode():
            for update in job[1]:
                update.apply(job[0])

    def prepared() -> Iterator[tuple[CorpusChunk, Tally, Unit | None]]:
        done = start.units
        for part in chunks:
            sampled, step = Tally(), step_of(part)
            with torch.inference_mode():
                for unit in islice(engine.units(weights, part.chunk, step, sampled), done, None):
                    yield part, sampled, unit
            done = 0
            yield part, sampled, None  # the chunk is complete, and so is its tally

    trained, units_trained = replace(start.pending), start.units  # of the chunk under way
    with (
        ThreadPoolExecutor(threads, "torchw2v", initializer=lambda: torch.set_num_threads(1)) as pool,
        closing(prefetched(prepared(), depth=2 * LANES)) as stream,
    ):
        while group := list(islice(stream, LANES)):
            computed = list(pool.map(compute, [unit for _, _, unit in group if unit is not None]))
            # Columns are independent, so threads may share the additions without changing their order.
            updates = list(chain.from_iterable(rows for rows, _ in computed))
            list(pool.map(apply, [(part, updates) for part in columns]))
            tallies = (tally for _, tally in computed)
            for part, sampled, unit in group:
                if unit is not None:
                    trained += next(tallies)
                    units_trained += 1
                else:
                    trained += sampled
                    report.add(part, trained)
                    trained, units_trained = Tally(), 0
                    progress(report)
            # Rounds are counted from where the chunk stream stands, so an epoch that goes on from here makes the same.
            if rests.due(report):
                rests.at_rest(EpochState(report, units_trained, trained))
    return report


def prefetched(source: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """The items of an iterator, taken ahead of need by a thread of their own.

    Parameters
    ----------
    source : iterator
    depth : int
        Items held ready at most.

    Raises
    ------
    Exception
        Whatever the source raised, at the place where it raised it.
    """
    ready: queue.Queue[tuple[Item | None, BaseException | None]] = queue.Queue(depth)
    stop = threading.Event()

    def offer(item: Item | None, error: BaseException | None) -> None:
        while not stop.is_set():
            try:
                return ready.put((item, error), timeout=_POLL_SECONDS)
            except queue.Full:
                continue

    def fill() -> None:
        try:
            torch.set_num_threads(1)
            for item in source:
                offer(item, None)
                if stop.is_set():
                    return
            offer(None, None)
        except BaseException as error:  # raised again by the reader
            offer(None, error)

    filler = threading.Thread(target=fill, name="torchw2v-prefetch", daemon=True)
    try:
        filler.start()
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        if filler.ident is not None:
            filler.join()


def prefetched_after(few: int, source: Iterator[Item], depth: int) -> Generator[Item, None, None]:
    """As `prefetched`, but the first items are read when they are asked for; no thread is started if there are no more.

    Parameters
    ----------
    few : int
    source, depth
        As in `prefetched`.
    """
    yield from islice(source, few)
    beyond = list(islice(source, 1))
    if beyond:
        yield from prefetched(chain(beyond, source), depth)
