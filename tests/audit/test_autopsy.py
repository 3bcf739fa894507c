"""Each source's claim comes back on a random walk, and goes with its leaks."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.audit import autopsy
from research.audit.autopsy import differences, ledgers, rolling_bot, steps, trend, walk
from research.errors import UserError

BEGUN = datetime(2025, 1, 1, tzinfo=UTC)


def trades(net, *, entry=None, minutes=1):
    """Return trades of 100 each with these net returns; one after the other if left out."""
    start = range(len(net)) if entry is None else entry
    return pl.DataFrame(
        {
            "entry_time": [BEGUN + timedelta(minutes=n) for n in start],
            "exit_time": [BEGUN + timedelta(minutes=n + minutes) for n in start],
            "entry_price": [50.0] * len(net),
            "quantity": [2.0] * len(net),
            "net": [100.0 * value for value in net],
        }
    )


def follows_the_shape(table):
    """Hold what every autopsy's table promises."""
    assert dict(table.schema) == autopsy.COLUMNS
    assert table["step"].to_list() == list(range(1, table.height + 1))
    assert table["honest"].to_list() == [False] * (table.height - 1) + [True]
    assert table["trials"].is_sorted() and (table["trials"] >= table["step"]).all()
    inside = table.filter(~pl.col("out_of_sample"))
    assert inside["low"].is_null().all() and not inside["honest"].any()
    assert (table.filter(~pl.col("honest"))["says"] == "not a result").all()
    last = table.row(-1, named=True)
    assert last["out_of_sample"] and last["low"] < last["number"] < last["high"]


# -- the claims, and what is left of them ------------------------------------------------------


def test_s2_hindsight_earns_on_a_random_walk():
    table = autopsy.s2(days=30, seed=3)
    follows_the_shape(table)
    claimed, cheap, causal, fee, honest = table["number"]
    assert 2.5 < claimed < 7 and table["t"][0] > 3  # 4.2 to 5.1 in eighteen months
    assert claimed - cheap == pytest.approx(0.4, abs=0.01)  # 0.2 bp on each side
    assert causal < cheap / 2
    assert causal - fee == pytest.approx(9.6, abs=0.05)  # 2 x (5 - 0.2)
    assert fee - honest == pytest.approx(2.0, abs=0.05)
    assert table["high"][-1] < 0


def test_s3_the_ledger_alone_makes_the_claim():
    table = autopsy.s3(days=20, seed=2)
    follows_the_shape(table)
    assert table["number"][0] > 20 and abs(table["number"][1]) < 15
    assert table["high"][-1] < 0


def test_s4_remembers_a_random_walk():
    raw = walk.gaussian(9000, seed=1)
    first = trend.plan(raw, 7000)[:2]  # the walk after it takes long: the notebook shows it
    table = steps.waterfall(first, unit="% won", number=steps.win_rate)
    assert 85 < table["win_rate"][0] < 97 and 5 < table["profit_factor"][0] < 20
    assert table["win_rate"][1] < 35 and table["profit_factor"][1] < 0.4
    assert table["low"][0] is None and table["high"][1] < 50


def test_s1_validates_noise():
    table = autopsy.s1(days=13, seed=1)
    follows_the_shape(table)
    assert table["number"][0] > 30 and table["number"][1] < table["number"][0] / 2
    assert table["number"][-1] < table["number"][0] / 3


def test_real_minutes_take_the_place_of_the_walk():
    raw = walk.clustered(30, seed=1)
    bars = raw.with_columns(time=pl.col("open_time") + timedelta(minutes=1))
    said = []
    found = autopsy.run("s3", bars, progress=lambda *told: said.append(told))
    assert found["market"] == "SIM01USDT" and found["source"] == "S3"
    assert said[-1][:2] == (6, 6) and len(said) == 6
    assert json.loads(json.dumps(found)) == found
    lines = autopsy.text(found).splitlines()
    assert len(lines) == 7 and "not a result" in lines[1]
    assert "honest, 6 trials" in lines[-1] and "[" in lines[-1]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: autopsy.run("S5"), "no source 'S5'"),
        (lambda: autopsy.s1(days=2), "autopsy.s1: needs at least 13 days, found 2"),
        (lambda: autopsy.s2(days=2), "autopsy.s2: needs at least 30 days, found 2"),
        (lambda: autopsy.s3(days=2), "autopsy.s3: needs at least 20 days, found 2"),
        (lambda: autopsy.s4(minutes=60), "autopsy.s4: needs at least 3000 minutes, found 60"),
    ],
)
def test_what_is_too_little_is_refused(call, said):
    with pytest.raises(UserError, match=said):
        call()


def test_bars_of_several_symbols_are_refused():
    raw = walk.gaussian(10, seed=1)
    both = pl.concat([raw, raw.with_columns(symbol=pl.lit("XUSDT"))])
    bars = both.with_columns(time=pl.col("open_time") + timedelta(minutes=1))
    with pytest.raises(UserError, match="must be of one symbol, found 2"):
        autopsy.s3(bars.sort("symbol", "time"))


# -- its parts against other ways to count -----------------------------------------------------


def test_the_walk_is_a_walk():
    bars = walk.gaussian(20_000, seed=1)
    moves = bars["close"].log().diff().drop_nulls().to_numpy()
    assert moves.std() == pytest.approx(7e-4, rel=0.03)
    assert abs(moves.mean() / moves.std() * np.sqrt(len(moves))) < 3
    assert abs(np.corrcoef(moves[1:], moves[:-1])[0, 1]) < 0.03
    assert (bars["open"][1:] == bars["close"][:-1]).all()
    assert (bars["high"] >= bars.select(pl.max_horizontal("open", "close")).to_series()).all()
    assert (bars["low"] <= bars.select(pl.min_horizontal("open", "close")).to_series()).all()


def test_numbers_of_trades_by_hand():
    table = trades([0.01, -0.005, 0.02, -0.01])
    assert steps.bps(table) == pytest.approx(37.5)
    assert steps.win_rate(table) == 50.0
    assert steps.profit_factor(table) == pytest.approx(0.03 / 0.015)
    each = np.array([0.01, -0.005, 0.02, -0.01])
    assert steps.t_value(table) == pytest.approx(each.mean() / (each.std(ddof=1) / 2))
    assert steps.bps(table.clear()) is None and steps.win_rate(table.clear()) is None
    assert steps.profit_factor(trades([0.01])) is None and steps.t_value(trades([0.01])) is None


def test_an_interval_is_as_wide_as_its_standard_error():
    each = np.random.default_rng(1).normal(0.0, 0.01, 400)
    low, high = steps.interval(trades(each), steps.bps)
    assert (high - low) / 2 == pytest.approx(1.96 * each.std() / 20 * 1e4, rel=0.12)
    assert low < steps.bps(trades(each)) < high


def test_trades_of_one_move_are_drawn_together():
    each = np.random.default_rng(1).normal(0.0, 0.01, 60)
    copies = np.repeat(each, 10)
    alone = steps.interval(trades(each), steps.bps)
    start = np.repeat(np.arange(60) * 5, 10).tolist()
    together = steps.interval(trades(copies, entry=start, minutes=3), steps.bps)
    assert together == pytest.approx(alone, rel=1e-9)
    assert steps.interval(trades(each[:9]), steps.bps) == (None, None)
    assert steps.interval(trades(copies, entry=[0] * 600), steps.bps) == (None, None)


def test_the_validation_sharpe_on_noise_is_anything():
    dice = np.random.default_rng(1)
    found = []
    for _ in range(40):
        path = np.cumsum(dice.normal(0, 7e-4, 586))
        came = path[10:] - path[:-10]
        found.append(rolling_bot.validation_sharpe(np.full(576, 1e-4), came))
    assert max(found) > 80 and min(found) < -80
    assert rolling_bot.validation_sharpe(np.full(5, 1e-7), np.ones(5)) is None  # below its edge


def test_a_jump_arrives_a_window_late_when_the_kernel_is_turned_round():
    jump = np.zeros(4000)
    jump[2000] = 1.0
    right, wrong = (differences.differenced(jump, 0.4, backwards=way) for way in (False, True))
    assert int(np.nanargmax(right)) == 2000 and int(np.nanargmax(wrong)) == 3457
    assert wrong[3457] == 1.0 and wrong[2000] == pytest.approx(-1e-5, rel=0.01)
    assert np.isnan(right[:1457]).all() and np.isfinite(right[1457:]).all()


@given(st.floats(0.2, 0.9))
def test_weights_are_those_of_the_binomial_series(order):
    from scipy.special import binom

    made = differences.weights(order)
    k = np.arange(min(len(made), 50))
    assert made[k] == pytest.approx((-1.0) ** k * binom(order, k), rel=1e-9)
    assert abs(made[-1]) >= differences.THRESHOLD


def test_whole_differences_are_differences():
    price = np.random.default_rng(1).normal(size=300).cumsum()
    assert differences.differenced(price, 1.0)[1:] == pytest.approx(np.diff(price))
    assert differences.searched(price, backwards=False) > 0.1
    noise = np.random.default_rng(1).normal(size=2000)
    assert differences.searched(np.tile(noise, 5), backwards=False) <= 0.2


def test_the_ledger_that_prints_money():
    position = np.array([0.25, 0.25, 0.5, 0.75, 1.0])
    price = np.array([100.0, 110.0, 110.0, 110.0, 110.0])
    assert ledgers.revalued(price, position).tolist() == [10_000, 10_250, 10_500, 10_750, 11_000]
    down = np.array([100.0, 90.0, 90.0, 90.0, 90.0])
    left = ledgers.revalued(down, np.array([1.0, 1.0, 0.75, 0.5, 0.25]))
    assert left.tolist() == [10_000, 9_000, 9_250, 9_500, 9_750]


@given(st.integers(0, 1000), st.sampled_from([0.0, 1e-3]))
def test_the_true_ledger_is_the_sum_of_what_was_held(seed, cost):
    dice = np.random.default_rng(seed)
    price = 100 * np.exp(dice.normal(0, 0.01, 200).cumsum())
    side = np.sign(dice.normal(size=200))
    worth, position = ledgers.kept(price, price, side, cost=cost)
    units, held, earned, paid = 0.0, 0.0, 0.0, 0.0
    for i, new in enumerate(position):
        if i:
            earned += units * (price[i] - price[i - 1])
        bought = (new - held) * ledgers.CAPITAL / price[i] if new else -units
        paid += abs(bought) * price[i] * cost
        units, held = units + bought, new
    assert worth[-1] == pytest.approx(ledgers.CAPITAL + earned - paid)
    assert set(np.abs(np.diff(position))) <= {0.25, 1.0}


def test_what_a_curve_of_five_times_takes():
    one = pl.DataFrame({"removed": ["claimed"], "number": [4.43]})
    assert autopsy.multiple(one)["multiple"][0] == pytest.approx(5.054, rel=0.002)
