"""Klines on the wire, as archive CSV and as REST JSON, to raw bars of one form."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator

import orjson
import polars as pl

from research import schema
from research.sources.binance.account import Difference
from research.sources.binance.net import Answer, Broken

RAW = {name: dtype for name, dtype in schema.BARS.items() if name != "time"}
VALUES = list(RAW)[2:]
# the venue's order; close_time and the last column ("ignore") are not kept
_WIRE = [
    "open_time", "open", "high", "low", "close", "volume", "close_time",
    "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume",
]  # fmt: skip
_TYPES = {n: pl.Int64 if n in ("open_time", "trades", "close_time") else pl.Float64 for n in _WIRE}
_FROM_MICROSECONDS = 10**14  # ms reach it in the year 5138, us had it in 1973
_LARGEST = 2 * 1024**3


def from_zip(content: bytes, symbol: str) -> pl.DataFrame:
    """Read one archive zip: header or none, ms or us, rows in the order of the file.

    Parameters
    ----------
    content : bytes
        The zip file, which holds one CSV of the venue's 12 kline columns.
    symbol : str
        Whose bars they are; the CSV does not say.

    Returns
    -------
    pl.DataFrame, columns of `schema.BARS` but `time`
        Quote volume is as the venue has it: in COIN-M files `volume` counts contracts and
        `quote_volume` base coin.

    Raises
    ------
    Broken
        If it is not a zip of one kline CSV.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if len(members) != 1 or members[0].file_size > _LARGEST:
                raise Broken(f"holds {len(members)} files or one too large, not one CSV")
            text = archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise Broken(f"not a readable zip ({error})") from error
    return _from_csv(text.removeprefix(b"\xef\xbb\xbf"), symbol)


def _from_csv(text: bytes, symbol: str) -> pl.DataFrame:
    header = not text[:1].isdigit()
    try:
        wire = pl.read_csv(
            io.BytesIO(text), has_header=False, skip_rows=int(header), infer_schema=False
        )
        table = wire.select(
            pl.nth(i).cast(dtype).alias(name) for i, (name, dtype) in enumerate(_TYPES.items())
        )
    except pl.exceptions.PolarsError as error:
        raise Broken(f"not a kline CSV ({str(error).splitlines()[0]})") from error
    return _raw(table, symbol)


def from_rest(answer: Answer, symbol: str) -> pl.DataFrame:
    """Read one REST answer: a list of rows of 12, numbers as text, oldest first.

    Raises
    ------
    Broken
        If it is not that.
    """
    try:
        rows = orjson.loads(answer.body)
        if not isinstance(rows, list):
            raise Broken(f"not a list of klines ({str(rows)[:80]})")
        columns = list(zip(*(row[: len(_WIRE)] for row in rows), strict=True)) or [()] * len(_WIRE)
        table = pl.DataFrame(
            {
                name: pl.Series(name, [_number(v, dtype) for v in values], dtype)
                for (name, dtype), values in zip(_TYPES.items(), columns, strict=True)
            }
        )
    except (ValueError, TypeError, KeyError, orjson.JSONDecodeError) as error:
        raise Broken(f"not a list of klines ({error})") from error
    return _raw(table, symbol)


def _number(value: object, dtype: object) -> float | int:
    return int(str(value)) if dtype == pl.Int64 else float(str(value))


def _raw(table: pl.DataFrame, symbol: str) -> pl.DataFrame:
    time = pl.col("open_time")
    micro = pl.when(time < _FROM_MICROSECONDS).then(time * 1000).otherwise(time)
    return table.select(
        pl.lit(symbol).alias("symbol"),
        micro.cast(pl.Datetime("us")).dt.replace_time_zone("UTC").alias("open_time"),
        *VALUES,
    )


def differences(archive: pl.DataFrame, rest: pl.DataFrame) -> tuple[int, list[Difference]]:
    """Compare the bars that both have: how many there are, and each value that differs."""
    both = archive.unique("open_time", keep="last").join(
        rest.unique("open_time", keep="last"), on="open_time", suffix="_rest"
    )
    return both.height, list(_differing(both.sort("open_time")))


def _differing(both: pl.DataFrame) -> Iterator[Difference]:
    for column in VALUES:
        bent = both.filter(pl.col(column).ne_missing(pl.col(f"{column}_rest")))
        for row in bent.iter_rows(named=True):
            yield Difference(
                row["symbol"], row["open_time"], column, row[column], row[f"{column}_rest"]
            )


def checksum(answer: Answer) -> str | None:
    """Return the SHA-256 a ``.CHECKSUM`` file states; None where there is no such file.

    >>> checksum(Answer(200, b"AB" * 32 + b"  X-1m-2024-05.zip", {}))[:6]
    'ababab'
    """
    if answer.status == 404:
        return None
    words = answer.body.split()
    if answer.status != 200 or not words or len(words[0]) != 64:
        raise Broken(f"status {answer.status}, not a checksum file")
    return words[0].decode("ascii", "replace").lower()


def sha256(content: bytes) -> str:
    """SHA-256 of `content` in hex."""
    return hashlib.sha256(content).hexdigest()
