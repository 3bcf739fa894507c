"""One account over several components: each period, each one trades its share from flat to flat.

A share is money: at a period's start a component gets its part of what the account is worth then,
trades it on the desk over the bars of the period, and hands back what is left at the end, its
positions closed at their last closes and paid for. So the account's curve is the sum of fills and
marks, and the nets of its trades add up to what it gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl

from research import batch, performance, tape, units
from research.errors import UserError
from research.portfolio import weights as room
from research.portfolio.result import Portfolio
from research.schema import TIME

DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FLOWS = ("fees", "slippage", "funding", "traded")


class Component(NamedTuple):
    """One strategy of a portfolio: what it trades, by which rule, and what it earned alone."""

    name: str
    laid: tape.Tape
    rules: Any
    daily: pl.DataFrame
    """``day, net``: return of each UTC day when it trades by itself, from its first bar on."""


class Played(NamedTuple):
    """What a component did with its share in one period."""

    capital: float
    equity: pl.DataFrame
    trades: pl.DataFrame


def component(name: str, laid: tape.Tape, rules: Any, capital: float) -> Component:
    """Let a strategy trade its whole tape alone and keep what each day earned."""
    equity = tape.tables(laid, laid.play(rules, capital=capital))["equity"]
    return Component(name, laid, rules, daily(equity, capital))


def daily(equity: pl.DataFrame, capital: float) -> pl.DataFrame:
    """Return what each UTC day earned, as a fraction of equity at its start.

    Parameters
    ----------
    equity : pl.DataFrame
        ``time, equity``; its first row is the start, when nothing can have been traded yet.
    capital : float
        Equity at the start.

    Returns
    -------
    pl.DataFrame
        ``day, net``; only days with rows; 0 for a ruined account.

    Notes
    -----
    A bar belongs to the day that it opened in: the close at midnight ends the day before.

    Examples
    --------
    >>> times = [datetime(2025, 1, d, tzinfo=UTC) for d in (1, 2, 3)]
    >>> daily(pl.DataFrame({"time": times, "equity": [10.0, 11.0, 5.5]}), 10.0)["net"].to_list()
    [0.10000000000000009, -0.5]
    """
    day = (pl.col("time") - pl.duration(microseconds=1)).dt.date()
    rows = equity.slice(1).group_by(day.alias("day"), maintain_order=True)
    before = pl.col("equity").shift(1, fill_value=capital)
    grown = pl.when(before > 0).then(pl.col("equity") / before - 1).otherwise(0.0)
    return rows.agg(pl.col("equity").last()).select("day", net=grown)


def together(
    parts: Sequence[Component],
    *,
    weights: str,
    every: timedelta,
    lookback: timedelta,
    capital: float,
    watched: timedelta = timedelta(0),
    counted: int = 0,
    progress: batch.Progress | None = None,
) -> Portfolio:
    """Trade components in one account.

    Parameters
    ----------
    parts : sequence of Component
        At least one; the account lives while all of them have bars.
    weights, every, lookback
        As `portfolio.run` takes them.
    capital : float
        Cash at the start.
    watched : timedelta
        Whole days at the beginning that are only looked at.
    counted : int
        Trials behind it, for the result to show.
    progress : callable, optional
        Takes (done, total, label).

    Raises
    ------
    UserError
        If `weights` is unknown, a time is not of whole days or too short, or there is no span that
        all components share.
    """
    room.scheme(weights)
    _check(every, lookback)
    spans, past, moments = _periods(parts, every, watched), _history(parts), _moments(parts)
    begin, worth = spans[0][0], capital
    curves: list[pl.DataFrame] = []
    trades: list[pl.DataFrame] = []
    chosen: list[dict[str, Any]] = []
    for done, (start, end) in enumerate(spans, start=1):
        known = room.seen(past, start, lookback)
        share = room.shares(known, weights) if worth > 0 else np.zeros(len(parts))  # ruined: over
        held = [(p, w) for p, w in zip(parts, share, strict=True) if w > 0]
        played = [_play(p, w * worth, start, end) for p, w in held]
        curves.append(_sum(played, worth, _between(moments, start, end, first=start == begin)))
        worth = [worth, *curves[-1]["equity"][-1:]][-1]
        trades += [made.trades for made in played]
        chosen += _rows(parts, share, start, len(known))
        if progress:
            progress(done, len(spans), f"{start:%Y-%m-%d}")
    alone = [_alone(p, capital, begin, spans[-1][1], moments) for p in parts]
    rows = pl.concat([alone[0].trades.clear(), *trades]).sort("exit_time", maintain_order=True)
    return _result(parts, alone, pl.concat(curves), rows, pl.DataFrame(chosen), capital, counted)


def _check(every: timedelta, lookback: timedelta) -> None:
    if every < DAY or every % DAY:
        raise UserError(
            f"portfolio: every must be of whole days, as in '7 d', found {units.show(every)}."
        )
    if lookback < room.FEWEST_DAYS * DAY or lookback % DAY:
        raise UserError(
            f"portfolio: lookback must be of whole days and {room.FEWEST_DAYS} d at least, below "
            f"which nothing is told apart, found {units.show(lookback)}."
        )


def _periods(
    parts: Sequence[Component], every: timedelta, watched: timedelta
) -> list[tuple[datetime, datetime]]:
    """Cut the time that all share into periods from midnight to midnight, the last one shorter."""
    times = [part.laid.table["time"].cast(TIME) for part in parts]
    first = max(cast("datetime", time.min()) for time in times)
    last = min(cast("datetime", time.max()) for time in times)
    start = first.replace(hour=0, minute=0, second=0, microsecond=0) + watched
    if not (first < last and start < last):
        need = f" of more than {watched.days} d" if watched else ""
        raise UserError(
            f"portfolio: there is no time out of sample{need} that all components share; the last "
            f"begins {first:%Y-%m-%d %H:%M}, the first ends {last:%Y-%m-%d %H:%M} UTC."
        )
    count = -((start - last) // every)  # rounded up
    edges = [start + n * every for n in range(count + 1)]
    return [(max(a, first), min(b, last)) for a, b in pairwise(edges)]


def _history(parts: Sequence[Component]) -> pl.DataFrame:
    """Daily returns of all components side by side, on the days that they share.

    A day without bars of one of them is a day on which it earned nothing; days before its first or
    after its last are left out for all, or it would look calm.
    """
    table = parts[0].daily.rename({"net": "0"})
    for number, part in enumerate(parts[1:], start=1):
        other = part.daily.rename({"net": str(number)})
        table = table.join(other, on="day", how="full", coalesce=True)
    first = max(part.daily["day"][0] for part in parts)
    last = min(part.daily["day"][-1] for part in parts)
    return table.filter(pl.col("day").is_between(first, last)).sort("day").fill_null(0.0)


def _moments(parts: Sequence[Component]) -> pl.Series:
    """Every time at which some component has a bar, in microseconds."""
    tapes = {id(part.laid): part.laid.table["time"].unique() for part in parts}
    return pl.concat(tapes.values()).unique().sort()


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _between(moments: pl.Series, start: datetime, end: datetime, *, first: bool) -> pl.Series:
    """Times of one period; its start is the end of the period before, but for the first one."""
    low = moments.search_sorted(_us(start), "left" if first else "right")
    return moments[low : moments.search_sorted(_us(end), "right")].cast(TIME)


def _play(part: Component, capital: float, start: datetime, end: datetime) -> Played:
    """Trade a share of the account over the bars that close from `start` to `end`.

    The bar that closes at `start` is decided on, with what is known then, and nothing can be
    filled in it; at the last close all is sold.
    """
    time = part.laid.table["time"]
    low = time.search_sorted(_us(start), "left")
    count = time.search_sorted(_us(end), "right") - low
    laid = replace(part.laid, table=part.laid.table.slice(low, count))
    made = tape.tables(laid, laid.play(part.rules, capital=capital))
    named = made["trades"].with_columns(component=pl.lit(part.name))
    return Played(capital, made["equity"], named)


def _sum(played: Sequence[Played], worth: float, times: pl.Series) -> pl.DataFrame:
    """Add up components' curves at `times`; cash that none trades stays as it is."""
    frame = times.alias("time").to_frame()
    idle, zero = worth - sum(one.capital for one in played), pl.lit(0.0)
    total = frame.with_columns(equity=pl.lit(idle), exposure=zero, **dict.fromkeys(_FLOWS, zero))
    for capital, equity, _ in played:
        beside = frame.join(equity, on="time", how="left", maintain_order="left")
        total = total.with_columns(
            equity=total["equity"] + _last_known(beside["equity"], capital),
            exposure=total["exposure"] + _last_known(beside["exposure"], 0.0),
            **{name: total[name] + beside[name].fill_null(0.0) for name in _FLOWS},
        )
    return total


def _last_known(values: pl.Series, before: float) -> pl.Series:
    return values.fill_null(strategy="forward").fill_null(before)


def _rows(
    parts: Sequence[Component], share: np.ndarray, start: datetime, days: int
) -> list[dict[str, Any]]:
    return [
        {"start": start, "days": days, "component": part.name, "weight": float(weight)}
        for part, weight in zip(parts, share, strict=True)
    ]


def _alone(
    part: Component, capital: float, start: datetime, end: datetime, moments: pl.Series
) -> Played:
    """Trade one component with the whole account over the account's time."""
    made = _play(part, capital, start, end)
    return made._replace(equity=_sum([made], capital, _between(moments, start, end, first=True)))


def _result(
    parts: Sequence[Component],
    alone: Sequence[Played],
    equity: pl.DataFrame,
    trades: pl.DataFrame,
    weights: pl.DataFrame,
    capital: float,
    counted: int,
) -> Portfolio:
    costs = pl.sum_horizontal("fees", "slippage", "funding").cum_sum()
    equity = equity.with_columns(gross=pl.col("equity") + costs)
    mean = weights.group_by("component", maintain_order=True).agg(pl.col("weight").mean())
    keys = ("net_return", "net_low", "net_high", "sharpe", "trades")
    found = [_judged(made.equity, made.trades, capital) for made in alone]
    rows = [
        {"component": part.name, "mean_weight": share, **{key: one[key] for key in keys}}
        for part, share, one in zip(parts, mean["weight"], found, strict=True)
    ]
    table = pl.DataFrame(rows, infer_schema_length=None)
    summary = _judged(equity, trades, capital)
    return Portfolio(equity, trades, weights, table, summary, capital, counted)


def _judged(equity: pl.DataFrame, trades: pl.DataFrame, capital: float) -> dict[str, Any]:
    sure = performance.intervals(equity, capital=capital)
    return {**performance.summary(equity, trades, capital=capital), **sure}
