import pytest

from sdclib import load_features
from sdclib.losses.calibration import parse_calibration
from sdclib.methods.presets import settings_from_preset
from study.chapters.contributions import contributions, with_targets
from study.chapters.pair_targets import pair_targets
from study.stats import compared
from study.tables import find
from tests.sentences.published import count_signs, runs, says, states

TEXT, DATA = "spread", "cifar10-embedded"
COSINE, ORDER, LINEAR, SDC = ((name, "raw") for name in ("cosine", "rank", "standardised", "calibrated"))


@pytest.fixture(scope="module")
def results():
    return with_targets(runs("spread"))


@pytest.fixture(scope="module")
def less(results):
    """Differences of two trainings, each a target and what the features are, or of one and ITQ."""

    def differences(first, second, metric="map_expected", n_bits=None):
        second = (
            {"method": "itq"} if second == "itq" else dict(zip(("target", "features"), second, strict=True))
        )
        pair = find(results, target=first[0], features=first[1]), find(results, **second)
        rows = compared(results, [pair], metric)
        return rows if n_bits is None else rows[rows["n_bits"] == n_bits]

    return differences


def span(rows, sign=1):
    """Least and largest mean, as a text."""
    low, *_, high = sorted(sign * rows["mean"])
    return f"{low:.1f} to {high:.1f}"


def test_trainings(results):
    trained = results[results["target"].notna()]
    sdc = settings_from_preset("release", batch_size=256, learning_rate=4e-4)
    same = ["batch_size", "epochs", "learning_rate", "quantization_weight", "step_epoch", "weight_decay"]
    says(
        "Head, pairs, optimizer, epochs and quantization loss are the same for all five.",
        (trained[same] == [getattr(sdc, name) for name in same]).all(axis=None)
        and trained["target"].nunique() == 5
        and sdc.learning_rate == 4 * settings_from_preset("release").learning_rate,
    )


def test_targets():
    targets = pair_targets(load_features(DATA), parse_calibration("beta(5, 5)"))
    linear, quantile = (targets.separation(name) for name in ("standardised", "mapped"))
    states(
        TEXT,
        f"Cosines have the mean {targets.cosine.mean():.2f} and the standard deviation {targets.cosine.std():.2f}. "
        f"Both maps bring them to {targets.mapped.mean():z.2f} and {targets.mapped.std():.2f}.",
    )
    states(
        TEXT,
        f"are {linear:.2f} standard deviations apart after the linear map, and {quantile:.2f} after the quantile map.",
    )


def test_answer(less):
    whole, spread, rest = less(SDC, COSINE), less(LINEAR, COSINE), less(SDC, LINEAR)
    says(
        "SDC is better than the cosine as it is in three of four settings, and so is a linear map of the cosine",
        count_signs(whole) == count_signs(spread) == (3, 0, 1),
    )
    states(TEXT, f"which is {span(rest, -1)} points of expected mAP better than SDC.")
    order = [less(ORDER, of) for of in (LINEAR, SDC, COSINE)]
    says(
        "Learning the order alone, with no target at all, cannot be told from the linear map, and is ahead of "
        "SDC in two of four settings.",
        [count_signs(rows) for rows in order] == [(0, 0, 4), (2, 0, 2), (3, 0, 1)],
    )
    states(
        TEXT,
        f"Order alone is {span(order[2])} points better than the cosine as it is, beyond chance in three",
    )
    states(TEXT, f"and {span(order[1])} better than SDC, beyond chance in two.")


def test_steps(results, less):
    spread = less(LINEAR, COSINE).set_index(["data", "n_bits"])
    here = spread["mean"]
    states(
        TEXT,
        f"gain {here[DATA, 64]:.1f} and {here[DATA, 16]:.1f} points on the packaged features at 64 and 16 bits, "
        f"{here['corel5k/efficientnet-lite0', 64]:.1f} on Corel-5k and "
        f"{here['caltech101/efficientnet-lite0', 64]:.1f} on Caltech-101, which may be chance.",
    )
    says(
        "on Caltech-101, which may be chance.",
        set(spread.index[spread["low"] < 0]) == {("caltech101/efficientnet-lite0", 64)},
    )
    steps = dict(list(contributions(results).groupby("step")))
    shape, alignment = steps["shape"], steps["alignment in the batch"]
    states(TEXT, f"costs {span(shape, -1)} points, beyond chance in one of four settings.")
    states(TEXT, f"costs {span(alignment, -1)} points, beyond chance in none.")
    says(
        "**Shape** costs ... beyond chance in one of four settings. - **Alignment in the batch** costs ... "
        "beyond chance in none.",
        (count_signs(shape), count_signs(alignment)) == ((0, 1, 3), (0, 0, 4)),
    )


def test_rivals_and_collapse(less):
    says(
        "The linear map is better than ITQ in two of four settings and worse in one, SDC better in two and worse "
        "in two.",
        [count_signs(less(of, "itq"))[:2] for of in (LINEAR, SDC)] == [(2, 1), (2, 2)],
    )
    lower, whole = (less(of, COSINE, "intersection") for of in (LINEAR, SDC))
    says(
        "The linear map lowers the intersection of positive and negative pairs in all four settings",
        count_signs(lower) == (0, 4, 0),
    )
    states(TEXT, f"in all four settings, by {span(lower, -1)} points; SDC lowers it by {span(whole, -1)}.")


def test_centring_and_whitening(results, less):
    long = results["n_bits"].max()
    centred = [less((name, "centred"), (name, "raw"), n_bits=long) for name in ("standardised", "calibrated")]
    after = less(("calibrated", "centred"), ("standardised", "centred"), n_bits=long)
    says(
        "Centring changes nothing that can be told from chance, with the linear map or with SDC. ... beyond "
        "chance on all three sets.",
        [count_signs(rows) for rows in (*centred, after)] == [(0, 0, 3), (0, 0, 3), (0, 3, 0)],
    )
    whitened = less(("standardised", "whitened"), LINEAR, n_bits=long)
    states(
        TEXT, f"SDC is {span(after, -1)} points worse than the linear map, beyond chance on all three sets."
    )
    states(TEXT, f"Whitening costs {span(whitened, -1)} points with the linear map.")
    bias = less(("cosine", "centred"), SDC).iloc[0]
    says("Centring cannot replace wide targets", bias["high"] < 0)
    states(TEXT, f"stays {-bias['mean']:.1f} points below SDC of plain ones")


def test_all_of_cifar10():
    full = with_targets(runs("ablation"))
    pair = find(full, method="matching"), find(full, method="sdc", preset="release")
    ranks, collapse = (compared(full, [pair], metric) for metric in ("map_expected", "intersection"))
    states(TEXT, f"The linear map is {span(ranks)} points better than SDC, beyond chance at 32 bits alone,")
    states(TEXT, f"the intersection is {span(collapse, -1)} points smaller.")
    says(
        "beyond chance at 32 bits alone, and its codes collapse less at every length",
        ranks["n_bits"][ranks["low"] > 0].tolist() == [32]
        and ranks["mean"].min() > 0
        and count_signs(collapse) == (0, 4, 0),
    )
