"""What each quantile of the forecasts earned, and how much of that is hindsight."""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.scores import blocks as _blocks
from research.scores.blocks import Blocks, scored


@dataclass(frozen=True, slots=True)
class QuantileTable:
    """Returns by bin, and what they say together. Returns are fractions, before any cost.

    Attributes
    ----------
    table : pl.DataFrame
        `bin`, `rows`, `mean` (return over the horizon), `error` (standard error), `low`, `high`
        (95 %), `hit_rate` (share of returns above zero), `cumulative` (see `cumulative`).
        Errors are null for a bin that is met in fewer than three blocks.
    spread, low, high : float or None
        Mean return of the top bin less that of the bottom one, and its interval.
    monotonicity : float or None
        Spearman correlation of bin and mean return; null where fewer than two bins are met.
    turnover : float
        Share of rows whose bin differs from the same symbol's row before.
    break_even_fee : float or None
        Fee per side at which long top and short bottom earn nothing: a quarter of the spread,
        for the two round trips that earn it have four sides. Negative where the spread is.
    blocks : str
        How the intervals were made.
    """

    table: pl.DataFrame
    spread: float | None
    low: float | None
    high: float | None
    monotonicity: float | None
    turnover: float
    break_even_fee: float | None
    blocks: str

    def _repr_html_(self) -> str:
        shown = self.table if self.table.height <= 20 else _ends(self.table)
        lines = "".join(_line(row) for row in shown.iter_rows(named=True))
        head = "".join(f"<th>{c}</th>" for c in ("bin", "rows", "mean", "95 %", "hits"))
        return (
            f"<b>top less bottom {_bps(self.spread)}</b> ({_bps(self.low)} to {_bps(self.high)}), "
            f"break-even fee {_bps(self.break_even_fee)} per side, turnover {self.turnover:.0%}"
            f"<table><tr>{head}</tr>{lines}</table><small>{html.escape(self.blocks)}</small>"
        )


def _ends(table: pl.DataFrame) -> pl.DataFrame:
    return pl.concat([table.head(5), table.tail(5)])


def _line(row: dict[str, Any]) -> str:
    span = f"{_bps(row['low'])} to {_bps(row['high'])}"
    cells = (row["bin"], f"{row['rows']:,}", _bps(row["mean"]), span, f"{row['hit_rate']:.1%}")
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _bps(value: float | None) -> str:
    return "unknown" if value is None else f"{value * 1e4:+.2f} bps"


def quantile_table(binned: Any, *, horizon: timedelta, interval: timedelta) -> QuantileTable:
    """Mean return of each bin with its interval, the spread, and what the spread could pay.

    Parameters
    ----------
    binned : polars or pandas frame
        With `symbol`, `time`, `y` and `bin` (Int32, 1 is the lowest forecast); rows with null
        are left out.
    horizon : timedelta
        Length of the label `y`.
    interval : timedelta
        Length of one bar.

    Returns
    -------
    QuantileTable

    Raises
    ------
    UserError
        If fewer than two rows have a bin and a return.

    Notes
    -----
    Standard errors are those of a mean over blocks of time with all symbols together, cut as for
    `ic`. As honest as the bins are: bins ranked after the fact flatter (see `optimism`).
    """
    rows = scored(binned, ("y", "bin"), "binned forecasts")
    cut = _blocks.cut(rows["time"], horizon)
    cells = _cells(rows, cut)
    table = _bin_means(rows, cells, _capital(rows, horizon, interval))
    spread, half = _spread(cells, table)
    return QuantileTable(
        table=table,
        spread=spread,
        low=None if spread is None or half is None else spread - half,
        high=None if spread is None or half is None else spread + half,
        monotonicity=_monotonicity(table),
        turnover=_turnover(rows),
        break_even_fee=None if spread is None else spread / 4,
        blocks=f"intervals from {cut.text}, all symbols together",
    )


@dataclass(frozen=True, slots=True)
class _Cells:
    """Sums over the rows of one bin in one block: the only thing means and errors need."""

    bin: np.ndarray
    block: np.ndarray
    y: np.ndarray
    rows: np.ndarray


def _cells(rows: pl.DataFrame, cut: Blocks) -> _Cells:
    bins, y = rows["bin"].to_numpy().astype(np.int64), rows["y"].to_numpy()
    width = int(bins.max()) + 1
    key = cut.block * width + bins
    order = np.argsort(key)
    ordered = key[order]
    starts = np.concatenate(([0], np.flatnonzero(np.diff(ordered)) + 1))
    block, bin_ = np.divmod(ordered[starts], width)
    counts = np.diff(starts, append=len(ordered))
    return _Cells(bin_, block, np.add.reduceat(y[order], starts), counts)


def _bin_means(rows: pl.DataFrame, cells: _Cells, capital: float) -> pl.DataFrame:
    bins, of = np.unique(cells.bin, return_inverse=True)
    count, total = np.bincount(of, cells.rows), np.bincount(of, cells.y)
    mean, met = total / count, np.bincount(of)
    squares = np.bincount(of, (cells.y - cells.rows * mean[of]) ** 2)
    # one block says nothing of how blocks differ
    error = np.where(met >= 3, np.sqrt(squares * met / np.maximum(met - 1, 1)) / count, np.nan)
    half = error * _blocks.half_width_factor(met)
    hits = rows.filter(pl.col("y") > 0)["bin"].to_numpy()
    table = {
        "bin": pl.Series(bins, dtype=pl.Int32),
        "rows": pl.Series(count).cast(pl.Int64),
        "mean": mean,
        "error": error,
        "low": mean - half,
        "high": mean + half,
        "hit_rate": np.bincount(hits, minlength=int(bins.max()) + 1)[bins] / count,
        "cumulative": total * capital,
    }
    return pl.DataFrame(table).fill_nan(None)


def _spread(cells: _Cells, table: pl.DataFrame) -> tuple[float | None, float | None]:
    """Top less bottom mean, and how far its 95 % interval reaches to each side."""
    if table.height < 2:
        return None, None
    bottom, top = table.row(0, named=True), table.row(-1, named=True)
    spread = top["mean"] - bottom["mean"]
    if top["error"] is None or bottom["error"] is None:
        return spread, None
    part = np.zeros(int(cells.block.max()) + 1)
    met = np.zeros(len(part), bool)
    for end, sign in ((top, 1), (bottom, -1)):
        at = cells.bin == end["bin"]
        off = cells.y[at] - cells.rows[at] * end["mean"]
        part[cells.block[at]] += sign * off / end["rows"]
        met[cells.block[at]] = True
    count = int(met.sum())
    error = float(np.sqrt((part**2).sum() * count / (count - 1)))
    return spread, error * float(_blocks.half_width_factor(count))


def _monotonicity(table: pl.DataFrame) -> float | None:
    if table.height < 2:
        return None
    value = table.select(pl.corr("bin", "mean", method="spearman")).item()
    return None if value is None or np.isnan(value) else float(value)


def _turnover(rows: pl.DataFrame) -> float:
    same = rows["symbol"] == rows["symbol"].shift(1)
    changed = (rows["bin"] != rows["bin"].shift(1)) & same
    pairs = int(same.sum())
    return int(changed.sum()) / pairs if pairs else 0.0


def _capital(rows: pl.DataFrame, horizon: timedelta, interval: timedelta) -> float:
    """Share of the capital that one row puts to work."""
    if interval <= timedelta(0) or horizon < interval:
        raise UserError(
            f"quantile_table: horizon must be at least one interval, got horizon {horizon} and "
            f"interval {interval}."
        )
    return (interval / horizon) / rows["symbol"].n_unique()


def cumulative(binned: Any, *, horizon: timedelta, interval: timedelta) -> pl.DataFrame:
    """Running return of each bin by UTC day.

    The capital is split evenly over symbols and over the bars of one horizon, so that labels
    that overlap never use the same money twice; nothing is compounded and nothing is paid.

    Parameters
    ----------
    binned, horizon, interval
        As for `quantile_table`.

    Returns
    -------
    pl.DataFrame
        `day` (Date), `bin`, `cumulative` (fraction of the capital up to the end of that day); a
        row for every bin on every day.

    Raises
    ------
    UserError
        If fewer than two rows have a bin and a return.
    """
    rows = scored(binned, ("y", "bin"), "binned forecasts")
    capital = _capital(rows, horizon, interval)
    daily = rows.group_by("bin", day=_blocks.utc_day()).agg(earned=pl.col("y").sum() * capital)
    every = daily.select(pl.col("day").unique()).join(
        daily.select(pl.col("bin").unique()), how="cross"
    )
    filled = every.join(daily, on=["day", "bin"], how="left").sort("bin", "day")
    curve = pl.col("earned").fill_null(0.0).cum_sum().over("bin")
    return filled.select("day", "bin", cumulative=curve).sort("day", "bin")


def optimism(
    binned: dict[str, Any],
    *,
    horizon: timedelta,
    interval: timedelta,
    causal: str = "trailing",
) -> pl.DataFrame:
    """Spread of every way to cut bins beside the one that was knowable in time.

    A bin ranked within its whole day, timestamp or sample uses forecasts that came later. A
    contrarian score shows why that flatters: the day's lowest point is one the price did not
    fall on from, and that is known only at midnight.

    Parameters
    ----------
    binned : dict of str to frame
        Name of the scope to the same forecasts with that scope's `bin`.
    horizon, interval
        As for `quantile_table`.
    causal : str
        The scope that was knowable; the others are measured against it.

    Returns
    -------
    pl.DataFrame
        `scope`, `known_in_time`, `rows` (in the top and bottom bin), `spread`, `low`, `high`,
        `gap` (its spread less the causal one's; null where either is unknown); causal first.
        Over the rows to which the causal scope gave a bin.

    Raises
    ------
    UserError
        If `causal` is not among the scopes.
    """
    if causal not in binned:
        raise UserError(f"optimism: scope {causal!r} is not here. Here: {', '.join(binned)}.")
    known = scored(binned[causal], ("y", "bin"), f"{causal} bins").select("symbol", "time")

    def row(scope: str) -> dict[str, Any]:
        rows = scored(binned[scope], ("y", "bin"), f"{scope} bins")
        rows = rows.join(known, on=["symbol", "time"], how="semi", maintain_order="left")
        found = quantile_table(rows, horizon=horizon, interval=interval)
        ends = found.table.filter(pl.col("bin").is_in([1, found.table["bin"].max()]))
        return {
            "scope": scope,
            "known_in_time": scope == causal or scope in ("trailing", "fold"),
            "rows": int(ends["rows"].sum()),
            "spread": found.spread,
            "low": found.low,
            "high": found.high,
        }

    others = sorted(set(binned) - {causal})
    table = pl.DataFrame([row(s) for s in (causal, *others)], schema_overrides=_OPTIMISM)
    return table.with_columns(gap=pl.col("spread") - pl.col("spread").first())


_OPTIMISM = {"spread": pl.Float64, "low": pl.Float64, "high": pl.Float64}
