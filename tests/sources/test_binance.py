"""The Binance source on real sockets, against a loopback archive and REST with faults."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

from fake_binance import FakeBinance  # noqa: E402

from research import schema  # noqa: E402
from research.errors import UserError  # noqa: E402
from research.sources import binance  # noqa: E402
from research.sources.binance import klines, net, rest, venue  # noqa: E402

MINUTE, QUARTER = timedelta(minutes=1), timedelta(minutes=15)
NOW = datetime(2024, 5, 8, 12, 7, tzinfo=UTC)
START = datetime(2024, 3, 15, tzinfo=UTC)
QUICK = binance.Pace(backoff=0.02, longest=0.05, tries=4)
RAW = {name: dtype for name, dtype in schema.BARS.items() if name != "time"}
ARCHIVE = ROOT.parent / "shared/data/binance_vision/futures/um/monthly/klines/AVAXUSDT/1m"
PARQUET = ROOT.parent / "shared/data/klines_1m/um_futures_full_2026-02/AVAXUSDT.parquet"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def market(
    symbols: tuple[str, ...] = ("BTCUSDT", "ETHUSDT"),
    start: datetime = START,
    end: datetime = NOW + timedelta(days=1),
    interval: timedelta = QUARTER,
) -> pl.DataFrame:
    """Walk prices at random on the grid, with four decimals as on the wire."""
    times = pl.datetime_range(start, end, interval, closed="left", time_unit="us", eager=True)
    tables = []
    for seed, symbol in enumerate(symbols):
        random = np.random.default_rng(seed)
        close = (100 * np.exp(np.cumsum(random.normal(0, 1e-3, len(times))))).round(4)
        open_ = np.concatenate([[100.0], close[:-1]])
        volume = random.integers(1, 10**6, len(times)) / 1000
        tables.append(
            pl.DataFrame(
                {
                    "symbol": symbol,
                    "open_time": times,
                    "open": open_,
                    "high": np.maximum(open_, close) + 0.01,
                    "low": np.minimum(open_, close) - 0.01,
                    "close": close,
                    "volume": volume,
                    "quote_volume": (volume * close).round(4),
                    "trades": random.integers(1, 500, len(times)),
                    "taker_buy_volume": (volume / 2).round(4),
                    "taker_buy_quote_volume": (volume * close / 2).round(4),
                }
            ).cast(RAW)
        )
    return pl.concat(tables)


def without(bars: pl.DataFrame, symbol: str, start: str, end: str) -> pl.DataFrame:
    gone = pl.col("open_time").is_between(at(start), at(end), closed="left")
    return bars.filter(~(gone & (pl.col("symbol") == symbol)))


def serve(bars: pl.DataFrame, **faces: object) -> FakeBinance:
    return FakeBinance(bars, **{"now": NOW, "interval": QUARTER, **faces})


class Shelf:
    """The least store there can be: one table per symbol and month, a new row wins."""

    def __init__(self) -> None:
        self.months: dict[tuple[str, str], pl.DataFrame] = {}
        self.saves = 0

    def have(self, symbol: str, month: str) -> set[int]:
        table = self.months.get((symbol, month), pl.DataFrame(schema=RAW))
        return set(table["open_time"].dt.epoch("ms"))

    def save(self, symbol: str, month: str, raw: pl.DataFrame) -> None:
        assert dict(raw.schema) == RAW
        assert set(raw["open_time"].dt.strftime("%Y-%m")) == {month}
        assert set(raw["symbol"]) == {symbol}
        old = self.months.get((symbol, month), pl.DataFrame(schema=RAW))
        merged = pl.concat([old, raw]).unique(["symbol", "open_time"], keep="last")
        self.months[symbol, month] = merged.sort("open_time")
        self.saves += 1

    @property
    def bars(self) -> pl.DataFrame:
        tables = [pl.DataFrame(schema=RAW), *self.months.values()]
        return pl.concat(tables).sort("symbol", "open_time")


def fetch(fake: FakeBinance, shelf: Shelf, cache: Path, **wish: object) -> binance.Account:
    asked = {
        "symbols": list(fake.tables),
        "start": START,
        "end": None,
        "interval": fake.interval,
        "archive": fake.url,
        "rest": fake.url,
        "cache": cache,
        "have": shelf.have,
        "save": shelf.save,
        "now": fake.now,
        "pace": QUICK,
        **wish,
    }
    account = binance.download(asked.pop("symbols"), **asked)
    for month in account.months:
        parts = month.stored + month.archive + month.rest + month.absent
        assert month.expected == parts, month
    return account


def closed(bars: pl.DataFrame, now: datetime = NOW, interval: timedelta = QUARTER) -> pl.DataFrame:
    return bars.filter(pl.col("open_time") + interval <= now).sort("symbol", "open_time")


def bytes_under(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


# nothing is lost, nothing is done twice


def test_every_closed_bar_arrives_and_the_account_says_from_where(tmp_path):
    bars, shelf, steps = market(), Shelf(), []
    with serve(bars) as fake:
        account = fetch(fake, shelf, tmp_path, progress=lambda *step: steps.append(step))

    assert_frame_equal(shelf.bars, closed(bars))
    table = account.to_table().filter(pl.col("symbol") == "BTCUSDT")
    assert table["month"].to_list() == ["2024-03", "2024-04", "2024-05"]
    assert table["zips_fetched"].to_list() == [1, 1, 7]
    assert table["archive"].to_list() == [17 * 96, 30 * 96, 7 * 96]
    assert table["rest"].to_list() == [0, 0, 48]  # 00:00 to 12:00, the bar of 12:00 is open
    assert account.new_bars == shelf.bars.height
    assert account.holes == account.differences == account.notes == ()
    assert {r.status for r in fake.requests} == {200}  # nothing unpublished is asked for
    assert table["compared"].sum() == 10 and account.retries == 0
    assert "18 zips fetched" in account.summary()
    assert [s[0] for s in steps] == [1, 2, 3, 4, 5, 6] and {s[1] for s in steps} == {6}


def test_a_second_run_asks_for_nothing_and_changes_no_byte(tmp_path):
    bars = without(market(), "ETHUSDT", "2024-04-10 03:00", "2024-04-10 05:00")
    shelf = Shelf()
    with serve(bars) as fake:
        first = fetch(fake, shelf, tmp_path)
        fake.forget()
        before, saves = bytes_under(tmp_path), shelf.saves
        second = fetch(fake, shelf, tmp_path)

    assert fake.requests == []
    assert (second.archive_requests, second.rest_requests, second.new_bars) == (0, 0, 0)
    assert shelf.saves == saves
    assert bytes_under(tmp_path) == before
    assert [str(h) for h in first.holes] == [str(h) for h in second.holes]


def test_a_later_run_asks_for_the_new_bars_alone(tmp_path):
    bars, shelf = market(("BTCUSDT",)), Shelf()
    with serve(bars) as fake:
        fetch(fake, shelf, tmp_path)
        fake.forget()
        fake.now = NOW + timedelta(hours=2)
        account = fetch(fake, shelf, tmp_path)
    assert account.new_bars == 8
    assert len(fake.requests) == 2  # is it still listed, and the bars
    assert fake.asked(".zip") == []
    assert_frame_equal(shelf.bars, closed(bars, fake.now))


def test_only_the_wish_is_stored_and_few_days_come_as_days(tmp_path):
    bars, shelf = market(("BTCUSDT",)), Shelf()
    with serve(bars) as fake:
        wish = {"start": at("2024-04-02 06:00"), "end": at("2024-04-04 06:00")}
        account = fetch(fake, shelf, tmp_path, **wish)
    inside = pl.col("open_time").is_between(wish["start"], wish["end"], closed="left")
    assert_frame_equal(shelf.bars, bars.filter(inside))
    assert account.months[0].zips_fetched == 3
    assert fake.asked("/monthly/") == []


def test_an_open_month_comes_by_days(tmp_path):
    bars, shelf = market(("BTCUSDT",), start=at("2024-05-01"), end=at("2024-05-15")), Shelf()
    with serve(bars, now=at("2024-05-13 00:20")) as fake:
        account = fetch(fake, shelf, tmp_path, start=at("2024-05-01"))
    assert_frame_equal(shelf.bars, closed(bars, fake.now))
    assert (account.months[0].zips_fetched, fake.asked("/monthly/")) == (12, [])


@pytest.mark.parametrize("venue", ["um", "cm", "spot"])
@pytest.mark.parametrize(("header", "unit"), [(True, "ms"), (False, "ms"), (False, "us")])
def test_each_form_of_zip_and_market_gives_the_same_bars(tmp_path, venue, header, unit):
    bars, shelf = market(("BTCUSDT",), start=at("2024-05-01")), Shelf()
    faces = {"market": venue, "header": header, "unit": unit}
    limit = 1000 if venue == "spot" else 1500
    with serve(bars, limit=limit, **faces) as fake:
        account = fetch(fake, shelf, tmp_path, market=venue, start=at("2024-05-01"))
    assert_frame_equal(shelf.bars, closed(bars))
    assert (account.months[0].archive, account.notes) == (7 * 96, ())


def test_the_real_archive_zip_equals_the_real_table():
    if not (ARCHIVE.is_dir() and PARQUET.is_file()):
        pytest.skip("real exchange data is not beside the project")
    table = klines.from_zip((ARCHIVE / "AVAXUSDT-1m-2026-02.zip").read_bytes(), "AVAXUSDT")
    real = pl.read_parquet(PARQUET)
    assert table.height == real.height == 40_320
    assert (table["open_time"].dt.epoch("ms") == real["open_time"]).all()
    for column in klines.VALUES:
        assert (table[column] == real[column]).all(), column


# killed and run again

SCRIPT = """
import json, sys
from datetime import datetime, timedelta
from pathlib import Path
import polars as pl
from research.sources import binance

url, folder, now = sys.argv[1], Path(sys.argv[2]), datetime.fromisoformat(sys.argv[3])

def have(symbol, month):
    path = folder / "bars" / f"{symbol}-{month}.parquet"
    return set(pl.read_parquet(path)["open_time"].dt.epoch("ms")) if path.exists() else set()

def save(symbol, month, raw):
    path = folder / "bars" / f"{symbol}-{month}.parquet"
    path.parent.mkdir(exist_ok=True)
    if path.exists():
        raw = pl.concat([pl.read_parquet(path), raw]).unique("open_time", keep="last")
    raw.sort("open_time").write_parquet(path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)

account = binance.download(
    ["BTCUSDT", "ETHUSDT"], start=datetime.fromisoformat(sys.argv[4]), end=None,
    interval=timedelta(minutes=15), archive=url, rest=url, cache=folder / "cache",
    have=have, save=save, now=now, pace=binance.Pace(concurrency=2, backoff=0.02),
)
print(json.dumps({"requests": account.archive_requests + account.rest_requests}))
"""


def _start(fake: FakeBinance, folder: Path) -> subprocess.Popen:
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        fake.url,
        str(folder),
        NOW.isoformat(),
        START.isoformat(),
    ]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def _wait_for(fake: FakeBinance, requests: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 30
    while len(fake.requests) < requests and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _tables(folder: Path) -> pl.DataFrame:
    files = sorted((folder / "bars").glob("*.parquet"))
    return pl.concat([pl.read_parquet(f) for f in files]).sort("symbol", "open_time")


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_stopped(tmp_path):
    bars = market()
    with serve(bars, delay=0.01) as fake:
        for requests in (6, 26, 28):
            fake.forget()
            process = _start(fake, tmp_path)
            _wait_for(fake, requests, process)
            assert process.poll() is None, "it ended before it could be killed"
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            while fake.under_way:  # what the killed one had asked for is still being answered
                time.sleep(0.01)
        in_cache = {p.name for p in (tmp_path / "cache").rglob("*.zip")}
        sound = {
            p.name
            for p in (tmp_path / "cache").rglob("*.zip")
            if p.with_name(p.name + ".CHECKSUM").exists()
        }
        fake.forget()
        process = _start(fake, tmp_path)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert json.loads(output)["requests"] == len(fake.requests) > 0
        fetched = {r.path.rsplit("/", 1)[1] for r in fake.requests if r.path.endswith(".zip")}
    assert len(in_cache) > 3
    assert not fetched & sound
    assert_frame_equal(_tables(tmp_path), closed(bars))


# holes and differences


def test_a_day_that_a_zip_lacks_is_filled_by_rest(tmp_path):
    bars, shelf = market(), Shelf()
    with serve(bars, zip_holes=(("BTCUSDT", date(2024, 4, 7)),)) as fake:
        account = fetch(fake, shelf, tmp_path)
    assert_frame_equal(shelf.bars, closed(bars))
    (hole,) = account.holes
    assert (hole.symbol, hole.start, hole.end) == ("BTCUSDT", at("2024-04-07"), at("2024-04-08"))
    assert (hole.bars, hole.outcome) == (96, "filled by REST")
    april = next(m for m in account.months if (m.symbol, m.month) == ("BTCUSDT", "2024-04"))
    assert (april.archive, april.rest, april.compared, april.different) == (29 * 96, 96, 20, 0)


def test_a_hole_that_nobody_can_fill_is_told_and_not_asked_for_again(tmp_path):
    bars = without(market(("BTCUSDT",)), "BTCUSDT", "2024-04-07 02:00", "2024-04-07 07:30")
    shelf = Shelf()
    with serve(bars) as fake:
        account = fetch(fake, shelf, tmp_path)
        asked = len(fake.asked("/klines"))
        fake.now = NOW + timedelta(hours=1)
        fake.forget()
        fetch(fake, shelf, tmp_path)
    assert_frame_equal(shelf.bars, closed(bars, fake.now))
    (hole,) = account.holes
    assert (hole.bars, hole.outcome) == (22, "absent at the venue")
    assert sum(m.absent for m in account.months) == 22
    assert asked >= 2
    starts = {r.query.get("startTime") for r in fake.requests}
    assert len(fake.requests) == 2  # is it still listed, and today's four bars
    assert all(s is None or int(s) > 1_715_100_000_000 for s in starts)


def test_a_young_hole_is_asked_for_again_and_filled_when_the_venue_has_it(tmp_path):
    whole, shelf = market(("BTCUSDT",)), Shelf()
    bars = without(whole, "BTCUSDT", "2024-05-08 03:00", "2024-05-08 04:00")
    with serve(bars) as fake:
        account = fetch(fake, shelf, tmp_path)
        fake.tables["BTCUSDT"] = whole
        fetch(fake, shelf, tmp_path)
    assert [h.outcome for h in account.holes] == ["not there yet"]
    assert_frame_equal(shelf.bars, closed(whole))


def test_archive_and_rest_are_compared_and_the_archive_is_kept(tmp_path):
    bars, shelf = market(("BTCUSDT",)), Shelf()
    with serve(bars, zip_holes=(("BTCUSDT", date(2024, 4, 7)),)) as fake:
        fake.bend("BTCUSDT", at("2024-04-08 00:15"), "close", 1.25)
        fake.bend("BTCUSDT", at("2024-05-07 23:00"), "trades", 7)
        account = fetch(fake, shelf, tmp_path)
    assert_frame_equal(shelf.bars, closed(bars))
    assert [(d.open_time, d.column, d.rest) for d in account.differences] == [
        (at("2024-04-08 00:15"), "close", 1.25),
        (at("2024-05-07 23:00"), "trades", 7),
    ]
    assert "close: archive" in account.summary() and "(kept), REST 1.25" in account.summary()
    assert account.to_table()["different"].to_list() == [0, 1, 1]


def test_an_archive_that_publishes_nothing_leaves_all_to_rest(tmp_path):
    bars, shelf = market(("BTCUSDT",), start=at("2024-04-25")), Shelf()
    with serve(bars) as fake:
        account = fetch(fake, shelf, tmp_path, archive=f"{fake.url}/nothing")
    assert_frame_equal(shelf.bars, closed(bars))
    assert sum(m.rest for m in account.months) == shelf.bars.height


# closed bars alone, and no bars that cannot be


def test_the_open_candle_is_not_taken_even_when_our_clock_is_fast(tmp_path):
    bars, shelf = market(("BTCUSDT",), start=at("2024-05-06")), Shelf()
    with serve(bars) as fake:
        fetch(fake, shelf, tmp_path, start=at("2024-05-06"), now=NOW + timedelta(minutes=40))
        assert_frame_equal(shelf.bars, closed(bars))
        fake.now = NOW + timedelta(minutes=40)
        fetch(fake, shelf, tmp_path, start=at("2024-05-06"))
    assert_frame_equal(shelf.bars, closed(bars, fake.now))


def test_months_before_the_listing_cost_one_query(tmp_path):
    bars, shelf = market(("NEWUSDT",), start=at("2024-05-02 09:45")), Shelf()
    with serve(bars) as fake:
        account = fetch(fake, shelf, tmp_path, start=at("2019-01-01"))
    assert_frame_equal(shelf.bars, closed(bars))
    assert [
        r.query["startTime"]
        for r in fake.asked("/klines")
        if r.query.get("limit") == "1" and "startTime" in r.query
    ] == ["0"]
    days = {r.path.rsplit("-", 3)[-3:][0] for r in fake.asked("/daily/")}
    assert days == {"2024"} and fake.asked("/monthly/") == []
    assert len([r for r in fake.requests if r.status == 404]) == 0
    assert account.holes[0].outcome == "before listing"


def test_months_after_the_last_bar_are_not_asked_for(tmp_path):
    bars, shelf = market(("OLDUSDT",), end=at("2024-03-20 07:00")), Shelf()
    with serve(bars) as fake:
        account = fetch(fake, shelf, tmp_path)
        assert not fake.asked("2024-04") and not fake.asked("2024-05")
        fake.forget()
        fetch(fake, shelf, tmp_path)
        assert len(fake.requests) <= 1
    assert_frame_equal(shelf.bars, bars)
    assert [h.outcome for h in account.holes] == ["after the last bar"]


@pytest.mark.parametrize(("end", "over"), [("12:00", True), ("12:15", False)])
def test_a_market_without_a_bar_for_a_whole_day_has_ended(tmp_path, end, over):
    now = at("2024-05-08 12:00")
    bars, shelf = market(("OLDUSDT",), start=at("2024-05-01"), end=at(f"2024-05-07 {end}")), Shelf()
    with serve(bars, now=now) as fake:
        account = fetch(fake, shelf, tmp_path, start=at("2024-05-01"), now=now)
    assert ("after the last bar" in [h.outcome for h in account.holes]) == over


def test_spans_that_meet_are_one():
    assert venue._joined([[9, 12], [0, 5], [5, 9], [13, 14]]) == [[0, 12], [13, 14]]


def test_the_whole_budget_of_a_minute_may_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr(net.time, "time", lambda: 120.0)
    pace = SimpleNamespace(share=1.0, minute=60.0, patience=100.0)
    host = net.Host(
        SimpleNamespace(pace=pace, quiet_file=tmp_path / "quiet"), "http://a", "rest", 10
    )
    host._roll()
    host.used = 8
    assert host._must_wait(2) == 0.0 and host._must_wait(3) >= 60.0


# faults


@pytest.mark.parametrize("kind", ["500", "503", "truncated", "checksum", "reset", "garbage"])
@pytest.mark.parametrize("match", ["2024-04.zip", "2024-05-03.zip", "/fapi/v1/klines"])
def test_a_passing_fault_costs_a_retry_and_no_bar(tmp_path, kind, match):
    if kind in ("truncated", "checksum") and "klines" in match:
        kind = "reset"
    bars, shelf = market(("BTCUSDT",)), Shelf()
    with serve(bars) as fake:
        fake.fail(kind, match=match, times=2)
        account = fetch(fake, shelf, tmp_path)
    assert_frame_equal(shelf.bars, closed(bars))
    assert account.retries >= 1
    assert account.notes
    assert list(tmp_path.rglob("*.part")) == []


def test_a_checksum_that_stays_wrong_ends_the_run_and_nothing_of_it_is_used(tmp_path):
    bars, shelf = market(("BTCUSDT",)), Shelf()
    with serve(bars) as fake:
        fake.fail("checksum", match="2024-04.zip.CHECKSUM", times=99)
        with pytest.raises(UserError, match=r"2024-04\.zip does not agree with its checksum"):
            fetch(fake, shelf, tmp_path)
        assert not list(tmp_path.rglob("*2024-04.zip"))
        assert ("BTCUSDT", "2024-04") not in shelf.months
        fake.faults.clear()
        fetch(fake, shelf, tmp_path)
    assert_frame_equal(shelf.bars, closed(bars))


def test_a_cached_zip_with_a_flipped_byte_is_fetched_again(tmp_path):
    bars = market(("BTCUSDT",))
    with serve(bars) as fake:
        fetch(fake, Shelf(), tmp_path)
        path = next(tmp_path.rglob("*2024-04.zip"))
        content = bytearray(path.read_bytes())
        content[100] ^= 1
        path.write_bytes(content)
        fake.forget()
        shelf = Shelf()
        account = fetch(fake, shelf, tmp_path)
    assert_frame_equal(shelf.bars, closed(bars))
    assert [r.path.rsplit("/", 1)[1] for r in fake.asked(".zip")] == [
        "BTCUSDT-15m-2024-04.zip.CHECKSUM",
        "BTCUSDT-15m-2024-04.zip",
    ]
    assert account.to_table()["zips_cached"].sum() == 8


@pytest.mark.parametrize(("kind", "match"), [("429", "/fapi/"), ("418", ".zip")])
def test_no_task_sends_inside_a_silence(tmp_path, kind, match):
    bars, shelf = market(("AUSDT", "BUSDT", "CUSDT", "DUSDT")), Shelf()
    with serve(bars, delay=0.01) as fake:
        fake.fail(kind, match=match, times=2, retry_after=1)
        began = time.monotonic()
        account = fetch(fake, shelf, tmp_path)
        took = time.monotonic() - began
    assert fake.violations == []
    assert len(fake.silences) == 2 and took > 1
    assert account.waits >= 1 and account.waited > 0.7
    assert any(f"answered {kind}" in note for note in account.notes)
    assert_frame_equal(shelf.bars, closed(bars))


def test_a_long_ban_ends_the_run_and_the_next_run_keeps_silent(tmp_path):
    bars, shelf = market(("BTCUSDT",)), Shelf()
    with serve(bars) as fake:
        fake.fail("418", match="/fapi/", times=1, retry_after=7200)
        for _ in range(2):
            with pytest.raises(UserError, match="wants no requests from this address until"):
                fetch(fake, shelf, tmp_path)
    assert len(fake.asked("/fapi/")) == 1


@pytest.mark.parametrize(
    ("kind", "line", "requests"),
    [("500", "failed 4 times, last: status 500", 4), ("403", "refuses this address", 1)],
)
def test_a_server_that_does_not_recover_is_given_up_in_one_line(tmp_path, kind, line, requests):
    with serve(market(("BTCUSDT",))) as fake:
        fake.fail(kind, match="/fapi/", times=99)
        with pytest.raises(UserError, match=line) as caught:
            fetch(fake, Shelf(), tmp_path)
    assert len(fake.requests) == requests
    assert "\n" not in str(caught.value)


def test_an_endless_429_without_a_number_is_given_up(tmp_path):
    pace = binance.Pace(backoff=0.001, minute=0.005)
    with serve(market(("BTCUSDT",))) as fake:
        fake.fail("429", match="/fapi/", times=10**6)
        with pytest.raises(UserError, match="answered 429 21 times"):
            fetch(fake, Shelf(), tmp_path, pace=pace)


# bounds


def test_requests_under_way_stay_bounded(tmp_path):
    bars = market(("AUSDT", "BUSDT", "CUSDT"), start=at("2024-05-01"))
    with serve(bars, delay=0.01) as fake:
        pace = binance.Pace(concurrency=3, backoff=0.02)
        fetch(fake, Shelf(), tmp_path, start=at("2024-05-01"), pace=pace)
    assert fake.most_under_way == 3


def test_the_weight_budget_is_not_overspent(tmp_path):
    bars = market(("BTCUSDT",), interval=MINUTE, start=at("2024-04-25"))
    shelf = Shelf()
    with serve(bars, minute=1.0, interval=MINUTE) as fake:
        pace = binance.Pace(minute=1.0, share=80 / 2400, concurrency=2)
        wish = {"start": at("2024-04-25"), "archive": f"{fake.url}/nothing", "pace": pace}
        account = fetch(fake, shelf, tmp_path, **wish)
    assert sum(fake.used.values()) > 120
    late = pace.concurrency * 10  # sent in one minute, and met in the next by a slow machine
    assert max(fake.used.values()) <= 80 + late
    assert account.waits > 0
    assert_frame_equal(shelf.bars, closed(bars, NOW, MINUTE))


def test_the_venues_own_count_of_weight_rules(tmp_path):
    """Another program used the address: its weight shows only in the header."""
    bars = market(("BTCUSDT",), interval=MINUTE, start=at("2024-05-02"))
    shelf = Shelf()
    with serve(bars, minute=1.0, interval=MINUTE) as fake:
        for minute in range(int(time.time()), int(time.time()) + 60):
            fake.used[minute] = 60
        pace = binance.Pace(minute=1.0, share=100 / 2400, concurrency=1)
        wish = {"start": at("2024-05-02"), "archive": f"{fake.url}/nothing", "pace": pace}
        fetch(fake, shelf, tmp_path, **wish)
    assert max(fake.used.values()) <= 100
    assert_frame_equal(shelf.bars, closed(bars, NOW, MINUTE))


@given(st.sets(st.integers(0, 5000), min_size=1), st.sampled_from([100, 1000, 1500]))
def test_pages_cover_every_missing_bar_within_the_limit(places, limit):
    missing = np.array(sorted(places)) * 60_000
    pages = rest.pages(missing, step=60_000, limit=limit)
    asked = {t for p in pages for t in range(p.start, p.end + 1, 60_000)}
    assert set(missing.tolist()) <= asked
    assert all(p.bars == (p.end - p.start) // 60_000 + 1 <= limit for p in pages)


# the door


async def test_a_running_loop_may_call_download_and_history(tmp_path):
    bars, shelf, other = market(("BTCUSDT",), start=at("2024-05-06")), Shelf(), Shelf()
    with serve(bars) as fake:
        fetch(fake, shelf, tmp_path / "a", start=at("2024-05-06"))
        await binance.history(
            "BTCUSDT", start=at("2024-05-06"), end=None, interval=QUARTER, archive=fake.url,
            rest=fake.url, cache=tmp_path / "b", have=other.have, save=other.save,
            now=lambda: NOW, pace=QUICK,
        )  # fmt: skip
    assert_frame_equal(shelf.bars, closed(bars))
    assert_frame_equal(other.bars, closed(bars))
    assert asyncio.get_running_loop().is_running()


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        ({"symbols": ["NOSUCHUSDT"]}, "knows no symbol 'NOSUCHUSDT'"),
        ({"symbols": ["btcusdt"]}, "'btcusdt' is no symbol of the venue"),
        ({"symbols": ["../BTC"]}, "is no symbol of the venue"),
        ({"symbols": []}, "no symbol is asked for"),
        ({"market": "usdm"}, "market must be um, cm or spot"),
        ({"interval": timedelta(minutes=7)}, "0:07:00 are not offered"),
        ({"end": START}, "must lie after start"),
        ({"start": datetime(2024, 5, 1)}, "has no time zone"),
        ({"archive": "data.binance.vision"}, "must be an http"),
        ({"rest": "http://127.0.0.1:9"}, "failed 4 times"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, wish, line):
    with (
        serve(market(("BTCUSDT",))) as fake,
        pytest.raises(UserError, match=line) as caught,
    ):
        fetch(fake, Shelf(), tmp_path, **wish)
    assert "\n" not in str(caught.value)


def test_retry_after_may_be_seconds_or_a_date():
    def wait(text: str) -> float:
        head = {"retry-after": text, "date": "Mon, 20 May 2024 12:00:00 GMT"}
        return net._retry_after(net.Answer(429, b"", head), default=60.0)

    assert [wait("3"), wait("0.5"), wait(""), wait("soon")] == [3.0, 0.5, 60.0, 60.0]
    assert wait("Mon, 20 May 2024 12:01:30 GMT") == 90.0


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 cut", b"<html>not a zip</html>"], ids=["empty", "cut", "page"]
)
def test_what_is_no_zip_is_broken(content):
    with pytest.raises(net.Broken):
        klines.from_zip(content, "BTCUSDT")


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[[1,2]]", b'[["a"]]', b'[["x"' + b',"1"' * 11 + b"]]"]
)
def test_what_is_no_list_of_klines_is_broken(body):
    with pytest.raises(net.Broken):
        klines.from_rest(net.Answer(200, body, {}), "BTCUSDT")
