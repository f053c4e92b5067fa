"""Signs after a random rotation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sdclib.checks import check_int
from sdclib.methods.base import BaseHasher

__all__ = ["RotationHasher"]


class RotationHasher(BaseHasher):
    r"""Sign of the first `n_bits` coordinates of the randomly rotated features.

    With the training mean :math:`\mu` and a uniformly random orthogonal :math:`Q`,

    .. math:: f(x) = \left( Q^\top (x - \mu) \right)_{1, \dots, K}, \quad b = \mathrm{sign}(f).

    A rotation keeps all angles and spreads the variance, which features hold in few directions, over all coordinates.
    Against `LSHHasher` the hyperplanes are at right angles to each other.

    Parameters
    ----------
    n_bits : int
        Code length K, at most the features' width.
    center : bool
        Subtract the training mean first.
    random_state : int
        Seed of the rotation. Of two lengths with the same seed, the shorter code is the start of the longer one.

    Attributes
    ----------
    mean_ : ndarray, shape (d,), float32
        What is subtracted; zeros without centring.
    projection_ : ndarray, shape (d, n_bits), float32
        The first `n_bits` columns of :math:`Q`, orthonormal.

    Notes
    -----
    :math:`Q` comes from the QR decomposition of a Gaussian matrix, each column with the sign that makes the diagonal
    of R positive; without it the rotation would not be uniform (Haar). Only the columns in use are drawn: they are
    distributed as those of a whole rotation.

    This is the first step of RaBitQ alone. RaBitQ keeps a bit for every dimension, scales centred vectors to length 1
    (which leaves signs as they are) and stores correction factors to estimate distances from float queries; codes
    here are of any length and compared by Hamming distance.

    References
    ----------
    J. Gao and C. Long, "RaBitQ: quantizing high-dimensional vectors with a theoretical error bound for approximate
    nearest neighbor search", SIGMOD 2024.

    F. Mezzadri, "How to generate random matrices from the classical compact groups", Notices of the AMS 54(5), 2007.
    """

    method = "rotation"

    def __init__(self, n_bits: int = 64, *, center: bool = True, random_state: int = 0):
        self.n_bits = n_bits
        self.center = center
        self.random_state = random_state

    def _fit(self, X: NDArray[np.float32]) -> None:
        n_features = X.shape[1]
        if self.n_bits > n_features:
            raise ValueError(f"n_bits: expected at most the {n_features} features, got {self.n_bits}")
        rng = np.random.default_rng(check_int(self.random_state, "random_state", minimum=0))
        Q, R = np.linalg.qr(rng.standard_normal((self.n_bits, n_features)).T)
        self.projection_ = np.ascontiguousarray(Q * np.sign(np.diag(R)), dtype=np.float32)
        mean = X.mean(axis=0) if self.center else np.zeros(n_features)
        self.mean_ = np.asarray(mean, dtype=np.float32)

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((X - self.mean_) @ self.projection_, dtype=np.float32)

    def _get_state(self) -> dict[str, NDArray]:
        return {"mean": self.mean_, "projection": self.projection_}

    def _set_state(self, state: dict[str, NDArray]) -> None:
        self.mean_, self.projection_ = state["mean"], state["projection"]
