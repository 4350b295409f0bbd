"""`torchw2v analogy VECTORS king - man + woman`: words near a sum of words."""

from __future__ import annotations

import argparse

from torchw2v.commands import vectors
from torchw2v.commands.console import complain, say, whole
from torchw2v.queries import most_similar_batch


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "analogy",
        help="solve king - man + woman = ?",
        description="Prints word and cosine similarity, separated by a tab, the best first. " + vectors.FORMATS,
    )
    vectors.add_vectors(parser)
    parser.add_argument(
        "expression", metavar="WORD", nargs="+",
        help="king - man + woman; or three words A B C as in word2vec's word-analogy: A is to B as C is to what?, that "
        "is B - A + C (man king woman)",
    )  # fmt: skip
    parser.add_argument("--topn", metavar="N", type=whole(1), default=10, help="words to print (default: 10)")
    parser.add_argument("--restrict-vocab", type=whole(1), metavar="N", help="search only the first N words")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Answer the analogy."""
    try:
        positive, negative = parse(" ".join(args.expression).split())
    except ValueError as error:
        args.usage_error(str(error))
    wv = vectors.opened(args)
    strange = [word for word in positive + negative if word not in wv]
    for word in strange:
        complain(vectors.unknown(wv, word, args.vectors))
    if strange:
        return 1
    answers = most_similar_batch(
        wv, [positive], args.topn, negative=[negative], restrict_vocab=args.restrict_vocab, device=args.device
    )
    say("\n".join(f"{word}\t{score:.4f}" for word, score in answers[0]))
    return 0


def parse(tokens: list[str]) -> tuple[list[str], list[str]]:
    """The words to add and to subtract.

    Example: king - man + woman -> ["king", "woman"], ["man"]; and man king woman -> the same

    Raises
    ------
    ValueError
        Neither three words nor words with + and - between them.
    """
    if len(tokens) == 3 and not {"+", "-"} & set(tokens):
        return [tokens[1], tokens[2]], [tokens[0]]
    terms: dict[str, list[str]] = {"+": [], "-": []}
    signs = tokens if tokens and tokens[0] in terms else ["+", *tokens]
    pairs = list(zip(signs[::2], signs[1::2], strict=False))
    if len(signs) % 2 or any(sign not in terms or word in terms for sign, word in pairs):
        raise ValueError(
            f"{' '.join(tokens)!r} is no analogy: give words with + or - between them (king - man + woman), or three "
            "words (man king woman)"
        )
    for sign, word in pairs:
        terms[sign].append(word)
    return terms["+"], terms["-"]
