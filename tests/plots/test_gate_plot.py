"""The picture of a gate: dots by decision, the band of chance, and a title that says the shares."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from research import plots
from research.errors import UserError


def decisions(rows=40):
    start = datetime(2025, 5, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "time": [start + timedelta(hours=k) for k in range(rows)],
            "ic": [None] + [0.3 if k % 4 == 0 else 0.05 for k in range(1, rows)],
            "null_sd": [None] + [0.13] * (rows - 1),
            "null_pass": [None] + [0.5] * (rows - 1),
            "adopted": [True] + [k % 2 == 0 for k in range(1, rows)],
        }
    )


def test_dots_are_told_apart_by_decision_and_the_title_counts():
    table = decisions()
    axes = plots.gate(table)
    known = table.drop_nulls()
    drawn = {c.get_label(): len(c.get_offsets()) for c in axes.collections[1:]}
    assert drawn == {
        "refused": known.filter(~pl.col("adopted")).height,
        "adopted": known.filter("adopted").height,
    }
    assert axes.get_title(loc="left").startswith("49% adopted, 50% by chance alone; 77% of ICs")


def test_a_gate_that_judged_nothing_says_so():
    axes = plots.gate(decisions(1))
    assert "no retraining was judged" in [text.get_text() for text in axes.texts]


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match="'null_sd' is missing"):
        plots.gate(decisions().drop("null_sd"))
