"""Speed of training: `python -m benchmarks.bench_training [--epochs 5]`, about two minutes.

Four figures, all of one run on one machine:

- the highest rate of matrix products (float32, large squares) that PyTorch reaches here, the *peak*;
- what SDC's training reaches of it at width 4,096 and batches of 64: the multiply-adds that its layers need, forward
  and backward, over the wall time of all of a step (targets, losses, optimizer, Python);
- the seconds that the products of a step and the optimizer's pass over the weights take by themselves: the rate that
  these two allow is a *bound* on what any loop that does both in turn can reach;
- the time of whole epochs against a plain loop with the structure of the authors' code: a DataLoader, SciPy's
  quantiles in every step, Adam as it comes.

Features are random numbers of the shape of CIFAR-10's training features (5,000 x 1,280): their values do not matter for
speed. Both loops run in turn, and medians over epochs are given, because other work may share the cores. Writes
results/bench_training.json.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import stats
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.harness import arguments_of, in_turn, medians, publish, random_features, seconds_of
from sdclib.methods import SDCHasher
from sdclib.methods.presets import PRESETS
from sdclib.methods.trained import HashHead, adam

N_BITS = 64
WIDTHS = {"paper-no-contrastive": 4096, "release": None}  # None: the features' width


def peak_rate(size: int = 2048, repeats: int = 8) -> float:
    """Highest rate of float32 matrix products, in operations (two a multiply-add) a second."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / min(seconds_of(lambda: a @ b) for _ in range(repeats))


def operations_of_a_step(n_features: int, width: int, batch_size: int) -> int:
    """Operations of the products of one step: forward, gradient of the weights, and of the second layer's input."""
    first, second = n_features * width, width * N_BITS
    return 2 * batch_size * (2 * first + 3 * second)


def parts_of_a_step(n_features: int, width: int, batch_size: int, repeats: int = 30) -> dict[str, float]:
    """Seconds that the products of one step take, and Adam's pass over the weights: medians."""
    x, first, second = (
        torch.randn(*shape) for shape in ((batch_size, n_features), (width, n_features), (N_BITS, width))
    )
    hidden, gradient = torch.randn(batch_size, width), torch.randn(batch_size, N_BITS)
    weights = [torch.nn.Parameter(weight) for weight in (first, second)]
    for weight in weights:
        weight.grad = torch.randn_like(weight)
    optimizer = adam(weights, 1e-4, 5e-4)

    def products() -> None:
        x @ first.T, hidden @ second.T, gradient.T @ hidden, hidden.T @ x, gradient @ second

    return medians(in_turn({"products": products, "optimizer": optimizer.step}, repeats))


def library_epochs(features: Tensor, preset: str, epochs: int) -> list[float]:
    """Seconds of each epoch of `SDCHasher`; the first, which warms up, is left out."""
    hasher = SDCHasher(N_BITS, preset, epochs=epochs + 1).fit(features.numpy())
    return hasher.history_["seconds"].diff().dropna().tolist()


def plain_epochs(features: Tensor, preset: str, epochs: int) -> list[float]:
    """Seconds of each epoch of a plain loop; the first, which warms up, is left out."""
    settings = PRESETS[preset]
    d = features.shape[1]
    head = HashHead(d, N_BITS, settings.hidden_features or d)
    optimizer = torch.optim.Adam(
        head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    loader = DataLoader(TensorDataset(features), batch_size=settings.batch_size, shuffle=True, drop_last=True)

    def epoch() -> None:
        for (batch,) in loader:
            codes = head(batch)
            n = len(batch) // 2
            with torch.no_grad():
                order = torch.cosine_similarity(batch[:n], batch[n:]).sort().indices
            similarity = torch.cosine_similarity(codes[:n], codes[n:])[order]
            u = (2 * np.arange(1, n + 1) - 1) / (2 * n)
            target = torch.as_tensor(2 * stats.beta.ppf(u, 5, 5) - 1, dtype=torch.float32)
            loss = (similarity - target).abs().mean()
            loss = loss + (1 - torch.cosine_similarity(codes, codes.detach().sign())).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            float(loss.detach())  # the authors' code logs every step

    return [seconds_of(epoch) for _ in range(epochs + 1)][1:]


def main() -> None:
    parser = arguments_of(__doc__, "bench_training.json")
    parser.add_argument("--epochs", type=int, default=5, help="epochs of each loop that count")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    features = torch.from_numpy(random_features())
    n_rows, n_features = features.shape
    loops: dict[str, Callable[[Tensor, str, int], list[float]]] = {
        "library": library_epochs,
        "plain": plain_epochs,
    }
    peaks, rows = [peak_rate()], {}
    for preset, width in WIDTHS.items():
        batch_size = PRESETS[preset].batch_size
        seconds: dict[str, list[float]] = {name: [] for name in loops}
        for _ in range(2):
            for name, loop in loops.items():
                seconds[name] += loop(features, preset, given.epochs)
            peaks.append(peak_rate())
        epoch, steps = medians(seconds), n_rows // batch_size
        operations = operations_of_a_step(n_features, width or n_features, batch_size)
        parts = parts_of_a_step(n_features, width or n_features, batch_size)
        rows[preset] = {
            "seconds_an_epoch": seconds,
            "seconds_a_step": parts | {name: value / steps for name, value in epoch.items()},
            "achieved": operations * steps / epoch["library"],
            "bound": operations / sum(parts.values()),
            "plain_over_library": epoch["plain"] / epoch["library"],
        }
    peak = max(peaks)
    for preset, row in rows.items():
        row |= {f"{name}_over_peak": row[name] / peak for name in ("achieved", "bound")}
        print(
            f"{preset}: {row['achieved'] / 1e9:.0f} of {peak / 1e9:.0f} Gflop/s ({row['achieved_over_peak']:.2f}; "
            f"products and optimizer alone {row['bound_over_peak']:.2f}), "
            f"{row['plain_over_library']:.2f} times as fast as the plain loop"
        )
    shape = {"rows": n_rows, "features": n_features, "n_bits": N_BITS, "threads": given.threads}
    publish(given.out, shape | {"peak": peak, **rows})


if __name__ == "__main__":
    main()
