"""The simulated market: its edge is the one promised, its oracle sees no future, it looks real."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import numpy as np
import polars as pl
import pytest
from scipy import stats

from research import schema
from research.errors import UserError
from research.sources import simulated
from research.sources.simulated import candles, edge, noise

MINUTE = timedelta(minutes=1)
TEN = 10 * MINUTE
ASKED = {
    "symbols": 3,
    "days": 31,
    "ic": 0.06,
    "horizon": TEN,
    "half_life": TEN,
    "seed": 4,
}


@lru_cache
def made(**changes):
    return simulated.market(**{**ASKED, **changes})


def small(**changes):
    return made(**{"symbols": 2, "days": 3, **changes})


def closes(market: simulated.Market, column: str = "close") -> np.ndarray:
    """Symbols by minutes; NaN where a minute is absent."""
    wide = market.bars.pivot("symbol", index="open_time", values=column).sort("open_time")
    return wide.upsample("open_time", every="1m").drop("open_time").to_numpy().T.astype(float)


def day_scores(market: simulated.Market, ahead: int) -> np.ndarray:
    """The house's score, read plainly: one Spearman correlation per UTC day, symbols pooled."""
    bars = market.bars.with_columns((pl.col("open_time") + MINUTE).alias("time"))
    later = bars.select("symbol", pl.col("time") - ahead * MINUTE, pl.col("close").alias("then"))
    first = bars.select("symbol", pl.col("time") - MINUTE, pl.col("open").alias("entry"))
    rows = bars.join(market.oracle, on=["symbol", "time"]).join(later, on=["symbol", "time"])
    rows = rows.join(first, on=["symbol", "time"])
    rows = rows.with_columns(y=pl.col("then") / pl.col("entry") - 1)
    days = rows.group_by(pl.col("open_time").dt.date())
    score = pl.corr("forecast", "y", method="spearman")
    return days.agg(score).sort("open_time")["forecast"].to_numpy()


# --- the table


def test_bars_have_the_columns_of_any_source():
    bars = small().bars
    expected = {name: kind for name, kind in schema.BARS.items() if name != "time"}
    assert dict(bars.schema) == expected
    assert bars.null_count().sum_horizontal().item() == 0
    assert bars.select("symbol", "open_time").equals(
        bars.select("symbol", "open_time").unique().sort("symbol", "open_time")
    )
    schema.check(bars.with_columns(time=pl.col("open_time") + MINUTE), schema.BARS, "bars")


def test_every_row_could_have_been_published():
    bars = made().bars
    low, high = pl.col("low"), pl.col("high")
    top, bottom = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    paid = pl.col("quote_volume") / pl.col("volume")
    traded = pl.col("trades") > 0
    laws = {
        "range": (high >= top) & (low <= bottom) & (low > 0),
        "taker": pl.col("taker_buy_volume").is_between(0, pl.col("volume")),
        "taker quote": pl.col("taker_buy_quote_volume") <= pl.col("quote_volume") * (1 + 1e-12),
        "paid": ~traded | paid.is_between(low * (1 - 1e-12), high * (1 + 1e-12)),
        "trades": traded == (pl.col("volume") > 0),
    }
    for name, law in laws.items():
        assert bars.select(law.all()).item(), name


def test_a_bar_opens_within_a_tick_of_the_last_close_and_half_the_time_at_it():
    bars = small().bars
    follows = pl.col("open_time").diff().over("symbol") == MINUTE
    last = pl.col("close").shift(1).over("symbol")
    rows = bars.with_columns(last=last, follows=follows).filter("follows")
    assert rows.height > 8000
    same = (rows["open"] == rows["last"]).mean()
    assert 0.45 < same < 0.55
    assert ((rows["open"] / rows["last"] - 1).abs() < 1e-5).all()


def test_quiet_minutes_repeat_the_close_and_missing_minutes_have_no_row():
    market = made(days=60)
    quiet = market.bars.filter(pl.col("volume") == 0)
    share = quiet.height / market.bars.height
    assert 0.5 * edge.QUIET < share < 2 * edge.QUIET
    for column in ("high", "low", "close"):
        assert (quiet[column] == quiet["open"]).all()
    assert quiet["trades"].sum() == quiet["quote_volume"].sum() == 0
    absent = np.isnan(closes(market))
    assert 10 < absent.sum() < 0.01 * absent.size
    assert absent.all(axis=0).sum() >= 5, "no outage of all symbols in sixty days"


def test_the_oracle_has_one_row_per_bar():
    market = made()
    keys = market.bars.select("symbol", time=pl.col("open_time") + MINUTE)
    assert market.oracle.select("symbol", "time").equals(keys)
    assert dict(market.oracle.schema) == {
        "symbol": pl.String,
        "time": schema.TIME,
        "forecast": pl.Float64,
    }
    assert market.oracle["forecast"].is_finite().all()


# --- the same again, and nothing of the future


def test_same_seed_same_market_and_another_seed_another():
    again = simulated.market(**ASKED)
    assert again.bars.equals(made().bars)
    assert again.oracle.equals(made().oracle)
    other = small(seed=5).bars
    assert small().bars["close"].head(50).to_list() != other["close"].head(50).to_list()


def test_what_comes_later_changes_nothing_before():
    short, long = small(), small(days=5)
    end = short.bars["open_time"].max()
    assert long.bars.filter(pl.col("open_time") <= end).equals(short.bars)
    assert long.oracle.filter(pl.col("time") <= end + MINUTE).equals(short.oracle)


def test_more_symbols_leave_the_noise_of_the_first_as_it_was():
    two, three = small(ic=0), small(ic=0, symbols=3)
    assert three.bars.filter(pl.col("symbol") != "SIM03USDT").equals(two.bars)


def test_without_an_edge_the_noise_is_the_same_and_the_oracle_says_nothing():
    with_edge, without = small(), small(ic=0)
    assert without.planted_ic == 0
    assert (without.oracle["forecast"] == 0).all()
    assert without.bars.select("symbol", "open_time").equals(
        with_edge.bars.select("symbol", "open_time")
    )
    moves = [(m.bars["close"] / m.bars["open"] - 1).to_numpy() for m in (with_edge, without)]
    assert not np.array_equal(*moves)
    assert np.corrcoef(*moves)[0, 1] > 0.998


def test_the_signal_is_the_fading_sum_of_past_returns():
    shocks = np.random.default_rng(0).standard_normal(400)
    quiet = np.arange(400) % 37 == 5
    planted = edge.Edge(0.1, 0.9)
    returns, signal = planted.play(shocks, quiet)
    level = 0.0
    for t in range(400):
        if not quiet[t]:
            expected = 0.1 * level + np.sqrt(1 - 0.01) * shocks[t]
            assert returns[t] == pytest.approx(expected, abs=1e-12)
            level = planted.memory * level - planted.gain * returns[t]
        assert signal[t] == pytest.approx(level, abs=1e-9)
    bent = np.where(np.arange(400) > 200, 9.0, shocks)
    assert np.array_equal(planted.play(bent, quiet)[1][:201], signal[:201])


def test_signal_and_returns_keep_to_their_theory():
    planted = edge.Edge(0.1, 0.5 ** (1 / 10))
    n = 400_000
    returns, signal = planted.play(np.random.default_rng(1).standard_normal(n), np.zeros(n, bool))
    assert signal.var() == pytest.approx(1, abs=0.03)
    assert returns.var() == pytest.approx(1, abs=0.01)
    assert np.corrcoef(signal[:-10], signal[10:])[0, 1] == pytest.approx(0.5, abs=0.02)
    assert np.corrcoef(signal[:-1], returns[1:])[0, 1] == pytest.approx(0.1, abs=0.006)


def test_expected_volatility_is_the_mean_of_what_comes():
    bars = 300_000
    shared, own = (noise.states(3, n, bars, 1) for n in (0, 1))
    path = noise.volatility(own, shared, noise.seasonality(1), 1)
    at = np.arange(0, bars - 200, 7)
    realised = path.realised()
    assert np.allclose(path.expected(1, at), realised[at + 1])
    for ahead in (2, 10, 100):
        expected = path.expected(ahead, at)
        assert (realised[at + ahead] / expected).mean() == pytest.approx(1, abs=0.02)
        busy = expected > np.quantile(expected, 0.8)
        ratio = realised[at + ahead][busy].mean() / expected[busy].mean()
        assert ratio == pytest.approx(1, abs=0.04)


def test_the_forecast_is_the_mean_of_the_return_it_forecasts():
    market = made(ic=0.3, days=40)
    price = closes(market)
    forecast = np.full(price.shape, np.nan)
    forecast[~np.isnan(price)] = market.oracle["forecast"].to_numpy()
    y = np.full(price.shape, np.nan)
    y[:, :-10] = price[:, 10:] / price[:, :-10] - 1
    there = np.isfinite(forecast) & np.isfinite(y)
    f, y = np.where(there, forecast, 0), np.where(there, y, 0)
    wide = np.maximum(f**2, (f**2).mean())  # bounds what a wild minute counts for
    both, own = (
        (product / wide).reshape(3, 40, 1440).sum(axis=(0, 2)) for product in (y * f, f**2)
    )
    slope = both.sum() / own.sum()
    error = np.sqrt(((both - slope * own) ** 2).sum()) / own.sum()  # days stand for themselves
    assert error < 0.05
    assert abs(slope - 1) < 3 * error


# --- the score


def test_the_planted_score_is_the_one_asked_for():
    for changes in ({}, {"ic": 0.02}, {"ic": 0.2}, {"horizon": 30 * MINUTE}, {"symbols": 1}):
        asked = {**ASKED, "days": 1, **changes}
        assert simulated.market(**asked).planted_ic == pytest.approx(asked["ic"], rel=1e-6)
        there = simulated.theoretical_ic(asked["horizon"], **asked)
        assert there == pytest.approx(asked["ic"], rel=1e-6)


def test_a_constant_volatility_would_score_three_over_pi(monkeypatch):
    monkeypatch.setattr(noise, "SPREADS", np.full(3, 1e-9))
    monkeypatch.setattr(noise, "HOURS", np.ones(24))
    monkeypatch.setattr(noise, "QUARTER", 1.0)
    monkeypatch.setattr(noise, "variances", lambda rng, size: np.ones(size))
    share = edge._ranked.__wrapped__(0.9, 1, 10, 1)
    assert share == pytest.approx(3 / np.pi, rel=1e-3)


@pytest.mark.parametrize("rho", [0.0, 0.05])
def test_small_days_lift_a_reversal_as_theory_says(rho):
    planted, day, days = edge.Edge(rho, 0.5 ** (1 / 10)), 360, 4000
    n = day * days
    returns, signal = planted.play(
        np.random.default_rng(2).standard_normal(n + 10), np.zeros(n + 10, bool)
    )
    sums = np.convolve(returns, np.ones(10), "valid")[1 : n + 1].reshape(days, day)
    signal = signal[:n].reshape(days, day)
    found = [np.corrcoef(*pair)[0, 1] for pair in zip(signal, sums)]
    error = np.std(found) / np.sqrt(days)
    theory = edge._in_days(planted, 1, 10, day)
    assert abs(np.mean(found) - theory) < 3 * error + 0.02 * theory
    assert theory > 0.05


def test_the_oracle_scores_what_theory_says_a_bar_ahead():
    asked = {"ic": 0.12, "horizon": MINUTE, "half_life": 5 * MINUTE, "symbols": 5, "days": 14}
    scores = np.concatenate([day_scores(made(**asked, seed=s), 1) for s in range(2)])
    error = scores.std() / np.sqrt(len(scores))
    assert error < 0.0045
    assert scores.mean() == pytest.approx(0.12, abs=3 * error)


@pytest.mark.slow
def test_the_oracle_scores_what_theory_says():
    asked = {**ASKED, "ic": 0.12, "symbols": 5, "days": 42}
    scores = [day_scores(simulated.market(**{**asked, "seed": s}), 10).mean() for s in range(12)]
    error = np.std(scores, ddof=1) / np.sqrt(len(scores))
    assert error < 0.004
    assert np.mean(scores) == pytest.approx(0.12, abs=3 * error)


def test_another_horizon_of_the_same_market():
    asked = {**ASKED, "symbols": 2, "days": 3}
    one = simulated.oracle(MINUTE, **asked)
    assert one["time"].equals(small().oracle["time"])
    assert np.corrcoef(one["forecast"], small().oracle["forecast"])[0, 1] > 0.9
    assert one["forecast"].std() < 0.3 * small().oracle["forecast"].std()
    assert simulated.oracle(TEN, **asked).equals(small().oracle)


# --- the look of it


def _acf(x: np.ndarray, lag: int) -> float:
    x = x - x.mean()
    return float((x[lag:] * x[:-lag]).mean() / x.var())


FACTS = {  # measured on real minutes (BTC perpetual, January 2022), with what passes for them
    "kurtosis": (26, 13, 40),
    "kurtosis of ten minutes": (13.7, 6, 20),
    "acf |r| 1": (0.325, 0.2, 0.4),
    "acf |r| 10": (0.236, 0.15, 0.32),
    "acf |r| 60": (0.175, 0.12, 0.28),
    "acf |r| 1440": (0.083, 0.03, 0.2),
    "acf r 1": (0.017, -0.04, 0.04),
    "hill": (2.91, 2.4, 3.9),
    "log volume": (1.155, 0.85, 1.45),
    "acf log volume 1": (0.631, 0.5, 0.76),
    "acf log volume 10": (0.442, 0.33, 0.58),
    "acf log volume 60": (0.324, 0.22, 0.5),
    "log volume on log |r|": (0.48, 0.36, 0.6),
    "parkinson": (1.0, 0.95, 1.05),
}


def _facts(bars: pl.DataFrame) -> dict[str, float]:
    close, volume = bars["close"].to_numpy(), bars["volume"].to_numpy()
    r = close / bars["open"].to_numpy() - 1
    tens = (close[10:] / close[:-10] - 1)[::10]
    size, top = np.abs(r), np.sort(np.abs(r))[::-1]
    log_volume = np.log(volume[volume > 0])
    both = (volume > 0) & (size > 0)
    span = np.log(bars["high"].to_numpy() / bars["low"].to_numpy())
    return {
        "kurtosis": stats.kurtosis(r, fisher=False),
        "kurtosis of ten minutes": stats.kurtosis(tens, fisher=False),
        **{f"acf |r| {lag}": _acf(size, lag) for lag in (1, 10, 60, 1440)},
        "acf r 1": _acf(r, 1),
        "hill": 1 / np.log(top[:450] / top[450]).mean(),
        "log volume": log_volume.std(),
        **{f"acf log volume {lag}": _acf(log_volume, lag) for lag in (1, 10, 60)},
        "log volume on log |r|": np.corrcoef(np.log(volume[both]), np.log(size[both]))[0, 1],
        "parkinson": (span**2).mean() / (4 * np.log(2) * r.var()),
    }


@pytest.fixture(scope="module")
def facts() -> dict[str, float]:
    groups = [g for s in (4, 5) for _, g in made(seed=s).bars.group_by("symbol")]
    found = [_facts(g.sort("open_time")) for g in groups]
    return {name: float(np.median([f[name] for f in found])) for name in FACTS}


@pytest.mark.parametrize("name", FACTS)
def test_it_looks_like_real_minutes(facts, name):
    _, low, high = FACTS[name]
    assert low < facts[name] < high


def test_busy_hours_and_opening_minutes():
    size = (pl.col("close") / pl.col("open") - 1).abs()
    bars = pl.concat([made(seed=s).bars for s in (4, 5)]).with_columns(size=size)
    hours = bars.group_by(hour=pl.col("open_time").dt.hour()).agg(pl.col("size").mean())
    hours = hours.sort("hour")["size"].to_numpy()
    assert np.corrcoef(hours, noise.HOURS)[0, 1] > 0.9
    minute = pl.col("open_time").dt.minute()
    opening = bars.filter(minute % 15 == 0)["size"].mean()
    others = bars.filter(minute % 15 != 0)["size"].mean()
    assert opening / others == pytest.approx(noise.QUARTER, abs=0.05)


def test_symbols_share_their_shocks_and_their_volatility():
    drawn = [noise.shocks(1, n, 200_000) for n in range(3)]
    a, b = (noise.together(own, drawn[0]) for own in drawn[1:])
    assert np.corrcoef(a.value, b.value)[0, 1] == pytest.approx(0.5, abs=0.03)
    assert a.value.var() == pytest.approx(1, abs=0.03)
    moves = np.log(closes(made()))
    moves = np.diff(moves[:, ~np.isnan(moves).any(axis=0)])
    assert 0.4 < np.corrcoef(moves)[0, 1] < 0.6
    assert np.corrcoef(np.abs(moves))[0, 1] > 0.25


def test_the_variance_drawn_for_theory_is_that_of_the_shocks():
    given = noise.variances(np.random.default_rng(3), (400_000,))
    value = np.sqrt(given) * np.random.default_rng(4).standard_normal(400_000)
    own, factor = (noise.shocks(9, n, 400_000) for n in (1, 0))
    assert stats.ks_2samp(value, noise.together(own, factor).value).statistic < 0.005


def test_extremes_follow_the_law_of_a_brownian_path():
    rng = np.random.default_rng(5)
    steps = rng.standard_normal((8_000, 1000)).cumsum(axis=1) / np.sqrt(1000)
    walked = np.maximum(steps.max(axis=1), 0) + 0.5826 / np.sqrt(1000)  # seen only at the steps
    drawn = candles.extreme(rng.random(8_000), rng.standard_normal(8_000), np.ones(8_000))
    assert stats.ks_2samp(walked, drawn).statistic < 0.035
    returns = rng.standard_normal(400_000)
    high = candles.extreme(rng.random(400_000), returns, np.ones(400_000))
    low = -candles.extreme(rng.random(400_000), -returns, np.ones(400_000))
    assert (high >= np.maximum(returns, 0)).all()
    assert (high**2).mean() == pytest.approx(1, rel=0.01)
    assert ((high - low) ** 2).mean() == pytest.approx(4 * np.log(2), rel=0.04)


def test_longer_bars_and_another_start():
    start = datetime(2025, 3, 1, 13, 30, tzinfo=UTC)
    market = small(interval=5 * MINUTE, start=start, days=20)
    assert market.bars["open_time"][0] == start
    assert market.planted_ic == pytest.approx(0.06, rel=1e-6)
    first = market.bars.filter(pl.col("symbol") == "SIM01USDT")
    assert first["open_time"].diff().drop_nulls().min() == 5 * MINUTE
    size = (pl.col("close") / pl.col("open") - 1).abs()
    hours = market.bars.group_by(pl.col("open_time").dt.hour()).agg(size.mean().alias("size"))
    by_hour = dict(hours.iter_rows())
    assert by_hour[15] > 1.2 * by_hour[3]


# --- what is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"symbols": 0}, "symbols must lie between 1 and 99, found 0"),
        ({"days": 0}, "days must lie"),
        ({"ic": -0.1}, "ic must lie"),
        ({"ic": 0.0001}, "ic must be 0 or lie between"),
        ({"ic": 0.9}, "ic must be 0 or lie between"),
        ({"seed": -1}, "seed must lie"),
        ({"horizon": timedelta(seconds=90)}, "horizon must be a whole number of bars"),
        ({"horizon": timedelta(days=2)}, "horizon must lie"),
        ({"half_life": timedelta(seconds=1)}, "half_life must lie"),
        ({"interval": 7 * MINUTE}, "interval must be whole minutes that divide a day"),
        ({"interval": timedelta(seconds=1)}, "interval must lie"),
        ({"start": datetime(2024, 1, 1)}, "start must have a time zone"),
        ({"start": datetime(2024, 1, 1, 0, 0, 30, tzinfo=UTC)}, "start must lie on the grid"),
    ],
)
def test_what_cannot_be_simulated_is_named(changes, words):
    with pytest.raises(UserError, match=f"simulated market: {words}"):
        simulated.market(**{**ASKED, "days": 1, **changes})
