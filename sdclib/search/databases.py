"""Codes in databases that people run: LanceDB, in a folder, and PostgreSQL with pgvector, on a server."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import as_array, check_features, check_int, check_package
from sdclib.codes import packed_codes, unpack_codes
from sdclib.files import new_folder
from sdclib.search.encoding import take_rows

__all__ = ["TABLE", "to_lancedb", "to_pgvector"]

TABLE = "codes"
PART_BYTES = 1 << 24  # of float vectors at a time
MOST_DIMENSIONS = 16_000  # of pgvector's type vector


def to_lancedb(
    codes: ArrayLike,
    folder: str | os.PathLike[str],
    *,
    n_bits: int | None = None,
    ids: Sequence[str] | None = None,
    vectors: ArrayLike | None = None,
) -> Path:
    """Write codes into the new table "codes" of a LanceDB database, with an index for Hamming distances.

    Its columns are ``id`` (the names, else row numbers), ``code`` (bytes, as `BaseHasher.pack` makes them of queries)
    and, if there are vectors, ``vector`` (float32). The nearest hundred codes of a query, whose vectors may be
    re-scored::

        table = lancedb.connect(folder).open_table("codes")
        search = table.search(hasher.pack(query)[0], vector_column_name="code").distance_type("hamming")
        nearest = search.limit(100).to_pandas()

    ImportError if the package lancedb is not installed, ValueError if an argument is not as described or there is a
    table "codes" already.

    Parameters
    ----------
    codes : array-like
        Codes of 0 and 1, shape (n, n_bits); or, with `n_bits` given, packed codes, uint8 of shape
        (n, ceil(n_bits / 8)), lowest bit first.
    folder : path-like
        The database; others of its tables stay as they are.
    n_bits : int, optional
        Code length; says that codes are packed.
    ids : sequence of str, optional
        A name of its own for every code.
    vectors : array-like, shape (n, d), optional
        Float vectors; may be a memory map.
    """
    check_package("lancedb", "writing LanceDB tables")
    rows = _Rows(codes, n_bits, ids, vectors)
    import lancedb
    import pyarrow as pa
    from lancedb.index import IvfFlat

    def matrix(values: NDArray[Any]) -> Any:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])

    def batches() -> Iterator[Any]:
        for names, packed, floats in rows:
            columns = {"id": pa.array(names, schema.field("id").type), "code": matrix(packed)}
            yield pa.record_batch(columns if floats is None else columns | {"vector": matrix(floats)})

    schema = pa.schema(
        {"id": pa.string() if rows.named else pa.int64(), "code": pa.list_(pa.uint8(), rows.n_bytes)}
        | ({"vector": pa.list_(pa.float32(), rows.d)} if rows.d else {})
    )
    try:
        table = lancedb.connect(Path(folder)).create_table(TABLE, data=batches(), schema=schema)
    except ValueError as error:
        raise ValueError(
            f"{folder}: expected a database to which a table {TABLE!r} can be added ({error})"
        ) from error
    table.create_index("code", config=IvfFlat(distance_type="hamming"))
    return Path(folder)


def to_pgvector(
    codes: ArrayLike,
    folder: str | os.PathLike[str],
    *,
    n_bits: int | None = None,
    ids: Sequence[str] | None = None,
    vectors: ArrayLike | None = None,
) -> Path:
    """Write codes, and statements that load and search them, for PostgreSQL with the extension pgvector.

    The new folder has ``schema.sql``, which makes the table codes (id, code and, if there are vectors, vector);
    ``codes.copy``, its rows, for ``COPY codes FROM STDIN WITH (FORMAT binary)``; ``index.sql``, which makes an HNSW
    graph; and ``search.sql``, which prepares the searches ``exact`` and ``approximate`` (by the graph), with vectors
    also ``exact_rescored`` and ``approximate_rescored``. The first bit of a code is the first of its ``bit(n_bits)``:
    that of a query is ``"".join(map(str, hasher.transform(query)[0]))``.

    Parameters and errors as `to_lancedb`; ValueError also where the folder is there already.
    """
    rows = _Rows(codes, n_bits, ids, vectors)
    check_int(rows.d, "vectors", minimum=0, maximum=MOST_DIMENSIONS, of="dimensions that pgvector has")
    if any("\0" in name for name in ids or ()):
        raise ValueError("ids: expected names without the character NUL, which PostgreSQL has not, got one")
    with new_folder(folder) as made:
        for name, text in _statements(rows).items():
            (made / name).write_text(text, encoding="utf-8")
        with (made / "codes.copy").open("wb") as file:
            file.write(b"PGCOPY\n\xff\r\n\0" + bytes(8))
            for part in rows:
                file.write(_copied(*part, rows.n_bits))
            file.write(b"\xff\xff")
    return Path(folder)


class _Rows:
    """Rows of a table, checked, and handed out in parts: ids, packed codes, float vectors or None."""

    def __init__(
        self, codes: ArrayLike, n_bits: int | None, ids: Sequence[str] | None, vectors: ArrayLike | None
    ):
        self.codes, self.n_bits = packed_codes(codes, "codes", n_bits)
        n, self.n_bytes = self.codes.shape
        self.named = ids is not None
        self.ids: Sequence[str] | range = range(n) if ids is None else list(ids)
        if len(self.ids) != n or len(set(self.ids)) != n:
            raise ValueError(
                f"ids: expected {n} different names, one a code, got {len(self.ids)}, {len(set(self.ids))} different"
            )
        self.vectors = None if vectors is None else as_array(vectors, "vectors")
        shape = (n, 0) if self.vectors is None else self.vectors.shape
        if len(shape) != 2 or shape[0] != n:
            raise ValueError(f"vectors: expected shape ({n}, d), one row a code, got {shape}")
        self.d = shape[1]

    def __iter__(self) -> Iterator[tuple[Sequence[Any], NDArray[np.uint8], NDArray[np.float32] | None]]:
        n_rows = max(1, PART_BYTES // (self.n_bytes + 4 * self.d))
        for start in range(0, len(self.codes), n_rows):
            part = slice(start, min(start + n_rows, len(self.codes)))
            floats = None
            if self.vectors is not None:
                floats = take_rows(self.vectors, np.arange(part.start, part.stop))
                check_features(floats, f"vectors, rows from {start} on")
            yield self.ids[part], self.codes[part], floats


def _copied(
    ids: Sequence[Any], packed: NDArray[np.uint8], floats: NDArray[np.float32] | None, n_bits: int
) -> bytes:
    """Rows in PostgreSQL's binary format of COPY: before each value its bytes, highest byte and first bit first."""
    bits = np.packbits(unpack_codes(packed, n_bits), axis=1)
    kinds: list[Any] = [("size", ">i4"), ("n_bits", ">i4"), ("bits", "u1", bits.shape[1])]
    if floats is not None:
        d = floats.shape[1]
        kinds += [("floats_size", ">i4"), ("d", ">i2"), ("unused", ">i2"), ("floats", ">f4", d)]
    rows = np.zeros(len(ids), dtype=kinds)
    rows["size"], rows["n_bits"], rows["bits"] = 4 + bits.shape[1], n_bits, bits
    if floats is not None:
        rows["floats_size"], rows["d"], rows["floats"] = 4 + 4 * d, d, floats
    n_columns = 2 if floats is None else 3
    parts = []
    for id_, row in zip(ids, rows, strict=True):
        name = id_.encode() if isinstance(id_, str) else struct.pack(">q", id_)
        parts += [struct.pack(">hi", n_columns, len(name)), name, row.tobytes()]
    return b"".join(parts)


def _statements(rows: _Rows) -> dict[str, str]:
    bit, vector = f"bit({rows.n_bits})", f"vector({rows.d})"
    columns = [f"id {'text' if rows.named else 'bigint'} PRIMARY KEY", f"code {bit} NOT NULL"]
    if rows.d:
        columns.append(f"vector {vector} NOT NULL")
    searches = ["-- EXECUTE exact(B'0110...', 10): ids and Hamming distances of the 10 nearest codes"]
    nearest = {
        # an order that no index has
        "exact": "SELECT {} FROM codes ORDER BY (code <~> $1) + 0, id LIMIT {}",
        "approximate": "SELECT {} FROM codes ORDER BY code <~> $1 LIMIT {}",
    }
    for name, search in nearest.items():
        found = search.format("id, code <~> $1 AS distance", "$2")
        searches.append(f"PREPARE {name} ({bit}, bigint) AS {found};")
    if rows.d:
        searches.append(
            "-- EXECUTE exact_rescored(B'0110...', '[0.5, ...]', 10, 100): the 10 nearest vectors by cosine among the "
            "100 nearest codes"
        )
        for name, search in nearest.items():
            candidates = search.format("id, vector <=> $2 AS distance", "$4")
            searches.append(
                f"PREPARE {name}_rescored ({bit}, {vector}, bigint, bigint) AS SELECT id, 1 - distance AS cosine "
                f"FROM ({candidates}) AS candidates ORDER BY distance, id LIMIT $3;"
            )
    return {
        "schema.sql": (
            "-- psql -f schema.sql -c \"\\copy codes FROM 'codes.copy' WITH (FORMAT binary)\" -f index.sql\n"
            f"CREATE EXTENSION IF NOT EXISTS vector;\nCREATE TABLE codes ({', '.join(columns)});\n"
        ),
        "index.sql": (
            "-- SET hnsw.ef_search = 100; before a search keeps that many candidates, the most that it can find\n"
            "CREATE INDEX codes_hamming ON codes USING hnsw (code bit_hamming_ops);\n"
        ),
        "search.sql": "\n".join(searches) + "\n",
    }
