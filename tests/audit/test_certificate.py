"""The causality certificate: what it must find and name, what it must not blame, what it counts."""

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[1]))

import laws

from research import batch, features
from research.audit.certificate import certify, stride, summary
from research.errors import UserError
from research.features.extra import feature

CLOSE = pl.col("close")
BARS = laws.market(rows=360, missing=(10, 200, 201, 202, 203, 204, 205))
ONE = BARS.filter(pl.col("symbol") == "S0")
SECTION = features.FeatureSet(
    "section", "1", {n: features.SETS["S2_cross"].columns[n] for n in ("place_1", "dispersion")}
)
UNBROKEN = laws.market(rows=180, symbols=1)
LONG = laws.market(rows=700, symbols=1, missing=(10, *range(400, 406)))
SHORT = ONE.filter(pl.int_range(pl.len()) > 140).head(120)
AT = BARS["time"][150]


def peeking(at, honest=CLOSE):
    """An honest column but for one bar, at which it reads the next one."""
    return pl.when(pl.col("time") == at).then(honest.shift(-1)).otherwise(honest).alias("peek")


def pandas_filled(bars):
    return bars["close"].where(bars["close"] > bars["open"]).bfill()


def day_quantile(bars):
    day = CLOSE.quantile(0.9).over("symbol", pl.col("open_time").dt.date())
    return bars.select("symbol", "time", q=CLOSE / day)


def stamped_at_open(bars):
    five = bars.group_by_dynamic("open_time", every="5m", group_by="symbol")
    return five.agg(pl.col("time").first(), m=CLOSE.last()).select("symbol", "time", "m")


def unclosed(bars):
    five = bars.group_by_dynamic("open_time", every="5m", group_by="symbol")
    return five.agg(pl.col("time").last(), m=CLOSE.last()).select("symbol", "time", "m")


def across_symbols(bars):
    return bars.select("symbol", "time", total=CLOSE.cum_sum())


LEAKS = {
    "next": (CLOSE.shift(-1), 1, 1),
    "far": (CLOSE.shift(-100), 100, 100),
    "centred": (CLOSE.rolling_mean(9, center=True), 1, 4),
    "sign of the next": ((CLOSE.shift(-1) > CLOSE).cast(pl.Float64), 1, 1),
    "volume": (pl.col("volume").shift(-2), 2, 2),
    "back-fill": (pandas_filled, None, None),
    "global mean": (CLOSE - CLOSE.mean(), 1, None),
    "day's quantile": (day_quantile, None, None),
    "stamped at its open": (stamped_at_open, None, None),
    "unclosed candle": (unclosed, 1, 1),
    "row-sliced": (across_symbols, 1, None),
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_found_and_named(name):
    thing, ahead, reach = LEAKS[name]
    found = certify(thing, BARS)
    assert found.verdict == "looks ahead" and not found.ok
    assert found.table["mismatches"][0] > 0
    assert ahead is None or found.first["ahead"] == ahead
    assert reach is None or found.first["reach"] == reach
    assert found.first["before"] != found.first["after"]


def pandas_mean(bars):
    return bars["close"].rolling(5).mean()


def by_symbol(bars):
    return bars.with_columns(x=CLOSE.diff().over("symbol"))


def of_all(bars):
    return bars.select("symbol", "time", m=CLOSE.mean().over("time"))


HONEST = {
    "difference": (CLOSE.diff(), BARS),
    "exponential": (CLOSE.ewm_mean(span=5), ONE),
    "total": (CLOSE.cum_sum(), ONE.head(90)),
    "hour": (pl.col("time").dt.hour().cast(pl.Float64), ONE),
    "a frame with the bars' own columns": (by_symbol, BARS),
    "what all symbols do": (of_all, BARS),
    "pandas": (pandas_mean, ONE),
    "pandas of pandas": (pandas_mean, ONE.to_pandas()),
    "a set": (
        features.resolve("S2", groups=dict.fromkeys(("rsi", "stochrsi", "natr"), False)),
        ONE,
    ),
    "a set that looks at others": (SECTION, laws.market(rows=120)),
}


@pytest.mark.parametrize("name", HONEST)
def test_what_is_honest_is_not_blamed(name):
    thing, bars = HONEST[name]
    found = certify(thing, bars)
    assert found.ok and found.verdict == "causal", found.table
    assert found.first is None and found.table["mismatches"].sum() == 0


@settings(max_examples=5, deadline=None)
@given(row=st.integers(0, SHORT.height - 2), slow=st.booleans())
def test_one_peek_in_one_feature_at_one_bar_is_found_and_named(row, slow):
    honest = CLOSE.rolling_mean(20) if slow else CLOSE
    at, after = SHORT["time"][row], SHORT["time"][row + 1]
    since = (SHORT["open_time"][: row + 2].diff() > laws.MINUTE).arg_true().to_list() or [0]
    assume(after - at == laws.MINUTE)  # what comes after a gap is another stretch
    assume(not slow or row - since[-1] >= 18)  # its next value is not known either
    columns = {
        "honest": feature("honest", CLOSE.diff()),
        "peek": feature("peek", peeking(at, honest)),
    }
    found = certify(features.FeatureSet("mine", "0", columns), SHORT)
    assert found.found()["mismatches"] == 1
    assert found.table.filter(pl.col("mismatches") > 0)["feature"].to_list() == ["peek"]
    first = found.first
    assert (first["feature"], first["symbol"], first["ahead"]) == ("peek", "S0", 1)
    assert first["time"] == f"{at:%Y-%m-%d %H:%M:%S}Z" and first["column"] == "close"


def test_every_bar_with_a_next_one_is_checked_and_counted():
    found = certify(CLOSE.diff(), BARS)
    counted = found.found()
    # 2 symbols: the last bar of each has nothing after it that could change
    assert counted["checked"] == BARS.height - 2
    assert counted["features"] == 1 and counted["bars"] == BARS.height
    assert counted["comparisons"] == 2 * counted["checked"] + int(found.table["far"].sum())
    assert counted["cuts"] >= 20


def test_a_column_that_is_only_sampled_is_not_called_causal(monkeypatch):
    """A running total of more bars than can be made anew: a peek may lie between those checked."""
    total, due = CLOSE.cum_sum(), UNBROKEN.height - 1
    peek = peeking(UNBROKEN["time"][91], total)
    for thing in (total, peek):
        with monkeypatch.context() as patched:
            patched.setattr(stride, "_MOST_ROWS", 1)
            found = certify(thing, UNBROKEN)
        row = found.table.row(0, named=True)
        assert row["mismatches"] == 0 and row["checked"] == 99 < due  # the last has no next one
        assert row["verdict"] == found.verdict == "not shown" and not found.ok
        assert row["method"] == f"sampled 99 of {due}"
        assert f"not shown, sampled 99 of {due} bars" in summary(found)[1]
    whole = certify(peek, UNBROKEN)
    assert whole.verdict == "looks ahead" and whole.found()["mismatches"] == 1
    assert whole.table["checked"].to_list() == [due] and whole.table["method"][0] == "bar by bar"


def test_a_sample_that_finds_a_peek_is_proof_of_it(monkeypatch):
    monkeypatch.setattr(stride, "_MOST_ROWS", 1)
    found = certify(CLOSE.cum_sum() + CLOSE.shift(-1), UNBROKEN)
    assert found.verdict == "looks ahead" and found.first["ahead"] == 1


@pytest.mark.parametrize("up", [True, False])
def test_bar_by_bar_each_bar_meets_both_changes(up):
    """Whichever way one bar's next close must go to be seen, it is seen."""
    total, later = CLOSE.cum_sum(), CLOSE.shift(-1)
    peek = later > CLOSE * 1.01 if up else later < CLOSE * 0.99
    few = UNBROKEN.head(90)
    for row in (60, 61):
        hit = (pl.col("time") == few["time"][row]) & peek
        found = certify((total + hit.fill_null(False)).alias("peek"), few)
        assert found.found()["mismatches"] == 1 and found.table["method"][0] == "bar by bar"


@pytest.mark.parametrize("thing", ["S2", peeking(AT)], ids=["honest", "peeking"])
def test_other_processes_find_what_this_one_finds(monkeypatch, thing):
    monkeypatch.setattr(stride, "_ROWS", 128)
    alone, each, asked = certify(thing, BARS), batch.each, []
    monkeypatch.setattr(stride, "_APART", 0.0)
    monkeypatch.setattr(batch, "hands", lambda: 2)
    monkeypatch.setattr(batch, "each", lambda *a, **how: asked.append(how) or each(*a, **how))
    together = certify(thing, BARS)
    assert {how["workers"] for how in asked} == {2}
    assert together.table.equals(alone.table) and together.first == alone.first


@pytest.mark.parametrize("rows", [2, 3, 7, 40])
def test_few_bars_are_enough(rows):
    few = ONE.head(rows)
    assert certify(CLOSE.shift(-1), few).verdict == "looks ahead"
    assert certify(CLOSE * 2, few).table["checked"].to_list() == [rows - 1]


def test_a_table_that_was_made_beforehand_shows_nothing():
    made = by_symbol(BARS).select("symbol", "time", "x")
    found = certify(lambda bars: made, BARS)
    assert found.verdict == "not shown" and not found.ok


def test_a_peek_of_the_way_the_table_is_built_is_found(monkeypatch):
    """The set's expressions are honest; what puts them into rows is not."""
    honest = features.build

    def build(*given, **how):
        return honest(*given, **how).with_columns(pl.col("twice").shift(-1))

    monkeypatch.setattr(features, "build", build)
    short = features.FeatureSet("mine", "0", {"twice": feature("twice", CLOSE * 2)})
    assert certify(short, ONE.head(120)).verdict == "looks ahead"


def test_memory_stride_and_warmup_stand_side_by_side():
    columns = {"mean": feature("mean", CLOSE.rolling_max(30)), "slow": feature("slow", CLOSE * 1)}
    table = certify(features.FeatureSet("mine", "0", columns), ONE).table
    assert table["memory"].to_list() == [29, 0] and table["warmup"].to_list() == [29, 0]
    assert table["stride"].to_list()[0] > 29
    declared = certify("S2", ONE.head(60), symbols=["S0"]).table
    row = declared.filter(pl.col("feature") == "slowk")
    assert row["declared"][0] == row["warmup"][0] == 15


def test_running_sums_are_said_to_be_nearly_equal():
    table = certify(pandas_mean, LONG).table
    assert table["method"].to_list() == ["to 1e-9"]
    assert table["verdict"].to_list() == ["causal"]


def test_guards_say_what_the_whole_keeps():
    found = certify(SECTION, laws.market(rows=120))
    assert {name: guard["ok"] for name, guard in found.guards.items()} == {
        "availability": True,
        "symbols": True,
        "gaps": True,
        "streaming": True,
    }
    assert "after a gap know" in certify(pandas_mean, ONE).guards["gaps"]["note"]
    assert "other symbols" in certify(of_all, BARS).guards["symbols"]["note"]


def test_it_is_shown_and_saved(tmp_path):
    found = certify(peeking(AT), ONE)
    path = found.save(tmp_path)
    assert path.name == "certificate.json" and json.loads(path.read_text()) == found.found()
    assert json.loads(found.to_json())["verdict"] == "looks ahead"
    assert "peek" in found._repr_html_() and "<table" in found._repr_html_()
    lines = summary(found)
    assert lines == summary(found.found()) and "looks 1 bar(s) ahead" in lines[1]


def test_the_same_seed_gives_the_same_certificate():
    one, two = (certify(peeking(AT), ONE).found() | {"seconds": 0} for _ in range(2))
    assert one == two
    assert one["fingerprints"]["features"] and one["fingerprints"]["bars"]


def test_mistakes_are_one_line():
    with pytest.raises(UserError, match="expected the name of a feature set"):
        certify(3, BARS)
    with pytest.raises(UserError, match="at least two bars"):
        certify(CLOSE, BARS, symbols=["ELSEWHERE"])
    with pytest.raises(UserError, match="one row per bar"):
        certify(lambda bars: bars.select(x=CLOSE.head(3)), BARS)
    with pytest.raises(UserError, match="certify: <lambda> raised"):
        certify(lambda bars: bars["nothing"], BARS)
    with pytest.raises(UserError, match="at which no bar closes"):
        certify(lambda b: b.select("symbol", pl.col("time") - pl.duration(seconds=1), x=CLOSE), ONE)
    with pytest.raises(UserError, match="at least one column of numbers"):
        certify(lambda bars: bars, BARS)
    with pytest.raises(UserError, match="no such set"):
        certify("S9", BARS)


def test_progress_is_told():
    seen = []
    certify(
        CLOSE.diff(), ONE, progress=lambda done, total, label: seen.append((done, total, label))
    )
    assert seen and all(0 <= done <= total for done, total, _ in seen)


def test_changes_move_every_number_and_leave_bars():
    from research.audit.certificate import bend

    before = bend.numbers(LONG)
    for kind in bend.KINDS:
        after = bend.bent(before, kind, (1,))
        bars = bend.frame(LONG, after)
        assert (
            bars["high"] >= bars.select(pl.max_horizontal("open", "close", "low")).to_series()
        ).all()
        assert (bars["low"] > 0).all() and (bars["volume"] >= 0).all()
        for name in before:
            still = np.mean(before[name] == after[name])
            assert still < 0.1, (kind, name)
    raised, lowered = (bend.bent(before, kind, (1,)) for kind in bend.KINDS)
    assert (raised["close"] > before["close"]).all() and (lowered["close"] < before["close"]).all()
