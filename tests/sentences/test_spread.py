import pytest
import torch

from sdclib import load_features
from sdclib.evaluation import evaluate_features
from sdclib.losses.calibration import parse_calibration
from sdclib.methods.presets import settings_from_preset
from sdclib.methods.sdc import MatchingHasher, whitening
from study.chapters.contributions import with_targets
from study.chapters.pair_targets import pair_targets
from study.stats import compared
from study.tables import find
from tests.sentences.published import runs, says

DATA = "cifar10-embedded"


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
    says(
        "Both maps bring them to 0.00 and 0.30.",
        abs(targets.standardised.std() - targets.mapped.std()) < 0.01
        and abs(targets.standardised.mean() - targets.mapped.mean()) < 0.01,
    )
    says(
        "The linear map leaves the shape alone: the uppermost twentieth of the pairs holds ... of all squared "
        "deviations, against ... after the quantile map.",
        targets.upper_share("standardised") > targets.upper_share("mapped") + 0.05,
    )
    says(
        "A bell brings positive pairs nearer to the others.",
        targets.separation("standardised") > targets.separation("mapped") + 0.05,
    )


def test_whitening(results):
    features = load_features(DATA)
    mean = features.train.mean(axis=0)
    matrix = whitening(torch.from_numpy(features.train), MatchingHasher().shrinkage).numpy().T
    query, database = features.query, features.database
    protocol = {"top_k": features.top_k, "denominator": features.denominator}
    plain, centred, whitened = (
        100 * evaluate_features(*both, features.relevant, **protocol)[0]["map_expected"]
        for both in (
            (query, database),
            (query - mean, database - mean),
            ((query - mean) @ matrix, (database - mean) @ matrix),
        )
    )
    linear_map = [find(results, target="standardised", features=seen) for seen in ("whitened", "raw")]
    codes = compared(results, [tuple(linear_map)]).set_index("data").loc[DATA]
    says("Whitening costs the float cosine ... points.", whitened + 2 < plain < centred)
    says(
        "Most of their fall comes in the step from similarities to codes.",
        plain - whitened < -0.5 * codes["high"],
    )
