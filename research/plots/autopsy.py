"""A claim taken apart: the number that is left after each leak was taken away."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 46


def waterfall(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw how a claimed number falls to an honest one, step by step.

    Parameters
    ----------
    table : polars or pandas frame
        With `removed`, `number`, `low`, `high`, `unit` and `honest`, in order; `low` and `high`
        are null where nothing is out of sample.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        What is honest is blue, with its interval; what is not is grey, with the change that led
        to it in orange.
    """
    columns = ("removed", "number", "low", "high", "unit", "honest")
    rows = style.take(table, columns, "waterfall")
    ax = style.canvas(ax, height=1.5 + 0.5 * rows.height)
    if rows["number"].is_null().all():
        style.empty(ax, "no number was found")
        return style.dress(ax, "nothing to take apart")
    ax.grid(axis="y", visible=False)
    ax.grid(axis="x", color=style.PALE)
    number = rows["number"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    at = np.arange(rows.height)
    ax.barh(at, number, color=np.where(rows["honest"], style.BLUE, style.PALE), height=0.6)
    _falls(ax, number)
    _reach(ax, rows, number)
    ax.axvline(0, color=style.INK, linewidth=0.8)
    for place, value in enumerate(number):
        # beside the picture: an interval may lie anywhere in it
        said = "no trades" if np.isnan(value) else f"{value:+.3g}"
        beside = ax.get_yaxis_transform()
        ax.text(1.01, place, said, transform=beside, va="center", fontsize=9, color=style.INK)
    first, *later = rows["removed"].to_list()
    names = [first, *(f"without: {name}" for name in later)]
    ax.set_yticks(at, [n if len(n) <= WIDE else f"{n[: WIDE - 1]}…" for n in names])
    ax.set_ylim(rows.height - 0.4, -0.6)
    return style.dress(ax, _title(rows, number), x=f"{rows['unit'][0]}; 95 % interval")


def _falls(ax: Axes, number: np.ndarray) -> None:
    """Mark each change from a step to the next, on the line between them."""
    for place, (before, after) in enumerate(pairwise(number)):
        if np.isfinite(before) and np.isfinite(after):
            ax.plot([before, after], [place + 0.5] * 2, color=style.ORANGE, linewidth=2)


def _reach(ax: Axes, rows: pl.DataFrame, number: np.ndarray) -> None:
    known = (rows["low"].is_not_null() & rows["high"].is_not_null()).to_numpy()
    reach = style.reach(rows, "number")
    if reach is None:
        return
    ax.errorbar(
        number[known],
        np.flatnonzero(known),
        xerr=reach[:, known],
        fmt="none",
        ecolor=style.INK,
        capsize=3,
        linewidth=1,
    )


def _title(rows: pl.DataFrame, number: np.ndarray) -> str:
    last = rows.row(-1, named=True)
    said = f"claimed {number[0]:+.3g}, honest {number[-1]:+.3g}"
    if last["low"] is not None:
        said += f" [{last['low']:+.3g}, {last['high']:+.3g}]"
    return f"{said} {rows['unit'][0]}"
