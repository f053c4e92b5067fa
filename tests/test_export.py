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
from sdclib.search.encoding import PRECISIONS, pack_precision
from sdclib.search.export import onnx_model, to_faiss, to_onnx
from sdclib.search.index import HammingIndex
from tests.command import rows
from tests.test_methods import fit, quick

onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
RTOL = 1e-5  # of the largest continuous code; ONNX Runtime adds up in another order


X = rows(seed=3)


def computed(model: bytes, X: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Outputs of a model by ONNX Runtime, by name."""
    session = runtime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"features": X}), strict=True))


def check_codes(model: bytes, hasher: BaseHasher) -> None:
    other = np.random.default_rng(7).normal(size=(1000, 24)).astype(np.float32)
    for vectors in (X, X[:1], other):
        found, expected = computed(model, vectors), hasher.decision_function(vectors)
        assert list(found) == ["continuous_codes"]
        assert found["continuous_codes"].dtype == np.float32
        scale = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(found["continuous_codes"], expected, rtol=0, atol=RTOL * scale)


# ONNX


@pytest.mark.parametrize("method", sorted(METHODS))
def test_onnx_runtime_computes_the_continuous_codes(method: str, tmp_path: Path) -> None:
    hasher = fit(quick(method), X)
    path = to_onnx(hasher, tmp_path / "new" / "head.onnx")
    assert [file.name for file in path.parent.iterdir()] == ["head.onnx"]
    check_codes(path.read_bytes(), hasher)


@pytest.mark.parametrize(
    "hasher",
    [
        SDCHasher(12, "release", n_hidden_layers=0, epochs=2),
        SDCHasher(12, "release", n_hidden_layers=2, hidden_features=40, center=True, epochs=2),
        SDCHasher(12, "paper-no-contrastive", epochs=1),
        *(SDCHasher(12, "release", norm=norm, epochs=1) for norm in ("plain", "fixed", "none")),
        SignHasher(12, center=True),
        LSHHasher(12, center=True),
        SHHasher(40),  # more bits than features: high modes
    ],
)
def test_other_heads(hasher: BaseHasher) -> None:
    hasher.fit(X).set_params(n_bits=5)  # says nothing of what was fitted
    check_codes(onnx_model(hasher).SerializeToString(), hasher)


@pytest.mark.filterwarnings("ignore:sign. the codes:UserWarning")
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("n_bits", [1, 8, 13, 24])
def test_packed_codes_of_the_model(precision: str, n_bits: int) -> None:
    hasher, vectors = SignHasher(n_bits).fit(X), X.copy()
    vectors[0] = 0  # a zero counts as 1
    found = computed(onnx_model(hasher, packed=precision).SerializeToString(), vectors)["packed_codes"]
    expected = pack_precision(vectors[:, :n_bits] >= 0, precision)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_model_says_what_it_is() -> None:
    for opset in (17, onnx.defs.onnx_opset_version()):
        model = onnx_model(ITQHasher(12).fit(X), opset=opset, packed="sdc")
        assert [(part.domain, part.version) for part in model.opset_import] == [("", opset)]
        dims = model.graph.input[0].type.tensor_type.shape.dim
        assert (dims[0].dim_param, dims[1].dim_value) == ("n", 24)
        assert {item.key: item.value for item in model.metadata_props} == {"method": "itq", "n_bits": "12"}
        assert model.producer_name == "sdclib"


def test_onnx_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = fit(quick("sdc"), X)
    for more, message in (
        ({"opset": 16}, "opset: expected a whole number >= 17, got 16"),
        ({"opset": 999}, r"opset: expected at most \d+, got 999"),
        ({"packed": "int8"}, "packed: expected one of binary, sdc, ubinary, got 'int8'"),
    ):
        with pytest.raises(ValueError, match=message):
            to_onnx(hasher, tmp_path / "head.onnx", **more)
    with pytest.raises(ValueError, match="hasher: expected a fitted method, got Linear"):
        onnx_model(nn.Linear(3, 2))  # type: ignore[arg-type]
    with pytest.raises(NotFittedError):
        onnx_model(ITQHasher(12))
    hasher.head_ = nn.Sequential(nn.Linear(24, 12), nn.Tanh())
    with pytest.raises(ValueError, match=r"hasher: expected a head of layers .*, got Tanh\(\)"):
        to_onnx(hasher, tmp_path / "head.onnx")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install onnx"):
        to_onnx(hasher, tmp_path / "head.onnx")
    assert list(tmp_path.iterdir()) == []


# faiss


@pytest.mark.parametrize("n_bits", [8, 13, 24])
def test_faiss_finds_the_distances_of_the_index(n_bits: int, tmp_path: Path) -> None:
    hasher = ITQHasher(n_bits).fit(X)
    path, other = tmp_path / "codes.faiss", tmp_path / "other.faiss"
    index = to_faiss(hasher, X, path)
    assert isinstance(index, faiss.IndexBinaryFlat)
    faiss.write_index_binary(index, str(other))
    assert path.read_bytes() == other.read_bytes()
    distances, _ = faiss.read_index_binary(str(path)).search(hasher.pack(X[:20]), 300)
    expected, _ = HammingIndex(hasher.transform(X)).search(hasher.transform(X[:20]), 300)
    np.testing.assert_array_equal(distances, expected)
    for same in (to_faiss(hasher.transform(X)), to_faiss(hasher.pack(X), n_bits=n_bits)):
        np.testing.assert_array_equal(faiss.serialize_index_binary(same), faiss.serialize_index_binary(index))


def test_faiss_refuses(tmp_path: Path) -> None:
    hasher, bad, path = ITQHasher(13).fit(X), X.copy(), tmp_path / "codes.faiss"
    bad[41, 2] = np.nan
    packed = hasher.pack(X)
    calls: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((hasher,), {}, "database: expected vectors beside a method"),
        ((hasher, X), {"n_bits": 13}, "database: expected vectors beside a method, and no n_bits"),
        ((hasher, X[:, :5], path), {"name": "mine.npy"}, "mine.npy: expected 24 features a row, got 5"),
        ((hasher, bad, path), {}, "database: expected finite values, .*first in row 41"),
        ((hasher.transform(X), X, path), {}, "database: expected none beside codes"),
        ((packed,), {}, "source: expected only 0 and 1, got other values"),
        ((packed,), {"n_bits": 24}, "source: expected packed codes"),
        ((packed | 0x80,), {"n_bits": 13}, "source: expected unused bits beyond n_bits = 13 to be 0"),
    ]
    for arguments, more, message in calls:
        with pytest.raises(ValueError, match=message):
            to_faiss(*arguments, **more)
    assert not path.exists()
