"""Jobs of a study in a process of their own: whoever runs the bars, or when nobody does.

This is the watchdog of a run, too: a run that has died cannot say so itself.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from research.live import problems
from research.live.alerts import Alerts
from research.live.clock import WallClock
from research.live.log import opened
from research.operations import places, works
from research.operations.jobs import Jobs
from research.operations.table import Row
from research.store import atomic
from research.study import Study


def run(study: Study, *, once: str | None = None) -> Row | None:
    """Do a study's jobs when they are due, until told to stop; or one of them, now.

    Parameters
    ----------
    study : Study
        Its `jobs` say when.
    once : str, optional
        The one job that is done at once.

    Returns
    -------
    Row or None
        What came of the one job.

    Raises
    ------
    UserError
        If there is no such job, or none at all.
    BlockingIOError
        If another process does the jobs of this study.
    """
    folder = _folder(study)
    with atomic.only_one(f"jobs-{study.name}"):
        return asyncio.run(_run(study, folder, once))


def listed(study: Study) -> dict[str, Any]:
    """Return when each job of a study is due and what came of it last, as JSON can say it.

    `jobs` are those done here; `run` and `run_jobs` what came of those that the study's newest run
    did itself, by the clock of its market.
    """
    folder, clock = _folder(study), WallClock()
    jobs = Jobs(study, folder, clock, works.alone(study))
    newest = places.runs(study.name)[-1:]
    did = [made for run in newest for made in problems.jobs(run).get("jobs", [])]
    return {**jobs.state(), "run": newest[0].name if did else None, "run_jobs": did}


def text(found: dict[str, Any]) -> str:
    """Say what `listed` found in lines."""
    from research.live.status import job_line

    lines = [job_line(job) for job in found["jobs"]]
    if found["run_jobs"]:
        lines += [f"done by run {found['run']} itself:", *map(job_line, found["run_jobs"])]
    return "\n".join(lines)


def _folder(study: Study) -> Path:
    folder = places.own(study.name)
    with atomic.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


async def _run(study: Study, folder: Path, once: str | None) -> Row | None:
    alerts = Alerts(folder, study.live.webhook, study.live.mail)
    log = opened(folder, secrets=alerts.secrets)
    jobs = Jobs(study, folder, WallClock(), works.alone(study, alerts), alerts=alerts, log=log)
    telling = asyncio.create_task(alerts.run())
    try:
        if once is not None:
            return await jobs.once(once)
        jobs.begin()
        log("jobs begin", study=study.name)
        await _told_to_stop()
        return None
    finally:
        await jobs.close()
        await alerts.drained()
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        alerts.close()
        log.close()


async def _told_to_stop() -> None:
    told = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, told.set)
    await told.wait()
