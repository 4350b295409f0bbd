"""Imports run downward only, and importing the package stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import torchw2v

ROOT = Path(torchw2v.__file__).parent
# The floors of the house; a module may import from its own floor or below.
FLOORS = [
    {"errors", "constants", "_version", "atomic", "callbacks", "compiling", "freed_memory", "standin"},
    {"keys", "model_vectors", "settings", "plot.canvas", "plot.labels", "sentence_models", "token_batches"},
    {"projector", "plot.benchmark", "plot.course", "plot.frequency", "plot.maps"},
    {"ops.draws", "ops.contract", "ops.losses", "ops.numba_rows"},
    {"corpus", "embedding", "tables", "vocabulary", "word_table"},
    {"text", "token_file", "word_kernels", "token_kernels"},
    {"source", "token_lists"},
    {"scan", "corpus_checks"},
    {"corpus_cache", "encoding", "ops.sampling", "ops.reference", "ops.row_sums", "ops.trees"},
    {"ops.numba_groups", "ops.numba_draws", "ops.triton_rows", "ops.triton_sampling"},
    {"ops.frames", "schedule", "ops.numba_kernels", "ops.sequential", "ops.device_tokens", "ops.triton_bags"},
    {"ops.torch_nodes", "ops.triton_kernels", "ops.triton_chunks"},
    {"ops.torch_adagrad", "ops.softmax_bags"},
    {"ops.softmax_adagrad"},
    {"ops.torch_engine", "ops.numba_engine", "ops.softmax_engine"},
    {"ops.triton_engine"},
    {"ops.select", "trainer"},
    {"device_memory"},
    {
        "gensim_state",
        "progress",
        "plotting",
        "queries",
        "vectors_file",
        "vocabulary_file",
        "output_vectors",
    },
    {"portable"},
    {"checkpoint", "safetensors_files"},
    {"epochs", "objectives", "optimizers", "pretrained", "saving"},
    {"job_hooks", "resuming", "exchange"},
    {"word2vec", "evaluation"},
    {"patch"},
    {"__init__", "plot.__init__", "startup.sitecustomize"},
    {"commands.console"},
    {"commands.vectors", "commands.demo"},
    {"commands.similar", "commands.analogy", "commands.evaluate", "commands.encode"},
    {"commands.train", "commands.run"},
    {"cli"},
    {"__main__"},
]
FLOOR = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}


def modules():
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if name not in ("ops.__init__", "commands.__init__"):
            yield name, path


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "torchw2v":
            names = {f"{node.module}.{alias.name}".removeprefix("torchw2v.") for alias in node.names}
            yield from names & set(FLOOR)  # from a package, a module of it
            if names - set(FLOOR):
                package = node.module in ("torchw2v", "torchw2v.plot")
                yield (node.module + ".__init__" if package else node.module).removeprefix("torchw2v.")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("torchw2v"):
                    yield (alias.name.removeprefix("torchw2v").lstrip(".")) or "__init__"


def test_every_module_has_a_floor():
    assert {name for name, _ in modules()} == set(FLOOR)


def test_imports_only_run_downward():
    edges = [(name, other) for name, path in modules() for other in imported(path)]
    assert len(edges) > 30
    for name, other in edges:
        assert FLOOR[other] <= FLOOR[name], f"torchw2v/{name} may not import {other}: move the code down or pass it in"


def test_no_import_runs_in_a_circle():
    edges = {name: set(imported(path)) - {"__init__"} for name, path in modules()}

    def reach(name, seen):
        for other in edges[name]:
            assert other not in seen, f"circle through {other}"
            reach(other, seen | {other})

    for name in edges:
        reach(name, {name})


def test_engines_know_no_words_files_or_logs():
    for name, path in modules():
        if name.startswith("ops."):
            roots = {
                (node.module or "").split(".")[0]
                if isinstance(node, ast.ImportFrom)
                else node.names[0].name.split(".")[0]
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Import | ast.ImportFrom)
            }
            assert not roots & {"gensim", "logging", "smart_open", "os", "pathlib"}, name


def test_importing_the_package_touches_neither_triton_nor_cuda():
    code = (
        "import sys, torch, torchw2v; "
        "assert not torch.cuda.is_initialized(); "
        "assert 'tqdm' not in sys.modules or 'gensim' in sys.modules; "
        "assert not {'safetensors', 'tensorboard', 'matplotlib'} & set(sys.modules); "
        "import torchw2v.cli; assert 'gensim.test.utils' not in sys.modules; "  # reads a corpus when it is imported
        "assert not any(name == 'triton' or name.startswith('triton.') for name in sys.modules if 'torchw2v' in name)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
