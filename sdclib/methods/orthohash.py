"""OrthoHash: classification by the cosine with fixed binary class targets."""

from __future__ import annotations

import pandas as pd
import torch
from scipy.linalg import hadamard
from torch import Tensor, nn

from sdclib.checks import check_int, check_name, check_real
from sdclib.head import HashHead
from sdclib.losses.pairwise import cosine_classification_loss
from sdclib.methods.supervised import SupervisedHasher, count_classes
from sdclib.training import gradient_step, train

__all__ = ["CLASS_TARGETS", "OrthoHashHasher", "class_targets"]

CLASS_TARGETS = ("bernoulli", "hadamard")


class OrthoHashHasher(SupervisedHasher):
    """Train continuous codes to have the largest cosine with the fixed binary target of their class.

    The one loss is the cross-entropy of `sdclib.losses.pairwise`: it asks for codes that are near to
    their class's corner of the cube, which makes them separable and nearly binary at once.

    Parameters
    ----------
    n_bits : int
        Code length K.
    class_targets : {"bernoulli", "hadamard"}
        See `class_targets`.
    scale, margin : float
        Of the loss; the scale is the inverse of a softmax temperature.
    n_hidden_layers : int
        Of the head, of the features' width; 0 is a linear head.
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
    head_ : HashHead
        The trained hash head, on the CPU.
    history_ : DataFrame
        See `sdclib.training.train`; not there after `load`.

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

    def __init__(
        self,
        n_bits: int = 64,
        *,
        class_targets: str = "bernoulli",
        scale: float = 8.0,
        margin: float = 0.2,
        n_hidden_layers: int = 1,
        learning_rate: float = 1e-4,
        weight_decay: float = 5e-4,
        batch_size: int = 256,
        epochs: int = 100,
        step_epoch: int = 80,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.class_targets = class_targets
        self.scale = scale
        self.margin = margin
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
        n_hidden_layers = check_int(self.n_hidden_layers, "n_hidden_layers", minimum=0)
        return HashHead(n_features, self.n_bits, n_features, n_hidden_layers)

    def _train(self, head: nn.Module, features: Tensor, labels: Tensor) -> pd.DataFrame:
        n_classes = count_classes(labels)
        targets = class_targets(self.class_targets, n_classes, self.n_bits).to(features)
        scale, margin = (check_real(getattr(self, name), name, minimum=0) for name in ("scale", "margin"))
        optimizer = self._adam(head.parameters())

        def step(rows: Tensor) -> dict[str, Tensor]:
            loss = cosine_classification_loss(head(features[rows]), labels[rows], targets, scale, margin)
            gradient_step(loss, optimizer)
            return {"loss": loss}

        return train(step, len(features), [optimizer], **self._falling_schedule())


def class_targets(kind: str, n_classes: int, n_bits: int) -> Tensor:
    """Draw a binary target for each class by torch's generator.

    Parameters
    ----------
    kind : {"bernoulli", "hadamard"}
        Fair coins, which are orthogonal in expectation, and where nothing keeps two classes from the same target when
        the code is short; or rows of a Hadamard matrix in random order, which are orthogonal.
    n_classes, n_bits : int

    Returns
    -------
    Tensor, shape (n_classes, n_bits), float32
        Of -1 and 1.

    Raises
    ------
    ValueError
        If the kind is unknown, or there is no such Hadamard matrix: `n_bits` has to be a power of 2 and at least
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
