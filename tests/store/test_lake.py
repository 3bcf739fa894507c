"""The lake keeps bars byte for byte, merges without loss, and notices what others change."""

import json
import random
import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from research import bars as bar_room
from research.errors import UserError
from research.schema import BARS, TableError
from research.store import atomic, lake, shelf

HOUR = timedelta(hours=1)
JANUARY = datetime(2025, 1, 1, tzinfo=UTC)
PLACE = {"venue": "binance", "market": "um", "interval": HOUR}


def cleaned(hours, *, symbols=("BTCUSDT",), seed=0, twice=0):
    """Return bars of the hours after January 1, and their quality; `twice` rows are repeated."""
    rows = []
    for symbol in symbols:
        for hour in hours:
            chance = random.Random(f"{seed}/{symbol}/{hour}")
            price, volume = chance.uniform(1, 9), chance.choice([0.0, 2.0])
            rows.append((symbol, JANUARY + hour * HOUR, price, price, price, price, volume))
    rows += rows[:twice]
    raw = pl.DataFrame(
        rows, schema={c: BARS[c] for c in (*list(BARS)[:1], *list(BARS)[2:8])}, orient="row"
    )
    return bar_room.clean(raw, interval=HOUR, name="test")


def contents(root):
    return {
        file.relative_to(root).as_posix(): file.read_bytes()
        for file in Path(root).rglob("*")
        if file.is_file()
    }


def month(root, name="2025-01", symbol="BTCUSDT"):
    return Path(root) / "bars" / "binance" / "um" / symbol / "1h" / f"{name}.parquet"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


def test_what_is_written_is_read(root):
    table, quality = cleaned([5, *range(700, 800)], symbols=("BTCUSDT", "ETHUSDT"), twice=3)
    card = lake.write(table, quality, **PLACE, root=root, inputs={"files": "abc"})
    assert_frame_equal(lake.load(**PLACE, root=root), table)
    assert_frame_equal(lake.quality(**PLACE, root=root), quality)
    assert (card.symbols, card.rows, card.revised) == (("BTCUSDT", "ETHUSDT"), 202, 0)
    assert (card.first, card.last) == ("2025-01-01T05:00:00Z", "2025-02-03T07:00:00Z")
    assert card.written == tuple(f"{s}USDT/2025-0{m}" for s in ("BTC", "ETH") for m in (1, 2))
    assert card.fingerprint == lake.fingerprint(**PLACE, root=root)
    panda = lake.load(**PLACE, symbols=["ETHUSDT"], as_pandas=True, root=root)
    assert str(panda.index.tz) == "UTC"
    assert len(panda) == 101


def test_the_default_root_is_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    lake.write(*cleaned(range(3)), **PLACE)
    assert month(tmp_path).exists()
    assert lake.load(**PLACE).height == 3


def test_cards_hold_no_clock_and_no_path(root):
    lake.write(*cleaned(range(3)), **PLACE, root=root)
    text = month(root).with_name("card.json").read_text()
    assert str(root) not in text
    assert set(json.loads(text)) == {
        *("venue", "market", "symbol", "interval", "rows", "first", "last"),
        *("files", "quality", "seal"),
    }


hours = st.sets(st.integers(0, 2000), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None)
@given(st.lists(hours, min_size=1, max_size=4), st.data())
def test_merging_is_idempotent_and_of_any_order(tmp_path_factory, batches, data):
    root, other = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("other")
    for batch in batches:
        lake.write(*cleaned(sorted(batch)), **PLACE, root=root)
    before = contents(root)
    for batch in data.draw(st.permutations(batches)):
        card = lake.write(*cleaned(sorted(batch)), **PLACE, root=root, inputs={"again": 1})
        assert (card.written, card.revised) == ((), 0)
    assert contents(root) == before

    whole, quality = cleaned(sorted(set().union(*batches)))
    assert_frame_equal(lake.load(**PLACE, root=root), whole)
    assert_frame_equal(lake.quality(**PLACE, root=root), quality)
    lake.write(whole, quality, **PLACE, root=other)
    assert contents(other) == before


def test_only_the_months_that_change_are_written_again(root):
    lake.write(*cleaned(range(0, 1400)), **PLACE, root=root)
    stamp = month(root).stat().st_mtime_ns
    card = lake.write(*cleaned(range(1390, 1500)), **PLACE, root=root)
    assert card.written == ("BTCUSDT/2025-02", "BTCUSDT/2025-03")
    assert month(root).stat().st_mtime_ns == stamp


def test_a_new_value_wins_and_counts_as_revised_once(root):
    old, new = cleaned(range(10)), cleaned(range(4, 12), seed=1)
    lake.write(*old, **PLACE, root=root)
    for revised in (6, 0):
        assert lake.write(*new, **PLACE, root=root).revised == revised
        table = lake.load(**PLACE, root=root)
        assert_frame_equal(table, pl.concat([old[0].head(4), new[0]]))
        quality = lake.quality(**PLACE, root=root)
        assert bar_room.coverage(quality)["revised"] == 6
        assert quality["zero_volume"].sum() == (table["volume"] == 0).sum()


def test_what_imports_met_is_kept(root):
    for _ in range(2):
        lake.write(*cleaned(range(10), twice=4), **PLACE, root=root)
    lake.write(*cleaned(range(30)), **PLACE, root=root)
    assert lake.quality(**PLACE, root=root)["duplicates"].to_list() == [4, 0]


def test_spans_symbols_and_lazy_reading(root):
    table, quality = cleaned(range(1500), symbols=("A", "B"))
    lake.write(table, quality, **PLACE, root=root)
    start, end = datetime(2025, 1, 31, 22), date(2025, 2, 1)
    found = lake.load(**PLACE, symbols=["B"], start=start, end=end, root=root)
    assert found["open_time"].dt.hour().to_list() == [22, 23]
    text = {"start": "2025-01-31T22:00Z", "end": "2025-02-01"}
    assert_frame_equal(lake.scan(**PLACE, symbols=["B"], **text, root=root).collect(), found)
    assert lake.load(**PLACE, start="2030-01-01", root=root).schema == table.schema
    days = lake.quality(**PLACE, start=start, end="2025-02-01T01:00", root=root)
    assert days["day"].to_list() == [date(2025, 1, 31), date(2025, 2, 1)] * 2
    assert lake.quality(**PLACE, **text, root=root)["day"].n_unique() == 1


def test_the_fingerprint_is_of_the_months_asked_for(root):
    def prints():
        return [
            lake.fingerprint(**PLACE, **span, root=root)
            for span in ({}, {"end": "2025-02-01"}, {"start": "2025-02-01"})
        ]

    lake.write(*cleaned(range(1400)), **PLACE, root=root)
    before = prints()
    lake.write(*cleaned([1400]), **PLACE, root=root)
    assert [a == b for a, b in zip(before, prints())] == [False, True, False]


def test_opened_tells_the_open_times_of_a_month(root):
    lake.write(*cleaned([0, 5, 800]), **PLACE, root=root)
    start = int(JANUARY.timestamp() * 1000)
    assert lake.opened("BTCUSDT", "2025-01", **PLACE, root=root) == {start, start + 5 * 3_600_000}
    assert lake.opened("BTCUSDT", "2025-03", **PLACE, root=root) == set()
    assert lake.opened("ETHUSDT", "2025-01", **PLACE, root=root) == set()


def test_sql_sees_all_that_is_stored(root):
    lake.write(*cleaned(range(5), symbols=("A", "B")), **PLACE, root=root)
    lake.write(*cleaned(range(7)), **PLACE | {"venue": "o'hara*", "market": "[x]"}, root=root)
    lake.write(*cleaned(range(9)), **PLACE | {"venue": "o'hara2", "market": "[x]"}, root=root)
    query = (
        "SELECT venue, market, interval, symbol, count(*) AS n, min(open_time) AS first "
        "FROM bars GROUP BY ALL ORDER BY ALL"
    )
    found = lake.sql(query, root=root)
    assert found.rows() == [
        ("binance", "um", "1 h", "A", 5, JANUARY),
        ("binance", "um", "1 h", "B", 5, JANUARY),
        ("o'hara*", "[x]", "1 h", "BTCUSDT", 7, JANUARY),
        ("o'hara2", "[x]", "1 h", "BTCUSDT", 9, JANUARY),
    ]
    assert lake.sql(query, as_pandas=True, root=root)["n"].to_list() == [5, 5, 7, 9]
    for bad in (
        "SELEKT 1",
        "SELECT nothing FROM bars",
        "CREATE TABLE x (i INT)",
        "SELECT 1; SELECT 2",
        "",
    ):
        with pytest.raises(UserError, match=r"^sql: [^\n]*$"):
            lake.sql(bad, root=root)


# -- damage and interruption ----------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_flipped_bit_is_noticed(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("flip")
    table, quality = cleaned(range(30))
    lake.write(table, quality, **PLACE, root=root)
    file = data.draw(st.sampled_from([month(root), month(root).with_name("card.json")]))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    for read in (
        lambda: lake.load(**PLACE, root=root),
        lambda: lake.sql("SELECT * FROM bars", root=root),
        lambda: lake.opened("BTCUSDT", "2025-01", **PLACE, root=root),
        lambda: lake.write(table, quality, **PLACE, root=root),
    ):
        with pytest.raises(UserError, match=r"^[^\n]*$") as noticed:
            read()
        assert str(file) in str(noticed.value)
        assert "./run download" in str(noticed.value)


def test_deleting_the_damaged_file_and_importing_again_mends(root):
    table, quality = cleaned(range(1000))
    lake.write(table, quality, **PLACE, root=root)
    lake.mark_complete(**PLACE, root=root)
    before = contents(root)
    assert lake.is_complete(**PLACE, root=root)
    month(root).unlink()
    assert not lake.is_complete(**PLACE, root=root)
    assert lake.opened("BTCUSDT", "2025-01", **PLACE, root=root) == set()
    with pytest.raises(UserError, match="is gone"):
        lake.load(**PLACE, root=root)
    assert lake.write(table, quality, **PLACE, root=root).written == ("BTCUSDT/2025-01",)
    assert contents(root) == before


class Killed(BaseException):
    pass


def test_a_write_killed_anywhere_is_done_or_undone(tmp_path, monkeypatch):
    """Stop before each rename, as a kill would; what is read is all old or all new."""
    old, new = cleaned([1, *range(0, 1000, 2)]), cleaned(range(1500), seed=1)
    lake.write(*old, **PLACE, root=tmp_path / "start")
    shutil.copytree(tmp_path / "start", tmp_path / "done")
    lake.write(*new, **PLACE, root=tmp_path / "done")
    states = [lake.load(**PLACE, root=tmp_path / name) for name in ("start", "done")]
    replace, seen = Path.replace, []
    for stop in range(20):
        root, calls = tmp_path / f"kill{stop}", iter(range(99))
        shutil.copytree(tmp_path / "start", root)

        def dying(self, target, calls=calls, stop=stop):
            if next(calls) == stop:
                raise Killed
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", dying)
        try:
            lake.write(*new, **PLACE, root=root)
            was_killed = False
        except Killed:
            was_killed = True
        monkeypatch.setattr(Path, "replace", replace)
        found = lake.load(**PLACE, root=root)
        seen.append([found.equals(state) for state in states])
        lake.write(*new, **PLACE, root=root)
        assert contents(root) == contents(tmp_path / "done")
        if not was_killed:
            break
    assert seen[0] == [True, False]
    assert seen[-1] == [False, True]
    assert seen == sorted(seen, reverse=True)
    assert len(seen) > 6


def test_what_was_staged_and_never_committed_is_not_read(root):
    table, quality = cleaned(range(10))
    lake.write(table, quality, **PLACE, root=root)
    staged = month(root).with_name(f"2025-01.parquet{shelf.STAGED}")
    staged.write_bytes(b"half")
    assert_frame_equal(lake.load(**PLACE, root=root), table)
    lake.write(*cleaned(range(12)), **PLACE, root=root)
    assert not staged.exists()


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"venue": "kraken"}, "no 1 h bars of kraken/um. Stored: binance/um 1 h"),
        ({"interval": timedelta(minutes=1)}, "no 1 min bars"),
        ({"symbols": ["BTCUSD"]}, "Did you mean 'BTCUSDT'"),
        ({"start": "2025-02-01", "end": "2025-01-01"}, "not after start"),
        ({"start": "yesterday"}, "is no time"),
    ],
)
def test_what_is_not_stored_is_said(root, asked, said):
    lake.write(*cleaned(range(3)), **PLACE, root=root)
    with pytest.raises(UserError) as refusal:
        lake.load(**PLACE | asked, root=root)
    assert said in str(refusal.value)


def test_what_cannot_be_stored_is_refused(root):
    table, quality = cleaned(range(3))
    with pytest.raises(TableError, match="not all are 1 min long"):
        lake.write(table, quality, **PLACE | {"interval": timedelta(minutes=1)}, root=root)
    with pytest.raises(TableError, match="not sorted"):
        lake.write(table.reverse(), quality, **PLACE, root=root)
    with pytest.raises(TableError, match="no rows"):
        lake.write(table.clear(), quality, **PLACE, root=root)
    for name in ("../up", "", ".hidden", "a/b"):
        with pytest.raises(UserError, match="cannot be the name of a folder"):
            lake.write(table, quality, **PLACE | {"venue": name}, root=root)
    with pytest.raises(UserError, match="no bars are stored"):
        lake.sql("SELECT 1", root=root)
    assert contents(root) == {}


def test_a_disk_that_refuses_is_one_line(tmp_path):
    (tmp_path / "bars").write_text("a file where a folder must be")
    with pytest.raises(UserError, match=r"^cannot write [^\n]*$"):
        lake.write(*cleaned(range(3)), **PLACE, root=tmp_path)


def test_bytes_do_not_depend_on_how_a_table_is_held(root, tmp_path):
    table, quality = cleaned(range(100))
    lake.write(table, quality, **PLACE, root=root)
    pieces = pl.concat([table[:13], table[13:]], rechunk=False)
    lake.write(pieces, quality, **PLACE, root=tmp_path)
    assert atomic.sha256(month(root)) == atomic.sha256(month(tmp_path))
