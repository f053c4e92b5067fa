"""Fitted methods, network weights and packed data: what they hold or an error that names the file."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdclib.data.features import read_packed, read_packed_views
from sdclib.extract.backbones import read_state_dict
from sdclib.files import read_json
from sdclib.methods import ITQHasher, SDCHasher, SHHasher, SignHasher
from sdclib.search.encoding import load_hasher
from tests.fuzzing import JSON, attacks, changed, damaged, fuzzed, lay_out, npy, npz, outcome, write

ROWS = np.random.default_rng(0).standard_normal((80, 6)).astype(np.float32)
HASHERS = {
    "sign": SignHasher(4),
    "itq": ITQHasher(4),
    "sh": SHHasher(4),
    "sdc": SDCHasher(4, preset="paper-no-contrastive", epochs=1, progress=False),
}


SAVED: dict[
    str, tuple[dict[str, Any], bytes]
] = {}  # of each method what its `hasher.json` says, and its weights


@pytest.fixture(scope="module", autouse=True)
def _saved(tmp_path_factory: pytest.TempPathFactory) -> None:
    for name, hasher in HASHERS.items():
        folder = hasher.fit(ROWS).save(tmp_path_factory.mktemp(name))
        description = json.loads((folder / "hasher.json").read_text())
        SAVED[name] = description, (folder / description["weights"]).read_bytes()


def lay_out_model(
    folder: Path, name: str, content: bytes | None = None, text: bytes | None = None, **said: Any
) -> Path:
    """Write a saved method anew, with other weights under their own hash, and another description."""
    description, weights = SAVED[name]
    if content is not None:
        said = {"weights_sha256": hashlib.sha256(content).hexdigest(), **said}
    whole = json.dumps({**description, **said}).encode() if text is None else text
    return lay_out(
        folder, {description["weights"]: weights if content is None else content, "hasher.json": whole}
    )


def use(folder: Path) -> Any:
    """Read a fitted method, and encode by it if that is possible."""
    hasher = outcome(lambda: load_hasher(folder), folder)
    if hasher is not None:
        with np.errstate(all="ignore"):
            codes = hasher.transform(np.ones((2, hasher.n_features_in_), dtype=np.float32))
        assert codes.shape == (2, hasher.n_bits)
    return hasher


@pytest.mark.parametrize("name", HASHERS)
@fuzzed
@given(data=st.data())
def test_damaged_models(tmp_path: Path, name: str, data: st.DataObject) -> None:
    folder, (description, weights) = tmp_path / "model", SAVED[name]
    np.testing.assert_array_equal(
        load_hasher(lay_out_model(folder, name)).transform(ROWS), HASHERS[name].transform(ROWS)
    )
    other = (changed(description) | JSON).map(json.dumps).map(str.encode)
    text = data.draw(damaged(json.dumps(description).encode()) | st.binary(max_size=40) | other)
    use(lay_out_model(folder, name, text=text))
    bad = data.draw(damaged(weights).filter(lambda content: content != weights) | st.binary(max_size=40))
    assert use(lay_out_model(folder, name, bad, weights_sha256=description["weights_sha256"])) is None


@pytest.mark.parametrize("name", HASHERS)
@fuzzed
@given(data=st.data())
def test_models_of_other_weights_with_their_hash(tmp_path: Path, name: str, data: st.DataObject) -> None:
    weights = SAVED[name][1]
    state = safetensors.numpy.load(weights)
    for key in data.draw(st.lists(st.sampled_from(sorted(state)), min_size=1, max_size=2, unique=True)):
        array = state.pop(key)
        nan = np.full_like(array, np.nan if array.dtype.kind == "f" else 10**6)
        others = [
            ("other", array),
            (key, array[:-1].copy()),
            (key, array.reshape(-1)),
            (key, array.astype(np.int32)),
            (key, nan),
        ]
        state |= dict(data.draw(st.lists(st.sampled_from(others), max_size=1)))
    weights = data.draw(st.just(safetensors.numpy.save(state)) | damaged(weights) | st.binary(max_size=40))
    more = data.draw(st.dictionaries(st.just("n_features"), st.sampled_from([5, 10**12, -1, "6"])))
    use(lay_out_model(tmp_path / "model", name, weights, **more))


def test_json_nested_too_deeply(tmp_path: Path) -> None:
    path = write(tmp_path / "deep.json", b"[" * 100_000)
    outcome(lambda: read_json(path), path)


def checkpoint(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


WEIGHTS = {"first": torch.arange(6.0).reshape(2, 3), "second": torch.ones(2, dtype=torch.int64)}
CHECKPOINTS = {
    "new.pth": checkpoint(WEIGHTS),
    "old.pth": checkpoint(WEIGHTS, _use_new_zipfile_serialization=False),
    "some.safetensors": safetensors.numpy.save({name: tensor.numpy() for name, tensor in WEIGHTS.items()}),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
@fuzzed
@given(data=st.data())
def test_any_weights_of_a_network(tmp_path: Path, name: str, data: st.DataObject) -> None:
    content = data.draw(st.just(CHECKPOINTS[name]) | damaged(CHECKPOINTS[name]) | st.binary(max_size=60))
    path = write(tmp_path / name, content)
    state = outcome(lambda: read_state_dict(path), path)
    assert state is None or all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    if content == CHECKPOINTS[name]:
        assert all(torch.equal(state[key], WEIGHTS[key]) for key in WEIGHTS)


PACKED = {
    "query": np.ones((2, 3), np.int8),
    "database": np.ones((4, 3), np.int8),
    "scale": np.ones(3, np.float32),
    "query_labels": np.array([0, 1]),
    "database_labels": np.array([0, 1, 0, 1]),
    "train_index": np.array([0, 2]),
    "views": np.ones((2, 2, 3), np.int8),
}
SET = {"name": "some", "licence": "none", "citation": "none", "top_k": 2}


def pack(folder: Path, content: bytes, **more: Any) -> Path:
    """Write a packed file whose manifest has its hash."""
    manifest = {**SET, "npz_sha256": hashlib.sha256(content).hexdigest(), **more}
    write(folder / "packed.json", json.dumps(manifest).encode())
    return write(folder / "packed.npz", content)


@fuzzed
@given(st.data())
def test_packed_features_that_are_damaged_or_not_as_described(tmp_path: Path, data: st.DataObject) -> None:
    path = pack(tmp_path, npz(PACKED))
    if data.draw(st.booleans()):
        write(path, data.draw(damaged(npz(PACKED)) | st.binary(max_size=40)))
    else:
        arrays = {name: array for name, array in PACKED.items() if data.draw(st.booleans())}
        arrays |= {
            name: data.draw(st.sampled_from(list(PACKED.values()))) for name in ("scale", "query_labels")
        }
        more = data.draw(st.dictionaries(st.just("top_k"), JSON))
        pack(tmp_path, data.draw(st.sampled_from([npz(arrays), npy(PACKED["query"]), b""])), **more)
    for read in (read_packed, read_packed_views):
        outcome(lambda read=read: read(path), tmp_path / "packed", (ValueError, FileNotFoundError))


def test_attacks_are_refused(tmp_path: Path) -> None:
    marker = tmp_path / "owned"
    for attack in attacks(marker):
        for value in (attack, {"first": attack}, {"state_dict": {"first": attack}}):
            for content in (
                pickle.dumps(value),
                checkpoint(value),
                checkpoint(value, _use_new_zipfile_serialization=False),
            ):
                for name in ("attack.pth", "attack.safetensors"):
                    path = write(tmp_path / name, content)
                    with pytest.raises(ValueError, match="expected tensors by name"):
                        read_state_dict(path)
                for text in (None, pickle.dumps(value)):
                    folder = lay_out_model(tmp_path / "model", "itq", content, text)
                    with pytest.raises(ValueError, match="model"):
                        load_hasher(folder)
        objects = np.array([attack], dtype=object)
        path = pack(tmp_path, npz({**PACKED, "query": objects, "views": objects}))
        for read in (read_packed, read_packed_views):
            with pytest.raises(ValueError, match=r"packed\.npz: unexpected content"):
                read(path)
    assert not marker.exists()
