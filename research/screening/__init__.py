"""Which features say something, how steadily, and which ones are unsound: one call, all tables.

The room behind notebook 02. It needs no model: every feature is taken as if it were the forecast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import Any

import polars as pl

from research import units
from research.batch import Progress
from research.features import lint
from research.screening import shape, tables

__all__ = ["Screening", "screen_features"]

_SHOWN = 12


@dataclass(frozen=True)
class Screening:
    """What each feature alone is worth on the rows that were handed in.

    Attributes
    ----------
    horizon : timedelta
        The horizon that all tables but `ic` are about.
    ic : pl.DataFrame
        feature, horizon, ic, low, high, days, rows: mean daily rank IC with its 95 % interval,
        one row per feature and horizon, as `scores.ic` gives it.
    by_day : pl.DataFrame
        feature, day, ic, low, high, rows: as `scores.ic_by_day`.
    by_month : pl.DataFrame
        feature, month (Date), ic, days, rows: mean of the daily ICs.
    by_symbol : pl.DataFrame
        feature, symbol, ic, low, high, days, rows: each symbol ranked alone.
    stability : pl.DataFrame
        feature, ic; months, month_mean, month_sd, month_same (share of months with the sign of
        `ic`); symbols, symbol_mean, symbol_sd, symbol_same. sd is null below two.
    over_time : pl.DataFrame
        feature, period, q01, q25, q50, q75, q99, rows, missing: by day, or by week over 21 days.
    columns : pl.DataFrame
        feature, rows, missing, infinite, constant, turnover, pairs, distinct.
    correlation : pl.DataFrame
        Square: feature, and a column for each, ordered so that like stands beside like.
    pairs : pl.DataFrame
        feature, twin, correlation, rows: pairs beyond 0.95.
    findings : pl.DataFrame
        feature, finding, value, allowed, twin: what the lint says.
    """

    horizon: timedelta
    ic: pl.DataFrame
    by_day: pl.DataFrame
    by_month: pl.DataFrame
    by_symbol: pl.DataFrame
    stability: pl.DataFrame
    over_time: pl.DataFrame
    columns: pl.DataFrame
    correlation: pl.DataFrame
    pairs: pl.DataFrame
    findings: pl.DataFrame

    @property
    def ranked(self) -> pl.DataFrame:
        """The rows of `ic` at `horizon`, the strongest first; those without a score last."""
        here = self.ic.filter(pl.col("horizon") == self.horizon)
        return here.sort(pl.col("ic").abs(), descending=True, nulls_last=True, maintain_order=True)

    @property
    def clear(self) -> list[str]:
        """Features whose interval at `horizon` does not hold zero, the strongest first."""
        return self.ranked.filter((pl.col("low") > 0) | (pl.col("high") < 0))["feature"].to_list()

    def _repr_html_(self) -> str:
        ranked, clear = self.ranked, self.clear
        days, rows = ranked.select(pl.col("days", "rows").max()).row(0)
        chance = 0.05 * ranked.height
        head = (
            f"<b>{len(clear)} of {ranked.height} features have an interval clear of zero</b> over "
            f"{units.show(self.horizon)}; about {chance:.1f} would by chance alone.<br><small>"
            f"{days:,} UTC days, {rows:,} rows, {self.by_symbol['symbol'].n_unique()} symbols. "
            f"Seen on these rows, a feature is not yet proven on any other.</small>"
        )
        return head + _table(self._summary()) + self._notes()

    def _summary(self) -> pl.DataFrame:
        steady = self.stability.select("feature", "month_same", "months", "symbol_same", "symbols")
        moves = self.columns.select("feature", "turnover", "missing")
        wide = self.ranked.head(_SHOWN).join(
            steady, on="feature", how="left", maintain_order="left"
        )
        return wide.join(moves, on="feature", how="left", maintain_order="left")

    def _notes(self) -> str:
        notes = []
        for word in self.findings["finding"].unique(maintain_order=True).to_list():
            who = self.findings.filter(pl.col("finding") == word)["feature"].to_list()
            notes.append(f"{word}: {', '.join(map(escape, who))}")
        if self.pairs.height:
            notes.append(f"{self.pairs.height} pairs correlate beyond {shape.SAME}")
        return f"<p>{'. '.join(notes) or 'The lint finds nothing'}.</p>"


def _table(rows: pl.DataFrame) -> str:
    head = "".join(
        f"<th>{name}</th>"
        for name in ("feature", "IC", "95 % interval", "same sign", "turnover", "missing")
    )
    lines = [
        f"<tr><td>{escape(row['feature'])}</td><td>{_number(row['ic'], '+.4f')}</td>"
        f"<td>{_number(row['low'], '+.4f')} to {_number(row['high'], '+.4f')}</td>"
        f"<td>{_share(row['month_same'], row['months'])} months, "
        f"{_share(row['symbol_same'], row['symbols'])} symbols</td>"
        f"<td>{_number(row['turnover'], '.2f')}</td><td>{_number(row['missing'], '.1%')}</td></tr>"
        for row in rows.iter_rows(named=True)
    ]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _number(value: float | None, how: str) -> str:
    return "–" if value is None else format(value, how)


def _share(share: float | None, whole: int) -> str:
    return "–" if share is None else f"{round(share * whole)} of {whole}"


def screen_features(
    features: Any,
    labels_by_horizon: dict[timedelta, Any],
    *,
    bars: Any = None,
    horizon: timedelta,
    draws: int = 300,
    seed: int = 0,
    progress: Progress | None = None,
) -> Screening:
    """Score each feature alone, as if it were the forecast, and look at what it is made of.

    Parameters
    ----------
    features : polars or pandas frame
        symbol, time and feature columns (`sigma` is not one). **Hand in training rows alone**:
        what is chosen on the days it is judged on proves nothing.
    labels_by_horizon : dict of timedelta to polars or pandas frame
        Labels (`schema.LABELS`) for each horizon, `horizon` among them; more rows than features
        do no harm. What was known only after the last label of `horizon` is left out, so that a
        longer horizon does not look beyond the training rows.
    bars : polars or pandas frame, optional
        With close: then the lint also looks for price levels.
    horizon : timedelta
        What all tables but `ic` are about.
    draws, seed : int
        Of the bootstrap.
    progress : callable, optional
        Takes (done, total, label).

    Returns
    -------
    Screening

    Raises
    ------
    UserError
        If there is no label for `horizon`, no feature, or fewer than 100 rows with both.

    Notes
    -----
    ICs and their intervals equal those of `scores.ic`, over the rows where the feature and the
    label are known. A feature that is null, NaN or infinite throughout has no score (null). With
    n features about n / 20 intervals are clear of zero by chance; nothing is corrected for that.
    """
    table, names = tables.features(features)
    labels = tables.aligned(table, labels_by_horizon, horizon)
    stage = _stages([units.show(h) for h in labels], progress)
    scorer = tables.Scorer(table, names, draws, seed)
    scored = {ahead: stage(scorer.scored, y, ahead) for ahead, y in labels.items()}
    by_symbol = stage(scorer.by_symbol, labels[horizon], horizon)
    ic, by_day = scorer.ic(scored), scorer.by_day(scored[horizon])
    by_month = tables.by_month(by_day)
    correlation, pairs = stage(shape.redundancy, table, names)
    return Screening(
        horizon=horizon,
        ic=ic,
        by_day=by_day,
        by_month=by_month,
        by_symbol=by_symbol,
        stability=tables.stability(
            ic.filter(pl.col("horizon") == horizon), month=by_month, symbol=by_symbol
        ),
        over_time=stage(shape.over_time, table, names),
        columns=stage(shape.described, table, names),
        correlation=correlation,
        pairs=pairs,
        findings=stage(lint.lint, table, bars),
    )


def _stages(horizons: list[str], progress: Progress | None) -> Callable[..., Any]:
    """Return a call that runs one stage after another and tells how far it has come."""
    labels = [*horizons, "symbols", "redundancy", "over time", "columns", "lint"]
    done = iter(range(1, len(labels) + 1))

    def stage(work: Callable[..., Any], *arguments: Any) -> Any:
        result, count = work(*arguments), next(done)
        if progress:
            progress(count, len(labels), labels[count - 1])
        return result

    return stage
