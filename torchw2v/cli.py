"""The command line: `torchw2v COMMAND ...`, also as `python -m torchw2v COMMAND ...`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

import torchw2v
from torchw2v.commands import analogy, demo, encode, evaluate, run, similar, train
from torchw2v.commands.console import complain
from torchw2v.errors import TorchW2VError

COMMANDS = (train, encode, similar, analogy, evaluate, run, demo)

EXIT_ERROR = 1  # something given is wrong: a file, a word, a device; argparse exits with 2 for wrong usage
EXIT_BY_SIGNAL = 128  # plus the signal's number, as shells report it


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="torchw2v",
        description="gensim's Word2Vec, trained by PyTorch.",
        epilog="torchw2v COMMAND --help shows a command's arguments. Exit codes: 0 done, 1 something given is wrong "
        "(a file, a word, a device), 2 wrong usage, 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"torchw2v {torchw2v.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_parser(commands)
    for subparser in commands.choices.values():
        subparser.set_defaults(usage_error=subparser.error)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command. Returns the exit code; wrong usage raises SystemExit(2)."""
    args, strange = _parser().parse_known_args(argv)
    if strange:  # said by the command's own parser, so that its usage is shown
        args.usage_error(f"unrecognized arguments: {' '.join(strange)}")
    if args.command == "run":
        return run.run_command(args)  # the program's errors are its own
    try:
        return args.run(args) or 0
    except BrokenPipeError:  # whoever read our output has enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest of the buffer goes there at exit
        return EXIT_BY_SIGNAL + 13  # SIGPIPE, which is no name on every platform
    except KeyboardInterrupt:
        complain("interrupted")
        return EXIT_BY_SIGNAL + signal.SIGINT
    except OSError as error:
        named = error.filename is not None and error.strerror
        complain(f"{error.filename}: {error.strerror}" if named else str(error))
    except MemoryError as error:
        complain(f"not enough memory: {error}")
    except (TorchW2VError, ValueError) as error:
        complain(str(error.args[0]) if isinstance(error, KeyError) else str(error))
    return EXIT_ERROR
