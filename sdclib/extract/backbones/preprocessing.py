"""From an image to the square of numbers that a network wants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_int, check_name

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["INTERPOLATIONS", "Preprocessing", "preprocess_image"]

INTERPOLATIONS = ("bicubic", "bilinear", "lanczos")
"""Pillow's filters by name; all smooth when they shrink."""


def preprocess_image(
    image: Image.Image,
    size: int,
    *,
    mean: float | Sequence[float],
    scale: float | Sequence[float],
    resize: int | None = None,
    interpolation: str = "bicubic",
) -> NDArray[np.float32]:
    """Resize, crop and normalise one image.

    The shorter side becomes `resize` pixels, the centre square of `size` pixels is cut out, and values become
    ``(x - mean) / scale``.

    Parameters
    ----------
    image : PIL.Image.Image
        Any mode; it is converted to RGB.
    size : int
        Side of the square, in pixels.
    mean, scale : float or three floats
        In grey levels, 0 to 255; three are for red, green, blue.
    resize : int, optional
        At least `size`, which is the default.
    interpolation : {"bicubic", "bilinear", "lanczos"}
        Pillow's filter, which also smooths when it shrinks.

    Returns
    -------
    ndarray, shape (3, size, size), float32
        Channels red, green, blue.

    Raises
    ------
    ValueError
        If `image` is not a Pillow image, `resize` < `size`, or the interpolation is unknown.
    """
    from PIL import Image

    if not isinstance(image, Image.Image):
        raise ValueError(f"image: expected a PIL image, got {type(image).__name__}")
    target = size if resize is None else check_int(resize, "resize", minimum=size)
    check_name(interpolation, "interpolation", INTERPOLATIONS)
    rgb = image.convert("RGB")
    width, height = rgb.size
    shorter = min(width, height)
    new_width, new_height = (max(target, round(side * target / shorter)) for side in (width, height))
    if (width, height) != (new_width, new_height):
        rgb = rgb.resize((new_width, new_height), Image.Resampling[interpolation.upper()])
    left, top = (new_width - size) // 2, (new_height - size) // 2
    rgb = rgb.crop((left, top, left + size, top + size))
    pixels = np.asarray(rgb, dtype=np.float32).transpose(2, 0, 1)
    centre, spread = (np.asarray(x, dtype=np.float32).reshape(-1, 1, 1) for x in (mean, scale))
    return np.ascontiguousarray((pixels - centre) / spread)


@dataclass(frozen=True)
class Preprocessing:
    """Settings of `preprocess_image` that belong to a network."""

    size: int
    resize: int
    interpolation: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """Prepare one image, see `preprocess_image`."""
        return preprocess_image(
            image,
            self.size,
            mean=self.mean,
            scale=self.scale,
            resize=self.resize,
            interpolation=self.interpolation,
        )

    def __str__(self) -> str:
        """Text that changes whenever the result does."""
        crop = "centre crop" if self.resize == self.size else f"centre crop {self.size} px"
        mean, scale = (_number(x) for x in (self.mean, self.scale))
        return (
            f"rgb; shorter side {self.resize} px, Pillow {self.interpolation}; {crop}; "
            f"(x - {mean}) / {scale}; v1"
        )


def _number(values: tuple[float, ...]) -> str:
    text = ", ".join(f"{value:.9g}" for value in values)
    return text if len(values) == 1 else f"({text})"
