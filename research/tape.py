"""From tables to the desk and back: lays bars and forecasts out in time, and reads what was traded.

The desk knows arrays and microseconds alone; this is the one place that turns one into the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from html import escape
from typing import Any, Protocol

import numpy as np
import polars as pl

from research import charges, performance, signals
from research.errors import UserError
from research.performance.daily import daily
from research.schema import CLASSES, TIME
from research.store import cards
from research.study import Study
from research.trading import loop
from research.trading import rules as rule_room
from research.trading.account import Venue, new_venue
from research.trading.rules import REASONS, Rules

FEES = (0.0, 0.5e-4, 1e-4, 2e-4, 3e-4, 4e-4, 5e-4, 7.5e-4, 1e-3)


def rules(study: Study) -> Rules:
    """Return the study's trading rule as the desk takes it.

    Raises
    ------
    UserError
        If settings cannot go together: a short side on a spot market, a size by a stop that is
        not there, positions side by side under a rule without a time to hold.
    """
    chosen, horizon = study.backtest, study.labels.horizon
    timed = chosen.rule in ("quantile", "probability")
    made = rule_room.with_exits(
        _kind(study),
        hold=chosen.hold or (horizon if timed else None),
        stop=chosen.stop,
        take=chosen.take,
        cooldown=chosen.cooldown,
    )
    risk, size = study.risk, study.sizing
    if chosen.every and study.data.bars != "time":
        raise UserError(f"backtest.every: needs data.bars 'time', found {study.data.bars!r}.")
    made = rule_room.with_limits(
        made,
        overlap=chosen.overlap,
        max_positions=chosen.max_positions,
        every=chosen.every,
        timeout=risk.position_timeout,
        errors=risk.close_on_errors,
    )
    watched = {"daily_loss", "drawdown", "on_limit", "resume"}
    made = rule_room.with_risk(made, **risk.model_dump(include=watched))
    made = rule_room.with_sizing(
        made,
        size.kind,
        fraction=size.fraction,
        risk=size.risk,
        kelly=size.kelly,
        bars=max(horizon // study.data.interval, 1),
        max_position=size.max_position,
        leverage=size.leverage,
        maintenance=None if study.spot else size.maintenance,
    )
    return _costs(made, study)


def _kind(study: Study) -> Rules:
    chosen, interval, side = study.backtest, study.data.interval, _side(study)
    if chosen.rule == "threshold":
        enter = max(charges.round_trip(study), 0.0) if chosen.enter is None else chosen.enter
        return rule_room.threshold(enter=enter, leave=chosen.leave, side=side, interval=interval)
    if chosen.rule == "probability":
        return rule_room.probability(enter=chosen.enter_probability, side=side, interval=interval)
    if chosen.rule == "follow":
        return rule_room.follow(side=side, interval=interval)
    bins = study.evaluation.bins
    return rule_room.quantile(bins, chosen.quantile, side, chosen.form, interval=interval)


def _side(study: Study) -> str:
    side = study.backtest.side
    if not study.spot:
        return side
    if side in ("short", "longshort"):
        raise UserError(
            f"study {study.name}: backtest.side {side!r} sells what is not held, but a spot market "
            "can only be held long. Use 'long' (or 'auto'), or a futures market (data.market)."
        )
    return "long"


def hold_forever(study: Study) -> Rules:
    """Return the rule of buy and hold, at the study's costs."""
    rule = rule_room.threshold(enter=0.0, side="long", interval=study.data.interval)
    return _costs(rule, study)


def _costs(rule: Rules, study: Study) -> Rules:
    costs = study.costs
    return rule_room.with_costs(
        rule,
        fee=study.fee,
        slippage=costs.slippage,
        latency=charges.latency(study),
        min_notional=costs.min_notional,
        walks=costs.fill == "book",
    )


@dataclass(frozen=True)
class Tape:
    """What the desk will see, in the order in which it becomes known.

    Attributes
    ----------
    table : pl.DataFrame
        Bars with `forecast`, `bin`, `sigma` and what a fill in them costs, sorted by time and
        symbol; times in microseconds since 1970 UTC.
    symbols : list of str
        By the number that the desk knows them under.
    venue : Venue
        Steps of quantity and price, and the funding of each symbol.
    """

    table: pl.DataFrame
    symbols: list[str]
    venue: Venue
    levels: np.ndarray | None = None
    """The book that a fill in each bar walks, see `charges.levels`; None: fills walk none."""

    def play(self, rules: Rules, *, capital: float) -> loop.Result:
        """Let the desk trade the whole tape."""
        column = {name: self.table[name].to_numpy() for name in self.table.columns}
        return loop.run(
            column.pop("time"),
            column.pop("code"),
            **column,
            n_symbols=len(self.symbols),
            rules=rules,
            capital=capital,
            levels=self.levels,
            venue=self.venue,
        )

    def always(self, forecast: float) -> Tape:
        """Return the same bars with one forecast throughout, such as that of buy and hold."""
        table = self.table.with_columns(forecast=pl.lit(forecast), bin=pl.lit(0, pl.Int64))
        return replace(self, table=table)


def binned(study: Study, made: pl.DataFrame) -> pl.DataFrame:
    """Return the forecasts as the rule trades them: with bins, if it trades bins."""
    chosen = study.evaluation
    if study.backtest.rule != "quantile":
        return made
    if chosen.scope not in signals.CAUSAL:
        raise UserError(
            f"study {study.name}: evaluation.scope {chosen.scope!r} ranks with forecasts that came "
            "later, so it cannot be traded. Use 'trailing' or 'fold'."
        )
    return signals.assign(made, scope=chosen.scope, **cuts(study))


def cuts(study: Study) -> dict[str, Any]:
    """Return how cut-points are drawn: renewed as often as models, and once a day at least."""
    chosen, every = study.evaluation, min(study.validation.test, timedelta(days=1))
    return {"bins": chosen.bins, "window": chosen.window, "every": every}


_PRICES = ("open", "high", "low", "close", "volume")
_CHARGES = ("half_spread", "impact")


def lay(study: Study, bars: pl.DataFrame, forecasts: pl.DataFrame) -> Tape:
    """Lay out the bars from the first forecast to the end of the last one's horizon.

    Parameters
    ----------
    study : Study
        Its costs are those of each bar; its rule decides what of a forecast the desk is told.
    bars : pl.DataFrame
        As `schema.BARS`; those before the first forecast serve to estimate costs.
    forecasts : pl.DataFrame
        As `schema.FORECASTS`, with `bin` where a rule trades bins and the probabilities of
        `schema.CLASSES` where it trades classes. A rule of probabilities is told that of up where
        up is the likeliest class, minus that of down where down is, and 0 where flat is or two
        are equally likely.

    Raises
    ------
    UserError
        If the rule trades probabilities and the forecasts have none, or costs stated by symbol
        leave one out.
    """
    known = forecasts.select("symbol", "time", "sigma", told(study, forecasts), _bin(forecasts))
    first, last = forecasts["time"].min(), forecasts["time"].max()
    end = max(last, forecasts["known_at"].max() or last)  # type: ignore[type-var]
    symbols = bars["symbol"].unique().sort().to_list()
    key, code = ["symbol", "time"], {name: number for number, name in enumerate(symbols)}
    table = (
        bars.with_columns(charges.columns(study, bars).get_columns()[2:])
        .filter(pl.col("time").is_between(first, end))
        .join(known, on=key, how="left")
        .select(
            pl.col("time").dt.epoch("us"),
            pl.col("symbol").replace_strict(code, return_dtype=pl.Int64).alias("code"),
            pl.col("open_time").dt.epoch("us").alias("opened"),
            *_PRICES,
            pl.col("forecast").fill_null(np.nan),
            pl.col("bin").fill_null(0),
            pl.col("sigma").fill_null(np.nan),
            *_CHARGES,
        )
        .sort("time", "code")
    )
    levels = charges.levels(study, table, symbols)
    return Tape(table, symbols, _venue(study, table, symbols), levels)


def told(study: Study, forecasts: pl.DataFrame) -> pl.Expr:
    """Return what the rule is told: the forecast, or the likeliest class's signed probability."""
    if study.backtest.rule != "probability":
        return pl.col("forecast")
    missing = [name for name in CLASSES if name not in forecasts.columns]
    if missing:
        raise UserError(
            f"study {study.name}: backtest.rule 'probability' trades class probabilities, but "
            f"these forecasts have no {missing[0]!r}. Choose a model.name that gives them, such "
            "as 'lightgbm_classes', with labels.kind 'direction' or 'barrier', or another rule."
        )
    down, flat, up = (pl.col(name) for name in CLASSES)
    short = pl.when(down > pl.max_horizontal(up, flat)).then(-down).otherwise(0.0)
    signed = pl.when(up > pl.max_horizontal(down, flat)).then(up).otherwise(short)
    known = pl.all_horizontal(pl.col(name).is_not_null() for name in CLASSES)
    return pl.when(known).then(signed).alias("forecast")


def _bin(forecasts: pl.DataFrame) -> pl.Expr:
    given = pl.col("bin") if "bin" in forecasts.columns else pl.lit(0)
    return given.cast(pl.Int64).alias("bin")


def _venue(study: Study, table: pl.DataFrame, symbols: list[str]) -> Venue:
    steps = charges.filters(study, symbols)
    span = table.select(first=pl.col("opened").min(), last=pl.col("time").max())
    start, end = (span[name].cast(TIME)[0] for name in ("first", "last"))
    due = charges.funding(study, symbols, start, end)
    return new_venue(len(symbols), lot=steps["lot"], tick=steps["tick"], funding=due)


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
        **({} if laid.levels is None else {"levels": _digest(laid.levels)}),
        "venue": {name: _digest(array) for name, array in laid.venue._asdict().items()},
        "rules": {key: str(value) for key, value in rules._asdict().items()},
        "capital": capital,
        "code": cards.code("trading", "tape.py"),
    }


def _digest(array: np.ndarray) -> str:
    return sha256(array.tobytes()).hexdigest()


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


class Traded(Protocol):
    """What was traded in one account: a backtest, or a portfolio."""

    @property
    def equity(self) -> pl.DataFrame:
        """``time, equity``."""
        ...

    @property
    def summary(self) -> dict[str, Any]:
        """Metrics, as `performance.summary` returns them."""
        ...


def evidence(tested: Traded, capital: float) -> dict[str, Any]:
    """Return what the ledger keeps of a backtest: its results, and the net return of every day."""
    days = daily(tested.equity, capital=capital).upsample("day", every="1d").fill_null(0.0)
    return {
        **{key: tested.summary[key] for key in ("net_return", "sharpe", "trades")},
        "first": str(days["day"].min()),
        "returns": days["return"].round(8).to_list(),
    }
