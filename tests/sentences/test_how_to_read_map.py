import numpy as np
import pytest

from sdclib import load_features, make_hasher
from sdclib.metrics import mean_average_precision
from tests.sentences.published import bench, runs, says, states

TEXT = "how_to_read_map"


def test_case_to_do_by_hand():
    def value(ties, denominator):
        database = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]])
        return mean_average_precision(
            np.zeros((1, 4), int),
            database,
            [np.array([0, 2, 4])],
            top_k=3,
            ties=ties,
            denominator=denominator,
        )

    says(
        "divided by the 2 hits retrieved that is 0.833, divided by the 3 relevant items, or by $R = 3$, it is "
        "0.556.",
        [value("index", name) for name in ("retrieved", "relevant", "R")]
        == pytest.approx([0.833, 0.556, 0.556], abs=5e-4),
    )
    says(
        'The best order by the denominator `"retrieved"` is hit, miss, miss, which gets 1',
        value("optimistic", "retrieved") == 1,
    )


def test_random_orders():
    features = load_features("cifar10-embedded")
    hasher = make_hasher("sign", 16).fit(features.train)
    query, database = hasher.transform(features.query), hasher.transform(features.database)
    query_labels, database_labels = features.relevant

    def value(order, ties):
        relevant = query_labels, database_labels[order]
        return mean_average_precision(
            query, database[order], relevant, top_k=features.top_k, ties=ties, denominator="retrieved"
        )

    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(database)) for _ in range(5)]
    exact = [value(order, "expected") for order in orders]
    says("Only the expected figure does not move.", np.ptp(exact) < 1e-12)
    values = [value(order, "index") for order in orders]
    lowest, highest = (value(orders[0], ties) for ties in ("pessimistic", "optimistic"))
    says(
        "Random orders come nowhere near these bounds, since the queries average them out.",
        np.abs(np.subtract(values, exact)).max() < 0.05 * min(highest - exact[0], exact[0] - lowest),
    )


def test_distances():
    measured = bench("metrics")
    main, large, growth = measured["main"], measured["large"], measured["growth"]
    over, seconds = main["usual_over"], growth["seconds"]
    states(
        TEXT,
        f"By counting, one mAP took {over['expected_map_alone']:.0f} times less than the usual way, and with both "
        f"bounds and the histograms {over['counting']:.0f} times less. A million items took "
        f"{seconds['1000000'] / seconds['500000']:.1f} times as long as half a million. The largest case peaked at "
        f"{large['peak_mb']:.0f} MB, and took {large['nanoseconds_a_pair']:.2f} ns a pair. Eighty labels an item cost "
        f"{measured['multi_label']['multi_over_single']:.1f} times as much as one.",
    )


def test_bounds():
    results = runs("main").query("data == 'cifar10-embedded' and seed == 0 and method != 'cosine'")
    width = 100 * (results["map_optimistic"] - results["map_pessimistic"]).groupby(results["n_bits"]).mean()
    states(
        TEXT,
        f"Ties alone leave {width[16]:.1f} points between the worst and the best order at 16 bits and {width[64]:.1f} "
        "at 64 (mean over methods).",
    )
