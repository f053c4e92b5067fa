"""Closed-form ways to hash: signs of features and of random projections."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_int
from sdclib.methods.base import BaseHasher

__all__ = ["LSHHasher", "SignHasher"]


class SignHasher(BaseHasher):
    """Sign of the first `n_bits` features: the plainest hash there is.

    Parameters
    ----------
    n_bits : int
        Code length, at most the features' width.
    center : bool
        Subtract the training mean first.

    Attributes
    ----------
    mean_ : ndarray, shape (d,), float32
        What is subtracted; zeros without centring.
    """

    method = "sign"

    def __init__(self, n_bits: int = 64, *, center: bool = False):
        self.n_bits = n_bits
        self.center = center

    def _fit(self, X: NDArray[np.float32]) -> None:
        if self.n_bits > X.shape[1]:
            raise ValueError(f"n_bits: expected at most the {X.shape[1]} features, got {self.n_bits}")
        self.mean_ = _mean(X, self.center)

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return (X - self.mean_)[:, : self.n_bits]

    def _get_state(self) -> dict[str, NDArray]:
        return {"mean": self.mean_}

    def _set_state(self, state: dict[str, NDArray]) -> None:
        self.mean_ = state["mean"]


class LSHHasher(BaseHasher):
    """Locality-sensitive hashing for the cosine: sign of Gaussian random projections.

    Parameters
    ----------
    n_bits : int
        Code length.
    center : bool
        Subtract the training mean first. Without it, features that are all positive (as after a ReLU) fall on
        the same side of most hyperplanes.
    random_state : int
        Seed of the projections.

    Attributes
    ----------
    mean_ : ndarray, shape (d,), float32
        What is subtracted; zeros without centring.
    projection_ : ndarray, shape (d, n_bits), float32

    References
    ----------
    M. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002.
    """

    method = "lsh"

    def __init__(self, n_bits: int = 64, *, center: bool = False, random_state: int = 0):
        self.n_bits = n_bits
        self.center = center
        self.random_state = random_state

    def _fit(self, X: NDArray[np.float32]) -> None:
        rng = np.random.default_rng(check_int(self.random_state, "random_state", minimum=0))
        self.mean_ = _mean(X, self.center)
        self.projection_ = rng.standard_normal((X.shape[1], self.n_bits), dtype=np.float32)

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((X - self.mean_) @ self.projection_, dtype=np.float32)

    def _get_state(self) -> dict[str, NDArray]:
        return {"mean": self.mean_, "projection": self.projection_}

    def _set_state(self, state: dict[str, NDArray]) -> None:
        self.mean_, self.projection_ = state["mean"], state["projection"]


def _mean(X: NDArray[np.float32], center: bool) -> NDArray[np.float32]:
    return np.asarray(X.mean(axis=0) if center else np.zeros(X.shape[1]), dtype=np.float32)
