"""The links of one bar's chain, each from the run's tables: pure but for the model it asks for."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from research import charges, models, pipeline, tape
from research import features as feature_room
from research.audit.why.scenes import Scene
from research.errors import UserError
from research.trading.rules.decide import signal
from research.trading.sizing import worth

SHOWN = 5
"""Features, and shares of a forecast, that are shown."""
FEW = 30
"""Rows below which a rank says nothing."""
DAY = timedelta(days=1)
MEANS = {
    "no_edge": "nothing speaks for a position, or what spoke for it has lapsed",
    "entry": "a position was ordered, to be filled at the next open",
    "hold": "a position is held and nothing ends it",
    "reversal": "the forecast speaks against the position held",
    "horizon": "the position's time is over",
    "stop": "the bar met the stop",
    "take": "the bar met the take",
    "resting": "no new entry: so soon after an exit, or between the closes that decide",
    "stale_data": "no forecast, cut-point or volatility is known at this close",
    "waiting": "an order is on its way",
    "risk_halt": "a limit or a command keeps the account from it",
    "end": "the data end here, so what was open was closed",
    "full": "as much is held already as may be",
    "too_thin": "the book does not hold enough to fill the order",
    "too_small": "the order would be below the smallest that is sent",
    "liquidation": "the margin was used up",
    "timeout": "the position is as old as any may become",
    "errors": "nothing was known for too many closes in a row",
}
"""What a reason says, in words."""


def coverage(scene: Scene, symbol: str, time: datetime) -> dict[str, Any]:
    """Say what bars lie before this one: gaps, and whether features had warmed up."""
    bars = scene.bars.filter(pl.col("symbol") == symbol, pl.col("time") <= time)
    interval, chosen = scene.study.data.interval, pipeline.feature_set(scene.study)
    begins = bars.with_row_index().filter(pl.col("open_time") > pl.col("time").shift(1))
    row, needed = bars.row(-1, named=True), feature_room.warmup(chosen, interval=interval)
    since = bars.height - (int(begins["index"][-1]) if begins.height else 0)
    span = min(DAY, row["open_time"] - bars["open_time"][0])
    day = bars.filter(pl.col("open_time") >= row["open_time"] - span)
    gap = None
    if begins.height:
        at = int(begins["index"][-1])
        last, next_ = bars["time"][at - 1], bars["open_time"][at]
        gap = {"from": last, "to": next_, "bars": (next_ - last) // interval}
    prices = ("open_time", "open", "high", "low", "close", "volume")
    return {
        "bar": {name: row[name] for name in prices},
        "last_gap": gap,
        "bars_since_gap": since,
        "missing_day_before": span // interval + 1 - day.height,
        "warmup": needed,
        "warm": since > needed,
    }


def features(scene: Scene, symbol: str, time: datetime) -> dict[str, Any]:
    """Give the features' values, and those that lie furthest out among the training rows."""
    names = pipeline.feature_set(scene.study).names
    row = _row(scene.features, symbol, time)
    if row is None:
        return {"values": {}, "unusual": [], "ranked_among": None}
    values = {name: row[name] for name in names}
    taught, span = _taught(scene, symbol, time)
    ranks = {n: _rank(taught[n], v) for n, v in values.items() if v is not None}
    known = [(name, rank) for name, rank in ranks.items() if rank is not None]
    outer = sorted(known, key=lambda pair: -abs(pair[1] - 0.5))[:SHOWN]
    return {
        "values": values,
        "unusual": [{"name": n, "value": values[n], "rank": rank} for n, rank in outer],
        "ranked_among": span,
    }


def _taught(scene: Scene, symbol: str, time: datetime) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return the rows that the model in force learnt from, as far as they are at hand."""
    model, table = _model(scene, symbol, time), scene.features
    if scene.study.model.single:
        table = table.filter(pl.col("symbol") == symbol)
    moments = pl.col("time").dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    inside = pl.lit(False)
    if model is not None and "fold" in model.card:
        fold = model.card["fold"]
        inside = (moments >= fold["train_start"]) & (moments < fold["train_end"])
    rows = table.filter(inside)
    if rows.height < FEW:  # without a model's window: everything before this bar
        rows = table.filter(pl.col("time") < time)
    ends = {"from": rows["time"].min(), "to": rows["time"].max()}
    return rows, {**ends, "rows": rows.height}


def _rank(column: pl.Series, value: float) -> float | None:
    """Return the share of known values below `value`, ties counted half."""
    known = column.drop_nulls().to_numpy()
    if len(known) < FEW:
        return None
    return float(((known < value).mean() + (known <= value).mean()) / 2)


def forecast(scene: Scene, symbol: str, time: datetime) -> dict[str, Any]:
    """Give the forecast, whose it is, and how its features share it out among themselves."""
    row = _row(scene.forecasts, symbol, time)
    if row is None or row.get("forecast") is None:
        return {"value": None, "model": None, "shares": None}
    kept = ("fold", "sigma", "told", "y", "known_at", "p_down", "p_flat", "p_up", "late")
    model = _model(scene, symbol, time)
    more = {name: row[name] for name in kept if row.get(name) is not None}
    shares = None if model is None else _shares(scene, model, symbol, time)
    return {"value": row["forecast"], "model": row.get("model"), **more, "shares": shares}


def _model(scene: Scene, symbol: str, time: datetime) -> models.Model | None:
    row = _row(scene.forecasts, symbol, time)
    return scene.model(row["model"], symbol) if row and row.get("model") else None


def _shares(
    scene: Scene, model: models.Model, symbol: str, time: datetime
) -> dict[str, Any] | None:
    """Share the model's answer out (Shapley values); None where its learner cannot tell."""
    here = (pl.col("symbol") == symbol) & (pl.col("time") == time)
    X = scene.features.filter(here).select(model.card["columns"])
    try:
        parts = models.shap_values(model, X).row(0, named=True)
    except UserError:
        return None
    base = parts.pop("base")
    order = sorted(parts, key=lambda name: -abs(parts[name]))
    top = [{"name": n, "value": X[n][0], "share": parts[n]} for n in order[:SHOWN]]
    unit = "log odds of up over down" if "p_up" in model.core.outputs else _unit(model)
    rest = sum(parts[name] for name in order[SHOWN:])
    return {
        "unit": unit,
        "base": base,
        "top": top,
        "others": rest,
        "sum": base + sum(parts.values()),
    }


def _unit(model: models.Model) -> str:
    return "volatilities of the horizon" if model.card.get("target") == "scaled" else "return"


def cut_points(scene: Scene, symbol: str, time: datetime) -> dict[str, Any]:
    """Say what the forecast was held against, and which side the rule heard."""
    study, rules = scene.study, tape.rules(scene.study)
    row = _row(scene.forecasts, symbol, time) or {}
    told, bin_ = row.get("told"), row.get("bin") or 0
    heard = signal(float("nan") if told is None else told, int(bin_), rules)
    said = {"rule": study.backtest.rule, "side": {1: "long", -1: "short"}.get(heard, "none")}
    if study.backtest.rule != "quantile":
        word = "enter_probability" if study.backtest.rule == "probability" else "enter"
        return {**said, "told": told, word: rules.enter, "leave": rules.leave}
    return {**said, "bin": bin_ or None, "bins": study.evaluation.bins, **_edges(scene, row, time)}


def _edges(scene: Scene, row: dict[str, Any], time: datetime) -> dict[str, Any]:
    """Draw the cut-points that held at `time`, and give those on both sides of the forecast."""
    study, cuts = scene.study, pipeline.cuts(scene.study)
    table = scene.forecasts.drop_nulls("forecast")
    if study.evaluation.scope == "fold":
        folds = sorted(table["fold"].unique())
        place = folds.index(row["fold"]) if row else 0
        begun = table.filter(pl.col("fold") == row.get("fold", ""))["time"].min()
        before = pl.col("fold") == (folds[place - 1] if place else "")
        past = table.filter(before, pl.col("time") < begun)
    else:
        end = _period(time, cuts["every"])
        past = table.filter(pl.col("time").is_between(end - cuts["window"], end, closed="left"))
    known = past["forecast"].to_numpy()
    if not row.get("bin") or not len(known):
        return {"edges": None, "drawn_from": len(known)}
    edges = np.quantile(known, np.arange(1, cuts["bins"]) / cuts["bins"])
    below, above = edges[edges <= row["forecast"]], edges[edges > row["forecast"]]
    return {
        "above": float(below[-1]) if len(below) else None,
        "below": float(above[0]) if len(above) else None,
        "lowest": float(edges[0]),
        "highest": float(edges[-1]),
        "drawn_from": len(known),
        "drawn_until": past["time"].max(),
    }


def _period(time: datetime, every: timedelta) -> datetime:
    """Return when the period of `time` began: a bar that ends a period belongs to it."""
    micros = timedelta(microseconds=1)
    epoch = datetime(1970, 1, 1, tzinfo=time.tzinfo)
    since, length = (time - epoch) // micros - 1, every // micros
    return epoch + since // length * length * micros


def costs(scene: Scene, symbol: str, time: datetime, notional: float | None) -> dict[str, Any]:
    """Give what a fill at the next open pays per side, in basis points, for an order so large."""
    mine = scene.bars.filter(pl.col("symbol") == symbol)
    later = mine.filter(pl.col("open_time") >= time)["time"]
    at = later[0] if later.len() else time
    near = mine.filter(pl.col("time").is_between(at - 2 * DAY, at))
    paid = charges.columns(scene.study, near).row(-1, named=True)
    size = paid["impact"] * abs(notional or 0.0) ** 0.5
    found = {
        "fee": scene.study.fee,
        "half_spread": paid["half_spread"],
        "slippage": scene.study.costs.slippage,
        "impact": size,
    }
    bps = {name: value * 1e4 for name, value in found.items()}
    return {"filled_in_bar_of": at, **bps, "side": sum(bps.values())}


def limits(scene: Scene, symbol: str, time: datetime) -> dict[str, Any]:
    """Give the account at this close, what a new position would be, and what bounds it."""
    study, rules = scene.study, tape.rules(scene.study)
    path = scene.equity.filter(pl.col("time") <= time).select("time", "equity")
    owned = float(path["equity"][-1]) if path.height else study.backtest.capital
    highest = max(float(path["equity"].max() or owned), study.backtest.capital)  # type: ignore[arg-type]
    midnight = (time - timedelta(microseconds=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    before = path.filter(pl.col("time") <= midnight)["equity"]
    morning = float(before[-1]) if before.len() else study.backtest.capital
    mine = scene.reasons.filter(pl.col("symbol") == symbol, pl.col("time") <= time)["position"]
    now = float(mine[-1]) if mine.len() else 0.0
    price = (_row(scene.bars, symbol, time) or {"close": 0.0})["close"]
    return {
        "equity": owned,
        "drawdown": 1 - owned / highest,
        "day": owned / morning - 1,
        "position_before": float(mine[-2]) if mine.len() > 1 else 0.0,
        "position": now,
        "worth": abs(now) * price,
        "new_position": _size(scene, symbol, time, owned, rules),
        "sizing": study.sizing.kind,
        "most": owned * min(rules.max_position, rules.leverage),
        "daily_loss": study.risk.daily_loss,
        "max_drawdown": study.risk.drawdown,
        "max_positions": study.backtest.max_positions,
    }


def _size(scene: Scene, symbol: str, time: datetime, owned: float, rules: Any) -> float | None:
    """Notional that an entry at this close would have; None where no side is told."""
    row = _row(scene.forecasts, symbol, time) or {}
    told, sigma = row.get("told"), row.get("sigma")
    if told is None or told != told:
        return None
    heard = signal(float(told), int(row.get("bin") or 0), rules)
    lots = scene.reasons["symbol"].n_unique() * rules.overlap
    spread = float("nan") if sigma is None else float(sigma)
    if not heard:
        return None
    return float(worth(heard, float(told), spread, owned, lots, rules))


def outcome(scene: Scene, symbol: str, time: datetime) -> dict[str, Any]:
    """Say what came of it: the trade the bar belongs to, and where price went over the horizon."""
    mine = scene.bars.filter(pl.col("symbol") == symbol)
    horizon = scene.study.labels.horizon
    later = mine.filter(pl.col("time") > time, pl.col("time") <= time + horizon)
    move = later["close"][-1] / later["open"][0] - 1 if later.height else None
    return {
        "next_open": later["open"][0] if later.height else None,
        "move": move,
        "over": later["time"][-1] - time if later.height else None,
        "trade": _trade(scene, symbol, time),
    }


def _trade(scene: Scene, symbol: str, time: datetime) -> dict[str, Any] | None:
    """Return the trade that this close entered, held or left; an entry belongs to what it opens."""
    if scene.trades.is_empty():
        return None
    row = _row(scene.reasons, symbol, time) or {}
    interval, enters = scene.study.data.interval, row.get("reason") == "entry"
    late = charges.latency(scene.study) + interval
    ends = pl.col("exit_time") > time if enters else pl.col("exit_time") >= time
    mine = scene.trades.filter(pl.col("symbol") == symbol, ends).sort("entry_time")
    mine = mine.filter(pl.col("entry_time") <= time + late)
    if mine.is_empty() or not (enters or mine["entry_time"][0] <= time):
        return None
    return mine.row(0, named=True)


def reason(scene: Scene, symbol: str, time: datetime) -> dict[str, Any]:
    """Give the bar's one reason, and what it says."""
    row = _row(scene.reasons, symbol, time)
    word = row["reason"] if row else None
    return {"word": word, "means": MEANS.get(word or "", "the run decided nothing at this bar")}


def _row(table: pl.DataFrame, symbol: str, time: datetime) -> dict[str, Any] | None:
    found = table.filter(pl.col("symbol") == symbol, pl.col("time") == time)
    return found.row(0, named=True) if found.height else None
