from sdclib.methods import make_hasher
from study.provenance import RESULTS
from study.tables import where
from tests.sentences.published import csv, runs, says


def test_settings():
    def has(method, **settings):
        return settings.items() <= make_hasher(method, 64).get_params().items()

    says("GreedyHash: 60 epochs at every length", has("greedyhash", epochs=60))
    says(
        "SSDH: 60 epochs; CIBHash: 60 epochs at every length",
        has("ssdh", epochs=60) and has("cibhash", epochs=60),
    )
    says("TBH: at a learning rate of 1e-3", has("tbh", learning_rate=1e-3))
    says("NSH: temperature 0.1", has("nsh", temperature=0.1))
    says(
        "OrthoHash: authors' settings (scale 8, margin 0.2, fair coins, Adam 1e-4, decay 5e-4, batch 256)",
        has("orthohash", scale=8, margin=0.2, learning_rate=1e-4, weight_decay=5e-4, batch_size=256),
    )


def test_tables():
    tables = (csv(path.stem) for path in RESULTS.glob("*.csv"))
    says("WCH ... has no row in the tables", all("wch" not in set(rows.get("method", ())) for rows in tables))
    bihalf = where(runs("cifar10_rivals"), method="bihalf", n_bits=64)
    by_rate = 100 * bihalf.groupby("learning_rate")["map_expected"].mean()
    says(
        "BiHalf: plain SGD depends on the features' scale as with GreedyHash, and the tuned rate ranks far better.",
        by_rate[0.01] > by_rate[1e-4] + 4,
    )
