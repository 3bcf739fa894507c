"""Bars as they came: candles, price with its gaps, coverage, trades on the price."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def candles(bars: Any, *, symbol: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw open, high, low and close of a few hundred bars; longer tables show their newest 200.

    Parameters
    ----------
    bars : polars or pandas frame
        With `symbol`, `time`, `open_time` and the four prices.
    symbol : str, optional
        May be left out where the table holds one symbol.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    table = style.take(
        bars, ("symbol", "time", "open_time", "open", "high", "low", "close"), "candles"
    )
    table = style.one_symbol(table, symbol, "candles").sort("time").tail(200)
    ax = style.canvas(ax)
    x = style.times(table["open_time"])
    up = (table["close"] >= table["open"]).to_numpy()
    width = np.median(table["time"] - table["open_time"]) * 0.7
    for rising, colour in ((True, style.BLUE), (False, style.ORANGE)):
        part = table.filter(pl.Series(up == rising))
        if part.is_empty():  # matplotlib cannot place no bars in time
            continue
        at = x[up == rising]
        ax.vlines(at, part["low"].to_numpy(), part["high"].to_numpy(), color=colour, linewidth=0.8)
        body = (part["close"] - part["open"]).to_numpy()
        ax.bar(
            at, body, width, part["open"].to_numpy(), color=colour, linewidth=0.6, edgecolor=colour
        )
    style.utc(ax)
    change = table["close"][-1] / table["open"][0] - 1
    title = f"{table['symbol'][0]}: {change:+.2%} over {table.height} bars (blue up, orange down)"
    return style.dress(ax, title, x="time (UTC)", y="price")


def price(bars: Any, *, symbol: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw closes as a line that is broken, and shaded, where bars are missing.

    Parameters
    ----------
    bars, symbol, ax
        As for `candles`.

    Returns
    -------
    matplotlib Axes
    """
    table = style.take(bars, ("symbol", "time", "open_time", "close"), "price")
    table = style.one_symbol(table, symbol, "price").sort("time")
    ax = style.canvas(ax)
    gaps = _gaps(table)
    run = pl.col("open_time").is_in(gaps["open_time"].implode()).cum_sum()
    for (_,), piece in table.group_by(run.alias("run"), maintain_order=True):
        points = style.drawn_points(piece)
        x = style.times(points["time"])
        ax.plot(x, points["close"].to_numpy(), color=style.BLUE, linewidth=0.9)
    for start, end in zip(style.times(gaps["before"]), style.times(gaps["open_time"]), strict=True):
        ax.axvspan(start, end, color=style.ORANGE, alpha=0.25, linewidth=0)
    style.utc(ax)
    missing = "no gap" if not gaps.height else f"{gaps.height} gap{'s'[: gaps.height > 1]} (shaded)"
    title = f"{table['symbol'][0]}: {table.height:,} bars, {missing}"
    return style.dress(ax, title, x="time (UTC)", y="close")


def _gaps(table: pl.DataFrame) -> pl.DataFrame:
    moved = table.select("open_time", before=pl.col("time").shift(1))
    return moved.filter(pl.col("open_time") > pl.col("before"))


def coverage(quality: Any, *, ax: Axes | None = None) -> Axes:
    """Draw which bars of each symbol and day are missing, or had no volume.

    Parameters
    ----------
    quality : polars or pandas frame
        With `symbol`, `day`, `rows`, `missing` and `zero_volume`.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
        One strip a symbol: orange on days with missing bars, else blue where some had no volume;
        the darker, the larger their share of the day. A single bar is seen.
    """
    columns = ("symbol", "day", "rows", "missing", "zero_volume")
    table = style.take(quality, columns, "coverage").with_columns(pl.col("day").cast(pl.Date))
    symbols = table["symbol"].unique().sort().to_list()
    ax = style.canvas(ax, height=1.2 + 0.32 * len(symbols))
    days = table["day"].to_numpy().astype("datetime64[D]")
    x = np.arange(days.min(), days.max() + 2)  # one edge more than days
    picture = _coverage_picture(table, symbols, (days - days.min()).astype(int))
    ax.pcolormesh(x.astype("datetime64[us]"), np.arange(len(symbols) + 1), picture)
    orange = np.argwhere(picture[..., 0] > picture[..., 2] + 0.1)
    if len(orange):  # a day can be narrower than a pixel, and must still be seen
        row, day = orange.T
        tint = picture[row, day].tolist()
        ax.vlines(x[day].astype("datetime64[us]"), row, row + 1, colors=tint, lw=1.5)
    ax.set_yticks(np.arange(len(symbols)) + 0.5, symbols)
    ax.invert_yaxis()
    ax.grid(False)
    style.utc(ax)
    _coverage_key(ax)
    missing, silent = int(table["missing"].sum()), int(table["zero_volume"].sum())
    title = f"{missing:,} bars missing, {silent:,} without volume, of {_expected(table):,}"
    return style.dress(ax, title, x="day (UTC)")


def _expected(table: pl.DataFrame) -> int:
    return int(table["rows"].sum()) + int(table["missing"].sum())


def _coverage_picture(table: pl.DataFrame, symbols: list[str], days: np.ndarray) -> np.ndarray:
    rows = np.searchsorted(symbols, table["symbol"].to_numpy())
    whole = np.maximum((table["rows"] + table["missing"]).to_numpy(), 1)
    shares = [table[c].to_numpy() / whole for c in ("missing", "zero_volume")]
    picture = np.ones((len(symbols), int(days.max()) + 1, 3))
    lacking = shares[0] > 0
    orange, blue = (_shade(share, c) for share, c in zip(shares, (style.ORANGE, style.BLUE)))
    picture[rows, days] = np.where(lacking[:, None], orange, blue)
    return picture


def _shade(share: np.ndarray, colour: str) -> np.ndarray:
    """Mix `colour` into pale by its share of the day; the least is far enough off to be seen."""
    from matplotlib.colors import to_rgb

    depth = np.where(share > 0, 0.35 + 0.65 * np.sqrt(share), 0.0)[:, None]
    return np.array(to_rgb(style.PALE)) * (1 - depth) + np.array(to_rgb(colour)) * depth


def _coverage_key(ax: Axes) -> None:
    from matplotlib.legend_handler import HandlerTuple
    from matplotlib.patches import Patch

    shares = np.array([0.001, 0.1, 1.0])
    said = "0.1, 10, 100 %"
    key = {f"missing: {said}": style.ORANGE, f"no volume: {said}": style.BLUE}
    scales = [tuple(Patch(color=c) for c in _shade(shares, colour)) for colour in key.values()]
    style.legend_beside(
        ax,
        handles=[Patch(color=style.PALE), *scales],
        labels=["complete", *key],
        title="share of the day",
        title_fontsize=9,
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        handlelength=3.0,
    )


def trades_on_price(
    bars: Any, trades: Any, *, symbol: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw each round trip on the price, from entry to exit, coloured by what it earned.

    Parameters
    ----------
    bars : polars or pandas frame
        As for `price`.
    trades : polars or pandas frame
        With `symbol`, `entry_time`, `exit_time`, `entry_price`, `exit_price`, `side` (above 0 is
        long) and `net` (money or return after costs).
    symbol : str, optional
        May be left out where the bars hold one symbol.
    ax : matplotlib Axes, optional
        Where to draw; new ones if left out.

    Returns
    -------
    matplotlib Axes
    """
    columns = ("symbol", "entry_time", "exit_time", "entry_price", "exit_price", "side", "net")
    ax = price(bars, symbol=symbol, ax=ax)
    name = ax.get_title(loc="left").split(":")[0]
    table = style.take(trades, columns, "trades_on_price").filter(pl.col("symbol") == name)
    for line in ax.get_lines():
        line.set_color(style.GREY)
    for won, colour in ((True, style.GREEN), (False, style.ORANGE)):
        _draw_trades(ax, table.filter((pl.col("net") > 0) == won), colour)
    wins = int((table["net"] > 0).sum())
    share = f", {wins / table.height:.0%} of them won (green)" if table.height else ""
    return style.dress(ax, f"{name}: {table.height} trades{share}", x="time (UTC)", y="close")


def _draw_trades(ax: Axes, table: pl.DataFrame, colour: str) -> None:
    x = np.array([style.times(table[c]) for c in ("entry_time", "exit_time")])
    y = np.array([table[c].to_numpy() for c in ("entry_price", "exit_price")])
    ax.plot(x, y, color=colour, linewidth=1.2)
    long = (table["side"] > 0).to_numpy()
    for up, marker in ((True, "^"), (False, "v")):
        at = long == up
        ax.plot(x[0][at], y[0][at], marker, color=colour, markersize=8, markeredgecolor="white")
    ax.plot(x[1], y[1], ".", color=colour, markersize=4)
