import numpy as np

from sdclib import load_features
from tests.sentences.published import says


def test_signs():
    negative = (load_features("cifar10-embedded").database < 0).mean(axis=0)
    says(
        "Signs of the packaged features are those of components of a singular value decomposition, about half of whose "
        "values are negative (but for the first).",
        np.abs(negative[1:] - 0.5).max() < 0.1 < 0.4 < abs(negative[0] - 0.5),
    )
