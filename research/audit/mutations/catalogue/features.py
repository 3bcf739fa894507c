"""Leaks of features: rows that know what comes later, other coins, or their own outcome."""

from __future__ import annotations

from dataclasses import replace
from datetime import time
from typing import Any

import numpy as np
import polars as pl

from research.audit.mutations.switch import mutation

EVALUATED = "research.features.build:evaluated"
BUILD = "research.features:build"
RESOLVE = "research.features:resolve"
TRAINED = "research.training:forecast"


def _inputs(table: pl.DataFrame) -> list[str]:
    return [c for c in table.columns if c not in ("symbol", "time", "sigma")]


def _column(real: Any, made: Any) -> Any:
    """Let `made` of a window's bars stand where the first column's own values stood."""

    def evaluated(window: pl.DataFrame, exprs: list[pl.Expr]) -> pl.DataFrame:
        values = real(window, exprs)
        return values.with_columns(made(window).alias(_inputs(values)[0]))

    return evaluated


def _expression(real: Any, made: Any) -> Any:
    """Let `made` of the first column's expression stand in the feature set."""

    def resolve(name: str, **how: Any) -> Any:
        found = real(name, **how)
        column, feature = next(iter(found.columns.items()))
        peeking = replace(
            feature, expr=made(feature.expr), source=f"{made.__qualname__} {feature.source}"
        )
        return replace(found, columns={**found.columns, column: peeking})

    return resolve


@mutation(
    "centred_window", "a moving average is centred, so half its bars are still to come", RESOLVE
)
def _centred(real: Any) -> Any:
    def made(expr: pl.Expr) -> pl.Expr:
        close = pl.col("close")
        return close.rolling_mean(7, center=True) / close - 1

    return _expression(real, made)


@mutation(
    "one_bar_peek",
    "a feature looks one bar ahead at a single bar of the day and at no other",
    RESOLVE,
)
def _peek(real: Any) -> Any:
    def made(expr: pl.Expr) -> pl.Expr:
        at = pl.col("open_time").dt.time() == time(13, 35)
        return pl.when(at).then(pl.col("close").shift(-1) / pl.col("close") - 1).otherwise(expr)

    return _expression(real, made)


@mutation(
    "next_bar", "a feature is one row late, so that it tells the bar that comes next", EVALUATED
)
def _next_bar(real: Any) -> Any:
    def made(window: pl.DataFrame) -> pl.Series:
        return (window["close"].shift(-1) / window["close"] - 1).fill_null(0.0)

    return _column(real, made)


@mutation("full_day_rank", "a feature is ranked within its whole day, evening included", EVALUATED)
def _day_rank(real: Any) -> Any:
    def made(window: pl.DataFrame) -> pl.Series:
        day = pl.col("open_time").dt.date()
        return window.select(pl.col("close").rank().over(day) / pl.len().over(day)).to_series()

    return _column(real, made)


@mutation(
    "hour_stamped_at_open",
    "the return of the hour that a bar lies in is joined to it, though the hour is not over",
    EVALUATED,
)
def _hour(real: Any) -> Any:
    def made(window: pl.DataFrame) -> pl.Series:
        hour = pl.col("open_time").dt.truncate("1h")
        move = pl.col("close").last().over(hour) / pl.col("open").first().over(hour) - 1
        return window.select(move).to_series()

    return _column(real, made)


@mutation(
    "future_volatility",
    "targets are scaled by the volatility of the bars ahead, not of those behind",
    EVALUATED,
)
def _future_volatility(real: Any) -> Any:
    def evaluated(window: pl.DataFrame, exprs: list[pl.Expr]) -> pl.DataFrame:
        values = real(window, exprs)
        if "sigma" not in values.columns:
            return values
        return values.with_columns(pl.col("sigma").shift(-6).forward_fill())

    return evaluated


@mutation("backfilled_features", "unknown first values are filled with the first known one", BUILD)
def _backfilled(real: Any) -> Any:
    def build(bars: Any, feature_set: Any, **more: Any) -> pl.DataFrame:
        table = real(bars, feature_set, **more)
        return table.with_columns(pl.col(*_inputs(table), "sigma").backward_fill().over("symbol"))

    return build


@mutation(
    "frac_diff_search",
    "the order of a fractional difference is searched over the whole sample, test and all",
    BUILD,
)
def _frac_diff(real: Any) -> Any:
    def build(bars: Any, feature_set: Any, **more: Any) -> pl.DataFrame:
        table = real(bars, feature_set, **more)
        name, made = _inputs(table)[0], []
        for rows in bars.partition_by("symbol", maintain_order=True):
            price = np.log(rows["close"].to_numpy())
            made.append(_differenced(price, _order(price)))
        found = pl.Series(name, np.concatenate(made))
        return table.with_columns(pl.when(pl.col(name).is_not_null()).then(found).alias(name))

    return build


def _differenced(price: np.ndarray, order: float, taps: int = 20) -> np.ndarray:
    weight = np.cumprod([1.0, *((k - 1 - order) / k for k in range(1, taps))])
    return np.convolve(price, weight)[: len(price)]


def _order(price: np.ndarray) -> float:
    """Return the least order whose series looks stationary: a lag-one correlation below 0.9."""
    low, high = 0.0, 1.0
    for _ in range(12):
        order = (low + high) / 2
        made = _differenced(price, order)[20:]
        still = np.corrcoef(made[1:], made[:-1])[0, 1] < 0.9
        low, high = (low, order) if still else (order, high)
    return high


@mutation(
    "feature_selection",
    "the features are those that went best with the outcome over the whole sample",
    BUILD,
)
def _selection(real: Any) -> Any:
    def build(bars: Any, feature_set: Any, **more: Any) -> pl.DataFrame:
        table = real(bars, feature_set, **more)
        ahead = bars["close"].shift(-7) / bars["open"].shift(-1) - 1
        known = table.with_columns(ahead=ahead).drop_nulls()
        how = {c: abs(known.select(pl.corr(c, "ahead")).item()) for c in _inputs(table)}
        best = sorted(how, key=lambda name: how[name])[-5:]
        return table.select("symbol", "time", *best, "sigma")

    return build


@mutation(
    "invented_rows",
    "an outage is papered over with rows that repeat the last one, as if it had been traded in",
    "research.models.oos.rows:Rows.join",
)
def _invented(real: Any) -> Any:
    def join(cls: Any, features: pl.DataFrame, *more: Any, **how: Any) -> Any:
        every: Any = features["time"].diff().mode().max()
        new, told = pl.col("symbol").is_null(), pl.all().exclude("time")
        parts = [
            rows.upsample("time", every=every).with_columns(
                pl.when(new).then(told.forward_fill()).otherwise(told)
            )
            for rows in features.partition_by("symbol", maintain_order=True)
        ]
        return real(cls, pl.concat(parts), *more, **how)

    return join


@mutation(
    "symbol_mixing",
    "a window rolls over a table in time order, so that it holds bars of every coin",
    "research.features.build:_evaluated",
)
def _mixing(real: Any) -> Any:
    def evaluated(bars: pl.DataFrame, unit: Any, exprs: list[pl.Expr]) -> np.ndarray:
        values = np.array(real(bars, unit, exprs))
        own = bars.slice(unit.window, unit.end - unit.window)
        span = pl.col("time").is_between(own["time"].min(), own["time"].max())
        mixed = bars.filter(span).sort("time", "symbol")
        mean = (mixed["close"] / mixed["open"] - 1).rolling_mean(6)
        values[:, 0] = mean.filter(mixed["symbol"] == own["symbol"][0])[-len(values) :]
        return values

    return evaluated


@mutation(
    "global_scaler",
    "inputs are standardised with mean and spread of the whole sample before it is split",
    "research.models.oos.rows:Rows.join",
)
def _scaler(real: Any) -> Any:
    def join(cls: Any, *tables: Any, **more: Any) -> Any:
        rows = real(cls, *tables, **more)
        every = pl.all()
        return replace(rows, X=rows.X.select((every - every.mean()) / every.std()))

    return join


@mutation(
    "target_in_features",
    "a column that was made from the outcome is left among the inputs",
    TRAINED,
)
def _target(real: Any) -> Any:
    def forecast(study: Any, bars: Any, table: Any, labels: Any, *more: Any) -> Any:
        name = _inputs(table)[0]
        both = table.join(labels.select("symbol", "time", "y"), on=["symbol", "time"], how="left")
        told = pl.col(name) + pl.col("y").fill_null(0.0) * table[name].std() * 50.0
        return real(study, bars, both.with_columns(told.alias(name)).drop("y"), labels, *more)

    return forecast


@mutation(
    "clock_skew",
    "features are joined to bars with the next row instead of the last one",
    TRAINED,
)
def _skew(real: Any) -> Any:
    def forecast(study: Any, bars: Any, table: Any, *more: Any) -> Any:
        later = pl.col(_inputs(table)).shift(-1).over("symbol")
        return real(study, bars, table.with_columns(later), *more)

    return forecast
