"""What a study's symbols are called elsewhere, and how far prices there are from its own."""

import asyncio
import math

import polars as pl
import pytest

from research import study
from research.errors import UserError
from research.live import basis, names
from research.live.feed.named import Named
from research.live.moments import Bar, Levels, Moment

MAP = {"X:BTC-USD": "BTC/USD", "X:ETH-USD": "ETH/USD"}


def chosen(**live):
    return study.read("demo", {f"live.{name}": value for name, value in live.items()})


def test_a_map_names_the_venue_s_symbols():
    one = chosen(feed="kraken", symbols=MAP)
    assert names.of(one, ["X:BTC-USD", "X:ETH-USD"]) == MAP
    assert names.read(one, ["X:ETH-USD"]) == {"X:ETH-USD": "ETH/USD"}
    assert (names.feed(one), names.venue(one)) == ("kraken", "kraken")


def test_what_has_no_name_is_named():
    one = chosen(feed="kraken", symbols={"X:BTC-USD": "BTC/USD"})
    with pytest.raises(UserError, match=r"no name at kraken for X:ETH-USD, SOLUSDT\. .*"
                       r'"X:ETH-USD" = "ETH/USD"'):  # fmt: skip
        names.of(one, ["X:BTC-USD", "X:ETH-USD", "SOLUSDT"])
    with pytest.raises(UserError, match=r'no name at binance for X:BTC-USD.*= "BTCUSD"'):
        names.of(chosen(feed="binance"), ["X:BTC-USD"])
    assert names.of(chosen(feed="bybit"), ["BTCUSDT"]) == {"BTCUSDT": "BTCUSDT"}


def test_a_market_is_nobody_s_twice_and_kraken_s_names_are_pairs():
    twice = {"A": "BTC/USD", "B": "BTC/USD"}
    with pytest.raises(UserError, match="A and B are both BTC/USD at kraken"):
        names.of(chosen(feed="kraken", symbols=twice), ["A", "B"])
    with pytest.raises(UserError, match="'XBTUSD' for A is no pair of kraken"):
        names.of(chosen(feed="kraken", symbols={"A": "XBTUSD"}), ["A"])


def test_bars_of_one_venue_and_orders_at_another():
    one = chosen(feed="binance", venue="kraken", symbols={"BTCUSDT": "BTC/USD"})
    assert (names.feed(one), names.venue(one)) == ("binance", "kraken")
    assert names.read(one, ["BTCUSDT"]) == {"BTCUSDT": "BTCUSDT"}
    assert names.of(one, ["BTCUSDT"]) == {"BTCUSDT": "BTC/USD"}


def test_the_simulated_exchange_names_what_it_plays_by_its_rule():
    one = chosen(feed="simulated", venue="kraken")
    assert names.read(one, ["SIM01USDT", "X:BTC-USD"]) == {
        "SIM01USDT": "SIM01/USDT",
        "X:BTC-USD": "BTC/USD",
    }
    plain = chosen(feed="simulated")
    assert names.feed(plain) == "binance"
    assert names.read(plain, ["X:BTC-USD"]) == {"X:BTC-USD": "X:BTC-USD"}
    stored = chosen(feed="kraken")
    assert names.of(stored, ["BTC-USD"]) == {"BTC-USD": "BTC/USD"}  # as stored from Kraken


# -- the basis -------------------------------------------------------------------------------------


def closes(symbol, prices, first=0):
    times = range(first, first + len(prices))
    return pl.DataFrame({"symbol": [symbol] * len(prices), "time": times, "close": prices})


def test_the_basis_is_the_median_of_log_ratios_of_common_bars():
    learnt = pl.concat([closes("A", [100.0, 101.0, 102.0, 50.0]), closes("B", [1.0])])
    ratios = [1.001, 1.002, 1.004]
    traded = closes("A", [p * r for p, r in zip([101.0, 102.0, 50.0], ratios)], first=1)
    found = basis.basis(learnt, traded)
    logs = [math.log(r) for r in ratios]
    assert found["A"]["bars"] == 3 and found["A"]["level"] == pytest.approx(logs[1])
    assert found["A"]["spread"] == pytest.approx((logs[2] - logs[0]) / 2)
    assert found["B"] == {"bars": 0, "level": None, "spread": None}
    assert basis.told(found) == "A +20.0 bp (spread 15.0 bp, 3 bars), B unknown (no common bar)"


# -- a feed that speaks the study's names ----------------------------------------------------------


class Fake:
    """A feed with the venue's names."""

    def __init__(self, called, note):
        self.called, self.note = called, note

    async def moments(self, after):
        bars = [Bar("AAA/USD", 0, *[1.0] * 5), Bar("BBB/USD", 0, *[2.0] * 5)]
        yield Moment(60, tuple(bars), 61, {"AAA/USD": Levels(0, (), ())})

    async def history(self, start, end):
        from research import schema

        row = {"symbol": "AAA/USD"}
        return pl.DataFrame([row, {"symbol": "BBB/USD"}], schema=schema.BARS)


def test_bars_books_and_notes_carry_the_study_s_names():
    told = []
    ours = {"Z": "AAA/USD", "B": "BBB/USD"}
    feed = Named(Fake, ours, lambda *note: told.append(note))
    assert feed._feed.called == ["AAA/USD", "BBB/USD"]

    async def first():
        return await anext(feed.moments(0)), await feed.history(0, 1)

    moment, bars = asyncio.run(first())
    assert [(bar.symbol, bar.close) for bar in moment.bars] == [("B", 2.0), ("Z", 1.0)]
    assert set(moment.levels) == {"Z"} and bars["symbol"].to_list() == ["B", "Z"]
    feed._feed.note("revision", {"symbol": "AAA/USD", "was": {"symbol": "AAA/USD"}, "now": None})
    feed._feed.note("alarm", {"what": "x"})
    assert told == [
        ("revision", {"symbol": "Z", "was": {"symbol": "Z"}, "now": None}),
        ("alarm", {"what": "x"}),
    ]
