"""Recordings as studies use them: bars of their trades, order flow beside them, their numbers."""

from research.order_flow.candles import bars
from research.order_flow.measured import flow, measure

__all__ = ["bars", "flow", "measure"]
