"""Order of code similarities alone."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from sdclib.losses.pairs import pair_similarities

__all__ = ["ranking_loss"]


def ranking_loss(continuous_codes: Tensor, features: Tensor, temperature: float = 0.1) -> Tensor:
    r"""Logistic loss on the order of the pairs of a batch: which of two pairs is the more similar one.

    With the feature cosines :math:`t` and the code cosines :math:`s` of the pairs that
    `sdclib.losses.pairs.half_pairs` makes, and :math:`P = \{(i, j) : t_i > t_j\}`,

    .. math:: L = \frac{1}{|P|} \sum_{(i, j) \in P} \tau \log \left( 1 + e^{-(s_i - s_j) / \tau} \right) .

    No value of :math:`t` enters, only the order; a pair of pairs that is in order by more than a few :math:`\tau`
    costs next to nothing. The factor :math:`\tau` keeps the slope in :math:`s_i - s_j` below 1, as that of an absolute
    difference is; for :math:`\tau \to 0` the loss is the hinge :math:`\max(0, s_j - s_i)`.

    Parameters
    ----------
    continuous_codes : Tensor, shape (n, n_bits), n >= 2
        With gradient.
    features : Tensor, shape (n, d)
        The same rows' features; no gradient flows into them.
    temperature : float
        :math:`\tau` > 0, in units of the cosine.

    Returns
    -------
    Tensor, shape ()
        0 where no two pairs differ in t, as with a single pair.

    Raises
    ------
    ValueError
        If the numbers of rows differ or there are fewer than two.

    References
    ----------
    C. Burges et al., "Learning to rank using gradient descent", ICML 2005.
    """
    if continuous_codes.shape[0] != features.shape[0]:
        raise ValueError(
            f"features: expected as many rows as continuous_codes ({continuous_codes.shape[0]}), "
            f"got {features.shape[0]}"
        )
    s, t = pair_similarities(continuous_codes), pair_similarities(features.detach())
    ordered = (t[:, None] > t).to(s.dtype)
    costs = temperature * softplus((s - s[:, None]) / temperature)
    return (ordered * costs).sum() / ordered.sum().clamp_min(1)
