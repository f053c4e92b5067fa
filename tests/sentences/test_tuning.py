import json

from sdclib.methods import make_hasher
from tests.sentences.published import runs, says


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
