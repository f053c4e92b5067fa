import os

import pytest

from sdclib import files


def test_json_round_trip(tmp_path):
    path = files.write_json(tmp_path / "a" / "b.json", {"x": [1, 2.5, None]})
    assert files.read_json(path) == {"x": [1, 2.5, None]}
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = files.write_text(tmp_path / "x.txt", "old")

    def full_disk(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_damaged_json_is_named(tmp_path):
    path = tmp_path / "broken.json"
    path.write_bytes(b'{"a": 1')
    with pytest.raises(ValueError, match=r"broken\.json: damaged or not JSON"):
        files.read_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"broken\.json: damaged or not JSON"):
        files.read_json(path)


def test_nan_does_not_get_into_json(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "x.json", float("nan"))
    assert not list(tmp_path.iterdir())
