"""One's own table beside the published one: what each word means."""

import json

import numpy as np
import pandas as pd
import pytest

from study.chapters import your_run
from study.tables import Config


def runs(maps, codes="ab", n_bits=16):
    """Runs of one method, a seed each."""
    return pd.DataFrame(
        {
            "id": [f"{n_bits}-{seed}" for seed in range(len(maps))],
            "data": "d",
            "method": "itq",
            "parameters": "{}",
            "config": Config("itq"),
            "n_bits": pd.array([n_bits] * len(maps), dtype="Int64"),
            "seed": range(len(maps)),
            "map_expected": maps,
            "codes_sha256": codes,
            "commit": "c",
            "machine": json.dumps({"processor": "P", "cores": 2, "kernels": "portable"}),
            "versions": json.dumps({"python": "3", "torch": "2", "numpy": "2"}),
        }
    )


@pytest.fixture
def published():
    return runs([0.60, 0.62, 0.61])


def verdicts(own, published, others=None):
    return your_run.compare_runs(own, published, published if others is None else others)["verdict"].tolist()


def test_the_same_codes_and_map_are_the_same(published):
    assert verdicts(published, published) == ["same"] * 3


def test_other_codes_are_within_seeds_or_different(published):
    own = runs([0.605, 0.70, 0.61], codes="cd")
    # t(0.975, 2) times a deviation of 1 point times the root of 2 is 6.1 points
    table = your_run.compare_runs(own, published, published)
    assert table["verdict"].tolist() == ["within seeds", "different", "within seeds"]
    assert table["seeds"].to_numpy() == pytest.approx(4.302653 * np.sqrt(2), abs=1e-4)
    assert table["difference"].to_numpy() == pytest.approx([0.5, 8, 0])


def test_a_published_figure_that_was_changed_is_seen_by_its_codes(published):
    changed = published.assign(map_expected=[0.65, 0.62, 0.61])
    assert verdicts(published, changed) == ["different", "same", "same"]


def test_without_seeds_a_tenth_of_a_point(published):
    one = runs([0.5])
    assert verdicts(runs([0.5009], codes="cd"), one) == ["within seeds"]
    assert verdicts(runs([0.5011], codes="cd"), one) == ["different"]
    others = pd.concat([one, runs([0.60, 0.62, 0.61], n_bits=64)])
    assert verdicts(runs([0.55], codes="cd"), one, others) == ["within seeds"]  # by the spread at 64 bits
    floats = one.assign(n_bits=pd.array([pd.NA], dtype="Int64"), codes_sha256=np.nan)
    assert verdicts(floats, floats) == ["same"]
    assert verdicts(floats.assign(map_expected=0.5001), floats) == ["within seeds"]


def test_what_is_not_published_is_named(published):
    assert verdicts(runs([0.6], n_bits=8), published) == ["not published"]


def test_the_page_and_what_is_printed(published, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(your_run, "RESULTS", tmp_path)
    monkeypatch.setattr(your_run, "OWN_RESULTS", tmp_path / "local")
    (tmp_path / "local").mkdir()
    published.drop(columns="config").assign(fit_seconds=1).to_csv(tmp_path / "study.csv", index=False)
    published.drop(columns="config").assign(fit_seconds=1).to_csv(tmp_path / "main.csv", index=False)
    (tmp_path / "paper.csv").write_text("data,percent\nx,1\n")
    assert "has not run" in your_run.page()
    own = runs([0.605, 0.70, 0.61], codes="cd").drop(columns="config")
    own.to_csv(tmp_path / "local" / "study.csv", index=False)
    page = your_run.page()
    assert "2 within seeds, 1 different" in page
    assert page.count("<tr") == 4
    assert page.count("P, 2 cores, portable kernels; python 3, torch 2, numpy 2; commit c") == 2
    your_run.main()
    printed = capsys.readouterr().out
    assert "different" in printed
    assert "yours:     P, 2 cores" in printed
