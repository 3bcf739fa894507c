"""Order books from recorded or live messages: rebuilt at full depth, with proof and its gaps."""

from research.order_book.building import Builder, Built, build, build_all
from research.order_book.clocks import clock_drift, clock_offset
from research.order_book.ledger import coverage, inside
from research.order_book.moments import Instant, Whole, at, whole
from research.order_book.quotes import Agreement, agreement

__all__ = [
    "Agreement",
    "Builder",
    "Built",
    "Instant",
    "Whole",
    "agreement",
    "at",
    "build",
    "build_all",
    "clock_drift",
    "clock_offset",
    "coverage",
    "inside",
    "whole",
]
