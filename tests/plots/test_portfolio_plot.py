"""The picture of an account: its return, and bands that add up to what is not cash."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from research import plots
from research.errors import UserError

START = datetime(2025, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def account():
    hours = [START + timedelta(hours=n) for n in range(1, 241)]
    equity = pl.DataFrame({"time": hours, "equity": np.linspace(1000.0, 1100.0, 240)})
    return equity.with_columns(gross=pl.col("equity") + 20)


def shares(table):
    """One row per period, one value per component."""
    rows = [
        {"start": START + 2 * n * DAY, "component": f"c{k}", "weight": float(w)}
        for n, row in enumerate(table)
        for k, w in enumerate(row)
    ]
    return pl.DataFrame(rows)


def bands(axes):
    """Names and heights of the bands at the middle of each period of two days."""
    below = axes.figure.axes[1]
    found = {}
    for band in below.collections:
        path = band.get_paths()[0].vertices
        found[band.get_label()] = (path[:, 1].min(), path[:, 1].max())
    return found, below


def test_bands_are_stacked_the_largest_first():
    axes = plots.portfolio(account(), shares([[0.2, 0.5], [0.3, 0.7]]), capital=1000.0)
    assert axes.get_title(loc="left") == "net +10.0%, gross +12.0%; 2 components"
    found, below = bands(axes)
    assert list(found) == ["c1", "c0"]
    assert found["c1"] == (0.0, pytest.approx(0.7)) and found["c0"] == (0.5, pytest.approx(1.0))
    assert below.get_ylim()[1] == pytest.approx(1.0) and below.get_xlabel() == "time (UTC)"


def test_many_components_share_the_grey_and_those_without_a_share_are_left_out():
    row = [0.05 * (k + 1) for k in range(5)] + [0.02, 0.01, 0.01, 0.0]
    found, _ = bands(plots.portfolio(account(), shares([row, row])))
    assert list(found)[:2] == ["c4", "c3"] and list(found)[-1] == "2 others" and len(found) == 7
    assert found["2 others"][1] == pytest.approx(sum(row))


def test_an_account_of_cash_says_so():
    axes = plots.portfolio(account().drop("gross"), shares([[0.0], [0.0]]))
    assert "all cash throughout" in [text.get_text() for text in axes.figure.axes[1].texts]


def test_frames_of_pandas_are_welcome_and_a_missing_column_is_named():
    plots.portfolio(account().to_pandas(), shares([[1.0]]).to_pandas())
    with pytest.raises(UserError, match="'weight' is missing"):
        plots.portfolio(account(), shares([[1.0]]).drop("weight"))
