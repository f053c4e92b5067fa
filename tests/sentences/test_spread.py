import pytest

from sdclib import load_features
from sdclib.losses.calibration import parse_calibration
from sdclib.methods.presets import settings_from_preset
from study.chapters.contributions import contributions, with_targets
from study.chapters.pair_targets import cosine_maps, pair_targets
from study.stats import compared, count_signs
from study.tables import find
from tests.sentences.published import runs, says, states

TEXT, DATA = "spread", "cifar10-embedded"


@pytest.fixture(scope="module")
def results():
    return with_targets(runs("spread"))


def test_trainings(results):
    trained = results[results["target"].notna()]
    sdc = settings_from_preset("release", batch_size=256, learning_rate=4e-4)
    same = ["batch_size", "epochs", "learning_rate", "quantization_weight", "step_epoch", "weight_decay"]
    says(
        "Head, pairs, optimizer, epochs and quantization loss are the same for all five.",
        (trained[same] == [getattr(sdc, name) for name in same]).all(axis=None)
        and trained["target"].nunique() == 5,
    )
    says(
        "Batches of 256 with four times the learning rate of the authors' code.",
        sdc.learning_rate == 4 * settings_from_preset("release").learning_rate,
    )


def test_targets():
    targets = pair_targets(load_features(DATA), parse_calibration("beta(5, 5)"))
    upper, apart = (
        [100 * targets.upper_share(name) for name in ("standardised", "mapped")],
        [targets.separation(name) for name in ("standardised", "mapped")],
    )
    states(
        TEXT,
        f"Cosines have the mean {targets.cosine.mean():.2f} and the standard deviation "
        f"{targets.cosine.std():.2f}. Both maps "
        f"bring them to {targets.mapped.mean():z.2f} and {targets.mapped.std():.2f}. The linear map "
        f"leaves the shape alone: "
        f"the uppermost twentieth of the pairs holds {upper[0]:.0f} % of all squared deviations, against "
        f"{upper[1]:.0f} % "
        f"after the quantile map, and {100 * (targets.standardised[targets.positive] >= 1).mean():.0f} % "
        f"of the positive "
        "pairs are cut at 1. Many of the uppermost pairs are positive, so a bell brings positive pairs "
        "nearer to the others: "
        f"their mean lies {apart[0]:.2f} standard deviations above that of negative pairs after the "
        f"linear map, and "
        f"{apart[1]:.2f} after the quantile map.",
    )
    says(
        "The linear map leaves the shape alone: the uppermost twentieth of the pairs holds ... of all "
        "squared "
        "deviations, against ... after the quantile map.",
        targets.upper_share("standardised") > targets.upper_share("mapped") + 0.05,
    )
    says(
        "A bell brings positive pairs nearer to the others.",
        targets.separation("standardised") > targets.separation("mapped") + 0.05,
    )


@pytest.fixture(scope="module")
def less(results):
    """Differences of two trainings, each a target and what the features are."""

    def differences(first, second, metric="map_expected", **chosen):
        pair = [
            find(results, method="itq") if of == ("itq",) else find(results, target=of[0], features=of[1])
            for of in (first, second)
        ]
        rows = compared(results, [tuple(pair)], metric)
        return rows if not chosen else rows[rows["n_bits"] == chosen["n_bits"]]

    return differences


COSINE, ORDER, LINEAR, SDC = ((name, "raw") for name in ("cosine", "rank", "standardised", "calibrated"))


def span(rows, sign=1):
    """Least and largest mean, as a text."""
    low, high = sorted(sign * rows["mean"])[0], sorted(sign * rows["mean"])[-1]
    return f"{low:.1f} to {high:.1f}"


def signed(rows):
    return f"({rows['mean'].min():+.1f} to {rows['mean'].max():+.1f} points)"


def test_spread_or_distribution(results, less):
    whole, spread, rest = less(SDC, COSINE), less(LINEAR, COSINE), less(SDC, LINEAR)
    says(
        "SDC gains over the cosine as it is in three of four settings, and the linear map gains in the "
        "same three.",
        count_signs(whole) == (3, 0, 1) and ((whole["low"] > 0) == (spread["low"] > 0)).all(),
    )
    states(TEXT, f"SDC in place of the linear map costs {span(rest, -1)} points of expected mAP.")
    says("The linear map is enough.", count_signs(rest) == (0, 2, 2))
    ahead = {name: less(ORDER, of) for name, of in (("linear", LINEAR), ("sdc", SDC), ("cosine", COSINE))}
    says(
        "Learning the order alone cannot be told from the linear map, and is ahead of SDC in two of four "
        "settings.",
        [count_signs(ahead[name]) for name in ("linear", "sdc", "cosine")]
        == [(0, 0, 4), (2, 0, 2), (3, 0, 1)],
    )
    states(TEXT, f"Order alone, in place of the cosine as it is, gains {span(ahead['cosine'])} points,")
    states(TEXT, f"it changes expected mAP by no more than chance may {signed(ahead['linear'])}.")
    states(TEXT, f"In place of SDC it gains {span(ahead['sdc'])} points, beyond chance in two.")
    here = spread.set_index(["data", "n_bits"])["mean"]
    states(
        TEXT,
        f"gain {here[DATA, 64]:.1f} and {here[DATA, 16]:.1f} points on the embedded data at 64 and 16 bits, "
        f"{here['corel5k/efficientnet-lite0', 64]:.1f} on Corel-5k, and on Caltech-101 no more than "
        f"chance may "
        f"({here['caltech101/efficientnet-lite0', 64]:.1f}).",
    )
    says(
        "Mean and spread gain but on Caltech-101.",
        (spread["low"] > 0).tolist() == (spread["data"] != "caltech101/efficientnet-lite0").tolist(),
    )
    steps = {name: rows for name, rows in contributions(results).groupby("step")}
    shape, alignment = steps["shape"], steps["alignment in the batch"]
    states(TEXT, f"costs {span(shape, -1)} points, beyond chance in one of four settings.")
    states(TEXT, f"costs {span(alignment, -1)} points, beyond chance in none.")
    states(TEXT, f"cost {span(rest, -1)} points, beyond chance in two.")
    says(
        "Shape costs beyond chance in one, alignment in none.",
        (count_signs(shape), count_signs(alignment)) == ((0, 1, 3), (0, 0, 4)),
    )


def test_rivals_and_collapse(less):
    itq = {name: less(of, ("itq",)) for name, of in (("linear", LINEAR), ("sdc", SDC), ("order", ORDER))}
    states(
        TEXT,
        f"in its place the linear map gains in two of four settings and loses in one "
        f"{signed(itq['linear'])}, SDC gains in "
        f"two and loses in two {signed(itq['sdc'])}, and order alone gains in two and loses in one "
        f"{signed(itq['order'])}.",
    )
    says(
        "ITQ is the plain rival.",
        [count_signs(rows)[:2] for rows in itq.values()] == [(2, 1), (2, 2), (2, 1)],
    )
    lower, whole, rest = (
        less(*pair, "intersection") for pair in ((LINEAR, COSINE), (SDC, COSINE), (SDC, LINEAR))
    )
    states(
        TEXT,
        f"the linear map lowers the intersection in all four settings, by {span(lower, -1)} points, and "
        f"SDC by "
        f"{span(whole, -1)} points, beyond chance in three. SDC in place of the linear map raises it in "
        f"three of four "
        f"{signed(rest)}.",
    )
    says(
        "The linear map lowers the intersection in all four settings.",
        [count_signs(rows)[:2] for rows in (lower, whole, rest)] == [(0, 4), (0, 3), (3, 0)],
    )


def test_centring_and_whitening(results, less):
    long = {"n_bits": results["n_bits"].max()}
    linear, sdc = (
        less((target, "centred"), (target, "raw"), **long) for target in ("standardised", "calibrated")
    )
    after = less(("calibrated", "centred"), ("standardised", "centred"), **long)
    whitened = less(("standardised", "whitened"), LINEAR, **long)
    bias = less(("cosine", "centred"), SDC).iloc[0]
    states(
        TEXT,
        f"Centring changes expected mAP by no more than chance may with the linear map {signed(linear)} "
        f"and with SDC "
        f"{signed(sdc)}. After centring, SDC in place of the linear map costs {span(after, -1)} points, "
        f"beyond chance on all "
        f"three sets. Whitening costs {span(whitened, -1)} points with the linear map. Centring alone "
        f"does not stand in for "
        f"wide targets: the cosine of centred features as it is stays {-bias['mean']:.1f} points below "
        f"SDC of plain ones",
    )
    says(
        "Centring changes expected mAP by no more than chance may.",
        [count_signs(rows) for rows in (linear, sdc, after)] == [(0, 0, 3), (0, 0, 3), (0, 3, 0)]
        and bias["high"] < 0,
    )
    plain, centred, white = cosine_maps(load_features(DATA))["expected mAP@R (%)"]
    codes = whitened.set_index("data").loc[DATA]
    lost = plain - white
    states(
        TEXT,
        f"Whitening costs the float cosine of the embedded features {lost:.1f} points, and codes of the "
        f"linear map "
        f"{-codes['mean']:.1f}. Counted point for point, lost order of the similarities accounts for "
        f"{-100 * lost / codes['mean']:.0f} % of what the codes lose",
    )
    says("Most of their fall comes in the step from similarities to codes.", lost < -0.5 * codes["high"])
    assert centred > plain
