"""How Bybit writes orders, executions, positions and money (V5 documentation, "Linear")."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

from research.sim.orders.account import RATE, Account
from research.sim.orders.words import ZERO, Income, Leg, Order, Side, Trade

COIN, CATEGORY = "USDT", "linear"
SIDES: dict[Side, str] = {"buy": "Buy", "sell": "Sell"}
LEGS: dict[Leg, int] = {"BOTH": 0, "LONG": 1, "SHORT": 2}
LEVERAGE = 20
"""Where nobody has set one."""
KEPT = Decimal("0.005")
"""Maintenance margin, of the position's worth."""
_ORDERS, _LOGS = 0xA0, 0xC0
REASONS = {
    "cancelled by the client": ("CancelByUser", "EC_PerCancelRequest"),
    "nothing more to take": ("UNKNOWN", "EC_NoImmediateQtyToFill"),
    "would_not_fill": ("UNKNOWN", "EC_CancelForNoFullFill"),
    "would_take": ("UNKNOWN", "EC_PostOnlyWillTakeLiquidity"),
    "reduce-only: nothing to reduce": ("CancelByReduceOnly", "EC_NoError"),
    "dead-man timer": ("CancelByDCP", "EC_PerCancelRequest"),
}
"""Why an order ended, as `cancelType` and `rejectReason`."""


def text(value: Decimal) -> str:
    """Write an amount: no exponent, no zeros at its end.

    >>> text(Decimal("1E+2")), text(Decimal("0.100")), text(Decimal(0))
    ('100', '0.1', '0')
    """
    plain = format(value, "f")
    return (plain.rstrip("0").rstrip(".") if "." in plain else plain) or "0"


def order_id(number: int) -> str:
    """Return an order's id as the venue shows it, in the form of a UUID.

    >>> number_of(order_id(1_000_007))
    1000007
    """
    return _id(_ORDERS, number)


def number_of(shown: str) -> int | None:
    """Return the number behind an order's id; None where it cannot be one."""
    try:
        value = uuid.UUID(shown).int
    except ValueError:
        return None
    return value & ((1 << 64) - 1) if value >> 120 == _ORDERS else None


def _id(kind: int, number: int) -> str:
    return str(uuid.UUID(int=kind << 120 | number))


def status_of(order: Order) -> str:
    """Return the word for an order's state.

    ``PartiallyFilledCanceled`` is of spot alone: a future's ``Cancelled`` may have fills.
    """
    if order.status == "open":
        if order.waits:
            return "Untriggered"
        return "PartiallyFilled" if order.filled else "New"
    if order.status == "filled":
        return "Filled"
    if order.status == "rejected":
        return "Rejected"
    return "Deactivated" if order.waits else "Cancelled"


def order_form(account: Account, order: Order) -> dict[str, Any]:
    """Return an order as ``/v5/order/realtime`` and ``/v5/order/history`` show it."""
    cancelled, rejected = REASONS.get(order.reason, ("UNKNOWN", "EC_NoError"))
    open_, limit = order.status == "open", order.kind == "limit"
    leaves = order.rest if open_ else ZERO
    fees = _fees(account, order)
    return {
        "symbol": order.symbol,
        "orderType": "Limit" if limit else "Market",
        "orderLinkId": "" if order.cid.startswith("venue") else order.cid,
        "slLimitPrice": "0",
        "orderId": order_id(order.id),
        "cancelType": cancelled if order.status in ("cancelled", "expired") else "UNKNOWN",
        "avgPrice": text(order.average.quantize(Decimal("1e-10"))) if order.filled else "",
        "stopOrderType": "" if order.trigger is None else "Stop",
        "lastPriceOnCreated": order.more.get("last", ""),
        "orderStatus": status_of(order),
        "createType": created_by(order.cid),
        "takeProfit": "",
        "cumExecValue": text(order.paid),
        "tpslMode": "",
        "smpType": "None",
        "triggerDirection": order.more.get("direction", 0),
        "blockTradeId": "",
        "cumFeeDetail": {coin: text(fee) for coin, fee in fees.items()},
        "rejectReason": rejected if order.status in ("cancelled", "expired") else "EC_NoError",
        "isLeverage": "",
        "price": text(order.price) if order.price is not None else "0",
        "orderIv": "",
        "createdTime": stamp(order.time),
        "tpTriggerBy": "",
        "positionIdx": LEGS[order.leg],
        "timeInForce": {"GTX": "PostOnly"}.get(order.force, order.force) if limit else "IOC",
        "leavesValue": text(leaves * (order.price or ZERO)),
        "updatedTime": stamp(order.updated),
        "side": SIDES[order.side],
        "smpGroup": 0,
        "triggerPrice": text(order.trigger) if order.trigger is not None else "",
        "tpLimitPrice": "0",
        "cumExecFee": text(fees.get(COIN, ZERO)),
        "slTriggerBy": "",
        "leavesQty": text(leaves),
        "closeOnTrigger": order.close,
        "slippageToleranceType": "UNKNOWN",
        "placeType": "",
        "cumExecQty": text(order.filled),
        "reduceOnly": order.reduce_only,
        "qty": text(order.quantity),
        "stopLoss": "",
        "smpOrderId": "",
        "slippageTolerance": "0",
        "triggerBy": "" if order.trigger is None else "LastPrice",
        "extraFees": "",
    }


def _fees(account: Account, order: Order) -> dict[str, Decimal]:
    """Return what the fills of an order cost, by coin; each is counted once."""
    fees: dict[str, Decimal] = {}
    seen: set[int] = set()
    made = account.history.trades(account.moment, order.symbol) if order.filled else []
    for trade in reversed(made):
        if trade.time < order.time:
            break
        if trade.order == order.work and trade.id not in seen:
            seen.add(trade.id)
            fees[trade.coin] = fees.get(trade.coin, ZERO) + trade.fee
    return fees


def stamp(moment: int) -> str:
    """Return microseconds as the milliseconds that the venue writes."""
    return str(moment // 1000)


def created_by(cid: str) -> str:
    """Return who made an order, as `createType`."""
    if cid.startswith("adl_autoclose"):
        return "CreateByAdl_PassThrough"
    if cid.startswith("autoclose-"):
        return "CreateByLiq"
    return "CreateBySettle" if cid.startswith("settlement_autoclose-") else "CreateByUser"


def exec_type(cid: str) -> str:
    """Return what kind of trade it was, as `execType`.

    >>> exec_type("mine"), exec_type("adl_autoclose")
    ('Trade', 'AdlTrade')
    """
    kinds = {"CreateByAdl_PassThrough": "AdlTrade", "CreateByLiq": "BustTrade"}
    return kinds.get(created_by(cid), "Trade")


def trade_form(account: Account, trade: Trade) -> dict[str, Any]:
    """Return a trade as ``/v5/execution/list`` shows it."""
    order = account.history.find(id=trade.order, cid=None, now=trade.time)
    value = trade.quantity * trade.price
    own = created_by(trade.cid) == "CreateByUser" and not trade.cid.startswith("venue")
    kind = "Limit" if order is not None and order.kind == "limit" else "Market"
    return {
        "symbol": trade.symbol,
        "orderType": kind,
        "underlyingPrice": "",
        "orderLinkId": trade.cid if own else "",
        "orderId": order_id(trade.order),
        "stopOrderType": "UNKNOWN" if order is None or order.trigger is None else "Stop",
        "execTime": stamp(trade.time),
        "feeCurrency": "",
        "createType": created_by(trade.cid),
        "feeRate": text((trade.fee / value).quantize(Decimal("1e-8"))) if value else "0",
        "tradeIv": "",
        "blockTradeId": "",
        "markPrice": text(trade.price),
        "execPrice": text(trade.price),
        "markIv": "",
        "orderQty": text(order.quantity) if order is not None else text(trade.quantity),
        "orderPrice": text(order.price or ZERO) if order is not None else "0",
        "execValue": text(value),
        "closedSize": text(trade.quantity) if trade.realised else "0",
        "execType": exec_type(trade.cid),
        "seq": trade.id,
        "side": SIDES[trade.side],
        "indexPrice": "",
        "leavesQty": text(order.rest) if order is not None else "0",
        "isMaker": trade.maker,
        "execFee": text(trade.fee),
        "execId": trade_id(trade),
        "marketUnit": "",
        "execQty": text(trade.quantity),
        "extraFees": "",
        "feeCoin": trade.coin,
    }


def trade_id(trade: Trade) -> str:
    """Return a trade's id as the venue shows it: unique over all symbols."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"execution|{trade.symbol}|{trade.id}"))


def funding_form(account: Account, income: Income) -> dict[str, Any]:
    """Return a funding as ``/v5/execution/list`` shows it: its fee is above 0 where it was paid."""
    held, price = _funded(account, income)
    return {
        "symbol": income.symbol,
        "orderType": "UNKNOWN",
        "orderLinkId": "",
        "orderId": f"{income.time // 1_000_000}-{income.id}",
        "execTime": stamp(income.time),
        "feeRate": text(RATE),
        "execPrice": text(price),
        "execValue": text(abs(held) * price),
        "execType": "Funding",
        "side": "Buy" if held < 0 else "Sell",
        "isMaker": False,
        "execFee": text(-income.amount),
        "execId": _id(_LOGS, income.id),
        "execQty": text(abs(held)),
        "feeCoin": income.coin,
        "leavesQty": "0",
        "orderQty": "0",
        "orderPrice": "0",
        "closedSize": "0",
    }


def _funded(account: Account, income: Income) -> tuple[Decimal, Decimal]:
    """Return the position that was funded, and the price at which."""
    price = account.quotes.quote(income.symbol, income.time).price
    step = account.rules(income.symbol).lot
    return (-income.amount / price / RATE).quantize(step), price


def log_form(
    account: Account, income: Income, trade: Trade | None, balance: Decimal
) -> dict[str, Any]:
    """Return an entry of ``/v5/account/transaction-log``: change = cashFlow + funding - fee."""
    funding = income.amount if income.kind == "funding" else ZERO
    moved = income.kind in ("realised", "transfer")
    kinds = {"funding": "SETTLEMENT", "realised": "TRADE", "fee": "TRADE"}
    into = "TRANSFER_IN" if income.amount > 0 else "TRANSFER_OUT"
    return {
        "id": f"{income.id}_{CATEGORY}",
        "symbol": income.symbol,
        "category": CATEGORY,
        "side": "None" if trade is None else SIDES[trade.side],
        "transactionTime": stamp(income.time),
        "type": kinds.get(income.kind, into),
        "transSubType": "",
        "qty": "0" if trade is None else text(trade.quantity),
        "size": "0",
        "currency": income.coin,
        "tradePrice": "" if trade is None else text(trade.price),
        "funding": text(funding) if funding else "",
        "fee": text(-income.amount) if income.kind == "fee" else "0",
        "cashFlow": text(income.amount) if moved else "0",
        "change": text(income.amount),
        "cashBalance": text(balance),
        "feeRate": text(RATE) if funding else "",
        "bonusChange": "",
        "tradeId": "" if trade is None else trade_id(trade),
        "orderId": "" if trade is None else order_id(trade.order),
        "orderLinkId": "" if trade is None else trade.cid,
        "extraFees": "",
    }


def position_form(account: Account, symbol: str, leg: Leg) -> dict[str, Any]:
    """Return a position as ``/v5/position/list`` shows it; a flat one has no side."""
    held = account.ledger.held(symbol, leg)
    price = account.price(symbol)
    leverage = account.leverage.get(symbol, LEVERAGE)
    worth, size = abs(held.quantity) * price, abs(held.quantity)
    side = "" if not size else SIDES["buy" if held.quantity > 0 else "sell"]
    return {
        "symbol": symbol,
        "leverage": str(leverage),
        "autoAddMargin": 0,
        "avgPrice": text(held.entry.quantize(Decimal("1e-10"))),
        "liqPrice": "",
        "riskLimitValue": "2000000",
        "takeProfit": "",
        "positionValue": text(abs(held.cost)) if size else "",
        "isReduceOnly": False,
        "tpslMode": "Full",
        "riskId": 1,
        "trailingStop": "0",
        "unrealisedPnl": text(held.worth(price)) if size else "",
        "markPrice": text(price),
        "adlRankIndicator": 2 if size else 0,
        "cumRealisedPnl": "0",
        "positionMM": text(worth * KEPT),
        "createdTime": stamp(account.moment),
        "positionIdx": LEGS[leg],
        "positionIM": text((worth / leverage).quantize(Decimal("1e-8"))),
        "seq": account.moment // 1000,
        "updatedTime": stamp(account.moment),
        "side": side,
        "bustPrice": "",
        "positionBalance": "0",
        "leverageSysUpdatedTime": "",
        "curRealisedPnl": "0",
        "size": text(size),
        "positionStatus": "Normal",
        "mmrSysUpdatedTime": "",
        "stopLoss": "",
        "tradeMode": 0,
        "sessionAvgPrice": "",
    }


def coin_form(account: Account, coin: str) -> dict[str, Any]:
    """Return a coin as ``/v5/account/wallet-balance`` shows it.

    ``availableToWithdraw`` is empty for unified accounts, and what is free is what initial margins
    leave.
    """
    total, equity = account.ledger.coins.get(coin, ZERO), account.equity(coin)
    held = max(total - account.free(coin), ZERO)
    return {
        "availableToBorrow": "",
        "bonus": "0",
        "accruedInterest": "0",
        "availableToWithdraw": "",
        "totalOrderIM": text(held) if coin == COIN else "0",
        "equity": text(equity),
        "totalPositionMM": "0",
        "usdValue": text(equity) if coin == COIN else "0",
        "unrealisedPnl": text(equity - total),
        "collateralSwitch": True,
        "spotHedgingQty": "0",
        "borrowAmount": "0",
        "totalPositionIM": "0",
        "walletBalance": text(total),
        "cumRealisedPnl": "0",
        "locked": "0",
        "marginCollateral": True,
        "coin": coin,
    }
