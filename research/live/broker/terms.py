"""On what terms an account is traded: the venue's steps and settings, and a desk made for them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from research import tape
from research.errors import UserError
from research.live import arms, names
from research.live.desk import Desk
from research.live.net import Network
from research.orders import Patience
from research.study import Study
from research.trading.account import new_venue
from research.venues.words import WINDOW_US, Gateway, Refused, Settings, Unknown, Unreachable


def refuse(study: Study, *, dry_run: bool) -> None:
    """Refuse what cannot be done with real orders, before anything is started.

    Raises
    ------
    UserError
        One line that says what to change.
    """
    if study.backtest.overlap > 1 or dry_run:
        raise UserError(
            f"study {study.name}: real orders need backtest.overlap 1 and no --dry-run, found "
            f"overlap {study.backtest.overlap}, dry run {dry_run}: a venue nets the positions of a "
            "symbol. Set backtest.overlap=1, or use --mode paper."
        )
    if study.feed == "replay":
        raise UserError(
            f"study {study.name}: live.feed 'replay' has no venue that takes orders. Choose "
            "another feed, or use --mode paper."
        )


async def opened(
    study: Study, network: Network, now: Callable[[], int], speed: float, symbols: Sequence[str]
) -> Gateway:
    """Return the gateway to the study's account, open, its settings as the study wants them.

    Raises
    ------
    UserError
        If there are no keys, the key may withdraw, a market does not trade, a setting of the
        account is not what it was set to, or the venue refuses or does not answer.
    """
    from research.venues import open_gateway

    venue, account = arms.venue(study), str(study.live.account)
    pace = speed if network.simulated else 1.0
    gateway = open_gateway(
        venue, network, account=account, keys=arms.keys(study), now=now, pace=pace
    )
    try:
        await gateway.open()
        await _permitted(gateway)
        for name in names.of(study, symbols).values():
            await _set(study, gateway, name)
    except BaseException as error:
        await gateway.close()
        if isinstance(error, Unreachable | Unknown | Refused):
            raise silent(gateway, error) from None
        raise
    return gateway


def silent(gateway: Gateway, why: Exception) -> UserError:
    """Return what is said where an account cannot be begun with."""
    if isinstance(why, Refused):
        return UserError(
            f"account {gateway.account}: the venue refuses ({why}). Nothing was sent. Look at the "
            "key and what it may do, and at this machine's clock, and start again."
        )
    return UserError(
        f"account {gateway.account}: the venue does not answer ({why}). Nothing was sent. Look "
        "whether it is up, and start again."
    )


def patience(speed: float, *, real: bool) -> Patience:
    """Return how long to ask: of a market that plays faster, not as long as of a real one."""
    if real:
        return Patience()
    quick = min(max(speed, 1.0), 1000.0)
    pauses = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
    return Patience(pauses, least=max(30.0 / quick, 1.0), window_us=int(WINDOW_US * quick))


async def _permitted(gateway: Gateway) -> None:
    """Refuse a key that could do more than trade."""
    found = await gateway.permissions()
    if found.withdraw:
        raise UserError(
            f"account {gateway.account}: its key may withdraw. Make one at the venue that may only "
            "trade, and put that into the environment."
        )
    if found.trade is False:
        raise UserError(f"account {gateway.account}: its key may not trade. Allow it at the venue.")


async def _set(study: Study, gateway: Gateway, symbol: str) -> None:
    """Set leverage, margin and position mode of a symbol, and refuse if they are not so then."""
    market = gateway.market(symbol)
    if not market.trading:
        raise UserError(
            f"account {gateway.account}: {symbol} does not trade at the venue now. Leave it out of "
            "data.symbols, or wait."
        )
    if market.spot:
        return
    wanted = Settings(max(1, math.ceil(study.sizing.leverage)), study.live.margin, hedged=False)
    found = await gateway.set(symbol, wanted)
    if found != wanted:
        raise UserError(
            f"account {gateway.account}: {symbol} must have {_said(wanted)}, found {_said(found)}. "
            "Set it at the venue (it may have to be flat, and without open orders), then start."
        )


def _said(found: Settings) -> str:
    mode = "hedge" if found.hedged else "one-way"
    return f"leverage {found.leverage}, {found.margin} margin, {mode} mode"


def desk(study: Study, gateway: Gateway, symbols: list[str]) -> Desk:
    """Return a new desk that goes by the venue's own steps, and takes no funding of its own.

    Funding is booked as the venue pays it. The least worth of an order is that of the symbol where
    it is smallest; what is too small for another is refused when it is sent.
    """
    markets = [gateway.market(name) for name in names.of(study, symbols).values()]
    lot, tick = (np.array([float(getattr(m, name)) for m in markets]) for name in ("lot", "tick"))
    rules = tape.rules(study)
    least = min(float(market.least_notional) for market in markets)
    rules = rules._replace(min_notional=max(rules.min_notional, least), latency=0)
    venue = new_venue(len(symbols), lot=lot, tick=tick)
    return Desk(rules, venue, symbols, study.backtest.capital, live=True)
