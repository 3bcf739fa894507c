"""The walk itself: cut, fit or load, judge, forecast, fold after fold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.models import gates
from research.models.oos.judging import Judge
from research.models.oos.rows import Cut, Fold, Rows, Timeline, in_returns
from research.models.oos.workshop import Workshop, check, opened

Progress = Callable[[int, int, str], None]


class Made(NamedTuple):
    """What a walk-forward gives.

    Attributes
    ----------
    forecasts : pl.DataFrame
        As `schema.FORECASTS`, and what the learner says more.
    gates : pl.DataFrame
        As `gates.GATES`, one row per retraining; empty without a gate.
    """

    forecasts: pl.DataFrame
    gates: pl.DataFrame


def out_of_sample(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    folds: Sequence[Fold],
    *,
    learner: str,
    columns: Sequence[str],
    horizon_bars: int,
    target: Literal["scaled", "raw"] = "scaled",
    inner: float = 0.2,
    params: dict[str, Any],
    seed: int,
    threads: int = 1,
    single: bool = False,
    feature_card: dict[str, Any],
    folder: Path | None = None,
    continue_rounds: int = 0,
    weigh: Callable[[pl.DataFrame], np.ndarray] | None = None,
    draw: Callable[[pl.DataFrame, int], np.ndarray] | None = None,
    gate: gates.Name = "none",
    own_folder: Path | None = None,
    only: range | None = None,
    progress: Progress | None = None,
) -> Made:
    r"""Train one model per fold and return its forecasts of rows it could not have learnt from.

    With ``target="scaled"`` a model learns
    :math:`\max(-3, \min(3, y_t / (\sigma_t \sqrt{h})))` and its forecast is multiplied by
    :math:`\sigma_t \sqrt{h}` again. A learner of classes learns ``label``; its forecast is
    :math:`\sum_k p_k v_k`, where :math:`v_k` is the mean of that target over the class's training
    rows, times the same scale.

    Parameters
    ----------
    features : pl.DataFrame, shape (n_rows, ...)
        ``symbol, time, sigma`` and `columns`; rows with a null among them are left out.
    labels : pl.DataFrame
        `schema.LABELS`, for a learner of classes also ``label``; rows without an outcome are
        forecast but never trained on.
    folds : sequence of Fold
        Such as `validation.walk_forward` returns; in time order, test windows do not overlap.
    learner : str
        A name of `learners`, or ``module:name`` of a user's own.
    columns : sequence of str
        Inputs of the model, in order.
    horizon_bars : int
        Horizon of the labels in bars, h above.
    target : {"scaled", "raw"}
        ``raw`` learns the return itself. A rule's column is in units of the volatility, always.
    inner : float
        Newest share of the training window, purged against the rest, that stops boosting early,
        calibrates probabilities, and is judged on where there is a gate.
    params : dict
        Settings of any learner (`models.settings` picks).
    seed, threads : int
        Passed to the learner.
    single : bool
        One model per symbol instead of one for all.
    feature_card : dict
        ``name, version, fingerprint`` of the feature set; goes into each card.
    folder : Path, optional
        Of this learner alone. Models are stored there (see `shelves`); one that was made of the
        very same inputs is loaded instead of trained, so a killed run resumes and ends with the
        same bytes.
    continue_rounds : int
        Add so many rounds, without early stopping, to each fold's model; kept beside it. Learners
        without rounds are trained as ever.
    weigh : callable, optional
        Takes a fold's training rows (``symbol, time, known_at, y`` and, for classes, ``label``,
        sorted) and returns one weight above zero for each. Default: all alike.
    draw : callable, optional
        For a learner in bags: takes the same rows and a seed and returns the row numbers of one
        bag. Default: as many as there are, drawn evenly.
    gate : {"none", "s1", "ic"}
        What a model must show on the newest share of its training window, which it is then not
        fitted on, to replace the one in force (`gates`). The first is adopted in any case.
    own_folder : Path, optional
        Where the module of a user's own learner lies.
    only : range, optional
        Train and store the models of these numbers, one of `shares`, and forecast nothing: a
        process's part of the work, before a call without it gathers all.
    progress : callable, optional
        ``progress(done, total, label)`` after each model; the label names the fold.

    Returns
    -------
    Made
        `forecasts`: `forecast` is the expected simple return over the horizon, a fraction; `y` and
        `known_at` are null where the outcome is not known yet; `model` is the one in force.
        Learners of classes add ``p_down, p_flat, p_up`` and the ``label`` that came, quantile
        learners ``q_10`` and the like, returns. A symbol with no more training rows in a fold than
        there are columns has no forecasts there. `gates`: see `gates.GATES`.

    Raises
    ------
    UserError
        If nothing could be trained, a column is missing, a stored model is damaged, a weight is
        not above zero, or a learner of classes is given labels without any.

    Notes
    -----
    A row trains only if its `known_at` lies before the fold's test start less the embargo.
    Why targets are cut at 3: see `rows.LIMIT`. Gates do not stop a model's boosting on rows that
    they judge, but for ``s1``, which did.
    """
    check(gate, inner)
    bench = opened(
        features,
        labels,
        learner=learner,
        columns=list(columns),
        horizon_bars=horizon_bars,
        target=target,
        params=params,
        seed=seed,
        threads=threads,
        feature_card=feature_card,
        weigh=weigh,
        draw=draw,
        own_folder=own_folder,
    )
    rows, symbols = bench.rows, bench.symbols(single=single)
    bench.furnish(
        folder, continue_rounds, models=len(folds) * len(symbols), only=only, own=own_folder
    )
    judge, found = Judge(gate, rows, horizon_bars), _Found(rows)
    with closing(bench):
        cuts = _cuts(bench, folds, symbols, inner, gate, progress)
        if only is not None:
            for fold, symbol, cut in islice(cuts, only.start, only.stop):
                bench.model(fold, symbol, cut)
            return Made(pl.DataFrame(schema=schema.FORECASTS), judge.table())
        for fold, symbol, cut in cuts:
            model = judge.decide(fold, symbol, cut, bench.model(fold, symbol, cut))
            found.add(fold, cut.test, model.id, model.forecast(rows.inputs(cut.test)))
    if not found.rows:
        raise _too_little(features.height, rows.key.height, len(columns))
    return Made(found.table(bench.module.CLASSES), judge.table())


def _too_little(bars: int, known: int, columns: int) -> UserError:
    return UserError(
        f"models: no fold has more known training rows than the {columns} columns and a row to "
        f"forecast. Of {bars} bars {known} have every feature: a gap starts the warm-up anew. "
        "Bring more or less broken data, or shorten validation.train."
    )


def _cuts(
    bench: Workshop,
    folds: Sequence[Fold],
    symbols: Sequence[str | None],
    share: float,
    gate: gates.Name,
    progress: Progress | None,
) -> Iterator[tuple[Fold, str | None, Cut]]:
    """Yield what there is to learn from and to forecast; report when the caller comes back."""
    lines = {symbol: Timeline.of(bench.rows, symbol) for symbol in symbols}
    learner, total = bench.made_of["learner"], len(folds) * len(symbols)
    for done, (fold, symbol) in enumerate((f, s) for f in folds for s in symbols):
        cut = lines[symbol].cut(fold, share=share, stops=bench.stops, gate=gate)
        if len(cut.test) and bench.enough(cut):
            yield fold, symbol, cut
        if progress is not None:
            name = f"{learner}, fold {fold.name}" + (f", {symbol}" if symbol else "")
            progress(done + 1, total, name)


@dataclass(slots=True)
class _Found:
    """Forecasts of test rows as they come, made one table at the end."""

    of: Rows
    rows: list[np.ndarray] = field(default_factory=list)
    said: list[dict[str, np.ndarray]] = field(default_factory=list)
    names: list[tuple[str, str]] = field(default_factory=list)

    def add(self, fold: Fold, rows: np.ndarray, model: str, said: dict[str, np.ndarray]) -> None:
        """Take what the model in force says of the fold's test rows."""
        self.rows.append(rows)
        self.said.append(said)
        self.names.append((fold.name, model))

    def table(self, classes: bool) -> pl.DataFrame:
        """Return the forecasts in units of return, sorted."""
        rows = np.concatenate(self.rows)
        order, scale = np.argsort(rows, kind="stable"), self.of.scale[rows]
        whose = np.repeat(np.arange(len(self.rows)), [len(part) for part in self.rows])[order]
        said = {name: np.concatenate([part[name] for part in self.said]) for name in self.said[0]}
        scaled = in_returns(said, scale)
        names = pl.DataFrame(self.names, schema=["fold", "model"], orient="row")
        table = pl.concat(
            [
                self.of.key[rows[order]],
                pl.DataFrame({name: values[order] for name, values in scaled.items()}),
                names[whose],
            ],
            how="horizontal",
        )
        more = [*list(scaled)[1:], *(["label"] if classes else [])]
        table = table.select(*schema.FORECASTS, *more)
        return schema.check(table, schema.FORECASTS, "forecasts")
