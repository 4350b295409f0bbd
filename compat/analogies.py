"""gensim's analogy score, all questions at once: seconds where `evaluate_word_analogies` takes a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from gensim.test.utils import datapath

from torchw2v.evaluation import word_analogies


def analogies(wv: Any, device: torch.device | str = "cpu", path: Path | None = None) -> float:
    """Share of analogies solved, as `wv.evaluate_word_analogies` counts: 3CosAdd, letter case ignored.

    Parameters
    ----------
    wv : gensim.models.KeyedVectors
    device : torch.device or str
        Where the products are made.
    path : Path, optional
        Google's questions, as gensim carries them, if not given.

    Returns
    -------
    float
        0.0 when no question has all of its words in the vocabulary.
    """
    sections = word_analogies(wv, str(path or datapath("questions-words.txt")), device=device)
    solved = sum(len(section.correct) for section in sections)
    asked = solved + sum(len(section.incorrect) for section in sections)
    return solved / asked if asked else 0.0
