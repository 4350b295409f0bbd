"""Vectors in and out of a model: the methods by which it meets other programs' vectors and layers."""

from __future__ import annotations

from gensim.models import KeyedVectors
from gensim.models.word2vec import Word2Vec

from torchw2v.output_vectors import averaged_vectors, output_vectors


class Exchange(Word2Vec):
    """The methods that hand vectors out and take them in."""

    # ---- the other matrix ------------------------------------------------------------------------------------

    @property
    def output_vectors(self) -> KeyedVectors:
        """The rows of words as what is predicted (`syn1neg`): KeyedVectors with the words, order and counts of `wv`.

        `wv` has what a word is like as a context; near to its vector among the output vectors are words that occur
        beside it, as `wv` has near to it words that occur in its place. For item sets that is "bought together" and
        "bought instead".

        A view: what training changes is seen in it, and `output_vectors.vectors[...] = ...` changes the model. Norms
        are worked out by the first query and kept, as in `wv`, so take the property anew after training.

        Raises
        ------
        NoOutputVectorsError (an AttributeError)
            The model has none: it was made with negative=0, or has no vocabulary yet.
        """
        return output_vectors(self)

    def averaged_vectors(self) -> KeyedVectors:
        """The mean of each word's two rows, in `wv` and in `output_vectors`.

        Cosines between them count words that occur together as well as words that occur in each other's place. Source:
        Levy, Goldberg and Dagan 2015 (TACL 3, sec. 3.3, "adding context vectors").

        Returns
        -------
        gensim.models.KeyedVectors
            A copy, of float32, with the words, order and counts of `wv`; saved and queried like it.

        Raises
        ------
        NoOutputVectorsError (an AttributeError)
            As in `output_vectors`.
        """
        return averaged_vectors(self)
