"""Models and vectors in safetensors files: arrays and JSON, no pickle, nothing that could run code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gensim.models import KeyedVectors
from gensim.models.word2vec import Word2Vec

from torchw2v._version import __version__
from torchw2v.atomic import atomic_write
from torchw2v.errors import FileFormatError
from torchw2v.portable import (
    MODEL_ARRAYS,
    Arrays,
    from_json,
    pack_model,
    pack_vectors,
    require,
    to_json,
    unpack_model,
    unpack_vectors,
)

VERSION = "1"  # of the layout; a file of another version is refused
_MODEL, _VECTORS = "torchw2v model", "torchw2v vectors"

PathLike = str | os.PathLike[str]


def save_vectors_safetensors(vectors: KeyedVectors, path: PathLike) -> None:
    """Write vectors, their words and the words' numeric attributes (such as counts) to one safetensors file.

    Parameters
    ----------
    vectors : gensim.models.KeyedVectors
        float16, float32 or float64; words are all strings or all whole numbers.
    path : path
        Written atomically.

    Raises
    ------
    ImportError
        The package safetensors is missing: pip install 'torchw2v[safetensors]'.
    FileFormatError (a ValueError)
        Something in it needs pickle, or it is of a subclass such as FastText's.
    """
    _write(path, _VECTORS, *pack_vectors(vectors))


def load_vectors_safetensors(path: PathLike) -> KeyedVectors:
    """Read what `save_vectors_safetensors` wrote, or the vectors alone of a model that `save_safetensors` wrote.

    Raises
    ------
    ImportError
        The package safetensors is missing.
    FileFormatError (a ValueError)
        The file is malformed, cut short, of another version, or contradicts itself.
    """
    arrays, document, kind = _read(path, _VECTORS, _MODEL)
    if kind == _MODEL:
        arrays = {name: array for name, array in arrays.items() if name not in MODEL_ARRAYS}
        document["arrays"] = sorted(arrays)
    return unpack_vectors(arrays, document)


def save_model(model: Word2Vec, path: PathLike) -> None:
    """Write a model to one safetensors file; see `TorchWord2Vec.save_safetensors`."""
    _write(path, _MODEL, *pack_model(model))


def load_model(path: PathLike, make: Callable[..., Word2Vec]) -> Word2Vec:
    """Read a model; `make` makes an empty one from constructor arguments. See `TorchWord2Vec.load_safetensors`."""
    arrays, document, _ = _read(path, _MODEL)
    return unpack_model(arrays, document, make)


def _library() -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "safetensors files need the package safetensors: pip install 'torchw2v[safetensors]'"
        ) from error
    return safetensors


def _write(path: PathLike, kind: str, arrays: Arrays, document: dict[str, Any]) -> None:
    library = _library()
    metadata = {"format": kind, "version": VERSION, "written_by": f"torchw2v {__version__}", "json": to_json(document)}
    whole = {name: array if array.flags.c_contiguous else array.copy() for name, array in arrays.items()}
    with atomic_write(path) as temporary:
        Path(temporary).touch()
        mode = os.stat(temporary).st_mode  # as files are made here; safetensors would make it the owner's alone
        try:
            library.numpy.save_file(whole, temporary, metadata=metadata)
            os.chmod(temporary, mode)
        except library.SafetensorError as error:  # also for a full disk
            raise OSError(f"{os.fspath(path)} could not be written: {error}") from error


def _read(path: PathLike, *kinds: str) -> tuple[Arrays, dict[str, Any], str]:
    library, name = _library(), os.fspath(path)
    if not os.path.isfile(name):
        raise FileNotFoundError(f"there is no file {name}")
    try:
        with library.safe_open(name, framework="np") as file:
            metadata = file.metadata() or {}
            kind, version = metadata.get("format"), metadata.get("version")
            require(kind in kinds, f"it holds {kind or 'something else'!r}, not a {' or '.join(kinds)}")
            require(version == VERSION, f"its layout is version {version!r}; this torchw2v reads {VERSION!r}")
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
        return arrays, from_json(metadata.get("json", "")), str(kind)
    except (library.SafetensorError, FileFormatError, KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{name} cannot be read: {error}") from error
