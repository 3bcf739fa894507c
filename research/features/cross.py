"""Columns of the bars that one symbol alone cannot have: what the others did at the same close.

A feature that reads one of these columns declares so by its name, and `build`, `latest` and
`evaluate` lay the column beside the bars before they go symbol by symbol. A value at t comes from
bars that closed at t or before: the other symbols' bars of t are known when this one's is.

==========================  =======================================================================
``market_return:k``         mean over the *other* symbols of their return of k bars
``market_place:k``          share of the others whose return of k bars is below this symbol's
``market_spread:k``         sample deviation over all symbols of their returns of k bars
``leader_return:n``         one-bar return of the symbol with the most quote volume in n bars
``leader_return:BTCUSDT``   one-bar return of that symbol
==========================  =======================================================================

A symbol counts at t if it has a bar there and enough of them since its last gap. Where nobody
counts there is null. The leader's own row holds its own return.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import numpy as np
import polars as pl

from research.errors import UserError
from research.features.crosswise import mean_of_others, place_among_others, spread_of_all
from research.features.loops import window_sums

KINDS = ("market_return", "market_place", "market_spread", "leader_return")
_CROSSWISE = {
    "market_return": mean_of_others,
    "market_place": place_among_others,
    "market_spread": spread_of_all,
}


def named_in(columns: Iterable[str]) -> tuple[str, ...]:
    """Return those column names that stand for something of other symbols, sorted.

    >>> named_in(["close", "market_return:10", "leader_return:BTCUSDT"])
    ('leader_return:BTCUSDT', 'market_return:10')
    """
    return tuple(sorted(c for c in set(columns) if c.partition(":")[0] in KINDS and ":" in c))


def columns(bars: pl.DataFrame, names: Collection[str]) -> pl.DataFrame:
    """Lay columns of the cross-section beside the bars.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_rows, ...)
        `schema.BARS` of several symbols, sorted by symbol and time. Of one symbol alone every
        column but a leader's is null.
    names : collection of str
        From the table above; none returns the bars as they are.

    Returns
    -------
    pl.DataFrame, shape (n_rows, ... + n_names)
        The same rows and columns, and the new ones (Float64).

    Raises
    ------
    UserError
        If a named leader has no bars, a number of bars is not one, or the bars are not on a clock.

    Notes
    -----
    Values look back a fixed number of bars of each symbol, each sum taken afresh: they do not
    depend on where the bars begin, so that a live window gives what the whole history gave.

    Examples
    --------
    >>> from datetime import timedelta
    >>> from research.features.warmup import canonical
    >>> bars = canonical(3, interval=timedelta(minutes=1), symbols=2)
    >>> both = columns(bars, ["market_return:1"])["market_return:1"]
    >>> own = bars["close"] / bars["close"].shift(1) - 1
    >>> both[1] == own[4] and both[4] == own[1] and both[0] is None
    True
    """
    if not names:
        return bars
    if "parts" in bars.columns:
        raise UserError(
            "features: traded bars close at times of their own, so symbols have no cross-section. "
            f"Take bars on a clock, or leave {', '.join(sorted(names))} out."
        )
    section = _Section(bars)
    none = np.empty(0)
    found = {name: section.column(name) if bars.height else none for name in names}
    return bars.with_columns(
        pl.Series(n, v, pl.Float64, nan_to_null=True) for n, v in found.items()
    )


class _Section:
    """Bars as a table of times by symbols."""

    def __init__(self, bars: pl.DataFrame) -> None:
        self._bars = bars
        self._close = bars["close"].to_numpy()
        opened, closed = (bars[c].to_physical().to_numpy() for c in ("open_time", "time"))
        changes = (bars["symbol"] != bars["symbol"].shift(1)).fill_null(True).to_numpy()
        gap = changes.copy()
        gap[1:] |= opened[1:] != closed[:-1]
        self._runs = np.flatnonzero(gap)
        rows = np.arange(bars.height)
        self._position = rows - np.maximum.accumulate(np.where(gap, rows, 0))
        self._symbols = bars["symbol"].filter(pl.Series(changes)).to_list()
        times, at = np.unique(closed, return_inverse=True)
        self._at = at, np.cumsum(changes) - 1
        self._shape = len(times), len(self._symbols)

    def column(self, name: str) -> np.ndarray:
        """Return a column of the cross-section, one value per bar."""
        kind, _, said = name.partition(":")
        if kind == "leader_return":
            wide = self._wide(self._returns(1))
            return self._leader(name, said, wide)[self._at[0]]
        wide = self._wide(self._returns(_bars(name, said)))
        return _CROSSWISE[kind](wide)[self._at]

    def _wide(self, values: np.ndarray) -> np.ndarray:
        wide = np.full(self._shape, np.nan)
        wide[self._at] = values
        return wide

    def _returns(self, bars: int) -> np.ndarray:
        returns = np.full(len(self._close), np.nan)
        known = np.flatnonzero(self._position >= bars)
        returns[known] = self._close[known] / self._close[known - bars] - 1.0
        return returns

    def _leader(self, name: str, said: str, returns: np.ndarray) -> np.ndarray:
        if not said.isdecimal():
            if said not in self._symbols:
                raise UserError(
                    f"features: {name!r}: no bars of {said!r}. Here: {', '.join(self._symbols)}."
                )
            return returns[:, self._symbols.index(said)]
        volume = self._wide(self._traded(_bars(name, said)))
        known = ~np.isnan(volume).all(axis=1)
        first = np.argmax(np.where(np.isnan(volume), -1.0, volume), axis=1)
        return np.where(known, returns[np.arange(len(returns)), first], np.nan)

    def _traded(self, bars: int) -> np.ndarray:
        volume = self._bars["quote_volume"].to_numpy()
        total = np.full(len(volume), np.nan)
        ends = np.append(self._runs[1:], len(volume))
        for start, end in zip(self._runs, ends):
            if end - start >= bars:
                total[start + bars - 1 : end] = window_sums(volume[start:end], bars)
        return total


def _bars(name: str, said: str) -> int:
    if not said.isdecimal() or int(said) < 1:
        raise UserError(f"features: {name!r}: {said!r} is not a number of bars of at least 1.")
    return int(said)


def refuse_what_is_lonely(bars: pl.DataFrame, names: Collection[str]) -> None:
    """Say so where a set asks for the cross-section and there is none.

    Raises
    ------
    UserError
        If the bars are of one symbol alone, or have no quote volume to tell a leader by.
    """
    symbols = bars["symbol"].unique().to_list()
    if any(name.startswith("market") for name in names) and len(symbols) == 1:
        raise UserError(
            f"features: {sorted(names)[-1]!r} compares symbols, and these bars are of "
            f"{symbols[0]} alone. Load more symbols, or take a set that needs one."
        )
    by_volume = [n for n in names if n.startswith("leader") and n.partition(":")[2].isdecimal()]
    if by_volume and bars.height and bars["quote_volume"].null_count() == bars.height:
        raise UserError(
            f"features: {by_volume[0]!r} asks who trades most, and these bars have no "
            f"quote_volume. Name the leader instead, such as 'leader_return:{symbols[0]}'."
        )
