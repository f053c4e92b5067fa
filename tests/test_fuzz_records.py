"""Run records, tables of results and sweep configurations: values or errors that name the file."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.runs import (
    Experiment,
    RunSpec,
    collect_histograms,
    collect_records,
    expand_config,
    failed_runs,
    read_codes,
    read_record,
    write_record,
)
from study.tables import read_results
from tests.fuzzing import JSON, attacks, changed, damaged, fuzzed, lay_out, npy, npz, outcome, write

ERRORS = (ValueError, FileNotFoundError)
CODES = {"query": np.eye(2, 8, dtype=np.uint8), "database": np.eye(5, 8, dtype=np.uint8)}


class Spec:
    """Stands for a `RunSpec` with a known id."""

    id = "run"
    rule = None
    all_parameters: ClassVar[dict[str, Any]] = {}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Files of a record that the library wrote, and what its `record.json` says."""
    experiment = Experiment(
        spec=RunSpec("tiny", "lsh", 8),
        id="run",
        data_sha256="0" * 64,
        top_k=3,
        metrics={"map_expected": 0.5},
        histogram=pd.DataFrame({"similarity": [-1.0, 1.0], "positive": [1, 2], "negative": [3, 0]}),
        history=None,
        query_codes=CODES["query"],
        database_codes=CODES["database"],
        fit_seconds=0.1,
        encode_seconds=0.1,
        evaluate_seconds=0.1,
    )
    folder = write_record(experiment, tmp_path_factory.mktemp("runs"))
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files, json.loads(files["record.json"])


def use(folder: Path) -> None:
    """Read a record in every way."""
    record = outcome(lambda: read_record(folder), folder, ERRORS)
    assert record is None or set(record["files"]) <= {path.name for path in folder.iterdir()}
    codes = outcome(lambda: read_codes(folder), folder, ERRORS)
    if codes is not None:
        assert all(array.shape[1] == record["n_bits"] and set(np.unique(array)) <= {0, 1} for array in codes)
    specs: Any = [Spec()]
    for collect in (collect_records, collect_histograms):
        table = outcome(lambda collect=collect: collect(specs, folder.parent), folder, ERRORS)
        assert table is None or {"id"} <= set(table.columns)


def test_a_whole_record_is_read(tmp_path: Path, whole: Any) -> None:
    folder = lay_out(tmp_path / "run", whole[0])
    assert read_record(folder) == whole[1]
    for array, name in zip(read_codes(folder), CODES, strict=True):
        np.testing.assert_array_equal(array, CODES[name])
    use(folder)


OTHERS = {
    "codes.npz": [
        npz({"query": CODES["query"]}),
        npz({name: array[0] for name, array in CODES.items()}),
        npy(np.eye(2)),
    ],
    "histogram.csv": [b"", b"a,b\n1,2,3\n", b"\xff\xfe", b'"'],
}


@fuzzed
@given(st.data())
def test_any_record(tmp_path: Path, whole: Any, data: st.DataObject) -> None:
    """A file is damaged, `record.json` says something else, or a file is another that has its hash there."""
    files, record = dict(whole[0]), whole[1]
    name = data.draw(st.sampled_from([*sorted(files), "other"]))
    if name == "other":
        record = data.draw(changed(record) | JSON)
    else:
        content = damaged(files[name]) | st.binary(max_size=40) | st.sampled_from(OTHERS.get(name, [b""]))
        files[name] = data.draw(content)
        known = data.draw(st.sampled_from(["as it was", "as it is", "not at all"]))
        hashes = {**record["files"], name: hashlib.sha256(files[name]).hexdigest()}
        if known == "not at all":
            del hashes[name]
        record = record if known == "as it was" else {**record, "files": hashes}
    if name != "record.json":
        files["record.json"] = json.dumps(record).encode()
    use(lay_out(tmp_path / "run", files))


@fuzzed
@given(st.binary(max_size=40))
def test_any_file_of_an_error(tmp_path: Path, content: bytes) -> None:
    folder = lay_out(tmp_path / "run", {"error.txt": content})
    specs: Any = [Spec()]
    ((_, error, path),) = outcome(lambda: failed_runs(specs, folder.parent), "no error to raise", ())
    assert "\n" not in error
    assert path == folder / "error.txt"


TABLE = (
    b"id,data,method,n_bits,seed,parameters,map_expected\n"
    b'0012,tiny,sdc,8,0,"{""preset"": ""paper-no-contrastive""}",0.5\n'
    b"0013,tiny,cosine,,0,{},0.75\n"
)
FIELDS = st.sampled_from(
    ["", "x", "8", "1.5", "{}", "[]", '"{""preset"": []}"', "null", '"{""a"": NaN}"', "[" * 5000]
)


@fuzzed
@given(
    st.binary(max_size=60)
    | damaged(TABLE)
    | st.lists(FIELDS, min_size=6, max_size=8).map(lambda fields: TABLE + ",".join(fields).encode())
)
def test_any_table_of_results(tmp_path: Path, content: bytes) -> None:
    path = write(tmp_path / "table.csv", content)
    table = outcome(lambda: read_results(path), path)
    assert table is None or {"id", "config", "n_bits"} <= set(table.columns)


CONFIG = {
    "table": "some",
    "data": ["tiny"],
    "n_bits": [8, 16],
    "seeds": [0, 1],
    "runs": [
        {"method": "lsh"},
        {"method": "sdc", "parameters": {"preset": "paper-no-contrastive", "epochs": [1, 2]}},
    ],
}
RUN = st.fixed_dictionaries(
    {"method": st.sampled_from(["lsh", "sdc", "cosine", "none"]) | JSON},
    optional={
        "parameters": st.dictionaries(st.sampled_from(["preset", "epochs", "center"]), JSON, max_size=2)
        | JSON,
        **{name: JSON for name in ("data", "n_bits", "seeds", "other")},
    },
)


@fuzzed
@given(changed(CONFIG) | st.lists(RUN | JSON, max_size=2).map(lambda runs: {**CONFIG, "runs": runs}) | JSON)
def test_any_configuration(config: Any) -> None:
    specs = outcome(lambda: expand_config(config), "")
    assert specs is None or all(isinstance(spec, RunSpec) and isinstance(spec.data, str) for spec in specs)


def test_attacks_are_refused(tmp_path: Path, whole: Any) -> None:
    marker = tmp_path / "owned"
    for attack in attacks(marker):
        objects = np.empty((2, 1), dtype=object)
        objects[:] = [[attack]] * 2
        for content in (pickle.dumps(attack), npz({"query": objects, "database": objects})):
            files = {**whole[1]["files"], "codes.npz": hashlib.sha256(content).hexdigest()}
            record = json.dumps({**whole[1], "files": files}).encode()
            folder = lay_out(tmp_path / "run", {**whole[0], "codes.npz": content, "record.json": record})
            with pytest.raises(ValueError, match=r"codes\.npz"):
                read_codes(folder)
        path = write(tmp_path / "table.csv", pickle.dumps(attack))
        with pytest.raises(ValueError, match=r"table\.csv"):
            read_results(path)
    assert not marker.exists()
