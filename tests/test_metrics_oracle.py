"""Slow, literal metrics that the other tests compare with, and hand-worked cases that pin them down."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import strategies as st

DENOMINATORS = ("relevant", "retrieved", "R")


def slow_average_precision(ranked, n_relevant, top_k, denominator):
    """AP of one ranking (relevance of the items in order), as a loop; None for a denominator of 0."""
    hits, total = 0, 0.0
    for rank, is_relevant in enumerate(ranked[:top_k], start=1):
        if is_relevant:
            hits += 1
            total += hits / rank
    divisor = {"retrieved": hits, "relevant": n_relevant, "R": top_k}[denominator]
    return total / divisor if divisor else None


def tie_orders(distances: np.ndarray) -> Iterator[list[int]]:
    """Every order of the items by distance."""
    groups = [np.flatnonzero(distances == value) for value in np.unique(distances)]
    for parts in itertools.product(*[itertools.permutations(group) for group in groups]):
        yield [int(item) for part in parts for item in part]


def distances_of(query_codes, database_codes):
    return (np.asarray(query_codes)[:, None] != np.asarray(database_codes)[None]).sum(axis=2)


class FakeBar:
    """Stands in for tqdm: keeps how it was made and what it was told."""

    made: ClassVar[list[FakeBar]] = []

    def __init__(self, **options):
        self.options, self.updates = options, []
        FakeBar.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def update(self, n):
        self.updates.append(n)


def check_progress(module, monkeypatch, work, call):
    """Check that `call` shows a bar over `work` pairs in `module` if, and only if, the work is long."""
    monkeypatch.setattr(module, "tqdm", FakeBar)
    monkeypatch.setattr(FakeBar, "made", [])
    for limit, hidden in ((work - 1, False), (work, False), (work + 1, True)):
        monkeypatch.setattr(module, "LONG_WORK", limit)
        call()
        bar = FakeBar.made.pop()
        shown_as = {"unit": "pair", "unit_scale": True, "leave": False, "mininterval": 1}
        assert bar.options == {"total": work, "disable": hidden, **shown_as}
        assert sum(bar.updates) == work
        assert len(bar.updates) > 1


@st.composite
def small_cases(draw, max_items=6, max_queries=2):
    """(query codes, database codes, query ids, database ids), few enough items to try every tie order."""
    n_query, n_items = draw(st.integers(1, max_queries)), draw(st.integers(1, max_items))
    n_bits = draw(st.integers(1, 4))
    bit = st.integers(0, 1)

    def bits(n):
        return np.array(draw(st.lists(bit, min_size=n * n_bits, max_size=n * n_bits))).reshape(n, n_bits)

    ids = [np.array(draw(st.lists(bit, min_size=n, max_size=n))) for n in (n_query, n_items)]
    return bits(n_query), bits(n_items), *ids


@pytest.mark.parametrize(
    ("denominator", "value"),
    [("relevant", (1 + 2 / 3) / 4), ("retrieved", (1 + 2 / 3) / 2), ("R", (1 + 2 / 3) / 3)],
)
def test_slow_average_precision_by_hand(denominator, value):
    assert slow_average_precision([1, 0, 1, 1], 4, 3, denominator) == pytest.approx(value, abs=1e-15)


def test_slow_average_precision_without_denominator():
    assert slow_average_precision([0, 0, 1], 1, 2, "retrieved") is None


def test_tie_orders_keep_distances_and_are_all_different():
    distances = np.array([2, 0, 2, 0, 2])
    orders = [tuple(order) for order in tie_orders(distances)]
    assert len(set(orders)) == len(orders) == 2 * 6
    assert all((np.diff(distances[list(order)]) >= 0).all() for order in orders)
