"""Columns of other symbols: what they say, when they are null, live as in batch."""

import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[1]))

import laws

from research import features
from research.errors import UserError
from research.features import cross, crosswise, extra, kernels, market
from research.features.sets import Feature
from research.features.warmup import canonical

S2_CROSS = features.SETS["S2_cross"]
# version 1, frozen: another value here needs another version
FROZEN = {
    "market_1": 0.00016426490013216055,
    "market_10": -0.0018092812719398,
    "beta": -0.013579210435485576,
    "residual_1": -0.0005324704162823253,
    "residual_10": 0.0034276022247656766,
    "market_before": -0.0015677160990935635,
    "leader_before": -3.2055391717022985e-05,
    "place_1": 0.0,
    "place_10": 1.0,
    "dispersion": 0.004463928898240107,
}


def uneven(rows=2_400, seed=1):
    """Four symbols with holes of their own; one begins late, one ends early."""
    bars = laws.market(symbols=4, rows=rows, seed=seed)
    k = (bars["open_time"] - laws.START).dt.total_minutes()
    holes = {"S0": (700,), "S1": (700, 701, 1_500), "S2": range(900, 1_000), "S3": (1_501, 2_000)}
    gone = [(bars["symbol"] == s) & k.is_in(list(h)) for s, h in holes.items()]
    late = (bars["symbol"] == "S3") & (k < 400)
    early = (bars["symbol"] == "S2") & (k > 2_200)
    # who leads changes hands
    phase = k / 150 + bars["symbol"].str.tail(1).cast(pl.Float64)
    bars = bars.with_columns(quote_volume=pl.col("quote_volume") * (1 + 3 * phase.sin() ** 2))
    return bars.filter(~pl.Series(np.logical_or.reduce([*gone, late, early])))


def by_pandas(bars):
    """The same columns, as one would write them on wide frames of a regular clock."""
    frame = bars.to_pandas().set_index(["time", "symbol"])
    clock = pd.date_range(bars["time"].min(), bars["time"].max(), freq="1min")
    close = frame["close"].unstack().reindex(clock)
    traded = frame["quote_volume"].unstack().reindex(clock)
    # NaN spreads: a bar missing among the last ones makes no return of them
    whole = {k: close.notna().rolling(k + 1).sum() == k + 1 for k in (1, 10)}
    ret = {k: (close / close.shift(k) - 1).where(whole[k]) for k in (1, 10)}
    found = {}
    for k in (1, 10):
        others = {s: ret[k].drop(columns=s) for s in close}
        found[f"market_return:{k}"] = pd.DataFrame({s: o.mean(axis=1) for s, o in others.items()})
        below = {s: o.lt(ret[k][s], axis=0).sum(axis=1) for s, o in others.items()}
        equal = {s: o.eq(ret[k][s], axis=0).sum(axis=1) for s, o in others.items()}
        place = {s: (below[s] + equal[s] / 2) / o.count(axis=1) for s, o in others.items()}
        found[f"market_place:{k}"] = pd.DataFrame(place).where(ret[k].notna())
        spread = ret[k].std(axis=1)
        found[f"market_spread:{k}"] = pd.DataFrame(dict.fromkeys(close, spread))
    lead = traded.rolling(100).sum().fillna(-1).idxmax(axis=1)
    known = traded.rolling(100).sum().notna().any(axis=1)
    leading = pd.Series([ret[1].at[t, s] for t, s in lead.items()], clock).where(known)
    found["leader_return:100"] = pd.DataFrame(dict.fromkeys(close, leading))
    found["leader_return:S1"] = pd.DataFrame(dict.fromkeys(close, ret[1]["S1"]))
    return {
        name: wide.stack(future_stack=True).reindex(frame.index).to_numpy()
        for name, wide in found.items()
    }


def test_columns_are_an_independent_reading():
    bars = uneven()
    theirs = by_pandas(bars)
    table = cross.columns(bars, list(theirs))
    assert table.select(bars.columns).equals(bars)
    assert table.columns == [*bars.columns, *theirs]
    for name, values in theirs.items():
        mine = table[name].to_numpy()
        np.testing.assert_allclose(mine, values, rtol=1e-9, atol=1e-15, err_msg=name)
        assert np.isfinite(mine).mean() > 0.9
        assert not table[name].is_nan().any()
    assert table["leader_return:100"].n_unique() > 100


def test_beta_and_residual_are_an_ordinary_regression():
    bars = cross.columns(uneven(), ["market_return:1", "market_return:10"])
    one = bars.filter(pl.col("symbol") == "S0").tail(1_000)
    values = one.select(beta=market.market_beta(240), rest=market.market_residual(10, 240))
    own = one["close"].to_pandas().pct_change()
    factor = one["market_return:1"].to_pandas()
    theirs = own.rolling(240).cov(factor) / factor.rolling(240).var()
    np.testing.assert_allclose(values["beta"][240:], theirs[240:], rtol=1e-8)
    ten = one["close"].to_pandas().pct_change(10) - theirs * one["market_return:10"].to_pandas()
    np.testing.assert_allclose(values["rest"][240:], ten[240:], rtol=1e-7, atol=1e-12)
    straight = kernels.evaluated(one, [column("beta").expr, pl.col("close")])
    assert straight.to_series().equals(values["beta"])
    assert features.evaluate(one, alone("beta"))["beta"].null_count() == 1_000, "made anew"


def column(name):
    return S2_CROSS.columns[name]


def alone(name):
    return replace(S2_CROSS, columns={name: column(name)})


def test_a_hole_in_the_market_is_left_out_of_beta_and_null_by_itself():
    bars = pl.DataFrame(
        {
            "close": 100 * np.exp(np.cumsum(np.sin(np.arange(600.0)) * 1e-3)),
            "market_return:1": np.cos(np.arange(600.0)) * 1e-3,
        }
    )
    hole = pl.int_range(pl.len()).is_between(300, 309)
    holed = bars.with_columns(pl.when(~hole).then("market_return:1").alias("market_return:1"))
    beta, rest = market.market_beta(100), market.market_residual(1, 100)
    table = holed.select(beta=beta, rest=rest)
    assert table["beta"].null_count() == 99 and not table["beta"].is_nan().any()
    assert table["rest"].null_count() == 99 + 10
    assert table["rest"][300:310].null_count() == 10
    gone = bars.with_columns(pl.lit(None, pl.Float64).alias("market_return:1"))
    assert gone.select(beta).to_series().null_count() == 600


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_hearts_of_the_cross_section_are_what_they_say(times, symbols, holes, seed):
    rng = np.random.default_rng(seed)
    wide = rng.integers(-3, 4, (times, symbols)).astype(float)
    wide[rng.random(wide.shape) < holes] = np.nan
    means, places, spreads = (
        f(wide)
        for f in (crosswise.mean_of_others, crosswise.place_among_others, crosswise.spread_of_all)
    )
    for t in range(times):
        known = wide[t][~np.isnan(wide[t])]
        want = np.std(known, ddof=1) if len(known) > 1 else np.nan
        np.testing.assert_allclose(spreads[t], want, atol=1e-12)
        for i in range(symbols):
            rest = np.delete(wide[t], i)
            rest = rest[~np.isnan(rest)]
            np.testing.assert_allclose(means[t, i], rest.mean() if len(rest) else np.nan)
            place = np.mean((rest < wide[t, i]) + (rest == wide[t, i]) / 2) if len(rest) else np.nan
            np.testing.assert_allclose(
                places[t, i], np.nan if np.isnan(wide[t, i]) else place, atol=1e-12
            )


def test_live_is_batch_where_symbols_come_and_go():
    bars = uneven(rows=3_600)
    numbers = [*range(380, 420, 7), *range(1_380, 1_540, 9), *range(2_000, 3_600, 61)]
    moments = [laws.START + k * laws.MINUTE for k in numbers]
    assert laws.law_live_is_batch(S2_CROSS, bars, moments) >= 40
    laws.law_no_lookahead(S2_CROSS, bars)
    laws.law_symbols_do_not_mix(S2_CROSS, bars)
    laws.law_gap_is_a_start(S2_CROSS, bars)


def test_a_symbol_that_is_away_takes_nothing_with_it():
    """The others go on without it, and what they say of the market has changed."""
    bars = uneven()
    there = features.build(bars, S2_CROSS, interval=laws.MINUTE)
    away = features.build(bars.filter(pl.col("symbol") != "S2"), S2_CROSS, interval=laws.MINUTE)
    one = [t.filter(pl.col("symbol") == "S0") for t in (there, away)]
    off = pl.DataFrame({n: one[0][n] - one[1][n] for n in ("rsi", "market_1")}).drop_nulls()
    assert off.height > 1_000 and (off["rsi"] == 0).all()
    assert (off["market_1"] != 0).mean() > 0.5


def test_a_peek_at_the_others_is_found_out(monkeypatch):
    """The market's return of the bar that is open: the law and the certificate see it."""
    honest = cross.columns

    def peeking(bars, names):
        table = honest(bars, names)
        ahead = [pl.col(n).shift(-1).over("symbol") for n in names if n.startswith("market_return")]
        return table.with_columns(ahead)

    bars = uneven(rows=1_200)
    peek = alone("market_1")
    verdict = features.causality(bars, peek, interval=laws.MINUTE)
    assert verdict["causal"].to_list() == [True] and verdict["moved"][0] > 100
    monkeypatch.setattr(cross, "columns", peeking)
    with pytest.raises(AssertionError, match=r"sees|needs"):
        laws.law_no_lookahead(peek, bars)
    verdict = features.causality(bars, peek, interval=laws.MINUTE)
    assert verdict["causal"].to_list() == [False]


def test_an_undeclared_look_at_others_is_found_out(monkeypatch):
    honest = cross.columns

    def leaking(bars, names):
        if bars["symbol"][0] == "CANONICAL":
            return honest(bars, names)
        return honest(bars, names).with_columns(close=pl.col("close") + pl.col("close").mean())

    monkeypatch.setattr(cross, "columns", leaking)
    with pytest.raises(AssertionError, match="differs"):
        laws.law_symbols_do_not_mix(S2_CROSS, laws.market(rows=1_200))


def test_version_1_is_frozen():
    bars = canonical(3_000, interval=laws.MINUTE, symbols=3)
    row = features.evaluate(bars, S2_CROSS).filter(pl.col("symbol") == "CANONICAL").tail(1)
    assert S2_CROSS.version == "1" and S2_CROSS.names[-10:] == list(FROZEN)
    assert {n: row[n][0] for n in FROZEN} == pytest.approx(FROZEN, rel=1e-9)
    assert bars.head(3_000).equals(canonical(3_000, interval=laws.MINUTE))


def test_only_sets_that_declare_it_look_at_others():
    assert [n for n, s in features.SETS.items() if s.cross] == ["S2_cross"]
    less = features.resolve("S2_cross", groups={"market": False, "section": False})
    assert less.cross == ("leader_return:480", "market_return:1")
    bars = laws.market(symbols=1, rows=50)
    assert cross.columns(bars, ()) is bars


def test_a_users_own_feature_may_read_the_cross_section(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import polars as pl\n"
        "beside = pl.col('close') / pl.col('close').shift(5) - 1 - pl.col('market_return:5')\n"
        "ahead = pl.col('market_return:5').shift(-1)\n"
    )
    own = features.resolve("S2", extra=["mine:beside"], folder=tmp_path)
    assert own.cross == ("market_return:5",)
    table = features.build(uneven(), own, interval=laws.MINUTE)
    assert table["beside"].count() > 5_000
    with pytest.raises(UserError, match="'ahead' looks ahead"):
        extra.try_out("ahead", Feature(pl.col("market_return:5").shift(-1), "extra", "ahead"))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("leader_return:S9", "no bars of 'S9'. Here: S0, S1."),
        ("market_return:0", "'0' is not a number of bars of at least 1"),
        ("market_place:soon", "'soon' is not a number of bars"),
        ("leader_return:0", "'0' is not a number of bars"),
    ],
)
def test_a_name_that_means_nothing_is_one_line(name, says):
    with pytest.raises(UserError) as error:
        cross.columns(laws.market(rows=50), [name])
    assert says in str(error.value) and "\n" not in str(error.value)


def test_one_symbol_alone_and_bars_without_a_clock_are_refused():
    alone = laws.market(symbols=1, rows=1_000)
    with pytest.raises(UserError, match="compares symbols, and these bars are of S0 alone"):
        features.build(alone, S2_CROSS, interval=laws.MINUTE)
    live = features.latest(alone, S2_CROSS, interval=laws.MINUTE)
    assert live["rsi"].null_count() == 1, "live, a symbol left alone is a row without values"
    bare = laws.market(rows=1_000).with_columns(quote_volume=pl.lit(None, pl.Float64))
    with pytest.raises(UserError, match=r"no quote_volume\. Name the leader"):
        features.build(bare, S2_CROSS, interval=laws.MINUTE)
    traded = laws.market(rows=100).with_columns(parts=pl.lit(3))
    with pytest.raises(UserError, match="no cross-section"):
        features.evaluate(traded, S2_CROSS)


def test_other_bars():
    interval = timedelta(hours=1)
    bars = laws.market(rows=1_600, interval=interval, missing=(700, 701))
    moments = [laws.START + k * interval for k in range(600, 1_600, 67)]
    assert laws.law_live_is_batch(S2_CROSS, bars, moments, interval=interval) >= 8


def test_no_bars_at_all_give_no_rows():
    none = laws.market(rows=50).clear()
    assert features.evaluate(none, S2_CROSS).is_empty()
    assert features.build(none, S2_CROSS, interval=laws.MINUTE).is_empty()
