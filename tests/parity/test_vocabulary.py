"""Rung "exact": the vocabulary that is made in arrays is gensim's, bit for bit, with its log lines."""

import logging
import re

import numpy as np
import pytest
from gensim.models import Word2Vec
from gensim.test.utils import datapath

from torchw2v import TorchWord2Vec, vocabulary

LEE = datapath("lee_background.cor")
KINDS = {
    "plain": {},
    "unsorted": {"sorted_vocab": 0},
    "null word": {"null_word": 1},
    "hs": {"hs": 1},
    "exponent": {"ns_exponent": -0.5},
}


@pytest.mark.parametrize("sample", [0, 1e-5, 1e-3, 0.5, 1.0, 3])
@pytest.mark.parametrize("min_count", [0, 1, 5])
@pytest.mark.parametrize("settings", KINDS.values(), ids=KINDS)
def test_vocabulary_in_arrays_is_gensims(settings, min_count, sample, caplog, monkeypatch):
    calls = []
    fill = vocabulary.fill_vocabulary
    monkeypatch.setattr("torchw2v.word2vec.fill_vocabulary", lambda *args: calls.append(args) or fill(*args))
    made = []
    for kind in (Word2Vec, TorchWord2Vec):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            model = kind(vector_size=3, sample=sample, min_count=min_count, **settings)
            model.scan_vocab(corpus_file=LEE)
            report = model.prepare_vocab(keep_raw_vocab=True)
        lines = [re.sub("'datetime': '[^']*'", "", r.getMessage()).replace("Torch", "") for r in caplog.records]
        made.append((model, report, lines))
    (theirs, their_report, their_lines), (ours, our_report, our_lines) = made
    assert len(calls) == 1  # not gensim's own routine compared with itself
    assert our_report == their_report
    assert [line for line in our_lines if "raw words" not in line] == [x for x in their_lines if "raw words" not in x]
    assert ours.wv.key_to_index == theirs.wv.key_to_index
    assert list(ours.wv.expandos) == list(theirs.wv.expandos)
    for name in ("count", "sample_int"):
        mine, his = ours.wv.expandos[name], theirs.wv.expandos[name]
        assert mine.dtype == his.dtype and np.array_equal(mine, his)
    assert np.array_equal(ours.cum_table, theirs.cum_table)
    for name in ("min_count", "sample", "effective_min_count", "raw_vocab"):
        assert getattr(ours, name) == getattr(theirs, name)


@pytest.mark.parametrize(
    "counts", [{}, {"a": 1.5}, {"a": 0, "b": 1}, {"a": np.int64(3)}, {"a": 2**53}, {"a": True}], ids=str
)
def test_other_counts_are_left_to_gensim(counts):
    assert vocabulary.counts_if_plain(counts) is None
