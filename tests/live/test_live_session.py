"""Real orders end to end: four arms, a simulated exchange, the notebooks' decisions beside it."""

import json
from datetime import UTC, datetime

import pytest

from research import read_study, sim, tape
from research.errors import UserError
from research.live import arms, folders, journal, parts, proof, session, state
from research.live.desk import Desk

from .shown import SMALL

pytestmark = pytest.mark.long  # ./run check --long

LIVE = {**SMALL, "live.mode": "live", "live.account": "binance:main"}


@pytest.fixture(scope="module")
def armed(data, tmp_path_factory):
    """All four arms, and a plan whose one fault never strikes: the exchange then keeps a log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(arms.VARIABLE, f"{datetime.now(UTC):%Y-%m-%d} binance:main")
        arms.arm(read_study("demo", LIVE), "binance:main", 1)
        plan = tmp_path_factory.mktemp("plan") / "plan.json"
        sim.faults.write(plan, [sim.faults.Fault("gap", at=10**6, target="SIM01USDT")])
        yield str(plan)


def signed(run):
    """Return what of the exchange's log was signed."""
    path = folders.find(run["run"]) / session.EXCHANGE
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if row["kind"] == "signed"]


@pytest.fixture(scope="module")
def traded(armed):
    return session.run("demo", LIVE, span="100m", speed=0, faults=armed)


def test_a_live_run_is_replayed_with_its_fills_without_a_difference(traded):
    folder = folders.find(traded["run"])
    found = proof.check(folder)
    assert (found.bars, found.differences.height) == (100, 0)
    placed = [row for row in signed(traded) if row["does"] == "place"]
    booked = journal.read(folder, kinds=("booked",))
    assert len({row["cid"] for row in placed}) == len(placed) >= 4
    assert len(booked) >= 4 and traded["trades"] >= 2
    assert state.fold(journal.read(folder)).desk.equity == traded["equity"]
    assert folders.facts(folder)["mode"] == "live"
    assert folders.facts(folder)["account"] == "binance:main"


def test_paper_decides_the_same_where_it_is_filled_the_same(traded):
    study, folder = read_study("demo", LIVE), folders.find(traded["run"])
    events = journal.read(folder)
    start = events[0].body
    venue = parts.venue(study, start["symbols"], start["time"])
    paper = Desk(tape.rules(study), venue, start["symbols"], study.backtest.capital)
    equal = total = 0
    for event in events:
        if event.kind == "moment":
            step = paper.step(event.time, [state.scored(row) for row in event.body["rows"]])
            live = [row["reason"] for row in event.body["rows"]]
            sides = [(row["position"] > 0) - (row["position"] < 0) for row in event.body["rows"]]
            same = [((p > 0) - (p < 0)) == side for p, side in zip(step.positions, sides)]
            total += sum(same)
            equal += sum(s and one == other for s, one, other in zip(same, step.reasons, live))
    assert total >= 190 and equal == total


def test_no_secret_is_in_any_artefact(traded):
    for path in folders.find(traded["run"]).rglob("*"):
        if path.is_file():
            assert b"sim-secret-binance" not in path.read_bytes(), path


def test_paper_sends_nothing_signed_even_with_all_four_arms(armed):
    run = session.run("demo", LIVE, mode="paper", span="3m", speed=0, faults=armed)
    assert run["bars"] == 3 and signed(run) == []
    assert folders.facts(folders.find(run["run"]))["mode"] == "paper"


def test_a_run_goes_on_as_what_it_was_begun_as(traded):
    with pytest.raises(UserError, match="was begun as live and goes on as such"):
        session.run("", {}, resume=traded["run"], mode="paper")


def test_a_run_whose_exchange_is_gone_says_so_and_does_not_go_on(traded):
    with pytest.raises(UserError, match="cannot go on, as the simulated exchange") as said:
        session.run("", {}, resume=traded["run"])
    assert "\n" not in str(said.value)
    assert "--continue" not in session.text(traded) and "./run parity" in session.text(traded)
