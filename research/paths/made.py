"""The paths of a study: trained split by split, kept by content, scored and traded one by one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import polars as pl

from research import (
    datasets,
    performance,
    pipeline,
    schema,
    scores,
    tape,
    training,
    units,
    validation,
)
from research import features as feature_room
from research.batch import Progress
from research.store import cards, tables
from research.study import Study

NOTE = (
    "Models of these paths have seen days after those they forecast: they judge a way of "
    "learning, and may not be traded."
)
_TRADED = ("net_return", "sharpe", "max_drawdown", "trades")


@dataclass(frozen=True)
class Paths:
    """A study's forecasts on every path of a combinatorial cross-validation, and their scores.

    Attributes
    ----------
    splits : Splits
        What was trained on what; shows itself as a picture.
    forecasts : pl.DataFrame
        As `schema.FORECASTS`, before it ``path, split``; `fold` is the start of the group.
    scores : pl.DataFrame
        One row per path: ``path``, ``ic, ic_low, ic_high`` (95 % of whole days drawn anew), and
        of the study's rule after costs ``net_return, sharpe, max_drawdown, trades`` (null where
        no rule trades the forecasts).
    equity : pl.DataFrame
        ``path, time, equity`` at each hour of every path; no rows where nothing is traded.
    """

    splits: validation.Splits
    forecasts: pl.DataFrame
    scores: pl.DataFrame
    equity: pl.DataFrame

    def _repr_html_(self) -> str:
        told = self.scores.select("path", "ic", *_TRADED)._repr_html_()
        return f"{self.splits._repr_html_()}{told}<small>{NOTE}</small>"


def made(
    study: Study, *, groups: int = 6, test_groups: int = 2, progress: Progress | None = None
) -> Paths:
    """Train a study on every split and put its paths together.

    Parameters
    ----------
    study : Study
        Its data, features, labels, learner, rule and costs; of `validation` only `inner` and, if
        it is longer than what the features remember, `embargo`.
    groups, test_groups : int
        As for `validation.combinatorial`.
    progress : callable, optional
        Takes (done, total, label) after each split.

    Returns
    -------
    Paths
        Forecasts and models are kept under ``data/paths/`` by what they were made of.

    Raises
    ------
    UserError
        If the study has a second model, or a split has too little to train on.

    Notes
    -----
    The embargo is the longest of the study's own, its horizon, and the warm-up of its features:
    a training row that follows a test must not have looked at its days. Paths share most of their
    training rows, so their spread is narrower than that of so many independent histories. Looking
    at them is a look at the study: the ledger counts it as the trial that it is.
    """
    source = pipeline.bars(study)
    datasets.begin_trial(study, source, "paths")
    table = pipeline.features(study, source)
    cut = splits(study, source, groups=groups, test_groups=test_groups)

    def build(place: Path) -> tables.Tables:
        known = pipeline.labels(study, source)
        told = training.crosswise(study, source, table, known, cut, place, progress)
        return {"table": _assembled(cut, told)}

    forecasts = tables.keep("paths", _parts(study, source, table, cut), build)["table"]
    rows, curves = [], []
    for (path,), part in forecasts.group_by("path", maintain_order=True):
        score, curve = _judged(study, source, part.drop("path", "split"))
        rows.append({"path": path, **score})
        curves.append(curve.select(pl.lit(path, pl.Int64).alias("path"), "time", "equity"))
    return Paths(cut, forecasts, pl.DataFrame(rows, infer_schema_length=None), pl.concat(curves))


def splits(study: Study, bars: pl.DataFrame, *, groups: int, test_groups: int) -> validation.Splits:
    """Cut the span of a study's bars; see `made` for the embargo."""
    interval, chosen = study.data.interval, training.feature_set(study)
    memory = feature_room.warmup(chosen, interval=interval) * interval
    first, last = (cast("datetime", end) for end in (bars["time"].min(), bars["time"].max()))
    return validation.combinatorial(
        first,
        last + interval,
        groups=groups,
        test_groups=test_groups,
        embargo=max(study.validation.embargo, study.labels.horizon, memory),
    )


def _parts(
    study: Study, bars: pl.DataFrame, table: pl.DataFrame, cut: validation.Splits
) -> dict[str, Any]:
    """Return all that decides the paths: what decides a walk's forecasts, but for its folds."""
    own = {"inner": study.validation.inner, "embargo": str(cut[0].embargo)}
    own |= {"groups": cut.paths()["group"].n_unique(), "test_groups": len(cut[0].groups)}
    made_of = training.parts(study, bars, table) | {"validation": own}
    return made_of | {"assembly": cards.code("paths/made.py")}


def _assembled(cut: validation.Splits, told: list[pl.DataFrame]) -> pl.DataFrame:
    """Deal each split's forecasts out to its paths; a group's fold is named as a walk's would."""
    parts = []
    for path, _, start, end, number, _ in cut.paths().rows():
        inside = (pl.col("time") >= start) & (pl.col("time") < end)
        name = f"{start:%Y-%m-%dT%H:%MZ}"
        part = told[number].filter(inside).with_columns(pl.lit(name).alias("fold"))
        whose = {"path": path, "split": number}
        named = (pl.lit(value, pl.Int64).alias(key) for key, value in whose.items())
        parts.append(part.select(*named, "*"))
    return pl.concat(parts).sort("path", *schema.KEY)


def _judged(
    study: Study, bars: pl.DataFrame, forecasts: pl.DataFrame
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Score one path and let the desk trade it at the study's costs."""
    chosen = study.evaluation
    score = scores.ic(forecasts, horizon=study.labels.horizon, draws=chosen.draws, seed=study.seed)
    found: dict[str, Any] = {"ic": score.ic, "ic_low": score.low, "ic_high": score.high}
    if study.labels.kind == "volatility":
        none = pl.DataFrame(schema={"time": schema.TIME, "equity": pl.Float64})
        return found | dict.fromkeys(_TRADED), none
    laid = tape.lay(study, bars, tape.binned(study, forecasts))
    capital = study.backtest.capital
    played = tape.tables(laid, laid.play(tape.rules(study), capital=capital))
    summed = performance.summary(played["equity"], played["trades"], capital=capital)
    hourly = played["equity"].group_by_dynamic("time", every="1h", closed="right", label="right")
    return found | {key: summed[key] for key in _TRADED}, hourly.agg(pl.col("equity").last())


def run(
    study: Study, *, groups: int = 6, test_groups: int = 2, progress: Progress | None = None
) -> dict[str, Any]:
    """Make a study's paths and return them as one plain object.

    Returns
    -------
    dict
        ``study, groups, test_groups, splits, paths, embargo`` (text), ``start, end``, lists by
        path ``ic, net_return, sharpe, max_drawdown, trades``, ``losing`` (paths whose net return
        is not above zero; null where nothing is traded) and ``note``.
    """
    found = made(study, groups=groups, test_groups=test_groups, progress=progress)
    net, first = found.scores["net_return"], found.splits[0]
    return {
        "study": study.name,
        "groups": groups,
        "test_groups": test_groups,
        "splits": len(found.splits),
        "paths": found.scores.height,
        "embargo": units.show(first.embargo),
        "start": f"{first.start:%Y-%m-%dT%H:%M:%SZ}",
        "end": f"{first.end:%Y-%m-%dT%H:%M:%SZ}",
        **{key: found.scores[key].to_list() for key in ("ic", *_TRADED)},
        "losing": None if net.null_count() else int((net <= 0).sum()),
        "note": NOTE,
    }


def text(found: dict[str, Any]) -> str:
    """Write what `run` found as lines for a terminal."""
    lines = [
        f"{found['study']}: {found['paths']} paths of {found['splits']} splits "
        f"({found['groups']} groups, {found['test_groups']} tested), embargo {found['embargo']}"
    ]
    traded = found["losing"] is not None
    for k, ic in enumerate(found["ic"]):
        line = f"  path {k + 1:3d}  IC {ic:+.4f}"
        if traded:
            ratio = found["sharpe"][k]
            shown = "    -" if ratio is None else f"{ratio:+5.1f}"
            line += f"  net {found['net_return'][k]:+8.2%}  Sharpe {shown}"
        lines.append(line)
    if traded:
        lines.append(f"{found['losing']} of {found['paths']} paths lose after costs.")
    return "\n".join([*lines, found["note"]])
