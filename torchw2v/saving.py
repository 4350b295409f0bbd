"""Saving and loading: files that plain gensim opens without torchw2v or torch, and settings that survive the journey.

A saved model is pickled as a `gensim.models.word2vec.Word2Vec` whose further attributes are our settings; `load` turns
it back into ours. `pickle`, `copy` and whatever else asks a model for its state keep our class.
"""

from __future__ import annotations

import copy
import copyreg
import importlib
import logging
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import gensim.models.word2vec
import torch
from gensim.models import Doc2Vec, FastText
from gensim.models.word2vec import Word2Vec

from torchw2v.atomic import atomic_write, finish_write
from torchw2v.errors import ModelFileError, ModelTypeError
from torchw2v.gensim_state import SQUARES
from torchw2v.model_vectors import adopt
from torchw2v.ops.select import DeviceLike
from torchw2v.safetensors_files import PathLike, load_model, save_model

logger = logging.getLogger(__name__)

OUR_ATTRIBUTES = (
    "device", "engine", "objective", "cbow_gradient", "optimizer", "deterministic", "progress_bar",
    "training_history", *SQUARES,
)  # fmt: skip
_CLASS = "torchw2v_class"  # attribute of a saved model: "module:name" of its class
# A subclass that says itself how it is pickled or unpacked is saved under its own class, as gensim would.
_OWN_WAYS = ("__reduce__", "__reduce_ex__", "__setstate__", "__getnewargs__", "__getnewargs_ex__", "_load_specials")
_OUR_PACKAGES = ("torchw2v", "gensim", "builtins")

Model = TypeVar("Model", bound="Saving")

_being_saved: ContextVar[Any] = ContextVar("being_saved", default=None)


@contextmanager
def _as_gensims(model: Word2Vec) -> Iterator[None]:
    """Within, this one model is pickled as gensim's Word2Vec."""
    token = _being_saved.set(model)
    try:
        yield
    finally:
        _being_saved.reset(token)


class _GensimsWord2Vec:
    """Stands for gensim's Word2Vec in a pickle while its name in gensim's module means another class."""

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (_GensimsModule(), "Word2Vec")


class _GensimsModule:
    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ("gensim.models.word2vec",)


class Saving(Word2Vec):
    """The methods that save, load and convert models."""

    _TRANSIENT: tuple[str, ...] = ()  # attributes that are never saved or copied

    def __setattr__(self, name: str, value: Any, /) -> None:
        """Whoever gives the model its vectors, gensim's code or a user: their files are written atomically."""
        super().__setattr__(name, adopt(value) if name == "wv" else value)

    def _take_state(self, state: dict[str, Any]) -> None:
        """Make these the model's attributes; a gensim model's lack some."""
        self.__dict__.update(state)
        adopt(self.__dict__.get("wv"))
        self.__dict__.setdefault("training_history", [])

    # ---- pickling --------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        """The state for pickle, copy and save: without engines, devices and encoded corpora."""
        return {name: value for name, value in self.__dict__.items() if name not in self._TRANSIENT}

    def __reduce_ex__(self, protocol: Any, /) -> Any:
        """For pickle and copy; within `save`, what plain gensim can read."""
        if _being_saved.get() is not self or self._pickles_in_its_own_way():
            return super().__reduce_ex__(protocol)
        state = dict(self.__getstate__())
        state[_CLASS] = _name_of(type(self))
        if isinstance(state.get("device"), torch.device):
            state["device"] = str(state["device"])
        # Where gensim's name has been given to another class, pickle would refuse the class itself.
        named = gensim.models.word2vec.Word2Vec is Word2Vec
        return copyreg._reconstructor, (Word2Vec if named else _GensimsWord2Vec(), object, None), state  # type: ignore[attr-defined]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a pickled state; that of a plain gensim model too, which a patched gensim unpickles into this class."""
        self._take_state(state)

    @classmethod
    def _pickles_in_its_own_way(cls) -> bool:
        makers = [next((base for base in cls.__mro__ if name in vars(base)), object) for name in _OWN_WAYS]
        return any(maker.__module__.partition(".")[0] not in _OUR_PACKAGES for maker in makers)

    # ---- files -----------------------------------------------------------------------------------------------

    def save(self, *args, **kwargs):
        """Save the model as gensim's `Word2Vec.save` does, so that plain gensim opens it, too.

        The file holds a `gensim.models.Word2Vec`; `TorchWord2Vec.load` gives this class back, settings included. It is
        written atomically, side files included: a crash leaves the model that was there before.
        """
        if args and isinstance(args[0], os.PathLike):
            args = (os.fspath(args[0]), *args[1:])
        with _as_gensims(self):
            super().save(*args, **kwargs)

    def _smart_save(self, fname, separately=None, sep_limit=10 * 1024**2, ignore=frozenset(), pickle_protocol=4):
        with atomic_write(fname) as temporary:
            super()._smart_save(temporary, separately, sep_limit, ignore, pickle_protocol)
        logger.info("%s is in place", fname)

    @classmethod
    def load(cls, *args, rethrow=False, device: DeviceLike = None, engine: str | None = None, **kwargs) -> Any:
        """Load a model that TorchWord2Vec or gensim's Word2Vec saved, with any version that gensim can read.

        Parameters
        ----------
        *args, rethrow, **kwargs
            As in gensim's `Word2Vec.load`.
        device, engine : optional
            Replace the saved settings, for training on another machine.

        Returns
        -------
        TorchWord2Vec
            Of the class that was saved; a plain gensim Word2Vec becomes the class that this is called on. Other models
            of gensim's come back as they are.

        Raises
        ------
        ModelTypeError (a TypeError)
            `device` or `engine` are given for a model that cannot have them, such as FastText.
        ModelFileError (a pickle.UnpicklingError)
            The file holds no saved model, but text, say.
        """
        if args and isinstance(args[0], os.PathLike):
            args = (os.fspath(args[0]), *args[1:])
        for path in (*args[:1], kwargs.get("fname")):
            if isinstance(path, str):
                finish_write(path)
        try:
            model = super().load(*args, rethrow=rethrow, **kwargs)
        except pickle.UnpicklingError as error:
            file = args[0] if args else kwargs.get("fname")
            raise ModelFileError(
                f"{file!r} holds no saved model ({error}). Vectors alone are read by "
                "gensim.models.KeyedVectors.load_word2vec_format, a .safetensors file by load_safetensors"
            ) from error
        recorded = model.__dict__.pop(_CLASS, None)
        if type(model) is Word2Vec or recorded is not None:
            model.__class__ = cls._class_named(recorded)
            model._take_state({})
        if not isinstance(model, Saving):
            if device is not None or engine is not None:
                raise ModelTypeError(
                    f"the file holds a {type(model).__name__}, which has no device or engine; load it without them"
                )
            return model
        if device is not None:
            model.device = device
        if engine is not None:
            model.engine = engine
        return model

    @classmethod
    def _class_named(cls, recorded: str | None) -> type:
        """The class that a file names; this one where it names none, or one that is not to be found."""
        if recorded is None or recorded == _name_of(cls):
            return cls
        module, _, qualified = recorded.partition(":")
        try:
            found: Any = importlib.import_module(module)
            for part in qualified.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError) as error:
            logger.warning("the saved model's class %s is not to be found (%s): loading a %s", recorded, error, cls)
            return cls
        if not (isinstance(found, type) and issubclass(found, Saving)):
            logger.warning("%s, named as the saved model's class, is no TorchWord2Vec: loading a %s", recorded, cls)
            return cls
        return found

    def save_safetensors(self, path: PathLike) -> None:
        """Write the whole model to one safetensors file, from which it trains on: arrays and JSON, no pickle.

        Parameters
        ----------
        path : path
            Written atomically.

        Raises
        ------
        ImportError
            The package safetensors is missing: pip install 'torchw2v[safetensors]'.
        FileFormatError (a ValueError)
            Something in the model needs pickle: words that are neither all strings nor all whole numbers, word
            attributes or a `comment` of Python objects. Left behind are `hashfxn`, `raw_vocab`, lifecycle events and
            what a subclass added.
        """
        save_model(self, path)

    @classmethod
    def load_safetensors(
        cls: type[Model], path: PathLike, *, device: DeviceLike = None, engine: str | None = None
    ) -> Model:
        """Read a model that `save_safetensors` wrote.

        Parameters
        ----------
        path : path
            What `save_safetensors` has written.
        device, engine : optional
            Replace the saved settings.

        Raises
        ------
        ImportError
            The package safetensors is missing.
        FileFormatError (a ValueError)
            The file is malformed, cut short, of another version, or contradicts itself.
        """
        model = load_model(path, cls._empty)
        model.device = model.device if device is None else device
        model.engine = model.engine if engine is None else engine
        return model

    @classmethod
    def _empty(cls, **settings: Any) -> Any:
        """A model without a vocabulary, from gensim's constructor arguments."""
        raise NotImplementedError

    def _load_specials(self, *args, **kwargs):
        super()._load_specials(*args, **kwargs)
        if not hasattr(self, "training_history"):
            self.training_history = []

    # ---- from and to gensim's class --------------------------------------------------------------------------

    @classmethod
    def from_gensim(
        cls: type[Model],
        model: Word2Vec,
        *,
        device: DeviceLike = None,
        engine: str | None = None,
        objective: str | None = None,
        cbow_gradient: str | None = None,
        optimizer: str | None = None,
        deterministic: bool = False,
        progress_bar: bool = False,
    ) -> Model:
        """A copy of a gensim model that trains on with our engine. The original stays as it is.

        Parameters
        ----------
        model : gensim.models.Word2Vec
            Trained or not; one of ours is taken, too.
        device, engine, deterministic, progress_bar : optional
            As in the constructor.
        objective, cbow_gradient, optimizer : str, optional
            As in the constructor; if not given, those of the model, which are gensim's unless it is ours.

        Raises
        ------
        ModelTypeError (a TypeError)
            It is no Word2Vec, or a FastText or Doc2Vec, which are trained otherwise.
        """
        if not isinstance(model, Word2Vec) or isinstance(model, FastText | Doc2Vec):
            raise ModelTypeError(
                f"from_gensim() takes a gensim.models.Word2Vec, got a {type(model).__module__}.{type(model).__name__}"
            )
        state = model.__getstate__() if isinstance(model, Saving) else vars(model)
        ours = cls.__new__(cls)
        ours._take_state(copy.deepcopy(state))
        ours.device, ours.engine = device, engine
        asked = {"objective": objective, "cbow_gradient": cbow_gradient, "optimizer": optimizer}
        for name, value in asked.items():
            if value is not None:
                setattr(ours, name, value)
        ours.deterministic, ours.progress_bar = bool(deterministic), bool(progress_bar)
        return ours

    def to_gensim(self) -> Word2Vec:
        """A copy as a plain `gensim.models.Word2Vec`, which trains on with gensim's routines."""
        plain = Word2Vec.__new__(Word2Vec)
        state = {name: value for name, value in self.__getstate__().items() if name not in OUR_ATTRIBUTES}
        plain.__dict__.update(copy.deepcopy(state))
        return plain


def _name_of(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
