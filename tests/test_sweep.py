"""Sweeps as a user starts them: failures named, others finished, cut sweeps taken up, two at once."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import yaml

import scripts.sweep
from scripts.sweep import sweep
from scripts.verify_results import LEAST, METRICS, choose, tolerance, verify
from study.provenance import PROJECT_ROOT
from study.runs import EVALUATION_VERSION, expand_config

pytestmark = pytest.mark.slow
GOOD = {
    "table": "t",
    "measures": ["curves"],
    "data": "cifar10-embedded",
    "n_bits": [8, 16],
    "seeds": 0,
    "runs": [{"method": "sign"}],
}
FAILING = {**GOOD, "runs": [{"method": "sign"}, {"method": "itq", "n_bits": 300}]}


@pytest.fixture
def results(tmp_path):
    """Give a folder of results in a path that shells would take apart."""
    folder = tmp_path / "mein Ordner ü"
    folder.mkdir()
    for name in ("notebooks", "scripts", "workflow"):
        (folder / name).symlink_to(PROJECT_ROOT / name)
    return folder / "results"


def start(config, results, *options):
    """Start a sweep in a process group of its own."""
    path = results.parent / f"{config['table']}.yaml"
    path.write_text(yaml.safe_dump(config))
    return subprocess.Popen(
        [sys.executable, "scripts/sweep.py", str(path), *options],
        cwd=results.parent,
        env={**os.environ, "SDC_RESULTS": str(results)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ids(config):
    return [spec.id for spec in expand_config(config)]


def test_a_failing_run_is_named_and_the_others_finish(results):
    process = start(FAILING, results)
    printed, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    *good, bad = ids(FAILING)
    assert all((results / "runs" / run / "record.json").is_file() for run in good)
    assert not (results / "runs" / bad / "record.json").exists()
    assert "1 of 3 runs failed" in printed
    assert f"[{bad}]({bad}/error.txt)" in printed
    assert f"[{bad}]({bad}/error.txt)" in (results / "runs" / "failures.md").read_text()
    assert "n_bits: expected at most min(n_samples, n_features) = 256, got 300" in printed


def test_killed_at_a_random_moment_and_taken_up_while_another_waits(results):
    process = start(GOOD, results)
    deadline = time.monotonic() + 120
    first = None
    while first is None and time.monotonic() < deadline:
        time.sleep(0.2)
        first = next((results / "runs").glob("*/record.json"), None)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    time.sleep(3)  # its kernel ends when it sees that its parent is gone
    assert first is not None
    written = first.stat().st_mtime_ns
    for run in ids(GOOD):  # whatever was finished beside it is not there
        if run != first.parent.name:
            shutil.rmtree(results / "runs" / run, ignore_errors=True)
    # two at once on one folder: one waits for the other
    pair = [start(GOOD, results) for _ in range(2)]
    printed = [process.communicate(timeout=300)[0] for process in pair]
    assert [process.returncode for process in pair] == [0, 0], printed
    assert sum("another sweep is at work" in text for text in printed) == 1
    assert first.stat().st_mtime_ns == written
    table = pd.read_csv(results / "t.csv", dtype={"id": str})
    assert table["id"].tolist() == ids(GOOD)
    assert pd.read_csv(results / "t_curves.csv", dtype={"id": str})["id"].unique().tolist() == ids(GOOD)
    # what two commands made is what the committed table has
    committed = pd.read_csv(PROJECT_ROOT / "results" / "main.csv").query("method == 'sign' and n_bits == 16")
    for metric in METRICS:
        assert table.loc[table["n_bits"] == 16, metric].item() == pytest.approx(
            committed[metric].item(), abs=0.005
        )


def test_slurm_takes_the_same_files(results):
    process = start(GOOD, results, "--", "--workflow-profile", "workflow/profiles/slurm", "--dry-run")
    printed, _ = process.communicate(timeout=120)
    if "snakemake_executor_plugin" in printed or "invalid choice: 'slurm'" in printed:
        pytest.skip("no Slurm executor plugin; it is in the extra 'slurm'")
    assert process.returncode == 0, printed
    assert re.search(r"^batch +1$", printed, flags=re.M), printed


def test_a_config_without_its_data_is_named_and_the_next_one_runs(results, tmp_path):
    config = {**GOOD, "table": "no_data", "data": "embeddings/nothing.npy"}
    (tmp_path / "t.yaml").write_text(yaml.safe_dump({**GOOD, "n_bits": 8}))
    process = start(config, results, str(tmp_path / "t.yaml"))
    printed, _ = process.communicate(timeout=300)
    assert process.returncode != 0
    assert "no_data.yaml: cannot run: " in printed
    assert "nothing.npy: expected a file of vectors, found none" in printed
    assert len(pd.read_csv(results / "t.csv")) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("runs: [", "while parsing"),
        ("[1]", "config: expected a mapping, got list"),
        ("table: t", "config: expected at least one entry under 'runs', got none"),
        (
            "{data: d, n_bits: 8, seeds: 0, runs: {method: sign}}",
            "config: expected a name as 'table', got None",
        ),
        ("{table: t, data: d, n_bits: 8, seeds: 0, runs: {method: no}}", "method: expected one of"),
    ],
)
def test_a_bad_configuration_is_named_in_one_line(text, message, tmp_path, capsys):
    path = tmp_path / "t.yaml"
    if text is not None:
        path.write_text(text)
    assert (sweep(path, [], False), verify(path, 0)) == (1, (1, {}))
    swept, verified = capsys.readouterr().out.splitlines()
    assert swept == verified
    assert swept.startswith(f"{path}: ")
    assert message in swept


def test_what_is_verified_and_how_closely():
    seeds = {"seed": range(5), "map_expected": [0.5, 0.52, 0.54, 0.56, 0.58]}
    settings = {"data": "d", "n_bits": 8, "parameters": "{}"}
    quick = pd.DataFrame({**seeds, **settings, "method": "itq", "fit_seconds": 1.0})
    slow = pd.concat([quick.assign(method="sdc", fit_seconds=60.0, n_bits=bits) for bits in range(1, 21)])
    slow["map_expected"] += slow["n_bits"]  # a difference of settings is none of seeds
    table = pd.concat([quick, slow], ignore_index=True).assign(id=lambda t: [f"{i:03d}" for i in t.index])
    chosen = table.set_index("id").loc[choose(table, random.Random(0))]
    assert chosen["method"].value_counts().to_dict() == {"itq": 1, "sdc": 2}
    row, one_seed = slow.iloc[0], table.query("seed == 0")
    of_seeds = pytest.approx(3 * np.sqrt(2) * np.std(seeds["map_expected"], ddof=1))
    assert tolerance(table, row, "map_expected") == of_seeds
    assert tolerance(one_seed, row, "map_expected") == LEAST
    assert tolerance(table, {**row, "parameters": "of one seed"}, "map_expected") == of_seeds
    wider = table.assign(map_expected=table["map_expected"] * np.where(table["n_bits"] == 1, 1.5, 1.0))
    seeds_of_row = wider.query("method == 'sdc' and n_bits == 1")["map_expected"]
    assert tolerance(wider, row, "map_expected") == pytest.approx(3 * np.sqrt(2) * seeds_of_row.std())


def test_unknown_measures_are_named(tmp_path, capsys):
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"measures": ["no"]}))
    assert sweep(path, [], False) == 1
    assert f"{path}: measures: expected one of" in capsys.readouterr().out


def test_rows_of_an_older_evaluation_are_kept_with_a_word(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scripts.sweep, "OWN_RESULTS", tmp_path)
    monkeypatch.setattr(scripts.sweep, "runs_folder", lambda: tmp_path / "runs")
    monkeypatch.setattr(scripts.sweep, "run_sweep", lambda *arguments: 0)
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(GOOD))
    rows = pd.DataFrame({"id": ids(GOOD), "evaluation_version": [0, EVALUATION_VERSION]})
    rows.to_csv(tmp_path / "t.csv", index=False)
    assert sweep(path, [], publish=False, resume=True) == 0
    assert capsys.readouterr().out.endswith("2 of 2 runs, 1 of them measured by an older evaluation\n")
    assert pd.read_csv(tmp_path / "t.csv", dtype={"id": str}).equals(rows)
