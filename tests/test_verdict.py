"""The verdict's rule: each check alone can stop it, and nothing that gets better makes it worse."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.performance import probabilistic
from research.performance import verdict as room
from research.performance.daily import daily, without_best
from research.performance.verdict import Evidence, enough, verdict

GOOD = Evidence(
    ic=0.12,
    ic_low=0.09,
    ic_high=0.15,
    ic_break_even=0.02,
    scored_days=30,
    net_return=0.2,
    net_low=0.1,
    net_high=0.3,
    days=30,
    dsr=0.99,
    dsr_raw=0.97,
    trials=10,
    effective=4.2,
    without_day=0.18,
    without_week=0.1,
    without_symbol=0.08,
    bar_later=0.15,
    bp_more=0.12,
    coverage=0.999,
    symbols=3,
    days_needed=18.0,
)
ASKED = {key: needed for _, key, needed in room._CHECKS}


def test_good_evidence_is_deployable_and_says_so():
    said = verdict(GOOD)
    assert said.word == "deployable" and said.change == ()
    for words in ("IC 0.120 [0.090, 0.150]", "+20.0%", "0.990", "10 trials"):
        assert words in said.because
    assert said.checks["passed"].all() and said.checks.height == len(ASKED)


@pytest.mark.parametrize("key", [key for key in ASKED if key != "ic_high"])
def test_each_check_alone_can_stop_it(key):
    needed = ASKED[key]
    missed = GOOD._replace(**{key: needed - 1e-6 if needed else 0.0})
    said = verdict(missed)
    assert said.word == "undecided" and len(said.change) == 1
    failed = said.checks.filter(pl.col("passed") == False)  # noqa: E712
    named = "covers zero" if key == "ic_low" else failed["name"][0]
    assert failed.height == 1 and named in said.because


def test_an_edge_too_faint_for_its_costs_is_undecided():
    said = verdict(GOOD._replace(ic_break_even=0.16, net_low=-0.01))
    assert said.word == "undecided" and "too faint" in said.because
    assert "lower costs" in said.change[0]


def test_few_trades_that_pay_are_not_called_too_faint():
    """A rule that waits for its costs trades less than the tenth that the break-even IC is of."""
    said = verdict(GOOD._replace(ic_break_even=0.416))
    assert "few trades pay their costs" in said.because and "0.416" in said.because
    lost = verdict(GOOD._replace(ic_break_even=0.416, net_low=-0.01))
    assert "too faint to pay its costs" in lost.because


def test_a_net_return_is_said_with_its_interval_or_why_there_is_none():
    assert "+20.0% [+10.0%, +30.0%] out of sample" in verdict(GOOD).because
    faint = GOOD._replace(ic_break_even=0.16, net_return=-0.2, net_low=-0.3, net_high=-0.1)
    assert "-20.0% [-30.0%, -10.0%] out of sample" in verdict(faint).because
    few = verdict(faint._replace(net_low=None, net_high=None)).because
    assert "net return -20.0% (too few days for an interval) out of sample" in few


def test_no_correlation_above_one_is_asked_for():
    said = verdict(GOOD._replace(ic_break_even=4.119, net_low=-0.1))
    assert "4.119" not in said.because + said.change[0]
    assert "no IC pays" in said.because and "no IC pays" in said.change[0]


@pytest.mark.parametrize("key", [k for k in ASKED if k not in ("ic_low", "ic_high", "days")])
def test_what_is_not_known_is_not_taken_for_good(key):
    said = verdict(GOOD._replace(**{key: None}))
    assert said.word == ("deployable" if key == "coverage" else "undecided")


def test_one_symbol_is_not_asked_to_do_without_itself():
    alone = GOOD._replace(symbols=1, without_symbol=0.0)
    assert verdict(alone).word == "deployable"
    row = verdict(alone).checks.row(by_predicate=pl.col("name").str.contains("symbol"), named=True)
    assert (row["value"], row["passed"]) == (None, None)


@pytest.mark.parametrize(
    ("ic", "low", "high", "needed", "word"),
    [
        (-0.01, -0.02, -0.001, 0.1, "nothing"),
        (0.005, -0.01, 0.02, 0.1, "nothing"),
        (0.005, -0.2, 0.21, 0.1, "undecided"),
        (0.005, -0.01, 0.02, 0.0, "undecided"),
        (0.15, 0.13, 0.17, 0.1, "deployable"),
    ],
)
def test_the_interval_decides_between_nothing_and_the_rest(ic, low, high, needed, word):
    seen = GOOD._replace(ic=ic, ic_low=low, ic_high=high, ic_break_even=needed)
    assert verdict(seen).word == word
    assert f"{needed:.3f}" in verdict(seen).because
    few = verdict(seen._replace(scored_days=9)).word
    assert few == ("undecided" if low < 0 else word)


numbers = st.floats(-1, 1)
evidence = st.builds(
    lambda ic, half, **more: Evidence(
        ic=ic, ic_low=ic - half, ic_high=ic + half, symbols=2, **more
    ),
    ic=st.floats(-0.2, 0.3),
    half=st.floats(0, 0.2),
    ic_break_even=st.floats(0, 0.3),
    scored_days=st.integers(1, 60),
    days=st.integers(0, 60),
    coverage=st.floats(0, 1),
    trials=st.integers(1, 99),
    **{key: st.none() | numbers for key in ASKED if key.startswith(("without", "bar", "bp"))},
    dsr=st.none() | st.floats(0, 1),
    net_return=numbers,
    net_low=st.none() | numbers,
    net_high=numbers,
)


@settings(deadline=None)
@given(seen=evidence)
def test_the_word_follows_from_the_checks(seen):
    said = verdict(seen)
    held = said.checks["passed"].fill_null(True).all()
    assert (said.word == "deployable") == held
    assert (said.change == ()) == held
    if said.word == "nothing":
        assert seen.ic_low <= 0
    assert json.dumps(said.to_dict(), allow_nan=False)
    assert said.text().startswith(said.word) and said.word in said._repr_html_()


@settings(deadline=None)
@given(seen=evidence, key=st.sampled_from(sorted(ASKED)), more=st.floats(0, 1))
def test_nothing_that_gets_better_makes_it_worse(seen, key, more):
    value = getattr(seen, key)
    if value is None or key == "ic_high":
        return
    if verdict(seen).word == "deployable":
        assert verdict(seen._replace(**{key: value + more})).word == "deployable"


# -- how many days would do -------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(0.05, 2), st.floats(0.5, 2), st.floats(1, 500))
def test_so_many_days_reach_the_deflated_sharpe_ratio_that_is_needed(sharpe, kurtosis, trials):
    """Put back into the formula of the deflated Sharpe ratio, they give just what is needed."""
    hurdle = probabilistic.expected_maximum(trials)
    seen = probabilistic.Sample(sharpe, 30, 0.0, 1 + kurtosis * 2)
    days = enough(seen.sharpe, seen.spread, hurdle)
    if days < 2:
        return
    then = probabilistic.Sample(sharpe, days, 0.0, 1 + kurtosis * 2)
    luck = 1 / np.sqrt(days - 1)
    reached = probabilistic.dsr(then, trials=trials, spread=luck)
    assert reached == pytest.approx(room.SURE, abs=1e-9)


# -- days -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=25), st.integers(1, 8))
def test_without_the_best_days_every_other_choice_leaves_more(returns, run):
    found = without_best(np.array(returns), run)
    if len(returns) < 2 * run:
        assert found is None
        return
    left = [np.delete(returns, range(k, k + run)) for k in range(len(returns) - run + 1)]
    worst = min(float(np.prod(1 + rest)) for rest in left)
    assert found == pytest.approx(worst - 1, abs=1e-12)


def test_days_are_utc_days_and_end_at_midnight():
    times = pl.Series("time", ["2025-01-02T00:00", "2025-01-02T12:00", "2025-01-03T00:00"])
    curve = pl.DataFrame({"time": times.str.to_datetime(time_zone="UTC")}).with_columns(
        equity=pl.Series([110.0, 50.0, 99.0])
    )
    found = daily(curve, capital=100.0)
    assert [str(day) for day in found["day"]] == ["2025-01-01", "2025-01-02"]
    assert found["return"].to_list() == pytest.approx([0.1, -0.1])
    ruined = curve.head(2).with_columns(equity=pl.Series([0.0, 0.0]))
    assert daily(ruined, capital=100.0)["return"].to_list() == [-1.0, None]


def test_a_fragment_of_a_day_counts_into_the_day_beside_it():
    hours = pl.datetime_range(
        pl.datetime(2025, 1, 2), pl.datetime(2025, 1, 4, 4), "1h", time_zone="UTC", eager=True
    )
    curve = pl.DataFrame({"time": hours, "equity": np.arange(100.0, 100.0 + len(hours))})
    found = daily(curve, capital=99.0)
    # one row at midnight and four at the end are no days of their own
    assert [str(day) for day in found["day"]] == ["2025-01-02", "2025-01-04"]
    assert found["return"].to_list() == pytest.approx([124 / 99 - 1, 152 / 124 - 1])
