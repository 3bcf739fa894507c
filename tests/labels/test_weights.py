"""Overlap, sequential draws and age: known answers, plain twins, and the laws they follow."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labels.market import MINUTE, START, market
from scipy.stats import chisquare

from research import labels, schema
from research.errors import UserError
from research.labels import kernels
from research.labels.weights import _cells

DAY = timedelta(days=1)


def spans(*ends, symbol="A"):
    """Label rows that begin and end at the given minutes."""
    start, end = (pl.Series([START + k * MINUTE for k in side], dtype=schema.TIME)
                  for side in zip(*ends, strict=True))  # fmt: skip
    return pl.DataFrame({"symbol": symbol, "time": start, "known_at": end})


BOOK = spans((0, 3), (2, 4), (4, 6))  # on bars 0-2, 2-3 and 4-5


def chances(first, last, width, drawn):
    """How likely each label is drawn next, after the labels `drawn`."""
    count = np.ones(len(width))
    for i in drawn:
        count[first[i] : last[i]] += 1
    fresh = np.array([kernels.freshness(a, b, width, count) for a, b in zip(first, last)])
    return fresh / fresh.sum()


def test_the_example_of_the_book():
    found = labels.uniqueness(BOOK, interval=MINUTE)
    np.testing.assert_allclose(found, [5 / 6, 3 / 4, 1], rtol=1e-15)
    after_the_second = chances(*_cells(BOOK, MINUTE), drawn=[1])
    np.testing.assert_allclose(after_the_second, [5 / 14, 3 / 14, 6 / 14], rtol=1e-15)


def test_draws_come_with_the_chances_of_the_book():
    pairs = [
        tuple(labels.sequential_bootstrap(BOOK, interval=MINUTE, seed=seed, draws=2))
        for seed in range(6000)
    ]
    firsts = np.bincount([a for a, _ in pairs], minlength=3)
    assert chisquare(firsts).pvalue > 0.001
    seconds = np.bincount([b for a, b in pairs if a == 1], minlength=3)
    expected = np.array([5, 3, 6]) / 14 * seconds.sum()
    assert chisquare(seconds, expected).pvalue > 0.001
    assert chisquare(seconds).pvalue < 1e-6  # the test could tell them from an even draw


@pytest.mark.parametrize("horizon", [1, 5, 10])
def test_labels_of_all_bars_are_one_over_the_horizon(horizon):
    made = labels.forward_return(
        market({"A": list(range(100))}), horizon=horizon * MINUTE, interval=MINUTE
    )
    found = labels.uniqueness(made, interval=MINUTE)
    inside = found[horizon:-horizon] if horizon > 1 else found
    np.testing.assert_allclose(inside, 1 / horizon, rtol=1e-14)
    assert (found[[0, -1]] >= 1 / horizon).all()


def plain_uniqueness(rows):
    """Slow twin: count labels minute by minute."""
    bars = [
        {(s, start + k * MINUTE) for k in range((end - start) // MINUTE)}
        for s, start, end in rows.iter_rows()
    ]
    return [np.mean([1 / sum(bar in other for other in bars) for bar in own]) for own in bars]


SPANS = st.lists(
    st.tuples(st.sampled_from("AB"), st.integers(0, 30), st.integers(1, 12)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(rows=SPANS, seed=st.integers(0, 99))
def test_uniqueness_equals_the_slow_twin_in_any_order(rows, seed):
    table = pl.concat(
        [spans((start, start + length), symbol=symbol) for symbol, start, length in rows]
    )
    found = labels.uniqueness(table, interval=MINUTE)
    np.testing.assert_allclose(found, plain_uniqueness(table), rtol=1e-12)
    order = np.random.default_rng(seed).permutation(table.height)
    shuffled = labels.uniqueness(table[order], interval=MINUTE)
    np.testing.assert_allclose(shuffled, found[order], rtol=1e-12)
    # shares of all bars that are spanned at all: nothing is counted twice
    length = (table["known_at"] - table["time"]).dt.total_minutes().to_numpy()
    spanned = {
        (s, a + k * MINUTE) for s, a, b in table.iter_rows() for k in range((b - a) // MINUTE)
    }
    assert (found * length).sum() == pytest.approx(len(spanned))


def test_labels_are_rounded_outward_to_bars():
    halves = spans((0, 1.5), (1.5, 3))
    assert labels.uniqueness(halves, interval=MINUTE).tolist() == [0.75, 0.75]
    seconds = labels.uniqueness(halves, interval=timedelta(seconds=30))
    assert seconds.tolist() == [1.0, 1.0]


@settings(max_examples=25, deadline=None)
@given(rows=SPANS, drawn=st.integers(1, 30), seed=st.integers(0, 99))
def test_sequential_draws_are_seeded_rows(rows, drawn, seed):
    table = pl.concat(
        [spans((start, start + length), symbol=symbol) for symbol, start, length in rows]
    )
    how = {"interval": MINUTE, "seed": seed, "draws": drawn}
    found = labels.sequential_bootstrap(table, **how)
    assert found.dtype == np.int64 and len(found) == drawn
    assert ((found >= 0) & (found < table.height)).all()
    np.testing.assert_array_equal(found, labels.sequential_bootstrap(table, **how))
    plain = kernels.draw.py_func if hasattr(kernels.draw, "py_func") else kernels.draw
    np.testing.assert_array_equal(
        found, plain(np.random.default_rng(seed), *_cells(table, MINUTE), drawn)
    )


def test_sequential_draws_repeat_less_of_what_is_known():
    """A crowd of alike labels and a few alone: an even draw takes the crowd."""
    crowd = spans(*[(0, 20)] * 40, *[(30 + 20 * k, 50 + 20 * k) for k in range(10)])
    drawn = labels.sequential_bootstrap(crowd, interval=MINUTE, seed=2, draws=50)
    alone = (drawn >= 40).mean()
    assert alone > 0.5  # 10 of 50 rows: an even draw has 20 % of them
    assert len(labels.sequential_bootstrap(crowd, interval=MINUTE, seed=2)) == 50


def test_age_halves_the_weight():
    table = spans((0, 1), (60, 61), (120, 121))
    at = START + 120 * MINUTE
    found = labels.age_decay(table, half_life=60 * MINUTE, at=at)
    np.testing.assert_allclose(found, [0.25, 0.5, 1.0], rtol=1e-15)
    elsewhere = datetime.fromisoformat("2024-05-01T04:00:00+02:00")
    np.testing.assert_array_equal(
        labels.age_decay(table, half_life=60 * MINUTE, at=elsewhere), found
    )


def test_pandas_labels_are_weighted_alike():
    frame = BOOK.to_pandas()
    np.testing.assert_allclose(labels.uniqueness(frame, interval=MINUTE), [5 / 6, 3 / 4, 1])
    decayed = labels.age_decay(frame, half_life=DAY, at=START + DAY)
    np.testing.assert_array_equal(decayed, labels.age_decay(BOOK, half_life=DAY, at=START + DAY))


def test_no_rows_have_no_weights():
    nothing = BOOK.clear()
    assert labels.uniqueness(nothing, interval=MINUTE).shape == (0,)
    assert labels.age_decay(nothing, half_life=DAY, at=START).shape == (0,)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: labels.uniqueness(spans((3, 3)), interval=MINUTE), "known_at must lie after time"),
        (lambda: labels.uniqueness(BOOK, interval=timedelta(0)), "interval must be above zero"),
        (lambda: labels.uniqueness(BOOK.drop("known_at"), interval=MINUTE), "'known_at' must be"),
        (
            lambda: labels.uniqueness(
                BOOK.with_columns(known_at=pl.lit(None, schema.TIME)), interval=MINUTE
            ),
            "found null in some rows",
        ),
        (
            lambda: labels.sequential_bootstrap(BOOK.clear(), interval=MINUTE, seed=1),
            "at least one label and one draw, found 0 labels",
        ),
        (
            lambda: labels.sequential_bootstrap(BOOK, interval=MINUTE, seed=1, draws=0),
            "3 labels and 0 draws",
        ),
        (lambda: labels.age_decay(BOOK, half_life=timedelta(0), at=START), "above zero"),
        (
            lambda: labels.age_decay(BOOK, half_life=DAY, at=datetime(2025, 1, 1)),
            "must have a time zone",
        ),
        (
            lambda: labels.age_decay(BOOK, half_life=DAY, at=START.astimezone(UTC)),
            "no row may be later .*found A 2024-05-01 00:02:00Z",
        ),
    ],
)
def test_mistakes_are_named(call, said):
    with pytest.raises(UserError, match=said):
        call()
