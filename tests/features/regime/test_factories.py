"""Dimensions as features: every law of features, and what their values are."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parents[2]))

import laws

from research import features
from research.features import regime

MISSING = (700, 1_450)


def dimensions():
    exprs = {"fdi": regime.fdi(240), "fdi_z": regime.fdi_z(60)}
    exprs |= {f"fdi_{name}": regime.fdi(60, name) for name in regime.FORMULAS[1:]}
    columns = {name: features.Feature(expr, "regime", name) for name, expr in exprs.items()}
    return features.FeatureSet("regime", "0", columns)


@pytest.fixture(scope="module")
def bars():
    return laws.market(symbols=2, rows=1_700, missing=MISSING)


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
    law(dimensions(), bars)


def test_live_is_batch(bars):
    moments = [laws.START + k * laws.MINUTE for k in (*range(300, 1_700, 97), 1_440, 1_441)]
    assert laws.law_live_is_batch(dimensions(), bars, moments) >= 8


def test_warmup_is_the_longest_window_less_one():
    assert features.warmup(dimensions(), interval=laws.MINUTE) == 239


def test_values_are_those_of_the_streaming_object(bars):
    one = bars.filter(pl.col("symbol") == "S0").head(300)
    live = regime.stream(window=60)
    wanted = [live.update(np.log(close)) for close in one["close"]]
    found = one.select(regime.fdi(60).alias("d"), regime.fdi_z(60).alias("z"))
    assert np.array_equal(found["d"].fill_null(np.nan).to_list(), wanted, equal_nan=True)
    walk = regime.null(window=60)
    assert found["z"].drop_nulls().to_list() == walk.z(found["d"].drop_nulls().to_numpy()).tolist()
