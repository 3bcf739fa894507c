"""New models while the old one trades: when one is trained, who is tried, who takes over and when.

A model takes effect at a bar boundary: at the slot its training was announced for, or, if it was
not ready by then, at the first slot after it is (`model_late`). Challengers forecast the champion's
very bars, in the shadow; the champion trades on, stops and all.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from pathlib import Path
from threading import Thread
from typing import Any

import polars as pl

from research import features, pipeline, schema
from research.errors import UserError
from research.live import replay, shadow, triggers
from research.live.forecaster import Forecaster, reach
from research.live.moments import Bar, Moment, Scored
from research.live.prepare import DAY, Prepared
from research.live.replay import micro
from research.live.rows import at, table
from research.live.state import State, scored
from research.live.trainer import Job, Outcome, Trainer
from research.store import atomic

log = logging.getLogger(__name__)

Events = list[tuple[str, dict[str, Any]]]
MANY = 2_000
"""Bars that are kept one by one."""
POLL = 0.01
"""Seconds between two looks at a training that is waited for."""


class Retraining:
    """The models of one run.

    Parameters
    ----------
    prepared : Prepared
        Fresh or recovered; a training that a crash cut off is begun again.
    """

    def __init__(self, prepared: Prepared) -> None:
        study, folder = prepared.study, prepared.folder
        self._study, self._folder = study, folder
        self._interval = micro(study.data.interval)
        self._kept = replay.registry(folder)
        place = folder / "training"
        place.mkdir(exist_ok=True)
        self._trainer = Trainer(place, study.retrain.timeout)
        self._bars, self._newer = [prepared.bars], list[Bar]()
        self._todo: dict[str, Any] | None = None
        self._begin: Thread | None = None
        self._failed: Outcome | None = None
        self.champion: str = prepared.champion
        self.challenger: str | None = None
        self._contest: shadow.Contest | None = None
        self._pending: dict[str, Any] | None = None
        self._outcome: Outcome | None = None
        known = prepared.state
        rules = triggers.Rules.of(study)
        begun = prepared.last if known is None else known.start["time"]
        clock = (known and known.clock) or triggers.Triggers.begin(begun, rules)
        self._triggers = triggers.Triggers(rules, clock)
        self._watch, self._limits = self._drift(prepared.trained)
        self._trades = [_net(trade) for trade in prepared.trades]
        if known is not None:
            self._resume(known)
            self._refill(prepared, known)

    def _resume(self, known: State) -> None:
        self.challenger = known.challenger
        self._pending = known.pending
        if self._pending is not None:
            self._todo = self._pending
            self.begin()
        if self.challenger is None:
            return
        self._contest = self._begun(self.challenger, known.challenged)
        for body in known.shadowed:  # as if nothing had happened
            self._contest.observe(body["time"], _looks([scored(row) for row in body["rows"]]))

    def _refill(self, prepared: Prepared, known: State) -> None:
        """Let the watch see again what it saw before the restart: the same rows, made at once."""
        seen = [b["time"] for b in known.newest if b["rows"] and b["time"] >= prepared.watched]
        seen = seen[-triggers.WINDOW :]
        if self._watch is None or not seen:
            return
        since, chosen = at(seen[0]), pipeline.feature_set(self._study)
        near = prepared.bars.filter(pl.col("time") > since - reach(self._study) - DAY)
        rows = features.build(near, chosen, interval=self._study.data.interval)
        closes = pl.Series(seen).cast(schema.TIME).implode()
        for _, part in (
            rows.filter(pl.col("time").is_in(closes))
            .sort("time", "symbol")
            .group_by("time", maintain_order=True)
        ):
            self._watch.push(part)

    # -- before a bar ------------------------------------------------------------------------------

    async def ready(self, now: int, *, stopping: asyncio.Event) -> None:
        """Wait for the model that is to take effect at `now`, or for a stop."""
        while self._due(now) and self._outcome is None and self._busy and not stopping.is_set():
            self._outcome = self._polled()
            await asyncio.sleep(POLL)

    @property
    def _busy(self) -> bool:
        return self._trainer.busy or (self._begin is not None and self._begin.is_alive())

    def _polled(self) -> Outcome | None:
        """What came of the training; None while it is being begun, or runs."""
        if self._begin is not None and self._begin.is_alive():
            return None
        failed, self._failed = self._failed, None
        return failed or self._trainer.poll()

    def before(self, now: int, forecaster: Forecaster) -> Events:
        """Put models into effect that are due at `now`, and say so."""
        if not self._due(now) or self._pending is None:
            return []
        self._outcome = self._outcome or self._polled()
        if self._outcome is None:
            late, lead = self._pending["effective"], self._study.retrain.lead
            self._pending["effective"] = now + lead * self._interval
            said = {"time": now, "at": late, "effective": self._pending["effective"]}
            return [("model_late", said)]
        outcome, pending = self._outcome, self._pending
        self._outcome = self._pending = None
        if outcome.version is None:
            return [("train_failed", {"time": now, "at": pending["at"], "why": outcome.why})]
        made = {"time": now, "model": outcome.version, "at": pending["at"]}
        events: Events = [("candidate", {**made, "trigger": pending["trigger"]})]
        self._prune()
        self._watch, self._limits = self._drift(outcome.version)
        if outcome.version == self.champion:
            why = "the same as the champion"
            return [*events, ("rejected_model", {"time": now, "model": self.champion, "why": why})]
        if self._study.retrain.promotion == "always":
            return events + self._swap(outcome.version, now, now, "always", {}, forecaster)
        return events + self._challenge(outcome.version, now, forecaster)

    def _due(self, now: int) -> bool:
        return self._pending is not None and now >= self._pending["effective"]

    def _challenge(self, version: str, now: int, forecaster: Forecaster) -> Events:
        self._kept.challenge(version)
        self.challenger = version
        forecaster.challenger = self._kept.read(version)
        self._contest = self._begun(version, now)
        return [("challenger", {"time": now, "model": version})]

    def _begun(self, version: str, now: int) -> shadow.Contest:
        begun = shadow.Contest.begin(self.champion, version, now)
        return shadow.Contest(shadow.Rules.of(self._study), begun)

    def _swap(
        self,
        version: str,
        now: int,
        since: int,
        why: str,
        evidence: dict[str, Any],
        forecaster: Forecaster,
    ) -> Events:
        was = self.champion
        self._kept.promote(version, at=since, why=why, evidence=evidence)
        self.champion = version
        forecaster.champion = self._kept.read(version)
        self._alone(forecaster)
        said = {"model": version, "was": was, "at": since, "why": why, "evidence": evidence}
        return [("swap", {"time": now, **said})]

    def _alone(self, forecaster: Forecaster) -> None:
        self.challenger, self._contest, forecaster.challenger = None, None, {}
        self._kept.challenge(None)

    # -- after a bar -------------------------------------------------------------------------------

    def after(
        self, moment: Moment, rows: list[Scored], forecaster: Forecaster, step: Any
    ) -> Events:
        """Judge the challenger, look for a reason to train, and begin a training."""
        self._newer += moment.bars
        if len(self._newer) >= MANY:  # a table takes a tenth of the room
            self._bars.append(table(self._newer, self._interval))
            self._newer = []
        self._trades += [_net(trade) for trade in step.trades]
        self._trades = self._trades[-triggers.TRADES :]
        if self._watch is not None:
            self._watch.push(forecaster.rows)
        return self._judged(moment.time, rows, forecaster) + self._asked(moment.time)

    def _judged(self, now: int, rows: list[Scored], forecaster: Forecaster) -> Events:
        if self._contest is None or self.challenger is None:
            return []
        verdict = self._contest.observe(now, _looks(rows))
        if verdict is None:
            return []
        name, since = self.challenger, now + self._interval
        if verdict.kind == "promote":
            why = self._study.retrain.promotion
            return self._swap(name, now, since, why, verdict.evidence, forecaster)
        self._alone(forecaster)
        kind = "expired" if verdict.kind == "expire" else "rejected_model"
        return [(kind, {"time": now, "model": name, "why": verdict.kind, **verdict.evidence})]

    def _asked(self, now: int) -> Events:
        """Begin a training, if one is due and nothing is being trained or tried."""
        if self._pending is not None or self._contest is not None:
            return []
        seen = self._watch.psi() if self._watch is not None else None
        due = self._triggers.due(now, psi=seen, limits=self._limits, trades=self._trades)
        if due is None:
            return []
        self._pending = {
            "time": now,
            "at": now,
            "trigger": due.kind,
            "evidence": due.evidence,
            "effective": now + self._study.retrain.lead * self._interval,
            "clock": self._triggers.state,
        }
        self._todo = dict(self._pending)
        return [("retrain", dict(self._pending))]

    def begin(self) -> None:
        """Begin a training that has been announced, in a thread: bars are not kept waiting."""
        if self._todo is None:
            return
        self._bars.append(table(self._newer, self._interval))
        self._newer, asked, self._todo = [], self._todo, None
        self._begin = Thread(target=self._train, args=(asked,), name="training", daemon=True)
        self._begin.start()

    def _train(self, asked: dict[str, Any]) -> None:
        """Start the training that is asked for; one that cannot be has failed like any other."""
        path = self._trainer.folder / "bars.parquet"
        facts = {"why": asked["trigger"]}
        study = self._study.model_dump(mode="json")
        job = Job(study, str(path), asked["at"], str(self._kept.folder), facts)
        try:
            self._gather(path, at(job.at))
            self._trainer.start(job)
        except Exception as error:  # a full disk, no process; whatever it is, a bar waits for it
            log.exception("training could not be begun")
            kind = "" if isinstance(error, UserError | OSError) else f"{type(error).__name__}: "
            why = " ".join(f"could not be begun: {kind}{error}".split())
            self._failed = Outcome(job, None, why[:500], 0.0)

    def _gather(self, path: Path, when: datetime) -> None:
        """Write down the bars of the training window, and drop those before it."""
        spans = self._study.validation
        since = when - spans.train - spans.embargo - reach(self._study) - 2 * DAY
        kept = len(self._bars)
        known = pl.concat(self._bars[:kept]).filter(pl.col("open_time") >= since).sort(schema.KEY)
        atomic.write_parquet(path, known.filter(pl.col("time") <= when))
        self._bars[:kept] = [known]  # in place: bars that come meanwhile are appended to this list

    # -- besides -----------------------------------------------------------------------------------

    def rollback(self, now: int, forecaster: Forecaster) -> Events:
        """Put the champion before the present one back into force, from the next bar on."""
        was, since = self.champion, now + self._interval
        try:
            self.champion = self._kept.rollback(at=since)
        except UserError as error:
            return [("note", {"time": now, "kind": "rollback refused", "why": str(error)})]
        forecaster.champion = self._kept.read(self.champion)
        events: Events = []
        if self.challenger is not None:
            why = "rolled back"
            events.append(("rejected_model", {"time": now, "model": self.challenger, "why": why}))
            self._alone(forecaster)
        said = {"time": now, "model": self.champion, "was": was, "at": since, "why": "rollback"}
        return [*events, ("rollback", said)]

    def _drift(self, trained: str) -> tuple[Any, dict[str, float] | None]:
        """What drift is measured against: the newest training, whoever came of it."""
        kept = self._kept.versions()
        # one that was dropped between a bar and its record: its successor is about to come
        facts = self._kept.card(trained if trained in kept else kept[-1])["facts"]
        return triggers.watch(facts), facts.get("drift", {}).get("limits")

    def _prune(self) -> None:
        """Keep the newest candidates; whoever was ever in force stays, for the proof needs him."""
        ever = {entry["model"] for entry in self._kept.history()}
        self._kept.prune(self._study.retrain.keep, hold=ever)

    def close(self) -> None:
        """End a training that runs; it is begun again when the run goes on."""
        if self._begin is not None:
            self._begin.join()
        self._trainer.stop()


def _net(trade: dict[str, Any]) -> tuple[int, float]:
    """When a trade closed, and what it returned on what was put into it."""
    return trade["exit_time"], trade["net"] / (trade["quantity"] * trade["entry_price"])


def _looks(rows: list[Scored]) -> dict[str, shadow.Look]:
    return {
        row.bar.symbol: shadow.Look(
            row.bar.open, row.bar.close, _known(row.sigma), row.forecast, row.challenger
        )
        for row in rows
    }


def _known(value: float) -> float | None:
    return value if value == value else None
