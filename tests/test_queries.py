"""Many queries at once answer as gensim's `most_similar` does, one by one."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from gensim.models import FastText, KeyedVectors
from gensim.models.word2vec import LineSentence
from gensim.test.utils import datapath

from torchw2v import TorchWord2Vec, most_similar_batch, queries
from torchw2v.errors import EngineUnavailableError

ATOL = 2e-6  # sums of D products of unit vectors in float32, in another order
ROWS, DIM = 40_000, 21  # more than two blocks


def vectors(rows=ROWS, dim=DIM, dtype=np.float32):
    wv = KeyedVectors(dim, dtype=dtype)
    wv.add_vectors(
        [f"w{row}" for row in range(rows)], np.random.default_rng(3).standard_normal((rows, dim)).astype(dtype)
    )
    return wv


@pytest.fixture(scope="module")
def wv():
    return vectors()


@pytest.fixture(scope="module")
def model():
    return TorchWord2Vec(LineSentence(datapath("lee_background.cor")), vector_size=30, epochs=2, device="cpu")


def assert_same_answers(wv, mine, gensims):
    """The same scores place by place; another key only where gensim's own scores are as good as equal."""
    assert len(mine) == len(gensims)
    score_of = dict(gensims)
    for (key, score), (other, expected) in zip(mine, gensims, strict=True):
        assert score == pytest.approx(expected, abs=ATOL, nan_ok=True)
        assert key == other or abs(score_of.get(key, score) - expected) < ATOL, f"{key} where gensim has {other}"
    assert len({key for key, _ in mine}) == len(mine)


VECTOR = np.random.default_rng(5).standard_normal(DIM).astype(np.float32)
QUERIES = {  # what most_similar takes as positive and as negative
    "a key": ("w5", None),
    "a row's number": (7, None),
    "a numpy row number": (np.int64(39_999), None),
    "several keys": (["w1", "w2", "w30000"], None),
    "keys twice": (["w1", "w1", "w2"], None),
    "weighted keys": ([("w1", 0.3), "w2", ("w39999", -1.5)], None),
    "a vector": (VECTOR, None),
    "a vector of float64": (VECTOR.astype(np.float64) * 7, None),
    "vectors": (np.stack([VECTOR, -VECTOR, VECTOR * 2]), None),
    "a vector and a key": ([VECTOR, "w9", (VECTOR, 0.2)], None),
    "an analogy": (["w8", "w20000"], ["w9"]),
    "one negative key": ("w8", "w9"),
    "only negative": (None, ["w8"]),
    "weighted negative": (["w8"], [("w3", -0.2), "w4"]),
    "a negative vector": ("w8", VECTOR),
    "nothing left": ("w8", "w8"),
}
RANGES = {
    "all rows": {},
    "restrict_vocab": {"restrict_vocab": 17_000},
    "clip": {"clip_start": 11, "clip_end": 30_001},
    "clip to few": {"clip_start": 39_990},
    "clip to none": {"clip_start": 40_000},
    "restrict_vocab over clip": {"restrict_vocab": 20, "clip_start": 500},
}


@pytest.mark.parametrize("limits", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("topn", [1, 10, 300])
def test_answers_are_gensims(wv, limits, topn):
    asked = {name: query for name, query in QUERIES.items() if name != "nothing left"}
    answers = most_similar_batch(
        wv, [query for query, _ in asked.values()], topn, negative=[against for _, against in asked.values()], **limits
    )
    for (query, against), found in zip(asked.values(), answers, strict=True):
        assert_same_answers(wv, found, wv.most_similar(query, against, topn=topn, **limits))


def test_a_query_that_cancels_itself_out_is_as_far_from_every_key(wv):
    (found,) = most_similar_batch(wv, ["w8"], 4, negative=["w8"])
    assert found == [("w0", 0.0), ("w1", 0.0), ("w2", 0.0), ("w3", 0.0)]


def test_each_query_alone_has_the_same_answer(wv):
    asked = [query for query, _ in QUERIES.values() if query is not None]
    together = most_similar_batch(wv, asked, 5)
    for query, found in zip(asked, together, strict=True):
        assert_same_answers(wv, most_similar_batch(wv, [query], 5)[0], found)


@pytest.mark.parametrize("block", [(1, 1), (7, 3), (64, 5), (896, 40)])
def test_size_of_blocks_changes_nothing(wv, monkeypatch, block):
    asked = [[f"w{row}", f"w{row // 2}"] for row in range(0, 200, 2)]
    expected = most_similar_batch(wv, asked, 12, restrict_vocab=900)
    monkeypatch.setattr(queries, "CPU_BLOCK", block)
    monkeypatch.setattr(queries, "QUERIES_AT_ONCE", 37)
    for mine, whole in zip(most_similar_batch(wv, asked, 12, restrict_vocab=900), expected, strict=True):
        assert_same_answers(wv, mine, whole)
    similarities = most_similar_batch(wv, asked, None, restrict_vocab=900)
    assert np.allclose(
        similarities, [wv.most_similar(query, topn=None, restrict_vocab=900) for query in asked], atol=ATOL
    )


def test_real_vectors_through_the_model(model):
    keys = model.wv.index_to_key[:400]
    for key, found in zip(keys, model.most_similar_batch(keys, topn=25), strict=True):
        assert_same_answers(model.wv, found, model.wv.most_similar(key, topn=25))


def test_iterables_of_every_kind_are_queries(wv):
    expected = most_similar_batch(wv, ["w1", "w2"], 3)
    assert most_similar_batch(wv, (key for key in ("w1", "w2")), 3) == expected
    assert most_similar_batch(wv, np.array(["w1", "w2"]), 3) == expected
    assert most_similar_batch(wv, [("w1",), ("w2",)], 3) == expected  # gensim takes no tuples here
    assert most_similar_batch(wv, np.array([1, 2]), 3) == expected
    matrix = np.stack([VECTOR, 2 * VECTOR])
    for found in most_similar_batch(wv, matrix, 3):
        assert_same_answers(wv, found, wv.most_similar(VECTOR, topn=3))
    assert most_similar_batch(wv, [], 3) == []
    assert most_similar_batch(wv, [], None).shape == (0, ROWS)


@pytest.mark.parametrize("block", [(4, 2), (5, 2), (64, 8), (256, 3), queries.CPU_BLOCK])
@pytest.mark.parametrize("topn", [1, 3, 6, 20, 50])
def test_equal_scores_come_in_the_order_of_rows(monkeypatch, block, topn):
    wv = KeyedVectors(4)
    rows = np.random.default_rng(0).integers(4, size=400)  # unit vectors along the axes: every score is exactly 0 or 1
    wv.add_vectors([f"w{row}" for row in range(400)], np.eye(4, dtype=np.float32)[rows])
    monkeypatch.setattr(queries, "CPU_BLOCK", block)
    for key, found in zip(wv.index_to_key, most_similar_batch(wv, wv.index_to_key, topn), strict=True):
        row = int(key[1:])
        order = np.argsort(rows != rows[row], kind="stable")
        assert found == [(f"w{other}", float(rows[other] == rows[row])) for other in order if other != row][:topn]


@pytest.mark.parametrize("block", [(3, 2), queries.CPU_BLOCK])
def test_keys_without_a_direction_come_last(monkeypatch, block):
    wv = vectors(10)
    wv.vectors[[0, 4]] = 0.0
    monkeypatch.setattr(queries, "CPU_BLOCK", block)
    (found,) = most_similar_batch(wv, ["w7"], 20)
    with np.errstate(invalid="ignore"):
        expected = wv.most_similar("w7", topn=20)
    assert_same_answers(wv, found[:7], expected[:7])
    assert [key for key, _ in found[7:]] == ["w0", "w4"] and np.isnan([score for _, score in found[7:]]).all()
    assert not np.isnan([score for _, score in found[:7]]).any()
    (found,) = most_similar_batch(wv, ["w0"], 3)
    assert np.isnan([score for _, score in found]).all()


def test_topn_none_and_zero_are_gensims(wv):
    keys = ["w1", ["w2", "w3"]]
    similarities = most_similar_batch(wv, keys, None)
    assert similarities.dtype == np.float32
    for key, row in zip(keys, similarities, strict=True):
        assert np.allclose(row, wv.most_similar(key, topn=None), rtol=0, atol=ATOL)
    assert most_similar_batch(wv, keys, 0) == [[], []] == [wv.most_similar(key, topn=0) for key in keys]


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_dtypes(dtype):
    wv = vectors(500, dtype=dtype)
    for key, found in zip(["w1", "w2"], most_similar_batch(wv, ["w1", "w2"], 8), strict=True):
        expected = wv.most_similar(key, topn=8)
        tolerance = 5e-3 if dtype == np.float16 else ATOL  # gensim rounds scores of float16 vectors to float16
        assert np.allclose([score for _, score in found], [score for _, score in expected], rtol=0, atol=tolerance)
    assert most_similar_batch(wv, ["w1"], None).dtype == (np.float64 if dtype == np.float64 else np.float32)


def test_words_that_fasttext_has_never_seen():
    wv = FastText([["human", "interface", "computer"] * 3] * 5, vector_size=8, min_count=1, epochs=1, bucket=50).wv
    assert "humans" not in wv.key_to_index
    asked = ["humans", ["humans", "interface"]]
    for query, found in zip(asked, most_similar_batch(wv, asked, 3), strict=True):
        assert_same_answers(wv, found, wv.most_similar(query, topn=3))


def test_norms_are_those_that_gensim_caches(wv):
    fresh, old = vectors(), vectors()
    most_similar_batch(fresh, ["w1"], 2)
    old.fill_norms()
    assert np.array_equal(fresh.norms, old.norms)
    old.norms = old.norms * 2  # whoever sets them is followed, as in gensim
    assert_same_answers(old, most_similar_batch(old, [VECTOR], 4)[0], old.most_similar(VECTOR, topn=4))


def test_vectors_on_disk(tmp_path, wv, recwarn):
    np.save(tmp_path / "vectors.npy", wv.vectors)
    mapped = vectors()
    mapped.vectors = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    assert most_similar_batch(mapped, ["w1", "w2"]) == most_similar_batch(wv, ["w1", "w2"])
    assert not recwarn.list


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("query", ["nobody", 40_000, -1, ["w1", "nobody"], [("nobody", 0.5)]], ids=str)
def test_unknown_key_is_gensims_error(wv, query):
    with pytest.raises(KeyError) as gensims:
        wv.most_similar(query)
    with pytest.raises(KeyError) as ours:
        most_similar_batch(wv, ["w1", query])
    assert str(ours.value) == str(gensims.value)
    with pytest.raises(KeyError, match="nobody"):
        most_similar_batch(wv, ["w1"], negative=["nobody"])


WRONG = {
    "a string": ({"keys": "w1"}, TypeError, "list of one"),
    "one vector": ({"keys": VECTOR}, TypeError, "one vector"),
    "a number": ({"keys": 3}, TypeError, "got 3"),
    "a query of no kind": ({"keys": ["w1", 2.5]}, TypeError, "2.5"),
    "a part of no kind": ({"keys": [["w1", 2.5]]}, TypeError, "2.5"),
    "nothing asked": ({"keys": [[]]}, ValueError, "no input"),
    "a short vector": ({"keys": [VECTOR[:5]]}, ValueError, r"\(5,\).*\(21,\)"),
    "too few negatives": ({"keys": ["w1", "w2"], "negative": ["w3"]}, ValueError, "2 queries but 1"),
    "negative a string": ({"keys": ["w1", "w2"], "negative": "w3"}, TypeError, "w3"),
    "topn a fraction": ({"keys": ["w1"], "topn": 2.5}, TypeError, "float"),
    "an unknown device": ({"keys": ["w1"], "device": "abacus"}, EngineUnavailableError, "abacus"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_bad_queries_are_named(wv, case):
    arguments, kind, message = WRONG[case]
    with pytest.raises(kind, match=message):
        most_similar_batch(wv, **arguments)


def test_the_models_device_is_used(model, monkeypatch):
    monkeypatch.setattr(model, "device", "abacus")
    with pytest.raises(EngineUnavailableError, match="abacus"):
        model.most_similar_batch(["the"])
    assert len(model.most_similar_batch(["the"], device="cpu")[0]) == 10


# ---- bounds ----------------------------------------------------------------------------------------------------------


PRECISION = """
import torch
from compat.querybench import random_vectors
from torchw2v import most_similar_batch
wv = random_vectors(5_000, 128)
expected = most_similar_batch(wv, ["w1"], device="cpu")
torch.set_float32_matmul_precision("medium")
assert most_similar_batch(wv, ["w1"], device="cpu") == expected
assert torch.get_float32_matmul_precision() == "medium"
if hasattr(torch.backends.mkldnn, "matmul"):
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    assert most_similar_batch(wv, ["w1"], device="cpu") == expected
    assert torch.backends.cuda.matmul.fp32_precision == "tf32" and torch.backends.mkldnn.matmul.fp32_precision == "bf16"
"""


def test_precision_that_a_program_has_lowered_is_not_used_and_stays():
    subprocess.run([sys.executable, "-c", PRECISION], check=True)  # the settings are the process's


def test_precision_is_restored_in_older_torch(wv, monkeypatch):
    calls = []
    monkeypatch.setattr(torch.backends.cuda, "matmul", object())
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    monkeypatch.setattr(torch, "set_float32_matmul_precision", calls.append)
    most_similar_batch(wv, ["w1"], device="cpu")
    assert calls == ["highest", "high"]


MEMORY = """
from pathlib import Path
from compat.measure import measured
from compat.querybench import random_vectors
from torchw2v import most_similar_batch
wv = random_vectors(400_000, 200)
most_similar_batch(random_vectors(100, 200), ["w1"], device="cpu")
_, cost = measured(lambda: most_similar_batch(wv, wv.index_to_key[:600], device="cpu"))
print(int(cost["peak_bytes"]), wv.vectors.nbytes)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_the_matrix_is_never_copied_whole():
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    peak, matrix = map(int, done.stdout.split())
    assert 2**20 < peak < matrix / 2, f"{peak / 2**20:.0f} MiB beside a matrix of {matrix / 2**20:.0f} MiB"


@pytest.mark.gpu
@pytest.mark.parametrize("limits", RANGES.values(), ids=RANGES)
def test_answers_on_a_gpu_are_gensims(wv, limits):
    asked = [query for query, _ in QUERIES.values() if query is not None]
    for query, found in zip(asked, most_similar_batch(wv, asked, 10, device="cuda", **limits), strict=True):
        assert_same_answers(wv, found, wv.most_similar(query, topn=10, **limits))
