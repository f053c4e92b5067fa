"""Training loop of the hash head."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor

from sdclib.calibration import parse_calibration, target_quantiles
from sdclib.head import HashHead
from sdclib.losses import calibration_loss, quantization_loss
from sdclib.presets import SDCSettings
from sdclib.progress import tqdm

__all__ = ["pick_device", "train_sdc"]

SMALL_PRODUCT = 2**24  # multiply-adds a batch below which a second thread costs more than it gives


def pick_device(device: str = "auto") -> torch.device:
    """``"auto"`` is the GPU where there is one, else the CPU; anything else is torch's own name of a device.

    Raises
    ------
    ValueError
        If torch does not know the name, or that device is not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
        return torch.device(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device: expected auto, cpu, cuda, cuda:N or mps, got {device!r} ({error})"
        ) from error


@contextmanager
def _threads_for(multiply_adds: int) -> Iterator[None]:
    """Use one thread for small products, so that runs side by side do not wait for each other's threads."""
    before = torch.get_num_threads()
    if multiply_adds < SMALL_PRODUCT:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _train_epoch(
    head: HashHead,
    features: Tensor,
    batches: Tensor,
    targets: Tensor,
    quantization_weight: float,
    optimizer: torch.optim.Optimizer,
) -> list[float]:
    """Take one step a row of `batches` (indices); return the means of calibration and quantization loss."""
    sums = torch.zeros(2, device=features.device)
    for rows in batches:
        batch = features[rows]
        continuous_codes = head(batch)
        calibration_term = calibration_loss(continuous_codes, batch, targets)
        quantization_term = quantization_loss(continuous_codes)
        optimizer.zero_grad()
        (calibration_term + quantization_weight * quantization_term).backward()
        optimizer.step()
        sums += torch.stack([calibration_term.detach(), quantization_term.detach()])
    return (sums / len(batches)).tolist()


def train_sdc(
    features: Tensor,
    n_bits: int,
    settings: SDCSettings,
    *,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> tuple[HashHead, pd.DataFrame]:
    """Train a hash head by the calibration loss and the quantization loss.

    All features lie in memory as one tensor; the target quantiles are computed once. The same seed on the same
    machine with the same number of threads gives bit-identical weights; the global random state is left alone.

    Parameters
    ----------
    features : Tensor, shape (n, d), float32
        Training features, n >= `settings.batch_size`.
    n_bits : int
        Code length.
    settings : SDCSettings
    seed : int
        Of the weights' start and of the order of rows.
    device : str
        See `pick_device`.
    progress : bool
        Show a progress bar over epochs.

    Returns
    -------
    head : HashHead
        On the CPU, in evaluation mode.
    history : DataFrame
        One row an epoch: epoch (from 1), loss, calibration_loss, quantization_loss (means over the epoch's
        batches), learning_rate, seconds (since the start).

    Raises
    ------
    ValueError
        If there are fewer rows than a batch, or the loss is no longer finite.
    """
    n, n_features = features.shape
    batch_size = settings.batch_size
    if n < batch_size:
        raise ValueError(
            f"X: expected at least batch_size = {batch_size} training rows, got {n} sample(s); "
            "give more rows or a smaller batch_size"
        )
    where = pick_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = HashHead(
            n_features, n_bits, settings.hidden_features or n_features, settings.n_hidden_layers
        ).to(where)
    shuffle = torch.Generator().manual_seed(seed)
    features = features.to(where)
    calibration = parse_calibration(settings.calibration)
    targets = torch.as_tensor(
        target_quantiles(calibration, batch_size // 2), dtype=torch.float32, device=where
    )
    optimizer = torch.optim.Adam(
        head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [settings.step_epoch], gamma=0.1)

    history = []
    start = time.perf_counter()
    n_batches = n // batch_size
    bar = tqdm(range(1, settings.epochs + 1), desc=f"SDC {n_bits} bits", unit="epoch", disable=not progress)
    for epoch in bar:
        batches = (
            torch.randperm(n, generator=shuffle)[: n_batches * batch_size]
            .view(n_batches, batch_size)
            .to(where)
        )
        with _threads_for(batch_size * sum(p.numel() for p in head.parameters())):
            calibration_mean, quantization_mean = _train_epoch(
                head, features, batches, targets, settings.quantization_weight, optimizer
            )
        total = calibration_mean + settings.quantization_weight * quantization_mean
        if not total < float("inf"):
            raise ValueError(
                f"training diverged, loss is {total} in epoch {epoch}; try a smaller learning_rate than "
                f"{settings.learning_rate}, or features of moderate size (largest magnitude here "
                f"{features.abs().max().item():.3g})"
            )
        history.append(
            {
                "epoch": epoch,
                "loss": total,
                "calibration_loss": calibration_mean,
                "quantization_loss": quantization_mean,
                "learning_rate": scheduler.get_last_lr()[0],
                "seconds": time.perf_counter() - start,
            }
        )
        bar.set_postfix(loss=f"{total:.4f}")
        scheduler.step()
    return head.cpu().eval(), pd.DataFrame(history)
