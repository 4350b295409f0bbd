"""The gallery's pages: a script of docs/gallery, run cell by cell, becomes a page with its real output and figures.

    python -m compat.gallery graph
    python -m compat.gallery ptb -- --corpus ptb.train.txt

Scripts are cut at `# %%` lines, as editors and Jupyter cut them: `# %% [markdown]` begins text in comments. What a
cell prints stands below it, and so does each PNG that it wrote into its folder. What follows `--` goes to the script.
"""

from __future__ import annotations

import argparse
import datetime
import io
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import NamedTuple

from compat.bench import environment

GALLERY = Path(__file__).parent.parent / "docs" / "gallery"
CELL = re.compile(r"^# %%(.*)\n", re.M)


class Cell(NamedTuple):
    """A piece of a script, and the line on which it begins (counted from 0)."""

    text: str
    line: int
    is_markdown: bool

    def markdown(self) -> str:
        """The text of a markdown cell, or the code of another as a block."""
        if not self.is_markdown:
            return f"```python\n{self.text.strip()}\n```"
        return re.sub(r"^# ?", "", self.text.strip(), flags=re.M)


def cells(source: str) -> list[Cell]:
    """The cells of a script; what stands before the first `# %%` line is a cell of code."""
    starts = [(0, 0, ""), *((found.start(), found.end(), found[1].strip()) for found in CELL.finditer(source))]
    ends = [start for start, _, _ in starts[1:]] + [len(source)]
    made = [
        Cell(source[begin:end], source.count("\n", 0, begin), kind == "[markdown]")
        for (_, begin, kind), end in zip(starts, ends, strict=True)
    ]
    return [cell for cell in made if cell.text.strip()]


@contextmanager
def running(script: Path, arguments: Sequence[str]) -> Iterator[Path]:
    """An empty working folder and the script's sys.argv, for as long as its cells run."""
    folder, argv = os.getcwd(), sys.argv
    with tempfile.TemporaryDirectory() as empty:
        os.chdir(empty)
        sys.argv = [str(script), *arguments]
        try:
            yield Path(empty)
        finally:
            os.chdir(folder)
            sys.argv = argv


def render(script: Path, arguments: Sequence[str], folder: Path) -> Path:
    """Run a script and write its page and figures.

    Parameters
    ----------
    script : Path
    arguments : sequence of str
        Its command line.
    folder : Path
        Gets NAME.md and images/NAME-FIGURE.png.

    Returns
    -------
    Path
        Of the page.
    """
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    namespace: dict[str, object] = {"__name__": "__main__", "__file__": str(script)}
    parts = []
    with running(script, arguments) as place:
        for cell in cells(script.read_text(encoding="utf-8")):
            parts.append(cell.markdown())
            if cell.is_markdown:
                continue
            printed, before = io.StringIO(), set(place.glob("*.png"))
            with redirect_stdout(printed):
                exec(compile("\n" * cell.line + cell.text, script, "exec"), namespace)
            if printed.getvalue().strip():
                parts.append(f"```text\n{printed.getvalue().rstrip()}\n```")
            for figure in sorted(set(place.glob("*.png")) - before, key=lambda path: path.stat().st_mtime_ns):
                name = f"{script.stem}-{figure.name}"
                shutil.copy(figure, images / name)
                parts.append(f"![{figure.stem.replace('-', ' ')}](images/{name})")
    page = folder / f"{script.stem}.md"
    page.write_text("\n\n".join([*parts, origin(script, arguments)]) + "\n", encoding="utf-8")
    return page


def origin(script: Path, arguments: Sequence[str]) -> str:
    """What made the page: command, day, hardware, versions, commit."""
    shown = [Path(argument).name if Path(argument).exists() else argument for argument in arguments]
    command = " ".join(["python -m compat.gallery", script.stem, *(["--", *shown] if shown else [])])
    facts = environment()
    cpu = facts.pop("cpu")
    versions = ", ".join(f"{name} {value}" for name, value in facts.items())
    return f"---\n\nRun on {datetime.date.today()} by `{command}`: {cpu}; {versions}."


def main() -> None:
    """Render pages into docs/gallery."""
    parser = argparse.ArgumentParser(prog="python -m compat.gallery", description=__doc__.splitlines()[0])
    names = sorted(path.stem for path in GALLERY.glob("*.py"))
    parser.add_argument("name", choices=names, help="which script")
    parser.add_argument("--folder", type=Path, default=GALLERY, help="where the page goes (default: docs/gallery)")
    parser.epilog = "What follows -- goes to the script."
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args = parser.parse_args(sys.argv[1:cut])
    arguments = [str(Path(word).resolve()) if Path(word).exists() else word for word in sys.argv[cut + 1 :]]
    print(render(GALLERY / f"{args.name}.py", arguments, args.folder.resolve()))


if __name__ == "__main__":
    main()
