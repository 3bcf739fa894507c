"""Small gappy markets for the tests of labels."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import strategies as st

from research import schema

MINUTE = timedelta(minutes=1)
START = datetime(2024, 5, 1, tzinfo=UTC)
GAPPY = st.dictionaries(
    st.sampled_from(["ADA", "BTC", "XRP"]),
    st.lists(st.integers(0, 40), min_size=1, max_size=30, unique=True).map(sorted),
    min_size=1,
)


def market(minutes, *, seed=0, step=0.001):
    """Bars of the symbols at the given minutes (of their opening), with random prices."""
    rng = np.random.default_rng(seed)
    rows = [(symbol, START + k * MINUTE) for symbol in sorted(minutes) for k in minutes[symbol]]
    close = 100 * np.exp(np.cumsum(rng.normal(0, step, len(rows))))
    open_ = close * np.exp(rng.normal(0, 0.3 * step, len(rows)))
    reach = np.exp(np.abs(rng.normal(0, 0.3 * step, (2, len(rows)))))
    return pl.DataFrame(
        {
            "symbol": pl.Series([symbol for symbol, _ in rows], dtype=pl.String),
            "time": pl.Series([opens + MINUTE for _, opens in rows], dtype=schema.TIME),
            "open": open_,
            "high": np.maximum(open_, close) * reach[0],
            "low": np.minimum(open_, close) / reach[1],
            "close": close,
        }
    )


def path(*rows):
    """One symbol's minutes from rows of (open, high, low, close); None leaves a gap."""
    kept = [(k, row) for k, row in enumerate(rows, 1) if row is not None]
    prices = zip(*(map(float, row) for _, row in kept), strict=True)
    time = pl.Series([START + k * MINUTE for k, _ in kept], dtype=schema.TIME)
    columns = dict(zip(schema.PRICES, map(list, prices), strict=True))
    return pl.DataFrame({"symbol": "A", "time": time, **columns})


def bent_after(bars, moment):
    """The same bars with every price after `moment` changed."""
    bend = 1 + pl.int_range(pl.len()) % 7
    late = pl.col("time") > moment
    return bars.with_columns(
        pl.when(late).then(pl.col(c) * bend).otherwise(c).alias(c) for c in schema.PRICES
    )


def volatilities(bars, *, seed=1, unknown=0.2):
    """A volatility of one bar for each row, some of them null or zero."""
    rng = np.random.default_rng(seed)
    value = rng.uniform(0.0004, 0.002, bars.height)
    value[rng.random(bars.height) < unknown / 2] = 0.0
    sigma = pl.Series("sigma", value)
    missing = pl.Series(rng.random(bars.height) < unknown / 2)
    return bars.select(schema.KEY).with_columns(
        pl.when(missing).then(None).otherwise(sigma).alias("sigma")
    )
