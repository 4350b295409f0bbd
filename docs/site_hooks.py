"""Formulas of the site as MathML, made while it is built: browsers show it without a script or another host."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.S)
THIN = '<mspace width="0.17em"/>'
DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.S)


def on_page_content(content: str, **_: Any) -> str:
    """Replace what arithmatex has marked as formulas; called by mkdocs for each page."""
    content = INLINE.sub(lambda found: mathml(found[1], "inline"), content)
    return DISPLAY.sub(lambda found: f'<div class="formula">{mathml(found[1], "block")}</div>', content)


def mathml(escaped: str, display: str) -> str:
    r"""A formula in MathML.

    Raises
    ------
    ValueError
        A command that latex2mathml does not know, which it would print as text.
    """
    made = convert(html.unescape(escaped).strip().replace(r"\thinspace", r"\,"), display=display)
    made = re.sub(r"(?<!<msub>)(<mi>(?:log|exp|min)</mi>)(?=<m[in]>)", rf"\1{THIN}", made)  # log p, not logp
    made = re.sub(r"(</msub>|\)</mo>)(<mi>log</mi>)", rf"\1{THIN}\2", made)
    unknown = re.search(r"\\[A-Za-z]+", html.unescape(made))
    if unknown:
        raise ValueError(f"{unknown[0]} is not rendered in the formula {escaped.strip()!r}")
    return made
