"""Paper trading end to end: real TLS sockets, a market that plays, the notebooks beside it."""

import json
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from research import pipeline, read_study, sim, tape
from research.errors import UserError
from research.live import folders, journal, prepare, proof, replay, session, state, status
from research.live.rows import at, micros

from .shown import SMALL

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def two_hours(data):
    """A run of two hours that nobody disturbed."""
    return session.run("demo", SMALL, span="2h", speed=0)


def test_a_run_is_what_the_notebooks_would_have_done(two_hours):
    found = proof.check(folders.find(two_hours["run"]))
    assert (found.bars, found.decisions) == (120, 240)
    assert found.differences.is_empty() and found.unexplained == 0
    assert (two_hours["bars"], two_hours["decisions"]) == (120, 240) and two_hours["trades"] > 3


def test_the_backtest_of_the_same_data_has_the_same_trades(two_hours):
    """The pipeline's own tables, with nothing of `live` but the journal to compare with."""
    folder = folders.find(two_hours["run"])
    study = read_study("demo", SMALL)
    longer = study.with_options({"simulated.days": 11})
    bars = pipeline.bars(longer)
    start = at(micros(bars["open_time"].min()) + 10 * 86_400_000_000)
    end = at(micros(start) + 7_200_000_000)
    bars = bars.filter(pl.col("time") <= end)
    model = pipeline.fresh_models(study, bars, at=start)[""]
    features = pipeline.features(study, bars).filter(pl.col("time") > start).drop_nulls()
    scale = features["sigma"] * 10**0.5
    made = features.select("symbol", "time", "sigma").with_columns(
        forecast=model.predict(features.select(model.card["columns"])) * scale,
        known_at=pl.col("time"),
    )
    laid = tape.lay(study, bars, made)
    result = laid.play(tape.rules(study), capital=study.backtest.capital)
    expected = tape.tables(laid, result)["trades"].filter(pl.col("exit_reason") != "end")
    live = [t for e in journal.read(folder) if e.kind == "moment" for t in e.body["trades"]]
    assert len(live) == expected.height > 3
    order = ["exit_time", "symbol"]
    ours = pl.DataFrame(live).sort(order)
    for name in ("quantity", "entry_price", "exit_price", "fees", "net", "entry_reason"):
        assert ours[name].to_list() == expected.sort(order)[name].to_list(), name


def test_recoverable_faults_change_no_decision(two_hours):
    troubled = session.run("demo", SMALL, span="2h", speed=0, faults="12")
    calm, rough = (folders.find(run["run"]) for run in (two_hours, troubled))
    assert journal.decisions(calm) == journal.decisions(rough)
    notes = [e for e in journal.read(rough) if e.kind == "note"]
    assert notes, "no fault was felt"
    said = (rough / "log.jsonl").read_text()
    assert "simulated://fstream.binance.com" in said and "wss://" not in said
    assert proof.check(rough).unexplained == 0


def test_a_changed_record_is_not_explained(two_hours, tmp_path, monkeypatch):
    """A proof that cannot fail proves nothing: one forecast is bent in what is read."""
    folder = folders.find(two_hours["run"])
    events = journal.read(folder)
    moment = next(e for e in events if e.kind == "moment" and e.body["rows"][0]["forecast"])
    moment.body["rows"][0]["forecast"] *= 1 + 1e-12
    monkeypatch.setattr(proof.journal, "read", lambda _: events)
    found = proof.check(folder)
    assert found.unexplained == 1
    assert found.to_dict()["first"][0]["what"] == "forecast"


def test_stopped_and_continued_is_undisturbed(two_hours):
    first = session.run("demo", SMALL, span="47m", speed=0)
    assert first["bars"] == 47
    second = session.run("", {}, resume=first["run"], span="73m", speed=0)
    assert second["run"] == first["run"]
    whole, parts = (folders.find(run["run"]) for run in (two_hours, first))
    assert journal.decisions(whole) == journal.decisions(parts)
    assert proof.check(parts).differences.is_empty()


@pytest.fixture(scope="module")
def walked(data):
    """Half an hour in which fills walk the book, and bars are checked against their trades."""
    more = {"costs.fill": "book", "costs.latency": "2 s", "live.check_trades": True}
    return session.run("demo", {**SMALL, **more}, span="30m", speed=0)


def mean_price(side, quantity):
    """The price of a quantity by hand: level after level, in decimals."""
    left, paid = Decimal(repr(quantity)), Decimal(0)
    for price, size in side:
        part = min(left, Decimal(repr(size)))
        paid, left = paid + part * Decimal(repr(price)), left - part
    assert not left
    return float(paid / Decimal(repr(quantity)))


def test_fills_walk_the_book_that_was_recorded_and_parity_replays_it(walked):
    folder = folders.find(walked["run"])
    found = proof.check(folder)
    assert found.differences.is_empty() and found.decisions == 60
    assert (found.trades_disagree, found.trades_missing) == (0, 0)
    assert "against their trades: 0 disagree" in found.text()
    moments = [e.body for e in journal.read(folder, kinds=("moment",))]
    rows = {(r["symbol"], r["open_time"]): r for m in moments for r in m["rows"]}
    assert sum("levels" in row for row in rows.values()) >= 54
    trades = [trade for m in moments for trade in m["trades"]]
    assert len(trades) >= 2
    for trade in trades:
        up = trade["side"] > 0
        for when, price, buys in (
            (trade["entry_time"], trade["entry_price"], up),
            (trade["exit_time"], trade["exit_price"], not up),
        ):
            row = rows[trade["symbol"], when - 2_000_000]
            assert row["open_time"] - 60_000_000 < row["levels"]["time"] <= when
            if trade["entry_reason"] == "entry":
                side = row["levels"]["asks" if buys else "bids"]
                assert price == pytest.approx(mean_price(side, trade["quantity"]), rel=1e-12)


def test_a_run_that_walked_books_is_rebuilt_from_its_journal(walked):
    known = state.fold(journal.read(folders.find(walked["run"])))
    assert known.desk.equity == walked["equity"] and known.desk.rules.walks


def test_bars_checked_against_their_trades_are_counted(walked):
    assert walked["trades_compared"] >= 54
    assert (walked["trades_disagree"], walked["trades_missing"]) == (0, 0)
    said = status.status(folders.find(walked["run"])).text()
    assert f"{walked['trades_compared']} compared with their trades, 0 disagree" in said


def test_another_book_than_the_recorded_one_is_not_explained(walked, monkeypatch):
    folder = folders.find(walked["run"])
    events = journal.read(folder)
    trade = next(t for e in events if e.kind == "moment" for t in e.body["trades"])
    row = next(
        row
        for e in events
        if e.kind == "moment"
        for row in e.body["rows"]
        if (row["symbol"], row["open_time"]) == (trade["symbol"], trade["entry_time"] - 2_000_000)
    )
    row["levels"]["asks" if trade["side"] > 0 else "bids"][0][0] *= 1 + 1e-9 * -trade["side"]
    monkeypatch.setattr(proof.journal, "read", lambda _: events)
    assert {"equity", "trade"} <= set(proof.check(folder).differences["what"])


def command(*words, **more):
    return subprocess.Popen(
        [sys.executable, "-m", "research", "live", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def options():
    return [word for key, value in SMALL.items() for word in ("-o", f"{key}={value}")]


def running(known):
    """Return the folder of the run that has begun to decide since `known`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        new = [name for name in folders.runs() if name not in known]
        if new and prepare.begun(folders.find(new[0])):
            folder = folders.find(new[0])
            if any(e.kind == "moment" for e in journal.read(folder)):
                return folder
        time.sleep(0.05)
    raise AssertionError("no run began to decide within a minute")


def test_killed_at_once_and_continued_is_undisturbed(two_hours):
    known = folders.runs()
    process = command("demo", *options(), "--for", "2h", "--speed", "1500")
    folder = running(known)
    time.sleep(0.5)
    process.kill()
    process.communicate(timeout=30)
    decided = prepare.last_decided(folder) - journal.read(folder)[0].body["time"]
    assert 0 < decided < 7_200_000_000
    left = f"{(7_200_000_000 - decided) // 60_000_000}m"
    session.run("", {}, resume=folder.name, span=left, speed=0)
    assert journal.decisions(folder) == journal.decisions(folders.find(two_hours["run"]))


def test_control_c_ends_in_order_and_a_second_runner_leaves(data):
    known = folders.runs()
    process = command("demo", *options(), "--speed", "60", "--json")
    folder = running(known)
    begun = time.monotonic()
    second = command("--continue", folder.name)
    second.communicate(timeout=60)
    assert second.returncode == 75
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    done = json.loads(said)
    assert (process.returncode, done["why"]) == (0, "signal SIGINT")
    assert journal.read(folder)[-1].kind == "stop" and time.monotonic() - begun < 60
    assert folders.runner(folder) is None


def test_the_kill_switch_latches(data):
    known = folders.runs()
    process = command("demo", *options(), "--speed", "600")
    folder = running(known)
    pressed = time.time_ns() // 1000
    folders.kill(folder)
    while not (found := [e for e in journal.read(folder) if e.kind == "control"]):
        time.sleep(0.01)
    assert found[0].body["state"] == 2
    assert (time.time_ns() // 1000 - pressed) / 1e6 < 1.0
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    events = journal.read(folder)
    after = [e for e in events if e.kind == "moment" and e.seq > found[0].seq]
    assert len(after) > 3
    assert not [row for e in after for row in e.body["rows"] if row["reason"] == "entry"]
    assert not any(row["position"] for row in after[-1].body["rows"])
    assert proof.check(folder).unexplained == 0


def test_dry_run_decides_and_fills_nothing(data):
    done = session.run("demo", SMALL, span="1h", speed=0, dry_run=True)
    folder = folders.find(done["run"])
    rows = [row for e in journal.read(folder) if e.kind == "moment" for row in e.body["rows"]]
    assert {row["position"] for row in rows} == {0.0}
    assert sum(row["reason"] == "entry" for row in rows) > 3
    assert proof.check(folder).differences.is_empty()


@pytest.mark.parametrize(
    ("wish", "law"),
    [
        ({"speed": -1}, r"--speed must be 0 \(no bound\) or above"),
        ({"faults": "banana"}, "--faults must be a count or the file of a plan"),
        ({"span": "5"}, "5"),
        ({"mode": "real"}, "mode must be 'paper' or 'live'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_run(data, wish, law):
    known = folders.runs()
    with pytest.raises(UserError, match=law):
        session.run("demo", SMALL, **wish)
    assert folders.runs() == known


def test_a_run_that_never_began_is_not_the_newest(data, two_hours):
    known = folders.runs()
    with pytest.raises(UserError, match="NOPEUSDT"):
        session.run("demo", {**SMALL, "data.symbols": ["NOPEUSDT"]}, span="5min", speed=0)
    assert folders.runs() == known


def test_a_run_goes_on_with_its_own_settings(two_hours):
    with pytest.raises(UserError, match=r"found costs.fee beside it"):
        session.run("", {"costs.fee": 0.0}, resume=two_hours["run"])
    with pytest.raises(UserError, match="not begun as a dry run"):
        session.run("", {}, resume=two_hours["run"], dry_run=True)


@pytest.mark.parametrize(
    ("options", "mode"),
    [({}, "live"), ({"live.mode": "live"}, None)],
    ids=["asked", "in the study"],
)
def test_real_orders_start_nothing(data, options, mode):
    known = folders.runs()
    with pytest.raises(UserError, match=r"four arms, 3 missing: \(2\).*\(3\).*\(4\).*arming file"):
        session.run("demo", SMALL | options, mode=mode)
    assert folders.runs() == known


def test_paper_asked_for_wins_over_the_study(data):
    done = session.run("demo", SMALL | {"live.mode": "live"}, mode="paper", span="2m", speed=0)
    assert done["bars"] == 2


def test_history_is_read_back(two_hours):
    known = replay.history(folders.find(two_hours["run"]))
    assert known.bars["symbol"].n_unique() == 2 and known.forecasts.is_empty()


def test_what_the_venue_took_back_is_accounted_for(data, tmp_path):
    plan = tmp_path / "plan.json"
    late = {"bps": 30, "us": 30_000_000}
    sim.faults.write(
        plan,
        [
            sim.faults.Fault("revised", at=20, target="SIM01USDT", args=late, times=1),
            sim.faults.Fault("gap", at=40, target="SIM02USDT"),
        ],
    )
    done = session.run("demo", SMALL, span="1h", speed=0, faults=str(plan))
    folder = folders.find(done["run"])
    kinds = [e.body["kind"] for e in journal.read(folder) if e.kind == "note"]
    found = proof.check(folder)
    assert (kinds, found.bars, found.decisions) == (["revision", "gap"], 60, 119)
    assert found.unexplained == 0
    assert set(found.differences["cause"]) == {"revision"}
    first = found.differences.row(0, named=True)
    assert (first["symbol"], f"{first['time']:%H:%M}") == ("SIM01USDT", "00:21")


def test_a_model_takes_over_while_it_trades(data):
    how = {"retrain.every": "30 min", "retrain.promotion": "always"}
    done = session.run("demo", SMALL | how, span="70m", speed=0)
    folder = folders.find(done["run"])
    events = journal.read(folder)
    swaps = [e.body for e in events if e.kind == "swap"]
    assert [swap["why"] for swap in swaps] == ["first", "always", "always"]
    start = events[0].body["time"]
    assert [(swap["at"] - start) // 60_000_000 for swap in swaps] == [0, 31, 61]
    used = {row["model"] for e in events if e.kind == "moment" for row in e.body["rows"]}
    assert len(used) == 3
    assert proof.check(folder).differences.is_empty()
