"""Guards: each alone by its numbers, all together, and whatever fails."""

import math
from datetime import timedelta

import pytest

from research import study
from research.live import guards
from research.live.guards import Guards, ModelBad, OrderRate, Verdict
from research.live.moments import Bar, Scored
from research.trading.rules.words import HALTED, REDUCING

SECOND, MINUTE = 1_000_000, 60_000_000
NOW = 1_750_000_000 * SECOND


def row(forecast=0.001, symbol="A", *, model="m1", features="f"):
    bar = Bar(symbol, NOW - MINUTE, 1.0, 1.0, 1.0, 1.0, 1.0)
    return Scored(bar, features, model, forecast, math.nan, 0, 0.001, 0.0, 0.0)


def health(last=NOW, skew=0):
    return [{"name": "a", "last_us": last, "skew_us": skew}]


@pytest.fixture
def made(tmp_path):
    return Guards(study.Study(), tmp_path)


def test_content_guards_say_nothing(made):
    assert made.check(NOW, [row()], health=health()) is None
    assert made.check(NOW, [], health=[]) is None


# -- one by one ----------------------------------------------------------------------------------


def test_more_orders_in_an_hour_than_the_limit_and_not_as_many():
    rate = OrderRate(3)
    for minute, orders in ((0, 2), (30, 1), (59, 0)):
        rate.sent(NOW + minute * MINUTE, orders)
        assert rate.check(NOW + minute * MINUTE) is None
    rate.sent(NOW + 59 * MINUTE, 1)
    assert rate.check(NOW + 59 * MINUTE).state == REDUCING
    assert "4 within an hour, limit 3" in rate.check(NOW + 60 * MINUTE - 1).reason
    assert rate.check(NOW + 60 * MINUTE) is None  # the first two are an hour old


@pytest.mark.parametrize("said", [None, math.nan, math.inf])
def test_a_model_that_says_nothing_of_known_features_is_bad(said):
    found = ModelBad().check([row(), row(said, "B")])
    assert (found.state, found.latched) == (REDUCING, True)
    assert "no forecast of B" in found.reason
    assert ModelBad().check([row(said, features=None)]) is None  # warm-up or gap
    assert ModelBad().check([row(said, model=None)]) is None  # no model in force


def test_the_same_forecast_for_thirty_bars_running_is_bad():
    model = ModelBad()
    assert all(model.check([row(0.5), row(0.1 * k, "B")]) is None for k in range(29))
    found = model.check([row(0.5)])
    assert (found.state, found.latched) == (REDUCING, False)
    assert "for 30 bars running" in found.reason
    assert "model m1" in found.reason


def test_another_forecast_or_model_in_between_begins_anew():
    for odd in (row(0.5 + 1e-16), row(0.5, model="m2")):
        model = ModelBad()
        assert all(model.check([r]) is None for r in [row(0.5)] * 29 + [odd])
        assert all(model.check([row(0.5)]) is None for _ in range(28))


def test_a_bar_without_a_forecast_counts_for_nothing():
    model = ModelBad(3)
    bars = [row(0.5), row(features=None), row(0.5), row(model=None), row(0.5)]
    assert [model.check([r]) is None for r in bars] == [True] * 4 + [False]


@pytest.mark.parametrize(("skew", "halts"), [(SECOND, False), (SECOND + 1, True), (-2e6, True)])
def test_a_clock_further_off_than_its_limit_halts(skew, halts):
    found = guards.clock_skew(health(skew=0) + health(skew=skew), most=SECOND)
    assert (found is not None) == halts
    assert found is None or found.state == HALTED


def test_little_disk_halts(tmp_path, monkeypatch):
    assert guards.disk(tmp_path, least=0.0) is None
    usage = type("usage", (), {"free": 999_999_999})
    monkeypatch.setattr(guards.shutil, "disk_usage", lambda folder: usage)
    assert guards.disk(tmp_path, least=1.0).state == HALTED
    usage.free = 1_000_000_000
    assert guards.disk(tmp_path, least=1.0) is None


def test_a_feed_is_stale_when_nothing_comes_by_any_way():
    old, new = NOW - 66 * SECOND, NOW - 65 * SECOND
    assert guards.feed_stale(health(old), NOW, most=65 * SECOND).state == REDUCING
    assert guards.feed_stale(health(new), NOW, most=65 * SECOND) is None
    assert guards.feed_stale(health(old) + health(new), NOW, most=65 * SECOND) is None
    assert guards.feed_stale(health(None), NOW, most=65 * SECOND) is None
    assert guards.feed_stale(health(NOW + MINUTE), NOW, most=65 * SECOND) is None  # a backfill


# -- together ------------------------------------------------------------------------------------


def test_the_kill_file_halts_and_stays_until_someone_resumes(made, tmp_path):
    (tmp_path / "KILL").touch()
    assert made.check(NOW, [], health=health()) == Verdict(HALTED, "file KILL")
    (tmp_path / "KILL").unlink()
    assert made.check(NOW, [], health=health()).state == HALTED
    made.resume()
    assert made.check(NOW, [], health=health()) is None


def test_a_model_that_moves_again_is_trusted_again(made):
    found = [made.check(NOW, [row(0.5)], health=health()) for _ in range(30)]
    assert [v is None for v in found] == [True] * 29 + [False]
    assert made.check(NOW, [row(0.6)], health=health()) is None


def test_a_stale_feed_clears_itself(made):
    found = made.check(NOW, [], health=health(NOW - 2 * MINUTE))
    assert (found.state, found.latched) == (REDUCING, False)
    assert made.check(NOW, [], health=health()) is None


def test_the_gravest_verdict_counts_and_a_latch_outlives_a_lighter_one(made):
    bad, stale = [row(math.nan)], health(NOW - 2 * MINUTE)
    assert made.check(NOW, bad, health=stale).reason.startswith("model")
    assert made.check(NOW, [row()], health=stale).reason.startswith("model")
    assert made.check(NOW, [row()], health=health(skew=9 * SECOND)).state == HALTED
    assert made.check(NOW, bad, health=health()).reason.startswith("clock")
    made.resume()
    assert made.check(NOW, [row()], health=health()) is None


def test_too_many_orders_are_counted_from_what_was_sent(tmp_path):
    made = Guards(study.Study().with_options({"live.order_rate": 3}), tmp_path)
    made.sent(NOW, ("entry", "hold", "reversal"), 1)
    assert made.check(NOW, [], health=health()) is None
    made.sent(NOW + MINUTE, ("entry", "entry"), 0)
    assert made.check(NOW + MINUTE, [], health=health()).state == REDUCING
    later = NOW + 180 * MINUTE
    assert made.check(later, [], health=health(later)).state == REDUCING  # that latches
    made.resume()
    assert made.check(later, [], health=health(later)) is None


@pytest.mark.parametrize("name", ["kill_file", "disk", "clock_skew", "feed_stale"])
def test_a_guard_that_fails_halts(made, monkeypatch, name):
    def broken(*_, **__):
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(guards, name, broken)
        found = made.check(NOW, [row()], health=health())
        assert found.state == HALTED
        assert "failed: OSError: gone" in found.reason
    assert made.check(NOW, [row()], health=health()).state == HALTED  # and that latches


@pytest.mark.parametrize("wrong", [[{}], [{"last_us": "x", "skew_us": 0}], [None]])
def test_health_that_cannot_be_read_halts(made, wrong):
    assert made.check(NOW, [row()], health=wrong).state == HALTED


def test_a_row_that_cannot_be_read_halts(made):
    assert made.check(NOW, [row("high")], health=health()).state == HALTED


def test_a_journal_that_cannot_be_written_halts(made):
    assert made.fail("journal", OSError("disk full")).reason == "journal failed: OSError: disk full"
    assert made.check(NOW, [row()], health=health()).state == HALTED


def test_the_limits_are_those_of_the_study(tmp_path):
    options = {"live.clock_skew": "5 s", "live.stale": "10 min", "live.disk": 0.0}
    made = Guards(study.Study().with_options(options), tmp_path)
    late, skew = NOW - 9 * MINUTE, timedelta(seconds=5) // timedelta(microseconds=1)
    assert made.check(NOW, [], health=health(late, skew)) is None
    assert made.check(NOW, [], health=health(late - 2 * MINUTE, skew)).state == REDUCING
    assert made.check(NOW, [], health=health(late, skew + 1)).state == HALTED
