"""Warm-up is measured: exact for windows, long for means that fade, refused for totals."""

import sys
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

sys.path.append(str(Path(__file__).resolve().parents[1]))

import laws

from research import features, schema
from research.errors import UserError
from research.features.extra import feature
from research.features.sets import FeatureSet
from research.features.warmup import TOLERANCE, by_column, canonical

CLOSE = pl.col("close")


def measured(thing, *, interval=laws.MINUTE):
    return by_column(FeatureSet("x", "0", {"x": feature("x", thing)}), interval=interval)["x"]


@pytest.mark.parametrize(
    ("expr", "bars"),
    [
        (CLOSE - pl.col("open"), 0),
        (CLOSE.diff(), 1),
        (CLOSE.rolling_max(50), 49),
        (CLOSE.pct_change().rolling_quantile(0.5, window_size=30), 30),
        (CLOSE.shift(5_000), 5_000),  # longer than the short canonical series can show
    ],
)
def test_a_window_needs_its_length(expr, bars):
    assert measured(expr) == bars


def test_a_fading_mean_needs_what_its_half_life_says():
    """(1 - a)^n of a start that is off by a few spreads falls below 1e-9."""
    span = 100
    decay = np.log(1 - 2 / (span + 1))
    assert measured(CLOSE.pct_change().ewm_mean(span=span, adjust=False)) == pytest.approx(
        np.log(TOLERANCE) / decay, rel=0.25
    )


def test_a_day_is_forgotten_at_midnight():
    opened = pl.when(pl.col("open_time").dt.time() == pl.time(0, 0)).then(CLOSE).forward_fill()
    assert measured(CLOSE / opened) == 1_439
    assert measured(CLOSE / opened, interval=timedelta(hours=1)) == 23


@pytest.mark.parametrize(
    "endless", [pl.col("volume").cum_sum(), CLOSE.cum_max(), CLOSE / CLOSE.first()]
)
def test_what_never_forgets_is_refused_by_name(endless):
    endless = FeatureSet("x", "0", {"body": feature("b", CLOSE), "total": feature("t", endless)})
    with pytest.raises(UserError, match=r"feature 'total'.*where the series begins"):
        features.warmup(endless, interval=laws.MINUTE)


def test_rounding_residues_are_no_memory():
    """A z-score divides 0 by 0 in a flat stretch; polars' and pandas' running sums leave noise."""
    z = (CLOSE - CLOSE.rolling_mean(60)) / CLOSE.rolling_std(60)
    assert measured(z) == 59
    short = (CLOSE - CLOSE.rolling_mean(20)) / CLOSE.rolling_std(20)
    assert 19 <= measured(short) < 200


def test_the_warmup_is_enough_on_other_bars():
    """The measured number holds on a market it was not measured on."""
    s2 = features.SETS["S2"]
    bars = laws.market(symbols=1, rows=6_000, seed=5)
    needed = features.warmup(s2, interval=laws.MINUTE)
    whole = features.evaluate(bars, s2)
    for begin in (1_000, 1_717, 2_345):
        late = features.evaluate(bars.slice(begin), s2)
        for name in s2.names:
            a, b = whole[name][begin + needed :].to_numpy(), late[name][needed:].to_numpy()
            assert np.abs(a - b).max() <= 1e-8 * np.nanstd(a), name


def test_canonical_series_is_bars_with_flat_and_empty_stretches():
    bars = canonical(12_000, interval=laws.MINUTE)
    schema.check(bars, schema.BARS, "canonical")
    assert (bars["high"] == bars["low"]).sum() > 300
    assert (bars["volume"] == 0).sum() > 100
    assert bars.filter(pl.col("high") < pl.max_horizontal("open", "close", "low")).is_empty()
    assert bars.equals(canonical(20_000, interval=laws.MINUTE).head(12_000))
