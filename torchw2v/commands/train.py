"""`torchw2v train`: word2vec.c's and gensim's flags, and long ones that say what they mean."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchw2v.commands.console import complain, decimal, require_file, require_writable, say, tell, whole
from torchw2v.commands.evaluate import RESTRICT_VOCAB, analogy_lines
from torchw2v.constants import GENSIMS_LOGGER
from torchw2v.errors import EmptyVocabularyError
from torchw2v.ops.select import ENGINES
from torchw2v.vocabulary_file import SENTENCE_END, read_vocabulary, write_vocabulary
from torchw2v.word2vec import TorchWord2Vec

ALPHA = {0: 0.025, 1: 0.05}  # word2vec.c's, by cbow
QUIET, SUMMARY, PROGRESS = 0, 1, 2  # -debug; above PROGRESS log lines even where there is a bar
LOGGERS = (GENSIMS_LOGGER, "torchw2v")

DESCRIPTION = """Trains word vectors on text: a sentence a line, words separated by white space. The short flags are
those of word2vec.c and of gensim's word2vec_standalone. Defaults are gensim's script's (which are word2vec.c's, but for
-threads: 3, not 12), so training is CBOW unless --sg or -cbow 0 is given."""
EPILOG = """Without -output, vectors and model go where gensim's script puts them: text.txt gives text.model and
text.model.txt (with -binary 1 text.model.bin); with -save-vocab alone only the vocabulary is written, as by word2vec.c.
Everything that is not asked for as a file or by -accuracy is said on standard error."""


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "train", help="train vectors on a text file", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False
    )
    _add_files(parser.add_argument_group("files"))
    _add_model(parser.add_argument_group("model"))
    _add_running(parser.add_argument_group("running"))
    parser.set_defaults(run=run)


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-train", "--corpus", dest="corpus", metavar="FILE", required=True, help="text; may be compressed or remote")
    add("-output", "--output", metavar="FILE", help="word vectors in word2vec's format; compressed if it ends in .gz")
    add("-binary", "--binary", type=int, choices=(0, 1), nargs="?", const=1, default=0,
        help="1: the binary format; 0 (default): text")  # fmt: skip
    add("-save-vocab", "--save-vocab", metavar="FILE", help="write words and counts, before training")
    add("-read-vocab", "--read-vocab", metavar="FILE", help="take words and counts from here, not from the text")
    add("--save-model", metavar="FILE", help="the whole model, which can be trained on (gensim's save())")
    add("-accuracy", "--accuracy", metavar="FILE", help="print the share of these analogies that is solved in the end")


def _add_model(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-size", "--vector-size", dest="vector_size", metavar="N", type=whole(1), default=100,
        help="dimensions (default: 100)")  # fmt: skip
    add("-window", "--window", metavar="N", type=whole(1), default=5, help="words on each side at most (default: 5)")
    add("-sample", "--sample", metavar="N", type=decimal(0), default=1e-3,
        help="words above this share of the text are thinned out (default: 1e-3; 0: off)")  # fmt: skip
    add("-hs", "--hs", type=int, choices=(0, 1), nargs="?", const=1, default=0, help="1: hierarchical softmax")
    add("-negative", "--negative", metavar="N", type=whole(0), default=5,
        help="negative examples (default: 5; 0: none)")  # fmt: skip
    add("--objective", choices=("softmax",), help="the full softmax, in place of its approximations -hs and -negative")
    add("--optimizer", choices=("sgd", "adagrad"), default="sgd",
        help="adagrad: a learning rate for each row; needs a higher -alpha (default: sgd, -alpha for all)")  # fmt: skip
    add("-min-count", "-min_count", "--min-count", dest="min_count", metavar="N", type=whole(0), default=5,
        help="leave out words that are rarer (default: 5)")  # fmt: skip
    add("-alpha", "--alpha", metavar="N", type=decimal(0, above=True),
        help="learning rate at the start (default: 0.05 for CBOW, 0.025 for skip-gram)")  # fmt: skip
    add("--min-alpha", metavar="N", type=decimal(0), default=1e-4, help="and at the end (default: 1e-4)")
    add("-iter", "--epochs", dest="epochs", metavar="N", type=whole(1), default=5,
        help="passes over the text (default: 5)")  # fmt: skip
    kind = group.add_mutually_exclusive_group()
    # The default as text: argparse does not see a conflict where what is given is the default itself.
    kind.add_argument("-cbow", type=int, choices=(0, 1), default="1", help="1 (default): CBOW, 0: skip-gram")
    kind.add_argument("--cbow", dest="cbow", action="store_const", const=1, help="CBOW")
    kind.add_argument("--sg", dest="cbow", action="store_const", const=0, help="skip-gram")
    add("--cbow-mean", type=int, choices=(0, 1), default=1, help="0: sum the context instead of averaging it")
    add("--cbow-gradient", choices=("word2vec", "corrected"), default="word2vec",
        help="corrected: CBOW's true gradient; needs a higher -alpha with the mean")  # fmt: skip
    add("--ns-exponent", metavar="N", type=float, default=0.75, help="of counts, for drawing negatives (default: 0.75)")
    add("-classes", metavar="N", type=int, default=0, help="word2vec.c's clusters; only 0 is offered")


def _add_running(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-threads", "--workers", dest="workers", metavar="N", type=whole(1), default=3, help="CPU threads (default: 3)")
    add("--device", help="auto (default), cpu, cuda, cuda:1, mps")
    add("--engine", choices=ENGINES, help="auto (default) takes the fastest that the device can run")
    add("--seed", metavar="N", type=int, default=1, help="of initial vectors and draws (default: 1)")
    add("--deterministic", action="store_true", help="the same vectors whatever --workers is (CPU)")
    add("--loss", action="store_true", help="add the mean loss by epoch to the summary")
    add("-debug", "--debug", type=whole(0), default=PROGRESS, metavar="N",
        help="0: only warnings; 1: a summary; 2 (default): progress, too; 3: log lines instead of a bar")  # fmt: skip
    add("--quiet", dest="debug", action="store_const", const=QUIET, help="the same as -debug 0")


def run(args: argparse.Namespace) -> int:
    """Train, and write what was asked for."""
    _check(args)
    only_vocabulary = args.save_vocab is not None and not (args.output or args.save_model or args.accuracy)
    vectors, saved_model = (None, None) if only_vocabulary else _destinations(args)
    for path in (args.save_vocab, vectors, saved_model):
        _check_destination(path, args)
    bar = args.debug == PROGRESS and sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None
    with _log_lines(args.debug >= PROGRESS and not bar):
        model = _make_model(args, bar)
        _build_vocabulary(model, args)
        if args.save_vocab is not None:
            write_vocabulary(model.wv, args.save_vocab)
        if not only_vocabulary:
            model.train(
                corpus_file=args.corpus, total_examples=model.corpus_count, total_words=model.corpus_total_words,
                epochs=model.epochs, compute_loss=args.loss,
            )  # fmt: skip
            _write(model, vectors, saved_model, args)
    if args.debug >= SUMMARY:
        _summarize(model, [path for path in (args.save_vocab, vectors, saved_model) if path is not None], args)
    return _accuracy(model, args) if args.accuracy is not None else 0


# ---- before training -------------------------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> None:
    if args.classes:
        args.usage_error("-classes is not offered: cluster the vectors with scikit-learn, say")
    if not args.hs and not args.negative and args.objective is None:
        args.usage_error("-hs 0 with -negative 0 leaves nothing to train: set one of them")
    for path in (args.corpus, args.read_vocab, args.accuracy):  # now, not after training
        require_file(path)
    if args.read_vocab is not None and args.read_vocab == args.save_vocab:
        args.usage_error(f"-read-vocab and -save-vocab are both {args.read_vocab}")


def _destinations(args: argparse.Namespace) -> tuple[str, str | None]:
    """Where the vectors and the model go; where nothing is said, beside the text, as gensim's script has it."""
    if args.output is not None or args.save_model is not None:
        return args.output, args.save_model
    text = Path(args.corpus)
    model = str(text.with_name(text.name.split(".")[0] or text.name)) + ".model"
    return model + (".bin" if args.binary else ".txt"), model


def _check_destination(path: str | None, args: argparse.Namespace) -> None:
    """Fail before hours of training, not after them."""
    if path is not None and all(map(os.path.exists, (path, args.corpus))) and os.path.samefile(path, args.corpus):
        args.usage_error(f"{path} is the text itself; write to another file")
    require_writable(path)


@contextmanager
def _log_lines(wanted: bool) -> Iterator[None]:
    """Show log lines, gensim's and ours, on standard error: progress each second, and the end of each epoch."""
    if not wanted:
        yield
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s : %(levelname)s : %(message)s"))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, (level, propagate) in zip(loggers, before, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


def _make_model(args: argparse.Namespace, bar: bool) -> TorchWord2Vec:
    return TorchWord2Vec(
        vector_size=args.vector_size, window=args.window, min_count=args.min_count, sample=args.sample,
        sg=1 - args.cbow, hs=args.hs, negative=args.negative, cbow_mean=args.cbow_mean, ns_exponent=args.ns_exponent,
        alpha=ALPHA[args.cbow] if args.alpha is None else args.alpha, min_alpha=args.min_alpha, epochs=args.epochs,
        workers=args.workers, seed=args.seed, device=args.device, engine=args.engine, objective=args.objective,
        cbow_gradient=args.cbow_gradient, optimizer=args.optimizer,
        deterministic=args.deterministic, progress_bar=bar,
    )  # fmt: skip


def _build_vocabulary(model: TorchWord2Vec, args: argparse.Namespace) -> None:
    if args.read_vocab is None:
        model.build_vocab(corpus_file=args.corpus)
        source = args.corpus
    else:
        counts, source = read_vocabulary(args.read_vocab), args.read_vocab
        # One pass over the text all the same: it is encoded in it, and the learning rate falls by its true length.
        model.corpus_total_words, sentences = model.scan_vocab(corpus_file=args.corpus)
        if SENTENCE_END in counts and SENTENCE_END not in model.raw_vocab:
            del counts[SENTENCE_END]
        # gensim sorts by count, and of equal counts takes the later word first: reversed, the order is the file's.
        model.build_vocab_from_freq(dict(reversed(counts.items())), corpus_count=sentences)
    if not len(model.wv):
        raise EmptyVocabularyError(
            f"{source}: no word occurs -min-count {model.min_count} times; lower it or give more text"
        )


# ---- after training --------------------------------------------------------------------------------------------------


def _write(model: TorchWord2Vec, vectors: str | None, saved_model: str | None, args: argparse.Namespace) -> None:
    if vectors is not None:
        model.wv.save_word2vec_format(vectors, binary=bool(args.binary))
        if vectors.endswith(".bin") and not args.binary:
            complain(f"warning: {vectors} is text in spite of its name; for the binary format give -binary 1")
    if saved_model is not None:
        model.save(saved_model)


def _summarize(model: TorchWord2Vec, written: list[str], args: argparse.Namespace) -> None:
    tell(
        f"Vocabulary: {len(model.wv):,} words; text: {model.corpus_total_words:,} words in {model.corpus_count:,} lines"
    )
    history = model.training_history
    if history:
        seconds = sum(epoch["seconds"] for epoch in history) or 1e-9
        choice = model.running_on
        tell(
            f"Trained {len(history)} epochs in {seconds:.1f} s on {choice.device} with engine {choice.engine!r}: "
            f"{sum(epoch['raw_words'] for epoch in history) / seconds:,.0f} raw words/s"
        )
        if args.loss:
            tell("Mean loss per pair, by epoch: " + ", ".join(f"{epoch['mean_loss']:.4f}" for epoch in history))
    for path in written:
        tell(f"Wrote {path}")


def _accuracy(model: TorchWord2Vec, args: argparse.Namespace) -> int:
    lines = analogy_lines(model.wv, args.accuracy, RESTRICT_VOCAB, True, True, args.device)
    if lines:
        say("\n".join(lines))
    return 0 if lines else 1
