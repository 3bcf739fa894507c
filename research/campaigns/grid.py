r"""The phase diagram: does the sign of what a study earns follow planted IC against its cost?

An edge pays where its IC lies above the break-even IC, :math:`IC^* = c / (\bar z \sigma_h)`, of the
round-trip cost c. Near that line a sign tells nothing, so cells within a factor of `MARGIN` of it
are left out and counted.

A study's learner may find less than what was planted, and its rule may trade otherwise than the
formula takes it to: the extreme tenths, each held for the horizon. So every cell has a control: the
market's own perfect forecast, traded just like that. Where the control is right and the study
wrong, it is the study that misses the edge; where the control is wrong, the accounting is. The
control abstains nowhere.

**Two readings.** By the formula, a study that never trades is wrong wherever an edge pays, and one
that made five trades is right or wrong by a coin. A rule that waits for a large probability, or for
a large forecast, trades other rows than a tenth of all: wilder ones, where the same cost weighs
less, or hardly any. So each cell is read once more, by the study's *own* line: what the positions
that it held were to be expected to earn by the market's drift, less what was paid (`worth`). Where
that is beyond 1.645 standard errors of what luck adds, a sound account shows its sign 19 times in
20, and the cell counts; where it is not, the cell has no verdict. What came is not asked, so no
cell is left out for its outcome. No verdict excuses nothing that was *said*: a report that says
"nothing" of an edge that pays by the formula is wrong however little it traded.

The own line asks whether the account is sound, the formula's whether the study takes what is there:
``missed`` counts cells that pay by the formula and could not by what the study held. Cells of one
market share its luck, so twenty of them are fewer than twenty witnesses.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import polars as pl

from research import judgement, league, pipeline, scores
from research.campaigns.markets import STUDIES, Market, Options, daily_t, over, own_store, simulated
from research.campaigns.worth import drift, facts, worth
from research.report.numbers import clean
from research.study import Study

COSTS = (0.0, 0.2e-4, 0.5e-4, 2e-4, 5e-4, 20e-4)
"""Round trips, fractions of price: from nothing to what a small account pays."""
PLANTED = (0.03, 0.06, 0.10, 0.15, 0.25)
_MINUTES = (0.03, 0.06, 0.09, 0.12, 0.15)  # one minute holds no more of an edge of ten
_SHORT = 300.0
MARGIN = 2.0
# with room for a second position (each of half the size) every one is closed when its time is over,
# as the formula has it; one alone would be held on, without a round trip, while its bin lasts
CONTROL: Options = {
    "backtest.rule": "quantile",
    "backtest.quantile": None,
    "backtest.side": "auto",
    "backtest.hold": None,
    "backtest.overlap": 2,
    "backtest.max_positions": None,
    "backtest.stop": None,
    "backtest.take": None,
    "backtest.cooldown": timedelta(0),
    "sizing.kind": "equal",
    "sizing.max_position": None,
    "evaluation.bins": 10,
    "evaluation.scope": "trailing",
}


def phase(
    seeds: int, workers: int, studies: tuple[str, ...] = STUDIES, options: Options | None = None
) -> dict[str, Any]:
    """Take each study through markets with edges of growing strength, and trade at growing costs.

    Every market has noise of its own. A study is trained once on each; its stored forecasts are
    traded at all `COSTS`, each half paid on entry and half on exit, in place of the study's own.

    Parameters
    ----------
    seeds : int
        Markets for each study and planted IC.
    workers : int
        Processes.
    studies : tuple of str
        Names or paths.
    options : dict, optional
        Settings that win over those of studies and campaign.

    Returns
    -------
    dict
        ``cells`` (a row for each), ``failed``, and by study what `counted` returns.

    Raises
    ------
    UserError
        If there is no such study.
    """
    markets: list[Market] = []
    for name in studies:
        short = simulated((name, 1, 0.0, options or {})).labels.horizon.total_seconds() < _SHORT
        strengths = [ic for _ in range(seeds) for ic in (_MINUTES if short else PLANTED)]
        markets += [(name, seed, ic, options or {}) for seed, ic in enumerate(strengths, 1)]
    rows, failed = over(_market, markets, workers, "phase")
    rows.sort(key=lambda r: (studies.index(r["study"]), r["planted_ic"], r["seed"], r["cost"]))
    by_study = {name: counted([r for r in rows if r["study"] == name]) for name in studies}
    return {"cells": rows, "failed": failed, **by_study}


def _market(market: Market) -> list[Options]:
    with own_store():
        study = simulated(market)
        forecasts = pipeline.forecasts(study)
        found = pipeline.evaluation(study, forecasts)
        known = league.truth(study, found)
        best = league.perfect(study, found).select(forecasts.columns)
        cells = [judged(known | _cell(study, forecasts, found, best, c)) for c in COSTS]
    return [clean({"study": market[0], "seed": market[1], **cell}) for cell in cells]


def _cell(
    study: Study,
    forecasts: pl.DataFrame,
    found: pipeline.Evaluation,
    best: pl.DataFrame,
    cost: float,
) -> Options:
    free = dict.fromkeys(("slippage", "half_spread", "impact", "funding"), 0.0)
    paid = {f"costs.{key}": value for key, value in {**free, "fee": cost / 2}.items()}
    chosen = study.with_options({**paid, "costs.funding_history": None})
    tested = pipeline.backtest(chosen, forecasts)
    control = pipeline.backtest(chosen.with_options(CONTROL), best)
    capital = study.backtest.capital
    expected = worth(tested, pipeline.bars(study), drift(study), capital=capital)
    needed = scores.break_even_ic(forecasts, cost=cost)
    return {
        "cost": cost,
        "verdict": judgement.judge(chosen, replace(found, ic_break_even=needed), tested).word,
        "ic_break_even": needed,
        **{key: tested.summary[key] for key in ("gross_return", "net_return", "trades", "days")},
        **daily_t(tested.equity, capital=capital),
        **facts(expected, study.simulated.ic),
        "control_return": control.summary["net_return"],
    }


def judged(cell: dict[str, Any]) -> dict[str, Any]:
    """Add what sign was to be expected, and whether it came.

    Parameters
    ----------
    cell : dict
        ``planted_ic, ic_break_even, expected_own, verdict, net_return, control_return``.

    Returns
    -------
    dict
        With ``expected`` (1: planted IC beyond `MARGIN` times break-even; -1: below break-even
        over `MARGIN`; 0: near), ``right`` and, of the control, ``right_control``: a gain is right
        where 1 is expected; a loss, or no trade at all, where -1 is; None where 0 is.
        ``right_own``: the same by ``expected_own``, the sign of what the study's own positions
        were worth; where that is 0 there is no verdict, None, unless the report says nothing of an
        edge that pays by the formula, which is wrong.

    Examples
    --------
    >>> cell = {"planted_ic": 0.1, "ic_break_even": 0.03, "expected_own": -1, "verdict": "nothing"}
    >>> cell = judged(cell | {"net_return": -0.01, "control_return": 0.2})
    >>> cell["expected"], cell["right"], cell["right_control"], cell["right_own"]
    (1, False, True, True)
    """
    needed, planted = cell["ic_break_even"], cell["planted_ic"]
    by_plan = (planted > MARGIN * needed) - (planted < needed / MARGIN)
    denied = by_plan > 0 and cell["expected_own"] == 0 and cell["verdict"] == "nothing"
    return {
        **cell,
        "expected": by_plan,
        "right": _right(cell["net_return"], by_plan),
        "right_control": _right(cell["control_return"], by_plan),
        "right_own": False if denied else _right(cell["net_return"], cell["expected_own"]),
    }


def _right(earned: float, expected: int) -> bool | None:
    return (earned > 0) == (expected > 0) if expected else None


def counted(cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the cells of one study; empty without any.

    Returns
    -------
    dict
        ``cells``. By the formula: ``near`` (left out), ``away`` and ``right`` (of those away); of
        these ``pay``, ``right_where_it_pays``, ``idle_where_it_pays`` (nothing was traded: counted
        as wrong) and ``right_where_it_does_not``; ``right_control``. By the study's own line:
        ``decided``, ``right_own`` (of those), ``no_verdict`` and, of these, ``idle``; ``denied``
        (wrong: the report says nothing of what pays, and luck decides); ``missed`` (pay by the
        formula, and what was held could not). ``largest_luck``: of all cells, the most standard
        errors by which what came differs from what was expected; beyond 3 or 4 the account is
        wrong. ``grid``, lines to read: net return by planted IC and cost, with ``!`` where the
        sign is wrong by the formula and ``~`` where the cell is near; with ``?`` behind it where
        there is no verdict by the own line, and ``#`` where the sign is wrong by that.
    """
    if not cells:
        return {}
    away = [c for c in cells if c["expected"]]
    pay = [c for c in away if c["expected"] > 0]
    right = sum(c["right"] for c in away)
    right_pay = sum(c["right"] for c in pay)
    return {
        "cells": len(cells),
        "near": len(cells) - len(away),
        "away": len(away),
        "right": right,
        "pay": len(pay),
        "right_where_it_pays": right_pay,
        "idle_where_it_pays": sum(c["trades"] == 0 for c in pay),
        "right_where_it_does_not": right - right_pay,
        "right_control": sum(c["right_control"] for c in away),
        **_by_own_line(cells, pay),
        "grid": _lines(cells),
    }


def _by_own_line(cells: list[dict[str, Any]], pay: list[dict[str, Any]]) -> dict[str, Any]:
    judged = [c for c in cells if c["right_own"] is not None]
    quiet = [c for c in cells if c["right_own"] is None]
    luck = [abs(c["gross_return"] - c["expected_gross"]) / c["noise"] for c in cells if c["noise"]]
    return {
        "decided": len(judged),
        "right_own": sum(c["right_own"] for c in judged),
        "no_verdict": len(quiet),
        "idle": sum(c["trades"] == 0 for c in quiet),
        "denied": sum(c["expected_own"] == 0 for c in judged),
        "missed": sum(c["expected_own"] < 0 for c in pay),
        "largest_luck": round(max(luck), 2) if luck else None,
    }


def _lines(cells: list[dict[str, Any]]) -> list[str]:
    costs = sorted({c["cost"] for c in cells})
    head = "planted  found   seed" + "".join(f"{cost * 1e4:>10g} bps" for cost in costs)
    by_market: dict[tuple[float, int], list[dict[str, Any]]] = {}
    for cell in sorted(cells, key=lambda c: (c["planted_ic"], c["seed"], c["cost"])):
        by_market.setdefault((cell["planted_ic"], cell["seed"]), []).append(cell)
    return [head, *(_row(planted, seed, row) for (planted, seed), row in by_market.items())]


_BY_FORMULA = {None: "~", True: " ", False: "!"}
_BY_OWN = {None: "?", True: " ", False: "#"}


def _row(planted: float, seed: int, row: list[dict[str, Any]]) -> str:
    shown = "".join(
        f"{c['net_return']:>+12.2%}{_BY_FORMULA[c['right']]}{_BY_OWN[c['right_own']]}" for c in row
    )
    return f"{planted:<9.2f}{row[0]['found_ic']:<+8.3f}{seed:<4}{shown}"
