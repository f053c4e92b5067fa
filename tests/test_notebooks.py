"""The code of chapters is short and visible, and no sentence is built in it."""

import ast
import re
from functools import cache

import pytest

from sdclib.files import read_json
from study.provenance import PROJECT_ROOT

MOST_LINES, MOST_HIDDEN, MOST_WORDS = 120, 0.25, 8
FEW_LINES = 6  # that a page may hide, however short its code is
# Chapters that are not yet like that. This list only gets shorter.
LEFT: set[str] = set()
CHAPTERS = sorted(path.stem for path in (PROJECT_ROOT / "notebooks").glob("*.ipynb"))


@cache
def code_cells(chapter):
    found = read_json(PROJECT_ROOT / "notebooks" / f"{chapter}.ipynb")["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def cells(chapter):
    """Source and tags of the code cells."""
    return [("".join(cell["source"]), cell["metadata"].get("tags", ())) for cell in code_cells(chapter)]


def count(chapter):
    """Lines of code, without empty ones, and how many of them are hidden."""
    lines = [
        (bool(line.strip()), "hide-input" in tags)
        for source, tags in cells(chapter)
        for line in source.splitlines()
    ]
    return sum(code for code, _ in lines), sum(code and hidden for code, hidden in lines)


def sentences(chapter):
    """Texts with values put into them that have as many words as a sentence, and calls that show text made by code."""
    found = []
    for source, _ in cells(chapter):
        for node in ast.walk(ast.parse(re.sub("(?m)^%.*", "", source))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value for part in node.values if isinstance(part, ast.Constant)]
                if len(" ".join(parts).split()) >= MOST_WORDS:
                    found.append(" ".join(parts)[:60])
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "Markdown":
                found.append(ast.unparse(node)[:60])
    return found


def excess(chapter):
    total, hidden = count(chapter)
    wrong = {
        "lines": total if total > MOST_LINES else 0,
        "hidden": hidden if hidden > max(FEW_LINES, MOST_HIDDEN * total) else 0,
        "sentences": sentences(chapter),
    }
    return {name: value for name, value in wrong.items() if value}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_code_is_short_and_visible_and_builds_no_sentence(chapter):
    found = excess(chapter)
    if chapter in LEFT:
        assert found, f"{chapter} is as it should be: take it off the list"
    else:
        assert found == {}


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_no_warning_was_saved(chapter):
    outputs = [output for cell in code_cells(chapter) for output in cell["outputs"]]
    printed = "".join("".join(output.get("text", "")) for output in outputs)
    assert not re.findall(r".*Warning:.*", printed)
