"""Word vectors as a torch.nn.Embedding with the vocabulary that goes with it, and back."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gensim.models import KeyedVectors

from torchw2v.errors import SettingError, SettingTypeError
from torchw2v.token_batches import TokenVocabulary


class EmbeddingLayer(NamedTuple):
    """A layer and whose its rows are.

    Attributes
    ----------
    embedding : torch.nn.Embedding
        A copy of the vectors, with the special tokens' rows.
    vocabulary : TokenVocabulary
        Which row is whose.
    """

    embedding: torch.nn.Embedding
    vocabulary: TokenVocabulary


def to_embedding(
    vectors: KeyedVectors,
    *,
    padding_idx: int | None = None,
    freeze: bool = True,
    sparse: bool = False,
    dtype: torch.dtype | None = None,
    unk: Hashable | None = None,
    pad: Hashable = "<pad>",
    **options: Any,
) -> EmbeddingLayer:
    """Copy word vectors into a torch.nn.Embedding.

    Words keep their order. Without `padding_idx`, and with padding_idx=-1, a word's row is that of the vectors
    (`key_to_index`); with padding_idx=0 the special tokens' rows come first and move it.

    Parameters
    ----------
    vectors : gensim.models.KeyedVectors
        `model.wv`, `model.output_vectors`, ...
    padding_idx : int, optional
        Add a row of zeros that gets no gradient, for padding: 0 makes it the first row, -1 (or its number) the last.
    freeze, sparse : bool
        As in `torch.nn.Embedding.from_pretrained`, with its defaults.
    dtype : torch.dtype, optional
        Of the weights; the vectors' own if not given.
    unk : hashable, optional
        The token whose row stands for unknown ones. Where the vocabulary has that word, its row; else a new one beside
        the padding row (without one, the last), filled with the mean of all vectors.
    pad : hashable
        The name of the padding row in the vocabulary.
    **options
        max_norm, norm_type, scale_grad_by_freq: as in `torch.nn.Embedding.from_pretrained`.

    Returns
    -------
    EmbeddingLayer
        A named tuple (embedding, vocabulary).

    Raises
    ------
    SettingError (a ValueError)
        There are no vectors, padding_idx is neither the first nor the last row, or a word has the padding row's name.
    """
    words = len(vectors)
    if not words:
        raise SettingError("there are no vectors to make an embedding of; train the model first")
    adds_unk = unk is not None and unk not in vectors.key_to_index
    rows = words + adds_unk + (padding_idx is not None)
    first = _is_first(padding_idx, rows)
    if padding_idx is not None and (pad in vectors.key_to_index or pad == unk):
        raise SettingError(f"pad={pad!r} is the name of another row; name the padding row otherwise (pad=...)")

    matrix = torch.zeros(
        (rows, vectors.vector_size), dtype=dtype or torch.from_numpy(np.empty(0, vectors.vectors.dtype)).dtype
    )
    begin = rows - words if first else 0
    matrix[begin : begin + words] = torch.from_numpy(np.require(vectors.vectors, requirements=["C", "W"]))
    specials: list[Hashable] = [pad] * (padding_idx is not None)
    if adds_unk:
        assert unk is not None
        matrix[1 if first else words] = torch.from_numpy(vectors.vectors.mean(0, dtype=np.float64))
        specials.insert(1 if first else 0, unk)
    keys = (*specials, *vectors.index_to_key) if first else (*vectors.index_to_key, *specials)
    padding = None if padding_idx is None else (0 if first else rows - 1)
    unknown = None if unk is None else keys.index(unk)
    embedding = torch.nn.Embedding.from_pretrained(matrix, freeze=freeze, padding_idx=padding, sparse=sparse, **options)
    return EmbeddingLayer(embedding, TokenVocabulary(keys, padding, unknown, tuple(specials)))


def _is_first(padding_idx: int | None, rows: int) -> bool:
    """Whether special tokens come before the words."""
    if padding_idx is None or padding_idx in (-1, rows - 1):
        return False
    if padding_idx == 0:
        return True
    raise SettingError(f"padding_idx={padding_idx} is neither the first row (0) nor the last one (-1, here {rows - 1})")


def rows_of_words(
    embedding: torch.nn.Embedding, keys: TokenVocabulary | Mapping[Hashable, int] | Sequence[Hashable]
) -> tuple[list[Hashable], np.ndarray]:
    """The words of an embedding and their rows, without special tokens: see `TorchWord2Vec.from_embedding`.

    Returns
    -------
    (list, float32 array [V, D])
        In the order of the embedding's rows.
    """
    if not isinstance(embedding, torch.nn.Embedding):
        raise SettingTypeError(f"from_embedding() takes a torch.nn.Embedding, got a {type(embedding).__name__}")
    size, special = embedding.num_embeddings, set()
    if isinstance(keys, TokenVocabulary):
        special, keys = set(keys.specials), keys.index_to_key
    if isinstance(keys, Mapping):
        named = {row: key for key, row in keys.items()}
        if len(named) != len(keys) or not all(isinstance(row, int | np.integer) and 0 <= row < size for row in named):
            raise SettingError(f"keys must name different rows, 0 to {size - 1} of the embedding")
    else:
        named = dict(enumerate(keys))
        if len(named) != size or len(set(named.values())) != size:
            distinct = len(set(named.values()))
            raise SettingError(
                f"the embedding has {size} rows, and there are {len(named)} keys, {distinct} of them different; give "
                "one for each row, or a mapping from keys to rows"
            )
    rows = [row for row in sorted(named) if named[row] not in special and row != embedding.padding_idx]
    if not rows:
        raise SettingError("the embedding has no rows of words")
    weights = embedding.weight.detach()[torch.tensor(rows, device=embedding.weight.device)]
    return [named[row] for row in rows], weights.to("cpu", torch.float32).numpy()
