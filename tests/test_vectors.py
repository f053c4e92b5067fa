"""Vectors from files and tables: the same table gives the same vectors in every format, or an error that says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.torch import save_file

from sdclib.checks import check_features
from sdclib.data.vectors import arrays_sha256, encode_labels, read_vectors
from tests.fuzzing import fuzzed

pa = pytest.importorskip("pyarrow")

VALUES = st.sampled_from([0.0, 0.0, 1.0, 2.0, -3.0, 0.5, 1e-7]) | st.floats(-1e6, 1e6, width=32)
SHAPES = npst.array_shapes(min_dims=2, max_dims=2, max_side=5)
FLOATS = npst.arrays(np.float32, SHAPES, elements=VALUES)
TABLES = FLOATS | npst.arrays(np.int64, SHAPES, elements=st.integers(-1, 5))


def frame(rows: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[f"x{i}" for i in range(rows.shape[1])])


def lists(rows: np.ndarray, fixed: bool) -> pd.DataFrame:
    kind = pa.list_(pa.from_numpy_dtype(rows.dtype), rows.shape[1] if fixed else -1)
    return pd.DataFrame({"id": range(len(rows)), "v": pd.Series(rows.tolist(), dtype=pd.ArrowDtype(kind))})


def mixed(rows: np.ndarray) -> pd.DataFrame:
    """Columns of the smallest kind that holds their values: int8 beside float32."""
    return frame(rows).apply(lambda x: x.astype(np.int8) if (x % 1 == 0).all() and x.abs().max() < 99 else x)


Write = Callable[[np.ndarray, Path], Path]
Make = Callable[[np.ndarray], pd.DataFrame]


def csv(make: Make = frame, **options: Any) -> Write:
    def write(rows: np.ndarray, folder: Path) -> Path:
        make(rows).to_csv(folder / "t.csv", **{"index": False, **options})
        return folder / "t.csv"

    return write


def parquet(make: Make) -> Write:
    def write(rows: np.ndarray, folder: Path) -> Path:
        make(rows).to_parquet(folder / "t.parquet")
        return folder / "t.parquet"

    return write


def npy(rows: np.ndarray, folder: Path) -> Path:
    with (folder / "t.NPY").open("wb") as file:
        np.save(file, rows)
    return folder / "t.NPY"


def npz(rows: np.ndarray, folder: Path) -> Path:
    np.savez(folder / "t.npz", rows, index=np.arange(len(rows)))
    return folder / "t.npz"


def safetensors(rows: np.ndarray, folder: Path) -> Path:
    save_file({"v": torch.tensor(rows)}, folder / "t.safetensors")
    return folder / "t.safetensors"


FORMATS: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "csv": csv(),
    "csv with an index": csv(index=True),
    "csv with a mark": csv(encoding="utf-8-sig"),
    "csv with tabs": csv(sep="\t"),
    "csv as in Germany": csv(sep=";", decimal=","),
    "wide parquet": parquet(frame),
    "parquet of several kinds": parquet(mixed),
    "parquet with an index": parquet(
        lambda rows: frame(rows).set_index(pd.Index(np.arange(len(rows))[::-1]))
    ),
    "parquet of lists": parquet(lambda rows: lists(rows, False)),
    "parquet of fixed lists": parquet(lambda rows: lists(rows, True)),
    "nullable parquet": parquet(lambda rows: frame(rows).convert_dtypes()),
    "npy": npy,
    "npz": npz,
    "safetensors": safetensors,
    "frame": lambda rows, _: frame(rows),
    "frame of lists": lambda rows, _: lists(rows, False),
    "nullable frame": lambda rows, _: frame(rows).convert_dtypes(),
    "arrow frame": lambda rows, _: frame(rows).convert_dtypes(dtype_backend="pyarrow"),
}
UNNAMED = {
    "csv without names": csv(header=False),
    "csv without names, with tabs": csv(header=False, sep="\t"),
    "csv without names, as in Germany": csv(header=False, sep=";", decimal=","),
    "csv with names by pandas": csv(pd.DataFrame),
    "csv with names and index by pandas": csv(pd.DataFrame, index=True),
}


@pytest.mark.parametrize("form", FORMATS)
@fuzzed
@given(TABLES)
def test_one_table_is_the_same_in_every_format(tmp_path: Path, form: str, rows: np.ndarray) -> None:
    assume("Germany" not in form or rows.shape[1] > 1)  # 0,5 alone is two numbers
    found = read_vectors(FORMATS[form](rows, tmp_path)).vectors
    np.testing.assert_array_equal(np.asarray(found, dtype=np.float32), rows.astype(np.float32), strict=True)


@pytest.mark.parametrize("form", UNNAMED)
@fuzzed
@given(TABLES)
def test_a_csv_without_names_loses_no_row(tmp_path: Path, form: str, rows: np.ndarray) -> None:
    assume("Germany" not in form or rows.shape[1] > 1)
    path = UNNAMED[form](rows, tmp_path)
    try:
        found = read_vectors(path).vectors
    except ValueError as error:  # a first line of whole numbers may be of names
        if rows.dtype.kind == "f" or "t.csv: expected a line of names" not in str(error):
            raise
    else:
        np.testing.assert_array_equal(np.float32(found), rows.astype(np.float32), strict=True)


def test_frames_of_every_kind_can_be_fitted() -> None:
    rows = mixed(np.array([[1, 0.5], [2, 0.25]], np.float32))
    for table in (rows.convert_dtypes(), rows.convert_dtypes(dtype_backend="pyarrow")):
        np.testing.assert_array_equal(check_features(table), rows)
        with pytest.raises(ValueError, match="X: expected a numeric array"):
            check_features(table.assign(text="a"))


# Which columns

WIDE = pd.DataFrame({
    "item_id": [7, 8, 9], "x": [1, 2, 3], "label": ["NA", "b", "NA"], "Target": [0, 1, 0], "y": [0.5, 1.5, 2.5],
    "id": ["NA", "", "007"], "text": ["a", "b", "c"],
})  # fmt: skip


@pytest.fixture(params=["csv", "parquet", "frame"])
def wide(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Make a table a file, or leave it a frame."""

    def make(table: pd.DataFrame, **options: Any) -> Any:
        path = tmp_path / f"wide.{request.param}"
        if request.param == "csv":
            table.to_csv(path, index=False, **options)
        elif request.param == "parquet":
            table.to_parquet(path)
        return table if request.param == "frame" else path

    return make


def test_columns_that_are_taken_and_left_are_said(wide: Any, caplog: pytest.LogCaptureFixture) -> None:
    file = read_vectors(wide(WIDE))
    np.testing.assert_array_equal(file.vectors, [[1, 0.5], [2, 1.5], [3, 2.5]])
    assert file.labels is not None
    assert file.labels.tolist() == ["NA", "b", "NA"]
    assert file.ids == ("NA", "", "007")
    assert "took the 2 columns x, y for features, left item_id, Target, text" in caplog.text
    caplog.clear()
    read_vectors(wide(WIDE[["id", "x", "y", "label"]]))
    assert not caplog.text


def test_columns_can_be_chosen(wide: Any, caplog: pytest.LogCaptureFixture) -> None:
    chosen = read_vectors(wide(WIDE), columns=["y", "?tem*", "y"]).vectors
    np.testing.assert_array_equal(chosen, [[0.5, 7], [1.5, 8], [2.5, 9]])
    assert not caplog.text
    for columns, message in ((["z"], "columns: expected some of"), (["text"], "numbers in column 'text'")):
        with pytest.raises(ValueError, match=message):
            read_vectors(wide(WIDE), columns=columns)


def test_missing_ids_and_labels_and_named_indices_of_a_frame() -> None:
    table = WIDE.assign(id=["a", None, "c"], label=[1, None, 2])[["id", "x", "label"]]
    for kind in (table, table.convert_dtypes(), table.convert_dtypes(dtype_backend="pyarrow")):
        file = read_vectors(kind)
        assert (file.ids, file.vectors.shape) == (("a", "", "c"), (3, 1))
        with pytest.raises(ValueError, match="none missing"):
            encode_labels(file.labels, "labels", n=3)
    file = read_vectors(table.set_index(["id", pd.Index([5, 6, 7], name="time")])[["x"]])
    assert (file.ids, file.vectors.shape) == (("a", "", "c"), (3, 1))
    with pytest.raises(ValueError, match="path: expected a path or a pandas data frame, got ndarray"):
        read_vectors(np.ones((2, 2)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": ["1", "x", "3"]}, "expected numbers in column 'x', got texts such as"),
        ({"x": [1, None, 3]}, "expected a value in every row of column 'x', row 1 has none"),
        ({"embedding": ["a", "b", "c"]}, "expected numbers in column 'embedding'"),
        (
            {"x": ["a"] * 3, "y": ["b"] * 3},
            "expected columns of numbers, or a column of vectors, got item_id, ",
        ),
    ],
)
def test_columns_that_are_not_as_expected(wide: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"(wide\.(csv|parquet)|table): {message}"):
        read_vectors(wide(WIDE.assign(**changes)))


def test_columns_of_vectors(caplog: pytest.LogCaptureFixture) -> None:
    table = pd.DataFrame({"v": [[1.0, 2.0], [3.0, 4.0]], "score": [0.5, 0.6], "w": [[5.0], [6.0]]})
    with pytest.raises(ValueError, match="expected one column of vectors, got v, w; say which by key"):
        read_vectors(table)
    np.testing.assert_array_equal(read_vectors(table, key="w").vectors, [[5], [6]])
    np.testing.assert_array_equal(read_vectors(table, columns=["w", "score"]).vectors, [[5, 0.5], [6, 0.6]])
    with pytest.raises(ValueError, match=r"key: expected a column of vectors in .*, 'score' is none"):
        read_vectors(table, key="score")
    np.testing.assert_array_equal(read_vectors(table.rename(columns={"w": "vectors"})).vectors, [[5], [6]])
    assert "took the column vectors for features, left v, score" in caplog.text
    multi = read_vectors(
        table.assign(labels=[[1, 0], [1, 1]])[["v", "labels"]].set_index(pd.Index([5, 4], name="id"))
    )
    assert encode_labels(multi.labels, "labels", n=2).tolist() == [[1, 0], [1, 1]]
    assert multi.ids == ("5", "4")
    for cells, message in (
        ([[1.0], [1.0, 2.0]], "expected vectors of one length in column 'v', got .1, 2."),
        ([None, [1.0, 2.0]], "expected a value in every row of column 'v', row 0 has none"),
        ([["a"], ["b"]], "expected numbers in column 'v'"),
    ):
        with pytest.raises(ValueError, match=message):
            read_vectors(pd.DataFrame({"v": cells, "score": [0.5, 0.6]}))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.0,0.0,1.2\n1,2,3\n", (2, 3)),  # a value twice, which pandas would rename
        ("\ufeffid,a\nx,1\n", (1, 1)),
        ("0,1\n0.5,0.6\n", (1, 2)),
        ("id,400,410\nx,0.5,0.6\n", (1, 2)),  # wavelengths
        ("400,410\n0.5,0.6\n", "expected a line of names"),
        ("a,b,\n1,2,\n3,4,\n", (2, 2)),
        ("a,a,id\n1,2,x,\n3,4,y,\n", (2, 2)),
        ("0,1\n5,6\n", "expected a line of names such as a,b,c, for the first may be names or numbers: '0,1"),
        ("id,5\n0,6\n", "expected a line of names"),
        ("a17,0.5\na18,0.6\n", "expected names in the first line, or numbers alone, got 'a17' beside '0.5'"),
        ("0.5,,0.7\n1,2,3\n", "expected a value in every row of column '1', row 0 has none"),
        ("a,b\n1,2\n3\n", "expected a value in every row of column 'b', row 1 has none"),
        ("a,b\n1,2,3\n4,5,6\n", "expected as many fields in every line as in the first, got more"),
        ("id,id,a\n1,2,3\n", "expected one column 'id', got several"),
        ("", "damaged .csv"),
        ("a\n\udcff\n", "damaged .csv"),
    ],
)
def test_lines_of_a_csv(tmp_path: Path, text: str, expected: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=r"t\.csv") as error:
            read_vectors(path)
        assert expected in str(error.value)
    else:
        assert read_vectors(path).vectors.shape == expected
        assert ("took the first line, 0, 1, for the names" in caplog.text) == text.startswith("0,1\n")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [(["007", "3", "3"], [7, 3, 3]), (["1.5", "b", "b"], [0, 1, 1]), (["1", "", "2"], None)],
)
def test_labels_of_a_csv(tmp_path: Path, labels: list[str], expected: Any) -> None:
    WIDE.assign(label=labels).to_csv(tmp_path / "t.csv", index=False)
    found = read_vectors(tmp_path / "t.csv").labels
    if expected is None:
        with pytest.raises(ValueError, match="none missing"):
            encode_labels(found, "labels", n=3)
    else:
        assert encode_labels(found, "labels", n=3).tolist() == expected


# Other files


def test_safetensors_of_every_kind_of_numbers(tmp_path: Path) -> None:
    for kind in (torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn):
        rows = torch.tensor([[1.0, -2.5], [0.0, 4.0]]).to(kind)
        save_file({"features": rows, "labels": torch.tensor([1, 0])}, tmp_path / "v.safetensors")
        file = read_vectors(tmp_path / "v.safetensors")
        np.testing.assert_array_equal(file.vectors, rows.double())
        np.testing.assert_array_equal(file.labels, [1, 0])


ROWS = np.ones((4, 3))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": ROWS, "b": ROWS}, "expected vectors under one of features, .* got a, b; say which by key"),
        ({"labels": ROWS}, ".* got labels; say which by key"),
        ({"features": ROWS[0]}, r"expected numbers of shape \(n, d\), got float64 of shape \(3,\)"),
        ({"features": ROWS.astype(str)}, "expected numbers of shape"),
        ({"features": ROWS, "labels": ROWS[:3, 0]}, "expected 4 labels, as many as vectors, got 3"),
        ({"features": ROWS, "ids": ROWS}, "expected 4 ids, as many as vectors, got shape"),
        ({"features": ROWS, "labels": np.array([{}] * 4)}, "damaged .npz, or with pickles"),
    ],
)
def test_arrays_that_are_not_as_described(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "v.npz", allow_pickle=True, **arrays)
    with pytest.raises(ValueError, match=rf"v\.npz: {message}"):
        read_vectors(tmp_path / "v.npz")


def test_keys_and_columns_of_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", a=ROWS, b=2 * ROWS, ids=[1, 1, 2, 3])
    file = read_vectors(tmp_path / "v.npz", key="b")
    assert (file.vectors[0, 0], file.ids) == (2, ("1", "1", "2", "3"))
    with pytest.raises(ValueError, match=r"key: expected one of a, b, ids in .*, got 'c'"):
        read_vectors(tmp_path / "v.npz", key="c")
    with pytest.raises(ValueError, match=r"columns: expected none for .*only a table"):
        read_vectors(tmp_path / "v.npz", columns="a")


def test_ids_beside_a_file(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", ROWS)
    (tmp_path / "v_ids.txt").write_text("\ufeffa\nb\n\nc\nd\n", encoding="utf-8")
    assert read_vectors(tmp_path / "v.npy").ids == ("a", "b", "c", "d")
    (tmp_path / "v_ids.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"v_ids\.txt: expected a text file"):
        read_vectors(tmp_path / "v.npy")


def test_missing_damaged_and_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for suffix in (".npy", ".npz", ".safetensors", ".parquet"):
        (tmp_path / f"bad{suffix}").write_bytes(b"damaged")
        with pytest.raises(ValueError, match=rf"bad\{suffix}: (missing or )?damaged"):
            read_vectors(tmp_path / f"bad{suffix}")
        with pytest.raises(ValueError, match=rf"none\{suffix}: expected a file of vectors, found none"):
            read_vectors(tmp_path / f"none{suffix}")
    with pytest.raises(ValueError, match=r"mine\.txt: expected a file \.npy, .*, got \.txt"):
        read_vectors(tmp_path / "mine.txt")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"bad\.parquet: .*needs the package pyarrow: pip install pyarrow"):
        read_vectors(tmp_path / "bad.parquet")


def test_labels_as_codes() -> None:
    objects = np.empty(2, dtype=object)
    objects[:] = [[0, 1], [1]]
    for labels, expected in (
        (["b", "a"], [1, 0]),
        (np.array(["b", "a"], dtype=object), [1, 0]),
        ([True, False], [1, 0]),
        ([[0, 1], [1.0, 1]], [[0, 1], [1, 1]]),
        (objects, "expected shape"),
        ([[0, 1], [1]], "expected shape"),
        ([1, 2, 3], "expected labels of shape"),
        ([[0, 2], [1, 1]], "expected 0/1 label vectors"),
        ([0.5, 1], "expected whole-number ids"),
        (["b", None], "expected whole numbers, names or 0/1 vectors, none missing"),
    ):
        if isinstance(expected, str):
            with pytest.raises(ValueError, match=f"some: {expected}"):
                encode_labels(labels, "some", n=2)
        else:
            assert encode_labels(labels, "some", n=2).tolist() == expected


def test_hash_of_arrays() -> None:
    a = np.arange(6, dtype=np.int32)
    assert arrays_sha256(a) == arrays_sha256(a.astype(">i4"))
    parts = ([a], [a[:3], a[3:]], [a.reshape(2, 3)], [a.astype(np.int64)], [a, []])
    assert len({arrays_sha256(*part) for part in parts}) == 5
