"""The flags of the command line, each one once with its type and help, and what they set.

Imports nothing heavy: ``./run --help`` must answer at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from research.errors import UserError


def _text(*names: str, help: str, metavar: str | None = None) -> Any:
    return Annotated[
        str | None, typer.Option(*names, help=help, metavar=metavar, show_default=False)
    ]


def _whole(*names: str, help: str) -> Any:
    return Annotated[int | None, typer.Option(*names, help=help, show_default=False)]


def _switch(*names: str, help: str) -> Any:
    return Annotated[bool, typer.Option(*names, help=help)]


Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout; progress and log on stderr.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Log everything, and show tracebacks.")]
Seed = Annotated[
    int | None, typer.Option("--seed", help="Seed of all that is random.", show_default=False)
]
Name = Annotated[
    str | None,
    typer.Argument(metavar="STUDY", help="A study in studies/, or a path.", show_default=False),
]
Scheduler = Annotated[
    str | None,
    typer.Option(
        help="A Dask cluster in place of processes, as in tcp://127.0.0.1:8786.", show_default=False
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "-o",
        "--option",
        metavar="KEY=VALUE",
        help="Set any study key, as in -o labels.horizon='5 min'; may be repeated.",
        show_default=False,
    ),
]

Grid = Annotated[
    list[str] | None,
    typer.Option("-g", "--grid", metavar="KEY=V1,V2", help="Values of a study key; repeatable."),
]
Every = Annotated[str, typer.Option(help="Length of a period; at its end all is closed and paid.")]
Lookback = Annotated[
    str, typer.Option(help="Days before a period that are looked at: 5 d or more.")
]
SOME = "Studies in studies/, or paths; -o sets a key of all of them."


def taken(name: str | None) -> str:
    """Return the study that a command was told; where it was told none, `demo`, and say so."""
    if name:
        return name
    typer.echo(
        "no study was named: taking demo. Name another of those in studies/, or a file, as in "
        "./run report quantiles.",
        err=True,
    )
    return "demo"


# every flag once: its type and help; a flag that names a study key says so
FLAGS: dict[str, Any] = {
    "name": Name,
    "study": _text("--study", help="The same as STUDY."),
    "config": _text("--config", help="A study file of your own (.toml, .yaml, .json)."),
    "settings": Settings,
    "symbols": _text("--symbols", "--symbol", help="data.symbols, comma between."),
    "single": _switch("--single", help="model.single: one model per symbol."),
    "interval": _text("--interval", help="data.interval, as in 5m."),
    "recompute": _switch("--recompute", help="Rebuild this stage even if nothing changed."),
    "retrain": _switch("--retrain", help="Train every fold from scratch."),
    "continue_rounds": _whole(
        "--continue-rounds", help="model.continue_rounds: rounds to add to each stored fold model."
    ),
    "bins": _whole("--bins", help="evaluation.bins."),
    "quantile": _whole(
        "--quantile", help="backtest.quantile: the bin to trade; sets backtest.rule=quantile."
    ),
    "scope": _text(
        "--quantile-scope", help="evaluation.scope: trailing, fold, or a diagnostic one."
    ),
    "side": _text("--side", help="backtest.side: auto, long, short, longshort."),
    "fee": _text("--fee", help="costs.fee per side, as in '2 bps'."),
    "seed": Seed,
    "as_json": Json,
    "debug": Debug,
}
KEYS = {
    "symbols": "data.symbols",
    "single": "model.single",
    "interval": "data.interval",
    "continue_rounds": "model.continue_rounds",
    "bins": "evaluation.bins",
    "quantile": "backtest.quantile",
    "scope": "evaluation.scope",
    "side": "backtest.side",
    "fee": "costs.fee",
    "seed": "seed",
}
_ALL = ("name", "study", "config", "settings", "symbols", "interval")
_END = ("seed", "as_json", "debug")
_TRAIN = ("single", "retrain", "continue_rounds")
_TRADE = ("bins", "quantile", "scope", "side", "fee")
STAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "download": (
        "Bring the study's bars into the store: download, import or simulate (notebook 01).",
        (*_ALL, "recompute", *_END),
    ),
    "features": ("Compute and study the features (notebook 02).", (*_ALL, "recompute", *_END)),
    "train": (
        "Train walk-forward and store out-of-sample forecasts (notebook 03).",
        (*_ALL, *_TRAIN, *_END),
    ),
    "evaluate": (
        "Score the forecasts: IC with interval, quantiles, decay (notebook 04).",
        (*_ALL, "single", "bins", "scope", "recompute", *_END),
    ),
    "backtest": (
        "Trade the forecasts with costs, one bar at a time (notebook 05).",
        (*_ALL, "single", *_TRADE, "recompute", *_END),
    ),
    "report": (
        "Run the whole chain, notebooks 01 to 05 (07 of order flow), and write the run's report.",
        (*_ALL, *_TRAIN, *_TRADE, "recompute", *_END),
    ),
}


def read_options(settings: list[str] | None = None, **flags: Any) -> dict[str, Any]:
    """Turn ``-o key=value`` and the short flags into dotted study options.

    Values are read as JSON where they are JSON, else as text.

    >>> read_options(["labels.horizon=5 min", "evaluation.bins=5"], fee="2 bps", single=False)
    {'costs.fee': '2 bps', 'labels.horizon': '5 min', 'evaluation.bins': 5}
    """
    from research.study import literal

    options = {KEYS[k]: v for k, v in flags.items() if k in KEYS and v not in (None, False)}
    for setting in settings or []:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UserError(f"-o {setting!r}: expected KEY=VALUE, as in -o labels.horizon='5 min'.")
        options[key.strip()] = literal(value)
    if flags.get("quantile") is not None:
        options.setdefault("backtest.rule", "quantile")
    if flags.get("seed") is not None:
        options["simulated.seed"] = flags["seed"]  # all that is random, the market too
    if isinstance(options.get("data.symbols"), str):
        names = str(options["data.symbols"]).split(",")
        options["data.symbols"] = [name.strip() for name in names if name.strip()]
    if isinstance(options.get("data.path"), str) and Path(options["data.path"]).exists():
        options["data.path"] = str(Path(options["data.path"]).resolve())
    return options
