"""The gallery's scripts run on a small setting, and its pages are theirs."""

import re
from pathlib import Path

import pytest
from matplotlib import pyplot

from compat.gallery import GALLERY, cells, render

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(path.stem for path in GALLERY.glob("*.py"))
LARGEST = 100_000  # bytes of a figure
FIGURE = re.compile(r"!\[[^\]]*\]\((images/[\w-]+\.png)\)")


def test_every_script_has_its_page_in_the_menu_and_on_the_front_page():
    menu, front = (path.read_text(encoding="utf-8") for path in (ROOT / ".mkdocs.yml", GALLERY / "index.md"))
    assert (
        SCRIPTS
        == sorted(re.findall(r"gallery/(?!index)(\w+)\.md", menu))
        == sorted(set(re.findall(r"\((\w+)\.md\)", front)))
    )


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs_on_its_small_setting_and_becomes_a_page(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for programs that a script starts
    page = render(GALLERY / f"{name}.py", ["--small"], tmp_path).read_text(encoding="utf-8")
    pyplot.close("all")
    assert f"`python -m compat.gallery {name} -- --small`" in page
    assert "```text\n" in page
    figures = FIGURE.findall(page)
    assert figures
    for figure in figures:
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", SCRIPTS)
def test_page_shows_the_script_as_it_is(name):
    script, page = ((GALLERY / f"{name}{ending}").read_text(encoding="utf-8") for ending in (".py", ".md"))
    rest = page
    for cell in cells(script):
        assert cell.markdown() in rest, f"docs/gallery/{name}.md is stale: python -m compat.gallery {name}"
        rest = rest.partition(cell.markdown())[2]
    assert re.search(rf"^Run on [\d-]+ by `python -m compat.gallery {name}\b.*torch [\d.]+", rest, re.M)
    assert "--small" not in rest.rpartition("---")[2]


def test_figures_are_small_and_all_shown():
    shown = {figure for name in SCRIPTS for figure in FIGURE.findall((GALLERY / f"{name}.md").read_text("utf-8"))}
    assert shown == {f"images/{path.name}" for path in (GALLERY / "images").iterdir()}
    for figure in shown:
        assert (GALLERY / figure).stat().st_size < LARGEST


def test_cells_are_cut_as_editors_cut_them():
    made = cells("import this\n# %% [markdown]\n# # Title\n#\n# text\n\n# %%\nprint(1)\n")
    assert [(cell.line, cell.is_markdown) for cell in made] == [(0, False), (2, True), (7, False)]
    assert [cell.markdown() for cell in made] == [
        "```python\nimport this\n```",
        "# Title\n\ntext",
        "```python\nprint(1)\n```",
    ]
