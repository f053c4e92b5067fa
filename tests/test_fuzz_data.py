"""Readers of data: whatever the bytes, what is described or an error that names the file; nothing is run."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image
from pyarrow import parquet
from safetensors.numpy import save

from sdclib.data.embeddings import load_embeddings
from sdclib.data.features import FeatureSet
from sdclib.data.image_sets.corel5k import read_labels
from sdclib.data.image_sets.fashion_mnist import read_idx
from sdclib.data.image_sets.lists import read_list
from sdclib.data.images import open_rgb
from sdclib.data.instances import read_gnd, read_solution
from sdclib.data.plain_pickle import read_plain_pickle
from sdclib.data.vectors import SUFFIXES, encode_labels, read_vectors
from sdclib.metrics import PairCounter
from sdclib.search.shards import count_shards
from tests.fuzzing import attacks, damaged, fuzzed, npy, npz, outcome, write
from tests.landmarks import gnd

# Pickles

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ARRAYS = npst.arrays(
    npst.integer_dtypes() | npst.floating_dtypes(sizes=(16, 32, 64)) | npst.boolean_dtypes(),
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
PLAIN = st.recursive(
    SCALARS | ARRAYS | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(SCALARS, inner, max_size=4),
    max_leaves=12,
)
GROUND_TRUTH = [pickle.dumps(gnd(), protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]


@st.composite
def other_ground_truth(draw: st.DrawFn) -> bytes:
    truth = gnd()
    holder = draw(st.sampled_from([truth, truth["gnd"][1]]))
    holder[draw(st.sampled_from([*holder, 7]))] = draw(PLAIN)
    return pickle.dumps(truth)


@fuzzed
@given(damaged(st.sampled_from(GROUND_TRUTH)) | other_ground_truth() | st.binary(max_size=300))
def test_pickles(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "gnd.pkl", content)
    outcome(lambda: read_plain_pickle(path), path)
    truth: Any = outcome(lambda: read_gnd(path), path)
    if truth is not None:
        assert len(truth["gnd"]) == len(truth["qimlist"]) > 0
        for entry in truth["gnd"]:
            rows = np.concatenate(list(entry.values()))
            assert rows.dtype == np.int64
            assert set(rows.tolist()) <= set(range(len(truth["imlist"])))


# Vectors

N, D = 6, 3
VECTORS = np.arange(1, N * D + 1, dtype=np.float32).reshape(N, D)
NAMES = st.sampled_from(
    ["features", "labels", "label", "ids", "id", "query_rows", "train_rows", "more", "", "1"]
)
SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=N)
ANY_ARRAY = npst.arrays(npst.scalar_dtypes(), SHAPES) | st.builds(
    np.zeros, SHAPES, st.sampled_from(["V4", "S0", [("a", "<i4"), ("b", "<f4")]])
)
PLAIN_ARRAY = npst.arrays(
    npst.integer_dtypes(endianness="<") | npst.floating_dtypes(endianness="<", sizes=(16, 32, 64)), SHAPES
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
WHOLE = {
    "features": VECTORS,
    "labels": np.array([0, 1, 2, 0, 1, 2]),
    "ids": np.array([f"row{i}" for i in range(N)]),
    "query_rows": np.array([1, 4]),
    "train_rows": np.array([0, 2, 5]),
}
TABLE = pd.DataFrame({name: list(WHOLE[name]) for name in ("features", "labels", "ids")})
FILES = {
    ".npy": npy(VECTORS),
    ".npz": npz(WHOLE),
    ".safetensors": save({name: array for name, array in WHOLE.items() if name != "ids"}),
    ".parquet": TABLE.to_parquet(engine="pyarrow"),
    ".csv": TABLE.assign(**dict(zip("abc", VECTORS.T, strict=True)), features="x")
    .to_csv(index=False)
    .encode(),
}
CELLS = (
    *(st.floats() | st.none(), TEXT | st.none(), st.binary(max_size=3), st.booleans() | st.none()),
    *(
        st.lists(st.floats(width=32) | st.none(), max_size=3) | st.none(),
        st.lists(st.lists(st.integers(0, 3))),
    ),
    st.dictionaries(st.just("a"), st.integers(0, 3), min_size=1),
)
FIELDS = st.sampled_from(
    ["1", "-0.5", "nan", "", "x", "1e999", '"', "0x1", "inf", "NA", "9" * 400, "1_0", ";"]
)


def parquet_of(columns: dict[str, list[Any]]) -> bytes:
    file = io.BytesIO()
    parquet.write_table(pa.table({name: pa.array(column) for name, column in columns.items()}), file)
    return file.getvalue()


def csv_of(lines: list[list[str]]) -> bytes:
    return "\n".join(",".join(line) for line in lines).encode()


OTHERS: dict[str, st.SearchStrategy[bytes]] = {
    ".npy": ANY_ARRAY.map(npy),
    ".npz": st.dictionaries(NAMES, ANY_ARRAY, max_size=5).map(
        lambda more: npz({"features": VECTORS, **more})
    ),
    ".safetensors": st.dictionaries(NAMES, PLAIN_ARRAY, max_size=4).map(save),
    ".parquet": st.dictionaries(
        NAMES,
        st.one_of(*(st.lists(cells, min_size=N, max_size=N) for cells in CELLS)),
        min_size=1,
        max_size=3,
    ).map(parquet_of),
    ".csv": st.lists(st.lists(FIELDS | NAMES | st.sampled_from("abc"), max_size=5), max_size=4).map(csv_of),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
@fuzzed
@given(data=st.data())
def test_vectors(tmp_path: Path, suffix: str, data: st.DataObject) -> None:
    whole = FILES[data.draw(st.sampled_from([suffix] * 5 + list(SUFFIXES)))]
    content = data.draw(damaged(whole) | OTHERS[suffix] | st.binary(max_size=200))
    path = write(tmp_path / f"any{suffix}", content)
    file = outcome(lambda: read_vectors(path), path)
    if file is not None:
        assert file.vectors.ndim == 2
        assert file.vectors.dtype.kind in "fiu"
        assert {len(x) for x in (file.labels, file.ids) if x is not None} <= {len(file.vectors)}
    features = outcome(lambda: load_embeddings(path, n_neighbors=2), "")
    assert features is None or isinstance(features, FeatureSet)


@fuzzed
@given(ANY_ARRAY | st.lists(st.lists(st.integers(0, 1), max_size=2) | TEXT | st.none(), max_size=N))
def test_labels(labels: Any) -> None:
    codes = outcome(lambda: encode_labels(labels, "some labels", n=N), "some labels")
    assert codes is None or (len(codes) == N and codes.dtype in (np.int64, np.uint8))


@fuzzed
@given(st.lists(TEXT.map(str.strip), min_size=N, max_size=N), st.sampled_from(["csv", "npz", "parquet"]))
def test_ids_come_back(tmp_path: Path, ids: list[str], kind: str) -> None:
    path = tmp_path / f"ids.{kind}"
    ids = [name.replace("\0", "").replace("\r", "") for name in ids]
    table = pd.DataFrame(VECTORS, columns=list("abc")).assign(ids=ids)
    if kind == "npz":
        write(path, npz({"features": VECTORS, "ids": np.array(ids)}))
    else:
        table.to_csv(path, index=False) if kind == "csv" else table.to_parquet(path)
    assert read_vectors(path).ids == tuple(ids)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (9223372036854775807, 9223372036854775807), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 3), }",
        "{'descr': '|V2147483647', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3), }",
        "{'descr': ('<f4', (100000, 100000)), 'fortran_order': False, 'shape': (1, 1), }",
        "{'descr': [('a', '<f4', 'x', 'y')], 'fortran_order': False, 'shape': (2, 3), }",
        "(" * 3000 + ")" * 3000,
        "__import__('os').system('true')",
        "9" * 5000,
    ],
)
def test_headers_that_lie(tmp_path: Path, header: str) -> None:
    text = header.encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(24)
    with zipfile.ZipFile(tmp_path / "lies.npz", "w") as archive:
        archive.writestr("features.npy", content)
    for path in (write(tmp_path / "lies.npy", content), tmp_path / "lies.npz"):
        assert outcome(lambda path=path: read_vectors(path), path) is None


def test_members_of_an_npz_and_ids_that_are_no_arrays_or_texts(tmp_path: Path) -> None:
    path = write(tmp_path / "more.npz", FILES[".npz"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("README", "what this is")
    np.testing.assert_array_equal(read_vectors(path).vectors, VECTORS)
    ids = np.full(N, 0x7FFFFFFF, dtype=np.uint32).view("<U1")
    write(path, npz(WHOLE | {"ids": ids}))
    with pytest.raises(ValueError, match=r"more\.npz: expected ids, got what is no text"):
        read_vectors(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_attacks_are_refused(tmp_path: Path, suffix: str) -> None:
    marker = tmp_path / "owned"
    for attack in attacks(marker):
        objects = np.empty((2, 3), dtype=object)
        objects[:] = [[attack] * 3] * 2
        contents = [pickle.dumps(attack), npy(objects), npz({"features": VECTORS, "labels": objects[:, 0]})]
        for content in contents:
            path = write(tmp_path / f"attack{suffix}", content)
            with pytest.raises(ValueError, match="attack"):
                read_vectors(path)
    assert not marker.exists()


# Other readers

LIST = b"a/1.png 0\na/2.png 3\nb/3.png 1\n\nb/4.png 2\n"
ONE_HOT = b"a/1.png 0 1 1 0\na/2.png 0 0 0 0\nb/3.png 1 0 0 0\n"
ODD = ("0", "4", "-1", "00", "1.0", "\u00b2", "\u0661", "9" * 5000, "\0", "\ufeff", "n" * 5000, "/", "a\0b")
SOLUTION = b"id,images,Usage\nq1,a b c,Public\nq2,None,Ignored\nq3,d,Private\n"
WORDS = b"path,split,labels\nimages/1.jpg,train,sky sea\nimages/2.jpg,test,sky\n"
FIELDS_OF_TABLES = ("q4,NA", "q4,a a,Public", "x,train,", '"', ",,", "\n", "\0", '"' + "x" * 200_000)
IDX = b"\0\0\x08\x01" + bytes([0, 0, 0, 12, *range(12)])
COUNTS = {
    "all": np.array([[2, 1], [1, 2]]),
    "relevant": np.array([[1, 0], [0, 2]]),
    "n_database": np.array([3, 4]),
}
NOTE = {b"sdclib": json.dumps({"n_bits": 12}).encode()}


def tables(whole: bytes) -> list[bytes]:
    return [whole, b"\xff" + whole, *(whole + end.encode() for end in FIELDS_OF_TABLES)]


def image_bytes(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(75, dtype=np.uint8).reshape(5, 5, 3)).save(file, kind)
    return file.getvalue()


def codes_of_a_shard(note: dict[bytes, bytes] = NOTE, **columns: Any) -> bytes:
    whole = {"code": pa.array([b"a\x0f"] * 9, pa.binary(2)), "label": pa.array([1, 2, 3] * 3)}
    file = io.BytesIO()
    parquet.write_table(pa.table(whole | columns).replace_schema_metadata(note), file)
    return file.getvalue()


CODES = [
    *map(codes_of_a_shard, (NOTE, {b"sdclib": b"[]"}, {b"sdclib": b'{"n_bits": true}'}, {})),
    *(
        codes_of_a_shard(code=pa.array([code] * 9, kind))
        for code, kind in ((b"\xff\xff", pa.binary(2)), (None, pa.binary(2)), (1, None))
    ),
    *(
        codes_of_a_shard(label=pa.array([label] * 9, kind))
        for label, kind in ((None, pa.string()), (0.5, None), ([1], None))
    ),
]
READERS: dict[str, tuple[Any, list[bytes]]] = {
    "ids.txt": (
        lambda path: read_list(path, 4, multi_label=False),
        [LIST, *(LIST + f"{text} {text}\n".encode() for text in ODD)],
    ),
    "vectors.txt": (lambda path: read_list(path, 4, multi_label=True), [ONE_HOT, LIST]),
    "solution.csv": (read_solution, tables(SOLUTION)),
    "labels.csv": (read_labels, tables(WORDS)),
    "labels-idx1": (lambda path: read_idx(path, 8), [IDX]),
    "images-idx3.gz": (lambda path: read_idx(path, 8, 2, 3), [gzip.compress(IDX, mtime=0), IDX]),
    "image.png": (open_rgb, [image_bytes(kind) for kind in ("png", "jpeg", "bmp", "gif", "tiff")]),
    "counts.npz": (
        PairCounter.load,
        [npz(COUNTS), npz(COUNTS, compressed=True), npz(COUNTS | {"all": np.zeros((2, 2))}), npz({})],
    ),
    "codes.parquet": (lambda path: count_shards(np.eye(12), np.arange(12), [path]), CODES),
}
"""Of each file what reads it, and contents to damage or to read as they are."""


@pytest.mark.parametrize("name", READERS)
@fuzzed
@given(data=st.data())
def test_readers(tmp_path: Path, name: str, data: st.DataObject) -> None:
    read, contents = READERS[name]
    some = st.sampled_from(contents)
    path = write(tmp_path / name, data.draw(some | damaged(some) | st.binary(max_size=80)))
    outcome(lambda: read(path), path)
