"""One call: from features and bars to a certificate."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import timedelta
from typing import Any

import polars as pl

from research import schema
from research.audit.certificate import bend, cuts, shrink
from research.audit.certificate.chunk import Bars
from research.audit.certificate.cuts import Cuts
from research.audit.certificate.ofset import OfSet
from research.audit.certificate.paper import COLUMNS, Certificate
from research.audit.certificate.stride import Search, Tally, Watch
from research.audit.certificate.subject import subject
from research.audit.certificate.views import Subject
from research.errors import UserError
from research.features.kernels import Made, made_of
from research.features.warmup import by_column, warmup
from research.store import cards

_TIMES = {"symbol", "time", "open_time"}
_SHRUNK = 8  # counter-examples made as small as they get


def certify(
    features: Any,
    bars: Any,
    *,
    interval: timedelta | None = None,
    symbols: Collection[str] | None = None,
    seed: int = 1,
    progress: Watch | None = None,
) -> Certificate:
    """Prove at every bar that features do not look ahead, show where they do, or say what is open.

    Parameters
    ----------
    features : str, FeatureSet, pl.Expr or callable
        The name of a registered set; a set; an expression over one symbol's bars; or a function
        that takes the bars, as a polars or pandas frame, and gives a frame or series of numbers:
        one row per bar, or with columns symbol and time (rows it leaves out are not known).
    bars : pl.DataFrame or pd.DataFrame
        `schema.BARS`, of any number of symbols.
    interval : timedelta, optional
        Length of one bar; absent: that of most bars.
    symbols : collection of str, optional
        Which symbols to look at; absent: all.
    seed : int
        Of the changes.
    progress : callable, optional
        Takes (done, total, label).

    Returns
    -------
    Certificate
        Shows itself in a cell; `ok` says in a word whether all is well.

    Raises
    ------
    UserError
        If the bars are no bars, or the features cannot be evaluated on them.

    Notes
    -----
    At every bar t that has a next one, the next four bars are raised, and again exchanged for
    others and lowered, while the bars before them stay as they are for as long as the feature
    remembers; the value at t must equal the table's. On top come 24 moments at which all later
    bars are changed or taken away, for what looks further ahead.

    A column that never forgets, as a running total, has to be made anew for every bar. Of one
    symbol 24,000 bars can be so proven; of more bars a sample is checked, at even distances, and
    where that shows no mismatch the verdict is ``not shown``: a peek may lie between.

    A peek is overlooked only where both changes leave its value as it is.

    Examples
    --------
    >>> from research.features.warmup import canonical
    >>> bars = canonical(300, interval=timedelta(minutes=1))
    >>> certify(pl.col("close").diff(), bars).verdict
    'causal'
    >>> peek = certify(pl.col("close").shift(-1) / pl.col("close"), bars)
    >>> peek.verdict, peek.first["ahead"], peek.first["column"]
    ('looks ahead', 1, 'close')
    """
    begun = time.perf_counter()
    table = schema.as_table(bars, schema.BARS, "bars")
    if symbols is not None:
        table = table.filter(pl.col("symbol").is_in(list(symbols)))
    if table.height < 2:
        raise UserError(f"certify: at least two bars are needed, found {table.height}.")
    step = interval or _interval(table)
    under = subject(features, bars, table, step)
    laid = Bars(table, under.whole(table))
    tallies = Search(under, laid, seed, progress).run()
    far = Cuts(under, laid, seed, progress)
    examples = _examples(under, laid, tallies, far, seed)
    first = min(examples.values(), key=lambda e: (e["ahead"], e["reach"]), default=None)
    guards = _guards(under, laid, step, seed)
    return Certificate(
        name=under.name,
        bars=table.height,
        table=_table(under, laid, tallies, far, examples, step),
        guards=guards,
        first=first,
        fingerprints={
            "features": under.fingerprint(),
            "bars": cards.fingerprint(table),
            **cards.code("features"),
        },
        comparisons=len(bend.KINDS) * sum(t.checked for t in tallies) + int(far.compared.sum()),
        cuts=far.number,
        seconds=time.perf_counter() - begun,
    )


def _interval(table: pl.DataFrame) -> timedelta:
    found = (table["time"] - table["open_time"]).mode().min()
    assert isinstance(found, timedelta)
    return found


def _guards(under: Subject, laid: Bars, step: timedelta, seed: int) -> dict[str, Any]:
    found = {
        "availability": cuts.availability(laid, step),
        "symbols": cuts.isolation(under, laid, seed),
        "gaps": cuts.gaps(under, laid),
    }
    if isinstance(under, OfSet) and under.reach is not None:
        found["streaming"] = cuts.streaming(under, laid, seed)
    return found


def _examples(
    under: Subject, laid: Bars, tallies: list[Tally], far: Cuts, seed: int
) -> dict[int, dict[str, Any]]:
    """Return by column the smallest counter-example of those that look ahead."""
    found: dict[int, dict[str, Any]] = {}
    for column, tally in enumerate(tallies):
        seen = tally.first or far.first.get(column)
        if seen is None or len(found) >= _SHRUNK:
            continue
        row, kind = seen[0], "raised" if seen[1] == "removed" else seen[1]
        example = shrink.smallest(under, laid, column, row, kind, seed)
        found[column] = example or shrink.ended(under, laid, column, row)
    return found


def _table(
    under: Subject,
    laid: Bars,
    tallies: list[Tally],
    far: Cuts,
    examples: dict[int, dict[str, Any]],
    step: timedelta,
) -> pl.DataFrame:
    waits = _waits(under, step)
    rows = []
    for column, (name, tally) in enumerate(zip(under.names, tallies)):
        ahead = tally.mismatches or column in far.first
        shown = tally.whole and (far.moved[column] or _of_the_clock(under, name))
        seen = tally.first or far.first.get(column)
        rows.append(
            {
                "feature": name,
                "verdict": "looks ahead" if ahead else "causal" if shown else "not shown",
                "checked": tally.checked,
                "mismatches": max(tally.mismatches, int(column in far.first)),
                "method": tally.method,
                "stride": tally.way.stride,
                "memory": tally.memory,
                "warmup": waits.get(name),
                "declared": _declared(under, name),
                "moved": bool(far.moved[column]),
                "far": int(far.compared[column]),
                "first": None if seen is None else _place(laid, seen[0]),
            }
        )
    return pl.DataFrame(rows, schema=COLUMNS)


def _place(laid: Bars, row: int) -> str:
    return f"{laid.bars[row, 'symbol']} {laid.bars[row, 'time']:%Y-%m-%d %H:%M:%S}Z"


def _of_the_clock(under: Subject, name: str) -> bool:
    """Whether a column looks at times alone: no number can move it."""
    if not isinstance(under, OfSet):
        return False
    return set(under.set.columns[name].expr.meta.root_names()) <= _TIMES


def _waits(under: Subject, step: timedelta) -> dict[str, int]:
    if not isinstance(under, OfSet) or under.reach is None:
        return {}
    if len(under.names) == 1:
        return {under.names[0]: warmup(under.set, interval=step)}
    return by_column(under.set, interval=step)


def _declared(under: Subject, name: str) -> int | None:
    """Return the bars that the code of a column says it looks back; None where it says none."""
    if not isinstance(under, OfSet):
        return None
    made = made_of(under.set.columns[name].expr)
    return None if made is None else _looks_back(made)


def _looks_back(made: Made | str) -> int | None:
    if isinstance(made, str):
        return 0
    inner = [_looks_back(one) for one in made.inputs]
    if made.lookback is None or any(bars is None for bars in inner):
        return None
    return made.lookback + max((bars for bars in inner if bars is not None), default=0)
