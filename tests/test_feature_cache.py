"""The feature cache: what it keeps, what a kill, a flipped byte, a full disk and a broken image do to it."""

from __future__ import annotations

import json
import os
import signal
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
from tests.faults import content, ended, forked, wait_for
from tests.toy_backbone import Idle, Network, image_set

Extract = Callable[..., CachedFeatures]


def direct(images: ImageSet, network: Network) -> np.ndarray:
    """Features without threads or files, by the same batches of 4."""
    prepared = np.stack([network.preprocess(images.read(i)) for i in range(len(images.ids))])
    return np.concatenate([network.extract(prepared[i : i + 4]) for i in range(0, len(prepared), 4)])


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
    assert features.n_images == 50
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
    monkeypatch.setattr(feature_cache, "check_shard", lambda *_: pytest.fail("read a shard"))
    assert extract(image_set(), Idle()).sha256 == features.sha256


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


# Kills and several processes


def test_killed_and_resumed_gives_the_same_bytes(extract: Extract, tmp_path: Path) -> None:
    whole = extract(image_set(), cache=tmp_path / "whole")
    folder = tmp_path / "cut" / whole.folder.name
    child = forked(lambda: extract(image_set(), Network(seconds=0.15), cache=tmp_path / "cut"))
    wait_for(lambda: (folder / "shard-00001.npy").exists())
    os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
    assert "shard-00003.npy" not in content(folder)
    before = (folder / "shard-00000.npy").stat().st_mtime_ns
    resumed = extract(image_set(), cache=tmp_path / "cut", batch_size=7)  # goes on with batches of 4
    assert content(resumed.folder) == content(whole.folder)
    assert before == (folder / "shard-00000.npy").stat().st_mtime_ns


@pytest.mark.parametrize("entry", [None, {"skipped": [{"image": 20, "error": "broken"}]}])
def test_shards_that_the_manifest_does_not_vouch_for_are_made_again(extract: Extract, entry: Any) -> None:
    """As a kill leaves them between shard and manifest, and as earlier versions did for broken images."""
    folder = extract(image_set()).folder
    whole = content(folder)
    manifest = json.loads(whole["manifest.json"])
    manifest["shards"][2] = entry and manifest["shards"][2] | entry
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "shard-00002.npy").write_bytes(b"half")
    (folder / ".manifest.json.abc.tmp").write_bytes(b"half")
    assert content(extract(image_set()).folder) == whole


def test_two_processes_at_once(extract: Extract, tmp_path: Path) -> None:
    whole = extract(image_set(), cache=tmp_path / "whole")
    children = [forked(lambda: extract(image_set(), Network(seconds=0.05))) for _ in range(2)]
    assert [ended(child) for child in children] == [0, 0]
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
        *("{", "[]", {"key": "0"}, {"version": 2}, {"shards": []}, {"shards": [1] * 4}, {"shards": [{}] * 4}),
        *({"n_features": 7}, {"n_images": 10**15}, {"shard_size": -2}, {"batch_size": 0}),
    ],
)
def test_a_damaged_manifest_is_named(extract: Extract, change: Any) -> None:
    path = extract(image_set()).folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(change if isinstance(change, str) else json.dumps(manifest | change))
    with pytest.raises(ValueError, match=r"manifest\.json: damaged"):
        extract(image_set())


def test_a_broken_image_is_named_and_whole_shards_are_kept(extract: Extract, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image 37 of toy \(image37\) is broken: /images/37\.png: "):
        extract(image_set(broken=(37, 45)))
    (folder,) = (tmp_path / "cache").iterdir()
    assert sorted(content(folder)) == ["manifest.json", "shard-00000.npy", "shard-00001.npy"]
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="make room or choose another place for the feature cache"):
        extract(image_set(), cache=tmp_path / "file" / "cache")


def test_a_network_that_fails_stops_the_threads(extract: Extract) -> None:
    with pytest.raises(LookupError, match="ran the network"):
        extract(image_set(), Idle())
    assert not any("ThreadPoolExecutor" in thread.name for thread in threading.enumerate())
