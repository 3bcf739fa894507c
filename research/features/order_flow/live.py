"""The features of `table.frame`, fed one event at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from research.features.order_flow.events import ofi_memory, ofi_rules, windowed_ofi
from research.features.order_flow.levels import (
    FADE,
    FLOWS,
    STOCKS,
    BookFlow,
    book_flow,
    book_memory,
)
from research.features.order_flow.prices import book_top
from research.features.order_flow.trades import taker_flow, taker_memory
from research.features.order_flow.windows import (
    HALF_LIFE,
    WINDOWS,
    label,
    window_memory,
    window_sum,
)
from research.steps import Streaming, streaming
from research.units import duration


class StreamingFeatures:
    """One symbol's order-flow features, live: hand it events in the order of their receipt.

    Each row equals that of `frame` over the same events, bit for bit. Trades and books before the
    first quote are passed over.

    Parameters
    ----------
    windows : sequence of timedelta or str
        Spans that flow is summed over.
    half_life : timedelta or str
        Of a value's weight in the mean and variance that z-scores are taken by.
    depth : int, optional
        Levels of a side of the books that will come; no book features if left out.

    Examples
    --------
    >>> live = StreamingFeatures(windows=("1 s",))
    >>> first = live.quote(0, 100.0, 9.0, 100.2, 5.0)
    >>> live.trade(700_000, 2.0, 1)
    >>> row = live.quote(1_000_000, 100.1, 1.0, 100.2, 3.0)
    >>> row["ofi_1s"], row["trade_flow_1s"], row["ofi_1s_z"]
    (3.0, 2.0, None)
    """

    def __init__(
        self,
        *,
        windows: Sequence[timedelta | str] = WINDOWS,
        half_life: timedelta | str = HALF_LIFE,
        depth: int | None = None,
    ) -> None:
        self._rules = {label(duration(w)): ofi_rules(w, half_life) for w in windows}
        self._depth = depth
        self.restart()

    def restart(self) -> None:
        """Forget all: after a gap, what happened in it is not known."""
        rules = self._rules.items()
        self._ofi = {name: streaming(windowed_ofi, ofi_memory(), rule) for name, rule in rules}
        self._delta = {name: _window(rule.window) for name, rule in rules}
        self._takers = {
            name: streaming(taker_flow, taker_memory(), rule.window) for name, rule in rules
        }
        self._stock: float | None = None
        self.restart_book()

    def restart_book(self) -> None:
        """Forget the books: from when one is not proven until the next that is."""
        rules = self._rules.items()
        self._levels = streaming(book_flow, book_memory(self._depth or 1), FADE)
        self._flows = {
            f"{flow}_{name}": (flow, _window(rule.window)) for flow in FLOWS for name, rule in rules
        }

    def trade(self, time_us: int, quantity: float, taker_side: int) -> None:
        """Take a trade: its time in microseconds, quantity, and 1 for a buyer or -1."""
        if self._stock is not None:
            for takers in self._takers.values():
                takers.update(time_us, float(quantity), float(taker_side))

    def book(self, time_us: int, levels: np.ndarray) -> None:
        """Take a proven book: its time in microseconds and levels of shape (2, depth, 2)."""
        if self._stock is not None:
            said = self._levels.update(time_us, np.ascontiguousarray(levels, float))
            for flow, window in self._flows.values():
                window.update(time_us, getattr(said, flow))

    def quote(
        self, time_us: int, bid: float, bid_quantity: float, ask: float, ask_quantity: float
    ) -> dict[str, float | None]:
        """Take a change of the best quotes and return the row; None where not yet known."""
        values = float(bid), float(bid_quantity), float(ask), float(ask_quantity)
        row = {name: float(x[0]) for name, x in book_top(tuple(map(_one, values))).items()}
        stock = row["depth_imbalance"]
        delta, self._stock = stock - (stock if self._stock is None else self._stock), stock
        for name in self._rules:
            said = self._ofi[name].update(time_us, *values)
            row |= {"ofi_event": said.event, f"ofi_{name}": said.ofi, f"ofi_{name}_z": said.z}
            row[f"ofi_{name}_momentum"] = said.momentum
            row[f"ofi_{name}_acceleration"] = said.acceleration
            row[f"depth_delta_{name}"] = self._delta[name].update(time_us, delta).sum
            took = self._takers[name].update(time_us, 0.0, 0.0)
            row |= {f"trade_imbalance_{name}": took.imbalance, f"trade_flow_{name}": took.flow}
        if self._depth is not None:
            row |= self._of_books(time_us)
        return {name: None if value != value else value for name, value in row.items()}

    def _of_books(self, time_us: int) -> dict[str, Any]:
        """Return what is known of books; a window without any yet has not begun."""
        said: BookFlow | None = self._levels.value
        if said is None:
            return dict.fromkeys((*STOCKS, *self._flows), np.nan)
        flows = {name: window.update(time_us, 0.0).sum for name, (_, window) in self._flows.items()}
        return {name: getattr(said, name) for name in STOCKS} | flows


def _one(value: float) -> np.ndarray:
    return np.array([value])


def _window(span: int) -> Streaming:
    return streaming(window_sum, window_memory(), span)
