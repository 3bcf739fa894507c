"""Kraken's market data on the simulated exchange, read by its own rules and by ccxt."""

import asyncio

import polars as pl
import pytest

from research.sim import kraken
from research.sim.kraken.pace import BURST, SLOW, Pace
from research.sim.kraken.plans import RECOVERABLE, plan

from .conftest import MINUTE, ZERO

US = 1_000_000


async def ask(client, path, **query):
    return await client.get(f"api.kraken.com/0/public/{path}", **query)


async def candles(client, **query):
    told = await ask(client, "OHLC", **{"pair": "AAAUSDT", **query})
    assert told["error"] == []
    (key,) = set(told["result"]) - {"last"}
    return told["result"][key], told["result"]["last"]


@pytest.fixture
def unhurried(monkeypatch):
    monkeypatch.setattr(kraken.pace, "BURST", 1000.0)


async def test_candles_are_the_bars_and_the_last_is_open(playing, bars, unhurried):
    async with playing(bars) as client:
        rows, last = await candles(client)
        played = bars.filter(pl.col("symbol") == "AAAUSDT").to_dicts()
        assert len(rows) == 21 and last == rows[-2][0]
        for row, bar in zip(rows[:-1], played, strict=False):
            assert row[0] * US == int(bar["open_time"].timestamp()) * US
            fields = ("open", "high", "low", "close", None, "volume", "trades")
            for value, name in zip(row[1:], fields, strict=True):
                assert name is None or float(value) == bar[name]
            assert float(row[5]) * bar["volume"] == pytest.approx(bar["quote_volume"])
        assert rows[-1][0] * US == ZERO + 20 * MINUTE  # it has only just begun


async def test_since_is_exclusive_and_the_open_candle_is_always_there(playing, bars, unhurried):
    async with playing(bars) as client:
        rows, last = await candles(client)
        after, _ = await candles(client, since=rows[10][0])
        assert after == rows[11:]
        only, again = await candles(client, since=last)
        assert only == rows[-1:] and again == last
        future, _ = await candles(client, since=rows[-1][0] + 10**6)
        assert future == rows[-1:]


async def test_no_more_than_the_newest_720(playing, make_market, unhurried):
    bars = make_market(symbols=("AAAUSDT",), bars=800)
    async with playing(bars, start=ZERO + 790 * MINUTE) as client:
        rows, _ = await candles(client, since=0)
        assert len(rows) == 720
        assert [row[0] * US for row in (rows[0], rows[-1])] == [
            ZERO + 71 * MINUTE,
            ZERO + 790 * MINUTE,
        ]
        five, _ = await candles(client, interval=5)
        assert [row[0] % 300 for row in five] == [0] * len(five)


async def test_after_the_last_bar_an_empty_candle_is_open(playing, bars, unhurried):
    async with playing(bars, start=ZERO + 38 * MINUTE) as client:
        await client.run(2)
        rows, _ = await candles(client)
        assert rows[-1][0] * US == ZERO + 40 * MINUTE
        assert rows[-1][1:] == [*[rows[-2][4]] * 4, "0", "0", 0]


@pytest.mark.parametrize(
    ("path", "query", "error"),
    [
        ("OHLC", {"pair": "NOUSD"}, "EQuery:Unknown asset pair"),
        ("OHLC", {}, "EGeneral:Invalid arguments"),
        ("OHLC", {"pair": "AAAUSDT", "interval": "2"}, "EGeneral:Invalid arguments:interval"),
        ("OHLC", {"pair": "AAAUSDT", "since": "x"}, "EGeneral:Invalid arguments:since"),
        ("Nothing", {}, "EGeneral:Unknown method"),
    ],
)
async def test_errors_come_with_status_200(playing, bars, path, query, error):
    async with playing(bars) as client:
        assert await ask(client, path, **query) == {"error": [error]}


def test_names_follow_the_stated_rule():
    pairs = {
        "BTCUSDT": ("XBTUSDT", "XBTUSDT", "XBT/USDT"),
        "X:BTC-USD": ("XXBTZUSD", "XBTUSD", "XBT/USD"),
        "ETH/BTC": ("XETHXXBT", "ETHXBT", "ETH/XBT"),
        "DOGEUSD": ("XDGUSD", "XDGUSD", "XDG/USD"),
        "SIM01USDT": ("SIM01USDT", "SIM01USDT", "SIM01/USDT"),
        "SOLEUR": ("SOLEUR", "SOLEUR", "SOL/EUR"),
    }
    made = {symbol: kraken.pair(symbol) for symbol in pairs}
    assert {s: (one.key, one.altname, one.wsname) for s, one in made.items()} == pairs


async def test_a_pair_answers_to_each_of_its_names(playing, make_market, unhurried):
    async with playing(make_market(symbols=("X:BTC-USD",))) as client:
        for name in ("XXBTZUSD", "XBTUSD", "XBT/USD"):
            told = await ask(client, "Depth", pair=name, count=3)
            book = told["result"]["XXBTZUSD"]
            assert [len(book[side]) for side in ("bids", "asks")] == [3, 3]
            assert float(book["bids"][0][0]) < float(book["asks"][0][0])


async def test_the_map_of_a_study_names_the_pairs(playing, make_market):
    bars = make_market(symbols=("X:BTC-USD", "AAAUSDT"))
    async with playing(bars, names={"AAAUSDT": "ETH/EUR"}) as client:
        told = await ask(client, "AssetPairs")
        assert {one["wsname"] for one in told["result"].values()} == {"ETH/EUR", "XBT/USD"}


async def test_who_asks_more_than_once_a_second_is_refused(playing, bars):
    async with playing(bars) as client:
        told = [await ask(client, "OHLC", pair="AAAUSDT") for _ in range(5)]
        refused = [one["error"] == ["EAPI:Rate limit exceeded"] for one in told]
        assert refused == [False] * 3 + [True] * 2
        other = await ask(client, "OHLC", pair="BBBUSDT")  # counted for itself
        assert other["error"] == [] and client.exchange.pace.refused == 2
        await client.run(1)  # a minute of the market's time
        assert (await ask(client, "OHLC", pair="AAAUSDT"))["error"] == []


def test_the_pace_forgives_what_is_a_second_apart():
    pace = Pace()
    assert all(pace.spend("a", second * US) for second in range(1000))
    pace = Pace()
    allowed = [pace.spend("a", tenth * US // 10) for tenth in range(200)]
    assert not all(allowed) and pace.refused == allowed.count(False)
    until = int(20 * US + SLOW * US)
    assert pace.spend("a", until) and BURST >= 1


def test_a_plan_names_every_kind():
    made = plan(100, 3, 50)
    assert made == plan(100, 3, 50) and {fault.kind for fault in made} == set(RECOVERABLE)
    assert all(0 <= fault.at < 50 and fault.target == "*/OHLC" for fault in made)


# -- the client that nobody changed --------------------------------------------------------------


async def test_ccxt_reads_the_market(playing, make_market, unhurried):
    ccxt = pytest.importorskip("ccxt.async_support")
    bars = make_market(symbols=("BTCUSDT", "ETHUSDT"), bars=60)
    async with playing(bars, start=ZERO + 40 * MINUTE) as client:
        exchange = ccxt.kraken({"session": client.session, "enableRateLimit": False})
        try:
            markets = await exchange.load_markets()
            assert set(markets) == {"BTC/USDT", "ETH/USDT"}
            facts = markets["BTC/USDT"]
            assert facts["spot"] and facts["active"] and facts["id"] == "XBTUSDT"
            assert (facts["taker"], facts["maker"]) == (0.0026, 0.0016)
            await reads(exchange, bars)
            with pytest.raises(ccxt.ExchangeError, match="EQuery:Unknown asset pair"):
                await exchange.publicGetOHLC({"pair": "NOUSD"})
        finally:
            await exchange.close()


async def reads(exchange, bars):
    played = {int(b["open_time"].timestamp() * 1000): b for b in bars.to_dicts()[:60]}
    rows = await exchange.fetch_ohlcv("BTC/USDT", "1m")
    assert len(rows) == 41
    for stamp, *numbers in rows[:-1]:
        assert numbers == [played[stamp][n] for n in ("open", "high", "low", "close", "volume")]
    later = await exchange.fetch_ohlcv("BTC/USDT", "1m", since=rows[30][0])
    assert later == rows[30:]  # ccxt asks for one interval earlier: `since` is exclusive
    ticker = await exchange.fetch_ticker("BTC/USDT")
    assert ticker["bid"] < ticker["last"] < ticker["ask"]
    book = await exchange.fetch_order_book("BTC/USDT", 5)
    assert len(book["bids"]) == 5 and book["bids"][0][0] == ticker["bid"]
    trades = await exchange.fetch_trades("BTC/USDT", limit=20)
    assert len(trades) == 20 and {t["side"] for t in trades} == {"buy", "sell"}
    assert await exchange.fetch_time() == (rows[-1][0])
    assert (await exchange.fetch_status())["status"] == "ok"
    spread = await exchange.publicGetSpread({"pair": "XBTUSDT"})
    assert float(spread["result"]["XBTUSDT"][0][1]) == ticker["bid"]
    await asyncio.sleep(0)
