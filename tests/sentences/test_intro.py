from study.chapters.contributions import with_targets
from study.provenance import PROJECT_ROOT
from study.stats import compared
from study.tables import find, where
from tests.sentences.published import bench, runs, says, states
from tests.sentences.test_bias import better_in_none_of_six

TABLES = ["cifar10_closed", "cifar10_sdc", "neighbours"]


def test_first_page_and_readme():
    table = where(runs(*TABLES), data="cifar10/efficientnet-lite0", n_bits=64)
    sdc, itq = find(table, method="sdc", preset="paper-no-contrastive"), find(table, method="itq")
    headline = find(table, method="sdc", preset="paper")
    release = find(table, method="sdc", preset="release")
    by_neighbours = find(table, method="neighbour-sdc", n_steps=4)
    ranking = compared(table, [(sdc, itq), (by_neighbours, release), (headline, itq)])
    collapse = compared(table, [(sdc, itq), (headline, itq)], "intersection")
    says("Without its contrastive term SDC collapses less than ITQ", collapse["high"].iloc[0] < 0)
    says("but collapses slightly more", 0 < collapse["low"].iloc[1] < collapse["mean"].iloc[1] < 3)
    says("with the term it ranks over four points better", 4 < ranking["mean"].iloc[2] < 5)
    says(
        "and ranks two points of {doc}`mAP <how_to_read_map>` better",
        ranking["low"].iloc[0] > 0 and round(ranking["mean"].iloc[0]) == 2,
    )
    says(
        "SDC that learns from features averaged over neighbours ranks six points better than SDC as released",
        round(ranking["mean"].iloc[1]) == 6,
    )


def test_a_wide_spread_does_as_much_as_the_distribution():
    spread = with_targets(runs("spread"))
    linear = find(spread, target="standardised", features="raw")
    sdc = find(spread, target="calibrated", features="raw")
    says(
        "A wide spread of similarities does as much as the distribution",
        (compared(spread, [(sdc, linear)])["mean"] < 0).all(),
    )


def test_tuned_bihalf_is_level_and_neighbours_take_a_fifth_of_the_time():
    paper = where(runs("rules", "rules_slow"), rule="paper")
    (ahead,) = compared(
        paper, [(find(paper, method="bihalf"), find(paper, method="sdc", preset="paper"))]
    ).to_dict("records")
    sentence = f"the rival BiHalf ranks {ahead['mean']:.1f} points better than SDC; once both are tuned, they are level"
    states("intro", sentence)
    assert sentence in (PROJECT_ROOT / "README.md").read_text()
    tuned = where(runs("rules"), rule="tuned")
    pair = compared(tuned, [(find(tuned, method="sdc"), find(tuned, method="bihalf"))])
    says("once both are tuned, they are level", pair["mean"].abs().iloc[0] < 1)
    again = compared(tuned, [(find(tuned, method="sdc"), find(tuned, method="neighbour-sdc"))])
    says("tuning brings SDC level with it.", again["mean"].abs().iloc[0] < 1)
    says("in a fifth of its time", bench("neighbours")["ratios"]["neighbour-sdc"] <= 0.2)


def test_two_networks_with_little_bias():
    states(
        "intro",
        "On features of two networks with little bias, though, it is better than ITQ in none of six comparisons",
    )
    says("none of six", better_in_none_of_six())
