"""SDC: its presets, its training and its sockets, each stated once more, and what they do for codes."""

import itertools
import json

import numpy as np
import pytest
import torch
from scipy import stats

from sdclib.losses.calibration import Beta
from sdclib.methods import (
    GOALS,
    MatchingHasher,
    NeighbourSDCHasher,
    SDCHasher,
    SupervisedSDCHasher,
    hasher_for,
    make_hasher,
    trained,
)
from sdclib.methods.neighbours import neighbour_graph, smooth_over_neighbours
from sdclib.methods.presets import PRESETS, SDCSettings, preset_table, settings_from_preset
from sdclib.methods.sdc import MATCHES, linear_map, quantile_map, similarity_moments, whitening
from study.runs import RunSpec
from tests.packaged import packaged_map
from tests.reference import cosine, unit

QUICK = {"n_bits": 12, "epochs": 3, "batch_size": 60}
VIEWS = {"contrastive_weight": 1, "view_pairs": True}
LINE = {"target": "linear", "match_by": "regression"}
SAME = {"preset": "release", "learning_rate": 4e-4, **QUICK}


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(4).integers(0, 4, 240)


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((4, 10))
    return (centres[rng.integers(0, 4, 240)] + 0.6 * rng.standard_normal((240, 10)) + 0.5).astype(np.float32)


def test_diverged_training_is_named(X):
    with pytest.raises(ValueError, match="training diverged, loss is nan in epoch 1"):
        SDCHasher(n_bits=8, preset="release", epochs=2, learning_rate=1e30).fit(X)


SUPPLEMENT = {  # settings for category sets, and without a contrastive term
    "calibration": "beta(5, 5)",
    "hidden_features": 4096,
    "n_hidden_layers": 1,
    "learning_rate": 1e-4,
    "weight_decay": 5e-4,
    "batch_size": 64,
    "epochs": 100,
    "step_epoch": 80,
    "quantization_weight": 1,
    "contrastive_weight": 0,
    "temperature": 0.3,
    "clip_targets": False,
    "view_pairs": False,
    "joint_views": False,
}
RELEASE = {"hidden_features": None, "weight_decay": 1e-5}  # of the authors' code
PRESETS_DIFFER = {
    "paper": {"contrastive_weight": 1, "contrast": "image"},
    "paper-no-contrastive": {},
    "paper-instance": {
        **{"n_hidden_layers": 0, "batch_size": 256, "epochs": 20, "step_epoch": 10},
        "quantization_weight": 0.01,
    },
    "release": RELEASE,
    "release-simclr": RELEASE
    | {"contrastive_weight": 1, "clip_targets": True, "view_pairs": True, "joint_views": True},
}


def test_presets_have_the_values_of_the_supplement_and_of_the_authors_code():
    assert {name: SDCSettings(**SUPPLEMENT | own) for name, own in PRESETS_DIFFER.items()} == PRESETS


def test_the_table_of_presets_says_where_they_differ():
    table = preset_table()
    assert set(table.index[table["paper-no-contrastive"] != table["release"]]) == set(RELEASE)
    assert table.loc["hidden_features", "release"] == "d"
    assert not table.loc["temperature", "differs"]


@pytest.mark.parametrize(
    ("old", "new"), [("paper-contrastive", "paper"), ("release-contrastive", "release-simclr")]
)
def test_old_names_say_what_they_became(old, new):
    with pytest.warns(FutureWarning, match=f"preset: '{old}' is now '{new}'"):
        assert settings_from_preset(old, epochs=3) == settings_from_preset(new, epochs=3)


def test_a_preset_that_needs_views_says_which_do_not(X):
    with pytest.raises(
        ValueError, match=r"views: sdc .*; the presets paper-no-contrastive, .*release need none"
    ):
        SDCHasher(8, preset="paper").fit(X)


def test_saved_models_keep_their_settings(X, tmp_path):
    plain = {"batch_size": 64, "epochs": 1, "hidden_features": 8}
    views = np.stack([X, X + np.float32(0.1)])
    for old, now, more in (
        ("paper", "paper-no-contrastive", {}),
        ("paper-contrastive", "paper-no-contrastive", {"contrastive_weight": 1.0}),
        (
            "release-contrastive",
            "release",
            {"contrastive_weight": 1.0, "clip_targets": True, "view_pairs": True},
        ),
    ):
        SDCHasher(8, preset=now, **plain, **more).fit(X, views=views).save(tmp_path)
        path = tmp_path / "hasher.json"
        description = json.loads(path.read_text())
        assert description["format_version"] == 2
        parameters = description["parameters"] | {"preset": old} | dict.fromkeys(more)
        path.write_text(json.dumps(description | {"format_version": 1, "parameters": parameters}))
        loaded = SDCHasher.load(tmp_path)
        assert loaded.settings == settings_from_preset(now, **plain, **more)


def test_a_preset_and_what_replaces_its_values():
    settings = settings_from_preset("release", epochs=3, batch_size=None)
    assert (settings.epochs, settings.batch_size) == (3, 64)
    with pytest.raises(ValueError, match=r"preset: expected one of paper, .*release-simclr, got 'magic'"):
        settings_from_preset("magic")


def test_best_is_now_the_goal_of_classes():
    with pytest.warns(FutureWarning, match=r"preset: 'best' is now hasher_for\('classes', n_bits\)"):
        hasher = make_hasher("sdc", 16, seed=3, preset="best", epochs=5)
    assert hasher.get_params() == hasher_for("classes", 16, seed=3, epochs=5).get_params()
    assert isinstance(hasher, NeighbourSDCHasher)
    with pytest.raises(ValueError, match=r"preset: .*got 'best', which is now sdclib.methods.hasher_for"):
        _ = SDCHasher(preset="best").settings


def test_goals_are_methods_with_settings():
    for goal, (method, parameters) in GOALS.items():
        hasher = hasher_for(goal, 12, seed=4)
        assert hasher.method == method
        assert hasher.get_params() == make_hasher(method, 12, seed=4, **parameters).get_params()
    with pytest.raises(ValueError, match="goal: expected one of classes, neighbours, got 'magic'"):
        hasher_for("magic", 12)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_run_of_best_is_a_run_of_the_method():
    named = RunSpec("cifar10-embedded", "sdc", 16, 1, {"preset": "best", "epochs": 5})
    assert named == RunSpec("cifar10-embedded", "neighbour-sdc", 16, 1, {"epochs": 5})
    assert named.id != RunSpec("cifar10-embedded", "sdc", 16, 1, {"epochs": 5}).id


def all_cosines(X):
    return np.array([cosine(x, y) for x, y in itertools.combinations(X.astype(np.float64), 2)])


class TestTargets:
    def test_moments_are_those_of_all_pairs(self, X):
        cosines = all_cosines(X[:50])
        assert similarity_moments(torch.from_numpy(X[:50])) == pytest.approx((cosines.mean(), cosines.std()))
        with pytest.raises(ValueError, match="X: expected at least two rows to make a pair, got 1"):
            similarity_moments(torch.from_numpy(X[:1]))

    def test_standardised_is_linear_with_the_moments_of_the_calibration(self, X):
        cosines = all_cosines(X)
        targets = linear_map(torch.from_numpy(X), Beta(2, 1))(torch.tensor(cosines)).numpy()
        wanted = stats.beta(2, 1, loc=-1, scale=2)
        expected = (cosines - cosines.mean()) / cosines.std() * wanted.std() + wanted.mean()
        np.testing.assert_allclose(targets, expected.clip(-1, 1), atol=1e-4)
        assert (np.abs(expected) > 1).any(), "the cut is to be seen"

    def test_mapped_gives_training_pairs_the_calibration_distribution(self, X):
        cosines = all_cosines(X)
        targets = quantile_map(torch.from_numpy(X), Beta(5, 5))(torch.tensor(cosines)).numpy()
        distance = stats.kstest(targets, stats.beta(5, 5, loc=-1, scale=2).cdf).statistic
        assert distance < 0.005
        order = np.argsort(cosines)
        assert (np.diff(targets[order]) >= 0).all()
        ends = quantile_map(torch.from_numpy(X), Beta(5, 5))(torch.tensor([-1.0, 1.0])).numpy()
        expected = stats.beta(5, 5, loc=-1, scale=2).ppf([0.0005, 0.9995])
        np.testing.assert_allclose(ends, expected, atol=1e-5)


class TestFeatures:
    def test_whitening_has_equal_variances_but_for_shrinkage(self, X):
        centred = (X - X.mean(axis=0)).astype(np.float64)
        size = np.square(centred).sum(axis=1).mean()
        for shrinkage in (1e-6, 0.3, 1.0):
            M = whitening(torch.from_numpy(X).double(), shrinkage).numpy()
            variances = np.sort(np.linalg.eigvalsh(np.cov(centred @ M.T, rowvar=False, bias=True)))
            assert variances.sum() == pytest.approx(size)
            before = np.linalg.eigvalsh(np.cov(centred, rowvar=False, bias=True))
            shrunk = before / ((1 - shrinkage) * before + shrinkage * before.mean())
            np.testing.assert_allclose(variances, np.sort(shrunk) * size / shrunk.sum(), rtol=1e-4)
        np.testing.assert_allclose(M @ M.T, np.eye(10), atol=1e-6)  # at 1 a rotation

    @pytest.mark.parametrize("features", ["centred", "whitened"])
    def test_transformed_features_are_absorbed(self, X, features, monkeypatch):
        monkeypatch.setattr(trained, "training_scale", lambda lengths: 1.0)  # centred features are shorter
        settings = {**QUICK, "target": "standardised", "random_state": 2}
        hasher = MatchingHasher(features=features, **settings).fit(X)
        Z = X - X.mean(axis=0)
        if features == "whitened":
            Z = Z @ whitening(torch.from_numpy(X), 0.5).numpy().T
        by_hand = MatchingHasher(**settings).fit(Z)
        # float32 inputs differ by 1e-7, which Adam's steps along the signs of small gradients amplify to 1e-3
        np.testing.assert_allclose(hasher.decision_function(X), by_hand.decision_function(Z), atol=1e-2)

    def test_rows_that_do_not_differ(self):
        with pytest.raises(ValueError, match="X: expected rows that differ"):
            MatchingHasher(features="whitened", **QUICK).fit(np.ones((80, 4)))
        with pytest.raises(ValueError, match="X: expected pairs of different cosines"):
            MatchingHasher(target="standardised", **QUICK).fit(np.ones((80, 4)))


class TestSockets:
    """What has a name of its own is one class with other settings, to the last bit."""

    @pytest.mark.parametrize(
        ("named", "settings"),
        [
            (MatchingHasher(target="calibrated"), {}),
            (MatchingHasher(target="calibrated", features="centred"), {"center": True}),
            (MatchingHasher(target="cosine"), {"target": "similarities", "match_by": "regression"}),
            (MatchingHasher(target="standardised"), LINE),
            (MatchingHasher(target="mapped"), {"match_by": "regression"}),
            (MatchingHasher(target="rank"), {"match_by": "rank"}),
            (
                MatchingHasher(features="whitened"),
                {"whiten": True, "target": "similarities", "match_by": "regression"},
            ),
            (
                NeighbourSDCHasher(step_epoch=80, learning_rate=4e-4),
                {"order_by": "neighbours", "center": True},
            ),
            (
                NeighbourSDCHasher(step_epoch=80, learning_rate=4e-4, n_hidden_layers=0, **LINE),
                {"order_by": "neighbours", "center": True, "n_hidden_layers": 0, **LINE},
            ),
            (SupervisedSDCHasher(), {"order_by": "labels"}),
            (
                SupervisedSDCHasher(labels="target"),
                {"order_by": "labels", "positive": "beta(18, 2)", "negative": "beta(20, 20)"},
            ),
        ],
        ids=str,
    )
    def test_names_are_settings(self, X, ids, named, settings):
        named = named.set_params(**QUICK).fit(X, ids).decision_function(X)
        np.testing.assert_array_equal(SDCHasher(**SAME, **settings).fit(X, ids).decision_function(X), named)

    def test_the_distribution_of_the_features_own_similarities_has_two_names(self, X):
        codes = [
            SDCHasher(**SAME, **settings).fit(X).decision_function(X)
            for settings in ({"calibration": "empirical"}, {"target": "similarities"})
        ]
        np.testing.assert_array_equal(*codes)

    def test_every_combination_trains(self, X, ids):
        for order_by, target, match_by in itertools.product(
            ("features", "neighbours", "labels"),
            ("distribution", "similarities", "linear"),
            ("quantiles", "regression", "rank"),
        ):
            hasher = SDCHasher(**{**SAME, "epochs": 1}, order_by=order_by, target=target, match_by=match_by)
            if order_by == "labels" and match_by == "regression":
                with pytest.raises(ValueError, match="match_by: expected 'quantiles' or 'rank' where labels"):
                    hasher.fit(X, ids)
            else:
                assert np.isfinite(hasher.fit(X, ids).history_["loss"]).all()


class TestWholeStep:
    """A step of each preset once more, as its source has it: head, loss, gradient and Adam's first update."""

    N_BITS, TAU = 12, 0.3

    def passed(self, weights, rows):
        """The head's layers by hand, BatchNorm over all rows that are given."""
        *layers, scale, shift = weights
        for weight, bias in zip(layers[::2], layers[1::2], strict=True):
            values = rows @ weight.T + bias
            rows = values * torch.special.ndtr(values)
        spread = values.var(dim=0, correction=0) + 1e-5
        return (values - values.mean(dim=0)) / spread.sqrt() * scale + shift

    def nt_xent(self, first, second):
        codes = torch.cat([first, second])
        codes = codes / codes.norm(dim=1, keepdim=True)
        logits = codes @ codes.T / self.TAU
        others = logits.exp() * (1 - torch.eye(len(codes)))
        n = len(first)
        partner = torch.cat([logits.diagonal(n), logits.diagonal(-n)])
        return (others.sum(dim=1).log() - partner).mean()

    def calibration(self, pairs, clip=False):
        """Of pairs of rows (code, code, feature, feature), sorted together."""
        cosines = [
            (x @ y / x.norm() / y.norm(), f @ g / f.norm() / g.norm()) for f, g, x, y in pairs
        ]  # fmt: skip
        similarities = [s for _, s in sorted(cosines, key=lambda both: float(both[0]))]
        n = len(pairs)
        targets = 2 * stats.beta(5, 5).ppf((2 * np.arange(1, n + 1) - 1) / (2 * n)) - 1
        targets = torch.from_numpy(targets.clip(0) if clip else targets)
        return (torch.stack(similarities) - targets).abs().mean()

    def pairs(self, codes, features):
        half = len(codes) // 2
        return list(zip(codes[:half], codes[half:], features[:half], features[half:], strict=True))

    def losses(self, preset, weights, rows, views):
        """Calibration, quantization and contrastive loss."""
        if preset == "release-simclr":
            codes = self.passed(weights, torch.cat(list(views)))
            first, second = codes.chunk(2)
            pairs = self.pairs(first, views[0]) + self.pairs(second, views[1])
        else:
            codes = first = self.passed(weights, rows)
            pairs = self.pairs(codes, rows)
            second = self.passed(weights, views[0]) if preset == "paper" else None
        quantization = (1 - torch.cosine_similarity(codes, codes.sign())).mean()
        return {
            "calibration_loss": self.calibration(pairs, clip=preset == "release-simclr"),
            "quantization_loss": quantization * (0.01 if preset == "paper-instance" else 1),
            "contrastive_loss": torch.zeros(()) if second is None else self.nt_xent(first, second),
        }

    @pytest.mark.parametrize("preset", PRESETS)
    def test_a_preset_takes_the_step_of_its_source(self, preset, monkeypatch):
        monkeypatch.setattr(trained, "training_scale", lambda lengths: 1.0)
        n = PRESETS[preset].batch_size
        rng = np.random.default_rng(6)
        X = rng.standard_normal((n, 10)).astype(np.float32) + np.float32(0.4)
        views = X + rng.normal(0, 0.3, (2, n, 10)).astype(np.float32)
        if preset == "paper":
            views[1] = views[0]  # either view may be drawn
        before, after = (
            SDCHasher(self.N_BITS, preset=preset, epochs=1, **rate).fit(X, views=views)
            for rate in ({"learning_rate": 0.0}, {})
        )
        order = torch.randperm(n, generator=torch.Generator().manual_seed(0)).numpy()
        rows, views = torch.from_numpy(X[order]).double(), torch.from_numpy(views[:, order]).double()
        weights = [weight.detach().double().requires_grad_() for weight in before.head_.parameters()]
        losses = self.losses(preset, weights, rows, views)
        history = after.history_.iloc[0]
        total = sum(losses.values())
        assert history["loss"] == pytest.approx(total.item(), abs=1e-5)
        for name, loss in losses.items():
            if name in history:
                weight = 0.01 if (preset, name) == ("paper-instance", "quantization_loss") else 1
                assert weight * history[name] == pytest.approx(loss.item(), abs=1e-5)
        total.backward()
        decay = 1e-5 if preset.startswith("release") else 5e-4
        gradient = torch.cat([(w.grad + decay * w.detach()).flatten() for w in weights])
        moved = torch.cat([w.detach().flatten() for w in after.head_.parameters()])
        moved = moved - torch.cat([w.detach().flatten() for w in weights])
        sure = gradient.abs() > 1e-5  # below, as before BatchNorm, single precision decides the sign
        assert sure.double().mean() > 0.9
        # Adam's first step: the mean and the root of the one gradient
        assert (moved + 1e-4 * gradient / (gradient.abs() + 1e-8))[sure].abs().max() < 2e-6


def weights_by_hand(X, n_neighbors):
    cosines = unit(X) @ unit(X).T
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
        smooth = unit(X)
        for _ in range(3):
            smooth = np.array(
                [(row / np.sqrt(d * degrees)) @ smooth for row, d in zip(weights, degrees, strict=True)]
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
        for call, message in (
            (lambda: neighbour_graph(X, 0), "n_neighbors: expected"),
            (lambda: smooth_over_neighbours(X, 5, -1), "n_steps: expected"),
            (lambda: neighbour_graph(np.full((20, 3), np.nan), 2), "X: expected finite values"),
        ):
            with pytest.raises(ValueError, match=message):
                call()


class TestNeighbours:
    def test_without_steps_it_is_centred_sdc(self, X):
        same = {"learning_rate": 4e-4, "random_state": 5, "step_epoch": 2, **QUICK}
        sdc = SDCHasher(preset="release", center=True, **same).fit(X)
        without = NeighbourSDCHasher(n_steps=0, **same).fit(X)
        np.testing.assert_allclose(without.decision_function(X), sdc.decision_function(X), atol=1e-4)

    def test_ranks_the_packaged_data_better_than_sdc(self):
        settings = {"n_bits": 64, "epochs": 20, "step_epoch": 16, "learning_rate": 4e-4, "batch_size": 256}
        plain = packaged_map(SDCHasher(preset="release", center=True, **settings))
        assert packaged_map(NeighbourSDCHasher(**settings)) > plain + 0.03  # by 0.07

    def test_trains_for_500_batches_or_as_long_as_it_is_told(self, X):
        few = NeighbourSDCHasher(n_bits=12, batch_size=70).fit(X).history_  # 3 batches of 240 rows
        assert len(few) == 167
        rates = few["learning_rate"] / few["learning_rate"][0]
        np.testing.assert_allclose(rates, [1] * 134 + [0.1] * 33)
        told = NeighbourSDCHasher(n_bits=12, batch_size=60, epochs=5, step_epoch=3).fit(X).history_
        np.testing.assert_allclose(told["learning_rate"], [8e-4] * 3 + [8e-5] * 2)


REFUSED = [
    (MatchingHasher, {"features": "whitened", "shrinkage": 1.5}, "shrinkage: expected a number above 0"),
    (NeighbourSDCHasher, {"n_neighbors": 300}, "n_neighbors = 300"),
    (SDCHasher, {"positive": "beta(2, 1)", "order_by": "labels"}, "positive, negative: expected distribut"),
    (SDCHasher, {"positive": "beta(2, 1)", "negative": "beta(1, 2)"}, "expected order_by='labels'"),
    (SDCHasher, {"view_pairs": True}, "view_pairs: expected a contrastive_weight"),
    (SDCHasher, {**VIEWS, "contrast": "image"}, "view_pairs: expected contrast='views'"),
    (SDCHasher, {"joint_views": True, "contrastive_weight": 1}, "joint_views: expected view_pairs"),
    (SDCHasher, {"joint_views": True, "pairs": "all", **VIEWS}, "joint_views: expected view_pairs"),
]


@pytest.mark.parametrize(("kind", "parameters", "message"), REFUSED)
def test_what_cannot_be_or_go_together(X, ids, kind, parameters, message):
    with pytest.raises(ValueError, match=message):
        kind(**{**QUICK, **parameters}).fit(X, ids)


@pytest.mark.slow
@pytest.mark.parametrize("target", MATCHES)
def test_it_learns(target):
    untrained = packaged_map(MatchingHasher(n_bits=32, target=target, epochs=1, learning_rate=0.0))
    assert packaged_map(MatchingHasher(n_bits=32, target=target, epochs=15)) > untrained + 0.1
