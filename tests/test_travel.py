"""Files and models travel both ways: plain gensim opens ours without torchw2v or torch, and we open all of gensim's."""

import copy
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import gensim.models.word2vec
import gensim.test
import numpy as np
import pytest
import torch
from gensim.models import Doc2Vec, FastText, KeyedVectors, Word2Vec
from gensim.models.doc2vec import TaggedDocument
from small_models import MODES, SMALL, TOPICS, WORDS, assert_same_weights, each_mode, gensims, ours, train

from torchw2v import TorchWord2Vec, saving
from torchw2v.errors import ModelTypeError

SETTINGS = {
    "device": "cpu", "engine": "torch", "deterministic": True, "progress_bar": False, "compute_loss": True,
}  # fmt: skip

# Run by a python that cannot import torch or torchw2v: argv is (model, corpus as JSON, where to save it again).
PLAIN_GENSIM = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchw2v"):
            raise ImportError(name + " is not installed")

sys.meta_path.insert(0, Blocked())
try:
    import torch
except ImportError:
    pass
else:
    raise SystemExit("torch could be imported: this proves nothing")
import numpy as np
from gensim.models import Word2Vec

path, corpus, again = sys.argv[1:]
corpus = json.load(open(corpus))
model = Word2Vec.load(path)
assert type(model) is Word2Vec, type(model)
similar, before = model.wv.most_similar("x0"), model.wv.vectors.copy()
words = model.train(corpus, total_examples=len(corpus), epochs=2)
assert not np.array_equal(before, model.wv.vectors)
model.save(again)
assert not {"torch", "torchw2v"} & {name.split(".")[0] for name in sys.modules}
print(json.dumps({"similar": similar, "words": words, "train_count": model.train_count}))
"""


def in_plain_gensim(path, tmp_path):
    """Load, train and save again where there is no torchw2v: (what it printed, path of the new file)."""
    corpus, again = tmp_path / "corpus.json", tmp_path / "again.model"
    corpus.write_text(json.dumps(TOPICS))
    command = [sys.executable, "-c", PLAIN_GENSIM, str(path), str(corpus), str(again)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), str(again)


# ---- ours, opened by gensim --------------------------------------------------------------------------------------

FILES = {
    "plain": ("m.model", {}),
    "side-files": ("m.model", {"sep_limit": 0}),
    "separately": ("m.model", {"separately": ["syn1neg"]}),
    "gzip": ("m.model.gz", {}),
    "old-protocol": ("m.model", {"pickle_protocol": 2}),
}


@pytest.mark.parametrize(("name", "how"), FILES.values(), ids=FILES)
def test_plain_gensim_opens_trains_and_saves_our_file(name, how, tmp_path):
    model, path = ours(TOPICS, **SETTINGS), str(tmp_path / name)
    model.save(path, **how)
    reported, again = in_plain_gensim(path, tmp_path)
    assert [word for word, _ in reported["similar"]] == [word for word, _ in model.wv.most_similar("x0")]
    assert reported["words"][1] == 2 * WORDS
    plain = model.to_gensim()
    assert [*train(plain)] == reported["words"]
    back = TorchWord2Vec.load(again)  # ours, saved by ours, trained and saved by gensim
    assert_same_weights(back, plain)
    assert type(back) is TorchWord2Vec
    assert {name: getattr(back, name) for name in SETTINGS if name != "compute_loss"} == {
        name: value for name, value in SETTINGS.items() if name != "compute_loss"
    }
    assert back.training_history == model.training_history
    assert back.train_count == reported["train_count"] == 2


@each_mode
def test_plain_gensim_opens_every_mode(mode, tmp_path):
    model, path = ours(TOPICS, **mode), str(tmp_path / "m.model")
    model.save(path)
    _, again = in_plain_gensim(path, tmp_path)
    plain = model.to_gensim()
    train(plain)
    assert_same_weights(Word2Vec.load(again), plain)


def test_gensims_own_load_gives_gensims_class_here_too(tmp_path):
    path = str(tmp_path / "m.model")
    ours(TOPICS).save(path)
    assert type(Word2Vec.load(path)) is Word2Vec


def test_device_object_is_saved_by_name(tmp_path):
    model, path = ours(TOPICS, device=torch.device("cpu")), str(tmp_path / "m.model")
    model.save(path)
    in_plain_gensim(path, tmp_path)
    assert TorchWord2Vec.load(path).device == "cpu"
    assert model.device == torch.device("cpu")


def test_saved_into_an_open_file_it_is_gensims_too(tmp_path):
    model, buffer = ours(TOPICS), io.BytesIO()
    model.save(buffer)
    back = pickle.loads(buffer.getvalue())
    assert type(back) is Word2Vec
    assert np.array_equal(back.wv.vectors, model.wv.vectors)


def test_a_path_object_is_taken_for_its_string(tmp_path):
    model = ours(TOPICS)
    model.save(tmp_path / "m.model", sep_limit=0)
    assert_same_weights(TorchWord2Vec.load(tmp_path / "m.model"), model)


@pytest.mark.parametrize("copied", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy, copy.copy])
def test_pickle_and_copy_keep_our_class_while_another_model_is_saved(copied):
    model, kinds = ours(TOPICS), []

    class Copying(TorchWord2Vec):
        def __getstate__(self):
            kinds.append(type(copied(model)))
            return super().__getstate__()

    Copying(TOPICS, **SMALL, device="cpu").save(io.BytesIO())
    assert kinds == [TorchWord2Vec]


def test_model_is_saved_as_gensims_while_its_name_means_another_class(monkeypatch):
    model = ours(TOPICS)
    with monkeypatch.context() as patch, saving._as_gensims(model):
        patch.setattr(gensim.models.word2vec, "Word2Vec", TorchWord2Vec)
        stored = pickle.dumps(model)
        assert type(pickle.loads(stored)) is TorchWord2Vec  # what the name means now
    back = pickle.loads(stored)
    assert type(back) is Word2Vec
    assert np.array_equal(back.syn1neg, model.syn1neg)


# ---- subclasses --------------------------------------------------------------------------------------------------


class Named(TorchWord2Vec):
    """A subclass that can be found by its name, with an attribute of its own."""

    def __init__(self, *args, note=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.note = note


class Reviving(TorchWord2Vec):
    """A subclass that says itself how it is unpickled."""

    def __setstate__(self, state):
        self.__dict__.update(state, revived=True)


def test_subclass_travels_as_gensims_and_comes_back_as_itself(tmp_path):
    path = str(tmp_path / "m.model")
    Named(TOPICS, **SMALL, device="cpu", note="mine").save(path)
    _, again = in_plain_gensim(path, tmp_path)
    for file in (path, again):
        for loader in (Named, TorchWord2Vec):
            back = loader.load(file)
            assert type(back) is Named
            assert back.note == "mine"
            assert "torchw2v_class" not in vars(back)


def test_subclass_that_is_not_to_be_found_comes_back_as_the_class_that_loads_it(tmp_path, caplog):
    class Local(TorchWord2Vec):
        pass

    path = str(tmp_path / "m.model")
    Local(TOPICS, **SMALL, device="cpu").save(path)
    assert type(Local.load(path)) is Local
    assert not caplog.records
    assert type(TorchWord2Vec.load(path)) is TorchWord2Vec
    assert "Local" in caplog.text
    assert "not to be found" in caplog.text


def test_class_that_a_file_names_must_be_one_of_ours(tmp_path, caplog):
    path, model = str(tmp_path / "m.model"), gensims(TOPICS)
    model.torchw2v_class = "subprocess:Popen"
    model.save(path)
    assert type(TorchWord2Vec.load(path)) is TorchWord2Vec
    assert "no TorchWord2Vec" in caplog.text


def test_subclass_with_its_own_unpickling_is_saved_under_its_own_class(tmp_path):
    path = str(tmp_path / "m.model")
    Reviving(TOPICS, **SMALL, device="cpu").save(path)
    back = TorchWord2Vec.load(path)
    assert type(back) is Reviving
    assert back.revived


class RevivingMixin:
    def __setstate__(self, state):
        self.__dict__.update(state, revived=True)


class Mixed(RevivingMixin, TorchWord2Vec):
    """Unpickled as a class beside ours says."""


def test_mixin_with_its_own_unpickling_is_heard(tmp_path):
    path = str(tmp_path / "m.model")
    Mixed(TOPICS, **SMALL, device="cpu").save(path)
    assert TorchWord2Vec.load(path).revived


def test_subclass_that_ignores_attributes_when_saving_is_heard(tmp_path):
    class Forgetful(TorchWord2Vec):
        def _save_specials(self, fname, separately, sep_limit, ignore, pickle_protocol, compress, subname):
            ignore = {*ignore, "secret"}
            return super()._save_specials(fname, separately, sep_limit, ignore, pickle_protocol, compress, subname)

    model, path = Forgetful(TOPICS, **SMALL, device="cpu"), str(tmp_path / "m.model")
    model.secret = "not for files"
    model.save(path)
    assert b"not for files" not in Path(path).read_bytes()
    assert Forgetful.load(path).secret is None
    assert model.secret == "not for files"


# ---- gensim's, opened by ours ------------------------------------------------------------------------------------

DATA = Path(gensim.test.__file__).parent / "test_data"
OLD_FILES = sorted(
    str(path.relative_to(DATA))
    for pattern in ("*w2v*", "*word2vec*", "old_w2v_models/*.mdl")
    for path in DATA.glob(pattern)
    if path.is_file() and path.suffix != ".npy"
)
OPENED_BY_GENSIM = 16  # 4.4.0; before 0.13.4 it refuses them itself


def outcome(load):
    try:
        return load()
    except Exception as error:  # compared by its type
        return error


@pytest.mark.parametrize("name", OLD_FILES)
def test_every_file_that_gensim_opens_is_opened_and_trains(name, tmp_path):
    path = str(DATA / name)
    theirs, model = outcome(lambda: Word2Vec.load(path)), outcome(lambda: TorchWord2Vec.load(path, device="cpu"))
    if isinstance(theirs, Exception):
        assert isinstance(model, type(theirs))
        return
    assert type(model) is TorchWord2Vec
    assert np.array_equal(model.wv.vectors, theirs.wv.vectors)
    assert model.wv.index_to_key == theirs.wv.index_to_key
    sentences = [model.wv.index_to_key[:3]] * 30
    model.build_vocab([[*sentences[0], "newcomer"]] * 30, update=True)
    assert model.train(sentences, total_examples=30, epochs=1)[1] == 90
    assert np.isfinite(model.wv.vectors).all()
    model.save(str(tmp_path / "m.model"))
    assert Word2Vec.load(str(tmp_path / "m.model")).wv.key_to_index["newcomer"] == len(theirs.wv)


def test_old_files_are_really_there():
    opened = [
        name for name in OLD_FILES if not isinstance(outcome(lambda n=name: Word2Vec.load(str(DATA / n))), Exception)
    ]
    assert len(opened) >= OPENED_BY_GENSIM


def other_models():
    return {
        "FastText": FastText(TOPICS, vector_size=8, min_count=1, bucket=50),
        "Doc2Vec": Doc2Vec([TaggedDocument(words, [n]) for n, words in enumerate(TOPICS)], vector_size=8, min_count=1),
    }


@pytest.mark.parametrize("kind", ["FastText", "Doc2Vec"])
def test_gensims_other_models_come_back_as_they_are_or_are_refused_with_a_device(kind, tmp_path):
    model, path = other_models()[kind], str(tmp_path / "m.model")
    model.save(path)
    assert type(TorchWord2Vec.load(path)) is type(model)
    with pytest.raises(ModelTypeError, match=kind):
        TorchWord2Vec.load(path, device="cpu")


def test_a_file_of_vectors_is_refused_as_gensim_refuses_it(tmp_path):
    path = str(tmp_path / "kv")
    ours(TOPICS).wv.save(path)
    with pytest.raises(AttributeError, match="KeyedVectors"):
        TorchWord2Vec.load(path)


# ---- from_gensim, to_gensim --------------------------------------------------------------------------------------

NOT_COMPARED = {"random", "load", "lifecycle_events", "wv", "training_history"}


def assert_same_state(one, other):
    """Every attribute that both have, and those of their vectors, are equal."""
    compared = 0
    for left, right in ((vars(one), vars(other)), (vars(one.wv), vars(other.wv))):
        for name in (left.keys() & right.keys()) - NOT_COMPARED:
            if name == "expandos":
                assert left[name].keys() == right[name].keys()
                for key in left[name]:
                    pairs = zip(left[name][key], right[name][key], strict=True)
                    assert all(np.array_equal(a, b) for a, b in pairs), key
            else:
                assert np.array_equal(left[name], right[name]), name
            compared += 1
    assert compared > 30
    assert one.random.get_state(legacy=False)["state"]["pos"] == other.random.get_state(legacy=False)["state"]["pos"]


@each_mode
def test_from_gensim_takes_the_whole_state_over(mode):
    plain = gensims(TOPICS, **mode, alpha=0.04, min_alpha=0.01)
    plain.wv.vectors_lockf = np.linspace(0, 1, len(plain.wv), dtype=np.float32)
    model = TorchWord2Vec.from_gensim(plain, device="cpu", engine="torch", deterministic=True, progress_bar=False)
    assert type(model) is TorchWord2Vec
    assert (model.device, model.engine, model.deterministic) == ("cpu", "torch", True)
    assert model.training_history == []
    assert_same_state(model, plain)
    before = plain.wv.vectors.copy()
    train(model)
    assert np.array_equal(plain.wv.vectors, before)
    frozen = plain.wv.vectors_lockf == 0
    assert np.array_equal(model.wv.vectors[frozen], before[frozen])
    assert not np.array_equal(model.wv.vectors, before)
    assert [entry["train_call"] for entry in model.training_history] == [1, 1]


@each_mode
def test_there_and_back_training_goes_on_as_if_never_left(mode):
    straight, model = ours(TOPICS, **mode), ours(TOPICS, **mode)
    back = TorchWord2Vec.from_gensim(model.to_gensim(), device="cpu")
    assert_same_state(back, model)
    train(straight)
    train(back)
    assert_same_weights(back, straight)


@each_mode
def test_to_gensim_is_a_plain_model_that_trains_with_gensims_routines(mode, monkeypatch):
    model = ours(TOPICS, **mode, deterministic=True)
    plain = model.to_gensim()
    assert type(plain) is Word2Vec
    ours_alone = {"device", "engine", "objective", "deterministic", "progress_bar", "training_history", "_run"}
    assert not set(vars(plain)) & ours_alone
    assert_same_state(plain, model)
    kernels = []
    for name in ("train_batch_sg", "train_batch_cbow"):
        kernel = getattr(gensim.models.word2vec, name)

        def spy(*args, kernel=kernel, name=name):
            kernels.append(name)
            return kernel(*args)

        monkeypatch.setattr(gensim.models.word2vec, name, spy)
    before = model.wv.vectors.copy()
    train(plain)
    assert set(kernels) == {"train_batch_sg" if mode["sg"] else "train_batch_cbow"}
    assert np.array_equal(model.wv.vectors, before)
    assert not np.array_equal(plain.wv.vectors, before)


def test_from_gensim_makes_the_subclass_it_is_called_on_and_copies_ours():
    model = ours(TOPICS)
    copied = Named.from_gensim(model, device="cpu")
    assert type(copied) is Named
    assert copied.training_history == model.training_history
    assert copied.training_history is not model.training_history
    assert_same_weights(copied, model)


@pytest.mark.parametrize("kind", ["FastText", "Doc2Vec", "KeyedVectors", "str"])
def test_from_gensim_refuses_other_models(kind):
    model = {**other_models(), "KeyedVectors": KeyedVectors(3), "str": "m.model"}[kind]
    with pytest.raises(ModelTypeError, match=rf"got a .*{kind}"):
        TorchWord2Vec.from_gensim(model)


def test_modes_are_all_four():
    assert len(MODES) == 4
    assert os.path.isdir(DATA)
