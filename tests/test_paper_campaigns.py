"""Paper campaigns, small: they find nothing where nothing is wrong, and what is made wrong."""

import json
import threading

import pytest

from research import campaigns
from research.campaigns.paper import (
    contests,
    crashes,
    equal,
    forks,
    operation,
    place,
    sameness,
    soaking,
    switching,
)
from research.live import journal, played

MEMORY_MB = 60
"""More than a runner's first hours may add: what grows without end is for the campaign to see."""


def test_paper_trading_is_the_backtest_with_faults_and_without():
    found = campaigns.same(1, 1, minutes=40, faults=12)
    assert [found[name] for name in sameness._WRONG] == [0] * len(sameness._WRONG)
    assert found["bars"] == 40 and found["trades"] > 1
    assert len(found["struck"]) > 5
    assert found["felt"]["bars by rest"] > 0
    json.dumps(found, allow_nan=False)


def test_another_backtest_is_told_from_the_run():
    options = place.market(2)
    with place.store():
        folder = place.trade(options, 90)
        own, later, dearer = (
            sameness._backtested(options | other, folder)
            for other in ({}, {"backtest.enter": "3 bps"}, {"costs.slippage": "2 bps"})
        )
    assert own.pop("trades") > 0 and not any(own.values())
    assert all(later.values())
    assert dearer["fills_other_than_backtest"] > 0 and dearer["equity_other"] > 0


def test_thirty_killed_runners_come_to_what_the_undisturbed_one_comes_to():
    soon = {"risk.daily_loss": "0.1 %"}
    found = campaigns.crash(30, 1, minutes=70, styles=("plain",), soon=soon)
    assert (found["differing"], found["not_met"]) == ([], [])
    assert found["kills"] >= 30 and found["kills_on_sockets"] == 1
    assert found["steps"] == len(forks.points("plain"))


def test_enumerated_steps_are_dealt_out_once():
    shards = [{"seed": n, "kills": 10, "style": ("plain", "always")[n % 2]} for n in range(6)]
    dealt = [
        tuple(point) for shard in crashes._with_points(shards, {}) for point in shard["points"]
    ]
    assert len(dealt) == len(forks.points("plain")) + 30
    assert all(len(shard["points"]) <= 10 for shard in shards)


def test_runs_that_differ_are_told_apart():
    with place.store(memory=True):
        played = {"live.feed": "replay"}
        calm, wild = (place.trade(place.market(seed, **played), 9) for seed in (3, 4))
        assert equal.differing(calm, calm) == []
        found = equal.differing(calm, wild)
    assert any("decisions" in word for word in found)
    assert any("equity" in word for word in found)


def test_a_process_with_threads_of_work_is_not_forked():
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        with pytest.raises(AssertionError, match="cannot be forked"):
            forks._alone()
    finally:
        over.set()
        thread.join()


def test_a_soaked_runner_holds_no_more_and_more():
    found = campaigns.soak(1, 1, hours=3)
    assert (found["hours"], found["bars"]) == (3, 360)
    assert found["growth_mb"] < MEMORY_MB
    assert found["most_tasks"] < 40 and found["most_files"] < 60


FEW = {
    "simulated.symbols": 1,
    "simulated.days": 4,
    "live.days": 1,
    "validation.train": "3 d",
    "model.name": "logistic",
    "model.league": [],
    "jobs.report": "00:01",
    "jobs.retrain": "00:02",
    "jobs.health": "1 min",
}


def test_a_few_minutes_of_operation_have_jobs_a_model_an_alert_and_a_report():
    found = campaigns.day(1, 1, minutes=6, speed=60.0, **FEW)
    wrong = ("parity_differences", "jobs_failed", "violations")
    assert [found[name] for name in wrong] == [0, 0, 0]
    assert (found["closes"], found["decisions"]) == (5, 5)  # there was never a fourth bar
    assert found["models"] == {"trained": 1, "took_over": 1, "begun_at": ["2024-01-05 00:02"]}
    done = {name: many["done"] for name, many in found["jobs"].items()}
    assert done["retrain"] == done["closing"] == 1 and done["health"] > 1
    assert found["alerts"] == {"gap": 1} and found["alerts_posted"] == 1
    assert found["reports"] == ["2024-01-05_000600_sitting"] and found["requests"] >= 6
    json.dumps(found, allow_nan=False)


def test_what_a_venue_found_too_much_is_counted(tmp_path):
    entries = [
        {"kind": "request", "faults": []},
        {"kind": "limited", "venue": "kraken"},
        {"kind": "request", "faults": ["status"]},
    ]
    (tmp_path / played.EXCHANGE).write_text("\n".join(map(json.dumps, entries)))
    found = operation._asked(tmp_path)
    assert found == {"requests": 2, "struck": {"status": 1}, "violations": 1}


def test_growth_is_seen():
    flat = [{"hour": h, "mb": 400.0, "files": 20, "tasks": 9, "threads": 7} for h in range(168)]
    grown = [{**row, "mb": 400 + row["hour"] / 4, "files": 20 + row["hour"]} for row in flat]
    assert soaking._found(flat)["growth_mb"] == soaking._found(flat)["files_grown"] == 0
    assert soaking._found(grown)["growth_mb"] > 30
    assert soaking._found(grown)["files_grown"] > 120


def test_the_switch_latches_at_once_and_holds():
    found = campaigns.switch(10, 1)
    assert (found["triggers"], found["entered"]) == (10, 0)
    assert found["p50_ms"] < 200
    assert found["halted_moments"] >= 10 * switching.HELD
    assert found["entries_while_active"] > 0


def event(seq, kind, **body):
    return journal.Event(seq, kind, body["time"], body)


def decided(seq, time, reason, position, trades=()):
    row = {"symbol": "A", "reason": reason, "position": position}
    return event(seq, "moment", time=time, rows=[row], trades=list(trades))


def test_what_is_entered_while_halted_is_found():
    start = [decided(1, 1, "entry", 0.0), event(2, "control", time=1, state=2)]
    quiet = [decided(3, 2, "risk_halt", 0.0), event(4, "control", time=2, state=0)]
    after = [decided(5, 3, "entry", 0.0), decided(6, 4, "hold", 5.0)]
    assert switching.audit([*start, *quiet, *after])["entered"] == 0
    assert switching.audit([*start, *quiet, *after])["withdrawn"] == 1
    twice = [start[0], *[event(2, "control", time=1, state=2)] * 2, *quiet]
    later = decided(5, 9, "hold", 0.0, [{"entry_time": 4}])
    assert switching.audit([*twice, later])["entered"] == 0
    filled = [decided(3, 2, "risk_halt", 5.0)]
    asked = [decided(3, 2, "entry", 0.0)]
    turned = [decided(1, 1, "hold", 5.0), start[1], decided(3, 2, "risk_halt", -5.0)]
    told = [*quiet, decided(5, 9, "hold", 0.0, [{"entry_time": 1.5}])]
    for wrong in ([*start, *filled], [*start, *asked], turned, [*start, *told]):
        assert switching.audit(wrong)["entered"] == 1


def test_chance_is_not_promoted_and_skill_is():
    found = campaigns.shadow(60, 1)
    nothing, better, stuck = (found[kind] for kind in ("both know nothing", "better", "stuck"))
    assert nothing["contests"] == 60 and nothing["promote"] <= 3 * contests.ALPHA
    assert better["promote"] >= 0.8
    assert stuck["expire"] == 1 and found["without_verdict"] == 0
