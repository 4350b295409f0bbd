"""Who trained: counts of our models and epochs, and of calls of gensim's own training routines.

A program that ran well under the patch proves nothing unless our class was really made and trained, and gensim's
routines were left alone. `python -m compat.witness report.json --ours program.py ...` runs a program, or `-m module`,
under this watch, with gensim patched (`--ours`) or as it is (`--gensim`).
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import gensim.models.word2vec as gensims_module

from torchw2v.commands.run import patch_children, run_program
from torchw2v.patch import patch_gensim
from torchw2v.word2vec import TorchWord2Vec

# The compiled routines behind Word2Vec's _do_train_job and _do_train_epoch; FastText and Doc2Vec have others.
ROUTINES = ("train_batch_sg", "train_batch_cbow", "train_epoch_sg", "train_epoch_cbow")


@dataclass
class Counts:
    """What was seen in this process.

    Attributes
    ----------
    constructed : int
        Models of TorchWord2Vec or a subclass that were made by their constructor.
    epochs, effective_words : int
        What our engines trained.
    gensim_calls : dict
        Calls of gensim's training routines, by name.
    """

    constructed: int = 0
    epochs: int = 0
    effective_words: int = 0
    gensim_calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROUTINES, 0))

    def proves_ours(self) -> bool:
        """Our class was made and trained, and gensim trained nothing."""
        return bool(self.constructed and self.epochs and self.effective_words) and not any(self.gensim_calls.values())

    def proves_gensim(self) -> bool:
        """Gensim trained, and nothing of ours did: the control, which shows that the watch sees gensim's routines."""
        return any(self.gensim_calls.values()) and not self.constructed and not self.epochs

    def __str__(self) -> str:
        return (
            f"{self.constructed} TorchWord2Vec constructed, {self.epochs} epochs ({self.effective_words:,} effective "
            f"words) trained by our engines, {sum(self.gensim_calls.values())} calls of gensim's training routines"
        )


def watch() -> Counts:
    """Begin to count in this process."""
    counts = Counts()

    def before(function: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            note(*args)
            return function(*args, **kwargs)

        return watched

    def constructed(*_: Any) -> None:
        counts.constructed += 1

    def epoch_ended(_model: Any, _run: Any, report: Any, *_: Any) -> None:
        counts.epochs += 1
        counts.effective_words += report.effective_words

    def gensim_called(name: str, *_: Any) -> None:
        counts.gensim_calls[name] += 1

    TorchWord2Vec.__init__ = before(TorchWord2Vec.__init__, constructed)
    TorchWord2Vec._end_epoch = before(TorchWord2Vec._end_epoch, epoch_ended)
    for name in ROUTINES:
        routine = vars(gensims_module)[name]
        vars(gensims_module)[name] = before(routine, functools.partial(gensim_called, name))
    return counts


def main() -> int:
    """Run the program under watch; at its end the report has the counts as JSON."""
    report, side, *program = sys.argv[1:]
    if side not in ("--ours", "--gensim") or not program:
        sys.stderr.write("usage: python -m compat.witness report.json --ours|--gensim program.py|-m module ...\n")
        return 2
    counts, pid = watch(), os.getpid()

    def write() -> None:
        if os.getpid() == pid:  # a forked worker runs this too
            Path(report).write_text(json.dumps(asdict(counts)))

    atexit.register(write)
    if side == "--ours":
        patch_gensim()
        patch_children()
    return run_program(program)


if __name__ == "__main__":
    sys.exit(main())
