"""The report on one's own vectors: its page and its figures."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sdclib.data.embeddings import nearest_neighbours
from sdclib.methods import ITQHasher
from sdclib.search.index import HammingIndex
from sdclib.search.recall import neighbour_recall
from sdclib.search.report import collapse_table, measure_embeddings, recommend, shortest_codes
from tests.command import rows, run


class Page(HTMLParser):
    """Tags, what they point at, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data")]
        if tag == "img":
            assert len(dict(attrs).get("alt") or "") > 20

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("labelled", [False, True])
def test_report_page(tmp_path: Path, labelled: bool) -> None:
    labels = np.arange(400) % 4
    np.savez(tmp_path / "a & b.npz", embeddings=rows(400), **({"labels": labels} if labelled else {}))
    out = tmp_path / "report.html"
    words = "report V --out R --n-bits 8 16 32 --methods sdc itq sign int8 pq --epochs 1 --quiet"
    files = {"V": tmp_path / "a & b.npz", "R": out}
    assert run(*(files.get(word, word) for word in words.split())) == 0
    text = out.read_text()
    page = Page(text)
    assert page.tags.count("img") == 2
    assert page.tags.count("table") == 4 + labelled
    assert ("Expected mAP@320" in page.text) == labelled
    assert page.text.count("sdc fit") + page.text.count("faiss.index_factory") == 1 + labelled
    assert all(link.startswith("data:image/svg+xml;base64,") for link in page.links)
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in text
    assert "@import" not in text
    for words in ("Short codes for a & b.npz", "400 vectors of 24 values", "80 are queries and 320 the database",
                  "Recall@10", "SDC, 100 re-scored", "SDC, float query, 100 re-scored",
                  "32 bits", "epochs 1", "MB a million vectors"):  # fmt: skip
        assert words in page.text, words


def test_report_figures_are_right() -> None:
    vectors = rows(400)
    report = measure_embeddings(vectors, n_bits=[8, 24, 32], methods=["itq", "rotation"], depth=320, seed=2)
    sizes = {"n_vectors": 400, "n_features": 24, "n_query": 80, "n_database": 320, "n_train": 320}
    assert report.sizes == sizes
    recall = report.recall.set_index(["query", "label", "n_bits", "depth"])["recall"]
    # All of the database re-scored is the exact search; no closed form is longer than there are dimensions.
    assert (recall.xs(320, level="depth") == 1).all()
    assert recall["codes"].xs(0, level="depth").between(0.05, 0.95).all()
    assert sorted(report.recall["n_bits"].unique()) == [8, 24]
    order = np.random.default_rng(2).permutation(400)
    query, database = vectors[order[:80]], vectors[order[80:]]
    hasher = ITQHasher(24, random_state=2).fit(database)
    _, found = HammingIndex(hasher.transform(database)).search(hasher.transform(query), 10)
    near = nearest_neighbours(query, database, 10)
    assert recall["codes", "ITQ", 24, 0] == pytest.approx(neighbour_recall(found, near, query, database))
    table = collapse_table(report)
    units = [(x / np.linalg.norm(x, axis=1, keepdims=True)) for x in (query, database)]
    assert table.loc["Float cosine", "mean"] == pytest.approx((units[0] @ units[1].T).mean(), abs=0.005)
    assert list(table.index) == ["Float cosine", "ITQ", "Random rotation"]
    assert table.loc["ITQ", "neighbour_mean"] > table.loc["ITQ", "mean"] + 0.2
    assert report.costs["n_bytes"].tolist() == [96, 1, 3, 1, 3]


def test_the_shortest_that_is_good_enough_is_recommended() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 400)
    options = {"n_bits": [8, 16, 24], "methods": ["itq", "lsh"], "depth": 320, "k": 5}
    report = measure_embeddings(rows(400), labels, **options)
    shortest = shortest_codes(report, 0.99).loc["ITQ"]
    assert (shortest[320], pd.isna(shortest[0])) == (8, True)
    table = recommend(report)
    assert table[["goal", "n_bytes", "value"]].to_numpy().tolist()[1] == ["neighbours", 1, 1.0]
    report = measure_embeddings(rows(400), **{**options, "depth": 5})
    table = recommend(report, target=1.0)  # which none reaches
    best = report.recall[report.recall["depth"] == 5].sort_values("recall").iloc[-1]
    (chosen,) = table[["goal", "value", "n_bits"]].to_numpy().tolist()
    assert chosen == ["neighbours", best["recall"], best["n_bits"]]


def test_lengths_that_a_method_does_not_have_are_left_out() -> None:
    report = measure_embeddings(rows(), n_bits=[16, 24, 30, 40], methods=["itq", "lsh"])
    lengths = report.recall.groupby("label")["n_bits"].unique().map(list).to_dict()
    assert lengths == {"ITQ": [16, 24], "LSH": [16, 24, 30, 40]}
    assert measure_embeddings(rows(), n_bits=[16, 30, 40], methods=["itq"]).shown_bits == 16


def test_report_refuses() -> None:
    for more, message in (
        ({"n_bits": []}, "n_bits, methods: expected at least one of each"),
        ({"n_bits": [8, 25], "shown_bits": 25}, r"shown_bits: expected one of the lengths \[8\], got 25"),
        ({"n_bits": [25, 30]}, "n_bits: expected at most .* = 24, .*got 25, 30"),
        ({"methods": ["cibhash"]}, "methods: expected one of"),
        ({"depth": 3}, "depth: expected a whole number >= 10, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            measure_embeddings(rows(), **{"n_bits": [8], "methods": ["itq"], **more})
    sample = rows(500)
    sample[:] = np.nan
    with pytest.raises(ValueError, match=r"vectors \(a sample of 200 rows\): expected finite"):
        measure_embeddings(sample, max_vectors=200)
