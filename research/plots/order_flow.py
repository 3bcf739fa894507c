"""Order flow against the price: what it explains, what it predicts, where the mid moves next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MANY = 3_000


def impact(
    bins: Any, *, flow: str = "ofi", change: str = "mid_change", ax: Axes | None = None
) -> Axes:
    """Draw a flow of bins against the change of the mid in the same bins, with the line between.

    Parameters
    ----------
    bins : polars or pandas frame
        With both columns; rows in which one is null are left out. Many bins are drawn by density.
    flow, change : str
        Columns.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    known = style.take(bins, (flow, change), "impact").select(flow, change).drop_nulls()
    ax = style.canvas(ax, width=6.5, height=4.5)
    x, y = (known[c].cast(pl.Float64).to_numpy() for c in (flow, change))
    label = {"x": f"{flow} (quantity)", "y": "change of the mid (price)"}
    if len(x) < 3 or not np.ptp(x) or not np.ptp(y):
        style.empty(ax, "too few known bins")
        return style.dress(ax, f"{flow}: no line through {len(x):,} bins", **label)
    if len(x) > _MANY:
        ax.hexbin(x, y, gridsize=60, mincnt=1, bins="log", cmap="viridis_r", linewidths=0)
    else:
        ax.scatter(x, y, s=10, color=style.BLUE, alpha=0.5, linewidths=0)
    slope, level = np.polyfit(x, y, 1)
    ends = np.array([x.min(), x.max()])
    share = np.corrcoef(x, y)[0, 1] ** 2
    ax.plot(ends, level + slope * ends, color=style.ORANGE, linewidth=1.8)
    title = f"{flow} explains {share:.0%} of the mid's changes in the same bin ({len(x):,} bins)"
    return style.dress(ax, title, **label)


def lags(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the correlation of a flow with changes of the mid before, beside and after it.

    Parameters
    ----------
    table : polars or pandas frame
        ``lag, correlation``, and `low` and `high` between which chance lies, where known; see
        `features.order_flow.lagged`. Null correlations are left out.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    rows = style.take(table, ("lag", "correlation"), "lags").drop_nulls("correlation").sort("lag")
    ax = style.canvas(ax)
    if {"low", "high"} <= set(rows.columns):
        low, high = (rows[c].cast(pl.Float64).to_numpy() for c in ("low", "high"))
        lag = rows["lag"].to_numpy()
        ax.fill_between(lag, low, high, color=style.PALE, linewidth=0, label="chance (95 %)")
    for name, kept, colour in (
        ("follows", pl.col("lag") < 0, style.GREY),
        ("explains", pl.col("lag") == 0, style.BLUE),
        ("predicts", pl.col("lag") > 0, style.ORANGE),
    ):
        part = rows.filter(kept)
        if part.height:
            place, height = part["lag"].to_list(), part["correlation"].to_list()
            ax.bar(place, height, 0.6, color=colour, label=name)
    ax.axhline(0, color=style.INK, linewidth=0.8)
    if rows.height:
        style.legend(ax)
    else:
        style.empty(ax, "no known correlation")
    return style.dress(
        ax, _said(rows), x="bins from the flow to the change of the mid", y="correlation"
    )


def _said(rows: pl.DataFrame) -> str:
    by_lag = dict(rows.select("lag", "correlation").rows())
    if 0 not in by_lag or 1 not in by_lag:
        return "Flow and changes of the mid"
    return f"Correlation {by_lag[0]:+.2f} in the same bin, {by_lag[1]:+.2f} with the next"


def next_move(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw how often the mid's next move is up, by the imbalance of the best quotes.

    Parameters
    ----------
    table : polars or pandas frame
        ``low, high, quotes, probability``; see `features.order_flow.next_move`. Buckets without a
        quote are left empty.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    columns = ("low", "high", "quotes", "probability")
    rows = style.take(table, columns, "next_move").drop_nulls("probability")
    ax = style.canvas(ax, width=6.5)
    low, high, chance = (rows[c].to_numpy() for c in ("low", "high", "probability"))
    ax.bar(low, chance, high - low, align="edge", color=style.BLUE, edgecolor="white")
    for left, right, share in zip(low, high, chance, strict=True):
        ax.annotate(
            f"{share:.2f}", ((left + right) / 2, share), (0, 3), textcoords="offset points",
            ha="center", fontsize=9, color=style.INK,
        )  # fmt: skip
    ax.axhline(0.5, color=style.GREY, linewidth=0.8, linestyle="--", zorder=0)
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1)
    if not rows.height:
        style.empty(ax, "no quote at a spread of one tick")
    title = f"Where the mid moves next ({rows['quotes'].sum():,} quotes at a spread of one tick)"
    return style.dress(ax, title, x="bid share of the best quantities", y="next move is up")
