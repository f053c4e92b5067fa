"""The feature cache: whatever manifest and shards are, features or an error that names a file."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdclib.extract.feature_cache.layout import VERSION, CachedFeatures, missing_shards, read_manifest
from tests.fuzzing import JSON, attacks, changed, damaged, fuzzed, lay_out, npy, outcome

KEY = "ab" * 32
SHARDS = [npy(np.full((2, 3), i + 1, dtype=np.float32)) for i in range(2)]
MANIFEST: dict[str, Any] = {
    **{
        "version": VERSION,
        "key": KEY,
        "set": "some",
        "backbone": {"name": "net"},
        "n_images": 4,
        "n_features": 3,
    },
    **{"dtype": "float32", "shard_size": 2, "batch_size": 1},
    "shards": [
        {"file": f"shard-{i:05d}.npy", "sha256": hashlib.sha256(shard).hexdigest(), "skipped": []}
        for i, shard in enumerate(SHARDS)
    ],
}


def read_cache(folder: Path) -> np.ndarray | None:
    """Features of the first image as the library reads them, None where there are none."""
    manifest = read_manifest(folder, KEY)
    if manifest is None or missing_shards(folder, manifest):
        return None
    features = CachedFeatures(folder, manifest)
    assert len(features.sha256) == 64
    assert features.skipped.keys() <= set(range(features.n_images))
    return features.rows(np.arange(min(1, features.n_images)))


@fuzzed
@given(st.data())
def test_any_feature_cache(tmp_path: Path, data: st.DataObject) -> None:
    manifest = dict(MANIFEST)
    shards = [dict(entry) for entry in MANIFEST["shards"]]
    shard = data.draw(
        st.just(SHARDS[0]) | damaged(SHARDS[0]) | st.binary(max_size=20) | st.just(npy(np.eye(2)))
    )
    if data.draw(st.booleans()):
        shards[0]["sha256"] = hashlib.sha256(shard).hexdigest()
    shards[1] = data.draw(changed(shards[1]) | st.just(shards[1]) | JSON)
    manifest["shards"] = shards
    content = json.dumps(data.draw(st.just(manifest) | changed(manifest) | JSON)).encode()
    if data.draw(st.booleans()):
        content = data.draw(damaged(content))
    files = {"manifest.json": content, "shard-00000.npy": shard, "shard-00001.npy": SHARDS[1]}
    folder = lay_out(tmp_path / "cache", files)
    rows = outcome(lambda: read_cache(folder), folder)
    assert rows is None or (rows.ndim == 2 and rows.dtype == np.float32)


@pytest.mark.parametrize(
    ("where", "other"),
    [
        *[(("n_features",), other) for other in (10**12, 3.0, -1, True)],
        *[(("n_images",), other) for other in (0, 10**15, 1e300, "4", -1)],
        *[(("shard_size",), other) for other in (0, 2.0, -2, 10**15)],
        *[(("shards",), other) for other in ({}, "ab", {"0": 1, "1": 2}, [[], []], ["ab", "cd"])],
        *[(("shards", 0, "file"), other) for other in (5, "", "/etc/passwd", "a\0b", "n" * 300, ["x"], ".")],
        *[(("shards", 0, "sha256"), other) for other in (5, None, [])],
        *[
            (("shards", 0, "skipped"), other)
            for other in ("x", [1], [{}], [{"image": "0", "error": "x"}], {"a": 1})
        ],
    ],
)
def test_manifests_that_say_something_else(tmp_path: Path, where: tuple[Any, ...], other: Any) -> None:
    manifest = json.loads(json.dumps(MANIFEST))
    holder = manifest
    for key in where[:-1]:
        holder = holder[key]
    holder[where[-1]] = other
    files = {f"shard-{i:05d}.npy": shard for i, shard in enumerate(SHARDS)}
    folder = lay_out(tmp_path / "cache", {"manifest.json": json.dumps(manifest).encode(), **files})
    assert outcome(lambda: read_cache(folder), folder) is None


def test_a_manifest_of_another_layout_without_its_key(tmp_path: Path) -> None:
    manifest = {name: value for name, value in MANIFEST.items() if name != "key"} | {"version": None}
    folder = lay_out(tmp_path / "cache", {"manifest.json": json.dumps(manifest).encode()})
    with pytest.raises(ValueError, match=r"manifest\.json: damaged manifest, .* got None of None; delete"):
        read_cache(folder)


def test_the_whole_feature_cache_is_read(tmp_path: Path) -> None:
    files = {f"shard-{i:05d}.npy": shard for i, shard in enumerate(SHARDS)}
    folder = lay_out(tmp_path / "cache", {"manifest.json": json.dumps(MANIFEST).encode(), **files})
    np.testing.assert_array_equal(read_cache(folder), np.ones((1, 3), dtype=np.float32))


def test_attacks_are_refused(tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    for attack in attacks(marker):
        objects = np.empty((2, 1), dtype=object)
        objects[:] = [[attack]] * 2
        for content in (pickle.dumps(attack), npy(objects)):
            entry = {**MANIFEST["shards"][0], "sha256": hashlib.sha256(content).hexdigest()}
            manifest = {**MANIFEST, "shards": [entry, MANIFEST["shards"][1]]}
            files = {"manifest.json": json.dumps(manifest).encode(), "shard-00000.npy": content}
            folder = lay_out(tmp_path / "cache", {**files, "shard-00001.npy": SHARDS[1]})
            with pytest.raises(ValueError, match=r"shard-00000\.npy"):
                read_cache(folder)
    assert not marker.exists()
