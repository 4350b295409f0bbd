"""fastText as a third side of compat.bench, where the package is installed: its skip-gram and CBOW without subwords.

With `minn=maxn=0` fastText's unsupervised models are word2vec's (Bojanowski et al. 2017, arXiv:1607.04606): a vector
for each word, no character n-grams. It reads a file, so the sentences are written to one before the clock starts.
"""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from gensim.models import KeyedVectors

from compat.measure import measured


def installed() -> bool:
    """Whether `import fasttext` would work."""
    return importlib.util.find_spec("fasttext") is not None


def run(sentences: list[list[str]], settings: dict[str, Any]) -> tuple[KeyedVectors, dict[str, float]]:
    """Train fastText with a gensim model's settings.

    Parameters
    ----------
    sentences : list of lists of str
    settings : dict
        gensim's names: sg, hs, negative, vector_size, epochs, workers and min_count. A seed cannot be given to
        fastText 0.9.2 from Python: its runs differ by what its threads do.

    Returns
    -------
    (KeyedVectors, dict)
        Vectors, and the cost of the whole call: fastText counts its words in the same call that trains, so its speed
        is a little higher than reported here.
    """
    import fasttext  # not a dependency: the benchmark runs without it

    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "corpus.txt"
        text.write_text("\n".join(map(" ".join, sentences)) + "\n", encoding="utf-8")
        model, cost = measured(
            lambda: fasttext.train_unsupervised(
                str(text), model="skipgram" if settings["sg"] else "cbow", loss="hs" if settings["hs"] else "ns",
                neg=settings["negative"] or 5, dim=settings["vector_size"], epoch=settings["epochs"], ws=5, t=1e-3,
                lr=0.025, minCount=settings["min_count"], minn=0, maxn=0, bucket=0, wordNgrams=1,
                thread=settings["workers"], verbose=0,
            )
        )  # fmt: skip
    words = model.get_words()
    wv = KeyedVectors(settings["vector_size"])
    wv.add_vectors(words, [model.get_word_vector(word) for word in words])
    return wv, cost
