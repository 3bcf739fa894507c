"""Was it luck: where the best trial ends out of sample, a study's paths, the count of trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def pbo(
    table: Any, *, low: float | None = None, high: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw where the trial that looked best ended out of sample, split by split.

    Parameters
    ----------
    table : polars or pandas frame
        With `logit`: of the chosen trial's rank, as `performance.pbo` returns it.
    low, high : float, optional
        Ends of the band in which the probability lies for trials without skill; in the title.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Splits at or below 0, where choosing was overfitting, in orange.
    """
    rows = style.take(table, ("logit",), "pbo").drop_nulls("logit")
    ax = style.canvas(ax)
    if rows.is_empty():
        style.empty(ax, "no split has been judged")
        return style.dress(ax, "overfitting")
    logit = rows["logit"].to_numpy()
    reach = max(float(np.abs(logit).max()), 0.5) * 1.001
    # an edge at 0, and 0 itself on the side of those that were overfitted
    edges = np.linspace(-reach, reach, 41)
    bad = logit <= 0
    parts = ((logit[bad] - 1e-9, style.ORANGE, "lower half"), (logit[~bad], style.BLUE, "upper"))
    for values, colour, label in parts:
        weights = np.full(len(values), 1 / len(logit))
        ax.hist(values, edges.tolist(), weights=weights, color=colour, label=label, rwidth=0.92)
    ax.axvline(0, color=style.INK, linewidth=0.8)
    style.as_percent(ax.yaxis)
    style.legend_above(ax)
    title = f"probability of overfitting {bad.mean():.2f}"
    if low is not None and high is not None:
        title += f"; without skill {low:.2f} to {high:.2f}"
    return style.dress(
        ax, title, x="logit of the chosen trial's rank out of sample", y="share of splits (%)"
    )


def path_sharpes(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the Sharpe ratio of each path of a combinatorial cross-validation.

    Parameters
    ----------
    table : polars or pandas frame
        With `path` and `sharpe`; paths without a ratio are left out.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Paths from the worst to the best, losing ones in orange, their median as a line.
    """
    rows = style.take(table, ("path", "sharpe"), "path_sharpes").drop_nulls("sharpe")
    ax = style.canvas(ax)
    ax.grid(axis="x", visible=False)
    if rows.is_empty():
        style.empty(ax, "no path has traded")
        return style.dress(ax, "Sharpe ratio by path")
    rows = rows.sort("sharpe")
    at, value = np.arange(rows.height), rows["sharpe"].cast(pl.Float64).to_numpy()
    colours = np.where(value > 0, style.BLUE, style.ORANGE)
    ax.vlines(at, 0, value, color=colours, linewidth=2)
    ax.scatter(at, value, color=colours, s=40, zorder=3)
    middle = float(np.median(value))
    ax.axhline(middle, color=style.GREY, linestyle="--", linewidth=1.3, label="median")
    ax.axhline(0, color=style.INK, linewidth=0.8)
    few = rows.height <= 40
    ax.set_xticks(at if few else [], [str(p) for p in rows["path"]] if few else [])
    style.legend_above(ax)
    lost = int((value <= 0).sum())
    title = f"median {middle:.2f} of {rows.height} paths, {value[0]:.2f} to {value[-1]:.2f}"
    return style.dress(ax, f"{title}; {lost} lost", x="path", y="Sharpe ratio, a year")


def deflation(table: Any, *, tried: float | None = None, ax: Axes | None = None) -> Axes:
    """Draw how the deflated Sharpe ratio falls with the number of trials admitted.

    Parameters
    ----------
    table : polars or pandas frame
        With `trials` and `dsr`, as `performance.deflation` returns it.
    tried : float, optional
        Trials that were made; marked, and its ratio named.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        A logarithmic axis of trials; the dashed line is 0.95.
    """
    rows = style.take(table, ("trials", "dsr"), "deflation").sort("trials")
    ax = style.canvas(ax)
    ax.axhline(0.95, color=style.ORANGE, linestyle="--", linewidth=1.3, label="asked for")
    ax.set_ylim(-0.02, 1.02)
    if rows.is_empty():
        style.empty(ax, "no number of trials was handed in")
        return style.dress(ax, "deflated Sharpe ratio")
    trials, sure = rows["trials"].to_numpy(), rows["dsr"].to_numpy()
    ax.plot(trials, sure, color=style.BLUE, linewidth=1.6, label="deflated Sharpe ratio")
    ax.set_xscale("log")
    enough = trials[sure >= 0.95]
    title = "not even of one trial"
    if len(enough):
        title = f"stands up to {enough.max():,.0f} trial{'s' if enough.max() > 1 else ''}"
    if tried is not None:
        shown = float(np.interp(np.log(tried), np.log(trials), sure))
        ax.axvline(tried, color=style.GREY, linewidth=1.3, label="tried")
        ax.scatter([tried], [shown], color=style.BLUE, s=45, zorder=3)
        title += f"; {shown:.3f} at the {tried:,.3g} that were made"
    style.legend(ax, loc="lower left")
    return style.dress(ax, title, x="independent trials", y="probability of skill")
