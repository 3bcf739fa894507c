"""One step of an autopsy: a study with the leaks that are still in, and the number it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import pipeline
from research.audit.mutations import inject, own_store
from research.errors import UserError
from research.study import Study

Progress = Callable[[int, int, str], None]
DRAWS = 1000
COLUMNS: dict[str, Any] = {
    "step": pl.Int64,
    "removed": pl.String,
    "number": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "unit": pl.String,
    "trades": pl.Int64,
    "win_rate": pl.Float64,
    "profit_factor": pl.Float64,
    "net_bps": pl.Float64,
    "t": pl.Float64,
    "trials": pl.Int64,
    "out_of_sample": pl.Boolean,
    "honest": pl.Boolean,
    "says": pl.String,
}
"""Of every autopsy's table. `number` is of the kind that was claimed, in `unit`; `low` and `high`
are its 95 % interval where it is out of sample; `net_bps` is the mean net return of a
trade, `t` that over its standard error; `trials` counts what the same data had seen by then."""
NOT = "not a result"


class Step(NamedTuple):
    """What is taken away, and what is then left.

    Attributes
    ----------
    removed : str
        The leak that this step takes away; of the first, what is claimed.
    leaks : tuple of str
        Of `mutations.MUTATIONS`: those still in.
    options : dict
        Settings that win over the autopsy's own.
    out_of_sample : bool
        Whether forecasts were made, and cut, without what came later.
    honest : bool
        Whether nothing is left to take away.
    at_close : bool
        Whether orders are filled at the very close that decides them.
    """

    removed: str
    leaks: tuple[str, ...] = ()
    options: Mapping[str, Any] = MappingProxyType({})
    out_of_sample: bool = False
    honest: bool = False
    at_close: bool = False


class Played(NamedTuple):
    """What a step leaves behind."""

    study: Study
    forecasts: pl.DataFrame
    trades: pl.DataFrame
    equity: pl.DataFrame


Forecasts = Callable[[Study], pl.DataFrame]


@contextmanager
def on(raw: pl.DataFrame, base: Study, step: Step) -> Iterator[Study]:
    """Hand out the step's study, over the raw minutes, in a store of its own, leaks let in."""
    with own_store() as place, inject(*step.leaks):
        path = place / "minutes.parquet"
        (_opened_at_close(raw) if step.at_close else raw).write_parquet(path)
        source = {"data.source": "files", "data.path": str(path), "model.league": []}
        yield base.with_options({**source, **step.options})


def _opened_at_close(raw: pl.DataFrame) -> pl.DataFrame:
    """Let each minute open where the last one closed: a fill at the next open is then one there."""
    opened = pl.col("close").shift(1).over("symbol").fill_null(pl.col("open"))
    wide = {"high": pl.max_horizontal("high", "open"), "low": pl.min_horizontal("low", "open")}
    return raw.with_columns(open=opened).with_columns(**wide)


def played(
    raw: pl.DataFrame, base: Study, step: Step, forecasts: Forecasts | None = None
) -> Played:
    """Take the step's study through the real pipeline, to its trades."""
    with on(raw, base, step) as study:
        made = (forecasts or pipeline.forecasts)(study)
        tested = pipeline.backtest(study, made)
        return Played(study, made, tested.trades, tested.equity)


def once(make: Forecasts = pipeline.forecasts) -> Forecasts:
    """Return what `make` forecasts, made for the first study that asks: the others share them.

    Steps that differ only in how they trade need not train again.
    """
    made: list[pl.DataFrame] = []

    def forecasts(study: Study) -> pl.DataFrame:
        if not made:
            made.append(make(study))
        return made[0]

    return forecasts


def net(trades: pl.DataFrame) -> np.ndarray:
    """Return each trade's net simple return on what it cost to enter."""
    worth = trades["entry_price"] * trades["quantity"]
    return (trades["net"] / worth).to_numpy()


def bps(trades: pl.DataFrame) -> float | None:
    """Return the mean net return of a trade, in basis points."""
    return float(net(trades).mean() * 1e4) if trades.height else None


def t_value(trades: pl.DataFrame) -> float | None:
    """Return the mean net return of a trade over its standard error, were trades independent."""
    each = net(trades)
    spread = each.std(ddof=1) if len(each) > 1 else 0.0
    return float(each.mean() / spread * np.sqrt(len(each))) if spread > 0 else None


def win_rate(trades: pl.DataFrame) -> float | None:
    """Return the share of trades that earned more than they cost, in percent."""
    return float((net(trades) > 0).mean() * 100) if trades.height else None


def profit_factor(trades: pl.DataFrame) -> float | None:
    """Return what winners earned over what losers lost; None without a loser."""
    each = net(trades)
    lost = -each[each < 0].sum()
    return float(each[each > 0].sum() / lost) if lost > 0 else None


def interval(
    trades: pl.DataFrame, number: Callable[[pl.DataFrame], float | None], *, seed: int = 0
) -> tuple[float | None, float | None]:
    """Return a 95 % interval of `number`: knots of overlapping trades are drawn again.

    Trades that are open at the same time share a move, so they are drawn together; a knot ends
    where nothing is held.

    Parameters
    ----------
    trades : pl.DataFrame
        As `tape.Backtest.trades`.
    number : callable
        Of trades.
    seed : int
        Of the draws.

    Returns
    -------
    tuple
        None, None for fewer than ten knots.
    """
    if not trades.height:
        return None, None
    ordered = trades.sort("entry_time")
    free = ordered["entry_time"] >= ordered["exit_time"].cum_max().shift(1)
    knot = free.fill_null(value=False).cum_sum().to_numpy()
    found = np.split(np.arange(ordered.height), np.flatnonzero(np.diff(knot)) + 1)
    if len(found) < 10:
        return None, None
    dice = np.random.default_rng(seed)
    drawn = []
    for _ in range(DRAWS):
        picked = dice.integers(len(found), size=len(found))
        value = number(ordered[np.concatenate([found[k] for k in picked])])
        drawn.append(np.nan if value is None else value)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return float(low), float(high)


def row(
    number: float | None,
    step: Step,
    unit: str,
    trades: pl.DataFrame | None,
    ends: tuple[float | None, float | None] = (None, None),
    tried: int = 1,
) -> dict[str, Any]:
    """Return a step's row, but for its place among the others; None where nothing was traded."""
    known = step.out_of_sample
    kinds = {"win_rate": win_rate, "profit_factor": profit_factor, "net_bps": bps, "t": t_value}
    return {
        "removed": step.removed,
        "number": number,
        "low": ends[0] if known else None,
        "high": ends[1] if known else None,
        "unit": unit,
        "trades": None if trades is None else trades.height,
        **{name: None if trades is None else kind(trades) for name, kind in kinds.items()},
        "trials": tried,
        "out_of_sample": known,
        "honest": step.honest,
        "says": "honest" if step.honest else NOT,
    }


def table(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Return the waterfall; `trials` are all that the same data has seen up to a step."""
    counted = [{**each, "step": n} for n, each in enumerate(rows, 1)]
    return pl.DataFrame(counted, schema=COLUMNS).with_columns(pl.col("trials").cum_sum())


def waterfall(
    plan: Sequence[tuple[pl.DataFrame, Study, Step, Forecasts]],
    *,
    unit: str,
    number: Callable[[pl.DataFrame], float | None],
    progress: Progress | None = None,
) -> pl.DataFrame:
    """Play each step of the plan and return the table; `number` is of its trades."""
    rows = []
    for n, (raw, base, step, forecasts) in enumerate(plan, 1):
        trades = played(raw, base, step, forecasts).trades
        ends = interval(trades, number) if step.out_of_sample else (None, None)
        rows.append(row(number(trades), step, unit, trades, ends))
        if progress is not None:
            progress(n, len(plan), step.removed)
    return table(rows)


def at_least(name: str, value: int, least: int, unit: str) -> None:
    """Refuse a span that is too short for what is shown on it."""
    if value < least:
        raise UserError(f"autopsy.{name}: needs at least {least} {unit}, found {value}.")
