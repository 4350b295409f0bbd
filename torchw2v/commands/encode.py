"""`torchw2v encode`: a text into an encoded corpus that models of any settings can be trained from."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from torchw2v.commands.console import require_writable, say, whole
from torchw2v.encoding import encode_file, up_to_date


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Register the command."""
    parser = commands.add_parser("encode", help="turn a text into a file of token ids, for corpora larger than memory")
    parser.add_argument("corpus", help="text, a sentence a line; may be compressed or remote")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the encoded corpus, e.g. corpus.tok")
    parser.add_argument(
        "--workers", type=whole(1), default=os.cpu_count() or 1, help="CPU threads (default: all cores)"
    )
    parser.add_argument("--max-sentence-length", type=whole(1), help="cut lines of more words (default: never)")
    parser.set_defaults(run=run)
    parser.add_argument("--force", action="store_true", help="encode also where the output is up to date")


def run(args: argparse.Namespace) -> None:
    """Encode, unless the output was made from the same unchanged file in the same way."""
    require_writable(str(args.output))
    found = None if args.force else up_to_date(args.corpus, args.output, args.max_sentence_length)
    if found is not None:
        say(f"{args.output} is up to date: {found.tokens:,} words in {found.sentences:,} sentences")
        return
    started = time.perf_counter()
    done = encode_file(args.corpus, args.output, workers=args.workers, longest=args.max_sentence_length)
    seconds = time.perf_counter() - started
    say(
        f"{args.output}: {done.tokens:,} words in {done.sentences:,} sentences, {done.header['types']:,} word types; "
        f"{seconds:.1f} s, {done.tokens / seconds:,.0f} words/s"
    )
