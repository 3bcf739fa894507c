from datetime import UTC, datetime, timedelta

import pandas as pd
import polars as pl
import pytest

from research import schema
from research.schema import BARS, LABELS, TableError

START = datetime(2024, 5, 1, tzinfo=UTC)


def bars(symbols=("AAA", "BBB"), n=3):
    rows = [
        {
            "symbol": s,
            "time": START + timedelta(minutes=i + 1),
            "open_time": START + timedelta(minutes=i),
            **dict.fromkeys(("open", "high", "low", "close"), 100.0 + i),
            "volume": 1.0,
        }
        for s in symbols
        for i in range(n)
    ]
    table = pl.DataFrame(rows, schema={c: t for c, t in BARS.items() if c in rows[0]})
    return schema.as_table(table, BARS, "bars")


def test_a_good_table_comes_back_itself():
    table = bars()
    assert schema.check(table, BARS, "bars") is table


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.drop("close"), "column 'close' is missing"),
        (lambda t: t.with_columns(pl.col("volume").cast(pl.Int64)), "'volume' must be Float64"),
        (lambda t: t.reverse(), "not sorted"),
        (lambda t: pl.concat([t, t]).sort("symbol", "time"), "repeat a .*AAA 2024-05-01 00:01:00Z"),
        (lambda t: t.with_columns(high=pl.lit(float("nan"))), "'high' holds nan in 6 rows.*AAA"),
        (lambda t: t.with_columns(low=pl.lit(float("-inf"))), "'low' holds -inf"),
        (lambda t: t.with_columns(symbol=pl.lit(None, pl.String)), "'symbol' is null in 6 rows"),
    ],
)
def test_what_is_wrong_is_named(spoil, said):
    with pytest.raises(TableError, match=said):
        schema.check(spoil(bars()), BARS, "bars")


def test_symbols_may_share_times():
    assert schema.check(bars(("A", "B", "C"), 1), BARS, "bars").height == 3


@pytest.mark.parametrize("symbols", [("AAA",), ("AAA", "BBB")])
def test_through_pandas_and_back(symbols):
    table = bars(symbols)
    frame = schema.to_pandas(table)
    assert str(frame.index.get_level_values("time").tz) == "UTC"
    back = schema.as_table(frame, BARS, "bars")
    assert back.select(list(BARS)).equals(table.select(list(BARS)))


def test_panels_have_time_first():
    assert list(schema.to_pandas(bars()).index.names) == ["time", "symbol"]


def test_unnamed_datetime_index_is_taken_as_time():
    frame = schema.to_pandas(bars(("AAA",))).rename_axis(None)
    assert schema.as_table(frame, BARS, "bars").height == 3


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f.tz_localize(None), "without a time zone"),
        (lambda f: f.assign(close=float("nan")), "'close' is NaN in 3 rows, first AAA 2024-05-01"),
        (lambda f: f.iloc[::-1], "not sorted"),
        (lambda f: f["close"], "expected a polars or pandas frame"),
    ],
)
def test_mistakes_of_pandas_are_named_at_the_one_door(spoil, said):
    frame = schema.to_pandas(bars(("AAA",)))
    with pytest.raises(TableError, match=said):
        schema.as_table(spoil(frame), BARS, "bars")


def test_milliseconds_of_pandas_become_microseconds():
    frame = schema.to_pandas(bars(("AAA",)))
    frame.index = frame.index.as_unit("ms")
    assert schema.as_table(frame, BARS, "bars").schema["time"] == schema.TIME


def test_labels_need_no_bar_columns():
    table = pl.DataFrame(
        {"symbol": ["A"], "time": [START], "known_at": [START], "y": [None]},
        schema_overrides={"y": pl.Float64},
    )
    assert schema.as_table(table, LABELS, "labels").height == 1
    assert isinstance(schema.to_pandas(table), pd.DataFrame)
