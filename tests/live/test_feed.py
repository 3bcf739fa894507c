"""The feed on real sockets: whatever goes wrong, the same moments in the same order, once."""

import asyncio
import time
from collections import Counter
from itertools import pairwise

import orjson
import polars as pl
import pytest

from research.errors import UserError
from research.live import feed
from research.live.clock import ReplayClock, VenueClock, WallClock
from research.live.feed import Limits
from research.live.feed.asking import Asker
from research.live.feed.assembly import Assembly
from research.live.feed.binance import Binance
from research.live.net import Network
from research.sim import Exchange
from research.sim.faults import KINDS, RECOVERABLE, REQUEST, Fault

from .feeds import MINUTE, QUICK, SYMBOLS, expected, market, plain, play, sources, start_of

BARS = market(minutes=32)
START = start_of(BARS)
CASES = [(kind, args) for kind in RECOVERABLE for args in RECOVERABLE[kind]]
VENUES = ("binance", "bybit")


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))


def name(case):
    return "-".join([case[0], *map(str, case[1].values())])


def wanted(venue="binance", bars=BARS):
    return expected(bars, START, extras=venue == "binance")


@pytest.mark.parametrize("venue", VENUES)
async def test_moments_are_the_table(venue):
    played = await play(BARS, venue=venue)
    assert plain(played.moments) == wanted(venue)
    # the first may close before the connection is up
    assert set(sources(played.moments[1:])) == {"stream"}
    assert all(m.known >= m.time for m in played.moments)
    assert not played.notes
    row = played.health[0]
    assert row["state"] == "live" and row["messages"] >= 12 and row["skew_us"] == 0


async def faulty(venue, kind, args):
    """Play with one fault twice; those of requests where a missing frame makes the feed ask."""
    asked = KINDS[kind] == REQUEST
    faults = [
        Fault(kind, at=at, target="*/kline*" if asked else "BTCUSDT", args=args) for at in (3, 6)
    ]
    if asked:
        faults += [Fault("missing_close", at=at, target="BTCUSDT") for at in (3, 6)]
    return await asyncio.wait_for(play(BARS, venue=venue, faults=faults), 30)


@pytest.mark.parametrize("case", CASES, ids=name)
async def test_faults_change_no_moment(case):
    played = await faulty("binance", *case)
    assert plain(played.moments) == wanted()


@pytest.mark.parametrize("kind", ["missing_close", "nan", "rst", "half_open", "bad_json", "status"])
async def test_faults_change_no_moment_of_bybit(kind):
    played = await faulty("bybit", kind, RECOVERABLE[kind][0])
    assert plain(played.moments) == wanted("bybit")


async def test_without_any_closing_frame_rest_has_them_all():
    played = await play(BARS, faults=[Fault("missing_close", prob=1.0)])
    assert plain(played.moments) == wanted()
    assert set(sources(played.moments)) == {"rest"}


async def test_a_bar_the_venue_never_had_is_absent():
    gone = (pl.col("symbol") == "BTCUSDT") & (pl.col("time").dt.minute().is_between(25, 27))
    played = await play(BARS, faults=[Fault("gap", at=4, target="BTCUSDT", args={"length": 3})])
    assert plain(played.moments) == wanted(bars=BARS.filter(~gone))
    gaps = [(b["symbol"], b["time"]) for k, b in played.notes if k == "gap"]
    assert gaps == [("BTCUSDT", START + n * MINUTE) for n in (5, 6, 7)]


async def test_a_close_without_any_bar_is_passed_over():
    played = await play(BARS, faults=[Fault("gap", at=4, args={"length": 2})])
    lost = {START + 5 * MINUTE, START + 6 * MINUTE}
    assert plain(played.moments) == [m for m in wanted() if m[0] not in lost]
    assert played.count("gap") == 6


async def test_an_unclosed_candle_of_rest_is_not_a_bar():
    """The venue's newest row is open: what streams do not bring must be waited for."""
    played = await play(BARS, speed=600.0, faults=[Fault("drop", prob=1.0, args={"frame": "any"})])
    assert plain(played.moments) == wanted()


async def test_a_slow_answer_of_rest_is_asked_again():
    faults = [Fault("missing_close", at=4, target="BTCUSDT")]
    faults += [Fault("rest_lag", at=4, target="*/kline*", times=1)]
    played = await play(BARS, faults=faults)
    assert plain(played.moments) == wanted() and not played.count("gap")


async def test_a_clock_of_the_venue_that_is_off_closes_nothing_early():
    for us in (3_600_000_000, -3_600_000_000):
        faults = [Fault("skew", at=3, args={"us": us, "bars": 4})]
        faults += [Fault("missing_close", at=5, target="BTCUSDT")]
        played = await play(BARS, faults=faults)
        assert plain(played.moments) == wanted()


async def test_the_day_is_survived_on_a_second_connection():
    """Before the venue cuts, a second connection has taken over: nothing by REST."""
    limits = Limits(first=0.05, longest=0.2, renew_us=5 * MINUTE)
    bars = market(minutes=80, symbols=("BTCUSDT",))
    played = await play(bars, limits=limits)
    assert plain(played.moments) == expected(bars, START)
    renewed = [b for k, b in played.notes if k == "reconnect"]
    assert len(renewed) >= 5 and all(b["planned"] for b in renewed)
    assert set(sources(played.moments[1:])) == {"stream"}


async def test_a_whole_day_with_the_real_limits():
    bars = market(minutes=1560, symbols=("BTCUSDT",))
    played = await play(bars, limits=Limits())
    assert plain(played.moments) == expected(bars, START)
    assert [b["planned"] for k, b in played.notes if k == "reconnect"] == [True]


class Scripted:
    """A host whose answers are given, in the order in which they are asked for."""

    def __init__(self, *answers):
        self.answers = list(answers)

    async def get(self, ask):
        path, told = self.answers.pop(0)
        assert ask.path.endswith(path)
        return told


def kline(*, volume, close="1"):
    return [START // 1000, "1", "2", "1", close, volume, 0, "1", 1, "1", "1", "0"]


async def test_a_candle_told_before_its_close_is_no_bar_though_both_clocks_are_past_it_now():
    """Ours is ahead: between the answer and the look at the venue's clock its minute ended."""
    clock = Shifted(ReplayClock(START + MINUTE - 1), 60 * MINUTE)
    assembly = Assembly(["BTCUSDT"], MINUTE, note=print)
    assembly.begin(START + MINUTE)
    asker = Asker(
        Binance(["BTCUSDT"], MINUTE), Network(), clock, assembly, deadline_us=2_000_000,
        note=print, tell=print, limits=QUICK,
    )  # fmt: skip
    over = {"serverTime": START // 1000 + 60_000}
    asker.host = Scripted(
        ("klines", [kline(volume="3")]), ("time", over), ("klines", [kline(volume="8")])
    )
    await asker.confirm("BTCUSDT")
    (bar,) = assembly.take(clock.now()).bars
    assert bar.volume == 8.0 and not asker.host.answers


class Shifted:
    """A clock that is wrong by so many microseconds."""

    def __init__(self, clock, us):
        self.clock, self.us = clock, us

    def now(self):
        return self.clock.now() + self.us

    async def sleep_until(self, us):
        await self.clock.sleep_until(us - self.us)

    async def ack(self, us):
        await self.clock.ack(us)


@pytest.mark.parametrize("hours", [1, -1])
async def test_our_clock_may_be_an_hour_off(hours):
    """Ahead: nothing closes early, nothing is taken for missing. Behind: nothing waits for it."""
    exchange = Exchange(BARS, start=START, speed=600.0, faults=[Fault("missing_close", at=5)])
    async with exchange as server, Network(server.port, server.ca) as network:
        clock = await VenueClock.connect(network)
        notes, got = [], []
        source = feed.open(
            "binance", network, Shifted(clock, hours * 60 * MINUTE), [*SYMBOLS], MINUTE,
            note=lambda *note: notes.append(note), limits=QUICK,
        )  # fmt: skip
        async for moment in source.moments(START):
            got.append(moment)
            await clock.ack(moment.time)
            if len(got) == 9:
                break
        skew = source.health()[0]["skew_us"]
        await source.close()
        await clock.close()
    assert plain(got) == wanted()[:9]
    assert not [kind for kind, _ in notes if kind in ("gap", "revision")]
    assert skew == pytest.approx(-hours * 60 * MINUTE, abs=2 * MINUTE)


async def test_a_slow_reader_of_moments_loses_none():
    exchange = Exchange(BARS, start=START)
    async with exchange as server, Network(server.port, server.ca) as network:
        clock = await VenueClock.connect(network)
        source = feed.open("binance", network, clock, [*SYMBOLS], MINUTE, note=print, limits=QUICK)
        moments = source.moments(START)
        got = [await anext(moments)]
        for time_us, _ in wanted():  # somebody lets time go on while nobody reads
            await clock.sleep_until(time_us)
            await asyncio.sleep(0.02)
            await clock.ack(time_us)
        while len(got) < len(wanted()):
            got.append(await anext(moments))
        await source.close()
        await clock.close()
    assert plain(got) == wanted()


async def test_revisions_on_the_wire():
    """Before the moment the later version is the bar; after it, it is noted and no more."""
    later = {"us": 30_000_000}
    faults = [
        Fault("revised", at=3, target="ADAUSDT"),
        Fault("revised", at=6, target="ADAUSDT", args=later),
    ]
    played = await play(BARS, faults=faults)
    notes = [(b["symbol"], b["acted_on"]) for k, b in played.notes if k == "revision"]
    assert notes == [("ADAUSDT", "now"), ("ADAUSDT", "was")]
    changed = [
        (have[0], a[0])
        for have, want in zip(plain(played.moments), wanted(), strict=True)
        for a, b in zip(have[1], want[1], strict=True)
        if a != b
    ]
    assert changed == [(START + 4 * MINUTE, "ADAUSDT")]


async def test_a_bar_from_the_future_is_refused():
    faults = [Fault("off_grid", at=4, target="BTCUSDT", args={"ms": 2 * 3_600_000})]
    played = await play(market(minutes=200), until=START + 12 * MINUTE, faults=faults)
    assert plain(played.moments) == expected(market(minutes=200), START)[:12]
    assert [b["reason"] for k, b in played.notes if k == "rejected"] == ["from the future"]


async def test_klines_are_checked_against_their_trades():
    played = await play(BARS, prints=True)
    assert plain(played.moments) == wanted()
    assert len(played.health) == 7 and not played.notes
    assert played.checks == {"compared": whole_bars(played), "disagree": 0, "missing": 0}
    assert whole_bars(played) >= 24
    with_none = await play(BARS, until=START + 2 * MINUTE)
    assert with_none.checks == {}


def whole_bars(played):
    """Count the bars that can be compared: their first trade and one of the next bar were sent."""
    count = 0
    for symbol in SYMBOLS:
        name = f"{symbol.lower()}@aggTrade"
        first = next(e["time"] for e in played.log if e.get("stream") == name)
        opened = [m.time - MINUTE for m in played.moments[:-1]]
        count += sum(at > first for at in opened)
    return count


def sent_ids(played, stream):
    """Return the ids of the aggregate trades that went out on a stream."""
    frames = [e for e in played.log if e["kind"] == "frame" and e["stream"] == stream]
    return [orjson.loads(frame["text"])["data"]["a"] for frame in frames if frame["text"]]


async def test_a_dropped_print_is_named_and_asked_for():
    one = Fault("drop", at=4, target="btcusdt@aggTrade", times=1)
    played = await play(BARS, prints=True, faults=[one])
    assert plain(played.moments) == wanted()
    ((kind, body),) = played.notes
    assert (kind, body["symbol"], body["filled"]) == ("trades_missing", "BTCUSDT", True)
    assert body["time"] // MINUTE == START // MINUTE + 4
    lost = [b - 1 for a, b in pairwise(sent_ids(played, "btcusdt@aggTrade")) if b - a > 1]
    assert lost == [body["first"]] == [body["last"]]
    asked = [e["path"] for e in played.log if e["kind"] == "request" and "aggTrades" in e["path"]]
    assert [f"fromId={lost[0]}" in path for path in asked] == [True]
    assert played.checks["missing"] == 1 and played.checks["disagree"] == 0


async def test_prints_that_nobody_has_leave_their_bars_unchecked():
    faults = [Fault("drop", at=4, target="btcusdt@aggTrade", times=1)]
    faults += [Fault("status", prob=1.0, target="/fapi/v1/aggTrades", args={"status": 500})]
    played = await play(BARS, prints=True, faults=faults)
    assert plain(played.moments) == wanted()
    ((kind, body),) = played.notes
    assert (kind, body["filled"]) == ("trades_missing", False)
    compared = whole_bars(played) - 2  # it may have been the bar's first, or the last of the other
    assert played.checks == {"compared": compared, "disagree": 0, "missing": 1}


async def test_a_kline_that_is_not_its_trades_is_told_and_traded():
    """The venue's bar is what is acted on; what its trades say stands beside it."""
    wrong = Fault("spike", at=4, target="btcusdt@kline_1m", args={"factor": 1.001})
    played = await play(BARS, prints=True, faults=[wrong])
    told = [body for kind, body in played.notes if kind == "trades_disagree"]
    assert [(b["symbol"], b["time"], b["fields"]) for b in told] == [
        ("BTCUSDT", START + 5 * MINUTE, ["open", "high", "low", "close"])
    ]
    bar = next(b for m in played.moments for b in m.bars if m.time == told[0]["time"]
               and b.symbol == "BTCUSDT")  # fmt: skip
    assert bar._asdict() == told[0]["kline"] and bar.close != told[0]["trades"]["close"]
    assert played.checks["disagree"] == 1


def books_sent(played, symbol):
    """Return (time, bids, asks) of each book that went out, in numbers."""
    name = f"{symbol.lower()}@depth20@100ms"
    frames = [e for e in played.log if e.get("stream") == name and e.get("text")]
    told = [orjson.loads(frame["text"])["data"] for frame in frames]
    return [
        (t["T"] * 1000, *(tuple((float(p), float(q)) for p, q in t[side]) for side in "ba"))
        for t in told
    ]


@pytest.mark.parametrize("delay", [0, 2_000_000, 37_500_000])
async def test_each_bar_has_the_book_that_its_fills_met(delay):
    played = await play(BARS, book_delay=delay)
    assert plain(played.moments) == wanted() and not played.count("rejected")
    found = 0
    for symbol in SYMBOLS:
        sent = books_sent(played, symbol)
        for moment in played.moments:
            filled = moment.time - MINUTE + delay
            known = [book for book in sent if filled - MINUTE <= book[0] <= filled]
            newest = max(known, key=lambda book: book[0]) if known else None
            assert moment.levels.get(symbol) == newest
            found += newest is not None
    assert found >= (len(played.moments) - 2) * len(SYMBOLS)


async def test_a_book_that_is_not_shown_any_more_is_in_force_for_a_minute():
    gone = Fault("silent", at=4, target="btcusdt@depth20@100ms", args={"bars": 4})
    played = await play(BARS, book_delay=0, faults=[gone])
    assert plain(played.moments) == wanted()
    without = [m.time for m in played.moments[3:] if "BTCUSDT" not in m.levels]
    # the one in force as the fourth bar opened is a minute old when the fifth does, no more later
    assert without == [START + n * MINUTE for n in (7, 8, 9)]
    assert all("ETHUSDT" in m.levels for m in played.moments[3:])


def test_only_binance_has_trades_that_can_be_counted():
    for venue in ("bybit", "replay"):
        with pytest.raises(UserError, match=r"live\.check_trades: is for Binance"):
            feed.open(
                venue, Network(), WallClock(), ["A"], MINUTE, note=print, prints=True, bars=BARS
            )
        with pytest.raises(UserError, match=r"costs\.fill: 'book' needs a feed of books"):
            feed.open(
                venue, Network(), WallClock(), ["A"], MINUTE, note=print, book_delay=0, bars=BARS
            )


async def test_an_outage_is_made_up_in_order():
    """Neither stream nor REST for a while: time stands still or runs on, no moment is lost."""
    faults = [Fault("close", at=3, args={"code": 1012})]
    faults += [Fault("status", at=4, target="*", args={"status": 503}, times=12)]
    played = await play(BARS, faults=faults)
    assert plain(played.moments) == wanted()


async def test_a_late_start_is_backfilled():
    """A feed that is asked for moments long gone has them by REST, and goes on live."""
    exchange = Exchange(BARS, start=START, speed=float("inf"))
    async with exchange as server, Network(server.port, server.ca) as network:
        clock = await VenueClock.connect(network)
        notes, got = [], []
        source = feed.open(
            "binance", network, clock, [*SYMBOLS], MINUTE,
            note=lambda *note: notes.append(note), limits=QUICK,
        )  # fmt: skip
        async for moment in source.moments(START - 10 * MINUTE):
            got.append(moment)
            await clock.ack(moment.time)
            if len(got) == 15:
                break
        await source.close()
        await clock.close()
    assert plain(got) == expected(BARS, START - 10 * MINUTE)[:15]
    assert sources(got[:8]) == Counter(backfill=24)
    assert sum(b["bars"] for k, b in notes if k == "backfill") >= 30


@pytest.mark.parametrize("venue", VENUES)
async def test_history_is_the_table(venue):
    exchange = Exchange(BARS, start=START)
    async with exchange as server, Network(server.port, server.ca) as network:
        clock = await VenueClock.connect(network)
        symbols = [*SYMBOLS]
        source = feed.open(venue, network, clock, symbols, MINUTE, note=print, limits=QUICK)
        found = await source.history(START - 7 * MINUTE, START)
        none = await source.history(START, START)
        source = feed.open(venue, network, clock, ["NOUSDT"], MINUTE, note=print, limits=QUICK)
        with pytest.raises(UserError, match="does not know 'NOUSDT'"):
            await source.history(START - MINUTE, START)
        await clock.close()
    time_us = pl.col("time").dt.epoch("us")
    known = BARS.filter(time_us > START - 7 * MINUTE, time_us <= START)
    if venue == "bybit":
        unknown = [pl.lit(None, known[c].dtype).alias(c) for c in known.columns[9:]]
        known = known.with_columns(unknown)
    assert found.equals(known) and none.is_empty() and none.schema == known.schema


async def test_both_venues_and_a_replay_have_the_same_bars():
    one, other = await play(BARS), await play(BARS, venue="bybit")
    clock = ReplayClock(START)
    source = feed.open("replay", Network(), clock, [*SYMBOLS], MINUTE, note=print, bars=BARS)
    again = [moment async for moment in source.moments(START)]
    assert plain(again) == plain(one.moments) == wanted()
    assert [m.known for m in again] == [m.time for m in again]
    assert [[b[:8] for b in m.bars] for m in one.moments] == [
        [b[:8] for b in m.bars] for m in other.moments
    ]
    assert source.health()[0]["messages"] == len(again)


async def test_a_replay_keeps_time(tmp_path):
    path = tmp_path / "bars.parquet"
    BARS.write_parquet(path)
    clock = ReplayClock(START, speed=600.0)
    source = feed.open("replay", Network(), clock, ["BTCUSDT"], MINUTE, note=print, bars=path)
    began, got = time.monotonic(), []
    async for moment in source.moments(START):
        got.append(moment)
        if len(got) == 4:
            break
    assert 0.3 < time.monotonic() - began < 1.5
    assert (await source.history(START, START + 2 * MINUTE)).height == 2
    with pytest.raises(UserError, match="hold no XUSDT"):
        feed.open("replay", Network(), clock, ["XUSDT"], MINUTE, note=print, bars=path)
    with pytest.raises(UserError, match="must last"):
        feed.open("replay", Network(), clock, ["BTCUSDT"], 2 * MINUTE, note=print, bars=path)


def test_mistakes_are_named():
    clock = WallClock()
    with pytest.raises(UserError, match=r"found 'bibit'\. Did you mean 'bybit'"):
        feed.open("bibit", Network(), clock, ["A"], MINUTE, note=print)
    with pytest.raises(UserError, match="not offered"):
        feed.open("bybit", Network(), clock, ["A"], 7 * MINUTE, note=print)
    with pytest.raises(UserError, match="not offered"):
        feed.open("binance", Network(), clock, ["A"], 7 * MINUTE, note=print)
    with pytest.raises(UserError, match="needs stored bars"):
        feed.open("replay", Network(), clock, ["A"], MINUTE, note=print)
