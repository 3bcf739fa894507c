"""Models on splits that train on both sides of their tests: the masks of validation, row by row."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import models, schema
from research.models.oos.rows import Rows, Timeline
from research.schema import TableError
from research.validation import combinatorial

MINUTE = timedelta(minutes=1)


def any_length(labels: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Answers known after anything from no time to five hours, some never."""
    rng = np.random.default_rng(seed)
    ahead = pl.Series(rng.integers(0, 300, labels.height)) * MINUTE
    moved = labels.with_columns((pl.col("time") + ahead).alias("known_at"))
    return moved.filter(pl.Series(rng.random(labels.height) < 0.9))


@pytest.fixture(scope="module")
def made_of(toy):
    features, labels = toy.tables(rows=1500, horizon=5)
    # a symbol that ends early: its last rows have answers no later than any other's
    alone = (pl.col("symbol") == "A") | (pl.col("time") < toy.start + timedelta(hours=20))
    return features.filter(alone), labels.filter(alone)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(2, 1), (4, 1), (4, 2), (5, 2), (5, 4)]),
    embargo=st.integers(0, 90),
    share=st.floats(0.05, 0.6),
    symbol=st.sampled_from([None, "A", "B"]),
    number=st.integers(0, 99),
)
def test_slices_are_the_masks_of_a_split(toy, made_of, seed, shape, embargo, share, symbol, number):
    labels = any_length(made_of[1], seed)
    rows = Rows.join(
        made_of[0], labels, toy.columns, horizon_bars=5, target="scaled", classes=False
    )
    groups, tested = shape
    span = {"start": toy.start, "end": toy.start + 1501 * MINUTE, "embargo": embargo * MINUTE}
    splits = combinatorial(**span, groups=groups, test_groups=tested)
    split, key, line = splits[number % len(splits)], rows.key, Timeline.of(rows, symbol)
    mine = np.array([symbol in (None, s) for s in key["symbol"]])
    can = mine & rows.learnable

    def numbers(mask: pl.Series, own: np.ndarray) -> list[int]:
        return np.flatnonzero(mask.to_numpy() & own).tolist()

    cut = line.cut(split, share=share, stops=False, gate="none")
    assert cut.fit.tolist() == numbers(split.train(key), can) and not len(cut.early)
    assert cut.test.tolist() == numbers(split.test(key), mine)
    cut, (fit, early) = (
        line.cut(split, share=share, stops=True, gate="none"),
        split.inner(key, share),
    )
    if len(numbers(early, can)) > 1:
        assert cut.fit.tolist() == numbers(fit, can)
        assert cut.early.tolist() == numbers(early, can)
    else:
        assert cut.fit.tolist() == numbers(split.train(key), can)


@pytest.mark.parametrize("learner", ["ridge", "lightgbm"])
def test_no_row_trains_whose_answer_meets_a_test(toy, made_of, learner):
    features, labels = made_of[0], any_length(made_of[1], 3)
    end = toy.start + 1501 * MINUTE
    splits = combinatorial(toy.start, end, groups=5, test_groups=2, embargo=30 * MINUTE)
    seen = []

    def weigh(rows: pl.DataFrame) -> np.ndarray:
        seen.append(rows)
        return np.ones(rows.height)

    how = {"learner": learner, "columns": toy.columns, "horizon_bars": 5, "seed": 1}
    how |= {"params": {"rounds": 5, "early_stopping": 2}, "feature_card": toy.card}
    both_sides = 0
    for split in splits[::3]:
        found = models.out_of_sample(features, labels, [split], **how, weigh=weigh).forecasts
        assert found["fold"].unique().to_list() == [split.name]
        inside = features.drop_nulls().filter(split.test(features.drop_nulls()))
        assert found.select(schema.KEY).equals(inside.select(schema.KEY))
        trained = seen.pop()
        for start, stop in split.spans:
            tested = found.filter((pl.col("time") >= start) & (pl.col("time") < stop))
            last = tested["known_at"].max()
            before = trained.filter(pl.col("time") < start)
            after = trained.filter(pl.col("time") >= start)
            assert before.is_empty() or before["known_at"].max() < start
            assert after.is_empty() or after["time"].min() > last + 30 * MINUTE
            both_sides += not (before.is_empty() or after.is_empty())
    assert both_sides


def test_forecasts_of_overlapping_tests_are_refused_as_one_table(toy, made_of):
    """What is forecast twice is no table of forecasts: nobody can trade it by mistake."""
    splits = combinatorial(toy.start, toy.start + 1501 * MINUTE, groups=3, test_groups=2)
    how = {"learner": "ridge", "columns": toy.columns, "horizon_bars": 5, "seed": 1}
    with pytest.raises(TableError, match="repeat a"):
        models.out_of_sample(*made_of, splits, **how, params={}, feature_card=toy.card)
