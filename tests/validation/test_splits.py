"""Splits that train on both sides: the purge against every pair of rows, paths, the mistakes."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from math import comb

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research import schema
from research.errors import UserError
from research.validation import Splits, combinatorial, purged_kfold

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
START = datetime(2025, 5, 1, tzinfo=UTC)


def label_table(times, known) -> pl.DataFrame:
    """Rows of two symbols from minutes after the start; a known of None is no answer."""
    moments = [[None if m is None else START + int(m) * MINUTE for m in c] for c in (times, known)]
    return pl.DataFrame(
        {
            "symbol": ["AB"[k % 2] for k in range(len(times))],
            "time": pl.Series(moments[0], dtype=schema.TIME),
            "known_at": pl.Series(moments[1], dtype=schema.TIME),
        }
    )


def allowed(times, known, split, minutes):
    """Which rows may train, from the definition: every row against every tested row."""
    marks = [((a - START) / MINUTE, (b - START) / MINUTE) for a, b in split.spans]
    pause = split.embargo / MINUTE
    told = []
    for t, k in zip(times, known):
        fine = k is not None and t >= 0 and k < minutes
        for a, b in marks:
            # a block is closed: from its first moment to its last answer, or its own last moment
            tested = [(u, w) for u, w in zip(times, known) if a <= u < b]
            last = max([w for _, w in tested if w is not None], default=-np.inf)
            fine = fine and not a <= t < b
            if fine:
                meets = any(t <= w and u <= k for u, w in tested if w is not None)
                within = k >= a and t <= max(last, b - 1e-6) + pause
                assert within or not meets  # a block is never less than its rows
                fine = not within
        told.append(fine)
    return told


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    groups=st.integers(2, 7),
    tested=st.integers(1, 6),
    longest=st.sampled_from([1, 30, 400, 1500]),
    embargo=st.integers(0, 58),
)
def test_training_is_all_that_meets_no_test_and_no_embargo(seed, groups, tested, longest, embargo):
    tested = min(tested, groups - 1)
    rng, minutes = np.random.default_rng(seed), 60 * groups
    times = np.sort(rng.integers(0, minutes, 70)).tolist()
    known = [None if rng.random() < 0.1 else t + int(rng.integers(0, longest)) for t in times]
    table = label_table(times, known)
    end = START + minutes * MINUTE
    splits = combinatorial(START, end, groups=groups, test_groups=tested, embargo=embargo * MINUTE)
    for split in splits[:: -(-len(splits) // 6)]:
        train, test = split.train(table), split.test(table)
        assert train.to_list() == allowed(times, known, split, minutes)
        inside = [any(a <= t < b for a, b in split.spans) for t in table["time"]]
        assert test.to_list() == inside
        fit, early = split.inner(table, 0.3)
        assert not ((fit | early) & ~train).any() and not (fit & early).any()
        both = [table.filter(part) for part in (fit, early)]
        if all(part.height for part in both):
            assert both[0]["known_at"].max() < both[1]["time"].min() - split.embargo


@pytest.mark.parametrize(
    ("n", "k", "splits", "paths"), [(6, 2, 15, 5), (10, 2, 45, 9), (8, 3, 56, 21), (16, 2, 120, 15)]
)
def test_numbers_of_splits_and_paths(n, k, splits, paths):
    """Lopez de Prado (2018), 12.3: N over k splits, k / N of them paths."""
    made = combinatorial(START, START + n * DAY, groups=n, test_groups=k)
    found = made.paths()
    assert (len(made), found["path"].n_unique()) == (splits, paths) == (comb(n, k), splits * k // n)
    assert (
        found.group_by("path").agg("group")["group"].list.sort().to_list()
        == [list(range(n))] * paths
    )
    lent = Counter(found.select("split", "group").rows())
    assert set(lent) == {(s.number, g) for s in made for g in s.groups}
    assert set(lent.values()) == {1}


def test_the_paths_of_six_groups_two_tested():
    """Figure 12.1 of the same book: the splits that make paths 1 to 5, group by group."""
    known = [
        [0, 1, 2, 3, 4],
        [0, 5, 6, 7, 8],
        [1, 5, 9, 10, 11],
        [2, 6, 9, 12, 13],
        [3, 7, 10, 12, 14],
        [4, 8, 11, 13, 14],
    ]
    paths = combinatorial(START, START + 60 * DAY, groups=6, test_groups=2).paths()
    found = paths.sort("group", "path").group_by("group", maintain_order=True).agg("split")
    assert found["split"].to_list() == known
    assert paths["start"][1] == START + 10 * DAY == paths["end"][0]


def test_k_fold_is_one_path_of_all_rows():
    times = list(range(0, 3000, 7))
    table = label_table(times, [t + 20 for t in times])
    splits = purged_kfold(START, START + 3021 * MINUTE, k=5, embargo=30 * MINUTE)
    told = sum(split.test(table).cast(pl.Int64) for split in splits)
    assert told.to_list() == [1] * len(times)
    assert splits.paths()["path"].unique().to_list() == [1]
    middle = splits[2]
    span, trained = middle.spans[0], table.filter(middle.train(table))
    before = trained.filter(pl.col("time") < span.start)
    after = trained.filter(pl.col("time") >= span.end)
    last = table.filter(middle.test(table))["known_at"].max()
    # a purge before, a purge and an embargo behind, and not a row more
    assert span.start - 7 * MINUTE <= before["known_at"].max() < span.start
    assert last + 30 * MINUTE < after["time"].min() <= last + 37 * MINUTE


def test_one_long_answer_moves_the_block_and_an_answer_across_one_never_trains():
    times = [0, 10, 20, 30, 40, 50]
    split = purged_kfold(START, START + HOUR, k=6)[2]
    usual = label_table(times, [t + 1 for t in times])
    assert usual.filter(split.train(usual)).height == 5
    long = label_table(times, [1, 11, 42, 31, 41, 51])
    kept = long.filter(split.train(long))["time"] - START
    assert (kept / MINUTE).to_list() == [0, 10, 50]
    across = label_table(times, [1, 35, 21, 31, 41, 51])
    kept = across.filter(split.train(across))["time"] - START
    assert (kept / MINUTE).to_list() == [0, 30, 40, 50]
    touching = label_table(times, [1, 20, 30, 31, 41, 51])  # a moment in common is enough
    kept = touching.filter(split.train(touching))["time"] - START
    assert (kept / MINUTE).to_list() == [0, 40, 50]


def test_the_inner_tail_is_the_newest_share_of_what_is_left():
    times = list(range(600))
    table = label_table(times, times)
    split = combinatorial(START, START + 600 * MINUTE, groups=6, test_groups=2)[-1]
    assert split.groups == (4, 5)
    fit, early = split.inner(table, 0.25)
    assert (fit.sum(), early.sum()) == (300, 100)
    split = combinatorial(START, START + 600 * MINUTE, groups=6, test_groups=2)[9]
    assert split.groups == (2, 3)  # the newest half reaches back across the tests
    fit, early = split.inner(table, 0.75)
    assert abs(int(early.sum()) - 300) <= 1
    assert table.filter(early)["time"].min() == START + 100 * MINUTE
    with pytest.raises(UserError, match="inner must be a share between 0 and 1"):
        split.inner(table, 1.0)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"groups": 1}, "at least 2 groups are needed.*found 1 groups and 2 tested"),
        ({"test_groups": 6}, "found 6 groups and 6 tested"),
        ({"test_groups": 0}, "found 6 groups and 0 tested"),
        ({"groups": 40, "test_groups": 20}, "137,846,528,820 splits, at most 10,000"),
        ({"start": datetime(2025, 5, 1)}, "start must have a time zone"),
        ({"end": START}, "end must lie after start, found 2025-05-01T00:00Z to 2025-05-01"),
        ({"embargo": -HOUR}, "embargo must be at least zero"),
        ({"embargo": 5 * DAY}, r"embargo of 5 d after each test leaves split-\d+.* no time"),
    ],
)
def test_mistakes_are_named(changed, said):
    usual = {"start": START, "end": START + 6 * DAY, "groups": 6, "test_groups": 2}
    with pytest.raises(UserError, match=said):
        combinatorial(**(usual | changed))


def test_splits_show_themselves_small():
    splits = combinatorial(START, START + 6 * DAY, groups=6, test_groups=2, embargo=HOUR)
    assert isinstance(splits, Splits)
    assert splits.table()["fold"][7] == "split-007-groups-1-4" == splits[7].name
    page = splits._repr_html_()
    assert repr(splits) == "<15 splits, 5 paths>"
    assert "15 splits" in page and page.count("<title>test") == 30
    many = combinatorial(START, START + 6 * DAY, groups=16, test_groups=2)
    assert "1 in 2 shown" in many._repr_html_() and len(many._repr_html_()) < 60_000
    assert Splits()._repr_html_() == "<b>no splits</b>"


def test_a_million_labels_are_cut_in_a_second():
    from time import process_time

    minutes = pl.int_range(1_000_000, eager=True)
    time = pl.select(pl.lit(START) + pl.duration(minutes=minutes)).to_series().cast(schema.TIME)
    table = pl.DataFrame({"time": time, "known_at": time + 10 * MINUTE})
    splits = combinatorial(START, START + 1_000_000 * MINUTE, groups=6, test_groups=2, embargo=DAY)
    begun = process_time()
    trained = [split.train(table).sum() for split in splits[:3]]
    assert (process_time() - begun) / 3 < 1
    assert all(0 < 1_000_000 * 4 / 6 - n < 2 * 1440 + 60 for n in trained)
