"""Variants of SDC, what is measured of them, and the script that trains them; all on small made-up features."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from scripts import why as script
from sdclib import SDCHasher
from sdclib.evaluation import evaluate_codes
from sdclib.losses.calibration import calibration_loss, parse_calibration, target_quantiles
from sdclib.methods.sdc import coarsened, seen, view_of
from study.variants import EpochsHasher, bit_use, measure

SETTINGS = {"preset": "release", "batch_size": 32, "epochs": 4, "learning_rate": 1e-3, "random_state": 3}


@pytest.fixture(scope="module")
def rows(tiny):
    return tiny.train - tiny.train.mean(axis=0)


@pytest.fixture(scope="module")
def kept(rows):
    return EpochsHasher(8, **SETTINGS, keep_from=2).fit(rows)


def test_without_a_change_it_is_sdc_and_every_kept_epoch_a_training_that_was_stopped(rows, kept):
    np.testing.assert_array_equal(
        kept.decision_function(rows), SDCHasher(8, **SETTINGS).fit(rows).decision_function(rows)
    )
    assert sorted(kept.kept_) == [2, 3, 4]
    for epoch in kept.kept_:
        stopped = SDCHasher(8, **{**SETTINGS, "epochs": epoch}).fit(rows)
        np.testing.assert_array_equal(
            kept.after(epoch, rows).decision_function(rows), stopped.decision_function(rows)
        )
    assert not np.array_equal(kept.after(2, rows).decision_function(rows), kept.decision_function(rows))


def test_averaged_weights_have_the_statistics_of_their_own_outputs(rows, kept):
    head = kept.after(4, rows, 3).head_
    for name, weights in head.named_parameters():
        expected = sum(kept.kept_[epoch][name] for epoch in (2, 3, 4)) / 3
        expected *= kept.scale_ if name == "layers.0.weight" else 1
        torch.testing.assert_close(weights.detach(), expected)
    with torch.no_grad():
        outputs = head.layers[:-1](torch.from_numpy(rows))
    torch.testing.assert_close(head.layers[-1].running_mean, outputs.mean(dim=0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.layers[-1].running_var, outputs.var(dim=0), rtol=1e-4, atol=1e-5)


def test_refuses_epochs_that_were_not_kept(rows, kept):
    with pytest.raises(ValueError, match=r"epoch: expected epochs that were kept, \[1\] were not"):
        kept.after(2, rows, 2)


def test_kept_epochs_take_features_as_they_are(tiny):
    hasher = EpochsHasher(8, **SETTINGS, center=True, keep_from=4).fit(tiny.train)
    np.testing.assert_array_equal(
        hasher.after(4, tiny.train).decision_function(tiny.query), hasher.decision_function(tiny.query)
    )


def test_a_fixed_standardisation_is_that_of_the_head_before_training(rows):
    still = SDCHasher(8, **{**SETTINGS, "learning_rate": 0.0, "weight_decay": 0.0}, norm="fixed").fit(rows)
    outputs = still.decision_function(rows)
    np.testing.assert_allclose(outputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(outputs.std(axis=0, ddof=1), 1, rtol=1e-3)  # BatchNorm adds 1e-5 to variances
    moved = SDCHasher(8, **SETTINGS, norm="fixed").fit(rows)
    torch.testing.assert_close(moved.head_.layers[-1].running_mean, still.head_.layers[-1].running_mean)
    assert np.abs(moved.decision_function(rows).mean(axis=0)).max() > 0.01


def test_the_end_of_the_head_is_what_the_norm_says(rows):
    plain = SDCHasher(8, **SETTINGS, norm="plain").fit(rows).head_.layers[-1]
    assert isinstance(plain, nn.BatchNorm1d)
    assert not list(plain.parameters())
    none = SDCHasher(8, **SETTINGS, norm="none").fit(rows)
    with torch.no_grad():
        expected = none.head_.layers[:3](torch.from_numpy(rows)).numpy()
    np.testing.assert_array_equal(none.decision_function(rows), expected)
    with pytest.raises(ValueError, match="norm"):
        SDCHasher(8, **SETTINGS, norm="layer").fit(rows)


def test_coarse_targets_are_means_of_groups():
    targets = torch.tensor([-0.9, -0.5, -0.1, 0.1, 0.3, 0.7])
    torch.testing.assert_close(coarsened(targets, 3), torch.tensor([-0.7, -0.7, 0.0, 0.0, 0.5, 0.5]))
    torch.testing.assert_close(coarsened(targets, 6), targets)
    with pytest.raises(ValueError, match="n_quantiles: expected a divisor of 6 targets, got 4"):
        coarsened(targets, 4)


def test_training_takes_the_coarse_targets(rows):
    losses = [
        SDCHasher(8, **SETTINGS, n_quantiles=n).fit(rows).history_["calibration_loss"] for n in (None, 16, 2)
    ]
    assert losses[0].equals(losses[1])  # 16 pairs a batch of 32
    assert not losses[0].equals(losses[2])


def test_pairs_can_be_put_in_order_by_other_features_than_the_head_sees(tiny):
    """The loss before training is that of the head's codes in the order of whitened features."""
    still = {
        **SETTINGS,
        "learning_rate": 0.0,
        "weight_decay": 0.0,
        "epochs": 1,
        "batch_size": len(tiny.train),
    }
    hasher = SDCHasher(8, **still, order_features="whitened")
    by_raw = SDCHasher(8, **still).fit(tiny.train).history_["calibration_loss"].item()
    history = hasher.fit(tiny.train).history_
    rows = torch.from_numpy(tiny.train)[
        torch.randperm(len(tiny.train), generator=torch.Generator().manual_seed(SETTINGS["random_state"]))
    ]
    view = view_of(torch.from_numpy(tiny.train), "whitened", 0.5)
    with torch.no_grad():
        codes = hasher.head_.train()(rows)
    targets = torch.as_tensor(target_quantiles(parse_calibration("beta(5, 5)"), len(rows) // 2)).float()
    expected = calibration_loss(codes, seen(rows, *view), targets).item()
    assert history["calibration_loss"].item() == pytest.approx(expected, rel=1e-4)
    assert by_raw != pytest.approx(expected, rel=1e-2)


def test_use_of_bits_by_hand():
    codes = np.array([[0, 1, 0, 1], [1, 1, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]])
    found = bit_use(codes)
    first, second, third = codes[:, 0], codes[:, 2], codes[:, 3]
    pairs = [np.corrcoef(a, b)[0, 1] for a, b in ((first, second), (first, third), (second, third))]
    assert found == {
        "bit_mean": 11 / 16,
        "balanced_bits": 0.5,
        "constant_bits": 0.25,
        "bit_correlation": pytest.approx(np.mean(np.abs(pairs))),
    }
    assert np.isnan(bit_use(codes[:, :2])["bit_correlation"])


def test_measures_what_the_evaluation_measures_and_the_use_of_bits(tiny):
    rng = np.random.default_rng(0)
    query, database = rng.integers(0, 2, (40, 8)), rng.integers(0, 2, (400, 8))
    found = measure(query, database, tiny)
    assert found == evaluate_codes(query, database, tiny.relevant, tiny.top_k, denominator="retrieved")[
        0
    ] | bit_use(database)


def test_the_script_runs_what_is_missing_alone(tiny_data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(script, "RESULTS", tmp_path)
    monkeypatch.setattr(script, "SETTINGS", SETTINGS | {"batch_size": 64, "random_state": 0})
    monkeypatch.setattr(script, "FALL", 2)
    monkeypatch.setattr(script, "EPOCHS", 4)
    monkeypatch.setattr(script, "WINDOW", 2)
    few = [("base", "base", {"keep_from": 1}), ("quantiles", "2", {"n_quantiles": 2})]
    monkeypatch.setattr(script, "VARIANTS", few)
    monkeypatch.setattr(sys, "argv", ["why.py", "--data", "tiny", "--n-bits", "8", "--seeds", "1"])
    script.main()
    first = pd.read_csv(tmp_path / "why.csv", dtype=script.TEXT)
    epochs = pd.read_csv(tmp_path / "why_epochs.csv")
    assert first["variant"].tolist() == ["base", "2"]
    assert set(first["seed"]) == {1}
    assert json.loads(first["machine"].iloc[0])["cores"] >= 1
    assert sorted(zip(epochs["epoch"], epochs["averaged"], strict=True)) == [
        (1, 1), (2, 1), (2, 2), (3, 1), (4, 1), (4, 2),
    ]  # fmt: skip
    last = epochs[(epochs["epoch"] == 4) & (epochs["averaged"] == 1)]["map_expected"].item()
    assert last == pytest.approx(first["map_expected"].iloc[0])
    monkeypatch.setattr(sys, "argv", ["why.py", "--data", "tiny", "--n-bits", "8", "--seeds", "0", "1"])
    script.main()
    both = pd.read_csv(tmp_path / "why.csv", dtype=script.TEXT)
    pd.testing.assert_frame_equal(both[both["seed"] == 1].reset_index(drop=True), first)
    monkeypatch.setattr(script, "run", lambda *_: pytest.fail("trained again"))
    script.main()
    stale = both.assign(results_version=[0, *both["results_version"][1:]])
    stale.to_csv(tmp_path / "why.csv", index=False)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        script.main()
