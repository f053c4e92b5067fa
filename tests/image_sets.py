"""Small image sets of random pixels, and how they get a committed split."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sdclib.data.image_sets import COMMITTED_SETS, committed
from sdclib.data.splits import class_split


def picture(seed: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> Image.Image:
    """Random pixels."""
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def write(path: Path, image: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def splits_script() -> ModuleType:
    """Return scripts/make_splits.py, imported."""
    return pytest.importorskip("scripts.make_splits", reason="the tests run outside the repository")


def small_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Commit small splits into a folder of their own: ``small(committed_set)``, images in SDC_DATA/NAME."""
    script = splits_script()
    monkeypatch.setenv("SDC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(committed, "SPLITS", tmp_path / "splits")
    monkeypatch.setattr(committed, "MANIFEST", tmp_path / "splits" / "splits.json")
    monkeypatch.setattr(script, "MANIFEST", tmp_path / "splits" / "splits.json")

    def commit(made: committed.CommittedSet) -> committed.CommittedSet:
        monkeypatch.setitem(COMMITTED_SETS, made.name, made)
        assert script.main([made.name]) == 0
        assert script.main(["--check", made.name]) == 0
        return made

    return commit


def few_a_class(made: committed.CommittedSet, n_query: int, n_train: int) -> committed.CommittedSet:
    def rule(found: committed.Found) -> Any:
        return class_split(found.ids, found.labels, seed=42, n_query=n_query, n_train=n_train)

    return dataclasses.replace(made, rule=rule, top_k=5)


def random_images(n: int = 3) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(32, 32), (300, 240), (224, 400)]
    return [Image.fromarray(rng.integers(0, 256, (*sizes[i % 3], 3), dtype=np.uint8)) for i in range(n)]
