import pandas as pd
import pytest

from tests.sentences.published import bench, says


@pytest.fixture(scope="module")
def measured():
    return bench("search")


@pytest.fixture(scope="module")
def rows(measured):
    return pd.concat(
        [
            pd.DataFrame(part["rows"]).assign(set=name, n=part["n_database"])
            for name, part in measured["sets"].items()
        ]
    )


def test_setting(measured, rows):
    says("A search among a million items", measured["sets"]["enlarged"]["n_database"] == 1_000_000)
    says("One query at a time on one thread.", measured["threads"] == 1)
    graphs = rows[(rows["set"] == "enlarged") & (rows["index"] == "hnsw")]
    says(
        "In the enlarged set a graph was built for ... alone, because that takes long.",
        len(graphs[["label", "n_bits"]].drop_duplicates()) == 1 and graphs["build_seconds"].min() > 20,
    )


def test_indexes(rows):
    says(
        "flat compares a query with every code; it is exact.",
        (rows.query("index == 'flat'")["hamming_10"] == 1).all(),
    )
    milliseconds = rows.pivot_table(index="index", columns="candidates", values="search_ms")
    says(
        "The times are of searches that fetch 100 items; one that fetches more takes longer.",
        (milliseconds[500] > milliseconds[100]).all(),
    )
    enlarged = rows.query("set == 'enlarged' and n_bits == 64")
    size = (enlarged["index_bytes"] / enlarged["n"]).groupby(enlarged["index"]).mean()
    says(
        "IVF ... because it keeps the number of each item, HNSW ... because of its links.",
        abs(size["ivf"] - size["flat"] - 8) < 1 and size["hnsw"] > 5 * size["flat"],
    )


def test_labels_and_neighbours(measured, rows):
    codes = pd.DataFrame(measured["sets"]["real"]["codes"])
    alone = rows.query("set == 'real' and index == 'flat' and candidates == 100")
    by_labels, by_neighbours = (
        table.pivot_table(index="n_bits", columns="label", values=metric).idxmax(axis=1)
        for table, metric in ((codes, "map_expected"), (alone, "recall_10"))
    )
    says(
        "Labels may give another order.",
        (by_labels != by_neighbours).any(),
    )
