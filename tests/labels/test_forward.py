"""Returns and volatilities against plain loops, with gaps, and against what may be known when."""

import math
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labels.market import GAPPY, MINUTE, START, bent_after, market
from polars.testing import assert_frame_equal

from research import labels, schema
from research.errors import UserError


def by_hand(bars, horizon, answer):
    """Slow twin: look every needed bar up by its time; leave the row out if one is absent."""
    columns = bars.select("symbol", "time", "open", "close")
    price = {(s, t): (o, c) for s, t, o, c in columns.iter_rows()}
    rows = []
    for symbol, time in bars.select(schema.KEY).iter_rows():
        ahead = [(symbol, time + k * MINUTE) for k in range(1, horizon // MINUTE + 1)]
        if all(key in price for key in ahead):
            y = answer(price[symbol, time], [price[key] for key in ahead])
            rows.append((symbol, time, time + horizon, y))
    return pl.DataFrame(rows, schema=schema.LABELS, orient="row")


ANSWERS = {
    "next_open": lambda now, ahead: ahead[-1][1] / ahead[0][0] - 1,
    "close": lambda now, ahead: ahead[-1][1] / now[1] - 1,
}


def realised(now, ahead):
    close = [now[1], *(c for _, c in ahead)]
    return math.sqrt(sum((b / a - 1) ** 2 for a, b in pairwise(close)))


@settings(max_examples=60, deadline=None)
@given(minutes=GAPPY, bars_ahead=st.integers(1, 6), entry=st.sampled_from(["next_open", "close"]))
def test_labels_equal_the_slow_twin_on_gappy_bars(minutes, bars_ahead, entry):
    bars, horizon = market(minutes), bars_ahead * MINUTE
    found = labels.forward_return(bars, horizon=horizon, interval=MINUTE, entry=entry)
    assert_frame_equal(found, by_hand(bars, horizon, ANSWERS[entry]), rel_tol=1e-14)
    found = labels.volatility(bars, horizon=horizon, interval=MINUTE)
    assert_frame_equal(found, by_hand(bars, horizon, realised), rel_tol=1e-12)
    schema.check(found, schema.LABELS, "labels")


def test_a_gap_and_the_end_leave_rows_out():
    bars = market({"A": [0, 1, 2, 3, 6, 7, 8]})
    found = labels.forward_return(bars, horizon=2 * MINUTE, interval=MINUTE)
    assert [t.minute for t in found["time"]] == [1, 2, 7]
    assert (found["known_at"] - found["time"]).unique().to_list() == [2 * MINUTE]


def test_a_symbol_that_begins_where_another_ends_is_another_symbol():
    bars = market({"A": [0, 1, 2], "B": [3, 4, 5]})
    found = labels.forward_return(bars, horizon=2 * MINUTE, interval=MINUTE)
    assert found["symbol"].to_list() == ["A", "B"]


def test_a_bar_off_the_grid_does_not_hide_a_gap():
    bars = market({"A": [0, 1, 2, 3, 4]})
    times = [START + k * MINUTE for k in (1, 2, 2.5, 4, 5)]
    bars = bars.with_columns(pl.Series("time", times, schema.TIME))
    found = labels.forward_return(bars, horizon=3 * MINUTE, interval=MINUTE)
    assert found.is_empty()


def test_horizon_is_time_whatever_the_bar_size():
    five = market({"A": list(range(0, 50, 5))}).with_columns(pl.col("time") + 4 * MINUTE)
    found = labels.forward_return(five, horizon=10 * MINUTE, interval=5 * MINUTE, entry="close")
    close = five["close"].to_numpy()
    np.testing.assert_allclose(found["y"], close[2:] / close[:-2] - 1, rtol=1e-14)


@pytest.mark.parametrize("label", ["forward_return", "volatility"])
def test_labels_change_only_with_prices_up_to_known_at(label):
    bars, horizon = market({"A": list(range(60)), "B": list(range(60))}), 5 * MINUTE
    moment = START + 40 * MINUTE
    make = getattr(labels, label)
    straight, crooked = (
        make(b, horizon=horizon, interval=MINUTE) for b in (bars, bent_after(bars, moment))
    )
    assert_frame_equal(
        straight.filter(pl.col("known_at") <= moment), crooked.filter(pl.col("known_at") <= moment)
    )
    after = straight.filter(pl.col("known_at") > moment)["y"]
    assert (after != crooked.filter(pl.col("known_at") > moment)["y"]).mean() > 0.9


def test_pandas_bars_give_the_same_labels():
    bars = market({"A": list(range(20)), "B": list(range(20))})
    frame = bars.to_pandas().set_index("time")
    found = labels.forward_return(
        frame.sort_values(["symbol", "time"]), horizon=MINUTE, interval=MINUTE
    )
    assert_frame_equal(found, labels.forward_return(bars, horizon=MINUTE, interval=MINUTE))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"horizon": timedelta(seconds=90)}, "whole number of bars of 1 min, found 90 s"),
        ({"horizon": timedelta(0)}, "whole number of bars"),
        ({"entry": "open"}, "entry must be 'next_open' or 'close', found 'open'"),
    ],
)
def test_mistakes_are_named(asked, said):
    bars = market({"A": [0, 1, 2]})
    with pytest.raises(UserError, match=said):
        labels.forward_return(bars, **({"horizon": MINUTE, "interval": MINUTE} | asked))


def test_nothing_to_label_is_an_empty_table():
    found = labels.forward_return(market({"A": [0]}), horizon=MINUTE, interval=MINUTE)
    assert found.is_empty() and dict(found.schema) == schema.LABELS
    assert labels.volatility(market({"A": [0]}), horizon=5 * MINUTE, interval=MINUTE).is_empty()
