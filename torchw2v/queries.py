"""`most_similar` for many queries at once: blocks of rows, one matrix product each, and a running top-k.

gensim answers one query at a time, each reading the whole matrix (issue 2987). Here a block of rows is normed, moved to
the device and scored against all queries before the next one: the matrix is read once and never copied whole.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, SupportsIndex, overload

import numpy as np
import torch
from gensim.models import KeyedVectors

from torchw2v.errors import QueryError, QueryTypeError, UnknownKeyError
from torchw2v.ops.select import DeviceLike, choose

KEY_TYPES = (str, int, np.integer)
# Rows and queries of one product. On a CPU 32 MiB of scores: the time per score is flat from there on, and more of it
# than of the products' goes into finding the best in blocks of 4,096 rows. On an accelerator 512 MiB.
CPU_BLOCK = (16_384, 512)
DEVICE_BLOCK = (131_072, 1_024)
QUERIES_AT_ONCE = 65_536  # whose directions and best rows are held while the matrix passes by


@dataclass
class _Asked:
    """Queries whose scores fit into one block.

    Attributes
    ----------
    units : tensor [q, D]
        Directions of length 1 (0 for a query that cancels itself out).
    given : list of set of int
        Rows that each query names; never among its answers.
    best : (tensor [q, k], int64 tensor [q, k])
        Scores and rows found so far, the best first, equal ones by row.
    """

    units: torch.Tensor
    given: list[set[int]]
    best: tuple[torch.Tensor, torch.Tensor] = field(init=False)

    def __post_init__(self) -> None:
        count, device = len(self.units), self.units.device
        none = torch.empty((count, 0), dtype=torch.int64, device=device)
        self.best = torch.empty((count, 0), dtype=self.units.dtype, device=device), none


@overload
def most_similar_batch(
    wv: KeyedVectors,
    keys: Iterable[Any],
    topn: SupportsIndex = 10,
    *,
    negative: Iterable[Any] | None = None,
    clip_start: int = 0,
    clip_end: int | None = None,
    restrict_vocab: int | None = None,
    device: DeviceLike = None,
) -> list[list[tuple[Any, float]]]: ...


@overload
def most_similar_batch(
    wv: KeyedVectors,
    keys: Iterable[Any],
    topn: None,
    *,
    negative: Iterable[Any] | None = None,
    clip_start: int = 0,
    clip_end: int | None = None,
    restrict_vocab: int | None = None,
    device: DeviceLike = None,
) -> np.ndarray: ...


def most_similar_batch(
    wv: KeyedVectors,
    keys: Iterable[Any],
    topn: SupportsIndex | None = 10,
    *,
    negative: Iterable[Any] | None = None,
    clip_start: int = 0,
    clip_end: int | None = None,
    restrict_vocab: int | None = None,
    device: DeviceLike = None,
) -> list[list[tuple[Any, float]]] | np.ndarray:
    """Answer many `wv.most_similar` queries: the same answers, to the rounding of float32, in the same order.

    Exact, without an index. Keys with equal scores come in the order of their rows (gensim: in any order). Beside the
    answers it needs 4 * D bytes for each of up to 65,536 queries at a time, and 32 MiB of scores and a block of 16,384
    rows (512 MiB and 131,072 rows on an accelerator), whatever the size of the vocabulary.

    Example: most_similar_batch(model.wv, ["chip", ["king", "woman"]], negative=[None, "man"], topn=3)

    Parameters
    ----------
    wv : gensim.models.KeyedVectors
        Whose rows are compared: `model.wv`, `model.output_vectors`, loaded ones.
    keys : iterable of queries, or float array [Q, D]
        Each is what `most_similar` takes as `positive`: a key, a vector [D], or a list of keys, vectors and
        (key, weight) pairs.
    topn : int or None
        Answers to each query. None: the similarities of all rows, which takes Q * V numbers.
    negative : iterable, optional
        As many entries as queries: what `most_similar` takes as `negative`, or None.
    clip_start, clip_end, restrict_vocab : int, optional
        The rows that may be answers, as in `most_similar`.
    device : str or torch.device, optional
        Where the products are made: "auto" (default), "cpu", "cuda", ...

    Returns
    -------
    list of list of (key, float)
        For each query its best keys and their cosine similarities. A key whose vector is zero has none: nan, last.
    float array [Q, rows]
        With topn=None.

    Raises
    ------
    UnknownKeyError (a KeyError)
        A key is not in the vocabulary.
    QueryError (a ValueError)
        A query without a key, a vector of another size, or `negative` of another length.
    QueryTypeError (a TypeError)
        `keys` is one string or one vector.
    """
    asked = _queries(keys, negative)
    if topn is not None and operator.index(topn) < 1:
        return [[] for _ in asked]
    if restrict_vocab:
        clip_start, clip_end = 0, restrict_vocab
    rows = range(*slice(clip_start, clip_end or len(wv.vectors)).indices(len(wv.vectors)))
    _fill_norms(wv)
    where = choose(device, "torch").device
    keys_and_weights = [_resolved(wv, *query) for query in asked]
    answers: list[list[tuple[Any, float]]] = []
    similarities = np.empty((len(asked) if topn is None else 0, len(rows)), dtype=_dtype(wv, where))
    with torch.inference_mode(), _full_precision():
        for first in range(0, len(asked), QUERIES_AT_ONCE):
            part = keys_and_weights[first : first + QUERIES_AT_ONCE]
            blocks = _in_blocks(wv, part, where)
            if topn is None:
                _fill(similarities[first : first + len(part)], wv, blocks, rows)
            else:
                _search(wv, blocks, rows, operator.index(topn))
                answers += (answer for block in blocks for answer in _answers(wv, block, operator.index(topn)))
    return similarities if topn is None else answers


# ---- from what was asked to directions -------------------------------------------------------------------------------


def _queries(keys: Iterable[Any], negative: Iterable[Any] | None) -> list[tuple[list[Any], list[Any]]]:
    """What is asked for and what against, for each query, as gensim's `positive` and `negative` lists."""
    one_vector = isinstance(keys, np.ndarray) and keys.ndim < 2 and keys.dtype.kind == "f"
    if isinstance(keys, KEY_TYPES) or one_vector:
        raise QueryTypeError(
            f"keys must be a list of queries, got {'one vector' if one_vector else repr(keys)}; "
            "for one query give a list of one"
        )
    wanted = [_listed(query) for query in keys]
    if isinstance(negative, KEY_TYPES):
        raise QueryTypeError(f"negative must be a list with an entry for each query, got {negative!r}")
    unwanted = [[] for _ in wanted] if negative is None else [_listed(query) for query in negative]
    if len(wanted) != len(unwanted):
        raise QueryError(f"{len(wanted)} queries but {len(unwanted)} entries of negative; give one for each (or None)")
    return list(zip(wanted, unwanted, strict=True))


def _listed(query: Any) -> list[Any]:
    if query is None:
        return []
    if isinstance(query, KEY_TYPES) or (isinstance(query, np.ndarray) and query.ndim == 1):
        return [query]
    try:
        return list(query)
    except TypeError:
        raise QueryTypeError(
            f"a query is a key, a vector or a list of them, got {query!r} ({type(query).__name__})"
        ) from None


def _resolved(wv: KeyedVectors, wanted: list[Any], unwanted: list[Any]) -> list[tuple[int | np.ndarray, float]]:
    """Each part of a query as a row, or a vector that has no row, and its weight."""
    if not wanted and not unwanted:
        raise QueryError("cannot compute mean with no input: a query names no key and no vector")
    parts = []
    for sign, items in ((1.0, wanted), (-1.0, unwanted)):
        for item in items:
            key, weight = item, sign
            if not isinstance(item, (*KEY_TYPES, np.ndarray)):
                try:
                    key, weight = item
                except (TypeError, ValueError):
                    raise QueryTypeError(f"{item!r} in a query is no key, vector or (key, weight) pair") from None
            parts.append((_row_or_vector(wv, key), float(weight)))
    return parts


def _row_or_vector(wv: KeyedVectors, key: Any) -> int | np.ndarray:
    if isinstance(key, np.ndarray):
        if key.shape != (wv.vector_size,):
            raise QueryError(f"a vector of shape {key.shape} was given, the model's have shape ({wv.vector_size},)")
        return key
    row = wv.get_index(key, -1)
    if row >= 0:
        return int(row)
    if key in wv:  # FastText makes vectors for words that it has never seen
        return wv.get_vector(key, norm=True)
    raise UnknownKeyError(f"Key '{key}' not present in vocabulary")


def _directions(wv: KeyedVectors, queries: list[list[tuple[int | np.ndarray, float]]], dtype: np.dtype) -> np.ndarray:
    """The weighted means of the queries' unit vectors, of length 1: array [Q, D]."""
    parts = [part for query in queries for part in query]
    rows = np.array([place if isinstance(place, int) else 0 for place, _ in parts])
    with np.errstate(invalid="ignore", divide="ignore"):  # a zero vector has no direction: nan, as in gensim
        vectors = wv.vectors[rows].astype(dtype) / wv.norms[rows, np.newaxis]
    for number, (place, _) in enumerate(parts):
        if not isinstance(place, int):
            vectors[number] = place
    weights = np.array([weight for _, weight in parts], dtype=dtype)
    starts = np.cumsum([0] + [len(query) for query in queries[:-1]])
    sums = np.add.reduceat(vectors * weights[:, np.newaxis], starts, axis=0)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.divide(sums, lengths, out=sums, where=lengths != 0)


# ---- the search ------------------------------------------------------------------------------------------------------


def _dtype(wv: KeyedVectors, device: torch.device) -> np.dtype:
    """float64 for float64 vectors where the device has it, else float32."""
    return np.dtype(np.float64 if wv.vectors.dtype == np.float64 and device.type != "mps" else np.float32)


def _block(device: torch.device) -> tuple[int, int]:
    return CPU_BLOCK if device.type == "cpu" else DEVICE_BLOCK


def _in_blocks(
    wv: KeyedVectors, queries: list[list[tuple[int | np.ndarray, float]]], where: torch.device
) -> list[_Asked]:
    at_once = _block(where)[1]
    blocks = []
    for first in range(0, len(queries), at_once):
        part = queries[first : first + at_once]
        units = torch.from_numpy(_directions(wv, part, _dtype(wv, where))).to(where)
        blocks.append(_Asked(units, [{place for place, _ in query if isinstance(place, int)} for query in part]))
    return blocks


def _fill_norms(wv: KeyedVectors) -> None:
    """As `wv.fill_norms()`, bit for bit, which makes a temporary copy of the whole matrix."""
    if wv.norms is None:
        step = CPU_BLOCK[0]
        parts = [np.linalg.norm(wv.vectors[first : first + step], axis=1) for first in range(0, len(wv.vectors), step)]
        wv.norms = np.concatenate(parts) if parts else np.empty(0, dtype=wv.vectors.dtype)


def _units(wv: KeyedVectors, rows: range, where: torch.device) -> Iterator[tuple[int, torch.Tensor]]:
    """Blocks of rows on the device, of length 1, each with its first row's number."""
    size, dtype = _block(where)[0], _dtype(wv, where)
    for first in range(rows.start, rows.stop, size):
        part = slice(first, min(first + size, rows.stop))
        with np.errstate(invalid="ignore", divide="ignore"):  # zero vectors: nan, as in gensim
            units = np.divide(wv.vectors[part], wv.norms[part, np.newaxis], dtype=dtype)
        yield first, torch.from_numpy(units).to(where)


def _search(wv: KeyedVectors, blocks: list[_Asked], rows: range, topn: int) -> None:
    largest = len(blocks[0].units) * min(len(rows), _block(blocks[0].units.device)[0])
    memory = blocks[0].units.new_empty(largest)  # taken once: fresh pages cost more time than what is written to them
    for first, units in _units(wv, rows, blocks[0].units.device):
        for asked in blocks:
            scores = memory[: len(asked.units) * len(units)].view(len(asked.units), len(units))
            torch.mm(asked.units, units.T, out=scores)
            keep = topn + max(map(len, asked.given))  # a query's own keys may be among the best
            scores, found = _best(scores, keep)
            scores, found = torch.cat([asked.best[0], scores], 1), torch.cat([asked.best[1], found + first], 1)
            scores, order = scores.sort(dim=1, descending=True, stable=True)  # equal scores: lower rows came first
            asked.best = scores[:, :keep], found.gather(1, order[:, :keep])


def _best(scores: torch.Tensor, keep: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The best columns of each row, in rising order of the columns: scores and columns, [q, min(keep, B)].

    Of equal scores at the border the lowest columns are kept. A nan counts as less than any number.
    """
    reach = min(keep + 1, scores.shape[1])  # one more, to see whether the border lies between equal scores
    values, columns = scores.topk(reach, dim=1)
    if values.isnan().any():  # topk takes them for the greatest
        scores = scores.masked_fill(scores.isnan(), -torch.inf)
        values, columns = scores.topk(reach, dim=1)
    if reach > keep:
        tied = (values[:, keep - 1] == values[:, keep]).nonzero().squeeze(1)
        if len(tied):
            values[tied], columns[tied] = (
                part[:, :reach] for part in scores[tied].sort(dim=1, descending=True, stable=True)
            )
        values, columns = values[:, :keep], columns[:, :keep]
    columns, order = columns.sort(dim=1)
    return values.gather(1, order), columns


def _answers(wv: KeyedVectors, asked: _Asked, topn: int) -> Iterator[list[tuple[Any, float]]]:
    names = wv.index_to_key
    for scores, rows, given in zip(asked.best[0].tolist(), asked.best[1].tolist(), asked.given, strict=True):
        found = [
            (names[row], score if score > -np.inf else np.nan)
            for score, row in zip(scores, rows, strict=True)
            if row not in given
        ]
        yield found[:topn]


def _fill(similarities: np.ndarray, wv: KeyedVectors, blocks: list[_Asked], rows: range) -> None:
    """Write all similarities of the queries."""
    for first, units in _units(wv, rows, blocks[0].units.device):
        columns, start = slice(first - rows.start, first - rows.start + len(units)), 0
        for asked in blocks:
            similarities[start : start + len(asked.units), columns] = (asked.units @ units.T).cpu().numpy()
            start += len(asked.units)


@contextmanager
def _full_precision() -> Iterator[None]:
    """No TF32 or bfloat16 in products, whatever the program has set: scores would lose the third digit."""
    if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):  # torch < 2.9
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    # From 2.9 on, asking in the old way is an error where a program has set it in the new way.
    libraries = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    settings = [library.fp32_precision for library in libraries]
    for library in libraries:
        library.fp32_precision = "ieee"
    try:
        yield
    finally:
        for library, setting in zip(libraries, settings, strict=True):
            library.fp32_precision = setting
