"""What the site's pages get while they are built: formulas as MathML, which browsers show without a script or another
host, and cells of tables that are too short to be broken.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)
THIN = '<mspace width="0.17em"/>'
# cbow-ns, 0.240 ± 0.004, `compute_loss`: one line, however narrow the screen
SHORT_CELL = re.compile(r"<td>([^<]{1,16}|<code>[^<]{1,22}</code>)</td>")
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.S)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Give the gallery's programs the width of the table of contents, so that their lines are shown whole on a desktop.

    Called by mkdocs for each page; the pages themselves are made by compat.gallery and seen on GitHub, too.
    """
    if page.file.src_uri.startswith("gallery/"):
        page.meta["hide"] = ["toc"]
    return markdown


def on_page_content(content: str, **_: Any) -> str:
    """Replace what arithmatex has marked as formulas, and mark short cells; called by mkdocs for each page."""
    content = SHORT_CELL.sub(r'<td class="short">\1</td>', content)
    content = INLINE.sub(lambda found: mathml(found[1], "inline"), content)
    return DISPLAY.sub(lambda found: f'<div class="formula">{mathml(found[1], "block")}</div>', content)


def mathml(escaped: str, display: str) -> str:
    r"""A formula in MathML.

    Raises
    ------
    ValueError
        A command that latex2mathml does not know, which it would print as text.
    """
    made = spaced(convert(html.unescape(escaped).strip().replace(r"\thinspace", r"\,"), display=display))
    unknown = re.search(r"\\[A-Za-z]+", html.unescape(made))
    if unknown:
        raise ValueError(f"{unknown[0]} is not rendered in the formula {escaped.strip()!r}")
    return made


def spaced(made: str) -> str:
    """MathML with what latex2mathml leaves to the browser, which cannot know it: what belongs to what."""
    made = re.sub(r"(?<!<msub>)(<mi>(?:log|exp|min)</mi>)(?=<m(?!o))", rf"\1{THIN}", made)  # log p, not logp
    made = re.sub(r"(<msub><mi>log</mi><m[in]>\w+</m[in]></msub>)(?=<m[in]>)", rf"\1{THIN}", made)
    made = re.sub(r"(</msub>|</m[in]>|\)</mo>|&#x00029;</mo>)(?=(?:<msub>)?<mi>log</mi>)", rf"\1{THIN}", made)
    made = made.replace("<mi>:</mi>", "<mo>:</mo>").replace("<mi>&#x02032;</mi>", "<mo>&#x02032;</mo>")
    made = re.sub(r"((?:&#x00028;|&#x0003D;)</mo>)<mo>&#x02212;</mo>", r'\1<mo form="prefix">&#x02212;</mo>', made)
    for bar in ("&#x0007C;", "&#x02016;"):  # the first opens, the second closes, and neither grows without the other
        parts = made.split(f"<mo>{bar}</mo>")
        marks = [f'<mo form="{form}" stretchy="false">{bar}</mo>' for form in ("prefix", "postfix")]
        made = parts[0] + "".join(marks[number % 2] + part for number, part in enumerate(parts[1:]))
    return made
