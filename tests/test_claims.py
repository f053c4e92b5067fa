"""Values of queries, draws of queries, and claims that are decided by a rule; a plain recomputation beside it."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
import yaml

from scripts.sweep import collect_tables, published_runs
from sdclib.catalogue import load_features
from sdclib.data.variants import drawn_rows
from study.chapters import verdicts
from study.chapters.measures import collect_draws, collect_queries
from study.claims import WORDS, Claim, decide, draws_text, read_claims
from study.provenance import PROJECT_ROOT, RESULTS
from study.runs import RunSpec, collect_records, run_all

CLAIM = {"name": "c", "sentence": "s", "source": "p", "metric": "map", "side": "above", "margin": 1}
CLAIM |= {"least_seeds": 3, "draws": False}


@pytest.fixture
def runs(tiny_data, tmp_path, monkeypatch):
    monkeypatch.setattr("study.runs.OWN_RESULTS", tmp_path)
    specs = [RunSpec("tiny", "lsh", bits, seed) for bits in (8, 16) for seed in (0, 1)]
    run_all(specs, progress=False)
    return specs


def test_means_over_queries_are_the_metrics_of_the_run(runs):
    means = collect_queries(runs).groupby("id", observed=True)[["ap", "overlap"]].mean()
    table = collect_records(runs).set_index("id")
    np.testing.assert_allclose(means["ap"], table.loc[means.index, "map_expected"], rtol=1e-6)
    np.testing.assert_allclose(means["overlap"], table.loc[means.index, "intersection"], rtol=1e-6)


def test_draws_leave_training_rows_and_ask_as_many_of_each_class(runs, tiny):
    labels = np.concatenate([tiny.query_labels, tiny.database_labels])
    first, second = (drawn_rows(tiny, draw)[0] for draw in (1, 2))
    for query, database in (drawn_rows(tiny, draw) for draw in (1, 2)):
        assert sorted([*query, *database]) == list(range(len(labels)))
        assert not np.isin(query, len(tiny.query) + tiny.train_index).any()
        assert np.bincount(labels[query]).tolist() == np.bincount(tiny.query_labels).tolist()
    assert not np.array_equal(first, second)
    table = collect_draws(runs)
    assert table.groupby(["id", "draw"], observed=True).size().unique().tolist() == [len(tiny.query)]
    assert set(table.query("draw == 1")["query"]) == set(first)
    drawn = table.groupby("draw")["ap"].mean()
    assert (drawn - collect_queries(runs)["ap"].mean()).abs().max() < 0.1
    with pytest.raises(ValueError, match="one label an item"):
        drawn_rows(load_features("tiny+unseen"), 1)


def test_a_sweep_writes_what_its_claims_need(runs, tmp_path):
    entries = [{"method": "lsh"}, {"method": "lsh", "n_bits": 16}]
    settings = {"table": "t", "measures": ["queries", "draws"], "data": "tiny", "n_bits": 8, "seeds": [0, 1]}
    settings["claims"] = [{**CLAIM, "plus": entries[:1], "minus": entries[1:]}]
    settings["claims"].append(
        {**CLAIM, "name": "d", "draws": True, "plus": entries[1:], "minus": entries[:1]}
    )
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(settings))
    collect_tables(settings, runs, tmp_path)
    queries, draws = (pd.read_parquet(tmp_path / f"t_{name}.parquet") for name in ("queries", "draws"))
    assert queries["ap"].dtype == queries["overlap"].dtype == np.float32
    assert set(queries["id"]) == set(draws["id"]) == {spec.id for spec in runs}
    claims = read_claims(tmp_path / "t.yaml")
    assert [list(claim.means.values()) for claim in claims] == [[1, -1]] * 2
    table = decide(claims, queries, draws)
    assert table["word"].tolist() == ["cannot tell"] * 2
    assert table["would_tell"].str.startswith("3 seeds").all()
    written = pd.read_csv(tmp_path / "t_words.csv")
    assert list(written) == list(table)
    assert written[["name", "word", "would_tell"]].equals(table[["name", "word", "would_tell"]])


def test_a_sweep_resumes_from_its_tables_where_records_are_gone(runs, tmp_path):
    settings = {
        "table": "t",
        "measures": ["queries", "curves"],
        "data": "tiny",
        "n_bits": [8, 16],
        "seeds": [0, 1],
    }
    settings["claims"] = [{**CLAIM, "plus": [{"method": "lsh"}], "minus": [{"method": "lsh", "n_bits": 16}]}]
    collect_tables(settings, runs, tmp_path)
    names = ("t.csv", "t_histograms.csv", "t_curves.csv", "t_words.csv")
    whole = {name: (tmp_path / name).read_bytes() for name in names}
    values = pd.read_parquet(tmp_path / "t_queries.parquet")
    assert published_runs("t", runs, tmp_path) == {spec.id for spec in runs}
    for name in names:
        (tmp_path / name).unlink()
    (tmp_path / "t_queries.parquet").unlink()
    for gone in (runs[1:3], runs[:1] + runs[3:]):
        for spec in gone:
            (tmp_path / "runs" / spec.id).rename(tmp_path / spec.id)
        table = collect_tables(settings, runs, tmp_path, resume=True)
        for spec in gone:
            (tmp_path / spec.id).rename(tmp_path / "runs" / spec.id)
        if len(table) == 2:
            assert pd.read_csv(tmp_path / "t_words.csv")["would_tell"][0].endswith("the fewest now are 1")
            assert published_runs("t", runs, tmp_path) == {runs[0].id, runs[3].id}
    assert {name: (tmp_path / name).read_bytes() for name in names} == whole
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t_queries.parquet"), values)


def made_up(means, n_seeds=5, n_queries=200, spread=(0.2, 0.01), n_classes=10):
    """Tables of queries of one set: a method for each mean, with spreads of queries and of seeds."""
    rng = np.random.default_rng(1)
    of_queries = rng.normal(0, spread[0], n_queries)
    rows = [
        {
            "query": range(n_queries),
            "ap": mean + of_queries + rng.normal(0, spread[1]),
            "seed": seed,
            "method": name,
        }
        for name, mean in means.items()
        for seed in range(n_seeds)
    ]
    table = pd.concat([pd.DataFrame(row) for row in rows])
    table = table.assign(data="set", n_bits=8, parameters="{}", label=table["query"] % n_classes)
    return table.assign(overlap=table["ap"])


def claim(plus, minus, **settings):
    means = {("set", plus, 8, "{}"): 1.0, ("set", minus, 8, "{}"): -1.0}
    return Claim(**CLAIM | settings, means=means)


@pytest.mark.parametrize(
    ("difference", "side", "word"),
    [
        (0.08, "above", "reproduced"),
        (0.08, "below", "contradicted"),
        (-0.08, "below", "reproduced"),
        (0.0, "above", "equivalent"),
        (0.0, "within", "equivalent"),
        (0.08, "within", "contradicted"),
        (0.012, "within", "cannot tell"),
    ],
)
def test_words(difference, side, word):
    table = made_up({"a": 0.5 + difference, "b": 0.5}, spread=(0.2, 0.003))
    (row,) = decide([claim("a", "b", side=side)], table).to_dict("records")
    assert row["word"] == word
    assert row["low"] < row["effect"] < row["high"]
    assert bool(row["would_tell"]) == (word == "cannot tell")


def test_holm_counts_all_claims_and_draws_may_withhold_a_word():
    table = made_up({"a": 0.515, "b": 0.5}, spread=(0.2, 0.009))
    one = claim("a", "b")
    assert decide([one], table)["word"].tolist() == ["reproduced"]
    many = decide([one, *[claim("b", "b2", name=str(i)) for i in range(40)]], table)
    assert many["p_holm"][0] > many["p"][0]
    assert many["word"][0] == "cannot tell"
    other = made_up({"a": 0.49, "b": 0.5}, spread=(0.2, 0.001)).assign(draw=1)
    (row,) = decide([claim("a", "b", draws=True)], table, other).to_dict("records")
    assert (row["word"], len(row["by_draw"])) == ("cannot tell", 2)


def test_more_seeds_or_queries_would_tell():
    few = made_up({"a": 0.52, "b": 0.5}, n_seeds=3, spread=(0.05, 0.03))
    (row,) = decide([claim("a", "b")], few).to_dict("records")
    assert row["word"] == "cannot tell"
    assert 3 < int(row["would_tell"].split()[1]) < 200
    table = made_up({"a": 0.515, "b": 0.5}, n_queries=20, spread=(0.0, 0.0))
    table["ap"] += np.where(table["method"] == "a", np.tile(np.linspace(-0.5, 0.5, 20), 10), 0)
    (row,) = decide([claim("a", "b")], table).to_dict("records")
    assert row["would_tell"].startswith("more queries")


def plain_samples(entry, table, classes, rng, n=600):
    """Effects of a claim by loops over resamples and means; the last is of the values as they are."""
    metric = {"map": "ap", "intersection": "overlap"}[entry.metric]
    cells = {}
    for mean in entry.means:
        rows = table
        for name, value in zip(("data", "method", "n_bits", "parameters"), mean, strict=True):
            rows = rows[rows[name] == value]
        seeds = [group.sort_values("query") for _, group in rows.groupby("seed")]
        values = np.array([100 * group[metric].to_numpy(dtype=float) for group in seeds])
        cells[mean] = values, seeds[0]["label"].to_numpy()

    def widened(n_units, drawn):
        times = np.bincount(rng.choice(n_units, n_units), minlength=n_units) if drawn else np.ones(n_units)
        return 1 + (times - 1) * np.sqrt(n_units / (n_units - 1))

    effects = []
    for number in range(n + 1):
        total, of_set = 0.0, {}
        for mean, weight in entry.means.items():
            values, labels = cells[mean]
            base = mean[0].split("+")[0]
            if base not in of_set:
                units = labels if classes and labels.min() >= 0 else np.arange(len(labels))
                names = np.unique(units)
                of_set[base] = widened(len(names), number < n)[np.searchsorted(names, units)]
            by_seed = [np.average(v[~np.isnan(v)], weights=of_set[base][~np.isnan(v)]) for v in values]
            total += weight * np.average(by_seed, weights=widened(len(by_seed), number < n))
        effects.append(total)
    return np.array(effects)


def plain_words(claims, table):
    """Words by the rule written in the configuration, draws of queries left aside; also the ends of intervals."""
    rng, found = np.random.default_rng(7), []
    for entry in claims:
        samples = [plain_samples(entry, table, classes, rng) for classes in (False, True)]
        effect = samples[0][-1]
        low = min(np.quantile(sample[:-1], 0.025) for sample in samples)
        high = max(np.quantile(sample[:-1], 0.975) for sample in samples)
        ps = []
        for sample in samples:
            if entry.side == "within":
                ps.append(max((sample >= entry.margin).mean(), (sample <= -entry.margin).mean()))
            else:
                ps.append(2 * min((sample >= 0).mean(), (sample <= 0).mean()))
        found.append((effect, low, high, max(ps)))
    order, worst, adjusted = np.argsort([one[3] for one in found]), 0.0, {}
    for rank, i in enumerate(order):
        worst = max(worst, (len(found) - rank) * found[i][3])
        adjusted[i] = worst
    words = []
    for i, (entry, (effect, low, high, _)) in enumerate(zip(claims, found, strict=True)):
        sure = adjusted[i] < 0.05
        if -entry.margin < low and high < entry.margin and (sure or entry.side != "within"):
            words.append("equivalent")
        elif entry.side == "within":
            beyond = low > entry.margin or high < -entry.margin
            words.append("contradicted" if beyond else "cannot tell")
        else:
            right = (effect > 0) == (entry.side == "above")
            words.append(("reproduced" if right else "contradicted") if sure else "cannot tell")
    return words, [one[:3] for one in found]


def check_words(claims, table):
    """Effects and words of `decide` are those of the loops, and the ends of intervals but for chance."""
    decided = decide([dataclasses.replace(entry, draws=False) for entry in claims], table)
    words, intervals = plain_words(claims, table)
    for row, (effect, low, high) in zip(decided.to_dict("records"), intervals, strict=True):
        assert row["effect"] == pytest.approx(effect, abs=1e-4)
        assert (row["low"], row["high"]) == pytest.approx((low, high), abs=0.15 * (high - low))
    assert decided["word"].tolist() == words
    return words


def test_plain_loops_give_the_same_words():
    table = made_up({"a": 0.56, "b": 0.5, "c": 0.503}, spread=(0.2, 0.004))
    table = pd.concat([table, table.assign(data="set+bias(3)", ap=table["ap"] - 0.02)])
    effects = claim("a", "b", name="shift").means | {("set+bias(3)", "c", 8, "{}"): 1.0}
    claims = [claim("a", "b"), claim("b", "a", name="d"), claim("c", "b", name="e", side="within")]
    claims.append(Claim(**CLAIM | {"name": "shift"}, means=effects | {("set", "c", 8, "{}"): -1.0}))
    assert check_words(claims, table) == ["reproduced", "contradicted", "equivalent", "reproduced"]


@pytest.fixture
def published_words(tmp_path, monkeypatch):
    """Two claims of a made-up set as a sweep publishes them: one on mAP, one on intersections, which are to be less."""
    table = made_up({"a": 0.56, "b": 0.5}, spread=(0.2, 0.004))
    claims = [claim("a", "b"), claim("b", "a", name="d", metric="intersection", side="below", draws=True)]
    draws = table.assign(draw=1)
    words = decide(claims, table, draws)
    words.assign(by_draw=words["by_draw"].map(draws_text)).to_csv(tmp_path / "claims_words.csv")
    table.to_parquet(tmp_path / "claims_queries.parquet")
    draws.to_parquet(tmp_path / "claims_draws.parquet")
    monkeypatch.setattr(verdicts, "RESULTS", tmp_path)
    monkeypatch.setattr(verdicts, "read_claims", lambda: claims)


def test_the_page_shows_words_and_decides_again_with_another_margin(published_words):
    words, again = verdicts.read_words(), verdicts.read_words(10)
    assert words["word"].tolist() == ["reproduced"] * 2
    assert again["word"].tolist() == ["equivalent"] * 2
    assert again["by_draw"].tolist() == words["by_draw"].tolist()
    assert words["by_draw"].str.split().str.len().tolist() == [1, 2]
    cells = verdicts.word_table(words)["effect (points)"]
    assert cells.str.startswith(("mAP +6.3 (", "intersection -6.3 (")).all()
    assert verdicts.detail_table(words)["what would tell"].tolist() == ["", ""]
    axes = verdicts.plot_claims(words).axes[0]
    effects = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert effects == pytest.approx(words["effect"].abs())  # each in the direction of its claim
    assert [text.get_text() for text in axes.texts] == ["reproduced"] * 2


def test_plain_loops_give_the_published_words():
    path = RESULTS / "claims_queries.parquet"
    if not path.is_file():
        pytest.skip("the table of claims has not been run yet")
    queries = pd.read_parquet(path)
    check_words(read_claims()[:5], queries)
    words = decide(read_claims(), queries, pd.read_parquet(RESULTS / "claims_draws.parquet"))["word"]
    assert set(words) <= set(WORDS)
    runs = pd.read_csv(RESULTS / "claims.csv").set_index("id")
    means = queries.groupby("id", observed=True)[["ap", "overlap"]].mean()
    np.testing.assert_allclose(means["ap"], runs.loc[means.index, "map_expected"], rtol=1e-5)
    np.testing.assert_allclose(means["overlap"], runs.loc[means.index, "intersection"], rtol=1e-5)


def test_the_configuration_has_claims_whose_words_can_be_given():
    config = yaml.safe_load((PROJECT_ROOT / "config" / "claims.yaml").read_text())
    assert len(config["claims"]) <= 12
    assert len({entry["name"] for entry in config["claims"]}) == len(config["claims"])
    for entry in config["claims"]:
        assert entry.keys() - Claim.__annotations__.keys() <= {"plus", "minus", "data", "n_bits"}
        assert len(config["seeds"]) >= entry["least_seeds"]
        assert entry["margin"] > 0
        assert json.dumps(entry["minus"])
