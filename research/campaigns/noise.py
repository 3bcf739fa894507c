"""Studies on markets without an edge: what they say they have found, and what they earn."""

from __future__ import annotations

from typing import Any

import polars as pl

from research import judgement, pipeline
from research.campaigns.markets import STUDIES, Market, Options, daily_t, over, own_store, simulated
from research.report.numbers import clean


def nothing(
    seeds: int, workers: int, studies: tuple[str, ...] = STUDIES, options: Options | None = None
) -> dict[str, Any]:
    """Take each study through simulated markets without an edge.

    Parameters
    ----------
    seeds : int
        Markets for each study, with seeds 1, 2, 3, ...; the same for all studies.
    workers : int
        Processes.
    studies : tuple of str
        Names or paths.
    options : dict, optional
        Settings that win over those of studies and campaign.

    Returns
    -------
    dict
        ``markets`` (a row for each), ``failed``, and by study what `counted` returns.

    Raises
    ------
    UserError
        If there is no such study.
    """
    markets = [(name, seed, 0.0, options or {}) for name in studies for seed in range(1, seeds + 1)]
    rows, failed = over(_market, markets, workers, "nothing")
    rows.sort(key=lambda row: (studies.index(row["study"]), row["seed"]))
    by_study = {name: counted([r for r in rows if r["study"] == name]) for name in studies}
    return {"markets": rows, "failed": failed, **by_study}


def _market(market: Market) -> list[Options]:
    with own_store():
        study = simulated(market)
        forecasts = pipeline.forecasts(study)
        found = pipeline.evaluation(study, forecasts)
        tested = pipeline.backtest(study, forecasts)
        word = judgement.judge(study, found, tested).word
    score, numbers = found.score, tested.summary
    row = {
        "study": market[0],
        "seed": market[1],
        "verdict": word,
        "ic": score.ic,
        "ic_low": score.low,
        "ic_high": score.high,
        "ic_whole": _whole(forecasts),
        "ic_break_even": found.ic_break_even,
        **{key: numbers[key] for key in ("gross_return", "net_return", "trades", "days")},
        **daily_t(tested.equity, capital=study.backtest.capital),
    }
    return [clean(row)]


def _whole(forecasts: pl.DataFrame) -> float:
    known = forecasts.select("forecast", "y").drop_nulls()
    found: float = known.select(pl.corr("forecast", "y", method="spearman")).item()
    return found


def counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the markets of one study; empty without any.

    Returns
    -------
    dict
        ``verdict_nothing`` (how many of ``markets``), ``covers_zero`` (intervals), ``mean_ic``
        (which ranking day by day lifts, see `scores.ic`), ``mean_ic_whole`` and its ``_t``: rank
        correlation over the whole span, which nothing lifts, and its mean over its standard error
        across markets; a leak in all of them shows there;
        ``net_gains`` (markets with a net gain), ``largest_net_t``, ``smallest_net_t``,
        ``largest_gross_t_size``, ``trades`` (mean), ``idle`` (markets without a trade, which have
        no t).
    """
    if not rows:
        return {}
    numbers = ("ic", "ic_whole", "ic_low", "ic_high", "net_return", "net_t", "gross_t", "trades")
    kinds = {"verdict": pl.String, **dict.fromkeys(numbers, pl.Float64)}
    table = pl.DataFrame([{c: row[c] for c in kinds} for row in rows], schema=kinds)
    ic, whole = pl.col("ic"), pl.col("ic_whole")
    found = table.select(
        markets=pl.len(),
        verdict_nothing=(pl.col("verdict") == "nothing").sum(),
        covers_zero=pl.lit(0.0).is_between("ic_low", "ic_high").sum(),
        mean_ic=ic.mean(),
        mean_ic_whole=whole.mean(),
        mean_ic_whole_t=whole.mean() / (whole.std() / pl.len().sqrt()),
        net_gains=(pl.col("net_return") > 0).sum(),
        largest_net_t=pl.col("net_t").max(),
        smallest_net_t=pl.col("net_t").min(),
        largest_gross_t_size=pl.col("gross_t").abs().max(),
        trades=pl.col("trades").mean(),
        idle=(pl.col("trades") == 0).sum(),
    )
    summary: dict[str, Any] = clean(found.row(0, named=True))
    return summary
