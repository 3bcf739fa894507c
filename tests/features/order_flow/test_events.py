import itertools
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent))

from flows import START, arrays, slow_ofi

from research.errors import UserError
from research.features.order_flow import events, streaming_ofi, windows
from research.steps import scan, streaming

SECOND = 1_000_000
RULES = events.OfiRules(SECOND, 5e6)


def event_flow(columns):
    return scan(events.event_ofi, events.quote_memory(), columns, 0)[1]


def quotes_of(rows):
    columns = tuple(np.array(column, float) for column in zip(*rows))
    return np.arange(len(rows)), *columns


# bid, bid quantity, ask, ask quantity; what the change to it means
BY_HAND = [
    ((100.0, 5.0, 101.0, 4.0), 0.0),  # the first quote has none before it
    ((100.0, 7.0, 101.0, 3.0), 2.0 + 1.0),  # same, same: 2 came to the bid, 1 left the ask
    ((100.1, 1.0, 101.0, 3.0), 1.0 + 0.0),  # up, same
    ((100.0, 9.0, 101.0, 5.0), -1.0 - 2.0),  # down, same
    ((100.0, 8.0, 101.2, 6.0), -1.0 + 5.0),  # same, up
    ((100.0, 8.0, 101.1, 2.0), 0.0 - 2.0),  # same, down
    ((100.2, 4.0, 101.3, 7.0), 4.0 + 2.0),  # up, up
    ((100.3, 3.0, 101.2, 1.0), 3.0 - 1.0),  # up, down
    ((100.2, 6.0, 101.4, 2.0), -3.0 + 1.0),  # down, up
    ((100.1, 2.0, 101.0, 5.0), -6.0 - 5.0),  # down, down
]


def test_all_nine_moves_of_two_prices_by_hand():
    rows, wanted = zip(*BY_HAND)
    moves = {(np.sign(b[0] - a[0]), np.sign(b[2] - a[2])) for a, b in itertools.pairwise(rows)}
    assert len(moves) == 9
    assert event_flow(quotes_of(rows)).tolist() == list(wanted)


def test_a_small_better_bid_is_buying():
    """A best bid that rises from 9 to 1 lots was once read as a sale of 8."""
    rows = [(100.0, 9.0, 100.2, 5.0), (100.1, 1.0, 100.2, 5.0)]
    assert event_flow(quotes_of(rows))[1] == 1.0


def test_a_book_that_stands_still_has_no_flow():
    """Levels summed as if they were flow once grew with the number of messages."""
    ofi = streaming_ofi("1 s")
    said = [ofi.update(k * 100_000, 100.0, 7.0, 100.1, 5.0) for k in range(30)]
    assert {value.event for value in said} == {0.0}
    assert {value.ofi for value in said[10:]} == {0.0}


def test_a_side_that_empties_and_fills():
    rows = [(100.0, 5.0, 101.0, 4.0), (100.0, 5.0, 0.0, 0.0), (100.0, 5.0, 0.0, 0.0)]
    rows += [(100.0, 5.0, 101.0, 3.0), (0.0, 0.0, 101.0, 3.0)]
    assert event_flow(quotes_of(rows)).tolist() == [0.0, 4.0, 0.0, -3.0, -5.0]


def test_flow_is_the_published_formula():
    time, *columns = arrays(500)
    assert event_flow((time, *columns)).tolist() == pytest.approx(slow_ofi(*columns).tolist())


def test_with_prices_that_stay_it_is_the_change_of_quantities():
    time, _, bought, _, sold = arrays(300)
    still = np.full(300, 100.0), np.full(300, 100.1)
    flow = event_flow((time, still[0], bought, still[1], sold))
    assert np.array_equal(flow[1:], np.diff(bought) - np.diff(sold))


def test_the_mirror_image_of_a_book_has_the_opposite_flow():
    time, bid, bought, ask, sold = arrays(300)
    assert np.array_equal(
        event_flow((time, 200 - ask, sold, 200 - bid, bought)),
        -event_flow((time, bid, bought, ask, sold)),
    )


def test_flow_grows_as_quantities_do():
    time, bid, bought, ask, sold = arrays(300)
    once, four = (event_flow((time, bid, k * bought, ask, k * sold)) for k in (1.0, 4.0))
    assert np.array_equal(4 * once, four)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1_000), st.floats(0.0, 20.0))
def test_a_change_in_two_parts_flows_as_in_one(seed, between):
    """A quantity that changes twice at one price is as if it had changed once."""
    whole = arrays(6, seed)
    bid, bought, ask, sold = whole[1:]
    bid[3:5], ask[3:5], bought[3], sold[3] = bid[2], ask[2], between, sold[4]
    one = tuple(np.delete(column, 3) for column in whole)
    assert event_flow(whole).sum() == pytest.approx(event_flow(one).sum(), abs=1e-9)


# -- windows ----------------------------------------------------------------------------------


def slow_window(time, values, span, row):
    """Sum afresh what lies in ``(t - span, t]`` up to a row; NaN before a whole span."""
    now = np.maximum.accumulate(time)
    if now[row] - span < now[0]:
        return math.nan
    inside = (now > now[row] - span) & (np.arange(len(now)) <= row)
    return math.fsum(values[inside])


def before(time, values, span, row, spans):
    """The same window, some spans earlier."""
    now = np.maximum.accumulate(time)[: row + 1]
    if now[row] - (spans + 1) * span < now[0]:
        return math.nan
    edge = now[row] - spans * span
    return math.fsum(values[: row + 1][(now > edge - span) & (now <= edge)])


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([50_000, 300_000, 2_000_000]))
def test_windows_are_their_sums_added_afresh(seed, span):
    random = np.random.default_rng(seed)
    time = np.cumsum(random.integers(-5_000, 60_000, 80)).astype(np.int64)
    values = np.round(random.normal(0, 100, 80), 3) * random.choice([1e-6, 1, 1e6], 80)
    _, found = scan(windows.window_sum, windows.window_memory(), (time, values), span)
    for row in range(80):
        sums = [before(time, values, span, row, spans) for spans in range(3)]
        momentum = sums[0] - sums[1]
        wanted = [sums[0], momentum, momentum - (sums[1] - sums[2])]
        assert found[row] == pytest.approx(wanted, rel=1e-14, abs=1e-7, nan_ok=True)
        whole = slow_window(time, values, span, row)
        assert found[row, 0] == pytest.approx(whole, rel=3e-16, abs=1e-25, nan_ok=True)


def test_a_window_is_exact_after_a_million_events():
    """A running sum would by then have drifted; the same window sums to the same again."""
    random = np.random.default_rng(5)
    time = START + 1_000 * np.arange(1_000_000)
    values = random.normal(0, 1, len(time)) * random.choice([1e-3, 1e9], len(time))
    _, found = scan(windows.window_sum, windows.window_memory(), (time, values), 300_000)
    for row in (1_000, 500_000, 999_999):
        assert found[row, 0] == math.fsum(values[row - 299 : row + 1])
    quiet = np.where(time < time[900_000], values, 0.0)
    _, found = scan(windows.window_sum, windows.window_memory(), (time, quiet), 300_000)
    assert not found[900_400:, 0].any()


def test_a_stamp_that_goes_back_does_not_turn_the_clock_back():
    time = np.array([0, 10, 5, -3, 12])
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    _, found = scan(windows.window_sum, windows.window_memory(), (time, values), 2)
    assert found[1:, 0].tolist() == [2.0, 6.0, 14.0, 16.0]


# -- z-scores ---------------------------------------------------------------------------------


def slow_z(time, values, half_life, row):
    ages = (time[row] - time[:row]) / half_life
    known = values[:row]
    if row < 30 or time[row] - time[0] < half_life or not np.ptp(known):
        return math.nan
    weights = 2.0**-ages
    mean = np.average(known, weights=weights)
    return (values[row] - mean) / math.sqrt(np.average((known - mean) ** 2, weights=weights))


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_z_scores_leave_the_present_value_out(seed):
    random = np.random.default_rng(seed)
    time = np.cumsum(random.integers(1, 50_000, 90)).astype(np.int64)
    values = 1e6 + random.normal(0, 1, 90)  # a large mean: squares summed naively would drift
    _, found = scan(windows.z_score, windows.standing_memory(), (time, values), 4e5)
    wanted = [slow_z(time, values, 4e5, row) for row in range(90)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-6, abs=1e-8, nan_ok=True)


def test_an_outlier_does_not_hide_itself():
    time, values = np.arange(100) * 100_000, np.tile([1.0, -1.0], 50)
    values[99] = 50.0
    _, found = scan(windows.z_score, windows.standing_memory(), (time, values), 1e6)
    assert 45 < found[99] < 55  # with itself in the mean and variance it would be about 9


def test_z_scores_begin_anew_after_a_silence_of_ages():
    time = np.concatenate([np.arange(50) * 100_000, 10**13 + np.arange(50) * 100_000])
    values = np.random.default_rng(1).normal(0, 1, 100)
    _, found = scan(windows.z_score, windows.standing_memory(), (time, values), 1e6)
    assert np.array_equal(found[51:], found[1:50], equal_nan=True) is False
    _, fresh = scan(windows.z_score, windows.standing_memory(), (time[50:], values[50:]), 1e6)
    assert np.array_equal(found[51:], fresh[1:], equal_nan=True)


# -- batch and live ---------------------------------------------------------------------------


def test_live_equals_batch_bit_for_bit():
    columns = arrays(600, pause=15_000)
    _, batch = scan(events.windowed_ofi, events.ofi_memory(), columns, RULES)
    compiled = streaming_ofi("1 s", half_life="5 s")
    plain = streaming(events.windowed_ofi.py_func, events.ofi_memory(), RULES)
    rows = list(zip(*(column.tolist() for column in columns)))
    for live in (compiled, plain):
        said = np.array([live.update(*row) for row in rows])
        assert np.array_equal(batch, said, equal_nan=True)
    assert np.isfinite(batch[-1]).all()  # more events than the ring begins with


def test_later_quotes_change_nothing_before_them():
    columns = arrays(500)
    bent = tuple(np.concatenate([c[:300], c[300:] * 1.5]) for c in columns[1:])
    _, straight = scan(events.windowed_ofi, events.ofi_memory(), columns, RULES)
    _, crooked = scan(events.windowed_ofi, events.ofi_memory(), (columns[0], *bent), RULES)
    assert np.array_equal(straight[:300], crooked[:300], equal_nan=True)
    assert not np.array_equal(straight[300:], crooked[300:], equal_nan=True)


@pytest.mark.parametrize("window", ["0 s", "5", "-1 s"])
def test_a_window_that_is_none_is_refused(window):
    with pytest.raises(UserError, match="duration"):
        streaming_ofi(window)
