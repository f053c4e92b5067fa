import pytest

from sdclib import load_features
from sdclib.losses.calibration import parse_calibration, target_quantiles
from study.chapters.contributions import seen_less_unseen, with_targets
from study.chapters.pair_targets import learns_from_labels, mean_targets, positive_share, training_share
from tests.sentences.published import runs, says


@pytest.fixture(scope="module")
def results():
    return with_targets(runs("supervised"))


def test_targets():
    beta = parse_calibration("beta(5, 5)")
    many = mean_targets(positive_share("caltech101/efficientnet-lite0"), beta)
    few = mean_targets(positive_share("cifar10-embedded", load_features("cifar10-embedded")), beta)
    says(
        "Few pairs get very high targets, and the negative ones have nearly the whole spread to themselves.",
        many[1] > few[1] + 0.1 and many[1] > 0.7 and abs(many[0]) < 0.05,
    )
    says(
        "Where classes are many, few pairs of a batch are positive.",
        128 * positive_share("caltech101/efficientnet-lite0") < 2,
    )
    positive, negative = (
        target_quantiles(parse_calibration(name), 10_000) for name in ("beta(18, 2)", "beta(20, 20)")
    )
    says(
        "Positive pairs get the quantiles of one with a mean far above 0, negative pairs those of a narrow one "
        "around 0.",
        positive.mean() > 0.7
        and abs(negative.mean()) < 0.01
        and negative.std() < 0.6 * target_quantiles(beta, 10_000).std(),
    )


def test_training_rows_in_the_database(results):
    lost = seen_less_unseen(results).groupby(["data", "config", "n_bits"])["map_expected"].mean()
    says(
        "Without training rows the database is smaller, which changes the figures of every method. Leaving the "
        "training rows out costs methods without labels ... points.",
        (lost > 0.005).all(),
    )
    whole = {
        name
        for name in results["data"].str.removesuffix("+unseen").unique()
        if name != "cifar10-embedded" and len(set(training_share(name))) == 1
    }
    says(
        "In Corel-5k the protocol trains on the whole database. An image there has several labels.",
        whole == {"corel5k/efficientnet-lite0"},
    )


def test_methods(results):
    without = results[~results["method"].map(learns_from_labels)]
    says(
        "Without labels there are ITQ, SDC, and the linear map.",
        set(without["method"]) == {"itq", "sdc", "matching"}
        and set(without["target"].dropna()) == {"calibrated", "standardised"},
    )
