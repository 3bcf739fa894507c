"""The figures of a tear sheet: what a year or a day brought, how deep it fell, how much it traded.

Estimates carry the intervals of `performance.intervals`. The rest describes the one path that was
taken, and says nothing of another.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl

from research import performance
from research.performance.daily import daily
from research.tape import Backtest

MONTHS_FROM = 90
"""Days of returns from which they are laid out by month, not by week."""
_YEAR = 365
_DAY = timedelta(days=1)
_ROOT_SCALED = ("volatility", "sharpe", "sortino")
_TRADED = ("trades", "win_rate", "avg_minutes", "exposure")


def tearsheet(tested: Backtest, *, capital: float, ratios: bool = True) -> dict[str, Any]:
    """Return the figures of a tear sheet, and the net returns by month or week.

    Parameters
    ----------
    tested : Backtest
        A `pipeline.backtest`.
    capital : float
        Equity at the start.
    ratios : bool
        False leaves Sharpe and Sortino ratio out: nobody knows among how many trials they are.

    Returns
    -------
    dict
        JSON values, None where not known; returns and shares are fractions.

        * ``per``: "year", or "day" where there are fewer than `performance.ANNUAL_DAYS` days, of
          which no year is made. Of that length ``return`` (compounded), ``volatility``, ``sharpe``
          and ``sortino``, each with ``_low`` and ``_high``, its 95 % interval; ``calmar``, of a
          year alone: its return over the largest drawdown of the path.
        * ``deepest`` and ``longest``: the rows of `drawdowns` of this path that are; None where
          equity never fell.
        * ``in_position``: share of bars at whose close a position was held; ``exposure``: mean
          of positions over equity; ``turnover_day``: bought and sold a day, in units of `capital`;
          ``trades, win_rate, avg_minutes`` as `performance.summary` has them.
        * ``period``: "month" or "week"; ``periods``: the rows of `periods`.
    """
    found, equity = tested.summary, tested.equity
    fallen = drawdowns(equity, capital=capital)
    days = daily(equity, capital=capital)
    period = "month" if found["days"] >= MONTHS_FROM else "week"
    return {
        **_estimates(found, ratios=ratios),
        "deepest": _first(fallen.sort("depth", descending=True)),
        "longest": _first(fallen.sort("days", descending=True)),
        "in_position": float((equity["exposure"] > 0).mean()),  # type: ignore[arg-type]
        "turnover_day": found["turnover"] / found["days"],
        **{key: found[key] for key in _TRADED},
        "period": period,
        "periods": periods(days, period).with_columns(pl.col("start").cast(pl.String)).to_dicts(),
    }


def _first(rows: pl.DataFrame) -> dict[str, Any] | None:
    return rows.row(0, named=True) if rows.height else None


def _estimates(found: dict[str, Any], *, ratios: bool) -> dict[str, Any]:
    """Return what has an interval, of a year or of a day."""
    yearly = found["days"] >= performance.ANNUAL_DAYS
    kept = _ROOT_SCALED if ratios else ("volatility",)
    values: dict[str, Any] = {"per": "year" if yearly else "day"}
    for end, suffix in (("annual_return", ""), ("annual_low", "_low"), ("annual_high", "_high")):
        values[f"return{suffix}"] = _a_day(found[end], yearly, compounds=True)
        for key in _ROOT_SCALED:
            value = found[f"{key}{suffix}"] if key in kept else None
            values[f"{key}{suffix}"] = _a_day(value, yearly)
    return {**values, "calmar": found["calmar"] if yearly else None}


def _a_day(value: float | None, yearly: bool, *, compounds: bool = False) -> float | None:
    """Turn a figure of a year into that of a day, unless it is to stay one of a year."""
    if value is None or yearly:
        return value
    return (1 + value) ** (1 / _YEAR) - 1 if compounds else float(value / _YEAR**0.5)


def drawdowns(equity: pl.DataFrame, *, capital: float) -> pl.DataFrame:
    """List each time that equity lay below its highest so far, from the peak to the recovery.

    Parameters
    ----------
    equity : pl.DataFrame
        ``time, equity``, sorted.
    capital : float
        Equity before the first row.

    Returns
    -------
    pl.DataFrame
        ``start`` (the last row at the peak), ``end`` (the first back at it, or the last row),
        ``depth`` (above 0, a fraction of the peak), ``days`` and ``recovered``, in order of time.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> times = [datetime(2024, 5, d, tzinfo=UTC) for d in range(1, 7)]
    >>> curve = pl.DataFrame({"time": times, "equity": [100.0, 80.0, 90.0, 100.0, 120.0, 108.0]})
    >>> found = drawdowns(curve, capital=100.0)
    >>> found.select(pl.col("depth").round(6), "days", "recovered").rows()
    [(0.2, 3.0, True), (0.1, 1.0, False)]
    """
    last = equity.height - 1
    below = performance.drawdown(equity, capital=capital).with_row_index("row")
    runs = below.with_columns(run=(pl.col("drawdown") < 0).rle_id()).filter(pl.col("drawdown") < 0)
    spans = runs.group_by("run", maintain_order=True).agg(
        first=(pl.col("row").first().cast(pl.Int64) - 1).clip(0),
        after=(pl.col("row").last().cast(pl.Int64) + 1).clip(upper_bound=last),
        depth=-pl.col("drawdown").min(),
        recovered=pl.col("row").last() < last,
    )
    start, end = (equity["time"].gather(spans[name]) for name in ("first", "after"))
    return spans.select(
        start.alias("start"),
        end.alias("end"),
        "depth",
        ((end - start) / _DAY).alias("days"),
        "recovered",
    )


def periods(days: pl.DataFrame, period: str) -> pl.DataFrame:
    """Compound net returns by calendar month or by week, which begins on Monday.

    Parameters
    ----------
    days : pl.DataFrame
        ``day, return``, as `performance.daily` has them.
    period : {"month", "week"}
        To lay them out by.

    Returns
    -------
    pl.DataFrame
        ``start`` (a day), ``days`` that had returns, and ``net_return``.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.DataFrame({"day": [date(2024, 1, 30), date(2024, 2, 1), date(2024, 2, 2)],
    ...                      "return": [0.01, 0.1, 0.1]})
    >>> [(str(s), n, round(r, 6)) for s, n, r in periods(days, "month").rows()]
    [('2024-01-01', 1, 0.01), ('2024-02-01', 2, 0.21)]
    """
    start = pl.col("day").dt.truncate({"month": "1mo", "week": "1w"}[period])
    return (
        days.drop_nulls("return")
        .group_by(start.alias("start"), maintain_order=True)
        .agg(days=pl.len(), net_return=(1 + pl.col("return")).product() - 1)
    )
