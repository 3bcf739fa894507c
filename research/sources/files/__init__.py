"""Bars from files somebody else wrote: Parquet, CSV, feather and the archives of exchanges.

Which column is which, the unit of a time stamp, whether there is a header and whose bars they are
is read from the files. Values are handed on as they stand; `bars.clean` judges them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl

from research.errors import UserError, nearest
from research.sources.files import content, names, places
from research.sources.files.places import ENDINGS, Sheet, fingerprint
from research.units import show

__all__ = ["ENDINGS", "fingerprint", "history", "interval"]

Progress = Callable[[int, int, str], None]


def history(
    path: str | Path,
    *,
    symbols: list[str] | None = None,
    interval: timedelta,
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Read every row of every file under `path`, in the order of the files.

    Parameters
    ----------
    path : str or Path
        A file, a folder (searched through all its levels) or a glob pattern. Known endings are
        `ENDINGS`; a zip holds CSV files, and where ``name.zip.CHECKSUM`` lies beside it, the
        zip's SHA-256 must be the one it says.
    symbols : list of str, optional
        Those to read; all when not given.
    interval : timedelta
        Length of a bar. Files whose names say another length are left out.
    progress : callable, optional
        Called as ``progress(done, total, file name)``.

    Returns
    -------
    pl.DataFrame, shape (n_rows, 12)
        `symbol`, `open_time` (UTC, microseconds), open, high, low, close, volume, quote_volume,
        trades, taker_buy_volume, taker_buy_quote_volume (null where the file lacks them), and
        `file`, the name each row came from. Nothing is sorted, dropped or repaired.

    Raises
    ------
    UserError
        If nothing is there, an ending is unknown, a file is damaged or lacks a column, or a
        symbol is not found; as `TableError` if a cell is no number or no time.

    Notes
    -----
    Time stamps may be seconds, milliseconds, microseconds or nanoseconds since 1970, told apart
    row by row by their size, or ISO text; a time without a zone is UTC, and means the open of the
    bar. Volumes keep the unit of the source, be it base or quote. A symbol comes from a column
    (``X:BTC-USD`` becomes BTCUSD) or from the file's name (``AVAXUSDT-1m-2026-02.zip``).

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "XBTUSDC_1.csv"
    >>> _ = path.write_text("1672531200,16535,16540,16522,16522.66,0.01,2\\n")
    >>> raw = history(path, interval=timedelta(minutes=1))
    >>> raw.select("symbol", "close", "trades", "file").row(0)
    ('XBTUSDC', 16522.66, 2, 'XBTUSDC_1.csv')
    """
    wanted = None if symbols is None else [names.symbol(s) for s in symbols]
    sheets = _of_interval(places.sheets(path), interval, path)
    parts: list[pl.DataFrame] = []
    seen: set[str] = set()
    for done, sheet in enumerate(sheets):
        if progress:
            progress(done, len(sheets), sheet.label)
        part = content.rows(sheet, wanted, seen)
        parts += [part] if part is not None else []
    if progress:
        progress(len(sheets), len(sheets), "read")
    for symbol in wanted or []:
        if symbol not in seen:
            here = sorted(seen)
            raise UserError(
                f"{path}: holds no {symbol}.{nearest(symbol, here)} Here: {', '.join(here[:20])}."
            )
    if not parts:
        raise UserError(f"{path}: no symbols asked for. Name some, or leave the list out.")
    return pl.concat(parts)


def _of_interval(sheets: list[Sheet], span: timedelta, path: str | Path) -> list[Sheet]:
    fitting = [sheet for sheet in sheets if sheet.interval in (None, span)]
    if not fitting:
        found = sorted({sheet.interval for sheet in sheets if sheet.interval})
        raise UserError(
            f"{path}: bars there are {', '.join(map(show, found))} long by the files' names, "
            f"asked for {show(span)}. Say the interval the files have."
        )
    return fitting


def interval(path: str | Path) -> timedelta:
    """Tell how long the bars under `path` are.

    Parameters
    ----------
    path : str or Path
        As for `history`.

    Returns
    -------
    timedelta
        The shortest length that names of files say, else the shortest step in the first file.

    Raises
    ------
    UserError
        As `history` does, or if neither names nor rows tell.
    """
    sheets = places.sheets(path)
    said = [sheet.interval for sheet in sheets if sheet.interval]
    if said:
        return min(said)
    rows = content.rows(sheets[0], None, set())
    shortest = None if rows is None else _shortest_step(rows)
    if shortest is None:
        raise UserError(f"{path}: cannot tell the length of a bar. Name files as BTCUSDT-1m.csv.")
    return shortest


def _shortest_step(rows: pl.DataFrame) -> timedelta | None:
    rows = rows.sort("symbol", "open_time")
    steps = rows["open_time"].diff().filter(rows["symbol"] == rows["symbol"].shift(1))
    return steps.filter(steps > timedelta(0)).min()  # type: ignore[return-value]
