"""Hash head: the small network from features to continuous codes."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

__all__ = ["HashHead"]


class HashHead(nn.Module):
    """Linear layers with GELU between, then BatchNorm without which bits would not be balanced.

    Parameters
    ----------
    n_features : int
        d, the features' width.
    n_bits : int
        K, the codes' length.
    hidden_features : int
        Width of the hidden layers. The paper has 4096; the authors' code has d.
    n_hidden_layers : int
        1 for sets of categories; 0 gives the linear head for instance sets.

    References
    ----------
    Supplement of the SDC paper, implementation details.
    """

    def __init__(self, n_features: int, n_bits: int, hidden_features: int = 4096, n_hidden_layers: int = 1):
        super().__init__()
        widths = [n_features, *[hidden_features] * n_hidden_layers]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.GELU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], n_bits), nn.BatchNorm1d(n_bits))

    def forward(self, features: Tensor) -> Tensor:
        """Features of shape (n, n_features) to continuous codes of shape (n, n_bits)."""
        return self.layers(features)
