"""Polygon's flat files on loopback: an S3-compatible store that verifies who asks, with faults.

The server runs in its own thread and checks every signature by its own reading of the AWS
documents, sharing no code with the client::

    with FakePolygon({"2026-02-06": rows}) as fake:
        fake.fail("429", match="2026-02-06", retry_after=0.2)
        polygon.download(["X:BTC-USD"], endpoint=fake.url, credentials=fake.credentials, ...)
        fake.fetched
"""

import asyncio
import gzip
import hashlib
import hmac
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, unquote

from aiohttp import web

from research.sources.polygon import Credentials

HEADER = "ticker,volume,open,close,high,low,window_start,transactions"
FOLDER = "global_crypto/minute_aggs_v1"
STATUSES = {"429": 429, "500": 500, "503": 503, "403": 403, "404": 404}
GRACE = 0.15  # seconds for a request that was on its way when the silence was asked for


@dataclass
class Fault:
    kind: str
    match: str
    times: int
    retry_after: float | None = None


def packed(rows, header=HEADER):
    """A day's file out of rows (ticker, volume, open, close, high, low, ns, transactions)."""
    text = "\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n"
    return gzip.compress(text.encode(), mtime=0)


def key_of(day: str) -> str:
    return f"{FOLDER}/{day[:4]}/{day[5:7]}/{day}.csv.gz"


class FakePolygon:
    """Serve `files`, bytes by day; every key has a page of its own that is `page` keys long."""

    def __init__(self, files: dict[str, bytes], *, page: int = 2, delay: float = 0.0) -> None:
        self.files = {key_of(day): content for day, content in files.items()}
        self.files["global_crypto/day_aggs_v1/2026/02/2026-02-06.csv.gz"] = b"no minutes"
        self.page, self.delay = page, delay
        self.credentials = Credentials("loopback-name", "loopback+half/of=it")
        self.encoding: str | None = None
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, dict[str, str], int]] = []
        self.refused: list[str] = []
        self.silent_until = 0.0
        self.asked_at = 0.0
        self.violations = 0
        self.under_way = self.most_under_way = 0

    def fail(self, kind, *, match="", times=1, retry_after=None):
        """Answer the next `times` requests whose path (or "listing") has `match` with a fault.

        kind: 429, 500, 503, 403, 404, truncated, garbled, reset, garbage, redirect.
        """
        self.faults.append(Fault(kind, match, times, retry_after))

    def replace(self, day: str, content: bytes) -> None:
        self.files[key_of(day)] = content

    @property
    def fetched(self) -> list[str]:
        """Days whose file was sent, in order."""
        names = [path.rsplit("/", 1)[-1] for path, _, status in self.requests if status == 200]
        return [name.removesuffix(".csv.gz") for name in names if name.endswith(".gz")]

    @property
    def listings(self) -> int:
        return sum("list-type" in query for _, query, _ in self.requests)

    def forget(self) -> None:
        self.requests.clear()

    # the server's life

    def __enter__(self) -> "FakePolygon":
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._main(started)), daemon=True
        )
        self._thread.start()
        assert started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

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
            now = time.monotonic()
            self.violations += self.asked_at + GRACE < now < self.silent_until
            await asyncio.sleep(self.delay)
            response = await self._respond(request)
        finally:
            self.under_way -= 1
        self.requests.append((request.path, dict(request.query), response.status))
        return response

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        if wrong := self._distrust(request):
            self.refused.append(wrong)
            return _error(403, wrong)
        fault = self._fault(request)
        if fault and fault.kind in STATUSES:
            return self._refusal(STATUSES[fault.kind], fault.retry_after)
        if fault and fault.kind == "garbage":
            return web.Response(body=b"<html>captive portal</html>")
        if fault and fault.kind == "redirect":
            return web.Response(status=302, headers={"Location": "http://127.0.0.1:9/else"})
        if request.path == "/flatfiles":
            return self._listing(request.query)
        return await self._file(request, fault)

    def _fault(self, request: web.Request) -> Fault | None:
        address = "listing" if "list-type" in request.query else request.path
        for fault in self.faults:
            if fault.times and fault.match in address:
                fault.times -= 1
                return fault
        return None

    def _refusal(self, status: int, retry_after: float | None) -> web.Response:
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        if retry_after is not None:
            self.asked_at = time.monotonic()
            self.silent_until = self.asked_at + retry_after
        return _error(status, "SlowDown" if status in (429, 503) else "AccessDenied", headers)

    def _listing(self, query) -> web.Response:
        if query.get("list-type") != "2":
            return _error(400, "InvalidRequest")
        keys = sorted(key for key in self.files if key.startswith(query.get("prefix", "")))
        after = query.get("continuation-token", "").removeprefix("after+/=")
        keys = [key for key in keys if key > after]
        cut = len(keys) > self.page
        keys = keys[: self.page]
        parts = [
            f'<Contents><Key>{key}</Key><ETag>"{_tag(self.files[key])}"</ETag>'
            f"<Size>{len(self.files[key])}</Size></Contents>"
            for key in keys
        ]
        token = f"<NextContinuationToken>after+/={keys[-1]}</NextContinuationToken>" if cut else ""
        body = (
            '<?xml version="1.0"?><ListBucketResult '
            'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(cut).lower()}</IsTruncated>{token}{''.join(parts)}"
            "</ListBucketResult>"
        )
        return web.Response(body=body.encode(), content_type="application/xml")

    async def _file(self, request: web.Request, fault: Fault | None) -> web.StreamResponse:
        content = self.files.get(request.path.removeprefix("/flatfiles/"))
        if content is None:
            return _error(404, "NoSuchKey")
        headers = {"ETag": f'"{_tag(content)}"'}
        if self.encoding:
            headers["Content-Encoding"] = self.encoding
        if fault and fault.kind == "truncated":
            content = content[: len(content) // 2]
        if fault and fault.kind == "garbled":
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        if fault and fault.kind == "reset":
            stream = web.StreamResponse(headers={"Content-Length": str(len(content))})
            await stream.prepare(request)
            await stream.write(content[: len(content) // 2])
            assert request.transport is not None
            request.transport.abort()
            return stream
        return web.Response(body=content, headers=headers)

    # who asks: the AWS documents read once more, from the server's side

    def _distrust(self, request: web.Request) -> str:
        said = request.headers.get("Authorization", "")
        if not said.startswith("AWS4-HMAC-SHA256 "):
            return "AccessDenied"
        parts = dict(part.split("=", 1) for part in said.split(" ", 1)[1].split(","))
        name, *scope = parts["Credential"].split("/")
        if name != self.credentials.key:
            return "InvalidAccessKeyId"
        stamp = request.headers["x-amz-date"]
        moment = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - moment) > timedelta(minutes=15):
            return "RequestTimeTooSkewed"
        found = signature(
            self.credentials.secret,
            raw_path=request.raw_path,
            headers=[(n, request.headers[n]) for n in parts["SignedHeaders"].split(";")],
            stamp=stamp,
            scope=scope,
            body=request.headers["x-amz-content-sha256"],
        )
        signed = set(parts["SignedHeaders"].split(";"))
        if not {"host", "x-amz-date", "x-amz-content-sha256"} <= signed:
            return "AccessDenied"
        return "" if hmac.compare_digest(found, parts["Signature"]) else "SignatureDoesNotMatch"


def signature(secret, *, raw_path, headers, stamp, scope, body):
    """What the signature of a GET must be, from what arrived on the wire."""
    path, _, query = raw_path.partition("?")
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    parts = sorted((quote(k, safe="-_.~"), quote(v, safe="-_.~")) for k, v in pairs)
    written = [f"{k}={v}" for k, v in parts]  # by name first: "0=" comes before "00="
    canonical = (
        f"GET\n{quote(unquote(path), safe='/-_.~')}\n{'&'.join(written)}\n"
        + "".join(f"{name.lower()}:{value.strip()}\n" for name, value in headers)
        + f"\n{';'.join(name.lower() for name, _ in headers)}\n{body}"
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{'/'.join(scope)}\n{digest}"
    key = ("AWS4" + secret).encode()
    for part in [*scope, text]:
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def _tag(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def _error(status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code></Error>'
    return web.Response(
        status=status, body=body.encode(), headers=headers, content_type="application/xml"
    )
