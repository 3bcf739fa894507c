"""Where published numbers came from: each source's method rebuilt, and its leaks taken away.

A table has one row per step: what was removed, the number that is then left, and whether it is one.
The first row is the kind of number that was claimed, the last an honest one: out of sample, after
costs, with its interval and the number of trials. What stands between is no result.

On a market in which nothing can be known, whatever a first row shows is the leaks' alone.

>>> from research.audit import autopsy
>>> sorted(autopsy.SOURCES)
['S1', 'S2', 'S3', 'S4']
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from research.audit.autopsy.differences import differenced
from research.audit.autopsy.ledgers import revalued
from research.audit.autopsy.order_flow import s3
from research.audit.autopsy.quantiles import multiple, s2
from research.audit.autopsy.rolling_bot import s1
from research.audit.autopsy.steps import COLUMNS
from research.audit.autopsy.trend import s4
from research.errors import UserError, nearest

SOURCES: dict[str, Callable[..., pl.DataFrame]] = {"S1": s1, "S2": s2, "S3": s3, "S4": s4}

__all__ = [
    "COLUMNS",
    "SOURCES",
    "differenced",
    "multiple",
    "revalued",
    "run",
    "s1",
    "s2",
    "s3",
    "s4",
    "text",
]


def run(name: str, bars: Any = None, **how: Any) -> dict[str, Any]:
    """Take one source apart.

    Parameters
    ----------
    name : {"S1", "S2", "S3", "S4"}
        The source.
    bars, **how
        As the function of that name takes them.

    Returns
    -------
    dict
        JSON values: ``source``, ``market`` (the symbol), ``claimed`` and ``honest`` (the first and
        the last row), ``rows`` (all of them).

    Raises
    ------
    UserError
        If there is no such source.
    """
    chosen = name.upper()
    if chosen not in SOURCES:
        raise UserError(
            f"autopsy: no source {name!r}.{nearest(chosen, list(SOURCES))} "
            f"Here: {', '.join(SOURCES)}."
        )
    table = SOURCES[chosen](bars, **how)
    rows = table.to_dicts()
    market = "a market without an edge" if bars is None else str(bars["symbol"][0])
    found = {"source": chosen, "market": market, "rows": rows}
    return {**found, "claimed": rows[0], "honest": rows[-1]}


def text(found: dict[str, Any]) -> str:
    """Return what a terminal shows of `run`'s result."""
    rows = found["rows"]
    lines = [f"{found['source']} on {found['market']}, {rows[0]['unit']}"]
    return "\n".join([*lines, *(_line(row) for row in rows)])


def _line(row: dict[str, Any]) -> str:
    number = "-" if row["number"] is None else f"{row['number']:+.2f}"
    known = row["low"] is not None
    ends = f"[{row['low']:+.2f}, {row['high']:+.2f}]" if known else ""
    what = row["removed"] if row["step"] == 1 else f"without: {row['removed']}"
    said = row["says"] + (f", {row['trials']} trials" if row["honest"] else "")
    return f"{row['step']:2d} {number:>9} {ends:20} {what} ({said})"
