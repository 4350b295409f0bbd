"""The kernels compile for GPUs that are not here, and to the instructions that make them fast."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="triton is not made for this platform"
)
ROOT = Path(__file__).parent.parent.parent
MAX_REGISTERS = 255  # what a thread can have; of such programs a multiprocessor holds eight warps
MAX_SPILLS = {80: 8, 90: 0}  # instructions that move registers to memory and back, in kernels of thousands
# On sm_90 programs have fewer warps: an H200 was faster so (docs/benchmarks.md, "On a GPU"), and some spill with
# triton 3.9: in 300 dimensions, in 128, and in 128 with walked bags, which were not timed. The other kernels do not.
FEW_WARPS_SPILLS = {"skip_gram_negative": 16, "skip_gram_hierarchical": 12, "cbow_hierarchical": 10}
OWN_SCRATCH = 2  # wide reads of what the program itself wrote: pulls of Huffman nodes
MAX_SHARED_MEMORY = 99 * 1024  # of a program on compute capability 8.6 and 8.9, the least of those served


@pytest.fixture(scope="module", params=[80, 90], ids=["sm_80", "sm_90"])
def compiled(request):
    """(compute capability, reports of the kernels that train, of all), from a process without the interpreter."""
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"} | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "compile_kernels.py"), str(request.param)],
        capture_output=True, text=True, env=environment, timeout=600,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    reports = json.loads(ran.stdout.splitlines()[-1])
    training = [report for report in reports if report["width"]]
    assert (len(training), len(reports)) == (32, 39)
    return request.param, training, reports


def test_kernels_fit_into_registers(compiled):
    capability, _, reports = compiled
    for report in reports:
        assert report["registers"] <= MAX_REGISTERS
        assert report["shared_memory"] <= MAX_SHARED_MEMORY
        if report["precision"] != "ieee":
            few_warps = FEW_WARPS_SPILLS if capability >= 90 else {}
            assert report["spills"] <= few_warps.get(report["kernel"], MAX_SPILLS[capability]), report


def test_products_run_on_tensor_cores_unless_float32_is_asked_for(compiled):
    _, training, _ = compiled
    for report in training:
        # The window mask of hierarchical softmax is zeros and ones: exact in TF32, whatever the products' precision.
        exact = report["precision"] == "ieee" and report["kernel"] != "skip_gram_hierarchical"
        assert (report["tensor_cores"] == 0) == exact, report
        assert report["rounded_factors"] == 0, report  # the last 13 bits are ignored: compat/precision.py does the same


def test_rows_are_read_16_bytes_at_a_time_and_added_without_waiting_for_a_result(compiled):
    capability, training, _ = compiled
    for report in training:
        assert report["returning_atomics"] == 0 and report["updates"] > 0, report
        assert report["wide_copies"] > 0, report
        own = OWN_SCRATCH if "hierarchical" in report["kernel"] else 0
        assert report["cached_rows"] <= own, report  # a program would not see what others add to frequent rows
        if capability >= 90:  # the first with vector additions to global memory
            # AdaGrad adds single numbers, too.
            assert report["adagrad"] or report["wide_updates"] == report["updates"], report
            assert report["wide_updates"] > 0


def test_counting_waits_for_no_result(compiled):
    _, training, reports = compiled
    for report in reports[len(training) :]:
        assert report["returning_atomics"] == 0, report
        assert (report["updates"] > 0) == (report["kernel"] != "compact"), report
