"""Fifty rolling retrains through the house against the bare sum of ``lgb.train`` calls.

    python benchmarks/retrain.py [--days 14] [--pairs 10]

Two ratios, CPU seconds, one thread, interleaved pairs. `retrains`: choosing rows, fitting by the
contract, card and model on disk, against ``lgb.train`` on arrays that lie ready; the claim is at
most 1.05. `walk-forward`: all of `models.out_of_sample`, joins and forecasts too, against
``lgb.train`` and ``booster.predict`` on ready arrays. Forecasts of all three must be equal.
"""

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lightgbm as lgb
import numpy as np
import polars as pl

from research import models, schema
from research.validation import Folds, walk_forward

FOLDS, COLUMNS, HORIZON, ROUNDS = 50, 18, 10, 200
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
START = datetime(2025, 1, 1, tzinfo=UTC)
SETTINGS = {"rounds": ROUNDS, "early_stopping": 0}
PARAMS = {  # the same, in LightGBM's words
    "objective": "regression",
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_col_wise": True,
    "seed": 1,
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 500,
    "feature_fraction": 0.8,
}


def market(days: int, seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
    """One symbol's features and labels, with a weak linear edge in the first column."""
    rng, rows = np.random.default_rng(seed), days * 1440
    columns = [f"f{k}" for k in range(COLUMNS)]
    inputs = rng.normal(size=(rows, COLUMNS))
    sigma = 0.0008 * np.exp(rng.normal(0, 0.3, rows))
    y = sigma * np.sqrt(HORIZON) * (0.06 * inputs[:, 0] + rng.standard_t(4, rows))
    moments = np.datetime64("2025-01-01T00:00", "us") + np.arange(1, rows + 1) * 60_000_000
    time_ = pl.Series("time", moments).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    key = pl.DataFrame({"symbol": pl.Series(["A"] * rows), "time": time_})
    features = key.with_columns(
        pl.Series("sigma", sigma), *(pl.Series(c, inputs[:, k]) for k, c in enumerate(columns))
    )
    labels = key.with_columns((time_ + HORIZON * MINUTE).alias("known_at"), pl.Series("y", y))
    return features, labels.head(rows - HORIZON), columns


def target(rows: pl.DataFrame) -> np.ndarray:
    """Volatility-scaled returns, cut at 3, as `out_of_sample` learns them."""
    return np.clip(rows["y"].to_numpy() / (rows["sigma"].to_numpy() * np.sqrt(HORIZON)), -3, 3)


def windows(
    rows: pl.DataFrame, y: np.ndarray, folds: Folds, columns: list[str]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Training inputs and targets, test inputs and scale of every fold, as arrays."""
    scale = rows["sigma"].to_numpy() * np.sqrt(HORIZON)
    X = rows.select(columns).to_numpy()
    masks = [(fold.train(rows).to_numpy(), fold.test(rows).to_numpy()) for fold in folds]
    return [(X[train], y[train], X[test], scale[test]) for train, test in masks]


def bare(ready: list, params: dict) -> tuple[float, float, np.ndarray]:
    """CPU seconds of the ``lgb.train`` calls, of the forecasts, and the forecasts."""
    train, predict, found = 0.0, 0.0, []
    for X, y, later, scale in ready:
        began = time.process_time()
        booster = lgb.train(params, lgb.Dataset(X, y), ROUNDS)
        trained = time.process_time()
        found.append(booster.predict(later, num_threads=1) * scale)
        train, predict = train + trained - began, predict + time.process_time() - trained
    return train, predict, np.concatenate(found)


def retrains(
    rows: pl.DataFrame, y: np.ndarray, folds: Folds, columns: list[str], ready: list
) -> tuple[float, np.ndarray]:
    """CPU seconds of fits through the contract, models stored, and what they forecast."""
    seconds, found = 0.0, []
    X = rows.select(columns)
    with tempfile.TemporaryDirectory() as folder:
        for fold, (*_, later, scale) in zip(folds, ready):
            began = time.process_time()
            mask = fold.train(rows)
            model = models.FITTERS["lightgbm"](
                X.filter(mask), y[mask.to_numpy()], seed=1, params=SETTINGS
            )
            model.save(Path(folder) / fold.name.replace(":", ""))
            assert model.core.booster.num_trees() == ROUNDS  # read back, as lgb.train does inside
            seconds += time.process_time() - began
            found.append(model.predict(pl.DataFrame(later, schema=columns)) * scale)
    return seconds, np.concatenate(found)


def walk(
    features: pl.DataFrame, labels: pl.DataFrame, folds: Folds, columns: list[str]
) -> tuple[float, np.ndarray]:
    """CPU seconds of the whole walk-forward, models stored, and its forecasts."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        table = models.out_of_sample(
            features,
            labels,
            folds,
            learner="lightgbm",
            columns=columns,
            horizon_bars=HORIZON,
            params=SETTINGS,
            seed=1,
            feature_card={"name": "benchmark"},
            folder=Path(folder),
        )
        return time.process_time() - began, table["forecast"].to_numpy()


def main() -> None:
    """Run the pairs and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=14, help="length of a training window")
    parser.add_argument("--pairs", type=int, default=10)
    asked = parser.parse_args()
    days = asked.days + FOLDS
    features, labels, columns = market(days)
    folds = walk_forward(START, START + days * DAY, train=asked.days * DAY, test=DAY)
    assert len(folds) == FOLDS
    rows = features.join(labels, on=schema.KEY, how="left", maintain_order="left")
    y = target(rows)
    ready = windows(rows, y, folds, columns)
    fits, walks = [], []
    for _ in range(asked.pairs):
        fit, forecast = retrains(rows, y, folds, columns, ready)
        train, predict, expected = bare(ready, PARAMS)
        whole, found = walk(features, labels, folds, columns)
        assert (forecast == expected).all() and (found == expected).all(), "forecasts differ"
        fits.append((fit, train))
        walks.append((whole, train + predict))
    print(
        f"{FOLDS} retrains on {len(ready[0][1]):,} rows x {COLUMNS}, {ROUNDS} trees, "
        f"{asked.pairs} pairs, {len(expected):,} forecasts equal"
    )
    show("retrains     / lgb.train          ", fits)
    show("walk-forward / lgb.train + predict", walks)


def show(name: str, pairs: list[tuple[float, float]]) -> None:
    """Print median CPU seconds of both sides, and median and range of the ratio."""
    ratios = sorted(house / peer for house, peer in pairs)
    house, peer = (statistics.median(side) for side in zip(*pairs))
    middle = statistics.median(ratios)
    print(
        f"{name}: {house:6.2f} s / {peer:6.2f} s = {middle:.3f} "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f})"
    )


if __name__ == "__main__":
    main()
