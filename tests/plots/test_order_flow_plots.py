"""Pictures of order flow."""

import numpy as np
import polars as pl
import pytest

from research.errors import UserError
from research.plots import order_flow as plots


def bins(count):
    flow = np.random.default_rng(1).normal(0, 1, count)
    return pl.DataFrame({"ofi": flow, "mid_change": 2 * flow + np.tile([0.5, -0.5], count // 2)})


def test_impact_draws_points_a_line_and_says_the_share():
    table = bins(200).vstack(pl.DataFrame({"ofi": [None], "mid_change": [1.0]}))
    ax = plots.impact(table)
    (line,) = ax.get_lines()
    (x0, x1), (y0, y1) = line.get_data()
    assert (y1 - y0) / (x1 - x0) == pytest.approx(2.0, abs=0.05)
    assert len(ax.collections[0].get_offsets()) == 200
    assert "explains 9" in ax.get_title(loc="left") and "(200 bins)" in ax.get_title(loc="left")


def test_many_bins_are_drawn_by_density():
    ax = plots.impact(bins(4_000).to_pandas())
    assert len(ax.collections[0].get_offsets()) < 4_000


def test_nothing_known_is_said():
    table = pl.DataFrame({"ofi": [1.0, 1.0, 1.0], "mid_change": [0.0, 1.0, 2.0]})
    assert plots.impact(table).texts[0].get_text() == "too few known bins"
    with pytest.raises(UserError, match="'mid_change' is missing"):
        plots.impact(table.drop("mid_change"))
    empty = pl.DataFrame(schema={"lag": pl.Int64, "correlation": pl.Float64})
    assert plots.lags(empty).texts[0].get_text() == "no known correlation"


def test_lags_tell_what_explains_from_what_predicts():
    table = pl.DataFrame(
        {"lag": [-1, 0, 1, 2], "correlation": [0.1, 0.6, 0.02, None], "low": -0.1, "high": 0.1}
    )
    ax = plots.lags(table)
    assert ax.get_title(loc="left") == "Correlation +0.60 in the same bin, +0.02 with the next"
    assert [bar.get_height() for bar in ax.patches] == [0.1, 0.6, 0.02]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["chance (95 %)", "follows", "explains", "predicts"]


def test_next_moves_by_bucket():
    table = pl.DataFrame(
        {"low": [0.0, 0.5], "high": [0.5, 1.0], "quotes": [7, 3], "probability": [0.2, None]}
    )
    ax = plots.next_move(table)
    assert [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in ax.patches] == [
        (0, 0.5, 0.2)
    ]
    assert ax.texts[0].get_text() == "0.20"
    assert "(7 quotes" in ax.get_title(loc="left")
