"""Corpora that can be read once: refused where they would train nothing, trained on for as long as they last else."""

import codecs
import csv
import io
import itertools
import logging

import pytest
import torch
from support import in_time
from training import AtEpochEnd, both_libraries, built, gensims, ours, train

from torchw2v.errors import CorpusTypeError

SENTENCES = [["a", "b", "c"]] * 20


def text_of(sentences):
    return "".join("".join(sentence) + "\n" for sentence in sentences)


class Reader(io.StringIO):
    """A file of the user's own class."""


ONCE = {
    "map": lambda: map(list, SENTENCES),
    "filter": lambda: filter(None, SENTENCES),
    "zip": lambda: zip(*[letter * 20 for letter in "abc"], strict=True),
    "list_iterator": lambda: iter(SENTENCES),
    "chain": lambda: itertools.chain(SENTENCES),
    "reader": lambda: csv.reader([",".join(sentence) for sentence in SENTENCES]),
    "StringIO": lambda: io.StringIO(text_of(SENTENCES)),  # a line's letters are its words, and its end is one
    "Reader": lambda: Reader(text_of(SENTENCES)),
    "StreamReaderWriter": lambda: codecs.StreamReaderWriter(  # what codecs.open gives
        io.BytesIO(text_of(SENTENCES).encode()), codecs.getreader("utf-8"), codecs.getwriter("utf-8")
    ),
}
once = pytest.mark.parametrize("kind", ONCE)


def counted(make, **settings):
    return built(make, corpus=SENTENCES, **settings)


@pytest.mark.parametrize("kind", [*ONCE, "generator"])
def test_constructor_refuses_what_counting_uses_up(kind):
    corpus = ONCE[kind]() if kind in ONCE else (sentence for sentence in SENTENCES)
    with pytest.raises(CorpusTypeError, match=f"{kind} as sentences can't support 6 passes.*Use a list"):
        in_time(lambda: ours(corpus, epochs=5))


@both_libraries
def test_generator_is_refused_for_several_epochs(make):
    with pytest.raises(TypeError, match=r"generator as .* can't support 2 passes"):
        in_time(lambda: train(counted(make), (sentence for sentence in SENTENCES), epochs=2))


@once
def test_train_trains_the_first_epoch_as_gensim_does_and_says_that_it_is_the_only_one(kind, caplog):
    words = {}
    for make in (gensims, ours):
        caplog.clear()
        model = counted(make)
        with caplog.at_level(logging.WARNING):
            words[make] = in_time(lambda model=model: train(model, ONCE[kind](), epochs=3))
    assert words[ours] == words[gensims] and words[ours][0] == 60
    assert [epoch["effective_words"] for epoch in model.training_history] == [60, 0, 0]
    said = [record.getMessage() for record in caplog.records if record.name == "torchw2v.corpus_checks"]
    assert len(said) == 1
    assert f"a {kind} can be read once: the first of 3 epochs trains on it" in said[0] and "Use a list" in said[0]


def test_alpha_falls_as_in_the_first_of_the_epochs(trained):
    train(counted(ours), iter(SENTENCES), epochs=3)
    alphas = [step.alpha for step in trained.steps]
    assert alphas[0] == 0.025 and alphas == sorted(alphas, reverse=True)
    assert 0.025 * 2 / 3 < alphas[-1] < 0.025 * 3 / 4


@once
@pytest.mark.parametrize("hooked", [False, True], ids=["ours", "gensim's loop"])
def test_train_refuses_what_was_used_up_before(kind, hooked):
    model = ours()
    if hooked:
        model._raw_word_count = lambda job: sum(map(len, job))
    corpus = ONCE[kind]()
    model.build_vocab(corpus)
    with pytest.raises(CorpusTypeError, match=rf"{kind} given as sentences was used up before train\(\).*Use a list"):
        in_time(lambda: train(model, corpus, epochs=2))


@once
def test_checkpoint_refuses_what_cannot_be_read_again(kind, tmp_path):
    model = counted(ours, checkpoint=tmp_path / "run")
    with pytest.raises(CorpusTypeError, match=f"{kind} as sentences is not possible with checkpoint=.*Use a list"):
        in_time(lambda: train(model, ONCE[kind](), epochs=2))


@both_libraries
def test_iterator_that_starts_anew_is_trained_every_epoch(make):
    class Anew:
        def __iter__(self):
            self.left = iter(SENTENCES)
            return self

        def __next__(self):
            return next(self.left)

    assert in_time(lambda: train(make(Anew()), Anew(), epochs=3)) == (180, 180)


@both_libraries
def test_file_that_a_callback_rewinds_is_trained_every_epoch(make):
    lines = io.StringIO("a\nb\nc\n" * 20)
    model = built(make, corpus=["abc"] * 20)
    assert train(model, lines, epochs=3, callbacks=[AtEpochEnd(lambda model: lines.seek(0))])[0] == 180


@both_libraries
def test_generator_is_enough_to_build_a_vocabulary_and_to_train_one_epoch(make):
    model = make()
    model.build_vocab(sentence for sentence in SENTENCES)
    assert set(model.wv.key_to_index) == {"a", "b", "c"}
    assert train(model, (sentence for sentence in SENTENCES), epochs=1) == (60, 60)


# ---- tensors -----------------------------------------------------------------------------------------------------

TENSORS = {
    "tensor": lambda: torch.arange(12).reshape(3, 4),
    "list": lambda: [torch.arange(4)] * 3,
    "tuple": lambda: (torch.arange(4),) * 3,
    "generator": lambda: (torch.arange(4) for _ in range(3)),
}


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_are_refused_because_their_elements_equal_no_key(kind):
    with pytest.raises(CorpusTypeError, match=r"lists of words, got a torch.Tensor of shape .*4\].*tolist\(\)"):
        ours().build_vocab(TENSORS[kind]())
    if kind != "generator":
        with pytest.raises(CorpusTypeError, match=r"got a torch.Tensor"):
            train(counted(ours), TENSORS[kind](), epochs=1)


def test_what_the_cure_for_tensors_says_is_trained():
    rows = torch.arange(12).reshape(3, 4)
    assert train(ours(rows.tolist()), rows.numpy(), epochs=1) == (12, 12)
