"""Who trained: counts of our models and epochs, and of calls of gensim's own training routines.

A program that ran well under the patch proves nothing unless our class was really made and trained, and gensim's
routines were left alone. `python -m compat.witness report.json numba program.py ...` runs a program, or `-m module`,
under this watch: with gensim patched and our engine of that name wherever the program asks for none, or, with "gensim"
in its place, with gensim as it is.
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

import torchw2v.word2vec
from torchw2v.commands.run import patch_children, run_program
from torchw2v.ops.select import Choice
from torchw2v.patch import patch_gensim
from torchw2v.word2vec import TorchWord2Vec

# The compiled routines behind Word2Vec's _do_train_job and _do_train_epoch; FastText and Doc2Vec have others.
ROUTINES = ("train_batch_sg", "train_batch_cbow", "train_epoch_sg", "train_epoch_cbow")
ENGINES = ("numba", "torch")  # on a CPU; each is a side of the proof
SIDES = ("gensim", *ENGINES)


@dataclass
class Counts:
    """What was seen in this process.

    Attributes
    ----------
    constructed : int
        Models of TorchWord2Vec or a subclass that were made by their constructor.
    epochs, effective_words : int
        What our engines trained.
    engines : dict
        These epochs, by the name of the engine that trained them.
    gensim_calls : dict
        Calls of gensim's training routines, by name.
    """

    constructed: int = 0
    epochs: int = 0
    effective_words: int = 0
    engines: dict[str, int] = field(default_factory=dict)
    gensim_calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ROUTINES, 0))

    def proves_ours(self, engine: str) -> bool:
        """Our class was made and trained, by this engine alone, and gensim trained nothing."""
        trained = self.constructed and self.effective_words and self.engines.get(engine) == self.epochs
        return bool(trained) and self.epochs > 0 and not any(self.gensim_calls.values())

    def proves_gensim(self) -> bool:
        """Gensim trained, and nothing of ours did: the control, which shows that the watch sees gensim's routines."""
        return any(self.gensim_calls.values()) and not self.constructed and not self.epochs

    def __str__(self) -> str:
        engines = ", ".join(f"{name} {epochs}" for name, epochs in self.engines.items()) or "none"
        return (
            f"{self.constructed} TorchWord2Vec constructed, {self.epochs} epochs ({self.effective_words:,} effective "
            f"words) trained by our engines ({engines}), {sum(self.gensim_calls.values())} calls of gensim's training "
            "routines"
        )


def watch(engine: str | None = None) -> Counts:
    """Begin to count in this process.

    Parameters
    ----------
    engine : str, optional
        Ours that trains, on a CPU, wherever neither engine nor device is asked for; what "auto" means if not given.
    """
    counts = Counts()

    def before(function: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:
            note(*args)
            return function(*args, **kwargs)

        return watched

    def constructed(*_: Any) -> None:
        counts.constructed += 1

    def epoch_ended(_model: Any, run: Any, report: Any, *_: Any) -> None:
        # Not the name that was chosen: the object that was handed the chunks.
        counts.engines[run.engine.name] = counts.engines.get(run.engine.name, 0) + 1
        counts.epochs += 1
        counts.effective_words += report.effective_words

    def gensim_called(name: str, *_: Any) -> None:
        counts.gensim_calls[name] += 1

    TorchWord2Vec.__init__ = before(TorchWord2Vec.__init__, constructed)
    TorchWord2Vec._end_epoch = before(TorchWord2Vec._end_epoch, epoch_ended)
    for name in ROUTINES:
        routine = vars(gensims_module)[name]
        vars(gensims_module)[name] = before(routine, functools.partial(gensim_called, name))
    if engine is not None:
        _prefer(engine)
    return counts


def _prefer(engine: str) -> None:
    """Let this engine train wherever the program leaves the choice to us."""
    choose = torchw2v.word2vec.choose

    def preferred(device: Any, asked: str | None, **wishes: Any) -> Choice:
        open_to_all = device in (None, "auto") and asked in (None, "auto") and not wishes.get("softmax")
        return choose("cpu", engine, **wishes) if open_to_all else choose(device, asked, **wishes)

    torchw2v.word2vec.choose = preferred


def main() -> int:
    """Run the program under watch; at its end the report has the counts as JSON."""
    report, side, *program = sys.argv[1:]
    if side not in SIDES or not program:
        sys.stderr.write(f"usage: python -m compat.witness report.json {'|'.join(SIDES)} program.py|-m module ...\n")
        return 2
    counts, pid = watch(None if side == "gensim" else side), os.getpid()

    def write() -> None:
        if os.getpid() == pid:  # a forked worker runs this too
            Path(report).write_text(json.dumps(asdict(counts)))

    atexit.register(write)
    if side != "gensim":
        patch_gensim()
        patch_children()
    return run_program(program)


if __name__ == "__main__":
    sys.exit(main())
