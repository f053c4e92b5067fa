"""Shards on Ray's workers and in this process: codes, samples and counts are those of one file, byte for byte."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from pyarrow import parquet

from sdclib.methods import ITQHasher
from sdclib.metrics import count_pairs
from sdclib.search.encoding import load_hasher
from sdclib.search.shards import count_shards, encode_shards, sample_shards
from tests.command import rows, run

SIZES = (70, 1, 129, 40, 60)
LABELS = np.arange(300) % 7
WHOLE = rows()


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    """Two workers of Ray."""
    ray = pytest.importorskip("ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    options = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(num_cpus=2, object_store_memory=100_000_000, **options)
    yield
    ray.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, and the rows in shards of both kinds."""
    ITQHasher(20).fit(WHOLE).save(tmp_path / "model")
    (tmp_path / "shards").mkdir()
    for i, part in enumerate(np.split(np.arange(300), np.cumsum(SIZES)[:-1])):
        if i % 2:
            np.save(tmp_path / "shards" / f"{i}.npy", WHOLE[part])
        else:
            table = {"embedding": list(WHOLE[part]), "label": LABELS[part], "id": [f"row{x}" for x in part]}
            pd.DataFrame(table).to_parquet(tmp_path / "shards" / f"{i}.parquet")
    (tmp_path / "shards" / "notes.txt").write_text("no shard")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def encode(folder: Path, out: str, *options: object) -> int:
    return run("encode", folder / "model", folder / "shards", "--out", folder / out, "--quiet", *options)


def test_ray_encodes_what_one_process_encodes(
    folder: Path, workers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encode(folder, "one") == 0
    assert capsys.readouterr().out.endswith("one: 5 shards encoded, 0 there already, 0 skipped\n")
    assert encode(folder, "two", "--engine", "ray", "--workers", 2) == 0
    assert sorted(contents(folder / "one")) == [f"{i}.parquet" for i in range(5)]
    assert contents(folder / "one") == contents(folder / "two")
    tables = [parquet.read_table(folder / "two" / f"{i}.parquet").to_pandas() for i in range(5)]
    codes = np.frombuffer(b"".join(pd.concat(tables)["code"]), dtype=np.uint8).reshape(300, -1)
    np.testing.assert_array_equal(codes, load_hasher(folder / "model").pack(WHOLE))
    assert tables[1]["id"].tolist() == [0]
    assert tables[2]["id"].tolist() == [f"row{i}" for i in range(71, 200)]
    np.testing.assert_array_equal(tables[2]["label"], LABELS[71:200])


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_bad_shard_is_named_and_by_choice_skipped(
    engine: str, folder: Path, workers: None, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, out = folder / "shards" / "1.npy", folder / "codes"
    whole = bad.read_bytes()
    np.save(bad, np.full((3, 24), np.nan, dtype=np.float32))
    assert encode(folder, "codes", "--engine", engine) == 2
    assert f"{bad}: expected finite values" in capsys.readouterr().err
    assert encode(folder, "codes", "--engine", engine, "--skip-bad") == 0
    shown = capsys.readouterr()
    assert shown.out.endswith("there already, 1 skipped\n")
    assert f"warning: skipped {bad}: expected finite values" in shown.err
    assert sorted(contents(out)) == ["0.parquet", "2.parquet", "3.parquet", "4.parquet"]
    times = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / "4.parquet").write_bytes(b"cut short")
    bad.write_bytes(whole)
    assert encode(folder, "codes", "--engine", engine) == 0
    assert "2 shards encoded, 3 there already, 0 skipped" in capsys.readouterr().out
    again = {path for path, before in times.items() if path.stat().st_mtime_ns != before}
    assert again == {out / "4.parquet"}
    encode(folder, "one")
    assert contents(out) == contents(folder / "one")
    ITQHasher(20, random_state=1).fit(WHOLE).save(folder / "model")
    assert encode(folder, "codes", "--engine", engine) == 2
    assert "expected codes of the same model" in capsys.readouterr().err


def test_the_shards_of_a_killed_worker_are_done_again(folder: Path, workers: None) -> None:
    for path in (folder / "shards").iterdir():
        path.unlink()
    for i in range(6):
        np.save(folder / "shards" / f"{i}.npy", np.tile(WHOLE, (500, 1)))
    killed: list[str] = []

    def kill() -> None:
        """Kill the first worker that is seen at a shard."""
        while not killed and time.monotonic() < end:
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    command = " ".join(process.cmdline())
                    if not killed and "ray::_try" in command:
                        process.send_signal(signal.SIGKILL)
                        killed.append(command)
            time.sleep(0.005)

    end = time.monotonic() + 60
    thread = threading.Thread(target=kill)
    thread.start()
    done = encode_shards(folder / "model", folder / "shards", folder / "codes", engine="ray", workers=2)
    thread.join()
    assert killed
    assert len(done.encoded) == 6
    encode(folder, "one")
    assert contents(folder / "codes") == contents(folder / "one")


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_sample_is_that_of_one_file(engine: str, folder: Path, workers: None) -> None:
    np.save(folder / "whole.npy", WHOLE)
    options = ["--method", "itq", "--n-bits", 8, "--quiet", "--train-rows"]
    for n in (100, 300):
        one, parts = folder / f"one{n}", folder / f"parts{n}"
        assert run("fit", folder / "whole.npy", "--out", one, *options, n) == 0
        assert run("fit", folder / "shards", "--out", parts, *options, n, "--engine", engine) == 0
        assert contents(one) == contents(parts)
    drawn, n = sample_shards(folder / "shards", 10, seed=3, engine=engine)
    assert (len(drawn), n) == (10, 300)


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_counts_of_shards_are_those_of_one_call(engine: str, folder: Path, workers: None) -> None:
    hasher, query = load_hasher(folder / "model"), rows(17, seed=1)
    encode(folder, "codes")
    codes, names = hasher.transform(query), np.array([f"class {i % 7}" for i in range(17)])
    labels = np.split(np.array([f"class {x}" for x in LABELS]), np.cumsum(SIZES)[:-1])
    whole = count_pairs(codes, hasher.transform(WHOLE), (np.arange(17) % 7, LABELS))
    found = count_shards(codes, names, folder / "codes", database_labels=labels, engine=engine)
    own = [folder / "codes" / f"{i}.parquet" for i in (0, 2, 4)]
    part = count_shards(codes, np.arange(17) % 7, own, engine=engine)
    of_own = np.concatenate([np.arange(70), np.arange(71, 200), np.arange(240, 300)])
    expected = count_pairs(codes, hasher.transform(WHOLE[of_own]), (np.arange(17) % 7, LABELS[of_own]))
    for counts, right in ((found, whole), (part, expected)):
        np.testing.assert_array_equal(counts.all, right.all)
        np.testing.assert_array_equal(counts.relevant, right.relevant)
        assert counts.n_database == right.n_database


def test_what_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, codes, shards = folder / "model", folder / "codes", folder / "shards"
    encode(folder, "codes")
    np.save(shards / "9.npy", WHOLE[:, :5])
    for function, arguments, message in (
        (encode_shards, (model, model, codes), "expected a folder with shards .npy"),
        (encode_shards, (model, shards, shards), "out: expected another folder than that of"),
        (encode_shards, (model, [shards / "7.npy"], codes), "7.npy: expected a shard, a file"),
        (encode_shards, (model, [shards / "1.npy"] * 2, codes), "1 more than once"),
        (encode_shards, (model, shards, codes), "9.npy: expected 24 features a row, got 5"),
        (sample_shards, (shards, 1000), "9.npy: expected 24 features a row as in .*0.parquet, got 5"),
        (sample_shards, (shards, 0), "n_rows: expected a whole number >= 1, got 0"),
        (count_shards, ([[0, 1]], [1], codes), "0.parquet: expected codes of 2 bits as of the queries"),
        (count_shards, (np.eye(20), np.arange(20), codes), "1.parquet: expected a column label, or"),
        (count_shards, (np.eye(20), np.arange(20), shards), "0.parquet: expected codes that encode_shards"),
    ):
        with pytest.raises(ValueError, match=message):
            function(*arguments)
    with pytest.raises(ValueError, match="database_labels: expected an array for each of 5 files, got 0"):
        count_shards([[0]], [1], codes, database_labels=[])
    out = ["--out", folder / "new"]
    for command, message in (
        (
            ["encode", model, shards, *out, "--precision", "ubinary"],
            "--precision: expected little bits with a",
        ),
        (
            ["encode", model, shards / "1.npy", *out, "--engine", "ray"],
            "1.npy: expected a folder of shards with",
        ),
        (["encode", model, shards, "--out", shards], "--out: expected a file that is not"),
        (["search", model, shards, shards, *out], "shards: expected a file .npy"),
    ):
        assert run(*command) == 2
        assert message in capsys.readouterr().err
