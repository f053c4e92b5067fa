"""Codes in LanceDB and in PostgreSQL with pgvector: what they find is what `HammingIndex` finds, ties aside."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.harness import postgres
from sdclib.codes import pack_codes
from sdclib.search.databases import to_lancedb, to_pgvector
from sdclib.search.encoding import load_hasher
from sdclib.search.index import HammingIndex
from tests.command import model_folder, rows, run

N, N_QUERY, D = 100_000, 20, 8
K, DEPTH = 10, 50


@pytest.fixture(scope="module", params=[64, 100])
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Codes around 500 centres, and vectors beside them."""
    n_bits, rng = request.param, np.random.default_rng(request.param)
    centres = rng.integers(0, 2, (500, n_bits), dtype=np.uint8)
    flipped = rng.random((N + N_QUERY, n_bits), dtype=np.float32) < 0.2
    codes = centres[rng.integers(0, 500, N + N_QUERY)] ^ flipped
    floats = rng.standard_normal((N + N_QUERY, D), dtype=np.float32)
    index = HammingIndex(codes[N_QUERY:])
    return {
        "n_bits": n_bits,
        "query": codes[:N_QUERY],
        "packed": pack_codes(codes[N_QUERY:]),
        "index": index,
        "nearest": index.search(codes[:N_QUERY], DEPTH)[0],
        "query_floats": floats[:N_QUERY],
        "floats": floats[N_QUERY:],
    }


def check_nearest(case: dict[str, Any], i: int, found: list[int], distances: list[float]) -> None:
    """The right distances, of items that have them."""
    expected = case["nearest"][i, : len(found)].tolist()
    assert distances == expected
    own = np.bitwise_count(case["packed"][found] ^ pack_codes(case["query"][i : i + 1])).sum(axis=1)
    assert own.tolist() == expected
    assert len(set(found)) == len(found)


def check_rescored(case: dict[str, Any], i: int, found: list[int], cosines: list[float]) -> None:
    """Cosines as `HammingIndex.rescore` has them, of the candidates that no tie decides on at least."""
    vectors = case["query_floats"][i : i + 1], case["floats"]
    np.testing.assert_allclose(cosines, case["index"].rescore(np.array([found]), *vectors)[0][0], atol=1e-5)
    distances = np.bitwise_count(case["packed"] ^ pack_codes(case["query"][i : i + 1])).sum(axis=1)
    last = case["nearest"][i, DEPTH - 1]
    assert distances[found].max() <= last
    best, items = case["index"].rescore(np.flatnonzero(distances < last)[None], *vectors)
    assert set(items[0][best[0] > min(cosines) + 1e-5].tolist()) <= set(found)


# LanceDB


@pytest.fixture(scope="module")
def lance(case: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    lancedb = pytest.importorskip("lancedb")
    folder = tmp_path_factory.mktemp("lance") / "db"
    assert to_lancedb(case["packed"], folder, n_bits=case["n_bits"], vectors=case["floats"]) == folder
    return lancedb.connect(folder).open_table("codes")


def test_lancedb_finds_the_nearest(case: dict[str, Any], lance: Any) -> None:
    assert lance.count_rows() == N
    (index,) = lance.list_indices()
    assert lance.index_stats(index.name).distance_type == "hamming"
    recalled = 0
    for i, code in enumerate(pack_codes(case["query"])):
        search = lance.search(code, vector_column_name="code").distance_type("hamming")
        exact = search.bypass_vector_index().limit(DEPTH).to_arrow().to_pydict()
        check_nearest(case, i, exact["id"], exact["_distance"])
        search = lance.search(code, vector_column_name="code").distance_type("hamming").nprobes(20)
        recalled += sum(
            d <= case["nearest"][i, K - 1] for d in search.limit(K).to_arrow()["_distance"].to_pylist()
        )
        vectors = np.array(exact["vector"], dtype=np.float32)
        np.testing.assert_array_equal(vectors, case["floats"][exact["id"]])
    assert recalled > 0.8 * K * N_QUERY


# pgvector


@pytest.fixture(scope="module")
def psql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Run psql with these arguments on a server of its own."""
    pytest.importorskip("pgserver")
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgres(tmp_path_factory.mktemp("postgres") / "data"))
        except Exception as error:
            pytest.skip(f"PostgreSQL does not start here: {error}")
        yield server


def loaded(psql: Callable[..., str], folder: Path, *, index: bool = True) -> None:
    """Load a folder in the way that its own first line says, if need be without the last step."""
    command = (folder / "schema.sql").read_text().splitlines()[0].removeprefix("-- psql ")
    psql("-c", "DROP TABLE IF EXISTS codes")
    start, copy, end = command.split('"')
    psql(*start.split(), copy, *(end.split() if index else ()), cwd=folder)


def answers(psql: Callable[..., str], folder: Path, calls: list[str]) -> list[list[list[str]]]:
    """Rows that prepared searches of the folder find, all in one session."""
    commands = [part for call in calls for part in ("-c", call, "-c", r"\echo --")]
    shown = psql("-c", "SET hnsw.ef_search = 200", "-f", "search.sql", *commands, cwd=folder)
    return [[line.split("|") for line in part.splitlines()] for part in shown.split("--\n")[:-1]]


def bits(code: NDArray[np.uint8]) -> str:
    return f"B'{''.join(map(str, code))}'"


def test_pgvector_finds_the_nearest(case: dict[str, Any], psql: Callable[..., str], tmp_path: Path) -> None:
    folder = to_pgvector(case["packed"], tmp_path / "pg", n_bits=case["n_bits"], vectors=case["floats"])
    graph = case["n_bits"] == 64  # making one takes half a minute
    loaded(psql, folder, index=graph)
    assert psql("-c", "SELECT count(*) FROM codes") == f"{N}\n"
    found = answers(psql, folder, [f"EXECUTE exact({bits(code)}, {DEPTH})" for code in case["query"]])
    for i, lines in enumerate(found):
        check_nearest(case, i, *([int(line[column]) for line in lines] for column in (0, 1)))
    for name in ("exact", "approximate") if graph else ("exact",):
        calls = [
            f"EXECUTE {name}_rescored({bits(code)}, '{vector.tolist()}', {K}, {DEPTH})"
            for code, vector in zip(case["query"], case["query_floats"], strict=True)
        ]
        for i, lines in enumerate(answers(psql, folder, calls)):
            items, cosines = [int(line[0]) for line in lines], [float(line[1]) for line in lines]
            assert len(items) == K
            assert cosines == sorted(cosines, reverse=True)
            if name == "exact":
                check_rescored(case, i, items, cosines)
    if graph:
        calls = [f"EXECUTE approximate({bits(code)}, {K})" for code in case["query"]]
        assert "codes_hamming" in str(answers(psql, folder, [f"EXPLAIN {calls[0]}"]))
        near = answers(psql, folder, calls)
        right = [int(line[1]) <= case["nearest"][i, K - 1] for i, lines in enumerate(near) for line in lines]
        assert sum(right) > 0.8 * K * N_QUERY


# Names, and the command


def test_export_of_a_file_with_ids(
    psql: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lancedb = pytest.importorskip("lancedb")
    folder = model_folder(tmp_path)
    names = [f"tab\t, back\\slash, {i} and\u00e9" for i in range(300)]
    np.savez(folder / "named.npz", features=rows(), ids=np.array(names))
    targets = ["--lancedb", folder / "lance", "--pgvector", folder / "pg"]
    command = ["export", folder / "model", "--database", folder / "named.npz", "--vectors", "--quiet"]
    assert run(*command, *targets) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[0].endswith("lance: 300 codes of 20 bits, bit order little")
    table = lancedb.connect(folder / "lance").open_table("codes").to_arrow().to_pydict()
    codes = load_hasher(folder / "model").transform(rows())
    assert table["id"] == names
    np.testing.assert_array_equal(table["code"], pack_codes(codes))
    np.testing.assert_array_equal(np.array(table["vector"], dtype=np.float32), rows())
    loaded(psql, folder / "pg")
    lines = psql("-c", "SELECT code, id FROM codes").splitlines()
    found = {line.split("|")[1]: line.split("|")[0] for line in lines}
    assert found == {name: "".join(map(str, code)) for code, name in zip(codes, names, strict=True)}
    assert run(*command, *targets[:2]) == 2
    assert "expected a database to which a table 'codes' can be added" in capsys.readouterr().err


def test_what_is_refused(tmp_path: Path) -> None:
    codes = np.eye(4, dtype=np.uint8)
    for more, message in (
        ({"ids": ["a", "b", "c"]}, "ids: expected 4 different names, one a code, got 3, 3 different"),
        ({"ids": ["a", "b", "c", "a"]}, "ids: expected 4 different names, one a code, got 4, 3 different"),
        ({"ids": ["a", "b", "c", "\0"]}, "ids: expected names without the character NUL"),
        ({"vectors": np.ones((3, 2))}, r"vectors: expected shape \(4, d\), one row a code, got \(3, 2\)"),
        (
            {"vectors": np.ones((4, 16_001))},
            "vectors: expected at most the 16000 dimensions that pgvector has",
        ),
        ({"vectors": np.full((4, 2), np.nan)}, "vectors, rows from 0 on: expected finite values"),
    ):
        with pytest.raises(ValueError, match=message):
            to_pgvector(codes, tmp_path / "pg", **more)
        assert list(tmp_path.iterdir()) == []


def test_lancedb_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install lancedb"):
        to_lancedb(np.eye(4), tmp_path)
