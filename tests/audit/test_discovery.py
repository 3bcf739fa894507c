"""Empty markets made of real ones keep all but the edge, and rates are counted as they are."""

import json
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
import small_cluster

from research import bars as bar_room
from research import datasets, judgement, pipeline, schema, study
from research.audit import discovery
from research.audit.discovery import market as one_market
from research.audit.discovery import nulls
from research.audit.discovery.market import FREE
from research.audit.mutations import own_store
from research.errors import UserError
from research.sources import simulated
from research.store import ledger

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
def test_bars_that_end_at_their_ends_stay_in_order(make, bars):
    """About exp(8), where logarithms round otherwise, no close may come to lie over its high."""
    level = np.exp(8) / pl.col("close").median().over("symbol")
    made = make(bars.with_columns(pl.col("open", "high", "low", "close") * level), seed=1)
    assert made.filter(pl.col("high") < pl.max_horizontal("open", "close")).is_empty()
    assert made.filter(pl.col("low") > pl.min_horizontal("open", "close")).is_empty()


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


@pytest.fixture(scope="module")
def empty(store):
    """One small market without an edge, as a campaign finds it."""
    return discovery.run("demo", SMALL, markets=1, trials=2, workers=1)


def test_a_planted_edge_is_claimed_and_an_empty_market_is_not(empty):
    strong = discovery.run("demo", SMALL, markets=1, planted=0.2, trials=2, workers=1)
    assert (strong["failed"], empty["failed"]) == ([], [])
    assert (strong["edge_claimed"], empty["edge_claimed"]) == (1, 0)
    assert strong["free"]["nothing"] == 0 and empty["deployable"] == 0
    assert sum(empty[word] for word in discovery.WORDS) == empty["markets"] == 1
    assert "an edge before costs" in discovery.text(empty)


def test_what_a_campaign_says_is_one_object_of_json(empty):
    said = json.loads(json.dumps(empty, allow_nan=False))
    for key in ("markets", "edge_claimed", *discovery.WORDS):
        assert type(said[key]) is int
    for part in (said, said["edge"], said["either"], said["free"]):
        assert 0 <= part["low"] <= part["rate"] <= part["high"] <= 1
    assert said["free"]["edge_claimed"] == said["edge_claimed"]


@pytest.fixture(scope="module")
def planted():
    """A small market with an edge, in a store of its own, and its forecasts."""
    with own_store():
        few = {"simulated.symbols": 2, "simulated.days": 9, "validation.train": "5 d"}
        planted = {"simulated.ic": 0.1, "validation.test": "2 d", "evaluation.draws": 100}
        chosen = study.read("demo", {**SMALL, **few, **planted})
        yield chosen, pipeline.forecasts(chosen)


@pytest.mark.parametrize("rule", ["threshold", "quantile"])
def test_a_market_is_judged_as_the_pipeline_would(rule, planted):
    """The settings share a tape; going the long way with each comes to the same, to the bit."""
    chosen, made = planted
    chosen, before = chosen.with_options({"backtest.rule": rule}), None
    for costs in ({}, FREE):
        one = chosen.with_options(costs)
        tried = discovery.settings(one, 2)
        with own_store(keep_bars=True):
            quick = one_market.judged(one, made, 2, before)
            counted = trials(one)
        with own_store(keep_bars=True):
            net, slow, needed = the_long_way(one, made, tried)
            assert counted == trials(one) and len(counted) == 2
        with own_store(keep_bars=True):
            assert one_market.earned(one, made, tried) == pytest.approx(net, rel=1e-12)
        assert {key: quick[key] for key in slow} == slow
        assert quick["found"].ic_break_even == needed
        before = quick["found"]


def the_long_way(chosen, made, settings):
    tried = [chosen.with_options(one) for one in settings]
    tested = [pipeline.backtest(one, made) for one in tried]
    net = [one.summary["net_return"] for one in tested]
    best = net.index(max(net))
    found = pipeline.evaluation(tried[best], made)
    said = judgement.judge(tried[best], found, tested[best])
    judged = {"word": said.word, "setting": settings[best], "dsr": said.evidence.dsr}
    return net, {**judged, "net_return": net[best]}, found.ic_break_even


def trials(chosen):
    """What the ledger says was tried, and what each earned by day."""
    known = ledger.known(datasets.dataset(chosen).lineage)
    return {trial.config: trial.found["returns"] for trial in known}


@pytest.mark.parametrize("null", ["flips", "shifts"])
def test_an_edge_in_real_bars_is_gone_when_they_are_emptied(null, real):
    options, score = real
    found = discovery.run("demo", options, null=null, markets=1, trials=2, workers=1)
    assert (found["failed"], found["edge_claimed"]) == ([], 0)
    assert score.low > 0.03 > abs(found["rows"][0]["ic"])


@pytest.fixture(scope="module")
def real(bars, tmp_path_factory, store):
    """Settings of a study on those bars, and what its forecasts score there."""
    path = tmp_path_factory.mktemp("real") / "real.parquet"
    bars.write_parquet(path)
    options = {
        "data.source": "files",
        "data.path": str(path),
        "validation.train": "2 d",
        "validation.test": "2 d",
        "evaluation.window": "12 h",
        "evaluation.draws": 100,
        "labels.horizon": "1 min",
    }
    return options, pipeline.evaluation(study.read("demo", options)).score


def pretend(market):
    """Take a market in no time."""
    if market.seed in STOPS:
        raise KeyboardInterrupt
    ASKED.append(market.seed)
    found = {"ic_high": -0.1 if market.seed == 2 else 0.1, "edge": market.seed == 3}
    return {"seed": market.seed, **found, "word": "nothing", "word_free": "undecided"}


STOPS, ASKED = set(), []


@pytest.fixture
def pretended(monkeypatch, tmp_path):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    monkeypatch.setattr(discovery, "take", pretend)
    STOPS.clear()
    ASKED.clear()


def test_a_campaign_that_was_stopped_goes_on_where_it_was(pretended):
    STOPS.add(4)
    with pytest.raises(KeyboardInterrupt):
        discovery.run(markets=5, workers=1)
    STOPS.clear()
    seen = []
    found = discovery.run(markets=6, workers=1, progress=lambda *at: seen.append(at))
    assert ASKED == [1, 2, 3, 4, 5, 6]
    assert seen == [(1, 3, "3 from before"), (2, 3, "3 from before"), (3, 3, "3 from before")]
    assert [row["seed"] for row in found["rows"]] == [1, 2, 3, 4, 5, 6]
    assert (found["markets"], found["edge_claimed"], found["either"]["count"]) == (6, 1, 2)


@pytest.mark.parametrize(
    "other",
    [{"options": {"labels.horizon": "5 min"}}, {"planted": 0.1}, {"trials": 3}, {"name": "trend"}],
)
def test_another_campaign_takes_its_own_markets(other, pretended):
    discovery.run(markets=1, workers=1)
    discovery.run(markets=1, workers=1, **other)
    assert ASKED == [1, 1]


def test_other_code_takes_its_own_markets(pretended, monkeypatch):
    discovery.run(markets=1, workers=1)
    monkeypatch.setattr(discovery.cards, "whole_package", lambda: {"source": "another"})
    discovery.run(markets=1, workers=1)
    assert ASKED == [1, 1]


def test_a_cluster_finds_what_one_process_finds(empty, tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    with small_cluster.cluster() as address:
        there = discovery.run("demo", SMALL, markets=1, trials=2, scheduler=address)
    assert there == empty


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match=r"null 'flip' is not known. Did you mean 'flips'"):
        discovery.run("demo", null="flip", markets=1)
    with pytest.raises(UserError, match="simulated market only"):
        discovery.run("demo", null="flips", planted=0.1, markets=1)
