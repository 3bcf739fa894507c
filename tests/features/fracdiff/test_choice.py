"""The choice of an order: equal rows, both tests, an honest note, and the tests' own size."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from research.errors import UserError
from research.features import fracdiff

FEW = (0.0, 0.2, 0.4, 0.7, 1.0)


def walk(rows=2_000, seed=4):
    return np.log(60_000.0) + np.cumsum(np.random.default_rng(seed).standard_normal(rows) * 1e-3)


@pytest.fixture(scope="module")
def chosen():
    return fracdiff.find_optimal_d(walk(), orders=FEW)


def test_the_order_chosen_is_the_least_that_passes_both(chosen):
    table = chosen.table
    both = (table["adf_pvalue"] < 0.05) & (table["kpss_pvalue"] >= 0.05)
    row = table.filter(both).row(0, named=True)
    assert (chosen.d, chosen.memory_retained) == (row["d"], row["memory"])
    assert chosen.d_adf == table.filter(pl.col("adf_pvalue") < 0.05)["d"][0]
    assert chosen.d_adf < chosen.d


def test_the_table_is_what_it_says(chosen):
    """Each number by the libraries themselves, on the rows that the longest window leaves."""
    from arch.unitroot import ADF, KPSS

    series, table = walk(), chosen.table
    assert table["d"].to_list() == list(FEW)
    assert table["window"].to_list() == [1, 497, 282, 97, 2]
    for row in table.iter_rows(named=True):
        weight = fracdiff.weights(row["d"])
        rows = np.convolve(series, weight, "valid")[497 - len(weight) :]
        assert len(rows) == 2_000 - 496
        adf, kpss = ADF(rows, lags=1, trend="c"), KPSS(rows, lags=23, trend="c")
        assert (row["adf"], row["adf_pvalue"]) == pytest.approx((adf.stat, adf.pvalue), rel=1e-5)
        assert (row["kpss"], row["kpss_pvalue"]) == pytest.approx(
            (kpss.stat, kpss.pvalue), rel=1e-5
        )
        assert row["memory"] == pytest.approx(np.corrcoef(rows, series[496:])[0, 1], abs=1e-9)
    assert table["memory"][0] == pytest.approx(1.0)
    assert table["memory"].is_sorted(descending=True)


def test_local_whittle_stands_beside(chosen):
    assert abs(chosen.whittle.order - 1.0) < 3 * chosen.whittle.error
    left = chosen.whittle.order - chosen.table["d"].to_numpy()
    assert np.abs(chosen.table["whittle"].to_numpy() - left).max() < 0.15


def test_the_note_says_what_an_order_means(chosen):
    assert f"settle for d = {chosen.d_adf:g}; d = {chosen.d:g} is the least" in chosen.note
    assert "pure random walk too: about 32, 88 and 100 %" in chosen.note


def test_no_order_that_passes_is_said():
    trend = walk() + np.linspace(0, 1, 2_000) ** 2 * 3
    found = fracdiff.find_optimal_d(trend, orders=(0.0, 0.1))
    assert found.d == 0.1 and "no order tried passes ADF and KPSS both" in found.note
    assert found.d_adf is None and "at no order tried" in found.note


def test_thresholds_move_the_choice():
    strict = fracdiff.find_optimal_d(walk(), 1e-12, orders=FEW)
    loose = fracdiff.find_optimal_d(walk(), kpss_pvalue_threshold=0.0, orders=FEW)
    assert loose.d == loose.d_adf < strict.d_adf <= strict.d


@pytest.mark.parametrize("kind", [pl.Series, pd.Series])
def test_any_kind_of_series(kind, chosen):
    found = fracdiff.find_optimal_d(kind(walk()), orders=FEW)
    assert found.table.equals(chosen.table)


def test_what_is_refused():
    hole = walk()
    hole[7] = np.nan
    for bad, message in (
        (hole, "every value must be known, found nan at row 7"),
        (pl.Series([1.0, None]), "found nan at row 1"),
        (walk(700), "needs 746 values, 250 beyond the longest window, found 700"),
        (np.full(1_000, 11.0), "must vary, found a constant or a straight line"),
        (np.linspace(1.0, 2.0, 1_000), "must vary"),
        (np.zeros((5, 2)), "one series"),
    ):
        with pytest.raises(UserError, match=message):
            fracdiff.find_optimal_d(bad, orders=FEW)
    with pytest.raises(UserError, match="needs an order to try, found none"):
        fracdiff.find_optimal_d(walk(), orders=())


@pytest.mark.parametrize(("d", "share"), [(0.1, 0.32), (0.2, 0.88), (0.3, 1.0)])
def test_adf_rejects_on_a_pure_random_walk(d, share):
    """Which is why an order chosen by ADF says little. Its shares are of 2,880 bars."""
    walks = 80
    found = fracdiff.random_walk_rejections(d, walks=walks, threshold=1e-5)
    assert abs(found - share) <= 3 * (share * (1 - share) / walks + 1e-4) ** 0.5
