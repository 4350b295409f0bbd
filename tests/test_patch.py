"""Zero edits: patching gensim, and taking the patch away again."""

import abc
import copy
import importlib
import logging
import pickle
import pickletools
import subprocess
import sys

import gensim
import gensim.models.word2vec
import numpy as np
import pytest
from gensim.models import Doc2Vec, FastText, Word2Vec  # noqa: F401 -- Word2Vec is looked up by name
from gensim.models.doc2vec import TaggedDocument
from gensim.test.utils import common_texts, datapath

import torchw2v
from torchw2v import TorchWord2Vec

PLAIN = vars(gensim.models.word2vec)["Word2Vec"]  # the name above is re-bound while gensim is patched
SMALL = {"vector_size": 8, "min_count": 1, "workers": 1, "epochs": 2}


@pytest.fixture
def patched():
    with torchw2v.patched():
        yield


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A function that imports a module with this source."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def make(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        names.append(name)
        return importlib.import_module(name)

    yield make
    for name in names:
        sys.modules.pop(name, None)


# ---- what the names mean -----------------------------------------------------------------------------------------


def test_every_door_to_the_class_is_ours(patched):
    from gensim.models import Word2Vec as imported
    from gensim.models.word2vec import Word2Vec as imported_deep

    star = {}
    exec("from gensim.models.word2vec import *", star)
    doors = [
        imported, imported_deep, gensim.models.Word2Vec, gensim.models.word2vec.Word2Vec,
        sys.modules["gensim.models.word2vec"].Word2Vec, star["Word2Vec"], globals()["Word2Vec"],
    ]  # fmt: skip
    assert all(door is TorchWord2Vec for door in doors)


def test_patched_class_trains_with_our_engine_and_is_gensims(patched):
    model = gensim.models.Word2Vec(common_texts, **SMALL)
    assert type(model) is TorchWord2Vec and isinstance(model, PLAIN)
    assert len(model.training_history) == 2


def test_module_imported_before_is_rebound_and_put_back(module):
    held = module(
        "held_before", "from gensim.models import Word2Vec\nfrom gensim.models.word2vec import Word2Vec as W\n"
    )
    kept = held.Word2Vec
    with torchw2v.patched():
        assert held.Word2Vec is TorchWord2Vec and held.W is TorchWord2Vec
    assert held.Word2Vec is kept is PLAIN and held.W is PLAIN


def test_name_that_the_program_binds_anew_meanwhile_is_left_alone(module):
    held = module("rebinds", "from gensim.models import Word2Vec\n")
    with torchw2v.patched():
        held.Word2Vec = dict
    assert held.Word2Vec is dict


def test_module_imported_after_gets_ours(module, patched):
    assert module("held_after", "from gensim.models.word2vec import Word2Vec\n").Word2Vec is TorchWord2Vec


def test_unpatch_restores_exactly():
    def state():
        modules = [m for n, m in sys.modules.items() if n.startswith("gensim")]
        return (
            [{k: id(v) for k, v in vars(m).items()} for m in modules], type(gensim.models.word2vec), dict(vars(PLAIN)),
            {k: v for k, v in vars(TorchWord2Vec).items() if not k.startswith("_abc")},
        )  # fmt: skip

    before = state()
    torchw2v.patch_gensim()
    assert state() != before
    torchw2v.unpatch_gensim()
    assert state() == before
    assert gensim.models.Word2Vec is gensim.models.word2vec.Word2Vec is PLAIN


def test_patching_twice_and_unpatching_once_is_unpatched():
    torchw2v.patch_gensim()
    torchw2v.patch_gensim()
    torchw2v.unpatch_gensim()
    assert gensim.models.Word2Vec is PLAIN
    torchw2v.unpatch_gensim()
    assert gensim.models.Word2Vec is PLAIN


def test_patched_inside_a_patch_leaves_the_outer_one():
    with torchw2v.patched():
        with torchw2v.patched():
            pass
        assert gensim.models.Word2Vec is TorchWord2Vec
    assert gensim.models.Word2Vec is PLAIN


def test_patch_ends_with_an_error_inside():
    with pytest.raises(KeyError), torchw2v.patched():
        raise KeyError
    assert gensim.models.Word2Vec is PLAIN


def test_log_says_what_was_patched(caplog, module):
    module("named_in_log", "from gensim.models import Word2Vec\n")
    with caplog.at_level(logging.INFO, "torchw2v"), torchw2v.patched():
        pass
    first, last = caplog.messages[0], caplog.messages[-1]
    assert "torchw2v.TorchWord2Vec" in first and "named_in_log.Word2Vec" in first
    assert "gensim's own again" in last


def test_log_of_a_program_that_sets_up_logging_after_the_patch_says_so_too(caplog):
    with torchw2v.patched(), caplog.at_level(logging.INFO, "torchw2v"):
        gensim.models.Word2Vec(**SMALL)
        assert "gensim is patched" in caplog.text
    caplog.clear()
    torchw2v.TorchWord2Vec(**SMALL)
    assert "gensim is patched" not in caplog.text


def test_subclass_from_before_stays_gensims_and_is_named_in_a_warning(caplog, module):
    early = module("early", "from gensim.models import Word2Vec\nclass Early(Word2Vec):\n    pass\n").Early
    with torchw2v.patched():
        assert "early.Early: defined before gensim was patched" in caplog.text
        assert not hasattr(early(common_texts, **SMALL), "training_history")


def test_subclass_from_after_is_ours(module, patched):
    late = module("late", "from gensim.models import Word2Vec\nclass Late(Word2Vec):\n    pass\n").Late
    assert len(late(common_texts, **SMALL).training_history) == 2


def test_subclass_may_also_have_an_abstract_base():
    class Base(abc.ABC):
        @abc.abstractmethod
        def embed(self): ...

    class Mine(TorchWord2Vec, Base):
        def embed(self):
            return self.wv.vectors

    assert Mine(common_texts, **SMALL).embed().shape == (12, 8)


@pytest.mark.parametrize("tool", ["mock", "monkeypatch"])
def test_tools_that_replace_the_name_for_a_while_put_ours_back(tool, patched, monkeypatch):
    if tool == "mock":
        from unittest import mock

        with mock.patch("gensim.models.word2vec.Word2Vec") as fake:
            assert gensim.models.word2vec.Word2Vec is fake
    else:
        with monkeypatch.context() as context:
            context.setattr("gensim.models.word2vec.Word2Vec", dict)
            assert gensim.models.word2vec.Word2Vec is dict
    assert gensim.models.word2vec.Word2Vec is TorchWord2Vec
    gensim.models.word2vec.Word2Vec(common_texts, **SMALL)  # would recurse for ever if gensim's own code saw ours


# ---- FastText and Doc2Vec ------------------------------------------------------------------------------------------


def tagged():
    return [TaggedDocument(text, [n]) for n, text in enumerate(common_texts)]


@pytest.mark.parametrize("kind", [FastText, Doc2Vec])
def test_other_models_train_save_and_load_as_without_the_patch(kind, tmp_path):
    corpus = tagged() if kind is Doc2Vec else common_texts
    plain = kind(corpus, seed=3, **SMALL)
    with torchw2v.patched():
        model = kind(corpus, seed=3, **SMALL)
        model.save(str(tmp_path / "model"))
        loaded = kind.load(str(tmp_path / "model"))
        copied = pickle.loads(pickle.dumps(model))
        assert isinstance(model, gensim.models.Word2Vec) and issubclass(kind, gensim.models.Word2Vec)
    for other in (model, loaded, copied):
        assert type(other) is kind and np.array_equal(other.wv.vectors, plain.wv.vectors)
    assert not isinstance(model, TorchWord2Vec) and not issubclass(kind, TorchWord2Vec)


# ---- files and pickles ---------------------------------------------------------------------------------------------


@pytest.fixture
def plain(tmp_path):
    model = PLAIN(common_texts, sg=1, window=3, seed=5, **SMALL)
    model.save(str(tmp_path / "plain"))
    return model


@pytest.mark.parametrize("way", ["load", "pickle"])
def test_plain_model_becomes_ours_with_its_settings_and_trains(way, plain, tmp_path, patched):
    if way == "load":
        model = gensim.models.Word2Vec.load(str(tmp_path / "plain"))
    else:
        model = pickle.loads((tmp_path / "plain").read_bytes())
    assert type(model) is TorchWord2Vec
    for name in ("sg", "window", "seed", "vector_size", "epochs", "min_count", "alpha", "corpus_count"):
        assert getattr(model, name) == getattr(plain, name)
    assert np.array_equal(model.wv.vectors, plain.wv.vectors)
    model.train(common_texts, total_examples=model.corpus_count, epochs=1)
    assert len(model.training_history) == 1


@pytest.mark.parametrize("name", ["word2vec_old", "word2vec_3.3", "old_w2v_models/w2v_1.0.0.mdl"])
def test_model_of_an_old_gensim_becomes_ours(name, patched):
    assert type(gensim.models.Word2Vec.load(datapath(name))) is TorchWord2Vec


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_model_from_before_can_be_pickled_meanwhile(protocol, plain):
    with torchw2v.patched():
        data = pickle.dumps(plain, protocol)
        assert type(pickle.loads(data)) is TorchWord2Vec
        assert type(copy.deepcopy(plain)) is PLAIN
        assert isinstance(plain, gensim.models.Word2Vec)
    back = pickle.loads(data)
    assert type(back) is PLAIN and np.array_equal(back.wv.vectors, plain.wv.vectors)
    assert "torchw2v" not in "".join(str(argument) for _, argument, _ in pickletools.genops(data))


def test_plain_model_from_before_can_be_saved_meanwhile(plain, tmp_path):
    with torchw2v.patched():
        plain.save(str(tmp_path / "later"))
    loaded = PLAIN.load(str(tmp_path / "later"))
    assert type(loaded) is PLAIN and np.array_equal(loaded.wv.vectors, plain.wv.vectors)


def test_our_model_is_saved_and_loaded_while_patched_and_after(tmp_path):
    with torchw2v.patched():
        model = gensim.models.Word2Vec(common_texts, **SMALL)
        model.save(str(tmp_path / "ours"))
        assert type(gensim.models.Word2Vec.load(str(tmp_path / "ours"))) is TorchWord2Vec
    loaded = TorchWord2Vec.load(str(tmp_path / "ours"))
    assert type(loaded) is TorchWord2Vec and np.array_equal(loaded.wv.vectors, model.wv.vectors)


# ---- processes -----------------------------------------------------------------------------------------------------

POOL = """
import multiprocessing
import torchw2v
torchw2v.patch_gensim()
from gensim.models import Word2Vec

def work(_):
    return Word2Vec.__name__, Word2Vec([["a", "b"]] * 20, min_count=1, vector_size=4, workers=1).wv["a"].shape

if __name__ == "__main__":
    with multiprocessing.get_context("METHOD").Pool(2) as pool:
        print(pool.map(work, range(2)))
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_worker_processes_of_a_program_that_patches_are_patched(method, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(POOL.replace("METHOD", method))
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str([("TorchWord2Vec", (4,))] * 2), done.stderr


def test_patch_before_gensims_models_are_imported():
    code = (
        "import torchw2v; torchw2v.patch_gensim();"
        "from gensim.models import Word2Vec; import gensim.models.word2vec as w;"
        "assert Word2Vec is w.Word2Vec is torchw2v.TorchWord2Vec;"
        "from gensim.models import FastText; FastText([['a', 'b']] * 9, min_count=1, vector_size=4)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
