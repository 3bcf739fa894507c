"""The book at any instant: its best levels from states, or the whole of it from messages."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from research.order_book import chain
from research.order_book.building import Built, columns
from research.order_book.core import Core, part
from research.order_book.ledger import SILENCE_NS

Clock = Literal["time", "received"]


class Instant(NamedTuple):
    """Books at moments; arrays of shape (n,), or single values for a single moment."""

    levels: np.ndarray
    """Shape (n, 2, depth, 2); zeros where no book had been heard of."""
    age_us: np.ndarray
    """Microseconds since the book last changed; -1 where there is none."""
    proven: np.ndarray
    """Whether the book was proven, and no longer silent than 10 s."""


class Whole(NamedTuple):
    """A book at full depth, best first; arrays of shape (n, 2): price and quantity."""

    bids: np.ndarray
    asks: np.ndarray
    age_us: int
    proven: bool


def at(built: Built, moment: datetime | int | np.ndarray, *, by: Clock = "time") -> Instant:
    """Return the newest book at each moment.

    Parameters
    ----------
    built : Built
        Of one symbol.
    moment : datetime, int or np.ndarray of int64, shape (n,)
        Microseconds since 1970 UTC, or a time with its zone.
    by : str
        ``time`` for the venue's clock, ``received`` for the recorder's.

    Returns
    -------
    Instant

    Notes
    -----
    A state stands from its own moment on. `proven` is what was known at the moment: where a later
    message shows that one was missing, the span since is a gap (`Built.gaps`) all the same.
    """
    moments = np.atleast_1d(_microseconds(moment))
    times = _clock(built, by)
    place = np.searchsorted(times, moments, side="right") - 1
    found, place = place >= 0, np.maximum(place, 0)
    levels = np.zeros((len(moments), *built.levels.shape[1:]))
    age, proven = np.full(len(moments), -1), np.zeros(len(moments), bool)
    if len(times):
        levels[found] = built.levels[place[found]]
        age[found] = (moments - times[place])[found]
        proven[found] = (built.proven[place] & (age * 1000 <= SILENCE_NS))[found]
    if not isinstance(moment, np.ndarray):
        return Instant(levels[0], age[0], proven[0])
    return Instant(levels, age, proven)


def whole(
    messages: pl.DataFrame,
    levels: pl.DataFrame,
    moment: datetime | int,
    *,
    venue: str,
    market: str,
    by: Clock = "time",
) -> Whole:
    """Return one symbol's book at full depth as it stood at a moment.

    Parameters
    ----------
    messages, levels : pl.DataFrame
        As for `build`, from a snapshot before the moment on.
    moment, by
        As for `at`.
    venue, market : str
        As for `build`.

    Returns
    -------
    Whole
        Empty, unproven and of age -1 where nothing was heard by then.
    """
    heard, core, when = columns(messages, levels), Core(chain.rules(venue, market), 1), 0
    times = heard.received_ns // 1000 if by == "received" else np.maximum.accumulate(heard.time)
    end = int(np.searchsorted(times, _microseconds(moment), side="right"))
    if end:
        found = core.take(part(heard, 0, end))
        changed = np.flatnonzero(found.done < chain.OLD)
        when = int(times[changed[-1]]) if len(changed) else 0
    age = int(_microseconds(moment)) - when if end else -1
    return Whole(*core.sides(), age, core.proven and age * 1000 <= SILENCE_NS)


def _clock(built: Built, by: Clock) -> np.ndarray:
    if by == "received":
        return built.received_ns // 1000
    # a venue's stamps may step back by a hair; what was heard stays heard
    return np.maximum.accumulate(built.time_us)


def _microseconds(moment: datetime | int | np.ndarray) -> np.ndarray:
    if isinstance(moment, datetime):
        return np.asarray(pl.Series([moment]).dt.epoch("us")[0], np.int64)
    return np.asarray(moment, np.int64)
