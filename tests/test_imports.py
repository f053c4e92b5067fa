"""What is loaded when: heavy libraries where they are used, and nothing slow for help and errors of usage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import sdclib.methods
from sdclib.losses.pairs import PAIRS
from sdclib.methods import METHODS
from sdclib.methods.presets import SDCSettings
from study.provenance import PROJECT_ROOT

COMMANDS = ("fit", "encode", "search", "export", "report")
HELP = ["--help", *(f"{command} --help" for command in COMMANDS)]
ERRORS = [
    *("", "no", *COMMANDS),
    *(
        f"fit data.npy --out new {more}"
        for more in (
            "--no",
            "--n-bits few",
            "--n-bits 0",
            "--method no",
            "--preset no",
            "--method itq --preset paper",
            "--set epochs",
            "--seed -1",
            "--train-rows 0",
        )
    ),
    "fit none.npy --out new",
    "encode none data.npy --out new",
    "encode model data.npy --out new --precision no",
    "encode model data.npy --out new --engine ray",
    "search model data.npy none.npy --out new",
    "search model data.npy data.npy --out new --rescore 1",
    "export model",
    "export model --lancedb new --database none.npy",
    "export model --onnx new --packed no",
    "export model --onnx new --opset 3",
    "report none.npy --out new",
    "report data.npy --out new --n-bits 0",
    "report data.npy --out new --methods no",
]
RUN = """
from sdclib.cli import main
for line in sys.argv[1:]:
    try:
        print("status", main(line.split()))
    except SystemExit as stopped:
        print("status", stopped.code)
"""


def loaded(program: str, *arguments: str, among: str, cwd: Path | None = None) -> tuple[list[str], str]:
    """Which of these modules a new interpreter has after a program, and what was printed before."""
    program = (
        f"import sys, json\n{program}\nprint(json.dumps([m for m in {among.split()} if m in sys.modules]))"
    )
    command = [sys.executable, "-c", program, *arguments]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd).stdout
    *before, last = shown.splitlines()
    return json.loads(last), "\n".join(before)


def test_the_library_loads_torch_at_first_use_and_little_else() -> None:
    assert loaded("import sdclib", among="torch numpy") == ([], "")
    names = "from sdclib import SDCHasher, load_features, make_hasher"
    heavy = (
        "torchvision timm faiss matplotlib seaborn sklearn.datasets onnx onnxruntime PIL numba ray lancedb"
    )
    assert loaded(names, among=f"torch {heavy}") == (["torch"], "")


@pytest.mark.parametrize(("lines", "status"), [(HELP, 0), (ERRORS, 2)], ids=["help", "errors"])
def test_the_command_line_answers_without_what_is_slow(lines: list[str], status: int, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "hasher.json").write_text('{"method": "itq"}')
    for name in ("data.npy", "text.txt"):
        (tmp_path / name).touch()
    among = "torch sklearn scipy pandas pyarrow faiss matplotlib PIL numba ray lancedb"
    found, shown = loaded(RUN, *lines, among=among, cwd=tmp_path)
    assert found == []
    statuses = [line for line in shown.splitlines() if line.startswith("status")]
    assert statuses == [f"status {status}"] * len(lines)


def test_names_that_stand_apart_from_their_classes_agree_with_them() -> None:
    assert {name: kind.method for name, kind in METHODS.items()} == {name: name for name in METHODS}
    for name in sdclib.methods.__all__:
        assert name in dir(sdclib.methods)
        assert getattr(sdclib.methods, name) is not None
    assert [SDCSettings(pairs=pairs).pairs for pairs in PAIRS] == list(PAIRS)


def test_a_table_is_read_without_torch():
    code = "import sys; from study.tables import read_results; read_results(sys.argv[1]); print('torch' in sys.modules)"
    table = str(PROJECT_ROOT / "results" / "main.csv")
    done = subprocess.run([sys.executable, "-c", code, table], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
