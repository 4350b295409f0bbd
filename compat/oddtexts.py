"""The counting pass over unusual corpora, side by side with gensim: `python -m compat.oddtexts`.

Words drawn from Zipf's law, as text and as token lists: in one line, each in a line, all different, long, between other
white space. Counts and order are compared with gensim's. CPU seconds, one thread, the better of two runs each.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gensim
import numpy as np

from compat.bench import environment
from compat.gpu_arguments import count
from torchw2v import TorchWord2Vec

LINE = 20


def corpora(words: list[str]) -> Iterator[tuple[str, str]]:
    """Names and texts."""
    few = words[: len(words) // 5]

    def lines(of: Sequence[str], change: Callable[[str], str] = str, space: str = " ", end: str = "\n") -> str:
        return "".join(space.join(map(change, of[i : i + LINE])) + end for i in range(0, len(of), LINE))

    yield "one line", " ".join(words) + "\n"
    yield "a word a line", "\n".join(words) + "\n"
    yield "every word another", lines([f"d{i}" for i in range(len(words))])
    yield "words of 100 letters", lines(few, lambda word: word.ljust(100, "x"))
    yield "a word of 20 MB, and others", "x" * 20_000_000 + " " + lines(few)
    yield "CRLF", lines(words, end="\r\n")
    yield "NUL inside words", lines(words, lambda word: word[:2] + "\0" + word[2:])
    yield "U+3000 between words", lines(words, space="\u3000")
    yield "Cyrillic", lines(words, lambda word: word.replace("w", "жё").replace("1", "ы"))
    yield "empty lines", "\n" * len(words)


def cost(make: Any, given: dict[str, Any]) -> tuple[float, Any]:
    """CPU seconds of the counting pass, the better of two, and what it counted."""
    seconds = []
    for _ in range(2):
        model, start = make(min_count=1, workers=1), time.process_time()
        total, _ = model.scan_vocab(**given)
        seconds.append(time.process_time() - start)
    return min(seconds), (total, list(model.raw_vocab.items()))


def main(argv: Sequence[str] | None = None) -> None:
    """Run all and print a table.

    Raises
    ------
    RuntimeError
        Something was counted otherwise than gensim counts it.
    """
    parser = argparse.ArgumentParser(prog="python -m compat.oddtexts", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--words", type=count, default=1_500_000, help="in most of the corpora (default 1500000)")
    args = parser.parse_args(argv)
    print(environment())
    draws = np.random.default_rng(1).zipf(1.2, args.words) % 200_000
    print("| corpus | as | gensim, CPU s | torchw2v, CPU s | ratio |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.txt"
        for name, text in corpora([f"w{i}" for i in draws.tolist()]):
            path.write_bytes(text.encode())
            for kind, given in (
                ("text", {"corpus_file": str(path)}),
                ("lists", {"corpus_iterable": [line.split() for line in text.split("\n")]}),
            ):
                theirs, expected = cost(gensim.models.Word2Vec, given)
                ours, counted = cost(TorchWord2Vec, given)
                if counted != expected:
                    raise RuntimeError(f"{name}, as {kind}: counts or their order are not gensim's")
                print(f"| {name} | {kind} | {theirs:.2f} | {ours:.2f} | {theirs / ours:.1f} |", flush=True)


if __name__ == "__main__":
    main()
