from sdclib import load_features
from study.stats import summarise
from study.tables import find, where
from tests.sentences.published import runs, says, states

TEXT, DATA = "similarity_collapse", "cifar10-embedded"


def test_bias_of_features():
    plain, centred = (
        where(runs("main", "datasets"), method="cosine", center=center).set_index("data")
        for center in (False, True)
    )
    packaged = "cifar10-embedded"
    says(
        "Even unlike images have a cosine well above zero: the bias that the paper starts from",
        plain["negative_mean"].min() > 0.2,
    )
    says(
        "Values of the packaged features take either sign ({doc}`protocol`), but their cosines keep the bias.",
        0.25 < (load_features("cifar10-embedded").train < 0).mean() < 0.75
        and plain.loc[packaged, "negative_mean"] > 0.2,
    )
    says("Subtracting the training mean takes it away.", centred["all_mean"].abs().max() < 0.01)
    reached, less = (100 * features.loc[packaged, "map_expected"] for features in (plain, centred))
    states(TEXT, f"the float features reach {reached:.1f} %, and {less:.1f} % when centred.")


def test_sign_of_features():
    packaged, own = (
        100 * where(runs(name), method="sign", center=False)["map_expected"]
        for name in ("main", "cifar10_closed")
    )
    says(
        "*Sign of features* ranks far better on the packaged ones, and nothing follows from that for other "
        "vectors.",
        packaged.min() > own.max() + 20,
    )
    negative = 100 * (load_features(DATA).train[:, :64] < 0).mean()
    states(TEXT, f"with {negative:.0f} % of their values below 0.")
    assert own.max() - own.min() < 0.05
    states(
        TEXT,
        f"On CIFAR-10's own features, which come out of a ReLU, it has {own.mean():.1f} % at 16 to 128 bits.",
    )


def test_other_methods_collapse_less():
    full = where(runs("cifar10_sdc", "cifar10_rivals", "cifar10_slow"), n_bits=64)
    means = full.groupby("config")["intersection"].mean()
    less = means[means < means[find(full, preset="paper-no-contrastive")]]
    says(
        "on all of CIFAR-10 BiHalf, TBH and GreedyHash collapse less",
        {config.method for config in less.index} == {"bihalf", "tbh", "greedyhash"},
    )
    here = where(runs("main"), n_bits=64).groupby("config")["intersection"].mean()
    assert here.idxmin() == find(runs("main"), method="sdc", preset="paper-no-contrastive")
    assert len(here) == 6
    states(
        TEXT,
        f"of these six hashes, at 64 bits, SDC with the preset `paper-no-contrastive` collapses least "
        f"(intersection {100 * here.min():.1f} %) and {here.idxmax()} most ({100 * here.max():.1f} %).",
    )
    ranks = where(summarise(runs("main")), n_bits=64).set_index("config")
    assert ranks["map_expected"].idxmax() == here.idxmin()
    assert ranks["seeds"][here.idxmin()] == 1
    states(TEXT, f"with an expected mAP of {ranks['map_expected'].max():.1f} %, one seed;")
    others = where(summarise(runs("imbalanced")), data=f"{DATA}+longtail-1", n_bits=64).set_index("config")
    assert others["map_expected"].idxmax().method == "bihalf"
    states(
        TEXT,
        f"BiHalf with a tuned learning rate has {others['map_expected'].max():.1f} % on the same data and "
        f"bits",
    )
