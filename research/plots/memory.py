"""How much memory a fractional difference keeps, and what the tests say of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SMALLEST_P = 1e-6


def memory(
    table: Any, *, d: float | None = None, level: float = 0.05, ax: Axes | None = None
) -> Axes:
    """Draw p-values of both tests, and the memory that is kept, by the order of the difference.

    Parameters
    ----------
    table : polars or pandas frame
        With `d`, `adf_pvalue`, `kpss_pvalue`, `memory` and `whittle`, as
        `features.fracdiff.find_optimal_d` returns it.
    d : float, optional
        The order chosen, to be marked.
    level : float
        P-value of the tests' decision.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        The upper panel: p-values on a logarithmic scale, cut at 1e-6. ADF should lie below the
        dashed line, KPSS above. Below it memory (correlation with the series itself) and the
        order of integration that is left.
    """
    names = ("d", "adf_pvalue", "kpss_pvalue", "memory", "whittle")
    rows = style.take(table, names, "memory").sort("d")
    ax = style.canvas(ax, height=5.0)
    if rows.is_empty():
        style.empty(ax, "no order was tried")
        return style.dress(ax, "Memory")
    upper, lower = style.panels(ax, 1, 1)
    x = rows["d"].to_numpy()
    _tests(upper, rows, x, level)
    lower.plot(x, rows["memory"].to_numpy(), color=style.GREEN, label="correlation with the price")
    lower.plot(x, rows["whittle"].to_numpy(), color=style.PURPLE, label="order left (Whittle)")
    lower.axhline(0.5, color=style.GREY, linewidth=0.8, linestyle="--")
    style.legend(lower, loc="upper right")
    for panel in (upper, lower):
        if d is not None:
            panel.axvline(d, color=style.INK, linewidth=0.8, linestyle=":")
    style.dress(lower, "", x="order of the difference, d", y="memory")
    title = "Tests and memory by order" if d is None else f"Tests and memory by order: d = {d:g}"
    return style.dress(upper, title, y="p-value")


def _tests(ax: Axes, rows: pl.DataFrame, x: np.ndarray, level: float) -> None:
    tests = {"adf_pvalue": ("ADF", style.BLUE), "kpss_pvalue": ("KPSS", style.ORANGE)}
    for column, (name, colour) in tests.items():
        values = np.maximum(rows[column].to_numpy(), _SMALLEST_P)
        ax.plot(x, values, color=colour, marker=".", label=name)
    ax.axhline(level, color=style.GREY, linewidth=0.8, linestyle="--", label=f"{level:g}")
    ax.set_yscale("log")
    style.legend_above(ax)


def memory_weights(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the size of the weights of fractional differences by how far back they reach.

    Parameters
    ----------
    table : polars or pandas frame
        With `d`, `lag` and `weight`, as `features.fracdiff.weight_table` returns it.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        One line for each order, both axes logarithmic; the newest value, of weight 1, is left
        out. A straight line is a power of time: memory that fades, and never ends.
    """
    rows = style.take(table, ("d", "lag", "weight"), "memory_weights")
    rows = rows.filter(pl.col("lag") > 0)
    ax = style.canvas(ax)
    if rows.is_empty():
        style.empty(ax, "no weight beyond the newest")
        return style.dress(ax, "Weights")
    for number, ((d,), part) in enumerate(rows.group_by("d", maintain_order=True)):
        size = part["weight"].abs().to_numpy()
        ends = f"d = {d:g}, {part.height + 1:,} values"
        colour = style.CYCLE[number % len(style.CYCLE)]
        ax.plot(part["lag"].to_numpy(), size, color=colour, label=ends)
    ax.set_xscale("log")
    ax.set_yscale("log")
    style.legend(ax)
    return style.dress(
        ax, "What a difference takes away of each earlier value", x="values back", y="weight"
    )
