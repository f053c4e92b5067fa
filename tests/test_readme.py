"""What the README shows runs as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from study.provenance import PROJECT_ROOT

README = (PROJECT_ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_python_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks("python"))
    assert code.count('preset="paper-no-contrastive"') == 1
    names: dict = {}
    exec(code.replace('preset="paper-no-contrastive"', 'preset="release", epochs=4, step_epoch=3'), names)
    assert names["codes"].shape == (1000, 64)
    assert names["packed"].shape == (1000, 8)
    assert (tmp_path / "model" / "hasher.json").is_file()
    assert 0.3 < names["metrics"]["map_expected"] < names["metrics"]["map_optimistic"] < 1
    assert names["histogram"][["positive", "negative"]].sum().sum() == 1000 * 10000


@pytest.mark.slow
def test_single_runs_of_the_readme(tmp_path: Path) -> None:
    (command,) = re.findall(r"^\.venv/bin/papermill (.*method itq.*)$", README, flags=re.MULTILINE)
    arguments = shlex.split(command.replace("out.ipynb", shlex.quote(str(tmp_path / "out.ipynb"))))
    done = subprocess.run(
        [sys.executable, "-m", "papermill", *arguments, "-p", "runs", str(tmp_path / "runs")],
        cwd=PROJECT_ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list((tmp_path / "runs").glob("*/record.json"))) == 1
