"""`torchw2v evaluate VECTORS`: word similarity and analogies, as gensim counts them."""

from __future__ import annotations

import argparse
import os

from gensim.models import KeyedVectors

from torchw2v.commands import vectors
from torchw2v.commands.console import complain, require_file, say, whole
from torchw2v.evaluation import Section, word_analogies

PAIRS = ("wordsim353.tsv", "simlex999.txt")
ANALOGIES = ("questions-words.txt",)
RESTRICT_VOCAB = 300_000  # gensim's default


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "evaluate",
        help="measure vectors on word similarity and analogies",
        description="Prints Spearman's rho for pairs of words and the share of analogies solved, as gensim's "
        "evaluate_word_pairs and evaluate_word_analogies count them: upper and lower case are one, and what has an "
        f"unknown word is left out. Without --pairs and --analogies: {', '.join(PAIRS + ANALOGIES)}, of gensim. "
        + vectors.FORMATS,
    )
    vectors.add_vectors(parser)
    parser.add_argument(
        "--pairs", metavar="FILE", action="append", default=[],
        help="two words and a number a line, separated by tabs (may be given several times)",
    )  # fmt: skip
    parser.add_argument(
        "--analogies", metavar="FILE", action="append", default=[],
        help="four words a line, in sections that start with ': NAME' (may be given several times)",
    )  # fmt: skip
    parser.add_argument("--sections", action="store_true", help="print each section of the analogies, too")
    parser.add_argument("--case-sensitive", action="store_true", help="upper and lower case differ")
    parser.add_argument(
        "--restrict-vocab", type=whole(1), metavar="N", default=RESTRICT_VOCAB,
        help=f"only the first N words are known (default: {RESTRICT_VOCAB:,}, as in gensim)",
    )  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a line for each file. Returns 1 if one of them could not be scored, after the others."""
    from gensim.test.utils import datapath  # only here: it reads a corpus when it is imported

    for path in args.pairs + args.analogies:
        require_file(path)
    wv, failed = vectors.opened(args), False
    defaults = not (args.pairs or args.analogies)
    for path in [datapath(name) for name in PAIRS] if defaults else args.pairs:
        failed |= not _pairs(wv, path, args)
    for path in [datapath(name) for name in ANALOGIES] if defaults else args.analogies:
        lines = analogy_lines(wv, path, args.restrict_vocab, not args.case_sensitive, args.sections, args.device)
        if lines:
            say("\n".join(lines))
        failed |= not lines
    return 1 if failed else 0


def _pairs(wv: KeyedVectors, path: str, args: argparse.Namespace) -> bool:
    try:
        pearson, spearman, unknown = wv.evaluate_word_pairs(
            path, restrict_vocab=args.restrict_vocab, case_insensitive=not args.case_sensitive
        )
    except ValueError as error:  # no pair is known, or the file has none
        complain(str(error))
        return False
    say(
        f"{os.path.basename(path):<30} Spearman {spearman[0]:.4f}  Pearson {pearson[0]:.4f}  "
        f"({unknown:.1f} % of the pairs have an unknown word)"
    )
    return True


def analogy_lines(
    wv: KeyedVectors, path: str, restrict_vocab: int, case_insensitive: bool, by_section: bool, device: str | None
) -> list[str]:
    """The score on a file of analogies, as lines to print; none, and a complaint, where no question can be asked."""
    sections = word_analogies(wv, path, restrict_vocab=restrict_vocab, case_insensitive=case_insensitive, device=device)
    total = Section(os.path.basename(path), [], [], 0)
    for section in sections:
        total.correct += section.correct
        total.incorrect += section.incorrect
        total.unknown += section.unknown
    if not total.correct and not total.incorrect:
        complain(f"{path}: all {total.unknown:,} questions have an unknown word")
        return []
    return [_line(total)] + [_line(section, indent="  ") for section in sections if by_section]


def _line(section: Section, indent: str = "") -> str:
    solved, asked = len(section.correct), len(section.correct) + len(section.incorrect)
    share = f"{solved / asked:7.2%} solved" if asked else "not asked"
    return f"{indent + section.name:<30} {share}  ({solved:,} of {asked:,}; {section.unknown:,} have an unknown word)"
