"""A gensim model's vocabulary and matrices, read into the engines' terms and written back.

The only file besides word2vec.py that knows gensim's attributes (`syn1neg`, `cum_table`, `vectors_lockf`, ...).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from gensim.models import KeyedVectors
from gensim.models.word2vec import Word2Vec

from torchw2v.constants import ADAGRAD_START
from torchw2v.device_memory import MemoryEstimate, row_stride
from torchw2v.errors import TrainingDivergedError, WeightsError
from torchw2v.ops.contract import Objective, Tables, Weights
from torchw2v.tables import keep_all, pack_paths

SOFTMAX = "softmax"  # TorchWord2Vec.objective
WORD2VEC, CORRECTED = "word2vec", "corrected"  # TorchWord2Vec.cbow_gradient
SGD, ADAGRAD = "sgd", "adagrad"  # TorchWord2Vec.optimizer
SQUARES = ("vectors_squares", "syn1neg_squares", "syn1_squares")  # AdaGrad's sums: attributes of a model


def full_softmax(model: Word2Vec) -> bool:
    """Whether the model is trained on the full softmax; a plain gensim model never is."""
    return getattr(model, "objective", None) == SOFTMAX


def has_outputs(model: Word2Vec) -> bool:
    """Whether training needs `syn1neg`, the rows of words as outputs."""
    return bool(model.negative) or full_softmax(model)


def adagrad(model: Word2Vec) -> bool:
    """Whether the model's rows have rates of their own; a plain gensim model's have not."""
    return getattr(model, "optimizer", None) == ADAGRAD


def objective_of(model: Word2Vec) -> Objective:
    """The model's settings that decide which pairs are trained."""
    return Objective(
        skip_gram=bool(model.sg),
        negative=0 if full_softmax(model) else int(model.negative),
        hierarchical=bool(model.hs),
        window=int(model.window),
        shrink_windows=bool(model.shrink_windows),
        cbow_mean=bool(model.cbow_mean),
        softmax=full_softmax(model),
        corrected=getattr(model, "cbow_gradient", None) == CORRECTED,
    )


def counts_of(model: Word2Vec) -> np.ndarray:
    """Corpus counts: int64 array [V]."""
    return _per_word(model, "count").astype(np.int64)


def _per_word(model: Word2Vec, attribute: str) -> np.ndarray:
    values = model.wv.expandos.get(attribute)
    if values is None or len(values) != len(model.wv):
        raise WeightsError(
            f"wv has {len(model.wv)} words but {0 if values is None else len(values)} values of {attribute!r}; "
            "call build_vocab() or build_vocab_from_freq() before train()"
        )
    return np.asarray(values)


def take_in_added_words(model: Word2Vec) -> int:
    """Give words that were put into `wv` by hand what training reads of a word.

    Their count is 0 where none was set, so they are never drawn as negatives; subsampling keeps them; their output rows
    start at zero. gensim reads and writes past the end of its arrays where a text has such a word.

    Returns
    -------
    int
        How many there were.

    Raises
    ------
    WeightsError
        With hierarchical softmax, where another word moves others in the tree, and with ns_exponent < 0.
    """
    wv, size = model.wv, len(model.wv)
    known = min(len(wv.expandos.get(attribute, ())) for attribute in ("count", "sample_int"))
    if known == 0 or len(wv.vectors) != size:
        return 0
    wv.allocate_vecattrs()
    # No word that was counted has a 0; gensim's null word, which no text has, was not counted.
    added = [row for row in np.flatnonzero(wv.expandos["sample_int"] == 0).tolist() if wv.index_to_key[row] != "\0"]
    if not added:
        return 0
    if model.hs or model.ns_exponent < 0:
        setting = "hs=1" if model.hs else f"ns_exponent={model.ns_exponent!r}"
        raise WeightsError(
            f"{len(added)} words were put into wv by hand (first: {wv.index_to_key[added[0]]!r}); with {setting} they "
            "cannot be trained without a count: call build_vocab(sentences, update=True), with them in the text"
        )
    wv.expandos["sample_int"][added] = keep_all(len(added))
    grow_outputs(model, size)
    for name in SQUARES:
        if getattr(model, name, None) is not None:
            setattr(model, name, extend_squares(getattr(model, name), size))
    return len(added)


def grow_outputs(model: Word2Vec, size: int) -> None:
    """Give each word that has none a row of zeros in the output matrices, as gensim does for new words."""
    for name in ("syn1", "syn1neg"):
        matrix = getattr(model, name, None)
        if matrix is not None and len(matrix) < size:
            rows = np.zeros((size - len(matrix), matrix.shape[1]), dtype=matrix.dtype)
            setattr(model, name, np.vstack([matrix, rows]))


@contextmanager
def quick_attributes(wv: KeyedVectors) -> Iterator[None]:
    """Make `wv.set_vecattr` quick: gensim's checks the sizes and types of all arrays for each word."""
    if "set_vecattr" in vars(wv) or type(wv).set_vecattr is not KeyedVectors.set_vecattr:
        yield  # somebody's own
        return
    gensims = wv.set_vecattr
    kinds: dict[str, type] = {}

    def set_vecattr(key: Any, attr: str, val: Any) -> None:
        array, row = wv.expandos.get(attr), wv.key_to_index.get(key)
        if row is None or kinds.get(attr) is not type(val) or array is None or len(array) != len(wv.index_to_key):
            gensims(key, attr, val)
            kinds[attr] = type(val)
        else:
            array[row] = val

    wv.set_vecattr = set_vecattr
    try:
        yield
    finally:
        del wv.set_vecattr


def tables_of(model: Word2Vec) -> Tables:
    """The vocabulary's tables. Those that a setting changed after build_vocab() asks for are made by gensim now."""
    size = len(model.wv)
    thresholds = _per_word(model, "sample_int").astype(np.uint32) if model.sample else keep_all(size)
    cumulative = paths = None
    if model.negative and not full_softmax(model):
        table = getattr(model, "cum_table", None)  # left out of saved files; gensim's load() makes it, pickle does not
        if table is None or len(table) != size:
            model.make_cum_table()
        cumulative = model.cum_table
    if model.hs:
        if len(model.wv.expandos.get("code", ())) != size:
            model.create_binary_tree()
        paths = pack_paths(model.wv.expandos["code"], model.wv.expandos["point"])
    return Tables(thresholds, cumulative, paths)


def weights_of(model: Word2Vec, device: torch.device, there: Weights | None = None) -> Weights:
    """The model's matrices on a device; on a CPU the very same memory.

    Parameters
    ----------
    model : Word2Vec
    device : torch.device
    there : Weights, optional
        Matrices on the device that may be overwritten: no second copy is made where they have the right sizes.

    Raises
    ------
    WeightsError
        A matrix is missing, of the wrong shape, or holds NaN or infinity.
    """
    model.wv.vectors = _matrix(model, "wv.vectors", model.wv.vectors)
    if has_outputs(model):
        model.syn1neg = _matrix(model, "syn1neg", getattr(model, "syn1neg", None))
    if model.hs:
        model.syn1 = _matrix(model, "syn1", getattr(model, "syn1", None))
    lock = np.asarray(getattr(model.wv, "vectors_lockf", [1.0]), dtype=np.float32)  # reset_from() leaves it out
    if not len(lock):
        raise WeightsError("wv.vectors_lockf is empty; give one factor, or one for each word")
    free = len(lock) == 1 and lock[0] == 1
    lock = lock[np.arange(len(model.wv)) % len(lock)]  # gensim's rule for a short lockf

    old = (None, None, None) if there is None else (there.inputs, there.outputs, there.nodes)
    squares: tuple[torch.Tensor | None, ...] = (None, None, None)
    if adagrad(model):
        used = (True, has_outputs(model), bool(model.hs))
        squares = tuple(
            torch.from_numpy(_squares(model, name)).to(device) if needed else None
            for name, needed in zip(SQUARES, used, strict=True)
        )
    return Weights(
        inputs=_to_device("wv.vectors", model.wv.vectors, device, old[0]),
        outputs=_to_device("syn1neg", model.syn1neg, device, old[1]) if has_outputs(model) else None,
        nodes=_to_device("syn1", model.syn1, device, old[2]) if model.hs else None,
        input_lock=None if free else torch.from_numpy(lock).to(device),
        input_squares=squares[0],
        output_squares=squares[1],
        node_squares=squares[2],
    )


def _squares(model: Word2Vec, name: str) -> np.ndarray:
    """AdaGrad's sums of a matrix, float32 [V], kept in the model; new ones where there are none, checked."""
    kept = getattr(model, name, None)
    squares = extend_squares(np.zeros(0), len(model.wv)) if kept is None else kept
    squares = np.require(squares, dtype=np.float32, requirements=["C", "W"])
    if squares.shape != (len(model.wv),) or not (np.isfinite(squares).all() and (squares > 0).all()):
        raise WeightsError(
            f"{name} holds AdaGrad's sums of squares, one positive number for each of {len(model.wv)} words; found "
            f"shape {squares.shape}, from {squares.min(initial=0):g} to {squares.max(initial=0):g}. Delete the "
            "attribute to begin anew"
        )
    setattr(model, name, squares)
    return squares


def extend_squares(squares: np.ndarray, size: int) -> np.ndarray:
    """AdaGrad's sums, float32 [size]: those that there are, and what others begin with."""
    return np.append(squares, np.full(size - len(squares), ADAGRAD_START)).astype(np.float32)


def _to_device(name: str, array: np.ndarray, device: torch.device, there: torch.Tensor | None) -> torch.Tensor:
    """The matrix on a device, [V, D], checked; on a CPU the same memory, elsewhere its rows are padded with zeros."""
    if device.type == "cpu":
        there = torch.from_numpy(array)
    else:
        rows, width = array.shape
        if there is None or there.shape != array.shape:
            there = torch.zeros((rows, row_stride(width)), device=device)[:, :width]
        there.copy_(torch.from_numpy(array))
    # A GPU sums 512 MB in less than a millisecond, the host in 100. Not every other device has float64.
    if not (math.isfinite(float(there.sum(dtype=torch.float64))) if device.type == "cuda" else _finite(array)):
        rows = len(_broken_rows(array))
        raise WeightsError(f"{name} holds NaN or infinity in {rows} rows before training; replace them")
    return there


def memory_estimate(model: Word2Vec, tokens: int) -> MemoryEstimate:
    """What training the model takes on a device, with a corpus of so many tokens kept there."""
    matrices = 1 + has_outputs(model) + bool(model.hs)
    return MemoryEstimate(len(model.wv), int(model.vector_size), matrices, bool(model.hs), tokens, adagrad(model))


def _matrix(model: Word2Vec, name: str, array: np.ndarray | None) -> np.ndarray:
    """A matrix of the right shape as float32 rows that can be written to; copied only where it was not so already."""
    wanted = (len(model.wv), int(model.vector_size))
    if array is None:
        raise WeightsError(f"{name} is missing; call init_weights() after changing hs, negative or objective")
    if array.shape != wanted:
        raise WeightsError(f"{name} has shape {array.shape}, expected {wanted} (words, vector_size)")
    return np.require(array, dtype=np.float32, requirements=["C", "W"])


def _finite(array: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):  # inf - inf
        return math.isfinite(float(array.sum(dtype=np.float64)))  # no temporary the size of the matrix


def _broken_rows(array: np.ndarray) -> np.ndarray:
    return np.flatnonzero(~np.isfinite(array).all(axis=1))


def put_back(model: Word2Vec, weights: Weights) -> None:
    """Copy trained weights from an accelerator into the model's arrays; on a CPU they are the same memory."""
    if weights.inputs.device.type == "cpu":
        return
    pairs = [(model.wv.vectors, weights.inputs)]
    pairs += [(model.syn1neg, weights.outputs)] if weights.outputs is not None else []
    pairs += [(model.syn1, weights.nodes)] if weights.nodes is not None else []
    of_rows = (weights.input_squares, weights.output_squares, weights.node_squares)
    pairs += [(getattr(model, name), sums) for name, sums in zip(SQUARES, of_rows, strict=True) if sums is not None]
    for array, tensor in pairs:
        torch.from_numpy(array).copy_(tensor)  # straight into the model's memory: no array in between


def check_finite(model: Word2Vec, epoch: int) -> None:
    """Raise TrainingDivergedError, naming words and cure, where an epoch left NaN or infinity."""
    matrices = {"wv.vectors": model.wv.vectors}
    matrices |= {"syn1neg": model.syn1neg} if has_outputs(model) else {}
    matrices |= {"syn1": model.syn1} if model.hs else {}
    for name, matrix in matrices.items():
        if not _finite(matrix):
            rows = _broken_rows(matrix)
            first = rows[:3].tolist() if name == "syn1" else [model.wv.index_to_key[row] for row in rows[:3]]
            raise TrainingDivergedError(
                f"{name} holds NaN or infinity in {len(rows)} rows after epoch {epoch} (first: {first}). "
                f"Lower alpha (now {model.alpha:g}), or subsample frequent words more (sample, now {model.sample:g})."
            )
