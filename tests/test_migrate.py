"""docs/migrate.md does what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "migrate.md").read_text()
PROGRAM = re.search(r"<!-- program\.py -->\n```python\n(.*?)```", TEXT, re.S)[1]
BLOCKS = {
    heading: code
    for section in TEXT.split("\n## ")[1:]
    for heading, code in [
        (section.split("\n")[0], block) for block in re.findall(r"```python\n(.*?)```", section, re.S)
    ]
    if code != PROGRAM
}
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines()]


def run(*args, folder):
    done = subprocess.run(
        [sys.executable, *args], cwd=folder, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_section_has_its_code():
    assert len(BLOCKS) == 5 and len(COMMANDS) == 2


@pytest.mark.parametrize("heading", BLOCKS)
def test_block_runs(heading, tmp_path):
    (tmp_path / "block.py").write_text(BLOCKS[heading])
    run("block.py", folder=tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_runs_the_program_with_our_class(command, tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    words = command.split()
    assert words[0] == "python"
    expected = f"TorchWord2Vec {words[words.index('program.py') + 1 :] if 'program.py' in words else []}"
    assert run(*words[1:], folder=tmp_path).strip() == expected
