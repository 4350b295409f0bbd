"""objective="softmax": the full softmax behind gensim's names; files, settings, queries and manners."""

import copy
import logging
import os
import pickle
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from gensim.models import Word2Vec
from gensim.models.word2vec import LineSentence
from support import in_time
from test_stability import HARD, largest_norm
from torch.nn.functional import cross_entropy
from training import TOPICS, AtEpochEnd, built, gensims, ours, train

from compat import journey
from tests.commands.shell import torchw2v as command
from torchw2v import TorchWord2Vec
from torchw2v.errors import EngineUnavailableError, SettingError, WeightsError
from torchw2v.ops.softmax_engine import SoftmaxEngine
from torchw2v.schedule import CHUNK_WORK

DATA = Path(os.environ.get("TORCHW2V_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))
PAGE = Path(__file__).parent.parent / "docs" / "softmax.md"
JOURNEY = DATA / "xiyouji.txt"

each_sg = pytest.mark.parametrize("sg", [0, 1], ids=["cbow", "sg"])
each_negative = pytest.mark.parametrize("negative", [0, 5], ids=["negative-0", "negative-left-out"])


def softmax(*corpus, **settings):
    return ours(*corpus, **{"objective": "softmax", **settings})


def same(one, other):
    return np.array_equal(one.wv.vectors, other.wv.vectors) and np.array_equal(one.syn1neg, other.syn1neg)


def pairs_of(sentences, key_to_index):
    """All (context, center) pairs of neighbors: those of window 1."""
    ids = [[key_to_index[word] for word in sentence] for sentence in sentences]
    ahead = [(a, b) for sentence in ids for a, b in pairwise(sentence)]
    return torch.tensor(ahead + [(b, a) for a, b in ahead]).unbind(1)


# ---- what is trained -------------------------------------------------------------------------------------------------


@pytest.fixture
def engines(monkeypatch):
    """The engines that trained a chunk."""
    seen, original = [], SoftmaxEngine.train_chunk

    def spy(self, weights, chunk, step):
        seen.append(self)
        return original(self, weights, chunk, step)

    monkeypatch.setattr(SoftmaxEngine, "train_chunk", spy)
    return seen


@each_sg
def test_learned_topics_are_told_apart(sg, engines):
    model = softmax(TOPICS, sg=sg, epochs=30, alpha=0.05)
    assert engines
    assert {word[0] for word, _ in model.wv.most_similar("x0", topn=6)} == {"x"}


@each_sg
def test_loss_falls_to_the_entropy_of_the_corpus(sg):
    """The center is one of seven words of the topic that its context shows, each as likely: log 7 nats."""
    model = softmax(TOPICS, sg=sg, epochs=20, alpha=0.05, compute_loss=True)
    means = [entry["mean_loss"] for entry in model.training_history]
    assert np.log(14) > means[0] > means[1] > means[2]
    assert means[-1] == pytest.approx(np.log(7), rel=0.05)
    assert model.get_latest_training_loss() == pytest.approx(sum(e["loss"] for e in model.training_history))


def test_reported_loss_is_the_mean_cross_entropy():
    model = softmax(TOPICS, sg=1, window=1, epochs=4)
    contexts, centers = pairs_of(TOPICS, model.wv.key_to_index)
    scores = torch.from_numpy(model.wv.vectors[contexts.numpy()] @ model.syn1neg.T)
    train(model, epochs=1, start_alpha=1e-12, end_alpha=1e-13, compute_loss=True)
    last = model.training_history[-1]
    assert last["pairs"] == len(centers) > 1000
    assert last["mean_loss"] == pytest.approx(cross_entropy(scores, centers).item(), rel=1e-5)


@each_sg
def test_vectors_do_not_depend_on_workers(sg):
    models = [
        softmax(TOPICS, sg=sg, workers=n, sample=0.01, deterministic=d) for n, d in ((1, False), (3, False), (2, True))
    ]
    assert same(models[0], models[1]) and same(models[0], models[2])


def test_words_with_lock_zero_stay():
    model = built(softmax)
    before, model.wv.vectors_lockf = model.wv.vectors.copy(), np.ones(len(model.wv), np.float32)
    model.wv.vectors_lockf[[1, 4]] = 0
    train(model)
    assert (np.abs(model.wv.vectors - before).max(1) == 0).tolist() == [row in (1, 4) for row in range(len(model.wv))]


def test_text_file_gives_the_vectors_of_its_lists(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\n".join(map(" ".join, TOPICS)))
    assert same(softmax(corpus_file=str(path)), softmax(list(LineSentence(str(path)))))


@each_sg
@pytest.mark.parametrize("case", HARD)
def test_training_stays_stable(case, sg):
    corpus, hard = HARD[case]
    settings = {"alpha": hard.get("alpha", 0.025), "sg": sg, "vector_size": 16, "epochs": 5, "window": 5, "seed": 1}
    model = softmax(corpus, **settings, compute_loss=True)
    assert np.isfinite(model.wv.vectors).all() and np.isfinite(model.syn1neg).all()
    assert largest_norm(model) <= 10
    assert model.training_history[-1]["mean_loss"] <= np.log(len(model.wv)) + 0.2


def test_a_subclass_with_a_job_of_its_own_is_trained_by_it():
    class Counting(TorchWord2Vec):
        jobs = 0

        def _do_train_job(self, sentences, alpha, inits):
            type(self).jobs += 1
            return super()._do_train_job(sentences, alpha, inits)

    settings = {"vector_size": 12, "min_count": 1, "sample": 0, "window": 3, "alpha": 0.05, "epochs": 20, "workers": 3}
    model = in_time(
        lambda: Counting(TOPICS, objective="softmax", negative=0, device="cpu", batch_words=200, **settings)
    )
    assert Counting.jobs >= 20 * 1200 // 200
    assert {word[0] for word, _ in model.wv.most_similar("x0", topn=6)} == {"x"}


def test_callbacks_see_each_epochs_loss():
    seen = []
    softmax(
        TOPICS, compute_loss=True, callbacks=[AtEpochEnd(lambda m: seen.append(m.training_history[-1]["mean_loss"]))]
    )
    assert len(seen) == 3 and seen == sorted(seen, reverse=True)


# ---- settings --------------------------------------------------------------------------------------------------------


def test_without_it_hs_0_and_negative_0_are_refused_as_by_gensim():
    for make in (ours, gensims):
        with pytest.raises(ValueError, match="You must set either 'hs' or 'negative'"):
            make(TOPICS, hs=0, negative=0)


@pytest.mark.parametrize(
    ("settings", "error", "cure"),
    [
        ({"objective": "sampled"}, SettingError, "objective='sampled' is unknown; give 'softmax', or None"),
        ({"objective": "softmax", "hs": 1}, SettingError, "give hs=0, or leave objective out"),
        ({"objective": "softmax", "negative": 10}, SettingError, "leave negative out or give 0"),
        ({"objective": "softmax", "engine": "numba"}, EngineUnavailableError, "leave engine out"),
        ({"objective": "softmax", "engine": "torch"}, EngineUnavailableError, "leave engine out"),
        ({"engine": "softmax"}, EngineUnavailableError, "give objective='softmax'"),
    ],
)
def test_contradicting_settings_name_the_cure(settings, error, cure):
    with pytest.raises(error, match=cure):
        ours(**settings)
    assert issubclass(error, ValueError)


@pytest.mark.parametrize(("name", "value"), [("hs", 1), ("negative", 7), ("objective", "full")])
def test_settings_changed_later_are_checked_too(name, value):
    model = built(softmax)
    setattr(model, name, value)
    with pytest.raises(SettingError, match="objective"):
        train(model)


def test_objective_given_later_is_followed():
    model = built(negative=0, hs=1)
    model.hs, model.objective = 0, "softmax"
    with pytest.raises(WeightsError, match=r"syn1neg is missing; call init_weights\(\)"):
        train(model)
    model.init_weights()
    train(model)
    assert same(model, softmax(TOPICS, negative=0))


def test_running_on_and_the_log_name_the_engine(caplog):
    model = softmax(workers=2)
    assert model.running_on.engine == "softmax"
    assert "device='cpu' was asked for; objective='softmax'" in model.running_on.reason
    assert softmax(engine="softmax").running_on == softmax(engine="auto").running_on == model.running_on
    model.build_vocab(TOPICS)
    with caplog.at_level(logging.INFO, "torchw2v"):
        train(model)
    assert any("training on cpu with engine 'softmax'" in line and "threads: 2;" in line for line in caplog.messages)


def test_chunks_end_within_seconds_on_a_large_vocabulary():
    model = softmax(vector_size=300, negative=0)
    model.build_vocab_from_freq({f"w{n}": 10_000 - n % 9_000 for n in range(50_000)})
    run, position = model._begin_epoch(0, None, 1e8, ())
    assert run.plan.step_tiles * run.plan.tile <= position.chunk_tokens
    assert position.chunk_tokens * model.wv.vectors.size <= CHUNK_WORK


# ---- output rows -----------------------------------------------------------------------------------------------------


@each_negative
def test_output_rows_are_syn1neg(negative):
    model = softmax(TOPICS, negative=negative)
    assert model.syn1neg.shape == model.wv.vectors.shape and model.syn1neg.dtype == np.float32
    assert (np.abs(model.syn1neg).max(1) > 0.01).all()
    assert not hasattr(model, "syn1")


@each_negative
def test_new_words_get_output_rows(negative):
    model = softmax(TOPICS, negative=negative)
    before = model.syn1neg.copy()
    more = [["x0", "new", "x1", "newer"]] * 40
    model.build_vocab(more, update=True)
    assert model.syn1neg.shape == (16, 12)
    assert np.array_equal(model.syn1neg[:14], before) and not model.syn1neg[14:].any()
    train(model, more, total_examples=40)
    assert np.abs(model.syn1neg[14:]).max() > 0.01


@each_negative
def test_predicted_words_are_those_of_the_softmax(negative):
    model = softmax(TOPICS, negative=negative, sg=0, epochs=20)
    bag = ["x1", "x5", "x2"]
    hidden = torch.from_numpy(model.wv[bag].mean(0))
    expected = (torch.from_numpy(model.syn1neg) @ hidden).softmax(0)
    answers = model.predict_output_word(bag, topn=14)
    assert [word for word, _ in answers[:7]] and {word[0] for word, _ in answers[:7]} == {"x"}
    for word, probability in answers:
        assert probability == pytest.approx(expected[model.wv.key_to_index[word]].item(), rel=1e-4)
    assert model.negative == negative


@each_negative
def test_memory_estimate_counts_both_matrices(negative):
    report = softmax(TOPICS, negative=negative).estimate_memory(vocab_size=1000)
    assert report["syn1neg"] == report["vectors"] == 1000 * 12 * 4


def test_score_is_for_hierarchical_softmax_as_in_gensim():
    for make in (softmax, gensims):
        with pytest.raises(RuntimeError, match="only implemented score for the hierarchical softmax"):
            make(TOPICS).score(TOPICS[:2])


# ---- files -----------------------------------------------------------------------------------------------------------


def by_save(model, path):
    model.save(str(path))
    return TorchWord2Vec.load(str(path))


def by_safetensors(model, path):
    model.save_safetensors(path)
    return TorchWord2Vec.load_safetensors(path)


WAYS = {
    "save": by_save,
    "safetensors": by_safetensors,
    "pickle": lambda model, path: pickle.loads(pickle.dumps(model)),
    "copy": lambda model, path: copy.deepcopy(model),
}


@each_negative
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_model_comes_back_and_trains_on(way, negative, tmp_path):
    model = softmax(TOPICS, negative=negative)
    back = way(model, tmp_path / "model")
    assert (back.objective, back.negative, back.hs) == ("softmax", negative, 0)
    assert same(back, model)
    for one in (model, back):
        train(one)
    assert same(back, model) and back.running_on.engine == "softmax"


@each_negative
def test_plain_gensim_opens_the_file(negative, tmp_path):
    model = softmax(TOPICS, negative=negative)
    model.save(str(tmp_path / "model"))
    plain = Word2Vec.load(str(tmp_path / "model"))
    assert type(plain) is Word2Vec and same(plain, model)
    assert plain.wv.most_similar("x0") == model.wv.most_similar("x0")
    if negative:  # it knows no softmax, and goes on as `negative` says
        train(plain)
        assert not same(plain, model)
    else:
        with pytest.raises(ValueError, match="You must set either 'hs' or 'negative'"):
            train(plain)


def test_gensims_model_is_trained_on_and_given_back():
    theirs = gensims(TOPICS)
    model = TorchWord2Vec.from_gensim(theirs, objective="softmax", device="cpu")
    assert same(model, theirs)
    train(model, compute_loss=True)
    losses = [entry["mean_loss"] for entry in model.training_history]
    assert not same(model, theirs) and losses[-1] < losses[0]
    assert TorchWord2Vec.from_gensim(model).objective == "softmax"
    plain = model.to_gensim()
    assert same(plain, model) and not hasattr(plain, "objective")


# ---- the command line ------------------------------------------------------------------------------------------------


def test_command_line_trains_it(tmp_path):
    text, out = tmp_path / "text.txt", tmp_path / "model"
    text.write_text("\n".join(map(" ".join, TOPICS)))
    flags = ("--objective", "softmax", "-negative", "0", "-size", "8", "-iter", "2", "--device", "cpu", "--loss")
    code, _, said = command("train", "-train", text, "--save-model", out, *flags)
    assert code == 0 and "engine 'softmax'" in said and "Mean loss per pair, by epoch: 2." in said
    model = TorchWord2Vec.load(str(out))
    assert (model.objective, model.negative) == ("softmax", 0)
    code, _, said = command("train", "-train", text, "--objective", "softmax", "-hs", "1")
    assert code == 1 and "give hs=0" in said


# ---- memory ----------------------------------------------------------------------------------------------------------

LARGE = """
import resource, sys
import numpy as np
from torchw2v import TorchWord2Vec

model = TorchWord2Vec(vector_size=300, objective="softmax", negative=0, sg={sg}, device="cpu", workers=2, min_count=1,
                      sample=0, window=5)
model.build_vocab_from_freq({{f"w{{n}}": 50_000 // (n + 1) + 1 for n in range(50_000)}})
words = np.random.default_rng(1).integers(0, 50_000, (40, 20))
sentences = [[f"w{{n}}" for n in line] for line in words]
for _ in range(2):
    model.train(sentences, total_examples=len(sentences), epochs=1)
assert model.training_history[-1]["effective_words"] == words.size and abs(model.syn1neg).max() > 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@each_sg
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_fifty_thousand_words_of_300_dimensions_take_less_than_2_gb(sg):
    """The whole process, torch itself included."""
    done = subprocess.run([sys.executable, "-c", LARGE.format(sg=sg)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert 2 * 4 * 50_000 * 300 < int(done.stdout) < 2e9


# ---- docs/softmax.md -------------------------------------------------------------------------------------------------


def test_page_does_what_it_says():
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, PAGE.name, "exec"), {})


@pytest.mark.slow
@pytest.mark.skipif(not JOURNEY.exists(), reason="needs xiyouji.txt in TORCHW2V_DATA")
def test_journey_to_the_west_has_the_neighbors_that_a_reader_expects():
    """The runs of docs/softmax.md, which the full softmax's are, bit for bit, on one kind of CPU."""
    sentences = list(LineSentence(str(JOURNEY)))
    found = {}
    for name in journey.OBJECTIVES:
        model, _ = journey.train(sentences, name, sg=1, epochs=20, seed=1, device="cpu")
        found[name] = {word: journey.expected(model, word) for word in journey.EXPECTED}
        losses = [entry["mean_loss"] for entry in model.training_history]
        assert losses == sorted(losses, reverse=True) and len(losses) == 20
    for name, neighbors in found.items():
        assert all(neighbors.values()), f"{name}: {neighbors}"
        assert sum(map(len, neighbors.values())) >= 12, f"{name}: {neighbors}"
