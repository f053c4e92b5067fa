"""SDC by neighbours: the graph and the averages stated once more row by row, and what they do for the codes."""

import numpy as np
import pytest

from sdclib.methods import NeighbourSDCHasher, SDCHasher
from sdclib.methods.neighbours import neighbour_graph, smooth_over_neighbours
from tests.packaged import packaged_map

QUICK = {"n_bits": 12, "epochs": 3, "batch_size": 60}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 10))
    return (centres[rng.integers(0, 4, 240)] + 0.6 * rng.standard_normal((240, 10)) + 0.5).astype(np.float32)


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def weights_by_hand(X, n_neighbors):
    cosines = unit(X.astype(np.float64)) @ unit(X.astype(np.float64)).T
    weights = np.eye(len(X))
    for i in range(len(X)):
        others = [j for j in np.argsort(-cosines[i]) if j != i]
        for j in others[:n_neighbors]:
            weights[i, j] += 0.5
            weights[j, i] += 0.5
    return weights


class TestGraph:
    @pytest.mark.parametrize("n_neighbors", [1, 7])
    def test_weights_row_by_row(self, X, n_neighbors):
        weights = neighbour_graph(X, n_neighbors).toarray()
        np.testing.assert_array_equal(weights, weights_by_hand(X, n_neighbors))
        assert set(np.unique(weights)) == {0, 0.5, 1}

    def test_averages_row_by_row(self, X):
        weights = weights_by_hand(X, 5)
        degrees = weights.sum(axis=1)
        smooth = unit(X.astype(np.float64))
        for _ in range(3):
            smooth = np.array(
                [
                    sum(
                        weights[i, j] / np.sqrt(degrees[i] * degrees[j]) * smooth[j]
                        for j in np.flatnonzero(weights[i])
                    )
                    for i in range(len(X))
                ]
            )
        # three products in float32, each a sum of about ten terms below 1
        np.testing.assert_allclose(smooth_over_neighbours(X, 5, 3), smooth - smooth.mean(axis=0), atol=1e-5)

    def test_no_step_leaves_unit_features(self, X):
        np.testing.assert_allclose(smooth_over_neighbours(X, 5, 0), unit(X), atol=1e-6)

    def test_equal_rows_are_each_others_neighbours(self):
        X = np.repeat(np.eye(3, dtype=np.float32), 20, axis=0)
        weights = neighbour_graph(X, 4).toarray()
        group = np.arange(60) // 20
        assert not weights[group[:, None] != group].any()
        np.testing.assert_array_equal(np.diag(weights), 1)
        assert weights.sum() == 60 + 60 * 4

    def test_what_cannot_be_a_graph(self, X):
        with pytest.raises(ValueError, match=r"X: expected more than n_neighbors = 10 rows, got 10 sample"):
            neighbour_graph(X[:10], 10)
        with pytest.raises(ValueError, match="n_neighbors: expected"):
            neighbour_graph(X, 0)
        with pytest.raises(ValueError, match="n_steps: expected"):
            smooth_over_neighbours(X, 5, -1)
        with pytest.raises(ValueError, match="X: expected finite values"):
            neighbour_graph(np.full((20, 3), np.nan), 2)


class TestHasher:
    def test_without_steps_it_is_centred_sdc(self, X):
        same = {"learning_rate": 4e-4, "random_state": 5, "step_epoch": 2, **QUICK}
        sdc = SDCHasher(preset="release", center=True, **same).fit(X)
        without = NeighbourSDCHasher(n_steps=0, **same).fit(X)
        np.testing.assert_allclose(without.decision_function(X), sdc.decision_function(X), atol=1e-4)

    def test_the_teacher_orders_pairs_that_features_do_not(self):
        """Two rings of rows: neighbours along a ring are alike, its far side is not, by the features alone."""
        rng = np.random.default_rng(3)
        angle = rng.uniform(0, 2 * np.pi, 400)
        ring = np.arange(400) % 2
        X = np.zeros((400, 4), dtype=np.float32)
        for which in (0, 1):
            rows = ring == which
            X[rows, 2 * which] = np.cos(angle[rows])
            X[rows, 2 * which + 1] = np.sin(angle[rows])
        X += 0.05 * rng.standard_normal(X.shape).astype(np.float32)
        settings = {
            "n_bits": 16,
            "epochs": 30,
            "batch_size": 100,
            "n_neighbors": 5,
            "calibration": "beta(2, 2)",
        }

        def crossing(n_steps):
            codes = NeighbourSDCHasher(n_steps=n_steps, **settings).fit(X).transform(X)
            distances = (codes[:, None] != codes).sum(axis=2) + 100 * np.eye(400)
            nearest = np.argsort(distances, axis=1, kind="stable")[:, :20]
            return (ring[nearest] != ring[:, None]).mean()

        assert crossing(8) < 0.5

    def test_ranks_the_packaged_data_better_than_sdc(self):
        settings = {"n_bits": 64, "epochs": 20, "step_epoch": 16, "learning_rate": 4e-4, "batch_size": 256}
        plain = packaged_map(SDCHasher(preset="release", center=True, **settings))
        assert packaged_map(NeighbourSDCHasher(**settings)) > plain + 0.03  # by 0.07

    def test_trains_for_500_batches_or_as_long_as_it_is_told(self, X):
        few = NeighbourSDCHasher(n_bits=12, batch_size=60).fit(X).history_  # 4 batches an epoch
        assert len(few) == 125
        rates = few["learning_rate"]
        assert (rates[:100] == rates[0]).all()
        np.testing.assert_allclose(rates[100:], rates[0] / 10)
        assert (
            len(NeighbourSDCHasher(n_bits=12, batch_size=70).fit(X).history_) == 167
        )  # the last batch is dropped
        told = NeighbourSDCHasher(n_bits=12, batch_size=60, epochs=5, step_epoch=3).fit(X).history_
        np.testing.assert_allclose(told["learning_rate"], [8e-4] * 3 + [8e-5] * 2)

    def test_settings_that_cannot_be(self, X):
        for name, value in {
            "n_neighbors": 0,
            "n_steps": -1,
            "batch_size": 1,
            "epochs": 0,
            "step_epoch": 0,
            "quantization_weight": -1,
        }.items():
            with pytest.raises(ValueError, match=f"{name}: expected"):
                NeighbourSDCHasher(**{**QUICK, name: value}).fit(X)
        with pytest.raises(ValueError, match="calibration"):
            NeighbourSDCHasher(**{**QUICK, "calibration": "gamma(1)"}).fit(X)
        with pytest.raises(ValueError, match="n_neighbors = 300"):
            NeighbourSDCHasher(**QUICK, n_neighbors=300).fit(X)
