"""Is paper trading the backtest? Bar by bar, over real sockets, on a quiet venue and a bad one."""

from __future__ import annotations

import json
import time
from collections import Counter
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from research import batch
from research.campaigns.paper.place import market, store, trade

FAULTS = 200
_DAY = 1440
_FILL = ("quantity", "entry_price", "exit_price", "fees", "funding", "net", "entry_reason")
_TRADE = ("exit_time", "symbol", "entry_time", "exit_reason", *_FILL)


def same(seeds: int, workers: int, *, minutes: int = _DAY, faults: int = FAULTS) -> dict[str, Any]:
    """Trade days on paper at no bound of speed, and hold each against the backtest of its data.

    Each day is traded again on a venue with `faults` recoverable faults.

    Parameters
    ----------
    seeds : int
        Markets, with seeds 1, 2, 3, ...; a seed also draws its faults.
    workers : int
        Processes; bars per second are those of one undisturbed run when it is 1.
    minutes : int
        Of each day.
    faults : int
        Spread over the whole day that the exchange plays.

    Returns
    -------
    dict
        ``decisions_other_than_backtest``, ``fills_other_than_backtest``, ``equity_other``,
        ``parity_differences`` and ``logs_that_faults_changed`` should be 0; ``struck`` counts the
        frames and answers that each kind of fault befell, ``felt`` what the runner noted and how
        its bars came. ``speed`` is that of market time, with the start of all processes.
    """
    watch = batch.progress(f"same: {seeds} days")
    work = partial(_day, minutes=minutes, faults=faults)
    markets = list(batch.each(work, range(1, seeds + 1), workers=workers, watch=watch))
    summed = ("bars", "trades", *_WRONG)
    return {
        **{name: sum(row[name] for row in markets) for name in summed},
        "decisions_per_second": [row["decisions_per_second"] for row in markets],
        "speed": [row["speed"] for row in markets],
        "speed_with_faults": [row["speed_with_faults"] for row in markets],
        "struck": dict(sorted(sum((Counter(row["struck"]) for row in markets), Counter()).items())),
        "felt": dict(sorted(sum((Counter(row["felt"]) for row in markets), Counter()).items())),
        "markets": markets,
    }


_WRONG = (
    "decisions_other_than_backtest",
    "fills_other_than_backtest",
    "equity_other",
    "parity_differences",
    "logs_that_faults_changed",
    "unexplained_with_faults",
)


def _day(seed: int, *, minutes: int, faults: int) -> dict[str, Any]:
    """Trade one day twice, and compare."""
    from research.live import journal, proof

    options = market(seed)
    with store():
        trade(options, 1)  # draws the market, trains the champion
        calm, took = _timed(options, minutes, 0)
        rough, longer = _timed(options, minutes, faults)
        quiet, bad = proof.check(calm), proof.check(rough)
        return {
            "seed": seed,
            "bars": quiet.bars,
            "decisions": quiet.decisions,
            **_backtested(options, calm),
            "parity_differences": quiet.differences.height,
            "logs_that_faults_changed": int(journal.decisions(calm) != journal.decisions(rough)),
            "unexplained_with_faults": bad.unexplained,
            "struck": _struck(rough),
            "felt": _felt(rough),
            "seconds": round(took, 1),
            "seconds_with_faults": round(longer, 1),
            "decisions_per_second": round(quiet.decisions / took, 1),
            "speed": round(60 * minutes / took),
            "speed_with_faults": round(60 * minutes / longer),
        }


def _timed(options: dict[str, Any], minutes: int, faults: int) -> tuple[Path, float]:
    begun = time.perf_counter()
    return trade(options, minutes, faults), time.perf_counter() - begun


# -- the backtest ----------------------------------------------------------------------------------


def _backtested(options: dict[str, Any], folder: Path) -> dict[str, int]:
    """Count where a run differs from the pipeline's own backtest of out-of-sample forecasts."""
    import polars as pl

    from research import schema
    from research.live import journal

    decided = [event.body for event in journal.read(folder, kinds=("moment",))]
    end = decided[-1]["time"]
    tables = _tables(options, journal.read(folder)[0].body["time"], end)
    rows = [
        (row["symbol"], body["time"], row["reason"], row["position"])
        for body in decided
        for row in body["rows"]
    ]
    upto = pl.col("time") <= pl.lit(end).cast(schema.TIME)
    theirs = tables["reasons"].filter(upto).with_columns(pl.col("time").dt.epoch("us")).rows()
    equity = tables["equity"].filter(upto)["equity"].to_list()
    trades = [each for body in decided for each in body["trades"]]
    ours = {tuple(each[name] for name in _TRADE) for each in trades}
    return {
        "trades": len(trades),
        "decisions_other_than_backtest": len(set(rows) ^ set(theirs)),
        "fills_other_than_backtest": len(ours ^ set(_ended(tables["trades"], end))),
        "equity_other": len(set(enumerate(equity)) ^ {*enumerate(b["equity"] for b in decided)}),
    }


def _tables(options: dict[str, Any], start: int, end: int) -> dict[str, Any]:
    """Backtest the fold that begins where the run began, as the notebooks would."""
    import polars as pl

    from research import pipeline, read_study, tape
    from research.live.rows import at

    days = options["simulated.days"] + options["live.days"] + 1
    study = read_study("demo", {**options, "simulated.days": days})
    beyond: datetime = at(end) + timedelta(minutes=1)  # where the backtest clears its desk
    made = pipeline.forecasts(study).filter(pl.col("time") > at(start), pl.col("time") <= beyond)
    bars = pipeline.bars(study).filter(pl.col("time") <= beyond)
    laid = tape.lay(study, bars, made)
    return tape.tables(laid, laid.play(tape.rules(study), capital=study.backtest.capital))


def _ended(trades: Any, end: int) -> list[tuple[Any, ...]]:
    """Return the round trips that ended by `end`."""
    import polars as pl

    times = pl.col("entry_time", "exit_time").dt.epoch("us")
    rows = trades.with_columns(times).filter(pl.col("exit_time") <= end).select(_TRADE).rows()
    return [row for row in rows if row[_TRADE.index("exit_reason")] != "end"]


# -- faults ----------------------------------------------------------------------------------------


def _struck(folder: Path) -> dict[str, int]:
    """Count the faults in the log of what the exchange sent and answered."""
    from research.live import session

    found: Counter[str] = Counter()
    with (folder / session.EXCHANGE).open(encoding="utf8") as lines:
        for line in lines:
            if '"faults":[' in line:
                found.update(json.loads(line)["faults"])
    return dict(found)


def _felt(folder: Path) -> dict[str, int]:
    """Count what the runner noted beside its bars, and the bars it had to ask for."""
    from research.live import journal

    events = journal.read(folder, kinds=("note", "moment"))
    found = Counter(event.body["kind"] for event in events if event.kind == "note")
    rows = (row for event in events if event.kind == "moment" for row in event.body["rows"])
    found.update(f"bars by {row['source']}" for row in rows)
    return dict(found)
