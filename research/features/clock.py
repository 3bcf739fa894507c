"""Time of day, of the hour, and to the next funding, as points on a circle.

They look at the close of the bar alone (`time`, when a decision is taken) and never at a date: a
date is a clock by which a learner can tell one stretch of its training data from another.
"""

from __future__ import annotations

import math

import polars as pl

_HOUR = 3_600_000_000  # in microseconds, the unit of `time`
_DAY = 24 * _HOUR
_FUNDING = 8 * _HOUR


def hour_sin() -> pl.Expr:
    """Sine of the time of day in UTC, minutes and seconds included: 0 at 00:00, 1 at 06:00.

    Returns
    -------
    pl.Expr of Float64
        -1 to 1. Known from the first bar.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> six = pl.Series("time", [datetime(2024, 5, 1, 6, tzinfo=UTC)]).dt.cast_time_unit("us")
    >>> pl.DataFrame({"time": six}).select(hour_sin()).item()
    1.0
    """
    return _turn(_DAY).sin()


def hour_cos() -> pl.Expr:
    """Cosine of the time of day in UTC: 1 at 00:00, -1 at 12:00.

    Returns
    -------
    pl.Expr of Float64
        -1 to 1. Known from the first bar.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> noon = pl.Series("time", [datetime(2024, 5, 1, 12, tzinfo=UTC)]).dt.cast_time_unit("us")
    >>> pl.DataFrame({"time": noon}).select(hour_cos()).item()
    -1.0
    """
    return _turn(_DAY).cos()


def minute_sin() -> pl.Expr:
    """Sine of the time within the hour: 0 at :00, 1 at :15.

    Returns
    -------
    pl.Expr of Float64
        -1 to 1. Known from the first bar.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = pl.Series("time", [datetime(2024, 5, 1, 6, 15, tzinfo=UTC)]).dt.cast_time_unit("us")
    >>> pl.DataFrame({"time": at}).select(minute_sin()).item()
    1.0
    """
    return _turn(_HOUR).sin()


def minute_cos() -> pl.Expr:
    """Cosine of the time within the hour: 1 at :00, -1 at :30.

    Returns
    -------
    pl.Expr of Float64
        -1 to 1. Known from the first bar.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = pl.Series("time", [datetime(2024, 5, 1, 6, 30, tzinfo=UTC)]).dt.cast_time_unit("us")
    >>> pl.DataFrame({"time": at}).select(minute_cos()).item()
    -1.0
    """
    return _turn(_HOUR).cos()


def funding_sin() -> pl.Expr:
    """Sine of the time since the last funding (00:00, 08:00, 16:00 UTC): 1 two hours after it.

    Returns
    -------
    pl.Expr of Float64
        -1 to 1. Known from the first bar.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = pl.Series("time", [datetime(2024, 5, 1, 10, tzinfo=UTC)]).dt.cast_time_unit("us")
    >>> pl.DataFrame({"time": at}).select(funding_sin()).item()
    1.0
    """
    return _turn(_FUNDING).sin()


def funding_cos() -> pl.Expr:
    """Cosine of the time since the last funding: 1 at it, -1 midway between two.

    Returns
    -------
    pl.Expr of Float64
        -1 to 1. Known from the first bar.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> at = pl.Series("time", [datetime(2024, 5, 1, 12, tzinfo=UTC)]).dt.cast_time_unit("us")
    >>> pl.DataFrame({"time": at}).select(funding_cos()).item()
    -1.0
    """
    return _turn(_FUNDING).cos()


def _turn(period: int) -> pl.Expr:
    since = pl.col("time").to_physical() % period
    return since.cast(pl.Float64) * (2 * math.pi / period)
