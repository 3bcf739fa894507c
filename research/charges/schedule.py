"""Funding at its real times: a stated rate every eight hours, or a venue's history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError, nearest
from research.study import ROOT, Study

LONGEST_PAUSE = timedelta(days=1)
FUNDING_EVERY = timedelta(hours=8)
HIGHEST_RATE = 0.1
HISTORY: dict[str, Any] = {"symbol": pl.String, "time": schema.TIME, "rate": pl.Float64}


class Schedule(NamedTuple):
    """The funding moments of every symbol, one symbol after the other.

    Attributes
    ----------
    first : np.ndarray of int64, shape (n_symbols + 1,)
        Symbol s owns the moments ``first[s]`` up to, but not with, ``first[s + 1]``.
    time : np.ndarray of int64, shape (n_moments,)
        Microseconds since 1970, rising within a symbol.
    rate : np.ndarray of float64, shape (n_moments,)
        Paid by a long, received by a short, as a fraction of the position's worth.
    """

    first: np.ndarray
    time: np.ndarray
    rate: np.ndarray


def funding(study: Study, symbols: list[str], start: datetime, end: datetime) -> Schedule:
    """Return each symbol's funding moments after `start`, up to and with `end`.

    Parameters
    ----------
    study : Study
        Its `costs.funding`, and `costs.funding_history`: a CSV or Parquet table of
        ``symbol, time, rate``, whose relative path counts from the project root.
    symbols : list of str
        In the order in which the desk numbers them.
    start, end : datetime
        Aware. A position can first be held after `start`.

    Returns
    -------
    Schedule
        Where a history is given, its moments; before its first and after its last one, and
        without a history, `costs.funding` at 00, 08 and 16 UTC. Moments at a rate of zero that
        no history names are left out.

    Raises
    ------
    UserError
        If the market is spot and funding is stated; if the history cannot be read, lacks a symbol,
        has a hole of more than a day, or holds times without a zone, disorder, or a rate that is
        unknown or beyond 10 %.
    """
    costs, history = study.costs, None
    if study.spot and (costs.funding or costs.funding_history):
        raise UserError(
            f"study {study.name}: a spot market pays no funding. Leave out costs.funding and "
            "costs.funding_history, or choose a futures market."
        )
    if costs.funding_history is not None:
        history = _history(costs.funding_history)
    parts = []
    for symbol in symbols:
        usual = _every_eight_hours(costs.funding, start, end)
        parts.append(usual if history is None else _known(history, symbol, usual, start, end))
    counts = [len(part) for part in parts]
    time, rate = np.concatenate(parts).T if parts else np.empty((2, 0))
    first = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    return Schedule(first.astype(np.int64), time.astype(np.int64), np.ascontiguousarray(rate))


def _micros(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def _every_eight_hours(rate: float, start: datetime, end: datetime) -> np.ndarray:
    """Pairs of moment and rate; microseconds of this age are exact as float64."""
    if rate == 0:
        return np.empty((0, 2))
    step = FUNDING_EVERY // timedelta(microseconds=1)
    time = np.arange(_micros(start) // step + 1, _micros(end) // step + 1) * step
    return np.column_stack([time, np.full(len(time), rate)])


def _known(
    history: pl.DataFrame, symbol: str, usual: np.ndarray, start: datetime, end: datetime
) -> np.ndarray:
    """The history's moments, and the usual ones outside its span."""
    mine = history.filter(symbol=symbol)
    if mine.is_empty():
        named = history["symbol"].unique().sort().to_list()
        raise UserError(
            f"costs.funding_history: no rate of {symbol!r}.{nearest(symbol, named)} "
            f"Symbols there: {', '.join(named)}. Add its rates, or leave it out of data.symbols."
        )
    before = pl.col("time").shift(1)
    long = pl.col("time") - before > LONGEST_PAUSE
    hole = mine.filter(long, before < end, pl.col("time") > start)
    if not hole.is_empty():
        raise UserError(
            f"costs.funding_history: nothing of {symbol} for more than a day before "
            f"{hole['time'][0]:%Y-%m-%d %H:%M}Z. Complete it: funding is due every day."
        )
    pairs = mine.select(pl.col("time").dt.epoch("us"), "rate").to_numpy()
    outside = (usual[:, 0] < pairs[0, 0]) | (usual[:, 0] > pairs[-1, 0])
    inside = (pairs[:, 0] > _micros(start)) & (pairs[:, 0] <= _micros(end))
    both = np.concatenate([usual[outside], pairs[inside]])
    return both[np.argsort(both[:, 0], kind="stable")]


def _history(path: str) -> pl.DataFrame:
    place = Path(path).expanduser()
    place = place if place.is_absolute() else ROOT / place
    name = f"funding history {place.name}"
    if not place.is_file():
        raise UserError(
            f"costs.funding_history: no file {path!r}. A relative path counts from the project."
        )
    try:
        read = pl.read_parquet if place.suffix == ".parquet" else _read_csv
        table = read(place)
    except pl.exceptions.PolarsError as error:
        line = str(error).splitlines()[0]
        raise UserError(f"{name}: cannot be read as a table: {line}.") from error
    return _valid_rates(schema.as_table(table, HISTORY, name), name)


def _read_csv(path: Path) -> pl.DataFrame:
    """Read a CSV whose times say their zone, as in ``2025-05-01T08:00:00Z``."""
    table = pl.read_csv(path, schema_overrides={"time": pl.String, "rate": pl.Float64})
    if "time" not in table.columns:
        return table  # the check of columns says what is missing
    zoned = table["time"].str.contains(r"(?i)(?:z|[+-]\d\d:?\d\d)$").fill_null(False)
    if not zoned.all():
        raise schema.TableError(
            f"funding history {path.name}: column 'time' has times without a time zone, first "
            f"{table['time'].filter(~zoned)[0]!r}. Write them as 2025-05-01T08:00:00Z."
        )
    plain = pl.col("time").str.replace(" ", "T").str.replace(r"(?i)z$", "+00:00")
    return table.with_columns(plain.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us"))


def _valid_rates(table: pl.DataFrame, name: str) -> pl.DataFrame:
    wrong = ~(table["rate"].abs() < HIGHEST_RATE).fill_null(False)
    if wrong.any():
        raise schema.TableError(
            f"{name}: a rate must be a fraction within 10 % (0.0001 is 1 bps), found "
            f"{table['rate'].filter(wrong)[0]} at {schema.at(table, wrong)}."
        )
    return table
