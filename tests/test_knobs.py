"""Chapters that ask for runs: what is published, what is recorded, what is computed; with a knob turned they run."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from study import runs, tables
from study.provenance import PROJECT_ROOT
from study.runs import COSINE, RunSpec, expand_config, suited_to_data, turned
from study.tables import ask, ask_histograms, published

SWEEP = {
    "data": "tiny",
    "n_bits": [8, 16],
    "seeds": [0, 1],
    "runs": [
        {"method": COSINE, "seeds": 0, "n_bits": None},
        {"method": "lsh", "n_bits": 16},
        {"method": "sdc", "parameters": {"preset": "release", "calibration": ["beta(2, 2)", "beta(5, 5)"]}},
    ],
}
TURNED = {"seeds": [0, 1], "settings": {"epochs": 1}}  # and a set of 300 vectors
KNOBS = {
    "bias": {**TURNED, "dial": [-1, 3], "methods": ["itq", "sdc"], "n_bits": 8},
    "calibration": {**TURNED, "targets": ["beta(2, 2)", "beta(5, 5)"], "n_bits": 16},
    "instances": {**TURNED, "methods": ["lsh"], "n_bits": 8},
    "features": {"n_bits": 8},
    "main_results": {**TURNED, "methods": ["sdc", "bihalf"], "n_bits": [8, 16]},
    "similarity_collapse": {**TURNED, "methods": ["itq", "sdc"], "n_bits": 8},
    "imbalanced": {**TURNED, "methods": ["sdc", "itq"], "ratio": 5, "n_bits": 8},
    "supervised": {**TURNED, "methods": ["sdc", "supervised-sdc"], "n_bits": 8},
    "neighbours": {**TURNED, "methods": ["sdc", "itq", "neighbour-sdc"], "n_bits": 8},
    "spread": {**TURNED, "calibration": "beta(2, 2)", "n_bits": 8},
    "tuning": {**TURNED, "methods": "bihalf", "learning_rates": [0.001, 0.01], "n_bits": 8},
    "training": {**TURNED, "changed": {"quantization_weight": 10.0}, "n_bits": 8},
}


def test_knobs_stand_in_for_what_a_sweep_has():
    (given,) = turned(
        SWEEP, data="other", n_bits=32, seeds=[3], calibration=["beta(1, 1)"], epochs=2, methods=None
    )
    assert expand_config(given) == [
        RunSpec("other", COSINE, None, 3),
        RunSpec("other", "lsh", 32, 3),
        RunSpec("other", "sdc", 32, 3, {"preset": "release", "calibration": "beta(1, 1)", "epochs": 2}),
    ]
    assert turned(SWEEP, SWEEP) == [SWEEP, SWEEP]
    assert {spec.method for spec in expand_config(*turned(SWEEP, methods=["lsh", COSINE]))} == {"lsh", COSINE}
    with pytest.raises(ValueError, match="methods: expected some of the sweep's, got itq"):
        turned(SWEEP, methods="itq")
    with pytest.raises(ValueError, match="margin: expected a parameter of a method of the sweep"):
        turned(SWEEP, margin=1)


@pytest.fixture
def sweep(tiny_data, monkeypatch, tmp_path):
    """A sweep of the tiny set, half of which is published."""
    monkeypatch.setattr(runs, "OWN_RESULTS", tmp_path / "own")
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    monkeypatch.setattr(tables, "CONFIG", tmp_path)
    runs._data_sha256.cache_clear()
    config = {**SWEEP, "table": "t", "runs": SWEEP["runs"][:2]}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(config))
    specs = expand_config(config)
    runs.run_all(specs, progress=False)
    runs.collect_records(specs).to_csv(tmp_path / "t.csv", index=False)
    runs.collect_histograms(specs).to_csv(tmp_path / "t_histograms.csv", index=False)
    shutil.rmtree(tmp_path / "own")
    yield tmp_path
    runs._data_sha256.cache_clear()


def test_what_is_published_is_not_computed_and_the_rest_is_recorded(sweep, monkeypatch):
    default = ask("t", data=None, seeds=None)
    pd.testing.assert_frame_equal(default, published("t"))
    assert not (sweep / "own").exists()
    longer = ask("t", n_bits=[16, 8], seeds=[0, 1, 2])
    assert set(default["id"]) < set(longer["id"])
    assert len(list((sweep / "own" / "runs").glob("*/record.json"))) == len(longer) - len(default)
    assert list(longer.columns[:4]) == ["id", "data", "method", "config"]
    histograms = ask_histograms(longer, "t")
    assert set(histograms["id"]) == set(longer["id"])
    monkeypatch.setattr(runs, "run_experiment", None)  # nothing runs a second time
    pd.testing.assert_frame_equal(ask("t", n_bits=[16, 8], seeds=[0, 1, 2]), longer)


def test_a_run_that_other_tables_have_by_several_rules_counts_once():
    knobs = {"data": "cifar10/efficientnet-lite0", "n_bits": 64, "seeds": 0, "methods": "neighbour-sdc"}
    (elsewhere,) = ask("text", **knobs)["id"]
    assert (published("rules")["id"] == elsewhere).sum() > 1


def test_runs_are_suited_to_their_data(tiny_data, capsys):
    specs = [RunSpec("tiny", "lsh", 8)]
    specs += [RunSpec("tiny", "sdc", 8, 0, {"preset": "release", "batch_size": size}) for size in (512, 256)]
    first, second = suited_to_data(specs)
    assert first == specs[0]
    assert second.parameters["batch_size"] == 128
    assert suited_to_data([RunSpec("embeddings/x.npy", "sdc", 8, 0, {"preset": "paper"})]) == []
    assert capsys.readouterr().out == (
        "tiny has 200 training rows: batches of 128 instead of 256\n"
        "tiny has 200 training rows: batches of 128 instead of 512\n"
        "embeddings/x.npy has no augmented views: sdc with {'preset': 'paper'} is left out\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("chapter", KNOBS)
def test_a_chapter_runs_with_a_knob_turned(chapter, tmp_path, monkeypatch):
    papermill = pytest.importorskip("papermill", reason="needs the extra 'book'")
    monkeypatch.setenv("SDC_RESULTS", str(tmp_path))
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    rows = rng.standard_normal((300, 16)) + 2 * np.eye(3, 16)[labels] + 0.5
    np.savez(tmp_path / "small.npz", features=rows.astype(np.float32), labels=labels)
    knobs = {**KNOBS[chapter], "data": f"embeddings/{tmp_path / 'small.npz'}"}
    notebook = PROJECT_ROOT / "notebooks" / f"{chapter}.ipynb"
    papermill.execute_notebook(
        notebook, tmp_path / "out.ipynb", knobs, cwd=notebook.parent, progress_bar=False
    )
    assert list(tmp_path.glob("runs/*/record.json"))


@pytest.mark.slow
def test_claims_are_decided_again_with_another_margin(tmp_path):
    papermill = pytest.importorskip("papermill", reason="needs the extra 'book'")
    notebook = PROJECT_ROOT / "notebooks" / "verdict.ipynb"
    done = papermill.execute_notebook(
        notebook, tmp_path / "out.ipynb", {"margin": 5}, cwd=notebook.parent, progress_bar=False
    )
    (table,) = (
        cell["outputs"][0]["data"]["text/html"] for cell in done.cells if "word_table" in cell["source"]
    )
    assert table.count("equivalent") > 1
