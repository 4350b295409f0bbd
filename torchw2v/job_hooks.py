"""gensim's own job loop, for subclasses that override its hooks: its queues and threads, our engine."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch

from torchw2v.corpus_checks import refuse_used_up
from torchw2v.epochs import EpochTraining
from torchw2v.gensim_state import put_back
from torchw2v.ops.contract import Step
from torchw2v.ops.draws import draw_key
from torchw2v.scan import encode
from torchw2v.trainer import train_at_once

logger = logging.getLogger(__name__)

# Methods of gensim's job loop. Where a subclass overrides one, that loop runs, so that the override is called.
JOB_HOOKS = (
    "_do_train_job", "_raw_word_count", "_get_thread_working_mem", "_worker_loop", "_job_producer",
    "_log_epoch_progress",
)  # fmt: skip
FILE_HOOKS = ("_do_train_epoch", "_worker_loop_corpusfile")


class JobHooks(EpochTraining):
    """The methods of gensim's job loop, so that an error in a thread reaches the caller."""

    def _overrides(self, hooks: tuple[str, ...]) -> list[str]:
        return [n for n in hooks if n in self.__dict__ or getattr(type(self), n) is not getattr(JobHooks, n)]

    def _train_epoch_by_jobs(self, hooks: list[str], data_iterable: Any, cur_epoch: int, **kwargs: Any) -> Any:
        """Run gensim's loop of queues and threads, our engine in `_do_train_job`; errors reach the caller."""
        if cur_epoch == 0:
            logger.info("%s overrides %s: training job by job through gensim's loop", type(self).__name__, hooks)
        began, callbacks = time.perf_counter(), kwargs["callbacks"]
        run, position = self._begin_epoch(cur_epoch, None, float(self.wv.expandos["count"].sum()), callbacks)
        report = position.state.report
        run.report, run.error, run.position = report, None, 0
        self.running_training_loss = position.loss_before + report.loss
        before = torch.get_num_threads()
        try:
            result = (report.effective_words, report.raw_words, report.chunks)
            if not position.complete:
                result = super()._train_epoch(data_iterable, cur_epoch=cur_epoch, **kwargs)
            if run.error is not None:
                raise run.error
        except BaseException as error:
            run.error = run.error or error  # tells the threads to stop
            put_back(self, run.weights)
            raise
        finally:
            torch.set_num_threads(before)
        if run.report.chunks == 0 and cur_epoch == 0:
            refuse_used_up(data_iterable, self.epochs)
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
            tally = train_at_once(run.engine, run.weights, part.chunk, Step(alpha, key, self.compute_loss), run.lock)
            effective += tally.effective_words
            with run.lock:
                run.report.add(part, tally)
                self.running_training_loss += tally.loss
        return effective, self._raw_word_count(sentences)
