"""The server of the page: loopback, closed to strangers, one stream of news for all who look."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from research.errors import UserError
from research.live import folders
from research.live.page.view import View

HERE = Path(__file__).resolve().parent
TOKEN = "page.token"
LOOPBACK = "127.0.0.1"
EVERY, LOOK = 1.0, 0.2
"""Real seconds between two pieces of news where nothing happens, and between two looks."""
HEADERS = {
    "content-security-policy": "default-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class Doorkeeper:
    """Lets in who asked for this very machine from this very page, and nobody else.

    A name that someone has pointed at 127.0.0.1 shows in the Host header, a foreign page that
    sends its reader here in the Origin header.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in (LOOPBACK, "localhost")}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it with 403."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                kept = [pair for pair in message["headers"] if pair[0].decode() not in HEADERS]
                message = {**message, "headers": kept + told}
            await send(message)

        app = self._app if self._known(scope) else PlainTextResponse("not from here", 403)
        await app(scope, receive, dressed)

    def _known(self, scope: Scope) -> bool:
        hosts = [value.decode("latin1") for name, value in scope["headers"] if name == b"host"]
        origins = [value.decode("latin1") for name, value in scope["headers"] if name == b"origin"]
        if len(hosts) != 1 or hosts[0] not in self._hosts or len(origins) > 1:
            return False
        if scope["method"] not in ("GET", "HEAD") and not origins:
            return False
        return all(origin in self._origins for origin in origins)


class News:
    """Looks at the run, and hands what it sees to all who wait."""

    def __init__(self, folder: Path) -> None:
        self._view, self._seen, self._number = View(folder), "", 0
        self._fresh = asyncio.Condition()

    async def run(self) -> None:
        """Look until cancelled: at once when something has happened, else once a second."""
        loop = asyncio.get_running_loop()
        while True:
            marks = self._view.news()
            seen = json.dumps(await asyncio.to_thread(self._view.now), allow_nan=False)
            async with self._fresh:
                self._seen, self._number = seen, self._number + 1
                self._fresh.notify_all()
            until = loop.time() + EVERY
            await asyncio.sleep(LOOK)
            while self._view.news() == marks and loop.time() < until:
                await asyncio.sleep(LOOK / 4)

    async def stream(self) -> AsyncIterator[str]:
        """Yield what there is, then each piece of news, as server-sent events."""
        number = 0
        while True:
            async with self._fresh:
                await self._fresh.wait_for(lambda known=number: self._number != known)  # type: ignore[misc]
                number, seen = self._number, self._seen
            yield f"data: {seen}\n\n"


class Page:
    """The answers."""

    def __init__(self, folder: Path, token: str) -> None:
        from jinja2 import Environment, FileSystemLoader

        self._folder, self._token = folder, token
        self._news = News(folder)
        kept = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)
        self._html = kept.get_template("page.html").render(run=folder.name)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Look at the run for as long as the server runs."""
        looking = asyncio.create_task(self._news.run())
        try:
            yield
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)

    async def index(self, _: Request) -> Response:
        """Return the page."""
        return Response(self._html, media_type="text/html")

    async def events(self, _: Request) -> Response:
        """Return the stream of news."""
        return StreamingResponse(self._news.stream(), media_type="text/event-stream")

    def kill(self, request: Request) -> Response:
        """Halt the run; in a thread of its own, as the disk may take its time."""
        given = request.headers.get("x-token", "")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            return PlainTextResponse("this needs the page's token", 403)
        folders.kill(self._folder)
        folders.send(self._folder, "kill", why="the page's button")
        return JSONResponse({"told": "kill"})


def app(folder: Path, port: int, token: str) -> ASGIApp:
    """Return the application of a run's page, served at `port`."""
    page = Page(folder, token)
    routes = [
        Route("/", page.index),
        Route("/events", page.events),
        Route("/kill", page.kill, methods=["POST"]),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    return Doorkeeper(Starlette(routes=routes, lifespan=page.lifespan), port)


def bound(port: int) -> socket.socket:
    """Return a socket of this machine alone.

    Raises
    ------
    UserError
        If the port is taken.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((LOOPBACK, port))
        found.listen()  # the address is told at once: who comes early waits
    except (OSError, OverflowError) as error:
        found.close()
        raise UserError(
            f"page: port {port} must be free, it is not ({error}). Name another with --port."
        ) from error
    return found


def serve(folder: Path, port: int) -> None:
    """Serve until interrupted; see `page.serve`."""
    import uvicorn

    folders.facts(folder)
    listening = bound(port)
    port, token = listening.getsockname()[1], secrets.token_urlsafe(24)
    settings: dict[str, Any] = {
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": 1,
    }
    config, path = uvicorn.Config(app(folder, port, token), **settings), folder / TOKEN
    before = {name: signal.signal(name, _leave) for name in (signal.SIGINT, signal.SIGTERM)}
    try:
        _keep(path, token)
        _tell(folder, port, token)
        uvicorn.Server(config).run([listening])
    except SystemExit:
        pass  # told to end: there is nothing to say
    finally:
        if path.exists() and path.read_text() == token:
            path.unlink()
        listening.close()
        for name, handler in before.items():
            signal.signal(name, handler)


def _tell(folder: Path, port: int, token: str) -> None:
    sys.stderr.write(
        f"{folder.name} is shown on http://{LOOPBACK}:{port}/#{token}\n"
        f"The part after # allows to halt it; {TOKEN} of the run has it, too. ctrl-C ends this.\n"
    )
    sys.stderr.flush()


def _leave(*_: Any) -> NoReturn:
    """End in order; uvicorn hands on the signal that it has ended by."""
    raise SystemExit(0)


def _keep(path: Path, token: str) -> None:
    """Write the token so that from its first byte on nobody else can read it."""
    path.unlink(missing_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(token)
