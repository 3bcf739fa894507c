"""Binance: bars from its public archive and its REST klines, with an account of what was done.

`download` (or ``await history(...)``) asks for what is missing, verifies what it gets and hands it
month by month to the store it is given.
"""

from research.sources.binance.account import Account, Difference, Hole, Month
from research.sources.binance.job import download, history
from research.sources.binance.net import Pace

__all__ = ["Account", "Difference", "Hole", "Month", "Pace", "download", "history"]
