"""The polled feed on real sockets: a bar is taken when it is over, once, whatever goes wrong."""

import asyncio
import json

import polars as pl
import pytest

from research.errors import UserError
from research.live import feed, folders, journal, proof, session
from research.live.clock import VenueClock, WallClock
from research.live.feed import Limits
from research.live.feed.kraken import Kraken
from research.live.feed.records import Unfit
from research.live.net import Network
from research.sim import Exchange, kraken
from research.sim import exchange as exchanges
from research.sim.faults import Fault
from research.sim.kraken.plans import RECOVERABLE

from .feeds import MINUTE, QUICK, SYMBOLS, expected, market, play, sources, start_of
from .shown import SMALL

BARS = market(minutes=32)
START = start_of(BARS)
NAMES = {"ADAUSDT": "ADA/USDT", "BTCUSDT": "BTC/USDT", "ETHUSDT": "ETH/USDT"}


@pytest.fixture(autouse=True)
def own_data(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))


@pytest.fixture
def quick(monkeypatch):
    """A Kraken that may be asked 20 times as often, and a feed that does."""
    monkeypatch.setattr(feed.kraken, "_PACE", 1.05 / 20)
    monkeypatch.setattr(exchanges.kraken, "Pace", lambda: kraken.pace.Pace(20.0))


def rounded(moments):
    """Return bars as tuples, but for the quote volume: it is made of a rounded mean price."""

    def one(bar):
        return (*bar[:7], bar[8])

    return [(time, [one(bar) for bar in bars]) for time, bars in moments]


def plain(moments):
    return rounded([(m.time, [tuple(bar) for bar in m.bars]) for m in moments])


def wanted(bars=BARS, after=START):
    return rounded(expected(bars, after))


async def polled(bars=BARS, faults=(), **more):
    names = {s: NAMES[s] for s in bars["symbol"].unique()}
    return await asyncio.wait_for(
        play(bars, venue="kraken", faults=faults, names=names, **more), 40
    )


async def test_moments_are_the_table_and_nobody_is_asked_too_often():
    played = await polled()
    assert plain(played.moments) == wanted()
    assert set(sources(played.moments)) == {"rest"} and not played.notes
    for moment, (_, rows) in zip(played.moments, expected(BARS, START), strict=True):
        for bar, row in zip(moment.bars, rows, strict=True):
            assert bar.quote_volume == pytest.approx(row[7]) and bar.taker_buy_volume is None
    answers = [e for e in played.log if e["kind"] == "request"]
    asked = [e["path"] for e in answers if "OHLC" in e["path"]]
    assert len(asked) == 12 * 3  # once a bar and pair
    rows = {row["name"]: row for row in played.health}
    assert rows["ohlc BTC/USDT"]["state"] == "live" and rows["ohlc BTC/USDT"]["messages"] == 12
    assert rows["rest"]["state"] == "live" and rows["rest"]["skew_us"] == 0


@pytest.mark.long
async def test_each_fault_of_an_answer_changes_no_moment(quick):
    cases = [(kind, args) for kind in RECOVERABLE for args in RECOVERABLE[kind]]
    faults = [
        Fault(kind, at=2 + 2 * place, target="*/OHLC", args=args)
        for place, (kind, args) in enumerate(cases)
    ]
    bars = market(minutes=2 * len(cases) + 26)
    played = await polled(bars, faults, limits=Limits(first=0.05, longest=0.2, connect=0.5))
    assert plain(played.moments) == wanted(bars)
    struck = [f for e in played.log if e["kind"] == "request" for f in e["faults"]]
    assert len(struck) == len(cases) and set(struck) == set(RECOVERABLE)
    assert not played.count("gap") and not played.count("revision")


async def test_an_answer_that_lags_is_asked_again_until_it_shows_the_bar(quick):
    lag = Fault("rest_lag", at=4, target="*/OHLC", args={"us": 90_000_000}, times=9)
    played = await polled(faults=[lag])
    assert plain(played.moments) == wanted() and not played.count("gap")


async def test_an_outage_is_made_up_in_order(quick):
    down = {"status": 200, "body": {"error": ["EService:Unavailable"]}}
    played = await polled(faults=[Fault("status", at=4, target="*", args=down, times=24)])
    assert plain(played.moments) == wanted()


async def test_the_open_candle_is_never_a_bar(quick):
    """Asked at all moments within a bar, its last row has closed for nobody."""
    played = await polled(speed=2000.0, deadline_us=0)
    assert plain(played.moments) == wanted()


@pytest.mark.parametrize("us", [3_600_000_000, -3_600_000_000])
async def test_a_clock_of_the_venue_that_is_off_closes_nothing_early(quick, us):
    played = await polled(faults=[Fault("skew", at=3, args={"us": us, "bars": 4})])
    assert plain(played.moments) == wanted() and not played.count("gap")


async def test_a_bar_the_venue_never_had_is_absent(quick):
    gone = (pl.col("symbol") == "BTCUSDT") & (pl.col("time").dt.minute().is_between(25, 27))
    played = await polled(faults=[Fault("gap", at=4, target="BTCUSDT", args={"length": 3})])
    assert plain(played.moments) == wanted(BARS.filter(~gone))
    gaps = [(b["symbol"], b["time"]) for k, b in played.notes if k == "gap"]
    assert gaps == [("BTCUSDT", START + n * MINUTE) for n in (5, 6, 7)]


async def test_beyond_the_newest_720_is_a_gap_with_a_name():
    """After a long outage, and for history: what Kraken does not tell any more is declared."""
    bars = market(minutes=800, symbols=("BTCUSDT",))
    start, notes, got = start_of(bars, 790), [], []
    async with opened(bars, start, lambda *note: notes.append(note)) as (source, clock):
        found = await source.history(start - 750 * MINUTE, start)
        async for moment in source.moments(start - 730 * MINUTE):
            got.append(moment)
            await clock.ack(moment.time)
            if moment.time > start + 2 * MINUTE:
                break
    # by then the next bar has closed: of 720 rows one is open and one is not asked for
    assert len(found) == 718 and found["time"].dt.epoch("us").min() == start - 717 * MINUTE
    assert plain(got) == wanted(bars, start - 718 * MINUTE)[: len(got)]
    named, *single = [body for kind, body in notes if kind == "gap"]
    assert (named["symbol"], named["bars"]) == ("BTCUSDT", 32) and "newest 720" in named["why"]
    assert [body["time"] for body in single] == [start - n * MINUTE for n in range(729, 717, -1)]
    assert sources(got)["backfill"] >= 715


def opened(bars, start, note, names=NAMES):
    """Play bars and hold a feed of them open."""
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def both():
        symbols = sorted(bars["symbol"].unique())
        async with (
            Exchange(bars, start=start) as server,
            Network(server.port, server.ca) as network,
        ):
            clock = await VenueClock.connect(network)
            clock.exchange = server
            source = feed.open(
                "kraken", network, clock, symbols, MINUTE, note=note, limits=QUICK,
                names={s: names[s] for s in symbols},
            )  # fmt: skip
            try:
                yield source, clock
            finally:
                await source.close()
                await clock.close()

    return both()


async def test_a_bar_that_is_changed_later_is_noted(quick):
    notes, count = [], 0
    async with opened(BARS, START, lambda *note: notes.append(note)) as (source, clock):
        async for moment in source.moments(START):
            count += 1
            if count == 4:
                clock.exchange.market.revised["ADAUSDT", START + 2 * MINUTE] = 77.0
            await clock.ack(moment.time)
            if count == 6:
                break
    ((kind, body),) = notes
    assert (kind, body["symbol"], body["time"]) == ("revision", "ADAUSDT", START + 2 * MINUTE)
    assert body["acted_on"] == "was" and body["now"]["close"] == 77.0
    assert body["was"]["symbol"] == "ADAUSDT"


async def test_a_pair_without_an_answer_is_stale(quick):
    notes = []
    async with opened(BARS, START, lambda *note: notes.append(note)) as (source, clock):
        slow = Fault("hang", at=4, target="ETHUSDT", args={"seconds": 1.0})
        clock.exchange.plan.__init__([slow], 0)
        source._feed._stale_us = -1_000_000  # the clock stands while a bar is not dealt with
        moments = source.moments(START)
        for _ in range(4):
            await clock.ack((await anext(moments)).time)
        late = asyncio.create_task(anext(moments))
        await asyncio.sleep(0.4)
        states = {row["name"]: row["state"] for row in source.health()}
        assert (await late).time == START + 5 * MINUTE
    assert states["ohlc ETH/USDT"] == "stale" and states["ohlc BTC/USDT"] == "live"
    assert ("stale", "ETHUSDT") in {(kind, body.get("symbol")) for kind, body in notes}


async def test_history_is_the_table_and_an_unknown_pair_is_named():
    async with opened(BARS, START, print) as (source, clock):
        found = await source.history(START - 7 * MINUTE, START)
        unknown = dict.fromkeys(SYMBOLS, "NO/USD")
        other = feed.open(
            "kraken", clock._network, clock, ["ADAUSDT"], MINUTE, note=print, limits=QUICK,
            names=unknown,
        )  # fmt: skip
        with pytest.raises(UserError, match=r"does not know 'NO/USD'.*as in BTC/USD"):
            await other.history(START - MINUTE, START)
    time_us = pl.col("time").dt.epoch("us")
    known = BARS.filter(time_us > START - 7 * MINUTE, time_us <= START)
    same = ["symbol", "time", "open_time", "open", "high", "low", "close", "volume", "trades"]
    assert found.select(same).equals(known.select(same)) and found.columns == known.columns
    assert found["taker_buy_volume"].null_count() == len(found)


# -- what is read ---------------------------------------------------------------------------------

VENUE = Kraken(["BTC/USD"], MINUTE)


def test_the_question_asks_from_the_bar_on():
    asked = VENUE.page("DOGE/USD", 180_000_000, 3)
    assert asked.params == {"pair": "XDGUSD", "interval": 1, "since": 179}
    assert asked.pace > 1 and asked.lane == "DOGE/USD"


@pytest.mark.parametrize(
    "told",
    [None, [], {}, {"result": []}, {"result": {}}, {"result": {"last": 1}},
     {"result": {"A": "x", "last": 1}}, {"result": {"A": [[1]], "B": [[1]]}}],
    ids=str,
)  # fmt: skip
def test_what_is_no_answer_is_unfit(told):
    with pytest.raises(Unfit):
        VENUE.rows(told)


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("value", ["NaN", "-1", None, [], "x", True])
def test_a_bad_value_is_refused(place, value):
    row = [60, "1", "3", "1", "2", "2.5", "4", 7]
    assert VENUE.bar(row, "BTC/USD", "rest").volume == 4.0
    row[place] = value
    with pytest.raises(Unfit):
        VENUE.bar(row, "BTC/USD", "rest")


def test_words_of_kraken_are_understood():
    assert VENUE.refusal(200, {"error": ["EQuery:Unknown asset pair"]})
    assert not VENUE.refusal(200, {"error": ["EService:Unavailable"]})
    assert VENUE.throttled({"error": ["EAPI:Rate limit exceeded"]})
    assert VENUE.throttled({"error": ["EService:Throttled: 1700000000"]})
    assert not VENUE.throttled({"error": []}) and not VENUE.throttled([1])


def test_what_kraken_has_not_is_said_at_once():
    with pytest.raises(UserError, match="kraken: bars of 0:03:00 are not offered"):
        Kraken(["BTC/USD"], 3 * MINUTE)
    with pytest.raises(UserError, match=r"'BTCUSDT' is no pair. Write it as BTC/USD"):
        Kraken(["BTCUSDT"], MINUTE)
    for more, why in (({"prints": True}, "Kraken's bars"), ({"book_delay": 0}, "feed of books")):
        with pytest.raises(UserError, match=why):
            feed.open("kraken", Network(), WallClock(), ["A/B"], MINUTE, note=print, **more)


# -- a whole run -----------------------------------------------------------------------------------


@pytest.mark.long
def test_a_disturbed_run_decides_what_an_undisturbed_one_would(tmp_path):
    """Its bars are those of the table, and the record proves its decisions from them."""
    options = {**SMALL, "simulated.symbols": 1, "live.feed": "simulated", "live.venue": "kraken"}
    unavailable = {"status": 200, "body": {"error": ["EService:Unavailable"]}}
    plan = [
        {"kind": "status", "at": 3, "target": "*/OHLC", "args": unavailable},
        {"kind": "bad_row", "at": 6, "target": "SIM01*", "args": {"column": 4, "value": "NaN"}},
        {"kind": "rest_lag", "at": 8, "target": "*/OHLC"},
    ]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = session.run("demo", options, span="12m", speed=0, faults=str(tmp_path / "plan.json"))
    folder = folders.find(done["run"])
    sent = [json.loads(line) for line in (folder / "exchange.jsonl").read_text().splitlines()]
    assert {f for e in sent for f in e.get("faults", ())} == {"status", "bad_row", "rest_lag"}
    assert not [e for e in sent if e["kind"] == "limited"]
    found = proof.check(folder)
    assert (found.bars, found.unexplained) == (12, 0) and found.differences.is_empty()
    start, *decided = [e.body for e in journal.read(folder, kinds=("start", "moment"))]
    assert start["basis"] == {"SIM01USDT": {"bars": 700, "level": 0.0, "spread": 0.0}}
    market = pl.read_parquet(folder / "market.parquet").filter(
        pl.col("time").dt.epoch("us") > start["time"]
    )
    rows = [row for body in decided for row in body["rows"]]
    for name in ("symbol", "open", "high", "low", "close", "volume", "trades"):
        assert [row[name] for row in rows] == market[name].to_list()[: len(rows)]
