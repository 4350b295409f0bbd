"""gensim's analogy score with all questions asked at once: seconds where `evaluate_word_analogies` takes a minute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gensim import utils
from gensim.models import KeyedVectors

from torchw2v.errors import QueryError
from torchw2v.ops.select import DeviceLike
from torchw2v.queries import most_similar_batch

CANDIDATES = 5  # gensim's: the best few, for the first of them that is none of the question's words
Question = tuple[str, str, str, str]


@dataclass
class Section:
    """A section of a file of analogies.

    Attributes
    ----------
    name : str
    correct, incorrect : list of (a, b, c, expected)
        Questions whose words are all known; a is to b as c is to expected.
    unknown : int
        Questions left out.
    """

    name: str
    correct: list[Question]
    incorrect: list[Question]
    unknown: int


def word_analogies(
    wv: KeyedVectors,
    analogies: str,
    *,
    restrict_vocab: int = 300_000,
    case_insensitive: bool = True,
    device: DeviceLike = None,
) -> list[Section]:
    """Solve analogies by 3CosAdd, with the rules, sections and counts of `wv.evaluate_word_analogies`.

    Parameters
    ----------
    wv : gensim.models.KeyedVectors
    analogies : str
        Path of a file with four words a line, in sections that start with ": NAME".
    restrict_vocab : int
        Only so many words, the first ones, are known.
    case_insensitive : bool
        Compare words in upper case; of several spellings the first one counts.
    device : str or torch.device, optional
        Where the products are made.

    Raises
    ------
    QueryError (a ValueError)
        The file has no section or no question.
    """
    spell = str.upper if case_insensitive else str
    key_of = wv.index_to_key
    known = {spell(str(key)): row for row, key in reversed(list(enumerate(key_of[:restrict_vocab])))}
    sections: list[Section] = []
    asked: list[tuple[Section, Question]] = []
    for name, words in _lines(analogies):
        if name is not None:
            sections.append(Section(name, [], [], 0))
        elif not sections:
            raise QueryError(f"{analogies} has a question before its first section; a section starts with ': NAME'")
        elif len(words) == 4:
            a, b, c, expected = map(spell, words)
            if all(word in known for word in (a, b, c, expected)):
                asked.append((sections[-1], (a, b, c, expected)))
            else:
                sections[-1].unknown += 1
    if not asked and not any(section.unknown for section in sections):
        raise QueryError(f"{analogies} has no questions: sections of lines with four words are expected")
    answers = most_similar_batch(
        wv,
        [[key_of[known[b]], key_of[known[c]]] for _, (_, b, c, _) in asked],
        CANDIDATES,
        negative=[key_of[known[a]] for _, (a, _, _, _) in asked],
        restrict_vocab=restrict_vocab,
        device=device,
    )
    for (section, question), found in zip(asked, answers, strict=True):
        solved = _prediction([spell(str(key)) for key, _ in found], question) == question[3]
        (section.correct if solved else section.incorrect).append(question)
    return sections


def _lines(path: str) -> Iterator[tuple[str | None, list[str]]]:
    """The name of a section that starts, or a line's words."""
    with utils.open(path, "rb") as file:
        for line in file:
            text = utils.to_unicode(line)
            yield (text.lstrip(": ").strip(), []) if text.startswith(": ") else (None, text.split())


def _prediction(found: list[str], question: Question) -> str | None:
    """The first word that is not of the question; where all are, gensim takes the last."""
    new = [word for word in found if word not in question[:3]]
    return new[0] if new else (found[-1] if found else None)
