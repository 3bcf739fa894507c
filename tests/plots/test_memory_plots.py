"""Pictures of memory: p-values and memory by order, weights by how far back they reach."""

import numpy as np
import polars as pl
import pytest

from research import plots
from research.errors import UserError


def judged():
    return pl.DataFrame(
        {
            "d": [0.5, 0.0, 1.0],
            "adf_pvalue": [1e-3, 0.4, 0.0],
            "kpss_pvalue": [0.02, 1e-4, 0.6],
            "memory": [0.6, 1.0, 0.05],
            "whittle": [0.5, 1.0, 0.0],
        }
    )


def lines(axes):
    return {line.get_label(): line for line in axes.lines}


@pytest.mark.parametrize("kind", [pl.DataFrame, pl.DataFrame.to_pandas])
def test_p_values_and_memory_stand_by_order(kind):
    upper = plots.memory(kind(judged()), d=0.5)
    drawn = lines(upper)
    assert drawn["ADF"].get_xdata().tolist() == [0.0, 0.5, 1.0]
    assert drawn["ADF"].get_ydata().tolist() == [0.4, 1e-3, 1e-6]
    assert drawn["KPSS"].get_ydata().tolist() == [1e-4, 0.02, 0.6]
    (lower,) = (a for a in upper.get_figure().axes if a is not upper)
    assert lines(lower)["correlation with the price"].get_ydata().tolist() == [1.0, 0.6, 0.05]
    assert upper.get_title(loc="left") == "Tests and memory by order: d = 0.5"


def test_weights_are_drawn_by_size_without_the_newest():
    table = pl.DataFrame({"d": [0.4] * 3 + [1.0] * 2, "lag": [0, 1, 2, 0, 1]}).with_columns(
        weight=pl.Series([1.0, -0.4, -0.12, 1.0, -1.0])
    )
    drawn = lines(plots.memory_weights(table))
    assert drawn["d = 0.4, 3 values"].get_ydata() == pytest.approx(np.array([0.4, 0.12]))
    assert drawn["d = 1, 2 values"].get_ydata().tolist() == [1.0]


def test_nothing_to_draw_is_said():
    assert "no order was tried" in [t.get_text() for t in plots.memory(judged().clear()).texts]
    nothing = pl.DataFrame({"d": [0.0], "lag": [0], "weight": [1.0]})
    assert "no weight beyond the newest" in [
        t.get_text() for t in plots.memory_weights(nothing).texts
    ]


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match=r"plots\.memory: column 'whittle' is missing"):
        plots.memory(judged().drop("whittle"))
    with pytest.raises(UserError, match=r"plots\.memory_weights: column 'lag' is missing"):
        plots.memory_weights(pl.DataFrame({"d": [0.4], "weight": [1.0]}))
