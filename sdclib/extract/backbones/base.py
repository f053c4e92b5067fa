"""What a backbone is: its description, its preprocessing, its features."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Backbone", "BackboneInfo"]


@dataclass(frozen=True)
class BackboneInfo:
    """What identifies a backbone and its features; made by `backbone_info`.

    Attributes
    ----------
    name : str
        Name in `BACKBONES`, or ``timm/NAME``.
    weights_sha256 : str
        SHA-256 of the weight file, 64 hexadecimal digits; of a description for random weights.
    preprocessing : str
        Says how images are prepared; it changes whenever the result of `Backbone.preprocess` does.
    image_size : int
        Side of the input square, in pixels.
    runtime : {"onnx", "torch"}
        What runs the network.
    source, licence : str
        Where network and weights come from, and their terms.
    """

    name: str
    weights_sha256: str
    preprocessing: str
    image_size: int
    runtime: str
    source: str
    licence: str

    @property
    def version(self) -> str:
        """Identifies what makes the features: name, weights, preprocessing (not the runtime)."""
        return f"{self.name}/{self.weights_sha256[:16]}/{self.preprocessing}"


@dataclass(frozen=True)
class Backbone(BackboneInfo):
    """A frozen network with its own preprocessing; made by `load_backbone`.

    Attributes
    ----------
    n_features : int
        Values a feature has.
    n_tokens, token_size : int
        Patch tokens an image, and values a token; 0 if the network has none.
    """

    n_features: int
    n_tokens: int
    token_size: int
    _prepare: Callable[[Image.Image], NDArray[np.float32]] = field(repr=False)
    _run: Callable[[NDArray[np.float32], str], NDArray[np.float32]] = field(repr=False, compare=False)

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
        return self._prepare(image)

    def extract(self, batch: ArrayLike) -> NDArray[np.float32]:
        """Features of a batch of prepared images.

        Parameters
        ----------
        batch : array-like, shape (n, 3, image_size, image_size), float32
            What `preprocess` returns, stacked.

        Returns
        -------
        ndarray, shape (n, n_features), float32
            `load_backbone` says which layer; >= 0 for EfficientNet-Lite (ReLU6), VGG16 and ResNet50 (ReLU).

        Raises
        ------
        ValueError
            If the shape differs, a value is not finite, or the batch is empty.
        """
        return self._run(self._checked(batch), "features")

    def extract_tokens(self, batch: ArrayLike) -> NDArray[np.float32]:
        """Patch tokens of a batch of prepared images: one a patch, row by row, after the last norm.

        Parameters
        ----------
        batch : array-like, shape (n, 3, image_size, image_size), float32

        Returns
        -------
        ndarray, shape (n, n_tokens, token_size), float32
            Class and register tokens are left out.

        Raises
        ------
        ValueError
            If the network has no patch tokens, or as in `extract`.
        """
        if self.n_tokens == 0:
            raise ValueError(
                f"{self.name} has no patch tokens, as it is no vision transformer; expected a backbone such as "
                "deit-b16 or vit-b16"
            )
        return self._run(self._checked(batch), "tokens")

    def _checked(self, batch: ArrayLike) -> NDArray[np.float32]:
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
        return array
