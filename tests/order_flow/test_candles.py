"""Bars from trades: by hand, against a slow twin, and against the venue's own klines."""

import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parent))

from recorded import KLINES, RAW, SECOND, gap, quote, recording, trade

from research import order_flow, schema
from research.sources import recordings

ONE = timedelta(seconds=1)
ENDS = [quote(0, 1.0, 3.0), quote(10 * SECOND, 1.0, 3.0)]


def opened(bars):
    return (bars["open_time"].to_physical() // SECOND).to_list()


def test_a_bar_by_hand():
    trades = [
        trade(2 * SECOND, 5.0, 2.0, 1, 1),
        trade(2 * SECOND + 900_000, 7.0, 1.0, -1, 2),
        trade(2 * SECOND + 999_999, 6.0, 0.5, 1, 3),
        trade(3 * SECOND, 4.0, 3.0, -1, 4),
    ]
    bars = order_flow.bars(recording(trades, ENDS), ONE)
    assert bars.schema == schema.BARS
    assert bars.row(0, named=True) | {"time": 0, "open_time": 0} == {
        "symbol": "A", "time": 0, "open_time": 0, "open": 5.0, "high": 7.0, "low": 5.0,
        "close": 6.0, "volume": 3.5, "quote_volume": 20.0, "trades": 3,
        "taker_buy_volume": 2.5, "taker_buy_quote_volume": 13.0,
    }  # fmt: skip
    assert (bars["time"] - bars["open_time"] == ONE).all()
    assert opened(bars) == list(range(2, 10)), "from the first trade to the last whole second"


def test_a_quiet_second_is_flat_and_the_order_of_one_instant_is_by_id():
    trades = [trade(SECOND, 5.0, number=2), trade(SECOND, 9.0, number=1), trade(4 * SECOND, 6.0)]
    bars = order_flow.bars(recording(trades, ENDS), ONE)
    assert bars["open"][0] == 9.0
    assert bars["close"].head(4).to_list() == [5.0, 5.0, 5.0, 6.0]
    assert bars["volume"].head(4).to_list() == [2.0, 0.0, 0.0, 1.0]
    quiet = bars.row(1, named=True)
    assert [quiet[c] for c in (*schema.PRICES, *schema.EXTRAS)] == [5.0] * 4 + [0.0] * 4


def test_a_trade_told_twice_counts_once():
    twice = [trade(SECOND, 5.0, number=7), trade(SECOND, 5.0, number=7)]
    assert order_flow.bars(recording(twice, ENDS), ONE)["volume"][0] == 1.0
    nameless = [trade(SECOND, 5.0), trade(SECOND, 5.0)]
    assert order_flow.bars(recording(nameless, ENDS), ONE)["volume"][0] == 2.0


def test_what_was_seen_in_part_is_no_bar():
    trades = [trade(500_000 + k * SECOND, 5.0, number=k) for k in range(9)]
    ends = [quote(400_000, 1.0, 3.0), quote(8_600_000, 1.0, 3.0)]
    assert opened(order_flow.bars(recording(trades, ends), ONE)) == list(range(1, 8))


@pytest.mark.parametrize(
    ("holes", "left"),
    [
        ([gap(3 * SECOND, 4 * SECOND + 1)], [0, 1, 2, 5, 6, 7, 8, 9]),
        ([gap(3 * SECOND, 4 * SECOND + 1, symbol=None)], [0, 1, 2, 5, 6, 7, 8, 9]),
        ([gap(3 * SECOND, 4 * SECOND + 1, stream=None)], [0, 1, 2, 5, 6, 7, 8, 9]),
        ([gap(3 * SECOND, 4 * SECOND + 1, stream="a@depth@100ms")], list(range(10))),
        ([gap(3 * SECOND, 4 * SECOND + 1, symbol="B")], list(range(10))),
        ([gap(3 * SECOND, None, stream="a@aggTrade")], [0, 1, 2]),
    ],
)
def test_a_declared_gap_leaves_no_bar(holes, left):
    trades = [trade(k * SECOND, 5.0) for k in range(10)]
    assert opened(order_flow.bars(recording(trades, ENDS, holes), ONE)) == left


def test_missing_ids_leave_no_bar():
    trades = [trade(k * SECOND, 5.0, number=k + (k > 4)) for k in range(10)]
    assert opened(order_flow.bars(recording(trades, ENDS), ONE)) == [0, 1, 2, 3, 6, 7, 8, 9]


def test_contracts_are_worth_what_they_are():
    for symbol, coins in (("BTCUSD_PERP", 100 * 3 / 50), ("ETHUSD_PERP", 10 * 3 / 50)):
        trades = [trade(SECOND, 50.0, 3.0, symbol=symbol)]
        ends = [quote(0, 1.0, 3.0, symbol=symbol), quote(3 * SECOND, 1.0, 3.0, symbol=symbol)]
        bars = order_flow.bars(recording(trades, ends, market="cm"), ONE)
        assert (bars["volume"][0], bars["quote_volume"][0]) == (3.0, coins)


def test_no_trades_make_no_bars():
    assert order_flow.bars(recording([], ENDS), ONE).is_empty()
    assert order_flow.bars(recording([trade(100, 5.0)], [quote(0, 1, 3)]), ONE).is_empty()


@pytest.mark.parametrize("seconds", [1, 7, 60])
def test_bars_equal_those_of_a_slow_twin(seconds):
    rng = np.random.default_rng(seconds)
    at = np.sort(rng.integers(0, 300 * SECOND, 400))
    prices = rng.integers(90, 110, 400)
    trades = [
        trade(int(t), float(p), float(q), int(s), n)
        for n, (t, p, q, s) in enumerate(
            zip(at, prices, rng.integers(1, 50, 400) / 8, rng.choice([1, -1], 400))
        )
    ]
    ends = [quote(0, 1.0, 3.0), quote(300 * SECOND, 1.0, 3.0)]
    bars = order_flow.bars(recording(trades, ends), timedelta(seconds=seconds))
    step, price = seconds * SECOND, None
    rows = {row["open_time"]: row for row in bars.with_columns(
        pl.col("open_time").to_physical()).iter_rows(named=True)}  # fmt: skip
    first = int(at[0]) // step * step
    for begin in range(0, 300 * SECOND // step * step, step):
        inside = [t for t in trades if begin <= t["time"] < begin + step]
        if begin >= first:
            row = rows.pop(begin)
            prices = [t["price"] for t in inside] or [price]
            assert [row[c] for c in schema.PRICES] == [
                prices[0], max(prices), min(prices), prices[-1]
            ]  # fmt: skip
            assert row["volume"] == sum(t["quantity"] for t in inside)
            assert row["taker_buy_volume"] == sum(
                t["quantity"] for t in inside if t["taker_side"] == 1
            )
        price = inside[-1]["price"] if inside else price
    assert not rows


@pytest.mark.real
@pytest.mark.skipif(not KLINES.is_file(), reason="the shared recordings are not here")
def test_two_days_joined_are_the_published_klines():
    read = recordings.read(RAW / "binance/spot/btcusdt_2024080*.gz")
    bars = order_flow.bars(read, timedelta(minutes=1))
    opened_at = pl.from_epoch("open_time", "ms").cast(schema.TIME)
    published = pl.read_parquet(KLINES).with_columns(opened_at)
    both = bars.join(published, on="open_time", suffix="_published")
    assert both.height == bars.height == 10
    for column in (*schema.PRICES, "volume"):
        assert both[column].to_list() == both[f"{column}_published"].to_list()
