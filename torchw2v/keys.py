"""Words to the rows of their vectors."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from gensim.models import KeyedVectors

from torchw2v.errors import UnknownKeyError


def rows_of(vectors: KeyedVectors, keys: Iterable[Hashable]) -> list[int]:
    """The row of each key.

    Raises
    ------
    UnknownKeyError (a KeyError)
        A key has no vector; the message names the first ones.
    """
    keys = list(keys)
    unknown = [key for key in keys if key not in vectors.key_to_index]
    if unknown:
        raise UnknownKeyError(f"no vectors for {len(unknown)} of {len(keys)} words (first: {unknown[:5]})")
    return [vectors.key_to_index[key] for key in keys]
