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
from hypothesis import assume, given
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
    "sdc": SDCHasher(4, preset="paper", epochs=1, progress=False),
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[dict[str, Any], bytes]]:
    """Of each method what its `hasher.json` says, and its weights."""
    saved = {}
    for name, hasher in HASHERS.items():
        folder = hasher.fit(ROWS).save(tmp_path_factory.mktemp(name))
        description = json.loads((folder / "hasher.json").read_text())
        saved[name] = description, (folder / description["weights"]).read_bytes()
    return saved


def lay_out_model(folder: Path, description: Any, weights: bytes, name: str) -> Path:
    """Write a saved method anew."""
    text = description if isinstance(description, bytes) else json.dumps(description).encode()
    return lay_out(folder, {name: weights, "hasher.json": text})


def use(folder: Path) -> None:
    """Read a fitted method, and encode by it if that is possible."""
    hasher = outcome(lambda: load_hasher(folder), folder)
    if hasher is not None:
        with np.errstate(all="ignore"):
            codes = hasher.transform(np.ones((2, hasher.n_features_in_), dtype=np.float32))
        assert codes.shape == (2, hasher.n_bits)


@pytest.mark.parametrize("name", HASHERS)
def test_whole_models_are_read(tmp_path: Path, models: Any, name: str) -> None:
    description, weights = models[name]
    folder = lay_out_model(tmp_path / "model", description, weights, description["weights"])
    np.testing.assert_array_equal(load_hasher(folder).transform(ROWS), HASHERS[name].transform(ROWS))


@pytest.mark.parametrize("name", HASHERS)
@fuzzed
@given(data=st.data())
def test_damaged_models(tmp_path: Path, models: Any, name: str, data: st.DataObject) -> None:
    description, weights = models[name]
    text = json.dumps(description).encode()
    if data.draw(st.booleans()):
        text = data.draw(
            damaged(text)
            | st.binary(max_size=40)
            | (changed(description) | JSON).map(json.dumps).map(str.encode)
        )
    else:
        weights = data.draw(damaged(weights) | st.binary(max_size=40))
    use(lay_out_model(tmp_path / "model", text, weights, description["weights"]))


@pytest.mark.parametrize("name", HASHERS)
@fuzzed
@given(data=st.data())
def test_models_of_other_weights_with_their_hash(
    tmp_path: Path, models: Any, name: str, data: st.DataObject
) -> None:
    description, weights = models[name]
    state = safetensors.numpy.load(weights)
    for key in data.draw(st.lists(st.sampled_from(sorted(state)), min_size=1, max_size=2, unique=True)):
        match data.draw(st.sampled_from(["gone", "other name", "cut", "flat", "whole numbers", "nan"])):
            case "gone":
                del state[key]
            case "other name":
                state["other"] = state.pop(key)
            case "cut":
                state[key] = state[key][:-1].copy()
            case "flat":
                state[key] = state[key].reshape(-1)
            case "whole numbers":
                state[key] = state[key].astype(np.int32)
            case "nan":
                state[key] = np.full_like(state[key], np.nan if state[key].dtype.kind == "f" else 10**6)
    other = st.just(safetensors.numpy.save(state)) | damaged(weights) | st.binary(max_size=40)
    weights = data.draw(other)
    wrong = data.draw(
        st.sampled_from(
            [{}, {"n_features": 5}, {"n_features": 10**12}, {"n_features": -1}, {"n_features": "6"}]
        )
    )
    description = {**description, **wrong, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    use(lay_out_model(tmp_path / "model", description, weights, description["weights"]))


@pytest.mark.parametrize(
    "wrong",
    [{"weights": name} for name in ("", ".", "..", "/", "a\0b", "n" * 300)]
    + [{"parameters": {"n_bits": "4"}}],
)
def test_other_names_of_weights(tmp_path: Path, models: Any, wrong: dict[str, Any]) -> None:
    description, weights = models["itq"]
    folder = lay_out_model(tmp_path / "model", {**description, **wrong}, weights, description["weights"])
    assert outcome(lambda: load_hasher(folder), folder) is None


@pytest.mark.parametrize("case", ["weights are no safetensors", "an array is missing", "a folder as weights"])
def test_load_of_a_method_names_the_file(tmp_path: Path, models: Any, case: str) -> None:
    description, weights = models["itq"]
    if case == "weights are no safetensors":
        weights = b"none"
    if case == "an array is missing":
        weights = safetensors.numpy.save({"mean": np.zeros(6, dtype=np.float32)})
    description = {**description, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    folder = lay_out_model(tmp_path / "model", description, weights, description["weights"])
    if case == "a folder as weights":
        write(folder / "hasher.json", json.dumps({**description, "weights": ""}).encode())
    outcome(lambda: ITQHasher.load(folder), folder, (ValueError, FileNotFoundError))


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
    **{
        "query": np.ones((2, 3), np.int8),
        "database": np.ones((4, 3), np.int8),
        "scale": np.ones(3, np.float32),
    },
    **{
        "query_labels": np.array([0, 1]),
        "database_labels": np.array([0, 1, 0, 1]),
        "train_index": np.array([0, 2]),
    },
    "views": np.ones((2, 2, 3), np.int8),
}
ENDLESS = (float("inf"), float("-inf"))
SET = {"name": "some", "licence": "none", "citation": "none", "top_k": 2}


def pack(folder: Path, content: bytes, **more: Any) -> Path:
    """Write a packed file whose manifest has its size and hash."""
    manifest = {**SET, "npz_bytes": len(content), "npz_sha256": hashlib.sha256(content).hexdigest(), **more}
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
        more = data.draw(st.dictionaries(st.sampled_from(["top_k", "npz_bytes"]), JSON))
        assume(more.get("npz_bytes") not in ENDLESS)
        pack(tmp_path, npz(arrays), **more)
    for read in (read_packed, read_packed_views):
        outcome(lambda read=read: read(path), tmp_path / "packed", (ValueError, FileNotFoundError))


@pytest.mark.xfail(
    strict=True, raises=OverflowError, reason="read_packed passes on that infinity is no whole number"
)
@pytest.mark.parametrize("size", ENDLESS)
def test_packed_features_whose_size_is_infinite(tmp_path: Path, size: float) -> None:
    path = pack(tmp_path, npz(PACKED), npz_bytes=size)
    outcome(lambda: read_packed(path), tmp_path / "packed")


@pytest.mark.xfail(
    strict=True,
    raises=(TypeError, EOFError),
    reason="where the manifest beside it has its hash, read_packed passes on what NumPy raises of an .npy or no bytes",
)
@pytest.mark.parametrize("content", [npy(PACKED["query"]), b""], ids=["an .npy", "no bytes"])
def test_packed_features_of_another_kind_with_their_hash(tmp_path: Path, content: bytes) -> None:
    path = pack(tmp_path, content)
    outcome(lambda: read_packed(path), path, (ValueError, FileNotFoundError))


def test_attacks_are_refused(tmp_path: Path, models: Any) -> None:
    marker = tmp_path / "owned"
    description = models["itq"][0]
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
                weights = {**description, "weights_sha256": hashlib.sha256(content).hexdigest()}
                for said in (weights, pickle.dumps(value)):
                    folder = lay_out_model(tmp_path / "model", said, content, description["weights"])
                    with pytest.raises(ValueError, match="model"):
                        load_hasher(folder)
        objects = np.array([attack], dtype=object)
        path = pack(tmp_path, npz({**PACKED, "query": objects, "views": objects}))
        for read in (read_packed, read_packed_views):
            with pytest.raises(ValueError, match=r"packed\.npz: unexpected content"):
                read(path)
    assert not marker.exists()
    torch.load(io.BytesIO(checkpoint({"first": attacks(marker)[1]})), weights_only=False)
    assert marker.exists(), "the attack must work where pickles are read"
