"""What a desk says of a moment, and its numbers as JSON takes them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from research.trading.journal import FLOW


class Step(NamedTuple):
    """What one moment came to."""

    reasons: tuple[str, ...]
    """One of `trading.rules.REASONS` for each row, in the order of the rows."""
    positions: tuple[float, ...]
    """Held after it, in base currency; above 0 long."""
    equity: float
    """In quote currency, at the closes."""
    trades: list[dict[str, Any]]
    """Round trips that ended, as records of `trading.account.TRADE` with symbol and reasons by
    name."""
    flow: dict[str, float]
    """Fees, slippage, funding and notional traded since the moment before; empty: none."""


def flows(row: Any) -> dict[str, float]:
    """Return a record of `trading.journal.FLOW` by name."""
    return {name: row[name].item() for name in FLOW.names or () if name != "moment"}


def said(value: Any) -> Any:
    """Return a number as JSON can say it: it has no infinity, so that goes as a word."""
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def heard(value: Any) -> Any:
    """Return what was `said`."""
    return float(value) if isinstance(value, str) else value
