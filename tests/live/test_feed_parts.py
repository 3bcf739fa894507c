"""The feed's parts without a socket: records, assembly, bars out of trades, streams' health."""

import asyncio
import random
from types import SimpleNamespace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.live.clock import WallClock
from research.live.feed import stream as stream_room
from research.live.feed.assembly import MEMORY, ROOM, Assembly
from research.live.feed.binance import Binance
from research.live.feed.bybit import Bybit
from research.live.feed.checking import PrintCheck
from research.live.feed.limits import Limits, Pauses
from research.live.feed.prints import add, differences
from research.live.feed.records import Bad, Depth, Print, Reply, Seen, Unfit
from research.live.feed.rest import Host, Unanswered
from research.live.feed.shown import Shown
from research.live.feed.skew import Skew
from research.live.feed.stream import Stream
from research.live.moments import Bar, Levels
from research.sim import prints as sim_prints
from research.sim.prints import Candle

MINUTE, SECOND = 60_000_000, 1_000_000
BINANCE, BYBIT = Binance(["BTCUSDT"], MINUTE, prints=True, books=True), Bybit(["BTCUSDT"], MINUTE)
BAD = [
    "NaN",
    "inf",
    "-inf",
    "",
    None,
    "null",
    "1_0",
    " 1",
    True,
    [],
    {},
    "0x10",
    "١٢",
    "abc",
    "1e999",
]


def kline(**more):
    k = {
        "t": 1638747660000, "T": 1638747719999, "s": "BTCUSDT", "i": "1m", "f": 100, "L": 200,
        "o": "10", "c": "20", "h": "25", "l": "10", "v": "1000", "n": 100, "x": True,
        "q": "1.5", "V": "500", "Q": "0.500", "B": "123456",
    }  # fmt: skip
    data = {"e": "kline", "E": 1638747720001, "s": "BTCUSDT", "k": k | more}
    return {"stream": "btcusdt@kline_1m", "data": data}


def topic(**more):
    row = {
        "start": 1672324800000, "end": 1672324859999, "interval": "1", "open": "10",
        "close": "20", "high": "25", "low": "10", "volume": "1000", "turnover": "1.5",
        "confirm": True, "timestamp": 1672324860001,
    }  # fmt: skip
    return {
        "topic": "kline.1.BTCUSDT",
        "data": [row | more],
        "ts": 1672324860002,
        "type": "snapshot",
    }


def read(venue, message):
    (event,) = venue.read(orjson.dumps(message))
    return event


# -- records ----------------------------------------------------------------------------------


def test_a_closed_candle_of_each_venue():
    seen = read(BINANCE, kline())
    assert seen.open_time == 1638747660 * SECOND and seen.event == 1638747720001000
    assert seen.bar[2:] == (10.0, 25.0, 10.0, 20.0, 1000.0, 1.5, 100, 500.0, 0.5, "stream")
    seen = read(BYBIT, topic())
    assert seen.bar[2:] == (10.0, 25.0, 10.0, 20.0, 1000.0, 1.5, None, None, None, "stream")


def test_an_open_candle_has_no_bar():
    assert read(BINANCE, kline(x=False)).bar is None
    assert read(BYBIT, topic(confirm=False)).bar is None


@pytest.mark.parametrize("field", ["o", "h", "l", "c", "v", "q", "n", "V", "Q", "t", "i", "x", "s"])
@pytest.mark.parametrize("value", BAD, ids=repr)
def test_bad_values_are_refused(field, value):
    if field == "x" and value is True:
        return
    assert isinstance(read(BINANCE, kline(**{field: value})), Bad)


@pytest.mark.parametrize("field", ["open", "high", "low", "close", "volume", "turnover", "start"])
@pytest.mark.parametrize("value", BAD, ids=repr)
def test_bad_values_are_refused_of_bybit(field, value):
    assert isinstance(read(BYBIT, topic(**{field: value})), Bad)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"o": "0", "l": "0"}, "a price is 0.0"),
        ({"l": "-1"}, "a price is -1.0"),
        ({"h": "19"}, "high 19.0 is below"),
        ({"l": "11"}, "low 11.0 is above"),
        ({"c": "26"}, "high 25.0 is below"),
        ({"v": "-1"}, "an amount is -1.0"),
        ({"n": -1}, "trades is -1"),
        ({"t": 1638747661000}, "off the grid"),
        ({"t": 1638747660}, "off the grid"),
        ({"i": "5m"}, "interval '5m'"),
        ({"s": "ETHUSDT"}, "symbol"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_with_its_reason(more, why):
    assert why in read(BINANCE, kline(**more)).reason


@pytest.mark.parametrize("key", ["t", "o", "c", "h", "l", "v", "n", "x", "q", "V", "Q", "i"])
def test_a_missing_key_is_named(key):
    message = kline()
    del message["data"]["k"][key]
    assert read(BINANCE, message).reason == f"'{key}' is missing"


def depth(**more):
    data = {
        "e": "depthUpdate", "E": 1571889248277, "T": 1571889248276, "s": "BTCUSDT", "U": 390497796,
        "u": 390497878, "pu": 390497794, "b": [["7403.89", "0.002"], ["7403.80", "3.906"]],
        "a": [["7405.96", "3.340"], ["7406.63", "4.525"]],
    }  # fmt: skip
    return {"stream": "btcusdt@depth20@100ms", "data": data | more}


def test_a_book_is_its_levels_at_the_time_of_the_match():
    seen = read(BINANCE, depth())
    assert seen == Depth(
        "btcusdt@depth20@100ms",
        "BTCUSDT",
        Levels(
            1571889248276000,
            ((7403.89, 0.002), (7403.80, 3.906)),
            ((7405.96, 3.34), (7406.63, 4.525)),
        ),
    )


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"s": "ETHUSDT"}, "symbol 'ETHUSDT'"),
        ({"b": []}, "bids is no list"),
        ({"a": "x"}, "asks is no list"),
        ({"a": [["1"]]}, "no pair"),
        ({"a": ["12"]}, "no pair"),
        ({"a": [["NaN", "1"]]}, "price is 'NaN'"),
        ({"b": [["7403", "0"]]}, "not above zero"),
        ({"b": [["-1", "1"]]}, "not above zero"),
        ({"b": [["7403", "1"], ["7404", "1"]]}, "bids are out of order"),
        ({"a": [["7406", "1"], ["7406", "1"]]}, "asks are out of order"),
        ({"a": [["7403.89", "1"]]}, "crossed"),
        ({"T": -1}, "time is -1"),
    ],
)
def test_a_book_that_cannot_be_is_refused(more, why):
    assert why in read(BINANCE, depth(**more)).reason


def test_books_have_their_own_route():
    market, public = BINANCE.routes()
    assert market.streams == ("btcusdt@kline_1m", "btcusdt@aggTrade")
    assert public.url == "wss://fstream.binance.com/public/stream?streams=btcusdt@depth20@100ms"


def test_a_book_is_in_force_until_a_newer_one_and_for_a_minute():
    def at(second):
        return Levels(second * SECOND, ((9.0, 1.0),), ((10.0, 1.0),))

    shown = Shown(MINUTE, 2 * SECOND)
    for second in (1, 5, 61, 62, 63, 0):  # the last one is late
        shown.take("A", at(second))
    assert [shown.at("A", k * MINUTE).time // SECOND for k in (0, 1)] == [1, 62]
    assert shown.at("A", 2 * MINUTE).time // SECOND == 63  # 59 s old
    assert shown.at("A", 3 * MINUTE) is None and shown.at("B", 0) is None
    assert shown.settled("A", MINUTE) and not shown.settled("A", 2 * MINUTE)
    for second in range(100, 100 + 60 * 500, 60):
        shown.take("A", at(second))
    assert shown.at("A", 2 * MINUTE) is None  # long forgotten


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_message_breaks_a_reader(data):
    """Whatever arrives is an event: mutated messages, wrong shapes, random bytes."""
    text = data.draw(st.sampled_from([orjson.dumps(m) for m in (kline(), topic(), depth())]))
    kind = data.draw(st.integers(0, 3))
    if kind == 0:
        text = data.draw(st.binary(max_size=200))
    elif kind == 1:
        place = data.draw(st.integers(0, len(text) - 1))
        text = text[:place] + data.draw(st.binary(max_size=4)) + text[place + 1 :]
    elif kind == 2:
        told = orjson.loads(text)
        deep = st.recursive(st.none() | st.booleans() | st.integers(-5, 5) | st.text(), st.lists)
        told[data.draw(st.sampled_from(sorted(told)))] = data.draw(deep)
        text = orjson.dumps(told)
    else:
        text = orjson.dumps(data.draw(st.recursive(st.none() | st.text(), st.lists)))
    for venue in (BINANCE, BYBIT):
        for event in venue.read(text):
            assert isinstance(event, (Seen, Print, Depth, Bad, Reply))


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        (0, 1638747661000, "off the grid"), (0, "x", "open time is 'x'"),
        (1, "NaN", "open is 'NaN'"), (2, "9", "high 9.0"),
        (5, "-1", "an amount"), (8, 1.5, "trades is 1.5"),
    ],
)  # fmt: skip
def test_bad_rows_of_rest_are_refused(column, value, why):
    row = [1638747660000, "10", "25", "10", "20", "1", 1638747719999, "1", 5, "1", "1", "0"]
    assert BINANCE.bar(row, "BTCUSDT", "rest").source == "rest"
    row[column] = value
    with pytest.raises(Unfit, match=why):
        BINANCE.bar(row, "BTCUSDT", "rest")


@pytest.mark.parametrize("told", [None, [], {}, {"result": []}, {"result": {"list": 3}}, 7, "x"])
def test_answers_of_another_form_are_refused(told):
    for venue in (BINANCE, BYBIT):
        if venue is BINANCE and told == []:
            continue
        with pytest.raises(Unfit):
            venue.rows(told)
        with pytest.raises(Unfit):
            venue.opened(told)
        with pytest.raises(Unfit):
            venue.clock(told)


def test_replies_are_not_records():
    assert BINANCE.read('{"result":null,"id":1}') == []
    assert BYBIT.read('{"success":true,"ret_msg":"pong","op":"ping"}') == []
    no = '{"success":false,"ret_msg":"handler not found","req_id":"kline.1.BTCUSDT"}'
    assert BYBIT.read(no) == [Reply(("kline.1.BTCUSDT",), "handler not found")]


def test_two_hundred_streams_a_connection():
    routes = Binance([f"S{i}USDT" for i in range(450)], MINUTE).routes()
    assert [len(route.streams) for route in routes] == [200, 200, 50]
    assert all(route.name == "wss://fstream.binance.com/market/stream" for route in routes)


# -- assembly ---------------------------------------------------------------------------------


def bars_of(minutes, symbols="ABC"):
    return [
        Bar(s, m * MINUTE, 1.0 + m, 2.0 + m, 1.0 + m, 2.0 + m, float(ord(s)))
        for m in range(minutes)
        for s in symbols
    ]


def assembled(bars, due=MINUTE, symbols="ABC"):
    """Offer bars as they come; take each moment as soon as it is complete."""
    notes, moments = [], []
    here = Assembly(list(symbols), MINUTE, lambda *note: notes.append(note))
    here.begin(due)
    for bar in bars:
        here.offer(bar, bar.open_time + MINUTE)
        while here.complete.is_set():
            moments.append(here.take(here.due))
    return moments, notes


@given(st.data())
def test_any_order_and_repetition_gives_the_same_moments(data):
    bars = bars_of(6)
    again = data.draw(st.lists(st.sampled_from(bars), max_size=20))
    shuffled = data.draw(st.permutations(bars + again))
    moments, notes = assembled(shuffled)
    assert moments == assembled(bars)[0]
    assert [m.time for m in moments] == [m * MINUTE for m in range(1, 7)] and not notes


def test_a_revision_before_the_moment_wins_and_both_are_noted():
    first, other = bars_of(1, "AB")
    later = first._replace(close=1.5)
    for order in ([(first, 1), (later, 2)], [(later, 2), (first, 1)]):
        notes = []
        here = Assembly(["A", "B"], MINUTE, lambda *note, to=notes: to.append(note))
        here.begin(MINUTE)
        for bar, event in order:
            here.offer(bar, event)
        here.offer(other, 1)
        assert here.take(0).bars == (later, other)
        ((kind, body),) = notes
        assert kind == "revision" and body["acted_on"] == "now"
        assert (body["was"]["close"], body["now"]["close"]) == (first.close, 1.5)


def test_a_revision_after_the_moment_is_noted_once_and_changes_nothing():
    bars = bars_of(2)
    changed = bars[0]._replace(close=1.25)
    moments, notes = assembled([*bars[:3], changed, changed, bars[0], *bars[3:], changed])
    assert moments == assembled(bars)[0]
    ((kind, body),) = notes
    assert (kind, body["acted_on"], body["now"]["close"]) == ("revision", "was", 1.25)


def test_ten_thousand_revisions_are_one_decision_each():
    bars = bars_of(10_000, "A")
    stream = [b for bar in bars for b in (bar, bar._replace(close=bar.open))]
    moments, notes = assembled(stream, symbols="A")
    assert [m.bars[0].close for m in moments] == [bar.close for bar in bars]
    assert len(notes) == 10_000


def test_a_bar_that_comes_after_its_gap_is_a_revision_of_nothing():
    notes = []
    here = Assembly(["A", "B"], MINUTE, lambda *note: notes.append(note))
    here.begin(MINUTE)
    a, b = bars_of(1, "AB")
    here.offer(a, 1)
    here.cover("B", MINUTE)
    here.take(0)
    here.offer(b, 1)
    assert [kind for kind, _ in notes] == ["gap", "revision"] and notes[1][1]["was"] is None


def test_what_is_kept_is_bounded():
    here = Assembly(["A", "B"], MINUTE, lambda *note: None)
    here.begin(MINUTE)
    for bar in bars_of(ROOM + 500, "A"):
        here.offer(bar, 0)
    assert len(here._pool) == ROOM
    here.cover("B", ROOM * MINUTE)
    while here.complete.is_set():
        here.take(0)
    assert here.due == (ROOM + 1) * MINUTE and len(here._done) == MEMORY and not here._pool


# -- bars out of trades -----------------------------------------------------------------------

CANDLES = [
    Candle(m * MINUTE, (m + 1) * MINUTE, 10.0 + m, 12.0 + m, 9.5 + m, 11.0 + m,
           50.0, 550.0 + 50 * m, 40, 20.0, 220.0 + 20 * m, first=1 + 40 * m)
    for m in range(4)
]  # fmt: skip


def trades():
    counts = sim_prints.counts(CANDLES)
    firsts = [1 + sum(counts[:i]) for i in range(len(counts))]
    return [
        Print("x", "BTCUSDT", p.id, p.time, p.price, p.quantity, p.last - p.first + 1, p.maker)
        for candle, first in zip(CANDLES, firsts)
        for p in sim_prints.made(candle, first, "seed")
    ]


def slow_bars(made, interval):
    """Group trades by interval the long way round."""
    groups = {}
    for t in made:
        groups.setdefault(t.time // interval * interval, []).append(t)
    return [
        (
            opened, g[0].price, max(t.price for t in g), min(t.price for t in g), g[-1].price,
            pytest.approx(sum(t.quantity for t in g)),
            pytest.approx(sum(t.quantity * t.price for t in g)),
            sum(t.trades for t in g),
            pytest.approx(sum(t.quantity for t in g if not t.buyer_is_maker)),
        )
        for opened, g in groups.items()
    ]  # fmt: skip


@pytest.mark.parametrize("interval", [SECOND, MINUTE])
def test_bars_of_trades_are_their_groups(interval):
    state, got = None, []
    for trade in trades():
        state, closed = add(state, trade, interval)
        got += [closed] if closed else []
    # the first may lack its beginning, the last has not closed
    assert [bar[1:10] for bar in got] == slow_bars(trades(), interval)[1:-1]


@pytest.mark.parametrize("place", range(1, len(trades()) - 1))
def test_a_hole_spoils_the_bars_it_may_touch_and_no_other(place):
    made = trades()
    before, lost, after = (t.time // MINUTE * MINUTE for t in made[place - 1 : place + 2])
    state, got = None, []
    for trade in made[:place] + made[place + 1 :]:
        for _ in range(2):  # a repetition changes nothing
            state, closed = add(state, trade, MINUTE)
            got += [closed.open_time] if closed else []
    assert got == [t for t in (MINUTE, 2 * MINUTE) if t not in {before, lost, after}]


class FakeHost:
    """Answers with the trades asked for; the first time it fails if told to."""

    def __init__(self, fails=0):
        self.fails, self.asked = fails, []

    async def get(self, ask, *, spare):
        assert spare, "bars come first"
        self.asked.append(ask.params["fromId"])
        if self.fails:
            self.fails -= 1
            raise Unanswered("status 500")
        rows = [t for t in trades() if t.id >= ask.params["fromId"]][:3]
        return [
            {"a": t.id, "p": str(t.price), "q": str(t.quantity), "f": 1, "l": t.trades,
             "T": t.time // 1000, "m": t.buyer_is_maker} for t in rows
        ]  # fmt: skip


def klines():
    return [
        Bar("BTCUSDT", c.open_time, c.open, c.high, c.low, c.close, c.volume, c.quote, c.trades,
            c.buy, c.buy_quote) for c in CANDLES
    ]  # fmt: skip


async def checked(made, bars, host):
    notes = []
    check = PrintCheck(BINANCE, host, MINUTE, lambda *note: notes.append(note))
    for bar in bars:
        check.kline(bar)
    for trade in made:
        check.trade(trade)
        await asyncio.sleep(0)
    for _ in range(20):
        await asyncio.sleep(0)
    await check.close()
    return check, notes


async def test_klines_that_are_their_trades_pass():
    check, notes = await checked(trades(), klines(), FakeHost())
    assert check.counts == {"compared": 2, "disagree": 0, "missing": 0} and not notes


async def test_a_kline_that_is_not_its_trades_is_noted():
    bars = klines()
    bars[1] = bars[1]._replace(high=99.0, volume=51.0)
    _, notes = await checked(trades(), bars, FakeHost())
    ((kind, body),) = notes
    assert (kind, body["time"], body["fields"]) == (
        "trades_disagree",
        2 * MINUTE,
        ["high", "volume"],
    )


async def test_a_hole_in_the_ids_is_filled_by_rest():
    made = trades()
    host = FakeHost()
    check, notes = await checked(made[:20] + made[25:], klines(), host)
    assert host.asked == [made[20].id, made[23].id]
    assert check.counts == {"compared": 2, "disagree": 0, "missing": 5}
    assert [kind for kind, _ in notes] == ["trades_missing"]


async def test_each_hole_is_told_also_one_that_came_while_another_was_filled():
    made = trades()
    kept = [t for k, t in enumerate(made) if k not in (20, 21, 24)]
    notes = []
    check = PrintCheck(BINANCE, FakeHost(), MINUTE, lambda *note: notes.append(note))
    for trade in kept:  # at once: the second hole comes before REST has answered for the first
        check.trade(trade)
    for _ in range(20):
        await asyncio.sleep(0)
    await check.close()
    told = [(body["first"], body["last"], body["filled"]) for _, body in notes]
    assert told == [(made[20].id, made[21].id, True), (made[24].id, made[24].id, True)]


async def test_a_bar_without_a_trade_is_compared_too():
    made = [t for t in trades() if not 1 <= t.time // MINUTE <= 1]
    renumbered = [t._replace(id=k) for k, t in enumerate(made)]
    bars = klines()
    flat = bars[0].close
    bars[1] = Bar("BTCUSDT", MINUTE, flat, flat, flat, flat, 0.0, 0.0, 0, 0.0, 0.0)
    first = Print("x", "BTCUSDT", -1, -MINUTE, 1.0, 1.0, 1, False)
    check, notes = await checked([first, *renumbered], bars, FakeHost())
    assert check.counts["compared"] == 3 and not notes
    bars[1] = klines()[1]
    check, notes = await checked([first, *renumbered], bars, FakeHost())
    assert [body["time"] for _, body in notes] == [2 * MINUTE]


async def test_a_hole_that_cannot_be_filled_is_not_checked():
    made = trades()
    place = next(i for i, t in enumerate(made) if t.time > 1.5 * MINUTE)
    check, notes = await checked(made[:place] + made[place + 2 :], klines(), FakeHost(fails=1))
    assert check.counts["compared"] == 1
    assert [(kind, body["filled"]) for kind, body in notes] == [("trades_missing", False)]


@pytest.mark.parametrize(("lost", "pages", "filled"), [(15, 5, True), (16, 5, False)])
async def test_a_hole_is_given_five_pages(lost, pages, filled):
    made, host = trades(), FakeHost()
    check, notes = await checked(made[:20] + made[20 + lost :], klines(), host)
    assert host.asked == [made[20 + 3 * k].id for k in range(pages)]
    assert [(body["last"] - body["first"] + 1, body["filled"]) for _, body in notes] == [
        (lost, filled)
    ]
    assert check.counts["disagree"] == 0


async def test_holes_take_turns():
    flying = most = 0

    class Slow(FakeHost):
        async def get(self, ask, *, spare):
            nonlocal flying, most
            flying += 1
            most = max(most, flying)
            await asyncio.sleep(0)
            flying -= 1
            return await super().get(ask, spare=spare)

    notes = []
    check = PrintCheck(BINANCE, Slow(), MINUTE, lambda *note: notes.append(note))
    for trade in trades()[:30]:
        for k in range(20):
            if trade.id != 25:
                check.trade(trade._replace(symbol=f"S{k}USDT"))
    for _ in range(200):
        await asyncio.sleep(0)
    await check.close()
    assert len(notes) == 20 and most == 1


async def test_the_check_of_trades_leaves_weight_for_bars(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    host = Host(SimpleNamespace(port=None), BINANCE, WallClock(), Limits())
    half = BINANCE.budget // 4  # of what is ours, which is half of what the venue allows
    sent = []

    async def answer(ask):
        sent.append(ask)
        return 200, b"[]", {}

    monkeypatch.setattr(host, "_exchange", answer)
    monkeypatch.setattr(host, "_roll", lambda: None)  # it stays the same minute
    prints, bars = BINANCE.prints("BTCUSDT", 1), BINANCE.page("BTCUSDT", 0, 2)
    with pytest.raises(Unanswered):
        while len(sent) < 1_000:
            await asyncio.wait_for(host.get(prints, spare=True), 1.0)
    assert len(sent) == half // prints.weight and host.used <= half
    before, host.why = len(sent), "what bars met"
    for _ in range(100):
        await asyncio.wait_for(host.get(bars), 1.0)
    assert len(sent) == before + 100 and not host.why
    host.used = 0
    monkeypatch.setattr(host, "_quiet_until", host._quiet_until + 60)
    with pytest.raises(Unanswered):  # at once: what waits for the end of a silence are bars
        await asyncio.wait_for(host.get(prints, spare=True), 1.0)
    assert not host.why


def test_rounded_sums_are_no_difference():
    bar = klines()[0]
    assert differences(bar, bar) == []
    assert differences(bar, bar._replace(quote_volume=bar.quote_volume + 1e-7)) == []
    assert differences(bar, bar._replace(close=bar.close + 1e-7)) == ["close"]
    assert differences(bar._replace(trades=None), bar) == []


# -- health -----------------------------------------------------------------------------------


def test_silence_by_market_time_or_by_real_time(monkeypatch):
    real = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(stream_room.time, "monotonic", lambda: real.now)
    stream = Stream("x")
    for n in range(20):  # a frame a real second, market at x1
        real.now = 1000.0 + n
        stream.hear(n * SECOND)
    ask = {"silence": 8.0, "stale_us": 65 * SECOND}
    real.now = 1019.0 + 7.9
    assert not stream.silent(19 * SECOND + 7_900_000, **ask)
    real.now = 1019.0 + 8.1
    assert stream.silent(19 * SECOND + 8_100_000, **ask)
    assert not stream.silent(19 * SECOND, **ask), "market time stands still: nothing is expected"
    real.now = 1019.0 + 0.6
    assert stream.silent(90 * SECOND, **ask), "the market flies"
    stream.strikes = 2
    assert not stream.silent(90 * SECOND, **ask), "given longer after each vain renewal"


def test_a_thin_stream_is_given_three_of_its_pauses(monkeypatch):
    real = SimpleNamespace(now=0.0)
    monkeypatch.setattr(stream_room.time, "monotonic", lambda: real.now)
    stream = Stream("x")
    for n in range(60):
        real.now = n * 10.0
        stream.hear(n * 10 * SECOND)
    real.now += 25.0
    assert not stream.silent(615 * SECOND, silence=8.0, stale_us=65 * SECOND)
    real.now += 6.0
    assert stream.silent(621 * SECOND, silence=8.0, stale_us=65 * SECOND)


def test_pauses_double_to_a_bound_and_are_few():
    random.seed(1)
    for _ in range(50):
        pauses, spent, attempts = Pauses(Limits()), 0.0, 0
        while spent < 300:
            spent += pauses.next()
            attempts += 1
        assert attempts <= 21
    assert 15 <= pauses.next() <= 30


@given(st.integers(-(10**10), 10**10), st.integers(0, 10**9), st.floats(-1, 1))
def test_the_sure_part_of_a_skew_never_exceeds_the_truth(true, error, wrong):
    measured = Skew(true + int(error * wrong), error)
    assert abs(measured.sure) <= abs(true) or abs(true) < 1
    assert measured.sure * true >= 0
