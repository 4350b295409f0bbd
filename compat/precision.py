"""What products in TF32 do to the vectors, on a machine without a GPU.

    python -m compat.precision --corpus enwiki.txt --words 6000000 --seeds 5 --csv rows.csv

The kernels multiply in TF32: float32 sums of products whose factors have 10 bits of mantissa. `mma.sync` reads the
registers of float32 factors as they are and leaves the last 13 bits out, and so does this (PTX ISA, "mma": the lower 13
bits are ignored; the kernels' PTX holds no `cvt.rna.tf32`). Steps, caps and chunks are those of the Triton engine; they
are trained by torch operations on the CPU, each from one snapshot of the weights, once with factors cut and once with
whole ones, from the same first vectors and on the same draws. `python -m compat.gpu` compares the kernels themselves.

    python -m compat.precision --corpus enwiki.txt --modes cbow-ns --precisions float32 --in-flight 16384

trains more or fewer tokens from one snapshot. Programs on a GPU read what others have added meanwhile: the snapshot is
the worst that so many tokens in flight can do there. `--snapshot 128` takes a new one after so many tokens, with the
plan's row caps: the best that there can be.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from compat.bench import MODES, QUALITIES, append_rows, environment, quality
from compat.gpu_arguments import count, file, names
from compat.gpu_runs import Text
from compat.gpu_sweep import Variation, applied
from compat.ids import IdSentences, IdWord2Vec
from torchw2v.ops.contract import Chunk, Engine, Job, Plan, Step, Tally, Weights
from torchw2v.ops.select import Choice
from torchw2v.ops.torch_engine import TorchEngine
from torchw2v.schedule import chunk_tokens

PRECISIONS = ("float32", "tf32")
_IGNORED_BITS = 13  # of the 23 of a float32's mantissa
_PRODUCTS = {torch.ops.aten.mm, torch.ops.aten.bmm, torch.ops.aten.addmm, torch.ops.aten.baddbmm}


def cut(factor: torch.Tensor) -> torch.Tensor:
    """A float32 tensor without the bits that a tensor core ignores; of the same shape."""
    return factor.view(torch.int32).bitwise_and(-(1 << _IGNORED_BITS)).view(torch.float32)


class CutProducts(TorchDispatchMode):
    """Inside this block, factors of matrix products lose the bits that a tensor core ignores."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Cut the factors of a product, its last two arguments; leave everything else as it is."""
        if func.overloadpacket in _PRODUCTS and args[-1].dtype == torch.float32:
            args = (*args[:-2], *map(cut, args[-2:]))
        return func(*args, **(kwargs or {}))


class CutEngine(TorchEngine):
    """The torch engine with products of cut factors."""

    def train_chunk(self, weights: Weights, chunk: Chunk, step: Step) -> Tally:
        """As TorchEngine does."""
        with CutProducts():
            return super().train_chunk(weights, chunk, step)


def snapshot_tiles(plan: Plan, snapshot: int | None) -> int:
    """Tiles that are trained from one snapshot, where so many tokens are wished for."""
    return plan.step_tiles if snapshot is None else max(1, min(plan.step_tiles, snapshot // plan.tile))


@dataclass(frozen=True)
class LikeTriton(Choice):
    """Torch operations where the plan is the one for fused kernels.

    Attributes
    ----------
    precision : str
        "float32" or "tf32".
    snapshot : int or None
        Tokens trained from one snapshot of the weights, whole tiles, a step of the plan at most; None for a step.
    """

    precision: str = "float32"
    snapshot: int | None = None

    def build(self, job: Job, threads: int = 1) -> Engine:
        """The engine; Huffman paths in blocks, as on a device. Inputs are ahead by what a snapshot's centers ask."""
        plan = job.plan
        if plan.inputs_ahead == "tile":
            plan = replace(plan, inputs_ahead="step")
        job = replace(job, plan=replace(plan, step_tiles=snapshot_tiles(plan, self.snapshot)))
        return (CutEngine if self.precision == "tf32" else TorchEngine)(job, self.device, bags=False)


class PlannedWord2Vec(IdWord2Vec):
    """Trains on a CPU what the Triton engine would train from the same steps.

    Attributes
    ----------
    precision, snapshot
        Of LikeTriton.
    """

    precision = "float32"
    snapshot: int | None = None

    @property
    def running_on(self) -> Choice:
        """The CPU, with the kernels' plan."""
        said = "the kernels' plan in torch operations"
        return LikeTriton(torch.device("cpu"), "triton", said, False, self.precision, self.snapshot)

    def _begin_epoch(self, cur_epoch: int, corpus: Any, known: float, callbacks: Any) -> Any:
        run, position = super()._begin_epoch(cur_epoch, corpus, known, callbacks)
        position.chunk_tokens = chunk_tokens(run.plan, 1, known, on_device=True, work=run.work)
        return run, position


def train(
    text: Text, mode: str, seed: int, precision: str, *, snapshot: int | None = None, **settings: Any
) -> PlannedWord2Vec:
    """One model."""
    model = PlannedWord2Vec(**MODES[mode], seed=seed, workers=1, device="cpu", **settings)
    model.precision, model.snapshot = precision, snapshot
    model.build_vocab_from_freq(text.scanned.counts(), corpus_count=len(text.sentences))
    ids = IdSentences.of(text.scanned.keep(model.wv.key_to_index))
    model.train(ids, total_examples=len(ids), epochs=model.epochs)
    return model


def table(rows: list[dict[str, Any]]) -> str:
    """Means by mode and precision, and the mean difference of a seed (TF32 less float32) with its standard error."""
    lines = ["| mode | products | WordSim-353 | SimLex-999 | analogies |", "|---|---|---|---|---|"]
    for mode in dict.fromkeys(row["mode"] for row in rows):
        runs = {p: {r["seed"]: r for r in rows if r["mode"] == mode and r["precision"] == p} for p in PRECISIONS}
        runs = {precision: of_seed for precision, of_seed in runs.items() if of_seed}
        for precision, of_seed in runs.items():
            means = [f"{statistics.mean(run[name] for run in of_seed.values()):.4f}" for name in QUALITIES]
            lines.append(f"| {mode} | {precision} | " + " | ".join(means) + " |")
        if len(runs) < len(PRECISIONS):
            continue
        both = sorted(set.intersection(*map(set, runs.values())))
        cells = []
        for name in QUALITIES:
            apart = [runs["tf32"][seed][name] - runs["float32"][seed][name] for seed in both]
            error = statistics.stdev(apart) / len(apart) ** 0.5 if len(apart) > 1 else float("nan")
            cells.append(f"{statistics.mean(apart):+.4f} ± {error:.4f}")
        lines.append(f"| {mode} | difference | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Train all of it and print the table."""
    parser = argparse.ArgumentParser(prog="python -m compat.precision", description=(__doc__ or "").splitlines()[0])
    add, modes, precisions = parser.add_argument, names("mode", MODES), names("precision", PRECISIONS)
    add("--corpus", type=file, required=True, help="text, a sentence a line")
    add("--words", type=count, help="use only the first so many words")
    add("--modes", type=modes, default=list(MODES), help=f"comma-separated, of {', '.join(MODES)} (default: all)")
    add("--precisions", type=precisions, default=list(PRECISIONS), help="float32, tf32, or both with a comma (default)")
    add("--in-flight", type=count, help="tokens of a step, in place of the plan's own")
    add("--snapshot", type=count, help="tokens trained from one snapshot (default: those of a step)")
    add("--seeds", type=count, default=3, help="runs of each, with seeds 1..n (default 3)")
    add("--epochs", type=count, default=5)
    add("--vector-size", type=count, default=100)
    add("--csv", type=Path, help="append the rows to this file")
    args = parser.parse_args(argv)
    text, facts, rows = Text.read(args.corpus, args.words), environment(), []
    for mode, seed, precision in itertools.product(args.modes, range(1, args.seeds + 1), args.precisions):
        began = time.perf_counter()
        with applied(Variation(in_flight=args.in_flight), "torch"):
            model = train(
                text, mode, seed, precision,
                snapshot=args.snapshot, vector_size=args.vector_size, epochs=args.epochs,
            )  # fmt: skip
        plan = model.plan
        rows.append({
            "mode": mode, "precision": precision, "seed": seed, "corpus": text.name, "words": len(text.scanned.ids),
            "vector_size": args.vector_size, "epochs": args.epochs, "step_tokens": plan.step_tiles * plan.tile,
            "snapshot_tokens": snapshot_tiles(plan, args.snapshot) * plan.tile,
            "seconds": time.perf_counter() - began, **quality(model.wv), **facts,
        })  # fmt: skip
        shown = {k: v for k, v in rows[-1].items() if k not in facts}
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in shown.items()}, flush=True)
        if args.csv:
            append_rows(args.csv, rows[-1:])
    print(table(rows))


if __name__ == "__main__":
    main()
