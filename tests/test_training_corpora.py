"""Corpora of every kind are trained whole, and read when they should be."""

import bz2
import gzip
import io
import random

import numpy as np
import pytest
from gensim.models.word2vec import BrownCorpus, LineSentence, PathLineSentences, Text8Corpus
from training import (
    TOPICS,
    WORDS,
    AtEpochEnd,
    Stream,
    built,
    flat,
    ids_of,
    ours,
    train,
)


def as_text():
    return "".join(" ".join(sentence) + "\n" for sentence in TOPICS)


def write_text(path, opener=open):
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(as_text())
    return str(path)


def write_folder(path):
    path.mkdir()
    for name, part in (("a.txt", TOPICS[:70]), ("b.txt", TOPICS[70:])):
        (path / name).write_text("".join(" ".join(sentence) + "\n" for sentence in part))
    return str(path)


def write_brown(path):
    path.mkdir()
    lines = (" ".join(f"{word}/nn ,/," for word in sentence) for sentence in TOPICS)
    (path / "ca01").write_text("\n".join(lines) + "\n")
    return str(path)


READERS = {
    "tuple": lambda folder: tuple(map(tuple, TOPICS)),
    "LineSentence": lambda folder: LineSentence(write_text(folder / "t.txt")),
    "LineSentence-Path": lambda folder: LineSentence(type(folder)(write_text(folder / "t.txt"))),
    "LineSentence-file-object": lambda folder: LineSentence(io.BytesIO(as_text().encode())),
    "LineSentence-gz": lambda folder: LineSentence(write_text(folder / "t.txt.gz", gzip.open)),
    "LineSentence-bz2": lambda folder: LineSentence(write_text(folder / "t.txt.bz2", bz2.open)),
    "PathLineSentences": lambda folder: PathLineSentences(write_folder(folder / "many")),
    "Text8Corpus": lambda folder: Text8Corpus(write_text(folder / "t.txt"), max_sentence_length=100),
    "BrownCorpus": lambda folder: BrownCorpus(write_brown(folder / "brown")),
}


@pytest.mark.parametrize("kind", READERS)
def test_corpus_reader_trains_the_same_vectors_as_a_list(kind, tmp_path, trained_tokens):
    corpus = READERS[kind](tmp_path)
    as_list = list(map(list, corpus))
    expected = ours(as_list)
    trained_tokens.clear()
    model = ours(corpus)
    assert flat(trained_tokens) == ids_of(model, as_list) * 3
    assert len(ids_of(model, as_list)) == WORDS
    assert model.wv.index_to_key == expected.wv.index_to_key
    assert np.array_equal(model.wv.vectors, expected.wv.vectors)
    # ... and so in two calls.
    by_hand = built(corpus=corpus)
    by_hand.train(corpus, total_examples=by_hand.corpus_count, epochs=3)
    assert np.array_equal(by_hand.wv.vectors, expected.wv.vectors)


FILES = {
    "plain": lambda folder: write_text(folder / "t.txt"),
    "Path": lambda folder: type(folder)(write_text(folder / "t.txt")),
    "gz": lambda folder: write_text(folder / "t.txt.gz", gzip.open),
    "bz2": lambda folder: write_text(folder / "t.txt.bz2", bz2.open),
    "gz-Path": lambda folder: type(folder)(write_text(folder / "t.txt.gz", gzip.open)),
}


@pytest.mark.parametrize("kind", FILES)
def test_corpus_file_trains_the_same_vectors_as_a_list(kind, tmp_path):
    path, expected = FILES[kind](tmp_path), ours(TOPICS)
    assert np.array_equal(ours(corpus_file=path).wv.vectors, expected.wv.vectors)
    model = ours()
    model.build_vocab(corpus_file=path)
    assert (model.corpus_count, model.corpus_total_words) == (len(TOPICS), WORDS)
    model.train(corpus_file=path, total_examples=120, total_words=WORDS, epochs=3)
    assert np.array_equal(model.wv.vectors, expected.wv.vectors)


def test_corpus_file_that_was_rewritten_is_read_anew(tmp_path, trained_tokens):
    path = tmp_path / "t.txt"
    write_text(path)
    model = ours(corpus_file=str(path))
    trained_tokens.clear()
    path.write_text("x0 x1 x2\n")
    assert model.train(corpus_file=str(path), total_words=3, epochs=1) == (3, 3)
    assert flat(trained_tokens) == ids_of(model, [["x0", "x1", "x2"]])


LONG = [f"w{n // 1000}" for n in range(25_000)]  # w10 to w24 stand behind gensim's limit of 10,000


@pytest.mark.parametrize("kind", ["list", "stream", "corpus_file"])
@pytest.mark.parametrize("sg", [0, 1], ids=["cbow", "sg"])
def test_long_sentence_is_trained_whole(kind, sg, tmp_path):
    model = built(corpus=[LONG], sg=sg)
    start = model.wv.vectors.copy()
    if kind == "corpus_file":
        (tmp_path / "long.txt").write_text(" ".join(LONG))
        model = ours(sg=sg)
        model.build_vocab(corpus_file=str(tmp_path / "long.txt"))
        assert (model.corpus_count, model.corpus_total_words) == (1, 25_000)
        counts = model.train(corpus_file=str(tmp_path / "long.txt"), total_words=25_000, epochs=1)
    else:
        counts = train(model, [LONG] if kind == "list" else Stream(lambda number: [LONG]), epochs=1)
    assert counts == (25_000, 25_000)
    assert model.wv.vectors.shape == start.shape == (25, 12)
    assert (model.wv.vectors != start).any(axis=1).all()


def test_reiterable_is_read_anew_each_epoch(trained_tokens):
    def sentences(number):  # pass 0 is counting; pass n trains on words n and n + 1
        return TOPICS if number == 0 else [[f"x{number}", f"y{number}"]] * 30

    corpus = Stream(sentences)
    model = ours(corpus, sg=1, epochs=3)
    assert corpus.passes == 4
    assert flat(trained_tokens) == ids_of(model, [*sentences(1), *sentences(2), *sentences(3)])
    start = built(sg=1).wv.vectors
    moved = {word for word in model.wv.key_to_index if (model.wv[word] != start[model.wv.key_to_index[word]]).any()}
    assert moved == {f"{topic}{number}" for topic in "xy" for number in (1, 2, 3)}


def test_stream_trains_every_sentence_once_an_epoch(trained_tokens):
    corpus = Stream(lambda number: TOPICS)
    model = ours(corpus)
    assert flat(trained_tokens) == ids_of(model, TOPICS) * 3


def test_subclass_of_a_reader_is_read_anew_each_epoch(tmp_path):
    class Reader(LineSentence):
        passes = 0

        def __iter__(self):
            self.passes += 1
            return super().__iter__()

    corpus = Reader(write_text(tmp_path / "t.txt"))
    ours(corpus)
    assert corpus.passes == 4


def test_list_shuffled_in_a_callback_is_trained_in_its_new_order(trained_tokens):
    corpus, orders = list(TOPICS), [list(TOPICS)]

    def shuffle(model):
        random.Random(len(orders)).shuffle(corpus)
        orders.append(list(corpus))

    model = ours(corpus, callbacks=[AtEpochEnd(shuffle)])
    assert flat(trained_tokens) == flat(ids_of(model, order) for order in orders[:3])


def test_list_extended_in_a_callback_is_trained_whole(trained_tokens):
    corpus = TOPICS[:60]
    model = built(corpus=TOPICS)
    counts = train(model, corpus, callbacks=[AtEpochEnd(lambda model: corpus.append(["y0", "y1", "unknown"]))])
    assert counts == (1800 + 2 + 4, 1800 + 3 + 6)
    extra = ids_of(model, [["y0", "y1"]])
    first = ids_of(model, TOPICS[:60])
    assert flat(trained_tokens) == first + first + extra + first + extra + extra


def test_words_replaced_between_build_vocab_and_train_are_trained_as_they_are(trained_tokens):
    corpus = [list(sentence) for sentence in TOPICS]
    model = built(corpus=corpus)
    for sentence in corpus:
        sentence[0], sentence[3] = "x1", "unknown"
    assert train(model, corpus, epochs=1) == (WORDS - 120, WORDS)
    assert flat(trained_tokens) == ids_of(model, corpus)


def test_words_replaced_between_two_train_calls_are_trained_as_they_are(trained_tokens):
    corpus = [list(sentence) for sentence in TOPICS]
    model = ours(corpus)
    trained_tokens.clear()
    corpus[5][:2] = ["y1", "x1"]
    train(model, corpus, epochs=1)
    assert flat(trained_tokens) == ids_of(model, corpus)


def test_tokens_need_not_be_strings():
    numbers = [[hash(word) % 50 for word in sentence] for sentence in TOPICS]
    assert ours(numbers).wv.get_vector(numbers[0][0]).shape == (12,)


def test_lines_that_stand_for_gensims_come_from_gensims_logger(caplog):
    """Programs may have set up that one only."""
    with caplog.at_level("INFO", logger="gensim"):
        model = built(corpus=TOPICS)
        train(model, [], epochs=1)
    names = {record.getMessage().split(":")[0]: record.name for record in caplog.records}
    assert names["PROGRESS"] == "gensim.models.word2vec"
    assert [name for text, name in names.items() if "empty iterator" in text] == ["gensim.models.word2vec"]
    assert str(model.wv) == "KeyedVectors<vector_size=12, 14 keys>"
