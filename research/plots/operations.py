"""A day's operation: what it cost beside what was said, how long hops took, when it was there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def operation_costs(table: Any, *, simulated: bool = False, ax: Axes | None = None) -> Axes:
    """Draw each kind of cost as it was said to be and as it was.

    Parameters
    ----------
    table : polars or pandas frame
        With `cost` (its name), `assumed_bps` and `measured_bps`, of what was traded; null where
        nothing is assumed or nothing was traded.
    simulated : bool
        Of a paper run: its fills are made as assumed, so that nothing is measured by them.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Pairs of bars in basis points.
    """
    rows = style.take(table, ("cost", "assumed_bps", "measured_bps"), "operation_costs")
    ax = style.canvas(ax, height=3.4)
    if rows["measured_bps"].null_count() == rows.height:
        style.empty(ax, "nothing was traded")
        return style.dress(ax, "costs")
    x = np.arange(rows.height)
    found = "simulated" if simulated else "measured"
    sides = ((-0.2, "assumed", "assumed", style.GREY), (0.2, "measured", found, style.BLUE))
    for shift, name, label, colour in sides:
        height = rows[f"{name}_bps"].fill_null(0.0).to_numpy()
        bars = ax.bar(x + shift, height, 0.38, color=colour, label=label)
        ax.bar_label(bars, fmt="%.2f", fontsize=8, color=style.INK, padding=2)
    ax.axhline(0, color=style.INK, linewidth=0.8)
    ax.set_xticks(x, rows["cost"].to_list())
    ax.margins(y=0.15)
    style.legend_above(ax)
    both = rows.drop_nulls(["assumed_bps", "measured_bps"])
    said, was = both["assumed_bps"].sum(), both["measured_bps"].sum()
    title = f"{'simulated ' * simulated}cost a side: {was:.2f} bps, said {said:.2f}"
    return style.dress(ax, title, y="bps of what was traded")


def operation_slippage(fills: Any, *, simulated: bool = False, ax: Axes | None = None) -> Axes:
    """Draw each fill's slippage beside what was assumed of it.

    Parameters
    ----------
    fills : polars or pandas frame
        With `slippage` and `slippage_assumed`, fractions of price; null ones are left out.
    simulated : bool
        Of a paper run: its fills are made as assumed, so that nothing is measured by them.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Points, in basis points; on the line a fill cost what was said, above it more.
    """
    rows = style.take(fills, ("slippage", "slippage_assumed"), "operation_slippage")
    rows = rows.drop_nulls(["slippage", "slippage_assumed"])
    ax = style.canvas(ax, height=3.8)
    if rows.is_empty():
        style.empty(ax, "no fill has a price to be held against")
        return style.dress(ax, "slippage")
    said, was = (rows[name].to_numpy() for name in ("slippage_assumed", "slippage"))
    ends = np.array([min(said.min(), was.min()), max(said.max(), was.max())])
    room = max(0.1 * (ends[1] - ends[0]), 0.1e-4)
    ends = ends + np.array([-room, room])
    ax.plot(ends, ends, color=style.ORANGE, ls="--", lw=1.2, label="as said")
    ax.scatter(said, was, s=18, color=style.BLUE, alpha=0.6, linewidths=0, label="fill")
    for axis in (ax.xaxis, ax.yaxis):
        style.as_bps(axis)
    style.legend(ax, loc="upper left")
    beyond = round((was - said).mean() * 1e4, 3) + 0.0  # no minus before a zero
    title = (
        f"{rows.height:,} {'simulated ' * simulated}fills, {beyond:+.3f} bps beyond what was said"
    )
    found = "simulated" if simulated else "measured"
    return style.dress(ax, title, x="assumed (bps)", y=f"{found} (bps)")


def operation_hops(table: Any, *, assumed: float, ax: Axes | None = None) -> Axes:
    """Draw how long each hop of a decision took.

    Parameters
    ----------
    table : polars or pandas frame
        With `hop`, `median`, `p95`, `p99` and `most`, in milliseconds.
    assumed : float
        From a close to its fill as fills assume it, in seconds.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        One line per hop on a logarithmic axis, from the median to the longest.
    """
    rows = style.take(table, ("hop", "median", "p95", "p99", "most"), "operation_hops").reverse()
    ax = style.canvas(ax, height=3.2)
    if rows.is_empty():
        style.empty(ax, "no bar has been decided")
        return style.dress(ax, "latency")
    y = np.arange(rows.height)
    found = {n: np.maximum(rows[n].to_numpy(), 1e-2) for n in ("median", "p95", "p99", "most")}
    ax.hlines(y, found["median"], found["most"], color=style.SKY, lw=2)
    marks = (("median", "o", style.BLUE), ("p95", "s", style.GREEN), ("p99", "D", style.YELLOW))
    for name, mark, colour in (*marks, ("most", "|", style.INK)):
        ax.plot(found[name], y, mark, color=colour, label=name, ms=6, ls="none")
    if assumed > 0:
        ax.axvline(assumed * 1e3, color=style.ORANGE, ls="--", lw=1.4, label="assumed")
    ax.set_xscale("log")
    ax.set_yticks(y, rows["hop"].to_list())
    ax.margins(y=0.15)
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    said = style.duration(assumed * 1e3, exact=True)
    return style.dress(ax, f"latency by hop; fills assume {said}", x="latency (ms)")


def operation_uptime(closes: Any, incidents: Any = None, *, ax: Axes | None = None) -> Axes:
    """Draw which share of each hour's closes was acted on, and when there were incidents.

    Parameters
    ----------
    closes : polars or pandas frame
        With `time`, `acted` and `late`: one row per close that was due.
    incidents : polars or pandas frame, optional
        With `time` and `kind`.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Bars by the hour; incidents as lines, one colour for each kind.
    """
    rows = style.take(closes, ("time", "acted", "late"), "operation_uptime")
    ax = style.canvas(ax, height=3.0)
    if rows.is_empty():
        style.empty(ax, "no close was due")
        return style.dress(ax, "uptime")
    # a close belongs to the hour that it ends
    hour = (pl.col("time") - pl.duration(microseconds=1)).dt.truncate("1h")
    good = pl.col("acted") & ~pl.col("late")
    by = rows.group_by(hour=hour, maintain_order=True).agg(
        acted=pl.col("acted").mean(), good=good.mean()
    )
    x, width = style.times(by["hour"]), np.timedelta64(1, "h")
    for name, colour, label in (("acted", style.SKY, "late"), ("good", style.BLUE, "in time")):
        ax.bar(
            x, by[name].to_numpy(), width, align="edge", color=colour, label=label, lw=0.5, ec="w"
        )
    if incidents is not None:
        marked = style.take(incidents, ("time", "kind"), "operation_uptime")
        colours = (style.ORANGE, style.YELLOW, style.PURPLE, style.GREEN, style.INK)
        kinds = marked["kind"].unique(maintain_order=True).to_list()
        for number, kind in enumerate(kinds):
            when = style.times(marked.filter(pl.col("kind") == kind)["time"])
            colour = colours[min(number, len(colours) - 1)]
            ax.vlines(when, 0, 1.04, color=colour, lw=1.4, label=kind)
    style.as_percent(ax.yaxis, 0)
    ax.set_ylim(0, 1.06)
    style.utc(ax)
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    acted = int(rows["acted"].sum())
    title = f"{acted:,} of {rows.height:,} closes acted on ({acted / rows.height:.2%})"
    return style.dress(ax, title, x="time (UTC)", y="share of closes (%)")
