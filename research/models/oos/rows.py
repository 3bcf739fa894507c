"""Which rows a fold fits on, stops early on, judges on and forecasts, by binary search on time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.models import gates

LIMIT = 3.0
"""Scaled targets are cut at this many standard deviations of the horizon's return.

Chosen out of sample at 10 minutes on two USD-M symbols of 2023-08 to 11, paired by day against no
limit: rank IC of ridge +0.015 (s.e. 0.003), at 5 +0.009; of LightGBM +0.017 (0.004). Four symbols
of 2025-05 to 06 were looked at too and agree for ridge (+0.011), not for LightGBM (-0.004), so a
result on those months is not quite untouched by this choice. It makes forecasts a few percent
smaller, for the cut moves are missing from their mean.
"""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class Span(Protocol):
    """From `start` up to, not including, `end`."""

    @property
    def start(self) -> datetime:
        """First moment."""
        ...

    @property
    def end(self) -> datetime:
        """First moment after it."""
        ...


class Windows(Protocol):
    """Where a fold learns: in one of the spans lies all of a row, from `time` to `known_at`."""

    @property
    def spans(self) -> Sequence[Span]:
        """In time order, apart from one another."""
        ...

    def tail(self, share: float) -> datetime:
        """Return the moment from which on lies the newest `share`."""
        ...

    def inner(self, share: float) -> tuple[Windows, Windows]:
        """Part them into those to fit on and the newest `share`, an embargo between."""
        ...


class Fold(Protocol):
    """What a fold must tell: its four moments and its name, where it learns and what it tests."""

    @property
    def name(self) -> str:
        """Start of the test window as text."""
        ...

    @property
    def train_start(self) -> datetime:
        """First moment of training."""
        ...

    @property
    def train_end(self) -> datetime:
        """Training rows are known before this."""
        ...

    @property
    def test_start(self) -> datetime:
        """First moment of the test; what lies between it and `train_end` is the embargo."""
        ...

    @property
    def test_end(self) -> datetime:
        """The test's rows lie before this."""
        ...

    @property
    def spans(self) -> Sequence[Span]:
        """What is tested, in time order."""
        ...

    def windows(self, table: pl.DataFrame) -> Windows:
        """Return where it learns, with ``time`` and ``known_at`` of all rows."""
        ...


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows with known features, sorted by symbol and time.

    `key` holds names and outcomes, `X` the model's inputs, `target` what is learnt in return units
    over `scale`, `taught` what a fit is given (the target, or the class), `learnable` which rows
    have that.
    """

    key: pl.DataFrame
    X: pl.DataFrame
    scale: np.ndarray
    target: np.ndarray
    taught: np.ndarray
    learnable: np.ndarray

    @classmethod
    def join(
        cls,
        features: pl.DataFrame,
        labels: pl.DataFrame,
        columns: list[str],
        *,
        horizon_bars: int,
        target: str,
        classes: bool,
    ) -> Rows:
        """Put each row's outcome beside its features and scale it."""
        if target not in ("scaled", "raw"):
            raise UserError(f"models: target must be 'scaled' or 'raw', found {target!r}.")
        kind = {"symbol": pl.String, "time": schema.TIME, "sigma": pl.Float64}
        schema.check(features, kind | dict.fromkeys(columns, pl.Float64), "features")
        known = known_rows(features, columns)
        key = known.select("symbol", "time", "sigma").join(
            _outcomes(labels, classes), on=schema.KEY, how="left", maintain_order="left"
        )
        scale = scale_of(known["sigma"].to_numpy(), target, horizon_bars)
        learnable = key["y"].is_not_null().to_numpy() & (scale > 0)
        y = np.divide(key["y"].to_numpy(), scale, out=np.zeros(len(key)), where=scale > 0)
        if target == "scaled":
            y = np.clip(y, -LIMIT, LIMIT)
        taught = y
        if classes:
            learnable &= key["label"].is_not_null().to_numpy()
            taught = key["label"].fill_null(0).to_numpy()
        return cls(key, known.select(columns), scale, y, taught, learnable)

    def inputs(self, rows: np.ndarray) -> pl.DataFrame:
        """Return the model's inputs at the rows of ascending numbers."""
        return _at(self.X, rows)

    def lesson(self, rows: np.ndarray) -> tuple[pl.DataFrame, np.ndarray]:
        """Return inputs and what is taught at the rows."""
        return self.inputs(rows), self.taught[rows]

    def past(self, rows: np.ndarray) -> pl.DataFrame:
        """Return what `weigh` sees: key, outcome and class of training rows."""
        return _at(self.key.drop("sigma"), rows)

    def payoff(self, rows: np.ndarray) -> list[float]:
        """Return the mean target of each class over the rows; 0 of a class that is not there."""
        taught, target = self.taught[rows], self.target[rows]
        means = [target[taught == k] for k in schema.CLASSES.values()]
        return [float(values.mean()) if len(values) else 0.0 for values in means]

    def judged(self, rows: np.ndarray) -> gates.Slice:
        """Return the rows as a gate judges on them."""
        part = _at(self.key, rows)
        symbol, time = (np.unique(part[c], return_inverse=True)[1] for c in ("symbol", "time"))
        return gates.Slice(part["y"].to_numpy(), symbol, time)


def known_rows(features: pl.DataFrame, columns: list[str]) -> pl.DataFrame:
    """Return the rows that can be forecast: every input known, and the volatility."""
    return features.drop_nulls(["sigma", *columns])


def scale_of(sigma: np.ndarray, target: str, horizon_bars: int) -> np.ndarray:
    """Return what a target is divided by, and its forecast multiplied with again: (n_rows,)."""
    if target != "scaled":
        return np.ones(len(sigma))
    return np.asarray(sigma * np.sqrt(horizon_bars))


def in_returns(said: dict[str, np.ndarray], scale: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a model says in units of return; probabilities have none."""
    return {k: v if k in schema.CLASSES else v * scale for k, v in said.items()}


def _at(table: pl.DataFrame, rows: np.ndarray) -> pl.DataFrame:
    """Return the rows of ascending numbers; neighbours without a copy."""
    if len(rows) and rows[-1] - rows[0] + 1 == len(rows):
        return table.slice(int(rows[0]), len(rows))
    return table[rows]


def _outcomes(labels: pl.DataFrame, classes: bool) -> pl.DataFrame:
    schema.check(labels, schema.LABELS, "labels")
    if not classes:
        return labels.select(*schema.LABELS)
    if "label" not in labels.columns:
        raise UserError(
            "models: a learner of classes needs labels with a class, found only returns. "
            "Set labels.kind to direction or barrier, or choose another learner."
        )
    return labels.select(*schema.LABELS, pl.col("label").cast(pl.Int8))


class Cut(NamedTuple):
    """Numbers of a fold's rows, ascending: to fit on, to stop early on, to judge on, to forecast.

    `slice_start` is where the judged rows may begin.
    """

    fit: np.ndarray
    early: np.ndarray
    judged: np.ndarray
    test: np.ndarray
    slice_start: datetime


@dataclass(frozen=True, slots=True)
class Timeline:
    """Rows in time order, so that a window is a slice; times in microseconds.

    Attributes
    ----------
    rows, time : np.ndarray of int64, shape (n_rows,)
        Numbers of all rows, and their times, ascending.
    taught, begun, known : np.ndarray of int64, shape (n_learnable,)
        Numbers of the learnable rows, their times, ascending, and when their outcome was known.
    lead : int
        Least time from a learnable row to its outcome.
    key : pl.DataFrame
        Of all rows and symbols: how far a test's answers reach is asked of them.
    """

    rows: np.ndarray
    time: np.ndarray
    taught: np.ndarray
    begun: np.ndarray
    known: np.ndarray
    lead: int
    key: pl.DataFrame

    @classmethod
    def of(cls, rows: Rows, symbol: str | None) -> Timeline:
        """Put the rows of one symbol, or of all, in time order."""
        time = rows.key["time"].to_physical().to_numpy()
        known = rows.key["known_at"].to_physical().fill_null(0).to_numpy()
        mine = np.arange(len(time))
        if symbol is not None:
            mine = np.flatnonzero((rows.key["symbol"] == symbol).to_numpy())
        mine = mine[np.argsort(time[mine], kind="stable")]
        taught = mine[rows.learnable[mine]]
        lead = int((known[taught] - time[taught]).min()) if len(taught) else 0
        return cls(mine, time[mine], taught, time[taught], known[taught], lead, rows.key)

    def test(self, spans: Sequence[Span]) -> np.ndarray:
        """Return the numbers of rows with ``start <= time < end`` in one span, ascending."""
        edges = [np.searchsorted(self.time, (_micro(s.start), _micro(s.end))) for s in spans]
        return np.sort(np.concatenate([self.rows[first:last] for first, last in edges]))

    def train(self, windows: Windows) -> np.ndarray:
        """Return the numbers of learnable rows that lie in one of the windows, ascending."""
        parts = [self._within(_micro(s.start), _micro(s.end)) for s in windows.spans]
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *parts]))

    def _within(self, start: int, end: int) -> np.ndarray:
        """Return the numbers of learnable rows with ``start <= time, known_at < end``.

        A row known before `end` has a time before `end` less the least time to an outcome: the
        slice by time is a little too long at most, and each row in it is asked.
        """
        first, last = np.searchsorted(self.begun, (start, end - self.lead))
        inside = slice(int(first), int(last))
        return self.taught[inside][self.known[inside] < end]

    def cut(self, fold: Fold, *, share: float, stops: bool, gate: gates.Name) -> Cut:
        """Cut a fold's rows.

        Parameters
        ----------
        fold : Fold
            Its windows and tests.
        share : float
            Newest part of the training window that is kept from the fit, where it is needed.
        stops : bool
            Whether the learner looks at rows that it is not fitted on, to stop early say.
        gate : {"none", "s1", "ic"}
            With a gate the newest part is judged on. For ``s1`` it also stops the boosting, as it
            did in S1; else the fit's own newest part does, and judgement meets fresh rows.

        Returns
        -------
        Cut
            Parts are purged and embargoed against each other as the fold is against its test.
            Without a gate and with less than two newest rows all training rows are fitted on.
        """
        none, test = np.empty(0, dtype=np.int64), self.test(fold.spans)
        windows = fold.windows(self.key)
        if gate == "none" and not stops:
            return Cut(self.train(windows), none, none, test, fold.train_end)
        (within, late), tail = windows.inner(share), windows.tail(share)
        fit, newest = self.train(within), self.train(late)
        if gate == "none":
            if len(newest) < 2:
                fit, newest = self.train(windows), none
            return Cut(fit, newest, none, test, tail)
        if gate == "s1" or not stops:
            return Cut(fit, newest if stops else none, newest, test, tail)
        within, late = within.inner(share)
        early = self.train(late)
        if len(early) > 1:
            fit = self.train(within)
        return Cut(fit, early if len(early) > 1 else none, newest, test, tail)


def _micro(moment: datetime) -> int:
    return (moment - _EPOCH) // _TICK
