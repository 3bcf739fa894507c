"""Guards of the backtest: each trade and each mark, told again from bars, forecasts and words.

Nothing here calls the desk: prices come from the bars, funding from its history, costs from the
study's words; only what a rule makes of one forecast is asked of the rule.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from research import charges, tape
from research.audit.guards.seen import Seen
from research.study import ROOT
from research.trading.rules.decide import signal

INSIDE = ("stop", "take", "liquidation")
"""Reasons of an exit inside a bar; `end` is at a close, all else is a market order."""
ORDERS = ("entry", "reversal", "horizon")
"""Reasons of a close after which a position may be opened."""
SAME = 1e-9
_US = timedelta(microseconds=1)


class Prices(NamedTuple):
    """One symbol's bars as arrays; times in microseconds since 1970."""

    opened: np.ndarray
    time: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray
    base: np.ndarray
    """What a fill inside the bar pays whatever its size, as a fraction of price."""
    impact: np.ndarray


def _prices(seen: Seen) -> dict[str, Prices]:
    cost = charges.columns(seen.study, seen.bars)
    table = seen.bars.with_columns(cost["half_spread"], cost["impact"])
    return {str(symbol): _of(rows, seen) for (symbol,), rows in table.group_by("symbol")}


def _of(rows: pl.DataFrame, seen: Seen) -> Prices:
    opened, time = (rows[c].dt.epoch("us").to_numpy() for c in ("open_time", "time"))
    names = ("open", "high", "low", "close", "volume", "half_spread", "impact")
    *values, spread, impact = (rows[c].to_numpy() for c in names)
    base = spread + seen.study.costs.slippage
    return Prices._make((opened, time, *values, base, impact))


def _trades(seen: Seen) -> list[dict[str, Any]]:
    """Return the trades as dictionaries with times in microseconds."""
    if seen.backtest is None:
        return []
    micro = pl.col("entry_time", "exit_time").dt.epoch("us")
    side = pl.col("side").replace_strict({"long": 1, "short": -1}, return_dtype=pl.Int64)
    return seen.backtest.trades.with_columns(micro, way=side).to_dicts()


def _at(micro: int) -> str:
    return f"{pl.Series([micro]).cast(pl.Datetime('us'))[0]:%Y-%m-%d %H:%M}Z"


def decisions(seen: Seen) -> Iterator[str]:
    """A position is opened for what was forecast of the very close that decided it.

    Find the close that ordered each trade and ask the rule what its own forecast speaks for.
    """
    if seen.backtest is None or seen.backtest.trades.is_empty():
        return
    rules, told = tape.rules(seen.study), _told(seen)
    for trade in _trades(seen):
        at = _ordered(seen, trade)
        if at is None:
            yield f"trade {trade['symbol']} {_at(trade['entry_time'])}: no close before ordered it"
            continue
        forecast, bin_ = told.get((trade["symbol"], at), (float("nan"), 0))
        wish = signal(forecast, bin_, rules)
        if wish != trade["way"]:
            yield (
                f"trade {trade['symbol']} {_at(trade['entry_time'])}: {trade['side']}, but the "
                f"forecast of its close {_at(at)} ({forecast:.6g}, bin {bin_}) speaks for "
                f"{ {1: 'long', -1: 'short', 0: 'nothing'}[wish] }"
            )


def _told(seen: Seen) -> dict[tuple[str, int], tuple[float, int]]:
    told, made = tape.told(seen.study, seen.forecasts), seen.binned
    bins = pl.col("bin") if "bin" in made.columns else pl.lit(0)
    rows = made.select("symbol", pl.col("time").dt.epoch("us"), f=told, b=bins.fill_null(0)).rows()
    return {(s, t): (float("nan") if f is None else f, int(b)) for s, t, f, b in rows}


def _ordered(seen: Seen, trade: dict[str, Any]) -> int | None:
    """Return the last close that could have ordered a trade and says that it ordered one."""
    times = _orders(seen).get(trade["symbol"], np.empty(0, np.int64))
    latest = trade["entry_time"] - charges.latency(seen.study) // _US
    k = int(np.searchsorted(times, latest, side="right")) - 1
    return int(times[k]) if k >= 0 else None


def _orders(seen: Seen) -> dict[str, np.ndarray]:
    if "orders" not in vars(seen):
        assert seen.backtest is not None
        rows = seen.backtest.reasons.filter(pl.col("reason").is_in(ORDERS))
        micro = rows.with_columns(pl.col("time").dt.epoch("us"))
        vars(seen)["orders"] = {
            str(s): part["time"].to_numpy() for (s,), part in micro.group_by("symbol")
        }
    found: dict[str, np.ndarray] = vars(seen)["orders"]
    return found


def fills(seen: Seen) -> Iterator[str]:
    """An order is filled at the first price after its close that could be had, and costs.

    Hold both prices of each trade against the bar that they were made in.
    """
    trades = _trades(seen)
    prices = _prices(seen) if trades else {}
    for trade in trades:
        known, way = prices[trade["symbol"]], trade["way"]
        yield from _late(seen, trade, known)
        yield from _priced(seen, trade, known, "entry", way, _market(known, trade["entry_time"]))
        yield from _priced(seen, trade, known, "exit", -way, _left(seen, trade, known))


def _left(seen: Seen, trade: dict[str, Any], known: Prices) -> tuple[int, float, float] | None:
    """Return the bar in which a position was left, and between which prices before costs."""
    reason, when, way = trade["exit_reason"], trade["exit_time"], trade["way"]
    if reason not in (*INSIDE, "end"):
        return _market(known, when)
    k = int(np.searchsorted(known.time, when))
    if k == len(known.time) or known.time[k] != when:
        return None
    words, entry = seen.study.backtest, trade["entry_price"]
    if reason == "end":
        return k, float(known.close[k]), float(known.close[k])
    if reason == "take":  # never better than its level, wherever the bar opened
        level = entry * (1.0 + way * (words.take or 0.0))
        return k, level, level
    if reason == "stop" and trade["entry_time"] <= known.opened[k]:
        level = entry * (1.0 - way * (words.stop or 0.0))
        worse = way * min(way * level, way * float(known.open[k]))
        return k, worse, worse
    return k, float(known.low[k]), float(known.high[k])


def _late(seen: Seen, trade: dict[str, Any], known: Prices) -> Iterator[str]:
    """The fill must be at the first bar with volume that ends after the order arrived."""
    at = _ordered(seen, trade)
    if at is None:
        return
    arrival = at + charges.latency(seen.study) // _US
    able = np.flatnonzero((known.time > arrival) & (known.volume > 0))
    due = max(int(known.opened[able[0]]), arrival) if len(able) else None
    if due != trade["entry_time"]:
        yield (
            f"trade {trade['symbol']}: ordered at {_at(at)}, filled at "
            f"{_at(trade['entry_time'])}; the first price after it is of "
            f"{_at(due) if due is not None else 'no bar'}"
        )


def _market(known: Prices, when: int) -> tuple[int, float, float] | None:
    """Return the bar in which a market order is filled, and its price before costs."""
    k = int(np.searchsorted(known.opened, when, side="right")) - 1
    if k < 0 or when >= known.time[k]:
        return None
    passed = (when - known.opened[k]) / (known.time[k] - known.opened[k])
    price = float(known.open[k] + (known.close[k] - known.open[k]) * passed)
    return k, price, price


def _priced(
    seen: Seen,
    trade: dict[str, Any],
    known: Prices,
    word: str,
    way: int,
    span: tuple[int, float, float] | None,
) -> Iterator[str]:
    """A price must be that of the bar, or in its range, made worse by what a fill pays."""
    when, price = _at(trade[f"{word}_time"]), trade[f"{word}_price"]
    where = f"trade {trade['symbol']}, {word} {when}: price {price:.8g}"
    if span is None:
        yield f"{where}, where there is no bar"
        return
    k, low, high = span
    notional = 2.0 * trade["quantity"] * max(price, high)
    least = known.base[k]
    most = least + known.impact[k] * float(np.sqrt(notional))
    tick = seen.study.costs.tick
    slack = SAME * high + (max(tick.values()) if isinstance(tick, dict) else float(tick))
    bounds = sorted(p * (1.0 + way * cost) for p in (low, high) for cost in (least, most))
    if not bounds[0] - slack <= price <= bounds[-1] + slack:
        yield (
            f"{where}; its bar opened at {known.open[k]:.8g} and says {bounds[0]:.8g}"
            + (f" to {bounds[-1]:.8g}" if bounds[-1] > bounds[0] else "")
        )


def costs(seen: Seen) -> Iterator[str]:
    """Every trade pays the fee on both its fills, and funding at its due moments.

    Recount fee, funding and net of each trade from its own prices and the study's words.
    """
    trades = _trades(seen)
    prices = _prices(seen) if trades else {}
    due = _rates(seen) if trades else {}
    for trade in trades:
        turned = trade["quantity"] * (trade["entry_price"] + trade["exit_price"])
        paid = _funding(trade, prices[trade["symbol"]], due.get(trade["symbol"], []))
        slid = trade["gross"] - trade["slippage"]
        moved = trade["way"] * trade["quantity"] * (trade["exit_price"] - trade["entry_price"])
        for word, said, wanted in (
            ("fees", trade["fees"], seen.study.fee * turned),
            ("funding", trade["funding"], paid),
            ("gross less slippage", slid, moved),
            ("net", trade["net"], moved - seen.study.fee * turned - paid),
        ):
            if abs(said - wanted) > SAME * (turned + 1.0):
                yield (
                    f"trade {trade['symbol']} {_at(trade['entry_time'])}: {word} is {said:.6g}, "
                    f"its prices and the study's costs say {wanted:.6g}"
                )


def _rates(seen: Seen) -> dict[str, list[tuple[int, float]]]:
    """Return each symbol's funding moments and rates, by the history and the stated rate."""
    words, names = seen.study.costs, seen.bars["symbol"].unique().to_list()
    begin, end = (int(seen.bars["time"].dt.epoch("us").sort()[k]) for k in (0, -1))
    step = timedelta(hours=8) // _US
    usual = [(t * step, float(words.funding)) for t in range(begin // step, end // step + 1)]
    usual = usual if words.funding else []
    if words.funding_history is None:
        return dict.fromkeys(names, usual)
    place = Path(words.funding_history).expanduser()
    place = place if place.is_absolute() else ROOT / place
    read = pl.read_parquet if place.suffix == ".parquet" else pl.read_csv
    table = read(place)
    if table["time"].dtype == pl.String:
        table = table.with_columns(pl.col("time").str.to_datetime(time_zone="UTC"))
    found = {}
    for (symbol,), rows in table.sort("time").group_by("symbol"):
        pairs = list(rows.select(pl.col("time").dt.epoch("us"), "rate").iter_rows())
        outside = [(t, r) for t, r in usual if not pairs[0][0] <= t <= pairs[-1][0]]
        found[str(symbol)] = sorted(pairs + outside)
    return found


def _funding(trade: dict[str, Any], known: Prices, due: list[tuple[int, float]]) -> float:
    """What a position owed at the funding moments that it was held through."""
    begin, end = trade["entry_time"], trade["exit_time"]
    last = end - 1 if trade["exit_reason"] in INSIDE else end
    held = trade["way"] * trade["quantity"]
    return sum(held * rate * _mark(known, t) for t, rate in due if begin < t <= last)


def _mark(known: Prices, moment: int) -> float:
    """Return the price known at a moment: the last close, or the open of the bar around it."""
    k = int(np.searchsorted(known.time, moment, side="right"))
    inside = k < len(known.time) and known.opened[k] < moment
    return float(known.open[k] if inside else known.close[k - 1])


def equity(seen: Seen) -> Iterator[str]:
    """Equity is the capital, what closed trades left, and open ones at the last close.

    Tell the curve again from the trades and the closes, moment by moment.
    """
    if seen.backtest is None:
        return
    curve = seen.backtest.equity
    time = curve["time"].dt.epoch("us").to_numpy()
    again = np.full(len(time), seen.study.backtest.capital)
    prices, due = _prices(seen), _rates(seen)
    for trade in _trades(seen):
        again += _share(trade, time, prices[trade["symbol"]], due.get(trade["symbol"], []))
    off = np.abs(curve["equity"].to_numpy() - again) > SAME * np.abs(again)
    if off.any():
        k = int(np.argmax(off))
        yield (
            f"equity {_at(int(time[k]))}: {curve['equity'][k]:.6f}, cash and positions at the "
            f"closes come to {again[k]:.6f} ({int(off.sum()):,} such moments)"
        )


def _share(
    trade: dict[str, Any], time: np.ndarray, known: Prices, due: list[tuple[int, float]]
) -> np.ndarray:
    """What one trade adds to the equity of each moment."""
    begin, end = trade["entry_time"], trade["exit_time"]
    closed = time >= end if trade["exit_reason"] in INSIDE else time > end
    if trade["exit_reason"] == "end":  # of a coin that is gone: held on to the end of the tape
        closed = time >= time[-1]
    open_, held = (time > begin) & ~closed, trade["way"] * trade["quantity"]
    marks = known.close[np.maximum(np.searchsorted(known.time, time, side="right") - 1, 0)]
    entered = trade["entry_price"] / (trade["entry_price"] + trade["exit_price"])
    worth = held * (marks - trade["entry_price"]) - trade["fees"] * entered
    for moment, rate in due:
        if begin < moment <= end:
            worth = worth - np.where(time >= moment, held * rate * _mark(known, moment), 0.0)
    return np.where(closed, trade["net"], np.where(open_, worth, 0.0))
