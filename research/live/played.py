"""A market that is known beforehand: a simulated exchange that plays one, or stored bars."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from research import datasets, sim
from research.errors import UserError
from research.live import folders, journal, names, prepare
from research.live.replay import micro
from research.live.rows import at, micros
from research.sim import kraken
from research.store import atomic
from research.study import Study

MARKET = "market.parquet"
EXCHANGE = "exchange.jsonl"
"""What a simulated exchange sent and answered, where faults were asked of it."""
SHOWN = timedelta(days=1)
"""Market time before the start that a simulated exchange knows bars of."""
PLAYED = ("simulated", "replay")
"""Feeds of a market that is known beforehand."""


def plan(asked: str | None) -> Any:
    """Read what is asked for as a number of faults, or as the path of a plan."""
    if asked is None or asked.isdigit():
        return asked and int(asked)
    if not Path(asked).is_file():
        raise UserError(f"live: --faults must be a count or the file of a plan, found {asked!r}.")
    return sim.faults.read(Path(asked))


def begin(study: Study, folder: Path, begun: bool) -> int:
    """Write down the market that is to be played, or was until now: where does it go on."""
    if begun:
        return prepare.last_decided(folder)
    bars, start = bars_of(study)
    # older bars are stored, so nobody asks for them: an exchange that reads them comes up late
    last = pl.min_horizontal(pl.lit(at(start)), pl.col("time").max().over("symbol"))
    atomic.write_parquet(folder / MARKET, bars.filter(pl.col("time") > last - SHOWN))
    return start


def exchange(
    study: Study, folder: Path, speed: float, plan: Any, start: int
) -> asyncio.Future[Any]:
    """Start the simulated exchange on the run's market; it takes a second or two to come up."""
    log = folder / EXCHANGE if plan else None
    how = {"start": start, "speed": speed or math.inf, "faults": plan, "seed": study.seed}
    how["names"] = study.live.symbols
    begin = partial(sim.start, folder / MARKET, **how, log=log)
    return asyncio.get_running_loop().run_in_executor(None, begin)


def ended(folder: Path) -> bool:
    """Tell whether a run's account is gone: a simulated exchange ends with the sitting it is for.

    A run on paper has its account in its journal, and one that has sent no order has lost nothing.
    """
    facts = folders.facts(folder)
    there = facts.get("mode") == "live" and facts["feed"] == "simulated"
    return there and bool(journal.read(folder, kinds=("send",), last=1))


def bars_of(study: Study) -> tuple[pl.DataFrame, int]:
    """Return the study's market with the days to come, and when those begin."""
    if study.data.source != "simulated":
        bars = datasets.load(study)
        last = micros(bars["time"].max())  # type: ignore[arg-type]
        return bars, grid(last - micro(timedelta(days=study.live.days)), study)
    days = study.simulated.days + study.live.days
    longer = study.with_options({"simulated.days": days})
    bars = datasets.load(longer)
    first = micros(bars["open_time"].min())  # type: ignore[arg-type]
    return bars, first + micro(timedelta(days=study.simulated.days))


def drawn(asked: Any, study: Study, market: Path, start: int, length: int | None) -> Any:
    """Read a fault plan, or draw one over the bars that will be traded."""
    if asked is None:
        return ()
    if not isinstance(asked, int):
        return asked
    bars = pl.scan_parquet(market).filter(pl.col("time") > at(start))
    if length is not None:
        bars = bars.filter(pl.col("time") <= at(start + length))
    found = bars.select(pl.col("time").n_unique(), pl.col("symbol").unique().implode()).collect()
    played, symbols = found.row(0)
    if names.feed(study) == "kraken":
        return kraken.plan(asked, study.seed, played)
    return sim.faults.plan(asked, study.seed, played, sorted(symbols))


def symbols(study: Study, folder: Path) -> list[str]:
    """Return what is traded: the study's symbols, or all that its market has."""
    named = datasets.symbols(study)
    if named:
        return sorted(named)
    if study.feed in PLAYED:
        return (
            pl.read_parquet(folder / MARKET, columns=["symbol"])["symbol"].unique().sort().to_list()
        )
    return datasets.load(study)["symbol"].unique().sort().to_list()


def grid(now: int, study: Study) -> int:
    """Return the last close of a bar up to `now`."""
    interval = micro(study.data.interval)
    return now // interval * interval
