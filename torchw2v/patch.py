"""Zero edits: while gensim is patched, `gensim.models.Word2Vec` is TorchWord2Vec, for old imports and new ones.

gensim's module cannot simply be given another class: its methods say `super(Word2Vec, self)` and look that name up in
their own module, so that they would call themselves for ever. Therefore the module keeps its class in its namespace,
which is what its own code sees, and shows ours to everybody who asks from outside.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import gensim.models.word2vec as gensims_module
from gensim.models import Doc2Vec, FastText
from gensim.models.word2vec import Word2Vec

from torchw2v.word2vec import TorchWord2Vec

logger = logging.getLogger(__name__)

SWITCH = "TORCHW2V_PATCH"  # environment variable; "1" patches gensim as soon as torchw2v is imported
_NAME = "Word2Vec"
# These need gensim's class, or hold both on purpose.
_LEFT_ALONE = ("gensim.models.word2vec", "gensim.models.fasttext", "gensim.models.doc2vec", "torchw2v")


class _PatchedModule(ModuleType):
    """gensim.models.word2vec as seen from outside: its class is ours. A class put there by others is shown as it is."""

    @property
    def Word2Vec(self) -> Any:
        if _NAME not in self.__dict__:
            raise AttributeError(f"module {self.__name__!r} has no attribute {_NAME!r}")
        held = self.__dict__[_NAME]
        return TorchWord2Vec if held is Word2Vec else held

    @Word2Vec.setter
    def Word2Vec(self, value: Any) -> None:
        # pytest's monkeypatch puts back what it read, which was ours; gensim's own code must not find that.
        self.__dict__[_NAME] = Word2Vec if value is TorchWord2Vec else value

    @Word2Vec.deleter
    def Word2Vec(self) -> None:
        del self.__dict__[_NAME]


class _Patch:
    """What has been re-bound, so that it can be put back."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.active = False
        self.module_type: type[ModuleType] = ModuleType
        self.rebound: list[tuple[ModuleType, str]] = []

    def apply(self) -> bool:
        """Put ours in. False if it was in already."""
        with self.lock:
            if self.active:
                return False
            self.module_type = type(gensims_module)
            gensims_module.__class__ = _PatchedModule
            self.rebound = [place for module in list(sys.modules.values()) for place in _places(module)]
            for module, name in self.rebound:
                vars(module)[name] = TorchWord2Vec
            TorchWord2Vec._stands_for = Word2Vec
            Word2Vec.__reduce_ex__ = _reduce_by_name
            self.active = True
            self._log()
            return True

    def remove(self) -> bool:
        """Put back what was there. False if nothing was patched."""
        with self.lock:
            if not self.active:
                return False
            del Word2Vec.__reduce_ex__
            del TorchWord2Vec._stands_for
            for module, name in self.rebound:
                if vars(module).get(name) is TorchWord2Vec:  # else the program has bound it anew
                    vars(module)[name] = Word2Vec
            gensims_module.__class__ = self.module_type
            self.active, self.rebound = False, []
            logger.info("gensim.models.Word2Vec is gensim's own again")
            return True

    def _log(self) -> None:
        names = ", ".join(f"{module.__name__}.{name}" for module, name in self.rebound)
        logger.info(
            "gensim.models.Word2Vec is now torchw2v.TorchWord2Vec (re-bound: %s); FastText and Doc2Vec stay gensim's",
            names,
        )
        if missed := _subclasses_from_before():
            logger.warning(
                "%s: defined before gensim was patched, so still trained by gensim; patch before importing it",
                ", ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in missed),
            )


def _places(module: Any) -> list[tuple[ModuleType, str]]:
    """Where a module holds gensim's class in a global variable."""
    if not isinstance(module, ModuleType):
        return []
    if any(module.__name__ == name or module.__name__.startswith(name + ".") for name in _LEFT_ALONE):
        return []
    return [(module, name) for name, value in list(vars(module).items()) if value is Word2Vec]


def _subclasses_from_before() -> list[type]:
    known = {*TorchWord2Vec.__mro__, FastText, Doc2Vec}
    return [kind for kind in Word2Vec.__subclasses__() if kind not in known]


# ---- pickling a plain model while gensim is patched ----------------------------------------------------------------


class _GensimsModule:
    """Pickled as the import of gensim.models.word2vec."""

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, (gensims_module.__name__,)


class _GensimsClass:
    """Pickled as gensim.models.word2vec.Word2Vec, whatever stands there now: pickle itself insists on finding it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (_GensimsModule(), _NAME)


def _reduce_by_name(self: Word2Vec, protocol: int) -> Any:
    """`__reduce_ex__` of models made before gensim was patched. What it writes opens without torchw2v."""
    if type(self) is not Word2Vec:
        return object.__reduce_ex__(self, protocol)
    return object.__new__, (_GensimsClass(),), self.__dict__


# ---- the doors -----------------------------------------------------------------------------------------------------

_patch = _Patch()


def patch_gensim() -> None:
    """Make `gensim.models.Word2Vec` and `gensim.models.word2vec.Word2Vec` ours, in all modules.

    Global variables of modules already imported that hold gensim's class (`from gensim.models import Word2Vec`) are
    re-bound. Out of reach: subclasses that were defined before (a warning names them), and references kept elsewhere
    (a default argument, a list, a class attribute). FastText and Doc2Vec are not changed. While it holds, plain models
    that are unpickled become TorchWord2Vec, and `isinstance(model, gensim.models.Word2Vec)` is true of every gensim
    model that it was true of before. Calling it again changes nothing.
    """
    _patch.apply()


def unpatch_gensim() -> None:
    """Put gensim's class back wherever `patch_gensim` replaced it; without a patch, do nothing.

    Models that were made meanwhile stay ours, and so do names that other modules imported meanwhile.
    """
    _patch.remove()


@contextmanager
def patched() -> Iterator[None]:
    """`with torchw2v.patched():` gensim is patched inside; if it was before, it stays so after."""
    ours = _patch.apply()
    try:
        yield
    finally:
        if ours:
            _patch.remove()


if os.environ.get(SWITCH) == "1":
    patch_gensim()
