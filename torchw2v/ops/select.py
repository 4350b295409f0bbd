"""The one place that picks a device and an engine, and says why."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import torch

from torchw2v.compiling import numba_missing
from torchw2v.errors import EngineUnavailableError
from torchw2v.ops.contract import Engine, Job
from torchw2v.ops.reference import ReferenceEngine
from torchw2v.ops.softmax_engine import SoftmaxEngine
from torchw2v.ops.torch_engine import TorchEngine

MIN_CAPABILITY = (8, 0)  # TF32 products
DeviceLike = str | torch.device | None
ENGINES = ("auto", "reference", "torch", "numba", "triton", "triton-ieee", "softmax")


@dataclass(frozen=True)
class Choice:
    """The device and engine of a run.

    Attributes
    ----------
    device : torch.device
        Where the run is trained.
    engine : str
        "reference", "torch", "numba", "triton" (products in TF32) or "triton-ieee" (products in float32); "softmax" for
        the full softmax.
    reason : str
        Why these, for the log and for `model.running_on`.
    ordered : bool
        Rows are added in the same order every time, on a CUDA device.
    """

    device: torch.device
    engine: str
    reason: str
    ordered: bool = False

    def build(self, job: Job, threads: int = 1) -> Engine:
        """The engine for a job that `threads` share: they call it, or it makes them (the softmax engine)."""
        builders: dict[str, Callable[[], Engine]] = {
            "reference": lambda: ReferenceEngine(job),
            "torch": lambda: TorchEngine(job, self.device, ordered=self.ordered),
            "numba": lambda: _numba_engine(job, threads),
            "softmax": lambda: SoftmaxEngine(job, self.device, threads=threads),
            "triton": lambda: _triton_engine(job, self.device, "tf32"),
            "triton-ieee": lambda: _triton_engine(job, self.device, "ieee"),
        }
        return builders[self.engine]()


def _triton_engine(job: Job, device: torch.device, precision: str) -> Engine:
    from torchw2v.ops.triton_engine import TritonEngine  # only here: triton is not everywhere

    return TritonEngine(job, device, precision=precision)


def _numba_engine(job: Job, threads: int) -> Engine:
    from torchw2v.ops.numba_engine import NumbaEngine  # only here: importing it takes a second

    return NumbaEngine(job, threads=threads)


def _numba_unfit(device: torch.device) -> str | None:
    """Why the compiled engine cannot run on a device, or None where it can."""
    if device.type != "cpu":
        return f"numba's engine runs on the CPU only, not on {device}"
    return numba_missing()


def _triton_missing(device: torch.device) -> str | None:
    """Why the Triton kernels cannot run on a device, or None where they can."""
    if device.type != "cuda":  # torch calls ROCm devices cuda, too
        return f"Triton kernels run on CUDA devices, not on {device}"
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (it is not made for every platform)"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < MIN_CAPABILITY:
        return f"{torch.cuda.get_device_name(device)} is older than compute capability 8.0"
    return None


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
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's backends raise any of the three
        raise EngineUnavailableError(f"device={str(asked)!r} cannot be used here ({error}); {cure}") from error


def _find_device(device: DeviceLike, *, on_cpu: bool) -> tuple[torch.device, str]:
    """The device asked for; where none was, the best one that the engine runs on. And the reason."""
    if device is None or (isinstance(device, str) and device == "auto"):
        if on_cpu:
            return torch.device("cpu"), "device='auto': reference or deterministic training runs on the CPU"
        return _best_device()
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise EngineUnavailableError(
            f"device={device!r} is unknown; use 'auto', 'cpu', 'cuda', 'cuda:1', 'mps' or a torch.device"
        ) from error
    _check_present(found, device)
    return found, f"device={str(device)!r} was asked for"


def _check_objective(engine: str | None, softmax: bool) -> None:
    """Each objective has engines of its own."""
    if softmax and engine not in (None, "auto", "softmax"):
        raise EngineUnavailableError(
            f"engine={engine!r} was asked for, but objective='softmax' is trained by an engine of its own; leave "
            "engine out, or leave objective out for negative sampling or hierarchical softmax"
        )
    if engine == "softmax" and not softmax:
        raise EngineUnavailableError(
            "engine='softmax' trains the full softmax only; give objective='softmax', or another engine"
        )


def choose(device: DeviceLike, engine: str | None, *, deterministic: bool = False, softmax: bool = False) -> Choice:
    """Pick where and how to train.

    Parameters
    ----------
    device : str, torch.device or None
        "auto" (same as None), or anything that torch.device accepts.
    engine : str or None
        "auto" (same as None), "torch", "numba" (CPU only), "triton" or "triton-ieee" (CUDA only), or "reference"
        (CPU only, slow); "softmax" with the full softmax.
    deterministic : bool
        Asks for the same vectors every time: on a CPU whatever the number of threads is, on a CUDA device by torch
        operations that add in a fixed order. On no other device.
    softmax : bool
        The objective is the full softmax.

    Raises
    ------
    EngineUnavailableError
        Unknown name, or not on this machine. An explicit wish is never replaced by something else.
    """
    if engine is not None and engine not in ENGINES:
        raise EngineUnavailableError(f"engine={engine!r} is unknown; choose one of {', '.join(map(repr, ENGINES))}")
    _check_objective(engine, softmax)
    wants_reference = engine == "reference"
    found, reason = _find_device(device, on_cpu=wants_reference or deterministic)
    if wants_reference and found.type != "cpu":
        raise EngineUnavailableError(f"engine='reference' runs on the CPU only, not on {found}; use engine='torch'")
    if deterministic and (found.type not in ("cpu", "cuda") or (softmax and found.type != "cpu")):
        offered = "on the CPU only for the full softmax" if softmax else "on the CPU and on CUDA devices"
        raise EngineUnavailableError(f"deterministic=True is offered {offered}, not on {found}; use device='cpu'")
    if softmax:
        return Choice(found, "softmax", f"{reason}; objective='softmax': products with the whole vocabulary")
    no_triton, no_numba = _triton_missing(found), _numba_unfit(found)
    if deterministic:  # numba's engine then trains in one thread
        no_triton = no_triton or "deterministic=True needs engine 'torch'"
    ordered = deterministic and found.type == "cuda"
    if engine is not None and engine != "auto":
        missing = no_triton if engine.startswith("triton") else no_numba if engine == "numba" else None
        if missing:
            raise EngineUnavailableError(f"engine={engine!r} was asked for, but {missing}; use engine='torch'")
        return Choice(found, engine, f"{reason}; engine={engine!r} was asked for", ordered)
    if no_triton is None:
        return Choice(found, "triton", f"{reason}; engine='auto': fused Triton kernels on a CUDA device")
    if no_numba is None:
        return Choice(found, "numba", f"{reason}; engine='auto': loops compiled by numba on a CPU")
    why = no_numba if found.type == "cpu" else no_triton
    return Choice(found, "torch", f"{reason}; engine='auto': portable torch operations ({why})", ordered)
