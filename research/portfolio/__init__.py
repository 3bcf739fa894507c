"""Several strategies in one account, and settings chosen as time goes by.

Each component trades a share of the account on the desk, from flat to flat within each period; its
share is set at the period's start from what was known then. So the account's curve is made of
fills, not of averaged ratios, and closing at each period's end is paid for.

>>> import research
>>> research.portfolio.run(["demo"], weights="cost_aware", by_symbol=True)  # doctest: +SKIP
>>> research.portfolio.walk_forward("demo", {}, ["model.alpha=0.1,10"]).plot()  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import polars as pl

from research import batch, datasets, pipeline, scores, sweeps, tape
from research.errors import UserError
from research.portfolio.account import DAY, Component, component, together
from research.portfolio.result import Portfolio
from research.portfolio.weights import FEWEST_DAYS, WEIGHTS, scheme
from research.search.space import FACTS
from research.store import cards, ledger
from research.study import Study
from research.units import show

__all__ = ["WEIGHTS", "Component", "Portfolio", "components", "run", "together", "walk_forward"]


_TAPE = ("tape", "symbols", "venue")
_TRADING = ("backtest.", "sizing.", "risk.", "evaluation.")
"""Settings that decide what is done with a forecast, not what it says. Costs are not among them:
a second model may have been taught by them what pays."""


def run(
    studies: str | Study | Sequence[str | Study],
    *,
    weights: str = "inverse_volatility",
    every: timedelta = 7 * DAY,
    lookback: timedelta = 28 * DAY,
    by_symbol: bool = False,
    progress: batch.Progress | None = None,
) -> Portfolio:
    """Trade several studies in one account.

    Parameters
    ----------
    studies : str, Study, or sequence of them
        Names are read as they stand. The account lives while all of them trade out of sample;
        its capital is the first one's.
    weights : {"equal", "inverse_volatility", "cost_aware", "best"}
        How shares are set at each period's start, from the daily net returns before it; see
        `portfolio.weights`. With fewer than 5 days before it, all have the same.
    every : timedelta
        Length of a period, in whole days from a UTC midnight. At its end all is closed and paid.
    lookback : timedelta
        History that shares look at: whole days, 5 at least.
    by_symbol : bool
        Every symbol of every study is a component of its own. Limits of a study that span
        symbols, such as ``backtest.max_positions``, then hold for each one.
    progress : callable, optional
        Takes (done, total, label). Absent: bars on stderr.

    Returns
    -------
    Portfolio

    Raises
    ------
    UserError
        If nothing is named or one study twice, `weights` is unknown, or the studies have no common
        span.

    Notes
    -----
    Every study counts as a trial of its data, and so does the portfolio: of many weights tried,
    one will look good.
    """
    known = _read([studies] if isinstance(studies, (str, Study)) else studies)
    scheme(weights)
    parts: list[Component] = []
    for name, study in known.items():
        watch = progress or batch.progress(f"forecasts of {name}")
        parts += components(study, name=name, by_symbol=by_symbol, progress=watch)
    how: dict[str, Any] = {"weights": weights, "every": every, "lookback": lookback}
    return _account(parts, list(known.values()), how, timedelta(0), progress)


def walk_forward(
    chosen: str,
    options: dict[str, Any],
    grid: list[str],
    *,
    every: timedelta = 7 * DAY,
    lookback: timedelta = 28 * DAY,
    progress: batch.Progress | None = None,
) -> Portfolio:
    """Choose a study's settings again and again, each time by the days before alone.

    Parameters
    ----------
    chosen : str
        A study's name, or the path of its file.
    options : dict of str to value
        Dotted settings that all combinations share.
    grid : list of str
        ``"key=v1,v2"`` each, as a sweep takes it.
    every, lookback, progress
        As `run` takes them.

    Returns
    -------
    Portfolio
        The account that traded, in each period, the combination with the highest Sharpe ratio of
        daily net returns in the `lookback` before it. It begins after the first 5 days, when there
        is something to choose by. Its components are the combinations, each held from beginning to
        end: the best of them is known only afterwards.

    Raises
    ------
    UserError
        If the grid is empty, a setting is unknown, cannot work or is a fact of the market, or
        there are not enough days.

    Notes
    -----
    Every combination counts as a trial of its data, and so does the walk.
    """
    if not grid:
        raise UserError(
            "walk: name at least one setting, as in -g backtest.enter='8 bps,16 bps': it is chosen "
            "again and again among these."
        )
    points = {_label(point): point for point in sweeps.combinations(grid)}
    for key in next(iter(points.values())):
        if key.startswith(FACTS):
            raise UserError(
                f"walk: {key} is a fact of the market, not a choice: the kindest one would always "
                "win. Set it with -o; ./run sweep shows how much hangs on it."
            )
    studies = {label: pipeline.read(chosen, {**options, **p}) for label, p in points.items()}
    for study in studies.values():
        tape.rules(study)  # what cannot go together says so before anything is trained
    watch = progress or batch.progress(f"{len(studies)} combinations")
    parts = _walked(studies, watch)
    how: dict[str, Any] = {"weights": "best", "every": every, "lookback": lookback}
    return _account(parts, list(studies.values()), how, FEWEST_DAYS * DAY, progress)


def _walked(studies: dict[str, Study], watch: batch.Progress) -> list[Component]:
    """Return the component of each combination; those that only trade differently share tables."""
    alike: dict[str, list[str]] = {}
    for label, study in studies.items():
        alike.setdefault(_told(study), []).append(label)
    made: dict[str, Component] = {}
    shelf: dict[str, tape.Tape] = {}
    for labels in alike.values():
        known = _forecast(studies[labels[0]], None)
        for label in labels:
            (part,) = _components(studies[label], known, label, by_symbol=False)
            made[label] = part._replace(laid=shelf.setdefault(_name(part, *_TAPE), part.laid))
            watch(len(made), len(studies), label)
    return [made[label] for label in studies]


def components(
    study: Study,
    *,
    name: str | None = None,
    by_symbol: bool = False,
    progress: batch.Progress | None = None,
) -> list[Component]:
    """Return the component that `study` is, or one for each of its symbols; count the trial.

    Parameters
    ----------
    study : Study
        Its forecasts are made, or taken from the store.
    name : str, optional
        What to call it; absent: the study's name.
    by_symbol : bool
        Every symbol becomes a component that trades alone.
    progress : callable, optional
        Takes (done, total, label) after each fold.
    """
    made = _forecast(study, progress)
    return _components(study, made, name or study.name, by_symbol=by_symbol)


class _Forecast(NamedTuple):
    """What a study says of its bars, and how good that is."""

    bars: pl.DataFrame
    made: pl.DataFrame
    ic: float


def _forecast(study: Study, progress: batch.Progress | None) -> _Forecast:
    bars, made = pipeline.bars(study), pipeline.forecasts(study, progress=progress)
    score = scores.ic(made, horizon=study.labels.horizon, draws=100, seed=study.seed)
    return _Forecast(bars, made, score.ic)


def _told(study: Study) -> str:
    """Name all settings of a study but those that say how its forecasts are traded."""
    kept = {k: v for k, v in study.settings().items() if not k.startswith(_TRADING)}
    return cards.digest(kept)


def _components(study: Study, known: _Forecast, called: str, *, by_symbol: bool) -> list[Component]:
    bars, made, ic = known
    datasets.count_trial(study, bars, made, ic)
    binned = pipeline.binned(study, made)
    rules, capital = tape.rules(study), study.backtest.capital
    if not by_symbol:
        return [component(called, tape.lay(study, bars, binned), rules, capital)]
    found = []
    for symbol in binned["symbol"].unique().sort():
        mine = pl.col("symbol") == symbol
        laid = tape.lay(study, bars.filter(mine), binned.filter(mine))
        found.append(component(f"{called} {symbol}", laid, rules, capital))
    return found


def _read(studies: Iterable[str | Study]) -> dict[str, Study]:
    """Read studies and name them; those of one name by the settings in which they differ."""
    known = [study if isinstance(study, Study) else pipeline.read(study) for study in studies]
    if not known:
        raise UserError("portfolio: name at least one study, as in ./run portfolio demo quantiles")
    settings, named = [study.settings() for study in known], {}
    for study, mine in zip(known, settings, strict=True):
        same = [other for other in settings if other["name"] == study.name]
        apart = {key: value for key, value in mine.items() if any(value != o[key] for o in same)}
        label = " ".join([study.name, _label(apart)]).strip()
        if label in named:
            raise UserError(f"portfolio: study {label!r} is named twice; once is enough.")
        named[label] = study
    return named


def _label(point: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in point.items())


def _account(
    parts: list[Component],
    studies: list[Study],
    how: dict[str, Any],
    watched: timedelta,
    progress: batch.Progress | None,
) -> Portfolio:
    """Trade the components together, and count the account as a trial of all data it read."""
    capital, watch = studies[0].backtest.capital, progress or batch.progress("account")
    words = {"every": show(how["every"]), "lookback": show(how["lookback"])}
    chosen = {
        "portfolio": sorted(_name(p, *_TAPE, "rules") for p in parts),
        "weights": how["weights"],
        **words,
    }
    lineages = sorted({datasets.dataset(study).lineage for study in studies})
    begun = [ledger.begin(chosen, lineage=name, what="portfolio") for name in lineages]
    made = together(parts, **how, capital=capital, watched=watched, progress=watch)
    found = tape.evidence(made, capital)
    return replace(made, counted=sum(trial.done(**found) for trial in begun))


def _name(part: Component, *keys: str) -> str:
    """Name a component by what is on its tape, or by that and its rules."""
    made_of = tape.parts(part.laid, part.rules, 1.0)
    return cards.digest([made_of[key] for key in keys])
