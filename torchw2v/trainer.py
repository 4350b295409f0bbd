"""The one epoch loop: chunks go to threads, threads drive the engine, reports come back to the caller.

Two ways of running it on a CPU:

* free (default): each thread trains its own chunks as fast as it can; all share the weights without locks
  (Hogwild, Niu et al. 2011, arXiv:1106.5730), as gensim's threads do.
* lockstep (`deterministic=True`): a fixed number of lanes compute their updates from the same weights, then the
  updates are added in a fixed order. The result does not depend on the number of threads or their timing.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import TypeVar

import torch

from torchw2v.corpus import CorpusChunk
from torchw2v.ops.contract import Engine, Step, Tally, Weights
from torchw2v.ops.row_sums import RowUpdate
from torchw2v.ops.torch_engine import TorchEngine, Unit

Item = TypeVar("Item")

LANES = 4  # units that a lockstep round computes from the same weights, whatever the number of threads
_POLL_SECONDS = 0.5  # how often a waiting caller looks for Ctrl-C


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
        self.effective_words += tally.effective_words
        self.pairs += tally.pairs
        self.loss += tally.loss


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

    Raises
    ------
    Exception
        Whatever the corpus, the engine or `progress` raised, at once; the other threads are stopped first.
    """
    on_cpu = weights.inputs.device.type == "cpu"
    if lockstep:
        assert isinstance(engine, TorchEngine) and on_cpu
        with one_intra_op_thread():
            return _train_lockstep(engine, weights, chunks, step_of, threads, progress)
    if not on_cpu:
        return _train_here(engine, weights, chunks, step_of, progress)
    with one_intra_op_thread():
        return _train_free(engine, weights, chunks, step_of, threads, progress)


def _train_here(
    engine: Engine,
    weights: Weights,
    chunks: Iterator[CorpusChunk],
    step_of: Callable[[CorpusChunk], Step],
    progress: Callable[[EpochReport], None],
) -> EpochReport:
    """One stream of work on an accelerator, fed from the caller's thread."""
    report = EpochReport()
    for part in chunks:
        with torch.inference_mode():
            tally = engine.train_chunk(weights, part.chunk, step_of(part))
        report.add(part, tally)
        progress(report)
    return report


def _train_free(
    engine: Engine,
    weights: Weights,
    chunks: Iterator[CorpusChunk],
    step_of: Callable[[CorpusChunk], Step],
    threads: int,
    progress: Callable[[EpochReport], None],
) -> EpochReport:
    turn, stop = threading.Lock(), threading.Event()
    results: queue.Queue[tuple[CorpusChunk, Tally] | BaseException | None] = queue.Queue()

    def next_part() -> tuple[CorpusChunk, Step] | None:
        with turn:
            part = None if stop.is_set() else next(chunks, None)
            return None if part is None else (part, step_of(part))

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
    for worker in workers:
        worker.start()
    report, running = EpochReport(), threads
    try:
        while running:
            try:
                result = results.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if result is None:
                running -= 1
            elif isinstance(result, BaseException):
                raise result
            else:
                report.add(*result)
                progress(report)
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    return report


def _train_lockstep(
    engine: TorchEngine,
    weights: Weights,
    chunks: Iterator[CorpusChunk],
    step_of: Callable[[CorpusChunk], Step],
    threads: int,
    progress: Callable[[EpochReport], None],
) -> EpochReport:
    report = EpochReport()
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

    def units() -> Iterator[tuple[CorpusChunk, Tally, Unit | None]]:
        for part in chunks:
            sampled, step = Tally(), step_of(part)
            with torch.inference_mode():
                for unit in engine.units(weights, part.chunk, step, sampled):
                    yield part, sampled, unit
            yield part, sampled, None  # the chunk is complete, and so is its tally

    trained = Tally()  # of the units of the chunk under way
    with (
        ThreadPoolExecutor(threads, "torchw2v", initializer=lambda: torch.set_num_threads(1)) as pool,
        closing(prefetched(units(), depth=2 * LANES)) as stream,
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
                else:
                    trained += sampled
                    report.add(part, trained)
                    trained = Tally()
                    progress(report)
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
    filler.start()
    try:
        while True:
            item, error = ready.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        stop.set()
        filler.join()
