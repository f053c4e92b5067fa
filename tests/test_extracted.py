"""From images to a feature set by name, with a toy network and toy images."""

import numpy as np
import pytest
from PIL import Image

from sdclib import catalogue, load_features
from sdclib.data import image_sets
from sdclib.data.images import ImageSet
from study.runs import RunSpec, run_experiment


class ToyBackbone:
    """Mean colours of a 2 x 2 grid, plus one: twelve positive values."""

    name, weights_sha256, preprocessing, image_size, runtime, n_features = (
        "toy",
        "0" * 64,
        "none",
        8,
        "toy",
        12,
    )

    def preprocess(self, image):
        return np.asarray(image.resize((2, 2)), dtype=np.float32).ravel() / 255 + 1

    def extract(self, batch):
        return np.asarray(batch)


@pytest.fixture
def toy(monkeypatch, tmp_path):
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

    def load(name, *, train_in_database):
        return images if train_in_database else images.disjoint()

    monkeypatch.setenv("SDC_CACHE", str(tmp_path))
    monkeypatch.setattr(image_sets, "load_image_set", load)
    monkeypatch.setattr(catalogue, "load_backbone", lambda name: ToyBackbone())
    catalogue.load_extracted.cache_clear()
    yield pixels
    catalogue.load_extracted.cache_clear()


def test_features_by_name(toy):
    features = load_features("coil20/toy")
    expected = np.stack([ToyBackbone().preprocess(Image.fromarray(image)) for image in toy])
    np.testing.assert_array_equal(features.query, expected[:12])
    np.testing.assert_array_equal(features.database, expected[12:])
    np.testing.assert_array_equal(features.train, expected[12::2])
    assert (features.top_k, features.denominator, features.empty) == (10, "relevant", "skip")
    metrics = run_experiment(RunSpec("coil20/toy", "itq", 4)).metrics
    assert metrics["map_expected"] == pytest.approx(10 / 16)  # all of the first 10 are hits, of 16 relevant


def test_disjoint_variant(toy):
    features = load_features("coil20-disjoint/toy")
    together = load_features("coil20/toy")
    np.testing.assert_array_equal(features.train, together.train)
    assert len(features.database) == len(together.database) - len(together.train)
    assert features.sha256 != together.sha256


def test_unknown_names_list_the_known():
    with pytest.raises(ValueError, match=r"name: expected one of .*caltech101/BACKBONE.*cifar10-embedded"):
        load_features("imagenet/toy")
    with pytest.raises(ValueError, match="expected one of"):
        load_features("nothing")
