"""Features averaged over nearest neighbours: a teacher that knows which rows belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sdclib.checks import check_features, check_int

__all__ = ["N_STEPS", "neighbour_graph", "smooth_over_neighbours"]

N_STEPS = 4  # of the averaging


def neighbour_graph(features: ArrayLike, n_neighbors: int = 10) -> sparse.csr_array:
    r"""Weights, symmetric, between rows that are among each other's nearest neighbours by the cosine.

    With :math:`A_{ij} = 1` where j is one of the `n_neighbors` rows most similar to i, and else 0, the weights are
    :math:`W = \tfrac12 (A + A^\top) + I`: 1 for neighbours of each other, one half where only one of two rows counts
    the other among its own, and 1 for each row with itself. ValueError if there are no more rows than `n_neighbors`, or
    the features, shape (n, d), cannot be used.
    """
    import faiss

    n, n_neighbors = len(np.asarray(features)), check_int(n_neighbors, "n_neighbors", minimum=1)
    if n <= n_neighbors:
        raise ValueError(
            f"X: expected more than n_neighbors = {n_neighbors} rows, got {n} sample(s); "
            "give more rows or a smaller n_neighbors"
        )
    features = check_features(features)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    found = index.search(unit, n_neighbors + 1)[1]
    itself = found == np.arange(n)[:, None]
    itself[~itself.any(axis=1), -1] = True  # among many equal rows, a row may not find itself: drop its last
    columns = found[~itself]
    rows = np.repeat(np.arange(n), n_neighbors)
    links = sparse.csr_array((np.full(len(rows), 0.5, dtype=np.float32), (rows, columns)), shape=(n, n))
    return links + links.T + sparse.eye_array(n, dtype=np.float32, format="csr")


def smooth_over_neighbours(
    features: ArrayLike, n_neighbors: int = 10, n_steps: int = N_STEPS
) -> NDArray[np.float32]:
    r"""Average unit features over their nearest neighbours, several times over.

    With the unit rows U, the weights W of `neighbour_graph` and their row sums on the diagonal of D, the result is

    .. math:: P^t U \quad \text{less its mean}, \qquad P = D^{-1/2} W D^{-1/2},

    for t = `n_steps`; 0 steps give the unit features. Noise that neighbours do not share averages out, and rows that
    are linked by chains of neighbours move together. Features, shape (n, d), are best centred, as neighbours are those
    by the cosine; else all is as in `neighbour_graph`. The result has the same shape, float32.

    References
    ----------
    The propagation of Zhou et al., "Learning with Local and Global Consistency", NeurIPS 2003, without its restart.
    """
    weights = neighbour_graph(features, n_neighbors) if check_int(n_steps, "n_steps", minimum=0) else None
    features = check_features(features)
    smooth = features / np.linalg.norm(features, axis=1, keepdims=True)
    if weights is None:
        return smooth
    scale = sparse.diags_array(1 / np.sqrt(weights.sum(axis=1)), dtype=np.float32)
    step = scale @ weights @ scale
    for _ in range(n_steps):
        smooth = step @ smooth
    return np.asarray(smooth - smooth.mean(axis=0), dtype=np.float32)
