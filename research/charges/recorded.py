"""Recorded best bids and asks, read from files into one table of quotes."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from research import schema
from research.charges import books
from research.errors import UserError
from research.study import ROOT

# how best bid and ask are called: by the house, in book snapshots (tardis), in flat level tables
_NAMES = (("bid", "ask"), ("bids[0].price", "asks[0].price"), ("bid_price_0", "ask_price_0"))
_ENDINGS = (".parquet", ".csv", ".gz")


class Estimate(NamedTuple):
    """What recorded books say of the half-spread."""

    half_spread: dict[str, float]
    hours: list[float]


def estimate(path: str) -> Estimate:
    """Return half-spreads by symbol and multiples by hour of the books at `path`.

    Parameters
    ----------
    path : str
        As for `quotes`; a relative one counts from the project root. Read once in a process, and
        again when a file has changed.

    Raises
    ------
    UserError
        As for `quotes`, `books.half_spreads` and `books.hour_multiples`.
    """
    place = whole_path(path)
    return _estimate(place, stamps(place))


def whole_path(path: str) -> Path:
    """Return where recorded books are; a relative path counts from the project root."""
    place = Path(path).expanduser()
    return place if place.is_absolute() else ROOT / place


def stamps(place: Path) -> tuple[Any, ...]:
    """Return what tells that a file at `place` has changed."""
    known = ((file, file.stat()) for file in files(place))
    return tuple((file, stat.st_size, stat.st_mtime_ns) for file, stat in known)


@cache
def _estimate(place: Path, changed: tuple[Any, ...]) -> Estimate:
    found = quotes(place)
    return Estimate(books.half_spreads(found), books.hour_multiples(found))


def quotes(path: Path) -> pl.DataFrame:
    """Read recorded best bids and asks.

    Parameters
    ----------
    path : Path
        A file, or a folder of files, all of one venue; files of a folder that hold no quotes are
        passed over. Parquet or CSV: ``symbol``, ``time`` (with its zone) or ``timestamp`` (an
        integer, in s, ms, us or ns since 1970), and best bid and ask as ``bid, ask``,
        ``bids[0].price, asks[0].price`` or ``bid_price_0, ask_price_0``. A ``.gz`` recording: lines
        of local time in ns and a message; its bookTicker messages are read, at their local time.

    Returns
    -------
    pl.DataFrame
        ``symbol, time, bid, ask``, sorted; of rows at one time the last.

    Raises
    ------
    UserError
        If there is no such file or folder, or nothing in it holds quotes.
    """
    tables = [table for table in map(_read, files(path)) if table is not None]
    if not tables:
        raise UserError(
            f"costs.books: {path.name} holds no recorded best bids and asks. Expected are Parquet "
            "or CSV tables of symbol, time, bid, ask, or recordings with bookTicker messages."
        )
    table = pl.concat(tables).drop_nulls()
    return table.unique(schema.KEY, keep="last", maintain_order=True).sort(schema.KEY)


def files(path: Path) -> list[Path]:
    """Return the files at `path` that may hold recorded books.

    Raises
    ------
    UserError
        If there is no such file, nor a folder with files in it.
    """
    found = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    if not found:
        raise UserError(f"costs.books: no file or folder {path.name!r} with files in it.")
    return [file for file in found if file.suffix in _ENDINGS]


def _read(file: Path) -> pl.DataFrame | None:
    if file.suffix == ".gz":
        rows = pl.DataFrame(_tickers(file), schema=["symbol", "time", "bid", "ask"], orient="row")
        return _typed(rows, "time", "bid", "ask") if rows.height else None
    scan = pl.scan_parquet if file.suffix == ".parquet" else pl.scan_csv
    try:
        columns = scan(file).collect_schema().names()
        names = next((pair for pair in _NAMES if {"symbol", *pair} <= set(columns)), None)
        time = next((name for name in ("time", "timestamp") if name in columns), None)
        if names is None or time is None:
            return None
        return _typed(scan(file).select("symbol", time, *names).collect(), time, *names)
    except pl.exceptions.PolarsError as error:
        line = str(error).splitlines()[0]
        raise UserError(f"costs.books: {file.name} cannot be read as a table: {line}.") from error


def _tickers(file: Path) -> Iterator[tuple[str, int, float, float]]:
    """Yield the best bids and asks of a recording, at the time they were received."""
    with gzip.open(file, "rt", encoding="utf8") as lines:
        for line in lines:
            if '@bookTicker"' in line:
                time, _, message = line.partition(" ")
                said = json.loads(message)["data"]
                yield said["s"], int(time), float(said["b"]), float(said["a"])


def moments(rows: pl.DataFrame, time: str) -> pl.Expr:
    """Return the column `time` of `rows` as moments in UTC, whatever unit its integers are in."""
    at = pl.col(time)
    if rows[time].dtype == pl.String:
        at = at.str.to_datetime(time_unit="us", time_zone="UTC")
    elif rows[time].dtype.is_integer():
        # microseconds of this age have 16 digits; coarser and finer units 10, 13 or 19
        digits = len(str(rows[time].max() or 0))
        at = (at * 10.0 ** (16 - digits)).cast(pl.Int64).cast(schema.TIME)
    return at.cast(schema.TIME).alias("time")


def _typed(rows: pl.DataFrame, time: str, bid: str, ask: str) -> pl.DataFrame:
    return rows.select(
        pl.col("symbol").cast(pl.String),
        moments(rows, time),
        pl.col(bid).cast(pl.Float64).alias("bid"),
        pl.col(ask).cast(pl.Float64).alias("ask"),
    )
