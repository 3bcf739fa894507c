"""One fold for itself, without a test: the models a live run trains, and what models say of rows.

Both take the walk's own path, so a model trained at t is that of the fold whose test starts at t,
byte for byte, and a forecast of a row is the walk's, bit for bit, alone or among others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from research import schema
from research.errors import UserError
from research.models import contract, gates, learners, rule
from research.models.oos.rows import Fold, Timeline, in_returns, known_rows, scale_of
from research.models.oos.workshop import check, opened

ALL = ""
"""Under this name stands the one model of all symbols."""


def fresh(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    fold: Fold,
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
    continue_rounds: int = 0,
    weigh: Callable[[pl.DataFrame], np.ndarray] | None = None,
    draw: Callable[[pl.DataFrame, int], np.ndarray] | None = None,
    gate: gates.Name = "none",
    own_folder: Path | None = None,
) -> dict[str, contract.Model]:
    """Train the model of one fold, as `out_of_sample` does; its test is looked at by nobody.

    Parameters
    ----------
    features, labels : pl.DataFrame
        As for `out_of_sample`; rows from the fold's `train_start` to its `test_start` are enough.
    fold : Fold
        Its `test_start` is the moment from which the model may forecast.
    learner, columns, horizon_bars, target, inner, params, seed, threads, single, feature_card,
    continue_rounds, weigh, draw, own_folder
        As for `out_of_sample`.
    gate : {"none", "s1", "ic"}
        With one, the newest rows are kept from the fit as they are there; who judges is another.

    Returns
    -------
    dict of str to Model
        Under ``""`` the one of all symbols, else by symbol: those with more training rows than
        columns. Nothing is stored.

    Raises
    ------
    UserError
        If nothing could be trained, or as for `out_of_sample`.
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
    bench.continues(continue_rounds)
    found = {}
    for symbol in bench.symbols(single=single):
        line = Timeline.of(bench.rows, symbol)
        cut = line.cut(fold, share=inner, stops=bench.stops, gate=gate)
        if bench.enough(cut):
            found[symbol or ALL] = bench.model(fold, symbol, cut)
    if not found:
        raise UserError(
            f"models: {bench.rows.key.height} rows of {features.height} have every feature, and "
            f"none of {learner!r} has more known training rows before {fold.name} than the "
            f"{len(columns)} columns. Bring more bars, or shorten validation.train."
        )
    return found


def standing(
    learner: str,
    *,
    columns: Sequence[str],
    horizon_bars: int,
    target: str,
    seed: int,
    feature_card: dict[str, Any],
    own_folder: Path | None = None,
) -> contract.Model:
    """Return a rule as a model: it learns nothing, so it needs no rows.

    Its text, and with it its `id`, is that of the same rule in a walk. Arguments as of `fresh`.
    """
    module = learners.learner(learner, folder=own_folder)
    none = pl.DataFrame({name: [0.0] for name in columns})
    made = module.fit(none, np.zeros(1), seed=seed, params={})
    facts = {"features": feature_card, "target": target, "horizon_bars": horizon_bars}
    return contract.Model({**made.card, **facts, "rows": 0, "symbol": None}, made.core)


def forecast_table(found: dict[str, contract.Model], features: pl.DataFrame) -> pl.DataFrame:
    """Ask models about rows, as the walk asks about the rows of a test.

    Parameters
    ----------
    found : dict of str to Model
        By symbol, or under ``""`` one for all; as `fresh` gives them.
    features : pl.DataFrame, shape (n_rows, ...)
        ``symbol, time, sigma`` and the models' columns; more are welcome.

    Returns
    -------
    pl.DataFrame, shape (at most n_rows, ...)
        ``symbol, time, forecast, sigma, model`` and what the learner says more (``p_down, p_flat,
        p_up``, or ``q_10`` and the like); forecasts and quantiles are simple returns over the
        horizon. In the order of `features`, without rows of which an input is not known or whose
        symbol has no model.

    Raises
    ------
    UserError
        If a column is missing.

    Notes
    -----
    A row's forecast does not depend on the other rows, to the bit.
    """
    if ALL in found:
        return _told(found[ALL], features)
    parts = [
        _told(found[str(symbol)], part)
        for (symbol,), part in features.group_by("symbol", maintain_order=True)
        if symbol in found
    ]
    none = _told(next(iter(found.values())), features.clear())
    table = pl.concat([none, *parts])
    return table if len(parts) < 2 else _ordered(table, features)


class Said(NamedTuple):
    """What models say of a few rows.

    Attributes
    ----------
    columns : dict of str to np.ndarray, shape (n_rows,)
        ``forecast`` first, then what the learner says more; NaN where nothing is said of a row.
    model : list of str or None
        Id of the model that spoke; None where none did.
    """

    columns: dict[str, np.ndarray]
    model: list[str | None]


def forecast_rows(
    found: dict[str, contract.Model],
    symbols: Sequence[str],
    names: Sequence[str],
    values: np.ndarray,
    sigma: np.ndarray,
) -> Said:
    """Ask models about a few rows: what `forecast_table` says of them, past all tables.

    Parameters
    ----------
    found : dict of str to Model
        As there.
    symbols : sequence of str, length n_rows
        Whose the rows are.
    names : sequence of str
        What the columns of `values` are called; the models' are among them.
    values : np.ndarray, shape (n_rows, n_names)
        NaN is not known.
    sigma : np.ndarray, shape (n_rows,)
        Volatility of one bar; NaN is not known.

    Returns
    -------
    Said
        The same bits as `forecast_table`.

    Raises
    ------
    UserError
        If a column is missing.
    """
    outputs = next(iter(found.values())).core.outputs
    told = {name: np.full(len(symbols), np.nan) for name in ("forecast", *outputs)}
    whose: list[str | None] = [None] * len(symbols)
    for name, model in ({ALL: found[ALL]} if ALL in found else found).items():
        columns = model.card["columns"]
        mine = values if columns == names else values[:, _places(model, columns, names)]
        known = ~(np.isnan(sigma) | np.isnan(mine).any(axis=1))
        if name != ALL:
            known &= [symbol == name for symbol in symbols]
        if not known.any():
            continue
        asked = np.asfortranarray(mine[known])  # as a table hands its columns over
        if not np.isfinite(asked).all():
            contract.matrix(pl.DataFrame(asked, schema=columns), f"model {model.id}")  # says which
        made = model.told(asked)
        scale = _scale(model, sigma[known])
        for column, numbers in in_returns(made, scale).items():
            told[column][known] = numbers
        for k in np.flatnonzero(known):
            whose[k] = model.id
    return Said(told, whose)


def _places(model: contract.Model, columns: list[str], names: Sequence[str]) -> list[int]:
    places = {name: k for k, name in enumerate(names)}
    _refuse_lacking(model, columns, names)
    return [places[name] for name in columns]


def _ordered(table: pl.DataFrame, features: pl.DataFrame) -> pl.DataFrame:
    """Bring the symbols' parts back into the order of the rows."""
    keys = features.select(schema.KEY)
    return keys.join(table, on=schema.KEY, how="inner", maintain_order="left")


def _told(model: contract.Model, features: pl.DataFrame) -> pl.DataFrame:
    columns = model.card["columns"]
    _refuse_lacking(model, [*schema.FEATURES, *columns], features.columns)
    known = known_rows(features, columns)
    scale = _scale(model, known["sigma"].to_numpy())
    said = in_returns(model.forecast(known.select(columns)), scale)
    table = known.select("symbol", "time", "sigma", pl.lit(model.id).alias("model"))
    table = table.with_columns(pl.Series(name, values) for name, values in said.items())
    return table.select("symbol", "time", "forecast", "sigma", "model", *list(said)[1:])


def _refuse_lacking(model: contract.Model, columns: list[str], here: Sequence[str]) -> None:
    lacking = [name for name in columns if name not in here]
    if lacking:
        raise UserError(
            f"model {model.id}: column {lacking[0]!r} is missing. Columns here: {', '.join(here)}."
        )


def _scale(model: contract.Model, sigma: np.ndarray) -> np.ndarray:
    """What the model's numbers are multiplied with to be returns."""
    target = "scaled" if isinstance(model.core, rule.Side) else model.card["target"]
    return scale_of(sigma, target, model.card["horizon_bars"])
