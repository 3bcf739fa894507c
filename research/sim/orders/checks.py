"""Whether a venue takes an order: filters, funds, modes."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from research.sim.orders.words import ZERO, Denied, Leg, Order, Rules, Side, Ticket

if TYPE_CHECKING:
    from research.sim.orders.account import Account


def check(account: Account, rules: Rules, ticket: Ticket) -> None:
    """Raise `Denied` where the venue would refuse."""
    price = account.price(ticket.symbol)
    _numbers(rules, ticket, price)
    if (ticket.leg == "BOTH") == account.hedged and not rules.spot:
        raise Denied("leg")
    same = account.history.find(id=None, cid=ticket.cid, now=account.moment)
    if ticket.cid and same is not None and same.status == "open":
        raise Denied("used_id", ticket.cid)
    if len(account.standing(ticket.symbol)) >= rules.most_open:
        raise Denied("too_many")
    _market(account, rules, ticket, price)
    if ticket.reduce_only and ticket.kind in ("market", "limit"):
        if reducible(account, ticket.symbol, ticket.side, ticket.leg) <= 0:
            raise Denied("no_position")
    elif not ticket.close:
        _funds(account, rules, ticket, price)


def _numbers(rules: Rules, ticket: Ticket, price: Decimal) -> None:
    """Filters: steps, least and most, notional, distance from the market."""
    quantity, limit = ticket.quantity, ticket.price
    for value in (limit, ticket.trigger):
        if value is not None and value <= 0:
            raise Denied("price")
        if value is not None and value % rules.tick:
            raise Denied("tick")
    if ticket.kind == "limit" and limit is None:
        raise Denied("price")
    if ticket.close:
        return
    if quantity <= 0 or quantity < rules.least:
        raise Denied("least")
    if quantity % rules.lot:
        raise Denied("lot")
    if quantity > (rules.most if ticket.kind == "limit" else rules.most_market):
        raise Denied("most")
    low, high = rules.band
    if limit is not None and not price * low <= limit <= price * high:
        raise Denied("band")
    if not ticket.reduce_only and quantity * (limit or price) < rules.least_notional:
        raise Denied("notional")


def _market(account: Account, rules: Rules, ticket: Ticket, price: Decimal) -> None:
    """Refuse what would trigger or take at once and may not, and FOK that would not fill."""
    if ticket.trigger is not None:
        rises = (ticket.side == "buy") == (ticket.kind == "stop")
        if price >= ticket.trigger if rises else price <= ticket.trigger:
            raise Denied("would_trigger")
    if ticket.force not in ("GTX", "FOK") or ticket.price is None:
        return
    levels = account.quotes.levels(rules, ticket.side, account.moment)
    buys = ticket.side == "buy"
    there = sum((q for p, q in levels if (p <= ticket.price if buys else p >= ticket.price)), ZERO)
    if ticket.force == "GTX" and there > 0:
        raise Denied("would_take")
    if ticket.force == "FOK" and there < ticket.quantity:
        raise Denied("would_not_fill")


def reducible(account: Account, symbol: str, side: Side, leg: Leg) -> Decimal:
    """Return how much an order on `side` could take off the position."""
    held = account.ledger.held(symbol, leg).quantity
    return max(ZERO, -held if side == "buy" else held)


def _funds(account: Account, rules: Rules, ticket: Ticket, price: Decimal) -> None:
    worth = ticket.trigger or ticket.price or price
    if rules.spot:
        buys = ticket.side == "buy"
        coin, need = (
            (rules.quote, ticket.quantity * worth) if buys else (rules.base, ticket.quantity)
        )
    else:
        opening = max(
            ZERO, ticket.quantity - reducible(account, ticket.symbol, ticket.side, ticket.leg)
        )
        coin, need = rules.quote, opening * worth / account.leverage.get(rules.symbol, 20)
    if need > free(account, coin):
        raise Denied("funds", coin)


def free(account: Account, coin: str) -> Decimal:
    """Return what of a coin neither orders nor positions hold."""
    total = account.ledger.coins.get(coin, ZERO)
    for order in account.standing():
        total -= _held_by(account, order, coin)
    if account.terms.spot:
        return total
    for (symbol, _), held in account.ledger.positions.items():
        if held.quantity and account.rules(symbol).quote == coin:
            price = account.price(symbol)
            margin = abs(held.quantity) * price / account.leverage.get(symbol, 20)
            total += held.worth(price) - margin
    return total


def _held_by(account: Account, order: Order, coin: str) -> Decimal:
    rules = account.rules(order.symbol)
    worth = order.price or order.trigger or ZERO
    if rules.spot:
        if order.side == "buy":
            return order.rest * worth if coin == rules.quote else ZERO
        return order.rest if coin == rules.base else ZERO
    if order.reduce_only or order.close or coin != rules.quote:
        return ZERO
    return order.rest * worth / account.leverage.get(order.symbol, 20)
