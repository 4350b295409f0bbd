"""`torchw2v similar VECTORS QUERY...`: the nearest words of each query, all queries answered at once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from itertools import islice

from gensim.models import KeyedVectors

from torchw2v.commands import vectors
from torchw2v.commands.console import complain, say, whole
from torchw2v.queries import most_similar_batch

QUERIES_AT_ONCE = 1024  # of standard input


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "similar",
        help="show the nearest words",
        description="Prints query, word and cosine similarity, separated by tabs, the nearest word first. "
        + vectors.FORMATS,
    )
    vectors.add_vectors(parser)
    parser.add_argument(
        "queries", metavar="QUERY", nargs="+",
        help="a word, or several in quotes, whose vectors are averaged; - reads one query a line from standard input",
    )  # fmt: skip
    parser.add_argument("--topn", metavar="N", type=whole(1), default=10, help="words for each query (default: 10)")
    parser.add_argument("--restrict-vocab", type=whole(1), metavar="N", help="search only the first N words")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer the queries. Returns 1 if a word was unknown, after the others have been answered."""
    wv = vectors.opened(args)
    asked, missing = _asked(args.queries), False
    while batch := list(islice(asked, QUERIES_AT_ONCE)):
        queries = []
        for query in batch:
            words = [query] if query in wv else query.split()
            strange = [word for word in words if word not in wv]
            for word in strange:
                complain(vectors.unknown(wv, word, args.vectors))
            if words and not strange:
                queries.append((query, words))
            missing = missing or bool(strange)
        _answer(wv, queries, args)
    return 1 if missing else 0


def _asked(queries: Iterable[str]) -> Iterator[str]:
    for query in queries:
        if query == "-":
            yield from (line.strip() for line in sys.stdin)
        else:
            yield query


def _answer(wv: KeyedVectors, queries: list[tuple[str, list[str]]], args: argparse.Namespace) -> None:
    answers = most_similar_batch(
        wv, [words for _, words in queries], args.topn, restrict_vocab=args.restrict_vocab, device=args.device
    )
    lines = [
        f"{query}\t{word}\t{score:.4f}"
        for (query, _), found in zip(queries, answers, strict=True)
        for word, score in found
    ]
    if lines:
        say("\n".join(lines))
