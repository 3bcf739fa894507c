"""Gates: the evidence by hand, the null by brute force and by known answers, the summary."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from research.errors import UserError
from research.models import gates
from research.models.gates import Evidence, Slice

HOUR = timedelta(hours=1)
START = datetime(2025, 5, 1, tzinfo=UTC)


def one_symbol(y: np.ndarray) -> Slice:
    return Slice(y, np.zeros(len(y), dtype=int), np.arange(len(y)))


def noise(rng: np.random.Generator, rows: int, *, memory: float, horizon: int):
    """A forecast that knows nothing, and returns over `horizon` bars of a random walk."""
    forecast = np.zeros(rows)
    for t, shock in enumerate(rng.normal(size=rows)):
        forecast[t] = memory * (forecast[t - 1] if t else shock / (1 - memory) ** 0.5) + shock
    walk = np.cumsum(rng.normal(0, 0.0003, rows + horizon))
    return forecast * 0.0002, walk[horizon:] - walk[:-horizon]


def test_evidence_is_what_the_formulas_say():
    rng = np.random.default_rng(1)
    forecast, y = rng.normal(0, 0.0005, 200), rng.normal(0, 0.002, 200)
    y[:5] = 0.0  # no gain: dropped, as S1 did
    found = gates.evidence(forecast, y)
    assert found.ic == pytest.approx(spearmanr(forecast, y).statistic)
    assert found.rmse == pytest.approx(np.mean((forecast - y) ** 2) ** 0.5)
    gain = (np.sign(forecast) * y)[(np.abs(forecast) > 1e-4) & (y != 0)]
    assert found.sharpe == pytest.approx(gain.mean() / gain.std() * (252 * 24 * 60) ** 0.5)


@pytest.mark.parametrize("forecast", [0.0, 0.00009, 0.01])
def test_a_constant_forecast_has_no_correlation_and_below_the_edge_no_side(forecast):
    y = np.array([0.01, -0.02, 0.03, 0.01])
    found = gates.evidence(np.full(4, forecast), y)
    assert found.ic == 0
    assert (found.sharpe != 0) is (forecast == 0.01)
    chance = gates.null("ic", np.full(4, forecast), one_symbol(y), None, horizon=1)
    assert chance == (0.0, 0.0)


def test_one_return_or_equal_returns_have_no_sharpe():
    assert gates.s1_sharpe(np.array([0.01, 0.0]), np.array([0.02, 0.01])) == 0
    assert gates.s1_sharpe(np.full(3, 0.01), np.full(3, 0.02)) == 0


OLD = Evidence(ic=0.2, rmse=0.0010, sharpe=2.0)


@pytest.mark.parametrize(
    ("gate", "candidate", "expected"),
    [
        ("s1", Evidence(-0.1, 0.00097, 0.0), True),  # two percent better
        ("s1", Evidence(0.9, 0.00099, 2.05), False),  # one percent, and four: not enough
        ("s1", Evidence(-0.1, 0.00200, 2.11), True),  # five percent
        ("ic", Evidence(0.001, 0.1, -9.0), True),
        ("ic", Evidence(0.0, 0.0, 9.0), False),
    ],
)
def test_the_rules(gate, candidate, expected):
    assert bool(gates.passes(gate, candidate, OLD)) is expected


def test_a_slightly_worse_sharpe_passes_where_both_are_negative():
    """S1's flaw, kept: five percent more of a loss is still above 1.05 times it."""
    old = OLD._replace(sharpe=-2.0)
    assert gates.passes("s1", Evidence(0.0, 0.001, -2.05), old)
    assert not gates.passes("s1", Evidence(0.0, 0.001, -2.15), old)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 40), st.integers(1, 3), st.booleans())
def test_shifts_are_those_of_a_loop(seed, times, symbols, full):
    """Slow twin: move the forecasts of all symbols by k times and look again."""
    rng = np.random.default_rng(seed)
    here = rng.random((symbols, times)) < (2 if full else 0.8)
    here[0, 0] = here[0, -1] = here[-1, 0] = True
    symbol, step = np.nonzero(here)
    forecast = rng.normal(0, 0.0003, len(step)).round(4)  # with ties
    y = rng.normal(0, 0.001, len(step)).round(3)
    found = gates.shifted(forecast, Slice(y, symbol, step))
    laid, met = np.zeros((2, symbols, times))
    laid[symbol, step] = forecast
    met[symbol, step] = 1
    for k in range(times):
        pairs = (np.roll(met, k, axis=1) * met)[symbol, step] > 0
        moved = np.roll(laid, k, axis=1)[symbol, step]
        expected = gates.evidence(moved[pairs], y[pairs]) if pairs.any() else None
        if expected is None:
            continue
        assert found.rmse[k] == pytest.approx(expected.rmse, rel=1e-9, abs=1e-12)
        assert found.sharpe[k] == pytest.approx(expected.sharpe, rel=1e-6, abs=1e-6)
        if full:  # else ranks are those among all rows
            assert found.ic[k] == pytest.approx(expected.ic, abs=1e-9)
    assert found.ic[0] == pytest.approx(gates.evidence(forecast, y).ic, abs=1e-9)
    assert np.abs(found.ic).max() <= 1 + 1e-9


@pytest.mark.parametrize(
    ("memory", "horizon", "expected"),
    [(0.0, 1, 575**-0.5), (0.0, 10, 575**-0.5), (0.98, 1, 575**-0.5), (0.97, 10, 0.126)],
)
def test_the_null_spread_is_what_many_random_walks_show(memory, horizon, expected):
    """Known answers: 1 / sqrt(n - 1) where either side is fresh in every row; about 0.13 where
    outcomes of ten bars overlap and forecasts are slow (576 rows, S1's slice)."""
    rng = np.random.default_rng(7)
    told, seen = [], []
    for _ in range(200):
        forecast, y = noise(rng, 576, memory=memory, horizon=horizon)
        told.append(gates.null("ic", forecast, one_symbol(y), None, horizon=horizon).sd)
        seen.append(gates.evidence(forecast, y).ic)
    assert np.mean(told) == pytest.approx(expected, rel=0.05)
    assert np.mean(told) == pytest.approx(np.std(seen), rel=0.15)


def test_a_forecast_that_knows_nothing_passes_as_often_as_its_shifts_do():
    rng = np.random.default_rng(3)
    old = Evidence(0.0, 0.0008, 100.0)
    for gate in ("ic", "s1"):
        passed, chance = [], []
        for _ in range(300):
            forecast, y = noise(rng, 300, memory=0.9, horizon=5)
            passed.append(bool(gates.passes(gate, gates.evidence(forecast, y), old)))
            chance.append(gates.null(gate, forecast, one_symbol(y), old, horizon=5).passed)
        assert np.mean(passed) == pytest.approx(np.mean(chance), abs=0.07), gate
        assert 0.2 < np.mean(chance) < 0.8


def test_shifts_nearer_than_the_horizon_are_left_out():
    """A forecast that is the outcome itself: near shifts know it, far ones do not."""
    rng = np.random.default_rng(5)
    walk = np.cumsum(rng.normal(size=420))
    y = (walk[20:] - walk[:-20]) * 0.001
    near = gates.null("ic", y, one_symbol(y), None, horizon=1)
    far = gates.null("ic", y, one_symbol(y), None, horizon=20)
    assert far.sd < near.sd
    assert gates.null("ic", y[:39], one_symbol(y[:39]), None, horizon=20) == (None, None)
    assert gates.null("ic", y[:40], one_symbol(y[:40]), None, horizon=20).sd == 0  # one shift
    assert gates.null("s1", y, one_symbol(y), None, horizon=20) == (far.sd, None)


def test_symbols_that_move_together_are_one_not_many():
    """Twins double the rows and tell nothing more: the spread must not shrink."""
    rng = np.random.default_rng(9)
    alone, twins = [], []
    for _ in range(60):
        forecast, y = noise(rng, 300, memory=0.9, horizon=5)
        alone.append(gates.null("ic", forecast, one_symbol(y), None, horizon=5).sd)
        both = Slice(np.tile(y, 2), np.repeat([0, 1], 300), np.tile(np.arange(300), 2))
        twins.append(gates.null("ic", np.tile(forecast, 2), both, None, horizon=5).sd)
    np.testing.assert_allclose(twins, alone, rtol=1e-6)


def table(adopted: list[bool], *, apart: timedelta, chance: float | None = 0.5, **more):
    """A chain of decisions on slices of ten hours; the first is the adoption unseen."""
    rows = [
        {
            "fold": str(k),
            "time": START + k * apart,
            "slice_start": START + k * apart - 10 * HOUR,
            "adopted": yes,
            "rmse_in_force": None if k == 0 else 1.0,
            "null_sd": 0.1,
            "null_pass": chance,
            "stopped": False,
            **more,
        }
        for k, yes in enumerate([True, *adopted])
    ]
    return pl.DataFrame(rows, schema=gates.GATES)


def test_a_coin_flip_is_told_as_one():
    rng = np.random.default_rng(2)
    found = gates.gate_summary(table((rng.random(400) < 0.5).tolist(), apart=10 * HOUR))
    assert (found["retrains"], found["independent"]) == (400, 400)
    assert found["low"] < found["share"] < found["high"] and found["low"] < 0.5 < found["high"]
    assert found["sentence"].endswith("That is what chance gives: it tells nothing apart.")
    assert (found["null_sd"], found["null_pass"]) == (pytest.approx(0.1), 0.5)


def test_wilsons_interval_is_the_textbooks():
    found = gates.gate_summary(table([True] * 8 + [False] * 2, apart=10 * HOUR))
    assert (found["low"], found["high"]) == (
        pytest.approx(0.4902, abs=1e-4),
        pytest.approx(0.9433, abs=1e-4),
    )


def test_decisions_on_the_same_hours_count_as_few():
    yes = [True] * 30 + [False] * 10
    often = gates.gate_summary(table(yes, apart=HOUR))
    assert often["independent"] == 4  # forty decisions, one hour apart, on ten hours each
    assert often["sentence"].endswith("too few to tell it from chance.")
    rarely = gates.gate_summary(table(yes, apart=10 * HOUR))
    assert rarely["independent"] == 40
    assert rarely["sentence"].endswith("It adopts more often than chance.")


def test_boosting_that_was_stopped_on_the_slice_is_said_to_flatter():
    found = gates.gate_summary(table([True] * 40, apart=10 * HOUR, stopped=True))
    assert "stopped its boosting, which flatters it" in found["sentence"]
    found = gates.gate_summary(table([False] * 40, apart=10 * HOUR, stopped=True))
    assert found["sentence"].endswith("It adopts less often than chance.")


def test_a_gate_that_never_adopts_again_is_seen():
    found = gates.gate_summary(table([True, False, True] + [False] * 37, apart=10 * HOUR))
    assert (found["longest"], found["adopted"]) == (37, 2)
    assert found["last_adopted"] == START + 30 * HOUR
    assert "at most 37 in a row turned away" in found["sentence"]


def test_the_longest_wait_is_that_of_one_symbol():
    parts = [table([False, True, False], apart=10 * HOUR, symbol=s) for s in "AB"]
    found = gates.gate_summary(pl.concat(parts))
    assert (found["retrains"], found["longest"], found["independent"]) == (6, 1, 3)


def test_nothing_to_tell_is_said():
    assert gates.gate_summary(table([], apart=HOUR))["sentence"] == "No candidate was judged."
    short = gates.gate_summary(table([True], apart=HOUR, chance=None))
    assert short["null_pass"] is None and "too short to tell" in short["sentence"]


def test_a_gates_name_is_checked():
    assert gates.check("none") == "none"
    with pytest.raises(UserError, match=r"no gate 'ci'\. Did you mean 'ic'\? Here: none, s1, ic"):
        gates.check("ci")
