import numpy as np
import torch
from scipy import stats

from sdclib import SDCHasher, load_features
from sdclib.losses import pair_similarities
from sdclib.losses.calibration import Beta, target_quantiles
from tests.sentences.published import says, states

FEATURES = load_features("cifar10-embedded")


def test_pairs():
    rows = np.random.default_rng(0).choice(len(FEATURES.train), 24, replace=False)
    says(
        "Their features say how alike the two images of a pair are, ... and all of them are well above zero: the bias.",
        pair_similarities(torch.from_numpy(FEATURES.train[rows])).min() > 0.2,
    )


def test_training():
    rows = FEATURES.train[np.random.default_rng(0).permutation(len(FEATURES.train))]
    targets = target_quantiles(Beta(5, 5), len(rows) // 2)
    spread, distance = {}, {}
    for epochs, rate in ((1, 0.0), (10, 1e-4)):
        hasher = SDCHasher(64, preset="release", epochs=epochs, learning_rate=rate, random_state=0)
        codes = torch.from_numpy(hasher.fit(FEATURES.train).decision_function(rows))
        similarities = pair_similarities(codes).numpy()
        spread[epochs] = similarities.std()
        distance[epochs] = stats.wasserstein_distance(similarities, targets)
    says(
        "The similarities of the codes spread out towards the distribution they were given.",
        1.15 * spread[1] < spread[10] and distance[10] < 0.85 * distance[1],
    )
    says("They need not reach it", spread[10] < 0.95 * targets.std())
    states("sdc_step_by_step", f"that of the distribution, whose standard deviation is {targets.std():.2f},")
