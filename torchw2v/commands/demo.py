"""`python -m torchw2v demo`: train on real text that gensim carries, look at neighbours, write the vectors."""

from __future__ import annotations

import argparse
import importlib.util
from pathlib import Path

from gensim.models.word2vec import LineSentence

from torchw2v.commands.console import require_writable, say, whole
from torchw2v.word2vec import TorchWord2Vec

CORPUS = "head500.noblanks.cor.bz2"  # 250 Wikipedia articles, 331,339 words, stemmed; part of gensim's test data
WORDS = ("apollo", "atom", "greek", "film", "music")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Register the command."""
    parser = commands.add_parser("demo", help="train on a corpus that gensim carries and show neighbours")
    parser.add_argument("--output", type=Path, default=Path("torchw2v-demo-vectors.txt"), help="where the vectors go")
    parser.add_argument("--epochs", type=whole(1), default=20)
    parser.add_argument("--workers", type=whole(1), default=2, help="CPU threads")
    parser.add_argument("--device", help="auto (default), cpu, cuda, cuda:1, mps")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Run the demo."""
    require_writable(str(args.output))
    run_demo(args.output, epochs=args.epochs, workers=args.workers, device=args.device)


def run_demo(output: Path, *, epochs: int = 20, workers: int = 2, device: str | None = None) -> TorchWord2Vec:
    """Train skip-gram with negative sampling and report speed, loss and neighbours.

    Parameters
    ----------
    output : Path
        Where the vectors go, in word2vec's text format.
    epochs, workers, device
        As in TorchWord2Vec.
    """
    from gensim.test.utils import datapath  # only here: it reads a corpus when it is imported

    corpus = LineSentence(datapath(CORPUS))
    say(f"Training skip-gram vectors on {CORPUS} (250 Wikipedia articles, stemmed; part of gensim's test data)")
    model = TorchWord2Vec(
        corpus, vector_size=100, window=5, min_count=5, sg=1, negative=5, epochs=epochs, workers=workers, seed=1,
        compute_loss=True, device=device, progress_bar=importlib.util.find_spec("tqdm") is not None,
    )  # fmt: skip
    choice = model.running_on
    say(f"\nRan on {choice.device} with engine {choice.engine!r} ({choice.reason})")
    say(f"Vocabulary: {len(model.wv):,} words; corpus: {model.corpus_total_words:,} words, {model.corpus_count} texts")
    losses = ", ".join(f"{epoch['mean_loss']:.3f}" for epoch in model.training_history)
    say(f"Mean loss per pair, by epoch: {losses}")
    first, later = model.training_history[0], model.training_history[1:] or model.training_history
    seconds = sum(epoch["seconds"] for epoch in later)
    raw, effective = (sum(epoch[name] for epoch in later) for name in ("raw_words", "effective_words"))
    say(
        f"Speed: {raw / seconds:,.0f} raw words/s, {effective / seconds:,.0f} effective words/s, the first epoch "
        f"({first['seconds']:.1f} s) left out: it compiles what this machine has not run before"
    )
    say("\nNearest neighbours:")
    for word in WORDS:
        neighbours = ", ".join(f"{other} {score:.2f}" for other, score in model.wv.most_similar(word, topn=6))
        say(f"  {word:>8}: {neighbours}")
    model.wv.save_word2vec_format(str(output))
    say(f"\nVectors written to {output.resolve()} (word2vec text format)")
    return model
