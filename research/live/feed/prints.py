"""Bars out of trades, of one second and of those a minute, and how they differ from klines."""

from __future__ import annotations

from math import isclose
from typing import Any, NamedTuple

from research.live.feed.records import Print
from research.live.moments import Bar

SECOND = 1_000_000
"""Length of the bars that trades are put into, microseconds."""
_SUMS = Bar._fields[6:11]


class Building(NamedTuple):
    """One symbol's bar under way; `whole` if no trade of it can have been missed."""

    bar: Bar
    next_id: int
    whole: bool


class Gathering(NamedTuple):
    """A longer bar under way; `whole` if each bar in it was."""

    bar: Bar
    whole: bool


def add(building: Building | None, trade: Print, interval: int) -> tuple[Building, Bar | None]:
    """Put one trade into a bar; return it, and the bar before where this trade closes it.

    An interval without a trade has no bar. The first bar is never handed out: its beginning may
    have been missed; nor is one with a hole in its trade ids, which a caller that wants it fills
    first.

    Parameters
    ----------
    building : Building, optional
        What the last call returned; None at first.
    trade : Print
        The next one.
    interval : int
        Length of a bar, microseconds.

    Returns
    -------
    building : Building
    closed : Bar or None
        Source ``prints``.

    Examples
    --------
    >>> def trade(i, second, price):
    ...     return Print("", "A", i, second * 1_000_000, price, 1.0, 1, False)
    >>> state, closed = add(None, trade(1, 0, 5.0), 1_000_000)
    >>> for each in (trade(2, 1, 6.0), trade(3, 1, 4.0), trade(4, 7, 9.0)):
    ...     state, closed = add(state, each, 1_000_000)
    >>> closed[1:7]
    (1000000, 6.0, 6.0, 4.0, 4.0, 2.0)
    """
    opened = trade.time - trade.time % interval
    if building is None:
        return Building(_first(trade, opened), trade.id + 1, False), None
    if trade.id < building.next_id:
        return building, None  # a repetition
    whole = trade.id == building.next_id
    if opened <= building.bar.open_time:
        bar = _join(building.bar, trade)
        return Building(bar, trade.id + 1, building.whole and whole), None
    closed = building.bar if building.whole and whole else None
    return Building(_first(trade, opened), trade.id + 1, whole), closed


def gather(
    longer: Gathering | None, bar: Bar, *, whole: bool, then: int, interval: int
) -> tuple[Gathering | None, Bar | None]:
    """Put one closed bar into a longer one; return that, or None and the bar that it closed.

    Parameters
    ----------
    longer : Gathering, optional
        What the last call returned.
    bar : Bar
        The next one that had a trade.
    whole : bool
        Whether no trade of it can have been missed.
    then : int
        When the bar after it opened, microseconds.
    interval : int
        Length of the longer bar, microseconds.

    Returns
    -------
    longer : Gathering or None
    closed : Bar or None
        None too where a trade of it may have been missed.

    Examples
    --------
    >>> one = Bar("A", 58_000_000, 5.0, 6.0, 4.0, 5.5, 2.0, 11.0, 3, 1.0, 5.0)
    >>> under_way, _ = gather(None, one, whole=True, then=59_000_000, interval=60_000_000)
    >>> two = one._replace(open_time=59_000_000, high=7.0)
    >>> gather(under_way, two, whole=True, then=61_000_000, interval=60_000_000)[1][1:7]
    (0, 5.0, 7.0, 4.0, 5.5, 4.0)
    """
    opened = bar.open_time - bar.open_time % interval
    if longer is None:
        longer = Gathering(bar._replace(open_time=opened), whole)
    else:
        longer = Gathering(_joined(longer.bar, bar), longer.whole and whole)
    if then < opened + interval:
        return longer, None
    return None, longer.bar if longer.whole else None


def _joined(longer: Bar, bar: Bar) -> Bar:
    sums: dict[str, Any] = {
        name: (getattr(longer, name) or 0) + (getattr(bar, name) or 0) for name in _SUMS
    }
    high, low = max(longer.high, bar.high), min(longer.low, bar.low)
    return longer._replace(high=high, low=low, close=bar.close, **sums)


def quiet(before: Bar, opened: int) -> Bar:
    """Return the bar of an interval without a trade, as venues have it: flat at the last price.

    >>> quiet(Bar("A", 0, 1.0, 2.0, 1.0, 1.5, 5.0), 60_000_000)[1:7]
    (60000000, 1.5, 1.5, 1.5, 1.5, 0.0)
    """
    price = before.close
    return Bar(before.symbol, opened, price, price, price, price, 0.0, 0.0, 0, 0.0, 0.0, "prints")


def _first(trade: Print, opened: int) -> Bar:
    price = trade.price
    empty = Bar(trade.symbol, opened, price, price, price, price, 0.0, 0.0, 0, 0.0, 0.0, "prints")
    return _join(empty, trade)


def _join(bar: Bar, trade: Print) -> Bar:
    value = trade.price * trade.quantity
    bought = 0.0 if trade.buyer_is_maker else 1.0
    return bar._replace(
        high=max(bar.high, trade.price),
        low=min(bar.low, trade.price),
        close=trade.price,
        volume=bar.volume + trade.quantity,
        quote_volume=(bar.quote_volume or 0.0) + value,
        trades=(bar.trades or 0) + trade.trades,
        taker_buy_volume=(bar.taker_buy_volume or 0.0) + bought * trade.quantity,
        taker_buy_quote_volume=(bar.taker_buy_quote_volume or 0.0) + bought * value,
    )


def differences(kline: Bar, built: Bar) -> list[str]:
    """Return the fields in which a bar of trades is not the venue's own; sums may be rounded.

    >>> bar = Bar("A", 0, 1.0, 2.0, 1.0, 2.0, 5.0)
    >>> differences(bar, bar._replace(high=3.0, volume=5.0 + 1e-9))
    ['high']
    """
    found = []
    for name in Bar._fields[2:11]:
        here, there = getattr(kline, name), getattr(built, name)
        if here is None or there is None:
            continue
        exact = name in ("open", "high", "low", "close", "trades")
        if here != there and (exact or not isclose(here, there, rel_tol=1e-6, abs_tol=1e-6)):
            found.append(name)
    return found
