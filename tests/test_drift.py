"""Drift: the index by hand and by S1's rule, the watch bar by bar, the budget kept."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.errors import UserError
from research.scores import drift

START = datetime(2025, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_the_index_by_hand():
    before, now = np.arange(10.0), np.array([0.0, 1.0, 2.0, 3.0, 9.0])
    r = (np.array([5, 5]) + 0.5) / 11
    c = (np.array([4, 1]) + 0.5) / 6
    by_hand = sum((c - r) * np.log(c / r))
    assert drift.psi(before, now, bins=2) == pytest.approx(by_hand)


def test_s1_s_index_by_hand():
    """Equal widths over both, a share of 1e-4 where a bin is empty."""
    before, now = np.array([0.0, 0.1, 0.9, 1.0]), np.array([1.9, 2.0])
    r, c = np.array([0.75, 0.25, 1e-4, 1e-4]), np.array([1e-4, 1e-4, 1e-4, 1.0])
    r = np.array([0.5, 0.5, 1e-4, 1e-4])  # cut at 0.5, 1.0, 1.5: 1.0 itself lies above its cut
    r = np.array([0.5, 0.25, 0.25, 1e-4])
    by_hand = sum((c - r) * np.log(c / r))
    assert drift.psi(before, now, bins=4, kind="width") == pytest.approx(by_hand)
    assert drift.psi(np.ones(5), np.ones(3), kind="width") == 0.0


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 999),
    scale=st.floats(0.01, 100),
    shift=st.floats(-50, 50),
    levels=st.sampled_from([2, 3, 50, 10_000]),
)
def test_the_index_is_never_negative_and_knows_no_units(seed, scale, shift, levels):
    rng = np.random.default_rng(seed)
    a, b = (np.round(rng.normal(size=n) * levels) / levels for n in (400, 90))
    found = drift.psi(a, b)
    assert found >= 0
    assert drift.psi(a, a) == pytest.approx(0, abs=1e-9)
    cuts = drift.reference_of(a[:, None], ["a"], bins=10)
    moved = drift.reference_of((a * 4)[:, None], ["a"], bins=10)
    assert cuts.psi(cuts.counts(b[:, None])) == moved.psi(moved.counts((b * 4)[:, None]))


def table(rows, seed, *, halves=(1, 60, 600), symbols="A"):
    """Features that remember for 1, 60 and 600 bars, as columns f0, f1, f2."""
    from scipy.signal import lfilter

    rng, parts = np.random.default_rng(seed), []
    for symbol in symbols:
        keep = [2 ** (-1 / half) for half in halves]
        noise = rng.normal(size=(len(halves), rows + 3000))
        made = [lfilter([np.sqrt(1 - k * k)], [1, -k], x)[3000:] for k, x in zip(keep, noise)]
        time = pl.datetime_range(START, START + (rows - 1) * MINUTE, MINUTE, eager=True)
        parts.append(
            pl.DataFrame({"symbol": [symbol] * rows, "time": time}).with_columns(
                pl.Series(f"f{k}", x) for k, x in enumerate(made)
            )
        )
    return pl.concat(parts)


NAMES = ["f0", "f1", "f2"]


def test_the_watch_is_the_index_of_its_window():
    past, now = table(3000, 1, symbols="AB"), table(500, 2, symbols="AB")
    holes = now.with_columns(pl.when(pl.col("f1") < 2).then(pl.col("f1")))
    made = drift.reference(past, NAMES)
    seen = drift.Watch(drift.Reference.from_dict(made.to_dict()), 120)
    ordered = holes.sort("time", "symbol")
    for k in range(500):
        seen.push(ordered[2 * k : 2 * k + 2])
        if k < 119:
            assert seen.psi() is None
        elif k % 50 == 0:
            window = ordered[2 * (k - 119) : 2 * k + 2].select(NAMES).drop_nulls().to_numpy()
            whole = made.psi(made.counts(window))
            assert list(seen.psi().values()) == whole.tolist()


def budget(rows, seed, *, per, window, train, every):
    return drift.drift_threshold(
        table(rows, seed), NAMES, window=window, per=per, train=train, every=every
    )


def alarms(rows, seed, limits, *, window, train, every):
    """Live through bars with a watch, trained anew after `every` and after each alarm; count."""
    seen = table(rows, seed)
    limit, count, at = np.array([limits[name] for name in NAMES]), 0, train
    values, size = seen.select(NAMES).to_numpy(), window // MINUTE
    while at + size < rows:
        made = drift.reference_of(values[at - train : at], NAMES, bins=10)
        one = np.eye(10)[made.bins(values[at : at + every])]
        sums = np.concatenate([np.zeros((1, 3, 10)), one.cumsum(axis=0)])
        found = made.psi(sums[size:] - sums[:-size])
        over = np.flatnonzero((found > limit).any(axis=1))
        count += len(over) > 0
        at += size + int(over[0]) if len(over) else every
    return count


def rates(histories, *, days=30, per=timedelta(days=5), window=timedelta(hours=2)):
    """Return alarms per budgeted time over fresh bars: by budget, and with the limit of 0.25."""
    how = {"window": window, "train": timedelta(days=5), "every": timedelta(days=2)}
    counted, live = np.zeros(2), {**how, "train": 5 * 1440, "every": 2 * 1440}
    for seed in range(histories):
        limits = budget(days * 1440, seed, per=per, **how).limits
        for k, chosen in enumerate((limits, dict.fromkeys(NAMES, drift.LIMIT))):
            counted[k] += alarms(25 * 1440, 1000 + seed, chosen, **live)
    return counted / (histories * 20 / (per / timedelta(days=1)))


def test_the_budget_is_kept_and_the_customary_limit_is_not():
    by_budget, customary = rates(8)
    assert by_budget <= 1.6
    assert customary > 20


def test_a_shift_is_seen():
    how = {"window": timedelta(hours=1), "train": timedelta(days=5), "every": timedelta(days=2)}
    limits = budget(20 * 1440, 5, per=1000 * MINUTE, **how).limits
    past, now = table(5 * 1440, 6), table(120, 7)
    seen = drift.Watch(drift.reference(past, NAMES), 60)
    for k in range(120):
        shifted = now[k].with_columns(pl.col("f0") + (4 if k >= 60 else 0))
        seen.push(shifted)
        found = seen.psi()
        if found and any(found[name] > limits[name] for name in NAMES):
            break
    assert 60 <= k < 120


def test_what_cannot_be_known_is_one_line():
    how = {"window": MINUTE * 60, "train": timedelta(days=5), "every": timedelta(days=2)}
    with pytest.raises(UserError, match="at least 8"):
        budget(500, 1, per=timedelta(days=30), **how)
    with pytest.raises(UserError, match="every feature"):
        drift.reference(table(5, 1).with_columns(f0=pl.lit(None, pl.Float64)), NAMES)
    for a, b, bins, word in (([1.0], [1.0], 1, "bins"), ([], [1.0], 3, "both sides")):
        with pytest.raises(UserError, match=word):
            drift.psi(np.array(a), np.array(b), bins=bins)
    assert budget(20 * 1440, 1, per=timedelta(days=300), **how).extrapolated
