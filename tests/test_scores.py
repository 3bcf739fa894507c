"""Scores: against scipy and hand counts, and by simulation where an interval is promised."""

from datetime import UTC, datetime, timedelta
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from scipy.signal import lfilter
from scipy.stats import pearsonr, spearmanr

from research import schema, scores, signals
from research.errors import UserError
from research.scores import blocks

MINUTE = timedelta(minutes=1)
HORIZON = 10 * MINUTE
START = datetime(2025, 1, 1, tzinfo=UTC)


def market(days=3, symbols=2, seed=0, edge=0.0, ar=0.95, step=MINUTE):
    """Overlapping ten-bar returns and persistent forecasts, correlated by `edge`."""
    rng = np.random.default_rng(seed)
    n = round(days * timedelta(days=1) / step)
    times = pl.datetime_range(START + step, START + n * step, step, eager=True)

    def one(symbol):
        noise = lfilter([np.sqrt(1 - ar**2)], [1, -ar], rng.standard_normal(n))
        y = np.convolve(rng.standard_normal(n + 9), np.ones(10), "valid") / np.sqrt(10)
        return pl.DataFrame(
            {
                "symbol": f"S{symbol}",
                "time": times.dt.cast_time_unit("us"),
                "forecast": edge * y + np.sqrt(1 - edge**2) * noise,
                "sigma": 0.001 * (1 + symbol),
                "y": y * 0.003,
            }
        )

    return pl.concat([one(symbol) for symbol in range(symbols)])


def day_of(table):
    return (table["time"] - timedelta(microseconds=1)).dt.date()


# the information coefficient


def test_ic_is_the_mean_of_daily_pooled_spearman_with_ties():
    table = market(3, edge=0.1).with_columns(pl.col("forecast").round(1))
    by_hand = [
        spearmanr(day["forecast"], day["y"]).statistic
        for (_,), day in table.group_by(day_of(table).alias("day"))
    ]
    score = scores.ic(table, horizon=HORIZON)
    assert score.ic == pytest.approx(np.mean(by_hand), abs=1e-12)
    assert (score.n_days, score.n_rows) == (3, table.height)
    assert score.low < score.ic < score.high


def test_a_bar_that_ends_at_midnight_belongs_to_its_day():
    table = market(2, 1)
    assert table["time"].max() == START + timedelta(days=2)
    assert scores.ic(table, horizon=HORIZON).n_days == 2


def test_rows_with_null_are_left_out():
    table = market(2)
    holed = table.with_columns(
        pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise("y").alias("y")
    )
    left = scores.ic(holed, horizon=HORIZON)
    assert left == scores.ic(holed.drop_nulls("y"), horizon=HORIZON)
    assert left.n_rows == holed["y"].count() < table.height


def test_a_constant_day_counts_as_zero():
    table = market(2, 1, edge=0.5)
    flat = pl.when(day_of(table) == START.date()).then(0.1).otherwise("forecast")
    each = scores.ic_by_day(table, horizon=HORIZON)["ic"]
    score = scores.ic(table.with_columns(forecast=flat), horizon=HORIZON)
    assert score.ic == pytest.approx(each[1] / 2)
    nothing = scores.ic(table.with_columns(forecast=0.1), horizon=HORIZON)
    assert (nothing.ic, nothing.low, nothing.high) == (0, 0, 0)


def test_a_perfect_forecast_scores_one_without_doubt():
    table = market(20, 1).with_columns(forecast="y")
    for part in (table, table.filter(pl.col("time") < START + timedelta(days=4))):
        score = scores.ic(part, horizon=HORIZON)
        assert (score.ic, score.low, score.high) == pytest.approx((1, 1, 1))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 5), st.floats(-3, 3))
def test_only_order_matters(seed, scale, shift):
    table = market(1, 2, seed=seed, step=10 * MINUTE)
    bent = table.with_columns(forecast=(pl.col("forecast") * scale).exp() + shift)
    assert scores.ic(bent, horizon=HORIZON).ic == pytest.approx(
        scores.ic(table, horizon=HORIZON).ic, abs=1e-9
    )
    turned = scores.ic(table.with_columns(-pl.col("forecast")), horizon=HORIZON)
    assert turned.ic == pytest.approx(-scores.ic(table, horizon=HORIZON).ic, abs=1e-12)


# blocks and intervals


def test_fifteen_days_are_drawn_whole_and_fewer_in_pieces():
    whole, pieces = market(15, 1, step=5 * MINUTE), market(14, 1, step=5 * MINUTE)
    assert "15 whole UTC days" in scores.ic(whole, horizon=HORIZON).blocks
    said = scores.ic(pieces, horizon=HORIZON).blocks
    assert said.startswith("1,000 draws of 60 blocks of ") and "under" not in said
    assert ", as fewer than 15 UTC days hold 30 rows, all symbols together; one end moved" in said
    cut = blocks.cut(pieces["time"], timedelta(hours=6))
    assert "28 blocks of 12 h" in cut.text
    long = blocks.cut(market(40, 1, step=30 * MINUTE)["time"], timedelta(hours=30))
    assert "14 blocks of 3 UTC days" in long.text


@pytest.mark.parametrize(
    ("days", "step", "hours", "says"),
    [
        (16, 30, 1, "16 whole UTC days"),
        (16, 30, 12, "16 whole UTC days"),
        (16, 30, 13, "8 blocks of 2 UTC days"),
        (16, 30, 24 * 20, "1 block of 40 UTC days"),
        (40, 60, 1, "20 groups of UTC days with at least 30 rows"),
        (40, 60, 30, "7 blocks of 3 groups of UTC days with at least 30 rows"),
        (2, 30, 1, "24 blocks of 2 h, as fewer than 15 UTC days hold 30 rows"),
        (2, 30, 40, "1 block of 80 h, as fewer than 15 UTC days hold 30 rows"),
    ],
)
def test_what_the_blocks_are_is_said_in_words(days, step, hours, says):
    times = market(days, 1, step=step * MINUTE)["time"]
    cut = blocks.cut(times, timedelta(hours=hours))
    assert cut.text == says
    enough = f"500 draws of {says}, all symbols together"
    short = f"too short for an interval: {says}"
    assert cut.told(500) == (enough if cut.count >= 3 else short)


def test_blocks_hold_all_symbols_together():
    table = market(16, 3, step=30 * MINUTE)
    cut = blocks.cut(table["time"], HORIZON)
    spans = table.select("time", block=pl.Series(cut.block)).group_by("time")
    assert spans.agg(pl.col("block").n_unique())["block"].max() == 1


def test_thin_days_are_ranked_together_and_none_is_lost():
    hourly = market(40, 1, step=timedelta(hours=1))
    cut = blocks.cut(hourly["time"], HORIZON)
    sizes = np.bincount(cut.group)
    assert sizes.min() >= 30 and sizes.sum() == hourly.height
    assert cut.n_days == 40 and "groups of UTC days with at least 30 rows" in cut.text
    stub = market(3, 1).slice(1435)  # five rows of the first day
    assert np.bincount(blocks.cut(stub["time"], HORIZON).group).tolist() == [1445, 1440]


def test_too_few_blocks_say_so_with_the_whole_range():
    score = scores.ic(market(1, 1), horizon=timedelta(hours=12))
    assert (score.low, score.high) == (-1, 1)
    assert "too short" in score.blocks


@pytest.mark.parametrize(("days", "symbols"), [(3, 1), (20, 1)])
def test_interval_covers_zero_where_nothing_is(days, symbols):
    """Overlapping labels, AR(.95) forecasts: 95 % of intervals should cover 0.

    Of 200, 181 or fewer has chance 0.5 % at a coverage of 95 %; naive intervals cover 45 %.
    """
    markets = (market(days, symbols, seed=s, step=4 * MINUTE) for s in range(200))
    found = [scores.ic(m, horizon=40 * MINUTE, draws=300) for m in markets]
    covered = sum(score.low <= 0 <= score.high for score in found)
    assert 182 <= covered <= 199


def test_intervals_are_told_by_the_seed():
    table = market(16, 1, step=5 * MINUTE)
    first, again, other = (scores.ic(table, horizon=HORIZON, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first.low != other.low and first.ic == other.ic


# differences and their kin


def test_paired_difference_is_that_of_the_two_on_shared_rows():
    a, b = market(16, 2, edge=0.3, step=5 * MINUTE), market(16, 2, step=5 * MINUTE)
    b = b.with_columns(y=a["y"]).filter(pl.col("time") > START + timedelta(days=1))
    shared = a.join(b, on=["symbol", "time"], how="semi")
    found = scores.paired(a, b, horizon=HORIZON)
    alone = [scores.ic(x, horizon=HORIZON).ic for x in (shared, b)]
    assert found.ic == pytest.approx(alone[0] - alone[1])
    assert found.n_rows == shared.height


def test_paired_is_sure_of_near_twins():
    a = market(20, 1, edge=0.2, step=5 * MINUTE)
    b = a.with_columns(pl.col("forecast") + 0.02 * pl.col("y") / 0.003)
    apart = scores.paired(b, a, horizon=HORIZON)
    alone = scores.ic(a, horizon=HORIZON)
    assert 0 < apart.low < apart.ic
    assert apart.high - apart.low < (alone.high - alone.low) / 5
    same = scores.paired(a, a, horizon=HORIZON)
    assert (same.ic, same.low, same.high) == (0, 0, 0)


def test_paired_without_shared_rows_is_refused():
    a = market(2, 1)
    with pytest.raises(UserError, match="share 0 keys"):
        scores.paired(a, a.with_columns(symbol=pl.lit("other")), horizon=HORIZON)


def test_ic_by_day_means_to_ic_and_holds_its_interval():
    table = market(4, 2, edge=0.1)
    days = scores.ic_by_day(table, horizon=HORIZON)
    assert days["ic"].mean() == pytest.approx(scores.ic(table, horizon=HORIZON).ic)
    assert days["rows"].to_list() == [2880] * 4
    assert days.filter((pl.col("low") < pl.col("ic")) & (pl.col("ic") < pl.col("high"))).height == 4
    assert days["day"][0] == START.date()


def test_ic_by_symbol_is_each_one_alone():
    table = market(4, 3, edge=0.1, step=5 * MINUTE)
    found = scores.ic_by_symbol(table, horizon=HORIZON)
    alone = scores.ic(table.filter(pl.col("symbol") == "S1"), horizon=HORIZON)
    assert found.row(1)[:4] == ("S1", alone.ic, alone.low, alone.high)


def test_pearson_scaled_is_the_mean_of_daily_pearson_of_scaled_values():
    table = market(3, 2, edge=0.2)
    scaled = table.with_columns(pl.col("forecast", "y") / pl.col("sigma"))
    by_hand = [
        pearsonr(day["forecast"], day["y"]).statistic
        for (_,), day in scaled.group_by(day_of(table).alias("day"))
    ]
    found = scores.pearson_scaled(table, horizon=HORIZON)
    assert found.ic == pytest.approx(np.mean(by_hand), abs=1e-12)
    with pytest.raises(UserError, match="sigma above zero"):
        scores.pearson_scaled(table.with_columns(sigma=0.0), horizon=HORIZON)


def test_decay_scores_each_horizon_against_its_own_labels():
    table = market(3, 2, edge=0.2, step=5 * MINUTE)
    labels = {HORIZON: table, 3 * HORIZON: table.with_columns(pl.col("y") * -2)}
    found = scores.decay(table, dict(reversed(labels.items())), cost=0.001)
    assert found["horizon"].to_list() == [HORIZON, 3 * HORIZON]
    assert found["ic"][0] == scores.ic(table, horizon=HORIZON).ic == -found["ic"][1]
    assert found["ic_break_even"][0] == pytest.approx(2 * found["ic_break_even"][1])


# break-even


@pytest.mark.parametrize(
    ("sigma", "cost", "expected"),
    [(8, 1, 0.071), (8, 4, 0.285), (16, 7, 0.25), (16, 16, 0.57), (32, 10, 0.178), (32, 16, 0.285)],
)
def test_break_even_ic_of_the_published_table(sigma, cost, expected):
    y = pl.Series([sigma * 1e-4, -sigma * 1e-4] * 50)
    table = market(1, 1).head(100).with_columns(y=y)
    assert scores.break_even_ic(table, cost=cost * 1e-4) == pytest.approx(expected, abs=0.005)


def test_tail_mean_is_the_mean_of_the_tail():
    draws = np.random.default_rng(0).standard_normal(2_000_000)
    for share in (0.01, 0.1, 0.5):
        tail = draws[draws > NormalDist().inv_cdf(1 - share)]
        assert scores.tail_mean(share) == pytest.approx(tail.mean(), rel=0.005)
    with pytest.raises(UserError, match="between 0 and 1"):
        scores.tail_mean(1.0)


def test_trading_at_the_break_even_ic_earns_the_cost():
    rng = np.random.default_rng(1)
    z, noise, cost = rng.standard_normal(1_000_000), rng.standard_normal(1_000_000), 0.0005
    share, sigma = 0.1, 0.002
    least = cost / (scores.tail_mean(share) * sigma)
    y = sigma * (least * z + np.sqrt(1 - least**2) * noise)
    traded = z > np.quantile(z, 1 - share)
    assert y[traded].mean() == pytest.approx(cost, rel=0.03)


def test_where_trading_is_paid_for_any_ic_does():
    """A rebate is a cost below zero; a number that is none is refused."""
    table = market(1, 1)
    assert scores.break_even_ic(table, cost=-0.001) == -scores.break_even_ic(table, cost=0.001) < 0
    still = table.with_columns(y=pl.lit(0.0))
    assert scores.break_even_ic(still, cost=-0.001) == 0 < scores.break_even_ic(still, cost=0.001)
    with pytest.raises(UserError, match="cost must be a finite number, got nan"):
        scores.break_even_ic(table, cost=float("nan"))


# quantiles


def binned(days=20, edge=0.3, bins=5, **options):
    table = market(days, 2, edge=edge, step=5 * MINUTE, **options)
    return signals.assign(table, bins=bins, scope="date")


def test_quantile_table_counts_means_and_hits_by_hand():
    table = binned()
    found = scores.quantile_table(table, horizon=HORIZON, interval=5 * MINUTE)
    assert found.table["bin"].to_list() == [1, 2, 3, 4, 5]
    for row in found.table.iter_rows(named=True):
        y = table.filter(pl.col("bin") == row["bin"])["y"].to_numpy()
        assert row["rows"] == len(y)
        assert row["mean"] == pytest.approx(y.mean())
        assert row["hit_rate"] == pytest.approx((y > 0).mean())
        assert row["cumulative"] == pytest.approx(y.sum() / 2 / 2)  # two symbols, two bars each
    means = found.table["mean"]
    assert found.spread == pytest.approx(means[4] - means[0])
    assert found.break_even_fee == pytest.approx(found.spread / 4)
    assert found.monotonicity == 1
    assert found.low < found.spread < found.high


def test_quantile_errors_are_those_of_day_means():
    table = binned()
    found = scores.quantile_table(table, horizon=HORIZON, interval=5 * MINUTE)
    top = table.filter(pl.col("bin") == 5)
    sums = top.group_by(day_of(top).alias("day")).agg(pl.col("y").sum(), n=pl.len())
    off = (sums["y"] - sums["n"] * top["y"].mean()).to_numpy()
    by_hand = np.sqrt((off**2).sum() * 20 / 19) / top.height
    assert found.table["error"][4] == pytest.approx(by_hand)


def test_what_moves_both_ends_alike_does_not_blur_the_spread():
    table = binned()
    day = (pl.col("time") - timedelta(microseconds=1)).dt.ordinal_day()
    table = table.with_columns(y=day.cast(pl.Float64) % 7 + 0.1 * (pl.col("bin") == 5))
    found = scores.quantile_table(table, horizon=HORIZON, interval=MINUTE)
    assert found.table["error"][4] > 0.1
    assert found.spread == pytest.approx(0.1, abs=0.02)
    assert found.high - found.low < found.table["error"][4] / 5


def test_spread_interval_covers_zero_where_nothing_is():
    found = [
        scores.quantile_table(binned(16, 0.0, seed=s), horizon=50 * MINUTE, interval=5 * MINUTE)
        for s in range(100)
    ]
    assert 88 <= sum(q.low <= 0 <= q.high for q in found) <= 100


def test_turnover_is_counted_within_symbols():
    table = market(1, 2).group_by("symbol", maintain_order=True).head(4)
    table = table.with_columns(bin=pl.Series([1, 1, 2, 2, 1, 2, 1, 2], dtype=pl.Int32))
    found = scores.quantile_table(table, horizon=HORIZON, interval=MINUTE)
    assert found.turnover == pytest.approx((1 + 3) / 6)


def test_one_bin_alone_has_no_spread():
    table = market(2, 1).with_columns(bin=pl.lit(3, pl.Int32))
    found = scores.quantile_table(table, horizon=HORIZON, interval=MINUTE)
    assert (found.spread, found.low, found.monotonicity, found.break_even_fee) == (None,) * 4
    assert "unknown" in found._repr_html_()


def test_cumulative_ends_where_the_table_says():
    table = binned(4)
    curve = scores.cumulative(table, horizon=HORIZON, interval=5 * MINUTE)
    found = scores.quantile_table(table, horizon=HORIZON, interval=5 * MINUTE)
    assert curve.height == 4 * 5
    assert curve.tail(5)["cumulative"].to_list() == pytest.approx(
        found.table["cumulative"].to_list()
    )


def test_hindsight_flatters_a_contrarian_score_on_a_random_walk():
    """S2's daily ranking in 5,000 bins earns 4 bps a trade on nothing at 10 bps a minute."""
    n, rng = 120 * 1440, np.random.default_rng(4)
    steps = rng.standard_normal(n + 10) * 0.001
    times = pl.datetime_range(START + MINUTE, START + n * MINUTE, MINUTE, eager=True)
    past = np.convolve(steps, np.ones(10), "valid")[:n]
    walk = pl.DataFrame({"symbol": "A", "time": times.dt.cast_time_unit("us")})
    walk = walk.with_columns(forecast=pl.Series(-past), y=pl.Series(steps[10:]))
    tables = {s: signals.assign(walk, bins=5000, scope=s) for s in ("trailing", "date")}
    found = scores.optimism(tables, horizon=MINUTE, interval=MINUTE)
    causal, hindsight = found.iter_rows(named=True)
    assert (causal["scope"], causal["known_in_time"], causal["gap"]) == ("trailing", True, 0)
    assert causal["low"] <= 0 <= causal["high"]
    assert hindsight["rows"] == 2 * 119  # one highest and one lowest a day, the first day unknown
    assert 2.5e-4 < hindsight["spread"] / 2 < 5.5e-4
    assert hindsight["low"] > 3e-4
    assert hindsight["gap"] == pytest.approx(hindsight["spread"] - causal["spread"])


def test_optimism_needs_its_causal_scope():
    with pytest.raises(UserError, match=r"'trailing' is not here\. Here: date"):
        scores.optimism({"date": binned(2)}, horizon=HORIZON, interval=5 * MINUTE)


# errors of regression, doors, and displays


def test_regression_stands_beside_knowing_nothing():
    table = market(1, 1).with_columns(forecast=pl.col("y") / 2)
    y = table["y"].to_numpy()
    rmse, mae, direction = scores.regression(table).iter_rows(named=True)
    assert rmse["value"] == pytest.approx(np.sqrt((y**2).mean()) / 2)
    assert rmse["baseline"] == pytest.approx(np.sqrt((y**2).mean()))
    assert mae["value"] == pytest.approx(np.abs(y).mean() / 2)
    assert direction["value"] == 1
    assert direction["baseline"] == pytest.approx(max((y > 0).mean(), (y < 0).mean()))
    silent = scores.regression(table.with_columns(forecast=0.0))
    assert silent["value"][2] is None


def test_pandas_frames_are_at_home():
    table = market(2, 1)
    frame = schema.to_pandas(table)
    assert scores.ic(frame, horizon=HORIZON) == scores.ic(table, horizon=HORIZON)
    assert_frame_equal(scores.regression(frame), scores.regression(table))


def test_what_is_missing_is_named():
    with pytest.raises(schema.TableError, match="column 'y' is missing"):
        scores.ic(market(1, 1).drop("y"), horizon=HORIZON)
    unknown = market(1, 1).with_columns(y=pl.lit(None, pl.Float64))
    with pytest.raises(UserError, match=r"at least 2 rows with known forecast and y .* found 0"):
        scores.ic(unknown, horizon=HORIZON)


def test_scores_show_themselves():
    score = scores.ic(market(2, 1), horizon=HORIZON)
    assert f"{score.ic:+.4f}" in score._repr_html_() and "2 UTC days" in score._repr_html_()
    html = scores.quantile_table(binned(bins=50), horizon=HORIZON, interval=MINUTE)._repr_html_()
    assert html.count("<tr>") == 11 and "bps per side" in html


def test_interval_covers_zero_for_reversal_without_skill():
    """Minus the past ten returns on a random walk scores above zero; the interval must know."""
    covered = naive = 0
    for seed in range(40):
        r = np.random.default_rng(seed).normal(0, 1e-3, 1440 * 20)
        past = np.convolve(r, np.ones(10))[: len(r)]
        ahead = np.append(np.convolve(r, np.ones(10), "valid")[1:], np.full(10, np.nan))
        times = pl.datetime_range(
            START, START + timedelta(minutes=len(r) - 1), "1m", eager=True, time_zone="UTC"
        ).dt.cast_time_unit("us")
        table = pl.DataFrame({"symbol": "A", "time": times, "forecast": -past, "y": ahead})
        table = table.fill_nan(None)
        score = scores.ic(table, horizon=timedelta(minutes=10), draws=300, seed=seed)
        covered += score.low <= 0 <= score.high
        lift = float(score.blocks.split("(")[-1].rstrip(")"))
        assert lift > 0
        naive += score.low + lift <= 0 <= score.high
    assert covered >= 36
    assert naive < covered
