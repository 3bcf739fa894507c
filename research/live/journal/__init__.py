"""The journal of a run: what happened, in order, durable before anything follows from it.

One SQLite file per run, written by one process and read by any. Each event carries the hash of all
before it, so damage anywhere is seen when the journal is next opened, and is never passed over.
"""

from research.live.journal.chain import Event, JournalError, canonical
from research.live.journal.mend import Repaired, repair, verify
from research.live.journal.reader import decisions, read
from research.live.journal.writer import Journal

__all__ = [
    "Event",
    "Journal",
    "JournalError",
    "Repaired",
    "canonical",
    "decisions",
    "read",
    "repair",
    "verify",
]
