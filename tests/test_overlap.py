"""The IC under overlap: statsmodels, scipy, shifts one by one, and size on persistent noise."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.signal import lfilter
from scipy.stats import binom, spearmanr
from statsmodels.stats import sandwich_covariance as sandwich

from research import scores
from research.errors import UserError

STEP = timedelta(minutes=10)
START = datetime(2025, 1, 1, tzinfo=UTC)
H = 10


def market(days=8, symbols=1, seed=0, edge=0.0):
    """Returns over ten bars that overlap, and forecasts of AR(.95)."""
    rng, n = np.random.default_rng(seed), round(days * timedelta(days=1) / STEP)
    times = pl.datetime_range(START + STEP, START + n * STEP, STEP, eager=True)

    def one(number):
        noise = lfilter([np.sqrt(1 - 0.95**2)], [1, -0.95], rng.standard_normal(n))
        y = np.convolve(rng.standard_normal(n + H - 1), np.ones(H), "valid") / np.sqrt(H)
        forecast = edge * y + np.sqrt(1 - edge**2) * noise
        named = {"symbol": f"S{number}", "time": times.dt.cast_time_unit("us")}
        return pl.DataFrame({**named, "forecast": forecast, "y": y})

    return pl.concat([one(number) for number in range(symbols)])


def judged(table):
    return scores.ic_test(table, horizon=H * STEP, interval=STEP)


def test_it_is_scipys_rank_correlation():
    for symbols in (1, 3):
        table = market(symbols=symbols, edge=0.1).with_columns(pl.col("forecast").round(1))
        found = judged(table)
        peer = spearmanr(table["forecast"], table["y"]).statistic
        assert found.ic == pytest.approx(peer, abs=1e-12)
        assert found.n_rows == table.height and found.n_times == table.height / symbols


def test_errors_are_statsmodels():
    table = market(edge=0.1, seed=1)
    found, n = judged(table), table.height
    u, v = ((table[c].rank() - table[c].rank().mean()).to_numpy() for c in ("forecast", "y"))
    u, v = u / u.std(), v / v.std()
    felt = (u * v - found.ic * (u * u + v * v) / 2)[:, None]
    flat = sandwich.S_hac_simple(felt, H - 1, weights_func=sandwich.weights_uniform)[0, 0]
    falling = sandwich.S_hac_simple(felt, 2 * H)[0, 0]
    assert found.t == pytest.approx(found.ic * n / np.sqrt(flat))
    assert found.t_newey_west == pytest.approx(found.ic * n / np.sqrt(falling))
    assert found.t_naive == pytest.approx(found.ic * n / np.sqrt((felt**2).sum()))


def apart(table, since, by):
    """Move what comes after a moment to later."""
    later = pl.col("time") >= since
    return table.with_columns(pl.when(later).then(pl.col("time") + by).otherwise("time"))


def test_shifts_are_scipys_correlations_of_rolled_forecasts():
    """One symbol: every row meets another, however long the gap; so says the plain definition."""
    table = market(days=3, seed=2, edge=0.05)
    forecast, y = table["forecast"].to_numpy(), table["y"].to_numpy()
    rolled = np.array([np.roll(forecast, k) for k in range(144, len(y) - 144 + 1)])
    peers = np.array([spearmanr(one, y).statistic for one in rolled])
    expected = (1 + (np.abs(peers) >= abs(spearmanr(forecast, y).statistic) - 1e-12).sum()) / (
        1 + len(peers)
    )
    for gap in (timedelta(0), timedelta(hours=3), timedelta(days=180)):
        found = judged(apart(table, START + timedelta(hours=30), gap))
        assert found.shifts == len(peers) == len(y) - 2 * 144 + 1
        assert found.p_shift == pytest.approx(expected)


def test_shifts_are_those_of_the_slow_twin():
    """With a gap, two symbols and one of them late: joined by key, one shift after the other."""
    table = market(days=3, symbols=2, seed=2, edge=0.05)
    late = (pl.col("symbol") == "S1") & (pl.col("time") < START + timedelta(hours=30))
    gap = pl.col("time").is_between(START + timedelta(hours=40), START + timedelta(hours=43))
    table = table.filter(~late & ~gap)
    ranks = (pl.col(c).rank() - pl.col(c).rank().mean() for c in ("forecast", "y"))
    table = table.select("symbol", "time", *ranks).with_columns(
        pl.col("forecast", "y") / pl.col("forecast", "y").std(ddof=0)
    )
    moments = table["time"].unique().sort()

    def met(shift):
        to = pl.concat([moments[shift:], moments[:shift]])
        moved = table.with_columns(pl.col("time").replace_strict(moments, to)).drop("y")
        both = moved.join(table.drop("forecast"), on=("symbol", "time"))
        return both.select(pl.col("forecast") * pl.col("y")).to_series()

    pairs = [met(shift) for shift in range(144, len(moments) - 144 + 1)]
    kept = [one for one in pairs if len(one) >= table.height / 2]
    force = [abs(one.sum()) / np.sqrt(len(one)) for one in kept]
    far = np.array(force) >= abs(met(0).sum()) / np.sqrt(table.height) - 1e-9
    found = judged(table)
    assert found.shifts == len(kept)
    assert found.p_shift == pytest.approx((1 + far.sum()) / (1 + len(kept)))


def test_symbols_that_never_lived_together_leave_few_shifts():
    """Shifts under which most rows meet nothing are no chance to be as far off."""
    start, end = START + timedelta(days=4), START + timedelta(days=8)
    first = (pl.col("symbol") == "S0") & (pl.col("time") <= start)
    last = (pl.col("symbol") == "S1") & pl.col("time").is_between(start, end, closed="right")
    found = judged(market(days=8, symbols=2).filter(first | last))
    # of two stretches of four days half meet after a shift of two days or less, either way
    assert found.shifts == 2 * (2 * 144 - 144 + 1)


def test_a_shift_moves_every_row_by_a_day_or_more_of_sparse_rows():
    table = market(days=60).filter(pl.col("time").dt.hour() == 7).gather_every(6)
    found = judged(table)
    assert table.height == 60 and found.shifts == 60 - 2 + 1


def test_of_persistent_noise_five_percent_are_found():
    """h = 10, AR(.95): 5 % by Hansen and Hodrick and by shifts; naive errors find half."""
    found = [judged(market(seed=seed)) for seed in range(200)]
    by_t = sum(abs(one.t) > 1.96 for one in found)
    by_shift = sum(one.p_shift <= 0.05 for one in found)
    assert max(by_t, by_shift) <= binom.ppf(0.995, 200, 0.07)
    assert by_t >= 2 and by_shift >= 2
    assert 0.35 <= np.mean([abs(one.t_naive) > 1.96 for one in found]) <= 0.65


def test_size_stays_where_a_long_gap_lies_between():
    """Two pieces of four days, half a year apart: a shift into the gap must not pass for chance."""
    half = START + timedelta(days=4)
    found = [judged(apart(market(seed=s), half, timedelta(days=180))) for s in range(200)]
    by_shift = sum(one.p_shift <= 0.05 for one in found)
    assert 2 <= by_shift <= binom.ppf(0.995, 200, 0.07)
    skilled = judged(apart(market(edge=0.3, seed=3), half, timedelta(days=180)))
    assert skilled.p_shift < 0.02


def test_skill_is_found():
    found = judged(market(days=20, edge=0.2, seed=3))
    assert found.t > 3 and found.p_value < 0.003 and found.p_shift < 0.01
    less = judged(market(days=20, edge=-0.2, seed=3))
    assert less.t < -3 and less.p_shift < 0.01
    assert str(found).startswith(f"IC {found.ic:+.4f}, t {found.t:+.2f} (p ")


def test_a_mirror_image_mirrors():
    table = market(seed=4)
    one, other = judged(table), judged(table.with_columns(-pl.col("forecast")))
    assert (other.ic, other.t, other.p_shift) == pytest.approx((-one.ic, -one.t, one.p_shift))


def test_symbols_of_one_moment_are_not_new_evidence():
    """The same symbol under five names: the same t, while naive errors see sqrt(5) times more."""
    table = market(seed=5, edge=0.1)
    five = pl.concat([table.with_columns(symbol=pl.lit(f"S{k}")) for k in range(5)])
    one, many = judged(table), judged(five)
    assert many.t == pytest.approx(one.t) and many.p_shift == pytest.approx(one.p_shift)
    assert many.t_naive == pytest.approx(one.t_naive * np.sqrt(5))


def test_short_and_constant_tables():
    short = judged(market(days=2))
    assert short.p_shift is None and "p unknown of 1 shifts" in str(short)
    for column, what in (("forecast", "forecasts"), ("y", "returns")):
        flat = market(days=2).with_columns(pl.lit(0.5).alias(column))
        with pytest.raises(UserError, match=f"all {what} are 0.5, so there is no order to test"):
            judged(flat)
