"""From images to features and augmented views by name, with a toy network; what methods get of views."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdclib import catalogue, load_features
from sdclib.data import image_sets
from sdclib.data.images import ImageSet
from sdclib.data.variants import holdout_rows
from sdclib.extract import views
from sdclib.extract.backbones import Backbone
from sdclib.extract.views import VIEWS_VERSION, AugmentedImages, augment, load_tokens, load_views
from study.runs import RunSpec, run_experiment
from tests.reference import unit
from tests.toy_backbone import image_set


def mean_colours(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((2, 2)), dtype=np.float32).transpose(2, 0, 1) / 255 + 1


TOY = Backbone(
    name="toy",
    weights_sha256="0" * 64,
    preprocessing="none",
    image_size=2,
    runtime="toy",
    source="",
    licence="",
    n_features=12,
    n_tokens=4,
    token_size=3,
    _prepare=mean_colours,
    _run=lambda batch: [batch.reshape(len(batch), 12), batch.reshape(len(batch), 4, 3)],
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ImageSet]:
    """Make "coil20/toy" a set of 60 images."""
    images = dataclasses.replace(
        image_set(60, name="coil20"), train_index=np.arange(0, 48, 2), denominator="relevant", empty="skip"
    )
    monkeypatch.setenv("SDC_CACHE", str(tmp_path))
    monkeypatch.setattr(
        image_sets,
        "load_image_set",
        lambda name, *, train_in_database: images if train_in_database else images.disjoint(),
    )
    for module in (catalogue, views):
        monkeypatch.setattr(module, "load_backbone", lambda name: TOY)
    catalogue.load_extracted.cache_clear()
    yield images
    catalogue.load_extracted.cache_clear()


def test_features_by_name(toy: ImageSet) -> None:
    features = load_features("coil20/toy")
    expected = np.stack([mean_colours(toy.read(i)).ravel() for i in range(60)])
    np.testing.assert_array_equal(features.query, expected[toy.query])
    np.testing.assert_array_equal(features.database, expected[toy.database])
    np.testing.assert_array_equal(features.train, expected[toy.train])
    assert (features.top_k, features.denominator, features.empty) == (5, "relevant", "skip")
    assert run_experiment(RunSpec("coil20/toy", "itq", 4)).metrics["map_expected"] > 0
    disjoint = load_features("coil20-disjoint/toy")
    np.testing.assert_array_equal(disjoint.train, features.train)
    assert len(disjoint.database) == len(features.database) - len(features.train)
    assert disjoint.sha256 != features.sha256


def photo(width: int = 40, height: int = 30) -> Image.Image:
    """A smooth picture whose left is red and whose top is bright."""
    x, y = np.meshgrid(np.linspace(1, 0, width), np.linspace(1, 0.3, height))
    return Image.fromarray((255 * np.stack([x * y, 0.5 * y, 0.2 * y], axis=2)).astype(np.uint8))


def test_same_seed_same_view_whatever_other_threads_do() -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    expected = [np.asarray(augment(photo(), 16, seed)) for seed in range(64)]
    assert torch.equal(torch.get_rng_state(), state)
    assert expected[0].shape == (16, 16, 3)
    assert not np.array_equal(expected[0], expected[1])
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: np.asarray(augment(photo(), 16, seed)), range(64)))
    np.testing.assert_array_equal(found, expected)


def test_augmentation_is_that_of_the_authors() -> None:
    crop, flip, jitter, grey, blur = views._transforms(64).transforms
    (colour,) = jitter.transforms
    assert (crop.size, crop.scale, crop.ratio) == ((64, 64), (0.5, 1.0), (3 / 4, 4 / 3))
    assert (flip.p, jitter.p, grey.p) == (0.5, 0.7, 0.2)
    assert colour.brightness == colour.contrast == colour.saturation == (0.6, 1.4)
    assert colour.hue == (-0.1, 0.1)
    assert (tuple(blur.kernel_size), tuple(blur.sigma)) == ((3, 3), (0.1, 2.0))


def test_views_by_name_are_those_of_the_training_images(toy: ImageSet) -> None:
    features = load_features("coil20/toy")
    loaded = load_views("coil20/toy")
    assert loaded.features.shape == (views.N_VIEWS, *features.train.shape)
    augmented = AugmentedImages(toy, views.N_VIEWS, TOY.image_size)
    for view, i in ((0, 0), (1, 5), (3, 23)):
        expected = mean_colours(augmented.read(view * len(toy.train) + i))
        np.testing.assert_array_equal(loaded.features[view, i], expected.ravel())
    assert load_views("coil20/toy").sha256 == loaded.sha256
    assert not np.array_equal(loaded.features[0], loaded.features[1])


def test_packaged_views_belong_to_the_packaged_features() -> None:
    features, loaded = load_features("cifar10-embedded"), load_views("cifar10-embedded")
    assert loaded.features.shape == (2, 5000, 256)
    unit_views, rows = unit(loaded.features.reshape(-1, 256)).reshape(2, 5000, 256), unit(features.train)
    own = np.einsum("vnd,nd->vn", unit_views, rows).mean()
    others = np.einsum("vnd,nd->vn", unit_views, np.roll(rows, 1, axis=0)).mean()
    assert own > others + 0.2


def test_views_of_variants_are_those_of_their_training_rows() -> None:
    name = "cifar10-embedded"
    whole, held, unseen, moved = (
        load_views(f"{name}{end}") for end in ("", "+holdout", "+unseen", "+bias(2)")
    )
    np.testing.assert_array_equal(held.features, whole.features[:, holdout_rows(5000)[1]])
    np.testing.assert_array_equal(unseen.features, whole.features)
    step = load_features(f"{name}+bias(2)").database[0] - load_features(name).database[0]
    np.testing.assert_allclose((moved.features - whole.features)[0, 0], step, atol=1e-4)
    assert unseen.sha256 == whole.sha256
    assert len({views.sha256 for views in (whole, held, moved)}) == 3
    assert load_views(f"{name}+bias(2)+holdout").features.shape[1] == 4500


@pytest.mark.parametrize("name", ["gldv2", "embeddings/mine.npy", "mnist"])
def test_only_images_have_views(name: str) -> None:
    with pytest.raises(ValueError, match=r"name \(augmented views are made from images\): expected one of"):
        load_views(name)


@pytest.mark.filterwarnings("ignore:wch. the codes of the training rows collapse")  # in one epoch, of noise
def test_tokens_of_a_network_that_has_them(toy: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = load_tokens("coil20/toy")
    assert tokens.features.shape == (2, 24, 4, 3)
    np.testing.assert_array_equal(tokens.features.reshape(2, 24, 12), load_views("coil20/toy").features[:2])
    # a method that needs both gets them
    run = run_experiment(RunSpec("coil20/toy", "wch", 4, 0, {"epochs": 1, "batch_size": 8}), progress=False)
    assert 0 < run.metrics["map_expected"] <= 1
    with pytest.raises(ValueError, match=r"name \(patch tokens are made from images\): expected one of"):
        load_tokens("cifar10-embedded")
    monkeypatch.setattr(views, "load_backbone", lambda name: dataclasses.replace(TOY, n_tokens=0))
    with pytest.raises(ValueError, match="toy has no patch tokens"):
        load_tokens("coil20/toy")


def test_methods_get_views_by_an_experiment_and_the_record_says_which() -> None:
    spec = RunSpec("cifar10-embedded", "sdc", 8, 0, {"preset": "release-simclr", "epochs": 1})
    run = run_experiment(spec, progress=False)
    assert run.id == spec.id
    assert spec.determinants()["views_version"] == VIEWS_VERSION
    assert "contrastive_loss" in run.history
    plain = RunSpec("cifar10-embedded", "sdc", 8, 0, {"preset": "release", "epochs": 1})
    assert "views_version" not in plain.determinants()
