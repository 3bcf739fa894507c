"""Walk-forward by time: the purge as a law, the numbers of folds, the mistakes."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from research import schema
from research.errors import UserError
from research.validation import Fold, Folds, walk_forward

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
START = datetime(2025, 5, 1, tzinfo=UTC)


def label_times(seed: int, days: float, rows: int = 400) -> pl.DataFrame:
    """Rows of two symbols with horizons of any length, some not known yet."""
    rng = np.random.default_rng(seed)
    minutes = np.sort(rng.choice(int(days * 1440), rows, replace=False))
    ahead = rng.integers(1, 3000, rows)
    known = [None if rng.random() < 0.05 else int(m + h) for m, h in zip(minutes, ahead)]
    return pl.DataFrame(
        {
            "symbol": ["A" if rng.random() < 0.5 else "B" for _ in range(rows)],
            "time": pl.Series([START + int(m) * MINUTE for m in minutes], dtype=schema.TIME),
            "known_at": pl.Series(
                [None if k is None else START + k * MINUTE for k in known], dtype=schema.TIME
            ),
        }
    )


SPANS = st.fixed_dictionaries(
    {
        "train": st.one_of(
            st.integers(1, 6).map(lambda d: d * DAY), st.integers(5, 99).map(lambda h: h * HOUR)
        ),
        "test": st.integers(1, 72).map(lambda h: h * HOUR),
        "wait": st.integers(0, 48).map(lambda h: h * HOUR),
        "embargo": st.integers(0, 1000).map(lambda m: m * MINUTE),
        "scheme": st.sampled_from(["rolling", "expanding"]),
    }
)


@settings(max_examples=80, deadline=None)
@given(spans=SPANS, seed=st.integers(0, 10_000), share=st.floats(0.05, 0.6))
def test_no_training_interval_meets_its_test_or_embargo(spans, seed, share):
    test, wait = spans["test"], spans.pop("wait")
    assume(spans["embargo"] < spans["train"])
    table = label_times(seed, days=20)
    end = START + 20 * DAY
    folds = walk_forward(START + 7 * MINUTE, end, step=test + wait, **spans)
    for fold in folds[:: -(-len(folds) // 8)]:
        train, tested = table.filter(fold.train(table)), table.filter(fold.test(table))
        # all of [time, known_at] lies inside the training window: it ends before the embargo
        assert (train["time"] >= fold.train_start).all()
        assert (train["known_at"] < fold.test_start - spans["embargo"]).all()
        assert tested["time"].is_between(fold.test_start, fold.test_end, closed="left").all()
        # and nothing that could have been learnt is left out
        could = (table["time"] >= fold.train_start) & (
            table["known_at"].fill_null(end + 99 * DAY) < fold.train_end
        )
        assert fold.train(table).to_list() == could.to_list()
        fit, early = (table.filter(mask) for mask in fold.inner(table, share))
        for part in (fit, early):
            assert part.join(train, on=["symbol", "time"], how="anti").is_empty()
        if fit.height and early.height:
            assert fit["known_at"].max() < early["time"].min() - spans["embargo"]
        # the tail is the newest share of the window, up to the label's own length
        tail = fold.train_end - (fold.train_end - fold.train_start) * share
        assert early.height == train.filter(pl.col("time") >= tail).height


@settings(max_examples=60, deadline=None)
@given(spans=SPANS)
def test_tests_follow_one_another_and_dates_do_not_depend_on_the_end(spans):
    test, wait = spans["test"], spans.pop("wait")
    assume(spans["embargo"] < spans["train"])
    short, long = (
        walk_forward(START, START + d * DAY, step=test + wait, **spans) for d in (15, 23)
    )
    assert list(long[: len(short)]) == list(short)
    for fold, after in pairwise(long):
        assert fold.test_end + wait == after.test_start
    if spans["scheme"] == "expanding":
        assert {fold.train_start for fold in long} == {long[0].train_start}
    else:
        assert {fold.test_start - fold.train_start for fold in long} == {spans["train"]}
    # the last test holds the newest moment, unless a pause between tests does
    assert long[-1].test_start < START + 23 * DAY <= long[-1].test_end + wait


def test_six_years_of_two_symbols_in_months_give_about_sixty_folds():
    start, end = datetime(2019, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC)
    folds = walk_forward(start, end, train=360 * DAY, test=30 * DAY, embargo=HOUR)
    assert 58 <= len(folds) <= 62
    listed = pl.Series([start, start + 400 * DAY], dtype=schema.TIME)  # XRP came later
    table = pl.DataFrame({"symbol": ["BTC", "XRP"], "time": listed, "known_at": listed + HOUR})
    # one clock for all symbols: a fold's dates do not ask who is there
    assert folds[0].train(table).to_list() == [True, False]
    assert folds[-1].train(table).to_list() == [False, False]


def test_days_begin_at_midnight_and_hours_where_they_are():
    folds = walk_forward(START + 90 * MINUTE, START + 9 * DAY, train=2 * DAY, test=DAY)
    assert folds[0].train_start == START + DAY
    assert folds[0].name == "2025-05-04T00:00Z"
    folds = walk_forward(START + 90 * MINUTE, START + 9 * DAY, train=5 * HOUR, test=HOUR)
    assert folds[0].name == "2025-05-01T06:30Z"


def test_a_test_that_fits_exactly_is_one_fold_and_a_minute_less_is_none():
    lengths = {"train": 2 * DAY, "test": DAY}
    assert len(walk_forward(START, START + 3 * DAY, **lengths)) == 1
    with pytest.raises(UserError, match=r"train 2 d and test 1 d .* found an end at 2025-05-03"):
        walk_forward(START, START + 3 * DAY - MINUTE, **lengths)


def test_times_in_another_zone_are_the_same_moments():
    from zoneinfo import ZoneInfo

    there = START.astimezone(ZoneInfo("Asia/Tokyo"))
    lengths = {"train": 2 * DAY, "test": DAY}
    assert walk_forward(there, there + 9 * DAY, **lengths) == walk_forward(
        START, START + 9 * DAY, **lengths
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"start": datetime(2025, 5, 1)}, "start must have a time zone"),
        ({"step": HOUR}, r"step must be at least test \(1 d\), found 1 h"),
        ({"embargo": 2 * DAY}, r"embargo must lie from 0 up to train \(2 d\), found 2 d"),
        ({"embargo": -HOUR}, "embargo must lie from 0"),
        ({"train": timedelta(0)}, "train and test must be longer than zero"),
        ({"scheme": "anchored"}, "scheme must be 'rolling' or 'expanding', found 'anchored'"),
        ({"end": START - DAY}, "found an end at 2025-04-30"),
    ],
)
def test_mistakes_are_named(changed, said):
    usual = {"start": START, "end": START + 9 * DAY, "train": 2 * DAY, "test": DAY}
    with pytest.raises(UserError, match=said):
        walk_forward(**(usual | changed))


@pytest.mark.parametrize("share", [0.0, 1.0, float("nan")])
def test_an_inner_share_outside_zero_to_one_is_named(share):
    fold = walk_forward(START, START + 9 * DAY, train=2 * DAY, test=DAY)[0]
    with pytest.raises(UserError, match="inner must be a share between 0 and 1"):
        fold.inner(label_times(0, days=9), share)


def test_folds_show_themselves_small():
    folds = walk_forward(START, START + 9 * DAY, train=2 * DAY, test=DAY)
    assert isinstance(folds, Folds) and isinstance(folds[0], Fold)
    assert folds.table().height == len(folds) == 7
    page = folds._repr_html_()
    assert page.count("<rect") == 2 * len(folds) and "7 folds" in page
    many = walk_forward(START, START + 90 * DAY, train=DAY, test=HOUR)
    assert len(many) > 2000
    page = many._repr_html_()
    assert "1 in 36 shown" in page and len(page) < 30_000
    assert Folds()._repr_html_() == "<b>no folds</b>"
