"""Rivals that learn from labels of the training rows: OrthoHash, hashed logits."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import torch
from scipy.linalg import hadamard
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sdclib.checks import check_name
from sdclib.losses.pairwise import cosine_classification_loss
from sdclib.methods.trained import HashHead, TrainedHasher, gradient_step, train

__all__ = [
    "CLASS_TARGETS",
    "LogitHasher",
    "OrthoHashHasher",
    "SupervisedHasher",
    "class_targets",
    "count_classes",
]


class SupervisedHasher(TrainedHasher):
    """Base of methods that learn from labels alone.

    A method trains in `_train(head, features, labels)`, with the labels as `check_training_labels` returns them.
    """

    needs_labels = True


def count_classes(labels: Tensor) -> int:
    """Count the classes of labels that `check_training_labels` returned."""
    return labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1


CLASS_TARGETS = ("bernoulli", "hadamard")


@dataclass(eq=False, repr=False, kw_only=True)
class OrthoHashHasher(SupervisedHasher):
    """Train continuous codes to have the largest cosine with the fixed binary target of their class.

    The one loss is `sdclib.losses.pairwise.cosine_classification_loss`: it asks for codes that are near to their
    class's corner of the cube, which makes them separable and nearly binary at once.

    Parameters
    ----------
    class_targets : {"bernoulli", "hadamard"}
        See `class_targets`.
    scale, margin : float
        Of the loss; the scale is the inverse of a softmax temperature.
    n_hidden_layers : int
        Of the head, of the features' width; 0 is a linear head.
    n_bits, learning_rate, weight_decay, batch_size, epochs, step_epoch, random_state, device, progress
        See `TrainedHasher`, as for the attributes.

    Notes
    -----
    Scale 8, margin 0.2, targets of fair coins, no quantization loss, learning rate, weight decay, batch size, epochs
    and BatchNorm after the last layer are those of the authors' code, and so is the even share of a row's weight
    among its labels where it has several. There the whole network (AlexNet) is trained, and its own layers stand
    where the head here has a hidden layer; here features are frozen.

    References
    ----------
    J. T. Hoe, K. W. Ng, T. Zhang, C. S. Chan, Y.-Z. Song and T. Xiang, "One loss for all: deep hashing with a single
    cosine similarity based learning objective", NeurIPS 2021.
    """

    method = "orthohash"
    label = "OrthoHash"
    color = "#D55E00"

    class_targets: str = "bernoulli"
    scale: float = 8.0
    margin: float = 0.2
    n_hidden_layers: int = 1
    learning_rate: float = 1e-4
    weight_decay: float = 5e-4
    batch_size: int = 256
    epochs: int = 100
    step_epoch: int | None = 80

    def _make_head(self, n_features: int) -> nn.Module:
        return HashHead(n_features, self.n_bits, n_features, self.n_hidden_layers)

    def _train(self, head: nn.Module, features: Tensor, labels: Tensor) -> pd.DataFrame:
        n_classes = count_classes(labels)
        targets = class_targets(self.class_targets, n_classes, self.n_bits).to(features)
        optimizer = self._adam(head.parameters())

        def step(rows: Tensor) -> dict[str, Tensor]:
            codes = head(features[rows])
            loss = cosine_classification_loss(codes, labels[rows], targets, self.scale, self.margin)
            gradient_step(loss, optimizer)
            return {"loss": loss}

        return train(step, len(features), [optimizer], **self._schedule())


def class_targets(kind: str, n_classes: int, n_bits: int) -> Tensor:
    """Draw a binary target for each class, -1 and 1 of shape (n_classes, n_bits), float32, by torch's generator.

    "bernoulli" draws fair coins, which are orthogonal in expectation, and where nothing keeps two classes from the same
    target when the code is short; "hadamard" rows of a Hadamard matrix in random order, which are orthogonal.
    ValueError if the kind is unknown, or there is no such matrix: `n_bits` has to be a power of 2 and at least
    `n_classes`.
    """
    if check_name(kind, "class_targets", CLASS_TARGETS) == "bernoulli":
        return 2 * torch.randint(0, 2, (n_classes, n_bits)).float() - 1
    if n_bits & (n_bits - 1) or n_bits < n_classes:
        raise ValueError(
            f"class_targets: expected 'bernoulli' unless n_bits is a power of 2 and at least the {n_classes} classes, "
            f"got 'hadamard' with n_bits = {n_bits}"
        )
    return torch.from_numpy(hadamard(n_bits)).float()[torch.randperm(n_bits)[:n_classes]]


@dataclass(eq=False, repr=False, kw_only=True)
class LogitHasher(SupervisedHasher):
    r"""Train a classifier, then take the signs of random projections of its logits.

    The classifier has one hidden layer, :math:`z = A \, \mathrm{GELU}(W x + c) + a`, and is trained by the
    cross-entropy of the softmax, or, where a row may have several labels, by the mean binary cross-entropy of the
    labels. With the mean :math:`\bar z` of the logits over the training rows and a Gaussian matrix :math:`G` of one
    row a class and one column a bit,

    .. math:: f = G^\top (z - \bar z), \quad b = \mathrm{sign}(f).

    Two codes differ in a bit with a probability in proportion to the angle between their centred logits. Being
    linear, :math:`G` and :math:`\bar z` become part of the last layer.

    Parameters
    ----------
    n_hidden_layers : int
        1, of the features' width; 0 is a linear classifier.
    n_bits, learning_rate, weight_decay, batch_size, epochs, step_epoch, random_state, device, progress
        See `TrainedHasher`, as for the attributes.

    Notes
    -----
    The plain way to put labels into codes: it knows nothing of bits while it trains. Settings are those of the other
    methods of this study that train on labels in batches of 256; none was tuned.

    References
    ----------
    M. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002, for the projections.
    """

    method = "logits"
    label = "Hashed logits"
    color = "#CC79A7"

    n_hidden_layers: int = 1
    learning_rate: float = 4e-4
    weight_decay: float = 1e-5
    batch_size: int = 256
    epochs: int = 100
    step_epoch: int | None = 80

    def _make_head(self, n_features: int) -> nn.Module:
        return self._network(n_features, self.n_bits)

    def _network(self, n_features: int, n_outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(self.n_hidden_layers):
            layers += [nn.Linear(n_features, n_features), nn.GELU()]
        return nn.Sequential(*layers, nn.Linear(n_features, n_outputs))

    def _train(self, head: nn.Module, features: Tensor, labels: Tensor) -> pd.DataFrame:
        n_classes = count_classes(labels)
        projection = torch.randn(n_classes, self.n_bits).to(features)
        classifier = self._network(features.shape[1], n_classes).to(features.device)
        optimizer = self._adam(classifier.parameters())

        def step(rows: Tensor) -> dict[str, Tensor]:
            loss = _classification_loss(classifier(features[rows]), labels[rows])
            gradient_step(loss, optimizer)
            return {"loss": loss}

        history = train(step, len(features), [optimizer], **self._schedule())
        with torch.no_grad():
            mean = classifier(features).mean(dim=0)
            state = classifier.state_dict()
            weight, bias = list(state)[-2:]  # of the last layer
            state[weight] = projection.T @ state[weight]
            state[bias] = (state[bias] - mean) @ projection
            head.load_state_dict(state)
        return history


def _classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of classes, or mean binary cross-entropy of 0/1 vectors."""
    if labels.ndim == 1:
        return cross_entropy(logits, labels)
    return binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
