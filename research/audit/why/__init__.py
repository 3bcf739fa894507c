"""Why did a run do what it did at one bar? ``./run why RUN SYMBOL TIME``.

The chain from bar to trade, link by link: coverage, features, forecast, cut-points, costs, limits,
reason, and what came of it; of a stored run and of a paper run alike, read from what they stored.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from research import units
from research.audit.why import chain
from research.audit.why.scenes import Scene, find
from research.errors import UserError, nearest

__all__ = ["run", "text"]


def run(run_id: str, symbol: str, time: str | datetime) -> dict[str, Any]:
    """Return the chain of one bar.

    Parameters
    ----------
    run_id : str
        A stored run, a paper run, or a study, whose newest run is meant.
    symbol : str
        As the run has it.
    time : str or datetime
        The bar's close, as in ``2024-02-16 20:27``; without a zone it is UTC.

    Returns
    -------
    dict
        ``run, kind, study, symbol, time``, then the links ``coverage, features, forecast,
        cut_points, costs, limits, reason, then``. JSON values: times as ISO text in UTC, costs in
        basis points per side, other rates as fractions; None where nothing is known.

    Raises
    ------
    UserError
        If there is no such run, symbol or bar; names the nearest.
    """
    scene, moment = find(run_id), _moment(time)
    _check(scene, symbol, moment)
    at = (scene, symbol, moment)
    bounds = chain.limits(*at)
    found = {
        "run": scene.run,
        "kind": scene.kind,
        "study": scene.study.name,
        "symbol": symbol,
        "time": moment,
        "coverage": chain.coverage(*at),
        "features": chain.features(*at),
        "forecast": chain.forecast(*at),
        "cut_points": chain.cut_points(*at),
        "costs": chain.costs(*at, bounds["new_position"] or bounds["worth"]),
        "limits": bounds,
        "reason": chain.reason(*at),
        "then": chain.outcome(*at),
    }
    return _plain(found)


def _moment(time: str | datetime) -> datetime:
    try:
        read = datetime.fromisoformat(time) if isinstance(time, str) else time
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"why: {time!r} is no time. Write it as '2025-05-18 06:05' (UTC)."
        ) from error


def _check(scene: Scene, symbol: str, time: datetime) -> None:
    """Refuse a symbol or a bar that the run did not decide about, and name the nearest."""
    known = scene.reasons["symbol"].unique().sort().to_list()
    if symbol not in known:
        raise UserError(
            f"why: run {scene.run} has no {symbol!r}.{nearest(symbol, known)} "
            f"It has {', '.join(known)}."
        )
    times = scene.reasons.filter(pl.col("symbol") == symbol)["time"].sort().to_list()
    if time in times:
        return
    near = min(times, key=lambda other: abs(other - time))
    inside = times[0] < time < times[-1]
    said = "no bar closed then" if inside else f"the run decides from {times[0]} to {times[-1]}"
    raise UserError(f"why: {symbol} at {time}: {said}. The nearest bar closed at {near}.")


def _plain(value: Any) -> Any:
    """Return JSON values: moments and spans as text, what is not finite as None."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, timedelta):
        return units.show(value)
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    is_number = isinstance(value, float)
    return None if is_number and not abs(value) < float("inf") else value


def text(found: dict[str, Any]) -> str:
    """Say the chain in lines, for a terminal."""
    lines = [
        ("run", f"{found['run']} ({found['kind']}, study {found['study']})"),
        ("bar", _bar(found)),
        ("coverage", _coverage(found["coverage"])),
        *_features(found["features"]),
        *_forecast(found["forecast"]),
        ("cut-points", _cuts(found["cut_points"])),
        ("costs", _costs(found["costs"])),
        ("limits", _limits(found["limits"])),
        ("reason", f"{found['reason']['word']}: {found['reason']['means']}"),
        *_then(found["then"]),
    ]
    return "\n".join(f"{name:11}{line}" for name, line in lines)


def _bar(found: dict[str, Any]) -> str:
    bar = found["coverage"]["bar"]
    prices = ", ".join(f"{name} {bar[name]:,.8g}" for name in ("open", "high", "low", "close"))
    return f"{found['symbol']} closed {found['time']}: {prices}, volume {bar['volume']:,.6g}"


def _coverage(said: dict[str, Any]) -> str:
    gap, warm = said["last_gap"], "warm" if said["warm"] else "not warm yet"
    missing = f"{said['missing_day_before']:,} bars missing in the day before"
    where = "no gap before" if gap is None else f"last gap {gap['bars']:,} bars to {gap['to']}"
    since = f"{said['bars_since_gap']:,} bars since, {said['warmup']:,} needed"
    return f"{missing}; {where}; {since}: {warm}"


def _features(said: dict[str, Any]) -> list[tuple[str, str]]:
    among = said["ranked_among"]
    if among is None:
        return [("features", "none at this bar")]
    unknown = [name for name, value in said["values"].items() if value is None]
    head = (
        f"{len(said['values'])}, {len(unknown)} not known; furthest out among {among['rows']:,} "
        f"rows from {among['from']} to {among['to']}:"
    )
    rows = [("", f"{r['name']} {r['value']:.6g}, rank {r['rank']:.3f}") for r in said["unusual"]]
    return [("features", head), *rows]


def _forecast(said: dict[str, Any]) -> list[tuple[str, str]]:
    if said["value"] is None:
        return [("forecast", "none: no fold forecasts this bar, or a feature is not known")]
    fold = f", fold {said['fold']}" if "fold" in said else ""
    head = f"{_bps(said['value'])} over the horizon, by {said['model']}{fold}"
    shares = said["shares"]
    if shares is None:
        return [("forecast", f"{head}; its model is not stored or cannot share it out")]
    terms = ", ".join(f"{t['name']} {t['share']:+.4f}" for t in shares["top"])
    parts = f"{shares['base']:+.4f} base, {terms}, others {shares['others']:+.4f}"
    return [("forecast", head), ("", f"{shares['sum']:+.4f} {shares['unit']} = {parts}")]


def _cuts(said: dict[str, Any]) -> str:
    side = f"the rule hears {said['side']}"
    if said["rule"] != "quantile":
        word = "enter_probability" if "enter_probability" in said else "enter"
        show = _bps if word == "enter" else "{:.3f}".format
        told = "nothing" if said["told"] is None else show(said["told"])
        return f"{said['rule']}: enters beyond {show(said[word])}, told {told}; {side}"
    if said["bin"] is None:
        return f"quantile: no bin, {said['drawn_from']:,} earlier forecasts; {side}"
    ends = (("above", said["above"]), ("below", said["below"]))
    where = " and ".join(f"{word} {_bps(end)}" for word, end in ends if end is not None)
    drawn = f"cut from {said['drawn_from']:,} forecasts until {said['drawn_until']}"
    return f"quantile: bin {said['bin']} of {said['bins']}, {where}, {drawn}; {side}"


def _costs(said: dict[str, Any]) -> str:
    names = ("fee", "half_spread", "slippage", "impact")
    parts = " + ".join(f"{name.replace('_', ' ')} {said[name]:.2f}" for name in names)
    return (
        f"{parts} = {said['side']:.2f} bps a side, filled in the bar of {said['filled_in_bar_of']}"
    )


def _limits(said: dict[str, Any]) -> str:
    size = said["new_position"]
    new = "no new position" if size is None else f"a new position would be {size:,.2f}"
    bounds = {k: said[k] for k in ("daily_loss", "max_drawdown", "max_positions") if said[k]}
    told = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in bounds.items())
    return (
        f"equity {said['equity']:,.2f} ({said['drawdown']:.2%} below its highest, "
        f"{said['day']:+.2%} today), position {said['position_before']:.6g} -> "
        f"{said['position']:.6g}; {new} of at most {said['most']:,.2f} ({said['sizing']}); "
        f"{told or 'no risk limits'}"
    )


def _then(said: dict[str, Any]) -> list[tuple[str, str]]:
    if said["move"] is None:
        return [("then", "the data end here")]
    head = f"next open {said['next_open']:,.8g}, {_bps(said['move'])} over {said['over']}"
    trade = said["trade"]
    if trade is None:
        return [("then", f"{head}; part of no closed trade")]
    line = (
        f"{trade['side']} {trade['entry_time']} at {trade['entry_price']:,.8g} "
        f"to {trade['exit_time']} at {trade['exit_price']:,.8g} ({trade['exit_reason']}), "
        f"net {trade['net']:+,.2f}"
    )
    return [("then", head), ("trade", line)]


def _bps(value: float) -> str:
    return f"{value * 1e4:+.2f} bps"
