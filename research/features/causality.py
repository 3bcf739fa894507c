"""Does a feature look ahead? Change or remove what comes later, and see whether the past moves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research import schema
from research.features import aggregates
from research.features.build import evaluate
from research.features.sets import FeatureSet

_NUMBERS = [c for c, dtype in schema.BARS.items() if dtype in (pl.Float64, pl.Int64)]
_VERDICT = {
    "feature": pl.String,
    "causal": pl.Boolean,
    "compared": pl.Int64,
    "moved": pl.Int64,
    "first": pl.String,
}


def causality(
    bars: Any,
    feature_set: FeatureSet,
    *,
    interval: timedelta,
    cuts: int = 6,
    rows: int = 4_000,
    seed: int = 1,
) -> pl.DataFrame:
    """Test each feature for knowledge of the future.

    At several moments every later bar is (a) bent by random factors, (b) removed; a causal
    feature keeps every earlier value bit for bit. The bars right after a moment are bent hard,
    so that a glance at one bar ahead is enough to be seen.

    Parameters
    ----------
    bars : pl.DataFrame or pd.DataFrame
        `schema.BARS`; the newest `rows` of each of the first three symbols are used.
    feature_set : FeatureSet
        What to test.
    interval : timedelta
        Length of one bar; only the bars since the last gap are used.
    cuts : int
        Moments tried, at least 1.
    rows : int
        Bars per symbol.
    seed : int
        Of the random factors.

    Returns
    -------
    pl.DataFrame, shape (n_features, 5)
        feature; causal (null if no value was there to test); compared (past values checked);
        moved (later values that the bending changed: 0 means that the test proves nothing, or
        that the feature looks at no number); first (the first value that changed and why, null
        if causal).

    Notes
    -----
    Evaluates in one pass, as `evaluate`. It can prove that a feature looks ahead, and shows only
    by trial that one does not.
    """
    table = schema.as_table(bars, schema.BARS, "bars")
    found = {name: _Tally() for name in feature_set.names}
    for symbol in table["symbol"].unique(maintain_order=True).head(3):
        one = _since_gap(table.filter(pl.col("symbol") == symbol).tail(rows), interval)
        beside = table.filter(pl.col("symbol") != symbol) if feature_set.cross else one.clear()
        if one.height >= 3:
            _try_one(one, beside, feature_set, cuts, seed, found)
    verdicts = [(n, t.causal, t.compared, t.moved, t.first) for n, t in found.items()]
    return pl.DataFrame(verdicts, schema=_VERDICT, orient="row")


class _Tally:
    """What was seen of one feature so far."""

    def __init__(self) -> None:
        self.compared = self.moved = 0
        self.first: str | None = None

    @property
    def causal(self) -> bool | None:
        if self.first is not None:
            return False
        return True if self.compared else None


def _since_gap(one: pl.DataFrame, interval: timedelta) -> pl.DataFrame:
    """Return the longest stretch of one symbol's bars without a gap."""
    run = (one["open_time"].diff() != interval).fill_null(True).cum_sum()
    return one.filter(run == run.mode().min())


def _try_one(
    one: pl.DataFrame,
    beside: pl.DataFrame,
    feature_set: FeatureSet,
    cuts: int,
    seed: int,
    found: dict[str, _Tally],
) -> None:
    """Try one symbol; what the others (`beside`) do later is changed with it."""
    around = beside.filter(pl.col("time").is_between(one["time"].min(), one["time"].max()))
    bars, own = pl.concat([one, around]).sort(schema.KEY), pl.col("symbol") == one["symbol"][0]
    before = evaluate(bars, feature_set).filter(own)
    rng = np.random.default_rng(seed)
    # from a third on, so that slow features have values to compare; the last cut leaves one bar
    for cut in sorted({*np.linspace(one.height // 3, one.height - 1, cuts).astype(int).tolist()}):
        last = one["time"][cut - 1]
        later = bars["time"] > last
        for what, changed in (("bent", _bent(bars, later, rng)), ("removed", bars.filter(~later))):
            after = evaluate(changed, feature_set).filter(own)
            for name, tally in found.items():
                note = f"{{row}} when the bars after {last:%Y-%m-%d %H:%M}Z were {what}"
                _compare(before.head(cut), after.head(cut), name, note, tally)
                if what == "bent":
                    tally.moved += int(before[name][cut:].ne_missing(after[name][cut:]).sum())


def _compare(
    before: pl.DataFrame, after: pl.DataFrame, name: str, note: str, tally: _Tally
) -> None:
    tally.compared += before.height - before[name].null_count()
    wrong = before[name].ne_missing(after[name])
    if tally.first is None and wrong.any():
        tally.first = note.format(row=schema.at(before, wrong))


def _bent(bars: pl.DataFrame, moved: pl.Series, rng: np.random.Generator) -> pl.DataFrame:
    """Multiply each number of the later bars by a factor of its own; high and low stay so."""
    later = moved.to_numpy()
    columns = []
    for name in [*_NUMBERS, *(c for c in aggregates.FLOW if c in bars.columns)]:
        least, most = (0.5, 2.0) if name in schema.PRICES else (1.5, 9.0)
        factor = pl.Series(np.where(later, rng.uniform(least, most, bars.height), 1.0))
        # a bar without volume changes too
        plus = 0.0 if name in schema.PRICES else pl.Series(later.astype(np.float64))
        columns.append((bars[name] * factor + plus).cast(bars.schema[name]).alias(name))
    prices = pl.max_horizontal(schema.PRICES), pl.min_horizontal(schema.PRICES)
    return bars.with_columns(columns).with_columns(high=prices[0], low=prices[1])
