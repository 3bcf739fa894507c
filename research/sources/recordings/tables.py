"""A recording as Parquet: one table per kind, and a page that says whose they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from research import schema
from research.errors import UserError
from research.schema import Recording

PAGE = "recording.json"
TABLES: dict[str, dict[str, Any]] = {
    "messages": schema.MESSAGES,
    "levels": schema.LEVELS,
    "quotes": schema.QUOTES,
    "trades": schema.TRADES,
    "gaps": schema.GAPS,
}


def is_stored(path: str | Path) -> bool:
    """Return whether `path` is a folder that `to_parquet` wrote."""
    return (Path(path).expanduser() / PAGE).is_file()


def load(folder: Path, symbols: list[str] | None = None) -> Recording:
    """Read what `to_parquet` wrote.

    Raises
    ------
    UserError
        If a table is missing, damaged or of other columns, or a symbol is not there.
    """
    folder = folder.expanduser()
    try:
        page = orjson.loads((folder / PAGE).read_bytes())
        whose = {key: page[key] for key in ("venue", "market", "lines", "bad")}
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(
            f"recording: {folder / PAGE} is damaged ({error}). Write it anew."
        ) from error
    made: dict[str, Any] = {name: _table(folder, name, TABLES[name]) for name in TABLES}
    recording = Recording(**whose, **made)
    return recording if symbols is None else chosen(recording, symbols)


def _table(folder: Path, name: str, columns: dict[str, Any]) -> pl.DataFrame:
    file = folder / f"{name}.parquet"
    try:
        table = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"recording: {file} cannot be read. Write the folder anew.") from error
    if dict(table.schema) != columns:
        raise UserError(f"recording: {file} must have the columns {', '.join(columns)}.")
    return table


def chosen(recording: Recording, symbols: list[str]) -> Recording:
    """Keep the rows of some symbols.

    Raises
    ------
    UserError
        If one of them is not there.
    """
    keyed = ("messages", "quotes", "trades")
    here = {s for name in keyed for s in getattr(recording, name)["symbol"].unique()}
    absent = sorted(set(symbols) - here)
    if absent:
        raise no_symbol(absent[0], here)
    ours = pl.col("symbol").is_in(symbols)
    kept = {name: getattr(recording, name).filter(ours) for name in keyed}
    # a gap of the whole recorder names no symbol
    kept["gaps"] = recording.gaps.filter(pl.col("symbol").is_null() | ours)
    of = kept["messages"].select("message")
    levels = recording.levels.join(of, on="message", how="semi", maintain_order="left")
    return recording._replace(**kept, levels=levels)


def no_symbol(symbol: str, here: set[str] | list[str]) -> UserError:
    """Say that a symbol is not in a recording."""
    known = ", ".join(sorted(here)) or "none"
    return UserError(f"recording: symbol {symbol} is not in it. Symbols here: {known}.")


def store(recording: Recording, folder: Path) -> Path:
    """Write all tables beside their place, then move them there at once; see `to_parquet`."""
    folder = folder.expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"recording: {folder} is there already. Name a new folder.")
    part = folder.with_name(folder.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for name in TABLES:
            getattr(recording, name).write_parquet(part / f"{name}.parquet", compression="zstd")
        page = {key: getattr(recording, key) for key in ("venue", "market", "lines", "bad")}
        (part / PAGE).write_bytes(orjson.dumps(page, option=orjson.OPT_INDENT_2) + b"\n")
        _flush(part)
        if folder.exists():
            folder.rmdir()
        part.replace(folder)
    except (OSError, pl.exceptions.PolarsError) as error:
        why = getattr(error, "strerror", None) or error
        raise UserError(f"recording: {folder} cannot be written: {why}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _flush(folder: Path) -> None:
    """Have the disk hold every file before their folder gets its name."""
    for file in folder.iterdir():
        handle = os.open(file, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
