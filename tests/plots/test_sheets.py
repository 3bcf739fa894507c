"""alphalens sheets on minutes: drawn, truly labelled, silent, and nothing left open."""

import warnings
from datetime import UTC, datetime, timedelta

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

from research.errors import UserError
from research.plots import sheets

START = datetime(2025, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def market(hours=30, symbols=4):
    rng = np.random.default_rng(0)
    n = hours * 60
    times = pl.datetime_range(START + MINUTE, START + n * MINUTE, MINUTE, eager=True)
    tables = [
        pl.DataFrame(
            {
                "symbol": f"S{k}",
                "time": times.dt.cast_time_unit("us"),
                "close": 100 * np.exp(np.cumsum(rng.standard_normal(n) * 0.001)),
                "forecast": rng.standard_normal(n),
            }
        )
        for k in range(symbols)
    ]
    return pl.concat(tables)


@pytest.mark.slow
def test_sheets_are_drawn_quietly_with_true_labels(capfd):
    table = market()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sheets(table, table, horizons=(10 * MINUTE, 60 * MINUTE))
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    assert list(found) == ["information", "returns", "turnover"]
    assert not plt.get_fignums()
    titles = {name: [ax.get_title() for ax in fig.axes] for name, fig in found.items()}
    assert "10m Period Forward Return Information Coefficient (IC)" in titles["information"]
    assert "30 min Period Top and Bottom Quantile Turnover" in titles["turnover"]
    assert "1 d Period Factor Rank Autocorrelation" in titles["turnover"]
    said = [t.get_text() for ax in found["information"].axes[:1] for t in ax.get_legend().texts]
    assert "22 moments moving avg" in said
    assert plt.show.__name__ == "show"  # given back


def test_too_little_is_refused():
    table = market(hours=2, symbols=2)
    with pytest.raises(UserError, match="found 2 and 3"):
        sheets(table, table, horizons=(10 * MINUTE,), every=30 * MINUTE)
