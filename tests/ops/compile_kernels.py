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

from torchw2v.ops import triton_kernels

FLOATS = {
    "p_scale", "p_weight", "p_row_scale", "p_share", "p_label", "p_node_scale", "p_ahead", "p_inputs", "p_outputs",
    "p_nodes", "p_inputs_to", "p_outputs_to", "p_nodes_to", "p_scratch", "p_loss",
}  # fmt: skip
COMMON = {"T": 16, "SB": 32, "LOSS": False}
NOISE = {"N": 32, "NB": 32}
KERNELS = {
    "skip_gram_negative": {**COMMON, **NOISE, "G": 32, "TILES": 2},
    "cbow_negative": {**COMMON, **NOISE, "MEAN": True},
    "skip_gram_hierarchical": {**COMMON, "UB": 32, "SKIP_GRAM": True, "MEAN": True},
    "cbow_hierarchical": {**COMMON, "UB": 32, "SKIP_GRAM": False, "MEAN": True},
}
WARPS = 8


def source_of(kernel, constants):
    names = list(inspect.signature(kernel.fn).parameters)
    signature = {}
    for name in names:
        if name in constants:
            signature[name] = "constexpr"
        elif name.startswith("p_"):
            signature[name] = "*fp32" if name in FLOATS else "*i32"
        else:
            signature[name] = "fp32" if name == "k_over_n" else "i32"
    aligned = {(place,): [["tt.divisibility", 16]] for place, name in enumerate(names) if name.startswith("p_")}
    return ASTSource(kernel, signature, {(names.index(k),): v for k, v in constants.items()}, aligned)


def disassembled(cubin, tool, *options):
    """What NVIDIA's tools, which Triton carries, say of a compiled kernel."""
    program = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / tool
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return subprocess.run([program, *options, file.name], capture_output=True, text=True, check=True).stdout


def report(name, capability, width, precision):
    kernel = getattr(triton_kernels, name if name.endswith("negative") else "hierarchical")
    constants = {**KERNELS[name], "D": width, "STRIDE": width, "BD": 64, "PRECISION": precision}
    compiled = triton.compile(
        source_of(kernel, constants), target=GPUTarget("cuda", capability, 32), options={"num_warps": WARPS}
    )
    cubin = compiled.asm["cubin"]
    sass = disassembled(cubin, "nvdisasm")
    counts = {
        "spills": r"\b(?:STL|LDL)\b",
        "tensor_cores": r"\b\w*MMA\.\S*TF32",
        "updates": r"\bRED\w*\.",
        "wide_updates": r"\bRED\w*\.\S*F32x4",
        "returning_atomics": r"\bATOM\w*\.",
        "wide_copies": r"\b(?:LDGSTS|LDG)\S*\.128",
    }
    return {
        "kernel": name, "width": width, "precision": precision, "shared_memory": compiled.metadata.shared,
        "registers": int(re.search(r"REG:(\d+)", disassembled(cubin, "cuobjdump", "--dump-resource-usage"))[1]),
        **{what: len(re.findall(pattern, sass)) for what, pattern in counts.items()},
    }  # fmt: skip


if __name__ == "__main__":
    sizes = [(100, "tf32"), (128, "tf32"), (300, "tf32"), (128, "ieee")]
    print(json.dumps([report(name, int(sys.argv[1]), *size) for name in KERNELS for size in sizes]))
