"""Spectral hashing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from sdclib.methods.base import BaseHasher

__all__ = ["SHHasher"]

ENCODE_ROWS = 4096  # rows in double precision at a time: bounds memory


class SHHasher(BaseHasher):
    r"""Signs of the smoothest sinusoids along the principal components.

    Training rows are taken for uniform in the box :math:`[a_i, b_i]` of their first principal components :math:`v_i`.
    There the eigenfunctions of the graph Laplacian along one component are known; those of the `n_bits` smallest
    eigenvalues, but for the constant one, make the code:

    .. math::

        f_k(x) = \sin\left( \frac{\pi}{2} + \omega_k (v_{i_k}(x) - a_{i_k}) \right), \quad
        \omega_k = \frac{m_k \pi}{b_{i_k} - a_{i_k}}, \quad b_k = \mathrm{sign}(f_k),

    where :math:`(i_k, m_k)` are the pairs of component and mode :math:`m = 1, 2, \dots` of smallest :math:`\omega^2`.

    Parameters
    ----------
    n_bits : int
        Code length K. There are min(K, n, d) components, and K may be more: a component of wide range has many modes.

    Attributes
    ----------
    mean_ : ndarray, shape (d,), float32
    projection_ : ndarray, shape (d, n_components), float32
        Principal components.
    component_ : ndarray, shape (n_bits,), int64
        Which component each bit is a function of.
    origin_, omega_ : ndarray, shape (n_bits,), float64
        Lower end :math:`a` of its range, and its angular frequency.

    Notes
    -----
    The method is at times described by the sign of a product over all components. An eigenfunction of the box is such
    a product, but the paper leaves out those that vary along more than one component, as their bits follow from
    others; of the product then only one factor is not constant, and the formula above is the same.

    As in the authors' code the ends of the range lie an epsilon of double precision outside the training data, and
    equal frequencies are taken in the order of components. An image may fall outside the box; the sinusoid goes on.

    References
    ----------
    Y. Weiss, A. Torralba and R. Fergus, "Spectral hashing", NIPS 2008.
    """

    method = "sh"

    def __init__(self, n_bits: int = 64):
        self.n_bits = n_bits

    def _fit(self, X: NDArray[np.float32]) -> None:
        pca = PCA(min(self.n_bits, *X.shape), svd_solver="full").fit(X)
        self.mean_ = pca.mean_.astype(np.float32)
        self.projection_ = np.ascontiguousarray(pca.components_.T, dtype=np.float32)
        parts = [self._project(part) for part in _blocks(X)]
        epsilon = np.finfo(np.float64).eps
        low = np.min([part.min(axis=0) for part in parts], axis=0) - epsilon
        high = np.max([part.max(axis=0) for part in parts], axis=0) + epsilon
        modes = np.arange(1, self.n_bits + 1)
        frequencies = modes * np.pi / (high - low)[:, None]
        smallest = np.argsort(frequencies, axis=None, kind="stable")[: self.n_bits]
        self.component_ = smallest // self.n_bits
        self.origin_ = low[self.component_]
        self.omega_ = frequencies.flat[smallest]

    def _project(self, X: NDArray[np.float32]) -> NDArray[np.float64]:
        # in double precision: a high mode multiplies the rounding of the projection
        return (X - self.mean_).astype(np.float64) @ self.projection_.astype(np.float64)

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.concatenate([self._eigenfunctions(part) for part in _blocks(X)])

    def _eigenfunctions(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        phase = self.omega_ * (self._project(X)[:, self.component_] - self.origin_)
        return np.sin(np.pi / 2 + phase).astype(np.float32)

    def _get_state(self) -> dict[str, NDArray]:
        names = ("mean", "projection", "component", "origin", "omega")
        return {name: getattr(self, f"{name}_") for name in names}

    def _set_state(self, state: dict[str, NDArray]) -> None:
        for name, array in state.items():
            setattr(self, f"{name}_", array)


def _blocks(X: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [X[start : start + ENCODE_ROWS] for start in range(0, len(X), ENCODE_ROWS)]
