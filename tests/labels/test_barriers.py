"""The triple barrier: by hand, against a plain loop, and against Brownian motion."""

import math
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from labels.market import GAPPY, MINUTE, START, bent_after, market, path, volatilities
from polars.testing import assert_frame_equal

from research import labels, schema
from research.errors import UserError

CALM = (100, 100.5, 99.5, 100)


def first(bars, *, horizon=3, take=0.02, stop=0.02, entry="next_open"):
    """Label, return and bars held of the first row, or None where it is left out."""
    found = labels.barrier(
        bars, horizon=horizon * MINUTE, interval=MINUTE, take=take, stop=stop, entry=entry
    )
    row = found.filter(pl.col("time") == START + MINUTE).rows(named=True)
    if not row:
        return None
    return row[0]["label"], row[0]["y"], (row[0]["known_at"] - row[0]["time"]) // MINUTE


@pytest.mark.parametrize(
    ("later", "expected"),
    [
        # the path decides, not where it ends
        ([CALM, (100, 102.5, 100, 101), (101, 101, 97, 97)], (1, 0.02, 2)),
        ([CALM, (100, 100, 97.5, 99), (99, 103, 99, 103)], (-1, -0.02, 2)),
        ([(100, 102, 100, 101), CALM, CALM], (1, 0.02, 1)),  # exactly at the level is a touch
        ([CALM, (100, 103, 97, 103), CALM], (-1, -0.02, 2)),  # both in one bar: the loss
        ([CALM, (103, 104, 102.5, 103), CALM], (1, 0.03, 2)),  # opens beyond: at its open
        ([CALM, (96, 99, 95, 98), CALM], (-1, -0.04, 2)),
        ([CALM, (103, 104, 97, 98), CALM], (-1, -0.02, 2)),  # opens above, falls through: the loss
        ([CALM, CALM, (100, 101, 100, 101)], (0, 0.01, 3)),  # neither: time is up
        ([CALM, CALM, CALM, (100, 109, 100, 109)], (0, 0.0, 3)),  # after the horizon
        # a hole in the data
        ([CALM, (100, 102.5, 100, 101), None, CALM], (1, 0.02, 2)),  # met before it: kept
        ([CALM, None, (100, 109, 100, 109)], None),  # still open there: left out
        ([None, (100, 109, 100, 109), CALM], None),  # no bar to enter on
        ([CALM, CALM], None),  # the data end first
    ],
)
def test_what_a_path_means(later, expected):
    # the bar decided on is wild: what came before the entry does not count
    found = first(path((100, 150, 50, 100), *later))
    assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))


def test_the_entry_price_is_where_the_barriers_hang():
    bars = path(CALM, (105, 106, 104.5, 105), (105, 107.2, 105, 107), CALM)
    assert first(bars) == pytest.approx((1, 0.02, 2))  # 105 * 1.02 = 107.1
    assert first(bars, entry="close") == pytest.approx((1, 0.05, 1))  # opens beyond 102


def slow(bars, ahead, take, stop, entry, unit):
    """Plain twin: walk forward bar by bar, looked up by time."""
    price = {(r["symbol"], r["time"]): r for r in bars.iter_rows(named=True)}
    rows = []
    for (symbol, time), now in price.items():
        width = unit.get((symbol, time), 1.0) if unit is not None else 1.0
        start = price.get((symbol, time + MINUTE))
        if start is None or not width:
            continue
        paid = start["open"] if entry == "next_open" else now["close"]
        answer = walk(price, symbol, time, ahead, paid, take * width, stop * width)
        if answer is not None:
            rows.append((symbol, time, *answer))
    kinds = {**schema.LABELS, "label": pl.Int8}
    return pl.DataFrame(rows, schema=kinds, orient="row").sort("symbol", "time")


def walk(price, symbol, time, ahead, paid, take, stop):
    for k in range(1, ahead + 1):
        bar = price.get((symbol, time + k * MINUTE))
        if bar is None:
            return None
        at = time + k * MINUTE
        if bar["low"] <= paid * (1 - stop):
            return at, min(bar["open"] / paid - 1, -stop), -1
        if bar["high"] >= paid * (1 + take):
            return at, max(bar["open"] / paid - 1, take), 1
    return at, bar["close"] / paid - 1, 0


@settings(max_examples=80, deadline=None)
@given(
    minutes=GAPPY,
    ahead=st.integers(1, 8),
    take=st.floats(0.0002, 0.006),
    stop=st.floats(0.0002, 0.006),
    entry=st.sampled_from(["next_open", "close"]),
    scaled=st.booleans(),
    seed=st.integers(0, 9),
)
def test_barriers_equal_the_slow_twin(minutes, ahead, take, stop, entry, scaled, seed):
    bars = market(minutes, seed=seed)
    sigma, unit = None, None
    if scaled:
        take, stop, sigma = take * 1000, stop * 1000, volatilities(bars, seed=seed)
        known = {(s, t): v for s, t, v in sigma.iter_rows()}
        unit = {key: (v or 0.0) * math.sqrt(ahead) for key, v in known.items()}
    found = labels.barrier(
        bars, horizon=ahead * MINUTE, interval=MINUTE, take=take, stop=stop, entry=entry,
        sigma=sigma,
    )  # fmt: skip
    assert_frame_equal(found, slow(bars, ahead, take, stop, entry, unit), abs_tol=1e-12)
    schema.check(found, schema.LABELS, "labels")
    held = found["known_at"] - found["time"]
    assert ((held >= MINUTE) & (held <= ahead * MINUTE)).all()


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6), ahead=st.integers(1, 12), take=st.floats(0.001, 0.01),
    stop=st.floats(0.001, 0.01), entry=st.sampled_from(["next_open", "close"]),
)  # fmt: skip
def test_classes_mirror_when_the_price_is_mirrored(seed, ahead, take, stop, entry):
    """Upside down in log price, with take and stop swapped, every rise is a fall."""
    bars = market({"A": list(range(80)), "B": list(range(60))}, seed=seed, step=0.002)
    flipped = bars.with_columns(
        open=1e4 / pl.col("open"),
        high=1e4 / pl.col("low"),
        low=1e4 / pl.col("high"),
        close=1e4 / pl.col("close"),
    )
    how = {"horizon": ahead * MINUTE, "interval": MINUTE, "entry": entry}
    upright = labels.barrier(bars, take=take, stop=stop, **how)
    # the same distance in log price: 1 + take becomes 1 / (1 - stop)
    mirrored = labels.barrier(flipped, take=stop / (1 - stop), stop=take / (1 + take), **how)
    both = upright.join(mirrored, on=schema.KEY, suffix="_m")
    assert both.height == upright.height
    one_bar = (pl.col("label") == -1) & (pl.col("label_m") == -1)  # both met: a loss either way
    same = (pl.col("label") == -pl.col("label_m")) & (pl.col("known_at") == pl.col("known_at_m"))
    assert both.select((one_bar | same).all()).item()
    assert both.select((same | (pl.col("known_at") == pl.col("known_at_m"))).all()).item()
    gone = both.filter(~one_bar)
    np.testing.assert_allclose(
        np.log1p(gone["y"].to_numpy()), -np.log1p(gone["y_m"].to_numpy()), atol=1e-12
    )


@pytest.mark.parametrize("entry", ["next_open", "close"])
def test_no_label_uses_a_bar_after_it_is_known(entry):
    bars = market({"A": list(range(90)), "B": list(range(90))})
    how = {"horizon": 12 * MINUTE, "interval": MINUTE, "take": 0.004, "stop": 0.003}
    straight = labels.barrier(bars, entry=entry, **how)
    assert set(straight["label"]) == {-1, 0, 1}
    for minute in range(1, 90, 4):
        moment = START + minute * MINUTE
        known = pl.col("known_at") <= moment
        crooked = labels.barrier(bent_after(bars, moment), entry=entry, **how)
        assert_frame_equal(straight.filter(known), crooked.filter(known))
        if minute < 80:
            assert not straight.equals(crooked), "nothing changed: this test proves nothing"


# Brownian motion: METHODS of first passage


def brownian(paths, bars, *, sigma, drift, seed, extremes):
    """Independent paths of log price, one after the other with a gap between them.

    With `extremes` each bar's high and low are those of the continuous path inside it (drawn
    from the law of a bridge's maximum); without, the path is only seen at the closes.
    """
    rng = np.random.default_rng(seed)
    steps = rng.normal(drift, sigma, (paths, bars))
    close = np.cumsum(steps, axis=1)
    open_ = close - steps
    high, low = np.maximum(open_, close), np.minimum(open_, close)
    if extremes:
        for side in (1, -1):
            u = rng.random((paths, bars))
            far = np.sqrt(steps**2 - 2 * sigma**2 * np.log(u))
            edge = (open_ + close + side * far) / 2
            high, low = (edge, low) if side == 1 else (high, edge)
    first_minute = np.arange(paths)[:, None] * (bars + 2) + np.arange(bars)
    micros = (START.timestamp() * 1e6 + first_minute.ravel() * 60e6).astype(np.int64)
    prices = dict(zip(schema.PRICES, (open_, high, low, close), strict=True))
    return pl.DataFrame(
        {
            "symbol": "A",
            "time": pl.Series(micros).cast(schema.TIME),
            **{name: np.exp(values).ravel() for name, values in prices.items()},
        }
    )


def passage(bars_table, bars, *, up, down):
    """Labels of the first row of every path, barriers `up` and `down` in log price away."""
    starts = pl.int_range(pl.len()) % bars == 0
    one = bars_table.filter(starts).select("symbol", "time", sigma=pl.lit(1.0))
    root = math.sqrt(bars - 2)  # sigma 1 times the root of the horizon is the unit
    return labels.barrier(
        bars_table, horizon=(bars - 2) * MINUTE, interval=MINUTE, entry="close", sigma=one,
        take=math.expm1(up) / root, stop=-math.expm1(-down) / root,
    )  # fmt: skip


def near(found, expected, rows):
    error = math.sqrt(expected * (1 - expected) / rows)
    assert abs(found - expected) < 3 * error, f"{found:.4f} for {expected:.4f} +- {error:.4f}"


SHIFT = 0.5826  # standard deviations of a bar that a path seen at closes alone reaches beyond


@pytest.mark.parametrize("extremes", [True, False], ids=["continuous", "at closes"])
@pytest.mark.parametrize(("up", "down"), [(1.0, 1.0), (0.6, 1.2), (1.5, 0.5)])
def test_brownian_motion_without_drift(up, down, extremes):
    paths, bars, sigma = 4000, 150, 0.2
    table = brownian(paths, bars, sigma=sigma, drift=0.0, seed=3, extremes=extremes)
    found = passage(table, bars, up=up, down=down)
    assert found.height > 0.99 * paths
    shift = 0.0 if extremes else SHIFT * sigma
    ends_up = (found["label"] == 1).mean()
    near(ends_up, (down + shift) / (up + down + 2 * shift), found.height)
    # the time it takes, rounded up to whole bars
    bars_held = (found["known_at"] - found["time"]).dt.total_minutes().mean()
    expected = (up + shift) * (down + shift) / sigma**2 + (0.5 if extremes else 0.0)
    assert bars_held == pytest.approx(expected, rel=0.05)


def test_brownian_motion_with_drift():
    """P(up first) = 1 / (1 + exp(-2 mu b / sigma^2)) = .73106 at 2 mu b = sigma^2."""
    paths, bars, sigma = 9000, 150, 0.2
    drift = sigma**2 / 2
    by_extremes, at_closes = (
        passage(
            brownian(paths, bars, sigma=sigma, drift=drift, seed=5, extremes=extremes),
            bars, up=1.0, down=1.0,
        )
        for extremes in (True, False)
    )  # fmt: skip
    near((by_extremes["label"] == 1).mean(), 0.73106, by_extremes.height)
    shifted = 1 / (1 + math.exp(-(1 + SHIFT * sigma)))  # .7533
    near((at_closes["label"] == 1).mean(), shifted, at_closes.height)
    with pytest.raises(AssertionError):  # the test can tell the two apart
        near((at_closes["label"] == 1).mean(), 0.73106, at_closes.height)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"take": 0.0}, "take must be a number above 0, found 0.0"),
        ({"stop": -0.01}, "stop must be a number above 0"),
        ({"take": math.nan}, "take must be a number above 0, found nan"),
        ({"stop": 2}, "stop must be a fraction of price below 1, found 2.*Write 2 % as 0.02"),
        ({"horizon": timedelta(seconds=90)}, "whole number of bars"),
        ({"entry": "open"}, "entry must be"),
    ],
)
def test_mistakes_are_named(asked, said):
    how = {"horizon": MINUTE, "interval": MINUTE, "take": 0.01, "stop": 0.01} | asked
    with pytest.raises(UserError, match=said):
        labels.barrier(market({"A": [0, 1, 2]}), **how)


def test_bars_without_highs_are_named():
    bare = market({"A": [0, 1, 2]}).drop("high")
    with pytest.raises(schema.TableError, match="column 'high' is missing"):
        labels.barrier(bare, horizon=MINUTE, interval=MINUTE, take=0.01, stop=0.01)


def test_no_label_is_an_empty_table():
    how = {"horizon": MINUTE, "interval": MINUTE, "take": 0.01, "stop": 0.01}
    found = labels.barrier(market({"A": [0]}), **how)
    assert found.is_empty() and dict(found.schema) == {**schema.LABELS, "label": pl.Int8}
    nothing = labels.barrier(market({"A": [0]}).clear(), **how)
    assert nothing.is_empty()


def test_pandas_bars_give_the_same_labels():
    bars = market({"A": list(range(20)), "B": list(range(20))})
    how = {"horizon": 3 * MINUTE, "interval": MINUTE, "take": 0.001, "stop": 0.001}
    assert_frame_equal(labels.barrier(bars.to_pandas(), **how), labels.barrier(bars, **how))
