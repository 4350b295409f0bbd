"""Bad input is refused early, with gensim's error type where gensim raises, and a message that names the cure."""

import inspect
import logging
import pickle
import sys

import numpy as np
import pytest
import torch
from gensim.models import Word2Vec
from gensim.models.word2vec import LineSentence
from support import in_time

import torchw2v.errors
from torchw2v import TorchWord2Vec
from torchw2v.errors import (
    CheckpointError,
    CheckpointMismatchError,
    CheckpointMissingError,
    CorpusFileError,
    CorpusTypeError,
    DeviceMemoryError,
    EmptyVocabularyError,
    EngineUnavailableError,
    FileFormatError,
    ModelFileError,
    ModelTypeError,
    NoOutputVectorsError,
    NothingToPlotError,
    QueryError,
    QueryTypeError,
    SettingError,
    SettingTypeError,
    TokenFileError,
    TorchW2VError,
    TrainingDivergedError,
    UnknownKeyError,
    VectorsFileError,
    VocabularyFileError,
    WeightsError,
)
from torchw2v.ops import select

SENTENCES = [["a", "b", "c"], ["a", "c", "b"]] * 10
SMALL = {"vector_size": 8, "min_count": 1, "workers": 1}

RAISED_BY = {
    SettingError: ValueError,
    SettingTypeError: TypeError,
    CorpusTypeError: TypeError,
    CorpusFileError: TypeError,
    EmptyVocabularyError: RuntimeError,
    EngineUnavailableError: ValueError,
    DeviceMemoryError: RuntimeError,
    WeightsError: ValueError,
    ModelTypeError: TypeError,
    FileFormatError: ValueError,
    ModelFileError: pickle.UnpicklingError,
    NothingToPlotError: ValueError,
    NoOutputVectorsError: AttributeError,
    CheckpointError: RuntimeError,
    CheckpointMissingError: FileNotFoundError,
    CheckpointMismatchError: ValueError,
    TrainingDivergedError: FloatingPointError,
    TokenFileError: ValueError,
    QueryError: ValueError,
    QueryTypeError: TypeError,
    UnknownKeyError: KeyError,
    VectorsFileError: ValueError,
    VocabularyFileError: ValueError,
}


def ours(**settings):
    return TorchWord2Vec(**{**SMALL, "device": "cpu", **settings})


def gensims(**settings):
    return Word2Vec(**{**SMALL, **settings})


def built(make, **settings):
    model = make(**settings)
    model.build_vocab(SENTENCES)
    return model


def train(model, sentences=SENTENCES, **arguments):
    return model.train(sentences, **{"total_examples": len(SENTENCES), "epochs": 1, **arguments})


def error_of(call):
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("a b c\na c b\n" * 10)
    return str(path)


@pytest.fixture
def latin_file(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"a b c\na c b\ncaf\xe9 b c\n" * 4)
    return str(path)


# ---- the family --------------------------------------------------------------------------------------------------


def test_error_family_is_complete_here():
    family = {
        error
        for _, error in inspect.getmembers(torchw2v.errors, inspect.isclass)
        if issubclass(error, TorchW2VError) and error is not TorchW2VError
    }
    assert family == set(RAISED_BY)


@pytest.mark.parametrize(("error", "gensims_type"), RAISED_BY.items(), ids=lambda error: error.__name__)
def test_error_class_inherits_gensims_type(error, gensims_type):
    assert issubclass(error, gensims_type)
    assert issubclass(error, TorchW2VError)


# ---- the corpus --------------------------------------------------------------------------------------------------

BAD_CORPORA = {
    "train-no-corpus": (
        lambda make, path: built(make).train(total_examples=1, epochs=1),
        TypeError,
        "corpus_file or corpus_iterable",
    ),
    "build-vocab-no-corpus": (lambda make, path: make().build_vocab(), TypeError, "corpus_file or corpus_iterable"),
    "both-in-constructor": (
        lambda make, path: make(sentences=SENTENCES, corpus_file=path),
        TypeError,
        "corpus_file and corpus_iterable must not",
    ),
    "both-in-train": (
        lambda make, path: train(built(make), corpus_file=path, total_words=60),
        TypeError,
        "corpus_file and corpus_iterable must not",
    ),
    "number-as-sentences": (lambda make, path: make(sentences=5), TypeError, "iterable of lists of strings, got 5"),
    "numbers-as-sentence": (lambda make, path: make(sentences=[1, 2]), TypeError, "'int' object is not iterable"),
    "unhashable-token": (lambda make, path: make(sentences=[[["a"]]]), TypeError, "unhashable"),
    "generator": (
        lambda make, path: make(sentences=(s for s in SENTENCES)),
        TypeError,
        "generator as .* can't support 6 passes",
    ),
    "generator-in-train": (
        lambda make, path: train(built(make), (s for s in SENTENCES), epochs=2),
        TypeError,
        "generator as .* can't support 2 passes",
    ),
    "train-before-build-vocab": (lambda make, path: train(make()), RuntimeError, "first build vocabulary"),
    "no-word-reaches-min-count": (
        lambda make, path: make(sentences=SENTENCES, min_count=500),
        RuntimeError,
        "first build vocabulary",
    ),
    "empty-corpus": (lambda make, path: make(sentences=[]), RuntimeError, "first build vocabulary"),
    "only-empty-sentences": (lambda make, path: make(sentences=[[], []]), RuntimeError, "first build vocabulary"),
    "missing-corpus-file": (
        lambda make, path: make(corpus_file=path + ".gone"),
        TypeError,
        "valid path .*text.txt.gone",
    ),
    # os.path.isfile takes a small number for an open file descriptor; this one is none.
    "number-as-corpus-file": (lambda make, path: make(corpus_file=987_654), TypeError, "valid path .*987654"),
    "missing-line-sentence": (
        lambda make, path: make(sentences=LineSentence(path + ".gone")),
        FileNotFoundError,
        "text.txt.gone",
    ),
    "epochs-missing": (
        lambda make, path: built(make).train(SENTENCES, total_examples=20),
        ValueError,
        "explicit epochs count.*epochs=model.epochs",
    ),
    "epochs-zero": (lambda make, path: train(built(make), epochs=0), ValueError, "explicit epochs count"),
    "totals-missing": (
        lambda make, path: built(make).train(SENTENCES, epochs=1),
        ValueError,
        "total_examples or total_words.*total_examples=model.corpus_count",
    ),
    "corpus-file-without-total-words": (
        lambda make, path: built(make).train(corpus_file=path, total_examples=20, epochs=1),
        ValueError,
        "total_words must be provided alongside corpus_file",
    ),
    "neither-hs-nor-negative": (
        lambda make, path: make(sentences=SENTENCES, hs=0, negative=0),
        ValueError,
        "either 'hs' or 'negative'",
    ),
    "negative-switched-off-before-train": (
        lambda make, path: train(with_attribute(built(make), "negative", 0)),
        ValueError,
        "either 'hs' or 'negative'",
    ),
}


def with_attribute(model, name, value):
    setattr(model, name, value)
    return model


@pytest.mark.parametrize("make", [gensims, ours], ids=["gensim", "torchw2v"])
@pytest.mark.parametrize(("call", "error", "message"), BAD_CORPORA.values(), ids=BAD_CORPORA)
def test_bad_call_raises_the_same_in_both_libraries(make, call, error, message, text_file):
    with pytest.raises(error, match=message):
        in_time(lambda: call(make, text_file))


@pytest.mark.parametrize("text", ["a b c", b"a b c"], ids=["str", "bytes"])
@pytest.mark.parametrize("door", ["constructor", "build_vocab", "train"])
def test_plain_text_as_sentences_is_refused(text, door):
    doors = {
        "constructor": lambda: ours(sentences=text),
        "build_vocab": lambda: ours().build_vocab(text),
        "train": lambda: train(built(ours), text),
    }
    with pytest.raises(CorpusTypeError, match=r"iterable of lists of words, got the .*a b c.*corpus_file=.*split\(\)"):
        in_time(doors[door])


def test_empty_vocabulary_message_has_min_count_and_highest_count():
    with pytest.raises(EmptyVocabularyError, match=r"min_count=500 .* 20 times.*Lower min_count"):
        ours(sentences=SENTENCES, min_count=500)


def test_empty_corpus_message_says_so():
    with pytest.raises(EmptyVocabularyError, match="the corpus held no words"):
        ours(sentences=[])


def test_empty_corpus_file_is_refused(tmp_path):
    path = tmp_path / "empty.txt"
    path.write_text("\n\n")
    with pytest.raises(EmptyVocabularyError, match="the corpus held no words"):
        in_time(lambda: ours(corpus_file=str(path)))


@pytest.mark.parametrize("make", [gensims, ours], ids=["gensim", "torchw2v"])
def test_directory_as_corpus_file_is_refused(make, tmp_path):
    with pytest.raises(TypeError, match=f"valid path to a file, got .*{tmp_path.name}"):
        make(corpus_file=str(tmp_path))
    with pytest.raises(TypeError, match="valid path to a file"):
        built(make).train(corpus_file=str(tmp_path), total_words=60, epochs=1)


def test_corpus_file_errors_are_of_our_family(tmp_path):
    with pytest.raises(CorpusFileError, match=r"gone\.txt"):
        ours(corpus_file=str(tmp_path / "gone.txt"))
    with pytest.raises(SettingError, match="total_words"):
        built(ours).train(corpus_file=__file__, total_examples=20, epochs=1)


INVALID_UTF8 = {
    "corpus_file": lambda path: in_time(lambda: ours(corpus_file=path)),
    "LineSentence": lambda path: in_time(lambda: ours(sentences=LineSentence(path))),
    "corpus_file-in-train": lambda path: in_time(lambda: built(ours).train(corpus_file=path, total_words=60, epochs=1)),
    "LineSentence-in-train": lambda path: in_time(lambda: train(built(ours), LineSentence(path))),
    "streamed-in-train": lambda path: in_time(lambda: train(built(ours), Streamed(path))),
}


class Streamed(LineSentence):
    """A reader of the user's own: its sentences are not kept from one epoch to the next."""


@pytest.mark.parametrize("door", INVALID_UTF8)
def test_invalid_utf8_error_names_the_place_and_the_cure(door, latin_file):
    with pytest.raises(UnicodeDecodeError, match=r"after 2 sentences, near .*caf.*must be UTF-8.*latin-1"):
        INVALID_UTF8[door](latin_file)


def test_list_of_plain_strings_warns_as_gensim_does(caplog):
    warnings = {}
    for make in (gensims, ours):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            make(sentences=["abc", "acb"])
        warnings[make] = [r.getMessage() for r in caplog.records if "should be a list of words" in r.getMessage()]
    assert len(warnings[gensims]) == 1
    assert warnings[ours] == warnings[gensims]


def test_list_of_words_does_not_warn_of_plain_strings(caplog):
    with caplog.at_level(logging.WARNING):
        ours(sentences=SENTENCES)
    assert not [r for r in caplog.records if "should be a list of words" in r.getMessage()]


@pytest.mark.parametrize("make", [gensims, ours], ids=["gensim", "torchw2v"])
def test_training_on_an_exhausted_iterator_warns(make, caplog):
    with caplog.at_level(logging.WARNING):
        train(built(make), iter([]))
    assert "train() called with an empty iterator" in caplog.text


# ---- settings ----------------------------------------------------------------------------------------------------

OUT_OF_RANGE = [
    (name, value)
    for name in ("vector_size", "window", "negative", "workers")
    for value in (0, -1, "x", None, 2**31)
    if (name, value) not in (("negative", 0), ("window", None))  # allowed with hs=1; the whole sentence
]
WITHOUT_ERROR_IN_GENSIM = None


def gensims_error(name, value):
    """What gensim's constructor raises, without a corpus: with one it hangs for some of these values."""
    try:
        gensims(**{name: value})
    except Exception as error:
        return type(error)
    return WITHOUT_ERROR_IN_GENSIM


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_size_out_of_range_is_refused_by_the_constructor(name, value):
    with pytest.raises(SettingError, match=f"{name}={value!r} .*give {name} >= [01]"):
        in_time(lambda: ours(**{name: value}))


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_size_out_of_range_raises_gensims_type_where_gensim_raises(name, value):
    expected = gensims_error(name, value)
    if expected is WITHOUT_ERROR_IN_GENSIM:
        expected = SettingError
    assert isinstance(error_of(lambda: ours(**{name: value})), expected)


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_size_out_of_range_is_refused_by_train_after_the_attribute_was_changed(name, value):
    model = built(ours)
    before = model.wv.vectors.copy()
    setattr(model, name, value)
    with pytest.raises(SettingError, match=f"{name}={value!r} .*give {name} >= [01]"):
        in_time(lambda: train(model))
    assert np.array_equal(model.wv.vectors, before)


NOT_FINITE = [(name, value) for name in ("alpha", "min_alpha", "sample", "ns_exponent") for value in (np.nan, np.inf)]


@pytest.mark.parametrize(("name", "value"), [*NOT_FINITE, ("sample", -1e-3), ("alpha", np.float32("nan"))])
def test_number_that_is_none_is_refused_by_name(name, value):
    """gensim: vectors of NaN, or an error about an integer."""
    with pytest.raises(SettingError, match=f"^{name}=.* is out of range; give a finite number"):
        in_time(lambda: ours(sentences=SENTENCES, **{name: value}))
    model = built(ours)
    setattr(model, name, value)
    with pytest.raises(SettingError, match=f"^{name}=.* is out of range"):
        in_time(lambda: train(model))


WRONG_KINDS = {
    "vector_size='100'": (
        {"vector_size": "100"},
        r"vector_size='100' is a str, not a whole number; give vector_size=100",
    ),
    "vector_size=100.0": ({"vector_size": 100.0}, r"vector_size=100\.0 is a float, not a whole number"),
    "epochs='5'": ({"epochs": "5"}, r"epochs='5' is a str, not a whole number; give epochs=5"),
    "epochs=5.0": ({"epochs": 5.0}, r"epochs=5\.0 is a float, not a whole number"),
    "min_count='1'": ({"min_count": "1"}, r"min_count='1' is a str, not a number"),
    "sample='0.1'": ({"sample": "0.1"}, r"sample='0\.1' is a str, not a number"),
    "seed='one'": ({"seed": "one"}, r"seed='one' is a str, not a number; give seed=1"),
    "sg='skipgram'": ({"sg": "skipgram"}, r"sg='skipgram' is not a whole number; give sg=0 or sg=1"),
    "hs=None": ({"hs": None}, r"hs=None is not a whole number; give hs=0 or hs=1"),
    "size": ({"size": 100}, r"unexpected keyword argument 'size'; since gensim 4 it is 'vector_size'"),
    "iter": ({"iter": 5}, r"unexpected keyword argument 'iter'; since gensim 4 it is 'epochs'"),
    "determinstic": ({"determinstic": True}, r"argument 'determinstic'; did you mean 'deterministic'\?"),
    "foo": ({"foo": 1}, r"TorchWord2Vec\.__init__\(\) got an unexpected keyword argument 'foo'; neither gensim nor"),
}


@pytest.mark.parametrize(("settings", "message"), WRONG_KINDS.values(), ids=WRONG_KINDS)
def test_argument_of_a_wrong_kind_or_name_is_refused_with_gensims_type(settings, message):
    gensims_error = error_of(lambda: gensims(sentences=SENTENCES, **settings))
    with pytest.raises(SettingError, match=message) as caught:
        ours(sentences=SENTENCES, **settings)
    base = TypeError if isinstance(gensims_error, TypeError) else ValueError
    assert isinstance(gensims_error, base) and isinstance(caught.value, base)


@pytest.mark.parametrize(
    "settings",
    [{"vector_size": np.int64(8)}, {"window": "5"}, {"alpha": "0.1"}, {"min_count": 1.0}, {"hs": True}, {"seed": None}],
    ids=str,
)
def test_what_gensim_takes_for_a_number_is_taken_here(settings):
    for make in (gensims, ours):
        assert len(make(sentences=SENTENCES, **settings).wv) == 3


def test_training_goes_on_after_a_refused_setting_was_put_right():
    model = built(ours, sample=0)
    model.window = 0
    with pytest.raises(SettingError, match="window=0"):
        train(model)
    model.window = 2
    assert train(model) == (60, 60)


# ---- files -------------------------------------------------------------------------------------------------------


def test_file_without_a_model_is_named_with_what_reads_it(text_file, tmp_path):
    with pytest.raises(
        ModelFileError, match=r"text\.txt' holds no saved model .*load_word2vec_format.*load_safetensors"
    ):
        TorchWord2Vec.load(text_file)
    assert isinstance(error_of(lambda: Word2Vec.load(text_file)), pickle.UnpicklingError)
    with pytest.raises(FileNotFoundError, match="gone"):
        TorchWord2Vec.load(str(tmp_path / "gone"))


# ---- engines and devices -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["tensorflow", "", "Torch"])
def test_unknown_engine_is_refused_and_the_known_ones_named(engine):
    with pytest.raises(EngineUnavailableError, match=f"engine='{engine}' is unknown.*'auto', 'reference', 'torch'"):
        ours(engine=engine)


@pytest.mark.parametrize("device", ["abacus", "cuda:x", "", 1.5])
def test_unknown_device_is_refused_and_the_known_ones_named(device):
    with pytest.raises(EngineUnavailableError, match=f"device={device!r} is unknown; use 'auto', 'cpu'"):
        ours(device=device)


def test_engine_or_device_changed_to_an_unknown_one_is_refused_by_train():
    model = built(ours)
    model.engine = "abacus"
    with pytest.raises(EngineUnavailableError, match="engine='abacus'"):
        train(model)
    model.engine, model.device = None, "abacus"
    with pytest.raises(EngineUnavailableError, match="device='abacus'"):
        train(model)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device: asking for it succeeds")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", torch.device("cuda")], ids=str)
def test_cuda_device_that_is_absent_is_refused(device):
    with pytest.raises(EngineUnavailableError, match="no CUDA device here; use device='cpu' or device='auto'"):
        ours(device=device)


@pytest.mark.parametrize("device", ["cuda", "meta"])
def test_reference_engine_is_refused_off_the_cpu(device):
    # Without CUDA the device is refused first; both messages name a cure.
    with pytest.raises(EngineUnavailableError, match=r"use (engine='torch'|device='cpu')"):
        ours(engine="reference", device=device)


def test_reference_engine_off_the_cpu_names_the_engine_and_the_device():
    with pytest.raises(EngineUnavailableError, match="engine='reference' runs on the CPU only, not on meta"):
        ours(engine="reference", device="meta")


@pytest.fixture
def broken_numba(tmp_path, monkeypatch):
    """An installed numba that says what numba says beside a numpy that is too new."""
    (tmp_path / "numba.py").write_text('raise ImportError("Numba needs NumPy 2.3 or less. Got NumPy 2.9.")')
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "numba"]:
        monkeypatch.delitem(sys.modules, name)


def test_numba_that_cannot_be_imported_is_named_and_replaced(broken_numba):
    choice = ours().running_on
    assert choice.engine == "torch"
    assert "numba cannot be imported (Numba needs NumPy 2.3 or less" in choice.reason


def test_numba_that_cannot_be_imported_is_refused_where_asked_for(broken_numba):
    with pytest.raises(EngineUnavailableError, match=r"engine='numba' was asked for, but numba cannot.*engine='torch'"):
        ours(engine="numba")


def test_deterministic_training_is_refused_off_the_cpu():
    with pytest.raises(EngineUnavailableError, match=r"deterministic=True .*use device='cpu'"):
        ours(deterministic=True, device="meta")


def test_deterministic_training_takes_torch_operations_in_a_fixed_order_on_cuda(monkeypatch):
    monkeypatch.setattr(select, "_check_present", lambda device, asked: None)
    monkeypatch.setattr(select, "_triton_missing", lambda device: None)
    chosen = ours(deterministic=True, device="cuda").running_on
    assert (chosen.engine, chosen.ordered) == ("torch", True) and "deterministic=True" in chosen.reason
    assert not ours(deterministic=True, device="cpu").running_on.ordered
    with pytest.raises(EngineUnavailableError, match=r"'triton' was asked for, but deterministic=True.*'torch'"):
        ours(deterministic=True, device="cuda", engine="triton")
