"""How far a step goes: alpha for all rows, or AdaGrad's rate of each row, and the state that this takes.

AdaGrad keeps one float32 a row of each matrix, beside the matrix: `vectors_squares` beside `wv.vectors`,
`syn1neg_squares` and `syn1_squares`. They are there once a model has been trained with it, are saved and copied with
it, and go on from where they are in the next `train()`.
"""

from __future__ import annotations

from gensim.models.word2vec import Word2Vec

from torchw2v.errors import SettingError
from torchw2v.gensim_state import ADAGRAD, SGD, SQUARES, extend_squares


class Optimizers(Word2Vec):
    """The methods that know of optimizers."""

    optimizer: str = SGD

    def _check_optimizer(self) -> None:
        """Refuse an optimizer that does not exist."""
        if self.optimizer not in (SGD, ADAGRAD):
            raise SettingError(f"optimizer={self.optimizer!r} is unknown; give {SGD!r} (gensim's) or {ADAGRAD!r}")

    def init_weights(self) -> None:
        """Start anew as gensim does, AdaGrad's sums too."""
        super().init_weights()
        for name in SQUARES:
            self.__dict__.pop(name, None)

    def update_weights(self) -> None:
        """Add rows for new words as gensim does; AdaGrad knows nothing of them yet."""
        super().update_weights()
        for name in SQUARES:
            if getattr(self, name, None) is not None:
                setattr(self, name, extend_squares(getattr(self, name), len(self.wv)))
