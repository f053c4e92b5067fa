"""How well a hasher ranks the packaged data, for tests that ask whether it learns."""

from __future__ import annotations

from sdclib import load_features
from sdclib.evaluation import evaluate_codes
from sdclib.extract.views import load_views
from sdclib.methods import BaseHasher


def packaged_metrics(hasher: BaseHasher) -> dict[str, float]:
    """Metrics of a hasher on the packaged features; it is fitted first if it is not yet."""
    data = load_features("cifar10-embedded")
    if not hasattr(hasher, "n_features_in_"):
        views = load_views("cifar10-embedded").features if hasher.needs_views else None
        hasher.fit(data.train, views=views)
    return evaluate_codes(
        hasher.transform(data.query),
        hasher.transform(data.database),
        data.relevant,
        data.top_k,
        denominator=data.denominator,
    )[0]


def packaged_map(hasher: BaseHasher) -> float:
    """Return the expected mAP of `packaged_metrics`."""
    return packaged_metrics(hasher)["map_expected"]
