"""The commands of live trading: they start a runner, talk to one, and prove what it did."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from research.errors import UserError
from research.flags import FLAGS, Debug, Json, Name, Settings, read_options, taken

Run = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="A paper run, or a part of its id. Absent: the newest.",
        show_default=False,
    ),
]
Study, Symbols = FLAGS["study"], FLAGS["symbols"]
TOLD = "told to on the command line"
Why = Annotated[str, typer.Option(help="Goes into the journal.")]


def live(
    name: Name = None,
    study: Study = None,  # type: ignore[valid-type]
    span: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="SPAN", help="Market time to trade, as in 24h. Absent: until stopped."
        ),
    ] = None,
    speed: Annotated[
        float,
        typer.Option(
            help="Of a simulated market: its seconds in a real one, an upper bound; 0: no bound."
        ),
    ] = 60.0,
    mode: Annotated[
        str | None,
        typer.Option(help="paper or live. Absent: paper, unless the study says live."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide and journal, but fill nothing.")
    ] = False,
    resume: Annotated[
        str | None,
        typer.Option(
            "--continue",
            metavar="RUN",
            help="Go on with a run that was stopped; without --for, to the end it had.",
        ),
    ] = None,
    faults: Annotated[
        str | None,
        typer.Option(metavar="FILE|N", help="Of a simulated market: a fault plan, or how many."),
    ] = None,
    symbols: Symbols = None,  # type: ignore[valid-type]
    settings: Settings = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Trade a study: its champion model on live bars, around the clock; on paper, unless armed.

    Bars, features, model, decision and fills are those of the notebooks; ./run parity proves it.
    Without a name it is the demo. A study of the simulated market runs at once and offline:
    ./run live demo --for 24h --speed 500. Any other trades on Binance's live bars. Everything is in
    the run's journal: kill the process at any moment and go on with --continue. A champion is
    trained first where there is none.
    ./run status, ./run kill and ./run page talk to it; ctrl-C ends it with a summary.
    Real orders need four arms, see ./run arm --help; --mode paper is stronger than all of them.
    """
    from research.cli import _set_up_log
    from research.live import session

    _set_up_log(debug)
    if name and study and name != study:
        raise UserError(f"live: two studies are named, {name!r} and {study!r}. Name one.")
    options = read_options(settings=settings, symbols=symbols)
    done = session.run(
        "" if resume else taken(name or study),
        options,
        span=span,
        speed=speed,
        mode=mode,
        dry_run=dry_run,
        resume=resume,
        faults=faults,
        debug=debug,
    )
    typer.echo(json.dumps(done, allow_nan=False) if as_json else session.text(done))


def parity(run: Run = None, as_json: Json = False) -> None:
    """Replay what a paper run recorded by the notebooks' way, and account for every difference."""
    from research.live import folders
    from research.live.proof import check

    found = check(folders.find(run))
    typer.echo(json.dumps(found.to_dict(), allow_nan=False) if as_json else found.text())
    if found.unexplained:
        raise typer.Exit(1)


def arm(
    name: Name = None,
    account: Annotated[
        str | None, typer.Option(metavar="VENUE:NAME", help="The account, as in kraken:main.")
    ] = None,
    hours: Annotated[float, typer.Option(help="Until the signature expires.")] = 24.0,
    symbols: Symbols = None,  # type: ignore[valid-type]
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Sign, for some hours, that a study may send real orders to an account: the last of four arms.

    1. The extra 'live' is installed. 2. The study (its file, or -o) says live.mode = "live" and
    names live.account. 3. The environment holds the day and the account:
    ALPHABOOK_LIVE="2026-11-21 kraken:main". 4. This signature, by the account's API secret over the
    study, its settings and the account: a changed setting needs a new one. ./run live looks at all
    four when it starts or goes on; where one is missing it starts nothing.
    """
    from research import study
    from research.live import arms

    if name is None or account is None:
        raise UserError(
            "arm: name the study and its account: ./run arm STUDY --account kraken:main"
        )
    chosen = study.read(name, read_options(settings=settings, symbols=symbols))
    path = arms.arm(chosen, account, hours)
    said = {"study": chosen.name, "account": account, "hours": hours, "file": str(path)}
    line = f"armed: study {chosen.name} for account {account}, {hours:g} h ({path})"
    typer.echo(json.dumps(said) if as_json else line)


def kill(run: Run = None, why: Why = TOLD, as_json: Json = False) -> None:
    """Halt a run: no new position, and it stays halted. What is held is left: on paper at the next
    open, with real orders at once, once all that is open has been cancelled."""
    _tell("kill", run, as_json, why=why)


def resume(
    run: Run = None,
    why: Why = TOLD,
    accept_venue: Annotated[
        bool,
        typer.Option(
            "--accept-venue",
            help="Real orders: hold for true what the venue says is held, and no fill explains.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Let a halted run trade again."""
    more = {"accept_venue": True} if accept_venue else {}
    _tell("resume", run, as_json, why=why, **more)


def rollback(run: Run = None, as_json: Json = False) -> None:
    """Put the model that was in force before the present one back into force."""
    from research.live import folders, replay

    replay.way_back(folders.find(run))
    _tell("rollback", run, as_json)


def stop(run: Run = None, as_json: Json = False) -> None:
    """End a paper run after the bar in hand; ./run live --continue RUN goes on."""
    _tell("stop", run, as_json)


def _tell(command: str, run: str | None, as_json: bool, **body: Any) -> None:
    from research.live import folders

    folder = folders.find(run)
    if command == "kill":
        folders.kill(folder)
    if command == "resume":
        (folder / "KILL").unlink(missing_ok=True)
    if folders.runner(folder) is None and command != "kill":
        raise UserError(
            f"run {folder.name} is not running. Go on: ./run live --continue {folder.name}"
        )
    said = {"run": folder.name, "command": command, "id": folders.send(folder, command, **body)}
    typer.echo(json.dumps(said) if as_json else f"{command}: run {folder.name} has been told.")


def status(run: Run = None, as_json: Json = False) -> None:
    """Show how a paper run is doing; exit code 1 when it is not well."""
    from research.live import folders
    from research.live.status import status as look

    found = look(folders.find(run))
    typer.echo(json.dumps(found.to_dict(), allow_nan=False) if as_json else found.text())
    if not found.well:
        raise typer.Exit(1)


def page(
    run: Run = None,
    port: Annotated[int, typer.Option(help="On this machine alone.")] = 8765,
    debug: Debug = False,
) -> None:
    """Serve the live page of a paper run on this machine: equity, decisions, feed, models, kill."""
    from research.live import folders
    from research.live.page import serve

    serve(folders.find(run), port=port)


def repair(run: Run = None, as_json: Json = False) -> None:
    """Rebuild a damaged journal from its longest sound part; the damaged one is kept aside."""
    from research.live import folders, journal

    found = journal.repair(folders.find(run))
    said = {**found._asdict(), "aside": found.aside.name}
    typer.echo(json.dumps(said) if as_json else found.text())


COMMANDS = (live, arm, parity, status, page, kill, resume, rollback, stop, repair)
