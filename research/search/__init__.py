"""Search over a study's settings, judged out of sample alone, and the winner judged once more.

The study's out-of-sample days are cut in two, at one midnight for all trials. Trials see the
earlier part, and each is judged on the same days of it; what the search shows is the later part,
which no trial has seen. Every trial counts in the trial count of its data.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import polars as pl

from research import batch, datasets, pipeline, scores
from research.errors import UserError, nearest
from research.search import journal
from research.search import space as space_room
from research.search.space import SAMPLERS, parse
from research.store import atomic, cards, ledger
from research.study import Study

__all__ = ["GOALS", "SAMPLERS", "Search", "parse", "run"]

Goal = Literal["sharpe", "net", "ic"]
GOALS = ("sharpe", "net", "ic")
_TARGET = ("labels.", "data.interval")
"""Keys that begin so change what is forecast."""
_SHOWN = ("net_return", "net_low", "net_high", "sharpe", "trades")


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes
    ----------
    trials : pl.DataFrame
        ``trial, value`` on the days of selection, and one column per setting; the best first.
        A setting drawn twice is one row. `value` is null where a setting could not work, and
        `error` says why.
    best : dict of str to value
        Settings of the best trial, as ``-o`` takes them.
    held_out : dict
        The best trial on days that no trial has seen: ``start, end, ic, ic_low, ic_high,
        net_return, net_low, net_high, sharpe, trades``, and `value` by the search's own goal.
    counted : int
        Trials on this data so far, of this search and of everything else.
    """

    study: str
    goal: str
    trials: pl.DataFrame
    best: dict[str, Any]
    held_out: dict[str, Any]
    counted: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "study": self.study,
            "goal": self.goal,
            "best": self.best,
            "held_out": self.held_out,
            "trials": self.trials.to_dicts(),
            "counted": self.counted,
        }

    def text(self) -> str:
        """For a terminal: the trials, then the one line that counts."""
        shown = pl.Config(
            tbl_rows=20, tbl_cols=20, tbl_width_chars=160, tbl_hide_dtype_separator=True
        )
        with shown:
            return f"{self.trials}\n{self._line()}"

    def _line(self) -> str:
        held, words = self.held_out, ", ".join(f"{k}={v}" for k, v in self.best.items())
        return (
            f"best of {self.trials.height} settings tried here, {self.counted} trials on this data "
            f"so far: {words}\n"
            f"on days no trial has seen ({held['start'][:10]} to {held['end'][:10]}): "
            f"IC {_between(held, 'ic', '{:.4f}')}, "
            f"net return {_between(held, 'net_return', '{:+.2%}', 'net')}, "
            f"{held['trades']} trades"
        )

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self._line())}</pre>{self.trials.head(20)._repr_html_()}"


def _between(held: dict[str, Any], key: str, form: str, stem: str | None = None) -> str:
    stem = stem or key
    values = [held[key], held[f"{stem}_low"], held[f"{stem}_high"]]
    middle, low, high = ("unknown" if v is None else form.format(v) for v in values)
    return f"{middle} [{low}, {high}]"


class Span(NamedTuple):
    """Days of selection, from `start` to `cut`; from `cut` on, days are held out."""

    start: datetime
    cut: datetime


def run(
    chosen: str,
    options: dict[str, Any],
    space: list[str],
    *,
    n_trials: int = 30,
    goal: Goal = "sharpe",
    sampler: str = "tpe",
    held_out: float = 0.3,
    progress: batch.Progress | None = None,
) -> Search:
    """Look for good settings of a study.

    Parameters
    ----------
    chosen : str
        A study's name, or the path of its file.
    options : dict of str to value
        Dotted settings that all trials share.
    space : list of str
        ``"key=v1,v2"`` for a choice, ``"key=5 bps..30 bps"`` for a range, with ``:log`` at its end
        for one over orders of magnitude.
    n_trials : int
        In all: a search that was interrupted, or is called again, goes on until it has so many.
    goal : {"sharpe", "net", "ic"}
        What is made large on the days of selection: net of costs, or the rank IC. The IC is only
        compared between forecasts of one and the same target.
    sampler : {"tpe", "random", "grid", "genetic"}
        How the next trial is drawn; seeded by the study.
    held_out : float
        Newest share of the out-of-sample time, which no trial sees.
    progress : callable, optional
        Takes (done, total, label). Absent: a bar on stderr.

    Raises
    ------
    UserError
        If the space is empty or wrong, a setting is unknown or a fact of the market, the goal is
        the IC and trials would forecast different things, there are too few days, or no trial
        could work.
    BlockingIOError
        If this very search is already running.

    Notes
    -----
    A setting whose forecasts begin after those of others (a longer ``validation.train``) moves the
    first day of selection for all. Days held out are traded as if they were the first: a rule that
    trades trailing bins has none in its first window.
    """
    study = pipeline.read(chosen, options)
    ranges = space_room.read(space, study.settings())
    _check(ranges, n_trials, goal, sampler, held_out)
    for key, values in ranges.items():
        for choice in values if isinstance(values, list) else []:
            # a typo is said now, not set aside as a trial
            pipeline.read(chosen, {**options, key: choice})
    datasets.acquire(study)
    watch = progress or batch.progress(f"search of {n_trials}")
    span, path = _span(study, ranges, held_out), _file(study, ranges, goal, sampler, held_out)

    def judge(point: dict[str, Any]) -> float:
        tried = study.with_options(point)
        early, whole = _selected(tried, span)
        with ledger.part_of(whole):
            return _value(tried, early, goal)

    with atomic.only_one(f"search-{path.stem}"):
        for done in journal.go_on(path, ranges, sampler, study.seed, n_trials, judge):
            found = [row["value"] for row in done if row["value"] is not None]
            watch(len(done), n_trials, f"best {max(found):.4g}" if found else "none yet")
        return _judged(study, journal.rows(path), goal, span)


def _check(ranges: space_room.Space, count: int, goal: str, sampler: str, share: float) -> None:
    if goal not in GOALS:
        raise UserError(
            f"search: no goal {goal!r}.{nearest(goal, list(GOALS))} Here: {', '.join(GOALS)}."
        )
    other = next((key for key in ranges if key.startswith(_TARGET)), None)
    if goal == "ic" and other:
        raise UserError(
            f"search: goal 'ic' compares forecasts of one target, and {other} changes what is "
            "forecast: an easier one would win. Use --goal sharpe or net, or set it with -o."
        )
    space_room.check_sampler(sampler, ranges)
    if not 0.1 <= share <= 0.9:
        raise UserError(f"search: held_out must be a share from 0.1 to 0.9, found {share}.")
    if count < 1:
        raise UserError(f"search: at least one trial is needed, found {count}.")


def _file(study: Study, ranges: dict[str, Any], goal: str, sampler: str, share: float) -> Path:
    """Name the file of this very search: of this study, space, data and code."""
    data = cards.fingerprint(pipeline.bars(study))
    made_of = [study.settings(), ranges, goal, sampler, share, data, cards.whole_package()]
    return atomic.data_root() / "search" / f"{cards.digest(made_of)}.jsonl"


def _span(study: Study, ranges: dict[str, Any], share: float) -> Span:
    """Cut the time out of sample in two at a midnight, the same for all trials."""
    bars, starts = pipeline.bars(study), []
    for options in [{}, *_validations(ranges)]:
        with suppress(UserError):  # one that cannot work is set aside when its turn comes
            starts.append(pipeline.folds(study.with_options(options), bars)[0].test_start)
    if not starts:
        starts = [pipeline.folds(study, bars)[0].test_start]
    start, end = max(starts), cast("datetime", bars["time"].max())
    moment = end - (end - start) * share
    cut = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if not start + timedelta(days=2) <= cut <= end - timedelta(days=1):
        raise UserError(
            f"search: {end - start} out of sample are too few to select on some days and show "
            "others. Bring more data, or shorten validation.train."
        )
    return Span(start, cut)


def _validations(ranges: dict[str, Any]) -> list[dict[str, Any]]:
    """Every way of validation that trials may try, one setting at a time; ranges by their ends."""
    found = []
    for key, values in ranges.items():
        if key.startswith("validation."):
            ends = values if isinstance(values, list) else values[:2]
            found += [space_room.settings({key: value}, ranges) for value in ends]
    return found


def _selected(study: Study, span: Span) -> tuple[pl.DataFrame, str]:
    """Return a study's forecasts on the days of selection, purged of outcomes beyond them.

    Beside them the fingerprint of all of its forecasts: what the trial is called by.
    """
    first = pipeline.folds(study)[0].test_start
    if first > span.start:
        raise UserError(
            f"study {study.name}: forecasts begin {first:%Y-%m-%d %H:%M}, but all trials are "
            f"judged from {span.start:%Y-%m-%d %H:%M} on. Shorten validation.train."
        )
    made = pipeline.forecasts(study)
    # an outcome that a gap has swallowed was due all the same
    due = pl.col("known_at").fill_null(pl.col("time") + study.labels.horizon)
    early = made.filter(pl.col("time") >= span.start, pl.col("time") < span.cut, due < span.cut)
    return early, cards.fingerprint(made)


def _value(study: Study, made: pl.DataFrame, goal: str) -> float:
    """Return the goal's value of some forecasts, and count the trial."""
    score = scores.ic(made, horizon=study.labels.horizon, draws=100, seed=study.seed)
    datasets.count_trial(study, pipeline.bars(study), made, score.ic)
    return score.ic if goal == "ic" else _earned(pipeline.backtest(study, made).summary, goal)


def _earned(summary: dict[str, Any], goal: str) -> float:
    value = summary["net_return" if goal == "net" else "sharpe"]
    return 0.0 if value is None else float(value)  # no trades: nothing won, nothing lost


def _judged(study: Study, rows: list[journal.Row], goal: str, span: Span) -> Search:
    """Show the best trial on the days held out."""
    table = _table(rows)
    worked = [row for row in rows if row["value"] is not None]
    if not worked:
        raise UserError(f"search: no trial could work. The first: {rows[0]['error']}")
    best = max(worked, key=lambda row: row["value"])["settings"]
    winner = study.with_options(best)
    whole = pipeline.forecasts(winner)
    late = whole.filter(pl.col("time") >= span.cut)
    how: dict[str, Any] = {"draws": winner.evaluation.draws, "seed": winner.seed}
    score = scores.ic(late, horizon=winner.labels.horizon, **how)
    with ledger.part_of(cards.fingerprint(whole)):
        tested = pipeline.backtest(winner, late).summary
    held = {
        "start": str(late["time"].min()),
        "end": str(late["time"].max()),
        "value": score.ic if goal == "ic" else _earned(tested, goal),
        **{"ic": score.ic, "ic_low": score.low, "ic_high": score.high},
        **{key: tested[key] for key in _SHOWN},
    }
    lineage = datasets.dataset(study).lineage
    return Search(study.name, goal, table, best, held, ledger.count(lineage))


def _table(rows: list[journal.Row]) -> pl.DataFrame:
    listed = [
        {
            "trial": number,
            "value": row["value"],
            **{key: str(value) for key, value in row["settings"].items()},
            "error": row["error"],
        }
        for number, row in enumerate(rows)
    ]
    kinds = {"value": pl.Float64, "error": pl.String}
    table = pl.DataFrame(listed, infer_schema_length=None, schema_overrides=kinds)
    once = table.unique(list(rows[0]["settings"]), keep="first", maintain_order=True)
    return once.sort("value", descending=True, nulls_last=True, maintain_order=True)
