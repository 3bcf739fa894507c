"""Features while they happen, over real sockets: the very rows of the recording, afterwards."""

import json
import os
import subprocess
import sys
from contextlib import aclosing
from datetime import timedelta

import polars as pl
import pytest

from research import order_book
from research.errors import UserError
from research.features import order_flow
from research.live.net import Network
from research.order_flow import live, offline
from research.sim.flow import FlowExchange
from research.sources import recordings
from research.sources.simulated.flow import market


@pytest.fixture(scope="module")
def played():
    return market(symbols=1, minutes=1, seed=5).recording


async def followed(played, folder, *, least, every):
    """Follow a simulated book until there are so many rows, and the last is of a proven book."""
    rows = []
    async with (
        FlowExchange(played, speed=4.0, live=True) as exchange,
        Network(exchange.port, exchange.ca) as network,
    ):
        how = {"length": "60 s", "every": every, "network": network, "folder": folder}
        async with aclosing(live.follow("binance_usdm", "SIM01USDT", **how)) as following:
            async for row in following:
                rows.append(row)
                if len(rows) >= least and row["book_proven"]:
                    break
    return rows


async def test_live_rows_are_those_of_the_recording_afterwards(played, tmp_path):
    rows = await followed(played, tmp_path, least=6, every="0.4 s")
    kept = recordings.read(tmp_path)
    assert not kept.gaps.height and not kept.bad
    books = order_book.build_all(kept)
    table = order_flow.frame(kept.quotes, kept.trades, books)
    names = [name for name in rows[0] if name in table.columns and name != "symbol"]
    assert {"mid", "ofi_1s", "trade_flow_1s", "ofi_5_1s", "depth_imbalance_20"} <= {*names}
    stood = {}
    for row in table.with_columns(pl.col("time").dt.epoch("us").alias("us")).to_dicts():
        stood.setdefault(row["us"], []).append([row[name] for name in names])
    for row in rows:  # of several quotes of one millisecond, the one that was the newest then
        assert [row[name] for name in names] in stood[row["time_us"]]


async def test_what_comes_of_books_waits_for_a_proven_one(played, tmp_path):
    first, *_ = await followed(played, tmp_path, least=1, every="0.1 s")
    assert first["book_proven"] or first["ofi_5_1s"] is None


async def test_an_unknown_venue_is_one_line():
    with pytest.raises(UserError, match="no venue 'kraken'"):
        await anext(live.follow("kraken", "XBTUSD", length="1 s"))
    with pytest.raises(UserError, match="plays two hours at most"):
        async with offline.exchange("bybit", length=timedelta(hours=3)):
            pass


def test_a_frame_that_cannot_be_read_is_counted():
    follower = live.Follower("BTCUSDT", venue="binance", market="um")
    follower.hear(b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker"', 1)
    assert (follower.frames, follower.bad, follower.row) == (1, 1, None)


def test_flow_does_not_reach_over_a_lost_connection():
    def quote(update, bid):
        return (
            b'{"stream":"btcusdt@bookTicker","data":{"e":"bookTicker","u":%d,"s":"BTCUSDT",'
            b'"b":"%d","B":"5","a":"101","A":"5","T":%d,"E":%d}}' % (update, bid, update, update)
        )

    follower = live.Follower("BTCUSDT", venue="binance", market="um")
    for connection, update, bid in [(1, 1, 90), (1, 2, 95), (2, 3, 99)]:
        follower.hear(quote(update, bid), update * 1_000_000, connection)
    assert follower.row["mid"] == 100.0 and follower.row["ofi_event"] == 0.0
    assert "OFI 1 s - (z -)" in live.line(follower.row)  # a second has not passed since
    follower.hear(quote(4, 100), 4_000_000, 2)
    assert follower.row["ofi_event"] == 5.0


@pytest.mark.long
@pytest.mark.slow
def test_the_commands_record_and_show_features_offline(tmp_path):
    env = os.environ | {"ALPHABOOK_DATA": str(tmp_path)}

    def run(*words):
        call = [sys.executable, "-m", "research", *words, "--simulated", "--json"]
        done = subprocess.run(call, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    rows = run("features-live", "--duration", "4", "--every", "0.2s")
    assert rows and {"mid", "ofi_1s", "book_proven"} <= rows[-1].keys()
    (told,) = run("record", "--duration", "3s")
    assert told["gaps"] == told["lost"] == 0 and sum(told["messages"].values()) > 0
    kept = recordings.read(told["folder"])
    assert kept.quotes.height == told["messages"]["sim01usdt@bookTicker"]
