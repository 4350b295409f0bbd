"""Training on token ids: no strings, no encoding, so that what is timed is training."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

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
    loop_seconds : float
        Of its epochs, without what `train()` does before the first and after the last: tables, weights to the device
        and back.
    """

    plan: Plan
    loop_seconds = 0.0
    _loop_began = 0.0

    def _corpus(self, sentences: Any) -> EncodedCorpus | None:
        return sentences if isinstance(sentences, IdSentences) else super()._corpus(sentences)

    def _begin_run(self, *args: Any, **kwargs: Any) -> Any:
        if self._run is None:
            self.loop_seconds = 0.0
        run = super()._begin_run(*args, **kwargs)
        self.plan = run.plan
        return run

    def _begin_epoch(self, *args: Any, **kwargs: Any) -> Any:
        begun = super()._begin_epoch(*args, **kwargs)
        if self._run is not None and self._run.choice.device.type == "cuda":
            torch.cuda.synchronize(self._run.choice.device)  # the weights are there
        self._loop_began = time.perf_counter()
        return begun

    def _end_epoch(self, *args: Any, **kwargs: Any) -> Any:
        self.loop_seconds += time.perf_counter() - self._loop_began  # the engine has been asked what it trained
        return super()._end_epoch(*args, **kwargs)

    def traffic(self) -> float:
        """Bytes per effective token that the plan must move (compat/roofline.py)."""
        rows = rows_per_token(objective_of(self), self.plan, path_nodes(tables_of(self), counts_of(self)))
        return bytes_per_token(rows, self.vector_size)
