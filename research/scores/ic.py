"""The information coefficient: does a higher forecast go with a higher return, and how surely."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.scores import blocks as _blocks
from research.scores.blocks import Blocks, scored
from research.scores.breakeven import break_even_ic


@dataclass(frozen=True, slots=True)
class Score:
    """A correlation with its 95 % interval.

    Attributes
    ----------
    ic : float
        The estimate; for `paired` a difference of two.
    low, high : float
        Ends of the 95 % interval; -1 and 1 where the data are too short for one.
    n_days, n_rows : int
        UTC days and rows that were scored.
    blocks : str
        How the interval was made.
    """

    ic: float
    low: float
    high: float
    n_days: int
    n_rows: int
    blocks: str

    def __str__(self) -> str:
        return f"{self.ic:+.4f} (95 % {self.low:+.4f} to {self.high:+.4f}; {self.n_days} days)"

    def _repr_html_(self) -> str:
        return (
            f"<b>{self.ic:+.4f}</b> &nbsp; 95&nbsp;% interval {self.low:+.4f} to {self.high:+.4f}"
            f"<br><small>{self.n_rows:,} rows, {self.n_days:,} UTC days; "
            f"{html.escape(self.blocks)}</small>"
        )


def ic(forecasts: Any, *, horizon: timedelta, draws: int = 1000, seed: int = 0) -> Score:
    r"""Mean over UTC days of the rank correlation between forecast and raw forward return.

    .. math:: IC = \frac1D \sum_d \operatorname{Spearman}_{i \in d}(f_i, y_i)

    Parameters
    ----------
    forecasts : polars or pandas frame
        With `symbol`, `time`, `forecast` and `y`; rows with null are left out.
    horizon : timedelta
        Length of the label; blocks are at least twice as long.
    draws : int
        Bootstrap draws of blocks.
    seed : int
        Of the draws; two scores over the same blocks and seed share their draws.

    Returns
    -------
    Score
        A day on which forecasts or returns are all equal counts as 0: no order, no information.

    Raises
    ------
    UserError
        If fewer than two rows are known.
    TableError
        If a column is missing or holds NaN.

    Notes
    -----
    All symbols of a day are ranked together, ties by their average rank. A row's day is that of
    its bar's open time, found as the day of ``time`` less one microsecond. Days with fewer than
    30 rows (coarse bars, a cut first day) are ranked together with the days after them, so that
    none is lost and none is all noise.

    The interval is a bootstrap of whole UTC days for all symbols together; with fewer than 15,
    of pieces of at least twice the horizon. Its half-widths are stretched by Student's factor
    and by ``sqrt(K / (K - 1))`` for K blocks. Days' ranks are kept while blocks are drawn (the
    correlation is linearised), which is exact for whole days. Below three blocks the interval
    is -1 to 1.

    A day's ranks are taken about the day's own mean, which the day's returns have moved. A
    forecast made of past returns gains from that without any skill: reversal about +0.008 at ten
    minutes, five symbols and no edge at all, momentum as much below zero. The end of the interval
    on that side of truth is therefore moved out by the *lift*: the score less the one that ranks
    each day about the whole sample's medians.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> start, end = (datetime(2025, 1, d, tzinfo=UTC) for d in (1, 3))
    >>> times = pl.datetime_range(start, end, "1h", closed="right", eager=True)
    >>> wave = [float(i * 7 % 11) for i in range(48)]
    >>> table = pl.DataFrame({"symbol": "A", "time": times, "forecast": wave})
    >>> score = ic(table.with_columns(y=pl.col("forecast") * 0.01), horizon=timedelta(hours=1))
    >>> round(score.ic, 6), score.n_days
    (1.0, 2)
    """
    rows = scored(forecasts, ("forecast", "y"), "forecasts")
    cut = _blocks.cut(rows["time"], horizon)
    score = _bootstrap(_rank_parts(rows, cut), cut, draws, seed)
    if cut.count < _blocks.MIN_BLOCKS:
        return score
    return _reach(score, score.ic - _uncentred(rows, cut))


def pearson_scaled(
    forecasts: Any, *, horizon: timedelta, draws: int = 1000, seed: int = 0
) -> Score:
    r"""Mean over UTC days of the correlation of volatility-scaled forecast and return.

    Pearson's correlation of :math:`f / \sigma` with :math:`y / (\sigma \sqrt h)`: what a trader
    who sizes by volatility earns, and less swayed by the wildest minutes than raw returns are.

    Parameters
    ----------
    forecasts : polars or pandas frame
        With `symbol`, `time`, `forecast`, `sigma` and `y`; rows with null, or with `sigma` not
        above zero, are left out.
    horizon, draws, seed
        As for `ic`.

    Returns
    -------
    Score

    Raises
    ------
    UserError
        If fewer than two rows are known.

    Notes
    -----
    The constant ``sqrt(h)`` does not change a correlation, so it is not asked for.
    """
    rows = scored(forecasts, ("forecast", "sigma", "y"), "forecasts")
    rows = rows.filter(pl.col("sigma") > 0)
    if rows.height < 2:
        raise UserError(
            "pearson_scaled: at least 2 rows with sigma above zero are needed, found "
            f"{rows.height}. Build sigma with the features."
        )
    cut = _blocks.cut(rows["time"], horizon)
    x, y = ((rows[c] / rows["sigma"]).to_numpy() for c in ("forecast", "y"))
    return _bootstrap(_parts(x, y, cut.group), cut, draws, seed)


def paired(a: Any, b: Any, *, horizon: timedelta, draws: int = 1000, seed: int = 0) -> Score:
    """Difference of two forecasts' ICs, `a` less `b`, over the rows that both know.

    Parameters
    ----------
    a, b : polars or pandas frames
        As for `ic`. Each is scored against its own `y`, over the keys both hold.
    horizon : timedelta
        The longer one where the two differ.
    draws, seed
        As for `ic`.

    Returns
    -------
    Score
        Much narrower than the two intervals suggest where the forecasts are alike, because
        every draw takes the same blocks for both.

    Raises
    ------
    UserError
        If the two share fewer than two rows.
    """
    left, right = (scored(x, ("forecast", "y"), n) for x, n in ((a, "a"), (b, "b")))
    both = left.join(right, on=["symbol", "time"], suffix="_b", maintain_order="left")
    if both.height < 2:
        raise UserError(
            f"paired: a ({left.height} rows) and b ({right.height} rows) share {both.height} "
            "keys of symbol and time, at least 2 are needed. Compare runs over the same span."
        )
    cut = _blocks.cut(both["time"], horizon)
    other = both.select(forecast="forecast_b", y="y_b")
    return _bootstrap(_rank_parts(both, cut) - _rank_parts(other, cut), cut, draws, seed)


def ic_by_day(forecasts: Any, *, horizon: timedelta) -> pl.DataFrame:
    """IC of each UTC day, with an interval from pieces of that day.

    Parameters
    ----------
    forecasts, horizon
        As for `ic`.

    Returns
    -------
    pl.DataFrame
        `day` (Date, the first of a group of thin days), `ic`, `low`, `high`, `rows`. The mean of
        `ic` is the IC of `ic`. `low` and `high` are null for a day of fewer than three pieces.
    """
    rows = scored(forecasts, ("forecast", "y"), "forecasts")
    cut = _blocks.cut(rows["time"], horizon)
    parts = rows.select("time", day=_blocks.utc_day()).with_columns(
        group=pl.Series(cut.group), part=pl.Series(_rank_parts(rows, cut))
    )
    length = max(2 * horizon, timedelta(hours=1))
    piece = pl.col("time").to_physical() // (length // timedelta(microseconds=1))
    days = parts.group_by("group", piece=piece).agg(
        pl.col("day").min(), part=pl.col("part").sum(), rows=pl.len()
    )
    return _with_day_interval(days)


def _with_day_interval(pieces: pl.DataFrame) -> pl.DataFrame:
    residual = pl.col("part") - pl.col("rows") * (pl.col("part").sum() / pl.col("rows").sum())
    days = pieces.group_by("group").agg(
        pl.col("day").min(),
        ic=pl.col("part").sum() / pl.col("rows").sum(),
        error=(residual**2).sum().sqrt() / pl.col("rows").sum(),
        rows=pl.col("rows").sum().cast(pl.Int64),
        pieces=pl.len(),
    )
    count = days["pieces"].to_numpy()
    reach = _blocks.half_width_factor(count) * np.sqrt(count / np.maximum(count - 1, 1))
    half = pl.when(pl.col("pieces") >= 3).then(pl.col("error") * pl.Series(reach))
    return days.select(
        "day",
        "ic",
        low=(pl.col("ic") - half).clip(-1, 1),
        high=(pl.col("ic") + half).clip(-1, 1),
        rows="rows",
    ).sort("day")


def ic_by_symbol(
    forecasts: Any, *, horizon: timedelta, draws: int = 1000, seed: int = 0
) -> pl.DataFrame:
    """IC of each symbol alone.

    Parameters
    ----------
    forecasts, horizon, draws, seed
        As for `ic`.

    Returns
    -------
    pl.DataFrame
        `symbol`, `ic`, `low`, `high`, `days`, `rows`; symbols with fewer than 2 rows left out.
    """
    rows = scored(forecasts, ("forecast", "y"), "forecasts")

    def row(part: pl.DataFrame) -> dict[str, Any]:
        score = ic(part, horizon=horizon, draws=draws, seed=seed)
        return {"symbol": part["symbol"][0], **_columns(score)}

    parts = rows.partition_by("symbol", maintain_order=True)
    return pl.DataFrame([row(part) for part in parts if part.height >= 2])


def decay(
    forecasts: Any,
    labels_by_horizon: dict[timedelta, Any],
    *,
    cost: float,
    share: float = 0.1,
    draws: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> pl.DataFrame:
    """IC of the same forecasts against returns over other horizons, with each one's break-even.

    Parameters
    ----------
    forecasts : polars or pandas frame
        With `symbol`, `time` and `forecast`.
    labels_by_horizon : dict of timedelta to labels table
        Each with `symbol`, `time` and `y`.
    cost, share
        As for `break_even_ic`.
    draws, seed
        As for `ic`.
    progress : callable, optional
        Called as ``progress(done, total, label)``.

    Returns
    -------
    pl.DataFrame
        `horizon` (Duration), `ic`, `low`, `high`, `ic_break_even`, `days`, `rows`; by horizon. A
        horizon that gaps leave no rows for is left out.

    """
    known = scored(forecasts, ("forecast",), "forecasts")
    lines = []
    for done, (horizon, labels) in enumerate(sorted(labels_by_horizon.items())):
        table = known.join(scored(labels, ("y",), "labels"), on=["symbol", "time"])
        if table.height < 2:
            continue
        table = table.sort("symbol", "time")
        score = ic(table, horizon=horizon, draws=draws, seed=seed)
        least = break_even_ic(table, cost=cost, share=share)
        values = _columns(score)
        lines.append({"horizon": horizon, "ic_break_even": least, **values})
        if progress:
            progress(done + 1, len(labels_by_horizon), str(horizon))
    return pl.DataFrame(lines, schema=_DECAY).select(list(_DECAY))


_DECAY: dict[str, Any] = {
    "horizon": pl.Duration("us"),
    **dict.fromkeys(("ic", "low", "high", "ic_break_even"), pl.Float64),
    **dict.fromkeys(("days", "rows"), pl.Int64),
}


def _columns(score: Score) -> dict[str, Any]:
    low, high = score.low, score.high
    return {"ic": score.ic, "low": low, "high": high, "days": score.n_days, "rows": score.n_rows}


def _rank_parts(rows: pl.DataFrame, cut: Blocks) -> np.ndarray:
    ranked = rows.select("forecast", "y").with_columns(group=pl.Series(cut.group))
    ranked = ranked.select(pl.col("forecast", "y").rank("average").over("group"))
    return _parts(ranked["forecast"].to_numpy(), ranked["y"].to_numpy(), cut.group)


def _uncentred(rows: pl.DataFrame, cut: Blocks) -> float:
    """Mean over groups of the signed-rank correlation about the medians of the whole sample."""
    away = pl.col("forecast", "y") - pl.col("forecast", "y").median()
    signed = rows.select(away).with_columns(group=pl.Series(cut.group))
    size = pl.col("forecast", "y").abs().rank("average").over("group")
    ranked = signed.select(size * pl.col("forecast", "y").sign())
    x, y = ranked["forecast"].to_numpy(), ranked["y"].to_numpy()
    both, own, other = (np.bincount(cut.group, part) for part in (x * y, x * x, y * y))
    norm = np.sqrt(own * other)
    return float(np.mean(np.divide(both, norm, out=np.zeros_like(both), where=norm > 0)))


def _reach(score: Score, lift: float) -> Score:
    """Move the interval's end out to where the score would lie without its lift."""
    low, high = score.low - max(lift, 0.0), score.high - min(lift, 0.0)
    text = f"{score.blocks}; one end moved out for what a day's own mean lifts ({lift:+z.4f})"
    return replace(score, low=max(low, -1.0), high=min(high, 1.0), blocks=text)


def _parts(x: np.ndarray, y: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Each row's share in its group's correlation: the mean over a group is the correlation.

    The second term is the correlation's own sensitivity to the spread of x and y, so that a
    perfect correlation has parts that are all 1, and sums over blocks vary as they should.
    """
    u, v = _standard(x, group), _standard(y, group)
    product = u * v
    each = np.bincount(group, product) / np.bincount(group)
    return product + each[group] * (1 - (u * u + v * v) / 2)


def _standard(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    n = np.bincount(group)
    mean = np.bincount(group, values) / n
    centred = values - mean[group]
    spread = np.sqrt(np.bincount(group, centred * centred) / n)
    constant = spread <= 1e-12 * np.abs(mean)  # rounding alone
    return centred * np.where(constant, 0.0, 1 / np.where(constant, 1.0, spread))[group]


def _bootstrap(parts: np.ndarray, cut: Blocks, draws: int, seed: int) -> Score:
    if draws < 1:
        raise UserError(f"ic: draws must be at least 1, got {draws}.")
    weight = 1 / np.bincount(cut.group)[cut.group]
    sums, weights = np.bincount(cut.block, parts * weight), np.bincount(cut.block, weight)
    value = float(sums.sum() / weights.sum())
    low, high = -1.0, 1.0
    if cut.count >= _blocks.MIN_BLOCKS:
        low, high = (value + _blocks.drawn_ends(sums, weights, value, draws, seed)).tolist()
    return Score(value, low, high, cut.n_days, len(parts), cut.told(draws))
