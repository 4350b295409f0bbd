"""cbow_gradient: what it is called, where it is refused, that the default is gensim's, and that it travels."""

import numpy as np
import pytest
from commands.shell import torchw2v as command
from gensim.models import Word2Vec
from training import TOPICS, built, gensims, ours, train

from torchw2v import TorchWord2Vec
from torchw2v.errors import SettingError

CBOW = {"sg": 0, "cbow_gradient": "corrected"}


@pytest.mark.parametrize("wrong", ["Corrected", "gensim", "", None, True])
def test_unknown_names_are_refused_with_those_that_there_are(wrong):
    with pytest.raises(SettingError, match=r"give 'word2vec' .* or 'corrected'"):
        ours(cbow_gradient=wrong)


def test_skip_gram_has_nothing_to_correct():
    with pytest.raises(SettingError, match="leave cbow_gradient out, or give sg=0"):
        ours(sg=1, cbow_gradient="corrected")
    model = built(**CBOW)
    model.sg = 1
    with pytest.raises(SettingError, match="give sg=0"):
        train(model)


@pytest.mark.parametrize("engine", ["numba", "torch", "reference"])
@pytest.mark.parametrize("mean", [1, 0], ids=["mean", "sum"])
def test_default_is_word2vecs_and_corrected_is_another(engine, mean):
    settings = {"engine": engine, "cbow_mean": mean, "deterministic": engine != "reference", "alpha": 0.001}
    left_out, named, corrected = (
        ours(TOPICS[:40], **settings, **more)
        for more in ({}, {"cbow_gradient": "word2vec"}, {"cbow_gradient": "corrected"})
    )
    assert np.array_equal(left_out.wv.vectors, named.wv.vectors)
    assert np.array_equal(left_out.syn1neg, named.syn1neg)
    start = built(corpus=TOPICS[:40]).wv.vectors
    moved = [np.abs(model.wv.vectors - start).mean() for model in (left_out, corrected)]
    # A center has 4 contexts on average at window 3: so much less of a mean's error comes back, more of a sum's.
    assert moved[0] > (2 if mean else 0) * moved[1] and moved[1] > (0 if mean else 2) * moved[0]


def test_full_softmax_has_the_true_gradient_whatever_is_said():
    settings = {"objective": "softmax", "workers": 1}
    default, corrected = (ours(TOPICS, **settings, **more) for more in ({}, CBOW))
    assert np.array_equal(default.wv.vectors, corrected.wv.vectors)


def test_gensims_own_routines_are_not_let_at_it(tmp_path):
    class Hooked(TorchWord2Vec):
        def _do_train_epoch(self, *args, **kwargs):
            return super()._do_train_epoch(*args, **kwargs)

    text = tmp_path / "text"
    text.write_text("\n".join(map(" ".join, TOPICS)))
    for setting in ({"cbow_gradient": "corrected"}, {"optimizer": "adagrad"}):
        with pytest.raises(SettingError, match=r"Hooked overrides .* Pass LineSentence"):
            Hooked(corpus_file=str(text), vector_size=8, min_count=1, workers=1, **setting)


def test_setting_travels_with_the_model(tmp_path):
    model = ours(TOPICS, **CBOW)
    model.save(str(tmp_path / "model"))
    assert TorchWord2Vec.load(str(tmp_path / "model")).cbow_gradient == "corrected"
    assert type(Word2Vec.load(str(tmp_path / "model"))) is Word2Vec
    pytest.importorskip("safetensors")
    model.save_safetensors(tmp_path / "model.safetensors")
    assert TorchWord2Vec.load_safetensors(tmp_path / "model.safetensors").cbow_gradient == "corrected"
    assert not hasattr(model.to_gensim(), "cbow_gradient")
    assert TorchWord2Vec.from_gensim(model).cbow_gradient == "corrected"
    assert TorchWord2Vec.from_gensim(gensims(TOPICS)).cbow_gradient == "word2vec"
    assert TorchWord2Vec.from_gensim(gensims(TOPICS), cbow_gradient="corrected").cbow_gradient == "corrected"


def test_command_line_trains_with_both_settings(tmp_path):
    text, out = tmp_path / "text", tmp_path / "model"
    text.write_text("\n".join(map(" ".join, TOPICS)))
    flags = ("--cbow-gradient", "corrected", "--optimizer", "adagrad", "-size", "8", "-iter", "2", "--device", "cpu")
    code, _, _ = command("train", "-train", text, "--save-model", out, *flags)
    model = TorchWord2Vec.load(str(out))
    assert (code, model.cbow_gradient, model.optimizer) == (0, "corrected", "adagrad")
