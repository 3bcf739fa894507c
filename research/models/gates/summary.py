"""What a gate did over a whole walk, and whether chance would have done the same."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

FEWEST = 10
"""Slices that share no moment, below which nothing is concluded."""


def gate_summary(gates: pl.DataFrame) -> dict[str, Any]:
    """Say in numbers and one sentence what a gate did, and whether chance would have done it.

    Parameters
    ----------
    gates : pl.DataFrame
        As `GATES`; such as `out_of_sample` returns.

    Returns
    -------
    dict
        ``retrains`` (candidates judged: the first of each symbol is adopted unseen), ``adopted``,
        ``share``, ``null_sd``, ``null_pass`` (means; null where nothing was measured),
        ``independent`` (decisions whose slices share no moment; symbols judged at once count as
        one), ``low, high`` (95 % Wilson interval of the share on so many decisions), ``longest``
        (most candidates in a row that were turned away), ``last_adopted`` (time), ``sentence``.

    Examples
    --------
    >>> from research.models.gates import GATES
    >>> gate_summary(pl.DataFrame(schema=GATES))["sentence"]
    'No candidate was judged.'
    """
    judged = gates.filter(pl.col("rmse_in_force").is_not_null()).sort("time")
    adopted, retrains = judged.filter("adopted"), judged.height
    share = adopted.height / retrains if retrains else None
    independent = _apart(judged)
    low, high = (None, None) if share is None else _wilson(share, independent)
    found = {
        "retrains": retrains,
        "adopted": adopted.height,
        "share": share,
        "null_sd": judged["null_sd"].mean(),
        "null_pass": judged["null_pass"].mean(),
        "independent": independent,
        "low": low,
        "high": high,
        "longest": _longest(judged),
        "last_adopted": gates.filter("adopted")["time"].max(),
    }
    return {**found, "sentence": _sentence(found, stopped=bool(judged["stopped"].any()))}


def _sentence(found: dict[str, Any], *, stopped: bool) -> str:
    if not found["retrains"]:
        return "No candidate was judged."
    first = (
        f"The gate adopted {found['adopted']} of {found['retrains']} candidates "
        f"({found['share']:.0%}; at most {found['longest']} in a row turned away)"
    )
    chance = found["null_pass"]
    if chance is None:
        return f"{first}; its slices are too short to tell what chance would do."
    apart = (
        f"{first}; forecasts that know nothing would pass it {chance:.0%} of the time. "
        f"{found['independent']} slices share no moment: 95 % interval of its share "
        f"{found['low']:.0%} to {found['high']:.0%}"
    )
    if found["independent"] < FEWEST:
        return f"{apart}: too few to tell it from chance."
    if found["low"] <= chance <= found["high"]:
        return f"{apart}. That is what chance gives: it tells nothing apart."
    way = "more" if chance < found["low"] else "less"
    note = " (the same rows stopped its boosting, which flatters it)" if stopped else ""
    return f"{apart}. It adopts {way} often than chance{note if way == 'more' else ''}."


def _apart(judged: pl.DataFrame) -> int:
    """Count slices, oldest first, of which each begins where or after the one before ended."""
    count, end = 0, None
    for start, time in judged.select("slice_start", "time").iter_rows():
        if end is None or start >= end:
            count, end = count + 1, time
    return count


def _longest(judged: pl.DataFrame) -> int:
    longest: int = 0
    for _, mine in judged.group_by("symbol"):
        count = 0
        for adopted in mine["adopted"]:
            count = 0 if adopted else count + 1
            longest = max(longest, count)
    return longest


def _wilson(share: float, n: int) -> tuple[float, float]:
    z = 1.959963984540054
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)
