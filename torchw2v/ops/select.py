"""The one place that picks a device and an engine, and says why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from torchw2v.errors import EngineUnavailableError
from torchw2v.ops.contract import Engine, Job
from torchw2v.ops.reference import ReferenceEngine
from torchw2v.ops.torch_engine import TorchEngine

DeviceLike = str | torch.device | None
ENGINES = ("auto", "reference", "torch")


@dataclass(frozen=True)
class Choice:
    """The device and engine of a run.

    Attributes
    ----------
    device : torch.device
    engine : str
        "reference" or "torch".
    reason : str
        Why these, for the log and for `model.engine_reason`.
    """

    device: torch.device
    engine: str
    reason: str

    def build(self, job: Job) -> Engine:
        """The engine for a job."""
        builders: dict[str, Callable[[], Engine]] = {
            "reference": lambda: ReferenceEngine(job),
            "torch": lambda: TorchEngine(job, self.device),
        }
        return builders[self.engine]()


def _best_device() -> tuple[torch.device, str]:
    if torch.cuda.is_available():
        return torch.device("cuda"), "device='auto': a CUDA device is available"
    if torch.backends.mps.is_available():
        return torch.device("mps"), "device='auto': an MPS device is available, no CUDA device"
    return torch.device("cpu"), "device='auto': no CUDA or MPS device on this machine"


def _check_present(device: torch.device, asked: DeviceLike) -> None:
    """Fail now, by name, rather than in the first tensor operation."""
    if device.type == "cpu":
        return
    wish, cure = f"device={str(asked)!r} was asked for", "use device='cpu' or device='auto'"
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise EngineUnavailableError(f"{wish}, but torch sees no CUDA device here; {cure}")
        if (device.index or 0) >= torch.cuda.device_count():
            found = torch.cuda.device_count()
            raise EngineUnavailableError(f"{wish}, but there are {found} CUDA devices; {cure}")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise EngineUnavailableError(f"device={str(asked)!r} cannot be used here ({error}); {cure}") from error


def choose(device: DeviceLike, engine: str | None, *, deterministic: bool = False) -> Choice:
    """Pick where and how to train.

    Parameters
    ----------
    device : str, torch.device or None
        "auto" (same as None), or anything that torch.device accepts.
    engine : str or None
        "auto" (same as None), "torch", or "reference" (CPU only, slow).
    deterministic : bool
        Asks for vectors that do not depend on the number of threads; CPU only.

    Raises
    ------
    EngineUnavailableError
        Unknown name, or not on this machine. An explicit wish is never replaced by something else.
    """
    if engine is not None and engine not in ENGINES:
        raise EngineUnavailableError(f"engine={engine!r} is unknown; choose one of {', '.join(map(repr, ENGINES))}")
    wants_reference = engine == "reference"
    if device is None or (isinstance(device, str) and device == "auto"):
        if wants_reference or deterministic:
            found, reason = torch.device("cpu"), "device='auto': reference or deterministic training runs on the CPU"
        else:
            found, reason = _best_device()
    else:
        try:
            found = torch.device(device)
        except (RuntimeError, TypeError) as error:
            raise EngineUnavailableError(
                f"device={device!r} is unknown; use 'auto', 'cpu', 'cuda', 'cuda:1', 'mps' or a torch.device"
            ) from error
        _check_present(found, device)
        reason = f"device={str(device)!r} was asked for"
    if wants_reference and found.type != "cpu":
        raise EngineUnavailableError(f"engine='reference' runs on the CPU only, not on {found}; use engine='torch'")
    if deterministic and found.type != "cpu":
        raise EngineUnavailableError(f"deterministic=True is offered on the CPU only, not on {found}; use device='cpu'")
    name = "reference" if wants_reference else "torch"
    asked = engine not in (None, "auto")
    how = f"engine={engine!r} was asked for" if asked else "engine='auto': portable torch operations"
    return Choice(found, name, f"{reason}; {how}")
