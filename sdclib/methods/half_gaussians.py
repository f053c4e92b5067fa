"""Two half Gaussians to describe the distances of a set."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn.functional import normalize

__all__ = ["half_gaussians"]

N_BINS = 200  # of the histogram of distances in [0, 2]
BLOCK_ROWS = 1024  # whose distances are in memory at a time


def half_gaussians(features: Tensor) -> tuple[float, float, float]:
    r"""Where cosine distances are most frequent, and how far they spread to the left and to the right of it.

    The distances :math:`d = 1 - \cos` of all pairs are counted in bins of width 0.01. The lower edge :math:`m` of the
    fullest bin splits them in two, and each part, together with its mirror image in :math:`m`, is taken for a
    Gaussian, which then has mean :math:`m` and variance

    .. math::

        \sigma_l^2 = \frac{1}{|\{d \le m\}|} \sum_{d \le m} (d - m)^2, \qquad
        \sigma_r^2 = \frac{1}{|\{d > m\}|} \sum_{d > m} (d - m)^2 .

    Time grows with the square of the rows, memory with the rows.

    Parameters
    ----------
    features : Tensor, shape (n, d), n >= 2

    Returns
    -------
    mode, sigma_left, sigma_right : float
        A sigma is 0 where no pair lies on its side.
    """
    rows = normalize(features, dim=1)
    counts = torch.zeros(N_BINS, dtype=torch.int64, device=rows.device)
    for block in _distances(rows):
        counts += torch.histc(block, N_BINS, min=0, max=2).long()
    mode = int(counts.argmax()) * 2 / N_BINS
    squares, pairs = torch.zeros(2, dtype=torch.float64), torch.zeros(2)
    for block in _distances(rows):
        for side, part in enumerate((block[block <= mode], block[block > mode])):
            squares[side] += (part.double() - mode).square().sum().cpu()
            pairs[side] += part.numel()
    sigma_left, sigma_right = (squares / pairs.clamp_min(1)).sqrt().tolist()
    return mode, sigma_left, sigma_right


def _distances(rows: Tensor) -> Iterator[Tensor]:
    """Cosine distances of unit rows to all rows, block by block; NaN of a row to itself."""
    for start in range(0, len(rows), BLOCK_ROWS):
        block = (1 - rows[start : start + BLOCK_ROWS] @ rows.T).clamp_min(0)
        block.diagonal(start).fill_(torch.nan)
        yield block
