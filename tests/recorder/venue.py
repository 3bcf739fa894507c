"""A small venue on real sockets that writes down everything it sends, and misbehaves when told."""

import asyncio
import socket
import struct
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import orjson
from aiohttp import WSMsgType, web

from research.live.feed.limits import Limits
from research.live.net import Network
from research.sim import tls

QUICK = Limits(ping=0.1, silence=0.6, tick=0.05, first=0.02, longest=0.1, connect=2.0)


class Sent:
    """One message: its id in the stream, its bytes, whether the venue really sent it."""

    def __init__(self, number, text):
        self.number, self.text, self.times = number, text, 0


class Venue:
    """Sends each stream a message every `pause` seconds to whoever asked for it."""

    def __init__(self, pause=0.002, symbols=("BTCUSDT",)):
        self.pause, self.symbols = pause, symbols
        self.sent = defaultdict(list)
        self.lines, self.asked, self.opened = [], [], []
        self.muted, self.skip, self.twice, self.hold = set(), 0, 0, {}
        self.frozen = self.refusing = False
        self.stale = 0

    async def __aenter__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="small-venue-")
        context, self.ca = tls.server(Path(self._folder.name))
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]
        self._pump = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_):
        self._pump.cancel()
        with suppress(asyncio.CancelledError):
            await self._pump
        for line in list(self.lines):
            line["request"].transport and line["request"].transport.abort()
        await self._runner.cleanup()
        self._folder.cleanup()

    def network(self):
        return Network(self.port, self.ca)

    # -- answering --------------------------------------------------------------------------------

    async def _handle(self, request):
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._line(request)
        self.asked.append(str(request.rel_url))
        symbol = request.query.get("symbol", "")
        if symbol not in self.symbols:
            if "v5" in request.path:
                return web.json_response({"retCode": 10001, "retMsg": "symbol invalid"})
            body = {"code": -1121, "msg": "Invalid symbol."}
            return web.json_response(body, status=400)
        if "v5" in request.path:
            return web.json_response({"retCode": 0, "result": {"s": symbol, "a": [], "b": []}})
        name = f"{symbol.lower()}@depth@100ms"
        last = self.sent[name][-1].number if self.sent[name] else 0
        if self.stale:
            self.stale -= 1
            last = 0
        return web.json_response(
            {"lastUpdateId": last * 10, "bids": [["98.5", "1"]], "asks": [["102.5", "1"]]}
        )

    async def _line(self, request):
        if self.refusing:
            return web.Response(status=503)
        ws = web.WebSocketResponse(compress=False, autoping=False)
        await ws.prepare(request)
        streams = set(filter(None, request.query.get("streams", "").split("/")))
        line = {"ws": ws, "request": request, "streams": streams, "frozen": False}
        self.lines.append(line)
        self.opened.append(request.path)
        try:
            async for message in ws:
                while line["frozen"]:
                    await asyncio.sleep(0.05)
                if message.type == WSMsgType.PING:
                    await ws.pong(message.data)
                elif message.type == WSMsgType.TEXT:
                    await self._told(line, orjson.loads(message.data))
        finally:
            self.lines.remove(line)
        return ws

    async def _told(self, line, told):
        answer = {"op": told["op"], "success": True, "ret_msg": ""}
        for topic in told.get("args", ()):
            if told["op"] == "subscribe":
                line["streams"].add(topic)
                if topic.startswith("orderbook"):
                    await self._book(line, topic)
            else:
                line["streams"].discard(topic)
        await line["ws"].send_str(orjson.dumps(answer | {"req_id": told.get("req_id")}).decode())

    async def _book(self, line, topic):
        number = self.sent[topic][-1].number if self.sent[topic] else 1
        await line["ws"].send_str(_bybit(topic, number, "snapshot"))

    # -- sending ----------------------------------------------------------------------------------

    async def _send(self):
        while True:
            await asyncio.sleep(self.pause)
            for name in sorted({name for line in self.lines for name in line["streams"]}):
                await self._one(name)

    async def _one(self, name):
        made = self.sent[name]
        number = made[-1].number + 1 if made else 2
        one = Sent(number, _text(name, number))
        made.append(one)
        if name in self.muted:
            return
        if self.skip:
            self.skip -= 1
            return
        for line in list(self.lines):
            if name in line["streams"] and not line["frozen"]:
                with suppress(ConnectionError, RuntimeError):
                    for _ in range(1 + bool(self.twice)):
                        await line["ws"].send_str(one.text)
                    one.times += 1
        self.twice = max(0, self.twice - 1)

    # -- misbehaving ------------------------------------------------------------------------------

    def reset(self):
        """Cut every connection off without a word."""
        for line in list(self.lines):
            if (transport := line["request"].transport) is not None:
                raw = transport.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                transport.abort()

    def freeze(self):
        """Neither send nor answer on the connections there are; new ones work."""
        for line in self.lines:
            line["frozen"] = True

    async def close(self, code):
        for line in list(self.lines):
            await line["ws"].close(code=code)

    async def say(self, data):
        for line in list(self.lines):
            await (line["ws"].send_bytes if isinstance(data, bytes) else line["ws"].send_str)(data)


def _text(name, number):
    now = time.time_ns() // 1_000_000
    if name.startswith("orderbook"):
        return _bybit(name, number, "delta")
    if name.startswith("publicTrade"):
        data = [{"T": now, "s": "BTCUSDT", "S": "Buy", "v": "1", "p": "2", "i": str(number)}]
        return orjson.dumps({"topic": name, "type": "snapshot", "ts": now, "data": data}).decode()
    kind = name.partition("@")[2]
    body = {"e": kind, "E": now, "T": now, "s": "BTCUSDT"}
    if kind.startswith("depth"):
        body |= {"e": "depthUpdate", "U": number * 10 - 9, "u": number * 10, "pu": number * 10 - 10}
        body |= {"b": [[f"{99 - number % 7}.0", f"{number % 5}"]], "a": [["101.0", f"{number}"]]}
    elif kind == "bookTicker":
        body = {"e": kind, "u": number, "s": "BTCUSDT", "b": "99.0", "B": "1"}
        body |= {"a": "101.0", "A": f"{number}", "T": now, "E": now}
    elif kind == "aggTrade":
        body |= {"a": number, "p": "1.0", "q": "2", "f": 1, "l": 1, "m": True}
    else:
        body |= {"t": number, "p": "1.0", "q": "2", "m": True}
    return orjson.dumps({"stream": name, "data": body}).decode()


def _bybit(topic, number, kind):
    data = {"s": topic.rpartition(".")[2], "b": [["1", "2"]], "a": [], "u": number, "seq": number}
    now = time.time_ns() // 1_000_000
    return orjson.dumps(
        {"topic": topic, "type": kind, "ts": now, "data": data, "cts": now}
    ).decode()
