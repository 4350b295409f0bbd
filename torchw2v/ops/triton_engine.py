"""The CUDA engine: checks, grids and launches; the arithmetic is in triton_kernels.py.

A chunk is subsampled and its pairs are counted on the device (triton_chunks.py), then one launch trains all of its
steps. Its grid holds as many programs as the plan allows tokens in flight. Nothing waits for the device: words, pairs
and loss are summed there until `collect` asks for them.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from torchw2v.constants import MAX_STALE_PULL, NODE_PULL
from torchw2v.errors import TrainingDivergedError
from torchw2v.ops.contract import Chunk, Job, Objective, Step, Tally, Weights
from torchw2v.ops.triton_chunks import ENTRIES, Chunks, Counted, pair_parts, power_of_two
from torchw2v.ops.triton_kernels import cbow_negative, hierarchical, skip_gram_negative

_CHUNKS_AHEAD = 4  # that the host may ask for before the device has trained them


@dataclass(frozen=True)
class Tuning:
    """How kernels are compiled. Speed depends on it, what is trained does not.

    Attributes
    ----------
    warps : int
        Of a program. The fewer, the fewer instructions for the same work, and the more programs a multiprocessor holds.
    stages : int
        Loads ahead in negative sampling.
    tree_stages : int
        Loads ahead in hierarchical softmax: with 3, 300 dimensions spill registers on sm_90.
    block : int
        Dimensions at a time; a power of two, at least 16.
    """

    warps: int
    block: int
    stages: int = 3
    tree_stages: int = 2


# Of engines made from now on; `python -m compat.gpu --sweep` tries others. With TF32 on Hopper the fastest of what was
# tried on an H200 with as many tokens in flight as schedule.py allows: docs/benchmarks.md, "On a GPU". Float32 products
# and AdaGrad hold more in registers, and for sm_80 the compiler is less thrifty: CBOW's would spill hundreds.
TUNING = {
    "skip-gram": Tuning(warps=4, block=64),
    "cbow or paths": Tuning(warps=2, block=32),
    "other": Tuning(warps=8, block=64),
}


def tuning_of(precision: str, objective: Objective, adagrad: bool, capability: tuple[int, int]) -> Tuning:
    """How kernels are compiled for a device of this compute capability."""
    if precision != "tf32" or adagrad or capability < (9, 0):
        return TUNING["other"]
    return TUNING["skip-gram" if objective.skip_gram and not objective.hierarchical else "cbow or paths"]


class TritonEngine:
    """Trains chunks by fused kernels on a CUDA (or ROCm) device.

    Parameters
    ----------
    job : Job
    device : torch.device
    precision : str
        Of products: "tf32" (10 bits of mantissa, tensor cores, float32 sums and weights) or "ieee" (float32).
    snapshot : bool
        Tests: every step reads a copy of the weights, as the reference does. Needs a copy of the matrices a step.
    """

    name = "triton"

    def __init__(
        self, job: Job, device: torch.device | str = "cuda", *, precision: str = "tf32", snapshot: bool = False
    ) -> None:
        self.job, self.device = job, torch.device(device)
        self.precision, self.snapshot = precision, snapshot
        on_gpu = self.device.type == "cuda"  # else in Triton's interpreter
        capability = torch.cuda.get_device_capability(self.device) if on_gpu else (9, 0)
        self.tuning = tuning_of(precision, job.objective, job.adagrad, capability)
        if job.plan.tile != power_of_two(job.plan.tile) or job.plan.group != power_of_two(job.plan.group):
            raise ValueError(f"tile {job.plan.tile} and group {job.plan.group} must be powers of two, at least 16")
        if job.plan.inputs_ahead == "step":
            raise ValueError("programs read inputs as those of other tiles leave them; make the plan with fused=True")
        self.chunks = Chunks(job, self.device)
        # Read and set to zero by `collect`; losses are those of each program.
        programs = max(1, job.plan.overlap * job.plan.step_tiles)
        self.losses = torch.zeros(programs, dtype=torch.float64, device=self.device)
        self._words = torch.zeros((), dtype=torch.int64, device=self.device)
        self._pairs = torch.zeros((), dtype=torch.int64, device=self.device)
        self._where = ""
        self._asked: deque[torch.cuda.Event] = deque()

    def hold(self, ids: np.ndarray, offsets: np.ndarray) -> None:
        """Keep a corpus on the device; chunks of other buffers are copied there one by one.

        Parameters
        ----------
        ids : int32 array
        offsets : int64 array [S + 1]
        """
        self.chunks.tokens.hold(ids, offsets)

    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """Ask the device to train the chunk's centers; programs read weights as others leave them.

        Returns
        -------
        Tally
            Empty, because nobody knows yet; `collect` does.
        """
        if chunk.start >= chunk.stop:
            return Tally()
        self._where = f"before token {chunk.first_position + chunk.stop} of the epoch, at alpha={step.alpha:g}"
        reach = self.chunks.reach(chunk)
        with torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext():
            kept = self.chunks.keep(chunk, step.draw_key)
            self._words += kept.effective_words
            if reach:
                blocks = (self.chunks.count(kept, reach, block) for block in range(self.chunks.blocks(reach)))
                if self.snapshot:
                    self._train_by_steps(weights, list(blocks), step)
                else:
                    for counted in blocks:
                        _Launch(self, weights, weights, counted, step).train(0, len(counted.pairs))
                        self._pairs += counted.pairs.sum()
            self._keep_pace()
        return Tally()

    def _train_by_steps(self, weights: Weights, blocks: list[Counted], step: Step) -> None:
        """Every step, and each block of its slots, from a copy of the weights."""
        for number in range(len(blocks[0].pairs)):
            for counted in blocks:
                _Launch(self, self._snapshot(weights), weights, counted, step).train(number, number + 1)
        for counted in blocks:
            self._pairs += counted.pairs.sum()

    def _keep_pace(self) -> None:
        """Let the host run a few chunks ahead, no more: progress stays true, and Ctrl-C ends soon.

        It waits for a chunk that was asked for some chunks ago, so the device never runs out of work.
        """
        if self.device.type == "cuda":
            asked = torch.cuda.Event()
            asked.record()
            self._asked.append(asked)
            if len(self._asked) > _CHUNKS_AHEAD:
                self._asked.popleft().synchronize()

    def collect(self, weights: Weights) -> Tally:
        """Wait for the device: words, pairs and loss since the last call.

        Raises
        ------
        TrainingDivergedError
            A weight is NaN or infinite.
        """
        matrices = [m for m in (weights.inputs, weights.outputs, weights.nodes) if m is not None]
        sums = [matrix.sum(dtype=torch.float64) for matrix in matrices]
        counts = [x.to(torch.float64) for x in (self._words, self._pairs, self.losses.sum())]
        words, pairs, loss, *weight_sums = torch.stack(counts + sums).tolist()
        for counter in (self._words, self._pairs, self.losses):
            counter.zero_()
        if not all(map(math.isfinite, weight_sums)):
            raise TrainingDivergedError(
                f"a vector became NaN or infinite {self._where}. Lower alpha, or subsample frequent words more (a "
                "smaller `sample`)."
            )
        return Tally(int(words), int(pairs), loss)

    @staticmethod
    def _snapshot(weights: Weights) -> Weights:
        def copy(matrix: torch.Tensor | None) -> torch.Tensor | None:
            return None if matrix is None else torch.empty_like(_rows_of(matrix)).copy_(_rows_of(matrix))

        inputs = copy(weights.inputs)
        assert inputs is not None
        squares = (weights.input_squares, weights.output_squares, weights.node_squares)
        return Weights(
            inputs,
            copy(weights.outputs),
            copy(weights.nodes),
            None,
            *(None if s is None else s.clone() for s in squares),
        )


def _rows_of(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with the padding of its rows: [V, row stride]."""
    return matrix.as_strided((len(matrix), matrix.stride(0)), (matrix.stride(0), 1))


class _Launch:
    """The kernels of one block of a chunk's slots, and the arguments that all of them share."""

    def __init__(self, engine: TritonEngine, read: Weights, write: Weights, counted: Counted, step: Step) -> None:
        objective, plan, tables = engine.job.objective, engine.job.plan, engine.chunks.tables
        width, kept = write.inputs.stride(0), counted.kept
        self.tuning = tuning = engine.tuning
        self.engine, self.read, self.write, self.counted, self.tables = engine, read, write, counted, tables
        self.arguments: dict[str, Any] = {
            "p_kept": kept.tokens, "p_sizes": kept.sizes, "p_counters": counted.counters,
            "p_input_pairs": tables.pairs["inputs"],
            "p_lock": tables.share if write.input_lock is None else write.input_lock, "p_loss": engine.losses,
            "room": kept.tokens.shape[1], "START": counted.start, "alpha": float(step.alpha), **kept.draws,
            "B": plan.step_tiles, "C": engine.chunks.counters,
        }  # fmt: skip
        # Rows are padded with zeros to whole 16 bytes: the kernels may as well train the padding, it stays zero.
        self.constants = {
            "WIDTH": write.inputs.shape[1], "ADAGRAD": engine.job.adagrad,
            "D": width, "STRIDE": width, "BD": min(tuning.block, power_of_two(width)),
            "T": plan.tile, "SB": counted.slots, "MAX_PULL": MAX_STALE_PULL,
            "SHRINK": objective.shrink_windows, "LOCK": write.input_lock is not None, "LOSS": step.compute_loss,
            "PRECISION": engine.precision, "num_warps": tuning.warps, "PARTS": pair_parts(objective),
        }  # fmt: skip
        self.bags = {"MEAN": objective.cbow_mean, "SHARED": objective.shares_error, "WALKED": counted.walked}

    def train(self, first: int, last: int) -> None:
        """Train the steps [first, last), those of them that there are."""
        steps = {"first_step": first, "last_step": last}
        if self.engine.job.objective.negative:
            self._negative(**steps)
        if self.tables.has_nodes:
            self._hierarchical(**steps)

    def _squares(self, kind: str) -> dict[str, torch.Tensor]:
        """AdaGrad's sums of the inputs and of a kind of outputs; any pointer where they are not read."""
        found = {}
        for name in ("input", kind):
            for suffix, weights in (("", self.read), ("_to", self.write)):
                squares = getattr(weights, f"{name}_squares")
                found[f"p_{name}_squares{suffix}"] = self.tables.share if squares is None else squares
        return found

    def _programs(self, tokens: int, steps: int) -> int:
        """As many as hold the tokens in flight, `tokens` each; no more than there may be work for."""
        plan = self.engine.job.plan
        in_flight = plan.overlap * plan.step_tiles * plan.tile
        return max(1, min(in_flight // tokens, steps * plan.step_tiles))

    def _hidden_rows(self, programs: int, *, kept: bool) -> torch.Tensor:
        """Scratch of programs that keep the hidden rows of a tile, and their errors; any pointer for others."""
        if not kept:
            return self.write.inputs
        rows = 2 * self.engine.job.plan.tile * programs
        return torch.empty((rows, self.write.inputs.stride(0)), device=self.engine.device)

    def _negative(self, first_step: int, last_step: int) -> None:
        """Launch the kernel of negative sampling."""
        engine, plan, counted = self.engine, self.engine.job.plan, self.counted
        objective = engine.job.objective
        arguments = {
            **self.arguments, "first_step": first_step, "last_step": last_step, "p_pairs": counted.pairs,
            "p_alias": self.tables.alias, "p_share": self.tables.share, "p_output_pairs": self.tables.pairs["outputs"],
            "p_inputs": self.read.inputs, "p_outputs": self.read.outputs,
            "p_inputs_to": self.write.inputs, "p_outputs_to": self.write.outputs,
            **self._squares("output"),
            "lane": counted.lane, "vocabulary": len(self.tables.keep),
            "k_over_n": objective.negative / plan.shared_negatives,
        }  # fmt: skip
        noise = {"N": plan.shared_negatives, "NB": power_of_two(plan.shared_negatives)}
        if objective.skip_gram:
            groups = -(-((plan.step_tiles - 1) * plan.tile + counted.slots) // plan.group)
            programs = self._programs(-(-plan.step_tiles // groups) * plan.tile, last_step - first_step)
            skip_gram_negative[(programs,)](
                **arguments, p_examples=counted.examples, line=counted.examples.shape[1],
                **self.constants, **noise, G=plan.group, num_stages=self.tuning.stages,
            )  # fmt: skip
        else:
            programs = self._programs(plan.tile, last_step - first_step)
            cbow_negative[(programs,)](
                **arguments, p_bags=self._hidden_rows(programs, kept=counted.walked),
                **self.constants, **noise, **self.bags, num_stages=self.tuning.stages,
            )  # fmt: skip

    def _hierarchical(self, first_step: int, last_step: int) -> None:
        """Launch the kernel of hierarchical softmax."""
        objective, plan, tables = self.engine.job.objective, self.engine.job.plan, self.tables
        programs, path = self._programs(plan.tile, last_step - first_step), tables.path * plan.tile + len(tables.top)
        hidden = self.counted.slots if objective.skip_gram else plan.tile
        scratch = torch.empty(programs * path * (hidden + 2), device=self.engine.device)
        hierarchical[(programs,)](
            **self.arguments, first_step=first_step, last_step=last_step, p_top_counters=self.counted.top,
            p_top=tables.top, p_top_signs=tables.top_signs, p_starts=tables.starts, p_paths=tables.paths,
            p_node_pairs=tables.pairs["nodes"], p_inputs=self.read.inputs, p_nodes=self.read.nodes,
            p_inputs_to=self.write.inputs, p_nodes_to=self.write.nodes, **self._squares("node"), p_scratch=scratch,
            p_scratch_node=torch.empty(programs * path, dtype=torch.int32, device=self.engine.device),
            p_bags=self._hidden_rows(programs, kept=not objective.skip_gram), path=path,
            **self.constants, UB=ENTRIES, M=len(tables.top), TOP=tables.top_count, NODE_PULL=NODE_PULL,
            SKIP_GRAM=objective.skip_gram, AHEAD=plan.inputs_ahead == "tile", **self.bags,
            num_stages=self.tuning.tree_stages,
        )  # fmt: skip
