import pandas as pd

from sdclib.files import read_json
from study.provenance import MANIFEST, RESULTS
from tests.sentences.published import bench, runs, says, states


def test_other_processors():
    models = [entry["models"] for entry in read_json(RESULTS / "fingerprints.json").values()]
    says(
        "with the study's kernels, models are the same to the last bit on an AMD EPYC and an Intel Xeon.",
        len(models) > 1 and all(model == models[0] for model in models),
    )
    report = read_json(RESULTS / "check_processors.json")
    says(
        "With other kernels the mAP of a trained run in the main job moves by less than a point.",
        max(row["moved"] for row in report["differences"]) < 1,
    )
    assert not any(outcome["exit_code"] for outcome in report["outcomes"])


def test_verification():
    rows = pd.DataFrame(read_json(MANIFEST)["verified"]["rows"].values())
    moved = rows["points_moved"].abs()
    states("checks", f"Of the published rows {len(rows)} were run again, and all come out.")
    states(
        "checks",
        f"All {len(rows)} come out again, {(moved < 0.005).sum()} of them with the same mAP, and none moves by more "
        f"than {moved.max():.1f} points.",
    )
    assert rows["comes_out_again"].all()


def test_empty_machines():
    machines = read_json(RESULTS / "check_clean.json")
    outcomes = [outcome for found in machines for outcome in found["targets"]]
    says(
        "Both README commands end well on an empty machine.",
        {"study", "test"} <= {outcome["target"] for outcome in outcomes}
        and not any(outcome["exit_code"] or outcome["changed_files"] for outcome in outcomes),
    )


def test_all_sweeps_took_16_hours_on_two_cores():
    times = ["fit_seconds", "encode_seconds", "evaluate_seconds"]
    seconds = runs().groupby("id")[times].max().to_numpy().sum()  # some runs were made twice
    states("reproduce", f"All sweeps together took {seconds / 3600 / 2:.0f} hours on two cores.")


def test_speed():
    step = bench("training")["paper-no-contrastive"]["seconds_a_step"]
    says("The library is about twice as fast as the plain loop", 1.7 < step["plain"] / step["library"] < 2.3)
    says(
        "products and optimizer take nearly all of its time",
        0.85 < (step["products"] + step["optimizer"]) / step["library"] <= 1,
    )
