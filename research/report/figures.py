"""The pictures of a report: each of `plots` on a run's tables, saved as PNG and SVG."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from research import datasets, performance, pipeline, plots
from research.evaluation import Evaluation
from research.order_flow import measured, studied
from research.store import atomic
from research.study import Study
from research.tape import Backtest


def draw(
    study: Study,
    found: Evaluation,
    tested: Backtest,
    rivals: pl.DataFrame,
    summary: dict[str, Any],
    folder: Path,
) -> None:
    """Draw every picture that the run has data for into `folder`."""
    capital = study.backtest.capital
    pictures: dict[str, Callable[[], Any]] = {
        "equity": lambda: plots.equity(tested.equity, capital=capital),
        "rolling": lambda: plots.rolling(rolled(tested)),
        "fees": lambda: plots.fee_sweep(
            tested.fee_sweep, break_even=tested.summary["break_even_fee"]
        ),
        "quantiles": lambda: plots.quantiles(found.quantiles.table),
        "optimism": lambda: plots.optimism(found.optimism),
        "decay": lambda: plots.ic_decay(found.decay),
        "ic_by_day": lambda: plots.ic_by_day(found.by_day),
        "league": lambda: plots.league(rivals),
        "coverage": lambda: plots.coverage(datasets.quality(study)),
        "alpha": lambda: plots.alpha_factor(alpha(found, tested)),
        "surface": lambda: plots.fee_surface(found.surface, fee=study.fee),
        "hours": lambda: plots.fee_surface(found.by_hour, x="hour", y="symbol", fee=study.fee),
    }
    if classes := found.classes:
        pictures["confusion"] = lambda: plots.confusion(classes.confusion)
        pictures["calibration"] = lambda: plots.calibration(classes.calibration)
    if summary["gate"]:
        pictures["gate"] = lambda: plots.gate(pipeline.gates(study))
    if summary.get("truth"):
        pictures["truth"] = lambda: plots.truth(truth(summary["truth"]))
    for name, picture in pictures.items():
        save(picture, folder / name)
    draw_flow(study, folder)


def draw_flow(study: Study, folder: Path) -> None:
    """Draw a recording's book, its coverage and its order flow into `folder`; of other bars none.

    Of several symbols the first is drawn.
    """
    if study.data.source not in studied.SOURCES:
        return
    known = studied.of_first(studied.kept(study))
    pictures: dict[str, Callable[[], Any]] = {
        "flow_impact": lambda: plots.impact(known["flow"]),
        "flow_lagged": lambda: plots.lags(known["lagged"]),
        "flow_next_move": lambda: plots.next_move(known["next_move"]),
    }
    if known["watched"].height:
        span = known["watched"].select("start_ns", "end_ns").row(0)
        pictures["flow_coverage"] = lambda: plots.book_coverage(known["gaps"], span)
    if known["book"].height:
        pictures["flow_depth"] = lambda: plots.depth_chart(measured.sides(known["book"]))
    for name, picture in pictures.items():
        save(picture, folder / name)


def truth(known: dict[str, Any]) -> pl.DataFrame:
    """Lay out what was planted, possible and found, with intervals, as `plots.truth` takes it."""
    rows = [{"name": "planted", "ic": known["planted_ic"]}]
    for name, key in (("possible", "oracle_ic"), ("found", "found_ic")):
        row = {"name": name, "ic": known[key], "low": known[f"{key}_low"]}
        rows.append({**row, "high": known[f"{key}_high"]})
    schema = {"name": pl.String, "ic": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame(rows, schema=schema).drop_nulls("ic")


def rolled(tested: Backtest) -> pl.DataFrame:
    """Return rolling measures; no Sharpe ratio over windows too short for a figure of a year."""
    short = tested.summary["days"] < 6 * performance.ANNUAL_DAYS
    return tested.rolling().drop(["sharpe"] if short else [])


def alpha(found: Evaluation, tested: Backtest) -> pl.DataFrame:
    """Return the alpha factor: the z-score of each symbol's signal, averaged over symbols."""
    signal = tested.reasons.select("symbol", "time", signal=pl.col("position").sign())
    return performance.alpha_factor(signal)


def save(picture: Callable[[], Any], path: Path) -> None:
    """Draw one picture and keep it as ``path.png`` and ``path.svg``."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "alphabook", "svg.fonttype": "path"}):
        import matplotlib.pyplot as plt

        axes = picture()
        figure = axes.figure.get_figure(root=True)
        for end, settings in (("png", {"dpi": 130}), ("svg", {"metadata": {"Date": None}})):
            content = io.BytesIO()
            figure.savefig(content, format=end, bbox_inches="tight", **settings)
            atomic.write_bytes(path.with_suffix(f".{end}"), content.getvalue())
        plt.close(figure)
