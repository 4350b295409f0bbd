"""Tagged tokens: the same whether a corpus stays on the device or comes chunk by chunk."""

import numpy as np
import pytest
import torch

from torchw2v.ops import device_tokens
from torchw2v.ops.contract import Chunk
from torchw2v.ops.device_tokens import DeviceTokens, tag_sentences

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
pytestmark = [pytest.mark.gpu] if DEVICE.type == "cuda" else []  # else in the ordinary suite
IDS = np.arange(10, 30, dtype=np.int32)
OFFSETS = np.array([0, 0, 3, 3, 3, 11, 20, 20])
BEGINS = {0, 3, 11}


def plain(tagged):
    """Ids, and places where a sentence begins."""
    tagged = tagged.cpu().numpy()
    return (tagged & 0x7FFFFFFF).tolist(), set(np.flatnonzero(tagged < 0).tolist())


@pytest.mark.parametrize(("low", "high"), [(0, 20), (3, 11), (4, 11), (2, 4), (19, 20), (5, 5)])
def test_sentences_are_tagged_where_they_begin(low, high):
    out = np.empty(high - low, np.int32)
    tag_sentences(IDS, OFFSETS, low, high, out)
    assert plain(torch.from_numpy(out)) == (IDS[low:high].tolist(), {b - low for b in BEGINS if low <= b < high})


@pytest.mark.parametrize("held", [True, False], ids=["resident", "streamed"])
@pytest.mark.parametrize("piece", [4, 2**26])
def test_tokens_of_a_chunk_are_there(held, piece, monkeypatch):
    monkeypatch.setattr(device_tokens, "_PIECE", piece)
    tokens = DeviceTokens(DEVICE)
    if held:
        tokens.hold(IDS, OFFSETS)
    assert tokens.holds(IDS) == held
    for low, high in ((0, 7), (5, 20), (2, 3)):
        tagged = tokens.tagged(Chunk(IDS, OFFSETS, low, high, 0), low, high)
        assert tagged.device.type == DEVICE.type and tagged.dtype == torch.int32
        assert plain(tagged) == (IDS[low:high].tolist(), {b - low for b in BEGINS if low <= b < high})
        tokens.release()


def test_a_chunk_is_not_overwritten_while_the_next_one_is_copied():
    tokens, chunk = DeviceTokens(DEVICE), Chunk(IDS, OFFSETS, 0, 20, 0)
    first = tokens.tagged(chunk, 0, 10)
    tokens.release()
    second = tokens.tagged(chunk, 10, 20)
    assert plain(first)[0] == IDS[:10].tolist() and plain(second)[0] == IDS[10:].tolist()


def test_another_corpus_takes_the_place_of_the_one_before():
    tokens, other = DeviceTokens(DEVICE), IDS[::-1].copy()
    tokens.hold(IDS, OFFSETS)
    tokens.hold(other, OFFSETS)
    assert tokens.holds(other) and not tokens.holds(IDS)
    assert plain(tokens.tagged(Chunk(other, OFFSETS, 0, 20, 0), 0, 20))[0] == other.tolist()
