"""One run in numbers, and those numbers as text."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl

from research.errors import UserError
from research.performance.curve import YEAR, drawdown, periods_of, span_of, step_of


def summary(equity: pl.DataFrame, trades: pl.DataFrame, *, capital: float) -> dict[str, Any]:
    """Sum up one run in numbers.

    Parameters
    ----------
    equity : pl.DataFrame
        ``time`` (sorted, UTC) and ``equity`` (net, in quote currency); where present, also
        ``fees, slippage, funding, traded`` (quote currency, since the row before) and ``exposure``
        (positions at their marks, added up).
    trades : pl.DataFrame
        Round trips: ``net, entry_price, quantity, entry_time, exit_time``.
    capital : float
        Equity at the start.

    Returns
    -------
    dict of str to int, float or None
        None where not known; never NaN or infinite.

        * ``net_return, gross_return``: of `capital`; gross is before fees, spread, slippage and
          funding. ``fees, slippage, funding``: what was paid, as fractions of `capital`.
        * ``annual_return``: net, compounded over 365 days; None below one day of data.
        * ``sharpe, sortino, omega``: of the returns per period, against zero, the first two
          times the root of periods a year. ``volatility``: a year's.
        * ``max_drawdown``: largest loss from a peak, as a fraction of it, above 0.
          ``calmar``: annual return over it.
        * ``var_95, cvar_95``: loss of one period that 5 % of periods exceed, and the mean of those.
        * ``trades``; ``win_rate``: share with net above 0; ``profit_factor``: net won over net
          lost; ``expectancy``: mean net return on entry notional; ``sqn``: mean net over its
          standard deviation, times the root of the number; ``kelly``: share of capital that
          would have grown fastest, from win rate and mean win over mean loss;
          ``avg_minutes``: mean time in position.
        * ``turnover``: notional bought and sold, in units of `capital`; ``exposure``: mean
          position over equity; ``days``; ``period_minutes``: what a period was.

    Raises
    ------
    UserError
        If `equity` has no row or a column is missing.

    Examples
    --------
    >>> from datetime import datetime, UTC
    >>> times = pl.datetime_range(datetime(2024, 5, 1), datetime(2024, 5, 2), "1h",
    ...                           time_zone="UTC", eager=True)
    >>> curve = pl.DataFrame({"time": times, "equity": np.linspace(100, 101, 25)})
    >>> none = pl.DataFrame(schema={c: pl.Float64 for c in TRADES})
    >>> found = summary(curve, none, capital=100.0)
    >>> round(found["net_return"], 4), found["trades"], found["win_rate"]
    (0.01, 0, None)
    """
    _need(equity, ("time", "equity"), "equity")
    _need(trades, TRADES, "trades")
    if equity.is_empty():
        raise UserError("performance: equity has no row; a run needs at least one bar.")
    found = {
        **_returns(equity, capital),
        **_ratios(equity, capital),
        **_trading(trades),
        **_activity(equity, capital),
    }
    return {key: _known(value) for key, value in found.items()}


TRADES = ("net", "entry_price", "quantity", "entry_time", "exit_time")


def _need(table: pl.DataFrame, columns: tuple[str, ...], name: str) -> None:
    for column in columns:
        if column not in table.columns:
            raise UserError(
                f"performance: {name} needs column {column!r}. Here: {', '.join(table.columns)}."
            )


def _known(value: Any) -> Any:
    if value is None or isinstance(value, int):
        return value
    return float(value) if math.isfinite(value) else None


def _over(above: float, below: float) -> float | None:
    return above / below if below else None


def _returns(equity: pl.DataFrame, capital: float) -> dict[str, Any]:
    gained = equity["equity"][-1] - capital
    costs = {
        name: float(equity[name].sum()) if name in equity.columns else None
        for name in ("fees", "slippage", "funding")
    }
    whole = None if None in costs.values() else (gained + sum(costs.values())) / capital  # type: ignore[arg-type]
    shares = {name: None if c is None else c / capital for name, c in costs.items()}
    return {"net_return": gained / capital, "gross_return": whole, **shares}


def _ratios(equity: pl.DataFrame, capital: float) -> dict[str, Any]:
    periods = periods_of(equity, capital)
    r, step = periods["return"].drop_nulls().to_numpy(), step_of(equity["time"])
    span = span_of(equity["time"])
    growth = equity["equity"][-1] / capital
    deepest = abs(float(drawdown(equity, capital=capital)["drawdown"].min()))  # type: ignore[arg-type]
    annual = _power(growth, YEAR / span) if span >= timedelta(days=1) else None
    return {
        "annual_return": annual,
        "volatility": r.std(ddof=1) * math.sqrt(YEAR / step) if len(r) > 1 else None,
        "sharpe": sharpe(r, step=step),
        "sortino": _sortino(r, step),
        "omega": _over(r.clip(0).sum(), -r.clip(max=0).sum()),
        "max_drawdown": deepest,
        "calmar": _over(annual, deepest) if annual is not None else None,
        **_tail(r),
        "days": span / timedelta(days=1),
        "period_minutes": step / timedelta(minutes=1),
    }


def _power(growth: float, years: float) -> float | None:
    if growth <= 0:
        return -1.0
    grown = math.log(growth) * years
    return math.expm1(grown) if grown < 700 else None


def sharpe(returns: np.ndarray, *, step: timedelta) -> float | None:
    """Mean over standard deviation (ddof 1) of returns, times the root of periods in 365 days.

    Parameters
    ----------
    returns : np.ndarray, shape (n_periods,)
        Simple returns per period.
    step : timedelta
        Length of a period.

    Returns
    -------
    float or None
        None for fewer than two returns, or returns that are all the same.

    Examples
    --------
    >>> round(sharpe(np.array([0.01, -0.01, 0.02]), step=timedelta(days=1)), 2)
    8.34
    """
    if len(returns) < 2 or returns.min() == returns.max():
        return None
    return float(returns.mean() / returns.std(ddof=1) * math.sqrt(YEAR / step))


def _sortino(r: np.ndarray, step: timedelta) -> float | None:
    if len(r) < 2 or not (r < 0).any():
        return None
    downside = math.sqrt(np.mean(r.clip(max=0) ** 2))
    return float(r.mean() / downside * math.sqrt(YEAR / step))


def _tail(r: np.ndarray) -> dict[str, Any]:
    if len(r) < 20:  # 5 % of fewer is not one period
        return {"var_95": None, "cvar_95": None}
    worst = np.sort(r)[: int((len(r) - 1) * 0.05) + 1]
    return {"var_95": -np.percentile(r, 5), "cvar_95": -worst.mean()}


def _trading(trades: pl.DataFrame) -> dict[str, Any]:
    net, n = trades["net"].to_numpy(), trades.height
    won, lost = net[net > 0], net[net < 0]
    rates = net / (trades["entry_price"] * trades["quantity"]).to_numpy()
    spread = net.std(ddof=1) if n > 1 else 0.0
    held = (trades["exit_time"] - trades["entry_time"]).mean() if n else None
    return {
        "trades": n,
        "win_rate": len(won) / n if n else None,
        "profit_factor": _over(won.sum(), -lost.sum()),
        "expectancy": rates.mean() if n else None,
        "sqn": _over(math.sqrt(n) * net.mean(), spread) if n else None,
        "kelly": _kelly(won, lost, n),
        "avg_minutes": held / timedelta(minutes=1) if isinstance(held, timedelta) else None,
    }


def _kelly(won: np.ndarray, lost: np.ndarray, n: int) -> float | None:
    if not len(won) or not len(lost):
        return None
    share = len(won) / n
    return share - (1 - share) / (won.mean() / -lost.mean())


def _activity(equity: pl.DataFrame, capital: float) -> dict[str, Any]:
    has = set(equity.columns)
    positive = equity.filter(pl.col("equity") > 0)
    mean = (
        (positive["exposure"] / positive["equity"]).mean()
        if "exposure" in has and positive.height
        else None
    )
    return {
        "turnover": float(equity["traded"].sum()) / capital if "traded" in has else None,
        "exposure": mean,
    }


_LINES = (
    ("net return", "net_return", "{:+.2%}"),
    ("gross return", "gross_return", "{:+.2%}"),
    ("fees", "fees", "{:.2%}"),
    ("spread and slippage", "slippage", "{:.2%}"),
    ("funding", "funding", "{:+.2%}"),
    ("annual return", "annual_return", "{:+.2%}"),
    ("volatility, a year", "volatility", "{:.2%}"),
    ("Sharpe", "sharpe", "{:.2f}"),
    ("Sortino", "sortino", "{:.2f}"),
    ("Calmar", "calmar", "{:.2f}"),
    ("Omega", "omega", "{:.3f}"),
    ("max drawdown", "max_drawdown", "{:.2%}"),
    ("VaR 95 %, a period", "var_95", "{:.3%}"),
    ("CVaR 95 %, a period", "cvar_95", "{:.3%}"),
    ("trades", "trades", "{:,}"),
    ("win rate", "win_rate", "{:.1%}"),
    ("profit factor", "profit_factor", "{:.2f}"),
    ("expectancy, a trade", "expectancy", "{:+.4%}"),
    ("SQN", "sqn", "{:.2f}"),
    ("Kelly share", "kelly", "{:.2f}"),
    ("minutes in position", "avg_minutes", "{:,.1f}"),
    ("turnover, x capital", "turnover", "{:,.1f}"),
    ("exposure", "exposure", "{:.1%}"),
    ("break-even fee", "break_even_fee", "{:+.4%}"),
)


ANNUAL_DAYS = 60
"""Days of returns below which no figure of a year is shown: two months say little of twelve."""
ANNUAL = ("annual_return", "volatility", "sharpe", "sortino", "calmar")


def text(summary: dict[str, Any]) -> str:
    """Write a summary as lines to read, with the 95 % intervals it holds.

    What has no interval describes the one path that was taken. Below `ANNUAL_DAYS` days no figure
    of a year is written.

    >>> print(text({"net_return": 0.0123, "net_low": -0.01, "net_high": 0.03, "trades": 5}))
    net return                +1.23%  95 % from -1.00% to +3.00%
    trades                         5
    """
    lines, days = [], summary.get("days", ANNUAL_DAYS)
    for label, key, form in _LINES:
        if key in summary and (days >= ANNUAL_DAYS or key not in ANNUAL):
            value, name = summary[key], key.removesuffix("_return")
            shown = "-" if value is None else form.format(value)
            ends = summary.get(f"{name}_low"), summary.get(f"{name}_high")
            known = None not in ends
            sure = "  95 % from {} to {}".format(*map(form.format, ends)) if known else ""
            lines.append(f"{label:<22}{shown:>10}{sure}")
    if days < ANNUAL_DAYS:
        lines.append(f"figures of a year are shown from {ANNUAL_DAYS} days on: here are {days:.3g}")
    return "\n".join(lines)
