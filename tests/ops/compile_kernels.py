"""Compile every Triton kernel for a GPU that need not be here, and print what came out as JSON.

    python tests/ops/compile_kernels.py 80|90

A program of its own, since Triton's interpreter (tests/conftest.py) and its compiler cannot live in one process.
"""

import inspect
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from torchw2v.constants import MAX_STALE_PULL, NODE_PULL, PAIR_PARTS
from torchw2v.ops import triton_chunks, triton_engine, triton_kernels, triton_sampling
from torchw2v.ops.contract import Objective

TYPES = {
    "p_top_signs": "*i8", "p_starts": "*i64", "p_loss": "*fp64",
    **dict.fromkeys(("p_share", "p_input_pairs", "p_output_pairs", "p_node_pairs", "p_lock"), "*fp32"),
    **dict.fromkeys(("p_scratch", "p_bags"), "*fp32"),
    **dict.fromkeys(("p_inputs", "p_outputs", "p_nodes", "p_inputs_to", "p_outputs_to", "p_nodes_to"), "*fp32"),
    **{f"p_{kind}_squares{to}": "*fp32" for kind in ("input", "output", "node") for to in ("", "_to")},
    **dict.fromkeys(("alpha", "k_over_n"), "fp32"),
}  # fmt: skip
# As the engine has them for a large corpus: window 5, 5 negatives, locked rows. Losses are left out.
CONSTANTS = {
    "T": 16, "SB": 32, "G": 32, "N": 32, "NB": 32, "UB": 32, "M": 32, "TOP": 32,
    "MAX_PULL": MAX_STALE_PULL, "NODE_PULL": NODE_PULL, "SHRINK": True, "LOCK": True, "MEAN": True, "LOSS": False,
    "SHARED": False, "PARTS": 1, "ADAGRAD": False, "WIDTH": 100, "WALKED": False,
    "KEEPS_ALL": False, "BLOCK": 1024, "BITS": 3, "NEGATIVE": True, "TREE": True, "SKIP_GRAM": True, "AHEAD": True,
}  # fmt: skip
TRAINING = {  # by name: kernel, constants
    "skip_gram_negative": (triton_kernels.skip_gram_negative, {}),
    "cbow_negative": (triton_kernels.cbow_negative, {}),
    "skip_gram_hierarchical": (triton_kernels.hierarchical, {}),
    "cbow_hierarchical": (triton_kernels.hierarchical, {"SKIP_GRAM": False, "AHEAD": False}),
}
OBJECTIVES = {
    name: Objective("cbow" not in name, 0 if "hierarchical" in name else 5, "hierarchical" in name, window=5)
    for name in TRAINING
}
SAMPLING = {
    "count_kept": (triton_sampling.count_kept, {}),
    "compact": (triton_sampling.compact, {}),
    "measure_reach": (triton_sampling.measure_reach, {}),
    "count_pairs": (triton_sampling.count_pairs, {}),
    "count_pairs_cbow": (triton_sampling.count_pairs, {"SKIP_GRAM": False}),
    "count_pairs_walked": (
        triton_sampling.count_pairs,
        {"SKIP_GRAM": False, "PARTS": PAIR_PARTS, "WALKED": True, "SB": triton_chunks.BAG_SLOTS},
    ),
    "count_pairs_corrected": (triton_sampling.count_pairs, {"SKIP_GRAM": False, "PARTS": PAIR_PARTS}),
}


def source_of(kernel, constants):
    names = list(inspect.signature(kernel.fn).parameters)
    kinds = {name: TYPES.get(name, "*i32" if name.startswith("p_") else "i32") for name in names}
    signature = kinds | dict.fromkeys(constants, "constexpr")
    # A chunk of a corpus may begin anywhere.
    pointers = [k for k, name in enumerate(names) if name.startswith("p_") and name != "p_tagged"]
    aligned = {(place,): [["tt.divisibility", 16]] for place in pointers}
    return ASTSource(kernel, signature, {(names.index(k),): v for k, v in constants.items()}, aligned)


def disassembled(cubin, tool, *options):
    """What NVIDIA's tools, which Triton carries, say of a compiled kernel."""
    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / tool
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([program, *options, file.name], capture_output=True, text=True, check=True).stdout


def report(name, kernel, own, capability, **sizes):
    options = {}
    if "PRECISION" in sizes:  # as the engine does it
        tuning = triton_engine.tuning_of(
            sizes["PRECISION"], OBJECTIVES[name], "ADAGRAD" in sizes, divmod(capability, 10)
        )
        sizes |= {"BD": min(tuning.block, triton_chunks.power_of_two(sizes["D"]))}
        stages = tuning.tree_stages if "hierarchical" in name else tuning.stages
        options = {"num_warps": tuning.warps, "num_stages": stages}
    constants = {k: v for k, v in (CONSTANTS | own | sizes).items() if k in kernel.arg_names}
    compiled = triton.compile(source_of(kernel, constants), target=GPUTarget("cuda", capability, 32), options=options)
    cubin = compiled.asm["cubin"]
    sass = disassembled(cubin, "nvdisasm")
    counts = {
        "spills": r"\b(?:STL|LDL)\b",
        "tensor_cores": r"\b\w*MMA\.\S*TF32",
        "updates": r"\bREDG?\.",  # REDUX is a sum over a warp
        "wide_updates": r"\bREDG?\.\S*F32x4",
        "returning_atomics": r"\bATOM\w*\.",
        "wide_copies": r"\b(?:LDGSTS|LDG)\S*\.128",
        "cached_rows": r"\b(?:LDGSTS|LDG)(?!\S*(?:BYPASS|STRONG))\S*\.128",  # in a multiprocessor's own cache
    }
    return {
        "kernel": name, "width": sizes.get("D"), "precision": sizes.get("PRECISION"),
        "adagrad": "ADAGRAD" in sizes, "walked": "WALKED" in sizes,
        "shared_memory": compiled.metadata.shared,
        "rounded_factors": len(re.findall(r"\bcvt\.\S*tf32", compiled.asm["ptx"])),
        "registers": int(re.search(r"REG:(\d+)", disassembled(cubin, "cuobjdump", "--dump-resource-usage"))[1]),
        **{what: len(re.findall(pattern, sass)) for what, pattern in counts.items()},
    }  # fmt: skip


if __name__ == "__main__":
    capability = int(sys.argv[1])
    widths = [(100, "tf32"), (128, "tf32"), (300, "tf32"), (128, "ieee")]
    reports = [
        report(name, *how, capability, D=width, STRIDE=width, PRECISION=precision)
        for name, how in TRAINING.items()
        for width, precision in widths
    ]
    # A small vocabulary's tree, with losses and without locks: other shapes of the same variables.
    other = {"D": 100, "STRIDE": 100, "LOSS": True, "LOCK": False, "M": 16, "TOP": 12, "PRECISION": "tf32"}
    reports += [report(name, *how, capability, **other) for name, how in TRAINING.items()]
    corrected = {"D": 128, "STRIDE": 128, "SHARED": True, "PARTS": PAIR_PARTS, "PRECISION": "tf32"}
    reports += [report(name, *TRAINING[name], capability, **corrected) for name in TRAINING if "cbow" in name]
    adagrad = {"D": 128, "STRIDE": 128, "WIDTH": 128, "ADAGRAD": True, "PRECISION": "tf32"}
    reports += [report(name, *how, capability, **adagrad) for name, how in TRAINING.items()]
    walked = {"WALKED": True, "SB": triton_chunks.BAG_SLOTS, "D": 128, "STRIDE": 128}
    kinds = [{"PRECISION": "tf32"}, {"PRECISION": "ieee"}, corrected | adagrad | {"LOSS": True}]
    for name in ("cbow_negative", "cbow_hierarchical"):
        reports += [report(name, *TRAINING[name], capability, **(walked | kind)) for kind in kinds]
    reports += [report(name, *how, capability) for name, how in SAMPLING.items()]
    print(json.dumps(reports))
