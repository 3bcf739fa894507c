"""Small markets for the desk's tests: arrays in the order of `loop.run`."""

from datetime import timedelta

import numpy as np

MINUTE = timedelta(minutes=1)
US = 60_000_000


def one_symbol(rows, start=0):
    """Rows of (open, high, low, close, forecast); volume 1; times 1, 2, ... minutes."""
    table = np.array(rows, dtype=float)
    n = len(table)
    time = (start + 1 + np.arange(n)) * US
    zero = np.zeros(n, np.int64)
    return [time, zero, *table[:, :4].T, np.ones(n), table[:, 4], zero.copy()]


def random_market(seed, n_symbols=3, n_times=150, start_hours=7):
    """Jumpy bars with holes, empty bars, unknown forecasts and bins, across a funding moment."""
    rng = np.random.default_rng(seed)
    there = rng.random((n_times, n_symbols)) > 0.1
    there[n_times // 2 : n_times // 2 + 20, 0] = False
    t, symbol = np.nonzero(there)
    n = len(t)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.006, (n_times, n_symbols)), 0))[t, symbol]
    open_ = close * np.exp(rng.normal(0, 0.006, n))
    high = np.maximum(open_, close) * (1 + rng.exponential(0.004, n))
    low = np.minimum(open_, close) * (1 - rng.exponential(0.004, n))
    volume = np.where(rng.random(n) < 0.1, 0.0, 1.0)
    forecast = np.where(rng.random(n) < 0.15, np.nan, rng.normal(0, 0.01, n))
    bins = np.where(rng.random(n) < 0.15, 0, rng.integers(1, 11, n))
    time = (start_hours * 60 + 1 + t) * US
    return [time, symbol.astype(np.int64), open_, high, low, close, volume, forecast, bins]
