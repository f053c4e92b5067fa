"""The paper's experiments end to end on tiny images in the layouts of the real ones, with random weights."""

import dataclasses
import functools
import inspect
import json
import shutil
import subprocess
import sys
from xml.etree import ElementTree

import nbformat
import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
import yaml

from sdclib import catalogue
from sdclib.data.image_sets import LISTED_SETS
from sdclib.data.image_sets.cifar10 import CIFAR10, CLASSES
from sdclib.data.image_sets.sources import LOADERS
from sdclib.extract import backbones, views
from sdclib.methods import METHODS
from study import runs
from study.chapters.paper import beside_paper, own_maps, read_own
from study.provenance import PROJECT_ROOT
from tests.image_sets import few_a_class, picture, small_splits, write
from tests.landmarks import write_gldv2, write_revisited

timm = pytest.importorskip("timm", reason="needs the extra 'features'")
paper = pytest.importorskip("scripts.paper", reason="the tests run outside the repository")
CONFIGS = PROJECT_ROOT / "config" / "paper"
NETWORKS = {"vgg16": "test_efficientnet", "resnet50": "test_resnet", "deit-b16": "test_vit"}  # tiny, in timm
TRAINED = [name for name in METHODS if "batch_size" in inspect.signature(METHODS[name]).parameters]
TINY = {"batch_size": 8, "epochs": 1, "step_epoch": 1, "learning_rate": 0.01}


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without data, weights and network: its folder."""
    monkeypatch.setenv("SDC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SDC_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(runs, "OWN_RESULTS", tmp_path / "results")
    monkeypatch.setattr(paper, "OWN_TABLES", tmp_path / "results" / "paper")

    def download(url, *_):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    caches = (runs._data_sha256, catalogue.load_extracted, paper.missing_images)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    for cache in caches:
        cache.cache_clear()


@pytest.fixture
def images(machine, monkeypatch):
    """Image sets of a few images of 32 x 32 pixels, tiny networks in the place of the paper's, and their weights."""
    data = machine / "data"
    for i in range(60):
        part = "train" if i < 40 else "test"
        write(data / "cifar10" / part / CLASSES[i % 10] / f"{i:04}.png", picture(i, (32, 32)))
    small = small_splits(machine, monkeypatch)(few_a_class(CIFAR10, 1, 2))
    monkeypatch.setitem(LOADERS, "cifar10", small.load)
    for name, listed in LISTED_SETS.items():
        monkeypatch.setitem(LOADERS, name, dataclasses.replace(listed, top_k=5).load)
        labels = np.eye(listed.n_labels, dtype=int)[np.arange(30) % 3]
        lines = [
            f"images/{i:02}.jpg {' '.join(map(str, labels[i])) if listed.multi_label else i % 3}\n"
            for i in range(30)
        ]
        for i in range(30):
            write(data / name / "images" / f"{i:02}.jpg", picture(i, (32, 32)))
        for file, part in (("test", lines[:6]), ("database", lines[6:]), ("train", lines[10:])):
            (data / name / f"{file}.txt").write_text("".join(part))
    for name, network in NETWORKS.items():
        monkeypatch.setitem(backbones._SPECS, name, functools.partial(backbones._timm, network))
        spec = backbones._spec(name)
        (machine / "cache" / "weights").mkdir(parents=True, exist_ok=True)
        model = timm.create_model(network, pretrained=False)
        safetensors.torch.save_file(model.state_dict(), machine / "cache" / "weights" / spec.file)
    for module in (catalogue, views):  # exports have their own tests, and take longest
        monkeypatch.setattr(
            module, "load_backbone", functools.partial(backbones.load_backbone, runtime="torch")
        )
    return machine


@pytest.fixture
def landmarks(machine):
    """Landmark sets of 120 features, hashed by what GLDv2's training features give."""
    write_gldv2(machine / "data" / "gldv2", n=120)
    for name in ("roxford5k", "rparis6k"):
        write_revisited(machine / "data" / name, name, n=120)
        (machine / "data" / name / "train.safetensors").symlink_to("../gldv2/train.safetensors")
    return machine


def tiny_configs(folder):
    """The paper's configurations with one seed, an epoch, and all but SDC on their first data set alone."""
    paths = []
    for path in sorted(CONFIGS.glob("*.yaml")):
        config = yaml.safe_load(path.read_text())
        config["seeds"] = 0
        if path.stem in ("main", "instances"):
            config["n_bits"] = 8
        for entry in config["runs"]:
            entry.pop("seeds", None)
            if entry["method"] != "sdc":
                entry["data"] = entry.get("data", config["data"])[0]
            if entry["method"] in TRAINED:
                entry["parameters"] = entry.get("parameters", {}) | TINY
        paths.append(folder / path.name)
        paths[-1].write_text(yaml.safe_dump(config))
    return list(map(str, paths))


def run_here(specs, options, lock):
    """Take the place of snakemake, whose executions of a notebook are tested with the sweeps."""
    runs.run_all(specs, progress=False)
    return 0


def cells(code):
    """Texts of the table that a cell of the page shows, row by row."""
    table = ElementTree.fromstring(code.outputs[0]["data"]["text/html"])
    return [[cell.text or "" for cell in row] for row in table.iter("tr")]


def test_a_machine_with_nothing_lists_what_goes_where(machine, capsys):
    for words in (["--list"], []):
        assert paper.main(words) == paper.MISSING == 3
        printed = capsys.readouterr().out
        lines = printed.splitlines()
        assert lines[-1] == "0 of 17 data sets are here, for 0 of 1976 runs"
        for name in ("imagenet100", "nuswide", "mscoco"):
            assert (
                f"missing: {name}: {machine / 'data' / name}: expected the lists test.txt, database.txt"
                in printed
            )
        assert (
            f"missing: cifar10: {machine / 'data' / 'cifar10'}: expected CIFAR-10 as train/CLASS/*" in printed
        )
        assert f"as vgg16-397923af.pth into the folder {machine / 'cache' / 'weights'}" in printed
        for path in ("gldv2/retrieval_solution_v2.1.csv", "roxford5k/train.npy", "rparis6k/gnd_rparis6k.pkl"):
            assert f"{machine / 'data' / path}" in printed
        assert len(lines) == len(set(lines))
        assert "train.npy of ROxford and RParis" in printed
    assert not (machine / "results").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_is_here_runs_and_fills_the_page(images, landmarks, monkeypatch, capsys):
    monkeypatch.setattr(paper, "run_sweep", run_here)
    (images / "data" / "rparis6k" / "train.safetensors").unlink()
    next((images / "cache" / "weights").glob("test_resnet*")).unlink()
    (images / "data" / "mscoco" / "train.txt").unlink()
    assert paper.main(tiny_configs(images)) == paper.MISSING
    printed = capsys.readouterr().out
    missing = {line.split(": ")[1] for line in printed.splitlines() if line.startswith("missing")}
    assert missing == {"mscoco", "resnet50", "rparis"}
    assert "9 of 17 data sets" in printed

    folder = images / "results" / "paper"
    own = {path.stem: pd.read_csv(folder / f"{path.stem}.csv") for path in CONFIGS.glob("*.yaml")}
    assert {"greedyhash", "bihalf", "ssdh", "tbh", "nsh", "cibhash", "wch"} <= set(own["main"]["method"])
    assert set(own["instances"]["data"]) == {"gldv2", "roxford-medium", "roxford-hard"}
    page = nbformat.read(folder / "paper.ipynb", as_version=4)
    beside, everything = (cells(cell) for cell in page.cells if cell.cell_type == "code" and cell.outputs)
    assert beside[0] == [
        *("data", "bits", "calibration", "term", "published", "yours", "difference", "sd", "seeds"),
    ]
    assert len(beside) == 33
    assert all(row[5] for row in beside)
    ablation = own["ablation"]
    of_row = ablation[
        (ablation["data"] == "imagenet100/vgg16")
        & ablation["parameters"].str.contains("beta(7, 7)", regex=False)
    ]
    mean = 100 * of_row["map_authors"].item()
    row = next(row for row in beside if row[0] == "ImageNet100" and row[2] == "Beta(7, 7)")
    assert row[4:9] == ["81.3", f"{mean:.1f}", f"{mean - 81.3:+.1f}", "", "1"]
    main = own["main"].set_index(["data", "method"])["map_authors"]
    assert everything[0] == ["data", "method", "8", "64", "float"]
    wch = f"{100 * main['cifar10/deit-b16', 'wch']:.1f}"
    assert ["cifar10/deit-b16", "WCH", wch, "", ""] in everything


def test_a_failed_run_leaves_the_others_their_tables(landmarks, monkeypatch, capsys):
    def fail_one(specs, options, lock):
        with pytest.raises(RuntimeError, match="1 of 2 runs failed"):
            run_here(specs, options, lock)
        return 1

    pages = []
    monkeypatch.setattr(paper, "run_sweep", fail_one)
    monkeypatch.setattr(paper, "fill_page", lambda: pages.append("filled"))
    config = {"table": "t", "data": "gldv2", "n_bits": [8, 300], "seeds": 0, "runs": {"method": "pcah"}}
    path = landmarks / "t.yaml"
    path.write_text(yaml.safe_dump(config))
    assert paper.main([str(path), "--", "--dry-run"]) == 1
    assert pages == []
    assert paper.main([str(path)]) == 1
    assert pages == ["filled"]
    assert "1 of 2 runs failed" in capsys.readouterr().out
    assert pd.read_csv(landmarks / "results" / "paper" / "t.csv")["n_bits"].tolist() == [8]
    (landmarks / "data" / "gldv2" / "query.npz").write_bytes(b"")
    runs._data_sha256.cache_clear()
    assert paper.main([str(path)]) == paper.MISSING
    assert "missing: gldv2: " in capsys.readouterr().out
    path.write_text("runs: [")
    assert paper.main([str(path)]) == 1
    assert "t.yaml" in capsys.readouterr().out


def test_figures_are_laid_beside_those_of_the_same_setting(tmp_path):
    runs_of = [
        ("a", "paper", "beta(5, 5)", 64, 0.62), ("b", "paper", "beta(5, 5)", 64, 0.66),
        ("c", "paper-no-contrastive", "beta(5, 5)", 64, 0.60), ("d", "paper", "beta(5, 5)", 32, 0.10),
        ("e", "release", "beta(5, 5)", 64, 0.11), ("f", "paper", "beta(2, 2)", 64, 0.12),
    ]  # fmt: skip
    table = pd.DataFrame(runs_of, columns=["id", "preset", "calibration", "n_bits", "map_authors"])
    settings = table[["preset", "calibration"]].to_dict("records")
    table = table.assign(
        data="cifar10/vgg16", method="sdc", seed=0, parameters=list(map(json.dumps, settings))
    )
    table.drop(columns=["preset", "calibration"]).to_csv(tmp_path / "main.csv", index=False)
    shutil.copy(tmp_path / "main.csv", tmp_path / "more.csv")
    own = read_own(["main", "more", "none"], tmp_path)
    assert own["id"].tolist() == list("abcdef")
    published = pd.DataFrame(
        [("CIFAR-10", 64, "yes", 66.3), ("CIFAR-10", 64, "no", 63.0), ("GLDv2", 64, "no", 12.1)],
        columns=["data", "n_bits", "contrastive", "percent"],
    ).assign(calibration="Beta(5, 5)", metric="mAP@1000", source="s")
    beside = beside_paper(own, published, {"CIFAR-10": "cifar10/vgg16"})
    assert beside["yours"].tolist() == pytest.approx([64, 60, np.nan], nan_ok=True)
    assert beside["difference"].tolist() == pytest.approx([-2.3, -3, np.nan], nan_ok=True)
    assert beside["deviation"].tolist() == pytest.approx([8**0.5, np.nan, np.nan], nan_ok=True)
    assert beside["seeds"].tolist() == [2, 1, pd.NA]
    assert beside_paper(read_own([]), published, {})["yours"].isna().all()
    assert own_maps(read_own([])).empty


@pytest.mark.slow
def test_the_command_as_it_is_started(landmarks):
    config = {"table": "ablation", "data": "gldv2", "n_bits": 512, "seeds": 0}
    config["runs"] = [{"method": "sdc", "parameters": {"preset": "paper-instance"} | TINY}]
    (landmarks / "ablation.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "scripts.paper", landmarks / "ablation.yaml", "--", "--cores", "1"]
    done = subprocess.run(command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 data sets are here, for 1 of 1 runs" in done.stdout
    page = nbformat.read(landmarks / "results" / "paper" / "paper.ipynb", as_version=4)
    rows = cells(next(cell for cell in page.cells if cell.cell_type == "code" and cell.outputs))
    assert [(row[0], row[2]) for row in rows[1:] if row[5]] == [("GLDv2", "Beta(5, 5)")]
