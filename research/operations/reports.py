"""Operating reports: what a run did in a day, in a week, in a sitting; a page, pictures, numbers.

Written once: a report that is there is left as it is. Every result is after fees, spread, slippage
and funding, and says whether it was made on paper or with money.
"""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from research import plots
from research.errors import UserError
from research.live import journal, problems
from research.live.alerts import Alert, Judge, beside
from research.live.journal import Event
from research.live.record import table
from research.live.rows import at, micros
from research.live.story import Story
from research.operations import places
from research.report import figures, pages
from research.store import atomic

TEMPLATES = Path(__file__).resolve().parent / "templates"
LISTED = 200
"""Trades and incidents that a page shows; ``trades.csv`` has all of them."""
_MODELS = {
    "swap": "took over",
    "rollback": "brought back",
    "candidate": "trained",
    "challenger": "is tried in the shadow",
    "rejected_model": "was not better",
    "expired": "had no verdict in time",
    "train_failed": "a training failed",
    "model_late": "was not ready in time",
}
_MONEY = ("gross", "fees", "slippage", "funding", "net")


class Span(NamedTuple):
    """What a report is about."""

    kind: str
    """``day``, ``week`` or ``sitting``."""
    since: datetime
    until: datetime

    @property
    def name(self) -> str:
        """The folder's."""
        if self.kind == "sitting":
            return f"{self.until:%Y-%m-%d_%H%M%S}_sitting"
        return f"{self.since:%Y-%m-%d}_{self.kind}"


def write(run: Path, span: Span) -> str:
    """Write the report of a span of a run, and say in a line what was done.

    Parameters
    ----------
    run : Path
        The run's folder.
    span : Span
        Closes after its beginning up to its end are told of.
    """
    folder = places.reports(run) / span.name
    if (folder / "index.html").exists():
        return f"the report {folder.name} is there already"
    told = _told(run, span)
    if told is None:
        return f"nothing to report: no bar was decided in {span.name}"
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    with atomic.writing(part):
        (part / "figures").mkdir(parents=True)
    try:
        _fill(part, told)
        part.rename(folder)
    except BaseException:  # a mistake, a fault or a kill: nothing half-made stays behind
        shutil.rmtree(part, ignore_errors=True)
        raise
    return f"report {folder.name}: {told.summary['trades']} trades, {told.summary['bars']} bars"


def sitting(run: Path) -> str:
    """Write the report of the sitting that has just ended: the closing report of a run."""
    events = journal.read(run, kinds=("start", "stop"))
    if not events or events[-1].kind != "stop":
        raise UserError(f"run {run.name}: has not ended, so there is no closing report.")
    begun = [event for event in events if event.kind == "start"][-1]
    return write(run, Span("sitting", at(begun.body["time"]), at(events[-1].time)))


class _Told(NamedTuple):
    """A span of a run, laid out."""

    summary: dict[str, Any]
    moments: list[dict[str, Any]]
    trades: list[dict[str, Any]]
    incidents: list[Alert]
    models: list[dict[str, Any]]
    start: dict[str, Any]


def _told(run: Path, span: Span) -> _Told | None:
    events = journal.read(run)
    since, until = micros(span.since), micros(span.until)
    within = [event for event in events if since < event.time <= until]
    moments = [event.body for event in within if event.kind == "moment"]
    if not moments:
        return None
    start = next(event.body for event in events if event.kind == "start")
    trades = [trade for body in moments for trade in body["trades"]]
    earlier = [event.body for event in events if event.kind == "moment" and event.time <= since]
    before = earlier[-1]["equity"] if earlier else start["capital"]
    incidents = _incidents(run, events, since, until)
    models = [
        {"time": event.time, "what": _MODELS[event.kind], "why": event.body.get("why")}
        | {"model": event.body.get("model")}
        for event in within
        if event.kind in _MODELS
    ]
    summary = {
        "run": run.name,
        "study": start["study"]["name"],
        "mode": start.get("mode", "paper"),
        "span": span.kind,
        "since": f"{span.since:%Y-%m-%d %H:%M}",
        "until": f"{span.until:%Y-%m-%d %H:%M}",
        "incidents": len(incidents),
        "trainings": sum(event.kind == "retrain" for event in within),
        **_earned(moments, trades, before),
        **_attended(start, moments, since, until),
    }
    return _Told(summary, moments, trades, incidents, models, start)


def _earned(
    moments: list[dict[str, Any]], trades: list[dict[str, Any]], before: float
) -> dict[str, Any]:
    """Return what a span came to, in quote currency and as fractions of the equity before it."""
    equity = [before, *(body["equity"] for body in moments)]
    highest, deepest = before, 0.0
    for worth in equity:
        highest = max(highest, worth)
        deepest = max(deepest, 1 - worth / highest)
    sums = {f"trades_{name}": sum(trade[name] for trade in trades) for name in _MONEY}
    held = {row["symbol"]: row["position"] for body in moments for row in body["rows"]}
    return {
        "equity_before": before,
        "equity": equity[-1],
        "net_return": equity[-1] / before - 1,
        "max_drawdown": deepest,
        "trades": len(trades),
        "win_rate": sum(trade["net"] > 0 for trade in trades) / len(trades) if trades else None,
        **sums,
        "held": {symbol: size for symbol, size in held.items() if size},
    }


def _attended(
    start: dict[str, Any], moments: list[dict[str, Any]], since: int, until: int
) -> dict[str, Any]:
    """Return how much of a span was attended to: closes acted on among those there were."""
    story = Story(start=start)
    interval = problems.interval(story) // timedelta(microseconds=1)
    closes = max((until - max(since, start["time"])) // interval, len(moments))
    return {
        "bars": len(moments),
        "closes": closes,
        "uptime": len(moments) / closes,
        "late": sum(bool(body.get("late")) for body in moments),
        "decisions": sum(len(body["rows"]) for body in moments),
    }


def _incidents(run: Path, events: list[Event], since: int, until: int) -> list[Alert]:
    judge = Judge()
    found = [alert for event in events for alert in judge.see(event.kind, event.body)]
    found += beside(run)
    return sorted((a for a in found if since < a.time <= until), key=lambda alert: alert.time)


# -- on disk ---------------------------------------------------------------------------------------


def _fill(folder: Path, told: _Told) -> None:
    drawn = _draw(folder / "figures", told)
    trades = _trades(told)
    atomic.write_bytes(folder / "trades.csv", trades.write_csv().encode())
    atomic.write_json(folder / "summary.json", told.summary)
    atomic.write_text(folder / "index.html", _page(told, drawn))


def _trades(told: _Told) -> pl.DataFrame:
    wanted = {"symbol": "text", "entry_time": "us", "exit_time": "us", "net": "number"}
    return table(told.trades, wanted)


def _draw(folder: Path, told: _Told) -> list[str]:
    """Draw what a span has data for, and return the pictures' names."""
    rows = [{"time": body["time"], **row} for body in told.moments for row in body["rows"]]
    decisions = table(rows, {"time": "us", "symbol": "text"})
    equity = table(
        [{"time": body["time"], "equity": body["equity"]} for body in told.moments],
        {"time": "us", "equity": "number"},
    )
    took = table([body["latency"] for body in told.moments], {})
    assumed = told.start.get("desk", {}).get("rules", {}).get("latency", 0) / 1e6
    before = told.summary["equity_before"]
    pictures = {
        "equity": lambda: plots.live_run(equity, decisions, capital=before),
        "reasons": lambda: plots.live_reasons(decisions),
        "latency": lambda: plots.live_latency(took, assumed=assumed),
    }
    if told.trades:
        trades = _trades(told)
        most = trades["symbol"].value_counts(sort=True)["symbol"][0]
        pictures["trades"] = lambda: plots.trades_on_price(decisions, trades, symbol=most)
    for name, picture in pictures.items():
        figures.save(picture, folder / name)
    return list(pictures)


def _page(told: _Told, drawn: list[str]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([TEMPLATES, pages.TEMPLATES])
    env = Environment(loader=loader, undefined=StrictUndefined, autoescape=True, trim_blocks=True)
    env.filters |= {"pct": pages.percent, "num": pages.number, "utc": _utc, "share": _share}
    return env.get_template("operations.html").render(
        s=told.summary,
        figures=drawn,
        trades=told.trades[-LISTED:],
        incidents=told.incidents[-LISTED:],
        models=told.models,
    )


def _utc(us: int) -> str:
    return f"{at(us):%Y-%m-%d %H:%M}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.2%}"
