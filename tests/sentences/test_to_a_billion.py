import pytest

from study.chapters.scale import BILLION, encoding_table, growth_table
from tests.sentences.published import bench, says, states

TEXT, DAY, MINUTE = "to_a_billion", 86_400, 60


@pytest.fixture(scope="module")
def measured():
    return bench("scale")


@pytest.fixture(scope="module")
def growth(measured):
    return growth_table(measured, BILLION)


def test_bytes_and_encoding(measured):
    table, width = encoding_table(measured, BILLION), measured["n_features"]
    hours = table["worker_hours"].mean()
    states(
        TEXT,
        f"the codes of 64 bits take {BILLION * 8 / 1e9:.0f} GB, against {BILLION * width * 4 / 1e12:.1f} TB of float "
        "vectors",
    )
    states(TEXT, f"Encoding takes about {hours:.0f} hours of one core, or half an hour of sixteen")
    states(
        TEXT,
        f"{hours:.0f} worker hours are half an hour of 16 workers. In that time they read "
        f"{BILLION * width * 4 / 1e12:.1f} TB, {BILLION * width * 4 / 1800 / 1e9:.1f} GB a second",
    )
    says("or half an hour of sixteen", 25 < 60 * hours / 16 < 35)
    states(TEXT, f"To re-score 500 candidates a query reads {500 * width * 4 / 1e6:.1f} MB of them.")


def test_workers(measured):
    encoding = measured["encoding"]
    peak = max(run["worker_peak_mb"] for run in encoding["workers"].values())
    states(
        TEXT,
        f"Two workers were {encoding['ratio']:.1f} times as fast as one, and none took more than {peak:.0f} MB. When "
        f"both were killed together with the process that gave them work, after {encoding['encoded_before_the_kill']} "
        f"shards, the same command did the other {encoding['workers']['resumed']['shards']}.",
    )


def test_search(measured, growth):
    then, million = growth[BILLION], measured["sizes"][-1]
    flat, build = then["HammingIndex, a query"], then["PostgreSQL, build HNSW"] / DAY
    states(TEXT, f"An exact search of all codes then takes {flat:.1f} seconds a query on one core.")
    states(TEXT, f"take about {1000 * flat / 16:.0f} ms a query.")
    states(
        TEXT,
        f"At a million items they found {100 * million['lancedb']['approximate_recall']:.0f} % (LanceDB) and "
        f"{100 * million['pgvector']['approximate_recall']:.0f} % (PostgreSQL) of the ten nearest codes.",
    )
    states(
        TEXT,
        "1,000 queries against a billion codes take "
        f"{then['Count 1,000 queries in one call'] / MINUTE:.0f} minutes of two cores",
    )
    states(TEXT, f"PostgreSQL would build its HNSW graph for {build:.0f} days on two cores.")
    says("PostgreSQL would take weeks to build it", build > 14)
    says(
        "Each part has a fixed cost, which is why counting in 40 parts seems to grow so slowly.",
        growth.loc["Count 1,000 queries in 40 parts", "growth"] < 0.7 < growth["growth"].median(),
    )
