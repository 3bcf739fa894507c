"""One account over several components: what it earned, and who traded how much of it when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_NAMED = 6
"""Components with an own colour: those with the largest mean shares."""
_LABEL = 46


def portfolio(
    equity: Any, weights: Any, *, capital: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw net (and gross) return since the start, and below it the shares of the account.

    Parameters
    ----------
    equity : polars or pandas frame
        With `time`, `equity` (net, money) and, where known, `gross` (the same without costs).
    weights : polars or pandas frame
        With `start`, `component` and `weight`: shares from `start` on until the next.
    capital : float, optional
        Equity at the start; the first row's if left out.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        The upper panel; the shares are stacked in the panel below it. White above them is cash.
        Of more than six components the smaller ones share the grey.
    """
    rows = style.take(equity, ("time", "equity"), "portfolio").sort("time")
    shares = style.take(weights, ("start", "component", "weight"), "portfolio")
    ax, below = style.panels(style.canvas(ax, height=5.4), 3, 2)
    start = capital or rows["equity"][0]
    points = style.drawn_points(rows)
    x, ends = style.times(points["time"]), f"net {rows['equity'][-1] / start - 1:+.1%}"
    if "gross" in rows.columns:
        gross = points["gross"].to_numpy() / start - 1
        ax.plot(x, gross, color=style.YELLOW, linewidth=1.3, label="gross")
        ends += f", gross {rows['gross'][-1] / start - 1:+.1%}"
    ax.plot(x, points["equity"].to_numpy() / start - 1, color=style.BLUE, lw=1.6, label="net")
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.as_percent(ax.yaxis)
    style.legend_above(ax)
    style.dress(ax, f"{ends}; {shares['component'].n_unique()} components", y="return (%)")
    _stack(below, shares, rows["time"][-1])
    style.utc(below)
    return ax


def _stack(ax: Axes, shares: pl.DataFrame, end: Any) -> None:
    """Draw each component's share as a band of steps upon those before it."""
    starts = shares["start"].unique().sort()
    edges = style.times(pl.concat([starts, pl.Series([end], dtype=starts.dtype)]))
    floor = np.zeros(len(edges))
    bands = _bands(shares)
    for (name, values), colour in zip(bands, style.CYCLE, strict=False):
        top = floor + np.append(values, values[-1])
        how: dict[str, Any] = {"color": colour, "alpha": 0.75, "linewidth": 0}
        ax.fill_between(edges, floor, top, step="post", label=_short(name), **how)
        floor = top
    ax.set_ylim(0, max(1.0, floor.max()))
    style.as_percent(ax.yaxis)
    ax.set_ylabel("share of account (%)", fontsize=9, color=style.INK)
    if not bands:
        style.empty(ax, "all cash throughout")
        return
    style.legend(ax, loc="upper center", bbox_to_anchor=(0.5, -0.28), ncols=2)


def _bands(shares: pl.DataFrame) -> list[tuple[str, np.ndarray]]:
    """Shares by component over periods, the largest on average first; the rest added up."""
    table = shares.pivot("component", index="start", values="weight").sort("start").fill_null(0.0)
    every = [(name, table[name].to_numpy()) for name in table.columns if name != "start"]
    known = [band for band in every if band[1].any()]  # what never had a share needs no colour
    known.sort(key=lambda band: -band[1].mean())
    rest = known[_NAMED:]
    if len(rest) > 1:
        total = np.sum([values for _, values in rest], axis=0)
        return [*known[:_NAMED], (f"{len(rest)} others", total)]
    return known


def _short(name: str) -> str:
    """Cut a long name in its middle: names of settings differ at their ends."""
    half = _LABEL // 2 - 1
    return name if len(name) <= _LABEL else f"{name[:half]}…{name[-half:]}"
