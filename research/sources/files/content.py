"""What is in a file: its header, its columns under our names, its cells as numbers and times."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import cast

import polars as pl

from research.errors import UserError
from research.schema import BARS, TIME, TableError
from research.sources.files import names
from research.sources.files.places import FEATHER, PARQUET, Sheet, reading

RAW = {column: dtype for column, dtype in BARS.items() if column != "time"}


def rows(sheet: Sheet, wanted: list[str] | None, seen: set[str]) -> pl.DataFrame | None:
    """Read one sheet; None when it is known to hold nothing that is wanted."""
    header = _header(sheet)
    columns = names.columns(header.columns, sheet.label)
    if "symbol" not in columns:
        if sheet.symbol is None:
            raise UserError(
                f"{sheet.label}: whose bars are these? It has no symbol column. "
                "Add one, or name the file as BTCUSDT-1m-2026-02.csv or BTCUSDT.parquet."
            )
        seen.add(sheet.symbol)
        if wanted is not None and sheet.symbol not in wanted:
            return None
    table = _read(sheet, header, columns)
    if "symbol" in columns:
        table = table.with_columns(names.symbols(table["symbol"]))
        seen.update(table["symbol"].unique().to_list())
        table = table if wanted is None else table.filter(pl.col("symbol").is_in(wanted))
    else:
        table = table.with_columns(symbol=pl.lit(sheet.symbol))
    return _typed(table, sheet.label)


@dataclass(frozen=True)
class _Header:
    columns: list[str]
    is_written: bool = True
    separator: str = ","


def _header(sheet: Sheet) -> _Header:
    """Name the columns; from their number where a CSV has no header line."""
    with reading(sheet.label):
        if sheet.ending in PARQUET:
            return _Header(list(pl.read_parquet_schema(sheet.file)))
        if sheet.ending in FEATHER:
            return _Header(_feather(sheet).columns)
        with sheet.opened() as text:
            line = text.readline().decode("utf-8-sig").strip()
    separator = max(",;\t", key=line.count)
    cells = [cell.strip().strip('"') for cell in line.split(separator)]
    if not all(map(names.is_number, cells[1:])):
        return _Header(cells, True, separator)
    if len(cells) not in names.BY_COUNT:
        counts = ", ".join(map(str, names.BY_COUNT))
        raise UserError(
            f"{sheet.label}: no header, and {len(cells)} columns say nothing. "
            f"Known without a header: {counts} columns. Add a header line."
        )
    return _Header(list(names.BY_COUNT[len(cells)]), False, separator)


def _read(sheet: Sheet, header: _Header, columns: dict[str, str]) -> pl.DataFrame:
    """Read the columns we know, under the names of the house."""
    with reading(sheet.label):
        if sheet.ending in (*PARQUET, *FEATHER):
            theirs = list(columns.values())
            table = (
                _feather(sheet).select(theirs)
                if sheet.ending in FEATHER
                else pl.read_parquet(io.BytesIO(sheet.file.read_bytes()), columns=theirs)
            )
            return table.rename({theirs: ours for ours, theirs in columns.items()})
        with sheet.opened() as text:
            content = io.BytesIO(text.read())
    return _parsed(content, sheet.label, header, columns)


def _feather(sheet: Sheet) -> pl.DataFrame:
    import pyarrow
    from pyarrow import feather

    # polars panics on some damaged feather files, where Arrow's own reader raises
    try:
        table = feather.read_table(io.BytesIO(sheet.file.read_bytes()))
    except pyarrow.ArrowException as error:
        raise OSError(str(error)) from error
    return cast(pl.DataFrame, pl.from_arrow(table))


def _parsed(
    content: io.BytesIO, label: str, header: _Header, columns: dict[str, str]
) -> pl.DataFrame:
    # the names are ours from the start, so that a header may repeat or leave out a name
    ours = {header.columns.index(theirs): name for name, theirs in columns.items()}
    every = [ours.get(i, f"_{i}") for i in range(len(header.columns))]
    texts = {"symbol", "open_time"}

    def read(numbers: pl.DataType | type[pl.DataType]) -> pl.DataFrame:
        types = [numbers if c in ours.values() and c not in texts else pl.String for c in every]
        table = pl.read_csv(
            content,
            has_header=False,
            skip_rows=int(header.is_written),
            schema=dict(zip(every, types)),
            separator=header.separator,
        ).select(list(columns))
        # an empty line is no row
        return table.filter(~pl.all_horizontal(pl.all().is_null()))

    try:
        return read(pl.Float64)
    except pl.exceptions.PolarsError as error:
        content.seek(0)
        with reading(label):
            table = read(pl.String)
        _blame(table, label)
        raise UserError(f"{label}: cannot be read ({str(error).splitlines()[0]}).") from error


def _blame(table: pl.DataFrame, label: str) -> None:
    """Name the first cell that is no number."""
    for column in (c for c in table.columns if c not in ("symbol", "open_time")):
        cells = table[column].str.strip_chars()
        bad = cells.is_not_null() & cells.cast(pl.Float64, strict=False).is_null()
        if bad.any():
            raise _no_number(table.filter(bad).row(0, named=True), column, label)


def _no_number(row: dict[str, object], column: str, label: str) -> TableError:
    whose = f"{row['symbol']} " if row.get("symbol") else ""
    return TableError(
        f"{label}: {whose}{row['open_time']}: column {column!r} holds {row[column]!r}, "
        "which is no number. Mend the file or leave it out."
    )


def _typed(table: pl.DataFrame, label: str) -> pl.DataFrame:
    times = names.times(table["open_time"])
    if times.null_count():
        value = table["open_time"].filter(times.is_null())[0]
        raise TableError(
            f"{label}: {times.null_count()} rows have no time that can be read, first {value!r}. "
            "Known: s, ms, us or ns since 1970, and text as 2024-05-01 12:30:00."
        )
    table = table.with_columns(times.alias("open_time").cast(TIME))
    numbers = [c for c in RAW if c in table.columns and c not in ("symbol", "open_time")]
    for column in numbers:
        cast = table[column].cast(RAW[column], strict=False)
        lost = cast.is_null() & table[column].is_not_null()
        if RAW[column] == pl.Int64 and table[column].dtype.is_float():
            lost = lost & table[column].is_not_nan() | (cast != table[column]).fill_null(False)
        if lost.any():
            raise _no_number(table.filter(lost).row(0, named=True), column, label)
        table = table.with_columns(cast)
    missing = [pl.lit(None, RAW[c]).alias(c) for c in RAW if c not in table.columns]
    file = pl.lit(label).cast(pl.Categorical).alias("file")
    return table.with_columns(*missing, file).select(*RAW, "file")
