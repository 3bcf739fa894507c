"""Recordings of the simulated exchange: a whole market, in the venue's own forms and bad ways."""

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest

from research import order_book, recorder
from research.live.net import Network
from research.sim.flow import FlowExchange
from research.sources import recordings
from research.sources.recordings import segments
from research.sources.simulated import flow

from .venue import QUICK

FAULTS = [
    {"kind": "duplicate", "at": 30, "target": "*rade*"},
    {"kind": "rst", "at": 60, "target": "*rade*", "args": {"mid_frame": True}},
    {"kind": "malformed", "at": 200, "target": "*rade*"},
    {"kind": "id_gap", "at": 250, "target": "*epth*"},
    {"kind": "close", "at": 500, "target": "*rade*", "args": {"code": 1012}},
]


async def play(folder, name, streams, faults, **market):
    made = flow.market(symbols=1, minutes=1, seed=1, **market).recording
    (symbol,) = made.messages["symbol"].unique()
    exchange = FlowExchange(made, speed=30, faults=faults, live=True)
    async with exchange, Network(exchange.port, exchange.ca) as network:
        task = asyncio.create_task(
            recorder.capture(
                *(name, [symbol], streams, folder), network=network, limits=QUICK, convert=False
            )
        )
        await asyncio.wait(
            {asyncio.create_task(exchange.over.wait()), task}, return_when="FIRST_COMPLETED"
        )
        await asyncio.sleep(0.5)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return made, exchange.log


def kept(folder):
    found = {}
    for part in segments.parts(folder):
        names = segments.read_facts(part)["streams"]
        for block in segments.read_blocks(part):
            for record, frame in zip(block.records, block.frames()):
                if record["kind"] == segments.FRAME and not record["repeat"]:
                    row = (frame.decode(), int(record["received_ns"]))
                    found.setdefault(names[record["stream"]], []).append(row)
    return found


@pytest.mark.parametrize(
    ("name", "streams", "market"),
    [
        ("binance_spot", ("depth", "bookTicker", "trade"), {"venue": "binance", "market": "spot"}),
        ("bybit", ("depth50", "depth1", "trade"), {"venue": "bybit", "market": "linear"}),
    ],
    ids=["spot", "bybit"],
)
def test_what_was_sent_is_recorded_or_declared(tmp_path, name, streams, market):
    _, log = asyncio.run(play(tmp_path, name, streams, FAULTS, **market))
    gaps = segments.gaps(tmp_path)
    assert gaps.height >= 3
    for stream, rows in kept(tmp_path).items():
        frames = [e for e in log if e["kind"] == "frame" and e["stream"] == stream and e["text"]]
        spoilt = {e["text"] for e in frames if "malformed" in e["faults"]}
        got = {text for text, _ in rows}  # of the spoilt some are kept as no stream's
        sent = [e["text"] for e in frames if e["text"] not in spoilt - got]
        place = {text: i for i, text in enumerate(dict.fromkeys(sent))}
        where = [place[text] for text, _ in rows]
        assert where == sorted(set(where)), stream
        declared = gaps.filter(stream=stream)
        for (a, before), (b, after) in pairwise(zip(where, [at for _, at in rows])):
            inside = (declared["start_ns"] <= before) & (declared["end_ns"] >= after)
            assert b == a + 1 or inside.any(), f"{stream}: {b - a - 1} neither kept nor declared"


def test_the_book_that_was_recorded_is_the_one_that_was_played(tmp_path):
    market = {"venue": "binance", "market": "um"}
    made, _ = asyncio.run(
        play(tmp_path, "binance_usdm", ("depth", "bookTicker", "trade"), (), **market)
    )
    (built,) = order_book.build_all(recordings.read(tmp_path)).values()
    (truth,) = order_book.build_all(made).values()
    first = int(built.proven.argmax())  # the book is asked for once the stream speaks
    assert built.proven[first:].all() and built.crossed == 0
    n = len(built.levels) - first
    assert n > 300 and (built.levels[-n:] == truth.levels[-n:]).all()
    assert segments.gaps(tmp_path).is_empty()
