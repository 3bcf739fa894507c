"""Pictures of a day's operation: cost, slippage, latency by hop, uptime and incidents."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from research import plots
from research.errors import UserError

START = datetime(2024, 1, 13, tzinfo=UTC)


def test_costs_stand_in_pairs():
    table = pl.DataFrame(
        {
            "cost": ["fees", "spread and slippage", "funding"],
            "assumed_bps": [5.0, 2.0, None],
            "measured_bps": [5.0, 2.5, -0.1],
        }
    )
    ax = plots.operation_costs(table)
    said, was = ([bar.get_height() for bar in part] for part in ax.containers[:2])
    assert said == [5.0, 2.0, 0.0] and was == [5.0, 2.5, -0.1]
    assert ax.get_title(loc="left") == "cost a side: 7.50 bps, said 7.00"
    paper = plots.operation_costs(table, simulated=True)
    assert paper.get_title(loc="left") == "simulated cost a side: 7.50 bps, said 7.00"
    said = [text.get_text() for text in paper.get_legend().get_texts()]
    assert said == ["assumed", "simulated"]
    nothing = table.with_columns(measured_bps=pl.lit(None, pl.Float64))
    assert "nothing was traded" in plots.operation_costs(nothing).texts[0].get_text()


def test_slippage_is_held_against_what_was_said():
    fills = pl.DataFrame({"slippage": [2e-4, 4e-4, None], "slippage_assumed": [2e-4, 2e-4, 2e-4]})
    ax = plots.operation_slippage(fills)
    assert ax.collections[0].get_offsets().tolist() == [[2e-4, 2e-4], [2e-4, 4e-4]]
    assert ax.get_title(loc="left") == "2 fills, +1.000 bps beyond what was said"
    assert ax.get_ylabel() == "measured (bps)"
    paper = plots.operation_slippage(fills, simulated=True)
    assert paper.get_title(loc="left").startswith("2 simulated fills, ")
    assert paper.get_ylabel() == "simulated (bps)"
    assert "no fill" in plots.operation_slippage(fills.clear()).texts[0].get_text()


def test_hops_lie_on_one_axis_with_what_is_assumed():
    rows = {"hop": ["features", "total"], "median": [5.0, 6.0], "p95": [9.0, 11.0]}
    table = pl.DataFrame({**rows, "p99": [20.0, 25.0], "most": [30.0, 40.0]})
    ax = plots.operation_hops(table, assumed=0.1)
    lines = {line.get_label(): line.get_xdata() for line in ax.get_lines()}
    assert list(lines["median"]) == [6.0, 5.0] and list(lines["p99"]) == [25.0, 20.0]
    assert lines["assumed"][0] == 100.0 and ax.get_xscale() == "log"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["total", "features"]
    assert ax.get_title(loc="left") == "latency by hop; fills assume 100 ms"
    assert "no bar" in plots.operation_hops(table.clear(), assumed=0.0).texts[0].get_text()


def test_uptime_by_the_hour_with_incidents():
    """Of the first hour's closes all are there, of the second's half, and a quarter in time."""
    time = [START + timedelta(minutes=n) for n in range(1, 121)]
    closes = pl.DataFrame(
        {
            "time": time,
            "acted": [True] * 90 + [False] * 30,
            "late": [n >= 75 for n in range(120)],
        }
    )
    incidents = pl.DataFrame(
        {"time": [time[89], time[95]], "kind": ["stale", "halted"], "text": ["", ""]}
    )
    ax = plots.operation_uptime(closes, incidents)
    acted, good = ([bar.get_height() for bar in part] for part in ax.containers)
    assert acted == [1.0, 0.5] and good == [1.0, 0.25]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"late", "in time", "stale", "halted"} == set(labels)
    assert ax.get_title(loc="left") == "90 of 120 closes acted on (75.00%)"
    assert "no close" in plots.operation_uptime(closes.clear()).texts[0].get_text()


@pytest.mark.parametrize(
    ("picture", "more"),
    [
        ("operation_costs", {}),
        ("operation_slippage", {}),
        ("operation_hops", {"assumed": 0.0}),
        ("operation_uptime", {}),
    ],
)
def test_a_missing_column_is_named(picture, more):
    with pytest.raises(UserError, match=rf"plots.{picture}: column '\w+' is missing"):
        getattr(plots, picture)(pl.DataFrame({"a": [1]}), **more)
