"""Token ids on a device: a whole corpus that stays there, or chunks that are copied while the last one trains.

Ids are tagged: where a sentence begins, the sign bit is set. So 4 bytes a token are all that a device needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from torchw2v.ops.contract import Chunk

BYTES_PER_TOKEN = 4
_SENTENCE = np.int32(-(2**31))  # the sign bit
_PIECE = 2**26  # tokens that are tagged and copied at once while a corpus moves to the device: 256 MB
_STAGES = 2


def tag_sentences(ids: np.ndarray, offsets: np.ndarray, low: int, high: int, out: np.ndarray) -> None:
    """Write tokens [low, high) of a buffer into `out`, tagged.

    Example: ids [3, 1, 2], offsets [0, 2, 2, 3] -> [3 | sign, 1, 2 | sign]

    Parameters
    ----------
    ids : int32 array
    offsets : int64 array [S + 1]
        Ascending; equal ones are empty sentences.
    low, high : int
    out : int32 array [high - low]
    """
    np.copyto(out, ids[low:high])
    first, last = np.searchsorted(offsets, [low, high])
    out[offsets[first:last] - low] |= _SENTENCE


def _room(count: int) -> int:
    """Tokens that a buffer for `count` is made for: chunks end on sentence ends, so the next one may be longer."""
    return count + count // 8


@dataclass
class _Stage:
    """One of the buffers through which chunks go to the device, and what has to happen before it is used again."""

    host: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int32))
    device: torch.Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.int32))
    copied: torch.cuda.Event | None = None  # the host's side may be overwritten
    used: torch.cuda.Event | None = None  # the device's side may be overwritten


class DeviceTokens:
    """Tagged token ids on one device.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._held: tuple[np.ndarray, torch.Tensor] | None = None
        self._stages = [_Stage() for _ in range(_STAGES)]
        self._turn = 0
        self._in_use: _Stage | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def hold(self, ids: np.ndarray, offsets: np.ndarray) -> None:
        """Copy a corpus to the device, where it stays until another one comes; its chunks are then parts of it."""
        if self._held is not None and self._held[0] is ids:
            return
        self._held = None  # its memory may be needed now
        there = torch.empty(len(ids), dtype=torch.int32, device=self.device)
        for low in range(0, len(ids), _PIECE):
            high = min(low + _PIECE, len(ids))
            piece = np.empty(high - low, np.int32)
            tag_sentences(ids, offsets, low, high, piece)
            there[low:high].copy_(torch.from_numpy(piece))
        self._held = ids, there

    def holds(self, ids: np.ndarray) -> bool:
        """Whether a corpus is on the device."""
        return self._held is not None and self._held[0] is ids

    def tagged(self, chunk: Chunk, low: int, high: int) -> torch.Tensor:
        """Tokens [low, high) of a chunk's buffer: int32 tensor [high - low].

        Valid until the second call from now; call `release` when all work on it has been asked for.
        """
        if self._held is not None and self._held[0] is chunk.token_ids:
            return self._held[1][low:high]
        count = high - low
        stage = self._in_use = self._stages[self._turn]
        self._turn = (self._turn + 1) % _STAGES
        if stage.copied is not None:
            stage.copied.synchronize()  # of the chunk before the last: waits only where the device is that far behind
        if len(stage.host) < count:
            stage.host = torch.empty(_room(count), dtype=torch.int32, pin_memory=self._stream is not None)
        tag_sentences(chunk.token_ids, chunk.sentence_offsets, low, high, stage.host[:count].numpy())
        if self._stream is None:
            return stage.host[:count]
        return self._copied(stage, count, self._stream)

    def _copied(self, stage: _Stage, count: int, stream: torch.cuda.Stream) -> torch.Tensor:
        """The stage's tokens on the device; the copy runs beside the kernels that have been asked for before."""
        current = torch.cuda.current_stream(self.device)
        if len(stage.device) < count:
            stage.device = torch.empty(_room(count), dtype=torch.int32, device=self.device)
            stream.wait_stream(current)  # the memory may be that of a tensor which kernels still read
        elif stage.used is not None:
            stream.wait_event(stage.used)
        with torch.cuda.stream(stream):
            stage.device[:count].copy_(stage.host[:count], non_blocking=True)
        stage.copied = torch.cuda.Event()
        stage.copied.record(stream)
        current.wait_event(stage.copied)
        return stage.device[:count]

    def release(self) -> None:
        """All kernels that read the last `tagged` have been asked for: its buffer may be overwritten after them."""
        if self._in_use is not None and self._stream is not None:
            self._in_use.used = torch.cuda.Event()
            self._in_use.used.record(torch.cuda.current_stream(self.device))
        self._in_use = None
