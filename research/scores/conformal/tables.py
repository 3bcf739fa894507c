"""Intervals of whole tables, and which share of labels they hold."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.scores import blocks as _blocks
from research.steps import scan

if TYPE_CHECKING:
    from research.scores.conformal.adapting import Rules, State


def adaptive_intervals(
    forecasts: Any,
    *,
    horizon: timedelta,
    coverage: float = 0.9,
    gammas: tuple[float, ...] = (0.01,),
    window: int = 1000,
    ends: tuple[str, str] = ("forecast", "forecast"),
) -> pl.DataFrame:
    r"""Give each forecast the interval that was known when it was made.

    Parameters
    ----------
    forecasts : polars or pandas frame
        With `symbol`, `time`, `sigma` (above 0: what errors grow with), `y` (null where it is not
        known) and the columns named by `ends`.
    horizon : timedelta
        Length of the label: that of t is learned from at ``t + horizon``, and not before.
    coverage : float
        Share of labels to lie inside, above 0 and below 1.
    gammas : tuple of float
        How far the level moves after a label. Several: experts, mixed by how well their levels
        fitted, for those who do not know how fast the market changes.
    window : int
        Newest labels of a symbol that an interval is taken from; at least 10.
    ends : tuple of str
        The forecast twice, or a low and a high quantile forecast (conformalised quantiles [1]_).

    Returns
    -------
    pl.DataFrame
        ``symbol, time, sigma, y, low, high, level``. No `low` and `high` (null: no bound) while too
        few labels are known, and where the `level` has fallen to 0; all three are null where a
        forecast or `sigma` is. `low` is never above `high`: an interval that would turn inside out
        is its middle, and holds nothing.

    Raises
    ------
    UserError
        If a setting is out of range, or fewer than two rows have a forecast.

    Notes
    -----
    Each symbol learns from its own past. The interval at t uses labels known at t alone.

    Over the first T labels of a symbol, with one gamma and labels known h bars later, the share
    outside differs from ``1 - coverage`` by at most `coverage_bound`, whatever the data.

    References
    ----------
    .. [1] Romano, Y., Patterson, E. and Candès, E. (2019). Conformalized Quantile Regression.
       NeurIPS 32.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> start, end = (datetime(2025, 1, d, tzinfo=UTC) for d in (1, 9))
    >>> times = pl.datetime_range(start, end, "5m", closed="right", eager=True)
    >>> noise = np.random.default_rng(0).normal(size=len(times))
    >>> table = pl.DataFrame({"symbol": "A", "time": times, "y": noise})
    >>> table = table.with_columns(forecast=0.0, sigma=1.0)
    >>> found = adaptive_intervals(table, horizon=timedelta(minutes=5))[200:]
    >>> round(interval_coverage(found, horizon=timedelta(minutes=5))["coverage"][0], 2)
    0.9
    """
    from research.scores.conformal.adapting import begin  # compiles, so only where it is needed

    state, rules = begin(coverage=coverage, gammas=gammas, window=window)
    names = list(dict.fromkeys((*ends, "sigma", "y")))
    wanted = {"symbol": pl.String, "time": schema.TIME, **dict.fromkeys(names, pl.Float64)}
    table = schema.as_table(forecasts, wanted, "forecasts").select(*wanted)
    asked = pl.all_horizontal(pl.col(*ends, "sigma").is_not_null()) & (pl.col("sigma") > 0)
    if int(table.select(asked.sum()).item()) < 2:
        raise UserError(
            "adaptive_intervals: at least 2 rows with a forecast and sigma above zero are needed, "
            f"found {table.select(asked.sum()).item()} of {table.height}."
        )
    parts = table.with_columns(asked=asked).partition_by("symbol", maintain_order=True)
    told = [_told(part, ends, horizon, state, rules) for part in parts]
    return pl.concat(told)


def _told(
    part: pl.DataFrame, ends: tuple[str, str], horizon: timedelta, state: State, rules: Rules
) -> pl.DataFrame:
    """Run one symbol's events in the order in which they became known."""
    from research.scores.conformal.adapting import ASK, LABEL, VOID, step

    rows = part.filter("asked")
    time = rows["time"].to_physical().to_numpy()
    low, high, sigma = (rows[c].to_numpy() for c in (*ends, "sigma"))
    score = np.maximum(low - (y := rows["y"].to_numpy()), y - high) / sigma
    due = time + horizon // timedelta(microseconds=1)
    # of what happens at one moment, labels come first; a forecast knows them
    order = np.lexsort((np.repeat([1, 0], len(time)), np.concatenate([time, due])))
    kinds = np.concatenate([np.full(len(time), ASK), np.where(np.isnan(score), VOID, LABEL)])[order]
    scores = np.concatenate([np.zeros(len(time)), score])[order]
    most = int(np.cumsum(np.where(kinds == ASK, 1, -1)).max(initial=1))
    k = len(rules.gammas)
    sized = state._replace(open_levels=np.zeros((most, k)), open_reach=np.zeros((most, k + 1)))
    _, said = scan(step, sized, (kinds, scores), rules)
    answers = said[kinds == ASK] if len(time) else np.empty((0, 3))
    low, high = low - answers[:, 0] * sigma, high + answers[:, 0] * sigma
    known = rows.select("time").with_columns(level=answers[:, 1], **_ends(low, high))
    return part.join(known, on="time", how="left", maintain_order="left").select(*_COLUMNS)


_COLUMNS = ("symbol", "time", "sigma", "y", "low", "high", "level")


def _ends(low: np.ndarray, high: np.ndarray) -> dict[str, pl.Series]:
    """Ends as columns: crossed ones meet in their middle, infinite ones are null."""
    middle = (np.where(np.isfinite(low), low, 0.0) + np.where(np.isfinite(high), high, 0.0)) / 2
    crossed, bound = low > high, high < np.inf
    ends = {"low": np.where(crossed, middle, low), "high": np.where(crossed, middle, high)}
    return {k: pl.Series(v).set(pl.Series(~bound), None) for k, v in ends.items()}


def coverage_bound(
    labels: int, *, coverage: float = 0.9, gamma: float = 0.01, delay: int = 1
) -> float:
    r"""How far the share of labels inside can lie from `coverage`, for any data at all.

    .. math:: \left|\frac1T \sum_{t \le T} \mathrm{err}_t - \alpha\right| \le
              \frac{\max(\alpha, 1 - \alpha) + \gamma h}{\gamma T}

    Parameters
    ----------
    labels : int
        T, labels that came.
    coverage, gamma
        As for `adaptive_intervals`, with one gamma.
    delay : int
        h, forecasts made until a forecast's label is known, its own counted: 1 where it is known
        before the next forecast.

    Returns
    -------
    float

    Notes
    -----
    A level at or below 0 lets nothing lie outside, one at or above 1 everything, so a level stays
    within gamma h of 0 to 1: h forecasts may be open while it crosses. It has moved by gamma times
    the sum on the left.

    Examples
    --------
    >>> round(coverage_bound(19_500), 4)
    0.0047
    """
    return (max(coverage, 1 - coverage) + gamma * delay) / (gamma * labels)


def interval_coverage(
    intervals: Any, *, horizon: timedelta, parts: int = 5, draws: int = 1000, seed: int = 0
) -> pl.DataFrame:
    """Say which share of labels lay inside, on the whole and by how wild the market was.

    Parameters
    ----------
    intervals : polars or pandas frame
        From `adaptive_intervals`. Rows without `y` or `level` are left out; one without ends has
        no bound, and its label lies inside.
    horizon : timedelta
        Length of the label.
    parts : int
        Of equal size, by `sigma`; at least 1.
    draws, seed
        Of the bootstrap of blocks, as for `ic`.

    Returns
    -------
    pl.DataFrame
        ``part`` (0: all rows; 1: the calmest), ``rows, coverage, low, high`` (95 %), ``width``:
        the median of those with ends, in the unit of `y`. Below three blocks `low` and `high` are
        0 and 1.

    Raises
    ------
    UserError
        If fewer than two rows are known.
    """
    wanted = {"symbol": pl.String, "time": schema.TIME, **dict.fromkeys(_COLUMNS[2:], pl.Float64)}
    rows = schema.as_table(intervals, wanted, "intervals").drop_nulls(("sigma", "y", "level"))
    if rows.height < 2:
        raise UserError(
            f"interval_coverage: at least 2 rows with y and level are needed, found {rows.height}. "
            "Wait until labels are known."
        )
    cut = _blocks.cut(rows["time"], horizon)
    held = pl.col("low").is_null() | pl.col("y").is_between("low", "high")
    inside = rows.select(held.cast(pl.Float64)).to_series().to_numpy()
    width = rows["high"] - rows["low"]
    group = (rows["sigma"].rank("ordinal").to_numpy() - 1) * max(parts, 1) // rows.height
    masks = [np.ones(rows.height, bool), *(group == g for g in range(parts))]
    lines = []
    for number, mask in enumerate(masks):
        sums = np.bincount(cut.block[mask], inside[mask])
        weights = np.bincount(cut.block[mask]).astype(float)
        sums, weights = sums[weights > 0], weights[weights > 0]
        share, low, high = float(inside[mask].mean()), 0.0, 1.0
        if len(sums) >= _blocks.MIN_BLOCKS:
            low, high = share + _blocks.drawn_ends(sums, weights, share, draws, seed)
        ends = {"low": max(float(low), 0.0), "high": min(float(high), 1.0)}
        lines.append(
            {
                "part": number,
                "rows": int(mask.sum()),
                "coverage": share,
                **ends,
                "width": width.filter(pl.Series(mask)).median(),
            }
        )
    return pl.DataFrame(lines)
