"""Each S2 column against TA-Lib, against a slow reading of its formula, and on flat bars."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import talib

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

import laws  # noqa: E402

from research import features, schema  # noqa: E402
from research.errors import UserError  # noqa: E402
from research.features import momentum, returns, volatility  # noqa: E402

BINANCE_US = ROOT.parent / "shared/data/klines_1m/binance_us_spot_2023-03/BTCUSDT.parquet"


def peers(bars):
    """TA-Lib's own values, by column of S2."""
    o, h, low, c, v = (bars[n].to_numpy() for n in ("open", "high", "low", "close", "volume"))
    slowk, slowd = talib.STOCH(h, low, c, 14, 3, 0, 3, 0)
    return {
        "bop": talib.BOP(o, h, low, c),
        "mfi": talib.MFI(h, low, c, v, 14),
        "rsi": talib.RSI(c, 14),
        "stochrsi": talib.STOCHRSI(c, 14, 14, 3, 0)[0],
        "slowk": slowk,
        "slowd": slowd,
        "natr": talib.NATR(h, low, c, 14),
    }


def assert_like_talib(bars):
    mine = features.evaluate(bars, features.SETS["S2"])
    for name, theirs in peers(bars).items():
        known = ~np.isnan(theirs)
        ours = mine[name].to_numpy()
        assert known.sum() > 1_000
        np.testing.assert_allclose(ours[known], theirs[known], rtol=0, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("tick", [0.01, 1e-7])
def test_equal_to_talib_flat_bars_included(tick):
    bars = laws.market(symbols=1, rows=20_000, tick=tick)
    assert (bars["high"] == bars["low"]).sum() > 500
    assert_like_talib(bars)


def test_equal_to_talib_on_small_prices():
    bars = laws.market(symbols=1, rows=5_000, tick=1e-6)
    assert_like_talib(bars.with_columns(pl.col(schema.PRICES) * 1e-5))


@pytest.mark.real
@pytest.mark.skipif(not BINANCE_US.is_file(), reason="real Binance.US bars are not here")
def test_equal_to_talib_on_real_bars_without_volume():
    bars = pl.read_parquet(BINANCE_US).with_columns(
        pl.lit("BTCUSDT").alias("symbol"), pl.from_epoch("open_time", "ms").alias("time")
    )
    assert (bars["volume"] == 0).sum() == 658
    assert_like_talib(bars)


def test_ret_is_close_over_an_earlier_open():
    bars = pl.DataFrame({"open": [100.0, 102.0, 104.0], "close": [101.0, 103.0, 106.0]})
    assert bars.select(returns.ret(1)).to_series().to_list() == pytest.approx(
        [101 / 100 - 1, 103 / 102 - 1, 106 / 104 - 1]
    )
    assert bars.select(returns.ret(3)).to_series().to_list() == [None, None, 106.0 / 100.0 - 1]


def test_ret_in_day_is_s2_shifted_within_symbol_and_date():
    bars = laws.market(symbols=2, rows=4_000, missing=(1_438, 1_443))
    frame = bars.to_pandas()
    opens = frame.groupby(["symbol", frame["open_time"].dt.date])["open"]
    ours = features.evaluate(bars, features.SETS["S2_day"])
    for k in (1, 2, 5, 10):
        theirs = (frame["close"] / opens.shift(k - 1) - 1).to_numpy()
        np.testing.assert_allclose(ours[f"ret_{k}"].to_numpy(), theirs, rtol=0, atol=1e-12)


def test_the_sets_differ_only_at_midnight():
    bars = laws.market(symbols=1, rows=3_000)
    plain, in_day = (features.evaluate(bars, features.SETS[n]) for n in ("S2", "S2_day"))
    early = pl.col("time").dt.hour() * 60 + pl.col("time").dt.minute()
    late = early.is_between(10, 1_439) | (early == 0)
    assert plain.filter(late).equals(in_day.filter(late))
    assert in_day.filter(early.is_between(1, 9))["ret_10"].null_count() > 0
    assert plain["ret_10"].null_count() == 9


def slow_cci(high, low, close, n):
    price = (high + low + close) / 3
    mean = np.array([price[i - n + 1 : i + 1].mean() for i in range(n - 1, len(price))])
    away = price[n - 1 :] - mean
    spread = np.array([np.abs(away[i - n + 1 : i + 1]).mean() for i in range(n - 1, len(away))])
    return away[n - 1 :] / (0.015 * spread)


@pytest.mark.parametrize("window", [2, 3, 14, 20])
def test_cci_is_s2s_variant(window):
    bars = laws.market(symbols=1, rows=330)
    assert (bars["high"] > bars["low"]).all()
    ours = bars.select(momentum.cci_s2(window)).to_series().to_numpy()
    assert np.isnan(ours[: 2 * window - 2]).all()
    prices = (bars[n].to_numpy() for n in ("high", "low", "close"))
    theirs = slow_cci(*prices, window)
    np.testing.assert_allclose(ours[2 * window - 2 :], theirs, rtol=1e-7, atol=1e-7)


def test_talibs_cci_stands_beside_it():
    bars = laws.market(symbols=1, rows=400)
    theirs = talib.CCI(*(bars[n].to_numpy() for n in ("high", "low", "close")), 14)
    ours = bars.select(momentum.cci(14)).to_series().to_numpy()
    np.testing.assert_array_equal(ours, theirs)
    variant = bars.select(momentum.cci_s2(14)).to_series().to_numpy()
    assert np.nanmax(np.abs(variant - theirs)) > 10


def test_flat_bars_give_zero_not_noise():
    price = [123.456] * 100
    bars = pl.DataFrame(
        {"open": price, "high": price, "low": price, "close": price, "volume": [0.0] * 100}
    )
    exprs = {n: f.expr for n, f in features.SETS["S2"].columns.items() if n != "natr"}
    values = bars.select(**exprs).tail(60)
    assert values.unique().rows() == [(0.0,) * len(exprs)]


def test_after_a_move_a_flat_stretch_gives_cci_zero_again():
    rng = np.random.default_rng(1)
    price = np.append(
        np.round(30_000 * np.exp(rng.normal(0, 1e-2, 500).cumsum()), 2), [17_003.37] * 60
    )
    bars = pl.DataFrame({"high": price, "low": price, "close": price})
    values = bars.select(momentum.cci_s2(14)).to_series()
    assert values[-30:].to_list() == [0.0] * 30
    assert values[40:500].abs().min() > 0


def test_sigma_is_the_root_mean_square_of_simple_returns():
    bars = laws.market(symbols=1, rows=500)
    close = bars["close"].to_numpy()
    change = close[1:] / close[:-1] - 1
    ours = bars.select(returns.sigma(120)).to_series()
    assert ours[:120].null_count() == 120
    slow = [np.sqrt(np.mean(change[i - 120 : i] ** 2)) for i in range(120, 500)]
    np.testing.assert_allclose(ours[120:].to_numpy(), slow, rtol=1e-9)


def test_sigma_is_null_where_nothing_moved_and_leaves_no_residue():
    close = np.concatenate([[100.0, 200.0, 100.0], np.full(200, 100.0)])
    ours = pl.DataFrame({"close": close}).select(returns.sigma(120)).to_series()
    assert ours[120:122].null_count() == 0
    assert ours[123:].null_count() == len(ours) - 123


@pytest.mark.parametrize(
    "make",
    [
        momentum.rsi,
        momentum.cci_s2,
        momentum.mfi,
        momentum.stochrsi,
        volatility.natr,
        momentum.slowk,
    ],
)
@pytest.mark.parametrize("window", [1, 0, -3, 2.5])
def test_a_window_too_short_is_refused(make, window):
    with pytest.raises(UserError, match="at least 2 bars"):
        make(window)


@pytest.mark.parametrize("rows", [1, 2, 13, 27, 28, 29])
def test_short_series_are_null_not_errors(rows):
    table = features.evaluate(laws.market(symbols=1, rows=rows), features.SETS["S2"])
    assert table.height == rows
    assert table["stochrsi"].null_count() == min(rows, 27)
    assert table["slowd"].null_count() == min(rows, 17)
    assert table["cci"].null_count() == min(rows, 26)
