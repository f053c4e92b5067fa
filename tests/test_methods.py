import json

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.base import clone
from sklearn.decomposition import PCA

from sdclib.files import read_json
from sdclib.methods import METHODS, ITQHasher, LSHHasher, SDCHasher, SignHasher, make_hasher, trained

FEW = {"epochs": 2}
QUICK = {
    "sdc": {"preset": "release", **FEW},
    **{
        name: {**FEW, "batch_size": 100}
        for name in ("tbh", "neighbour-sdc", "matching", "supervised-sdc", "orthohash", "logits")
    },
    **dict.fromkeys(("greedyhash", "bihalf", "ssdh", "cibhash", "nsh", "wch", "crovca"), FEW),
}


@pytest.fixture(scope="module")
def X():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((5, 24))
    return (centres[rng.integers(0, 5, 300)] + 0.5 * rng.standard_normal((300, 24)) + 0.4).astype(np.float32)


def quick(method, n_bits=12, **parameters):
    return make_hasher(method, n_bits, **{**QUICK.get(method, {}), **parameters})


def fit(hasher, X):
    """Fit, with views, tokens and labels made from the rows where the method needs them."""
    rng = np.random.default_rng(1)
    more = {}
    usable = np.ndim(X) == 2 and np.asarray(X).dtype.kind == "f"
    if hasher.needs_views and usable:
        more["views"] = np.stack([X + rng.normal(scale=0.1, size=X.shape) for _ in range(3)])
    if hasher.needs_tokens and usable:
        more["tokens"] = rng.normal(size=(3, len(X), 4, 6))
    if hasher.needs_labels and usable:
        more["y"] = np.arange(len(X)) % 5
    return hasher.fit(X, **more)


@pytest.mark.parametrize("method", sorted(METHODS))
class TestContract:
    def test_shapes_and_values(self, method, X):
        hasher = fit(quick(method), X)
        codes, continuous = hasher.transform(X), hasher.decision_function(X)
        assert codes.shape == continuous.shape == (300, 12)
        assert codes.dtype == np.uint8
        assert set(np.unique(codes)) <= {0, 1}
        np.testing.assert_array_equal(codes, continuous >= 0)
        assert hasher.pack(X).shape == (300, 2)

    def test_same_seed_same_codes(self, method, X):
        np.testing.assert_array_equal(
            fit(quick(method, seed=3), X).decision_function(X),
            fit(quick(method, seed=3), X).decision_function(X),
        )

    def test_another_seed_other_codes(self, method, X):
        if "random_state" not in quick(method).get_params():
            pytest.skip("draws nothing")
        one, two = (fit(quick(method, seed=seed), X).decision_function(X) for seed in (3, 4))
        assert np.abs(one - two).max() > 0.01

    def test_rows_are_hashed_one_by_one(self, method, X):
        hasher = fit(quick(method), X)
        whole = hasher.decision_function(X[:7])
        single = np.concatenate([hasher.decision_function(X[i : i + 1]) for i in range(7)])
        np.testing.assert_allclose(whole, single, atol=1e-4)

    def test_save_and_load(self, method, X, tmp_path):
        hasher = fit(quick(method), X)
        loaded = METHODS[method].load(hasher.save(tmp_path / "model"))
        np.testing.assert_array_equal(loaded.decision_function(X), hasher.decision_function(X))
        assert loaded.get_params() == hasher.get_params()

    def test_clone(self, method, X):
        hasher = fit(quick(method), X)
        np.testing.assert_array_equal(fit(clone(hasher), X).transform(X), hasher.transform(X))

    def test_input_is_not_changed(self, method, X):
        before = X.copy()
        fit(quick(method), X).transform(X)
        np.testing.assert_array_equal(X, before)

    @pytest.mark.parametrize(
        ("damage", "message"),
        [
            (lambda X: X.__setitem__((5, 3), np.nan), r"X: expected finite values, got NaN.*first in row 5"),
            (lambda X: X.__setitem__((2, 0), np.inf), r"X: expected finite values.*first in row 2"),
            (lambda X: X.__imul__(1e30), r"X: expected rows of a length between"),
            (lambda X: X.__setitem__(7, 0), r"X: expected no all-zero row.*first is row 7"),
        ],
    )
    def test_bad_values_are_named(self, method, X, damage, message):
        bad = X.copy()
        damage(bad)
        with pytest.raises(ValueError, match=message):
            fit(quick(method), bad)
        with pytest.raises(ValueError, match=message):
            fit(quick(method), X).transform(bad)

    @pytest.mark.parametrize("n_bits", [0, -3, 2.5, True, "16"])
    def test_bad_n_bits(self, method, X, n_bits):
        with pytest.raises(ValueError, match="n_bits: expected a whole number >= 1"):
            fit(METHODS[method](n_bits=n_bits), X)

    def test_bad_shapes(self, method, X):
        hasher = fit(quick(method), X)
        with pytest.raises(ValueError, match="X: expected 24 features a row, got 23"):
            hasher.transform(X[:, :23])
        with pytest.raises(ValueError, match="X: expected a 2D array"):
            fit(quick(method), X[0])
        with pytest.raises(ValueError, match="X: expected at least one row"):
            hasher.transform(X[:0])
        with pytest.raises(ValueError, match="X: expected a numeric array"):
            fit(quick(method), np.array([["a", "b"]]))

    def test_damaged_saves_are_named(self, method, X, tmp_path):
        folder = fit(quick(method), X).save(tmp_path)
        (weights,) = folder.glob("*.safetensors")
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights-.*\.safetensors: damaged"):
            METHODS[method].load(folder)
        (folder / "hasher.json").write_text("{")
        with pytest.raises(ValueError, match=r"hasher\.json: damaged"):
            METHODS[method].load(folder)


def test_unknown_names():
    with pytest.raises(ValueError, match=r"method: expected one of .*itq, .*lsh, .*sdc, .*got 'magic'"):
        make_hasher("magic", 8)
    with pytest.raises(
        ValueError, match="parameters of method 'itq': expected one of n_iterations, got 'epochs'"
    ):
        make_hasher("itq", 8, epochs=3)
    with pytest.raises(ValueError, match="seed: expected the start of what is random, got random_state=3"):
        make_hasher("itq", 8, random_state=3)


def test_load_refuses_another_method_and_format(X, tmp_path):
    folder = quick("lsh").fit(X).save(tmp_path)
    with pytest.raises(ValueError, match="expected method 'itq', got 'lsh'"):
        ITQHasher.load(folder)
    description = read_json(folder / "hasher.json")
    (folder / "hasher.json").write_text(json.dumps({**description, "format_version": 99}))
    with pytest.raises(ValueError, match="expected format_version 1, got 99"):
        LSHHasher.load(folder)
    (folder / "hasher.json").write_text("[]")
    with pytest.raises(ValueError, match="not the description of a hasher"):
        LSHHasher.load(folder)


def test_saving_again_replaces_and_an_interrupted_save_loses_nothing(X, tmp_path, monkeypatch):
    first = quick("lsh", seed=1).fit(X)
    first.save(tmp_path)

    def interrupted(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("sdclib.methods.base.write_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quick("lsh", seed=2).fit(X).save(tmp_path)
    np.testing.assert_array_equal(LSHHasher.load(tmp_path).transform(X), first.transform(X))
    second = quick("lsh", seed=2).fit(X)
    second.save(tmp_path)
    np.testing.assert_array_equal(LSHHasher.load(tmp_path).transform(X), second.transform(X))
    assert len(list(tmp_path.iterdir())) == 2


class TestSDC:
    def test_fewer_rows_than_a_batch(self, X):
        with pytest.raises(ValueError, match="X: expected at least batch_size = 64 training rows, got 63"):
            SDCHasher(n_bits=8).fit(X[:63])

    def test_unknown_preset_device_and_seed(self, X):
        with pytest.raises(ValueError, match="preset: expected one of"):
            SDCHasher(preset="magic").fit(X)
        with pytest.raises(ValueError, match="device: expected auto, cpu"):
            SDCHasher(preset="release", epochs=1, device="abacus").fit(X)
        with pytest.raises(ValueError, match="random_state: expected a whole number"):
            SDCHasher(preset="release", epochs=1, random_state=0.5).fit(X)

    def test_head_has_the_papers_layers(self, X):
        head = SDCHasher(n_bits=16, preset="paper", epochs=1).fit(X).head_
        assert [tuple(p.shape) for p in head.parameters()] == [
            (4096, 24), (4096,), (16, 4096), (16,), (16,), (16,),
        ]  # fmt: skip
        linear = SDCHasher(n_bits=16, preset="paper-instance", epochs=1).fit(X).head_
        assert [tuple(p.shape) for p in linear.parameters()] == [(16, 24), (16,), (16,), (16,)]
        deep = (
            SDCHasher(n_bits=4, preset="release", n_hidden_layers=2, hidden_features=8, epochs=1).fit(X).head_
        )
        assert [tuple(p.shape) for p in deep.parameters()][::2] == [(8, 24), (8, 8), (4, 8), (4,)]

    def test_history_falls_and_counts_epochs(self, X):
        history = (
            SDCHasher(n_bits=16, preset="release", epochs=40, step_epoch=20, random_state=1).fit(X).history_
        )
        assert history["epoch"].tolist() == list(range(1, 41))
        assert history["loss"].iloc[-1] < history["loss"].iloc[0] - 0.02
        np.testing.assert_allclose(  # means of float32 over few batches, each rounded at 6e-8
            history["loss"], history["calibration_loss"] + history["quantization_loss"], rtol=1e-5
        )
        assert history["learning_rate"].tolist() == pytest.approx([1e-4] * 20 + [1e-5] * 20)

    def test_training_leaves_the_global_random_state_alone(self, X):
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        quick("sdc").fit(X)
        assert torch.equal(torch.rand(3), expected)

    def test_centred_training_is_training_on_centred_features(self, X, monkeypatch):
        monkeypatch.setattr(trained, "training_scale", lambda X: 1.0)  # centred features are shorter
        parameters = {"preset": "release", "epochs": 5, "random_state": 3}
        mean = X.mean(axis=0)
        centred = SDCHasher(n_bits=16, center=True, **parameters).fit(X)
        by_hand = SDCHasher(n_bits=16, **parameters).fit(X - mean)
        # rounding of float32 that the training amplifies: up to 3e-4 over five seeds
        np.testing.assert_allclose(
            centred.decision_function(X), by_hand.decision_function(X - mean), atol=5e-3
        )
        plain = SDCHasher(n_bits=16, **parameters).fit(X)
        assert not np.allclose(centred.decision_function(X), plain.decision_function(X), atol=0.1)

    @pytest.mark.parametrize(
        "changed", [{"pairs": "all"}, {"calibration": "empirical"}, {"calibration": "binomial(16)"}]
    )
    def test_other_pairs_and_targets_train(self, X, changed):
        history = (
            SDCHasher(n_bits=16, preset="release", epochs=30, learning_rate=1e-3, **changed).fit(X).history_
        )
        assert history["loss"].iloc[-1] < history["loss"].iloc[0] - 0.02

    def test_diverged_training_is_named(self, X):
        with pytest.raises(ValueError, match="training diverged, loss is nan in epoch 1"):
            SDCHasher(n_bits=8, preset="release", epochs=2, learning_rate=1e30).fit(X)


class TestITQ:
    def test_rotation_is_a_fixed_point_of_the_alternation(self, X):
        hasher = ITQHasher(n_bits=12, n_iterations=200).fit(X)
        V = PCA(12).fit_transform(X.astype(np.float64))
        VR = hasher.decision_function(X).astype(np.float64)
        # same subspace, rotated: V R = VR for an orthogonal R
        R, _ = orthogonal_procrustes(V, VR)
        np.testing.assert_allclose(V @ R, VR, atol=1e-3)
        # and the best rotation towards the signs of VR is the one there is
        best, _ = orthogonal_procrustes(V, np.where(VR >= 0, 1.0, -1.0))
        error = np.linalg.norm(np.where(VR >= 0, 1, -1) - VR) ** 2
        improved = np.linalg.norm(np.where(VR >= 0, 1, -1) - V @ best) ** 2
        assert improved == pytest.approx(error, rel=1e-4)

    def test_more_bits_than_features(self, X):
        with pytest.raises(
            ValueError, match=r"n_bits: expected at most min\(n_samples, n_features\) = 24, got 25"
        ):
            ITQHasher(n_bits=25).fit(X)


def test_sign_and_lsh_do_what_they_say(X):
    np.testing.assert_array_equal(SignHasher(n_bits=10).fit(X).transform(X), X[:, :10] >= 0)
    centred = SignHasher(n_bits=24, center=True).fit(X).decision_function(X)
    np.testing.assert_allclose(centred.mean(axis=0), 0, atol=1e-5)
    with pytest.raises(ValueError, match="n_bits: expected at most the 24 features, got 25"):
        SignHasher(n_bits=25).fit(X)
    # the share of differing bits estimates the angle (Goemans and Williamson)
    codes = LSHHasher(n_bits=20_000, random_state=0).fit(X).transform(X[:2])
    cosine = float(X[0] @ X[1] / np.linalg.norm(X[0]) / np.linalg.norm(X[1]))
    assert np.mean(codes[0] != codes[1]) == pytest.approx(np.arccos(cosine) / np.pi, abs=0.015)
