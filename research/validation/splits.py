"""Splits that train on both sides of their tests: purged k-fold and combinatorial purged.

They judge a way of learning on all of the data, and on many histories instead of one. Their models
have seen what came after the rows they forecast, so nothing they say may be traded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import combinations, pairwise
from math import comb
from typing import Any

import polars as pl

from research import units
from research.errors import UserError
from research.schema import TIME
from research.validation.pictures import Line, picture
from research.validation.windows import ZERO, Span, Windows, between, stamp, utc

MOST = 10_000
"""Splits at most: each is a model to train."""
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Split:
    """Groups of time that are tested, and all the rest, purged on both sides, to train on.

    A block is from the start of a tested group to the last moment at which an answer of its rows
    is known. A row trains if its own stretch from `time` to `known_at` meets no block and does not
    begin within the embargo that follows one.

    Attributes
    ----------
    number : int
        From 0, in the order of the groups.
    groups : tuple of int
        Which groups are tested.
    spans : tuple of Span
        Their time.
    start, end : datetime
        UTC. All training rows lie between: ``start <= time`` and ``known_at < end``.
    embargo : timedelta
        Free of training rows after each block.
    """

    number: int
    groups: tuple[int, ...]
    spans: tuple[Span, ...]
    start: datetime
    end: datetime
    embargo: timedelta

    @property
    def name(self) -> str:
        """Number of the split and its groups, such as ``split-007-groups-1-4``."""
        return "-".join([f"split-{self.number:03d}-groups", *map(str, self.groups)])

    @property
    def train_start(self) -> datetime:
        """First moment of all data."""
        return self.start

    @property
    def train_end(self) -> datetime:
        """End of all data; tests lie before it."""
        return self.end

    @property
    def test_start(self) -> datetime:
        """First moment that is tested."""
        return self.spans[0].start

    @property
    def test_end(self) -> datetime:
        """End of the last span that is tested; training may lie between them."""
        return self.spans[-1].end

    def windows(self, table: pl.DataFrame) -> Windows:
        """Return where the split learns: everywhere but in a block or the embargo after it.

        Parameters
        ----------
        table : pl.DataFrame
            Every row there is, of all symbols, with ``time`` and ``known_at``: the answers of the
            tested ones say how far a block reaches.
        """
        return self._beside([_reach(table, span) for span in self.spans])

    def train(self, table: pl.DataFrame) -> pl.Series:
        """Tell which rows may train; `table` as for `windows`. Never null."""
        return self.windows(table).hold(table)

    def test(self, table: pl.DataFrame) -> pl.Series:
        """Tell which rows this split forecasts; labels need not be known. Never null."""
        inside = pl.repeat(False, table.height, eager=True).alias("test")
        for span in self.spans:
            inside |= between(table["time"], span)
        return inside

    def inner(self, table: pl.DataFrame, share: float) -> tuple[pl.Series, pl.Series]:
        """Split the training rows into those to fit on and a newest tail, as `Fold.inner` does."""
        fit, early = self.windows(table).inner(share)
        return fit.hold(table), early.hold(table)

    def _beside(self, reaches: list[datetime]) -> Windows:
        found, free = [], self.start
        for span, reach in zip(self.spans, reaches, strict=True):
            found.append(Span(free, span.start))
            free = max(free, reach + self.embargo + _TICK)
        found.append(Span(free, self.end))
        return Windows(tuple(s for s in found if s.start < s.end), self.embargo)

    def shortest(self) -> Windows:
        """Return where the split learns if answers are known at once: more than it ever has."""
        return self._beside([span.end - _TICK for span in self.spans])


class Splits(tuple[Split, ...]):
    """All splits of one cross-validation; shows itself as a picture in a cell."""

    __slots__ = ()

    def table(self) -> pl.DataFrame:
        """Return one row per split: ``split, fold, groups``."""
        rows = [(split.number, split.name, list(split.groups)) for split in self]
        kinds: dict[str, Any] = {"split": pl.Int64, "fold": pl.String, "groups": pl.List(pl.Int64)}
        return pl.DataFrame(rows, schema=kinds, orient="row")

    def paths(self) -> pl.DataFrame:
        """Assemble whole histories: each tells which split forecasts each group in it.

        Returns
        -------
        pl.DataFrame
            ``path`` (from 1), ``group, start, end, split, fold``, sorted. Every path has every
            group once, and every test of a split stands in exactly one path: the j-th split that
            tests a group lends it to path j.

        Examples
        --------
        >>> from datetime import UTC
        >>> year = (datetime(y, 1, 1, tzinfo=UTC) for y in (2024, 2025))
        >>> paths = combinatorial(*year, groups=6, test_groups=2).paths()
        >>> paths.filter(pl.col("group") == 2)["split"].to_list()
        [1, 5, 9, 10, 11]
        """
        met: dict[int, int] = {}
        rows = []
        for split in self:
            for group, span in zip(split.groups, split.spans, strict=True):
                met[group] = met.get(group, 0) + 1
                rows.append((met[group], group, *span, split.number, split.name))
        kinds: dict[str, Any] = {"path": pl.Int64, "group": pl.Int64, "start": TIME, "end": TIME}
        kinds |= {"split": pl.Int64, "fold": pl.String}
        return pl.DataFrame(rows, schema=kinds, orient="row").sort("path", "group")

    def __repr__(self) -> str:
        return f"<{len(self)} splits, {self.paths()['path'].n_unique()} paths>"

    def _repr_html_(self) -> str:
        return picture([Line(s.shortest().spans, s.spans) for s in self], f"{len(self)} splits")


def combinatorial(
    start: datetime, end: datetime, *, groups: int, test_groups: int, embargo: timedelta = ZERO
) -> Splits:
    """Cut time into groups and test every choice of `test_groups` of them, training on the rest.

    Parameters
    ----------
    start, end : datetime
        First moment of the data and the first after it, with a time zone.
    groups, test_groups : int
        N and k: groups of equal length in time, and how many of them a split tests.
    embargo : timedelta
        Kept free of training rows after each tested block. At least the longest memory of the
        features, to be strict.

    Returns
    -------
    Splits
        N over k of them, which make k / N times as many paths; see `Splits.paths`.

    Raises
    ------
    UserError
        If the numbers or times contradict one another, or a split would have no time to train.

    Notes
    -----
    Purging asks each row when its answer was known, so labels of any length are safe; paths share
    most of their training rows, so their number is not a sample size.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning, ch. 7 and 12.

    Examples
    --------
    >>> from datetime import UTC
    >>> start, end = (datetime(2025, month, 1, tzinfo=UTC) for month in (5, 7))
    >>> splits = combinatorial(start, end, groups=6, test_groups=2, embargo=timedelta(hours=1))
    >>> len(splits), splits.paths()["path"].n_unique(), splits[7].name
    (15, 5, 'split-007-groups-1-4')
    """
    start, end = utc(start, "start"), utc(end, "end")
    _check(start, end, groups, test_groups, embargo)
    edges = [start + (end - start) * g // groups for g in range(groups + 1)]
    spans = [Span(*edge) for edge in pairwise(edges)]
    chosen = enumerate(combinations(range(groups), test_groups))
    made = Splits(
        Split(number, tested, tuple(spans[g] for g in tested), start, end, embargo)
        for number, tested in chosen
    )
    starved = next((split for split in made if not split.shortest().spans), None)
    if starved is not None:
        raise UserError(
            f"validation: an embargo of {units.show(embargo)} after each test leaves "
            f"{starved.name} no time to train on. Shorten it, or take fewer groups."
        )
    return made


def purged_kfold(start: datetime, end: datetime, *, k: int, embargo: timedelta = ZERO) -> Splits:
    """Cut time into `k` groups and test each in turn, training on the rest, purged both ways.

    Parameters
    ----------
    start, end : datetime
        First moment of the data and the first after it, with a time zone.
    k : int
        Number of groups, of equal length in time, and of splits.
    embargo : timedelta
        Kept free of training rows after each tested block.

    Returns
    -------
    Splits
        `k` of them, which make one path.

    Raises
    ------
    UserError
        As for `combinatorial`.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning, ch. 7.

    Examples
    --------
    >>> from datetime import UTC
    >>> start, end = (datetime(2025, 5, day, tzinfo=UTC) for day in (1, 11))
    >>> [split.groups for split in purged_kfold(start, end, k=5)]
    [(0,), (1,), (2,), (3,), (4,)]
    """
    return combinatorial(start, end, groups=k, test_groups=1, embargo=embargo)


def _reach(table: pl.DataFrame, span: Span) -> datetime:
    """Return the last moment of a block: of its time, or at which an answer of it is known."""
    last = table["known_at"].filter(between(table["time"], span)).max()
    end = span.end - _TICK
    return max(end, last) if isinstance(last, datetime) else end


def _check(
    start: datetime, end: datetime, groups: int, test_groups: int, embargo: timedelta
) -> None:
    if groups < 2 or not 0 < test_groups < groups:
        raise UserError(
            "validation: at least 2 groups are needed, of which at least 1 is tested and 1 is "
            f"not, found {groups} groups and {test_groups} tested."
        )
    if comb(groups, test_groups) > MOST:
        raise UserError(
            f"validation: {groups} groups with {test_groups} tested are "
            f"{comb(groups, test_groups):,} splits, at most {MOST:,}. Take fewer groups."
        )
    if end - start < groups * _TICK:
        raise UserError(
            f"validation: end must lie after start, found {stamp(start)} to {stamp(end)}."
        )
    if embargo < ZERO:
        raise UserError(f"validation: embargo must be at least zero, found {units.show(embargo)}.")
