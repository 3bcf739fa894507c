"""Guards beside the search: far look-ahead, live rows, other symbols, gaps, and times."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research import features as room
from research import schema
from research.audit.certificate import bend
from research.audit.certificate.chunk import Bars, differ
from research.audit.certificate.ofset import OfSet
from research.audit.certificate.stride import Watch
from research.audit.certificate.views import Subject, view

CUTS = 24
_KINDS = ("raised", "removed", "lowered")
_AT_ONCE = 8  # columns of a set evaluated together, more where they are short: memory
_VALUES = 12_000_000
_LIVE = 24
_SAMPLE = 6_000  # moments of the pieces in which symbols and gaps are tried
_GAP = 7
Guard = dict[str, Any]


class Cuts:
    """Full-history cuts: at some moments all later bars are changed, or gone."""

    def __init__(self, subject: Subject, bars: Bars, seed: int, watch: Watch | None) -> None:
        width, single = len(subject.names), isinstance(subject, OfSet)
        self.compared = np.zeros(width, np.int64)
        self.moved = np.zeros(width, bool)
        self.first: dict[int, tuple[int, str]] = {}
        share = np.linspace(0.1, 1.0, CUTS)
        cuts = np.unique((share * (bars.moments - 2)).astype(int))
        self.number = len(cuts)
        size = max(_AT_ONCE, _VALUES // bars.bars.height)
        groups = [list(range(i, min(i + size, width))) for i in range(0, width, size)]
        for k, columns in enumerate(groups if single else [list(range(width))]):
            self._group(subject, bars, columns, cuts.tolist(), seed)
            if watch:
                watch(k, len(groups), "full-history cuts")

    def _group(
        self, subject: Subject, bars: Bars, columns: list[int], cuts: list[int], seed: int
    ) -> None:
        every = np.arange(bars.bars.height)
        clean = subject.part(view(bars.bars, subject.reads), columns, every)

        def one(job: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, str]:
            k, cut = job
            kind, later = _KINDS[k % len(_KINDS)], bars.at > cut
            changed = bend.after(bars.bars, later, kind, (seed, cut))
            kept = ~later if kind == "removed" else np.ones(len(later), bool)
            rows = np.arange(changed.height)
            values = subject.part(view(changed, subject.reads), columns, rows)
            return np.flatnonzero(kept), differ(values, clean[kept], np.zeros(1)), kind

        with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
            for cut, (kept, wrong, kind) in zip(cuts, pool.map(one, enumerate(cuts))):
                past = bars.at[kept] <= cut
                self.compared[columns] += int(past.sum())
                self.moved[columns] |= wrong[~past].any(axis=0)
                for i, column in enumerate(columns):
                    bad = kept[wrong[:, i] & past]
                    if len(bad) and column not in self.first:
                        self.first[column] = int(bad[np.argmax(bars.at[bad])]), kind


def streaming(subject: OfSet, bars: Bars, seed: int) -> Guard:
    """Hold live rows against the table's: the newest row of bars that end there."""
    rng = np.random.default_rng(seed)
    chosen = np.unique(np.append(rng.integers(0, bars.moments, _LIVE), bars.moments - 1))
    compared, wrong = 0, []
    for at in chosen.tolist():
        rows = bars.rows(max(at - (subject.reach or 0), 0), at + 1)
        live = room.latest(bars.bars[rows], subject.set, interval=subject.interval)
        now = rows[bars.at[rows] == at]
        stood = bars.bars[now].select(schema.KEY).with_row_index("row")
        pairs = stood.join(live, on=schema.KEY, how="inner").drop_nulls(subject.names)
        values = pairs.select(subject.names).to_numpy()
        differs = differ(values, bars.table[now[pairs["row"].to_numpy()]], np.zeros(1))
        compared += pairs.height
        wrong += [schema.at(pairs, pl.Series(differs.any(axis=1)))] if differs.any() else []
    if wrong:
        return guard(False, compared, f"live rows differ from the table's, first {wrong[0]}")
    if not compared:
        return guard(None, 0, "no settled row to compare")
    return guard(True, compared, f"{compared} live rows equal the table's, bit for bit")


def isolation(subject: Subject, bars: Bars, seed: int) -> Guard:
    """Change every bar of all other symbols and see whether a symbol's values stay."""
    last = bars.moments
    rows = bars.rows(max(last - _SAMPLE, 0), last)
    piece = bars.bars[rows]
    symbols = piece["symbol"].unique(maintain_order=True).to_list()
    if len(symbols) == 1:
        return guard(None, 0, "one symbol alone: nothing to be kept apart")
    every, columns = np.arange(piece.height), list(range(len(subject.names)))
    clean = subject.part(view(piece, subject.reads), columns, every)
    moved: set[str] = set()
    compared = 0
    for symbol in symbols[:3]:
        others = (piece["symbol"] != symbol).to_numpy()
        values = subject.part(
            view(bend.after(piece, others, "raised", (seed,)), subject.reads), columns, every
        )
        wrong = differ(values, clean, np.zeros(1))[~others]
        compared += wrong.size
        moved |= {subject.names[i] for i in np.flatnonzero(wrong.any(axis=0))}
    if not moved:
        return guard(True, compared, "no value moves with another symbol's")
    said = ", ".join(sorted(moved))
    if subject.sees_others is False:
        return guard(False, compared, f"moved by other symbols: {said}")
    return guard(True, compared, f"look at other symbols as well: {said}")


def gaps(subject: Subject, bars: Bars) -> Guard:
    """Take bars away and see whether what follows begins anew."""
    rows = bars.rows(max(bars.moments - _SAMPLE, 0), bars.moments)
    at = bars.at[rows]
    hole = int(np.median(at))
    before, after = at < hole, at >= hole + _GAP
    torn = bars.bars[rows[before | after]]
    alone = bars.bars[rows[after]]
    values, fresh = subject.whole(torn)[after[before | after]], subject.whole(alone)
    wrong = np.atleast_1d(differ(values, fresh, np.zeros(1)).any(axis=0))
    said = ", ".join(name for name, bad in zip(subject.names, wrong.tolist()) if bad)
    if not wrong.any():
        return guard(True, values.size, "a gap restarts a symbol")
    ok = False if isinstance(subject, OfSet) else None
    return guard(ok, values.size, f"values after a gap know bars before it: {said}")


def availability(bars: Bars, interval: timedelta) -> Guard:
    """Check that a row's time is the close of its bar."""
    table = bars.bars
    early = table["time"] < table["open_time"] + interval
    if "parts" in table.columns:
        early = table["time"] <= table["open_time"]
    if early.any():
        return guard(False, table.height, f"a row before its close: {schema.at(table, early)}")
    return guard(True, table.height, "each row's time is the close of its bar")


def guard(ok: bool | None, compared: int, note: str) -> Guard:
    """Return a finding: whether it holds (None: nothing to say), of how much, in words."""
    return {"ok": ok, "compared": compared, "note": note}
