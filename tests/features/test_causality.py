"""The causality test itself: what it must catch, what it must not blame."""

import sys
from pathlib import Path

import polars as pl

sys.path.append(str(Path(__file__).resolve().parents[1]))

import laws

from research import features
from research.features.extra import feature

CLOSE = pl.col("close")
LEAKS = {
    "next": CLOSE.shift(-1),
    "far": CLOSE.shift(-300),
    "mean": CLOSE - CLOSE.mean(),
    "rank": CLOSE.rank(),
    "centred": CLOSE.rolling_mean(9, center=True),
    "filled": pl.when(pl.col("open") < CLOSE).then(CLOSE).backward_fill(),
    "last": pl.col("volume") / pl.col("volume").last(),
    "length": pl.int_range(pl.len()) / pl.len(),
    "reverse": CLOSE.reverse().cum_max().reverse(),
    "pandas": lambda bars: bars["close"].rolling(5).mean().shift(-4),
    "later volume": pl.col("volume").shift(-1) > 0,
}
HONEST = {
    "diff": CLOSE.diff(),
    "ewm": CLOSE.ewm_mean(span=20),
    "total": pl.col("volume").cum_sum(),
    "pandas": lambda bars: bars["close"].rolling(5).std(),
}


def verdicts(things):
    columns = {name: feature(name, thing) for name, thing in things.items()}
    bars = laws.market(rows=900, missing=(10,))
    return features.causality(bars, features.FeatureSet("x", "0", columns), interval=laws.MINUTE)


def test_every_leak_is_caught():
    table = verdicts(LEAKS)
    assert table.filter("causal").is_empty(), table
    assert table["first"].null_count() == 0


def test_honest_features_are_not_blamed():
    table = verdicts(HONEST)
    assert table["causal"].all(), table
    assert (table["moved"] > 0).all() and (table["compared"] > 0).all()
    assert table["first"].null_count() == table.height


def test_it_says_where():
    first = verdicts({"next": CLOSE.shift(-1)})["first"][0]
    assert first.startswith("S0 2024-04-30") and "were bent" in first


def test_a_feature_without_numbers_moves_nothing():
    table = verdicts({"hour": pl.col("time").dt.hour()})
    assert table.select("causal", "moved").row(0) == (True, 0)


def test_nothing_compared_is_no_verdict():
    table = features.causality(laws.market(rows=2), features.SETS["S2"], interval=laws.MINUTE)
    assert table["causal"].null_count() == 18 and table["compared"].sum() == 0


def test_every_shipped_column_is_causal_and_was_moved():
    table = features.causality(
        laws.market(rows=2_000), features.SETS["S2_day"], interval=laws.MINUTE
    )
    assert table["causal"].all() and (table["moved"] > 0).all()
