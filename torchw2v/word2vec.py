"""TorchWord2Vec: gensim's Word2Vec with another engine under it. A thin door: names, checks, delegation.

gensim's own code goes on doing everything but training: vocabulary rules, `wv`, saving, scoring, logging, the order
of callbacks. Replaced are the pass that counts words (`_scan_vocab`, which also encodes) and the two places where an
epoch is trained (`_train_epoch`, `_train_epoch_corpusfile`). A subclass that overrides one of gensim's job hooks
(`_do_train_job` and its like) is served by gensim's own job loop, with our engine inside.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from gensim.models import KeyedVectors

from torchw2v.callbacks import SinceEpoch, StopTraining
from torchw2v.checkpoint import CheckpointFolder
from torchw2v.constants import GENSIMS_LOGGER, WHOLE_SENTENCE
from torchw2v.corpus import EncodedCorpus
from torchw2v.corpus_cache import CorpusCache
from torchw2v.corpus_checks import check_single_pass, refuse_tensors, refuse_text
from torchw2v.errors import (
    CorpusFileError,
    EmptyVocabularyError,
    SettingError,
    TokenFileError,
)
from torchw2v.exchange import Exchange
from torchw2v.gensim_state import SGD, WORD2VEC, full_softmax, quick_attributes, take_in_added_words
from torchw2v.job_hooks import FILE_HOOKS, JOB_HOOKS, JobHooks
from torchw2v.objectives import Objectives
from torchw2v.ops.select import Choice, DeviceLike, choose
from torchw2v.optimizers import Optimizers
from torchw2v.plot.course import training_curve
from torchw2v.pretrained import Pretrained, Source
from torchw2v.queries import most_similar_batch
from torchw2v.resuming import Resuming
from torchw2v.scan import scan
from torchw2v.settings import check_numbers, check_sizes, check_types, naming_what_was_meant
from torchw2v.standin import StandIn
from torchw2v.tables import cumulative_table
from torchw2v.token_file import MappedCorpus, TokenFile, is_token_file
from torchw2v.vocabulary import counts_if_plain, fill_vocabulary

logger = logging.getLogger(__name__)
gensims_logger = logging.getLogger(GENSIMS_LOGGER)


class TorchWord2Vec(JobHooks, Resuming, Exchange, Objectives, Optimizers, metaclass=StandIn):
    """gensim's Word2Vec, trained by PyTorch. Every argument of gensim's keeps its name, place and default.

    From `sentences` to `shrink_windows` they mean what they mean in `gensim.models.Word2Vec`; named below are those
    that take more here, and ours.

    Parameters
    ----------
    corpus_file : str, optional
        May be compressed or remote (anything smart_open opens), or a corpus that `torchw2v encode` has made.
    workers : int
        CPU threads that read a corpus and train; on an accelerator one stream trains.
    batch_words : int
        Sizes the jobs of gensim's loop, which runs only for subclasses that override one of its hooks; otherwise chunks
        are sized by torchw2v.
    window : int or None
        None: the whole sentence, whatever its length, is the context of each of its words, as for item sets, which have
        no order; `shrink_windows` is off then. The attributes say so as gensim would: window=2**30.
    device : str or torch.device, optional
        "auto" (default), "cpu", "cuda", "cuda:1", "mps", ...
    engine : str, optional
        "auto" (default): "triton" on a CUDA device where Triton is installed, "numba" on a CPU where numba is, else
        "torch". "triton" multiplies in TF32 and keeps weights and sums in float32; "triton-ieee" multiplies in float32,
        more slowly. "numba" trains in gensim's order, in loops compiled at the first use (some ten seconds, kept on
        disk). "reference" is the slow definition that tiles are tested against.
    objective : str, optional
        None (default): what `hs` and `negative` say. "softmax": the full softmax over the vocabulary, which both
        approximate, at a cost that grows with the vocabulary (docs/softmax.md). `hs` is 0 then, and `negative` is left
        out or 0; only a gensim that trains the saved model further looks at it.
    cbow_gradient : str, optional
        What of the hidden row's error each of a CBOW center's m contexts gets. "word2vec" (default), as word2vec.c and
        gensim: all of it where the hidden row is their mean, 1/m of it where it is their sum. "corrected": the true
        gradient (Irsoy et al. 2021, arXiv:2012.15332), the other way round. With `cbow_mean=1` that moves contexts m
        times less, so give a higher alpha, such as 0.15 (docs/benchmarks.md). The full softmax always has the true
        gradient. Refused with sg=1.
    optimizer : str, optional
        "sgd" (default): alpha is the learning rate of all rows, as in gensim. "adagrad": each row of each matrix has
        its own, alpha over the root of the mean squares of its gradients so far, so that rare words learn faster and
        frequent ones settle (docs/kernels.md, "AdaGrad by rows"); alpha still falls from `alpha` to `min_alpha`, and
        has to be higher than with "sgd": give 0.25, say (docs/benchmarks.md). The sums are kept in the model and saved
        with it; a further `train()` goes on from them.
    deterministic : bool
        True: the same seed gives bit-equal vectors on one CPU model whatever `workers` is; engine "numba" then trains
        with one thread, "torch" with all in lockstep. With device="cuda" on one GPU model, by torch operations that add
        in a fixed order in place of the Triton kernels, and slower for it. False: threads share the weights without
        locks, and with more than one worker, or on a GPU, results differ from run to run, as in gensim.
    progress_bar : bool
        Show a tqdm bar per epoch (install torchw2v[progress]).
    checkpoint : path, optional
        A folder in which train() keeps the state of the run, so that `TorchWord2Vec.resume` can go on from there after
        a crash. The first checkpoint is written before the first word is trained, the last one when train() ends. A
        folder belongs to one run: while it holds an unfinished one, a new train() refuses it. Not saved with the model.
    checkpoint_seconds : float or None
        Write a checkpoint this many seconds after the last one (default 600). None: by words only.
    checkpoint_words : int or None
        Write a checkpoint this many raw words after the last one.
    init_from : KeyedVectors or path, optional
        Vectors of another model, or a file of them (word2vec's formats, GloVe's, what gensim or `save_safetensors`
        wrote). Words that they have start from them, when the vocabulary is built and, the new ones, when it is
        enlarged by `build_vocab(update=True)`; all others start at random. They are trained on like any others
        (`wv.vectors_lockf` can hold them), and the output matrix starts at zero. Not saved with the model.

    Attributes
    ----------
    running_on : torchw2v.ops.select.Choice
        Device and engine in use, and why.
    init_report : torchw2v.pretrained.InitReport or None
        Which words `init_from` gave their starting vectors.
    training_history : list of dict
        One entry per trained epoch: train_call, epoch, alpha (at its end), seconds, raw_words, effective_words,
        words_per_second (effective words, as in gensim's log), and with compute_loss=True pairs, loss (sum) and
        mean_loss (per pair). `plot_training()` draws it.

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

    _TRANSIENT = (
        "_run", "_corpora", "_scope", "_highest_count", "_keeper", "_resumed",
        "checkpoint", "checkpoint_seconds", "checkpoint_words", "_pretrained", "init_report",
    )  # fmt: skip

    # Defaults for models that plain gensim saved and for copies, which leave the transient state behind.
    device: DeviceLike = None
    engine: str | None = None
    deterministic: bool = False
    progress_bar: bool = False
    _loss_asked: bool = False  # by the constructor, so for every call of train()
    _corpora: CorpusCache | None = None
    _scope: object = None
    _highest_count: int | None = None

    @naming_what_was_meant
    def __init__(
        self, sentences=None, corpus_file=None, vector_size=100, alpha=0.025, window=5, min_count=5,
        max_vocab_size=None, sample=1e-3, seed=1, workers=3, min_alpha=0.0001,
        sg=0, hs=0, negative=5, ns_exponent=0.75, cbow_mean=1, hashfxn=hash, epochs=5, null_word=0,
        trim_rule=None, sorted_vocab=1, batch_words=10000, compute_loss=False, callbacks=(),
        comment=None, max_final_vocab=None, shrink_windows=True,
        *, device: DeviceLike = None, engine: str | None = None, objective: str | None = None,
        cbow_gradient: str = WORD2VEC, optimizer: str = SGD, deterministic: bool = False, progress_bar: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_seconds: float | None = 600.0, checkpoint_words: int | None = None,
        init_from: Source | None = None,
    ) -> None:  # fmt: skip
        self.device, self.engine, self.objective = device, engine, objective
        self.cbow_gradient, self.optimizer = cbow_gradient, optimizer
        self.deterministic, self.progress_bar = bool(deterministic), bool(progress_bar)
        self.checkpoint, self.checkpoint_seconds, self.checkpoint_words = (
            checkpoint, checkpoint_seconds, checkpoint_words,
        )  # fmt: skip
        self._loss_asked = bool(compute_loss)
        self.training_history: list[dict[str, Any]] = []
        self.vector_size, self.window, self.workers = vector_size, window, workers
        self.sg, self.hs, self.negative, self.shrink_windows = sg, hs, negative, shrink_windows
        self.alpha, self.min_alpha, self.sample, self.ns_exponent = alpha, min_alpha, sample, ns_exponent
        self._check_settings()
        check_types(vector_size=vector_size, epochs=epochs, min_count=min_count, sample=sample, seed=seed)
        if init_from is not None:
            self._pretrained = Pretrained(init_from, int(vector_size))
        if checkpoint is not None:
            CheckpointFolder(checkpoint).refuse_unfinished()  # before hours of counting words
        logger.debug("will train on %s", self.running_on)
        if "_stands_for" in vars(TorchWord2Vec):  # said once more: many programs set up logging after the patch
            logger.info("gensim.models.Word2Vec is torchw2v.TorchWord2Vec here: gensim is patched")
        self._scope = object()  # what is encoded in here to count words may also be trained on in here
        try:
            super().__init__(
                sentences=sentences, corpus_file=corpus_file, vector_size=vector_size, alpha=alpha, window=self.window,
                min_count=min_count, max_vocab_size=max_vocab_size, sample=sample, seed=seed, workers=workers,
                min_alpha=min_alpha, sg=sg, hs=hs, negative=negative, ns_exponent=ns_exponent, cbow_mean=cbow_mean,
                hashfxn=hashfxn, epochs=epochs, null_word=null_word, trim_rule=trim_rule, sorted_vocab=sorted_vocab,
                batch_words=batch_words, compute_loss=compute_loss, callbacks=callbacks, comment=comment,
                max_final_vocab=max_final_vocab, shrink_windows=self.shrink_windows,
            )  # fmt: skip
        finally:
            self._scope = None
            self._cache_of_corpora().forget_passing()

    @classmethod
    def _empty(cls, **settings: Any) -> Any:
        """A model without a vocabulary; like unpickling, it does not call a subclass's constructor."""
        model = cls.__new__(cls)
        TorchWord2Vec.__init__(model, **settings)
        return model

    # ---- what runs where -------------------------------------------------------------------------------------

    @property
    def running_on(self) -> Choice:
        """Device and engine that training uses, and why; follows changes of `device` and `engine`."""
        return choose(self.device, self.engine, deterministic=self.deterministic, softmax=full_softmax(self))

    def _check_settings(self) -> None:
        """Refuse sizes that gensim would crash on, hang on or silently train nothing with."""
        if self.window is None:
            self.window, self.shrink_windows = WHOLE_SENTENCE, False
        check_sizes(self)
        check_numbers(self)
        self._check_objective()
        self._check_cbow_gradient()
        self._check_optimizer()
        self._check_checkpoints()

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

        if isinstance(sentences, TokenFile):
            self.raw_vocab: Any = sentences.counts()
            return sentences.tokens, sentences.sentences

        def progress(sentence_no: int, words: int, types: int, sentence: Any) -> None:
            if not sentence_no and isinstance(sentence, str):
                gensims_logger.warning(
                    "Each 'sentences' item should be a list of words (usually unicode strings). "
                    "First item here is instead plain %s.",
                    type(sentence),
                )
            refuse_tensors(sentence)
            gensims_logger.info(
                "PROGRESS: at sentence #%i, processed %i words, keeping %i word types", sentence_no, words, types
            )

        scanned = scan(sentences, progress, progress_per, self.workers)
        self.raw_vocab = scanned.counts()
        cache.keep_scan(sentences, self._scope, scanned)
        return len(scanned.ids), len(scanned.raw_offsets) - 1

    def prepare_vocab(
        self, update=False, keep_raw_vocab=False, trim_rule=None, min_count=None, sample=None, dry_run=False
    ):
        """As gensim's; the highest count is remembered for the message of an empty vocabulary."""
        self._highest_count = max(self.raw_vocab.values(), default=0)
        plain = not update and not dry_run and trim_rule is None and self.max_final_vocab is None
        counts = counts_if_plain(self.raw_vocab) if plain else None
        if counts is not None and counts.max() >= (min_count or self.min_count):
            return fill_vocabulary(self, counts, min_count or self.min_count, sample or self.sample, keep_raw_vocab)
        with quick_attributes(self.wv):
            return super().prepare_vocab(
                update=update, keep_raw_vocab=keep_raw_vocab, trim_rule=trim_rule, min_count=min_count, sample=sample,
                dry_run=dry_run,
            )  # fmt: skip

    def make_cum_table(self, domain=2**31 - 1):
        """As gensim's, also for whole-number tokens, which gensim takes for row numbers here."""
        counts = self.wv.expandos.get("count")
        if counts is not None and len(counts) == len(self.wv) and counts.dtype == np.int64 and (counts > 0).all():
            self.cum_table = cumulative_table(counts, float(self.ns_exponent), domain)
            return
        with _keys_set_aside(self.wv):
            super().make_cum_table(domain=domain)

    def create_binary_tree(self):
        """As gensim's, also for whole-number tokens, which gensim takes for row numbers here."""
        with _keys_set_aside(self.wv):
            super().create_binary_tree()

    def _corpus(self, sentences: Any) -> EncodedCorpus | MappedCorpus | None:
        """The encoded corpus; None if it must be streamed."""
        return self._cache_of_corpora().encoded(sentences, self._scope, self.wv.key_to_index, self.workers)

    def _cache_of_corpora(self) -> CorpusCache:
        if self._corpora is None:
            self._corpora = CorpusCache()
        return self._corpora

    # ---- checks ----------------------------------------------------------------------------------------------

    def _check_corpus_sanity(self, corpus_iterable=None, corpus_file=None, passes=1):
        """All of gensim's checks, and those for corpora that it would silently train nothing or letters on."""
        refuse_text(corpus_iterable)
        refuse_tensors(corpus_iterable)
        if isinstance(corpus_iterable, list | tuple):
            refuse_tensors(*corpus_iterable[:1])
        check_single_pass(corpus_iterable, passes, counted_first=not self.wv.key_to_index, checkpoint=self.checkpoint)
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
        model = self._as_gensim_sees_outputs()  # else gensim would find nothing to train with hs=0 and negative=0
        super(TorchWord2Vec, model)._check_training_sanity(
            epochs=epochs, total_examples=total_examples, total_words=total_words, **kwargs
        )
        added = take_in_added_words(self)
        if added:
            logger.info("%d words were put into wv by hand: they get output rows of zeros and are trained, too", added)

    def plot_training(self) -> Any:
        """Draw loss (with compute_loss=True), learning rate and speed by epoch; see `torchw2v.plot.training_curve`.

        Returns
        -------
        matplotlib.figure.Figure
            For `figure.savefig(path)`; a notebook shows it.

        Raises
        ------
        ImportError
            The package matplotlib is missing: pip install 'torchw2v[plot]'.
        NothingToPlotError (a ValueError)
            No epoch has been trained.
        """
        return training_curve(self.training_history)

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
        compute_loss = compute_loss or self._loss_asked
        # gensim reads `start_alpha or self.alpha`: an explicit 0 would count as not given.
        if start_alpha is not None:
            self.alpha = start_alpha
        if end_alpha is not None:
            self.min_alpha = end_alpha
        outer, self._scope = self._scope, self._scope or object()
        calls, epochs_before = self.train_count, len(self.training_history)
        try:
            keeper = self._keeper = self._new_keeper(
                total_examples=total_examples, total_words=total_words, epochs=epochs, word_count=word_count,
                queue_factor=queue_factor, report_delay=report_delay, compute_loss=compute_loss,
            )  # fmt: skip
            if keeper is not None and keeper.first_epoch:
                callbacks = [SinceEpoch(callback, keeper.first_epoch) for callback in callbacks]
                epochs_before -= keeper.first_epoch
            try:
                words = super().train(
                    corpus_iterable=corpus_iterable, corpus_file=corpus_file, total_examples=total_examples,
                    total_words=total_words, epochs=epochs, word_count=word_count, queue_factor=queue_factor,
                    report_delay=report_delay, compute_loss=compute_loss, callbacks=callbacks, **kwargs,
                )  # fmt: skip
            except StopTraining:
                words = self._end_early(calls, self.training_history[epochs_before:], callbacks)
            if keeper is not None:
                keeper.finish()
            return words
        finally:
            self._run, self._keeper, self._scope = None, None, outer
            self._cache_of_corpora().forget_passing()

    def _train_epoch(
        self, data_iterable, cur_epoch=0, total_examples=None, total_words=None,
        queue_factor=2, report_delay=1.0, callbacks=(),
    ):  # fmt: skip
        if self._keeper is not None and cur_epoch < self._keeper.first_epoch:
            return self._keeper.epochs_done[cur_epoch]
        hooks = self._overrides(JOB_HOOKS)
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
        if self._keeper is not None and cur_epoch < self._keeper.first_epoch:
            return self._keeper.epochs_done[cur_epoch]
        hooks = self._overrides(FILE_HOOKS)
        if hooks:
            if self._keeper is not None:
                raise SettingError(
                    f"checkpoint={self.checkpoint!r} is not available: {type(self).__name__} overrides {hooks}, so "
                    "that gensim's routines train this corpus_file. Pass LineSentence(corpus_file) as sentences"
                )
            if is_token_file(corpus_file):
                raise TokenFileError(
                    f"{type(self).__name__} overrides {hooks}: gensim's own routines train then, which cannot read the "
                    f"encoded corpus {corpus_file}; give the text"
                )
            for name, gensims in (("cbow_gradient", WORD2VEC), ("optimizer", SGD)):
                if getattr(self, name) != gensims:
                    raise SettingError(
                        f"{name}={getattr(self, name)!r} is not available: {type(self).__name__} overrides {hooks}, so "
                        "that gensim's routines train this corpus_file. Pass LineSentence(corpus_file) as sentences"
                    )
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

    # ---- queries ---------------------------------------------------------------------------------------------

    def most_similar_batch(self, keys, topn=10, *, device: DeviceLike = None, **options):
        """Answer many `wv.most_similar` queries at once.

        Parameters
        ----------
        keys : iterable of queries
            Each a key, a vector, or a list of them.
        topn : int or None
            Answers to each query. None: the similarities of all rows.
        device : str or torch.device, optional
            Where the products are made; the model's own device if not given.
        **options
            negative, clip_start, clip_end, restrict_vocab: as in `torchw2v.most_similar_batch`.

        Returns
        -------
        list of list of (key, float), or array [Q, V]
            As `torchw2v.most_similar_batch`, whose errors these are, too.
        """
        where = self.running_on.device if device is None else device
        return most_similar_batch(self.wv, keys, topn, device=where, **options)


@contextmanager
def _keys_set_aside(wv: KeyedVectors) -> Iterator[None]:
    """Make gensim read whole numbers as rows only, not first as keys."""
    key_to_index, wv.key_to_index = wv.key_to_index, {}
    try:
        yield
    finally:
        wv.key_to_index = key_to_index
