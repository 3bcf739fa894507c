"""Small markets for the desk's tests: arrays in the order of `loop.run`, and venues."""

from datetime import timedelta

import numpy as np

from research.trading.account import new_venue

MINUTE = timedelta(minutes=1)
US = 60_000_000
EIGHT_HOURS = 8 * 60 * US


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


def random_charges(seed, arrays):
    """Half-spread, impact and sigma of each bar of a market; some of the sigmas unknown."""
    rng, n = np.random.default_rng(seed), len(arrays[0])
    sigma = np.where(rng.random(n) < 0.1, np.nan, rng.uniform(0.002, 0.01, n))
    return {
        "half_spread": rng.choice([0.0, 0.0002, 0.001], n),
        "impact": rng.choice([0.0, 2e-6], n),
        "sigma": sigma,
    }


def random_books(seed, arrays, depth=6):
    """The book of each bar, around its open, thin and deep; of some bars none, or half of one."""
    rng, n = np.random.default_rng(seed), len(arrays[0])
    steps = rng.uniform(1e-5, 1e-3, (n, 2, depth)).cumsum(2) * [[-1.0], [1.0]]
    away = rng.normal(0, 5e-4, n)
    prices = arrays[2][:, None, None] * (1 + away[:, None, None] + steps)
    sizes = rng.exponential(1.0, (n, 2, depth)) * rng.choice([0.02, 1.0, 30.0], n)[:, None, None]
    sizes[np.arange(depth) >= rng.integers(1, depth + 1, n)[:, None, None].repeat(2, 1)] = 0.0
    sizes[rng.random(n) < 0.05] = 0.0
    sizes[rng.random(n) < 0.03, 1] = 0.0
    return np.stack([prices, sizes], axis=-1)


def every_eight_hours(rate, end, n_symbols=1):
    """Funding at 00, 08 and 16 UTC at one rate, as a venue's schedule."""
    moment = np.arange(1, end // EIGHT_HOURS + 1) * EIGHT_HOURS
    first = np.arange(n_symbols + 1) * len(moment)
    return first, np.tile(moment, n_symbols), np.full(n_symbols * len(moment), float(rate))


def funded(rate, end, n_symbols=1):
    """Return a venue that asks for nothing but funding."""
    return new_venue(n_symbols, funding=every_eight_hours(rate, end, n_symbols))


def random_venue(seed, end, n_symbols=3):
    """Steps of quantity and price, and funding at odd moments with rates of both signs."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, n_symbols)
    moments = [np.sort(rng.choice(end // US, c, replace=False)) * US + 1 for c in counts]
    if rng.random() < 0.5:  # as they are in truth: on the hour, where bars close
        moments = [m // (10 * US) * (10 * US) for m in map(np.unique, moments)]
        moments = [np.unique(m) for m in moments]
    first = np.concatenate([[0], np.cumsum([len(m) for m in moments])])
    rate = rng.normal(0, 0.001, first[-1])
    return new_venue(
        n_symbols,
        lot=rng.choice([0.0, 0.01, 0.5], n_symbols),
        tick=rng.choice([0.0, 0.01, 0.25], n_symbols),
        funding=(first, np.concatenate(moments), rate),
    )
