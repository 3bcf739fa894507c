"""A recorded run played again by the batch path: what was known before it, its models, its desk."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import models, schema, training
from research.errors import UserError
from research.live import desk, journal
from research.live.moments import Levels
from research.trading import loop
from research.trading.journal import Bars, Journal, new_journal, part
from research.trading.rules import REASONS

LAID = ("forecast", "told", "bin", "sigma", "half_spread", "impact", "model")
"""What stands beside the bars."""
Controls = list[tuple[int, str, dict[str, Any]]]
"""What came between bars: the moment before which it did, and an event's kind and body."""
BARS, FORECASTS = "history.parquet", "history_forecasts.parquet"


class History(NamedTuple):
    """What was known before the first live bar."""

    bars: pl.DataFrame
    forecasts: pl.DataFrame


def history(folder: Path) -> History:
    """Read what the run in `folder` began with."""
    try:
        return History(*(pl.read_parquet(folder / name) for name in (BARS, FORECASTS)))
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(f"run {folder.name}: cannot read {folder / BARS}: {error}.") from error


def micro(span: timedelta) -> int:
    """Return a span in microseconds."""
    return span // timedelta(microseconds=1)


def registry(folder: Path) -> models.Registry:
    """Return the registry of a run: every model that was in force in it, and the newest others."""
    return models.Registry(folder / "models", own_folder=training.OWN)


def way_back(folder: Path) -> list[str]:
    """Return the models that rollbacks of a run would bring back, the first one last.

    Raises
    ------
    UserError
        If there is none.
    """
    found: list[str] = []
    for event in journal.read(folder, kinds=("swap", "rollback")):
        if event.kind == "rollback":
            found = found[:-1]
        elif event.body["was"] is not None:
            found.append(event.body["was"])
    kept = [name for name in found if (folder / "models" / name).is_dir()]
    if not kept:
        raise UserError(
            f"run {folder.name}: there is no earlier model to go back to. It trades with the only "
            "one that has been in force, or those before are not kept any more."
        )
    return kept


def trade(
    played: pl.DataFrame,
    laid: pl.DataFrame,
    controls: Controls,
    start: dict[str, Any],
    books: dict[tuple[str, int], Levels],
) -> tuple[pl.DataFrame, pl.DataFrame, list[dict[str, Any]]]:
    """Let the compiled desk trade `played`; return its reasons, its equity and its trades.

    Parameters
    ----------
    played : pl.DataFrame
        `schema.BARS`.
    laid : pl.DataFrame
        Beside them ``told, bin, sigma, half_spread, impact`` and ``forecast``.
    controls : list of (int, str, dict)
        ``control`` events of persons and guards, what a venue made of orders, and the moment before
        which each came.
    start : dict
        The run's first event: its symbols, and the rules, costs and funding it began with.
    books : dict
        The recorded book by symbol and close in microseconds, where fills walk books.
    """
    symbols, made = start["symbols"], desk.Desk.made_with(start["desk"])
    table = pl.concat([played, laid.drop(schema.KEY)], how="horizontal").sort("time", "symbol")
    bars = _columns(table, symbols)
    if made.rules.walks:
        keys = zip(table["symbol"], bars.time.tolist())
        bars = bars._replace(levels=desk.books([books.get(key) for key in keys]))
    n_times = int(np.count_nonzero(np.diff(bars.time, prepend=-1)))
    written = new_journal(len(bars.time), n_times, len(symbols) * made.rules.overlap)
    ended = _play(bars, made, written, controls)
    reasons = pl.Series("reason", np.array(REASONS)[written.reason], dtype=pl.String)
    rows = table.select(*schema.KEY, *LAID).with_columns(
        reasons, position=pl.Series(written.position)
    )
    moments = table.select("time").unique(maintain_order=True)
    equity = moments.select(symbol=pl.lit(""), time="time", equity=pl.Series(written.equity))
    return rows.sort(schema.KEY), equity, ended


def _columns(table: pl.DataFrame, symbols: list[str]) -> Bars:
    numbers = {name: number for number, name in enumerate(symbols)}
    code = table["symbol"].replace_strict(numbers, return_dtype=pl.Int64).to_numpy()
    times = (table[name].dt.epoch("us").to_numpy() for name in ("time", "open_time"))
    prices = (table[name].to_numpy() for name in ("open", "high", "low", "close", "volume"))
    told, sigma = (table[n].fill_null(float("nan")).to_numpy() for n in ("told", "sigma"))
    bins = table["bin"].fill_null(0).to_numpy()
    paid = (table[name].to_numpy() for name in ("half_spread", "impact"))
    columns = (*times, code, *prices, told, bins, sigma, *paid)
    return Bars(*(np.ascontiguousarray(column) for column in columns))


def _play(
    bars: Bars, made: desk.Desk, written: Journal, controls: Controls
) -> list[dict[str, Any]]:
    """Scan stretch by stretch: at the end of each, somebody asks for a state, or a venue fills."""
    stops = [int(np.searchsorted(bars.time, when, side="left")) for when, _, _ in controls]
    start = t = 0
    ended: list[dict[str, Any]] = []
    for stop, event in zip([*stops, len(bars.time)], [*controls, None]):
        while start < stop:
            upto = loop.end_of(bars.time, start) if made.dry_run or made.live else stop
            start, t, count, _ = made.scanned(part(bars, slice(upto)), written, start, t)
            ended += [made.trade(row) for row in written.trades[:count]]
        if event is not None:
            ended += _asked(made, *event[1:])
    return ended


def _asked(made: desk.Desk, kind: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Do what came between two bars, and return the round trip that it ended, if it did."""
    if kind == "control":
        made.obey(body)
        return []
    trade = made.take(kind, body)
    return [] if trade is None else [trade]
