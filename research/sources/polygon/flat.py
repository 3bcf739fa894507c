"""Flat files: where a day's file is, what is in it, and files that lie on disk already."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import date
from itertools import groupby
from pathlib import Path

import polars as pl

from research.errors import UserError, nearest
from research.schema import TIME
from research.sources.binance.net import Broken

FOLDER = "global_crypto/minute_aggs_v1"
Progress = Callable[[int, int, str], None]

_NUMBERS = ("volume", "open", "close", "high", "low", "window_start", "transactions")
_TYPES = {"ticker": pl.String, **dict.fromkeys(_NUMBERS, pl.Float64), "window_start": pl.Int64}
_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\.csv(\.gz)?")


def symbol(text: str) -> str:
    """Write a ticker as we name it: what it says without the prefix of its class.

    Parameters
    ----------
    text : str
        ``X:BTC-USD`` as in the files, or ``BTC-USD``; small letters are taken too.

    Returns
    -------
    str
        Base and quote stay apart, for ``X:AR-BUSD`` and ``X:ARB-USD`` are two markets.

    Examples
    --------
    >>> symbol("X:BTC-USD"), symbol("btc-usd")
    ('BTC-USD', 'BTC-USD')
    """
    return text.strip().upper().removeprefix("X:")


def key(day: date) -> str:
    """Name a day's file in the store.

    >>> key(date(2026, 2, 6))
    'global_crypto/minute_aggs_v1/2026/02/2026-02-06.csv.gz'
    """
    return f"{FOLDER}/{day:%Y/%m}/{day}.csv.gz"


def day_of(name: str) -> date | None:
    """Return the day that a file's name or key says; None where it is no day's file.

    >>> day_of("a/2026-02-06.csv.gz"), day_of("a/README.csv")
    (datetime.date(2026, 2, 6), None)
    """
    found = _NAME.fullmatch(name.rsplit("/", 1)[-1])
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def rows(content: bytes, label: str) -> pl.DataFrame:
    """Read one file, every row of it, in its order.

    Parameters
    ----------
    content : bytes
        The file; gzip or plain CSV with a header.
    label : str
        Its name, for the column `file`.

    Returns
    -------
    pl.DataFrame, shape (n_rows, 9)
        symbol, open_time (UTC), open, high, low, close, volume, trades, file. The files tell no
        quote volume and no takers.

    Raises
    ------
    Broken
        If the gzip is cut or garbled, or inside is no table of minute bars.
    """
    try:
        text = gzip.decompress(content) if label.endswith(".gz") else content
    except (OSError, EOFError, zlib.error) as error:
        raise Broken(f"not a whole gzip file ({error})") from error
    header = text[: text.find(b"\n")].decode("utf-8", "replace").strip().split(",")
    if missing := [name for name in _TYPES if name not in header]:
        raise Broken(f"not minute bars: no column {missing[0]!r} among {', '.join(header)[:80]}")
    try:
        table = pl.read_csv(io.BytesIO(text), columns=list(_TYPES), schema_overrides=_TYPES)
        return table.select(
            pl.col("ticker").str.to_uppercase().str.strip_prefix("X:").alias("symbol"),
            (pl.col("window_start") // 1000).cast(TIME).alias("open_time"),
            *("open", "high", "low", "close", "volume"),
            pl.col("transactions").cast(pl.Int64).alias("trades"),
            pl.lit(label).cast(pl.Categorical).alias("file"),
        )
    except pl.exceptions.PolarsError as error:
        raise Broken(f"not minute bars ({str(error).splitlines()[0]})") from error


def check_known(wanted: list[str], tables: list[pl.DataFrame], days: list[date]) -> None:
    """Refuse a symbol that neither end of the span knows, before any more is read for it."""
    here = sorted({name for table in tables for name in table["symbol"].unique() if name})
    for name in wanted:
        if name not in here:
            ends = " and ".join(str(day) for day in sorted(set(days)))
            raise UserError(
                f"polygon: no {name} in the files of {ends}.{nearest(name, here)} "
                f"{len(here)} symbols are there: {', '.join(here[:8])}, ... "
                "Write it as X:BTC-USD or BTC-USD, or name a span in which it was traded."
            )


def read(
    path: str | Path, *, symbols: list[str] | None = None, progress: Progress | None = None
) -> Iterator[pl.DataFrame]:
    """Read flat files that lie on disk, one calendar month at a time.

    Parameters
    ----------
    path : str or Path
        A day's file, or a folder that holds such files on any level. Where it has a folder
        ``minute_aggs_v1``, only what is in it is read: trades and day bars are no minutes.
    symbols : list of str, optional
        Those to read, as ``X:BTC-USD`` or ``BTC-USD``; all when not given.
    progress : callable, optional
        Called as ``progress(done, total, file name)``.

    Yields
    ------
    pl.DataFrame, shape (n_rows, 9)
        As `rows`. Nothing is sorted, dropped or repaired.

    Raises
    ------
    UserError
        If there is no such file, one is damaged, or a symbol is in neither the first nor the
        last of them.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "2026-02-06.csv"
    >>> head = "ticker,volume,open,close,high,low,window_start,transactions"
    >>> _ = path.write_text(head + "\\nX:BTC-USD,0.5,65000,65010,65020,64990,1770336000000000000,7")
    >>> next(read(path)).select("symbol", "close", "trades").row(0)
    ('BTC-USD', 65010.0, 7)
    """
    files = _files(Path(path).expanduser())
    wanted = None if symbols is None else list(dict.fromkeys(map(symbol, symbols)))
    if wanted:
        ends = [files[0], files[-1]]
        check_known(wanted, [_read(file) for _, file in ends], [day for day, _ in ends])
    done = 0
    for _, month in groupby(files, key=lambda found: (found[0].year, found[0].month)):
        parts = []
        for _, file in month:
            table = _read(file)
            parts.append(table if wanted is None else table.filter(pl.col("symbol").is_in(wanted)))
            done += 1
            if progress:
                progress(done, len(files), file.name)
        yield pl.concat(parts)


def fingerprint(path: str | Path) -> str:
    """Hash the names and bytes of the files that `read` reads.

    Parameters
    ----------
    path : str or Path
        As for `read`.

    Returns
    -------
    str
        SHA-256 in hex. The same days in another folder have the same one.

    Raises
    ------
    UserError
        If there is no such file.
    """
    total = hashlib.sha256()
    for _, file in _files(Path(path).expanduser()):
        with file.open("rb") as content:
            found = hashlib.file_digest(content, "sha256").hexdigest()
        total.update(f"{file.name}\0{found}\n".encode())
    return total.hexdigest()


def _read(file: Path) -> pl.DataFrame:
    try:
        return rows(file.read_bytes(), file.name)
    except (Broken, OSError) as error:
        raise UserError(
            f"{file.name}: cannot be read ({error}). Fetch the file again, or leave it out."
        ) from error


def _files(path: Path) -> list[tuple[date, Path]]:
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder. Check data.path.")
    inside = [path] if path.is_file() else sorted(path.rglob("*.csv*"))
    found = [(day, file) for file in inside if (day := day_of(file.name)) and file.is_file()]
    minutes = [(day, file) for day, file in found if "minute_aggs_v1" in file.parts]
    if not found:
        raise UserError(
            f"{path}: no flat files there. Known are days such as 2026-02-06.csv.gz, one a day."
        )
    return sorted(minutes or found)
