import json

import numpy as np

from sdclib import load_features
from sdclib.methods import GOALS, make_hasher
from study.provenance import RESULTS
from study.tables import read_results, where
from tests.sentences.published import runs, says, states


def test_rivals():
    table = runs("tuning")
    means = 100 * table.pivot_table(index="method", columns="learning_rate", values="map_expected")
    short = {
        method: row.max() - row[make_hasher(method, 64).get_params()["learning_rate"]]
        for method, row in means.iterrows()
    }
    says(
        "Two rivals use it, and at their authors' rate both fall short here of what a larger one gives, GreedyHash "
        "the farther.",
        len(short) == 2
        and means.idxmax(axis=1).min() > 1e-4
        and short["greedyhash"] > short["bihalf"] + 3
        and short["bihalf"] > 3,
    )
    says(
        "1,000 of CIFAR-10's 59,000 images become 76 of the 4,500 training images that are left to rank.",
        set(table["top_k"]) == {76} == {round(1000 / 59_000 * 4500)},
    )


def test_neighbours():
    usual = make_hasher("neighbour-sdc", 64).get_params()
    changed = [
        {name: value for name, value in json.loads(text).items() if value != usual[name]}
        for text in runs("tuning_neighbours")["parameters"]
    ]
    says(
        "Below one of these is changed: the number of steps, the rate, or the length of training, which SDC's preset "
        "`release` puts at 100 epochs, here at half the rate.",
        all(
            len(given) < 2 or given == {"epochs": 100, "learning_rate": usual["learning_rate"] / 2}
            for given in changed
        )
        and {name for given in changed for name in given} == {"n_steps", "learning_rate", "epochs"},
    )


def test_rivals_that_hardly_learn():
    table = runs("rivals_learning")
    nsh, tbh = (where(table, method=method) for method in ("nsh", "tbh"))
    cifar10 = runs("cifar10_closed", "cifar10_slow").pivot_table(
        index="method", columns="n_bits", values="map_expected"
    )
    says(
        "NSH and TBH rank worse than ITQ on CIFAR-10 at every code length.",
        all((cifar10.loc[method] < cifar10.loc["itq"]).all() for method in ("nsh", "tbh")),
    )
    with_term, without = (where(nsh, quantization_weight=weight) for weight in (1.0, 0.0))
    says(
        "Few different codes are left. Without the term, NSH learns.",
        with_term["unique_code_ratio"].max() < 0.1 < 0.95 < without["unique_code_ratio"].min()
        and without["map_expected"].min() > with_term["map_expected"].max() + 0.1,
    )
    features = load_features("cifar10-embedded").train
    weights = np.random.default_rng(0).standard_normal((features.shape[1], 1000))
    share = (features @ weights >= 0).mean(axis=0)
    says(
        "Features share a direction, so most bits lean to one side before any training.",
        (features @ features.mean(axis=0)).min() > 0 and np.median(np.abs(share - 0.5)) > 0.15,
    )
    usual = make_hasher(
        "nsh", 64, form="sdc", hidden_features=0, temperature=0.3, weight_decay=1e-5
    ).get_params()
    given = [json.loads(text) for text in nsh["parameters"]]
    says(
        "All else is as the SDC authors configure it, but for a rate of 1e-3 and 20 epochs instead of 1e-5 and 200.",
        all(
            {name: value for name, value in of.items() if value != usual[name]}
            in (
                {"learning_rate": 1e-3, "epochs": 20},
                {"learning_rate": 1e-3, "epochs": 20, "quantization_weight": 0.0},
            )
            for of in given
        )
        and (usual["learning_rate"], usual["epochs"], usual["quantization_weight"]) == (1e-5, 200, 1.0),
    )
    short, long = (where(tbh, epochs=epochs) for epochs in (100, 300))
    says(
        "TBH: three times the steps give far better codes; 1,200 steps in the tables; narrower layers here.",
        long["map_expected"].min() > short["map_expected"].max() + 0.1
        and 5000 // 400 * 100 == 1200
        and set(where(runs("cifar10_slow"), method="tbh")["hidden_features"]) == {1024}
        and tbh["hidden_features"].max() < 1024,
    )
    gains = [
        100 * (after["map_expected"].mean() - before["map_expected"].mean())
        for before, after in ((short, long), (with_term, without))
    ]
    says("Table of deviations: 17 and 23 points.", list(map(round, gains)) == [17, 23])


def test_goals():
    classes, near = runs("goal_tuning"), read_results(RESULTS / "goal_tuning_neighbours.csv")
    name = ["method", "target", "match_by"]
    means = [
        100 * table.fillna({"target": "", "match_by": ""}).pivot_table(
            index=name, columns=["data", "n_bits"], values=values
        ).mean(axis=1)
        for table, values in ((classes, "map_expected"), (near, "recall_10"))
    ]  # fmt: skip
    best, found = means
    for goal, table in zip(GOALS, means, strict=True):
        method, target, match_by = table.idxmax()
        parameters = {"target": target, "match_by": match_by} if target or match_by else {}
        says(f"{goal}: the best by the rule is what a goal takes", GOALS[goal] == (method, parameters))
    own, pca = ("neighbour-sdc", "", ""), ("pcah", "", "")
    linear, cosine = (("neighbour-sdc", target, "regression") for target in ("linear", "similarities"))
    states(
        "tuning",
        f"For classes SDC by neighbours is best ({best[own]:.1f} %); with a linear map in place of the calibration "
        f"distribution it has {best[linear]:.1f} %, and with the cosine as it is {best[cosine]:.1f} %, so that",
    )
    states(
        "tuning",
        f"For neighbours ITQ is best ({found['itq', '', '']:.1f} %), ahead of plain principal components "
        f"({found[pca]:.1f} %);",
    )
    with_teacher = [key for key in found.index if key[0].startswith("neighbour")]
    says("every method with a teacher is behind both", found[with_teacher].max() < found[pca])
