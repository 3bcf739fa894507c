"""A simulated order book whose order flow is known: planted imbalance, price impact and edge.

Every 100 ms has a planned order-flow imbalance; best-level events are then made whose ``e_n``
(Cont, Kukanov and Stoikov 2014, Journal of Financial Econometrics 12(1), 47-88) add up to it
exactly, with trades, a book behind, and the messages in which a venue would tell of it all.

>>> from datetime import timedelta
>>> made = market(symbols=1, minutes=1, seed=1)
>>> made.recording.venue, made.planted.height, made.recording.messages["kind"][0]
('binance', 600, 'snapshot')
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError

START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
STEP = timedelta(milliseconds=100)
BEHIND = timedelta(milliseconds=250)
MARKETS = {"binance": ("um", "spot"), "bybit": ("linear",)}


@dataclass(frozen=True)
class FlowMarket:
    """What a simulated venue sent, and what only its maker knows.

    Attributes
    ----------
    recording : schema.Recording
        Depth (a snapshot, then a message every 100 ms), best levels and trades of all symbols, in
        order of receipt. Prices have ticks of 0.1, quantities are whole numbers.
    planted : pl.DataFrame
        ``symbol, time, ofi, mid, drift``, a row every 100 ms: the sum of ``e_n`` of the events
        after the row before and up to `time`, the mid then, and by how much the mid is expected to
        change over `horizon` from then, given all that happened; 0 without an edge.
    beta : float
        Change of the mid by one unit of quantity of imbalance, over one second.
    r_squared : float
        Of the mid's change on imbalance, over one second.
    ic : float
        Pearson correlation of `drift` with the change of the mid over `horizon`.
    horizon : timedelta
        Of `drift` and `ic`.
    clock_offset : timedelta
        The venue's clock minus the recorder's.
    """

    recording: schema.Recording
    planted: pl.DataFrame
    beta: float
    r_squared: float
    ic: float
    horizon: timedelta
    clock_offset: timedelta


def market(
    *,
    symbols: int,
    minutes: int,
    seed: int,
    r_squared: float = 0.38,
    sigma_bps: float = 0.5,
    ic: float = 0.0,
    horizon: timedelta = MINUTE,
    half_life: timedelta = MINUTE,
    events_per_second: float = 60.0,
    clock_offset: timedelta = BEHIND,
    venue: str = "binance",
    market: str = "um",
    start: datetime = START,
) -> FlowMarket:
    """Simulate order books whose imbalance explains, and if asked predicts, the price.

    Parameters
    ----------
    symbols : int
        How many, 1 to 99: ``SIM01USDT`` and on. They are independent of each other.
    minutes : int
        Length of the market.
    seed : int
        0 or more. More symbols leave those before as they are, but for their times of receipt.
    r_squared : float
        Of the mid's change on imbalance, over one second; below about 0.45.
    sigma_bps : float
        Standard deviation of the mid's change over one second, in 1e-4 of the first price.
    ic : float
        Pearson correlation of the best forecast with the mid's change over `horizon`. 0 plants
        nothing: then nothing predicts the mid by more than half a tick.
    horizon : timedelta
        Over which `ic` holds; a whole number of 100 ms.
    half_life : timedelta
        After which half of the edge is gone.
    events_per_second : float
        Changes of the best levels, 45 or more.
    clock_offset : timedelta
        The venue's clock minus the recorder's; positive where the recorder's is behind.
    venue, market : str
        ``binance`` with ``um`` or ``spot``, or ``bybit`` with ``linear``: whose ids it has.
    start : datetime
        Time of the snapshots, with a time zone.

    Returns
    -------
    FlowMarket

    Raises
    ------
    UserError
        If an argument is out of its range, or no market has this `r_squared` and `ic`.

    Notes
    -----
    The price answers what is new in the flow (see `plan.plan`), so that without an edge the mid
    is a martingale, rounded to the grid of prices. The best sizes tell where between two ticks the
    price is, and so which way the mid moves next: up after 0.33 of the quotes with less than a
    tenth of the best sizes on the bid, after 0.67 of those with more than nine (0.19 and 0.82 on
    the BTC perpetual). That is worth less than half a tick. Signs of takers remember as those of
    the BTC perpetual do. A message is 2.5 ms on its way in the mean, never less than 2.

    Examples
    --------
    >>> one, two = (market(symbols=n, minutes=1, seed=3) for n in (1, 2))
    >>> two.planted.filter(symbol="SIM01USDT").equals(one.planted)
    True
    """
    from research.sources.simulated.flow import draws, plan, tables

    _within("symbols", symbols, 1, 99)
    _within("minutes", minutes, 1, 10_000)
    _within("seed", seed, 0, 2**64 - 1)
    _within("events_per_second", events_per_second, draws.NEEDED, 10_000)
    _check_place(venue, market, start)
    _check_edge(r_squared, sigma_bps, ic, horizon, half_life)
    sigma = sigma_bps * 1e-4 * draws.START_TICKS
    spans: dict[str, Any] = {"horizon": horizon // STEP, "half_life": half_life / STEP}
    constants = plan.plan(r_squared=r_squared, sigma=sigma, ic=ic, **spans)
    numbers = range(1, symbols + 1)
    size: dict[str, Any] = {
        "steps": minutes * (MINUTE // STEP),
        "events_per_second": events_per_second,
    }
    drawn = [draws.draw(constants, seed=seed, symbol=number, **size) for number in numbers]
    start_us = round(start.timestamp() * 1_000_000)
    place = tables.Place(venue, market, start_us, clock_offset // timedelta(microseconds=1), seed)
    ahead = constants.ahead(horizon // STEP) / tables.TICKS
    planted = [_planted(one, n, start_us, ahead) for n, one in zip(numbers, drawn)]
    recording, beta = tables.recording(drawn, place), constants.slope / tables.TICKS
    return FlowMarket(recording, pl.concat(planted), beta, r_squared, ic, horizon, clock_offset)


def _planted(one: Any, number: int, start_us: int, ahead: float) -> pl.DataFrame:
    from research.sources.simulated.flow import tables

    ends = np.searchsorted(one.events[:, 0], np.arange(len(one.flow)), side="right") - 1
    time = start_us + 100_000 * np.arange(1, len(one.flow) + 1)
    return pl.DataFrame(
        {
            "symbol": tables.name_of(number),
            "time": pl.Series(time).cast(schema.TIME),
            "ofi": one.flow.astype(float),
            "mid": (one.events[ends, 1] + one.events[ends, 3]) / (2 * tables.TICKS),
            "drift": ahead * one.state if ahead else np.zeros(len(one.flow)),
        }
    )


def _check_place(venue: str, market: str, start: datetime) -> None:
    if market not in MARKETS.get(venue, ()):
        known = ", ".join(f"{name} {kind}" for name, kinds in MARKETS.items() for kind in kinds)
        _refuse("venue and market", f"be one of {known}", f"{venue} {market}")
    if start.tzinfo is None:
        _refuse("start", "have a time zone", start)


def _check_edge(
    r_squared: float, sigma_bps: float, ic: float, horizon: timedelta, half_life: timedelta
) -> None:
    _within("r_squared", r_squared, 0.0, 1.0)
    _within("sigma_bps", sigma_bps, 0.1, 10.0)
    _within("ic", ic, 0.0, 0.99)
    _within("horizon", horizon, STEP, DAY)
    _within("half_life", half_life, STEP, DAY)
    if horizon % STEP:
        _refuse("horizon", "be a whole number of 100 ms", horizon)


def _within(name: str, value: Any, least: Any, most: Any) -> None:
    if not least <= value <= most:
        _refuse(name, f"lie between {least} and {most}", value)


def _refuse(name: str, law: str, found: Any) -> None:
    raise UserError(f"simulated flow: {name} must {law}, found {found}.")
