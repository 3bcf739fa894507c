"""Recordings of a small venue on real sockets, in fair weather and in foul."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from research import recorder
from research.errors import UserError
from research.live.feed.limits import Limits
from research.recorder import disk, intake, parquet
from research.recorder import folder as folders
from research.sources import recordings
from research.sources.recordings import segments

from .account import ALL, check, play, recorded
from .venue import QUICK, Venue

SILENT = "silent for 0|half-open: no frame"


def gaps(folder, reason):
    return segments.gaps(folder).filter(segments.gaps(folder)["reason"].str.contains(reason))


def run(coroutine):
    return asyncio.run(coroutine)


def test_every_frame_is_kept_as_it_was_received(tmp_path):
    venue, said = run(play(tmp_path, seconds=0.8))
    assert check(venue, tmp_path) == dict.fromkeys(venue.sent, 0)
    assert segments.gaps(tmp_path).is_empty() and said.gaps == 0
    assert said.messages == {name: len(rows) for name, rows in recorded(tmp_path).items()}
    routes = {"/public/stream", "/market/stream"}
    assert set(venue.opened) == routes
    assert said.books == 1
    (part,) = segments.parts(tmp_path)
    blocks = list(segments.read_blocks(part))
    shot = [f for b in blocks for r, f in zip(b.records, b.frames()) if r["kind"] == 1]
    assert [json.loads(body)["bids"] for body in shot] == [[["98.5", "1"]]]
    for block in blocks:
        for number in (1, 2):
            mine = block.records[(block.records["connection"] == number)]
            assert (mine["sequence"][1:] == mine["sequence"][:-1] + 1).all()
            assert (mine["monotonic_ns"][1:] >= mine["monotonic_ns"][:-1]).all()


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (lambda venue: venue.reset(), "connection lost"),
        (lambda venue: venue.freeze(), SILENT),
        (lambda venue: venue.close(1001), "connection lost: closed with code 1001"),
        (lambda venue: venue.close(1008), "connection lost: closed with code 1008"),
        (lambda venue: venue.say("x" * (5 << 20)), "connection lost"),
    ],
    ids=["rst", "half-open", "1001", "1008", "oversize"],
)
def test_what_a_connection_loses_is_declared(tmp_path, trouble, reason):
    venue, said = run(play(tmp_path, trouble, seconds=3.0))
    missing = check(venue, tmp_path)
    assert said.reconnects >= 2 and set(gaps(tmp_path, reason)["stream"]) == set(venue.sent)
    assert gaps(tmp_path, reason)["end_ns"].null_count() == 0
    assert all(missing.values()) or reason != SILENT


def test_half_open_is_found_in_time(tmp_path):
    run(play(tmp_path, lambda venue: venue.freeze(), seconds=2.0))
    lost = gaps(tmp_path, SILENT)
    spans = (lost["end_ns"] - lost["start_ns"]) / 1e9
    assert spans.max() < QUICK.silence + 0.6
    assert Limits().silence <= 8 and Limits().tick + Limits().silence < 10


def test_a_silent_stream_is_named_with_its_route(tmp_path):
    def mute(venue):
        venue.muted.add("btcusdt@aggTrade")
        asyncio.get_running_loop().call_later(1.4, venue.muted.clear)

    venue, _ = run(play(tmp_path, mute, seconds=2.6))
    check(venue, tmp_path)
    silent = gaps(tmp_path, "silent")
    assert silent["stream"].to_list() == ["btcusdt@aggTrade"]
    assert silent["reason"][0].endswith("wss://fstream.binance.com/market/stream")


def test_an_acknowledged_stream_that_never_speaks_is_named(tmp_path):
    async def mute():
        async with Venue() as venue, venue.network() as network:
            venue.muted.add("btcusdt@aggTrade")
            await recorder.capture(
                "binance_usdm",
                ["BTCUSDT"],
                ("aggTrade",),
                tmp_path,
                length="1.2 s",
                network=network,
                limits=QUICK,
                convert=False,
            )

    run(mute())
    assert gaps(tmp_path, "silent")["end_ns"].to_list() == [None]


def test_repeats_holes_and_rubbish(tmp_path):
    async def trouble(venue):
        venue.twice = 12
        await asyncio.sleep(0.1)
        venue.skip = 8  # two messages of each stream are never sent
        await asyncio.sleep(0.1)
        for rubbish in ("{", "", "[1]", b"\xff\xfe", '{"stream":"nobody@trade","data":{}}'):
            await venue.say(rubbish)

    venue, said = run(play(tmp_path, trouble))
    missing = check(venue, tmp_path)
    assert missing["btcusdt@trade"] == missing["btcusdt@aggTrade"] == 2
    assert said.unreadable == 2 * 5 and said.reconnects == 0
    assert set(gaps(tmp_path, "ids do not run on")["stream"]) == {
        "btcusdt@trade",
        "btcusdt@aggTrade",
        "btcusdt@depth@100ms",
    }
    assert said.books == 2  # one at the start, one after the break
    assert sum(row[3] for rows in recorded(tmp_path).values() for row in rows) == 12


def test_too_much_rubbish_ends_the_connection(tmp_path):
    async def trouble(venue):
        for _ in range(130):
            await venue.say("{")

    venue, said = run(play(tmp_path, trouble, seconds=1.5))
    check(venue, tmp_path)
    assert said.reconnects and not gaps(tmp_path, "connection lost: more than 100").is_empty()


def test_the_cut_after_a_day_loses_nothing(tmp_path):
    limits = Limits(
        ping=0.1, silence=0.6, tick=0.05, first=0.02, longest=0.1, connect=2.0, renew_us=500_000
    )
    venue, said = run(play(tmp_path, seconds=3.0, limits=limits))
    assert said.reconnects >= 2
    assert check(venue, tmp_path) == dict.fromkeys(venue.sent, 0)
    assert segments.gaps(tmp_path).is_empty()
    rows = recorded(tmp_path)["btcusdt@trade"]
    assert sum(row[3] for row in rows) > 100  # both connections were recorded while they overlapped


def test_a_stale_book_is_asked_for_again(tmp_path):
    async def stale():
        async with Venue() as venue, venue.network() as network:
            venue.stale = 3  # the first answer only shows that the symbol is known
            said = await recorder.capture(
                "binance_usdm",
                ["BTCUSDT"],
                ("depth",),
                tmp_path,
                length="1 s",
                network=network,
                limits=QUICK,
                convert=False,
            )
            return venue, said

    venue, said = run(stale())
    assert said.books == 1 and len(venue.asked) == 4


def test_bybit_is_asked_anew_after_a_hole(tmp_path):
    def skip(venue):
        venue.skip = 2

    _, said = run(play(tmp_path, skip, name="bybit", streams=("depth50", "trade")))
    hole = gaps(tmp_path, "ids do not run on")
    assert hole["stream"].to_list() == ["orderbook.50.BTCUSDT"] and said.books == 1
    frames = [row[2] for row in recorded(tmp_path)["orderbook.50.BTCUSDT"]]
    assert sum(b'"snapshot"' in frame for frame in frames) == 2


def test_a_slow_disk_sheds_and_says_how_much(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "WAITING", 20_000)
    monkeypatch.setattr(intake, "BLOCK", 4_000)
    real = segments.Writer.append

    def slow(writer, count, body):
        time.sleep(0.1)
        return real(writer, count, body)

    monkeypatch.setattr(segments.Writer, "append", slow)
    venue, said = run(play(tmp_path))
    missing = check(venue, tmp_path)
    shed = gaps(tmp_path, "the disk was too slow")
    assert said.lost > 0 and shed["lost"].sum() == said.lost
    assert sum(missing.values()) <= said.lost  # those shed at the end are beyond the last recorded


def test_a_full_disk_stops_and_declares(tmp_path, monkeypatch):
    real, room = os.write, [30_000]

    def full(file, data):
        if len(data) > 300:  # the ledger's lines are short, and have their reserve
            room[0] -= len(data)
            if room[0] < 0:
                raise OSError(28, "No space left on device")
        return real(file, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(recorder.RecordingStopped, match="No space left on device") as stopped:
        run(play(tmp_path, seconds=20))
    assert "\n" not in str(stopped.value)
    monkeypatch.undo()
    told, ledger = stopped.value.summary, gaps(tmp_path, "the disk refused")
    kept = {name: len(rows) for name, rows in recorded(tmp_path).items()}
    assert told.messages == kept
    lost = ledger.drop_nulls("stream")
    assert set(lost["stream"]) == set(kept) and (lost["lost"] > 0).all()
    assert ledger.filter(ledger["stream"].is_null())["end_ns"].to_list() == [None]


@pytest.mark.parametrize(
    ("name", "symbols", "streams", "said"),
    [
        ("binance", ["BTCUSDT"], ["depth"], "Did you mean 'binance_"),
        ("binance_usdm", ["NOPEUSDT"], ["depth"], "does not know NOPEUSDT"),
        ("bybit", ["NOPEUSDT"], ["depth"], "does not know NOPEUSDT"),
        ("binance_usdm", ["btc/usdt"], ["depth"], "cannot be a symbol"),
        ("binance_usdm", ["BTCUSDT"], ["depth7"], "no stream 'depth7'"),
        ("bybit", ["BTCUSDT"], ["depth500"], "no stream 'depth500'"),
        ("bybit", ["BTCUSDT"], ["aggTrade"], "no stream 'aggTrade'"),
        ("binance_usdm", [], ["depth"], "Name at least one symbol"),
        ("binance_usdm", ["", ""], ["depth"], "nothing to record"),
        ("binance_usdm", ["BTCUSDT"], ["depth"], "soon"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_trace(tmp_path, name, symbols, streams, said):
    length = "soon" if said == "soon" else "1 s"

    async def wrong():
        async with Venue() as venue, venue.network() as network:
            await recorder.capture(
                name, symbols, streams, tmp_path / "new", length=length, network=network
            )

    with pytest.raises(UserError, match=said) as error:
        run(wrong())
    assert "\n" not in str(error.value) and not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "x", Path("/proc/recording")):
        with pytest.raises(UserError, match="cannot write to"):
            run(play(place))


def test_a_second_recorder_leaves_the_first_alone(tmp_path):
    async def both():
        async def second(venue):
            began = time.monotonic()
            with pytest.raises(BlockingIOError, match="another recorder"):
                await recorder.capture(
                    "binance_usdm", ["BTCUSDT"], ALL, tmp_path, network=venue.network()
                )
            assert time.monotonic() - began < 5

        return await play(tmp_path, second)

    venue, _ = run(both())
    assert check(venue, tmp_path) == dict.fromkeys(venue.sent, 0)


def test_a_recording_goes_on_where_it_ended(tmp_path):
    first, _ = run(play(tmp_path, seconds=0.6))
    run(play(tmp_path, seconds=0.6))
    stopped = gaps(tmp_path, "the recorder was stopped")
    assert set(stopped["stream"]) == set(first.sent) and stopped["end_ns"].null_count() == 0
    connections = {row[4] for rows in recorded(tmp_path).values() for row in rows}
    assert connections == {1, 2, 3, 4}
    assert [part.name[:6] for part in segments.parts(tmp_path)] == ["000001", "000002"]


def test_streams_that_come_and_go_are_declared_one_by_one(tmp_path):
    last = {}
    for streams in (("aggTrade", "trade"), ("trade",), ("trade",), ("aggTrade", "bookTicker")):
        run(play(tmp_path, seconds=0.5, streams=streams))
        if "aggTrade" in streams:
            now = recorded(tmp_path)["btcusdt@aggTrade"]
            last.setdefault("btcusdt@aggTrade", now[-1][1])
        last["btcusdt@trade"] = recorded(tmp_path)["btcusdt@trade"][-1][1]
    found = segments.gaps(tmp_path)
    away = found.filter(found["stream"] == "btcusdt@aggTrade").to_dicts()
    assert len(away) == 1 and away[0]["symbol"] == "BTCUSDT"  # one for both sessions without it
    assert away[0]["start_ns"] == last["btcusdt@aggTrade"]
    times = [row[1] for row in recorded(tmp_path)["btcusdt@aggTrade"]]
    assert away[0]["end_ns"] == min(t for t in times if t > away[0]["start_ns"])
    trade = found.filter(found["stream"] == "btcusdt@trade")
    assert trade["end_ns"].null_count() == 1 and trade.height == 3
    assert trade["start_ns"].to_list()[-1] == last["btcusdt@trade"]
    assert "btcusdt@bookTicker" not in found["stream"].to_list()


def test_the_last_receipts_are_those_of_the_folder(tmp_path):
    for streams in (("aggTrade",), ("trade", "depth")):
        run(play(tmp_path, seconds=0.4, streams=streams))
    expected = {name: ("BTCUSDT", rows[-1][1]) for name, rows in recorded(tmp_path).items()}
    assert folders.recover(tmp_path).heard == expected
    recorder.convert(tmp_path)
    assert not list(tmp_path.glob("segments/*")) and len(expected) == 3
    assert folders.recover(tmp_path).heard == expected


def test_a_converter_that_outlives_its_recorder_is_borne(tmp_path, monkeypatch):
    run(play(tmp_path, seconds=0.3))
    (segment,) = tmp_path.glob("segments/*")
    expected, real = folders.recover(tmp_path), segments.mend

    def late(path):
        if path == segment and segment.exists():
            parquet.Conversion(tmp_path).convert(segment.name)
        return real(path)

    monkeypatch.setattr(segments, "mend", late)
    assert folders.recover(tmp_path) == expected and not segment.exists()


def test_what_is_converted_meanwhile_is_found_once(tmp_path, monkeypatch):
    run(play(tmp_path, seconds=0.3))
    (segment,) = tmp_path.glob("segments/*")
    real = Path.glob

    def converting(place, pattern):
        found = list(real(place, pattern))
        if segment.exists():
            monkeypatch.setattr(Path, "glob", real)
            parquet.Conversion(tmp_path).convert(segment.name)
            monkeypatch.setattr(Path, "glob", converting)
        return iter(found)

    monkeypatch.setattr(Path, "glob", converting)
    assert [part.stem for part in segments.parts(tmp_path)] == [segment.stem]


def test_what_a_power_cut_can_take_is_bounded_in_bytes(tmp_path, monkeypatch):
    real, synced = segments.Writer.sync, [0]

    def noted(writer):
        synced.append(writer.size)
        real(writer)

    monkeypatch.setattr(segments.Writer, "sync", noted)
    monkeypatch.setattr(intake, "BLOCK", 400)
    monkeypatch.setattr(disk, "SYNC_BYTES", 1_000)
    monkeypatch.setattr(disk, "SYNC_SECONDS", 600.0)  # no sync comes from the clock
    run(play(tmp_path, seconds=1.5))
    (part,) = segments.parts(tmp_path)
    assert part.stat().st_size > 4_000
    at = [*synced, part.stat().st_size]
    assert max(after - before for before, after in pairwise(at)) < 1_000 + 1_000


def test_a_failed_sync_declares_what_was_not_synced(tmp_path, monkeypatch):
    real, synced = segments.Writer.sync, []

    def failing(writer):
        if len(synced) >= 3:
            raise OSError(5, "Input/output error")
        real(writer)
        synced.append(writer.size)

    monkeypatch.setattr(segments.Writer, "sync", failing)
    with pytest.raises(recorder.RecordingStopped, match="Input/output error"):
        run(play(tmp_path, seconds=20))
    (part,) = segments.parts(tmp_path)
    path = tmp_path / "cut.seg"
    path.write_bytes(part.read_bytes()[: synced[-1]])  # what a power cut would leave
    sure = [b.records for b in segments.blocks(path)]
    loose = [b.records for b in segments.blocks(part)][len(sure) :]
    assert loose
    told = gaps(tmp_path, "the disk refused")
    (last,) = told.filter(told["stream"].is_null() & told["end_ns"].is_null()).to_dicts()
    assert last["start_ns"] == sure[-1]["received_ns"][-1]
    names = segments.read_facts(part)["streams"]
    unsure = told.filter(told["lost"].is_null() & told["end_ns"].is_not_null())
    for records in loose:
        for record in records[records["stream"] > 0]:
            mine = unsure.filter(unsure["stream"] == names[record["stream"]])
            (span,) = mine.select("start_ns", "end_ns").rows()
            assert span[0] <= record["received_ns"] <= span[1]


def test_an_unexpected_error_while_writing_stops_it_in_order(tmp_path, monkeypatch):
    real, blocks = segments.Writer.append, []

    def broken(writer, count, body):
        blocks.append(count)
        if len(blocks) > 3:
            raise ValueError("odd")
        return real(writer, count, body)

    monkeypatch.setattr(segments.Writer, "append", broken)
    with pytest.raises(recorder.RecordingStopped, match="ValueError: odd") as stopped:
        run(asyncio.wait_for(play(tmp_path, seconds=20), 10))
    kept = {name: len(rows) for name, rows in recorded(tmp_path).items()}
    assert stopped.value.summary.messages == kept


def test_a_book_that_is_shed_is_no_message_of_its_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "WAITING", -1)
    _, said = run(play(tmp_path, seconds=0.6, streams=("depth", "trade"), pause=0.05))
    assert said.messages == {"btcusdt@depth@100ms": 0, "btcusdt@trade": 0}
    shed = gaps(tmp_path, "the disk was too slow")
    books = shed.filter(shed["stream"].is_null())
    assert books.height >= 1 and said.books == 0


def test_the_manifest_says_why_it_ended(tmp_path):
    _, said = run(play(tmp_path, seconds=0.3))
    told = json.loads((tmp_path / "manifest.jsonl").read_text().splitlines()[-1])
    assert told["stopped"] == said.stopped == "the time is over"
    assert told["rate"] == pytest.approx(said.rate)


@pytest.mark.parametrize("torn", [b"", b"ABH1half"])
def test_a_segment_without_a_block_is_passed_over(tmp_path, torn):
    run(play(tmp_path, seconds=0.3))
    whole = recordings.read(tmp_path)
    (tmp_path / "segments" / "000002_a.seg").write_bytes(torn)
    found = recordings.read(tmp_path)
    assert found.trades.equals(whole.trades) and found.bad == whole.bad + bool(torn)
    (tmp_path / "new" / "segments").mkdir(parents=True)
    (tmp_path / "new" / "segments" / "000001_a.seg").write_bytes(torn)
    with pytest.raises(UserError, match="holds no frame yet"):
        recordings.read(tmp_path / "new")


CHILD = """
import asyncio, sys, time
sys.path.insert(0, sys.argv[1])
from tests.recorder.venue import QUICK, Venue
from research.recorder import capture
async def go():
    async with Venue() as venue, venue.network() as network:
        print("up", flush=True)
        said = await capture("binance_usdm", ["BTCUSDT"], ("depth", "trade"), sys.argv[2],
                             network=network, limits=QUICK, signals=True, convert=False)
        print(said.text())
asyncio.run(go())
"""


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_ends_in_order(tmp_path, kind):
    words = [sys.executable, "-c", CHILD, str(Path(__file__).parents[2]), str(tmp_path)]
    child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "up\n"
    while not list(tmp_path.glob("segments/*")):
        time.sleep(0.05)
    time.sleep(0.5)
    child.send_signal(kind)
    said, _ = child.communicate(timeout=10)
    assert child.returncode == 0 and f"told to by {kind.name}" in said
    kept = {name: len(rows) for name, rows in recorded(tmp_path).items()}
    assert all(f"{name:19}  {count:>12,}" in said for name, count in kept.items())
    assert "ended_ns" in (tmp_path / "manifest.jsonl").read_text()
