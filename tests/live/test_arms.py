"""Four arms, each alone: fifteen of sixteen combinations start nothing, one trades."""

import itertools
import json
import time
from datetime import UTC, datetime

import pytest

from research import read_study
from research.errors import UserError
from research.live import arms, folders, names, played, session

from .shown import SMALL

ACCOUNT = "binance:main"
LIVE = {**SMALL, "live.mode": "live", "live.account": ACCOUNT}
NAMES = ("the extra 'live'", "the study must say", arms.VARIABLE + "=", "arming file")


def today(account=ACCOUNT):
    return f"{datetime.now(UTC):%Y-%m-%d} {account}"


@pytest.fixture
def place(data, tmp_path, monkeypatch):
    """Signatures of this test alone; a market that must not be started."""
    monkeypatch.setenv("ALPHABOOK_DATA", str(tmp_path))
    monkeypatch.delenv(arms.VARIABLE, raising=False)
    started = []
    monkeypatch.setattr(played, "begin", lambda *a: started.append(a))
    monkeypatch.setattr(played, "exchange", lambda *a: started.append(a))
    return started


def put(monkeypatch, installed, stated, dated, signed):
    """Put these arms in place, and return the options of the study."""
    if signed:
        arms.arm(read_study("demo", LIVE), ACCOUNT, 1)
    if not installed:
        monkeypatch.setattr(arms, "find_spec", lambda _: None)
    if dated:
        monkeypatch.setenv(arms.VARIABLE, today())
    return LIVE if stated else {**SMALL, "live.account": ACCOUNT}


COMBINATIONS = list(itertools.product([True, False], repeat=4))


@pytest.mark.parametrize("there", COMBINATIONS[1:], ids=str)
def test_with_any_arm_missing_nothing_is_started_and_each_is_named(place, monkeypatch, there):
    known = folders.runs()
    options = put(monkeypatch, *there)
    expected = [there[0], there[1], there[2], there[3] and there[1]]  # other settings are signed
    with pytest.raises(UserError) as said:
        session.run("demo", options, mode="live")
    text = str(said.value)
    assert "\n" not in text and f"{expected.count(False)} missing" in text
    for number, (name, is_there) in enumerate(zip(NAMES, expected), 1):
        assert (f"({number})" in text) is not is_there, text
        assert is_there or name in text
    assert not place and folders.runs() == known


def test_all_four_arms_are_enough_and_paper_is_stronger(place, monkeypatch):
    study = read_study("demo", put(monkeypatch, *COMBINATIONS[0]))
    assert arms.missing(study) == [] and arms.wanted(study, None) and arms.wanted(study, "live")
    assert arms.wanted(study, "paper") is False
    assert arms.wanted(read_study("demo", SMALL), None) is False


def test_a_signature_expires_and_is_of_one_study_and_account(place, monkeypatch):
    study = read_study("demo", put(monkeypatch, *COMBINATIONS[0]))
    day = time.time() + 3601
    assert any("has expired" in why for why in arms.missing(study, day))
    assert "other settings" in arms.missing(study.with_options({"costs.fee": 0.0}))[0]
    path = arms.file(study)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert "mode 0600" in arms.missing(study)[0]
    path.chmod(0o600)
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "expires": held["expires"] + 10**6}))
    assert "not signed by this account's secret" in arms.missing(study)[0]
    path.write_text("nonsense")
    assert "cannot be read" in arms.missing(study)[0]
    assert arms.keys(study).secret not in json.dumps(held)


def test_a_signature_holds_until_the_moment_at_which_it_expires(place, monkeypatch):
    study = read_study("demo", put(monkeypatch, *COMBINATIONS[0]))
    end = json.loads(arms.file(study).read_text())["expires"]
    held = [not any("expired" in why for why in arms.missing(study, t)) for t in (end - 1, end)]
    assert held == [True, False]


def test_a_signature_in_a_file_of_somebody_else_is_none(place, monkeypatch):
    study = read_study("demo", put(monkeypatch, *COMBINATIONS[0]))
    monkeypatch.setattr(arms.os, "getuid", lambda: arms.file(study).stat().st_uid + 1)
    assert ["must be yours" in why for why in arms.missing(study)] == [True]


def test_the_day_of_the_dated_arm_is_that_of_utc(place, monkeypatch):
    """At 01:00 UTC it is still the day before in New York."""
    study = read_study("demo", put(monkeypatch, *COMBINATIONS[0]))
    monkeypatch.setenv(arms.VARIABLE, f"2026-11-21 {ACCOUNT}")
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        at = datetime(2026, 11, 21, 1, tzinfo=UTC).timestamp()
        assert not any(why.startswith("(3)") for why in arms.missing(study, at))
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("when", ["2020-01-01 " + ACCOUNT, ACCOUNT, "", today("binance:other")])
def test_the_dated_arm_is_of_this_day_and_this_account(place, monkeypatch, when):
    study = read_study("demo", put(monkeypatch, True, True, True, True))
    monkeypatch.setenv(arms.VARIABLE, when)
    assert [why[:3] for why in arms.missing(study)] == ["(3)"]


@pytest.mark.parametrize(
    ("options", "account", "hours", "law"),
    [
        (LIVE, "main", 1, "a venue and a name"),
        (LIVE, "binance:other", 1, "must name the account itself"),
        (LIVE, ACCOUNT, 0, "above 0 and at most 168"),
        (LIVE, ACCOUNT, 1000, "above 0 and at most 168"),
        (LIVE | {"live.venue": "kraken"}, ACCOUNT, 1, "is not at live.venue 'kraken'"),
    ],
)
def test_a_mistake_signs_nothing(place, options, account, hours, law):
    study = read_study("demo", options)
    with pytest.raises(UserError, match=law):
        arms.arm(study, account, hours)
    assert not arms.file(study).exists()


def test_a_real_feed_takes_its_keys_from_the_environment_alone(place, monkeypatch):
    study = read_study("demo", LIVE | {"live.feed": "binance"})
    monkeypatch.setenv("ALPHABOOK_BINANCE_KEY", "k")
    monkeypatch.setenv("ALPHABOOK_BINANCE_SECRET", "s3cr3t")
    assert arms.keys(study).secret == "s3cr3t"
    assert arms.keys(read_study("demo", LIVE)).secret == "sim-secret-binance"


@pytest.mark.parametrize("setting", ["data.venue", "data.source", "live.venue"])
def test_orders_go_to_the_venue_that_the_simulated_feed_is_like(setting):
    kraken = {setting: "kraken", "live.feed": "simulated", "live.account": "kraken:main"}
    study = read_study("demo", {**LIVE, **kraken})
    assert (arms.venue(study), names.venue(study), study.venue) == ("kraken",) * 3
    assert arms.keys(study).key == "sim-key-kraken"
    with pytest.raises(UserError, match="Set both to one venue"):
        arms.venue(study.with_options({"live.account": "binance:main"}))
