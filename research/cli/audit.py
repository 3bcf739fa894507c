"""The commands of evidence: what looks ahead, what a leak would do, what luck alone would pass."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from research.flags import FLAGS, Debug, Json, Name, Scheduler, Settings, read_options, taken

audit = typer.Typer(
    help="Evidence: causality (nothing looks ahead), mutations (leaks are caught), "
    "discovery (how often luck passes), paths (one study along several histories), autopsy (where "
    "published numbers came from), prose (numbers in texts).",
    no_args_is_help=True,
)
Study, Symbols = FLAGS["study"], FLAGS["symbols"]


def _out(room: Any, found: dict[str, Any], as_json: bool) -> None:
    typer.echo(json.dumps(found, allow_nan=False) if as_json else room.text(found))


def _chosen(name: str | None, study: str | None, **given: Any) -> Any:
    from research import pipeline

    return pipeline.read(taken(name or study), read_options(**given))


@audit.command()
def causality(
    name: Name = None,
    study: Study = None,  # type: ignore[valid-type]
    sets: Annotated[
        str | None,
        typer.Option(help="Registered feature sets, as in S1,S2. Absent: the study's own."),
    ] = None,
    symbols: Symbols = None,  # type: ignore[valid-type]
    settings: Settings = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Prove at every bar that no feature of a study sees the future, nor its labels and folds.

    One check is one feature at one bar, compared after all bars from the very next on have changed.
    Exit code 1 where something looks ahead, which is named by feature, symbol and bar, and where
    nothing is shown either way.
    """
    from research import batch
    from research.audit import certificate
    from research.cli import _set_up_log

    _set_up_log(debug)
    chosen = _chosen(name, study, settings=settings, symbols=symbols)
    wanted = [one.strip() for one in sets.split(",")] if sets else None
    found = certificate.run(chosen, sets=wanted, progress=batch.progress("causality"))
    _out(certificate, found, as_json)
    if not found["ok"]:
        raise typer.Exit(1)


@audit.command()
def mutations(
    only: Annotated[
        str | None, typer.Option(help="Leaks by name, comma between them. Absent: all.")
    ] = None,
    clean: Annotated[int, typer.Option(help="Runs without a leak.", min=0)] = 20,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Let realistic leaks into the real pipeline, one by one, and see which guard catches each.

    Exit code 1 where a leak was missed, or a guard cried wolf on a clean run.
    """
    from research import batch
    from research.audit import mutations as room
    from research.cli import _set_up_log

    _set_up_log(debug)
    wanted = [one.strip() for one in only.split(",")] if only else None
    found = room.run(only=wanted, clean=clean, progress=batch.progress("mutations"))
    _out(room, found, as_json)
    if found["missed"] or found["false_alarms"]:
        raise typer.Exit(1)


@audit.command()
def discovery(
    name: Name = None,
    study: Study = None,  # type: ignore[valid-type]
    markets: Annotated[int, typer.Option(help="How many.", min=1)] = 200,
    null: Annotated[
        str,
        typer.Option(
            help="simulated, or the study's own bars without what could be forecast: flips, "
            "blocks, shifts."
        ),
    ] = "simulated",
    planted: Annotated[
        float | None, typer.Option(help="IC planted into simulated markets: power.", min=0)
    ] = None,
    trials: Annotated[int, typer.Option(help="Settings tried on each market.", min=1)] = 10,
    workers: Annotated[int, typer.Option(help="Processes.", min=1)] = 2,
    scheduler: Scheduler = None,
    settings: Settings = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """How often the whole pipeline finds an edge in markets without one, or one that is planted.

    On each market several settings are tried and the best is judged, as a researcher would.
    """
    from research import batch
    from research.audit import discovery as room
    from research.cli import _set_up_log

    _set_up_log(debug)
    found = room.run(
        taken(name or study),
        read_options(settings),
        markets=markets,
        null=null,
        planted=planted,
        trials=trials,
        workers=workers,
        scheduler=scheduler,
        progress=batch.progress(f"discovery: {markets} markets"),
    )
    _out(room, found, as_json)
    if found["failed"]:
        raise typer.Exit(1)


@audit.command()
def paths(
    name: Name = None,
    study: Study = None,  # type: ignore[valid-type]
    groups: Annotated[int, typer.Option(help="Pieces the span is cut into.", min=3)] = 6,
    test_groups: Annotated[int, typer.Option(help="Pieces tested at a time.", min=1)] = 2,
    symbols: Symbols = None,  # type: ignore[valid-type]
    settings: Settings = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Combinatorial purged cross-validation: the same study along several histories.

    Models here have seen later bars than those they forecast: for judging, never for trading.
    """
    from research import batch
    from research import paths as room
    from research.cli import _set_up_log

    _set_up_log(debug)
    chosen = _chosen(name, study, settings=settings, symbols=symbols)
    watch = batch.progress("splits")
    found = room.run(chosen, groups=groups, test_groups=test_groups, progress=watch)
    _out(room, found, as_json)


@audit.command()
def autopsy(
    source: Annotated[str, typer.Argument(metavar="S1|S2|S3|S4", help="Which source.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Where a source's kind of number came from: each leak taken out in turn, on a random walk.

    Only the last line is a result; notebook 09 shows all four as pictures.
    """
    from research.audit import autopsy as room
    from research.cli import _set_up_log

    _set_up_log(debug)
    _out(room, room.run(source), as_json)


@audit.command()
def prose(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[COMMAND...]",
            help="With --keep: what gives the result, as in report quantiles, or "
            "benchmarks/sweep.py.",
        ),
    ] = None,
    keep: Annotated[
        str | None, typer.Option(help="Run COMMAND and keep what it gives under this name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold every number in README and notebooks against the result that it states.

    Exit code 1 where one is not what was measured, or nobody knows where it is from. Results stand
    in benchmarks/results.json, sentences with their numbers' sources in benchmarks/prose.toml.
    """
    from research.audit import prose as room

    if keep:
        room.measure(keep, words or [])
    found = room.run()
    _out(room, found, as_json)
    if found["faults"]:
        raise typer.Exit(1)


def verify(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A stored run. Absent: the newest.")
    ] = "latest",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Rebuild a stored run from its cards: identical, or which artefact differs first, and how."""
    from research import batch
    from research.audit import verify as room
    from research.cli import _set_up_log

    _set_up_log(debug)
    found = room.run(run, progress=batch.progress("verify"))
    _out(room, found, as_json)
    if found["verdict"] == "different":
        raise typer.Exit(1)


def why(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A stored run or a paper run.")],
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL")],
    time: Annotated[str, typer.Argument(metavar="TIME", help="The bar's close, UTC.")],
    as_json: Json = False,
) -> None:
    """Why one bar was decided as it was: coverage, features, forecast, cut-points, costs, reason.

    As in ./run why latest SIM01USDT "2024-02-16 20:27".
    """
    from research.audit import why as room

    _out(room, room.run(run, symbol, time), as_json)


def trials(
    lineage: Annotated[
        str | None, typer.Option(help="Of this data alone. Absent: of all.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Every configuration that was tried, on which data, and what it came to: the trial ledger."""
    from research.store import ledger

    if as_json:
        typer.echo(json.dumps({"trials": ledger.table(lineage).to_dicts()}, default=str))
    else:
        typer.echo(ledger.text(lineage))


COMMANDS = (verify, why, trials)
"""Commands beside the ``audit`` group."""
