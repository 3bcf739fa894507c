"""Polygon (now Massive): crypto minute bars from daily flat files, with an account of the work.

`download` (or ``await history(...)``) fetches what is missing from the S3-compatible store; `read`
reads files that lie on disk already. It is spot, in USD, from several venues together: not
Binance, and no futures. A minute without trades has no row.
"""

from research.sources.polygon.account import Account, Day
from research.sources.polygon.flat import fingerprint, read, symbol
from research.sources.polygon.job import download, history
from research.sources.polygon.signing import Credentials, credentials

__all__ = [
    "Account",
    "Credentials",
    "Day",
    "credentials",
    "download",
    "fingerprint",
    "history",
    "read",
    "symbol",
]
