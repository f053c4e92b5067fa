"""Backbones by name."""

from __future__ import annotations

import functools
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sdclib.checks import check_int, check_name
from sdclib.extract.backbones.base import Backbone, BackboneInfo
from sdclib.extract.backbones.networks import (
    FeatureNetwork,
    NetworkSpec,
    build_network,
    efficientnet_lite,
    timm_network,
    torchvision_network,
)
from sdclib.extract.backbones.runtimes import RUNTIMES, onnx_runner, torch_runner
from sdclib.extract.backbones.weights import find_weights, read_state_dict

__all__ = ["BACKBONES", "backbone_info", "load_backbone"]

_SPECS = {
    "deit-b16": functools.partial(timm_network, "deit_base_patch16_224.fb_in1k"),
    "efficientnet-lite0": functools.partial(
        efficientnet_lite,
        0,
        224,
        "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "efficientnet-lite1": functools.partial(
        efficientnet_lite,
        1,
        240,
        "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "efficientnet-lite2": functools.partial(
        efficientnet_lite,
        2,
        260,
        "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
    "resnet50": functools.partial(
        torchvision_network, "resnet50", "ResNet50_Weights.IMAGENET1K_V1", "resnet50-0676ba61.pth"
    ),
    "vgg16": functools.partial(
        torchvision_network, "vgg16", "VGG16_Weights.IMAGENET1K_V1", "vgg16-397923af.pth"
    ),
    "vit-b16": functools.partial(timm_network, "vit_base_patch16_224.augreg2_in21k_ft_in1k"),
}

BACKBONES = tuple(sorted(_SPECS))
"""Names that `load_backbone` knows, beside ``timm/NAME``."""


def load_backbone(
    name: str = "efficientnet-lite0",
    *,
    runtime: str = "onnx",
    n_threads: int = 2,
    weights: str | os.PathLike[str] | None = None,
) -> Backbone:
    """Load a frozen network with its ImageNet weights.

    Parameters
    ----------
    name : str
        One of `BACKBONES`, or ``timm/NAME`` with a name of timm:

        - efficientnet-lite0, -lite1, -lite2: the last convolution averaged over the image, 1280 values, at 224, 240,
          260 px; weights in packages
        - vgg16: fc7 after its ReLU, 4096 values (torchvision)
        - resnet50: pooled, 2048 values (torchvision)
        - deit-b16, vit-b16: the class token after the last norm, 768 values, and 196 patch tokens (timm)
    runtime : {"onnx", "torch"}
        ONNX Runtime, several times faster on a CPU, or eager PyTorch; the features agree to 1e-3. The exported
        ONNX file is kept in `cache_dir`, with its SHA-256, and made again (about 15 s) when it does not match.
    n_threads : int
        Threads of ONNX Runtime; eager PyTorch follows ``torch.set_num_threads``.
    weights : path-like or "random", optional
        A weight file (.safetensors, or a .pth with tensors only), or seeded random weights for tests. By default the
        published ones: from their package (EfficientNet-Lite), else from ``cache_dir() / "weights"``, where they are
        downloaded to if they are not there.

    Returns
    -------
    Backbone

    Raises
    ------
    ValueError
        If a name is unknown, `n_threads` < 1, or the weight file is not the expected one.
    FileNotFoundError
        If the weight file is not there and cannot be downloaded; the message says which file goes where.
    ImportError
        If an optional package is missing; the message says how to install it.
    RuntimeError
        If a network of timm cannot be exported to ONNX.
    """
    check_int(n_threads, "n_threads", minimum=1)
    spec, info, path = _resolve(name, runtime, weights)
    size = info.image_size

    def build() -> FeatureNetwork:
        return _build(spec, path)

    if runtime == "onnx":
        run, has_tokens = onnx_runner(name, build, info.weights_sha256, size, n_threads)
    else:
        network = build()
        run, has_tokens = torch_runner(network), network.has_tokens
    probe = np.zeros((1, 3, size, size), dtype=np.float32)
    n_tokens, token_size = run(probe, "tokens").shape[1:] if has_tokens else (0, 0)
    return Backbone(
        **asdict(info),
        n_features=run(probe, "features").shape[1],
        n_tokens=n_tokens,
        token_size=token_size,
        _prepare=spec.preprocessing,
        _run=run,
    )


def backbone_info(
    name: str = "efficientnet-lite0",
    *,
    runtime: str = "onnx",
    weights: str | os.PathLike[str] | None = None,
) -> BackboneInfo:
    """Describe a backbone without building it: enough to find its features in the cache.

    Parameters
    ----------
    name, runtime, weights
        As in `load_backbone`.

    Returns
    -------
    BackboneInfo

    Raises
    ------
    ValueError, FileNotFoundError, ImportError
        As in `load_backbone`.
    """
    return _resolve(name, runtime, weights)[1]


def _resolve(
    name: str, runtime: str, weights: str | os.PathLike[str] | None
) -> tuple[NetworkSpec, BackboneInfo, Path | None]:
    """Specification, description and weight file (None: random) of a backbone."""
    if isinstance(name, str) and name.startswith("timm/"):
        make_spec = functools.partial(timm_network, name.removeprefix("timm/"))
    else:
        make_spec = _SPECS[check_name(name, "name", [*_SPECS, "timm/NAME"])]
    check_name(runtime, "runtime", RUNTIMES)
    spec = make_spec()
    path, digest = find_weights(name, spec.weights, weights)
    info = BackboneInfo(
        name=name,
        weights_sha256=digest,
        preprocessing=str(spec.preprocessing),
        image_size=spec.preprocessing.size,
        runtime=runtime,
        source=spec.source
        if weights is None
        else f"{spec.source.partition(', weights')[0]}, weights {Path(weights).name}",
        licence=spec.licence,
    )
    return spec, info, path


def _build(spec: NetworkSpec, path: Path | None) -> FeatureNetwork:
    if path is None:
        return build_network(spec, None)
    try:
        return build_network(spec, read_state_dict(path))
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
