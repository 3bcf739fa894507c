"""Prints put together again are the bar they were made of."""

import math
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.sim import prints
from research.sim.market import _candles
from research.sim.prints import Candle

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "klines_1m"
PRICE = st.floats(0.001, 1e5)


@st.composite
def candles(draw):
    """Bars that a list of trades could have made: that list is their oracle."""
    trade = st.tuples(st.floats(0.5, 2.0), st.floats(1e-4, 1e5), st.booleans())
    level = draw(PRICE)
    some = [(level * p, q, buys) for p, q, buys in draw(st.lists(trade, min_size=1))]
    prices = [p for p, _, _ in some]
    took = [(p, q) for p, q, buys in some if buys]
    return Candle(
        0,
        60_000_000,
        prices[0],
        max(prices),
        min(prices),
        prices[-1],
        sum(q for _, q, _ in some),
        sum(p * q for p, q, _ in some),
        len(some),
        sum(q for _, q in took),
        sum(p * q for p, q in took),
        first=7,
    )


def check(candle, made):
    """Aggregate by hand and compare with the bar."""
    prices = [p.price for p in made]
    assert (prices[0], max(prices), min(prices), prices[-1]) == candle[2:6]
    bought = [p for p in made if not p.maker]
    sums = (
        (sum(p.quantity for p in made), candle.volume),
        (sum(p.quantity * p.price for p in made), candle.quote),
        (sum(p.quantity for p in bought), candle.buy),
        (sum(p.quantity * p.price for p in bought), candle.buy_quote),
    )
    for found, wanted in sums:
        assert math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-9 * candle.volume)
    assert sum(p.last - p.first + 1 for p in made) == candle.trades
    assert all(p.quantity > 0 for p in made)
    assert [p.id for p in made] == list(range(made[0].id, made[0].id + len(made)))
    assert made[0].first == candle.first
    assert all(b.first == a.last + 1 for a, b in pairwise(made))
    times = [p.time for p in made]
    assert times == sorted(times)
    assert candle.open_time <= times[0] and times[-1] < candle.close_time


@given(candles(), st.integers(0, 5))
@settings(max_examples=300, deadline=None)
def test_prints_make_the_bar(candle, seed):
    made = prints.made(candle, 11, str(seed))
    check(candle, made)
    assert [len(made)] == prints.counts([candle])


def test_a_bar_without_volume_has_no_print():
    quiet = Candle(0, 60_000_000, 5.0, 5.0, 5.0, 5.0, 0.0, 0.0, 0, 0.0, 0.0, 1)
    assert prints.made(quiet, 1, "x") == []
    assert prints.counts([quiet]) == [0]


def test_same_seed_same_prints():
    candle = Candle(0, 60_000_000, 1.0, 1.2, 0.9, 1.1, 5.0, 5.2, 40, 2.0, 2.1, 1)
    assert prints.made(candle, 1, "a") == prints.made(candle, 1, "a")
    assert prints.made(candle, 1, "a") != prints.made(candle, 1, "b")


@pytest.mark.real
def test_prints_make_real_bars():
    path = DATA / "um_futures_full_2026-02" / "LINKUSDT.parquet"
    if not path.exists():
        pytest.skip("no real bars beside the project")
    raw = pl.read_parquet(path).head(3000)
    rows = raw.with_columns(
        time=pl.from_epoch(pl.col("open_time") + 60_000, "ms"),
        open_time=pl.from_epoch("open_time", "ms"),
    )
    made_of = [c for c in _candles(rows) if c.volume > 0]
    ids = prints.counts(made_of)
    for candle, count in zip(made_of, ids):
        made = prints.made(candle, 1, "real")
        check(candle, made)
        assert len(made) == count
