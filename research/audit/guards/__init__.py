"""Guards: laws of the pipeline as functions over what a study's run left behind.

A guard trusts the study's words and the source's raw rows, recounts on its own what a stage should
have made of the stage before, and raises an alarm where the two part. Where a recount would be the
pipeline over again, it lets the pipeline work once more without what may not matter (later bars,
other coins, rows that a fold may not see) and asks for the very same bytes.
"""

from research.audit.guards.alarms import GUARDS, Alarm, alarms, law
from research.audit.guards.seen import Seen, look

__all__ = ["GUARDS", "Alarm", "Seen", "alarms", "law", "look"]
