"""A classifier's logits, hashed by random hyperplanes."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sdclib.checks import check_int
from sdclib.methods.supervised import SupervisedHasher, count_classes
from sdclib.training import gradient_step, train

__all__ = ["LogitHasher"]


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
    n_bits : int
        Code length K.
    n_hidden_layers : int
        1, of the features' width; 0 is a linear classifier.
    learning_rate, weight_decay : float
        Of Adam.
    batch_size : int
        At least 2.
    epochs : int
        Passes over the training rows.
    step_epoch : int
        After each `step_epoch` epochs the learning rate is multiplied by 0.1.
    random_state : int
        Seed.
    device : str
        Where to train: ``"auto"``, ``"cpu"``, ``"cuda"``.
    progress : bool
        Show a progress bar.

    Attributes
    ----------
    head_ : torch.nn.Sequential
        From features to :math:`f`, on the CPU.
    history_ : DataFrame
        See `sdclib.training.train`; not there after `load`.

    Notes
    -----
    The plain way to put labels into codes: it knows nothing of bits while it trains. Settings are those of the other
    methods of this study that train on labels in batches of 256; none was tuned.

    References
    ----------
    M. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002, for the projections.
    """

    method = "logits"

    def __init__(
        self,
        n_bits: int = 64,
        *,
        n_hidden_layers: int = 1,
        learning_rate: float = 4e-4,
        weight_decay: float = 1e-5,
        batch_size: int = 256,
        epochs: int = 100,
        step_epoch: int = 80,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.n_hidden_layers = n_hidden_layers
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.step_epoch = step_epoch
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def _make_head(self, n_features: int) -> nn.Module:
        return self._network(n_features, self.n_bits)

    def _network(self, n_features: int, n_outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(check_int(self.n_hidden_layers, "n_hidden_layers", minimum=0)):
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

        history = train(step, len(features), [optimizer], **self._falling_schedule())
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
