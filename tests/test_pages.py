"""Every python block of these pages runs, a page's blocks one after another in one program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = ["items.md", "pytorch.md"]


def blocks(page):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.S | re.M)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_of_the_page_run(page, tmp_path):
    assert blocks(page)
    (tmp_path / "page.py").write_text("\n".join(blocks(page)))
    environment = {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env=os.environ | environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
