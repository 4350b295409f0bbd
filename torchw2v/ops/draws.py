"""Counter-based random numbers: a draw is a pure function of (key, token position, lane).

No generator state exists, so any engine, on any device, in any order of execution, sees the same draws, and
one engine can be compared with another pair by pair. The mixing function is the 32-bit finalizer of
MurmurHash3 (Appleby, public domain), applied twice; its bits pass the chi-square tests in tests/ops.

numpy and torch forms are bit-equal. torch has no complete uint32 arithmetic, so its form works on int32 bit
patterns, where multiplication wraps in the same way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from torchw2v.constants import UINT32_SPAN

LANE_KEEP = 0
LANE_WINDOW = 1
LANE_NEGATIVES = 2  # first of as many lanes as negatives are drawn at a position

_MULTIPLIER_1, _MULTIPLIER_2 = 0x85EBCA6B, 0xC2B2AE35  # fmix32
_GOLDEN = 0x9E3779B9  # 2**32 / golden ratio: spreads consecutive lanes
_HIGH_WORD = 0x27D4EB2F  # spreads the upper 32 bits of a position


class DrawKey(NamedTuple):
    """Two independent 32-bit words that select one stream of draws."""

    first: int
    second: int


def draw_key(*stream: int) -> DrawKey:
    """Derive a key from whole numbers, e.g. (seed, train call, epoch), by numpy's SeedSequence.

    Parameters
    ----------
    *stream : int
        Any whole numbers; a negative one stands for its 64-bit pattern.
    """
    words = np.random.SeedSequence([int(part) & 0xFFFFFFFFFFFFFFFF for part in stream]).generate_state(2)
    return DrawKey(int(words[0]), int(words[1]))


def _mix_numpy(h: np.ndarray) -> np.ndarray:
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(_MULTIPLIER_1)
    h ^= h >> np.uint32(13)
    h *= np.uint32(_MULTIPLIER_2)
    h ^= h >> np.uint32(16)
    return h


def draws_numpy(key: DrawKey, positions: np.ndarray, lanes: int | np.ndarray) -> np.ndarray:
    """Uniform draws in [0, 2**32).

    Parameters
    ----------
    key : DrawKey
    positions : int64 array
        Token positions in the corpus, each >= 0.
    lanes : int or int array that broadcasts with positions
        Which draw at that position.

    Returns
    -------
    uint32 array, the broadcast shape of positions and lanes
    """
    positions = np.asarray(positions, dtype=np.int64)
    low = positions.astype(np.uint32)
    high = (positions >> 32).astype(np.uint32)
    with np.errstate(over="ignore"):
        lane = np.asarray(lanes, dtype=np.uint32) * np.uint32(_GOLDEN) + np.uint32(key.second)
        h = _mix_numpy(low + np.uint32(key.first)) ^ (high * np.uint32(_HIGH_WORD))
        return _mix_numpy(h + lane)


def signed(word: int) -> int:
    """The int32 with the bit pattern of an unsigned word."""
    word &= UINT32_SPAN - 1
    return word - UINT32_SPAN if word >= UINT32_SPAN // 2 else word


def _xor_shift_(h: torch.Tensor, bits: int) -> torch.Tensor:
    """Do h ^= h >> bits, with zeros (not copies of the sign) shifted in."""
    return h.bitwise_xor_((h >> bits).bitwise_and_((1 << (32 - bits)) - 1))


def _mix_torch_(h: torch.Tensor) -> torch.Tensor:
    _xor_shift_(h, 16).mul_(signed(_MULTIPLIER_1))
    _xor_shift_(h, 13).mul_(signed(_MULTIPLIER_2))
    return _xor_shift_(h, 16)


def draws_torch(key: DrawKey, positions: torch.Tensor, lanes: int | range) -> torch.Tensor:
    """The torch form of `draws_numpy`, bit-equal to it, on the device of `positions`.

    Parameters
    ----------
    key : DrawKey
    positions : int64 tensor [n]
    lanes : int, or a range of L ints
        One lane for all positions, or L lanes at each.

    Returns
    -------
    int64 tensor [n] or [n, L], values in [0, 2**32)
    """
    h = positions.to(torch.int32).add_(signed(key.first))  # to(int32) keeps the low 32 bits
    h = _mix_torch_(h).bitwise_xor_((positions >> 32).to(torch.int32).mul_(signed(_HIGH_WORD)))
    if isinstance(lanes, int):
        h.add_(signed(lanes * _GOLDEN + key.second))
    else:
        lane = torch.arange(lanes.start, lanes.stop, lanes.step, device=positions.device).to(torch.int32)
        h = h.unsqueeze(1) + lane.mul_(signed(_GOLDEN)).add_(signed(key.second))
    return _mix_torch_(h).to(torch.int64).bitwise_and_(UINT32_SPAN - 1)


def scaled(draws: np.ndarray, bound: int) -> np.ndarray:
    """Map draws to whole numbers in [0, bound) by the multiply-shift method. bound <= 2**31.

    Example: scaled([0, 2**31, 2**32 - 1], 10) -> [0, 5, 9]
    """
    return ((draws.astype(np.uint64) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)
