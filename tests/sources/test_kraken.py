"""Kraken's bars polled over real sockets, and its own files read as they are."""

import zipfile
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from aiohttp import web

from research import datasets, schema, study
from research.errors import UserError
from research.sources import kraken
from research.sources.kraken import job
from research.sources.kraken.job import Pace

HOUR = timedelta(hours=1)
START = datetime(2026, 2, 1, tzinfo=UTC)
QUICK = Pace(apart=0.0, backoff=0.01, longest=0.02)


class Server:
    """Tells candles of every hour up to the one that is open, the newest 720 of them."""

    def __init__(self, hours=800):
        self.hours, self.asked, self.faults = hours, [], []

    async def __aenter__(self):
        app = web.Application()
        app.router.add_get("/0/public/OHLC", self.answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.rest = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()

    async def answer(self, request):
        self.asked.append(dict(request.query))
        if self.faults:
            status, body = self.faults.pop(0)
            return web.json_response(body, status=status)
        if request.query["pair"] == "NOUSD":
            return web.json_response({"error": ["EQuery:Unknown asset pair"]})
        rows = [row(n) for n in range(self.hours)][-720:]
        return web.json_response({"error": [], "result": {"XXBTZUSD": rows, "last": rows[-2][0]}})


def row(n):
    opened = int((START + n * HOUR).timestamp())
    price = 100 + n
    return [opened, str(price), str(price + 2), str(price - 1), str(price + 1),
            str(price + 0.5), "4", 7]  # fmt: skip


class Shelf:
    """Keeps what is handed to be stored."""

    def __init__(self):
        self.parts = {}

    def have(self, symbol, month):
        part = self.parts.get((symbol, month))
        return [] if part is None else part["open_time"].dt.epoch("ms").to_list()

    def save(self, symbol, month, raw):
        before = self.parts.get((symbol, month))
        self.parts[symbol, month] = raw if before is None else pl.concat([before, raw])

    def table(self):
        return pl.concat(self.parts.values()).sort("open_time")


async def poll(server, shelf, symbols=("BTC-USD",), start=START, end=None, **more):
    wish = {"interval": HOUR, "rest": server.rest, "pace": QUICK, **more}
    return await kraken.history(
        symbols, start=start, end=end, have=shelf.have, save=shelf.save, **wish
    )


async def test_the_open_bar_is_left_out_and_what_is_beyond_is_named():
    shelf = Shelf()
    async with Server() as server:
        done = await poll(server, shelf)
        again = await poll(server, shelf)
        assert server.asked[0] == {"pair": "XBTUSD", "interval": "60", "since": "0"}
    (told,) = done.rows
    assert (told.told, told.new, told.beyond) == (719, 719, 80)
    assert told.first == START + 80 * HOUR and told.last == START + 798 * HOUR
    assert again.new_bars == 0 and "80 bars" in str(again)
    table = shelf.table()
    assert table.columns == [c for c in schema.BARS if c != "time"]
    first = table.row(0, named=True)
    assert (first["open"], first["high"], first["low"], first["close"]) == (180, 182, 179, 181)
    assert (first["quote_volume"], first["trades"]) == (4 * 180.5, 7)
    assert first["taker_buy_volume"] is None
    assert done.to_table()["beyond"].to_list() == [80]


async def test_between_two_requests_is_a_pause_that_kraken_bears(monkeypatch):
    paused, sleep = [], job.asyncio.sleep

    async def noted(seconds, *more):
        paused.append(seconds)
        await sleep(0)

    async with Server() as server:
        monkeypatch.setattr(job.asyncio, "sleep", noted)
        await poll(server, Shelf(), ("BTC-USD", "ETH-USD", "SOL-USD"), pace=Pace())
        monkeypatch.undo()
    assert [seconds for seconds in paused if seconds] == [1.05, 1.05]


async def test_polls_that_overlap_leave_no_gap():
    shelf = Shelf()
    async with Server(700) as server:
        await poll(server, shelf)
        server.hours = 1300
        later = await poll(server, shelf)
    assert later.rows[0].beyond == 0 and later.new_bars == 600
    opened = shelf.table()["open_time"]
    assert len(opened) == 1299 and (opened.diff().drop_nulls() == HOUR).all()


async def test_only_what_is_asked_for_is_stored():
    shelf = Shelf()
    async with Server() as server:
        done = await poll(server, shelf, start=START + 100 * HOUR, end=START + 130 * HOUR)
        lost = await poll(server, shelf, start=START, end=START + 10 * HOUR)
    assert done.new_bars == 30 and done.rows[0].beyond == 0
    opened = shelf.table()["open_time"]
    assert (opened.min(), opened.max()) == (START + 100 * HOUR, START + 129 * HOUR)
    assert lost.new_bars == 0 and lost.rows[0].beyond == 10  # neither is there a bar of the end


async def test_faults_are_tried_again_and_lasting_ones_named():
    shelf = Shelf()
    busy = {"error": ["EService:Busy"]}
    async with Server() as server:
        server.faults = [(200, busy), (502, {}), (200, []), (200, {"error": [], "result": {}})]
        done = await poll(server, shelf)
        assert done.new_bars == 719 and done.requests == 5
        with pytest.raises(UserError, match="Unknown asset pair for NO-USD"):
            await poll(server, shelf, ["NO-USD"])
        server.faults = [(200, busy)] * 9
        with pytest.raises(UserError, match=r"failed 6 times, last: ValueError EService:Busy"):
            await poll(server, shelf)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"symbols": []}, "no symbol"),
        ({"symbols": ["BTC/USD"]}, "Write it as BTC-USD"),
        ({"interval": timedelta(minutes=7)}, "not offered"),
        ({"start": datetime(2026, 2, 1)}, "no time zone"),
        ({"end": START}, "must lie after start"),
    ],
)
async def test_wishes_that_make_no_sense(more, why):
    async with Server() as server:
        with pytest.raises(UserError, match=why):
            await poll(server, Shelf(), **more)


async def test_a_study_downloads_and_reads_them(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    options = {
        "data.source": "kraken", "data.symbols": ["BTC-USD"], "data.interval": "1 h",
        "data.start": "2026-02-10", "data.market": "spot",
    }  # fmt: skip
    async with Server() as server:
        chosen = study.read("demo", {**options, "data.rest": server.rest})
        import asyncio

        done = await asyncio.to_thread(datasets.download, chosen)
        assert done.new_bars == 799 - 9 * 24
    bars = datasets.load(chosen)
    assert len(bars) == done.new_bars and bars["symbol"].unique().to_list() == ["BTC-USD"]
    assert bars["taker_buy_volume"].null_count() == len(bars)
    with pytest.raises(UserError, match="--symbols BTC-USD -o"):
        datasets.download(study.read("demo", {"data.source": "kraken"}))


def test_the_files_that_kraken_publishes_are_read_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path / "data"))
    lines = [
        f"{int((START + n * HOUR).timestamp())},{100 + n},{102 + n},{99 + n},{101 + n},4.5,7"
        for n in range(48)
    ]
    with zipfile.ZipFile(tmp_path / "XBTUSD_60.zip", "w") as packed:
        packed.writestr("XBTUSD_60.csv", "\n".join(lines))
    options = {"data.source": "files", "data.path": str(tmp_path / "XBTUSD_60.zip")}
    bars = datasets.load(study.read("demo", {**options, "data.interval": "1 h"}))
    assert len(bars) == 48 and bars["symbol"][0] == "XBTUSD" and bars["trades"][0] == 7
