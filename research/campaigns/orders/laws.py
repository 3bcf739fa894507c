"""What must hold of orders at any time, whoever was killed and whatever was lost."""

from __future__ import annotations

from collections import Counter
from decimal import localcontext

from research.campaigns.orders.memory import MemoryVenue
from research.orders import Book, Owner
from research.orders.money import EXACT, ZERO


def broken(book: Book, venue: MemoryVenue, owner: Owner) -> list[str]:
    """Return the laws that do not hold, in words."""
    with localcontext(EXACT):
        return [*_of_money(book), *_of_orders(book, venue, owner), *_of_fills(book, venue)]


def _of_money(book: Book) -> list[str]:
    """The position is the sum of fills; what came in is what was realised less the cost of it."""
    found = []
    for symbol, held in book.holdings.items():
        ours = [b for b in book.fills.values() if b.cid and b.fill.symbol == symbol]
        moved = sum((b.change for b in ours), ZERO)
        spent = sum((b.change * b.fill.price for b in ours), ZERO)
        if book.adjustments:
            continue  # what was adjusted by hand is in no fill
        if held.quantity != moved:
            found.append(f"{symbol}: position {held.quantity} is not the sum of fills {moved}")
        if held.realised - held.cost != -spent:
            found.append(
                f"{symbol}: realised {held.realised} less cost {held.cost} is not {-spent}"
            )
        if held.fees != sum((b.fee for b in ours), ZERO):
            found.append(f"{symbol}: fees {held.fees} are not those of the fills")
    return found


def _of_orders(book: Book, venue: MemoryVenue, owner: Owner) -> list[str]:
    """Every order of ours was meant, none is there twice, and what is settled is as it is there."""
    found = []
    there = Counter(placed.order.cid for placed in venue.orders.values())
    for cid, times in there.items():
        if owner.whose(cid) == "ours" and cid not in book.orders:
            found.append(f"order {cid} was never meant")
        if times > 1:
            found.append(f"order {cid} is at the venue {times} times")
    if venue.reused:
        found.append(f"{venue.reused} ids were used again")
    for kind in ("stop", "take"):
        resting = [p for p in venue.open if p.order.kind == kind]
        if len(resting) > 1:
            found.append(f"{len(resting)} orders of kind {kind} rest")
    for placed in venue.orders.values():
        known = book.orders.get(placed.order.cid)
        if known is None or known.closed or not known.settled:
            continue
        if placed.status == "open" and placed.filled < placed.quantity:
            found.append(f"order {placed.order.cid} is open at the venue and settled here")
        elif known.filled != placed.filled:
            found.append(f"order {placed.order.cid}: {known.filled} booked of {placed.filled}")
    return found


def _of_fills(book: Book, venue: MemoryVenue) -> list[str]:
    """What is booked is a trade of the venue's, as it was, and of the right order."""
    truth = {trade.trade: trade for trade in venue.trades}
    found = []
    for booked in book.fills.values():
        trade = truth.get(booked.fill.trade)
        if trade is None:
            found.append(f"fill {booked.fill.trade} was never made")
        elif (trade.quantity, trade.price, venue.owners[trade.trade]) != (
            booked.fill.quantity,
            booked.fill.price,
            booked.cid,
        ):
            found.append(f"fill {trade.trade} is booked otherwise than it was made")
    return found
