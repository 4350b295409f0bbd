"""Training on token ids: no strings, no encoding, so that what is timed is training."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from compat.roofline import bytes_per_token, path_nodes, rows_per_token
from torchw2v import TorchWord2Vec
from torchw2v.corpus import CorpusChunk, EncodedCorpus
from torchw2v.gensim_state import counts_of, objective_of, tables_of
from torchw2v.ops.contract import Plan


@dataclass(frozen=True)
class IdSentences(EncodedCorpus):
    """An encoded corpus that is also an iterable of sentences, which `train()` demands.

    Attributes
    ----------
    ends : float
        When time.perf_counter() is past it, no more chunks come: the epoch is cut.
    """

    ends: float = math.inf

    def __iter__(self) -> Iterator[np.ndarray]:
        """Sentences as arrays of ids."""
        return (self.token_ids[a:b] for a, b in zip(self.sentence_offsets, self.sentence_offsets[1:], strict=False))

    def __len__(self) -> int:
        return len(self.sentence_offsets) - 1

    def chunks(self, size: int, first_position: int = 0) -> Generator[CorpusChunk, None, None]:
        """As EncodedCorpus does, until time is over."""
        for chunk in super().chunks(size, first_position):
            if time.perf_counter() > self.ends:
                return
            yield chunk

    @classmethod
    def of(cls, corpus: EncodedCorpus, ends: float = math.inf) -> IdSentences:
        """The same corpus, not copied."""
        return cls(corpus.token_ids, corpus.sentence_offsets, corpus.raw_offsets, ends)


class IdWord2Vec(TorchWord2Vec):
    """TorchWord2Vec that trains on IdSentences as they are.

    Attributes
    ----------
    plan : Plan
        Of the last training run.
    """

    plan: Plan

    def _corpus(self, sentences: Any) -> EncodedCorpus | None:
        return sentences if isinstance(sentences, IdSentences) else super()._corpus(sentences)

    def _begin_run(self, *args: Any, **kwargs: Any) -> Any:
        run = super()._begin_run(*args, **kwargs)
        self.plan = run.plan
        return run

    def traffic(self) -> float:
        """Bytes per effective token that the plan must move (compat/roofline.py)."""
        rows = rows_per_token(objective_of(self), self.plan, path_nodes(tables_of(self), counts_of(self)))
        return bytes_per_token(rows, self.vector_size)
