"""`python -m torchw2v run program.py ...`: a program as Python runs it, with gensim's Word2Vec replaced by ours."""

from __future__ import annotations

import argparse
import io
import os
import runpy
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from torchw2v.patch import SWITCH, patch_gensim

USAGE = "%(prog)s program.py [argument ...]\n       %(prog)s -m module [argument ...]"
_NO_PREFIX = "\0"  # options after `run` are the program's, so none begins with a character that arguments have
_PACKAGE = str(Path(__file__).parent.parent)
_STARTUP = str(Path(__file__).parent.parent / "startup")


def add_parser(commands: Any) -> None:
    """Add `run` to the subparsers of a command line; `args.command` is then "run" and `args.program` its arguments."""
    parser = commands.add_parser(
        "run", prefix_chars=_NO_PREFIX, add_help=False, usage=USAGE,
        help="run a program, unchanged, with gensim's Word2Vec replaced by TorchWord2Vec",
        description="Run a program as Python would, with gensim's Word2Vec replaced by TorchWord2Vec in it and in the "
        "Python processes that it starts.",
    )  # fmt: skip
    parser.add_argument("program", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run_parser=parser)


def run_command(args: argparse.Namespace) -> int:
    """Patch gensim and run `args.program`. Returns an exit code; what the program raises, SystemExit too, goes through.

    Exit codes are Python's own: 2 for a file that cannot be opened, 1 for a module that is not found.
    """
    program: list[str] = args.program
    if program[:1] in (["-h"], ["--help"]):
        args.run_parser.print_help()
        return 0
    if not program or program == ["-m"] or (program[0].startswith("-") and program[0] != "-m"):
        args.run_parser.error("give a program: program.py, or -m module")
    patch_gensim()
    patch_children()
    return run_program(program)


def patch_children() -> None:
    """Have the Python processes that this one starts patched too, by startup/sitecustomize.py on PYTHONPATH."""
    os.environ[SWITCH] = "1"
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if paths[0] != _STARTUP:
        os.environ["PYTHONPATH"] = os.pathsep.join([_STARTUP, *filter(None, paths)])


def run_program(program: list[str]) -> int:
    """Run [path, argument, ...] or ["-m", module, argument, ...] as `python` does."""
    try:
        if program[0] == "-m":
            sys.argv = program[1:]
            _set_first_path(os.getcwd())
            runpy.run_module(program[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = program
            _run_path(program[0])
    except _CannotOpenError as error:
        sys.stderr.write(f"torchw2v run: {error}\n")
        return 2
    except SystemExit:
        raise
    except BaseException as error:
        trace = _own_frames(error.__traceback__)
        if trace is None and isinstance(error, ImportError):
            sys.stderr.write(f"torchw2v run: {error}\n")
            return 1
        _show_only(trace)
        raise
    return 0


class _CannotOpenError(Exception):
    """The program's file cannot be read."""


def _run_path(path: str) -> None:
    if os.path.isdir(path) or path.endswith((".zip", ".pyz")):  # with a __main__.py inside
        runpy.run_path(path, run_name="__main__")
        return
    full = os.path.join(os.getcwd(), path)  # as Python makes __file__
    try:
        with io.open_code(full) as file:
            source = file.read()
    except OSError as error:
        raise _CannotOpenError(f"can't open file {full!r}: [Errno {error.errno}] {error.strerror}") from error
    code = compile(source, full, "exec", dont_inherit=True)
    _set_first_path(os.path.dirname(os.path.realpath(full)))
    # Not runpy.run_path, which takes __main__ away before exit handlers run, and makes sys.argv[0] absolute.
    main = ModuleType("__main__")
    main.__dict__.update(
        __file__=full, __cached__=None, __loader__=SourceFileLoader("__main__", full), __builtins__=__builtins__
    )
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def _set_first_path(folder: str) -> None:
    """The first place to import from: as after `python program.py`, and not that of torchw2v's own start."""
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = folder


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that belongs to the program: without our frames and runpy's at its top."""
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if not name.startswith(_PACKAGE + os.sep) and name not in ("<frozen runpy>", runpy.__file__):
            return trace
        trace = trace.tb_next
    return None


def _show_only(trace: TracebackType | None) -> None:
    """Let the exception under way be printed with this traceback, by whatever hook the program has set."""
    hook = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        hook(kind, error.with_traceback(trace), trace)

    sys.excepthook = show
