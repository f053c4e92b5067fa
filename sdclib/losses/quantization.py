"""Quantization loss."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

__all__ = ["quantization_loss"]


def quantization_loss(continuous_codes: Tensor) -> Tensor:
    r"""How far continuous codes are from their signs: mean of :math:`1 - \cos(f, \mathrm{sign} f)`.

    Zero counts as positive, as in `sdclib.codes.binarize`; no gradient flows through the sign.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits)

    Returns
    -------
    Tensor, shape ()
        In [0, 1): 0 where every code lies on a corner of a cube.

    References
    ----------
    Supplement of the SDC paper, quantization term.
    """
    signs = torch.where(continuous_codes >= 0, 1.0, -1.0).to(continuous_codes.dtype)
    return (1 - cosine_similarity(continuous_codes, signs)).mean()
