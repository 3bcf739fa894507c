"""Kraken's private side on the simulated exchange, asked by an unmodified ccxt."""

import contextlib
from decimal import Decimal

import pytest

from research.sim.orders.kraken import signing
from research.sim.orders.kraken.doing import CIDS
from research.sim.orders.kraken.forms import number_of, text_id
from research.sim.orders.words import Key, usual_key

from .conftest import MINUTE, ZERO

ccxt = pytest.importorskip("ccxt.async_support")
PAIR, SYMBOL = "AAA/USDT", "AAAUSDT"
CID = "4e2b5a8e0c1d4f6aa1b2c3d4e5f60718"


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


def client_of(client, key=None, **more):
    key = key or usual_key("kraken")
    made = ccxt.kraken(
        {
            "apiKey": key.id,
            "secret": key.secret,
            "session": client.session,
            "enableRateLimit": False,
            "options": {"fetchCurrencies": False},
            **more,
        }
    )
    made.has["fetchCurrencies"] = False
    return made


@pytest.fixture
def trading(playing, bars, monkeypatch):
    """Play, with a ccxt that has the default key, and counters that nobody fills."""
    monkeypatch.setattr(signing, "COUNTER", 1e9)

    @contextlib.asynccontextmanager
    async def opened(**more):
        async with playing(bars, **more) as client:
            key = more["keys"][0] if "keys" in more else None
            made = client_of(client, key)
            try:
                yield client, made, client.exchange.accounts.get("kraken")
            finally:
                await made.close()

    return opened


def signed(client, path):
    name = f"/0/private/{path}"
    return [e for e in client.exchange.log if e["kind"] == "signed" and e["path"] == name]


async def test_a_market_order_fills_and_is_told_of_everywhere(trading):
    async with trading() as (client, kraken, account):
        book = await kraken.fetch_order_book(PAIR)
        made = await kraken.create_order(
            PAIR, "market", "buy", 0.5, None, {"clientOrderId": CID, "oflags": "fciq"}
        )
        seen = await kraken.fetch_order(made["id"])
        assert (seen["status"], seen["filled"], seen["clientOrderId"]) == ("closed", 0.5, CID)
        assert seen["average"] == pytest.approx(book["asks"][0][0])
        assert float(seen["fee"]["cost"]) == pytest.approx(seen["average"] * 0.5 * 0.0026)
        (trade,) = await kraken.fetch_my_trades(PAIR)
        assert (trade["order"], trade["amount"], trade["takerOrMaker"]) == (
            made["id"], 0.5, "taker",
        )  # fmt: skip
        assert [trade["id"]] == [one["id"] for one in seen["trades"]]
        told = await kraken.fetch_order_trades(made["id"], PAIR, params={"trades": [trade["id"]]})
        assert told[0]["price"] == trade["price"]
        (closed,) = await kraken.fetch_closed_orders(PAIR)
        assert closed["id"] == made["id"] and await kraken.fetch_open_orders() == []
        have = await kraken.fetch_balance()
        cost = Decimal(str(trade["cost"])) + Decimal(str(trade["fee"]["cost"]))
        assert have["AAA"]["total"] == 0.5
        assert have["USDT"]["total"] == pytest.approx(float(10_000 - cost))
        assert account.history.accepted == 1
        (entry,) = signed(client, "AddOrder")
        assert (entry["symbol"], entry["cid"], entry["accepted"]) == (SYMBOL, CID, True)


async def test_a_limit_rests_holds_funds_and_is_cancelled(trading):
    async with trading() as (_, kraken, _):
        low = round((await kraken.fetch_ticker(PAIR))["bid"] * 0.9, 1)
        params = {"clientOrderId": CID, "postOnly": True}
        made = await kraken.create_order(PAIR, "limit", "buy", 1, low, params)
        (seen,) = await kraken.fetch_open_orders(PAIR, params={"clientOrderId": CID})
        assert (seen["id"], seen["price"], seen["postOnly"]) == (made["id"], low, True)
        assert (await kraken.fetch_balance())["USDT"]["used"] == pytest.approx(low)
        with pytest.raises(ccxt.ExchangeError, match="cl_ord_id"):  # it is open under that id
            await kraken.create_order(PAIR, "limit", "buy", 1, low, {"clientOrderId": CID})
        await kraken.cancel_order("", PAIR, {"clientOrderId": CID})
        with pytest.raises(ccxt.OrderNotFound):
            await kraken.cancel_order(made["id"], PAIR)
        (closed,) = await kraken.fetch_closed_orders(PAIR)
        assert closed["status"] == "canceled" and closed["info"]["reason"] == "User requested"
        again = await kraken.create_order(PAIR, "limit", "buy", 1, low, {"clientOrderId": CID})
        assert again["id"] != made["id"]  # unique among open orders alone


async def test_ioc_post_only_stops_and_dry_runs(trading):
    async with trading() as (client, kraken, account):
        ticker = await kraken.fetch_ticker(PAIR)
        far, near = round(ticker["bid"] * 0.9, 1), round(ticker["ask"] * 1.01, 1)
        done = await kraken.create_order(PAIR, "limit", "buy", 1, far, {"timeInForce": "IOC"})
        seen = await kraken.fetch_order(done["id"])
        assert (seen["status"], seen["filled"]) == ("canceled", 0)
        with pytest.raises(ccxt.ExchangeError, match="EOrder:Post only order"):
            await kraken.create_order(PAIR, "limit", "buy", 1, near, {"postOnly": True})
        await kraken.create_order(PAIR, "market", "buy", 1)
        stop = await kraken.create_order(
            PAIR, "market", "sell", 1, None, {"stopLossPrice": far, "clientOrderId": "stop-1"}
        )
        (waits,) = await kraken.fetch_open_orders(PAIR)
        assert (waits["id"], waits["stopLossPrice"]) == (stop["id"], far)
        before = account.history.accepted
        dry = await kraken.create_order(PAIR, "market", "buy", 1, None, {"validate": "true"})
        assert dry["id"] is None and account.history.accepted == before
        assert len(signed(client, "AddOrder")) == 5


async def test_a_stop_becomes_a_market_order(trading):
    async with trading() as (client, kraken, account):
        await kraken.create_order(PAIR, "market", "buy", 1)
        await kraken.load_markets()
        bid = (await kraken.fetch_ticker(PAIR))["bid"]
        for part in (0.999, 1.001):  # one of them is met within the hour that is played
            kind = "stopLossPrice" if part < 1 else "takeProfitPrice"
            await kraken.create_order(PAIR, "market", "sell", 0.5, None, {kind: bid * part})
        await client.run(19)
        done = [o for o in await kraken.fetch_closed_orders(PAIR) if o["side"] == "sell"]
        assert done and all(o["status"] == "closed" and o["filled"] == 0.5 for o in done)
        assert account.ledger.coins["AAA"] == 1 - Decimal("0.5") * len(done)


@pytest.mark.parametrize(
    ("args", "params", "error"),
    [
        (("market", "buy", 500), {}, "EOrder:Insufficient funds"),
        (("market", "sell", 1), {}, "EOrder:Insufficient funds"),
        (("market", "buy", 0.001), {}, "EOrder:Order minimum not met"),
        (("market", "buy", 1), {"reduceOnly": True}, "EGeneral:Invalid arguments:reduce_only"),
        (("market", "buy", 1), {"leverage": "2"}, "EOrder:Cannot open position"),
        (("market", "buy", 1), {"clientOrderId": "x" * 19}, "EGeneral:Invalid arguments:cl_ord_id"),
        (("market", "buy", 1), {"userref": "abc"}, "EGeneral:Invalid arguments:userref"),
        (("limit", "buy", 1, 50), {"timeInForce": "FOK"}, "EGeneral:Invalid arguments:timeinforce"),
        (("limit", "buy", 0.001, 50), {}, "EOrder:Order minimum not met"),
        (("market", "buy", 1), {"deadline": "2020-01-01T00:00:00Z"}, "EService:Deadline elapsed"),
        (("market", "buy", 1), {"deadline": "tomorrow"}, "EGeneral:Invalid arguments:deadline"),
    ],
    ids=str,
)
async def test_what_is_refused_leaves_nothing(trading, args, params, error):
    async with trading(speed=1.0) as (client, kraken, account):
        clock = await client.clock()  # a deadline is judged while time flows
        kind, side, *numbers = args
        with pytest.raises(ccxt.ExchangeError, match=error):
            await kraken.create_order(PAIR, kind, side, *numbers, params=params)
        assert account.history.accepted == 0 and not signed(client, "AddOrder")[0]["accepted"]
        await clock.close()


async def test_ccxt_asks_for_a_client_id_by_userref_and_misses_it(trading):
    """Which is why nobody here may ask so."""
    async with trading() as (_, kraken, _):
        made = await kraken.create_order(PAIR, "market", "buy", 1, None, {"clientOrderId": CID})
        with pytest.raises(ccxt.ExchangeError):
            await kraken.fetch_order(made["id"], PAIR, {"clientOrderId": CID})


async def test_the_dead_man_cancels_what_is_open(trading):
    async with trading() as (client, kraken, account):
        low = round((await kraken.fetch_ticker(PAIR))["bid"] * 0.9, 1)
        await kraken.create_order(PAIR, "limit", "buy", 1, low)
        told = await kraken.cancel_all_orders_after(60_000)
        assert told["result"]["triggerTime"] > told["result"]["currentTime"]
        await client.run(2)
        assert account.open_orders() == []
        await kraken.cancel_all_orders_after(0)
        await kraken.create_order(PAIR, "limit", "buy", 1, low)
        await kraken.create_order("BBB/USDT", "limit", "buy", 0.1, low / 2)
        (done,) = await kraken.cancel_all_orders()
        assert done["info"]["result"]["count"] == 2


# -- keys, nonces, counters ------------------------------------------------------------------------


def test_the_signature_is_that_of_the_documentation():
    """The worked example of Kraken's guide "Authentication"."""
    secret = (
        "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
    )
    body = b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    made = signing.sign(secret, "/0/private/AddOrder", "1616492376594", body)
    assert made == (
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    )


async def test_a_nonce_must_rise(trading):
    async with trading() as (client, kraken, _):
        kraken.incrementing_nonce = iter([7, 8, 8, 6, 9]).__next__
        await kraken.privatePostBalance()
        await kraken.privatePostBalance()
        for _ in range(2):
            with pytest.raises(ccxt.InvalidNonce):
                await kraken.privatePostBalance()
        await kraken.privatePostBalance()
        assert [e["accepted"] for e in signed(client, "Balance")] == [True] * 2 + [False] * 2 + [
            True
        ]


async def test_wrong_keys_are_named(trading):
    async with trading() as (client, kraken, account):
        kraken.secret = usual_key("kraken").secret[:-4] + "AAA="
        with pytest.raises(ccxt.ExchangeError, match="EAPI:Invalid signature"):
            await kraken.fetch_balance()
        kraken.apiKey = "nobody"
        with pytest.raises(ccxt.AuthenticationError, match="EAPI:Invalid key"):
            await kraken.create_order(PAIR, "market", "buy", 1)
        assert account.history.accepted == 0
        assert not any(e["accepted"] for e in client.exchange.log if e["kind"] == "signed")


async def test_a_key_says_what_it_may(trading):
    key = Key("kraken", "reader", usual_key("kraken").secret, trade=False, withdraw=True)
    async with trading(keys=(key,)) as (_, kraken, account):
        told = (await kraken.privatePostGetApiKeyInfo())["result"]
        assert "withdraw-funds" in told["permissions"]
        assert "modify-trades" not in told["permissions"] and told["ipAllowlist"]
        with pytest.raises(ccxt.PermissionDenied):
            await kraken.create_order(PAIR, "market", "buy", 1)
        assert account.history.accepted == 0


async def test_who_asks_too_often_is_refused(trading, monkeypatch):
    monkeypatch.setattr(signing, "COUNTER", 4.0)
    monkeypatch.setattr(signing, "ORDERS", 20.0)
    async with trading() as (client, kraken, account):
        await kraken.load_markets()
        answers = [await told(kraken.privatePostBalance()) for _ in range(6)]
        assert answers == [""] * 4 + ["EAPI:Rate limit exceeded"] * 2
        low = round((await kraken.fetch_ticker(PAIR))["bid"] * 0.9, 1)
        for _ in range(2):  # an order costs 1, its hasty cancellation 8
            made = await kraken.create_order(PAIR, "limit", "buy", 1, low)
            await kraken.cancel_order(made["id"])
        await kraken.create_order(PAIR, "limit", "buy", 1, low)
        answers = [await told(kraken.create_order(PAIR, "limit", "buy", 1, low)) for _ in "ab"]
        assert answers[-1] == "EOrder:Rate limit exceeded"
        other = await kraken.create_order("BBB/USDT", "limit", "buy", 0.1, low / 2)
        assert other["id"] and account.history.accepted >= 4
        assert sum(e["kind"] == "limited" for e in client.exchange.log) >= 3


async def told(asking):
    try:
        await asking
    except ccxt.BaseError as error:
        return str(error).partition('["')[2].partition('"')[0]
    return ""


# -- faults ----------------------------------------------------------------------------------------


async def test_an_order_that_times_out_after_it_was_taken_is_found(trading):
    async with trading() as (client, kraken, account):
        await kraken.load_markets()
        client.exchange.strike("accept_then_503", target="*/AddOrder")
        params = {"clientOrderId": CID}
        with pytest.raises(ccxt.ExchangeError, match="EService:Timeout"):
            await kraken.create_order(PAIR, "market", "buy", 1, None, params)
        client.exchange.strike("ack_rst", target="*/AddOrder")
        with pytest.raises(ccxt.NetworkError):
            await kraken.create_order(PAIR, "market", "buy", 1, None, {"clientOrderId": "other"})
        found = await kraken.fetch_closed_orders(PAIR, params={"cl_ord_id": CID})
        assert [one["clientOrderId"] for one in found] == [CID]
        assert account.history.accepted == 2
        assert [e["faults"] for e in signed(client, "AddOrder")] == [
            ("accept_then_503",), ("ack_rst",),
        ]  # fmt: skip


@pytest.mark.parametrize("number", [1, 35, 36, 10**9 + 7, 99 * 10**9 + 123])
def test_ids_can_be_read_back(number):
    for letter in "OT":
        text = text_id(letter, number)
        assert number_of(text) == number and len(text) == 19


def test_client_ids_have_kraken_s_forms():
    good = [CID, "6d1b345e-2821-40e2-ad83-4ecb18a06876", "arb-20240509-00010", "a"]
    assert all(CIDS.fullmatch(one) for one in good)
    assert not any(CIDS.fullmatch(one) for one in (CID + "0", "x" * 19, CID.upper(), ""))


async def test_pages_of_trades_and_the_history_before_them(trading):
    async with trading() as (_, kraken, account):
        await kraken.load_markets()
        for _ in range(53):
            account.inject_foreign(SYMBOL, "buy", Decimal("0.1"), price=Decimal(100))
        first = (await kraken.privatePostTradesHistory())["result"]
        second = (await kraken.privatePostTradesHistory({"ofs": 50}))["result"]
        assert (len(first["trades"]), len(second["trades"]), first["count"]) == (50, 3, 53)
        assert not set(first["trades"]) & set(second["trades"])
        none = await kraken.privatePostTradesHistory({"start": (ZERO + 60 * MINUTE) // 10**6})
        assert none["result"]["count"] == 0
