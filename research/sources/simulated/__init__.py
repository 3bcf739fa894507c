"""A simulated market of realistic minutes with a planted edge that public bars reveal.

Its volatility clusters, its tails are fat, it jumps, has busy and quiet hours, a common factor,
minutes without a trade and minutes that are missing. The edge is short-term reversal of a known
information coefficient, and the market hands out the *oracle*: the best forecast there can be.

>>> ten = timedelta(minutes=10)
>>> made = market(symbols=2, days=2, ic=0.06, horizon=ten, half_life=ten, seed=1)
>>> made.bars["symbol"].unique().sort().to_list(), round(made.planted_ic, 6)
(['SIM01USDT', 'SIM02USDT'], 0.06)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.sources.simulated import candles, edge, noise

START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Market:
    """What a simulated venue publishes, and what only its maker knows.

    Attributes
    ----------
    bars : pl.DataFrame
        Raw rows as any source gives them: `schema.BARS` without `time`, by symbol and open time.
        An absent minute has no row.
    oracle : pl.DataFrame
        ``symbol, time, forecast``: conditional mean of the simple return over the horizon from
        the close at `time`, given all that happened up to then. One row per bar, never null; 0
        throughout in a market without an edge.
    planted_ic : float
        What the oracle scores on average: mean over UTC days of the Spearman correlation, pooled
        over symbols, between forecast and raw return.
    """

    bars: pl.DataFrame
    oracle: pl.DataFrame
    planted_ic: float


@dataclass(frozen=True)
class _Plan:
    """The market asked for, in bars."""

    symbols: int
    bars: int
    horizon: int
    seed: int
    start: datetime
    minutes: int
    edge: edge.Edge


def market(
    *,
    symbols: int,
    days: int,
    ic: float,
    horizon: timedelta,
    half_life: timedelta,
    seed: int,
    start: datetime = START,
    interval: timedelta = MINUTE,
) -> Market:
    """Simulate a market whose perfect forecast has the information coefficient `ic`.

    Parameters
    ----------
    symbols : int
        How many, 1 to 99: ``SIM01USDT`` and on.
    days : int
        Length of the market.
    ic : float
        Mean over UTC days of the Spearman correlation, pooled over symbols, between the oracle's
        forecast and the raw return from the next open over `horizon`. 0 plants nothing: the same
        seed then gives the same noise without an edge.
    horizon : timedelta
        Over which `ic` holds; whole bars, at most a day.
    half_life : timedelta
        After which half of the edge is gone.
    seed : int
        0 or more. A longer market of the same seed begins with the very same bars. One with more
        symbols has the same noise, and an edge rescaled by a few percent to keep its `ic`.
    start : datetime
        First open, with a time zone, a whole number of bars after midnight UTC.
    interval : timedelta
        Length of a bar: whole minutes that divide a day, at most an hour.

    Returns
    -------
    Market

    Raises
    ------
    UserError
        If an argument is out of its range, or no edge has this `ic`.

    Notes
    -----
    The oracle knows more than bars can tell: true volatility, and what happened in the minutes
    that are missing. It knows nothing of what comes.

    Examples
    --------
    >>> ten = timedelta(minutes=10)
    >>> made = market(symbols=1, days=1, ic=0, horizon=ten, half_life=ten, seed=7)
    >>> made.oracle["forecast"].unique().to_list(), made.planted_ic
    ([0.0], 0.0)
    """
    return _draw(
        _plan(
            symbols=symbols,
            days=days,
            ic=ic,
            horizon=horizon,
            half_life=half_life,
            seed=seed,
            start=start,
            interval=interval,
        )
    )


def oracle(at: timedelta, **arguments: Any) -> pl.DataFrame:
    """Forecast over another horizon than the one `ic` was set for, in the same market.

    Parameters
    ----------
    at : timedelta
        Horizon of the forecast; whole bars, at most a day.
    **arguments
        Of `market`.

    Returns
    -------
    pl.DataFrame
        As `Market.oracle`.

    Raises
    ------
    UserError
        As `market` does.

    Examples
    --------
    >>> ten = timedelta(minutes=10)
    >>> asked = dict(symbols=1, days=1, ic=0.06, horizon=ten, half_life=ten, seed=7)
    >>> oracle(ten, **asked).equals(market(**asked).oracle)
    True
    """
    return _draw(_at(_plan(**arguments), at)).oracle


def theoretical_ic(at: timedelta, **arguments: Any) -> float:
    """Score the oracle gets on average over another horizon than the one `ic` was set for.

    Parameters
    ----------
    at : timedelta
        Horizon of forecast and return; whole bars, at most a day.
    **arguments
        Of `market`.

    Returns
    -------
    float
        `ic` itself where `at` is `horizon`; `edge.theoretical_ic` has the formula.

    Raises
    ------
    UserError
        As `market` does.

    Examples
    --------
    >>> ten = timedelta(minutes=10)
    >>> asked = dict(symbols=5, days=1, ic=0.06, horizon=ten, half_life=ten, seed=7)
    >>> [round(theoretical_ic(timedelta(minutes=m), **asked), 2) for m in (1, 10, 60)]
    [0.03, 0.06, 0.06]
    """
    return _score(_at(_plan(**arguments), at))


def _draw(plan: _Plan) -> Market:
    factor = noise.shocks(plan.seed, noise.MARKET, plan.bars)
    shared = noise.states(plan.seed, noise.MARKET, plan.bars + 1, plan.minutes)
    made = [_symbol(plan, number, factor, shared) for number in range(1, plan.symbols + 1)]
    bars, forecasts = (pl.concat(tables) for tables in zip(*made))
    return Market(bars, forecasts, _score(plan))


def _symbol(
    plan: _Plan, number: int, factor: noise.Shocks, shared: noise.Array
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Bars and oracle of one symbol."""
    shock = noise.together(noise.shocks(plan.seed, number, plan.bars), factor)
    path = _volatility(plan, number, shared)
    sigma = path.realised()[:-1]
    quiet = noise.stream(plan.seed, number, "quiet").random(plan.bars) < edge.QUIET
    moves, signal = plan.edge.play(shock.value, quiet)
    rows = candles.draw(
        (plan.seed, number), returns=sigma * moves, sigma=sigma, shock=shock, quiet=quiet
    )
    opens = _opens(plan)
    forecast = plan.edge.forecast(signal, path, plan.horizon)
    known = pl.DataFrame({"time": opens.dt.offset_by(f"{plan.minutes}m"), "forecast": forecast})
    bars = pl.DataFrame({"open_time": opens, **rows})
    there = pl.Series(~candles.absent(plan.seed, number, plan.bars, plan.minutes))
    symbol = pl.lit(f"SIM{number:02d}USDT").alias("symbol")
    known, bars = (table.filter(there).select(symbol, pl.all()) for table in (known, bars))
    return bars, known


def _volatility(plan: _Plan, number: int, shared: noise.Array) -> noise.Volatility:
    own = noise.states(plan.seed, number, plan.bars + 1, plan.minutes)
    opened = plan.start.hour * 60 + plan.start.minute
    season = np.roll(noise.seasonality(plan.minutes), -(opened // plan.minutes))
    return noise.volatility(own, shared, season, plan.minutes)


def _opens(plan: _Plan) -> pl.Series:
    first = int(plan.start.timestamp()) * 1_000_000
    return pl.Series(first + 60_000_000 * plan.minutes * np.arange(plan.bars)).cast(schema.TIME)


def _score(plan: _Plan) -> float:
    return edge.theoretical_ic(
        plan.edge, symbols=plan.symbols, horizon=plan.horizon, minutes=plan.minutes
    )


def _at(plan: _Plan, horizon: timedelta) -> _Plan:
    return replace(plan, horizon=_whole("at", horizon, timedelta(minutes=plan.minutes)))


def _plan(
    *,
    symbols: int,
    days: int,
    ic: float,
    horizon: timedelta,
    half_life: timedelta,
    seed: int,
    start: datetime = START,
    interval: timedelta = MINUTE,
) -> _Plan:
    _within("interval", interval, MINUTE, 60 * MINUTE)
    if interval % MINUTE or DAY % interval:
        _refuse("interval", "be whole minutes that divide a day", interval)
    _within("symbols", symbols, 1, 99)
    _within("days", days, 1, 36_500)
    _within("ic", ic, 0, 1)
    _within("seed", seed, 0, 2**64 - 1)
    _within("half_life", half_life, interval, 30 * DAY)
    bars = _whole("horizon", horizon, interval)
    minutes = interval // MINUTE
    planted = edge.plant(
        ic, symbols=symbols, horizon=bars, half_life=half_life / interval, minutes=minutes
    )
    count = days * (DAY // interval)
    return _Plan(symbols, count, bars, seed, _aligned(start, interval), minutes, planted)


def _aligned(start: datetime, interval: timedelta) -> datetime:
    if start.tzinfo is None:
        _refuse("start", "have a time zone", start)
    start = start.astimezone(UTC)
    if (start - START) % interval:
        _refuse("start", f"lie on the grid of {interval} from midnight UTC", start)
    return start


def _whole(name: str, span: timedelta, interval: timedelta) -> int:
    _within(name, span, interval, DAY)
    if span % interval:
        _refuse(name, f"be a whole number of bars of {interval}", span)
    return span // interval


def _within(name: str, value: Any, least: Any, most: Any) -> None:
    if not least <= value <= most:
        _refuse(name, f"lie between {least} and {most}", value)


def _refuse(name: str, law: str, found: Any) -> None:
    raise UserError(f"simulated market: {name} must {law}, found {found}.")
