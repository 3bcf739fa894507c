"""A feature set under proof: its table as research builds it, its columns by the shortest way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research import features as room
from research.audit.certificate import bend
from research.audit.certificate.bend import Columns
from research.audit.certificate.views import View, view
from research.errors import UserError
from research.features import cross
from research.features.kernels import Made, evaluated, made_of


class OfSet:
    """A feature set: the table is `features.build`'s, a piece is evaluated in one pass."""

    def __init__(self, chosen: room.FeatureSet, interval: timedelta) -> None:
        self.set, self.interval = chosen, interval
        self.name, self.names = chosen.name, chosen.names
        self.sees_others: bool | None = bool(chosen.cross)
        roots = {r for f in chosen.columns.values() for r in f.expr.meta.root_names()}
        self.reads: set[str] | None = None if chosen.cross else roots
        self.can_leave = True
        self.reach: int | None = None
        with suppress(UserError):  # what never forgets has no anchored table
            back = room.lookback(chosen, interval=interval) + timedelta(days=1)
            self.reach = back // interval + 1
        self._exprs = chosen.exprs
        marks = {i: made_of(e) for i, e in enumerate(self._exprs)}
        own = set(bend.NUMBERS)  # what others did is laid beside the bars by another hand
        self._hearts = {i: made for i, made in marks.items() if made and made.names <= own}

    def whole(self, bars: pl.DataFrame) -> np.ndarray:
        """Build the table, filled where it is not settled."""
        every, rows = range(len(self.names)), np.arange(bars.height)
        if self.reach is None:
            return self.part(view(bars, self.reads), every, rows)
        built = room.build(bars, self.set, interval=self.interval)
        values = built.select(self.names).to_numpy(writable=True)
        # what is not settled is null there; it must not look ahead either
        unsettled = rows[np.isnan(values).any(axis=1)]
        if len(unsettled):
            values[unsettled] = self.part(view(bars, self.reads), every, unsettled)
        return values

    def part(self, piece: View, which: Sequence[int], rows: np.ndarray) -> np.ndarray:
        """Evaluate columns in one pass over each stretch; `rows` ascend."""
        values = np.empty((len(which), len(rows))).T  # a column's values stand together
        rest = [k for k, column in enumerate(which) if column not in self._hearts]
        exprs = [self._exprs[which[k]] for k in rest]
        others = cross.named_in(name for expr in exprs for name in expr.meta.root_names())
        table = cross.columns(piece.frame(), others) if rest else piece.bars
        for start, end in piece.stretches():
            inside = slice(*np.searchsorted(rows, (start, end)).tolist())
            here = rows[inside] - start
            if rest:
                values[inside, rest] = evaluated(table[start:end], exprs)[here].to_numpy()
            look = _Hearts({name: c[start:end] for name, c in piece.columns.items()}, end - start)
            for k, column in enumerate(which):
                if column in self._hearts:
                    values[inside, k] = look.of(self._hearts[column])[here]
        return values

    def fingerprint(self) -> str:
        """Return the set's."""
        return self.set.fingerprint()


class _Hearts:
    """What hearts make of some columns, each once: `kernels.evaluated` without its tables."""

    def __init__(self, columns: Columns, rows: int) -> None:
        self._columns, self._rows = columns, rows
        self._seen: dict[Any, np.ndarray] = {}

    def of(self, made: str | Made) -> np.ndarray:
        """Return the values of a heart, NaN where it has none."""
        if isinstance(made, str):
            return self._columns[made] if made in self._columns else np.full(self._rows, np.nan)
        found = self._seen.get(made.form)
        if found is None:
            found = self._seen[made.form] = self._made(made)
        return found

    def _made(self, made: Made) -> np.ndarray:
        arrays = [self.of(one) for one in made.inputs]
        if made.lookback is None:
            return np.asarray(made.heart(*arrays))
        values = np.empty(self._rows)
        values[: made.lookback] = np.nan
        if self._rows > made.lookback:
            values[made.lookback :] = made.heart(*arrays)
        return values
