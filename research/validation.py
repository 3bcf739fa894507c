"""Who may learn from whom: walk-forward by time, purged by label interval, with an embargo.

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

_DAY = timedelta(days=1)
_ORIGIN = datetime(1970, 1, 1, tzinfo=UTC)
_SHOWN = 60  # folds drawn at most; of more, an even choice


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
        return _stamp(self.test_start)

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
        return _learnable(table, self.train_start, self.train_end)

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
        return _between(table["time"], self.test_start, self.test_end)

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
        if not 0 < share < 1:
            raise UserError(f"validation: inner must be a share between 0 and 1, found {share}.")
        tail = self.train_end - (self.train_end - self.train_start) * share
        embargo = self.test_start - self.train_end
        return (
            _learnable(table, self.train_start, tail - embargo),
            _learnable(table, tail, self.train_end),
        )


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
        return _picture(self)


def walk_forward(
    start: datetime,
    end: datetime,
    *,
    train: timedelta,
    test: timedelta,
    step: timedelta | None = None,
    embargo: timedelta = timedelta(0),
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
    start, end = _utc(start, "start"), _utc(end, "end")
    step = test if step is None else step
    _check_lengths(train, test, step, embargo, scheme)
    first = _first_start(start, whole_days=train % _DAY == timedelta(0))
    if first + train + test > end:
        raise UserError(
            f"validation: the data must hold train {units.show(train)} and test "
            f"{units.show(test)} after {_stamp(first)}, found an end at {_stamp(end)}. "
            "Shorten validation.train or validation.test, or bring more data."
        )
    opens = [first + train + k * step for k in range(-((first + train - end) // step))]
    return Folds(
        Fold(first if scheme == "expanding" else at - train, at - embargo, at, at + test)
        for at in opens
    )


def _learnable(table: pl.DataFrame, start: datetime, end: datetime) -> pl.Series:
    return (table["time"] >= start) & (table["known_at"] < end).fill_null(False)


def _between(time: pl.Series, start: datetime, end: datetime) -> pl.Series:
    return (time >= start) & (time < end)


def _utc(moment: datetime, name: str) -> datetime:
    if moment.tzinfo is None:
        raise UserError(f"validation: {name} must have a time zone, found {moment}. Say UTC.")
    return moment.astimezone(UTC)


def _check_lengths(
    train: timedelta, test: timedelta, step: timedelta, embargo: timedelta, scheme: str
) -> None:
    if scheme not in ("rolling", "expanding"):
        raise UserError(f"validation: scheme must be 'rolling' or 'expanding', found {scheme!r}.")
    if min(train, test) <= timedelta(0):
        raise UserError("validation: train and test must be longer than zero.")
    if step < test:
        raise UserError(
            f"validation: step must be at least test ({units.show(test)}), found "
            f"{units.show(step)}: rows would be forecast twice."
        )
    if not timedelta(0) <= embargo < train:
        raise UserError(
            f"validation: embargo must lie from 0 up to train ({units.show(train)}), "
            f"found {units.show(embargo)}."
        )


def _first_start(start: datetime, *, whole_days: bool) -> datetime:
    """Round up to midnight, or to the minute where windows are shorter than days."""
    grid = _DAY if whole_days else timedelta(minutes=1)
    return _ORIGIN + -((_ORIGIN - start) // grid) * grid


def _stamp(moment: datetime) -> str:
    whole = not (moment.second or moment.microsecond)
    return moment.strftime("%Y-%m-%dT%H:%MZ" if whole else "%Y-%m-%dT%H:%M:%S.%fZ")


def _picture(folds: Folds) -> str:
    """Draw training (blue) and test (orange) spans, one line per fold."""
    if not folds:
        return "<b>no folds</b>"
    every = -(-len(folds) // _SHOWN)
    first, last = min(f.train_start for f in folds), folds[-1].test_end
    lines = [_line(fold, k, first, last - first) for k, fold in enumerate(folds[::every])]
    height = 6 * len(lines)
    note = f"; every {every}th shown" if every > 1 else ""
    return (
        f"<b>{len(folds)} folds</b>, {_stamp(folds[0].train_start)} to {_stamp(last)}{note}: "
        "<span style='color:#4c78a8'>training</span>, <span style='color:#f58518'>test</span>"
        f"<br><svg viewBox='0 0 600 {height}' width='600' height='{height}' role='img'>"
        f"{''.join(lines)}</svg>"
    )


def _line(fold: Fold, row: int, first: datetime, whole: timedelta) -> str:
    spans = (
        (fold.train_start, fold.train_end, "#4c78a8", "train"),
        (fold.test_start, fold.test_end, "#f58518", "test"),
    )
    return "".join(
        f"<rect x='{600 * ((begin - first) / whole):.1f}' y='{6 * row}' height='5' "
        f"width='{600 * ((end - begin) / whole):.1f}' fill='{colour}'>"
        f"<title>{word} {_stamp(begin)} to {_stamp(end)}</title></rect>"
        for begin, end, colour, word in spans
    )
