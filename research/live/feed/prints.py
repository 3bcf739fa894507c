"""Bars out of trades, of one second or one minute, and how they differ from klines."""

from __future__ import annotations

from math import isclose
from typing import NamedTuple

from research.live.feed.records import Print
from research.live.moments import Bar


class Building(NamedTuple):
    """One symbol's bar under way; `whole` if no trade of it can have been missed."""

    bar: Bar
    next_id: int
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
