"""The lake: bars as monthly Parquet under ``data/bars/``, a card per symbol, DuckDB over all.

``data/bars/<venue>/<market>/<symbol>/<interval>/2025-05.parquet``; a month is that of the bars'
open times in UTC. Writing the same bars again changes no byte, and every read proves the bytes.

>>> from datetime import UTC, datetime
>>> from tempfile import mkdtemp
>>> from research.bars import clean
>>> price = dict.fromkeys(("open", "high", "low", "close"), 2.0)
>>> hour = {"symbol": "BTCUSDT", "open_time": [datetime(2025, 5, 1, tzinfo=UTC)], "volume": 1.0}
>>> table, quality = clean(pl.DataFrame(hour | price), interval=timedelta(hours=1), name="bars")
>>> place = {"venue": "binance", "market": "um", "interval": timedelta(hours=1)}
>>> data = Path(mkdtemp())
>>> write(table, quality, **place, root=data).written
('BTCUSDT/2025-05',)
>>> write(table, quality, **place, root=data).written
()
>>> load(**place, symbols=["BTCUSDT"], start="2025-05-01", root=data).equals(table)
True
>>> sql("SELECT symbol, market, close FROM bars", root=data).row(0)
('BTCUSDT', 'um', 2.0)
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import polars as pl

from research.errors import UserError
from research.schema import BARS, TIME, TableError, check, to_pandas
from research.store import atomic, where
from research.store.shelf import DAYS, Card, Shelf, open_shelf, put
from research.store.where import Moment
from research.units import show

if TYPE_CHECKING:
    import pandas as pd


def write(
    bars: pl.DataFrame,
    quality: pl.DataFrame,
    *,
    venue: str,
    market: str,
    interval: timedelta,
    inputs: dict[str, Any] | None = None,
    root: Path | None = None,
) -> Card:
    """Merge bars into the lake, all of a symbol or nothing.

    Parameters
    ----------
    bars : pl.DataFrame, shape (n_bars, 12)
        `schema.BARS`, as `bars.clean` returns them.
    quality : pl.DataFrame, shape (n_days, 9)
        As `bars.clean` returns it. Bars kept, missing and without volume are counted anew over
        all that is stored; the other counts keep the most that one import met on a day.
    venue, market : str
        Names of folders, such as ``binance`` and ``um``.
    interval : timedelta
        Length of a bar.
    inputs : dict, optional
        What the bars were made of (fingerprints, settings); kept with every month that changes.
    root : Path, optional
        The data folder; `atomic.data_root` when not given.

    Returns
    -------
    Card
        Where the bars lie and what changed. A stored bar that is written with other values is
        replaced and counted as revised.

    Raises
    ------
    UserError
        If a name cannot be a folder, a stored month is damaged, or the disk refuses; as
        `TableError` if `bars` are no bars of this length.
    """
    check(bars, BARS, "bars")
    if bars.is_empty():
        raise TableError("bars: no rows to store. Ask the source for a span it holds.")
    if not (bars["time"] - bars["open_time"] == interval).all():
        raise TableError(f"bars: not all are {show(interval)} long. Store one interval at a time.")
    shelves, written, revised = [], [], 0
    for symbol in bars["symbol"].unique().sort():
        folder = where.folder(venue, market, symbol, interval, root)
        shelf = open_shelf(folder) or Shelf(folder, _blank(venue, market, symbol, interval))
        own = [table.filter(pl.col("symbol") == symbol) for table in (bars, quality)]
        shelf, months, replaced = put(
            shelf, own[0].select(list(BARS)), own[1], interval, inputs or {}
        )
        shelves.append(shelf)
        written += [f"{symbol}/{month}" for month in months]
        revised += replaced
    return _card(shelves, tuple(written), revised)


def _card(shelves: list[Shelf], written: tuple[str, ...], revised: int) -> Card:
    cards = [shelf.card for shelf in shelves]
    return Card(
        **{word: cards[0][word] for word in ("venue", "market", "interval")},
        symbols=tuple(card["symbol"] for card in cards),
        rows=sum(card["rows"] for card in cards),
        first=min(card["first"] for card in cards),
        last=max(card["last"] for card in cards),
        written=written,
        revised=revised,
        fingerprint=_hash((shelf, shelf.months()) for shelf in shelves),
    )


def _blank(venue: str, market: str, symbol: str, interval: timedelta) -> dict[str, Any]:
    place = {"venue": venue, "market": market, "symbol": symbol, "interval": show(interval)}
    return place | {"files": {}, "quality": {column: [] for column in DAYS}}


# -- reading --------------------------------------------------------------------------------------


def scan(
    *,
    venue: str,
    market: str,
    interval: timedelta,
    symbols: list[str] | None = None,
    start: Moment = None,
    end: Moment = None,
    root: Path | None = None,
) -> pl.LazyFrame:
    """Return stored bars as a lazy table, for more of them than memory holds.

    Parameters
    ----------
    venue, market, interval
        As they were written.
    symbols : list of str, optional
        All that are stored when not given.
    start, end : datetime, date or ISO text, optional
        Bars whose open time is in ``[start, end)``; a time without a zone is UTC.
    root : Path, optional
        The data folder; `atomic.data_root` when not given.

    Returns
    -------
    pl.LazyFrame
        `schema.BARS`, sorted by (symbol, time). Without rows where the span holds none.

    Raises
    ------
    UserError
        If nothing is stored there, a symbol is not, `end` is not after `start`, or a file is not
        byte for byte what was stored.
    """
    low, high = where.span(start, end)
    parts = [
        pl.scan_parquet([shelf.verified(month) for month in months], glob=False)
        for shelf, months in where.chosen(venue, market, interval, symbols, low, high, root)
        if months
    ]
    if not parts:
        return pl.LazyFrame(schema=BARS)
    bars = pl.concat(parts)
    bars = bars if low is None else bars.filter(pl.col("open_time") >= pl.lit(low, TIME))
    return bars if high is None else bars.filter(pl.col("open_time") < pl.lit(high, TIME))


@overload
def load(*, as_pandas: Literal[False] = False, **place: Any) -> pl.DataFrame: ...
@overload
def load(*, as_pandas: Literal[True], **place: Any) -> pd.DataFrame: ...
def load(*, as_pandas: bool = False, **place: Any) -> pl.DataFrame | pd.DataFrame:
    """Return stored bars.

    Parameters
    ----------
    as_pandas : bool
        Return a pandas frame indexed by time; see `schema.to_pandas`.
    **place
        venue, market, interval, symbols, start, end, root as in `scan`.

    Returns
    -------
    pl.DataFrame or pd.DataFrame, shape (n_bars, 12)
        `schema.BARS`, sorted by (symbol, time). Without rows where the span holds none.

    Raises
    ------
    UserError
        As `scan` does.
    """
    bars = scan(**place).collect()
    return to_pandas(bars) if as_pandas else bars


def sql(query: str, *, as_pandas: bool = False, root: Path | None = None) -> Any:
    """Ask all stored bars a question in SQL, through DuckDB.

    Parameters
    ----------
    query : str
        Reads from the view ``bars``: `schema.BARS` and text columns venue, market, interval.
        Without ORDER BY, rows come in any order.
    as_pandas : bool
        Return a pandas frame.
    root : Path, optional
        The data folder; `atomic.data_root` when not given.

    Returns
    -------
    pl.DataFrame or pd.DataFrame
        Times in UTC.

    Raises
    ------
    UserError
        If nothing is stored, a stored file is damaged, or DuckDB refuses the query.
    """
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET python_enable_replacements = false")
        connection.execute(f"CREATE VIEW bars AS {_union(root)}")
        try:
            kinds = [statement.type for statement in connection.extract_statements(query)]
            if kinds != [duckdb.StatementType.SELECT]:
                raise UserError("sql: expected one SELECT. Ask one question that returns a table.")
            answer = connection.sql(query).pl()
        except duckdb.Error as error:
            raise UserError(f"sql: {str(error).splitlines()[0]}") from error
    return answer.to_pandas() if as_pandas else answer


def _union(root: Path | None) -> str:
    shelves = [shelf for folder in where.folders(root) if (shelf := open_shelf(folder))]
    if not shelves:
        raise UserError("sql: no bars are stored yet. Fetch some with ./run download.")

    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    def one(shelf: Shelf) -> str:
        files = ", ".join(quoted(str(shelf.verified(month))) for month in shelf.months())
        words = (f"{quoted(shelf.card[w])} AS {w}" for w in ("venue", "market", "interval"))
        return f"SELECT *, {', '.join(words)} FROM read_parquet([{files}])"

    return " UNION ALL ".join(map(one, shelves))


def quality(
    *,
    venue: str,
    market: str,
    interval: timedelta,
    symbols: list[str] | None = None,
    start: Moment = None,
    end: Moment = None,
    root: Path | None = None,
) -> pl.DataFrame:
    """Return what was found wrong with stored bars, per symbol and UTC day.

    Parameters
    ----------
    venue, market, interval, symbols, start, end, root
        As in `scan`; days that `start` and `end` cut count in full.

    Returns
    -------
    pl.DataFrame, shape (n_days, 9)
        As `bars.clean` returns it, over all imports.
    """
    low, high = where.span(start, end)
    tables = [
        shelf.quality().select(pl.lit(shelf.symbol).alias("symbol"), pl.all())
        for shelf, _ in where.chosen(venue, market, interval, symbols, None, None, root)
    ]
    days = pl.concat(tables)
    days = days if low is None else days.filter(pl.col("day") >= low.date())
    last = None if high is None else (high - timedelta(microseconds=1)).date()
    return days if last is None else days.filter(pl.col("day") <= last)


def fingerprint(
    *,
    venue: str,
    market: str,
    interval: timedelta,
    symbols: list[str] | None = None,
    start: Moment = None,
    end: Moment = None,
    root: Path | None = None,
) -> str:
    """Hash what is stored, month by month, without reading it.

    Parameters
    ----------
    venue, market, interval, symbols, start, end, root
        As in `scan`; months that `start` and `end` cut count in full.

    Returns
    -------
    str
        SHA-256 in hex.
    """
    low, high = where.span(start, end)
    return _hash(where.chosen(venue, market, interval, symbols, low, high, root))


def _hash(chosen: Any) -> str:
    files = [
        (shelf.symbol, month, shelf.card["files"][month]["sha256"])
        for shelf, months in chosen
        for month in months
    ]
    return hashlib.sha256(repr(files).encode()).hexdigest()


def opened(
    symbol: str,
    month: str,
    *,
    venue: str,
    market: str,
    interval: timedelta,
    root: Path | None = None,
) -> set[int]:
    """Tell which bars of a month are stored already.

    Parameters
    ----------
    symbol, month : str
        Such as ``BTCUSDT`` and ``2025-05``.
    venue, market, interval, root
        As in `scan`.

    Returns
    -------
    set of int
        Open times in milliseconds since 1970; empty where nothing is stored.

    Raises
    ------
    UserError
        If the month's file is damaged.
    """
    shelf = open_shelf(where.folder(venue, market, symbol, interval, root))
    if shelf is None or month not in shelf.months() or not shelf.file(month).exists():
        return set()
    times = pl.read_parquet(shelf.verified(month), columns=["open_time"])["open_time"]
    return set(times.dt.epoch("ms").to_list())


# -- what is there --------------------------------------------------------------------------------


def mark_complete(
    *, venue: str, market: str, interval: timedelta, root: Path | None = None
) -> None:
    """Note that everything its source holds has been written here."""
    stored = where.shelves(venue, market, interval, root)
    listing = {shelf.symbol: shelf.months() for shelf in stored}
    atomic.write_json(_marker(venue, market, interval, root), listing)


def is_complete(*, venue: str, market: str, interval: timedelta, root: Path | None = None) -> bool:
    """Tell whether `mark_complete` was called and every file is still there."""
    if not _marker(venue, market, interval, root).exists():
        return False
    stored = where.shelves(venue, market, interval, root)
    return bool(stored) and all(shelf.is_whole() for shelf in stored)


def _marker(venue: str, market: str, interval: timedelta, root: Path | None) -> Path:
    folder = where.folder(venue, market, "_", interval, root)
    return folder.parent.parent / f"complete-{folder.name}.json"
