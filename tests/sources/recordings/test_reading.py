"""From files: every form gives the same tables, and every damage is counted or is one line."""

import gzip
import random
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from research.campaigns import frames as campaign
from research.errors import UserError
from research.sources import recordings
from research.sources.recordings import from_frames, segments
from research.sources.recordings.frames import CHUNK, GIANT

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "raw"
absent = pytest.mark.skipif(not SHARED.exists(), reason="no real exchange data beside the project")
NS = 1_723_161_255_000_000_000
TABLES = ("messages", "levels", "quotes", "trades", "gaps")


def made(count, market="um", seed=1, venue="binance"):
    return list(campaign.made(count, random.Random(seed), venue=venue, market=market))


def stamped(texts, first=NS, step=1_000):
    return b"".join(b"%d %b\n" % (first + i * step, text) for i, text in enumerate(texts))


def decoded(texts, market="um", first=NS, step=1_000, **options):
    frames = [(first + i * step, 0, text) for i, text in enumerate(texts)]
    return from_frames(frames, venue="binance", market=market, **options)


def assert_same(found, expected, counts=True):
    for name in TABLES:
        assert_frame_equal(getattr(found, name), getattr(expected, name))
    assert (found.venue, found.market) == (expected.venue, expected.market)
    if counts:
        assert (found.lines, found.bad) == (expected.lines, expected.bad)


# -- forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("market", ["um", "cm", "spot"])
def test_raw_lines_packed_and_plain(tmp_path, market):
    texts = made(500, market)
    expected = decoded(texts, market)
    plain, packed = tmp_path / "a.txt", tmp_path / "b.gz"
    plain.write_bytes(stamped(texts))
    packed.write_bytes(gzip.compress(stamped(texts)))
    assert_same(recordings.read(plain), expected)
    assert_same(recordings.read(packed), expected)
    assert_same(recordings.read(str(tmp_path / "*.gz")), expected)


def test_more_than_a_chunk(tmp_path):
    texts = made(20_000)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(stamped(texts), 1))
    assert len(stamped(texts)) > CHUNK
    seen = []
    found = recordings.read(path, progress=lambda *told: seen.append(told))
    assert_same(found, decoded(texts))
    assert len(seen) > 1 and seen[-1] == (path.stat().st_size, path.stat().st_size, "a.gz")


def test_line_ends_and_empty_lines_of_any_kind(tmp_path):
    texts = made(50)
    path = tmp_path / "a.txt"
    path.write_bytes(stamped(texts).replace(b"\n", b"\r\n\n\n")[:-3])
    assert_same(recordings.read(path), decoded(texts))


def test_a_recorder_that_was_started_again_appends_a_member(tmp_path):
    texts, path = made(90), tmp_path / "a.gz"
    parts = stamped(texts[:40]), stamped(texts[40:], NS + 40_000)
    path.write_bytes(gzip.compress(parts[0]) + gzip.compress(parts[1]) + bytes(100))
    assert_same(recordings.read(path), decoded(texts))


def test_two_days_join(tmp_path):
    texts = made(200, "spot")
    for name, some, first in (("b_0808", texts[:90], NS), ("b_0809", texts[90:], NS + 90_000)):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(stamped(some, first)))
    assert_same(recordings.read(tmp_path), decoded(texts, "spot"))


def test_files_that_overlap_are_put_in_the_order_of_receipt(tmp_path):
    one = [text for text in made(200, "um", 2) if b"ETH" not in text and b'"result"' not in text]
    two = [text.replace(b"BTC", b"SOL").replace(b"btc", b"sol") for text in one]
    (tmp_path / "z.gz").write_bytes(gzip.compress(stamped(one, NS, 10)))
    (tmp_path / "a.gz").write_bytes(gzip.compress(stamped(two, NS + 5, 10)))
    both = [text for pair in zip(one, two, strict=True) for text in pair]
    assert_same(recordings.read(tmp_path), decoded(both, "um", NS, 5))


def test_inside_a_file_a_clock_that_was_set_back_changes_no_order(tmp_path):
    texts, path = made(60), tmp_path / "a.txt"
    path.write_bytes(stamped(texts[:30]) + stamped(texts[30:], NS - 10**9))
    found = recordings.read(path)
    assert_frame_equal(found.levels, decoded(texts).levels)
    for name in ("messages", "quotes", "trades"):
        assert getattr(found, name)["message"].is_sorted()


def test_a_bybit_archive(tmp_path):
    texts = [t for t in made(80, "linear", 3, "bybit") if b"orderbook.500.BTC" in t]
    path = tmp_path / "2024-12-01_BTCUSDT_ob500.data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("2024-12-01_BTCUSDT_ob500.data", b"\r\n".join([*texts, b""]))
    found = recordings.read(path)
    frames = [(0, 0, text) for text in texts]
    expected = from_frames(frames, venue="bybit", market="linear")
    assert_frame_equal(found.levels, expected.levels)
    assert (found.venue, found.market, found.lines, found.bad) == ("bybit", "linear", len(texts), 0)
    sent = found.messages["sent"].dt.epoch("ns")
    assert found.messages["received_ns"].to_list() == sent.to_list()


def written(folder, texts, kind=segments.FRAME):
    (folder / "segments").mkdir(parents=True)
    facts = {"venue": "binance", "market": "um", "streams": ["", "btcusdt@trade"]}
    facts |= {"symbols": ["", "BTCUSDT"], "exchange": "binance_usdm"}
    pages = segments.Pages()
    with segments.Writer(folder / "segments" / "000001_a.seg", facts) as writer:
        for i, text in enumerate(texts):
            stamps = {"received_ns": NS + 1_000 * i, "monotonic_ns": i}
            pages.add(text, **stamps, connection=0, sequence=i, stream=1, kind=kind)
            if i % 100 == 99:
                writer.append(*pages.take())
        writer.append(*pages.take())
        return writer.path


def test_a_folder_of_our_recorder(tmp_path):
    texts = made(250)
    path = written(tmp_path, texts)
    (tmp_path / segments.LEDGER).write_text(
        '{"gap":0,"symbol":"BTCUSDT","stream":"btcusdt@trade","start_ns":5,"end_ns":9,'
        '"reason":"connection lost","lost":2}\n'
    )
    found = recordings.read(tmp_path)
    assert_same(found._replace(gaps=decoded(texts).gaps), decoded(texts))
    assert found.gaps.rows() == [("BTCUSDT", "btcusdt@trade", 5, 9, "connection lost", 2)]
    path.write_bytes(path.read_bytes()[:-20])  # killed while it wrote
    cut = recordings.read(tmp_path)
    assert (cut.lines, cut.bad) == (201, decoded(texts[:200]).bad + 1)


def test_a_recorders_book_names_no_symbol(tmp_path):
    book = b'{"lastUpdateId":8,"E":1,"T":1,"bids":[["1","2"]],"asks":[]}'
    written(tmp_path, [book], segments.SNAPSHOT)
    found = recordings.read(tmp_path)
    assert found.messages.select("symbol", "kind", "last_id").rows() == [("BTCUSDT", "snapshot", 8)]


# -- damage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_packed_file_cut_short_gives_what_is_whole(tmp_path, keep):
    texts, path = made(3_000), tmp_path / "a.gz"
    packed = gzip.compress(stamped(texts))
    path.write_bytes(packed[: int(len(packed) * keep)])
    found = recordings.read(path)
    whole = found.lines - 1
    assert 0 < whole <= 3_000
    expected = decoded(texts[:whole])
    assert_same(found, expected, counts=False)
    assert found.bad == expected.bad + 1


def test_a_packed_file_cut_where_a_line_ends_still_says_so(tmp_path):
    texts, path = made(50), tmp_path / "a.gz"
    packer = zlib.compressobj(wbits=31)
    path.write_bytes(packer.compress(stamped(texts)) + packer.flush(zlib.Z_SYNC_FLUSH))
    found, expected = recordings.read(path), decoded(texts)
    assert_same(found, expected, counts=False)
    assert (found.lines, found.bad) == (51, expected.bad + 1)


def test_a_packed_file_that_breaks_in_the_middle_gives_what_is_before(tmp_path):
    texts, path = made(3_000), tmp_path / "a.gz"
    packed = bytearray(gzip.compress(stamped(texts)))
    packed[len(packed) // 2 : len(packed) // 2 + 400] = bytes(400)
    path.write_bytes(packed)
    found = recordings.read(path)
    # what is damaged may unpack for a while, into nonsense
    whole = decoded(texts[:1_000])
    assert 1_000 < found.lines <= 3_001 and found.bad > whole.bad
    assert_frame_equal(found.quotes.filter(found.quotes["message"] < 1_000), whole.quotes)


def test_lines_that_are_none_are_counted(tmp_path):
    texts, path = made(40), tmp_path / "a.txt"
    good = stamped(texts).splitlines(keepends=True)
    junk = [b"{}\n", b"abc\n", b"99999999999999999999 {}\n", b"17 \n", b" 17 {}\n", b"\xff\xfe\n"]
    path.write_bytes(b"".join(good[:20] + junk + good[20:]))
    found, expected = recordings.read(path), decoded(texts)
    assert (found.lines, found.bad) == (expected.lines + 6, expected.bad + 6)
    assert found.quotes.height == expected.quotes.height


def test_a_giant_line_is_one_bad_line_and_takes_no_room(tmp_path):
    import tracemalloc

    texts, path = made(40), tmp_path / "a.gz"
    good = stamped(texts).splitlines(keepends=True)
    giant = b"%d " % NS + b'{"stream":"' + b"x" * (3 * GIANT) + b"\n"
    path.write_bytes(gzip.compress(b"".join(good)))
    recordings.read(path)  # loads what it needs
    path.write_bytes(gzip.compress(b"".join([*good[:20], giant, *good[20:]]), 1))
    tracemalloc.start()
    found, expected = recordings.read(path), decoded(texts)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found.lines, found.bad) == (expected.lines + 1, expected.bad + 1)
    assert found.quotes.height == expected.quotes.height
    assert peak < 2.5 * GIANT  # what is unpacked holds three


EMPTY = gzip.compress(b"", mtime=0)  # without a time: every worker must see the same test


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", b"hello\nworld\n", b'{"a":1}\n', b"1 {}\n2 []\n", EMPTY, bytes(64)],
)
def test_a_file_that_is_no_recording_is_one_line(tmp_path, content):
    path = tmp_path / "a.bin"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^recording: a\.bin holds no message of an order book"):
        recordings.read(path)


def test_nothing_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="is not there"):
        recordings.read(tmp_path / "none.gz")
    with pytest.raises(UserError, match="holds no file"):
        recordings.read(tmp_path)


def test_two_markets_are_one_line(tmp_path):
    (tmp_path / "a.txt").write_bytes(stamped(made(40, "um")))
    (tmp_path / "b.txt").write_bytes(stamped(made(40, "spot")))
    with pytest.raises(UserError, match=r"b\.txt is of binance spot, files before it of binance u"):
        recordings.read(tmp_path)


def test_a_damaged_archive_is_one_line(tmp_path):
    path = tmp_path / "a.data.zip"
    path.write_bytes(b"PK\x03\x04" + bytes(50))
    with pytest.raises(UserError, match=r"a\.data\.zip is a damaged archive"):
        recordings.read(path)


def test_an_absent_symbol_is_one_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(stamped(made(60)))
    with pytest.raises(UserError, match=r"symbol SOLUSDT is not in it\. Symbols here: BTCUSDT"):
        recordings.read(path, symbols=["SOLUSDT"])


# -- what was recorded on 2024-08-08 ----------------------------------------------------------

COUNTS = {
    # lines, updates, quotes, trades, snapshots
    "usdm/btcusdt_20240808.gz": ("um", 93_954, 6_551, 66_089, 21_313, 1),
    "spot/btcusdt_20240808.gz": ("spot", 41_249, 3_451, 28_040, 9_757, 1),
    "spot": ("spot", 99_574, 3_451 + 3_044, 73_174, 19_904, 1),
    "cm": ("cm", 98_386, 26_847 + 17_948, 48_355, 5_235, 1),
}


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.real
@absent
def test_every_line_of_the_recordings_is_read(name):
    found = recordings.read(SHARED / "binance" / name)
    kinds = dict(found.messages["kind"].value_counts().iter_rows())
    assert found.bad == 0
    assert COUNTS[name] == (
        found.market,
        found.lines,
        kinds["update"],
        found.quotes.height,
        found.trades.height,
        kinds["snapshot"],
    )
    assert (found.trades["trade_id"].diff().drop_nulls() == 1).all()
    updates = found.messages.filter(found.messages["kind"] == "update")
    last = updates["last_id"].shift(1)
    chain = updates["first_id"] - 1 if found.market == "spot" else updates["previous_id"]
    assert (chain == last).slice(1).all()
    for table in (found.messages, found.quotes, found.trades):
        assert table["message"].is_sorted() and table["received_ns"].is_sorted()


@pytest.mark.real
@absent
def test_what_the_recordings_are_said_to_hold():
    found = recordings.read(SHARED / "binance" / "usdm")
    sides = found.trades["taker_side"]
    assert ((sides == 1).sum(), (sides == -1).sum()) == (9_616, 11_697)
    snapshot = found.messages.filter(found.messages["kind"] == "snapshot")["message"].item()
    levels = found.levels.filter(found.levels["message"] == snapshot)
    assert levels["side"].value_counts().sort("side").rows() == [(-1, 1_000), (1, 1_000)]
    offset = found.trades["received_ns"] / 1e6 - found.trades["sent"].dt.epoch("ms")
    assert np.isclose(offset.median(), -1_268, atol=10)


@pytest.mark.real
@absent
def test_the_archive_of_bybit():
    found = recordings.read(SHARED / "bybit")
    assert (found.venue, found.market, found.lines, found.bad) == ("bybit", "linear", 50, 0)
    assert found.messages["kind"].to_list() == ["snapshot"] + ["update"] * 49
    assert (found.messages["last_id"].diff().drop_nulls() == 1).all()
    assert found.messages["sequence"].is_sorted()
