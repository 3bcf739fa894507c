"""Proof that a run did what the notebook would have done: its record, replayed by the batch path.

First the bars, models and controls are replayed *as recorded*: features of the whole history at
once, forecasts of all rows at once, cut-points by `signals.assign`, the desk's compiled scan. Every
bar's decision, reason and equity must come out the same; what does not is unexplained (or of
another version or configuration, and said so). Then the same market is replayed *as it should have
been*: bars in their last version, none late, none withheld. Where that decides otherwise, the cause
stands in the journal: `late`, `revision` or `gap`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import charges, models, pipeline, schema, signals, tape
from research import features as feature_room
from research.errors import UserError
from research.live import journal, parts, replay, state
from research.live.desk import VENUE
from research.live.forecaster import reach
from research.live.moments import Bar, Levels
from research.live.rows import at, table
from research.study import Study

SEEN = ("reason", "position", *replay.LAID)
SHOWN = 20


@dataclass(frozen=True)
class Parity:
    """What was compared, and every difference with its cause.

    Attributes
    ----------
    bars, decisions : int
        Closes that were acted on, and decisions at them: one for each symbol that had a bar.
    differences : pl.DataFrame
        ``time, symbol, what, live, research, cause``; `cause` is ``late``, ``revision``, ``gap``,
        ``version``, ``config`` or ``unexplained``.
    """

    run: str
    bars: int
    decisions: int
    differences: pl.DataFrame
    trades_disagree: int | None = None
    """Klines that were not what their trades made, as noted; None: they were not compared."""
    trades_missing: int | None = None
    """Trade ids that a stream left out, likewise."""

    @property
    def unexplained(self) -> int:
        """Differences that nothing in the journal accounts for."""
        return self.differences.filter(pl.col("cause") == "unexplained").height

    def to_dict(self) -> dict[str, Any]:
        """Counts, causes and the first differences, as JSON takes them."""
        counted = self.differences.group_by("cause").len().sort("cause")
        first = self.differences.head(SHOWN).with_columns(pl.col("time").cast(pl.String))
        return {
            "run": self.run,
            "bars": self.bars,
            "decisions": self.decisions,
            "differences": self.differences.height,
            "unexplained": self.unexplained,
            "causes": dict(counted.iter_rows()),
            "trades_disagree": self.trades_disagree,
            "trades_missing": self.trades_missing,
            "first": first.to_dicts(),
        }

    def text(self) -> str:
        """Say it in a few lines."""
        found = self.to_dict()
        causes = ", ".join(f"{count} {cause}" for cause, count in found["causes"].items())
        lines = [
            f"run {self.run}: {self.bars:,} bars, {self.decisions:,} decisions replayed",
            f"differences: {self.differences.height:,}" + (f" ({causes})" if causes else ""),
            f"unexplained: {self.unexplained:,}",
        ]
        if self.trades_disagree is not None:
            missing = f"{self.trades_missing:,} trade ids missing on the streams"
            lines.append(f"against their trades: {self.trades_disagree:,} disagree, {missing}")
        return "\n".join([*lines, *(str(row) for row in found["first"][:5])])

    def _repr_html_(self) -> str:
        shown = self.differences.head(SHOWN)._repr_html_() if self.differences.height else ""
        return f"<pre>{escape(self.text().split(chr(10) + '{')[0])}</pre>{shown}"


class _Record(NamedTuple):
    """What a journal holds of a run."""

    study: Study
    start: dict[str, Any]
    rows: pl.DataFrame
    moments: pl.DataFrame
    trades: list[dict[str, Any]]
    closes: pl.DataFrame
    controls: replay.Controls
    swaps: list[tuple[int, str]]
    revisions: list[dict[str, Any]]
    books: dict[tuple[str, int], Levels]
    disagree: int | None
    missing: int | None


class _Found(NamedTuple):
    """What the batch path makes of a record."""

    rows: pl.DataFrame
    equity: pl.DataFrame
    trades: list[dict[str, Any]]


def check(folder: Path) -> Parity:
    """Replay the run in `folder` and account for every difference.

    Raises
    ------
    UserError
        If the journal is damaged, holds no decision yet, or a model that was in force is gone.
    """
    record = _read(folder)
    history = replay.history(folder)
    as_recorded = _research(folder, record, history, record.rows, late=True)
    cause = _own_cause(record)
    found = [
        _different(record.rows, as_recorded.rows, SEEN, cause),
        _different(record.moments, as_recorded.equity, ("equity",), cause),
        _trades_that_differ(record.trades, as_recorded.trades, cause),
        _absent(record),
    ]
    mended, causes = _as_it_should_have_been(record)
    if causes:
        ideal = _research(folder, record, history, mended, late=False)
        found.append(_explained(as_recorded.rows, ideal.rows, causes))
    counts = (record.moments.height, record.rows.height)
    checks = (record.disagree, record.missing)
    return Parity(folder.name, *counts, pl.concat(found), *checks)


def _read(folder: Path) -> _Record:
    events = journal.read(folder)
    starts = [e.body for e in events if e.kind == "start"]
    decided = [e.body for e in events if e.kind == "moment" and e.body["rows"]]
    if not decided:
        raise UserError(f"parity: run {folder.name} holds no decision yet.")
    rows = [
        {"time": body["time"], "late": body["late"], **row}
        for body in decided
        for row in body["rows"]
    ]
    shown = {
        (row["symbol"], row["time"]): state.shown({"levels": row.pop("levels", None)})
        for row in rows
    }
    return _Record(
        study=Study.model_validate(starts[0]["study"]),
        start=starts[0],
        rows=_timed(pl.DataFrame(rows, infer_schema_length=None)),
        moments=_timed(
            pl.DataFrame({"time": [b["time"] for b in decided], "symbol": ""}).with_columns(
                equity=pl.Series([b["equity"] for b in decided], dtype=pl.Float64)
            )
        ),
        trades=[trade for body in decided for trade in body["trades"]],
        closes=_closes(events, starts[0]),
        controls=_controls(events),
        swaps=[
            (event.body["at"], event.body["model"])
            for event in events
            if event.kind in ("swap", "rollback")
        ],
        revisions=_notes(events, "revision"),
        books={key: levels for key, levels in shown.items() if levels is not None},
        **_checks(events, starts[0]),
    )


def _notes(events: list[journal.Event], kind: str) -> list[dict[str, Any]]:
    return [e.body for e in events if e.kind == "note" and e.body.get("kind") == kind]


def _checks(events: list[journal.Event], start: dict[str, Any]) -> dict[str, int | None]:
    """Count what was noted of bars and their trades, where they were compared."""
    if not start["study"]["live"].get("check_trades"):
        return {"disagree": None, "missing": None}
    lost = [note["last"] - note["first"] + 1 for note in _notes(events, "trades_missing")]
    return {"disagree": len(_notes(events, "trades_disagree")), "missing": sum(lost)}


def _closes(events: list[journal.Event], start: dict[str, Any]) -> pl.DataFrame:
    """Every close of the run and symbol, but those that the venue had no bar for."""
    interval = replay.micro(Study.model_validate(start["study"]).data.interval)
    last = max(event.time for event in events if event.kind in ("moment", "stop"))
    times = np.arange(start["time"] + interval, last + 1, interval)
    gaps = _notes(events, "gap")
    every = pl.DataFrame({"time": times}).join(
        pl.DataFrame({"symbol": start["symbols"]}), how="cross"
    )
    none = pl.DataFrame(
        {"time": [b["close"] for b in gaps], "symbol": [b["symbol"] for b in gaps]},
        schema={"time": pl.Int64, "symbol": pl.String},
    )
    return _timed(every.join(none, on=["time", "symbol"], how="anti"))


def _absent(record: _Record) -> pl.DataFrame:
    """List the closes that nothing was recorded of, and nothing says why."""
    lost = record.closes.join(record.rows, on=schema.KEY, how="anti")
    return lost.select(
        "time",
        "symbol",
        what=pl.lit("bar"),
        live=pl.lit(None, pl.String),
        research=pl.lit("expected"),
        cause=pl.lit("unexplained"),
    )


def _trades_that_differ(
    live: list[dict[str, Any]], made: list[dict[str, Any]], cause: str
) -> pl.DataFrame:
    """List the round trips that are not, number for number, those of the other side."""
    pairs = list(zip_longest(live, made))
    rows = [
        {
            "time": at((one or other or {})["exit_time"]),
            "symbol": (one or other or {})["symbol"],
            "what": "trade",
            "live": str(one),
            "research": str(other),
            "cause": cause,
        }
        for one, other in pairs
        if one != other
    ]
    return pl.DataFrame(rows, schema=_DIFFERENT)


def _controls(events: list[journal.Event]) -> replay.Controls:
    """What persons, guards and a venue did, and the moment before which they did it."""
    found: replay.Controls = []
    waiting: list[tuple[str, dict[str, Any]]] = []
    for event in events:
        asked = event.kind == "control" and event.body["by"] != "risk"
        if asked or event.kind in VENUE:
            waiting.append((event.kind, event.body))
        elif event.kind == "moment":
            found += [(event.body["time"], *said) for said in waiting]
            waiting = []
    return found


def _timed(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(pl.col("time").cast(schema.TIME)).sort("symbol", "time")


def _bars(rows: pl.DataFrame, interval: int) -> pl.DataFrame:
    names = Bar._fields[:11]
    return table((Bar(*row) for row in rows.select(names).iter_rows()), interval)


def _research(
    folder: Path, record: _Record, history: replay.History, rows: pl.DataFrame, *, late: bool
) -> _Found:
    """Take the way of the notebooks: whole tables at once, from bars to what the desk did."""
    study = record.study
    interval = study.data.interval
    played = _bars(rows, replay.micro(interval))
    first = pl.col("time") >= pl.lit(played["time"].min())
    begun = at(played["open_time"].dt.epoch("us").min())  # type: ignore[arg-type]
    near = pl.col("open_time") >= begun - reach(study) - timedelta(days=1)
    bars = pl.concat([history.bars.filter(near), played]).sort(schema.KEY)
    features = feature_room.build(bars, pipeline.feature_set(study), interval=interval)
    forecasts = _forecasts(folder, record, features.filter(first))
    told = _told(study, history.forecasts, forecasts)
    sigma = features.select(*schema.KEY, "sigma")
    laid = (
        played.select(schema.KEY)
        .join(told, on=schema.KEY, how="left", maintain_order="left")
        .join(sigma, on=schema.KEY, how="left", maintain_order="left")
        .join(charges.columns(study, bars), on=schema.KEY, how="left", maintain_order="left")
        .with_columns(pl.col("bin").fill_null(0))
    )
    if late:
        lateness = rows.select(*schema.KEY, "late")
        laid = laid.join(lateness, on=schema.KEY, how="left", maintain_order="left").with_columns(
            told=pl.when("late").then(None).otherwise("told"),
            bin=pl.when("late").then(0).otherwise("bin"),
        )
    return _Found(*replay.trade(played, laid, record.controls, record.start, record.books))


def _forecasts(folder: Path, record: _Record, features: pl.DataFrame) -> pl.DataFrame:
    """Forecast every row by the model that was in force, all rows of a model at once."""
    ends = [when for when, _ in record.swaps[1:]] + [None]
    parts = []
    for (since, name), until in zip(record.swaps, ends):
        rows = features.filter(
            pl.col("time") >= pl.lit(at(since)),
            pl.col("time") < pl.lit(at(until)) if until else True,
        )
        found = replay.registry(folder).read(name)
        parts.append(models.forecast_table(found, rows))
    return pl.concat(parts, how="diagonal").sort(schema.KEY)


def _told(study: Study, before: pl.DataFrame, made: pl.DataFrame) -> pl.DataFrame:
    """What the rule is told of each row, and its bin among all forecasts so far."""
    told = made.select(*schema.KEY, "forecast", "model", told=tape.told(study, made))
    if study.backtest.rule != "quantile":
        return told.with_columns(bin=pl.lit(0, pl.Int64))
    columns = [*schema.KEY, "forecast"]
    known = pl.concat([before.select(columns), made.select(columns)]).sort(schema.KEY)
    binned = signals.assign(known, scope="trailing", **pipeline.cuts(study))
    bins = binned.select(*schema.KEY, pl.col("bin").fill_null(0).cast(pl.Int64))
    return told.join(bins, on=schema.KEY, how="left", maintain_order="left")


def _own_cause(record: _Record) -> str:
    """What a difference in the very same record would come from."""
    if parts.config(record.study) != record.start["config"]:
        return "config"
    return "unexplained" if parts.code() == record.start["code"] else "version"


_DIFFERENT: dict[str, Any] = {
    "time": schema.TIME,
    "symbol": pl.String,
    "what": pl.String,
    "live": pl.String,
    "research": pl.String,
    "cause": pl.String,
}


def _different(
    live: pl.DataFrame, made: pl.DataFrame, names: tuple[str, ...], cause: str
) -> pl.DataFrame:
    """List the values that differ, bit for bit."""
    both = live.select(*schema.KEY, *names).join(
        made.select(*schema.KEY, *names), on=schema.KEY, how="full", suffix="_made", coalesce=True
    )
    found = [
        both.filter(~pl.col(name).eq_missing(pl.col(f"{name}_made"))).select(
            "time",
            "symbol",
            what=pl.lit(name),
            live=pl.col(name).cast(pl.String),
            research=pl.col(f"{name}_made").cast(pl.String),
            cause=pl.lit(cause),
        )
        for name in names
    ]
    return pl.concat([pl.DataFrame(schema=_DIFFERENT), *found]).sort("time", "symbol")


def _as_it_should_have_been(record: _Record) -> tuple[pl.DataFrame, list[tuple[Any, str]]]:
    """Return the bars in their last version, and when which cause set in."""
    rows, causes = record.rows, []
    late = rows.filter("late")["time"].unique().to_list()
    causes += [(when, "late") for when in late]
    for note in record.revisions:
        if note["acted_on"] == "now":
            continue  # the newer version came in time
        bar, close = note["now"], at(note["close"])
        here = (pl.col("symbol") == bar["symbol"]) & (pl.col("time") == close)
        others = rows.filter(~here)
        new = rows.filter(here).head(1) if note["was"] else rows.clear().clear(1)
        new = new.with_columns(pl.lit(close).cast(schema.TIME).alias("time"), late=pl.lit(False))
        values = {name: bar[name] for name in Bar._fields[:11]}
        new = new.with_columns(
            pl.lit(v, rows.schema[name]).alias(name) for name, v in values.items()
        )
        rows = pl.concat([others, new]).sort("symbol", "time")
        causes.append((close, "revision" if note["was"] else "gap"))
    return rows, sorted(causes)


def _explained(
    recorded: pl.DataFrame, ideal: pl.DataFrame, causes: list[tuple[Any, str]]
) -> pl.DataFrame:
    """Give each difference from the ideal the newest cause that came before it."""
    found = _different(recorded, ideal, SEEN, "")
    known = pl.DataFrame(causes, schema={"time": schema.TIME, "why": pl.String}, orient="row")
    joined = found.sort("time").join_asof(known.sort("time"), on="time", strategy="backward")
    return joined.with_columns(cause=pl.col("why").fill_null("unexplained")).drop("why")
