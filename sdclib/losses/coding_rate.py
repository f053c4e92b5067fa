"""Coding rate: how much room a batch of codes takes up."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["coding_rate"]


def coding_rate(continuous_codes: Tensor, distortion: float = 0.05) -> Tensor:
    r"""Coding rate of continuous codes, to be maximised: large where directions are many and evenly used.

    With the codes' directions :math:`z_i = f_i / \|f_i\|` as the rows of :math:`Z`,

    .. math:: R = \frac{1}{2} \log \det \left( I + \frac{K}{n \epsilon^2} Z^\top Z \right) ,

    in nats: about what it takes to write down the batch with a mean squared error of :math:`\epsilon^2`. It is
    computed from the smaller of :math:`Z^\top Z` and :math:`Z Z^\top`, which give the same determinant.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits), n >= 1
        With gradient.
    distortion : float
        :math:`\epsilon^2` > 0.

    Returns
    -------
    Tensor, shape ()
        Between :math:`\frac{1}{2} \log(1 + K / \epsilon^2)`, all codes on one line, and
        :math:`\frac{m}{2} \log(1 + \frac{K}{m \epsilon^2})` with :math:`m = \min(n, K)`, all singular values of
        :math:`Z` equal.

    Raises
    ------
    ValueError
        If `distortion` is not greater than 0.

    References
    ----------
    Y. Ma, H. Derksen, W. Hong and J. Wright, "Segmentation of multivariate mixed data via lossy data coding and
    compression", IEEE TPAMI 29(9), 2007.
    """
    if not distortion > 0:
        raise ValueError(f"distortion: expected a number > 0, got {distortion!r}")
    n, n_bits = continuous_codes.shape
    directions = normalize(continuous_codes, dim=1)
    gram = directions.T @ directions if n_bits <= n else directions @ directions.T
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.linalg.slogdet(identity + n_bits / (n * distortion) * gram).logabsdet / 2
