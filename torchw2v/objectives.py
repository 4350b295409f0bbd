"""What a model is trained towards where that is not gensim's: the full softmax, CBOW's true gradient.

gensim's code asks `negative` whether a model has `syn1neg`, the rows of words as outputs. With objective="softmax" it
has one whatever `negative` is: the methods here say so.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from gensim.models.word2vec import Word2Vec

from torchw2v.errors import SettingError
from torchw2v.gensim_state import CORRECTED, SOFTMAX, WORD2VEC, full_softmax, grow_outputs

_DEFAULT_NEGATIVE = 5  # gensim's, which cannot be told from an argument that was left out


class Objectives(Word2Vec):
    """The methods that know of objectives besides `hs` and `negative`."""

    objective: str | None = None
    cbow_gradient: str = WORD2VEC

    def _check_cbow_gradient(self) -> None:
        """Refuse a gradient that does not exist, or where skip-gram has one only."""
        if self.cbow_gradient not in (WORD2VEC, CORRECTED):
            raise SettingError(
                f"cbow_gradient={self.cbow_gradient!r} is unknown; give {WORD2VEC!r} (gensim's) or {CORRECTED!r}"
            )
        if self.cbow_gradient == CORRECTED and self.sg:
            raise SettingError(
                f"cbow_gradient={CORRECTED!r} says how CBOW trains, but sg={self.sg!r} is skip-gram, whose gradient "
                "needs no correction: leave cbow_gradient out, or give sg=0"
            )

    def _check_objective(self) -> None:
        """Refuse an objective that does not exist, or that other settings contradict."""
        if self.objective is None:
            return
        if self.objective != SOFTMAX:
            raise SettingError(
                f"objective={self.objective!r} is unknown; give {SOFTMAX!r}, or None to train as hs and negative say"
            )
        if self.hs:
            raise SettingError(
                f"objective={SOFTMAX!r} and hs={self.hs!r} are two objectives: give hs=0, or leave objective out for "
                "hierarchical softmax"
            )
        if self.negative not in (0, _DEFAULT_NEGATIVE):
            raise SettingError(
                f"objective={SOFTMAX!r} compares with all words and draws no negatives, but negative={self.negative!r} "
                "was given: leave negative out or give 0, or leave objective out for negative sampling"
            )

    def _output_rows_alone(self) -> bool:
        """Whether there is a `syn1neg` of which gensim's code does not know."""
        return full_softmax(self) and not self.negative

    def _as_gensim_sees_outputs(self) -> Any:
        """The model for gensim's code that only reads: with syn1neg, `negative` is not 0. Shares all arrays."""
        if not self._output_rows_alone():
            return self
        view = copy.copy(self)
        view.negative = _DEFAULT_NEGATIVE
        return view

    def init_weights(self) -> None:
        """Start anew as gensim does; the full softmax has output rows also with negative=0."""
        super().init_weights()
        if self._output_rows_alone():
            self.syn1neg = np.zeros((len(self.wv), self.layer1_size), dtype=np.float32)

    def update_weights(self) -> None:
        """Add rows for new words as gensim does, to the output rows of the full softmax, too."""
        grow_outputs(self, len(self.wv.vectors))  # for words that were put into wv by hand; gensim forgets them
        super().update_weights()
        if self._output_rows_alone() and hasattr(self, "syn1neg"):  # else train() says that it is missing
            new = np.zeros((len(self.wv) - len(self.syn1neg), self.layer1_size), dtype=np.float32)
            self.syn1neg = np.vstack([self.syn1neg, new])

    def estimate_memory(self, vocab_size=None, report=None):
        """Estimate as gensim does, output rows of the full softmax included."""
        return super(Objectives, self._as_gensim_sees_outputs()).estimate_memory(vocab_size, report)

    def predict_output_word(self, context_words_list, topn=10):
        """As gensim's, from the output rows; after training on the full softmax these are the model's probabilities."""
        return super(Objectives, self._as_gensim_sees_outputs()).predict_output_word(context_words_list, topn)
