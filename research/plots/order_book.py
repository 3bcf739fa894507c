"""An order book at an instant, and when a recording's book was proven."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def depth_chart(levels: Any, *, title: str = "Order book", ax: Axes | None = None) -> Axes:
    """Draw what could be bought and sold down to each price: quantities summed from the best.

    Parameters
    ----------
    levels : np.ndarray of shape (2, depth, 2), or pair of np.ndarray of shape (n, 2)
        Bids, then asks, the best first: price and quantity, as `order_book.at` and
        `order_book.whole` give them; levels without a quantity are left out.
    title : str
        What is seen.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        With the middle price as a line, where both sides have a level.
    """
    sides = [np.asarray(levels[side], float) for side in (0, 1)]
    if any(side.ndim != 2 or side.shape[1] != 2 for side in sides):
        shapes = " and ".join(str(side.shape) for side in sides)
        raise UserError(
            f"plots.depth_chart: bids and asks must be of shape (n, 2), found {shapes}."
        )
    ax = style.canvas(ax)
    sides = [side[side[:, 1] > 0] for side in sides]
    if not any(len(side) for side in sides):
        style.empty(ax, "no levels")
        return style.dress(ax, title)
    for side, colour, name in zip(sides, (style.BLUE, style.ORANGE), ("bids", "asks"), strict=True):
        total = np.cumsum(side[:, 1])
        ax.fill_between(side[:, 0], total, step="post", color=colour, alpha=0.25, linewidth=0)
        ax.step(side[:, 0], total, where="post", color=colour, linewidth=1.4, label=name)
    if all(len(side) for side in sides):
        ax.axvline((sides[0][0, 0] + sides[1][0, 0]) / 2, color=style.INK, linewidth=0.8)
    ax.set_ylim(bottom=0)
    style.legend_above(ax)
    return style.dress(ax, title, x="price", y="quantity up to the price")


def book_coverage(gaps: Any, span: tuple[int, int], *, ax: Axes | None = None) -> Axes:
    """Draw a strip of the time in which a book was proven, with its gaps by reason.

    Parameters
    ----------
    gaps : polars or pandas frame
        With `start_ns`, `end_ns` and `reason`, as `schema.GAPS`; a gap without an end lasts.
    span : tuple of int
        First and last receipt, nanoseconds since 1970 UTC, as `Built.first_ns, Built.last_ns`.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Blue where proven, another colour per reason where not; the title says the proven share.
    """
    first, last = span
    rows = style.take(gaps, ("start_ns", "end_ns", "reason"), "book_coverage")
    rows = rows.with_columns(
        pl.col("start_ns").clip(lower_bound=first),
        pl.col("end_ns").fill_null(last).clip(upper_bound=last),
    ).filter(pl.col("end_ns") > pl.col("start_ns"))
    ax = style.canvas(ax, height=1.6)
    days = np.array([first, last]) / 86_400e9
    ax.broken_barh([(days[0], days[1] - days[0])], (0, 1), facecolors=style.BLUE, label="proven")
    reasons = rows["reason"].unique(maintain_order=True).to_list()
    for reason, colour in zip(reasons, _colours(len(reasons)), strict=True):
        mine = rows.filter(pl.col("reason") == reason)
        starts, ends = (mine[c].to_numpy() / 86_400e9 for c in ("start_ns", "end_ns"))
        bars = list(zip(starts, ends - starts, strict=True))
        ax.broken_barh(bars, (0, 1), facecolors=colour, label=reason)
    ax.set_xlim(*days)
    ax.set_ylim(0, 1)
    ax.set_yticks([])
    ax.xaxis_date()
    style.utc(ax)
    style.legend_above(ax)
    share = _proven(rows, first, last)
    text = f"{rows.height} gap{'s' if rows.height != 1 else ''}"
    return style.dress(ax, f"Book proven {share:.2%}, {text}", x="time (UTC)")


def _colours(count: int) -> list[str]:
    others = [colour for colour in style.CYCLE if colour != style.BLUE]
    return [others[number % len(others)] for number in range(count)]


def _proven(rows: pl.DataFrame, first: int, last: int) -> float:
    """Share of a span outside all gaps, which may overlap."""
    missing, reached = 0, first
    for start, end in rows.sort("start_ns").select("start_ns", "end_ns").iter_rows():
        missing += max(end - max(start, reached), 0)
        reached = max(reached, end)
    return 1 - missing / (last - first) if last > first else float(rows.is_empty())
