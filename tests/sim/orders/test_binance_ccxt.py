"""An unmodified ccxt places, fills, cancels and reads everything back; ccxt.pro watches it."""

import asyncio
from decimal import Decimal

import pytest

ccxt = pytest.importorskip("ccxt")
S, A = "AAA/USDT:USDT", "AAAUSDT"


async def test_ccxt_trades_and_reads_everything_back(venue, ccxt_at):
    async with venue() as client, ccxt_at("binanceusdm", client) as exchange:
        mine = client.exchange.accounts["binance"]
        market = (await exchange.load_markets())[S]
        assert market["precision"] == {"amount": 0.001, "price": 0.01, "base": 1e-8, "quote": 1e-8}
        assert market["limits"]["cost"]["min"] == 5
        asked = [e["path"] for e in client.exchange.log if e["kind"] == "signed"]
        assert sorted(asked) == ["/sapi/v1/capital/config/getall", "/sapi/v1/margin/allPairs"]
        await exchange.set_leverage(4, S)
        await exchange.set_margin_mode("isolated", S)
        leverage, mode = await exchange.fetch_leverage(S), await exchange.fetch_position_mode(S)
        assert (leverage["longLeverage"], leverage["marginMode"]) == (4, "isolated")
        assert mode["hedged"] is False
        bought = await exchange.create_order(S, "market", "buy", 3, None, {"clientOrderId": "in"})
        assert (bought["status"], bought["filled"]) == ("closed", 3)
        book = await exchange.fetch_order_book(S, 5)
        price = exchange.price_to_precision(S, bought["average"] * 1.02)
        await exchange.create_order(S, "limit", "sell", 1, price, {"postOnly": True})
        stop = exchange.price_to_precision(S, bought["average"] * 0.97)
        params = {"stopLossPrice": stop, "reduceOnly": True, "clientOrderId": "out"}
        await exchange.create_order(S, "market", "sell", 3, None, params)
        (limit,) = await exchange.fetch_open_orders(S)
        (waiting,) = await exchange.fetch_open_orders(S, params={"trigger": True})
        assert limit["price"] == float(price) and waiting["triggerPrice"] == float(stop)
        assert (await exchange.cancel_order(limit["id"], S))["status"] == "canceled"
        await exchange.cancel_all_orders(S, {"trigger": True})
        seen = await exchange.fetch_order("", S, {"clientOrderId": "in"})
        assert (seen["id"], seen["average"]) == (bought["id"], bought["average"])
        trades = await exchange.fetch_my_trades(S)
        assert sum(t["amount"] for t in trades) == 3 and book["asks"][0][0] == trades[0]["price"]
        (position,) = await exchange.fetch_positions([S])
        assert (position["side"], position["contracts"]) == ("long", 3)
        balance = (await exchange.fetch_balance())["USDT"]
        assert balance["total"] == pytest.approx(float(mine.equity("USDT")), abs=1e-7)
        assert balance["free"] == pytest.approx(float(mine.free("USDT")), abs=1e-7)
        assert (await exchange.fetch_trading_fee(S))["taker"] == 0.0005
        assert len(await exchange.fetch_orders(S)) == 2 and not mine.open_orders()
        paid = await exchange.fetch_ledger("USDT")
        assert sum(Decimal(str(e["info"]["income"])) for e in paid) == -sum(
            fill.fee for fill in mine.fills()
        )


ERRORS = [
    ({"amount": 9000}, ccxt.InsufficientFunds),
    ({"params": {"reduceOnly": True}}, ccxt.InvalidOrder),
    ({"type": "limit", "price": 101, "params": {"postOnly": True}}, ccxt.OrderNotFillable),
    ({"params": {"stopLossPrice": 120}, "side": "sell"}, ccxt.OrderImmediatelyFillable),
    ({"params": {"hedged": True}}, ccxt.OperationRejected),
    ({"amount": 0.01}, ccxt.InvalidOrder),
]


async def test_ccxt_takes_every_refusal_for_what_it_is(venue, ccxt_at):
    async with venue() as client, ccxt_at("binanceusdm", client) as exchange:
        await exchange.load_markets()
        for asked, error in ERRORS:
            order = {"symbol": S, "type": "market", "side": "buy", "amount": 1, **asked}
            with pytest.raises(error) as raised:
                await exchange.create_order(**order)
            assert raised.type is error
        for kind, error in (
            ("accept_then_503", ccxt.OperationFailed),
            ("ack_rst", ccxt.NetworkError),
        ):
            client.exchange.strike(kind)
            with pytest.raises(error):
                await exchange.create_order(S, "market", "buy", 1)
        client.exchange.strike("hold_after_accept", seconds=20)
        exchange.timeout = 700
        with pytest.raises(ccxt.RequestTimeout):
            await exchange.create_order(S, "market", "buy", 1, None, {"clientOrderId": "held"})
        exchange.timeout = 30_000
        assert (await exchange.fetch_order("", S, {"clientOrderId": "held"}))["filled"] == 1
        assert client.exchange.accounts["binance"].history.accepted == 3
        with pytest.raises(ccxt.OrderNotFound):
            await exchange.fetch_order("", S, {"clientOrderId": "never"})
        exchange.secret = "wrong"
        with pytest.raises(ccxt.AuthenticationError):
            await exchange.fetch_positions()


async def test_ccxt_pro_watches_orders_and_trades(venue, ccxt_at):
    async with venue() as client, ccxt_at("binanceusdm", client, pro=True) as exchange:
        await exchange.load_markets()
        watching = asyncio.create_task(exchange.watch_orders(S))
        traded = asyncio.create_task(exchange.watch_my_trades(S))
        mine = client.exchange.accounts["binance"]
        async with asyncio.timeout(60):
            while len(mine.listeners) == 0:
                await asyncio.sleep(0.01)
            made = await exchange.create_order(S, "market", "buy", 2, None, {"clientOrderId": "w"})
            orders = await watching
            while orders[-1]["status"] != "closed":
                orders = await exchange.watch_orders(S)
            assert (orders[-1]["clientOrderId"], orders[-1]["filled"]) == ("w", 2)
            assert (await traded)[-1]["order"] == made["id"]
