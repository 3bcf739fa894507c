"""A day's operation of a paper or live run as tables: did it do what it was said to do?

Everything is read from the run's journal: what was filled and at what price against the recorded
bars, how long each hop took, which closes were acted on, what a person had to hear of. What an
operation was *said* to cost is told by the rules it began with and by the bars beside each fill.

On paper, fills are the desk's own: their prices hold the cost model by construction, so cost and
slippage measured here can only show that it was booked as said. Live, they are the venue's. How
long bars and decisions took is measured in both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from research import schema, units
from research.errors import UserError
from research.live import alerts, journal
from research.live.journal import Event
from research.live.record import Run, table
from research.live.rows import at, micros
from research.operations import filled
from research.operations.table import FILE, Table

WORDS = alerts.WORDS
_DAY = timedelta(days=1)
_US = timedelta(microseconds=1)
_HOPS = ("close_to_known", "features", "forecast", "decide")
_JOBS: dict[str, Any] = {
    "name": pl.String,
    "due": schema.TIME,
    "attempt": pl.Int64,
    "outcome": pl.String,
    "seconds": pl.Float64,
    "said": pl.String,
}


@dataclass(frozen=True)
class Day:
    """What a run's journal tells of one UTC day, or of the part of it that the run was there.

    Attributes
    ----------
    since, until : datetime
        Closes after the one up to the other are the day's.
    events : tuple of Event
        The whole journal: a round trip may end on another day than it began.
    rows : pl.DataFrame
        One per symbol and bar of the whole run: bar, forecast, reason, position.
    """

    run: Run
    since: datetime
    until: datetime
    events: tuple[Event, ...]
    rows: pl.DataFrame

    @property
    def start(self) -> dict[str, Any]:
        """With what the run began."""
        return next(event.body for event in self.events if event.kind == "start")

    @property
    def mode(self) -> str:
        """``paper`` or ``live``."""
        return str(self.start.get("mode", "paper"))

    @property
    def interval(self) -> timedelta:
        """Length of a bar."""
        return units.duration(self.start["study"]["data"]["interval"])

    @property
    def rules(self) -> dict[str, Any]:
        """The numbers of strategy and costs that the desk trades by."""
        found: dict[str, Any] = self.start["desk"]["rules"]
        return found

    @property
    def latency_assumed(self) -> float:
        """From a close to its fill as fills assume it, seconds."""
        return float(self.rules["latency"]) / 1e6

    def _bodies(self, *kinds: str) -> list[dict[str, Any]]:
        since, until = micros(self.since), micros(self.until)
        return [
            {**event.body, "kind": event.kind}
            for event in self.events
            if event.kind in kinds and since < event.time <= until
        ]

    def _of_day(self, rows: pl.DataFrame, column: str = "time") -> pl.DataFrame:
        return rows.filter(pl.col(column) > self.since, pl.col(column) <= self.until)

    # -- decisions and fills ------------------------------------------------------------------

    def decisions(self) -> pl.DataFrame:
        """Return one row per symbol and bar: ``symbol, time, reason, position`` and the bar."""
        return self._of_day(self.rows)

    def fills(self) -> pl.DataFrame:
        """Return one row per fill, with what it paid beside what it was said to pay.

        Returns
        -------
        pl.DataFrame
            ``symbol, time, reason, side`` (1 bought, -1 sold), ``quantity`` (base currency),
            ``price, reference`` (before costs), ``notional`` (quote currency) and, as fractions of
            price, ``slippage, slippage_assumed, fee, fee_assumed``. On paper: of the round trips
            that have ended; the reference is the open of the fill's bar, moved towards its close
            by the latency assumed, and null for an exit inside a bar. Live: one row per fill of
            the venue, and the reference is its mid-price when the order was sent. What is assumed
            of slippage is null where fills walk books.
        """
        told = [e.body for e in self.events if e.kind == "booked" and e.body["cid"]]
        found = filled.live(told) if self.mode == "live" else filled.paper(self._trades())
        # an order of a close is filled after it; one that is filled at midnight is the next day's
        beside = filled.beside(found, self.rows, self.rules)
        return beside.filter(pl.col("time") >= self.since, pl.col("time") < self.until)

    def _trades(self) -> list[dict[str, Any]]:
        return [t for e in self.events if e.kind == "moment" for t in e.body["trades"]]

    def costs(self) -> pl.DataFrame:
        """Return what the day's fills cost against what they were said to cost.

        Returns
        -------
        pl.DataFrame
            Rows ``fees``, ``spread and slippage``, ``funding``; ``assumed`` and ``measured`` in
            quote currency, and in basis points of what was traded. Fills of which nothing is
            assumed or measured count on neither side.
        """
        traded = self.fills()
        funding = sum(body["flows"].get("funding", 0.0) for body in self._bodies("moment"))
        funding += sum(-body["amount"] for body in self._bodies("received"))
        return filled.costs(traded, float(funding), self._funding())

    def _funding(self) -> float | None:
        """Return what the study's own rate would have charged; None: it follows a history."""
        said = self.start["study"]["costs"]
        if said["funding_history"] is not None:
            return None
        due = (pl.col("time").dt.hour() % 8 == 0) & (pl.col("time").dt.minute() == 0)
        paid = self.decisions().filter(due, pl.col("time").dt.second() == 0)
        worth = (paid["position"] * paid["close"]).sum()
        return float(said["funding"]) * float(worth or 0.0)

    # -- time ---------------------------------------------------------------------------------

    def latency(self) -> pl.DataFrame:
        """Return how long each bar took, hop by hop, in microseconds; live, orders have their own.

        ``time`` and `close_to_known`, `features`, `forecast`, `decide`; live also ``order``, the
        longest time from sending one of the moment's orders to the venue's first answer.
        """
        rows = [{"time": body["time"], **body["latency"]} for body in self._bodies("moment")]
        least = {"time": "us", **dict.fromkeys(_HOPS, "count")}
        return table(rows, least).join(self._orders(), on="time", how="left")

    def _orders(self) -> pl.DataFrame:
        meant = {b["cid"]: b["moment"] for b in self._bodies("intent")}
        sent = {b["cid"]: b["time"] for b in self._bodies("send")}
        heard: dict[str, int] = {}
        for body in self._bodies("ack", "done", "refused"):
            heard.setdefault(body["cid"], body["time"])
        took: dict[int, int] = {}
        for cid in meant.keys() & sent.keys() & heard.keys():
            took[meant[cid]] = max(took.get(meant[cid], 0), heard[cid] - sent[cid])
        rows = [{"time": moment, "order": span} for moment, span in took.items()]
        return table(rows, {"time": "us", "order": "count"})

    def hops(self) -> pl.DataFrame:
        """Return the latency of each hop: ``hop, median, p95, p99, most`` in milliseconds."""
        took = self.latency()
        whole = took.with_columns(total=pl.sum_horizontal(_HOPS)).drop("time")
        names = [name for name in whole.columns if whole[name].null_count() < whole.height]
        at_most = {"median": 0.5, "p95": 0.95, "p99": 0.99, "most": 1.0}
        found = {
            word: [(whole[name] / 1e3).quantile(share, "nearest") for name in names]
            for word, share in at_most.items()
        }
        kinds: dict[str, Any] = {"hop": pl.String, **dict.fromkeys(found, pl.Float64)}
        return pl.DataFrame({"hop": names, **found}, schema=kinds)

    def closes(self) -> pl.DataFrame:
        """Return one row per close that was due while the run was there.

        ``time``, ``acted`` (it was decided about), ``late`` (too late to open a position) and
        ``missing``, how many of the symbols had no bar.
        """
        begun = max(self.since, at(self.start["time"]))
        first = begun + self.interval - (begun - _EPOCH) % self.interval
        grid = pl.datetime_range(first, self.until, self.interval, time_unit="us", eager=True)
        rows = [
            {"time": body["time"], "late": body["late"], "bars": len(body["rows"])}
            for body in self._bodies("moment")
        ]
        seen = table(rows, {"time": "us", "bars": "count"})
        if "late" not in seen.columns:
            seen = seen.with_columns(late=pl.lit(False))
        many = len(self.start["desk"]["symbols"])
        due = pl.DataFrame({"time": grid.cast(schema.TIME)}).join(seen, on="time", how="left")
        return due.select(
            "time",
            acted=pl.col("bars").is_not_null(),
            late=pl.col("late").fill_null(False),
            missing=many - pl.col("bars").fill_null(0),
        )

    def gaps(self) -> pl.DataFrame:
        """Return the stretches of closes without a bar: ``symbol, since, until, bars``.

        At a close that was not acted on every symbol has none.
        """
        names = pl.DataFrame({"symbol": self.start["desk"]["symbols"]}, {"symbol": pl.String})
        here = self.decisions().select("symbol", "time", here=pl.lit(True))
        due = names.join(self.closes().select("time"), how="cross")
        known = due.join(here, on=["symbol", "time"], how="left", maintain_order="left")
        known = known.with_columns(stretch=pl.struct("symbol", "here").rle_id())
        silent = known.filter(pl.col("here").is_null())
        found = silent.group_by("stretch", "symbol", maintain_order=True).agg(
            since=pl.col("time").min() - self.interval, until=pl.col("time").max(), bars=pl.len()
        )
        return found.drop("stretch")

    # -- what happened beside -----------------------------------------------------------------

    def incidents(self) -> pl.DataFrame:
        """Return what a person had to hear of, and each change of state: ``time, kind, text``."""
        judge = alerts.Judge()
        found = [a for e in self.events for a in judge.see(e.kind, e.body)]
        found += alerts.beside(self.run.folder)
        rows = [{"time": a.time, "kind": a.kind, "text": a.text} for a in found]
        rows += [
            {"time": body["time"], "kind": WORDS[0], "text": f"trading goes on: {body['why']}"}
            for body in self._bodies("control")
            if body["state"] == 0
        ]
        made = table(rows, {"time": "us", "kind": "text", "text": "text"})
        return self._of_day(made).sort("time", maintain_order=True)

    def jobs(self) -> pl.DataFrame:
        """Return what was done beside the bars: ``name, due, attempt, outcome, seconds, said``."""
        if not (self.run.folder / FILE).exists():
            return pl.DataFrame(schema=_JOBS)
        kept = Table(self.run.folder)
        rows = [
            {**row._asdict(), "seconds": row.ended and (row.ended - row.began) / 1e6}
            for name, counts in kept.count().items()
            for row in kept.newest(name, count=sum(counts.values()))
        ]
        made = pl.DataFrame(rows, schema={**_JOBS, "due": pl.Int64}, strict=False)
        made = made.with_columns(pl.col("due").cast(schema.TIME))
        return self._of_day(made, "due").sort("due", "name", "attempt")

    def summary(self) -> dict[str, Any]:
        """Return the day in numbers."""
        closes, traded, jobs = self.closes(), self.fills(), self.jobs()
        return {
            "run": self.run.name,
            "mode": self.mode,
            "since": f"{self.since:%Y-%m-%d %H:%M}",
            "until": f"{self.until:%Y-%m-%d %H:%M}",
            "closes": closes.height,
            "uptime": closes["acted"].mean(),
            "late": int(closes["late"].sum()),
            "decisions": self.decisions().height,
            "fills": traded.height,
            "traded": float(traded["notional"].sum()),
            "incidents": self.incidents().height,
            "jobs": jobs.height,
            "jobs_failed": jobs.filter(pl.col("outcome") == "failed").height,
        }


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def of(run: Run, day: date | str | None = None) -> Day:
    """Return one day of a run.

    Parameters
    ----------
    run : Run
        On paper or live, running or ended.
    day : date or str, optional
        A UTC day, as in ``"2026-11-20"``. Absent: the newest one that is over; while none is, what
        there is of the first.

    Raises
    ------
    UserError
        If the journal has no bar of that day.
    """
    events = tuple(journal.read(run.folder))
    moments = [event.body["time"] for event in events if event.kind == "moment"]
    if not moments:
        raise UserError(f"yesterday: run {run.name} has decided no bar yet.")
    since = _midnight(day) if day is not None else _newest(at(moments[0]), at(moments[-1]))
    until = min(since + _DAY, max(at(moments[-1]), since))
    if not any(micros(since) < time <= micros(until) for time in moments):
        raise UserError(
            f"yesterday: run {run.name} has no bar of {since:%Y-%m-%d}; its bars closed from "
            f"{at(moments[0]):%Y-%m-%d %H:%M} to {at(moments[-1]):%Y-%m-%d %H:%M}."
        )
    return Day(run, since, until, events, _rows(events))


def _midnight(day: date | str) -> datetime:
    try:
        found = date.fromisoformat(day) if isinstance(day, str) else day
    except ValueError:
        raise UserError(f"yesterday: expected a day such as 2026-11-20, found {day!r}.") from None
    return datetime(found.year, found.month, found.day, tzinfo=UTC)


def _newest(first: datetime, last: datetime) -> datetime:
    """Return the beginning of the newest day that is over by `last`, else of the first day."""
    over = _midnight(last.date()) - _DAY
    return max(over, _midnight((first - _US).date()))


def _rows(events: tuple[Event, ...]) -> pl.DataFrame:
    rows = [
        {"time": event.body["time"], **row}
        for event in events
        if event.kind == "moment"
        for row in event.body["rows"]
    ]
    numbers = dict.fromkeys(("position", "open", "close", "half_spread", "impact"), "number")
    kinds = {"time": "us", "open_time": "us", "symbol": "text", "reason": "text", **numbers}
    return table(rows, kinds).sort("symbol", "time")
