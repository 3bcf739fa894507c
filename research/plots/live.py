"""A paper run: what it earned and held, how long it took, its reasons, and who challenges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_REASONS = 6
_EQUITY = "equity (quote currency)"
_HOPS = ("close_to_known", "features", "forecast", "decide")


def live_run(
    equity: Any, decisions: Any, *, capital: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the equity of a paper run, and below it what was held of each symbol.

    Parameters
    ----------
    equity : polars or pandas frame
        With `time` and `equity` (money).
    decisions : polars or pandas frame
        With `time`, `symbol` and `worth` of what was held in quote currency, or `position` (base
        currency) and `close`.
    capital : float, optional
        Equity at the start; the first row's if left out.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        The upper panel.
    """
    rows = style.take(equity, ("time", "equity"), "live_run").sort("time")
    held = _held(decisions)
    ax, below = style.panels(style.canvas(ax, height=4.6), 2, 1)
    if rows.is_empty():
        style.empty(ax, "no bar has been decided yet")
        return style.dress(ax, "equity", y=_EQUITY)
    start = capital or rows["equity"][0]
    points = style.drawn_points(rows)
    ax.plot(style.times(points["time"]), points["equity"].to_numpy(), color=style.BLUE, lw=1.5)
    ax.axhline(start, color=style.INK, linewidth=0.8)
    change = rows["equity"][-1] / start - 1
    style.dress(ax, f"{rows['equity'][-1]:,.2f}, {change:+.3%} since the start", y=_EQUITY)
    for colour, ((symbol,), part) in zip(_colours(), held.group_by("symbol", maintain_order=True)):
        shown = style.drawn_points(part)
        x, worth = style.times(shown["time"]), shown["worth"].to_numpy()
        below.step(x, worth, where="post", color=colour, lw=1.1, label=str(symbol))
    below.axhline(0, color=style.INK, linewidth=0.8)
    below.set_ylabel("held\n(quote currency)", fontsize=9, color=style.INK)
    style.legend_beside(below, loc="lower left", bbox_to_anchor=(1.0, 0.0))
    style.utc(below)
    return ax


def _held(decisions: Any) -> pl.DataFrame:
    rows = style.take(decisions, ("time", "symbol"), "live_run")
    if "worth" not in rows.columns:
        rows = style.take(rows, ("position", "close"), "live_run")
        rows = rows.with_columns(worth=pl.col("position") * pl.col("close"))
    return rows.sort("symbol", "time")


def _colours() -> Any:
    from itertools import cycle

    return cycle(style.CYCLE)


def live_latency(
    table: Any, *, assumed: float, hop: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw which share of bars was decided within how many milliseconds, beside what was assumed.

    Parameters
    ----------
    table : polars or pandas frame
        Microseconds by hop: `close_to_known`, `features`, `forecast` and `decide`.
    assumed : float
        Latency that the fills of the study assume, in seconds.
    hop : str, optional
        Draw this column alone; else the sum of the hops.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        A logarithmic axis of time; the title has median, p95 and p99.
    """
    rows = style.take(table, (hop,) if hop else _HOPS, "live_latency")
    total = pl.col(hop) if hop else pl.sum_horizontal(_HOPS)
    took = rows.select(total.alias("took"))["took"].drop_nulls().sort().to_numpy() / 1e3
    ax = style.canvas(ax)
    if not len(took):
        style.empty(ax, "no bar has been decided yet")
        return style.dress(ax, "latency")
    share = np.arange(1, len(took) + 1) / len(took)
    ax.step(np.maximum(took, 1e-3), share, where="post", color=style.BLUE, lw=1.6, label="measured")
    if assumed > 0:
        ax.axvline(assumed * 1e3, color=style.ORANGE, ls="--", lw=1.4, label="assumed")
    ax.set_xscale("log")
    style.as_percent(ax.yaxis)
    style.legend(ax, loc="lower right")
    half, most, nearly = np.quantile(took, (0.5, 0.95, 0.99))
    half, most, nearly = (style.duration(value) for value in (half, most, nearly))
    title = f"measured: median {half}, p95 {most}, p99 {nearly}"
    title += f"; assumed {style.duration(assumed * 1e3, exact=True)}"
    return style.dress(ax, title, x="latency (ms)", y="share of bars (%)")


def live_reasons(table: Any, *, every: str = "1h", ax: Axes | None = None) -> Axes:
    """Draw how often which reason was given, by stretches of time.

    Parameters
    ----------
    table : polars or pandas frame
        With `time` and `reason`: one row per decision.
    every : str
        Length of a stretch, as polars writes it.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Stacked shares; the six most frequent reasons by name, the rest together. The first and
        last stretch are as long as the run was in them.
    """
    rows = style.take(table, ("time", "reason"), "live_reasons")
    ax = style.canvas(ax)
    if rows.is_empty():
        style.empty(ax, "no bar has been decided yet")
        return style.dress(ax, "reasons")
    counted = (
        rows["reason"].value_counts(sort=True).sort("count", "reason", descending=[True, False])
    )
    named = counted["reason"].head(_MOST_REASONS).to_list()
    reason = pl.when(pl.col("reason").is_in(named)).then("reason").otherwise(pl.lit("others"))
    shares = rows.select(pl.col("time").dt.truncate(every), reason=reason)
    wide = shares.group_by("time", "reason").len().pivot("reason", index="time", values="len")
    wide = wide.fill_null(0).sort("time")
    shown = [name for name in (*named, "others") if name in wide.columns]
    parts = wide.select(shown).to_numpy() / wide.select(shown).sum_horizontal().to_numpy()[:, None]
    x, width = _stretches(wide["time"], rows["time"], every)
    floor = np.zeros(wide.height)
    for colour, name, part in zip(_colours(), shown, parts.T):
        ax.bar(x, part, width, floor, align="edge", color=colour, label=name, linewidth=0)
        floor = floor + part
    style.as_percent(ax.yaxis)
    style.utc(ax)
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    first = counted.row(0)
    title = f"{rows.height:,} decisions, {first[1] / rows.height:.0%} of them {first[0]}"
    return style.dress(ax, title, x="time (UTC)", y="share of decisions (%)")


def _stretches(starts: pl.Series, run: pl.Series, every: str) -> tuple[np.ndarray, np.ndarray]:
    """Return start and width of each stretch, cut to where the run began and ended."""
    ends = starts.dt.offset_by(every)
    left, right = style.times(starts), style.times(ends)
    if run.n_unique() > 1:  # a run of one bar has no length to be cut to
        first, last = style.times(run.sort())[[0, -1]]
        left, right = np.maximum(left, first), np.minimum(right, last)
    return left, right - left


def live_evidence(table: Any, *, needed: float, ax: Axes | None = None) -> Axes:
    """Draw how much speaks for a challenger, bar by bar, and how much it needs.

    Parameters
    ----------
    table : polars or pandas frame
        With `time` and `e_value`, 1 at the start.
    needed : float
        The e-value of a promotion: one over the error that is accepted.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        With a logarithmic axis.
    """
    rows = style.take(table, ("time", "e_value"), "live_evidence").sort("time")
    ax = style.canvas(ax)
    ax.axhline(needed, color=style.ORANGE, linestyle="--", linewidth=1.3, label="needed")
    ax.axhline(1, color=style.INK, linewidth=0.8)
    ax.set_yscale("log")
    if rows.is_empty():
        style.empty(ax, "no challenger has been tried")
        return style.dress(ax, "evidence", y="e-value")
    points = style.drawn_points(rows)
    value = np.maximum(points["e_value"].to_numpy(), 1e-6)
    ax.plot(style.times(points["time"]), value, color=style.BLUE, lw=1.5, label="challenger")
    style.utc(ax)
    style.legend(ax, loc="best")
    title = f"e-value {rows['e_value'][-1]:.3g} of {needed:g} needed"
    return style.dress(ax, title, x="time (UTC)", y="e-value")
