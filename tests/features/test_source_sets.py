"""S1's 19 and S4's 52 against an independent pandas reading, and against TA-Lib."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import talib

sys.path += [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import laws
import real_bars
import sources

from research import features

READING = {"S1": sources.s1, "S4": sources.s4}
# -1 or 1 by which of two means is higher: where they are equal to rounding it is anybody's
SIGNS = {"ema9_ema21_cross", "ema21_ema50_cross", "trend_direction"}


def assert_equal_to_reading(name, bars):
    """Every value that pandas has, to 1e-9 of itself or of its column's spread."""
    mine = features.evaluate(bars, features.SETS[name])
    theirs = READING[name](bars.to_pandas())
    assert list(theirs.columns) == features.SETS[name].names
    for column in theirs:
        a, b = mine[column].to_numpy(), theirs[column].to_numpy()
        known = np.isfinite(b) & ~np.isnan(a)
        # pandas starts a true range one bar earlier; nothing else may be known to one side alone
        assert (np.isfinite(b) & np.isnan(a)).sum() <= 1, column
        assert known.sum() > 0.8 * len(a), column
        off = np.abs(a - b)[known]
        room = 1e-9 * np.maximum(np.abs(b[known]), np.nanstd(a))
        if column in SIGNS:
            assert (off > 0).mean() < 0.03, column
        else:
            assert (off <= room).all(), (column, off.max(), np.flatnonzero(off > room)[:5])


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("tick", [0.01, 1e-7])
def test_equal_to_the_formulas_on_random_bars(name, tick):
    bars = laws.market(symbols=1, rows=6_000, seed=3, tick=tick)
    assert (bars["high"] == bars["low"]).sum() > 200
    assert_equal_to_reading(name, bars)


@pytest.mark.parametrize("name", READING)
@pytest.mark.parametrize("path", ["BINANCE_US", "FULL", "SEVEN"])
@pytest.mark.real
def test_equal_to_the_formulas_on_real_bars(name, path):
    file = getattr(real_bars, path)
    if not file.exists():
        pytest.skip(f"the real bars of {file.name} are not here")
    bars = real_bars.read(file if file.is_file() else sorted(file.glob("*.parquet"))[0])
    assert_equal_to_reading(name, bars.head(12_000))


def test_transactions_are_a_thousandth_of_volume_where_trades_are_unknown():
    bars = laws.market(symbols=1, rows=3_000).with_columns(trades=pl.lit(None, pl.Int64))
    assert_equal_to_reading("S4", bars)
    some = bars.with_columns(trades=pl.when(pl.int_range(pl.len()) % 2 == 0).then(7))
    values = features.evaluate(some, features.SETS["S4"])["transactions"]
    assert values[::2].unique().to_list() == [7.0]
    assert values[1::2].to_list() == pytest.approx((bars["volume"][1::2] / 1_000).to_list())


def peers(b):
    """TA-Lib's own values of S4's columns, where it has the same thing."""
    o, h, low, c, n = (
        b[x].cast(pl.Float64).to_numpy() for x in ("open", "high", "low", "close", "trades")
    )
    del o
    middle, deviation = talib.SMA(c, 20), talib.STDDEV(c, 20, 2 * np.sqrt(20 / 19))
    macd, signal, histogram = talib.MACD(c, 12, 26, 9)
    stoch_k, stoch_d = talib.STOCHF(h, low, c, 14, 3, 0)
    obv = talib.OBV(c, b["volume"].to_numpy())
    return {
        **{f"ema_{span}": talib.EMA(c, span) for span in (9, 21, 50)},
        "macd": macd,
        "macd_signal": signal,
        "macd_histogram": histogram,
        "roc_5": talib.ROCP(c, 5),
        "stoch_k": stoch_k,
        "stoch_d": stoch_d,
        "bb_middle": middle,
        "bb_upper": middle + deviation,
        "atr": talib.SMA(np.append(0.0, talib.TRANGE(h, low, c)[1:]), 14),
        "transactions_trend": talib.LINEARREG_SLOPE(n, 20),
        "obv": obv - np.append(np.full(480, np.nan), obv[:-480]),
    }


def test_equal_to_talib_where_talib_has_it():
    bars = laws.market(symbols=1, rows=6_000)
    mine = features.evaluate(bars, features.SETS["S4"])
    still = bars["close"].rolling_std(20).fill_null(0).to_numpy() < 1e-6
    for name, theirs in peers(bars).items():
        ours, off = mine[name].to_numpy(), np.zeros(len(theirs))
        off[800:] = np.abs(ours - theirs)[800:]
        # TA-Lib's running variance leaves a residue in a stretch without a move
        off[still & (name == "bb_upper")] = 0
        assert off.max() <= 1e-8 * np.nanstd(ours), name


def quiet(price=123.456, rows=700, volume=0.0):
    """Bars that never move, and trade `volume` each."""
    bars = laws.market(symbols=1, rows=rows)
    return bars.with_columns(
        *(pl.lit(price).alias(c) for c in ("open", "high", "low", "close")),
        *(pl.lit(volume).alias(c) for c in ("volume", "quote_volume", "taker_buy_volume")),
        trades=pl.lit(int(volume), pl.Int64),
    )


STILL = {
    "S1": {"ema_12": 123.456, "vwap": 123.456, "rsi_normalized": -1.0},
    "S4": {
        **{f"ema_{span}": 123.456 for span in (9, 21, 50)},
        **{f"price_ema{span}_ratio": 1.0 for span in (9, 21, 50)},
        **dict.fromkeys(SIGNS | {"candle_type"}, -1.0),
        **dict.fromkeys(("bb_upper", "bb_middle", "bb_lower", "vwap"), 123.456),
        "bb_position": 0.5,
        "is_doji": 1.0,
    },
}


@pytest.mark.parametrize("name", ["S1", "S4"])
@pytest.mark.parametrize("price", [123.456, 0.1, 1e-7, 98_765.43])
def test_a_dead_market_gives_the_documented_values(name, price):
    row = features.evaluate(quiet(price), features.SETS[name]).tail(1).row(0, named=True)
    expected = {k: price if v == 123.456 else v for k, v in STILL[name].items()}
    expected |= {"ema_26": price} if name == "S1" else {}
    for column in features.SETS[name].names:
        wanted = expected.get(column, 0.0)
        assert row[column] == pytest.approx(wanted, rel=1e-12, abs=1e-12), column


@pytest.mark.parametrize("name", list(features.SETS))
@pytest.mark.parametrize("volume", [0.0, 3.0])
def test_no_set_knows_nan_on_dead_or_half_dead_bars(name, volume):
    moving = laws.market(symbols=1, rows=1_400)
    half = pl.concat(
        [moving.head(700), quiet(float(moving["close"][699]), 1_400, volume).tail(700)]
    )
    for bars in (quiet(volume=volume, rows=1_400), half):
        twin = bars.with_columns(pl.lit("Z").alias("symbol"))
        both = pl.concat([bars, twin]) if features.SETS[name].cross else bars
        both = laws.beside(both, features.SETS[name])
        table = features.evaluate(both, features.SETS[name])
        numbers = table.select(features.SETS[name].names)
        assert (
            numbers.select(pl.all().is_finite().fill_null(True).all()).row(0)
            == (True,) * numbers.width
        )
        assert numbers.tail(1).null_count().row(0) == (0,) * numbers.width


def test_no_column_of_any_set_is_a_clock():
    """S4's 53rd column was the raw time: moved by whole weeks, no value may change."""
    bars = laws.market(symbols=1, rows=1_500)
    weeks = pl.duration(days=364)
    later = bars.with_columns(pl.col("time") + weeks, pl.col("open_time") + weeks)
    for name, chosen in features.SETS.items():
        both = (laws.beside(table, chosen) for table in (bars, later))
        a, b = (features.evaluate(t, chosen).select(chosen.names) for t in both)
        assert laws.same(a, b), name
        assert not set(chosen.names) & {"window_start", "timestamp", "open_time", "time"}


def test_the_start_is_not_filled_from_what_comes_later():
    """S1 filled gaps and the start backward: the first rows knew the first price to come."""
    bars = laws.market(symbols=1, rows=200)
    table = features.evaluate(bars, features.SETS["S1"])
    nulls = {c: table[c].null_count() for c in ("ret_15m", "rsi", "vwap", "volatility_60m")}
    assert nulls == {"ret_15m": 15, "rsi": 14, "vwap": 59, "volatility_60m": 60}
    gone = bars.filter(pl.int_range(pl.len()) != 100)
    assert features.build(gone, features.SETS["S1"], interval=laws.MINUTE).height == 199
