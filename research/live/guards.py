"""What halts a paper run beside its account's own limits: model, feed, clock, disk, KILL file.

Each guard looks at one thing and returns a verdict, or None where it is content. Verdicts latch:
they hold until a person resumes, but for those of a silent feed and of a model that repeats itself,
which hold while that lasts. A guard that fails halts, and so does all else that trading rests on
and that fails (`Guards.fail`): nobody can say then that all is well. The desk's own limits are
rules, see `trading.risk`.
"""

from __future__ import annotations

import math
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from research.live import folders
from research.live.moments import Scored
from research.study import Study
from research.trading.rules.words import HALTED, REDUCING

HOUR = 60 * 60 * 1_000_000
SAME = 30
"""Bars of one forecast, and no other, from which on a model is taken for frozen."""


class Verdict(NamedTuple):
    """What a guard asks for."""

    state: int
    """`REDUCING` or `HALTED`, see `trading.rules.words`."""
    reason: str
    """One line for people."""
    latched: bool = True
    """Whether it holds until a person resumes; else while its cause does."""


def kill_file(folder: Path) -> Verdict | None:
    """Halt while there is a file ``KILL`` in the run's folder."""
    return Verdict(HALTED, "file KILL") if folders.killed(folder) else None


def disk(folder: Path, *, least: float) -> Verdict | None:
    """Halt where less than `least` GB are free on the disk of `folder`.

    >>> disk(Path("/"), least=0.0) is None
    True
    """
    free = shutil.disk_usage(folder).free / 1e9
    return None if free >= least else Verdict(HALTED, f"disk: {free:.2f} GB free, below {least:g}")


def clock_skew(health: Iterable[Mapping[str, Any]], *, most: int) -> Verdict | None:
    """Halt where our clock is further than `most` microseconds from the venue's.

    >>> clock_skew([{"skew_us": -2_500_000}], most=1_000_000).reason
    'clock: 2.5 s from the venue, limit 1'
    """
    skew = max((abs(row["skew_us"]) for row in health), default=0)
    if skew <= most:
        return None
    return Verdict(HALTED, f"clock: {skew / 1e6:g} s from the venue, limit {most / 1e6:g}")


def feed_stale(health: Iterable[Mapping[str, Any]], now: int, *, most: int) -> Verdict | None:
    """Reduce while nothing at all has come for more than `most` microseconds, by stream or REST.

    A stream that is silent alone is no cause: its bars are asked for by REST, and a close that is
    known in time is decided as any other. Before the first message there is nothing to judge.

    >>> feed_stale([{"last_us": 0}], 66_000_000, most=65_000_000)
    Verdict(state=1, reason='feed: silent for 66 s, limit 65', latched=False)
    """
    last = [row["last_us"] for row in health if row["last_us"] is not None]
    silent = now - max(last, default=now)
    if silent <= most:
        return None
    reason = f"feed: silent for {silent / 1e6:g} s, limit {most / 1e6:g}"
    return Verdict(REDUCING, reason, latched=False)


class OrderRate:
    """Reduces where more orders were sent within an hour than a strategy can mean.

    Parameters
    ----------
    most : int
        Orders an hour.
    """

    def __init__(self, most: int) -> None:
        self._most, self._sent = most, deque[tuple[int, int]]()

    def sent(self, now: int, orders: int) -> None:
        """Take in how many orders left at `now`, in microseconds."""
        if orders:
            self._sent.append((now, orders))

    def check(self, now: int) -> Verdict | None:
        """Judge the hour before `now`."""
        while self._sent and self._sent[0][0] <= now - HOUR:
            self._sent.popleft()
        count = sum(orders for _, orders in self._sent)
        if count <= self._most:
            return None
        return Verdict(REDUCING, f"orders: {count} within an hour, limit {self._most}")


class ModelBad:
    """Reduces where a model says nothing from known features, and while it says the same thing.

    Parameters
    ----------
    same : int
        Bars of a symbol in a row with one forecast, to the bit, from which on a model is bad. A new
        model begins anew; a bar without a forecast counts for nothing.

    Notes
    -----
    The same thing for long is a frozen feature as a rule, but not always: of 13 honest LightGBM
    models on real minutes 6 did so, for up to 741 bars. So that does not latch.
    """

    def __init__(self, same: int = SAME) -> None:
        self._same = same
        self._last: dict[str, tuple[str, float, int]] = {}

    def check(self, rows: Iterable[Scored]) -> Verdict | None:
        """Take in the forecasts of one moment, and judge them."""
        found = [self._look(row) for row in rows]
        return next((verdict for verdict in found if verdict is not None), None)

    def _look(self, row: Scored) -> Verdict | None:
        symbol, said = row.bar.symbol, row.forecast
        if row.model is None or row.features is None:
            return None
        if said is None or not math.isfinite(said):
            return Verdict(REDUCING, f"model {row.model}: no forecast of {symbol}, found {said}")
        model, before, count = self._last.get(symbol, ("", math.nan, 0))
        count = count + 1 if (model, before) == (row.model, said) else 1
        self._last[symbol] = row.model, said, count
        if count < self._same:
            return None
        reason = f"model {row.model}: {said:g} of {symbol} for {count} bars running"
        return Verdict(REDUCING, reason, latched=False)


class Guards:
    """All guards of a run.

    Parameters
    ----------
    study : Study
        Its section ``live`` says how much is too much.
    folder : Path
        The run's.
    """

    def __init__(self, study: Study, folder: Path) -> None:
        self._live, self._folder = study.live, folder
        self.resume()

    def resume(self) -> None:
        """Forget what was found, as a person decides; what is still so will be found again."""
        self._latched: Verdict | None = None
        self._rate, self._model = OrderRate(self._live.order_rate), ModelBad()

    def sent(self, now: int, reasons: Sequence[str], ended: int) -> None:
        """Take in what a moment sent: its reasons, and the number of round trips that ended."""
        self._rate.sent(now, reasons.count("entry") + ended)

    def recall(self, time: int, rows: Sequence[Scored], reasons: Sequence[str], ended: int) -> None:
        """Take in a moment that was decided before a restart."""
        self._model.check(rows)
        self.sent(time, reasons, ended)

    def fail(self, what: str, error: Exception) -> Verdict:
        """Halt because something that trading rests on, such as the journal, has failed."""
        return self._keep(Verdict(HALTED, f"{what} failed: {type(error).__name__}: {error}"))

    def check(
        self, now: int, rows: Sequence[Scored], *, health: Sequence[Mapping[str, Any]]
    ) -> Verdict | None:
        """Look at everything before a decision.

        Parameters
        ----------
        now : int
            Time of the market, in microseconds since 1970 UTC.
        rows : sequence of Scored
            The moment's; empty between two bars.
        health : sequence of dict
            The feed's.

        Returns
        -------
        Verdict or None
            The gravest that holds, found now or before and not resumed from.
        """
        live = self._live
        looks: dict[str, Callable[[], Verdict | None]] = {
            "KILL": partial(kill_file, self._folder),
            "disk": partial(disk, self._folder, least=live.disk),
            "clock": partial(clock_skew, health, most=_us(live.clock_skew)),
            "orders": partial(self._rate.check, now),
            "model": partial(self._model.check, rows),
            "feed": partial(feed_stale, health, now, most=_us(live.stale)),
        }
        found = [self._latched, *(self._judge(name, look) for name, look in looks.items())]
        return max((v for v in found if v is not None), key=lambda v: v.state, default=None)

    def _judge(self, name: str, look: Callable[[], Verdict | None]) -> Verdict | None:
        try:
            found = look()
        except Exception as error:
            return self.fail(f"guard {name}", error)
        return self._keep(found) if found is not None and found.latched else found

    def _keep(self, found: Verdict) -> Verdict:
        """Latch a verdict unless a graver one, or an older one as grave, is there."""
        if self._latched is None or found.state > self._latched.state:
            self._latched = found
        return found


def _us(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
