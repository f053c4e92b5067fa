"""Full disk, read-only folder, two writers, kill -9: nothing is lost, nothing is silently wrong, errors say what to do.

`benchmarks.check_faults` kills whole commands, many times.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

import scripts.sweep
import sdclib.methods.base
from sdclib import files
from sdclib.cli import main
from sdclib.extract.feature_cache import extract_features, extraction, find_cached
from sdclib.methods import ITQHasher
from sdclib.search.encoding import encode, load_hasher
from sdclib.search.index import HammingIndex
from study.records import read_codes, read_record, write_record
from study.runs import RunSpec, run_experiment
from tests.conftest import make_features
from tests.faults import ended, fill, forked, mount, read_only
from tests.toy_backbone import Network, image_set

VERSIONS = (0, 1)
KINDS = ("cache", "record", "tables", "index", "model", "codes")
SPEC = RunSpec("tiny", "itq", 8)
# So long that no file of a version fits into what is left on a full disk.
VECTORS = make_features(n_query=1, n_database=3000, d=16).database


@dataclass(frozen=True)
class Kept:
    """Something that is kept in a folder, of which there are two versions.

    `write(folder, version)` raises OSError with what a user sees; `read(folder)` returns the version, or None where
    there is nothing, and raises where something is damaged or mixed.
    """

    write: Callable[[Path, int], Any]
    read: Callable[[Path], int | None]


def hasher(version: int) -> ITQHasher:
    return ITQHasher(n_bits=8, random_state=version).fit(VECTORS[:300])


def codes(version: int) -> np.ndarray:
    return np.random.default_rng(version).integers(0, 2, (len(VECTORS), 8), dtype=np.uint8)


def which(content: Any, of: Callable[[int], Any]) -> int:
    """Which version some content is; StopIteration if it is none."""
    return next(version for version in VERSIONS if np.array_equal(content, of(version)))


def sdc(*arguments: object) -> None:
    """Run the command line; an error is what it says."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = main([*map(str, arguments)])
    if status:
        raise OSError(said.getvalue())


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    np.save(folder / "vectors.npy", VECTORS)
    for version in VERSIONS:
        hasher(version).save(folder / f"model{version}")
    config = {"table": "t", "data": "cifar10-embedded", "n_bits": 8, "seeds": 0, "runs": [{"method": "sign"}]}
    (folder / "t.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="session")
def run() -> Any:
    return run_experiment(SPEC, make_features(n_database=3000), progress=False)


@pytest.fixture
def kinds(inputs: Path, run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Kept]:
    monkeypatch.setattr(extraction, "SHARD_SIZE", 16)

    # Features: what was there of other images stays beside them.
    def write_cache(folder: Path, version: int) -> None:
        extract_features(image_set(200, seed=version), Network(), cache=folder, batch_size=4, progress=False)

    def read_cache(folder: Path) -> int | None:
        found = [find_cached(image_set(200, seed=version), Network(), cache=folder) for version in VERSIONS]
        for features in found:
            if features is not None:
                features.verify()
        return max((version for version in VERSIONS if found[version] is not None), default=None)

    identity = run.id

    def write_run(folder: Path, version: int) -> None:
        history = pd.DataFrame({"seconds": np.random.default_rng(version).random(500)})
        metrics = {"version": float(version)}
        write_record(replace(run, metrics=metrics, history=history, database_codes=codes(version)), folder)

    def read_run(folder: Path) -> int | None:
        try:
            version = read_record(folder / identity)["metrics"]["version"]
        except FileNotFoundError:
            return None
        assert which(read_codes(folder / identity)[1], codes) == version
        return int(version)

    # Tables, by the command that collects them, without the runs.
    def table(version: int) -> pd.DataFrame:
        return pd.DataFrame({"map": np.random.default_rng(version).integers(0, 10**9, 3000)})

    def write_tables(folder: Path, version: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(scripts.sweep, "OWN_RESULTS", folder)
            patch.setattr(scripts.sweep, "runs_folder", lambda: tmp_path / "runs")
            patch.setattr(scripts.sweep, "run_sweep", lambda *_: 0)
            patch.setattr(scripts.sweep, "report_failures", lambda *_: None)
            for name in ("collect_records", "collect_histograms"):
                patch.setattr(scripts.sweep, name, lambda _: table(version))
            patch.setattr(sys, "argv", ["sweep.py", str(inputs / "t.yaml")])
            said = io.StringIO()
            with contextlib.redirect_stdout(said), pytest.raises(SystemExit) as stopped:
                scripts.sweep.main()
        if stopped.value.code:
            raise OSError(said.getvalue())

    def read_tables(folder: Path) -> int | None:
        found = [
            which(pd.read_csv(path), table)
            for path in (folder / "t.csv", folder / "t_histograms.csv")
            if path.exists()
        ]
        return min(found, default=None)

    def write_index(folder: Path, version: int) -> None:
        HammingIndex(codes(version)).save(folder / "codes.index")

    def read_index(folder: Path) -> int | None:
        if not (folder / "codes.index").exists():
            return None
        whole = np.arange(len(VECTORS))
        return which(HammingIndex.load(folder / "codes.index")._signs(whole) > 0, codes)

    def write_model(folder: Path, version: int) -> None:
        more = ("--method", "itq", "--n-bits", 8, "--seed", version, "--train-rows", 300, "--quiet")
        sdc("fit", inputs / "vectors.npy", "--out", folder / "model", *more)

    def read_model(folder: Path) -> int | None:
        if not (folder / "model" / "hasher.json").exists():
            return None
        return int(load_hasher(folder / "model").get_params()["random_state"])

    def write_codes(folder: Path, version: int) -> None:
        model = inputs / f"model{version}"
        sdc("encode", model, inputs / "vectors.npy", "--out", folder / "codes.npy", "--quiet")

    def read_codes_file(folder: Path) -> int | None:
        if not (folder / "codes.npy").exists():
            return None
        return which(
            np.load(folder / "codes.npy"),
            lambda version: encode(load_hasher(inputs / f"model{version}"), VECTORS),
        )

    return {
        "cache": Kept(write_cache, read_cache),
        "record": Kept(write_run, read_run),
        "tables": Kept(write_tables, read_tables),
        "index": Kept(write_index, read_index),
        "model": Kept(write_model, read_model),
        "codes": Kept(write_codes, read_codes_file),
    }


@pytest.fixture(params=KINDS)
def kept(request: pytest.FixtureRequest, kinds: dict[str, Kept]) -> Kept:
    return kinds[request.param]


def content(folder: Path) -> dict[str, bytes]:
    """All files of a folder but locks."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=2m", "tmpfs", disk)
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def refused(kept: Kept, folder: Path, reason: str) -> None:
    """The new version is refused by a message that names folder, reason and remedy; the old one is as it was."""
    before = content(folder)
    with pytest.raises(OSError, match=reason) as error:
        kept.write(folder, 1)
    assert str(folder) in str(error.value)
    assert any(words in str(error.value) for words in ("make room", "are kept")), str(error.value)
    # A cache has a folder for the new features, and a model may have new weights that nothing names.
    after = content(folder)
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if name.endswith(".tmp")]
    assert kept.read(folder) == 0


def test_full_disk(kept: Kept, small_disk: Path) -> None:
    folder = small_disk / "folder"
    folder.mkdir()
    kept.write(folder, 0)
    filler = fill(small_disk)
    refused(kept, folder, "No space left on device")
    filler.unlink()
    kept.write(folder, 1)
    assert kept.read(folder) == 1


def test_a_file_that_cannot_grow(kept: Kept, tmp_path: Path) -> None:
    """As a quota or a full disk without root: a write ends after some bytes."""
    folder = tmp_path / "folder"
    folder.mkdir()
    kept.write(folder, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        refused(kept, folder, "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept.write(folder, 1)
    assert kept.read(folder) == 1


def test_read_only_folder(kept: Kept, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    kept.write(folder, 0)
    with read_only(folder):
        refused(kept, folder, "Read-only file system|Permission denied")
    kept.write(folder, 1)
    assert kept.read(folder) == 1


def test_killed_at_random_moments(kept: Kept, tmp_path: Path) -> None:
    """Five kills of a process that writes both versions in turn: what is there is one of them, whole."""
    folder = tmp_path / "folder"
    folder.mkdir()
    kept.write(folder, 0)
    rng = random.Random(0)

    def write_in_turn() -> None:
        while True:
            for version in (1, 0):
                kept.write(folder, version)

    for _ in range(5):
        child = forked(write_in_turn)
        time.sleep(rng.uniform(0, 0.2))
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -signal.SIGKILL
        kept.read(folder)  # raises if something is damaged or mixed
    kept.write(folder, 1)
    assert kept.read(folder) == 1


@pytest.mark.parametrize("name", ["cache", "record", "index", "codes"])
def test_two_writers_at_once(name: str, kinds: dict[str, Kept], tmp_path: Path) -> None:
    """Two processes that write one version each, over and over: one wins, nothing is mixed."""
    kept = kinds[name]

    def write_often(version: int) -> None:
        for _ in range(5):
            kept.write(tmp_path, version)

    for _ in range(2):
        children = [forked(functools.partial(write_often, version)) for version in VERSIONS]
        assert [ended(child) for child in children] == [0, 0]
        assert kept.read(tmp_path) in VERSIONS
    assert not [path for path in content(tmp_path) if ".tmp" in path]


def test_a_writer_killed_in_a_record_costs_nothing(
    kinds: dict[str, Kept], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a killed writer had written is cleared away, and an earlier record stays until a new one is whole."""
    kept = kinds["record"]
    kept.write(tmp_path, 0)

    def write_and_die() -> None:
        monkeypatch.setattr("study.records.write_json", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        kept.write(tmp_path, 1)

    assert ended(forked(write_and_die)) == -signal.SIGKILL
    assert [path for path in content(tmp_path) if ".tmp" in path]
    assert kept.read(tmp_path) == 0
    kept.write(tmp_path, 1)
    assert kept.read(tmp_path) == 1
    assert not [path for path in content(tmp_path) if ".tmp" in path]


def test_a_damaged_record_is_named_with_what_to_do(kinds: dict[str, Kept], tmp_path: Path) -> None:
    kinds["record"].write(tmp_path, 0)
    (path,) = tmp_path.glob("*/codes.npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"codes\.npz: damaged, .*; delete the folder and run again"):
        kinds["record"].read(tmp_path)


def test_write_bytes_names_the_file_that_does_not_fit(small_disk: Path) -> None:
    path = files.write_bytes(small_disk / "data", b"old")
    fill(small_disk)
    with pytest.raises(OSError, match="No space left on device") as error:
        files.write_bytes(path, bytes(100_000))
    assert path.read_bytes() == b"old"
    assert str(path) in str(error.value)


def test_two_writers_of_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json = sdclib.methods.base.write_json

    def after_another_writer(path: Path, description: dict[str, Any]) -> None:
        monkeypatch.setattr(sdclib.methods.base, "write_json", write_json)
        hasher(1).save(tmp_path)  # whole, between the weights of the first and its description
        write_json(path, description)

    monkeypatch.setattr(sdclib.methods.base, "write_json", after_another_writer)
    hasher(0).save(tmp_path)
    ITQHasher.load(tmp_path)


def test_a_model_replaces_its_own_weights_alone(tmp_path: Path) -> None:
    others = ["weights-of-mine.safetensors", "weights-0123456789abcdef.safetensors", "notes.txt"]
    for name in others:
        (tmp_path / name).write_text(name)
    for version in (*VERSIONS, 1):
        hasher(version).save(tmp_path)
        (own,) = (name for name in content(tmp_path) if name not in (*others, "hasher.json"))
        assert files.read_json(tmp_path / "hasher.json")["weights"] == own
    for text in ('{"weights": "notes.txt"}', '{"weights": "../model/notes.txt"}', "[]", "none"):
        (tmp_path / "hasher.json").write_text(text)
        hasher(0).save(tmp_path)
        assert content(tmp_path).keys() >= {*others, own}
