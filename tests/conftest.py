"""Where there is no CUDA device, Triton kernels run in Triton's interpreter: the same tests, on the CPU."""

import os
import queue
import signal
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when the kernels are first imported


@dataclass
class Trained:
    """What reached our engines, chunk by chunk; proof of what was trained and by whom."""

    tokens: list = field(default_factory=list)
    steps: list = field(default_factory=list)


@pytest.fixture
def trained(monkeypatch):
    from torchw2v.ops.numba_engine import NumbaEngine  # after the line above
    from torchw2v.ops.torch_engine import TorchEngine

    seen = Trained()

    def spy_on(engine):
        original = engine.train_chunk

        def spy(self, weights, chunk, step):
            seen.tokens.append(chunk.token_ids[chunk.start : chunk.stop].tolist())
            seen.steps.append(step)
            return original(self, weights, chunk, step)

        monkeypatch.setattr(engine, "train_chunk", spy)

    spy_on(NumbaEngine)
    spy_on(TorchEngine)
    return seen


@pytest.fixture
def trained_tokens(trained):
    """The token ids that reached the engines, chunk by chunk."""
    return trained.tokens


@pytest.fixture(autouse=True)
def threads_from_the_start(monkeypatch):
    """The tests' small corpora are trained as large ones are: no words in the caller's thread."""
    from torchw2v import epochs, trainer

    for module in (epochs, trainer):
        monkeypatch.setattr(module, "FEW_TOKENS", 0)


@pytest.fixture
def attended(monkeypatch):
    """Free threads wait for their caller to have looked at what they trained."""
    from checkpointed import Attended

    from torchw2v import trainer

    def queue_of(size=0):
        return queue.Queue(size) if size else Attended()  # one with a size reads ahead, and trains nothing

    monkeypatch.setattr(trainer, "queue", SimpleNamespace(Queue=queue_of, Empty=queue.Empty, Full=queue.Full))


@pytest.fixture
def crash_after(monkeypatch):
    """Crash when so many checkpoints have been written in train() calls from now on."""

    from checkpointed import Crash

    from torchw2v.checkpoint import RunKeeper

    def arm(number):
        written, original = [], RunKeeper._write

        def write(self, document):
            original(self, document)
            written.append(document)
            if len(written) == number:
                monkeypatch.setattr(RunKeeper, "_write", original)
                raise Crash

        monkeypatch.setattr(RunKeeper, "_write", write)

    return arm


# A shell that starts the tests in the background has them ignore Ctrl-C, and so does every process that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
