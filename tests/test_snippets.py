"""README and documentation do what they say: their Python runs, their commands are understood, small ones run, too.

A page is one program: its blocks run one after another in an empty folder. Visible in the page's source are

    <!-- invisible-code-block: python ... -->   what a page takes as given, a text file say
    <!-- skip: next "why" -->                   the next block cannot run here; if(condition, reason="why") sometimes
    <!-- program.py -->                         the next block is this file, not run by itself

Of commands, those of torchw2v run; the benchmarks of compat, which take minutes, must accept their arguments.
"""

import argparse
import importlib
import re
import shlex
import subprocess
import sys
import warnings
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from unittest import SkipTest

import pytest
from sybil import Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

from torchw2v import cli, unpatch_gensim

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CODE = [page for page in PAGES if re.search(r"^```(python|sh)$", page.read_text(encoding="utf-8"), re.M)]
FILE = re.compile(r"<!-- (\w+\.py) -->\n\Z")
RUN_ELSEWHERE = {"demo"}  # tests/test_cli.py
PRINTED = {"migrate.md": ["TorchWord2Vec ['--its-own', 'argument']", "TorchWord2Vec []"]}


class Python(PythonEvaluator):
    """Runs a block, or writes it to the file that stands before it."""

    def __call__(self, example):
        name = FILE.search(example.document.text[: example.start])
        if name:
            Path(name[1]).write_text(example.parsed)
        else:
            super().__call__(example)


class Shell:
    """Runs the commands of a block, or checks that they are understood."""

    def __init__(self, monkeypatch):
        self.monkeypatch, self.printed = monkeypatch, []

    def __call__(self, example):
        for line in example.parsed.replace("\\\n", " ").splitlines():
            for command in line.split(" && "):
                words = shlex.split(command, comments=True)
                if words:
                    self.check(words)

    def check(self, words):
        match words:
            case ["torchw2v", *rest] | ["python", "-m", "torchw2v", *rest]:
                self.torchw2v(rest)
            case ["python", "-m", "pytest", *rest]:
                assert all((ROOT / word).exists() for word in rest if word.endswith(".py")), words
            case ["python", "-m", module, *rest] if module.startswith("compat."):
                self.understood(module, rest)
            case ["pip", "install", *rest]:
                installable(rest)
            case _:
                assert words[0] in ("head", "mkdocs"), f"{words[0]} is not checked by {__file__}"

    def torchw2v(self, arguments):
        parsed, strange = cli._parser().parse_known_args(arguments)
        assert not strange, arguments
        if parsed.command == "run":  # it changes the process that it runs in
            program = [sys.executable, "-m", "torchw2v", *arguments]
            done = subprocess.run(program, capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done.stderr
            self.printed.append(done.stdout.strip())
        elif parsed.command not in RUN_ELSEWHERE:
            assert cli.main(arguments) == 0, arguments

    def understood(self, module, arguments):
        """The program gets as far as having understood its arguments, where the texts that they name are there."""
        parse = argparse.ArgumentParser.parse_args

        def stop(*given, **named):
            parse(*given, **named)
            raise Understood

        for option, word in pairwise(arguments):
            if option == "--corpus":  # some look for it at once
                Path(word).touch()
        self.monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
        self.monkeypatch.setattr(sys, "argv", [module, *arguments])
        with pytest.raises(Understood):
            importlib.import_module(module).main()
        self.monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)


class Understood(Exception):
    pass


def installable(words):
    """The extras that a pip command names are there, and so is its file of constraints."""
    project = (ROOT / "pyproject.toml").read_text()
    for extras in re.findall(r"\[(.*?)\]", " ".join(words)):
        for extra in extras.split(","):
            assert re.search(rf"^{extra} = \[", project, re.M), extra
    assert all((ROOT / word).exists() for option, word in pairwise(words) if option == "-c")


@pytest.mark.parametrize("page", CODE, ids=lambda page: page.name)
def test_code_of_the_page_runs(page, tmp_path, monkeypatch):
    shell = Shell(monkeypatch)
    parsers = [PythonCodeBlockParser(), CodeBlockParser("sh", shell), SkipParser()]
    document = Sybil(parsers).parse(page)
    document.namespace["installed"] = lambda *names: all(map(find_spec, names))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ran = 0
    try:
        for example in document.examples():
            if isinstance(example.region.evaluator, PythonEvaluator):
                example.region.evaluator = Python()
            try:
                example.evaluate()
            except SkipTest as reason:
                warnings.warn(f"{page.name}, line {example.line}, not run: {reason}", stacklevel=1)
            else:
                ran += not isinstance(example.region.evaluator, type(parsers[2].skipper))
    finally:
        unpatch_gensim()
    assert ran
    for line in PRINTED.get(page.name, []):
        assert line in shell.printed


def test_front_page_has_the_commands_of_the_readme():
    blocks = [
        re.findall(r"<!-- (demo|test) -->\n```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
        for page in (ROOT / "README.md", ROOT / "docs" / "index.md")
    ]
    assert len(blocks[0]) == 2 and blocks[0] == blocks[1]


def test_programs_and_tests_that_the_pages_name_exist():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for module in re.findall(r"python -m (compat(?:\.\w+)?)", text):
            assert find_spec(module), (page.name, module)
        for path in re.findall(r"`((?:tests|compat|torchw2v|docs)/[\w/.-]+\.\w+)`", text):
            assert (ROOT / path).exists(), (page.name, path)
