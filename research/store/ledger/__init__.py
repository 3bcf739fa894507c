"""The trial ledger: every configuration that was tried on some data, before and after it worked.

A result that was picked among a hundred tries is worth less than one that was tried once, so the
count stands beside every result and goes into the verdict. In ``data/ledger/trials.jsonl`` rows are
added and never changed, each is bound to the one before it, and what is made carries the ledger's
head, so that a ledger that was shortened or rewritten is refused. Whoever deletes all of data and
reports begins anew; nothing on one machine can prevent that.

>>> with exploring("wider stops"):
...     noted()
'wider stops'
"""

from research.store.ledger.tables import table, text
from research.store.ledger.trials import (
    Begun,
    Known,
    begin,
    count,
    exploring,
    head,
    known,
    noted,
    part_of,
)

__all__ = [
    "Begun",
    "Known",
    "begin",
    "count",
    "exploring",
    "head",
    "known",
    "noted",
    "part_of",
    "table",
    "text",
]
