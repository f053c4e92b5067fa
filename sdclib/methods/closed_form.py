"""Methods in closed form: signs, random projections, principal components, ITQ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes, solve
from sklearn.decomposition import PCA

from sdclib.methods.base import BaseHasher
from sdclib.methods.neighbours import smooth_over_neighbours

__all__ = [
    "ITQHasher",
    "LSHHasher",
    "NeighbourITQHasher",
    "PCAHHasher",
    "RotationHasher",
    "SHHasher",
    "SignHasher",
]


@dataclass(eq=False, repr=False)
class ClosedFormHasher(BaseHasher):
    """Base of methods whose arrays, the attributes with a trailing underscore, are all that they learn."""

    n_bits: int = 64

    def _get_state(self) -> dict[str, NDArray]:
        learned = (name for name in vars(self) if name.endswith("_") and not name.endswith("_in_"))
        return {name[:-1]: value for name in learned if isinstance(value := getattr(self, name), np.ndarray)}

    def _set_state(self, state: dict[str, NDArray]) -> None:
        for name, array in state.items():
            setattr(self, f"{name}_", array)

    def _check_length(self, most: int, what: str) -> None:
        if self.n_bits > most:
            raise ValueError(f"n_bits: expected at most {what}, got {self.n_bits}")


class LinearHasher(ClosedFormHasher):
    """Base of methods with continuous codes ``(X - mean_) @ projection_``.

    Attributes
    ----------
    mean_ : ndarray, shape (d,), float32
        Zeros without centring.
    projection_ : ndarray, shape (d, n_bits), float32
    """

    _svd_solver = "full"

    mean_: NDArray[np.float32]
    projection_: NDArray[np.float32]

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray((X - self.mean_) @ self.projection_, dtype=np.float32)

    def _fit_pca(self, X: NDArray[np.float32]) -> PCA:
        """Fit `n_bits` principal components and keep their mean."""
        self._check_length(min(X.shape), f"min(n_samples, n_features) = {min(X.shape)}")
        pca = PCA(self.n_bits, svd_solver=self._svd_solver).fit(X)
        self.mean_ = pca.mean_.astype(np.float32)
        return pca


@dataclass(eq=False, repr=False, kw_only=True)
class SignHasher(ClosedFormHasher):
    """Sign of the first `n_bits` features: the plainest hash there is.

    Parameters
    ----------
    n_bits : int
        At most the features' width.
    center : bool
        Subtract the training mean, `mean_`, first.
    """

    method = "sign"
    label = "Sign of features"
    color = "#999999"

    center: bool = False

    def _fit(self, X: NDArray[np.float32]) -> None:
        self._check_length(X.shape[1], f"the {X.shape[1]} features")
        self.mean_ = _mean(X, self.center)

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        return (X - self.mean_)[:, : self._n_features_out]


@dataclass(eq=False, repr=False, kw_only=True)
class LSHHasher(LinearHasher):
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

    References
    ----------
    M. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002.
    """

    method = "lsh"
    label = "LSH"
    color = "#CC79A7"

    center: bool = False
    random_state: int | None = 0

    def _fit(self, X: NDArray[np.float32]) -> None:
        self.mean_ = _mean(X, self.center)
        self.projection_ = np.random.default_rng(self.seed_).standard_normal(
            (X.shape[1], self.n_bits), dtype=np.float32
        )


def _mean(X: NDArray[np.float32], center: bool) -> NDArray[np.float32]:
    return np.asarray(X.mean(axis=0) if center else np.zeros(X.shape[1]), dtype=np.float32)


@dataclass(eq=False, repr=False, kw_only=True)
class RotationHasher(LinearHasher):
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

    Notes
    -----
    :math:`Q` comes from the QR decomposition of a Gaussian matrix, each column with the sign that makes the diagonal
    of R positive; without it the rotation would not be uniform (Haar). Only the columns in use are drawn.

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
    label = "Random rotation"
    color = "#999999"

    center: bool = True
    random_state: int | None = 0

    def _fit(self, X: NDArray[np.float32]) -> None:
        n_features = X.shape[1]
        self._check_length(n_features, f"the {n_features} features")
        Q, R = np.linalg.qr(np.random.default_rng(self.seed_).standard_normal((self.n_bits, n_features)).T)
        self.projection_ = np.ascontiguousarray(Q * np.sign(np.diag(R)), dtype=np.float32)
        self.mean_ = _mean(X, self.center)


@dataclass(eq=False, repr=False, kw_only=True)
class PCAHHasher(LinearHasher):
    """Sign of the first `n_bits` principal components, at most the features' width and the number of training rows.

    The columns of `projection_` are orthonormal, in descending order of variance. The sign of an eigenvector is open
    and leaves Hamming distances as they are; the component's entry of largest magnitude is positive.

    References
    ----------
    The baseline has no authors of its own; it is what is left without labels of J. Wang, S. Kumar and S.-F. Chang,
    "Semi-supervised hashing for scalable image retrieval", CVPR 2010.
    """

    method = "pcah"
    label = "PCAH"
    color = "#E69F00"

    def _fit(self, X: NDArray[np.float32]) -> None:
        pca = self._fit_pca(X)
        self.projection_ = np.ascontiguousarray(pca.components_.T, dtype=np.float32)


ENCODE_ROWS = 4096  # rows in double precision at a time: bounds memory


@dataclass(eq=False, repr=False, kw_only=True)
class SHHasher(ClosedFormHasher):
    r"""Signs of the smoothest sinusoids along the principal components.

    Training rows are taken for uniform in the box :math:`[a_i, b_i]` of their first principal components :math:`v_i`.
    There the eigenfunctions of the graph Laplacian along one component are known; those of the `n_bits` smallest
    eigenvalues, except the constant one, make the code:

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
    others; of the product then only one factor is not constant.

    As in the authors' code the ends of the range lie an epsilon of double precision outside the training data, and
    equal frequencies are taken in the order of components. An image may fall outside the box; the sinusoid goes on.

    References
    ----------
    Y. Weiss, A. Torralba and R. Fergus, "Spectral hashing", NIPS 2008.
    """

    method = "sh"
    label = "SH"
    color = "#CC79A7"

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


def _blocks(X: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    return [X[start : start + ENCODE_ROWS] for start in range(0, len(X), ENCODE_ROWS)]


@dataclass(eq=False, repr=False, kw_only=True)
class ITQHasher(LinearHasher):
    r"""PCA to `n_bits` dimensions, then the rotation that brings the projections nearest to their signs.

    With :math:`V` the PCA projections, codes :math:`B` and rotation :math:`R` are improved in turn,

    .. math:: \min_{B, R} \| B - V R \|_F^2, \quad B = \mathrm{sign}(V R), \quad R = \text{Procrustes}(V, B).

    faiss's `ITQMatrix` is not used: its steps do not reach a fixed point of this alternation.

    Parameters
    ----------
    n_bits : int
        Code length, at most the features' width and the number of training rows.
    n_iterations : int
        Alternations.
    random_state : int
        Seed of the first rotation.

    References
    ----------
    Y. Gong and S. Lazebnik, "Iterative quantization: a Procrustean approach to learning binary codes", CVPR 2011.
    """

    method = "itq"
    label = "ITQ"
    color = "#E69F00"

    n_iterations: int = 50
    random_state: int | None = 0

    def _fit(self, X: NDArray[np.float32]) -> None:
        pca = self._fit_pca(X)
        V = pca.transform(X).astype(np.float64)
        R = np.linalg.qr(np.random.default_rng(self.seed_).standard_normal((self.n_bits, self.n_bits)))[0]
        for _ in range(self.n_iterations):
            R, _ = orthogonal_procrustes(V, np.where(V @ R >= 0, 1.0, -1.0))
        self.projection_ = np.ascontiguousarray(pca.components_.T @ R, dtype=np.float32)


@dataclass(eq=False, repr=False, kw_only=True)
class NeighbourITQHasher(ITQHasher):
    r"""ITQ on what a linear map tells of features averaged over neighbours.

    With the centred training features :math:`X`, of root mean square 1, and the teacher :math:`T`, which is
    :math:`X` averaged over nearest neighbours (see `sdclib.methods.neighbours.smooth_over_neighbours`),

    .. math:: \min_W \| X W - T \|_F^2 + \lambda \| W \|_F^2

    is solved, and ITQ makes codes of :math:`X W`. Neighbours are needed in training alone.

    Parameters
    ----------
    n_neighbors, n_steps : int
        Of the teacher; 0 steps leave the directions of the features.
    ridge : float
        :math:`\lambda` > 0.
    n_bits, n_iterations, random_state
        See `ITQHasher`.

    Notes
    -----
    Made for this study, as the closed form of SDC by neighbours. That a linear map learns what a graph of neighbours
    says is older: anchor graph hashing (Liu et al., ICML 2011) and inductive manifold hashing (Shen et al., CVPR 2013)
    do it with anchors.
    """

    method = "neighbour-itq"
    label = "ITQ by neighbours"
    color = "#E69F00"
    results_version = 2
    _svd_solver = "covariance_eigh"  # a fifth of the time of the whole fit

    n_neighbors: int = 10
    n_steps: int = 4
    ridge: float = 1.0

    def _fit(self, X: NDArray[np.float32]) -> None:
        self._check_length(min(X.shape), f"min(n_samples, n_features) = {min(X.shape)}")
        mean = X.mean(axis=0, dtype=np.float64)
        centred = X - mean
        teacher = smooth_over_neighbours(centred, self.n_neighbors, self.n_steps)
        scale = np.sqrt(np.mean(centred**2))
        gram = centred.T @ centred / scale**2 + self.ridge * np.eye(X.shape[1])
        linear = solve(gram, centred.T @ teacher / scale**2, assume_a="pos")
        super()._fit((centred @ linear).astype(np.float32))
        self.projection_ = np.ascontiguousarray(linear @ self.projection_, dtype=np.float32)
        self.mean_ = mean.astype(np.float32)
