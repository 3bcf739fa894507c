"""Walk-forward by time, purged by label interval, with an embargo: what may be traded.

A fold is four moments, shared by all symbols. A row may train for a test that starts at t only if
its answer was known before t minus the embargo; no row count decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import polars as pl

from research import units
from research.errors import UserError
from research.schema import TIME
from research.validation.pictures import Line, picture
from research.validation.windows import ZERO, Span, Windows, between, stamp, utc

_DAY = timedelta(days=1)
_ORIGIN = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Fold:
    """One training window and the test window it forecasts.

    Attributes
    ----------
    train_start, train_end : datetime
        UTC. A training row has ``train_start <= time`` and ``known_at < train_end``, where
        `train_end` is `test_start` minus the embargo.
    test_start, test_end : datetime
        UTC. A test row has ``test_start <= time < test_end``.
    """

    train_start: datetime
    train_end: datetime
    test_start: datetime
    test_end: datetime

    @property
    def name(self) -> str:
        """Start of the test window, such as ``2025-05-18T00:00Z``."""
        return stamp(self.test_start)

    @property
    def spans(self) -> tuple[Span, ...]:
        """What is tested: one span."""
        return (Span(self.test_start, self.test_end),)

    def windows(self, table: pl.DataFrame | None = None) -> Windows:
        """Return where the fold learns: one window before its test, whatever the `table` says."""
        del table  # asked of a `Split`, which trains after its tests too
        span = Span(self.train_start, self.train_end)
        return Windows((span,), self.test_start - self.train_end)

    def train(self, table: pl.DataFrame) -> pl.Series:
        """Tell which rows may train for this fold.

        Parameters
        ----------
        table : pl.DataFrame, shape (n_rows, ...)
            With ``time`` and ``known_at``; a null `known_at` never trains.

        Returns
        -------
        pl.Series of Boolean, shape (n_rows,)
            Never null.
        """
        return self.windows().hold(table)

    def test(self, table: pl.DataFrame) -> pl.Series:
        """Tell which rows this fold forecasts; labels need not be known.

        Parameters
        ----------
        table : pl.DataFrame, shape (n_rows, ...)
            With ``time``.

        Returns
        -------
        pl.Series of Boolean, shape (n_rows,)
            Never null.
        """
        return between(table["time"], self.spans[0])

    def inner(self, table: pl.DataFrame, share: float) -> tuple[pl.Series, pl.Series]:
        """Split the training window into rows to fit on and a newest tail to stop early on.

        Parameters
        ----------
        table : pl.DataFrame, shape (n_rows, ...)
            With ``time`` and ``known_at``.
        share : float
            Length of the tail as a share of the training window, above 0 and below 1.

        Returns
        -------
        fit, early : pl.Series of Boolean, shape (n_rows,)
            Both lie within `train`; purged and embargoed against each other as the fold is
            against its test. Never null.

        Raises
        ------
        UserError
            If `share` is not between 0 and 1.
        """
        fit, early = self.windows().inner(share)
        return fit.hold(table), early.hold(table)


class Folds(tuple[Fold, ...]):
    """The folds of one walk-forward, in time order; shows itself as a picture in a cell."""

    __slots__ = ()

    def table(self) -> pl.DataFrame:
        """Return one row per fold: ``fold, train_start, train_end, test_start, test_end``."""
        columns = Fold.__slots__
        rows = [[getattr(fold, column) for column in columns] for fold in self]
        spans = pl.DataFrame(rows, schema=dict.fromkeys(columns, TIME), orient="row")
        return spans.insert_column(0, pl.Series("fold", [fold.name for fold in self], pl.String))

    def _repr_html_(self) -> str:
        lines = [Line(fold.windows().spans, fold.spans) for fold in self]
        return picture(lines, f"{len(self)} folds")


def walk_forward(
    start: datetime,
    end: datetime,
    *,
    train: timedelta,
    test: timedelta,
    step: timedelta | None = None,
    embargo: timedelta = ZERO,
    scheme: Literal["rolling", "expanding"] = "rolling",
) -> Folds:
    """Cut the time from `start` to `end` into training windows, each followed by its test.

    Parameters
    ----------
    start, end : datetime
        First and last moment of the data, with a time zone; `start` is best the first bar's
        ``open_time``.
    train : timedelta
        Length of a training window, embargo included. When it is a whole number of days, the
        first window starts at the first UTC midnight not before `start`.
    test : timedelta
        Length of a test window. The last one may reach beyond `end`: its dates, and with them its
        name, stay as they are when more data comes.
    step : timedelta, optional
        From one test start to the next, at least `test`. Default: `test`.
    embargo : timedelta
        Kept free of answers between training and test: a training row is known before
        ``test_start - embargo``. At least the longest memory of the features, to be strict.
    scheme : {"rolling", "expanding"}
        ``expanding`` keeps the first training start for all folds.

    Returns
    -------
    Folds
        In time order, at least one, the first with its whole test window before `end`.

    Raises
    ------
    UserError
        If no fold fits, a time has no time zone, or lengths contradict one another.

    Notes
    -----
    A fold at t uses what was known before t alone, so a live retrain at t is the same fold.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning, ch. 7.

    Examples
    --------
    >>> start, end = (datetime(2025, month, 1, tzinfo=UTC) for month in (5, 6))
    >>> folds = walk_forward(start, end, train=timedelta(days=14), test=timedelta(days=3))
    >>> [fold.name for fold in folds][:2], len(folds)
    (['2025-05-15T00:00Z', '2025-05-18T00:00Z'], 6)
    """
    start, end = utc(start, "start"), utc(end, "end")
    step = test if step is None else step
    _check_lengths(train, test, step, embargo, scheme)
    first = _first_start(start, whole_days=train % _DAY == ZERO)
    if first + train + test > end:
        raise UserError(
            f"validation: the data must hold train {units.show(train)} and test "
            f"{units.show(test)} after {stamp(first)}, found an end at {stamp(end)}. "
            "Shorten validation.train or validation.test, or bring more data."
        )
    opens = [first + train + k * step for k in range(-((first + train - end) // step))]
    return Folds(
        Fold(first if scheme == "expanding" else at - train, at - embargo, at, at + test)
        for at in opens
    )


def _check_lengths(
    train: timedelta, test: timedelta, step: timedelta, embargo: timedelta, scheme: str
) -> None:
    if scheme not in ("rolling", "expanding"):
        raise UserError(f"validation: scheme must be 'rolling' or 'expanding', found {scheme!r}.")
    if min(train, test) <= ZERO:
        raise UserError("validation: train and test must be longer than zero.")
    if step < test:
        raise UserError(
            f"validation: step must be at least test ({units.show(test)}), found "
            f"{units.show(step)}: rows would be forecast twice."
        )
    if not ZERO <= embargo < train:
        raise UserError(
            f"validation: embargo must lie from 0 up to train ({units.show(train)}), "
            f"found {units.show(embargo)}."
        )


def _first_start(start: datetime, *, whole_days: bool) -> datetime:
    """Round up to midnight, or to the minute where windows are shorter than days."""
    grid = _DAY if whole_days else timedelta(minutes=1)
    return _ORIGIN + -((_ORIGIN - start) // grid) * grid
