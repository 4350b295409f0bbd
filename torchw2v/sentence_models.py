"""Word vectors as static sentence embeddings of other libraries: sentence-transformers and model2vec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gensim.models import KeyedVectors

from torchw2v.errors import SettingError

UNKNOWN = "[UNK]"


def to_static_embedding(vectors: KeyedVectors, *, normalizer: Any = None, pre_tokenizer: Any = None) -> Any:
    """A module for `SentenceTransformer(modules=[...])`: a text is the mean of its words' vectors.

    Parameters
    ----------
    vectors : gensim.models.KeyedVectors
        Of strings. Copied.
    normalizer, pre_tokenizer : optional
        How a text becomes words, in terms of the package tokenizers (`tokenizers.normalizers.Lowercase()`, ...): as the
        corpus was cut that the vectors were trained on. Without them at white space, as LineSentence does.

    Returns
    -------
    sentence_transformers.sentence_transformer.modules.StaticEmbedding
        Unknown words have a row of zeros: they do not turn a text's vector.

    Raises
    ------
    ImportError
        The package sentence-transformers is missing, or older than 6.
    SettingError (a ValueError)
        There are no vectors, a key is not a string, or it is "[UNK]".
    """
    try:
        from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    except ImportError as error:
        raise ImportError("to_static_embedding() needs: pip install 'sentence-transformers>=6'") from error
    matrix, tokenizer = _rows_and_tokenizer(vectors, normalizer, pre_tokenizer)
    return StaticEmbedding(tokenizer, embedding_weights=matrix)


def to_model2vec(
    vectors: KeyedVectors,
    *,
    normalize: bool = False,
    normalizer: Any = None,
    pre_tokenizer: Any = None,
    config: Mapping[str, Any] | None = None,
) -> Any:
    """A model2vec model, whose `save_pretrained(folder)` writes safetensors, tokenizer.json and config.json.

    Parameters
    ----------
    vectors : gensim.models.KeyedVectors
        Of strings. Copied.
    normalize : bool
        Whether `encode` gives vectors of length 1.
    normalizer, pre_tokenizer : optional
        As in `to_static_embedding`.
    config : mapping, optional
        More entries for config.json.

    Returns
    -------
    model2vec.StaticModel
        Unknown words are left out, as in training. Its `encode` reads 512 words of a text unless told otherwise.

    Raises
    ------
    ImportError
        The package model2vec is missing.
    SettingError (a ValueError)
        As in `to_static_embedding`.
    """
    try:
        from model2vec import StaticModel
    except ImportError as error:
        raise ImportError("to_model2vec() needs: pip install 'model2vec>=0.10'") from error
    matrix, tokenizer = _rows_and_tokenizer(vectors, normalizer, pre_tokenizer)
    return StaticModel(matrix, tokenizer, config=dict(config or {}), normalize=normalize)


def _rows_and_tokenizer(vectors: KeyedVectors, normalizer: Any, pre_tokenizer: Any) -> tuple[np.ndarray, Any]:
    """Float32 rows [V + 1, D], the unknown word's first, and a tokenizer that gives their numbers."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit

    if not len(vectors):
        raise SettingError("there are no vectors; train the model first")
    others = [key for key in vectors.index_to_key if not isinstance(key, str)]
    if others or UNKNOWN in vectors.key_to_index:
        what = f"{others[0]!r}" if others else f"{UNKNOWN!r}, which stands for unknown words there"
        raise SettingError(f"texts consist of strings, and the vocabulary has {what}; rename such words first")
    keys = {UNKNOWN: 0} | {key: row for row, key in enumerate(vectors.index_to_key, 1)}
    tokenizer = Tokenizer(WordLevel(keys, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = WhitespaceSplit() if pre_tokenizer is None else pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    matrix = np.zeros((len(keys), vectors.vector_size), np.float32)
    matrix[1:] = vectors.vectors
    return matrix, tokenizer
