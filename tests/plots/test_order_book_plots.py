"""Pictures of a book at an instant and of its proof over time."""

import numpy as np
import polars as pl
import pytest

from research import schema
from research.errors import UserError
from research.plots import order_book as plots

LEVELS = np.array([[[100.0, 2.0], [99.0, 3.0], [0.0, 0.0]], [[102.0, 1.0], [103.0, 4.0], [0, 0]]])


def gaps(*rows):
    whole = [("A", "depth", start, end, reason, None) for start, end, reason in rows]
    return pl.DataFrame(whole, schema=schema.GAPS, orient="row")


def test_quantities_are_summed_from_the_best_price():
    axes = plots.depth_chart(LEVELS)
    bids, asks, middle = axes.lines
    assert bids.get_xydata().tolist() == [[100.0, 2.0], [99.0, 5.0]]
    assert asks.get_xydata().tolist() == [[102.0, 1.0], [103.0, 5.0]]
    assert middle.get_xdata()[0] == 101.0


def test_one_side_or_none_is_drawn_without_a_middle():
    one = plots.depth_chart((LEVELS[0], np.empty((0, 2))))
    assert len(one.lines) == 2
    none = plots.depth_chart(np.zeros((2, 5, 2)))
    assert [text.get_text() for text in none.texts] == ["no levels"]


def test_another_shape_is_named():
    with pytest.raises(UserError, match=r"shape \(n, 2\), found \(2,\) and \(2,\)"):
        plots.depth_chart(np.zeros((2, 2)))


def test_the_title_says_the_share_and_each_reason_has_a_colour():
    second = 1_000_000_000
    found = gaps((0, 20 * second, "no snapshot yet"), (10 * second, 30 * second, "silence"),
                 (90 * second, None, "silence"))  # fmt: skip
    axes = plots.book_coverage(found, (0, 100 * second))
    title = axes.get_title(loc="left")
    assert title == "Book proven 60.00%, 3 gaps"
    names = [bars.get_label() for bars in axes.collections]
    assert names == ["proven", "no snapshot yet", "silence"]
    assert [len(bars.get_paths()) for bars in axes.collections] == [1, 1, 2]
    colours = {tuple(bars.get_facecolor()[0]) for bars in axes.collections}
    assert len(colours) == 3


def test_a_recording_without_gaps_is_all_proven():
    axes = plots.book_coverage(gaps(), (0, 5))
    assert axes.get_title(loc="left") == "Book proven 100.00%, 0 gaps"


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match="'reason' is missing"):
        plots.book_coverage(gaps().drop("reason"), (0, 5))
