"""Imbalance bars, against a plain walk over rows and by their laws."""

import math
from pathlib import Path

import laws
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from research import bars
from research.bars import imbalance
from research.errors import UserError
from research.schema import BARS, check
from research.steps import streaming

KLINES = (
    Path(__file__).resolve().parents[2].parent / "shared/data/klines_1m/um_futures_full_2026-02"
)
real = pytest.mark.skipif(not KLINES.is_dir(), reason="the futures klines of 2026-02 are not here")


def market(rows=400, *, seed=0, taker=True, bias=0.0, **more):
    """Minutes whose buyers and sellers differ; `bias` is the buyers' share beyond a half."""
    base = laws.market(rows=rows, seed=seed, **more)
    rng = np.random.default_rng(seed)
    share = pl.Series(np.clip(rng.uniform(0, 1, base.height) + bias, 0, 1))
    told = pl.col("volume", "quote_volume") * share if taker else pl.lit(None, pl.Float64)
    return base.with_columns(
        **{
            name: (pl.col(of) * share if taker else told)
            for name, of in (
                ("taker_buy_volume", "volume"),
                ("taker_buy_quote_volume", "quote_volume"),
            )
        }
    )


def signs(rows):
    """Bought less sold of each row, by the words of the definition."""
    found, last, before = [], 0.0, None
    for row in rows:
        new = (
            before is None
            or row["symbol"] != before["symbol"]
            or row["open_time"] != before["time"]
        )
        moved = row["close"] - (row["open"] if new else before["close"])
        last = 0.0 if new else last
        last = math.copysign(1.0, moved) if moved else last
        before = row
        volume, quote = row["volume"], row["quote_volume"]
        bought, paid = row["taker_buy_volume"], row["taker_buy_quote_volume"]
        by_volume = last * volume if bought is None else 2 * bought - volume
        by_quote = last * quote if paid is None else 2 * paid - quote
        sign = math.copysign(1.0, by_volume) if by_volume else 0.0
        found.append({"tick": sign, "volume": by_volume, "dollar": by_quote, "new": new})
    return found


def walked(base, length, kind):
    """Which rows close a bar and how many rows it has, row by row."""
    made, rows, seed = [], 0, []
    expected = None
    for row, signed in zip(base.iter_rows(named=True), signs(base.to_dicts()), strict=True):
        amount = signed[kind]
        if signed["new"]:
            seed, expected, rows = [], None, 0
        if expected is None:
            seed.append(amount)
            if len(seed) == length:
                expected = [sum(seed) / length, sum(a * a for a in seed) / length]
                total, rows = 0.0, 0
            continue
        total, rows = total + amount, rows + 1
        limit = max(length * abs(expected[0]), math.sqrt(length * expected[1]))
        weight = 2 / (20 * length + 1)
        for k, value in enumerate((amount, amount * amount)):
            expected[k] = (1 - weight) * expected[k] + weight * value
        if limit > 0 and abs(total) >= limit:
            made.append((row["symbol"], row["time"], rows))
            total, rows = 0.0, 0
    return made


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 999),
    length=st.integers(2, 15),
    kind=st.sampled_from(["tick", "volume", "dollar"]),
    taker=st.booleans(),
    holes=st.sets(st.integers(1, 250), max_size=3),
)
def test_bars_equal_a_walk(seed, length, kind, taker, holes):
    base = market(260, seed=seed, taker=taker, missing=holes)
    made = bars.imbalance_bars(base, length, kind=kind)
    check(made, BARS, "made")
    assert made.select("symbol", "time", "parts").rows() == walked(base, length, kind)
    # sums and prices are those of the parts
    for row in made.head(5).iter_rows(named=True):
        part = base.filter(
            pl.col("symbol") == row["symbol"],
            pl.col("open_time") >= row["open_time"],
            pl.col("time") <= row["time"],
        )
        assert part.height == row["parts"]
        assert row["volume"] == pytest.approx(part["volume"].sum())
        assert (row["open"], row["close"]) == (part["open"][0], part["close"][-1])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), kind=st.sampled_from(["tick", "volume", "dollar"]), data=st.data())
def test_later_rows_change_no_bar(seed, kind, data):
    base = market(symbols=1, seed=seed, taker=data.draw(st.booleans()))
    cut = data.draw(st.integers(20, base.height))
    whole = bars.imbalance_bars(base, 5, kind=kind)
    bent = pl.concat([base.head(cut), market(symbols=1, seed=seed + 1).slice(cut)])
    for other in (base.head(cut), bent):
        known = bars.imbalance_bars(other, 5, kind=kind).filter(
            pl.col("time") <= base["time"][cut - 1]
        )
        assert_frame_equal(known, whole.head(known.height), check_exact=True)
        assert (whole["time"][known.height :] > base["time"][cut - 1]).all()


def test_a_symbol_is_made_as_if_it_were_alone():
    base = market()
    both = bars.imbalance_bars(base, 6)
    for symbol in ("S0", "S1"):
        mine = pl.col("symbol") == symbol
        alone = bars.imbalance_bars(base.filter(mine), 6)
        assert alone.height > 10
        assert_frame_equal(alone, both.filter(mine), check_exact=True)


def test_streaming_and_batch_close_the_same_bars():
    base = market(symbols=1)
    live = streaming(imbalance.tipped, imbalance.Scales(), 6.0)
    said = [
        live.update(2 * b - v, False) for b, v in base.select("taker_buy_volume", "volume").rows()
    ]
    closed = pl.Series([word == 1 for word in said])
    assert said.count(2) == 1 and said[5] == 2
    assert_frame_equal(
        base.filter(closed).select("time"), bars.imbalance_bars(base, 6).select("time")
    )


@pytest.mark.parametrize("bias", [0.0, 0.2, 0.5])
def test_the_threshold_stays_between_chance_and_all_on_one_side(bias):
    rng, length = np.random.default_rng(3), 12.0
    amounts = np.where(rng.random(20_000) < 0.5 + bias, 1.0, -1.0) * rng.lognormal(0, 1, 20_000)
    live, limits = streaming(imbalance.tipped, imbalance.Scales(), length), []
    for amount in amounts:
        live.update(float(amount), False)
        if live.state.square >= 0:
            mean, rms = live.state.mean, math.sqrt(live.state.square)
            limits.append(max(length * abs(mean), math.sqrt(length) * rms) / rms)
    assert min(limits) >= math.sqrt(length) - 1e-9
    assert max(limits) <= length + 1e-9


@pytest.mark.parametrize(("bias", "least", "most"), [(0.0, 10, 20), (0.5, 5, 14)])
def test_lengths_stay_where_they_were_asked_for(bias, least, most):
    rng = np.random.default_rng(5)
    signs_ = np.where(rng.random(30_000) < 0.5 + bias, 1.0, -1.0)
    live = streaming(imbalance.tipped, imbalance.Scales(), 10.0)
    said = np.array([live.update(float(sign), False) for sign in signs_])
    for part in np.split(said, 3):  # neither runs off nor dies down
        assert least < len(part) / (part == 1).sum() < most


def test_nothing_traded_closes_nothing():
    base = market(50, symbols=1).with_columns(volume=0.0, taker_buy_volume=0.0)
    assert bars.imbalance_bars(base, 5).is_empty()
    assert bars.imbalance_bars(base.clear(), 5).columns == [*BARS, "parts"]


def test_a_gap_between_known_days_is_none_where_absent_means_no_trade():
    base = market(300, symbols=1, missing=range(100, 110))
    made = bars.imbalance_bars(base, 5, sparse=True)
    assert bars.segments(made).max() == 0
    assert bars.segments(bars.imbalance_bars(base, 5)).max() == 1


@pytest.mark.parametrize(
    ("length", "kind", "said"),
    [
        (1, "volume", "at least 2 base bars, found 1"),
        (2.5, "volume", "whole number of at least 2 base bars, found 2.5"),
        (5, "trade", "tick, volume or dollar, found 'trade'"),
    ],
)
def test_mistakes_are_one_line(length, kind, said):
    with pytest.raises(UserError, match=said) as caught:
        bars.imbalance_bars(market(50), length, kind=kind)
    assert "\n" not in str(caught.value)


@real
def test_on_real_bars_lengths_neither_run_off_nor_die_down():
    found = pl.read_parquet(KLINES / "AVAXUSDT.parquet").with_columns(
        pl.col("open_time")
        .cast(pl.Datetime("ms"))
        .dt.replace_time_zone("UTC")
        .dt.cast_time_unit("us"),
        symbol=pl.lit("AVAXUSDT"),
    )
    base, _ = bars.clean(found.drop("close_time"), interval=laws.MINUTE, name="bars")
    for kind in ("tick", "volume", "dollar"):
        made = bars.imbalance_bars(base, 15, kind=kind)
        by_day = made.group_by(pl.col("time").dt.date()).agg(pl.col("parts").mean())["parts"]
        assert by_day.min() > 4 and by_day.max() < 80, (kind, by_day.describe())
        one = base.head(3_000)
        assert bars.imbalance_bars(one, 15, kind=kind).select("symbol", "time", "parts").rows() == (
            walked(one, 15, kind)
        )
