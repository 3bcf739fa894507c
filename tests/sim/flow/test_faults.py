"""Faults of order books: each does what its name says, where and as often as asked."""

import itertools
import json

import aiohttp
import polars as pl
import pytest

from research.errors import UserError
from research.sim.faults import Fault
from research.sim.flow.faults import OWN, book_faults, read

ONE = "sim01usdt"
DEPTH = f"{ONE}@depth@100ms"
AT = 5


@pytest.fixture
def short(made):
    """Three seconds of one symbol: thirty depth messages."""

    def of(kind="um"):
        recording = made(kind).recording
        last = recording.messages.filter(symbol="SIM01USDT")["message"][30]
        parts = (recording.messages, recording.quotes, recording.trades)
        messages, quotes, trades = (p.filter(pl.col("message") <= last) for p in parts)
        return recording._replace(messages=messages, quotes=quotes, trades=trades)

    return of


@pytest.fixture
def depth(playing, short):
    """Return what a depth stream says under faults: parsed where it can be."""

    async def of(kind, target="depth", **fields):
        fault = {"kind": kind, "target": target, **fields}
        fault |= {} if "prob" in fields else {"at": fields.get("at", AT)}
        async with playing(recording=short(), faults=[fault]) as client:
            ws = await client.stream(DEPTH, max_msg_size=0)
            await client.get("depth", symbol="SIM01USDT")
            got = await client.all(ws)
        return [parsed(m) for m in got]

    return of


def parsed(message):
    if message.type != aiohttp.WSMsgType.TEXT:
        return message
    try:
        return json.loads(message.data).get("data")
    except (ValueError, AttributeError, RecursionError):
        return message.data


def ids(bodies):
    return [b["u"] for b in bodies]


@pytest.fixture
async def whole(depth):
    return await depth("drop", at=1000)


async def test_nothing_befalls_a_frame_that_no_fault_is_for(whole):
    assert len(whole) == 30
    assert all(b["pu"] == a["u"] for a, b in itertools.pairwise(whole))


async def test_dropped_frames_break_the_chain_and_no_more(whole, depth):
    assert ids(await depth("drop")) == ids(whole[:AT] + whole[AT + 1 :])
    assert ids(await depth("silent", args={"bars": 3})) == ids(whole[:AT] + whole[AT + 3 :])
    some = await depth("drop", prob=0.5)
    assert 5 < len(some) < 25
    assert ids(some) == ids(await depth("drop", prob=0.5))


async def test_frames_come_twice_or_late_or_in_another_order(whole, depth):
    twice = await depth("duplicate", args={"times": 3})
    assert twice == whole[:AT] + [whole[AT]] * 3 + whole[AT + 1 :]
    order = ids(await depth("reorder"))
    expected = ids(whole)
    expected[AT : AT + 2] = expected[AT : AT + 2][::-1]
    assert order == expected
    late = ids(await depth("delay", args={"us": 450_000}))
    expected = ids(whole)
    assert sorted(late) == expected
    assert late.index(expected[AT]) == AT + 4


async def test_text_is_spoiled_where_asked(whole, depth):
    for kind in ("corrupt", "truncate", "malformed", "empty", "deep"):
        got = await depth(kind, args={"depth": 2000} if kind == "deep" else {})
        spoiled = got[AT]
        assert spoiled is None or isinstance(spoiled, str), kind
        assert got[:AT] == whole[:AT] and got[-20:] == whole[-20:]
    binary = await depth("binary")
    assert binary[AT].type == aiohttp.WSMsgType.BINARY
    large = await depth("oversize", args={"size": 6 << 20})
    assert len(large[AT].get("pad", "")) in (0, 6 << 20)
    assert len(large) == 31
    ended = await depth("bad_utf8")
    assert ended[AT].type in (aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)


async def test_values_are_spoiled_where_asked(whole, depth):
    nan = await depth("nan", args={"value": "NaN"})
    assert nan[AT]["b"][0][0] == "NaN"
    assert (await depth("nan", args={"field": "u", "value": None}))[AT]["u"] is None
    assert (await depth("wrong_type", args={"field": "a", "value": {}}))[AT]["a"] == {}
    assert "pu" not in (await depth("missing_key", args={"field": "pu"}))[AT]
    assert (await depth("negative"))[AT]["b"][0][0] == "-1"
    assert (await depth("wrong_symbol"))[AT]["s"] == "WRONGUSDT"
    crossed = (await depth("crossed"))[AT]
    assert float(crossed["b"][-1][0]) > 1e7
    assert crossed["b"][:-1] == whole[AT]["b"]


async def test_ids_break_off_or_start_again(whole, depth):
    gap = await depth("id_gap", args={"ids": 9})
    assert gap[AT]["pu"] == whole[AT]["pu"] + 9
    assert gap[AT + 1] == whole[AT + 1]
    assert (await depth("id_restart"))[AT]["u"] == 1


async def test_a_venues_clock_can_be_wrong_from_a_moment_on(playing, short, whole):
    hour, step = 3_600_000, whole[AT]["E"] * 1000
    plan = [{"kind": "skew", "at": step, "args": {"us": -1000 * hour}}]
    async with playing(recording=short(), faults=plan) as client:
        ws = await client.stream(DEPTH)
        await client.get("depth", symbol="SIM01USDT")
        got = [json.loads(m.data)["data"] for m in await client.all(ws)]
        assert (await client.get("time"))[1]["serverTime"] < step / 1000 - hour + 5000
    off = [b["E"] - a["E"] for a, b in zip(whole, got)]
    assert set(off[: AT - 1]) == {0} and set(off[AT + 1 :]) == {-hour}


async def test_bybit_frames_are_spoiled_within_their_data(playing, short):
    topic = "orderbook.50.SIM01USDT"
    plan = [
        {"kind": "id_restart", "at": 3, "target": topic},
        {"kind": "id_gap", "at": 6, "target": topic},
        {"kind": "nan", "at": 9, "target": topic, "args": {"value": ""}},
    ]
    async with playing("linear", recording=short("linear"), faults=plan) as client:
        ws = await client.bybit(topic)
        got = [json.loads(m.data) for m in await client.all(ws)][2:]
    first = got[0]["data"]["u"]
    found = [m["data"]["u"] - first for m in got[:8]]
    assert found == [0, 1, 2, 1 - first, 4, 5, 13, 7]
    prices = [p for p, _ in (got[9]["data"]["b"] + got[9]["data"]["a"])]
    assert "" in prices


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1012, 1013])
async def test_a_connection_is_closed_with_the_code_asked_for(depth, code):
    got = await depth("close", args={"code": code})
    assert (got[AT].type, got[AT].data) == (aiohttp.WSMsgType.CLOSE, code)
    assert len(got) == AT + 1


@pytest.mark.parametrize("args", [{}, {"mid_frame": True}])
async def test_a_connection_is_reset(depth, args):
    got = await depth("rst", args=args)
    assert len(got) <= AT + 1
    assert got[-1].type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)


async def test_a_half_open_connection_says_nothing_any_more(playing, short):
    plan = [{"kind": "half_open", "at": AT, "target": "depth", "args": {"seconds": 30}}]
    async with playing(recording=short(), faults=plan) as client:
        ws = await client.stream(DEPTH)
        await client.get("depth", symbol="SIM01USDT")
        assert len(await client.all(ws)) == AT
        await ws.ping()
        with pytest.raises(TimeoutError):
            await ws.receive(timeout=0.3)


async def test_a_slow_frame_comes_byte_by_byte(playing, short):
    plan = [{"kind": "slowloris", "at": AT, "target": "depth", "args": {"seconds": 0.2}}]
    async with playing(recording=short(), faults=plan) as client:
        ws = await client.stream(DEPTH)
        await client.get("depth", symbol="SIM01USDT")
        assert len(await client.all(ws)) == AT


async def test_one_that_takes_nothing_holds_up_nobody(playing, monkeypatch):
    monkeypatch.setattr("research.sim.flow.player.FULL", 64)
    monkeypatch.setattr("research.sim.flow.player.PATIENCE", 0.2)
    kind = {"kind": "slowloris", "at": 1, "target": "depth"}
    plan = [{**kind, "args": {"seconds": 9, "line": 1}}]
    async with playing(faults=plan, wait_for=2) as client:
        _, two = [await client.stream(DEPTH, f"{ONE}@bookTicker") for _ in range(2)]
        await client.get("depth", symbol="SIM01USDT")
        assert len(await client.all(two, seconds=15)) > 4000


async def test_a_fault_can_befall_one_connection_of_two(playing, short):
    plan = [{"kind": "drop", "at": AT, "target": "depth", "args": {"line": 2}}]
    async with playing(recording=short(), faults=plan, wait_for=2) as client:
        one, two = [await client.stream(DEPTH) for _ in range(2)]
        await client.get("depth", symbol="SIM01USDT")
        assert (len(await client.all(one)), len(await client.all(two))) == (30, 29)
        assert [len(client.sent(line)) for line in ("1", "2")] == [30, 29]


async def test_snapshots_fail_lie_or_come_late(playing, short):
    plan = [
        {"kind": "status", "prob": 1.0, "times": 1, "args": {"status": code}, "target": "*/depth"}
        for code in (429, 418, 403, 500, 503)
    ]
    plan += [
        {"kind": kind, "prob": 1.0, "times": 1, "target": "*/depth"}
        for kind in ("bad_json", "stale_snapshot", "empty_snapshot")
    ]
    async with playing(recording=short(), faults=plan) as client:
        answers = [await client.get("depth", symbol="SIM01USDT", limit=5) for _ in range(9)]
    assert [status for status, _ in answers] == [429, 418, 403, 500, 503, 200, 200, 200, 200]
    assert isinstance(answers[5][1], str)
    stale, empty, right = (answer for _, answer in answers[6:])
    assert stale["lastUpdateId"] == right["lastUpdateId"] - 1_000_000
    assert empty["bids"] == empty["asks"] == []
    assert len(right["bids"]) == 5


async def test_everything_that_left_is_told_and_nothing_else(playing, short):
    kinds = ("duplicate", "reorder", "corrupt", "truncate", "malformed", "wrong_symbol")
    plan = [{"kind": kind, "prob": 0.05, "target": "*"} for kind in kinds]
    async with playing(recording=short(), faults=plan, seed=3) as client:
        ws = await client.stream(DEPTH, f"{ONE}@bookTicker", f"{ONE}@trade")
        await client.get("depth", symbol="SIM01USDT")
        got = [m.data for m in await client.all(ws)]
        assert got == client.sent()
        struck = {k for e in client.exchange.log for k in e.get("faults", ())}
        assert struck == set(kinds)


def test_plans_are_read_and_mistakes_named(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps([{"kind": kind, "at": 1} for kind in OWN]))
    assert [f.kind for f in read(path)] == list(OWN)
    assert book_faults([Fault("drop", at=3, args={"bars": 2})])[0].bars == 2
    for wrong, said in (
        ({"kind": "id_gpa", "at": 1}, "id_gap"),
        ({"kind": "high_below_low", "at": 1}, "of order books"),
        ({"kind": "drop", "at": 1, "tagret": "x"}, "target"),
        ({"kind": "id_gap"}, "either at or prob"),
    ):
        with pytest.raises(UserError, match=said):
            book_faults([wrong])
    path.write_text("{}")
    with pytest.raises(UserError, match="must be a JSON list"):
        read(path)
