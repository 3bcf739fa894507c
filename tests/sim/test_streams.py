"""Streams: what is sent, on which route, to whom, and when a connection ends."""

import asyncio
import math

import aiohttp
import pytest

MINUTE = 60_000_000


def klines(made):
    return [f["data"]["k"] for f in made if "stream" in f]


async def test_a_kline_stream_closes_each_bar_once(playing, bars, frames):
    async with playing(bars, partials=3) as client:
        ws = await client.stream("aaausdt@kline_1m")
        await client.run(10)
        made = klines(await frames(ws))
        start = client.exchange.market.start
        mine = [
            b
            for b in bars.filter(symbol="AAAUSDT").to_dicts()
            if b["time"].timestamp() * 1e6 > start
        ]
        closed = [k for k in made if k["x"]]
        assert [(k["T"] + 1) * 1000 for k in closed][:10] == [
            start + k * MINUTE for k in range(1, 11)
        ]
        for k, bar in zip(closed, mine):
            assert [float(k[n]) for n in "ohlcvqVQ"] == [
                bar[n]
                for n in (
                    "open",
                    "high",
                    "low",
                    "close",
                    "volume",
                    "quote_volume",
                    "taker_buy_volume",
                    "taker_buy_quote_volume",
                )
            ]
            assert k["n"] == bar["trades"]
        for whole in closed:
            before = [k for k in made if k["t"] == whole["t"] and not k["x"]]
            assert len(before) == 3
            assert all(float(k["h"]) <= float(whole["h"]) for k in before)
            volumes = [float(k["v"]) for k in before]
            assert volumes == sorted(volumes) and volumes[-1] <= float(whole["v"]) * (1 + 1e-9)


async def test_a_longer_kline_closes_on_its_own_grid(playing, bars, frames):
    async with playing(bars) as client:
        ws = await client.stream("aaausdt@kline_5m")
        await client.run(11)
        closed = [k for k in klines(await frames(ws)) if k["x"]]
        assert [(k["T"] + 1) // 60_000 % 5 for k in closed] == [0, 0]
        rows = await client.binance("klines", symbol="AAAUSDT", interval="5m", limit=10)
        for k in closed:
            row = next(r for r in rows if r[0] == k["t"])
            assert [k["o"], k["h"], k["l"], k["c"], k["v"]] == row[1:6]


async def test_trades_of_a_stream_are_those_of_rest_and_make_the_bars(playing, bars, frames):
    async with playing(bars) as client:
        ws = await client.stream("aaausdt@aggTrade")
        await client.run(5)
        made = [f["data"] for f in await frames(ws)]
        assert [t["a"] for t in made] == list(range(made[0]["a"], made[0]["a"] + len(made)))
        rest = await client.binance("aggTrades", symbol="AAAUSDT", fromId=made[0]["a"], limit=1000)
        fields = ("a", "p", "q", "f", "l", "T", "m")
        assert [[t[f] for f in fields] for t in made] == [
            [t[f] for f in fields] for t in rest[: len(made)]
        ]
        row = (await client.binance("klines", symbol="AAAUSDT", interval="1m", limit=4))[0]
        mine = [t for t in made if row[0] <= t["T"] <= row[6]]
        prices = [t["p"] for t in mine]
        assert (prices[0], prices[-1]) == (row[1], row[4])
        assert (max(map(float, prices)), min(map(float, prices))) == (float(row[2]), float(row[3]))
        volume = sum(float(t["q"]) for t in mine)
        assert math.isclose(volume, float(row[5]), rel_tol=1e-9)


async def test_requests_of_a_client(playing, bars, frames):
    async with playing(bars) as client:
        ws = await client.session.ws_connect("wss://fstream.binance.com/market/ws")

        async def ask(method, *params):
            await ws.send_json({"method": method, "params": params, "id": 7})
            return await ws.receive_json(timeout=2)

        assert await ask("SUBSCRIBE", "aaausdt@kline_1m", "bbbusdt@kline_1m") == {
            "result": None,
            "id": 7,
        }
        assert await ask("UNSUBSCRIBE", "bbbusdt@kline_1m") == {"result": None, "id": 7}
        assert (await ask("LIST_SUBSCRIPTIONS"))["result"] == ["aaausdt@kline_1m"]
        assert (await ask("DANCE"))["error"]["code"] == 2
        await ws.send_str("not json")
        assert (await ws.receive_json(timeout=2))["error"]["code"] == 2
        many = [f"s{k}@kline_1m" for k in range(200)]
        assert "too many" in (await ask("SUBSCRIBE", *many))["error"]["msg"]
        await client.run(2)
        made = await frames(ws)
        assert {f["s"] for f in made} == {"AAAUSDT"}, "bare bodies on /ws"


@pytest.mark.parametrize("route", ["ws/aaausdt@kline_1m", "stream?streams=aaausdt@kline_1m"])
async def test_retired_addresses_acknowledge_and_stay_silent(playing, bars, frames, route):
    async with playing(bars) as client:
        ws = await client.session.ws_connect(f"wss://fstream.binance.com/{route}")
        await ws.send_json({"method": "SUBSCRIBE", "params": ["bbbusdt@kline_1m"], "id": 1})
        assert await ws.receive_json(timeout=2) == {"result": None, "id": 1}
        await client.run(3)
        assert await frames(ws) == []


async def test_each_stream_has_its_route(playing, bars, frames):
    async with playing(bars) as client:
        public = await client.stream(
            "aaausdt@bookTicker", "aaausdt@kline_1m", route="public/stream"
        )
        market = await client.stream("aaausdt@bookTicker", "aaausdt@aggTrade")
        private = await client.stream("aaausdt@kline_1m", route="private/stream")
        await client.run(2)
        assert {f["stream"] for f in await frames(public)} == {"aaausdt@bookTicker"}
        assert {f["stream"] for f in await frames(market)} == {"aaausdt@aggTrade"}
        assert await frames(private) == []


async def test_books_stand_around_the_price_at_each_trade_and_each_close(playing, bars, frames):
    async with playing(bars) as client:
        name = "aaausdt@depth20@100ms"
        silent = await client.stream(name)  # on the route of klines: acknowledged, never sent
        ws = await client.stream(name, "aaausdt@bookTicker", route="public/stream")
        await client.run(3)
        made = await frames(ws)
        assert await frames(silent) == []
        books = [f["data"] for f in made if f["stream"] == name]
        tickers = [f["data"] for f in made if f["stream"] != name]
        touch = {ticker["T"]: ticker for ticker in tickers}
        start = client.exchange.market.start // 1000
        assert {start + k * 60_000 for k in (1, 2, 3)} <= {b["T"] for b in books}
        closes = [book for book in books if book["T"] % 60_000 == 0]
        assert len(books) == len(tickers) + len(closes) and all(b["s"] == "AAAUSDT" for b in books)
        for book in books:
            bids, asks = ([(float(p), float(q)) for p, q in book[side]] for side in "ba")
            assert len(bids) == len(asks) == 20 and min(q for _, q in bids + asks) > 0
            assert bids == sorted(bids, reverse=True) and asks == sorted(asks)
            assert bids[0][0] < asks[0][0]
            if book["T"] in touch:
                best = touch[book["T"]]
                assert (bids[0][0], asks[0][0]) == (float(best["b"]), float(best["a"]))


async def test_too_many_streams_or_messages_end_a_connection(playing, bars):
    async with playing(bars) as client:
        ws = await client.stream(*[f"s{k}@kline_1m" for k in range(201)])
        message = await ws.receive(timeout=2)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1008)
        ws = await client.stream("aaausdt@kline_1m")
        for k in range(11):
            await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": k})
        codes = [await ws.receive(timeout=2) for _ in range(11)]
        assert codes[-1].data == 1008


async def test_a_connection_is_pinged_and_ends_after_a_day(playing, make_market):
    bars = make_market(["AAAUSDT"], bars=1500)
    async with playing(bars, start=None, partials=0) as client:
        ws = await client.stream("aaausdt@kline_1m", autoping=False)
        clock = await client.run(4)
        types = [(await ws.receive(timeout=2)).type for _ in range(5)]
        assert types.count(aiohttp.WSMsgType.PING) == 1
        await client.run(1437, clock)
        end = None
        while end is None or end.type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
            end = await ws.receive(timeout=2)
        assert end.data == 1001
        assert not client.exchange.lines or ws.closed


async def test_bybit_stream(playing, bars, frames):
    async with playing(bars) as client:
        ws = await client.session.ws_connect("wss://stream.bybit.com/v5/public/linear")

        async def ask(**said):
            await ws.send_json(said)
            return await ws.receive_json(timeout=2)

        said = await ask(op="subscribe", args=["kline.1.AAAUSDT"], req_id="a")
        assert said["success"] and said["req_id"] == "a" and said["op"] == "subscribe"
        assert (await ask(op="ping"))["ret_msg"] == "pong"
        said = await ask(op="subscribe", args=["orderbook.500.AAAUSDT"])
        assert said["ret_msg"] == "error:handler not found,topic:orderbook.500.AAAUSDT"
        assert not said["success"]
        await ws.send_json({"op": "subscribe", "args": ["publicTrade.AAAUSDT"]})
        clock = await client.run(5)
        made = await frames(ws)
        closed = [f["data"][0] for f in made if f.get("topic") == "kline.1.AAAUSDT"]
        closed = [k for k in closed if k["confirm"]]
        assert len(closed) >= 5
        assert all(k["end"] == k["start"] + 59_999 for k in closed)
        trades = [f["data"][0] for f in made if f.get("topic", "").startswith("publicTrade")]
        assert len({t["i"] for t in trades}) == len(trades) > 5
        await ask(op="unsubscribe", args=["kline.1.AAAUSDT", "publicTrade.AAAUSDT"])
        await client.run(2, clock)
        assert await frames(ws) == []
        await ws.send_str("?")
        assert not (await ws.receive_json(timeout=2))["success"]


async def test_unknown_addresses_are_refused(playing, bars):
    async with playing(bars) as client:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.session.ws_connect("wss://stream.bybit.com/v5/public/spot")


@pytest.mark.real
@pytest.mark.parametrize(
    ("stream", "real", "more", "less"),
    [
        ("aaausdt@kline_1m", "kline_stream_closed", set(), set()),
        ("aaausdt@aggTrade", "agg_trade_stream", {"nq"}, {"st"}),
        ("aaausdt@bookTicker", "book_ticker_stream", set(), {"st", "ps"}),
    ],
)
async def test_binance_frames_have_the_real_keys(
    playing, bars, frames, wire, keys, stream, real, more, less
):
    theirs = keys(wire(f"nautilus_binance/futures/market_data_json/{real}.json"))
    async with playing(bars) as client:
        route = "public/stream" if "book" in stream else "market/stream"
        ws = await client.stream(stream, route=route)
        await client.run(1)
        ours = keys((await frames(ws))[0]["data"])
    assert (ours - theirs, theirs - ours) == (more, less)


@pytest.mark.real
@pytest.mark.parametrize(
    ("topic", "real", "more"),
    [("kline.1.AAAUSDT", "ws_kline", set()), ("publicTrade.AAAUSDT", "ws_public_trade", {"L"})],
)
async def test_bybit_frames_have_the_real_keys(
    playing, bars, frames, wire, keys, topic, real, more
):
    theirs = keys(wire(f"nautilus_bybit/{real}.json"))
    async with playing(bars) as client:
        ws = await client.session.ws_connect("wss://stream.bybit.com/v5/public/linear")
        await ws.send_json({"op": "subscribe", "args": [topic], "req_id": "1"})
        ack = await ws.receive_json(timeout=2)
        assert keys(ack) == keys(wire("nautilus_bybit/ws_subscription_ack.json"))
        await client.run(1)
        ours = keys((await frames(ws))[0])
    assert (ours - theirs, theirs - ours) == (more, set())


async def test_two_runs_of_a_seed_send_the_same(playing, bars):
    async def sent(seed):
        plan = [
            {"kind": "corrupt", "prob": 0.2},
            {"kind": "drop", "prob": 0.1, "args": {"frame": "any"}},
            {"kind": "nan", "prob": 0.2, "args": {"field": "close"}},
        ]
        async with playing(bars, seed=seed, faults=plan) as client:
            names = ("aaausdt@kline_1m", "bbbusdt@kline_1m", "aaausdt@aggTrade")
            ws = await client.stream(*names)
            clock = await client.clock()
            await client.run(19, clock)
            await client.exchange.clock.wait(client.exchange.market.played[-1])
            await asyncio.sleep(0.05)
            assert not ws.closed
            return [e for e in client.exchange.log if e["kind"] == "frame"]

    first, again, other = [await sent(seed) for seed in (3, 3, 4)]
    assert len(first) > 200 and any(e["faults"] for e in first)
    assert first == again
    assert first != other
