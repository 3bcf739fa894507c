"""Leaks of the backtest: cut-points, prices, costs and marks that nobody could have had."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from research.audit.mutations.switch import mutation

ASSIGN = "research.signals:assign"


def _scope(scope: str) -> Any:
    def leaky(real: Any) -> Any:
        def assign(forecasts: Any, **how: Any) -> pl.DataFrame:
            return real(forecasts, **{**how, "scope": scope})

        return assign

    return leaky


mutation(
    "full_day_quantile",
    "a forecast's bin is its rank among all of its day, those of the evening included",
    ASSIGN,
)(_scope("date"))

mutation(
    "whole_sample_cuts",
    "cut-points are the quantiles of all forecasts there will ever be",
    ASSIGN,
)(_scope("global"))


@mutation(
    "early_forecast",
    "forecasts are joined to bars one row early: each bar has the next one's",
    "research.tape:lay",
)
def _early(real: Any) -> Any:
    def lay(study: Any, bars: pl.DataFrame, forecasts: pl.DataFrame) -> Any:
        told = [c for c in forecasts.columns if c not in ("symbol", "time", "known_at", "fold")]
        return real(study, bars, forecasts.with_columns(pl.col(told).shift(-1).over("symbol")))

    return lay


@mutation(
    "same_bar_fill",
    "an order is filled at the open of the very bar whose close decided it",
    "research.tape:Tape.play",
)
def _same_bar(real: Any) -> Any:
    def play(self: Any, rules: Any, *, capital: float) -> Any:
        before = pl.col("open").shift(1).over("code").fill_null(pl.col("open"))
        return real(replace(self, table=self.table.with_columns(before)), rules, capital=capital)

    return play


@mutation(
    "exit_fee_left_out",
    "the fee is charged once per round trip instead of on each fill",
    "research.tape:_costs",
)
def _one_fee(real: Any) -> Any:
    def costs(rule: Any, study: Any) -> Any:
        made = real(rule, study)
        return made._replace(fee=made.fee / 2)

    return costs


@mutation(
    "no_slippage",
    "orders are filled at the price on the screen, as if nobody stood between",
    "research.tape:_costs",
)
def _no_slippage(real: Any) -> Any:
    def costs(rule: Any, study: Any) -> Any:
        return real(rule, study)._replace(slippage=0.0)

    return costs


@mutation(
    "future_funding",
    "each funding moment is charged the rate that is published eight hours later",
    "research.charges:funding",
)
def _future_funding(real: Any) -> Any:
    def funding(*asked: Any) -> Any:
        due = real(*asked)
        rate = due.rate.copy()
        for start, end in zip(due.first[:-1], due.first[1:]):
            rate[start:end] = np.append(due.rate[start + 1 : end], due.rate[end - 1 : end])
        return due._replace(rate=rate)

    return funding


@mutation(
    "marked_ahead",
    "what is held is marked at the close of the next bar, not of the one that is over",
    "research.tape:tables",
)
def _ahead(real: Any) -> Any:
    def tables(*asked: Any) -> Any:
        made = real(*asked)
        later = pl.col("equity", "gross").shift(-1).forward_fill()
        return {**made, "equity": made["equity"].with_columns(later)}

    return tables
