"""Iterative quantization."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA

from sdclib.checks import check_int
from sdclib.methods.base import BaseHasher

__all__ = ["ITQHasher"]


class ITQHasher(BaseHasher):
    r"""PCA to `n_bits` dimensions, then the rotation that brings the projections nearest to their signs.

    With :math:`V` the PCA projections, codes :math:`B` and rotation :math:`R` are improved in turn,

    .. math:: \min_{B, R} \| B - V R \|_F^2, \quad B = \mathrm{sign}(V R), \quad R = \text{Procrustes}(V, B),

    with scikit-learn's PCA and SciPy's orthogonal Procrustes solution. (faiss's `ITQMatrix` is not used: its
    steps do not reach a fixed point of this alternation, which a test of this class asks for.)

    Parameters
    ----------
    n_bits : int
        Code length, at most the features' width and the number of training rows.
    n_iterations : int
        Alternations.
    random_state : int
        Seed of the first rotation.

    Attributes
    ----------
    mean_ : ndarray, shape (d,), float32
    projection_ : ndarray, shape (d, n_bits), float32
        PCA and rotation in one matrix.

    References
    ----------
    Y. Gong and S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011.
    """

    method = "itq"

    def __init__(self, n_bits: int = 64, *, n_iterations: int = 50, random_state: int = 0):
        self.n_bits = n_bits
        self.n_iterations = n_iterations
        self.random_state = random_state

    def _fit(self, X: NDArray[np.float32]) -> None:
        if self.n_bits > min(X.shape):
            raise ValueError(
                f"n_bits: expected at most min(n_samples, n_features) = {min(X.shape)}, got {self.n_bits}"
            )
        pca = PCA(self.n_bits, svd_solver="full").fit(X)
        self.mean_ = pca.mean_.astype(np.float32)
        V = pca.transform(X).astype(np.float64)
        rng = np.random.default_rng(check_int(self.random_state, "random_state", minimum=0))
        R = np.linalg.qr(rng.standard_normal((self.n_bits, self.n_bits)))[0]
        for _ in range(check_int(self.n_iterations, "n_iterations", minimum=1)):
            R, _ = orthogonal_procrustes(V, np.where(V @ R >= 0, 1.0, -1.0))
        self.projection_ = np.ascontiguousarray(pca.components_.T @ R, dtype=np.float32)

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return (X - self.mean_) @ self.projection_

    def _get_state(self) -> dict[str, NDArray]:
        return {"mean": self.mean_, "projection": self.projection_}

    def _set_state(self, state: dict[str, NDArray]) -> None:
        self.mean_, self.projection_ = state["mean"], state["projection"]
