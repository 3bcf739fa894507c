"""Pictures of luck and skill: overfitting, paths and the number of trials."""

import numpy as np
import polars as pl
import pytest

from research import performance, plots
from research.errors import UserError


def test_overfitting_splits_at_zero():
    table = pl.DataFrame({"logit": [-2.0, -1.0, 0.0, 1.0, 2.0, 2.0, 3.0, 3.0]})
    ax = plots.pbo(table.to_pandas(), low=0.2, high=0.8)
    assert ax.get_title(loc="left") == "probability of overfitting 0.38; without skill 0.20 to 0.80"
    lower, upper = ax.containers
    assert sum(bar.get_height() for bar in lower) == pytest.approx(3 / 8)
    assert sum(bar.get_height() for bar in upper) == pytest.approx(5 / 8)
    assert max(bar.get_x() + bar.get_width() for bar in lower if bar.get_height()) <= 1e-9
    assert min(bar.get_x() for bar in upper if bar.get_height()) >= -1e-9
    assert ax.get_xlabel() and "%" in ax.get_ylabel()
    assert "no split" in plots.pbo(table.clear()).texts[0].get_text()


def test_overfitting_shows_what_was_measured():
    found = performance.pbo(np.random.default_rng(0).normal(size=(80, 5)), blocks=8, draws=20)
    ax = plots.pbo(found.table, low=found.low, high=found.high)
    assert f"overfitting {found.probability:.2f}" in ax.get_title(loc="left")


def test_paths_from_the_worst_to_the_best():
    table = pl.DataFrame({"path": [0, 1, 2, 3], "sharpe": [1.5, -0.5, None, 0.7]})
    ax = plots.path_sharpes(table)
    assert ax.get_title(loc="left") == "median 0.70 of 3 paths, -0.50 to 1.50; 1 lost"
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "3", "0"]
    assert ax.collections[1].get_offsets()[:, 1].tolist() == [-0.5, 0.7, 1.5]
    none = plots.path_sharpes(table.with_columns(sharpe=pl.lit(None, pl.Float64)))
    assert "no path has traded" in none.texts[0].get_text()


def test_deflation_falls_with_trials():
    seen = performance.Sample(0.1, 1000)
    table = performance.deflation(seen, trials=[1, 10, 100], spread=0.03)
    ax = plots.deflation(table, tried=10)
    assert ax.get_xscale() == "log"
    assert ax.get_lines()[1].get_ydata().tolist() == table["dsr"].to_list()
    title = f"stands up to 10 trials; {table['dsr'][1]:.3f} at the 10 that were made"
    assert ax.get_title(loc="left") == title
    weak = performance.deflation(performance.Sample(0.01, 100), trials=[1, 10], spread=0.03)
    assert plots.deflation(weak).get_title(loc="left") == "not even of one trial"
    assert "no number" in plots.deflation(table.clear()).texts[0].get_text()


@pytest.mark.parametrize("name", ["pbo", "path_sharpes", "deflation"])
def test_a_place_is_taken_and_a_missing_column_named(name):
    import matplotlib.pyplot as plt

    tables = {
        "pbo": pl.DataFrame({"logit": [0.5]}),
        "path_sharpes": pl.DataFrame({"path": [1], "sharpe": [1.0]}),
        "deflation": pl.DataFrame({"trials": [1.0], "dsr": [0.5]}),
    }
    figure, place = plt.subplots()
    draw = getattr(plots, name)
    assert draw(tables[name], ax=place) is place
    figure.canvas.draw()
    assert len(plt.get_fignums()) == 1
    with pytest.raises(UserError, match=rf"plots.{name}: column '\w+' is missing"):
        draw(pl.DataFrame({"other": [1.0]}))
