"""Guards of the features: what comes later, and what other coins do, must not move a row."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np
import polars as pl

from research import features as feature_room
from research import pipeline
from research.audit.certificate import Certificate, certify
from research.audit.certificate.paper import example
from research.audit.guards.seen import Seen
from research.audit.guards.tables import KEY, first
from research.store import cards

CUTS = 8
"""Moments at which the bars are made to end."""
CERTIFIED = 1_200
"""Newest moments of one symbol at each of which the feature set is certified."""
_taken: dict[tuple[str, str], Certificate] = {}


def certificate(seen: Seen) -> Iterator[str]:
    """No feature of the set moves at any bar when the bars right after it change.

    The newest bars of one symbol are certified, of sets that look across those of all; the
    audit of causality takes them all. A certificate is taken once for a set and its bars.
    """
    if seen.bars.is_empty():
        return
    chosen, times = pipeline.feature_set(seen.study), seen.bars["time"].unique().sort()
    newest = seen.bars.filter(pl.col("time") >= times[-min(CERTIFIED, times.len())])
    most = newest["symbol"].value_counts().sort("count", "symbol", descending=True)["symbol"][0]
    bars = newest if chosen.cross else newest.filter(pl.col("symbol") == most)
    key = chosen.fingerprint(), cards.fingerprint(bars)
    if key not in _taken:
        _taken[key] = certify(chosen, bars, interval=seen.interval)
    found = _taken[key]
    if found.first is not None:
        yield example(found.first)
    for name, finding in found.guards.items():
        if finding["ok"] is False:
            yield f"certificate, {name}: {finding['note']}"


def later_bars(seen: Seen) -> Iterator[str]:
    """A row of features is the same, to the bit, when the bars end with it.

    Build the features of shortened bars and hold them against the run's, row by row.

    This is also batch against live: a live desk builds its newest row from bars that end there.
    """
    if seen.features.is_empty():
        return
    for last in _moments(seen):
        anew = _built(seen, seen.bars.filter(pl.col("time") <= last))
        stood = seen.features.filter(pl.col("time") <= last)
        yield from differing(stood, anew, f"when the bars end at {last:%Y-%m-%d %H:%M}Z")


def _moments(seen: Seen) -> list[datetime]:
    """Return times of bars: spread evenly, and soon after the first bar, where values begin."""
    times = seen.bars["time"].unique().sort()
    warmup = feature_room.warmup(pipeline.feature_set(seen.study), interval=seen.interval)
    soon = min(max(warmup // 2, 2), times.len() - 1)
    even = np.linspace(times.len() // 4, times.len() - 2, CUTS).astype(int)
    return [times[int(i)] for i in sorted({soon, *even.tolist()})]


def _built(seen: Seen, bars: pl.DataFrame) -> pl.DataFrame:
    return feature_room.build(bars, pipeline.feature_set(seen.study), interval=seen.interval)


def differing(stood: pl.DataFrame, anew: pl.DataFrame, when: str) -> Iterator[str]:
    """Say where two feature tables of the same rows part."""
    if stood.columns != anew.columns:
        lost = sorted(set(stood.columns) ^ set(anew.columns))
        yield f"features: other columns {when}: {', '.join(lost[:6])}"
        return
    if stood.height != anew.height:
        yield f"features: {stood.height} rows become {anew.height} {when}"
        return
    for name in stood.columns[2:]:
        moved = stood[name].ne_missing(anew[name])
        if moved.any():
            pair = stood.select(*KEY, was=name).with_columns(now=anew[name]).filter(moved)
            line = f"feature {name} of {{symbol}} {{time}}: {{was}} becomes {{now}} {when}"
            yield from first(pair, line)


def other_coins(seen: Seen) -> Iterator[str]:
    """A row of features is the same, to the bit, whatever other coins did.

    Build each symbol's features without the others; of sets that look across, nothing is said.
    """
    if seen.features.is_empty() or pipeline.feature_set(seen.study).cross:
        return
    for symbol in seen.bars["symbol"].unique().sort().to_list():
        alone = _built(seen, seen.bars.filter(pl.col("symbol") == symbol))
        stood = seen.features.filter(pl.col("symbol") == symbol)
        yield from differing(stood, alone, "without the other coins")
