"""Recorded books as fills walk them: of each bar the newest levels at the moment of its fill."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.charges.recorded import files, moments, stamps, whole_path
from research.errors import UserError

DEPTH = 20
"""Levels of a side that are read."""
AGE = 60_000_000
"""Longest time that a book is taken to stand, microseconds: a longer silence is a hole."""
# how price and quantity of level i are called: by flat tables, by book snapshots (tardis)
_FORMS = (
    ("{side}_price_{i}", "{side}_qty_{i}"),
    ("{side}s[{i}].price", "{side}s[{i}].amount"),
)
_SIDES = ("bid", "ask")


class Books(NamedTuple):
    """One symbol's recorded books, in order of time."""

    time: np.ndarray
    """int64 microseconds since 1970 UTC, shape (n,)."""
    levels: np.ndarray
    """Shape (n, 2, depth, 2): bids, then asks, the best first; price and quantity, 0 for none."""


def at(
    path: str, symbols: list[str], code: np.ndarray, when: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the newest recorded book of each row at its moment.

    Parameters
    ----------
    path : str
        A file or a folder of files: Parquet or CSV of ``symbol``, ``time`` or ``timestamp`` (see
        `recorded.quotes`) and levels ``bid_price_0, bid_qty_0, ask_price_0, ask_qty_0, ...`` or
        ``bids[0].price, bids[0].amount, ...``; the first 20 of a side are read.
    symbols : list of str
        By their code.
    code : np.ndarray of int, shape (n,)
        Whose book.
    when : np.ndarray of int64, shape (n,)
        Microseconds since 1970 UTC.

    Returns
    -------
    levels : np.ndarray, shape (n, 2, depth, 2)
        As `trading.depth` walks them; zeros where none was recorded in the minute before.
    known : np.ndarray of bool, shape (n,)
        Where one was, and could be.
    wrong : np.ndarray of bool, shape (n,)
        Where the newest one cannot be, by the rule of the live side: its best bid is not below its
        best ask, or a side is not in strict order. No older one stands in for it.

    Raises
    ------
    UserError
        If there is no such file or folder, or nothing in it holds levels with quantities.
    """
    place = whole_path(path)
    found = _read(place, stamps(place))
    depth = max(books.levels.shape[2] for books in found.values())
    levels = np.zeros((len(code), 2, depth, 2))
    known, wrong = np.zeros(len(code), bool), np.zeros(len(code), bool)
    for number, symbol in enumerate(symbols):
        if symbol not in found:
            continue
        rows, books = np.flatnonzero(code == number), found[symbol]
        place_of = np.searchsorted(books.time, when[rows], side="right") - 1
        fresh = (place_of >= 0) & (when[rows] - books.time[place_of] <= AGE)
        newest = books.levels[place_of]
        fresh &= (newest[:, :, 0, 1] > 0).all(axis=1)
        whole = _can_be(newest)
        known[rows], wrong[rows] = fresh & whole, fresh & ~whole
        levels[rows[fresh & whole], :, : newest.shape[2]] = newest[fresh & whole]
    return levels, known, wrong


def _can_be(levels: np.ndarray) -> np.ndarray:
    """Return which books are finite, not crossed, and on each side best first without a hole."""
    price, shown = levels[..., 0] * [[-1.0], [1.0]], levels[..., 1] > 0  # less is better, twice
    behind = shown[..., :-1] & (price[..., :-1] < price[..., 1:])
    ordered = (behind | ~shown[..., 1:]).all(axis=(1, 2))
    finite = np.isfinite(levels).all(axis=(1, 2, 3))
    return np.asarray(ordered & finite & (levels[:, 0, 0, 0] < levels[:, 1, 0, 0]))


@cache
def _read(place: Path, changed: tuple[Any, ...]) -> dict[str, Books]:
    """Read all books at a place, once as long as its files are the same."""
    tables = [made for made in map(_file, files(place)) if made is not None]
    if not tables:
        raise UserError(
            f"costs.books: {place.name} holds no recorded books with quantities, which fills walk. "
            "Expected are tables of symbol, time and levels as bid_price_0, bid_qty_0, "
            "ask_price_0, ask_qty_0."
        )
    rows = pl.concat(tables, how="diagonal").unique(schema.KEY, keep="last", maintain_order=True)
    return {
        str(symbol): _books(part) for (symbol,), part in rows.sort(schema.KEY).group_by("symbol")
    }


def _file(file: Path) -> pl.DataFrame | None:
    """Read the levels of one file; None where it holds none."""
    if file.suffix == ".gz":
        return None
    scan = pl.scan_parquet if file.suffix == ".parquet" else pl.scan_csv
    try:
        columns = scan(file).collect_schema().names()
        form = next(
            (f for f in _FORMS if {n for s in _SIDES for n in _names(f, s, 0)} <= {*columns}), None
        )
        time = next((name for name in ("time", "timestamp") if name in columns), None)
        if form is None or time is None or "symbol" not in columns:
            return None
        levels = [
            pl.col(name).cast(pl.Float64).alias(f"{side} {i} {part}")
            for i in range(DEPTH)
            for side in _SIDES
            for part, name in enumerate(_names(form, side, i))
            if name in columns
        ]
        rows = scan(file).select("symbol", time, *levels).collect()
    except pl.exceptions.PolarsError as error:
        line = str(error).splitlines()[0]
        raise UserError(f"costs.books: {file.name} cannot be read as a table: {line}.") from error
    return rows.select(
        pl.col("symbol").cast(pl.String), moments(rows, time), pl.exclude("symbol", time)
    )


def _names(form: tuple[str, str], side: str, i: int) -> tuple[str, str]:
    price, quantity = (part.format(side=side, i=i) for part in form)
    return price, quantity


def _books(rows: pl.DataFrame) -> Books:
    depth = sum(name.startswith("bid") and name.endswith(" 0") for name in rows.columns)
    levels = np.zeros((rows.height, 2, depth, 2))
    for s, side in enumerate(_SIDES):
        for i in range(depth):
            for part in (0, 1):
                name = f"{side} {i} {part}"
                if name in rows.columns:
                    levels[:, s, i, part] = rows[name].fill_null(0.0).fill_nan(0.0).to_numpy()
    levels[(levels <= 0).any(axis=3)] = 0.0  # without a price or a quantity it is no level
    return Books(rows["time"].dt.epoch("us").to_numpy(), levels)
