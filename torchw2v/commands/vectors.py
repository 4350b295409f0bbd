"""What the commands that open a file of vectors have in common."""

from __future__ import annotations

import argparse

from gensim.models import KeyedVectors

from torchw2v.commands.console import require_file, whole
from torchw2v.vectors_file import load_vectors

FORMATS = (
    "VECTORS is a file in word2vec's text or binary format (recognised by its content), text without a header (GloVe), "
    "or a model or vectors that gensim or torchw2v saved; it may be compressed. A saved model is a pickle, which can "
    "run code: open only files that you trust."
)


def add_vectors(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name the vectors and how to read them."""
    parser.add_argument("vectors", metavar="VECTORS", help="file of vectors")
    parser.add_argument("--limit", metavar="N", type=whole(1), help="read only so many words (word2vec formats)")
    parser.add_argument(
        "--unicode-errors", choices=("strict", "ignore", "replace"), default="strict", metavar="HOW",
        help="strict (default), ignore or replace: for words that are not UTF-8 (word2vec formats)",
    )  # fmt: skip
    parser.add_argument("--device", help="where to compute: auto (default), cpu, cuda, cuda:1, mps")


def opened(args: argparse.Namespace) -> KeyedVectors:
    """The vectors that the arguments name."""
    require_file(args.vectors)
    return load_vectors(args.vectors, limit=args.limit, unicode_errors=args.unicode_errors)


def unknown(wv: KeyedVectors, word: str, path: str) -> str:
    """The message for a word without a vector."""
    others = [other for other in (word.lower(), word.capitalize(), word.upper()) if other != word and other in wv]
    hint = f"; it has {others[0]!r}" if others else ""
    return f"{word!r} is not among the {len(wv):,} words of {path}{hint}"
