"""Vectors in and out of a model: the methods by which it meets other programs' vectors and layers."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from gensim.models import KeyedVectors

from torchw2v.embedding import EmbeddingLayer, rows_of_words, to_embedding
from torchw2v.errors import SettingError
from torchw2v.output_vectors import averaged_vectors, output_vectors
from torchw2v.pretrained import InitReport, Pretrained
from torchw2v.saving import Saving
from torchw2v.token_batches import TokenVocabulary

Model = TypeVar("Model", bound="Exchange")


class Exchange(Saving):
    """The methods that hand vectors out and take them in.

    Attributes
    ----------
    init_report : InitReport or None
        Which words `init_from` gave their starting vectors, when the vocabulary was last built or enlarged.
    """

    init_report: InitReport | None = None
    _pretrained: Pretrained | None = None

    # ---- starting vectors ------------------------------------------------------------------------------------

    def init_weights(self) -> None:
        """As gensim's; then words that `init_from` has take its vectors."""
        super().init_weights()
        self._start_from_pretrained(0)

    def update_weights(self) -> None:
        """As gensim's; then new words that `init_from` has take its vectors. What is trained already stays."""
        trained = len(self.wv.vectors)
        super().update_weights()
        self._start_from_pretrained(trained)

    def _start_from_pretrained(self, first_row: int) -> None:
        if self._pretrained is not None:
            self.init_report = self._pretrained.start(self.wv, first_row)

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

    # ---- torch.nn.Embedding ----------------------------------------------------------------------------------

    def to_embedding(
        self,
        *,
        padding_idx: int | None = None,
        freeze: bool = True,
        sparse: bool = False,
        dtype: torch.dtype | None = None,
        unk: Hashable | None = None,
        pad: Hashable = "<pad>",
        **options: Any,
    ) -> EmbeddingLayer:
        """Copy `wv` into a torch.nn.Embedding.

        Parameters
        ----------
        padding_idx, freeze, sparse, dtype, unk, pad, **options : optional
            As in `torchw2v.to_embedding`, which takes any KeyedVectors, and whose errors these are, too.

        Returns
        -------
        EmbeddingLayer
            A named tuple (embedding, vocabulary); the vocabulary has `key_to_index`, `encode`, `batch`, `collate`.
        """
        return to_embedding(
            self.wv, padding_idx=padding_idx, freeze=freeze, sparse=sparse, dtype=dtype, unk=unk, pad=pad, **options
        )

    @classmethod
    def from_embedding(
        cls: type[Model],
        embedding: torch.nn.Embedding,
        keys: TokenVocabulary | Mapping[Hashable, int] | Sequence[Hashable],
        *,
        counts: Mapping[Hashable, int] | None = None,
        **settings: Any,
    ) -> Model:
        """A model whose `wv` is a copy of an embedding, to be queried, saved and trained on.

        Like unpickling, it does not call a subclass's constructor. The output matrix starts at zero, as in a new model.

        Parameters
        ----------
        embedding : torch.nn.Embedding
            On any device, of any floating type.
        keys : TokenVocabulary, mapping or sequence
            What `to_embedding` gave beside the layer; or the row of each word; or the word of each row. Left out are
            the padding row, rows that a mapping does not name, and special tokens that `to_embedding` added.
        counts : mapping, optional
            How often each word occurs in the text that the model stands for. Without it every count is 1, and
            `build_vocab(sentences, update=True)` before `train()` adds those of a text.
        **settings
            Arguments of the constructor, but for vector_size and corpora.

        Raises
        ------
        SettingError (a ValueError)
            Keys do not fit the rows, a count is missing or not positive, or a setting does not belong here.
        SettingTypeError (a TypeError)
            It is no torch.nn.Embedding.
        """
        for name in ("vector_size", "sentences", "corpus_file", "init_from"):
            if name in settings:
                raise SettingError(f"from_embedding() takes no {name}; the embedding's rows are the vectors")
        words, vectors = rows_of_words(embedding, keys)
        raw_counts = {word: (1 if counts is None else counts.get(word, 0)) for word in words}
        missing = [word for word, count in raw_counts.items() if count < 1]
        if missing:
            raise SettingError(f"counts has no positive count of {len(missing)} words (first: {missing[:3]})")
        model = cls._empty(vector_size=vectors.shape[1], **settings)
        model._take_words(raw_counts)
        model.wv.vectors[: len(words)] = vectors  # a null word's row stands behind them
        model.add_lifecycle_event("from_embedding", msg=f"{len(words)} words of {embedding}")
        return model

    def _take_words(self, counts: dict[Hashable, int]) -> None:
        """Make these the vocabulary, all of them, in this order."""
        asked = {name: getattr(self, name) for name in ("min_count", "sorted_vocab", "max_final_vocab")}
        self.raw_vocab: Any = counts
        self.sorted_vocab, self.max_final_vocab = 0, None
        self.prepare_vocab(min_count=1)
        self.__dict__.update(asked)
        self.prepare_weights()
