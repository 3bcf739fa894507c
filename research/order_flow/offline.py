"""A simulated exchange of order books on this machine, for whoever would otherwise need a venue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from research.errors import UserError
from research.live.net import Network
from research.recorder import venues

SYMBOL = "SIM01USDT"
"""What a simulated market's first symbol is called."""
_NAME = "SIM{:02d}USDT"
LONGEST = timedelta(hours=2)
_SPARE = 2  # minutes played beyond what is asked for


def check(symbols: Sequence[str]) -> None:
    """Return if an exchange of so many symbols knows them.

    Raises
    ------
    UserError
        If it does not know one; the message names those that it knows.

    Examples
    --------
    >>> check(["SIM01USDT", "BTCUSDT"])
    Traceback (most recent call last):
    research.errors.UserError: simulated exchange: does not know BTCUSDT. With as ...
    """
    known = [_NAME.format(n) for n in range(1, len(symbols) + 1)]
    wrong = [symbol for symbol in symbols if symbol not in known]
    if wrong:
        raise UserError(
            f"simulated exchange: does not know {', '.join(wrong)}. "
            f"With as many symbols it knows {', '.join(known)}."
        )


@asynccontextmanager
async def exchange(
    name: str, *, length: timedelta | None = None, symbols: int = 1, seed: int = 0
) -> AsyncIterator[Network]:
    """Start an exchange in a process of its own and hand over the way to it.

    Parameters
    ----------
    name : str
        A venue, as `recorder.capture` takes it.
    length : timedelta, optional
        How long it will be asked for; absent: two hours, which is the most.
    symbols : int
        How many: SIM01USDT, SIM02USDT and so on.
    seed : int
        Of its faults.

    Yields
    ------
    Network
        Every host name leads to the simulated exchange.
    """
    span = length or LONGEST
    if span > LONGEST:
        raise UserError(f"simulated exchange: plays two hours at most, {span} is longer.")
    from research.sim.flow import child

    found = venues.venue(name)
    minutes = int(span / timedelta(minutes=1)) + _SPARE
    started = child.start(
        minutes=minutes,
        symbols=symbols,
        venue=found.venue,
        market=found.market,
        live=True,
        seed=seed,
    )
    try:
        async with Network(started.port, started.ca) as network:
            yield network
    finally:
        started.stop()
