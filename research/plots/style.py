"""One quiet look for every picture: colours, axes with units, UTC dates, bars of uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.errors import UserError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette: told apart by colour-blind eyes and in grey
BLUE = "#0072B2"
ORANGE = "#D55E00"
GREEN = "#009E73"
YELLOW = "#E69F00"
SKY = "#56B4E9"
PURPLE = "#AA4499"
INK = "#222222"
GREY = "#8A8A8A"
PALE = "#E6E6E6"
SCREEN_DPI = 72
CYCLE = (BLUE, ORANGE, GREEN, YELLOW, PURPLE, SKY, GREY)


def canvas(ax: Axes | None, *, width: float = 9.0, height: float = 4.0) -> Axes:
    """Return `ax`, or new Axes on a figure of their own, in the house look."""
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(width, height), dpi=SCREEN_DPI, layout="constrained")
    ax.set_axisbelow(True)
    ax.grid(axis="y", color=PALE, linewidth=0.8)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)
    ax.tick_params(colors=INK, labelsize=9, length=3, color=GREY)
    return ax


def dress(ax: Axes, title: str, *, x: str = "", y: str = "") -> Axes:
    """Say what is seen and what the axes measure."""
    ax.set_title(title, loc="left", fontsize=11, color=INK, pad=10)
    ax.set_xlabel(x, fontsize=9, color=INK)
    ax.set_ylabel(y, fontsize=9, color=INK)
    return ax


def utc(ax: Axes) -> None:
    """Write times on the x axis as short UTC dates: a day with its month, the year once."""
    from matplotlib import dates

    where = dates.AutoDateLocator(tz="UTC", minticks=3, maxticks=8)
    ax.xaxis.set_major_locator(where)
    written = dates.ConciseDateFormatter(where, tz="UTC")
    written.formats[2] = "%d %b"
    written.zero_formats[2:4] = ["%d %b"] * 2
    written.offset_formats[2:5] = ["%Y", "%d %b %Y", "%d %b %Y"]
    ax.xaxis.set_major_formatter(written)
    ax.set_xlabel("time (UTC)", fontsize=9, color=INK)


def times(series: pl.Series) -> np.ndarray:
    """Times or days for matplotlib; UTC without a zone."""
    if series.dtype == pl.Date:
        series = series.cast(pl.Datetime("us"))
    return series.dt.replace_time_zone(None).to_numpy()


def as_percent(axis: Any, decimals: int | None = None) -> None:
    """Show fractions as percent."""
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))


def as_bps(axis: Any) -> None:
    """Show fractions as basis points, without the unit, which the label says."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 1e4:g}".replace("-", "−")))


def duration(milliseconds: float, *, exact: bool = False) -> str:
    """Write a time that something took; from a second on in seconds, to a tenth or in full."""
    if milliseconds < 999.5:
        return f"{milliseconds:g} ms" if exact else f"{milliseconds:.3g} ms"
    return f"{milliseconds / 1e3:g} s" if exact else f"{milliseconds / 1e3:.1f} s"


def legend(ax: Axes, **options: Any) -> None:
    """Name what is drawn, without a frame."""
    ax.legend(frameon=False, fontsize=9, labelcolor=INK, **options)


def legend_above(ax: Axes) -> None:
    """Name what is drawn on one line to the right of the title, clear of the data."""
    legend(ax, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, borderaxespad=0.2)


def legend_beside(ax: Axes, **options: Any) -> None:
    """Name what is drawn to the right of the picture, clear of the data."""
    legend(ax, **{"loc": "upper left", "bbox_to_anchor": (1.0, 1.0), **options})


def empty(ax: Axes, text: str) -> None:
    """Say in the picture that there is nothing to draw."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=GREY)


def panels(ax: Axes, *shares: float) -> list[Axes]:
    """Cut the place of `ax` into panels, one above the other, on one x axis; `ax` is the first."""
    spot = ax.get_subplotspec()
    figure = ax.get_figure()
    if spot is None or figure is None:
        raise UserError(
            "plots: a picture of several panels needs Axes of a grid, these are free. "
            "Make them with plt.subplots()."
        )
    grid = spot.subgridspec(len(shares), 1, height_ratios=shares, hspace=0.08)
    ax.set_subplotspec(grid[0])
    below = [canvas(figure.add_subplot(grid[n], sharex=ax)) for n in range(1, len(shares))]
    for upper in (ax, *below[:-1]):
        upper.tick_params(labelbottom=False)
    return [ax, *below]


def reach(table: pl.DataFrame, value: str) -> np.ndarray | None:
    """Distances from `value` down to `low` and up to `high`, or None where all are unknown."""
    if not {"low", "high"} <= set(table.columns) or table["low"].null_count() == table.height:
        return None
    low, mid, high = (table[c].cast(pl.Float64).to_numpy() for c in ("low", value, "high"))
    return np.nan_to_num(np.clip([mid - low, high - mid], 0, None))


def take(table: Any, columns: tuple[str, ...], picture: str) -> pl.DataFrame:
    """Return `table` as polars, or name the column that `picture` misses."""
    if not isinstance(table, pl.DataFrame):
        named = [n for n in table.index.names if n is not None]
        table = pl.from_pandas(table.reset_index() if named else table, nan_to_null=True)
    missing = [c for c in columns if c not in table.columns]
    if missing:
        raise UserError(
            f"plots.{picture}: column {missing[0]!r} is missing. Columns here: "
            f"{', '.join(table.columns)}."
        )
    return table


def one_symbol(table: pl.DataFrame, symbol: str | None, picture: str) -> pl.DataFrame:
    """Return the rows of `symbol`; it may be left out where the table holds one alone."""
    here = table["symbol"].unique().sort().to_list()
    if symbol is None and len(here) == 1:
        return table
    if symbol not in here:
        what = "name one symbol" if symbol is None else f"no symbol {symbol!r}"
        raise UserError(f"plots.{picture}: {what}. Here: {', '.join(here)}.")
    return table.filter(pl.col("symbol") == symbol)


def drawn_points(table: pl.DataFrame, most: int = 4000) -> pl.DataFrame:
    """Thin a long curve evenly, its last row kept: more points than pixels only slow the page."""
    if table.height <= most:
        return table
    keep = np.unique(np.linspace(0, table.height - 1, most).astype(int))
    return table[keep]
