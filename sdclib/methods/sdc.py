"""SDC as an estimator."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from sdclib.calibration import CalibrationDistribution
from sdclib.checks import check_int
from sdclib.head import HashHead
from sdclib.methods.base import BaseHasher
from sdclib.presets import SDCSettings, settings_from_preset
from sdclib.training import pick_device, train_sdc

__all__ = ["SDCHasher"]

ENCODE_ROWS = 4096  # rows through the head at a time: bounds memory, and keeps matrix products large


class SDCHasher(BaseHasher):
    """Hash by similarity distribution calibration.

    Parameters
    ----------
    n_bits : int
        Code length K.
    preset : str
        ``"paper"``, ``"paper-instance"`` or ``"release"``, see `sdclib.presets.preset_table`.
    calibration : str or CalibrationDistribution, optional
        Such as ``"beta(5, 5)"``; this and the following parameters, where not None, replace the preset's value.
    hidden_features, n_hidden_layers, quantization_weight, learning_rate, weight_decay, batch_size, epochs, \
step_epoch : optional
        See `sdclib.presets.SDCSettings`.
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
        See `sdclib.training.train_sdc`; not there after `load`.
    settings_ : SDCSettings
        The preset with what was replaced.

    Examples
    --------
    >>> from sdclib import SDCHasher, load_features
    >>> data = load_features("cifar10-embedded")
    >>> hasher = SDCHasher(n_bits=64, preset="release", epochs=1).fit(data.train)
    >>> hasher.transform(data.query).shape
    (1000, 64)

    References
    ----------
    Ng et al., "Unsupervised Hashing with Similarity Distribution Calibration", BMVC 2023.
    """

    method = "sdc"

    def __init__(
        self,
        n_bits: int = 64,
        preset: str = "paper",
        *,
        calibration: str | CalibrationDistribution | None = None,
        hidden_features: int | None = None,
        n_hidden_layers: int | None = None,
        quantization_weight: float | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        step_epoch: int | None = None,
        random_state: int = 0,
        device: str = "auto",
        progress: bool = False,
    ):
        self.n_bits = n_bits
        self.preset = preset
        self.calibration = calibration
        self.hidden_features = hidden_features
        self.n_hidden_layers = n_hidden_layers
        self.quantization_weight = quantization_weight
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.step_epoch = step_epoch
        self.random_state = random_state
        self.device = device
        self.progress = progress

    def _settings(self) -> SDCSettings:
        return settings_from_preset(
            self.preset,
            calibration=self.calibration,
            hidden_features=self.hidden_features,
            n_hidden_layers=self.n_hidden_layers,
            quantization_weight=self.quantization_weight,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            batch_size=self.batch_size,
            epochs=self.epochs,
            step_epoch=self.step_epoch,
        )

    def _fit(self, X: NDArray[np.float32]) -> None:
        seed = check_int(self.random_state, "random_state", minimum=0)
        settings = self._settings()
        self.head_, self.history_ = train_sdc(
            torch.from_numpy(X), self.n_bits, settings, seed=seed, device=self.device, progress=self.progress
        )
        self.settings_ = settings

    def _continuous_codes(self, X: NDArray[np.float32]) -> NDArray[np.float32]:
        device = pick_device(self.device)
        head = self.head_.to(device)
        with torch.inference_mode():
            parts = [
                head(torch.from_numpy(X[start : start + ENCODE_ROWS]).to(device)).cpu().numpy()
                for start in range(0, len(X), ENCODE_ROWS)
            ]
        head.cpu()
        return np.concatenate(parts)

    def _get_state(self) -> dict[str, NDArray]:
        return {name: tensor.numpy() for name, tensor in self.head_.state_dict().items()}

    def _set_state(self, state: dict[str, NDArray]) -> None:
        self.settings_ = self._settings()
        head = HashHead(
            self.n_features_in_,
            self.n_bits,
            self.settings_.hidden_features or self.n_features_in_,
            self.settings_.n_hidden_layers,
        )
        head.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in state.items()})
        self.head_ = head.eval()
