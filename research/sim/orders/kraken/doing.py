"""What changes something: orders are placed and cancelled, and the dead-man timer is set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from research.sim.kraken import Invalid, found
from research.sim.orders import checks
from research.sim.orders.kraken.forms import described, text_id
from research.sim.orders.kraken.signing import form, named
from research.sim.orders.venues import Call
from research.sim.orders.words import Denied, Force, Kind, Order, Side, Ticket

SECOND = 1_000_000
CIDS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}|[ -~]{1,18}")
"""A UUID with or without strokes, or up to 18 letters (Kraken, "Client Order Identifiers")."""
KINDS: dict[str, Kind] = {"market": "market", "limit": "limit"}
KINDS |= {"stop-loss": "stop", "take-profit": "take"}
FLAGS = {"", "fciq", "post", "nompp"}
_WINDOW = 5 * SECOND
_FARTHEST = 60 * SECOND


def add_order(call: Call) -> Any:
    """Place an order; with `validate` only look whether it could be."""
    asked = form(call)
    ticket = _ticket(call, asked)
    _in_time(call, asked)
    if asked.get("validate") in ("true", "True", "1"):
        checks.check(call.account, call.account.rules(ticket.symbol), ticket)
        return {"descr": {"order": _said(ticket)}}
    order = call.account.place(ticket, call.twist)
    order.more["cl_ord_id"] = asked.get("cl_ord_id")
    order.more["userref"] = int(asked["userref"]) if "userref" in asked else None
    order.more["oflags"] = asked.get("oflags") or "fciq"
    return {"descr": {"order": described(order)}, "txid": [text_id("O", order.id)]}


def _ticket(call: Call, asked: Mapping[str, str]) -> Ticket:
    symbol = found(call.private.market, asked).symbol
    side, kind = asked.get("type", ""), asked.get("ordertype", "")
    if side not in ("buy", "sell"):
        raise _bad("type")
    if kind not in KINDS:  # Kraken has more of them; they are not played
        raise _bad("ordertype")
    _plain_spot(asked)
    priced = None if kind == "market" else _amount(asked, "price")
    waits = KINDS[kind] in ("stop", "take")
    return Ticket(
        cid=_cid(asked),
        symbol=symbol,
        side=_side(side),
        kind=KINDS[kind],
        quantity=_amount(asked, "volume"),
        price=None if waits else priced,
        force=_force(asked, kind),
        trigger=priced if waits else None,
    )


def _side(text: str) -> Side:
    return "buy" if text == "buy" else "sell"


def _plain_spot(asked: Mapping[str, str]) -> None:
    """Refuse what only accounts with margin may ask, and what is not played."""
    if asked.get("reduce_only", "false").lower() == "true":
        raise _bad("reduce_only")
    if asked.get("leverage", "none") != "none":
        raise Invalid("EOrder:Cannot open position")
    if not set(asked.get("oflags", "").split(",")) <= FLAGS:
        raise _bad("oflags")
    if asked.get("cl_ord_id") is not None and "userref" in asked:
        raise _bad("cl_ord_id")
    if "userref" in asked and not re.fullmatch(r"-?\d{1,9}", asked["userref"]):
        raise _bad("userref")


def _cid(asked: Mapping[str, str]) -> str:
    cid = asked.get("cl_ord_id", "")
    if cid and not CIDS.fullmatch(cid):
        raise _bad("cl_ord_id")
    return cid


def _force(asked: Mapping[str, str], kind: str) -> Force:
    posts = "post" in asked.get("oflags", "").split(",")
    told = asked.get("timeinforce", "GTC")
    if told not in ("GTC", "IOC") or (posts and (kind != "limit" or told == "IOC")):
        raise _bad("timeinforce")
    return "GTX" if posts else "IOC" if told == "IOC" else "GTC"


def _amount(asked: Mapping[str, str], name: str) -> Decimal:
    try:
        value = Decimal(asked.get(name, ""))
    except InvalidOperation:
        raise _bad(name) from None
    if not value.is_finite() or value <= 0:
        raise _bad(name)
    return value


def _bad(name: str) -> Invalid:
    return Invalid(f"EGeneral:Invalid arguments:{name}")


def _in_time(call: Call, asked: Mapping[str, str]) -> None:
    """Check the deadline that an order may name, no more than a minute ahead."""
    if "deadline" not in asked:
        return
    try:
        moment = datetime.fromisoformat(asked["deadline"].replace("Z", "+00:00"))
    except ValueError:
        raise _bad("deadline") from None
    stamp = round(moment.astimezone(UTC).timestamp() * SECOND)
    if call.late > _WINDOW or not call.private.timely(stamp - _WINDOW, _WINDOW, _FARTHEST):
        raise Invalid("EService:Deadline elapsed")


def _said(ticket: Ticket) -> str:
    return described(Order(0, ticket.cid, *ticket[1:], 0, 0))


def cancel_order(call: Call) -> Any:
    """Cancel one order by either id, or all that carry a `userref`."""
    asked = form(call)
    order = named(call.account, asked)
    if order is None:
        tagged = [o for o in call.account.open_orders() if _tagged(o, asked.get("txid", ""))]
        if not tagged:
            raise Denied("no_order")
        return {"count": len([call.account.cancel(one) for one in tagged])}
    call.account.cancel(order)
    return {"count": 1}


def _tagged(order: Order, text: str) -> bool:
    return text != "" and str(order.more.get("userref")) == text


def cancel_all(call: Call) -> Any:
    """Cancel whatever is open."""
    return {"count": len(call.account.cancel_all())}


def cancel_all_after(call: Call) -> Any:
    """Set the dead-man timer, in seconds; 0 ends it."""
    text = form(call).get("timeout", "")
    if not text.isdigit() or int(text) > 86_400:
        raise _bad("timeout")
    call.account.dead_man(int(text) * SECOND)
    ends = _stamp(call.now + int(text) * SECOND) if int(text) else "0"
    return {"currentTime": _stamp(call.now), "triggerTime": ends}


def _stamp(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment // SECOND, UTC):%Y-%m-%dT%H:%M:%SZ}"


ERRORS = {
    "symbol": "EQuery:Unknown asset pair",
    "tick": "EOrder:Tick size check failed",
    "price": "EGeneral:Invalid arguments:price",
    "band": "EOrder:Invalid price",
    "lot": "EGeneral:Invalid arguments:volume",
    "least": "EOrder:Order minimum not met",
    "most": "EOrder:Positions limit exceeded",
    "notional": "EOrder:Cost minimum not met",
    "funds": "EOrder:Insufficient funds",
    "would_take": "EOrder:Post only order",
    "would_trigger": "EOrder:Invalid price",
    "used_id": "EGeneral:Invalid arguments:cl_ord_id",
    "no_order": "EOrder:Unknown order",
    "too_many": "EOrder:Orders limit exceeded",
}
"""What an account denies, in Kraken's words. Those for `would_trigger` and `used_id` are not
documented: they are this room's own guess."""
