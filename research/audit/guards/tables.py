"""Guards of the data: keys, bars against the source's minutes, symbols, labels, folds."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl

from research.audit.guards.seen import Seen, Window
from research.validation import Fold

KEY = ["symbol", "time"]
SAME = 1e-9
"""Largest relative difference that rounding explains."""
_US = timedelta(microseconds=1)


def first(table: pl.DataFrame, line: str) -> Iterator[str]:
    """Yield `line` filled with the first row's values, and how many rows there are."""
    if table.height:
        row = table.row(0, named=True)
        shown = {k: f"{v:%Y-%m-%d %H:%M}Z" if hasattr(v, "hour") else v for k, v in row.items()}
        yield line.format(**shown) + (f" ({table.height:,} such rows)" if table.height > 1 else "")


def apart(a: str, b: str) -> pl.Expr:
    """Tell where two columns differ by more than rounding, or one of them is not known."""
    gap = (pl.col(a) - pl.col(b)).abs() > SAME * (1e-6 + pl.col(b).abs())
    return gap.fill_null(True) & ~(pl.col(a).is_null() & pl.col(b).is_null())


def keys(seen: Seen) -> Iterator[str]:
    """Every table has one row per symbol and time, none that the table before lacks.

    Look for rows told twice, and rows from nowhere.
    """
    before = seen.bars
    for name in ("bars", "features", "labels", "forecasts"):
        table = getattr(seen, name)
        if table.is_empty():
            continue
        twice = table.filter(pl.struct(KEY).is_duplicated())
        yield from first(twice, name + ": {symbol} {time} is told more than once")
        lone = table.join(before, on=KEY, how="anti")
        yield from first(lone, name + ": {symbol} {time} is no row of the bars")


def bars(seen: Seen) -> Iterator[str]:
    """A bar is made of all the source's minutes before its close, and of no other.

    Gather the source's minutes anew and hold each bar against them.
    """
    if seen.bars.is_empty():
        return
    made = _gathered(seen)
    both = seen.bars.join(made, on=KEY, how="left", suffix="_source")
    lone = both.filter(pl.col("parts").is_null())
    yield from first(lone, "bar {symbol} {time}: the source has no minute that it could hold")
    parts = seen.interval // seen.length
    torn = both.filter(pl.col("parts") < parts)
    yield from first(torn, f"bar {{symbol}} {{time}}: made of {{parts}} of its {parts} minutes")
    for name in ("open", "high", "low", "close", "volume"):
        off = both.filter(pl.col("parts") == parts, apart(name, f"{name}_source"))
        line = f"bar {{symbol}} {{time}}: {name} is {{{name}}}, its minutes say {{{name}_source}}"
        yield from first(off, line)


def _gathered(seen: Seen) -> pl.DataFrame:
    """Make bars of minutes by the minute's own clock: bucket of the open, known at its end."""
    opened, price = pl.col("open_time").dt.truncate(seen.interval), pl.col
    grouped = seen.minutes.group_by("symbol", opened, maintain_order=True).agg(
        price("open").first(),
        price("high").max(),
        price("low").min(),
        price("close").last(),
        price("volume").sum(),
        parts=pl.len(),
    )
    return grouped.with_columns(time=pl.col("open_time") + seen.interval).drop("open_time")


def universe(seen: Seen) -> Iterator[str]:
    """Every symbol is there from its first whole bar to its last, as at the time.

    Hold symbols and their spans against the source's, whatever became of them later.
    """
    if seen.bars.is_empty():
        return
    whole = _gathered(seen).filter(pl.col("parts") == seen.interval // seen.length)
    gone = whole.join(seen.bars, on=KEY, how="anti")
    lost = gone.group_by("symbol", maintain_order=True).agg(
        pl.len().alias("rows"), pl.col("time").min()
    )
    line = "{symbol}: {rows} whole bars of the source are not among the bars, first {time}"
    yield from first(lost, line)


def labels(seen: Seen) -> Iterator[str]:
    """A label is the move from the price after its time to the horizon, known then.

    Recount outcome and `known_at` of every label from the bars.
    """
    if seen.labels.is_empty():
        return
    kind, table = seen.study.labels.kind, seen.labels.select(*KEY, "known_at", "y")
    early = table.filter(pl.col("known_at") <= pl.col("time"))
    yield from first(early, "label {symbol} {time}: said to be known at {known_at} already")
    due = table.with_columns(due=pl.col("time") + seen.study.labels.horizon)
    # a barrier that is met is known early; of all others the horizon says when
    late = pl.col("known_at") > pl.col("due")
    wrong = due.filter(late if kind == "barrier" else pl.col("known_at") != pl.col("due"))
    line = "label {symbol} {time}: said to be known at {known_at}, its horizon ends {due}"
    yield from first(wrong, line)
    yield from _torn(seen, table)
    if kind in ("return", "direction"):
        both = table.join(seen.outcomes, on=KEY, suffix="_bars")
        off = both.filter(apart("y", "y_bars"))
        yield from first(off, "label {symbol} {time}: y is {y}, the bars say {y_bars}")


def _torn(seen: Seen, table: pl.DataFrame) -> Iterator[str]:
    """Between a label's time and its outcome there must be a bar for each interval."""
    number = seen.bars.select(*KEY, n=pl.int_range(pl.len()).over("symbol"))
    ends = number.rename({"time": "known_at", "n": "m"})
    both = table.join(number, on=KEY, how="left").join(ends, on=["symbol", "known_at"], how="left")
    room = (pl.col("known_at") - pl.col("time")).dt.total_microseconds() // (seen.interval // _US)
    torn = both.filter((pl.col("m") - pl.col("n") != room).fill_null(True))
    line = "label {symbol} {time}: between it and its end {known_at} bars are missing"
    yield from first(torn, line)


def folds(seen: Seen) -> Iterator[str]:
    """Folds lie where the study's words put them, with the embargo between.

    Hold the folds against a walk by the words alone.
    """
    made = {f.test_start: Window(*_moments(f)) for f in seen.folds}
    due = {w.test_start: w for w in seen.windows} if made else {}
    for begin in sorted(made.keys() ^ due.keys()):
        word = "is none of" if begin in made else "is missing from the run, but one of"
        yield f"fold {begin:%Y-%m-%d %H:%M}Z {word} those that the study's words make"
    for begin, found in made.items():
        for name, stands, wanted in zip(Window._fields, found, due.get(begin, found)):
            if stands != wanted:
                yield (
                    f"fold {begin:%Y-%m-%d %H:%M}Z: {name} is {stands:%Y-%m-%d %H:%M}Z, "
                    f"the study's words put it at {wanted:%Y-%m-%d %H:%M}Z"
                )


def _moments(fold: Fold) -> tuple[datetime, datetime, datetime, datetime]:
    return fold.train_start, fold.train_end, fold.test_start, fold.test_end
