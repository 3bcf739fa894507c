"""Pictures of paper trading: equity and position, latency, reasons and a challenger's evidence."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from research import plots
from research.errors import UserError

START = datetime(2024, 1, 13, tzinfo=UTC)


def at(n):
    """Return the close of the n-th bar."""
    return START + timedelta(minutes=n)


def decided():
    """Return five decisions of each of two symbols, and the equity of each bar."""
    rows = [
        {"time": at(n), "symbol": symbol, "position": 0.5, "close": 100.0}
        for n in range(1, 6)
        for symbol in ("AUSDT", "BUSDT")
    ]
    equity = [{"time": at(n), "equity": 1e4 + n} for n in range(1, 6)]
    return pl.DataFrame(equity), pl.DataFrame(rows)


def test_equity_and_position():
    curve_table, decisions = decided()
    ax = plots.live_run(curve_table, decisions, capital=1e4)
    (curve, line) = ax.get_lines()
    assert curve.get_ydata().tolist() == [1e4 + n for n in range(1, 6)]
    assert line.get_ydata()[0] == 1e4 and "+0.050% since the start" in ax.get_title(loc="left")
    held = ax.figure.axes[1].get_lines()
    assert [line.get_label() for line in held[:2]] == ["AUSDT", "BUSDT"]
    assert held[0].get_ydata().tolist() == [50.0] * 5
    upper, below = ax.figure.axes
    assert upper.get_ylabel() == "equity (quote currency)"
    assert below.get_ylabel() == "held\n(quote currency)"
    ax.figure.canvas.draw()
    assert below.get_legend().get_window_extent().x0 >= below.get_window_extent().x1
    empty = plots.live_run(curve_table.clear(), decisions.clear())
    assert "no bar has been decided" in empty.texts[0].get_text()


def test_latency_beside_what_was_assumed():
    took = pl.DataFrame({"close_to_known": range(1000, 101_000, 1000)}, schema_overrides={})
    table = took.with_columns(features=pl.lit(0), forecast=pl.lit(0), decide=pl.lit(0))
    ax = plots.live_latency(table, assumed=0.25)
    measured, assumed = ax.get_lines()
    assert assumed.get_xdata()[0] == 250.0
    assert measured.get_xdata()[94] == 95.0 and measured.get_ydata()[94] == 0.95
    assert "median 50.5 ms" in ax.get_title(loc="left") and "assumed 250 ms" in ax.get_title(
        loc="left"
    )
    slow = plots.live_latency(table * 40, assumed=1.25).get_title(loc="left")
    assert "median 2.0 s" in slow and "assumed 1.25 s" in slow
    assert "no bar" in plots.live_latency(table.clear(), assumed=0.0).texts[0].get_text()


def test_reasons_over_time_are_shares():
    times = [at(n) for n in range(180)]
    reason = ["entry" if n % 60 == 0 else "hold" if n < 120 else "no_edge" for n in range(180)]
    ax = plots.live_reasons(pl.DataFrame({"time": times, "reason": reason}))
    bars = {part.get_label(): [bar.get_height() for bar in part] for part in ax.containers}
    assert bars["hold"] == pytest.approx([59 / 60, 59 / 60, 0])
    assert [sum(column) for column in zip(*bars.values())] == pytest.approx([1, 1, 1])
    assert "180 decisions, 66% of them hold" in ax.get_title(loc="left")


def test_reasons_begin_and_end_with_the_run():
    """Of a run from 00:20 to 02:30 the stretches are 40, 60 and 30 minutes long."""
    times = [at(n) for n in range(20, 151)]
    ax = plots.live_reasons(pl.DataFrame({"time": times, "reason": "hold"}))
    widths = [bar.get_width() * 1440 for bar in ax.patches]
    assert widths == pytest.approx([40, 60, 30])


def test_many_reasons_are_put_together():
    table = pl.DataFrame({"time": [at(0)] * 10, "reason": [f"r{n}" for n in range(10)]})
    labels = [part.get_label() for part in plots.live_reasons(table).containers]
    assert len(labels) == 7 and labels[-1] == "others"


def test_evidence_of_a_challenger():
    table = pl.DataFrame({"time": [at(n) for n in range(3)], "e_value": [1.0, 4.0, 8.0]})
    ax = plots.live_evidence(table, needed=20.0)
    assert ax.get_yscale() == "log" and ax.get_lines()[0].get_ydata()[0] == 20.0
    assert ax.get_title(loc="left") == "e-value 8 of 20 needed"
    assert "no challenger" in plots.live_evidence(table.clear(), needed=20.0).texts[0].get_text()


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match=r"plots.live_evidence: column 'e_value' is missing"):
        plots.live_evidence(pl.DataFrame({"time": [at(0)]}), needed=20.0)
