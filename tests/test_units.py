from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research import units
from research.errors import UserError


@pytest.mark.parametrize(
    ("text", "value"),
    [("8 bps", 0.0008), ("8bp", 0.0008), ("0.5 %", 0.005), ("-2 bps", -0.0002), ("0.001", 0.001)],
)
def test_rates_become_the_very_fraction(text, value):
    assert units.fraction(text) == value


@pytest.mark.parametrize("text", ["8 pips", "", "bps", "nan", float("inf"), True, "5 5 bps", None])
def test_a_rate_without_meaning_is_refused(text):
    with pytest.raises(UserError, match="bps or %"):
        units.fraction(text)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("1m", 1), ("1 min", 1), ("15 min", 15), ("2h", 120), ("1 d", 1440), ("3 mo", 3 * 30 * 1440)],
)
def test_spans_of_time(text, minutes):
    assert units.duration(text) == timedelta(minutes=minutes)


@pytest.mark.parametrize("text", ["15", "1 fortnight", "", "0 min", "-5 min", 15, "1e400 d"])
def test_a_span_without_unit_or_not_above_zero_is_refused(text):
    with pytest.raises(UserError, match="duration"):
        units.duration(text)


def test_only_a_pause_may_be_zero():
    assert units.pause("0 min") == units.pause(0) == timedelta(0)
    with pytest.raises(UserError):
        units.pause("-1 min")


@given(st.integers(1, 10**12))
def test_what_is_shown_reads_back_the_same(microseconds):
    span = timedelta(microseconds=microseconds)
    assert units.duration(units.show(span)) == span
