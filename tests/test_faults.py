"""No room, read-only folder, two writers, kill -9: nothing is lost, nothing is silently wrong, errors say what to do.

`benchmarks.check_faults` kills whole commands, many times.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import scripts.sweep
import sdclib.methods.base
from sdclib.extract import feature_cache
from sdclib.extract.feature_cache import extract_features
from sdclib.files import read_json, write_json
from sdclib.methods import ITQHasher
from sdclib.search.encoding import load_hasher
from study.runs import RunSpec, read_codes, read_record, run_experiment, write_record
from tests.conftest import make_features
from tests.faults import FAULTS, content, ended, forked, wait_for
from tests.toy_backbone import Idle, Network, image_set

VERSIONS = (0, 1)
SPEC = RunSpec("tiny", "itq", 8)
VECTORS = make_features(n_query=1, n_database=3000, d=16).database


def codes(version: int) -> np.ndarray:
    return np.random.default_rng(version).integers(0, 2, (len(VECTORS), 8), dtype=np.uint8)


def which(content: Any, of: Callable[[int], Any]) -> int:
    """Which version some content is; StopIteration if it is none."""
    return next(version for version in VERSIONS if np.array_equal(content, of(version)))


# A fitted method: a description and the weights that it names.


def hasher(version: int) -> ITQHasher:
    return ITQHasher(n_bits=8, random_state=version).fit(VECTORS[:300])


def write_model(folder: Path, version: int) -> None:
    hasher(version).save(folder)


def read_model(folder: Path) -> int | None:
    if not (folder / "hasher.json").exists():
        return None
    return int(load_hasher(folder).get_params()["random_state"])


# Features in parts: what was there of other images stays beside them.


def write_cache(folder: Path, version: int) -> None:
    extract_features(image_set(200, seed=version), Network(), cache=folder, batch_size=4, progress=False)


def read_cache(folder: Path) -> int | None:
    def complete(version: int) -> bool:
        try:
            features = extract_features(image_set(200, seed=version), Idle(), cache=folder, progress=False)
        except (LookupError, OSError):
            return False
        features.rows(np.arange(200))
        return True

    return max(filter(complete, VERSIONS), default=None)


# The record of a run.


@functools.cache
def a_run() -> Any:
    return run_experiment(SPEC, make_features(n_database=3000), progress=False)


def write_run(folder: Path, version: int) -> None:
    history = pd.DataFrame({"seconds": np.random.default_rng(version).random(500)})
    metrics = {"version": float(version)}
    write_record(replace(a_run(), metrics=metrics, history=history, database_codes=codes(version)), folder)


def read_run(folder: Path) -> int | None:
    try:
        version = read_record(folder / a_run().id)["metrics"]["version"]
    except FileNotFoundError:
        return None
    assert which(read_codes(folder / a_run().id)[1], codes) == version
    return int(version)


# Tables of a sweep.


def table(version: int) -> pd.DataFrame:
    return pd.DataFrame({"map": np.random.default_rng(version).integers(0, 10**9, 3000)})


def write_tables(folder: Path, version: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("collect_records", "collect_histograms"):
            patch.setattr(scripts.sweep, name, lambda _: table(version))
        scripts.sweep.collect_tables({"table": "t"}, [], folder)


def read_tables(folder: Path) -> int | None:
    paths = [path for path in (folder / "t.csv", folder / "t_histograms.csv") if path.exists()]
    return min((which(pd.read_csv(path), table) for path in paths), default=None)


# What is kept in a folder, of which there are two versions. `write(folder, version)` raises OSError with what a user
# sees; `read(folder)` returns the version, or None for nothing, and raises where something is damaged or mixed.
KINDS: dict[str, tuple[Callable[[Path, int], Any], Callable[[Path], int | None]]] = {
    "model": (write_model, read_model),
    "cache": (write_cache, read_cache),
    "record": (write_run, read_run),
    "tables": (write_tables, read_tables),
}


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_cache, "SHARD_SIZE", 16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.mark.parametrize(("write", "read"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_write_that_fails_is_named_and_loses_nothing(
    write: Any, read: Any, fault: Any, folder: Path
) -> None:
    write(folder, 0)
    before = content(folder)
    with fault(folder):
        with pytest.raises(OSError, match=FAULTS[fault]) as error:
            write(folder, 1)
        assert str(folder) in str(error.value)
        assert any(words in str(error.value) for words in ("make room", "are kept")), str(error.value)
        # A cache has a folder for the new features, and a model may have new weights that nothing names.
        after = content(folder)
        assert {name: after[name] for name in before} == before
        assert not [name for name in after if name.endswith(".tmp")]
        assert read(folder) == 0
    write(folder, 1)
    assert read(folder) == 1


@pytest.mark.parametrize(("write", "read"), KINDS.values(), ids=KINDS)
def test_killed_at_random_moments(write: Any, read: Any, folder: Path) -> None:
    """Five kills of a process that writes both versions in turn: what is there is one of them, whole."""
    write(folder, 0)
    rng = random.Random(0)

    def write_in_turn() -> None:
        while True:
            for version in (1, 0):
                write(folder, version)

    for _ in range(5):
        child = forked(write_in_turn)
        time.sleep(rng.uniform(0, 0.2))
        os.kill(child, signal.SIGKILL)
        assert ended(child) == -signal.SIGKILL
        read(folder)  # raises if something is damaged or mixed
    write(folder, 1)
    assert read(folder) == 1


def test_two_writers_of_a_record(folder: Path) -> None:
    """Two processes that write one version each, over and over: one wins, nothing is mixed."""

    def write_often(version: int) -> None:
        for _ in range(5):
            write_run(folder, version)

    a_run()  # in this process, once
    for _ in range(2):
        children = [forked(functools.partial(write_often, version)) for version in VERSIONS]
        assert [ended(child) for child in children] == [0, 0]
        assert read_run(folder) in VERSIONS
    assert not [path for path in content(folder) if ".tmp" in path]


def test_a_writer_killed_in_a_record_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed writer had written is cleared away, and an earlier record stays until a new one is whole."""
    write_run(tmp_path, 0)

    def write_and_die() -> None:
        monkeypatch.setattr("study.runs.write_json", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        write_run(tmp_path, 1)

    assert ended(forked(write_and_die)) == -signal.SIGKILL
    assert [path for path in content(tmp_path) if ".tmp" in path]
    assert read_run(tmp_path) == 0
    write_run(tmp_path, 1)
    assert read_run(tmp_path) == 1
    assert not [path for path in content(tmp_path) if ".tmp" in path]


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
        assert read_json(tmp_path / "hasher.json")["weights"] == own
    for text in ('{"weights": "notes.txt"}', '{"weights": "../model/notes.txt"}', "[]", "none"):
        (tmp_path / "hasher.json").write_text(text)
        hasher(0).save(tmp_path)
        assert content(tmp_path).keys() >= {*others, own}


# Sweeps


def test_the_sweep_whose_command_was_killed_alone_keeps_others_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it started lives on and still writes records: another sweep waits for that, and for no dead process."""
    started = tmp_path / "started"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scripts.sweep, "runs_folder", lambda: tmp_path)
    specs = [RunSpec("cifar10-embedded", "sign", 8)]
    monkeypatch.setattr(scripts.sweep, "SNAKEMAKE", ["sh", "-c", f"echo $$ > '{started}'; exec sleep 600"])

    def sweep() -> None:
        with scripts.sweep.only_sweep(tmp_path) as lock:
            scripts.sweep.run_sweep(specs, [], lock)

    child = forked(sweep)
    wait_for(lambda: started.exists() and started.read_text())
    os.kill(child, signal.SIGKILL)
    assert ended(child) == -signal.SIGKILL
    entered = threading.Event()

    def enter() -> None:
        with scripts.sweep.only_sweep(tmp_path):
            entered.set()

    other = threading.Thread(target=enter)
    try:
        other.start()
        assert not entered.wait(0.5)
    finally:
        os.kill(int(started.read_text()), signal.SIGKILL)
    assert entered.wait(10)
    other.join()


def test_a_run_that_was_killed_alone_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the system does for want of memory: no record, and no error."""
    done, killed = (RunSpec("cifar10-embedded", "sign", n_bits) for n_bits in (8, 16))
    write_json(tmp_path / done.id / "record.json", {})
    scripts.sweep.report_failures([done, killed], tmp_path)
    printed = capsys.readouterr().out
    assert "0 of 2 runs failed" in printed
    assert (
        f"1 more have no record and no error of their own: killed, or not started\n- {killed.id}" in printed
    )
    assert done.id not in printed
