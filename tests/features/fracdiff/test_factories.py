"""Fractional differences as features: every law of features, and what their values are."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

import laws

from research import features
from research.features import fracdiff

MISSING = (700, *range(2_500, 2_580))


def differences():
    exprs = {
        "price": fracdiff.fracdiff_price(),
        "price_long": fracdiff.fracdiff_price(0.4, 1e-5),
        "volume": fracdiff.fracdiff_volume(),
    }
    columns = {name: features.Feature(expr, "memory", name) for name, expr in exprs.items()}
    return features.FeatureSet("memory", "0", columns)


@pytest.fixture(scope="module")
def bars():
    return laws.market(symbols=2, rows=3_400, missing=MISSING[:1])


@pytest.mark.parametrize(
    "law",
    [
        laws.law_no_lookahead,
        laws.law_symbols_do_not_mix,
        laws.law_gap_is_a_start,
        laws.law_prefix_stable,
        laws.law_null_is_the_only_unknown,
    ],
)
def test_laws(law, bars):
    law(differences(), bars)


def test_live_is_batch(bars):
    moments = [laws.START + k * laws.MINUTE for k in (*range(2_200, 3_400, 97), 2_880, 2_881)]
    assert laws.law_live_is_batch(differences(), bars, moments) >= 10


def test_the_newest_row_past_tables_is_the_same(bars):
    from research.features.newest import Newest

    one = bars.filter(pl.col("symbol") == "S1")
    opened, closed = (one[c].to_physical().to_numpy() for c in ("open_time", "time"))
    columns = {c: one[c].cast(pl.Float64).to_numpy() for c in ("close", "volume")}
    row, _ = Newest(differences(), interval=laws.MINUTE).row("S1", opened, closed, columns)
    batch = features.build(one, differences(), interval=laws.MINUTE)
    assert row.tolist() == list(batch.select("price", "price_long", "volume").row(-1))


def test_warmup_is_the_window_less_one():
    assert features.warmup(differences(), interval=laws.MINUTE) == 1_457


def test_values_are_those_of_the_streaming_object(bars):
    one = bars.filter(pl.col("symbol") == "S0").head(600)
    live = fracdiff.stream(0.4, balanced=True)
    wanted = [live.update(np.log(close)) for close in one["close"]]
    found = one.select(fracdiff.fracdiff_price()).to_series().fill_null(np.nan).to_list()
    assert np.array_equal(found, wanted, equal_nan=True)


def test_a_price_in_another_unit_has_the_same_difference(bars):
    one = bars.filter(pl.col("symbol") == "S0").head(600)
    cents = one.with_columns(pl.col("close") * 100.0)
    plain, other = (
        b.select(fracdiff.fracdiff_price()).to_series().drop_nulls() for b in (one, cents)
    )
    assert len(plain) == 600 - 281
    assert np.abs((plain - other).to_numpy()).max() < 1e-13
