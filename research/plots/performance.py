"""What a strategy earned: equity and drawdown, rolling measures, fees, two runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def equity(table: Any, *, capital: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw net (and gross) return since the start, and the net drawdown below it.

    Parameters
    ----------
    table : polars or pandas frame
        With `time`, `equity` (net, money) and, where known, `gross` (the same without costs).
    capital : float, optional
        Equity at the start; the first row's if left out.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        The upper panel; the drawdown panel is appended to it.
    """
    rows = style.take(table, ("time", "equity"), "equity").sort("time")
    ax, below = style.panels(style.canvas(ax, height=5.0), 3, 1)
    start = capital or rows["equity"][0]
    points = style.drawn_points(_with_drawdown(rows, start))
    x, net = style.times(points["time"]), points["equity"].to_numpy() / start - 1
    ends = f"net {rows['equity'][-1] / start - 1:+.1%}"
    if "gross" in rows.columns:
        ax.plot(
            x, points["gross"].to_numpy() / start - 1, color=style.YELLOW, lw=1.3, label="gross"
        )
        ends += f", gross {rows['gross'][-1] / start - 1:+.1%}"
    ax.plot(x, net, color=style.BLUE, linewidth=1.6, label="net")
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.as_percent(ax.yaxis)
    style.legend_above(ax)
    style.dress(ax, f"{ends}; deepest drawdown {_deepest(rows, start):.1%}", y="return (%)")
    below.fill_between(x, points["drawdown"], 0, color=style.ORANGE, alpha=0.5, linewidth=0)
    style.as_percent(below.yaxis)
    style.utc(below)
    below.set_ylabel("drawdown (%)", fontsize=9, color=style.INK)
    return ax


def _with_drawdown(rows: pl.DataFrame, start: float) -> pl.DataFrame:
    peak = pl.max_horizontal(pl.col("equity").cum_max(), pl.lit(float(start)))
    return rows.with_columns(drawdown=pl.col("equity") / peak - 1)


def _deepest(rows: pl.DataFrame, start: float) -> float:
    return float(_with_drawdown(rows, start)["drawdown"].min())  # type: ignore[arg-type]


def rolling(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw rolling Sharpe ratio, drawdown and hit rate, one above the other.

    Parameters
    ----------
    table : polars or pandas frame
        With `time` and any of `sharpe` (a year of 365 days), `drawdown` and `hit_rate`
        (fractions).
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        The uppermost panel; the title names the window, read off the rows before it is full.
    """
    rows = style.take(table, ("time",), "rolling").sort("time")
    shown = [c for c in ("sharpe", "drawdown", "hit_rate") if c in rows.columns]
    points = style.drawn_points(style.take(rows, tuple(shown) or ("sharpe",), "rolling"))
    ax = style.canvas(ax, height=1.5 + 1.6 * len(shown))
    if all(rows[c].null_count() == rows.height for c in shown):
        style.empty(ax, "too few points: no window is full")
        ax.set(xticks=[], yticks=[])
        return style.dress(ax, "rolling measures")
    axes = style.panels(ax, *[1] * len(shown))
    x = style.times(points["time"])
    for part, column in zip(axes, shown, strict=True):
        label, level, colour = _MEASURES[column]
        part.set_ylabel(label, fontsize=9, color=style.INK)
        if rows[column].null_count() == rows.height:
            style.empty(part, "not known: nothing gained or lost")
            part.set_yticks([])
            continue
        part.plot(x, points[column].cast(pl.Float64).to_numpy(), color=colour, linewidth=1.2)
        part.axhline(level, color=style.INK, linewidth=0.8)
        if column != "sharpe":
            style.as_percent(part.yaxis)
    style.utc(axes[-1])
    title = f"rolling over {_window(rows, shown)}"
    axes[0].set_title(title, loc="left", fontsize=11, color=style.INK, pad=10)
    return axes[0]


_MEASURES = {
    "sharpe": ("Sharpe (365 d)", 0.0, style.BLUE),
    "drawdown": ("drawdown (%)", 0.0, style.ORANGE),
    "hit_rate": ("gaining periods (%)", 0.5, style.GREEN),
}


def _window(rows: pl.DataFrame, shown: Sequence[str]) -> str:
    """Write the span of the rows up to the first that is known, which is the first full window."""
    known = rows.select(pl.any_horizontal(pl.col(*shown).is_not_null()))
    first = int(known.to_series().arg_max() or 0)
    if first == 0:
        return "a trailing window"
    time = rows["time"]
    hours = (time[first] - time[0] + (time[1] - time[0])) / timedelta(hours=1)
    return f"{hours:.3g} hours" if hours < 48 else f"{hours / 24:.3g} days"


def fee_sweep(table: Any, *, break_even: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw the net return at each fee, and the fee at which nothing is left.

    Parameters
    ----------
    table : polars or pandas frame
        With `fee` (per side) and `net_return`, fractions.
    break_even : float, optional
        Fee per side at which the net return is zero.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    rows = style.take(table, ("fee", "net_return"), "fee_sweep").sort("fee")
    ax = style.canvas(ax)
    fee, net = rows["fee"].to_numpy(), rows["net_return"].to_numpy()
    ax.plot(fee, net, "o-", color=style.BLUE, linewidth=1.6, markersize=4)
    ax.fill_between(fee, net, 0, where=net < 0, color=style.ORANGE, alpha=0.15, interpolate=True)
    ax.axhline(0, color=style.INK, linewidth=0.8)
    title = "break-even fee is not known"
    if break_even is not None:
        title = f"break-even at {break_even * 1e4:.2f} bps per side"
        if fee[0] <= break_even <= fee[-1]:
            ax.axvline(break_even, color=style.ORANGE, linestyle="--", linewidth=1.2)
    style.as_bps(ax.xaxis)
    style.as_percent(ax.yaxis)
    return style.dress(ax, title, x="fee per side (bps)", y="net return (%)")


def alpha_factor(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the alpha factor: the mean over symbols of the scaled signal.

    Parameters
    ----------
    table : polars or pandas frame
        With `time` and `alpha`: each symbol's z-score of its signal over a day, times 0.01.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        The factor with its mean over a fiftieth of the span.
    """
    rows = style.take(table, ("time", "alpha"), "alpha_factor").drop_nulls("alpha").sort("time")
    ax = style.canvas(ax)
    smooth = rows.with_columns(mean=pl.col("alpha").rolling_mean(max(rows.height // 50, 1)))
    points = style.drawn_points(smooth)
    x = style.times(points["time"])
    ax.plot(x, points["alpha"].to_numpy(), color=style.SKY, linewidth=0.4, label="each bar")
    ax.plot(
        x,
        points["mean"].cast(pl.Float64).to_numpy(),
        color=style.BLUE,
        lw=1.6,
        label="running mean",
    )
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.utc(ax)
    style.legend_above(ax)
    ax.get_legend().get_lines()[0].set_linewidth(1.6)  # type: ignore[union-attr]
    alpha = rows["alpha"].to_numpy() if rows.height else np.zeros(1)
    active, mean = (alpha != 0).mean(), round(alpha.mean() * 100, 6) + 0.0  # no minus before a zero
    title = f"alpha factor: not zero on {active:.0%} of bars, mean {mean:+.2g} s.d."
    return style.dress(ax, title, x="time (UTC)", y="scaled signal (0.01 = 1 s.d.)")


def compare_equity(
    a: Any, b: Any, *, names: tuple[str, str] = ("a", "b"), ax: Axes | None = None
) -> Axes:
    """Draw two net returns, and below them the first less the second.

    Parameters
    ----------
    a, b : polars or pandas frames
        With `time` and `equity`; the difference is drawn where both have the time.
    names : tuple of str
        What to call them.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        The upper panel.
    """
    ax, below = style.panels(style.canvas(ax, height=5.0), 3, 1)
    curves = [_net_return(table) for table in (a, b)]
    for curve, name, colour in zip(curves, names, (style.BLUE, style.ORANGE), strict=True):
        points = style.drawn_points(curve)
        ax.plot(style.times(points["time"]), points["net"].to_numpy(), color=colour, label=name)
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.as_percent(ax.yaxis)
    style.legend(ax)
    apart = curves[0]["net"][-1] - curves[1]["net"][-1]
    order = "above" if apart >= 0 else "below"
    title = f"{names[0]} ends {abs(apart):.1%} {order} {names[1]}, net"
    style.dress(ax, title, y="net return (%)")
    both = style.drawn_points(curves[0].join(curves[1], on="time", suffix="_b").sort("time"))
    gap = (both["net"] - both["net_b"]).to_numpy()
    below.plot(style.times(both["time"]), gap, color=style.GREY, linewidth=1.2)
    below.axhline(0, color=style.INK, linewidth=0.8)
    style.as_percent(below.yaxis)
    style.utc(below)
    below.set_ylabel("difference (%)", fontsize=9, color=style.INK)
    return ax


def _net_return(table: Any) -> pl.DataFrame:
    rows = style.take(table, ("time", "equity"), "compare_equity").sort("time")
    return rows.select("time", net=pl.col("equity") / pl.col("equity").first() - 1)
