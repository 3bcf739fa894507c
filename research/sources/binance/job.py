"""The two doors to a download, ``await history(...)`` and `download`, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from research.errors import UserError
from research.sources import waiting, wishes
from research.sources.binance.account import Account, Tally
from research.sources.binance.archive import Archive
from research.sources.binance.net import Host, Net, Pace
from research.sources.binance.rest import Rest
from research.sources.binance.symbol import Have, Job, Progress, Save, Wish
from research.sources.binance.venue import MILLISECOND, interval_name, market_of, to_ms

Clock = Callable[[], datetime] | datetime | None

_ARCHIVE = "https://data.binance.vision"


async def history(
    symbols: Iterable[str],
    *,
    start: datetime,
    end: datetime | None,
    interval: timedelta,
    market: str = "um",
    archive: str = _ARCHIVE,
    rest: str | None = None,
    cache: Path,
    have: Have,
    save: Save,
    now: Clock = None,
    progress: Progress | None = None,
    pace: Pace | None = None,
) -> Account:
    """Bring the missing bars of `symbols` from Binance to `save`, and tell what was done.

    Closed months come as monthly zips, recent days as daily zips, the newest day and holes inside
    zips by REST. Only what `have` does not name is asked for, so a killed run goes on where it
    stopped and a second run asks for nothing. Where archive and REST both tell a bar, they are
    compared, the archive's is kept, and each difference is in the account.

    Parameters
    ----------
    symbols : iterable of str
        As the venue writes them: BTCUSDT (um, spot), BTCUSD_PERP (cm).
    start, end : datetime
        Open times wanted, UTC; `end` is exclusive, None means now.
    interval : timedelta
        Bar size, one of Binance's from 1 min to 1 day.
    market : str
        ``um`` (USD-M futures), ``cm`` (COIN-M futures) or ``spot``.
    archive, rest : str
        Addresses of the zips and of the REST interface; `rest` None is the market's own.
    cache : Path
        Folder for zips (verified by checksum, kept) and for what was learnt: each symbol's first
        bar, holes that nobody can fill, silences the venue asked for.
    have : callable (symbol, "YYYY-MM") -> iterable of int
        Open times in ms already stored for a UTC month.
    save : callable (symbol, "YYYY-MM", raw) -> None
        Takes new raw bars: columns of `schema.BARS` but `time`. Called once for each month that
        gained a bar, with every wanted row of the zips that were read. Must store whole or nothing.
    now : datetime or callable, optional
        The wall clock. A bar is taken when it has closed by this clock *and* by the server's.
    progress : callable (done, total, label), optional
        Called after each month of a symbol.
    pace : Pace, optional
        Concurrency, weight share, tries and pauses.

    Returns
    -------
    Account
        By symbol and month; prints as a summary.

    Raises
    ------
    UserError
        If the wish makes no sense, a symbol is unknown, a checksum stays wrong, or a server fails
        for good. What was saved until then stays, and the next run goes on from there.

    Notes
    -----
    COIN-M volume counts contracts and its quote volume base coin, as the venue has it. A hole that
    REST cannot fill is remembered one day after its end and not asked for again. A day of which
    nothing is missing is never fetched, so bars stored from REST are not compared with a zip that
    is published later.

    Examples
    --------
    >>> import asyncio
    >>> day = datetime(2024, 5, 1, tzinfo=UTC)
    >>> wish = dict(start=day, end=day, interval=timedelta(minutes=1), cache=Path("cache"))
    >>> asyncio.run(history(["BTCUSDT"], have=lambda s, m: [], save=print, **wish))
    Traceback (most recent call last):
    research.errors.UserError: binance: end 2024-05-01 00:00Z must lie after start ...
    """
    place, name = market_of(market), interval_name(interval)
    wish = _wish(symbols, start, end, interval, _clock(now))
    tally, pace = Tally(), pace or Pace()
    async with Net(pace, tally, cache / "quiet.json") as net:
        hosts = Host(net, archive, "archive"), Host(net, rest or place.rest, "rest", place.budget)
        job = Job(
            wish=wish,
            archive=Archive(hosts[0], place, name, cache),
            rest=Rest(hosts[1], place, interval, wish.now),
            memory=cache / place.folder / "known" / name,
            have=have,
            save=save,
            tally=tally,
            progress=progress,
        )
        await job.run()
    return tally.account()


download = waiting.plain(history, name="binance download")


def _wish(
    symbols: Iterable[str],
    start: datetime,
    end: datetime | None,
    interval: timedelta,
    now: datetime,
) -> Wish:
    names = wishes.named("binance", symbols, like="BTCUSDT")
    for name in names:
        if name != name.upper() or not name.replace("_", "").isalnum():
            raise UserError(f"binance: {name!r} is no symbol of the venue. Write it as BTCUSDT.")
    wishes.span("binance", start, end, now)
    step, clock = interval // MILLISECOND, to_ms(now)
    closed = clock // step * step
    stop = closed if end is None else min(_up(to_ms(end), step), closed)
    return Wish(tuple(names), _up(to_ms(start), step), stop, step, clock)


def _up(ms: int, step: int) -> int:
    return -(-ms // step) * step


def _clock(now: Clock) -> datetime:
    if now is None:
        return datetime.now(UTC)
    return now() if callable(now) else now
