"""How a numeric heart becomes a polars expression: TA-Lib and numpy inside `pl.map_batches`.

Hearts are module-level functions, so that an expression says by name what it does, and they must
be prefix stable: the value at t is bit-equal whatever rows follow it. A heart works on columns of
the bars, or on what other hearts make of them; what does the same is computed once per evaluation,
so a theme may write each column out in full.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research.errors import UserError

Heart = Callable[..., np.ndarray]

# 256 KiB a column: what a heart writes in between stays in the processor's cache
_BLOCK = 32_768
_MARK = "made_of_hearts"


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


def numpy_expr(
    heart: Heart, *columns: str | pl.Expr, lookback: int | None = None, gaps: bool = False
) -> pl.Expr:
    """Return ``heart(*arrays)`` of columns as an expression.

    Parameters
    ----------
    heart : callable
        Takes an array per column and leaves it as it is; gives one value per bar. NaN, which only
        its first values may be, becomes null.
    *columns : str or pl.Expr
        Bar columns or expressions; an array holds NaN where there is null.
    lookback : int, optional
        Of a pure window: the heart sees the column in pieces and gives no value for a piece's
        first `lookback` bars, as in `in_blocks`. Absent: it sees whole columns.
    gaps : bool
        Whether NaN, and so null, may be anywhere.

    Returns
    -------
    pl.Expr of Float64

    Examples
    --------
    >>> bars = pl.DataFrame({"close": [1.0, 2.0, 4.0]})
    >>> step = numpy_expr(np.diff, "close", lookback=1)
    >>> bars.select(numpy_expr(np.negative, step)).to_series().to_list()
    [None, -1.0, -2.0]
    """
    inputs = [c if isinstance(c, str) else getattr(c, _MARK, None) for c in columns]
    known = tuple(i for i in inputs if i is not None)
    form = _form(heart), lookback, tuple(i.form if isinstance(i, Made) else i for i in known)
    names = frozenset[str]().union(*(i.names if isinstance(i, Made) else {i} for i in known))
    inner = (i.depth for i in known if isinstance(i, Made))
    depth = max(inner, default=0) + (lookback is None)
    made = Made(form, heart, lookback, known, names, depth, gaps)
    expr = pl.map_batches(list(columns), made.of_series, return_dtype=pl.Float64)
    if len(known) == len(columns):
        setattr(expr, _MARK, made)
    return expr


def made_of(expr: pl.Expr) -> Made | None:
    """Return the heart that an expression is, and what it works on; None where it is none."""
    made: Made | None = getattr(expr, _MARK, None)
    return made


def named(expr: pl.Expr, name: str) -> pl.Expr:
    """Return ``expr.alias(name)``; what is made of hearts is still known to be."""
    alias, made = expr.alias(name), getattr(expr, _MARK, None)
    if made is not None:
        setattr(alias, _MARK, made._replace(name=name))
    return alias


class Made(NamedTuple):
    """A heart and what it works on: names of bar columns, and others like itself."""

    form: Any  # equal where two do the same
    heart: Heart
    lookback: int | None
    inputs: tuple[str | Made, ...]
    names: frozenset[str]  # of the bar columns
    depth: int  # whole columns that must be there before a piece can be made
    gaps: bool
    name: str = ""

    def of_series(self, columns: Sequence[pl.Series]) -> pl.Series:
        """Return its values on the inputs as polars hands them over."""
        arrays = [column.to_numpy() for column in columns]
        if self.lookback is None:
            return self.known(self.heart(*arrays))
        return self.known(in_blocks(self.heart, self.lookback, *arrays))

    def known(self, values: np.ndarray) -> pl.Series:
        """Return values as a series with null for NaN."""
        if self.gaps:
            return pl.Series(self.name, values, nan_to_null=True)
        return _known(values, self.name)


def _form(thing: Any) -> Any:
    if isinstance(thing, partial):
        return _form(thing.func), _form(thing.args), _form(thing.keywords)
    if isinstance(thing, dict):
        return tuple((name, _form(value)) for name, value in sorted(thing.items()))
    return tuple(map(_form, thing)) if isinstance(thing, tuple) else thing


def evaluated(bars: pl.DataFrame, exprs: Sequence[pl.Expr]) -> pl.DataFrame:
    """Select `exprs`, of one column each; a user's mistake inside them stays one line.

    What is made of hearts is computed past polars: asked for many at once it hands the
    interpreter's lock from thread to thread, which costs 0.1 ms a column.
    """
    numbers = {column.name for column in bars if column.dtype.is_numeric()}
    marks = [getattr(expr, _MARK, None) for expr in exprs]
    # one that asks for what is not there is left to polars, which says so
    made = [one if one is not None and one.names <= numbers else None for one in marks]
    others = [expr for expr, one in zip(exprs, made) if one is None]
    try:
        # beside a whole column, so that a single value becomes one too
        rest = bars.select(pl.first().alias(""), *others).iter_columns() if others else iter(())
        evaluation = _Evaluation(bars, [one for one in made if one is not None])
    except UserError as error:
        raise UserError(str(error).partition("\n")[0]) from error
    next(rest, None)
    return pl.DataFrame([next(rest) if one is None else evaluation.series(one) for one in made])


class _Evaluation:
    """What hearts make of one table of bars: piece by piece of it, while a piece is at hand."""

    def __init__(self, bars: pl.DataFrame, wanted: Sequence[Made]) -> None:
        self._rows = bars.height
        self._found = {name: bars[name].to_numpy() for name in _names(wanted)}
        # in one piece, which the system has ready sooner than many small ones
        self._rooms = dict(zip((one.form for one in wanted), np.empty((len(wanted), self._rows))))
        steps: dict[Any, Made] = {}
        for one in wanted:
            _in_order(one, steps)
        for depth in range(max((one.depth for one in wanted), default=0) + 1):
            self._compute([one for one in steps.values() if one.depth == depth])

    def series(self, made: Made) -> pl.Series:
        return made.known(self._found[made.form])

    def _compute(self, steps: list[Made]) -> None:
        jobs = []
        for one in steps:
            arrays = [self._found[i if isinstance(i, str) else i.form] for i in one.inputs]
            room = self._rooms.get(one.form)
            room = self._found[one.form] = np.empty(self._rows) if room is None else room
            if one.lookback is None:
                np.copyto(room, one.heart(*arrays))
            else:
                jobs.append((one.heart, one.lookback, arrays, room))
                room[: one.lookback] = np.nan
        for start in range(0, self._rows, _BLOCK):
            for heart, lookback, arrays, room in jobs:
                _write(heart, lookback, arrays, room, start)


def _names(wanted: Sequence[Made]) -> set[str]:
    return set().union(*(one.names for one in wanted))


def _in_order(made: Made, steps: dict[Any, Made]) -> None:
    """Add what is made of nothing that comes later."""
    for one in made.inputs:
        if isinstance(one, Made) and one.form not in steps:
            _in_order(one, steps)
    steps.setdefault(made.form, made)


def _known(values: np.ndarray, name: str) -> pl.Series:
    import pyarrow as pa

    # the values stay where they are: only a bit for each says whether it is known
    bits = pa.py_buffer(_known_from(_first_known(values), len(values)))
    buffers = [bits, pa.py_buffer(values)]
    return pl.Series(name, pa.Array.from_buffers(pa.float64(), len(values), buffers))


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
        `lookback`; each depends on its own and the `lookback` values before it alone. If it has
        a parameter `out` it writes there.
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
    values = np.empty(len(columns[0]))
    values[:lookback] = np.nan
    for start in range(0, len(values), _BLOCK):
        _write(heart, lookback, columns, values, start)
    return values


def _write(
    heart: Heart, lookback: int, columns: Sequence[np.ndarray], values: np.ndarray, start: int
) -> None:
    """Write the values of one block, those that have `lookback` before them."""
    start, end = max(start, lookback), min(start + _BLOCK, len(values))
    if start >= end:
        return
    pieces = (column[start - lookback : end] for column in columns)
    if _writes(heart.func if isinstance(heart, partial) else heart):
        heart(*pieces, out=values[start:end])
    else:
        values[start:end] = heart(*pieces)


@cache
def _writes(heart: Heart) -> bool:
    """Tell whether a heart writes where it is told to: one copy less."""
    return isinstance(heart, np.ufunc) or "out" in signature(heart).parameters


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
