"""A model as named arrays and a JSON document: what safetensors files and checkpoints hold. No pickle, no code.

`pack_*` take apart, `unpack_*` put together and believe nothing: every array's type, shape and range is checked, so
that a file made or cut by somebody else raises FileFormatError and never reaches the engines.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from gensim.models import KeyedVectors
from gensim.models.word2vec import Word2Vec

from torchw2v.errors import FileFormatError
from torchw2v.gensim_state import SQUARES
from torchw2v.model_vectors import ModelVectors

Arrays = dict[str, np.ndarray]

_NUMBER, _TEXT = (int, float), (str,)
_MAYBE = (type(None),)
# Constructor arguments of gensim's and ours that a file keeps, with the JSON types that they may have.
_SETTINGS: dict[str, tuple[type, ...]] = {
    "vector_size": (int,), "window": (int,), "workers": (int,), "epochs": _NUMBER, "negative": (int,),
    "sg": _NUMBER, "hs": _NUMBER, "cbow_mean": _NUMBER, "sorted_vocab": _NUMBER, "null_word": _NUMBER,
    "compute_loss": _NUMBER, "shrink_windows": _NUMBER, "alpha": _NUMBER, "min_alpha": _NUMBER,
    "sample": _NUMBER + _MAYBE, "ns_exponent": _NUMBER, "batch_words": _NUMBER, "min_count": _NUMBER + _MAYBE,
    "max_vocab_size": _NUMBER + _MAYBE, "max_final_vocab": _NUMBER + _MAYBE, "seed": (int, *_MAYBE),
}  # fmt: skip
# What training and build_vocab() leave in a model.
_STATE: dict[str, tuple[type, ...]] = {
    "corpus_count": _NUMBER + _MAYBE, "corpus_total_words": _NUMBER + _MAYBE, "train_count": (int,),
    "total_train_time": _NUMBER, "min_alpha_yet_reached": _NUMBER, "running_training_loss": _NUMBER,
    "device": _TEXT + _MAYBE, "engine": _TEXT + _MAYBE, "objective": _TEXT + _MAYBE, "cbow_gradient": _TEXT,
    "optimizer": _TEXT, "deterministic": (bool,), "progress_bar": (bool,), "training_history": (list,),
    "comment": (object,),
}  # fmt: skip
MODEL_ARRAYS = ("syn1neg", "syn1", "cum_table", *SQUARES)  # those of a model that are not those of its vectors
_GENERATORS = ("MT19937", "PCG64")  # gensim's; PCG64 in models of old versions
_MT19937_WORDS = 624
_ATTRIBUTE = "vecattr."  # prefix of gensim's per-word attributes, such as count


def to_json(document: Mapping[str, Any]) -> str:
    """JSON of a document; numpy's numbers become plain ones, arrays become lists, devices their names.

    Raises
    ------
    FileFormatError
        It holds something that JSON does not have.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, np.ndarray):
            return value.tolist()
        if isinstance(value, torch.device):
            return str(value)
        raise FileFormatError(f"cannot be written without pickle: {value!r:.80}; JSON has no {type(value).__name__}")

    return json.dumps(document, default=plain)


def from_json(text: str | bytes) -> dict[str, Any]:
    """The document of a JSON text.

    Raises
    ------
    FileFormatError
        It is no JSON object.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"the settings are not valid JSON ({error})") from error
    require(isinstance(document, dict), "the settings are no JSON object")
    return document


def require(condition: bool, message: str) -> None:
    """Raise FileFormatError with the message unless the condition holds."""
    if not condition:
        raise FileFormatError(message)


# ---- vectors -------------------------------------------------------------------------------------------------------


def pack_vectors(wv: KeyedVectors) -> tuple[Arrays, dict[str, Any]]:
    """Take KeyedVectors apart.

    Raises
    ------
    FileFormatError
        They are FastText's, their keys are neither all strings nor all whole numbers, or they have attributes of
        Python objects.
    """
    require(
        type(wv) in (KeyedVectors, ModelVectors),
        f"only plain KeyedVectors can be written without pickle, not {type(wv).__name__}",
    )
    size = len(wv)
    arrays: Arrays = {"vectors": np.asarray(wv.vectors)}
    require(arrays["vectors"].shape == (size, wv.vector_size), "wv.vectors does not fit its keys and vector_size")
    kind, keys = _pack_keys(wv.index_to_key)
    arrays |= keys
    lock = getattr(wv, "vectors_lockf", None)
    if lock is not None:
        arrays["vectors_lockf"] = np.asarray(lock, dtype=np.float32)
    for name, values in wv.expandos.items():
        values = np.asarray(values)
        if len(values) != size:
            raise FileFormatError(f"there are {size} words but {len(values)} values of {name!r}")
        if name in ("code", "point"):
            continue
        require(values.dtype.kind in "iufb", f"word attribute {name!r} holds Python objects; remove or convert it")
        arrays[_ATTRIBUTE + name] = values
    if "code" in wv.expandos and "point" in wv.expandos:
        arrays |= _pack_tree(wv.expandos["code"], wv.expandos["point"])
    return arrays, {"keys": kind, "arrays": sorted(arrays)}


def _pack_keys(keys: Sequence[Hashable]) -> tuple[str, Arrays]:
    if all(isinstance(key, str) for key in keys):
        encoded = [str(key).encode("utf-8", "surrogatepass") for key in keys]
        offsets = np.concatenate([[0], np.cumsum([len(key) for key in encoded], dtype=np.int64)]).astype(np.int64)
        return "text", {"keys": np.frombuffer(b"".join(encoded), np.uint8), "key_offsets": offsets}
    if all(isinstance(key, int | np.integer) and not isinstance(key, bool) for key in keys):
        return "numbers", {"keys": np.array(keys, dtype=np.int64)}
    other = next(key for key in keys if not isinstance(key, str))
    raise FileFormatError(
        f"words must be all strings or all whole numbers to be written without pickle; there is a {other!r:.60}"
    )


def _pack_tree(codes: Sequence[Any], points: Sequence[Any]) -> Arrays:
    offsets = np.concatenate([[0], np.cumsum([len(code) for code in codes], dtype=np.int64)]).astype(np.int64)
    none = np.zeros(0, np.uint8)
    return {
        "huffman.codes": np.concatenate([none, *codes]).astype(np.uint8),
        "huffman.points": np.concatenate([none, *points]).astype(np.uint32),
        "huffman.offsets": offsets,
    }


class _Reader:
    """Hands out arrays after checking them."""

    def __init__(self, arrays: Mapping[str, np.ndarray], expected: Any) -> None:
        require(isinstance(expected, list), "the list of arrays is missing")
        missing, more = sorted(set(map(str, expected)) - set(arrays)), sorted(set(arrays) - set(map(str, expected)))
        require(not missing, f"arrays are missing: {missing}")
        require(not more, f"there are arrays that do not belong here: {more}")
        self.arrays = arrays

    def take(self, name: str, kinds: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """An array of one of these numpy types (names, separated by blanks) and this shape (None: any length)."""
        require(name in self.arrays, f"array {name!r} is missing")
        array = self.arrays[name]
        require(array.dtype.name in kinds.split(), f"array {name!r} holds {array.dtype.name}, expected {kinds}")
        fits = len(array.shape) == len(shape) and all(
            want in (None, have) for want, have in zip(shape, array.shape, strict=True)
        )
        require(fits, f"array {name!r} has shape {array.shape}, expected {shape} (None: any)")
        return array

    def offsets(self, name: str, size: int, end: int) -> np.ndarray:
        """Ascending starts of `size` pieces of something of length `end`."""
        starts = self.take(name, "int64", (size + 1,))
        good = starts[0] == 0 and starts[-1] == end and bool((starts[1:] >= starts[:-1]).all())
        require(good, f"array {name!r} does not cut {end} entries into {size} pieces")
        return starts


def unpack_vectors(arrays: Mapping[str, np.ndarray], document: Mapping[str, Any]) -> KeyedVectors:
    """Put KeyedVectors together.

    Raises
    ------
    FileFormatError
        An array is missing, has another shape or type, or says something impossible.
    """
    reader = _Reader(arrays, document.get("arrays"))
    vectors = reader.take("vectors", "float16 float32 float64", (None, None))
    size, width = vectors.shape
    wv = KeyedVectors(width, dtype=vectors.dtype)
    wv.index_to_key = _unpack_keys(reader, document.get("keys"), size)
    wv.key_to_index = {key: index for index, key in enumerate(wv.index_to_key)}
    require(len(wv.key_to_index) == size, "a word occurs twice in the vocabulary")
    wv.vectors, wv.next_index = vectors, size
    if "vectors_lockf" in arrays:
        wv.vectors_lockf = reader.take("vectors_lockf", "float32", (None,))
    for name, values in arrays.items():
        if name.startswith(_ATTRIBUTE):
            require(values.shape == (size,), f"array {name!r} has shape {values.shape}, expected {(size,)}")
            wv.expandos[name.removeprefix(_ATTRIBUTE)] = values
    if "huffman.codes" in arrays:
        wv.expandos["code"], wv.expandos["point"] = _unpack_tree(reader, size)
    return wv


def _unpack_keys(reader: _Reader, kind: Any, size: int) -> list[Any]:
    require(kind in ("text", "numbers"), f"unknown kind of words {kind!r:.40}")
    if kind == "numbers":
        return reader.take("keys", "int64", (size,)).tolist()
    text = reader.take("keys", "uint8", (None,)).tobytes()
    starts = reader.offsets("key_offsets", size, len(text)).tolist()
    try:
        return [text[start:stop].decode("utf-8", "surrogatepass") for start, stop in pairwise(starts)]
    except UnicodeDecodeError as error:
        raise FileFormatError(f"the vocabulary is not UTF-8 ({error})") from error


def _unpack_tree(reader: _Reader, size: int) -> tuple[np.ndarray, np.ndarray]:
    codes = reader.take("huffman.codes", "uint8", (None,))
    points = reader.take("huffman.points", "uint32", codes.shape)
    starts = reader.offsets("huffman.offsets", size, len(codes)).tolist()
    good = not len(codes) or (int(codes.max()) <= 1 and int(points.max()) < size)
    require(good, "the Huffman tree has codes other than 0 and 1, or more nodes than words")
    parts: tuple[np.ndarray, np.ndarray] = (np.empty(size, dtype=object), np.empty(size, dtype=object))
    for word, (start, stop) in enumerate(pairwise(starts)):
        parts[0][word], parts[1][word] = codes[start:stop], points[start:stop]
    return parts


# ---- models --------------------------------------------------------------------------------------------------------


def pack_model(model: Word2Vec) -> tuple[Arrays, dict[str, Any]]:
    """Take a model apart: matrices, vocabulary, tables, settings, counts of what was trained, random state.

    Left behind are `hashfxn`, `raw_vocab`, lifecycle events, and what a subclass or the user added.

    Raises
    ------
    FileFormatError
        Something needs pickle: see `pack_vectors`; or a matrix is not float32.
    """
    arrays, document = pack_vectors(model.wv)
    for name in MODEL_ARRAYS:
        if getattr(model, name, None) is not None:
            arrays[name] = np.asarray(getattr(model, name))
    for name in ("vectors", "syn1neg", "syn1"):
        require(name not in arrays or arrays[name].dtype == np.float32, f"{name} is not float32, as training needs it")
    document["arrays"] = sorted(arrays)
    # A model of an old version of gensim's may lack a setting: then gensim's default is what it was trained with.
    defaults = inspect.signature(Word2Vec.__init__).parameters
    document["settings"] = {name: getattr(model, name, defaults[name].default) for name in _SETTINGS}
    document["state"] = {name: getattr(model, name) for name in _STATE if hasattr(model, name)}
    generator = model.random
    legacy = isinstance(generator, np.random.RandomState)
    state = generator.get_state(legacy=False) if legacy else generator.bit_generator.state
    require(
        state["bit_generator"] in _GENERATORS, f"model.random is a {state['bit_generator']}, not one of {_GENERATORS}"
    )
    document["random"] = {"legacy": legacy, **state}
    return arrays, document


def unpack_model(
    arrays: Mapping[str, np.ndarray], document: Mapping[str, Any], make: Callable[..., Word2Vec]
) -> Word2Vec:
    """Put a model together.

    Parameters
    ----------
    arrays, document
        As `pack_model` gave them.
    make : callable
        Makes an empty model from gensim's constructor arguments.

    Raises
    ------
    FileFormatError
        As in `unpack_vectors`, or a setting is missing or of another type.
    """
    settings = _typed(document.get("settings"), _SETTINGS)
    state = document.get("state")
    state = _typed(state, {name: types for name, types in _STATE.items() if isinstance(state, dict) and name in state})
    wv = unpack_vectors(arrays, document)
    reader, size, width = _Reader(arrays, document.get("arrays")), len(wv), settings["vector_size"]
    reader.take("vectors", "float32", (size, width) if size else (0, None))
    try:
        model = make(**settings)
    except (TypeError, ValueError) as error:
        raise FileFormatError(f"the settings are not those of a model: {error}") from error
    model.wv, model.layer1_size = wv, width
    for name in ("syn1neg", "syn1"):
        if name in arrays:
            setattr(model, name, reader.take(name, "float32", (size, width)))
    for name in SQUARES:
        if name in arrays:
            setattr(model, name, reader.take(name, "float32", (size,)))
            good = bool(np.isfinite(arrays[name]).all()) and bool((arrays[name] > 0).all())
            require(good, f"array {name!r} holds sums of squares that are not positive")
    if "cum_table" in arrays:
        model.cum_table = reader.take("cum_table", "uint32", (size,))
        rising = bool((model.cum_table[1:] >= model.cum_table[:-1]).all()) and bool((model.cum_table[-1:] > 0).all())
        require(rising, "array 'cum_table' is no cumulative distribution")
    if size:
        counts = reader.take(_ATTRIBUTE + "count", "int64 int32 uint32 uint64", (size,))
        require(bool((counts >= 0).all()), "a word's count is negative")
        if _ATTRIBUTE + "sample_int" in arrays:
            reader.take(_ATTRIBUTE + "sample_int", "uint32", (size,))
    model.__dict__.update(state)
    model.random = _random(document.get("random"))
    return model


def _typed(values: Any, types: Mapping[str, tuple[type, ...]]) -> dict[str, Any]:
    require(isinstance(values, dict), "settings are missing")
    require(set(values) == set(types), f"settings are missing or unknown: {sorted(set(values) ^ set(types))}")
    for name, allowed in types.items():
        require(isinstance(values[name], allowed), f"setting {name}={values[name]!r:.60} is of the wrong type")
    return dict(values)


def _random(state: Any) -> Any:
    require(isinstance(state, dict) and "legacy" in state, "the random state is missing")
    state = dict(state)
    legacy, name = state.pop("legacy"), state.get("bit_generator")
    require(name in _GENERATORS, f"unknown random generator {name!r:.40}")
    try:
        if name == "MT19937":  # numpy itself would take any position, and read there
            words, place = state["state"]["key"], state["state"]["pos"]
            require(len(words) == _MT19937_WORDS and 0 <= place <= _MT19937_WORDS, "the random state is not whole")
        if legacy:
            generator: Any = np.random.RandomState()
            generator.set_state(state)
        else:
            bits = getattr(np.random, str(name))()
            bits.state = state
            generator = np.random.Generator(bits)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise FileFormatError(f"the random state is not one of {name} ({error})") from error
    return generator
