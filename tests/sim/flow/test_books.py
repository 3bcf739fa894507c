"""The order-book side: what a stranger rebuilds from the wire is what was planted."""

import gzip
import json
import zipfile
from itertools import pairwise
from pathlib import Path
from time import monotonic

import polars as pl
import pytest

from research.errors import UserError
from research.schema import Recording
from research.sim.flow import FlowExchange, binance
from research.sources.simulated.flow import market

ONE = "sim01usdt"
RAW = Path(__file__).resolve().parents[4] / "shared" / "data" / "raw"


def bodies(messages):
    """Parsed bodies by stream, of those messages that are of a stream."""
    found = {}
    for message in messages:
        body = json.loads(message.data)
        if "stream" in body:
            found.setdefault(body["stream"], []).append(body["data"])
    return found


def event_flow(before, now):
    """``e_n`` of Cont, Kukanov and Stoikov (2014), eq. 4, of two quotes."""
    bid, bid_size, ask, ask_size = now
    old_bid, old_bid_size, old_ask, old_ask_size = before
    gained = (bid >= old_bid) * bid_size - (bid <= old_bid) * old_bid_size
    return gained - (ask <= old_ask) * ask_size + (ask >= old_ask) * old_ask_size


def rebuilt(snapshot, updates, spot):
    """Play differences onto a snapshot as the venue says, and yield id and best levels."""
    first = snapshot["lastUpdateId"]
    book = {name: dict(levels(snapshot[key])) for name, key in (("b", "bids"), ("a", "asks"))}
    last = None
    for body in updates:
        if body["u"] < first + spot:
            continue
        if last is None:
            assert body["U"] <= first + spot <= body["u"]
        else:
            assert (body["U"] == last + 1) if spot else (body["pu"] == last)
        last = body["u"]
        for name, side in book.items():
            side.update(levels(body[name]))
            for price in [p for p, q in side.items() if q == 0]:
                del side[price]
        bid, ask = max(book["b"]), min(book["a"])
        assert bid < ask
        yield last, (bid, book["b"][bid], ask, book["a"][ask])


def levels(rows):
    assert all(isinstance(text, str) for row in rows for text in row)
    return [(float(price), float(quantity)) for price, quantity in rows]


@pytest.mark.parametrize("kind", ["um", "spot"])
async def test_a_stranger_rebuilds_the_book_and_the_planted_flow(playing, made, kind):
    async with playing(kind) as client:
        ws = await client.stream(f"{ONE}@depth@100ms", f"{ONE}@bookTicker", f"{ONE}@trade")
        status, snapshot = await client.get("depth", symbol="SIM01USDT", limit=1000)
        assert status == 200
        messages = await client.all(ws)
        assert [m.data for m in messages] == client.sent()
    found = bodies(messages)
    quotes = [
        (b["u"], tuple(float(b[key]) for key in ("b", "B", "a", "A")))
        for b in found[f"{ONE}@bookTicker"]
    ]
    tops = dict(rebuilt(snapshot, found[f"{ONE}@depth@100ms"], kind == "spot"))
    assert len(tops) > 500
    best, place = None, 0
    for update_id, top in tops.items():
        while place < len(quotes) and quotes[place][0] <= update_id:
            best, place = quotes[place][1], place + 1
        assert top == best
    flow = [event_flow(a, b) for (_, a), (_, b) in pairwise(quotes)]
    planted = made(kind).planted.filter(symbol="SIM01USDT")
    assert sum(flow) == planted["ofi"].sum()
    if kind == "um":
        step = [-(-(b["T"] - 1704067200000) // 100) for b in found[f"{ONE}@bookTicker"][1:]]
        sums = pl.DataFrame({"step": step, "e": flow}).group_by("step").agg(pl.col("e").sum())
        by_step = dict(sums.iter_rows())
        assert [by_step.get(k + 1, 0.0) for k in range(600)] == planted["ofi"].to_list()
    trades = found[f"{ONE}@trade"]
    recorded = made(kind).recording.trades.filter(symbol="SIM01USDT")
    assert [t["t"] for t in trades] == recorded["trade_id"].to_list()
    assert [-1 if t["m"] else 1 for t in trades] == recorded["taker_side"].to_list()
    assert [float(t["q"]) for t in trades] == recorded["quantity"].to_list()


async def test_bybit_tells_a_snapshot_and_then_what_changed(playing, made):
    topics = ("orderbook.50.SIM01USDT", "publicTrade.SIM01USDT", "orderbook.1.SIM01USDT")
    async with playing("linear", wait_for=1) as client:
        ws = await client.bybit(*topics)
        messages = [json.loads(m.data) for m in await client.all(ws)]
    assert [m["success"] for m in messages if "success" in m] == [True] * 3
    books = [m for m in messages if m.get("topic") == topics[0]]
    assert [m["type"] for m in books] == ["snapshot"] + ["delta"] * (len(books) - 1)
    book, seen = {"b": {}, "a": {}}, {}
    for m in books:
        for name, side in book.items():
            side.update(levels(m["data"][name]))
            for price in [p for p, q in side.items() if q == 0]:
                del side[price]
            assert len(side) <= 50
        best = {name: f(book[name]) for name, f in (("b", max), ("a", min))}
        seen[m["ts"]] = tuple(v for name, p in best.items() for v in (p, book[name][p]))
    ids = [m["data"]["u"] for m in books]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert len(books) == 601
    quotes = made("linear").recording.quotes.filter(symbol="SIM01USDT")
    last = quotes.group_by_dynamic("time", every="100ms", closed="right", label="right").agg(
        pl.col("bid", "bid_quantity", "ask", "ask_quantity").last()
    )
    for time, *best in last.iter_rows():
        assert seen[int(time.timestamp() * 1000)] == tuple(best)
    trades = [t for m in messages if m.get("topic") == topics[1] for t in m["data"]]
    recorded = made("linear").recording.trades.filter(symbol="SIM01USDT")
    assert [{"Buy": 1, "Sell": -1}[t["S"]] for t in trades] == recorded["taker_side"].to_list()
    assert len({t["i"] for t in trades}) == recorded.height
    tops = [m for m in messages if m.get("topic") == topics[2]]
    assert {m["type"] for m in tops} == {"snapshot"}


async def test_bybit_has_four_depths_and_answers_pings(playing):
    async with playing("linear", wait_for=9) as client:
        ws = await client.bybit("orderbook.500.SIM01USDT", "orderbook.50.NOUSDT")
        said = [await ws.receive_json() for _ in range(2)]
        assert [s["success"] for s in said] == [False, False]
        text = "error:handler not found,topic:orderbook.500.SIM01USDT"
        assert said[0]["ret_msg"] == text
        await ws.send_json({"op": "ping", "req_id": "7"})
        pong = await ws.receive_json()
        assert (pong["ret_msg"], pong["op"], pong["req_id"]) == ("pong", "ping", "7")
        for depth in (1, 50, 200, 1000):
            await ws.send_json({"op": "subscribe", "args": [f"orderbook.{depth}.SIM02USDT"]})
            assert (await ws.receive_json())["success"]
            if depth > 1:
                assert (await ws.receive_json())["type"] == "snapshot"
        _, answer = await client.get(
            "v5/market/orderbook", category="linear", symbol="SIM01USDT", limit=3
        )
        assert len(answer["result"]["b"]) == len(answer["result"]["a"]) == 3
        _, none = await client.get("v5/market/orderbook", category="linear", symbol="NO", limit=1)
        assert none["retCode"] == 10001


async def test_a_venue_that_restarts_begins_its_book_anew(playing, made):
    recording = made("linear").recording
    number = recording.messages.filter(symbol="SIM01USDT")["message"][300]
    first = recording.messages["message"] == number
    messages = recording.messages.with_columns(
        kind=pl.when(first).then(pl.lit("snapshot")).otherwise("kind"),
        last_id=pl.when(pl.col("message") == number).then(1).otherwise("last_id"),
    )
    async with playing("linear", recording=recording._replace(messages=messages)) as client:
        ws = await client.bybit("orderbook.50.SIM01USDT")
        got = [json.loads(m.data) for m in await client.all(ws)][1:]
    anew = [m for m in got[1:] if m["type"] == "snapshot"]
    assert [m["data"]["u"] for m in anew] == [1]
    told = recording.levels.filter(pl.col("message") == number, pl.col("quantity") > 0)
    assert sorted(levels(anew[0]["data"]["b"])) == sorted(
        told.filter(side=1).select("price", "quantity").rows()
    )
    place = got.index(anew[0])
    assert [m["data"]["u"] for m in got[place : place + 3]] == [1, 2, 3]


async def test_a_retired_address_acknowledges_and_says_nothing(playing):
    async with playing(wait_for=2) as client:
        old = await client.session.ws_connect("wss://fstream.binance.com/ws")
        await old.send_json({"method": "SUBSCRIBE", "params": [f"{ONE}@bookTicker"], "id": 5})
        assert await old.receive_json() == {"result": None, "id": 5}
        wrong = await client.stream(
            f"{ONE}@bookTicker", address="wss://fstream.binance.com/market/stream"
        )
        right = await client.stream(f"{ONE}@bookTicker")
        assert len(await client.all(right)) > 1000
        assert await client.all(old) == await client.all(wrong) == []


async def test_partial_books_and_aggregates_are_those_of_the_book_and_trades(playing, made):
    async with playing() as client:
        market_ws = await client.stream(
            f"{ONE}@aggTrade", address="wss://fstream.binance.com/market/stream"
        )
        aggregated = [json.loads(m.data)["data"] for m in await client.all(market_ws)]
        _, by_rest = await client.get("aggTrades", symbol="SIM01USDT", fromId=2, limit=5)
    trades = made().recording.trades.filter(symbol="SIM01USDT")
    orders = trades.group_by("time", "price", "taker_side", maintain_order=True).agg(
        pl.col("quantity").sum(), pl.col("trade_id").min().alias("f"), l=pl.col("trade_id").max()
    )
    assert [float(a["q"]) for a in aggregated] == orders["quantity"].to_list()
    assert [(a["f"], a["l"]) for a in aggregated] == orders.select("f", "l").rows()
    assert [a["a"] for a in aggregated] == list(range(1, len(aggregated) + 1))
    assert [a["a"] for a in by_rest] == [2, 3, 4, 5, 6]
    assert by_rest[0]["q"] == aggregated[1]["q"]
    async with playing() as client:
        ws = await client.stream(f"{ONE}@depth5@100ms", f"{ONE}@bookTicker")
        found = bodies(await client.all(ws))
    partials = found[f"{ONE}@depth5@100ms"]
    assert len(partials) == 600
    quotes = {b["u"]: [[b["b"], b["B"]], [b["a"], b["A"]]] for b in found[f"{ONE}@bookTicker"]}
    assert all(len(p["b"]) == len(p["a"]) == 5 for p in partials)
    assert all([p["b"][0], p["a"][0]] == quotes[p["u"]] for p in partials)


async def test_weight_is_counted_and_the_greedy_are_banned(playing):
    async with playing(weight_limit=100) as client:
        statuses = [(await client.get("depth", symbol="SIM01USDT", limit=1000))[0] for _ in "12345"]
        assert statuses == [200] * 5
        statuses = [(await client.get("time"))[0] for _ in range(22)]
        assert statuses[0] == 429
        assert statuses[-1] == 418


async def test_what_cannot_be_answered_is_refused_as_the_venue_does(playing):
    async with playing() as client:
        assert (await client.get("depth", symbol="NOUSDT"))[1]["code"] == -1121
        assert (await client.get("depth"))[1]["code"] == -1102
        assert (await client.get("depth", symbol="SIM01USDT", limit=7))[0] == 400
        assert (await client.get("nothing"))[0] == 404
        status, info = await client.get("exchangeInfo")
        assert status == 200
        rules = {s["symbol"]: s for s in info["symbols"]}
        assert rules["SIM01USDT"]["filters"][0]["tickSize"] == "0.1"
        assert rules["SIM02USDT"]["filters"][1]["stepSize"] == "1"
    empty = market(symbols=1, minutes=1, seed=1).recording
    with pytest.raises(UserError, match="nothing in this recording"):
        FlowExchange(Recording(*empty[:2], *(t.clear() for t in empty[2:7]), 0, 0))
    with pytest.raises(UserError, match="plays um, spot, linear, found 'cm'"):
        FlowExchange(empty._replace(market="cm"))


async def test_time_flows_at_the_speed_asked_for_and_can_be_now(playing, made):
    short = made().recording
    short = short._replace(
        messages=short.messages.head(20), quotes=short.quotes.head(20), trades=short.trades.head(2)
    )
    span = (short.messages["received_ns"][-1] - short.messages["received_ns"][0]) / 1e9
    async with playing(recording=short, speed=4.0, live=True) as client:
        ws = await client.stream(f"{ONE}@depth")
        began = monotonic()
        got = await client.all(ws)
        assert monotonic() - began > span / 4
        _, now = await client.get("time")
    first = json.loads(got[0].data)["data"]
    assert abs(first["E"] - now["serverTime"]) < 10_000
    assert now["serverTime"] / 1000 > 1.7e9


async def test_the_same_stream_on_two_connections_is_the_same(playing):
    async with playing(wait_for=2) as client:
        one, two = [await client.stream(f"{ONE}@depth@100ms") for _ in range(2)]
        await client.get("depth", symbol="SIM01USDT")
        first = await client.all(one)
        second = await client.all(two)
    assert [m.data for m in first] == [m.data for m in second]
    assert len(first) == 600


RECORDED = {
    "um": "usdm/btcusdt_20240808.gz",
    "spot": "spot/btcusdt_20240808.gz",
}


@pytest.mark.real
def test_rules_of_symbols_have_the_keys_of_real_ones():
    for name, kind in (("BINANCE_FUTURES.0.gz", "um"), ("BINANCE.0.gz", "spot")):
        path = RAW / "multi_venue_2021" / name
        if not path.exists():
            pytest.skip("no real recordings beside the project")
        with gzip.open(path, "rt") as lines:
            real = json.loads(
                next(line for line in lines if "exchangeInfo ->" in line).split(": ", 1)[1]
            )
        ours = binance.exchange_info({"SIM01USDT": (1, 0)}, kind, 0, 0)
        assert ours.keys() == real.keys()
        assert ours["symbols"][0].keys() == real["symbols"][0].keys()


@pytest.mark.real
async def test_bybit_books_have_the_keys_of_real_ones(playing):
    paths = list((RAW / "bybit").glob("*.zip"))
    if not paths:
        pytest.skip("no real recordings beside the project")
    with zipfile.ZipFile(paths[0]) as archive, archive.open(archive.namelist()[0]) as lines:
        real = [json.loads(next(lines)) for _ in range(2)]
    async with playing("linear") as client:
        ws = await client.bybit("orderbook.50.SIM01USDT")
        ours = [json.loads((await ws.receive()).data) for _ in range(3)][1:]
    for mine, theirs in zip(ours, real):
        assert mine["type"] == theirs["type"]
        assert mine.keys() == theirs.keys()
        assert mine["data"].keys() == theirs["data"].keys()


@pytest.mark.real
@pytest.mark.parametrize("kind", ["um", "spot"])
async def test_frames_have_the_keys_and_forms_of_real_ones(playing, kind):
    path = RAW / "binance" / RECORDED[kind]
    if not path.exists():
        pytest.skip("no real recordings beside the project")
    real = {}
    with gzip.open(path, "rt") as lines:
        for line, _ in zip(lines, range(400)):
            body = json.loads(line.partition(" ")[2])
            name = body.get("stream", "").partition("@")[2].partition("@")[0] or "snapshot"
            real.setdefault(name, body.get("data", body))
    async with playing(kind) as client:
        ws = await client.stream(*(f"{ONE}@{c}" for c in ("depth", "bookTicker", "trade")))
        _, snapshot = await client.get("depth", symbol="SIM01USDT", limit=1000)
        found = bodies(await client.all(ws))
    ours = {name.partition("@")[2]: made[0] for name, made in found.items()} | {
        "snapshot": snapshot
    }
    assert {"depth", "bookTicker", "trade", "snapshot"} <= real.keys()
    for name, body in real.items():
        assert ours[name].keys() == body.keys()
        for key, value in body.items():
            assert type(ours[name][key]) is type(value)
