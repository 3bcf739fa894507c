"""Orders that cannot double: their ids, the book they are kept in, the one way in which they leave.

What became of each is found again from the journal and from the venue, never by sending again.
"""

from research.orders.account import Account, Mode, Patience
from research.orders.book import Book, Booked, apply, fold
from research.orders.dead_man import DeadMan
from research.orders.events import Intent
from research.orders.ids import Owner, cid
from research.orders.life import Known
from research.orders.money import Holding
from research.orders.protect import Protector
from research.orders.reconcile import Difference, Report, accept, reconcile
from research.orders.sender import Sender, within

__all__ = [
    "Account",
    "Book",
    "Booked",
    "DeadMan",
    "Difference",
    "Holding",
    "Intent",
    "Known",
    "Mode",
    "Owner",
    "Patience",
    "Protector",
    "Report",
    "Sender",
    "accept",
    "apply",
    "cid",
    "fold",
    "reconcile",
    "within",
]
