"""Analogies asked all at once are counted as gensim counts them one by one."""

import random

import pytest
from gensim.models.word2vec import LineSentence
from gensim.test.utils import datapath

from torchw2v import TorchWord2Vec
from torchw2v.evaluation import word_analogies


@pytest.fixture(scope="module")
def wv():
    corpus = LineSentence(datapath("lee_background.cor"))
    return TorchWord2Vec(corpus, vector_size=20, min_count=3, sg=1, epochs=3, device="cpu").wv


@pytest.fixture(scope="module")
def questions(wv, tmp_path_factory):
    """Questions of words that the vectors know in more than one spelling, know, and do not know."""
    draw, names = random.Random(1), wv.index_to_key[:300]
    lines = []
    for section in range(4):
        lines.append(f": section {section}")
        for _ in range(60):
            a, b, c = draw.sample(names, 3)
            found = [
                word for word, _ in wv.most_similar([b, c], [a], topn=2, restrict_vocab=draw.choice((4, 400, 10**6)))
            ]
            words = [a, b, c, draw.choice([*found, a])]
            if draw.random() < 0.1:
                words[draw.randrange(4)] = "nobody"
            lines.append(" ".join(draw.choice((str.lower, str.upper, str, str, str))(word) for word in words))
        lines.append("a line of five words")
    path = tmp_path_factory.mktemp("questions") / "questions.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.parametrize("case_insensitive", [True, False], ids=["any-case", "case"])
@pytest.mark.parametrize("restrict_vocab", [300_000, 400, 4])
def test_sections_are_gensims(wv, questions, case_insensitive, restrict_vocab):
    rules = {"restrict_vocab": restrict_vocab, "case_insensitive": case_insensitive}
    mine = word_analogies(wv, questions, **rules, device="cpu")
    _, theirs = wv.evaluate_word_analogies(questions, **rules)
    for section, expected in zip(mine, theirs[:-1], strict=True):  # gensim's last is the total
        assert section.name == expected["section"]
        assert section.correct == expected["correct"]
        assert section.incorrect == expected["incorrect"]
        assert section.unknown == 60 - len(section.correct) - len(section.incorrect)
    if restrict_vocab > 300:
        assert 5 < sum(len(section.correct) for section in mine) < 200  # the comparison is of something


def test_googles_questions(wv):
    mine = word_analogies(wv, datapath("questions-words.txt"), device="cpu")
    _, theirs = wv.evaluate_word_analogies(datapath("questions-words.txt"))
    assert [(s.name, s.correct, s.incorrect) for s in mine] == [
        (s["section"], s["correct"], s["incorrect"]) for s in theirs[:-1]
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [("a b c d\n", "before its first section"), ("", "no questions"), (": empty\n", "no questions")],
)
def test_files_without_questions_are_refused(wv, tmp_path, text, message):
    path = tmp_path / "questions.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        word_analogies(wv, str(path))
