"""Stochastic gradient descent with momentum, as GreedyHash and BiHalf use it."""

from __future__ import annotations

import torch
from torch import nn

from sdclib.checks import check_real

__all__ = ["sgd"]


def sgd(head: nn.Module, learning_rate: float, momentum: float, weight_decay: float) -> torch.optim.SGD:
    """Make the optimizer of a head's weights as one fused operation a step; the decay is an L2 penalty.

    Raises
    ------
    ValueError
        If a setting is negative or not finite; the message names it.
    """
    return torch.optim.SGD(
        head.parameters(),
        lr=check_real(learning_rate, "learning_rate", minimum=0),
        momentum=check_real(momentum, "momentum", minimum=0),
        weight_decay=check_real(weight_decay, "weight_decay", minimum=0),
        fused=True,
    )
