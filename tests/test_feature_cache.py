"""The feature cache: what it keeps, what a kill, a flipped byte, a full disk and a broken image do to it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdclib.data.images import ImageSet
from sdclib.extract import feature_cache
from sdclib.extract.feature_cache import CachedFeatures, cache_key, extract_features
from sdclib.files import file_sha256
from tests.faults import wait_for
from tests.toy_backbone import Idle, Network, image_set

Extract = Callable[..., CachedFeatures]


def direct(images: ImageSet, network: Network) -> np.ndarray:
    """Features without threads or files, by the same batches of 4 in shards of 16."""
    n = len(images.ids)
    starts = [
        (i, min(i + 4, shard + 16, n))
        for shard in range(0, n, 16)
        for i in range(shard, min(shard + 16, n), 4)
    ]
    batches = [np.stack([network.preprocess(images.read(i)) for i in range(*bounds)]) for bounds in starts]
    return np.concatenate([network.extract(batch) for batch in batches])


def content(folder: Path) -> dict[str, bytes]:
    """All files but the lock."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(feature_cache, "SHARD_SIZE", 16)
    monkeypatch.setenv("SDC_CACHE", str(tmp_path / "sdc"))


@pytest.fixture
def extract(tmp_path: Path) -> Extract:
    def run(images: ImageSet, network: Network | None = None, **options: Any) -> CachedFeatures:
        settings = {"cache": tmp_path / "cache", "batch_size": 4, "progress": False} | options
        return extract_features(images, network or Network(), **settings)

    return run


def test_features_are_those_of_the_network_bit_for_bit(
    extract: Extract, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = extract(image_set(), progress=True, cache=None)
    assert "50/50" in (text := capsys.readouterr().err)
    assert "image/s" in text
    expected = direct(image_set(), Network())
    assert (features.n_images, features.n_features, features.skipped) == (50, 8, {})
    np.testing.assert_array_equal(features.rows(np.arange(50)), expected, strict=True)
    order = np.array([49, 0, 17, 17, 16, 15])
    np.testing.assert_array_equal(features.rows(order), expected[order])
    assert features.rows([]).shape == (0, 8)
    key = cache_key(image_set(), Network())
    assert features.folder == tmp_path / "sdc" / "features" / f"toy-toy-net-{key[:16]}"
    assert sorted(content(features.folder)) == ["manifest.json"] + [f"shard-0000{i}.npy" for i in range(4)]


def test_complete_features_are_found_without_running_the_network_or_reading_shards(
    extract: Extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = extract(image_set())
    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "check_shard", lambda *_: pytest.fail("read a shard"))
        assert extract(image_set(), Idle()).sha256 == features.sha256
    (features.folder / "shard-00001.npy").unlink()
    with pytest.raises(LookupError, match="ran the network"):
        extract(image_set(), Idle())


def test_key_depends_on_backbone_and_images_not_on_name_or_split(extract: Extract) -> None:
    key = cache_key(image_set(), Network())
    assert key == "2967a73f2df922183035e2576bae999d75a447b6375ca58c44d141088406fb7a"  # caches of users stay
    for other in (
        {"name": "other"},
        {"weights_sha256": "1" * 64},
        {"preprocessing": "v2"},
        {"image_size": 7},
        {"runtime": "other"},
    ):
        assert cache_key(image_set(), replace(Network(), **other)) != key
    for images in (image_set(seed=1), image_set(51), replace(image_set(), ids=image_set().ids[::-1])):
        assert cache_key(images, Network()) != key
    other_split = replace(image_set(), name="other", query=np.arange(3), database=np.arange(3, 50))
    assert cache_key(other_split, Network()) == key
    assert extract(image_set()).folder == extract(other_split).folder


@pytest.mark.parametrize("indices", [[50], [-1], [[0]], [0.5], [True]])
def test_rows_refuses_what_are_no_image_numbers(extract: Extract, indices: Any) -> None:
    with pytest.raises(ValueError, match="indices: expected"):
        extract(image_set()).rows(indices)


def test_options_are_checked(extract: Extract) -> None:
    for options in ({"broken": "ignore"}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(options))}: expected"):
            extract(image_set(), **options)


# Kills and several processes


CHILD = """
import sys
from pathlib import Path
import tests.test_feature_cache as t
t.feature_cache.SHARD_SIZE = 16
t.extract_features(t.image_set(), t.Network(seconds=float(sys.argv[2])), cache=Path(sys.argv[1]), batch_size=4)
"""


def start_child(cache: Path, seconds: float) -> subprocess.Popen[bytes]:
    root = Path(__file__).resolve().parents[1]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(cache), str(seconds)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        stderr=subprocess.PIPE,
    )


def test_killed_and_resumed_gives_the_same_bytes(extract: Extract, tmp_path: Path) -> None:
    whole = extract(image_set(), cache=tmp_path / "whole")
    child = start_child(tmp_path / "cut", 0.15)
    folder = tmp_path / "cut" / whole.folder.name
    wait_for(lambda: (folder / "shard-00001.npy").exists())
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert "shard-00003.npy" not in content(folder)
    before = (folder / "shard-00000.npy").stat().st_mtime_ns
    resumed = extract(image_set(), cache=tmp_path / "cut", batch_size=7)  # goes on with batches of 4
    assert content(resumed.folder) == content(whole.folder)
    assert before == (folder / "shard-00000.npy").stat().st_mtime_ns


def test_what_a_kill_leaves_between_shard_and_manifest_is_made_again(extract: Extract) -> None:
    folder = extract(image_set()).folder
    whole = content(folder)
    manifest = json.loads(whole["manifest.json"])
    manifest["shards"][2] = None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "shard-00002.npy").write_bytes(b"half")
    (folder / ".manifest.json.abc.tmp").write_bytes(b"half")
    assert content(extract(image_set()).folder) == whole


def test_two_processes_at_once(extract: Extract, tmp_path: Path) -> None:
    whole = extract(image_set(), cache=tmp_path / "whole")
    children = [start_child(tmp_path / "cache", 0.05) for _ in range(2)]
    outputs = [child.communicate()[1].decode() for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert content(tmp_path / "cache" / whole.folder.name) == content(whole.folder)


def test_a_second_process_says_that_it_waits(extract: Extract, capsys: pytest.CaptureFixture[str]) -> None:
    first = threading.Thread(target=extract, args=(image_set(), Network(seconds=0.05)))
    first.start()
    time.sleep(0.2)
    extract(image_set(), progress=True)
    first.join()
    assert "another process extracts these features, waiting for it" in capsys.readouterr().err


# Damage


def test_a_flipped_byte_is_found_named_and_mended(extract: Extract) -> None:
    path = extract(image_set()).folder / "shard-00002.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    again = extract(image_set())
    again.rows([0, 49])  # other shards are good
    with pytest.raises(ValueError, match=r"shard-00002\.npy: damaged shard, .* delete this file"):
        again.rows([32])
    other = path.with_name("shard-00003.npy")
    other.unlink()
    with pytest.raises(ValueError, match=r"shard-00002\.npy: damaged shard"):  # nor is it gone on with
        extract(image_set())
    path.unlink()
    with pytest.raises(ValueError, match=r"shard-00002\.npy: shard is missing"):
        again.rows([32])
    extract(image_set())
    assert path.read_bytes() == whole


@pytest.mark.parametrize(
    "change",
    [
        *("{", "[]", {"key": "0"}, {"version": 2}, {"shards": []}, {"shards": [1] * 4}, {"n_features": 8.0}),
        *({"n_images": 10**15}, {"shard_size": -2}, {"batch_size": True}),
        *({"file": other} for other in (5, "/etc/passwd", ["x"])),
        *({"sha256": 5}, {"skipped": "x"}, {"skipped": [{}]}, {"skipped": [{"image": "0", "error": "x"}]}),
    ],
)
def test_a_damaged_manifest_is_named(extract: Extract, change: Any) -> None:
    path = extract(image_set()).folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if isinstance(change, dict):
        (manifest if set(change) <= set(manifest) else manifest["shards"][0]).update(change)
    path.write_text(change if isinstance(change, str) else json.dumps(manifest))
    with pytest.raises(ValueError, match=r"manifest\.json: damaged"):
        extract(image_set())


@pytest.mark.parametrize("array", [np.ones((2, 8), np.float32), np.ones((16, 8)), np.full((16, 8), {})])
def test_a_shard_that_holds_something_else(extract: Extract, array: np.ndarray) -> None:
    features = extract(image_set())
    np.save(features.folder / "shard-00000.npy", array, allow_pickle=True)
    features.manifest["shards"][0]["sha256"] = file_sha256(features.folder / "shard-00000.npy")
    with pytest.raises(ValueError, match=r"shard-00000\.npy: (expected float32|missing or damaged)"):
        features.rows([0])


def test_a_full_disk_leaves_nothing_half_written(
    extract: Extract, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = extract(image_set(), cache=tmp_path / "whole")
    real, count = os.fsync, 0

    def fsync(handle: int) -> None:
        nonlocal count
        count += 1
        if count > 4:  # two shards and two manifests fit
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(OSError, match=r"No space left on device.*shard-00002\.npy"):
            extract(image_set())
    folder = tmp_path / "cache" / whole.folder.name
    assert sorted(content(folder)) == ["manifest.json", "shard-00000.npy", "shard-00001.npy"]
    assert content(extract(image_set()).folder) == content(whole.folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="make room or choose another place for the feature cache"):
        extract(image_set(), cache=tmp_path / "file" / "cache")


def test_a_broken_image_is_named_or_skipped_and_listed(extract: Extract, tmp_path: Path) -> None:
    images = image_set(broken=(37, 45))
    broken = r"image 37 of toy \(image37\) is broken: /images/37\.png: .*broken='skip'"
    with pytest.raises(ValueError, match=broken):
        extract(images)
    whole = extract(image_set(), cache=tmp_path / "whole")
    features = extract(images, broken="skip")
    assert sorted(features.skipped) == [37, 45]
    assert "/images/37.png" in features.skipped[37]
    entry = json.loads((features.folder / "manifest.json").read_text())["shards"][2]["skipped"]
    assert [(item["image"], item["id"]) for item in entry] == [(37, "image37"), (45, "image45")]
    rest = np.setdiff1d(np.arange(50), [37, 45])
    np.testing.assert_array_equal(features.rows(rest), whole.rows(rest))
    with pytest.raises(ValueError, match="1 that were skipped as broken, first is image 37"):
        features.rows([36, 37])
    assert extract(images, broken="skip").sha256 == features.sha256
    with pytest.raises(ValueError, match=broken):
        extract(images)
    repaired = extract(image_set())  # the images it reads are whole now
    assert repaired.skipped == {}
    assert content(repaired.folder) == content(whole.folder)


def test_a_network_that_fails_stops_the_threads(extract: Extract) -> None:
    with pytest.raises(LookupError, match="ran the network"):
        extract(image_set(), Idle())
    assert not any("ThreadPoolExecutor" in thread.name for thread in threading.enumerate())
