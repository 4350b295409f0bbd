"""What users of gensim reported, each under its number there: it must not hurt here. docs/parity.md has a line on each.

Numbers are those of https://github.com/piskvorky/gensim/issues. Several numbers in one name are reports of one thing.
"""

import itertools
import math
import pickle
import re
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import smart_open
import torch
from gensim.models import KeyedVectors, Word2Vec
from gensim.models.callbacks import CallbackAny2Vec
from gensim.models.word2vec import LineSentence
from gensim.test.utils import common_texts, datapath, lee_corpus_list
from support import in_time

import torchw2v
from torchw2v import StopTraining, TorchWord2Vec, cli
from torchw2v.device_memory import MemoryEstimate
from torchw2v.errors import DeviceMemoryError
from torchw2v.word_table import WordTable

MODES = pytest.mark.parametrize(
    ("sg", "hs"), [(1, 0), (0, 0), (1, 1), (0, 1)], ids=["sg-ns", "cbow-ns", "sg-hs", "cbow-hs"]
)
SMALL = {"vector_size": 16, "min_count": 1, "seed": 7, "workers": 1}


def model_of(sg, hs, **more):
    return TorchWord2Vec(**{**SMALL, "sg": sg, "hs": hs, "negative": 0 if hs else 5, **more})


class AtEpochEnd(CallbackAny2Vec):
    def __init__(self, look):
        self.look = look

    def on_epoch_end(self, model):
        self.look(model)


# ---- speed: where gensim's threads wait ----------------------------------------------------------------------------


@pytest.mark.gpu
@MODES
def test_gensim_449_1033_1222_1479_1596_trains_on_a_gpu(sg, hs):
    model = model_of(sg, hs, sentences=lee_corpus_list, device="cuda")
    assert model.running_on.device.type == "cuda" and np.isfinite(model.wv.vectors).all()


@pytest.mark.parametrize("sg", [1, 0], ids=["sg", "cbow"])
def test_gensim_1291_several_times_as_fast(sg):
    """gensim was slower than the original program in C. CPU seconds side by side; docs/benchmarks.md has large runs."""
    seconds = {}
    for make in (Word2Vec, TorchWord2Vec):
        model = make(lee_corpus_list, sg=sg, **{**SMALL, "vector_size": 100, "epochs": 1})  # compiles
        best = math.inf
        for _ in range(3):
            began = time.process_time()
            model.train(lee_corpus_list, total_examples=model.corpus_count, epochs=4)
            best = min(best, time.process_time() - began)
        seconds[make] = best
    assert seconds[TorchWord2Vec] < 0.7 * seconds[Word2Vec]


def test_gensim_157_336_1112_1617_no_python_thread_feeds_the_workers_each_epoch(monkeypatch, tmp_path):
    """gensim tokenizes the text anew in each epoch, under the interpreter's lock, however many workers wait for it."""
    opened, really_open = [], smart_open.open

    def counted(*arguments, **options):
        opened.append(arguments[0])
        return really_open(*arguments, **options)

    monkeypatch.setattr(smart_open, "open", counted)
    monkeypatch.setattr(LineSentence, "__iter__", lambda self: pytest.fail("read sentence by sentence"))
    model = TorchWord2Vec(LineSentence(datapath("lee_background.cor")), **{**SMALL, "workers": 4, "epochs": 6})
    assert opened == [datapath("lee_background.cor")] and len(model.training_history) == 6


def test_gensim_1509_short_sentences_are_as_much_work_to_a_worker_as_long_ones(trained_tokens):
    """gensim's jobs are lists of sentences; three words each kept workers waiting for the next list."""
    words = [word for text in lee_corpus_list for word in text][:30_000]
    given = []
    for length in (3, 300):
        trained_tokens.clear()
        sentences = [words[n : n + length] for n in range(0, len(words), length)]
        TorchWord2Vec(sentences, **{**SMALL, "epochs": 1, "sample": 0})
        given.append((len(trained_tokens), sum(map(len, trained_tokens))))
    assert given[0][1] == given[1][1] == len(words)
    assert abs(given[0][0] - given[1][0]) <= 1


@pytest.mark.parametrize("workers", [1, 4])
def test_gensim_3089_3376_corpus_file_and_sentences_take_the_same_way(workers):
    """gensim has a second set of routines for corpus_file, with its own limits and another alpha."""
    settings = {**SMALL, "workers": workers, "deterministic": True, "epochs": 2, "min_count": 5}
    from_file = TorchWord2Vec(corpus_file=datapath("lee_background.cor"), **settings)
    lines = [line.split() for line in Path(datapath("lee_background.cor")).read_text(encoding="utf-8").splitlines()]
    assert np.array_equal(from_file.wv.vectors, TorchWord2Vec(lines, **settings).wv.vectors)


# ---- loss -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [2.0**27, 1e12])
def test_gensim_2735_3405_loss_goes_on_past_2_to_the_27th(before):
    """gensim's sum is a float32: from 2**27 on, a pair's loss is lost when it is added."""

    class Start(CallbackAny2Vec):
        def on_epoch_begin(self, model):
            model.running_training_loss = before

    model = TorchWord2Vec(common_texts, compute_loss=True, epochs=1, callbacks=[Start()], **SMALL)
    added = model.training_history[0]["loss"]
    assert 0 < added < 1000  # each pair's share is far below the 16 that float32 resolves at 2**27
    assert model.get_latest_training_loss() == pytest.approx(before + added, abs=1e-3)


@MODES
def test_gensim_2617_2135_2922_each_epoch_has_its_own_loss_per_pair(sg, hs):
    """gensim reports one running sum over all epochs."""
    model = model_of(sg, hs, sentences=lee_corpus_list, compute_loss=True, epochs=4, min_count=5)
    losses = [epoch["loss"] for epoch in model.training_history]
    means = [epoch["mean_loss"] for epoch in model.training_history]
    assert sum(losses) == pytest.approx(model.get_latest_training_loss())
    assert all(after < before * 1.005 for before, after in pairwise(means)) and means[-1] < 0.99 * means[0]
    assert all(e["mean_loss"] == pytest.approx(e["loss"] / e["pairs"]) for e in model.training_history)


def test_gensim_2920_loss_asked_for_in_the_constructor_is_computed_by_train():
    """gensim's train() has its own compute_loss, False if not given: the loss was 0.0 in each epoch."""
    seen = []
    model = TorchWord2Vec(compute_loss=True, sample=0, **SMALL)
    model.build_vocab(common_texts)
    callbacks = [AtEpochEnd(lambda m: seen.append(m.get_latest_training_loss()))]
    model.train(common_texts, total_examples=model.corpus_count, epochs=3, callbacks=callbacks)
    assert 0 < seen[0] < seen[1] < seen[2]
    assert all(epoch["loss"] > 0 for epoch in model.training_history)


# ---- callbacks ------------------------------------------------------------------------------------------------------


def test_gensim_3429_2260_most_similar_in_a_callback_uses_the_norms_of_that_epoch():
    """gensim keeps the norms of the first epoch's end for all later ones."""
    errors = []

    def look(model):
        best, cosine = model.wv.most_similar("the", topn=1)[0]
        a, b = model.wv["the"].astype(float), model.wv[best].astype(float)
        errors.append(abs(cosine - a @ b / math.sqrt((a @ a) * (b @ b))))

    TorchWord2Vec(lee_corpus_list, epochs=5, callbacks=[AtEpochEnd(look)], **{**SMALL, "min_count": 5})
    assert len(errors) == 5 and max(errors) < 1e-5


# ---- vocabulary and corpus -------------------------------------------------------------------------------------------


@MODES
@pytest.mark.parametrize("workers", [1, 4])
def test_gensim_2519_1019_1578_training_goes_on_after_the_vocabulary_has_grown(sg, hs, workers):
    """gensim: segmentation fault."""
    model = model_of(sg, hs, sentences=common_texts, workers=workers)
    for text in ([["new", "words", "user"] * 5] * 30, lee_corpus_list[:50]):
        model.build_vocab(text, update=True)
        before = model.wv.vectors.copy()
        model.train(text, total_examples=model.corpus_count, epochs=2)
        moved = (model.wv.vectors != before).any(axis=1)
        assert moved[[model.wv.key_to_index[word] for word in set(itertools.chain(*text))]].mean() > 0.99
    assert len(model.wv) == len(model.wv.vectors) and np.isfinite(model.wv.vectors).all()


@pytest.mark.parametrize("way", ["list", "corpus_file", "stream"])
def test_gensim_2880_2801_2583_3645_texts_longer_than_10_000_words_are_trained_whole(way, tmp_path):
    """gensim drops the rest of such a text without a word."""
    text = [f"w{n % 500}" for n in range(24_500)] + [f"last{n % 50}" for n in range(500)]
    settings = {**SMALL, "sample": 0, "epochs": 1}
    if way == "corpus_file":
        (tmp_path / "text").write_text(" ".join(text))
        model = TorchWord2Vec(corpus_file=str(tmp_path / "text"), **settings)
    else:
        model = TorchWord2Vec([text] if way == "list" else Anew([text]), **settings)
    assert model.training_history[0]["effective_words"] == 25_000
    start = TorchWord2Vec(**settings)
    start.build_vocab([text])
    late = [model.wv.key_to_index[f"last{n}"] for n in range(50)]
    assert (model.wv.vectors[late] != start.wv.vectors[late]).any(axis=1).all()


class Anew:
    """An iterable that can be read again, but is no list."""

    def __init__(self, sentences):
        self.sentences = sentences

    def __iter__(self):
        yield from self.sentences


@MODES
def test_gensim_641_546_662_2859_same_seed_gives_the_same_vectors_with_many_workers(sg, hs):
    """gensim needs workers=1 for that."""
    runs = [
        model_of(sg, hs, sentences=lee_corpus_list, workers=workers, deterministic=True, epochs=2, min_count=5)
        for workers in (4, 4, 1)
    ]
    assert np.array_equal(runs[0].wv.vectors, runs[1].wv.vectors)
    assert np.array_equal(runs[0].wv.vectors, runs[2].wv.vectors)


@pytest.mark.parametrize(
    "once",
    [lambda: (text for text in common_texts), lambda: map(list, common_texts), lambda: iter(common_texts),
     lambda: filter(None, common_texts), lambda: itertools.chain(common_texts, common_texts)],
    ids=["generator", "map", "iterator", "filter", "chain"],
)  # fmt: skip
def test_gensim_443_801_1956_2280_319_corpus_that_can_be_read_once_is_refused(once):
    """gensim counted its words and then trained on nothing; today it refuses generators only."""
    with pytest.raises(TypeError, match=r"passes|generator"):
        TorchWord2Vec(once(), **SMALL)


@pytest.mark.parametrize("reads", [0, 1, 3], ids=["counting", "first epoch", "third epoch"])
def test_gensim_error_in_the_corpus_reaches_the_caller(reads):
    """gensim's train() waits for ever when one of its threads raises (no number known)."""

    class Failing(Anew):
        done = 0

        def __iter__(self):
            self.done += 1
            if self.done > reads:
                raise OSError("disk gone")
            yield from self.sentences

    with pytest.raises(OSError, match="disk gone"):
        in_time(lambda: TorchWord2Vec(Failing(common_texts), **SMALL))


def test_gensim_400_406_668_2078_several_threads_scan_the_vocabulary(tmp_path, monkeypatch):
    """One Python loop counts in gensim, whatever `workers` is; here blocks of text are looked up by all of them."""
    path = tmp_path / "text.txt"
    path.write_bytes(Path(datapath("lee_background.cor")).read_bytes() * 20)
    threads, find = set(), WordTable.find

    def noted(self, *arguments, **options):
        threads.add(threading.get_ident())
        return find(self, *arguments, **options)

    monkeypatch.setattr(WordTable, "find", noted)
    models = [TorchWord2Vec(**{**SMALL, "workers": workers}) for workers in (4, 1)]
    for model in models:
        model.build_vocab(corpus_file=str(path))
    assert len(threads) > 1
    assert models[0].wv.index_to_key == models[1].wv.index_to_key


def test_gensim_1599_1695_a_vocabulary_from_counts_made_elsewhere_is_that_of_the_text():
    """Counting took 270 minutes for want of this, and of a progress line that did not add up all counts each time."""
    counts = Counter(word for text in lee_corpus_list for word in text)
    of_text, of_counts = (TorchWord2Vec(**{**SMALL, "min_count": 5}) for _ in range(2))
    of_text.build_vocab(lee_corpus_list, progress_per=1)
    of_counts.build_vocab_from_freq(dict(counts), corpus_count=len(lee_corpus_list))
    for model in (of_text, of_counts):
        model.train(lee_corpus_list, total_examples=len(lee_corpus_list), epochs=1)
    assert of_text.wv.index_to_key == of_counts.wv.index_to_key
    assert np.array_equal(of_text.wv.vectors, of_counts.wv.vectors)


def test_gensim_1997_an_interrupted_run_goes_on_where_it_stopped(tmp_path):
    """gensim's saved model knows neither the place in the corpus nor the learning rate."""

    def interrupt(model):
        if len(model.training_history) == 2:
            raise KeyboardInterrupt

    settings = {**SMALL, "epochs": 4, "deterministic": True, "checkpoint": str(tmp_path / "run"), "checkpoint_words": 1}
    whole = TorchWord2Vec(lee_corpus_list, **{**settings, "checkpoint": None, "checkpoint_words": None})
    with pytest.raises(KeyboardInterrupt):
        TorchWord2Vec(lee_corpus_list, **settings, callbacks=[AtEpochEnd(interrupt)])
    resumed = TorchWord2Vec.resume(str(tmp_path / "run"), lee_corpus_list)
    assert np.array_equal(resumed.wv.vectors, whole.wv.vectors)


def test_gensim_3103_2182_3078_a_callback_ends_the_training():
    def enough(model):
        if len(model.training_history) == 2:
            raise StopTraining

    model = TorchWord2Vec(lee_corpus_list, **SMALL, epochs=50, callbacks=[AtEpochEnd(enough)])
    assert len(model.training_history) == 2 and np.isfinite(model.wv.vectors).all()


def test_gensim_3663_3646_a_file_without_pickle_brings_the_model_back(tmp_path, monkeypatch):
    pytest.importorskip("safetensors")
    model = TorchWord2Vec(lee_corpus_list, **SMALL)
    monkeypatch.setattr(pickle, "loads", lambda *_: pytest.fail("unpickled"))
    monkeypatch.setattr(pickle, "load", lambda *_: pytest.fail("unpickled"))
    model.save_safetensors(tmp_path / "model.safetensors")
    loaded = TorchWord2Vec.load_safetensors(tmp_path / "model.safetensors")
    assert np.array_equal(loaded.wv.vectors, model.wv.vectors) and np.array_equal(loaded.syn1neg, model.syn1neg)


@pytest.mark.parametrize("binary", [0, 1], ids=["text", "binary"])
def test_gensim_567_496_466_2569_1847_vectors_with_letters_that_are_not_utf8_name_the_cure(binary, tmp_path, capsys):
    """gensim: a UnicodeDecodeError, whose cure is an argument that it does not name."""
    TorchWord2Vec(lee_corpus_list, **{**SMALL, "min_count": 20}).wv.save_word2vec_format(tmp_path / "v", binary=binary)
    path = tmp_path / "v"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"australian ", b"australi\xe9n "))
    assert path.read_bytes() != whole
    with pytest.raises(ValueError, match="unicode_errors="):
        TorchWord2Vec(lee_corpus_list, init_from=path, **SMALL)
    assert cli.main(["similar", str(path), "police"]) == 1
    assert "--unicode-errors" in capsys.readouterr().err
    assert cli.main(["similar", str(path), "police", "--unicode-errors", "replace"]) == 0


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_gensim_2569_1847_words_of_any_script_come_back(binary, tmp_path):
    words = ["西游记", "孫悟空", "naïve", "Москва", "שלום", "🙂", "e\u0301", "\ufeffmark", "a\u3000b"]
    model = TorchWord2Vec([words] * 5, **SMALL)
    model.wv.save_word2vec_format(tmp_path / "v", binary=binary)
    loaded = KeyedVectors.load_word2vec_format(str(tmp_path / "v"), binary=binary)
    assert loaded.index_to_key == model.wv.index_to_key and set(words) == set(loaded.index_to_key)
    assert np.allclose(loaded.vectors, model.wv.vectors, atol=1e-6)
    again = TorchWord2Vec([words] * 5, init_from=tmp_path / "v", **SMALL)
    assert again.init_report.found == again.wv.index_to_key and not again.init_report.new


@pytest.mark.parametrize("mean", [0, 1], ids=["sum", "mean"])
def test_gensim_1873_3266_cbow_can_have_its_true_gradient(mean):
    """gensim's is word2vec.c's: the error of a mean reaches each context whole, and that of a sum in equal parts."""
    moved = {}
    settings = {"cbow_mean": mean, "window": 4, "shrink_windows": False, "sample": 0, "engine": "reference"}
    for gradient in ("word2vec", "corrected"):
        model = model_of(0, 0, cbow_gradient=gradient, **settings)
        sentence = [list("abcde")]
        model.build_vocab(sentence)
        before = model.wv.vectors.copy()
        model.syn1neg[:] = 0.1
        model.train(sentence, total_examples=1, epochs=1)
        moved[gradient] = np.abs(model.wv.vectors - before).sum()
    whole, shared = ("word2vec", "corrected") if mean else ("corrected", "word2vec")
    assert moved[whole] == pytest.approx(4 * moved[shared], rel=0.05)  # of four contexts each


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_gensim_293_361_1601_a_huge_vocabulary_can_be_counted_in_bounded_memory(tmp_path):
    """Its words are more than memory holds: `max_vocab_size` drops rare ones on the way, as in gensim."""
    path = tmp_path / "many.txt"
    path.write_text("".join(f"the of w{n} x{n} y{n} z{n}\n" for n in range(50_000)))
    program = (
        "import sys; from compat.measure import measured; from torchw2v import TorchWord2Vec\n"
        "def count(most): TorchWord2Vec(vector_size=4, max_vocab_size=most).build_vocab(corpus_file=sys.argv[1])\n"
        "print(*[measured(lambda: count(most))[1]['peak_bytes'] for most in (100, None, 100)])"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    _, whole, bounded = map(float, done.stdout.split())
    assert whole > 200_000 * 50 > 10 * bounded


def test_gensim_293_361_1601_weights_that_do_not_fit_are_refused_with_sizes_and_cure(monkeypatch):
    """gensim: a MemoryError of numpy's after hours of counting, or a process that the system kills."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * 10**9, 16 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    sizes = r"7\.2 GB for 2 matrices of 3,000,000 words by 300 dimensions"
    with pytest.raises(DeviceMemoryError, match=f"{sizes}.* 5\\.0 of its 16\\.0 GB are free.*min_count.*vector_size"):
        MemoryEstimate(3_000_000, 300, 2, False).corpus_fits(torch.device("cuda"))


def test_nodevectors_37_names_of_gensim_3_are_answered_with_those_of_today():
    """gensim 4 does not say what its `size=` is called today."""
    for old, new in (("size", "vector_size"), ("iter", "epochs")):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{old}'; since gensim 4 it is '{new}'"):
            TorchWord2Vec(**{old: 10})
    with pytest.raises(AttributeError, match="key_to_index"):
        _ = TorchWord2Vec(common_texts, **SMALL).wv.vocab


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_gensim_592_2447_queries_make_no_second_matrix():
    """gensim's first most_similar needs twice the memory that the model has: a MemoryError after hours of training."""
    program = (
        "from compat.measure import measured; from compat.querybench import random_vectors\n"
        "from torchw2v import most_similar_batch\n"
        "wv = random_vectors(300_000, 200); most_similar_batch(random_vectors(100, 200), ['w1'], device='cpu')\n"
        "_, cost = measured(lambda: most_similar_batch(wv, ['w1', 'w2'], device='cpu'))\n"
        "print(cost['peak_bytes'] / wv.vectors.nbytes)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0 < float(done.stdout) < 0.5


def test_gensim_3601_3510_3288_3489_one_wheel_serves_every_python_and_system(tmp_path):
    """gensim needs one compiled for each; ours has Python files only."""
    pytest.importorskip("setuptools")
    root = Path(torchw2v.__file__).parent.parent
    if not (root / "pyproject.toml").exists():
        pytest.skip("needs the project's folder")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "torchw2v", tmp_path / "torchw2v", ignore=shutil.ignore_patterns("__pycache__"))
    program = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as packed:
        kinds = {Path(name).suffix for name in packed.namelist() if name.startswith("torchw2v/")}
    assert kinds == {".py", ".typed"}


def test_gensim_2987_350_527_3333_many_queries_at_once():
    model = TorchWord2Vec(lee_corpus_list, **SMALL)
    words = model.wv.index_to_key[:50]
    for word, answer in zip(words, model.most_similar_batch(words, topn=5), strict=True):
        expected = dict(model.wv.most_similar(word, topn=10))  # more than five: neighbors with equal scores may swap
        assert [score for _, score in answer] == pytest.approx(list(expected.values())[:5], abs=1e-5)
        assert all(expected[key] == pytest.approx(score, abs=1e-5) for key, score in answer)


def test_every_number_of_the_parity_page_has_a_test_of_its_name():
    page = Path(torchw2v.__file__).parent.parent / "docs" / "parity.md"
    if not page.exists():
        pytest.skip("needs the project's folder")
    table = page.read_text(encoding="utf-8").partition("## Issues of gensim")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| ") and line[2].isdigit()]
    listed = {number for row in rows for number in re.findall(r"\d+", row)}
    names = [re.match(r"test_gensim((?:_\d+)+)_", name) for name in globals()]
    tested = {number for name in names if name for number in name[1].strip("_").split("_")}
    assert len(listed) > 50 and listed == tested
