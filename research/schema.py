"""The words of the house: columns of each table, the check at its door, and the way to pandas.

Tables are polars, long form, sorted and keyed by ``(symbol, time)``. `time` is when a row became
known: for a bar its open time plus its interval. Null means not known; a stored table has no NaN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from research.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

KEY = ("symbol", "time")
TIME = pl.Datetime("us", "UTC")
PRICES = ("open", "high", "low", "close")

BARS: dict[str, Any] = {
    "symbol": pl.String,
    "time": TIME,
    "open_time": TIME,
    "open": pl.Float64,
    "high": pl.Float64,
    "low": pl.Float64,
    "close": pl.Float64,
    "volume": pl.Float64,
    "quote_volume": pl.Float64,
    "trades": pl.Int64,
    "taker_buy_volume": pl.Float64,
    "taker_buy_quote_volume": pl.Float64,
}
EXTRAS = ("quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
MAY_BE_UNKNOWN = (*EXTRAS, "y", "forecast", "sigma")
LABELS: dict[str, Any] = {
    "symbol": pl.String,
    "time": TIME,
    "known_at": TIME,
    "y": pl.Float64,
}
FEATURES: dict[str, Any] = {"symbol": pl.String, "time": TIME, "sigma": pl.Float64}
FORECASTS: dict[str, Any] = {
    "symbol": pl.String,
    "time": TIME,
    "forecast": pl.Float64,
    "sigma": pl.Float64,
    "y": pl.Float64,
    "known_at": TIME,
    "fold": pl.String,
    "model": pl.String,
}
"""Beside them what a learner says more: probabilities of `CLASSES`, ``q_10, q_50, q_90``."""
CLASSES = {"p_down": -1, "p_flat": 0, "p_up": 1}
"""Columns of class probabilities, in the order learners give them, and the class of each."""

_RECEIVED: dict[str, Any] = {
    "symbol": pl.String,
    "message": pl.Int64,
    "connection": pl.Int32,
    "received_ns": pl.Int64,
    "sent": TIME,
    "time": TIME,
}
MESSAGES: dict[str, Any] = {
    **_RECEIVED,
    "kind": pl.String,
    "first_id": pl.Int64,
    "last_id": pl.Int64,
    "previous_id": pl.Int64,
    "sequence": pl.Int64,
}
"""Messages about an order book, in the order of their receipt: `kind` is ``snapshot``, ``update``
or ``partial``; ids are the venue's, null where it has none."""
LEVELS: dict[str, Any] = {
    "message": pl.Int64,
    "side": pl.Int8,
    "price": pl.Float64,
    "quantity": pl.Float64,
}
"""What each message says of single prices: `side` is 1 for bids, -1 for asks; 0 removes."""
QUOTES: dict[str, Any] = {
    **_RECEIVED,
    "update_id": pl.Int64,
    "bid": pl.Float64,
    "bid_quantity": pl.Float64,
    "ask": pl.Float64,
    "ask_quantity": pl.Float64,
}
TRADES: dict[str, Any] = {
    **_RECEIVED,
    "trade_id": pl.Int64,
    "price": pl.Float64,
    "quantity": pl.Float64,
    "taker_side": pl.Int8,
}
"""Single trades; `taker_side` is 1 where the buyer took from the book, else -1."""
GAPS: dict[str, Any] = {
    "symbol": pl.String,
    "stream": pl.String,
    "start_ns": pl.Int64,
    "end_ns": pl.Int64,
    "reason": pl.String,
    "lost": pl.Int64,
}
"""Spans of receipt in which something is, or may be, missing; `lost` counts messages where known,
`end_ns` is null where the span had not ended."""


class Recording(NamedTuple):
    """What was recorded of a venue's order books, as columns.

    `message` is a line's place in the recording, from 0, and ties tables together; `received_ns`
    is when it arrived by the recorder's own clock, `sent` when the venue says it sent it and
    `time` when the venue says it happened, null where a venue does not say.
    """

    venue: str
    """``binance`` or ``bybit``."""
    market: str
    """``um``, ``cm``, ``spot`` or ``linear``."""
    messages: pl.DataFrame
    levels: pl.DataFrame
    quotes: pl.DataFrame
    trades: pl.DataFrame
    gaps: pl.DataFrame
    """As the recorder declared them; a raw file has none."""
    lines: int
    bad: int
    """Lines that could not be read."""


class TableError(UserError):
    """A table that is not what its name says; names table, column, symbol, time and value."""


def check(table: pl.DataFrame, columns: dict[str, Any], name: str) -> pl.DataFrame:
    """Return `table` unchanged, or say what keeps it from being a `name` table.

    Parameters
    ----------
    table : pl.DataFrame, shape (n_rows, n_columns)
        May hold more columns than asked for.
    columns : dict of str to polars dtype
        What must be there, such as `BARS`.
    name : str
        How errors call the table.

    Returns
    -------
    pl.DataFrame
        The very same table.

    Raises
    ------
    TableError
        If a column is missing or of another type, a key is null or doubled, rows are out of
        ``(symbol, time)`` order, or a number is NaN or infinite.

    Examples
    --------
    >>> check(pl.DataFrame({"symbol": ["A"]}), LABELS, "labels")
    Traceback (most recent call last):
    research.schema.TableError: labels: column 'time' is missing. Columns here: symbol.
    """
    _check_columns(table, columns, name)
    _check_keys(table, name)
    _check_numbers(table, columns, name)
    return table


def _check_columns(table: pl.DataFrame, columns: dict[str, Any], name: str) -> None:
    here = f"Columns here: {', '.join(table.columns)}."
    for column, dtype in columns.items():
        found = table.schema.get(column)
        if found is None:
            raise TableError(f"{name}: column {column!r} is missing. {here}")
        if found != dtype:
            raise TableError(f"{name}: column {column!r} must be {dtype}, found {found}. {here}")


def _check_keys(table: pl.DataFrame, name: str) -> None:
    for column in KEY:
        if table[column].null_count():
            raise TableError(
                f"{name}: column {column!r} is null in {table[column].null_count()} rows."
            )
    if table.height < 2:
        return
    symbol, time = table["symbol"], table["time"]
    same = (symbol == symbol.shift(1)).fill_null(False)
    disorder = ((symbol < symbol.shift(1)) | (same & (time < time.shift(1)))).fill_null(False)
    if disorder.any():
        raise TableError(
            f"{name}: rows are not sorted by symbol and time, first at {at(table, disorder)}. "
            "Sort with table.sort('symbol', 'time')."
        )
    twins = (same & (time == time.shift(1))).fill_null(False)
    if twins.any():
        raise TableError(
            f"{name}: {twins.sum()} rows repeat a (symbol, time) key, first {at(table, twins)}. "
            "One row per key; keep the last with table.unique(['symbol', 'time'], keep='last')."
        )


def _check_numbers(table: pl.DataFrame, columns: dict[str, Any], name: str) -> None:
    for column in (c for c, dtype in columns.items() if dtype == pl.Float64):
        bad = ~table[column].is_finite().fill_null(True)
        if bad.any():
            value = table[column].filter(bad)[0]
            raise TableError(
                f"{name}: column {column!r} holds {value} in {bad.sum()} rows, "
                f"first {at(table, bad)}. Write null where a value is not known."
            )


def at(table: pl.DataFrame, mask: pl.Series) -> str:
    """Name the first row of `mask` for an error: ``BTCUSDT 2024-05-01 12:30:00Z``."""
    symbol, time = table.filter(mask).select(KEY).row(0)
    return f"{symbol} {time:%Y-%m-%d %H:%M:%S}Z" if time is not None else f"{symbol}"


def as_table(frame: Any, columns: dict[str, Any], name: str) -> pl.DataFrame:
    """Take a polars or pandas frame and return the checked polars table: the one pandas door.

    Parameters
    ----------
    frame : pl.DataFrame, pl.LazyFrame or pd.DataFrame
        In pandas the time may be a column or a timezone-aware index, the symbol a column or an
        index level. Columns of `columns` that may be unknown are added as null only for bars.
    columns : dict of str to polars dtype
        What must be there.
    name : str
        How errors call the table.

    Returns
    -------
    pl.DataFrame
        Passed by `check`.

    Raises
    ------
    TableError
        If times are naive, a number is NaN, rows are out of order, or a column is missing.
    """
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, pl.DataFrame):
        frame = _from_pandas(frame, columns, name)
    if columns is BARS:
        frame = _with_extras(frame)
    times: list[str] = [c for c in columns if columns[c] == TIME and c in frame.columns]
    return check(_in_utc_microseconds(frame, times, name), columns, name)


def _with_extras(frame: pl.DataFrame) -> pl.DataFrame:
    """Add the columns a source may lack as null; pandas keeps counts with a null as floats."""
    return frame.with_columns(
        (pl.col(c) if c in frame.columns else pl.lit(None)).cast(BARS[c], strict=False).alias(c)
        for c in EXTRAS
    )


def _from_pandas(frame: pd.DataFrame, columns: dict[str, Any], name: str) -> pl.DataFrame:
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise TableError(
            f"{name}: expected a polars or pandas frame, found {type(frame).__name__}."
        )
    if list(frame.index.names) == ["time", "symbol"] and frame.index.is_monotonic_increasing:
        frame = frame.sort_index(level=["symbol", "time"])  # a panel of `to_pandas`
    named = [n for n in frame.index.names if n is not None]
    if not named and isinstance(frame.index, pd.DatetimeIndex):
        frame, named = frame.rename_axis("time"), ["time"]
    frame = frame.reset_index() if named else frame
    for column in frame.select_dtypes("float"):
        bad = frame[column].isna()
        if bad.any() and column in columns and column not in MAY_BE_UNKNOWN:
            row = frame.loc[bad.idxmax()]
            raise TableError(
                f"{name}: column {column!r} is NaN in {int(bad.sum())} rows, first "
                f"{row.get('symbol', '')} {row.get('time', '')}. Drop those rows."
            )
    return pl.from_pandas(frame, nan_to_null=True)


def _in_utc_microseconds(table: pl.DataFrame, columns: list[str], name: str) -> pl.DataFrame:
    for column in columns:
        dtype = table.schema[column]
        if not isinstance(dtype, pl.Datetime):
            raise TableError(f"{name}: column {column!r} must be {TIME}, found {dtype}.")
        if dtype.time_zone is None:
            raise TableError(
                f"{name}: column {column!r} has times without a time zone, first "
                f"{table[column][0]}. Say which with tz_localize('UTC')."
            )
    return table.with_columns(
        pl.col(c).dt.convert_time_zone("UTC").dt.cast_time_unit("us") for c in columns
    )


def to_pandas(table: pl.DataFrame) -> pd.DataFrame:
    """Return `table` as a pandas frame that is indexed by time.

    Parameters
    ----------
    table : pl.DataFrame
        With columns `symbol` and `time`, or `time` alone.

    Returns
    -------
    pd.DataFrame
        One symbol: a UTC ``DatetimeIndex`` named time. Several: a ``(time, symbol)`` index, time
        first, in that order. Null becomes NaN.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> t = pl.Series("time", [datetime(2024, 5, 1, tzinfo=UTC)]).dt.cast_time_unit("us")
    >>> to_pandas(pl.DataFrame({"symbol": ["A"], "time": t, "y": [1.0]})).index.name
    'time'
    """
    if "symbol" in table.columns and table["symbol"].n_unique() > 1:
        return table.sort("time", "symbol").to_pandas().set_index(["time", "symbol"])
    return table.to_pandas().set_index("time")
