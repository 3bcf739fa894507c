"""Order-flow features while they happen: a venue's own frames in, a row each second out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from research.errors import UserError
from research.features.order_flow import StreamingFeatures
from research.live.net import Network
from research.order_book import live as books
from research.recorder import capture, venues
from research.sources.recordings import plain
from research.units import duration

STREAMS = {
    "binance_usdm": ("bookTicker", "depth", "trade"),
    "binance_spot": ("bookTicker", "depth", "trade"),
    "bybit": ("orderbook.1", "orderbook.50", "publicTrade"),
}
DEPTH = 20
Row = dict[str, Any]


class Follower:
    """One symbol's features, fed with frames as its venue sends them.

    Parameters
    ----------
    symbol, venue, market : str
        As in `schema.MESSAGES` and `schema.Recording`.

    Attributes
    ----------
    row : dict or None
        The newest: symbol, time_us (the venue's own, where its quotes have one, else that of
        receipt), book_proven, and the features of `features.order_flow.frame`; None before the
        first quote. What comes of books is None where the book is not proven.
    frames, bad : int
        How many came, and how many of them could not be read.

    Examples
    --------
    >>> follower = Follower("BTCUSDT", venue="binance", market="spot")
    >>> quote = b'{"u":7,"s":"BTCUSDT","b":"1.5","B":"2","a":"1.6","A":"3"}'
    >>> follower.hear(quote, 1_700_000_000_000_000_000)
    >>> follower.row["mid"], follower.row["book_proven"], follower.row["ofi_1s_z"]
    (1.55, False, None)
    """

    def __init__(self, symbol: str, *, venue: str, market: str) -> None:
        self.symbol, self._venue, self._market = symbol, venue, market
        self._book = books.Book(symbol, venue=venue, market=market, depth=DEPTH)
        self._features, self._best = StreamingFeatures(depth=DEPTH), plain.Best()
        self.row: Row | None = None
        self.frames = self.bad = self._newest = 0

    def hear(self, frame: bytes, received_ns: int, connection: int = 0) -> None:
        """Take one frame, received at `received_ns` by this machine's clock."""
        self.frames += 1
        if connection > self._newest:  # what came between two connections may be missing
            self._newest = connection
            self._features.restart()
        try:
            said = plain.understand(frame, venue=self._venue, market=self._market, best=self._best)
        except plain.Malformed:
            self.bad += 1
            return
        if isinstance(said, plain.Message):
            self._hear_book(said, received_ns, connection)
        elif isinstance(said, plain.Quote):
            self._hear_quote(said, received_ns)
        else:
            for trade in said:
                when = self._when(trade.time, received_ns)
                self._features.trade(when, trade.quantity, trade.taker_side)

    def _hear_book(self, said: plain.Message, received_ns: int, connection: int) -> None:
        heard = self._book.hear(_message(said, self.symbol, received_ns, connection))
        if not heard.proven:
            self._features.restart_book()
        elif heard.done in ("applied", "snapshot"):
            self._features.book(self._when(said.time, received_ns), self._book.levels)

    def _hear_quote(self, said: plain.Quote, received_ns: int) -> None:
        if said.bid is None or said.ask is None:
            return
        when = self._when(said.time, received_ns)
        best = (said.bid, said.bid_quantity, said.ask, said.ask_quantity)
        row = self._features.quote(when, *best)
        proven = self._book.proven_at(received_ns)
        self.row = {"symbol": self.symbol, "time_us": when, "book_proven": proven, **row}

    def _when(self, time_us: int, received_ns: int) -> int:
        # spot's quotes have no time of the venue's: all its events are then dated by receipt
        return received_ns // 1000 if time_us < 0 or self._market == "spot" else time_us


def _message(said: plain.Message, symbol: str, received_ns: int, connection: int) -> books.Message:
    ids = (said.first_id, said.last_id, said.previous_id, said.sequence)
    head = (said.symbol or symbol, said.kind, received_ns, connection, said.time)
    return books.Message(*head, *ids, said.bids, said.asks)  # type: ignore[arg-type]


async def follow(
    name: str,
    symbol: str,
    *,
    length: str | timedelta,
    every: str | timedelta = "1 s",
    folder: Path | str | None = None,
    network: Network | None = None,
) -> AsyncIterator[Row]:
    """Yield a symbol's newest features at a steady pace, while they happen.

    Parameters
    ----------
    name : str
        A venue, as `recorder.capture` takes it.
    symbol : str
        As the venue writes it.
    length, every : str or timedelta
        How long, and how far the rows are apart, by this machine's clock.
    folder : Path, optional
        Where what comes is recorded, too; absent: nowhere that stays.
    network : Network, optional
        How the venue is reached; a simulated one on this machine, for tests.

    Yields
    ------
    dict
        As `Follower.row`; none until the first quote.

    Raises
    ------
    UserError
        As `recorder.capture`.
    """
    if name not in STREAMS:
        raise UserError(f"features-live: no venue {name!r}. Known are {', '.join(STREAMS)}.")
    rows: asyncio.Queue[Row] = asyncio.Queue()
    with TemporaryDirectory(prefix="alphabook-") as nowhere:
        how = {"folder": Path(folder or nowhere), "network": network, "length": length}
        going = asyncio.create_task(_rows(name, symbol, duration(every), rows.put_nowait, how))
        try:
            while not going.done() or not rows.empty():
                with suppress(TimeoutError):
                    yield await asyncio.wait_for(rows.get(), 0.2)
            going.result()
        finally:
            going.cancel()
            with suppress(asyncio.CancelledError, UserError):
                await going


async def _rows(
    name: str, symbol: str, every: timedelta, put: Callable[[Row], None], how: dict[str, Any]
) -> None:
    """Record, and put down the newest row again and again until it is over."""
    found = venues.venue(name)
    follower = Follower(symbol, venue=found.venue, market=found.market)

    async def tell() -> None:
        seen = -1
        while True:
            await asyncio.sleep(every.total_seconds())
            if follower.row is not None and follower.frames != seen:
                put(dict(follower.row))
                seen = follower.frames

    telling = asyncio.create_task(tell())
    folder = how.pop("folder")
    try:
        await capture(
            name, [symbol], STREAMS[name], folder, tap=follower.hear, convert=False, **how
        )
    finally:
        telling.cancel()


def line(row: Row) -> str:
    """Return a row for a terminal: the time, the price, and what is pressing on it.

    >>> row = {"symbol": "BTCUSDT", "time_us": 0, "mid": 100.5, "spread": 0.1, "imbalance": 0.25}
    >>> flow = {"ofi_1s": 3.0, "ofi_1s_z": None, "trade_imbalance_1s": -1.0}
    >>> line({**row, **flow, "book_proven": True}).split(" | ")[1:]
    ['OFI 1 s +3.000 (z -)', 'bid share 25 %', 'takers 1 s -100 %']
    """
    when = datetime.fromtimestamp(row["time_us"] / 1e6, UTC)
    said = [
        f"{when:%H:%M:%S.%f}"[:-3] + f" {row['symbol']} mid {row['mid']:.8g} "
        f"spread {row['spread'] * 1e4:.2f} bps",
        f"OFI 1 s {_shown(row['ofi_1s'], '+.3f')} (z {_shown(row['ofi_1s_z'], '+.1f')})",
        f"bid share {_shown(row['imbalance'], '.0%')}",
        f"takers 1 s {_shown(row['trade_imbalance_1s'], '+.0%')}",
    ]
    return " | ".join(said if row["book_proven"] else [*said, "book not proven"])


def _shown(value: float | None, form: str) -> str:
    """Write a number, or a dash for what is not known yet."""
    return "-" if value is None else format(value, form).replace("%", " %")
