"""The command line: `torchw2v demo` and `encode`, also as `python -m torchw2v ...`. The only place that prints."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torchw2v
from torchw2v.cli_encode import add_encode, run_encode
from torchw2v.demo import run_demo
from torchw2v.errors import TorchW2VError


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="torchw2v", description="gensim's Word2Vec, trained by PyTorch.")
    parser.add_argument("--version", action="version", version=f"torchw2v {torchw2v.__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="train on a corpus that gensim carries and show neighbours")
    demo.add_argument("--output", type=Path, default=Path("torchw2v-demo-vectors.txt"), help="where the vectors go")
    demo.add_argument("--epochs", type=int, default=20)
    demo.add_argument("--workers", type=int, default=2, help="CPU threads")
    demo.add_argument("--device", help="auto (default), cpu, cuda, cuda:1, mps")
    add_encode(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0, or 1 after an error of the user's input."""
    args = _parser().parse_args(argv)
    try:
        if args.command == "encode":
            run_encode(args, _say)
        else:
            run_demo(args.output, epochs=args.epochs, workers=args.workers, device=args.device, say=_say)
    except (TorchW2VError, OSError, ValueError) as error:
        sys.stderr.write(f"torchw2v: {error}\n")
        return 1
    return 0
