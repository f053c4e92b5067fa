"""The published tables, and checks that sentences of the book are true of them."""

from __future__ import annotations

import functools
import re
from typing import Any

import pandas as pd

from sdclib.data.image_sets.committed import MANIFEST
from sdclib.files import read_json
from study.provenance import PROJECT_ROOT, RESULTS
from study.tables import published


def says(sentence: str, truth: object) -> None:
    """Fail by naming a sentence that is no longer true, or that no page has; " ... " stands for words left out."""
    pattern = re.compile(".*?".join(map(re.escape, sentence.split(" ... "))))
    assert any(map(pattern.search, _pages().values())), f"on no page: {sentence}"
    assert truth, f"no longer true: {sentence}"


def states(chapter: str, sentence: str) -> None:
    """Fail by naming a sentence, written with the numbers of the tables, where the chapter does not have it."""
    assert sentence in _pages()[chapter], f"the tables say, and {chapter} does not: {sentence}"


def count_signs(rows: pd.DataFrame) -> tuple[int, int, int]:
    """Count the differences whose interval is above 0, below 0, and contains 0."""
    above, below = int((rows["low"] > 0).sum()), int((rows["high"] < 0).sum())
    return above, below, len(rows) - above - below


@functools.cache
def _pages() -> dict[str, str]:
    """Give the prose of all pages by name, with single spaces."""
    book = PROJECT_ROOT / "book"
    texts = {path.stem: path.read_text() for path in (*book.glob("*.md"), book / "deviations.csv")}
    for path in (PROJECT_ROOT / "notebooks").glob("*.ipynb"):
        cells = (cell for cell in read_json(path)["cells"] if cell["cell_type"] == "markdown")
        texts[path.stem] = " ".join("".join(cell["source"]) for cell in cells)
    return {name: " ".join(text.split()) for name, text in texts.items()}


def runs(*names: str) -> pd.DataFrame:
    """Read tables of runs as one, a column a setting."""
    return _read(names).copy()


_read = functools.cache(lambda names: published(*names))


def csv(name: str) -> pd.DataFrame:
    """Read any other table."""
    return pd.read_csv(RESULTS / f"{name}.csv")


def bench(name: str) -> dict[str, Any]:
    """Read what a benchmark measured."""
    return read_json(RESULTS / f"bench_{name}.json")


def training_share(data: str) -> tuple[int, int]:
    """Count the training rows and the database rows of a set with a committed split, the first among the second."""
    counts = read_json(MANIFEST)[data.partition("/")[0]]["counts"]
    return counts["train"], counts["database"]
