"""Laws of the cleaning and resampling of bars, each against a slow plain-Python twin."""

import random
from datetime import UTC, datetime, timedelta
from itertools import groupby

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from research import bars
from research.errors import UserError
from research.schema import BARS, TableError, check

MINUTE = timedelta(minutes=1)
MIDNIGHT = datetime(2024, 5, 1, tzinfo=UTC)


def klines(minutes, *, symbol="BTCUSDT", seed=0, extras=True):
    """Return a plain row per minute after midnight; every value decided by its minute alone."""
    rows = []
    for minute in minutes:
        chance = random.Random(f"{seed}/{symbol}/{minute}")
        low, high = sorted(chance.uniform(50, 150) for _ in range(2))
        volume = chance.choice([0.0, chance.uniform(0, 9)])
        rows.append(
            {
                "symbol": symbol,
                "open_time": MIDNIGHT + minute * MINUTE,
                "open": chance.uniform(low, high),
                "high": high,
                "low": low,
                "close": chance.uniform(low, high),
                "volume": volume,
                "quote_volume": volume * low if extras else None,
                "trades": chance.randrange(100) if extras else None,
            }
        )
    return rows


def frame(rows):
    types = {c: BARS[c] for c in rows[0] if c in BARS}
    return pl.DataFrame(rows, schema=types | {"file": pl.String} if "file" in rows[0] else types)


def clean(rows, **options):
    return bars.clean(frame(rows), **{"interval": MINUTE, "name": "bars"} | options)


def counts(quality):
    return {word: count for word, count in bars.coverage(quality).items() if count}


minutes_of_two_days = st.sets(st.integers(0, 2880), min_size=1, max_size=60)


@settings(deadline=None)
@given(minutes_of_two_days, st.data())
def test_order_and_repetition_change_no_bar_and_are_counted(minutes, data):
    rows = klines(sorted(minutes)) + klines(sorted(minutes), symbol="ETHUSDT")
    straight, _ = clean(rows)
    again = data.draw(st.lists(st.sampled_from(rows), max_size=20))
    mixed = data.draw(st.permutations(rows + again))
    crooked, quality = clean(mixed)

    assert_frame_equal(straight, crooked)
    late = 0
    for symbol in ("BTCUSDT", "ETHUSDT"):
        newest = MIDNIGHT
        for row in (row for row in mixed if row["symbol"] == symbol):
            late += row["open_time"] < newest
            newest = max(newest, row["open_time"])
    found = bars.coverage(quality)
    assert (found["rows"], found["duplicates"]) == (len(rows), len(again))
    assert (found["unsorted"], found["revised"], found["off_grid"]) == (late, 0, 0)
    assert found["zero_volume_bars"] == sum(row["volume"] == 0 for row in rows)
    assert found["missing_minutes"] == 2 * (max(minutes) - min(minutes) + 1 - len(minutes))


@settings(deadline=None)
@given(minutes_of_two_days)
def test_missing_bars_are_counted_on_their_day(minutes):
    _, quality = clean(klines(sorted(minutes)))
    expected = {}
    for minute in range(min(minutes), max(minutes) + 1):
        day = (MIDNIGHT + minute * MINUTE).date()
        expected[day] = expected.get(day, 0) + (minute not in minutes)
    assert dict(quality.select("day", "missing").iter_rows()) == expected


def test_a_day_without_a_bar_has_a_row():
    _, quality = clean(klines([0, 3 * 1440 - 1]))
    assert quality["rows"].to_list() == [1, 0, 1]
    assert quality["missing"].to_list() == [1439, 1440, 1439]


def test_the_last_of_several_values_stays():
    first, second = klines([5]), klines([5], seed=1)
    table, quality = clean(first + first + second + second + klines([6]))
    assert table["close"][0] == second[0]["close"]
    assert counts(quality) | {"zero_volume_bars": 0} == {
        "rows": 2,
        "duplicates": 2,
        "revised": 1,
        "zero_volume_bars": 0,
    }


def test_every_row_is_a_bar_or_is_counted():
    off = [row | {"open_time": row["open_time"] + timedelta(seconds=1)} for row in klines([2, 3])]
    rows = off + klines(range(9)) + klines([4], seed=3) + klines([5])
    _, quality = clean(rows)
    found = bars.coverage(quality)
    assert (found["off_grid"], found["revised"], found["duplicates"]) == (2, 1, 1)
    assert sum(found[c] for c in ("rows", "off_grid", "revised", "duplicates")) == len(rows)


def test_off_grid_rows_outside_the_span_are_counted_on_their_own_day():
    stray = klines([3 * 1440])
    stray[0]["open_time"] += timedelta(seconds=30)
    table, quality = clean(klines([0, 1, 2]) + stray)
    assert table.height == 3
    assert quality.select("rows", "missing", "off_grid").rows() == [(3, 0, 0), (0, 0, 1)]


@pytest.mark.parametrize(
    ("column", "value", "law"),
    [
        ("open", None, "price"),
        ("close", float("nan"), "price"),
        ("high", float("inf"), "price"),
        ("low", -1.0, "price"),
        ("low", 0.0, "price"),
        ("volume", -0.5, "volume"),
        ("volume", None, "volume"),
        ("trades", -1, "zero or above"),
        ("high", 40.0, "highest"),
        ("low", 105.0, "lowest"),  # between the open of 127.2 and the close of 104.8
    ],
)
def test_what_cannot_be_a_bar_is_refused_by_name(column, value, law):
    rows = klines(range(3))
    rows[1] |= {column: value, "file": "a.csv"}
    rows[0]["file"] = rows[2]["file"] = "a.csv"
    with pytest.raises(TableError) as refusal:
        clean(rows)
    text = str(refusal.value)
    for word in ("bars (a.csv)", "BTCUSDT 2024-05-01 00:01:00Z", repr(column), law, str(value)):
        assert word in text
    assert "\n" not in text


def test_extras_that_are_nan_are_not_known():
    rows = klines(range(2))
    rows[0]["quote_volume"] = float("nan")
    table, _ = clean(rows)
    assert table["quote_volume"].is_null().to_list() == [True, False]


def test_bars_of_another_length_are_refused():
    hours = klines(range(0, 60 * 120, 60))
    with pytest.raises(TableError, match="at least 1 h apart"):
        clean(hours)
    with pytest.raises(TableError, match="not open on a multiple of 1 h"):
        clean(klines(range(120)), interval=timedelta(hours=1))
    assert clean(hours, interval=timedelta(hours=1))[0].height == 120


def test_nothing_and_a_missing_column_are_refused():
    with pytest.raises(TableError, match="no rows"):
        bars.clean(frame(klines([0])).clear(), interval=MINUTE, name="bars")
    with pytest.raises(TableError, match="'close' is missing"):
        bars.clean(frame(klines([0])).drop("close"), interval=MINUTE, name="bars")


def slow_resample(rows, minutes):
    """Fold plain rows one by one, and keep whole buckets."""

    def bucket(row):
        return row["symbol"], (row["open_time"] - MIDNIGHT) // (minutes * MINUTE)

    for _, group in groupby(rows, key=bucket):
        parts = list(group)
        if len(parts) == minutes:
            yield folded(parts)


def folded(parts):
    return {
        "symbol": parts[0]["symbol"],
        "time": parts[-1]["open_time"] + MINUTE,
        "open_time": parts[0]["open_time"],
        "open": parts[0]["open"],
        "high": max(part["high"] for part in parts),
        "low": min(part["low"] for part in parts),
        "close": parts[-1]["close"],
        **{c: slow_sum(parts, c) for c in ("volume", "quote_volume", "trades")},
        "taker_buy_volume": None,
        "taker_buy_quote_volume": None,
    }


def slow_sum(parts, column):
    total = parts[0][column]
    for part in parts[1:]:
        total = None if total is None or part[column] is None else total + part[column]
    return total


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 1500),
    st.integers(1, 400),
    st.sampled_from([5, 60]),
    st.booleans(),
    st.sets(st.integers(0, 1900), max_size=3),
)
def test_resampling_equals_its_slow_twin_bit_for_bit(start, length, minutes, extras, holes):
    span = [m for m in range(start, start + length) if m not in holes]
    rows = klines(span, extras=extras) + klines(span, symbol="ETHUSDT", extras=extras)
    if not rows:
        return
    if extras:
        rows[len(rows) // 3]["quote_volume"] = None
    table, _ = clean(rows)
    expected = pl.DataFrame(list(slow_resample(rows, minutes)), schema=BARS)
    found = bars.resample(table, minutes * MINUTE)
    assert_frame_equal(found, expected, check_exact=True)
    check(found, BARS, "bars")


def slow_sparse(rows, minutes):
    """Fold what there is of each bucket, where every day it touches has a row of some symbol."""
    days = {row["open_time"].date() for row in rows}
    step = minutes * MINUTE
    epoch = datetime(1970, 1, 1, tzinfo=UTC)

    def bucket(row):
        return row["symbol"], epoch + (row["open_time"] - epoch) // step * step

    for (_, start), group in groupby(rows, key=bucket):
        parts = list(group)
        touched = {(start + minute * MINUTE).date() for minute in range(minutes)}
        if touched <= days:
            yield folded(parts) | {"open_time": start, "time": start + step}


@settings(max_examples=25, deadline=None)
@given(
    minutes_of_two_days, minutes_of_two_days, st.sampled_from([5, 60, 1440, 2880]), st.booleans()
)
def test_sparse_buckets_are_made_of_what_was_traded(one, other, minutes, extras):
    rows = klines(sorted(one), extras=extras) + klines(
        sorted(other), symbol="ETHUSDT", extras=extras
    )
    rows[len(rows) // 3]["quote_volume"] = None
    table, _ = bars.clean(frame(rows), interval=MINUTE, name="bars", sparse=True)
    expected = pl.DataFrame(list(slow_sparse(rows, minutes)), schema=BARS)
    found = bars.resample(table, minutes * MINUTE, sparse=True)
    assert_frame_equal(found, expected, check_exact=True)
    check(found, BARS, "bars")


def test_where_nothing_is_absent_both_readings_agree():
    table, _ = clean(klines(range(2880)) + klines(range(2880), symbol="ETHUSDT"))
    for minutes in (5, 60, 240, 1440):
        assert_frame_equal(
            bars.resample(table, minutes * MINUTE),
            bars.resample(table, minutes * MINUTE, sparse=True),
            check_exact=True,
        )


def test_a_sparse_bucket_over_an_unknown_day_is_left_out():
    table, _ = clean(klines([10, 1440 + 10, 3 * 1440 + 10]))
    two_days = bars.resample(table, 2880 * MINUTE, sparse=True)
    epoch_days = [(t - datetime(1970, 1, 1, tzinfo=UTC)).days for t in two_days["open_time"]]
    assert len(epoch_days) <= 1 and all(day % 2 == 0 for day in epoch_days)
    assert bars.resample(table, 1440 * MINUTE, sparse=True).height == 3
    assert bars.resample(table, 60 * MINUTE).is_empty()
    assert bars.resample(table.clear(), 60 * MINUTE, sparse=True).is_empty()


def test_thin_rows_of_a_sparse_source_are_minutes_all_the_same():
    thin = frame(klines(range(0, 60 * 120, 60)))
    table, quality = bars.clean(thin, interval=MINUTE, name="bars", sparse=True)
    assert table.height == 120
    assert bars.coverage(quality)["missing_minutes"] == 119 * 59


def test_resampling_to_hours_by_way_of_five_minutes_keeps_the_prices():
    table, _ = clean(klines(range(17, 600)))
    five = bars.resample(table, 5 * MINUTE)
    assert_frame_equal(bars.resample(five, 60 * MINUTE), bars.resample(table, 60 * MINUTE))


def test_resampling_by_no_multiple_is_refused():
    five = bars.resample(clean(klines(range(60)))[0], 5 * MINUTE)
    for length in (7, 3):
        with pytest.raises(UserError, match="is not a multiple of the bars' 5 min"):
            bars.resample(five, length * MINUTE)
    assert bars.resample(five, 5 * MINUTE) is not None
    assert bars.resample(five.clear(), 7 * MINUTE).is_empty()


@settings(deadline=None)
@given(minutes_of_two_days, minutes_of_two_days)
def test_segments_count_gaps_within_a_symbol(one, other):
    table, _ = clean(klines(sorted(one)) + klines(sorted(other), symbol="ETHUSDT"))
    expected = []
    for minutes in (sorted(one), sorted(other)):
        run = 0
        for i, minute in enumerate(minutes):
            run += i > 0 and minute != minutes[i - 1] + 1
            expected.append(run)
    assert bars.segments(table).to_list() == expected


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([1, 7, 60, 1440, 3 * 1440]), st.integers(0, 4000), st.integers(0, 9000))
def test_slots_equal_a_walk_over_the_grid(length, start, more):
    first = -(-start // length) * length
    last = (start + more) // length * length
    if last < first:
        return
    ends = [MIDNIGHT + minute * MINUTE for minute in (first, last)]
    # the grid counts from 1970 and not from our midnight
    step = length * MINUTE
    shift = (MIDNIGHT - datetime(1970, 1, 1, tzinfo=UTC)) % step
    ends = [end - shift for end in ends]
    expected, moment = {}, ends[0]
    while moment <= ends[1]:
        expected[moment.date()] = expected.get(moment.date(), 0) + 1
        moment += step
    table = pl.DataFrame(
        {"symbol": "A", "open_time": ends}, schema={k: BARS[k] for k in ("symbol", "open_time")}
    )
    found = bars.slots(table, step).sort("day")
    assert dict(found.select("day", "slots").iter_rows()) == expected
