"""Token lists become padded batches with lengths and masks, also through DataLoader and its worker processes."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.data import DataLoader

from torchw2v import TokenDataset, TokenVocabulary
from torchw2v.errors import CorpusTypeError, SettingError

FIRST = TokenVocabulary(("<pad>", "<unk>", "a", "b", "c"), padding_index=0, unknown_index=1)
LAST = TokenVocabulary(("a", "b", "c", "<unk>", "<pad>"), padding_index=4, unknown_index=3)
SILENT = TokenVocabulary(("<pad>", "a", "b", "c"), padding_index=0)
TEXTS = [["a", "b", "a"], ["c"], [], ["b", "new", "c", "b"], ["new"]]


@pytest.mark.parametrize(
    ("vocabulary", "ids", "lengths"),
    [
        (FIRST, [[2, 3, 2, 0], [4, 0, 0, 0], [0, 0, 0, 0], [3, 1, 4, 3], [1, 0, 0, 0]], [3, 1, 0, 4, 1]),
        (LAST, [[0, 1, 0, 4], [2, 4, 4, 4], [4, 4, 4, 4], [1, 3, 2, 1], [3, 4, 4, 4]], [3, 1, 0, 4, 1]),
        (SILENT, [[1, 2, 1], [3, 0, 0], [0, 0, 0], [2, 3, 2], [0, 0, 0]], [3, 1, 0, 3, 0]),
    ],
    ids=["first", "last", "no-unknown-row"],
)
def test_batch_has_ids_lengths_and_mask(vocabulary, ids, lengths):
    batch = vocabulary.batch(TEXTS)
    assert batch.ids.tolist() == ids and batch.ids.dtype == torch.int64
    assert batch.lengths.tolist() == lengths and batch.lengths.dtype == torch.int64
    assert batch.mask.tolist() == [[place < length for place in range(len(ids[0]))] for length in lengths]
    assert batch.mask.dtype == torch.bool
    assert ((batch.ids == vocabulary.padding_index) == ~batch.mask).all()


def test_batch_of_nothing():
    assert FIRST.batch([]).ids.shape == (0, 0)
    empty = FIRST.batch([[], []])
    assert empty.ids.shape == empty.mask.shape == (2, 0) and empty.lengths.tolist() == [0, 0]


def test_encode_reads_any_iterable_once():
    assert FIRST.encode(token for token in "abz").tolist() == [2, 3, 1]
    assert FIRST.encode([]).dtype == torch.int64
    assert SILENT.encode(["z"]).tolist() == []


@pytest.mark.parametrize("text", ["a b", b"a b"])
def test_string_is_refused(text):
    with pytest.raises(CorpusTypeError, match="takes a list of tokens"):
        FIRST.encode(text)
    with pytest.raises(CorpusTypeError, match="takes a list of tokens"):
        TokenDataset([text], FIRST)


def test_vocabulary_without_padding_row_makes_no_batches():
    bare = TokenVocabulary(("a", "b"))
    assert bare.encode(["b", "a", "z"]).tolist() == [1, 0]
    with pytest.raises(SettingError, match="padding_idx=0"):
        bare.batch([["a"]])


def test_dataset_gives_each_list_and_its_target():
    data = TokenDataset(iter(TEXTS), FIRST, targets=list("vwxyz"))
    assert len(data) == 5
    assert [rows.tolist() for rows, _ in data] == [[2, 3, 2], [4], [], [3, 1, 4, 3], [1]]
    assert [target for _, target in data] == list("vwxyz")
    assert data[-1][0].tolist() == [1] and data[-1][1] == "z"
    with pytest.raises(IndexError):
        data[5]
    assert [rows.tolist() for rows in TokenDataset(TEXTS, SILENT)] == [[1, 2, 1], [3], [], [2, 3, 2], []]
    assert len(TokenDataset([], FIRST)) == 0


def test_targets_must_be_as_many_as_lists():
    with pytest.raises(SettingError, match="5 token lists but 2 targets"):
        TokenDataset(TEXTS, FIRST, targets=[1, 2])


@pytest.mark.parametrize("workers", [0, 1])
def test_data_loader_gives_padded_batches(workers):
    data = TokenDataset(TEXTS, FIRST, targets=[0, 1, 2, 3, 4])
    loader = DataLoader(data, batch_size=2, collate_fn=FIRST.collate, num_workers=workers)
    seen = list(loader)
    assert [batch.ids.tolist() for batch, _ in seen] == [
        [[2, 3, 2], [4, 0, 0]],
        [[0, 0, 0, 0], [3, 1, 4, 3]],
        [[1]],
    ]
    assert [targets.tolist() for _, targets in seen] == [[0, 1], [2, 3], [4]]
    plain = list(DataLoader(TokenDataset(TEXTS, FIRST), batch_size=3, collate_fn=FIRST.collate, num_workers=workers))
    assert [batch.lengths.tolist() for batch in plain] == [[3, 1, 0], [4, 1]]


def test_batch_feeds_a_recurrent_layer():
    batch = FIRST.batch([text for text in TEXTS if text])
    vectors = torch.nn.Embedding(5, 3, padding_idx=0)(batch.ids)
    packed = pack_padded_sequence(vectors, batch.lengths, batch_first=True, enforce_sorted=False)
    assert len(packed.data) == int(batch.mask.sum())
