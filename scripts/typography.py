"""Sphinx extension: a number and its percent sign stay on one line."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes  # type: ignore[import-untyped]
from sphinx.application import Sphinx

__all__ = ["bind_percent", "setup"]


def bind_percent(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put a space that does not break between a number and the percent sign after it, but in code."""
    for text in list(doctree.findall(nodes.Text)):
        bound = re.sub(r"(?<=\d) (?=%)", "\N{NO-BREAK SPACE}", text)
        if bound != text and not isinstance(text.parent, nodes.literal | nodes.literal_block):
            text.parent.replace(text, nodes.Text(bound))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("doctree-resolved", bind_percent)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
