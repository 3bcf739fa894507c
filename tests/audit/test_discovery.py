"""Empty markets made of real ones keep all but the edge, and rates are counted as they are."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from research import bars as bar_room
from research import schema, study
from research.audit import discovery
from research.audit.discovery import nulls
from research.errors import UserError
from research.sources import simulated

MINUTE = timedelta(minutes=1)
SMALL = {
    "simulated.days": 14,
    "validation.train": "7 d",
    "validation.test": "3 d",
    "evaluation.window": "1 d",
}


@pytest.fixture(scope="module")
def bars():
    """Two symbols, six days, an edge that nobody could miss."""
    how = {"ic": 0.15, "horizon": MINUTE, "half_life": 2 * MINUTE, "seed": 3}
    raw = simulated.market(symbols=2, days=6, **how).bars
    return bar_room.clean(raw, interval=MINUTE, name="x")[0]


def returns(table):
    """Log returns by symbol, where bars follow each other."""
    step = pl.col("open_time").diff().over("symbol") == MINUTE
    made = table.with_columns(r=pl.col("close").log().diff().over("symbol"))
    return made.filter(step).select("symbol", "time", "r")


def memory(table):
    """How many standard errors the first autocorrelation of a symbol's signs is from zero."""
    signs = np.sign(returns(table).filter(pl.col("symbol") == table["symbol"][0])["r"].to_numpy())
    return float((signs[1:] * signs[:-1]).mean() * np.sqrt(len(signs)))


@pytest.mark.parametrize("make", [nulls.flipped, nulls.blocks])
def test_an_empty_market_is_a_market(bars, make):
    made = make(bars, seed=1)
    assert schema.check(made, schema.BARS, "made") is made
    assert (
        made["high"] >= made.select(pl.max_horizontal("open", "close", "low")).to_series()
    ).all()
    assert (
        made["low"] <= made.select(pl.min_horizontal("open", "close", "high")).to_series()
    ).all()
    assert (made["taker_buy_volume"] <= made["volume"]).all()
    assert made.equals(make(bars, seed=1)) and not made.equals(make(bars, seed=2))


@pytest.mark.parametrize("make", [nulls.flipped, nulls.blocks])
def test_signs_no_longer_follow_each_other(bars, make):
    assert memory(bars) < -5
    found = [memory(make(bars, seed=seed)) for seed in range(8)]
    assert max(map(abs, found)) < 4 and abs(np.mean(found)) < 1.5


def test_sizes_and_what_symbols_have_in_common_are_kept(bars):
    before, after = returns(bars), returns(nulls.flipped(bars, seed=1))
    assert np.allclose(before["r"].abs(), after["r"].abs(), atol=1e-12)
    both = [
        table.pivot("symbol", index="time", values="r").drop_nulls().drop("time").to_numpy()
        for table in (before, after)
    ]
    products = [pair.prod(axis=1) for pair in both]
    assert np.allclose(*products, atol=1e-15) and products[0].std() > 0


def test_blocks_keep_their_hour_and_do_not_jump(bars):
    made = nulls.blocks(bars, seed=1)
    ratio = made["open"][1:].to_numpy() / made["close"][:-1].to_numpy()
    meets = made.with_columns(new=pl.col("symbol") != pl.col("symbol").shift(1))["new"][1:]
    assert np.abs(np.log(ratio))[~meets.fill_null(True).to_numpy()].max() < 0.02
    by_hour = [
        returns(table).group_by(pl.col("time").dt.hour()).agg(pl.col("r").abs().mean()).sort("time")
        for table in (bars, made)
    ]
    assert np.corrcoef(by_hour[0]["r"], by_hour[1]["r"])[0, 1] > 0.8


def forecasts(days):
    n = days * 1440
    time = pl.Series(np.arange(n) * 60_000_000).cast(schema.TIME)
    one = pl.DataFrame({"time": time, "forecast": np.arange(n) * 1.0, "y": np.arange(n) * 2.0})
    return pl.concat([one.with_columns(symbol=pl.lit(s)) for s in "AB"])


def test_shifted_forecasts_stand_beside_other_days():
    table = forecasts(4)
    made = nulls.shifted(table, seed=5)
    assert made["y"].to_list() == table.sort("symbol", "time")["y"].to_list()
    moved = (made["forecast"] - made["y"] / 2) % (4 * 1440)
    assert moved.n_unique() == 1 and 1440 <= moved[0] <= 3 * 1440
    with pytest.raises(UserError, match="need three days"):
        nulls.shifted(forecasts(2), seed=5)


@pytest.mark.parametrize("name", ["demo", "quantiles", "rolling_bot", "trend"])
def test_every_rule_has_something_to_try(name):
    tried = discovery.settings(study.read(name), 10)
    assert len({str(one) for one in tried}) == 10
    for one in tried:
        study.read(name).with_options(one)


def test_a_planted_edge_is_claimed_and_an_empty_market_is_not():
    strong = discovery.run("demo", SMALL, markets=1, planted=0.2, trials=2, workers=1)
    empty = discovery.run("demo", SMALL, markets=1, trials=2, workers=1)
    assert (strong["failed"], empty["failed"]) == ([], [])
    assert (strong["edge_claimed"], empty["edge_claimed"]) == (1, 0)
    assert strong["free"]["nothing"] == 0 and empty["deployable"] == 0
    assert sum(empty[word] for word in discovery.WORDS) == empty["markets"] == 1
    assert "an edge before costs" in discovery.text(empty)


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match=r"null 'flip' is not known. Did you mean 'flips'"):
        discovery.run("demo", null="flip", markets=1)
    with pytest.raises(UserError, match="simulated market only"):
        discovery.run("demo", null="flips", planted=0.1, markets=1)
