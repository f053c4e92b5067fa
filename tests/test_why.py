"""Variants of SDC, what is measured of them, and the script that trains them; all on small made-up features."""

import json
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from study.figures.why import plot_last_epochs
from torch import nn

from scripts import why as script
from sdclib import SDCHasher
from sdclib.evaluation import evaluate_codes
from sdclib.losses.calibration import calibration_loss, parse_calibration, target_quantiles
from sdclib.methods.sdc import coarsened, seen, view_of
from study.chapters.why import (
    PARTS,
    Part,
    averaging,
    by_epoch,
    by_part,
    change_names,
    coarse_spread,
    enough_quantiles,
    from_tables,
    laid_out,
    less_base,
    read_variants,
)
from study.tables import method_label
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


def runs(label_values, data="cifar10-embedded", n_bits=64):
    return pd.DataFrame(
        [
            {"data": data, "n_bits": n_bits, "label": label, "seed": seed, "map_expected": value}
            for label, values in label_values.items()
            for seed, value in enumerate(values)
        ]
    )


def test_differences_from_tables_are_welchs():
    with_it, without = [0.60, 0.62, 0.63], [0.50, 0.55, 0.51]
    table = runs({"a": with_it, "b": without, "c": [0.1]})
    found = from_tables({"made": table}, [Part("part", "made", "a instead", "a", "b")]).iloc[0]
    interval = stats.ttest_ind(with_it, without, equal_var=False).confidence_interval()
    assert (found["part"], found["change"], found["setting"]) == (
        "part",
        "a instead",
        "CIFAR-10 (embedded), 64 bits",
    )
    assert found[["mean", "low", "high"]].tolist() == pytest.approx(
        [100 * (np.mean(with_it) - np.mean(without)), 100 * interval.low, 100 * interval.high]
    )
    with pytest.raises(ValueError, match="tables: expected one by the name of other, got made"):
        from_tables({"made": table}, [Part("part", "other", "", "a", "b")])
    with pytest.raises(ValueError, match="tables: expected seeds of a and c in made"):
        from_tables({"made": table}, [Part("part", "made", "", "a", "c")])


def test_labels_of_the_parts_are_those_of_the_tables():
    parameters = {"batch_size": 256, "learning_rate": 0.0004, "pairs": "all", "preset": "release"}
    assert method_label("sdc", parameters) in {part.first for part in PARTS}


def test_names_of_changes_say_what_is_not_usual():
    rows = pd.DataFrame(
        [("centred", "d", 64), ("centred", "cifar10-embedded", 16), ("binomial of 16 bits", "d", 16)],
        columns=["change", "data", "n_bits"],
    )
    expected = ["centred", "centred, CIFAR-10 (embedded), 16 bits", "binomial of 16 bits"]
    assert change_names(rows, "d", 64) == expected


def test_parts_are_counted_by_where_their_intervals_lie():
    rows = pd.DataFrame(
        [("b", 2.0, 1.0, 3.0), ("a", -0.5, -1.5, 0.5), ("b", -4.0, -5.0, -3.0), ("b", 6.0, 0.1, 12.0)],
        columns=["part", "mean", "low", "high"],
    )
    found = by_part(rows)
    assert list(found.index) == ["b", "a"]
    assert found.loc["b"].tolist() == [2, 1, 0, "-4.0 to +6.0"]
    assert found.loc["a"].tolist() == [0, 0, 1, "-0.5"]


@pytest.fixture
def variants(tmp_path):
    table = pd.DataFrame(
        [
            {"data": "cifar10-embedded", "n_bits": 64, "seed": seed, "study": study, "variant": variant}
            | {"map_expected": value}
            for study, variant, values in (
                ("base", "base", (0.60, 0.61, 0.62)),
                ("quantiles", "2", (0.50, 0.51, 0.49)),
                ("quantiles", "8", (0.60, 0.62, 0.61)),
            )
            for seed, value in enumerate(values)
        ]
    )
    table.to_csv(tmp_path / "why.csv", index=False)
    return read_variants(tmp_path / "why.csv")


def test_variants_less_the_base(variants):
    found = less_base(variants, "quantiles").set_index("variant")
    assert found["mean"].to_dict() == pytest.approx({"2": -11.0, "8": 0.0})
    pair = stats.ttest_rel([0.50, 0.51, 0.49], [0.60, 0.61, 0.62]).confidence_interval()
    assert found.loc["2", ["paired_low", "paired_high"]].tolist() == pytest.approx(
        [100 * pair.low, 100 * pair.high]
    )
    assert laid_out(variants, "quantiles", {"map_expected": "mAP"})["mAP"].to_dict() == {
        "base": "61.0 ± 2.5",
        "2": "50.0 ± 2.5",
        "8": "61.0 ± 2.5",
    }
    with pytest.raises(ValueError, match="study: expected one of base, quantiles, got 'pairs'"):
        less_base(variants, "pairs")


def test_refuses_other_tables(tmp_path):
    pd.DataFrame({"data": [], "variant": []}).to_csv(tmp_path / "other.csv", index=False)
    with pytest.raises(
        ValueError, match=r"other\.csv: expected the columns of a table of variants, .*'seed'"
    ):
        read_variants(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("highs", "expected"), [((-1, 0.2, 0.3), 4), ((0.1, -0.2, 0.3), 8), ((1, 1, -0.1), None), ((1, 0, 1), 2)]
)
def test_enough_quantiles_are_those_from_which_on_nothing_is_lost(highs, expected):
    rows = pd.DataFrame({"variant": ["2", "4", "8"], "high": highs})
    assert enough_quantiles(rows.sample(frac=1, random_state=0)) == expected
    assert enough_quantiles(rows.assign(paired_high=-1), "paired_high") is None


def test_spread_of_coarse_targets():
    targets = stats.beta(5, 5).ppf((np.arange(8) + 0.5) / 8) * 2 - 1
    halves = np.repeat([targets[:4].mean(), targets[4:].mean()], 4)
    assert coarse_spread("beta(5, 5)", 8, 2) == pytest.approx(halves.std() / targets.std())


def test_epochs_and_averages_by_hand():
    epochs = pd.DataFrame(
        [
            {"data": "d", "variant": "base", "seed": seed, "epoch": epoch, "averaged": averaged}
            | {"map_expected": 0.5 + 0.01 * seed + 0.001 * epoch + gain}
            for seed in (0, 1, 2)
            for epoch, averaged, gain in ((1, 1, 0), (2, 1, 0), (2, 2, 0.01 + 0.002 * seed))
        ]
    )
    table = by_epoch(epochs, "d", "base")
    assert list(table.index) == [1, 2]
    assert table.loc[2].tolist() == pytest.approx([50.2, 51.2, 52.2])
    found = averaging(epochs, "d", "base", 2, 2)
    half = stats.t.ppf(0.975, 2) * 0.2 / np.sqrt(3)
    assert found == pytest.approx({"mean": 1.2, "low": 1.2 - half, "high": 1.2 + half})
    with pytest.raises(
        ValueError, match=r"epochs: expected the same epochs of every seed .* got some without"
    ):
        by_epoch(epochs[1:], "d", "base")
    with pytest.raises(ValueError, match="got none"):
        by_epoch(epochs, "d", "kept")
    with pytest.raises(ValueError, match="epoch: expected one with an average of 2 epochs, got 1"):
        averaging(epochs, "d", "base", 1, 2)


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
    first = read_variants(tmp_path / "why.csv")
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
    both = read_variants(tmp_path / "why.csv")
    pd.testing.assert_frame_equal(both[both["seed"] == 1].reset_index(drop=True), first)
    monkeypatch.setattr(script, "run", lambda *_: pytest.fail("trained again"))
    script.main()
    stale = both.drop(columns="label").assign(results_version=[0, *both["results_version"][1:]])
    stale.to_csv(tmp_path / "why.csv", index=False)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        script.main()


def test_last_epochs_are_drawn_a_line_a_seed():
    tables = {
        "falls": pd.DataFrame({0: [59.0, 60.0, 61.0], 1: [60.1, 60.5, 60.7]}, index=[70, 80, 81]),
        "is kept": pd.DataFrame({0: [60.0, 61.0], 1: [60.5, 60.7]}, index=[80, 81]),
    }
    figure = plot_last_epochs(tables, 80)
    assert [axes.get_title() for axes in figure.axes] == ["falls", "is kept"]
    lines = figure.axes[1].lines
    assert [line.get_label() for line in lines[:2]] == ["seed 0", "seed 1"]
    np.testing.assert_array_equal(lines[1].get_ydata(), [60.5, 60.7])
    assert lines[2].get_xdata()[0] == 80.5
    assert figure.axes[1].get_xlabel() == "epoch"
    assert figure.axes[0].get_xlim() == figure.axes[1].get_xlim()
    plt.close(figure)
