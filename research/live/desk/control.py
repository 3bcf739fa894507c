"""What a person or a guard asks of a book: to trade, to reduce, to halt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from research.trading import account
from research.trading.account import Book
from research.trading.rules.words import ACTIVE, HALTED, REDUCING


def set_state(book: Book, state: int) -> None:
    """Set a book's state of control, as a person or a guard; its next moment obeys.

    `REDUCING` and `HALTED` are latches: neither is eased but by `ACTIVE`, which takes back what
    limits have said, too, and measures them anew from the equity now.
    """
    if state not in (ACTIVE, REDUCING, HALTED):
        raise ValueError(f"desk: there is no state {state}")
    if state == ACTIVE:
        account.resume(book)
    else:
        account.command(book, max(state, int(book.purse[0].ordered)))


def obey(book: Book, control: Mapping[str, Any]) -> None:
    """Do what a ``control`` event says: what is ``degraded`` comes and goes, all else latches."""
    if "degraded" in control:
        account.degrade(book, control["degraded"])
    else:
        set_state(book, control.get("asked", control["state"]))
