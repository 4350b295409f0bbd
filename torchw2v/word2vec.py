"""TorchWord2Vec: gensim's Word2Vec with another engine under it. A thin door: names, checks, delegation.

gensim's own code goes on doing everything but training: vocabulary rules, `wv`, saving, scoring, logging, the order
of callbacks. Replaced are the pass that counts words (`_scan_vocab`, which also encodes) and the two places where an
epoch is trained (`_train_epoch`, `_train_epoch_corpusfile`). A subclass that overrides one of gensim's job hooks
(`_do_train_job` and its like) is served by gensim's own job loop, with our engine inside.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from queue import Queue
from typing import Any

import torch
from gensim.models import KeyedVectors
from gensim.models.word2vec import Word2Vec

from torchw2v.corpus import CorpusChunk, EncodedCorpus, encode, scan, stream_chunks
from torchw2v.corpus_cache import CorpusCache
from torchw2v.errors import CorpusFileError, CorpusTypeError, EmptyVocabularyError, SettingError, SettingTypeError
from torchw2v.gensim_state import check_finite, counts_of, objective_of, put_back, tables_of, weights_of
from torchw2v.ops.contract import Engine, Job, Plan, Step, Weights
from torchw2v.ops.draws import draw_key
from torchw2v.ops.select import Choice, DeviceLike, choose
from torchw2v.progress import ProgressBar
from torchw2v.schedule import chunk_tokens, make_plan
from torchw2v.standin import StandIn
from torchw2v.trainer import LANES, EpochReport, prefetched, train_epoch

logger = logging.getLogger(__name__)

# Methods of gensim's job loop. Where a subclass overrides one, that loop runs, so that the override is called.
_JOB_HOOKS = (
    "_do_train_job", "_raw_word_count", "_get_thread_working_mem", "_worker_loop", "_job_producer",
    "_log_epoch_progress",
)  # fmt: skip
_FILE_HOOKS = ("_do_train_epoch", "_worker_loop_corpusfile")
_TRANSIENT = ("_run", "_corpora", "_scope", "_highest_count")  # never saved, never copied


@dataclass
class _Run:
    """What one call of train() holds on to."""

    choice: Choice
    engine: Engine
    plan: Plan
    threads: int
    in_flight: int  # threads or lanes that compute from the same weights
    weights: Weights
    report: EpochReport = field(default_factory=EpochReport)  # of the epoch under way in gensim's job loop
    position: int = 0  # next token position in gensim's job loop
    lock: threading.Lock = field(default_factory=threading.Lock)
    error: BaseException | None = None  # what a thread of gensim's job loop raised


class TorchWord2Vec(Word2Vec, metaclass=StandIn):
    """gensim's Word2Vec, trained by PyTorch. Every argument of gensim's keeps its name, place and default.

    Parameters
    ----------
    sentences, corpus_file, vector_size, ..., shrink_windows
        As in `gensim.models.Word2Vec`. `workers` is the number of CPU threads that train; on an accelerator one
        stream trains and `workers` has no effect. `batch_words` sizes the jobs of gensim's loop, which runs only for
        subclasses that override one of its hooks; otherwise chunks are sized by torchw2v. `corpus_file` may be
        compressed or remote (anything smart_open opens).
    device : str or torch.device, optional
        "auto" (default), "cpu", "cuda", "cuda:1", "mps", ...
    engine : str, optional
        "auto" (default): "triton" on a CUDA device where Triton is installed, else "torch". "triton" multiplies in TF32
        and keeps weights and sums in float32; "triton-ieee" multiplies in float32, more slowly. "reference" is the slow
        definition that the others are tested against.
    deterministic : bool
        True: the same seed gives bit-equal vectors on one CPU model whatever `workers` is. False: threads share the
        weights without locks, and with more than one worker results differ from run to run, as in gensim.
    progress_bar : bool
        Show a tqdm bar per epoch (install torchw2v[progress]).

    Attributes
    ----------
    running_on : torchw2v.ops.select.Choice
        Device and engine in use, and why.
    training_history : list of dict
        One entry per trained epoch: train_call, epoch, alpha (at its end), seconds, raw_words, effective_words, and
        with compute_loss=True pairs, loss (sum) and mean_loss (per pair).

    Raises
    ------
    SettingError (a ValueError)
        A size is out of its range.
    EngineUnavailableError (a ValueError)
        The device or engine is unknown or not on this machine.
    EmptyVocabularyError (a RuntimeError)
        No word survived min_count.
    TrainingDivergedError (a FloatingPointError)
        A weight became NaN or infinite.
    """

    # Defaults for models that plain gensim saved and for copies, which leave the transient state behind.
    device: DeviceLike = None
    engine: str | None = None
    deterministic: bool = False
    progress_bar: bool = False
    _loss_asked: bool = False  # by the constructor, so for every call of train()
    _run: _Run | None = None
    _corpora: CorpusCache | None = None
    _scope: object = None
    _highest_count: int | None = None
    running_training_loss: float

    def __init__(
        self, sentences=None, corpus_file=None, vector_size=100, alpha=0.025, window=5, min_count=5,
        max_vocab_size=None, sample=1e-3, seed=1, workers=3, min_alpha=0.0001,
        sg=0, hs=0, negative=5, ns_exponent=0.75, cbow_mean=1, hashfxn=hash, epochs=5, null_word=0,
        trim_rule=None, sorted_vocab=1, batch_words=10000, compute_loss=False, callbacks=(),
        comment=None, max_final_vocab=None, shrink_windows=True,
        *, device: DeviceLike = None, engine: str | None = None, deterministic: bool = False,
        progress_bar: bool = False,
    ) -> None:  # fmt: skip
        self.device, self.engine = device, engine
        self.deterministic, self.progress_bar = bool(deterministic), bool(progress_bar)
        self._loss_asked = bool(compute_loss)
        self.training_history: list[dict[str, Any]] = []
        self.vector_size, self.window, self.negative, self.workers = vector_size, window, negative, workers
        self._check_settings()
        logger.debug("will train on %s", self.running_on)
        self._scope = object()  # what is encoded in here to count words may also be trained on in here
        try:
            super().__init__(
                sentences=sentences, corpus_file=corpus_file, vector_size=vector_size, alpha=alpha, window=window,
                min_count=min_count, max_vocab_size=max_vocab_size, sample=sample, seed=seed, workers=workers,
                min_alpha=min_alpha, sg=sg, hs=hs, negative=negative, ns_exponent=ns_exponent, cbow_mean=cbow_mean,
                hashfxn=hashfxn, epochs=epochs, null_word=null_word, trim_rule=trim_rule, sorted_vocab=sorted_vocab,
                batch_words=batch_words, compute_loss=compute_loss, callbacks=callbacks, comment=comment,
                max_final_vocab=max_final_vocab, shrink_windows=shrink_windows,
            )  # fmt: skip
        finally:
            self._scope = None
            self._cache_of_corpora().forget_passing()

    # ---- what runs where -------------------------------------------------------------------------------------

    @property
    def running_on(self) -> Choice:
        """Device and engine that training uses, and why; follows changes of `device` and `engine`."""
        return choose(self.device, self.engine, deterministic=self.deterministic)

    def _check_settings(self) -> None:
        """Refuse sizes that gensim would crash on, hang on or silently train nothing with."""
        lower = {"vector_size": 1, "window": 1, "negative": 0, "workers": 1}
        for name, least in lower.items():
            value = getattr(self, name)
            try:
                number = int(value)
            except (TypeError, ValueError) as error:
                kind = SettingTypeError if isinstance(error, TypeError) else SettingError
                raise kind(f"{name}={value!r} is not a whole number; give {name} >= {least}") from error
            if not least <= number < 2**31:
                raise SettingError(f"{name}={value!r} is out of range; give {name} >= {least} (and below 2**31)")

    # ---- counting and encoding -------------------------------------------------------------------------------

    def scan_vocab(self, corpus_iterable=None, corpus_file=None, progress_per=10000, workers=None, trim_rule=None):
        """Count words as gensim does; lines of a corpus_file are never cut."""
        if corpus_file:
            corpus_iterable = self._cache_of_corpora().lines(corpus_file)
        return super().scan_vocab(
            corpus_iterable=corpus_iterable, progress_per=progress_per, workers=workers, trim_rule=trim_rule
        )

    def _scan_vocab(self, sentences, progress_per, trim_rule):
        """Count and encode in one pass. With max_vocab_size, gensim's pass, whose memory that setting bounds."""
        cache = self._cache_of_corpora()
        cache.drop_scan()
        if self.max_vocab_size:
            return super()._scan_vocab(sentences, progress_per, trim_rule)

        def progress(sentence_no: int, words: int, types: int, sentence: Any) -> None:
            if not sentence_no and isinstance(sentence, str):
                logger.warning(
                    "Each 'sentences' item should be a list of words (usually unicode strings). "
                    "First item here is instead plain %s.",
                    type(sentence),
                )
            if sentence_no % progress_per == 0:
                logger.info(
                    "PROGRESS: at sentence #%i, processed %i words, keeping %i word types", sentence_no, words, types
                )

        scanned = scan(sentences, progress)
        self.raw_vocab = scanned.counts()
        cache.keep_scan(sentences, self._scope, scanned)
        return len(scanned.ids), len(scanned.raw_offsets) - 1

    def prepare_vocab(
        self, update=False, keep_raw_vocab=False, trim_rule=None, min_count=None, sample=None, dry_run=False
    ):
        """As gensim's; the highest count is remembered for the message of an empty vocabulary."""
        self._highest_count = max(self.raw_vocab.values(), default=0)
        return super().prepare_vocab(
            update=update, keep_raw_vocab=keep_raw_vocab, trim_rule=trim_rule, min_count=min_count, sample=sample,
            dry_run=dry_run,
        )  # fmt: skip

    def make_cum_table(self, domain=2**31 - 1):
        """As gensim's, also for whole-number tokens, which gensim takes for row numbers here."""
        with _keys_set_aside(self.wv):
            super().make_cum_table(domain=domain)

    def create_binary_tree(self):
        """As gensim's, also for whole-number tokens, which gensim takes for row numbers here."""
        with _keys_set_aside(self.wv):
            super().create_binary_tree()

    def _corpus(self, sentences: Any) -> EncodedCorpus | None:
        """The encoded corpus; None if it must be streamed."""
        return self._cache_of_corpora().encoded(sentences, self._scope, self.wv.key_to_index)

    def _cache_of_corpora(self) -> CorpusCache:
        if self._corpora is None:
            self._corpora = CorpusCache()
        return self._corpora

    # ---- checks ----------------------------------------------------------------------------------------------

    def _check_corpus_sanity(self, corpus_iterable=None, corpus_file=None, passes=1):
        """All of gensim's checks, and those for corpora that it would silently train nothing or letters on."""
        if isinstance(corpus_iterable, str | bytes):
            raise CorpusTypeError(
                f"sentences must be an iterable of lists of words, got the {type(corpus_iterable).__name__} "
                f"{corpus_iterable[:40]!r}. For a file use corpus_file=...; for one sentence use [sentence.split()]."
            )
        one_shot = isinstance(corpus_iterable, Iterator) and type(corpus_iterable).__module__ in (
            "builtins", "itertools"
        )  # fmt: skip
        if one_shot and passes > 1:
            raise CorpusTypeError(
                f"Using a {type(corpus_iterable).__name__} as sentences can't support {passes} passes: it is empty "
                "after the first. Use a list, or an object whose __iter__ starts anew."
            )
        if corpus_file is not None and corpus_iterable is None:
            remote = isinstance(corpus_file, str) and "://" in corpus_file
            if not remote and not os.path.isfile(corpus_file):
                raise CorpusFileError(
                    f"Parameter corpus_file must be a valid path to a file, got {corpus_file!r} instead"
                )
            return
        super()._check_corpus_sanity(corpus_iterable=corpus_iterable, corpus_file=corpus_file, passes=passes)

    def _check_training_sanity(self, epochs=0, total_examples=None, total_words=None, **kwargs):
        self._check_settings()
        if not self.wv.key_to_index and self._highest_count is not None:
            if self._highest_count == 0:
                raise EmptyVocabularyError("you must first build vocabulary before training: the corpus held no words")
            raise EmptyVocabularyError(
                f"you must first build vocabulary before training the model: no word occurs min_count={self.min_count} "
                f"times, the most frequent one occurs {self._highest_count} times. Lower min_count or give more text."
            )
        super()._check_training_sanity(epochs=epochs, total_examples=total_examples, total_words=total_words, **kwargs)

    # ---- training --------------------------------------------------------------------------------------------

    def train(
        self, corpus_iterable=None, corpus_file=None, total_examples=None, total_words=None,
        epochs=None, start_alpha=None, end_alpha=None, word_count=0,
        queue_factor=2, report_delay=1.0, compute_loss=False, callbacks=(),
        **kwargs,
    ):  # fmt: skip
        """Train as gensim's `Word2Vec.train` does, with the same arguments, callbacks, log lines and return value.

        `compute_loss=True` given to the constructor holds for every call; gensim's `train()` forgets it.

        Returns
        -------
        (int, int)
            Effective words (after unknown words and subsampling) and raw words, over all epochs.
        """
        # gensim reads `start_alpha or self.alpha`: an explicit 0 would count as not given.
        if start_alpha is not None:
            self.alpha = start_alpha
        if end_alpha is not None:
            self.min_alpha = end_alpha
        outer, self._scope = self._scope, self._scope or object()
        try:
            return super().train(
                corpus_iterable=corpus_iterable, corpus_file=corpus_file, total_examples=total_examples,
                total_words=total_words, epochs=epochs, word_count=word_count, queue_factor=queue_factor,
                report_delay=report_delay, compute_loss=compute_loss or self._loss_asked, callbacks=callbacks, **kwargs,
            )  # fmt: skip
        finally:
            self._run, self._scope = None, outer
            self._cache_of_corpora().forget_passing()

    def _overrides(self, hooks: tuple[str, ...]) -> list[str]:
        return [n for n in hooks if n in self.__dict__ or getattr(type(self), n) is not getattr(TorchWord2Vec, n)]

    def _train_epoch(
        self, data_iterable, cur_epoch=0, total_examples=None, total_words=None,
        queue_factor=2, report_delay=1.0, callbacks=(),
    ):  # fmt: skip
        hooks = self._overrides(_JOB_HOOKS)
        if hooks:
            return self._train_epoch_by_jobs(
                hooks, data_iterable, cur_epoch=cur_epoch, total_examples=total_examples, total_words=total_words,
                queue_factor=queue_factor, report_delay=report_delay, callbacks=callbacks,
            )  # fmt: skip
        return self._train_one_epoch(
            data_iterable, cur_epoch, total_examples, total_words, report_delay, callbacks, from_file=False
        )

    def _train_epoch_corpusfile(
        self, corpus_file, cur_epoch=0, total_examples=None, total_words=None, callbacks=(), **kwargs
    ):
        if not total_words:
            raise SettingError("total_words must be provided alongside corpus_file argument.")
        hooks = self._overrides(_FILE_HOOKS)
        if hooks:
            logger.warning("%s overrides %s: gensim's own routines train this corpus_file", type(self).__name__, hooks)
            return super()._train_epoch_corpusfile(
                corpus_file, cur_epoch=cur_epoch, total_examples=total_examples, total_words=total_words,
                callbacks=callbacks, **kwargs,
            )  # fmt: skip
        return self._train_one_epoch(
            self._cache_of_corpora().lines(corpus_file),
            cur_epoch,
            total_examples,
            total_words,
            1.0,
            callbacks,
            from_file=True,
        )

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
        known = len(corpus.token_ids) if corpus is not None else total_words or int(self.wv.expandos["count"].sum())
        neighbors = corpus.neighbors() if corpus is not None else math.inf
        run = self._begin_run(known, callbacks, neighbors)
        size = chunk_tokens(run.plan, run.in_flight, known, on_device=run.choice.device.type != "cpu")
        if corpus is not None:
            chunks = corpus.chunks(size)
        else:  # encoded in the background while the last chunk trains
            chunks = prefetched(stream_chunks(sentences, self.wv.key_to_index, size), depth=2)
        key = draw_key(self._draw_seed(), self.train_count, cur_epoch)

        def step_of(part: CorpusChunk) -> Step:
            if total_examples:
                done = part.examples_before / total_examples
            else:
                done = part.raw_words_before / max(total_words or 0, 1)
            return Step(self._get_next_alpha(done, cur_epoch), key, self.compute_loss)

        loss_before: float = self.running_training_loss
        nothing: Queue[None] = Queue()  # gensim's progress line asks for the length of a queue
        expected = total_words or (int(corpus.raw_offsets[-1]) if corpus is not None else 0)
        start = time.perf_counter() - 0.00001
        due = [1.0]

        bar = ProgressBar(self.progress_bar, cur_epoch, self.epochs, expected)

        def progress(report: EpochReport) -> None:
            elapsed = time.perf_counter() - start
            self.running_training_loss = loss_before + report.loss
            bar.update(report)
            if elapsed >= due[0]:
                self._log_progress(
                    None, nothing, cur_epoch, report.examples, total_examples, report.raw_words, total_words,
                    report.effective_words, elapsed,
                )  # fmt: skip
                due[0] = elapsed + report_delay

        with bar, closing(chunks):
            try:
                report = train_epoch(
                    run.engine, run.weights, chunks, step_of, threads=run.threads,
                    lockstep=self.deterministic and run.choice.engine == "torch", progress=progress,
                )  # fmt: skip
            except BaseException:  # Ctrl-C and errors leave what has been trained in the model
                put_back(self, run.weights)
                raise
        if report.chunks == 0 and self.train_count == 0:
            logger.warning(
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

    def _draw_seed(self) -> int:
        """The seed of the draws; where none was given, one from the model's own random state."""
        return int(self.seed) if self.seed is not None else int(self.random.randint(2**31))

    # ---- weights in, weights out -----------------------------------------------------------------------------

    def _begin_run(self, epoch_tokens: float, callbacks: Any, neighbors: float = math.inf) -> _Run:
        """The engine and weights of this train() call; made at its first epoch, refreshed where somebody may look."""
        run = self._run
        if run is not None:
            if callbacks or run.choice.device.type == "cpu":  # wv.vectors may be another array than before
                run.weights = weights_of(self, run.choice.device)
            return run
        choice = self.running_on
        several = choice.engine == "torch" and choice.device.type == "cpu"
        threads = self.workers if several else 1
        in_flight = LANES if several and self.deterministic else threads
        tables, objective = tables_of(self), objective_of(self)
        plan = make_plan(
            objective, tables, counts_of(self), threads=in_flight, epoch_tokens=epoch_tokens,
            on_device=choice.device.type != "cpu", neighbors=neighbors,
        )  # fmt: skip
        logger.info(
            "training on %s with engine %r (%s): %i threads, %i tokens a step",
            choice.device, choice.engine, choice.reason, threads, plan.step_tiles * plan.tile,
        )  # fmt: skip
        engine = choice.build(Job(objective, tables, plan))
        self._run = _Run(choice, engine, plan, threads, in_flight, weights_of(self, choice.device))
        return self._run

    def _end_epoch(self, run: _Run, report: EpochReport, cur_epoch: int, seconds: float, callbacks: Any) -> None:
        """Make the vectors current for whoever looks at them now, and write the epoch into the history."""
        if callbacks or cur_epoch + 1 == self.epochs:
            put_back(self, run.weights)
        self._clear_post_train()  # cached norms are those of the epoch before (gensim issue 3429)
        check_finite(self, cur_epoch)
        record = {
            "train_call": self.train_count, "epoch": cur_epoch, "alpha": self.min_alpha_yet_reached,
            "seconds": seconds, "raw_words": report.raw_words, "effective_words": report.effective_words,
        }  # fmt: skip
        if self.compute_loss:
            mean = report.loss / report.pairs if report.pairs else math.nan
            record |= {"pairs": report.pairs, "loss": report.loss, "mean_loss": mean}
        self.training_history.append(record)

    # ---- gensim's own job loop, for subclasses that override its hooks -----------------------------------------

    def _train_epoch_by_jobs(self, hooks: list[str], data_iterable: Any, cur_epoch: int, **kwargs: Any) -> Any:
        """Run gensim's loop of queues and threads, our engine in `_do_train_job`; errors reach the caller."""
        if cur_epoch == 0:
            logger.info("%s overrides %s: training job by job through gensim's loop", type(self).__name__, hooks)
        began, callbacks = time.perf_counter(), kwargs["callbacks"]
        run = self._begin_run(float(self.wv.expandos["count"].sum()), callbacks)
        run.report, run.error, run.position = EpochReport(), None, 0
        before = torch.get_num_threads()
        try:
            result = super()._train_epoch(data_iterable, cur_epoch=cur_epoch, **kwargs)
            if run.error is not None:
                raise run.error
        except BaseException as error:
            run.error = run.error or error  # tells the threads to stop
            put_back(self, run.weights)
            raise
        finally:
            torch.set_num_threads(before)
        run.report.effective_words, run.report.raw_words = result[0], result[1]
        self._end_epoch(run, run.report, cur_epoch, time.perf_counter() - began, callbacks)
        return result

    def _worker_loop(self, job_queue, progress_queue):
        """Run gensim's worker; an error is kept for the caller, and the queue is emptied so that nobody waits."""
        torch.set_num_threads(1)
        try:
            super()._worker_loop(job_queue, progress_queue)
        except BaseException as error:  # raised again by _train_epoch_by_jobs
            if self._run is not None:
                self._run.error = self._run.error or error
            while job_queue.get() is not None:
                pass
            progress_queue.put(None)

    def _job_producer(self, data_iterator, job_queue, cur_epoch=0, total_examples=None, total_words=None):
        """Run gensim's producer; it stops when a thread has failed, and an error of the corpus ends the workers."""
        run = self._run

        def until_failure() -> Iterator[Any]:
            for data in data_iterator:
                if run is not None and run.error is not None:
                    return
                yield data

        try:
            super()._job_producer(
                until_failure(), job_queue, cur_epoch=cur_epoch, total_examples=total_examples, total_words=total_words
            )
        except BaseException as error:  # raised again by _train_epoch_by_jobs
            if run is not None:
                run.error = run.error or error
            for _ in range(self.workers):
                job_queue.put(None)

    def _do_train_job(self, sentences, alpha, inits):
        """Train one job of gensim's loop with our engine. Subclasses may override this and call super().

        Parameters
        ----------
        sentences : list of lists of tokens
        alpha : float
        inits : tuple
            gensim's work memory; not needed here.

        Returns
        -------
        (int, int)
            Effective words and raw words of the job.
        """
        run = self._run or self._begin_run(float(self.wv.expandos["count"].sum()), ())
        corpus = encode(sentences, self.wv.key_to_index)
        with run.lock:
            position, run.position = run.position, run.position + len(corpus.token_ids)
        key = draw_key(self._draw_seed(), self.train_count, len(self.training_history))
        effective = 0
        for part in corpus.chunks(sys.maxsize, first_position=position):
            with torch.inference_mode():
                tally = run.engine.train_chunk(run.weights, part.chunk, Step(alpha, key, self.compute_loss))
            effective += tally.effective_words
            with run.lock:
                run.report.add(part, tally)
                self.running_training_loss += tally.loss
        return effective, self._raw_word_count(sentences)

    # ---- saving ----------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """The state for pickle, copy and save: without engines, devices and encoded corpora."""
        return {name: value for name, value in self.__dict__.items() if name not in _TRANSIENT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a pickled state; that of a plain gensim model too, which a patched gensim unpickles into this class."""
        self.__dict__.update(state)
        self.__dict__.setdefault("training_history", [])

    @classmethod
    def load(
        cls, *args, rethrow=False, device: DeviceLike = None, engine: str | None = None, **kwargs
    ) -> TorchWord2Vec:
        """Load a model that TorchWord2Vec or gensim's Word2Vec saved.

        Parameters
        ----------
        *args, rethrow, **kwargs
            As in gensim's `Word2Vec.load`.
        device, engine : optional
            Replace the saved settings, for training on another machine.

        Returns
        -------
        TorchWord2Vec
            A plain gensim Word2Vec is turned into this class; a model of another subclass comes back as it is.
        """
        model = super().load(*args, rethrow=rethrow, **kwargs)
        if type(model) is Word2Vec:
            model.__class__ = cls
            model.training_history = []
        if device is not None:
            model.device = device
        if engine is not None:
            model.engine = engine
        return model


@contextmanager
def _keys_set_aside(wv: KeyedVectors) -> Iterator[None]:
    """Make gensim read whole numbers as rows only, not first as keys."""
    key_to_index, wv.key_to_index = wv.key_to_index, {}
    try:
        yield
    finally:
        wv.key_to_index = key_to_index
