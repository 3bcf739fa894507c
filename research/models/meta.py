"""Meta-labelling: one model says which side, a second one how likely that side is to pay.

The second model sees the features, what the first one says, and of each row whether a trade on
that side would have earned more than it cost. It learns from out-of-fold forecasts alone: each was
made by a first model that had not seen the row, or it would learn how well that model remembers.
Inside the first training window such forecasts come from models of shorter windows; later folds
have those of the folds before them. Nothing is fitted twice for a fold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from research import schema
from research.errors import UserError
from research.models import learners
from research.models.oos import Made, out_of_sample
from research.models.oos.rows import Fold

COLUMNS = ("primary", "primary_size")
"""What the second model is told of the first: its forecast in units of the volatility over the
horizon, and the size of that."""


def side(forecasts: pl.DataFrame) -> pl.Expr:
    """Which side a forecast is on: 1 long, -1 short, 0 none.

    The sign of what is expected; of class probabilities, the likeliest class, none where two are
    equally likely.
    """
    sign = pl.col("forecast").sign()
    if all(name in forecasts.columns for name in schema.CLASSES):
        down, flat, up = (pl.col(name) for name in schema.CLASSES)
        long = (up > pl.max_horizontal(down, flat)).cast(pl.Int8)
        sign = long - (down > pl.max_horizontal(up, flat)).cast(pl.Int8)
    return sign.cast(pl.Int8).alias("side")


def lesson(forecasts: pl.DataFrame, *, cost: float) -> pl.DataFrame:
    """Return the meta-labels: whether the trade that a forecast asks for earned its costs.

    Parameters
    ----------
    forecasts : pl.DataFrame
        As `schema.FORECASTS`, out of fold.
    cost : float
        Round trip, as a fraction of price.

    Returns
    -------
    pl.DataFrame
        As `schema.LABELS` with ``label``: `y` is what the trade earned net, side times return
        less `cost`, and `label` (Int8) 1 where that is above zero, else 0. Rows without a side or
        without an outcome are not there.

    Raises
    ------
    UserError
        If all trades won, or all lost: there is nothing to tell apart.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> at = [datetime(2024, 5, 1, 0, k, tzinfo=UTC) for k in range(4)]
    >>> made = pl.DataFrame({"symbol": "A", "time": at[:3], "known_at": at[1:], "sigma": 0.001,
    ...     "forecast": [0.01, -0.01, 0.0], "y": [0.02, 0.02, 0.02]})
    >>> lesson(made, cost=0.005).select("y", "label").rows()
    [(0.015, 1), (-0.025, 0)]
    """
    known = forecasts.with_columns(side(forecasts)).filter(
        pl.col("side") != 0, pl.col("y").is_not_null(), pl.col("known_at").is_not_null()
    )
    net = known.with_columns(y=pl.col("side") * pl.col("y") - cost)
    found = net.select(*schema.LABELS, label=(pl.col("y") > 0).cast(pl.Int8))
    if found["label"].n_unique() < 2:
        all_of = "no trade" if not found.height else f"all {found.height:,} trades"
        how = "" if not found.height else " won" if found["label"][0] else " lost"
        raise UserError(
            f"model.meta: {all_of} of the first model{how} after costs of {cost * 1e4:g} bps; a "
            "second model has nothing to tell apart. Change costs, labels.horizon or model.name."
        )
    return found


def inputs(features: pl.DataFrame, forecasts: pl.DataFrame, *, horizon_bars: int) -> pl.DataFrame:
    """Return the features with what the first model says; rows that it did not forecast are gone.

    Parameters
    ----------
    features : pl.DataFrame
        ``symbol, time, sigma`` and the first model's columns.
    forecasts : pl.DataFrame
        As `schema.FORECASTS`, out of fold.
    horizon_bars : int
        Horizon of the forecasts in bars.
    """
    spread = pl.col("sigma") * horizon_bars**0.5
    said = forecasts.select(*schema.KEY, primary=pl.col("forecast"))
    table = features.join(said, on=schema.KEY, how="inner", maintain_order="left")
    scaled = pl.when(spread > 0).then(pl.col("primary") / spread)
    return table.with_columns(primary=scaled).with_columns(primary_size=pl.col("primary").abs())


def second(primary: pl.DataFrame, opinion: pl.DataFrame, *, cost: float) -> pl.DataFrame:
    """Put the second model's probability beside the first one's forecasts, on the side they take.

    Parameters
    ----------
    primary : pl.DataFrame
        As `schema.FORECASTS`.
    opinion : pl.DataFrame
        Forecasts of the second model, with ``p_up``: the probability that the trade pays.
    cost : float
        Round trip, as a fraction of price.

    Returns
    -------
    pl.DataFrame
        Rows of both: the first model's columns, and as a model of classes has them ``p_up`` where
        it is long, or ``p_down`` where it is short: the probability that this pays; ``p_flat`` is
        the rest, 1 where there is no side. ``label``: the side where it paid, else 0; null where
        the outcome is not known. `model` names both.
    """
    names = ["symbol", "time", "p_win", "second"]
    said = opinion.select("symbol", "time", pl.col("p_up").alias("p_win"), second="model")
    bare = primary.with_columns(side(primary)).drop("label", *schema.CLASSES, strict=False)
    both = bare.join(said.select(names), on=schema.KEY, how="inner", maintain_order="left")
    p, way = pl.col("p_win"), pl.col("side")
    paid = pl.when(way * pl.col("y") > cost).then(way).otherwise(pl.lit(0, pl.Int8))
    shares = {
        "p_down": pl.when(way < 0).then(p).otherwise(0.0),
        "p_flat": pl.when(way != 0).then(1.0 - p).otherwise(1.0),
        "p_up": pl.when(way > 0).then(p).otherwise(0.0),
    }
    return both.with_columns(
        **shares,
        label=pl.when(pl.col("y").is_not_null()).then(paid),
        model=pl.col("model") + "+" + pl.col("second"),
    ).drop("side", "p_win", "second")


def two_stage(
    features: pl.DataFrame,
    labels: pl.DataFrame,
    folds: Sequence[Fold],
    *,
    before: Sequence[Fold],
    primary: Made,
    how: dict[str, Any],
    learner: str,
    params: dict[str, Any],
    cost: float,
) -> pl.DataFrame:
    """Let a second model judge the trades of the first, out of sample.

    Parameters
    ----------
    features, labels, folds
        As `out_of_sample` takes them; those of the first model.
    before : sequence of Fold
        Folds inside the first training window: their forecasts are what the first fold's second
        model learns from.
    primary : Made
        The first model's walk over `folds`.
    how : dict
        All else that `out_of_sample` was given for it; the second model has its seed and its inner
        share too.
    learner, params : str, dict
        The second model's: a learner of classes, and its settings.
    cost : float
        Round trip that a trade must earn, as a fraction of price.

    Returns
    -------
    pl.DataFrame
        As `second` returns it.

    Raises
    ------
    UserError
        If `learner` gives no probabilities, all trades won or all lost, or as `out_of_sample`.

    Notes
    -----
    A trade trains the second model only if its outcome was known before the fold's training
    ended; models of half a window forecast more faintly than those of a whole one, so in the
    first folds the second model sees larger forecasts than it learnt from.

    References
    ----------
    .. [1] Lopez de Prado, M. (2018). Advances in Financial Machine Learning, ch. 3.6. Wiley.
    """
    if not learners.learner(learner, folder=how.get("own_folder")).CLASSES:
        raise UserError(
            f"model.meta: {learner!r} gives no probabilities. Name a learner of classes, such as "
            "'logistic' or 'lightgbm_classes'."
        )
    place, start = how.get("folder"), folds[0].test_start
    plain = {**how, "gate": "none", "continue_rounds": 0}
    early = out_of_sample(features, labels, before, **plain | {"folder": _beside(place, "before")})
    seen = pl.concat(
        [early.forecasts.filter(pl.col("time") < start), primary.forecasts], how="vertical"
    ).sort(schema.KEY)
    told = {
        "learner": learner,
        "params": params,
        "columns": [*how["columns"], *COLUMNS],
        "folder": _beside(place, "meta"),
        "weigh": None,
        "feature_card": {**how["feature_card"], "told": list(COLUMNS)},
    }
    table = inputs(features, seen, horizon_bars=how["horizon_bars"])
    opinion = out_of_sample(table, lesson(seen, cost=cost), folds, **plain | told)
    return second(primary.forecasts, opinion.forecasts, cost=cost)


def _beside(place: Any, name: str) -> Any:
    """Return a folder beside that of the first model's fold models, which stand alone there."""
    return None if place is None else place.with_name(name)
