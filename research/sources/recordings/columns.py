"""From rows to the tables of a recording: what was read, part by part, becomes columns."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.sources.recordings.frames import NOT_KNOWN
from research.sources.recordings.plain import Message, Quote, Trade

if TYPE_CHECKING:
    from research.sources.recordings.scanner import Room

from research.sources.recordings.keys import JOINED, NUMBER, PARTIAL, QUOTE, SLOW, TRADE, UPDATE

KINDS = ("snapshot", "update", "partial")
NAMES = {
    "messages": ("first_id", "last_id", "previous_id", "sequence"),
    "quotes": ("update_id",),
    "trades": ("trade_id", "taker_side"),
}


class Part(NamedTuple):
    """Columns of some frames; whole numbers that are not known are `NOT_KNOWN`, prices NaN.

    The first four of `messages`, `quotes` and `trades` are the line, the number of the symbol, and
    when it was sent and happened (microseconds). `levels` ties to `messages` by line.
    """

    messages: np.ndarray
    """Then the place in `KINDS`, first, last and previous id, and the sequence: shape (9, n)."""
    quotes: np.ndarray
    """Then the update's id: shape (5, n)."""
    quote_reals: np.ndarray
    """Bid, its quantity, ask, its quantity: shape (4, n)."""
    trades: np.ndarray
    """Then id, taker's side, and whether several fills are joined: shape (7, n)."""
    trade_reals: np.ndarray
    """Price and quantity: shape (2, n)."""
    level_lines: np.ndarray
    level_sides: np.ndarray
    level_reals: np.ndarray
    """Price and quantity: shape (2, n)."""


def fast(room: Room, n_frames: int, *, derivative: bool) -> tuple[Part, np.ndarray]:
    """Return what the fast reader read of so many frames, and which are left to `plain`."""
    form = room.tags[:n_frames, 0]
    told = (form == UPDATE) | (form == PARTIAL)
    updates, quotes = np.flatnonzero(told), np.flatnonzero(form == QUOTE)
    trades = np.flatnonzero(form >= TRADE)
    kinds = np.where(form[updates] == PARTIAL, KINDS.index("partial"), KINDS.index("update"))
    none = np.full(len(updates), NOT_KNOWN)
    previous = _ints(room, updates, "pu")[0] if derivative else none
    summed = form[trades] == JOINED
    number = np.where(summed, *_ints(room, trades, "a", "t"))
    side = 1 - 2 * _ints(room, trades, "m")[0]
    part = Part(
        np.stack([*_head(room, updates), kinds, *_ints(room, updates, "U", "u"), previous, none]),
        np.stack([*_head(room, quotes), *_ints(room, quotes, "u")]),
        _reals(room, quotes, "b", "B", "a", "A"),
        np.stack([*_head(room, trades), number, side, summed]),
        _reals(room, trades, "p", "q"),
        *_levels(room, told),
    )
    return part, np.flatnonzero(form == SLOW)


def _head(room: Room, rows: np.ndarray) -> list[np.ndarray]:
    return [rows, room.tags[rows, 1].astype(np.int64), *_ints(room, rows, "E", "T")]


def _ints(room: Room, rows: np.ndarray, *keys: str) -> list[np.ndarray]:
    return [room.ints[rows, NUMBER[key]] for key in keys]


def _reals(room: Room, rows: np.ndarray, *keys: str) -> np.ndarray:
    return np.stack([room.reals[rows, NUMBER[key]] for key in keys])


def _levels(room: Room, told: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return line, side and numbers of each level of the frames `told`."""
    counts = room.tags[: len(told), 2:]
    each = counts.sum(axis=1)
    lines = np.repeat(np.arange(len(told)), each)
    sides = np.repeat(np.tile(np.array([1, -1], np.int8), len(told)), counts.ravel())
    levels = room.levels[: len(lines)]
    if each[~told].any():  # of frames that looked well until behind their levels
        kept = told[lines]
        lines, sides, levels = lines[kept], sides[kept], levels[kept]
    return lines, sides, levels.T.copy()  # the room is used again


class Rows:
    """Collects what `plain` understood, row by row."""

    def __init__(self) -> None:
        self.messages: list[tuple] = []
        self.quotes: list[tuple] = []
        self.trades: list[tuple] = []
        self.levels: list[tuple] = []

    def take(self, line: int, said: Message | Quote | list[Trade], number: Any) -> None:
        """Keep what a line said; `number` gives a symbol's number."""
        if isinstance(said, Message):
            kind = KINDS.index(said.kind)
            head = (line, number(said.symbol), said.sent, said.time)
            self.messages.append((*head, kind, *said[4:8]))
            self.levels += [(line, 1, *level) for level in said.bids]
            self.levels += [(line, -1, *level) for level in said.asks]
        elif isinstance(said, Quote):
            nan = float("nan")
            bid, ask = (nan if price is None else price for price in (said.bid, said.ask))
            head = (line, number(said.symbol), said.sent, said.time)
            best = (bid, said.bid_quantity, ask, said.ask_quantity)
            self.quotes.append((*head, said.update_id, *best))
        else:
            for trade in said:
                head = (line, number(trade.symbol), trade.sent, trade.time)
                rest = (trade.taker_side, trade.joined, trade.price, trade.quantity)
                self.trades.append((*head, trade.trade_id, *rest))

    def part(self) -> Part:
        """Return all rows as columns."""
        quotes, trades = _split(self.quotes, 5, 4), _split(self.trades, 7, 2)
        lines, reals = _split(self.levels, 2, 2)
        messages = _split(self.messages, 9, 0)[0]
        return Part(messages, *quotes, *trades, lines[0], lines[1].astype(np.int8), reals)


def _split(rows: list[tuple], whole: int, real: int) -> tuple[np.ndarray, np.ndarray]:
    # each half on its own: a double cannot hold every id
    ints = np.array([row[:whole] for row in rows], np.int64).reshape(len(rows), whole)
    reals = np.array([row[whole:] for row in rows], np.float64).reshape(len(rows), real)
    return np.ascontiguousarray(ints.T), np.ascontiguousarray(reals.T)


def joined(parts: list[Part]) -> Part:
    """Put parts one behind the other."""
    if len(parts) == 1:
        return parts[0]
    return Part(*(np.concatenate(columns, axis=-1) for columns in zip(*parts, strict=True)))


def in_line_order(part: Part) -> Part:
    """Sort the rows of each table by line; those of one line stay as they are."""
    messages, quotes, trades = (
        np.argsort(table[0], kind="stable") for table in (part.messages, part.quotes, part.trades)
    )
    levels = np.argsort(part.level_lines, kind="stable")
    return Part(
        part.messages[:, messages],
        part.quotes[:, quotes],
        part.quote_reals[:, quotes],
        part.trades[:, trades],
        part.trade_reals[:, trades],
        part.level_lines[levels],
        part.level_sides[levels],
        part.level_reals[:, levels],
    )


def receipt_order(received_ns: np.ndarray, files: list[int]) -> np.ndarray | None:
    """Return the lines in the order of their receipt, or None where files do not overlap.

    Inside a file the order of lines is the order of receipt, even where a clock was set back.
    """
    stamps = np.split(received_ns, files[:-1])
    stamps = [_rising(stamp) for stamp in stamps if (stamp != NOT_KNOWN).any()]
    if all(before[-1] <= after[0] for before, after in itertools.pairwise(stamps)):
        return None
    whole = np.concatenate([_rising(stamp) for stamp in np.split(received_ns, files[:-1])])
    return np.argsort(whole, kind="stable")


def _rising(stamps: np.ndarray) -> np.ndarray:
    known = stamps[stamps != NOT_KNOWN]
    first = known[0] if len(known) else NOT_KNOWN
    return np.maximum.accumulate(np.where(stamps == NOT_KNOWN, first, stamps))


def renumbered(part: Part, order: np.ndarray) -> Part:
    """Give lines new numbers, by their place in `order`, and sort by them."""
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    for table in (part.messages, part.quotes, part.trades):
        table[0] = number[table[0]]
    return in_line_order(part._replace(level_lines=number[part.level_lines]))


def named(part: Part, of_fast: np.ndarray) -> Part:
    """Replace the fast reader's numbers of symbols by ours."""
    for table in (part.messages, part.quotes, part.trades):
        table[1] = of_fast[table[1]]
    return part


def resolved(part: Part) -> tuple[Part, int]:
    """Give books without a symbol the only one there is; else drop them and say how many."""
    unnamed = part.messages[1] == NOT_KNOWN
    if not unnamed.any():
        return part, 0
    named = part.messages[1, ~unnamed], part.quotes[1], part.trades[1]
    numbers = np.flatnonzero(np.bincount(np.concatenate(named)))
    if len(numbers) == 1:
        part.messages[1, unnamed] = numbers[0]
        return part, 0
    levels = ~np.isin(part.level_lines, part.messages[0, unnamed])
    kept = part._replace(
        messages=part.messages[:, ~unnamed],
        level_lines=part.level_lines[levels],
        level_sides=part.level_sides[levels],
        level_reals=part.level_reals[:, levels],
    )
    return kept, int(unnamed.sum())


def singly(part: Part) -> Part:
    """Drop joined trades of symbols whose single trades are there as well: each counts once."""
    summed = part.trades[6].astype(bool)
    twice = summed & np.isin(part.trades[1], np.unique(part.trades[1, ~summed]))
    if not twice.any():
        return part
    return part._replace(trades=part.trades[:, ~twice], trade_reals=part.trade_reals[:, ~twice])


def tables(
    part: Part, symbols: list[str], received_ns: np.ndarray, connection: np.ndarray
) -> dict[str, pl.DataFrame]:
    """Make `messages`, `levels`, `quotes` and `trades` of a `Recording`."""
    names = pl.Series(symbols, dtype=pl.String)
    received = (names, received_ns, connection)
    kinds = pl.Series(KINDS).gather(part.messages[4].astype(np.uint32))
    quotes, trades = part.quote_reals, part.trade_reals
    prices = {"bid": quotes[0], "bid_quantity": quotes[1]}
    prices |= {"ask": quotes[2], "ask_quantity": quotes[3]}
    columns = {
        "messages": _received(part.messages, *received) | {"kind": kinds},
        "quotes": _received(part.quotes, *received) | {c: _price(v) for c, v in prices.items()},
        "trades": _received(part.trades, *received)
        | {"price": pl.Series(trades[0]), "quantity": pl.Series(trades[1])},
    }
    whole = {"messages": part.messages[5:], "quotes": part.quotes[4:], "trades": part.trades[4:6]}
    made = {}
    for table, shape in (
        ("messages", schema.MESSAGES),
        ("quotes", schema.QUOTES),
        ("trades", schema.TRADES),
    ):
        more = {c: _known(v) for c, v in zip(NAMES[table], whole[table], strict=True)}
        if table == "trades":
            more["taker_side"] = pl.Series(part.trades[5].astype(np.int8))
        made[table] = pl.DataFrame(columns[table] | more).select(list(shape))
    made["levels"] = pl.DataFrame(
        {
            "message": part.level_lines,
            "side": part.level_sides,
            "price": part.level_reals[0],
            "quantity": part.level_reals[1],
        }
    )
    return made


def _received(
    rows: np.ndarray, names: pl.Series, received_ns: np.ndarray, connection: np.ndarray
) -> dict[str, pl.Series]:
    lines = rows[0]
    return {
        "symbol": names.gather(rows[1].astype(np.uint32)) if len(lines) else names.clear(),
        "message": pl.Series(lines),
        "connection": pl.Series(connection[lines]),
        "received_ns": pl.Series(received_ns[lines]),
        "sent": _moment(rows[2]),
        "time": _moment(rows[3]),
    }


def _known(values: np.ndarray) -> pl.Series:
    series = pl.Series(values)
    unknown = values == NOT_KNOWN
    return series.set(pl.Series(unknown), None) if unknown.any() else series


def _moment(values: np.ndarray) -> pl.Series:
    return _known(values).cast(schema.TIME)


def _price(values: np.ndarray) -> pl.Series:
    return pl.Series(values).fill_nan(None)
