"""The screening: `scores.ic` column by column, right on hand-made cases, honest on noise."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from research import scores
from research.errors import UserError
from research.screening import Screening, screen_features, shape, tables
from research.screening.ics import score

START = datetime(2025, 1, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TEN = 10 * MINUTE


def grid(days=20, symbols=2, every=TEN):
    rows = days * timedelta(days=1) // every
    time = pl.Series([START + (k + 1) * every for k in range(rows)], dtype=pl.Datetime("us", "UTC"))
    return pl.concat(pl.DataFrame({"symbol": f"S{s}", "time": time}) for s in range(symbols))


def labelled(key, y, horizon=TEN):
    y = pl.Series("y", y, dtype=pl.Float64)
    return key.with_columns(known_at=pl.col("time") + horizon, y=y)


def world(seed=0, edge=0.1, days=20, symbols=2, every=TEN):
    """A table with a planted feature, a null one, a coarse one; labels over ten and thirty."""
    key, rng = grid(days, symbols, every), np.random.default_rng(seed)
    n = key.height
    noise, planted = rng.standard_t(4, n), rng.normal(size=n)
    y = 1e-3 * (noise + edge * planted)
    table = key.with_columns(
        planted=pl.Series(planted),
        null=pl.Series(rng.normal(size=n)),
        coarse=pl.Series(rng.integers(-1, 2, n).astype(float)),
        sigma=pl.lit(1e-3),
    )
    return table, {
        TEN: labelled(key, y),
        3 * TEN: labelled(key, y + 1e-3 * rng.normal(size=n), 3 * TEN),
    }


@pytest.fixture(scope="module")
def seen():
    table, labels = world()
    return screen_features(table, labels, horizon=TEN)


def joined(table, labels, name):
    both = table.join(labels, on=["symbol", "time"], maintain_order="left")
    return both.filter(pl.col("known_at") <= table["time"].max() + TEN).select(
        "symbol", "time", "y", forecast=name
    )


@pytest.mark.parametrize("days", [2, 9, 20])
def test_every_ic_and_interval_is_that_of_scores_ic(days):
    table, labels = world(seed=days, days=days)
    hole = (pl.int_range(pl.len()) % 7 > 0) & (pl.col("time") > START + timedelta(hours=30))
    table = table.with_columns(pl.when(hole).then("coarse").alias("coarse"))
    made = screen_features(table, labels, horizon=TEN, draws=200, seed=3)
    for row in made.ic.iter_rows(named=True):
        rows = joined(table, labels[row["horizon"]], row["feature"])
        plain = scores.ic(rows, horizon=row["horizon"], draws=200, seed=3)
        assert (row["ic"], row["low"], row["high"]) == pytest.approx(
            (plain.ic, plain.low, plain.high), abs=1e-12
        )
        assert (row["days"], row["rows"]) == (plain.n_days, plain.n_rows)


def test_days_and_symbols_are_those_of_scores(seen):
    table, labels = world()
    for name in ("planted", "coarse"):
        rows = joined(table, labels[TEN], name)
        plain = scores.ic_by_day(rows, horizon=TEN)
        mine = seen.by_day.filter(pl.col("feature") == name).drop("feature")
        assert mine["day"].equals(plain["day"]) and mine["rows"].equals(plain["rows"])
        for column in ("ic", "low", "high"):
            np.testing.assert_allclose(
                mine[column].to_numpy(), plain[column].to_numpy(), atol=1e-12
            )
        plain = scores.ic_by_symbol(rows, horizon=TEN, draws=300)
        mine = seen.by_symbol.filter(pl.col("feature") == name)
        assert mine["symbol"].to_list() == plain["symbol"].to_list()
        for column in ("ic", "low", "high", "days", "rows"):
            np.testing.assert_allclose(
                mine[column].to_numpy(), plain[column].to_numpy(), atol=1e-12
            )


def test_the_ic_of_a_day_is_spearmans(seen):
    table, labels = world()
    rows = joined(table, labels[TEN], "coarse")
    first = rows.filter(pl.col("time") <= START + timedelta(days=1))
    one = seen.by_day.filter((pl.col("feature") == "coarse") & (pl.col("day") == date(2025, 1, 20)))
    plain = spearmanr(first["forecast"], first["y"])[0]
    assert one["ic"].item() == pytest.approx(plain, abs=1e-12)
    assert one["rows"].item() == first.height


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_few_and_tied_rows_are_scored_as_scores_does(data):
    n = data.draw(st.integers(2, 90))
    numbers = st.integers(-3, 3).map(float)
    x, y = (np.array(data.draw(st.lists(numbers, min_size=n, max_size=n))) for _ in "xy")
    key = grid(days=4, symbols=1, every=timedelta(hours=1)).head(n)
    made = score([x], y, key["time"], np.ones(n, bool), horizon=TEN, draws=20, seed=1)
    rows = key.with_columns(forecast=pl.Series(x), y=pl.Series(y))
    plain = scores.ic(rows, horizon=TEN, draws=20, seed=1)
    assert (made.ic[0], made.low[0], made.high[0]) == pytest.approx(
        (plain.ic, plain.low, plain.high), abs=1e-9
    )


def test_a_planted_feature_is_found_and_a_null_one_is_not(seen):
    assert seen.ranked["feature"][0] == "planted"
    assert seen.clear == ["planted"]
    row = seen.stability.row(by_predicate=pl.col("feature") == "planted", named=True)
    assert row["month_same"] == row["symbol_same"] == 1.0
    assert (row["months"], row["symbols"]) == (2, 2)


def test_an_interval_covers_zero_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    key = grid(days=30, symbols=2, every=timedelta(minutes=20))
    columns = {f"f{k}": rng.normal(size=key.height) for k in range(200)}
    y = rng.standard_t(4, key.height)
    found = screen_features(
        key.with_columns(pl.Series(n, v) for n, v in columns.items()),
        {TEN: labelled(key, y)},
        horizon=TEN,
    )
    # 5 % of 200 is 10; a binomial count lies within 3 and 19 in 99.8 %
    assert 3 <= len(found.clear) <= 19


def test_nothing_is_scored_beyond_what_the_main_horizon_knows():
    table, labels = world(days=3)
    made = screen_features(table, labels, horizon=TEN)
    longer = made.ic.filter((pl.col("horizon") == 3 * TEN) & (pl.col("feature") == "null"))
    assert longer["rows"].item() == table.height - 2 * 2  # two symbols, two bars less


def test_stability_by_hand():
    ic = pl.DataFrame({"feature": ["a", "b"], "ic": [0.1, -0.2]})
    month = pl.DataFrame(
        {"feature": ["a", "a", "a", "b"], "ic": [0.3, -0.1, 0.1, -0.2], "month": [1, 2, 3, 1]}
    )
    rows = tables.stability(ic, month=month).rows(named=True)
    assert rows[0]["months"] == 3 and rows[0]["month_mean"] == pytest.approx(0.1)
    assert rows[0]["month_sd"] == pytest.approx(0.2)
    assert rows[0]["month_same"] == pytest.approx(2 / 3)
    assert rows[1]["month_sd"] is None and rows[1]["month_same"] == 1.0


def test_months_are_means_of_their_days(seen):
    days = seen.by_day.filter(pl.col("feature") == "planted")
    february = days.filter(pl.col("day") >= date(2025, 2, 1))
    row = seen.by_month.filter(pl.col("feature") == "planted").row(1, named=True)
    assert row["month"] == date(2025, 2, 1) and row["days"] == february.height == 8
    assert row["ic"] == pytest.approx(february["ic"].mean())
    assert row["rows"] == february["rows"].sum()


def test_quantiles_over_time_are_numpys_and_count_what_is_missing():
    table, _ = world(days=9)
    hole = pl.col("time") <= START + timedelta(hours=12)
    table = table.with_columns(pl.when(~hole).then("null").alias("null"))
    rows = shape.over_time(table, ["planted", "null"])
    assert rows["feature"].to_list() == ["planted"] * 9 + ["null"] * 9
    first = rows.row(9, named=True)
    day = table.filter(pl.col("time") <= START + timedelta(days=1))["null"].drop_nulls().to_numpy()
    expected = np.quantile(day, [0.01, 0.25, 0.5, 0.75, 0.99])
    assert [first[q] for q in shape.QUANTILES] == pytest.approx(expected.tolist())
    assert (first["rows"], first["missing"]) == (len(day), 0.5)
    weekly = shape.over_time(world(days=30)[0], ["null"])
    assert weekly["period"].diff().drop_nulls().unique().to_list() == [timedelta(days=7)]


def test_turnover_is_one_less_the_rank_autocorrelation():
    rng = np.random.default_rng(2)
    key = grid(days=10, symbols=2)
    slow = np.concatenate([np.cumsum(rng.normal(size=key.height // 2)) for _ in "ab"])
    table = key.with_columns(
        slow=pl.Series(slow), fast=pl.Series(rng.normal(size=key.height)), still=pl.lit(3.0)
    ).filter(pl.col("time") != START + 500 * TEN)  # a gap pairs nothing
    found = shape.described(table, ["slow", "fast", "still"]).rows(named=True)
    each = []
    for part in table.partition_by("symbol"):
        v, step = part["slow"].to_numpy(), part["time"].diff().to_list()
        near = [k for k in range(1, len(v)) if step[k] == TEN]
        each.append(spearmanr(v[near], v[np.array(near) - 1])[0])
    assert found[0]["turnover"] == pytest.approx(1 - np.mean(each), abs=1e-9)
    assert found[0]["pairs"] == table.height - 4
    assert found[1]["turnover"] == pytest.approx(1, abs=0.1)
    assert found[2]["turnover"] is None and found[2]["constant"]


def test_columns_count_what_is_missing_and_infinite():
    table, labels = world(days=3)
    n = table.height
    bad = pl.Series([None] * 10 + [float("inf")] * 2 + [float(k % 5) for k in range(n - 12)])
    made = screen_features(table.with_columns(bad=bad), labels, horizon=TEN)
    row = made.columns.row(by_predicate=pl.col("feature") == "bad", named=True)
    assert (row["rows"], row["infinite"], row["distinct"]) == (n, 2, 5)
    assert row["missing"] == pytest.approx(10 / n)
    assert made.findings.filter(pl.col("feature") == "bad")["finding"].to_list() == ["infinite"]
    assert made.ic.filter(pl.col("feature") == "bad")["rows"].max() == n - 12


def test_redundancy_orders_families_and_names_pairs():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 3_000))
    table = pl.DataFrame(
        {"a": a, "b": b, "a_too": a + 0.05 * rng.normal(size=3_000), "minus_b": -b, "one": 1.0}
    )
    square, pairs = shape.redundancy(table, table.columns)
    order = square["feature"].to_list()
    assert square.columns == ["feature", *order] and "one" not in order
    assert {frozenset(order[:2]), frozenset(order[2:])} == {
        frozenset({"a", "a_too"}),
        frozenset({"b", "minus_b"}),
    }
    plain = spearmanr(table["a"], table["a_too"])[0]
    assert square.filter(pl.col("feature") == "a")["a_too"].item() == pytest.approx(plain)
    assert pairs.select("feature", "twin").rows() == [("b", "minus_b"), ("a", "a_too")]
    assert pairs["correlation"].to_list() == pytest.approx([-1.0, plain])
    assert pairs["rows"].to_list() == [3_000, 3_000]


def test_a_feature_without_a_score_stays_in_every_table():
    table, labels = world(days=3)
    made = screen_features(table.with_columns(empty=pl.lit(None)), labels, horizon=TEN)
    last = made.ranked.row(-1, named=True)
    assert (last["feature"], last["ic"], last["rows"]) == ("empty", None, 0)
    assert made.stability.filter(pl.col("feature") == "empty")["months"].item() == 0
    assert made.findings["finding"].to_list() == ["unknown"]
    assert isinstance(made._repr_html_(), str)


def test_levels_are_named_with_bars():
    table, labels = world(days=3)
    bars = table.select("symbol", "time", close=100 + pl.col("planted").cum_sum())
    table = table.join(bars, on=["symbol", "time"], maintain_order="left").rename(
        {"close": "level"}
    )
    found = screen_features(table, labels, bars=bars, horizon=TEN).findings
    assert found.select("feature", "finding").rows() == [("level", "level")]


def test_it_tells_how_far_it_is_and_shows_itself(seen):
    table, labels = world(days=3)
    told = []
    made = screen_features(table, labels, horizon=TEN, progress=lambda *at: told.append(at))
    assert [done for done, _, _ in told] == list(range(1, told[0][1] + 1))
    assert isinstance(made, Screening)
    page = seen._repr_html_()
    assert "1 of 3 features have an interval clear of zero" in page and "by chance" in page
    assert "20 UTC days" in page and "2 of 2 months" in page


def test_pandas_frames_are_taken(seen):
    table, labels = world()
    frames = {ahead: rows.to_pandas() for ahead, rows in labels.items()}
    again = screen_features(table.to_pandas(), frames, horizon=TEN)
    assert again.ic.equals(seen.ic)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t, y: (t.head(40), y), "40 of 40 rows have a feature and a label over 10 min, 100"),
        (lambda t, y: (t, {3 * TEN: y[TEN]}), "no labels over 10 min, the horizon asked for. Here"),
        (lambda t, y: (t.select("symbol", "time", "sigma"), y), "no feature column here, only"),
        (lambda t, y: (t, {TEN: y[TEN].drop("known_at")}), "column 'known_at' is missing"),
    ],
)
def test_mistakes_are_one_line(change, says):
    table, labels = change(*world(days=3))
    with pytest.raises(UserError) as error:
        screen_features(table, labels, horizon=TEN)
    assert says in str(error.value) and "\n" not in str(error.value)
