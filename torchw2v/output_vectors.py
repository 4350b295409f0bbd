"""The other matrix: a word's row as what is predicted (`syn1neg`), alone and averaged with its row in `wv`."""

from __future__ import annotations

import numpy as np
from gensim.models import KeyedVectors
from gensim.models.word2vec import Word2Vec

from torchw2v.errors import NoOutputVectorsError, WeightsError

_OF_TRAINING = ("sample_int", "code", "point")  # word attributes that say how to train, not what a word is


def output_vectors(model: Word2Vec) -> KeyedVectors:
    """The output rows of a model's words; see `TorchWord2Vec.output_vectors`."""
    return _keyed(model, _outputs(model))


def averaged_vectors(model: Word2Vec) -> KeyedVectors:
    """The mean of input and output rows; see `TorchWord2Vec.averaged_vectors`."""
    mean = np.add(model.wv.vectors, _outputs(model), dtype=np.float32)
    mean *= np.float32(0.5)
    return _keyed(model, mean)


def _outputs(model: Word2Vec) -> np.ndarray:
    outputs = getattr(model, "syn1neg", None)
    if outputs is None:
        why = "has no vocabulary yet: call build_vocab()" if not len(model.wv) else (
            f"was made with negative={model.negative}, hs={model.hs}: hierarchical softmax has rows of Huffman nodes "
            "(syn1), not of words; train with negative > 0"
        )  # fmt: skip
        raise NoOutputVectorsError(f"there are no output vectors, for the model {why}")
    if outputs.shape != model.wv.vectors.shape:
        raise WeightsError(f"syn1neg has shape {outputs.shape} and wv.vectors {model.wv.vectors.shape}; train first")
    return outputs


def _keyed(model: Word2Vec, vectors: np.ndarray) -> KeyedVectors:
    """KeyedVectors of these rows with the words, order and attributes of `wv`. Adding words there leaves the model."""
    wv = model.wv
    keyed = KeyedVectors(wv.vector_size, dtype=vectors.dtype)
    keyed.vectors, keyed.next_index = vectors, len(wv)
    keyed.index_to_key, keyed.key_to_index = list(wv.index_to_key), dict(wv.key_to_index)
    keyed.expandos = {name: values for name, values in wv.expandos.items() if name not in _OF_TRAINING}
    return keyed
