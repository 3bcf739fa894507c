"""The two doors to a download, ``await history(...)`` and `download`, and the work behind them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from research.sources import waiting, wishes
from research.sources.binance.net import Pace
from research.sources.polygon import flat, signing
from research.sources.polygon.account import Account, Tally
from research.sources.polygon.bucket import Bucket
from research.sources.polygon.cache import Cache
from research.sources.polygon.days import Have, Job, Save
from research.sources.polygon.flat import Progress
from research.sources.polygon.signing import Credentials

ENDPOINT = "https://files.massive.com"
_DAY = timedelta(days=1)


async def history(
    symbols: Iterable[str],
    *,
    start: datetime,
    end: datetime | None,
    endpoint: str = ENDPOINT,
    cache: Path,
    credentials: Credentials,
    have: Have,
    save: Save,
    now: datetime | None = None,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> Account:
    """Bring the minute bars of `symbols` from flat files to `save`, and tell what was done.

    The store is asked what files it has; one that is in the cache with the same size and tag is
    not fetched again, and one that is stored for every symbol is not even read. A killed run goes
    on where it stopped.

    Parameters
    ----------
    symbols : iterable of str
        ``X:BTC-USD`` or ``BTC-USD``.
    start, end : datetime
        Open times wanted, UTC; whole UTC days are taken. `end` is exclusive, None means now. Only
        days before today are asked for: today's file would be a part of one.
    endpoint : str
        Address of the S3-compatible store, which has the bucket ``flatfiles``.
    cache : Path
        Folder for the files, and for what is known of them.
    credentials : Credentials
        From `credentials`.
    have : callable (symbol, "YYYY-MM") -> iterable of int
        Open times in ms already stored for a UTC month.
    save : callable (symbol, "YYYY-MM", raw) -> None
        Takes the rows of one symbol out of files that are new to it, as `flat.rows` gives them.
        Must store whole or nothing.
    now : datetime, optional
        The wall clock, UTC.
    progress : callable (done, total, label), optional
        Called after each day.
    pace : Pace, optional
        Concurrency, tries and pauses.

    Returns
    -------
    Account
        By day; prints as a summary.

    Raises
    ------
    UserError
        If the wish makes no sense, the store refuses or fails for good, a file stays damaged, or
        a symbol is in neither the first nor the last file. What was saved until then stays.

    Notes
    -----
    A minute without trades has no row, and none is made up for it. A file that the store replaced
    is fetched and saved again; a row that it no longer has stays stored.

    Examples
    --------
    >>> import asyncio
    >>> day = datetime(2026, 2, 6, tzinfo=UTC)
    >>> wish = dict(start=day, end=day, cache=Path("cache"), credentials=Credentials("k", "s"))
    >>> asyncio.run(history(["X:BTC-USD"], have=lambda s, m: [], save=print, **wish))
    Traceback (most recent call last):
    research.errors.UserError: polygon: end 2026-02-06 00:00Z must lie after start ...
    """
    now = now or datetime.now(UTC)
    wanted, days = _wish(symbols, start, end, now)
    tally, pace = Tally(), pace or Pace()
    async with Bucket(endpoint, credentials, pace, tally) as bucket:
        await Job(bucket, Cache(cache), wanted, days, now, have, save, progress).run()
    return tally.account()


def download(symbols: Iterable[str], **wish: Any) -> Account:
    """Do what `history` does, without ``await``; also inside a notebook's running event loop.

    Parameters
    ----------
    symbols : iterable of str
        As for `history`.
    **wish
        All other arguments of `history`; `credentials` may be left out and come from the
        environment then. In a notebook the callables run in another thread.

    Returns
    -------
    Account
        As for `history`.

    Raises
    ------
    UserError
        As for `history`, and if there are no credentials.
    """
    wish["credentials"] = wish.get("credentials") or signing.credentials()
    return waiting.finish(history(symbols, **wish), name="polygon download")


def _wish(
    symbols: Iterable[str], start: datetime, end: datetime | None, now: datetime
) -> tuple[list[str], list[date]]:
    names = wishes.named("polygon", symbols, like="X:BTC-USD")
    wishes.span("polygon", start, end, now)
    first = start.astimezone(UTC).date()
    today = now.astimezone(UTC).date()
    beyond = today if end is None else (end.astimezone(UTC) - timedelta(microseconds=1)).date()
    last = min(beyond, today - _DAY)
    count = max(0, (last - first).days + 1)
    return list(dict.fromkeys(map(flat.symbol, names))), [first + i * _DAY for i in range(count)]
