"""Requests to Binance signed by hand, as the venue's documents say."""

import hmac
import json
from decimal import Decimal
from hashlib import sha256
from urllib.parse import urlencode

from research.sim.orders.words import usual_key

A, MINUTE = "AAAUSDT", 60_000_000
LIMIT = {"symbol": A, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "1"}
MARKET = {"symbol": A, "side": "BUY", "type": "MARKET", "quantity": "1"}
STOP = {"symbol": A, "side": "SELL", "type": "STOP_MARKET", "quantity": "1"}
STOP |= {"algoType": "CONDITIONAL"}
ORDER, ALGO = ("POST", "/fapi/v1/order"), ("POST", "/fapi/v1/algoOrder")


class Trader:
    """Signs by hand, as the venue's documents say."""

    def __init__(self, client, key=None):
        self.client, self.key = client, key or usual_key("binance")
        self.account = client.exchange.accounts["binance"]

    async def __call__(self, method, path, *, secret=None, stamp=None, signed=True, **asked):
        asked["timestamp"] = self.client.exchange.clock.now() // 1000 if stamp is None else stamp
        text = urlencode(asked)
        if signed:
            made = hmac.new((secret or self.key.secret).encode(), text.encode(), sha256)
            text += f"&signature={made.hexdigest()}"
        host = "api.binance.com" if path.startswith("/sapi") else "fapi.binance.com"
        url, data = f"https://{host}{path}", None
        if method in ("GET", "DELETE"):
            url += f"?{text}"
        else:
            data = text
        headers = {"X-MBX-APIKEY": self.key.id} if self.key.id else {}
        if data is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        asking = self.client.session.request(method, url, data=data, headers=headers)
        async with asking as answer:
            self.headers, text = answer.headers, await answer.text()
            body = json.loads(text) if text[:1] in "[{" else text
            return answer.status, body

    async def code(self, *args, **asked):
        status, body = await self(*args, **asked)
        return status, body.get("code") if isinstance(body, dict) else body[:20]

    async def ask(self, *args, **asked):
        status, body = await self(*args, **asked)
        assert status == 200, body
        return body

    def away(self, share):
        """A price on the tick, so much from the last one."""
        self.account.advance()
        return str((self.account.price(A) * Decimal(share)).quantize(Decimal("0.01")))
