"""How a numeric heart becomes a polars expression: TA-Lib and numpy inside `pl.map_batches`.

Hearts are module-level functions, so that an expression says by name what it does, and they must
be prefix stable: the value at t is bit-equal whatever rows follow it. Equal hearts on the same
columns are computed once per evaluation, so a theme may write each column out in full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError

Heart = Callable[..., np.ndarray]

# 128 KiB a column: what a heart writes in between stays in the processor's cache
_BLOCK = 16_384

# by where a column of the bars lies: what was computed of it while they are under evaluation
_under_evaluation: dict[int, dict[Any, _Cell]] = {}


def talib_expr(function: str, *columns: str, output: int = 0, **parameters: int) -> pl.Expr:
    """Return a TA-Lib function as an expression.

    Parameters
    ----------
    function : str
        TA-Lib's own name, such as ``"NATR"``.
    *columns : str
        Bar columns, in TA-Lib's order.
    output : int
        Which result, for functions that have several.
    **parameters : int
        TA-Lib's own parameters, such as ``timeperiod=14``.

    Returns
    -------
    pl.Expr of Float64
        Null where TA-Lib has no value yet.

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 4.0]})
    >>> bars.select(talib_expr("SMA", "close", timeperiod=2)).to_series().to_list()
    [None, 1.5, 3.0]
    """
    return numpy_expr(partial(_talib, function, output, parameters), *columns)


def numpy_expr(heart: Heart, *columns: str | pl.Expr) -> pl.Expr:
    """Return ``heart(*arrays)`` of whole columns as an expression.

    The columns have no null. The heart gives one value per bar; NaN, which only its first values
    may be, becomes null.
    """
    once = partial(_once, _form(heart), heart)
    return pl.map_batches(list(columns), once, return_dtype=pl.Float64)


def _form(thing: Any) -> Any:
    """Return what a heart is, in a form that is equal where two of them do the same."""
    if isinstance(thing, partial):
        return _form(thing.func), _form(thing.args), _form(thing.keywords)
    if isinstance(thing, dict):
        return tuple((name, _form(value)) for name, value in sorted(thing.items()))
    return tuple(map(_form, thing)) if isinstance(thing, tuple) else thing


def _once(form: Any, heart: Heart, columns: Sequence[pl.Series]) -> pl.Series:
    arrays = [column.to_numpy() for column in columns]
    first, *others = map(_address, arrays)
    done = _under_evaluation.get(first)
    if done is None:  # not a column of the bars, or called outside of `evaluated`
        return _known(heart(*arrays))
    cell = done.setdefault((form, len(arrays[0]), *others), _Cell())
    with cell.lock:  # polars asks from several threads at once
        if cell.values is None:
            cell.values = _known(heart(*arrays))
    return cell.values


class _Cell:
    """One result of an evaluation, and the lock of whoever computes it."""

    __slots__ = ("lock", "values")

    def __init__(self) -> None:
        self.lock = Lock()
        self.values: pl.Series | None = None


def _address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def _known(values: np.ndarray) -> pl.Series:
    import pyarrow as pa

    # the values stay where they are: only a bit for each says whether it is known
    bits = pa.py_buffer(_known_from(_first_known(values), len(values)))
    buffers = [bits, pa.py_buffer(values)]
    return pl.Series(pa.Array.from_buffers(pa.float64(), len(values), buffers))


def _first_known(values: np.ndarray) -> int:
    for size in (256, len(values)):
        unknown = np.isnan(values[:size])
        if not unknown.all():
            return int(unknown.argmin())
    return len(values)


def _known_from(start: int, rows: int) -> np.ndarray:
    bits = np.full(rows // 8 + 1, 0xFF, np.uint8)
    bits[: start // 8] = 0
    bits[start // 8] = 0xFF << start % 8 & 0xFF
    return bits


def _talib(
    function: str, output: int, parameters: dict[str, Any], *arrays: np.ndarray
) -> np.ndarray:
    import talib

    result = getattr(talib, function)(*arrays, **parameters)
    return result[output] if isinstance(result, (tuple, list)) else result


def in_blocks(heart: Heart, lookback: int, *columns: np.ndarray) -> np.ndarray:
    """Evaluate a pure window block by block; three times faster on long columns.

    Parameters
    ----------
    heart : callable
        Takes arrays of at least ``lookback + 1`` values, returns one value for each but the first
        `lookback`; each depends on its own and the `lookback` values before it alone.
    lookback : int
        Values before the first result.
    *columns : np.ndarray, shape (n,)

    Returns
    -------
    np.ndarray, shape (n,)
        NaN in the first `lookback`.

    Examples
    --------
    >>> in_blocks(np.diff, 1, np.array([1.0, 3.0, 6.0])).tolist()
    [nan, 2.0, 3.0]
    """
    rows = len(columns[0])
    values = np.empty(rows)
    values[:lookback] = np.nan
    for start in range(lookback, rows, _BLOCK):
        end = min(start + _BLOCK, rows)
        values[start:end] = heart(*(column[start - lookback : end] for column in columns))
    return values


def evaluated(bars: pl.DataFrame, exprs: Sequence[pl.Expr]) -> pl.DataFrame:
    """Select `exprs`; a user's mistake inside them stays one line, without polars' note on it."""
    # the bars live as long as this call, so where a column lies says which one it is
    numbers = [column for column in bars if column.dtype == pl.Float64 and not column.null_count()]
    places = [_address(column.to_numpy()) for column in numbers]
    for place in places:
        _under_evaluation.setdefault(place, {})
    try:
        return bars.select(exprs)
    except UserError as error:
        raise UserError(str(error).partition("\n")[0]) from error
    finally:
        for place in places:
            _under_evaluation.pop(place, None)


def window_sums(values: np.ndarray, window: int) -> np.ndarray:
    """Sum every `window` neighbours afresh, by doubling: a running sum would carry residues.

    Parameters
    ----------
    values : np.ndarray, shape (n,)
        Without NaN; n at least `window`.
    window : int
        Values per sum, at least 2.

    Returns
    -------
    np.ndarray, shape (n - window + 1,)

    Examples
    --------
    >>> window_sums(np.array([1.0, 2.0, 4.0, 8.0]), 3).tolist()
    [7.0, 14.0]
    """
    total: np.ndarray | None = None
    power, held, size = values, 0, 1
    rows = len(values) - window + 1
    while True:
        if window & size:
            part = power[held : rows + window - size]
            total = part if total is None else total[: len(part)] + part
            held += size
        if total is not None and 2 * size > window:
            return total
        power, size = power[:-size] + power[size:], 2 * size


def window_extremes(values: np.ndarray, window: int, pick: np.ufunc) -> np.ndarray:
    """Return the `np.maximum` or `np.minimum` of every `window` neighbours, by doubling.

    >>> window_extremes(np.array([1.0, 4.0, 2.0, 3.0]), 3, np.maximum).tolist()
    [4.0, 4.0]
    """
    rows, power, size = len(values) - window + 1, values, 1
    while 2 * size <= window:
        power, size = pick(power[:-size], power[size:]), 2 * size
    # two windows of a power of two that overlap cover any other
    return pick(power[:rows], power[window - size : window - size + rows])


def place_in_range(window: int, value: np.ndarray, high: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Return where `value` lies in the range of the last `window` bars: TA-Lib's fastk.

    Parameters
    ----------
    window : int
        Bars of the range.
    value, high, low : np.ndarray, shape (n,)
        Not negative, without NaN; n at least `window`.

    Returns
    -------
    np.ndarray, shape (n - window + 1,)
        0 to 100; 0 where the range is zero, or within rounding of it (2e-14 of the values),
        which TA-Lib takes as zero.

    Examples
    --------
    >>> price = np.array([1.0, 3.0, 2.0, 2.0])
    >>> place_in_range(2, price, price, price).tolist()
    [100.0, 0.0, 0.0]
    """
    lowest = window_extremes(low, window, np.minimum)
    reach = window_extremes(high, window, np.maximum)
    rounding = reach + lowest
    rounding *= 1e-14
    reach -= lowest
    moved = reach > rounding
    reach /= 100.0
    above = value[window - 1 :] - lowest
    return share(above, reach, moved)


def share(part: np.ndarray, whole: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return ``part / whole``, 0 where not `known`; faster than a division that looks first."""
    with np.errstate(divide="ignore", invalid="ignore"):
        part /= whole
    if not known.all():
        part[~known] = 0.0
    return part


def bars_at_least(least: int, **window: int) -> None:
    """Refuse a window that is too short to mean anything.

    >>> bars_at_least(2, natr=1)
    Traceback (most recent call last):
    research.errors.UserError: natr: the window must be a whole number of at least 2 bars, found 1.
    """
    for name, bars in window.items():
        if not isinstance(bars, int) or bars < least:
            raise UserError(
                f"{name}: the window must be a whole number of at least {least} bars, "
                f"found {bars!r}."
            )
