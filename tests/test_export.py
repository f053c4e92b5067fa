"""Fitted methods for other programs: ONNX Runtime and faiss compute what the library does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from torch import nn

from sdclib.methods import METHODS, BaseHasher, ITQHasher, LSHHasher, SDCHasher, SHHasher, SignHasher
from sdclib.search.encoding import pack_precision
from sdclib.search.export import onnx_model, to_faiss, to_onnx
from sdclib.search.index import HammingIndex
from tests.test_methods import fit, quick

ATOL = 1e-4  # of a continuous code near 1; ONNX Runtime adds up in another order


@pytest.fixture(scope="module")
def X() -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5, 24))
    rows = centres[rng.integers(0, 5, 300)] + 0.5 * rng.standard_normal((300, 24)) + 0.4
    return rows.astype(np.float32)


def computed(model: bytes | Path, X: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Outputs of a model by ONNX Runtime, by name."""
    runtime = pytest.importorskip("onnxruntime")
    source = model if isinstance(model, bytes) else str(model)
    session = runtime.InferenceSession(source, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"features": X}), strict=True))


# ONNX


@pytest.mark.parametrize("method", sorted(METHODS))
def test_onnx_runtime_computes_the_continuous_codes(
    method: str, X: NDArray[np.float32], tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    hasher = fit(quick(method), X)
    path = to_onnx(hasher, tmp_path / "new" / "head.onnx")
    assert [file.name for file in path.parent.iterdir()] == ["head.onnx"]
    other = np.random.default_rng(7).normal(size=(1000, 24)).astype(np.float32)
    for rows in (X, X[:1], other):
        expected = hasher.decision_function(rows)
        found = computed(path, rows)
        assert list(found) == ["continuous_codes"]
        assert found["continuous_codes"].dtype == np.float32
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found["continuous_codes"], expected, rtol=0, atol=ATOL * scale)


@pytest.mark.parametrize(
    "hasher",
    [
        SDCHasher(12, "release", n_hidden_layers=0, epochs=2),
        SDCHasher(12, "release", n_hidden_layers=2, hidden_features=40, center=True, epochs=2),
        SDCHasher(12, "paper", epochs=1),
        *(SDCHasher(12, "release", norm=norm, epochs=1) for norm in ("plain", "fixed", "none")),
        SignHasher(12, center=True),
        LSHHasher(12, center=True),
        SHHasher(40),  # more bits than features: high modes
    ],
)
def test_other_heads(hasher: BaseHasher, X: NDArray[np.float32]) -> None:
    pytest.importorskip("onnx")
    model = onnx_model(hasher.fit(X).set_params(n_bits=5))  # says nothing of what was fitted
    found = computed(model.SerializeToString(), X)["continuous_codes"]
    np.testing.assert_allclose(found, hasher.decision_function(X), rtol=0, atol=ATOL)


@pytest.mark.parametrize("precision", ["sdc", "ubinary", "binary"])
@pytest.mark.parametrize("n_bits", [1, 8, 13, 24])
def test_packed_codes_of_the_model(precision: str, n_bits: int, X: NDArray[np.float32]) -> None:
    pytest.importorskip("onnx")
    hasher = SignHasher(n_bits).fit(X)
    rows = X.copy()
    rows[0] = 0  # a zero counts as 1
    found = computed(onnx_model(hasher, packed=precision).SerializeToString(), rows)
    expected = pack_precision(rows[:, :n_bits] >= 0, precision)
    np.testing.assert_array_equal(found["packed_codes"], expected)
    assert found["packed_codes"].dtype == expected.dtype


def test_model_says_what_it_is(X: NDArray[np.float32]) -> None:
    onnx = pytest.importorskip("onnx")
    newest = onnx.defs.onnx_opset_version()
    for opset in (17, newest):
        model = onnx_model(ITQHasher(12).fit(X), opset=opset, packed="sdc")
        assert [(part.domain, part.version) for part in model.opset_import] == [("", opset)]
        (features,) = model.graph.input
        dims = features.type.tensor_type.shape.dim
        assert (dims[0].dim_param, dims[1].dim_value) == ("n", 24)
        assert {item.key: item.value for item in model.metadata_props} == {"method": "itq", "n_bits": "12"}
        assert model.producer_name == "sdclib"


def test_onnx_refuses(X: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    hasher = fit(quick("sdc"), X)
    for arguments, message in (
        ({"opset": 16}, "opset: expected a whole number >= 17, got 16"),
        ({"opset": 999}, r"opset: expected at most \d+, as onnx .* knows, got 999"),
        ({"packed": "int8"}, "packed: expected one of binary, sdc, ubinary, got 'int8'"),
    ):
        with pytest.raises(ValueError, match=message):
            to_onnx(hasher, tmp_path / "head.onnx", **arguments)
    with pytest.raises(ValueError, match="hasher: expected a fitted method, got Linear"):
        onnx_model(nn.Linear(3, 2))  # type: ignore[arg-type]
    with pytest.raises(NotFittedError):
        onnx_model(ITQHasher(12))
    hasher.head_ = nn.Sequential(nn.Linear(24, 12), nn.Tanh())
    with pytest.raises(ValueError, match=r"hasher: expected a head of layers .*, got Tanh\(\)"):
        to_onnx(hasher, tmp_path / "head.onnx")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs the package onnx: pip install onnx"):
        to_onnx(hasher, tmp_path / "head.onnx")
    assert list(tmp_path.iterdir()) == []


def test_an_older_model_survives_a_write_that_fails(
    X: NDArray[np.float32], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    path = to_onnx(ITQHasher(8).fit(X), tmp_path / "head.onnx")
    before = path.read_bytes()

    def full(*arguments: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        to_onnx(ITQHasher(12).fit(X), path)
    with pytest.raises(OSError, match="No space"):
        to_faiss(ITQHasher(12).fit(X), X, path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


# faiss


@pytest.mark.parametrize("n_bits", [8, 13, 24])
def test_faiss_finds_the_distances_of_the_index(n_bits: int, X: NDArray[np.float32], tmp_path: Path) -> None:
    hasher = ITQHasher(n_bits).fit(X)
    path = tmp_path / "codes.faiss"
    index = to_faiss(hasher, X, path)
    assert isinstance(index, faiss.IndexBinaryFlat)
    other = tmp_path / "other.faiss"
    faiss.write_index_binary(index, str(other))
    assert path.read_bytes() == other.read_bytes()

    query, codes = hasher.transform(X[:20]), hasher.transform(X)
    counted = (query[:, None, :] != codes[None]).sum(axis=2)
    distances, indices = faiss.read_index_binary(str(path)).search(hasher.pack(X[:20]), 300)
    np.testing.assert_array_equal(distances, np.take_along_axis(counted, indices, axis=1))
    expected, _ = HammingIndex(codes).search(query, 300)
    np.testing.assert_array_equal(distances, expected)


def test_faiss_of_codes_and_of_packed_codes(X: NDArray[np.float32]) -> None:
    hasher = ITQHasher(13).fit(X)
    expected = faiss.serialize_index_binary(to_faiss(hasher, X))
    for index in (to_faiss(hasher.transform(X)), to_faiss(hasher.pack(X), n_bits=13)):
        np.testing.assert_array_equal(faiss.serialize_index_binary(index), expected)


def test_faiss_refuses(X: NDArray[np.float32], tmp_path: Path) -> None:
    hasher = ITQHasher(13).fit(X)
    bad = X.copy()
    bad[41, 2] = np.nan
    path = tmp_path / "codes.faiss"
    calls: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((hasher,), {}, "database: expected vectors beside a method"),
        ((hasher, X), {"n_bits": 13}, "database: expected vectors beside a method, and no n_bits"),
        ((hasher, X[:, :5], path), {"name": "mine.npy"}, "mine.npy: expected 24 features a row, got 5"),
        ((hasher, bad, path), {}, "database: expected finite values, .*first in row 41"),
        ((hasher.transform(X), X, path), {}, "database: expected none beside codes"),
        ((hasher.pack(X),), {}, "codes: expected only 0 and 1, got other values"),
        ((hasher.pack(X),), {"n_bits": 24}, r"source: expected packed codes, uint8 of shape \(n, 3\)"),
        ((hasher.pack(X) | 0x80,), {"n_bits": 13}, "source: expected unused bits beyond n_bits = 13 to be 0"),
    ]
    for arguments, more, message in calls:
        with pytest.raises(ValueError, match=message):
            to_faiss(*arguments, **more)
    assert not path.exists()


@pytest.mark.parametrize("precision", ["sdc", "ubinary", "binary"])
def test_distances_do_not_depend_on_the_precision(precision: str) -> None:
    codes = np.random.default_rng(1).integers(0, 2, (30, 21))
    packed = pack_precision(codes, precision).view(np.uint8)
    found = np.bitwise_count(packed[:, None] ^ packed[None]).sum(axis=2)
    np.testing.assert_array_equal(found, (codes[:, None] != codes[None]).sum(axis=2))
