"""What every hashing method shares: the estimator contract, codes from continuous codes, save and load."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import re
import warnings
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sdclib.checks import Limit, check_features, check_labels, check_limits, check_views
from sdclib.codes import binarize, pack_codes
from sdclib.files import file_sha256, read_json, write_bytes, write_json
from sdclib.methods import register
from sdclib.methods.presets import LIMITS

__all__ = ["BaseHasher", "check_training_labels"]

FORMAT_VERSION = 2  # 1: presets of SDC meant other settings
CHECKED_ROWS = 10_000  # training rows at most whose codes are looked at after a fit
_OF_THE_CALL = {"device", "progress"}  # rather than of the model
_NOT_DETERMINING = {"n_bits", "random_state", *_OF_THE_CALL}


class BaseHasher(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Base of the hashing methods.

    A method sets `method`, `label` and `color`, by which it is known to `sdclib.methods`, fits in `_fit(X)`, gives
    continuous codes in `_continuous_codes(X)`, and keeps all that it learned in arrays that `_get_state` hands out and
    `_set_state` takes back. One that learns from labels or from augmented images says so by `needs_labels`,
    `needs_views` or `needs_tokens`, and `_fit` then takes them by the names ``labels``, ``views`` and ``tokens``.

    Attributes
    ----------
    method, label, color : str
        Of the class: its name for `sdclib.methods.make_hasher`, its name for readers, its colour in figures.
    results_version : int
        Of the class; to be raised by hand when the method gives other codes than before, which golden codes show
        (``tests/golden.py``). Runs of an older number are then not taken for its own.
    limits : dict
        Of the class: the least value of parameters, or the names that they may have, see `sdclib.checks.check_limits`.
    n_features_in_ : int
        The width of the features seen in `fit`.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Where `fit` got a data frame; later ones must have the same columns in the same order.
    seed_ : int
        What random numbers were drawn by, where the method has a `random_state`: that number itself, or one drawn by
        NumPy's global generator where it is None.
    fitted_parameters_ : dict
        The parameters at the time of `fit`, which `save` writes.
    """

    n_features_in_: int
    feature_names_in_: NDArray[np.object_]
    seed_: int
    fitted_parameters_: dict[str, Any]

    method: ClassVar[str]
    label: ClassVar[str]
    color: ClassVar[str]
    results_version: ClassVar[int] = 1
    limits: ClassVar[dict[str, Limit]] = LIMITS
    n_bits: int

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "method" in cls.__dict__:
            register(cls)

    def given_parameters(self) -> dict[str, Any]:
        """Parameters that codes depend on besides code length and seed; without those that are None."""
        return {k: v for k, v in self.get_params().items() if v is not None and k not in _NOT_DETERMINING}

    def resolved_parameters(self) -> dict[str, Any]:
        """`given_parameters` with what the name of a preset stands for in its place."""
        return self.given_parameters()

    @property
    def needs_labels(self) -> bool:
        """Whether `fit` needs labels of the training rows."""
        return False

    @property
    def needs_views(self) -> bool:
        """Whether `fit` needs features of augmented views."""
        return False

    @property
    def needs_tokens(self) -> bool:
        """Whether `fit` needs patch tokens of augmented views."""
        return False

    _without_views = ""  # what to do without them

    def _fit(self, X: NDArray[np.float32], *args: Any, **more: Any) -> None:
        raise NotImplementedError

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        raise NotImplementedError

    def _get_state(self) -> dict[str, NDArray]:
        raise NotImplementedError

    def _set_state(self, state: dict[str, NDArray]) -> None:
        raise NotImplementedError

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        views: ArrayLike | None = None,
        tokens: ArrayLike | None = None,
    ) -> Self:
        """Learn from features.

        Parameters
        ----------
        X : array-like, shape (n, d)
            Training features: finite, no all-zero row.
        y : array-like, shape (n,) or (n, n_labels), optional
            Labels, for methods with `needs_labels`: ids (whole numbers), or 0/1 vectors where an image may have
            several; of at least two classes. Other methods leave them alone.
        views : array-like, shape (n_views, n, d), n_views >= 2, optional
            Features of augmented views of the same images, see `sdclib.extract.views.load_views`; methods with
            `needs_views` want them, others leave them alone.
        tokens : array-like, shape (n_views, n, n_tokens, token_size), optional
            Patch tokens of the same views; likewise with `needs_tokens`.

        Raises
        ------
        ValueError
            If the features, what else the method learns from, or a parameter cannot be used; the message names which.
            An earlier fit is then untouched.
        """
        check_limits(self, self.limits)
        given, X = X, check_features(X)
        more: dict[str, NDArray] = {}
        if self.needs_labels:
            more["labels"] = check_training_labels(y, len(X), self.method)
        if self.needs_views:
            more["views"] = check_views(views, X.shape, self.method, self._without_views)
        if self.needs_tokens:
            more["tokens"] = _check_tokens(tokens, more["views"].shape[:2], self.method)
        fitted = copy.copy(self)
        validate_data(fitted, given, skip_check_array=True)  # keeps the names of columns
        if hasattr(self, "random_state"):
            fitted.seed_ = _seed(self.random_state)
        fitted._fit(X, **more)
        fitted.n_features_in_ = X.shape[1]
        fitted.fitted_parameters_ = self.get_params()
        fitted._warn_of_collapse(X)
        self.__dict__.update(fitted.__dict__)
        return self

    def _warn_of_collapse(self, X: NDArray[np.float32]) -> None:
        """Warn if codes of training rows use few bits, or are the same for most rows."""
        X = X[:: -(-len(X) // CHECKED_ROWS)]
        codes = binarize(self._continuous_codes(X))
        dead = int((codes == codes[0]).all(axis=0).sum())
        n_codes, n_rows = (len({row.tobytes() for row in rows}) for rows in (codes, X))
        if n_rows > 1 and (dead > self.n_bits / 2 or (n_codes < n_rows / 100 and not self.needs_labels)):
            warnings.warn(
                f"{self.method}: the codes of the training rows collapse: {n_codes} codes for {n_rows} different rows, "
                f"{dead} of {self.n_bits} bits the same in all; try centred features, or other settings",
                stacklevel=3,
            )

    @property
    def _n_features_out(self) -> int:
        return int(self.fitted_parameters_["n_bits"])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = self.needs_labels
        return tags

    def decision_function(self, X: ArrayLike) -> NDArray[np.float32]:
        """Continuous codes of features of shape (n, d): shape (n, n_bits), float32.

        NotFittedError without a fit; ValueError if X has other columns than in `fit`, NaN, infinite or all-zero rows.
        """
        check_is_fitted(self, "n_features_in_")
        given, X = X, check_features(X, n_features=self.n_features_in_)
        validate_data(self, given, reset=False, skip_check_array=True)
        return np.asarray(self._continuous_codes(X), dtype=np.float32)

    def transform(self, X: ArrayLike) -> NDArray[np.uint8]:
        """Codes, shape (n, n_bits), uint8 in {0, 1}, see `sdclib.codes.binarize`; raises as `decision_function`."""
        return binarize(self.decision_function(X))

    def pack(self, X: ArrayLike) -> NDArray[np.uint8]:
        """Packed codes, shape (n, ceil(n_bits / 8)), uint8, see `sdclib.codes.pack_codes`; raises as `transform`."""
        return pack_codes(binarize(self.decision_function(X)))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the fitted method into `folder`: `hasher.json` and a safetensors file that it names by its hash.

        Over an older save the change is atomic: cut short, the folder still holds the old method whole. Of other
        files only the weights that the older `hasher.json` names are deleted. Returns the folder; NotFittedError
        without a fit.
        """
        check_is_fitted(self, "n_features_in_")
        folder = Path(folder)
        state = {name: np.ascontiguousarray(array) for name, array in self._get_state().items()}
        weights = safetensors.numpy.save(state)
        digest = hashlib.sha256(weights).hexdigest()
        weights_path = write_bytes(folder / f"weights-{digest[:16]}.safetensors", weights)
        old = _named_weights(folder / "hasher.json")
        description: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "method": self.method,
            "parameters": _plain(
                {name: value for name, value in self.fitted_parameters_.items() if name not in _OF_THE_CALL}
            ),
            "n_features": self.n_features_in_,
            "weights": weights_path.name,
            "weights_sha256": digest,
        }
        if hasattr(self, "feature_names_in_"):
            description["feature_names"] = list(self.feature_names_in_)
        write_json(folder / "hasher.json", description)
        if old is not None and old != weights_path:
            old.unlink(missing_ok=True)
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote; no code in the files is run.

        FileNotFoundError if a file is missing; ValueError that names the file if it is damaged, belongs to another
        method, or has another format version.
        """
        path = Path(folder) / "hasher.json"
        description = read_json(path)
        try:
            version, method = description["format_version"], description["method"]
            parameters, n_features = description["parameters"], description["n_features"]
            weights_path, digest = path.with_name(description["weights"]), description["weights_sha256"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not the description of a hasher ({error!r})") from error
        if version not in range(1, FORMAT_VERSION + 1):
            raise ValueError(f"{path}: expected format_version 1 to {FORMAT_VERSION}, got {version}")
        if method != cls.method:
            raise ValueError(f"{path}: expected method {cls.method!r}, got {method!r}")
        try:
            if file_sha256(weights_path) != digest:
                raise ValueError(f"{weights_path}: damaged, its SHA-256 is not the one in hasher.json")
            given = {name: value for name, value in parameters.items() if name not in _OF_THE_CALL}
            hasher = cls(**cls._read_parameters(given, version))
            hasher.n_features_in_ = n_features
            if "feature_names" in description:
                hasher.feature_names_in_ = np.asarray(description["feature_names"], dtype=object)
            hasher.fitted_parameters_ = hasher.get_params()
            hasher._set_state(safetensors.numpy.load(weights_path.read_bytes()))
            hasher._try_out()
        except FileNotFoundError:
            raise
        except Exception as error:  # weights or parameters of something else raise many kinds
            raise ValueError(f"{folder}: expected a fitted {method}, could not read it ({error})") from error
        return hasher

    @staticmethod
    def _read_parameters(parameters: dict[str, Any], version: int) -> dict[str, Any]:
        """Turn parameters of a model saved in an older format into today's."""
        return parameters

    def _try_out(self) -> None:
        """Check that what was learned fits the numbers of features and bits."""
        n = self.n_features_in_
        if not any(n in array.shape for array in self._get_state().values()):
            raise ValueError(f"n_features: expected that of the weights, got {n!r}")
        with np.errstate(all="ignore"):
            codes = self._continuous_codes(np.ones((1, n), dtype=np.float32))
        if codes.shape != (1, self.n_bits):
            raise ValueError(f"n_bits: expected {codes.shape[1:]} as in the weights, got {self.n_bits!r}")


def _named_weights(path: Path) -> Path | None:
    """Find the weights that an older `hasher.json` names, where it is one that `BaseHasher.save` wrote."""
    try:
        name = str(read_json(path)["weights"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return path.with_name(name) if re.fullmatch(r"weights-[0-9a-f]{16}\.safetensors", name) else None


def _seed(random_state: Any) -> int:
    """Give the number that random numbers are drawn by, see `BaseHasher.seed_`."""
    if random_state is None:
        return int(check_random_state(None).randint(2**31 - 1))
    return int(random_state)


def check_training_labels(y: object, n: int, method: str) -> NDArray[np.integer]:
    """Check the labels of `n` training rows, see `BaseHasher.fit`, and number the classes that there are.

    Returns int64 of shape (n,), classes from 0 in ascending order of their ids; or uint8 of shape (n, n_classes),
    without labels that no row has. ValueError, which names the `method`, if there are none; or if they are of the wrong
    number or kind, with NaN, or of fewer than two classes.
    """
    if y is None:
        raise ValueError(
            f"y: {method} learns from labels of the training rows, expected ids of shape ({n},) or 0/1 vectors of "
            f"shape ({n}, n_labels), got none"
        )
    array = np.asarray(y)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(
            f"y: expected a label for every row, got NaN in {int(np.isnan(array).sum())} place(s)"
        )
    labels = check_labels(array, "y", n=n)
    if labels.ndim == 1:
        ids, labels = np.unique(labels, return_inverse=True)
        n_classes = len(ids)
    else:
        labels = np.ascontiguousarray(labels[:, labels.any(axis=0)])
        n_classes = labels.shape[1]
    if n_classes < 2:
        raise ValueError(f"y: expected labels of at least two classes, got {n_classes}")
    return labels


def _check_tokens(tokens: ArrayLike | None, shape: tuple[int, ...], method: str) -> NDArray[np.float32]:
    """Check patch tokens of views and return them as float32; `shape` is (n_views, n)."""
    expected = f"an array of shape ({shape[0]}, {shape[1]}, n_tokens, token_size)"
    if tokens is None:
        raise ValueError(
            f"tokens: {method} learns from patch tokens of augmented views, expected {expected}, got none; only "
            "vision transformers such as deit-b16 give them"
        )
    array = np.asarray(tokens, dtype=np.float32)
    if array.ndim != 4 or array.shape[:2] != shape or 0 in array.shape:
        raise ValueError(f"tokens: expected {expected}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("tokens: expected finite values, got NaN or infinity")
    return array


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters as JSON takes them: numpy scalars as Python's, objects by how they print."""
    return json.loads(
        json.dumps(parameters, default=lambda v: v.item() if isinstance(v, np.generic) else str(v))
    )
