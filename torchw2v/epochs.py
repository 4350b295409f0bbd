"""One epoch of a gensim model on our own threads: which engine, which learning rate, what is logged and recorded."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

from gensim.models.word2vec import Word2Vec

from torchw2v.checkpoint import Position, RunKeeper
from torchw2v.constants import GENSIMS_LOGGER, WHOLE_SENTENCE
from torchw2v.corpus import CorpusChunk, EncodedCorpus
from torchw2v.corpus_checks import refuse_used_up
from torchw2v.errors import CheckpointMismatchError
from torchw2v.gensim_state import (
    adagrad,
    check_finite,
    counts_of,
    memory_estimate,
    objective_of,
    put_back,
    tables_of,
    weights_of,
)
from torchw2v.ops.contract import DeferringEngine, Engine, Job, Plan, Step, Weights
from torchw2v.ops.draws import DrawKey, draw_key
from torchw2v.ops.select import Choice
from torchw2v.progress import ProgressBar
from torchw2v.scan import stream_chunks
from torchw2v.schedule import chunk_tokens, make_plan, token_work
from torchw2v.token_file import MappedCorpus
from torchw2v.trainer import FEW_TOKENS, LANES, EpochReport, prefetched, prefetched_after, train_epoch

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """What one call of train() holds on to."""

    choice: Choice
    engine: Engine
    plan: Plan
    threads: int
    in_flight: int  # threads or lanes that compute from the same weights
    plan_tokens: float  # of an epoch, as far as known when the plan was made
    weights: Weights
    resident_tokens: int  # of the longest corpus that there is room for on the device
    work: int  # multiplications for a token, at most
    report: EpochReport = field(default_factory=EpochReport)  # of the epoch under way in gensim's job loop
    position: int = 0  # next token position in gensim's job loop
    lock: threading.Lock = field(default_factory=threading.Lock)
    error: BaseException | None = None  # what a thread of gensim's job loop raised


class EpochTraining(Word2Vec):
    """The methods that train one epoch."""

    _run: Run | None = None
    _keeper: RunKeeper | None = None
    running_training_loss: float

    def _train_one_epoch(
        self,
        sentences: Any,
        cur_epoch: int,
        total_examples: int | None,
        total_words: int | None,
        report_delay: float,
        callbacks: Any,
        *,
        from_file: bool,
    ) -> tuple[int, int, int]:
        """One epoch on our own threads. Returns gensim's (effective words, raw words, number of jobs)."""
        began = time.perf_counter()
        corpus = self._corpus(sentences)
        known = corpus.known_words if corpus is not None else total_words or int(self.wv.expandos["count"].sum())
        run, position = self._begin_epoch(cur_epoch, corpus, known, callbacks)
        began -= position.seconds
        key = DrawKey(*position.draw_key)
        chunks = self._chunks(corpus, sentences, position)

        def step_of(part: CorpusChunk) -> Step:
            if total_examples:
                done = part.examples_before / total_examples
            else:
                done = part.raw_words_before / max(total_words or 0, 1)
            return Step(self._get_next_alpha(done, cur_epoch), key, self.compute_loss)

        nothing: Queue[None] = Queue()  # gensim's progress line asks for the length of a queue
        expected = total_words or (corpus.raw_words if corpus is not None else 0)
        start = time.perf_counter() - position.seconds - 0.00001
        due = [position.seconds + 1.0]

        bar = ProgressBar(self.progress_bar, cur_epoch, self.epochs, expected)

        def progress(report: EpochReport) -> None:
            elapsed = time.perf_counter() - start
            self.running_training_loss = position.loss_before + report.loss
            bar.update(report)
            if elapsed >= due[0]:
                self._log_progress(
                    None, nothing, cur_epoch, report.examples, total_examples, report.raw_words, total_words,
                    report.effective_words, elapsed,
                )  # fmt: skip
                due[0] = elapsed + report_delay

        with bar, closing(chunks):
            try:
                progress(position.state.report)
                report = train_epoch(
                    run.engine, run.weights, chunks, step_of, threads=run.threads,
                    lockstep=self._in_lockstep(run), progress=progress,
                    # An iterable of the user's own may not repeat itself: there is no place inside to go back to.
                    start=position.state, rests=self._keeper if corpus is not None else None,
                )  # fmt: skip
            except BaseException:  # Ctrl-C and errors leave what has been trained in the model
                put_back(self, run.weights)
                raise
        if report.chunks == 0 and cur_epoch == 0:
            refuse_used_up(sentences, self.epochs)
        if report.chunks == 0 and self.train_count == 0:
            logging.getLogger(GENSIMS_LOGGER).warning(
                "train() called with an empty iterator (if not intended, "
                "be sure to provide a corpus that offers restartable iteration = an iterable)."
            )
        elapsed = time.perf_counter() - start
        self._log_epoch_end(
            cur_epoch, report.examples, total_examples, report.raw_words, total_words, report.effective_words, elapsed,
            from_file,
        )  # fmt: skip
        self.total_train_time += elapsed
        self._end_epoch(run, report, cur_epoch, time.perf_counter() - began, callbacks)
        return report.effective_words, report.raw_words, report.chunks

    def _begin_epoch(
        self, cur_epoch: int, corpus: EncodedCorpus | MappedCorpus | None, known: float, callbacks: Any
    ) -> tuple[Run, Position]:
        """What the epoch is trained with, and from where: its beginning, or where a checkpoint left it."""
        keeper = self._keeper
        position = keeper.take_up(cur_epoch, corpus) if keeper is not None else None
        neighbors = self._neighbors(corpus) if self._run is None else math.inf
        tokens = corpus.known_words if isinstance(corpus, EncodedCorpus) else 0
        run = self._begin_run(known if position is None else position.plan_tokens, callbacks, neighbors, tokens)
        if isinstance(corpus, EncodedCorpus) and 0 < tokens <= run.resident_tokens:
            assert isinstance(run.engine, DeferringEngine)
            run.engine.hold(corpus.token_ids, corpus.sentence_offsets)
        if position is None:
            position = Position(
                epoch=cur_epoch,
                draw_key=draw_key(self._draw_seed(), self.train_count, cur_epoch),
                chunk_tokens=chunk_tokens(
                    run.plan,
                    run.in_flight,
                    known,
                    on_device=run.choice.device.type != "cpu",
                    work=run.work,
                ),
                plan_tokens=run.plan_tokens,
                loss_before=self.running_training_loss,
            )
        elif position.state.units and not self._in_lockstep(run):
            raise CheckpointMismatchError(
                "the checkpoint lies inside a chunk, where only deterministic=True with engine 'torch' on a CPU can go "
                f"on; this is {run.choice.engine!r} on {run.choice.device}. Resume with the run's device and engine"
            )
        if keeper is not None:
            keeper.begin_epoch(position, corpus, lambda: put_back(self, run.weights))
        return run, position

    def _neighbors(self, corpus: EncodedCorpus | MappedCorpus | None) -> float:
        """Other words in the sentence of a word; infinite where that is not known."""
        if corpus is not None:
            return corpus.neighbors()
        if self.window < WHOLE_SENTENCE:
            return math.inf
        # Of a stream the mean length is known. Steps that hold more pairs count them (`Frames.scale`).
        return (self.corpus_total_words or 0) / max(self.corpus_count or 0, 1) - 1

    def _chunks(
        self, corpus: EncodedCorpus | MappedCorpus | None, sentences: Any, position: Position
    ) -> Generator[CorpusChunk, None, None]:
        """The chunks that are still to be trained."""
        if position.complete:
            sentences = ()
        if corpus is None or position.complete:  # encoded in the background while the last chunk trains
            stream = stream_chunks(sentences, self.wv.key_to_index, position.chunk_tokens)
            return prefetched_after(1 + FEW_TOKENS // position.chunk_tokens, stream, depth=2)
        chunks = corpus.chunks(position.chunk_tokens)
        if isinstance(corpus, MappedCorpus):  # looked up in the background, too
            chunks = prefetched(chunks, depth=2)
        for _ in range(position.state.report.chunks):
            next(chunks)
        return chunks

    def _in_lockstep(self, run: Run) -> bool:
        """Whether threads wait for each other. On an accelerator there is one stream of work."""
        return self.deterministic and run.choice.engine == "torch" and run.choice.device.type == "cpu"

    def _draw_seed(self) -> int:
        """The seed of the draws; where none was given, one from the model's own random state."""
        return int(self.seed) if self.seed is not None else int(self.random.randint(2**31))

    # ---- weights in, weights out -----------------------------------------------------------------------------

    def _begin_run(self, epoch_tokens: float, callbacks: Any, neighbors: float = math.inf, tokens: int = 0) -> Run:
        """The engine and weights of this train() call; made at its first epoch, refreshed where somebody may look.

        `tokens` of the corpus could stay on a device.
        """
        run = self._run
        if run is not None:
            if callbacks or run.choice.device.type == "cpu":  # wv.vectors may be another array than before
                run.weights = weights_of(self, run.choice.device, run.weights)
            return run
        choice = self.running_on
        on_cpu, on_cuda = choice.device.type == "cpu", choice.device.type == "cuda"
        fits = memory_estimate(self, tokens).corpus_fits(choice.device) if on_cuda else True
        several = choice.engine in ("torch", "numba") and on_cpu
        # Threads of engine 'torch' can share a step's work; sequential updates have one order, and need one thread.
        threads = 1 if not several or (self.deterministic and choice.engine == "numba") else self.workers
        sharing = self.workers if choice.engine == "softmax" and on_cpu else 1  # threads that share each step always
        in_flight = LANES if several and self.deterministic else threads
        tables, objective = tables_of(self), objective_of(self)
        fused = choice.engine.startswith("triton")
        plan = make_plan(
            objective, tables, counts_of(self), threads=in_flight, epoch_tokens=epoch_tokens, neighbors=neighbors,
            on_device=choice.device.type != "cpu" or fused, fused=fused,
        )  # fmt: skip
        logger.info(
            "training on %s with engine %r (%s): threads: %i; %s",
            choice.device, choice.engine, choice.reason, threads * sharing,
            "word after word" if choice.engine == "numba" else f"{plan.step_tiles * plan.tile} words a step",
        )  # fmt: skip
        engine = choice.build(Job(objective, tables, plan, adagrad(self)), threads * sharing)
        work = token_work(objective, tables, len(self.wv), int(self.vector_size), neighbors)
        weights, resident = weights_of(self, choice.device), 0
        if isinstance(engine, DeferringEngine) and tokens:
            resident = tokens if fits else 0
            logger.info(
                "the corpus of %i tokens %s", tokens,
                "stays on the device" if fits else "does not fit on the device beside the weights: copied in chunks",
            )  # fmt: skip
        self._run = Run(choice, engine, plan, threads, in_flight, epoch_tokens, weights, resident, work)
        return self._run

    def _end_epoch(self, run: Run, report: EpochReport, cur_epoch: int, seconds: float, callbacks: Any) -> None:
        """Make the vectors current for whoever looks at them now, and write the epoch into the history."""
        looks = bool(callbacks) or cur_epoch + 1 == self.epochs
        if looks:
            put_back(self, run.weights)
        self._clear_post_train()  # cached norms are those of the epoch before (gensim issue 3429)
        if not isinstance(run.engine, DeferringEngine):  # which has looked on the device itself
            check_finite(self, cur_epoch)
        if self._keeper is not None:
            self._keeper.end_epoch(report)
        record = {
            "train_call": self.train_count, "epoch": cur_epoch, "alpha": self.min_alpha_yet_reached,
            "seconds": seconds, "raw_words": report.raw_words, "effective_words": report.effective_words,
            "words_per_second": report.effective_words / max(seconds, 1e-9),
        }  # fmt: skip
        if self.compute_loss:
            mean = report.loss / report.pairs if report.pairs else math.nan
            record |= {"pairs": report.pairs, "loss": report.loss, "mean_loss": mean}
        self.training_history.append(record)
