"""A small market, what its moments must be, and a feed that plays it on real sockets."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from research import schema
from research.live import feed
from research.live.clock import VenueClock
from research.live.feed import Limits
from research.live.moments import Bar
from research.live.net import Network
from research.sim import Exchange

MINUTE = 60_000_000
SYMBOLS = ("ADAUSDT", "BTCUSDT", "ETHUSDT")
BEGAN = datetime(2024, 5, 1, tzinfo=UTC)
QUICK = Limits(ping=0.1, silence=0.6, tick=0.05, first=0.05, longest=0.2, connect=2.0)
FIELDS = Bar._fields[:11]


def market(minutes=40, symbols=SYMBOLS, seed=1):
    """Return `schema.BARS` of a random walk."""
    rng = np.random.default_rng(seed)
    table = pl.concat(_walk(rng, symbol, minutes) for symbol in symbols)
    return table.select(list(schema.BARS)).sort("symbol", "time")


def _walk(rng, symbol, minutes):
    price = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, minutes + 1))).round(5)
    first, last = price[:-1].round(4), price[1:].round(4)
    volume = rng.lognormal(3, 1, minutes).round(3)
    table = pl.DataFrame(
        {
            "symbol": symbol,
            "open_time": [BEGAN + timedelta(minutes=i) for i in range(minutes)],
            "open": first,
            "high": (np.maximum(first, last) * 1.0004).round(4),
            "low": (np.minimum(first, last) * 0.9996).round(4),
            "close": last,
            "volume": volume,
            "quote_volume": (volume * (first + last) / 2).round(6),
            "trades": rng.integers(5, 200, minutes),
            "taker_buy_volume": (volume / 2).round(3),
            "taker_buy_quote_volume": (volume * (first + last) / 4).round(6),
        }
    )
    return table.with_columns(
        pl.col("open_time").dt.cast_time_unit("us"),
        time=pl.col("open_time").dt.cast_time_unit("us") + timedelta(minutes=1),
    )


def start_of(bars, history=20):
    """Return the close of the last bar before the played ones."""
    return bars["open_time"].dt.epoch("us").min() + history * MINUTE


def expected(bars, after, *, extras=True):
    """Return (time, bars as tuples) for each close after `after`, straight from the table."""
    times = bars.with_columns(pl.col("time", "open_time").dt.epoch("us"))
    found = {}
    for row in times.sort("time", "symbol").iter_rows(named=True):
        values = tuple(row[name] for name in FIELDS)
        values = values if extras else (*values[:8], None, None, None)
        if row["time"] > after:
            found.setdefault(row["time"], []).append(values)
    return list(found.items())


def plain(moments):
    """Return moments without how and when they came."""
    return [(m.time, [tuple(bar[:11]) for bar in m.bars]) for m in moments]


def sources(moments):
    return Counter(bar.source for m in moments for bar in m.bars)


class Played:
    """What a feed handed out and said."""

    def __init__(self):
        self.moments, self.notes, self.health, self.log = [], [], [], []
        self.checks = {}

    def note(self, kind, body):
        self.notes.append((kind, body))

    def count(self, kind):
        return sum(k == kind for k, _ in self.notes)


async def play(
    bars,
    *,
    venue="binance",
    faults=(),
    speed=math.inf,
    limits=QUICK,
    history=20,
    until=None,
    **more,
):
    """Play `bars` on a simulated exchange and return what the feed made of it."""
    played, start = Played(), start_of(bars, history)
    symbols = sorted(bars["symbol"].unique())
    end = until or bars["time"].dt.epoch("us").max()
    exchange = Exchange(bars, start=start, speed=speed, faults=faults, seed=7)
    async with exchange as server, Network(server.port, server.ca) as network:
        clock = await VenueClock.connect(network)
        source = feed.open(
            venue, network, clock, symbols, MINUTE, note=played.note, limits=limits, **more
        )
        try:
            async for moment in source.moments(start):
                played.moments.append(moment)
                await clock.ack(moment.time)
                if moment.time >= end:
                    break
            played.health, played.checks = source.health(), source.checks()
        finally:
            await source.close()
            await clock.close()
    played.log = exchange.log
    return played
