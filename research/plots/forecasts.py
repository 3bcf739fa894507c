"""Forecasts: IC by day and horizon, quantiles, and what hindsight adds to them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research import units
from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def ic_by_day(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw each UTC day's IC with its interval, and the mean of all days so far.

    Parameters
    ----------
    table : polars or pandas frame
        With `day`, `ic`, `low` and `high`, as `scores.ic_by_day` returns it.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    rows = style.take(table, ("day", "ic", "low", "high"), "ic_by_day").sort("day")
    ax = style.canvas(ax)
    x, ic = style.times(rows["day"].cast(pl.Date)), rows["ic"].to_numpy()
    low, high = (rows[c].cast(pl.Float64).to_numpy() for c in ("low", "high"))
    ax.fill_between(x, low, high, color=style.SKY, alpha=0.3, linewidth=0, label="95 % of a day")
    ax.plot(x, ic, "o", color=style.BLUE, markersize=3.5, label="a day")
    running = np.cumsum(ic) / np.arange(1, len(ic) + 1)
    ax.plot(x, running, color=style.ORANGE, linewidth=2, label="mean so far")
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.utc(ax)
    style.legend_above(ax)
    title = f"mean IC {ic.mean():+.4f}; above zero on {(ic > 0).mean():.0%} of {len(ic)} days"
    return style.dress(ax, title, x="day (UTC)", y="IC (rank correlation)")


def ic_decay(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the IC over horizons, beside the IC that would pay the costs where one could.

    Parameters
    ----------
    table : polars or pandas frame
        With `horizon` (duration), `ic`, `low`, `high`, `ic_break_even`: from `scores.decay`.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    columns = ("horizon", "ic", "low", "high", "ic_break_even")
    rows = style.take(table, columns, "ic_decay").sort("horizon")
    ax = style.canvas(ax)
    at = np.arange(rows.height)
    ax.errorbar(
        at, rows["ic"].to_numpy(), yerr=style.reach(rows, "ic"), fmt="o-", color=style.BLUE,
        capsize=3, linewidth=1.5, label="IC, 95 % interval",
    )  # fmt: skip
    needed = rows["ic_break_even"].to_numpy()
    possible = np.where(needed < 1, needed, np.nan)  # no correlation is above one
    ax.plot(at, possible, "s--", color=style.ORANGE, label="break-even IC")
    for k in np.flatnonzero(needed >= 1).tolist():
        ax.text(k, 0.5, "no IC pays", transform=ax.get_xaxis_transform(), rotation=90, ha="right",
                va="center", color=style.ORANGE, fontsize=9)  # fmt: skip
    ax.axhline(0, color=style.INK, linewidth=0.8)
    ax.set_xticks(at, [units.show(timedelta(seconds=h.total_seconds())) for h in rows["horizon"]])
    style.legend(ax)
    paid = rows.filter(pl.col("ic") > pl.col("ic_break_even")).height
    best = rows.row(int(rows["ic"].arg_max() or 0), named=True)
    title = f"best IC {best['ic']:+.4f} at {units.show(best['horizon'])}; "
    title += f"pays its costs at {paid} of {rows.height} horizons"
    return style.dress(ax, title, x="horizon", y="IC (rank correlation)")


def quantiles(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the mean return of each forecast bin with its interval.

    Parameters
    ----------
    table : polars or pandas frame
        With `bin`, `mean`, `low`, `high`: the `table` of `scores.quantile_table`.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Bars up to 60 bins, points beyond.
    """
    rows = style.take(table, ("bin", "mean", "low", "high"), "quantiles").sort("bin")
    ax = style.canvas(ax)
    x, mean = rows["bin"].to_numpy(), rows["mean"].to_numpy()
    if rows.height > 60:
        ax.plot(x, mean, ".", color=style.BLUE, markersize=2, alpha=0.6)
    else:
        ax.bar(x, mean, color=np.where(mean >= 0, style.BLUE, style.ORANGE), width=0.75)
        reach = style.reach(rows, "mean")
        if reach is not None:
            ax.errorbar(x, mean, yerr=reach, fmt="none", ecolor=style.INK, capsize=2, linewidth=1)
        ax.set_xticks(x if rows.height <= 20 else x[:: rows.height // 10])
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.as_bps(ax.yaxis)
    spread = (mean[-1] - mean[0]) * 1e4
    title = f"top less bottom bin: {spread:+.2f} bps, before costs"
    return style.dress(ax, title, x="forecast bin (1 lowest)", y="mean return (bps), 95 %")


def cumulative_quantiles(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the running return of every bin, light for low forecasts to dark for high ones.

    Parameters
    ----------
    table : polars or pandas frame
        With `day`, `bin`, `cumulative`, as `scores.cumulative` returns it; at most 10 bins are
        drawn, spread evenly.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    import matplotlib as mpl

    rows = style.take(table, ("day", "bin", "cumulative"), "cumulative_quantiles")
    bins = rows["bin"].unique().sort().to_numpy()
    shown = bins[np.unique(np.linspace(0, len(bins) - 1, min(len(bins), 10)).astype(int))]
    ax = style.canvas(ax)
    colours = mpl.colormaps["cividis_r"](np.linspace(0.08, 1, len(shown)))
    ends = []
    for number, colour in zip(shown, colours, strict=True):
        curve = rows.filter(pl.col("bin") == number).sort("day")
        x = style.times(curve["day"].cast(pl.Date))
        edge = number in (bins[0], bins[-1])
        label = f"bin {number}" if edge else None
        ax.plot(x, curve["cumulative"].to_numpy(), color=colour, lw=2 if edge else 1, label=label)
        ends.append(curve["cumulative"][-1])
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.utc(ax)
    style.as_percent(ax.yaxis)
    style.legend(ax)
    title = f"before costs the top bin made {ends[-1]:+.1%}, the bottom bin {ends[0]:+.1%}"
    return style.dress(ax, title, x="day (UTC)", y="cumulative return (%), not compounded")


def optimism(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the spread under each way to cut bins: known in time (blue) or with hindsight.

    Parameters
    ----------
    table : polars or pandas frame
        With `scope`, `known_in_time`, `spread`, `low`, `high`, `gap`: from `scores.optimism`.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    columns = ("scope", "known_in_time", "spread", "low", "high", "gap")
    rows = style.take(table, columns, "optimism").drop_nulls("spread")
    ax = style.canvas(ax, width=7.0)
    colour = [style.BLUE if known else style.ORANGE for known in rows["known_in_time"]]
    at = np.arange(rows.height)
    ax.bar(at, rows["spread"].to_numpy(), color=colour, width=0.6)
    reach = style.reach(rows, "spread")
    if reach is not None:
        ax.errorbar(
            at, rows["spread"].to_numpy(), yerr=reach, fmt="none", ecolor=style.INK, capsize=3
        )
    ax.axhline(0, color=style.INK, linewidth=0.8)
    names = zip(rows["scope"], rows["known_in_time"], strict=True)
    ax.set_xticks(at, [f"{s}\n{'known in time' if k else 'hindsight'}" for s, k in names])
    style.as_bps(ax.yaxis)
    worst = rows.row(int(rows["gap"].fill_null(0).arg_max() or 0), named=True)
    title = f"hindsight adds up to {(worst['gap'] or 0) * 1e4:+.2f} bps ({worst['scope']})"
    return style.dress(ax, title, y="top less bottom bin (bps), 95 %")
