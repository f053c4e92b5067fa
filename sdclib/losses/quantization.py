"""Quantization loss."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["quantization_loss"]


def quantization_loss(continuous_codes: Tensor) -> Tensor:
    r"""How far continuous codes are from their signs: mean of :math:`1 - \cos(f, \mathrm{sign} f)`, in [0, 1).

    It is computed as :math:`1 - \|f\|_1 / (\sqrt{K} \|f\|_2)`, which is the same; no gradient flows through the sign.
    The codes have shape (n, n_bits). Source: supplement of the SDC paper, quantization term.
    """
    length = torch.linalg.vector_norm(continuous_codes, dim=1).clamp_min(1e-8)
    return 1 - (continuous_codes.abs().sum(dim=1) / length).mean() / continuous_codes.shape[1] ** 0.5
