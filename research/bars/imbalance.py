"""Imbalance bars: a bar closes when one side has traded more than was to be expected."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

import numpy as np
import polars as pl

from research.bars.gathering import starts, traded
from research.errors import UserError
from research.schema import BARS, check
from research.steps import compiled, scan

Kind = Literal["tick", "volume", "dollar"]
SPAN = 20
"""Bars of the length asked for over which expectations forget."""


class Scales(NamedTuple):
    """What was gathered since the last bar, and what is expected; see `tipped`."""

    total: float = 0.0
    rows: float = 0.0
    mean: float = 0.0
    square: float = -1.0
    """Signed amount of one base bar, and its square, as expected; below 0: nothing is yet."""


@compiled
def tipped(state: Scales, event: tuple, rules: float) -> tuple:
    """Tell whether a base bar tips the scales and closes the bar that is being made: a step.

    Parameters
    ----------
    state : Scales
        After the base bar before.
    event : (float, bool)
        Amount bought less amount sold by takers; whether all starts anew here.
    rules : float
        The length asked for, in base bars.

    Returns
    -------
    Scales
        After this base bar.
    int
        1 if it closed a bar, 2 if it ends the stretch that tells what to expect, else 0.

    Examples
    --------
    >>> from research.steps import streaming
    >>> live = streaming(tipped, Scales(), 2.0)
    >>> [live.update(amount, False) for amount in (1.0, -1.0, 1.0, 1.0, -2.0)]
    [0, 2, 0, 1, 1]
    """
    amount, anew = event
    total, rows, mean, square = state
    if anew:
        total = rows = mean = 0.0
        square = -1.0
    total, rows, said = total + amount, rows + 1.0, 0
    if square < 0.0:
        mean += amount * amount  # until there are enough, their squares
        if rows >= rules:
            said, mean, square = 2, total / rows, mean / rows
    else:
        limit = max(rules * abs(mean), math.sqrt(rules * square))
        said = int(0.0 < limit <= abs(total))
        weight = 2.0 / (SPAN * rules + 1.0)
        mean += weight * (amount - mean)
        square += weight * (amount * amount - square)
    if said > 0:
        total = rows = 0.0
    return Scales(total, rows, mean, square), said


def imbalance_bars(
    bars: pl.DataFrame, length: int, *, kind: Kind = "volume", sparse: bool = False
) -> pl.DataFrame:
    r"""Gather base bars until one side outweighs the other by more than was expected.

    With :math:`b_i v_i` the signed amount of a base bar, a bar closes at the first T at which

    .. math:: \left| \sum_{i=1}^{T} b_i v_i \right| \ge
       \max\left( n \, |E[b v]|, \; \sqrt{n \, E[(b v)^2]} \right)

    where n is the length asked for.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_base, n_columns)
        `schema.BARS`, sorted by (symbol, time): klines, or trades in the same columns (see
        `volume_bars`), a buyer's with all its volume in `taker_buy_volume`, a seller's with 0.
    length : int
        Base bars in which the imbalance that closes a bar is to be expected, at least 2.
    kind : str
        The amount: ``"volume"`` in base currency, ``"dollar"`` in quote currency, ``"tick"`` its
        sign alone. Bought less sold by takers; where a source does not tell, the whole volume,
        with the sign of the last change of the close (the tick rule).
    sparse : bool
        As for `volume_bars`.

    Returns
    -------
    pl.DataFrame, shape (n_bars, 13)
        As `volume_bars` returns them. None is made of the first `length` base bars of a symbol or
        behind a gap: they tell what to expect.

    Raises
    ------
    UserError
        If `length` is no whole number of at least 2, or `kind` is unknown.
    TableError
        If `bars` are not `schema.BARS`.

    Notes
    -----
    Expectations are means of the earlier base bars of the symbol, exponentially weighted with a
    span of ``20 * length`` of them, so a bar knows base bars up to its own close alone.

    As published, n is not held but E[T], the mean length of earlier bars, and there is no second
    term. That does not settle: in a balanced market E[bv] is about 0 and every base bar closes a
    bar; otherwise each bar overshoots its threshold, is longer than was expected, and raises the
    next threshold. (With E[T] let free, a simulated market went from 10 minutes a bar to whatever
    most was allowed within a day.) Here the threshold never leaves the span from what chance alone
    piles up in n base bars, the second term, to n times the root mean square of one. In a balanced
    market without memory a bar takes somewhat more than n base bars; flows of one sign in a row,
    as real ones are, close it sooner.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning, ch. 2.3.2. Wiley.

    Examples
    --------
    >>> from datetime import datetime, timedelta, UTC
    >>> at = pl.Series([datetime(2024, 5, 1, 0, m, tzinfo=UTC) for m in range(6)])
    >>> price = {c: [2.0] * 6 for c in ("open", "high", "low", "close")}
    >>> raw = pl.DataFrame({"symbol": "A", "open_time": at, **price, "volume": 1.0,
    ...     "taker_buy_volume": [1.0, 0.0, 1.0, 1.0, 0.0, 0.0]})
    >>> from research.bars import clean
    >>> minutes, _ = clean(raw, interval=timedelta(minutes=1), name="bars")
    >>> imbalance_bars(minutes, 2).select(pl.col("time").dt.minute(), "parts").rows()
    [(4, 2), (6, 2)]
    """
    if kind not in get_args(Kind):
        raise UserError(f"imbalance bars: kind must be tick, volume or dollar, found {kind!r}.")
    if not (isinstance(length, int) and length >= 2):
        raise UserError(
            f"imbalance bars: length must be a whole number of at least 2 base bars, "
            f"found {length}. Take a longer data.interval."
        )
    bars = check(bars, BARS, "bars").select(list(BARS))
    if bars.is_empty():
        return bars.with_columns(parts=pl.lit(0, pl.Int64))
    anew = starts(bars, sparse=sparse)
    _, ends = scan(tipped, Scales(), (_signed(bars, kind, anew), anew), float(length))
    return traded(bars, anew, ends, sparse=sparse)


def _signed(bars: pl.DataFrame, kind: Kind, anew: np.ndarray) -> np.ndarray:
    """Bought less sold, of each base bar."""
    volume, bought = pl.col("volume"), pl.col("taker_buy_volume")
    if kind == "dollar":
        volume = pl.coalesce("quote_volume", pl.col("volume") * pl.col("close"))
        bought = pl.col("taker_buy_quote_volume")
    moved = pl.coalesce(pl.col("close").diff().over("run"), pl.col("close") - pl.col("open"))
    sign = pl.when(moved != 0).then(moved.sign()).forward_fill().over("run").fill_null(0.0)
    signed = pl.coalesce(2 * bought - volume, sign * volume)
    found = bars.with_columns(run=pl.Series(anew).cum_sum()).select(
        signed.sign() if kind == "tick" else signed
    )
    return found.to_series().to_numpy()
