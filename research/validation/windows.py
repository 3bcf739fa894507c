"""Stretches of time in which all of a training row must lie: its forecast and its answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from operator import or_
from typing import NamedTuple

import polars as pl

from research.errors import UserError

ZERO = timedelta(0)


class Span(NamedTuple):
    """From `start` up to, not including, `end`; UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Windows:
    """Where a fold may learn.

    Attributes
    ----------
    spans : tuple of Span
        In time order, apart from one another. A row trains if its ``start <= time`` and its
        ``known_at < end`` in one of them; one that reaches from a span into the next does not.
    embargo : timedelta
        Kept free between two parts of the windows, see `inner`.
    """

    spans: tuple[Span, ...]
    embargo: timedelta

    def hold(self, table: pl.DataFrame) -> pl.Series:
        """Tell which rows may train; a null `known_at` never does. Never null."""
        time, known = table["time"], table["known_at"]
        inside = [((time >= start) & (known < end)).fill_null(False) for start, end in self.spans]
        return reduce(or_, inside, pl.repeat(False, table.height, eager=True)).alias("train")

    def inner(self, share: float) -> tuple[Windows, Windows]:
        """Part the windows: those to fit on, and the newest `share` of their length.

        Returns
        -------
        fit, newest : Windows
            An answer of the first is known an embargo before the second begins.

        Raises
        ------
        UserError
            If `share` is not between 0 and 1.
        """
        if not 0 < share < 1:
            raise UserError(f"validation: inner must be a share between 0 and 1, found {share}.")
        tail = self.tail(share)
        before = (Span(start, min(end, tail - self.embargo)) for start, end in self.spans)
        after = (Span(max(start, tail), end) for start, end in self.spans)
        return self._of(*before), self._of(*after)

    def tail(self, share: float) -> datetime:
        """Return the moment from which on lies the newest `share` of the windows' length."""
        left = sum((end - start for start, end in self.spans), ZERO) * share
        for start, end in reversed(self.spans):
            if left <= end - start:
                return end - left
            left -= end - start
        return datetime.max.replace(tzinfo=UTC)

    def _of(self, *spans: Span) -> Windows:
        return Windows(tuple(span for span in spans if span.start < span.end), self.embargo)


def between(time: pl.Series, span: Span) -> pl.Series:
    """Tell which moments lie in the span."""
    return (time >= span.start) & (time < span.end)


def utc(moment: datetime, name: str) -> datetime:
    """Return `moment` in UTC, or say that it has no time zone."""
    if moment.tzinfo is None:
        raise UserError(f"validation: {name} must have a time zone, found {moment}. Say UTC.")
    return moment.astimezone(UTC)


def stamp(moment: datetime) -> str:
    """Write a moment, such as ``2025-05-18T00:00Z``."""
    whole = not (moment.second or moment.microsecond)
    return moment.strftime("%Y-%m-%dT%H:%MZ" if whole else "%Y-%m-%dT%H:%M:%S.%fZ")
