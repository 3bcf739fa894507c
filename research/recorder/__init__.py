"""The recorder: order books and trades as a venue sends them, and an account of what is missing.

``record(...)`` for scripts and commands, ``await capture(...)`` in a notebook. Frames are kept as
received in segments that survive a kill, then as Parquet; `research.sources.recordings` reads both.
"""

from research.recorder.parquet import convert
from research.recorder.session import RecordingStopped, capture, record
from research.recorder.stats import Statistics
from research.recorder.venues import VENUES, venue

__all__ = ["VENUES", "RecordingStopped", "Statistics", "capture", "convert", "record", "venue"]
