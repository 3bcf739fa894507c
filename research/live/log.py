"""What a run says while it works: JSON lines in its folder, plain lines in the terminal.

In the folder's ``logs/`` the plain lines stand once more (``trading.log``), and trades and orders
as JSON lines, one file for each UTC day of the market (``2026-11-21.log``).

Everything that is said about a run passes `redacted`, the one place where secrets are taken out.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Collection, Iterable, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from logging import LogRecord
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

from research.live.terminal import Terminal

FILE = "log.jsonl"
LOGS, TRADING = "logs", "trading.log"
DAILY = (
    "trade",
    "booked",
    "settled",
    "received",
    "intent",
    "send",
    "ack",
    "refused",
    "unknown",
    "absent",
    "fill",
    "cancel",
    "done",
    "income",
    "reconciled",
    "adjustment",
)
"""Events that go into the file of their day as well: trades, and all that became of orders."""
MASK = "[redacted]"
FILES, FILE_BYTES = 10, 10_000_000
"""How many files a log has at most, and how large one grows."""
HOUR = 3_600_000_000
MINUTE = 60.0
"""Real seconds after which a run says that it goes on."""

_HIDDEN_NAMES = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|PASSPHRASE|WEBHOOK", re.IGNORECASE)
_SHORTEST = 6  # anything shorter stands in ordinary words as well
_WORDS = r"signature|listen_?key|api_?key|apikey|token|secret|password|passphrase"
_PAIRS = re.compile(rf"(?i)((?:{_WORDS})[\"']?\s*[=:]\s*[\"']?)([^\s\"'&,;}}\])]+)")
_AUTHORIZED = re.compile(
    r"(?i)\b(authorization[\"']?\s*[=:]\s*[\"']?(?:bearer|basic)?\s*)[^\s\"',}]+"
)
_USER = re.compile(r"(://)[^/\s:@]+:[^/\s@]+@")
_STREAM_KEY = re.compile(r"(/(?:ws|stream|private)/)[A-Za-z0-9]{40,}")
_NAMED = re.compile(rf"(?i)^(?:.*[_-])?(?:{_WORDS}|authorization|webhook|cookie)$|^x-mbx-apikey$")


class Secrets:
    """The values that must not be seen.

    Parameters
    ----------
    more : iterable of str
        Values beside those of the environment, such as the address that alerts are posted to.
    """

    def __init__(self, more: Iterable[str] = ()) -> None:
        named = (value for name, value in os.environ.items() if _HIDDEN_NAMES.search(name))
        found = {part for value in (*named, *more) for part in _forms(value)}
        self._values = sorted(found, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return `text` without secrets, without anything that looks like one in an address."""
        for value in self._values:
            text = text.replace(value, MASK)
        text = _USER.sub(rf"\1{MASK}@", text)
        text = _STREAM_KEY.sub(rf"\1{MASK}", text)
        text = _AUTHORIZED.sub(rf"\1{MASK}", text)
        return _PAIRS.sub(rf"\1{MASK}", text)


def _forms(value: str) -> set[str]:
    """Return the ways in which a secret may be written: as it is, in an address, in JSON."""
    value = value.strip()
    written = {value, quote(value, safe=""), quote(value), json.dumps(value)[1:-1]}
    address = urlsplit(value) if value.startswith(("http://", "https://")) else None
    if address is not None:  # the host alone is no secret, what follows it is
        written.add(address.path.strip("/") + (f"?{address.query}" if address.query else ""))
    return {form for form in written if len(form) >= _SHORTEST}


def redacted(value: Any, secrets: Secrets | None = None) -> Any:
    """Return `value` with every secret in it masked, however deep it lies.

    Parameters
    ----------
    value : object
        Text, number, list or dict of such; anything else goes by its text, and what is not
        finite is not known.
    secrets : Secrets, optional
        Absent: those of the environment as it is now.

    Examples
    --------
    >>> redacted({"url": "/order?symbol=A&signature=9f3a", "apiKey": "k", "n": [1, None]})
    {'url': '/order?symbol=A&signature=[redacted]', 'apiKey': '[redacted]', 'n': [1, None]}
    """
    secrets = secrets or Secrets()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {
            secrets.text(str(name)): MASK
            if isinstance(item, str) and _NAMED.search(str(name))
            else redacted(item, secrets)
            for name, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(item, secrets) for item in value]
    return secrets.text(str(value))


def plain(text: str) -> str:
    r"""Return `text` with everything that a terminal or a log would act on written out.

    >>> plain("BTC\n2026 halted \x1b[31m")
    'BTC\\n2026 halted \\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class Lines:
    """A file of lines that is put aside at 10 MB; of its predecessors nine are kept."""

    def __init__(self, path: Path) -> None:
        self._handler = RotatingFileHandler(
            path, maxBytes=FILE_BYTES, backupCount=FILES - 1, encoding="utf8", delay=True
        )
        self._handler.setFormatter(None)
        self._handler.handleError = _raise  # type: ignore[method-assign]

    def msg(self, message: str) -> None:
        """Write one line."""
        self._handler.handle(LogRecord("", 0, "", 0, message, None, None))

    log = debug = info = warning = error = critical = msg

    def close(self) -> None:
        """Close the file."""
        self._handler.close()


def _raise(record: LogRecord) -> None:
    """Let the writer know that the disk refused, where `logging` would print a traceback."""
    error = sys.exc_info()[1]
    if error is not None:
        raise error


class Log:
    """The log of one run: ``log(event, level="info", **facts)``.

    Parameters
    ----------
    folder : Path
        The run's.
    debug : bool
        Show every decision in the terminal; the file has them always.
    secrets : Secrets
        What is masked.
    stream : text file, optional
        The terminal; absent: standard error.

    """

    def __init__(self, folder: Path, *, debug: bool, secrets: Secrets, stream: Any = None) -> None:
        import structlog

        self._debug, self._secrets, self._terminal = debug, secrets, Terminal(stream)
        self._file, self._unwritten = Lines(folder / FILE), 0
        with suppress(OSError):  # a disk that refuses is counted where lines are written
            (folder / LOGS).mkdir(exist_ok=True)
        self._trading = Lines(folder / LOGS / TRADING)
        self._days, self._day = folder / LOGS, ("", self._trading)
        self._turn = threading.Lock()
        self._logger = structlog.wrap_logger(
            self._file,
            processors=[
                self._hide,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                self._show,
                self._sort,
                structlog.processors.JSONRenderer(sort_keys=False),
            ],
            wrapper_class=structlog.BoundLogger,
            cache_logger_on_first_use=True,
        )
        self._begun: tuple[int, float] | None = None
        self._told = time.monotonic()
        self._bars = self._trades = 0
        self._hooks = (sys.excepthook, threading.excepthook)
        sys.excepthook, threading.excepthook = self._excepthook, self._thread_hook

    @property
    def lost(self) -> int:
        """Lines that could not be written: a full disk must not stop what is safe without a log."""
        return self._unwritten + self._terminal.lost

    def __call__(self, event: str, /, level: str = "info", **facts: Any) -> None:
        """Write one event; `facts` are numbers, texts, or lists and dicts of them."""
        said = {f"{name}_" if name in _OWN else name: value for name, value in facts.items()}
        write = getattr(self._logger, level if level in _LEVELS else "info")
        try:
            write(event, **said)
        except OSError:
            self._unwritten += 1

    def bar(self, time_us: int, *, equity: float, trades: int, until: int | None = None) -> None:
        """Count one decided moment; a line is written for each hour of market time.

        Between two of them there is one for each minute of real time, so that a market that goes
        at the pace of the clock is seen to go.

        Parameters
        ----------
        time_us : int
            Its close, microseconds.
        equity : float
            Then, in quote currency.
        trades : int
            Round trips that ended in it.
        until : int, optional
            When the run ends, if that is known; the time left is then said.
        """
        self._begun = self._begun or (time_us, time.monotonic())
        self._bars, self._trades = self._bars + 1, self._trades + trades
        now = time.monotonic()
        if time_us % HOUR and now - self._told < MINUTE:
            return
        self._told = now
        facts: dict[str, Any] = {"time": time_us, "bars": self._bars, "trades": self._trades}
        facts["equity"] = round(equity, 2)
        if until is not None:
            facts["left"] = _span((until - time_us) / 1e6)
            facts["ready_in"] = self._ready_in(time_us, until)
        self("going" if time_us % HOUR else "hour", **facts)

    def _ready_in(self, now: int, until: int) -> str | None:
        """Return how much real time is left at the pace so far."""
        began, since = self._begun or (now, 0.0)
        if now == began:
            return None
        return _span((time.monotonic() - since) * (until - now) / (now - began))

    def close(self) -> None:
        """Close the file; what goes wrong afterwards is told as it was before."""
        if sys.excepthook == self._excepthook:
            sys.excepthook = self._hooks[0]
        if threading.excepthook == self._thread_hook:
            threading.excepthook = self._hooks[1]
        self._close_day()
        self._trading.close()
        self._file.close()
        self._terminal.close()

    # -- on the way to the file --------------------------------------------------------------------

    def _hide(self, _: Any, method: str, said: MutableMapping[str, Any]) -> Any:
        return redacted(dict(said), self._secrets)

    def _show(self, _: Any, method: str, said: MutableMapping[str, Any]) -> Any:
        if said["level"] != "debug" or self._debug:
            self._terminal.say(line(said))
        return {**{name: said[name] for name in _OWN}, **said}

    def _sort(self, _: Any, method: str, said: MutableMapping[str, Any]) -> Any:
        """Write what is shown once more, and what was traded into the file of its day."""
        try:
            if said["level"] != "debug":
                self._trading.msg(f"{str(said['timestamp'])[:10]} {line(said)}")
            if said["event"] in DAILY:
                with self._turn:
                    self._of_day(said).msg(json.dumps(said))
        except OSError:
            self._unwritten += 1
        return said

    def _of_day(self, said: MutableMapping[str, Any]) -> Lines:
        """Return the file of the UTC day of an event, by the time of its market."""
        when = said.get("exit_time", said.get("time"))
        day = f"{datetime.fromtimestamp(when // 1_000_000, UTC):%Y-%m-%d}" if when else ""
        day = day or str(said["timestamp"])[:10]
        if day != self._day[0]:
            self._close_day()
            self._day = (day, Lines(self._days / f"{day}.log"))
        return self._day[1]

    def _close_day(self) -> None:
        if self._day[0]:
            self._day[1].close()

    def _excepthook(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        text = self._secrets.text("".join(traceback.format_exception(kind, error, trace)))
        self._terminal.say("\n".join(plain(part) for part in text.splitlines()))
        self._terminal.flush()
        self._debug, shown = False, self._debug
        self("crash", level="debug", error=str(error), kind=kind.__name__, traceback=text)
        self._debug = shown

    def _thread_hook(self, told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None:
            self._excepthook(told.exc_type, told.exc_value, told.exc_traceback)


_LEVELS = ("debug", "info", "warning", "error", "critical")
_OWN = ("timestamp", "level", "event")
_TIMES = ("time", "at", "since", "effective", "entry_time", "exit_time", "until")


def line(said: MutableMapping[str, Any]) -> str:
    """Return one event as a line to read: when, what, facts; times of the market in UTC.

    >>> line({"timestamp": "2026-11-20T22:15:07.1Z", "event": "trade", "symbol": "A", "net": 1.5})
    '22:15:07 trade symbol=A net=1.5'
    """
    facts = (f"{name}={_word(name, value)}" for name, value in said.items() if name not in _OWN)
    return plain(" ".join([str(said["timestamp"])[11:19], str(said["event"]), *facts]))


def _word(name: str, value: Any) -> str:
    if name in _TIMES and isinstance(value, int) and value > HOUR:
        return f"{datetime.fromtimestamp(value // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}"
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _span(seconds: float) -> str:
    return str(timedelta(seconds=max(round(seconds), 0)))


def opened(
    folder: Path, *, debug: bool = False, secrets: Collection[str] = (), stream: Any = None
) -> Log:
    """Open the log of a run; errors that nobody catches go into it as well, without secrets.

    Parameters
    ----------
    folder : Path
        The run's.
    debug : bool
        Show decisions in the terminal.
    secrets : collection of str
        Values to mask beside those of the environment.
    stream : text file, optional
        The terminal; absent: standard error.
    """
    return Log(folder, debug=debug, secrets=Secrets(secrets), stream=stream)
