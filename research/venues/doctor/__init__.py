"""Whether an account can be traded now, and what to do where it cannot.

Nothing is ordered, cancelled or set: all that is sent are questions.
"""

from __future__ import annotations

from research.venues.doctor.checks import Check, Wanted, examine
from research.venues.doctor.visit import Report, run

__all__ = ["Check", "Report", "Wanted", "examine", "run"]
