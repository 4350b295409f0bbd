"""Every python block of these pages runs, a page's blocks one after another in one program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ["figures.md", "items.md", "pytorch.md"]
BLOCK = re.compile(r"^(?:<!-- needs ([\w, ]+) -->\n)?```python\n(.*?)^```", re.S | re.M)


def blocks(page):
    """(packages that our tests do without, code) of each block."""
    return BLOCK.findall((ROOT / "docs" / page).read_text())


def run(code, folder):
    (folder / "page.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=folder, capture_output=True, text=True, timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_the_page_run(page, tmp_path):
    code = [block for packages, block in blocks(page) if not packages]
    assert code
    run("\n".join(code), tmp_path)


@pytest.mark.parametrize("page", [page for page in PAGES if any(packages for packages, _ in blocks(page))])
def test_blocks_that_need_more_packages_run_where_these_are(page, tmp_path):
    for packages, _ in blocks(page):
        for package in filter(None, packages.split(", ")):
            pytest.importorskip(package)
    run("\n".join(block for _, block in blocks(page)), tmp_path)
