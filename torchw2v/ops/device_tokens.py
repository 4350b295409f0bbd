"""Token ids on a device: a whole corpus that stays there, or chunks; copied while the chunk before trains.

Ids are tagged: where a sentence begins, the sign bit is set. So 4 bytes a token are all that a device needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from torchw2v.ops.contract import Chunk

BYTES_PER_TOKEN = 4
_SENTENCE = np.int32(-(2**31))  # the sign bit
_PIECE = 2**22  # tokens of a corpus that are tagged and copied at once on its way to the device: 16 MB
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


@dataclass
class _Held:
    """A corpus on the device, of which the first `copied` tokens are there."""

    ids: np.ndarray
    offsets: np.ndarray
    there: torch.Tensor
    copied: int = 0


class DeviceTokens:
    """Tagged token ids on one device.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._held: _Held | None = None
        self._stages = [_Stage() for _ in range(_STAGES)]
        self._turn = 0
        self._in_use: _Stage | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def hold(self, ids: np.ndarray, offsets: np.ndarray) -> None:
        """Keep a corpus on the device until another one comes; its chunks are then parts of it.

        Tokens are copied when a chunk first asks for them: training begins at once, the rest is on its way meanwhile.
        """
        if self.holds(ids):
            return
        self._held = None  # its memory may be needed now
        there = torch.empty(len(ids), dtype=torch.int32, device=self.device)
        if self._stream is not None:  # the memory may be that of a tensor which kernels still read
            self._stream.wait_stream(torch.cuda.current_stream(self.device))
        self._held = _Held(ids, offsets, there)

    def holds(self, ids: np.ndarray) -> bool:
        """Whether a corpus is kept on the device."""
        return self._held is not None and self._held.ids is ids

    def tagged(self, chunk: Chunk, low: int, high: int) -> torch.Tensor:
        """Tokens [low, high) of a chunk's buffer: int32 tensor [high - low].

        Valid until the second call from now; call `release` when all work on it has been asked for.
        """
        held = self._held
        if held is not None and held.ids is chunk.token_ids:
            while held.copied < high:
                end = min(high, held.copied + _PIECE)
                stage, host = self._staged(held.ids, held.offsets, held.copied, end)
                self._copy(stage, host, held.there[held.copied : end])
                held.copied = end
            return held.there[low:high]
        stage, host = self._staged(chunk.token_ids, chunk.sentence_offsets, low, high)
        self._in_use = stage
        if self._stream is None:
            return host
        if len(stage.device) < len(host):
            stage.device = torch.empty(_room(len(host)), dtype=torch.int32, device=self.device)
            self._stream.wait_stream(torch.cuda.current_stream(self.device))  # as in `hold`
        elif stage.used is not None:
            self._stream.wait_event(stage.used)
        return self._copy(stage, host, stage.device[: len(host)])

    def _staged(self, ids: np.ndarray, offsets: np.ndarray, low: int, high: int) -> tuple[_Stage, torch.Tensor]:
        """The next stage, and tokens [low, high) tagged in its memory on the host."""
        stage, count = self._stages[self._turn], high - low
        self._turn = (self._turn + 1) % _STAGES
        if stage.copied is not None:
            stage.copied.synchronize()  # of the piece before the last: waits only where the device is that far behind
        if len(stage.host) < count:
            stage.host = torch.empty(_room(count), dtype=torch.int32, pin_memory=self._stream is not None)
        tag_sentences(ids, offsets, low, high, stage.host[:count].numpy())
        return stage, stage.host[:count]

    def _copy(self, stage: _Stage, host: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Copy staged tokens; on a device beside the kernels that have been asked for before."""
        if self._stream is None:
            return there.copy_(host)
        with torch.cuda.stream(self._stream):
            there.copy_(host, non_blocking=True)
        stage.copied = torch.cuda.Event()
        stage.copied.record(self._stream)
        torch.cuda.current_stream(self.device).wait_event(stage.copied)
        return there

    def release(self) -> None:
        """All kernels that read the last `tagged` have been asked for: its buffer may be overwritten after them."""
        if self._in_use is not None and self._stream is not None:
            self._in_use.used = torch.cuda.Event()
            self._in_use.used.record(torch.cuda.current_stream(self.device))
        self._in_use = None
