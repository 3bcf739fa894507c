"""Scores of classes: against scikit-learn, by hand, and by simulation where an interval is said."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter
from scipy.stats import binomtest

from research import schema, scores
from research.errors import UserError
from research.scores import classes

MINUTE = timedelta(minutes=1)
HORIZON = 10 * MINUTE
START = datetime(2025, 1, 1, tzinfo=UTC)
P = list(schema.CLASSES)


def times(n, step=MINUTE):
    made = pl.datetime_range(START + step, START + n * step, step, eager=True)
    return made.dt.cast_time_unit("us")


def table(p, label, symbol="A", step=MINUTE):
    p = np.asarray(p, dtype=float)
    return pl.DataFrame({"symbol": symbol, "time": times(len(p), step)}).with_columns(
        *(pl.Series(name, p[:, k]) for k, name in enumerate(P)),
        label=pl.Series(label, dtype=pl.Int8),
    )


def drawn(n, *, seed=0, skill=1.0, symbol="A", step=MINUTE):
    """Probabilities, and independent classes that come with them (with skill 1) or not at all."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([2, 4, 2], n)
    meant = skill * p + (1 - skill) * p.mean(axis=0)
    label = (rng.random((n, 1)) > meant.cumsum(axis=1)).sum(axis=1).clip(0, 2) - 1
    return table(p, label, symbol, step)


def overlapping(days, *, seed, symbols=1, step=timedelta(minutes=5), horizon=12):
    """Classes of overlapping sums, said by a forecast that persists and knows nothing."""
    rng = np.random.default_rng(seed)
    n = round(timedelta(days=days) / step)
    parts = []
    for s in range(symbols):
        moves = np.convolve(rng.standard_normal(n + horizon - 1), np.ones(horizon), "valid")
        slow = lfilter([np.sqrt(1 - 0.98**2)], [1, -0.98], rng.standard_normal((n, 3)), axis=0)
        p = np.exp(0.4 * slow + np.log([0.25, 0.5, 0.25]))
        p /= p.sum(axis=1, keepdims=True)
        label = np.where(np.abs(moves) < 0.6745 * np.sqrt(horizon), 0, np.sign(moves))
        parts.append(table(p, label.astype(int), f"S{s}", step))
    return pl.concat(parts), horizon * step


def said(frame):
    best = frame.select(P).to_numpy()
    return best.argmax(axis=1) - 1


# against scikit-learn


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 200), skill=st.floats(0, 1))
def test_headline_numbers_are_those_of_scikit_learn(seed, n, skill):
    from sklearn import metrics

    frame = drawn(n, seed=seed, skill=skill)
    found = scores.classification(frame, horizon=HORIZON, draws=20)
    y, called = frame["label"].to_numpy(), said(frame)
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(y, called))
    f1 = metrics.f1_score(y, called, average="macro", zero_division=0)
    assert found.macro_f1 == pytest.approx(f1)
    p = frame.select(P).to_numpy()
    assert found.log_loss == pytest.approx(metrics.log_loss(y, p, labels=[-1, 0, 1]), rel=1e-9)
    matrix = metrics.confusion_matrix(y, called, labels=[-1, 0, 1])
    np.testing.assert_array_equal(found.confusion.select("down", "flat", "up"), matrix)
    assert found.confusion["actual"].to_list() == ["down", "flat", "up"]
    shares = np.bincount(y + 1, minlength=3) / n
    assert found.baseline == shares.max()
    assert found.majority == ("down", "flat", "up")[shares.argmax()]
    constant = np.tile(shares, (n, 1))
    known = metrics.log_loss(y, constant, labels=[-1, 0, 1])
    assert found.log_loss_baseline == pytest.approx(known, abs=1e-9)
    assert found.beyond.value == pytest.approx(found.accuracy.value - found.baseline)
    assert found.n_rows == n


def test_a_class_that_never_comes_nor_is_said_has_no_f1():
    from sklearn import metrics

    p = [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.6, 0.3, 0.1]]
    frame = table(p, [-1, 0, 0])
    found = scores.classification(frame, horizon=MINUTE)
    assert found.macro_f1 == metrics.f1_score(frame["label"], said(frame), average="macro")
    assert found.macro_f1 == pytest.approx(2 / 3)


def test_never_is_as_dear_as_in_scikit_learn():
    from sklearn import metrics

    p = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    found = scores.classification(table(p, [0, 0]), horizon=MINUTE)
    expected = metrics.log_loss([0, 0], p, labels=[-1, 0, 1])
    assert found.log_loss == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(found.log_loss)


def test_calibration_is_that_of_scikit_learn():
    from sklearn.calibration import calibration_curve

    frame = drawn(1001, seed=4)
    found = scores.classification(frame, horizon=HORIZON).calibration
    for name, value in (("down", -1), ("flat", 0), ("up", 1)):
        own = found.filter(pl.col("class") == name)
        y = frame["label"].to_numpy() == value
        p = frame[f"p_{name}"].to_numpy()
        share, mean = calibration_curve(y, p, n_bins=10, strategy="quantile")
        np.testing.assert_allclose(own["observed"], share)
        np.testing.assert_allclose(own["predicted"], mean)
        assert own["n"].sum() == 1001 and own["bin"].to_list() == list(range(1, 11))
        assert (own["left"][0], own["right"][-1]) == (p.min(), p.max())
        assert ((own["predicted"] >= own["left"]) & (own["predicted"] <= own["right"])).all()


# by hand


def test_equally_likely_classes_are_called_flat():
    p = [[0.4, 0.2, 0.4], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.4, 0.25, 0.35], [0.2, 0.3, 0.5]]
    found = scores.classification(table(p, [0, 0, 0, 0, 0]), horizon=MINUTE)
    assert found.confusion.row(1) == ("flat", 1, 3, 1)


def test_rows_without_a_label_are_left_out():
    frame = drawn(300)
    gone = pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise("label").alias("label")
    holed = frame.with_columns(gone)
    left = scores.classification(holed, horizon=HORIZON)
    full = scores.classification(holed.drop_nulls("label"), horizon=HORIZON)
    assert left.n_rows == 200 and left.accuracy == full.accuracy
    assert left.calibration.equals(full.calibration)


def test_symbols_are_scored_alone_too():
    frame = pl.concat([drawn(400, seed=1, symbol="A"), drawn(900, seed=2, symbol="B", skill=0)])
    found = scores.classification(frame, horizon=HORIZON, seed=7)
    assert found.by_symbol["symbol"].to_list() == ["A", "B"]
    assert found.by_symbol["rows"].to_list() == [400, 900]
    alone = scores.classification(frame.filter(pl.col("symbol") == "B"), horizon=HORIZON, seed=7)
    row = found.by_symbol.row(1, named=True)
    assert (row["accuracy"], row["low"], row["high"]) == tuple(alone.accuracy)
    assert (row["beyond"], row["beyond_low"], row["beyond_high"]) == tuple(alone.beyond)
    assert (row["majority"], row["baseline"]) == (alone.majority, alone.baseline)
    assert (row["macro_f1"], row["log_loss"]) == (alone.macro_f1, alone.log_loss)
    weights = found.by_symbol["rows"] / 1300
    assert found.accuracy.value == pytest.approx((found.by_symbol["accuracy"] * weights).sum())


def test_one_class_alone_is_scored_against_itself():
    frame = drawn(200).with_columns(label=pl.lit(0, pl.Int8))
    found = scores.classification(frame, horizon=HORIZON)
    assert (found.majority, found.baseline, found.log_loss_baseline) == ("flat", 1.0, 0.0)
    assert found.beyond.value < 0
    always = table([[0.1, 0.8, 0.1]] * 200, [0] * 200)
    found = scores.classification(always, horizon=HORIZON)
    assert found.accuracy.value == 1.0 and tuple(found.beyond) == (0.0, 0.0, 0.0)
    assert found.calibration["n"].to_list() == [200, 200, 200]  # one prediction, one bin


def test_who_says_the_majority_is_the_baseline_in_every_draw():
    label = np.random.default_rng(0).choice([-1, 0, 1], 5000, p=[0.2, 0.5, 0.3])
    found = scores.classification(table([[0.2, 0.6, 0.2]] * 5000, label), horizon=HORIZON)
    assert found.accuracy.value == found.baseline and found.majority == "flat"
    assert found.accuracy.low < found.baseline < found.accuracy.high
    assert tuple(found.beyond) == (0.0, 0.0, 0.0)  # the same blocks for both: no doubt is left


def test_too_short_for_an_interval_is_said():
    found = scores.classification(drawn(15), horizon=10 * MINUTE)
    assert tuple(found.accuracy[1:]) == (0.0, 1.0)
    assert tuple(found.beyond[1:]) == (-1.0, 1.0)
    assert found.blocks.startswith("too short for an interval")
    assert set(found.calibration["low"]) == {0.0} and set(found.calibration["high"]) == {1.0}


def test_draws_are_seeded():
    frame = drawn(2000)
    one, two, other = (scores.classification(frame, horizon=HORIZON, seed=s) for s in (1, 1, 2))
    assert one.accuracy == two.accuracy != other.accuracy
    assert one.accuracy.value == other.accuracy.value


# intervals keep what they say


def test_wilson_is_that_of_scipy():
    for came, n in ((0, 10), (3, 10), (10, 10), (480, 1000)):
        low, high = classes._wilson(np.array([came / n]), np.array([float(n)]), 1.959964)
        truth = binomtest(came, n).proportion_ci(method="wilson")
        assert (low[0], high[0]) == pytest.approx((truth.low, truth.high), abs=1e-6)


def test_intervals_cover_the_truth_when_labels_overlap():
    """300 markets in which nothing can be known: what was expected lies inside about 95 %."""
    inside, bins_inside, bins, narrow = 0, 0, 0, 0
    for seed in range(300):
        frame, horizon = overlapping(6, seed=seed, symbols=2)
        found = scores.classification(frame, horizon=horizon, draws=200)
        share = np.array([0.25, 0.5, 0.25])
        expected = share[said(frame) + 1].mean()
        inside += found.accuracy.low <= expected <= found.accuracy.high
        table = found.calibration.with_columns(
            truth=pl.when(pl.col("class") == "flat").then(0.5).otherwise(0.25)
        )
        bins_inside += table.filter(pl.col("truth").is_between("low", "high")).height
        plain = classes._wilson(
            table["observed"].to_numpy(), table["n"].to_numpy().astype(float), 1.96
        )
        narrow += int(((table["truth"] >= plain[0]) & (table["truth"] <= plain[1])).sum())
        bins += table.height
    assert 0.92 <= inside / 300 <= 0.985
    assert 0.92 <= bins_inside / bins <= 0.985
    assert narrow / bins < 0.8  # as if rows were independent: far too sure


def test_independent_rows_have_about_as_many_effective_rows():
    found = scores.classification(drawn(20_000, seed=3), horizon=MINUTE)
    share = found.calibration["n_effective"] / found.calibration["n"]
    assert ((share > 0.8) & (share <= 1)).all()
    held = found.calibration.filter(pl.col("predicted").is_between("low", "high")).height
    assert held >= 26  # of 30 bins that are calibrated by making


def test_skill_is_clear_of_the_majority_and_no_skill_is_not():
    skilled = scores.classification(drawn(20_000, seed=1), horizon=HORIZON)
    assert skilled.beyond.low > 0 and skilled.log_loss < skilled.log_loss_baseline
    blind = scores.classification(drawn(20_000, seed=1, skill=0.0), horizon=HORIZON)
    assert blind.beyond.high < 0 and blind.log_loss > blind.log_loss_baseline


# what people see


def test_a_cell_shows_accuracy_beside_the_majority():
    found = scores.classification(drawn(5000), horizon=HORIZON)
    page = found._repr_html_()
    assert f"<b>{found.accuracy.value:.2%}</b>" in page
    assert f"always flat: <b>{found.baseline:.2%}</b>" in page
    assert "said up" in page and f"{found.confusion['up'][2]:,}" in page
    assert "5,000 rows, 4 UTC days" in page and "blocks of" in page
    assert "always flat" in str(found) and "95 %" in str(found)


def test_pandas_forecasts_score_alike():
    frame = drawn(300).with_columns(
        label=pl.when(pl.int_range(pl.len()) < 20).then(None).otherwise("label")
    )
    found = scores.classification(frame.to_pandas(), horizon=HORIZON)
    assert found.accuracy == scores.classification(frame, horizon=HORIZON).accuracy
    assert found.n_rows == 280


@pytest.mark.parametrize(
    ("spoil", "said_so"),
    [
        (lambda f: f.drop("label"), "no label. They need labels of kind direction or barrier"),
        (lambda f: f.drop("p_up", "p_down"), "no p_down, p_up"),
        (lambda f: f.with_columns(label=pl.lit(None, pl.Int8)), "found 0 of 30. Wait until"),
        (lambda f: f.with_columns(label=pl.lit(2, pl.Int8)), "label must be -1, 0 or 1, found"),
        (lambda f: f.with_columns(label=pl.lit("up")), "label must be -1, 0 or 1, found .*up"),
        (lambda f: f.with_columns(p_up=pl.col("p_up") + 0.5), "shares that sum to 1, found"),
        (
            lambda f: f.with_columns(p_up=pl.lit(1.5), p_down=pl.lit(-0.5), p_flat=pl.lit(0.0)),
            "sum to 1, found -0.5, 0.0, 1.5, .*in 30 rows, first A 2025-01-01 00:01:00Z",
        ),
        (lambda f: f.with_columns(p_up=pl.lit(float("nan"))), "p_up"),
    ],
)
def test_mistakes_are_named(spoil, said_so):
    with pytest.raises(UserError, match=said_so):
        scores.classification(spoil(drawn(30)), horizon=HORIZON)


def test_draws_below_one_are_named():
    with pytest.raises(UserError, match="draws must be at least 1, got 0"):
        scores.classification(drawn(30), horizon=HORIZON, draws=0)
