"""Recordings for others: what is written reads back, and hftbacktest's rows are those it makes."""

import random
from pathlib import Path

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from research.campaigns import frames as campaign
from research.errors import UserError
from research.sources import recordings
from research.sources.recordings import from_frames, hftbacktest, tables

MS = 1_723_161_256_000
NS = MS * 1_000_000
BOTH, EXCHANGE, LOCAL = 3 << 30, 1 << 31, 1 << 30
BID, ASK = 1 << 29, 1 << 28


def read(*frames, market="um"):
    """Frames ``(received ms after the start, text)``."""
    given = [(NS + ms * 1_000_000, 0, text.encode()) for ms, text in frames]
    return from_frames(given, venue="binance", market=market)


def trade(ms, number=1, maker="false"):
    return (
        f'{{"e":"trade","E":{MS + ms},"T":{MS + ms},"s":"BTCUSDT","t":{number},"p":"100.5",'
        f'"q":"{number}","X":"MARKET","m":{maker}}}'
    )


def update(ms):
    return (
        f'{{"e":"depthUpdate","E":{MS + ms},"T":{MS + ms},"s":"BTCUSDT","U":1,"u":2,"pu":0,'
        '"b":[["99","1"],["98","0"]],"a":[["101","3"]]}'
    )


BOOK = f'{{"lastUpdateId":2,"E":{MS},"T":{MS},"bids":[["99","1"],["97","2"]],"asks":[["101","3"]]}}'


def rows(recording, **options):
    made = hftbacktest.events(recording, **options)
    return [
        (
            int(row["ev"]),
            (row["exch_ts"] - NS) / 1e6,
            (row["local_ts"] - NS) / 1e6,
            *row[["px", "qty"]],
        )
        for row in made
    ]


# -- Parquet ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many():
    texts = campaign.made(400, random.Random(3), venue="binance", market="um")
    given = [(NS + i, i % 3, text) for i, text in enumerate(texts)]
    gap = tables.pl.DataFrame(
        [("BTCUSDT", "x", 1, None, "why", None), (None, None, 1, 2, "all", 3)],
        schema=tables.schema.GAPS,
        orient="row",
    )
    return from_frames([*given, (NS, 0, b"no")], venue="binance", market="um", gaps=gap)


def test_what_is_written_reads_back(tmp_path, many):
    folder = recordings.to_parquet(many, tmp_path / "one")
    again = recordings.read(folder)
    for name in tables.TABLES:
        assert_frame_equal(getattr(again, name), getattr(many, name))
    assert again[:2] == many[:2] and again[-2:] == many[-2:]
    some = recordings.read(folder, symbols=["ETHUSDT"])
    assert set(some.quotes["symbol"]) == {"ETHUSDT"}
    assert some.gaps["symbol"].to_list() == [None]  # a gap of all is one of each
    assert sorted(file.name for file in folder.iterdir()) == [
        "gaps.parquet",
        "levels.parquet",
        "messages.parquet",
        "quotes.parquet",
        "recording.json",
        "trades.parquet",
    ]


def test_nothing_is_written_over_and_half_is_never_there(tmp_path, many, monkeypatch):
    folder = recordings.to_parquet(many, tmp_path / "one")
    with pytest.raises(UserError, match=r"one is there already\. Name a new folder"):
        recordings.to_parquet(many, folder)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables, "_flush", full)
    with pytest.raises(UserError, match=r"two cannot be written: No space left on device"):
        recordings.to_parquet(many, tmp_path / "two")
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("damage", ["page", "missing", "bytes", "columns"])
def test_a_damaged_folder_is_one_line(tmp_path, many, damage):
    folder = recordings.to_parquet(many, tmp_path / "one")
    if damage == "page":
        (folder / tables.PAGE).write_text("{")
    elif damage == "missing":
        (folder / "quotes.parquet").unlink()
    elif damage == "bytes":
        (folder / "quotes.parquet").write_bytes(b"PAR1 and no more")
    else:
        many.trades.write_parquet(folder / "quotes.parquet")
    with pytest.raises(UserError, match=r"^recording: .*(recording\.json|quotes\.parquet)"):
        recordings.read(folder)


# -- hftbacktest ------------------------------------------------------------------------------


def test_trades_and_updates_in_the_order_of_messages():
    found = rows(read((5, trade(1)), (6, update(2)), (7, trade(3, 2, "true"))))
    assert found == [
        (BOTH | BID | 2, 1, 5, 100.5, 1),
        (BOTH | BID | 1, 2, 6, 99, 1),
        (BOTH | BID | 1, 2, 6, 98, 0),
        (BOTH | ASK | 1, 2, 6, 101, 3),
        (BOTH | ASK | 2, 3, 7, 100.5, 2),
    ]


def test_a_whole_book_clears_each_side_as_far_as_it_reaches():
    found = rows(read((1, trade(0)), (2, BOOK)))[1:]
    assert found == [
        (BOTH | BID | 3, 0, 2, 97, 0),
        (BOTH | BID | 4, 0, 2, 99, 1),
        (BOTH | BID | 4, 0, 2, 97, 2),
        (BOTH | ASK | 3, 0, 2, 101, 0),
        (BOTH | ASK | 4, 0, 2, 101, 3),
    ]


def test_clocks_that_differ_are_moved_by_the_most():
    late = read((0, trade(5)), (3, trade(6)))
    assert [row[1:3] for row in rows(late)] == [(5, 5), (6, 8)]
    assert [row[1:3] for row in rows(late, base_latency_ns=2_000_000)] == [(5, 7), (6, 10)]
    early = read((9, trade(5)))
    assert [row[1:3] for row in rows(early, base_latency_ns=2_000_000)] == [(5, 9)]


def test_what_the_clocks_order_differently_stands_there_twice():
    found = rows(read((10, trade(5, 1)), (11, trade(3, 2)), (12, trade(7, 3))))
    assert found == [
        (EXCHANGE | BID | 2, 3, 11, 100.5, 2),
        (BOTH | BID | 2, 5, 10, 100.5, 1),
        (LOCAL | BID | 2, 3, 11, 100.5, 2),
        (BOTH | BID | 2, 7, 12, 100.5, 3),
    ]


def test_events_of_one_moment_whose_receipt_went_back():
    found = rows(read((11, trade(5, 1)), (10, trade(5, 2))))
    assert found == [
        (LOCAL | BID | 2, 5, 10, 100.5, 2),
        (BOTH | BID | 2, 5, 11, 100.5, 1),
        (EXCHANGE | BID | 2, 5, 10, 100.5, 2),
    ]


def test_each_clock_sees_every_event_once_and_in_order():
    dice = random.Random(4)
    frames = [(i, trade(i + dice.randrange(-9, 9), i + 1)) for i in range(300)]
    recording = read(*frames)
    made = hftbacktest.events(recording)
    for flag, clock in ((EXCHANGE, "exch_ts"), (LOCAL, "local_ts")):
        seen = made[made["ev"] & np.uint64(flag) > 0]
        assert (np.diff(seen[clock]) >= 0).all()
        assert sorted(seen["qty"]) == list(range(1, 301))


def test_a_book_without_a_time_happened_when_the_one_before_did():
    spot = trade(4).replace('"X":"MARKET",', "")
    book = '{"lastUpdateId":2,"bids":[["99","1"]],"asks":[]}'
    assert [row[1] for row in rows(read((1, book), (5, spot), (6, book), market="spot"))] == [
        4,
        4,
        4,
        4,
        4,
    ]


def test_the_file_holds_the_events(tmp_path):
    recording = read((5, trade(1)), (6, update(2)))
    path = recordings.to_hftbacktest(recording, tmp_path / "one.npz")
    data = np.load(path)["data"]
    assert data.dtype == hftbacktest.EVENT and data.dtype.itemsize == 64
    assert np.array_equal(data, hftbacktest.events(recording))
    assert [file.name for file in tmp_path.iterdir()] == ["one.npz"]


def test_one_symbol_alone(tmp_path, many):
    with pytest.raises(UserError, match=r"needs a recording of one symbol, found BTCUSDT, ETHUSDT"):
        recordings.to_hftbacktest(many, tmp_path / "one.npz")
    with pytest.raises(UserError, match=r"found none"):
        hftbacktest.events(from_frames([], venue="binance", market="um"))
    with pytest.raises(UserError, match=r"cannot be written"):
        recordings.to_hftbacktest(read((1, trade(1))), Path(tmp_path / "no" / "one.npz"))
