"""Up, flat or down: the class of a move, and what share of rows each class has."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import polars as pl

from research import schema
from research.errors import UserError
from research.labels.forward import Entry, bars_ahead, forward_return

NAMES = {"down": -1, "flat": 0, "up": 1}
SIGMA: dict[str, Any] = {"symbol": pl.String, "time": schema.TIME, "sigma": pl.Float64}


def direction(
    bars: Any,
    *,
    horizon: timedelta,
    interval: timedelta,
    up: float,
    down: float,
    entry: Entry = "next_open",
    sigma: Any = None,
) -> pl.DataFrame:
    """Up, flat or down: on which side of two thresholds the forward return ends.

    Parameters
    ----------
    bars, horizon, interval, entry
        As for `forward_return`.
    up, down : float
        Distances of the two thresholds from zero, both at least 0: fractions of price (0.0008 is
        8 bps), or with `sigma` multiples of the horizon's volatility. A move of exactly this much
        is flat.
    sigma : pl.DataFrame or pd.DataFrame, optional
        ``symbol, time, sigma``: the volatility of one bar's return, known at `time`, as the
        feature table has it. It grows with the square root of the bars in the horizon. Rows
        without a volatility above zero are left out.

    Returns
    -------
    pl.DataFrame, shape (at most n_bars, 5)
        ``symbol, time, known_at, y, label``: y is the forward return itself, a fraction, and
        label (Int8) is 1 above ``up``, -1 below ``-down``, else 0. Never null.

    Raises
    ------
    UserError
        If `up` or `down` is negative or not a number, or as for `forward_return`.
    TableError
        If `bars` or `sigma` are not sorted tables.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> minute = timedelta(minutes=1)
    >>> time = [datetime(2024, 5, 1, 0, k, tzinfo=UTC) for k in (1, 2, 3, 4)]
    >>> close = [100.0, 101.0, 101.0, 100.0]
    >>> bars = pl.DataFrame({"symbol": "A", "time": time, "open": close, "close": close})
    >>> thresholds = {"up": 0.001, "down": 0.001}
    >>> found = direction(bars, horizon=minute, interval=minute, entry="close", **thresholds)
    >>> found["label"].to_list()
    [1, 0, -1]
    """
    for name, value in (("up", up), ("down", down)):
        if not 0 <= value < math.inf:
            raise UserError(f"labels: {name} must be a number of at least 0, found {value}.")
    moves = forward_return(bars, horizon=horizon, interval=interval, entry=entry)
    unit = pl.lit(1.0)
    if sigma is not None:
        moves = with_sigma(moves, sigma, how="inner").filter(pl.col("sigma") > 0)
        unit = pl.col("sigma") * math.sqrt(bars_ahead(horizon, interval))
    label = pl.when(pl.col("y") > up * unit).then(1).when(pl.col("y") < -down * unit).then(-1)
    return moves.select(*schema.LABELS, label=label.otherwise(0).cast(pl.Int8))


def with_sigma(table: pl.DataFrame, sigma: Any, *, how: Any) -> pl.DataFrame:
    """Join the volatility known at each row; rows stay in order."""
    known = schema.as_table(sigma, SIGMA, "sigma").select(*SIGMA)
    bare = table.drop("sigma", strict=False)
    return bare.join(known, on=schema.KEY, how=how, maintain_order="left")


def statistics(labels: Any) -> pl.DataFrame:
    """Count classes: how rare each is, what it earned, and how much of the rows is news.

    Parameters
    ----------
    labels : pl.DataFrame or pd.DataFrame
        With ``symbol, time, known_at, y, label``, as `direction` and `barrier` return them.

    Returns
    -------
    pl.DataFrame
        One row per symbol and one, the last, named ``all``: `rows`; `share_down`, `share_flat`
        and `share_up`; `majority` (the largest share: the accuracy of always saying that class);
        `mean_down`, `mean_flat` and `mean_up` (mean return by class, a fraction; null where a
        class is never met); `uniqueness` (mean of `uniqueness`: rows times this is about how many
        labels without overlap they are worth).

    Raises
    ------
    UserError
        If there is no column `label`, or it holds other values than -1, 0 and 1, or null.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> time = [datetime(2024, 5, 1, 0, k, tzinfo=UTC) for k in (1, 2, 3)]
    >>> labels = pl.DataFrame({"symbol": "A", "time": time[:2], "known_at": time[1:],
    ...     "y": [0.01, -0.02], "label": pl.Series([1, -1], dtype=pl.Int8)})
    >>> statistics(labels).select("symbol", "rows", "share_up", "mean_down", "uniqueness").rows()
    [('A', 2, 0.5, -0.02, 1.0), ('all', 2, 0.5, -0.02, 1.0)]
    """
    from research.labels.weights import uniqueness

    table = _with_label(labels)
    # a microsecond is the finest grid of time: overlap to the letter, whatever the bars
    news = uniqueness(table, interval=timedelta(microseconds=1))
    table = table.with_columns(uniqueness=pl.Series(news, dtype=pl.Float64))
    each = table.group_by("symbol", maintain_order=True).agg(**_counts())
    return pl.concat([each, table.select(symbol=pl.lit("all"), **_counts())])


def _with_label(labels: Any) -> pl.DataFrame:
    table = schema.as_table(labels, schema.LABELS, "labels")
    if "label" not in table.columns:
        raise UserError(
            "labels: classes are asked for, and there is no column 'label'. Make labels with "
            "direction or barrier (labels.kind in a study)."
        )
    classes = [float(value) for value in NAMES.values()]
    among = pl.col("label").cast(pl.Float64, strict=False).is_in(classes).fill_null(False)
    strange = table.filter(~among)
    if strange.height:
        raise UserError(
            f"labels: label must be -1, 0 or 1, found {strange['label'][0]} in "
            f"{strange.height} rows, first {schema.at(strange, strange['time'].is_not_null())}."
        )
    return table


def _counts() -> dict[str, pl.Expr]:
    is_class = {name: pl.col("label") == value for name, value in NAMES.items()}
    shares = {f"share_{name}": this.mean() for name, this in is_class.items()}
    means = {f"mean_{name}": pl.col("y").filter(this).mean() for name, this in is_class.items()}
    majority = pl.max_horizontal(*shares.values())
    return {
        "rows": pl.len().cast(pl.Int64),
        **shares,
        "majority": majority,
        **means,
        "uniqueness": pl.col("uniqueness").mean(),
    }
