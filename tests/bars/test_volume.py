"""Volume and dollar bars, against a plain walk over rows and by their laws."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from research import bars, features
from research.bars import volume
from research.errors import UserError
from research.schema import BARS, EXTRAS, check, to_pandas
from research.steps import streaming

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
MIDNIGHT = datetime(2024, 5, 1, tzinfo=UTC)
KLINES = Path(__file__).resolve().parents[2].parent / "shared/data/klines_1m/spot_ohlcv_2025-03"
real = pytest.mark.skipif(not KLINES.is_dir(), reason="the spot klines of 2025-03 are not here")


def minutes(at, *, symbol="A", seed=0, extras=True, quiet=0.1):
    """One bar for each minute after midnight in `at`, decided by its minute alone."""
    rows = []
    for minute in at:
        luck = np.random.default_rng([seed, ord(symbol[0]), minute])
        low, high = np.sort(luck.uniform(50, 150, 2))
        amount = 0.0 if luck.random() < quiet else luck.exponential(1.0)
        rows.append(
            {
                "symbol": symbol,
                "open_time": MIDNIGHT + minute * MINUTE,
                "open": luck.uniform(low, high),
                "high": high,
                "low": low,
                "close": luck.uniform(low, high),
                "volume": amount,
                "quote_volume": amount * low if extras else None,
                "trades": int(luck.integers(0, 100)) if extras else None,
            }
        )
    return rows


def table(*rows):
    flat = [row for part in rows for row in part]
    raw = pl.DataFrame(flat, schema={c: BARS[c] for c in flat[0]})
    return bars.clean(raw, interval=MINUTE, name="bars")[0]


def walked(base, size, *, kind="volume", sparse=False):
    """Do what `volume_bars` says, row by row."""
    days = set(base["open_time"].dt.date())
    made, parts, before, goes_on = [], [], None, False
    for row in base.iter_rows(named=True):
        if before is None or row["symbol"] != before["symbol"]:
            parts, goes_on = [], False
        elif sparse:
            between = [
                before["open_time"].date() + i * DAY
                for i in range((row["open_time"].date() - before["open_time"].date()).days)
            ]
            if set(between) - days:
                parts, goes_on = [], False
        elif row["open_time"] != before["time"]:
            parts, goes_on = [], False
        if not parts:
            opened = before["time"] if sparse and goes_on else row["open_time"]
        before = row
        parts.append(row)
        if plain_sum([amount(part, kind) for part in parts]) >= size:
            made.append(folded(parts) | {"open_time": opened, "parts": len(parts)})
            parts, goes_on = [], True
    return pl.DataFrame(made, schema=BARS | {"parts": pl.Int64})


def amount(row, kind):
    if kind == "volume":
        return row["volume"]
    told = row["quote_volume"]
    return row["volume"] * row["close"] if told is None else told


def plain_sum(numbers):
    total = numbers[0]
    for number in numbers[1:]:
        total = None if total is None or number is None else total + number
    return total


def folded(parts):
    first, last = parts[0], parts[-1]
    return {
        "symbol": first["symbol"],
        "time": last["time"],
        "open_time": first["open_time"],
        "open": first["open"],
        "high": max(part["high"] for part in parts),
        "low": min(part["low"] for part in parts),
        "close": last["close"],
        **{c: plain_sum([part[c] for part in parts]) for c in ("volume", *EXTRAS)},
    }


spans = st.sets(st.integers(0, 4 * 1440), min_size=1, max_size=80) | st.builds(
    lambda start, n, holes: set(range(start, start + n)) - holes,
    st.integers(0, 1500),
    st.integers(1, 120),
    st.sets(st.integers(0, 1600), max_size=5),
).filter(bool)
sizes = st.sampled_from([0.4, 2.0, 9.0])


@settings(max_examples=60, deadline=None)
@given(spans, spans, sizes, st.sampled_from(["volume", "dollar"]), st.booleans(), st.booleans())
def test_bars_equal_a_walk_bit_for_bit(one, other, size, kind, sparse, extras):
    base = table(
        minutes(sorted(one), extras=extras), minutes(sorted(other), symbol="B", extras=extras)
    )
    size = size * 90 if kind == "dollar" else size
    made = bars.volume_bars(base, size, kind=kind, sparse=sparse)
    check(made, BARS, "made")
    assert_frame_equal(made, walked(base, size, kind=kind, sparse=sparse), check_exact=True)


@settings(max_examples=30, deadline=None)
@given(spans, sizes, st.data())
def test_later_rows_change_no_bar(one, size, data):
    base = table(minutes(sorted(one)))
    cut = data.draw(st.integers(1, base.height))
    whole = bars.volume_bars(base, size)
    known = bars.volume_bars(base.head(cut), size)
    assert_frame_equal(known, whole.head(known.height), check_exact=True)
    assert (whole["time"][known.height :] > base["time"][cut - 1]).all()


@settings(max_examples=30, deadline=None)
@given(spans, sizes)
def test_a_symbol_is_made_as_if_it_were_alone(one, size):
    mine, others = minutes(sorted(one)), minutes(range(200), symbol="B")
    alone = bars.volume_bars(table(mine), size)
    together = bars.volume_bars(table(mine, others), {"A": size, "B": 3.0})
    assert_frame_equal(alone, together.filter(pl.col("symbol") == "A"), check_exact=True)


def test_a_bar_closes_with_the_minute_that_fills_it_and_spans_no_gap():
    rows = minutes([0, 1, 2, 3, 7, 8, 9, 10])
    for row, amount_ in zip(rows, (4.0, 4.0, 4.0, 4.0, 4.0, 12.0, 4.0, 4.0), strict=True):
        row["volume"] = amount_
    made = bars.volume_bars(table(rows), 10.0)
    # 00:03 alone is dropped at the gap, 00:09 and 00:10 are not yet a bar
    assert made.select(pl.col("open_time").dt.minute(), pl.col("time").dt.minute(), "volume").rows(
    ) == [(0, 3, 12.0), (7, 9, 16.0)]  # fmt: skip
    across = bars.volume_bars(table(rows), 10.0, sparse=True)
    assert across.select(
        pl.col("open_time").dt.minute(), pl.col("time").dt.minute(), "volume"
    ).rows() == [(0, 3, 12.0), (3, 9, 20.0)]


def test_a_day_nobody_has_is_a_gap_even_where_absent_means_no_trade():
    rows = minutes([1439, 1440 + 5, 3 * 1440 + 5, 3 * 1440 + 6], quiet=0)
    for row in rows:
        row["volume"] = 4.0
    made = bars.volume_bars(table(rows), 8.0, sparse=True)
    assert made["open_time"].dt.day().to_list() == [1, 4]
    known = minutes([2 * 1440 + 3], symbol="B")
    both = bars.volume_bars(table(rows, known), 12.0, sparse=True)
    assert both.filter(pl.col("symbol") == "A")["open_time"].dt.day().to_list() == [1]


def test_trades_in_the_same_columns_make_bars():
    at = [MIDNIGHT + timedelta(milliseconds=7 * i) for i in range(6)]
    price = [10.0, 11.0, 9.0, 10.0, 10.5, 12.0]
    trades = pl.DataFrame(
        {"symbol": "A", "time": at, "open_time": at}
        | dict.fromkeys(("open", "high", "low", "close"), price)
        | {"volume": [1.0] * 6, "quote_volume": price, "trades": [1] * 6},
        schema_overrides={c: BARS[c] for c in ("time", "open_time")},
    ).with_columns(*(pl.lit(None, pl.Float64).alias(c) for c in EXTRAS[2:]))
    made = bars.volume_bars(trades, 29.0, kind="dollar", sparse=True)
    assert made.select("open", "high", "low", "close", "volume", "trades").rows() == [
        (10.0, 11.0, 9.0, 9.0, 3.0, 3),
        (10.0, 12.0, 10.0, 12.0, 3.0, 3),
    ]


def test_streaming_and_batch_close_the_same_bars():
    base = table(minutes(range(300)))
    live = streaming(volume.full, 0.0, 0.0)
    closed = [bool(live.update(v, 5.0, i == 0)) for i, v in enumerate(base["volume"])]
    assert base["time"].filter(pl.Series(closed)).equals(bars.volume_bars(base, 5.0)["time"])


def test_histories_that_start_apart_meet():
    base = table(minutes(range(2000)))
    early, late = bars.volume_bars(base, 5.0), bars.volume_bars(base.slice(3), 5.0)
    met = early.join(late, on="time", how="semi")["time"].min()
    assert met is not None
    after = pl.col("open_time") >= met
    assert_frame_equal(early.filter(after), late.filter(after), check_exact=True)


def test_an_unknown_dollar_amount_is_volume_times_close_row_by_row():
    rows = minutes(range(40), quiet=0)
    for row in rows[20:]:
        row["quote_volume"] = None
    base = table(rows)
    assert_frame_equal(
        bars.volume_bars(base, 200.0, kind="dollar"),
        walked(base, 200.0, kind="dollar"),
        check_exact=True,
    )
    # what comes later must not change what is told now
    assert_frame_equal(
        bars.volume_bars(base.head(20), 200.0, kind="dollar"),
        bars.volume_bars(base, 200.0, kind="dollar").filter(pl.col("time") <= base["time"][19]),
    )


@pytest.mark.parametrize(
    ("size", "kind", "said"),
    [
        (0.0, "volume", "size of A must be above zero, found 0.0"),
        (-1.0, "dollar", "above zero"),
        (float("nan"), "volume", "above zero"),
        (float("inf"), "volume", "above zero"),
        ({"AA": 1.0}, "volume", "no size for A.*Did you mean 'AA'"),
        ({}, "volume", "no size for A.*Sizes: none"),
        (1.0, "tick", "'volume' or 'dollar', found 'tick'"),
    ],
)
def test_sizes_without_sense_are_one_line(size, kind, said):
    with pytest.raises(UserError, match=said) as caught:
        bars.volume_bars(table(minutes(range(5))), size, kind=kind)
    assert "\n" not in str(caught.value)


def test_no_base_bars_make_no_bars():
    base = table(minutes(range(5)))
    assert bars.volume_bars(base.clear(), 1.0).is_empty()
    assert bars.volume_bars(base, 1e9).is_empty()
    check(bars.volume_bars(base, 1e9), BARS, "made")


# -- how large a bar is ----------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(spans, st.data())
def test_the_size_is_of_the_first_day_alone(one, data):
    first = {minute for minute in one if minute < min(one) // 1440 * 1440 + 1440}
    assume(min(one) % 1440 < 1400)
    base = table(minutes(sorted(one), quiet=0))
    found = bars.typical_size(base, 15 * MINUTE)["A"]
    total = sum(row["volume"] for row in minutes(sorted(first), quiet=0))
    assert found == pytest.approx(total / ((1440 - min(one) % 1440) / 15))
    other = minutes(sorted(one - first), seed=data.draw(st.integers(1, 9)))
    assert bars.typical_size(table(minutes(sorted(first), quiet=0), other), 15 * MINUTE)[
        "A"
    ] == pytest.approx(found)
    assert bars.after_first_day(base).height == len(one - first)


def test_sizes_make_bars_as_long_as_asked_on_average():
    base = table(minutes(range(3 * 1440)), minutes(range(100, 3 * 1440), symbol="B"))
    for kind in ("volume", "dollar"):
        size = bars.typical_size(base, 15 * MINUTE, kind=kind)
        made = bars.volume_bars(bars.after_first_day(base), size, kind=kind)
        lasted = (made["time"] - made["open_time"]).mean()
        assert 15 * MINUTE < lasted < 17 * MINUTE  # a surplus is not carried on
        assert made["open_time"].min() == MIDNIGHT + DAY


def test_a_first_day_that_tells_nothing_is_refused():
    with pytest.raises(UserError, match=r"first day of A .* only 5 min"):
        bars.typical_size(table(minutes(range(1435, 1500))), 15 * MINUTE)
    with pytest.raises(UserError, match="nothing was traded"):
        bars.typical_size(table(minutes(range(9), quiet=1)), 5 * MINUTE)


# -- what can be done with them --------------------------------------------------------------------


def test_features_evaluate_on_them_and_pandas_takes_them():
    made = bars.volume_bars(table(minutes(range(3000)), minutes(range(3000), symbol="B")), 5.0)
    found = features.evaluate(made, features.SETS["S2"])
    assert found.height == made.height
    assert found.drop_nulls().height > 0.9 * made.height
    assert to_pandas(made).index.names == ["time", "symbol"]


@real
def test_on_real_bars_they_equal_the_walk_and_are_calmer():
    minute = []
    for name in ("BTCUSDT", "XRPUSDT"):
        found = pl.read_parquet(KLINES / f"{name}.parquet").with_columns(
            pl.col("open_time").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC"),
            symbol=pl.lit(name),
        )
        minute.append(found.with_columns(pl.col("open_time").dt.cast_time_unit("us")))
    base, _ = bars.clean(pl.concat(minute).drop("close_time"), interval=MINUTE, name="bars")
    size = bars.typical_size(base, 15 * MINUTE, kind="dollar")
    rest = bars.after_first_day(base)
    made = bars.volume_bars(rest, size, kind="dollar")
    one = rest.filter(pl.col("symbol") == "BTCUSDT").head(6000)
    expected = walked(one, size["BTCUSDT"], kind="dollar")
    assert_frame_equal(
        made.filter(pl.col("symbol") == "BTCUSDT").head(expected.height), expected, check_exact=True
    )
    clock = bars.resample(rest, 15 * MINUTE)
    assert kurtosis(made) < kurtosis(clock)


def kurtosis(frame):
    r = frame.select(pl.col("close").log().diff().over("symbol")).to_series().drop_nulls()
    return r.kurtosis()
