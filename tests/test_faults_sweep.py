"""A sweep or a run of it that is killed alone, and what the long check of faults finds."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

import scripts.sweep
from benchmarks import check_faults
from sdclib import files
from study.runs import RunSpec
from tests.faults import ended, forked, wait_for


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


class Halves(check_faults.Work):
    """Writes a file in two parts, or at once."""

    share, moments = 1.0, (0.3, 0.7)

    def __init__(self, script: str):
        self.script = script

    def start(self, place: Path) -> subprocess.Popen:
        return subprocess.Popen(["sh", "-c", self.script], cwd=place, start_new_session=True)

    def pieces(self, place: Path) -> dict[str, Any]:
        return {"file": (place / "file").read_text()} if (place / "file").exists() else {}

    def kept(self, place: Path) -> dict[str, int]:
        return {"file": (place / "file").stat().st_mtime_ns} if (place / "file").exists() else {}


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("test -f file || { sleep 0.5; printf whole > .file.tmp; mv .file.tmp file; }", None),
        ("printf ha > file; sleep 0.5; printf lf >> file", "file is ha, not as undisturbed"),
        ("printf a > file; sleep 0.5; printf a > file", "file was whole and is made again"),
        ("printf a > .$$.tmp; sleep 0.5; printf a > file", ".tmp is left"),
        ("test -f begun && exit 3; touch begun; sleep 0.5; touch file", "exit code 3 without a kill"),
    ],
)
def test_the_long_check_finds_faults(script: str, problem: str | None, tmp_path: Path) -> None:
    trial = check_faults.Trial(Halves(script), tmp_path, random.Random(0))
    trial.run(2)
    assert trial.kills == 2
    assert any(problem in found for found in trial.problems) if problem else not trial.problems, (
        trial.problems
    )


def test_a_run_that_was_killed_alone_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the system does for want of memory: no record, and no error."""
    done, killed = (RunSpec("cifar10-embedded", "sign", n_bits) for n_bits in (8, 16))
    files.write_json(tmp_path / done.id / "record.json", {})
    scripts.sweep.report_failures([done, killed], tmp_path)
    printed = capsys.readouterr().out
    assert "0 of 2 runs failed" in printed
    assert (
        f"1 more have no record and no error of their own: killed, or not started\n- {killed.id}" in printed
    )
    assert done.id not in printed
