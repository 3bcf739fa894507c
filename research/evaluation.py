"""How good a study's forecasts are: every score of one table of forecasts, gathered once."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import Any

import polars as pl

from research import scores, signals, units
from research.batch import Progress
from research.errors import UserError


@dataclass(frozen=True)
class Evaluation:
    """All scores of one table of out-of-sample forecasts.

    Attributes
    ----------
    score : Score
        Mean daily rank IC, pooled over symbols, with its 95 % interval.
    pearson : Score
        Pearson correlation of what was forecast and what came, both in units of volatility.
    ic_break_even : float
        IC that pays the costs when the most extreme tenth of forecasts is traded.
    by_day, by_symbol, decay, regression : pl.DataFrame
        Tables as the functions of `scores` return them.
    quantiles : QuantileTable
        Mean return by bin, with the study's cut-points.
    optimism : pl.DataFrame
        The spread under causal cut-points beside those that look back from the end.
    surface : pl.DataFrame
        Break-even fee per side of each bin at each horizon, as `scores.fee_surface` returns it.
    by_hour : pl.DataFrame
        The same of the lowest and the highest bin, by symbol and UTC hour, at the study's horizon.
    classes : Classification or None
        Of forecasts with class probabilities.
    binned : pl.DataFrame
        The forecasts with their `bin`.
    """

    score: scores.Score
    pearson: scores.Score
    ic_break_even: float
    by_day: pl.DataFrame
    by_symbol: pl.DataFrame
    decay: pl.DataFrame
    regression: pl.DataFrame
    quantiles: scores.QuantileTable
    optimism: pl.DataFrame
    surface: pl.DataFrame
    by_hour: pl.DataFrame
    classes: scores.Classification | None
    binned: pl.DataFrame

    @property
    def optimism_gap(self) -> float | None:
        """What ranking each day with hindsight would add to the spread."""
        gap = self.optimism.filter(pl.col("scope") == "date")["gap"]
        return gap[0] if gap.len() else None

    @property
    def evidence(self) -> dict[str, float]:
        """What the ledger keeps of it."""
        score = self.score
        found = {"ic": score.ic, "ic_low": score.low, "ic_high": score.high}
        return {**found, "ic_break_even": self.ic_break_even}

    def _repr_html_(self) -> str:
        score = self.score
        return (
            f"<b>IC {score.ic:.4f}</b> [{score.low:.4f}, {score.high:.4f}], {self._pays()}"
            f"<br><small>{escape(score.blocks)}</small>"
            f"{self.classes._repr_html_() if self.classes else ''}{self.quantiles._repr_html_()}"
        )

    def _pays(self) -> str:
        needed = self.ic_break_even
        if needed >= 1:
            return "no IC pays for trading so often"
        known = f"ratio {self.score.ic / needed:.2f}" if needed > 0 else "trading costs nothing"
        return f"break-even {needed:.4f}, {known}"


def evaluate(
    forecasts: pl.DataFrame,
    labels_by_horizon: dict[timedelta, pl.DataFrame],
    *,
    horizon: timedelta,
    interval: timedelta,
    bins: int,
    scope: str,
    window: timedelta,
    every: timedelta,
    cost: float,
    draws: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Score forecasts in every way the house knows.

    Parameters
    ----------
    forecasts : pl.DataFrame
        As `schema.FORECASTS`.
    labels_by_horizon : dict of timedelta to pl.DataFrame
        Forward returns for the decay.
    horizon, interval : timedelta
        Of the labels, and of a bar.
    bins, scope, window, every
        As `signals.assign` takes them.
    cost : float
        Round trip, as a fraction of price.
    draws, seed : int
        Of the bootstrap.
    progress : callable, optional
        Takes (done, total, label).
    """
    cuts: dict[str, Any] = {"bins": bins, "window": window, "every": every}
    binned = signals.assign(forecasts, scope=scope, **cuts)  # type: ignore[arg-type]
    if binned["bin"].null_count() == binned.height:
        raise UserError(
            f"evaluation: {scope} cut-points need earlier forecasts (of {units.show(every)} for "
            "'trailing', of a fold for 'fold'), and there are none. Take a longer span or a "
            "shorter validation.train."
        )
    how: dict[str, Any] = {"horizon": horizon, "draws": draws, "seed": seed}
    drawn: dict[str, Any] = {"bins": bins, "draws": draws, "seed": seed}
    known = binned.drop_nulls("bin")
    extreme, now = known.filter(pl.col("bin").is_in([1, bins])), {horizon: forecasts}
    return Evaluation(
        score=scores.ic(forecasts, **how),
        pearson=scores.pearson_scaled(forecasts, **how),
        ic_break_even=scores.break_even_ic(forecasts, cost=cost),
        by_day=scores.ic_by_day(forecasts, horizon=horizon),
        by_symbol=scores.ic_by_symbol(forecasts, **how),
        decay=scores.decay(
            forecasts, labels_by_horizon, cost=cost, draws=draws, seed=seed, progress=progress
        ),
        regression=scores.regression(forecasts),
        quantiles=scores.quantile_table(binned, horizon=horizon, interval=interval),
        optimism=_optimism(binned, scope, cuts, horizon, interval),
        surface=scores.fee_surface(known, labels_by_horizon, **drawn),
        by_hour=scores.fee_surface(extreme, now, by=("symbol", "hour", "horizon"), **drawn),
        classes=scores.classification(forecasts, **how) if "p_up" in forecasts.columns else None,
        binned=binned,
    )


def _optimism(
    binned: pl.DataFrame,
    scope: str,
    cuts: dict[str, Any],
    horizon: timedelta,
    interval: timedelta,
) -> pl.DataFrame:
    causal = scope if scope in signals.CAUSAL else "trailing"
    looking_back = ["date", "global"]
    if binned["time"].is_duplicated().any():  # some moment has two symbols to rank
        looking_back.append("timestamp")
    bare = binned.drop("bin")
    tables = {
        name: binned if name == scope else signals.assign(bare, scope=name, **cuts)  # type: ignore[arg-type]
        for name in (causal, *looking_back)
    }
    return scores.optimism(tables, horizon=horizon, interval=interval, causal=causal)


def sheets(forecasts: pl.DataFrame, bars: pl.DataFrame) -> dict[str, Any] | str:
    """Draw the alphalens sheets, or say why there are none.

    Returns
    -------
    dict of str to matplotlib Figure, or str
        alphalens ranks symbols against each other: with fewer than three of them, or too short a
        span, it has nothing to rank, and the reason is returned instead.
    """
    from research import plots

    try:
        return plots.sheets(forecasts, bars)
    except UserError as reason:
        return f"no alphalens sheets: {reason}"
