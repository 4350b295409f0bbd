"""gensim's analogy score, thousands of questions at a time: a second where `evaluate_word_analogies` takes a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gensim.test.utils import datapath

RESTRICT_VOCAB = 300_000  # gensim's default: only so many words, the most frequent ones, may be an answer
_BATCH = 512  # questions of one product: 600 MB of scores at 300,000 words


def questions(path: Path, place: dict[str, int]) -> np.ndarray:
    """Rows of the words of each question (a : b = c : d) whose words are all known: int64 array [Q, 4].

    Parameters
    ----------
    path : Path
        Four words a line; lines that start with ":" name sections.
    place : dict
        Row of each word in upper case.
    """
    with path.open(encoding="utf-8") as lines:
        asked = [line.upper().split() for line in lines if not line.startswith(":")]
    known = [[place[word] for word in words] for words in asked if len(words) == 4 and all(w in place for w in words)]
    return np.array(known, dtype=np.int64).reshape(-1, 4)


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
    keys = [str(key).upper() for key in wv.index_to_key[:RESTRICT_VOCAB]]
    place = {key: row for row, key in reversed(list(enumerate(keys)))}  # of two spellings, the more frequent one
    asked = torch.from_numpy(questions(path or Path(datapath("questions-words.txt")), place)).to(device)
    if not len(asked):
        return 0.0
    spelling = torch.tensor([place[key] for key in keys], device=device)  # the row that stands for each row's word
    units = torch.nn.functional.normalize(torch.from_numpy(wv.vectors[: len(keys)]).to(device))
    solved = 0
    for a, b, c, wanted in (part.T for part in asked.split(_BATCH)):
        scores = (units[b] + units[c] - units[a]) @ units.T  # [Q, V]
        for given in (a, b, c):
            scores.masked_fill_(spelling == given.unsqueeze(1), -torch.inf)
        solved += int((spelling[scores.argmax(1)] == wanted).sum())
    return solved / len(asked)
