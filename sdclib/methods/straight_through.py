"""Sign with a gradient, for methods that train through binary codes."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["straight_through_sign"]


def straight_through_sign(x: Tensor) -> Tensor:
    r"""Sign, with :math:`\mathrm{sign}(0) = +1`, through which the gradient passes unchanged.

    Forward :math:`b = \mathrm{sign}(x)`, backward :math:`\partial L / \partial x = \partial L / \partial b`: the
    sign's own derivative, zero almost everywhere, is replaced by that of the identity.

    Parameters
    ----------
    x : Tensor
        Of any shape, finite.

    Returns
    -------
    Tensor
        Of the shape and type of `x`; exactly -1 or +1.

    References
    ----------
    Y. Bengio, N. Leonard and A. Courville, "Estimating or propagating gradients through stochastic neurons for
    conditional computation", arXiv 1308.3432, 2013.
    """
    signs = torch.where(x.detach() >= 0, 1.0, -1.0).to(x.dtype)
    return signs + (x - x.detach())  # the bracket is zero and carries the gradient
