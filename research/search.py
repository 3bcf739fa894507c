"""Search over a study's settings, judged out of sample alone, and the winner judged once more.

The study's out-of-sample days are cut in two. Trials see the earlier part; what the search shows is
the later part, which no trial has seen. Every trial counts in the trial count of its data.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import polars as pl

from research import batch, datasets, pipeline, scores
from research.errors import UserError, nearest
from research.store import atomic, cards, trials
from research.study import Study, literal, read

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)

Goal = Literal["sharpe", "net", "ic"]
GOALS = ("sharpe", "net", "ic")
SAMPLERS = ("tpe", "random", "grid", "genetic")
_RANGE = re.compile(r"(-?[\d.]+(?:e-?\d+)?)(.*?)\.\.(-?[\d.]+(?:e-?\d+)?)(.*?)(:log)?")


@dataclass(frozen=True)
class Search:
    """What a search found.

    Attributes
    ----------
    trials : pl.DataFrame
        ``trial, value`` on the days of selection, and one column per setting; the best first.
        `value` is null where a setting could not work, and `error` says why.
    best : dict of str to value
        Settings of the best trial, as ``-o`` takes them.
    held_out : dict
        The best trial on days that no trial has seen: ``start, end, ic, ic_low, ic_high,
        net_return, net_low, net_high, sharpe, trades``, and `value` by the search's own goal.
    counted : int
        Trials on this data so far, those of earlier searches included.
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
            f"best of {self.counted} trials: {words}\n"
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
        In all: an interrupted search goes on until it has so many.
    goal : {"sharpe", "net", "ic"}
        What is made large on the days of selection: net of costs, or the rank IC.
    sampler : {"tpe", "random", "grid", "genetic"}
        How the next trial is drawn; seeded by the study.
    held_out : float
        Newest share of the out-of-sample time, which no trial sees.
    progress : callable, optional
        Takes (done, total, label). Absent: a bar on stderr.

    Raises
    ------
    UserError
        If the space is empty or wrong, a setting is unknown, or no trial could work.
    """
    import optuna

    ranges = dict(parse(entry) for entry in space)
    study = read(chosen, options)
    _check(study, ranges, goal, sampler, held_out)
    datasets.acquire(study)
    watch = progress or batch.progress(f"search of {n_trials}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    records = _opened(study, ranges, goal, sampler, held_out)

    def objective(trial: optuna.Trial) -> float:
        point = {key: _draw(trial, key, values) for key, values in ranges.items()}
        trial.set_user_attr("settings", point)
        try:
            tried = study.with_options(point)
            return _value(tried, _selected(tried, held_out)[0], goal)
        except UserError as error:  # these settings cannot work: the others still can
            trial.set_user_attr("error", str(error))
            raise optuna.TrialPruned from None

    def tell(done: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        found = [t.value for t in done.trials if t.value is not None]
        watch(_finished(done), n_trials, f"best {max(found):.4g}" if found else "none yet")

    left = n_trials - _finished(records)
    if left > 0:
        records.optimize(objective, n_trials=left, callbacks=[tell])
    return _judged(study, records, goal, held_out)


def parse(entry: str) -> tuple[str, Any]:
    """Read one entry of a search space: a key with its choices, or its range.

    >>> parse("model.name=ridge,lightgbm")
    ('model.name', ['ridge', 'lightgbm'])
    >>> parse("backtest.enter=5 bps..30 bps")
    ('backtest.enter', (5, 30, ' bps', False))
    """
    key, equals, text = (part.strip() for part in entry.partition("="))
    if not equals or not text:
        raise UserError(f"-s {entry!r}: expected KEY=V1,V2 or KEY=LOW..HIGH, as in -s seed=1,2.")
    found = _RANGE.fullmatch(text)
    if not found:
        return key, [literal(choice.strip()) for choice in text.split(",")]
    low, unit, high, same, log_scale = found.groups()
    if unit.strip() not in ("", same.strip()):
        raise UserError(f"-s {entry!r}: both ends must be in one unit, found{unit} and{same}.")
    ends = literal(low), literal(high)
    if not ends[0] < ends[1]:
        raise UserError(f"-s {entry!r}: the low end must lie below the high one.")
    return key, (*ends, same, bool(log_scale))


def _draw(trial: optuna.Trial, key: str, values: Any) -> Any:
    if isinstance(values, list):
        return trial.suggest_categorical(key, values)
    low, high, unit, log_scale = values
    whole = isinstance(low, int) and isinstance(high, int)
    draw = trial.suggest_int if whole else trial.suggest_float
    number = draw(key, low, high, log=log_scale)
    return f"{number:.6g}{unit}" if unit else number


def _check(study: Study, ranges: dict[str, Any], goal: str, sampler: str, share: float) -> None:
    if not ranges:
        raise UserError("search: name at least one setting, as in -s labels.horizon='5 min,10 min'")
    for name, word, known in (("goal", goal, GOALS), ("sampler", sampler, SAMPLERS)):
        if word not in known:
            raise UserError(
                f"search: no {name} {word!r}.{nearest(word, list(known))} Here: {known}."
            )
    if sampler == "grid" and not all(isinstance(values, list) for values in ranges.values()):
        raise UserError("search: a grid needs choices, KEY=V1,V2; a range has no end of values.")
    if not 0.1 <= share <= 0.9:
        raise UserError(f"search: held_out must be a share from 0.1 to 0.9, found {share}.")
    known_keys = study.settings()
    for key in ranges:
        if key not in known_keys:
            raise UserError(f"search: unknown key {key!r}.{nearest(key, list(known_keys))}")


def _opened(
    study: Study, ranges: dict[str, Any], goal: str, sampler: str, share: float
) -> optuna.Study:
    """Open the file of this very search, or begin it: an append-only journal."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    data = cards.fingerprint(pipeline.bars(study))
    made_of = [study.settings(), ranges, goal, sampler, share, data, cards.whole_package()]
    path: Path = atomic.data_root() / "search" / f"{cards.digest(made_of)}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(path)))
    drawn = _sampler(sampler, ranges, study.seed)
    return optuna.create_study(
        storage=storage,
        sampler=drawn,
        study_name="search",
        direction="maximize",
        load_if_exists=True,
    )


def _sampler(name: str, ranges: dict[str, Any], seed: int) -> Any:
    from optuna import samplers

    if name == "grid":
        return samplers.GridSampler(ranges, seed=seed)
    kinds = {
        "tpe": samplers.TPESampler,
        "random": samplers.RandomSampler,
        "genetic": samplers.NSGAIISampler,
    }
    return kinds[name](seed=seed)


def _finished(records: optuna.Study) -> int:
    return sum(trial.state.is_finished() for trial in records.trials)


def _selected(study: Study, share: float) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Cut a study's out-of-sample forecasts into days of selection and days held out, purged."""
    made = pipeline.forecasts(study)
    cut = _cut(study, share)
    early = made.filter((pl.col("time") < cut) & (pl.col("known_at") < cut))
    return early, made.filter(pl.col("time") >= cut)


def _cut(study: Study, share: float) -> datetime:
    """Return the midnight that parts the two; the same for all trials of one validation."""
    bars = pipeline.bars(study)
    start, end = pipeline.folds(study, bars)[0].test_start, cast("datetime", bars["time"].max())
    moment = end - (end - start) * share
    cut = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if not start + timedelta(days=2) <= cut <= end - timedelta(days=1):
        raise UserError(
            f"search: {end - start} out of sample are too few to select on some days and show "
            "others. Bring more data, or shorten validation.train."
        )
    return cut


def _value(study: Study, made: pl.DataFrame, goal: str) -> float:
    """Return the goal's value of some forecasts, and count the trial."""
    score = scores.ic(made, horizon=study.labels.horizon, draws=100, seed=study.seed)
    datasets.count_trial(study, made, score.ic)
    if goal == "ic":
        return score.ic
    found = pipeline.backtest(study, made).summary
    value = found["net_return" if goal == "net" else "sharpe"]
    return 0.0 if value is None else float(value)  # no trades: nothing won, nothing lost


def _judged(study: Study, records: optuna.Study, goal: str, share: float) -> Search:
    """Show the best trial on the days held out."""
    table = _table(records)
    if table["value"].null_count() == table.height:
        raise UserError(f"search: no trial could work. The first: {table['error'][0]}")
    best = records.best_trial.user_attrs["settings"]
    winner = study.with_options(best)
    late = _selected(winner, share)[1]
    how: dict[str, Any] = {"draws": winner.evaluation.draws, "seed": winner.seed}
    score = scores.ic(late, horizon=winner.labels.horizon, **how)
    tested = pipeline.backtest(winner, late).summary
    held = {
        "start": str(late["time"].min()),
        "end": str(late["time"].max()),
        **{"ic": score.ic, "ic_low": score.low, "ic_high": score.high},
        **{key: tested[key] for key in _SHOWN},
    }
    lineage = datasets.dataset(study).lineage
    return Search(study.name, goal, table, best, held, trials.count(lineage))


_SHOWN = ("net_return", "net_low", "net_high", "sharpe", "trades")


def _table(records: optuna.Study) -> pl.DataFrame:
    rows = [
        {
            "trial": trial.number,
            "value": trial.value,
            **{k: str(v) for k, v in trial.user_attrs["settings"].items()},
            "error": trial.user_attrs.get("error"),
        }
        for trial in records.trials
        if trial.state.is_finished()
    ]
    table = pl.DataFrame(rows, infer_schema_length=None, schema_overrides={"value": pl.Float64})
    return table.sort("value", descending=True, nulls_last=True)
