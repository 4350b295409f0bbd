"""The CUDA engine: checks, grids and launches; the arithmetic is in triton_kernels.py.

Draws, windows, counts and caps are the torch engine's own, made on the device for a whole chunk at once; one launch
then trains many steps. Its grid holds as many programs as the plan allows tokens in flight.
"""

from __future__ import annotations

import math

import torch
import triton

from torchw2v.constants import NODE_PULL
from torchw2v.errors import TrainingDivergedError
from torchw2v.ops.contract import Chunk, Job, Step, Tally, Weights
from torchw2v.ops.frames import Frame, Part, ahead_of
from torchw2v.ops.torch_engine import TorchEngine
from torchw2v.ops.triton_kernels import cbow_negative, hierarchical, skip_gram_negative

MAX_BAG_SLOTS = 128  # slots of a CBOW tile that a program holds; wider windows take the torch operations
_ENTRIES = 32  # Huffman path entries of one product
_WARPS = 8  # fewer registers a thread than 4; a multiprocessor holds one or two programs anyway
_MAX_PREPARED_SLOTS = 2**22  # of one launch: 100 MB of counts and caps


def power_of_two(n: int) -> int:
    """The least block size that Triton's products take and that holds n: a power of two, at least 16."""
    return max(16, triton.next_power_of_2(n))


class TritonEngine(TorchEngine):
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
    dense_top = False  # the kernel takes every node of a path alike

    def __init__(
        self, job: Job, device: torch.device | str = "cuda", *, precision: str = "tf32", snapshot: bool = False
    ) -> None:
        super().__init__(job, device)
        self.precision, self.snapshot = precision, snapshot
        if job.plan.tile != power_of_two(job.plan.tile) or job.plan.group != power_of_two(job.plan.group):
            raise ValueError(f"tile {job.plan.tile} and group {job.plan.group} must be powers of two, at least 16")
        if job.plan.inputs_ahead:
            raise ValueError("the kernels read inputs as others leave them; make the plan with on_device=True")
        if job.tables.cumulative is not None:
            self._share32 = self._positive_share.to(torch.float32)

    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """Train the chunk's centers; programs read weights as others leave them.

        Raises
        ------
        TrainingDivergedError
            An input row of the chunk's last step is NaN or infinite.
        """
        tiles = self.frames.sampler.tiles(chunk, step.draw_key) if chunk.start < chunk.stop else None
        if tiles is None or not len(tiles.centers):
            return Tally() if tiles is None else Tally(effective_words=tiles.count)
        slots = self.job.plan.tile + 2 * tiles.reach
        if not self.job.objective.skip_gram and slots > MAX_BAG_SLOTS:
            return super().train_chunk(weights, chunk, step)
        tally = Tally(effective_words=tiles.count)
        losses: list[torch.Tensor] = []
        # With a snapshot, a launch is a step: its elements are too few for two.
        for part in self.frames.parts(tiles, 0 if self.snapshot else _MAX_PREPARED_SLOTS * self.job.plan.tile):
            frame = self.frames.make(weights, part, step, tally)
            read = self._snapshot(weights) if self.snapshot else weights
            launch = _Launch(self, read, weights, part, frame, step)
            if self.job.objective.negative:
                losses.append(launch.negative())
            if self._tree is not None:
                losses.append(launch.hierarchical(self._tree.packed_paths(frame.centers.view(-1, self.job.plan.tile))))
        if step.compute_loss:
            tally.loss = float(torch.stack([loss.sum(dtype=torch.float64) for loss in losses]).sum())
        if not math.isfinite(float(weights.inputs[frame.line[-1]].sum())):
            raise TrainingDivergedError(
                f"a vector became NaN or infinite before token {chunk.first_position + chunk.stop} of the epoch, at "
                f"alpha={step.alpha:g}. Lower alpha, or subsample frequent words more (a smaller `sample`)."
            )
        return tally

    def _scale_of_nodes(
        self, frame: Frame, nodes: torch.Tensor, owner: torch.Tensor, label: torch.Tensor, alpha: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Alpha times the row caps of path entries [t, U], 0 for padding, and their `ahead_of`."""
        assert self._tree is not None
        real, steps = label >= 0, len(frame.line)
        contexts = frame.contexts.view(len(nodes), -1).gather(1, owner)  # [t, U]
        pairs = contexts if self.job.objective.skip_gram else contexts.clamp(max=1)
        counted = (pairs * real).to(torch.float32).div_(NODE_PULL)
        scale = self.frames.scale("nodes", nodes.view(steps, -1), counted.view(steps, -1), alpha).view(nodes.shape)
        ahead = ahead_of(contexts, torch.float32).masked_fill_(self._tree.shared[nodes], 0.0)
        return scale.mul_(real), ahead if self.job.objective.skip_gram else torch.zeros_like(ahead)

    @staticmethod
    def _snapshot(weights: Weights) -> Weights:
        def copy(matrix: torch.Tensor | None) -> torch.Tensor | None:
            return None if matrix is None else torch.empty_like(_rows_of(matrix)).copy_(_rows_of(matrix))

        inputs = copy(weights.inputs)
        assert inputs is not None
        return Weights(inputs, copy(weights.outputs), copy(weights.nodes))


def _rows_of(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with the padding of its rows: [V, row stride]."""
    return matrix.as_strided((len(matrix), matrix.stride(0)), (matrix.stride(0), 1))


class _Launch:
    """One launch: a frame of steps on the device, and the arguments that all kernels share."""

    def __init__(
        self,
        engine: TritonEngine,
        read: Weights,
        write: Weights,
        part: Part,
        frame: Frame,
        step: Step,
    ) -> None:
        plan, width = engine.job.plan, write.inputs.stride(0)
        self.engine, self.read, self.write, self.frame, self.tiles_in_step = engine, read, write, frame, part.size
        self.line = frame.line.to(torch.int32).contiguous()
        self.first, self.last = (x[part.span].contiguous() for x in (part.tiles.first, part.tiles.last))
        # Rows are padded with zeros to whole 16 bytes: the kernels may as well train the padding, it stays zero.
        self.geometry = {"D": width, "STRIDE": width, "BD": min(64, power_of_two(width)), "T": plan.tile}
        self.slots = {"OWN": part.tiles.reach - part.start, "START": part.start, "S": part.slots}
        self.options = {"LOSS": step.compute_loss, "PRECISION": engine.precision, "num_warps": _WARPS}
        self.alpha = step.alpha
        self.in_flight = plan.step_tiles * plan.tile

    def _grid(self, items: int, tokens: int) -> tuple[int]:
        """Programs: as many as hold the tokens in flight, `tokens` each."""
        return (max(1, min(items, self.in_flight // tokens)),)

    def negative(self) -> torch.Tensor:
        """Launch the kernel of negative sampling; returns the loss by item."""
        engine, frame, plan = self.engine, self.frame, self.engine.job.plan
        assert self.read.outputs is not None and self.write.outputs is not None
        steps, length = self.line.shape
        rows = frame.rows.to(torch.int32)
        k_over_n = engine.job.objective.negative / plan.shared_negatives
        noise = {"N": plan.shared_negatives, "NB": power_of_two(plan.shared_negatives)}
        window = {"SB": power_of_two(self.slots["S"])}
        matrices = self.read.inputs, self.read.outputs, self.write.inputs, self.write.outputs
        scale = frame.scale.contiguous()
        if engine.job.objective.skip_gram:
            groups = length // plan.group
            items, tiles = steps * groups, -(-self.tiles_in_step // groups)
            loss = torch.zeros(items, device=self.line.device)
            weight = frame.examples.to(torch.float32).mul_(k_over_n)
            skip_gram_negative[self._grid(items, tiles * plan.tile)](
                self.line, scale, weight, rows, frame.row_scale, engine._share32, self.first, self.last,
                *matrices, loss, items, groups, self.tiles_in_step, length,
                **self.slots, **self.geometry, **window, **noise, G=plan.group, TILES=tiles, **self.options,
            )  # fmt: skip
        else:
            items = steps * self.tiles_in_step
            loss = torch.zeros(items, device=self.line.device)
            cbow_negative[self._grid(items, plan.tile)](
                self.line, scale, rows, frame.row_scale, engine._share32, self.first, self.last,
                *matrices, loss, items, self.tiles_in_step, length,
                **self.slots, k_over_n=k_over_n, **self.geometry, **window, **noise,
                MEAN=engine.job.objective.cbow_mean, **self.options,
            )  # fmt: skip
        return loss

    def hierarchical(self, paths: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """Launch the kernel of hierarchical softmax; returns the loss by item."""
        objective, plan = self.engine.job.objective, self.engine.job.plan
        assert self.read.nodes is not None and self.write.nodes is not None
        nodes, owner, label = paths  # [t, U]
        items, path = nodes.shape
        scale, ahead = self.engine._scale_of_nodes(self.frame, nodes, owner, label, self.alpha)
        hidden = power_of_two(self.slots["S"]) if objective.skip_gram else plan.tile
        loss = torch.zeros(items, device=self.line.device)
        grid = self._grid(items, plan.tile)
        scratch = torch.empty(grid[0] * path * hidden, device=self.line.device)
        hierarchical[grid](
            self.line, self.frame.scale.contiguous(), nodes.to(torch.int32), owner.to(torch.int32), label, scale, ahead,
            self.first, self.last, self.read.inputs, self.read.nodes, self.write.inputs, self.write.nodes,
            scratch, loss, items, self.tiles_in_step, self.line.shape[1], path,
            **self.slots, **self.geometry, SB=power_of_two(self.slots["S"]), UB=_ENTRIES,
            SKIP_GRAM=objective.skip_gram, MEAN=objective.cbow_mean, **self.options,
        )  # fmt: skip
        return loss
