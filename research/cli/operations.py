"""The command of work round the clock."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from research.flags import Debug, Json, Name, Settings, read_options, taken


def jobs(
    name: Name = None,
    once: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Do one job now: download, retrain, report, maintenance or health; exit code 1 "
            "if it fails.",
        ),
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="Show when each is due and what came of it, and leave.")
    ] = False,
    settings: Settings = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Do a study's work round the clock: bars, model, reports, retention, health; until stopped.

    When each is due stands in the study's section jobs, in UTC; "off" leaves one out. By default
    the report of the day before is written at 00:10, a model trained at 00:30, bars fetched at
    01:00, old logs and models dropped on sundays at 02:00, health looked at every 5 min.
    Each is done once however often it was due, is tried again 15 min after it has failed, and is
    killed after jobs.timeout; after three failures in a row there is an alert (file, live.webhook,
    live.mail). Health is that of the study's newest run: ./run jobs beside ./run live is its
    watchdog. With jobs.live = true ./run live does the jobs itself, by the clock of its market.
    ./run jobs trend_kraken --once health; ./run jobs trend_kraken --list
    """
    from research import pipeline
    from research.cli import _set_up_log
    from research.operations import alone

    _set_up_log(debug)
    study = pipeline.read(taken(name), read_options(settings))
    if listed:
        found = alone.listed(study)
        typer.echo(json.dumps(found, allow_nan=False) if as_json else alone.text(found))
        return
    row = alone.run(study, once=once)
    if row is None:
        return
    said = row._asdict()
    typer.echo(json.dumps(said) if as_json else f"{row.name} {row.outcome}: {row.said}")
    if row.outcome != "done":
        raise typer.Exit(1)


def operations(
    run: Annotated[
        str | None,
        typer.Argument(metavar="RUN", help="A paper or live run. Absent: the newest."),
    ] = None,
    day: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="A UTC day of its market. Absent: all of it."),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look at how a run was operated: uptime, decisions, costs and latency (notebook 10)."""
    from research import notebooks
    from research.cli import _set_up_log
    from research.live import folders
    from research.store.atomic import reports_root

    _set_up_log(debug)
    folder = folders.find(run)
    study = folders.facts(folder)["study"]["name"]
    out = reports_root() / study / "operations" / folder.name / "10_operations.ipynb"
    notebooks.execute("10_operations", {"study": study, "run": folder.name, "day": day}, out)
    said = {"command": "operations", "run": folder.name, "notebook": str(out)}
    typer.echo(json.dumps(said) if as_json else f"operations: {out}")


COMMANDS = (jobs, operations)
