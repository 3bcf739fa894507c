"""alphalens sheets of a minute forecast: its figures, caught instead of shown.

alphalens was made for daily factors. Its full sheet fails on minutes, its turnover sheet takes
"nD" for n rows, its annual alpha compounds minutes over 252 days, and every sheet prints and
shows by itself. What is kept here are the pictures that hold on minutes, with true labels.
"""

from __future__ import annotations

import contextlib
import math
import re
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from research import schema, units
from research.errors import UserError
from research.plots import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

HORIZONS = (timedelta(minutes=10), timedelta(minutes=30), timedelta(hours=1))
MOST_DATES = 1000
SHEET_DPI = 42  # a sheet has up to twelve pictures; a notebook that holds one stays small
_US = timedelta(microseconds=1)


def sheets(
    forecasts: Any,
    bars: Any,
    *,
    every: timedelta = timedelta(minutes=30),
    horizons: tuple[timedelta, ...] = HORIZONS,
    quantiles: int = 5,
) -> dict[str, Figure]:
    """Draw alphalens' information, returns and turnover sheets of thinned forecasts.

    Parameters
    ----------
    forecasts : polars or pandas frame
        With `symbol`, `time` and `forecast`, three symbols or more: alphalens ranks them against
        each other at each moment.
    bars : polars or pandas frame
        With `symbol`, `time` and `close`; the prices that forward returns are taken from.
    every : timedelta
        One forecast in so long is kept; doubled until at most 1,000 moments are left, for
        alphalens takes about 10 ms for each.
    horizons : tuple of timedelta
        Forward returns, close to close.
    quantiles : int
        At most as many as there are symbols.

    Returns
    -------
    dict of str to matplotlib Figure
        ``information``, ``returns`` and ``turnover``. Nothing is shown, printed or left open.

    Raises
    ------
    UserError
        If fewer than three symbols are there, or fewer than 10 moments have a forecast and the
        prices after it.

    Notes
    -----
    A moment is left out for a symbol whose price at it, or at the end of any horizon, is missing:
    alphalens would carry an old price forward. Its tables are dropped: their t values take
    overlapping returns for independent, and their annual alpha compounds minutes. The intervals
    of `scores` are the ones to quote.
    """
    factor, prices, spacing = _inputs(forecasts, bars, every, horizons)
    count = min(quantiles, factor.index.get_level_values(1).nunique())
    step = timedelta(microseconds=int(prices.attrs["step"]))
    with _quiet() as caught:
        from alphalens import tears, utils

        clean = utils.get_clean_factor_and_forward_returns(
            factor, prices, quantiles=count, periods=[h // step for h in horizons], max_loss=1.0
        )
        lags = ["1D", f"{max(1, timedelta(days=1) // spacing)}D"]
        figures = {
            "information": caught(tears.create_information_tear_sheet, clean),
            "returns": caught(tears.create_returns_tear_sheet, clean),
            "turnover": caught(tears.create_turnover_tear_sheet, clean, turnover_periods=lags),
        }
    for figure in figures.values():
        _say_truly(figure, spacing)
        _fit(figure)
    return figures


def _inputs(
    forecasts: Any, bars: Any, every: timedelta, horizons: tuple[timedelta, ...]
) -> tuple[pd.Series, pd.DataFrame, timedelta]:
    keys = {"symbol": pl.String, "time": schema.TIME}
    factor = schema.as_table(forecasts, {**keys, "forecast": pl.Float64}, "forecasts")
    factor = factor.select(*keys, "forecast").drop_nulls()
    close = schema.as_table(bars, {**keys, "close": pl.Float64}, "bars").select(*keys, "close")
    factor, every = _thinned(_priced(factor, close, horizons), every)
    moments, symbols = factor["time"].n_unique(), factor["symbol"].n_unique()
    if symbols < 3 or moments < 10:
        raise UserError(
            "plots.sheets: at least 3 symbols and 10 moments with forecasts and later prices are "
            f"needed, found {symbols} and {moments}. Take more symbols, a longer span or a "
            "shorter `every`."
        )
    series = factor.to_pandas().set_index(["time", "symbol"])["forecast"].sort_index()
    return series, _grid(close, factor, [every, *horizons]), every


def _priced(
    factor: pl.DataFrame, close: pl.DataFrame, horizons: tuple[timedelta, ...]
) -> pl.DataFrame:
    """Rows whose price is known at their time and at the end of every horizon."""
    for horizon in (timedelta(0), *horizons):
        ends = close.select("symbol", time=pl.col("time") - horizon)
        factor = factor.join(ends, on=["symbol", "time"], how="semi")
    return factor


def _thinned(factor: pl.DataFrame, every: timedelta) -> tuple[pl.DataFrame, timedelta]:
    while True:
        kept = factor.filter(pl.col("time").to_physical() % (every // _US) == 0)
        if kept["time"].n_unique() <= MOST_DATES:
            return kept, every
        every *= 2


def _grid(close: pl.DataFrame, factor: pl.DataFrame, spans: list[timedelta]) -> pd.DataFrame:
    """Prices on an even grid, because alphalens counts horizons in rows."""
    import pandas as pd

    step = math.gcd(*(span // _US for span in spans))
    first, last = factor["time"].min(), factor["time"].max()
    wide = close.filter(pl.col("time").to_physical() % step == 0).sort("time")
    wide = wide.pivot(on="symbol", index="time", values="close").to_pandas().set_index("time")
    freq = pd.Timedelta(microseconds=step)
    end = pd.Timestamp(last) + pd.Timedelta(max(spans))
    even = wide.reindex(pd.date_range(first, end, freq=freq, unit="us"))
    even.attrs["step"] = step
    return even


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Give a caller that returns the figure of an alphalens sheet; nothing shows or prints."""
    import io

    import matplotlib.pyplot as plt
    import seaborn as sns

    look = sns.axes_style("whitegrid") | sns.plotting_context("notebook", font_scale=0.85)
    look |= {"axes.prop_cycle": plt.cycler(color=style.CYCLE)}
    mute = contextlib.redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), plt.ioff(), mute, plt.rc_context(look):
        warnings.simplefilter("ignore")
        from alphalens import tears, utils

        before = plt.show, utils.display, tears.GridFigure.close
        plt.show, utils.display = _nothing, _nothing
        tears.GridFigure.close = _nothing
        try:
            yield _figure_of
        finally:
            plt.show, utils.display, tears.GridFigure.close = before


def _nothing(*_: Any, **__: Any) -> None:
    """Stand in for what shows, prints or closes."""


def _figure_of(sheet: Any, *args: Any, **options: Any) -> Figure:
    import matplotlib.pyplot as plt

    before = set(plt.get_fignums())
    try:
        sheet(*args, **options, set_context=False)
        figures = [plt.figure(n) for n in plt.get_fignums() if n not in before]
        return max(figures, key=lambda figure: len(figure.axes))
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)


def _say_truly(figure: Figure, spacing: timedelta) -> None:
    """Write a lag of n rows, "nD" to alphalens, as time, and its "month" as the rows it is."""

    def true_lag(found: re.Match) -> str:
        return units.show(int(found[1]) * spacing)

    for ax in figure.axes:
        ax.set_title(re.sub(r"\b(\d+)D(?= Period)", true_lag, ax.get_title()))
        legend = ax.get_legend()
        for text in legend.get_texts() if legend else ():
            text.set_text(text.get_text().replace("1 month moving", "22 moments moving"))


def _fit(figure: Figure) -> None:
    """Cut away empty rows and maps of a single month, and bring the sheet to a page's size."""
    from matplotlib.gridspec import GridSpec

    for ax in list(figure.axes):
        if ax.get_title().startswith("Monthly") and len(ax.get_xticks()) < 2:
            figure.delaxes(ax)
    spots = {ax: spot for ax in figure.axes if (spot := ax.get_subplotspec())}
    rows = max(spot.rowspan.stop for spot in spots.values())
    columns = max(spot.colspan.stop for spot in spots.values())
    grid = GridSpec(rows, columns, figure=figure)
    for ax, spot in spots.items():
        down, across = spot.rowspan, spot.colspan
        ax.set_subplotspec(grid[down.start : down.stop, across.start : across.stop])
    figure.set_size_inches(12, 3.0 * rows)
    figure.set_dpi(SHEET_DPI)
    figure.set_layout_engine("constrained")
