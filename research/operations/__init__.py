"""Work round the clock: jobs by the clock of a market, health, retention, operating reports.

Predictions are no job: a bar is decided when it closes. What is done here is done beside the bars,
by ``./run jobs STUDY`` or, where the study says ``jobs.live = true``, by ``./run live`` itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from research.live.alerts import Alerts
    from research.live.clock import Clock
    from research.live.log import Log
    from research.operations.jobs import Jobs
    from research.study import Study

__all__ = ["start"]


def start(
    study: Study,
    folder: Path,
    clock: Clock,
    *,
    alerts: Alerts | None = None,
    log: Log | None = None,
) -> Jobs:
    """Begin the jobs of a paper or live run beside its bars, and return at once.

    Parameters
    ----------
    study : Study
        Without ``jobs.live`` nothing is begun.
    folder : Path
        The run's; its jobs are kept there.
    clock : Clock
        The run's: virtual where its market is.
    alerts : Alerts, optional
        Told of a job that fails again and again.
    log : Log, optional
        Told of each job.

    Returns
    -------
    Jobs
        ``await jobs.close()`` ends them, after the run and before its clock is closed.
    """
    from research.operations import works
    from research.operations.jobs import Jobs
    from research.operations.process import apart

    made = works.beside(study, alerts) if study.jobs.live else []
    told: dict[str, Any] = {"alerts": alerts, "log": log}
    jobs = Jobs(study, folder, clock, made, run=folder, closing=apart if made else None, **told)
    jobs.begin()
    return jobs
