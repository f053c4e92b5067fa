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


def direct(images: ImageSet, network: Network, batch_size: int = 4, shard_size: int = 16) -> np.ndarray:
    """Features without threads or files, by the same batches."""
    parts = []
    n = len(images.ids)
    for shard in range(0, n, shard_size):
        stop = min(shard + shard_size, n)
        for start in range(shard, stop, batch_size):
            numbers = range(start, min(start + batch_size, stop))
            parts.append(network.extract(np.stack([network.preprocess(images.read(i)) for i in numbers])))
    return np.concatenate(parts)


def content(folder: Path) -> dict[str, bytes]:
    """All files but the lock."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(feature_cache, "SHARD_SIZE", 16)
    monkeypatch.setenv("SDC_CACHE", str(tmp_path / "sdc"))


@pytest.fixture
def extract(tmp_path: Path) -> Callable[..., CachedFeatures]:
    def run(images: ImageSet, network: Network | None = None, **options: Any) -> CachedFeatures:
        settings = {"cache": tmp_path / "cache", "batch_size": 4, "progress": False} | options
        return extract_features(images, network or Network(), **settings)

    return run


def test_features_are_those_of_the_network_bit_for_bit(extract: Callable[..., CachedFeatures]) -> None:
    images = image_set()
    features = extract(images)
    expected = direct(images, Network())
    assert (features.n_images, features.n_features, features.skipped) == (50, 8, {})
    rows = features.rows(np.arange(50))
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows, expected)
    order = np.array([49, 0, 17, 17, 16, 15])
    np.testing.assert_array_equal(features.rows(order), expected[order])
    assert features.rows([]).shape == (0, 8)
    assert sorted(content(features.folder)) == ["manifest.json"] + [f"shard-0000{i}.npy" for i in range(4)]


def test_default_place_and_name(tmp_path: Path) -> None:
    images = image_set(10)
    features = extract_features(images, Network(), progress=False)
    assert (
        features.folder == tmp_path / "sdc" / "features" / f"toy-toy-net-{cache_key(images, Network())[:16]}"
    )


def test_complete_features_are_found_without_running_the_network_or_reading_shards(
    extract: Callable[..., CachedFeatures], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = extract(image_set())
    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "check_shard", lambda *_: pytest.fail("read a shard"))
        assert extract(image_set(), Idle()).sha256 == features.sha256
    (features.folder / "shard-00001.npy").unlink()
    with pytest.raises(LookupError, match="ran the network"):
        extract(image_set(), Idle())


@pytest.mark.parametrize(
    "other",
    [
        {"name": "other"},
        {"weights_sha256": "1" * 64},
        {"preprocessing": "v2"},
        {"image_size": 7},
        {"runtime": "other"},
    ],
)
def test_key_depends_on_the_backbone(other: dict[str, Any]) -> None:
    images = image_set(10)
    assert cache_key(images, replace(Network(), **other)) != cache_key(images, Network())


def test_key_depends_on_the_images_not_on_name_or_split(extract: Callable[..., CachedFeatures]) -> None:
    key = cache_key(image_set(), Network())
    assert cache_key(image_set(), Network()) == key
    assert cache_key(image_set(seed=1), Network()) != key  # other pixels under the same ids
    assert cache_key(image_set(51), Network()) != key
    assert cache_key(replace(image_set(), ids=image_set().ids[::-1]), Network()) != key
    other_split = replace(image_set(), name="other", query=np.arange(3), database=np.arange(3, 50))
    assert cache_key(other_split, Network()) == key
    assert extract(image_set()).folder == extract(other_split).folder


@pytest.mark.parametrize("indices", [[50], [-1], [[0]], [0.5], [True]])
def test_rows_refuses_what_are_no_image_numbers(extract: Callable[..., CachedFeatures], indices: Any) -> None:
    with pytest.raises(ValueError, match="indices: expected"):
        extract(image_set()).rows(indices)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"broken": "ignore"}, "broken: expected one of error, skip"),
        ({"batch_size": 0}, "batch_size: expected"),
    ],
)
def test_options_are_checked(
    extract: Callable[..., CachedFeatures], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        extract(image_set(), **options)


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


def test_killed_and_resumed_gives_the_same_bytes(
    extract: Callable[..., CachedFeatures], tmp_path: Path
) -> None:
    images = image_set()
    whole = extract(images, cache=tmp_path / "whole")
    child = start_child(tmp_path / "cut", 0.15)
    folder = tmp_path / "cut" / whole.folder.name
    wait_for(lambda: (folder / "shard-00001.npy").exists())
    child.send_signal(signal.SIGKILL)
    child.communicate()
    kept = content(folder)
    assert "shard-00003.npy" not in kept
    before = {name: (folder / name).stat().st_mtime_ns for name in kept if name == "shard-00000.npy"}
    resumed = extract(images, cache=tmp_path / "cut", batch_size=7)  # goes on with batches of 4
    assert content(resumed.folder) == content(whole.folder)
    assert before == {name: (folder / name).stat().st_mtime_ns for name in before}
    assert resumed.sha256 == whole.sha256


def test_what_a_kill_leaves_between_shard_and_manifest_is_made_again(
    extract: Callable[..., CachedFeatures],
) -> None:
    features = extract(image_set())
    whole = content(features.folder)
    manifest = json.loads(whole["manifest.json"])
    manifest["shards"][2] = None
    (features.folder / "manifest.json").write_text(json.dumps(manifest))
    (features.folder / "shard-00002.npy").write_bytes(b"half")
    (features.folder / ".manifest.json.abc.tmp").write_bytes(b"half")
    assert content(extract(image_set()).folder) == whole


def flip(path: Path, position: int = -3) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def test_a_flipped_byte_is_found_named_and_mended(extract: Callable[..., CachedFeatures]) -> None:
    features = extract(image_set())
    path = features.folder / "shard-00002.npy"
    whole = path.read_bytes()
    flip(path)
    again = extract(image_set())
    again.rows([0, 49])  # other shards are good
    with pytest.raises(
        ValueError, match=r"shard-00002\.npy: damaged shard, expected SHA-256 .* delete this file"
    ):
        again.rows([32])
    path.unlink()
    with pytest.raises(ValueError, match=r"shard-00002\.npy: shard is missing"):
        again.rows([32])
    extract(image_set())
    assert path.read_bytes() == whole


def test_a_flipped_byte_stops_a_resumed_extraction(extract: Callable[..., CachedFeatures]) -> None:
    features = extract(image_set())
    flip(features.folder / "shard-00000.npy")
    (features.folder / "shard-00003.npy").unlink()
    with pytest.raises(ValueError, match=r"shard-00000\.npy: damaged shard"):
        extract(image_set())


@pytest.mark.parametrize(
    "change",
    [
        *("{", "[]", {"key": "0"}, {"version": 2}, {"shards": []}, {"shards": [1] * 4}, {"n_features": 8.0}),
        *({"n_images": 10**15}, {"shard_size": -2}, {"batch_size": True}),
        *({"file": other} for other in (5, "", "/etc/passwd", "a\0b", ["x"], ".")),
        *({"sha256": other} for other in (5, None)),
        *({"skipped": other} for other in ("x", [1], [{}], [{"image": "0", "error": "x"}])),
    ],
)
def test_a_damaged_manifest_is_named(extract: Callable[..., CachedFeatures], change: Any) -> None:
    path = extract(image_set()).folder / "manifest.json"
    manifest = json.loads(path.read_text())
    if isinstance(change, dict):
        (manifest if set(change) <= set(manifest) else manifest["shards"][0]).update(change)
    path.write_text(change if isinstance(change, str) else json.dumps(manifest))
    with pytest.raises(ValueError, match=r"manifest\.json: damaged"):
        extract(image_set())


@pytest.mark.parametrize("content", [np.ones((2, 8), np.float32), np.ones((16, 8)), np.full((16, 8), {})])
def test_a_shard_that_holds_something_else(
    extract: Callable[..., CachedFeatures], content: np.ndarray
) -> None:
    features = extract(image_set())
    np.save(features.folder / "shard-00000.npy", content, allow_pickle=True)
    features.manifest["shards"][0]["sha256"] = file_sha256(features.folder / "shard-00000.npy")
    with pytest.raises(ValueError, match=r"shard-00000\.npy: (expected float32|missing or damaged)"):
        features.rows([0])


def test_a_full_disk_leaves_nothing_half_written(
    extract: Callable[..., CachedFeatures], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_a_cache_that_cannot_be_made(extract: Callable[..., CachedFeatures], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="make room or choose another place for the feature cache"):
        extract(image_set(), cache=tmp_path / "file" / "cache")


def test_a_broken_image_is_named(extract: Callable[..., CachedFeatures]) -> None:
    message = r"image 37 of toy \(image37\) is broken: /images/37\.png: .*broken='skip'"
    with pytest.raises(ValueError, match=message):
        extract(image_set(broken=(37, 45)))


def test_a_broken_image_is_skipped_and_listed(extract: Callable[..., CachedFeatures], tmp_path: Path) -> None:
    whole = extract(image_set(), cache=tmp_path / "whole")
    images = image_set(broken=(37, 45))
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
    with pytest.raises(ValueError, match="image 37 of toy"):
        extract(images)
    repaired = extract(image_set())  # the images it reads are whole now
    assert repaired.folder == features.folder
    assert repaired.skipped == {}
    assert content(repaired.folder) == content(whole.folder)


def test_a_network_that_fails_stops_the_threads(extract: Callable[..., CachedFeatures]) -> None:
    class Failing(Network):
        def extract(self, batch: Any) -> np.ndarray:
            raise MemoryError("no memory")

    with pytest.raises(MemoryError, match="no memory"):
        extract(image_set(), Failing())
    assert not any("ThreadPoolExecutor" in thread.name for thread in threading.enumerate())


def test_two_processes_at_once(extract: Callable[..., CachedFeatures], tmp_path: Path) -> None:
    whole = extract(image_set(), cache=tmp_path / "whole")
    children = [start_child(tmp_path / "cache", 0.05) for _ in range(2)]
    outputs = [child.communicate()[1].decode() for child in children]
    assert [child.returncode for child in children] == [0, 0], outputs
    assert content(tmp_path / "cache" / whole.folder.name) == content(whole.folder)


def test_a_second_process_says_that_it_waits(
    extract: Callable[..., CachedFeatures], capsys: pytest.CaptureFixture[str]
) -> None:
    first = threading.Thread(target=extract, args=(image_set(), Network(seconds=0.05)))
    first.start()
    time.sleep(0.2)
    extract(image_set(), progress=True)
    first.join()
    assert "another process extracts these features, waiting for it" in capsys.readouterr().err


def test_progress_says_images(
    extract: Callable[..., CachedFeatures], capsys: pytest.CaptureFixture[str]
) -> None:
    extract(image_set(), progress=True)
    assert "50/50" in (text := capsys.readouterr().err)
    assert "image/s" in text
