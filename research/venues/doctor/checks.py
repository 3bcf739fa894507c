"""The checks, one by one: each is a line that says that all is well, or what is wrong and what to
do. A check whose ground another one found missing is left out: one fault is one line.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Literal, NamedTuple

from research.errors import UserError
from research.venues.words import Balance, Gateway, Market, Refused, Settings, Unreachable

State = Literal["ok", "warn", "bad"]
COARSE = {"kraken": 1.0}
"""Seconds in which a venue tells the time, where that is not finely."""
FEED = 20.0
"""Seconds that a bar is waited for."""
_WALLETS = {
    "binance": "Deposit, or transfer to the USD-M futures wallet.",
    "bybit": "Deposit, or transfer to the unified trading account.",
    "kraken": "Deposit, or sell something for it.",
}
_MODES = {
    "binance": "Binance, Futures, Preferences, Position Mode",
    "bybit": "Bybit, Derivatives, Preferences, Position Mode",
}
_KEYS = {
    "binance": "Binance, API Management, Edit restrictions",
    "bybit": "Bybit, API, Edit",
    "kraken": "Kraken, Settings, API",
}
_RIGHTS = {
    "binance": "'Enable Futures'",
    "bybit": "'Read-Write' with 'Contract: Orders, Positions'",
    "kraken": "'Query funds', 'Query open/closed orders & trades', 'Create & modify orders' and "
    "'Cancel/close orders'",
}


class Check(NamedTuple):
    """What one check found."""

    name: str
    state: State
    words: str

    def line(self) -> str:
        """Return it as a line.

        >>> Check("disk", "bad", "0.1 GB free. Make room.").line()
        'BAD   disk         0.1 GB free. Make room.'
        """
        shown = self.state.upper() if self.state == "bad" else self.state
        return f"{shown:<5} {self.name:<12} {self.words}"


class Wanted(NamedTuple):
    """What an account is wanted for."""

    symbols: list[str]
    """As the venue writes them."""
    now: Callable[[], int]
    """This machine's time, microseconds."""
    skew: float
    """Seconds that clocks may differ."""
    margin: str
    """``isolated`` or ``cross``, of futures."""
    bar: Callable[[], Awaitable[str]] | None
    """Ask for the last closed bar and return its description; None: there is no feed to try."""
    folder: Path
    """Where runs are kept."""
    disk: float
    """GB that must be free there."""


async def examine(gateway: Gateway, wanted: Wanted) -> AsyncIterator[Check]:
    """Yield check after check as they are made.

    Parameters
    ----------
    gateway : Gateway
        Not opened yet.
    wanted : Wanted
        What it shall be good for.
    """
    try:
        await gateway.open()
        yield await _clock(gateway, wanted)
    except (Unreachable, Refused) as error:
        yield _silent(error)
    else:
        async for check in _account(gateway, wanted):
            yield check
        if wanted.bar is not None:
            yield await _feed(wanted.bar)
    yield _disk(wanted)


async def _account(gateway: Gateway, wanted: Wanted) -> AsyncIterator[Check]:
    symbols = _symbols(gateway, wanted.symbols)
    yield symbols
    good = [name for name in wanted.symbols if _fault(gateway, name) is None]
    try:
        coins = await gateway.balance()
        yield Check("keys", "ok", f"{gateway.account} is known")
        yield await _permissions(gateway)
        for name in good:
            if not gateway.market(name).spot:
                yield _settings(gateway, name, await gateway.settings(name), wanted.margin)
        if good:
            yield await _funds(gateway, good, coins)
    except Refused as no:
        yield _unwelcome(gateway, no)
    except Unreachable as error:
        yield _silent(error)


async def _clock(gateway: Gateway, wanted: Wanted) -> Check:
    """Compare clocks; what the way of the question may account for is forgiven."""
    asked = wanted.now()
    there = await gateway.clock()
    here = wanted.now()
    off = ((asked + here) / 2 - there) / 1e6
    doubt = (here - asked) / 2e6 + COARSE.get(gateway.name, 0.0)
    if abs(off) - doubt <= wanted.skew:
        return Check("clock", "ok", f"{abs(off):.2f} s from the venue's")
    way = "ahead of" if off > 0 else "behind"
    return Check(
        "clock",
        "bad",
        f"this machine is {abs(off):.1f} s {way} the venue, at most {wanted.skew:g} s are allowed. "
        "Synchronise it: timedatectl set-ntp true",
    )


def _symbols(gateway: Gateway, names: list[str]) -> Check:
    faults = [fault for name in names if (fault := _fault(gateway, name))]
    if faults:
        return Check("symbols", "bad", " ".join(faults))
    return Check("symbols", "ok", ", ".join(_filters(gateway.market(name)) for name in names))


def _fault(gateway: Gateway, name: str) -> str | None:
    try:
        market = gateway.market(name)
    except UserError as error:
        return str(error)
    return None if market.trading else f"{name} is not traded now. Wait, or leave it out."


def _filters(market: Market) -> str:
    return f"{market.symbol} (tick {market.tick:f}, lot {market.lot:f}, least {market.least:f})"


async def _permissions(gateway: Gateway) -> Check:
    may = await gateway.permissions()
    place = _KEYS[gateway.name]
    if may.withdraw:
        words = f"the key may withdraw money. Take that right from it: {place}"
        return Check("permissions", "bad", words)
    if may.trade is False:
        words = f"the key may not send orders. Give it {_RIGHTS[gateway.name]}: {place}"
        return Check("permissions", "bad", words)
    if may.withdraw is None or may.trade is None:
        words = f"the venue does not tell what the key may do. It must not withdraw: {place}"
        return Check("permissions", "warn", words)
    if may.addresses is False:
        words = f"trade, no withdrawal; from any address. Better bind it to this one's: {place}"
        return Check("permissions", "warn", words)
    return Check("permissions", "ok", "trade, no withdrawal, from known addresses alone")


def _settings(gateway: Gateway, name: str, have: Settings, margin: str) -> Check:
    if have.hedged:
        return Check(
            "mode",
            "bad",
            f"{name}: long and short are held side by side (hedge mode). With nothing open, take "
            f"one-way mode: {_MODES[gateway.name]}",
        )
    words = f"{name}: one-way, {have.margin} margin, leverage {have.leverage}"
    if have.margin != margin:
        words += f"; a run sets {margin} before its first order"
    return Check("mode", "ok", words)


async def _funds(gateway: Gateway, names: list[str], coins: dict[str, Balance]) -> Check:
    """Look whether the smallest order of each symbol can be paid."""
    free = {}
    for name in names:
        market, ticker = gateway.market(name), await gateway.ticker(name)
        least = max(market.least * ticker.ask, market.least_notional)
        have = coins[market.quote].free if market.quote in coins else Decimal(0)
        if have < least:
            short = f"{have:.2f} {market.quote} free, the smallest order of {name} is worth "
            return Check("funds", "bad", f"{short}{least:.2f}. {_WALLETS[gateway.name]}")
        free[market.quote] = have
    return Check("funds", "ok", ", ".join(f"{sum_:,.2f} {coin}" for coin, sum_ in free.items()))


async def _feed(bar: Callable[[], Awaitable[str]]) -> Check:
    try:
        async with asyncio.timeout(FEED):
            return Check("feed", "ok", await bar())
    except TimeoutError:
        return Check("feed", "bad", f"no closed bar within {FEED:g} s. Check the network.")
    except UserError as error:
        return Check("feed", "bad", str(error))


def _disk(wanted: Wanted) -> Check:
    free = shutil.disk_usage(wanted.folder).free / 1e9
    if free >= wanted.disk:
        return Check("disk", "ok", f"{free:.1f} GB free in {wanted.folder}")
    words = f"{free:.2f} GB free in {wanted.folder}, {wanted.disk:g} GB are needed. Make room there"
    return Check("disk", "bad", f"{words}, or choose another place: ALPHABOOK_DATA.")


def _silent(error: Exception) -> Check:
    again = "Wait some minutes and try again; look at the network and the venue's status page."
    return Check("venue", "bad", f"{error}. {again}")


def _unwelcome(gateway: Gateway, no: Refused) -> Check:
    """Say what a venue has against us."""
    where, said = _KEYS[gateway.name], no.words
    if no.reason == "permission":
        words = f"the key lacks a right ({said}). Give it {_RIGHTS[gateway.name]}: {where}"
    elif no.reason == "clock" and gateway.name == "kraken":
        words = f"another program asks with the same key ({said}). Give this one its own: {where}"
    elif no.reason == "clock":
        words = f"our requests come early or late ({said}). Synchronise: timedatectl set-ntp true"
    elif no.reason == "keys":
        words = f"the venue does not accept them ({said}). Copy key and secret anew, and see "
        words += f"whether the key is bound to another address: {where}"
    else:
        return _silent(no)
    return Check("keys", "bad", words)
