"""The picture of a claim taken apart."""

import polars as pl
import pytest

from research import plots
from research.errors import UserError


def steps(**other):
    """Return three steps from a claim of 90 to an honest 30."""
    columns = {
        "removed": ["claimed", "rows it was fitted on", "costs left out"],
        "number": [90.0, 40.0, 30.0],
        "low": [None, 35.0, 24.0],
        "high": [None, 46.0, 37.0],
        "unit": ["% won"] * 3,
        "honest": [False, False, True],
    }
    return pl.DataFrame({**columns, **other})


def test_a_claim_falls_to_an_honest_number():
    ax = plots.waterfall(steps())
    assert [bar.get_width() for bar in ax.patches] == [90, 40, 30]
    falls = [line.get_xdata() for line in ax.get_lines() if line.get_linewidth() == 2]
    assert [list(ends) for ends in falls] == [[90, 40], [40, 30]]
    assert ax.get_title(loc="left") == "claimed +90, honest +30 [+24, +37] % won"
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["claimed", "without: rows it was fitted on", "without: costs left out"]
    assert len({bar.get_facecolor() for bar in ax.patches}) == 2


def test_intervals_are_drawn_where_there_are_some():
    (drawn,) = plots.waterfall(steps()).containers[1].lines[2]
    ends = [tuple(piece[:, 0]) for piece in drawn.get_segments()]
    assert ends == [(35, 46), (24, 37)]
    nothing = steps(low=pl.Series([None] * 3, dtype=pl.Float64))
    assert len(plots.waterfall(nothing).containers) == 1


def test_a_step_without_trades_says_so():
    ax = plots.waterfall(steps(number=[90.0, None, 30.0]))
    assert [text.get_text().strip() for text in ax.texts] == ["+90", "no trades", "+30"]
    empty = plots.waterfall(steps(number=pl.Series([None] * 3, dtype=pl.Float64)))
    assert "no number" in empty.texts[0].get_text()


def test_draws_where_it_is_told():
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    assert plots.waterfall(steps().to_pandas(), ax=ax) is ax


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match=r"plots.waterfall: column 'unit' is missing"):
        plots.waterfall(steps().drop("unit"))
