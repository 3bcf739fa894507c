"""The table of a study file that says what is done round the clock, and when."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator

from research.errors import UserError, nearest
from research.study.kinds import Count, Duration, Section

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
OFF = "off"
_CLOCK = re.compile(r"(?:([01]?\d)|(2[0-3])):([0-5]\d)")


def _daily(value: Any) -> str:
    """Read a time of the UTC day.

    >>> _daily("1:00"), _daily("off")
    ('01:00', 'off')
    """
    text = str(value).strip().lower()
    found = _CLOCK.fullmatch(text)
    if found:
        return f"{int(found[1] or found[2]):02}:{found[3]}"
    if text == OFF:
        return OFF
    raise UserError(f"expected a time of the UTC day, as in '01:00', or 'off', found {value!r}.")


def _weekly(value: Any) -> str:
    """Read a day of the week and a time of it, UTC.

    >>> _weekly("Sunday 2:00")
    'sunday 02:00'
    """
    day, _, clock = str(value).strip().lower().partition(" ")
    if day == OFF and not clock:
        return OFF
    if day in DAYS and _CLOCK.fullmatch(clock.strip()):
        return f"{day} {_daily(clock)}"
    hint = "" if day in DAYS else nearest(day, list(DAYS))
    raise UserError(
        f"expected a day and a time in UTC, as in 'sunday 02:00', or 'off', found {value!r}.{hint}"
    )


Daily = Annotated[str, BeforeValidator(_daily)]
Weekly = Annotated[str, BeforeValidator(_weekly)]


class Jobs(Section):
    """Work round the clock, at times in UTC: ``./run jobs STUDY`` does it, beside a run or alone.

    Forecasts are no job: a bar is decided when it closes.
    """

    live: bool = False
    """``./run live`` does them too, by the clock of its market."""
    download: Daily = "01:00"
    """Bars of the day before; ``off``: never."""
    retrain: Daily = "00:30"
    """Beside a run: `retrain.every` counts from this time of day, so that its trainings are begun
    then, and are looked after. Alone: the model that the next run begins with is trained."""
    report: Daily = "00:10"
    """Of the day before: trades, costs, incidents."""
    maintenance: Weekly = "sunday 02:00"
    """Retention, and the report of the week."""
    health: Duration = timedelta(minutes=5)
    timeout: Duration = timedelta(hours=1)
    """Real time after which a job is killed and has failed."""
    failures: Count = 3
    """In a row, of one job, before an alert."""
    logs: Duration = timedelta(days=30)
    """How long logs are kept."""
    models: Count = 7
    """First models of runs that are kept; each is trained anew where it is needed again."""
    reports: Count = 60
    """Operating reports that are kept of each run."""

    @property
    def trains_at(self) -> timedelta | None:
        """Time of the UTC day from which a run counts `retrain.every`; None: from its beginning.

        >>> Jobs(live=True, retrain="00:30").trains_at
        datetime.timedelta(seconds=1800)
        """
        if not self.live or self.retrain == OFF:
            return None
        hours, minutes = map(int, self.retrain.split(":"))
        return timedelta(hours=hours, minutes=minutes)
