"""Independent statements of what the library computes, in NumPy and SciPy or plain torch, for the tests alone."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import stats


def unit(x):
    """Rows of norm 1, in float64."""
    x = x.astype(np.float64)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def reference_calibration_loss(codes, features, alpha, beta):
    """Loss of the paper's algorithm 1, pair by pair in float64 with SciPy's quantiles."""
    n_pairs = len(codes) // 2
    pairs = []
    for i in range(n_pairs):
        f, g = codes[i], codes[n_pairs + i]
        x, y = features[i], features[n_pairs + i]
        s = float(np.dot(f, g) / np.linalg.norm(f) / np.linalg.norm(g))
        t = float(np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y))
        pairs.append((t, i, s))
    pairs.sort()
    total = 0.0
    for n, (_, _, s) in enumerate(pairs, start=1):
        u = (2 * n - 1) / (2 * n_pairs)
        total += abs(s - (2 * stats.beta.ppf(u, alpha, beta) - 1))
    return total / n_pairs


def reference_sdc(features, n_bits, *, seed, epochs=100, alpha=5.0, beta=5.0):
    """Train by the published algorithm with the released code's settings, written down without the library.

    Head d-d-K with GELU and BatchNorm, Adam at 1e-4 with decay 1e-5, batches of 64, step at 80 % of the epochs;
    SciPy quantiles afresh in every step, as the released code does. Returns a function from features to codes.

    Start and order of rows are drawn as the library draws them: seeds alone move mAP by about a point here, which
    would hide a difference between the two.
    """
    torch.manual_seed(seed)
    shuffle = torch.Generator().manual_seed(seed)
    x = torch.as_tensor(features, dtype=torch.float32)
    d = x.shape[1]
    net = torch.nn.Sequential(
        torch.nn.Linear(d, d), torch.nn.GELU(), torch.nn.Linear(d, n_bits), torch.nn.BatchNorm1d(n_bits)
    )
    adam = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-5)
    for epoch in range(epochs):
        if epoch == int(0.8 * epochs):
            for group in adam.param_groups:
                group["lr"] *= 0.1
        order = torch.randperm(len(x), generator=shuffle)
        for start in range(0, len(x) - 63, 64):
            batch = x[order[start : start + 64]]
            f = net(batch)
            s = torch.cosine_similarity(f[:32], f[32:])
            t = torch.cosine_similarity(batch[:32], batch[32:])
            u = (2 * np.arange(1, 33) - 1) / 64
            c = torch.as_tensor(2 * stats.beta.ppf(u, alpha, beta) - 1, dtype=torch.float32)
            loss = (s[t.sort().indices] - c).abs().mean()
            loss = loss + (1 - torch.cosine_similarity(f, f.detach().sign())).mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    net.eval()

    def encode(rows):
        with torch.no_grad():
            return (net(torch.as_tensor(rows, dtype=torch.float32)) >= 0).numpy().astype(np.uint8)

    return encode


def distances_of(query_codes, database_codes):
    """Hamming distances of all pairs, bit by bit."""
    return (np.asarray(query_codes)[:, None] != np.asarray(database_codes)[None]).sum(axis=2)


def slow_average_precision(ranked, n_relevant, top_k, denominator):
    """AP of one ranking (relevance of the items in order), as a loop; None for a denominator of 0."""
    hits, total = 0, 0.0
    for rank, is_relevant in enumerate(ranked[:top_k], start=1):
        if is_relevant:
            hits += 1
            total += hits / rank
    divisor = {"retrieved": hits, "relevant": n_relevant, "R": top_k, "min": min(n_relevant, top_k)}[
        denominator
    ]
    return total / divisor if divisor else None


def tie_orders(distances):
    """Every order of the items by distance."""
    groups = [np.flatnonzero(distances == value) for value in np.unique(distances)]
    for parts in itertools.product(*[itertools.permutations(group) for group in groups]):
        yield [int(item) for part in parts for item in part]
