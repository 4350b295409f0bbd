"""`python -m torchw2v run`: a program as `python program.py` runs it, our class under it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import torchw2v
from torchw2v import cli

ROOT = Path(torchw2v.__file__).parent.parent


def python(*args, folder, flags=(), **kwargs):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *flags, *args],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        timeout=120,
        **kwargs,
    )


@pytest.fixture
def folder(tmp_path):
    for name, source in PROGRAMS.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)
    return tmp_path


PROGRAMS = {
    "facts.py": """
import atexit, pickle, sys
class Thing: pass
assert type(pickle.loads(pickle.dumps(Thing()))) is Thing
import neighbour
def last(): print("exit", __name__, sys.modules["__main__"].__dict__ is globals())
if __name__ == "__main__":
    print(sys.argv, __file__, __package__, __spec__ and __spec__.name, sys.path[0])
    if not __spec__: atexit.register(last)
""",
    "neighbour.py": "",
    "package/__init__.py": "",
    "package/__main__.py": "import sys\nfrom package import inner\nprint(sys.argv, __name__, __package__)",
    "package/inner.py": "import sys\nif __name__ == '__main__':\n    print(sys.argv, __spec__.name)",
    "zipped/__main__.py": "import sys\nprint(sys.argv, __name__)",
    "fails.py": "def inner():\n    raise ValueError('too bad')\ninner()\n",
    "chained.py": "try:\n    {}['x']\nexcept KeyError as e:\n    raise RuntimeError('two') from e\n",
    "needs.py": "import no_such_module\n",
    "syntax.py": "x = 1\ny = (\n",
    "hook.py": """
import sys
sys.excepthook = lambda kind, error, trace: print('hooked', kind.__name__, trace.tb_frame.f_code.co_filename)
1 / 0
""",
    "exits.py": "import sys\nsys.exit({'int': 7, 'text': 'the reason', 'none': None}[sys.argv[1]])\n",
    "reads.py": "import sys\nprint(sys.stdin.read().upper())\n",
    "waits.py": "import time\nprint('ready', flush=True)\ntime.sleep(60)\n",
    "parent.py": """
import multiprocessing, os, subprocess, sys

def train(_):
    from gensim.models import Word2Vec
    return Word2Vec.__name__, Word2Vec([["a", "b"]] * 20, min_count=1, vector_size=4, workers=1).wv["a"].shape

if __name__ == "__main__":
    if sys.argv[1] == "program":
        subprocess.run([sys.executable, "trains.py"], check=True)
    else:
        with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
            print(pool.map(train, [None]))
""",
    "needs_torchw2v_first.py": "import torchw2v\nfrom gensim.models import Word2Vec\nprint(Word2Vec.__name__)\n",
    "first.py": "import subprocess, sys\nsubprocess.run([sys.executable, 'needs_torchw2v_first.py'], check=True)\n",
    "site/sitecustomize.py": "print('hidden')\n",
    "no_gensim.py": "import subprocess, sys\nsubprocess.run([sys.executable, '-c', CODE])\n".replace(
        "CODE", repr("import sys; print('torch' in sys.modules)")
    ),
    "trains.py": """
from gensim.models import Word2Vec
from gensim.test.utils import common_texts
model = Word2Vec(common_texts, vector_size=8, min_count=1, workers=1)
print(type(model).__name__, len(model.training_history))
""",
}  # fmt: skip


@pytest.mark.parametrize(
    "program",
    [
        ["facts.py", "--flag", "-h", "-m", "--", "é"], ["./facts.py"], ["-m", "facts", "-x", "--version"],
        ["-m", "package", "a"], ["-m", "package.inner", "--", "b"], ["zipped", "c"], ["fails.py"], ["-m", "fails"],
        ["chained.py"], ["needs.py"], ["-m", "needs"], ["syntax.py"], ["hook.py"],
        ["exits.py", "int"], ["exits.py", "text"], ["exits.py", "none"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_program_runs_as_python_runs_it(program, folder):
    plain = python(*program, folder=folder)
    ours = python("-m", "torchw2v", "run", *program, folder=folder)
    assert plain.stdout or plain.stderr or program[0] == "exits.py"
    if program[0] == "-m":  # frozen runpy's own frames differ
        plain.stderr = "".join(part for part in plain.stderr.splitlines(True) if "runpy" not in part)
    assert (ours.returncode, ours.stdout, ours.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_standard_input_reaches_the_program(folder):
    assert python("-m", "torchw2v", "run", "reads.py", folder=folder, input="abc").stdout == "ABC\n"


@pytest.mark.parametrize("program", [["trains.py"], ["-m", "trains"]], ids=" ".join)
def test_unchanged_program_trains_with_our_class(program, folder):
    done = python("-m", "torchw2v", "run", *program, folder=folder)
    assert done.stdout == "TorchWord2Vec 5\n", done.stderr


@pytest.mark.parametrize("kind", ["fork", "spawn", "forkserver", "program"])
def test_processes_that_the_program_starts_train_with_our_class(kind, folder):
    done = python("-m", "torchw2v", "run", "parent.py", kind, folder=folder)
    expected = "TorchWord2Vec 5" if kind == "program" else str([("TorchWord2Vec", (4,))])
    assert done.stdout.strip() == expected, done.stderr


def test_process_that_imports_torchw2v_first_is_patched(folder):
    assert python("-m", "torchw2v", "run", "first.py", folder=folder).stdout == "TorchWord2Vec\n"


def test_process_without_gensim_loads_no_torch_and_runs_the_hidden_sitecustomize(folder, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(folder / "site")]))
    done = subprocess.run(
        [sys.executable, "-m", "torchw2v", "run", "no_gensim.py"],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=60,
    )
    assert done.stdout.split() == ["hidden", "hidden", "False"], done.stderr


@pytest.mark.parametrize(
    ("program", "code", "message"),
    [(["nothing.py"], 2, "can't open file"), (["-m", "nothing.at.all"], 1, "No module named"), ([], 2, "program.py"),
     (["-m"], 2, "program.py"), (["-x", "facts.py"], 2, "program.py")],
    ids=["no file", "no module", "nothing", "only -m", "unknown flag"],
)  # fmt: skip
def test_program_that_is_not_there_is_an_error_with_pythons_exit_code(program, code, message, folder):
    done = python("-m", "torchw2v", "run", *program, folder=folder)
    assert done.returncode == code and message in done.stderr and "Traceback" not in done.stderr
    if program and program[-1].startswith("nothing"):
        assert python(*program, folder=folder).returncode == code


def test_help_is_printed(capsys):
    assert cli.main(["run", "--help"]) == 0
    assert "program.py [argument ...]" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_ctrl_c_ends_the_program_as_it_ends_python(folder):
    def interrupted(*args):
        with subprocess.Popen(
            [sys.executable, *args], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            return process.wait(timeout=20), process.stderr.read()

    assert interrupted("-m", "torchw2v", "run", "waits.py") == interrupted("waits.py")


def test_isolated_mode_does_not_import_from_the_programs_folder(folder):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from torchw2v.cli import main; sys.exit(main(sys.argv[1:]))"
    done = python("-I", "-c", code, "run", "facts.py", folder=folder)
    assert "No module named 'neighbour'" in done.stderr
