"""Closed segments as Parquet: nothing lost, S3's columns, and the same files after any kill."""

import asyncio
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import polars as pl
import pytest

from research import order_book, recorder
from research.errors import UserError
from research.recorder import folder as folders
from research.recorder import parquet
from research.sources import recordings
from research.sources.recordings import segments
from research.store import atomic

from .account import check, play

LOB = ["exchange", "symbol", "timestamp", "local_timestamp", "sequence", "mid_price", "spread"]
LOB += [
    f"{side}_{what}_{n}" for n in range(20) for side in ("bid", "ask") for what in ("price", "qty")
]
TRADES = "exchange symbol timestamp local_timestamp trade_id price quantity is_buyer_maker side"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A recording of three sessions, not converted."""
    place = tmp_path_factory.mktemp("raw")
    for _ in range(3):
        asyncio.run(play(place, seconds=0.5))
    return place


@pytest.fixture(scope="module")
def made(raw, tmp_path_factory):
    place = tmp_path_factory.mktemp("made") / "recording"
    shutil.copytree(raw, place)
    recorder.convert(place)
    return place


def tables(place):
    return {
        str(path.relative_to(place)): atomic.sha256(path)
        for path in sorted(place.rglob("*.parquet"))
    }


def kind(place, name):
    return pl.read_parquet(sorted((place / name / "binance_futures" / "BTCUSDT").glob("*")))


def test_no_frame_is_lost(raw, made):
    def frames(place):
        blocks = [b for part in segments.parts(place) for b in segments.read_blocks(part)]
        return [b"".join(b.records.tobytes() for b in blocks), b"".join(b.payload for b in blocks)]

    assert frames(raw) == frames(made)
    assert not list(made.glob("segments/*")) and not list(made.rglob("*.part"))
    assert [segments.read_facts(a) for a in segments.parts(raw)] == [
        segments.read_facts(b) for b in segments.parts(made)
    ]


def test_the_tables_are_those_of_the_recording(raw, made):
    whole = recordings.read(raw)
    # the tables have each state that the messages prove; of gaps, which begin with the last one
    # before them, gaps.jsonl speaks
    built = order_book.build_all(whole._replace(gaps=whole.gaps.clear()))["BTCUSDT"]
    lob, trades = kind(made, "lob"), kind(made, "trades")
    assert lob.columns == LOB and trades.columns == TRADES.split()
    proven = built.levels[built.proven]
    assert lob.height == len(proven) > 30
    for level in (0, 1, 19):
        got = lob.select(f"bid_price_{level}", f"ask_qty_{level}").fill_null(0.0).to_numpy()
        assert (got[:, 0] == proven[:, 0, level, 0]).all()
        assert (got[:, 1] == proven[:, 1, level, 1]).all()
    assert (lob["timestamp"] == built.time_us[built.proven] // 1000).all()
    assert trades["trade_id"].to_list() == whole.trades["trade_id"].cast(pl.String).to_list()
    assert set(trades["side"]) == {"sell"} and trades["is_buyer_maker"].all()
    quotes = kind(made, "quotes").drop("message", "connection")
    assert quotes.equals(whole.quotes.drop("message", "connection"))
    changes = kind(made, "depth").drop_nulls("price")
    assert changes.height == whole.levels.height
    assert changes["price"].to_list() == whole.levels["price"].to_list()


def test_what_s3_packed_with_snappy_still_is(made):
    import pyarrow.parquet as pq

    for name, packed in {
        "lob": "SNAPPY",
        "trades": "SNAPPY",
        "depth": "ZSTD",
        "raw": "ZSTD",
    }.items():
        path = min((made / name).rglob("*.parquet"))
        assert pq.read_metadata(path).row_group(0).column(0).compression == packed
        if name != "raw":
            day = time.strftime("%Y%m%d", time.gmtime(path.stat().st_mtime))
            assert path.name == f"binance_futures_BTCUSDT_{day}_000001.parquet"


def test_both_forms_read_alike(raw, made):
    before, after = recordings.read(raw), recordings.read(made)
    for name in ("messages", "levels", "quotes", "trades", "gaps"):
        assert getattr(before, name).equals(getattr(after, name)), name
    assert (before.lines, before.bad) == (after.lines, after.bad)


class Killed(BaseException):
    """What stands for SIGKILL: nothing is tidied up after it."""


def test_killed_anywhere_it_comes_to_the_same_files(raw, made, tmp_path, monkeypatch):
    steps = [(atomic, "sync"), (folders, "note"), (Path, "replace"), (Path, "unlink")]
    left = [0]

    def dying(real):
        def step(*args, **options):
            left[0] -= 1
            if not left[0]:
                raise Killed
            return real(*args, **options)

        return step

    monkeypatch.setattr(parquet._Files, "__exit__", lambda *_: None)
    for owner, name in steps:
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    for after in range(1, 500, 7):
        place = tmp_path / str(after)
        shutil.copytree(raw, place)
        left[0] = after
        with suppress(Killed):
            recorder.convert(place)
            break
        left[0] = -1
        recorder.convert(place)
        assert tables(place).keys() == tables(made).keys(), after
        same = {k: v for k, v in tables(place).items() if not k.startswith("lob")}
        assert same == {k: v for k, v in tables(made).items() if not k.startswith("lob")}
        assert kind(place, "lob").equals(kind(made, "lob"))
        assert not list(place.rglob("*.part"))
    assert after > 40  # it was killed at many steps, up to the last


def test_what_does_not_read_back_stays_a_segment(raw, tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    shutil.copytree(raw, tmp_path / "recording")
    monkeypatch.setattr(pq, "read_metadata", lambda path: type("", (), {"num_rows": 1}))
    with pytest.raises(UserError, match="reads back as 1 rows"):
        recorder.convert(tmp_path / "recording")
    assert len(list(tmp_path.glob("recording/segments/*.seg"))) == 3
    assert not list(tmp_path.rglob("*.part")) and not list(tmp_path.rglob("*.parquet"))


def test_a_recording_converts_itself_and_goes_on(tmp_path, monkeypatch):
    from research.recorder import session

    monkeypatch.setattr(session, "SEGMENT_BYTES", 1_000)
    said = []
    venue, _ = asyncio.run(play(tmp_path, seconds=1.2, convert=True, progress=said.append))
    left = [one.packing for one in said if one.stopped]
    assert left and left == sorted(left, reverse=True) and left[-1] > 0
    assert not any(one.packing for one in said if not one.stopped)
    assert len(list(tmp_path.glob("raw/*/*/*.parquet"))) >= 3
    assert not list(tmp_path.glob("segments/*"))
    assert check(venue, tmp_path) == dict.fromkeys(venue.sent, 0)
    lob = kind(tmp_path, "lob")
    assert lob["sequence"].diff().drop_nulls().max() == 10  # the books went on between segments


READY = """
import sys
from pathlib import Path
from research.order_book import core
from research.recorder import parquet
from research.sources.recordings import scanner
conversion, known = parquet.Conversion(Path(sys.argv[1])), lambda: [
    len(loop.signatures) for loop in (scanner.scan, core._take_all)
]
conversion.compile("binance", "um")
before = known()
for segment in sys.argv[2:]:
    conversion.convert(segment)
print(before, known())
"""


def test_all_is_compiled_before_the_first_segment_comes(raw, tmp_path):
    shutil.copytree(raw, tmp_path / "recording")
    names = sorted(path.name for path in raw.glob("segments/*"))
    words = [sys.executable, "-c", READY, str(tmp_path / "recording"), *names]
    told = subprocess.run(words, capture_output=True, text=True, check=True)
    assert told.stdout == "[1, 1] [1, 1]\n"
