"""Rung "exact": what gensim fixes before training is bit-equal for the same seed, and counts mean the same."""

import inspect
import logging
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gensim import utils
from gensim.models import Word2Vec
from gensim.models.word2vec import LineSentence
from gensim.test.utils import common_texts, datapath

from torchw2v import TorchWord2Vec

# sample=1e-3 on lee_background, 5 epochs: each kept token is a Bernoulli draw; the sum of p(1-p) over the corpus gives
# a standard deviation of 0.09 % of the effective words, 0.12 % for the difference of two libraries. 1 % is eight such.
EFFECTIVE_WORDS_RTOL = 0.01

# Whole numbers here are no row numbers: those gensim confuses (see test_whole_number_tokens_get_their_own_tables).
MIXED_TOKENS = [
    ["naïve", "日本語", 7000, "Ünïcödé", 7000],
    [7000, "日本語", "naïve", 4200, -1],
    ["e\u0301", "é", "É", "\u200b", 4200, 7000],  # the same letter composed and decomposed are two words
    ("ж", "日本語", 10**20, "ж", "naïve"),
]
EMPTY_SENTENCES = [[], ["a", "b", "a"], [], [], ["c"], ["b", "a", "d", "c", "a"], []]

CORPORA: dict[str, Callable[[], Any]] = {
    "common_texts": lambda: common_texts,
    "lee": lambda: LineSentence(datapath("lee_background.cor")),
    "mixed_tokens": lambda: MIXED_TOKENS,
    "empty_sentences": lambda: EMPTY_SENTENCES,
}


def keep_all_rule(word, count, min_count):
    return utils.RULE_KEEP


def discard_frequent_rule(word, count, min_count):
    return utils.RULE_DISCARD if count >= 3 else utils.RULE_DEFAULT


def default_rule(word, count, min_count):
    return utils.RULE_DEFAULT


def three_answers_rule(word, count, min_count):
    return (utils.RULE_KEEP, utils.RULE_DISCARD, utils.RULE_DEFAULT)[len(str(word)) % 3]


def length_hash(text):
    return len(str(text)) * 7919


# id -> (constructor arguments, build_vocab arguments). min_count is 1 where nothing else is said.
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "hs_and_ns": ({"hs": 1}, {}),
    "hs_only": ({"hs": 1, "negative": 0}, {}),
    "no_output_layer": ({"negative": 0}, {}),
    "skip_gram": ({"sg": 1}, {}),
    "vector_size_1": ({"vector_size": 1}, {}),
    "vector_size_63": ({"vector_size": 63}, {}),
    "min_count_2": ({"min_count": 2}, {}),
    "min_count_5": ({"min_count": 5}, {}),
    "max_vocab_size_8": ({"max_vocab_size": 8}, {}),
    "max_vocab_size_500": ({"max_vocab_size": 500, "hs": 1}, {}),
    "max_vocab_size_8_keep_rule": ({"max_vocab_size": 8}, {"trim_rule": three_answers_rule}),
    "max_final_vocab_3": ({"max_final_vocab": 3}, {}),
    "max_final_vocab_100": ({"max_final_vocab": 100, "hs": 1}, {}),
    "rule_keep": ({"min_count": 3}, {"trim_rule": keep_all_rule}),
    "rule_discard": ({}, {"trim_rule": discard_frequent_rule}),
    "rule_default": ({"min_count": 3}, {"trim_rule": default_rule}),
    "rule_three_answers": ({"min_count": 2, "hs": 1}, {"trim_rule": three_answers_rule}),
    "unsorted": ({"sorted_vocab": 0, "hs": 1}, {}),
    "sorted": ({"sorted_vocab": 1, "hs": 1}, {}),
    "null_word": ({"null_word": 1, "hs": 1}, {}),
    "hashfxn": ({"hashfxn": length_hash}, {}),
    "sample_0": ({"sample": 0}, {}),
    "sample_1e-3": ({"sample": 1e-3}, {}),
    "sample_0.1": ({"sample": 0.1}, {}),
    "sample_1": ({"sample": 1}, {}),
    "sample_2.5": ({"sample": 2.5}, {}),
    "sample_given_to_build_vocab": ({}, {"sample": 0.05}),
    "min_count_given_to_build_vocab": ({}, {"min_count": 2}),
    "ns_exponent_0.75": ({"ns_exponent": 0.75}, {}),
    "ns_exponent_0": ({"ns_exponent": 0}, {}),
    "ns_exponent_-0.5": ({"ns_exponent": -0.5}, {}),
    "ns_exponent_1": ({"ns_exponent": 1}, {}),
    "raw_vocab_dropped": ({}, {"keep_raw_vocab": False}),
    "progress_per_1": ({}, {"progress_per": 1}),
}


def assert_same_array(ours, theirs, what):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype, f"{what}: dtype {ours.dtype}, gensim has {theirs.dtype}"
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, gensim has {theirs.shape}"
    assert ours.tobytes() == theirs.tobytes(), f"{what} differs from gensim's"


def assert_same_paths(ours, theirs, what):
    assert len(ours) == len(theirs), f"{what}: {len(ours)} words, gensim has {len(theirs)}"
    for row, (our_path, their_path) in enumerate(zip(ours, theirs, strict=True)):
        assert_same_array(our_path, their_path, f"{what}[{row}]")


def assert_same_raw_vocab(ours, theirs):
    assert list(ours.raw_vocab.items()) == list(theirs.raw_vocab.items()), "raw_vocab: words, counts or their order"
    assert ours.raw_vocab["a word never seen"] == theirs.raw_vocab["a word never seen"] == 0
    for count in ours.raw_vocab.values():
        assert type(count) is int


def assert_same_vocabulary(ours, theirs):
    """Words, their order, counts and every table made from them."""
    assert ours.wv.index_to_key == theirs.wv.index_to_key
    assert [type(key) for key in ours.wv.index_to_key] == [type(key) for key in theirs.wv.index_to_key]
    assert list(ours.wv.key_to_index.items()) == list(theirs.wv.key_to_index.items())
    assert ours.corpus_count == theirs.corpus_count
    assert ours.corpus_total_words == theirs.corpus_total_words
    assert (ours.min_count, ours.effective_min_count) == (theirs.min_count, theirs.effective_min_count)
    assert ours.sample == theirs.sample
    assert set(ours.wv.expandos) == set(theirs.wv.expandos)
    for name in sorted(set(theirs.wv.expandos) - {"code", "point"}):
        assert_same_array(ours.wv.expandos[name], theirs.wv.expandos[name], name)
    for name in sorted(set(theirs.wv.expandos) & {"code", "point"}):
        assert_same_paths(ours.wv.expandos[name], theirs.wv.expandos[name], name)
    assert (ours.cum_table is None) == (theirs.cum_table is None)
    if theirs.cum_table is not None:
        assert_same_array(ours.cum_table, theirs.cum_table, "cum_table")


def assert_same_weights(ours, theirs):
    """The matrices, and the random state that later draws come from."""
    assert_same_array(ours.wv.vectors, theirs.wv.vectors, "wv.vectors")
    assert_same_array(ours.wv.vectors_lockf, theirs.wv.vectors_lockf, "wv.vectors_lockf")
    for name in ("syn1neg", "syn1"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            assert_same_array(getattr(ours, name), getattr(theirs, name), name)
    ours_state, theirs_state = ours.random.get_state(), theirs.random.get_state()
    assert ours_state[2:] == theirs_state[2:] and np.array_equal(ours_state[1], theirs_state[1]), "model.random"


def assert_same_model(ours, theirs):
    assert_same_vocabulary(ours, theirs)
    assert_same_raw_vocab(ours, theirs)
    assert_same_weights(ours, theirs)


def both(**options):
    """The same untrained model from both libraries: (ours, gensim's)."""
    settings = {"min_count": 1, "vector_size": 12, "seed": 1, "workers": 1} | options
    return TorchWord2Vec(**settings), Word2Vec(**settings)


# ---- before training ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("corpus", CORPORA)
def test_built_model_equals_gensim(corpus, option):
    settings, building = OPTIONS[option]
    ours, theirs = both(**settings)
    for model in (ours, theirs):
        model.build_vocab(CORPORA[corpus](), **({"keep_raw_vocab": True} | building))
    assert_same_model(ours, theirs)


def test_built_models_are_not_all_empty():
    """Guards the tests above: the vocabularies that they compare hold words, tables and vectors."""
    for corpus in CORPORA.values():
        model, _ = both(hs=1)
        model.build_vocab(corpus(), keep_raw_vocab=True)
        assert len(model.wv) >= 4 and len(model.raw_vocab) >= 4 and np.abs(model.wv.vectors).max() > 0


@pytest.mark.parametrize("seed", [0, 1, 7, 12345, 2**32 - 1])
@pytest.mark.parametrize("corpus", ["common_texts", "mixed_tokens", "lee"])
def test_initial_vectors_equal_gensim_for_seed(corpus, seed):
    ours, theirs = both(seed=seed, vector_size=50)
    for model in (ours, theirs):
        model.build_vocab(CORPORA[corpus]())
    assert_same_weights(ours, theirs)


def test_initial_vectors_depend_on_seed():
    one, two = (TorchWord2Vec(seed=seed, min_count=1) for seed in (1, 2))
    for model in (one, two):
        model.build_vocab(common_texts)
    assert not np.array_equal(one.wv.vectors, two.wv.vectors)


@pytest.mark.parametrize("hs", [0, 1], ids=["ns", "ns_and_hs"])
@pytest.mark.parametrize(
    ("corpus", "words"),
    [([], 0), ([[]], 0), ([[], []], 0), ([["once"]], 0), ([["twice"], ["twice"]], 1)],
    ids=["nothing", "empty_sentence", "empty_sentences", "rare_word", "one_word"],
)
def test_vocabulary_of_no_or_one_word_equals_gensim(corpus, words, hs):
    ours, theirs = both(min_count=2, hs=hs)
    for model in (ours, theirs):
        model.build_vocab(corpus, keep_raw_vocab=True)
    assert len(theirs.wv) == words
    assert_same_model(ours, theirs)


def test_generator_builds_the_vocabulary_of_its_list():
    ours, theirs = both(hs=1)
    ours.build_vocab((list(sentence) for sentence in common_texts), keep_raw_vocab=True)
    theirs.build_vocab((list(sentence) for sentence in common_texts), keep_raw_vocab=True)
    assert_same_model(ours, theirs)


@pytest.mark.parametrize("option", ["plain", "max_vocab_size_8", "rule_three_answers", "null_word", "unsorted"])
def test_vocabulary_from_constructor_equals_gensim(option):
    settings, building = OPTIONS[option]
    settings = {"min_count": 1, "vector_size": 4, "workers": 1, "epochs": 1} | settings
    settings |= {name: value for name, value in building.items() if name == "trim_rule"}
    ours, theirs = TorchWord2Vec(common_texts, **settings), Word2Vec(common_texts, **settings)
    assert_same_vocabulary(ours, theirs)
    assert list(ours.raw_vocab.items()) == list(theirs.raw_vocab.items()) == []


# ---- other ways to a vocabulary -----------------------------------------------------------------------------------


@pytest.mark.parametrize("trim_rule", [None, three_answers_rule], ids=["no_rule", "rule"])
@pytest.mark.parametrize("corpus_count", [None, 11], ids=["no_corpus_count", "corpus_count_11"])
def test_vocabulary_from_frequencies_equals_gensim(corpus_count, trim_rule):
    frequencies = {"日本": 50, "b": 7, 10**6: 7, "kept by rule": 1, "rare": 1, "longer word": 1000, "d": 2}
    ours, theirs = both(hs=1, min_count=2)
    for model in (ours, theirs):
        model.build_vocab_from_freq(
            dict(frequencies), keep_raw_vocab=True, corpus_count=corpus_count, trim_rule=trim_rule
        )
    assert ("kept by rule" in theirs.wv) == ("b" not in theirs.wv) == (trim_rule is not None)
    assert list(ours.raw_vocab.items()) == list(theirs.raw_vocab.items())
    assert_same_vocabulary(ours, theirs)
    assert_same_weights(ours, theirs)


def test_frequencies_update_equals_gensim():
    ours, theirs = both(hs=1)
    for model in (ours, theirs):
        model.build_vocab_from_freq({"a": 5, "b": 3})
        model.build_vocab_from_freq({"b": 10, "c": 4}, update=True)
    assert ours.wv.get_vecattr("b", "count") == 13
    assert_same_vocabulary(ours, theirs)
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize("modes", [{}, {"hs": 1}, {"hs": 1, "negative": 0}], ids=["ns", "ns_and_hs", "hs"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"min_count": 2}, {"sample": 0}, {"sorted_vocab": 0}],
    ids=["plain", "min_count_2", "sample_0", "unsorted"],
)
def test_vocabulary_update_equals_gensim_and_keeps_old_rows(settings, modes):
    more = [["graph", "novel", "Ω", "novel"], [], ["Ω", "survey", "novel"]]
    ours, theirs = both(**modes, **settings)
    old = {}
    for model in (ours, theirs):
        model.build_vocab(common_texts)
        rng = np.random.default_rng(5)  # stands for training, which the two do not share
        for holder, name in ((model.wv, "vectors"), (model, "syn1neg"), (model, "syn1")):
            if hasattr(holder, name):
                old[name] = rng.standard_normal(getattr(holder, name).shape).astype(np.float32)
                setattr(holder, name, old[name].copy())
        model.build_vocab(more, update=True, keep_raw_vocab=True)
    assert_same_model(ours, theirs)
    gained = len(ours.wv) - len(old["vectors"])
    assert gained == 2 and ours.wv.vectors.shape == (len(ours.wv), 12)
    assert ours.wv.get_vecattr("graph", "count") == 4
    assert_same_array(ours.wv.vectors[:-gained], old["vectors"], "old rows of wv.vectors")
    for name in {"syn1neg", "syn1"} & set(old):
        assert_same_array(getattr(ours, name)[:-gained], old[name], f"old rows of {name}")
        assert not getattr(ours, name)[-gained:].any()


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "corpus.txt"
    lines = [" ".join(sentence) for sentence in common_texts] + ["", "naïve 日本語  two\tgaps", "   ", "日本語 end"]
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_corpus_file_vocabulary_equals_gensim(text_file):
    ours, theirs = both(hs=1)
    for model in (ours, theirs):
        model.build_vocab(corpus_file=text_file, keep_raw_vocab=True)
    assert "日本語" in ours.wv
    assert_same_model(ours, theirs)


def test_corpus_file_vocabulary_equals_sentences(text_file):
    from_file, _ = both(hs=1)
    from_sentences, _ = both(hs=1)
    from_file.build_vocab(corpus_file=text_file, keep_raw_vocab=True)
    from_sentences.build_vocab(list(LineSentence(text_file)), keep_raw_vocab=True)
    assert_same_model(from_file, from_sentences)


def test_lee_corpus_file_vocabulary_equals_gensim():
    ours, theirs = both(min_count=3, hs=1)
    for model in (ours, theirs):
        model.build_vocab(corpus_file=datapath("lee_background.cor"), keep_raw_vocab=True)
    assert_same_model(ours, theirs)


# ---- signatures ------------------------------------------------------------------------------------------------------


def parameters(function):
    return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_constructor_begins_with_gensims_arguments_and_ours_are_keyword_only():
    ours, theirs = parameters(TorchWord2Vec.__init__), parameters(Word2Vec.__init__)
    assert len(theirs) > 25
    assert ours[: len(theirs)] == theirs
    added = ours[len(theirs) :]
    assert [name for name, _, _ in added] == [
        "device", "engine", "objective", "cbow_gradient", "optimizer", "deterministic", "progress_bar", "checkpoint",
        "checkpoint_seconds", "checkpoint_words", "init_from",
    ]  # fmt: skip
    assert {kind for _, kind, _ in added} == {inspect.Parameter.KEYWORD_ONLY}


PUBLIC_METHODS = [
    name for name, member in vars(Word2Vec).items() if inspect.isfunction(member) and not name.startswith("_")
]


@pytest.mark.parametrize("method", PUBLIC_METHODS)
def test_signature_equals_gensim(method):
    assert parameters(getattr(TorchWord2Vec, method)) == parameters(getattr(Word2Vec, method))


def test_signatures_of_the_main_methods_are_compared():
    assert {"train", "build_vocab", "scan_vocab", "build_vocab_from_freq", "prepare_vocab", "save"} <= set(
        PUBLIC_METHODS
    )


def test_model_is_a_gensim_word2vec():
    assert issubclass(TorchWord2Vec, Word2Vec)
    assert isinstance(TorchWord2Vec(min_count=1), Word2Vec)


# ---- counts that training returns and logs ---------------------------------------------------------------------------


def train(model, caplog, corpus, **arguments):
    """Train, and return (what train() returned, the (raw, effective) words of each epoch's log line)."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="gensim"):
        result = model.train(corpus, total_examples=model.corpus_count, epochs=model.epochs, **arguments)
    lines = (re.search(r"training on (\d+) raw words \((\d+) effective words\) took", m) for m in caplog.messages)
    epochs = [(int(line[1]), int(line[2])) for line in lines if line]
    return result, epochs[:-1], epochs[-1]  # the last line sums up the whole call


MODES = {"cbow": {"sg": 0}, "sg": {"sg": 1}, "hs": {"sg": 0, "hs": 1, "negative": 0}}
COUNTED = [(c, m) for c in ("common_texts", "mixed_tokens", "empty_sentences") for m in MODES]


@pytest.mark.parametrize("min_count", [1, 2], ids=["all_words", "some_unknown"])
@pytest.mark.parametrize(("corpus", "mode"), COUNTED)
def test_train_counts_equal_gensim_without_subsampling(caplog, corpus, min_count, mode):
    ours, theirs = both(sample=0, epochs=3, min_count=min_count, **MODES[mode])
    counts = []
    for model in (ours, theirs):
        model.build_vocab(CORPORA[corpus]())
        counts.append(train(model, caplog, CORPORA[corpus]()))
    assert counts[0] == counts[1]
    (effective, raw), epochs, total = counts[0]
    assert raw == 3 * ours.corpus_total_words and effective == 3 * ours.wv.expandos["count"].sum()
    assert len(epochs) == 3 and total == (raw, effective)


def test_train_counts_equal_gensim_on_lee_without_subsampling(caplog):
    ours, theirs = both(sample=0, epochs=1, min_count=5)
    counts = []
    for model in (ours, theirs):
        model.build_vocab(CORPORA["lee"]())
        counts.append(train(model, caplog, CORPORA["lee"]()))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("kind", ["list", "line_sentence", "stream"])
def test_effective_words_under_subsampling_are_near_gensim(caplog, kind):
    class Stream:
        def __iter__(self):
            return iter(LineSentence(datapath("lee_background.cor")))

    corpus = {"list": lambda: list(CORPORA["lee"]()), "line_sentence": CORPORA["lee"], "stream": Stream}[kind]()
    ours, theirs = both(sample=1e-3, epochs=5, min_count=5)
    counts = []
    for model in (ours, theirs):
        model.build_vocab(corpus)
        counts.append(train(model, caplog, corpus))
    (our_effective, our_raw), our_epochs, _ = counts[0]
    (their_effective, their_raw), their_epochs, _ = counts[1]
    assert our_raw == their_raw == 5 * theirs.corpus_total_words
    assert [raw for raw, _ in our_epochs] == [raw for raw, _ in their_epochs]
    assert our_effective == pytest.approx(their_effective, rel=EFFECTIVE_WORDS_RTOL)
    assert their_effective < 0.9 * 5 * theirs.wv.expandos["count"].sum()  # subsampling was at work
    assert len({effective for _, effective in our_epochs}) > 1  # and drew anew each epoch


def test_corpus_file_train_counts_equal_sentences(text_file):
    counts = []
    for arguments in ({"corpus_file": text_file}, {"corpus_iterable": list(LineSentence(text_file))}):
        model, _ = both(sample=0, epochs=2)
        model.build_vocab(**arguments)
        counts.append(
            model.train(**arguments, total_examples=model.corpus_count, total_words=model.corpus_total_words, epochs=2)
        )
    assert counts[0] == counts[1] == (2 * model.corpus_total_words,) * 2


def test_corpus_file_train_counts_equal_gensim():
    path = datapath("lee_background.cor")
    counts = []
    for model in both(sample=0, epochs=1, min_count=5):
        model.build_vocab(corpus_file=path)
        counts.append(
            model.train(
                corpus_file=path, total_examples=model.corpus_count, total_words=model.corpus_total_words, epochs=1
            )
        )
    assert counts[0] == counts[1]


def test_whole_number_tokens_get_their_own_tables():
    """gensim reads a token 3 as row 3 when it makes tables; ours equal gensim's tables for the tokens' names."""
    walks = [[3, 1, 2, 1, 0], [2, 1, 3, 5, 5, 5], [5, 5, 1, 4]] * 3
    named = [[str(node) for node in walk] for walk in walks]
    ours, theirs = TorchWord2Vec(min_count=1, hs=1), Word2Vec(min_count=1, hs=1)
    ours.build_vocab(walks)
    theirs.build_vocab(named)
    assert [str(key) for key in ours.wv.index_to_key] == theirs.wv.index_to_key
    assert_same_array(ours.cum_table, theirs.cum_table, "cum_table")
    for name in ("code", "point"):
        assert_same_paths(ours.wv.expandos[name], theirs.wv.expandos[name], name)
    ours.train(walks, total_examples=ours.corpus_count, epochs=2)  # gensim's own train() hangs here
    assert np.isfinite(ours.wv.vectors).all()


def test_state_after_training_is_that_of_the_parity_page():
    """Alpha at the start of the last chunk, or of gensim's last job; `random` is drawn from in gensim only."""
    drew, corpus = [], list(CORPORA["lee"]())
    models = both(epochs=2, min_count=5)
    for model in models:
        model.build_vocab(corpus)
        before = model.random.get_state()[1].copy(), model.random.get_state()[2]
        model.train(corpus, total_examples=model.corpus_count, epochs=2)
        after = model.random.get_state()
        drew.append(not (np.array_equal(after[1], before[0]) and after[2] == before[1]))
    for model in models:
        assert 0.0001 < model.min_alpha_yet_reached < 0.025 / 20
    assert drew == [False, True]
