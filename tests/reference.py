"""Independent statements of what the library computes, in NumPy and SciPy or plain torch, for the tests alone."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import special, stats


def unit(x):
    """Rows of norm 1, in float64."""
    x = x.astype(np.float64)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def cosine(x, y):
    """Cosine similarity of two vectors."""
    return float(np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y))


def half_cosines(rows):
    """Cosine similarity of row i of the first half of a batch with row i of the second half."""
    n_pairs = len(rows) // 2
    return np.array([cosine(rows[i], rows[n_pairs + i]) for i in range(n_pairs)])


def nt_xent(first, second, temperature):
    """NT-Xent by loops over the codes of both views."""
    codes, n = np.concatenate([first, second]), len(first)
    losses = []
    for i, code in enumerate(codes):
        logits = [cosine(code, other) / temperature for other in codes]
        others = sum(np.exp(logit) for j, logit in enumerate(logits) if j != i)
        losses.append(-np.log(np.exp(logits[(i + n) % (2 * n)]) / others))
    return np.mean(losses)


def bernoulli_kl(first, second):
    """Symmetric divergence, bit by bit from the probabilities."""
    p, q = special.expit(first), special.expit(second)
    both = sum(special.rel_entr(*pair) for pair in ((p, q), (1 - p, 1 - q), (q, p), (1 - q, 1 - p)))
    return np.sum(both) / 2 / len(first)


def code_alignment(first, second):
    """Cross-entropy, bit by bit from the probabilities."""
    total = 0.0
    for z, other in ((first, second), (second, first)):
        for i, k in np.ndindex(z.shape):
            p = 1 / (1 + np.exp(-z[i, k]))
            total -= np.log(p) if other[i, k] >= 0 else np.log(1 - p)
    return total / 2 / first.size


def coding_rate(codes, distortion):
    """Coding rate by the singular values of the directions."""
    n, n_bits = codes.shape
    directions = np.array([row / np.sqrt((row**2).sum()) for row in codes])
    singular = np.linalg.svd(directions, compute_uv=False)
    return sum(np.log(1 + n_bits / (n * distortion) * value**2) / 2 for value in singular)


def pair_label(codes, labels):
    """Loss of labelled pairs, pair by pair and bit by bit."""
    n, n_bits = codes.shape
    total = 0.0
    for i, j in np.ndindex(n, n):
        inner = sum(codes[i, k] * codes[j, k] for k in range(n_bits))
        total += abs(labels[i, j]) * (inner / n_bits - labels[i, j]) ** 2
    return total / n**2


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
