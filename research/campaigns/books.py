"""Streams of a made market with everything wrong that can be: is each gap found, and none invented?

A market of two dictionaries speaks in each venue's ids; what it says is then dropped, doubled,
swapped and corrupted, and snapshots come late, early or stale. The book under test is told what is
left. The dictionaries know the truth at each update, so every state that claims proof is compared
with it, every loss is looked for in the ledger, and every gap in the ledger among the losses.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import polars as pl

from research import batch, order_book, schema

DEPTH = 5
TAIL = 60
"""Updates at the end of a session in which nothing goes wrong, so that its book can heal."""
VENUES = (("binance", "um"), ("binance", "spot"), ("bybit", "linear"))
STEP_NS, TICK = 1_000_000, 0.5


class Update(NamedTuple):
    """One update as the venue sent it."""

    first_id: int | None
    last_id: int | None
    previous_id: int | None
    sequence: int | None
    time: int
    levels: list[tuple[int, float, float]]


class Market(NamedTuple):
    """What a venue said, and the whole truth after each update: bids and asks by price."""

    updates: list[Update]
    truth: list[Sides]


class Sent(NamedTuple):
    """A message as it arrives: an update, or a snapshot of the book after update `place`."""

    place: int
    snapshot: bool
    connection: int
    update: Update | None = None


class Fault(NamedTuple):
    """Something done to a stream.

    `place` is the first message that arrived after it, `lost` the last update it took away. A
    corrupted message is its own place, and takes nothing away.
    """

    kind: str
    place: int
    lost: int
    breaks: bool
    """Whether it must end the proof."""


Sides: TypeAlias = tuple[dict[int, float], dict[int, float]]
Ids: TypeAlias = tuple[int | None, int | None, int | None, int | None]
FAULTS = 1 / 15
"""Share of moments at which something goes wrong."""
FIELDS = {
    ("binance", "um"): ("first_id", "last_id", "previous_id"),
    ("binance", "spot"): ("first_id", "last_id"),
    ("bybit", "linear"): ("last_id", "sequence"),
}
"""Ids that may be corrupted."""
HEAD = 10
"""Updates at the start in which nothing goes wrong: before its first update, a stream of Bybit's
cannot be told from one of whole tops, in which nothing shows a loss."""


def run(count: int, seed: int = 0, workers: int = 1, *, length: int = 500) -> dict[str, Any]:
    """Mutate `count` updates of made markets and hold the books against the truth.

    Parameters
    ----------
    count : int
        Updates in all, in sessions of `length`; about one in fifteen is struck by a fault.
    seed : int
        Of the first session; the others count on.
    workers : int
        Processes.
    length : int
        Updates of one session.

    Returns
    -------
    dict
        ``updates``, ``faults`` by kind, and what must be 0: ``missed`` (a loss that no gap covers),
        ``invented`` (a gap without a fault), ``wrong`` (a state with proof, outside all gaps, that
        is not the truth), ``unhealed`` (a session whose last book, at full depth, is not).

    Examples
    --------
    >>> found = run(600, workers=1, length=200)
    >>> found["updates"], found["missed"], found["invented"], found["wrong"], found["unhealed"]
    (600, 0, 0, 0, 0)
    """
    seeds = range(seed, seed + max(count // length, 1))
    total: Counter[str] = Counter()
    for one in batch.each(_Session(length), seeds, workers=workers):
        total.update(one)
    names = ("updates", "states", "gaps", "missed", "invented", "wrong", "unhealed")
    faults = {k.removeprefix("fault "): n for k, n in sorted(total.items()) if "fault " in k}
    return {name: total[name] for name in names} | {"faults": faults}


class _Session:
    """One session of so many updates, for a pool of processes."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, seed: int) -> dict[str, int]:
        return session(seed, self.length)


def session(seed: int, length: int) -> dict[str, int]:
    """Make one market, mutate what it says, rebuild its book and count what is not right."""
    dice, place = random.Random(seed), VENUES[seed % len(VENUES)]
    market = made(dice, length, place)
    sent, faults = mutated(dice, market, place)
    messages, levels = tables(sent, market)
    built = order_book.build(messages, levels, venue=place[0], market=place[1], depth=DEPTH)
    gaps = _gaps(built)
    spans = _united(gaps)
    windows = [_window(fault, sent, stream=place[0] == "bybit") for fault in faults]
    struck = [w for w, fault in zip(windows, faults, strict=True) if fault.breaks]
    counts = Counter({"updates": length, "states": len(built.message), "gaps": len(gaps)})
    counts.update(f"fault {fault.kind}" for fault in faults)
    counts["missed"] = sum(
        fault.breaks and not any(start <= low and high <= end for start, end in spans)
        for fault, (low, high) in zip(faults, windows, strict=True)
    )
    counts["invented"] = sum(
        start > 0 and not any(low <= end and start <= high for low, high in struck)
        for start, end in gaps
    )
    counts["wrong"] = _wrong(built, sent, market, spans)
    end = order_book.whole(
        messages, levels, built.last_ns // 1000, venue=place[0], market=place[1], by="received"
    )
    counts["unhealed"] = not _healed(end, market.truth[-1])
    return dict(counts)


# -- the market ------------------------------------------------------------------------------------


def made(dice: random.Random, length: int, place: tuple[str, str]) -> Market:
    """Let a market of whole ticks live for `length` updates, numbered as its venue does."""
    sides: Sides = (
        {1000 - n: dice.randint(1, 800) / 8 for n in range(1, 41)},
        {1000 + n: dice.randint(1, 800) / 8 for n in range(1, 41)},
    )
    middle, last, sequence = 1000, dice.randint(10**6, 10**12), dice.randint(10**6, 10**9)
    updates, truth = [], []
    for number in range(length):
        if dice.random() < 0.15:
            middle += dice.choice((-2, -1, 1, 2))
        levels = _changes(dice, sides, middle)
        ids = _ids(dice, place, last, sequence)
        last, sequence = ids[1] or last, ids[3] or sequence
        updates.append(Update(*ids, 1_000_000 * (1 + number // 2), levels))
        truth.append((sides[0].copy(), sides[1].copy()))
    return Market(updates, truth)


def _changes(dice: random.Random, sides: Sides, middle: int) -> list[tuple[int, float, float]]:
    """Move a book to a new middle: what would cross goes, a few levels change, some to nothing."""
    changes = {(1, tick): 0.0 for tick in sides[0] if tick >= middle}
    changes |= {(-1, tick): 0.0 for tick in sides[1] if tick <= middle}
    for _ in range(dice.randint(1, 6)):
        side, distance = dice.choice((1, -1)), 1 + int(dice.expovariate(0.15))
        quantity = 0.0 if dice.random() < 0.35 else dice.randint(1, 800) / 8
        changes[side, middle - side * distance] = quantity
    for (side, tick), quantity in changes.items():
        mine = sides[0] if side > 0 else sides[1]
        if quantity:
            mine[tick] = quantity
        else:
            mine.pop(tick, None)
    return [(side, tick * TICK, quantity) for (side, tick), quantity in changes.items()]


def _ids(dice: random.Random, place: tuple[str, str], last: int, sequence: int) -> Ids:
    if place[0] == "bybit":
        return None, last + 1, None, sequence + dice.randint(1, 20)
    first = last + (1 if place[1] == "spot" else dice.randint(1, 300))
    return first, first + dice.randint(0, 50), None if place[1] == "spot" else last, None


# -- what goes wrong -------------------------------------------------------------------------------


def mutated(
    dice: random.Random, market: Market, place: tuple[str, str]
) -> tuple[list[Sent], list[Fault]]:
    """Send a market's updates with faults, and snapshots after each as a recorder would ask."""
    road = _Road(dice, market, place)
    road.ask(dice.randint(0, 8))
    while road.next < len(market.updates):
        clean = road.next >= len(market.updates) - TAIL
        if clean and not road.asked_last:
            road.asked_last = True
            road.ask(20, 40)
        if clean or road.next < HEAD or dice.random() > FAULTS:
            road.send(road.next)
        else:
            getattr(road, dice.choice(KINDS))()
        road.deliver_snapshots(stale=not clean)
    return road.sent, road.faults


KINDS = ("drop", "run", "twice", "late", "swap", "corrupt", "move", "refresh")


class _Road:
    """The way from a venue to a recorder."""

    def __init__(self, dice: random.Random, market: Market, place: tuple[str, str]) -> None:
        self.dice, self.market, self.stream = dice, market, place[0] == "bybit"
        self.fields = FIELDS[place]
        self.sent: list[Sent] = []
        self.faults: list[Fault] = []
        self.due: list[int] = []
        self.next = self.connection = 0
        self.asked_last = False

    def send(self, number: int) -> None:
        self.sent.append(Sent(number, False, self.connection, self.market.updates[number]))
        self.next = max(self.next, number + 1)

    def ask(self, *after: int) -> None:
        self.due += [len(self.sent) + messages for messages in after]

    def deliver_snapshots(self, *, stale: bool) -> None:
        """A request's answer is of now, or from a cache, or ahead of updates still on their way."""
        if not [when for when in self.due if when <= len(self.sent)] or not self.next:
            return
        self.due = [when for when in self.due if when > len(self.sent)]
        ahead = 0 if self.stream or not stale else self.dice.choice((0, 0, 0, 2, -1, -3, -40))
        number = min(max(self.next - 1 + ahead, 0), len(self.market.updates) - 1)
        self.sent.append(Sent(number, True, self.connection))

    def lose(self, kind: str, count: int) -> None:
        self.next = min(self.next + count, len(self.market.updates) - TAIL)
        self.faults.append(Fault(kind, len(self.sent), self.next - 1, True))
        self.ask(self.dice.randint(1, 10), 25)

    def drop(self) -> None:
        self.lose("drop", 1)

    def run(self) -> None:
        self.lose("run", self.dice.randint(2, 12))

    def twice(self) -> None:
        self.send(self.next)
        self.send(self.next - 1)
        self.faults.append(Fault("twice", len(self.sent) - 1, -1, False))

    def late(self) -> None:
        """One that came long ago comes again."""
        self.send(self.next)
        old = [one.place for one in self.sent[-40:] if not one.snapshot]
        self.send(self.dice.choice(old))
        self.faults.append(Fault("late", len(self.sent) - 1, -1, False))

    def swap(self) -> None:
        number = self.next
        self.faults.append(Fault("swap", len(self.sent), number, True))
        self.send(number + 1)
        self.send(number)
        self.ask(self.dice.randint(1, 10), 25)

    def corrupt(self) -> None:
        """Change one id: to none, or to a number far away."""
        self.send(self.next)
        one = self.sent.pop()
        field = self.dice.choice(self.fields)
        update = self.market.updates[one.place]
        right = getattr(update, field)
        far = right + self.dice.choice((-1, 1)) * self.dice.randint(1000, 10**6)
        wrong = update._replace(**{field: self.dice.choice((None, far, far))})  # type: ignore[arg-type]
        self.faults.append(Fault(f"corrupt {field}", len(self.sent), -1, True))
        self.sent.append(one._replace(update=wrong))
        self.ask(self.dice.randint(1, 10), 25)

    def move(self) -> None:
        """A new connection, with or without a loss; Bybit starts each with a snapshot."""
        self.connection += 1
        lost = self.dice.randint(0, 5)
        if lost or self.stream:
            self.lose("move", lost)
        if self.stream:
            self.due = [len(self.sent)]

    def refresh(self) -> None:
        """A snapshot nobody needed."""
        self.send(self.next)
        self.ask(0)


def tables(sent: list[Sent], market: Market) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lay what was sent out as `schema.MESSAGES` and `schema.LEVELS`."""
    rows, levels = [], []
    for number, one in enumerate(sent):
        of = one.update or market.updates[one.place]
        ids: Ids = (of.first_id, of.last_id, of.previous_id, of.sequence)
        if one.update is None:
            bids, asks = market.truth[one.place]
            levels += [(number, 1, tick * TICK, q) for tick, q in bids.items()]
            levels += [(number, -1, tick * TICK, q) for tick, q in asks.items()]
            ids = (None, of.last_id, None, of.sequence)
        else:
            levels += [(number, *level) for level in of.levels]
        kind = "snapshot" if one.update is None else "update"
        received = number * STEP_NS
        rows.append(("MADE", number, one.connection, received, of.time, of.time, kind, *ids))
    return (
        pl.DataFrame(rows, schema=schema.MESSAGES, orient="row"),
        pl.DataFrame(levels, schema=schema.LEVELS, orient="row"),
    )


# -- what is right ---------------------------------------------------------------------------------


def _window(fault: Fault, sent: list[Sent], *, stream: bool) -> tuple[int, int]:
    """From the last message before a fault to the first that shows it, in time of receipt."""
    if fault.lost < 0:
        return fault.place * STEP_NS, fault.place * STEP_NS
    shows = (
        number
        for number in range(fault.place, len(sent))
        if (stream if sent[number].snapshot else sent[number].place > fault.lost)
    )
    return (fault.place - 1) * STEP_NS, next(shows) * STEP_NS


def _gaps(built: order_book.Built) -> list[tuple[int, int]]:
    rows = built.gaps.select("start_ns", "end_ns").iter_rows()
    return [(start, built.last_ns if end is None else end) for start, end in rows]


def _united(gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join gaps that touch."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(gaps):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _wrong(
    built: order_book.Built, sent: list[Sent], market: Market, spans: list[tuple[int, int]]
) -> int:
    """Count states with proof, outside all gaps, that are not what the venue's book then was."""
    numbers = {update.last_id: number for number, update in enumerate(market.updates)}
    newest = np.maximum.accumulate([-1 if one.snapshot else one.place for one in sent])
    wrong = 0
    for row in np.flatnonzero(built.proven):
        number = numbers.get(int(built.update_id[row]), -1)
        right = number >= newest[built.message[row]] and np.array_equal(
            built.levels[row], _top(market.truth[number])
        )
        when = built.received_ns[row]
        wrong += not right and not any(start <= when <= end for start, end in spans)
    return wrong


def _top(sides: Sides) -> np.ndarray:
    best = np.zeros((2, DEPTH, 2))
    for row, (levels, down) in enumerate(zip(sides, (True, False), strict=True)):
        for place, tick in enumerate(sorted(levels, reverse=down)[:DEPTH]):
            best[row, place] = tick * TICK, levels[tick]
    return best


def _healed(whole: order_book.Whole, truth: Sides) -> bool:
    """Say whether a session's last book is proven and, at full depth, the venue's."""
    ours = [dict(side.tolist()) for side in (whole.bids, whole.asks)]
    theirs = [{tick * TICK: quantity for tick, quantity in side.items()} for side in truth]
    return whole.proven and ours == theirs
