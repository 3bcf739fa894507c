"""A walk-forward through the house against the bare sum of its ``lgb.train`` calls.

    python benchmarks/retrain.py [--days 14] [--pairs 10]    # 50 daily retrains, the spine's trees
    python benchmarks/retrain.py --folds 300 [--pairs 3] [--gate s1]    # S1, every 15 minutes

One thread, interleaved pairs, the order alternating. House: all of `models.out_of_sample` (joins,
cuts, fits, cards and models on disk, forecasts, and the gate's evidence). Peer: ``lgb.train`` with
the same settings and the same judge on arrays that lie ready. The claim is a ratio of at most 1.05
to these fits alone; what forecasting costs beside them is shown too. Forecasts must be equal. A
year of S1's retraining is ``--folds 35040``, a campaign: the last line says how long.
"""

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import lightgbm as lgb
import numpy as np
import polars as pl

from research import models, schema
from research.models.rank import correlation, ranks
from research.validation import Folds, walk_forward

HORIZON, YEAR = 10, 365 * 96
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
START = datetime(2025, 1, 1, tzinfo=UTC)
SPINE = {"columns": 18, "params": {"rounds": 200, "early_stopping": 0}}
S1 = {
    "columns": 19,
    "params": {
        "rounds": 1000,
        "early_stopping": 100,
        "boosting": "goss",
        "learning_rate": 0.03,
        "num_leaves": 64,
        "max_depth": 8,
        "min_data_in_leaf": 20,
        "feature_fraction": 1.0,
    },
}


class Ready(NamedTuple):
    """One fold's arrays."""

    X: np.ndarray
    y: np.ndarray
    early: tuple[np.ndarray, np.ndarray] | None
    later: np.ndarray
    scale: np.ndarray


class Cost(NamedTuple):
    """Seconds of the processor and of the clock."""

    cpu: float
    wall: float


def now() -> Cost:
    """Read both clocks."""
    return Cost(time.process_time(), time.perf_counter())


def since(began: Cost) -> Cost:
    """Return what has gone by."""
    return Cost(*(after - before for after, before in zip(now(), began)))


def market(rows: int, columns: int, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    """One symbol's features and labels by the minute, with a weak edge in the first column."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(rows, columns))
    sigma = 0.0008 * np.exp(rng.normal(0, 0.3, rows))
    y = sigma * np.sqrt(HORIZON) * (0.06 * inputs[:, 0] + rng.standard_t(4, rows))
    moments = np.datetime64("2025-01-01T00:00", "us") + np.arange(1, rows + 1) * 60_000_000
    time_ = pl.Series("time", moments).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    key = pl.DataFrame({"symbol": pl.Series(["A"] * rows), "time": time_})
    features = key.with_columns(
        pl.Series("sigma", sigma), *(pl.Series(f"f{k}", inputs[:, k]) for k in range(columns))
    )
    labels = key.with_columns((time_ + HORIZON * MINUTE).alias("known_at"), pl.Series("y", y))
    return features, labels.head(rows - HORIZON)


def windows(
    features: pl.DataFrame, labels: pl.DataFrame, folds: Folds, *, held: bool
) -> list[Ready]:
    """Return every fold's arrays, cut by the masks of `validation`; targets as the house's."""
    rows = features.join(labels, on=schema.KEY, how="left", maintain_order="left")
    scale = rows["sigma"].to_numpy() * np.sqrt(HORIZON)
    y, found = np.clip(rows["y"].to_numpy() / scale, -3, 3), []
    values = rows.select(c for c in rows.columns if c.startswith("f")).to_numpy()
    for fold in folds:
        span = pl.Series([fold.train_start, fold.test_end], dtype=schema.TIME)
        first, last = rows["time"].search_sorted(span)
        near = rows[first:last]
        fit, late = fold.inner(near, 0.2) if held else (fold.train(near), None)
        train, test = (first + mask.arg_true().to_numpy() for mask in (fit, fold.test(near)))
        early = None
        if late is not None:
            kept = first + late.arg_true().to_numpy()
            early = values[kept], y[kept]
        found.append(Ready(values[train], y[train], early, values[test], scale[test]))
    return found


def bare(ready: list[Ready], params: dict) -> tuple[Cost, Cost, np.ndarray]:
    """Return what the ``lgb.train`` calls cost, what forecasting does, and the forecasts."""
    train, predict, found = Cost(0, 0), Cost(0, 0), []
    for fold in ready:
        began = now()
        booster = trained(fold, params)
        train, began = plus(train, since(began)), now()
        found.append(booster.predict(fold.later, num_threads=1) * fold.scale)
        predict = plus(predict, since(began))
    return train, predict, np.concatenate(found)


def trained(fold: Ready, params: dict) -> lgb.Booster:
    """Call ``lgb.train`` with a study's settings in LightGBM's words."""
    data, stop = lgb.Dataset(fold.X, fold.y), {}
    if fold.early is not None:
        known = ranks(fold.early[1])
        stop = {
            "valid_sets": [lgb.Dataset(*fold.early, reference=data)],
            "feval": lambda forecast, _: ("ic", correlation(ranks(forecast), known), True),
            "callbacks": [lgb.early_stopping(params["early_stopping"], verbose=False)],
        }
    goss = params.get("boosting") == "goss"
    native = {
        "objective": "regression",
        "metric": "None",
        "verbosity": -1,
        "num_threads": 1,
        "deterministic": True,
        "force_col_wise": True,
        "seed": 1,
        "data_sample_strategy": "goss" if goss else "bagging",
        "max_depth": params.get("max_depth", -1),
        "learning_rate": params.get("learning_rate", 0.05),
        "num_leaves": params.get("num_leaves", 15),
        "min_data_in_leaf": params.get("min_data_in_leaf", 500),
        "feature_fraction": params.get("feature_fraction", 0.8),
    }
    return lgb.train(native, data, params["rounds"], **stop)


def walk(
    features: pl.DataFrame, labels: pl.DataFrame, folds: Folds, params: dict, gate: str
) -> tuple[Cost, models.oos.Made]:
    """Return what the whole walk-forward costs, models stored, and what it gives."""
    with tempfile.TemporaryDirectory() as folder:
        began = now()
        made = models.out_of_sample(
            features,
            labels,
            folds,
            learner="lightgbm",
            columns=[c for c in features.columns if c.startswith("f")],
            horizon_bars=HORIZON,
            params=params,
            seed=1,
            feature_card={"name": "benchmark"},
            folder=Path(folder),
            gate=gate,
        )
        return since(began), made


def main() -> None:
    """Run the pairs and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=14, help="length of the spine's window")
    parser.add_argument("--folds", type=int, help="S1: so many retrains, 15 minutes apart")
    parser.add_argument("--gate", choices=["none", "s1"], default="none", help="for S1")
    parser.add_argument("--pairs", type=int, default=10)
    asked = parser.parse_args()
    setting, count = (S1, asked.folds) if asked.folds else (SPINE, 50)
    train, test = (2 * DAY, 15 * MINUTE) if asked.folds else (asked.days * DAY, DAY)
    end = START + train + count * test
    features, labels = market((end - START) // MINUTE, setting["columns"])
    folds = walk_forward(START, end, train=train, test=test)
    ready = windows(features, labels, folds, held=bool(asked.folds))
    params, fits, alls = setting["params"], [], []
    for k in range(asked.pairs):
        sides = [
            lambda: bare(ready, params),
            lambda: walk(features, labels, folds, params, asked.gate),
        ]
        first = sides[k % 2]()
        second = sides[1 - k % 2]()
        (fit, predict, expected), (whole, made) = (second, first) if k % 2 else (first, second)
        same = own(made).to_numpy()
        found = made.forecasts["forecast"].to_numpy()
        assert (found == expected)[same].all() and same.any(), "forecasts differ"
        fits.append((whole, fit))
        alls.append((whole, plus(fit, predict)))
    print(
        f"{len(folds):,} retrains on {len(ready[0].y):,} rows x {setting['columns']}, gate "
        f"{asked.gate}, {asked.pairs} pairs, {same.sum():,} forecasts equal"
    )
    show("walk-forward / fits            ", fits)
    show("walk-forward / fits + forecasts", alls)
    each = statistics.median(whole.wall for whole, _ in fits) / count
    if asked.folds:
        print(
            f"{1000 * each:.0f} ms a retrain: a year of {YEAR:,} takes {YEAR * each / 3600:.1f} h"
        )


def own(made: models.oos.Made) -> pl.Series:
    """Tell which rows were forecast by their own fold's model: all, where there is no gate."""
    if made.gates.is_empty():
        return pl.repeat(True, made.forecasts.height, eager=True)
    decided = made.gates.select("fold", "adopted")
    return made.forecasts.join(decided, on="fold", how="left", maintain_order="left")["adopted"]


def plus(one: Cost, other: Cost) -> Cost:
    """Add two costs."""
    return Cost(one.cpu + other.cpu, one.wall + other.wall)


def show(name: str, pairs: list[tuple[Cost, Cost]]) -> None:
    """Print median seconds of both sides, and median and range of their ratio."""
    for clock in Cost._fields:
        sides = [(getattr(house, clock), getattr(peer, clock)) for house, peer in pairs]
        ratios = sorted(house / peer for house, peer in sides)
        house, peer = (statistics.median(side) for side in zip(*sides))
        print(
            f"{name} {clock:4}: {house:7.2f} s / {peer:7.2f} s = "
            f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )


if __name__ == "__main__":
    main()
