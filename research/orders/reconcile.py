"""Is what we hold what the venue says? Asked at every start, before anything else.

What our own orders explain is booked. Anything else halts: no trade is ever invented to make the
two agree. Done a second time it writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

from research.orders import events
from research.orders.account import Account
from research.orders.life import Known
from research.orders.money import EXACT, ZERO, text
from research.venues.words import Refused, Seen, Unreachable

FILLS_KEPT_US = 90 * 86_400 * 1_000_000
"""How far back every venue tells of trades: Binance USD-M, 3 months since 2026-08-26."""
_LOOKS = 3


class Difference(NamedTuple):
    """A symbol of which the venue says something else than our fills."""

    symbol: str
    ours: Decimal
    """Held by our own fills."""
    foreign: Decimal
    """What others did in the account, as far as we were told."""
    venue: Decimal
    price: Decimal
    """What a unit is worth now; the mean price of what we hold where that is not told."""
    known: int
    """Fills and adjustments in the book when it was found."""


class Report(NamedTuple):
    """What a reconciliation came to."""

    account: str
    differences: tuple[Difference, ...]
    foreign: tuple[Seen, ...]
    """Open orders that are none of ours."""
    others: tuple[Seen, ...]
    """Those of them that another instance of this program has sent."""
    doubtful: tuple[Known, ...]
    """Orders of ours of which the venue cannot say any more what became."""
    unseen: int
    """Days for which nobody was watching, where the venue does not keep its trades so long."""

    @property
    def halted(self) -> bool:
        """Whether no order may be sent before a person has looked."""
        return any((self.differences, self.foreign, self.doubtful, self.unseen))

    def text(self, run: str) -> str:
        """Say what was found and what to do.

        Parameters
        ----------
        run : str
            The run's id, as commands take it.
        """
        if not self.halted:
            return f"{self.account}: positions and orders are as our fills say."
        return "\n".join(
            [f"{self.account}: HALTED, no orders are sent.", *self._found(), *_do(run)]
        )

    def _found(self) -> list[str]:
        lines = [_difference(each) for each in self.differences]
        for seen in self.foreign:
            whose = "another instance's" if seen in self.others else "not ours"
            left = text(seen.quantity - seen.filled)
            lines.append(f"  open order {seen.id} ({whose}): {seen.side} {left} {seen.symbol}")
        for known in self.doubtful:
            order = known.order
            what = f"{order.side} {text(order.quantity)} {order.symbol}"
            lines.append(f"  our order {order.cid}: {what}: the venue cannot say what became of it")
        if self.unseen:
            lines.append(
                f"  nobody watched for {self.unseen} days, longer than the venue keeps its trades: "
                "compare its own statement"
            )
        return lines


def _difference(found: Difference) -> str:
    missing = text(EXACT.subtract(found.venue, EXACT.add(found.ours, found.foreign)))
    return (
        f"  {found.symbol}: our fills say {text(found.ours)}, the venue {text(found.venue)}; "
        f"trades by others explain {text(found.foreign)}, nothing explains {missing}"
    )


def _do(run: str) -> list[str]:
    return [
        "  What to do: look at the account's orders and trades at the venue. Cancel there what",
        "  should not be, close there what should not be held; then start the run again. If the",
        f"  venue is right as it is: ./run resume {run} --accept-venue",
    ]


async def reconcile(account: Account, symbols: Collection[str]) -> Report:
    """Find out what became of every order of ours, book it, and compare with the venue.

    Parameters
    ----------
    account : Account
        Of the run, with the book that its journal comes to.
    symbols : collection of str
        What the run trades. At a spot venue only these coins are compared; elsewhere any other
        position counts as well.

    Returns
    -------
    Report
        If it is `halted` the account is stopped.

    Raises
    ------
    Unreachable
        If the venue does not answer.
    """
    unseen = _unseen(account)
    doubtful = await _ours(account)
    for symbol in symbols:
        await account.refresh(symbol)
    await account.incomes()
    foreign, others = await _foreign(account)
    differences = await _differences(account, symbols)
    report = Report(account.owner.account, differences, foreign, others, doubtful, unseen)
    _write(account, report)
    if report.halted:
        account.stop("the account at the venue is not what our fills say")
    return report


def _unseen(account: Account) -> int:
    book, now = account.book, account.now()
    gone = now - book.time
    return gone // 86_400_000_000 if book.orders and gone > FILLS_KEPT_US else 0


async def _ours(account: Account) -> tuple[Known, ...]:
    """Find out what became of our own orders, and return those of which nobody can tell."""
    for known in account.book.unsettled():
        cid = known.order.cid
        if not known.sent and known.answer == "":
            why = "it was never sent"
            account.note(events.absent(cid, why, 0, account.now()))
        elif known.unknown and not known.proof:
            account.doubt(cid, "the run ended before an answer")
    waiting = [known.order.cid for known in account.book.unsettled() if known.unknown]
    await asyncio.gather(*(account.resolve(cid) for cid in waiting))
    found = [await _told(account, known.order.cid) for known in account.book.unsettled()]
    return tuple(account.known(cid) for cid in found if cid)


async def _told(account: Account, cid: str) -> str:
    """Ask until the venue tells of an order and all its fills are booked; else return its id.

    A venue that does not answer has not said that it cannot tell.
    """
    began, asked = account.seconds(), 0
    while not account.known(cid).unknown:
        there = await account.look(cid)
        known = account.known(cid)
        if known.settled or (there and not known.over):
            return ""
        if there is None:
            raise Unreachable(f"order {cid}: no answer")
        if account.seconds() - began >= account.patience.least:
            break
        await asyncio.sleep(account.patience.pause(asked))
        asked += 1
    return cid


async def _foreign(account: Account) -> tuple[tuple[Seen, ...], tuple[Seen, ...]]:
    """Return the open orders that are none of ours, and those of another instance."""
    foreign = []
    for seen in await account.gateway.open_orders():
        if seen.cid in account.book.orders:
            account.told(seen.cid, seen)
        elif seen.id not in account.book.accepted and seen.id not in account.book.by_id:
            foreign.append(seen)
    foreign.sort(key=lambda seen: (seen.symbol, seen.id))
    whose = account.owner.whose
    return tuple(foreign), tuple(s for s in foreign if whose(s.cid) == "another instance")


async def _differences(account: Account, symbols: Collection[str]) -> tuple[Difference, ...]:
    """Compare positions; again, where a fill may have come between two questions."""
    found: list[tuple[str, Decimal]] = []
    for look in range(_LOOKS):
        found = await _unequal(account, symbols)
        if not found:
            return ()
        await asyncio.sleep(account.patience.pause(look))
        for symbol, _ in found:
            await account.refresh(symbol)
    return tuple([await _difference_of(account, *each) for each in found])


async def _unequal(account: Account, symbols: Collection[str]) -> list[tuple[str, Decimal]]:
    held = await account.gateway.positions()
    spot = all(account.gateway.market(symbol).spot for symbol in symbols)
    compared = {*symbols, *account.book.holdings} | (set() if spot else set(held))
    venue = {symbol: held[symbol].quantity if symbol in held else ZERO for symbol in compared}
    return sorted((s, q) for s, q in venue.items() if q != account.book.held(s))


async def _difference_of(account: Account, symbol: str, venue: Decimal) -> Difference:
    book = account.book
    price = book.holding(symbol).entry or ZERO
    with suppress(Unreachable, Refused):
        price = (await account.gateway.ticker(symbol)).last
    foreign, known = book.foreign.get(symbol, ZERO), len(book.fills) + len(book.adjustments)
    return Difference(symbol, book.held(symbol), foreign, venue, price, known)


def _write(account: Account, report: Report) -> None:
    """Note what was found, unless the journal's last reconciliation found the same."""
    body: dict[str, Any] = {
        "halted": report.halted,
        "differences": [
            [each.symbol, text(each.ours), text(each.foreign), text(each.venue)]
            for each in report.differences
        ],
        "foreign_orders": [[seen.id, seen.cid] for seen in report.foreign],
        "doubtful": [known.order.cid for known in report.doubtful],
        "unseen_days": report.unseen,
    }
    last = account.book.reconciled or {}
    if {name: last.get(name) for name in body} != body:
        account.note(("reconciled", body | {"time": account.now()}))


def accept(account: Account, report: Report) -> int:
    """Take the venue's word for everything a report names, and let the account trade again.

    What is held becomes what the venue says, at the price of now; no trade is made up for it.
    Others' open orders are left alone, ours that nobody can tell of any more are closed.

    Returns
    -------
    int
        Adjustments that were written; the same report again writes none.
    """
    said = [_adjusted(account, each) for each in report.differences]
    orders = tuple(seen.id for seen in report.foreign)
    closed = tuple(known.order.cid for known in report.doubtful)
    if orders or closed:
        said.append(events.Adjustment(_id(*orders, "|", *closed), orders=orders, closed=closed))
    fresh = [each for each in said if each.id not in account.book.adjustments]
    if fresh:
        account.note(*(events.adjustment(each, account.now()) for each in fresh))
    account.resume()
    return len(fresh)


def _adjusted(account: Account, found: Difference) -> events.Adjustment:
    change = EXACT.subtract(found.venue, found.ours)
    name = _id(account.owner.account, *found)
    return events.Adjustment(name, found.symbol, change, found.foreign, found.price)


def _id(*words: object) -> str:
    return blake2b("\x1f".join(map(str, words)).encode(), digest_size=12).hexdigest()
