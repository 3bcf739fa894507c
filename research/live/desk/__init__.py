"""The desk, one moment at a time: the backtest's own scan, fed by hand.

`Desk.step` hands one moment's bars to `research.trading.loop.scan`, the function that a backtest
hands all of them to, with the same book; so what is decided, filled and booked cannot differ. The
records of the book are treated as bytes: what fields they have is the desk's business alone. A live
desk decides by the same scan, but a venue fills its orders, see `desk.venue`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import chain, pairwise
from typing import Any

import numpy as np

from research.errors import UserError
from research.live.desk import venue as venues
from research.live.desk.columns import books, laid
from research.live.desk.control import obey
from research.live.desk.said import Step, flows, heard, said
from research.live.desk.venue import VENUE, Fill, Wish
from research.live.moments import Scored
from research.trading.account import LOT, PURSE, TRADE, Book, Venue, new_book, new_venue, records
from research.trading.journal import FLOW, Bars, Journal
from research.trading.loop import scan, write
from research.trading.rules import REASONS, Rules
from research.trading.rules.words import ACTIVE, HALTED, REDUCING
from research.trading.sizing import quantity

_FUNDING = ("first", "moment", "rate")
_WORDS = ("entry_reason", "exit_reason")


class Desk:
    """One account that trades by fixed rules.

    Parameters
    ----------
    rules : Rules
        Strategy and costs, see `tape.rules`.
    venue : Venue
        Steps of quantity and price of each symbol, and its funding as far as known.
    symbols : sequence of str
        In the order of the venue's.
    capital : float
        Cash at the start, in quote currency.
    dry_run : bool
        Decide, but send nothing: the orders of a moment are dropped at its end, so nothing is ever
        held and each moment is decided as the first would be. A rule then says `entry` at every
        bar that it would enter on, not only at the first of a stretch.
    live : bool
        A venue fills the orders: they wait until its fills are booked and they are settled, and
        nothing is left inside a bar but by the venue.

    Attributes
    ----------
    time : int
        Of the last moment, in microseconds since 1970 UTC; 0 before the first.

    Examples
    --------
    >>> import math
    >>> from datetime import timedelta
    >>> from research.live.moments import Bar, Scored
    >>> from research.trading.rules import threshold
    >>> rules = threshold(enter=0.01, interval=timedelta(minutes=1))
    >>> desk = Desk(rules, new_venue(1), ["BTCUSDT"], 1000.0)
    >>> bar = Bar("BTCUSDT", 0, 10.0, 10.0, 10.0, 10.0, 1.0)
    >>> row = Scored(bar, None, "m", 0.02, 0.02, 0, math.nan, 0.0, 0.0)
    >>> desk.step(60_000_000, [row]).reasons
    ('entry',)
    >>> later = bar._replace(open_time=60_000_000, close=11.0, high=11.0)
    >>> desk.step(120_000_000, [row._replace(bar=later, told=math.nan)])[:3]
    (('stale_data',), (100.0,), 1100.0)
    """

    def __init__(
        self,
        rules: Rules,
        venue: Venue,
        symbols: Sequence[str],
        capital: float,
        *,
        dry_run: bool = False,
        live: bool = False,
    ) -> None:
        n = len(symbols)
        if len(venue.lot) != n or len(venue.first) != n + 1:
            raise ValueError(f"desk: {n} symbols, but a venue of {len(venue.lot)}")
        if live and (rules.overlap > 1 or dry_run):
            raise UserError(
                f"desk: real orders need backtest.overlap 1 and no --dry-run, found overlap "
                f"{rules.overlap} and dry_run {dry_run}: a venue nets the positions of a symbol. "
                "Set backtest.overlap=1, or trade on paper."
            )
        self.rules = venues.rules_of(rules) if live else rules
        self.venue, self.symbols, self.live = venue, tuple(symbols), live
        self.capital, self.dry_run, self.time = float(capital), dry_run, 0
        self._codes = {name: code for code, name in enumerate(self.symbols)}
        self._book = new_book(n, self.capital, rules.overlap)
        # two round trips per position are the most that a moment can end
        self._trades = records(2 * len(self._book.lots), TRADE)
        self._flows = records(1, FLOW)
        self._ended: list[dict[str, Any]] = []

    # -- one moment ---------------------------------------------------------------------------

    def step(self, time: int, rows: Sequence[Scored]) -> Step:
        """Take the desk through one moment.

        Parameters
        ----------
        time : int
            The close, in microseconds since 1970 UTC; later than the moment before.
        rows : sequence of Scored
            One per symbol that has a bar, in the order of the symbols.

        Raises
        ------
        ValueError
            If the moment is not later than the last, or its rows are not such. Nothing is changed.
        """
        bars = self._bars(time, rows)
        n = len(rows)
        reasons, positions, equity = np.full(n, -1, np.int8), np.empty(n), np.empty(1)
        written = Journal(reasons, positions, equity, self._trades, self._flows)
        _, _, count, flow = self.scanned(bars, written, 0, 0)
        self.time = time
        ended, self._ended = self._ended, []
        return Step(
            tuple(REASONS[code] for code in reasons),
            tuple(positions.tolist()),
            float(equity[0]),
            ended + [self.trade(row) for row in self._trades[:count]],
            flows(self._flows[0]) if flow else {},
        )

    def scanned(
        self, bars: Bars, written: Journal, start: int, t: int
    ) -> tuple[int, int, int, int]:
        """Scan as `trading.loop.scan` does; of a dry or live desk `bars` end with one moment."""
        left = venues.left(self._book) if self.live else {}
        stop, t, count, flow = scan(self._book, bars, self.rules, self.venue, written, start, t)
        if self.dry_run:
            self._book.lots.order = -1
        if self.live:
            rows = slice(start, stop)
            venues.explain(self._book, bars.symbol[rows], written.reason[rows], left)
            venues.hold(self._book)
            purse = self._book.purse[0]
            if not flow and (purse.traded or purse.funding):  # a quiet bar passes over them
                write(written.flows[0], t - 1, purse)
                flow = 1
        return stop, t, count, flow

    def _bars(self, time: int, rows: Sequence[Scored]) -> Bars:
        if time <= self.time or not rows:
            raise ValueError(f"desk: {len(rows)} bars at {time} us after the moment {self.time} us")
        codes = [self._codes.get(row.bar.symbol, -1) for row in rows]
        if codes[0] < 0 or any(b <= a for a, b in pairwise(codes)):
            found = [row.bar.symbol for row in rows]
            raise ValueError(f"desk: bars of {found} are not, in order, of {list(self.symbols)}")
        return laid(time, rows, codes, walks=self.rules.walks)

    def trade(self, row: Any) -> dict[str, Any]:
        """Return a record of `trading.account.TRADE` with symbol and reasons by name."""
        found = {name: row[name].item() for name in TRADE.names or ()}
        words = {name: REASONS[found[name]] for name in _WORDS}
        return {**found, **words, "symbol": self.symbols[found["symbol"]]}

    # -- what it is and what it holds -----------------------------------------------------------

    @property
    def control(self) -> int:
        """State of control: `ACTIVE`, `REDUCING` or `HALTED`; may be set, see `set_state`."""
        return int(self._book.purse[0].state)

    @control.setter
    def control(self, state: int) -> None:
        self.obey({"state": state})

    @property
    def ordered(self) -> int:
        """State that persons and latching guards ask for, whatever limits say."""
        return int(self._book.purse[0].ordered)

    @property
    def degraded(self) -> int:
        """State that a guard asks for while its cause lasts."""
        return int(self._book.purse[0].degraded)

    def obey(self, control: Mapping[str, Any]) -> None:
        """Do what a ``control`` event says; see `obey`. A live desk leaves at once, if halted."""
        obey(self._book, control)
        if self.live:
            venues.obeyed(self._book)

    @property
    def cash(self) -> float:
        """In quote currency."""
        return float(self._book.purse[0].cash)

    @property
    def equity(self) -> float:
        """At the last closes, in quote currency."""
        return float(self._book.purse[0].equity)

    @property
    def positions(self) -> dict[str, float]:
        """What is held of each symbol, in base currency; above 0 long."""
        held = self._book.lots.position.reshape(len(self.symbols), -1).sum(axis=1)
        return dict(zip(self.symbols, held.tolist()))

    def summary(self) -> dict[str, Any]:
        """Return where the account stands; what is held stays held, and counts at its marks."""
        return {
            "time": self.time,
            "capital": self.capital,
            "equity": self.equity,
            "cash": self.cash,
            "net_return": self.equity / self.capital - 1,
            "positions": self.positions,
            "control": self.control,
        }

    # -- what a venue makes of the orders -------------------------------------------------------

    def take(self, kind: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Do what an event of one of the kinds `VENUE` says; return the round trip it ended."""
        return venues.take(self, kind, body)

    def wishes(self) -> list[Wish]:
        """Return the orders that wait to be filled."""
        return venues.wishes(self._book, self.symbols)

    def book(self, fill: Fill) -> dict[str, Any] | None:
        """Take a venue's fill to the books; return the round trip that it ended, if it did.

        The next step tells of that round trip, too, as it does where the desk fills by itself.
        """
        lot = self._book.lots[self._codes[fill.symbol]]
        row = self._trades[0]
        if not venues.book_fill(self._book, lot, fill, row, self.rules.cooldown):
            return None
        self._ended.append(self.trade(row))
        return self._ended[-1]

    def settle(self, symbol: str) -> None:
        """Wait no longer for the order of a symbol, whatever came of it."""
        venues.settle(self._book.lots[self._codes[symbol]])

    def receive(self, symbol: str, amount: float) -> None:
        """Take funding to the books, in quote currency; below 0 it was paid."""
        venues.receive(self._book, self._book.lots[self._codes[symbol]], amount)

    def mark(self, symbol: str) -> float:
        """Return the last price known of a symbol."""
        return float(self._book.lots[self._codes[symbol]].mark)

    def size(self, symbol: str, notional: float, reference: float, price: float) -> float:
        """Return how much there is room for, in base currency; 0: for nothing."""
        step = float(self.venue.lot[self._codes[symbol]])
        purse, lots = self._book.purse[0], self._book.lots
        return float(quantity(purse, lots, notional, reference, price, step, self.rules))

    # -- funding as it becomes known ------------------------------------------------------------

    def extend(self, funding: Iterable[tuple[str, int, float]]) -> None:
        """Learn of funding: symbol, moment (us) and rate, as a fraction of a position's notional.

        Raises
        ------
        ValueError
            If a moment is not later than the last one known of its symbol, or than the last step:
            funding that was due cannot be paid afterwards.
        """
        venue = self.venue
        parts = [slice(*venue.first[s : s + 2]) for s in range(len(self.symbols))]
        moments = [venue.moment[part].tolist() for part in parts]
        rates = [venue.rate[part].tolist() for part in parts]
        for symbol, moment, rate in funding:
            s = self._codes[symbol]
            last = max([self.time, *moments[s][-1:]])
            if moment <= last:
                raise ValueError(f"desk: funding of {symbol} at {moment} us, not after {last} us")
            moments[s].append(moment)
            rates[s].append(rate)
        first = np.cumsum([0, *map(len, moments)])
        schedule = tuple(np.array([*chain.from_iterable(column)]) for column in (moments, rates))
        self._schedule((first, *schedule))

    # -- to JSON and back -----------------------------------------------------------------------

    def constants(self) -> dict[str, Any]:
        """Return all that the desk was made with, as JSON can say it; see `made_with`."""
        return {
            "rules": {name: said(value) for name, value in self.rules._asdict().items()},
            "venue": {name: array.tolist() for name, array in self.venue._asdict().items()},
            "symbols": list(self.symbols),
            "capital": self.capital,
            "dry_run": self.dry_run,
            **({"live": True} if self.live else {}),
        }

    @classmethod
    def made_with(cls, constants: Mapping[str, Any]) -> Desk:
        """Return a new desk as `constants` tells.

        Raises
        ------
        UserError
            If the rules have other numbers than this version's.
        """
        told = {name: heard(value) for name, value in constants["rules"].items()}
        if set(told) != set(Rules._fields):
            raise UserError(
                "desk: rules must have the numbers of this version, differing: "
                f"{sorted(set(told) ^ set(Rules._fields))}. Finish the run with the version that "
                "began it, or start a new one."
            )
        venue, symbols = constants["venue"], constants["symbols"]
        made = new_venue(
            len(symbols),
            lot=np.array(venue["lot"], np.float64),
            tick=np.array(venue["tick"], np.float64),
        )
        how = {"dry_run": constants["dry_run"], "live": constants.get("live", False)}
        desk = cls(Rules(**told), made, symbols, constants["capital"], **how)
        desk._schedule([venue[name] for name in _FUNDING])
        return desk

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state, exact to the bit, as JSON can say it."""
        return {
            "layout": layout(),
            "time": self.time,
            "purse": b64encode(self._book.purse.tobytes()).decode(),
            "lots": b64encode(self._book.lots.tobytes()).decode(),
            "funding": {name: getattr(self.venue, name).tolist() for name in _FUNDING},
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Become what a desk of the same constants was when it made `snapshot`.

        Raises
        ------
        UserError
            If the snapshot is of another layout of the account, or of another size.
        """
        if snapshot["layout"] != layout():
            raise UserError(
                f"desk: a snapshot must have this version's layout {layout()}, found "
                f"{snapshot['layout']}: the account's records have changed since. Finish the run "
                "with the version that began it, or start a new one."
            )
        purse = np.frombuffer(bytearray(b64decode(snapshot["purse"])), PURSE)
        lots = np.frombuffer(bytearray(b64decode(snapshot["lots"])), LOT)
        if len(purse) != 1 or len(lots) != len(self._book.lots):
            raise UserError(
                f"desk: a snapshot must hold {len(self._book.lots)} positions, found {len(lots)}: "
                "it is of other symbols or rules."
            )
        self.time, schedule, self._ended = snapshot["time"], snapshot["funding"], []
        self._book = Book(purse.view(np.recarray), lots.view(np.recarray))
        self._schedule([schedule[name] for name in _FUNDING])

    def _schedule(self, funding: Iterable[Any]) -> None:
        first, moment, rate = (np.array(column) for column in funding)
        steps = {"lot": self.venue.lot, "tick": self.venue.tick}
        self.venue = new_venue(len(self.symbols), **steps, funding=(first, moment, rate))


def layout() -> str:
    """Return the fingerprint of what an account's records are made of."""
    fields = [
        [name, str(dtype.fields[name][0]), dtype.fields[name][1]]
        for dtype in (PURSE, LOT)
        for name in dtype.names or ()
        if dtype.fields is not None
    ]
    return sha256(repr((fields, PURSE.itemsize, LOT.itemsize)).encode()).hexdigest()[:16]


__all__ = [
    "ACTIVE",
    "HALTED",
    "REDUCING",
    "VENUE",
    "Desk",
    "Fill",
    "Step",
    "Wish",
    "books",
    "layout",
]
