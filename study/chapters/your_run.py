"""One's own run of the main job beside the published one.

After `make study`, ``python -m study.chapters.your_run`` prints the comparison.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from study.provenance import OWN_RESULTS, RESULTS
from study.tables import read_results

__all__ = ["compare_runs", "compared", "origin", "page", "seed_half_widths"]

TABLE = "study.csv"
ROUNDING = 0.1  # points of mAP that other kernels may move a method without seeds by
EXPLAINED = (
    "mAP@1000 (expected) in percent. *same*: the same codes and mAP to the last bit. *within seeds*: no further apart"
    " than two seeds of the method are in 19 of 20 cases (the column seeds, in points;"
    f" {ROUNDING} for methods without seeds). *different*: further apart than that."
)
SETTING = ["data", "method", "parameters", "n_bits"]
EXACT = 1e-5  # points; metrics of the same codes are sums of the same numbers, and cosines may be rounded otherwise


def seed_half_widths(published: pd.DataFrame) -> pd.Series:
    """Half width, in points, of the 95 % interval of the difference of two runs that differ in their seed alone.

    Student's t times the standard deviation over the published seeds times the root of 2, by `SETTING`. Where a code
    length has one seed alone, the widest of the setting's other lengths; where none has more, `ROUNDING`.
    """
    groups = published.fillna({"n_bits": -1}).groupby(SETTING)["map_expected"]
    half = 100 * stats.t.ppf(0.975, (groups.count() - 1).clip(lower=1)) * groups.std() * np.sqrt(2)
    widest = half.groupby(SETTING[:-1]).transform("max")
    return half.fillna(widest).fillna(0).clip(lower=ROUNDING)


def compare_runs(own: pd.DataFrame, published: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Lay each run beside the published one of the same id.

    Parameters
    ----------
    own, published : DataFrame
        Of the same sweep, see `study.tables.read_results`.
    others : DataFrame
        Runs of other published tables, which tell how far seeds move each method.

    Returns
    -------
    DataFrame
        method, bits, seed; yours, published, difference, seeds (the half width of `seed_half_widths`): mAP in points;
        verdict: "same" (codes and mAP are the same to the last bit), "within seeds", "different" or "not published".
    """
    there = published[["id", "map_expected", "codes_sha256"]]
    table = own.fillna({"n_bits": -1}).merge(
        there, on="id", how="left", suffixes=("", "_published"), indicator=True
    )
    table = table.merge(seed_half_widths(others).rename("seeds").reset_index(), on=SETTING, how="left")
    yours, other = 100 * table["map_expected"], 100 * table["map_expected_published"]
    seeds, difference = table["seeds"].fillna(ROUNDING), yours - other
    known, coded = table["_merge"] == "both", table["n_bits"] > 0
    codes = table["codes_sha256_published"]
    same_codes = (table["codes_sha256"] == codes) | codes.isna()
    cases = {
        "not published": ~known,
        "same": same_codes & (difference.abs() <= EXACT),
        "within seeds": (difference.abs() <= seeds) & ~(same_codes & coded),
    }
    return pd.DataFrame(
        {
            "method": table["config"],
            "bits": table["n_bits"].astype(str).where(coded, "float"),
            "seed": table["seed"],
            "yours": yours,
            "published": other,
            "difference": difference,
            "seeds": seeds.where(known),
            "verdict": np.select([of.astype(bool) for of in cases.values()], list(cases), "different"),
        }
    )


def origin(table: pd.DataFrame, packages: Sequence[str] = ("python", "torch", "numpy")) -> str:
    """Say in one line on which machine and by which versions a table was made, by its first row."""
    machine, versions = (json.loads(table[name].iloc[0]) for name in ("machine", "versions"))
    cores = f"{machine['cores']} cores, {machine.get('kernels', 'native')} kernels"
    named = ", ".join(f"{name} {versions[name]}" for name in packages)
    return f"{machine['processor']}, {cores}; {named}; commit {table['commit'].iloc[0]}"


def compared() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Give the comparison, one's own table and the published one; FileNotFoundError where there is no own table."""
    own, published = read_results(OWN_RESULTS / TABLE), read_results(RESULTS / TABLE)
    runs = {"id", "parameters", "fit_seconds"}  # columns of a table of runs
    others = [
        path for path in sorted(RESULTS.glob("*.csv")) if runs <= set(pd.read_csv(path, nrows=0).columns)
    ]
    table = compare_runs(
        own, published, pd.concat(read_results(path) for path in others if path.name != TABLE)
    )
    return table, own, published


def page() -> str:
    """Make the book's page."""
    title = "# Your run\n\n"
    try:
        table, own, published = compared()
    except FileNotFoundError:
        return title + (
            "`make study` runs the main job on your machine and lays its table beside the published one here. It has"
            " not run in this checkout yet.\n"
        )
    html = table.to_html(index=False, float_format="{:.2f}".format, na_rep="", border=0, classes="table")
    counts = ", ".join(f"{n} {word}" for word, n in table["verdict"].value_counts().items())
    return (
        f"{title}Your {len(own)} runs beside the published ones: {counts}.\n\n{EXPLAINED}\n\n"
        f'<div class="pst-scrollable-table-container">\n{html}</div>\n\n'
        f"- Yours: {origin(own)}.\n- Published: {origin(published)}.\n\n"
        "All chapters show the published tables; your run changes none of their figures.\n"
    )


def main() -> None:
    """Print the comparison."""
    table, own, published = compared()
    with pd.option_context("display.width", 200, "display.max_columns", None):
        print(table.to_string(index=False, float_format="{:.2f}".format))
    print(f"\n{EXPLAINED.replace('*', '')}\nyours:     {origin(own)}\npublished: {origin(published)}")


if __name__ == "__main__":
    main()
