"""Weight files: where they lie, how they get there, and how they are read without running code."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors.torch
import torch

from sdclib.files import cache_dir, file_sha256

__all__ = ["RANDOM", "StateDict", "WeightFile", "find_weights", "read_state_dict", "require"]

RANDOM = "random"
"""Stands for seeded random weights, which are good for tests only."""

_EXTRA = "pip install sdclib[features]"

StateDict = dict[str, torch.Tensor]


def require(package: str) -> ModuleType:
    """Import an optional package.

    Raises
    ------
    ImportError
        If it is not there; the message says which extra brings it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{package} is needed to extract features and could not be imported: {_EXTRA}"
        ) from error


@dataclass(frozen=True)
class WeightFile:
    """The weights a backbone has by default.

    Attributes
    ----------
    file : str
        Name of the file in ``cache_dir() / "weights"``.
    page : str
        What publishes it and under which name, for people.
    sha256 : str
        SHA-256 the file must have, or its beginning; empty if not known.
    package : callable, optional
        Gives the path of the file inside an installed package.
    url : callable, optional
        Gives the address to download it from.
    """

    file: str
    page: str
    sha256: str = ""
    package: Callable[[], Path] | None = None
    url: Callable[[], str] | None = None


def find_weights(
    name: str, default: WeightFile | None, weights: str | os.PathLike[str] | None
) -> tuple[Path | None, str]:
    """Find the weight file of a backbone, or download it.

    Parameters
    ----------
    name : str
        The backbone's.
    default : WeightFile or None
        Used if `weights` is None.
    weights : path-like, "random" or None
        A file of one's own, or random weights.

    Returns
    -------
    path : pathlib.Path or None
        None for random weights.
    sha256 : str
        Of the file; of a description for random weights.

    Raises
    ------
    FileNotFoundError
        If there is no file and it cannot be downloaded; the message says which file goes where.
    ValueError
        If the file is not the expected one; the message names it.
    ImportError
        If the package that holds the weights is missing.
    """
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
    if default is None:
        raise FileNotFoundError(
            f"weights: no published weights of {name} are known, expected the path of a weight file or 'random'"
        )
    path = default.package() if default.package else cache_dir() / "weights" / default.file
    if not path.is_file():
        _download(name, default, path)
    digest = file_sha256(path)
    if not digest.startswith(default.sha256):
        raise ValueError(f"{path}: expected weights with SHA-256 {default.sha256}, got {digest}")
    return path, digest


def _download(name: str, default: WeightFile, path: Path) -> None:
    """Download to `path` (a temporary file, then renamed), or say how to do it by hand."""
    reason = "no address is known"
    if default.url:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(default.url(), str(path), default.sha256 or None)
            return
        except (OSError, RuntimeError) as error:  # no network, no such page, full disk; or another hash
            reason = str(error)
    raise FileNotFoundError(
        f"weights: {name} needs the weight file {default.file}, which is not there and could not be downloaded "
        f"({reason}). Get it from {default.page} and put it as {default.file} into the folder {path.parent}, or pass "
        "weights=PATH"
    )


def read_state_dict(path: Path) -> StateDict:
    """Read tensors by name from a file; nothing in it is executed.

    Parameters
    ----------
    path : pathlib.Path
        A .safetensors file, or one of ``torch.save`` with tensors only, directly or under ``state_dict`` or ``model``.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    ValueError
        If it is neither; the message names the file.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("state_dict", "model"):
            if isinstance(content, dict) and isinstance(content.get(key), dict):
                content = content[key]
        if not isinstance(content, dict) or not content:
            raise TypeError(f"it holds {type(content).__name__}")
        wrong = [key for key, value in content.items() if not isinstance(value, torch.Tensor)]
        if wrong:
            raise TypeError(f"{wrong[0]!r} is no tensor")
    except MemoryError:
        raise
    except Exception as error:  # both readers raise many kinds
        raise ValueError(f"{path}: expected tensors by name, as .safetensors or .pth ({error})") from error
    return dict(content)
