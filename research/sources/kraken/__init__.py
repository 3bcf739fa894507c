"""Kraken spot: the newest 720 bars by REST, polled as often as somebody wants no gap.

Older bars come from the OHLCVT files that Kraken publishes ("Downloadable historical OHLCVT"):
unpack the zip and name it in ``data.path`` of a study whose ``data.source`` is ``files``, which
reads ``XBTUSD_60.csv`` as it is.
"""

from research.sources.kraken.account import Account, Told
from research.sources.kraken.job import download, history

__all__ = ["Account", "Told", "download", "history"]
