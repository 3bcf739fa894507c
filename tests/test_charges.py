"""Charges: against numbers by hand, a slow plain twin, and the law that nothing looks ahead."""

import math
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from research import charges, datasets, study
from research.errors import UserError
from research.schema import TableError

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT.parent / "shared/data/l2_snapshots/binance_um_BTCUSDT_20251202_l20.parquet"
START = datetime(2025, 3, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def made(**options):
    """A study with these costs."""
    return study.Study().with_options({f"costs.{key}": value for key, value in options.items()})


def bars_of(symbol, close, volume, *, step=HOUR, start=START, quote=None):
    """Bars of one symbol whose opens are the closes before."""
    n = len(close)
    opened = pl.datetime_range(start, start + (n - 1) * step, step, eager=True)
    return pl.DataFrame(
        {
            "symbol": [symbol] * n,
            "time": (opened + step).dt.cast_time_unit("us"),
            "open_time": opened.dt.cast_time_unit("us"),
            "open": [close[0], *close[:-1]],
            "close": close,
            "volume": volume,
            "quote_volume": [None] * n if quote is None else quote,
        },
        schema_overrides={"quote_volume": pl.Float64, "close": pl.Float64, "open": pl.Float64},
    )


def random_bars(seed=0, days=3, step=10 * MINUTE):
    rng = np.random.default_rng(seed)
    n = days * DAY // step
    parts = []
    for symbol in ("A", "B"):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, n)))
        part = bars_of(symbol, close.tolist(), rng.exponential(5, n).tolist(), step=step)
        parts.append(part.filter(pl.Series(rng.random(n) > 0.1)))
    return pl.concat(parts)


# what a bar's fill pays


def test_impact_by_hand():
    # 24 hourly bars of 1 % up and 1 % down in logs, 1,000 quote each, then two more
    close = [100 * math.exp(0.01 * (k % 2)) for k in range(26)]
    bars = bars_of("A", close, [1.0] * 26, quote=[1000.0] * 26)
    found = charges.columns(made(impact=0.5), bars)["impact"].to_list()
    # before the 25th bar: 23 moves of 1 % (the first bar opened at its close); before the 26th: 24
    assert found[:24] == [0.0] * 24  # not a day of history yet
    assert found[24] == pytest.approx(0.5 * 0.01 * math.sqrt(23) / math.sqrt(24_000), rel=1e-12)
    assert found[25] == pytest.approx(0.5 * 0.01 * math.sqrt(24) / math.sqrt(24_000), rel=1e-12)


def test_an_order_as_large_as_the_days_volume_pays_that_many_volatilities():
    bars = bars_of("A", [100.0, *[101.0, 100.0] * 13], [2.0] * 27)
    row = charges.columns(made(impact=0.7), bars).row(-1, named=True)
    day = bars.tail(26).head(25).tail(24)
    quote = (day["volume"] * day["close"]).sum()
    sigma = math.log(1.01) * math.sqrt(24)
    assert row["impact"] * math.sqrt(quote) == pytest.approx(0.7 * sigma, rel=1e-12)


def test_impact_equals_a_slow_twin_with_holes_in_the_data():
    bars = random_bars()
    found = charges.columns(made(impact=1.0), bars)["impact"].to_numpy()
    slow, known = np.zeros(bars.height), 0
    rows = list(bars.iter_rows(named=True))
    for i, bar in enumerate(rows):
        mine = [k for k, b in enumerate(rows) if b["symbol"] == bar["symbol"]]
        since = bar["open_time"] - DAY
        inside = [k for k in mine if since < rows[k]["time"] <= bar["open_time"]]
        if rows[mine[0]]["open_time"] > since or not inside:
            continue
        before = [rows[k - 1]["close"] if k != mine[0] else rows[k]["open"] for k in inside]
        moves = [math.log(rows[k]["close"] / b) for k, b in zip(inside, before, strict=True)]
        traded = sum(rows[k]["volume"] * rows[k]["close"] for k in inside)
        slow[i] = math.sqrt(sum(m * m for m in moves) / traded)
        known += 1
    assert known > 400
    np.testing.assert_allclose(found, slow, rtol=1e-12, atol=0)


@pytest.mark.parametrize("cut", [150, 290, 431])
def test_later_bars_change_no_earlier_charge(cut):
    bars = random_bars(days=4).filter(symbol="A")
    later = pl.int_range(pl.len()) >= cut
    bent = bars.with_columns(
        pl.when(later).then(pl.col("close", "open", "volume") * 1.7).otherwise(
            pl.col("close", "open", "volume")
        )
    )  # fmt: skip
    some = made(impact=1.0, half_spread="1 bps")
    straight, crooked = charges.columns(some, bars), charges.columns(some, bent)
    # the first bent bar itself still pays what was known when it opened
    assert_frame_equal(straight.head(cut + 1), crooked.head(cut + 1), check_exact=True)
    assert not straight.equals(crooked)


def test_a_bar_costs_the_same_in_a_longer_history():
    bars = random_bars(days=4).filter(symbol="A")
    some = made(impact=1.0)
    whole, part = (charges.columns(some, b).tail(100) for b in (bars, bars.tail(300)))
    assert part["impact"].min() > 0
    assert_frame_equal(whole, part, check_exact=True)


def test_impact_is_nothing_without_volume_and_by_default():
    flat = bars_of("A", [100.0] * 30, [0.0] * 30)
    assert charges.columns(made(impact=1.0), flat)["impact"].to_list() == [0.0] * 30
    assert charges.columns(made(), random_bars())["impact"].sum() == 0


def test_half_spread_is_the_symbols_own_times_its_hour():
    hours = [1.0] * 24
    hours[0], hours[5] = 3.0, 0.0
    bars = pl.concat([bars_of(s, [1.0] * 6, [1.0] * 6) for s in ("A", "B")])
    some = made(half_spread={"A": "1 bps", "B": "2 bps", "C": 0.0}, hours=hours)
    table = charges.columns(some, bars)
    assert table.columns == ["symbol", "time", "half_spread", "impact"]
    assert_frame_equal(table.select("symbol", "time"), bars.select("symbol", "time"))
    expected = [3e-4, 1e-4, 1e-4, 1e-4, 1e-4, 0.0, 6e-4, 2e-4, 2e-4, 2e-4, 2e-4, 0.0]
    assert table["half_spread"].to_list() == pytest.approx(expected)


def test_a_symbol_without_a_half_spread_is_named():
    bars = bars_of("BTCUSDT", [1.0], [1.0])
    with pytest.raises(UserError, match=r"costs.half_spread: 'BTCUSDT' is not .* 'BTCUSD'\?"):
        charges.columns(made(half_spread={"BTCUSD": 0.0001}), bars)


def test_round_trip_is_twice_fee_half_spread_and_slippage():
    assert charges.round_trip(made(fee=0.0005, slippage=0.0001)) == pytest.approx(0.0012)
    per_symbol = {"half_spread": {"A": 0.0001, "B": 0.0003}, "fee": 0.0, "slippage": 0.0}
    assert charges.round_trip(made(**per_symbol)) == pytest.approx(0.0004)
    only_b = made(**per_symbol).with_options({"data.symbols": ["B"]})
    assert charges.round_trip(only_b) == pytest.approx(0.0006)
    assert charges.round_trip(made(**per_symbol, hours=[0.0] * 12 + [1.0] * 12)) == pytest.approx(
        0.0002
    )


def test_another_venue_s_fees_are_another_trial_and_all_else_of_how_it_runs_is_none(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    bars = bars_of("A", [1.0], [1.0])

    def count(**options):
        chosen = study.Study().with_options({k.replace("_", ".", 1): v for k, v in options.items()})
        return datasets.begin_trial(chosen, bars, "backtest").done()

    assert count() == 1
    assert count(live_venue="kraken") == 2
    assert count(live_feed="kraken") == 2
    assert count(costs_venue="kraken_spot", live_venue="kraken", live_days=3) == 2
    assert count(costs_fee="5 bps") == 3
    assert count(costs_fee="5 bps", live_venue="kraken") == 3


# filters


def test_filters_in_the_desks_order():
    found = charges.filters(made(lot={"A": 0.1, "B": 2}, tick=0.5, min_notional=5), ["B", "A"])
    assert found["lot"].tolist() == [2.0, 0.1]
    assert found["tick"].tolist() == [0.5, 0.5]
    assert found["lot"].dtype == found["tick"].dtype == np.float64
    assert found["min_notional"] == 5
    with pytest.raises(UserError, match=r"costs.tick: 'B' is not named"):
        charges.filters(made(tick={"A": 0.1}), ["A", "B"])


# funding


def moments(schedule, s):
    """Symbol s's moments as (datetime, rate)."""
    part = slice(schedule.first[s], schedule.first[s + 1])
    at = [datetime.fromtimestamp(t / 1e6, UTC) for t in schedule.time[part]]
    return list(zip(at, schedule.rate[part].tolist(), strict=True))


def write_history(path, rows, names=("symbol", "time", "rate")):
    lines = [",".join(names), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return made(funding_history=str(path))


def test_a_stated_rate_falls_due_at_0_8_and_16_utc():
    some = made(funding="1 bps")
    found = charges.funding(some, ["A", "B"], START, START + DAY)
    due = [(START + h * HOUR, 1e-4) for h in (8, 16, 24)]  # after the start, with the end
    assert moments(found, 0) == moments(found, 1) == due
    assert found.first.tolist() == [0, 3, 6]
    assert [a.dtype for a in found] == [np.int64, np.int64, np.float64]
    late = charges.funding(some, ["A"], START - MINUTE, START + 8 * HOUR - MINUTE)
    assert moments(late, 0) == [(START, 1e-4)]


def test_no_funding_is_an_empty_schedule():
    found = charges.funding(made(), ["A", "B"], START, START + 9 * DAY)
    assert found.first.tolist() == [0, 0, 0]
    assert len(found.time) == len(found.rate) == 0
    assert [a.dtype for a in found] == [np.int64, np.int64, np.float64]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_history_is_paid_at_its_own_times(tmp_path, form):
    rows = [
        ("A", "2025-03-01T04:00:00Z", 0.0001),
        ("A", "2025-03-01 09:00:00.5+01:00", -0.0002),
        ("A", "2025-03-02T00:00:00Z", 0.0),
        ("B", "2025-02-28T16:00:00Z", 0.0003),
        ("B", "2025-03-01T00:00:00Z", 0.0004),
        ("B", "2025-03-01T08:00:00Z", 0.0005),
    ]
    if form == "csv":
        some = write_history(tmp_path / "rates.csv", rows)
    else:
        at = [datetime.fromisoformat(t) for _, t, _ in rows]
        table = pl.DataFrame({"symbol": [r[0] for r in rows], "time": at})
        rate = pl.Series("rate", [r[2] for r in rows])
        table.with_columns(rate).write_parquet(tmp_path / "rates.parquet")
        some = made(funding_history=str(tmp_path / "rates.parquet"))
    found = charges.funding(some, ["B", "A"], START, START + DAY)
    half = timedelta(milliseconds=500)
    assert moments(found, 0) == [(START + 8 * HOUR, 0.0005)]
    assert moments(found, 1) == [
        (START + 4 * HOUR, 0.0001),
        (START + 8 * HOUR + half, -0.0002),
        (START + DAY, 0.0),
    ]


def test_outside_the_history_the_stated_rate_is_paid(tmp_path):
    rows = [("A", "2025-03-02T00:00:00Z", 0.001), ("A", "2025-03-02T08:00:00Z", 0.002)]
    some = write_history(tmp_path / "rates.csv", rows).with_options({"costs.funding": 0.0003})
    found = moments(charges.funding(some, ["A"], START, START + 2 * DAY), 0)
    rates = [3e-4, 3e-4, 1e-3, 2e-3, 3e-4, 3e-4]
    assert found == [(START + 8 * k * HOUR, rate) for k, rate in zip(range(1, 7), rates)]


def test_a_relative_path_counts_from_the_project(tmp_path, monkeypatch):
    write_history(tmp_path / "rates.csv", [("A", "2025-03-01T08:00:00Z", 0.001)])
    monkeypatch.setattr("research.charges.schedule.ROOT", tmp_path)
    some = made(funding_history="rates.csv")
    assert moments(charges.funding(some, ["A"], START, START + DAY), 0) == [
        (START + 8 * HOUR, 0.001)
    ]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([("A", "2025-03-01 08:00:00", 0.001)], "without a time zone"),
        ([("A", "2025-03-01", 0.001)], "without a time zone"),
        ([("A", "1740816000000", 0.001)], "without a time zone"),
        ([("A", "noonZ", 0.001)], "cannot be read"),
        ([("A", "2025-03-01T08:00:00Z", "much")], "cannot be read"),
        ([("A", "2025-03-01T08:00:00Z", "nan")], "column 'rate' holds"),
        ([("A", "2025-03-01T08:00:00Z", "")], "within 10 %"),
        ([("A", "2025-03-01T08:00:00Z", 0.5)], "within 10 %"),
        ([("A", "2025-03-01T08:00:00Z", 0), ("A", "2025-03-01T00:00:00Z", 0)], "not sorted"),
        ([("A", "2025-03-01T08:00:00Z", 0), ("A", "2025-03-01T08:00:00Z", 0)], "repeat"),
        ([("B", "2025-03-01T08:00:00Z", 0)], "no rate of 'A'.*Symbols there: B"),
        ([("A", "2025-02-20T00:00:00Z", 0), ("A", "2025-03-09T00:00:00Z", 0)], "more than a day"),
    ],
)
def test_a_history_that_is_not_one_is_refused(tmp_path, rows, says):
    some = write_history(tmp_path / "rates.csv", rows)
    with pytest.raises(UserError, match=says) as caught:
        charges.funding(some, ["A"], START, START + DAY)
    assert "\n" not in str(caught.value)


def test_a_history_with_other_columns_or_no_file_is_refused(tmp_path):
    rows = [("A", "2025-03-01T08:00:00Z", 0.001)]
    for names, missing in ((("symbol", "at", "rate"), "time"), (("s", "time", "rate"), "symbol")):
        with pytest.raises(TableError, match=f"column '{missing}' is missing"):
            some = write_history(tmp_path / "rates.csv", rows, names)
            charges.funding(some, ["A"], START, START + DAY)
    with pytest.raises(UserError, match=r"no file 'gone.csv'"):
        charges.funding(made(funding_history="gone.csv"), ["A"], START, START + DAY)


# recorded books


def book(rows, symbol="A", start=START):
    """Rows of (seconds, bid, ask)."""
    second, bid, ask = (list(column) for column in zip(*rows, strict=True))
    at = [start + timedelta(seconds=s) for s in second]
    time = pl.Series("time", at).dt.cast_time_unit("us")
    return pl.DataFrame({"symbol": symbol, "time": time, "bid": bid, "ask": ask})


def test_half_spread_is_the_median_over_time():
    # 1 s at 10 bps, 3 s at 1 bp, 2 s at 2 bps; the last one's standing is not known
    rows = [(0, 99.9, 100.1), (1, 99.99, 100.01), (4, 99.98, 100.02), (6, 90.0, 110.0)]
    assert charges.half_spreads(book(rows)) == pytest.approx({"A": 1e-4})
    # a crossed book weighs nothing, silence a minute at most
    rows = [(0, 99.99, 100.01), (55, 99.99, 100.01), (110, 99.9, 100.1)]
    rows += [(9000, 100.1, 99.9), (9999, 99.0, 101.0)]
    assert charges.half_spreads(book(rows)) == pytest.approx({"A": 1e-4})


def test_hours_are_multiples_of_the_symbols_own():
    def hour(h, half):
        rows = [(h * 3600 + 10 * k, 100 * (1 - half), 100 * (1 + half)) for k in range(361)]
        return [row for row in rows if row[0] < (h + 1) * 3600]

    quiet = book([*hour(0, 1e-4), *hour(1, 1e-4), *hour(2, 3e-4)])
    wide = book([*hour(0, 1e-3), *hour(1, 1e-3), *hour(2, 5e-3)], "B")
    both = pl.concat([quiet, wide])
    assert charges.half_spreads(both) == pytest.approx({"A": 1e-4, "B": 1e-3})
    multiples = charges.hour_multiples(both)
    assert multiples == pytest.approx([1, 1, 4] + [1] * 21)
    stated = made(half_spread=charges.half_spreads(both), hours=multiples)
    assert stated.costs.half_spread["B"] == pytest.approx(1e-3)


def test_books_that_cannot_be_read():
    with pytest.raises(UserError, match="above zero, first not A 2025-03-01"):
        charges.half_spreads(book([(0, -1.0, 1.0), (1, 1.0, 2.0)]))
    with pytest.raises(UserError, match="A has no quote that stands"):
        charges.half_spreads(book([(0, 2.0, 1.0), (1, 1.0, 2.0)]))


def test_a_recorded_book():
    if not BOOK.exists():
        pytest.skip("shared order-book extracts are not here")
    raw = pl.read_parquet(BOOK)
    table = raw.select(
        "symbol",
        time=pl.from_epoch("timestamp", "ms").dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
        bid="bid_price_0",
        ask="ask_price_0",
    ).unique("time", keep="last", maintain_order=True)
    found = charges.half_spreads(table)
    (symbol,) = found
    # one tick of 0.1 at some 87,000 most of the time: half of it is 0.006 bps
    tick = 0.1 / 2 / table["bid"].median()
    assert found[symbol] == pytest.approx(tick, rel=0.02)
