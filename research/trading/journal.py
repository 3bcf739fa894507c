"""What goes into the desk's loop and what it writes down: bars, journal, trades, the result."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from research.steps import compiled
from research.trading.account import TRADE

CHUNK = 16_384
"""Trades and flows that a scan may write before it hands them back."""

FLOW = np.dtype(
    [
        ("moment", "i8"),  # number of the time, from 0
        ("fees", "f8"),
        ("slippage", "f8"),
        ("funding", "f8"),
        ("traded", "f8"),
    ],
    align=True,
)
"""What was paid and traded at one time, written only where there was something."""


class Bars(NamedTuple):
    """Bars and forecasts as columns, sorted by (time, symbol); each of shape (n_events,)."""

    time: np.ndarray
    """int64 microseconds since 1970 UTC: the close, when the row became known."""
    opened: np.ndarray
    """When the bar opened, likewise; below `time`."""
    symbol: np.ndarray
    """int64 from 0 to n_symbols - 1."""
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    forecast: np.ndarray
    """Expected simple return, or signed probability (see `rules.probability`); NaN: not known."""
    bin: np.ndarray
    """int64 quantile bin from 1; 0: not known."""
    sigma: np.ndarray
    """Volatility of one bar's simple return, known at the close; not above 0: not known."""
    half_spread: np.ndarray
    """Paid by a fill inside the bar, as a fraction of price."""
    impact: np.ndarray
    """Likewise, ``impact * sqrt(notional)``."""
    levels: Any = None
    """Shape (n_events, 2, depth, 2): the book that stood when an order is filled in the bar, see
    `depth`; zeros: none is known, and nothing is filled. None: fills walk no books."""


def part(bars: Bars, rows: Any) -> Bars:
    """Return some rows of bars, as an index or a slice says."""
    levels = None if bars.levels is None else bars.levels[rows]
    return Bars(*(column[rows] for column in bars[:-1]))._replace(levels=levels)


class Trades(NamedTuple):
    """Round trips from flat to flat, in the order in which they closed; money in quote currency."""

    symbol: np.ndarray
    side: np.ndarray
    """1 long, -1 short."""
    entry_time: np.ndarray
    """Of an order: the open of its bar, or when it arrived in it. Of an exit inside a bar: the
    close, when it became known."""
    exit_time: np.ndarray
    entry_price: np.ndarray
    """Averages, with spread and slippage in them."""
    exit_price: np.ndarray
    quantity: np.ndarray
    """In base currency, above 0."""
    gross: np.ndarray
    """At prices without spread and slippage; ``net = gross - fees - slippage - funding``."""
    fees: np.ndarray
    slippage: np.ndarray
    funding: np.ndarray
    net: np.ndarray
    entry_reason: np.ndarray
    """Codes, see `rules.REASONS`."""
    exit_reason: np.ndarray


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run; times in microseconds since 1970 UTC, money in quote currency."""

    capital: float
    reasons: np.ndarray
    """int8, shape (n_events,): code of the one reason of each bar, see `rules.REASONS`."""
    position: np.ndarray
    """Shape (n_events,): held of the symbol after the bar, in base currency; above 0 long."""
    equity: np.ndarray
    """Shape (n_times,): net, at the closes; the last after closing what was open."""
    trades: Trades
    """Arrays of shape (n_trades,)."""
    flows: np.ndarray
    """Records of `FLOW`, where something was paid or traded."""
    bars: Bars
    """What was played."""

    @property
    def time(self) -> np.ndarray:
        """Distinct times, int64, shape (n_times,)."""
        return self.bars.time[np.diff(self.bars.time, prepend=self.bars.time[:1] - 1) > 0]

    @property
    def fees(self) -> np.ndarray:
        """Fees paid after the time before, up to this one; shape (n_times,)."""
        return self._per_time("fees")

    @property
    def slippage(self) -> np.ndarray:
        """Cost of half-spread and slippage, likewise."""
        return self._per_time("slippage")

    @property
    def funding(self) -> np.ndarray:
        """Funding paid, likewise; below 0 received."""
        return self._per_time("funding")

    @property
    def traded(self) -> np.ndarray:
        """Notional bought and sold, likewise."""
        return self._per_time("traded")

    @property
    def exposure(self) -> np.ndarray:
        """What is held of each symbol at its last close, long or short, added up; (n_times,)."""
        worth, found = np.zeros(self.bars.symbol.max(initial=0) + 1), np.zeros(len(self.equity))
        _exposures(self.bars, self.position, worth, found)
        return found

    def _per_time(self, name: str) -> np.ndarray:
        return np.bincount(self.flows["moment"], self.flows[name], len(self.equity))


class Journal(NamedTuple):
    """What the loop writes down."""

    reason: np.ndarray
    """int8 per event, see `Result`, as the next two."""
    position: np.ndarray
    equity: np.ndarray
    trades: np.recarray
    """Room for records of `account.TRADE`."""
    flows: np.recarray
    """Room for records of `FLOW`."""


def new_journal(n_events: int, n_times: int, n_lots: int) -> Journal:
    """Return an empty journal for so many events, moments and positions at once."""
    reasons, positions = np.full(n_events, -1, np.int8), np.empty(n_events)
    trades, flows = np.empty(2 * n_lots + CHUNK, TRADE), np.empty(1 + CHUNK, FLOW)
    room = trades.view(np.recarray), flows.view(np.recarray)
    return Journal(reasons, positions, np.empty(n_times), *room)


@compiled
def _exposures(bars: Bars, position: np.ndarray, worth: np.ndarray, found: np.ndarray) -> None:
    """Add up ``abs(position * close)`` per moment, each symbol's as it last was (`worth`)."""
    t, last = 0, len(position) - 1
    for k in range(len(position)):
        worth[bars.symbol[k]] = abs(position[k] * bars.close[k])
        if k == last or bars.time[k + 1] > bars.time[k]:
            found[t] = worth.sum()
            t += 1
