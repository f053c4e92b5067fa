"""Training loop of the methods that learn by gradient steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pandas as pd
import torch
from torch import Tensor

from sdclib.progress import tqdm

__all__ = ["gradient_step", "pick_device", "train"]

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


def gradient_step(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """Clear the gradients, compute those of `loss`, and let the optimizer take a step."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def train(
    step: Callable[[Tensor], Mapping[str, Tensor]],
    n: int,
    optimizers: Sequence[torch.optim.Optimizer],
    *,
    batch_size: int,
    epochs: int,
    step_epoch: int | None = None,
    seed: int = 0,
    device: torch.device | None = None,
    name: str = "",
    progress: bool = True,
) -> pd.DataFrame:
    """Pass over the rows in batches, in a new seeded order every epoch; a short last batch is dropped.

    Parameters
    ----------
    step : callable
        ``step(rows)`` gets the row numbers of a batch, shape (batch_size,), int64, updates the weights (see
        `gradient_step`) and returns the terms of the loss by name, each a scalar; ``loss``, the total, is among them.
    n : int
        Rows, at least `batch_size`.
    optimizers : sequence of torch.optim.Optimizer
        Those that `step` uses.
    batch_size, epochs : int
    step_epoch : int, optional
        After each `step_epoch` epochs the learning rates are multiplied by 0.1.
    seed : int
        Of the order of rows.
    device : torch.device, optional
        Where the row numbers are to be.
    name : str
        Of the progress bar.
    progress : bool
        Show a progress bar over epochs.

    Returns
    -------
    DataFrame
        One row an epoch: epoch (from 1), the terms (means over the epoch's batches), learning_rate (of the first
        optimizer), seconds (since the start).

    Raises
    ------
    ValueError
        If there are fewer rows than a batch, or the loss is no longer finite.
    """
    if n < batch_size:
        raise ValueError(
            f"X: expected at least batch_size = {batch_size} training rows, got {n} sample(s); "
            "give more rows or a smaller batch_size"
        )
    shuffle = torch.Generator().manual_seed(seed)
    schedulers = [
        torch.optim.lr_scheduler.StepLR(optimizer, step_epoch or epochs, gamma=0.1)
        for optimizer in optimizers
    ]
    n_weights = sum(
        weight.numel()
        for optimizer in optimizers
        for group in optimizer.param_groups
        for weight in group["params"]
    )
    n_batches = n // batch_size
    history = []
    start = time.perf_counter()
    bar = tqdm(range(1, epochs + 1), desc=name, unit="epoch", disable=not progress)
    for epoch in bar:
        order = torch.randperm(n, generator=shuffle)[: n_batches * batch_size]
        sums: dict[str, Tensor] = {}
        with _threads_for(batch_size * n_weights):
            for rows in order.view(n_batches, batch_size).to(device):
                for term, value in step(rows).items():
                    sums[term] = sums[term] + value.detach() if term in sums else value.detach()
        means = {term: total.item() / n_batches for term, total in sums.items()}
        if not means["loss"] < float("inf"):
            raise ValueError(
                f"training diverged, loss is {means['loss']} in epoch {epoch}; try a smaller learning rate than "
                f"{schedulers[0].get_last_lr()[0]}, or features of moderate size"
            )
        history.append(
            {
                "epoch": epoch,
                **means,
                "learning_rate": schedulers[0].get_last_lr()[0],
                "seconds": time.perf_counter() - start,
            }
        )
        bar.set_postfix(loss=f"{means['loss']:.4f}")
        for scheduler in schedulers:
            scheduler.step()
    return pd.DataFrame(history)
