"""word2vec's vocabulary file: a word and its count a line, the most frequent word first."""

from __future__ import annotations

from gensim import utils
from gensim.models import KeyedVectors

from torchw2v.atomic import atomic_write
from torchw2v.errors import VocabularyFileError

SENTENCE_END = "</s>"  # word2vec.c counts ends of lines as this word, and puts it first whatever its count


def write_vocabulary(wv: KeyedVectors, path: str) -> None:
    """Write words and counts, atomically, byte for byte as gensim's `save_word2vec_format(fvocab=...)` does.

    Parameters
    ----------
    wv : gensim.models.KeyedVectors
        With counts, as training leaves them.
    path : str
        May end in .gz, .bz2, ...
    """
    words = sorted(wv.key_to_index, key=lambda word: -wv.get_vecattr(word, "count"))  # stable: equal counts by row
    with atomic_write(path) as temporary, utils.open(temporary, "wb") as file:
        file.writelines(f"{word} {wv.get_vecattr(word, 'count')}\n".encode() for word in words)


def read_vocabulary(path: str) -> dict[str, int]:
    """Words and counts in the order of the file; word2vec.c's files, too.

    Raises
    ------
    VocabularyFileError (a ValueError)
        A line is not a word and a count, or repeats a word.
    """
    counts: dict[str, int] = {}
    with utils.open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                parts = line.decode("utf-8").split()
            except UnicodeDecodeError as error:
                raise VocabularyFileError(f"{path}, line {number}: not UTF-8 text ({error})") from error
            if not parts:
                continue
            if len(parts) != 2 or not parts[1].isdecimal():
                raise VocabularyFileError(f"{path}, line {number}: expected a word and its count, got {line[:60]!r}")
            if parts[0] in counts:
                raise VocabularyFileError(f"{path}, line {number}: {parts[0]!r} stands here a second time")
            counts[parts[0]] = int(parts[1])
    return counts
