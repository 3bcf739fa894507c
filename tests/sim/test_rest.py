"""REST answers: the played bars, in the venues' own order and form."""

import math

import pytest

from research.sim.binance_rest import Refused, Weights

MINUTE = 60_000_000
ZERO = 1_714_521_600_000_000
COLUMNS = {
    "open": 1,
    "high": 2,
    "low": 3,
    "close": 4,
    "volume": 5,
    "quote_volume": 7,
    "trades": 8,
    "taker_buy_volume": 9,
    "taker_buy_quote_volume": 10,
}


def played(bars, symbol, opened_before):
    mine = bars.filter(symbol=symbol).to_dicts()
    return [r for r in mine if r["open_time"].timestamp() * 1e6 < opened_before]


async def test_binance_klines_are_the_played_bars(playing, bars):
    async with playing(bars) as client:
        start = client.exchange.market.start
        rows = await client.binance("klines", symbol="AAAUSDT", interval="1m", limit=1500)
        wanted = played(bars, "AAAUSDT", start + 1)
        assert len(rows) == len(wanted) == 21
        assert {len(row) for row in rows} == {12}
        for row, bar in zip(rows[:-1], wanted):
            assert row[0] == bar["open_time"].timestamp() * 1000
            assert row[6] == bar["time"].timestamp() * 1000 - 1
            for name, column in COLUMNS.items():
                assert float(row[column]) == bar[name], "to the last bit"
        types = [type(value) for value in rows[0]]
        assert types == [int, *[str] * 5, int, str, int, str, str, str]
        last = rows[-1]
        assert last[6] * 1000 >= start, "the last row is not closed"
        assert float(last[1]) == wanted[-1]["open"]


async def test_binance_klines_page(playing, bars):
    async with playing(bars) as client:
        start = client.exchange.market.start
        first = start - 10 * MINUTE
        ask = {"symbol": "AAAUSDT", "interval": "1m"}
        rows = await client.binance("klines", startTime=first // 1000, limit=3, **ask)
        assert [r[0] for r in rows] == [(first + k * MINUTE) // 1000 for k in range(3)]
        rows = await client.binance("klines", endTime=first // 1000, limit=3, **ask)
        assert [r[0] for r in rows] == [(first - k * MINUTE) // 1000 for k in (2, 1, 0)]
        rows = await client.binance(
            "klines", startTime=first // 1000 + 1, endTime=start // 1000, **ask
        )
        assert rows[0][0] == (first + MINUTE) // 1000
        assert rows[-1][0] == start // 1000
        assert await client.binance("klines", startTime=start // 1000 + 60_000, **ask) == []


async def test_longer_intervals_join_minutes(playing, bars):
    async with playing(bars) as client:
        rows = await client.binance("klines", symbol="AAAUSDT", interval="5m", limit=10)
        minutes = bars.filter(symbol="AAAUSDT").to_dicts()
        assert len(rows) == 5
        for place, row in enumerate(rows[:-1]):
            part = minutes[5 * place : 5 * place + 5]
            assert float(row[1]) == part[0]["open"]
            assert float(row[2]) == max(b["high"] for b in part)
            assert float(row[3]) == min(b["low"] for b in part)
            assert float(row[4]) == part[-1]["close"]
            assert math.isclose(float(row[5]), sum(b["volume"] for b in part), rel_tol=1e-12)
            assert row[8] == sum(b["trades"] for b in part)


async def test_bybit_klines_are_the_played_bars_newest_first(playing, bars):
    async with playing(bars) as client:
        start = client.exchange.market.start
        result = await client.bybit("kline", symbol="BBBUSDT", interval="1", limit=1000)
        rows, wanted = result["list"], played(bars, "BBBUSDT", start + 1)
        assert len(rows) == len(wanted)
        assert rows == sorted(rows, key=lambda row: -int(row[0]))
        assert all(isinstance(value, str) for row in rows for value in row)
        for row, bar in zip(reversed(rows[1:]), wanted):
            names = ("open", "high", "low", "close", "volume", "quote_volume")
            assert [float(v) for v in row[1:]] == [bar[name] for name in names]
        from_start = await client.bybit(
            "kline", symbol="BBBUSDT", interval="1", limit=2, start=(start - 5 * MINUTE) // 1000
        )
        assert [int(r[0]) for r in from_start["list"]] == [
            (start - k * MINUTE) // 1000 for k in (4, 5)
        ]


async def test_the_unclosed_bar_grows(playing, bars):
    async with playing(bars, speed=60) as client:
        ws = await client.clock()
        await client.exchange.clock.wait(client.exchange.market.start + MINUTE // 2)
        await ws.send_json({"hold": True})
        await client.exchange.clock.changed()
        row = (await client.binance("klines", symbol="AAAUSDT", interval="1m", limit=1))[0]
        whole = client.exchange.market.series("AAAUSDT").candles[20]
        assert 0 < float(row[5]) < whole.volume
        assert whole.low <= float(row[3]) <= float(row[2]) <= whole.high


async def test_agg_trades_page_by_id_and_time(playing, bars):
    async with playing(bars) as client:
        start = client.exchange.market.start
        ask = {"symbol": "AAAUSDT", "limit": 1000}
        rows = await client.binance("aggTrades", startTime=(start - 30 * MINUTE) // 1000, **ask)
        assert [r["a"] for r in rows] == list(range(rows[0]["a"], rows[0]["a"] + len(rows)))
        again, first = [], 1
        while page := await client.binance("aggTrades", symbol="AAAUSDT", fromId=first, limit=37):
            again += page
            first = page[-1]["a"] + 1
        assert again == rows
        for bar in played(bars, "AAAUSDT", start)[5:8]:
            opened, closed = (int(bar[n].timestamp() * 1000) for n in ("open_time", "time"))
            mine = [r for r in rows if opened <= r["T"] < closed]
            volume = sum(float(r["q"]) for r in mine)
            assert math.isclose(volume, bar["volume"], rel_tol=1e-9)
            assert sum(r["l"] - r["f"] + 1 for r in mine) == bar["trades"]
        newest = await client.binance("aggTrades", symbol="AAAUSDT", limit=5)
        assert newest == rows[-5:]
        hour = {"startTime": start // 1000 - 7_200_000, "endTime": start // 1000}
        assert (await client.binance("aggTrades", symbol="AAAUSDT", **hour))["code"] == -4166


async def test_errors_of_the_venues(playing, bars):
    async with playing(bars) as client:
        assert (await client.binance("klines", symbol="NOUSDT", interval="1m"))["code"] == -1121
        assert (await client.binance("klines", symbol="AAAUSDT", interval="7m"))["code"] == -1120
        assert (await client.binance("klines", interval="1m"))["code"] == -1102
        bad = await client.binance("klines", symbol="AAAUSDT", interval="1m", limit="many")
        assert bad["code"] == -1102
        assert (await client.binance("nothing"))["code"] == -5000
        url = "api.bybit.com/v5/market/kline"
        assert (await client.get(url, category="linear", symbol="NO", interval="1"))[
            "retCode"
        ] == 10001


async def test_time_is_the_virtual_time(playing, bars):
    async with playing(bars) as client:
        start = client.exchange.market.start
        assert await client.binance("time") == {"serverTime": start // 1000}
        assert (await client.bybit("time"))["timeNano"] == str(start * 1000)
        assert await client.binance("ping") == {}


async def test_weights_are_said_and_kept(playing, bars):
    async with playing(bars, weight_limit=25) as client:
        url = "https://fapi.binance.com/fapi/v1/klines"
        ask = {"symbol": "AAAUSDT", "interval": "1m", "limit": 1500}
        seen = []
        for _ in range(4):
            async with client.session.get(url, params=ask) as answer:
                seen.append((answer.status, answer.headers["X-MBX-USED-WEIGHT-1M"]))
                after = answer.headers.get("Retry-After")
        assert seen == [(200, "10"), (200, "20"), (429, "30"), (429, "40")]
        assert 1 <= int(after) <= 61
        for _ in range(20):
            async with client.session.get(url, params=ask) as answer:
                status = answer.status
        assert status == 418
        assert int(answer.headers["Retry-After"]) > 60


def test_weights_begin_anew_with_the_minute():
    weights = Weights(10)
    weights.spend(10, 0, 1.0)
    with pytest.raises(Refused):
        weights.spend(1, MINUTE - 1, 1.0)
    weights.spend(10, MINUTE, 1.0)
    assert weights.used == 10


@pytest.mark.real
@pytest.mark.parametrize(
    ("path", "ask", "real", "more", "less"),
    [
        ("klines", {"symbol": "AAAUSDT", "interval": "1m"}, "klines", set(), set()),
        ("aggTrades", {"symbol": "AAAUSDT"}, "agg_trades", {"nq"}, set()),
        ("premiumIndex", {"symbol": "AAAUSDT"}, "premium_index", set(), set()),
        ("fundingRate", {"symbol": "AAAUSDT"}, "funding_rate", {"markPrice"}, set()),
        ("depth", {"symbol": "AAAUSDT"}, "depth", set(), set()),
        ("exchangeInfo", {}, "exchange_info", set(), {"settlePlan"}),
    ],
)
async def test_binance_answers_have_the_real_keys(
    playing, make_market, wire, keys, path, ask, real, more, less
):
    """Fields newer than the recordings are `more`, those since gone `less`."""
    theirs = keys(wire(f"nautilus_binance_py/http_responses/http_futures_market_{real}.json"))
    async with playing(make_market(bars=520), start=ZERO + 510 * MINUTE) as client:
        ours = keys(await client.binance(path, **ask))
    assert (ours - theirs, theirs - ours) == (more, less)


@pytest.mark.real
@pytest.mark.parametrize(
    ("path", "ask", "real", "more"),
    [
        ("kline", {"symbol": "AAAUSDT", "interval": "1"}, "http_get_klines_linear", set()),
        ("recent-trade", {"symbol": "AAAUSDT"}, "http_get_trades_recent", set()),
        (
            "instruments-info",
            {},
            "http_get_instruments_linear",
            {"category", "copyTrading", "upperFundingRate", "lowerFundingRate"},
        ),
    ],
)
async def test_bybit_answers_have_the_real_keys(playing, bars, wire, keys, path, ask, real, more):
    theirs = keys(wire(f"nautilus_bybit/{real}.json")["result"])
    async with playing(bars) as client:
        ours = keys(await client.bybit(path, **ask))
    assert (ours - theirs, theirs - ours) == (more, set())
