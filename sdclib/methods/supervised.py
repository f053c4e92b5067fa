"""What the methods that learn from labels share."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import Tags
from torch import Tensor

from sdclib.checks import check_features, check_int, check_labels
from sdclib.methods.falling_rate import FallingRateHasher

__all__ = ["SupervisedHasher", "check_training_labels", "count_classes"]


class SupervisedHasher(FallingRateHasher):
    """Base of the methods that learn from features and labels of the training rows.

    A method trains in `_train(head, features, labels)`, with the labels as `check_training_labels` returns them.

    Attributes
    ----------
    needs_labels : bool
        True, of the class: `fit` wants labels.
    """

    needs_labels: ClassVar[bool] = True

    def fit(
        self,
        X: ArrayLike,
        y: object = None,
        *,
        views: ArrayLike | None = None,
        tokens: ArrayLike | None = None,
    ) -> Self:
        """Learn from features and labels.

        Parameters
        ----------
        X : array-like, shape (n, d)
            Training features: finite, no all-zero row.
        y : array-like, shape (n,) or (n, n_labels)
            Their labels: ids (whole numbers), or 0/1 vectors where an image may have several. At least two classes.
        views, tokens : array-like, optional
            Not used; there for one contract with the methods that learn from augmented views.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there are no labels, or labels, features or a parameter cannot be used; the message names which.
        """
        check_int(self.n_bits, "n_bits", minimum=1)
        X = check_features(X)
        self._fit(X, labels=check_training_labels(y, len(X), self.method))
        self.n_features_in_ = X.shape[1]
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


def check_training_labels(y: object, n: int, method: str) -> NDArray[np.integer]:
    """Check the labels of training rows, and number the classes that there are.

    Parameters
    ----------
    y : array-like, shape (n,) or (n, n_labels)
        See `SupervisedHasher.fit`.
    n : int
        Training rows.
    method : str
        What needs them, for the message.

    Returns
    -------
    ndarray, shape (n,) int64 or (n, n_classes) uint8
        Numbers of the classes from 0 in ascending order of their ids; or the vectors without labels that no row has.

    Raises
    ------
    ValueError
        If there are none, their number is wrong, they are neither ids nor 0/1 vectors, some are NaN, or they are of
        fewer than two classes.
    """
    if y is None:
        raise ValueError(
            f"y: {method} learns from labels of the training rows, expected ids of shape ({n},) or 0/1 vectors of "
            f"shape ({n}, n_labels), got none"
        )
    array = np.asarray(y)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(
            f"y: expected a label for every row, got NaN in {int(np.isnan(array).sum())} place(s)"
        )
    labels = check_labels(array, "y", n=n)
    if labels.ndim == 1:
        ids, labels = np.unique(labels, return_inverse=True)
        n_classes = len(ids)
    else:
        labels = np.ascontiguousarray(labels[:, labels.any(axis=0)])
        n_classes = labels.shape[1]
    if n_classes < 2:
        raise ValueError(f"y: expected labels of at least two classes, got {n_classes}")
    return labels


def count_classes(labels: Tensor) -> int:
    """Count the classes of labels that `check_training_labels` returned."""
    return labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
