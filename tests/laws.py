"""Laws that every feature set keeps; `tests/test_laws.py` applies them, your own tests may too.

Each takes a feature set and bars, and fails by assertion. `market` makes bars to try them on.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from research import features, schema
from research.features.aggregates import FLOW, made_up

MINUTE = timedelta(minutes=1)
START = datetime(2024, 4, 30, tzinfo=UTC)
NUMBERS = [c for c, dtype in schema.BARS.items() if dtype in (pl.Float64, pl.Int64)]


def market(
    *, symbols=2, rows=4_000, interval=MINUTE, seed=0, start=START, missing=(), tick=0.01
) -> pl.DataFrame:
    """Random bars with flat and empty stretches; bars whose number is in `missing` are absent."""
    parts = [
        _walk(f"S{k}", rows, interval, np.random.default_rng([seed, k]), start, tick)
        for k in range(symbols)
    ]
    keep = ~np.isin(np.arange(rows), list(missing))
    return pl.concat(part.filter(keep) for part in parts)


def beside(bars, feature_set):
    """The bars with order flow beside them, if the set reads any."""
    return made_up(bars) if feature_set.beside else bars


def _walk(symbol, rows, interval, rng, start, tick):
    flat = (np.arange(rows) // 50) % 13 == 7
    step = np.where(flat, 0.0, rng.standard_t(4, rows) * 5e-4)
    close = np.round(100 * np.exp(np.cumsum(step)) / tick) * tick
    open_ = np.append(100.0, close[:-1])
    reach = np.where(flat[:, None], 0.0, rng.exponential(3e-4, (rows, 2)))
    volume = np.where(flat, 0.0, rng.lognormal(1, 1, rows))
    opened = [start + k * interval for k in range(rows)]
    return pl.DataFrame(
        {
            "symbol": symbol,
            "time": pl.Series([t + interval for t in opened], dtype=schema.TIME),
            "open_time": pl.Series(opened, dtype=schema.TIME),
            "open": open_,
            "high": np.maximum(open_, close) * (1 + reach[:, 0]),
            "low": np.minimum(open_, close) * (1 - reach[:, 1]),
            "close": close,
            "volume": volume,
            "quote_volume": volume * close,
            "trades": np.ceil(volume).astype(np.int64),
            "taker_buy_volume": volume * 0.5,
            "taker_buy_quote_volume": volume * close * 0.5,
        },
        schema_overrides=schema.BARS,
    )


def law_no_lookahead(feature_set, bars, *, interval=MINUTE):
    """Values up to a moment stay as they are when every bar after it changes, or goes."""
    straight = features.build(bars, feature_set, interval=interval)
    times = bars["time"].unique().sort()
    moved = dict.fromkeys(feature_set.names, False)
    for cut in (len(times) // 2, len(times) * 3 // 4, len(times) - 2):
        later = bars["time"] > times[cut]
        bent = features.build(_bent(bars, later), feature_set, interval=interval)
        cropped = features.build(bars.filter(~later), feature_set, interval=interval)
        assert same(straight.filter(~later), bent.filter(~later)), f"sees beyond {times[cut]}"
        assert same(straight.filter(~later), cropped), f"needs bars beyond {times[cut]}"
        for name in moved:
            moved[name] |= (straight[name].ne_missing(bent[name]) & later).any()
    numbers = [name for name in moved if not _of_the_clock(feature_set, name)]
    still = [name for name in numbers or moved if not moved[name]]
    assert not still, f"changing later bars changed no {still}: this proves nothing"


def _of_the_clock(feature_set, name):
    """Whether a column looks at times alone: no number can move it, a missing bar may."""
    return set(feature_set.columns[name].expr.meta.root_names()) <= {"time", "open_time"}


def _bent(bars, later):
    """Change every number of later bars, each by a factor of its own: shapes change as well."""
    rng = np.random.default_rng(7)
    factor = {c: rng.uniform(0.6, 1.7, bars.height) for c in schema.PRICES}
    numbers = [*NUMBERS, *(c for c in FLOW if c in bars.columns)]
    factor |= {c: rng.uniform(2.0, 9.0, bars.height) for c in numbers if c not in schema.PRICES}
    bent = bars.with_columns(
        (pl.col(c) * pl.Series(np.where(later, factor[c], 1.0))).cast(bars.schema[c])
        + (pl.lit(0) if c in schema.PRICES else later.cast(pl.Int64))
        for c in numbers
    )
    return bent.with_columns(
        high=pl.max_horizontal(schema.PRICES), low=pl.min_horizontal(schema.PRICES)
    )


def law_symbols_do_not_mix(feature_set, bars, *, interval=MINUTE):
    """A symbol's values stay when the others change, or go; but for what declares the others."""
    own, declared = _parted(feature_set)
    whole = features.build(bars, own, interval=interval)
    for symbol in bars["symbol"].unique():
        mine = pl.col("symbol") == symbol
        alone = features.build(bars.filter(mine), own, interval=interval)
        bent = _bent(bars, bars["symbol"] != symbol)
        others = features.build(bent, own, interval=interval)
        assert same(whole.filter(mine), alone), f"{symbol} differs when alone"
        assert same(whole.filter(mine), others.filter(mine)), f"{symbol} differs with other others"
        if declared.names:
            before, after = (features.evaluate(b, declared).filter(mine) for b in (bars, bent))
            still = [n for n in declared.names if not before[n].ne_missing(after[n]).any()]
            assert not still, f"{still} declare the others of {symbol} and do not look at them"


def _parted(feature_set):
    """The columns that look at one symbol, and those that declare to look at others."""
    own, declared = {}, {}
    for name, feature in feature_set.columns.items():
        alone = replace(feature_set, columns={name: feature})
        (declared if alone.cross else own)[name] = feature
    return replace(feature_set, columns=own), replace(feature_set, columns=declared)


def law_live_is_batch(feature_set, bars, moments, *, interval=MINUTE):
    """The newest row of a window from the anchor on is bit-equal to the row of the whole table."""
    batch = features.build(bars, feature_set, interval=interval)
    back = features.lookback(feature_set, interval=interval)
    known = 0
    for moment in moments:
        day = (moment - interval).replace(hour=0, minute=0, second=0, microsecond=0)
        seen = (pl.col("time") <= moment) & (pl.col("open_time") >= day - back)
        live = features.latest(bars.filter(seen), feature_set, interval=interval)
        there = live.filter(pl.col("time") == moment)
        assert same(there, batch.filter(pl.col("time") == moment)), f"live differs at {moment}"
        known += there.drop_nulls().height
    assert known, "no moment had values: this proves nothing"
    return known


def law_gap_is_a_start(feature_set, bars, *, interval=MINUTE):
    """Values after a gap are those of a series that starts there."""
    whole = features.build(bars, feature_set, interval=interval)
    mine = pl.col("symbol") == bars["symbol"][0]
    restarts = bars.filter(mine & (pl.col("open_time").diff() != interval))["open_time"]
    assert len(restarts), "no gap in these bars: this proves nothing"
    beside = ~mine if feature_set.cross else pl.lit(False)
    for begin in restarts:
        seen = bars.filter(beside | (mine & (pl.col("open_time") >= begin)))
        fresh = features.build(seen, feature_set, interval=interval).filter(mine)
        assert same(whole.join(fresh, on=["symbol", "time"], how="semi"), fresh)
        first = fresh.head(features.warmup(feature_set, interval=interval))
        assert first.select(feature_set.names).null_count().row(0) == (first.height,) * len(
            feature_set.names
        ), "a value before the warm-up"


def law_prefix_stable(feature_set, bars, *, interval=MINUTE):
    """A value is bit-equal whatever rows follow it."""
    one = bars.filter(pl.col("symbol") == bars["symbol"][0])
    some = bars if feature_set.cross else one
    whole = features.evaluate(some, feature_set)
    for rows in (1, 2, 13, 29, 500, 1_441, one.height - 1):
        seen = some["time"] <= one["time"][rows - 1]
        head = features.evaluate(some.filter(seen), feature_set)
        assert same(whole.filter(seen), head), rows


def law_null_is_the_only_unknown(feature_set, bars, *, interval=MINUTE):
    """No NaN, no infinity; a row is whole or empty."""
    table = features.build(bars, feature_set, interval=interval)
    assert table.columns == ["symbol", "time", *feature_set.names, "sigma"]
    assert table.select("symbol", "time").equals(bars.select("symbol", "time"))
    numbers = table.select(*feature_set.names, "sigma")
    assert set(numbers.dtypes) == {pl.Float64}
    assert (
        numbers.select(pl.all().is_finite().fill_null(True).all()).row(0) == (True,) * numbers.width
    )
    nulls = table.select(pl.sum_horizontal(pl.col(feature_set.names).is_null())).to_series()
    assert set(nulls.unique()) <= {0, len(feature_set.names)}
    assert (nulls == 0).any(), "no row has values: this proves nothing"


def same(a, b):
    """Bit-equal tables, null equal to null."""
    return a.equals(b, null_equal=True)
