"""Binance on loopback: the archive's layout and REST klines out of a table of bars, with faults.

The server runs in its own thread, so that plain tests, async tests and killed subprocesses can all
talk to it over real sockets::

    with FakeBinance(bars, now=now) as fake:
        fake.fail("429", match="/fapi/", times=1, retry_after=1)
        download(..., archive=fake.url, rest=fake.url, now=now)
        fake.requests
"""

import asyncio
import hashlib
import io
import threading
import time
import zipfile
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime

import orjson
import polars as pl
from aiohttp import web

VALUES = [
    "open", "high", "low", "close", "volume",
    "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume",
]  # fmt: skip
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore\n"
)
ROUTES = {
    "um": ("futures/um", "/fapi/v1/klines"),
    "cm": ("futures/cm", "/dapi/v1/klines"),
    "spot": ("spot", "/api/v3/klines"),
}
STATUSES = {"429": 429, "418": 418, "500": 500, "503": 503, "403": 403}
GRACE = 0.3  # seconds for a request that was on its way when the silence was asked for


@dataclass
class Fault:
    kind: str
    match: str
    times: int
    retry_after: float | None = None


@dataclass(frozen=True)
class Request:
    at: float
    path: str
    query: dict[str, str]
    status: int

    @property
    def is_bars(self) -> bool:
        return self.path.endswith((".zip", "/klines"))


class FakeBinance:
    """Serve `bars` (symbol, open_time, VALUES) as of `now`.

    zip_holes: (symbol, day) pairs that archive files leave out though REST has them; a minute that
    `bars` itself lacks is a hole nobody can fill. `delay` holds each answer back, in seconds.
    """

    def __init__(
        self,
        bars: pl.DataFrame,
        *,
        now: datetime,
        market: str = "um",
        interval: timedelta = timedelta(minutes=1),
        header: bool = True,
        unit: str = "ms",
        zip_holes: tuple[tuple[str, date], ...] = (),
        weight_limit: int = 2400,
        minute: float = 60.0,
        limit: int = 1500,
        delay: float = 0.0,
    ) -> None:
        self.now, self.interval, self.header, self.unit = now, interval, header, unit
        self.folder, self.klines_path = ROUTES[market]
        self.zip_holes, self.limit, self.delay = set(zip_holes), limit, delay
        self.weight_limit, self.minute = weight_limit, minute
        self.tables = {
            key[0]: table.sort("open_time")
            for key, table in bars.partition_by("symbol", as_dict=True).items()
        }
        self.bent: dict[tuple[str, int, str], float] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.silences: list[tuple[float, float]] = []
        self.violations: list[str] = []
        self.under_way = self.most_under_way = 0
        self.used: dict[int, int] = {}
        self._zips: dict[str, bytes | None] = {}

    # what a test says and asks

    def fail(
        self, kind: str, *, match: str, times: int = 1, retry_after: float | None = None
    ) -> None:
        """Answer the next `times` requests whose path has `match` with a fault.

        kind: 429, 418, 500, 503, 403, truncated, checksum, reset, garbage.
        """
        self.faults.append(Fault(kind, match, times, retry_after))

    def bend(self, symbol: str, open_time: datetime, column: str, value: float) -> None:
        """Let REST alone tell another value of one bar."""
        self.bent[symbol, _ms(open_time), column] = value

    def asked(self, part: str) -> list[Request]:
        return [r for r in self.requests if part in r.path]

    def forget(self) -> None:
        self.requests.clear()

    # the server's life

    def __enter__(self) -> "FakeBinance":
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self, started: threading.Event) -> None:
        asyncio.run(self._main(started))

    async def _main(self, started: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        await self._stop.wait()
        await runner.cleanup()

    # one request

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            self._watch_silence(request)
            await asyncio.sleep(self.delay)
            response = await self._respond(request)
        finally:
            self.under_way -= 1
        self.requests.append(
            Request(time.monotonic(), request.path, dict(request.query), response.status)
        )
        return response

    def _watch_silence(self, request: web.Request) -> None:
        now = time.monotonic()
        for start, end in self.silences:
            if start + GRACE < now < end:
                self.violations.append(f"{request.path} {end - now:.3f} s before the end")

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        fault = self._fault(request)
        if fault and fault.kind in STATUSES:
            return self._refusal(STATUSES[fault.kind], fault.retry_after)
        if fault and fault.kind == "garbage":
            return web.Response(body=b"<html>captive portal</html>")
        if request.path == self.klines_path:
            response = self._klines(request)
        else:
            response = self._file(request.path, fault)
        if fault and fault.kind == "reset":
            return await _reset(request, response)
        return response

    def _fault(self, request: web.Request) -> Fault | None:
        for fault in self.faults:
            if fault.times and fault.match in request.path_qs:
                if fault.kind in ("truncated", "checksum", "reset") and not self._exists(request):
                    continue
                fault.times -= 1
                return fault
        return None

    def _exists(self, request: web.Request) -> bool:
        return request.path == self.klines_path or self._zip(request.path) is not None

    def _refusal(self, status: int, retry_after: float | None) -> web.Response:
        if retry_after is None:
            return web.Response(status=status, text="{}")
        start = time.monotonic()
        self.silences.append((start, start + retry_after))
        return web.Response(status=status, text="{}", headers={"Retry-After": f"{retry_after:g}"})

    # the archive

    def _file(self, path: str, fault: Fault | None) -> web.Response:
        content = self._zip(path.removesuffix(".CHECKSUM"))
        if content is None:
            return web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>")
        if path.endswith(".CHECKSUM"):
            digest = hashlib.sha256(content).hexdigest()
            digest = digest[::-1] if fault and fault.kind == "checksum" else digest
            name = path.removesuffix(".CHECKSUM").rsplit("/", 1)[1]
            return web.Response(text=f"{digest}  {name}\n")
        if fault and fault.kind == "truncated":
            content = content[: len(content) // 2]
        return web.Response(body=content, content_type="application/zip")

    def _zip(self, path: str) -> bytes | None:
        path = path.removesuffix(".CHECKSUM")
        if path not in self._zips:
            self._zips[path] = self._pack(path)
        return self._zips[path]

    def _pack(self, path: str) -> bytes | None:
        parts = path.removeprefix(f"/data/{self.folder}/").split("/")
        if len(parts) != 5 or parts[1] != "klines" or parts[2] not in self.tables:
            return None
        period, _, symbol, interval, name = parts
        stem = name.removesuffix(".zip")
        first = datetime.fromisoformat(
            stem.removeprefix(f"{symbol}-{interval}-") + ("-01" if period == "monthly" else "")
        ).replace(tzinfo=UTC)
        end = _next_month(first) if period == "monthly" else first + timedelta(days=1)
        if end > self.now or interval != _name(self.interval):
            return None
        inside = pl.col("open_time").is_between(first, end, closed="left")
        table = self.tables[symbol].filter(inside)
        for hidden, day in self.zip_holes:
            if hidden == symbol:
                table = table.filter(pl.col("open_time").dt.date() != day)
        return _packed(f"{stem}.csv", self._csv(table)) if table.height else None

    def _csv(self, table: pl.DataFrame) -> bytes:
        factor = 1000 if self.unit == "us" else 1
        lines = [
            ",".join(map(str, [row[0] * factor, *row[1:6], (row[6] + 1) * factor - 1, *row[7:]]))
            for row in self._rows(table)
        ]
        return ((HEADER if self.header else "") + "\n".join(lines) + "\n").encode()

    # REST

    def _klines(self, request: web.Request) -> web.Response:
        asked = request.query
        limit = int(asked.get("limit", 500))
        minute = int(time.time() // self.minute)
        if limit > self.limit:
            return web.json_response({"code": -1130, "msg": "Data sent for 'limit'"}, status=400)
        if asked["symbol"] not in self.tables:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        self.used[minute] = self.used.get(minute, 0) + _weight(limit)
        if self.used[minute] > self.weight_limit:
            return self._refusal(429, (minute + 1) * self.minute - time.time())
        headers = {
            "X-MBX-USED-WEIGHT-1M": str(self.used[minute]),
            "Date": format_datetime(self.now, usegmt=True),
        }
        rows = self._page(asked["symbol"], asked, limit)
        body = orjson.dumps(
            [[r[0], *map(str, r[1:6]), r[6], str(r[7]), r[8], *map(str, r[9:])] for r in rows]
        )
        return web.Response(body=body, content_type="application/json", headers=headers)

    def _page(self, symbol: str, asked: dict[str, str], limit: int) -> list[list]:
        table = self.tables[symbol].filter(pl.col("open_time") <= self.now)
        time_ms = pl.col("open_time").dt.epoch("ms")
        table = table.filter(time_ms <= int(asked.get("endTime", 2**62)))
        if "startTime" in asked:
            table = table.filter(time_ms >= int(asked["startTime"])).head(limit)
        else:
            table = table.tail(limit)
        rows = self._rows(table)
        for row in rows:
            if row[6] >= _ms(self.now):  # the candle that is still open
                row[4], row[5] = row[4] * 1.5, row[5] / 3
            for i, column in enumerate(VALUES):
                place = 1 + i + (i >= 5)
                row[place] = self.bent.get((symbol, row[0], column), row[place])
        return rows

    def _rows(self, table: pl.DataFrame) -> list[list]:
        step = self.interval // timedelta(milliseconds=1)
        times = table["open_time"].dt.epoch("ms").to_list()
        return [
            [t, *row[:5], t + step - 1, *row[5:], 0]
            for t, row in zip(times, table.select(VALUES).iter_rows(), strict=True)
        ]


async def _reset(request: web.Request, response: web.Response) -> web.StreamResponse:
    """Send the head and half of the body, then cut the connection."""
    body = response.body
    assert isinstance(body, bytes)
    stream = web.StreamResponse(headers={"Content-Length": str(len(body))})
    await stream.prepare(request)
    await stream.write(body[: len(body) // 2])
    assert request.transport is not None
    request.transport.abort()
    return stream


def _as_text(row: list) -> list:
    numbers = (0, 6, 8)  # the two times and the count; all else is text on the wire
    return [value if i in numbers else str(value) for i, value in enumerate(row)]


def _packed(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), content, compresslevel=1)
    return buffer.getvalue()


def _weight(limit: int) -> int:
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def _next_month(first: datetime) -> datetime:
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def _name(interval: timedelta) -> str:
    minutes = interval // timedelta(minutes=1)
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h" if minutes < 1440 else "1d"


def _ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
