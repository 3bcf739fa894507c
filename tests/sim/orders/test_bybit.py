"""Bybit's private side, with an unmodified ccxt as its client."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import ccxt.async_support as ccxt
import polars as pl
import pytest

from research.sim.orders.words import Key

SYMBOL, NAME = "AAA/USDT:USDT", "AAAUSDT"
MINUTE, DAY = 60_000_000, 86_400_000_000
START = datetime(2024, 5, 1, tzinfo=UTC)
HOURS = int(START.timestamp() * 10**6) + 20 * 60 * MINUTE
"""Twenty hours later: four before a funding."""
LINEAR = {"fetchMarkets": {"types": ["linear"]}}


class Trader:
    """ccxt on the simulated exchange's clock, and the account it trades."""

    def __init__(self, client, exchange):
        self.client, self.exchange, self.ccxt = client, client.exchange, exchange
        self.account = client.exchange.accounts["bybit"]

    async def price(self):
        return Decimal(str((await self.ccxt.fetch_ticker(SYMBOL))["last"]))

    async def limit(self, part, side="buy", cid="mine-1", amount=1, **params):
        price = float(await self.price()) * part
        params = {"clientOrderId": cid, **params}
        return await self.ccxt.create_order(SYMBOL, "limit", side, amount, price, params)

    async def market(self, side="buy", amount=1, cid="mine-1", **params):
        params = {"clientOrderId": cid, **params}
        return await self.ccxt.create_order(SYMBOL, "market", side, amount, None, params)

    async def raw(self, path, **params):
        """Return the result of a question as it is answered."""
        name = "privateGetV5" + "".join(p.title().replace("-", "") for p in path.split("/"))
        answer = await getattr(self.ccxt, name)({"category": "linear", **params})
        return answer["result"]

    async def shown(self, cid="mine-1"):
        found = await self.raw("order/realtime", orderLinkId=cid)
        return found["list"][0]


@asynccontextmanager
async def _trading(playing, bars, options=(), **more):
    async with playing(bars, **more) as client:
        wanted = {
            "apiKey": "sim-key-bybit",
            "secret": "sim-secret-bybit",
            "session": client.session,
            "enableRateLimit": False,
            "options": {**LINEAR, "enableUnifiedAccount": True, "enableUnifiedMargin": False},
            **dict(options),
        }
        exchange = ccxt.bybit(wanted)
        exchange.milliseconds = lambda: client.exchange.clock.now() // 1000
        try:
            yield Trader(client, exchange)
        finally:
            await exchange.close()


def hourly(bars):
    """Bars as they are, but an hour long."""
    late = (pl.col("open_time") - START) * 60
    return bars.with_columns(open_time=START + late, time=START + late + pl.duration(hours=1))


@pytest.fixture
def trading(playing, bars):
    return lambda **options: _trading(playing, options.pop("bars", bars), **options)


async def test_ccxt_as_it_comes_places_reads_and_cancels(trading):
    """Nothing is told to ccxt but keys and session: every category of market is asked for."""
    plain = {"options": {}}
    async with trading(options=plain) as trader:
        exchange = trader.ccxt
        assert set(await exchange.load_markets()) == {SYMBOL, "BBB/USDT:USDT"}
        made = await trader.limit(0.9)
        (found,) = await exchange.fetch_open_orders(SYMBOL)
        assert (found["id"], found["clientOrderId"]) == (made["id"], "mine-1")
        assert (found["status"], found["amount"], found["filled"]) == ("open", 1, 0)
        assert (await exchange.fetch_open_order(made["id"], SYMBOL))["price"] == found["price"]
        await exchange.cancel_order(made["id"], SYMBOL)
        assert await exchange.fetch_open_orders() == []
        (over,) = await exchange.fetch_canceled_and_closed_orders(SYMBOL)
        assert (
            over["status"] == "canceled" and over["info"]["rejectReason"] == "EC_PerCancelRequest"
        )


async def test_a_market_order_trades_and_everything_can_be_read(trading):
    async with trading() as trader:
        exchange, before = trader.ccxt, trader.account.ledger.coins["USDT"]
        made = await trader.market(amount=2)
        order = await exchange.fetch_order(made["id"], SYMBOL, {"acknowledged": True})
        assert (order["status"], order["filled"]) == ("closed", 2)
        trades = await exchange.fetch_my_trades(SYMBOL)
        assert sum(t["amount"] for t in trades) == 2
        assert {t["order"] for t in trades} == {made["id"]}
        assert {t["info"]["orderLinkId"] for t in trades} == {"mine-1"}
        fees = sum(Decimal(t["info"]["execFee"]) for t in trades)
        paid = sum(Decimal(t["info"]["execValue"]) for t in trades)
        assert fees == pytest.approx(paid * Decimal("0.00055"), abs=Decimal("1e-7"))
        assert Decimal(order["info"]["cumExecFee"]) == fees
        assert Decimal(order["info"]["cumExecValue"]) == paid
        (position,) = await exchange.fetch_positions([SYMBOL])
        assert (position["side"], position["contracts"]) == ("long", 2)
        assert position["entryPrice"] == pytest.approx(float(paid) / 2)
        balance = await exchange.fetch_balance()
        assert Decimal(str(balance["USDT"]["total"])) == before - fees
        assert balance["USDT"]["free"] < balance["USDT"]["total"]
        rates = await exchange.fetch_trading_fee(SYMBOL)
        assert (rates["maker"], rates["taker"]) == (0.0002, 0.00055)
        logged = (await trader.raw("account/transaction-log"))["list"]
        assert sum(Decimal(row["change"]) for row in logged) == -fees


async def test_funding_is_an_execution_and_a_settlement(trading, make_market):
    """Positive `funding` of the log is received; positive `execFee` of an execution is paid."""
    async with trading(bars=hourly(make_market(bars=40)), start=HOURS) as trader:
        await trader.market("sell", amount=2)
        await trader.client.run(5)
        (row,) = (await trader.raw("account/transaction-log", type="SETTLEMENT"))["list"]
        (paid,) = (await trader.raw("execution/list", execType="Funding"))["list"]
        assert Decimal(row["funding"]) == Decimal(row["change"]) == -Decimal(paid["execFee"]) > 0
        assert row["symbol"] == paid["symbol"] == NAME
        assert int(row["transactionTime"]) % (8 * 3_600_000) == 0
        assert paid["execQty"] == "2"
        (seen,) = await trader.ccxt.fetch_funding_history(SYMBOL)
        assert seen["amount"] == float(paid["execFee"])


async def test_an_acknowledged_post_only_order_that_would_take_is_found_cancelled(trading):
    async with trading() as trader:
        made = await trader.limit(1.05, postOnly=True)
        assert made["id"]
        shown = await trader.shown()
        assert (shown["orderStatus"], shown["cumExecQty"]) == ("Cancelled", "0")
        assert shown["rejectReason"] == "EC_PostOnlyWillTakeLiquidity"
        assert trader.account.positions() == {}


async def test_ioc_takes_what_there_is_and_the_rest_is_cancelled(trading):
    async with trading() as trader:
        trader.account.transfer("USDT", Decimal(10**8))
        await trader.limit(1.0002, timeInForce="IOC", amount=5000)
        shown = await trader.shown()
        assert shown["orderStatus"] == "Cancelled" and 0 < Decimal(shown["cumExecQty"]) < 5000
        assert shown["rejectReason"] == "EC_NoImmediateQtyToFill"


async def test_an_order_link_id_is_never_taken_twice(trading):
    """Not even when the order that had it is filled: here the venue keeps the promise for us."""
    async with trading() as trader:
        await trader.market()
        with pytest.raises(ccxt.InvalidOrder, match="110072"):
            await trader.market()
        assert trader.account.history.accepted == 1
        with pytest.raises(ccxt.BadRequest, match="orderLinkId"):
            await trader.market(cid="x" * 37)


REFUSED = [
    ("110007", ccxt.InsufficientFunds, 1.0, {"amount": 100_000}),
    ("110094", ccxt.InvalidOrder, 1.0, {"amount": 0.01}),
    ("110017", ccxt.InvalidOrder, 1.0, {"reduceOnly": True}),
    ("110003", ccxt.InvalidOrder, 0.5, {}),
    ("110003", ccxt.InvalidOrder, 1.5, {}),
]


async def test_refusals_have_their_codes(trading):
    async with trading() as trader:
        for code, error, part, how in REFUSED:
            with pytest.raises(error, match=f'"retCode":{code}'):
                await trader.limit(part, **how)
        assert trader.account.history.accepted == 0


async def test_stop_orders_rest_untriggered_and_then_trade(trading, make_market):
    async with trading(bars=make_market(bars=80)) as trader:
        exchange, price = trader.ccxt, float(await trader.price())
        await trader.market(amount=2)
        for cid, how in {
            "stop": {"stopLossPrice": price * 0.999},
            "take": {"takeProfitPrice": price * 1.2},
        }.items():
            await trader.market("sell", amount=2, cid=cid, reduceOnly=True, **how)
        shown = {
            row["orderLinkId"]: row
            for row in (await trader.raw("order/realtime", symbol=NAME))["list"]
        }
        assert {row["orderStatus"] for row in shown.values()} == {"Untriggered"}
        assert (shown["stop"]["triggerDirection"], shown["take"]["triggerDirection"]) == (2, 1)
        with pytest.raises(ccxt.InvalidOrder, match="110093"):
            await trader.market("sell", cid="late", reduceOnly=True, stopLossPrice=price * 1.1)
        await trader.client.run(50)
        assert (await trader.shown("stop"))["orderStatus"] == "Filled"
        assert await exchange.fetch_positions() == []
        await exchange.cancel_all_orders(SYMBOL)
        assert (await trader.shown("take"))["orderStatus"] == "Deactivated"


async def test_only_what_is_signed_with_a_known_key_is_answered(trading):
    async with trading() as trader:
        for name, value, code in (("secret", "another", 10004), ("apiKey", "another", 10003)):
            setattr(trader.ccxt, name, value)
            for asked in (trader.ccxt.fetch_balance, trader.market):
                with pytest.raises(ccxt.AuthenticationError, match=f'"retCode":{code}'):
                    await asked()
        assert trader.account.history.accepted == 0


async def test_a_clock_that_is_off_is_refused(trading):
    off = [{"kind": "skew", "at": 0, "args": {"us": 6_000_000}}]
    async with trading(faults=off) as trader:
        await trader.client.run(2)
        with pytest.raises(ccxt.InvalidNonce, match='"retCode":10002'):
            await trader.market()
        assert trader.account.history.accepted == 0


async def test_a_key_says_what_it_may_do_and_may_do_no_more(trading):
    key = Key("bybit", "look", "secret", trade=False, withdraw=True, addresses=False)
    mine = {"apiKey": "look", "secret": "secret"}
    async with trading(options=mine, keys=(key,)) as trader:
        told = await trader.raw("user/query-api")
        assert "Withdraw" in told["permissions"]["Wallet"]
        assert told["permissions"]["ContractTrade"] == [] and told["ips"] == ["*"]
        with pytest.raises(ccxt.PermissionDenied, match='"retCode":10005'):
            await trader.market()
        assert await trader.ccxt.fetch_open_orders(SYMBOL) == []


async def test_executions_are_paged_newest_first_and_windowed(trading):
    async with trading() as trader:
        for number in range(5):
            await trader.market(amount=1, cid=f"n{number}")
        pages, cursor = [], None
        while cursor != "":
            more = {"cursor": cursor} if cursor else {}
            told = await trader.raw("execution/list", symbol=NAME, limit=2, **more)
            pages.append(told["list"])
            cursor = told["nextPageCursor"]
        rows = [row for page in pages for row in page]
        whole = (await trader.raw("execution/list", symbol=NAME))["list"]
        assert rows == whole and len(pages[0]) == 2
        assert len({row["execId"] for row in rows}) == len(rows) >= 5
        assert rows[0]["orderLinkId"] == "n4" and rows[-1]["orderLinkId"] == "n0"
        now = trader.account.moment // 1000
        for path, days in (("execution/list", 7), ("order/history", 7)):
            early = {"startTime": now - (days * DAY + MINUTE) // 1000}
            assert (await trader.raw(path, **early))["list"] == []
            with pytest.raises(ccxt.BadRequest, match="7 days"):
                await trader.raw(path, **early, endTime=now)
        logs = await trader.raw("account/transaction-log", startTime=now - (DAY + MINUTE) // 1000)
        assert logs["list"] == []


async def test_who_trades_too_often_is_told_so(trading):
    async with trading() as trader:
        await trader.ccxt.load_markets()
        made = [trader.market(cid=f"n{n}") for n in range(12)]
        told = await asyncio.gather(*made, return_exceptions=True)
        refused = [error for error in told if isinstance(error, Exception)]
        assert len(refused) == 2 and all(isinstance(e, ccxt.RateLimitExceeded) for e in refused)
        assert trader.account.history.accepted == 10
        headers = trader.ccxt.last_response_headers
        assert headers["X-Bapi-Limit"] == "10" and headers["X-Bapi-Limit-Status"] == "0"


async def test_modes_and_leverage_are_set_and_read_back(trading):
    async with trading() as trader:
        exchange = trader.ccxt
        await exchange.set_leverage(3, SYMBOL)
        assert (await exchange.fetch_leverage(SYMBOL))["longLeverage"] == 3
        with pytest.raises(ccxt.BadRequest, match="110043"):
            await exchange.set_leverage(3, SYMBOL)
        assert (await exchange.fetch_margin_mode(SYMBOL))["marginMode"] == "cross"
        await exchange.set_margin_mode("isolated")
        assert (await exchange.fetch_margin_mode(SYMBOL))["marginMode"] == "isolated"
        await exchange.set_position_mode(True, SYMBOL)
        with pytest.raises(ccxt.BadRequest, match="position idx not match position mode"):
            await trader.market()
        await trader.market(cid="long", hedged=True)
        await trader.market("sell", cid="short", hedged=True)
        held = await exchange.fetch_positions([SYMBOL])
        assert {(p["side"], p["contracts"]) for p in held} == {("long", 1), ("short", 1)}
        with pytest.raises(ccxt.BadRequest, match="110024"):
            await exchange.set_position_mode(False, SYMBOL)
        await trader.market("sell", cid="out", hedged=True, reduceOnly=True)
        assert trader.account.positions().keys() == {(NAME, "SHORT")}


async def test_what_others_do_is_marked(trading):
    """ccxt's own reading of trades leaves such executions out: it asks for plain ones alone."""
    async with trading() as trader:
        await trader.market(amount=3)
        for cid in ("adl_autoclose", "autoclose-1", "web_1"):
            trader.account.inject_foreign(NAME, "sell", Decimal(1), cid=cid)
        rows = (await trader.raw("execution/list", symbol=NAME))["list"]
        assert {row["execType"] for row in rows} == {"Trade", "AdlTrade", "BustTrade"}
        assert trader.account.positions() == {}
        seen = await trader.ccxt.fetch_my_trades(SYMBOL)
        assert sum(t["amount"] for t in seen) == 4


async def test_a_cancelled_order_without_a_fill_is_forgotten_after_a_day(trading, make_market):
    async with trading(bars=hourly(make_market(bars=60)), start=HOURS) as trader:
        await trader.limit(0.9, cid="none")
        await trader.ccxt.cancel_order(None, SYMBOL, {"orderLinkId": "none"})
        await trader.market(cid="filled")
        await trader.client.run(26)
        found = [
            (await trader.raw("order/history", orderLinkId=cid))["list"]
            for cid in ("none", "filled")
        ]
        assert [len(rows) for rows in found] == [0, 1]


async def test_a_cancellation_of_nothing_says_so(trading):
    async with trading() as trader:
        await trader.market()
        for cid in ("mine-1", "never"):
            with pytest.raises(ccxt.OrderNotFound, match="110001"):
                await trader.ccxt.cancel_order(None, SYMBOL, {"orderLinkId": cid})
