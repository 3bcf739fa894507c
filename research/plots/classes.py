"""Forecasts of classes: what was said and what came, and whether probabilities are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_CLASSES = ("down", "flat", "up")
_LOOK = {"down": (style.ORANGE, "v"), "flat": (style.GREY, "s"), "up": (style.BLUE, "^")}


def confusion(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw how often each class was said when each class came.

    Parameters
    ----------
    table : polars or pandas frame
        With `actual`, `down`, `flat`, `up`: the `confusion` of `scores.classification`.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Shade and percentage of a field: share of the rows whose class came that were called so.
    """
    rows = style.take(table, ("actual", *_CLASSES), "confusion")
    counts = rows.select(_CLASSES).to_numpy().astype(float)
    came = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, came, out=np.zeros_like(counts), where=came > 0)
    ax = style.canvas(ax, width=5.5, height=4.2)
    ax.grid(visible=False)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(share):
        ink = "white" if value > 0.55 else style.INK
        text = f"{value:.0%}\n{counts[i, j]:,.0f}"
        ax.text(j, i, text, ha="center", va="center", color=ink, fontsize=10)
    ax.set_xticks(range(3), _CLASSES)
    ax.set_yticks(range(rows.height), rows["actual"].to_list())
    ax.tick_params(length=0)
    right, total = np.trace(counts), max(counts.sum(), 1)
    most = int(came.argmax())
    title = f"right in {right / total:.1%} of rows; "
    title += f"always {rows['actual'][most]}: {came[most, 0] / total:.1%}"
    return style.dress(ax, title, x="class said", y="class that came (share of it, rows)")


def calibration(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw how often each class came where it was given a probability: on the line is meant.

    Parameters
    ----------
    table : polars or pandas frame
        With `class`, `predicted`, `observed`, `n`, `low`, `high`: the `calibration` of
        `scores.classification`.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    columns = ("class", "predicted", "observed", "n", "low", "high")
    rows = style.take(table, columns, "calibration")
    ax = style.canvas(ax, width=6.5, height=5.0)
    ax.grid(axis="x", color=style.PALE, linewidth=0.8)
    reached = rows.select("predicted", "observed", "high").to_numpy().max(initial=1e-3)
    top = min(1.0, 1.05 * float(reached))
    ax.plot([0, top], [0, top], "--", color=style.INK, linewidth=0.8, label="as predicted")
    for name in _CLASSES:
        own = rows.filter(pl.col("class") == name).sort("predicted")
        x, y = own["predicted"].to_numpy(), own["observed"].to_numpy()
        colour, marker = _LOOK[name]
        ax.errorbar(
            x, y, yerr=style.reach(own, "observed"), fmt=f"{marker}-", color=colour,
            markersize=5, linewidth=1.2, elinewidth=0.8, capsize=2, label=name,
        )  # fmt: skip
    ax.set_xlim(0, top)
    ax.set_ylim(0, top)
    style.as_percent(ax.xaxis)
    style.as_percent(ax.yaxis)
    style.legend(ax, loc="upper left")
    held = rows.select((pl.col("predicted").is_between("low", "high")).sum()).item()
    title = f"{held} of {rows.height} bins came as often as predicted, within 95 %"
    return style.dress(ax, title, x="predicted probability (bin mean)", y="share that came, 95 %")
