"""Pytest plugin of the mutation run: the same examples for every mutant, fewer of them, and the fast tests first."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import Phase, settings

MAX_EXAMPLES = 20
STATS = Path("mutmut-stats.json")  # which mutmut writes into the folder where it runs the tests

settings.register_profile(
    "mutation", deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)


def pytest_collection_modifyitems(items):
    if STATS.is_file():
        seconds = json.loads(STATS.read_text(encoding="utf-8"))["duration_by_test"]
        items.sort(key=lambda item: seconds.get(item.nodeid, 0))
    for item in items:
        own = getattr(item.function, "_hypothesis_internal_use_settings", None)
        if own is not None:
            item.function._hypothesis_internal_use_settings = settings(
                own, max_examples=min(own.max_examples, MAX_EXAMPLES)
            )
