"""The command line: every stage is papermill of its notebook; the rest reads what runs left.

Imports nothing heavy: ``./run --help`` must answer at once. Exit codes: 0 done, 2 a mistake of the
user (one line says which), 1 our fault, 75 the same work is already running, 130 interrupted.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from research.cli import audit, live, operations, record, venues
from research.errors import UserError
from research.flags import (
    FLAGS,
    KEYS,
    SOME,
    STAGES,
    Debug,
    Every,
    Grid,
    Json,
    Lookback,
    Name,
    Scheduler,
    Seed,
    Settings,
    read_options,
    taken,
)

__all__ = ["KEYS", "STAGES", "app", "main", "read_options"]

app = typer.Typer(
    name="./run",
    help="Alphabook: from raw bars to an honest verdict, in notebooks.\n\n"
    "Start with [bold]./run demo[/bold]; then [bold]./run lab[/bold] to explore.",
    epilog="Exit codes: 0 done, 2 your mistake (one line says which), 1 ours, 75 already running, "
    "130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _add_stage(stage: str, help: str, flags: tuple[str, ...]) -> None:
    """Register one stage as a command with just the flags that it takes."""

    def command(**given: Any) -> None:
        _set_up_log(given["debug"])
        chosen = taken(given["config"] or given["name"] or given["study"])
        fresh = {k for k in ("recompute", "retrain") if given.get(k)}
        _run(stage, chosen, read_options(**given), fresh, given["as_json"])

    command.__doc__ = help
    command.__annotations__ = {flag: FLAGS[flag] for flag in flags}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                flag,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if FLAGS[flag].__origin__ is bool else None,
                annotation=FLAGS[flag],
            )
            for flag in flags
        ]
    )
    app.command(stage)(command)


def _run(stage: str, chosen: str, options: dict[str, Any], fresh: set[str], as_json: bool) -> None:
    from research import stages

    if stage == "report":
        done = stages.run_report(chosen, options, fresh=fresh)
        typer.echo(json.dumps(done.summary, allow_nan=False) if as_json else done.text())
    else:
        _say(stages.run_stage(stage, chosen, options, fresh=fresh), as_json)


def _say(done: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(done, allow_nan=False))
    else:
        for key, value in done.items():
            typer.echo(f"{key:>10}  {value}")


def _set_up_log(debug: bool) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("research").setLevel(logging.DEBUG if debug else logging.INFO)
    if debug:
        os.environ["ALPHABOOK_DEBUG"] = "1"


for _name, (_help, _flags) in STAGES.items():
    _add_stage(_name, _help, _flags)


@app.command()
def demo(seed: Seed = None, as_json: Json = False, debug: Debug = False) -> None:
    """The main job in minutes, offline: a market with a known edge, from bars to verdict."""
    _set_up_log(debug)
    _run("report", "demo", read_options(seed=seed), set(), as_json)


_ROOMS = (live, venues, operations, record, audit)
for _command in (command for room in _ROOMS for command in room.COMMANDS):
    app.command()(_command)
app.add_typer(audit.audit, name="audit")


@app.command()
def sweep(
    name: Name = None,
    grid: Grid = None,
    settings: Settings = None,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 1,
    scheduler: Scheduler = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run every combination of some settings; done ones are skipped, failures set aside."""
    from research import sweeps

    _set_up_log(debug)
    chosen = taken(name)
    where: dict[str, Any] = {"workers": workers, "scheduler": scheduler}
    done = sweeps.run(chosen, read_options(settings), grid or [], **where)
    typer.echo(json.dumps(done.to_dict(), allow_nan=False) if as_json else done.text())


@app.command()
def search(
    name: Name = None,
    space: Annotated[
        list[str] | None,
        typer.Option(
            "-s",
            "--space",
            metavar="KEY=V1,V2|LOW..HIGH",
            help="Choices of a study key, or its range, as in -s backtest.enter='5 bps..30 bps'; "
            "'1e-3..10:log' over orders of magnitude; repeatable.",
        ),
    ] = None,
    settings: Settings = None,
    trials: Annotated[int, typer.Option(help="In all, those of an earlier call included.")] = 30,
    goal: Annotated[str, typer.Option(help="What is made large: sharpe, net or ic.")] = "sharpe",
    sampler: Annotated[str, typer.Option(help="tpe, random, grid or genetic.")] = "tpe",
    held_out: Annotated[float, typer.Option(help="Newest share that no trial sees.")] = 0.3,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Look for settings out of sample; the winner is shown on days that no trial has seen."""
    from research import search as room

    _set_up_log(debug)
    how: dict[str, Any] = {"goal": goal, "sampler": sampler, "held_out": held_out}
    found = room.run(taken(name), read_options(settings), space or [], n_trials=trials, **how)
    typer.echo(json.dumps(found.to_dict(), allow_nan=False) if as_json else found.text())


@app.command()
def portfolio(
    names: Annotated[list[str] | None, typer.Argument(metavar="STUDY...", help=SOME)] = None,
    weights: Annotated[
        str,
        typer.Option(
            help="How shares are set: equal; inverse_volatility; cost_aware, the same with those "
            "that lost as cash; best, all to the best so far."
        ),
    ] = "inverse_volatility",
    by_symbol: Annotated[
        bool, typer.Option("--by-symbol", help="Each symbol of each study is a part of its own.")
    ] = False,
    every: Every = "7 d",
    lookback: Lookback = "28 d",
    settings: Settings = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Trade several studies in one account; shares are set from past days alone, and paid for.

    As in ./run portfolio quantiles trend --weights cost_aware. Each period every part trades its
    share from flat to flat, so the account is made of fills. Each portfolio tried is a trial.
    """
    from research import pipeline
    from research import portfolio as room

    _set_up_log(debug)
    studies = [pipeline.read(name, read_options(settings)) for name in names or [taken(None)]]
    how: dict[str, Any] = {"weights": weights, "by_symbol": by_symbol, **_spans(every, lookback)}
    _show(room.run(studies, **how), as_json)


@app.command()
def walk(
    name: Name = None,
    grid: Grid = None,
    every: Every = "7 d",
    lookback: Lookback = "28 d",
    settings: Settings = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Walk forward over settings: each period trades what was best in the days before it.

    As in ./run walk demo -g backtest.enter='8 bps,16 bps'. What each setting would have earned
    from beginning to end stands beside it; the best of those is known only afterwards.
    """
    from research import portfolio as room

    _set_up_log(debug)
    how = _spans(every, lookback)
    _show(room.walk_forward(taken(name), read_options(settings), grid or [], **how), as_json)


def _spans(every: str, lookback: str) -> dict[str, Any]:
    from research.units import duration

    return {"every": duration(every), "lookback": duration(lookback)}


def _show(found: Any, as_json: bool) -> None:
    typer.echo(json.dumps(found.to_dict(), allow_nan=False) if as_json else found.text())


@app.command()
def runs(as_json: Json = False) -> None:
    """List the stored runs, newest first."""
    from research.stored_runs import runs as stored

    found = stored()
    typer.echo(json.dumps(found.to_dict(), allow_nan=False) if as_json else found.text())


@app.command()
def compare(a: str, b: str, as_json: Json = False) -> None:
    """Compare two runs: changed settings, metrics side by side, the paired difference in IC."""
    from research.stored_runs import compare as compare_runs

    found = compare_runs(a, b)
    typer.echo(json.dumps(found.to_dict(), allow_nan=False) if as_json else found.text())


@app.command()
def new(
    name: str,
    stage: Annotated[str, typer.Option(help="The stage whose notebook is copied.")] = "features",
    as_json: Json = False,
) -> None:
    """Put a copy of a stage's notebook into notebooks/my/, yours to change."""
    from research import stages

    _say(stages.new_notebook(name, stage), as_json)


@app.command()
def campaign(
    name: str,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="How many: simulated markets of each kind; kills for interruption, crash and "
            "recorder, days for soak, hours for day, triggers for switch, contests for shadow, "
            "messages for books and frames, orders, kills and steps of those. Absent: as many as "
            "a claim needs.",
            min=1,
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    study: Annotated[
        list[str] | None,
        typer.Option(
            "--study",
            help="For nothing and phase, more than once for several. "
            "Absent: quantiles, rolling_bot, trend.",
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Long measurements that are not part of check; each ends in numbers to quote.

    Of research: truth, nothing, phase, interruption. Of paper trading: same, crash, soak, day,
    switch, shadow. Of order books: books, frames, recorder. Of orders: order_timeouts,
    order_kills, order_steps.
    """
    from research import campaigns

    _set_up_log(debug)
    found = campaigns.run(name, seeds=seeds, workers=workers, studies=study or ())
    typer.echo(json.dumps(found, allow_nan=False) if as_json else campaigns.text(found))


@app.command()
def lab(as_json: Json = False) -> None:
    """Open JupyterLab on the tour (./run does it; elsewhere: jupyter lab notebooks)."""
    raise UserError("lab: start it as ./run lab, or as: jupyter lab notebooks/00_tour.ipynb")


@app.command()
def check(as_json: Json = False) -> None:
    """Run every test, on code and notebooks (./run does it; elsewhere: pytest)."""
    raise UserError("check: start it as ./run check, or run pytest")


def main() -> None:
    """Run the command line and leave with its exit code."""
    _read_env_file()
    signal.signal(signal.SIGINT, _interrupted)
    try:
        app(prog_name="./run" if os.name == "posix" else "python -m research")
    except UserError as error:
        if os.environ.get("ALPHABOOK_DEBUG"):
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except BlockingIOError as error:
        typer.echo(f"already running: {error}", err=True)
        sys.exit(75)


def _interrupted(*_: Any) -> NoReturn:
    # a notebook's kernel and its tasks are cut off, which their own log would tell at length;
    # whoever asks again wants out at once
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    logging.disable()
    typer.echo("interrupted: run it again, and it goes on where it stopped", err=True)
    sys.exit(130)


def _read_env_file() -> None:
    """Take settings from ``.env`` that the environment does not have."""
    path = Path(__file__).resolve().parents[2] / ".env"
    lines = path.read_text(encoding="utf8").splitlines() if path.exists() else []
    for line in lines:
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            os.environ.setdefault(key.strip(), value.strip().strip("\"'"))
