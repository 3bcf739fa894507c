"""From tables to the desk and back: lays bars and forecasts out in time, and reads what was traded.

The desk knows arrays and microseconds alone; this is the one place that turns one into the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import Any

import numpy as np
import polars as pl

from research import performance
from research.schema import TIME
from research.store import cards
from research.study import Study
from research.trading import loop
from research.trading import rules as rule_room
from research.trading.rules import REASONS, Rules

FEES = (0.0, 0.5e-4, 1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 7.5e-4, 1e-3)


def round_trip(study: Study) -> float:
    """Return what entering and leaving a position costs, as a fraction of price."""
    costs = study.costs
    return 2 * (costs.charged + costs.half_spread + costs.slippage)


def rules(study: Study) -> Rules:
    """Return the study's trading rule as the desk takes it."""
    chosen, interval, hold = study.backtest, study.data.interval, study.backtest.hold
    if chosen.rule == "threshold":
        enter = round_trip(study) if chosen.enter is None else chosen.enter
        made = rule_room.threshold(
            enter=enter, leave=chosen.leave, side=chosen.side, interval=interval
        )
    else:
        bins, hold = study.evaluation.bins, hold or study.labels.horizon
        made = rule_room.quantile(
            bins, chosen.quantile, chosen.side, chosen.form, interval=interval
        )
    made = rule_room.with_exits(
        made, hold=hold, stop=chosen.stop, take=chosen.take, cooldown=chosen.cooldown
    )
    return rule_room.with_costs(made, **_costs(study))


def hold_forever(study: Study) -> Rules:
    """Return the rule of buy and hold, at the study's costs."""
    rule = rule_room.threshold(enter=0.0, side="long", interval=study.data.interval)
    return rule_room.with_costs(rule, **_costs(study))


def _costs(study: Study) -> dict[str, float]:
    costs = study.costs
    names = ("half_spread", "slippage", "funding")
    return {"fee": costs.charged, **{name: getattr(costs, name) for name in names}}


@dataclass(frozen=True)
class Tape:
    """What the desk will see, in the order in which it becomes known.

    Attributes
    ----------
    table : pl.DataFrame
        Bars with `forecast` and `bin`, sorted by time and symbol.
    symbols : list of str
        By the number that the desk knows them under.
    """

    table: pl.DataFrame
    symbols: list[str]

    def play(self, rules: Rules, *, capital: float) -> loop.Result:
        """Let the desk trade the whole tape."""
        column = {name: self.table[name].to_numpy() for name in (*_PRICES, "volume", "forecast")}
        return loop.run(
            self.table["time"].to_numpy(),
            self.table["code"].to_numpy(),
            **column,
            bin=self.table["bin"].to_numpy(),
            n_symbols=len(self.symbols),
            rules=rules,
            capital=capital,
        )

    def always(self, forecast: float) -> Tape:
        """Return the same bars with one forecast throughout, such as that of buy and hold."""
        return Tape(self.table.with_columns(forecast=pl.lit(forecast), bin=0), self.symbols)


_PRICES = ("open", "high", "low", "close")


def lay(bars: pl.DataFrame, forecasts: pl.DataFrame) -> Tape:
    """Lay out the bars from the first forecast to the end of the last one's horizon.

    Parameters
    ----------
    bars : pl.DataFrame
        As `schema.BARS`.
    forecasts : pl.DataFrame
        As `schema.FORECASTS`, with `bin` where a rule trades bins.
    """
    first, last = forecasts["time"].min(), forecasts["time"].max()
    end = max(last, forecasts["known_at"].max() or last)  # type: ignore[type-var]
    symbols = bars["symbol"].unique().sort().to_list()
    if "bin" not in forecasts.columns:
        forecasts = forecasts.with_columns(bin=pl.lit(0))
    table = (
        bars.filter(pl.col("time").is_between(first, end))
        .join(
            forecasts.select("symbol", "time", "forecast", "bin"), on=["symbol", "time"], how="left"
        )
        .select(
            pl.col("time").dt.epoch("us"),
            pl.col("symbol")
            .replace_strict(symbols, range(len(symbols)), return_dtype=pl.Int64)
            .alias("code"),
            *_PRICES,
            "volume",
            pl.col("forecast").fill_null(np.nan),
            pl.col("bin").cast(pl.Int64).fill_null(0),
        )
        .sort("time", "code")
    )
    return Tape(table, symbols)


@dataclass(frozen=True)
class Backtest:
    """What was traded, what it cost, and how it went.

    Attributes
    ----------
    trades : pl.DataFrame
        One row per round trip: symbol, side, times, prices, quantity, costs, gross, net, reasons.
    equity : pl.DataFrame
        ``time, equity`` (net), ``gross`` (before costs) and each bar's flows, from the first
        forecast on.
    reasons : pl.DataFrame
        ``symbol, time, reason, position``: one reason per bar.
    summary : dict
        Metrics, as `performance.summary` returns them, with `break_even_fee`.
    fee_sweep : pl.DataFrame
        Net return of the same decisions at other fees.
    """

    trades: pl.DataFrame
    equity: pl.DataFrame
    reasons: pl.DataFrame
    summary: dict[str, Any]
    fee_sweep: pl.DataFrame

    def rolling(self) -> pl.DataFrame:
        """Sharpe, drawdown and hit rate over a trailing sixth of the span, a day at least."""
        span = self.equity["time"][-1] - self.equity["time"][0]
        return performance.rolling(self.equity, max(span / 6, timedelta(days=1)))

    def text(self) -> str:
        """The metrics as lines of text."""
        return performance.text(self.summary)

    def _repr_html_(self) -> str:
        return f"<pre style='font-family: monospace'>{escape(self.text())}</pre>"


def parts(laid: Tape, rules: Rules, capital: float) -> dict[str, Any]:
    """Return all that decides a backtest: the key its tables are stored under."""
    return {
        "tape": cards.fingerprint(laid.table),
        "symbols": laid.symbols,
        "rules": {key: str(value) for key, value in rules._asdict().items()},
        "capital": capital,
        "code": cards.code("trading", "tape.py"),
    }


def tables(tape: Tape, result: loop.Result) -> dict[str, pl.DataFrame]:
    """Turn what the desk wrote down into tables: trades, equity and reasons."""
    names = dict(enumerate(tape.symbols))
    time = pl.from_epoch(pl.Series("time", result.time), "us").cast(TIME)
    flows = {n: getattr(result, n) for n in ("fees", "slippage", "funding", "traded", "exposure")}
    equity = pl.DataFrame({"time": time, "equity": result.equity, **flows})
    costs = pl.sum_horizontal("fees", "slippage", "funding").cum_sum()
    reasons = pl.DataFrame(
        {
            "symbol": tape.table["code"].replace_strict(names, return_dtype=pl.String),
            "time": pl.from_epoch(tape.table["time"], "us").cast(TIME),
            "reason": _words(result.reasons),
            "position": result.position,
        }
    )
    return {
        "trades": _trades(result, names),
        "equity": equity.with_columns(gross=pl.col("equity") + costs),
        "reasons": reasons.sort("symbol", "time"),
    }


def _trades(result: loop.Result, names: dict[int, str]) -> pl.DataFrame:
    table = pl.DataFrame(result.trades._asdict())
    moments = (pl.from_epoch(pl.col(c), "us").cast(TIME) for c in ("entry_time", "exit_time"))
    return table.with_columns(
        pl.col("symbol").replace_strict(names, return_dtype=pl.String),
        pl.col("side").replace_strict({1: "long", -1: "short"}, return_dtype=pl.String),
        *moments,
        _words(result.trades.entry_reason).alias("entry_reason"),
        _words(result.trades.exit_reason).alias("exit_reason"),
    )


def _words(codes: np.ndarray) -> pl.Series:
    return pl.Series("reason", np.array(REASONS)[codes], dtype=pl.String)


def judge(tape: Tape, rules: Rules, *, capital: float, stored: dict[str, pl.DataFrame]) -> Backtest:
    """Put numbers to a run's tables: its metrics, and what other fees would have left.

    Parameters
    ----------
    tape, rules, capital
        What was played.
    stored : dict of str to pl.DataFrame
        The run's own `tables`.
    """

    def net_return(fee: float) -> float:
        played = tape.play(rules._replace(fee=fee), capital=capital)
        return float(played.equity[-1] / capital - 1)

    metrics = performance.summary(stored["equity"], stored["trades"], capital=capital)
    sure = performance.intervals(stored["equity"], capital=capital)
    even = performance.break_even_fee(net_return) if stored["trades"].height else None
    fees = sorted({*FEES, rules.fee})
    return Backtest(
        **stored,
        summary={**metrics, **sure, "break_even_fee": even},
        fee_sweep=performance.fee_sweep(net_return, fees),
    )
