"""Files of vectors: whatever the bytes, vectors or an error that names the file; no pickle is read."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.numpy import save

from sdclib.data.embeddings import load_embeddings
from sdclib.data.features import FeatureSet
from sdclib.data.vectors import SUFFIXES, VectorFile, encode_labels, load_npy, read_vectors
from tests.fuzzing import attacks, damaged, fuzzed, npy, npz, outcome, write

N, D = 6, 3
VECTORS = np.arange(1, N * D + 1, dtype=np.float32).reshape(N, D)
NAMES = ["features", "embeddings", "labels", "label", "ids", "id", "query_rows", "train_rows", "more"]
SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=N)
ODD_DTYPES = st.sampled_from(["V4", "S0", [("a", "<i4"), ("b", "<f4")]])
ANY_ARRAY = npst.arrays(npst.scalar_dtypes(), SHAPES) | st.builds(np.zeros, SHAPES, ODD_DTYPES)
TEXT = st.text(st.characters(codec="utf-8"), max_size=6)


def npy_of(header: str, data: bytes = b"") -> bytes:
    """An .npy with any header."""
    text = header.encode("latin1") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + data


def parquet(arrays: dict[str, Any]) -> bytes:
    columns = {name: list(a) if a.ndim > 1 else a for name, a in arrays.items()}
    return pd.DataFrame(columns).to_parquet(engine="pyarrow")


def csv(arrays: dict[str, Any]) -> bytes:
    table = pd.DataFrame(arrays["features"], columns=["a", "b", "c"])
    return table.assign(labels=arrays["labels"], ids=arrays["ids"]).to_csv(index=False).encode()


WHOLE = {
    "features": VECTORS,
    "labels": np.array([0, 1, 2, 0, 1, 2]),
    "ids": np.array([f"row{i}" for i in range(N)]),
    "query_rows": np.array([1, 4]),
    "train_rows": np.array([0, 2, 5]),
}
NUMBERS = {name: array for name, array in WHOLE.items() if name != "ids"}
FILES = {
    ".npy": npy(VECTORS),
    ".npz": npz(WHOLE),
    ".safetensors": save(NUMBERS),
    ".parquet": parquet({name: WHOLE[name] for name in ("features", "labels", "ids")}),
    ".csv": csv(WHOLE),
}


def check(path: Path) -> None:
    """Read vectors, then make a feature set of them: each is as described, or an error names the file."""
    file = outcome(lambda: read_vectors(path), path)
    if file is not None:
        assert isinstance(file, VectorFile)
        n = len(file.vectors)
        assert file.vectors.ndim == 2
        assert file.vectors.dtype.kind in "fiu"
        assert file.labels is None or len(file.labels) == n
        assert file.ids is None or len(set(file.ids)) == n
    features = outcome(lambda: load_embeddings(path, n_neighbors=2), "")
    assert features is None or isinstance(features, FeatureSet)


@pytest.mark.parametrize("suffix", SUFFIXES)
@fuzzed
@given(content=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, suffix: str, content: bytes) -> None:
    check(write(tmp_path / f"any{suffix}", content))


@pytest.mark.parametrize("suffix", SUFFIXES)
@fuzzed
@given(data=st.data())
def test_damaged_files(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    check(write(tmp_path / f"damaged{suffix}", data.draw(damaged(FILES[suffix]))))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("other", SUFFIXES)
def test_files_under_another_name(tmp_path: Path, suffix: str, other: str) -> None:
    check(write(tmp_path / f"file{suffix}", FILES[other]))


@fuzzed
@given(st.dictionaries(st.sampled_from(NAMES), ANY_ARRAY, min_size=1, max_size=5), st.booleans())
def test_npz_of_any_arrays(tmp_path: Path, arrays: dict[str, np.ndarray], compressed: bool) -> None:
    check(write(tmp_path / "any.npz", npz(arrays, compressed=compressed)))
    check(write(tmp_path / "any.npz", npz({"features": VECTORS, **arrays}, compressed=compressed)))


@fuzzed
@given(st.data())
def test_safetensors_of_any_arrays(tmp_path: Path, data: st.DataObject) -> None:
    plain = npst.integer_dtypes(endianness="<") | npst.floating_dtypes(endianness="<", sizes=(16, 32, 64))
    some = data.draw(st.dictionaries(st.sampled_from(NAMES), npst.arrays(plain, SHAPES), max_size=4))
    check(write(tmp_path / "any.safetensors", save({"features": VECTORS, **some})))


COLUMNS = st.one_of(
    st.lists(st.floats() | st.none(), min_size=N, max_size=N),
    st.lists(st.lists(st.floats(width=32) | st.none(), max_size=3) | st.none(), min_size=N, max_size=N),
    st.lists(st.lists(st.lists(st.integers(0, 3), max_size=2), max_size=2), min_size=N, max_size=N),
    st.lists(TEXT | st.none(), min_size=N, max_size=N),
    st.lists(st.binary(max_size=3), min_size=N, max_size=N),
    st.lists(st.booleans() | st.none(), min_size=N, max_size=N),
    st.lists(st.dictionaries(st.just("a"), st.integers(0, 3), min_size=1), min_size=N, max_size=N),
)


@fuzzed
@given(st.dictionaries(st.sampled_from(NAMES), COLUMNS, min_size=1, max_size=3))
def test_parquet_of_any_columns(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "any.parquet"
    path.unlink(missing_ok=True)
    parquet.write_table(pa.table({name: pa.array(column) for name, column in columns.items()}), path)
    check(path)


FIELDS = st.sampled_from(["1", "-0.5", "nan", "", "x", "1e999", '"', "0x1", "inf", "NA", "9" * 400, "1_0"])


@fuzzed
@given(
    st.lists(st.sampled_from(["a", "b", "labels", "id", "ids", "features", "", "1"]), max_size=4),
    st.lists(st.lists(FIELDS, max_size=5), max_size=4),
)
def test_csv_of_any_fields(tmp_path: Path, names: list[str], rows: list[list[str]]) -> None:
    text = "\n".join(",".join(row) for row in [names, *rows])
    check(write(tmp_path / "any.csv", text.encode()))


@pytest.mark.parametrize("names", ["a,b,id", "a,a,id", "id,a,b"])
def test_lines_of_csv_that_end_with_a_comma(tmp_path: Path, names: str) -> None:
    row = {"id": "x", "a": "1", "b": "2"}
    lines = [",".join(row[name] for name in names.split(",")) + ","]
    lines.append(lines[0].replace("x", "NA"))
    file = read_vectors(write(tmp_path / "any.csv", "\n".join([names, *lines]).encode()))
    assert file.ids == ("x", "NA")
    assert file.vectors.shape == (2, 2)


def test_ids_that_are_no_text(tmp_path: Path) -> None:
    ids = np.full(N, 0x7FFFFFFF, dtype=np.uint32).view("<U1")
    path = write(tmp_path / "any.npz", npz(WHOLE | {"ids": ids}))
    with pytest.raises(ValueError, match=r"any\.npz: expected ids, got what is no text"):
        read_vectors(path)


def test_column_of_parquet_that_is_no_text(tmp_path: Path) -> None:
    whole = FILES[".parquet"]
    path = write(tmp_path / "any.parquet", whole.replace(b"row0", b"row\xff"))
    with pytest.raises(ValueError, match=r"any\.parquet: damaged"):
        read_vectors(path)


@fuzzed
@given(
    st.lists(TEXT.filter(str.strip), min_size=N, max_size=N, unique=True), st.sampled_from([".csv", ".npz"])
)
def test_ids_come_back(tmp_path: Path, ids: list[str], suffix: str) -> None:
    if suffix == ".csv":
        ids = [name.replace("\r", "") + "." for name in ids]
        ids = ids if len(set(ids)) == N else WHOLE["ids"].tolist()
    else:
        ids = [name.rstrip("\0") or str(i) for i, name in enumerate(ids)]
        ids = ids if len(set(ids)) == N else WHOLE["ids"].tolist()
    arrays = {"features": VECTORS, "labels": WHOLE["labels"], "ids": np.array(ids)}
    path = write(tmp_path / f"ids{suffix}", csv(arrays) if suffix == ".csv" else npz(arrays))
    file = read_vectors(path)
    assert file.ids == tuple(ids)
    np.testing.assert_array_equal(file.vectors, VECTORS)


@pytest.mark.parametrize("name", ["NA", "nan", "null", "None", "1.0", "007", " x "])
def test_ids_of_a_csv_are_texts_whatever_they_look_like(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "ids.csv", f"id,a\n{name},1\nother,2\n".encode())
    assert read_vectors(path).ids == (name, "other")


def test_a_csv_whose_rows_are_longer_than_its_first_line(tmp_path: Path) -> None:
    path = write(tmp_path / "long.csv", b"a,b\n1,2,3\n4,5,6\n")
    with pytest.raises(ValueError, match=r"long\.csv: expected as many fields"):
        read_vectors(path)


@fuzzed
@given(st.binary(max_size=30))
def test_any_listing_of_ids(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "x.npy", npy(VECTORS))
    listing = write(tmp_path / "x_ids.txt", content)
    file = outcome(lambda: read_vectors(path), listing.with_suffix("").name.removesuffix("_ids"))
    assert file is None or file.ids is None or len(set(file.ids)) == N


@fuzzed
@given(ANY_ARRAY | st.lists(st.lists(st.integers(0, 1), max_size=2) | TEXT | st.none(), max_size=N))
def test_any_labels(labels: Any) -> None:
    codes = outcome(lambda: encode_labels(labels, "some labels", n=N), "some labels")
    assert codes is None or (len(codes) == N and codes.dtype in (np.int64, np.uint8))


HUGE = [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }",
    "{'descr': '<f4', 'fortran_order': True, 'shape': (9223372036854775807, 9223372036854775807), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }",
    "{'descr': '|V2147483647', 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': '|S1000000000', 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': ('<f4', (100000, 100000)), 'fortran_order': False, 'shape': (1, 1), }",
    "{'descr': 5, 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': [('a', '<f4', 'x', 'y')], 'fortran_order': False, 'shape': (2, 3), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 80 + "), }",
    "(" * 3000 + ")" * 3000,
    "-" * 5000 + "1",
    "{",
    "__import__('os').system('true')",
    "9" * 5000,
]


@pytest.mark.parametrize("header", HUGE)
def test_headers_that_lie(tmp_path: Path, header: str) -> None:
    content = npy_of(header, bytes(24))
    path = write(tmp_path / "lies.npy", content)
    assert outcome(lambda: load_npy(path), path) is None
    with zipfile.ZipFile(tmp_path / "lies.npz", "w") as archive:
        archive.writestr("features.npy", content)
    assert outcome(lambda: read_vectors(tmp_path / "lies.npz"), tmp_path / "lies.npz") is None


def test_members_of_an_npz_that_are_no_arrays(tmp_path: Path) -> None:
    path = write(tmp_path / "more.npz", FILES[".npz"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README", "what this is")
        archive.writestr("ids", "no array either")
    np.testing.assert_array_equal(read_vectors(path).vectors, VECTORS)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_attacks_are_refused(tmp_path: Path, suffix: str) -> None:
    marker = tmp_path / "owned"
    for attack in attacks(marker):
        objects = np.empty((2, 3), dtype=object)
        objects[:] = [[attack] * 3] * 2
        contents = [pickle.dumps(attack), npy(objects)]
        contents += [npz({"features": objects}), npz({"features": VECTORS, "labels": objects[:, 0]})]
        for content in contents:
            path = write(tmp_path / f"attack{suffix}", content)
            for read in (read_vectors, load_embeddings):
                with pytest.raises(ValueError, match="attack"):
                    read(path)
    assert not marker.exists()
    with pytest.raises(ValueError, match="Object arrays"):
        np.load(io.BytesIO(npy(objects)))
    np.load(io.BytesIO(npy(objects)), allow_pickle=True)
    assert marker.exists(), "the attack must work where pickles are read"


def test_an_attack_in_the_schema_of_a_parquet(tmp_path: Path) -> None:
    """Old pyarrow read a pickle of the type of a column."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    marker = tmp_path / "owned"
    for attack in attacks(marker):
        for name in ("arrow.py_extension_type", "pandas.sparse"):
            kind = {"ARROW:extension:name": name, "ARROW:extension:metadata": pickle.dumps(attack)}
            schema = pa.schema([pa.field("features", pa.list_(pa.float32()), metadata=kind)])
            table = pa.table({"features": pa.array(VECTORS.tolist(), pa.list_(pa.float32()))}, schema=schema)
            parquet.write_table(table, tmp_path / "attack.parquet")
            np.testing.assert_array_equal(read_vectors(tmp_path / "attack.parquet").vectors, VECTORS)
    assert not marker.exists()
