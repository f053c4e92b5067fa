"""From images to features and augmented views by name, with a toy network; what methods get of views."""

from __future__ import annotations

import dataclasses
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from sdclib import catalogue, load_features
from sdclib.data import image_sets
from sdclib.data.features import DATA, read_packed_views
from sdclib.data.images import ImageSet
from sdclib.data.variants import holdout_rows
from sdclib.extract import views
from sdclib.extract.backbones import Backbone
from sdclib.extract.views import VIEWS_VERSION, AugmentedImages, augment, load_tokens, load_views
from sdclib.methods import make_hasher
from study.runs import RunSpec, run_experiment


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
    _run=lambda batch, output: batch.reshape(len(batch), *((12,) if output == "features" else (4, 3))),
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ImageSet:
    """Make "coil20/toy" a set of 60 images of three colours."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pixels = rng.integers(0, 120, (60, 8, 8, 3)).astype(np.uint8)
    pixels[np.arange(60), :, :, labels] += 120
    images = ImageSet(
        name="coil20",
        ids=tuple(f"image-{i}" for i in range(60)),
        read=lambda i: Image.fromarray(pixels[i]),
        labels=labels,
        query=np.arange(12),
        database=np.arange(12, 60),
        train_index=np.arange(0, 48, 2),
        top_k=10,
        licence="none",
        citation="none",
        class_names=("red", "green", "blue"),
        denominator="relevant",
        empty="skip",
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
    np.testing.assert_array_equal(features.query, expected[:12])
    np.testing.assert_array_equal(features.database, expected[12:])
    np.testing.assert_array_equal(features.train, expected[12::2])
    assert (features.top_k, features.denominator, features.empty) == (10, "relevant", "skip")
    metrics = run_experiment(RunSpec("coil20/toy", "itq", 4)).metrics
    assert metrics["map_expected"] == pytest.approx(10 / 16)  # all of the first 10 are hits, of 16 relevant
    disjoint = load_features("coil20-disjoint/toy")
    np.testing.assert_array_equal(disjoint.train, features.train)
    assert len(disjoint.database) == len(features.database) - len(features.train)
    assert disjoint.sha256 != features.sha256


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ValueError, match=r"name: expected one of .*caltech101/BACKBONE.*cifar10-embedded"):
        load_features("imagenet/toy")


def photo(width: int = 40, height: int = 30) -> Image.Image:
    """A smooth picture whose left is red and whose top is bright."""
    x, y = np.meshgrid(np.linspace(1, 0, width), np.linspace(1, 0.3, height))
    return Image.fromarray((255 * np.stack([x * y, 0.5 * y, 0.2 * y], axis=2)).astype(np.uint8))


class TestAugment:
    def test_same_seed_same_view_and_size(self) -> None:
        one, two, other = (augment(photo(), 64, seed) for seed in (1, 1, 2))
        assert one.size == (64, 64)
        assert one.mode == "RGB"
        np.testing.assert_array_equal(one, two)
        assert not np.array_equal(one, other)

    def test_each_change_is_as_frequent_as_stated(self) -> None:
        n = 600
        grey = mirrored = 0
        for seed in range(n):
            pixels = np.asarray(augment(photo(), 16, seed), dtype=float)
            grey += np.ptp(pixels, axis=2).max() <= 1
            brightness = pixels.sum(axis=2).mean(axis=0)
            mirrored += brightness[-4:].mean() > brightness[:4].mean()  # the brighter red side is right
        assert 0.15 < grey / n < 0.25
        assert 0.43 < mirrored / n < 0.57

    def test_parameters_are_those_of_the_authors(self) -> None:
        crop, flip, jitter, grey, blur = views._transforms(64).transforms
        (colour,) = jitter.transforms
        assert (crop.size, crop.scale, crop.ratio) == ((64, 64), (0.5, 1.0), (3 / 4, 4 / 3))
        assert (flip.p, jitter.p, grey.p) == (0.5, 0.7, 0.2)
        assert colour.brightness == colour.contrast == colour.saturation == (0.6, 1.4)
        assert colour.hue == (-0.1, 0.1)
        assert (tuple(blur.kernel_size), tuple(blur.sigma)) == ((3, 3), (0.1, 2.0))

    def test_threads_do_not_disturb_each_other(self) -> None:
        expected = [np.asarray(augment(photo(), 16, seed)) for seed in range(64)]
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda seed: np.asarray(augment(photo(), 16, seed)), range(64)))
        np.testing.assert_array_equal(found, expected)

    def test_torch_goes_on_as_if_there_had_been_no_view(self) -> None:
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        augment(photo(), 16, 0)
        assert torch.equal(torch.rand(2), expected)


def test_views_by_name_are_those_of_the_training_images(toy: ImageSet) -> None:
    features = load_features("coil20/toy")
    loaded = load_views("coil20/toy")
    assert loaded.features.shape == (views.N_VIEWS, *features.train.shape)
    augmented = AugmentedImages(toy, views.N_VIEWS, TOY.image_size)
    for view, i in ((0, 0), (1, 5), (3, 23)):
        expected = mean_colours(augmented.read(view * len(toy.train) + i))
        np.testing.assert_array_equal(loaded.features[view, i], expected.ravel())
    # a view is nearer to its own image than to others, on average
    centred = loaded.features - loaded.features.mean(axis=(0, 1))
    train = features.train - features.train.mean(axis=0)
    similarity = np.einsum("vnd,md->vnm", centred, train).mean(axis=0)
    assert np.diag(similarity).mean() > similarity.mean() + similarity.std()
    assert load_views("coil20/toy").sha256 == loaded.sha256
    assert not np.array_equal(loaded.features[0], loaded.features[1])


def test_packaged_views_belong_to_the_packaged_features() -> None:
    features, loaded = load_features("cifar10-embedded"), load_views("cifar10-embedded")
    assert loaded.features.shape == (2, 5000, 256)
    unit_views, unit = (
        x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (loaded.features, features.train)
    )
    own = np.einsum("vnd,nd->vn", unit_views, unit).mean()
    others = np.einsum("vnd,nd->vn", unit_views, np.roll(unit, 1, axis=0)).mean()
    assert own > others + 0.2


def test_views_of_the_holdout_are_those_of_its_training_rows() -> None:
    whole, held = load_views("cifar10-embedded"), load_views("cifar10-embedded+holdout")
    _, train = holdout_rows(5000)
    np.testing.assert_array_equal(held.features, whole.features[:, train])
    assert held.sha256 != whole.sha256
    assert held.features.shape[1] == len(load_features("cifar10-embedded+holdout").train)


def test_views_do_not_change_where_rankings_leave_training_rows_out() -> None:
    whole, unseen = load_views("cifar10-embedded"), load_views("cifar10-embedded+unseen")
    np.testing.assert_array_equal(unseen.features, whole.features)
    assert unseen.sha256 == whole.sha256


def test_views_are_moved_like_the_features():
    name = "cifar10-embedded"
    moved, whole = load_views(f"{name}+bias(2)"), load_views(name)
    step = load_features(f"{name}+bias(2)").database[0] - load_features(name).database[0]
    np.testing.assert_allclose((moved.features - whole.features)[0, 0], step, atol=1e-4)
    assert moved.sha256 != whole.sha256
    assert load_views(f"{name}+bias(2)+holdout").features.shape[1] == 4500


def test_damaged_packaged_views_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cifar10_embedded_views.npz"
    path.write_bytes((DATA / path.name).read_bytes()[:-1] + b"x")
    shutil.copy(DATA / "cifar10_embedded_views.json", tmp_path)
    with pytest.raises(ValueError, match=r"cifar10_embedded_views\.npz: damaged data file, expected SHA-256"):
        read_packed_views(path)


@pytest.mark.parametrize("name", ["gldv2", "embeddings/mine.npy", "mnist"])
def test_only_images_have_views(name: str) -> None:
    with pytest.raises(ValueError, match=r"name \(augmented views are made from images\): expected one of"):
        load_views(name)


def test_tokens_of_a_network_that_has_them(toy: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = load_tokens("coil20/toy")
    assert tokens.features.shape == (2, 24, 4, 3)
    np.testing.assert_array_equal(tokens.features.reshape(2, 24, 12), load_views("coil20/toy").features[:2])
    # a method that needs both gets them
    run = run_experiment(RunSpec("coil20/toy", "wch", 4, 0, {"epochs": 1, "batch_size": 8}), progress=False)
    assert 0 < run.metrics["map_expected"] <= 1
    with pytest.raises(ValueError, match="expected a set with patch tokens"):
        load_tokens("cifar10-embedded")
    monkeypatch.setattr(views, "load_backbone", lambda name: dataclasses.replace(TOY, n_tokens=0))
    with pytest.raises(ValueError, match="toy has no patch tokens"):
        load_tokens("coil20/toy")


class TestMethodsThatNeedViews:
    def test_they_get_them_by_an_experiment_and_the_record_says_which(self) -> None:
        spec = RunSpec("cifar10-embedded", "sdc", 8, 0, {"preset": "release-simclr", "epochs": 1})
        run = run_experiment(spec, progress=False)
        assert run.id == spec.id
        assert spec.determinants()["views_version"] == VIEWS_VERSION
        assert "contrastive_loss" in run.history
        plain = RunSpec("cifar10-embedded", "sdc", 8, 0, {"preset": "release", "epochs": 1})
        assert "views_version" not in plain.determinants()

    def test_the_variants_use_views_in_different_ways(self) -> None:
        rng = np.random.default_rng(0)
        X = (rng.normal(size=(200, 10)) + 1).astype(np.float32)
        near, far = (np.stack([X + s * rng.normal(size=X.shape) for _ in range(3)]) for s in (0.1, 3.0))
        losses = SimpleNamespace()
        for preset in ("paper", "release-simclr"):
            for name, value in (("near", near), ("far", far)):
                hasher = make_hasher(
                    "sdc", 16, preset=preset, hidden_features=32, epochs=20, learning_rate=1e-3
                )
                last = hasher.fit(X, views=value).history_.iloc[-1]
                setattr(losses, f"{preset.split('-')[0]}_{name}", last)
        # views that tell nothing of their image are hard to match
        assert losses.paper_far.contrastive_loss > losses.paper_near.contrastive_loss + 0.5
        assert losses.release_far.contrastive_loss > losses.release_near.contrastive_loss + 0.5
        # targets from 0 to 1 are further from what codes of random pairs can have than those around 0
        assert losses.release_near.calibration_loss != losses.paper_near.calibration_loss
