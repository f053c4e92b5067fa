"""Published tables are those that the manifest names, and are not made from changed code."""

import sys

import pytest

import scripts.sweep
from sdclib.files import read_json, write_text
from study import manifest, provenance


def test_the_published_tables_are_those_of_the_manifest():
    said = read_json(manifest.MANIFEST)
    assert said["tables"] == manifest.table_hashes(), (
        "a published table was changed by other means than make results"
    )
    assert not said["commit"].endswith("-dirty")


def test_a_manifest_keeps_the_last_verification(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "RESULTS", tmp_path)
    monkeypatch.setattr(manifest, "MANIFEST", tmp_path / "manifest.json")
    write_text(tmp_path / "a.csv", "x\n1\n")
    manifest.write_manifest({"date": "2026-01-01"})
    write_text(tmp_path / "a.csv", "x\n2\n")
    before = read_json(tmp_path / "manifest.json")
    after = read_json(manifest.write_manifest())
    assert after["verified"] == {"date": "2026-01-01"}
    assert before["tables"].keys() == after["tables"].keys() == {"a.csv"}
    assert before["tables"] != after["tables"]


def test_nothing_is_published_from_changed_code(tmp_path, monkeypatch):
    monkeypatch.setattr(scripts.sweep, "uncommitted", lambda: ["sdclib/methods/trained.py"])
    monkeypatch.setattr(sys, "argv", ["sweep.py", "config/main.yaml", "--publish"])
    with pytest.raises(
        SystemExit, match=r"expected a checkout with all changes committed, got .* sdclib/methods/trained\.py"
    ):
        scripts.sweep.main()


def test_uncommitted_changes_but_those_of_results_are_named(tmp_path, monkeypatch):
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
