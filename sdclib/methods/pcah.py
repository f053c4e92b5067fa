"""Signs of principal components."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from sdclib.methods.base import BaseHasher

__all__ = ["PCAHHasher"]


class PCAHHasher(BaseHasher):
    r"""Sign of the first `n_bits` principal components.

    With the training mean :math:`\mu` and the eigenvectors :math:`w_1, \dots, w_K` of the largest eigenvalues of the
    training covariance,

    .. math:: f_k(x) = w_k^\top (x - \mu), \quad b_k = \mathrm{sign}(f_k).

    Parameters
    ----------
    n_bits : int
        Code length K, at most the features' width and the number of training rows.

    Attributes
    ----------
    mean_ : ndarray, shape (d,), float32
    projection_ : ndarray, shape (d, n_bits), float32
        Orthonormal columns, in descending order of variance.

    Notes
    -----
    The sign of an eigenvector is open; it flips one bit of every code and leaves Hamming distances as they are.
    scikit-learn's choice is kept: the component's entry of largest magnitude is positive.

    The baseline has no authors of its own. In the paper below it is what is left of the method without labels.

    References
    ----------
    J. Wang, S. Kumar and S.-F. Chang, "Semi-supervised hashing for scalable image retrieval", CVPR 2010.
    """

    method = "pcah"

    def __init__(self, n_bits: int = 64):
        self.n_bits = n_bits

    def _fit(self, X: NDArray[np.float32]) -> None:
        if self.n_bits > min(X.shape):
            raise ValueError(
                f"n_bits: expected at most min(n_samples, n_features) = {min(X.shape)}, got {self.n_bits}"
            )
        pca = PCA(self.n_bits, svd_solver="full").fit(X)
        self.mean_ = pca.mean_.astype(np.float32)
        self.projection_ = np.ascontiguousarray(pca.components_.T, dtype=np.float32)

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return (X - self.mean_) @ self.projection_

    def _get_state(self) -> dict[str, NDArray]:
        return {"mean": self.mean_, "projection": self.projection_}

    def _set_state(self, state: dict[str, NDArray]) -> None:
        self.mean_, self.projection_ = state["mean"], state["projection"]
