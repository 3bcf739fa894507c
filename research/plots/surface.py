"""The break-even fee as a map: which corner of a forecast could pay what."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research import units
from research.errors import UserError
from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {
    "bin": "forecast bin (1 lowest)",
    "horizon": "horizon",
    "symbol": "symbol",
    "hour": "hour of the decision (UTC)",
}
_NUMBERED = 150


def fee_surface(
    table: Any,
    *,
    x: str = "bin",
    y: str = "horizon",
    fee: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the break-even fee per side of every cell; a cell not told from zero has a dot.

    Parameters
    ----------
    table : polars or pandas frame
        With `break_even_fee`, `low`, `high` and the axes, as `scores.fee_surface` returns it.
    x, y : {"bin", "horizon", "symbol", "hour"}
        Axes of the picture: those of the table, such as ``x="hour", y="symbol"``.
    fee : float, optional
        What a side really costs, as a fraction: the title counts the cells that could pay it.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        Blue where the trade could pay a fee, orange where it loses before any. A dot marks a
        cell whose 95 % interval covers zero or is unknown; cells that are not met stay white.

    Raises
    ------
    UserError
        If an axis is not in the table, or several rows lie in one cell.
    """
    rows = style.take(table, (x, y, "break_even_fee", "low", "high"), "fee_surface")
    values, clear, paying = _grids(rows, x, y, fee)
    ax = style.canvas(ax, height=1.4 + 0.42 * values.shape[0])
    _paint(ax, values)
    for row, column in np.argwhere(~clear & np.isfinite(values)):
        ax.plot(column, row - 0.32, ".", color=style.INK, markersize=3)
    ax.set_xticks(np.arange(values.shape[1]), _names(rows[x]))
    ax.set_yticks(np.arange(values.shape[0]), _names(rows[y]))
    return style.dress(ax, _title(values, clear, paying, fee), x=AXES.get(x, x), y=AXES.get(y, y))


def _grids(
    rows: pl.DataFrame, x: str, y: str, fee: float | None
) -> tuple[np.ndarray, np.ndarray, int]:
    """Fees by y and x, whether each one's interval is clear of zero, and how many surely pay."""
    if rows.select(x, y).is_duplicated().any():
        raise UserError(
            f"plots.fee_surface: several rows lie in one cell of {x} and {y}. Ask "
            f"scores.fee_surface for by=({x!r}, {y!r}), or keep one slice of the table."
        )
    at = tuple(
        np.searchsorted(rows[c].unique().sort().to_numpy(), rows[c].to_numpy()) for c in (y, x)
    )
    shape = tuple(rows[c].n_unique() for c in (y, x))
    values, clear = np.full(shape, np.nan), np.zeros(shape, bool)
    values[at] = rows["break_even_fee"].to_numpy()
    clear[at] = ((rows["low"] > 0) | (rows["high"] < 0)).fill_null(False).to_numpy()
    return values, clear, int((rows["low"] > (fee or 0.0)).sum())


def _paint(ax: Axes, values: np.ndarray) -> None:
    """Colour the cells, white at zero, and write the fees where there is room."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("fee", [style.ORANGE, "#FFFFFF", style.BLUE])
    most = float(np.nanmax(np.abs(values), initial=0.0)) or 1e-4
    picture = ax.imshow(values, cmap=colours, vmin=-most, vmax=most, aspect="auto")
    ax.grid(False)
    figure = ax.get_figure()
    if figure is not None:
        bar = figure.colorbar(picture, ax=ax, pad=0.01)
        style.as_bps(bar.ax.yaxis)
        bar.set_label("break-even fee per side (bps)", fontsize=9, color=style.INK)
    if values.size > _NUMBERED:
        return
    decimals = 1 if most >= 1e-4 else 2
    for row, column in np.argwhere(np.isfinite(values)):
        value = values[row, column]
        ink = "white" if abs(value) > 0.75 * most else style.INK
        text = f"{value * 1e4:.{decimals}f}".replace("-", "−")
        ax.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)


def _names(column: pl.Series) -> list[str]:
    values = column.unique().sort().to_list()
    return [units.show(v) if isinstance(v, timedelta) else str(v) for v in values]


def _title(values: np.ndarray, clear: np.ndarray, paying: int, fee: float | None) -> str:
    met = int(np.isfinite(values).sum())
    if fee is not None:
        return f"{paying} of {met} cells surely pay {fee * 1e4:g} bps a side; dot: may be zero"
    above = int((clear & (values > 0)).sum())
    return f"{above} of {met} cells have a break-even fee surely above zero; dot: may be zero"


def capacity(table: Any, *, ax: Axes | None = None) -> Axes:
    """Draw the net edge of a trade over its size, and where its own impact has eaten it.

    Parameters
    ----------
    table : polars or pandas frame
        With `notional`, `impact`, `net`, `low` and `high`, as `scores.capacity` returns it.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    columns = ("notional", "impact", "net", "low", "high")
    rows = style.take(table, columns, "capacity").sort("notional")
    ax = style.canvas(ax)
    x = rows["notional"].to_numpy()
    low, net, high = (rows[c].cast(pl.Float64).to_numpy() for c in ("low", "net", "high"))
    ax.fill_between(x, low, high, color=style.SKY, alpha=0.3, linewidth=0, label="95 %")
    ax.plot(x, net, "o-", color=style.BLUE, markersize=3.5, label="net edge")
    ax.axhline(0, color=style.INK, linewidth=0.8)
    ax.set_xscale("log")
    style.as_bps(ax.yaxis)
    style.legend(ax)
    before = net[0] + rows["impact"][0]
    title = f"before impact a trade loses {-before * 1e4:.2f} bps: there is no size for it"
    if before > 0:
        end = x[0] * (before / rows["impact"][0]) ** 2
        title = f"{before * 1e4:.2f} bps before impact; impact has eaten them at {end:,.0f} a trade"
    return style.dress(ax, title, x="notional of a trade (quote currency)", y="net edge (bps)")
