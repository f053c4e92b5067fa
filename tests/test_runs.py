"""Runs and their records, and where results come from: identity, configurations, damage, manifest."""

import dataclasses
import sys

import numpy as np
import pandas as pd
import pytest

import scripts.sweep
from sdclib import catalogue
from sdclib.codes import binarize
from sdclib.evaluation import EVALUATION_VERSION
from sdclib.files import read_json, write_json, write_text
from sdclib.methods import METHODS, make_hasher
from sdclib.methods.presets import PRESETS
from study import provenance
from study.runs import (
    RunSpec,
    collect_histograms,
    collect_records,
    expand_config,
    failed_runs,
    is_whole,
    read_codes,
    read_record,
    run_all,
    run_experiment,
    stale_rows,
    write_record,
)

QUICK_SDC = {"preset": "release", "epochs": 2}


class TestRunSpec:
    def test_id_follows_what_determines_the_result_only(self, tiny_data):
        one = RunSpec("tiny", "sdc", 8, 0, {"preset": "release"})
        assert one.id == RunSpec("tiny", "sdc", 8, 0, {"preset": "release"}).id
        # a default that is spelled out is the same run, so is another device or progress bar
        assert RunSpec("tiny", "lsh", 8).id == RunSpec("tiny", "lsh", 8, 0, {"center": False}).id
        others = [
            RunSpec("tiny", "sdc", 9, 0, {"preset": "release"}),
            RunSpec("tiny", "sdc", 8, 1, {"preset": "release"}),
            RunSpec("tiny", "sdc", 8, 0, {"preset": "paper-no-contrastive"}),
            RunSpec("tiny", "itq", 8),
            RunSpec("tiny", "cosine"),
            RunSpec("tiny", "cosine", parameters={"center": True}),
            RunSpec("cifar10-embedded", "itq", 8),
        ]
        assert len({spec.id for spec in [one, *others]}) == len(others) + 1

    def test_id_follows_what_a_preset_stands_for_not_its_name(self, tiny_data, monkeypatch):
        spec = RunSpec("tiny", "sdc", 8, 0, {"preset": "release"})
        before = spec.id
        monkeypatch.setitem(PRESETS, "another", PRESETS["release"])
        assert RunSpec("tiny", "sdc", 8, 0, {"preset": "another"}).id == before
        monkeypatch.setitem(PRESETS, "release", PRESETS["paper-no-contrastive"])
        assert spec.id != before

    def test_id_is_what_it_was_whatever_became_of_the_code(self):
        """No module, message or machine is in an id: this one stands in a published table."""
        spec = RunSpec("cifar10-embedded", "itq", 64)
        published = pd.read_csv(provenance.RESULTS / "main.csv", dtype={"id": str})
        row = published.query("method == 'itq' and n_bits == 64 and seed == 0")
        assert [spec.id] == row["id"].tolist() == ["b9d52274132958a5"]

    def test_a_raised_version_makes_rows_stale(self, tiny_data, monkeypatch):
        specs = [RunSpec("tiny", method, 8) for method in ("itq", "lsh")]
        table = pd.DataFrame({"id": [spec.id for spec in specs], "evaluation_version": EVALUATION_VERSION})
        assert stale_rows(table, specs).empty
        monkeypatch.setattr(METHODS["itq"], "results_version", 2)
        assert stale_rows(table, specs)["id"].tolist() == table["id"].tolist()[:1]
        table["evaluation_version"] = EVALUATION_VERSION - 1
        assert len(stale_rows(table, specs)) == 2

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("tiny", "magic", 8), "method: expected one of"),
            (("tiny", "itq", 0), "n_bits: expected a whole number >= 1"),
            (("tiny", "itq", 8, -1), "seed: expected a whole number >= 0"),
            (("tiny", "itq", 8, 0, {"epochs": 1}), "parameters of method 'itq'"),
            (("tiny", "itq", 8, 0, 3), "parameters: expected a mapping, got 3"),
            (("tiny", "sdc", 8, 0, {"preset": "no"}), "preset: expected one of"),
            (("tiny", "cosine", None, 0, {"epochs": 1}), "parameters of method 'cosine'"),
        ],
    )
    def test_what_cannot_run_is_named(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            RunSpec(*arguments)


class TestConfig:
    def test_grid(self):
        specs = expand_config(
            {
                "data": "tiny",
                "n_bits": [8, 16],
                "seeds": [0, 1],
                "runs": [
                    {"method": "lsh", "parameters": {"center": [False, True]}},
                    {"method": "cosine", "seeds": 0},
                ],
            }
        )
        assert len(specs) == 9
        assert sum(spec.method == "cosine" for spec in specs) == 1

    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"bits": 8}, "config: expected one of"),
            ({"data": "tiny", "seeds": 0, "runs": [{}]}, "expected a value of 'method'"),
            (
                {"data": "tiny", "seeds": 0, "runs": [{"method": "itq", "bits": 8}]},
                "config: runs: expected one of",
            ),
            ({"data": "tiny", "seeds": 0, "runs": [{"method": "itq"}]}, "n_bits: expected a whole number"),
        ],
    )
    def test_mistakes_are_named(self, config, message):
        with pytest.raises(ValueError, match=message):
            expand_config(config)


class TestRecords:
    @pytest.fixture
    def spec(self, tiny_data):
        return RunSpec("tiny", "sdc", 12, 3, QUICK_SDC)

    def test_round_trip(self, spec, tiny_data, tmp_path):
        experiment = run_experiment(spec, progress=False)
        folder = write_record(experiment, tmp_path)
        assert folder == tmp_path / spec.id
        record = read_record(folder)
        assert record["metrics"] == experiment.metrics
        assert record["id"] == spec.id
        assert record["parameters"] == QUICK_SDC
        assert record["versions"]["torch"]
        assert record["machine"]["cores"] >= 1
        assert record["peak_memory_mb"] > 10
        pd.testing.assert_frame_equal(pd.read_csv(folder / "history.csv"), experiment.history)
        query, database = read_codes(folder)
        np.testing.assert_array_equal(query, experiment.query_codes)
        np.testing.assert_array_equal(database, experiment.database_codes)
        # what is in the record is what the hasher makes
        hasher = make_hasher("sdc", 12, seed=3, **QUICK_SDC).fit(tiny_data.train)
        np.testing.assert_array_equal(query, binarize(hasher.decision_function(tiny_data.query)))

    def test_cosine_has_no_codes(self, tiny_data, tmp_path):
        folder = write_record(
            run_experiment(RunSpec("tiny", "cosine", parameters={"center": True})), tmp_path
        )
        assert sorted(read_record(folder)["files"]) == ["histogram.csv"]
        plain = run_experiment(RunSpec("tiny", "cosine")).metrics
        assert read_record(folder)["metrics"]["all_mean"] < plain["all_mean"]

    def test_of_one_class_have_no_overlap(self, tiny, tmp_path, monkeypatch):
        one = dataclasses.replace(
            tiny, query_labels=0 * tiny.query_labels, database_labels=0 * tiny.database_labels
        )
        monkeypatch.setitem(catalogue._PACKAGED, "tiny", lambda: one)
        spec = RunSpec("tiny", "lsh", 12)
        write_record(run_experiment(spec, progress=False), tmp_path)
        (row,) = collect_records([spec], tmp_path).to_dict("records")
        assert row["map_expected"] == 1
        assert np.isnan(row["intersection"])

    def test_damage_is_named(self, spec, tmp_path):
        folder = write_record(run_experiment(spec, progress=False), tmp_path)
        with (folder / "history.csv").open("a") as file:
            file.write("1,2,3\n")
        with pytest.raises(ValueError, match=r"history\.csv: damaged, .*; delete .* and run again"):
            read_record(folder)
        write_json(folder / "record.json", {"format_version": 0})
        with pytest.raises(ValueError, match=r"record\.json: expected a run record of format_version 2"):
            read_record(folder)

    def test_new_metrics_come_from_stored_codes(self, spec, tmp_path, monkeypatch):
        specs = [spec, RunSpec("tiny", "cosine")]
        first = [read_record(folder) for folder in run_all(specs, tmp_path, progress=False)]
        monkeypatch.setattr("study.runs.EVALUATION_VERSION", EVALUATION_VERSION + 1)
        monkeypatch.setattr("study.runs.run_experiment", None)  # nothing is fitted
        assert not any(is_whole(tmp_path / s.id, measured=True) for s in specs)
        second = [read_record(folder) for folder in run_all(specs, tmp_path, progress=False)]
        for before, after in zip(first, second, strict=True):
            assert after["evaluation_version"] == EVALUATION_VERSION + 1
            changed = {"evaluation_version", "evaluate_seconds"}
            assert all(after[name] == before[name] for name in before.keys() - changed)

    def test_run_all_takes_what_is_recorded_and_names_what_fails(self, tiny_data, tmp_path, monkeypatch):
        specs = [RunSpec("tiny", "itq", n_bits) for n_bits in (8, 300, 12)]
        with pytest.raises(RuntimeError, match=r"1 of 3 runs failed\n.*ValueError: n_bits: expected at most"):
            run_all(specs, tmp_path, progress=False)
        assert [is_whole(tmp_path / spec.id) for spec in specs] == [True, False, True]
        ((spec, error, path),) = failed_runs(specs, tmp_path)
        assert (spec, error.startswith("ValueError: n_bits"), path.is_file()) == (specs[1], True, True)
        written = [(tmp_path / spec.id / "record.json").stat().st_mtime_ns for spec in specs[::2]]
        run_all(specs[::2], tmp_path, progress=False)
        assert written == [(tmp_path / spec.id / "record.json").stat().st_mtime_ns for spec in specs[::2]]
        run_all(specs[:1], tmp_path, again=True, progress=False)
        assert written[0] < (tmp_path / specs[0].id / "record.json").stat().st_mtime_ns

    def test_collected(self, tiny_data, tmp_path):
        specs = [RunSpec("tiny", "lsh", 8, seed) for seed in (0, 1)] + [RunSpec("tiny", "cosine")]
        run_all(specs, tmp_path, progress=False)
        table = collect_records(specs, tmp_path)
        assert table["id"].tolist() == [spec.id for spec in specs]
        assert table["map_expected"].tolist() == [
            read_record(tmp_path / spec.id)["metrics"]["map_expected"] for spec in specs
        ]
        histograms = collect_histograms(specs, tmp_path)
        assert histograms.groupby("id")["positive"].sum().nunique() == 1


class TestProvenance:
    def test_no_commit_outside_a_checkout(self, monkeypatch, tmp_path):
        monkeypatch.setattr(provenance, "PROJECT_ROOT", tmp_path)
        monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
        assert provenance.git_commit() is None

    def test_uncommitted_changes_but_those_of_results_are_named(self, tmp_path, monkeypatch):
        monkeypatch.setattr(provenance, "PROJECT_ROOT", tmp_path)
        git = provenance._git
        for name in ("code.py", "results/main.csv"):
            write_text(tmp_path / name, "1")
        git("init", "--quiet")
        git("add", ".")
        git("-c", "user.name=a", "-c", "user.email=b", "commit", "--quiet", "-m", "c")
        write_text(tmp_path / "results" / "main.csv", "2")
        assert provenance.uncommitted() == []
        write_text(tmp_path / "code.py", "2")
        assert provenance.uncommitted() == ["code.py"]
        assert provenance.git_commit().endswith("-dirty")

    def test_nothing_is_published_from_changed_code(self, monkeypatch):
        monkeypatch.setattr(scripts.sweep, "uncommitted", lambda: ["sdclib/methods/trained.py"])
        monkeypatch.setattr(sys, "argv", ["sweep.py", "config/main.yaml", "--publish"])
        with pytest.raises(SystemExit, match=r"all changes committed, got .* sdclib/methods/trained\.py"):
            scripts.sweep.main()

    def test_the_published_tables_are_those_of_the_manifest(self):
        manifest = read_json(provenance.MANIFEST)
        assert manifest["tables"] == provenance.table_hashes(), (
            "a published table was changed by other means than make results"
        )
        assert not manifest["commit"].endswith("-dirty")

    def test_a_manifest_keeps_the_last_verification(self, tmp_path, monkeypatch):
        monkeypatch.setattr(provenance, "RESULTS", tmp_path)
        monkeypatch.setattr(provenance, "MANIFEST", tmp_path / "manifest.json")
        write_text(tmp_path / "a.csv", "x\n1\n")
        before = read_json(provenance.write_manifest({"date": "2026-01-01"}))
        write_text(tmp_path / "a.csv", "x\n2\n")
        after = read_json(provenance.write_manifest())
        assert after["verified"] == {"date": "2026-01-01"}
        assert before["tables"].keys() == after["tables"].keys() == {"a.csv"}
        assert before["tables"] != after["tables"]
